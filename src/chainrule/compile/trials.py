"""Whether a program can be trusted: what it gives is compared with what the function gives, and its kernels with it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from ..errors import UntraceableError
from .hidden import reading_watched
from .printed import Printed
from .replays import Kept, at
from .rounding import agree
from .runs import Run, looked_at, traced_run, uncollected
from .trace import Trace
from .variants import Variant, difference

__all__ = ["Trial", "must_agree"]


def must_agree(traced: Any, value: Any, exact: bool) -> None:
    """Raise if a function gives something else while it is traced."""
    if not agree(traced, value, exact):
        raise UntraceableError("what it does depends on the `type()` of an array, or on its dtype")


class Trial:
    """A call of a program that is still on trial.

    Attributes
    ----------
    f, args, options : the function, and what it is called with
    variant, result : whose program it was, and what it gave
    kept : what was there before the call, where something is written
    """

    def __init__(
        self, f: Callable[..., Any], variant: Variant, args: Any, options: Any, kept: Kept | None, result: Any
    ) -> None:
        self.f, self.variant, self.args, self.options, self.kept = f, variant, args, options, kept
        self.result = result

    def without(self) -> Any:
        """What the function itself gives, after its program."""
        if self.kept is not None:
            self.kept.put_back()
        return self.f(*self.args, **self.options)

    def turned_back(self, result: Any) -> tuple[Any, Any]:
        """A result, and what was written; what was there before is there again."""
        return (result, None) if self.kept is None else self.kept.turn_back(result)

    def otherwise(self) -> Callable[[], Any]:
        """What the program might give, and write, as well, if its steps were rounded otherwise."""
        printed = functools.cache(self.variant.otherwise)

        def again() -> Any:
            if self.kept is not None:
                self.kept.put_back()
            with suppress(Exception):
                found = printed().function(*self.args, **self.options)
                return found and (found[0], self.kept and self.kept.now())

        return again

    # -- against the function ------------------------------------------------------------------------------------------
    def traced(self) -> tuple[Trace, Run]:
        """A second run of the function, written down; if that fails, everything is as it was before the call."""
        self.result, self.written = self.turned_back(self.result)
        variant = self.variant
        again = Trace(variant.exact, variant.rolls, variant.rooms, variant.careful)
        changing = {place.where for place in variant.chain()[0].places}
        with uncollected(), np.errstate(all="ignore"):
            outside = looked_at(self.f, self.args, self.options, changing)
            return again, traced_run(self.f, again, outside, self.args, self.options)

    def compared(self, again: Trace, run: Run) -> tuple[Any, str, bool]:
        """Compare the program with that run, and its result with that of one more.

        Returns
        -------
        What the function gives; why the program cannot be trusted, or ""; and whether one without loops might be.
        """
        variant = self.variant
        if changed := run.told():
            return run.value, f"it changes {changed}, which comes from outside", False
        where = None
        if again.rooms == variant.rooms:
            known = dict(zip(run.arguments(), variant.chain()[0].arguments, strict=True))
            captured = {var: array for array, var, _ in again.captured.values()}
            where = difference(variant.path(), variant.captured, again.steps, captured, known)
        value = run.value
        if where is None:  # otherwise what it did has been done
            with reading_watched() as hidden:
                value = self.without()
            if hidden:
                told, line = hidden[0]
                return value, f"it reads {told}, {at(line)}, which a program would not read again", False
            before, after = self.turned_back(value)
            if not agree((self.result, self.written), (before, after), variant.exact, self.otherwise()):
                where = "the program that was made of it gives, or writes, something else"
            if self.kept is not None:
                self.kept.put_back(after)
        if where is None:
            return value, "", False
        return value, f"two runs of it differ: {where}", variant.exact and variant.has_loops()

    # -- against kernels -----------------------------------------------------------------------------------------------
    def replaced(self, one: Variant, printed: Printed) -> bool | None:
        """Whether the same comes of another program for one of the variants that lead here; None if it has no place."""
        first, (before, written) = self.variant.chain()[0], self.turned_back(self.result)
        found = one.tried(printed, lambda: first.chosen().function(*self.args, **self.options))
        same = None
        if found.__class__ is tuple:
            other = self.turned_back(found[0])
            same = agree(other, (before, written), self.variant.exact, self.otherwise())
        if self.kept is not None:
            self.kept.put_back(written)
        return same
