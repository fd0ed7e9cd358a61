"""Bad input: the message names what happened, with shapes, and what to write instead; nothing is changed by it."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors


@pytest.fixture
def x():
    return cr.Tensor([1.0, 2.0], name="x")


def unchanged(x):
    return x.grad is None and x.data.tolist() == [1.0, 2.0]


CASES = {
    "shapes": (
        lambda x: x + np.ones(3),
        ValueError,
        r"add of Tensor 'x' of shape \(2,\).*array of shape \(3,\).*newaxis",
    ),
    "matmul": (lambda x: x @ np.ones((3, 3)), ValueError, r"matmul of Tensor 'x' of shape \(2,\)"),
    "two tensors": (lambda x: x * cr.Tensor(np.ones(3)), ValueError, r"multiply of .*\(2,\).*\(3,\)"),
    "function": (lambda x: np.hypot(x, np.ones(3)), ValueError, r"hypot of .*\(3,\)"),
    "reshape": (lambda x: x.reshape(3), ValueError, r"reshape of Tensor 'x' of shape \(2,\)"),
    "axis": (lambda x: np.sum(x, axis=2), ValueError, r"sum of Tensor 'x'.*axis 2"),
    "index": (lambda x: x[5], IndexError, r"getitem of Tensor 'x' of shape \(2,\).*index 5"),
    "float index": (lambda x: np.ones(3)[x], (TypeError, IndexError), ""),
    "tensor index": (lambda x: x[x], TypeError, "index"),
    "string": (lambda x: x + "a", TypeError, "unsupported operand"),
    "none": (lambda x: x * None, TypeError, "unsupported operand"),
    "objects": (lambda x: x * np.array(["a", "b"], dtype=object), errors.DataError, r"astype\(float\)"),
    "for integers": (lambda x: np.invert(x), TypeError, r"invert of Tensor .* not supported for the input types"),
    "float": (lambda x: float(x[0]), errors.ConversionError, r"t.item\(\).*np.sin for math.sin"),
    "int": (lambda x: int(x[0]), errors.ConversionError, r"int\(t\)"),
    "complex": (lambda x: complex(x[0]), errors.ConversionError, r"complex\(t\)"),
    "math": (lambda x: math.sin(x[0]), errors.ConversionError, "math module"),
    "asarray": (lambda x: np.asarray(x * 2, dtype=float), errors.ConversionError, r"t.data"),
    "iterate 0-d": (lambda x: list(x[0]), TypeError, "0-d"),
    "gradient's shape": (lambda x: (x * 2).backward(np.ones(3)), errors.GradientShapeError, r"\(3,\).*\(2,\)"),
    "complex gradient": (lambda x: (x * 2).backward(1j * np.ones(2)), errors.GradientShapeError, "real"),
    "constant": (lambda x: x.detach().backward(), errors.OutputError, "depends on no leaf"),
    "setting grad": (lambda x: setattr(x, "grad", np.ones(3)), errors.OutputError, r"\(3,\).*\(2,\)"),
    "grad of a result": (lambda x: setattr(x * 2, "grad", np.ones(2)), errors.OutputError, "leaf"),
    "out of shape": (lambda x: np.add(x, 1.0, out=cr.Tensor(np.ones(3)) * 1), errors.InPlaceError, r"\(2,\).*\(3,\)"),
    "out array": (lambda x: np.add(x, 1.0, out=np.ones(2)), errors.InPlaceError, r"y = y \+ t"),
}
if isinstance(np.strings.upper, type(np.sum)):  # NumPy asks us since 2.1
    CASES["no rule"] = (
        lambda x: np.strings.upper(x),
        errors.UnsupportedFunctionError,
        r"np\.strings\.upper was called.*works on strings.*docs/coverage",
    )


@pytest.mark.parametrize(("call", "error", "message"), CASES.values(), ids=CASES)
def test_of_tensors(x, call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call(x)
    assert unchanged(x)


def test_writing_a_tensor_into_an_array(x):
    a = np.ones(2)
    with pytest.raises(errors.InPlaceError, match=r"y = y \+ t"):
        a += x
    with pytest.raises(ValueError, match="sequence") as info:  # NumPy's own error, caused by ours
        a[0] = x[0]
    assert "fill a Tensor" in str(info.value.__cause__)
    with pytest.raises(errors.ConversionError, match="fill a Tensor"):
        a[:] = x
    np.testing.assert_array_equal(a, [1.0, 1.0])


DATA = {
    "text": "abc",
    "bool": True,
    "bools": [True, False],
    "dates": np.array(["2020-01-01"], dtype="M8[D]"),
    "objects": np.array([object()]),
    "structured": np.zeros(2, dtype=[("a", "f8")]),
    "masked": np.ma.array([1.0, 2.0]),
    "ragged": [[1.0], [1.0, 2.0]],
    "dict": {"a": 1.0},
}


@pytest.mark.parametrize("value", DATA.values(), ids=DATA)
def test_data_that_is_not_numeric(value):
    with pytest.raises(errors.DataError):
        cr.Tensor(value)
    if not isinstance(value, dict | list):
        with pytest.raises(errors.DataError):
            cr.grad(lambda x: x)(value)


def test_dtype_of_a_tensor():
    with pytest.raises(errors.DataError, match="int64"):
        cr.Tensor([1.0], dtype="i8")


def test_second_backward(x):
    y = np.sum(x * x)
    y.backward()
    before = x.grad.copy()
    with pytest.raises(errors.FreedGraphError, match="retain_graph=True"):
        y.backward()
    np.testing.assert_array_equal(x.grad, before)


FUNCTIONS = {
    "not a scalar": (lambda x: x * 2, r"scalar output.*\(2,\).*np.sum.*vjp"),
    "integer": (lambda x: np.argmax(x), "int64.*no derivative"),
    "None": (lambda x: None, "returned None: is a `return` missing"),
    "text": (lambda x: "a", "returns a Tensor"),
    "complex": (lambda x: np.sum(x * 1j), "complex.*holomorphic=True"),
    "bool": (lambda x: np.sum(x) > 0, "bool"),
    "python int": (lambda x: 3, "returns a Tensor"),
}


@pytest.mark.parametrize(("f", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_without_a_gradient(f, message):
    with pytest.raises(errors.OutputError, match=f"(?s){message}"):
        cr.grad(f)(np.array([1.0, 2.0]))


def test_arguments_of_transforms():
    x = np.ones(2)
    with pytest.raises(errors.StructureError, match="argnums=2"):
        cr.grad(lambda a: a, argnums=2)(1.0)
    with pytest.raises(errors.OutputError, match="complex arguments"):
        cr.grad(lambda a: a, holomorphic=True)(1.0)
    with pytest.raises(errors.OutputError, match="pair"):
        cr.grad(lambda a: a, has_aux=True)(1.0)
    with pytest.raises(errors.StructureError, match="tuples"):
        cr.jvp(np.sin, 1.0, 1.0)
    with pytest.raises(errors.StructureError):
        cr.jvp(np.sin, (x,), ([x],))
    with pytest.raises(errors.GradientShapeError, match=r"\(3,\).*\(2,\)"):
        cr.jvp(np.sin, (x,), (np.ones(3),))
    with pytest.raises(errors.GradientShapeError, match="complex128 for an argument of dtype float64"):
        cr.jvp(np.sin, (x,), (1j * x,))
    _, pullback = cr.vjp(np.sin, x)
    with pytest.raises(errors.GradientShapeError, match=r"\(3,\).*\(2,\)"):
        pullback(np.ones(3))
    with pytest.raises(errors.StructureError):
        pullback([x])


def test_errors_are_also_the_builtin_a_caller_would_catch():
    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, Warning):
            assert issubclass(kind, UserWarning | RuntimeWarning)
            continue
        builtins = (
            TypeError | ValueError | RuntimeError | ImportError | FloatingPointError | AssertionError | MemoryError
        )
        assert issubclass(kind, builtins)
        assert inspect.getdoc(kind)


@pytest.mark.parametrize("transform", [cr.grad, cr.vmap, lambda f: lambda x: cr.jvp(f, (x,), (x,)), cr.jacobian])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(np.exp(np.array([x[0], 2.0]))),
        lambda x: np.sum(np.heaviside(np.array([x[0], 2.0]), 1.0)),
        lambda x: np.linalg.det(np.array([[x[0], 1.0], [2.0, x[1]]])),
        lambda x: np.sum(np.interp(np.array([x[0], 2.0]), [0.0, 1.0, 2.0], [0.0, 1.0, 3.0])),
        lambda x: np.interp(0.5, [0.0, 1.0], np.array([x[0], 2.0])),
        lambda x: np.sum(np.arctan2(np.array([x[0], 2.0]), 1.0)),
        lambda x: np.sum(np.hypot(1.0, np.array([x[0], x[1]]))),
        lambda x: np.sum(np.gradient(np.array([x[0], x[1], 2.0]))),
    ],
    ids=[
        "ufunc",
        "ufunc of numbers only",
        "linalg",
        "interp",
        "interp's values",
        "arctan2",
        "a number first",
        "filled",
    ],
)
def test_object_arrays_are_explained(f, transform):
    with pytest.raises((TypeError, AttributeError, ValueError)) as caught:
        transform(f)(np.ones((2, 2)) if transform is cr.vmap else np.ones(2))
    assert "np.stack([t, 2.0])" in "".join(caught.value.__notes__)


def test_other_object_arrays_are_not_explained():
    """Where none was made of a Tensor, it is no Tensor that NumPy refuses."""
    with pytest.raises(TypeError) as caught:
        cr.grad(lambda x: x * np.exp(np.array([None])))(1.0)
    assert not hasattr(caught.value, "__notes__")
    for f in (lambda x: np.array([x, 1.0]).nothing, lambda x: x.nothing + np.sum(np.array([x, 1.0]))):
        with pytest.raises(AttributeError) as caught:
            cr.grad(f)(1.0)
        assert not hasattr(caught.value, "__notes__")
