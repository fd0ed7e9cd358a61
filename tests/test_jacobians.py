"""Jacobians, Hessians and products with them: against derivatives one direction at a time, closed forms, and JAX."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import tracemalloc
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from oracle import difference, parts, spaced
from test_peers import POINTS, call, evaluated, names_compared, operands
from test_programs import program
from test_sparse import CALLS, programs

import chainrule as cr
from chainrule import errors, transforms
from chainrule.tree import flatten

MODES = ("auto", "fwd", "rev")
X = np.array([0.3, -0.7, 1.1])


def mixed(x):
    return np.sin(x) * np.cumsum(x) + x[::-1] ** 2


def by_columns(f, x):
    """The Jacobian, one `jvp` for each column."""
    x = np.asarray(x)
    units = np.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    columns = [cr.jvp(f, (x,), (unit,))[1] for unit in units]
    return np.moveaxis(np.array(columns), 0, -1).reshape((*np.shape(columns[0]), *x.shape))


def by_differences(f, x):
    x = np.asarray(x)
    units = np.eye(x.size).reshape(x.size, *x.shape)
    columns = [difference(f, [x], 0, unit) for unit in units]
    return np.moveaxis(np.array(columns), 0, -1).reshape((*np.shape(columns[0]), *x.shape))


# -- Jacobians ---------------------------------------------------------------------------------------------------
SHAPES = {
    "vectors": (mixed, spaced(3)),
    "matrix to vector": (lambda A: np.linalg.solve(A, X), spaced((3, 3)) + 3 * np.eye(3)),
    "vector to matrix": (lambda x: np.outer(np.tanh(x), x[1:]), spaced(4)),
    "number to vector": (lambda x: np.sin(x * X), np.float64(0.4)),
    "vector to number": (lambda x: np.prod(x), spaced(5)),
    "numbers": (np.exp, np.float64(0.4)),
    "sorted": (lambda x: np.sort(x * x)[1:], spaced(5)),
    "a decomposition": (lambda A: np.linalg.eigh(A + A.T)[0], spaced((3, 3))),
    "a constant": (lambda x: X, spaced(2)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name, mode):
    f, x = SHAPES[name]
    found = cr.jacobian(f, mode=mode)(x)
    assert type(found) is (np.ndarray if np.ndim(found) else np.float64)
    assert np.shape(found) == (*np.shape(f(x)), *np.shape(x))
    np.testing.assert_allclose(found, by_differences(f, x), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(found, by_columns(f, x), rtol=1e-11, atol=1e-13)
    for chunk_size in (1, 2, 100):
        again = cr.jacobian(f, mode=mode, chunk_size=chunk_size)(x)
        np.testing.assert_allclose(again, found, rtol=1e-12, atol=1e-14)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(programs())
def test_modes_agree_on_drawn_programs(f):
    for x in (np.linspace(-1, 1.3, 6), np.linspace(0.8, -2.1, 6)):
        J = by_columns(f, x)
        for mode in ("fwd", "rev"):
            np.testing.assert_allclose(cr.jacobian(f, mode=mode)(x), J, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("seed", range(1, 40, 3))
def test_hessians_of_programs_that_write_in_place(seed):
    f, x = program(seed), np.random.default_rng(seed).normal(size=(4, 4))
    H = cr.hessian(f)(x).reshape(16, 16)
    np.testing.assert_allclose(H, H.T, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(H, by_columns(cr.grad(f), x).reshape(16, 16), rtol=1e-8, atol=1e-8)
    reverse = cr.jacobian(cr.jacobian(f, mode="rev"), mode="rev")(x)
    np.testing.assert_allclose(reverse.reshape(16, 16), H, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("f", "n"), [(lambda x: x[:, None] * X, "fwd"), (lambda x: np.sum(x), "rev")])
def test_auto_takes_whichever_are_fewer(f, n, monkeypatch):
    walks = []
    for mode, name in (("fwd", "push_each"), ("rev", "pull_each")):
        whole = getattr(transforms.Recorded, name)
        monkeypatch.setattr(
            transforms.Recorded, name, lambda *a, m=mode, w=whole: walks.append((m, len(a[1][0]))) or w(*a)
        )
    cr.jacobian(f)(np.ones(50))
    assert walks == [(n, 50 if n == "fwd" else 1)]


@pytest.mark.parametrize("mode", ["fwd", "rev"])
@pytest.mark.parametrize(("chunk_size", "walks"), [(None, 1), (7, 3)])
def test_rows_are_found_many_at_a_time(mode, chunk_size, walks):
    calls = []

    def derivative(x):
        calls.append(1)
        return np.cos(x)

    f = cr.register_derivative(lambda x: calls.append(0) or np.sin(x), derivative, name=f"counted_{mode}_{walks}")
    x = np.linspace(-1, 1, 20)
    J = cr.jacobian(lambda x: f(x)[::-1] * 2.0, mode=mode, chunk_size=chunk_size)(x)
    np.testing.assert_allclose(J, np.diag(2 * np.cos(x))[::-1], atol=1e-15)
    assert calls == [0] + walks * [1]


@pytest.mark.filterwarnings("ignore:`axes` should not be:DeprecationWarning")
@pytest.mark.parametrize("name", names_compared())
def test_every_function_has_rows_and_columns_in_batches(name):
    letters = operands(call(name))
    args = [POINTS[letter] for letter in letters]

    def f(*xs):
        values = parts(evaluated(call(name), letters, np=np)(*xs))
        return [y for y in values if getattr(y, "dtype", np.dtype(float)).kind in "fc"]

    values = f(*args)
    which = tuple(range(len(args)))
    one_by_one = [
        cr.jvp(f, tuple(args), tuple(unit if j == i else np.zeros_like(a) for j, a in enumerate(args)))[1]
        for i in which
        for unit in np.eye(args[i].size).reshape(-1, *args[i].shape)
    ]
    desired = np.array([flat(tangents) for tangents in one_by_one]).T
    for mode in ("fwd", *(["rev"] if all(np.asarray(y).dtype.kind == "f" for y in values) else [])):
        found = cr.jacobian(f, which, mode=mode)(*args)
        np.testing.assert_allclose(matrix_of(found, values, args), desired, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", CALLS)
def test_rows_of_drawn_calls(kind):
    """Indices, axes and shapes of every kind, as cotangents in batches meet them."""

    @settings(max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(CALLS[kind])
    def check(call):
        args = [arg.astype(float)[()] for arg in call.args if np.isrealobj(arg)]
        assume(len(args) == len(call.args) and sum(arg.size for arg in args) <= 30)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                results = parts(call.function(*args))
            except (ValueError, TypeError, IndexError):
                assume(False)
            assume(all(np.all(np.isfinite(result)) and result.dtype.kind == "f" for result in results))
            which = tuple(range(len(args)))
            forward, reverse = (
                cr.jacobian(lambda *xs: parts(call.function(*xs)), which, mode=mode)(*args) for mode in ("fwd", "rev")
            )
        for one, other in zip(flatten(forward)[0], flatten(reverse)[0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8)

    check()


class Pair(NamedTuple):
    a: object
    b: object


@dataclasses.dataclass
class Parameters:
    w: object
    b: object = None


def nested(p, scale):
    return {"y": np.sin(p.w["u"]) * scale, "z": Pair(p.w["u"][0] * p.w["v"], None), "s": [np.sum(p.w["u"]) * p.w["v"]]}


@pytest.mark.parametrize("mode", MODES)
def test_containers(mode):
    p = Parameters({"u": X, "v": 2.0})
    J, Js = cr.jacobian(nested, (0, "scale"), mode=mode)(p, 3.0)["y"]
    assert type(J) is Parameters
    assert J.b is None
    np.testing.assert_allclose(J.w["u"], np.diag(3 * np.cos(X)))
    np.testing.assert_array_equal(J.w["v"], np.zeros(3))
    np.testing.assert_allclose(Js, np.sin(X))
    whole = cr.jacobian(nested, mode=mode)(p, 3.0)
    assert type(whole["z"]) is Pair
    assert whole["z"].b is None
    np.testing.assert_array_equal(whole["z"].a.w["u"], [2.0, 0, 0])
    assert whole["z"].a.w["v"] == X[0]
    np.testing.assert_allclose(whole["s"][0].w["v"], np.sum(X))
    H = cr.hessian(lambda p: np.sum(p.w["u"] ** 2) * p.w["v"])(p)
    np.testing.assert_allclose(H.w["u"].w["u"], 4 * np.eye(3))
    np.testing.assert_allclose(H.w["u"].w["v"], 2 * X)
    np.testing.assert_allclose(H.w["v"].w["u"], 2 * X)
    assert H.w["v"].w["v"] == 0
    (a, b), (c, d) = cr.hessian(lambda x, y: x * x * y**3, (0, 1))(2.0, 3.0)
    assert (a, b, c, d) == (54.0, 108.0, 108.0, 72.0)


def test_aux():
    J, aux = cr.jacobian(lambda x: (x**2, {"x": x, "n": None}), has_aux=True)(X)
    np.testing.assert_allclose(J, np.diag(2 * X))
    assert type(aux["x"]) is np.ndarray
    H, aux = cr.hessian(lambda x: (np.sum(x**3), x), has_aux=True)(X)
    np.testing.assert_allclose(H, np.diag(6 * X))
    np.testing.assert_array_equal(aux, X)
    assert type(aux) is np.ndarray


@pytest.mark.parametrize("mode", MODES)
def test_nothing_to_differentiate(mode):
    assert cr.jacobian(lambda x: x[:0], mode=mode)(X).shape == (0, 3)
    assert cr.jacobian(lambda x: np.append(x, 1.0), mode=mode)(np.zeros(0)).shape == (1, 0)
    assert cr.jacobian(lambda x: (None, ()), mode=mode)(X) == (None, ())
    assert cr.jacobian(lambda x: {"y": X}, mode=mode)(None) == {"y": None}
    zeros = cr.jacobian(lambda x: np.floor(x), mode=mode)(X)
    zeros[0, 0] = 1.0  # memory of its own
    assert zeros.sum() == 1


@pytest.mark.parametrize("mode", MODES)
def test_dtypes(mode):
    x = X.astype("f4")
    J = cr.jacobian(mixed, mode=mode)(x)
    assert J.dtype == np.float32
    np.testing.assert_allclose(J, cr.jacobian(mixed)(x.astype(float)), rtol=1e-5)
    assert cr.hessian(lambda x: np.sum(x**3))(x).dtype == np.float32
    assert cr.jacobian(lambda x: x.astype("f8"), mode=mode)(x).dtype == np.float64
    assert cr.jacobian(lambda x: x.astype("f4"), mode=mode)(X).dtype == np.float32
    np.testing.assert_array_equal(cr.jacobian(lambda x: x * x, mode=mode)(np.array([1, 2])), np.diag([2.0, 4.0]))


@pytest.mark.parametrize("mode", MODES)
def test_holomorphic(mode):
    z = spaced(3, "z", dtype=complex)
    f = lambda z: np.exp(z) * z[::-1] ** 2  # noqa: E731
    J = cr.jacobian(f, holomorphic=True, mode=mode)(z)
    exact = np.diag(f(z)) + np.fliplr(np.diag(2 * np.exp(z) * z[::-1]))
    np.testing.assert_allclose(J, exact, rtol=1e-13)
    H = cr.hessian(lambda z: np.sum(np.exp(z) * z[0]), holomorphic=True)(z)
    exact = np.diag(np.exp(z) * z[0])
    exact[0] += np.exp(z)
    exact[:, 0] += np.exp(z)
    np.testing.assert_allclose(H, exact, rtol=1e-13)


def test_complex_results_of_real_arguments():
    f = lambda x: np.exp(1j * x) * x[0]  # noqa: E731
    for mode in ("auto", "fwd"):
        J = cr.jacobian(f, mode=mode)(X)
        assert J.dtype == complex
        np.testing.assert_allclose(J, by_columns(f, X))
        many = np.concatenate([X, X])
        assert cr.jacobian(lambda x: f(x)[:1], mode=mode)(many).shape == (1, 6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.jacobian(np.sin, mode="forward"), ValueError, "'auto', 'fwd', 'rev'"),
        (lambda: cr.jacobian(np.sin, chunk_size=0), ValueError, "chunk_size=0"),
        (lambda: cr.jacobian(np.exp)(1j * X), errors.OutputError, "holomorphic=True"),
        (lambda: cr.jacobian(np.exp, holomorphic=True)(X), errors.OutputError, "real argument"),
        (lambda: cr.jacobian(np.abs, holomorphic=True)(1j * X), errors.OutputError, "real result"),
        (lambda: cr.jacobian(lambda x: x * 1j, mode="rev")(X), errors.OutputError, "mode='fwd'"),
        (lambda: cr.jacobian(np.argsort)(X), errors.OutputError, "int64"),
        (lambda: cr.jacobian(lambda x: {"a": "text"})(X), errors.OutputError, "returned str"),
        (lambda: cr.jacobian(lambda x: x, has_aux=True)(X), errors.OutputError, "pair"),
        (lambda: cr.jacobian(np.sin)("text"), errors.DataError, "dtype"),
        (lambda: cr.jacobian(np.sin, 1)(X), errors.StructureError, "argnums=1"),
        (lambda: cr.hessian(np.sin)(X), errors.OutputError, r"scalar output, but sin returned shape \(3,\)"),
        (lambda: cr.hvp(np.sum, X, X), errors.StructureError, "tuples: hvp"),
        (lambda: cr.hvp(np.sum, (X,), (X[:2],)), errors.GradientShapeError, r"\(2,\) for an argument of shape \(3,\)"),
        (lambda: cr.hvp(np.sum, (X,), ([X],)), errors.StructureError, r"\[\*\]"),
        (lambda: cr.hvp(np.sum, (X,), (1j * X,)), errors.GradientShapeError, "complex128"),
        (lambda: cr.hvp(np.sin, (X,), (X,)), errors.OutputError, "scalar output"),
        (lambda: cr.ggn_vp(np.sin, np.sum, X, X), errors.StructureError, "tuples: ggn_vp"),
        (lambda: cr.ggn_vp(np.sin, np.cos, (X,), (X,)), errors.OutputError, "scalar output, but cos"),
        (lambda: cr.ggn_vp(np.sin, np.sum, (X,), (X[:1],)), errors.GradientShapeError, r"\(1,\)"),
        (lambda: cr.elementwise_grad(np.sum)(X), errors.OutputError, r"not elementwise: .* shape \(\), .* \(3,\)"),
        (lambda: cr.elementwise_grad(np.add, (0, 1))(X, 1.0), errors.OutputError, r"\(\) and \(3,\)"),
        (lambda: cr.elementwise_grad(np.exp)(1j * X), errors.OutputError, "holomorphic=True"),
        (lambda: cr.elementwise_grad(lambda x: "text")(1.0), errors.OutputError, "returned str"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


# -- inside of other transforms ------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_jacobians_inside_of_derivatives(mode):
    J = cr.jacobian(mixed, mode=mode)

    def size(x):
        return np.sum(J(x) ** 2)

    gradient = cr.grad(size)(X)
    np.testing.assert_allclose(gradient, by_differences(size, X), rtol=1e-8)
    np.testing.assert_allclose(cr.jvp(size, (X,), (np.ones(3),))[1], gradient.sum(), rtol=1e-12)
    np.testing.assert_allclose(cr.hessian(size)(X), by_columns(cr.grad(size), X), rtol=1e-10)
    w = cr.Tensor(2.0)
    total = np.sum(cr.jacobian(lambda x: np.sin(w * x), mode=mode)(X))
    assert isinstance(total, cr.Tensor)
    total.backward()
    np.testing.assert_allclose(w.grad, np.sum(np.cos(2 * X) - 2 * X * np.sin(2 * X)))


@pytest.mark.parametrize("mode", MODES)
def test_jacobians_inside_of_vmap_and_vmap_inside_of_jacobians(mode):
    batch = spaced((4, 3))
    J = cr.jacobian(mixed, mode=mode)
    np.testing.assert_allclose(cr.vmap(J)(batch), [by_columns(mixed, x) for x in batch], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(cr.vmap(cr.vmap(J))(batch[None]), [[by_columns(mixed, x) for x in batch]], rtol=1e-12)
    H = cr.hessian(lambda x: np.sum(mixed(x) ** 2))
    np.testing.assert_allclose(cr.vmap(H)(batch), [H(x) for x in batch], rtol=1e-12)
    second = cr.jacobian(J, mode=mode)
    np.testing.assert_allclose(cr.vmap(second)(batch), [second(x) for x in batch], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        cr.jacobian(cr.vmap(mixed), mode=mode)(batch), by_columns(cr.vmap(mixed), batch), atol=1e-14
    )
    loss = cr.grad(lambda x: np.sum(cr.vmap(J)(x) ** 2))
    np.testing.assert_allclose(loss(batch), [cr.grad(lambda x: np.sum(J(x) ** 2))(x) for x in batch], rtol=1e-12)
    weights = cr.vmap(lambda a: cr.jacobian(lambda x: a * x, mode=mode)(X))(np.array([2.0, 3.0]))
    np.testing.assert_array_equal(weights, [2 * np.eye(3), 3 * np.eye(3)])


def test_pullbacks_under_vmap_inside_of_vmap():
    batch = spaced((4, 3))

    def rows(x):
        _, pullback = cr.vjp(mixed, x)
        return cr.vmap(lambda ct: pullback(ct)[0])(np.eye(3))

    np.testing.assert_allclose(cr.vmap(rows)(batch), [by_columns(mixed, x) for x in batch], rtol=1e-12, atol=1e-14)


def squares(x):
    return np.sum(x * x)


def twice(x):
    return 2.0 * x


@pytest.mark.parametrize(
    "transformed",
    [
        cr.jacobian(squares, mode="fwd"),
        cr.hessian(squares),
        cr.elementwise_grad(twice),
        cr.jacobian(cr.grad(squares)),
    ],
    ids=repr,
)
def test_transforms_are_picklable_when_their_function_is(transformed):
    again = pickle.loads(pickle.dumps(transformed))
    np.testing.assert_array_equal(again(X), transformed(X))
    assert again.__name__ == transformed.__name__ == transformed.f.__name__


def test_singular_modes_reach_the_walks():
    length = lambda x: np.sqrt(np.sum(x * x))  # noqa: E731
    zero = np.zeros(2)
    assert not np.any(cr.jacobian(length)(zero))
    assert np.all(np.isnan(cr.jacobian(length, singular="nan")(zero)))
    with pytest.raises(errors.SingularError, match="multiply"):
        cr.jacobian(length, singular="raise", mode="rev")(zero)


# -- products ------------------------------------------------------------------------------------------------------
def network(p, x):
    return {"y": np.tanh(x @ p["W"] + p["b"]), "norm": np.sqrt(np.sum(p["W"] ** 2))}


P = {"W": np.array([[0.5, -1.0], [2.0, 0.3], [0.1, 0.7]]), "b": np.array([0.1, -0.2])}
V = {"W": spaced((3, 2), "V"), "b": np.array([0.4, 1.3])}


def matrix_of(nested, rows, columns):
    """A Jacobian of containers as one matrix."""
    row_leaves, column_leaves = flatten(rows)[0], flatten(columns)[0]
    leaves = iter(flatten(nested)[0])
    return np.block([[np.reshape(next(leaves), (np.size(r), np.size(c))) for c in column_leaves] for r in row_leaves])


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in flatten(tree)[0]])


def test_products_with_hessians():
    def loss(p):
        out = network(p, X)
        return np.sum(out["y"] ** 2) * out["norm"]

    (product,) = cr.hvp(loss, (P,), (V,))
    assert list(product) == ["W", "b"]
    np.testing.assert_allclose(flat(product), matrix_of(cr.hessian(loss)(P), P, P) @ flat(V), rtol=1e-12)
    np.testing.assert_allclose(flat(product), flat(cr.linearize(cr.grad(loss), P)[1](V)), rtol=1e-12)
    both = cr.hvp(lambda p, x: np.sum(network(p, x)["y"] ** 2), (P, X), (V, X))
    assert [type(each) for each in both] == [dict, np.ndarray]
    H = cr.hessian(lambda p, x: np.sum(network(p, x)["y"] ** 2), (0, 1))(P, X)
    np.testing.assert_allclose(flat(both), matrix_of(H, (P, X), (P, X)) @ flat((V, X)), rtol=1e-12)
    f32 = cr.hvp(lambda x: np.sum(x**3), (X.astype("f4"),), (X,))[0]
    assert f32.dtype == np.float32


def test_gauss_newton_products():
    def loss(out):
        return np.logaddexp(out["y"][0], out["y"][1]) + np.cosh(out["norm"])

    f = functools.partial(network, x=X)
    (product,) = cr.ggn_vp(f, loss, (P,), (V,))
    out = f(P)
    J, H = matrix_of(cr.jacobian(f)(P), out, P), matrix_of(cr.hessian(loss)(out), out, out)
    np.testing.assert_allclose(flat(product), J.T @ H @ J @ flat(V), rtol=1e-12)
    assert flat(product) @ flat(V) > 0
    A = spaced((5, 3))
    linear = cr.ggn_vp(lambda x: A @ x, lambda y: np.sum(y**4), (X,), (X,))
    np.testing.assert_allclose(linear, cr.hvp(lambda x: np.sum((A @ x) ** 4), (X,), (X,)), rtol=1e-12)
    inside = cr.grad(lambda x: np.sum(cr.ggn_vp(np.sin, lambda y: np.sum(y**3), (x,), (X,))[0]))(X)
    exact = lambda x: np.sum(np.cos(x) ** 2 * 6 * np.sin(x) * X)  # noqa: E731
    np.testing.assert_allclose(inside, by_differences(exact, X), rtol=1e-8)


def test_elementwise():
    d = cr.elementwise_grad
    np.testing.assert_allclose(d(np.tanh)(X), 1 - np.tanh(X) ** 2)
    np.testing.assert_allclose(d(d(d(np.sin)))(X), -np.cos(X))
    z = X + 1j
    np.testing.assert_allclose(d(np.exp, holomorphic=True)(z), np.exp(z))
    gx, gy = d(lambda x, y: x * np.exp(y), (0, 1))(X, X)
    np.testing.assert_allclose([gx, gy], [np.exp(X), X * np.exp(X)])
    slope, aux = d(lambda x, power: (x**power, {"power": power}), has_aux=True)(X, power=3)
    np.testing.assert_allclose(slope, 3 * X**2)
    assert aux == {"power": 3}
    assert d(np.sin)(0.0) == 1.0
    assert d(np.sin)(X.astype("f4")).dtype == np.float32
    np.testing.assert_allclose(d(lambda *, x: x**2, "x")(x=X), 2 * X)
    np.testing.assert_allclose(cr.vmap(d(np.sin))(X), np.cos(X))


# -- JAX -----------------------------------------------------------------------------------------------------------
if find_spec("jax"):

    def test_jacobians_and_hessians_are_those_of_jax():
        jax = import_module("jax")
        jax.config.update("jax_enable_x64", True)

        def f(np, p, x):
            hidden = np.tanh(x @ p["W"] + p["b"])
            return {"hidden": hidden, "parts": (np.sum(hidden**2), np.outer(x, hidden))}

        def total(np, p, x):
            out = f(np, p, x)
            return out["parts"][0] * np.sum(np.sin(out["parts"][1]))

        ours, theirs = functools.partial(f, np), functools.partial(f, jax.numpy)
        for argnums in (0, 1, (0, 1)):
            for mode, transform in (("fwd", jax.jacfwd), ("rev", jax.jacrev), ("auto", jax.jacrev)):
                found = cr.jacobian(ours, argnums, mode=mode)(P, X)
                desired = transform(theirs, argnums)(P, X)
                check_trees(found, desired)
            found = cr.hessian(functools.partial(total, np), argnums)(P, X)
            check_trees(found, jax.hessian(functools.partial(total, jax.numpy), argnums)(P, X))

    def check_trees(found, desired):
        a, _, structure = flatten(found)
        b, _, other = flatten(desired)
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-13)
        if structure != other:  # JAX sorts the keys of dictionaries
            assert str(sorted(str(structure))) == str(sorted(str(other)))


def test_a_few_columns_are_found_without_a_graph():
    def long(x):
        y = np.outer(np.ones(1000), x)
        for _ in range(50):
            y = np.sin(y) + 0.5 * y
        return np.sum(y, 0)

    def most(**options):
        x = np.linspace(0.1, 1.0, 4)
        cr.jacobian(long, **options)(x)
        tracemalloc.start()
        found = cr.jacobian(long, **options)(x)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found, peak

    (followed, little), (recorded, much) = most(mode="fwd"), most(mode="fwd", chunk_size=4)
    np.testing.assert_allclose(followed, recorded, rtol=1e-13)
    assert little < 8 * 4 * 1000 * 4 * 8  # a few arrays of the intermediate results, for each of four columns
    assert much > 50 * 1000 * 4 * 8  # every sine's operand


def test_an_object_array_of_tensors_is_a_result():
    """`ndarray.dot` does not ask a Tensor: it makes an array of the elements."""
    matrix = np.array([[0.0, 2.0], [1.0, 3.0]])
    for mode in ("fwd", "rev", "auto"):
        found = cr.jacobian(lambda x: matrix.dot(np.sin(x)), mode=mode)(np.array([1.0, 2.0]))
        np.testing.assert_allclose(found, matrix * np.cos([1.0, 2.0]), rtol=1e-15)
