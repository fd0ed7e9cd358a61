"""What is written: the tables, and everything a reader needs to judge or repeat them."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .harness import QUIET

# Who is compared with whom: the first one's time is divided by the others'.
EAGER = ("chainrule", "PyTorch", "autograd", "NumPy", "jax.jit")
COMPILED = ("chainrule.jit", "jax.jit", "torch.compile", "NumPy", "chainrule", "PyTorch")
ON_NUMPY = "jit, NumPy only"

SETTINGS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "NPY_DISABLE_CPU_FEATURES",
)


@dataclass
class Result:
    """What was measured of one row: seconds per call, bytes, and who failed.

    Attributes
    ----------
    seconds : of each contestant, and of the function without its gradient, in turns in one process
    disturbance : how much of the processor others used
    failed : who could not take part, and why
    peaks : bytes that a step holds at most
    bars : who is held to how many times whose time
    alone : seconds, page faults and disturbance of each contestant in a process of its own
    """

    name: str
    title: str
    dtype: str
    operations: int = 0
    overhead: float = 0.0
    lean: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    disturbance: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    bars: list[list[Any]] = field(default_factory=list)
    alone: dict[str, dict[str, float]] = field(default_factory=dict)

    def beyond_numpy(self) -> tuple[float, float] | None:
        """Nanoseconds per operation, ours and NumPy's."""
        if not self.operations or not {"chainrule", "NumPy"} <= self.seconds.keys():
            return None
        ours, numpys = (self.seconds[name] / self.operations * 1e9 for name in ("chainrule", "NumPy"))
        return ours, numpys

    def fair(self, name: str) -> float | None:
        """The time that counts: alone, where that was measured."""
        return self.alone[name]["seconds"] if name in self.alone else self.seconds.get(name)


def amount(seconds: float) -> str:
    """A time in a readable unit, with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def cells(times: Mapping[str, float], contestants: Sequence[str]) -> list[str]:
    """One cell per contestant: its time, and the first one's as a multiple of it."""
    ours = times[contestants[0]]
    others = (f"{amount(times[name])} ({ours / times[name]:.2f})" if name in times else "" for name in contestants[1:])
    return [amount(ours), *others]


def amount_of_memory(count: float) -> str:
    """Bytes in a readable unit, with three digits."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def line(result: Result, times: Mapping[str, float], disturbance: float, contestants: Sequence[str] = EAGER) -> str:
    title = f"{result.title} †" if disturbance > QUIET else result.title
    return "| " + " | ".join([title, result.dtype, *cells(times, contestants)]) + " |"


def heading(contestants: Sequence[str]) -> list[str]:
    return ["| | dtype | " + " | ".join(contestants) + " |", "|---|---|" + "---:|" * len(contestants)]


def compiled_table(results: Sequence[Result]) -> list[str]:
    """The rows that are compiled, with kernels and without, and the geometric means of the ratios."""
    lines: list[str] = []
    for ours, what in (("chainrule.jit", "With kernels"), (ON_NUMPY, "On NumPy alone, without llvmlite")):
        contestants = (ours, *COMPILED[1:])
        found = [result for result in results if ours in result.seconds]
        if not found:
            continue
        lines += ["", f"{what}:", "", *heading(contestants)]
        lines += [line(result, result.seconds, result.disturbance, contestants) for result in found]
        lines += ["| **geometric mean of the ratios** | | | " + " | ".join(means(found, contestants)) + " |"]
    return lines[1:]


def geometric_mean(ratios: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def means(results: Sequence[Result], contestants: Sequence[str]) -> list[str]:
    """The geometric mean of the ratios to each contestant."""
    texts = []
    for name in contestants[1:]:
        times = [result.seconds for result in results if name in result.seconds]
        ratios = [seconds[contestants[0]] / seconds[name] for seconds in times]
        texts.append(f"{geometric_mean(ratios):.2f}" if ratios else "")
    return texts


def table(results: Sequence[Result]) -> list[str]:
    """The interleaved times, then those measured alone."""
    everyone = ("chainrule", *EAGER[1:], *COMPILED[:1], "torch.compile")
    head = heading(everyone)
    lines = [*heading(EAGER), *(line(r, r.seconds, r.disturbance) for r in results if "chainrule" in r.seconds)]
    alone = [result for result in results if "chainrule" in result.alone]
    if alone:
        lines += ["", "Each contestant alone in a process of its own:", "", *head]
        for result in alone:
            seconds = {name: found["seconds"] for name, found in result.alone.items()}
            disturbance = max(found["disturbance"] for found in result.alone.values())
            lines.append(line(result, seconds, disturbance, everyone))
        lines += ["", "Page faults per call in these processes:", "", *head]
        for result in alone:
            counts = [f"{result.alone[n]['faults']:.0f}" if n in result.alone else "" for n in everyone]
            lines.append("| " + " | ".join([result.title, result.dtype, *counts]) + " |")
    if any("†" in text for text in lines):
        lines += ["", "† Other programs were using the processor: take these times with a grain of salt."]
    return lines


def overhead(results: Sequence[Result]) -> list[str]:
    """What recording and pulling one operation costs above NumPy's own time for it."""
    lines = []
    for result in results:
        if (found := result.beyond_numpy()) is not None:
            ours, numpys = found
            lines.append(f"| {result.title} | {ours:.0f} ns | {numpys:.0f} ns | {ours - numpys:.0f} ns |")
    if not lines:
        return []
    return [
        "Per operation, forward and backward together; the overhead is what recording and pulling cost beyond NumPy:",
        "",
        "| | chainrule | NumPy | overhead |",
        "|---|---:|---:|---:|",
        *lines,
    ]


def watched(results: Sequence[Result]) -> list[str]:
    """What debug() costs where it is off, and inside."""
    names = ("outside", "asking", "recording", "stopping")
    found = [result.seconds for result in results if set(names) <= result.seconds.keys()]
    if not found:
        return []
    return [
        WATCHED.format(share=found[0]["asking"] / found[0]["outside"]),
        "",
        "| outside | the asking alone | inside `debug(stop=False)` | inside `debug()` |",
        "|---:|---:|---:|---:|",
        "| " + " | ".join(amount(found[0][name]) for name in names) + " |",
    ]


# -- what is held to -----------------------------------------------------------------------------------------------
MEANS = {("chainrule.jit", "jax.jit"): 0.5, (ON_NUMPY, "jax.jit"): 1.0}  # geometric means over all rows
LEAN, CHEAP, CHEAP_ON_AVERAGE = 1.1, 4.0, 3.0


def judged(ratio: float, limit: float) -> str:
    return "met" if ratio <= limit else "**missed**"


def bar_line(title: str, dtype: str, ours: str, other: str, ratio: float, limit: float) -> str:
    cells = [title, dtype, f"{ours} ≤ {limit:g}× {other}", f"{ratio:.2f}", judged(ratio, limit)]
    return "| " + " | ".join(cells) + " |"


def bars(results: Sequence[Result]) -> list[str]:
    """Every row's bars, met or missed."""
    lines = []
    for result in results:
        for ours, other, limit in result.bars:
            mine, its = result.fair(ours), result.fair(other)
            if mine is not None and its is not None:
                ratio = mine / its
                cells = [
                    result.title,
                    result.dtype,
                    f"{ours} ≤ {limit:g}× {other}",
                    f"{ratio:.2f}",
                    judged(ratio, limit),
                ]
                lines.append("| " + " | ".join(cells) + " |")
        if result.overhead and (found := result.beyond_numpy()) is not None:
            beyond, bar = found[0] - found[1], f"overhead of an operation ≤ {result.overhead:.0f} ns"
            cells = [result.title, result.dtype, bar, f"{beyond:.0f} ns", judged(beyond, result.overhead)]
            lines.append("| " + " | ".join(cells) + " |")
    for (ours, other), limit in MEANS.items():
        both = [r.seconds for r in results if {ours, other} <= r.seconds.keys()]
        if both:
            ratio = geometric_mean([seconds[ours] / seconds[other] for seconds in both])
            lines.append(bar_line("geometric mean", "", ours, other, ratio, limit))
    missed = sum("missed" in text for text in lines)
    return [
        f"{len(lines) - missed} of {len(lines)} bars are met. Rows that were measured alone, too, are judged by that.",
        "",
        "| | dtype | bar | measured | |",
        "|---|---|---|---:|---|",
        *lines,
    ]


def cheapness(results: Sequence[Result]) -> list[str]:
    """The cost of a gradient over that of the function: in NumPy, on Tensors, which records it, and compiled."""
    pairs = [("function", "chainrule"), ("function, recorded", "chainrule"), ("jit of the function", "chainrule.jit")]
    lines: list[str] = []
    ratios: list[list[float]] = [[], [], []]
    for result in results:
        cells = []
        for found, (plain, gradient) in zip(ratios, pairs, strict=True):
            if {plain, gradient} <= result.seconds.keys():
                ratio = result.seconds[gradient] / result.seconds[plain]
                found.append(ratio)
                cells += [
                    amount(result.seconds[plain]),
                    amount(result.seconds[gradient]),
                    f"{ratio:.2f}" if ratio <= CHEAP else f"**{ratio:.2f}**",
                ]
            else:
                cells += ["", "", ""]
        del cells[4]  # the same gradient as before
        if any(cells):
            lines.append("| " + " | ".join([result.title, result.dtype, *cells]) + " |")
    average = [f"{geometric_mean(found):.2f}" if found else "" for found in ratios]
    return [
        COST.format(everywhere=CHEAP, mean=CHEAP_ON_AVERAGE),
        "",
        "| | dtype | function | gradient | ratio | function, recorded | ratio | jit: function | gradient | ratio |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *lines,
        f"| **geometric mean** | | | | {average[0]} | | {average[1]} | | | {average[2]} |",
    ]


def memory_table(results: Sequence[Result]) -> list[str]:
    """Bytes held at most, beside what is written by hand."""
    lines = []
    for result in results:
        if {"chainrule", "NumPy"} <= result.peaks.keys():
            ours, by_hand = result.peaks["chainrule"], result.peaks["NumPy"]
            sizes = [amount_of_memory(ours), amount_of_memory(by_hand), f"{ours / by_hand:.2f}"]
            verdict = judged(ours / by_hand, LEAN) if result.lean else ""
            lines.append("| " + " | ".join([result.title, result.dtype, *sizes, verdict]) + " |")
    return [
        MEMORY.format(limit=LEAN),
        "",
        "| | dtype | chainrule | NumPy, by hand | ratio | |",
        "|---|---|---:|---:|---:|---|",
        *lines,
    ]


def failures(results: Sequence[Result]) -> list[str]:
    """Who could not take part."""
    lines = [f"- {r.title}, {r.dtype}: {name}: {why}" for r in results for name, why in r.failed.items()]
    return ["Who could not take part:", "", *lines] if lines else []


def tables(results: Sequence[Result]) -> list[str]:
    """Everything, for the terminal."""
    parts = [
        table(results),
        compiled_table(results),
        overhead(results),
        watched(results),
        bars(results),
        cheapness(results),
    ]
    return [text for part in [*parts, memory_table(results), failures(results)] if part for text in ["", *part]]


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for text in info.read_text().splitlines():
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def blas() -> str:
    """Which BLAS NumPy was built with."""
    found: Any = np.show_config(mode="dicts")
    details = found.get("Build Dependencies", {}).get("blas", {})
    return f"{details.get('name', 'unknown')} {details.get('version', '')}".strip()


def torch_threads() -> str:
    try:
        import torch
    except ImportError:
        return "not installed"
    return str(torch.get_num_threads())


def page(results: Sequence[Result], pictures: Sequence[Path]) -> str:
    """The text of docs/benchmarks.md."""
    settings = [f"`{name}={os.environ[name]}`" for name in SETTINGS if name in os.environ]
    packages = ("numpy", "llvmlite", "torch", "autograd", "jax")
    machine = [
        f"- date: {dt.datetime.now(dt.UTC).date()}",
        f"- processor: {processor()}, {os.cpu_count()} cores; {platform.system()}",
        f"- Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages),
        f"- BLAS of NumPy: {blas()}; threads of PyTorch: {torch_threads()}, its default; NumPy's BLAS and JAX: theirs",
        f"- environment variables that change the arithmetic libraries: {', '.join(settings) or 'none set'}",
    ]
    sections = {
        "": table(results),
        "## Compiled": [JIT, *compiled_table(results)],
        "## Bars": bars(results),
        "## Overhead of one operation": overhead(results),
        "## Looking for NaN": watched(results),
        "## Cost of a gradient": cheapness(results),
        "## Memory": memory_table(results),
        "## Time and memory by size": [CURVES, *(f"![{picture.stem}]({picture.name})" for picture in pictures)],
        "## Where it was measured": machine,
        "## How to read this": [NOTES, *failures(results)],
    }
    text = "\n\n".join("\n".join([*([title, ""] if title else []), *part]) for title, part in sections.items() if part)
    return f"{HEAD}\n{text}\n"


WATCHED = """Where `debug()` is off, an operation asks once whether anybody watches. That is its whole cost; alone, in
an empty loop, it is {share:.1%} of the chain of 200 scalar operations."""

HEAD = """<!-- Written by `make bench` (python -m benchmarks): edit benchmarks/report.py instead. -->

# Benchmarks

Each row computes a value and all its gradients. Cells hold the median time of one such call and, in parentheses,
chainrule's time divided by this contestant's: **below 1, chainrule is faster**. Before a row is timed, all contestants'
values and gradients are compared.
"""

JIT = """\
`chainrule.jit` compiles the same computation, written the same way in every library; ratios are its time divided by the
others'. Compilation is not in these times, neither ours nor theirs.
"""

COST = """\
The time of value and gradient over that of the function alone. What runs eagerly is compared twice: with the function
in NumPy, on plain arrays, and with the function on Tensors, which records each operation. The first is what a gradient
costs in all; of numbers and small arrays that is what recording costs, for NumPy takes 40 ns for a product of two
numbers. The second is what the walk back costs beside the program that it goes through. What is compiled by `jit` is
compared with the function compiled by `jit`. The aim is {everywhere:g} everywhere (what is above is bold) and {mean:g}
in the geometric mean. What is no gradient of one function is left out.
"""

MEMORY = """\
What one step holds at most beyond its arguments, its results among it, as Python's `tracemalloc` counts it. For
training steps the bar is {limit:g} times what is written by hand. Elsewhere that often keeps less than the program has
intermediate results. So it does in the Adam step that is written as a formula, for all libraries alike: the formula
holds as much at most without any gradient in it. The training step with a model and `optim.Adam` works in place.
"""

CURVES = """\
A value and its gradient, on logarithmic axes: seconds, and by how much the memory of a process rises during one call
(of JAX after it has compiled; a quarter of a megabyte and less is not shown). JAX is compiled, all others run eagerly.
"""

NOTES = """\
- chainrule runs eagerly: operation by operation, on NumPy. So do PyTorch (`backward()`, not `torch.compile`) and
  HIPS autograd. `jax.jit` compiles the whole computation first; its compilation time, which is not counted here, is
  worth it for what runs many times. "NumPy" is a forward and backward pass written by hand, with temporaries reused.
- Contestants take turns in one process, and the ratio is that of their medians. For large arrays this flatters whoever
  allocates most: another contestant's buffers keep memory from going back to the system. Where much time goes to
  matrix products it depends on whose turn it was before: the threads of PyTorch's and JAX's pools wait at work for a
  while, on the processors that the next one's BLAS would use. The second table is the fair one for these rows.
- Matrix products decide the larger networks, so those rows compare BLAS libraries more than they compare the engines:
  PyTorch, JAX and NumPy each bring their own.
- Loops are `lax.scan` in JAX, with one step at a time or ten, whichever is faster: XLA takes minutes to compile the
  whole loop unrolled, and so does `torch.compile`, which has nothing else and is left out there.
- The LSTM is written as a loop over an LSTM cell in every library but JAX, whose `lax.scan` is much faster than the
  loop unrolled. PyTorch's fused `nn.LSTM` is a different program and is not measured.
- Everything runs on the CPU. On a GPU, PyTorch and JAX are in another league; chainrule does not compete there.
- Rounds in which other programs used more than a tenth of the processor were repeated, as far as possible.
- One machine, one sitting. Run `make bench` for yours.
"""
