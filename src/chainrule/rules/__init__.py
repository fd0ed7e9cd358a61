"""What each operation's derivative is.  Nothing here knows a walker, a mode or a Tensor."""

from . import (
    arrays,
    contractions,
    decompositions,
    elementwise,
    fft,
    linalg,
    linear,
    polynomials,
    reductions,
    selection,
    signal,
    special,
    statistics,
)
from .registry import Rule, functions, reasons, rules

__all__ = [
    "Rule",
    "arrays",
    "contractions",
    "decompositions",
    "elementwise",
    "fft",
    "functions",
    "linalg",
    "linear",
    "polynomials",
    "reasons",
    "reductions",
    "rules",
    "selection",
    "signal",
    "special",
    "statistics",
]
