"""Operations of one's own, and functions with a derivative of their own: both modes, higher orders, bad input."""

from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import math
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from oracle import check, check_dtypes, spaced

import chainrule as cr
from chainrule import testing
from chainrule.errors import (
    ConversionError,
    FormulaError,
    GradientShapeError,
    NoDerivativeError,
    StructureError,
)
from chainrule.rules import functions, rules

X = spaced((3, 4), "own", 0.2, 1.5)


@pytest.fixture(autouse=True)
def _registry():
    before = dict(rules), dict(functions)
    yield
    for registry, old in zip((rules, functions), before, strict=True):
        registry.clear()
        registry.update(old)


def forward(f):
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


MODES = {"r": cr.grad, "f": forward}


# -- primitive -----------------------------------------------------------------------------------------------------
def test_an_elementwise_operation():
    @cr.primitive
    def hyp(x, y):
        """The length of the hypotenuse."""
        assert not isinstance(x, cr.Tensor)
        return np.hypot(x, y)

    assert cr.def_partials(hyp, "a/y", "b/y") is hyp
    assert hyp.__doc__ == "The length of the hypotenuse."
    assert hyp.__name__ == "hyp"
    check(hyp, [X, X[0] + 1])  # broadcast, second order, both modes
    check_dtypes(hyp, [X.astype("f4"), X.astype("f4")])
    check(lambda x, y: hyp(y=y, x=x), [X, X + 1])
    for modes in itertools.product("rf", repeat=3):
        f, g = (lambda x: hyp(x, 2.0)), (lambda x: np.hypot(x, 2.0))
        for mode in modes:
            f, g = MODES[mode](f), MODES[mode](g)
        np.testing.assert_allclose(f(0.7), g(0.7), rtol=1e-12)
    assert "hyp" in cr.draw(hyp(cr.Tensor(1.0), 2.0))


def test_complex_operands_are_conjugated_centrally():
    square = cr.def_partials(cr.primitive(lambda z: z * z, name="own_square"), "2*a")
    check(square, [spaced((3,), "z", dtype=complex)])


def test_formulas_may_call_own_operations():
    cr.def_partials(cr.primitive(np.tanh, name="own_tanh"), "1 - y*y")
    log_cosh = cr.def_partials(cr.primitive(lambda x: np.log(np.cosh(x)), name="own_log_cosh"), "own_tanh(a)")
    check(log_cosh, [X])
    assert "own_tanh" in log_cosh.pull.__doc__ if log_cosh.pull else True


@pytest.mark.parametrize("name", ["accumulate", "node", "ct", "ndarray", "total"])
def test_names_of_the_walk_are_free(name):
    op = cr.def_partials(cr.primitive(lambda x: x**3, name=name), "3*a*a")
    check(op, [X])
    check(lambda x: np.exp(x) / x, [X])


def test_a_linear_operation():
    @cr.primitive
    def every_second(x, start=0):
        return x[start::2]

    def back(ct, x, start=0):
        filled = np.zeros(x.shape, ct.dtype)
        return np.concatenate([filled[:start], np.ravel(np.stack([ct, 0 * ct], axis=1))])[: x.shape[0]]

    cr.def_linear(every_second, back)
    check(lambda x: every_second(x, start=1), [X[:, 0]])
    check(lambda x: every_second(x, 1), [X[0]])
    check(every_second, [X[0]])


def test_a_product():
    @cr.primitive
    def outer_product(x, y):
        return np.outer(x, y)

    cr.def_linear(outer_product, lambda ct, x, y: ct @ y, lambda ct, x, y: x @ ct)
    check(outer_product, [X[0], X[:, 0]])


def test_rules_of_an_operation():
    @cr.primitive
    def inverted(x):
        return np.linalg.inv(x)

    def pull(ct, node):
        return -(node.value.T @ ct @ node.value.T)

    def push(node, tangents):
        return -(node.value @ tangents[0] @ node.value)

    cr.def_rules(inverted, pulls=(pull,), push=push, needs=("y",))
    A = np.array([[2.0, 1.0], [0.5, 3.0]])
    check(inverted, [A])
    x = cr.Tensor(A)
    y = inverted(x)
    assert x.node.value is None
    assert y.node.value is not None  # what `needs` says, and nothing else


def test_any_number_of_operands():
    @cr.primitive
    def added(*xs):
        return sum(xs)

    cr.def_rules(
        added,
        pulls=lambda ct, node: [ct] * len(node.operands),
        push=lambda node, tangents: sum(t for t in tangents if t is not None),
    )
    for count in (1, 2, 5):
        check(lambda *xs: added(*xs) ** 2, [X] * count)


def test_what_is_missing_raises_by_name():
    op = cr.primitive(np.sinh, name="bare_op")
    assert op(1.0) == np.sinh(1.0)
    value = op(cr.Tensor(1.0))  # values alone need no derivative
    with pytest.raises(NoDerivativeError, match="bare_op has no reverse-mode rule"):
        value.backward()
    with pytest.raises(NoDerivativeError, match="bare_op has no forward-mode rule"):
        cr.jvp(op, (1.0,), (1.0,))
    cr.def_rules(op, pulls=(lambda ct, node: ct * np.cosh(node.operands[0].value),))  # from now on it has one
    assert cr.grad(op)(1.0) == np.cosh(1.0)
    with pytest.raises(NoDerivativeError, match="bare_op has no forward-mode rule; use grad or vjp"):
        cr.jvp(op, (1.0,), (1.0,))
    half = cr.def_partials(cr.primitive(np.hypot, name="half_known"), "a/y", None)
    assert cr.grad(half)(3.0, 4.0) == 0.6
    with pytest.raises(NoDerivativeError, match=r"half_known .* second operand"):
        cr.grad(half, argnums=1)(3.0, 4.0)


def test_bad_definitions():
    with pytest.raises(ValueError, match="already"):
        cr.primitive(np.tanh)
    with pytest.raises(ValueError, match="name"):
        cr.primitive(lambda x: x)

    @cr.primitive
    def two_operands(x, y):
        return x + y

    with pytest.raises(ValueError, match=r"two_operands has 2 operands \(x, y\), but 1 derivative was given"):
        cr.def_partials(two_operands, "1")
    with pytest.raises(FormulaError, match="unknown name 'z'"):
        cr.def_partials(two_operands, "1", "z")
    with pytest.raises(ValueError, match="2 operands"):
        cr.def_linear(two_operands, lambda ct, x, y: ct)
    with pytest.raises(ValueError, match="2 operands"):
        cr.def_rules(two_operands, pulls=(None, None, None))
    with pytest.raises(TypeError, match="primitive"):
        cr.def_partials(np.tanh, "1")
    cr.def_partials(two_operands, "1", "1")
    assert cr.grad(two_operands)(1.0, 2.0) == 1.0
    with pytest.raises(ValueError, match="has a derivative already"):
        cr.def_partials(two_operands, "1", "1")


def test_a_cell_may_be_run_again():
    def cell(factor):
        @cr.primitive
        def scaled(x):
            return factor * x

        @cr.primitive
        def twice_scaled(x):
            return factor * x * x / 2

        cr.def_partials(scaled, str(factor))
        return cr.def_partials(twice_scaled, "scaled(a)")

    assert cr.grad(cell(2.0))(3.0) == 6.0
    assert cr.grad(cell(5.0))(3.0) == 15.0


def test_derivatives_do_not_leave_by_a_side_door():
    w = cr.Tensor(2.0)
    op = cr.def_partials(cr.primitive(lambda x: w * x, name="captures"), "1")
    with pytest.raises(ConversionError, match=r"captures uses .* not among its arguments"):
        op(cr.Tensor(1.0))

    @cr.primitive
    def shifted(x, by=0.0):
        return x + by

    with pytest.raises(NoDerivativeError, match=r"shifted .* not an operand"):
        shifted(cr.Tensor(1.0), by=w)
    with pytest.raises(NoDerivativeError, match=r"shifted .* not an operand"):
        shifted(1.0, w)


# -- opaque functions ------------------------------------------------------------------------------------------------
def test_a_c_function():
    libm = ctypes.CDLL(ctypes.util.find_library("m"))
    for name in ("erf", "exp"):
        getattr(libm, name).restype = ctypes.c_double
        getattr(libm, name).argtypes = [ctypes.c_double]

    def erf(x):
        return libm.erf(x)

    with pytest.raises(ctypes.ArgumentError):
        libm.erf(cr.Tensor(1.0))
    gauss = cr.register_derivative(
        lambda x: 2 / math.sqrt(math.pi) * libm.exp(-x * x), lambda x: -2 * x * gauss.__wrapped__(x), name="c_gauss"
    )
    c_erf = cr.register_derivative(erf, gauss, name="c_erf")
    assert c_erf(0.5) == math.erf(0.5)
    testing.check_grads(lambda x: c_erf(x) ** 2, (0.5,), order=2)
    with pytest.raises(NoDerivativeError, match="the derivative 1 of c_gauss has no reverse-mode rule"):
        cr.grad(cr.grad(cr.grad(c_erf)))(0.5)


def test_vjp_and_jvp_of_an_opaque_function():
    def solve(A, b):
        assert type(A) is np.ndarray
        return np.linalg.solve(A, b)

    op = cr.register_derivative(
        solve,
        vjps=(
            lambda ct, A, b: -np.outer(np.linalg.solve(A.T, ct), np.linalg.solve(A, b)),
            lambda ct, A, b: np.linalg.solve(A.T, ct),
        ),
        jvp=lambda tangents, A, b: np.linalg.solve(A, tangents[1] - tangents[0] @ np.linalg.solve(A, b)),
        name="opaque_solve",
    )
    args = [np.array([[3.0, 1.0], [0.5, 2.0]]), np.array([1.0, -2.0])]
    check(op, args, order=1)
    check(lambda b: op(args[0], b), args[1:], order=1)
    wrong = cr.register_derivative(solve, vjps=(None, lambda ct, A, b: A), name="wrong_solve")
    with pytest.raises(GradientShapeError, match=r"vjp 2 of wrong_solve returned shape \(2, 2\)"):
        cr.vjp(wrong, *args)[1](args[1])
    with pytest.raises(TypeError, match="either"):
        cr.register_derivative(solve, name="nothing")


def test_zero_wins_over_infinite_partials():
    root = cr.register_derivative(np.sqrt, lambda x: 0.5 / np.sqrt(x), name="own_root")
    with np.errstate(divide="ignore"):
        gradient = cr.grad(lambda x: np.sum(np.where(x > 0, root(x), 0.0)))(np.array([0.0, 4.0]))
        np.testing.assert_array_equal(gradient, [0, 0.25])
        tangent = cr.jvp(root, (np.array([0.0, 4.0]),), (np.array([0.0, 1.0]),))[1]
        np.testing.assert_array_equal(tangent, [0, 0.25])


if find_spec("numba"):

    def test_numba():
        numba = import_module("numba")

        @numba.njit
        def compiled(x, y):
            out = np.empty_like(x)
            for i in range(x.size):
                out[i] = math.sin(x[i]) * y[i]
            return out

        op = cr.register_derivative(
            compiled, numba.njit(lambda x, y: np.cos(x) * y), numba.njit(lambda x, y: np.sin(x)), name="numba_op"
        )
        check(op, [X[0], X[1]], order=1)

        @numba.vectorize(["float64(float64)"])
        def cube(x):
            return x * x * x

        cr.register_derivative(cube, lambda x: 3 * x * x, name="numba_cube")
        check(cube, [X], order=1)


# -- custom_vjp ------------------------------------------------------------------------------------------------------
def sin_times(calls=None):
    @cr.custom_vjp
    def f(x, y):
        return np.sin(x) * y

    def fwd(x, y):
        if calls is not None:
            calls.append(type(x))
        return f.fun(x, y), (np.cos(x), np.sin(x), y)

    def bwd(res, g):
        cos_x, sin_x, y = res
        return cos_x * g * y, sin_x * g

    f.defvjp(fwd, bwd)
    return f


def test_custom_vjp():
    calls = []
    f = sin_times(calls)
    x, y = X[0], X[1]
    value, pullback = cr.vjp(f, x, y)
    np.testing.assert_array_equal(value, np.sin(x) * y)
    gx, gy = pullback(np.ones(4))
    np.testing.assert_array_equal(gx, np.cos(x) * y)
    np.testing.assert_array_equal(gy, np.sin(x))
    assert calls == [np.ndarray]  # once, on plain arrays
    testing.check_grads(f, (x, y), order=3, modes="rev")
    np.testing.assert_allclose(
        cr.jvp(cr.grad(lambda x: np.sum(f(x, y))), (x,), (np.ones(4),))[1], -np.sin(x) * y, rtol=1e-14
    )  # forward over reverse needs no forward mode of f
    with pytest.raises(NoDerivativeError, match="f has no forward-mode rule"):
        cr.jvp(f, (x, y), (x, y))
    assert f(2.0, 3.0) == np.sin(2.0) * 3.0
    outside = cr.Tensor(2.0)
    with cr.no_grad():
        assert f(outside, 3.0).node is None


def test_custom_vjp_of_containers_and_other_arguments():
    @cr.custom_vjp
    def f(params, name, count):
        return {"y": params["w"] * params["x"] * count, "name": name, "n": 3}

    def fwd(params, name, count):
        return f.fun(params, name, count), (params, count)

    def bwd(res, ct):
        params, count = res
        assert ct["name"] == "hello"
        return {"w": ct["y"] * params["x"] * count, "x": ct["y"] * params["w"] * count}, None, None

    f.defvjp(fwd, bwd)
    result = f({"w": cr.Tensor(2.0), "x": X}, "hello", 4)
    assert result["name"] == "hello"
    assert result["n"] == 3
    testing.check_grads(lambda w, x: f({"w": w, "x": x}, "hello", count=4)["y"] ** 2, (2.0, X[0, 0]), 2, "rev")
    testing.check_grads(lambda w: f({"w": w, "x": 3.0}, "hello", 4)["y"] ** 2, (2.0,), 2, "rev")


def test_custom_vjp_nondiff_argnums_and_several_results():
    @cr.custom_vjp
    def plain(x):
        return x

    g = cr.custom_vjp(lambda f, x, n: (f(x), x.astype("f4") * n), nondiff_argnums=(0, 2))
    g.defvjp(
        lambda f, x, n: ((f(x), x.astype("f4") * n), x),
        lambda f, n, x, ct: (ct[0] * np.cos(x) + ct[1].astype("f8") * n,),
    )
    gradient = cr.grad(lambda x: np.sum(g(np.sin, x, 3)[0]) + 2 * np.sum(g(np.sin, x, 3)[1]))(X)
    np.testing.assert_allclose(gradient, np.cos(X) + 6)
    first = cr.grad(lambda x: np.sum(g(np.sin, x, 3)[0]))(X)  # the other cotangent is zero
    np.testing.assert_allclose(first, np.cos(X))
    with pytest.raises(NoDerivativeError, match="nondiff_argnums"):
        g(np.sin, X, cr.Tensor(2.0))
    with pytest.raises(NoDerivativeError, match="defvjp"):
        plain(X)


def test_results_have_memory_of_their_own():
    f = cr.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, x), lambda x, ct: (ct * x,))
    x = cr.Tensor([2.0, 3.0])
    y = f(x)
    y *= 2
    np.testing.assert_array_equal(x.data, [2, 3])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [4, 6])


def test_bad_vjps():
    def made(fwd, bwd):
        f = cr.custom_vjp(lambda x, y: x * y)
        f.defvjp(fwd, bwd)
        return lambda x: np.sum(f(x, 2.0))

    def good(x, y):
        return x * y, (x, y)

    with pytest.raises(StructureError, match="must return a pair"):
        cr.grad(made(lambda x, y: x * y, None))(X)
    with pytest.raises(StructureError, match="cotangents of 2 arguments, not of 1"):
        cr.grad(made(good, lambda res, ct: (ct,)))(X)
    with pytest.raises(StructureError, match="cotangents of 2 arguments"):
        cr.grad(made(good, lambda res, ct: ct))(X)
    with pytest.raises(StructureError, match="structure"):
        cr.grad(made(good, lambda res, ct: ({"x": ct}, None)))(X)
    with pytest.raises(GradientShapeError, match=r"shape \(4,\) for an argument of shape \(3, 4\)"):
        cr.grad(made(good, lambda res, ct: (ct[0], None)))(X)
    w = cr.Tensor(3.0)
    for fwd, bwd in [
        (lambda x, y: (x * w, None), None),
        (lambda x, y: (x * y, w * 1), None),
        (good, lambda res, ct: (ct * w, None)),
    ]:
        with pytest.raises(ConversionError, match="not among its arguments"):
            cr.grad(made(fwd, bwd))(X)


# -- custom_jvp ------------------------------------------------------------------------------------------------------
def log1pexp():
    @cr.custom_jvp
    def f(x):
        return np.log(1 + np.exp(x))

    @f.defjvp
    def _(primals, tangents):
        (x,), (t,) = primals, tangents
        return f(x), t * (1 - 1 / (1 + np.exp(x)))

    return f


def test_custom_jvp():
    f = log1pexp()
    check(f, [X])
    check_dtypes(f, [X.astype("f4")])
    testing.check_grads(f, (X[0],), order=3)
    assert cr.grad(f)(100.0) == 1.0
    for modes in itertools.product("rf", repeat=3):
        g, h = f, (lambda x: np.logaddexp(0.0, x))
        for mode in modes:
            g, h = MODES[mode](g), MODES[mode](h)
        np.testing.assert_allclose(g(0.3), h(0.3), rtol=1e-12)


def test_custom_jvp_of_containers():
    @cr.custom_jvp
    def f(p, n):
        return p["a"] * p["b"] ** n, [np.sin(p["a"])]

    @f.defjvp
    def _(primals, tangents):
        (p, n), (t, _) = primals, tangents
        return f(p, n), (
            t["a"] * p["b"] ** n + n * p["a"] * p["b"] ** (n - 1) * t["b"],
            [np.cos(p["a"]) * t["a"]],
        )

    testing.check_grads(lambda a, b: f({"a": a, "b": b}, 3), (X[0], X[1]))
    testing.check_grads(lambda b: f({"a": 2.0, "b": b}, 3)[0], (X[1],))
    testing.check_grads(lambda a: f({"a": a, "b": 2.0}, 3)[1], (X[1],))
    testing.check_grads(lambda a, b: f({"a": a, "b": b}, 3)[0], (spaced((2,), 0, dtype=complex), X[1, :2]))


def test_custom_jvp_of_a_custom_jvp_and_nondiff_argnums():
    @lambda f: cr.custom_jvp(f, nondiff_argnums=(0,))
    def apply(f, x):
        return f(x)

    @apply.defjvp
    def _(f, primals, tangents):
        (x,), (t,) = primals, tangents
        return f(x), np.cos(x) * t

    testing.check_grads(lambda x: apply(np.sin, x * x), (X[0],))
    inner = log1pexp()
    testing.check_grads(lambda x: apply(np.sin, inner(x)), (X[0],))


def test_bad_jvps():
    def made(jvp):
        f = cr.custom_jvp(lambda x: x * 2)
        f.defjvp(jvp)
        return f

    w = cr.Tensor(3.0)
    cases = [
        (lambda p, t: p[0], StructureError, "pair"),
        (lambda p, t: (p[0], [t[0]]), StructureError, "structure"),
        (lambda p, t: (p[0], t[0][0]), GradientShapeError, r"shape \(4,\)"),
        (lambda p, t: (p[0], t[0] * w), ConversionError, "not among its arguments"),
    ]
    for jvp, error, message in cases:
        with pytest.raises(error, match=message):
            cr.jvp(made(jvp), (X,), (X,))
        if error is not ConversionError:
            with pytest.raises(error, match=message):
                cr.vjp(made(jvp), X)[1](X)
    with pytest.raises(NoDerivativeError, match="defjvp"):
        cr.custom_jvp(np.negative)(1.0)


def numbers_of_custom_derivatives(lib, xp, factor):
    """With a factor that is not 1 the derivatives are wrong: to see that it is they that are used."""

    @lib.custom_vjp
    def f(x, y):
        return xp.sin(x["a"]) * y

    def fwd(x, y):
        return xp.sin(x["a"]) * y, (x, y)  # calling f here, forward over reverse would meet f itself

    def bwd(res, ct):
        x, y = res
        return {"a": factor * xp.cos(x["a"]) * y * ct}, xp.sin(x["a"]) * ct

    f.defvjp(fwd, bwd)

    @lib.custom_jvp
    def g(x, y):
        return x * y

    @g.defjvp
    def g_jvp(primals, tangents):
        (x, y), (s, t) = primals, tangents
        return g(x, y), factor * s * y + x * t

    def through_f(x, y):
        return f({"a": x}, y) ** 2

    first = lib.grad(through_f, argnums=(0, 1))(0.3, 0.5)
    second = lib.grad(lambda x: lib.grad(through_f)(x, x * x))(0.7) if factor == 1 else 0.0
    mixed = lib.jvp(lambda x: lib.grad(through_f)(x, x * x), (0.7,), (1.0,))
    of_g = lib.grad(lambda x: lib.grad(g)(x, x * x))(0.7)
    return [float(x) for x in (*first, second, *mixed, of_g, *lib.jvp(g, (0.3, 0.5), (1.0, 2.0)))]


if find_spec("jax"):

    @pytest.mark.parametrize("factor", [1, 3])
    def test_custom_derivatives_are_those_of_jax(factor):
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)
        theirs = numbers_of_custom_derivatives(jax, import_module("jax.numpy"), factor)
        np.testing.assert_allclose(numbers_of_custom_derivatives(cr, np, factor), theirs, rtol=1e-12)


# -- check_grads -----------------------------------------------------------------------------------------------------
def test_check_grads_accepts_what_is_right():
    testing.check_grads(lambda d: [d["x"] @ d["y"], np.abs(d["x"])], ({"x": X - 0.7, "y": X[0], "n": 3},), order=3)
    testing.check_grads(lambda z: np.abs(z) ** 2 * z, (spaced((3,), "z", dtype=complex),))
    testing.check_grads(np.tanh, (np.float32(0.3),))
    testing.check_grads(np.sum, (np.linspace(0, 1, 1000),), order=1)
    testing.check_grads(lambda x: np.where(x > 0.5, np.exp(x), x**2), (X,), order=1)


@pytest.mark.parametrize("mode", ["fwd", "rev"])
def test_check_grads_finds_what_is_wrong(mode):
    wrong = cr.register_derivative(lambda x: np.sin(x), lambda x: np.cos(x) + 1e-5 * (x == X[1, 2]), name="nearly_sin")
    with pytest.raises(
        cr.errors.DerivativeMismatchError, match=rf"order 1 \({mode}\): .*at index \(1, 2\): \S+, but by"
    ):
        testing.check_grads(wrong, (X,), modes=mode)
    testing.check_grads(wrong, (X,), order=1, modes=mode, tolerance=1e-4)


def test_check_grads_finds_what_is_wrong_at_second_order():
    f = cr.custom_jvp(lambda x: x**3)
    f.defjvp(lambda p, t: (p[0] ** 3, t[0] * cr.stop_gradient(3 * p[0] ** 2)))
    testing.check_grads(f, (0.5,), order=1)
    with pytest.raises(cr.errors.DerivativeMismatchError, match=r"order 2 \(fwd of fwd\)"):
        testing.check_grads(f, (0.5,))
    with pytest.raises(
        cr.errors.DerivativeMismatchError, match=r"order 2 \(rev of rev\): argument 0: 0.0, but by diff"
    ):
        testing.check_grads(f, (0.5,), modes="rev")


def test_check_grads_looks_at_all_of_a_large_argument():
    x = np.linspace(0.1, 1, 3000)
    wrong = cr.register_derivative(np.sin, lambda x: np.cos(x) * (1 + 1e-3 * (x > 0.5)), name="half_sin")
    with pytest.raises(cr.errors.DerivativeMismatchError):
        testing.check_grads(wrong, (x,), order=1, modes="rev")


def test_check_grads_refuses_nonsense():
    with pytest.raises(ValueError, match="modes"):
        testing.check_grads(np.sin, (1.0,), modes=("reverse",))
    with pytest.raises(ValueError, match="order"):
        testing.check_grads(np.sin, (1.0,), order=0)
    with pytest.raises(cr.errors.OutputError, match="no argument"):
        testing.check_grads(np.sin, (1,))


def test_replaced_derivatives_under_vmap():
    """One example after the other, for both ways of saying the derivative are programs for one example."""
    x = np.array([0.5, 1.0, 2.0])
    cubed = cr.custom_vjp(lambda x: x**3)
    cubed.defvjp(lambda x: (x**3, x), lambda x, ct: (ct * 30 * x**2,))  # ten times the derivative: it is used
    sine = cr.custom_jvp(lambda x: np.sin(x))
    sine.defjvp(lambda primals, tangents: (np.sin(primals[0]), 10 * np.cos(primals[0]) * tangents[0]))
    for f, slope in ((cubed, 30 * x**2), (sine, 10 * np.cos(x))):
        np.testing.assert_allclose(cr.vmap(f)(x), [f(value) for value in x], rtol=1e-15)
        np.testing.assert_allclose(cr.vmap(cr.grad(f))(x), slope, rtol=1e-15)
        np.testing.assert_allclose(cr.grad(lambda x, f=f: np.sum(cr.vmap(f)(x)))(x), slope, rtol=1e-15)


def test_jacobian_takes_the_mode_that_there_is():
    x = np.array([0.5, 1.0, 2.0])
    cubed = cr.custom_vjp(lambda x: x**3)
    cubed.defvjp(lambda x: (x**3, x), lambda x, ct: (ct * 3 * x**2,))
    np.testing.assert_allclose(cr.jacobian(cubed)(x), np.diag(3 * x**2), rtol=1e-15)
    with pytest.raises(cr.errors.NoDerivativeError, match="forward"):
        cr.jacobian(cubed, mode="fwd")(x)


def test_partials_that_are_functions_are_refused():
    op = cr.primitive(lambda x: np.sin(x), name="partials_of_functions")
    with pytest.raises(TypeError, match=r"formulas, such as .*def_rules"):
        cr.def_partials(op, np.cos)
