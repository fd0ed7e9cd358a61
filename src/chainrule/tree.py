"""Containers of arrays: dict, list, tuple, named tuple, dataclass and None, to any depth.

Fields of a dataclass that hold text or a function belong to its form: they stay as they are.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from .errors import StructureError

__all__ = ["flatten", "map_tree"]


def flatten(tree: Any) -> tuple[list[Any], Callable[[list[Any]], Any], Any]:
    """List the leaves of a container, and say how to put others in their place.

    Returns
    -------
    leaves : list
    rebuild : callable
        Makes the same container from a list of as many leaves.
    structure : hashable
        Equal for containers of the same form.
    """
    if tree is None:
        return [], lambda leaves: None, None
    if isinstance(tree, np.ndarray | float):
        return [tree], _first, "leaf"
    make: Callable[[list[Any]], Any]
    kind: Any
    if isinstance(tree, dict):
        parts, kind = list(tree.values()), ("dict", tuple(tree))
        make = functools.partial(_dict, tree)
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        parts, kind = list(tree), type(tree)
        make = functools.partial(_named_tuple, type(tree))
    elif type(tree) in (list, tuple):
        parts, kind, make = list(tree), type(tree).__name__, type(tree)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        values = {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
        fixed = tuple((name, value) for name, value in values.items() if _is_fixed(value))
        fields = [name for name, value in values.items() if not _is_fixed(value)]
        parts, kind = [values[name] for name in fields], (type(tree), fixed) if fixed else type(tree)
        make = functools.partial(_dataclass, tree, fields)
    else:
        return [tree], _first, "leaf"
    flat = [flatten(part) for part in parts]
    sizes = [len(leaves) for leaves, _, _ in flat]

    def rebuild(leaves: list[Any]) -> Any:
        new, start = [], 0
        for (_, rebuild_part, _), size in zip(flat, sizes, strict=True):
            new.append(rebuild_part(leaves[start : start + size]))
            start += size
        return make(new)

    return [leaf for leaves, _, _ in flat for leaf in leaves], rebuild, (kind, tuple(part for _, _, part in flat))


def _first(leaves: list[Any]) -> Any:
    return leaves[0]


def _is_fixed(value: Any) -> bool:
    """Whether a field of a dataclass belongs to its form: a text, such as a name, or a function."""
    return isinstance(value, str | bytes | FunctionType | np.ufunc)


def _dict(like: dict[Any, Any], values: list[Any]) -> dict[Any, Any]:
    new = copy.copy(like)  # of the same class: an OrderedDict, a defaultdict
    new.update(zip(like, values, strict=True))
    return new


def _named_tuple(kind: Any, values: list[Any]) -> Any:
    return kind(*values)


def _dataclass(like: Any, fields: list[str], values: list[Any]) -> Any:
    new = copy.copy(like)  # not `replace`, which calls __init__: not every field is an argument of it
    for name, value in zip(fields, values, strict=True):
        object.__setattr__(new, name, value)  # also of a frozen one
    return new


def map_tree(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply `function` to each leaf (and to the leaves in the same place of other containers).

    Raises
    ------
    StructureError
        If the containers do not have the same structure.
    """
    leaves, rebuild, structure = flatten(tree)
    columns = [leaves]
    for other in others:
        more, _, other_structure = flatten(other)
        if other_structure != structure:
            raise StructureError(f"containers of different structure: {structure} and {other_structure}")
        columns.append(more)
    return rebuild([function(*row) for row in zip(*columns, strict=True)])
