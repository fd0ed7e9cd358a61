"""Meanings: a test for each case where arrays, views, dtypes, containers or control flow make it easy to be wrong.

The numbers are those of the cases as they were decided on; C2 to C7 are in test_inplace.py. `slope` takes the
derivative in reverse and in forward mode and lets them agree.
"""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from oracle import numerical_gradient, spaced

import chainrule as cr
from chainrule import nn


def slope(f: Any, x: Any) -> Any:
    """The gradient of a scalar function, in both modes."""
    x = np.asarray(x, dtype=float) if not hasattr(x, "dtype") else x
    reverse = cr.grad(f)(x)
    forward = np.zeros_like(x)
    for index in np.ndindex(np.shape(x)):
        unit = np.zeros_like(x)
        unit[index] = 1
        forward[index] = cr.jvp(f, (x,), (unit[()],))[1]
    np.testing.assert_allclose(reverse, forward, rtol=1e-6 if x.dtype.itemsize > 2 else 1e-2)
    assert np.shape(reverse) == np.shape(x)
    assert reverse.dtype == x.dtype
    return reverse


def equal(actual: Any, desired: Any) -> None:
    np.testing.assert_allclose(actual, desired, rtol=1e-12)


X = spaced((3, 4), "cases")


def test_c1_an_element_read_twice_counts_twice():
    equal(slope(lambda x: np.sum(x[[0, 0, 1]]), [1.0, 2.0]), [2, 1])


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[::-1],
        lambda x: x[:, ::-2],
        lambda x: np.flip(x, 0),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=1),
        lambda x: np.broadcast_to(x, (2, 3, 4)),
    ],
)
def test_c8_strides(read):
    def f(x):
        return np.sum(np.sin(read(x)) * spaced(np.shape(read(X)), "w"))

    np.testing.assert_allclose(slope(f, X), numerical_gradient(f, [X], 0), atol=1e-8)


@pytest.mark.parametrize("make", [np.asfortranarray, lambda x: np.repeat(x, 2, 0)[::2], lambda x: x.T.copy().T])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.reshape(2, 6, order="F"),
        lambda x: np.ravel(x, order="K"),
        lambda x: np.ravel(x, order="A"),
        lambda x: x.flatten("F"),
    ],
)
def test_c9_memory_order(make, change):
    x = make(X)
    weights = spaced(np.shape(change(x)), "w")
    tensor = cr.Tensor(x, copy=False)
    assert np.array_equal(change(tensor).data, change(x))
    change(tensor).backward(weights)
    expected = numerical_gradient(lambda x: np.sum(change(make(x)) * weights), [X], 0)
    np.testing.assert_allclose(tensor.grad, expected, atol=1e-8)
    assert tensor.grad.shape == x.shape


@pytest.mark.parametrize(
    "f",
    [np.sum, np.prod, np.mean, np.sort, np.cumsum, lambda x: np.concatenate([x, x]), lambda x: x @ np.ones((3, 2))],
)
def test_c10_size_zero(f):
    x = np.ones((0, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
        gradient = cr.grad(lambda x: np.sum(f(x)))(x)
        cr.jvp(f, (x,), (x,))
    assert gradient.shape == (0, 3)


def test_c10_max_of_nothing_raises_as_numpy_does():
    with pytest.raises(ValueError, match="zero-size"):
        np.max(cr.Tensor(np.ones((0,))))


def test_c11_scalars_of_every_kind():
    for x in (np.array(2.0), np.float64(2.0), 2.0, 2):
        value, gradient = cr.value_and_grad(lambda x: x * x * x)(x)
        assert (value, gradient) == (8.0, 12.0)
        assert isinstance(gradient, np.float64)


def test_c12_arrays_and_lists_on_either_side():
    t = cr.Tensor([1.0, 2.0])
    for result in (np.float64(2) * t, np.ones(2) * t, np.ones((2, 2)) @ t, [1, 2] + t):
        assert type(result) is cr.Tensor
    a = np.ones(2)
    with pytest.raises(cr.errors.InPlaceError, match=r"y = y \+ t"):
        a += t


def test_c13_half_precision_accumulates_as_numpy_does():
    ones = cr.Tensor(np.ones(70_000, np.float16))
    with pytest.warns(RuntimeWarning, match="overflow"):
        total = np.sum(ones)
    assert total.data == np.inf
    large = cr.Tensor(np.full(100, 60_000, np.float16))
    mean = np.mean(large)
    assert mean.data == np.float16(60_000)
    mean.backward()
    assert large.grad.dtype == np.float16


def test_c14_c15_dtypes():
    x = np.float32([1.0, 2.0])
    gradient = slope(lambda x: np.sum(2.0 * x**2 + 1), x)
    assert gradient.dtype == np.float32
    for integers in ([1, 2], np.array([1, 2]), np.array([True, True], int)):
        assert cr.Tensor(integers).dtype == np.float64
        assert cr.grad(lambda x: np.sum(x * x))(np.asarray(integers)).dtype == np.float64
    assert cr.grad(lambda x: x[0] * x[1])([2, 3]) == [3.0, 2.0]  # a list is a container


def test_c16_negative_powers():
    equal(slope(lambda x: np.sum(x**-1), [2.0, 4.0]), [-0.25, -0.0625])
    with pytest.raises(ValueError, match="negative integer powers"):
        np.power(np.array([1, 2]), -1)


MATMUL = [
    ((4,), (4,)),
    ((4,), (4, 3)),
    ((2, 4), (4,)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((3, 0), (0, 2)),
    ((0, 3), (3, 2)),
]


@pytest.mark.parametrize(("a", "b"), MATMUL)
def test_c17_matmul(a, b):
    a, b = spaced(a, "a"), spaced(b, "b")
    weights = spaced(np.shape(a @ b), "w")
    for i in range(2):

        def f(x, i=i):
            return np.sum((x @ b if i == 0 else a @ x) * weights)

        x = (a, b)[i]
        np.testing.assert_allclose(slope(f, x), numerical_gradient(f, [x], 0), atol=1e-9)


EINSUM = [
    (("ii",), [(3, 3)]),
    (("ii->i",), [(3, 3)]),
    (("i,i,i->",), [(3,), (3,), (3,)]),
    (("...ij,...jk",), [(2, 3, 4), (4, 2)]),
    (("ba",), [(3, 4)]),
    (("ij,jk,kl",), [(2, 3), (3, 4), (4, 2)]),
    (("...i,...i",), [(1, 3), (2, 3)]),
]


@pytest.mark.parametrize(("spec", "shapes"), EINSUM)
@pytest.mark.parametrize("optimize", [False, True])
def test_c18_einsum(spec, shapes, optimize):
    operands = [spaced(shape, i) for i, shape in enumerate(shapes)]
    weights = spaced(np.shape(np.einsum(*spec, *operands)), "w")
    for i, x in enumerate(operands):

        def f(x, i=i):
            given = [*operands[:i], x, *operands[i + 1 :]]
            return np.sum(np.einsum(*spec, *given, optimize=optimize) * weights)

        np.testing.assert_allclose(slope(f, x), numerical_gradient(f, [x], 0), atol=1e-9)


def test_c18_one_operand_twice_and_interleaved():
    equal(slope(lambda x: np.einsum("i,i->", x, x), [1.0, 3.0]), [2, 6])
    equal(slope(lambda x: np.sum(np.einsum(x, [0, 1], x, [0, 1], [0])), X), 2 * X)


def test_c19_keepdims_and_axes():
    f = [
        lambda x: np.sum(x**2, axis=(-1, 0), keepdims=True),
        lambda x: np.sum(x**2, axis=None, keepdims=True),
        lambda x: np.sum(x**2, axis=-2),
    ]
    for g in f:
        assert g(cr.Tensor(X)).shape == g(X).shape
        equal(slope(lambda x, g=g: np.sum(g(x)), X), 2 * X)
    with pytest.raises(ValueError, match="duplicate"):
        np.sum(cr.Tensor(X), axis=(0, 0))


def test_c20_ddof():
    for options in ({"ddof": 1}, {"correction": 1}, {"ddof": 0.5}):

        def f(x, options=options):
            return np.var(x, **options)

        np.testing.assert_allclose(slope(f, X[0]), numerical_gradient(f, [X[0]], 0), atol=1e-9)
    with pytest.warns(RuntimeWarning), np.errstate(divide="ignore", invalid="ignore"):
        assert not np.any(np.isfinite(cr.grad(lambda x: np.var(x, ddof=4))(X[0])))


def test_c21_solve_and_the_shape_of_b():
    a = np.eye(3) * 2 + X[:, :3] * 0.3
    for b in (X[:, 0], X[:, :2]):
        assert np.linalg.solve(cr.Tensor(a), cr.Tensor(b)).shape == np.linalg.solve(a, b).shape

        def f(b):
            return np.sum(np.linalg.solve(a, b) * np.ones(np.shape(b)))

        np.testing.assert_allclose(slope(f, b), numerical_gradient(f, [b], 0), atol=1e-8)


def test_c24_wide_qr_and_the_sign_of_slogdet():
    def f(x):
        q, r = np.linalg.qr(x)
        return np.sum(np.sin(q)) + np.sum(r * r * r)

    np.testing.assert_allclose(slope(f, X), numerical_gradient(f, [X], 0), atol=1e-6)
    equal(slope(lambda x: np.linalg.slogdet(x)[0], X[:, :3]), 0)


@pytest.mark.parametrize("n", [None, 4, 5, 7, 9])
@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
def test_c25_real_transforms(n, norm):
    x = spaced((6,), "signal")
    for transform in (np.fft.rfft, np.fft.irfft):

        def f(x, transform=transform):
            y = transform(x * (1 + 0.5j) if transform is np.fft.irfft else x, n, norm=norm)
            return np.sum(np.abs(y) ** 2 * np.arange(y.shape[0]))

        np.testing.assert_allclose(slope(f, x), numerical_gradient(f, [x], 0), atol=1e-7)


def test_c26_complex_points():
    equal(slope(lambda x: np.abs(x + 0j), 0.0), 0)
    equal(slope(lambda x: np.angle(x + 0j), 0.0), 0)
    equal(slope(lambda x: np.real(np.sqrt(x + 0j)), 4.0), 0.25)
    equal(slope(lambda x: np.imag(np.sqrt(x + 0j)), -1.0), -0.5)
    equal(slope(lambda x: np.real((x + 1j) ** 0), 2.0), 0)
    equal(slope(lambda x: np.imag(np.conj(x * (1 + 1j))), 2.0), -1)


def test_c27_complex_convention():
    z = np.array([1.0 + 2.0j, -0.5 + 1.0j])
    gradient = cr.grad(lambda z: np.sum(np.abs(z) ** 2))(z)
    equal(gradient, 2 * z)  # steepest ascent
    for mode in ("reverse", "forward"):
        f = lambda z: z * z * z  # noqa: E731
        slopes = (
            [cr.grad(f, holomorphic=True)(x) for x in z]
            if mode == "reverse"
            else cr.jvp(f, (z,), (np.ones_like(z),))[1]
        )
        equal(slopes, 3 * z**2)
    with pytest.raises(cr.errors.OutputError, match="holomorphic"):
        cr.grad(lambda z: z * z)(1.0 + 2.0j)


METHODS = (
    "inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen weibull linear "
    "median_unbiased normal_unbiased lower higher midpoint nearest"
)


@pytest.mark.parametrize("method", METHODS.split())
@pytest.mark.parametrize("x", [[3.0, 1.0, 2.0, 2.0], [3.0, 1.0, 2.0, 2.0, 5.0]])
def test_c28_quantiles(method, x):
    for q in (0.0, 0.3, 0.5, 1.0):
        equal(np.sum(slope(lambda x, q=q: np.quantile(x, q, method=method), x)), 1)
    assert np.isnan(np.median(cr.Tensor([1.0, np.nan])).data)


def test_c29_permutations():
    x = np.array([2.0, 1.0, 2.0, np.nan, 0.5])
    w = np.arange(5.0)
    equal(slope(lambda x: np.sum((np.sort(x, kind="stable") * w)[:4]), x), [2, 1, 3, 0, 0])
    equal(slope(lambda x: np.sum(np.sort(x, axis=None)[:2]), x), [0, 1, 0, 0, 1])
    equal(slope(lambda x: np.sum(np.partition(x, 1)[:2] * w[1:3]), x), [0, 2, 0, 0, 1])
    assert type(np.argsort(cr.Tensor(x))) is np.ndarray
    assert type(np.lexsort((cr.Tensor(x),))) is np.ndarray
    equal(slope(lambda x: np.sum(np.unique(x) * [1.0, 2.0, 3.0]), [2.0, 1.0, 2.0, 3.0]), [2, 1, 0, 3])


def test_c30_clip():
    t = cr.Tensor([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(np.clip(t, 5, 2).data, np.clip([1.0, 2.0, 3.0], 5, 2))  # hi wins
    equal(slope(lambda lo: np.sum(np.clip([1.0, 2.0, 3.0], lo, None)), 1.5), 1)
    equal(slope(lambda hi: np.sum(np.clip([1.0, 2.0, 3.0], None, hi)), 1.5), 2)


@pytest.mark.parametrize("function", [np.mod, np.fmod, np.remainder, lambda a, b: np.divmod(a, b)[1]])
def test_c31_remainders(function):
    for a, b in ((5.5, 2.0), (-5.5, 2.0), (5.5, -2.0)):
        step = (np.trunc if function is np.fmod else np.floor)(a / b)
        equal(slope(lambda x, f=function: f(x[0], x[1]), [a, b]), [1, -step])
    equal(slope(lambda x: np.floor_divide(x[0], x[1]), [5.5, 2.0]), [0, 0])


def test_c32_steps():
    for step in (np.floor, np.ceil, np.rint, np.trunc, np.round, np.sign, lambda x: np.heaviside(x, 0.5)):
        equal(slope(lambda x, step=step: np.sum(step(x)), X), 0)
    t = cr.Tensor(X)
    for result in (t > 0, np.isnan(t), np.argmax(t, 0), np.argsort(t)):
        assert type(result) is np.ndarray


def test_c33_interp():
    xp, fp = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 3.0])
    for x, expected in ((-1.0, 0), (0.0, 0.5), (0.5, 1), (1.0, 1.5), (2.0, 1), (3.0, 0)):
        equal(slope(lambda x: np.interp(x, xp, fp), x), expected)
    equal(slope(lambda fp: np.interp(0.25, xp, fp), fp), [0.75, 0.25, 0])


def test_c34_keywords_and_methods_of_ufuncs():
    mask = X > 0
    equal(slope(lambda x: np.sum(x * x, where=mask, initial=2.0), X), np.where(mask, 2 * X, 0))
    equal(slope(lambda x: np.sum(np.exp(x, out=np.zeros_like(x), where=mask)), X), np.where(mask, np.exp(X), 0))
    equal(slope(lambda x: np.add.reduce(x * x, axis=None), X), 2 * X)
    equal(slope(lambda x: np.sum(np.multiply.accumulate(x)), [2.0, 3.0, 5.0]), [19, 12, 6])
    equal(slope(lambda x: np.sum(np.multiply.outer(x, [1.0, 2.0])), [2.0, 3.0]), [3, 3])
    equal(slope(lambda x: np.sum(np.add.reduceat(x * x, [0, 2])), [1.0, 2.0, 3.0]), [2, 4, 6])


def test_c35_no_perturbation_confusion():
    def inner(x):
        return x * cr.grad(lambda y: x * y)(3.0)

    assert cr.grad(inner)(1.0) == 2.0
    assert cr.jvp(lambda x: x * cr.jvp(lambda y: x * y, (3.0,), (1.0,))[1], (1.0,), (1.0,))[1] == 2.0
    results = []
    threads = [threading.Thread(target=lambda: results.append(cr.grad(inner)(1.0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2.0] * 4


def test_c36_fan_out():
    assert cr.grad(lambda a, b: a * b, argnums=(0, 1))(3.0, 3.0) == (3.0, 3.0)

    def doubled(x):
        for _ in range(60):
            x = x + x
        return x

    equal(slope(doubled, 1.0), 2.0**60)


def test_c37_long_chains_pickles_and_copies():
    def chain(x):
        for _ in range(100_000):
            x = x * 1.0
        return x

    assert cr.grad(chain)(2.0) == 1.0
    leaf = cr.Tensor([1.0], name="w")
    leaf.grad = np.array([3.0])
    for again in (pickle.loads(pickle.dumps(leaf)), copy.deepcopy(leaf)):
        assert (again.name, again.grad, again.data) == ("w", 3.0, 1.0)
    with pytest.raises(cr.errors.ConversionError, match=r"detach\(\)"):
        pickle.dumps(leaf * 2)


def test_c38_backward_twice():
    x = cr.Tensor(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad == 12.0
    with pytest.raises(cr.errors.FreedGraphError, match="retain_graph"):
        y.backward()


def test_c39_exceptions_leave_nothing_behind():
    class Interrupted(BaseException):
        pass

    def broken(x):
        y = x * x
        raise Interrupted(y)

    for transform in (cr.grad(broken), lambda x: cr.jvp(broken, (x,), (1.0,)), lambda x: cr.vjp(broken, x)):
        with pytest.raises(Interrupted):
            transform(2.0)
        assert cr.grad(lambda x: x * x)(2.0) == 4.0
        assert cr.jvp(lambda x: x * x, (2.0,), (1.0,))[1] == 4.0


def test_c40_generators_are_not_differentiated():
    def noisy(x, rng):
        return np.sum(x * rng.normal(size=3))

    gradient = cr.grad(noisy)(np.ones(3), np.random.default_rng(0))
    equal(gradient, np.random.default_rng(0).normal(size=3))


def test_c41_outputs_that_do_not_depend():
    x = np.float32([1.0, 2.0])
    for f in (lambda x: 3.0, lambda x: np.sum(np.floor(x)), lambda x: np.sum(np.ones(3))):
        gradient = cr.grad(f)(x)
        equal(gradient, 0)
        assert gradient.dtype == np.float32
        assert cr.jvp(f, (x,), (x,))[1] == 0
    assert cr.grad(lambda x: x)(2.0) == 1.0


def test_c42_second_derivatives_at_kinks():
    for f in (np.abs, lambda x: np.maximum(x, 0.0), nn.relu, lambda x: np.where(x > 0, x, 0.0)):
        assert cr.grad(cr.grad(f))(0.0) == 0
        assert cr.jvp(lambda x, f=f: cr.jvp(f, (x,), (1.0,))[1], (0.0,), (1.0,))[1] == 0


def test_c44_poles():
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert slope(lambda x: np.log1p(x), -1.0) == np.inf
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert slope(lambda x: np.arctanh(x), 1.0) == np.inf
    assert slope(lambda x: np.tan(x), np.pi / 2) > 1e30


@pytest.mark.parametrize("zeros", [[], [1], [0, 2], [0, 1, 2, 3]])
def test_c45_products_with_zeros(zeros):
    x = np.array([2.0, 3.0, 5.0, 7.0])
    x[zeros] = 0.0
    for f in (np.prod, lambda x: np.sum(np.cumprod(x) * [1.0, 2.0, 3.0, 4.0]), lambda x: np.sum(np.cumsum(x) ** 2)):
        np.testing.assert_allclose(slope(f, x), numerical_gradient(f, [x], 0), atol=1e-8)
    mask = np.array([True, False, True, True])
    np.testing.assert_allclose(
        slope(lambda x: np.prod(x, where=mask), x),
        numerical_gradient(lambda x: np.prod(x, where=mask), [x], 0),
        atol=1e-8,
    )


def test_c46_what_is_no_number():
    structured = np.zeros(2, dtype=[("a", float)])
    masked = np.ma.masked_array([1.0, 2.0], [True, False])
    for value in (["a"], np.array(["2020-01-01"], "M8[D]"), np.array([None]), np.array([True]), structured, masked):
        with pytest.raises(TypeError):
            cr.Tensor(value)


def test_c47_size_one_meets_size_zero():
    a, b = cr.Tensor(np.ones((3, 1))), cr.Tensor(np.ones((0,)))
    np.sum(a + b).backward()
    assert (a.grad.shape, b.grad.shape) == ((3, 1), (0,))


def test_c48_containers_of_tensors():
    def f(x):
        a, b = x
        parts = [np.sum(np.array([a, 2.0, b]) * 2.0), np.sum(np.asarray([[a, b], [b, a]])), np.sum(np.stack([a, b]))]
        return sum(parts) + max([a, b]) + sum(element for element in x)

    equal(slope(f, [1.0, 2.0]), [2 + 2 + 1 + 0 + 1, 2 + 2 + 1 + 1 + 1])


def test_c50_ties_are_found_by_equality():
    third = np.float32([1, 1]) / np.float32(3)
    equal(slope(lambda x: np.max(x), third), [0.5, 0.5])
    with np.errstate(invalid="ignore"):
        gradient = slope(lambda x: np.max(x), np.array([1.0, np.nan, np.nan]))
    equal(gradient, [0, 0.5, 0.5])
