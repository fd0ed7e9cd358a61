"""What `explain` returns: a derivation as data, and as text, LaTeX and HTML.

Everything here is about writing; what is written has been found by explain.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from ..formula import escaped

__all__ = [
    "Definition",
    "Derivative",
    "Explanation",
    "Factor",
    "Omitted",
    "Product",
    "Repeat",
    "Written",
    "named",
    "quotient",
]

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ",
    "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ",
    "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
LOWERED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
NUMBERED = re.compile(r"([^\W\d_]+)_?(\d+)$")
WIDTH = 100  # of a line of text, where it can be broken
SMALL = 6  # elements of an array that is written out
LONG = 100  # characters of a product that is still worth writing out to the end


class Written(NamedTuple):
    """The same thing as text and as LaTeX."""

    text: str
    latex: str


def named(name: str) -> Written:
    """Write a name as mathematics does: W1 is W₁."""
    found = NUMBERED.fullmatch(name)
    base, number = found.groups() if found else (name, "")
    text = GREEK.get(base, base) + number.translate(LOWERED)
    latex = rf"\{base}" if base in GREEK else base if len(base) == 1 else rf"\mathrm{{{escaped(base)}}}"
    return Written(text, f"{latex}_{{{number}}}" if number else latex)


# -- the data ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """One factor of the chain rule: the derivative of one quantity in the one it was computed from.

    Attributes
    ----------
    of, by : the two quantities
    derivative : what the rule says it is, in their names
    formula : the same as a formula, where `derivative` has a name for it, as σ′(z)
    in_full : the same with every intermediate result replaced by how it was computed; None if that is too long
    acts : "number", "elementwise", "left" or "right" (of a matrix product), "rule" (any other linear map), or "sum"
    value : the local derivative itself: a number, an array that multiplies elementwise, a matrix; of other maps, None
    product : of this factor and all before it: the cotangent of `by`; None where it was not computed
    notes : what else happens here, such as a sum over a stretched axis
    paths : if there are several ways from one quantity to the other, what adds up
    count : number of these ways
    """

    of: Written
    by: Written
    derivative: Written
    formula: Written | None = None
    in_full: Written | None = None
    acts: str = "rule"
    value: Any = None
    product: Any = None
    notes: tuple[str, ...] = ()
    paths: tuple[Product, ...] = ()
    count: int = 1

    @property
    def symbol(self) -> Written:
        """∂of/∂by, or of the sum over several paths dof/dby."""
        return quotient(self.of, self.by, self.count)


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """Factors that come several times in a row, with other values; written once, as they come first."""

    factors: tuple[Factor, ...]
    times: int


@dataclass(frozen=True, slots=True)
class Omitted:
    """Factors in the middle of a long product that are not shown."""

    count: int


Part = Factor | Repeat | Omitted


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The factors along a path, from the result backwards.

    Attributes
    ----------
    parts : factors, and what stands for several
    length : number of factors, shown or not
    times : how many paths have these factors, at other places
    value : what these paths contribute to the cotangent at their end; None where it was not computed
    """

    parts: tuple[Part, ...]
    length: int
    times: int = 1
    value: Any = None

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The factors that are shown, each once."""
        return tuple(_factors(self.parts))


def _factors(parts: Sequence[Part]) -> Iterator[Factor]:
    for part in parts:
        if isinstance(part, Factor):
            yield part
        elif isinstance(part, Repeat):
            yield from part.factors


@dataclass(frozen=True, slots=True, eq=False)
class Derivative:
    """The derivative of the result in one quantity.

    Attributes
    ----------
    of, by : the two quantities
    paths : what adds up: one product, or one for each (kind of) path between the two
    count : number of products that add up, shown or not
    ways : number of paths in all, also those that are hidden in a factor that is a sum itself
    value : the derivative, as `backward` computes it
    """

    of: Written
    by: Written
    paths: tuple[Product, ...]
    count: int
    ways: int
    value: Any

    @property
    def symbol(self) -> Written:
        """∂of/∂by, or of several paths dof/dby."""
        return quotient(self.of, self.by, self.ways)


@dataclass(frozen=True, slots=True)
class Definition:
    """How a quantity was computed, its shape, and its value where one is known."""

    name: Written
    expression: Written
    shape: tuple[int, ...]
    value: Any = None


class Explanation:
    """The chain rule for one computation.

    ``print`` shows it as text; notebooks show it typeset.

    Attributes
    ----------
    derivatives : tuple of Derivative
        One for each quantity that was asked about.
    definitions : tuple of Definition
        The quantities that the factors are about, the result first.
    notes : tuple of str
        What was assumed, folded or left out.
    latex : str
        The derivation as a LaTeX ``aligned`` environment.
    html : str
        The derivation as a piece of HTML that needs nothing else.
    """

    def __init__(
        self, derivatives: tuple[Derivative, ...], definitions: tuple[Definition, ...], notes: tuple[str, ...]
    ) -> None:
        self.derivatives = derivatives
        self.definitions = definitions
        self.notes = notes

    def __str__(self) -> str:
        blocks = []
        for derivative in self.derivatives:
            blocks += [_block(*equation) for equation in _equations(derivative)]
        if self.definitions:
            rows = [[f"{d.name.text} =", d.expression.text, _shape(d.shape), brief(d.value)] for d in self.definitions]
            blocks.append("\n".join(["where", *(f"  {line}" for line in _columns(rows))]))
        for derivative in self.derivatives:
            for title, table in _steps(derivative):
                lines = _columns([[_text(cell) for cell in row] for row in table])
                blocks.append("\n".join([f"{title}:", *(f"  {line}" for line in lines)]))
        blocks += [f"({note})" for note in self.notes]
        return "\n\n".join(blocks)

    def __repr__(self) -> str:
        return str(self)

    @property
    def latex(self) -> str:
        """The derivation as a LaTeX ``aligned`` environment."""
        lines = []
        for derivative in self.derivatives:
            for head, rows in _equations(derivative):
                for i, (sign, terms) in enumerate(rows):
                    plus = " + " if len(terms) < 3 else " \\\\\n &\\quad + "  # many are too wide for a line
                    joined = plus.join(r" \cdot ".join(part.latex for part in term) for term in terms)
                    lines.append(f"{head.latex if not i else ''} &{sign.latex} {joined}")
        lines += [f"{d.name.latex} &= {d.expression.latex}" for d in self.definitions]
        return "\n".join([r"\begin{aligned}", " \\\\\n".join(lines), r"\end{aligned}"])

    @property
    def html(self) -> str:
        """The derivation as a piece of HTML that needs nothing else."""
        parts = [f"<style>{STYLE}</style>"]
        for derivative in self.derivatives:
            for head, rows in _equations(derivative):
                parts.append('<table class="cr-equation">')
                for i, (sign, terms) in enumerate(rows):
                    left = _typeset(head.text) if not i else ""
                    joined = "<br>+ ".join(" · ".join(_typeset(part.text) for part in term) for term in terms)
                    parts.append(f"<tr><td>{left}</td><td>{escape(sign.text)}</td><td>{joined}</td></tr>")
                parts.append("</table>")
        if self.definitions:
            parts.append('<table class="cr-table"><caption>where</caption>')
            for d in self.definitions:
                cells = [_typeset(f"{d.name.text} = {d.expression.text}"), _shape(d.shape), escape(brief(d.value))]
                parts.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
            parts.append("</table>")
        for derivative in self.derivatives:
            for title, (heads, *table) in _steps(derivative):
                parts.append(f'<table class="cr-table"><caption>{_typeset(title)}</caption><tr>')
                parts += [f'<th scope="col">{escape(_text(head))}</th>' for head in heads]
                parts.append("</tr>")
                for row in table:
                    parts.append("<tr>" + "".join(f"<td>{_typeset(_text(cell))}</td>" for cell in row) + "</tr>")
                parts.append("</table>")
        parts += [f"<p>{escape(note)}</p>" for note in self.notes]
        return f'<div class="cr-explain">{"".join(parts)}</div>'

    def _repr_html_(self) -> str:
        return self.html

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex}\n$$"


# -- numbers -------------------------------------------------------------------------------------------------------
def brief(x: Any) -> str:
    """A value in a few characters: numbers and small arrays as they are, of others their range."""
    if x is None:
        return ""
    x = np.asarray(x)
    if x.dtype == object:  # several results side by side
        return ""
    if not x.ndim:
        return f"{x[()]:.6g}"
    if x.size <= SMALL:
        return re.sub(r"\s+", " ", np.array2string(x, precision=4, separator=", ", suppress_small=True))
    if x.dtype.kind == "c":
        return f"of modulus {np.min(np.abs(x)):.4g} to {np.max(np.abs(x)):.4g}"
    return f"from {np.min(x):.4g} to {np.max(x):.4g}"


def _shape(shape: tuple[int, ...]) -> str:
    return str(shape) if shape else "scalar"


def _is_number(x: Any) -> bool:
    return x is not None and not np.ndim(x)


# -- equations -----------------------------------------------------------------------------------------------------
EQUALS, PLUS, COMMENT = Written("=", "="), Written("+", "+"), Written(" ", "")
Row = tuple[Written, list[list[Written]]]  # a sign, and terms of factors


def quotient(of: Written, by: Written, ways: int) -> Written:
    """∂of/∂by for what one path gives, dof/dby for the sum over several ways."""
    sign, tex = ("d", r"\mathrm{d}") if ways > 1 else ("∂", r"\partial")
    return Written(f"{sign}{of.text}/{sign}{by.text}", rf"\frac{{{tex} {of.latex}}}{{{tex} {by.latex}}}")


def _equations(derivative: Derivative) -> Iterator[tuple[Written, list[Row]]]:
    """The lines of the derivation, and below them those of each factor that is a sum over paths itself."""
    yield derivative.symbol, _rows(derivative.symbol, derivative.paths, derivative.count, derivative.value)
    for path in derivative.paths:
        for factor in path.factors:
            if factor.count > 1:
                yield factor.symbol, _rows(factor.symbol, factor.paths, factor.count, None)


def _rows(head: Written, paths: Sequence[Product], count: int, value: Any) -> list[Row]:
    rows: list[Row] = []
    full = [_line(path, lambda factor: factor.in_full or factor.derivative) for path in paths]
    complete = all(factor.in_full is not None for path in paths for factor in path.factors)
    lines = [
        [_line(path, lambda factor: factor.symbol) for path in paths],
        [_line(path, lambda factor: factor.derivative) for path in paths],
        full if complete and sum(len(part.text) for line in full for part in line) <= LONG else [],
        [_numbers(path) for path in paths],
        [[_bracketed(brief(path.value))] for path in paths] if len(paths) > 1 else [],
    ]
    hidden = count - sum(path.times for path in paths)
    if hidden:
        more = f"… {hidden:,} more path{'s' * (hidden > 1)}"
        lines[0].append([Written(more, rf"\text{{{more}}}")])
        lines[1].append([Written("…", r"\cdots")])
        lines[2:] = []
    elif value is None or any(path.value is None for path in paths):
        lines.pop()
    seen = {head.text}
    for line in lines:
        text = " + ".join(" · ".join(part.text for part in term) for term in line)
        if line and all(line) and text not in seen:
            seen.add(text)
            rows.append((EQUALS, line))
    if count > 1:
        what = f"{count:,} paths, whose products are added"
        rows.insert(1, (COMMENT, [[Written(f"({what})", rf"\quad\text{{({what})}}")]]))
    if value is not None:
        text = brief(value)
        if text not in seen:
            rows.append((EQUALS, [[_number(value)]]))
    return rows


def _number(value: Any) -> Written:
    text = brief(value)
    if np.ndim(value):
        text = f"{text}  {_shape(np.shape(value))}"
    return Written(text, _tex(text))


def _line(path: Product, write: Callable[[Factor], Written]) -> list[Written]:
    """The factors of a path, each written by `write`, with brackets where they are needed."""
    found: list[Written] = []
    for part in path.parts:
        if isinstance(part, Omitted):
            more = f"… {part.count:,} more …"
            found.append(Written(more, rf"\text{{{more}}}"))
        elif isinstance(part, Repeat):
            inner = [write(factor) for factor in part.factors]
            text, latex = " · ".join(w.text for w in inner), r" \cdot ".join(w.latex for w in inner)
            times = f"… ×{part.times:,}"
            found.append(Written(f"({text}) {times}", rf"\left({latex}\right) {_tex_times(part.times)}"))
        else:
            found.append(write(part))
    if path.times > 1:
        found.append(Written(f"… ×{path.times:,}", _tex_times(path.times)))
    return found


def _tex_times(count: int) -> str:
    return rf"\ldots \times {count:,}".replace(",", "{,}")


def _numbers(path: Product) -> list[Written]:
    """The values of the factors, if all are numbers."""
    factors = path.factors
    if (
        path.times > 1
        or not all(isinstance(part, Factor) for part in path.parts)
        or not all(_is_number(factor.value) for factor in factors)
    ):
        return []
    return [_bracketed(brief(factor.value)) for factor in factors]


def _bracketed(number: str) -> Written:
    text = f"({number})" if number.startswith("-") else number
    return Written(text, rf"\left({_tex(number)}\right)" if number.startswith("-") else _tex(number))


def _tex(value: str) -> str:
    """A value as LaTeX."""
    found = re.fullmatch(r"(-?)(?:(inf)|(nan)|([\d.]+)(?:e([-+]\d+))?)", value)
    if found is None:
        return rf"\text{{{escaped(value)}}}"
    sign, infinite, nan, digits, exponent = found.groups()
    if exponent:
        digits += rf" \cdot 10^{{{int(exponent)}}}"
    return sign + (r"\infty" if infinite else r"\text{nan}" if nan else digits)


# -- steps ---------------------------------------------------------------------------------------------------------
def _steps(derivative: Derivative) -> Iterator[tuple[str, list[Sequence[str | Written]]]]:
    """Tables of the factors of each path: what each of them is, and the product so far."""
    for number, path in enumerate(derivative.paths if derivative.of != derivative.by else (), 1):
        rows: list[Sequence[str | Written]] = []
        for part in path.parts:
            if isinstance(part, Omitted):
                rows.append(["⋮", f"{part.count:,} more", "", "", ""])
                continue
            if isinstance(part, Repeat):
                rows += [_step(factor) for factor in part.factors]
                rows.append(["⋮", f"these {len(part.factors)}, {part.times:,} times in all", "", "", ""])
                continue
            rows.append(_step(part))
        which = f", path {number} of {derivative.count:,}" if derivative.count > 1 else ""
        title = f"{derivative.symbol.text} step by step{which} (G: the product so far)"
        yield title, [["factor", "local derivative", "its value", "G", ""], *rows]


def _step(factor: Factor) -> list[str | Written]:
    derivative = factor.derivative.text
    if factor.formula is not None and factor.formula.text != derivative:
        derivative += f" = {factor.formula.text}"
    if factor.acts == "left":
        derivative += "  from the left"
    elif factor.acts == "right":
        derivative += "  from the right"
    elif factor.acts == "elementwise":
        derivative += "  elementwise"
    elif factor.count > 1:
        derivative = f"the sum over {factor.count:,} paths"
    so_far = "" if factor.product is None else _shape(np.shape(factor.product)) * bool(np.ndim(factor.product))
    return [
        factor.symbol,
        derivative,
        brief(factor.value),
        f"{so_far}  {brief(factor.product)}".strip(),
        "; ".join(factor.notes),
    ]


# -- text and HTML -------------------------------------------------------------------------------------------------
def _text(cell: str | Written) -> str:
    return cell.text if isinstance(cell, Written) else cell


def _block(head: Written, rows: list[Row]) -> str:
    """An equation as lines of text, broken where they are long."""
    lines = []
    indent = " " * (len(head.text) + 1)
    for i, (sign, terms) in enumerate(rows):
        for j, term in enumerate(terms):
            start = (head.text + " " if not i and not j else indent) + (sign.text if not j else "+") + " "
            for part, last in zip_longest(term, [""] * (len(term) - 1), fillvalue=None):
                piece = (part.text if part else "") + (" ·" if last is not None else "")
                if len(start) + len(piece) > WIDTH and start.strip(" =+"):
                    lines.append(start.rstrip())
                    start = indent + "    "
                start += piece + " "
            lines.append(start.rstrip().replace(" · …", " …"))
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells under each other, without what would follow the last."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True) if w).rstrip() for row in rows]


FRACTION = re.compile(r"(?<!\w)([∂d][^\s/()·]+)/([∂d][^\s·()]+)")


def _typeset(text: str) -> str:
    """Text as HTML, with derivatives as fractions."""
    html = escape(text)
    return FRACTION.sub(
        r'<span class="cr-fraction"><span>\1</span><span class="cr-slash">/</span><span>\2</span></span>', html
    )


STYLE = """
.cr-explain{font:15px/1.6 ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;overflow-x:auto}
.cr-explain table{border-collapse:collapse;margin:0 0 1.2em;background:none}
.cr-explain td,.cr-explain th{padding:.25em .7em;text-align:left;vertical-align:middle;border:0;background:none}
.cr-equation{font-family:'STIX Two Math','Cambria Math','Latin Modern Math',Georgia,serif;font-size:17px}
.cr-table caption{text-align:left;font-weight:600;padding:.3em 0}
.cr-explain .cr-table th{font-weight:600;border-bottom:1px solid #8888}
.cr-explain .cr-table td{border-bottom:1px solid #8884}
.cr-fraction{display:inline-flex;flex-direction:column;vertical-align:middle;text-align:center;line-height:1.25}
.cr-fraction>span:first-child{border-bottom:1.2px solid currentColor;padding:0 .15em}
.cr-slash{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
"""
