"""Training that can be watched: the summary, the progress line, the statistics of layers, and the files of curves."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn, optim
from chainrule.errors import MissingExtraError
from chainrule.training import History, Progress, curves, monitor, progress, summary

SVG = "{http://www.w3.org/2000/svg}"
rng = np.random.default_rng(0)


class Shared(nn.Module):
    """One layer twice, a parameter of its own, a plain function, and a pair for a result."""

    def __init__(self) -> None:
        self.scale = Tensor(2.0)
        self.parts = {"body": nn.Sequential(nn.Linear(3, 3, rng=0), np.tanh), "unused": nn.ReLU()}

    def forward(self, x: Any) -> Any:
        body = self.parts["body"]
        y = body(body(x))
        return y, self.scale * np.sum(y)


# -- summary -------------------------------------------------------------------------------------------------------
def test_summary() -> None:
    found = summary(Shared(), np.ones((4, 3)))
    rows = [(layer.name, layer.title, layer.shapes, layer.parameters) for layer in found.layers]
    assert rows == [
        ("", "Shared", (((4, 3), ()),), {"scale": ()}),
        ("parts.body", "Sequential", (((4, 3),), ((4, 3),)), {}),
        ("parts.body.layers.0", "Linear(3, 3)", (((4, 3),), ((4, 3),)), {"weight": (3, 3), "bias": (3,)}),
        ("parts.unused", "ReLU", (), {}),
    ]
    assert (found.count, found.nbytes) == (13, 13 * 8)
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["model", "parts.body", "parts.body.layers.0", "parts.unused"]
    assert "(4, 3), ()" in lines[2]
    assert "(4, 3) ×2" in lines[4]
    assert "not called" in lines[5]
    assert lines[-1] == "13 parameters in 3 arrays, 104 bytes"
    table = ET.fromstring(f"<div>{found._repr_html_()}</div>")
    cells = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    assert cells[3] == ["parts.body.layers.0", "Linear(3, 3)", "(4, 3) ×2", "weight (3, 3), bias (3,)", "12"]


def test_summary_of_what_was_not_run() -> None:
    found = summary(Shared())
    assert all(layer.shapes is None for layer in found.layers)
    assert found.count == 13
    tied = nn.Linear(2, 2)
    assert summary(nn.Sequential(tied, tied, nn.Linear(2, 2, bias=False, dtype=np.float32))).nbytes == 6 * 8 + 4 * 4
    assert str(summary(nn.ReLU())).endswith("\n0 parameters in 0 arrays, 0 bytes")
    assert "1,000,000 parameters in 1 array, 8 MB" in str(summary(nn.Linear(1000, 1000, bias=False)))


def test_summary_leaves_no_trace() -> None:
    net = nn.Sequential(nn.Linear(3, 3, rng=0), nn.Dropout(0.5, rng=0), nn.Sequential(nn.ReLU()))
    net.layers[2].eval()
    state = net.layers[1].rng.bit_generator.state
    summary(net, Tensor(np.ones((2, 3))))
    assert net.layers[1].rng.bit_generator.state == state
    assert [module.training for module in net.modules()] == [True, True, True, False, False]
    assert not any("forward" in vars(module) for module in net.modules())
    assert net.layers[0].weight.grad is None
    with pytest.raises(ValueError, match="expects an input of shape"):
        summary(net, np.ones((2, 4)))
    assert net.training
    assert not any("forward" in vars(module) for module in net.modules())


@pytest.mark.parametrize("model", [np.tanh, None, [nn.ReLU()]])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(TypeError, match=r"summary\(\) takes an nn\.Module"):
        summary(model)
    with pytest.raises(TypeError, match=r"monitor\(\) takes an nn\.Module"), monitor(model):
        pass


# -- progress ------------------------------------------------------------------------------------------------------
class Clock:
    """A second a step; `perf_counter` for the module."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "perf_counter", clock)
    return clock


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def run_through(run: Progress, clock: Clock, seconds: float) -> None:
    for _ in run:
        clock.now += seconds
        run.show(loss=1 / run.step, accuracy=Tensor(0.5))


def test_progress_in_a_log_file(clock: Clock) -> None:
    file = io.StringIO()
    run_through(Progress(range(15), epochs=2, file=file), clock, 0.5)
    lines = file.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "epoch 1/2   10%  loss 0.3333  accuracy 0.5  2 steps/s  0:14 left"
    assert lines[-1] == "epoch 2/2  100%  loss 0.03333  accuracy 0.5  2 steps/s  in 0:15"


def test_progress_on_a_terminal(clock: Clock) -> None:
    file = Terminal()
    run_through(Progress(range(4), file=file), clock, 2400.0)
    lines = file.getvalue().split("\r")[1:]
    assert [len(line) for line in lines] == [79, 79, 79, 79, 80]  # each covers the one before
    assert lines[0].rstrip() == "━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌   25%  loss 1  accuracy 0.5  2.4e+03 s/step  2:00:00 left"
    assert lines[-1].endswith("\n")
    assert "in 2:40:00" in lines[-1]
    file = Terminal()
    run_through(Progress(range(1000), epochs=3, file=file), clock, 0.001)
    assert 29 <= file.getvalue().count("\r") <= 32  # ten a second
    assert "epoch 2/3  ━━━━━" in file.getvalue()
    narrow = Terminal()
    narrow.encoding = "ascii"  # type: ignore[misc]
    run_through(Progress(range(2), file=narrow), clock, 1.0)
    assert "##########----------   50%" in narrow.getvalue()
    narrow.getvalue().encode("ascii")


def test_progress_of_unknown_length(clock: Clock) -> None:
    file = io.StringIO()
    run_through(Progress((i for i in range(70)), file=file), clock, 1.0)
    assert file.getvalue().splitlines() == [
        "30 steps  loss 0.03333  accuracy 0.5  1 steps/s",
        "60 steps  loss 0.01667  accuracy 0.5  1 steps/s",
        "70 steps  loss 0.01429  accuracy 0.5  1 steps/s  in 1:10",
    ]
    terminal = Terminal()
    run_through(Progress(iter(range(2)), file=terminal), clock, 1.0)
    assert "\r1 steps  loss 1  accuracy 0.5  1 steps/s" in terminal.getvalue()


def test_progress_in_a_notebook(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(thing: Any, display_id: bool) -> Any:
        assert display_id
        shown.append(thing._repr_html_())
        return SimpleNamespace(update=lambda thing: shown.append(thing._repr_html_()))

    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setitem(sys.modules, "IPython", kernel)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))  # type: ignore[arg-type]
    run_through(Progress(range(2)), clock, 1.0)
    assert len(shown) == 3
    assert ET.fromstring(shown[0]).find("progress").attrib == {"max": "1", "value": "0.500"}  # type: ignore[union-attr]
    assert ET.fromstring(shown[-1]).findtext("code") == "100%  loss 0.5  accuracy 0.5  1 steps/s  in 0:02"


def test_progress_that_is_broken_off(clock: Clock) -> None:
    file = io.StringIO()
    for i in Progress(range(10), file=file):
        clock.now += 1
        if i == 2:
            break
    assert file.getvalue().splitlines()[-1] == " 20%  1.5 s/step  stopped after 0:03"
    run = Progress(range(3), file=io.StringIO())
    with pytest.raises(ZeroDivisionError):
        for i in run:
            run.show(x=1 / (1 - i))
    assert run.history["x"].tolist() == [1.0]
    run_through(run, clock, 1.0)  # again, from the beginning
    assert run.history.steps("loss").tolist() == [1, 2, 3]


def test_progress_of_nothing(clock: Clock) -> None:
    for size in ([], iter([])):
        file = io.StringIO()
        assert list(Progress(size, file=file)) == []
        assert file.getvalue() == ("0 steps  in 0:00\n")
    with pytest.raises(ValueError, match="at least 1"):
        Progress([], epochs=0)
    with pytest.raises(ValueError, match="epoch 2 has no steps: a generator can be gone through once"):
        list(Progress((i for i in range(3)), epochs=2, file=io.StringIO()))


@pytest.mark.parametrize("value", [np.ones(3), "0.5", 1j, None, Tensor(np.ones((2, 2)))])
def test_what_cannot_be_shown(value: Any) -> None:
    with pytest.raises(TypeError, match=r"loss is .*expected one real number"):
        Progress([], file=io.StringIO()).show(loss=value)


def test_a_value_with_a_gradient_is_shown_without_one() -> None:
    run = Progress([0], file=io.StringIO())
    loss = np.sum(Tensor([[2.0]]) ** 2)
    run.show(loss=loss, one=Tensor([[3.0]]))
    assert run.history["loss"].tolist() == [4.0]
    assert run.history["one"].dtype == np.float64


# -- monitor -------------------------------------------------------------------------------------------------------
def test_monitor_against_the_definitions() -> None:
    net = nn.Sequential(nn.Linear(3, 6, rng=0), nn.ReLU(), nn.Linear(6, 2, rng=1))
    x = rng.normal(size=(50, 3))
    with monitor(net) as layers:
        loss = np.mean(net(x) ** 2)
        loss.backward()
        layers.step()
    w, b, v, c = (p.data for p in net.parameters())
    a = x @ w.T + b
    r = np.maximum(a, 0)
    out = r @ v.T + c
    to_out = 2 * out / out.size
    to_r = to_out @ v
    to_a = to_r * (a > 0)

    def size(*arrays: Any) -> Any:
        return np.sqrt(np.mean(np.concatenate([np.ravel(array) ** 2 for array in arrays])))

    expected = {
        "layers.0": (a, to_a, (w, b), (to_a.T @ x, to_a.sum(axis=0))),
        "layers.1": (r, to_r, (), ()),
        "layers.2": (out, to_out, (v, c), (to_out.T @ r, to_out.sum(axis=0))),
    }
    (step,) = layers.steps
    assert list(step) == list(expected)
    for name, (result, gradient, own, change) in expected.items():
        seen = step[name]
        np.testing.assert_allclose(seen[:4], [np.mean(result), np.std(result), np.mean(result == 0), size(gradient)])
        np.testing.assert_allclose(
            seen[4:6], [size(*own), size(*change) / size(*own)] if own else [np.nan, np.nan], rtol=1e-12
        )
        assert seen.bad == 0


def test_monitor_changes_nothing() -> None:
    x, labels = rng.normal(size=(20, 3)), rng.integers(0, 2, 20)

    def train(watched: bool) -> Any:
        net = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Dropout(0.3, rng=1), nn.Tanh(), nn.Linear(8, 2, rng=2))
        optimizer = optim.Adam(net.parameters())
        with monitor(net if watched else nn.ReLU()) as layers:
            for _ in range(5):
                optimizer.zero_grad()
                loss = nn.cross_entropy(net(x), labels)
                loss.backward()
                if watched:
                    layers.step()
                optimizer.step()
        assert not any("forward" in vars(module) for module in net.modules())
        return net.state_dict()

    for a, b in zip(train(True).values(), train(False).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_monitor_of_several_calls() -> None:
    model = Shared()
    x = rng.normal(size=(4, 3))
    with monitor(model) as layers:
        y, total = model(x)
        (total + np.sum(y)).backward()
        layers.step()
        model.eval()
        model(x)
        with pytest.raises(ValueError, match="not called in training mode"):
            layers.step()
    assert list(layers.steps[0]) == ["", "parts.body.layers.0", "parts.unused"]
    linear = model.parts["body"].layers[0]  # type: ignore[attr-defined]
    first = x @ linear.weight.data.T + linear.bias.data
    both = np.concatenate([first, np.tanh(first) @ linear.weight.data.T + linear.bias.data])
    np.testing.assert_allclose(layers.steps[0]["parts.body.layers.0"][:2], [both.mean(), both.std()])
    assert np.isnan(layers.steps[0]["parts.unused"].mean)
    text = str(layers)
    assert text.startswith("step 1\n")
    assert "parts.body.layers.0  Linear(3, 3)" in text


def test_monitor_with_transforms() -> None:
    net = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Tanh())
    x = rng.normal(size=2)
    with monitor(net) as layers:
        watched = [
            cr.grad(lambda x: np.sum(net(x) ** 2))(x),
            cr.jvp(net, (x,), (x,))[1],
            cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(net(x) ** 2))(x)))(x),
            cr.vmap(net)(np.stack([x, 2 * x])),
        ]
        layers.step()
    plainly = [
        cr.grad(lambda x: np.sum(net(x) ** 2))(x),
        cr.jvp(net, (x,), (x,))[1],
        cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(net(x) ** 2))(x)))(x),
        cr.vmap(net)(np.stack([x, 2 * x])),
    ]
    for a, b in zip(watched, plainly, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def notes(*layers: nn.Module, x: Any, loss: Any = np.mean) -> str:
    net = nn.Sequential(*layers)
    with monitor(net) as watched, np.errstate(all="ignore"):
        loss(net(x)).backward()
        watched.step()
    return "; ".join(watched.notes())


def test_notes() -> None:
    x = rng.normal(size=(30, 4))
    linear = [nn.Linear(4, 4, rng=i) for i in range(12)]
    assert notes(linear[0], nn.Tanh(), linear[1], x=x) == ""
    found = notes(nn.Linear(4, 4), cr.stop_gradient, linear[1], x=x)
    assert found == "layers.0 (Linear(4, 4)): no gradient came back to its results"
    dead = nn.Linear(4, 4, rng=0)
    dead.bias.data[:] = -100.0  # type: ignore[union-attr]
    found = notes(dead, nn.ReLU(), linear[1], x=x)
    assert "layers.1 (ReLU): 100% of its results are 0" in found
    assert "the gradient vanishes: 0 at layers.0" in found
    deep = [layer for each in linear for layer in (each, nn.Sigmoid())]
    assert "the gradient vanishes: " in notes(*deep, x=x)
    for each in linear:
        each.weight.data *= 10.0
    assert "the gradient explodes: " in notes(*linear, x=x)
    assert "NaN or infinite; explain_nan(loss)" in notes(linear[0], x=x * np.inf)


def test_frozen_layers_need_no_gradient() -> None:
    first = nn.Linear(4, 4, rng=0)
    first.weight, first.bias = first.weight.detach(), None
    assert notes(first, nn.Tanh(), nn.Linear(4, 4, rng=1), x=rng.normal(size=(30, 4))) == ""


def test_a_model_that_holds_itself() -> None:
    net = nn.Sequential(nn.Linear(2, 2))
    net.whole = net  # type: ignore[attr-defined]
    assert [layer.name for layer in summary(net, np.ones((1, 2))).layers] == ["", "layers.0"]
    assert "(whole): ..." in repr(net)


def test_monitor_beside_writes_checkpoints_and_another() -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(3, 3, rng=0)

        def forward(self, x: Any) -> Any:
            y = self.linear(x)
            y[0] = 0.0
            y += 1.0
            return y

    model, x = Writing(), Tensor(rng.normal(size=(2, 3)))
    np.sum(model(x) ** 2).backward()
    expected = model.linear.weight.grad
    for run in (model, cr.checkpoint(model)):
        model.zero_grad()
        with monitor(model) as outer, monitor(model) as inner:
            np.sum(run(x) ** 2).backward()
            outer.step()
            inner.step()
        np.testing.assert_array_equal(model.linear.weight.grad, expected)
        assert outer.steps == inner.steps
        plain_result = x.data @ model.linear.weight.data.T + model.linear.bias.data  # type: ignore[union-attr]
        np.testing.assert_allclose(outer.steps[0]["linear"].mean, plain_result.mean())
        written = np.stack([np.ones(3), plain_result[1] + 1])
        np.testing.assert_allclose(outer.steps[0]["linear"].gradient, np.sqrt(np.mean((2 * written) ** 2)))


def test_monitor_before_a_step() -> None:
    with monitor(nn.ReLU()) as layers:
        assert repr(layers) == "<Monitor of 1 layers, no step yet>"
        assert layers.notes() == []
        assert "no step yet" in layers._repr_html_()
        with pytest.raises(ValueError, match="not called"):
            layers.step()
        with pytest.raises(ValueError, match="nothing was recorded"):
            layers.save("a.svg")


# -- files ---------------------------------------------------------------------------------------------------------
def recorded() -> History:
    history = History()
    for step in range(1, 101):
        history.add(step, loss=np.exp(-step / 10), noise=np.nan if step == 50 else rng.normal())
        if step % 10 == 0:
            history.add(step, accuracy=step / 100)
    return history


def test_csv(tmp_path: Path) -> None:
    history = recorded()
    history.save(tmp_path / "run.csv")
    with (tmp_path / "run.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    assert [float(row["loss"]) for row in rows] == history["loss"].tolist()  # every digit
    assert [row["accuracy"] for row in rows[8:11]] == ["", "0.1", ""]
    assert rows[49]["noise"] == "nan"


def drawn(text: str) -> tuple[Any, list[list[tuple[float, float]]], list[str]]:
    """The picture, the points of each curve, and the words."""
    root = ET.fromstring(text)
    lines = []
    for path in root.iter(f"{SVG}path"):
        if path.find(f"{SVG}title") is not None:
            pieces = path.get("d", "").replace("L", "M").replace("h1.5", "").split("M")[1:]
            lines.append([tuple(map(float, piece.split())) for piece in pieces])
    return root, lines, [element.text or "" for element in root.iter(f"{SVG}text")]  # type: ignore[return-value]


def test_svg(tmp_path: Path) -> None:
    history = recorded()
    history.save(tmp_path / "run.svg")
    root, (loss, noise, accuracy), words = drawn((tmp_path / "run.svg").read_text(encoding="utf-8"))
    assert history._repr_html_() == (tmp_path / "run.svg").read_text(encoding="utf-8")
    assert root.get("viewBox") == f"0 0 {2 * 372} {2 * 228}"
    assert {"loss", "noise", "accuracy", "1 value is NaN or infinite", "step", "0.01", "0.2"} <= set(words)
    x, y = np.array(loss).T
    np.testing.assert_allclose(x, np.linspace(0, 300, 100), atol=0.06)
    np.testing.assert_allclose(y, np.linspace(0, 160, 100), atol=0.06)  # a straight line: the axis is logarithmic
    assert len(noise) == 99
    x, y = np.array(accuracy).T
    np.testing.assert_allclose(y, np.linspace(160, 0, 10), atol=0.06)


def test_many_points_keep_the_extremes() -> None:
    history = History()
    for step in range(50_000):
        history.add(step, loss=100.0 if step == 31_234 else -50.0 if step == 777 else float(step % 7))
    text = history._repr_html_()
    assert len(text) < 40_000
    _, (points,), _ = drawn(text)
    x, y = np.array(points).T
    assert y.min() == 0.0
    assert abs(x[y.argmin()] - 300 * 31_234 / 49_999) <= 0.5
    assert y.max() == 160.0


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [0.0, 0.0],
        [np.nan],
        [np.inf, np.nan],
        [1e-300, 1e300],
        [1e308, 1.2e308],
        [5e-324],
        [1, np.nan, 2],
        [-3, -3],
    ],
)
def test_any_numbers_can_be_drawn(values: list[float]) -> None:
    history = History()
    for step, value in enumerate(values, 1):
        history.add(step, x=value)
    _, lines, _ = drawn(history._repr_html_())
    assert sum(map(len, lines)) == np.count_nonzero(np.isfinite(values))
    assert all(0 <= x <= 300 and 0 <= y <= 160 for line in lines for x, y in line)


def test_ticks() -> None:
    ticks = {
        (0.0, 1.0): [0, 0.2, 0.4, 0.6, 0.8, 1],
        (-3.0, 7.0): [-2, 0, 2, 4, 6],
        (0.37, 0.41): [0.37, 0.38, 0.39, 0.4, 0.41],
    }
    for ends, expected in ticks.items():
        np.testing.assert_allclose(curves._Scale(np.array(ends), 1.0, False).ticks(), expected, atol=1e-12)
    assert curves._Scale(np.array([1e-4, 1.0]), 1.0, True).ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 0.1, 1])
    assert curves._Scale(np.array([0.9, 60.0]), 1.0, True).ticks() == [1, 2, 5, 10, 20, 50]


def test_png(tmp_path: Path) -> None:
    recorded().save(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_png_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r'pip install "chainrule\[plot\]"'):
        recorded().save(tmp_path / "run.png")


def test_monitor_files(tmp_path: Path) -> None:
    deep = [layer for i in range(8) for layer in (nn.Linear(4, 4, rng=i), nn.ReLU())]
    net = nn.Sequential(*deep)
    with monitor(net) as layers:
        for _ in range(3):
            np.mean(net(rng.normal(size=(5, 4)))).backward()
            layers.step()
    for ending in ("csv", "svg", "png"):
        layers.save(tmp_path / f"layers.{ending}")
    with (tmp_path / "layers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 16
    assert float(rows[17]["zeros"]) == layers.steps[1]["layers.1"].zeros
    assert (rows[16]["step"], rows[16]["layer"], rows[17]["weights"]) == ("2", "layers.0", "")
    root, lines, words = drawn((tmp_path / "layers.svg").read_text(encoding="utf-8"))
    assert [len(line) for line in lines] == [3] * len(lines)
    assert root.get("viewBox", "").split()[2] == str(2 * 372)  # two by two
    assert "results: share of zeros" in words
    assert "layers.0 Linear" in words
    assert "layers.15 ReLU" in words
    assert "layers.7 ReLU" not in words  # the legend holds twelve
    assert layers._repr_html_().endswith((tmp_path / "layers.svg").read_text(encoding="utf-8"))


def test_a_monitor_without_zeros_shows_none(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Tanh())
    with monitor(net) as layers:
        np.mean(net(rng.normal(size=(5, 4)))).backward()
        layers.step()
    layers.save(tmp_path / "layers.svg")
    _, lines, words = drawn((tmp_path / "layers.svg").read_text(encoding="utf-8"))
    assert len(lines) == 2 + 2 + 1
    assert "results: share of zeros" not in words


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    history = recorded()
    for name in ("run.pdf", "run", "run.SVG.txt"):
        with pytest.raises(ValueError, match=r"choose \.csv, \.svg or \.png"):
            history.save(tmp_path / name)
    for ending in ("csv", "svg", "png"):
        with pytest.raises(OSError, match="No such file or directory"):
            history.save(tmp_path / "missing" / f"run.{ending}")
        with pytest.raises(ValueError, match="nothing was recorded"):
            History().save(tmp_path / f"run.{ending}")
    assert list(tmp_path.iterdir()) == []


def test_history_steps_ascend() -> None:
    history = recorded()
    with pytest.raises(ValueError, match="step 3 comes after step 100"):
        history.add(3, loss=1.0)
    with pytest.raises(TypeError):
        history.add(101, loss=1.0, noise=[1, 2])
    assert history.steps("loss")[-1] == 100  # nothing of it was recorded
    with pytest.raises(KeyError):
        history["other"]
    assert repr(history) == "<History of loss, noise, accuracy, to step 100>"
    assert History()._repr_html_() == "&lt;History of nothing, to step 0&gt;"


def test_a_line_looks_the_same_in_every_panel(tmp_path):
    """Also in panels that lack some of them: in colour and dashes, as in the legend."""
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.ReLU(), nn.Linear(2, 3, rng=0), nn.ReLU(), nn.Linear(3, 2, rng=1))
    with monitor(net) as layers:
        for _ in range(3):
            np.mean(net(rng.normal(size=(4, 2))) ** 2).backward()
            layers.step()
    layers.save(tmp_path / "layers.svg")
    text = (tmp_path / "layers.svg").read_text(encoding="utf-8")
    looks = dict.fromkeys(re.findall(r'<path class="cr-line" (stroke="[^>]*?) d="[^"]*"><title>(.*?)</title>', text))
    assert len({name for _, name in looks}) == len(looks) == 4
    legend = re.findall(r'<path class="cr-line" (stroke="[^>]*?) d="[^"]*"/>\n<text[^>]*>(.*?)</text>', text)
    assert set(legend) == set(looks)
    layers.save(tmp_path / "layers.png")
