"""Derivatives against PyTorch and JAX, at points where there is nothing to disagree about.

`CALLS` holds one call for each NumPy function, as text: `np` in it is NumPy with our Tensors, or `jax.numpy`.  `TORCH`
holds PyTorch's form of some of them.  JAX is optional: without it its cases are not collected, and the test run
says so at its end (tests/conftest.py).  Where we differ from a peer on purpose is in `tests/test_semantics.py`.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from oracle import dot, parts, spaced

import chainrule as cr
from chainrule.rules import functions
from chainrule.rules.registry import Rule

JAX = find_spec("jax") is not None
REGULAR = np.eye(3) * 2 + spaced((3, 3), "regular", -0.8, 0.8)
POINTS = {
    "x": spaced((3, 4), "x", 0.1, 0.9),
    "y": spaced((3, 4), "y", 0.15, 0.85),
    "v": spaced((5,), "v", 0.1, 0.9),
    "w": spaced((3,), "w", 0.2, 0.8),
    "A": REGULAR,
    "S": REGULAR @ REGULAR.T + np.diag([0.0, 1.0, 3.0]),
}
# What a call is where `np.name(x)` is not it.  Matrix functions of one triangle see a symmetric matrix everywhere.
BINARY = "add subtract multiply divide power float_power arctan2 hypot logaddexp logaddexp2 maximum minimum fmax fmin"
CALLS = {name: f"np.{name}(x, y)" for name in f"{BINARY} copysign fmod remainder heaviside floor_divide".split()} | {
    "astype": "np.astype(x, np.float64)",
    "append": "np.append(x, y, 0)",
    "arccosh": "np.arccosh(x + 1)",
    "array_split": "np.array_split(v, 2)",
    "average": "np.average(x, axis=0, weights=w)",
    "bincount": "np.bincount(np.array([0, 2, 2, 1, 0]), weights=v)",
    "block": "np.block([[A, A], [w[None], w[None] ** 2]])",
    "broadcast_to": "np.broadcast_to(w, (2, 3))",
    "choose": "np.choose(np.array([1, 0, 1, 0]), [x[0], x[1]])",
    "clip": "np.clip(x, 0.3, 0.7)",
    "column_stack": "np.column_stack([w, A])",
    "compress": "np.compress(np.array([True, False, True]), x, axis=0)",
    "concatenate": "np.concatenate([x, y], axis=1)",
    "convolve": "np.convolve(v, w)",
    "corrcoef": "np.corrcoef(x)",
    "correlate": "np.correlate(v, w, 'full')",
    "cov": "np.cov(x)",
    "cross": "np.cross(A, w)",
    "delete": "np.delete(v, 1)",
    "diag": "np.diag(w)",
    "diagonal": "np.diagonal(A, 1)",
    "divmod": "np.divmod(x, y)",
    "dot": "np.dot(A, w)",
    "dsplit": "np.dsplit(np.reshape(x, (3, 2, 2)), 2)",
    "dstack": "np.dstack([x, y])",
    "einsum": "np.einsum('ij,kj,i->k', x, y, w)",
    "expand_dims": "np.expand_dims(x, 1)",
    "extract": "np.extract(np.array([True, False, True]), w)",
    "frexp": "np.frexp(x)[0]",
    "full_like": "np.full_like(x, w[0])",
    "geomspace": "np.geomspace(w[0], w[1], 5)",
    "gradient": "np.gradient(v, 0.5)",
    "hsplit": "np.hsplit(x, 2)",
    "inner": "np.inner(x, y)",
    "insert": "np.insert(v, 2, 1.5)",
    "interp": "np.interp(v, np.array([0.0, 0.33, 0.71, 1.0]), x[0])",
    "kron": "np.kron(A, w)",
    "ldexp": "np.ldexp(x, 3)",
    "linspace": "np.linspace(w[0], w[1], 4)",
    "logspace": "np.logspace(w[0], w[1], 4)",
    "matmul": "np.matmul(A, x)",
    "matvec": "np.matvec(A, w)",
    "meshgrid": "np.meshgrid(w, v)",
    "modf": "np.modf(x)[0]",
    "moveaxis": "np.moveaxis(x, 0, 1)",
    "nanpercentile": "np.nanpercentile(x, 30.0)",
    "nanquantile": "np.nanquantile(x, 0.4, axis=1)",
    "outer": "np.outer(w, v)",
    "pad": "np.pad(x, 2, mode='reflect')",
    "partition": "np.partition(x, 2)",
    "percentile": "np.percentile(x, 30.0)",
    "piecewise": "np.piecewise(v, [v < 0.5], [lambda u: u * u, lambda u: 1 / u])",
    "poly": "np.poly(w)",
    "polyadd": "np.polyadd(v, w)",
    "polymul": "np.polymul(v, w)",
    "polysub": "np.polysub(v, w)",
    "polyval": "np.polyval(w, v)",
    "polyint": "np.polyint(v, 2)",
    "polyfit": "np.polyfit(w, A[0], 2)",
    "put_along_axis": "np.put_along_axis(x, np.array([[0], [1], [0]]), w[:, None], 1, inplace=False)",
    "quantile": "np.quantile(x, 0.4, axis=1)",
    "repeat": "np.repeat(x, 2, axis=1)",
    "reshape": "np.reshape(x, (2, 6))",
    "resize": "np.resize(x, (2, 7))",
    "roll": "np.roll(x, 2)",
    "rollaxis": "np.rollaxis(x, 1)",
    "select": "np.select([v < 0.3, v < 0.6], [v, v**2], v**3)",
    "split": "np.split(x, 2, axis=1)",
    "stack": "np.stack([x, y], 1)",
    "swapaxes": "np.swapaxes(x, 0, 1)",
    "take": "np.take(v, np.array([0, 3, 3]))",
    "take_along_axis": "np.take_along_axis(x, np.array([[0, 1], [2, 2], [3, 0]]), 1)",
    "tensordot": "np.tensordot(x, y, 2)",
    "tile": "np.tile(w, 3)",
    "trapezoid": "np.trapezoid(v, dx=0.3)",
    "vander": "np.vander(w, 3)",
    "vdot": "np.vdot(v, v**2)",
    "vecdot": "np.vecdot(x, y)",
    "vecmat": "np.vecmat(w, A)",
    "vsplit": "np.vsplit(np.reshape(x, (4, 3)), 2)",
    "vstack": "np.vstack([x, y])",
    "where": "np.where(np.array([True, False, True, False]), x, y)",
    "trace": "np.trace(A)",
    "reciprocal": "np.reciprocal(x)",
    "sort_complex": "np.sort_complex(v + 1j * v**2)",
    "unwrap": "np.unwrap(7 * v)",
    "fft.fftn": "np.fft.fftn(x, (2, 5))",
    "fft.hfft": "np.fft.hfft(x[0] + 1j * x[1])",
    "fft.irfft": "np.fft.irfft(x[0] + 1j * x[1], 5)",
    "fft.irfft2": "np.fft.irfft2(x + 1j * y)",
    "fft.irfftn": "np.fft.irfftn(x + 1j * y)",
    "linalg.cholesky": "np.linalg.cholesky((S + S.T) / 2)",
    "linalg.cross": "np.linalg.cross(A, A**2)",
    "linalg.eigvals": "np.linalg.eigvals(S @ np.diag(w))",
    "linalg.eigh": "np.linalg.eigh((S + S.T) / 2)[0]",
    "linalg.eigvalsh": "np.linalg.eigvalsh((S + S.T) / 2)",
    "linalg.lstsq": "np.linalg.lstsq(x.T, v[:4])[0]",
    "linalg.matmul": "np.linalg.matmul(A, x)",
    "linalg.matrix_power": "np.linalg.matrix_power(A, 3)",
    "linalg.multi_dot": "np.linalg.multi_dot([A, x, y.T])",
    "linalg.norm": "np.linalg.norm(x, 'nuc')",
    "linalg.outer": "np.linalg.outer(w, v)",
    "linalg.qr": "np.linalg.qr(A)",
    "linalg.slogdet": "np.linalg.slogdet(A)[1]",
    "linalg.solve": "np.linalg.solve(A, x)",
    "linalg.svd": "np.linalg.svd(S, compute_uv=False)",
    "linalg.tensordot": "np.linalg.tensordot(x, y, axes=2)",
    "linalg.tensorinv": "np.linalg.tensorinv(A, 1)",
    "linalg.tensorsolve": "np.linalg.tensorsolve(A, w)",
    "linalg.vecdot": "np.linalg.vecdot(x, y)",
}  # fmt: skip
for _square in ["cond", "det", "inv", "pinv", "svdvals", "trace", "matrix_norm", "diagonal", "matrix_transpose"]:
    CALLS[f"linalg.{_square}"] = f"np.linalg.{_square}(A)"
for _vector in [
    "diff",
    "ediff1d",
    "cumulative_sum",
    "cumulative_prod",
    "polyder",
    "trim_zeros",
    "unique",
    "unique_values",
    "unstack",
]:
    CALLS[_vector] = f"np.{_vector}(v)"

# PyTorch's form, where it is not `torch.name` of the same arguments.
TORCH = {
    "absolute": "torch.abs(x)", "amax": "torch.amax(x)", "average": "(w[:, None] * x).sum(0) / w.sum()",
    "clip": "torch.clip(x, 0.3, 0.7)", "column_stack": "torch.column_stack([w, A])",
    "concatenate": "torch.cat([x, y], 1)", "corrcoef": "torch.corrcoef(x)", "cov": "torch.cov(x)",
    "cumprod": "torch.cumprod(torch.ravel(x), 0)", "cumsum": "torch.cumsum(torch.ravel(x), 0)",
    "diff": "torch.diff(v)", "einsum": "torch.einsum('ij,kj,i->k', x, y, w)", "matmul": "A @ x",
    "median": "torch.quantile(x, 0.5)", "nanmedian": "torch.nanquantile(x, 0.5)",
    "outer": "torch.outer(w, v)", "percentile": "torch.quantile(x, 0.3)", "quantile": "torch.quantile(x, 0.4, dim=1)",
    "reshape": "torch.reshape(x, (2, 6))", "sinc": "torch.sinc(x)", "sort": "torch.sort(x)[0]",
    "std": "torch.std(x, correction=0)", "var": "torch.var(x, correction=0)", "sum": "torch.sum(x)",
    "prod": "torch.prod(x)", "mean": "torch.mean(x)", "max": "torch.amax(x)", "min": "torch.amin(x)",
    "power": "torch.pow(x, y)", "remainder": "torch.remainder(x, y)", "rot90": "torch.rot90(x)",
    "tanh": "torch.tanh(x)", "tensordot": "torch.tensordot(x, y, 2)", "trapezoid": "torch.trapezoid(v, dx=0.3)",
    "where": "torch.where(torch.tensor([True, False, True, False]), x, y)", "kron": "torch.kron(A, w)",
    "fft.fft": "torch.fft.fft(x)", "fft.rfft": "torch.fft.rfft(x)",
    "fft.irfft": "torch.fft.irfft(x[0] + 1j * x[1], 5)", "fft.fftn": "torch.fft.fftn(x, (2, 5))",
    "fft.hfft": "torch.fft.hfft(x[0] + 1j * x[1])", "fft.ihfft": "torch.fft.ihfft(x)",
    "linalg.cholesky": "torch.linalg.cholesky((S + S.T) / 2)", "linalg.det": "torch.linalg.det(A)",
    "linalg.eigh": "torch.linalg.eigh((S + S.T) / 2)[0]", "linalg.inv": "torch.linalg.inv(A)",
    "linalg.pinv": "torch.linalg.pinv(A)", "linalg.qr": "torch.linalg.qr(A)",
    "linalg.slogdet": "torch.linalg.slogdet(A)[1]", "linalg.solve": "torch.linalg.solve(A, x)",
    "linalg.svdvals": "torch.linalg.svdvals(A)", "linalg.norm": "torch.linalg.norm(x, 'nuc')",
    "linalg.eigvals": "torch.linalg.eigvals(S @ torch.diag(w))", "linalg.cond": "torch.linalg.cond(A)",
    "linalg.multi_dot": "torch.linalg.multi_dot([A, x, y.T])", "linalg.matrix_power": "torch.linalg.matrix_power(A, 3)",
}  # fmt: skip
for _name in [
    "add",
    "subtract",
    "multiply",
    "divide",
    "arctan2",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "copysign",
    "fmod",
]:
    TORCH[_name] = f"torch.{_name}(x, y)"
for _name in [
    "arccos",
    "arcsin",
    "arctan",
    "arcsinh",
    "arctanh",
    "cos",
    "cosh",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log10",
    "log1p",
    "log2",
    "negative",
    "reciprocal",
    "rad2deg",
    "deg2rad",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "i0",
    "fliplr",
    "flipud",
    "tril",
    "triu",
    "ravel",
    "nansum",
    "nanmean",
]:
    TORCH[_name] = f"torch.{_name}(x)"
TORCH["arccosh"] = "torch.arccosh(x + 1)"

# Differentiable here, in jax.numpy too, and left out of the comparison: the reason.
NOT_COMPARED = {
    **dict.fromkeys(["copyto", "fill_diagonal", "place", "put", "put_along_axis", "putmask"], "JAX does not write"),
    "apply_along_axis": "calls a function of the user",
    "apply_over_axes": "calls a function of the user",
    "around": "a step", "ceil": "a step", "fix": "a step", "floor": "a step", "rint": "a step", "round": "a step",
    "sign": "a step", "trunc": "a step", "nextafter": "a step", "spacing": "a step",
    "empty_like": "no operand enters", "ones_like": "no operand enters", "zeros_like": "no operand enters",
    "iscomplexobj": "no derivative", "isrealobj": "no derivative",
    "histogram2d": "of points and weights", "histogramdd": "of points and weights",
    "polydiv": "JAX 0.10 fails on it", "roots": "JAX has no second derivative", "linalg.eig": "JAX has no second "
    "derivative", "linalg.eigvals": "JAX has no second derivative",
    "histogram": "JAX has no derivative in weights given so", "histogram_bin_edges": "depends on two elements only",
    "intersect1d": "a set of two arrays", "setdiff1d": "a set of two arrays", "setxor1d": "a set of two arrays",
    "union1d": "a set of two arrays", "unique_all": "a tuple with indices", "unique_counts": "a tuple with indices",
    "unique_inverse": "a tuple with indices", "ix_": "of indices",
    "unique": "JAX 0.10 gives zeros", "unique_values": "JAX 0.10 gives zeros",
    "broadcast_arrays": "a tuple of its arguments",
}  # fmt: skip


def names_compared() -> list[str]:
    """Every NumPy function that is differentiated."""
    found = []
    for prefix, module in (("", np), ("linalg.", np.linalg), ("fft.", np.fft)):
        for name in dir(module):
            thing = getattr(module, name)
            rule = functions.get(thing) if isinstance(thing, np.ufunc | type(np.sum)) else None
            plain = isinstance(rule, Rule) and rule.kind == "nondifferentiable"
            if rule is not None and not plain and not name.startswith("_") and prefix + name not in NOT_COMPARED:
                same = getattr(thing, "__name__", name)  # aliases: one name is enough
                if same == name or not hasattr(module, same):
                    found.append(prefix + name)
    return found


def call(name: str) -> str:
    return CALLS.get(name, f"np.{name}(x)")


def operands(text: str) -> list[str]:
    return [letter for letter in POINTS if re.search(rf"(?<![\w.'\"]){letter}(?![\w'\"])", text)]


def evaluated(text: str, letters: list[str], **modules: Any) -> Any:
    """The function of the operands that `text` is."""
    code = compile(f"lambda {', '.join(letters)}: {text}", text, "eval")
    return eval(code, modules)


def ours(name: str) -> tuple[Any, ...]:
    """Cotangents, value, gradients, tangents, and the second derivative along the same directions."""
    letters = operands(call(name))
    f = evaluated(call(name), letters, np=np)
    args = [POINTS[letter] for letter in letters]
    directions = [spaced(arg.shape, ("direction", letter)) for letter, arg in zip(letters, args, strict=True)]
    value, pullback = cr.vjp(lambda *xs: parts(f(*xs)), *args)
    cts = [spaced(np.shape(y), ("ct", i), dtype=y.dtype)[()] for i, y in enumerate(value)]
    _, tangents = cr.jvp(lambda *xs: parts(f(*xs)), tuple(args), tuple(directions))

    def slope(*xs: Any) -> Any:
        return list(cr.vjp(lambda *zs: parts(f(*zs)), *xs)[1](cts))

    second = cr.jvp(slope, tuple(args), tuple(directions))[1]
    return letters, args, directions, cts, (value, pullback(cts), tangents, second)


def check_close(what: str, found: Any, desired: Any) -> None:
    assert len(found) == len(desired), what
    for one, other in zip(found, desired, strict=True):
        other = np.asarray(other)
        assert np.shape(one) == other.shape, f"{what} of shape {np.shape(one)}, not {other.shape}"
        scale = max(1.0, float(np.max(np.abs(other), initial=0)))
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10 * scale, err_msg=what)


@pytest.mark.parametrize("name", TORCH)
def test_against_pytorch(name: str) -> None:
    letters, args, directions, cts, found = ours(name)
    f = evaluated(TORCH[name], letters, torch=torch)
    xs = [torch.tensor(arg, requires_grad=True) for arg in args]
    ys = f(*xs)
    ys = list(ys) if isinstance(ys, tuple | list) else [ys]
    loss = sum((torch.sum(torch.real(torch.conj(torch.tensor(ct)) * y)) for ct, y in zip(cts, ys, strict=True)))
    gradients = torch.autograd.grad(loss, xs, create_graph=True)
    along = sum(torch.sum(g * torch.tensor(d)) for g, d in zip(gradients, directions, strict=True))
    second = torch.autograd.grad(along, xs, allow_unused=True) if along.requires_grad else [None] * len(xs)
    seconds = [
        np.zeros(x.shape) if s is None else s.detach().numpy(force=True) for s, x in zip(second, xs, strict=True)
    ]
    value, gradient, tangents, second_derivative = found
    check_close("value", value, [y.detach().resolve_conj().numpy() for y in ys])
    check_close("gradient", gradient, [g.detach().numpy() for g in gradients])
    check_close("second derivative", second_derivative, seconds)
    np.testing.assert_allclose(dot(cts, tangents), float(along.detach()), rtol=1e-9, err_msg="tangent")


if JAX:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def in_jax(name: str) -> bool:
        module: Any = jnp
        for part in name.split("."):
            module = getattr(module, part, None)
        return module is not None

    @pytest.mark.parametrize("name", [name for name in names_compared() if in_jax(name)])
    @pytest.mark.filterwarnings("ignore")
    def test_against_jax(name: str) -> None:
        letters, args, directions, cts, found = ours(name)
        f = evaluated(call(name), letters, np=jnp)

        def loss(*xs: Any) -> Any:
            return sum(jnp.sum(jnp.real(jnp.conj(ct) * y)) for ct, y in zip(cts, parts(f(*xs)), strict=True))

        slope = jax.grad(loss, tuple(range(len(args))))

        def everything(xs: Any, directions: Any) -> Any:
            value, tangents = jax.jvp(lambda *xs: parts(f(*xs)), xs, directions)
            return value, *jax.jvp(slope, xs, directions), tangents

        try:
            desired = jax.jit(everything)(tuple(args), tuple(directions))
        except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, ValueError):  # the shape depends on values
            desired = everything(tuple(args), tuple(directions))
        value, gradient, tangents, second = found
        for what, one, other in zip(
            ("value", "gradient", "second derivative", "tangent"),
            (value, gradient, second, tangents),
            desired,
            strict=True,
        ):
            check_close(what, one, other)
