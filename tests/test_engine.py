"""The tape: what is recorded, walked, freed and shared."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph import contexts, watchers
from chainrule.rules import rules
from chainrule.walk import pull as reverse

A = np.array([[0.5, -1.5, 2.0], [1.0, 0.25, -0.75]])


def gradient(y, x):
    y.backward()
    return x.grad


# -- operators ---------------------------------------------------------------------------------------------------
OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "%": lambda a, b: a % b,
    "//": lambda a, b: a // b,
    "@": lambda a, b: a @ b,
    "divmod": lambda a, b: divmod(a, b)[1],
}
OTHERS = {
    "int": 3,
    "float": 0.7,
    "scalar": np.float64(1.3),
    "array": np.array([1.5, -2.5, 0.5]),
    "list": [1.5, -2.5, 0.5],
    "tuple": (1.5, -2.5, 0.5),
    "0-d": np.array(1.5),
}


def difference(f, x, v, h=1e-6):
    return (np.sum(f(x + h * v)) - np.sum(f(x - h * v))) / (2 * h)


PAIRS = [
    pytest.param(OPERATORS[symbol], other, id=f"{symbol} {kind}")
    for symbol in OPERATORS
    for kind, other in OTHERS.items()
    if symbol != "@" or np.ndim(other)
]


@pytest.mark.parametrize(("operator", "other"), PAIRS)
def test_operators_both_ways(operator, other):
    x0, v = np.array([0.4, 1.6, 2.3]), np.array([0.3, -0.2, 0.9])
    if operator is OPERATORS["**"]:
        other = type(other)(np.abs(other).tolist()) if isinstance(other, list | tuple) else abs(other)
    array = np.asarray(other) if isinstance(other, list | tuple) else other
    for f, plainly in (
        (lambda a: operator(a, other), lambda a: operator(a, array)),
        (lambda a: operator(other, a), lambda a: operator(array, a)),
    ):
        x = cr.Tensor(x0)
        y = f(x)
        assert isinstance(y, cr.Tensor)
        np.testing.assert_array_equal(y.data, plainly(x0))
        assert y.dtype == plainly(x0).dtype
        slope = difference(plainly, x0, v)
        np.testing.assert_allclose(gradient(np.sum(y), x) @ v, slope, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(cr.jvp(lambda a, f=f: np.sum(f(a)), (x0,), (v,))[1], slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("symbol", [s for s in OPERATORS if s not in ("@", "//")])
def test_operators_of_two_tensors(symbol):
    operator = OPERATORS[symbol]
    a, b = cr.Tensor([0.4, 1.6, 2.3]), cr.Tensor([[1.2], [0.7]])
    y = operator(a, b)
    np.testing.assert_array_equal(y.data, operator(a.data, b.data))
    np.sum(y).backward()
    for t, f in ((a, lambda x: operator(x, b.data)), (b, lambda x: operator(a.data, x))):
        v = np.ones_like(t.data) * 0.3
        np.testing.assert_allclose(np.sum(t.grad * v), difference(f, t.data, v), rtol=1e-6)
        assert t.grad.shape == t.shape


def test_comparisons_are_plain_arrays():
    x = cr.Tensor([1.0, 2.0])
    for result in (x > 1, x >= 2, x < 2.0, x <= np.ones(2), x == x, x != 1, x < x):
        assert type(result) is np.ndarray
        assert result.dtype == bool
    assert bool(x[0] < 2)


def test_in_place_operators_reach_every_name_of_the_tensor():
    x = cr.Tensor([1.0, 2.0])
    y = x * 3
    alias = y
    y *= x
    assert alias is y
    np.testing.assert_array_equal(gradient(np.sum(alias), x), [6.0, 12.0])


def test_assigning_elements():
    x = cr.Tensor([1.0, 2.0, 3.0])
    y = x * 1
    y[1] = x[0] * 5
    y[[0, 0]] = x[1:]
    np.testing.assert_array_equal(y.data, [3.0, 5.0, 3.0])
    np.testing.assert_array_equal(gradient(np.sum(y), x), [5.0, 0.0, 2.0])  # the last write wins


# -- the walk ----------------------------------------------------------------------------------------------------
def test_a_million_operations():
    x = cr.Tensor(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + x
    assert gradient(y, x) == 1_000_001
    y = x
    for _ in range(1_000_000):
        y = y * 1.0
    del y  # freed without recursion


def test_shared_subexpressions_cost_linear_work():
    x = cr.Tensor(1.0)
    y = x
    for _ in range(60):
        y = y + y
    assert gradient(y, x) == 2.0**60


def test_nothing_waits_for_the_cycle_collector():
    def work():
        x = cr.Tensor(A)
        np.sum(np.tanh(x @ A.T) ** 2).backward()
        cr.grad(lambda x: np.sum(np.exp(x) * x))(A)
        cr.grad(lambda s: np.sum(cr.grad(lambda z: np.sum(z**3 * s))(s)))(A)
        cr.jvp(lambda x: np.sum(np.sin(x)), (A,), (A,))
        cr.jvp(cr.grad(lambda x: np.sum(np.sin(x))), (A,), (A,))
        _, pullback = cr.vjp(lambda x: [x * 2, np.sum(x)], A)
        pullback([A, np.float64(1.0)])
        with pytest.raises(cr.errors.OutputError):
            cr.grad(lambda x: x * 2)(A)

    work()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            x = cr.Tensor(A)
            y = np.sum(np.tanh(x @ A.T) ** 2)
            y.backward()
            cr.grad(lambda s: np.sum(cr.grad(lambda z: np.sum(z**3 * s))(s)))(A)
            cr.jvp(cr.grad(lambda x: np.sum(np.sin(x))), (A,), (A,))
            value, pullback = cr.vjp(lambda x: [x * 2, np.sum(x)], A)
            pullback([A, np.float64(1.0)])
            del x, y, value, pullback
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_values_that_no_rule_reads_are_not_kept():
    x = cr.Tensor(np.ones(100_000))
    tracemalloc.start()
    try:
        y = x
        for _ in range(20):
            y = y + 1.0  # needs no value for its derivative
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * x.nbytes


def test_forward_mode_runs_in_constant_memory():
    x0 = np.full(5_000, 0.5)

    def long_loop(x, steps):
        for _ in range(steps):
            x = np.sin(x) * 1.01
        return x

    peaks = []
    for steps in (20, 400):
        cr.jvp(lambda x: long_loop(x, 2), (x0,), (x0,))
        tracemalloc.start()
        cr.jvp(lambda x, n=steps: long_loop(x, n), (x0,), (x0,))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_gradients_never_share_memory():
    a, b = cr.Tensor(A), cr.Tensor(A)
    y = a + b
    seed = np.ones_like(A)
    y.backward(seed)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, seed)
    ga, gb = cr.grad(lambda a, b: np.sum(a + b), argnums=(0, 1))(A, A)
    ga += 1
    np.testing.assert_array_equal(gb, np.ones_like(A))
    assert gb.flags.writeable


def test_inputs_are_not_modified():
    x0 = A.copy()
    x = cr.Tensor(x0)
    y = x * x
    np.sum((y + y) * y).backward()
    np.testing.assert_array_equal(x0, A)
    np.testing.assert_array_equal(x.data, A)


def test_backward_accumulates_and_zero_grad_forgets():
    x = cr.Tensor([1.0, 2.0])
    assert x.grad is None
    np.sum(x * 2).backward()
    np.sum(x * 3).backward()
    np.testing.assert_array_equal(x.grad, [5.0, 5.0])
    x.zero_grad()
    assert x.grad is None


def test_retain_graph():
    x = cr.Tensor(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad == 12.0
    with pytest.raises(cr.errors.FreedGraphError, match="retain_graph=True"):
        y.backward()
    assert x.grad == 12.0
    with pytest.raises(cr.errors.FreedGraphError):
        (y * 2).backward()


def test_create_graph():
    x = cr.Tensor([1.0, 2.0])
    np.sum(x**3).backward(create_graph=True)
    first = x.grad
    assert isinstance(first, cr.Tensor)
    x.zero_grad()
    np.sum(first * first).backward()
    np.testing.assert_allclose(x.grad, 2 * 3 * x.data**2 * 6 * x.data)


def test_a_gradient_may_be_a_tensor():
    x, s = cr.Tensor([1.0, 2.0]), cr.Tensor([3.0, 4.0])
    (x * x).backward(s * 1)
    np.sum(x.grad).backward()
    np.testing.assert_array_equal(s.grad, 2 * x.data)


def test_the_slots_are_optional():
    x = cr.Tensor(A)
    y = np.sum(np.exp(x) * x)
    with reverse._slots:  # as if another thread were walking
        y.backward()
    np.testing.assert_allclose(x.grad, np.exp(A) * (1 + A))


# -- accidents ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, GeneratorExit])
def test_an_interrupted_function_leaves_no_trace(error):
    def bad(x):
        np.sin(x)
        raise error

    for call in (
        lambda: cr.grad(bad)(1.0),
        lambda: cr.jvp(bad, (1.0,), (1.0,)),
        lambda: cr.jvp(lambda x: cr.grad(bad)(x), (1.0,), (1.0,)),
        lambda: cr.grad(lambda x: cr.jvp(bad, (x,), (1.0,))[1])(1.0),
    ):
        with pytest.raises(error):
            call()
        assert not contexts.stack
        assert not watchers
        assert cr.grad(np.sin)(0.0) == 1.0


def test_an_interrupted_walk_is_repeated_from_scratch(monkeypatch):
    x = cr.Tensor(A)
    y = np.sum(np.exp(np.sin(x)) * x)
    cr.grad(lambda x: np.sum(np.sin(x)))(A)  # the rule is compiled
    rule = rules["sin"]
    good = rule.pull

    def interrupted(node, ct):
        raise KeyboardInterrupt

    monkeypatch.setattr(rule, "pull", interrupted)
    with pytest.raises(KeyboardInterrupt):
        y.backward()
    assert x.grad is None
    monkeypatch.setattr(rule, "pull", good)
    y.backward()
    np.testing.assert_allclose(x.grad, np.exp(np.sin(A)) * (1 + A * np.cos(A)))


def test_threads_do_not_see_each_other():
    shared = cr.Tensor(np.linspace(0.1, 1.0, 50))
    errors = []
    start = threading.Barrier(6)

    def work(k):
        try:
            start.wait()
            for _ in range(60):
                x0 = np.full(50, 0.1 * k)
                found = cr.grad(lambda x: np.sum(np.sin(x) * k))(x0)
                np.testing.assert_allclose(found, k * np.cos(x0))
                _, tangent = cr.jvp(lambda x: np.exp(x * k), (x0,), (np.ones(50),))
                np.testing.assert_allclose(tangent, k * np.exp(k * x0))
                with cr.no_grad():
                    assert (shared * k).node is None
                _, pullback = cr.vjp(lambda s: np.sum(s * shared * k), x0)
                np.testing.assert_allclose(pullback(np.float64(1.0))[0].data, shared.data * k)
        except BaseException as error:  # noqa: BLE001 (reported by the main thread)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


# -- ways out of the graph -----------------------------------------------------------------------------------------
def test_no_grad_and_friends():
    x = cr.Tensor([1.0, 2.0])
    with cr.no_grad():
        assert (x * 2).node is None
        np.testing.assert_array_equal(cr.grad(lambda z: np.sum(z * z))(x.data), 2 * x.data)
        np.testing.assert_array_equal(cr.grad(lambda z: np.sum(z * x))(np.ones(2)), x.data)
    y = x * x.detach() + cr.stop_gradient(x) * 3
    np.testing.assert_array_equal(gradient(np.sum(y), x), x.data)
    assert cr.stop_gradient(2.0) == 2.0


def test_no_grad_hides_what_is_older_from_every_mode():
    def f(x):
        with cr.no_grad():
            c = x * 5
        return c * x

    assert cr.grad(f)(2.0) == 10.0
    assert cr.jvp(f, (2.0,), (1.0,))[1] == 10.0


def test_pickle_and_copy():
    x = cr.Tensor([1.0, 2.0], name="x")
    np.sum(x * x).backward()
    for other in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x)):
        assert other.name == "x"
        np.testing.assert_array_equal(other.grad, x.grad)
        np.testing.assert_array_equal(other.data, x.data)
        assert not np.shares_memory(other.data, x.data)
    with pytest.raises(cr.errors.ConversionError, match="detach"):
        pickle.dumps(x * 2)
    with pytest.raises(cr.errors.ConversionError, match="detach"):
        copy.deepcopy(x * 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps((x * 2).detach())).data, [2.0, 4.0])


# -- what a Tensor holds -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", np.longdouble, "c8", "c16", np.clongdouble])
def test_dtypes_are_kept(dtype):
    x = cr.Tensor(np.array([0.5, 1.5]).astype(dtype))
    assert x.dtype == dtype
    y = np.sum(np.real(np.exp(x * 2) / 3 + x**2 - 1))
    y.backward()
    assert x.grad.dtype == x.dtype
    assert cr.grad(lambda x: np.real(np.sum(np.sin(x) * 2)))(x.data).dtype == x.dtype
    assert cr.jvp(lambda x: np.sin(x) * 2, (x.data,), (x.data,))[1].dtype == x.dtype


def test_what_is_not_floating_becomes_float64():
    for value in ([1, 2], (1, 2), np.array([1, 2]), np.array([1, 2], "u1"), range(1, 3)):
        x = cr.Tensor(value)
        assert x.dtype == np.float64
    assert cr.grad(lambda x: x * x)(3) == 6.0
    assert isinstance(cr.Tensor(3).data, np.float64)


def test_zero_dimensional_values_are_numpy_scalars():
    x = cr.Tensor(np.array(2.0))
    y = np.sum(x * np.ones(3))
    y.backward()
    assert type(x.data) is type(y.data) is type(x.grad) is np.float64
    assert type(cr.Tensor(2.0, dtype="f4").data) is np.float32
    assert type(cr.grad(np.sin)(2.0)) is np.float64


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2, 1)])
def test_empty_arrays(shape):
    x = cr.Tensor(np.zeros(shape))
    np.sum(np.exp(x) * np.zeros((1,) * len(shape))).backward()
    assert x.grad.shape == shape


def test_broadcasting_over_several_axes():
    a, b, c = cr.Tensor(np.ones((3, 1, 2))), cr.Tensor(np.full((4, 1), 2.0)), cr.Tensor(3.0)
    np.sum(a * b * c).backward()
    np.testing.assert_array_equal(a.grad, np.full((3, 1, 2), 4 * 2.0 * 3))
    np.testing.assert_array_equal(b.grad, np.full((4, 1), 3 * 2 * 3.0))
    assert c.grad == 3 * 4 * 2 * 2.0


class Foreign(np.lib.mixins.NDArrayOperatorsMixin):
    """An array of another library: it has NumPy's protocols and refuses to become an ndarray."""

    def __init__(self, values):
        self.values = np.asarray(values)

    shape = property(lambda self: self.values.shape)
    dtype = property(lambda self: self.values.dtype)
    ndim = property(lambda self: self.values.ndim)
    size = property(lambda self: self.values.size)
    nbytes = property(lambda self: self.values.nbytes)
    T = property(lambda self: Foreign(self.values.T))

    def __array__(self, dtype=None, copy=None):
        raise TypeError("this array does not live in this memory")

    def copy(self):
        return Foreign(self.values.copy())

    def astype(self, dtype, **options):
        return Foreign(self.values.astype(dtype))

    def __getitem__(self, index):
        return Foreign(self.values[index])

    def __len__(self):
        return len(self.values)

    def __bool__(self):
        return bool(self.values)

    @staticmethod
    def _unwrapped(x):
        if isinstance(x, tuple | list):
            return type(x)(Foreign._unwrapped(i) for i in x)
        return x.values if isinstance(x, Foreign) else x

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__":
            return NotImplemented
        options = {k: Foreign._unwrapped(v) for k, v in options.items()}
        return Foreign(getattr(ufunc, method)(*Foreign._unwrapped(inputs), **options))

    def __array_function__(self, function, types, args, options):
        options = {k: Foreign._unwrapped(v) for k, v in options.items()}
        return Foreign(function(*Foreign._unwrapped(args), **options))


def test_arrays_of_other_libraries_flow_through():
    W = cr.Tensor(Foreign(A))
    x = Foreign([1.0, 2.0, 3.0])
    y = np.tanh(W @ x + cr.Tensor(Foreign([1.0]))) * 2.0 + np.sum(W * W, axis=1) + np.max(W, axis=1)
    assert type(y.data) is Foreign
    np.sum(y).backward()
    assert type(W.grad) is Foreign
    reference = cr.grad(
        lambda w: np.sum(np.tanh(w @ x.values + 1.0) * 2.0 + np.sum(w * w, axis=1) + np.max(w, axis=1))
    )(A)
    np.testing.assert_allclose(W.grad.values, reference)
    _, tangent = cr.jvp(lambda w: np.sum(np.exp(w)), (Foreign(A),), (Foreign(A),))
    np.testing.assert_allclose(tangent.values, np.sum(np.exp(A) * A))


# -- the first things a user does ------------------------------------------------------------------------------------
def test_printing_and_checking():
    x = cr.Tensor([1.0, 2.0], name="w")
    y = x * 2
    s = np.sum(y)
    assert repr(x) == "Tensor([1., 2.], name='w')"
    assert repr(cr.Tensor(1.5, dtype="f4")) == "Tensor(1.5, dtype=float32)"
    assert f"{s:.2f} {s} {y}" == "6.00 6.0 [2. 4.]"
    np.testing.assert_allclose(y, [2, 4])
    np.testing.assert_allclose([2, 4], y)
    np.testing.assert_allclose(s, 6.0)
    np.testing.assert_array_equal(y, [2, 4])
    np.testing.assert_allclose(y * np.nan, [np.nan, np.nan])
    with pytest.raises(AssertionError, match="Mismatched elements: 1 / 2"):
        np.testing.assert_allclose(y, [2, 5])
    assert np.allclose(y, [2, 4])
    assert np.array_equal(y, [2, 4])
    assert np.array_repr(y) == "array([2., 4.])"
    assert [float(t.data) for t in y] == y.tolist() == [2.0, 4.0]
    assert s.item() == 6.0
    assert len(y) == 2
    assert sum(y).data == 6.0
    assert round(s / 7, 2).data == 0.86
    assert max(y).data == 4.0


def test_lists_of_tensors_stay_tracked():
    a, b = cr.Tensor(2.0), cr.Tensor(3.0)
    together = np.array([a * b, 1.0, b])
    y = np.sum(cr.Tensor([1.0, 10.0, 100.0]) * together)
    y.backward()
    assert (a.grad, b.grad) == (3.0, 102.0)
    assert cr.grad(lambda x: np.sum(np.array([x, x * x]) ** 2))(2.0) == 2 * 2 + 4 * 8
    assert cr.grad(lambda x: np.sum(cr.Tensor([x, x * x]) ** 2))(2.0) == 2 * 2 + 4 * 8
    assert cr.grad(lambda x: cr.Tensor(x, dtype="f4", name="copy") ** 2)(2.0) == 4.0
    found = cr.grad(lambda x: np.sum(np.stack([x, x * x])))(np.ones(2))
    np.testing.assert_array_equal(found, [3.0, 3.0])
    assert cr.grad(lambda x: np.sum(np.full(3, x)))(2.0) == 3.0
    cube = np.vectorize(lambda t: t**3 if t > 0 else -t)
    np.testing.assert_allclose(cr.grad(lambda x: np.sum(cube(x) * 1.0))(np.array([2.0, -1.0])), [12.0, -1.0])
