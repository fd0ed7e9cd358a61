"""explain_nan: which operation gave the first NaN or infinity, forward and backward, and what to write instead.

Forward, values that were not kept are computed again from those that were; then the way back from the result leads,
through what is not finite, to where it arose.  Backward, a careful walk notes which node handed what to which operand;
then the way up from the leaves leads to where it arose.  What vanishes on the way (in `np.where`, by rule R4) is not
blamed.  Both are loops over the ordered nodes: a graph of a million nodes takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import Any

import numpy as np

from ..batch import bottom
from ..errors import FreedGraphError, OutputError
from ..graph import CLOSED, Gone, Node, contexts, made_at, ordered
from ..rules.registry import Rule
from ..tensor import Tensor, describe, plain
from .findings import Explanation, Finding, is_elementwise
from .pull import CAREFUL, PLAIN, _slots, _sweep, accumulate, compiled, has_nan, started
from .shadows import shadows
from .singular import zero_acts

__all__ = ["again", "all_finite", "explain_nan", "fresh", "in_backward"]


# -- small questions -----------------------------------------------------------------------------------------------
def all_finite(x: Any) -> bool:
    """Whether a value holds neither NaN nor infinity."""
    if x.__class__ is np.float64 or x.__class__ is float:
        return isfinite(x)
    return getattr(x, "dtype", np.dtype(int)).kind not in "fc" or bool(np.all(np.isfinite(x)))


def _is_nan(x: Any) -> bool:
    """Whether a number is NaN; false for arrays, which nobody has looked through."""
    return bool(x != x) if x.__class__ is np.float64 else False


def _bad(x: Any) -> Any:
    return ~np.isfinite(x)


def fresh(rule: Rule, values: Sequence[Any], value: Any) -> Any:
    """Mask of the elements where `value` is not finite though the operands are, or NaN though none of them is.

    None where there is no such element, and for a result that is finite.
    """
    known = [v for v in values if getattr(v, "dtype", None) is not None or isinstance(v, float | int | complex)]
    found = np.zeros(np.shape(value), bool)
    for test in (_bad, np.isnan):
        new = test(value)
        if is_elementwise(rule):
            for v in known:
                new = new & ~test(v)
        elif any(np.any(test(v)) for v in known):
            continue
        found |= new
    return found if found.any() else None


# -- forward -------------------------------------------------------------------------------------------------------
class _Forward:
    """The values of a graph as far as they are known, and what is not finite among them.

    Attributes
    ----------
    known : nodes whose value was kept or could be computed again
    nonfinite : those whose value is not finite, and the value
    wanted : the value of the node of that index
    evidence : nodes where something new was not finite: the operands' values, None where unknown
    """

    def __init__(self, nodes: Sequence[Node], root: Node, result: Any, wanted: int = 0) -> None:
        self.known: set[Node] = set()
        self.nonfinite: dict[Node, Any] = {}
        self.evidence: dict[Node, list[Any]] = {}
        self.wanted: Any = None
        uses: dict[Node, int] = {}
        for node in nodes:
            for operand in node.operands:
                uses[operand] = uses.get(operand, 0) + 1
        current: dict[Node, Any] = {}  # values, until their last use
        for node in nodes:
            operands = [current[o] if o.index else o.value for o in node.operands]
            value = result if node is root else getattr(node, "value", None)
            if value is None and node.rule is not None and not any(v is None for v in operands):
                value = again(node, operands)
            current[node] = value
            if node.index == wanted:
                self.wanted = value
                return
            if value is not None:
                self.known.add(node)
                if not all_finite(value):
                    self.nonfinite[node] = value
                    if node.rule is not None:
                        self.evidence[node] = operands
            for operand in node.operands:
                uses[operand] -= 1
                if not uses[operand]:
                    current.pop(operand, None)

    def earliest(self) -> Finding | None:
        """The first operation that gave something which is not finite, whatever became of it."""
        for node, values in self.evidence.items():
            value = self.nonfinite[node]
            if (new := fresh(node.rule, [v for v in values if v is not None], value)) is not None:
                certain = not any(v is None for v in values)
                return Finding.make(
                    "forward", node.rule, value, new, values, node.operands, _line(node), certain=certain
                )
        return None

    def first(self, nodes: Sequence[Node], root: Node, test: Callable[[Any], Any]) -> Finding | None:
        """Follow what fails the test from the result to where it arose."""
        found: Finding | None = None
        relevant: dict[Node, Any] = {root: test(self.nonfinite[root])}  # None: unknown, perhaps not finite
        for node in reversed(nodes):
            if node not in relevant:
                continue
            mask = relevant.pop(node)
            if node.rule is None:
                if mask is not None:
                    found = Finding.make(
                        "forward", "leaf", self.nonfinite[node], mask, [], [], _line(node), note=_named(node)
                    )
                continue
            new = mask
            certain = True
            for i, operand in enumerate(node.operands):
                value = operand.value if not operand.index else self.nonfinite.get(operand)
                if value is None and operand not in self.known:
                    certain = False
                    if operand.index:
                        relevant.setdefault(operand, None)
                    continue
                if value is None or all_finite(value) or not np.any(test(value)):
                    continue
                bad = test(value)
                if mask is not None:
                    new = new & ~bad if is_elementwise(node.rule) else np.zeros_like(new)
                    bad = _blamed(node, i, mask, bad)
                if not np.any(bad):
                    continue
                if operand.index:
                    before = relevant.get(operand)
                    relevant[operand] = bad if before is None else before | bad
                else:
                    note = f"it is an operand of {node.rule.name}"
                    found = Finding.make("forward", "constant", value, bad, [], [], _line(node), note=note)
            if mask is not None and np.any(new):
                values = self.evidence[node]
                found = Finding.make(
                    "forward", node.rule, self.nonfinite[node], new, values, node.operands, _line(node), certain=certain
                )
        return found


def again(node: Node, operands: Sequence[Any]) -> Any:
    """Compute a node's value from its operands'; None where that does not work."""
    rest, options = node.params or ((), {})
    try:
        with np.errstate(all="ignore"):
            value = node.rule.value(*operands, *rest, **options)
    except Exception:  # noqa: BLE001 (whatever went wrong, the value is not known)
        return None
    return value if np.shape(value) == node.shape else None


def _blamed(node: Node, i: int, mask: Any, bad: Any) -> Any:
    """Of the bad elements of operand i, those that the result's elements `mask` may come from."""
    rule = node.rule
    if rule.name == "where" and i:
        condition = np.broadcast_to(node.operands[0].value, mask.shape)
        mask = mask & (condition if i == 1 else ~condition)
    if is_elementwise(rule):
        return bad & _reduced(mask, np.shape(bad))
    if rule.kind == "linear" and len(node.operands) == 1 and len(rule.pulls) == 1:
        try:
            reached = np.asarray(plain(rule.pulls[0](mask.astype(float), node))) != 0
        except Exception:  # noqa: BLE001 (a mask is no cotangent for every transpose)
            return bad
        if reached.shape == np.shape(bad) and np.any(bad & reached):
            return bad & reached
    return bad


def _reduced(mask: Any, shape: tuple[int, ...]) -> Any:
    """Undo broadcasting: whether any of the elements that an operand's element went to is set."""
    mask = np.asarray(mask)
    mask = mask.any(axis=tuple(range(mask.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and mask.shape[i] != 1)
    return mask.any(axis=stretched, keepdims=True)


def _named(leaf: Node) -> str:
    name = getattr(leaf, "name", None)
    return f"it is {name!r}, of shape {leaf.shape}" if name else f"it has the shape {leaf.shape}"


def _line(node: Node) -> str:
    origin = getattr(node, "origin", None)
    return str(origin) if origin is not None else ""


# -- backward ------------------------------------------------------------------------------------------------------
def in_backward(
    nodes: list[Node],
    frontier: Iterable[Node],
    roots: Sequence[Node],
    cotangents: Sequence[Any],
    targets: Sequence[Node],
    recall: Callable[[Node], Any] | None = None,
) -> tuple[Finding | None, list[Node]]:
    """Find where in a walk back NaN or infinity arose that arrives at a target.

    Parameters
    ----------
    nodes, frontier, roots, cotangents, targets : as the walk takes them; their slots are used
    recall : what computes the value of a node that kept none

    Returns
    -------
    finding : Finding or None
    zero_won : list of Node
        The nodes at which rule R4 acted.
    """
    walk = nodes, frontier, roots, cotangents, targets
    with np.errstate(all="ignore"):
        results = _sweep(*walk, PLAIN)
        if all(x is None or all_finite(x) for x in results):
            return None, []
        noted = _Backward(*walk, careful=contexts.singular != "nan" and any(map(has_nan, results)))
        found = noted.first(nodes)
        if found is not None:
            values = [node.value for node in found.operands]
            if recall is not None and any(value is None for value in values):
                values = [v if v is not None else recall(o) for v, o in zip(values, found.operands, strict=True)]
            return noted.finding(found, values), noted.zero_won
    given = [_first_bad(ct) for ct in cotangents if not all_finite(ct)]
    return (Finding("backward", "cotangent", given[0], (), (), "") if given else None), noted.zero_won


class _Backward:
    """A walk that notes which node handed on what is not finite.

    Attributes
    ----------
    tainted : nodes whose cotangent is not finite
    givers : per tainted node, those that handed it on
    makers : nodes that gave something not finite of a finite cotangent, and that cotangent
    zero_won : nodes at which rule R4 acted
    """

    def __init__(
        self, nodes: Sequence[Node], frontier: Any, roots: Any, cotangents: Any, targets: Any, careful: bool
    ) -> None:
        self.careful = careful
        self.tainted: set[Node] = set()
        self.givers: dict[Node, list[Node]] = {}
        self.makers: dict[Node, Any] = {}
        self.zero_won: list[Node] = []
        for node in frontier:
            node.cotangent = CLOSED
        for node in (*nodes, *targets):
            node.cotangent = None
            node.owned = False
        for root, ct in zip(roots, cotangents, strict=True):
            if root.cotangent is not CLOSED:
                accumulate(root, ct)
                if not all_finite(ct):
                    self.tainted.add(root)
        for node in reversed(nodes):
            if node.rule is not None and node.cotangent is not None:
                self._hand_on(node, node.cotangent)
                node.cotangent = None
        self.targets = {t for t in targets if t.cotangent is not None and not all_finite(t.cotangent)}
        for target in targets:
            target.cotangent = None

    def _hand_on(self, node: Node, ct: Any) -> None:
        rule = node.rule
        operands: Sequence[Node] = node.operands
        if len(operands) > 1 or operands[0].cotangent is CLOSED:
            operands = [operand for operand in dict.fromkeys(operands) if operand.cotangent is not CLOSED]
        pull = rule.pull or compiled(rule, PLAIN)
        if rule.add_into is not None or rule.pull_in_place is not None:  # only moves; looking costs the whole array
            node.owned = False
            pull(node, ct)
            if node in self.tainted:
                for operand in operands:
                    self._taint(operand, node)
            return
        before = [operand.cotangent for operand in operands]
        tainted = node in self.tainted
        plainly = [] if self.careful and tainted else self._shares(node, ct, operands, pull)
        shares = plainly
        if self.careful and (tainted or any(map(has_nan, plainly))):
            shares = self._shares(node, ct, operands, rule.careful_pull or compiled(rule, CAREFUL))
            if not all(map(_is_nan, shares)):  # as most are, once there is a NaN
                plainly = plainly or self._shares(node, ct, operands, pull)
                if any(map(zero_acts, plainly, shares)):
                    self.zero_won.append(node)
        for operand, total, share in zip(operands, before, shares, strict=True):
            operand.cotangent, operand.owned = (share if total is None else total), False
            if total is not None and share is not None:
                accumulate(operand, share)
            if share is not None and not all_finite(share):
                self._taint(operand, node)
                shape = np.shape(share)
                if not tainted or (
                    shape and is_elementwise(rule) and shape == np.shape(ct) and np.any(_bad(share) & ~_bad(ct))
                ):
                    self.makers[node] = ct

    def _shares(self, node: Node, ct: Any, operands: Sequence[Node], pull: Callable[..., Any]) -> list[Any]:
        for operand in operands:
            operand.cotangent, operand.owned = None, False
        pull(node, ct)
        return [operand.cotangent for operand in operands]

    def _taint(self, operand: Node, giver: Node) -> None:
        self.tainted.add(operand)
        self.givers.setdefault(operand, []).append(giver)

    def first(self, nodes: Sequence[Node]) -> Node | None:
        """The newest node that gave something not finite which arrives at a target."""
        reached, found = set(self.targets), None
        for node in sorted({*nodes, *reached}, key=lambda node: node.index):
            if node in reached:
                for giver in self.givers.get(node, ()):
                    if giver in self.makers and (found is None or giver.index > found.index):
                        found = giver
                    if giver in self.tainted:
                        reached.add(giver)
        return found

    def finding(self, node: Node, values: Sequence[Any]) -> Finding:
        """Describe what a node gave, before broadcasting was undone."""
        ct = self.makers[node]
        position, share = next((i, share) for i, share in self._broadcast(node, ct) if not all_finite(share))
        bad = _bad(share)
        if np.shape(bad) == np.shape(ct) and np.any(bad & ~_bad(ct)):
            bad = bad & ~_bad(ct)
        result = again(node, values) if node.value is None and not any(v is None for v in values) else node.value
        note, acted = "", ("R4",) if node in self.zero_won else ()
        if np.shape(ct) == np.shape(bad):
            index = np.unravel_index(int(np.argmax(bad)), np.shape(bad))
            note = f"the cotangent {'there ' if index else ''}is {ct[index]}"
        if not all(v is None or all_finite(v) for v in (*values, result)):
            note += ("; " if note else "") + "it reads values that are not finite already: see the forward pass"
        elif (
            is_elementwise(node.rule)
            and result is not None
            and np.isinf(dict(self._broadcast(node, np.ones_like(ct)))[position][index])
        ):
            acted = ("R3", *acted)
        return Finding.make(
            "backward", node.rule, share, bad, values, node.operands, _line(node),
            result=result, note=note, rules=acted,
        )  # fmt: skip

    def _broadcast(self, node: Node, ct: Any) -> list[tuple[int, Any]]:
        """What the pull of a node gives to its operands, before broadcasting is undone, with their positions."""
        rule, view = node.rule, Node()
        view.rule, view.params, view.shape, view.value, view.owned = rule, node.params, node.shape, node.value, False
        operands = []
        for operand in node.operands:
            part = Node()
            part.index, part.value, part.dtype = operand.index, operand.value, getattr(operand, "dtype", None)
            part.shape = node.shape if is_elementwise(rule) else operand.shape
            part.cotangent = CLOSED if operand.cotangent is CLOSED else None
            part.rule = part.params = None
            part.operands = ()
            operands.append(part)
        view.operands = tuple(operands)
        pull = (rule.careful_pull or compiled(rule, CAREFUL)) if self.careful else rule.pull
        pull(view, ct)
        shares = [(i, part.cotangent) for i, part in enumerate(operands)]
        return [(i, share) for i, share in shares if share is not None and share is not CLOSED]


def _first_bad(x: Any) -> Any:
    return np.ravel(x)[int(np.argmax(_bad(np.ravel(x))))]


# -- both ----------------------------------------------------------------------------------------------------------
def explain_nan(y: Tensor) -> Explanation:
    """Say which operation gave the first NaN or infinity of a result, and of its gradients, and what to write instead.

    Parameters
    ----------
    y : Tensor
        A result that depends on a leaf, whose graph was not freed.

    Returns
    -------
    Explanation
        With the fields `forward`, `turned_nan`, `backward` and `zero_won`; print it for the words.  If nothing is NaN
        or infinite, it says so.

    Raises
    ------
    OutputError
        If `y` is no Tensor, or has no graph, as inside forward mode.
    FreedGraphError
        If a backward pass has freed the graph.

    Notes
    -----
    The backward pass is that of ``y.backward()``, from ones to all leaves; no gradient is changed.  Values that no
    derivative needs are not kept by the graph: they are computed again where their operands are known, else it says
    that they were not kept.  Lines of the program, and all values, are recorded inside ``with debug(stop=False):``.
    Inside `vmap`, arrays and indices have the examples' axis.  Cost: a few forward and backward passes.

    Examples
    --------
    >>> import numpy as np
    >>> x = Tensor([1.0, 0.0], name="x")
    >>> with np.errstate(divide="ignore"):
    ...     y = np.sum(np.log(x))
    >>> print(explain_nan(y).forward.operation, explain_nan(y).forward.index)
    log (1,)
    """
    given, y = y, bottom(y)
    if not isinstance(y, Tensor) or y.node is None:
        raise OutputError(f"explain_nan() of {describe(given)}, which has no graph: pass a Tensor computed from a leaf")
    root = y.node
    if root.rule is None and not hasattr(root, "name"):
        raise OutputError(
            f"explain_nan() of {describe(given)} inside forward mode, which keeps no graph: use `with debug():` there, "
            "which stops where it goes wrong"
        )
    nodes, frontier = ordered([root])
    for node in nodes:
        if isinstance(node.rule, Gone):
            raise FreedGraphError(
                f"explain_nan: {node.rule.reason} explain_nan runs the backward pass itself, so call it before."
            )
    forward = turned = vanished = None
    values = _Forward(nodes, root, y.data)
    if all_finite(y.data):
        vanished = values.earliest()
    else:
        forward = values.first(nodes, root, _bad)
        if forward is not None and not np.isnan(forward.value) and np.any(np.isnan(y.data)):
            turned = values.first(nodes, root, np.isnan)

    def recall(node: Node) -> Any:
        return _Forward(nodes, root, y.data, node.index).wanted if node.index else node.value

    leaves = [node for node in nodes if node.rule is None]
    start = [started(y, None)]
    if _slots.acquire(blocking=False):
        try:
            backward, zero_won = in_backward(nodes, frontier, [root], start, leaves, recall)
        finally:
            _slots.release()
    else:
        of = shadows(nodes, frontier, leaves, set())
        for node, shadow in of.items():
            shadow.origin = getattr(node, "origin", None)
        inner, outside, ends = ([of[node] for node in each] for each in (nodes, frontier, leaves))
        backward, zero_won = in_backward(inner, outside, [of[root]], start, ends, recall)
    acted = tuple(f"{node.rule.name}{made_at(node)}" for node in zero_won)
    return Explanation(forward, turned, backward, acted, vanished)
