"""Several arrays as the value of one node: what a function with several results records.

A node has one value.  Where a function gives several, of different shapes and dtypes, they are bundled; each is taken
out by an operation of its own (`take`), whose pull puts its cotangent back into its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Node
from .linear import anywhere, plain
from .registry import custom

__all__ = ["Bundle", "take", "unbundled"]

BUNDLED = np.dtype("O")


class Bundle:
    """Arrays side by side; as a cotangent or tangent, None in a place is zero.

    Attributes
    ----------
    parts : list of arrays, or of Tensors where derivatives are differentiated in turn
    kept : whatever the operation that made it wants to find again when it is differentiated
    """

    __slots__ = ("base", "kept", "parts", "shape")
    dtype = BUNDLED
    ndim = 1

    def __init__(self, parts: Sequence[Any], kept: Any = None) -> None:
        self.parts = list(parts)
        self.kept = kept
        self.shape = (len(self.parts),)
        self.base = None

    def __add__(self, other: Bundle) -> Bundle:
        return Bundle(
            [b if a is None else a if b is None else a + b for a, b in zip(self.parts, other.parts, strict=True)]
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Walks look for NaN in tangents; nothing else is asked of a bundle."""
        if ufunc is not np.isnan:
            return NotImplemented
        return np.array([part is not None and bool(anywhere(np.isnan(plain(part)))) for part in self.parts])


def unbundled(tangents: Sequence[Any]) -> tuple[list[Any], Callable[[Sequence[Any]], list[Any]]]:
    """The arrays among tangents, those in bundles too, and what puts others in their place; None is zero."""
    parts = [t.parts if isinstance(t, Bundle) else [t] for t in tangents]

    def rebuild(arrays: Sequence[Any]) -> list[Any]:
        given = iter(arrays)
        found = [[x if x is None else next(given) for x in several] for several in parts]
        return [Bundle(xs) if isinstance(t, Bundle) else xs[0] for t, xs in zip(tangents, found, strict=True)]

    return [x for several in parts for x in several if x is not None], rebuild


def _take(bundle: Bundle, position: int) -> Any:
    part = bundle.parts[position]
    return np.copy(part) if part.ndim else part  # its own memory: results may be written to


def _position(node: Node) -> int:
    assert node.params is not None
    position: int = node.params[1]["position"]
    return position


def _take_pull(ct: Any, node: Node) -> Any:
    parts: list[Any] = [None] * node.operands[0].shape[0]
    parts[_position(node)] = ct
    return Bundle(parts)


def _take_push(node: Node, tangents: Sequence[Any]) -> Any:
    return tangents[0].parts[_position(node)]


take = custom("take_part", _take, needs=("",), pulls=(_take_pull,), push=_take_push)
