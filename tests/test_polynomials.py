"""Polynomials: fits, roots, and NumPy's own classes and functions on Tensors, against differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.polynomial as poly
import pytest
from oracle import check, close, difference, spaced

import chainrule as cr
from chainrule import errors

X = np.linspace(-1.0, 2.0, 7)
FITS: list[tuple[Any, ...]] = [
    ("in y", lambda y: np.polyfit(X, y, 2), (7,)),
    ("in x and y", lambda x, y: np.polyfit(X + 0.1 * x, y, 2), (7,), (7,)),
    ("weights", lambda x, y, w: np.polyfit(X + 0.1 * x, y, 2, w=w + 2), (7,), (7,), (7,)),
    ("several", lambda x, y, w: np.polyfit(X + 0.1 * x, y, 1, w=w + 2), (7,), (7, 2), (7,)),
    ("cov", lambda x, y: np.polyfit(X + 0.1 * x, y, 2, cov=True), (7,), (7,)),
    ("cov several", lambda x, y: np.polyfit(X + 0.1 * x, y, 1, cov=True), (7,), (7, 2)),
    ("cov unscaled", lambda x, y, w: np.polyfit(X + 0.1 * x, y, 1, w=w + 2, cov="unscaled")[1], (7,), (7,), (7,)),
    ("full", lambda x, y: np.polyfit(X + 0.1 * x, y, 2, full=True)[:2], (7,), (7,)),
    ("constant", lambda y: np.polyfit(X, y, 0), (7,)),
]  # fmt: skip


def arguments(case: tuple[Any, ...], dtype: Any = float) -> list[Any]:
    return [spaced(shape, (case[0], i), dtype=dtype)[()] for i, shape in enumerate(case[2:])]


@pytest.mark.parametrize("case", FITS, ids=[case[0] for case in FITS])
def test_polyfit(case: Any) -> None:
    check(case[1], arguments(case), seed=case[0])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_polyfit_full_and_dtypes(dtype: str) -> None:
    x, y = X.astype(dtype), np.cos(X).astype(dtype)
    for mine, numpys in zip(
        np.polyfit(cr.Tensor(x), cr.Tensor(y), 2, full=True), np.polyfit(x, y, 2, full=True), strict=True
    ):
        np.testing.assert_array_equal(getattr(mine, "data", mine), numpys)
    assert cr.grad(lambda y: np.polyfit(x, y, 1)[0])(y).dtype == dtype


def test_polyfit_warns_of_deficient_rank() -> None:
    with pytest.warns(np.exceptions.RankWarning, match="poorly conditioned"):
        np.polyfit(np.ones(4), cr.Tensor(np.ones(4)), 2)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t: np.polyfit(t, t, -1), ValueError),
        (lambda t: np.polyfit(t[0], t, 1), TypeError),
        (lambda t: np.polyfit(t, t[:2], 1), TypeError),
        (lambda t: np.polyfit(t, t, 1, w=t[:2]), TypeError),
        (lambda t: np.polyfit(t, t, 2, cov=True), ValueError),
        (lambda t: np.roots(np.stack([t, t])), ValueError),
    ],
)
def test_refusals(call: Any, error: Any) -> None:
    t = np.array([1.0, 2.0, 4.0])
    for arg in (t, cr.Tensor(t)):
        with pytest.raises(error):
            call(arg)


# -- roots -------------------------------------------------------------------------------------------------------------
ROOTS = {
    "real": [1.0, -6.0, 11.0, -6.0],
    "pairs": [2.0, 1.0, 3.0, -1.0, 5.0],
    "complex": [1.0 + 1j, 2.0 - 1j, 0.5j, 3.0],
    "linear": [2.0, -3.0],
    "none": [2.0],
}


@pytest.mark.parametrize("name", ROOTS)
def test_roots(name: str) -> None:
    check(lambda p: np.roots(p), [np.array(ROOTS[name])], tolerance=1e-6)


@pytest.mark.parametrize("dtype", ["f4", "F"])
def test_roots_in_single_precision(dtype: str) -> None:
    p = np.array(ROOTS["real"], dtype)
    value, pullback = cr.vjp(np.roots, p)
    assert value.dtype == np.roots(p).dtype
    assert pullback(np.ones_like(value))[0].dtype == dtype


def test_root_at_zero_and_leading_zero() -> None:
    """NumPy cuts zeros off both ends; the roots that there are depend on the zeros all the same."""
    p = np.array([0.0, 1.0, -3.0, 2.0, 0.0])  # x (x - 1) (x - 2), and a zero in front
    assert np.roots(p).tolist() == [2, 1, 0]
    pullback = cr.vjp(np.roots, p)[1]
    for i, r in enumerate([2.0, 1.0, 0.0]):
        slope = 3 * r**2 - 6 * r + 2
        np.testing.assert_allclose(pullback(np.eye(3)[i])[0], -(r ** np.array([4.0, 3, 2, 1, 0])) / slope)


def test_double_root_is_infinitely_steep() -> None:
    """And a root that the result does not depend on contributes nothing (rule R4)."""
    p = np.array([1.0, -2.0, 0.0, 0.0])  # x**2 (x - 2)
    gradient = cr.grad(lambda p: np.roots(p)[0])(p)
    np.testing.assert_allclose(gradient, -np.array([8.0, 4, 2, 1]) / 4)
    assert cr.grad(lambda p: np.roots(p)[1])(p)[3] == -np.inf
    np.testing.assert_array_equal(cr.jvp(lambda p: np.roots(p)[1:], (p,), (np.eye(4)[0],))[1], [0, 0])


# -- np.polynomial -----------------------------------------------------------------------------------------------------
BASES = {
    "poly": poly.polynomial, "cheb": poly.chebyshev, "leg": poly.legendre, "herm": poly.hermite,
    "herme": poly.hermite_e, "lag": poly.laguerre,
}  # fmt: skip
FUNCTIONS: dict[str, Any] = {
    "val": lambda f, a, b: f(a, b),
    "val of numbers": lambda f, a, b: f(np.array([0.5, 0.25]), b),
    "val2d": lambda f, a, b: f(a, b, np.outer(a, b)),
    "grid2d": lambda f, a, b: f(np.asanyarray(a), np.asanyarray(b), np.outer(a, b)),
    "add": lambda f, a, b: f(a, b[:2]),
    "sub": lambda f, a, b: f(a[:2], b),
    "mul": lambda f, a, b: f(a, b),
    "mulx": lambda f, a, b: f(a),
    "div": lambda f, a, b: f(np.concatenate([a, b]), b[:2] + 3),
    "pow": lambda f, a, b: f(a, 3),
    "der": lambda f, a, b: f(a, 2),
    "int": lambda f, a, b: f(a, 2, k=[b[0], 1.0]),
    "fromroots": lambda f, a, b: f(a),
    "vander": lambda f, a, b: f(a, 3),
    "vander2d": lambda f, a, b: f(a, b, [1, 2]),
    "companion": lambda f, a, b: f(a + 3),
}  # fmt: skip
CLASSES = [getattr(poly, name) for name in poly.__all__ if name[0].isupper()]


def tensors(result: Any) -> Any:
    """A result of NumPy's polynomials, which may be an array of 0-d Tensors, as Tensors."""
    if isinstance(result, tuple | list):
        return [tensors(part) for part in result]
    if isinstance(result, poly._polybase.ABCPolyBase):
        result = result.coef
    return cr.Tensor(result) if isinstance(result, np.ndarray) and result.dtype == object else result


def check_derivative(f: Any, *args: Any) -> None:
    """First derivatives of both modes, and the second, against differences; the value to rounding."""
    value, tangent = cr.jvp(lambda *xs: tensors(f(*xs)), args, args)
    flat = [np.ravel(x) for x in (tangent if isinstance(tangent, list) else [tangent])]

    def along(t: Any) -> Any:
        moved = tensors(f(*(x + t * x for x in args)))
        return np.concatenate([np.ravel(part) for part in (moved if isinstance(moved, list) else [moved])])

    values = value if isinstance(value, list) else [value]
    np.testing.assert_allclose(np.concatenate([np.ravel(v) for v in values]), along(0.0), rtol=1e-13, atol=1e-14)
    close(np.concatenate(flat), difference(along, [np.array(0.0)], 0, 1.0), 1e-7)

    def size(*xs: Any) -> Any:
        result = tensors(f(*xs))
        return sum(np.sum(part * part) for part in (result if isinstance(result, list) else [result]))

    gradients = cr.grad(size, argnums=tuple(range(len(args))))
    slope = cr.jvp(size, args, args)[1]
    np.testing.assert_allclose(sum(np.sum(g * x) for g, x in zip(gradients(*args), args, strict=True)), slope)
    second = cr.jvp(lambda *xs: cr.jvp(size, xs, args)[1], args, args)[1]
    twice = cr.jvp(lambda *xs: sum(np.sum(g * x) for g, x in zip(gradients(*xs), args, strict=True)), args, args)[1]
    np.testing.assert_allclose(second, twice, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        second,
        difference(lambda t: cr.jvp(size, tuple(x + t * x for x in args), args)[1], [np.array(0.0)], 0, 1.0),
        rtol=1e-5,
        atol=1e-6,
    )


A, B = np.array([0.7, -0.4, 0.9]), np.array([0.3, 0.8, -0.6])


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("basis", BASES)
def test_functions_of_a_basis(basis: str, function: str) -> None:
    f = getattr(BASES[basis], basis + function.partition(" ")[0])
    check_derivative(lambda a, b: FUNCTIONS[function](f, a, b), A, B)


@pytest.mark.parametrize("basis", [basis for basis in BASES if basis != "poly"])
def test_conversions(basis: str) -> None:
    check_derivative(getattr(BASES[basis], f"{basis}2poly"), A)
    check_derivative(getattr(BASES[basis], f"poly2{basis}"), B)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_classes(cls: Any) -> None:
    """Evaluation, arithmetic, calculus and conversion, in the argument and in the coefficients."""
    check_derivative(lambda x: cls([1.0, 2.0, 3.0, 4.0], domain=[-2.0, 3.0])(x), A)
    check_derivative(lambda a, x: cls(a)(x), A, B)
    check_derivative(lambda a, b: (cls(a) + cls(b[:2])) * cls(b) - 2.0, A, B)
    check_derivative(lambda a, b: divmod(cls(np.concatenate([a, b])), cls(b[:2] + 3)), A, B)
    check_derivative(lambda a, b: (cls(a) ** 2).deriv().integ(k=b[0])(b), A, B)
    check_derivative(lambda a: cls(a).convert(kind=poly.Chebyshev), A)
    check_derivative(lambda a, b: cls.fromroots(a)(b), A, B)


@pytest.mark.parametrize("basis", BASES)
def test_coefficients_with_axes(basis: str) -> None:
    """As is documented: NumPy gives them axes for an argument that is an ndarray, as np.asanyarray makes it."""
    val, grid = getattr(BASES[basis], f"{basis}val"), getattr(BASES[basis], f"{basis}grid3d")
    check_derivative(lambda a, b: val(np.asanyarray(a), np.outer(b, a)), A, B)
    points = lambda *args: [np.asanyarray(arg) for arg in args]  # noqa: E731
    check_derivative(lambda a, b: grid(*points(a, b, b), np.ones((2, 3, 2))), A, B)


@pytest.mark.parametrize("basis", BASES)
def test_coefficients_without_axes_raise(basis: str) -> None:
    """Given a Tensor itself NumPy leaves the axes out; shapes that then fit would give another result than NumPy's."""
    val, grid = getattr(BASES[basis], f"{basis}val"), getattr(BASES[basis], f"{basis}grid2d")
    for length in (1, 2, 3, 4):
        c = np.ones((length, 3))
        for coefficients in (c, cr.Tensor(c), np.asfortranarray(c), c[::-1]):
            with pytest.raises(errors.UnsupportedFunctionError, match=rf"{basis}val .* shape \({length}, 3\)"):
                val(cr.Tensor(A), coefficients)
    with pytest.raises(errors.UnsupportedFunctionError, match=r"np\.asanyarray"):
        cr.grad(lambda a: np.sum(val(a, c)))(A)
    with pytest.raises(errors.UnsupportedFunctionError, match=r"np\.asanyarray"):
        cr.vmap(lambda a: val(a, c))(np.stack([A, B]))
    if basis != "poly":  # which of NumPy 2.4 on asks whether a Tensor knows better
        with pytest.raises(errors.UnsupportedFunctionError, match=r"np\.asanyarray"):
            grid(cr.Tensor(A), A, c)
    check_derivative(lambda a, b: val(a, np.outer(b, a), tensor=False), A, B)  # broadcast, as was asked for
    check_derivative(lambda a, b: val(a[0], np.outer(b, a)), A, B)


def test_roots_without_axes_raise() -> None:
    r = np.ones((2, 3))
    for roots in (r, cr.Tensor(r)):
        with pytest.raises(errors.UnsupportedFunctionError, match=r"polyvalfromroots .* shape \(2, 3\)"):
            poly.polynomial.polyvalfromroots(cr.Tensor(A), roots)


def test_roots_for_many_arguments() -> None:
    check_derivative(lambda a, b: poly.polynomial.polyvalfromroots(np.asanyarray(a), b), A, B)
    check_derivative(lambda a, b: poly.polynomial.polyvalfromroots(a[0], b), A, B)


def test_domains() -> None:
    check_derivative(lambda a, b: poly.polyutils.mapdomain(a, b[:2], [0.5, 3.0]), A, B)
    check_derivative(lambda a, b: poly.polyutils.mapparms(a[:2], b[:2]), A, B)
    check_derivative(lambda a: poly.polyutils.getdomain(a) * 2, A)


@pytest.mark.parametrize("call", [lambda p: p.roots(), lambda p: type(p).fit(X[:3], p.coef, 1)])
def test_what_lapack_computes_is_refused(call: Any) -> None:
    """NumPy passes LAPACK an array of Tensors: not differentiated, but not wrong silently either."""
    for cls in CLASSES:
        with pytest.raises(TypeError):
            call(cls(cr.Tensor([1.0, 2.0, 3.0])))


def test_poly1d() -> None:
    check(lambda p, x: np.poly1d(p)(x), [A, B])
    check(lambda p, x: (np.poly1d(p) * np.poly1d(x) + 2.0).deriv().integ()(x), [A, B])
    check(lambda p: np.poly1d(p).r, [np.array([1.0, 2.0, -3.0])], tolerance=1e-6)
