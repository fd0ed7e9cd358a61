"""The formula language."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import ROWS

from chainrule import formula
from chainrule.errors import FormulaError
from chainrule.rules import rules
from chainrule.rules.registry import formulas, partial_trees

NAMES = ("a", "b", "c", "y")


def printed(text):
    lines, expression = formula.statements(formulas.parse(text, NAMES))
    return "; ".join([*lines, expression])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "a.real",
        "a[0]",
        "lambda: a",
        "a if b else c",
        "a and b",
        "f(a)",
        "sin(a, out=b)",
        "x",
        "'a'",
        "True",
        "a < b < c",
        "a @ b",
        "(a, b)",
        "a = b",
        "",
        "+a",
    ],
)
def test_only_the_language_parses(text):
    with pytest.raises(FormulaError):
        formulas.parse(text, NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*1", "a"),
        ("1*a", "a"),
        ("a*-1", "-a"),
        ("a*(1/b)", "a / b"),
        ("--a", "a"),
        ("a*0", "0"),
        ("2*3 + a", "6 + a"),
        ("a - (b - c)", "a - (b - c)"),
        ("a - b - c", "a - b - c"),
        ("a - (b + c)", "a - (b + c)"),
        ("a/(b*c)", "a / (b * c)"),
        ("(a + b)*c", "(a + b) * c"),
        ("-(a + b)", "-(a + b)"),
        ("(-a)**b", "(-a) ** b"),
        ("-a**b", "-a ** b"),
        ("a**-b", "a ** -b"),
        ("a**b**c", "a ** b ** c"),
        ("(a**b)**c", "(a ** b) ** c"),
        ("a*-b", "a * -b"),
        ("where(a > b, 1, sin(c))", "where(a > b, 1, sin(c))"),
        ("exp(a)*exp(a)", "t0 = exp(a); t0 * t0"),
    ],
)
def test_printing(text, expected):
    assert printed(text) == expected


def evaluate(source, values):
    names = {name: rule.value for name, rule in rules.items()}
    *assignments, expression = source.split("; ")
    for line in assignments:
        exec(line, names, values)
    return eval(expression, names, values)


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_printed_formulas_mean_what_was_written(rule):
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(0.2, 0.8, 5) for name in NAMES}
    for text, tree in zip(rule.partials, partial_trees(rule), strict=True):
        with np.errstate(invalid="ignore"):  # arccosh below 1
            once = evaluate(printed(text), dict(values))
            np.testing.assert_array_equal(once, evaluate(text, dict(values)))
        lines, expression = formula.statements(tree)
        if not lines:
            assert formulas.parse(expression, NAMES) is tree  # equal formulas are one node


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_latex_is_balanced(rule):
    for tree in partial_trees(rule):
        text = formula.latex(tree)
        assert text.count("{") == text.count("}")
        assert text.count(r"\left") == text.count(r"\right")


def test_latex_keeps_precedence():
    def text(source):
        return formula.latex(formulas.parse(source, NAMES))

    assert text("(1 - a)*(1 + a)") == r"\left(1 - a\right) \cdot \left(1 + a\right)"
    assert text("1/(1 + a*a)") == r"\frac{1}{1 + a \cdot a}"
    assert text("(a + b)**2") == r"\left(a + b\right)^{2}"
    assert text("-sin(a)") == r"-\sin\left(a\right)"
