"""Kernels against NumPy's evaluation of the same group, and their functions against higher precision."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from polynomials_for_kernels import FITS, interpolant

from chainrule.compile.kernels import (
    POWERS,
    ULPS,
    Group,
    Input,
    Op,
    Output,
    coefficients,
    compile_group,
    disk,
    exact_ops,
    machine,
    module,
    pieces,
    plan,
    supported,
    workers,
)
from chainrule.compile.kernels.entry import work_bytes
from chainrule.compile.kernels.functions import PREDICATES, TABLE
from chainrule.scipy.stable import exp_minus_half_square, exp_minus_square

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.25, math.nan, math.inf, -math.inf, 1e-40, -1e-310, 1e30, 3e38, -1.7e308]


def SHAPES(m: int, n: int) -> dict[str, tuple[int, ...]]:
    return {"full": (m, n), "row": (n,), "column": (m,), "scalar": ()}


def run(group: Group, m: int, n: int, *inputs: Any, exact: bool = False) -> list[np.ndarray]:
    """Compile and call; outputs are filled with a pattern first, so that what is not written shows."""
    outputs = [np.full(SHAPES(m, n)[out.kind], 77).astype(group.dtype(out.value)) for out in group.outputs]
    compile_group(group, exact)(m, n, *inputs, *outputs)
    return outputs


@cache
def elementwise(name: str, dtype: str) -> Any:
    """One operation of one operand, on its own."""
    kernel = compile_group(Group((Input(dtype, "full"),), (Op(name, (0,), dtype),), (Output(1, "full"),)))

    def call(x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x)
        out = np.empty_like(x)
        if x.size:
            kernel(1, x.size, x, out)
        return out

    return call


def expected(group: Group, m: int, n: int, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The group's outputs by NumPy, except that functions which are not exact are taken from kernels of their own."""
    shapes = {"full": (m, n), "row": (1, n), "column": (m, 1), "scalar": (1, 1)}
    values = [x.reshape(shapes[i.kind]) for x, i in zip(inputs, group.inputs, strict=True)]
    for op in group.ops:
        kinds = [group.dtype(a) for a in op.args if isinstance(a, int)]
        like = op.dtype if op.name == "where" else kinds[0]
        args = [values[a] if isinstance(a, int) else np.dtype(like).type(a) for a in op.args]
        if op.kind is not None:
            axes = {"column": 1, "row": 0, "scalar": None}[op.kind]
            ufunc = {"sum": np.add, "max": np.maximum, "min": np.minimum}[op.name]
            values.append(ufunc.reduce(args[0], axis=axes, keepdims=True))
        elif op.name == "astype":
            values.append(args[0].astype(op.dtype))
        elif op.name == "power":
            values.append(np.power(args[0], args[1], dtype=op.dtype))
        elif op.name in ("maximum", "minimum", "fmax", "fmin"):  # of two zeros, NumPy gives this one or that
            values.append(np.where(np.equal(*args), args[1], getattr(np, op.name)(*args)))
        elif op.name in exact_ops:
            values.append(getattr(np, op.name)(*args))
        else:
            values.append(elementwise(op.name, op.dtype)(args[0]))
        assert values[-1].dtype == op.dtype
    shapes = SHAPES(m, n)
    return [
        np.broadcast_to(values[o.value], (m, n)) if o.kind == "full" else values[o.value].reshape(shapes[o.kind])
        for o in group.outputs
    ]


def same(x: np.ndarray, y: np.ndarray) -> bool:
    """Bit for bit, except that NaNs are equal."""
    if x.dtype.kind != "f":
        return bool(np.array_equal(x, y))
    nan = np.isnan(x)
    return bool(
        np.array_equal(nan, np.isnan(y)) and np.all((x == y) | nan) and np.all((np.signbit(x) == np.signbit(y)) | nan)
    )


UNARY = [name for name in TABLE if TABLE[name][0].__code__.co_argcount == 1]
BINARY = [name for name in TABLE if TABLE[name][0].__code__.co_argcount == 2 and name in exact_ops]


@st.composite
def groups(draw: Any) -> tuple[Group, int, int, list[np.ndarray]]:
    """A group of elementwise operations with inputs for it."""
    m, n = draw(st.sampled_from([(1, 1), (1, 37), (3, 8), (2, 16), (5, 21), (4, 3)]))
    size = {"full": m * n, "row": n, "column": m, "scalar": 1}
    dtypes = st.sampled_from(["f4", "f8", "f4", "f8", "i4", "i8", "bool"])
    inputs = tuple(
        Input(draw(dtypes) if k else draw(st.sampled_from(["f4", "f8"])), draw(st.sampled_from([*size, "full"])))
        for k in range(draw(st.integers(1, 4)))
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = []
    for i in inputs:
        if i.dtype[0] == "f":
            x = rng.normal(size=size[i.kind]) * 3
            x = np.where(rng.random(x.shape) < 0.4, rng.choice(SPECIAL, x.shape), x)
        else:
            x = rng.integers(-5, 6, size[i.kind])
        with np.errstate(all="ignore"):
            arrays.append(x.astype(i.dtype))
    ops: list[Op] = []
    have = [i.dtype for i in inputs]
    for _ in range(draw(st.integers(1, 9))):
        dtype = draw(st.sampled_from(sorted(set(have))))
        operand = st.sampled_from([k for k, d in enumerate(have) if d == dtype])
        constants = st.sampled_from([0.0, 1.0] if dtype == "bool" else [0.0, 1.0, -2.0, 7.0])
        a = draw(operand)
        b = draw(st.one_of(operand, operand, constants))
        choices = [name for name in [*UNARY, *BINARY] if supported(name, (dtype,))] + ["astype", "astype"]
        conditions = [k for k, d in enumerate(have) if d == "bool"]
        if conditions:
            choices += ["where"] * 4
        if dtype[0] == "f":
            choices += ["power"]
        name = draw(st.sampled_from(choices))
        if name == "where":
            op = Op("where", (draw(st.sampled_from(conditions)), a, b), dtype)
        elif name == "astype":
            to = draw(st.sampled_from([d for d in ("f4", "f8", "i4", "i8", "bool") if supported("astype", (dtype, d))]))
            op = Op("astype", (a,), to)
        elif name == "power":
            op = Op("power", (a, draw(st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5]))), dtype)
        else:
            op = Op(name, (a,) if name in UNARY else (a, b), "bool" if name in PREDICATES else dtype)
        ops.append(op)
        have.append(op.dtype)
    bare = Group(inputs, tuple(ops), ())
    kinds = plan(bare).kinds
    values = {len(have) - 1, *draw(st.sets(st.integers(0, len(have) - 1), max_size=2))}
    outputs = tuple(Output(v, draw(st.sampled_from([kinds[v], "full"]))) for v in sorted(values))
    return Group(inputs, tuple(ops), outputs), m, n, arrays


@given(groups())
@settings(max_examples=150, deadline=None)
def test_drawn_groups(drawn: Any) -> None:
    group, m, n, arrays = drawn
    with np.errstate(all="ignore"):
        wanted = expected(group, m, n, arrays)
    for most in (1, 800):  # operations that are one function of machine code
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pieces, "LARGEST", most)
            for got, want in zip(run(group, m, n, *arrays), wanted, strict=True):
                assert same(got, want), (group, most, got, want)


# Reductions.

SIZES = [(1, 1), (1, 7), (3, 16), (5, 33), (40, 1000), (1, 100_003), (3, 50_001), (2000, 50), (17, 4096), (70_000, 1)]


def reduction(name: str, dtype: str, kind: Any) -> Group:
    return Group((Input(dtype, "full"),), (Op(name, (0,), dtype, kind),), (Output(1, kind),))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["column", "row", "scalar"])
def test_sums(kind: Any, dtype: str) -> None:
    """As good as NumPy's pairwise sums, or better."""
    rng = np.random.default_rng(3)
    axis = {"column": 1, "row": 0, "scalar": None}[kind]
    for m, n in SIZES[: -1 if kind == "row" else None]:  # NumPy itself adds up one column as if it were a row
        x = (rng.normal(size=(m, n)) + 0.3).astype(dtype)
        (got,) = run(reduction("sum", dtype, kind), m, n, x)
        true, scale = x.astype(np.longdouble).sum(axis=axis), np.abs(x).astype(np.longdouble).sum(axis=axis)
        eps = np.finfo(dtype).eps
        error, theirs = np.abs(got - true), np.abs(x.sum(axis=axis) - true)
        assert np.all(error <= 2 * theirs.max() + eps * scale), (m, n)
        if kind != "row":  # rows are added up one after the other, as in NumPy
            assert np.all(error <= 3 * eps * scale), (m, n)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["column", "row", "scalar"])
@pytest.mark.parametrize("name", ["sum", "max", "min"])
def test_reductions_of_special_values(name: str, kind: Any, dtype: str) -> None:
    """NaN propagates, infinities add up, from wherever in the array."""
    rng = np.random.default_rng(4)
    axis = {"column": 1, "row": 0, "scalar": None}[kind]
    reduce = {"sum": np.add, "max": np.maximum, "min": np.minimum}[name].reduce
    for m, n in SIZES:
        for specials in ([], [math.nan], [math.inf], [-math.inf], [math.inf, -math.inf], [math.nan, math.inf]):
            x = rng.integers(-9, 10, (m, n)).astype(dtype)
            for value in specials:
                x[rng.integers(m), rng.integers(n)] = value
            with np.errstate(invalid="ignore"):
                want = reduce(x, axis=axis)
            (got,) = run_cached(reduction(name, dtype, kind), m, n, x)
            assert np.array_equal(got, want, equal_nan=True), (m, n, specials)
            (got,) = run_cached(reduction(name, dtype, kind), m, n, np.full((m, n), -math.inf, dtype))
            assert np.all(got == -math.inf)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_any(dtype: str) -> None:
    """One question about several values: at every place, also beside a pass that comes later."""
    group = Group(
        (Input(dtype, "full"), Input(dtype, "column")),
        (
            Op("isnan", (0,), "bool"),
            Op("sum", (0,), dtype, "column"),
            Op("subtract", (0, 3), dtype),
            Op("isinf", (4,), "bool"),
            Op("isnan", (1,), "bool"),
            Op("any", (2, 5, 6), "bool", "scalar"),
        ),
        (Output(7, "scalar"),),
    )
    kernel = compile_group(group)
    for m, n in SIZES:
        x, c, found = np.ones((m, n), dtype), np.ones(m, dtype), np.empty((), bool)
        kernel(m, n, x, c, found)
        assert not found
        for place in {0, 1, m * n // 2, m * n - 1} & set(range(m * n)):
            for value in (math.nan, math.inf, 1e3):
                x.flat[place] = value
                kernel(m, n, x, c, found)
                assert bool(found) == (value != 1e3 and (n > 1 or value != math.inf)), (m, n, place, value)
                x.flat[place] = 1
        for place in {0, m // 2, m - 1}:
            c[place] = math.nan
            kernel(m, n, x, c, found)
            assert found
            c[place] = 1


def test_counts() -> None:
    group = Group(
        (Input("bool", "full"),),
        (Op("astype", (0,), "i8"), Op("sum", (1,), "i8", "column"), Op("maximum", (2, 1.0), "i8")),
        (Output(2, "column"), Output(3, "column")),
    )
    kernel = compile_group(group)
    for m, n in SIZES:
        x = np.random.default_rng(0).random((m, n)) < 0.5
        counts, some = np.empty((2, m), np.int64)
        kernel(m, n, x, counts, some)
        assert np.array_equal(counts, x.sum(1))
        assert np.array_equal(some, np.maximum(x.sum(1), 1))


def test_large_sums_do_not_drift() -> None:
    x = np.full((1, 3_000_000), 0.1, "f4")
    (got,) = run(reduction("sum", "f4", "scalar"), 1, x.size, x)
    assert abs(got - x.astype("f8").sum()) <= 300_000 * 2.4e-7
    x = np.tile([1e16, 1.0, -1e16, 1.0], 5000)[None]
    (got,) = run(reduction("sum", "f8", "scalar"), 1, x.size, x)
    assert abs(got - 10_000) <= 1e16 * 64 * 2.3e-16 * 4


@cache
def compiled(group: Group) -> Any:
    return compile_group(group)


def run_cached(group: Group, m: int, n: int, *inputs: Any) -> list[np.ndarray]:
    outputs = [np.full(SHAPES(m, n)[out.kind], 77).astype(group.dtype(out.value)) for out in group.outputs]
    compiled(group)(m, n, *inputs, *outputs)
    return outputs


SOFTMAX = Group(
    (Input("f8", "full"),),
    (
        Op("max", (0,), "f8", "column"),
        Op("subtract", (0, 1), "f8"),
        Op("exp", (2,), "f8"),
        Op("sum", (3,), "f8", "column"),
        Op("divide", (3, 4), "f8"),
        Op("log", (4,), "f8"),
        Op("add", (1, 6), "f8"),
        Op("sum", (7,), "f8", "scalar"),
        Op("sum", (5,), "f8", "row"),
    ),
    (Output(5, "full"), Output(7, "column"), Output(8, "scalar"), Output(9, "row")),
)


def test_softmax_in_one_kernel() -> None:
    order = plan(SOFTMAX)
    assert order.kept == (3,)  # exp is not computed twice
    assert order.in_place == {(0, 0)}
    rng = np.random.default_rng(5)
    for m, n in ((1, 1), (5, 10), (3, 1000), (300, 257), (2, 40_000)):
        x = rng.normal(size=(m, n)) * 30
        want = scipy.special.logsumexp(x, axis=1)
        soft = scipy.special.softmax(x, axis=1)
        for given_ in (x, x.copy()):
            outputs = [given_ if given_ is not x else np.empty((m, n)), np.empty(m), np.empty(()), np.empty(n)]
            compiled(SOFTMAX)(m, n, given_, *outputs)
            np.testing.assert_allclose(outputs[0], soft, rtol=1e-13, atol=1e-300)
            np.testing.assert_allclose(outputs[1], want, rtol=1e-14)
            np.testing.assert_allclose(outputs[2], want.sum(), rtol=1e-14)
            np.testing.assert_allclose(outputs[3], soft.sum(axis=0), rtol=1e-13, atol=1e-300)


def test_an_input_read_in_a_later_pass_is_not_overwritten() -> None:
    group = Group(
        (Input("f8", "full"),),
        (Op("negative", (0,), "f8"), Op("sum", (0,), "f8", "column"), Op("subtract", (0, 2), "f8")),
        (Output(1, "full"), Output(3, "full")),
    )
    assert plan(group).in_place == {(1, 0)}


@st.composite
def reducing_groups(draw: Any) -> tuple[Group, int, int, list[np.ndarray]]:
    """Exact arithmetic on small integers, with reductions anywhere."""
    m, n = draw(st.sampled_from([(1, 1), (3, 8), (2, 37), (21, 19), (300, 230), (3, 40_000)]))
    dtype = draw(st.sampled_from(["f4", "f8"]))
    size = {"full": m * n, "row": n, "column": m, "scalar": 1}
    inputs = tuple(
        Input(dtype, draw(st.sampled_from([*size, "full"])) if k else "full") for k in range(draw(st.integers(1, 3)))
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = [rng.integers(-2, 3, size[i.kind]).astype(dtype) for i in inputs]
    ops: list[Op] = []
    kinds = tuple(i.kind for i in inputs)
    for _ in range(draw(st.integers(1, 8))):
        usable = st.sampled_from([k for k in range(len(inputs) + len(ops)) if k not in RESULTS(inputs, ops)])
        name = draw(
            st.sampled_from(["add", "subtract", "maximum", "sign", "absolute", "tanh", "sum", "max", "min", "sum"])
        )
        a, b = draw(usable), draw(usable)
        if name in ("sum", "max", "min"):
            full = [k for k in range(len(kinds)) if kinds[k] == "full" and k not in RESULTS(inputs, ops)]
            ops.append(Op("sign", (draw(st.sampled_from(full)),), dtype))
            kinds = (*kinds, "full")
            kind = draw(st.sampled_from(["column", "row", "scalar"]))
            ops.append(Op(name, (len(kinds) - 1,), dtype, kind))
            kinds = (*kinds, kind)
        else:
            args = (a, b) if name in BINARY else (a,)
            among = {kinds[k] for k in args}
            wide, tall = bool(among & {"full", "row"}), bool(among & {"full", "column"})
            ops.append(Op(name, args, dtype))
            kinds = (*kinds, ("full" if tall else "row") if wide else "column" if tall else "scalar")
    results = RESULTS(inputs, ops)
    others = [k for k in range(len(kinds)) if k not in results]
    values = sorted(results | draw(st.sets(st.sampled_from(others), min_size=1, max_size=3)))
    outputs = tuple(Output(v, kinds[v] if v in results else draw(st.sampled_from([kinds[v], "full"]))) for v in values)
    return Group(inputs, tuple(ops), outputs), m, n, arrays


def RESULTS(inputs: Any, ops: Any) -> set[int]:
    return {k for k, op in enumerate(ops, len(inputs)) if op.kind in ("row", "scalar")}


@given(reducing_groups(), st.sampled_from([2, 800]))
@settings(max_examples=150, deadline=None)
def test_drawn_groups_with_reductions(drawn: Any, most: int) -> None:
    group, m, n, arrays = drawn
    wanted = expected(group, m, n, arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LARGEST", most)
        got = run(group, m, n, *arrays)
    for one, want in zip(got, wanted, strict=True):
        if any(op.name == "tanh" for op in group.ops):
            np.testing.assert_allclose(one, want, rtol=1e-5, atol=1e-3)
        else:
            assert np.array_equal(one, want), (group, one, want)
    kernel = compile_group(group)
    for parts in (1, 2, 3, 20):  # what threads do, in any order
        outputs = [np.full_like(x, 77) for x in got]
        work = np.empty(work_bytes(group, n), np.uint8)
        for k in (*reversed(range(parts)), parts):
            kernel.part(m, n, k, parts, work, *arrays, *outputs)
        for one, again in zip(got, outputs, strict=True):
            assert np.array_equal(one, again, equal_nan=True)


# Accuracy.

REFERENCE = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exp_minus_square": exp_minus_square,
    "exp_minus_half_square": exp_minus_half_square,
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "ndtr": scipy.special.ndtr,
    "root": lambda x: np.power(x, np.full_like(x, 0.5)),  # which looks at no exponent beforehand
}
MPMATH = {"sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "erf": mpmath.erf, "erfc": mpmath.erfc, "ndtr": mpmath.ncdf}
MPMATH["root"] = mpmath.sqrt
MPMATH |= {"exp_minus_square": lambda x: mpmath.exp(-x * x), "exp_minus_half_square": lambda x: mpmath.exp(-x * x / 2)}
INEXACT = sorted(set(UNARY) - exact_ops)


def arguments(dtype: str, count: int) -> np.ndarray:
    """Of every size: all bit patterns, the middle, near 0 and 1, near multiples of pi/2, and special ones."""
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2 ** (8 * int(dtype[1])) - 1, count, np.uint64).astype(dtype.replace("f", "u")).view(dtype)
    with np.errstate(all="ignore"):
        others = [rng.normal(size=count) * s for s in (1e-6, 0.3, 1, 10, 100, 700)] + [
            1 + rng.normal(size=count) * 1e-3,
            rng.integers(-4000, 4000, count) * (np.pi / 2),
            rng.normal(size=count) * 1e5,
            np.array(SPECIAL),
        ]
        return np.concatenate([bits, *[x.astype(dtype) for x in others]])


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The distance in units of the last place of `got`'s dtype; `want` is of higher precision."""
    info = np.finfo(got.dtype)
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        exponent = np.maximum(np.frexp(want)[1], info.minexp + 1)
        distance = np.abs(got.astype(want.dtype) - want) / np.ldexp(want.dtype.type(1), exponent - info.nmant - 1)
        special = ~np.isfinite(rounded) | ~np.isfinite(got)
        overflow = np.isinf(got) & (np.abs(want) > np.ldexp(want.dtype.type(1), info.maxexp) * (1 - 4 * info.eps))
        agree = (
            (np.isnan(got) & np.isnan(rounded)) | (got == rounded) | (overflow & (np.signbit(got) == np.signbit(want)))
        )
    return np.where(special, np.where(agree, 0, np.inf), distance)


@pytest.mark.parametrize("name", INEXACT)
def test_accuracy_float32(name: str) -> None:
    x = arguments("f4", 40_000)
    with np.errstate(all="ignore"):
        want = REFERENCE.get(name, getattr(np, name, None))(x.astype("f8"))
    error = ulps(elementwise(name, "f4")(x), want)
    assert error.max() <= ULPS[name], (x[error.argmax()], error.max())


@pytest.mark.parametrize("name", [name for name in INEXACT if name not in REFERENCE or name == "sigmoid"])
def test_accuracy_float64(name: str) -> None:
    if np.finfo(np.longdouble).nmant < 63:
        pytest.fail("this platform has no longdouble to compare with")
    x = arguments("f8", 20_000)
    with np.errstate(all="ignore"):
        want = REFERENCE.get(name, getattr(np, name, None))(x.astype(np.longdouble))
    error = ulps(elementwise(name, "f8")(x), want)
    assert error.max() <= ULPS[name], (x[error.argmax()], error.max())


@pytest.mark.parametrize("name", INEXACT)
def test_accuracy_against_mpmath(name: str) -> None:
    """The references above are libraries' too: a sample of points with 40 digits."""
    reference = MPMATH.get(name) or getattr(mpmath, {"arctan": "atan", "log2": "log", "exp2": "exp"}.get(name, name))
    x = arguments("f8", 40)
    x = x[np.isfinite(x) & (np.abs(x) < 1e9)]
    if name.startswith("log") or name == "root":
        x = x[x > (-1 if name == "log1p" else 0)]
    if name in MPMATH:
        x = x[np.abs(x) < 50]
    got = elementwise(name, "f8")(x)
    with mpmath.workdps(40 + 300 * (name in ("log1p", "expm1"))):
        for a, y in zip(x.tolist(), got.tolist(), strict=True):
            if name == "log2":
                true = mpmath.log(a, 2)
            elif name == "exp2":
                true = mpmath.mpf(2) ** a
            else:
                true = reference(mpmath.mpf(a))
            if abs(true) > mpmath.mpf(2) ** 1024 * (1 - mpmath.mpf(2) ** -52):
                assert math.isinf(y) or abs(y) > 1.7976931348623e308
                continue
            unit = mpmath.mpf(2) ** (max(mpmath.frexp(true)[1] if true else -9999, -1021) - 53)
            assert abs(y - true) / unit <= ULPS[name], (a, y)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("exponent", POWERS)
def test_powers(exponent: float, dtype: str) -> None:
    x = arguments(dtype, 20_000)
    (y,) = run(Group((Input(dtype, "full"),), (Op("power", (0, exponent), dtype),), (Output(1, "full"),)), 1, x.size, x)
    with np.errstate(all="ignore"):
        x = x.astype({"f4": "f8", "f8": np.longdouble}[dtype])
        want = np.sqrt(x) if exponent == 0.5 else np.power(x, exponent)  # so NumPy does, by default
    y = y.ravel()
    error = ulps(y, want)
    assert error.max() <= ULPS["power"], (x[error.argmax()], error.max())
    zero = want == 0
    assert np.array_equal(np.signbit(y[zero]), np.signbit(want[zero]))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_logaddexp(dtype: str) -> None:
    rng = np.random.default_rng(8)
    with np.errstate(all="ignore"):
        x = np.concatenate([arguments(dtype, 3000), np.repeat(SPECIAL, len(SPECIAL)).astype(dtype)])
        y = np.where(rng.random(x.size) < 0.5, x + rng.normal(size=x.size), rng.permutation(x)).astype(dtype)
        y[-(len(SPECIAL) ** 2) :] = np.tile(SPECIAL, len(SPECIAL)).astype(dtype)
    group = Group((Input(dtype, "full"), Input(dtype, "full")), (Op("logaddexp", (0, 1), dtype),), (Output(2, "full"),))
    got = run(group, 1, x.size, x, y)[0].ravel()
    wide = {"f4": "f8", "f8": np.longdouble}[dtype]
    with np.errstate(all="ignore"):
        want = np.logaddexp(x.astype(wide), y.astype(wide))
        larger = np.maximum(np.abs(want), np.maximum(np.abs(x), np.abs(y)))
        unit = np.spacing(np.minimum(larger.astype(dtype), np.finfo(dtype).max))
        error = np.where(got == want.astype(dtype), 0, np.abs(got - want) / unit)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert np.nanmax(error) <= ULPS["logaddexp"]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_signs_of_zero(dtype: str) -> None:
    zeros = np.array([0.0, -0.0], dtype)
    for name in INEXACT:
        if name in REFERENCE and name != "erf":
            continue
        with np.errstate(all="ignore"):
            want = REFERENCE.get(name, getattr(np, name, None))(zeros)
        assert same(elementwise(name, dtype)(zeros), want), name


def test_coefficients_are_what_the_script_computes() -> None:
    for name, (_, function, low, high, *degrees) in FITS.items():
        for (dtype, numbers), degree in zip(getattr(coefficients, name).items(), degrees, strict=True):
            again = [np.dtype(dtype).type(float(c)) for c in interpolant(function, low, high, degree)]
            assert np.array_equal(again, np.array(numbers, dtype)), name


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_same_bits_on_older_processors(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is one instruction with AVX-512 is several without it; results are equal."""
    count = len(INEXACT)
    everything = Group(
        (Input(dtype, "full"),),
        (*(Op(name, (0,), dtype) for name in INEXACT), *(Op("sum", (k + 1,), dtype, "column") for k in range(count))),
        tuple(Output(k + 1, "full" if k < count else "column") for k in range(2 * count)),
    )
    x = arguments(dtype, 300)
    native = run(everything, 1, x.size, x)
    compiler = machine.machine()
    monkeypatch.setattr(compiler, "avx512", False)
    if compiler.triple.startswith("x86_64"):
        old = compiler.llvm.Target.from_triple(compiler.triple).create_target_machine(
            cpu="haswell", features="", opt=2, reloc="pic"
        )
        monkeypatch.setattr(compiler, "target", old)
        monkeypatch.setattr(compiler, "compiler", "haswell")
    for name, one, two in zip(INEXACT * 2, native, run(everything, 1, x.size, x), strict=True):
        assert same(one, two), name


@pytest.mark.parametrize("kind", ["full", "scalar"])
def test_thousands_of_operations(kind: Any) -> None:
    """They become many functions, for what compilers do with one takes more than proportionally long."""
    x = np.linspace(0.1, 1.0, 19) if kind == "full" else np.array([0.3])
    ops: list[Op] = []
    values: list[np.ndarray] = [x]
    for k in range(2000):  # what is computed early is read late, too
        ops += [Op("multiply", (2 * k, k), "f8"), Op("subtract", (0, 2 * k + 1), "f8")]
        values.append(values[2 * k] * values[k])
        values.append(x - values[-1])
    group = Group((Input("f8", kind),), tuple(ops), (Output(len(ops), kind),))
    (got,) = run(group, 1, x.size, x)
    assert np.array_equal(got.ravel(), values[-1])
    functions = module.module(group, plan(group), "any", avx512=False).split("define ")
    assert len(functions) > 4 and max(text.count("\n") for text in functions) < 6 * pieces.LARGEST


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("kind", ["full", "scalar"])
def test_operations_that_come_again(kind: Any, dtype: str) -> None:
    """Parts that do the same with other values are one function; those that differ in anything are not."""
    x = np.linspace(0.1, 1.0, 19).astype(dtype) if kind == "full" else np.array([0.3], dtype)
    ops: list[Op] = []
    values: list[np.ndarray] = [x]

    def put(name: str, *args: Any, of: str = dtype) -> int:
        ops.append(Op(name, args, of))
        given = [values[a] if isinstance(a, int) else np.dtype(dtype).type(a) for a in args]
        values.append(getattr(np, name)(*given))
        return len(ops)

    y = z = 0
    seen = []
    for k in range(1500):
        y = put("add", put("multiply", y, -0.75 if k != 170 else 0.75), 0 if k != 290 else z)
        z = put("where", put("greater", y, z, of="bool"), y, put("maximum", z, 0.0 if k != 230 else -0.0))
        z = put("copysign", z, seen[-20]) if len(seen) > 20 and k > 1490 else z
        seen.append(put("subtract", z, y))
    chosen = sorted({seen[0], seen[60], seen[-1], y, z})
    group = Group((Input(dtype, kind),), tuple(ops), tuple(Output(number, kind) for number in chosen))
    for got, number in zip(run(group, 1, x.size, x), chosen, strict=True):
        assert np.array_equal(got.ravel(), values[number].ravel())
    text = module.module(group, plan(group), "any", avx512=False)
    assert text.count("call void @") > 2 * text.count("define internal void @") > 6


# The contract.


def test_in_place() -> None:
    group = Group(
        (Input("f8", "full"), Input("f8", "row")),
        (Op("multiply", (0, 1), "f8"), Op("exp", (2,), "f8")),
        (Output(3, "full"),),
    )
    assert plan(group).in_place == {(0, 0)}
    x, w = np.random.default_rng(0).normal(size=(7, 13)), np.linspace(0, 1, 13)
    (want,) = run(group, 7, 13, x, w)
    compile_group(group)(7, 13, x, w, x)
    assert np.array_equal(x, want)


def test_what_costs_nothing() -> None:
    group = Group((Input("bool", "row"),), (), (Output(0, "row"),))
    assert run(group, 3, 2, np.array([True, False]))[0].tolist() == [True, False]
    assert run(Group((), (), ()), 5, 5) == []


def test_scalars_are_arrays_or_numbers() -> None:
    inputs = tuple(Input(d, "scalar") for d in ("f4", "f8", "i4", "i8", "bool"))
    outputs = tuple(Output(k, "full") for k in range(5))
    group = Group(inputs, (), outputs)
    numbers: list[Any] = [0.1, 0.1, -7, -(2**40), True]
    want = [np.full((2, 9), v).astype(i.dtype) for v, i in zip(numbers, inputs, strict=True)]
    for given_ in (
        numbers,
        [np.asarray(v).astype(i.dtype) for v, i in zip(numbers, inputs, strict=True)],
        [np.asarray(v).astype(i.dtype)[()] for v, i in zip(numbers, inputs, strict=True)],
    ):
        for got, expect in zip(run(group, 2, 9, *given_), want, strict=True):
            assert np.array_equal(got, expect)


def test_calls_that_are_refused() -> None:
    kernel = compile_group(Group((Input("f8", "full"), Input("f8", "scalar")), (), (Output(0, "full"),)))
    x = np.ones(3)
    for arguments_ in ((), (1, 3, x), (1, 3, x, 2.0, x, x), (1, 3, [1.0], 2.0, x), (1, 3, x, 2.0, None)):
        with pytest.raises(TypeError, match="a kernel takes"):
            kernel.serial(*arguments_)
    with pytest.raises(TypeError):
        kernel(1, 3, x, "two", x)
    with pytest.raises(TypeError):
        kernel(1, None, x, 2.0, x)
    with pytest.raises(OverflowError):
        kernel(1, 1 << 70, x, 2.0, x)


@pytest.mark.parametrize(
    ("ops", "outputs"),
    [
        ((Op("add", (0, 2), "f8"),), ()),
        ((Op("add", (0, 1), "f8"),), ()),
        ((Op("add", (0, 0), "f4"),), ()),
        ((Op("greater", (0, 0), "f8"),), ()),
        ((Op("power", (0, 2.5), "f8"),), ()),
        ((Op("gamma", (0,), "f8"),), ()),
        ((Op("astype", (0,), "i8"),), ()),
        ((Op("sum", (0,), "f8"),), ()),
        ((Op("exp", (0,), "f8", "column"),), ()),
        ((Op("sum", (0,), "f8", "row"), Op("exp", (2,), "f8")), ()),
        ((), (Output(0, "column"),)),
        ((), (Output(5, "full"),)),
    ],
)
def test_groups_that_are_refused(ops: Any, outputs: Any) -> None:
    with pytest.raises(ValueError, match=r"value|output"):
        compile_group(Group((Input("f8", "full"), Input("f4", "full")), ops, outputs))


def test_exact_refuses_what_is_not() -> None:
    with pytest.raises(ValueError, match="exp is not computed exactly"):
        compile_group(Group((Input("f8", "full"),), (Op("exp", (0,), "f8"),), (Output(1, "full"),)), exact=True)


def test_kernels_outlive_what_made_them() -> None:
    serial = compile_group(Group((Input("f8", "full"),), (Op("negative", (0,), "f8"),), (Output(1, "full"),))).serial
    x = np.ones(5)
    for _ in range(3):
        elementwise.cache_clear()
        elementwise("exp", "f8")(x)
    serial(1, 5, x, x)
    assert x.tolist() == [-1.0] * 5


# Threads.


def test_results_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(6)
    for m, n in ((700, 300), (3, 100_001)):
        x = rng.normal(size=(m, n)) * 3
        results = []
        for parts in (1, 2, 3, 7, 30):
            outputs = [np.full(SHAPES(m, n)[out.kind], 77.0) for out in SOFTMAX.outputs]
            compiled(SOFTMAX).run(parts, m, n, x, *outputs)
            results.append(outputs)
        serial = [np.full(SHAPES(m, n)[out.kind], 77.0) for out in SOFTMAX.outputs]
        compiled(SOFTMAX).serial(m, n, x, *serial)
        for outputs in results:
            assert all(map(np.array_equal, outputs, serial))


def test_threads_are_used_where_a_kernel_has_taken_long(monkeypatch: pytest.MonkeyPatch) -> None:
    x, out = np.linspace(-1, 1, 1 << 17), np.empty(1 << 17)
    group = Group((Input("f8", "full"),), (Op("tanh", (0,), "f8"),), (Output(1, "full"),))
    monkeypatch.setattr(workers, "count", lambda: 2)
    for limit, some in ((1.0, True), (1e12, False)):
        kernel, shared = compile_group(group), []
        monkeypatch.setattr(workers, "WORTHWHILE", limit)
        with monkeypatch.context() as patch:
            patch.setattr(workers, "share", lambda work, parts, shared=shared: shared.append(parts) or work(0))
            for _ in range(5):
                kernel(1, x.size, x, out)
        assert shared == [2, 2] * some  # the first three calls tell how long it takes
    assert kernel.of_size(1, x.size) is kernel
    assert kernel.of_size(1, 1000) is kernel.serial


def test_concurrent_calls() -> None:
    x = np.random.default_rng(7).normal(size=(200, 1000))
    want = [x / k for k in range(1, 9)]
    kernel = compile_group(
        Group((Input("f8", "full"), Input("f8", "scalar")), (Op("divide", (0, 1), "f8"),), (Output(2, "full"),))
    )
    wrong = []

    def call(k: int) -> None:
        out = np.empty_like(x)
        for _ in range(20):
            out.fill(0)
            kernel.run(2, 200, 1000, x, float(k), out)
            if not np.array_equal(out, want[k - 1]):
                wrong.append(k)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_error_in_a_thread_is_raised() -> None:
    def work(k: int) -> None:
        if k == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        workers.share(work, 3)
    workers.share(lambda k: None, 3)  # and they go on


def test_threads_in_a_forked_process() -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
from chainrule.compile.kernels import workers
workers.share(lambda k: None, 3)
if not hasattr(os, "fork"):
    sys.exit()
child = os.fork()
if child == 0:
    done = []
    workers.share(done.append, 3)
    os._exit(sorted(done) != [0, 1, 2])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert workers.count() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "no number")
    most = workers.count()
    assert most == len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else most >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert workers.count() == most


# The cache, and what is needed.

CUBE = Group((Input("f8", "full"),), (Op("power", (0, 3.0), "f8"),), (Output(1, "full"),))


def test_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    x = np.array([[2.0, 3.0]])
    assert run(CUBE, 1, 2, x)[0].tolist() == [[8.0, 27.0]]
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    good = file.read_bytes()

    def refuse(self: Any, text: str) -> bytes:
        raise AssertionError("compiled again")

    with monkeypatch.context() as m:
        m.setattr(machine.Machine, "_compiled", refuse)
        assert run(CUBE, 1, 2, x)[0].tolist() == [[8.0, 27.0]]
    for damaged in (b"", good[:20], good[:-1], good[:-1] + bytes([good[-1] ^ 1]), b"x" * 1000):
        file.write_bytes(damaged)
        assert run(CUBE, 1, 2, x)[0].tolist() == [[8.0, 27.0]]
        assert file.read_bytes() == good
    assert list(tmp_path.iterdir()) == [file]


def test_what_others_can_write_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    name = disk.key("a", "b")
    disk.keep(name, b"contents")
    assert disk.fetch(name) == b"contents"
    assert disk.key("ab", "") != name
    tmp_path.chmod(0o777)
    assert disk.fetch(name) is None
    disk.keep("another", b"contents")
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_without_a_place_to_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for place in ("", str(tmp_path / "file"), str(tmp_path / "file" / "below")):
        monkeypatch.setenv("CHAINRULE_CACHE", place)
        disk.keep("name", b"contents")
        assert disk.fetch("name") is None
        assert run(CUBE, 1, 1, np.array([[2.0]]))[0].tolist() == [[8.0]]


def test_the_cache_does_not_grow_without_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    monkeypatch.setattr(disk, "_MOST", 5)
    for k in range(20):
        disk.keep(f"name{k}", b"contents")
        os.utime(tmp_path / f"name{k}", (k, k))
    assert len(list(tmp_path.iterdir())) <= 5
    assert disk.fetch("name19") == b"contents"


def test_without_llvmlite() -> None:
    code = """
import sys
sys.modules["llvmlite"] = None
from chainrule.compile.kernels import Group, Input, Output, compile_group
from chainrule.errors import MissingExtraError
try:
    compile_group(Group((Input("f8", "full"),), (), (Output(0, "full"),)))
except MissingExtraError as error:
    assert "chainrule[jit]" in str(error)
else:
    sys.exit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_does_not_load_the_compiler() -> None:
    code = "import sys, chainrule, chainrule.compile.kernels; assert 'llvmlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [1, 7, 16, 40])
def test_inputs_with_rows_of_their_own(dtype, n):
    shape = (3, 4, 5, n)
    rng = np.random.default_rng(n)
    whole = rng.standard_normal((3, 4, 5, n + 9)).astype(dtype)
    outer = rng.standard_normal((3, 1, 1, n)).astype(dtype)
    middle = rng.standard_normal((4, 1, n)).astype(dtype)
    column = rng.standard_normal((5, 1)).astype(dtype)
    inputs = (
        Input(dtype, "full", (1, 60, n + 9)),
        Input(dtype, "full", (20, 3, n)),
        Input(dtype, "full", (5, 4, n)),
        Input(dtype, "column", (1, 5, 1)),
    )
    ops = (Op("add", (0, 1), dtype), Op("multiply", (4, 2), dtype), Op("subtract", (5, 3), dtype))
    group = Group(inputs, ops, (Output(6, "full"),))
    assert not plan(group).in_place
    out = np.empty(shape, dtype)
    compile_group(group)(60, n, whole[..., 2 : n + 2], outer, middle, column, out)
    np.testing.assert_array_equal(out, (whole[..., 2 : n + 2] + outer) * middle - column)
    with pytest.raises(ValueError, match="rows are not for rows"):
        plan(Group((Input(dtype, "row", (1, 1, 1)),), (Op("exp", (0,), dtype),), (Output(1, "row"),)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("m", "n"), [(1, 100), (7, 33), (3, 5)])
def test_elements_that_do_not_lie_side_by_side(dtype: str, m: int, n: int) -> None:
    rng = np.random.default_rng(0)
    x, row, column, one = (rng.normal(size=s).astype(dtype) for s in ((m, n, 3), (n, 3), (m, 2), (3,)))
    inputs = (
        Input(dtype, "full", (1, m, n * 3), 3, 1),
        Input(dtype, "full", (1, m, n * 3), 3, 2),
        Input(dtype, "scalar", (1, 1, 0), 1, 2),
        Input(dtype, "row", None, -3, 3 * n - 2),  # backwards
        Input(dtype, "column", (1, m, 2), 1, 1),
    )
    ops = (Op("add", (0, 1), dtype), Op("multiply", (5, 2), dtype), Op("add", (6, 3), dtype))
    ops += (Op("multiply", (7, 4), dtype), Op("greater", (8, 0.0), "bool"))
    outputs = (Output(8, "full", (1, n * 2, 2)), Output(2, "full", (0, n * 2, 2)), Output(8, "full"))
    group = Group(inputs, ops, (*outputs, Output(9, "full", (0, n * 2, 2))))
    assert not plan(group).in_place
    apart, dense, truth = np.zeros((m, n, 2), dtype), np.empty((m, n), dtype), np.zeros((m, n, 2), bool)
    compile_group(group)(m, n, x, x, one, row, column, apart, apart, dense, truth)
    expected = ((x[..., 1] + x[..., 2]) * one[2] + row[::-1, 1]) * column[:, 1:]
    np.testing.assert_array_equal(dense, expected)
    np.testing.assert_array_equal(apart, np.stack([np.full((m, n), one[2]), expected], 2))
    np.testing.assert_array_equal(truth, np.stack([expected > 0, np.zeros((m, n), bool)], 2))
    with pytest.raises(ValueError, match="not contiguous has rows"):
        plan(Group((Input(dtype, "full", None, 3),), (Op("exp", (0,), dtype),), (Output(1, "full"),)))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("parts", "rows", "n"), [(10, 100, 20), (3, 7, 33), (2, 40_000, 3), (5, 1, 64), (7, 300, 16), (40, 50, 1)]
)
def test_sums_of_parts_and_short_rows(dtype: str, parts: int, rows: int, n: int) -> None:
    """A row for each part of the rows; on any number of threads; with and without a loop over columns."""
    m = parts * rows
    ops = [Op("multiply", (0, 1), dtype), Op("sum", (2,), dtype, "row", rows), Op("sum", (2,), dtype, "column")]
    ops += [Op("max", (2,), dtype, "column"), Op("sum", (2,), dtype, "scalar"), Op("max", (2,), dtype, "row", rows)]
    ops += [Op("sum", (2,), dtype, "row")]
    kinds = ("row", "column", "column", "scalar", "row", "row")
    outputs = [Output(k, kind) for k, kind in enumerate(kinds, 3)] + [Output(2, "full")]
    tolerance = {"rtol": 2e-4, "atol": 2e-2} if dtype == "f4" else {"rtol": 1e-11, "atol": 1e-9}
    rng = np.random.default_rng(0)
    x, column = rng.normal(size=(m, n)).astype(dtype), rng.normal(size=m).astype(dtype)
    for special in (None, np.nan, np.inf):
        if special is not None:
            x[m // 2, n // 2] = special
        product = x * column[:, None]
        blocks = product.reshape(parts, rows, n)
        expected = [
            blocks.sum(1),
            product.sum(1),
            product.max(1),
            product.sum(),
            blocks.max(1),
            product.sum(0),
            product,
        ]
        for columns in (0, n):
            kernel = compile_group(
                Group((Input(dtype, "full"), Input(dtype, "column")), tuple(ops), tuple(outputs), columns)
            )
            for threads in (1, 2, 3):
                found = [np.full(np.shape(y), 7, dtype) for y in expected]
                kernel.run(threads, m, n, x, column, *found)
                for a, b in zip(found, expected, strict=True):
                    np.testing.assert_allclose(a, b, **tolerance)
    with pytest.raises(ValueError, match="parts of one length"):
        plan(Group((Input(dtype, "full"),), (Op("sum", (0,), dtype, "column", 2),), (Output(1, "column"),)))
