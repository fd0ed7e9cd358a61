"""`jit` at the edges of numbers: zeros of both signs, infinities, NaN, what overflows and what underflows.

Programs are compiled where all is well, and called where it is not: what they do there nothing has compared before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import chainrule as cr
import chainrule.scipy.special as special
from chainrule.compile import blocks, variants
from chainrule.nn import functional
from chainrule.tree import flatten

INF, NAN = np.inf, np.nan
EDGES = [
    0.0, -0.0, INF, -INF, NAN, 1e308, -1e308, 5e-324, -5e-324, 1e-310, 1e-200, 1e200, -1e200, 1e154, 1e-160, 1.0, -1.0,
    0.5, -0.5, 0.7, 1.5, 2.0, 3.0, -3.0, 710.0, 709.0, -745.0, -746.0, 88.0, -104.0, 1e-8, -1e-8, 1e16, 1e20, 1e38,
    -1e38, 1e-38, 1e-45, 36.0, 20.0, -20.0,
]  # fmt: skip
MODES = ["kernels", "NumPy", "blocks", "exact"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param in ("NumPy", "blocks"):
        monkeypatch.setattr(variants, "with_kernels_in", lambda program, exact: ([], False))
    if request.param == "blocks":
        monkeypatch.setattr(blocks, "LARGE", 1 << 10)
        monkeypatch.setattr(blocks, "BLOCK", 1 << 9)
    return str(request.param)


def compiled(f: Callable[..., Any], mode: str, *args: Any) -> cr.Jitted:
    """Its jit, with kernels where there are any."""
    jitted = cr.jit(f, exact=mode == "exact")
    for _ in range(4):
        jitted(*args)
    assert not jitted.given_up
    assert not any(variant.disagreed for variant in jitted.variants)
    return jitted


def assert_same_kind(jitted: Any, f: Any, *args: Any, ulps: float = 8, scale: float = 0.0, zeros: bool = True) -> None:
    """NaN, infinities and signs as without jit; numbers but for so many units in the last place, or rounding of sums
    of so many times the largest; zeros with their signs, or without."""
    for got, want in zip(flatten(jitted(*args))[0], flatten(f(*args))[0], strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
        if zeros:
            both = (got == 0) & (want == 0)
            np.testing.assert_array_equal(np.signbit(got)[both], np.signbit(want)[both])
        np.testing.assert_array_equal(got[np.isinf(want)], want[np.isinf(want)])
        finite = np.isfinite(want)
        unit = np.spacing(np.abs(want[finite]))
        largest = np.abs(want[finite]).max(initial=0)
        room = np.maximum(ulps * unit, scale * np.finfo(want.dtype).eps * largest)
        off = np.abs(got[finite].astype(np.longdouble) - want[finite])
        assert np.all(off <= room), (got[finite][off > room], want[finite][off > room])
    assert not jitted.given_up


# -- one operation -----------------------------------------------------------------------------------------------------
UFUNCS = [
    np.negative, np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.sin, np.cos, np.tan, np.arctan,
    np.sinh, np.cosh, np.tanh, np.sqrt, np.cbrt, np.square, np.abs, np.sign, np.floor, np.ceil, np.trunc, np.rint,
    np.reciprocal, np.arcsin, np.arccos, np.arcsinh, np.arccosh, np.arctanh,
]  # fmt: skip
ONE: dict[str, Callable[[Any], Any]] = {ufunc.__name__: ufunc for ufunc in UFUNCS} | {
    "sigmoid": functional.sigmoid,
    "relu": functional.relu,
    "erf": special.erf,
    "erfc": special.erfc,
    "gelu": functional.gelu,
    "bell": lambda x: np.exp(-x * x),
    "half bell": lambda x: np.exp(-(x**2) / 2),
    "times 0": lambda x: x * 0,
    "plus 0": lambda x: 0.0 + x,
    "less 0": lambda x: x - 0.0,
    "of 0": lambda x: 0.0 - x,
    "less itself": lambda x: x - x,
    "over itself": lambda x: x / x,
    "times 1": lambda x: 1.0 * x / 1,
    "ones and zeros": lambda x: x * np.ones_like(x) + np.zeros_like(x),
    "chosen": lambda x: np.where(x > 0, np.sqrt(x), 0 * x),
    "chosen before": lambda x: np.where(x == 0, 1.0, np.sin(x) / np.where(x == 0, 1.0, x)),
    "clipped": lambda x: np.clip(x, -1, 2),
    "copied sign": lambda x: np.copysign(2.0, x) + np.heaviside(x, 0.5),
    "asked": lambda x: np.isnan(x) * 2.0 + np.isinf(x) - np.signbit(x),
    "logaddexp": lambda x: np.logaddexp(x, 0.0),
    "remainder": lambda x: np.mod(x, 2.0) + np.fmod(x, 3.0),
    "narrow": lambda x: x.astype(np.float32).astype(x.dtype),
}
ONE |= {f"power {k}": (lambda x, k=k: x**k) for k in (-2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 5, 2.0, 3.0)}
ONE |= {f"np.power {k}": (lambda x, k=k: np.power(x, k)) for k in (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0)}


def gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Its derivative, element by element."""
    return lambda *args: cr.vjp(f, *args)[1](np.ones_like(args[0]))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("derive", [lambda f: f, gradient], ids=["value", "gradient"])
def test_one_operation(derive: Any, dtype: str) -> None:
    """Beside another step, for one alone makes no kernel.

    Infinities may come an ulp early or late, and of numbers that cancel more is off: both are no matter of kinds.
    """
    edges, well = np.array(EDGES * 2).astype(dtype), np.linspace(0.1, 0.9, 2 * len(EDGES)).astype(dtype)
    for name, f in ONE.items():
        g = derive(f)

        def both(x: Any, g: Any = g) -> Any:
            return g(x), x * 2.0 + 1

        try:
            assert_same_kind(compiled(both, "kernels", well), both, edges)
        except AssertionError as error:
            raise AssertionError(name) from error


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_operation_on_a_number(dtype: Any) -> None:
    """NumPy's scalars call C's functions, its arrays do not: of -inf and -0.0 one power is infinite, the other NaN."""
    for name, f in ONE.items():

        def both(x: Any, f: Any = f) -> Any:
            return f(x), ((x * 2.0 + 1) * 0.3 + 2) * x - 1

        jitted = compiled(both, "kernels", dtype(0.7))
        for edge in EDGES:
            try:
                assert_same_kind(jitted, both, dtype(edge))
            except AssertionError as error:
                raise AssertionError(f"{name} of {edge}") from error


UFUNCS_OF_TWO = [
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.fmax, np.fmin, np.hypot, np.arctan2, np.logaddexp,
    np.copysign, np.mod, np.fmod,
]  # fmt: skip
TWO: dict[str, Callable[[Any, Any], Any]] = {ufunc.__name__: ufunc for ufunc in UFUNCS_OF_TWO} | {
    "power": lambda a, b: a**b,
    "chosen": lambda a, b: np.where(a > b, a, b),
    "there and back": lambda a, b: a - b + b,
    "times and over": lambda a, b: a * b / b,
    "sum over difference": lambda a, b: (a - b) / (a + b),
    "length": lambda a, b: np.sqrt(a * a + b * b),
    "exponentials": lambda a, b: np.exp(a) / np.exp(b) + np.exp(a - b),
    "xlogy": special.xlogy,
}


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("derive", [lambda f: f, gradient], ids=["value", "gradient"])
def test_two_operands(derive: Any, dtype: str) -> None:
    a, b = (x.ravel() for x in np.meshgrid(*[np.array(EDGES).astype(dtype)] * 2))
    well = np.linspace(0.1, 0.9, a.size).astype(dtype), np.linspace(0.8, 0.2, a.size).astype(dtype)
    for name, f in TWO.items():
        g = derive(f)

        def both(a: Any, b: Any, g: Any = g) -> Any:
            return g(a, b), a * 2.0 + 1

        try:
            assert_same_kind(compiled(both, "kernels", *well), both, a, b)
        except AssertionError as error:
            raise AssertionError(name) from error


# -- sums, parts and loops ---------------------------------------------------------------------------------------------
def turns(x: Any, y: Any) -> Any:
    h = x[0]
    for i in range(len(y)):
        h = h * y[i] + x[i]
    return h


def written(x: Any, y: Any) -> Any:
    z = np.zeros_like(x)
    z[::2], z[1::2] = x[::2], y[1::2]
    z[0, 0] += y[1, 1]
    return z * y


PARTS: dict[str, Callable[[Any, Any], Any]] = {
    "sums": lambda x, y: (np.sum(x, 0), np.sum(x, 1), np.sum(x * y)),
    "less sums": lambda x, y: x - np.sum(x, 1, keepdims=True),
    "means": lambda x, y: (np.mean(x, 1), np.mean(x, 0)),
    "largest": lambda x, y: (np.max(x * x, 1), np.max(np.abs(x), 0), np.min(x * x, 1)),
    "norms": lambda x, y: (np.linalg.norm(x, axis=1), np.sqrt(np.sum(x * x, 1)), np.var(x, 1)),
    "logsumexp": lambda x, y: (functional.logsumexp(x, axis=1), special.logsumexp(x * y, axis=0)),
    "softmax": lambda x, y: functional.softmax(x, axis=1) * y,
    "cross entropy": lambda x, y: functional.log_softmax(x, axis=1) * y,
    "by hand": lambda x, y: np.log(np.sum(np.exp(x - np.max(x, 1, keepdims=True)), 1)) + np.max(x, 1),
    "mixture": lambda x, y: functional.logsumexp(-0.5 * np.sum((x[:, None] - y[None, :4]) ** 2, -1), axis=1),
    "parts": lambda x, y: (x[0] * x[1] + x[2], x[:, 0] * y[:, 1] - x[:, 2], x[:, :2] * y[:, -2:]),
    "part": lambda x, y: x[1:3] * y[:2],
    "many parts": lambda x, y: x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2] + x[:, 0],
    "taken": lambda x, y: x[np.arange(5) % 3] * y[:5],
    "joined": lambda x, y: np.concatenate([x, y], 1) * np.stack([x[0, 0], y[0, 0]])[:, None, None],
    "stretched": lambda x, y: x[:, 0][:, None] * y[0] + np.broadcast_to(x[0], x.shape) * y,
    "products": lambda x, y: (np.matmul(x[:, None, :], y[:, :, None]), x.T.copy() * y[0, 0]),
    "pairs": lambda x, y: np.sum((x[:, None, :3] - x[None, :, :3]) * y[:, None, :3], -1),
    "cross": lambda x, y: np.cross(x[:, :3], y[:, :3]),
    "written": written,
    "turns": turns,
    "while": lambda x, y: cr.while_loop(lambda s: s[0] < 9, lambda s: (s[0] + 1, s[1] * y[0] + x[1]), (0.0, x[0]))[1],
}
MODERATE = [e for e in EDGES if not 1e30 < abs(e) < INF]  # sums may be taken in any order: none overflows on its way


def first_derivatives(f: Callable[..., Any]) -> Callable[..., Any]:
    def loss(x: Any, y: Any) -> Any:
        return sum((np.sum(part) for part in flatten(f(x, y))[0]), 0.0)

    return lambda x, y: cr.value_and_grad(loss, argnums=(0, 1))(x, y)


@pytest.mark.parametrize("shape", [(70, 3), (12, 30)])
@pytest.mark.parametrize("name", PARTS)
def test_sums_parts_and_loops(name: str, shape: tuple[int, int], mode: str) -> None:
    """Zeros in gradients may come with the other sign: where an array was read, zeros are added elsewhere."""
    rng = np.random.default_rng(0)
    ulps, scale = (0, 0) if mode == "exact" else (8, 1e6)
    for f in (PARTS[name], first_derivatives(PARTS[name])):
        jitted = compiled(f, mode, *rng.uniform(0.1, 0.9, (2, *shape)))
        all_zero = np.where(rng.random((2, *shape)) < 0.5, 0.0, -0.0)
        several = [all_zero, rng.choice([INF, -INF, 0.0, -0.0, 1.0], (2, *shape)), (-np.zeros(shape), all_zero[0])]
        for share in (0.02, 0.3, 1.0):
            edges = rng.uniform(-1, 1.5, (2, *shape))
            there = rng.random(edges.shape) < share
            edges[there] = rng.choice(MODERATE, there.sum())
            several.append(edges)
        for x, y in several:
            assert_same_kind(jitted, f, x, y, ulps=ulps, scale=scale, zeros=f is PARTS[name])


# -- programs whose every operation is exact -----------------------------------------------------------------------
EXACT_ONE: list[Callable[[Any], Any]] = [
    np.negative, np.abs, np.square, np.sqrt, np.sign, np.floor, np.rint, np.reciprocal, functional.relu,
    lambda x: x * 0.5, lambda x: 1 - x, lambda x: x + 0.0, lambda x: 0 * x, lambda x: x * 1.0, lambda x: 2 / x,
    lambda x: np.where(x > 0, x, 0), lambda x: np.where(np.isfinite(x), x, 1.0), lambda x: np.clip(x, -1, 1e200),
    lambda x: np.copysign(x, -1.0), lambda x: x * (x > 0), lambda x: x - x,
]  # fmt: skip
EXACT_TWO: list[Callable[[Any, Any], Any]] = [
    np.add, np.subtract, np.multiply, np.divide, lambda a, b: np.where(a > b, a, b),
    lambda a, b: np.where(b == 0, a, a / b),
    lambda a, b: a * b + a, lambda a, b: a - b + b, lambda a, b: np.where(np.isnan(a), b, a), np.copysign,
]  # fmt: skip


@settings(deadline=None, max_examples=25)
@given(
    steps=st.lists(st.tuples(st.booleans(), *[st.integers(0, 100)] * 3), min_size=2, max_size=8),
    dtype=st.sampled_from(["f4", "f8"]),
    how=st.sampled_from(["value", "gradient", "tangent"]),
    seed=st.integers(0, 99),
)
def test_exact_operations_keep_every_bit(steps: Any, dtype: str, how: str, seed: int) -> None:
    """In kernels as in NumPy, whatever is rewritten, dropped, shared or computed twice on the way."""
    note(f"program: {steps}")

    def f(x: Any, y: Any) -> Any:
        values = [x, y]
        for one, which, i, j in steps:
            a, b = values[-1 - i % len(values)], values[j % len(values)]
            values.append(EXACT_ONE[which % len(EXACT_ONE)](a) if one else EXACT_TWO[which % len(EXACT_TWO)](a, b))
        return values[-1] * 1.0 + 0 * x

    g = {
        "value": lambda x, y: (f(x, y), f(y, x)),
        "gradient": lambda x, y: cr.vjp(f, x, y)[1](np.ones_like(x)),
        "tangent": lambda x, y: cr.jvp(f, (x, y), (y, x)),
    }[how]
    rng = np.random.default_rng(seed)
    well = rng.uniform(0.5, 0.9, (2, 150)).astype(dtype)
    for exact in (False, True):
        jitted = cr.jit(g, exact=exact)
        for _ in range(4):
            jitted(*well)
        for _ in range(3):
            assert_same_kind(jitted, g, *rng.choice(EDGES, (2, 150)).astype(dtype), ulps=0)
            assert_same_kind(jitted, g, *well, ulps=0)


def test_the_second_value_is_not_the_number_2() -> None:
    """What is computed of the same is brought together."""
    f = cr.grad(lambda x: np.sum(2 / x))
    x = np.linspace(0.5, 0.9, 150)
    np.testing.assert_array_equal(compiled(f, "kernels", x)(x), f(x))


# -- questions ---------------------------------------------------------------------------------------------------------
def test_a_question_that_a_later_one_answers_is_asked_where_that_is_not() -> None:
    """Where NaN is found in one product, what the walk with care does next depends on the questions before."""

    def loss(x: Any, y: Any) -> Any:
        return -np.sum(functional.log_softmax(x, axis=1) * y)

    def f(x: Any, y: Any) -> Any:
        return cr.value_and_grad(loss, (0, 1))(x, y)

    jitted = cr.jit(f)
    x, y = np.random.default_rng(0).uniform(0.1, 0.9, (2, 7, 4))
    in_x, in_y = x.copy(), y.copy()
    in_x[2, 1], in_y[3, 2] = NAN, NAN
    infinite = x.copy()
    infinite[1], infinite[2, 0] = -INF, INF
    for _ in range(4):
        for args in ((x, y), (in_x, y), (x, in_y), (in_x, in_y), (infinite, y), (infinite, in_y), (infinite, 0 * y)):
            for got, want in zip(flatten(jitted(*args))[0], flatten(f(*args))[0], strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-12)
    assert not jitted.given_up
