"""Calculus beyond grad and jvp: arguments by name, pickling, linearize, products with curvature, Taylor series."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import inspect
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors

X = np.array([0.3, -0.7, 1.1])
V = np.array([1.0, 0.5, -2.0])


def forward(f):
    return lambda x: cr.jvp(f, (x,), (np.ones_like(x),))[1]


MODES = {"r": cr.grad, "f": forward}


# -- which arguments ---------------------------------------------------------------------------------------------
def model(x, scale, /, shift=1.0, *more, rate=2.0, **others):
    extra = sum(others.values(), start=0.0)
    return np.sum(np.sin(x) * scale) + shift**2 + rate**3 + extra**2 + sum(more)


def test_arguments_by_name():
    x = X
    np.testing.assert_allclose(cr.grad(model, "x")(x, 2.0), 2 * np.cos(x))
    assert cr.grad(model, "scale")(x, 2.0) == np.sum(np.sin(x))
    assert cr.grad(model, "shift")(x, 2.0, 3.0) == 6.0
    assert cr.grad(model, "shift")(x, 2.0, shift=3.0) == 6.0
    assert cr.grad(model, "shift")(x, 2.0) == 2.0  # at its default
    assert cr.grad(model, "rate")(x, 2.0) == 12.0
    assert cr.grad(model, "rate")(x, 2.0, rate=1.0) == 3.0
    assert cr.grad(model, "other")(x, 2.0, other=5.0) == 10.0
    value, (gx, g1, grate, gother) = cr.value_and_grad(model, ("x", -1, "rate", "other"))(x, 2.0, other=5.0)
    assert value == model(x, 2.0, other=5.0)
    np.testing.assert_allclose(gx, 2 * np.cos(x))
    assert (g1, grate, gother) == (np.sum(np.sin(x)), 12.0, 10.0)
    gradient = cr.grad(lambda *, weights: weights["w"] * weights["b"], "weights")(weights={"w": 2.0, "b": 3.0})
    assert gradient == {"w": 3.0, "b": 2.0}
    (single,) = cr.grad(model, ["rate"])(x, 2.0)
    assert single == 12.0
    assert cr.grad(cr.grad(lambda x, a: a * x**2, "x"), "a")(3.0, 1.0) == 6.0  # names survive a transform
    assert cr.grad(functools.partial(model, X), "rate")(2.0) == 12.0


@pytest.mark.parametrize(
    ("argnums", "message"),
    [
        ("y", "argnums='y', but model was called without an argument of that name; its parameters are x, scale"),
        ("more", "argnums='more'"),
        ("others", "argnums='others'"),
        (2, "argnums=2, but model was called with 2 positional arguments. .*by name"),
        ((0, "x"), "says one argument twice"),
        ((0, -2), "says one argument twice"),
    ],
)
def test_arguments_that_are_not_there(argnums, message):
    with pytest.raises(errors.StructureError, match=message):
        cr.grad(model, argnums)(X, 2.0)


# -- what a transform returns ------------------------------------------------------------------------------------
def squared(x):
    """The sum of squares."""
    return np.sum(x * x)


def both(x):
    return np.sum(x * x), {"twice": 2 * x}


@pytest.mark.parametrize(
    "transformed",
    [
        cr.grad(squared),
        cr.value_and_grad(squared, "x"),
        cr.grad(both, has_aux=True),
        cr.grad(cr.grad(np.tanh)),
    ],
    ids=repr,
)
def test_transforms_are_picklable_when_their_function_is(transformed):
    again = pickle.loads(pickle.dumps(transformed))
    x = 0.3 if transformed.f is not squared and transformed.f is not both else X
    np.testing.assert_equal(again(x), transformed(x))
    assert again.__wrapped__ is transformed.__wrapped__ or again.__wrapped__.f is transformed.__wrapped__.f
    np.testing.assert_equal(copy.deepcopy(transformed)(x), transformed(x))


def test_a_transform_keeps_the_names_of_its_function():
    g = cr.grad(squared)
    assert (g.__name__, g.__doc__, g.__wrapped__, g.__module__) == (
        "squared",
        "The sum of squares.",
        squared,
        squared.__module__,
    )
    assert list(inspect.signature(g).parameters) == ["x"]
    assert "squared" in repr(g)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(cr.grad(lambda x: x))


def test_a_transform_may_decorate_a_method():
    class Energy:
        stiffness = 3.0

        @functools.partial(cr.grad, argnums=1)
        def force(self, x):
            return self.stiffness * x**2

    assert Energy().force(2.0) == 12.0
    assert isinstance(Energy.force, type(cr.grad(squared)))


# -- containers --------------------------------------------------------------------------------------------------
class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass(frozen=True)
class Frozen:
    w: object
    b: object = None


@dataclasses.dataclass
class Computed:
    w: object
    half: object = dataclasses.field(init=False)

    def __post_init__(self):
        self.half = self.w / 2


CONTAINERS = {
    "named tuple": Pair(X, {"c": 2.0}),
    "frozen dataclass": Frozen(X),
    "dataclass with a computed field": Computed(X),
    "ordered dict": collections.OrderedDict(b=X, a=1.5),
    "default dict": collections.defaultdict(list, a=X),
    "nested None": {"a": None, "b": [X, (None, 2.0)]},
}


@pytest.mark.parametrize("p", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_in_every_transform(p):
    from chainrule.tree import flatten, map_tree

    def f(p):
        return sum((np.sum(leaf**3) for leaf in flatten(p)[0]), start=np.float64(0.0))

    def results(p):
        return map_tree(lambda leaf: leaf**2, p)

    gradient = cr.grad(f)(p)
    assert type(gradient) is type(p)
    map_tree(lambda leaf, found: np.testing.assert_allclose(found, 3 * leaf**2), p, gradient)
    for value, push in [cr.linearize(results, p), (results(p), lambda t: cr.jvp(results, (p,), (t,))[1])]:
        assert type(value) is type(p)
        tangent = push(p)
        assert type(tangent) is type(p)
        map_tree(lambda leaf, found: np.testing.assert_allclose(found, 2 * leaf**2), p, tangent)
    (ct,) = cr.vjp(results, p)[1](p)
    assert type(ct) is type(p)
    map_tree(lambda leaf, found: np.testing.assert_allclose(found, 2 * leaf**2), p, ct)


# -- linearize ---------------------------------------------------------------------------------------------------
def network(p, x):
    hidden = np.tanh(x @ p["W"] + p["b"])
    return {"hidden": hidden, "norm": np.sqrt(np.sum(hidden**2))}


P = {"W": np.array([[0.5, -1.0], [2.0, 0.3], [0.1, 0.7]]), "b": np.array([0.1, -0.2])}


def test_linearize_runs_the_function_once_and_agrees_with_jvp():
    calls = []

    def counted(p, x):
        calls.append(1)
        return network(p, x)

    value, push = cr.linearize(counted, P, X)
    assert calls == [1]
    np.testing.assert_equal(value, network(P, X))
    rng = np.random.default_rng(0)
    for _ in range(3):
        t = ({"W": rng.normal(size=(3, 2)), "b": rng.normal(size=2)}, rng.normal(size=3))
        tangent = push(*t)
        desired = cr.jvp(network, (P, X), t)[1]
        np.testing.assert_allclose(tangent["hidden"], desired["hidden"], rtol=1e-14)
        np.testing.assert_allclose(tangent["norm"], desired["norm"], rtol=1e-14)
        assert type(tangent["hidden"]) is np.ndarray
    assert calls == [1]


def test_linearize_is_linear_and_adjoint_to_the_pullback():
    rng = np.random.default_rng(1)

    def f(x):
        return np.cumsum(np.sin(x) * x[::-1]) / (1 + x @ x)

    x, u, v, w = rng.normal(size=(4, 5))
    _, push = cr.linearize(f, x)
    _, pullback = cr.vjp(f, x)
    np.testing.assert_allclose(push(2.0 * u - 3.0 * v), 2.0 * push(u) - 3.0 * push(v), rtol=1e-12)
    np.testing.assert_allclose(w @ push(u), pullback(w)[0] @ u, rtol=1e-12)
    np.testing.assert_array_equal(push(0 * u), np.zeros(5))


def test_linearize_through_writes_costs_what_is_written():
    def f(x):
        y = np.zeros_like(x)
        for i in range(1, len(x)):
            y[i] = y[i - 1] * 0.5 + np.sin(x[i])
        return y

    x, t = np.linspace(0, 1, 50), np.linspace(1, 2, 50)
    _, push = cr.linearize(f, x)
    for _ in range(2):
        np.testing.assert_allclose(push(t), cr.jvp(f, (x,), (t,))[1], rtol=1e-14)


def test_results_that_do_not_depend_on_the_arguments():
    value, push = cr.linearize(lambda x: {"c": 3.0, "i": x, "n": None, "f": np.floor(x)}, X)
    tangent = push(V)
    assert value["c"] == 3.0
    assert tangent["c"] == 0.0
    np.testing.assert_array_equal(tangent["i"], V)
    np.testing.assert_array_equal(tangent["f"], np.zeros(3))
    assert tangent["n"] is None
    assert cr.linearize(lambda x: (x, {"twice": 2 * x}), 3.0, has_aux=True)[2] == {"twice": 6.0}


def test_float32_stays_float32():
    x = X.astype("f4")
    value, push = cr.linearize(lambda x: np.sin(x) * 2.0, x)
    assert value.dtype == push(V).dtype == np.float32  # the tangent is brought to the dtype of its argument


@pytest.mark.parametrize("outer", MODES)
def test_pushforwards_and_pullbacks_inside_derivatives(outer):
    d = MODES[outer]
    cube = lambda x: cr.linearize(lambda y: x * y**3, x)[1](1.0)  # noqa: E731
    np.testing.assert_allclose(d(cube)(2.0), 36.0)  # of 3 x^3
    np.testing.assert_allclose(d(d(cube))(2.0), 36.0)
    cube = lambda x: cr.vjp(lambda y: x * y**3, x)[1](1.0)[0]  # noqa: E731
    np.testing.assert_allclose(d(cube)(2.0), 36.0)
    for made in (cr.linearize(lambda x: x**2, 3.0)[1], lambda ct: cr.vjp(lambda x: x**2, 3.0)[1](ct)[0]):
        assert d(made)(1.0) == 6.0  # in the direction, at a point of which nobody outside knows
        assert d(d(lambda t, made=made: made(t) ** 2))(1.0) == 72.0
        assert type(d(made)(1.0)) is np.float64


@pytest.mark.parametrize("outer", MODES)
@pytest.mark.parametrize("inner", MODES)
def test_what_is_computed_from_an_outer_variable_inside_is_no_constant(outer, inner):
    d, e = MODES[outer], MODES[inner]
    np.testing.assert_allclose(d(lambda w: e(lambda y: (w * w) * y)(2.0))(3.0), 6.0)
    np.testing.assert_allclose(d(lambda w: e(lambda y: np.sin(w * w) * y**2)(2.0))(3.0), 24 * np.cos(9.0))
    np.testing.assert_allclose(d(d(lambda w: e(lambda y: (w * w) * y)(2.0)))(3.0), 2.0)


# -- bad input ---------------------------------------------------------------------------------------------------
W2 = {"w": np.ones(2), "b": 1.0}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.linearize(np.sin, X)[1](np.ones(2)), errors.GradientShapeError, r"tangent of shape \(2,\).*\(3,\)"),
        (lambda: cr.linearize(np.sin, X)[1](1j * X), errors.GradientShapeError, "dtype complex128.*dtype float64"),
        (lambda: cr.linearize(np.sin, X)[1](X, X), errors.StructureError, r"\(\*, \*\).*\(\*,\)"),
        (lambda: cr.linearize(np.sin, X)[1]([X]), errors.StructureError, r"\(\[\*\],\), but the arguments"),
        (lambda: cr.linearize(np.sin, X)[1]("up"), errors.DataError, "dtype"),
        (lambda: cr.linearize(np.sin, X)[1](X > 0), errors.DataError, "bool"),
        (lambda: cr.jvp(np.sin, (X,), (np.ones((3, 1)),)), errors.GradientShapeError, r"\(3, 1\).*\(3,\)"),
        (lambda: cr.jvp(np.sin, (X,), (X, X)), errors.StructureError, r"\(\*, \*\)"),
        (lambda: cr.jvp(np.sin, X, X), errors.StructureError, "tuples"),
        (
            lambda: cr.jvp(lambda p: p["w"], (W2,), ({"w": np.ones(2)},)),
            errors.StructureError,
            r"\(\{'w': \*\},\), but .* \(\{'w': \*, 'b': \*\},\)",
        ),
        (
            lambda: cr.jvp(lambda p: p["w"], (W2,), ({"w": np.ones(2), "b": np.ones(2)},)),
            errors.GradientShapeError,
            r"\(2,\) for an argument of shape \(\) \(tangent 1 of 2\)",
        ),
        (lambda: cr.vjp(np.sin, X)[1](np.ones(4)), errors.GradientShapeError, r"cotangent of shape \(4,\).*\(3,\)"),
        (lambda: cr.vjp(np.sin, X)[1](1j * X), errors.GradientShapeError, "complex128 for a result of dtype float64"),
        (lambda: cr.vjp(lambda x: (x, x), X)[1]([X, X]), errors.StructureError, r"\[\*, \*\].*\(\*, \*\)"),
        (lambda: cr.vjp(lambda x: Pair(x, x), X)[1]((X, X)), errors.StructureError, r"\(\*, \*\).*Pair\(\*, \*\)"),
        (lambda: cr.vjp(lambda x: x, X, has_aux=True), errors.OutputError, "pair"),
        (lambda: cr.grad(np.sin)(X), errors.OutputError, r"scalar output, but sin returned shape \(3,\)"),
        (lambda: cr.grad(lambda x: "text")(1.0), errors.OutputError, "returned str"),
        (lambda: cr.grad(lambda x: x)("text"), errors.DataError, "dtype"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()
