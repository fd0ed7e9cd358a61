"""What comes into a function unseen, and may be something else in the next call: files, clocks, random numbers."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import numpy as np

from ..errors import UntraceableError
from .outside import is_installed
from .steps import Line

__all__ = ["Streams", "reading_watched"]

READING = {"read", "readline", "readlines", "readinto"}
FILES = {open, input, np.fromfile, os.getcwd, os.stat, os.lstat, os.listdir, os.scandir, os.access}
CLOCKS = {f for name, f in vars(time).items() if name.removesuffix("_ns") in ("time", "monotonic", "perf_counter")}
CLOCKS |= {time.process_time, time.localtime, time.gmtime, time.ctime}
# What of a library reads these for purposes of its own: tracebacks and warnings, imports, messages, waiting.
ITS_OWN = {"linecache", "importlib._bootstrap", "importlib._bootstrap_external", "warnings", "logging", "threading"}


class Streams:
    """The random numbers of Python and NumPy that come from no `np.random.Generator`, as they are now.

    A program would not draw them: where a function does, it must run.

    Parameters
    ----------
    names : that the function uses
    others : things that it uses, among which there may be more such generators, and methods of such
    """

    def __init__(self, names: Container[str], others: Iterable[Any]) -> None:
        modules = ("random", "_inst"), ("numpy.random.mtrand", "_rand")
        known = [getattr(sys.modules.get(module), name, None) for module, name in modules if "random" in names]
        self._now: dict[int, tuple[Any, Any]] = {}
        for x in (*known, *others):
            x = x if _is_stream(x) else getattr(x, "__self__", None)
            with suppress(NotImplementedError):  # of the system, which have no state
                if x is not None and id(x) not in self._now and _is_stream(x):
                    self._now[id(x)] = x, _state(x)
        self._before = dict(self._now)

    @contextmanager
    def passing_over(self) -> Iterator[None]:
        """Look away while something runs that a program calls as well."""
        self.check()
        try:
            yield
        finally:
            self._now = {number: (x, _state(x)) for number, (x, _) in self._now.items()}

    def put_back(self) -> None:
        """Let them be as they were."""
        for x, state in self._before.values():
            x.setstate(state) if hasattr(x, "setstate") else x.set_state(state)

    def check(self) -> None:
        """Raise if one was drawn from.

        Raises
        ------
        UntraceableError
        """
        for x, state in self._now.values():
            if _is_other(state, _state(x)):
                raise UntraceableError(
                    f"it draws from a {type(x).__name__}, whose numbers would be the same in every call: pass a "
                    "np.random.Generator"
                )


def _is_stream(x: Any) -> bool:
    python, legacy = sys.modules.get("random"), sys.modules.get("numpy.random.mtrand")
    kinds = tuple(getattr(m, name) for m, name in ((python, "Random"), (legacy, "RandomState")) if m is not None)
    return isinstance(x, kinds) and not isinstance(x, type)


def _state(x: Any) -> Any:
    return x.getstate() if hasattr(x, "getstate") else x.get_state(legacy=False)


def _is_other(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() != b.keys() or any(_is_other(a[key], b[key]) for key in a)
    return not np.array_equal(a, b) if isinstance(a, np.ndarray) else bool(a != b)


@contextmanager
def reading_watched() -> Iterator[list[tuple[str, Line]]]:
    """What a function reads while this runs that a program would not read again, and the lines where.

    It comes in by a call of C code, which only a profiler's hook sees.
    """
    found: list[tuple[str, Line]] = []

    def hook(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and (told := _told(what)):
            inside: FrameType | None = frame
            while inside is not None and is_installed(inside.f_globals.get("__name__")):
                if inside.f_globals["__name__"] in ITS_OWN or (told == "the clock" and not _is_for_time(inside)):
                    return
                inside = inside.f_back
            if inside is not None and not inside.f_globals.get("__name__", "").startswith(__package__):
                found.append((told, (inside.f_code.co_filename, inside.f_lineno)))  # not kernels kept on disk

    if sys.getprofile() is not None:  # somebody is measuring, whom nothing can put back
        yield found
        return
    sys.setprofile(hook)
    try:
        yield found
    finally:
        sys.setprofile(None)


def _told(what: Any) -> str:
    """What a builtin function reads; nothing if its result depends on its arguments only."""
    name, owner = getattr(what, "__name__", ""), getattr(what, "__self__", None)
    if what in FILES or (name in READING and isinstance(owner, io.IOBase)):
        return "a file"
    if what in CLOCKS or (name in ("now", "today", "utcnow") and getattr(owner, "__module__", "") == "datetime"):
        return "the clock"
    if what is os.urandom or (name in ("random", "getrandbits") and _is_stream(owner)):
        return "random numbers that come from no np.random.Generator"
    return ""


def _is_for_time(frame: FrameType) -> bool:
    """Whether a library tells the time, rather than to look at it for a purpose of its own."""
    return frame.f_globals["__name__"] in ("datetime", "_pydatetime", "time", "uuid")
