"""Curves: numbers recorded step by step, as CSV, and as a picture that is drawn here (SVG) or by Matplotlib (PNG)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from html import escape
from math import ceil, floor, isfinite, log10
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import MissingExtraError
from ..tensor import describe, plain

__all__ = ["History", "Line", "Panel", "number", "save", "svg"]

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 300.0, 160.0, 58.0, 14.0, 30.0, 38.0  # of one panel, and around its axes
IN_A_ROW = 2
LOGARITHMIC = 50.0  # from this ratio of largest to smallest on, if all are positive
NAMED = 12  # lines in the legend; of more, the first and the last
COLOURS = ((0x44, 0x77, 0xAA), (0x22, 0x88, 0x33), (0xBB, 0x99, 0x22), (0xEE, 0x66, 0x77))  # first line to last
DASHES = ("", "6 3", "2 2")
STYLE = """
.cr-line{fill:none;stroke-width:1.6;stroke-linejoin:round}.cr-axis{fill:none;stroke:#9aa3b0}.cr-grid{stroke:#e3e7ec}
.cr-curves text{font-family:ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;font-size:11px;fill:#47505e}
.cr-curves .cr-title{font-size:13px;font-weight:600;fill:#1d2633}.cr-curves .cr-bad{fill:#b3261e}
@media(prefers-color-scheme:dark){.cr-axis{stroke:#6d7684}.cr-grid{stroke:#343a43}.cr-curves text{fill:#a7b0be}
.cr-curves .cr-title{fill:#e8edf4}.cr-curves .cr-bad{fill:#ff8a80}}
"""


class Line(NamedTuple):
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Panel(NamedTuple):
    """Curves in one pair of axes."""

    title: str
    lines: Sequence[Line]


def number(name: str, value: Any) -> float:
    """The value of something that is to be shown: a number, or a Tensor or array of one element."""
    array = np.asarray(plain(value))
    if array.size != 1 or array.dtype.kind not in "buif":
        raise TypeError(f"{name} is {describe(value)}: expected one real number, such as its mean")
    return float(array.item())


class History:
    """Numbers recorded step by step: losses, metrics, learning rates.

    In a notebook it shows its curves.

    Examples
    --------
    >>> history = History()
    >>> for step in range(1, 4):
    ...     history.add(step, loss=1 / step)
    >>> history.add(3, accuracy=0.75)  # recorded more rarely: an empty cell elsewhere
    >>> history["loss"]
    array([1.        , 0.5       , 0.33333333])
    >>> history.steps("accuracy"), history.names
    (array([3]), ('loss', 'accuracy'))
    """

    def __init__(self) -> None:
        self._steps: dict[str, list[int]] = {}
        self._values: dict[str, list[float]] = {}
        self._last = 0

    def add(self, step: int, **values: Any) -> None:
        """Record numbers, or Tensors of one element, at a step.

        Raises
        ------
        TypeError
            If a value is not one real number.
        ValueError
            If a later step was recorded before.
        """
        if step < self._last:
            raise ValueError(f"step {step} comes after step {self._last}: steps have to ascend")
        numbers = {name: number(name, value) for name, value in values.items()}
        self._last = step
        for name, value in numbers.items():
            self._steps.setdefault(name, []).append(step)
            self._values.setdefault(name, []).append(value)

    @property
    def names(self) -> tuple[str, ...]:
        """What was recorded, in the order in which it first was."""
        return tuple(self._values)

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return np.array(self._values[name])

    def steps(self, name: str) -> np.ndarray[Any, Any]:
        """The steps at which `name` was recorded."""
        return np.array(self._steps[name])

    def __repr__(self) -> str:
        return f"<History of {', '.join(self.names) or 'nothing'}, to step {self._last}>"

    def _panels(self) -> list[Panel]:
        return [Panel(name, [Line(name, self._steps[name], self._values[name])]) for name in self.names]

    def _repr_html_(self) -> str:
        return svg(self._panels()) if self.names else escape(repr(self))

    def save(self, path: Any) -> None:
        """Write a file: a table if `path` ends in ``.csv``, curves if it ends in ``.svg`` or ``.png``.

        Raises
        ------
        ValueError
            If the path ends in anything else, or nothing was recorded.
        MissingExtraError
            For ``.png`` without Matplotlib.
        OSError
            If the file cannot be written.
        """
        known = [dict(zip(self._steps[name], self._values[name], strict=True)) for name in self.names]
        steps = sorted(set().union(*known))
        table = ([step, *(column.get(step, "") for column in known)] for step in steps)
        save(path, self._panels(), ["step", *self.names], table)


def save(path: Any, panels: Sequence[Panel], head: Sequence[str], table: Iterable[Sequence[Any]]) -> None:
    """Write the table or the picture, as the path's ending says."""
    path = Path(path)
    if path.suffix not in (".csv", ".svg", ".png"):
        raise ValueError(f"{str(path)!r} ends in {path.suffix!r}: choose .csv, .svg or .png")
    if not panels:
        raise ValueError(f"nothing was recorded that could be written to {str(path)!r}")
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *table])
    elif path.suffix == ".svg":
        path.write_text(svg(panels), encoding="utf-8")
    else:
        _figure(panels, path)


# -- the picture -----------------------------------------------------------------------------------------------------
class _Scale:
    """From numbers to places on an axis, of a given length, and the numbers that are written beside it."""

    def __init__(self, values: Any, length: float, logarithmic: bool) -> None:
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
        self.logarithmic = logarithmic
        if low == high:
            margin = abs(low) / 2 or 0.5
            low, high = low - margin, high + margin
        self.low, self.high, self.length = float(self.of(low)), float(self.of(high)), length

    def of(self, x: Any) -> Any:
        """Its logarithm, on such an axis."""
        return np.log10(x) if self.logarithmic else np.asarray(x, float)

    def __call__(self, x: Any) -> Any:
        return (self.of(x) - self.low) / (self.high - self.low) * self.length

    def ticks(self) -> list[float]:
        """Two to seven round numbers."""
        low, high = self.low, self.high
        if self.logarithmic and high - low >= 2:
            every = ceil((high - low) / 6)
            return [10.0**n for n in range(ceil(low - 1e-9), floor(high + 1e-9) + 1) if n % every == 0]
        if self.logarithmic:
            candidates = [m * 10.0**n for n in range(floor(low), floor(high) + 1) for m in (1, 2, 5)]
            return [x for x in candidates if low - 1e-9 <= log10(x) <= high + 1e-9]
        rough = (high - low) / 5
        unit = 10.0 ** floor(log10(rough))
        step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
        return [n * step for n in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _is_logarithmic(values: Any) -> bool:
    return bool(values.size and values.min() > 0 and values.max() / LOGARITHMIC >= values.min())


def _finite(panel: Panel) -> tuple[Any, Any]:
    """All places of a panel's curves that can be drawn, and how many values cannot."""
    values = np.array([y for line in panel.lines for y in line.y], float)
    return values[np.isfinite(values)], int(np.count_nonzero(~np.isfinite(values)))


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns for so many panels."""
    rows = ceil(count / IN_A_ROW)
    return rows, ceil(count / rows)


def svg(panels: Sequence[Panel]) -> str:
    """Draw panels side by side, as an SVG picture for light and dark pages."""
    rows, columns = _grid(len(panels))
    wide, high = LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM
    legend = _legend(panels, columns * wide)
    width, height = columns * wide, rows * high + (18 * (1 + max(row for *_, row in legend)) + 8 if legend else 0)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" class="cr-curves" style="max-width:100%;height:auto">'
        ),
        f"<title>Curves of {escape(', '.join(panel.title for panel in panels))}</title>",
        f"<style>{STYLE}</style>",
    ]
    places = _places(panels)
    for i, panel in enumerate(panels):
        row, column = divmod(i, columns)
        parts.append(f'<g transform="translate({column * wide + LEFT:.1f} {row * high + TOP:.1f})">')
        parts += _axes(panel, places)
        parts.append("</g>")
    for name, x, row in legend:
        y = rows * high + 18 * row + 8
        parts.append(f'<path class="cr-line" {_look(places[name], len(places))} d="M{x:.1f} {y:.1f}h24"/>')
        parts.append(f'<text x="{x + 30:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _axes(panel: Panel, places: dict[str, int]) -> list[str]:
    values, bad = _finite(panel)
    across = _Scale(np.array([x for line in panel.lines for x in line.x], float), WIDTH, False)
    up = _Scale(values, HEIGHT, _is_logarithmic(values))
    parts = [f'<text class="cr-title" y="-11">{escape(panel.title)}</text>']
    for tick in up.ticks():
        y = HEIGHT - float(up(tick))
        parts.append(f'<path class="cr-grid" d="M0 {y:.1f}h{WIDTH:.0f}"/>')
        parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    parts += [
        f'<text x="{float(across(tick)):.1f}" y="{HEIGHT + 16:.0f}" text-anchor="middle">{tick:.7g}</text>'
        for tick in across.ticks()
        if tick == int(tick)
    ]
    parts.append(f'<path class="cr-axis" d="M0 0v{HEIGHT:.0f}h{WIDTH:.0f}"/>')
    parts.append(f'<text x="{WIDTH:.0f}" y="{HEIGHT + 31:.0f}" text-anchor="end">step</text>')
    if bad:
        text = f"{bad} value{'s are' if bad > 1 else ' is'} NaN or infinite"
        parts.append(f'<text class="cr-bad" x="{WIDTH:.0f}" y="-11" text-anchor="end">{text}</text>')
    for line in panel.lines if values.size else ():
        heights = np.asarray(line.y, float)
        finite = np.isfinite(heights)
        path = _path(across(line.x), np.where(finite, HEIGHT - up(np.where(finite, heights, values[0])), np.nan))
        look = _look(places[line.name], len(places))
        parts.append(f'<path class="cr-line" {look} d="{path}"><title>{escape(line.name)}</title></path>')
    return parts


def _path(x: Any, y: Any) -> str:
    """Lines through the points; NaN interrupts them; of many points at one place across, the extremes."""
    if len(x) > 4 * WIDTH:
        column = np.floor(x * 2).astype(int)
        starts = np.flatnonzero(np.diff(column, prepend=-1))
        low, high = np.fmin.reduceat(y, starts), np.fmax.reduceat(y, starts)
        x, y = np.repeat(x[starts], 2), np.stack([low, high], axis=1).ravel()
    path, pen = [], "M"
    for left, (a, b) in enumerate(zip(x, y, strict=True)):
        if not isfinite(b):
            pen = "M"
            continue
        alone = pen == "M" and not (left + 1 < len(y) and isfinite(y[left + 1]))
        path.append(f"{pen}{a:.1f} {b:.1f}" + ("h1.5" if alone else ""))
        pen = "L"
    return "".join(path)


def _colour(i: int, count: int) -> str:
    """From the first of `count` lines to the last, along `COLOURS`."""
    place = i / max(count - 1, 1) * (len(COLOURS) - 1)
    left = min(int(place), len(COLOURS) - 2)
    mixed = [a + (place - left) * (b - a) for a, b in zip(COLOURS[left], COLOURS[left + 1], strict=True)]
    return f"#{''.join(f'{round(c):02x}' for c in mixed)}"


def _look(i: int, count: int) -> str:
    dash = DASHES[i % len(DASHES)]
    return f'stroke="{_colour(i, count)}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _places(panels: Sequence[Panel]) -> dict[str, int]:
    """Per name of a line the number by which it looks the same in every panel; 0 for all if no panel has several."""
    panels = sorted(panels, key=lambda panel: -len(panel.lines))
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    return {name: i if len(panels[0].lines) > 1 else 0 for i, name in enumerate(names)}


def _named(panels: Sequence[Panel]) -> list[str]:
    """The names of lines that a legend explains, if there are several in a panel."""
    names = [name for name, i in _places(panels).items() if i or max(len(panel.lines) for panel in panels) > 1]
    return names if len(names) <= NAMED else [*names[: NAMED // 2], *names[-NAMED // 2 :]]


def _legend(panels: Sequence[Panel], width: float) -> list[tuple[str, float, int]]:
    """The names in the legend, and their places."""
    found, x, row = [], LEFT, 0
    for name in _named(panels):
        needed = 30 + 6.5 * len(name) + 18
        if x + needed > width and x > LEFT:
            x, row = LEFT, row + 1
        found.append((name, x, row))
        x += needed
    return found


def _figure(panels: Sequence[Panel], path: Path) -> None:
    """The same picture by Matplotlib."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an optional dependency)
    except ImportError as error:
        raise MissingExtraError(
            'a .png is drawn by Matplotlib, which is not installed: pip install "chainrule[plot]"; .svg needs nothing'
        ) from error
    rows, columns = _grid(len(panels))
    figure = Figure(figsize=(3.9 * columns, 2.6 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    places, handles = _places(panels), {}
    for axes, panel in zip(grid, panels, strict=False):
        values, bad = _finite(panel)
        for line in panel.lines:
            i = places[line.name]
            dash = DASHES[i % len(DASHES)]
            style = (0, tuple(map(float, dash.split()))) if dash else "-"
            (handles[line.name],) = axes.plot(line.x, line.y, color=_colour(i, len(places)), linestyle=style)
        axes.set(xlabel="step", yscale="log" if _is_logarithmic(values) else "linear")
        axes.set_title(panel.title + (f" ({bad} NaN or infinite)" if bad else ""), fontsize=10)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if names := _named(panels):
        lines = [handles[name] for name in names]
        figure.legend(lines, names, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
