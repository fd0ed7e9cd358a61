"""How much is worth it for one function, and what to say where it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .printed import Exit
from .replays import at
from .variants import Variant

__all__ = ["CHANGES", "DEPTH", "VARIANTS", "too_many"]

VARIANTS = 8  # for one function, or for one decision
STEPS = 100_000  # of all variants of a function
DEPTH = 64  # branches that lead to a branch: each is a call inside of a call
CHANGES = 3  # calls in a row in which a function changes what comes from outside: more than filling a cache


def too_many(missed: Exit | None, programs: Sequence[Variant], turns: Mapping[Any, int]) -> str:
    """Why one more variant is not worth it; "" if it is.

    A loop whose length depends on values decides at each turn, and is left once at most in each; so what is counted are
    the branches at one line after so many decisions there.

    Parameters
    ----------
    missed : where the new one would begin; None if nothing fits the arguments
    programs : the first variants
    turns : how many branches begin at a line after so many decisions
    """
    if missed is None or missed.guard.kind == "shape":
        what = f"{VARIANTS} variants are not enough" if len(programs) >= VARIANTS else ""
    elif turns[missed.guard.line, missed.guard.turn] >= VARIANTS:
        what = f"{VARIANTS} variants are not enough"
    else:
        many = sum(len(variant.steps) for first in programs for variant in first.tree) > STEPS
        what = f"variants with more than {STEPS} steps together are not worth it" if many else ""
    return what and what + _for_what(missed)


def _for_what(missed: Exit | None) -> str:
    """What the variants differ in, and what to write instead."""
    if missed is None:
        return (
            " for the arguments it is called with and for what it reads outside: each shape and dtype, each form of "
            "containers, each of Python's numbers and texts, and each function or object that lies in one place is "
            "one. It runs without jit from now on; numbers that change from call to call are inputs if they are "
            "NumPy's: np.float64(0.1), not 0.1"
        )
    guard = missed.guard
    instead = {
        "text": "return the value, and make a text of it outside",
        "float": "write NumPy's functions, np.sin(x) and not math.sin(x), or take that part out",
        "bool": "write np.where(condition, a, b) or cr.while_loop, or take that part out",
    }.get(guard.kind, "take that part out")
    return (
        f" for the ways it takes by `{guard.kind}` of a value, {at(guard.line)}. "
        f"It runs without jit from now on, where it goes another way; {instead}"
    )
