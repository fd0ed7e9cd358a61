"""From a row of the table to Python functions: its partial derivatives, printed once per mode and compiled.

Both modes multiply by the same partials; reverse mode conjugates them.  The careful form of each is for the second
walk, in which an exact zero wins over infinity and NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import formula
from ..graph import CLOSED, Node
from ..memory import BIG, empty_like, uniform
from ..rules.registry import LETTERS, Rule, formulas, partial_trees
from ..tensor import plain

__all__ = ["careful_product", "print_pull", "print_push"]


def careful_product(change: Any, partial: Any) -> Any:
    """Multiply so that an exact zero on either side wins over infinity and NaN."""
    return np.where((plain(change) == 0) | (plain(partial) == 0), 0, change * partial)[()]


def called() -> dict[str, Any]:
    """What the names in a printed formula mean: NumPy's ufuncs, and rules that are no ufunc."""
    return {
        name: rule.value if isinstance(rule.value, np.ufunc) else rule for name, rule in formulas.operations.items()
    }


def _reads(names: frozenset[str]) -> list[str]:
    """Lines that fetch the values a formula reads."""
    return [f"{name} = {'node' if name == 'y' else name.upper()}.value" for name in sorted(names)]


def _indented(lines: Sequence[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]


def _compiled(name: str, lines: list[str], **namespace: Any) -> Callable[..., Any]:
    source = "\n".join(lines)
    everything = namespace | {"careful_product": careful_product} | called()
    exec(compile(source, f"<{name}>", "exec"), everything)
    function: Callable[..., Any] = everything[name]
    function.__doc__ = source
    return function


def print_pull(rule: Rule, careful: bool, accumulate: Callable[..., None]) -> Callable[[Node, Any], None]:
    """The reverse rule: adds the cotangent times each partial to that operand's cotangent.

    Large arrays of one shape and dtype take as few passes over as little memory as the formula allows.
    """
    operands = [letter.upper() for letter in LETTERS[: len(rule.partials)]]
    lines = [f"def pull_{rule.name}(node, ct):", f"    {', '.join(operands)}, = node.operands"]
    ct = formulas.symbol("ct")
    for operand, partial in zip(operands, partial_trees(rule), strict=True):
        if formula.is_number(partial, 0):
            continue
        read = formula.names(partial)
        if rule.conjugate and read:
            partial = formulas.make("conjugate", partial)
        if careful and read:
            temporaries, expression = formula.statements(partial)
            body = [*temporaries, f"accumulate({operand}, careful_product(ct, {expression}), True)"]
        else:
            product = formulas.make("multiply", ct, partial)
            temporaries, expression = formula.statements(product)
            body = [*temporaries, f"accumulate({operand}, {expression}{', True' if expression != 'ct' else ''})"]
            in_place = None if rule.conjugate else formula.in_place(product, called())
            if in_place:
                arrays = ", ".join(["ct", *sorted(read)])
                body = [
                    f"if ct.__class__ is ndarray and ct.nbytes >= BIG and uniform({arrays}):",
                    *_indented([*in_place[0], f"accumulate({operand}, {in_place[1]}, True)"]),
                    "else:",
                    *_indented(body),
                ]
        lines += [f"    if {operand}.cotangent is not CLOSED:", *_indented([*_reads(read), *body], 8)]
    return _compiled(
        f"pull_{rule.name}",
        lines,
        BIG=BIG,
        CLOSED=CLOSED,
        accumulate=accumulate,
        empty_like=empty_like,
        ndarray=np.ndarray,
        uniform=uniform,
    )


def print_push(rule: Rule, careful: bool) -> Callable[[Node, Sequence[Any]], Any]:
    """The forward rule: the sum of each partial times that operand's tangent."""
    letters = LETTERS[: len(rule.partials)]
    lines = [
        f"def push_{rule.name}(node, tangents):",
        f"    {', '.join(letter.upper() for letter in letters)}, = node.operands",
        f"    {', '.join('t' + letter for letter in letters)}, = tangents",
        "    total = None",
    ]
    for letter, partial in zip(letters, partial_trees(rule), strict=True):
        if formula.is_number(partial, 0):
            continue
        read = formula.names(partial)
        if careful and read:
            temporaries, expression = formula.statements(partial, "s")
            expression = f"careful_product(t{letter}, {expression})"
        else:
            product = formulas.make("multiply", formulas.symbol("t" + letter), partial)
            temporaries, expression = formula.statements(product, "s")
        body = [*temporaries, f"term = {expression}", "total = term if total is None else total + term"]
        lines += [f"    if t{letter} is not None:", *_indented([*_reads(read), *body], 8)]
    lines.append("    return total")
    return _compiled(f"push_{rule.name}", lines)
