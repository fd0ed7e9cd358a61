"""Shadows: copies of the nodes of a graph, for a walk whose results must be differentiable in turn.

The values of a shadow are Tensors where somebody outside of the call differentiates them too, so the same rules record
the derivative of the derivative.  Everything else stays plain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Node, contexts, watchers
from ..tensor import Tensor

__all__ = ["One", "from_outside", "leading_to", "shadows"]

new = object.__new__


class One(np.float64):
    """The cotangent that a gradient starts from, where the walk is recorded: by it, nothing is multiplied."""

    __slots__ = ()

    def __mul__(self, other: Any) -> Any:
        return other if other.__class__ is Tensor else np.float64.__mul__(self, other)

    @staticmethod
    def for_one(ct: Any) -> Any:
        """`ct`, or, where that is 1.0, this."""
        return One(1) if ct.__class__ is np.float64 and ct == 1 else ct

    @staticmethod
    def plain(ct: Any) -> Any:
        """The inverse."""
        return np.float64(1) if ct.__class__ is One else ct


def from_outside(nodes: Sequence[Node], frontier: set[Node], targets: Sequence[Node]) -> set[Node]:
    """The nodes whose values somebody outside of this call may differentiate, in reverse mode or by a tangent."""
    varying = {node for node in frontier if node.index}
    varying.update(target for target in targets if target.rule is not None)
    if watchers:
        varying.update(node for node in (*nodes, *targets) if is_followed(node))
    if varying:
        for node in nodes:
            if node not in varying and not varying.isdisjoint(node.operands):
                varying.add(node)
    return varying


def leading_to(nodes: list[Node], targets: Sequence[Node], frontier: set[Node]) -> list[Node]:
    """Keep the nodes that depend on a target; the others join the frontier."""
    leading = set(targets)
    for node in nodes:
        if node not in leading:
            (frontier if leading.isdisjoint(node.operands) else leading).add(node)
    return [node for node in nodes if node in leading]


def is_followed(node: Node) -> bool:
    """Whether a node carries a tangent of a forward-mode call that is in progress; such a node may hold no operands."""
    tangents = getattr(node, "tangents", None)
    return tangents is not None and any(context in tangents for context in contexts.stack)


def shadows(
    nodes: Sequence[Node], frontier: set[Node], targets: Sequence[Node], varying: set[Node] | None
) -> dict[Node, Node]:
    """Copy the nodes, with Tensors for the values of those in `varying` (None: of all)."""
    copies: dict[Node, Node] = {}
    of = copies.__getitem__
    for some, are_ends in (((*frontier, *targets), True), (nodes, False)):
        for node in some:
            if node in copies:
                continue
            index = node.index
            if not index:  # of a constant nothing changes
                copies[node] = node
                continue
            shadow = copies[node] = new(Node)
            shadow.index, shadow.params, shadow.shape, shadow.dtype = index, node.params, node.shape, node.dtype
            shadow.value = value = node.value
            if value is not None and (varying is None or node in varying):
                shadow.value = tensor = new(Tensor)
                tensor.node, tensor.data = node, value
            if are_ends:
                shadow.rule, shadow.operands = None, ()
            else:
                shadow.rule, shadow.operands = node.rule, tuple(map(of, node.operands))
    if watchers:  # debug() says where a node was made
        for node, shadow in copies.items():
            shadow.origin = getattr(node, "origin", None)
    return copies
