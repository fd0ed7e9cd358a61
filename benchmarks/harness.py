"""How things are timed: competitors interleaved in one process, or each alone in a process of its own.

The machine's speed drifts while a benchmark runs, so competitors take turns, round by round, and what is compared is
the ratio of their medians.  Rows that allocate large arrays are also measured alone: a neighbour's live buffers keep
the heap from shrinking, which hides the page faults that fresh memory costs.  So are rows in which threads of BLAS have
much to do: those of a neighbour's pool wait for its next turn on the same processors.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from chainrule import memory

try:
    import resource
except ImportError:  # not on Windows: page faults are then not counted
    resource = None  # type: ignore[assignment]

Step = Callable[[], Any]
CLOCK = time.perf_counter
READY = 6  # calls after which all that compiles has compiled
QUIET = 0.1  # share of the processor that others may use in a round that counts
ROOT = Path(__file__).resolve().parent.parent


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


def interleaved(
    steps: Mapping[str, Step], rounds: int = 7, at_least: float = 0.02, patience: float = float("inf")
) -> Times:
    """Time each step in turn; who begins changes from round to round.

    Rounds in which other programs were busy are repeated, up to three times as many, and the quietest count.  No round
    begins after `patience` seconds, but for the first.
    """
    for step in steps.values():  # what is compiled or allocated on first use is not measured
        step()
        step()
    times = {name: repetitions(step, at_least) for name, step in steps.items()}
    seen: list[tuple[float, dict[str, float]]] = []
    order = list(steps)
    gc.collect()
    end = CLOCK() + patience
    while len(seen) < 3 * rounds and sum(share <= QUIET for share, _ in seen) < rounds and (not seen or CLOCK() < end):
        with Neighbours() as neighbours:
            found = {name: timed(steps[name], times[name]) for name in order}
        seen.append((neighbours.share, found))
        order.append(order.pop(0))
    quietest = sorted(seen, key=lambda each: each[0])[:rounds]
    seconds = {name: statistics.median(found[name] for _, found in quietest) for name in steps}
    return Times(seconds, statistics.mean(share for share, _ in quietest))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer (where the system has alarms)."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError(f"not ready after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


AT_WORK = "at work: "  # begins a line on stderr that says who is being made ready


class LateError(RuntimeError):
    """A process that was ended because it took too long.

    Attributes
    ----------
    who : the contestant that was being made ready then, which no alarm interrupts: a compiler, say; "" if none
    """

    def __init__(self, patience: float, said: str) -> None:
        super().__init__(f"not done after {patience:.0f} s")
        last = [line.removeprefix(AT_WORK) for line in said.splitlines() if line.startswith(AT_WORK)]
        self.who = last[-1] if last else ""


def elsewhere(arguments: Sequence[str], patience: float, **environment: str) -> Any:
    """What `python -m benchmarks` with these arguments prints on its last line, as JSON, in a process of its own.

    Raises
    ------
    LateError
        If it takes too long.
    RuntimeError
        If it fails.
    """
    command = [sys.executable, "-m", "benchmarks", *arguments]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=patience,
            env=os.environ | environment,
        )
    except subprocess.TimeoutExpired as error:
        raise LateError(patience, (error.stderr or b"").decode(errors="replace")) from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"ended with status {done.returncode}: {last[:200]}")
    return json.loads(lines[-1])


def measured_alone(step: Step, rounds: int) -> dict[str, float]:
    """Median seconds and page faults per call, of a process that does nothing else."""
    for _ in range(READY):
        step()
    times = interleaved({"": step}, rounds)
    before = faults()
    for _ in range(rounds):
        step()
    return {
        "seconds": times.seconds[""],
        "disturbance": times.disturbance,
        "faults": (faults() - before) / rounds,
    }


def traced_peak(make: Callable[[], Step]) -> int:
    """How many bytes a step of NumPy's or ours holds at most, beyond what it was given; the result among them."""
    for _ in range(2):  # what is made on first use stays
        make()()
    step = make()
    step()  # an optimiser's state is there from the second step on
    gc.collect()
    memory.drop()
    tracemalloc.start()
    try:
        result = step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        del result


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
