"""Recycled memory: what is shared with whom, and when."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from oracle import ROWS

import chainrule as cr
from chainrule import memory

N = memory.BIG  # elements: well above the threshold in bytes


@pytest.fixture(autouse=True)
def empty_pool():
    memory.drop()
    yield
    memory.drop()


def address(x):
    return x.__array_interface__["data"][0]


def test_a_block_comes_back_when_its_last_view_dies():
    x = memory.empty((N,), np.dtype("f8"))
    where, view = address(x), x[3:5]
    del x
    assert address(memory.empty((N,), np.dtype("f8"))) != where
    del view
    assert address(memory.empty((N,), np.dtype("f8"))) == where
    again = memory.empty((N,), np.dtype("f8"))  # and a second time
    assert address(again) == where


def test_the_pool_is_bounded(monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 3 * 8 * N)
    several = [memory.empty((N,), np.dtype("f8")) for _ in range(6)]
    del several
    assert memory._held <= memory.KEPT
    other = memory.empty((3 * N,), np.dtype("f8"))
    del other
    assert memory._held <= memory.KEPT


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_large_and_small_arrays_agree(dtype):
    rng = np.random.default_rng(0)
    x0, b0 = rng.uniform(0.2, 0.9, (300, 400)).astype(dtype), rng.uniform(0.2, 0.9, 400).astype(dtype)

    def f(x, b):
        y = np.tanh(x * x + b) / (1 + np.exp(-x)) - np.sqrt(x) ** 2 + np.arctan2(x, b)
        return np.sum(y * y + 2 * x - x / y + np.arcsin(x))

    value, (gx, gb) = cr.value_and_grad(f, argnums=(0, 1))(x0, b0)
    assert gx.dtype == gb.dtype == dtype
    rows = [cr.value_and_grad(f, argnums=(0, 1))(x0[i : i + 5], b0) for i in range(0, 300, 5)]  # below the threshold
    np.testing.assert_allclose(gx, np.concatenate([g[0] for _, g in rows]), rtol=1e-5 if dtype == "f4" else 1e-12)
    np.testing.assert_allclose(gb, sum(g[1] for _, g in rows), rtol=1e-4 if dtype == "f4" else 1e-11)
    np.testing.assert_allclose(value, sum(v for v, _ in rows), rtol=1e-4 if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_row_is_the_same_on_large_arrays(rule, dtype):
    rng = np.random.default_rng(0)
    operands = [rng.uniform(*interval, N).astype(dtype) for interval in rule.domain]
    if rule.name == "power_by_two":
        operands[1] = np.full(N, 2, dtype)

    def slopes(*arrays):
        tensors = [cr.Tensor(array) for array in arrays]
        y = rule(*tensors)
        (y * y).backward()
        tangents = [np.cos(array) for array in arrays]
        _, pushed = cr.jvp(rule, arrays, tangents)
        return y.data, pushed, *(tensor.grad for tensor in tensors)

    large = slopes(*operands)
    for start in (0, N - 500):
        small = slopes(*(operand[start : start + 500] for operand in operands))
        for a, b in zip(large, small, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a[start : start + 500], b, rtol=3e-6 if dtype == "f4" else 1e-14)


def test_results_outlive_the_next_pass():
    x = cr.Tensor(np.linspace(0.1, 1.0, N))
    first = cr.grad(lambda x: np.sum(x * x * x))(x.data)
    y = x * x + 1.0
    expected = first.copy(), y.data.copy()
    for _ in range(3):
        cr.grad(lambda x: np.sum(np.exp(x) * x))(x.data * 2)
    np.testing.assert_array_equal(first, expected[0])
    np.testing.assert_array_equal(y.data, expected[1])


def test_large_results_can_be_written_to():
    x = cr.Tensor(np.ones(N))
    y = x * 2
    y[0] = 7.0
    np.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad[:2], [0.0, 8.0])


def test_other_layouts_go_through_numpy():
    x0 = np.asfortranarray(np.random.default_rng(0).uniform(0.1, 1, (300, 200)))
    for x in (x0, x0[::-1], x0[::2, ::3]):
        np.testing.assert_allclose(cr.grad(lambda x: np.sum(np.exp(x) * x))(x), np.exp(x) * (1 + x))


def test_large_matrix_products():
    rng = np.random.default_rng(0)
    for shapes in (((300, 200), (200, 250)), ((2, 200, 200), (200, 200)), ((300, 200), (200,))):
        a, b = (rng.normal(size=shape) for shape in shapes)
        x, y = cr.Tensor(a), cr.Tensor(b)
        for z in (x @ y, x @ b, a @ y):
            np.testing.assert_array_equal(z.data, a @ b)
        np.sum((x @ y) ** 2).backward()
        slope = 2 * (a @ b)
        np.testing.assert_allclose(x.grad, slope @ b.T if b.ndim == 2 else np.outer(slope, b))
        rows, slopes = a.reshape(-1, a.shape[-1]), slope.reshape(-1, *b.shape[1:])
        np.testing.assert_allclose(y.grad, rows.T @ slopes)
        with pytest.raises(ValueError, match="matmul of Tensor"):
            x @ np.ones((7, 300))


SHARED = {  # programs in which several nodes meet the same cotangent
    "a leaf and a product": lambda x, y: x * x + x - y,
    "twice the same": lambda x, y: np.tanh(x) + np.tanh(x) + x - np.tanh(y),
    "passed on": lambda x, y: (x + y) * (y + 1.0) + (x + y),
    "through views": lambda x, y: np.reshape(np.tanh(np.reshape(x * y, (-1,))), x.shape) + x.T.T * y,
    "a constant between": lambda x, y: np.exp(-(np.sin(x) * 2.0)) / (1.0 + y * y) - y,
    "to the same leaf": lambda x, y: x * y * x * y + np.sin(x) * np.sin(x) * y,
    "twice the same operand": lambda x, y: (z := x * y) * z + np.sin(z) - x * x + y**y - x / x * y,
}


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("length", [90, 1800])  # in one block, and in several
def test_cotangents_that_are_written_over_are_nobody_elses(name, length):
    f = SHARED[name]
    rng = np.random.default_rng(0)
    x0, y0, ct = (rng.uniform(0.2, 0.9, (length, 100)) for _ in range(3))
    x, y = cr.Tensor(x0), cr.Tensor(y0)
    result, given = f(x, y), ct.copy()
    result.backward(given, retain_graph=True)
    first = x.grad.copy(), y.grad.copy()
    assert np.array_equal(given, ct)
    x.zero_grad()
    y.zero_grad()
    result.backward(given)  # what the graph keeps is as it was
    assert np.array_equal(x.grad, first[0]) and np.array_equal(y.grad, first[1])
    assert np.array_equal(x.data, x0) and np.array_equal(y.data, y0)
    for i in range(0, length, 45):  # below the threshold nothing is written over
        part = slice(i, i + 45)
        a, b = cr.Tensor(x0[part]), cr.Tensor(y0[part])
        f(a, b).backward(ct[part])
        np.testing.assert_allclose(x.grad[part], a.grad, rtol=1e-14)
        np.testing.assert_allclose(y.grad[part], b.grad, rtol=1e-14)


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("length", [90, 1800])
def test_tangents_that_are_added_to_are_nobody_elses(name, length):
    def slopes(x, y):
        return cr.grad(lambda x, y: np.sum(SHARED[name](x, y) ** 2), argnums=(0, 1))(x, y)

    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.2, 0.9, (length, 100)) for _ in range(4)]
    given = [array.copy() for array in arrays]
    _, large = cr.jvp(slopes, arrays[:2], arrays[2:])
    assert all(np.array_equal(a, b) for a, b in zip(arrays, given, strict=True))
    for i in range(0, length, 45):  # below the threshold nothing is added in place
        x, y, tx, ty = (array[i : i + 45] for array in arrays)
        _, small = cr.jvp(slopes, (x, y), (tx, ty))
        for a, b in zip(large, small, strict=True):
            np.testing.assert_allclose(a[i : i + 45], b, rtol=1e-12, atol=1e-12)


def test_a_backward_pass_needs_no_array_for_each_operation():
    x = cr.Tensor(np.full(8 * N, 0.5))

    def step():
        x.zero_grad()
        y = x
        for _ in range(8):
            y = np.tanh(y)
        np.sum(y).backward()

    step()
    x.zero_grad()
    memory.drop()
    tracemalloc.start()
    step()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 9.5 * x.data.nbytes  # the eight results, one cotangent, and blocks to compute it in


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("batch, inputs, hidden", [(128, 784, 256), (512, 300, 1024)])
def test_a_training_step_holds_little_more_than_one_written_by_hand(dtype, batch, inputs, hidden):
    rng = np.random.default_rng(0)
    X, W, V = (rng.normal(size=shape).astype(dtype) for shape in ((batch, inputs), (inputs, hidden), (hidden, 10)))
    X /= inputs
    parameters = [cr.Tensor(W), cr.Tensor(V)]

    def step():
        for p in parameters:
            p.zero_grad()
        np.mean((np.tanh(X @ parameters[0]) @ parameters[1]) ** 2).backward()

    step()
    step()
    for p in parameters:
        p.zero_grad()
    memory.drop()
    tracemalloc.start()
    step()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    layer = batch * hidden * W.itemsize
    assert most < 1.1 * (2 * layer + W.nbytes + 2 * V.nbytes)  # the layer, its cotangent, and the gradients


X, W, Z = (np.random.default_rng(i).normal(size=shape) for i, shape in enumerate([(64, 300), (200, 300), (300, 200)]))


def parts_of_turned(w):
    t = w.T
    return np.sum(t * t) + np.sum(np.sin(X @ t)) + np.sum(t[3:9] ** 3) + np.sum(np.cos(w))


def sums_of_turned(w):
    y = w.T + w.T
    return np.sum(y * y) + np.sum(np.sin(X @ y)) + np.sum((w @ Z) ** 2) + np.sum(np.swapaxes(w, 0, 1) * Z)


def written_after_turning(w):
    t = w.T.copy()
    u = X @ w.T
    v = t[::2]
    v[...] = v * v
    return np.sum(u) + np.sum(np.tanh(X @ t))


TURNED = {
    "alone": lambda w: np.sum(np.tanh(X @ w.T)),
    "beside": lambda w: np.sum(np.tanh(X @ w.T)) + np.sum(w.T * Z) + np.sum(w * Z.T),
    "parts": parts_of_turned,
    "sums": sums_of_turned,
    "in front": lambda w: np.sum(np.tanh(np.moveaxis(w, 0, 1) @ w[:, :60])),
    "written to": written_after_turning,
}


@pytest.mark.parametrize("name", TURNED)
def test_gradients_go_back_through_turned_matrices(name):
    f = TURNED[name]
    d = np.random.default_rng(9).normal(size=W.shape)
    gradient = cr.grad(f)(W)
    np.testing.assert_allclose(np.sum(gradient * d), (f(W + 1e-6 * d) - f(W - 1e-6 * d)) / 2e-6, rtol=1e-6)
    exact, compiled = cr.jit(cr.grad(f), exact=True), cr.jit(cr.grad(f))
    for _ in range(4):
        np.testing.assert_array_equal(exact(W), gradient)
        np.testing.assert_allclose(compiled(W), gradient, rtol=1e-10, atol=1e-12)


def test_the_gradient_of_turned_weights_is_not_copied():
    w = cr.Tensor(W)
    np.sum(X @ w.T).backward()
    w.zero_grad()
    memory.drop()
    tracemalloc.start()
    np.sum(X @ w.T).backward()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert w.grad.flags.c_contiguous
    assert most < 1.8 * W.nbytes  # the gradient, and the smaller result
