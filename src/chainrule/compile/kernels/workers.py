"""Threads that do parts of large kernels, while the caller does the first part."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

__all__ = ["WORTHWHILE", "count", "share"]

WORTHWHILE = 1e5  # nanoseconds of work; handing over takes 10 to 50 thousand

_jobs: SimpleQueue[tuple[Callable[[], None], list[BaseException], threading.Lock]] = SimpleQueue()
_started = 0
_starting = threading.Lock()


def count() -> int:
    """How many threads a kernel may use: as many as there are processors, or as `OMP_NUM_THREADS` says."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(int(asked), available) if asked.isdecimal() else available)


def share(work: Callable[[int], Any], parts: int) -> None:
    """Call ``work(0)``, ``work(1)``, ... up to ``work(parts - 1)``, at the same time."""
    _start(parts - 1)
    errors: list[BaseException] = []
    waiting = []
    for k in range(1, parts):
        done = threading.Lock()
        done.acquire()
        waiting.append(done)
        _jobs.put((lambda k=k: work(k), errors, done))  # type: ignore[misc]
    try:
        work(0)
    finally:  # the arrays must live until the others have finished
        for done in waiting:
            done.acquire()
    if errors:
        raise errors[0]


def _start(needed: int) -> None:
    global _started
    with _starting:
        while _started < needed:
            threading.Thread(target=_serve, name="chainrule-kernels", daemon=True).start()
            _started += 1


def _serve() -> None:
    jobs = _jobs
    while True:
        job, errors, done = jobs.get()
        try:
            job()
        except BaseException as error:  # noqa: BLE001 (it is raised where the work was given out)
            errors.append(error)
        finally:
            del job
            done.release()


def _forget() -> None:
    """A forked process has none of the threads."""
    global _jobs, _started, _starting
    _jobs, _started, _starting = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
