"""A graph as a picture: which boxes there are, what stands in them, and SVG."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from .. import formula
from ..graph import Node
from ..rules.registry import LETTERS, UNKNOWN, partial_trees
from ..tensor import plain
from .derivation import brief
from .folding import Group, folded, operations
from .layout import Box, Edge, arrange, curve

__all__ = [
    "COLOURS",
    "SCRIPT",
    "Picture",
    "Shown",
    "briefly",
    "described",
    "shape_of",
    "value_line",
]

SCRIPT = Path(__file__).with_name("picture.js")

FAN = 60  # edges that arrive at a box; more are drawn faintly
LEAVES = 8  # of one operation; more are one box
NAME, LINE, HEIGHT = 7.7, 6.4, 15.0  # width of a character in the first line of a box and in the others; of a line
LONGEST = 34  # characters in a line

# Of each kind of box: what fills it and its border on a light page; the same on a dark one.  Text has a contrast of at
# least 7 to 1 on all of them, borders of 3 to 1 to the page; kinds differ in shape too.
COLOURS = {
    "op": ("#eef3fb", "#4a6ea6", "#1d2a3f", "#7ea3dc"),
    "leaf": ("#e7f5ea", "#2f7d48", "#18301f", "#6cc487"),
    "constant": ("#f6f6f4", "#85857d", "#26282b", "#8b8f95"),
    "fold": ("#f3eefb", "#7a5cb0", "#2a2140", "#b298e6"),
    "result": ("#fdf1dd", "#a8690a", "#3a2c12", "#e5a83e"),
}
INK, EDGE, PAPER = ("#1d2633", "#e8edf4"), ("#6c7686", "#8b95a5"), ("#ffffff", "#14171c")
FAINT = ("#4d5664", "#b4bcc9")

STYLE = """
.cr-box{stroke-width:1.3}
{light}
.cr-fold .cr-box{stroke-dasharray:5 3}.cr-result .cr-box{stroke-width:2}
.cr-frame>.cr-box{fill:none;stroke-width:1.2;stroke-dasharray:2 4}.cr-title{font-size:11px;font-weight:600}
.cr-frame>.cr-name,.cr-frame>.cr-line,.cr-fold>.cr-title,.cr-hidden{display:none}
.cr-turns .cr-title,.cr-turns.cr-fold{cursor:pointer}
.cr-turns:focus{outline:none}.cr-graph .cr-turns:focus-visible .cr-box{stroke-width:3.5;stroke-dasharray:none}
.cr-edge{fill:none;stroke-width:1.3}.cr-far{stroke-opacity:.35}
.cr-graph text{font-family:ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;text-anchor:middle}
.cr-graph .cr-title{text-anchor:start}
.cr-name{font-size:13px;font-weight:600}.cr-line{font-size:11px}
@media(prefers-color-scheme:dark){
{dark}
}
"""


def _themed(dark: int) -> str:
    lines = [
        f".cr-{kind} .cr-box{{fill:{colours[2 * dark]};stroke:{colours[2 * dark + 1]}}}"
        for kind, colours in COLOURS.items()
    ]
    lines += [
        f".cr-edge{{stroke:{EDGE[dark]}}}.cr-head{{fill:{EDGE[dark]}}}",
        f".cr-frame>.cr-box{{stroke:{COLOURS['fold'][2 * dark + 1]}}}",
        f".cr-name{{fill:{INK[dark]}}}.cr-line,.cr-title{{fill:{FAINT[dark]}}}",
    ]
    return "\n".join(lines)


class Shown(Box):
    """A box for a node or for a group; a group whose parts are in the picture is a frame, open or closed.

    Attributes
    ----------
    kind : "op", "leaf", "constant", "result", "fold" or "frame"
    title : what stands in an open frame
    lines : what stands in it if it is a box or a closed frame
    details : what it says when it is pointed at
    stands_for : the node, or the operations of the group
    folded_size : width and height of a frame when it is closed
    """

    def __init__(self, order: float, frame: Box | None, kind: str) -> None:
        super().__init__(order, frame)
        self.kind, self.title = kind, ""
        self.lines: list[str] = []
        self.details = ""
        self.stands_for: list[Node] = []

    def write(self, lines: Sequence[str], details: str) -> None:
        """Say what stands in it; that decides how large it is."""
        self.lines = [line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in lines]
        self.details = details
        longest = max(NAME * len(self.lines[0]), LINE * max(map(len, self.lines)))
        self.width = max(64.0, longest + (30 if self.kind in ("leaf", "constant") else 20))
        self.height = max(40.0, 10 + HEIGHT * len(self.lines))
        self.folded_size = self.width, self.height


Writer = Callable[[Node, Any], list[str]]  # what stands in the box of a node: a name, and lines below it


class Picture:
    """Boxes and edges for the graph of `root`, each with its place.

    Attributes
    ----------
    boxes : of nodes and of groups that cannot be opened, in order
    frames : around the boxes of a group, the outer ones first; what is in a closed one does not show
    box_of : for each node, the box that stands for it
    """

    def __init__(
        self,
        root: Node,
        nodes: Sequence[Node],
        frontier: Iterable[Node],
        write: Writer,
        numbers: bool,
        most: int,
        all_in: int = 0,
    ) -> None:
        self.root, self.write = root, write
        self.page = Shown(0, None, "page")
        self.boxes: list[Shown] = []
        self.frames: list[Shown] = []
        self.box_of: dict[Node, Shown] = {}
        self._open(folded(nodes, most, all_in), self.page)
        known = {node for node in (*nodes, *frontier) if node.rule is None}
        used = dict.fromkeys(operand for node in nodes for operand in node.operands)  # in this order
        self._leaves([node for node in (*nodes, *used) if node in known], nodes, numbers)
        self.edges: list[Edge] = []
        seen = set()
        for node in nodes:
            target = self.box_of.get(node)
            for operand in node.operands:
                source = self.box_of.get(operand)
                if source is None or target is None or source is target or (source, target) in seen:
                    continue
                if "fold" in (source.kind, target.kind):
                    seen.add((source, target))
                self.edges.append(Edge(source, target))
        self.boxes.sort(key=lambda box: box.order)
        arrange(self.page, self.edges)

    # -- boxes
    def _open(self, group: Group, frame: Shown) -> None:
        for part in group.parts:
            if isinstance(part, Node):
                self._box(part, frame)
            elif part.opens:
                self._frame(part, frame)
            else:
                self._fold(part, frame)

    def _box(self, node: Node, frame: Shown) -> None:
        box = Shown(node.index, frame, kind_of(node, self.root))
        box.stands_for = [node]
        box.write(self.write(node, box), described(node))
        self.box_of[node] = box
        self.boxes.append(box)

    def _fold(self, group: Group, frame: Shown) -> None:
        nodes = list(operations(group))
        box = Shown(nodes[-1].index, frame, "fold")
        self.box_of.update(dict.fromkeys(nodes, box))
        self.boxes.append(box)
        box.write(*_summary(group, nodes))
        box.stands_for = nodes

    def _frame(self, group: Group, frame: Shown) -> None:
        inner = Shown(0, frame, "frame")
        inner.closed = not group.is_open
        self.frames.append(inner)
        self._open(group, inner)
        inner.order = max(box.order for box in inner.inner)
        inner.stands_for = list(operations(group))
        inner.write(*_summary(group, inner.stands_for))
        inner.title = group.title or ": ".join(inner.lines[:2])

    def _leaves(self, leaves: Sequence[Node], nodes: Sequence[Node], numbers: bool) -> None:
        """Leaves and constants stand in the innermost frame around all that uses them, or in its fold."""
        users: dict[Node, list[Shown]] = {leaf: [] for leaf in leaves}
        for node in nodes:
            for operand in node.operands:
                if operand in users and node in self.box_of:
                    users[operand].append(self.box_of[node])
        own: dict[Shown, list[Node]] = {}
        for leaf, several in users.items():
            boxes = set(several)
            first = several[0] if several else None
            if not leaf.index and not numbers and not leaf.shape:
                continue
            if first is not None and len(boxes) == 1 and first.kind == "fold":
                self.box_of[leaf] = first
                first.stands_for.append(leaf)
            elif first is not None and len(boxes) == 1:
                own.setdefault(first, []).append(leaf)
            else:
                frames = [box.frames for box in boxes]
                common = [each[0] for each in zip(*frames, strict=False) if all(f is each[0] for f in each)]
                self._leaf(leaf, common[-1] if common else self.page)
        for box, several_leaves in own.items():
            shown = several_leaves if len(several_leaves) <= LEAVES + 1 else several_leaves[:LEAVES]
            for leaf in shown:
                self._leaf(leaf, box.frame)
            if len(shown) < len(several_leaves):
                rest = Shown(0, box.frame, "fold")
                rest.stands_for = several_leaves[LEAVES:]
                rest.write([f"… {len(rest.stands_for):,} more", "leaves and constants"], "leaves and constants, folded")
                self.box_of.update(dict.fromkeys(rest.stands_for, rest))
                self.boxes.append(rest)
        for box in self.boxes:
            for frame in box.frames[1:]:
                assert isinstance(frame, Shown)
                frame.stands_for += [node for node in box.stands_for if node.rule is None]
        for box in (*self.boxes, *self.frames):
            inside = [node for node in box.stands_for if node.rule is None and node.index]
            if inside and box.order:
                size = sum(int(np.prod(node.shape)) for node in inside)
                box.write([*box.lines, _several(size, "parameter")], f"{box.details}\n{_several(size, 'parameter')}")

    def _leaf(self, leaf: Node, frame: Any) -> None:
        box = Shown(0, frame, kind_of(leaf, self.root))
        box.stands_for = [leaf]
        box.write(self.write(leaf, box), described(leaf))
        self.box_of[leaf] = box
        self.boxes.append(box)

    @property
    def hidden(self) -> int:
        """How many operations are folded."""
        return sum(node.rule is not None for box in self.boxes if box.kind == "fold" for node in box.stands_for)

    # -- lines
    def paths(self) -> Iterator[tuple[Edge, list[tuple[float, float]]]]:
        """The edges that show, those of one box side by side along its upper side; picture.js draws the same."""
        arriving: dict[Box, list[tuple[Box, list[Box], Edge]]] = {}
        seen = set()
        for edge in self.edges:
            source, target = edge.source.shown, edge.target.shown
            if source is not target and (source, target) not in seen:
                if source.closed or target.closed:
                    seen.add((source, target))
                arriving.setdefault(target, []).append((source, [box for box in edge.via if box.shown is box], edge))
        for target, lines in arriving.items():
            step = min(18.0, (target.width - 16) / len(lines))
            lines.sort(key=lambda line: [line[0], *line[1]][-1].x)
            for place, (source, via, edge) in enumerate(lines):
                edge.far |= len(lines) > FAN
                yield edge, curve(source, via, target, step * (place - (len(lines) - 1) / 2))

    def _places(self) -> str:
        """What picture.js needs to place everything again when a frame is folded."""
        items: list[Any] = [self.page]
        for item in items:
            items += [box for layer in item.layers for box in layer]
        number = {item: i for i, item in enumerate(items)}

        def numbers(found: Iterable[Any]) -> list[int]:
            return [number[each] for each in found]

        sizes = [getattr(item, "folded_size", (item.width, item.height)) for item in items]
        found = {
            "size": [[round(side, 1) for side in size] for size in sizes],
            "depth": [item.depth for item in items],
            "passes": [i for i, item in enumerate(items) if item.order != item.order],
            "layers": [[numbers(layer) for layer in item.layers] for item in items],
            "up": [[numbers(each) for each in item.up] for item in items],
            "edges": [[*numbers((edge.source, edge.target)), numbers(edge.via), int(edge.far)] for edge in self.edges],
            "boxes": numbers(self.boxes),
            "frames": numbers(self.frames),
        }
        return json.dumps(found, separators=(",", ":"))

    # -- SVG
    def svg(self, title: str, interactive: bool = False) -> str:
        """The picture as an SVG element; an interactive one has numbers by which a script finds boxes and edges.

        Any with frames says how they fold; one that is not interactive has the script for that too.
        """
        width, height = self.page.width, self.page.height
        number = {box: i for i, box in enumerate(self.boxes)}
        role = 'role="group" aria-label="the graph"' if interactive else 'role="img" style="max-width:100%;height:auto"'
        parts = [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" class="cr-graph" width="{width:.0f}" height="{height:.0f}" '
                f'viewBox="0 0 {width:.0f} {height:.0f}" {role}>'
            ),
            "" if interactive else f"<title>{escape(title)}</title>",
            f"<style>{STYLE.replace('{light}', _themed(0)).replace('{dark}', _themed(1))}</style>",
            (
                '<defs><marker id="cr-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
                'orient="auto-start-reverse"><path class="cr-head" d="M0 0.5 8 4 0 7.5z"/></marker></defs>'
            ),
        ]
        parts += map(_svg_frame, self.frames)
        lines = dict(self.paths())
        for edge in self.edges if self.frames else lines:
            (x, y), *rest = lines.get(edge, [(0, 0)])
            path = f"M{x:.1f} {y:.1f}C" + " ".join(f"{x:.1f} {y:.1f}" for x, y in rest) if rest else ""
            ends = (number[edge.source], number[edge.target]) if interactive else ()  # type: ignore[index]
            data = f' data-from="{ends[0]}" data-to="{ends[1]}"' if ends else ""
            style = f"cr-edge{' cr-far' * edge.far}{' cr-hidden' * (not rest)}"
            parts.append(f'<path class="{style}"{data} marker-end="url(#cr-arrow)" d="{path}"/>')
        parts += [self._svg_box(box, i if interactive else None) for box, i in number.items()]
        if self.frames:
            parts.append(f'<metadata class="cr-places">{self._places()}</metadata>')
            if not interactive:
                script = SCRIPT.read_text(encoding="utf-8")
                parts.append(f"<script><![CDATA[{script}foldable(document.currentScript.closest('svg'));]]></script>")
        return "\n".join([*filter(None, parts), "</svg>\n"])

    def _svg_box(self, box: Shown, number: int | None) -> str:
        round_ends = min(20, box.height / 2) if box.kind in ("leaf", "constant") else 7
        data = "" if number is None else f' data-i="{number}" tabindex="-1" role="button"'
        top = box.y + (box.height - HEIGHT * len(box.lines)) / 2 + 11.5
        lines = [
            f'<g class="cr-{box.kind}{" cr-hidden" * (box.shown is not box)}"{data}>',
            f"<title>{escape(box.details)}</title>" if number is None else "",
            (
                f'<rect class="cr-box" x="{box.x - box.width / 2:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
                f'height="{box.height:.0f}" rx="{round_ends:.0f}"/>'
            ),
        ]
        for i, line in enumerate(box.lines):
            style = "cr-line" if i else "cr-name"
            lines.append(f'<text class="{style}" x="{box.x:.1f}" y="{top + HEIGHT * i:.1f}">{escape(line)}</text>')
        return "".join([*lines, "</g>"])


def _svg_frame(frame: Shown) -> str:
    left = -frame.width / 2
    top = (frame.folded_size[1] - HEIGHT * len(frame.lines)) / 2 + 11.5
    hidden = " cr-hidden" * (frame.shown is not frame)
    lines = [
        f'<g class="{"cr-fold" if frame.closed else "cr-frame"}{hidden}" data-frame="" ',
        f'transform="translate({frame.x:.1f} {frame.y:.1f})"><title>{escape(frame.details)}</title>',
        f'<rect class="cr-box" x="{left:.1f}" y="0" width="{frame.width:.1f}" height="{frame.height:.1f}" rx="9"/>',
        f'<text class="cr-title" x="{left + 9:.1f}" y="14">{escape(frame.title)}</text>',
    ]
    for i, line in enumerate(frame.lines):
        lines.append(f'<text class="{"cr-line" if i else "cr-name"}" y="{top + HEIGHT * i:.1f}">{escape(line)}</text>')
    return "".join([*lines, "</g>"])


# -- words ---------------------------------------------------------------------------------------------------------
def kind_of(node: Node, root: Node) -> str:
    """Which kind of box a node has."""
    return "constant" if not node.index else "leaf" if node.rule is None else "result" if node is root else "op"


def dtype_of(node: Node) -> Any:
    """The dtype of a node's value; a constant knows it only by its value."""
    found = getattr(node, "dtype", None)
    return np.asarray(plain(node.value)).dtype if found is None and node.value is not None else found


def shape_of(node: Node) -> str:
    """Shape and dtype in a few characters."""
    dtype = dtype_of(node)
    return f"{tuple(node.shape) if node.shape else 'scalar'}{f' {dtype}' if dtype is not None else ''}"


def described(node: Node) -> str:
    """What is said of a node that is pointed at: its operation, shape and dtype, parameters and derivatives."""
    if node.rule is None:
        return f"{'leaf' if node.index else 'constant'}, {shape_of(node)}"
    lines = [node.rule.name, shape_of(node)]
    given = formula.parameters(node)
    lines += [f"with {', '.join(given)}"] * bool(given)
    for letter, partial in zip(LETTERS, partial_trees(node.rule), strict=False):
        lines.append(f"∂y/∂{letter} = {'not known' if partial is UNKNOWN else formula.python(partial)}")
    return "\n".join(lines)


def _summary(group: Group, nodes: Sequence[Node]) -> tuple[list[str], str]:
    """What stands in the box of a group, and what it says when it is pointed at."""
    if group.kind == "module":
        path, _, name = group.title.rpartition(": ")
        lines = [path or name, f"{name + ' · ' if path else ''}{_several(len(nodes), 'operation')}"]
    elif group.kind == "repeat":
        first = group.parts[: len(group.parts) // group.times]
        period = [p.title.rpartition(": ")[2] if isinstance(p, Group) else p.rule.name for p in first]
        lines = [f"… ×{group.times:,}", f"{', '.join(period[:4])}{', …' * (len(period) > 4)}"]
    else:
        lines = [f"… {len(nodes):,} more", "operations"]
    return lines, "\n".join([*lines, f"together: {_several(len(nodes), 'operation')}"])


def briefly(value: Any) -> str:
    """A value in a few characters; where all elements are the same, it says so."""
    value = np.asarray(plain(value))
    if value.size > 1 and value.dtype != object and np.all(value == value.flat[0]):
        return f"all {value.flat[0]:.6g}"
    return brief(value).replace("[ ", "[")


def value_line(value: Any) -> str:
    """A value, if it fits into a box, else its range."""
    text = briefly(value) or "several values"
    fits = len(text) <= LONGEST or np.iscomplexobj(value)
    return text if fits else f"from {np.min(value):.4g} to {np.max(value):.4g}"


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
