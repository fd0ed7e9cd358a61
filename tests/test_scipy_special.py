"""SciPy's special functions: every row against differences, and what the namespace holds."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special as scipy_special
import scipy_reference
from oracle import check, check_dtypes, seeded, spaced

import chainrule as cr
from chainrule import errors
from chainrule.rules import Rule, functions, reasons, rules
from chainrule.scipy import special, special_table

ROWS = [rule for rule in special_table.ROWS if any(rule.partials)]
# In (some of) their operands no derivative is known, so that what calls them has no second one.
LAST = [rule.name for rule in special_table.ROWS if not any(rule.partials)]


def order_of(rule: Rule) -> int:
    """Steps have no second derivative, and what calls a row without a derivative has none."""
    flat = set(rule.partials) <= {"0", None}
    return 1 if flat or any(f"{name}(" in (partial or "") for name in LAST for partial in rule.partials) else 2


# SciPy computes these integrals, and what it searches for, to some seven digits.
NOISY = {"itairy": 1e-5, "ncfdtrinc": 1e-3, "nctdtrinc": 1e-5, "stdtridf": 1e-5}


def tolerance_of(rule: Rule) -> float:
    return NOISY.get(rule.name.split("_")[0], 1e-7)


def rows(several: list[Rule]) -> Any:
    return pytest.mark.parametrize("rule", several, ids=[rule.name for rule in several])


def sample(rule: Rule, shape: Any, dtype: str = "f8") -> list[Any]:
    """Arguments from the row's own domain; whole numbers where it is one point, as for orders of polynomials."""
    rng = seeded(rule.name, shape)
    args: list[Any] = []
    for low, high in rule.domain:
        margin = (high - low) * 0.02
        if low == high:
            whole = np.int64 if rule.name.startswith("bdtr") else int  # a weak int would choose SciPy's deprecated loop
            args.append(whole(low))
        else:
            args.append(rng.uniform(low + margin, high - margin, shape).astype(dtype)[()])
    return args


def in_known(rule: Rule, args: list[Any]) -> tuple[Any, list[Any]]:
    """The function of those operands in which the derivative is known, the others held fixed."""
    positions = [i for i, partial in enumerate(rule.partials) if partial is not None]

    if rule.name == "beta_density":  # two of its operands are one: x and 1 - x
        return (lambda a, b, x: rule(a, b, x, 1 - x)), args[:3]

    def f(*xs: Any) -> Any:
        given = dict(zip(positions, xs, strict=True))
        return rule(*(given.get(i, arg) for i, arg in enumerate(args)))

    return f, [args[i] for i in positions]


@rows(ROWS)
def test_value_and_derivatives(rule: Rule) -> None:
    f, args = in_known(rule, sample(rule, (4,)))
    noisy = tolerance_of(rule) > 1e-7
    check(f, args, seed=rule.name, order=1 if noisy else order_of(rule), tolerance=tolerance_of(rule))


# -- the namespace ---------------------------------------------------------------------------------------------------
def test_every_public_name_is_decided() -> None:
    """Differentiated, or refused by name: computed from SciPy's namespace."""
    undecided = []
    for name in scipy_special.__all__:
        thing = getattr(scipy_special, name)
        if isinstance(thing, np.ufunc):
            assert getattr(special, name) is thing
            decided = thing in functions or thing in reasons
        else:
            decided = getattr(special, name) is not thing or thing in functions or name in special.NO_FUNCTIONS
        if not decided:
            undecided.append(name)
    assert not undecided
    assert len(scipy_special.__all__) > 300


def test_what_is_declared_is_not_implemented() -> None:
    declared = " ".join(special.DECLARED.values()).split()
    assert len(declared) == len(set(declared))
    implemented = {rule.value for rule in ROWS}
    for name in declared:
        thing = getattr(scipy_special, name, None)
        assert thing not in implemented
        if isinstance(thing, np.ufunc):
            with pytest.raises(errors.UnsupportedFunctionError, match=rf"scipy.special.{name} was called"):
                thing(*[cr.Tensor(0.5)] * thing.nin)
        elif thing is not None:
            with pytest.raises(errors.UnsupportedFunctionError, match=rf"scipy.special.{name} was called"):
                getattr(special, name)(cr.Tensor(0.5))


def test_on_arrays_the_functions_are_scipys() -> None:
    x = np.array([0.5, 1.5])
    assert type(special.logsumexp(x)) is np.float64
    np.testing.assert_array_equal(special.polygamma(1, x), scipy_special.polygamma(1, x))
    np.testing.assert_array_equal(special.roots_legendre(3)[0], scipy_special.roots_legendre(3)[0])


@pytest.mark.parametrize("name", ["jv", "kn", "ncfdtr", "nctdtr", "polygamma", "eval_legendre", "hyp2f1"])
def test_a_derivative_that_is_not_known_raises_by_name(name: str) -> None:
    rule = rules[name]
    args = [cr.Tensor(float(np.ravel(arg)[0])) for arg in sample(rule, (1,))]
    for backward in (lambda y: y.backward(), None):
        with pytest.raises(errors.NoDerivativeError, match=rf"{name} was to be differentiated in its first operand"):
            if backward:
                backward(rule(*args))
            else:
                cr.jvp(rule, tuple(a.data for a in args), (1.0,) * len(args))
    with cr.no_grad():
        assert rule(*args).data == rule.value(*(a.data for a in args))


# -- dtypes, shapes, complex operands ------------------------------------------------------------------------------
# In float32, SciPy gives NaN for the functions of Mathieu and the spheroidal ones, or does not come to an end.
@rows([rule for rule in ROWS if not rule.name.startswith(("mathieu_", "pro_", "obl_"))])
def test_float32(rule: Rule) -> None:
    """SciPy's value and dtype; derivatives in the operand's dtype, and those of float64 to what float32 can say."""
    f, args = in_known(rule, sample(rule, (3,), "f4"))
    check_dtypes(f, args)
    value, pullback = cr.vjp(f, *args)
    wide_f, wide = in_known(rule, [np.float64(x) if isinstance(x, np.ndarray) else x for x in sample(rule, (3,), "f4")])
    desired = cr.vjp(wide_f, *wide)[1](np.ones(3, np.result_type(value, 1.0)))
    for gradient, better in zip(pullback(np.ones_like(value)), desired, strict=True):
        np.testing.assert_allclose(gradient, better, rtol=2e-4, atol=2e-5)


@rows(ROWS)
def test_broadcasting(rule: Rule) -> None:
    count = sum(partial is not None for partial in rule.partials)
    for shapes in {1: [[()], [(0,)]], 2: [[(3, 1), (2,)], [(), (2,)], [(0,), (1,)]], 3: [[(2, 1), (), (3,)]]}.get(
        count, []
    ):
        given = iter(shapes)
        f, args = in_known(
            rule,
            [sample(rule, next(given) if partial is not None else ())[i] for i, partial in enumerate(rule.partials)],
        )
        if rule.name != "beta_density":
            check(f, args, seed=rule.name, order=1, tolerance=tolerance_of(rule))


def analytic(rule: Rule) -> bool:
    """Whether SciPy's ufunc takes complex numbers, and the rule knows the derivative there."""
    assert rule.complex_rule is not None
    types = getattr(rule.value, "types", ["D->D"] if rule.name in ("lambertw", "spherical_jn", "spherical_in") else [])
    return any(t.split("->")[0].endswith("D") for t in types) and any(rule.complex_rule.partials)


@rows([rule for rule in ROWS if analytic(rule)])
def test_complex(rule: Rule) -> None:
    """pull is the adjoint of the map that differences give, in the operands that may be complex."""
    z = seeded(rule.name, "imaginary").uniform(0.1, 0.5, 3) * 1j
    signature = next(t for t in getattr(rule.value, "types", ["D->D"]) if t.split("->")[0].endswith("D")).split("->")[0]
    args = sample(rule, (3,))
    args = [
        x + z if s == "D" and isinstance(x, np.ndarray) else x
        for x, s in zip(args, signature.rjust(len(args), "d"), strict=True)
    ]
    assert rule.complex_rule is not None
    f, known = in_known(replace(rule, partials=rule.complex_rule.partials), args)
    check(lambda *xs: f(*xs), known, seed=rule.name, order=1)


# -- accuracy --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", scipy_reference.REFERENCES)
def test_partials_at_50_digits(name: str) -> None:
    """Over the whole domain within 16 ulp (times the derivative's own condition) of mpmath, but for stated reasons."""
    limit, _ = scipy_reference.REASONS.get(name, (16.0, ""))
    for letter, error in scipy_reference.errors(name, 4).items():
        assert error <= limit, f"the derivative in {letter} is off by {error:.1f} ulp"


HIGHER: dict[str, tuple[Any, Any, list[tuple[float, ...]]]] = {
    "gammainc": (
        lambda a, x: special.gammainc(a, x),
        lambda a, x: mpmath.gammainc(a, 0, x, regularized=True),
        [(0.04, 0.01), (0.3, 0.7), (2.5, 0.1), (2.5, 4.0), (40.0, 38.0), (250.0, 270.0)],
    ),
    "betainc": (
        lambda a, b, x: special.betainc(a, b, x),
        lambda a, b, x: mpmath.betainc(a, b, 0, x, regularized=True),
        [(0.2, 0.6, 0.01), (0.7, 3.0, 0.9), (2.5, 1.5, 0.6), (60.0, 40.0, 0.55), (3.0, 90.0, 0.02)],
    ),
    "stdtr": (
        lambda v, t: special.stdtr(v, t),
        lambda v, t: mpmath.betainc(v / 2, 0.5, 0, v / (v + t * t), regularized=True) / 2,
        [(0.7, -5.0), (2.0, -0.01), (3.5, -1.2), (30.0, -2.0)],
    ),
    "fdtr": (
        lambda m, n, x: special.fdtr(m, n, x),
        lambda m, n, x: mpmath.betainc(m / 2, n / 2, 0, m * x / (m * x + n), regularized=True),
        [(3.0, 5.0, 0.4), (12.0, 7.0, 2.5)],
    ),
}


@pytest.mark.parametrize("name", HIGHER)
def test_derivatives_in_parameters_at_50_digits(name: str) -> None:
    """Of order 2 and 3, pure and mixed, in all operands."""
    f, reference, points = HIGHER[name]
    for point in points:
        for order in product(range(4), repeat=len(point)):
            if sum(order) not in (2, 3):
                continue
            g = f
            for i, count in enumerate(order):
                for _ in range(count):
                    g = cr.grad(g, argnums=i)
            with mpmath.workdps(50):
                desired = float(mpmath.diff(reference, tuple(map(mpmath.mpf, point)), order))
            np.testing.assert_allclose(g(*point), desired, rtol=1e-9, err_msg=f"{point} {order}")


# Per quantile function: its parameters, and per parameter the slope at probability 0 and 1 (of the tail: at 1 and 0).
ENDS: list[tuple[str, tuple[float, ...], list[tuple[float, float] | None]]] = [
    *(("gammaincinv", (a,), [(0.0, np.inf)]) for a in (0.5, 1.0, 2.5, 20.0)),
    *(("gammainccinv", (a,), [(0.0, np.inf)]) for a in (0.5, 1.0, 2.5, 20.0)),
    *(("betaincinv", shapes, [(0.0, 0.0)] * 2) for shapes in ((0.5, 0.5), (1.0, 1.0), (2.0, 3.0), (30.0, 40.0))),
    ("betainccinv", (2.0, 3.0), [(0.0, 0.0)] * 2),
    ("chdtri", (3.0,), [(0.0, np.inf)]),
    ("gdtrix", (2.0, 2.5), [(0.0, -np.inf), (0.0, np.inf)]),
    ("fdtri", (5.0, 4.0), [(0.0, -np.inf)] * 2),
    ("fdtri", (5.0, 1.0), [(0.0, np.inf), (0.0, -np.inf)]),
    ("fdtri", (3.0, 2.0), [(0.0, 1 / 9), (0.0, -np.inf)]),
    ("stdtrit", (3.0,), [(np.inf, -np.inf)]),
    ("ncfdtri", (3.0, 4.0, 1.0), [None, None, (0.0, np.inf)]),
    ("nctdtrit", (3.0, 1.0), [None, (np.inf, np.inf)]),
]
TAILS = ("gammainccinv", "betainccinv", "chdtri")


@pytest.mark.parametrize(("name", "shapes", "slopes"), ENDS)
def test_slopes_of_quantiles_at_the_ends(name: str, shapes: Any, slopes: Any) -> None:
    """They are the limits, which are compared with the slopes near the ends."""
    f = getattr(special, name)
    for i, pair in enumerate(slopes):
        for end, desired in enumerate(pair or ()):
            p, near, nearer = (end, 1e-4, 1e-7) if not end else (1, 1 - 1e-4, 1 - 1e-7)
            p, near, nearer = (1 - x for x in (p, near, nearer)) if name in TAILS else (p, near, nearer)
            at, there, closer = (
                float(cr.jvp(lambda a: f(*shapes[:i], a, *shapes[i + 1 :], q), (shapes[i],), (1.0,))[1])  # noqa: B023
                for q in (float(p), near, nearer)
            )
            assert at == desired
            if np.isinf(desired):
                assert np.sign(closer) == np.sign(desired)
                assert abs(closer) > abs(there)
            else:
                assert abs(closer - desired) < abs(there - desired) + 1e-3  # SciPy rounds


def test_slopes_of_distribution_functions_at_the_ends() -> None:
    """What of the density is 0 or infinite there does not make NaN."""
    ends = {"betainc": (0.0, 1.0), "stdtr": (-np.inf, 0.0, np.inf), "nctdtr": (-np.inf, np.inf)}
    for name, shapes in (
        ("gammainc", [(0.5,), (1.0,), (20.0,)]),
        ("betainc", [(0.5, 0.5), (1.0, 1.0), (30.0, 40.0)]),
        ("gdtr", [(2.0, 0.5), (2.0, 2.5)]),
        ("fdtr", [(1.0, 3.0), (2.0, 1.0), (40.0, 50.0)]),
        ("stdtr", [(1.0,), (40.0,)]),
        ("nctdtr", [(3.0, 1.0)]),
        ("ncfdtr", [(1.0, 1.0, 1.0), (3.0, 4.0, 1.0)]),
    ):
        for given in shapes:
            for end in ends.get(name, (0.0, np.inf)):
                for i, known in enumerate(rules[name].partials):
                    if known is not None:
                        args = [*given, end]
                        slope = cr.jvp(lambda a: rules[name](*args[:i], a, *args[i + 1 :]), (args[i],), (1.0,))[1]  # noqa: B023
                        assert not np.isnan(slope)
                        assert slope == 0 or i == len(given), "in a parameter the ends do not move"


def test_what_is_not_accurate_has_a_reason() -> None:
    table = json.loads(scipy_reference.PUBLISHED.read_text(encoding="utf-8"))
    assert list(table) == list(scipy_reference.REFERENCES), "run `python tests/scipy_reference.py`"
    assert {name for name, row in table.items() if None in row["ulp"].values()} == set(scipy_reference.REASONS)


# -- functions that SciPy computes in Python ---------------------------------------------------------------------------
WEIGHTS = np.array([[0.5, 2.0, 1.0], [1.0, 3.0, 0.25]])
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "logsumexp": (lambda x: special.logsumexp(x), [(2, 3)]),
    "logsumexp axis": (lambda x: special.logsumexp(x, axis=1, keepdims=True), [(2, 3)]),
    "logsumexp axes": (lambda x: special.logsumexp(x, axis=(0, 2)), [(2, 3, 2)]),
    "logsumexp b": (lambda x: special.logsumexp(x, b=WEIGHTS, axis=0), [(2, 3)]),
    "logsumexp in b": (lambda x, b: special.logsumexp(x, b=np.exp(b), axis=1), [(2, 3), (3,)]),
    "logsumexp sign": (lambda x: special.logsumexp(x, b=-WEIGHTS, axis=0, return_sign=True)[0], [(2, 3)]),
    "logsumexp sign, no b": (lambda x: special.logsumexp(x, axis=0, return_sign=True)[0], [(2, 3)]),
    "softmax": (lambda x: special.softmax(x), [(2, 3)]),
    "softmax axis": (lambda x: special.softmax(x, axis=1), [(2, 3)]),
    "log_softmax": (lambda x: special.log_softmax(x, axis=0), [(2, 3)]),
    "polygamma": (lambda x: special.polygamma(2, np.exp(x)), [(3,)]),
    "zeta": (lambda x: special.zeta(2.5, np.exp(x)), [(3,)]),
    "multigammaln": (lambda x: special.multigammaln(np.exp(x) + 1.5, 3), [(3,)]),
    "softplus": (lambda x: special.softplus(x) if hasattr(special, "softplus") else np.logaddexp(0, x), [(3,)]),
    "factorial": (lambda x: special.factorial(x + 3), [(3,)]),
    "comb": (lambda x, k: special.comb(x + 7, k + 3), [(3,), (3,)]),
    "comb with repetition": (lambda x: special.comb(x + 7, 2.5, repetition=True), [(3,)]),
    "perm": (lambda x: special.perm(x + 7, 2.0), [(3,)]),
    "assoc_laguerre": (lambda x: special.assoc_laguerre(x, 3, 1.5), [(3,)]),
    "diric": (lambda x: special.diric(x + 2, 5), [(3,)]),
    "jvp": (lambda x: special.jvp(1.5, x + 2, 2), [(3,)]),
    "spherical_jn": (lambda x: special.spherical_jn(2, x + 2), [(3,)]),
    "spherical_kn'": (lambda x: special.spherical_kn(2, x + 2, derivative=True), [(3,)]),
    "lambertw": (lambda x: special.lambertw(x + 2, k=-1), [(3,)]),
    "legendre_p": (lambda x: special.legendre_p(3, np.tanh(x)), [(3,)]),
    "legendre_p_all": (lambda x: special.legendre_p_all(3, np.tanh(x)), [(2, 2)]),
    "assoc_legendre_p": (lambda x: special.assoc_legendre_p([[3], [2]], -2, np.tanh(x), norm=True), [(3,)]),
    "assoc_legendre_p_all": (lambda x: special.assoc_legendre_p_all(3, 2, np.tanh(x)), [(3,)]),
    "sph_legendre_p": (lambda x: special.sph_legendre_p(3, [[-2], [0], [3]], x), [(3,)]),
    "sph_legendre_p_all": (lambda x: special.sph_legendre_p_all(3, 3, x), [(3,)]),
    "sph_harm_y": (lambda x, y: special.sph_harm_y(3, np.arange(-3, 4), x, y), [(), ()]),
    "sph_harm_y_all": (lambda x, y: special.sph_harm_y_all(2, 2, x, y), [(3,), (2, 1)]),
    "sici": (lambda x: scipy_special.sici(np.exp(x)), [(3,)]),
    "airy": (lambda x: scipy_special.airy(x), [(3,)]),
    "ellipj": (lambda u: scipy_special.ellipj(u, 0.3), [(3,)]),
    "fresnel": (lambda x: scipy_special.fresnel(x), [(3,)]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    f, shapes = FUNCTIONS[name]
    check(f, [spaced(shape, (name, i)) for i, shape in enumerate(shapes)], seed=name)


def test_options_that_are_for_integers_raise() -> None:
    t = cr.Tensor(3.0)
    for call in (
        lambda: special.factorial(t, exact=True),
        lambda: special.comb(t, 2, exact=True),
        lambda: special.perm(t, 2, exact=True),
        lambda: special.zeta(t),
        lambda: special.logsumexp(t + 1j),
        lambda: special.sph_harm_y(2, 1, t, t, diff_n=1),
        lambda: special.assoc_legendre_p(2, 1, t, branch_cut=3),
    ):
        with pytest.raises(errors.UnsupportedFunctionError, match=r"scipy\.special"):
            call()


@pytest.mark.parametrize(("n", "m"), list(product(range(6), range(-3, 4))))
def test_legendre_functions_at_the_ends(n: int, m: int) -> None:
    """There the recurrence is 0/0; the function is of the order (1 - x**2)**(|m|/2)."""
    between = np.prod(np.arange(n - abs(m) + 1.0, n + abs(m) + 1)) if n >= abs(m) else 0.0  # (n + |m|)!/(n - |m|)!
    slope = {0: n * (n + 1) / 2, 1: np.inf, -1: -np.inf, 2: -between / 4, -2: -0.25}.get(m, 0.0) if between else 0.0
    scale = np.sqrt((n + 0.5) * (between if m < 0 else 1 / between)) if between else 1.0
    mirrored = (-1.0) ** (n + m + 1)
    for f, desired in (
        (lambda x: special.lpmv(m, n, x), slope),
        (lambda x: special.assoc_legendre_p(n, m, x)[0], slope),
        (lambda x: special.assoc_legendre_p(n, m, x, norm=True)[0], slope * scale),
    ):
        np.testing.assert_allclose(cr.grad(f)(1.0), desired, rtol=1e-14)
        np.testing.assert_allclose(cr.grad(f)(-1.0), mirrored * desired, rtol=1e-14)


def test_legendre_functions_where_the_recurrence_has_no_neighbour() -> None:
    assert cr.grad(cr.grad(lambda x: special.lpmv(0, 4, x)))(1.0) == 45.0  # (n - 1) n (n + 1) (n + 2)/8
    assert cr.grad(lambda x: special.lpmv(2, 1.5, x))(1.0) == -0.25 * 0.5 * 1.5 * 2.5 * 3.5
    np.testing.assert_allclose(cr.grad(lambda x: special.lpmv(-1, 1, x))(0.6), -0.375)  # of sqrt(1 - x**2)/2


def test_vmap_of_legendre_functions() -> None:
    x = spaced(3, "vmap")
    for f in (partial(special.legendre_p_all, 3), lambda x: special.sph_harm_y(2, [-1, 2], x, 0.3)):
        np.testing.assert_array_equal(cr.vmap(f)(x), np.stack([f(each) for each in x]))


def test_spherical_harmonics_at_50_digits() -> None:
    """Also at the poles, where the formula by the cotangent has none."""
    for theta in (0.0, 1e-8, 0.7, 3.0):
        for n, m in ((2, 1), (3, -2), (4, 0)):
            slope = cr.jvp(lambda x: special.sph_harm_y(n, m, x, 0.3), (theta,), (1.0,))[1]  # noqa: B023
            with mpmath.workdps(50):
                f = partial(mpmath.spherharm, n, m)
                desired = complex(mpmath.diff(lambda x: f(x, mpmath.mpf(0.3)), mpmath.mpf(theta), direction=1))  # noqa: B023
            np.testing.assert_allclose(slope, desired, rtol=1e-13, atol=1e-14)


def test_ufunc_keywords() -> None:
    x = np.array([0.5, 1.5])
    out = cr.Tensor(np.zeros(2))
    t = cr.Tensor(x)
    assert scipy_special.gammaln(t, out=out) is out
    out.backward(np.ones(2))
    np.testing.assert_allclose(t.grad, scipy_special.psi(x))


# -- kinks and poles ---------------------------------------------------------------------------------------------------
INF, NAN = np.inf, np.nan
VALUED: list[tuple[str, Any, Any, int, Any]] = [
    ("xlogy(0,0)", lambda x: special.xlogy(x[0], x[1]), [0.0, 0.0], 1, [0, 0]),
    ("xlogy(0,2)", lambda x: special.xlogy(x[0], x[1]), [0.0, 2.0], 1, [np.log(2.0), 0]),
    ("xlogy(1,0)", lambda x: special.xlogy(x[0], x[1]), [1.0, 0.0], 1, [-INF, INF]),
    ("xlog1py(0,-1)", lambda x: special.xlog1py(x[0], x[1]), [0.0, -1.0], 1, [0, 0]),
    ("d2 xlogy(0,y)", lambda y: special.xlogy(y - 2, y), 2.0, 2, 1.0),
    ("entr(0)", lambda x: special.entr(x), 0.0, 1, INF),
    ("rel_entr(0,0)", lambda x: special.rel_entr(x[0], x[1]), [0.0, 0.0], 1, [0, 0]),
    ("rel_entr(0,1)", lambda x: special.rel_entr(x[0], x[1]), [0.0, 1.0], 1, [-INF, 0]),
    ("kl_div(0,1)", lambda x: special.kl_div(x[0], x[1]), [0.0, 1.0], 1, [-INF, 1]),
    ("kl_div(1,1)", lambda x: special.kl_div(x[0], x[1]), [1.0, 1.0], 1, [0, 0]),
    ("logsumexp all -inf", lambda x: special.logsumexp(x), [-INF, -INF], 1, [0, 0]),
    ("logsumexp overflow", lambda x: special.logsumexp(x), [1000.0, 1000.0], 1, [0.5, 0.5]),
    ("logsumexp keep size1", lambda x: special.logsumexp(x), [5.0], 1, [1]),
    ("logsumexp b 0", lambda x: special.logsumexp(x, b=np.array([1.0, 0.0])), [0.0, 5.0], 1, [1, 0]),
    ("logsumexp b all -inf", lambda x: special.logsumexp(x, b=np.ones(2)), [-INF, -INF], 1, [0, 0]),
    ("softmax overflow", lambda x: special.softmax(x)[0], [1000.0, 0.0], 1, [0, 0]),
    ("log_softmax -inf", lambda x: special.log_softmax(x)[0], [0.0, -INF], 1, [0, 0]),
    ("erfinv(0)", lambda x: special.erfinv(x), 0.0, 1, np.sqrt(np.pi) / 2),
    ("erfinv(1)", lambda x: special.erfinv(x), 1.0, 1, INF),
    ("logit(0)", lambda x: special.logit(x), 0.0, 1, INF),
    ("ndtri(0)", lambda x: special.ndtri(x), 0.0, 1, INF),
    ("log_ndtr(-1e4)", lambda x: special.log_ndtr(x), -1e4, 1, 10000.0001),
    ("huber at delta", lambda x: special.huber(1.0, x), 1.0, 1, 1),
    ("d2 huber at delta", lambda x: special.huber(1.0, x), 1.0, 2, 0.5),
    ("huber in delta", lambda x: special.huber(x, 3.0), 1.0, 1, 2),
    ("pseudo_huber(0,0)", lambda x: special.pseudo_huber(x[0], x[1]), [0.0, 0.0], 1, [0, 0]),
    ("rgamma(-2)", lambda x: special.rgamma(x), -2.0, 1, 2),
    ("rgamma(-3)", lambda x: special.rgamma(x), -3.0, 1, -6),
    ("d2 rgamma(0)", lambda x: special.rgamma(x), 0.0, 2, 2 * np.euler_gamma),
    ("gammasgn", lambda x: special.gammasgn(x), 0.0, 1, 0),
    ("binom(1,3)", lambda x: special.binom(x, 3), 1.0, 1, -1 / 6),
    ("poch(-2,1)", lambda x: special.poch(x, 1.0), -2.0, 1, 1),
    ("poch(-2,3)", lambda x: special.poch(x, 3.0), -2.0, 1, 2),
    ("boxcox in 0", lambda x: special.boxcox(2.0, x), 0.0, 1, np.log(2.0) ** 2 / 2),
    ("d2 boxcox in 0", lambda x: special.boxcox(2.0, x), 0.0, 2, np.log(2.0) ** 3 / 3),
    ("inv_boxcox in 0", lambda x: special.inv_boxcox(2.0, x), 0.0, 1, -2 * np.exp(2.0)),
    ("boxcox(0,2)", lambda x: special.boxcox(0.0, x), 2.0, 1, 0.25),
    ("exprel(0)", lambda x: special.exprel(x), 0.0, 1, 0.5),
    ("d2 exprel(0)", lambda x: special.exprel(x), 0.0, 2, 1 / 3),
    ("d3 exprel(0)", lambda x: special.exprel(x), 0.0, 3, 0.25),
    ("sici(0)", lambda x: special.sici(x)[0], 0.0, 1, 1),
    ("d3 sici(0)", lambda x: special.sici(x)[0], 0.0, 3, -1 / 3),
    ("spence(1)", lambda x: special.spence(x), 1.0, 1, -1),
    ("d2 spence(1)", lambda x: special.spence(x), 1.0, 2, 0.5),
    ("lambertw(0)", lambda x: np.real(special.lambertw(x)), 0.0, 1, 1),
    ("d2 lambertw(0)", lambda x: np.real(special.lambertw(x)), 0.0, 2, -2),
    ("d3 lambertw(0)", lambda x: np.real(special.lambertw(x)), 0.0, 3, 9),
    ("ellipk(0)", lambda x: special.ellipk(x), 0.0, 1, np.pi / 8),
    ("d2 ellipk(0)", lambda x: special.ellipk(x), 0.0, 2, 9 * np.pi / 64),
    ("d2 ellipe(0)", lambda x: special.ellipe(x), 0.0, 2, -3 * np.pi / 64),
    ("ellipe(1)", lambda x: special.ellipe(x), 1.0, 1, -INF),
    ("d2 agm(1,1)", lambda x: special.agm(x, 1.0), 1.0, 2, -0.125),
    ("j1(0)", lambda x: special.j1(x), 0.0, 1, 0.5),
    ("d3 j1(0)", lambda x: special.j1(x), 0.0, 3, -0.375),
    ("jv(0.5, 0)", lambda x: special.jv(0.5, x), 0.0, 1, INF),
    ("jv(0, 0)", lambda x: special.jv(0, x), 0.0, 1, 0),
    ("i1e(0)", lambda x: special.i1e(x), 0.0, 1, 0.5),
    ("struve(0, 0)", lambda x: special.struve(0, x), 0.0, 1, 2 / np.pi),
    ("diric(0)", lambda x: special.diric(x, 5), 0.0, 1, 0),
    ("d2 diric(0)", lambda x: special.diric(x, 5), 0.0, 2, -2),
    ("legendre at 1", lambda x: special.eval_legendre(4, x), 1.0, 1, 10),
    ("d2 legendre at 1", lambda x: special.eval_legendre(4, x), 1.0, 2, 45),
    ("chebyt of degree 0", lambda x: special.eval_chebyt(0, x), 0.5, 1, 0),
    ("betainc at 0", lambda x: special.betainc(1.0, 3.0, x), 0.0, 1, 3),
    ("erfcinv(0)", lambda x: special.erfcinv(x), 0.0, 1, -INF),
    ("d2 erfcinv(1e-300)", lambda x: special.erfcinv(x), 1e-300, 2, INF),
    ("ndtri(1)", lambda x: special.ndtri(x), 1.0, 1, INF),
    ("gammainc of a, near 0", lambda a: special.gammainc(a, 1e-200), 0.05, 1, -4.7253945347797216257e-8),  # by mpmath
    ("ellipkinc near a quarter turn", lambda m: special.ellipkinc(1.5705, m), 0.3, 1, 0.5846052314612595251),
    ("gammainc at 0", lambda x: special.gammainc(1.0, x), 0.0, 1, 1),
    ("d2 gammainc at 0", lambda x: special.gammainc(1.0, x), 0.0, 2, -1),
    ("gammainc(0.5) at 0", lambda x: special.gammainc(0.5, x), 0.0, 1, INF),
    ("cbrt(0)", lambda x: scipy_special.cbrt(x), 0.0, 1, INF),
    ("round", lambda x: scipy_special.round(x), 1.5, 1, 0),
]


@pytest.mark.parametrize(("f", "x", "order", "desired"), [row[1:] for row in VALUED], ids=[row[0] for row in VALUED])
def test_valued(f: Any, x: Any, order: int, desired: Any) -> None:
    x = np.asarray(x)[()]

    def pulled(f: Any) -> Any:
        return cr.grad(lambda x: np.sum(f(x)))

    def pushed(f: Any) -> Any:
        def slope(x: Any) -> Any:
            if not np.ndim(x):
                return cr.jvp(f, (x,), (1.0,))[1]
            return np.stack([cr.jvp(f, (x,), (unit,))[1] for unit in np.eye(len(x))])

        return slope

    with np.errstate(all="ignore"):
        for transform in (pulled, pushed):
            g = f
            for _ in range(order):
                g = transform(g)
            np.testing.assert_allclose(np.asarray(g(x), float), desired, rtol=1e-12, atol=1e-15)
