"""Complex numbers (C26, C27): against differences and PyTorch, on branch cuts, at poles, and on paths between reals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import close, difference, spaced
from test_linalg import positive, regular

import chainrule as cr
from chainrule import nn
from chainrule.errors import OutputError, UnsupportedFunctionError
from chainrule.rules.registry import rules

INF = np.inf
UNARY = [
    "negative", "positive", "reciprocal", "square", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt",
    "expit", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh",
    "arctanh", "absolute", "sign", "conjugate", "real", "imag", "angle",
]  # fmt: skip
TORCH = {
    "absolute": torch.abs, "sign": torch.sgn, "conjugate": torch.conj, "expit": torch.sigmoid,
    "real": torch.real, "imag": torch.imag, "angle": torch.angle,
}  # fmt: skip
EVERYWHERE = [0.3 + 0.4j, -0.7 + 0.2j, -1.3 - 0.6j, 2.0 - 1.1j]
# On a cut, where the sign of a zero says on which side NumPy is, and near its end.
ENDS = [
    complex(sign * x, sign * y) for sign in (1, -1) for x, y in [(1.02, 0.0), (1.02, -0.0), (1.0, 0.02), (0.97, -0.02)]
]
CUTS: dict[str, list[complex]] = {
    "log": [-0.8 + 0j, complex(-0.8, -0.0)],
    "log2": [-0.8 + 0j],
    "log10": [-0.8 + 0j],
    "log1p": [-1.7 + 0j, complex(-1.7, -0.0)],
    "sqrt": [-0.8 + 0j, complex(-0.8, -0.0)],
    "arcsin": [1.5 + 0j, complex(1.5, -0.0), -1.7 + 0j, complex(-1.7, -0.0), *ENDS],
    "arccos": [1.5 + 0j, complex(1.5, -0.0), -1.7 + 0j, complex(-1.7, -0.0), *ENDS],
    "arctan": [2j, complex(-0.0, 2), -2j, complex(0.0, -2)],
    "arcsinh": [2j, complex(-0.0, 2), -2j, complex(0.0, -2), *(complex(-z.imag, z.real) for z in ENDS)],
    "arccosh": [0.5 + 0j, complex(0.5, -0.0), -0.8 + 0j, -1.7 + 0j, complex(-1.7, -0.0), *ENDS],
    "arctanh": [1.5 + 0j, complex(1.5, -0.0), -1.7 + 0j, complex(-1.7, -0.0)],
}


def function(name: str) -> Any:
    return getattr(np, name, None) or rules[name]


def pushed(f: Any, z: Any) -> tuple[Any, Any]:
    """Forward mode along 1 and along i."""
    return cr.jvp(f, (z,), (1 + 0j,))[1], cr.jvp(f, (z,), (1j,))[1]


def pulled(f: Any, z: Any, ct: Any) -> Any:
    value, pullback = cr.vjp(f, z)
    return pullback(ct if np.iscomplexobj(value) else ct.real)[0]


def adjoint_of(along_one: Any, along_i: Any, ct: Any) -> Any:
    ct = ct if np.iscomplexobj(along_one) else ct.real
    return np.real(np.conj(ct) * along_one) + 1j * np.real(np.conj(ct) * along_i)


CT = 0.7 - 0.3j


@pytest.mark.parametrize("name", UNARY)
def test_elementwise(name: str) -> None:
    f = function(name)
    for z in EVERYWHERE:
        one, i = pushed(f, z)
        close(one, difference(f, [z], 0, 1), 1e-9)
        close(i, difference(f, [z], 0, 1j), 1e-9)
        gradient = pulled(f, z, CT)
        close(gradient, adjoint_of(one, i, CT), 1e-12)
        peer = TORCH.get(name, getattr(torch, name, None))
        if peer is not None:
            t = torch.tensor(z, dtype=torch.complex128, requires_grad=True)
            y = peer(t)
            y.backward(torch.tensor(CT if y.is_complex() else CT.real, dtype=y.dtype))
            close(gradient, complex(t.grad), 1e-9)


@pytest.mark.parametrize("name", [name for name in UNARY if name not in TORCH or name == "expit"])
def test_holomorphic_derivatives(name: str) -> None:
    f = function(name)
    for z in EVERYWHERE:
        slope = cr.grad(f, holomorphic=True)
        close(slope(z), difference(f, [z], 0, 1), 1e-9)
        close(slope(z), pushed(f, z)[0], 1e-13)
        close(cr.grad(slope, holomorphic=True)(z), difference(slope, [z], 0, 1), 1e-8)
        close(cr.jvp(slope, (z,), (1j,))[1], difference(slope, [z], 0, 1j), 1e-8)
    with pytest.raises(OutputError, match="holomorphic=True"):
        cr.grad(f)(0.3 + 0.4j)


@pytest.mark.parametrize("name", CUTS)
def test_on_a_branch_cut_the_slope_is_that_of_the_side_where_the_value_is(name: str) -> None:
    """PyTorch's arcsin has the wrong sign at 1.5 + 0j."""
    f = function(name)
    for z in CUTS[name]:
        along = 1j if z.real == 0 else 1.0

        def moved(t: float, z: complex = z, along: complex = along) -> Any:
            """A step along the cut, which keeps the sign of zero."""
            return f(complex(z.real, z.imag + t) if along == 1j else complex(z.real + t, z.imag))

        desired = (8 * (moved(5e-5) - moved(-5e-5)) - (moved(1e-4) - moved(-1e-4))) / 6e-4
        one, i = pushed(f, z)
        close(i if along == 1j else one, desired, 1e-9)
        close(i, 1j * one, 1e-14)
        close(pulled(f, z, CT), adjoint_of(one, i, CT), 1e-13)


POLES: dict[str, tuple[Any, complex, complex]] = {
    "log": (np.log, 0j, INF),
    "log2": (np.log2, 0j, INF),
    "log1p": (np.log1p, -1 + 0j, INF),
    "sqrt": (np.sqrt, 0j, INF),
    "x**0.5": (lambda z: z**0.5, 0j, INF),
    "arcsin": (np.arcsin, 1 + 0j, INF),
    "arccos": (np.arccos, 1 + 0j, -INF),
    "arctan": (np.arctan, 1j, INF),
    "arctanh": (np.arctanh, 1 + 0j, INF),
    "arccosh": (np.arccosh, 1 + 0j, INF),
    "arcsinh": (np.arcsinh, 1j, INF),
    "1/z": (lambda z: 1 / z, 0j, -INF),
}


@pytest.mark.parametrize("name", POLES)
def test_poles_are_infinite_as_for_real_numbers(name: str) -> None:
    f, z, slope = POLES[name]
    with np.errstate(all="ignore"):
        assert pushed(f, z)[0].real == slope
        assert pulled(f, z, 1 + 0j).real == slope
        if z.imag == 0:

            def part(x: Any) -> Any:
                return np.real(f(x + 0j))

            assert cr.grad(part)(z.real) == cr.jvp(part, (z.real,), (1.0,))[1] == slope
            assert cr.grad(lambda x: np.real(np.where(x > 5, f(x + 0j), x)))(z.real) == 1.0  # and zero wins


REAL_PATHS: dict[str, tuple[Any, float, float]] = {
    "abs at 0": (lambda x: np.abs(x + 0j), 0.0, 0.0),
    "angle at 0": (lambda x: np.angle(x + 0j), 0.0, 0.0),
    "angle": (lambda x: np.angle(x + 1j), 1.0, -0.5),
    "sign at 0": (lambda x: np.real(np.sign(x + 0j)), 0.0, 0.0),
    "z**0 at 0": (lambda x: np.real((x + 0j) ** 0), 0.0, 0.0),
    "z**0.0 at 0": (lambda x: np.real((x + 0j) ** 0.0), 0.0, 0.0),
    "z**1 at 0": (lambda x: np.real((x + 0j) ** 1), 0.0, 1.0),
    "z**2.0 at 0": (lambda x: np.real((x + 0j) ** 2.0), 0.0, 0.0),
    "z**3 at 0": (lambda x: np.real((x + 0j) ** 3), 0.0, 0.0),
    "z**1.5 at 0": (lambda x: np.real((x + 0j) ** 1.5), 0.0, 0.0),
    "sqrt on the cut": (lambda x: np.imag(np.sqrt(x + 0j)), -1.0, -0.5),
    "real part of sqrt on the cut": (lambda x: np.real(np.sqrt(x + 0j)), -1.0, 0.0),
    "log on the cut": (lambda x: np.real(np.log(x + 0j)), -2.0, -0.5),
    "log of abs at 0": (lambda x: np.log(np.abs(x + 0j)), 0.0, 0.0),
    "abs of sqrt at 0": (lambda x: np.abs(np.sqrt(x + 0j)), 0.0, 0.0),
    "squared magnitude": (lambda x: np.abs(x + 1j) ** 2, 3.0, 6.0),
    "conjugate product": (lambda x: np.real((x + 1j) * np.conj(x + 1j)), 3.0, 6.0),
    "real exponent": (lambda x: np.abs((1 + 1j) ** x), 2.0, np.log(2.0)),
    "complex exponent": (lambda x: np.real(np.exp(1j * x)), 1.0, -np.sin(1.0)),
}


@pytest.mark.parametrize("name", REAL_PATHS)
def test_real_input_through_a_complex_path(name: str) -> None:
    f, x, desired = REAL_PATHS[name]
    with np.errstate(all="ignore"):
        gradient, tangent = cr.grad(f)(x), cr.jvp(f, (x,), (1.0,))[1]
    assert gradient.dtype == tangent.dtype == float
    np.testing.assert_allclose([gradient, tangent], desired, atol=1e-15)


PAIRS = [
    (operation, a, b)
    for operation in ("power", "divide", "multiply", "subtract")
    for a in (1.3 - 0.4j, -0.7 + 0j, -1.2 + 2j, 2.0)
    for b in (2.0, 0.0, -1.0, 0.5, 1.0, 1.3 - 0.4j, -0.7 + 0.1j)
    if not (isinstance(a, float) and isinstance(b, float)) and not (operation == "divide" and b == 0)
]


@pytest.mark.parametrize(("operation", "a", "b"), PAIRS)
def test_two_operands_real_or_complex(operation: str, a: Any, b: Any) -> None:
    f, peer = getattr(np, operation), {"power": torch.pow}.get(operation, getattr(torch, operation, None))
    points = [np.asarray(a)[()], np.asarray(b)[()]]
    gradients = cr.vjp(f, *points)[1](np.complex128(CT))
    tensors = [torch.tensor(p, requires_grad=True) for p in points]
    peer(*tensors).backward(torch.tensor(CT, dtype=torch.complex128))
    for k, (gradient, tensor, point) in enumerate(zip(gradients, tensors, points, strict=True)):
        assert gradient.dtype == point.dtype
        close(gradient, tensor.grad.numpy()[()], 1e-12)
        for unit in (1, 1j) if np.iscomplexobj(point) else (1,):
            directions = [np.zeros_like(p) for p in points]
            directions[k] = point.dtype.type(unit)
            change = cr.jvp(f, tuple(points), tuple(directions))[1]
            close(np.real(np.conj(CT) * change), np.real(np.conj(unit) * gradient), 1e-12)


MATRICES: list[tuple[str, Any, Any, Any]] = [
    ("inv", np.linalg.inv, torch.linalg.inv, regular),
    ("det", np.linalg.det, torch.linalg.det, regular),
    ("slogdet", lambda a: np.linalg.slogdet(a)[1], lambda a: torch.linalg.slogdet(a)[1], regular),
    ("slogdet sign", lambda a: np.linalg.slogdet(a)[0], lambda a: torch.linalg.slogdet(a)[0], regular),
    ("solve", lambda a: np.linalg.solve(a, a[:, :2] * 2j), lambda a: torch.linalg.solve(a, a[:, :2] * 2j), regular),
    ("pinv", np.linalg.pinv, torch.linalg.pinv, regular),
    ("cholesky", lambda a: np.linalg.cholesky((a + np.conj(a.T)) / 2),
     lambda a: torch.linalg.cholesky((a + a.mH) / 2), positive),
    ("eigh values", lambda a: np.linalg.eigh((a + np.conj(a.T)) / 2)[0],
     lambda a: torch.linalg.eigh((a + a.mH) / 2)[0], positive),
    ("svdvals", np.linalg.svdvals, torch.linalg.svdvals, regular),
    ("qr", lambda a: np.linalg.qr(a)[0], lambda a: torch.linalg.qr(a)[0], regular),
    ("nuclear norm", lambda a: np.linalg.norm(a, "nuc"), lambda a: torch.linalg.norm(a, "nuc"), regular),
    ("fft", np.fft.fft, torch.fft.fft, regular),
    ("ifft", lambda a: np.fft.ifft(a, 5), lambda a: torch.fft.ifft(a, 5), regular),
    ("irfft", lambda a: np.fft.irfft(a, 4), lambda a: torch.fft.irfft(a, 4), regular),
    ("hfft", lambda a: np.fft.hfft(a, 5), lambda a: torch.fft.hfft(a, 5), regular),
    ("fft2", lambda a: np.fft.fft2(a, norm="ortho"), lambda a: torch.fft.fft2(a, norm="ortho"), regular),
    ("matmul", lambda a: a @ np.conj(a), lambda a: a @ torch.conj(a), regular),
    ("einsum", lambda a: np.einsum("ij,kj->ik", a, np.conj(a)), lambda a: torch.einsum("ij,kj->ik", a, a.conj()),
     regular),
    ("prod", lambda a: np.prod(a, axis=0), lambda a: torch.prod(a, 0), regular),
    ("cumprod", lambda a: np.cumprod(a, axis=0), lambda a: torch.cumprod(a, 0), regular),
    ("mean", np.mean, torch.mean, regular),
    ("var", np.var, lambda a: torch.var(a, correction=0), regular),
]  # fmt: skip


@pytest.mark.parametrize("case", MATRICES, ids=lambda case: case[0])
def test_arrays_against_torch(case: Any) -> None:
    name, ours, theirs, made = case
    a = made((3, 3), complex, name)
    t = torch.tensor(a, requires_grad=True)
    y = theirs(t)
    ct = spaced(y.shape, (name, "ct"), dtype=y.detach().resolve_conj().numpy().dtype)[()]
    y.backward(torch.tensor(ct))
    value, pullback = cr.vjp(ours, a)
    close(value, y.detach().resolve_conj().numpy(), 1e-12)
    (gradient,) = pullback(ct)
    close(gradient, t.grad.resolve_conj().numpy(), 1e-11)
    direction = spaced((3, 3), (name, "direction"), dtype=complex)
    _, tangent = cr.jvp(ours, (a,), (direction,))
    close(np.sum(np.real(np.conj(ct) * tangent)), np.sum(np.real(np.conj(gradient) * direction)), 1e-11)


@pytest.mark.parametrize("name", ["erf", "erfc", "gelu"])
def test_functions_of_real_numbers_refuse_complex_ones(name: str) -> None:
    f = nn.gelu if name == "gelu" else rules[name]
    for x in (cr.Tensor(1 + 1j), cr.Tensor(np.ones(3, complex)), np.ones(3, complex)):
        with pytest.raises(UnsupportedFunctionError, match=f"{name} is for real numbers, but got dtype complex128"):
            f(x)


def test_gradients_are_directions_of_steepest_ascent() -> None:
    z = np.array([1 + 2j, -0.5j])
    t = cr.Tensor(z)
    np.sum(np.abs(t) ** 2).backward()
    np.testing.assert_allclose(t.grad, 2 * z)
    np.testing.assert_allclose(cr.grad(lambda z: np.sum(np.real(z * z)))(z), 2 * np.conj(z))
