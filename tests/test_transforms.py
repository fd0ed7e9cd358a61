"""grad, value_and_grad, vjp, jvp: nesting, containers, conventions."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import chainrule as cr

X = np.array([0.3, -0.7, 1.1])


def forward(f):
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


MODES = {"r": cr.grad, "f": forward}


# -- nesting -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("modes", ["".join(m) for k in (1, 2, 3, 4) for m in itertools.product("rf", repeat=k)])
def test_every_mode_inside_every_mode(modes):
    def f(x):
        return np.sin(x) * x**3 / (1 + np.exp(-x))

    g = f
    for mode in modes:
        g = MODES[mode](g)
    h = {1: 1e-5, 2: 1e-4, 3: 1e-3, 4: 1e-2}[len(modes)]
    weights = {1: [-0.5, 0, 0.5], 2: [1, -2, 1], 3: [-0.5, 1, 0, -1, 0.5], 4: [1, -4, 6, -4, 1]}[len(modes)]
    half = len(weights) // 2
    reference = sum(w * f(np.longdouble(0.7) + k * h) for k, w in zip(range(-half, half + 1), weights, strict=True))
    assert isinstance(g(0.7), np.float64)
    np.testing.assert_allclose(g(0.7), float(reference / h ** len(modes)), rtol=2e-3)
    results = {nest: _derivative(f, nest) for nest in map("".join, itertools.product("rf", repeat=len(modes)))}
    np.testing.assert_allclose(list(results.values()), results["r" * len(modes)], rtol=1e-11)


def _derivative(f, modes):
    for mode in modes:
        f = MODES[mode](f)
    return f(0.7)


@pytest.mark.parametrize("outer", MODES)
@pytest.mark.parametrize("inner", MODES)
def test_perturbations_are_not_confused(outer, inner):
    d, e = MODES[outer], MODES[inner]
    assert d(lambda x: x * e(lambda y: x + y)(2.0))(3.0) == 1.0
    assert d(lambda x: x * e(lambda y: x * y)(2.0))(3.0) == 6.0
    assert d(lambda x: e(lambda y: x * y * y)(x))(3.0) == 12.0
    assert d(lambda x: e(lambda y: x)(x))(3.0) == 0.0


def test_hessian_vector_products_agree():
    A = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 3.0]])
    v = np.array([1.0, -2.0, 0.5])

    def f(x):
        return np.sum(np.sin(x @ A @ x) * x) + np.prod(x)

    over = cr.jvp(cr.grad(f), (X,), (v,))[1]
    under = cr.grad(lambda x: cr.jvp(f, (x,), (v,))[1])(X)
    back = cr.grad(lambda x: np.sum(cr.grad(f)(x) * v))(X)
    h = 1e-6
    differences = (cr.grad(f)(X + h * v) - cr.grad(f)(X - h * v)) / (2 * h)
    for result in (over, under, back):
        assert type(result) is np.ndarray
        np.testing.assert_allclose(result, over, rtol=1e-12)
        np.testing.assert_allclose(result, differences, rtol=1e-7)


def test_gradient_descent_inside_a_derivative():
    def best(a, steps=0):
        x = a * 0 + 1.0
        while steps < 200:
            slope = cr.grad(lambda z: (z - a) ** 2 + 0.1 * z**4)(x)
            x = x - 0.1 * slope
            steps += 1
            if abs(slope) < 1e-13:
                break
        return x

    a = 0.8
    x = best(np.float64(a))
    exact = 2 / (2 + 1.2 * x**2)  # implicit function theorem
    for mode in MODES.values():
        np.testing.assert_allclose(mode(best)(a), exact, rtol=1e-10)


def test_gradients_through_captured_tensors_stay_tracked():
    w = cr.Tensor([1.0, 2.0, 3.0])
    penalty = np.sum(cr.grad(lambda x: np.sum(w * x**2))(X) ** 2)
    assert isinstance(penalty, cr.Tensor)
    penalty.backward()
    np.testing.assert_allclose(w.grad, 2 * (2 * w.data * X) * 2 * X)
    assert type(cr.grad(lambda x: np.sum(x * 2))(X)) is np.ndarray
    value, tangent = cr.jvp(lambda x: w * x, (X,), (X,))
    assert isinstance(value, cr.Tensor)
    assert isinstance(tangent, cr.Tensor)
    w.zero_grad()
    np.sum(tangent).backward()
    np.testing.assert_array_equal(w.grad, X)


def test_a_tensor_as_argument():
    x = cr.Tensor(X)
    g = cr.grad(lambda z: np.sum(z**3))(x)
    np.sum(g).backward()
    np.testing.assert_allclose(x.grad, 6 * X)
    np.testing.assert_array_equal(cr.grad(lambda z: np.sum(z * 2))(x.detach()), [2.0, 2.0, 2.0])


# -- containers --------------------------------------------------------------------------------------------------
class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass
class Model:
    weights: object
    bias: object


@pytest.mark.parametrize(
    "p",
    [
        {"a": X, "b": {"c": np.float64(2.0), "none": None}},
        [X, (X, 2.0)],
        Pair(X, [1.5]),
        Model(X, 2.0),
        (),
    ],
    ids=lambda p: type(p).__name__,
)
def test_containers_come_back_in_their_form(p):
    from chainrule.tree import flatten, map_tree

    def f(p):
        return sum((np.sum(leaf**3) for leaf in flatten(p)[0]), start=np.float64(0.0))

    g = cr.grad(f)(p)
    assert type(g) is type(p)
    map_tree(lambda leaf, found: np.testing.assert_allclose(found, 3 * leaf**2), p, g)
    value, pullback = cr.vjp(f, p)
    (again,) = pullback(np.float64(1.0))
    map_tree(np.testing.assert_array_equal, again, g)
    _, tangent = cr.jvp(f, (p,), (p,))
    np.testing.assert_allclose(tangent, 3 * value)


def test_structures_of_results():
    def f(x):
        return {"y": np.sin(x), "z": [np.sum(x), 3.0], "n": None}

    value, pullback = cr.vjp(f, X)
    assert value["z"][1] == 3.0
    (ct,) = pullback({"y": X, "z": [np.float64(2.0), 1.0], "n": None})
    np.testing.assert_allclose(ct, np.cos(X) * X + 2.0)
    _, tangent = cr.jvp(f, (X,), (X,))
    np.testing.assert_allclose(tangent["y"], np.cos(X) * X)
    assert tangent["z"][1] == 0.0
    assert tangent["n"] is None


def test_argnums_and_aux():
    def f(a, b, c=1.0):
        return np.sum(a * b) * c, {"twice": a * 2}

    assert cr.grad(f, argnums=1, has_aux=True)(2.0, 3.0)[0] == 2.0
    assert cr.grad(f, argnums=-1, has_aux=True)(2.0, 3.0, c=2.0)[0] == 4.0
    (ga, gb), aux = cr.grad(f, argnums=(0, 1), has_aux=True)(2.0, 3.0)
    assert (ga, gb, aux["twice"]) == (3.0, 2.0, 4.0)
    (value, aux), gradient = cr.value_and_grad(f, has_aux=True)(2.0, 3.0)
    assert (value, gradient, type(aux["twice"])) == (6.0, 3.0, np.float64)
    _, pullback, _ = cr.vjp(f, 2.0, 3.0, has_aux=True)
    assert pullback(np.float64(1.0)) == (3.0, 2.0)
    assert cr.jvp(f, (2.0, 3.0), (1.0, 0.0), has_aux=True)[:2] == (6.0, 3.0)


def test_the_same_array_twice_and_unused_arguments():
    ga, gb = cr.grad(lambda a, b: np.sum(a * b * 2), argnums=(0, 1))(X, X)
    np.testing.assert_array_equal(ga, gb)
    assert cr.grad(lambda a, b: a, argnums=1)(1.0, 2.0) == 0.0
    np.testing.assert_array_equal(cr.grad(lambda a: 3.0)(X), np.zeros(3))
    assert cr.grad(lambda a: a)(1.0) == 1.0
    np.testing.assert_array_equal(cr.jvp(lambda a: 2.0, (X,), (X,))[1], 0.0)
    gradient = cr.grad(lambda x: np.sum(np.floor(x)))(X.astype("f4"))
    np.testing.assert_array_equal(gradient, np.zeros(3))
    assert gradient.dtype == np.float32


def test_a_pullback_may_be_called_often():
    _, pullback = cr.vjp(lambda x: np.sin(x) * 2, X)
    for ct in np.eye(3):
        np.testing.assert_allclose(pullback(ct)[0], 2 * np.cos(X) * ct)


def test_metadata_is_kept():
    def loss(x):
        """The loss."""
        return x

    assert cr.grad(loss).__name__ == "loss"
    assert cr.value_and_grad(loss).__doc__ == "The loss."


# -- complex -----------------------------------------------------------------------------------------------------
Z = np.array([0.3 + 0.4j, -1.2 + 0.5j])


def test_complex_gradient_is_the_direction_of_steepest_ascent():
    def f(z):
        return np.sum(np.real(np.exp(z) * np.conj(z)) + np.abs(z) ** 3)

    g = cr.grad(f)(Z)
    h = 1e-6
    for k in range(2):
        e = np.eye(2)[k]
        dx = (f(Z + h * e) - f(Z - h * e)) / (2 * h)
        dy = (f(Z + 1j * h * e) - f(Z - 1j * h * e)) / (2 * h)
        np.testing.assert_allclose(g[k], dx + 1j * dy, rtol=1e-7)


def test_holomorphic():
    def f(z):
        return np.sin(z) / z

    exact = np.cos(Z[0]) / Z[0] - np.sin(Z[0]) / Z[0] ** 2
    np.testing.assert_allclose(cr.grad(f, holomorphic=True)(Z[0]), exact)
    np.testing.assert_allclose(cr.jvp(f, (Z[0],), (1.0 + 0j,))[1], exact)


def test_forward_and_reverse_are_adjoint():
    rng = np.random.default_rng(0)

    def f(z):
        return np.tanh(z @ np.array([[1.0, 2j], [0.5, 1.0]])) * np.conj(z) + np.sign(z)

    v, w = (rng.normal(size=2) + 1j * rng.normal(size=2) for _ in range(2))
    _, jv = cr.jvp(f, (Z,), (v,))
    _, pullback = cr.vjp(f, Z)
    np.testing.assert_allclose(np.vdot(w, jv).real, np.vdot(pullback(w)[0], v).real, rtol=1e-12)


SHARING = {
    "itself": lambda x: x,
    "x + 0": lambda x: x + 0,
    "twice": lambda x: (x, x + 0),
    "sums": lambda x: tuple(y + k for y in [2 * x] for k in (0, 1)),
    "sum of shapes": lambda x: 2 * x + np.zeros((2, 3)),
    "transpose": lambda x: x.T,
    "part": lambda x: x[1:],
    "broadcast": lambda x: np.broadcast_to(x, (2, 3)),
}


# What a program returns may be a view of its argument, so of these only the first four.
@pytest.mark.parametrize(
    ("name", "under"), [(name, lambda f: f) for name in SHARING] + [(name, cr.jit) for name in list(SHARING)[:4]]
)
def test_tangents_that_come_back_are_the_callers_own(name, under):
    """Writing into one of them changes neither what was passed in nor another one."""
    f = SHARING[name]
    for push in (lambda x, t: cr.jvp(f, (x,), (t,))[1], lambda x, t: cr.linearize(f, x)[1](t)):
        t = np.array([1.0, 2.0, 3.0])
        found = under(push)(X, t)
        found = found if isinstance(found, tuple) else (found,)
        expected = [np.copy(each) for each in found]
        for i, each in enumerate(found):
            each[...] = i + 10
            assert t.tolist() == [1, 2, 3]
            for other, value in zip(found[i + 1 :], expected[i + 1 :], strict=True):
                np.testing.assert_array_equal(other, value)


def test_real_inputs_get_real_gradients():
    g = cr.grad(lambda x: np.sum(np.abs(x * (1 + 2j)) ** 2))(X)
    assert g.dtype == np.float64
    np.testing.assert_allclose(g, 10 * X)


# -- zero wins ---------------------------------------------------------------------------------------------------
def test_zero_wins_on_either_side():
    for mode in MODES.values():
        assert mode(lambda x: np.where(x > 0, np.sqrt(x), 2.0 * x))(0.0) == 2.0
        assert mode(lambda x: np.sqrt(x * x))(0.0) == 0.0
        assert mode(lambda x: np.sqrt(x) * 0.0)(0.0) == 0.0
        assert mode(np.sqrt)(0.0) == np.inf
        with np.errstate(over="ignore"):
            assert mode(lambda x: 1 / (1 + np.exp(-x)))(-1000.0) == 0.0
    with np.errstate(invalid="ignore"):
        assert cr.grad(lambda x: np.where(x > 0, np.log(x) ** 2 * x, x))(-1.0) == 1.0
        second = cr.grad(cr.grad(lambda x: np.where(x > 0, np.sqrt(x), x * x)))(-1.0)
    assert second == 2.0


def test_a_true_nan_stays():
    assert np.isnan(cr.grad(lambda x: x * np.nan)(1.0))


def test_the_backward_pass_gives_no_warnings_of_its_own():
    x = cr.Tensor([0.0, 1.0])
    np.sum(np.sqrt(x)).backward()  # warnings are errors in tests
    np.testing.assert_array_equal(x.grad, [np.inf, 0.5])


def test_aux_must_be_a_pair():
    """Also where unpacking what was returned would do: an array of two elements is no pair."""
    for result in (X[:2], X, np.float64(1.0), [1.0, 2.0]):
        for call in (
            lambda f: cr.jvp(f, (X,), (X,), has_aux=True),
            lambda f: cr.vjp(f, X, has_aux=True),
            lambda f: cr.linearize(f, X, has_aux=True),
            lambda f: cr.grad(f, has_aux=True)(X),
            lambda f: cr.jacobian(f, has_aux=True)(X),
        ):
            with pytest.raises(cr.errors.OutputError, match="must return a pair"):
                call(lambda x, result=result: result)


def test_holomorphic_of_real_results():
    """|z| has no complex derivative: refused, as `jacobian` does, instead of the conjugate of the ascent direction."""
    for transform in (cr.grad, cr.value_and_grad, cr.jacobian, cr.elementwise_grad):
        with pytest.raises(cr.errors.OutputError, match="real"):
            transform(np.abs, holomorphic=True)(np.array(1.0 + 2.0j))


def test_argnums_of_another_type():
    with pytest.raises(TypeError, match="say the position"):
        cr.grad(np.sum, argnums=1.0)(X)


@dataclasses.dataclass
class Layer:
    weight: object
    name: str
    activation: object = np.tanh


def test_text_and_functions_in_a_dataclass_belong_to_its_form():
    def loss(layer, x):
        return np.sum(layer.activation(layer.weight * x) ** 2)

    layer, x = Layer(np.array([0.5, -1.0]), "first"), np.array([2.0, 3.0])
    gradient = cr.grad(loss)(layer, x)
    assert (gradient.name, gradient.activation) == ("first", np.tanh)
    np.testing.assert_array_equal(gradient.weight, cr.grad(lambda w: loss(Layer(w, ""), x))(layer.weight))
    tangent = Layer(np.ones(2), "first")
    assert np.isclose(cr.jvp(lambda p: loss(p, x), (layer,), (tangent,))[1], np.sum(gradient.weight))
    np.testing.assert_array_equal(cr.vmap(lambda p: p.weight * 2)(layer), [1.0, -2.0])
    with pytest.raises(cr.errors.StructureError, match="name='second'"):
        cr.jvp(lambda p: loss(p, x), (layer,), (Layer(np.ones(2), "second"),))
    with pytest.raises(cr.errors.DataError, match="text"):
        cr.grad(lambda p: np.sum(p["weight"]))({"weight": x, "name": "first"})


def test_what_holds_a_record_is_not_pickled():
    for held in (cr.vjp(np.sin, X)[1], cr.linearize(np.sin, X)[1]):
        with pytest.raises(cr.errors.ConversionError, match="record of one evaluation"):
            pickle.dumps(held)
