"""Products of arrays: linear in each operand, so the derivative in one is the same product with the others."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..memory import matmul
from .registry import Rule, custom, implements, multilinear, rules


def adjoint(x: Any) -> Any:
    """Transpose the last two axes, and conjugate."""
    x = x.T if x.ndim == 2 else np.swapaxes(x, -1, -2)
    return np.conj(x) if x.dtype.kind == "c" else x


def conjugated(x: Any) -> Any:
    return np.conj(x) if x.dtype.kind == "c" else x


# -- matrix products ---------------------------------------------------------------------------------------------
def _matmul_pull_a(ct: Any, node: Any) -> Any:
    a, b = node.operands[0], node.operands[1].value
    if b.ndim == 2 and len(a.shape) > 1:
        return matmul(ct, adjoint(b))
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
    return matmul(adjoint(a), ct)


matmul_rule = multilinear(np.matmul, _matmul_pull_a, _matmul_pull_b)


def _axes_of(node: Any) -> tuple[list[int], list[int]]:
    """The axes of a and of b that are summed over, in order."""
    rest, options = node.params or ((), {})
    axes = rest[0] if rest else options.get("axes", 2)
    rank_a, rank_b = len(node.operands[0].shape), len(node.operands[1].shape)
    if isinstance(axes, int | np.integer):
        return list(range(rank_a - axes, rank_a)), list(range(axes))
    over_a, over_b = ([x] if isinstance(x, int | np.integer) else list(x) for x in axes)
    return [x % rank_a for x in over_a], [x % rank_b for x in over_b]


def _contraction_pulls(axes_of: Any) -> tuple[Any, Any]:
    """The two pulls of a product that sums axes of `a` against axes of `b` and keeps the others, those of a first."""

    def ordering(over: list[int], over_other: list[int], free: list[int]) -> list[int]:
        # The result has the free axes, then the summed ones in the order of the other operand's axis numbers.
        by_other = [axis for _, axis in sorted(zip(over_other, over, strict=True))]
        return [int(i) for i in np.argsort(free + by_other)]

    def pull_a(ct: Any, node: Any) -> Any:
        a, b = node.operands[0], node.operands[1].value
        over_a, over_b = axes_of(node)
        free_a = [i for i in range(len(a.shape)) if i not in over_a]
        free_b = [i for i in range(b.ndim) if i not in over_b]
        summed = np.tensordot(ct, conjugated(b), (list(range(len(free_a), len(free_a) + len(free_b))), free_b))
        return np.transpose(summed, ordering(over_a, over_b, free_a))

    def pull_b(ct: Any, node: Any) -> Any:
        a, b = node.operands[0].value, node.operands[1]
        over_a, over_b = axes_of(node)
        free_a = [i for i in range(a.ndim) if i not in over_a]
        free_b = [i for i in range(len(b.shape)) if i not in over_b]
        summed = np.tensordot(ct, conjugated(a), (list(range(len(free_a))), free_a))
        return np.transpose(summed, ordering(over_b, over_a, free_b))

    return pull_a, pull_b


def _last_axes(node: Any) -> tuple[list[int], list[int]]:
    rank_a, rank_b = len(node.operands[0].shape), len(node.operands[1].shape)
    return [rank_a - 1], [rank_b - 1]


def _dot_axes(node: Any) -> tuple[list[int], list[int]]:
    rank_a, rank_b = len(node.operands[0].shape), len(node.operands[1].shape)
    return [rank_a - 1], [max(rank_b - 2, 0)]


tensordot_rule = multilinear(np.tensordot, *_contraction_pulls(_axes_of))
dot_rule = multilinear(lambda a, b: np.dot(a, b), *_contraction_pulls(_dot_axes), name="dot")
inner_rule = multilinear(lambda a, b: np.inner(a, b), *_contraction_pulls(_last_axes), name="inner")
outer_rule = multilinear(
    lambda a, b: np.outer(a, b),
    lambda ct, node: np.reshape(np.matmul(ct, np.ravel(conjugated(node.operands[1].value))), node.operands[0].shape),
    lambda ct, node: np.reshape(np.matmul(np.ravel(conjugated(node.operands[0].value)), ct), node.operands[1].shape),
    name="outer",
)


def _scalar_or(rule: Rule) -> Any:
    def product(a: Any, b: Any, out: Any = None) -> Any:
        result = np.multiply(a, b) if np.ndim(a) == 0 or np.ndim(b) == 0 else rule(_array(a), _array(b))
        return result if out is None else np.positive(result, out=out)

    return product


def _array(x: Any) -> Any:
    return x if hasattr(x, "dtype") else np.asarray(x)


implements(np.dot)(_scalar_or(dot_rule))
implements(np.inner)(_scalar_or(inner_rule))


@implements(np.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    result = outer_rule(_array(a), _array(b))
    return result if out is None else np.positive(result, out=out)


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    return np.dot(np.ravel(np.conj(a)), np.ravel(b))


def _along(x: Any, axis: int) -> Any:
    return np.moveaxis(_array(x), axis, -1)


if hasattr(np, "vecdot"):

    @implements(np.vecdot)
    def vecdot(a: Any, b: Any, *, axis: int = -1) -> Any:
        a, b = _along(a, axis), _along(b, axis)
        rows = np.matmul(np.expand_dims(np.conj(a), -2), np.expand_dims(b, -1))
        return np.squeeze(rows, (-2, -1))


if hasattr(np, "matvec"):

    @implements(np.matvec)
    def matvec(a: Any, b: Any) -> Any:
        return np.squeeze(np.matmul(a, np.expand_dims(b, -1)), -1)

    @implements(np.vecmat)
    def vecmat(a: Any, b: Any) -> Any:
        return np.squeeze(np.matmul(np.expand_dims(np.conj(a), -2), b), -2)


# -- einsum --------------------------------------------------------------------------------------------------------
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explicit_subscripts(args: tuple[Any, ...]) -> tuple[list[str], str, list[Any]]:
    """Bring both forms of einsum's arguments to one: a letter for every axis, no ellipsis, an explicit output."""
    if isinstance(args[0], str):
        text, operands = args[0].replace(" ", ""), list(args[1:])
    else:  # interleaved: operand, axis numbers, operand, axis numbers, ..., [output axis numbers]
        pairs, operands = list(args), []
        texts = []
        while len(pairs) > 1:
            operands.append(pairs.pop(0))
            texts.append(_lettered(pairs.pop(0)))
        text = ",".join(texts) + ("->" + _lettered(pairs[0]) if pairs else "")
    operands = [_array(operand) for operand in operands]
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum {text!r} names {len(inputs)} operands, but {len(operands)} were given")
    free = [letter for letter in LETTERS if letter not in text]
    longest = 0
    for i, (subscripts, operand) in enumerate(zip(inputs, operands, strict=True)):
        if "..." in subscripts:
            rank = operand.ndim - (len(subscripts) - 3)
            longest = max(longest, rank)
            inputs[i] = subscripts.replace("...", "".join(free[len(free) - rank :]))
    dots = "".join(free[len(free) - longest :])
    if arrow:
        output = right.replace("...", dots)
    else:
        letters = left.replace("...", "").replace(",", "")
        output = dots + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return inputs, output, operands


def _lettered(axes: Any) -> str:
    return "".join("..." if axis is Ellipsis else LETTERS[axis] for axis in axes)


def _einsum(*operands: Any, inputs: tuple[str, ...], output: str, optimize: Any = False) -> Any:
    return np.einsum(f"{','.join(inputs)}->{output}", *operands, optimize=optimize)


def _einsum_pull(ct: Any, node: Any) -> list[Any]:
    return [
        None if operand.cotangent.__class__.__name__ == "_Closed" else _einsum_pull_one(ct, node, i)
        for i, operand in enumerate(node.operands)
    ]


def _einsum_pull_one(ct: Any, node: Any, position: int) -> Any:
    options = node.params[1]
    inputs, output = options["inputs"], options["output"]
    wanted = "".join(dict.fromkeys(inputs[position]))  # each letter once
    shape = node.operands[position].shape
    others = [i for i in range(len(inputs)) if i != position]
    reachable = set(output).union(*(inputs[i] for i in others))
    target = "".join(letter for letter in wanted if letter in reachable)
    subscripts = ",".join([output, *(inputs[i] for i in others)]) + "->" + target
    values = [conjugated(_array(node.operands[i].value)) for i in others]
    result = np.einsum(subscripts, ct, *values, optimize=options.get("optimize", False))
    # Letters that only this operand has were summed away: every element along them gets the same.
    sizes = {letter: n for letter, n in zip(inputs[position], shape, strict=True)}
    known = {letter: n for letter, n in zip(target, np.shape(result), strict=True)}
    result = np.reshape(result, tuple(known.get(letter, 1) for letter in wanted))
    result = np.broadcast_to(result, tuple(known.get(letter, sizes[letter]) for letter in wanted))
    if len(wanted) == len(shape):
        return result
    # A repeated letter read the diagonal.
    index = []
    for letter in inputs[position]:
        along = [1] * len(wanted)
        along[wanted.index(letter)] = sizes[letter]
        index.append(np.arange(sizes[letter]).reshape(along))
    return rules["place"](result, shape=shape, index=tuple(index))


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
def einsum(*args: Any, out: Any = None, optimize: Any = False, dtype: Any = None, order: str = "K", casting: str = "safe") -> Any:
    inputs, output, operands = explicit_subscripts(args)
    if dtype is not None:
        operands = [operand.astype(dtype) for operand in operands]
    result = einsum_rule(*operands, inputs=tuple(inputs), output=output, optimize=optimize)
    return result if out is None else np.positive(result, out=out)
