"""The local derivative of one node: what its rule says, in the names of the computation, and what it is in numbers."""

from __future__ import annotations

import re
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import formula
from ..formula import ATOM, PRODUCT, Builder, Shown
from ..graph import CLOSED, Node
from ..rules.registry import LETTERS, Rule, formulas, partial_trees
from . import functions
from .derivation import Written, named
from .naming import Names
from .pull import CAREFUL, PLAIN, compiled

__all__ = ["Local", "Locals", "pulled"]

# In the patterns of notation.py, for LaTeX; braces are doubled, as `format` wants them.
_TEX = {"□": r"\square", "⁻ᵀ": r"^{{-\top}}", "⁻ᴴ": r"^{{-\mathsf{{H}}}}", "ᵀ": r"^{{\top}}"}
_TEX |= {"ᴴ": r"^{{\mathsf{{H}}}}", "·": r" \cdot ", "−": "-", "*": "^{{*}}"}
LONG = 48  # characters of the longest derivative that is written as a formula, not as f′(x)


class Local(NamedTuple):
    """A local derivative: as it is written; as a formula and in full, if that can be shown; and how it acts."""

    derivative: Written
    formula: Written | None
    in_full: Written | None
    acts: str


class Locals:
    """Writes local derivatives with names; what has to be said about them is added to `notes`."""

    def __init__(self, names: Names, notes: list[str]) -> None:
        self.names, self.notes = names, notes
        self.builder = Builder(formulas.operations)

    def derivative(self, node: Node, slots: tuple[int, ...]) -> Local:
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
                    return Local(_added([term.derivative for term in terms]), None, full, "elementwise")
            return Local(self._primed(node, _called(rule, slots), False), None, None, "rule")
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
            return Local(primed, plain, _unbroken(in_full), "elementwise")
        if len(plain.text) > LONG:
            return Local(self._primed(node, _called(rule, slots), False), plain, None, "elementwise")
        return Local(plain, None, _unbroken(full), "elementwise")

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

    def _by_hand(self, node: Node, pattern: str) -> Local:
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
            return Local(plain, None, _unbroken(full), acts)
        if core == "1/n":
            written = Written(f"1/{_averaged(node)}", rf"\frac{{1}}{{{_averaged(node)}}}")
        else:
            written, full = (Written(*(self._pattern(node, core, style, f) for style in (0, 1))) for f in (False, True))
            if "□" in core:
                self.notes.append("□ stands for the product of the factors before it")
            return Local(written, None, _unbroken(full), acts)
        return Local(written, None, written, acts)

    def _pattern(self, node: Node, pattern: str, style: int, full: bool) -> str:
        """A factor with operands for {a} {b} {c}, the result for {y}, and the index for []."""
        if node.dtype.kind == "c":
            pattern = pattern.replace("ᵀ", "ᴴ")
        if style:
            pattern = re.sub(" (?:where not|where|at) |, (?:else 0|but 0 at )", r"\\text{{\g<0>}}", pattern)
            for sign, tex in _TEX.items():
                pattern = pattern.replace(sign, tex)
        index = formula.index_of(node) if "[]" in pattern else ""
        pattern = pattern.replace("[]", rf"\text{{{{{formula.escaped(index)}}}}}" if style else index)
        shown = dict(zip(LETTERS, node.operands, strict=False), y=node)
        return pattern.format(**{letter: self._atom(each, style, full) for letter, each in shown.items()})

    def _transposed(self, operand: Node, style: int, sign: str, full: bool) -> str:
        text = self.names.shown(operand, style, full=full)[0]
        return text.removesuffix(sign) if sign and text.endswith(sign) else self._atom(operand, style, full) + sign

    def _atom(self, operand: Node, style: int, full: bool) -> str:
        """An operand, in brackets if it needs them."""
        text, precedence = self.names.shown(operand, style, full=full)
        return text if precedence >= ATOM else rf"\left({text}\right)" if style else f"({text})"

    @staticmethod
    def value(node: Node, slots: tuple[int, ...]) -> Any:
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


# -- numbers -------------------------------------------------------------------------------------------------------
def pulled(node: Node, slots: tuple[int, ...], ct: Any, careful: bool) -> Any:
    """Pull a cotangent through one node to one of its operands: on copies of them, whose slots are nobody else's."""
    target = _copy(node.operands[slots[0]])
    target.cotangent = None
    view = _copy(node)
    view.rule, view.params, view.owned = node.rule, node.params, False
    view.operands = tuple(target if i in slots else _copy(other) for i, other in enumerate(node.operands))
    rule = node.rule
    if careful:
        (rule.careful_pull or compiled(rule, CAREFUL))(view, ct)
    else:
        (rule.pull or compiled(rule, PLAIN))(view, ct)
    return np.zeros(target.shape, target.dtype)[()] if target.cotangent is None else target.cotangent


def _copy(node: Node) -> Node:
    copy = Node()
    copy.index, copy.shape, copy.value = node.index, node.shape, getattr(node, "value", None)
    copy.dtype = getattr(node, "dtype", None)
    copy.cotangent = CLOSED
    copy.rule, copy.operands, copy.params = None, (), None
    return copy


def _averaged(node: Node) -> int:
    """How many elements a mean is over."""
    return prod(node.operands[0].shape) // max(1, prod(node.shape))


def _conjugated(rule: Rule, tree: Node) -> Node:
    return formulas.make("conjugate", tree) if rule.conjugate and formula.names(tree) else tree


def _called(rule: Rule, slots: tuple[int, ...]) -> Written:
    """The name of a derivative that has no formula: that of the function, primed, and in which operand."""
    several = len(rule.partials) > 1 or len(rule.pulls) > 1 or rule.pull_all is not None
    place = str(slots[0] + 1) if several else ""
    shown = rule.name.removeprefix("complex_")
    name = shown.replace("_", "~")
    tex = rf"\operatorname{{{name}}}'" + (f"_{{{place}}}" if place else "")
    return Written(f"{shown}′{named(f'x{place}').text[1:]}", tex)


# -- writing -------------------------------------------------------------------------------------------------------
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
