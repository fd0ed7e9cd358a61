"""Which entries of a Jacobian or Hessian can be other than zero: sets of inputs, pushed through a trace.

Every element of every node has the set of the inputs that it depends on.  Elements interact nonlinearly where an
operation bends; which pairs of inputs do, and reach the result, is the pattern of the Hessian.  A pattern speaks about
the function, so it is found from a trace, and holds wherever the program is the same: `fingerprint` tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from math import prod
from typing import Any

import numpy as np

from ..graph import Node, next_index, ordered
from ..record import trace
from ..rules.reach import Link, bending, limited, links, products
from ..tensor import Tensor, tensor_like
from ..tree import flatten

__all__ = ["Program", "hessian_pattern", "jacobian_pattern", "traced"]

CHUNK = 4_000_000  # pairs that are made at a time, before those that are known are dropped


_numbers = count(1)


# -- sets ----------------------------------------------------------------------------------------------------------
class Sets:
    """A set of inputs for each element: those of element `i` are `members[starts[i] : starts[i + 1]]`, in order."""

    __slots__ = ("members", "number", "starts")

    def __init__(self, starts: Any, members: Any) -> None:
        self.starts = starts
        self.members = members
        self.number = next(_numbers)

    def sizes(self) -> Any:
        """How many members each set has."""
        return self.starts[1:] - self.starts[:-1]


def _none(size: int) -> Sets:
    return Sets(np.zeros(size + 1, int), np.zeros(0, int))


def _ranges(starts: Any, sizes: Any) -> Any:
    """The numbers from each start on, as many as its size."""
    ends = np.cumsum(sizes)
    total = limited(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(total)


def _distinct(keys: Any) -> Any:
    """Sorted, each once."""
    keys.sort(kind="stable")  # they come in sorted runs
    if not len(keys):
        return keys
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _taken(sets: Sets, index: Any) -> Sets:
    """The sets at these positions; at -1, none."""
    if len(sets.starts) == 1 or not len(index):
        return _none(len(index))
    sizes = np.where(index >= 0, sets.sizes()[index], 0)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return Sets(starts, sets.members[_ranges(sets.starts[:-1][index], sizes)])


def _rows(sets: Sets) -> Any:
    return np.repeat(np.arange(len(sets.starts) - 1), sets.sizes())


def _from_keys(keys: Any, size: int, inputs: int) -> Sets:
    rows = keys // max(inputs, 1)
    return Sets(np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))]), keys - rows * inputs)


def _grouped(sets: Sets, into: Any, size: int, inputs: int) -> Sets:
    """For each group, the union of the sets in it."""
    return _from_keys(_distinct(np.repeat(into, sets.sizes()) * inputs + sets.members), size, inputs)


def _union(several: Sequence[Sets], size: int, inputs: int) -> Sets:
    filled = [sets for i, sets in enumerate(several) if len(sets.members) and not any(sets is s for s in several[:i])]
    if len(filled) < 2:
        return filled[0] if filled else _none(size)
    limited(sum(len(sets.members) for sets in filled))
    return _from_keys(_distinct(np.concatenate([_rows(sets) * inputs + sets.members for sets in filled])), size, inputs)


def _through(sets: Sets, link: Link | None, size: int, inputs: int) -> Sets:
    """The sets that an operand brings to the elements of a result."""
    if link is None or not len(sets.members):
        return _none(size)
    if link.taken is not None:
        sets = _taken(sets, link.taken)
    if link.into is not None:
        sets = _grouped(sets, link.into, link.groups, inputs)
    return sets if link.out is None else _taken(sets, link.out)


# -- programs --------------------------------------------------------------------------------------------------------
class Program:
    """A trace: what was applied to what, from the inputs to the outputs.

    Attributes
    ----------
    values : what the function returned, as plain arrays, one for each leaf of the container
    ends : their nodes; None of a constant
    leaves : the nodes of the inputs
    nodes : all nodes that the outputs depend on, oldest first
    inputs : number of elements of all inputs
    fingerprint : equal for traces that have the same pattern
    """

    def __init__(self, leaves: list[Node], outputs: Sequence[Any], start: int) -> None:
        self.leaves = leaves
        self.values = [output.data if isinstance(output, Tensor) else np.asarray(output) for output in outputs]
        self.ends = [output.node if isinstance(output, Tensor) else None for output in outputs]
        ends = [end for end in self.ends if end is not None and end.index >= start]
        self.nodes, frontier = ordered(ends, start)
        self.outside = any(node.index for node in frontier)
        self.inputs = sum(map(_size, leaves))
        self.fingerprint = _fingerprint(self)


def traced(f: Callable[..., Any], leaves: Sequence[Any], rebuild: Callable[[list[Any]], Any]) -> Program:
    """Trace `f` at the container that `rebuild` makes of the leaves."""
    start = next_index()
    nodes: list[Node] = []

    def run(*inputs: Tensor) -> list[Any]:
        nodes.extend(x.node for x in inputs if x.node is not None)  # before `f` writes to them
        return [tensor_like(output) for output in flatten(f(rebuild(list(inputs))))[0]]

    return Program(nodes, trace(run, *leaves).output, start)


def _fingerprint(program: Program) -> bytes:
    """A digest of all that a pattern depends on.

    That is which operations were applied to what, their parameters, and which constants are zero: whatever made the
    program what it is, a branch, a peek at a value, or a variable from outside, if the pattern may be another one then
    the digest is.
    """
    digest = hashlib.blake2b(digest_size=16)
    numbers: dict[Node, int] = {}
    for number, node in enumerate((*program.leaves, *program.nodes)):
        numbers.setdefault(node, number)

    def note(x: Any) -> None:
        if isinstance(x, np.ndarray):
            digest.update(f"{x.dtype}{x.shape}".encode())
            digest.update(repr(x.tolist()).encode() if x.dtype == object else np.ascontiguousarray(x).tobytes())
        elif isinstance(x, tuple | list):
            digest.update(f"{type(x).__name__}{len(x)}".encode())
            for part in x:
                note(part)
        elif isinstance(x, dict):
            note(list(x.items()))
        else:
            digest.update(f"{x!r};".encode())

    for leaf in program.leaves:
        note((leaf.shape, leaf.dtype))
    for node in program.nodes:
        if node.rule is None:
            continue
        note((node.rule.name, node.shape, node.dtype, node.params))
        for operand in node.operands:
            if operand in numbers:
                note(numbers[operand])
            elif isinstance(operand.value, np.ndarray | np.generic | int | float | complex):
                note((operand.shape, np.packbits(np.asarray(operand.value) != 0)))
            else:
                note(operand.value)
    note([None if end is None else numbers.get(end) for end in program.ends])
    note([(np.shape(value), value.dtype) for value in program.values])
    return digest.digest()


def _last_uses(nodes: Sequence[Node], ends: Iterable[Node | None]) -> dict[Node, list[Node]]:
    """After which node which others are not needed any more."""
    last: dict[Node, Node] = {}
    for node in nodes:
        for operand in node.operands:
            last[operand] = node
    for end in ends:
        if end is not None:
            last.pop(end, None)
    dropped: dict[Node, list[Node]] = {}
    for operand, node in last.items():
        dropped.setdefault(node, []).append(operand)
    return dropped


def _size(node: Node) -> int:
    return prod(node.shape)


def _of_leaves(program: Program) -> dict[Node, Sets]:
    sets, start = {}, 0
    for leaf in program.leaves:
        n = _size(leaf)
        sets[leaf] = Sets(np.arange(n + 1), np.arange(start, start + n))
        start += n
    return sets


Visit = Callable[[Node, list[Sets], list[Link | None], list[Sets]], None]


def _walk(program: Program, visit: Visit | None) -> dict[Node, Sets]:
    """Push sets through the program; `visit` sees those of the operands, and what these bring to each node."""
    sets, inputs = _of_leaves(program), program.inputs
    dropped = _last_uses(program.nodes, program.ends)
    for node in program.nodes:
        if node.rule is None:
            continue
        size, found = _size(node), list(links(node))
        operands = [sets[operand] if operand in sets else _none(_size(operand)) for operand in node.operands]
        brought = [_through(each, link, size, inputs) for each, link in zip(operands, found, strict=True)]
        sets[node] = _union(brought, size, inputs)
        if visit is not None:
            visit(node, operands, found, brought)
        for operand in dropped.get(node, ()):
            sets.pop(operand, None)
    return sets


def jacobian_pattern(program: Program) -> tuple[Any, Any]:
    """Rows and columns of the entries that can be other than zero, in row-major order."""
    sets = _walk(program, None)
    rows, columns, start = [np.zeros(0, int)], [np.zeros(0, int)], 0
    for end, value in zip(program.ends, program.values, strict=True):
        if end in sets:
            rows.append(_rows(sets[end]) + start)
            columns.append(sets[end].members)
        start += int(np.size(value))
    return np.concatenate(rows), np.concatenate(columns)


# -- Hessians ----------------------------------------------------------------------------------------------------------
class _Pairs:
    """Pairs of inputs that interact, each once, as smaller * inputs + larger."""

    def __init__(self, inputs: int) -> None:
        self.inputs = inputs
        self.keys = np.zeros(0, int)
        self.pending: list[Any] = []
        self.done: set[tuple[int, int]] = set()

    def add(self, a: Sets, b: Sets) -> None:
        """All members of a set in `a` with all of the set in the same place in `b`."""
        if not len(a.members) or not len(b.members) or (a.number, b.number) in self.done:
            return
        self.done.add((a.number, b.number))
        sizes_a, sizes_b = a.sizes(), b.sizes()
        sizes = sizes_a * sizes_b
        limited(np.max(sizes) // 2)
        ends = np.cumsum(sizes)
        start = 0
        while start < len(sizes):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + CHUNK, "right")))
            chunk = slice(start, stop)
            within = _ranges(np.zeros(stop - start, int), sizes[chunk])
            each = np.repeat(sizes_b[chunk], sizes[chunk])
            i = a.members[np.repeat(a.starts[:-1][chunk], sizes[chunk]) + within // each]
            j = b.members[np.repeat(b.starts[:-1][chunk], sizes[chunk]) + within % each]
            self.pending.append(_distinct(np.minimum(i, j) * self.inputs + np.maximum(i, j)))
            start = stop
            if sum(map(len, self.pending)) > CHUNK:
                self.merge()

    def merge(self) -> Any:
        """Drop what is there twice."""
        self.keys = _distinct(np.concatenate([self.keys, *self.pending]))
        self.pending.clear()
        limited(2 * len(self.keys))
        return self.keys


def _alive(program: Program) -> dict[Node, Any]:
    """Per node, which of its elements the outputs depend on."""
    alive: dict[Node, Any] = {node: np.zeros(_size(node), bool) for node in (*program.leaves, *program.nodes)}
    for end in program.ends:
        if end in alive:
            alive[end][:] = True
    for node in reversed(program.nodes):
        mine = alive[node]
        if node.rule is None or not mine.any():
            continue
        for operand, link in zip(node.operands, links(node), strict=True):
            if link is None or operand not in alive:
                continue
            groups = mine
            if link.out is not None:
                groups = np.zeros(link.groups, bool)
                reached = link.out[mine]
                groups[reached[reached >= 0]] = True
            elements = groups if link.into is None else groups[link.into]
            if link.taken is None:
                alive[operand] |= elements
            else:
                alive[operand][link.taken[elements]] = True
    return alive


def hessian_pattern(program: Program) -> tuple[Any, Any]:
    """Rows and columns of the entries that can be other than zero, of the sum of the outputs, in row-major order."""
    inputs = program.inputs
    alive, pairs = _alive(program), _Pairs(inputs)

    def interact(a: Sets, b: Sets, mine: Any) -> None:
        if mine.all():
            pairs.add(a, b)
        else:
            chosen = np.flatnonzero(mine)
            pairs.add(_taken(a, chosen), _taken(b, chosen))

    def visit(node: Node, operands: list[Sets], found: list[Link | None], brought: list[Sets]) -> None:
        rule, mine = node.rule, alive[node]
        if not mine.any():
            return
        multiplied = products(node)
        if multiplied is not None:
            for product in multiplied:
                a, b = operands[product.a], operands[product.b]
                if len(a.members) and len(b.members):
                    a, b = _taken(a, product.left), _taken(b, product.right)
                    interact(a, b, np.ones(1, bool) if product.out is None else mine[product.out])
            return
        if not rule.bends or rule.kind == "nondifferentiable":
            return
        if rule.partials:
            for i, j in {(min(pair), max(pair)) for pair in bending(rule)}:
                interact(brought[i], brought[j], mine)
        elif rule.kind == "linear":  # in each operand: only different ones interact
            for i, a in enumerate(brought):
                for b in brought[i + 1 :]:
                    interact(a, b, mine)
        else:
            whole = _union(brought, _size(node), inputs)
            same = [link.out for link in found if link is not None and link.out is not None]
            if same and len(same) == len(found):  # of elements that depend on the same groups, one is enough
                mine = mine.copy()
                _, first = np.unique(np.stack(same)[:, mine], axis=1, return_index=True)
                chosen = np.flatnonzero(mine)[first]
                mine[:] = False
                mine[chosen] = True
            interact(whole, whole, mine)

    _walk(program, visit)
    keys = pairs.merge()
    i = keys // max(inputs, 1)
    j = keys - i * inputs
    both = _distinct(np.concatenate([keys, j * inputs + i]))
    rows = both // max(inputs, 1)
    return rows, both - rows * inputs
