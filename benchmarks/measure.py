"""One row, measured: everybody's time, what the function alone takes, memory, and who could not take part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Any

from .harness import AT_WORK, CLOCK, Step, check_agreement, interleaved, traced_peak, within
from .rows import Row

PATIENCE = 60.0  # seconds for a contestant to get ready, and for all rounds of a row
CALLS = 5  # that are compared: from the third or fourth on, jit runs on kernels
READY = 150.0  # seconds for all contestants to get ready: who comes later is left out


def prepared(
    makers: dict[str, Callable[[], Step]],
    failed: dict[str, str],
    check: Callable[[str, int, Any], None],
    end: float = float("inf"),
) -> dict[str, Step]:
    """The steps of those who are installed and compute the right thing; why others do not is put into `failed`."""
    steps: dict[str, Step] = {}
    for name, make in makers.items():
        if CLOCK() > end:
            failed[name] = "no time left for this row"
            continue
        print(AT_WORK + name, file=sys.stderr, flush=True)
        try:
            with within(PATIENCE):
                step = make()
                for i in range(CALLS):
                    check(name, i, step())
            steps[name] = step
        except ImportError:  # not installed, or no such thing
            continue
        except Exception as error:  # noqa: BLE001 (what goes wrong in a library is told, and the others go on)
            failed[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
    return steps


def measured(row: Row, rounds: int, without: Collection[str] = ()) -> dict[str, Any]:
    """Check and time all contestants in this process, as numbers and texts that JSON can hold."""
    failed: dict[str, str] = {}
    makers = {name: make for name, make in row.makers().items() if name not in without}
    like: list[Any] = []
    for name in ("NumPy", "chainrule"):
        if not like and name in makers:
            try:
                step = makers[name]()
            except ImportError:
                continue
            like = [step() for _ in range(CALLS)]

    def check(name: str, i: int, result: Any) -> None:
        check_agreement({name: result, "the reference": like[i]}, "the reference", row.tolerance)

    end = CLOCK() + READY
    steps = prepared(makers, failed, check, end)
    alone = prepared(row.functions(), failed, lambda name, i, result: None, end)
    print(AT_WORK, file=sys.stderr, flush=True)  # everybody
    times = interleaved(steps | alone, rounds, patience=PATIENCE)
    peaks = {name: traced_peak(makers[name]) for name in ("chainrule", "NumPy") if name in steps}
    return {"seconds": times.seconds, "disturbance": times.disturbance, "failed": failed, "peaks": peaks}
