"""Explain: the chain rule as it applies to one computation, with its factors, its paths and its numbers.

paths.py finds the stages, which make the product, and the ways between them, which are added; naming.py what to call
things; here each factor is found: what the rule says, in the user's names, and what it is in numbers.  The numbers are
made by the rules of reverse mode, one factor after the other, so the last one is the gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import formula
from ..errors import FreedGraphError, OutputError
from ..formula import ATOM, PRODUCT, Builder, Shown
from ..graph import CLOSED, Gone, Node, by_index, ordered
from ..rules.registry import LETTERS, Rule, formulas, partial_trees
from ..tensor import Tensor, describe
from . import functions
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
    named,
    quotient,
)
from .naming import Names, variables_of
from .paths import MANY, Between, Edge, Links, Plan, is_one, patterns, rules_of
from .pull import compiled, has_nan, pull, started

__all__ = ["explain", "explained"]

SHOWN = 12  # factors in a row; more are folded
ENDS = 4  # factors at either end of a product whose middle is left out
PATHS = 6  # kinds of paths that are written out
LOOKED_AT = 200  # paths that are looked at, the shortest first
WALKED = 20_000  # nodes of the largest graph whose factors are computed one by one
COMPUTED = 2_000  # nodes of the largest graph whose values are computed again if they were not kept
DEFINED = 24  # quantities that are defined below the derivation
LONG = 48  # characters of the longest derivative that is written as a formula, not as f′(x)


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
    what was.  Takes a few seconds for a million nodes.

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
        _, (total,) = pull([graph.root], [ct], [graph.target], differentiable=False)
        self.total = np.zeros(graph.target.shape, graph.target.dtype)[()] if total is None else total
        self.products: dict[Node, Any] = {graph.root: ct}  # of all factors down to a node: its cotangent
        self.numeric = len(graph.order) <= WALKED
        self.careful = False
        self.builder = Builder(formulas.operations)
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
                ct = _pulled(node, slots, ct, self.careful)
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
        parts = [self._link(*link) for link in shown]
        value = (
            self._value(*links[-1]) if self.numeric and all(is_one(n, slots[0]) for n, slots in links[:-1]) else None
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

    def _link(self, node: Node, slots: tuple[int, ...]) -> _Local:
        """The local derivative of a node in one operand."""
        rule = node.rule
        if not rule.partials:
            rank = max(len(operand.shape) for operand in node.operands)
            if max(slots) < len(rule.factors) and rank <= rule.factor_rank:
                terms = [self._by_hand(node, rule.factors[slot]) for slot in slots]
                if len(terms) == 1:
                    return terms[0]
                if all(term.acts == "elementwise" for term in terms):  # x·x of a vector
                    full = _added([term.in_full or term.derivative for term in terms])
                    return _Local(_added([term.derivative for term in terms]), None, full, "elementwise")
            return _Local(self._primed(node, _called(rule, slots), False), None, None, "rule")
        trees = [_conjugated(rule, partial_trees(rule)[slot]) for slot in slots]
        with suppress(ArithmeticError):  # 1/0: then it says 1/0
            trees = [self._with_numbers(tree, node) for tree in trees]
        plain, full = (
            _sum([[self._tree(node, tree, style, f) for style in (0, 1)] for tree in trees]) for f in (False, True)
        )
        sign = rule.notation
        if sign is not None and sign.form == "function" and len(node.operands) == 1:
            written = Written(sign.text, sign.latex)
            primed, in_full = (self._primed(node, written, f) for f in (False, True))
            return _Local(primed, plain, _unbroken(in_full), "elementwise")
        if len(plain.text) > LONG:
            return _Local(self._primed(node, _called(rule, slots), False), plain, None, "elementwise")
        return _Local(plain, None, _unbroken(full), "elementwise")

    def _with_numbers(self, tree: Node, node: Node) -> Node:
        """A partial derivative with constant operands put in: of x³ it is 3·x²."""
        if tree.rule is not None:
            parts = [self._with_numbers(operand, node) for operand in tree.operands]
            terms = [part for part in parts if not formula.is_number(part, 0)]
            if tree.rule.name == "add" and len(terms) == 1:
                return terms[0]
            if tree.rule.name == "divide" and all(map(formula.is_number, parts)):
                return tree  # 1/3 says more than 0.333333
            return self.builder.make(tree.rule.name, *parts)
        if not formula.is_number(tree) and tree.name in LETTERS:
            operand = node.operands[LETTERS.index(tree.name)]
            if not operand.index and isinstance(operand.value, int | float):
                return self.builder.number(operand.value)
        return tree

    def _tree(self, node: Node, tree: Node, style: int, full: bool) -> Shown:
        """Print a partial derivative with the names of this node's operands in place of a, b, c and y."""

        def leaf(found: Node) -> Shown | None:
            if found.rule is not None:
                return None
            if formula.is_number(found):
                return formula.by_its_own_name(found)
            if found.name in LETTERS:
                return self.names.shown(node.operands[LETTERS.index(found.name)], style, full=full)
            return self.names.shown(node, style, full=full) if found.name == "y" else (str(found.name), ATOM)

        return (formula.text_shown, formula.latex_shown)[style](tree, leaf)

    def _primed(self, node: Node, sign: Written, full: bool) -> Written:
        """f′(operands)."""
        text, latex = (
            ", ".join(self.names.shown(operand, style, full=full)[0] for operand in node.operands[:4])
            for style in (0, 1)
        )
        more = ", …" * (len(node.operands) > 4)
        head, tex = (s if mark in s else s + mark for s, mark in zip(sign, "′'", strict=True))
        return Written(f"{head}({text}{more})", rf"{tex}\left({latex}{more}\right)")

    def _by_hand(self, node: Node, pattern: str) -> _Local:
        """A factor as notation.py says it: with operands for letters, and □ where the product before it goes."""
        core = pattern.removeprefix("□·").removesuffix("·□")
        acts = "right" if pattern.startswith("□·") else "left" if pattern.endswith("·□") else "rule"
        if core[0] in LETTERS and core[1:] == "ᵀ":
            operand = node.operands[LETTERS.index(core[0])]
            if max(len(each.shape) for each in node.operands) < 2:  # of vectors nothing is transposed
                sign, acts = ("", ""), "elementwise"
            elif getattr(operand, "dtype", getattr(operand.value, "dtype", node.dtype)).kind == "c":
                sign = ("ᴴ", r"^{\mathsf{H}}")
            else:
                sign = ("ᵀ", r"^{\top}")
            plain, full = (
                Written(*(self._transposed(operand, style, sign[style], f) for style in (0, 1))) for f in (False, True)
            )
            return _Local(plain, None, _unbroken(full), acts)
        if core == "1/n":
            written = Written(f"1/{_averaged(node)}", rf"\frac{{1}}{{{_averaged(node)}}}")
        elif "[]" in core:
            index = f"[{formula.index_of(node)}]"
            written = Written(core.replace("[]", index), rf"\square\text{{ at {formula.escaped(index)}}}")
        else:
            written = Written(core, core.replace("□", r"\square").replace("ᵀ", r"^{\top}"))
        if "□" in core:
            self.notes.append("□ stands for the product of the factors before it")
        return _Local(written, None, written, acts)

    def _transposed(self, operand: Node, style: int, sign: str, full: bool) -> str:
        text, precedence = self.names.shown(operand, style, full=full)
        if sign and text.endswith(sign):
            return text.removesuffix(sign)
        return text + sign if precedence >= ATOM else f"({text}){sign}" if not style else rf"\left({text}\right){sign}"

    def _value(self, node: Node, slots: tuple[int, ...]) -> Any:
        """The local derivative itself, where it is a number, an array that multiplies elementwise, or a matrix."""
        rule = node.rule
        if not rule.partials:
            pattern = rule.factors[slots[0]].strip("□·") if len(slots) == 1 and slots[0] < len(rule.factors) else ""
            if pattern in ("1", "1/n"):
                return 1.0 if pattern == "1" else 1 / _averaged(node)
            if pattern[:1] not in LETTERS or pattern[1:] != "ᵀ":
                return None
            other = node.operands[LETTERS.index(pattern[0])].value
            return None if other is None else np.conj(np.swapaxes(other, -1, -2) if np.ndim(other) > 1 else other)
        forward = functions.push_function(rule, careful=False) if rule.forward is None else rule.forward
        total = None
        with np.errstate(all="ignore"):
            for slot in slots:
                tangents: list[Any] = [None] * len(node.operands)
                tangents[slot] = np.ones(node.operands[slot].shape, node.operands[slot].dtype)[()]
                one = forward(node, tangents)
                one = np.zeros_like(tangents[slot])[()] if one is None else np.conj(one) if rule.conjugate else one
                total = one if total is None else total + one
        return total

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


class _Local(NamedTuple):
    """A local derivative: as it is written; as a formula and in full, if that can be shown; and how it acts."""

    derivative: Written
    formula: Written | None
    in_full: Written | None
    acts: str


# -- small helpers -------------------------------------------------------------------------------------------------
def _pulled(node: Node, slots: tuple[int, ...], ct: Any, careful: bool) -> Any:
    """Pull a cotangent through one node to one of its operands: on copies of them, whose slots are nobody else's."""
    target = _copy(node.operands[slots[0]])
    target.cotangent = None
    view = _copy(node)
    view.rule, view.params, view.owned = node.rule, node.params, False
    view.operands = tuple(target if i in slots else _copy(other) for i, other in enumerate(node.operands))
    rule = node.rule
    if careful:
        (rule.careful_pull or compiled(rule, True))(view, ct)
    else:
        (rule.pull or compiled(rule, False))(view, ct)
    return np.zeros(target.shape, target.dtype)[()] if target.cotangent is None else target.cotangent


def _copy(node: Node) -> Node:
    copy = Node()
    copy.index, copy.shape, copy.value = node.index, node.shape, getattr(node, "value", None)
    copy.dtype = getattr(node, "dtype", None)
    copy.cotangent = CLOSED
    copy.rule, copy.operands, copy.params = None, (), None
    return copy


def _stretched(node: Node, slots: tuple[int, ...]) -> Iterator[str]:
    shape = node.operands[slots[0]].shape
    if node.rule.partials and shape != node.shape:
        extra = len(node.shape) - len(shape)
        axes = [*range(extra), *(i for i, n in enumerate(shape, extra) if n == 1 and node.shape[i] != 1)]
        yield f"summed over ax{'ie'[len(axes) > 1]}s {', '.join(map(str, axes))}, which broadcasting stretched"


def _averaged(node: Node) -> int:
    """How many elements a mean is over."""
    return prod(node.operands[0].shape) // max(1, prod(node.shape))


def _conjugated(rule: Rule, tree: Node) -> Node:
    return formulas.make("conjugate", tree) if rule.conjugate and formula.names(tree) else tree


def _called(rule: Rule, slots: tuple[int, ...]) -> Written:
    """The name of a derivative that has no formula: that of the function, primed, and in which operand."""
    several = len(rule.partials) > 1 or len(rule.pulls) > 1 or rule.pull_all is not None
    place = str(slots[0] + 1) if several else ""
    name = rule.name.replace("_", " ")
    tex = rf"\operatorname{{{name}}}'" + (f"_{{{place}}}" if place else "")
    return Written(f"{rule.name}′{named(f'x{place}').text[1:]}", tex)


def _sum(terms: list[list[Shown]]) -> Written:
    """Terms, each as text and LaTeX, as a factor: in brackets where they are needed."""
    found = []
    for style in (0, 1):
        shown = [term[style] for term in terms]
        text = " + ".join(text for text, _ in shown)
        bare = len(shown) == 1 and shown[0][1] >= PRODUCT and text[0] not in "−-"
        found.append(text if bare else rf"\left({text}\right)" if style else f"({text})")
    return Written(*found)


def _added(terms: list[Written]) -> Written:
    text, latex = (" + ".join(term[style] for term in terms) for style in (0, 1))
    return Written(f"({text})", rf"\left({latex}\right)")


def _unbroken(written: Written) -> Written | None:
    return None if "…" in written.text else written


def _times(parts: list[Written]) -> Written:
    return Written(" · ".join(part.text for part in parts), r" \cdot ".join(part.latex for part in parts))
