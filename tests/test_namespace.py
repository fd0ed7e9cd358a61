"""chainrule.numpy: NumPy's names, arrays that can be filled with Tensors, and the array API standard."""

from __future__ import annotations

import inspect
import pickle
from io import StringIO
from typing import Any

import numpy as np
import pytest
from oracle import check, same, spaced

import chainrule as cr
import chainrule.numpy as cnp
from chainrule.errors import ConversionError
from chainrule.numpy.creation import created

# Not looked up: NumPy's old private name, and what only exists to be run by NumPy's developers.
LEFT_OUT = {"core", "f2py"}
INDEX_TRICKS = {"mgrid", "ogrid", "r_", "c_"}
T = cr.Tensor([1.0, 2.0, 3.0])


def test_every_public_name_of_numpy_is_there() -> None:
    for name in {name for name in dir(np) if not name.startswith("_")} - LEFT_OUT:
        assert name in dir(cnp)
        ours, theirs = getattr(cnp, name), getattr(np, name)
        if name in created or name in INDEX_TRICKS:
            assert ours is not theirs
        elif name in ("linalg", "fft", "random"):
            assert set(theirs.__all__) == set(ours.__all__)
            assert all(hasattr(ours, each) for each in ours.__all__)
        else:
            assert ours is theirs, name
    with pytest.raises(AttributeError, match=r"chainrule\.numpy"):
        _ = cnp.nonsense


def test_submodules_can_be_imported() -> None:
    import chainrule.numpy.fft as fft
    import chainrule.numpy.linalg as linalg
    import chainrule.numpy.random as random

    assert linalg is cnp.linalg
    assert fft is cnp.fft
    assert random.default_rng is np.random.default_rng
    assert type(random.default_rng(0).random(3)) is np.ndarray


# -- programs that create arrays and fill them -------------------------------------------------------------------------
def recurrence(np: Any, x: Any) -> Any:
    y = np.zeros(5)
    y[0] = x[0]
    for i in range(1, 5):
        y[i] = y[i - 1] * x[1] + np.sin(x[2] * i)
    return y


def matrix_of_expressions(np: Any, x: Any) -> Any:
    J = np.empty((2, 2))
    J[0, 0] = x[0] * x[1]
    J[0, 1] = J[1, 0] = np.exp(x[1])
    J[1, 1] = x[2] ** 2
    return np.linalg.inv(J + 3 * np.eye(2))


def rotation(np: Any, x: Any) -> Any:
    c, s = np.cos(x[0]), np.sin(x[0])
    return np.array([[c, -s], [s, c]]) @ np.array([x[1], 2.0])


def rows_of_a_list(np: Any, x: Any) -> Any:
    return np.array([x * k for k in np.arange(1, 4)])


def filled_from_a_number(np: Any, x: Any) -> Any:
    z = np.full(4, x[1])
    z[2:] = x[0]
    return z * np.full((2, 1), 3.0)


def masked(np: Any, x: Any) -> Any:
    z = np.ones_like(x)
    z[x > 0.5] = 0.0
    z[-1] += x[0] * x[1]
    return z * x


def index_tricks(np: Any, x: Any) -> Any:
    grid = np.mgrid[0:1:3j]
    grid[1] = x[0]
    return grid * np.fft.rfftfreq(5) + x


def complex_entries(np: Any, x: Any) -> Any:
    z = np.zeros(3, dtype=complex)
    z[0] = x[0] + 1j * x[1]
    z[1:] = x[1:] ** 2
    return np.abs(z) ** 2


def from_an_iterator(np: Any, x: Any) -> Any:
    return np.fromiter((x[i] * i for i in range(3)), float, count=2)


def stepping(np: Any, x: Any) -> Any:
    t, states = np.linspace(0.0, 1.0, 6), np.zeros((6, 3))
    states[0] = x
    for k in range(5):
        states[k + 1] = states[k] + (t[k + 1] - t[k]) * np.cos(states[k] * t[k])
    return states


PROGRAMS = [
    recurrence, matrix_of_expressions, rotation, rows_of_a_list, filled_from_a_number, masked, index_tricks,
    complex_entries, from_an_iterator, stepping,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_programs_with_the_import_changed(program: Any) -> None:
    x = np.array([0.3, 0.7, 1.1])
    same(program(cnp, cr.Tensor(x)).data, np.asarray(program(np, x)))
    check(lambda x: program(cnp if isinstance(x, cr.Tensor) else np, x), [x])


# -- what is made ----------------------------------------------------------------------------------------------------
MADE = {
    "zeros": lambda np, **k: np.zeros((2, 3), **k),
    "ones": lambda np, **k: np.ones(3, **k),
    "empty": lambda np, **k: np.empty((0, 2), **k),
    "eye": lambda np, **k: np.eye(3, 2, k=1, **k),
    "identity": lambda np, **k: np.identity(2, **k),
    "tri": lambda np, **k: np.tri(3, **k),
    "arange": lambda np, **k: np.arange(0, 4, 2, **k),
    "full": lambda np, **k: np.full((2, 1), 3, **k),
    "array": lambda np, **k: np.array([[1, 2], [3, 4]], **k),
    "asarray": lambda np, **k: np.asarray([1, 2], **k),
    "asanyarray": lambda np, **k: np.asanyarray(5, **k),
    "ascontiguousarray": lambda np, **k: np.ascontiguousarray(5, **k),
    "asfortranarray": lambda np, **k: np.asfortranarray([[1, 2], [3, 4]], **k),
    "fromiter": lambda np, **k: np.fromiter(range(4), **{"dtype": float, **k}),
    "frombuffer": lambda np, **k: np.frombuffer(bytes(16), **k),
    "fromstring": lambda np, **k: np.fromstring("1 2", sep=" ", **k),
    "fromfunction": lambda np, **k: np.fromfunction(lambda i, j: i + j, (2, 2), **k),
    "loadtxt": lambda np, **k: np.loadtxt(StringIO("1 2\n3 4"), **k),
    "genfromtxt": lambda np, **k: np.genfromtxt(StringIO("1,2"), delimiter=",", **k),
    "require": lambda np, **k: np.require([1, 2], **k),
}


@pytest.mark.parametrize("dtype", [None, "float32", "float16", "complex64", "int32", "bool"])
@pytest.mark.parametrize("name", MADE)
def test_floating_results_are_constants_that_can_be_filled(name: str, dtype: Any) -> None:
    if dtype == "complex64" and name == "genfromtxt":
        dtype = "complex128"  # NumPy reads no complex64 here
    given = {} if dtype is None else {"dtype": dtype}
    expected = MADE[name](np, **given)
    for result in (MADE[name](cnp, **given), MADE[name](np, like=T, **given), MADE[name](cnp, like=T, **given)):
        if expected.dtype.kind not in "fc":
            assert type(result) is np.ndarray
            assert result.dtype == expected.dtype
            continue
        assert type(result) is cr.Tensor
        assert result.node is None
        if name != "empty":
            same(result.data, expected[()])
        if result.size and result.ndim:
            result[(0,) * result.ndim] = cr.Tensor(7.0)
            assert result.node is not None
            assert result.data.flat[0] == 7
            assert result.dtype == expected.dtype


OTHERS = {
    "linspace": lambda np: np.linspace(0, 1, 4),
    "geomspace": lambda np: np.geomspace(1, 8, 4),
    "logspace": lambda np: np.logspace(0, 1, 4),
    "from_dlpack": lambda np: np.from_dlpack(__import__("numpy").ones(3)),
    "zeros_like": lambda np: np.zeros_like([1.0, 2.0]),
    "ones_like": lambda np: np.ones_like([1.0, 2.0]),
    "full_like": lambda np: np.full_like([1.0, 2.0], 3),
    "copy": lambda np: np.copy([1.0, 2.0]),
    "hanning": lambda np: np.hanning(5),
    "kaiser": lambda np: np.kaiser(5, 2.0),
    "asarray_chkfinite": lambda np: np.asarray_chkfinite([1.0, 2.0]),
    "fftfreq": lambda np: np.fft.fftfreq(5),
    "r_": lambda np: np.r_[1.0, 2:4],
    "c_": lambda np: np.c_[[1.0, 2.0], [3, 4]],
    "scalar": lambda np: np.asarray(2.5),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_ways_to_make_arrays(name: str) -> None:
    result = OTHERS[name](cnp)
    assert type(result) is cr.Tensor
    assert result.node is None
    same(result.data, OTHERS[name](np)[()])


def test_several_results() -> None:
    values, step = cnp.linspace(0, 1, 5, retstep=True)
    assert isinstance(values, cr.Tensor)
    assert step == 0.25
    floats, integers = cnp.meshgrid([1.0, 2.0], [3, 4])
    assert isinstance(floats, cr.Tensor)
    assert type(integers) is np.ndarray


def test_other_data_stays_what_it_is() -> None:
    for data in (["a", "b"], [None, 1], np.array(["2020-01-01"], "M8[D]"), [True, False], 3):
        result, expected = cnp.array(data), np.array(data)
        assert type(result) is np.ndarray
        assert result.dtype == expected.dtype
    assert type(cnp.asarray(np.ma.array([1.0, 2.0]))) is cr.Tensor  # np.asarray drops the subclass
    assert type(cnp.asanyarray(np.ma.array([1.0]))) is np.ma.MaskedArray


def test_array_of_tensors() -> None:
    assert cnp.asarray(T) is T
    assert cnp.array(T, copy=None) is T
    assert cnp.array(T) is not T
    assert cnp.array(T, ndmin=3).shape == (1, 1, 3)
    assert cnp.asarray(T, np.float32).dtype == np.float32
    assert cnp.array([[T, T], [T, [0, 0, 0.0]]]).shape == (2, 2, 3)
    assert cnp.array(np.array([T[0], 2.0], dtype=object)).node is not None
    assert cnp.asfortranarray(cnp.outer(T, T)).data.flags.f_contiguous
    assert cnp.require(cnp.outer(T, T), requirements="F").data.flags.f_contiguous
    with pytest.raises(ValueError, match="copy"):
        cnp.array([T, T], copy=False)
    with pytest.raises(ValueError, match="shape"):
        cnp.array([T, T[:2]])
    with pytest.raises(ValueError, match="NaN"):
        cnp.asarray_chkfinite(T * np.nan)
    with pytest.raises(ValueError, match="Device"):
        cnp.asarray(T, device="tpu")


@pytest.mark.parametrize("make", ["array", "asarray", "ascontiguousarray", "full", "require"])
def test_derivatives_pass_through(make: str) -> None:
    def f(x: Any) -> Any:
        if not isinstance(x, cr.Tensor):
            return np.full((2, 3), x) * x if make == "full" else np.array([x, x * x]) * x
        return (cnp.full((2, 3), x) if make == "full" else getattr(cnp, make)([x, x * x])) * x

    check(f, [spaced(3, make)])


def test_no_copy_is_made_of_an_array() -> None:
    a = spaced((3, 2), 0)
    assert np.shares_memory(cnp.asarray(a).data, a)
    assert not np.shares_memory(cnp.array(a).data, a)


# -- documentation -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(created))
def test_docstrings_are_generated(name: str) -> None:
    ours, theirs = getattr(cnp, name), getattr(np, name)
    doc = inspect.getdoc(ours)
    summary = doc.splitlines()[0]
    assert summary.endswith(".")
    assert " ".join(summary.split()) in " ".join(theirs.__doc__.split())
    assert "Derivative: " in doc
    assert f"generated/numpy.{name}.html" in doc
    assert ours.__name__ == name
    assert pickle.loads(pickle.dumps(ours)) is ours
    try:
        expected = inspect.signature(theirs)
    except ValueError:  # NumPy before 2.4 has no signatures for functions written in C
        return
    assert inspect.signature(ours) == expected


# -- the array API standard ----------------------------------------------------------------------------------------
def test_namespace_of_a_tensor() -> None:
    assert T.__array_namespace__() is cnp
    assert T.__array_namespace__(api_version="2022.12") is cnp
    with pytest.raises(ValueError, match=r"1999\.12"):
        T.__array_namespace__(api_version="1999.12")
    assert T.device == "cpu" == T.sum().device
    assert T.to_device("cpu") is T
    with pytest.raises(ValueError, match="cuda"):
        T.to_device("cuda")
    with pytest.raises(ValueError, match="stream"):
        T.to_device("cpu", stream=1)


def test_dlpack() -> None:
    torch = pytest.importorskip("torch")
    for value in (spaced((2, 3), 0), np.float32(2.5)):
        constant = cr.Tensor(value).detach()
        assert constant.__dlpack_device__() == np.asarray(value).__dlpack_device__()
        same(np.from_dlpack(constant), np.asarray(value))
        assert np.array_equal(torch.from_dlpack(constant).numpy(), value)
        assert type(cnp.from_dlpack(torch.tensor(value))) is cr.Tensor
    for dtype in ("float32", "float64", "complex64", "complex128"):  # there and back, in the same memory
        constant = cnp.asarray(np.arange(12, dtype=dtype).reshape(3, 4)[:, ::2])
        back = cnp.from_dlpack(torch.from_dlpack(constant))
        same(back.data, constant.data)
        assert np.shares_memory(back.data, constant.data)
    assert type(cnp.from_dlpack(torch.arange(3))) is np.ndarray
    for tensor in (T, T * 2, T.sum()):
        with pytest.raises(ConversionError, match="detach"):
            np.from_dlpack(tensor)
