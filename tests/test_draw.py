"""The picture of a graph: valid SVG, every node in its place, folded where it would not fit."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.walk.draw import MAX_LAYERS, MAX_WIDTH

SVG = "{http://www.w3.org/2000/svg}"


def picture(y):
    """Boxes as (kind, name, shape, title, x, y, width, height), and the end points of the edges."""
    root = ET.fromstring(cr.draw(y))
    boxes = []
    for group in root.iter(f"{SVG}g"):
        rect, texts = group.find(f"{SVG}rect"), [text.text for text in group.findall(f"{SVG}text")]
        frame = [float(rect.get(key)) for key in ("x", "y", "width", "height")]
        shape = texts[1] if len(texts) > 1 else ""
        boxes.append((group.get("class").removeprefix("cr-"), texts[0], shape, group.find(f"{SVG}title").text, *frame))
    edges = []
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "cr-edge":
            numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", path.get("d"))]
            edges.append((numbers[:2], numbers[-2:]))
    return boxes, edges


def ends(boxes, edges):
    """Edges as pairs of names."""

    def at(point, side):
        for _, name, _, _, x, y, width, height in boxes:
            if x <= point[0] <= x + width and abs(y + side * height - point[1]) < 0.2:
                return name
        raise AssertionError(f"an edge ends at {point}, where no box is")

    return sorted((at(start, 1), at(stop, 0)) for start, stop in edges)


def check(boxes, edges):
    """No two boxes overlap, and every edge leads down from a box to a box."""
    for i, (*_, x, y, width, height) in enumerate(boxes):
        assert x >= 0
        assert y >= 0
        for *_, u, v, other, depth in boxes[:i]:
            assert x + width <= u or u + other <= x or y + height <= v or v + depth <= y
    assert all(stop[1] > start[1] for start, stop in edges)
    ends(boxes, edges)


def test_a_small_graph():
    x, w = Tensor([1.0, 2.0], name="x"), Tensor(3.0, name="w")
    boxes, edges = picture(np.sum(np.sin(x) * w + x))
    check(boxes, edges)
    assert sorted((kind, name, shape) for kind, name, shape, *_ in boxes) == [
        ("leaf", "w", "scalar"),
        ("leaf", "x", "(2,)"),
        ("op", "add", "(2,)"),
        ("op", "multiply", "(2,)"),
        ("op", "sin", "(2,)"),
        ("result", "sum", "scalar"),
    ]
    assert ends(boxes, edges) == [
        ("add", "sum"),
        ("multiply", "add"),
        ("sin", "multiply"),
        ("w", "multiply"),
        ("x", "add"),
        ("x", "sin"),
    ]


def test_details():
    x = Tensor(np.ones((2, 3), np.float32), name="x <&>")
    boxes, _ = picture(np.sum(np.exp(x), axis=1))
    titles = {name: title for _, name, _, title, *_ in boxes}
    assert titles["x <&>"] == "x <&>: a leaf\n(2, 3), float32"
    assert titles["exp"] == "exp\n(2, 3), float32\n∂y/∂a = y"
    assert "axis=1" in titles["sum"]


def test_an_operand_used_twice_has_two_edges():
    x = Tensor(1.0, name="x")
    boxes, edges = picture(x * x)
    assert ends(boxes, edges) == [("x", "multiply"), ("x", "multiply")]
    assert edges[0] != edges[1]


def test_constants():
    x = Tensor([1.0, 2.0])
    boxes, edges = picture(np.arange(2.0) * x * 0.5)
    check(boxes, edges)
    names = {(kind, name, shape) for kind, name, shape, *_ in boxes}
    assert {("constant", "constant", "(2,)"), ("constant", "0.5", ""), ("leaf", "Tensor", "(2,)")} <= names


def test_a_network_is_drawn_with_the_names_of_its_parameters(tmp_path):
    net = nn.Sequential(nn.Linear(64, 32, rng=0), nn.ReLU(), nn.Linear(32, 10, rng=1))
    loss = nn.cross_entropy(net(np.ones((5, 64))), np.arange(5))
    boxes, edges = picture(loss)
    check(boxes, edges)
    names = {name for _, name, *_ in boxes}
    assert {"layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias", "relu", "log_softmax"} <= names
    file = tmp_path / "net.svg"
    assert cr.draw(loss, file) == file.read_text(encoding="utf-8")
    loss.backward()


def test_a_long_graph_is_folded_in_the_middle():
    y = x = Tensor(1.0, name="x")
    for _ in range(3000):
        y = np.sin(y) + x
    boxes, edges = picture(y)
    check(boxes, edges)
    (fold,) = [name for kind, name, *_ in boxes if kind == "fold"]
    hidden = int(re.fullmatch(r"… (\d+) more", fold)[1])
    assert len(boxes) - 1 + hidden == 6001
    assert len(boxes) == MAX_LAYERS + 1
    assert {"x", "add"} <= {name for _, name, *_ in boxes}


def test_a_wide_layer_is_folded_at_its_end():
    leaves = [Tensor(float(i), name=f"w{i}") for i in range(100)]
    boxes, edges = picture(np.stack(leaves))
    check(boxes, edges)
    assert "… 92 more" in {name for kind, name, *_ in boxes if kind == "fold"}
    assert max(sum(box[5] == y for box in boxes) for y in {box[5] for box in boxes}) == MAX_WIDTH


def test_edges_past_other_layers():
    x, y = Tensor(2.0, name="x"), Tensor(3.0, name="y")
    z = np.exp(x) / y
    z = z * np.log(z + x) + np.sqrt(y) * np.tanh(np.tanh(z))
    boxes, edges = picture(z - x * y)
    check(boxes, edges)
    assert len(edges) == 2 * 7 + 5  # binary operations, unary ones


def test_a_leaf_alone():
    boxes, edges = picture(Tensor(1.0, name="x"))
    assert (len(boxes), edges) == (1, [])


def test_what_cannot_be_drawn():
    for y in (np.ones(3), 1.0, Tensor(1.0).detach()):
        with pytest.raises(cr.errors.OutputError, match="no graph"):
            cr.draw(y)
    y = np.sin(Tensor(1.0))
    y.backward()
    with pytest.raises(cr.errors.FreedGraphError, match="retain_graph=True"):
        cr.draw(y)
