"""Arrays of objects: what `np.array([x, 2.0])` makes of a traced number, because it asks nobody how.

NumPy puts what it does not know into an array of objects.  The trace lets it, and stacks the objects where they are
met again, which is the array that the function wanted.  Where that would not be so (numbers of another dtype, loops
of NumPy's over objects, whose NaN is a number like others), the function is refused.
"""

from __future__ import annotations

import sys
from dis import opmap
from types import FrameType
from typing import Any

import numpy as np

from ..errors import UntraceableError, is_ours

__all__ = ["PLAIN_ARRAY", "ObjectArrays", "made_plain"]

PLAIN_ARRAY = (
    "the function turns an array that is being traced into a plain one (np.asarray, an assignment to an element of a "
    "plain array, a library that does not know NumPy's protocols). Write np.stack([a, b]) instead of np.array([a, b]), "
    "np.concatenate([a, b]) instead of np.r_[a, b], np.arange(int(n)) instead of np.arange(n), and fill "
    "np.zeros_like(x, shape=shape)"
)


def made_plain() -> UntraceableError:
    """What to raise where a plain array is made, above a method of what is traced: it says which function does so."""
    frame: FrameType | None = sys._getframe(2)
    by = ""
    while frame is not None and _is_library(module := frame.f_globals.get("__name__") or ""):
        if frame.f_code.co_name == "_traced":  # no line of the user's asked for it: a walk did
            break
        if module != "chainrule.arguments":
            by = f", in {frame.f_code.co_qualname} of {module.partition('.')[0]}"
        frame = frame.f_back
    what, _, rest = PLAIN_ARRAY.partition(" (")
    return UntraceableError(f"{what}{by} ({rest}")


def _is_library(module: str) -> bool:
    return is_ours(module) or module.partition(".")[0] == "scipy"


class ObjectArrays:
    """What a run has done with arrays of objects.

    Its methods are called by methods of what is traced, and these by the function, or by NumPy: whose frame is two
    above theirs.

    Attributes
    ----------
    allowed : whether np.array([x, 2.0]) may be one
    made : where NumPy last put a traced number into one: in which frame, by which instruction; None if it has not
    compared : where traced values were compared last, after that
    """

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed
        self.made: tuple[int, int] | None = None
        self.compared: tuple[int, int] | None = None

    def holding(self, x: Any) -> Any:
        """A number as `np.array([x, 2.0])` takes it.

        Of doubles only: numbers of several dtypes would be computed with one by one, instead of in the array's dtype.
        """
        self.made = _instruction()
        found = np.empty((), object)
        found[()] = x
        return found

    def number_asked(self) -> None:
        """Raise if NumPy asks for a number to put it into a plain array: it has asked for an array before."""
        if self.made and self.made == _instruction():
            raise UntraceableError(PLAIN_ARRAY)

    def compared_at(self) -> None:
        """Note where something is compared."""
        if self.made:
            self.compared = _instruction()

    def decided_at(self) -> None:
        """Raise if a loop of NumPy's over objects asks what it has just compared."""
        if self.made:
            if self.compared == _instruction() and not _compares(sys._getframe(2)):
                raise UntraceableError(PLAIN_ARRAY)
            self.compared = None

    def must_not_stay_in(self, changed: str) -> None:
        """Raise if arrays of objects may be left in what a run has changed."""
        if changed and self.made:
            raise UntraceableError(
                f"it changes {changed}, and np.array([a, b]) of what is traced is an array of objects"
            )


def _instruction() -> tuple[int, int]:
    """Which frame is at work, above a method of what is traced and one of `ObjectArrays`, and at which instruction."""
    frame = sys._getframe(3)
    return id(frame), frame.f_lasti


def _compares(frame: FrameType) -> bool:
    """Whether the instruction in this frame is a comparison, and no call."""
    return frame.f_code.co_code[frame.f_lasti] == opmap["COMPARE_OP"]
