"""A cotangent that comes in parts: what was read of one array, element by element, goes back in one operation.

A walk over plain arrays adds each part into the whole in place.  Where the walk is recorded that would be two nodes for
each part (a whole array with the part in it, and a sum), and n of them would cost O(n²).  So the slot lists the parts
until the walk comes to it, and one node has them all as operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node
from ..rules.batching import one_by_one
from ..rules.indexing import is_plain
from ..rules.registry import Rule, apply, custom, rules
from ..tensor import record

__all__ = ["Parts"]

Read = tuple[Rule, tuple[Any, ...], dict[str, Any]]  # a linear rule with `add_into`, and its parameters
GETITEM = rules["getitem"]
WHOLE: Read = (GETITEM, (Ellipsis,), {})


def _together(*parts: Any, shape: tuple[int, ...], reads: Sequence[Read]) -> Any:
    """The sum of the transposes of linear operations, each of its own part."""
    total = np.zeros_like(parts[0], order="C", shape=shape)
    for part, (rule, rest, options) in zip(parts, reads, strict=True):
        assert rule.add_into is not None
        rule.add_into(total, part, *rest, **options)
    return total


def _pull(ct: Any, node: Node) -> list[Any]:
    assert node.params is not None
    reads = node.params[1]["reads"]
    if ct.__class__ is np.ndarray:
        return [rule.value(ct, *rest, **options) for rule, rest, options in reads]
    return [apply(rule, (ct,), rest, options) for rule, rest, options in reads]


def _push(node: Node, tangents: Sequence[Any]) -> Any:
    assert node.params is not None
    pairs = zip(node.params[1]["reads"], tangents, strict=True)
    reads, parts = zip(*[(read, t) for read, t in pairs if t is not None], strict=True)
    return together(*parts, shape=node.shape, reads=reads)


def _batch(rule: Rule, parts: Sequence[Any], batched: Sequence[bool], *, shape: Any, reads: Sequence[Read]) -> Any:
    indices = [rest[0] for read, rest, _ in reads if read is GETITEM and is_plain(rest[0])]
    if len(indices) < len(parts) or not all(batched):
        return one_by_one(rule, parts, batched, shape=shape, reads=reads)
    each = [(slice(None), *(index if type(index) is tuple else (index,))) for index in indices]
    reads = [(GETITEM, (index,), {}) for index in each]
    return apply(rule, parts, (), {"shape": (len(parts[0]), *shape), "reads": reads})


together = custom("transposes", _together, needs=("",), pull_all=_pull, push=_push, additive=True, batch=_batch)


class Parts:
    """What a `cotangent` slot holds in a walk that is recorded, until the walk comes to that node."""

    __slots__ = ("parts", "reads", "shape")

    def __init__(self, shape: tuple[int, ...], total: Any) -> None:
        self.shape = shape
        self.parts: list[Any] = [] if total is None else [total]
        self.reads: list[Read] = [] if total is None else [WHOLE]

    def add(self, node: Node, ct: Any) -> None:
        """Add the transpose of the operation at `node`, which read a part."""
        assert node.params is not None
        self.parts.append(ct)
        self.reads.append((node.rule, *node.params))

    def whole(self) -> Any:
        """What they add up to."""
        return record(together, self.parts, (), {"shape": self.shape, "reads": self.reads})

    def __add__(self, ct: Any) -> Any:
        return self.whole() + ct

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*[x.whole() if x is self else x for x in inputs], **options)
