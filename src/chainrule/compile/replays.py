"""Replaying a program before it is trusted: what arguments and places held before."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tree import flatten
from .contents import content, put
from .outside import Place
from .steps import Line

__all__ = ["Kept", "at"]

ndarray = np.ndarray


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


def at(line: Line) -> str:
    """A line of a program, for messages: where it is and what it says."""
    file, number = line
    text = linecache.getline(file, number).strip()
    return f'File "{file}", line {number}' + (f", `{text}`" if text else "")
