"""How things are timed: competitors interleaved in one process, or each alone in a process of its own.

The machine's speed drifts while a benchmark runs, so competitors take turns, round by round, and what is compared is
the ratio of their medians.  Rows that allocate large arrays are also measured alone: a neighbour's live buffers keep
the heap from shrinking, which hides the page faults that fresh memory costs.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

try:
    import resource
except ImportError:  # not on Windows: page faults are then not counted
    resource = None  # type: ignore[assignment]

Step = Callable[[], Any]
CLOCK = time.perf_counter
QUIET = 0.1  # share of the processor that others may use in a round that counts


def repetitions(step: Step, at_least: float) -> int:
    """How many calls take about `at_least` seconds."""
    start = CLOCK()
    step()
    return max(1, int(at_least / max(CLOCK() - start, 1e-9)))


def timed(step: Step, times: int) -> float:
    """Seconds per call."""
    start = CLOCK()
    for _ in range(times):
        step()
    return (CLOCK() - start) / times


class Times(NamedTuple):
    """Median seconds per call, and how much of the processor others used in the rounds that count."""

    seconds: dict[str, float]
    disturbance: float


def interleaved(steps: Mapping[str, Step], rounds: int = 7, at_least: float = 0.02) -> Times:
    """Time each step in turn; who begins changes from round to round.

    Rounds in which other programs were busy are repeated, up to three times as many, and the quietest count.
    """
    for step in steps.values():  # what is compiled or allocated on first use is not measured
        step()
        step()
    times = {name: repetitions(step, at_least) for name, step in steps.items()}
    seen: list[tuple[float, dict[str, float]]] = []
    order = list(steps)
    gc.collect()
    while len(seen) < 3 * rounds and sum(share <= QUIET for share, _ in seen) < rounds:
        with Neighbours() as neighbours:
            found = {name: timed(steps[name], times[name]) for name in order}
        seen.append((neighbours.share, found))
        order.append(order.pop(0))
    quietest = sorted(seen, key=lambda each: each[0])[:rounds]
    seconds = {name: statistics.median(found[name] for _, found in quietest) for name in steps}
    return Times(seconds, statistics.mean(share for share, _ in quietest))


def alone(row: str, contestant: str, rounds: int) -> dict[str, float]:
    """Measure one contestant of one row in a fresh process: median seconds and page faults per call."""
    command = [sys.executable, "-m", "benchmarks", "--alone", row, contestant, "--rounds", str(rounds)]
    root = Path(__file__).resolve().parent.parent
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def measured_here(step: Step, rounds: int) -> dict[str, float]:
    """What `alone` reports, measured in this process."""
    times = interleaved({"": step}, rounds, at_least=0)
    before = faults()
    for _ in range(rounds):
        step()
    return {
        "seconds": times.seconds[""],
        "disturbance": times.disturbance,
        "faults": (faults() - before) / rounds,
    }


def faults() -> int:
    """Pages this process has touched for the first time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt if resource else 0


def as_arrays(result: Any) -> list[np.ndarray]:
    """Flatten a contestant's result, a value and gradients in its own types, to a list of arrays."""
    if isinstance(result, dict):
        result = [result[name] for name in sorted(result)]  # JAX sorts names
    if isinstance(result, tuple | list):
        return [array for part in result for array in as_arrays(part)]
    return [np.asarray(result.detach() if hasattr(result, "detach") else result)]


def check_agreement(results: Mapping[str, Any], like: str, tolerance: float) -> None:
    """Check that all contestants computed the same value and gradients, relative to the largest element.

    Raises
    ------
    AssertionError
        If one did not: then its time means nothing.
    """
    expected = as_arrays(results[like])
    for name, result in results.items():
        got = as_arrays(result)
        assert len(got) == len(expected), f"{name}: {len(got)} results, {like} has {len(expected)}"
        for i, (x, y) in enumerate(zip(got, expected, strict=True)):
            assert x.shape == y.shape, f"{name}: result {i} has shape {x.shape}, not {y.shape}"
            error = np.max(np.abs(x - y), initial=0) / max(np.max(np.abs(y), initial=0), 1e-30)
            assert np.isfinite(y).all(), f"{like}: result {i} is not finite"
            assert error <= tolerance, f"{name}: result {i} differs from {like}'s by {error:.1e}"


class Neighbours:
    """How much of the processor other programs use between entering and leaving (0 where that cannot be known)."""

    share = 0.0

    def __enter__(self) -> Self:
        self._before = self._ticks()
        return self

    def __exit__(self, *_: object) -> None:
        total, busy, own = (b - a for a, b in zip(self._before, self._ticks(), strict=True))
        self.share = max(0.0, busy - own) / total if total > 0 else 0.0

    @staticmethod
    def _ticks() -> tuple[float, float, float]:
        """Processor time in hundredths of a second: all there was, used by anyone, used by this process."""
        stat = Path("/proc/stat")
        if not stat.exists() or resource is None:
            return 0.0, 0.0, 0.0
        fields = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
        total, idle = sum(fields), fields[3] + fields[4]
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return total, total - idle, (usage.ru_utime + usage.ru_stime) * 100
