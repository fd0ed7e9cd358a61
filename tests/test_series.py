"""Taylor mode, and derivatives of any order of functions of a number: against nested forward mode, mpmath and JAX."""

from __future__ import annotations

import dataclasses
import functools
import gc
import pickle
import tracemalloc
from importlib import import_module
from importlib.util import find_spec
from math import factorial

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from oracle import ROWS, parts, spaced
from test_peers import POINTS, call, evaluated, names_compared, operands
from test_programs import program
from test_sparse import programs

import chainrule as cr
from chainrule import errors
from chainrule.scipy import integrate, optimize
from chainrule.scipy.sparse import linalg

X = np.array([0.3, -0.7, 1.1])


def nested(f, curve, order):
    """The derivatives of `f(curve(t))` at 0, by `jvp` of `jvp`."""
    found, g = [], lambda t: f(*curve(t))
    for _ in range(order):
        g = functools.partial(lambda g, t: cr.jvp(g, (t,), (1.0,))[1], g)
        found.append(g(0.0))
    return found


def polynomial(x, coefficients):
    """The curve with these derivatives."""
    return lambda t: x + sum(c * (t**n / factorial(n)) for n, c in enumerate(coefficients, 1))


def check(f, args, order, tolerance=1e-9):
    """`jet` along a curve of that order, against nested forward mode along the same curve; `f` returns a list."""
    series = [
        [spaced(np.shape(a), ("series", i, n), dtype=np.asarray(a).dtype)[()] for n in range(order)]
        for i, a in enumerate(args)
    ]
    curves = [polynomial(a, s) for a, s in zip(args, series, strict=True)]
    value, found = cr.jet(f, tuple(args), series)
    desired = nested(f, lambda t: [curve(t) for curve in curves], order)
    for i, y in enumerate(f(*args)):
        np.testing.assert_array_equal(value[i], y)
        assert len(found[i]) == order
        for c, each in zip(found[i], desired, strict=True):
            assert c.dtype == np.asarray(y).dtype
            assert np.shape(c) == np.shape(y)
            assert not isinstance(c, cr.Tensor)
            scale = max(1.0, float(np.max(np.abs(each[i]), initial=0)))
            np.testing.assert_allclose(c, each[i], rtol=0, atol=tolerance * scale)


# -- every operation -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_every_row(rule):
    args = [np.linspace(low, high, 7)[2:5] for low, high in rule.domain]
    check(lambda *xs: [rule(*xs)], args, 4)


@pytest.mark.filterwarnings("ignore:`axes` should not be:DeprecationWarning")
@pytest.mark.parametrize("name", names_compared())
def test_every_function(name):
    letters = operands(call(name))

    def f(*xs):
        values = parts(evaluated(call(name), letters, np=np)(*xs))
        return [y for y in values if getattr(y, "dtype", np.dtype(float)).kind in "fc"]

    check(f, [POINTS[letter] for letter in letters], 3, 1e-8)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(programs())
def test_drawn_programs(f):
    check(lambda x: [f(x)], [np.linspace(-1, 1.3, 6)], 4)


@pytest.mark.parametrize("seed", range(1, 30, 4))
def test_programs_that_write_in_place(seed):
    check(lambda x: [program(seed)(x)], [np.random.default_rng(seed).normal(size=(4, 4)) / 4], 4)


CLOSED = {
    "exp": (lambda m, x: m.exp(x), 0.3),
    "a quotient": (lambda m, x: (1 + x) / (2 + x * x), 0.3),
    "a power": (lambda m, x: x**2.5, 0.7),
    "a whole power at zero": (lambda m, x: x**4 + 3 * x**2, 0.0),
    "x to the x": (lambda m, x: x**x, 0.7),
    "arctan": (lambda m, x: (np.arctan if m is np else mpmath.atan)(x), 0.4),
    "arcsinh": (lambda m, x: (np.arcsinh if m is np else mpmath.asinh)(x), 0.4),
    "arcsin": (lambda m, x: (np.arcsin if m is np else mpmath.asin)(x * x), 0.4),
    "hypot": (lambda m, x: m.hypot(x, 1 + x * x), 0.4),
    "log(1 + exp)": (lambda m, x: np.logaddexp(0, x) if m is np else mpmath.log(1 + mpmath.exp(x)), 0.4),
    "nested": (lambda m, x: m.exp(m.sin(x * x)) / (1 + m.tanh(m.sqrt(x))), 0.4),
}


@pytest.mark.parametrize("name", CLOSED)
def test_order_six_against_mpmath(name):
    f, x = CLOSED[name]
    with mpmath.workdps(60):
        taylor = mpmath.taylor(lambda x: f(mpmath, x), mpmath.mpf(x), 6)
        desired = [float(c * mpmath.factorial(n)) for n, c in enumerate(taylor)]
    value, found = cr.jet(lambda x: f(np, x), (x,), ([1.0, 0.0, 0.0, 0.0, 0.0, 0.0],))
    np.testing.assert_allclose([value, *found], desired, rtol=1e-13, atol=1e-13)
    for order, exact in enumerate(desired):
        np.testing.assert_allclose(cr.derivative(lambda x: f(np, x), order)(x), exact, rtol=1e-13, atol=1e-13)


def test_a_differential_equation():
    """The Taylor series of its solution, one coefficient after the other: y' = y², y(0) = 1 is 1/(1 - t)."""
    derivatives = [1.0]
    for n in range(8):
        _, found = cr.jet(lambda y: y * y, (1.0,), (derivatives,))
        derivatives = [1.0, *found[: n + 1]]
    np.testing.assert_allclose(derivatives, [factorial(n + 1) for n in range(9)])


# -- what goes in and comes out --------------------------------------------------------------------------------------
@dataclasses.dataclass
class Body:
    position: object
    name: object = None


def test_containers():
    p = Body({"x": X, "y": 2.0})
    series = Body({"x": [X, 0 * X], "y": [1.0, 3.0]})
    value, found = cr.jet(lambda p: (p.position["x"] * p.position["y"], Body(p.position["y"])), (p,), (series,))
    np.testing.assert_allclose(value[0], 2 * X)
    np.testing.assert_allclose(found[0], [3 * X, 5 * X])  # x y with x = X(1 + t), y = 2 + t + 3t²/2
    assert type(found[1]) is Body
    assert found[1].position == [1.0, 3.0]
    assert found[1].name is None
    d = cr.derivative(lambda t: {"circle": np.stack([np.cos(t), np.sin(t)]), "none": None, "c": 3.0}, 2)(0.0)
    np.testing.assert_allclose(d["circle"], [-1, 0])
    assert d["none"] is None
    assert d["c"] == 0.0


def test_dtypes():
    value, found = cr.jet(lambda x: np.sin(x) / x * 2.0, (X.astype("f4"),), ([X, X, X],))
    assert value.dtype == np.float32
    assert [c.dtype for c in found] == 3 * [np.float32]
    check(lambda z: [np.exp(z * z) / z, np.abs(z), np.conj(z) * z], [spaced(3, "z", dtype=complex)], 4)
    assert cr.derivative(lambda x: x**3, 2)(2) == 12.0
    np.testing.assert_allclose(cr.derivative(np.exp, 3)(0.3 + 1j), np.exp(0.3 + 1j))
    check(lambda x: [np.exp(1j * x) * x, np.floor(x), X], [X], 3)


def test_arguments_of_derivatives():
    f = lambda a, /, t, *, scale=1.0: a * t**3 * scale**2  # noqa: E731
    assert cr.derivative(f, 2, 1)(2.0, 3.0) == 36.0
    assert cr.derivative(f, 2, "t")(2.0, t=3.0) == 36.0
    assert cr.derivative(f, 2, "scale")(2.0, 3.0) == 108.0
    assert cr.derivative(f, 1, "scale")(2.0, 3.0, scale=2.0) == 216.0
    assert cr.derivative(f, 0)(2.0, 3.0) == 54.0


def cube(x):
    return x**3


def test_derivatives_are_picklable():
    again = pickle.loads(pickle.dumps(cr.derivative(cube, 2)))
    assert again(2.0) == 12.0
    assert again.__name__ == "cube"


# -- inside of other transforms ---------------------------------------------------------------------------------------
def third(x):
    return cr.jet(lambda x: np.sin(x) * x**2, (x,), ([1.0, 0.0, 0.0],))[1][2]


def test_jets_inside_of_derivatives():
    fourth = cr.derivative(lambda x: np.sin(x) * x**2, 4)(0.7)
    np.testing.assert_allclose(cr.grad(third)(0.7), fourth, rtol=1e-13)
    np.testing.assert_allclose(cr.jvp(third, (0.7,), (1.0,))[1], fourth, rtol=1e-13)
    np.testing.assert_allclose(cr.derivative(third)(0.7), fourth, rtol=1e-13)
    fifth = cr.derivative(lambda x: np.sin(x) * x**2, 5)(0.7)
    np.testing.assert_allclose(cr.derivative(third, 2)(0.7), fifth, rtol=1e-13)
    np.testing.assert_allclose(cr.hessian(third)(0.7), fifth, rtol=1e-13)
    np.testing.assert_allclose(cr.grad(lambda c: cr.jet(np.exp, (0.3,), ([1.0, c],))[1][1])(2.0), np.exp(0.3))
    inner = lambda x: cr.derivative(cr.grad(lambda y: np.sin(x * y)), 2)(x)  # noqa: E731
    np.testing.assert_allclose(inner(0.7), -(0.7**3) * np.cos(0.49), rtol=1e-13)  # x is outside: its own derivative not


def test_confusion_of_nested_derivatives():
    f = lambda x: x * cr.derivative(lambda y: x * y**3, 2)(x)  # 6x³  # noqa: E731
    np.testing.assert_allclose([cr.derivative(f, n)(2.0) for n in range(4)], [48, 72, 72, 36])
    np.testing.assert_allclose(cr.grad(f)(2.0), 72)
    w = cr.Tensor(3.0)
    y = cr.derivative(lambda t: np.sin(w * t), 3)(0.2)
    assert isinstance(y, cr.Tensor)
    y.backward()
    np.testing.assert_allclose(w.grad, -27 * np.cos(0.6) + 27 * 0.2 * np.sin(0.6))


def test_jets_and_vmap():
    batch = spaced((4, 3))
    along = lambda x: cr.jet(lambda x: np.cumsum(np.sin(x) * x), (x,), ([X, X**2, X],))[1]  # noqa: E731
    for c, desired in zip(cr.vmap(along)(batch), zip(*[along(x) for x in batch], strict=True), strict=True):
        np.testing.assert_allclose(c, desired, rtol=1e-12)
    check(lambda x: [cr.vmap(lambda x: np.sum(np.exp(x)) / x[0])(x)], [batch], 4)
    np.testing.assert_allclose(cr.vmap(cr.derivative(np.sin, 3))(X), -np.cos(X))


# -- own operations, singular points, memory -------------------------------------------------------------------------
def test_own_operations():
    sine = cr.primitive(lambda x: np.sin(x), name="sine_of_jets")
    cr.def_partials(sine, "cos(a)")
    check(lambda x: [sine(x * x)], [X], 4)
    once = cr.register_derivative(lambda x: np.sin(x), lambda x: np.cos(x), name="once")
    np.testing.assert_allclose(cr.jet(once, (X,), ([X],))[1], [np.cos(X) * X])
    with pytest.raises(errors.NoDerivativeError, match="derivative 1 of once"):
        cr.jet(once, (X,), ([X, X],))
    both = cr.custom_jvp(lambda x: (np.sin(x), x**3))
    both.defjvp(lambda p, t: ((np.sin(p[0]), p[0] ** 3), (np.cos(p[0]) * t[0], 3 * p[0] ** 2 * t[0])))
    check(lambda x: list(both(x * x)), [X], 4)
    check(lambda x: [both(np.cos(x))[1]], [X], 4)


def test_what_has_no_forward_mode_is_named():
    f = cr.custom_vjp(lambda x: x**2)
    f.__name__ = "square_in_reverse"
    f.defvjp(lambda x: (x**2, x), lambda x, ct: (2 * x * ct,))
    with pytest.raises(errors.NoDerivativeError, match="forward"):
        cr.jet(f, (1.0,), ([1.0, 0.0],))


def test_singular_points():
    length = lambda x: np.sqrt(x * x)  # noqa: E731
    assert cr.jet(length, (0.0,), ([1.0, 0.0],))[1][0] == 0
    assert np.isnan(cr.jet(length, (0.0,), ([1.0, 0.0],), singular="nan")[1][0])
    chosen = lambda x: np.where(x > 0, np.log(np.where(x > 0, x, 1)), x**2)  # noqa: E731
    _, found = cr.jet(chosen, (np.array([-1.0, 2.0]),), ([np.ones(2), np.zeros(2), np.zeros(2)],))
    np.testing.assert_allclose(found, [[-2, 0.5], [2, -0.25], [0, 0.25]])
    _, found = cr.jet(lambda x: np.where(x > 0, np.sqrt(x), 0), (0.0,), ([1.0, 0.0],))
    np.testing.assert_array_equal(found, [0, 0])


def peak(f, *args):
    f(*args)
    gc.collect()
    tracemalloc.start()
    f(*args)
    _, size = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size


@pytest.mark.parametrize("order", [1, 3])
def test_forward_mode_needs_no_memory_for_a_loop(order):
    def simulate(rate, steps):
        x = np.ones(10_000)
        for _ in range(steps):
            x = x + 0.001 * np.sin(rate * x)
            x[0] = rate
        return np.sum(x)

    short, long = (peak(cr.derivative(simulate, order), 1.3, steps) for steps in (20, 400))
    assert long < short + 4 * 80_000
    assert peak(cr.grad(simulate), 1.3, 400) > 400 * 80_000


# -- bad input -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.jet(np.sin, X, [X]), errors.StructureError, "tuples: jet"),
        (lambda: cr.jet(np.sin, (X,), X), errors.StructureError, "tuples: jet"),
        (lambda: cr.jet(np.sin, (X,), (X,)), errors.StructureError, r"as a list, but was given array of shape"),
        (lambda: cr.jet(np.sin, (X,), ([X], [X])), errors.StructureError, "same container"),
        (lambda: cr.jet(np.sin, ({"a": X},), ({"b": [X]},)), errors.StructureError, "same container"),
        (lambda: cr.jet(np.sin, (X,), ([],)), errors.StructureError, "at least one"),
        (lambda: cr.jet(np.add, (X, X), ([X], [X, X])), errors.StructureError, r"these have \[1, 2\]"),
        (
            lambda: cr.jet(np.sin, (X,), ([X, X[:2]],)),
            errors.GradientShapeError,
            r"derivative of order 2 of shape \(2,\) for an argument of shape \(3,\)",
        ),
        (lambda: cr.jet(np.sin, (X,), ([1j * X],)), errors.GradientShapeError, "complex128"),
        (lambda: cr.derivative(np.sin, -1), ValueError, "order=-1"),
        (lambda: cr.derivative(np.sin, 1.5), ValueError, "order=1.5"),
        (lambda: cr.derivative(np.sin)(X), errors.OutputError, "elementwise_grad"),
        (lambda: cr.derivative(np.sin)({"x": 1.0}), errors.OutputError, "of a number"),
        (lambda: cr.derivative(np.sin, 1, 2)(1.0), errors.StructureError, "argnums=2"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


# -- JAX -----------------------------------------------------------------------------------------------------------
if find_spec("jax"):
    JAX_FUNCTIONS = {
        "elementwise": lambda np, x: np.exp(np.sin(x)) / (1 + x**2),
        "products": lambda np, x: (x[:, None] * x) @ np.cos(x),
        "network": lambda np, x: np.tanh(np.outer(x, x) @ np.tanh(x)),
        "logarithms": lambda np, x: np.log(2 + x) * np.sqrt(3 + x * x),
    }

    @pytest.mark.parametrize("name", JAX_FUNCTIONS)
    def test_jets_are_those_of_jax(name):
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)
        theirs = import_module("jax.experimental.jet").jet
        f = JAX_FUNCTIONS[name]
        series = [spaced(3, ("jax", n)) for n in range(6)]
        value, found = cr.jet(functools.partial(f, np), (X,), (series,))
        expected, desired = theirs(functools.partial(f, jax.numpy), (X,), (series,))
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        assert type(found) is list
        for c, d in zip(found, desired, strict=True):
            np.testing.assert_allclose(c, d, rtol=1e-9, atol=1e-9 * np.max(np.abs(d)))


# -- operations whose derivative calls a function of the user's again ------------------------------------------------
def _integral(t):
    return integrate.quad(lambda x: np.exp(-(t[0] ** 2) * x), 0, t[1] ** 2)[0]


def _decay(t):
    found = integrate.solve_ivp(lambda s, y: -y * t[0] ** 2, (0, t[1]), t[1:] ** 2, rtol=1e-11, atol=1e-11)
    return found.y[0, -1]


CALLS_AGAIN = {
    "quad": _integral,
    "quad with args": lambda t: integrate.quad(lambda x, a: np.exp(-(a**2) * x), 0, 1, args=(t[0],))[0],
    "solve_ivp": _decay,
    "root": lambda t: optimize.root(lambda x, t: x**3 + x - t[0] - t[1] ** 2, [1.0], args=(t,)).x[0],
    "fixed_point": lambda t: optimize.fixed_point(lambda x, t: 0.3 * np.cos(x) * t[0] ** 2, [0.5], args=(t,))[0],
    "minimize": lambda t: optimize.minimize(
        lambda x, t: np.sum((x - t[0] ** 2) ** 2 + np.exp(x * t[1])), [0.5], args=(t,), tol=1e-13
    ).x[0],
    "cg": lambda t: linalg.cg(np.eye(2) * t[0] ** 2 + 0.1 * np.outer(t, t), t**2, rtol=1e-14)[0][0],
    "checkpoint": lambda t: np.sum(cr.checkpoint(lambda x: np.sin(x * t[0] ** 2) * t[1])(t**2)),
    "checkpoint_chain": lambda t: np.sum(cr.checkpoint_chain([lambda s: np.sin(s) * t[0] ** 2] * 4, memory=2)(t**2)),
    "while_loop": lambda t: cr.while_loop(lambda s: s < 20.0, lambda s: s * (1 + t[0] ** 2), t[1] ** 2),
    "scan": lambda t: cr.scan(lambda c, x: (c * x + t[0] ** 2, c), t[1] ** 2, np.arange(3.0) * t[0] ** 2)[0],
    "cond": lambda t: cr.cond(t[0] > 0, lambda s: s**2 * t[1] ** 2, lambda s: s, t[0] ** 3),
}


@pytest.mark.parametrize("name", CALLS_AGAIN)
def test_what_a_function_took_from_outside_moves_too(name):
    x, v = np.array([1.0, 0.3]), np.array([1.0, 0.5])
    _, found = cr.jet(CALLS_AGAIN[name], (x,), ((v, np.zeros(2), np.zeros(2)),))
    np.testing.assert_allclose(found, nested(CALLS_AGAIN[name], lambda t: (x + t * v,), 3), rtol=1e-5)


@pytest.mark.parametrize("name", ["quad", "quad with args", "solve_ivp", "root", "cg"])
def test_all_second_derivatives_at_once(name):
    x, gradient = np.array([1.0, 0.3]), cr.grad(CALLS_AGAIN[name])
    expected = [(gradient(x + e) - gradient(x - e)) / 2e-5 for e in 1e-5 * np.eye(2)]
    np.testing.assert_allclose(cr.hessian(CALLS_AGAIN[name])(x), expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(cr.jacobian(gradient, mode="rev")(x), expected, rtol=1e-5, atol=1e-8)
