"""NumPy's ufunc protocol: out=, where=, dtype=, and reduce, accumulate, outer, reduceat, at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import check, check_value, same, spaced

import chainrule as cr

MASK = np.array([[True, False, True], [False, True, True]])
BINARY = [
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.maximum,
    np.minimum,
    np.hypot,
    np.logaddexp,
    np.arctan2,
    np.fmax,
]


def positive(shape: Any, seed: object) -> Any:
    return spaced(shape, seed, 0.5, 2.0)


def ufuncs(several: list[np.ufunc]) -> Any:
    return pytest.mark.parametrize("ufunc", several, ids=[ufunc.__name__ for ufunc in several])


def tensor(x: Any, like: Any) -> Any:
    """A buffer to write into: a Tensor where the arguments are Tensors."""
    return cr.Tensor(x) if isinstance(like, cr.Tensor) else np.array(x)


# -- out=, where=, dtype= --------------------------------------------------------------------------------------------
@ufuncs([np.exp, np.sqrt, np.negative, np.positive, np.floor])
def test_out_of_one_operand(ufunc: np.ufunc) -> None:
    def f(x: Any) -> Any:
        out = tensor(np.zeros((2, 3)), x)
        assert ufunc(x, out=out) is out
        return out * x

    check(f, [positive((2, 3), ufunc.__name__)])


@ufuncs(BINARY)
def test_out_of_two_operands(ufunc: np.ufunc) -> None:
    def f(x: Any, y: Any) -> Any:
        out = tensor(np.zeros((2, 3)), x)
        ufunc(x, y, out=out)
        ufunc(out, 1.5, out=(out,))
        return out

    check(f, [positive((2, 3), ufunc.__name__), positive((3,), "y")])
    check(lambda x: np.add(x, 1.0, x * 0), [positive((2,), 0)])  # by position


@ufuncs([*BINARY, np.exp])
def test_where_with_out(ufunc: np.ufunc) -> None:
    def f(x: Any, y: Any) -> Any:
        out = y * 1
        return ufunc(*[x, y + 0.01][: ufunc.nin], out=out, where=MASK) * 2

    check(f, [positive((2, 3), ufunc.__name__), positive((2, 3), "y")])


def test_where_broadcasts() -> None:
    column = np.array([[True], [False]])
    check(lambda x, y: np.multiply(x, y, out=x * 0 + 1, where=column), [positive((2, 3), 0), positive((3,), 1)])
    check(lambda x: np.log(x, out=x * 2, where=np.array([True, False, True])), [positive((2, 3), 0)])


def test_where_without_out_leaves_the_rest_undefined() -> None:
    x = positive((2, 3), 0)
    result, pullback = cr.vjp(lambda x: np.exp(x, where=MASK), x)
    np.testing.assert_array_equal(result[MASK], np.exp(x)[MASK])
    np.testing.assert_array_equal(pullback(np.ones((2, 3)))[0], np.where(MASK, np.exp(x), 0))
    tangent = cr.jvp(lambda x: np.exp(x, where=MASK), (x,), (np.ones((2, 3)),))[1]
    np.testing.assert_array_equal(tangent[MASK], np.exp(x)[MASK])


def test_where_does_not_evaluate_what_it_leaves_out() -> None:
    x = np.array([-1.0, 0.0, 4.0])  # no warning, no NaN: warnings are errors here
    gradient = cr.grad(lambda x: np.sum(np.sqrt(x, out=x * 0, where=x > 0)))(x)
    np.testing.assert_array_equal(gradient, [0, 0, 0.25])


@pytest.mark.parametrize(("given", "dtype"), [("f4", "f8"), ("f8", "f4"), ("f2", "f4"), ("f8", "c16")])
def test_dtype(given: str, dtype: str) -> None:
    x = positive((3,), 0).astype(given)
    for f in (
        lambda x: np.add(x, 1, dtype=dtype, casting="same_kind"),
        lambda x: np.exp(x, dtype=dtype, casting="same_kind"),
        lambda x: np.multiply(x, x, dtype=dtype, casting="same_kind"),
    ):
        check_value(f, [x])
        gradient = cr.grad(lambda x, f=f: np.sum(np.real(f(x))))(x)
        assert gradient.dtype == x.dtype
        np.testing.assert_allclose(gradient, cr.grad(lambda x, f=f: np.sum(f(x).real))(x.astype("f8")), rtol=2e-3)


def test_plain_targets_are_refused_by_name() -> None:
    t, target = cr.Tensor(np.ones(3)), np.zeros(3)
    writes = {
        "add": lambda: np.add(t, 1, out=target),
        "exp": lambda: np.exp(t, target),
        "masked": lambda: np.add(t, 1, out=target, where=np.array([True, False, True])),
        "reduce": lambda: np.add.reduce(cr.Tensor(np.ones((2, 3))), out=target),
        "accumulate": lambda: np.add.accumulate(t, out=target),
        "outer": lambda: np.multiply.outer(t, 1.0, out=target),
        "at": lambda: np.add.at(target, [0, 1, 1], t),
        "modf": lambda: np.modf(t, out=(target, None)),
    }
    for name, write in writes.items():
        with pytest.raises(cr.errors.InPlaceError, match="make the target a Tensor"):
            write()
        np.testing.assert_array_equal(target, 0, err_msg=name)
    with pytest.raises(cr.errors.InPlaceError, match="shape"):
        np.add(t, 1, out=cr.Tensor(np.zeros(4)))
    with pytest.raises(cr.errors.InPlaceError, match="narrowed"):
        np.add(t, 1j, out=cr.Tensor(np.zeros(3)))


def test_a_tensor_target_of_plain_operands() -> None:
    def f(x: Any) -> Any:
        out = x * 1
        np.add(np.ones(3), 2.0, out=out, where=np.array([True, False, True]))
        other = x * 1
        np.exp(np.zeros(3), out=other)
        return out + other

    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(f(x)))(np.ones(3)), [0, 1, 0])


def test_several_outputs_with_out() -> None:
    def f(x: Any, y: Any) -> Any:
        quotient, remainder = tensor(np.zeros(3), x), tensor(np.zeros(3), x)
        np.divmod(x, y, out=(quotient, remainder))
        whole = tensor(np.zeros(3), x)
        part, same_whole = np.modf(x, out=(None, whole))
        assert same_whole is whole
        assert part is not None  # NumPy's own call with arrays returns what it allocated
        return quotient * remainder + part * x + whole

    check(f, [np.array([5.3, -4.3, 1.7]), np.array([2.0, 1.5, -0.7])])


# -- reduce and accumulate -------------------------------------------------------------------------------------------
REORDERABLE = [np.add, np.multiply, np.maximum, np.minimum, np.hypot, np.logaddexp, np.logaddexp2, np.fmin]


@ufuncs([*REORDERABLE, np.subtract, np.divide])
def test_reduce(ufunc: np.ufunc) -> None:
    x = positive((2, 3), ufunc.__name__)
    check(lambda x: ufunc.reduce(x), [x])
    check(lambda x: ufunc.reduce(x, axis=-1), [x])
    check(lambda x: ufunc.reduce(x, axis=1, keepdims=True), [x], order=1)
    check(lambda x: ufunc.reduce(x, 0, None, None, True), [x], order=1)


@ufuncs(REORDERABLE)
def test_reduce_options(ufunc: np.ufunc) -> None:
    x = positive((2, 3), ufunc.__name__)
    check(lambda x: ufunc.reduce(x, axis=None), [x])
    check(lambda x: ufunc.reduce(x, axis=(0, 1), keepdims=True), [x])
    check(lambda x: ufunc.reduce(x, axis=0, initial=1.25), [x])
    check(lambda x: ufunc.reduce(x, axis=1, where=MASK, initial=0.75), [x])
    check(lambda x: ufunc.reduce(x, axis=0, out=tensor(np.zeros(3), x)), [x], order=1)
    check_value(lambda x: ufunc.reduce(x, axis=0, dtype="f4"), [x])
    if ufunc.identity is not None:
        check(lambda x: ufunc.reduce(x, axis=1, where=MASK), [x])
        check(lambda x: ufunc.reduce(x, axis=0), [np.zeros((0, 3))], order=1)
    else:
        with pytest.raises(ValueError, match="identity"):
            ufunc.reduce(cr.Tensor(np.zeros((0, 3))))


@ufuncs([*REORDERABLE, np.subtract, np.divide])
def test_accumulate(ufunc: np.ufunc) -> None:
    x = positive((3, 2), ufunc.__name__)
    check(lambda x: ufunc.accumulate(x), [x])
    check(lambda x: ufunc.accumulate(x, axis=-1), [x])
    check(lambda x: ufunc.accumulate(x, 0, None, tensor(np.zeros((3, 2)), x)), [x], order=1)
    check(lambda x: ufunc.accumulate(x), [np.zeros((0, 2))], order=1)
    check_value(lambda x: ufunc.accumulate(x, dtype="f4"), [x])


@ufuncs([np.add, np.multiply, np.maximum, np.hypot, np.subtract])
def test_reduceat(ufunc: np.ufunc) -> None:
    x = positive((5, 2), ufunc.__name__)
    check(lambda x: ufunc.reduceat(x, [0, 3, 1, 4]), [x])
    check(lambda x: ufunc.reduceat(x, np.array([1, 0]), axis=1), [x])
    check(lambda x: ufunc.reduceat(x, [0, 2], 0, None, tensor(np.zeros((2, 2)), x)), [x], order=1)
    check_value(lambda x: ufunc.reduceat(x, [0, 2], dtype="f4"), [x])
    with pytest.raises(IndexError):
        ufunc.reduceat(cr.Tensor(x), [0, 5])


@ufuncs([np.add, np.multiply, np.maximum, np.hypot, np.power, np.arctan2])
def test_outer(ufunc: np.ufunc) -> None:
    x, y = positive((2,), ufunc.__name__), positive((3, 2), "y")
    check(lambda x, y: ufunc.outer(x, y), [x, y])
    check(lambda x: ufunc.outer(x, [1.5, 2.5]), [x])
    check(lambda y: ufunc.outer(2.0, y), [y])
    check(lambda x, y: ufunc.outer(x, y, out=tensor(np.zeros((2, 3, 2)), x)), [x, y], order=1)


# -- at --------------------------------------------------------------------------------------------------------------
def written(ufunc: np.ufunc, index: Any) -> Any:
    def f(a: Any, *values: Any) -> Any:
        a = a * 1
        assert ufunc.at(a, index, *values) is None
        return a

    return f


@ufuncs([np.add, np.subtract, np.multiply, np.divide, np.maximum, np.hypot, np.logaddexp])
def test_at(ufunc: np.ufunc) -> None:
    a, v = positive((4,), ufunc.__name__), positive((5,), "v")
    check(written(ufunc, [0, 1, 1, 3, 1]), [a, v])
    check(written(ufunc, [2, 2]), [a, np.array(1.5)])
    check(written(ufunc, slice(1, None)), [a, positive((3,), "s")])
    check(written(ufunc, (np.array([0, 1, 1]), slice(None))), [positive((2, 3), "m"), positive((3, 3), "n")])
    check(lambda a: written(ufunc, np.array([True, False, False, True]))(a, 2.0), [a])


def test_at_of_one_operand() -> None:
    check(written(np.exp, [0, 2, 2]), [positive((3,), 0)])
    check(written(np.negative, [0, 0]), [positive((3,), 0)])


def test_at_keeps_the_dtype() -> None:
    a = cr.Tensor(np.ones(2, np.float32))
    np.add.at(a, [0, 0], np.ones(2, np.float32))
    same(a.data, np.array([3, 1], np.float32))


# -- results without derivative --------------------------------------------------------------------------------------
def test_methods_of_comparisons_are_plain() -> None:
    t = cr.Tensor([1.0, 0.0, 2.0])
    assert type(np.logical_and.reduce(t)) is np.bool
    np.testing.assert_array_equal(np.less.outer(t, t), np.less.outer(t.data, t.data))
    np.testing.assert_array_equal(np.logical_or.accumulate(t), [True, True, True])
    assert type(np.logical_or.accumulate(t)) is np.ndarray


@pytest.mark.parametrize("dtype", ["f2", "f4", "g"])
def test_dtypes_are_kept(dtype: str) -> None:
    x = positive((3, 2), 0).astype(dtype)
    for f in (
        np.add.reduce,
        np.hypot.reduce,
        np.multiply.accumulate,
        np.logaddexp.accumulate,
        lambda x: np.add.outer(x, x),
    ):
        check_value(f, [x])
        assert cr.grad(lambda x, f=f: np.sum(f(x)))(x).dtype == x.dtype
        _, tangent = cr.jvp(f, (x,), (np.ones_like(x),))
        assert tangent.dtype == x.dtype


@ufuncs([np.add, np.multiply, np.subtract])
def test_long_reductions_stay_numpys_bit_for_bit(ufunc: np.ufunc) -> None:
    x = spaced((1000,), ufunc.__name__, 0.9, 1.1)
    same(ufunc.reduce(cr.Tensor(x)).data, ufunc.reduce(x))
    same(ufunc.accumulate(cr.Tensor(x)).data, ufunc.accumulate(x))
