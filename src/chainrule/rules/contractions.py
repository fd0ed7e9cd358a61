"""Products of arrays: linear in each operand, so the derivative in one is the same product with the others."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..graph import CLOSED
from ..memory import product
from .linear import as_array, conjugated, stored
from .registry import custom, implements, multilinear, rules


def adjoint(x: Any) -> Any:
    """Transpose the last two axes, and conjugate."""
    x = x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)
    return np.conj(x) if x.dtype.kind == "c" else x


# -- matrix products ---------------------------------------------------------------------------------------------
def _matmul_pull_a(ct: Any, node: Any) -> Any:
    a, b = node.operands[0], node.operands[1].value
    if b.ndim == 2 and len(a.shape) > 1:
        return product(ct, adjoint(b), _is_turned(a))
    if b.ndim == 1:
        return np.expand_dims(ct, -1) * conjugated(b)
    if len(a.shape) == 1:
        return np.squeeze(np.matmul(conjugated(b), np.expand_dims(ct, -1)), -1)
    return np.matmul(ct, adjoint(b))


def _matmul_pull_b(ct: Any, node: Any) -> Any:
    a, b = node.operands[0].value, node.operands[1]
    if a.ndim == 1:
        if len(b.shape) == 1:
            return ct * conjugated(a)
        return np.expand_dims(conjugated(a), -1) * np.expand_dims(ct, -2)
    if len(b.shape) == 1:
        return np.squeeze(np.matmul(adjoint(a), np.expand_dims(ct, -1)), -1)
    if len(b.shape) == 2 and a.ndim > 2:  # one product of tall matrices instead of many that are added up
        rows = prod(a.shape[:-1])
        a, ct = np.reshape(a, (rows, a.shape[-1])), np.reshape(ct, (rows, ct.shape[-1]))
    return product(adjoint(a), ct, _is_turned(b))


def _is_turned(operand: Any) -> bool:
    """Whether an operand shows another array with its axes turned, as the weights in `x @ w.T`."""
    return operand.rule is not None and operand.rule.turns


multilinear(np.matmul, _matmul_pull_a, _matmul_pull_b)


def _contraction_pulls(axes_of: Any) -> tuple[Any, Any]:
    """The two pulls of a product that sums axes of `a` against axes of `b` and keeps the others, those of a first."""

    def back(ct: Any, operand: Any, other: Any, axes: tuple[list[Any], list[Any]], first: bool) -> Any:
        over, over_other = axes
        free = [i for i in range(len(operand.shape)) if i not in over]
        free_other = [i for i in range(len(other.shape)) if i not in over_other]
        of_other = range(len(free), ct.ndim) if first else range(len(free_other))  # where the result has them
        product = np.tensordot(ct, conjugated(other), (list(of_other), free_other))
        # It has the free axes, then the summed ones in the order of the other operand's axis numbers.
        order = free + [axis for _, axis in sorted(zip(over_other, over, strict=True))]
        return np.transpose(product, [order.index(i) for i in range(len(order))])

    def pull_a(ct: Any, node: Any) -> Any:
        a, b = node.operands
        return back(ct, a, b.value, axes_of(node), first=True) if a.shape and b.shape else ct * conjugated(b.value)

    def pull_b(ct: Any, node: Any) -> Any:
        a, b = node.operands
        if not a.shape or not b.shape:
            return ct * conjugated(a.value)
        over_a, over_b = axes_of(node)
        return back(ct, b, a.value, (over_b, over_a), first=False)

    return pull_a, pull_b


def _tensordot_axes(node: Any) -> tuple[list[Any], list[Any]]:
    """The axes of a and of b that are summed over, in order."""
    rest, options = node.params
    axes = rest[0] if rest else options.get("axes", 2)
    rank_a, rank_b = (len(operand.shape) for operand in node.operands)
    if isinstance(axes, int | np.integer):
        return list(range(rank_a - axes, rank_a)), list(range(axes))
    over_a, over_b = ([x] if isinstance(x, int | np.integer) else list(x) for x in axes)
    return [x % rank_a for x in over_a], [x % rank_b for x in over_b]


def _dot_axes(node: Any) -> tuple[list[Any], list[Any]]:
    rank_a, rank_b = (len(operand.shape) for operand in node.operands)
    return [rank_a - 1], [max(rank_b - 2, 0)]


def _inner_axes(node: Any) -> tuple[list[Any], list[Any]]:
    rank_a, rank_b = (len(operand.shape) for operand in node.operands)
    return [rank_a - 1], [rank_b - 1]


def _flat(x: Any) -> Any:
    return np.ravel(conjugated(x))


tensordot_rule = multilinear(
    lambda a, b, axes=2: np.tensordot(a, b, axes), *_contraction_pulls(_tensordot_axes), name="tensordot"
)
dot_rule = multilinear(np.dot, *_contraction_pulls(_dot_axes), name="dot")
inner_rule = multilinear(np.inner, *_contraction_pulls(_inner_axes), name="inner")
outer_rule = multilinear(
    np.outer,
    lambda ct, node: np.reshape(np.matmul(ct, _flat(node.operands[1].value)), node.operands[0].shape),
    lambda ct, node: np.reshape(np.matmul(_flat(node.operands[0].value), ct), node.operands[1].shape),
    name="outer",
)
# Products with the conjugate of `a` are real-linear in it: its cotangent is that of the conjugate, conjugated.
vdot_rule = multilinear(
    np.vdot,
    lambda ct, node: conjugated(ct) * np.reshape(node.operands[1].value, node.operands[0].shape),
    lambda ct, node: ct * np.reshape(node.operands[0].value, node.operands[1].shape),
    name="vdot",
)


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    return tensordot_rule(as_array(a), as_array(b), axes=axes)


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    return stored(dot_rule(as_array(a), as_array(b)), out)


@implements(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    return inner_rule(as_array(a), as_array(b))


@implements(np.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    return stored(outer_rule(as_array(a), as_array(b)), out)


@implements(np.vdot)
def vdot(a: Any, b: Any, /) -> Any:
    return vdot_rule(as_array(a), as_array(b))


# -- products of stacks of vectors and matrices ------------------------------------------------------------------
def _column(x: Any) -> Any:
    return np.expand_dims(x, -1)


def _row(x: Any) -> Any:
    return np.expand_dims(x, -2)


def _from_column(x: Any) -> Any:
    return np.squeeze(x, -1)


if hasattr(np, "vecdot"):
    vecdot_rule = multilinear(
        np.vecdot,
        lambda ct, node: _column(conjugated(ct)) * node.operands[1].value,
        lambda ct, node: _column(ct) * node.operands[0].value,
        name="vecdot",
    )

    @implements(np.vecdot)
    def vecdot(a: Any, b: Any, *, axis: int = -1) -> Any:
        a, b = as_array(a), as_array(b)
        return vecdot_rule(a, b) if axis == -1 else vecdot_rule(np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1))


if hasattr(np, "matvec"):
    multilinear(
        np.matvec,
        lambda ct, node: _column(ct) * _row(conjugated(node.operands[1].value)),
        lambda ct, node: _from_column(np.matmul(adjoint(node.operands[0].value), _column(ct))),
    )
    multilinear(
        np.vecmat,
        lambda ct, node: _from_column(np.matmul(node.operands[1].value, _column(conjugated(ct)))),
        lambda ct, node: _column(node.operands[0].value) * _row(ct),
    )


# -- einsum --------------------------------------------------------------------------------------------------------
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explicit_subscripts(args: tuple[Any, ...]) -> tuple[list[str], str, list[Any]]:
    """Bring both forms of einsum's arguments to one: a letter for every axis, no ellipsis, an explicit output."""
    if isinstance(args[0], str):
        text, operands = args[0].replace(" ", ""), list(args[1:])
    else:  # interleaved: operand, axis numbers, operand, axis numbers, ..., [output axis numbers]
        pairs = len(args) // 2
        operands = list(args[: 2 * pairs : 2])
        text = ",".join(_lettered(axes) for axes in args[1 : 2 * pairs : 2])
        text += "->" + _lettered(args[-1]) if len(args) % 2 else ""
    operands = [as_array(operand) for operand in operands]
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum {text!r} names {len(inputs)} operands, but {len(operands)} were given")
    unused = "".join(letter for letter in LETTERS if letter not in text)
    dots = ""  # the letters that stand for the longest ellipsis; a shorter one has the last of them
    for i, (subscripts, operand) in enumerate(zip(inputs, operands, strict=True)):
        if "..." in subscripts:
            rank = operand.ndim - (len(subscripts) - 3)
            dots = max(dots, unused[len(unused) - rank :], key=len)
            inputs[i] = subscripts.replace("...", unused[len(unused) - rank :])
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        output = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return inputs, output.replace("...", dots), operands


def _lettered(axes: Any) -> str:
    return "".join("..." if axis is Ellipsis else LETTERS[axis] for axis in axes)


def _einsum(*operands: Any, inputs: tuple[str, ...], output: str, optimize: Any = False, **options: Any) -> Any:
    return np.einsum(f"{','.join(inputs)}->{output}", *operands, optimize=optimize, **options)


def _einsum_pull(ct: Any, node: Any) -> list[Any]:
    return [
        None if operand.cotangent is CLOSED else _einsum_pull_one(ct, node, i)
        for i, operand in enumerate(node.operands)
    ]


def _einsum_pull_one(ct: Any, node: Any, position: int) -> Any:
    inputs, output = node.params[1]["inputs"], node.params[1]["output"]
    own, shape = inputs[position], node.operands[position].shape
    others = [i for i in range(len(inputs)) if i != position]
    wanted = "".join(dict.fromkeys(own))  # each letter once
    elsewhere = set(output).union(*(inputs[i] for i in others))
    target = "".join(letter for letter in wanted if letter in elsewhere)
    values = [conjugated(node.operands[i].value) for i in others]
    result = np.einsum(
        ",".join([output, *(inputs[i] for i in others)]) + "->" + target,
        ct,
        *values,
        optimize=node.params[1].get("optimize", False),
    )
    # Letters that only this operand has were summed away: every element along them gets the same.
    sizes = dict(zip(own, shape, strict=True)) | dict(zip(target, np.shape(result), strict=True))
    result = np.reshape(result, tuple(sizes[letter] if letter in target else 1 for letter in wanted))
    result = np.broadcast_to(result, tuple(sizes[letter] for letter in wanted))
    if len(wanted) == len(own):
        return result
    # A repeated letter read the diagonal.
    lengths = dict(zip(own, shape, strict=True))
    stretched = tuple(i for i, letter in enumerate(wanted) if lengths[letter] != sizes[letter])
    result = np.sum(result, stretched, keepdims=True) if stretched else result
    index = np.ix_(*(np.arange(lengths[letter]) for letter in wanted))
    return rules["place"](result, shape=shape, index=tuple(index[wanted.index(letter)] for letter in own))


def _einsum_push(node: Any, tangents: Any) -> Any:
    options = node.params[1]
    values = [operand.value for operand in node.operands]
    total = None
    for i, t in enumerate(tangents):
        if t is not None:
            term = einsum_rule(*values[:i], t, *values[i + 1 :], **options)
            total = term if total is None else total + term
    return total


einsum_rule = custom("einsum", _einsum, needs=("abc",), pull_all=_einsum_pull, push=_einsum_push)


@implements(np.einsum)
def einsum(*args: Any, out: Any = None, optimize: Any = False, **options: Any) -> Any:
    inputs, output, operands = explicit_subscripts(args)
    return stored(einsum_rule(*operands, inputs=tuple(inputs), output=output, optimize=optimize, **options), out)
