"""Draw: the graph as an SVG picture, laid out here.

Nodes stand in layers, operands above what is made of them.  A node's layer is its longest way to the result; edges
that pass layers get a place in each of them; the order in a layer keeps crossings few, and the positions keep the
longest chain straight, with leaves beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FreedGraphError, OutputError
from ..graph import FREED, Node
from ..tensor import Tensor, describe

__all__ = ["draw"]

MAX_LAYERS = 20  # more are folded in the middle
MAX_WIDTH = 9  # nodes in a layer; more are folded at its end
LAYER, BOX, GAP, MARGIN = 74.0, 40.0, 22.0, 16.0

STYLE = """
.cr-box{stroke-width:1.3}
.cr-op .cr-box{fill:#eef3fb;stroke:#5b7db1}.cr-leaf .cr-box{fill:#e7f5ea;stroke:#3f8f57}
.cr-constant .cr-box{fill:#f6f6f4;stroke:#a9a9a2}.cr-fold .cr-box{fill:none;stroke:#a9a9a2;stroke-dasharray:4 3}
.cr-result .cr-box{fill:#fdf1dd;stroke:#c07d13;stroke-width:2}
.cr-edge{fill:none;stroke:#8a93a3;stroke-width:1.3}.cr-head{fill:#8a93a3}
text{font-family:ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;text-anchor:middle}
.cr-name{font-size:13px;font-weight:600;fill:#1d2633}.cr-shape{font-size:11px;fill:#5d6776}
@media(prefers-color-scheme:dark){
.cr-op .cr-box{fill:#1d2a3f;stroke:#7ea3dc}.cr-leaf .cr-box{fill:#18301f;stroke:#6cc487}
.cr-constant .cr-box{fill:#26282b;stroke:#74777c}.cr-fold .cr-box{stroke:#74777c}
.cr-result .cr-box{fill:#3a2c12;stroke:#e5a83e}
.cr-edge{stroke:#8b95a5}.cr-head{fill:#8b95a5}.cr-name{fill:#e8edf4}.cr-shape{fill:#a7b0be}}
"""


class _Item:
    """Something with a place in the picture: a node, a fold, or the point where an edge passes a layer."""

    def __init__(self, layer: int, kind: str, name: str = "", shape: str = "", details: str = "") -> None:
        self.layer, self.kind, self.name, self.shape, self.details = layer, kind, name, shape, details
        self.above: list[_Item] = []  # operands, in order
        self.below: list[_Item] = []
        self.x = 0.0
        self.depth = 0
        self.count = 0  # of a fold

    @property
    def width(self) -> float:
        if self.kind == "pass":
            return 14.0
        return max(64.0, 7.6 * len(self.name) + 22, 6.3 * len(self.shape) + 22)

    @property
    def y(self) -> float:
        return MARGIN + self.layer * LAYER


def draw(y: Tensor, path: str | Path | None = None) -> str:
    """Draw the graph of a result: what it was computed from, and how.

    Parameters
    ----------
    y : Tensor
        A result that depends on a leaf, whose graph was not freed.
    path : str or Path, optional
        Where to write the picture too.

    Returns
    -------
    str
        An SVG document, readable on light and dark pages; pointing at a node shows its details.  The middle of a long
        graph, and the end of a wide layer, are folded into a node that says how many it stands for.

    Raises
    ------
    OutputError
        If `y` is no Tensor, or has no graph.
    FreedGraphError
        If a backward pass has freed the graph.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0], name="x")
    >>> svg = draw(np.sin(x) * x)
    >>> svg.startswith("<svg"), "multiply" in svg
    (True, True)
    """
    if not isinstance(y, Tensor) or y.node is None:
        raise OutputError(f"draw() of {describe(y)}, which has no graph: draw a Tensor that was computed from a leaf")
    layers = _layers(_folded(y.node))
    _order(layers)
    _place(layers)
    svg = _svg(layers)
    if path is not None:
        Path(path).write_text(svg, encoding="utf-8")
    return svg


# -- what to show ----------------------------------------------------------------------------------------------------
def _collected(root: Node) -> list[Node]:
    """Every node the result depends on, constants too, operands first."""
    seen = {root}
    nodes = [root]
    for node in nodes:
        for operand in node.operands:
            if operand not in seen:
                seen.add(operand)
                nodes.append(operand)
    if any(node.rule is FREED for node in nodes):
        raise FreedGraphError(
            "this graph was freed by a backward pass. Draw it before, or pass retain_graph=True to the pass."
        )
    return sorted(nodes, key=lambda node: node.index)


def _folded(root: Node) -> list[_Item]:
    """Turn nodes into items; what is too much becomes folds."""
    nodes = _collected(root)
    height = dict.fromkeys(nodes, 0)
    for node in reversed(nodes):
        for operand in node.operands:
            height[operand] = max(height[operand], height[node] + 1)
    layers: list[list[Node]] = [[] for _ in range(max(height.values()) + 1)]
    for node in nodes:
        layers[-1 - height[node]].append(node)
    hidden = max(0, len(layers) - MAX_LAYERS)
    first = MAX_LAYERS // 2 if hidden else len(layers)  # layers from here to first + hidden are folded
    items: dict[Node, _Item] = {}
    shown: list[_Item] = []
    middle = _Item(first, "fold")
    for number, layer in enumerate(layers):
        if first <= number < first + hidden:
            items.update(dict.fromkeys(layer, middle))
            middle.count += len(layer)
            continue
        place = number if number < first else number - hidden + 1
        kept = layer if len(layer) <= MAX_WIDTH else layer[: MAX_WIDTH - 1]
        for node in kept:
            items[node] = _item(node, place, node is root)
            shown.append(items[node])
        if len(kept) < len(layer):
            rest = _Item(place, "fold")
            rest.count = len(layer) - len(kept)
            items.update(dict.fromkeys(layer[len(kept) :], rest))
            shown.append(rest)
    if middle.count:
        shown.append(middle)
    for node in nodes:
        item = items[node]
        for operand in node.operands:
            other = items[operand]
            if other is not item and not (other in item.above and "fold" in (item.kind, other.kind)):
                item.above.append(other)
                other.below.append(item)
                item.depth = max(item.depth, other.depth + 1)
    for item in shown:
        if item.kind == "fold":
            item.name = f"… {item.count} more"
    return shown


def _item(node: Node, layer: int, is_result: bool) -> _Item:
    shape = str(tuple(node.shape)) if node.shape else "scalar"
    if not node.index:
        value = node.value
        number = isinstance(value, int | float | complex | np.number)
        name = f"{value:.6g}" if number else "constant"
        return _Item(layer, "constant", name, "" if number else shape, f"{name}\nconstant, {shape}")
    kind = "result" if is_result else "leaf" if node.rule is None else "op"
    name = node.rule.name if node.rule is not None else node.name or "Tensor"
    details = [name if node.rule is not None else f"{name}: a leaf", f"{shape}, {node.dtype}"]
    if node.rule is not None:
        rest, options = node.params or ((), {})
        given = [_brief(x) for x in rest] + [f"{key}={_brief(x)}" for key, x in options.items()]
        details += [f"with {', '.join(given)}"] * bool(given)
        letters = zip("abcd", node.rule.partials, strict=False)
        details += [f"∂y/∂{letter} = {partial or 'not known'}" for letter, partial in letters]
    return _Item(layer, kind, name if len(name) <= 26 else f"{name[:25]}…", shape, "\n".join(details))


def _brief(x: Any) -> str:
    if isinstance(x, tuple):
        return f"({', '.join(_brief(item) for item in x)})"
    return f"array {x.shape}" if getattr(x, "shape", ()) else f"{x!r:.40}"


# -- where to put it -------------------------------------------------------------------------------------------------
def _layers(items: list[_Item]) -> list[list[_Item]]:
    """Sort items into layers; an edge over several layers gets an item to pass through in each between."""
    layers: list[list[_Item]] = [[] for _ in range(max(item.layer for item in items) + 1)]
    for item in items:
        layers[item.layer].append(item)
    for item in items:
        for slot, operand in enumerate(item.above):
            last = operand
            for layer in range(operand.layer + 1, item.layer):
                between = _Item(layer, "pass")
                between.depth = operand.depth
                layers[layer].append(between)
                _replace(last.below, item, between)
                between.above, between.below = [last], [item]
                last = between
            item.above[slot] = last
    return layers


def _replace(items: list[_Item], old: _Item, new: _Item) -> None:
    items[items.index(old)] = new


def _order(layers: list[list[_Item]]) -> None:
    """Order each layer: as the operands are written, then by the mean of the neighbours, while that helps."""
    for lower, upper in zip(layers[:0:-1], layers[-2::-1], strict=True):
        written = dict.fromkeys(operand for item in lower for operand in item.above)
        upper.sort(key=[*written, *upper].index)
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(8):
        if not fewest:
            break
        down = sweep % 2 == 0
        for fixed, moving in pairwise(layers if down else layers[::-1]):
            at = {item: i for i, item in enumerate(fixed)}
            here = {item: i for i, item in enumerate(moving)}
            moving.sort(key=lambda item: _mean([at[n] for n in (item.above if down else item.below)], here[item]))
        if (crossings := _crossings(layers)) < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    layers[:] = best


def _crossings(layers: list[list[_Item]]) -> int:
    total = 0
    for upper, lower in pairwise(layers):
        at = {item: i for i, item in enumerate(upper)}
        ends = [at[operand] for item in lower for operand in sorted(item.above, key=at.__getitem__)]
        total += sum(a > b for i, b in enumerate(ends) for a in ends[:i])
    return total


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _place(layers: list[list[_Item]]) -> None:
    """Choose x: each item under and above its neighbours as far as the order and the widths allow."""
    for _ in range(6):
        for layer in reversed(layers):
            _settle(layer, lambda item: item.below)
        for layer in layers:
            _settle(layer, lambda item: item.above + item.below)
    left = min(item.x - item.width / 2 for layer in layers for item in layer)
    for layer in layers:
        for item in layer:
            item.x += MARGIN - left


def _settle(layer: list[_Item], neighbours: Callable[[_Item], Iterable[_Item]]) -> None:
    """Weighted least squares under minimal distances, by pooling adjacent violators; long chains weigh most."""
    pools: list[list[Any]] = []  # position, weight, items with their offsets
    offset = 0.0
    for i, item in enumerate(layer):
        if i:
            offset += (layer[i - 1].width + item.width) / 2 + GAP
        pull = [(n.x, (1 + min(n.depth, item.depth)) ** 2) for n in neighbours(item)]
        weight = sum(w for _, w in pull)
        wish = sum(x * w for x, w in pull) / weight if pull else item.x
        pools.append([wish - offset, (1 + item.depth) ** 2, [(item, offset)]])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            x, w, members = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + x * w) / (before[1] + w)
            before[1] += w
            before[2] += members
    for x, _, members in pools:
        for item, shift in members:
            item.x = x + shift


# -- how it looks ----------------------------------------------------------------------------------------------------
def _svg(layers: list[list[_Item]]) -> str:
    items = [item for layer in layers for item in layer]
    width = max(item.x + item.width / 2 for item in items) + MARGIN
    height = items[-1].y + BOX + MARGIN
    edges = [edge for item in items if item.kind != "pass" for edge in _edges(item)]
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
                f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" style="max-width:100%;height:auto">'
            ),
            f"<title>Computation graph of {escape(layers[-1][0].name)}</title>",
            f"<style>{STYLE}</style>",
            (
                '<defs><marker id="cr-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                'orient="auto"><path class="cr-head" d="M0 0.5 8 4 0 7.5z"/></marker></defs>'
            ),
            *edges,
            *(_box(item) for item in items if item.kind != "pass"),
            "</svg>\n",
        ]
    )


def _edges(item: _Item) -> list[str]:
    """The edges that end at an item, side by side along its upper side."""
    step = min(18.0, (item.width - 16) / max(len(item.above), 1))
    order = sorted(range(len(item.above)), key=lambda i: (item.above[i].x, i))
    found = []
    for place, i in enumerate(order):
        points = [(item.x + step * (place - (len(order) - 1) / 2), item.y)]
        source = item.above[i]
        while source.kind == "pass":
            points.append((source.x, source.y + BOX / 2))
            source = source.above[0]
        points.append((source.x, source.y + BOX))
        points.reverse()
        found.append(f'<path class="cr-edge" marker-end="url(#cr-arrow)" d="{_curve(points)}"/>')
    return found


def _curve(points: list[tuple[float, float]]) -> str:
    """A smooth curve through the points, vertical at both ends."""
    ends = [points[0], *points, points[-1]]
    slopes = [(c[0] - a[0]) / (c[1] - a[1]) for a, c in zip(ends[:-2], ends[2:], strict=True)]
    slopes[0] = slopes[-1] = 0.0
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1), s0, s1 in zip(points, points[1:], slopes, slopes[1:], strict=False):
        bend = (y1 - y0) / 2
        path += f"C{x0 + s0 * bend:.1f} {y0 + bend:.1f} {x1 - s1 * bend:.1f} {y1 - bend:.1f} {x1:.1f} {y1:.1f}"
    return path


def _box(item: _Item) -> str:
    round_ends = 20 if item.kind in ("leaf", "constant") else 7
    lines = [
        f'<g class="cr-{item.kind}"><title>{escape(item.details or item.name)}</title>',
        (
            f'<rect class="cr-box" x="{item.x - item.width / 2:.1f}" y="{item.y:.1f}" width="{item.width:.1f}" '
            f'height="{BOX:.0f}" rx="{round_ends}"/>'
        ),
        (
            f'<text class="cr-name" x="{item.x:.1f}" y="{item.y + (17 if item.shape else 24.5):.1f}">'
            f"{escape(item.name)}</text>"
        ),
    ]
    if item.shape:
        lines.append(f'<text class="cr-shape" x="{item.x:.1f}" y="{item.y + 32:.1f}">{escape(item.shape)}</text>')
    return "".join([*lines, "</g>"])
