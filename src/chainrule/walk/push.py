"""Forward mode (jvp, pushforward): tangents, pushed along with the values.

A `Follower` watches the recorder and pushes each node as it is made, so that forward mode needs no graph: nodes that no
reverse walk can reach hold no operands.  `push` walks a finished graph instead.  Both take one direction, or many at
once, along an axis in front.  The rules are those of reverse mode, printed the other way round.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..batch import together
from ..graph import Node, contexts, next_index, ordered, programs, watchers
from ..record import Context
from ..rules.batching import with_axes
from ..rules.bundle import unbundled
from ..rules.registry import Rule
from ..tensor import Tensor, handle
from . import functions
from .pull import has_nan, in_dtype, pull
from .shadows import from_outside, shadows
from .singular import report, zero_acts

__all__ = ["Follower", "push"]

Forward = Callable[[Node, Sequence[Any]], Any]


class Follower(Context):
    """One forward-mode call: it knows its own tangents, and nobody else's.

    Parameters
    ----------
    directions : whether each tangent is many of them, along an axis in front
    """

    def __init__(self, directions: bool = False) -> None:
        self.start = next_index()
        self.push_one = pushed_together if directions else pushed
        self.asked: list[Node] = []
        self.own: set[Node | None] = set()  # results of writes whose tangent nothing else shares memory with

    def tangent(self, node: Node | None) -> Any:
        """The tangent of a node, or None where it is zero."""
        known = getattr(node, "tangents", None)
        return None if known is None else known.get(self)

    def set_tangent(self, node: Node, tangent: Any) -> None:
        """Give a node its tangent."""
        if not hasattr(node, "tangents"):
            node.tangents = {}
        node.tangents[self] = tangent

    def made(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> None:
        """Push the tangents of a new node's operands through its rule."""
        tangents = [self.tangent(operand) for operand in nodes]
        if all(t is None for t in tangents):
            return
        if node.rule.push_in_place is not None and node.shape and not outer and self._written(node, tangents):
            return
        if node.shape:  # may be a view
            self.own.difference_update(nodes)
        stack = contexts.stack
        contexts.stack = outer  # what computes a tangent is of no concern to this call or those inside it
        try:
            view = self.view(node, nodes, values, outer)
            tangent = self.push_one(view, tangents)
            if tangent is not None:
                self.set_tangent(node, tangent)
                if self.push_one is pushed and node.rule.asks is not None and node.rule.asks(view, tangents):
                    self.asked.append(node)
                    node.root = min(node.root, node.index)  # what follows is kept for `ask`
        finally:
            contexts.stack = stack

    def ask(self, outputs: Sequence[Any]) -> None:
        """Let the pulls of rules that asked for it say (they warn) if the outputs depend on what is not determined."""
        ends = [output.node for output in outputs if isinstance(output, Tensor) and output.node is not None]
        random = np.random.default_rng(0)  # weights that no program has: what matters to an output matters to their sum
        weights = [np.asarray(random.uniform(1, 2, end.shape)).astype(end.dtype)[()] for end in ends]
        for node in self.asked:
            _, (ct,), _ = pull(ends, weights, [node], oldest=node.index, differentiable=False)
            if ct is not None:
                with np.errstate(all="ignore"):
                    (node.rule.pull_all or node.rule.pulls[0])(ct, node)

    def _written(self, node: Node, tangents: Sequence[Any]) -> bool:
        """Write into the tangent as the program wrote into its memory: a copy once, and O(1) for each element."""
        base = node.operands[0]
        total, t = tangents
        if self.push_one is not pushed or isinstance(total, Tensor) or isinstance(t, Tensor):
            return False
        if programs and not functions.is_written_down(total):
            return False
        if base in self.own:
            self.own.remove(base)
            del base.tangents[self]
        else:
            total = _own(total, node)
        node.rule.push_in_place(total, t, node)
        self.set_tangent(node, total)
        self.own.add(node)
        return True

    def view(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> Node:
        """A new node, with the values that its push rule may read."""
        view = Node()
        view.rule, view.params, view.shape, view.dtype = node.rule, node.params, node.shape, node.dtype
        view.operands = tuple(
            self._seen(operand, made_operand, value, outer)
            for operand, made_operand, value in zip(nodes, node.operands, values, strict=True)
        )
        view.value = self._seen(node, node, node.value, outer).value
        return view

    def _seen(self, node: Node | None, shape_of: Node, value: Any, outer: list[Context]) -> Node:
        """A node as the push rule may see it: its value a Tensor only if somebody outside differentiates it too."""
        view = Node()
        view.index, view.shape = shape_of.index, shape_of.shape
        if node is not None:
            view.dtype = node.dtype
            if value is not None and outside(node, self.start, outer):
                value = handle(node, value)
        view.value = value
        return view


def _own(total: Any, node: Node) -> Any:
    """A tangent that may be written to, of the value before the write."""
    return np.zeros(node.shape, node.dtype) if total is None else np.copy(total, order="C")


def pushed(node: Node, tangents: Sequence[Any], many: tuple[int, ...] = (), checked: bool = True) -> Any:
    """The tangent of a node, of its shape and dtype, from those of its operands, or None where it is zero.

    Parameters
    ----------
    node, tangents : None in these is zero
    many : axes that the tangent has in front, and so have the others, whose further axes are as many as the node's
    checked : whether to look for NaN, and multiply carefully where there is any
    """
    rule = node.rule
    with np.errstate(all="ignore"):  # the function itself warned already
        tangent = (rule.forward or compiled(rule, False))(node, tangents)
        if checked and tangent is not None and contexts.singular != "nan" and has_nan(tangent):
            plainly, tangent = tangent, (rule.careful_forward or compiled(rule, True))(node, tangents)
            if contexts.singular != "zero" and zero_acts(plainly, tangent):
                report([node])
    return None if tangent is None else fitting(tangent, node, many)


def pushed_together(node: Node, tangents: Sequence[Any], checked: bool = True) -> Any:
    """The same for many tangents, along an axis in front: formulas and products on whole arrays, others by `vmap`."""
    rule = node.rule
    many = next(t for t in tangents if t is not None).shape[:1]
    if rule.partials:
        rank = len(node.shape)
        return pushed(node, [t if t is None else with_axes(t, rank) for t in tangents], many, checked)
    if rule.kind == "linear" and rule.push is None:
        return fitting(functions.linear_push(node, tangents, together=True), node, many)
    if rule.additive and "initial" not in (node.params or ((), {}))[1]:  # that is added once, and is no tangent
        return fitting(functions.additive_push_together(node, tangents), node, many)
    arrays, rebuild = unbundled(tangents)
    rebuild_result: Any = None

    def one(arrays: list[Any]) -> list[Any]:
        nonlocal rebuild_result
        found, rebuild_result = unbundled([pushed(node, rebuild(arrays), (), checked)])
        return found

    found = together(one, arrays)
    return rebuild_result(found)[0]


def fitting(tangent: Any, node: Node, many: tuple[int, ...] = ()) -> Any:
    """Bring a tangent to the shape and dtype of its node."""
    shape = (*many, *node.shape)
    tangent = in_dtype(tangent if tangent.shape == shape else np.broadcast_to(tangent, shape), node.dtype)
    return tangent if shape or isinstance(tangent, Tensor) else tangent[()]


# -- over a finished graph -----------------------------------------------------------------------------------------
def push(
    roots: Sequence[Node | None],
    targets: Sequence[Node],
    tangents: Sequence[Any],
    oldest: int,
    directions: bool = False,
) -> list[Any]:
    """Walk from `targets` forward to `roots`.

    Parameters
    ----------
    roots : nodes; None, and what is older than `oldest`, does not depend on the targets
    targets, tangents : nodes, and one array (or Tensor) of the node's shape and dtype for each
    oldest : nodes with a smaller index are outside: constants of this walk
    directions : whether each tangent is many of them, along an axis in front

    Returns
    -------
    list
        Per root its tangent, or None where it is zero; Tensors if anything outside is involved.
    """
    nodes, frontier = ordered([root for root in roots if root is not None and root.index >= oldest], oldest)
    varying = from_outside(nodes, frontier, targets)
    differentiable = bool(varying) or any(isinstance(t, Tensor) and t.node is not None for t in tangents)
    seen = shadows(nodes, frontier, targets, varying) if differentiable else None
    known: dict[Node | None, Any] = dict(zip(targets, tangents, strict=True))
    if watchers and contexts.debug is not None and not directions:
        return _walk(nodes, roots, known, seen, contexts.debug.pushed)
    push_one = pushed_together if directions else pushed
    results = None
    if contexts.singular in ("zero", "nan"):  # as in reverse mode: NaN is looked for at the end, and rarely found
        results = _walk(nodes, roots, known, seen, functools.partial(push_one, checked=False), not directions)
        if contexts.singular == "nan" or not any(map(has_nan, results)):
            return results
    return _walk(nodes, roots, known, seen, push_one, not directions)


def _walk(
    nodes: Sequence[Node],
    roots: Sequence[Node | None],
    tangents: Mapping[Node | None, Any],
    seen: Mapping[Node, Node] | None,
    push_one: Callable[..., Any],
    writes: bool = True,
) -> list[Any]:
    """Push the tangents of some nodes through all; `writes`: into memory, as the program did, if that is safe."""
    known = dict(tangents)
    own: set[Node] = set()  # results of writes whose tangent nothing else shares memory with
    readers = Counter(operand for node in nodes for operand in node.operands)
    readers.update(root for root in roots if root is not None)
    for node in nodes:
        if node.rule is None or node in tangents:
            continue
        changes = [known.get(operand) for operand in node.operands]
        for operand in node.operands:
            readers[operand] -= 1
            if not readers[operand]:  # nobody will ask for its tangent any more
                known.pop(operand, None)
        if all(t is None for t in changes):
            continue
        plainly = writes and seen is None and not any(isinstance(t, Tensor) for t in changes)
        if node.rule.push_in_place is not None and node.shape and plainly:
            base, (total, t) = node.operands[0], changes
            if base in own:
                own.remove(base)
                known.pop(base, None)
            else:
                total = _own(total, node)
            node.rule.push_in_place(total, t, node)
            known[node] = total
            own.add(node)
            continue
        if node.shape:  # may be a view
            own.difference_update(node.operands)
        known[node] = push_one(node if seen is None else seen[node], changes)
    return [known.get(root) for root in roots]


def outside(node: Node, start: int, outer: Sequence[Context]) -> bool:
    """Whether a node depends on a leaf made before `start`, or carries a tangent of an outer call."""
    if getattr(node, "root", node.index) < start:
        return True
    tangents: dict[Any, Any] = getattr(node, "tangents", None) or {}
    return any(context in tangents for context in outer)


def compiled(rule: Rule, careful: bool) -> Forward:
    """Make, once per rule, the function that computes a node's tangent from those of its operands."""
    function = functions.push_function(rule, careful)
    if careful:
        rule.careful_forward = function
    else:
        rule.forward = function
    return function
