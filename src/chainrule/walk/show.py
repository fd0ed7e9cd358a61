"""Show: a page on which one steps through the forward and the backward pass, node by node.

The backward pass is run here as the engine runs it, with the engine's own rules, on copies of the nodes, and what every
node receives and sends is written down on the way; show.html shows that.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..graph import CLOSED, Node, contexts
from ..tensor import Tensor, plain
from .derivation import Written, brief, quotient
from .draw import graph_of
from .local import Local, Locals, pulled
from .naming import Names, variables_of
from .picture import SCRIPT, Picture, Shown, briefly, shape_of, value_line
from .pull import CAREFUL, PLAIN, accumulate, compiled, has_nan, started
from .shadows import shadows

__all__ = ["page_of", "show"]

MOST = 2_000  # operations that are stepped through; what is beyond is folded
EXACT = 64  # elements of the largest array of which all are written down
TEMPLATE = Path(__file__).with_name("show.html")


def show(y: Tensor, path: str | Path | None = None, *, open: bool = True) -> Path:
    """Make a page on which one steps through the forward and backward pass of a result, and open it in the browser.

    Parameters
    ----------
    y : Tensor
        A result that depends on a leaf, whose graph was not freed.
    path : str or Path, optional
        Where to write the page; into a temporary file by default.
    open : bool, default True
        Whether to open it in the browser.

    Returns
    -------
    Path
        The page: one HTML file that needs nothing else, also not the network.

    Raises
    ------
    OutputError
        If `y` is no Tensor, or has no graph.
    FreedGraphError
        If a backward pass has freed the graph.
    OSError
        If `path` cannot be written.

    Notes
    -----
    The arrow keys step, also backwards.  A step of the forward pass shows how a value was computed; a step of the
    backward pass shows what arrives at a node, the local derivative in each operand as formula and number, what is sent
    on, and what has been added up so far.  The numbers are those of ``backward()``, computed by the same rules; of a
    result with several elements, the sum is differentiated.  Of a graph with more than 2,000 operations, what repeats
    and then whole modules are one step each, and the page says so.  Nothing is changed: no ``grad`` is set.
    Cost: linear in the number of nodes.

    Examples
    --------
    >>> w, x = Tensor(2.0, name="w"), Tensor(3.0, name="x")
    >>> page = show(np.sin(w * x), open=False)
    >>> "cos(v₁)" in page.read_text(encoding="utf-8")
    True
    """
    text = page_of(y, variables_of(sys._getframe(1)))
    if path is None:
        import tempfile  # noqa: PLC0415 (importing chainrule is quick)

        with tempfile.NamedTemporaryFile(prefix="chainrule-", suffix=".html", delete=False) as file:
            path = file.name
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    if open:
        import webbrowser  # noqa: PLC0415 (the same)

        webbrowser.open(path.resolve().as_uri())
    return path


def page_of(y: Tensor, held: Iterable[tuple[str, Any]], title: str = "", more: str = "") -> str:
    """The page, with names from `held`; `more` is HTML that stands below."""
    nodes, frontier, names = graph_of("show", y, held)
    assert y.node is not None
    names.number(node for node in nodes if node.rule is not None)
    labels = _labels(nodes, frontier, names)

    def write(node: Node, box: Shown) -> list[str]:
        value = names.value(node)
        first = labels[node] if node.rule is None else f"{labels[node]} = {names.shown(node, 0, top=True)[0]}"
        known = value_line(value) if value is not None and node.index else ""
        room = "\u2007" * (27 if node.shape else 18)  # for its gradient, which comes later
        return [first, shape_of(node), known or "\u2007", room] if node.index else [first, shape_of(node)]

    picture = Picture(y.node, nodes, frontier, write, numbers=False, most=MOST)
    story = _Story(y, nodes, frontier, names, labels, picture)
    title = title or f"{labels[y.node]} = {names.shown(y.node, 0, top=True)[0]}"
    data = json.dumps(story.data(title), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"title": escape(title), "svg": picture.svg(title, interactive=True), "more": more, "data": data}
    parts["script"] = SCRIPT.read_text(encoding="utf-8")
    text = TEMPLATE.read_text(encoding="utf-8")
    head, *pieces = text.split("{{")
    return head + "".join(parts[name] + rest for name, _, rest in (piece.partition("}}") for piece in pieces))


def _labels(nodes: list[Node], frontier: set[Node], names: Names) -> dict[Node, str]:
    """What every node is called: inputs without a name are numbered."""
    labels = {}
    count = 0
    for node in (*nodes, *frontier):
        name = names.of(node)
        if name is not None:
            labels[node] = name.text
        elif node.index:
            count += 1
            labels[node] = f"input {count}"
        else:
            labels[node] = "constant" if np.ndim(node.value) or node.value is None else brief(node.value)
    return labels


def number(x: Any) -> Any:
    """A value as the page has it: in a few characters, its shape, and every digit if it is not large."""
    if x is None:
        return None
    x = np.asarray(plain(x))
    found: dict[str, Any] = {"text": briefly(x) or "several values", "shape": list(x.shape)}
    if x.size <= EXACT and x.dtype != object:
        found["exact"] = np.vectorize(str, otypes=[object])(x).tolist() if x.size else x.tolist()
    return found


class _Story:
    """The steps of both passes."""

    def __init__(
        self,
        y: Tensor,
        nodes: list[Node],
        frontier: set[Node],
        names: Names,
        labels: dict[Node, str],
        picture: Picture,
    ) -> None:
        self.y, self.nodes, self.frontier, self.names, self.labels = y, nodes, frontier, names, labels
        self.picture, self.index = picture, {box: i for i, box in enumerate(picture.boxes)}
        self.notes: list[str] = []
        self.locals = Locals(names, self.notes)
        self.waiting: dict[Node, int] = {}  # for each node, how many terms of its sum are still to come
        self.copies: dict[Node, Node] = {}

    def data(self, title: str) -> dict[str, Any]:
        """Everything that the page shows."""
        forward = self._forward()
        backward = self._backward()
        head = self.names.head.text
        if self.y.ndim:
            self.notes.append(f"{head} has shape {self.y.shape}: the sum of its elements is differentiated")
        hidden = self.picture.hidden
        if hidden:
            folds = sum(box.kind == "fold" for box in self.picture.boxes)
            self.notes.append(
                f"{hidden:,} of {sum(node.rule is not None for node in self.nodes):,} operations are folded into "
                f"{folds:,} box{'es' * (folds > 1)}, each of which is one step"
            )
        boxes = [
            {
                "name": self._name(box),
                "kind": box.kind,
                "says": [line.strip() for line in box.lines],
                "about": box.details,
            }
            for box in self.picture.boxes
        ]
        for box, entry in zip(self.picture.boxes, boxes, strict=True):
            if len(box.stands_for) == 1:
                entry["value"] = number(self.names.value(box.stands_for[0]))
        steps = [*forward, *backward]
        return {
            "title": title,
            "head": head,
            "boxes": boxes,
            "steps": steps,
            "notes": [
                note.replace("the product of the factors before it", "what arrives")
                for note in dict.fromkeys(self.notes)
            ],
        }

    def _name(self, box: Shown) -> str:
        return box.lines[0] if box.kind == "fold" else self.labels[box.stands_for[0]]

    def _symbol(self, node: Node) -> str:
        """∂y/∂v."""
        of, by = self.names.head.text, self.labels[node]
        return quotient(Written(of, ""), Written(by, ""), 2).text if node is not self.y.node else f"d{of}/d{of}"

    # -- forward
    def _forward(self) -> list[dict[str, Any]]:
        steps = []
        for box in self.picture.boxes:
            made = [node for node in box.stands_for if node.rule is not None]
            if not made:
                continue
            step: dict[str, Any] = {"phase": "forward", "box": self.index[box]}
            node = made[-1]
            if box.kind == "fold":
                step["text"] = f"{len(made):,} operations, folded: {', '.join(box.lines[:2])}"
            else:
                step["text"] = f"{self.labels[node]} = {self.names.shown(node, 0, top=True)[0]}"
                step["operands"] = [
                    {
                        "name": self.labels[operand],
                        "value": number(self.names.value(operand)),
                        "shape": shape_of(operand),
                    }
                    for operand in node.operands
                ]
            step["value"] = number(self.names.value(node))
            step["about"] = shape_of(node)
            steps.append(step)
        return steps

    # -- backward
    def _backward(self) -> list[dict[str, Any]]:
        leaves = [node for node in self.nodes if node.rule is None]
        with np.errstate(all="ignore"):
            steps = self._walk(False)
            found = [self.copies[leaf].cotangent for leaf in leaves]
            if contexts.singular != "nan" and any(map(has_nan, found)):
                steps = self._walk(True)
                self.notes.append("a NaN arose in the products: in the steps shown here, an exact zero wins over it")
        gradients = [
            {
                "name": self.labels[leaf],
                "value": number(self._gradient(leaf)),
                "box": self.index[self.picture.box_of[leaf]],
            }
            for leaf in leaves
            if leaf in self.picture.box_of
        ]
        return [*steps, {"phase": "end", "gradients": gradients}]

    def _gradient(self, leaf: Node) -> Any:
        ct = self.copies[leaf].cotangent
        return np.zeros(leaf.shape, leaf.dtype)[()] if ct is None else ct

    def _walk(self, careful: bool) -> list[dict[str, Any]]:
        """The reverse walk of pull.py, on copies of the nodes, written down."""
        root = self.y.node
        assert root is not None
        self.copies = shadows(self.nodes, self.frontier, (), set())
        for node, copy in self.copies.items():
            copy.cotangent = None if node.index else CLOSED
        self.waiting = dict.fromkeys(self.nodes, 0)
        for node in self.nodes:
            for operand in node.operands:
                if operand.index:
                    self.waiting[operand] += 1
        start = started(self.y, None)
        accumulate(self.copies[root], start)
        steps: list[dict[str, Any]] = [
            {
                "phase": "start",
                "box": self.index[self.picture.box_of[root]],
                "sum": number(start),
                "symbol": self._symbol(root),
            }
        ]
        received: dict[Shown, Any] = {}  # of a fold: what arrived at it, until its last node has been passed
        for node in reversed(self.nodes):
            if node.rule is None:
                continue
            ct = self.copies[node].cotangent
            box = self.picture.box_of[node]
            parts = self._parts(node, ct, careful) if box.kind != "fold" and ct is not None else []
            incoming = None
            if box not in received:  # before the rule, which may write to the array
                incoming = number(ct)
            if ct is not None:
                rule = node.rule
                if careful:
                    (rule.careful_pull or compiled(rule, CAREFUL))(self.copies[node], ct)
                else:
                    (rule.pull or compiled(rule, PLAIN))(self.copies[node], ct)
            for operand in node.operands:
                if operand.index:
                    self.waiting[operand] -= 1
            if box.kind == "fold":
                if box not in received:
                    received[box] = incoming
                if node is not next(each for each in box.stands_for if each.rule is not None):
                    continue
                incoming, parts = received[box], self._sent(box)
            for part in parts:
                operand = part.pop("node")
                part["sum"] = number(self.copies[operand].cotangent)
                part["complete"] = self.waiting[operand] == 0
            steps.append(
                {
                    "phase": "backward",
                    "box": self.index[box],
                    "symbol": self._symbol(node),
                    "incoming": incoming,
                    "parts": parts,
                }
            )
        return steps

    def _parts(self, node: Node, ct: Any, careful: bool) -> list[dict[str, Any]]:
        """What a node sends to each operand."""
        parts = []
        for slot, operand in enumerate(node.operands):
            if not operand.index:
                continue
            local: Local = self.locals.derivative(node, (slot,))
            formula = local.derivative.text
            if local.formula is not None and local.formula.text != formula:
                formula += f" = {local.formula.text}"
            parts.append(
                {
                    "node": operand,
                    "to": self.index[self.picture.box_of[operand]],
                    "name": self.labels[operand],
                    "symbol": self._symbol(operand),
                    "local": quotient(Written(self.labels[node], ""), Written(self.labels[operand], ""), 1).text,
                    "formula": formula,
                    "acts": local.acts if node.shape or operand.shape else "number",
                    "value": number(self.locals.value(node, (slot,))),
                    "sent": number(pulled(node, (slot,), ct, careful)),
                    "before": number(self.copies[operand].cotangent),
                }
            )
        return parts

    def _sent(self, box: Shown) -> list[dict[str, Any]]:
        """What a fold sends on: to what its operations were made of, outside."""
        outside = dict.fromkeys(
            operand
            for node in box.stands_for
            for operand in node.operands
            if operand.index and self.picture.box_of.get(operand) is not box
        )
        inside = [node for node in box.stands_for if node.rule is None and node.index]
        return [
            {
                "node": operand,
                "to": self.index[self.picture.box_of[operand]],
                "name": self.labels[operand],
                "symbol": self._symbol(operand),
            }
            for operand in (*outside, *inside[:8])
        ]
