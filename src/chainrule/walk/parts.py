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

__all__ = ["Parts"]

Read = tuple[Rule, tuple[Any, ...], dict[str, Any]]  # a linear rule with `add_into`, and its parameters
GETITEM = rules["getitem"]
WHOLE: Read = (GETITEM, (Ellipsis,), {})


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


class Parts(Tensor):
    """A cotangent of which only the parts are known; looking at it adds them up, and makes a Tensor of it."""

    __slots__ = ()

    @staticmethod
    def add(total: Tensor | None, node: Node, ct: Any) -> Tensor:
        """Add the transpose of the operation at `node` to the cotangent of its operand, which is at most a Tensor."""
        assert node.params is not None
        if total.__class__ is Parts:
            parts, reads, _ = total.origin
        else:
            parts, reads = ([], []) if total is None else ([total], [WHOLE])
            total = object.__new__(Parts)
            total.origin = parts, reads, node.operands[0].shape
        parts.append(ct)
        reads.append((node.rule, *node.params))
        return total

    def _add_up(self) -> None:
        parts, reads, shape = self.origin
        whole = record(together, parts, (), {"shape": shape, "reads": reads})
        self.__class__ = Tensor  # type: ignore[assignment]
        del self.origin
        known: Tensor = self
        known.node, known.data = whole.node, whole.data

    @property
    def node(self) -> Node | None:  # type: ignore[override]
        self._add_up()
        return self.node

    @property
    def data(self) -> Any:
        self._add_up()
        return self.data
