"""The array API standard, 2024.12: each of its functions, called as the standard calls it.

What NumPy gives for arrays, chainrule.numpy gives for Tensors, bit for bit, and where NumPy raises it raises: so the
namespace conforms exactly as far as NumPy does.  Calls that NumPy does not know are listed in docs/array_api.md.
"""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.array_api import make_strategies_namespace
from oracle import spaced

import chainrule as cr
import chainrule.numpy as cnp
from chainrule.scipy import special

ROOT = Path(__file__).resolve().parent.parent

# One line a call, every keyword of the standard's signature in it.  x, y: (3, 4); v: (4,); z: (1, 3, 1); S: a stack of
# positive definite matrices; i: indices; b: truth values; n: integers; dtype: that of x.
CALLS = """
all(x, axis=0, keepdims=True)
any(x, axis=(0, 1), keepdims=True)
arange(0, 3, 0.5, dtype=dtype, device=device)
argmax(x, axis=1, keepdims=True)
argmin(x, axis=None, keepdims=False)
argsort(x, axis=0, stable=True)
argsort(x, axis=0, descending=True)
asarray([[1.0, 2.0]], dtype=dtype, device=device, copy=True)
asarray(x, copy=False)
astype(x, xp.complex128, copy=True, device=device)
astype(n, dtype, copy=False)
broadcast_arrays(x, v)
broadcast_shapes((3, 1), (4,))
broadcast_to(v, (2, 3, 4))
can_cast(x, dtype)
clip(x, min=-0.5, max=0.5)
clip(x, min=v, max=None)
concat([x, y], axis=1)
concat([x, v], axis=None)
count_nonzero(x, axis=1, keepdims=True)
cumulative_prod(x, axis=1, dtype=dtype, include_initial=True)
cumulative_sum(v, axis=None, dtype=None, include_initial=False)
diff(x, axis=0, n=2, prepend=x[:1], append=x[-1:])
empty((0, 2), dtype=dtype, device=device)
empty_like(x[:0], dtype=dtype, device=device)
expand_dims(x, axis=-1)
eye(2, 3, k=1, dtype=dtype, device=device)
finfo(dtype).eps
flip(x, axis=(0, 1))
flip(x, axis=None)
full((2, 3), 2.5, dtype=dtype, device=device)
full_like(x, 2.5, dtype=dtype, device=device)
iinfo(xp.int32).max
isdtype(x.dtype, ("real floating", "complex floating"))
isin(x, v, invert=True)
linspace(0.0, 1.0, num=5, dtype=dtype, device=device, endpoint=False)
matmul(x, v)
matrix_transpose(S)
max(x, axis=0, keepdims=True)
mean(x, axis=(0, 1), keepdims=True)
meshgrid(v, v, indexing="ij")
min(x, axis=None, keepdims=False)
moveaxis(z, 0, 2)
moveaxis(z, (0, 1), (1, 2))
nonzero(x)
ones((2,), dtype=dtype, device=device)
ones_like(x, dtype=dtype, device=device)
permute_dims(z, (2, 0, 1))
prod(x, axis=1, dtype=dtype, keepdims=True)
repeat(x, 2, axis=1)
repeat(v, n, axis=None)
reshape(x, (2, 6), copy=True)
reshape(x, (-1,), copy=None)
result_type(x, xp.float32, 1.0)
roll(x, (1, 2), axis=(0, 1))
roll(x, 5, axis=None)
searchsorted(sort(v), y, side="right", sorter=None)
searchsorted(v, 0.1, side="left", sorter=argsort(v))
sort(x, axis=0, stable=False)
sort(x, axis=0, descending=True)
squeeze(z, axis=(0, 2))
squeeze(z, 0)
stack([x, y], axis=-1)
std(x, axis=1, correction=1.0, keepdims=True)
sum(x, axis=(0, 1), dtype=dtype, keepdims=False)
take(x, i, axis=1)
take(v, i)
take_along_axis(x, i[None, :], axis=0)
take_along_axis(x, i[:3, None])
tensordot(x, y, axes=((0, 1), (0, 1)))
tensordot(x, v, axes=1)
tile(x, (2, 1, 2))
tril(x, k=1)
triu(x, k=-1)
unique_all(x)
unique_counts(x)
unique_inverse(x)
unique_values(x)
unstack(x, axis=1)
var(x, axis=0, correction=0.5, keepdims=False)
vecdot(x, y, axis=-1)
where(b, x, y)
where(b, x, 0.0)
where(b, 1.0, v)
zeros((2, 0), dtype=dtype, device=device)
zeros_like(x, dtype=dtype, device=device)
linalg.cholesky(S, upper=True)
linalg.cross(x[:, :3], y[:, 1:], axis=-1)
linalg.det(S)
linalg.diagonal(S, offset=1)
linalg.eig(S[0])
linalg.eigh(S)
linalg.eigvals(S[0])
linalg.eigvalsh(S)
linalg.inv(S)
linalg.matmul(S, S)
linalg.matrix_norm(S, keepdims=True, ord="nuc")
linalg.matrix_norm(S, ord=2)
linalg.matrix_power(S, -2)
linalg.matrix_rank(S, rtol=1e-3)
linalg.matrix_transpose(S)
linalg.outer(v, v)
linalg.pinv(x, rtol=1e-3)
linalg.qr(x, mode="complete")
linalg.slogdet(S)
linalg.solve(S, S)
linalg.svd(x, full_matrices=False)
linalg.svdvals(x)
linalg.tensordot(x, y, axes=2)
linalg.trace(S, offset=0, dtype=dtype)
linalg.vecdot(x, v, axis=-1)
linalg.vector_norm(x, axis=0, keepdims=True, ord=3)
linalg.vector_norm(x, axis=(0, 1), ord=xp.inf)
fft.fft(x, n=5, axis=0, norm="ortho")
fft.ifft(x, n=3, axis=-1, norm="forward")
fft.fftn(x, s=(4, 5), axes=(0, 1), norm="backward")
fft.ifftn(x, s=(2, 3), axes=(0, 1), norm="ortho")
fft.rfft(x, n=5, axis=1, norm="ortho")
fft.irfft(x, n=6, axis=1, norm="forward")
fft.rfftn(x, s=(4, 5), axes=(0, 1), norm="ortho")
fft.irfftn(x, s=(4, 5), axes=(0, 1), norm="forward")
fft.hfft(x, n=5, axis=0, norm="ortho")
fft.ihfft(x, n=3, axis=0, norm="ortho")
fft.fftfreq(5, d=0.5, device=device)
fft.fftfreq(5, dtype=dtype)
fft.rfftfreq(5, d=0.5, device=device)
fft.fftshift(x, axes=(0,))
fft.ifftshift(x, axes=None)
""".strip().splitlines()
ONE = (
    "abs acos acosh asin asinh atan atanh ceil conj cos cosh exp expm1 floor imag isfinite isinf isnan log log10 log1p "
    "log2 logical_not negative positive real reciprocal round sign signbit sin sinh sqrt square tan tanh trunc"
)
TWO = (
    "add atan2 copysign divide equal floor_divide greater greater_equal hypot less less_equal logaddexp logical_and "
    "logical_or logical_xor maximum minimum multiply nextafter not_equal pow remainder subtract"
)
INTEGERS = (
    "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift add floor_divide maximum pow equal"
)
CALLS += [f"{name}(x)" for name in ONE.split()]
CALLS += [f"{name}({a}, {b})" for name in TWO.split() for a, b in ("xy", "xv", ("x", "2.0"), ("0.5", "x"))]
CALLS += [f"{name}(n, n)" for name in INTEGERS.split()] + [
    "bitwise_invert(n)",
    "bitwise_invert(b)",
    "from_dlpack(fresh(x))",
]

# Python's operators and the array's attributes, as the standard requires them.
CALLS += [f"x {symbol} y" for symbol in ("+", "-", "*", "/", "**", "//", "%", "<", "<=", ">", ">=", "==", "!=")]
CALLS += [f"x {symbol} v" for symbol in ("@", "&", "|", "^", "<<", ">>")] + [
    "2.0 - x",
    "2 ** x",
    "b & b",
    "~b",
    "~x",
    "-x",
    "+x",
]
CALLS += ["abs(x)", "x.dtype", "x.device", "x.mT", "x.ndim", "x.shape", "x.size", "x.T", "x.to_device('cpu')"]
CALLS += ["bool(x[0,0])", "float(fresh(x)[0,0])", "int(fresh(x)[0,0])", "complex(fresh(x)[0,0])", "n[x]"]
CALLS += ["x[...]", "x[1]", "x[0, 0]", "x[::-1, 1:3]", "x[..., None]", "x[b]", "x[i[:3], i[:3]]", "x[-1, ...]"]
DTYPES = ("float32", "float64", "complex64", "complex128")


def arguments(dtype: str) -> dict[str, Any]:
    """Plain arrays, by the names in the table."""
    x = spaced((3, 4), "x", dtype=dtype)
    A = spaced((2, 4, 4), "A", dtype=dtype)
    S = A @ np.conj(np.swapaxes(A, -1, -2)) + 4 * np.eye(4, dtype=dtype)
    arrays = {"x": x, "y": spaced((3, 4), "y", dtype=dtype), "v": spaced(4, "v", dtype=dtype), "S": S}
    return arrays | {
        "z": spaced((1, 3, 1), "z", dtype=dtype),
        "i": np.array([2, 0, 1, 2]),
        "n": np.array([1, 0, 2, 3]),
        "b": np.array([[True], [False], [True]]) & np.array([True, True, False, True]),
        "dtype": np.dtype(dtype),
        "device": "cpu",
    }


def outcome(call: str, xp: Any, names: dict[str, Any]) -> Any:
    """What a call gives, or the kind of error that it raises."""
    scope = {name: getattr(xp, name) for name in dir(xp) if name not in LAZY} | names | {"xp": xp}
    if call.startswith(CASTS):
        scope |= {name: getattr(builtins, name) for name in ("bool", "float", "int", "complex")}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
        try:
            return eval(call, {"__builtins__": {"__import__": __import__}}, scope)  # NumPy 2.0 imports its warnings so
        except (AttributeError, IndexError, NameError, TypeError, ValueError) as error:
            return type(error)


CASTS = ("bool(", "float(", "int(", "complex(")
LAZY = set(np.__all__) - set(vars(np))


def agree(ours: Any, theirs: Any, call: str) -> None:
    """The same structure, shapes, dtypes and bits; floating arrays are Tensors."""
    if isinstance(theirs, tuple | list):
        assert type(ours) is type(theirs) or tuple in (type(ours), type(theirs))
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            agree(one, other, call)
    elif isinstance(theirs, type):
        assert isinstance(ours, type), f"NumPy raises {theirs.__name__}, and ours gives {ours!r}"
        assert issubclass(ours, theirs)
    elif isinstance(theirs, np.ndarray | np.generic):
        floating = theirs.dtype.kind in "fc" and not call.startswith("finfo")
        assert isinstance(ours, cr.Tensor) == floating, f"{type(ours)} for {theirs!r}"
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        plain = ours.data if floating else ours
        assert np.array_equal(plain, theirs, equal_nan=theirs.dtype.kind in "fc")
        # Signs of zeros, too; a NaN's depends on where in memory the operands lie, and of 0 and -0 `unique` takes any.
        if theirs.dtype.kind == "f" and not call.startswith("unique"):
            assert np.all((np.signbit(plain) == np.signbit(theirs)) | np.isnan(theirs))
    else:
        assert ours == theirs


@pytest.mark.parametrize("history", [False, True], ids=["constant", "leaf"])
@pytest.mark.parametrize("call", CALLS)
def test_calls_of_the_standard(call: str, history: bool) -> None:
    for dtype in DTYPES:
        plain = arguments(dtype)
        tensors = {
            name: cr.Tensor(value) if history else cnp.asarray(value)
            for name, value in plain.items()
            if getattr(getattr(value, "dtype", None), "kind", "") in {"f", "c"} and name != "dtype"
        }
        theirs = outcome(call, np, plain | {"fresh": np.copy})
        ours = outcome(call, cnp, plain | tensors | {"fresh": lambda t: t.detach()})
        agree(ours, theirs, call)


def test_information() -> None:
    t = cr.Tensor([1.0, 2.0])
    assert cnp.finfo(t).bits == 64
    assert cnp.result_type(t, np.complex64) == np.complex128
    if hasattr(np, "__array_namespace_info__"):  # NumPy 2.0 has none
        info = cnp.__array_namespace_info__()
        assert info.capabilities()["boolean indexing"]
        assert info.capabilities()["data-dependent shapes"]
        assert info.default_device() == t.device
        assert list(info.devices()) == [t.device]
        assert info.default_dtypes()["real floating"] == cnp.zeros(1).dtype
        assert info.default_dtypes()["integral"] == cnp.arange(1).dtype
        assert set(info.dtypes(kind="real floating")) == {"float32", "float64"}
    with pytest.raises(TypeError, match="detach"):
        float(t[0])


def test_truth_values_of_a_trace_have_operators() -> None:
    from chainrule.record import trace

    def between(x: Any) -> Any:
        inside = (x > 0) & (x < 2) | ~(x < 5) ^ (x > 100)
        assert isinstance(inside, cr.Tensor)
        assert inside.node is not None
        return np.where(inside, x * x, 0.0)

    x = np.array([-1.0, 1.0, 3.0, 7.0])
    np.testing.assert_array_equal(trace(between, x).output.data, [0, 1, 0, 49])


# -- arrays that Hypothesis draws through the namespace itself ---------------------------------------------------------
xps = make_strategies_namespace(cnp, api_version="2023.12")
shapes = xps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
floating = st.one_of(xps.floating_dtypes(), xps.complex_dtypes())


def compared(call: str, **tensors: Any) -> None:
    """A call gives what NumPy gives for the plain arrays."""
    plain = {name: t.data if isinstance(t, cr.Tensor) else t for name, t in tensors.items()}
    agree(outcome(call, cnp, tensors), outcome(call, np, plain), call)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_drawn_elementwise(data: Any) -> None:
    one, two = data.draw(xps.mutually_broadcastable_shapes(2, max_dims=3, min_side=0, max_side=3)).input_shapes
    x = data.draw(xps.arrays(data.draw(floating), one))
    y = data.draw(xps.arrays(data.draw(floating), two))
    n = data.draw(xps.arrays(np.int64, two, elements=st.integers(-3, 3)))
    assert isinstance(x, cr.Tensor)
    s = data.draw(st.sampled_from([0, -1, 2.5, np.inf, np.nan]))
    assert type(n) is np.ndarray
    for name in ONE.split():
        compared(f"{name}(x)", x=x)
    for name in TWO.split():
        compared(f"{name}(x, y)", x=x, y=y)
        compared(f"{name}(x, n)", x=x, n=n)
        compared(f"{name}(n, x)", x=x, n=n)
        compared(f"{name}(x, s)", x=x, s=s)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_drawn_reductions(data: Any) -> None:
    x = data.draw(xps.arrays(data.draw(floating), shapes))
    axis = data.draw(st.none() | xps.valid_tuple_axes(x.ndim))
    keepdims = data.draw(st.booleans())
    for name in ("all", "any", "count_nonzero", "max", "mean", "min", "prod", "std", "sum", "var"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing
            compared(f"{name}(x, axis=axis, keepdims=keepdims)", x=x, axis=axis, keepdims=keepdims)
    for name in ("argmax", "argmin", "argsort", "sort", "cumulative_sum", "cumulative_prod", "flip", "unstack"):
        for axis in range(x.ndim):
            compared(f"{name}(x, axis=axis)", x=x, axis=axis)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_drawn_indices(data: Any) -> None:
    x = data.draw(xps.arrays(data.draw(floating), shapes))
    index = data.draw(xps.indices(x.shape, allow_newaxis=True))
    compared("x[index]", x=x, index=index)
    index = data.draw(xps.indices(x.shape))
    filled, plain = cnp.asarray(x, copy=True), np.array(x.data)
    filled[index] = 2.0
    plain[index] = 2.0
    agree(filled, plain, "put")
    mask = data.draw(xps.arrays(np.bool_, x.shape))
    compared("x[mask]", x=x, mask=mask)
    compared("where(mask, x, 1.0)", x=x, mask=mask)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_drawn_shapes(data: Any) -> None:
    x = data.draw(xps.arrays(data.draw(floating), shapes))
    order = tuple(data.draw(st.permutations(range(x.ndim))))
    compared("permute_dims(x, order)", x=x, order=order)
    compared("reshape(x, (-1,) if x.size else (0, 2))", x=x)
    compared("broadcast_to(x, (2, *x.shape))", x=x)
    compared("tile(x, (2,) * (x.ndim + 1))", x=x)
    compared("roll(x, 2, axis=0)" if x.ndim else "roll(x, 2)", x=x)
    compared("repeat(x, 2, axis=None)", x=x)
    for axis in range(x.ndim + 1):
        compared("expand_dims(x, axis=axis)", x=x, axis=axis)
        compared("stack([x, x], axis=axis)", x=x, axis=axis)
    for axis in range(x.ndim):
        compared("concat([x, x], axis=axis)", x=x, axis=axis)
        compared("diff(x, axis=axis)", x=x, axis=axis)
    for name in ("unique_values", "unique_counts", "unique_inverse", "unique_all") + ("nonzero",) * (x.ndim > 0):
        compared(f"{name}(x)", x=x)


# -- SciPy and scikit-learn ---------------------------------------------------------------------------------------
def run_with_array_api(*program: str) -> None:
    """Run Python in a process of its own: SciPy reads the variable when it is imported."""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, *program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_scipy_and_scikit_learn_take_tensors() -> None:
    run_with_array_api(str(ROOT / "tests" / "array_api_programs.py"))


if hasattr(np, "__array_namespace_info__"):  # NumPy 2.3: scikit-learn asks for it

    def test_example_of_the_page() -> None:
        page = (ROOT / "docs" / "array_api.md").read_text(encoding="utf-8")
        run_with_array_api("-c", page.partition("```py\n")[2].partition("```")[0])


def test_special_functions_are_an_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cnp.special is special
    monkeypatch.delitem(sys.modules, "chainrule.scipy.special")
    monkeypatch.delitem(sys.modules, "chainrule.scipy")
    monkeypatch.setitem(sys.modules, "scipy", None)  # as if it were not installed
    with pytest.raises(AttributeError, match=r"chainrule\[scipy\]"):
        _ = cnp.special
