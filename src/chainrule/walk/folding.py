"""What of a graph goes into a picture: calls of modules as groups, what repeats once, and no more than fits.

The operations are taken in the order in which they were made.  Every group is a stretch of that order, so that what was
folded into one box never stands on both sides of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..graph import Node, by_index, calls
from .paths import patterns

__all__ = ["Group", "folded", "operations"]

ENDS = 8  # parts that are shown on either side of a fold
SEARCHED = 2_000  # parts of the longest list that may be left when what repeats is folded


class Group:
    """Operations that stand together.

    Attributes
    ----------
    title : what it is called: a module's name; empty if it is no module
    kind : "module", "repeat" (what comes before it, again and again) or "more"
    times : of a repeat: how often
    parts : operations and groups, in order
    is_open : whether its parts are shown
    opens : whether they are in the picture, so that a reader can open it
    """

    def __init__(self, kind: str, title: str = "", parts: Sequence[Node | Group] = (), times: int = 1) -> None:
        self.kind, self.title, self.times = kind, title, times
        self.parts: list[Node | Group] = list(parts)
        self.is_open = self.opens = False


def operations(part: Node | Group) -> Iterator[Node]:
    """Every operation in it, oldest first."""
    stack = [part]
    while stack:
        part = stack.pop()
        if isinstance(part, Group):
            stack.extend(reversed(part.parts))
        else:
            yield part


def folded(nodes: Sequence[Node], most: int, all_in: int) -> Group:
    """Group these nodes, and open groups while they give at most `most` boxes for operations.

    If everything fits, everything is open.  Else what repeats stays folded, and modules are opened from the outside.
    Of the others, those that give at most `all_in` boxes can be opened by a reader.
    """
    made = [node for node in nodes if node.rule is not None]
    root = _modules(made)
    if len(made) > most:
        _fold(root, most)
    root.is_open = root.opens = True
    for group in _fitting(root, most, {"module"}):
        group.is_open = group.opens = True
    for group in _fitting(root, all_in, {"module", "repeat", "more"}):
        group.opens = True
    return root


def _fitting(root: Group, most: int, kinds: set[str]) -> Iterator[Group]:
    """Groups that can be open together: a level at a time, the small ones first."""
    shown = len(root.parts)
    level = [root]
    while level:
        inner = [part for group in level for part in group.parts if isinstance(part, Group) and part.kind in kinds]
        level = []
        for group in sorted(inner, key=lambda group: len(group.parts)):
            if shown - 1 + len(group.parts) <= most:
                shown += len(group.parts) - 1
                level.append(group)
                yield group


def _modules(nodes: Sequence[Node]) -> Group:
    """Sort operations into the calls of modules that made them."""
    root = Group("module")
    if not nodes:
        return root
    first, last = nodes[0].index, nodes[-1].index
    waiting = sorted((c for c in list(calls) if c[0] < last and c[1] > first), key=lambda c: (-c[0], c[1]))
    stack: list[tuple[float, Group]] = [(float("inf"), root)]
    for node in sorted(nodes, key=by_index):
        while stack[-1][0] < node.index:
            stack.pop()
        while waiting and waiting[-1][0] < node.index:
            _, end, path, name = waiting.pop()
            if node.index < end <= stack[-1][0]:
                group = Group("module", f"{path}: {name}" if path else name)
                stack[-1][1].parts.append(group)
                stack.append((end, group))
        stack[-1][1].parts.append(node)
    for group in _groups(root):  # a frame around one box says no more than the box
        group.parts = [
            part.parts[0] if isinstance(part, Group) and len(part.parts) == 1 else part for part in group.parts
        ]
    return root


def _groups(root: Group) -> list[Group]:
    """This group and all inside it, the inner ones first."""
    found = [root]
    for group in found:
        found += [part for part in group.parts if isinstance(part, Group)]
    return found[::-1]


def _signature(part: Node | Group, numbers: dict[Any, int], known: dict[Group, int]) -> int:
    """A number that is the same for what looks the same."""
    if isinstance(part, Node):
        return numbers.setdefault((part.rule.name, part.shape), len(numbers))
    return known[part]


def _fold(root: Group, most: int) -> None:
    """In every group, the inner ones first: fold what repeats, then the middle of what is still too long."""
    numbers: dict[Any, int] = {}
    known: dict[Group, int] = {}
    for inner in _groups(root):
        signatures = [_signature(part, numbers, known) for part in inner.parts]
        name = inner.title.rpartition(": ")[2]
        known[inner] = numbers.setdefault((name, tuple(signatures)), len(numbers))
        plan = patterns(signatures, SEARCHED) if len(signatures) > 3 else None
        if plan is not None:
            inner.parts = [part for stretch in plan for part in _repeated(inner.parts, *stretch)]
        if len(inner.parts) > most:
            middle = Group("more", parts=inner.parts[ENDS:-ENDS])
            inner.parts[ENDS:-ENDS] = [middle]


def _repeated(parts: list[Node | Group], start: int, stop: int, times: int) -> list[Node | Group]:
    """A stretch that comes so often: once, the others as one group, and the last time."""
    period = stop - start
    if times == 1:
        return parts[start:stop]
    end = start + period * times
    middle = Group("repeat", parts=parts[stop : end - period], times=times - 2)
    return [*parts[start:stop], *([middle] if len(middle.parts) > 1 else middle.parts), *parts[end - period : end]]
