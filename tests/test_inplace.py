"""In-place writes and views: NumPy's meaning, and the derivative of exactly that.

Programs run three ways: on plain arrays, whose values must be the same bits; on Tensors; and on NumPy's own object
arrays of 0-d Tensors, where NumPy's memory does the writing and chainrule only ever sees scalars that never change.
"""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import check, difference, numerical_gradient, same, spaced

import chainrule as cr
from chainrule.record import trace

X = spaced((3, 4), "in place")


def elements(tensor: cr.Tensor) -> np.ndarray:
    """A plain object array of the elements: what is done with it is NumPy's doing, scalar by scalar."""
    flat = np.empty(tensor.size, object)
    for i, index in enumerate(np.ndindex(tensor.shape)):
        flat[i] = tensor[index]
    return flat.reshape(tensor.shape)


# -- single writes, of every kind --------------------------------------------------------------------------------------
INDICES: dict[str, Any] = {
    "int": 1,
    "negative": -1,
    "pair": (1, 2),
    "slice": slice(0, 2),
    "steps": (slice(None, None, -1), slice(None, None, 2)),
    "ellipsis": (..., 1),
    "all": ...,
    "newaxis": (None, slice(1, None), 0),
    "ints": [0, 2],
    "pairs": ([0, 2], [1, 3]),
    "mixed": ([0, 1], slice(1, 3)),
    "outer": np.ix_([0, 2], [1, 3]),
    "mask": X > 0,
    "row mask": np.array([True, False, True]),
    "repeated": [0, 0, 2],
    "repeated pairs": ([0, 0, 0], [1, 1, 2]),
    "nothing": slice(2, 2),
    "no ints": np.array([], int),
    "numpy int": np.int64(2),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_assignment(index):
    def write(x, v):
        y = x * 1.0
        y[index] = v
        return y * y

    check(write, [X, spaced(np.shape(X[index]), "v")])
    check(write, [X, np.float64(0.7)])


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("operation", ["__iadd__", "__imul__", "__isub__", "__itruediv__", "__ipow__"])
def test_augmented_assignment(index, operation):
    def write(x, v):
        y = x * x + 1.0
        part = y[index]
        y[index] = getattr(part, operation)(v) if isinstance(part, cr.Tensor) else _augmented(part, operation, v)
        return y * y

    check(write, [X, np.float64(1.7)])


def _augmented(part, operation, v):
    """`y[index] op= v` for NumPy: a scalar has no in-place operators."""
    inplace = getattr(part, operation, None)
    return inplace(v) if inplace is not None else getattr(part, operation.replace("__i", "__"))(v)


def test_repeated_index_last_wins():
    for index in ([0, 0], np.array([0, 0]), ([0, 0],)):
        v = cr.Tensor([1.0, 2.0])
        y = cr.Tensor([5.0, 6.0]) * 1
        y[index] = v
        np.sum(y).backward()
        np.testing.assert_array_equal(v.grad, [0.0, 1.0])
        y = np.zeros_like(v)
        y[index] += v
        np.testing.assert_array_equal(y.data, [2.0, 0.0])
        v.zero_grad()
        np.sum(y).backward()
        np.testing.assert_array_equal(v.grad, [0.0, 1.0])


def test_lists_with_tensors_are_written():
    x = cr.Tensor([1.0, 2.0])
    y = np.zeros_like(x, shape=(3,))
    y[1:] = [x[1], 4.0]
    y[0] = x[0] * 5
    np.sum(y * y).backward()
    np.testing.assert_array_equal(y.data, [5.0, 2.0, 4.0])
    np.testing.assert_array_equal(x.grad, [50.0, 4.0])


# -- views ---------------------------------------------------------------------------------------------------------
VIEWS: dict[str, Any] = {
    "part": lambda y: y[1:],
    "column": lambda y: y[:, 1],
    "reversed": lambda y: y[::-1, ::2],
    "T": lambda y: y.T,
    "mT": lambda y: y.mT,
    "reshape": lambda y: y.reshape(2, 6),
    "fortran": lambda y: y.T.reshape(-1, order="F"),
    "ravel": lambda y: np.ravel(y),
    "swapaxes": lambda y: np.swapaxes(y, 0, 1),
    "moveaxis": lambda y: np.moveaxis(y, 0, 1),
    "expand": lambda y: np.expand_dims(y, 1),
    "squeeze": lambda y: np.squeeze(y[None]),
    "flip": lambda y: np.flip(y, 1),
    "rot90": lambda y: np.rot90(y),
    "chain": lambda y: y[1:].T[::2].reshape(2, 2),
    "atleast_3d": lambda y: np.atleast_3d(y),
    "split": lambda y: np.split(y, 2, axis=1)[1],
    "asarray": lambda y: np.asarray(y) if isinstance(y, np.ndarray) else y[...],
    "real": lambda y: np.real(y),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_write_to_the_base_reaches_the_view(view):
    def write(x, v):
        y = x * 1.0
        part = view(y)
        y[1] = v
        y[:, 2] *= 3.0
        return part * part

    check(write, [X, spaced((4,), "v")])


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_write_through_a_view_reaches_the_base_and_its_other_views(view):
    def write(x, v):
        y = x * 1.0
        rows, part = y[:2], view(y)
        before = np.sin(y)
        part *= v
        part[0] = part[-1] * part[-1]
        return np.concatenate([np.ravel(y * y), np.ravel(rows), np.ravel(part), np.ravel(before)])

    check(write, [X, np.float64(1.3)])


def test_view_of_a_view_after_the_first_write():
    def write(x):
        y = x * 1.0
        y[0, 0] = 2.0
        part = y[1:]
        column = part[:, 1]
        column += y[0, 1:3]
        part[0] = part[1] * y[0]
        return y * np.sum(column)

    check(write, [X])


def test_rows_of_a_loop():
    def write(x):
        y = x * 1.0
        for row in y:
            row /= np.sum(row * row)
        for i, row in enumerate(y):
            row[i] = np.sum(row)
        return y

    check(write, [X])


def test_c5_a_view_written_then_the_base_used():
    x = cr.Tensor([1.0, 2.0, 3.0])
    y = x * 1
    v = y[1:]
    v *= 2
    np.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad, [2.0, 16.0, 24.0])


def test_complex_parts_are_views():
    def write(x, v):
        z = x * (1.0 + 2.0j)
        z.real = v
        z[0].imag *= 2.0
        part = z.imag
        part[1] = v[0] * 3.0
        return z * z

    check(write, [X, X[::-1] * 2.0])
    with pytest.raises(TypeError, match="imaginary"):
        cr.Tensor(X).imag = 1.0


def test_overlapping_memory():
    def write(x):
        y = np.ravel(x * 1.0)
        windows = np.lib.stride_tricks.sliding_window_view(y, 3)[::2]
        y[1:] = y[:-1] * 2.0
        y[2:5] = y[1:4]
        return np.sum(windows * windows) + y

    check(write, [X])


def test_writing_through_an_overlapping_view():
    def write(x, v):
        y = np.ravel(x * 1.0)
        windows = np.lib.stride_tricks.sliding_window_view(y, 3, writeable=True)[1:8:2]
        windows[...] = v  # each element of y keeps what was written to it last
        return y * y

    check(write, [X, spaced((4, 3), "v")])


def test_read_only_views_refuse():
    y = cr.Tensor(X[:, :3]) * 1
    with pytest.raises(ValueError, match="read-only"):
        np.diagonal(y)[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        np.broadcast_to(y, (2, 3, 3))[0] = 1.0
    diagonal = np.diagonal(y)
    y[1, 1] = y[0, 0] * 3
    np.testing.assert_array_equal(diagonal.data, np.diagonal(y.data))


# -- values that were used -----------------------------------------------------------------------------------------
def test_what_was_used_is_what_counts():
    def write(x):
        y = x * 1.0
        a = np.exp(y)
        y[0] = 7.0
        b = y * y
        y[1] = b[0]
        c = np.sin(y) * y
        y *= y
        part = y[1:]
        d = part * part
        part += 1.0
        a[0] = 0.0  # also a result that a derivative reads
        return np.sum(a) + np.sum(b * c) + np.sum(d) + y

    check(write, [X], tolerance=1e-6)


def test_arrays_of_the_user_are_left_alone():
    values, constant = X.copy(), X.copy()
    x = cr.Tensor(values, copy=False)
    y = x * constant
    x[0] = 5.0
    x += 1.0
    np.testing.assert_array_equal(values, X)
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, X)

    def f(x):
        x[0] = 0.0
        x *= 2.0
        return np.sum(x * x)

    np.testing.assert_array_equal(cr.grad(f)(values), 8 * np.where(np.arange(3)[:, None], X, 0))
    np.testing.assert_array_equal(cr.jvp(f, (values,), (X,))[1], np.sum(8 * X[1:] * X[1:]))
    np.testing.assert_array_equal(values, X)


def test_detached_is_a_snapshot():
    y = cr.Tensor(X) * 1
    before = y.detach()
    y[0] = 0.0
    np.testing.assert_array_equal(before.data, X)
    after = y.detach()
    kept = after * y
    y[1] = 0.0
    np.testing.assert_array_equal(kept.data[1], X[1] ** 2)


def test_leaves():  # C7
    x = cr.Tensor(X)
    x *= x
    np.sum(x).backward()
    np.testing.assert_array_equal(x.grad, 2 * X)
    x = cr.Tensor(X)
    part = x[1:]
    part += part
    np.sum(x * x).backward()
    np.testing.assert_array_equal(x.grad, np.concatenate([2 * X[:1], 8 * X[1:]]))


@pytest.mark.parametrize("viewed", [False, True])
def test_under_no_grad_a_leaf_stays_a_leaf(viewed):
    w = cr.Tensor(X, name="w")
    part = w[1:] if viewed else None
    loss = np.sum(w * w)
    loss.backward()
    with cr.no_grad():
        w -= 0.1 * w.grad
        w[0] = 1.0
        w[1:] *= 2.0
    expected = 2 * 0.8 * X
    expected[0] = 1.0
    np.testing.assert_allclose(w.data, expected, rtol=1e-15)
    if viewed:
        np.testing.assert_array_equal(part.data, w.data[1:])
    assert w.name == "w"
    np.testing.assert_array_equal(w.grad, 2 * X)
    w.zero_grad()
    np.sum(w**3).backward()
    np.testing.assert_allclose(w.grad, 3 * w.data**2, rtol=1e-14)
    assert pickle.loads(pickle.dumps(w)).name == "w"


def test_no_grad_scalar_leaf():
    b = cr.Tensor(3.0)
    with cr.no_grad():
        b -= 1.0
    (b * b).backward()
    assert b.grad == 4.0


def test_a_graph_from_before_the_update_says_so():
    w = cr.Tensor(X)
    loss = np.sum(w * w)
    with cr.no_grad():
        w[0] = 0.0
    with pytest.raises(cr.errors.FreedGraphError, match=r"no_grad\(\)"):
        loss.backward()


def test_under_no_grad_what_is_written_is_a_constant():
    x = cr.Tensor(X)
    y = x * 2
    with cr.no_grad():
        y[0] = x[1] * 100
    np.sum(y * y).backward()
    np.testing.assert_array_equal(x.grad, np.concatenate([0 * X[:1], 8 * X[1:]]))


def test_copies_and_pickles():
    z = np.zeros_like(cr.Tensor(X))
    z[0] = 1.0
    assert type(z).__name__ == "Tensor"
    for again in (copy.copy(z), copy.deepcopy(z), pickle.loads(pickle.dumps(z)), z.copy()):
        again[1] = 5.0
        assert z.data[1, 0] == 0.0
    assert repr(z).startswith("Tensor(")
    assert isinstance(z, cr.Tensor)


def test_backward_twice_through_writes():
    x = cr.Tensor(X)
    y = x * 1
    y[0] = x[1] * x[2]
    y[1:] += y[:-1]
    loss = np.sum(y * y)
    loss.backward(retain_graph=True)
    first = x.grad
    x.zero_grad()
    loss.backward()
    np.testing.assert_array_equal(x.grad, first)


# -- NumPy's functions and methods that write --------------------------------------------------------------------------
WRITERS: dict[str, Any] = {
    "fill": lambda y, v: y.fill(v[1]),
    "put": lambda y, v: np.put(y, [1, -1, 5, 1], v),
    "put short": lambda y, v: np.put(y, [[1, 3], [2, 7]], v[:3]),
    "put wrap": lambda y, v: np.put(y, [13, -14], v, mode="wrap"),
    "put clip": lambda y, v: np.put(y, [-3, 40], v, mode="clip"),
    "put method": lambda y, v: y.put([1, 2], v),
    "putmask": lambda y, v: np.putmask(y, X > 0, v),
    "putmask whole": lambda y, v: np.putmask(y, X > 0, np.outer(v[:3], v)),
    "place": lambda y, v: np.place(y, X > 0, v[:3]),
    "copyto": lambda y, v: np.copyto(y, v),
    "copyto where": lambda y, v: np.copyto(y, v, where=X > 0),
    "copyto where row": lambda y, v: np.copyto(
        y, v[:3, None], where=v < 1.0 if isinstance(v, np.ndarray) else v.data < 1.0
    ),
    "fill_diagonal": lambda y, v: np.fill_diagonal(y, v[0]),
    "fill_diagonal many": lambda y, v: np.fill_diagonal(y, v[:2]),
    "fill_diagonal wrap": lambda y, v: np.fill_diagonal(y.T, v[:3], wrap=True),
    "put_along_axis": lambda y, v: np.put_along_axis(y, np.array([[1], [0], [3]]), v[:3, None], 1),
    "put_along_axis 0": lambda y, v: np.put_along_axis(y, np.array([[0, 1, 2, 1]]), v, 0),
    "put_along_axis flat": lambda y, v: np.put_along_axis(y, np.array([0, 7, 7, 2]), v, None),
    "add.at": lambda y, v: np.add.at(y, ([0, 0, 1, 2], [1, 1, 2, 3]), v),
    "add.at view": lambda y, v: np.add.at(y.T, [0, 0, 3], v[:3]),
    "subtract.at": lambda y, v: np.subtract.at(y, ([0, 0, 1, 2], [1, 1, 2, 3]), v),
    "multiply.at": lambda y, v: np.multiply.at(y, ([0, 0, 1, 2], [1, 1, 2, 3]), v),
    "exp.at": lambda y, v: np.exp.at(y, [0, 2]),
    "sort": lambda y, v: y.sort(),
    "sort 0": lambda y, v: y.sort(axis=0, kind="stable"),
    "sort of a view": lambda y, v: y[1:].sort(axis=0),
    "partition": lambda y, v: y.partition(2),
    "flat": lambda y, v: y.flat.__setitem__(slice(1, None, 3), v),
    "flat int": lambda y, v: y.flat.__setitem__(5, v[2]),
    "flat repeats": lambda y, v: y.T.flat.__setitem__([0, 5, 7, 9, 2], v[:3]),
    "out": lambda y, v: np.multiply(y, v, out=y),
    "out view": lambda y, v: np.exp(y[:2], out=y[1:]),
    "out where": lambda y, v: np.multiply(y, v, out=y, where=X > 0),
    "sum out": lambda y, v: np.sum(y * v, axis=0, out=y[0]),
    "clip out": lambda y, v: np.clip(y, -0.3, v, out=y),
    "matmul out": lambda y, v: np.matmul(y, np.outer(v, v), out=y),
    "mean out view": lambda y, v: np.mean(y * v, axis=1, out=y[:, 1]),
    "cumsum out": lambda y, v: np.cumsum(y, axis=0, out=y),
    "nan_to_num": lambda y, v: np.nan_to_num(y, copy=False),
    "concatenate out": lambda y, v: np.concatenate([v[None], y[:1] * 2], out=y[1:]),
}
if "descending" in inspect.signature(np.sort).parameters:  # since NumPy 2.5
    WRITERS["sort descending"] = lambda y, v: y.sort(axis=0, descending=True)


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("viewed", [False, True])
def test_writers(writer, viewed):
    def write(x, v):
        y = x * 1.0
        part = y[1:, ::2] if viewed else None
        writer(y, v)
        y[0, 0] = y[0, 1] * 2.0
        return y * y if part is None else np.concatenate([np.ravel(y * y), np.ravel(part)])

    check(write, [X, spaced((4,), "v", 0.5, 1.5)])


def test_writers_on_plain_arrays_refuse():
    t = cr.Tensor([1.0, 2.0])
    for write in (
        lambda a: np.copyto(a, t),
        lambda a: np.put(a, [0], t),
        lambda a: np.putmask(a, [True, False], t),
        lambda a: np.place(a, [True, False], t),
        lambda a: np.add.at(a, [0, 1], t),
        lambda a: np.put_along_axis(a, np.array([0]), t[:1], 0),
        lambda a: np.exp(t, out=a),
    ):
        a = np.zeros(2)
        with pytest.raises(cr.errors.InPlaceError, match="target a Tensor"):
            write(a)
        np.testing.assert_array_equal(a, 0.0)


def test_errors_name_what_was_written():
    y = cr.Tensor(X) * 1
    with pytest.raises(ValueError, match=r"in-place write of Tensor of shape \(3, 4\).*shape \(5,\)"):
        y[0] = cr.Tensor(np.ones(5))
    with pytest.raises(IndexError, match="in-place write"):
        y[7] = 1.0
    with pytest.raises(cr.errors.InPlaceError, match="narrowed"):
        y *= 1j
    with pytest.raises(cr.errors.InPlaceError, match=r"np\.resize"):
        y.resize(2, 2)
    np.testing.assert_array_equal(y.data, X)


def test_dtypes_stay():
    for dtype in (np.float16, np.float32, np.longdouble, np.complex64):
        y = cr.Tensor(X.astype(dtype)) * 1
        y[0] = 1.0 / 3
        y[1] = np.float64(1.0) / 3
        y += np.float32(2) if dtype != np.float16 else np.float16(2)
        assert y.dtype == dtype
    x = cr.Tensor(X)
    y = np.zeros_like(x, dtype=np.float32)
    y[0] = x[1]
    np.sum(y).backward()
    assert x.grad.dtype == np.float64


# -- buffers -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "empty",
    [
        lambda x: np.zeros_like(x),
        lambda x: np.zeros(x.shape, like=x) if isinstance(x, cr.Tensor) else np.zeros(x.shape),
        lambda x: cr.numpy.zeros(x.shape) if isinstance(x, cr.Tensor) else np.zeros(x.shape),
        lambda x: np.empty_like(x),
    ],
)
def test_buffers_are_filled(empty):
    def recurrence(x):
        y = empty(x)
        y[0] = x[0]
        for i in range(1, len(x)):
            y[i] = np.sin(y[i - 1]) * x[i]
        return y

    check(recurrence, [X])
    check(recurrence, [X[0]])


def test_a_long_loop_costs_what_its_elements_cost():
    """No time is measured: an array of this length could not be copied as often as it is written to."""
    n = 20_000

    def fill(x):
        y = np.zeros_like(x)
        y[0] = x[0]
        for i in range(1, n):
            y[i] = 0.5 * y[i - 1] + x[i]
        return np.sum(y)

    x = np.ones(n)
    expected = 2 - 0.5 ** np.arange(n - 1.0, -1, -1)
    np.testing.assert_allclose(cr.grad(fill)(x), expected, rtol=1e-12)
    np.testing.assert_allclose(cr.jvp(fill, (x,), (x,))[1], np.sum(expected), rtol=1e-12)


# -- higher orders and nesting ---------------------------------------------------------------------------------------
def filled(x):
    y = np.zeros_like(x)
    y[0] = x[0] * x[1]
    part = y[1:]
    part[...] = np.exp(x[:-1])
    y[1:] *= y[:-1]
    return np.sum(y * x)


def test_higher_orders_agree():
    x, v = spaced((4,), "x"), spaced((4,), "v")
    hessian_v = numerical_gradient(lambda x: float(np.dot(cr.grad(filled)(x), v)), [x], 0)
    over = cr.jvp(cr.grad(filled), (x,), (v,))[1]
    under = cr.grad(lambda x: cr.jvp(filled, (x,), (v,))[1])(x)
    twice = cr.grad(lambda x: np.sum(cr.grad(filled)(x) * v))(x)
    for product in (over, under, twice):
        np.testing.assert_allclose(product, hessian_v, rtol=1e-6)
    third = cr.jvp(lambda x: cr.jvp(lambda x: cr.jvp(filled, (x,), (v,))[1], (x,), (v,))[1], (x,), (v,))[1]
    also = np.dot(v, cr.grad(lambda x: np.dot(v, cr.grad(lambda x: np.dot(v, cr.grad(filled)(x)))(x)))(x))
    np.testing.assert_allclose(third, also, rtol=1e-10)


def test_writing_to_what_was_captured():
    """A function writes into a Tensor from outside the transform: what is written depends on its argument."""
    outer = cr.Tensor(np.ones(3)) * 1

    def f(x):
        outer[1] = x * x
        return np.sum(outer * outer)

    assert cr.grad(f)(2.0).data == 32.0


def test_traces_keep_what_was_there():
    def f(x):
        y = x * 1
        part = y[1:]
        y[0] = y[1] * 2
        part *= y[:-1]
        return y

    traced = trace(f, X[0])
    same(traced.output.data, f(X[0]))


# -- random programs -------------------------------------------------------------------------------------------------
PARTS: tuple[Any, ...] = (
    0,
    -1,
    slice(1, None),
    slice(None, None, -1),
    slice(None, None, 2),
    (slice(None), 0),
    (..., slice(1, 3)),
    (None, 0),
    (slice(None), slice(None, None, -2)),
)
SHAPES: tuple[Any, ...] = (
    lambda a: a.T,
    lambda a: a.reshape(-1),
    lambda a: a.reshape(-1, 1),
    lambda a: np.swapaxes(a, 0, -1),
    lambda a: np.expand_dims(a, 0),
)
instruction = st.tuples(st.integers(0, 8), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))


def run(program: list[tuple[int, int, int, int]], x: Any) -> list[Any]:
    """Interpret a program: every array it has had a name for, at the end."""
    arrays = [x * 1.0]
    for what, i, j, k in program:
        a, b = arrays[i % len(arrays)], arrays[j % len(arrays)]
        if what <= 1:  # a view
            view = SHAPES[k % len(SHAPES)](a) if what else _part(a, PARTS[k % len(PARTS)])
            if view is not None:
                arrays.append(view)
        elif what == 2:
            arrays.append(a * 0.75)
        elif what == 3:
            a[...] = _fitting(b, a)
        elif what == 4:
            a += _fitting(b, a) * 0.5
        elif what == 5:
            a *= 0.5
        elif what == 6 and _part(a, PARTS[k % len(PARTS)]) is not None:
            index = PARTS[k % len(PARTS)]
            a[index] = _fitting(b, a[index]) * 1.25
        elif what == 7:
            index = [k % len(a), 0, k % len(a)]
            a[index] = a[index] * 0.5 + _fitting(b, a[index])
        elif what == 8:
            index = [k % len(a), 0, k % len(a)]
            if a.dtype != object:
                np.add.at(a, index, _fitting(b, a[index]))
            else:  # NumPy's `at` asks the Tensors it meets
                values = np.broadcast_to(_fitting(b, a[index]), a[index].shape).copy()
                for place, value in zip(index, values, strict=True):
                    a[place] = a[place] + value
        arrays = arrays[:6]
    return arrays


def _part(a: Any, index: Any) -> Any:
    needed = sum(part is not None and part is not Ellipsis for part in index) if type(index) is tuple else 1
    view = a[index] if needed <= a.ndim and a.size else None
    return view if view is not None and np.ndim(view) and np.size(view) else None


def _fitting(b: Any, like: Any) -> Any:
    """The elements of `b`, repeated or cut to a shape: a copy, or overlapping memory where the sizes agree."""
    size = int(np.prod(like.shape))
    if b.size == size:
        return b.reshape(like.shape)
    return np.ravel(b)[np.arange(size) % b.size].reshape(like.shape)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(instruction, max_size=14))
def test_random_programs(program):
    values = run(program, X)
    weights = [spaced(v.shape, i) for i, v in enumerate(values)]
    x = cr.Tensor(X)
    tensors = run(program, x)
    for tensor, value in zip(tensors, values, strict=True):
        same(tensor.data, value)
    np.add.reduce([np.sum(t * w) for t, w in zip(tensors, weights, strict=True)]).sum().backward()

    reference = cr.Tensor(X)
    scalars = run(program, elements(reference))
    loss = sum(sum(s * w for s, w in zip(a.flat, ws.flat, strict=True)) for a, ws in zip(scalars, weights, strict=True))
    loss.backward()
    np.testing.assert_allclose(x.grad, reference.grad, rtol=1e-12, atol=1e-12)

    direction = spaced(X.shape, "direction")
    _, change = cr.jvp(
        lambda x: sum(np.sum(t * w) for t, w in zip(run(program, x), weights, strict=True)), (X,), (direction,)
    )
    np.testing.assert_allclose(change, np.sum(reference.grad * direction), rtol=1e-10, atol=1e-10)


def _ravel_steps(x):
    y = x * 1
    for copied in (y[:, :1].ravel(), y[0][::-1].ravel(), np.ravel(y[0, ::2]), y[::-1].ravel("K")):
        copied[0] = 9.0
    for view in (y[1:2].ravel(), y.T.ravel("F")[3:], np.transpose(y[:, None], (1, 2, 0)).ravel("K")):
        view[0] = x[0, 1] * view[0]
    return y * y


def _same_array(x):
    y = x * 1
    y.astype(float, copy=False)[0] = x[1]
    y.conj()[1] *= x[0]
    y.conjugate()[1, 0] = 3 * x[1, 1]
    np.conj(y)[0] = 100.0
    y.astype(float)[0] = 100.0
    return y * y


def _flat_set(x):
    y = x * 1
    y[1].flat = x[0, :2] ** 2
    y.T[1:].flat = [x[0, 0], 2.0]
    return y * x


def _copyto_leading_ones(x):
    y = x * 1
    np.copyto(y[0], x[None, 1:] ** 2, where=np.array([True, False, True]))
    return y * x


@pytest.mark.parametrize("program", [_ravel_steps, _same_array, _flat_set, _copyto_leading_ones])
def test_what_is_a_view_and_what_a_copy_is_as_in_numpy(program):
    """Value and derivatives: the oracle runs the same program on plain arrays."""
    check(program, [spaced((2, 3), program.__name__)])


def test_buffers_like_what_was_written_to():
    x = cr.Tensor([1.0, 2.0])
    y = x * 1
    y[0] = 5.0
    for z in (np.zeros_like(y), np.ones_like(y), np.full_like(y, 3.0), np.empty_like(y)):
        z[:] = y * x
        np.sum(z).backward(retain_graph=True)
        np.testing.assert_array_equal(x.grad, [5.0, 4.0])
        x.zero_grad()


def test_writes_through_views_with_many_cotangents_at_once():
    def f(x):
        y = x * 1
        view = y.reshape(2, 3)[::-1].T
        view[1] = x[:2] * 3
        return y * y

    x = np.arange(1.0, 7)
    np.testing.assert_array_equal(cr.jacobian(f, mode="rev")(x), cr.jacobian(f, mode="fwd")(x))


# -- functions that write, against differences -----------------------------------------------------------------------
SOME = np.array([[True, False, True], [False, True, False]])
WRITERS: dict[str, Any] = {
    "copyto": lambda y, v: np.copyto(y, v[0], where=SOME),
    "fill_diagonal": lambda y, v: np.fill_diagonal(y, v[0, 1]),
    "place": lambda y, v: np.place(y, SOME, v[0, :2]),
    "put": lambda y, v: np.put(y, [4, 0, 4], v[1]),
    "put_along_axis": lambda y, v: np.put_along_axis(y, np.array([[2], [0]]), v[:, 1:2], 1),
    "putmask": lambda y, v: np.putmask(y, SOME, v),
}


@pytest.mark.parametrize("name", WRITERS)
def test_writing_functions_against_differences(name: str) -> None:
    def f(x: Any, v: Any) -> Any:
        y = x * x
        WRITERS[name](y, np.sin(v))
        return y * y

    check(f, [spaced((2, 3), name), spaced((2, 3), (name, "written"))])


def test_what_empty_like_made_is_filled() -> None:
    def f(x: Any) -> Any:
        y = np.empty_like(x)
        y[...] = x * x
        return y

    check(f, [spaced((2, 3))])


def test_add_at_of_one_number() -> None:
    """A 0-d Tensor has no memory to write to: it is replaced."""

    def f(x: Any, v: Any) -> Any:
        y = np.zeros_like(x)
        np.add.at(y, (), v * x)
        np.add.at(y, ..., np.sin(v))
        return y * y

    check(f, [np.float64(0.7), np.float64(-1.3)])


def test_add_at_pushed_through_a_push() -> None:
    def f(x: Any) -> Any:
        y = x * x
        np.add.at(y, np.array([0, 2, 0]), np.sin(x[:3]) * x[1])
        return y * y

    def along(x: Any) -> Any:
        return cr.jvp(f, (x,), (direction,))[1]

    x, direction = spaced(4, "x"), spaced(4, "direction")
    second = cr.jvp(along, (x,), (direction,))[1]
    np.testing.assert_allclose(second, difference(along, [x], 0, direction), rtol=1e-7, atol=1e-8)
