"""vmap: values and derivatives are those of a loop over examples, nested in any order; what it refuses, by line."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from oracle import close, spaced

import chainrule as cr
from chainrule.scipy import integrate, optimize

X = spaced((5, 3), "X")
W = spaced((4, 3), "W")
Y = spaced((5,), "Y")


def looped(f: Any, *args: Any) -> Any:
    """`f` of one example after the other."""
    return np.stack([f(*(arg[i] for arg in args)) for i in range(len(args[0]))])


def loss(w: Any, x: Any) -> Any:
    return np.sum(np.tanh(w @ x) ** 2)


# -- what it does -----------------------------------------------------------------------------------------------------
def test_values() -> None:
    np.testing.assert_array_equal(cr.vmap(np.sin)(X), np.sin(X))
    close(cr.vmap(np.dot)(X, X), looped(np.dot, X, X), 1e-15)
    assert cr.vmap(np.sin)(X.astype("f4")).dtype == np.float32


def test_per_example_gradients() -> None:
    close(cr.vmap(cr.grad(loss), in_axes=(None, 0))(W, X), looped(lambda x: cr.grad(loss)(W, x), X), 1e-14)


def test_axes_of_arguments_and_results() -> None:
    A = spaced((2, 5, 3), "A")
    expected = looped(lambda a, x: a.T @ a + x, np.moveaxis(A, 1, 0), X)
    for in_axes, args in [((1, 0), (A, X)), ((-2, 0), (A, X)), ([1, 1], (A, X.T)), ((1, -1), (A, X.T))]:
        close(cr.vmap(lambda a, x: a.T @ a + x, in_axes=in_axes)(*args), expected, 1e-15)
    close(cr.vmap(lambda a, x: a.T @ a + x, (1, 0), -1)(A, X), np.moveaxis(expected, 0, -1), 1e-15)
    close(cr.vmap(lambda a, x: a.T @ a + x, (1, 0), 1)(A, X), np.moveaxis(expected, 0, 1), 1e-15)


class Pair(NamedTuple):
    first: Any
    second: Any


def test_containers() -> None:
    def f(args: Any, scale: Any) -> Any:
        return {"sum": args["a"] + args["b"][0], "pair": Pair(args["a"] * scale, None), "same": scale}

    tree = {"a": X, "b": [X.T, 2.0]}
    result = cr.vmap(f, in_axes=({"a": 0, "b": [1, None]}, None), out_axes={"sum": 1, "pair": 0, "same": None})(
        tree, 3.0
    )
    np.testing.assert_array_equal(result["sum"], (X + X).T)
    np.testing.assert_array_equal(result["pair"].first, X * 3)
    assert result["pair"].second is None
    assert result["same"] == 3.0
    np.testing.assert_array_equal(cr.vmap(lambda x, *, y: x + y)(X, y=X), 2 * X)


def test_what_does_not_depend_on_the_examples_is_repeated() -> None:
    np.testing.assert_array_equal(cr.vmap(lambda x: np.arange(2.0))(X), [[0, 1]] * 5)
    np.testing.assert_array_equal(cr.vmap(lambda x: 2)(X), [2] * 5)


def test_no_examples() -> None:
    assert cr.vmap(lambda x: W @ np.sort(x))(np.zeros((0, 3))).shape == (0, 4)
    assert cr.vmap(cr.grad(loss), in_axes=(None, 0))(W, np.zeros((0, 3))).shape == (0, 4, 3)


def test_integers_stay_integers() -> None:
    table, index = spaced((5, 4), "table"), np.array([3, 0, 1, 1, 2])
    np.testing.assert_array_equal(cr.vmap(lambda t, i: t[i])(table, index), table[np.arange(5), index])
    assert cr.vmap(lambda i: i + 1)(index).dtype == index.dtype
    np.testing.assert_array_equal(cr.vmap(lambda i: cr.Tensor(X)[i])(index), X[index])
    constant = cr.Tensor(X).detach()
    np.testing.assert_array_equal(cr.vmap(lambda i: constant[i] * 1)(index), X[index])


# -- derivatives outside and inside, nested --------------------------------------------------------------------------
def test_captured_tensors_stay_differentiable() -> None:
    def mean_loss(w: Any) -> Any:
        return np.sum(cr.vmap(lambda x: loss(w, x))(X))

    expected = cr.grad(lambda w: sum(loss(w, x) for x in X))
    close(cr.grad(mean_loss)(W), expected(W), 1e-14)
    close(cr.jvp(mean_loss, (W,), (np.ones_like(W),))[1], np.sum(expected(W)), 1e-14)
    result = cr.vmap(lambda x: loss(cr.Tensor(1.0) * W, x))(X)
    assert type(result) is np.ndarray
    w = cr.Tensor(W)
    result = cr.vmap(lambda x: loss(w, x))(X)
    assert isinstance(result, cr.Tensor)
    np.sum(result).backward()
    close(w.grad, expected(W), 1e-14)


def test_vmap_of_vmap() -> None:
    f = lambda x, w: np.tanh(np.dot(x, w)) + x[0] * w[1]  # noqa: E731
    both = cr.vmap(lambda x: cr.vmap(lambda w: f(x, w))(W))
    expected = np.array([[f(x, w) for w in W] for x in X])
    close(both(X), expected, 1e-15)
    close(cr.vmap(cr.vmap(f, (None, 0)), (0, None))(X, W), expected, 1e-15)
    slopes = np.array([[cr.grad(f, 1)(x, w) for w in W] for x in X])
    close(cr.vmap(lambda x: cr.vmap(cr.grad(lambda w: f(x, w)))(W))(X), slopes, 1e-15)
    close(cr.vmap(lambda x: cr.grad(lambda w: np.sum(cr.vmap(lambda v: f(x, v))(w)))(W))(X), slopes, 1e-15)
    close(cr.grad(lambda w: np.sum(cr.vmap(lambda x: cr.vmap(lambda v: f(x, v))(w))(X)))(W), slopes.sum(0), 1e-14)


def test_nested_derivatives_inside() -> None:
    def second(x: Any) -> Any:
        return cr.grad(lambda y: np.sum(cr.grad(lambda z: np.sum(np.sin(z) * y))(y) * x))(x)

    close(cr.vmap(second)(X), looped(second, X), 1e-14)

    def along(x: Any) -> Any:
        return cr.jvp(lambda y: cr.jvp(np.tanh, (y * x,), (x,))[1], (x,), (np.ones(3),))[1]

    close(cr.vmap(along)(X), looped(along, X), 1e-14)
    pulled = lambda x, ct: cr.vjp(lambda y: np.cumprod(y * x), x)[1](ct)[0]  # noqa: E731
    close(cr.vmap(pulled)(X, X), looped(pulled, X, X), 1e-14)
    close(cr.vmap(pulled, (0, None))(X, X[0]), looped(lambda x: pulled(x, X[0]), X), 1e-14)


def test_pullback_of_many_cotangents() -> None:
    _, pullback = cr.vjp(lambda x: W @ np.exp(x), X[0])
    np.testing.assert_allclose(cr.vmap(pullback)(np.eye(4))[0], W * np.exp(X[0]), rtol=1e-14)


def test_leaves_made_inside_belong_to_each_example() -> None:
    def f(x: Any) -> Any:
        w = cr.Tensor([1.0, 2.0, 3.0])
        np.sum(w * w * x).backward()
        return w.grad

    np.testing.assert_allclose(cr.vmap(f)(X), 2 * np.array([1.0, 2.0, 3.0]) * X)


# -- writing in place ------------------------------------------------------------------------------------------------
def shifted(x: Any) -> Any:
    y = np.zeros_like(x)
    y[1:] = x[:-1] ** 2
    view = y[::2]
    view *= 2
    y[0] += x[2]
    y[[2, 1]] = y[[0, 2]] * x[1]
    np.add.at(y, [0, 0], x[:2])
    return y


def test_writing() -> None:
    close(cr.vmap(shifted)(X), looped(shifted, X), 1e-15)
    slope = cr.grad(lambda x: np.sum(shifted(x) ** 2))
    close(cr.vmap(slope)(X), looped(slope, X), 1e-14)
    close(cr.grad(lambda X: np.sum(cr.vmap(shifted)(X) ** 2))(X), looped(slope, X), 1e-14)


def test_results_written_into_an_array_of_each_example() -> None:
    def f(x: Any) -> Any:
        y = x * 1
        np.clip(y, -0.5, 0.5, out=y)
        np.maximum(y, x[0], out=(y,))
        whole = np.empty_like(x)
        np.modf(y * 3, out=(None, whole))
        return y + whole

    close(cr.vmap(f)(X), looped(f, X), 0)
    slope = cr.grad(lambda x: np.sum(f(x) ** 2))
    close(cr.vmap(slope)(X), looped(slope, X), 0)


def test_writing_to_an_argument_stays_inside() -> None:
    def f(x: Any) -> Any:
        x[0] = 7.0
        x *= 2
        return x

    given = X.copy()
    expected = X * 2
    expected[:, 0] = 14
    np.testing.assert_array_equal(cr.vmap(f)(given), expected)
    np.testing.assert_array_equal(given, X)


def test_a_constant_becomes_batched_where_a_batched_value_is_written() -> None:
    base = cr.Tensor(np.zeros(4)).detach()

    def f(x: Any) -> Any:
        y = np.copy(base)
        view = y[1:]
        y[1] = x[0]
        view[1:] = x[1:]
        return y

    np.testing.assert_array_equal(cr.vmap(f)(X), np.concatenate([np.zeros((5, 1)), X], 1))
    outside = cr.Tensor(np.zeros(3)) * 1
    with pytest.raises(cr.errors.InPlaceError, match="the same for all examples"):
        cr.vmap(lambda x: outside.__setitem__(0, x[0]))(X)


def test_writing_by_a_batched_mask() -> None:
    def f(x: Any) -> Any:
        y = x * 1
        y[y > 0.5] = 0.0
        return y

    np.testing.assert_array_equal(cr.vmap(f)(X), np.where(X > 0.5, 0, X))


# -- what it refuses -------------------------------------------------------------------------------------------------
USES = [
    float, int, complex, np.nonzero, np.unique, lambda x: x.item(), lambda x: np.arange(3.0)[x.astype(int)],
]  # fmt: skip


def test_branches_on_batched_values_are_refused_by_line() -> None:
    def f(x: Any) -> Any:
        if x[0] > 0:  # this line
            return x
        return -x

    with pytest.raises(cr.errors.ConcreteValueError) as error:
        cr.vmap(f)(X)
    line = f.__code__.co_firstlineno + 1
    assert f'test_vmap.py", line {line}' in str(error.value)
    assert "if x[0] > 0:  # this line" in str(error.value)
    assert "np.where" in str(error.value)
    for use in USES:
        with pytest.raises(cr.errors.ConcreteValueError, match=r"test_vmap\.py|depends on the values"):
            cr.vmap(use)(Y)
    assert cr.vmap(lambda x: x if x.shape == (3,) else -x)(X).shape == (5, 3)


def test_sizes_and_axes_are_checked() -> None:
    with pytest.raises(cr.errors.StructureError, match=r"5 in array 0 .*, 4 in array 1"):
        cr.vmap(np.dot)(X, W)
    with pytest.raises(cr.errors.StructureError, match="has no such axis"):
        cr.vmap(np.dot, in_axes=(0, 2))(X, X)
    with pytest.raises(cr.errors.StructureError, match="has no such axis"):
        cr.vmap(np.sin)(1.0)
    with pytest.raises(cr.errors.StructureError, match="for 1 arguments"):
        cr.vmap(np.dot, in_axes=(0,))(X, X)
    with pytest.raises(cr.errors.StructureError, match="None of all of them"):
        cr.vmap(np.sin, in_axes=None)(X)
    with pytest.raises(cr.errors.StructureError, match="out_axes=None"):
        cr.vmap(np.sin, out_axes=None)(X)
    with pytest.raises(cr.errors.OutputError, match="str"):
        cr.vmap(lambda x: "text")(X)


def test_a_value_that_leaks_is_refused() -> None:
    kept = []
    cr.vmap(lambda x: kept.append(x) or x)(X)
    with pytest.raises(cr.errors.LeakedValueError, match="after the vmap"):
        kept[0] + 1
    assert not cr.graph.contexts.levels
    with pytest.raises(ZeroDivisionError):
        cr.vmap(lambda x: 1 // 0)(X)
    assert not cr.graph.contexts.levels


@pytest.mark.parametrize(
    "f", [np.prod, lambda x: np.sum(np.cumprod(x)), lambda x: np.sum(np.maximum.accumulate(x) ** 2)]
)
def test_arrays_made_inside_of_rules_are_no_batches(f: Any) -> None:
    """Rules make arrays like what they are given, and run on all examples at once when they are differentiated."""

    def jvp(x: Any) -> Any:
        return cr.jvp(cr.grad(f), (x,), (x,))[1]

    for g in (cr.hessian(f), jvp):
        found = cr.vmap(g)(X)
        assert type(found) is np.ndarray
        close(found, looped(g, X), 1e-13)
    close(
        cr.vmap(cr.vmap(cr.hessian(f)))(np.stack([X, 2 * X])),
        np.stack([looped(cr.hessian(f), a) for a in (X, 2 * X)]),
        1e-13,
    )


def test_filling_an_array_like_a_tensor_from_outside() -> None:
    outside = cr.Tensor(Y)

    def f(x: Any) -> Any:
        y = np.zeros_like(outside)
        y[:3] = x**2
        return np.sum(y * outside)

    close(cr.vmap(cr.grad(f))(X).data, 2 * X * Y[:3], 1e-15)


def test_running_extremes_of_a_batch() -> None:
    for ufunc in (np.maximum, np.minimum, np.fmax):
        np.testing.assert_array_equal(cr.vmap(ufunc.accumulate)(X), ufunc.accumulate(X, axis=1))


# -- functions that are called for one example after the other ---------------------------------------------------------
def branching(k: Any, x: Any) -> Any:
    """Plain Python: it needs one value of k at a time, which it takes from where it is called."""

    def inner(t: Any) -> Any:
        rates = np.zeros_like(k, shape=2)
        rates[0] = k
        rates[1:] = k * t if k > 1.5 else np.sin(k) + float(t)
        return np.max(rates) * np.exp(-k * t)

    return inner(x)


BY_EXAMPLE: dict[str, Any] = {
    "quad": lambda k, b: integrate.quad(lambda x: branching(k, x), 0, 1.0)[0] + 0 * b,
    "quad to a batched limit": lambda k, b: integrate.quad(lambda x: branching(k, x), 0, b)[0],
    "solve_ivp": lambda k, b: integrate.solve_ivp(
        lambda t, y: -k * y if k > 1.5 else -y * b, (0, 1), [1.0], t_eval=[1.0], rtol=1e-9
    ).y[0, 0],
    "root": lambda k, b: optimize.root(lambda x: x**3 + x - (k * b if k > 1.5 else k), [1.0]).x[0],
    "minimize": lambda k, b: optimize.minimize(lambda x, b: np.sum((x - k) ** 2 + np.exp(b * x)), [0.5], args=(b,)).x[
        0
    ],
}


@pytest.mark.parametrize("name", BY_EXAMPLE)
def test_what_a_function_for_one_example_takes_from_outside(name: str) -> None:
    f, ks, b = BY_EXAMPLE[name], np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.6, 0.7])
    close(cr.vmap(f)(ks, b), np.array([f(*each) for each in zip(ks, b, strict=True)]), 1e-12)
    for argnum in (0, 1):
        slope = cr.grad(f, argnum)
        expected = np.array([slope(*each) for each in zip(ks, b, strict=True)])
        close(cr.vmap(slope)(ks, b), expected, 1e-9)
        close(cr.grad(lambda *args: np.sum(cr.vmap(f)(*args)), argnum)(ks, b), expected, 1e-9)
    every = cr.vmap(lambda k: cr.vmap(lambda b: f(k, b))(b))(ks)
    close(every, np.array([[f(k, each) for each in b] for k in ks]), 1e-12)
    along = cr.vmap(lambda k, b: cr.jvp(lambda k: f(k, b), (k,), (1.0,))[1])(ks, b)
    close(along, np.array([cr.grad(f)(*each) for each in zip(ks, b, strict=True)]), 1e-9)


def test_what_is_outside_of_a_function_for_one_example_is_not_written_to() -> None:
    def f(k: Any) -> Any:
        seen = k * np.zeros(2)

        def integrand(x: Any) -> Any:
            seen[0] = x
            return k * x

        return integrate.quad(integrand, 0, 1)[0]

    with pytest.raises(cr.errors.InPlaceError, match="made outside of it"):
        cr.vmap(f)(np.ones(3))
