"""Kernels against NumPy's evaluation of the same group, and their functions against higher precision."""

from __future__ import annotations

import math
import subprocess
import sys
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.compile.kernels import POWERS, ULPS, Group, Input, Op, Output, compile_group, exact_ops, plan, supported
from chainrule.compile.kernels.functions import PREDICATES, TABLE

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.25, math.nan, math.inf, -math.inf, 1e-40, -1e-310, 1e30, 3e38, -1.7e308]


def run(group: Group, m: int, n: int, *inputs: Any, exact: bool = False) -> list[np.ndarray]:
    """Compile and call; outputs are filled with a pattern first, so that what is not written shows."""
    shapes = {"full": (m, n), "row": (n,), "column": (m,), "scalar": ()}
    outputs = [np.full(shapes[out.kind], 77).astype(group.dtype(out.value)) for out in group.outputs]
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
        elif op.name in exact_ops:
            values.append(getattr(np, op.name)(*args))
        else:
            values.append(elementwise(op.name, op.dtype)(args[0]))
        assert values[-1].dtype == op.dtype
    shapes = {"full": (m, n), "row": (n,), "column": (m,), "scalar": ()}
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
BINARY = [name for name in TABLE if TABLE[name][0].__code__.co_argcount == 2]


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
    for got, want in zip(run(group, m, n, *arrays), wanted, strict=True):
        assert same(got, want), (group, got, want)


# Accuracy.

REFERENCE = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "ndtr": scipy.special.ndtr,
}
MPMATH = {"sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "erf": mpmath.erf, "erfc": mpmath.erfc, "ndtr": mpmath.ncdf}
INEXACT = sorted(set(TABLE) - exact_ops)


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
    if name.startswith("log"):
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
def test_signs_of_zero(dtype: str) -> None:
    zeros = np.array([0.0, -0.0], dtype)
    for name in INEXACT:
        if name in REFERENCE and name != "erf":
            continue
        with np.errstate(all="ignore"):
            want = REFERENCE.get(name, getattr(np, name, None))(zeros)
        assert same(elementwise(name, dtype)(zeros), want), name


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


def test_importing_does_not_load_the_compiler() -> None:
    code = "import sys, chainrule, chainrule.compile.kernels; assert 'llvmlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
