"""Replaying a program before it is trusted: what arguments held before, and what was read."""

from __future__ import annotations

import io
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from ..tree import flatten
from .contents import content, put
from .outside import Place, is_installed
from .steps import Line

__all__ = ["Kept", "at", "reading_watched"]

ndarray = np.ndarray
READING = {"open", "input", "fromfile", "read", "readline", "readlines", "readinto"}


class Kept:
    """What arguments and places outside held before a call that changes them.

    Attributes
    ----------
    leaves : arrays and generators that are written to
    places : where something else may be put
    before : content of the leaves, and what lay in the places
    """

    def __init__(self, leaves: list[Any], places: Sequence[Place]) -> None:
        self.leaves, self.places = leaves, places
        self.before = self.now()

    @classmethod
    def of(
        cls, written: Callable[[Any, Any], list[Any]], args: Any, options: Any, places: Sequence[Place]
    ) -> Kept | None:
        """Keep what is written to in the arguments and outside, and the places; None if there are others."""
        try:
            leaves = written(args, options)
        except (AttributeError, LookupError, TypeError):
            return None
        if not all(isinstance(leaf, ndarray | np.random.Generator) for leaf in leaves):
            return None
        return cls(leaves, places)

    def now(self) -> tuple[list[Any], list[Any]]:
        """What they hold now."""
        return [content(leaf) for leaf in self.leaves], [place.read() for place in self.places]

    def put_back(self, contents: tuple[list[Any], list[Any]] | None = None) -> None:
        """Let them hold what they held before, or this."""
        of_leaves, of_places = self.before if contents is None else contents
        for leaf, before in zip(self.leaves, of_leaves, strict=True):
            put(leaf, before)
        for place, before in zip(self.places, of_places, strict=True):
            place.write(before)

    def turn_back(self, result: Any) -> tuple[Any, tuple[list[Any], list[Any]]]:
        """Put back what was there before; a copy of the result, which may show that memory, and what was in it."""
        leaves, rebuild, _ = flatten(result)
        copies = [leaf.copy() if isinstance(leaf, ndarray) else leaf for leaf in leaves]
        written = self.now()
        self.put_back()
        return rebuild(copies), written


@contextmanager
def reading_watched() -> Iterator[list[Line]]:
    """The lines that open or read files, or ask the user, while this runs: what comes in there may be different later.

    It comes in by a call of C code, which only a profiler's hook sees.
    """
    lines: list[Line] = []

    def hook(frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call" and what.__name__ in READING:
            stream = isinstance(getattr(what, "__self__", None), io.IOBase)
            inside: FrameType | None = frame
            while inside is not None and is_installed(inside.f_globals.get("__name__")):
                if inside.f_globals["__name__"] in ("linecache", "importlib._bootstrap_external"):
                    return  # of a traceback, of a module
                inside = inside.f_back
            if inside is not None and inside.f_globals["__name__"].startswith(__package__):
                return  # of kernels that are kept on disk
            if inside is not None and (stream or what in (open, input, np.fromfile)):
                lines.append((inside.f_code.co_filename, inside.f_lineno))

    if sys.getprofile() is not None:  # somebody is measuring, whom nothing can put back
        yield lines
        return
    sys.setprofile(hook)
    try:
        yield lines
    finally:
        sys.setprofile(None)


def at(line: Line) -> str:
    """A line of a program, for messages: where it is and what it says."""
    file, number = line
    text = linecache.getline(file, number).strip()
    return f'File "{file}", line {number}' + (f", `{text}`" if text else "")
