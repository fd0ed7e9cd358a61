"""What must hold of every call: Hypothesis draws the function's arguments, shapes, layouts, dtypes and values.

Nothing here knows a derivative.  Values are NumPy's bits, or NumPy's exception; gradients and tangents have the right
shape and dtype; arguments are left alone; pull is the adjoint of push, in the first and in the second derivative; and
along a random direction both are what central differences give.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import as_strided
from oracle import difference, dot, parts, same, seeded, spaced
from test_rules import PUBLIC, function

import chainrule as cr
from chainrule.rules import rules

FLOATS = ["f2", "f4", "f8", "g"]
DTYPES = [*FLOATS, "F", "D"]
EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, np.inf, -np.inf, np.nan, 1e-310, 1e300, -1e300]


def examples(number: int) -> Any:
    """The same examples in every run, as many as say something."""
    return settings(max_examples=number, derandomize=True, deadline=None, database=None)


@dataclass
class Call:
    """A function of arrays and what to call it with; its name shows in Hypothesis' reports."""

    name: str
    function: Callable[..., Any]
    args: list[Any]

    def __repr__(self) -> str:
        args = ", ".join(f"{a.dtype}{a.shape}/{getattr(a, 'strides', ())} {a!r}" for a in self.args)
        return f"{self.name} of {args}"


# -- the properties ------------------------------------------------------------------------------------------------
def check_call(call: Call, smooth: bool = True) -> None:
    """Everything that is said above; differences only where the point is `smooth` and the precision double."""
    f, args = call.function, call.args
    before = [np.array(arg) for arg in args]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            expected = [np.asarray(part)[()] for part in parts(f(*args))]
        except (ValueError, TypeError, IndexError) as error:
            with pytest.raises((type(error), ValueError)):
                f(*(cr.Tensor(arg) for arg in args))
            return
        values, pullback = cr.vjp(lambda *xs: parts(f(*xs)), *args)
        for value, desired in zip(values, expected, strict=True):
            same(value, desired)
        cts = [of_size(desired, "ct", i) for i, desired in enumerate(expected)]
        given = [np.array(ct) for ct in cts]
        gradients = pullback(cts)
        directions = [of_size(arg, "direction", i) for i, arg in enumerate(args)]
        pushed, tangents = cr.jvp(lambda *xs: parts(f(*xs)), tuple(args), tuple(directions))
        for value, tangent, desired in zip(pushed, tangents, expected, strict=True):
            same(value, desired)
            assert (tangent.shape, tangent.dtype) == (desired.shape, desired.dtype)
        for gradient, arg in zip(gradients, args, strict=True):
            assert (gradient.shape, gradient.dtype) == (arg.shape, arg.dtype)
        for now, old in zip([*args, *cts], [*before, *given], strict=True):
            assert np.array_equal(now, old, equal_nan=True), "an argument or a cotangent was written to"
        if smooth and all(np.all(np.isfinite(desired)) for desired in expected):
            check_adjoint(cts, tangents, gradients, directions)
            check_slope(f, args, directions, cts, gradients)
        check_zero(pullback, cts, f, args)


def check_adjoint(cts: list[Any], tangents: list[Any], gradients: list[Any], directions: list[Any]) -> None:
    precision = max([2.3e-16, *(float(np.finfo(x.dtype).eps) for x in [*cts, *directions])])
    scale = 1.0 + sum(
        float(np.sum(np.abs(a)) * np.max(np.abs(b), initial=0)) for a, b in zip(cts, tangents, strict=True)
    )
    scale += sum(
        float(np.sum(np.abs(a)) * np.max(np.abs(b), initial=0)) for a, b in zip(gradients, directions, strict=True)
    )
    assert abs(dot(cts, tangents) - dot(gradients, directions)) <= 50 * precision * scale


def check_slope(f: Any, args: list[Any], directions: list[Any], cts: list[Any], gradients: list[Any]) -> None:
    if any(x.dtype.char not in "dD" for x in [*args, *cts]):
        return

    def weighted(*xs: Any) -> float:
        return dot(cts, parts(f(*xs)))

    for i, (direction, gradient) in enumerate(zip(directions, gradients, strict=True)):
        slope = difference(weighted, args, i, direction, 1e-4)
        scale = max(1.0, abs(weighted(*args)), float(np.sum(np.abs(gradient * direction))))
        assert abs(dot(gradient, direction) - slope) <= 1e-6 * scale

    def along(*xs: Any) -> Any:
        return dot_of(list(cr.vjp(lambda *ys: parts(f(*ys)), *xs)[1](cts)), directions)

    def over(*xs: Any) -> Any:
        return dot_of(cts, parts(cr.jvp(lambda *ys: parts(f(*ys)), tuple(xs), tuple(directions))[1]))

    first, second = cr.vjp(along, *args)[1](1.0), cr.vjp(over, *args)[1](1.0)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * max(1.0, float(np.max(np.abs(b), initial=0))))
    third = cr.jvp(along, tuple(args), tuple(directions))[1]
    np.testing.assert_allclose(third, dot(first, directions), rtol=1e-8, atol=1e-7 * (1 + abs(float(third))))


def dot_of(xs: list[Any], ys: list[Any]) -> Any:
    """Re<x, y> of lists of arrays or Tensors."""
    return sum((np.sum(np.real(np.conj(x) * y)) for x, y in zip(xs, ys, strict=True)), 0.0)


def check_zero(pullback: Any, cts: list[Any], f: Any, args: list[Any]) -> None:
    """By rule R4, what does not count has no influence: not even where a slope is infinite."""
    for gradient in pullback([np.zeros_like(ct) for ct in cts]):
        assert not np.any(gradient), f"{gradient} from cotangents that are zero"
    for tangent in cr.jvp(lambda *xs: parts(f(*xs)), tuple(args), tuple(np.zeros_like(arg) for arg in args))[1]:
        assert not np.any(tangent), f"{tangent} from tangents that are zero"


def of_size(like: Any, *seed: object) -> Any:
    return spaced(np.shape(like), seed, dtype=like.dtype)[()]


# -- arrays ------------------------------------------------------------------------------------------------------
def laid_out(draw: Any, x: np.ndarray) -> Any:
    """The same array, somewhere else in memory."""
    how = draw(st.sampled_from(["C", "F", "negative", "gaps", "swapped", "offset"]))
    if not x.ndim:
        return x[()]  # a Tensor holds a scalar; for a few functions 0-d arrays are something else
    if how == "F":
        return np.asfortranarray(x)
    if how == "negative":
        return np.ascontiguousarray(x[::-1])[::-1]
    if how == "gaps":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1] + 1), 7, x.dtype)
        wide[..., 1::2] = x
        return wide[..., 1::2]
    if how == "swapped":
        return np.ascontiguousarray(np.swapaxes(x, 0, -1)).swapaxes(0, -1)
    return np.concatenate([x.ravel()[:1], x.ravel()])[min(1, x.size) :].reshape(x.shape) if how == "offset" else x


def overlapping(draw: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Elements that share memory: a broadcast array, or a sliding window."""
    if draw(st.booleans()) or len(shape) < 2:
        narrow = tuple(1 if draw(st.booleans()) else n for n in shape)
        return np.broadcast_to(spaced(narrow, "narrow", dtype=dtype), shape)[()]
    line = spaced((sum(shape) + 1,), "window", dtype=dtype)
    return as_strided(line, shape, (line.itemsize,) * len(shape), writeable=False)


@st.composite
def arrays(
    draw: Any, shape: Any = None, dtypes: Any = ("f8", "f8", "f8", "f4", "f2", "g", "D", "F"), share: bool = True
) -> Any:
    """An array of spaced values: no ties, unless it overlaps itself (`share`)."""
    shape = draw(SHAPES) if shape is None else shape
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    if share and draw(st.integers(0, 5)) == 0:
        return overlapping(draw, shape, dtype)
    return laid_out(draw, np.asarray(spaced(shape, draw(st.integers(0, 99)), dtype=dtype)))


SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
REAL = ("f8", "f8", "f4", "f2", "g")


def axes_of(draw: Any, rank: int, several: bool = True) -> Any:
    """None, an axis or (`several`) a tuple of them; sometimes one that does not exist."""
    one = st.integers(-rank, rank - 1) if rank else st.just(0)
    if draw(st.integers(0, 30)) == 0:
        return rank
    choices = [st.none(), one, one]
    if several and rank:
        choices.append(
            st.lists(st.integers(0, rank - 1), unique=True).flatmap(
                lambda xs: st.tuples(*(st.sampled_from([x, x - rank]) for x in xs))
            )
        )
    return draw(st.one_of(choices))


# -- elementwise -------------------------------------------------------------------------------------------------
@st.composite
def rows_at_smooth_points(draw: Any) -> Call:
    rule = draw(st.sampled_from(PUBLIC))
    arity = len(rule.partials)
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=arity, min_side=0, max_side=3, max_dims=3)).input_shapes
    dtype = draw(st.sampled_from(["f8", "f8", "f4", "f2", "g"]))
    args = []
    for (low, high), shape in zip(rule.domain, shapes, strict=True):
        margin = 0.02 * (high - low)
        x = seeded(rule.name, shape, len(args)).uniform(low + margin, high - margin, shape)
        args.append(laid_out(draw, np.asarray(x, dtype)))
    return Call(rule.name, function(rule), args)


@examples(400)
@given(rows_at_smooth_points())
def test_elementwise(call: Call) -> None:
    check_call(call)


@st.composite
def rows_at_edges(draw: Any) -> Call:
    rule = draw(st.sampled_from(PUBLIC))
    shape = draw(st.sampled_from([(), (1,), (3,)]))
    dtype = draw(st.sampled_from(FLOATS))
    values = hnp.arrays(float, shape, elements=st.sampled_from(EDGES))
    with np.errstate(all="ignore"):
        args = [np.asarray(draw(values)).astype(dtype)[()] for _ in rule.partials]
    return Call(rule.name, function(rule), args)


@examples(600)
@given(rows_at_edges())
def test_elementwise_at_the_edges(call: Call) -> None:
    check_call(call, smooth=False)


# -- reductions ----------------------------------------------------------------------------------------------------
SUMS = [np.sum, np.mean, np.prod, np.nansum, np.nanmean, np.nanprod]
MOMENTS = [np.var, np.std, np.nanvar, np.nanstd]
LOGARITHMIC = [rules["logsumexp"], rules["softmax"], rules["log_softmax"]]
EXTREMES = [np.max, np.min, np.ptp, np.nanmax, np.nanmin, np.median, np.nanmedian]


@st.composite
def reductions(draw: Any) -> Call:
    function = draw(st.sampled_from([*SUMS, *MOMENTS, *EXTREMES, *LOGARITHMIC, np.linalg.norm]))
    ties = function in (*EXTREMES, *LOGARITHMIC)
    x = draw(
        arrays(dtypes=REAL if ties else ("f8", "f8", "f4", "f2", "g", "D"), share=not ties and function not in MOMENTS)
    )
    options: dict[str, Any] = {"axis": axes_of(draw, x.ndim)}
    name = getattr(function, "__name__", "rule")
    if draw(st.booleans()) and function not in LOGARITHMIC[1:]:
        options["keepdims"] = draw(st.booleans())
    if function not in (np.ptp, np.median, np.nanmedian, *LOGARITHMIC, np.linalg.norm):
        if draw(st.integers(0, 2)) == 0:
            options["where"] = seeded("mask", x.shape).random(x.shape) < 0.7
            if function in (np.max, np.min, np.nanmax, np.nanmin):
                options["initial"] = -9.0 if function in (np.max, np.nanmax) else 9.0
        elif function not in (np.mean, np.nanmean, *MOMENTS) and draw(st.booleans()):
            options["initial"] = draw(st.sampled_from([0.5, -9.0, 9.0]))
    if function in MOMENTS and draw(st.booleans()):
        options["ddof"] = draw(st.sampled_from([0, 1, 0.5, 2]))
    if function in (*SUMS, *MOMENTS) and draw(st.integers(0, 3)) == 0:
        options["dtype"] = "D" if x.dtype.kind == "c" else draw(st.sampled_from(["f4", "f8"]))
    return Call(f"{name} {options}", lambda x: function(x, **options), [x])


@examples(400)
@given(reductions())
def test_reductions(call: Call) -> None:
    check_call(call)


# -- shapes ------------------------------------------------------------------------------------------------------
def new_shape(draw: Any, size: int) -> Any:
    shape = []
    while size > 1 and draw(st.booleans()):
        factor = draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
        shape.append(factor)
        size //= factor
    shape.append(size)
    shape = list(draw(st.permutations(shape)))
    if draw(st.booleans()) and 0 not in shape:
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    return tuple(shape)


def axis_numbers(draw: Any, rank: int, number: int | None = None) -> tuple[int, ...]:
    chosen = draw(st.permutations(range(rank)))[:number]
    return tuple(draw(st.sampled_from([i, i - rank])) for i in chosen)


@st.composite
def reshapings(draw: Any) -> Call:
    x = draw(arrays())
    n, order = x.ndim, draw(st.sampled_from("CFA"))
    kinds = [
        "reshape",
        "ravel",
        "transpose",
        "squeeze",
        "expand",
        "broadcast",
        "flip",
        "roll",
        "tile",
        "repeat",
        "resize",
    ]
    kinds += ["swap", "move", "rot90", "diagonal", "triangle", "rollaxis", "trace"] if n > 1 else []
    kinds += ["diag", "pad", "atleast"]
    kind = draw(st.sampled_from(kinds))
    small = st.integers(-3, 3)
    if kind == "reshape":
        arguments: Any = (new_shape(draw, x.size), order)
        return Call(f"{kind} {arguments}", lambda x: np.reshape(x, arguments[0], order=arguments[1]), [x])
    if kind == "ravel":
        arguments = draw(st.sampled_from("CFAK"))
        return Call(f"{kind} {arguments}", lambda x: np.ravel(x, arguments), [x])
    if kind == "transpose":
        arguments = draw(st.sampled_from([None, axis_numbers(draw, n)]))
        return Call(f"{kind} {arguments}", lambda x: np.transpose(x, arguments), [x])
    if kind == "squeeze":
        ones = [i for i, k in enumerate(x.shape) if k == 1]
        arguments = draw(st.sampled_from([None, tuple(ones), *ones, 0]))
        return Call(f"{kind} {arguments}", lambda x: np.squeeze(x, arguments), [x])
    if kind == "expand":
        arguments = axis_numbers(draw, n + 2, 2) if draw(st.booleans()) else draw(st.integers(-n - 1, n))
        return Call(f"{kind} {arguments}", lambda x: np.expand_dims(x, arguments), [x])
    if kind == "broadcast":
        arguments = (*draw(SHAPES)[:2], *(3 if k == 1 else k for k in x.shape))
        return Call(f"{kind} {arguments}", lambda x: np.broadcast_to(x, arguments), [x])
    if kind == "flip":
        arguments = axes_of(draw, n)
        return Call(f"{kind} {arguments}", lambda x: np.flip(x, arguments), [x])
    if kind == "roll":
        axes = draw(st.one_of(st.none(), st.just(axis_numbers(draw, n, 2)))) if n else None
        shift = tuple(draw(small) for _ in axes) if axes and draw(st.booleans()) else draw(small)
        arguments = (shift, axes)
        return Call(f"{kind} {arguments}", lambda x: np.roll(x, *arguments), [x])
    if kind == "tile":
        arguments = draw(st.one_of(st.integers(0, 2), st.lists(st.integers(0, 2), max_size=4)))
        return Call(f"{kind} {arguments}", lambda x: np.tile(x, arguments), [x])
    if kind == "repeat":
        axis = axes_of(draw, n, several=False)
        length = x.size if axis is None else x.shape[axis] if -n <= axis < n else 1
        each = draw(st.lists(st.integers(0, 2), min_size=length, max_size=length))
        arguments = (draw(st.sampled_from([2, 0, each])), axis)
        return Call(f"{kind} {arguments}", lambda x: np.repeat(x, *arguments), [x])
    if kind == "resize":
        arguments = draw(SHAPES)
        return Call(f"{kind} {arguments}", lambda x: np.resize(x, arguments), [x])
    if kind == "swap":
        arguments = axis_numbers(draw, n, 2)
        return Call(f"{kind} {arguments}", lambda x: np.swapaxes(x, *arguments), [x])
    if kind == "move":
        k = draw(st.integers(1, n))
        arguments = (axis_numbers(draw, n, k), axis_numbers(draw, n, k))
        return Call(f"{kind} {arguments}", lambda x: np.moveaxis(x, *arguments), [x])
    if kind == "rot90":
        arguments = (draw(small), axis_numbers(draw, n, 2))
        return Call(f"{kind} {arguments}", lambda x: np.rot90(x, *arguments), [x])
    if kind in ("diagonal", "trace"):
        arguments = (draw(small), *axis_numbers(draw, n, 2))
        return Call(f"{kind} {arguments}", lambda x: getattr(np, kind)(x, *arguments), [x])
    if kind == "triangle":
        arguments = (draw(st.sampled_from([np.triu, np.tril])), draw(small))
        return Call(f"{kind} {arguments}", lambda x: arguments[0](x, arguments[1]), [x])
    if kind == "rollaxis":
        arguments = (draw(st.integers(-n, n - 1)), draw(st.integers(-n, n)))
        return Call(f"{kind} {arguments}", lambda x: np.rollaxis(x, *arguments), [x])
    if kind == "diag":
        arguments = (draw(st.sampled_from([np.diag, np.diagflat])), draw(small))
        return Call(f"{kind} {arguments}", lambda x: arguments[0](x, arguments[1]), [x])
    if kind == "pad":
        widths = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(n)]
        mode = draw(
            st.sampled_from(["constant", "edge", "wrap", "reflect", "symmetric", "mean", "linear_ramp", "maximum"])
        )
        arguments = (draw(st.sampled_from([1, (1, 2), *([widths] if n else [])])), mode)
        return Call(f"{kind} {arguments}", lambda x: np.pad(x, arguments[0], mode=arguments[1]), [x])
    # atleast
    arguments = draw(st.sampled_from([np.atleast_1d, np.atleast_2d, np.atleast_3d]))
    return Call(f"{kind} {arguments}", lambda x: arguments(x), [x])


@examples(500)
@given(reshapings())
def test_shapes(call: Call) -> None:
    check_call(call)


# -- joining and splitting ---------------------------------------------------------------------------------------
@st.composite
def joinings(draw: Any) -> Call:
    shape = draw(SHAPES)
    n = len(shape)
    axis = axes_of(draw, n, several=False)
    name = draw(
        st.sampled_from(["concatenate", "stack", "hstack", "vstack", "dstack", "column_stack", "append", "block"])
    )
    args = []
    for _ in range(draw(st.integers(1, 3)) if name != "append" else 2):
        own = list(shape)
        if name in ("concatenate", "append") and axis is not None and -n <= axis < n:
            own[axis] = draw(st.integers(0, 3))
        args.append(draw(arrays(tuple(own))))
    if name in ("concatenate", "stack"):
        axis = 0 if axis is None and name == "stack" else axis
        return Call(f"{name} {axis}", lambda *xs: getattr(np, name)(xs, axis), args)
    if name == "append":
        return Call(f"append {axis}", lambda x, y: np.append(x, y, axis), args)
    if name == "block":
        return Call("block", lambda *xs: np.block([[x, x] for x in xs]), args)
    return Call(name, lambda *xs: getattr(np, name)(xs), args)


@st.composite
def splittings(draw: Any) -> Call:
    x = draw(arrays())
    axis = draw(st.integers(-x.ndim, x.ndim - 1)) if x.ndim else 0
    where = draw(st.one_of(st.integers(1, 4), st.lists(st.integers(0, 5), max_size=3).map(sorted)))
    name = draw(st.sampled_from(["array_split", "split", "hsplit", "vsplit", "dsplit"]))
    if name in ("array_split", "split"):
        return Call(f"{name} {where} {axis}", lambda x: getattr(np, name)(x, where, axis), [x])
    return Call(f"{name} {where}", lambda x: getattr(np, name)(x, where), [x])


@examples(300)
@given(st.one_of(joinings(), splittings()))
def test_joining_and_splitting(call: Call) -> None:
    check_call(call)


# -- indices -----------------------------------------------------------------------------------------------------
@st.composite
def indices(draw: Any, shape: tuple[int, ...]) -> Any:
    kind = draw(st.sampled_from(["basic", "integers", "mask", "mixed", "mixed"]))
    if kind == "basic":
        return draw(hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True))
    if kind == "integers" and shape and 0 not in shape:
        few = draw(st.integers(1, len(shape)))
        return draw(
            hnp.integer_array_indices(shape[:few], result_shape=hnp.array_shapes(max_dims=2, max_side=3, min_side=0))
        )
    if kind == "mask":
        few = draw(st.integers(0, len(shape)))
        return draw(hnp.arrays(bool, shape[:few]))
    parts: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        choices = [st.slices(n), st.just(slice(None)), hnp.arrays(bool, (n,))]
        if n:
            choices += [st.integers(-n, n - 1), st.lists(st.integers(-n, n - 1), min_size=2, max_size=2), st.just([0])]
        parts.append(draw(st.one_of(choices)))
    for extra in draw(st.sampled_from([(), (None,), (Ellipsis,), (None, Ellipsis)])):
        parts.insert(draw(st.integers(0, len(parts))), extra)
    return tuple(parts)


@st.composite
def readings(draw: Any) -> Call:
    x = draw(arrays())
    index = draw(indices(x.shape))
    return Call(f"x[{index}]", lambda x: x[index], [x])


@examples(500)
@given(readings())
def test_indices(call: Call) -> None:
    check_call(call)


@st.composite
def writings(draw: Any) -> Call:
    """`y[index] = v` into a copy, `v` being of the shape that is written, or broadcast to it."""
    x = draw(arrays(dtypes=("f8", "f4", "D"), share=False))
    index = draw(indices(x.shape))
    try:
        shape = x[index].shape
    except IndexError:
        shape = ()
    shape = draw(st.sampled_from([shape, shape[1:], tuple(1 if draw(st.booleans()) else n for n in shape)]))
    v = draw(arrays(shape, dtypes=(x.dtype.char,), share=False))

    def write(x: Any, v: Any) -> Any:
        y = x * 1
        y = y if hasattr(y, "node") or y.ndim else np.array(y)
        y[index] = v
        return y

    return Call(f"x[{index}] = v", write, [x, v])


@examples(300)
@given(writings())
def test_writing(call: Call) -> None:
    check_call(call)


# -- contractions ------------------------------------------------------------------------------------------------
def signature_of(name: str) -> str:
    return {"matmul": "(m?,n),(n,p?)->(m?,p?)", "vecdot": "(n),(n)->()"}[name]


def two(draw: Any, first: Any, second: Any, dtypes: Any = ("f8", "f8", "f4", "D")) -> list[Any]:
    return [draw(arrays(tuple(first), dtypes)), draw(arrays(tuple(second), dtypes))]


@st.composite
def products(draw: Any) -> Call:
    name = draw(st.sampled_from(["matmul", "vecdot", "dot", "inner", "outer", "vdot", "tensordot", "einsum", "kron"]))
    if name in ("matmul", "vecdot"):
        function = getattr(np, name)
        shapes = draw(
            hnp.mutually_broadcastable_shapes(signature=signature_of(name), max_dims=2, min_side=0, max_side=3)
        ).input_shapes
        return Call(name, function, two(draw, *shapes))
    a, b = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)), draw(SHAPES)[:3]
    if name == "dot" and a and b:
        b = (*b[:-2], a[-1], *b[-1:]) if len(b) > 1 else a[-1:]
    elif name == "inner" and a and b:
        b = (*b[:-1], a[-1])
    elif name == "vdot":
        b = tuple(draw(st.permutations(a)))
    elif name == "tensordot":
        k = draw(st.integers(0, min(len(a), len(b))))
        over_a, over_b = axis_numbers(draw, len(a), k), axis_numbers(draw, len(b), k)
        sizes = list(b)
        for i, j in zip(over_a, over_b, strict=True):
            sizes[j] = a[i]
        axes: Any = (over_a, over_b)
        if draw(st.booleans()):
            axes, sizes = k, [*a[len(a) - k :], *b[k:]]
        return Call(f"tensordot {axes}", lambda x, y: np.tensordot(x, y, axes), two(draw, a, sizes))
    elif name == "einsum":
        return draw(einsums())
    return Call(name, getattr(np, name), two(draw, a, b))


@st.composite
def einsums(draw: Any) -> Call:
    """Letters with sizes; operands are words of them (repeated ones too), the output some of the letters."""
    sizes = {letter: draw(st.integers(0, 3)) for letter in "ijkl"}
    words = draw(st.lists(st.text("ijkl", max_size=3), min_size=1, max_size=3))
    letters = sorted(set("".join(words)))
    output = "".join(draw(st.permutations(letters))[: draw(st.integers(0, len(letters)))])
    text = ",".join(words) + draw(st.sampled_from(["", f"->{output}"]))
    shapes = [[sizes[letter] for letter in word] for word in words]
    if draw(st.booleans()):
        dots = draw(hnp.array_shapes(max_dims=2, max_side=3))
        text = text.replace("->", "->...") if "->" in text else text
        left, arrow, right = text.partition("->")
        text = ",".join(f"...{word}" for word in left.split(",")) + arrow + right
        shapes = [
            [*(draw(st.sampled_from([n, 1])) for n in dots[draw(st.integers(0, len(dots))) :]), *s] for s in shapes
        ]
    optimize = draw(st.booleans())
    dtype = draw(st.sampled_from(["f8", "f8", "f4", "D"]))
    args = [draw(arrays(tuple(shape), (dtype,))) for shape in shapes]
    return Call(f"einsum {text!r} {optimize}", lambda *xs: np.einsum(text, *xs, optimize=optimize), args)


@examples(400)
@given(products())
def test_products(call: Call) -> None:
    check_call(call)


# -- along an axis -------------------------------------------------------------------------------------------------
@st.composite
def along_an_axis(draw: Any) -> Call:
    name = draw(
        st.sampled_from(["cumsum", "cumprod", "nancumsum", "nancumprod", "diff", "trapezoid", "gradient", "ediff1d"])
    )
    x = draw(arrays(dtypes=("f8", "f8", "f4", "g", "D")))
    axis = axes_of(draw, x.ndim, several=False)
    if name == "diff":
        n = draw(st.integers(0, 3))
        return Call(f"diff {n} {axis}", lambda x: np.diff(x, n, -1 if axis is None else axis), [x])
    if name == "trapezoid":
        dx = draw(st.sampled_from([1.0, 0.5]))
        return Call(f"trapezoid {axis}", lambda x: np.trapezoid(x, dx=dx, axis=-1 if axis is None else axis), [x])
    if name == "gradient":
        edge = draw(st.sampled_from([1, 2]))
        return Call(f"gradient {axis} {edge}", lambda x: np.gradient(x, axis=axis, edge_order=edge), [x])
    if name == "ediff1d":
        return Call(name, lambda x: np.ediff1d(x), [x])
    return Call(f"{name} {axis}", lambda x: getattr(np, name)(x, axis), [x])


@st.composite
def selections(draw: Any) -> Call:
    name = draw(
        st.sampled_from(
            [
                "sort",
                "partition",
                "take",
                "take_along_axis",
                "compress",
                "delete",
                "insert",
                "unique",
                "choose",
                "extract",
            ]
            + ["quantile", "nanquantile"]
        )
    )
    x = draw(arrays(dtypes=REAL, share=False))
    n = x.ndim
    axis = axes_of(draw, n, several=False)
    length = x.size if axis is None else x.shape[axis] if -n <= axis < n else 1
    rng = seeded(x.shape, axis)
    if name == "sort":
        kind = draw(st.sampled_from([None, "stable", "heapsort"]))
        return Call(f"sort {axis} {kind}", lambda x: np.sort(x, axis, kind=kind), [x])
    if name == "partition":
        kth = draw(st.integers(-length, length))
        return Call(f"partition {kth} {axis}", lambda x: np.partition(x, kth, axis), [x])
    if name == "take":
        mode = draw(st.sampled_from(["raise", "wrap", "clip"]))
        shape = draw(SHAPES)[:2]
        index = rng.integers(-length, max(length, 1), shape) if mode == "raise" else rng.integers(-9, 9, shape)
        return Call(f"take {index} {axis} {mode}", lambda x: np.take(x, index, axis, mode=mode), [x])
    if name == "take_along_axis":
        index = np.argsort(rng.random(x.shape), axis) if axis is None or -n <= axis < n else 0
        return Call(f"take_along_axis {axis}", lambda x: np.take_along_axis(x, index, axis), [x])
    if name in ("compress", "extract"):
        mask = rng.random(length) < 0.6
        if name == "extract":
            return Call(f"extract {mask}", lambda x: np.extract(mask, x), [x])
        return Call(f"compress {mask} {axis}", lambda x: np.compress(mask, x, axis), [x])
    if name == "delete":
        obj = draw(st.one_of(st.slices(max(length, 1)), st.integers(-length, max(length - 1, 0))))
        return Call(f"delete {obj} {axis}", lambda x: np.delete(x, obj, axis), [x])
    if name == "insert":
        obj = draw(st.one_of(st.integers(-length, length), st.lists(st.integers(0, length), max_size=2)))
        v = draw(arrays((), (x.dtype.char,)))
        return Call(f"insert {obj} {axis}", lambda x, v: np.insert(x, obj, v, axis), [x, v])
    if name == "choose":
        a = rng.integers(0, 2, x.shape)
        y = draw(arrays(x.shape, (x.dtype.char,)))
        return Call(f"choose {a}", lambda x, y: np.choose(a, [x, y]), [x, y])
    if name in ("quantile", "nanquantile"):
        q = draw(st.sampled_from([0.0, 0.3, 1.0, [0.25, 0.9]]))
        axis, keepdims = axes_of(draw, n), draw(st.booleans())
        method = draw(st.sampled_from(["linear", "hazen", "weibull", "nearest", "lower", "median_unbiased"]))
        options = {"axis": axis, "method": method, "keepdims": keepdims}
        return Call(f"{name} {q} {options}", lambda x: getattr(np, name)(x, q, **options), [x])
    return Call(f"unique {axis}", lambda x: np.unique(x, axis=axis), [x])


@examples(400)
@given(st.one_of(along_an_axis(), selections()))
def test_along_an_axis(call: Call) -> None:
    check_call(call)
