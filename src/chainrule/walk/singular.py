"""What happens where an exactly zero factor of the chain rule meets infinity or NaN (rule R4 of docs/numbers.md).

A walk multiplies plainly until it finds a NaN; only then does it come here and ask what to do about it, so the choice
costs nothing as long as all numbers are finite.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from ..errors import SingularError, SingularWarning
from ..graph import CLOSED, Node, contexts, made_at
from ..rules.linear import anywhere
from ..tensor import plain

__all__ = ["found_at", "report", "singular", "under", "zero_acts"]

MODES = ("zero", "nan", "warn", "raise")
UNCHANGED = nullcontext()


def under(mode: str | None) -> AbstractContextManager[None]:
    """The context in which a transform with the argument `singular=mode` works; None changes nothing."""
    return UNCHANGED if mode is None else singular(mode)


def singular(mode: str) -> AbstractContextManager[None]:
    """Choose what derivatives do where an exactly zero factor meets infinity or NaN.

    Parameters
    ----------
    mode : {"zero", "nan", "warn", "raise"}
        ``"zero"``, what happens without this: zero wins, so the unselected branch of `np.where` and the gradient of
        `sqrt(sum(x*x))` at 0 are 0.  ``"nan"``: plain arithmetic, in which such a product is NaN.  ``"warn"``: zero
        wins, with a `SingularWarning` that names the operations.  ``"raise"``: a `SingularError` that names the
        operation.

    Notes
    -----
    Holds for the derivatives taken inside, in this thread: by transforms and by ``backward()``, in reverse and in
    forward mode.  What counts is where the derivative is computed, not where the function was: a pullback uses the
    mode of its caller.  Reverse mode looks for operations only if a NaN would arrive in the result.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import grad
    >>> length = lambda x: np.sqrt(x * x)
    >>> float(grad(length)(0.0))
    0.0
    >>> with singular("nan"):
    ...     float(grad(length)(0.0))
    nan
    """
    if mode not in MODES:
        raise ValueError(f"singular={mode!r}: choose one of {', '.join(map(repr, MODES))}")
    return _in_mode(mode)


@contextmanager
def _in_mode(mode: str) -> Iterator[None]:
    before, contexts.singular = contexts.singular, mode
    try:
        yield
    finally:
        contexts.singular = before


def zero_acts(plainly: Any, carefully: Any) -> bool:
    """Whether a zero won somewhere: plain products are NaN where careful ones are not."""
    if plainly is None or carefully is None:
        return False
    return anywhere(np.isnan(plain(plainly)) & ~np.isnan(plain(carefully)))


def found_at(node: Node, ct: Any, pulls: Sequence[Callable[[Node, Any], None]]) -> bool:
    """Whether a zero wins in the products of this node: its plain and careful pull, each into slots of their own."""
    operands = []
    for pull in pulls:
        view = Node()
        view.rule, view.params, view.shape = node.rule, node.params, node.shape
        view.value, view.owned = getattr(node, "value", None), False
        view.operands = tuple(map(_with_empty_slot, node.operands))
        pull(view, ct)
        operands.append(view.operands)
    return any(
        zero_acts(one.cotangent, other.cotangent)
        for one, other in zip(*operands, strict=True)
        if one.cotangent is not CLOSED
    )


def _with_empty_slot(node: Node) -> Node:
    view = Node()
    view.index, view.shape, view.value = node.index, node.shape, getattr(node, "value", None)
    view.dtype = getattr(node, "dtype", None)  # a constant has none
    view.cotangent = CLOSED if node.cotangent is CLOSED else None
    return view


def report(nodes: Sequence[Node]) -> None:
    """Warn or raise, as the mode says, that a zero won at these nodes."""
    if not nodes:
        return
    places = list(
        dict.fromkeys(f"{node.rule.name}, whose result has shape {node.shape}{made_at(node)}" for node in nodes)
    )
    message = "a zero factor met infinity or NaN in the derivative of " + "; of ".join(places)
    if contexts.singular == "raise":
        raise SingularError(
            f"{message}. By default the product would be 0; choose the point, or what is differentiated, so that no "
            "slope is infinite, or use singular='zero'"
        )
    warnings.warn(f"{message}: the product was taken as 0", SingularWarning, stacklevel=2)
