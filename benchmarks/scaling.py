"""How time and memory grow with size, over three decades, and plots of that."""

from __future__ import annotations

import gc
import json
import os
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .harness import Step, elsewhere, repetitions, timed
from .plots import plot
from .rows import Elementwise, LogSumExp, Perceptron, Recurrent, Row

CONTESTANTS = ("chainrule", "PyTorch", "autograd", "NumPy", "jax.jit")
PATIENCE = 120.0  # seconds for all sizes of a contestant
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Curve(NamedTuple):
    """A row in several sizes."""

    title: str
    axis: str
    sizes: Sequence[int]
    make: Callable[[int], Row]


CURVES = {
    "curve-elementwise": Curve(
        "sum(sigmoid(tanh(x·x + x))²), float64",
        "elements",
        (10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000),
        lambda n: Elementwise(n, "float64"),
    ),
    "curve-logsumexp": Curve(
        "logsumexp over rows of 1,000, float64",
        "rows",
        (10, 32, 100, 316, 1000, 3162, 10_000),
        lambda n: LogSumExp("float64", n),
    ),
    "curve-mlp": Curve(
        "MLP 64×100×10, float32",
        "examples in a batch",
        (16, 50, 160, 500, 1600, 5000, 16_000),
        lambda n: Perceptron(n, 64, 100, 10, "float32"),
    ),
    "curve-lstm": Curve(
        "LSTM cell, batch 16, hidden 64, float32",
        "steps in time",
        (1, 3, 10, 32, 100, 316, 1000),
        lambda n: Recurrent("float32", n),
    ),
}


def measured_at(name: str, contestant: str) -> list[list[float]]:
    """Size, seconds per call, and bytes held at most, each size in a process forked from this one."""
    curve = CURVES[name]
    return [
        [size, *_in_a_fork(lambda size=size: _measured(curve, size, contestant))]  # type: ignore[misc]
        for size in curve.sizes
    ]


def _in_a_fork(measure: Callable[[], list[float]]) -> list[float]:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, json.dumps(measure()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found: list[float] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def _measured(curve: Curve, size: int, contestant: str) -> list[float]:
    compiles = contestant == "jax.jit"
    if not compiles:  # what is loaded and made on first use is not counted
        curve.make(curve.sizes[0]).makers()[contestant]()()
    step = curve.make(size).makers()[contestant]()
    if compiles:
        step()
    return [_peak(step), *_seconds(step)][::-1]


def _seconds(step: Step) -> list[float]:
    step()
    times = repetitions(step, 0.02)
    return [statistics.median(timed(step, times) for _ in range(5))]


def _resident(what: str) -> int:
    found = re.search(rf"{what}:\s*(\d+) kB", STATUS.read_text())
    return int(found[1]) * 1024 if found else 0


def _peak(step: Step) -> float:
    """How far the memory of this process rises during one call (0 where the system does not say)."""
    if not RESET.exists():
        return 0
    gc.collect()
    before = _resident("VmRSS")
    RESET.write_text("5")  # the high-water mark begins again
    result = step()
    del result
    return _resident("VmHWM") - before


def curve(name: str) -> dict[str, list[list[float]]]:
    """For each contestant: size, seconds, bytes; of what fails, nothing."""
    found: dict[str, list[list[float]]] = {}
    for contestant in CONTESTANTS:
        try:
            found[contestant] = elsewhere(["--curve", name, contestant], PATIENCE)
        except RuntimeError as error:
            print(f"{name}: {contestant}: {error}")
    last = ", ".join(f"{who} {points[-1][1]:.3g} s {points[-1][2] / 1e6:.3g} MB" for who, points in found.items())
    print(f"{name}: at {CURVES[name].sizes[-1]:,}: {last}", flush=True)
    return found


def plotted(found: dict[str, dict[str, list[list[float]]]], folder: Path) -> list[Path]:
    """One picture for each curve: time on the left, memory on the right."""
    pictures = []
    for name, lines in found.items():
        curve = CURVES[name]
        panels: list[tuple[str, dict[str, Any]]] = [
            ("seconds", {who: [(x, t) for x, t, _ in points] for who, points in lines.items()}),
            ("bytes", {who: [(x, m) for x, _, m in points if m > MEASURABLE] for who, points in lines.items()}),
        ]
        pictures.append(folder / f"benchmarks-{name.removeprefix('curve-')}.svg")
        pictures[-1].write_text(plot(curve.title, curve.axis, panels), encoding="utf-8")
    return pictures


MEASURABLE = 2**18  # bytes; less than that drowns in what the system rounds to
