"""What a function gives, what it returns and what it puts outside, as results of a program."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import UntraceableError
from ..graph import FREED
from ..tensor import Tensor, handle
from .names import Names
from .outside import Place, holds_traced
from .program import is_fixed
from .trace import Trace
from .traced import FOLLOWED, value_of

__all__ = ["Container", "results", "written_out"]

ndarray = np.ndarray


class Container:
    """What a program makes anew in each call.

    Attributes
    ----------
    forms : how to write each leaf, from how to write the value in it
    rebuild : makes the container of its leaves
    """

    def __init__(self, forms: list[str], rebuild: Callable[[list[Any]], Any]) -> None:
        self.forms, self.rebuild = forms, rebuild

    def written(self, given: Names, texts: Iterator[str]) -> str:
        """How to write it, from how to write the values in its leaves, which are the next of these."""
        leaves = [form.format(next(texts)) for form in self.forms]
        made = _written(self.rebuild(leaves))
        return made or f"{given.given(self.rebuild, 'rebuild')}([{', '.join(leaves)}])"


def results(
    trace: Trace, leaves: list[Any], rebuild: Callable[[list[Any]], Any]
) -> tuple[list[Any], list[Any], Container]:
    """Of a container with these leaves: their values, what stands for them, and how to write the container."""
    found = [_result(trace, leaf) for leaf in leaves]
    values, outputs = [value for value, _, _ in found], [output for _, output, _ in found]
    return values, outputs, Container([form for _, _, form in found], rebuild)


def _result(trace: Trace, each: Any) -> tuple[Any, Any, str]:
    """Of a leaf: its value, what stands for it, and how to write it."""
    x, form = each, "{}"
    if isinstance(x, Tensor):
        if x.node is not None and x.node.rule is not FREED:
            raise UntraceableError(
                "the result is a Tensor with history, which a compiled program does not make; differentiate "
                "inside, jit(grad(f)), or call it inside of no_grad()"
            )
        x, form = x.data, "constant_tensor({})" if x.node is None else "freed_tensor({})"
    if isinstance(x, Iterator | Coroutine):
        if hasattr(x, "close"):
            x.close()
        raise UntraceableError(f"the result is a {type(x).__name__}, which does its work after the call")
    if isinstance(x, FOLLOWED):
        value, output = value_of(x), trace.var(x)
    elif isinstance(x, ndarray) and not is_fixed(x):  # made anew in each call
        value, output, form = x.copy("K"), x, form.format("{}.copy('K')")
    elif holds_traced(x):
        raise UntraceableError(
            f"the result has arrays in a {type(x).__name__}, which is no container that jit knows; return them "
            "in tuples, lists, dictionaries or dataclasses"
        )
    else:
        value = output = x
    return (handle(each.node, value) if isinstance(each, Tensor) else value), output, form


def written_out(
    returned: Container, puts: Sequence[tuple[Place, Container]], given: Names, texts: list[str]
) -> tuple[list[str], str]:
    """How to write what is put outside, and the result, from how to write the values in the leaves of these."""
    rest = iter(texts)
    result = returned.written(given, rest)
    return [place.written(given, container.written(given, rest)) for place, container in puts], result


def _written(tree: Any) -> str | None:
    """How to write a container of texts in Python; None if it is not built in."""
    if isinstance(tree, str):
        return tree
    if tree is None:
        return "None"
    if type(tree) not in (dict, list, tuple):
        return None
    parts = [_written(part) for part in (tree.values() if type(tree) is dict else tree)]
    if None in parts:
        return None
    if type(tree) is dict:
        if not all(isinstance(key, str | int) for key in tree):
            return None
        return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(tree, parts, strict=True)) + "}"
    inside = ", ".join(map(str, parts))
    return f"[{inside}]" if type(tree) is list else f"({inside}{',' if len(parts) == 1 else ''})"
