"""The picture of a graph: valid SVG, every node in its place, folded where it would not fit."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.walk.draw import MOST

SVG = "{http://www.w3.org/2000/svg}"


def picture(y):
    """Boxes as (kind, name, shape, title, x, y, width, height), and the end points of the edges; frames are checked."""
    root = ET.fromstring(cr.draw(y))
    boxes, around = [], []
    for group in root.iter(f"{SVG}g"):
        if "cr-hidden" in group.get("class"):
            continue
        if group.get("class") == "cr-frame":
            around.append(rectangle(group))
            continue
        texts = [text.text for text in group.findall(f"{SVG}text") if text.get("class") != "cr-title"]
        shape = texts[1] if len(texts) > 1 else ""
        boxes.append(
            (group.get("class").removeprefix("cr-"), texts[0], shape, group.find(f"{SVG}title").text, *rectangle(group))
        )
    for x, y, width, height in around:  # some boxes, and no other box is half inside
        inside = [(x <= u and u + w <= x + width and y <= v and v + h <= y + height) for *_, u, v, w, h in boxes]
        apart = [(u + w <= x or x + width <= u or v + h <= y or y + height <= v) for *_, u, v, w, h in boxes]
        assert sum(inside) > 1
        assert all(a != b for a, b in zip(inside, apart, strict=True))
    edges = []
    for path in root.iter(f"{SVG}path"):
        if path.get("class").startswith("cr-edge") and "cr-hidden" not in path.get("class"):
            numbers = [float(n) for n in re.findall(r"-?\d+\.?\d*", path.get("d"))]
            edges.append((numbers[:2], numbers[-2:]))
    return boxes, edges


def rectangle(group):
    """Of a group in the SVG: x, y, width, height in the picture."""
    x, y, width, height = (float(group.find(f"{SVG}rect").get(key)) for key in ("x", "y", "width", "height"))
    moved = [float(n) for n in re.findall(r"-?\d+\.?\d*", group.get("transform", "0 0"))]
    return x + moved[0], y + moved[1], width, height


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
        ("leaf", "w", "scalar float64"),
        ("leaf", "x", "(2,) float64"),
        ("op", "add", "(2,) float64"),
        ("op", "multiply", "(2,) float64"),
        ("op", "sin", "(2,) float64"),
        ("result", "y = sum", "scalar float64"),
    ]
    assert ends(boxes, edges) == [
        ("add", "y = sum"),
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
    assert titles["x <&>"] == "leaf, (2, 3) float32"
    assert titles["exp"] == "exp\n(2, 3) float32\n∂y/∂a = y"
    assert "axis=1" in titles["y = sum"]


def test_an_operand_used_twice_has_two_edges():
    x = Tensor(1.0, name="x")
    boxes, edges = picture(x * x)
    assert ends(boxes, edges) == [("x", "y = multiply"), ("x", "y = multiply")]
    assert edges[0] != edges[1]


def test_constants():
    x = Tensor([1.0, 2.0])
    boxes, edges = picture(np.arange(2.0) * x * 0.5)
    check(boxes, edges)
    names = {(kind, name, shape) for kind, name, shape, *_ in boxes}
    assert {
        ("constant", "constant", "(2,) float64"),
        ("constant", "0.5", ""),
        ("leaf", "Tensor", "(2,) float64"),
    } <= names


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


def test_what_repeats_is_folded():
    y = x = Tensor(1.0, name="x")
    for _ in range(3000):
        y = np.sin(y) + x
    boxes, edges = picture(y)
    check(boxes, edges)
    assert sorted((kind, name) for kind, name, *_ in boxes) == [
        ("fold", "… ×2,998"),
        ("leaf", "x"),
        ("op", "add"),
        ("op", "sin"),
        ("op", "sin"),
        ("result", "y = add"),
    ]
    (fold,) = (box for box in boxes if box[0] == "fold")
    assert fold[2] == "sin, add"
    assert "together: 5,996 operations" in fold[3]


def test_what_does_not_repeat_is_cut_in_the_middle():
    y = Tensor([1.0], name="x")
    for _ in range(1000):
        y = np.concatenate([y, [1.0]])  # every shape is another
    boxes, edges = picture(y)
    check(boxes, edges)
    (fold,) = (box for box in boxes if box[0] == "fold")
    hidden = int(re.fullmatch(r"… (\d+) more", fold[1])[1])
    assert sum(kind in ("op", "result") for kind, *_ in boxes) + hidden == 1000
    assert len(boxes) <= 2 * MOST


def test_a_wide_layer_is_folded():
    leaves = [Tensor(float(i), name=f"w{i}") for i in range(100)]
    boxes, edges = picture(np.stack([np.exp(leaf) for leaf in leaves]))
    check(boxes, edges)
    assert "… ×98" in {name for kind, name, *_ in boxes if kind == "fold"}
    boxes, edges = picture(np.concatenate([Tensor([float(i)], name=f"w{i}") for i in range(100)]))
    check(boxes, edges)
    assert len(boxes) == 10
    assert "… 92 more" in {name for kind, name, *_ in boxes if kind == "fold"}


class Block(nn.Module):
    def __init__(self, rng):
        self.first, self.second = nn.Linear(4, 4, rng=rng), nn.Linear(4, 4, rng=rng)

    def forward(self, x):
        return x + self.second(np.tanh(self.first(x)))


def frames(y):
    root = ET.fromstring(cr.draw(y))
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "cr-frame"]
    return [text.text for group in groups for text in group if text.get("class") == "cr-title"]


def test_modules_are_frames():
    net = nn.Sequential(Block(0), nn.Tanh(), nn.Linear(4, 2, rng=0))
    y = np.mean(net(np.ones((3, 4))) ** 2)
    boxes, edges = picture(y)
    check(boxes, edges)
    assert {kind for kind, *_ in boxes} == {"op", "leaf", "constant", "result"}
    assert frames(y) == [
        "Sequential", "layers.0: Block", "layers.0.first: Linear", "layers.0.second: Linear", "layers.2: Linear"
    ]  # fmt: skip


def test_modules_are_folded_if_there_are_many():
    net = nn.Sequential(*(Block(i) for i in range(1000)), nn.Linear(4, 2, rng=0))
    y = np.mean(net(np.ones((3, 4))) ** 2)
    boxes, edges = picture(y)
    check(boxes, edges)
    (fold,) = (box for box in boxes if box[0] == "fold")
    assert fold[1:3] == ("… ×998", "Block")
    assert "layers.999: Block" in frames(y)
    different = nn.Sequential(*(nn.Linear(i + 1, i + 2, rng=0) for i in range(40)))
    boxes, edges = picture(np.sum(different(np.ones(1))))
    check(boxes, edges)
    folds = {name: shape for kind, name, shape, *_ in boxes if kind == "fold"}
    assert folds["layers.20"] == "Linear · 3 operations"
    assert len(boxes) < 2 * MOST


def test_values_and_gradients():
    x = Tensor([1.0, 2.0], name="x")
    y = np.sum(x * x)
    assert "[1., 2.]" in cr.draw(y)
    assert ">5<" in cr.draw(y)
    assert "grad" not in cr.draw(y)
    y.backward(retain_graph=True)
    assert "grad [2., 4.]" in cr.draw(y)


def test_names_of_variables():
    slope, at = Tensor(2.0), Tensor(3.0)
    line = slope * at
    svg = cr.draw(np.exp(line))
    assert all(f">{text}<" in svg for text in ("slope", "at", "line = multiply", "y = exp"))


def test_png(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Tanh(), nn.Linear(3, 3, rng=1))
    y = np.sum(net(np.ones(3)))
    svg = cr.draw(y, tmp_path / "net.png")
    pixels = image.imread(tmp_path / "net.png")
    width, height = (float(re.search(rf'{side}="(\d+)"', svg)[1]) for side in ("width", "height"))
    assert pixels.shape[0] / pixels.shape[1] == pytest.approx(height / width, rel=0.01)
    assert pixels.shape[1] >= 1.9 * width
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 50


def test_a_path_that_cannot_be_written(tmp_path):
    x = Tensor(1.0, name="x")
    for name in ("graph.svg", "graph.png"):
        with pytest.raises(FileNotFoundError, match="missing"):
            cr.draw(np.sin(x), tmp_path / "missing" / name)


def test_a_million_operations():
    y = x = Tensor(1.0, name="x")
    for _ in range(1_000_000):
        y = y + x
    boxes, edges = picture(y)
    check(boxes, edges)
    assert "… ×999,998" in {name for _, name, *_ in boxes}


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


def test_what_is_folded_can_be_opened():
    """Everything that a reader can open is in the document, under one box per group that is closed."""
    net = nn.Sequential(*(Block(i) for i in range(12)), nn.Linear(4, 2, rng=0))
    svg = cr.draw(np.mean(net(np.ones((3, 4))) ** 2))
    root = ET.fromstring(svg)
    closed = [group for group in root.iter(f"{SVG}g") if group.get("class") == "cr-fold"]
    assert [group[3].text for group in closed] == ["… ×10"]
    hidden = [group for group in root.iter(f"{SVG}g") if "cr-hidden" in group.get("class")]
    titles = [text.text for group in hidden for text in group if text.get("class") == "cr-title"]
    assert "layers.5: Block" in titles
    leaves = {group[2].text for group in hidden if "cr-leaf" in group.get("class")}
    assert leaves == {
        f"layers.{i}.{m}.{p}" for i in range(1, 11) for m in ("first", "second") for p in ("weight", "bias")
    }
    assert "foldable(" in svg
    assert "foldable(" not in cr.draw(np.sin(Tensor(1.0)))  # nothing to fold


def test_a_notebook_shows_the_picture():
    drawing = cr.draw(np.sin(Tensor(1.0, name="<x>")))
    frame = ET.fromstring(drawing._repr_html_())
    assert frame.tag == "iframe"
    assert frame.get("srcdoc").split() == drawing.split()  # where XML has a space, HTML has the new line
