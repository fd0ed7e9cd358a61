"""Reverse mode (vjp, pullback): from cotangents of the outputs to cotangents of the targets.

One walk over the nodes, newest first.  Each rule adds into its operands' `cotangent` slots; broadcasting, dtypes and
complex conjugation are undone here, once.  The walk is optimistic: it multiplies plainly, and only if a NaN arrives at
a target does it walk again with products in which an exact zero wins (rule R4 of docs/numbers.md).

Over plain arrays the slots are those of the graph itself.  Where the cotangents must be differentiable in turn, or
another walk is using the slots, the walk runs on shadows: a copy of the nodes whose values are Tensors.  Where all
rules are printed ones, or read no values, there is a form of them that makes these Tensors as it reads: no copies then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..batch import bottom, levels_of, lowered
from ..errors import GradientShapeError, OutputError
from ..graph import CLOSED, FREED, Node, by_index, contexts, made_at, ordered, watchers
from ..memory import BIG, apply, owns
from ..rules.linear import added_up, anywhere
from ..rules.registry import Rule
from ..tensor import Tensor, as_value, describe, tensor_like
from . import functions
from .parts import Parts
from .shadows import One, from_outside, leading_to, shadows
from .singular import found_at, report

__all__ = ["accumulate", "backward", "compiled", "pull", "started", "sweep"]

add, float64, ndarray, double, single = np.add, np.float64, np.ndarray, np.dtype("f8"), np.dtype("f4")
PLAIN, CAREFUL, RECORDED = "pull", "careful_pull", "recorded_pull"  # the forms of a rule's function, by its fields
_slots = threading.Lock()  # held by the one walk that may use the graph's own slots


# -- adding up ---------------------------------------------------------------------------------------------------
def accumulate(node: Node, x: Any, fresh: bool = False) -> None:
    """Add `x` to the cotangent of `node`; `fresh` says that nobody else holds the array `x`."""
    kind = x.__class__
    if (
        (node.shape or node.dtype is not double)
        if kind is float64
        else (x.shape != node.shape or x.dtype is not node.dtype)
    ):
        given, x = x, fitted(x, node)
        kind = x.__class__
        fresh = kind is ndarray and owns(x) and (fresh or x is not given)
    before = node.cotangent
    if before is None:
        node.cotangent = x
        node.owned = fresh
    elif kind is not ndarray:
        node.cotangent = before + x
    elif before.__class__ is ndarray and node.owned:
        add(before, x, before)
    elif before.__class__ is ndarray and fresh:
        node.cotangent, node.owned = add(before, x, x), True
    else:
        node.cotangent = apply(add, before, x) if x.nbytes >= BIG else before + x
        node.owned = True


def fitted(x: Any, node: Node) -> Any:
    """Undo broadcasting and promotion: bring `x` to the shape and dtype of `node`."""
    shape = node.shape
    if x.shape != shape:
        extra = x.ndim - len(shape)
        if extra > 0 and x.shape[extra:] == shape:  # the usual case: a bias
            x = added_up(x, (0,) if extra == 1 else tuple(range(extra)))
        elif extra < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[extra:], strict=True)):
            x = np.broadcast_to(x, shape)
        else:
            stretched = [i for i, n in enumerate(shape, extra) if n == 1 and x.shape[i] != 1]
            x = np.reshape(added_up(x, (*range(extra), *stretched)), shape)
    return in_dtype(x, node.dtype)


def in_dtype(x: Any, dtype: Any) -> Any:
    """Convert; of a complex change to a real value, the real part counts."""
    if x.dtype == dtype:
        return x
    return (x.real if x.dtype.kind == "c" and dtype.kind != "c" else x).astype(dtype)


def compiled(rule: Rule, form: str) -> Callable[[Node, Any], None]:
    """Make, once per rule and form, the function that adds a node's share to its operands' cotangents."""
    function = functions.pull_function(rule, form, accumulate)
    setattr(rule, form, function)
    return function


# -- the walk ------------------------------------------------------------------------------------------------------
def pull(
    roots: Sequence[Node],
    cotangents: Sequence[Any],
    targets: Sequence[Node] | None = None,
    *,
    oldest: int = 1,
    differentiable: bool | None = None,
    free: bool = False,
) -> tuple[Sequence[Node], list[Any], bool]:
    """Walk from `roots` back to `targets`.

    Parameters
    ----------
    roots, cotangents : nodes, and one array (or Tensor) of the node's shape for each
    targets : nodes to differentiate with respect to; every leaf that is reached, by default
    oldest : nodes with a smaller index are outside: constants of this walk
    differentiable : whether the results must carry a graph of their own; by default, if something outside is involved
    free : whether to release the graph afterwards

    Returns
    -------
    targets : the nodes differentiated with respect to
    results : per target, its cotangent; an array nobody else holds, or None if the roots do not depend on it
    outside : whether the roots depend on anything outside
    """
    made_outside = min(map(by_index, roots), default=oldest) < oldest
    if made_outside:
        inside = [(root, ct) for root, ct in zip(roots, cotangents, strict=True) if root.index >= oldest]
        roots, cotangents = [root for root, _ in inside], [ct for _, ct in inside]
    nodes, frontier = ordered(roots, oldest)
    if targets is None:
        targets, rules = [node for node in nodes if node.rule is None], []
    else:
        rules = [target.rule for target in targets]
    outside = any(map(by_index, frontier))  # constants have index 0
    varying: set[Node] | None = None  # all of them
    if differentiable is None and all(rules) and rules:
        differentiable = True  # what leads to targets that depend on something outside depends on it, too
    elif differentiable is None:
        varying = from_outside(nodes, frontier, targets) if outside or watchers else set()
        differentiable = bool(varying) or any(isinstance(ct, Tensor) and ct.node is not None for ct in cotangents)
    if outside:
        nodes = leading_to(nodes, targets, frontier)
    walk = contexts.debug.walk if watchers and contexts.debug is not None else sweep
    alone, results = not any(rules), None  # at leaves, nothing below is reached
    if differentiable:
        cotangents = [One.for_one(ct) for ct in cotangents]
        alone = varying is None and not watchers and not [n for n in nodes if n.rule is not None and n.rule.needs]
    if alone and _slots.acquire(blocking=False):
        try:
            if differentiable:
                known = set(targets)
                above = [node for node in nodes if node not in known]
                results = sweep(above, frontier, roots, cotangents, targets, RECORDED, True)
            else:
                results = walk(nodes, frontier, roots, cotangents, targets, PLAIN, False)
        finally:
            _slots.release()
    if results is None:
        of = shadows(nodes, frontier, targets, varying if differentiable else set()).__getitem__
        copies, ends, starts, wanted = [list(map(of, each)) for each in (nodes, frontier, roots, targets)]
        results = walk(copies, ends, starts, cotangents, wanted, PLAIN, differentiable)
    if differentiable:
        results = [One.plain(ct) for ct in results]
    if free:
        release(nodes)
    return targets, results, outside or made_outside


@np.errstate(all="ignore")  # the forward pass warned already
def sweep(nodes: list[Node], frontier: Any, roots: Any, cotangents: Any, targets: Any, form: str, parts: bool) -> Any:
    """Walk once, and if a NaN arrives at a target, once more with careful products: None if that takes shadows."""
    results = _sweep(nodes, frontier, roots, cotangents, targets, form, parts)
    if contexts.singular != "nan" and any(map(has_nan, results)):
        return None if form is RECORDED else _sweep(nodes, frontier, roots, cotangents, targets, CAREFUL, parts)
    return results


def _sweep(
    nodes: list[Node], frontier: Any, roots: Any, cotangents: Any, targets: Any, form: str, parts: bool = False
) -> list[Any]:
    for node in frontier:
        node.cotangent = CLOSED
    for node in nodes:
        node.cotangent = None
    for node in targets:
        node.cotangent = None
    for root, ct in zip(roots, cotangents, strict=True):
        if root.cotangent is not CLOSED:
            accumulate(root, ct)
    plainly = form is PLAIN and not parts
    noted: list[Node] | None = [] if form is CAREFUL and contexts.singular in ("warn", "raise") else None
    try:
        for node in reversed(nodes):
            ct, rule = node.cotangent, node.rule
            if ct is not None and rule is not None:
                if plainly:
                    (rule.pull or compiled(rule, PLAIN))(node, ct)
                else:
                    pull_one = getattr(rule, form) or compiled(rule, form)
                    ct = ct.whole() if ct.__class__ is Parts else ct
                    if noted is not None and found_at(node, ct, (rule.pull or compiled(rule, PLAIN), pull_one)):
                        noted.append(node)
                    pull_one(node, ct)
                node.cotangent = None
    except Exception as error:
        if made_at(node):
            error.add_note(f"the operation: {node.rule.name}{made_at(node)}")
        raise
    if noted:
        report(noted)
    results = []
    for target in targets:
        ct = target.cotangent
        if ct.__class__ is ndarray:
            ct = ct[()] if not ct.ndim else ct if target.owned else ct.copy()
        results.append(ct.whole() if ct.__class__ is Parts else ct)
    for target in targets:
        target.cotangent = None
    return results


def has_nan(x: Any) -> bool:
    """Whether any element is NaN; one pass over memory, none over a temporary."""
    kind = x.__class__
    if kind is ndarray:
        dtype = x.dtype
        if dtype is double or dtype is single:
            flat = x if x.ndim == 1 else x.ravel()
            x = flat.dot(flat)  # squares add up without cancelling: a NaN in the sum is one of an element
            return bool(x != x)
    elif kind is float64:
        return bool(x != x)
    elif x is None:
        return False
    elif isinstance(x, Tensor):
        return has_nan(bottom(x).data)
    return contexts.careful or anywhere(np.isnan(x))


def release(nodes: list[Node]) -> None:
    """Drop what the nodes hold; a later walk over them raises `FreedGraphError`."""
    for node in nodes:
        if node.rule is not None:
            node.rule, node.operands, node.value = FREED, (), None


# -- backward --------------------------------------------------------------------------------------------------------
def backward(tensor: Tensor, gradient: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Add the derivative of this Tensor to the `grad` of every leaf it depends on.

    Parameters
    ----------
    gradient : array_like of this Tensor's shape, optional
        The cotangent to start from: ones by default, so that the sum of the elements is differentiated.
    retain_graph : bool, default False
        Keep the graph for another backward pass; otherwise it is freed as the pass ends.
    create_graph : bool, default False
        Make the gradients Tensors with a graph of their own, for derivatives of higher order; keeps the graph.

    Raises
    ------
    GradientShapeError
        If `gradient` has another shape than this Tensor.
    FreedGraphError
        If an earlier pass freed the graph.
    OutputError
        If this Tensor depends on no leaf.

    Notes
    -----
    Cost: a small multiple of the forward pass.  Nothing is changed if an error is raised.
    Complex: ``grad`` is dL/dx + i dL/dy, the direction of steepest ascent (PyTorch's convention).

    Examples
    --------
    >>> x = Tensor([1.0, 2.0])
    >>> (x * x).backward()
    >>> x.grad
    array([2., 4.])
    """
    if tensor.node is None:
        raise OutputError(
            f"backward() of {describe(tensor)}, which depends on no leaf: it is a constant, was detached, "
            "or was computed under no_grad()"
        )
    ct = started(tensor, gradient)
    leaves, results, _ = pull(
        [tensor.node],
        [ct],
        differentiable=create_graph or isinstance(ct, Tensor),
        free=not (retain_graph or create_graph),
    )
    for node, result in zip(leaves, results, strict=True):
        if hasattr(node, "grad"):
            if result is None:  # reached through steps only, such as floor
                result = np.zeros(node.shape, node.dtype)[()]
            before = node.grad
            node.grad = result if before is None else before + result


def started(tensor: Tensor, gradient: Any) -> Any:
    """The cotangent that a walk starts from: `gradient`, checked and in the dtype of `tensor`; ones by default."""
    if gradient is None:
        value = bottom(tensor).data
        return value.dtype.type(1) if isinstance(value, np.generic) else np.ones_like(value)[()]
    gradient = tensor_like(gradient)
    ct = gradient if isinstance(gradient, Tensor) else as_value(gradient, copy=False)
    if ct.shape != tensor.shape:
        raise GradientShapeError(
            f"the gradient has shape {ct.shape}, but the result it belongs to has shape {tensor.shape}"
        )
    if ct.dtype.kind == "c" and tensor.dtype.kind != "c":
        raise GradientShapeError("the gradient of a real result must be real")
    ct = ct.astype(tensor.dtype) if ct.dtype != tensor.dtype else ct
    return lowered(ct, levels_of(tensor)) if tensor.written else ct


setattr(Tensor, "backward", backward)
