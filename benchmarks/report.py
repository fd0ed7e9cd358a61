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

from .harness import QUIET, Times
from .rows import Row

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
    """The times of one row, in seconds per call."""

    row: Row
    together: Times
    alone: dict[str, dict[str, float]] = field(default_factory=dict)


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


def line(row: Row, times: Mapping[str, float], disturbance: float, contestants: Sequence[str] = EAGER) -> str:
    title = f"{row.title} †" if disturbance > QUIET else row.title
    return "| " + " | ".join([title, str(row.dtype), *cells(times, contestants)]) + " |"


def heading(contestants: Sequence[str]) -> list[str]:
    return ["| | dtype | " + " | ".join(contestants) + " |", "|---|---|" + "---:|" * len(contestants)]


def compiled_table(results: Sequence[Result]) -> list[str]:
    """The rows that are compiled, with kernels and without, and the geometric means of the ratios."""
    lines: list[str] = []
    for ours, what in (("chainrule.jit", "With kernels"), (ON_NUMPY, "On NumPy alone, without llvmlite")):
        contestants = (ours, *COMPILED[1:])
        found = [result for result in results if ours in result.together.seconds]
        if not found:
            continue
        lines += ["", f"{what}:", "", *heading(contestants)]
        lines += [line(result.row, *result.together, contestants) for result in found]
        lines += ["| **geometric mean of the ratios** | | | " + " | ".join(means(found, contestants)) + " |"]
    return lines[1:]


def means(results: Sequence[Result], contestants: Sequence[str]) -> list[str]:
    """The geometric mean of the ratios to each contestant."""
    texts = []
    for name in contestants[1:]:
        times = [result.together.seconds for result in results if name in result.together.seconds]
        ratios = [seconds[contestants[0]] / seconds[name] for seconds in times]
        texts.append(f"{np.exp(np.mean(np.log(ratios))):.2f}" if ratios else "")
    return texts


def table(results: Sequence[Result]) -> list[str]:
    """The interleaved times, then those measured alone."""
    everyone = ("chainrule", *EAGER[1:], *COMPILED[:1], "torch.compile")
    head = heading(everyone)
    lines = [*heading(EAGER), *(line(result.row, *result.together) for result in results)]
    large = [result for result in results if result.alone]
    if large:
        lines += ["", "Each contestant alone in a process of its own:", "", *head]
        for result in large:
            seconds = {name: found["seconds"] for name, found in result.alone.items()}
            disturbance = max(found["disturbance"] for found in result.alone.values())
            lines.append(line(result.row, seconds, disturbance, everyone))
        lines += ["", "Page faults per call in these processes:", "", *head]
        for result in large:
            counts = [f"{result.alone[n]['faults']:.0f}" if n in result.alone else "" for n in everyone]
            lines.append("| " + " | ".join([result.row.title, str(result.row.dtype), *counts]) + " |")
    if any("†" in text for text in lines):
        lines += ["", "† Other programs were using the processor: take these times with a grain of salt."]
    return lines


def overhead(results: Sequence[Result]) -> list[str]:
    """What recording and pulling one operation costs above NumPy's own time for it."""
    lines = []
    for result in results:
        if result.row.operations:
            ours, numpys = (
                result.together.seconds[name] / result.row.operations * 1e9 for name in ("chainrule", "NumPy")
            )
            lines.append(f"| {result.row.title} | {ours:.0f} ns | {numpys:.0f} ns | {ours - numpys:.0f} ns |")
    if not lines:
        return []
    return [
        "Per operation, forward and backward together; the overhead is what recording and pulling cost beyond NumPy:",
        "",
        "| | chainrule | NumPy | overhead |",
        "|---|---:|---:|---:|",
        *lines,
    ]


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


def page(results: Sequence[Result]) -> str:
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
    return "\n".join(
        [
            HEAD,
            *table(results),
            "",
            *overhead(results),
            "",
            JIT,
            *compiled_table(results),
            "",
            "## Where it was measured",
            "",
            *machine,
            "",
            NOTES,
        ]
    )


HEAD = """<!-- Written by `make bench` (python -m benchmarks): edit benchmarks/report.py instead. -->

# Benchmarks

Each row computes a value and all its gradients. Cells hold the median time of one such call and, in parentheses,
chainrule's time divided by this contestant's: **below 1, chainrule is faster**. Before a row is timed, all contestants'
values and gradients are compared.
"""

JIT = """## Compiled

`chainrule.jit` compiles the same computation, written the same way in every library; ratios are its time divided by the
others'. Compilation is not in these times, neither ours nor theirs.
"""

NOTES = """## How to read this

- chainrule runs eagerly: operation by operation, on NumPy. So do PyTorch (`backward()`, not `torch.compile`) and
  HIPS autograd. `jax.jit` compiles the whole computation first; its compilation time, which is not counted here, is
  worth it for what runs many times. "NumPy" is a forward and backward pass written by hand, with temporaries reused.
- Contestants take turns in one process, and the ratio is that of their medians. For large arrays this flatters whoever
  allocates most: another contestant's buffers keep memory from going back to the system. The second table is the fair
  one for these rows.
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
