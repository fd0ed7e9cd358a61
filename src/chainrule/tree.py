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

__all__ = ["fields_of", "flatten", "map_tree"]

LEAVES = {np.ndarray, np.float64, float}  # the most frequent classes of leaves; Tensor registers itself here


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
    if tree.__class__ in LEAVES:
        return [tree], _first, "leaf"
    if tree is None:
        return [], lambda leaves: None, None
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
    elif hasattr(type(tree), "__dataclass_fields__"):
        varying, fixed = fields_of(tree)
        parts, kind = list(varying.values()), (type(tree), tuple(fixed.items())) if fixed else type(tree)
        make = functools.partial(_dataclass, tree, list(varying))
    else:
        return [tree], _first, "leaf"
    flat = [flatten(part) for part in parts]
    structures = tuple([structure for _, _, structure in flat])
    if structures.count("leaf") == len(parts):  # the usual case: a quarter of the time of a `while_loop` of numbers
        return parts, make, (kind, structures)
    sizes = [len(leaves) for leaves, _, _ in flat]

    def rebuild(leaves: list[Any]) -> Any:
        new, start = [], 0
        for (_, rebuild_part, _), size in zip(flat, sizes, strict=True):
            new.append(rebuild_part(leaves[start : start + size]))
            start += size
        return make(new)

    return [leaf for leaves, _, _ in flat for leaf in leaves], rebuild, (kind, structures)


def _first(leaves: list[Any]) -> Any:
    return leaves[0]


def fields_of(x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a dataclass: its parts, and those that belong to its form: text, such as a name, or functions."""
    values = {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
    fixed = {name: x for name, x in values.items() if isinstance(x, str | bytes | FunctionType | np.ufunc)}
    return {name: x for name, x in values.items() if name not in fixed}, fixed


def _dict(like: dict[Any, Any], values: list[Any]) -> dict[Any, Any]:
    new = copy.copy(like)  # of the same class: an OrderedDict, a defaultdict
    for key, value in zip(like, values, strict=True):  # a Counter's update adds
        new[key] = value
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
