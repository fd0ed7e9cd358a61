"""Explain: the chain rule as it applies to one computation, with its factors, its paths and its numbers.

paths.py finds the stages, which make the product, and the ways between them, which are added; naming.py what to call
things; here each factor is found: what the rule says, in the user's names, and what it is in numbers.  The numbers are
made by the rules of reverse mode, one factor after the other, so the last one is the gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np

from ..errors import FreedGraphError, OutputError
from ..graph import Gone, Node, by_index, ordered
from ..tensor import Tensor, describe
from .derivation import (
    Definition,
    Derivative,
    Explanation,
    Factor,
    Omitted,
    Part,
    Product,
    Repeat,
    Written,
    quotient,
)
from .local import Locals, pulled
from .naming import Names, variables_of
from .paths import MANY, Between, Edge, Links, Plan, is_one, patterns, rules_of
from .pull import has_nan, pull, started

__all__ = ["explain", "explained"]

SHOWN = 12  # factors in a row; more are folded
ENDS = 4  # factors at either end of a product whose middle is left out
PATHS = 6  # kinds of paths that are written out
LOOKED_AT = 200  # paths that are looked at, the shortest first
WALKED = 20_000  # nodes of the largest graph whose factors are computed one by one
COMPUTED = 2_000  # nodes of the largest graph whose values are computed again if they were not kept
DEFINED = 24  # quantities that are defined below the derivation


def explain(y: Tensor, wrt: Tensor | Sequence[Tensor]) -> Explanation:
    """Write down the chain rule for this computation.

    Parameters
    ----------
    y : Tensor
        A result that was computed from `wrt`, whose graph was not freed.
    wrt : Tensor or sequence of Tensor
        What it is differentiated in: leaves, or results on the way to `y`.

    Returns
    -------
    Explanation
        The product of derivatives along each path from `y` to `wrt`, each factor as its rule says it, and the numbers.
        ``print`` it, or let a notebook show it; ``.latex`` and ``.html`` are there for pages, ``.derivatives`` is data.

    Raises
    ------
    OutputError
        If `y` or `wrt` is no Tensor with history, or `y` does not depend on `wrt`.
    FreedGraphError
        If a backward pass has freed the graph.

    Notes
    -----
    Quantities have the names given by ``Tensor(..., name=)`` or by a module, else those of the variables that hold them
    where this function is called, else v₁, v₂, ... in the order of computation.  Of a result with several elements, the
    sum is differentiated, as by ``backward()``.  Patterns that repeat and long products are folded, and the text says
    what was.  Cost: linear in the number of nodes, a few seconds for a million.

    Examples
    --------
    >>> w, x = Tensor(2.0), Tensor(3.0)
    >>> v = w * x
    >>> y = np.sin(v)
    >>> print(explain(y, w))
    ∂y/∂w = ∂y/∂v · ∂v/∂w
          = cos(v) · x
          = cos(w·x) · x
          = 0.96017 · 3
          = 2.88051
    <BLANKLINE>
    where
      y =   sin(v)   scalar   -0.279415
      v =   w·x      scalar   6
    <BLANKLINE>
    ∂y/∂w step by step (G: the product so far):
      factor   local derivative   its value   G
      ∂y/∂v    cos(v)             0.96017     0.96017
      ∂v/∂w    x                  3           2.88051
    """
    return explained(y, wrt, variables_of(sys._getframe(1)))


def explained(y: Tensor, wrt: Tensor | Sequence[Tensor], held: Iterable[tuple[str, Any]]) -> Explanation:
    """Explain, with names from `held`: pairs of a name and what it names."""
    if not isinstance(y, Tensor) or y.node is None:
        raise OutputError(f"explain() of {describe(y)}, which has no graph: explain what was computed from a leaf")
    asked: list[Any] = list(wrt) if isinstance(wrt, list | tuple) else [wrt]
    if not asked:
        raise OutputError("explain(y, wrt): wrt is empty; name the quantities to differentiate in")
    nodes, frontier = ordered([y.node])
    gone = next((node.rule for node in nodes if isinstance(node.rule, Gone)), None)
    if gone is not None:
        raise FreedGraphError(f"explain(): {gone.reason}")
    targets = {_node_of(target, nodes): target for target in asked}
    names = Names(y, targets, nodes, frontier, held)
    graphs = [Between(y.node, target, nodes, names.given) for target in targets]
    needed = {node for graph in graphs for node in graph.edges}
    names.number(node for node in nodes if node in needed)
    ct, notes = started(y, None), list[str]()
    if y.ndim:
        shape = f"{names.head.text} has shape {y.shape}"
        notes.append(f"{shape}: the sum of its elements is differentiated, as by backward()")
    mentioned: dict[Node, None] = {}
    derivatives = tuple(_Derivation(graph, names, ct, mentioned, notes).derivative() for graph in graphs)
    definitions = _definitions(y.node, mentioned, names, nodes, notes)
    return Explanation(derivatives, definitions, tuple(dict.fromkeys(notes)))


def _node_of(target: Any, nodes: list[Node]) -> Node:
    if not isinstance(target, Tensor) or target.node is None:
        raise OutputError(f"explain(y, wrt) of wrt = {describe(target)}, which is a constant: it has no history")
    known = set(nodes)
    for node in (target.node, getattr(target, "leaf", None)):  # the leaf: what it was before it was written to
        if node in known:
            return node
    if any(node.rule is None and not hasattr(node, "grad") for node in nodes):
        raise OutputError(
            "explain(y, wrt) inside a call in forward mode (jvp), which keeps no graph: explain outside of it"
        )
    leaves = [getattr(node, "name", None) or f"a leaf of shape {node.shape}" for node in nodes if node.rule is None]
    more = f" and {len(leaves) - 8:,} more leaves" if len(leaves) > 8 else ""
    raise OutputError(
        f"explain(y, wrt): y does not depend on {describe(target)}. It depends on {', '.join(leaves[:8])}{more}"
    )


def _definitions(
    root: Node, mentioned: dict[Node, None], names: Names, nodes: list[Node], notes: list[str]
) -> tuple[Definition, ...]:
    """Say how each quantity that was mentioned was computed, the newest first."""
    if len(nodes) <= COMPUTED and not names.compute(nodes):
        notes.append(
            "something was changed since y was computed from it: the values that stand here are those that were kept"
        )
    found = []
    inner = _of(names, root)
    if names.head != inner:
        found.append(Definition(names.head, inner, root.shape, names.value(root)))
    wanted = sorted((node for node in mentioned if node.rule is not None), key=by_index, reverse=True)
    for node in wanted[:DEFINED]:
        expression = Written(*(names.shown(node, style, top=True)[0] for style in (0, 1)))
        found.append(Definition(_of(names, node), expression, node.shape, names.value(node)))
    if len(wanted) > DEFINED:
        notes.append(f"{len(wanted) - DEFINED} further quantities are not defined here")
    if any(definition.value is None for definition in found):
        notes.append("where no value stands, none was kept: nodes keep only what some derivative reads")
    return tuple(found)


def _of(names: Names, node: Node) -> Written:
    name = names.of(node)
    assert name is not None, node
    return name


# -- one derivative ------------------------------------------------------------------------------------------------
class _Derivation:
    """The derivation for one target."""

    def __init__(self, graph: Between, names: Names, ct: Any, mentioned: dict[Node, None], notes: list[str]) -> None:
        self.graph, self.names, self.mentioned, self.notes = graph, names, mentioned, notes
        _, (total,), _ = pull([graph.root], [ct], [graph.target], differentiable=False)
        self.total = np.zeros(graph.target.shape, graph.target.dtype)[()] if total is None else total
        self.products: dict[Node, Any] = {graph.root: ct}  # of all factors down to a node: its cotangent
        self.numeric = len(graph.order) <= WALKED
        self.careful = False
        self.locals = Locals(names, notes)
        if self.numeric:
            self._walk(ct)
            if has_nan(self.products[graph.target]) and not has_nan(self.total):
                self.careful = True
                self._walk(ct)
        else:
            notes.append(
                f"{len(graph.order):,} operations lie between: the gradient was computed, but no single factors"
            )

    def _walk(self, ct: Any) -> None:
        self.products = {self.graph.root: ct}
        for node in self.graph.order:
            for operand, links in self.graph.edges[node]:
                x = self._along(links, self.products[node])
                before = self.products.get(operand)
                self.products[operand] = x if before is None else before + x

    def _along(self, links: Links, ct: Any) -> Any:
        with np.errstate(all="ignore"):
            for node, slots in links:
                ct = pulled(node, slots, ct, self.careful)
        return ct

    def _name(self, node: Node) -> Written:
        """The name of a quantity that the derivation is about; it will be defined below."""
        self.mentioned[node] = None
        return _of(self.names, node)

    def derivative(self) -> Derivative:
        """Put it together."""
        graph, head = self.graph, self.names.head
        by = self._name(graph.target)
        self._name(graph.root)
        spans = list(pairwise(graph.stages()))
        if len(spans) == 1:
            factor = self._factor(*spans[0])
            if factor.count > 1:
                return Derivative(head, by, factor.paths, factor.count, factor.count, self.total)
        plan = self._plan(spans)
        if plan is None:  # long even when folded: cut it only where the user has named something
            inner = [bottom for _, bottom in spans[:-1] if bottom in self.names.given]
            if inner:
                spans = list(pairwise([graph.root, *inner, graph.target]))
                plan = self._plan(spans)
        parts = self._folded(spans, plan, lambda span: self._factor(*span))
        ways = 1
        for span in spans:
            ways = min(MANY, ways * graph.ways(*span))
        if ways > 1:
            number = f"{'more than ' * (ways >= MANY)}{ways:,} paths"
            self.notes.append(f"there are {number} from {head.text} to {by.text}; what they share is factored out")
        return Derivative(head, by, (Product(tuple(parts), len(spans), 1, self.total),), 1, ways, self.total)

    def _plan(self, spans: list[tuple[Node, Node]]) -> Plan | None:
        """How to fold spans if there are many, or None if that does not make them few."""
        return patterns([self.graph.signature(*span) for span in spans], SHOWN) if len(spans) > SHOWN else []

    # -- factors
    def _factor(self, top: Node, bottom: Node) -> Factor:
        """All that lies between two stages: an edge; a stretch that was cut at given names; or several paths."""
        links = self.graph.direct(top, bottom)
        if links is not None:
            return self._direct(top, bottom, links, self.products.get(top), self.products.get(bottom))
        of, by, product = self._name(top), self._name(bottom), self.products.get(bottom)
        ways = self.graph.ways(top, bottom)
        if ways == 1:
            steps = len(self.graph.inside(top, bottom)) - 1
            return Factor(of, by, quotient(of, by, 1), product=product, notes=(f"{steps:,} operations",))
        paths = self._paths(top, bottom)
        return Factor(of, by, quotient(of, by, ways), acts="sum", product=product, paths=tuple(paths), count=ways)

    def _direct(self, top: Node, bottom: Node, links: Links, before: Any, product: Any) -> Factor:
        """The factor of an edge."""
        shown = [link for link in links if not (len(link[1]) == 1 and is_one(link[0], link[1][0]))] or links[-1:]
        parts = [self.locals.derivative(*link) for link in shown]
        value = (
            self.locals.value(*links[-1])
            if self.numeric and all(is_one(n, slots[0]) for n, slots in links[:-1])
            else None
        )
        if value is None and before is not None and not top.shape and not bottom.shape:
            value = self._along(links, np.ones_like(before)[()])
        acts = parts[0].acts if len(parts) == 1 else "rule"
        return Factor(
            self._name(top),
            self._name(bottom),
            _times([part.derivative for part in parts]),
            formula=_times([part.formula or part.derivative for part in parts])
            if any(p.formula for p in parts)
            else None,
            in_full=_times([part.in_full for part in parts if part.in_full]) if all(p.in_full for p in parts) else None,
            acts="number" if acts == "elementwise" and not top.shape and not bottom.shape else acts,
            value=value,
            product=product,
            notes=tuple(note for node, slots in links for note in _stretched(node, slots)),
        )

    # -- several paths
    def _paths(self, top: Node, bottom: Node) -> list[Product]:
        """Those that apply the same rules together, the shortest first."""
        kinds: dict[Any, list[list[Edge]]] = {}
        for path in islice(self.graph.shortest(top, bottom), LOOKED_AT):
            kinds.setdefault(tuple(rules_of(links) for _, links in path), []).append(path)
        return [self._product(top, alike) for alike in list(kinds.values())[:PATHS]]

    def _product(self, top: Node, alike: list[list[Edge]]) -> Product:
        """The product along the first of some paths that apply the same rules, and what all of them contribute."""
        total = None
        steps: list[tuple[Node, Node, Links, Any, Any]] = []
        for path in alike:
            node, ct = top, self.products.get(top) if self.numeric else None
            for operand, links in path:
                before, ct = ct, None if ct is None else self._along(links, ct)
                if path is alike[0]:
                    steps.append((node, operand, links, before, ct))
                node = operand
            total = ct if total is None else total + ct
        plan = patterns([rules_of(step[2]) for step in steps], SHOWN) if len(steps) > SHOWN else []
        parts = self._folded(steps, plan, lambda step: self._direct(*step))
        return Product(tuple(parts), len(steps), len(alike), total)

    # -- folding
    def _folded(self, spans: list[Any], plan: Plan | None, factor: Callable[[Any], Factor]) -> list[Part]:
        """Make factors of spans; patterns that repeat once, and without the middle of what is long even then."""
        if plan is None:
            hidden = len(spans) - 2 * ENDS
            self.notes.append(f"{hidden:,} factors in the middle are left out")
            return [*map(factor, spans[:ENDS]), Omitted(hidden), *map(factor, spans[-ENDS:])]
        if not plan:
            return [factor(span) for span in spans]
        parts: list[Part] = []
        for start, stop, times in plan:
            inner = tuple(factor(span) for span in spans[start:stop])
            if times == 1:
                parts += inner
            else:
                parts.append(Repeat(inner, times))
                self.notes.append(
                    f"{len(inner) * times:,} factors are folded into {len(inner)}, which come {times:,} times"
                )
        return parts


# -- small helpers -------------------------------------------------------------------------------------------------
def _stretched(node: Node, slots: tuple[int, ...]) -> Iterator[str]:
    shape = node.operands[slots[0]].shape
    if node.rule.partials and shape != node.shape:
        extra = len(node.shape) - len(shape)
        axes = [*range(extra), *(i for i, n in enumerate(shape, extra) if n == 1 and node.shape[i] != 1)]
        yield f"summed over ax{'ie'[len(axes) > 1]}s {', '.join(map(str, axes))}, which broadcasting stretched"


def _times(parts: list[Written]) -> Written:
    return Written(" · ".join(part.text for part in parts), r" \cdot ".join(part.latex for part in parts))
