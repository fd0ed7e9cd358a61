"""Draw: the graph as a picture, SVG or, by Matplotlib, PNG."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from ..errors import FreedGraphError, MissingExtraError, OutputError
from ..graph import Gone, Node, ordered
from ..tensor import Tensor, describe
from .layout import Box
from .naming import Names, variables_of
from .picture import COLOURS, EDGE, FAINT, HEIGHT, INK, PAPER, Picture, Shown, shape_of, value_line

__all__ = ["Drawing", "draw", "graph_of"]

MOST = 48  # boxes for operations
INSIDE = 500  # the same with all that a reader can open
COMPUTED = 20_000  # nodes of the largest graph whose values are computed again if they were not kept
DPI = 144
TALLEST = 700  # points in a notebook; what is below is scrolled to


class Drawing(str):
    """The SVG document; a notebook shows the picture."""

    __slots__ = ("height",)
    height: int

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{min(self.height + 24, TALLEST)}px;border:0"
        return f'<iframe title="computation graph" style="{style}" srcdoc="{escape(self)}"></iframe>'


def draw(y: Tensor, path: str | Path | None = None) -> Drawing:
    """Draw the graph of a result: what it was computed from, and how.

    Parameters
    ----------
    y : Tensor
        A result that depends on a leaf, whose graph was not freed.
    path : str or Path, optional
        Where to write the picture too: ``.svg``, or ``.png``, which Matplotlib draws.

    Returns
    -------
    Drawing
        A string, the SVG document, readable on light and dark pages: pointing at a box shows its details, and in a
        browser a click or the Enter key folds and unfolds modules.  A notebook shows the picture.

    Raises
    ------
    OutputError
        If `y` is no Tensor, or has no graph.
    FreedGraphError
        If a backward pass has freed the graph: to see gradients, pass ``retain_graph=True`` to it.
    MissingExtraError
        If `path` ends in ``.png`` and Matplotlib is not installed.
    OSError
        If `path` cannot be written.

    Notes
    -----
    A box has the name, shape, dtype and value of what was computed, and a leaf, after a backward pass, its gradient.
    Calls of modules are frames.  Of a graph with more than 48 operations, what repeats is shown once, modules are
    folded into one box each, and if that does not suffice, the middle is left out; every such box says what it stands
    for, and opens if all that can be opened has at most 500 operations.  Names are found as by `explain`.  Cost: linear
    in the number of nodes.

    Examples
    --------
    >>> import numpy as np
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> svg = draw(np.sin(x) * x)
    >>> svg.startswith("<svg"), "multiply" in svg
    (True, True)
    """
    nodes, frontier, names = graph_of("draw", y, variables_of(sys._getframe(1)))
    assert y.node is not None

    def write(node: Node, box: Shown) -> list[str]:
        value = names.value(node)
        name = names.given.get(node)
        if not node.index and not node.shape and value is not None:
            return [value_line(value)]
        if node.rule is None:
            first = name.text if name is not None else "Tensor" if node.index else "constant"
        else:
            first = node.rule.name if name is None else f"{name.text} = {node.rule.name}"
        lines = [first, shape_of(node)]
        if value is not None:
            lines.append(value_line(value))
        if getattr(node, "grad", None) is not None:
            lines.append(f"grad {value_line(node.grad)}")
        return lines

    picture = Picture(y.node, nodes, frontier, write, True, MOST, INSIDE)
    svg = Drawing(picture.svg(f"Computation graph of {names.head.text}"))
    svg.height = round(picture.page.height)
    if path is not None and Path(path).suffix.lower() == ".png":
        _png(picture, Path(path))
    elif path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


def graph_of(use: str, y: Any, held: Iterable[tuple[str, Any]]) -> tuple[list[Node], set[Node], Names]:
    """The nodes of a result, operands first, its constants, and names and values for them."""
    if not isinstance(y, Tensor) or y.node is None:
        raise OutputError(f"{use}() of {describe(y)}, which has no graph: {use} a Tensor that was computed from a leaf")
    nodes, frontier = ordered([y.node])
    if any(isinstance(node.rule, Gone) for node in nodes):
        raise FreedGraphError(
            f"{use}(): this graph was freed by a backward pass. {use.capitalize()} it before, or pass "
            "retain_graph=True to the pass."
        )
    names = Names(y, {}, nodes, frontier, held)
    if len(nodes) <= COMPUTED:
        names.compute(nodes)
    return nodes, frontier, names


# -- PNG -----------------------------------------------------------------------------------------------------------
def _png(picture: Picture, path: Path) -> None:
    """The same picture by Matplotlib, on white."""
    try:
        from matplotlib import patches  # noqa: PLC0415 (an optional dependency)
        from matplotlib.figure import Figure  # noqa: PLC0415 (likewise)
        from matplotlib.path import Path as Curve  # noqa: PLC0415 (likewise)
    except ImportError as error:
        raise MissingExtraError(
            'a .png is drawn by Matplotlib, which is not installed: pip install "chainrule[plot]"; .svg needs nothing'
        ) from error
    width, height = picture.page.width, picture.page.height
    figure = Figure(figsize=(width / 72, height / 72), facecolor=PAPER[0])
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")

    def rounded(box: Box, radius: float, **style: Any) -> None:
        frame = patches.FancyBboxPatch(
            (box.x - box.width / 2, box.y),
            box.width,
            box.height,
            boxstyle=patches.BoxStyle.Round(pad=0, rounding_size=radius),
            **style,
        )
        axes.add_patch(frame)

    shown = [box for box in (*picture.frames, *picture.boxes) if box.shown is box]
    for frame in shown:
        if frame.kind == "frame" and not frame.closed:
            rounded(frame, 9, fill=False, edgecolor=COLOURS["fold"][1], linestyle=":", linewidth=1)
            axes.text(frame.x - frame.width / 2 + 9, frame.y + 11, frame.title, fontsize=8, color=FAINT[0], va="center")
    for edge, points in picture.paths():
        arrow = patches.FancyArrowPatch(
            path=Curve(points, [Curve.MOVETO, *[Curve.CURVE4] * (len(points) - 1)]),
            arrowstyle="-|>,head_length=4,head_width=2",
            color=EDGE[0],
            linewidth=1,
            alpha=0.35 if edge.far else 1,
        )
        axes.add_patch(arrow)
    for box in shown:
        if box.kind == "frame" and not box.closed:
            continue
        kind = "fold" if box.closed else box.kind
        fill, line = COLOURS[kind][:2]
        dashes = "--" if kind == "fold" else "-"
        radius = min(20, box.height / 2) if kind in ("leaf", "constant") else 7
        rounded(box, radius, facecolor=fill, edgecolor=line, linestyle=dashes, linewidth=1)
        top = box.y + (box.height - HEIGHT * (len(box.lines) - 1)) / 2
        for i, text in enumerate(box.lines):
            weight, size, colour = ("normal", 8, FAINT[0]) if i else ("bold", 9.5, INK[0])
            axes.text(
                box.x, top + HEIGHT * i, text, ha="center", va="center", fontsize=size, weight=weight, color=colour,
                parse_math=False,
            )  # fmt: skip
    figure.savefig(path, dpi=DPI)
