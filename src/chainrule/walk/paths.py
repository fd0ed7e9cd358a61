"""The paths from a result back to what it is differentiated in: where they part and meet, and what repeats.

The nodes in between are put in order.  A node that no edge passes by lies on every path: these *stages* cut the
derivative into a product.  Between two stages there may be several ways, whose products are added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from .. import formula
from ..graph import Node, by_index
from ..rules.registry import partial_trees

__all__ = ["Between", "Edge", "Links", "Plan", "is_one", "patterns", "rules_of"]

MERGED = 8  # operations that are merged into one factor
EXPANDED = 200_000  # steps of a search for paths
MANY = 10**12  # paths that are counted
PERIOD = 48  # factors of the longest pattern that is folded

Links = tuple[tuple[Node, tuple[int, ...]], ...]  # nodes, and the operands of each through which the derivative goes
Plan = list[tuple[int, int, int]]  # (start, stop, times): `times` > 1 stands for a pattern that comes so often in a row
Edge = tuple[Node, Links]  # something a node was computed from, and the links that lead to it


class Between:
    """The nodes on the paths from `root` to `target`.

    An intermediate result that was given no name, and to which its only user passes the derivative on unchanged, is
    merged with that user: of ``w*x + b``, the derivative in `w` is ``x``, one factor.  So are the parts of a sum of
    several terms.

    Attributes
    ----------
    order : the other nodes, newest first
    edges : for each of them, what it was computed from, as far as that leads to the target
    """

    def __init__(self, root: Node, target: Node, nodes: list[Node], named: Collection[Node]) -> None:
        users = {target: 0}
        for node in nodes:
            if node is not target:
                for operand in set(node.operands) & users.keys():
                    users[operand] += 1
                    users[node] = 0
        self.root, self.target = root, target
        self.edges: dict[Node, list[Edge]] = {}
        for node in nodes:
            if node not in users:
                continue
            edges: list[Edge] = []
            slots: dict[Node, tuple[int, ...]] = {}
            if node is not target:
                for i, operand in enumerate(node.operands):
                    if operand in users:
                        slots[operand] = (*slots[operand], i) if operand in slots else (i,)
            for operand, positions in slots.items():
                links = ((node, positions),)
                further = self.edges[operand]
                if (
                    len(positions) == users[operand] == 1
                    and operand is not target
                    and operand not in named
                    and is_one(node, positions[0])
                    and (len(slots) == 1 or all(is_one(n, at[0]) for _, more in further for n, at in more))
                    and sum(len(more) for _, more in further) < MERGED
                ):
                    del self.edges[operand]
                    edges += [(below, links + more) for below, more in further]
                else:
                    edges.append((operand, links))
            self.edges[node] = edges
        self.order = sorted(self.edges, key=by_index, reverse=True) if root in users else []

    def stages(self) -> list[Node]:
        """The nodes that are on every path, newest first."""
        reach, found = float("inf"), []  # the smallest index of what any edge has led to so far
        for node in self.order:
            if node.index <= reach:
                found.append(node)
            reach = min([reach, *(operand.index for operand, _ in self.edges[node])])
        return found

    def direct(self, top: Node, bottom: Node) -> Links | None:
        """The links from `top` to `bottom`, if there is nothing else between the two."""
        edges = self.edges[top]
        return edges[0][1] if len(edges) == 1 and edges[0][0] is bottom else None

    def inside(self, top: Node, bottom: Node) -> list[Node]:
        """The nodes on paths between two stages, from the bottom to the top."""
        found = {top: None}
        waiting = [top]
        while waiting:
            node = waiting.pop()
            for operand, _ in self.edges[node] if node is not bottom else ():
                if operand not in found:
                    found[operand] = None
                    waiting.append(operand)
        return sorted(found, key=by_index)

    def ways(self, top: Node, bottom: Node) -> int:
        """How many paths lead from a stage down to another."""
        if self.direct(top, bottom):
            return 1
        ways = {bottom: 1}
        for node in self.inside(top, bottom)[1:]:
            ways[node] = min(MANY, sum(ways[operand] for operand, _ in self.edges[node]))
        return ways[top]

    def shortest(self, top: Node, bottom: Node) -> Iterator[list[Edge]]:
        """Paths between two stages, shorter ones first: best first, knowing how far it still is."""
        left = {bottom: 0}
        for node in self.inside(top, bottom)[1:]:
            left[node] = 1 + min(left[operand] for operand, _ in self.edges[node])
        order = count(0, -1)  # of paths of the same length, the one that was looked at last goes on
        heap: list[tuple[int, int, Node, int, Any]] = [(left[top], next(order), top, 0, None)]
        found = False
        while heap and not (found and next(order) < -EXPANDED):
            _, _, node, gone, before = heappop(heap)
            if node is bottom:
                path = []
                while before is not None:
                    before, edge = before
                    path.append(edge)
                found = True
                yield path[::-1]
                continue
            for edge in reversed(self.edges[node]):
                heappush(heap, (gone + 1 + left[edge[0]], next(order), edge[0], gone + 1, (before, edge)))

    def signature(self, top: Node, bottom: Node) -> Any:
        """What two stretches between stages have in common if they are the same operations."""
        links = self.direct(top, bottom)
        if links is not None:
            return rules_of(links)
        return tuple(tuple(rules_of(links) for _, links in self.edges[n]) for n in self.inside(top, bottom)[1:])


def rules_of(links: Links) -> Any:
    """Which rules the links apply."""
    return tuple((node.rule.name, slots) for node, slots in links)


def is_one(node: Node, slot: int) -> bool:
    """Whether a node passes the derivative on to this operand unchanged."""
    rule = node.rule
    return (
        slot < len(rule.partials)
        and node.operands[slot].shape == node.shape
        and formula.is_number(partial_trees(rule)[slot], 1)
    )


# -- what repeats --------------------------------------------------------------------------------------------------
def patterns(signatures: list[Any], most: int) -> Plan | None:
    """Cut a sequence at the patterns in it; None if what is then left to write is longer than `most`."""
    numbers: dict[Any, int] = {}
    ids = np.array([numbers.setdefault(signature, len(numbers)) for signature in signatures])
    n = len(ids)
    score, period_at, times_at = np.ones(n, int), np.ones(n, int), np.ones(n, int)
    for period in range(1, min(PERIOD, n // 3) + 1):
        here = np.arange(n - period)
        ends = np.append(np.flatnonzero(ids[:-period] != ids[period:]), n - period)
        times = (ends[np.searchsorted(ends, here)] - here) // period + 1
        better = here[(times >= 3) & (times * period > score[: n - period])]
        score[better], period_at[better], times_at[better] = times[better] * period, period, times[better]
    plan: Plan = []
    i = 0
    while i < n:
        plan.append((i, i + int(period_at[i]), int(times_at[i])))
        if sum(stop - start for start, stop, _ in plan) > most:
            return None
        i += int(score[i])
    return plan
