"""A cotangent that comes in parts: what was read of one array, element by element, goes back in one operation.

A walk over plain arrays adds each part into the whole in place.  Where the walk is recorded that would be two nodes for
each part (a whole array with the part in it, and a sum), and n of them would cost O(n²).  So the parts are listed until
the whole is asked for, and one node has them all as operands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node
from ..rules.batching import one_by_one
from ..rules.indexing import is_plain
from ..rules.registry import Rule, apply, custom, rules
from ..tensor import Tensor, record

__all__ = ["PartlyRead"]

Read = tuple[Rule, tuple[Any, ...], dict[str, Any]]  # a linear rule with `add_into`, and its parameters
GETITEM = rules["getitem"]
WHOLE: Read = (GETITEM, (Ellipsis,), {})
WHOLES = Tensor, type(None)  # what a cotangent is, if parts may be added to it


def _together(*parts: Any, shape: tuple[int, ...], reads: Sequence[Read]) -> Any:
    """The sum of the transposes of linear operations, each of its own part."""
    total = np.zeros(shape, parts[0].dtype)
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


class PartlyRead(Node):
    """The shadow of a node whose value was read element by element: its cotangent may come in parts.

    They are listed until somebody asks for the cotangent.

    Attributes
    ----------
    total : the cotangent, but for the parts
    parts, reads : cotangents of what was read, and by which operations; None if there are none
    """

    __slots__ = ("parts", "reads", "total")

    total: Any
    parts: list[Any] | None
    reads: list[Read]

    @property
    def cotangent(self) -> Any:
        """The whole of it."""
        if self.parts is not None:
            self.total = record(together, self.parts, (), {"shape": self.shape, "reads": self.reads})
            self.parts = None
        return self.total

    @cotangent.setter
    def cotangent(self, ct: Any) -> None:
        self.total, self.parts = ct, None

    def takes_part(self, ct: Any) -> bool:
        """Whether a part is to be listed, and not added at once: where there are Tensors only."""
        return self.parts is not None or (ct.__class__ is Tensor and self.total.__class__ in WHOLES)

    def add_part(self, node: Node, ct: Any) -> None:
        """Add the transpose of the operation at `node`, which read this one's value, to the cotangent."""
        assert node.params is not None
        if self.parts is None:
            self.parts, self.reads = ([], []) if self.total is None else ([self.total], [WHOLE])
        self.parts.append(ct)
        self.reads.append((node.rule, *node.params))
