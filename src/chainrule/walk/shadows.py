"""Shadows: copies of the nodes of a graph, for a walk whose results must be differentiable in turn.

The values of a shadow are Tensors where somebody outside of the call differentiates them too, so the same rules record
the derivative of the derivative.  Everything else stays plain.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Node, contexts, watchers
from ..tensor import handle

__all__ = ["from_outside", "leading_to", "shadows"]


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
    ends = frontier.union(targets)
    for node in [*frontier, *targets, *nodes]:
        if node in copies:
            continue
        shadow = copies[node] = Node()
        value, shadow.params, shadow.shape = node.value, node.params, node.shape
        shadow.index = index = node.index
        if index:
            shadow.dtype = node.dtype
            if value is not None and (varying is None or node in varying):
                value = handle(node, value)
        shadow.value = value
        if node in ends:
            shadow.rule, shadow.operands = None, ()
        else:
            shadow.rule, shadow.operands = node.rule, tuple([copies[operand] for operand in node.operands])
    if watchers:  # debug() says where a node was made
        for node, shadow in copies.items():
            shadow.origin = getattr(node, "origin", None)
    return copies
