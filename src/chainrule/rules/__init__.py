"""What each operation's derivative is.  Nothing here knows a walker, a mode or a Tensor."""

from . import (
    arrays,
    contractions,
    declared,
    decompositions,
    elementwise,
    fft,
    linalg,
    linear,
    polynomials,
    reductions,
    scimath,
    selection,
    signal,
    special,
    statistics,
)
from .registry import Rule, functions, reasons, rules, undispatched

__all__ = [
    "Rule",
    "arrays",
    "contractions",
    "declared",
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
    "scimath",
    "selection",
    "signal",
    "special",
    "statistics",
    "undispatched",
]
