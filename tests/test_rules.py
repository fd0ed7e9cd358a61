"""The elementwise table: every row, in both modes, against an oracle that does not share its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import ROWS, check, dot, numerical_gradient, same, seeded

import chainrule as cr
from chainrule import formula
from chainrule.rules import functions, rules
from chainrule.rules.registry import LETTERS, Rule, formulas, partial_trees

# Called by formulas; rows named power_by_* are reached through power.
INNER = {"share", "share_of_numbers", "weight", "weight2", "bell", "quotient", "power_with_poles"}
PUBLIC = [rule for rule in ROWS if rule.name not in INNER and not rule.name.startswith("power_by")]
# Accept complex numbers, but are not complex-differentiable: no complex step.
NOT_ANALYTIC = {"absolute", "fabs", "sign", "maximum", "minimum", "fmax", "fmin", "rint", "relu", "clip"}
FLAT = {"sign", "floor", "ceil", "trunc", "rint", "spacing", "floor_divide", "heaviside", "nextafter"}


def rows(several: list[Rule]) -> Any:
    return pytest.mark.parametrize("rule", several, ids=[rule.name for rule in several])


def function(rule: Rule) -> Any:
    """What a user calls."""
    return getattr(np, rule.name) if hasattr(np, rule.name) else rule


def sample(rule: Rule, shapes: Any, dtype: Any = float) -> list[Any]:
    """Arguments from the row's own domain, away from its ends."""
    rng = seeded(rule.name, shapes)
    args = []
    for (low, high), shape in zip(rule.domain, shapes, strict=True):
        margin = (high - low) * 0.02
        x = rng.uniform(low + margin, high - margin, shape)
        x = x + 1j * rng.uniform(-0.5, 0.5, shape) if np.dtype(dtype).kind == "c" else x
        args.append(np.asarray(x, dtype)[()])
    return args


def accepts(rule: Rule, dtype: str) -> bool:
    try:
        with np.errstate(all="ignore"):
            result = rule.value(*sample(rule, [(2,)] * len(rule.domain), dtype))
    except (TypeError, np.exceptions.ComplexWarning):
        return False
    return bool(result.dtype.kind in "fc")


COMPLEX = [rule for rule in PUBLIC if accepts(rule, "c16")]
ANALYTIC = [rule for rule in COMPLEX if rule.name not in NOT_ANALYTIC]


@rows(PUBLIC)
def test_value_and_derivatives(rule: Rule) -> None:
    """NumPy's value; pull and push against differences; second derivatives against differences of the first."""
    check(function(rule), sample(rule, [(5,)] * len(rule.domain)), seed=rule.name, order=1 if rule.name in FLAT else 2)


@rows(ANALYTIC)
def test_partials_against_the_complex_step(rule: Rule) -> None:
    args = sample(rule, [(9,)] * len(rule.domain))
    for i, x in enumerate(args):
        stepped = [*args[:i], x + 1e-25j, *args[i + 1 :]]
        desired = np.imag(rule.value(*stepped)) / 1e-25
        actual = cr.vjp(function(rule), *args)[1](np.ones(9))[i]
        np.testing.assert_allclose(actual, desired, rtol=2e-13, atol=1e-15)


@rows(COMPLEX)
def test_complex(rule: Rule) -> None:
    """pull is the adjoint, conj(J)^T ct, of the real-linear map that differences give, on both sides of the cuts."""
    args = sample(rule, [(3,)] * len(rule.domain), complex)
    for turned in (args, [-z for z in args], [2j * z for z in args]):
        check(function(rule), turned, seed=rule.name)


@rows([rule for rule in COMPLEX if len(rule.domain) == 2])
def test_complex_with_real(rule: Rule) -> None:
    """A real operand of a complex operation gets a real gradient."""
    a, b = sample(rule, [(3,), (3,)], complex)
    for args in ([a, b.real], [a.real, b]):
        check(function(rule), args, seed=rule.name, order=1)


@rows(PUBLIC)
def test_dtypes_are_kept(rule: Rule) -> None:
    f = function(rule)
    for dtype in ("f2", "f4", "g"):
        args = sample(rule, [(4,)] * len(rule.domain), dtype)
        expected = rule.value(*args)
        value, pullback = cr.vjp(f, *args)
        assert value.dtype == expected.dtype
        assert np.array_equal(value, expected)
        gradients = pullback(np.ones_like(expected))
        assert [g.dtype for g in gradients] == [np.dtype(dtype)] * len(args)
        tangent = cr.jvp(f, tuple(args), tuple(np.ones_like(a) for a in args))[1]
        assert tangent.dtype == expected.dtype
        wide = cr.vjp(f, *(a.astype("f8") for a in args))[1](np.ones(4))
        for gradient, better in zip(gradients, wide, strict=True):
            np.testing.assert_allclose(
                gradient.astype("f8"),
                better,
                rtol=2e-2 if dtype == "f2" else 2e-5,
                atol=2e-3 if dtype == "f2" else 2e-6,
            )


SHAPES = {
    1: [[()], [(0,)], [(2, 0)], [(2, 3)]],
    2: [[(), ()], [(), (3,)], [(3, 1), (4,)], [(2, 3), (1, 3)], [(0,), (1,)], [(3, 1), (0,)], [(2, 1, 3), (4, 1)]],
    3: [[(), (), ()], [(3, 1), (4,), ()], [(0,), (1,), ()], [(), (2,), (3, 1)]],
}


@rows([rules[name] for name in sorted(INNER)])
def test_rows_that_only_formulas_call(rule: Rule) -> None:
    """Of these users see derivatives of higher order only, and not all of what the rows say."""
    args = sample(rule, [(5,)] * len(rule.domain))
    check(rule, args, seed=rule.name)
    for i, x in enumerate(args):
        check(lambda x, i=i: rule(*args[:i], x, *args[i + 1 :]), [x], seed=rule.name, order=1)
    if rule.name in ("quotient", "power_with_poles"):
        check(rule, sample(rule, [(5,)] * 2, complex), seed=rule.name)


@rows(PUBLIC)
def test_broadcasting(rule: Rule) -> None:
    for shapes in SHAPES[len(rule.domain)]:
        check(function(rule), sample(rule, shapes), seed=rule.name, order=1)


@rows([rule for rule in PUBLIC if len(rule.domain) > 1])
def test_with_constants_beside_it(rule: Rule) -> None:
    """Each operand alone, the others being arrays and numbers: nothing is kept that only they would have kept."""
    f = function(rule)
    for dtype in (float, complex) if rule in COMPLEX else (float,):
        args = sample(rule, [(3,)] * len(rule.domain), dtype)
        numbers = [arg[0].item() for arg in args]
        for i, x in enumerate(args):
            for others in (args, numbers) if dtype is float else (args,):
                check(lambda x: f(*others[:i], x, *others[i + 1 :]), [x], seed=rule.name, order=1)  # noqa: B023


@rows(ROWS)
def test_printed_formulas_mean_what_they_say(rule: Rule) -> None:
    """A partial derivative, printed as Python and run, equals the text of the table evaluated by Python itself."""
    args = sample(rule, [(5,)] * len(rule.domain))
    namespace = {
        name: r.value for name, r in rules.items() if r.kind == "elementwise" or name in ("where", "floor", "trunc")
    }
    namespace |= dict(zip(LETTERS, args, strict=False)) | {"y": rule.value(*args)}
    for text, tree in zip(rule.partials, partial_trees(rule), strict=True):
        lines, expression = formula.statements(tree)
        printed = dict(namespace)
        exec("\n".join(lines), printed)
        np.testing.assert_allclose(eval(expression, printed), eval(text, namespace), rtol=1e-15)
        if not lines:  # one expression: it parses to the very same node
            assert formulas.parse(expression, (*LETTERS, "y")) is tree
        drawn = formula.latex(tree)
        assert drawn.count("{") == drawn.count("}") > -1
        assert drawn.count(r"\left") == drawn.count(r"\right")


def test_every_floating_point_ufunc_of_numpy_is_decided() -> None:
    """Each is differentiated, or declared to have no derivative: computed from NumPy's namespace."""
    ufuncs = {
        ufunc
        for ufunc in vars(np).values()
        if isinstance(ufunc, np.ufunc) and any("d" in types.split("->")[0] for types in ufunc.types)
    }
    assert len(ufuncs) > 70
    assert sorted(ufunc.__name__ for ufunc in ufuncs if functions.get(ufunc) is None) == []


WITHOUT_DERIVATIVE = [
    r.value
    for r in rules.values()
    if r.kind == "nondifferentiable" and isinstance(r.value, np.ufunc) and any("d" in t for t in r.value.types)
]


@pytest.mark.parametrize("f", WITHOUT_DERIVATIVE, ids=lambda f: f.__name__)
def test_results_without_derivative_are_plain(f: np.ufunc) -> None:
    x = np.array([-1.0, 0.0, 2.0])
    args = [x] * f.nin
    result = f(*(cr.Tensor(a) for a in args))
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, f(*args))
    np.testing.assert_array_equal(cr.grad(lambda t: np.sum(t * f(*[t] * f.nin)))(x), f(*args).astype(float))


# -- rules that are functions ----------------------------------------------------------------------------------------
LOW, HIGH = np.array([-19.0 + 2j, -19.0, -29.0 - 1j]), np.array([-9.0 + 1j, 9.0, -18.0 + 3j])
BELOW_INSIDE_ABOVE = np.array([-30.0, 0.0, 0.0])
OTHERS: dict[str, tuple[Any, list[Any]]] = {
    "where": (lambda x, y: np.where(np.array([True, False, True]), x, y), [(3,), (3,)]),
    "absolute": (lambda z: np.abs(z), [(3,)]),
    "sign": (lambda z: np.sign(z), [(3,)]),
    "clip": (lambda z, low, high: np.clip(z + BELOW_INSIDE_ABOVE, LOW + low, HIGH + high), [(3,)] * 3),
    "conjugate": (lambda z: np.conjugate(z), [(3,)]),
    "real absolute": (lambda z: np.abs(np.exp(z) * z) ** 2, [(2, 2)]),
    "angle": (lambda z: np.angle(z), [(3,)]),
    "angle deg": (lambda z: np.angle(z, deg=True), [(3,)]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_complex_functions(name: str) -> None:
    f, shapes = OTHERS[name]
    rng = seeded(name)
    check(f, [rng.normal(size=s) + 1j * rng.normal(size=s) for s in shapes], seed=name)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
def test_ldexp(dtype: str) -> None:
    x, e = np.array([0.75, -1.5, 3.0], dtype), np.array([2, -1, 0])
    value, pullback = cr.vjp(lambda x: np.ldexp(x, e), x)
    np.testing.assert_array_equal(value, np.ldexp(x, e))
    (gradient,) = pullback(np.ones(3, dtype))
    assert gradient.dtype == value.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(gradient, [4, 0.5, 1])
    np.testing.assert_array_equal(cr.jvp(lambda x: np.ldexp(x, e), (x,), (np.ones(3, dtype),))[1], [4, 0.5, 1])
    with pytest.raises(TypeError):
        np.ldexp(x, cr.Tensor([1.0, 2.0, 3.0]))


def test_several_outputs() -> None:
    x, y = np.array([5.5, -5.5, 0.3]), np.array([2.0, 2.0, -0.4])
    for f, args in [(np.divmod, (x, y)), (divmod, (x, y)), (np.modf, (x,))]:
        check(f, list(args))
    mantissa, exponent = np.frexp(cr.Tensor(x))
    assert type(exponent) is np.ndarray
    np.testing.assert_array_equal(mantissa.data, np.frexp(x)[0])
    np.testing.assert_array_equal(exponent, np.frexp(x)[1])
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(np.frexp(x)[0]))(x), 0.5 ** np.frexp(x)[1])


@pytest.mark.parametrize(
    "value", [2, 2.0, 3, 0.5, -1, 0, 1, np.float64(1.5), np.float32(2), np.array(2.0), np.array([1.0, 2.0])]
)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c16"])
def test_powers(value: Any, dtype: str) -> None:
    x = np.array([0.5, 1.7], dtype)
    for power in (lambda x: x**value, lambda x: np.power(x, value), lambda x: np.float_power(x, value)):
        result, pullback = cr.vjp(power, x)
        assert result.dtype == power(x).dtype
        np.testing.assert_array_equal(result, power(x))
        (gradient,) = pullback(np.ones_like(result))
        assert gradient.dtype == x.dtype
        np.testing.assert_allclose(
            gradient, value * x ** (np.asarray(value, float) - 1), rtol=5e-3 if dtype == "f2" else 1e-6
        )


@pytest.mark.parametrize("exponent", [2, 2.0, 0.5, -1, 3, 1.5, np.float64(2), np.float32(0.5), np.array(2.0)], ids=repr)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c16"])
def test_an_operator_and_its_ufunc_need_not_agree(exponent: Any, dtype: str) -> None:
    """NumPy's `**` takes shortcuts that np.power does not, other ones in each version: each keeps its own bits."""
    x = np.asarray(seeded(dtype).uniform(0.1, 2.0, 500), dtype)
    for base in (x, x[0], np.resize(x, 40_000)):
        for f in (lambda a: a**exponent, lambda a: np.power(a, exponent)):
            expected = f(base)
            constant = cr.Tensor(base).detach()
            found = [f(cr.Tensor(base)), f(constant), cr.jvp(f, (base,), (base,))[0], cr.vjp(f, base)[0]]
            for value in found:
                same(value.data if isinstance(value, cr.Tensor) else value, expected)
    if exponent.__class__ in (int, float):
        for f in (lambda a: abs(exponent) ** a, lambda a: np.power(abs(exponent), a)):
            same(f(cr.Tensor(x)).data, f(x))


def slopes(f: Any, *args: float) -> list[float]:
    return [float(g) for g in cr.vjp(f, *args)[1](1.0)]


POWERS = [lambda a, b: a**b, np.power, np.float_power, rules["power_with_poles"]]


@pytest.mark.parametrize("power", POWERS, ids=["**", "power", "float_power", "power_with_poles"])
def test_powers_where_the_usual_formulas_fail(power: Any) -> None:
    for point, expected in [
        ((0.0, 0.0), [0, 0]),
        ((np.inf, 0.0), [0, np.inf]),
        ((0.0, -1.0), [-np.inf, 0]),
        ((0.0, 1.0), [1, 0]),
        ((0.0, 0.5), [np.inf, 0]),
    ]:
        with np.errstate(divide="ignore"):
            assert slopes(power, *point) == expected

    def hessian(a: float, b: float) -> Any:
        return [cr.jvp(cr.grad(power, argnums=(0, 1)), (a, b), unit)[1] for unit in ((1.0, 0.0), (0.0, 1.0))]

    np.testing.assert_allclose(hessian(2.0, 0.0), [[0, 0.5], [0.5, np.log(2) ** 2]])
    np.testing.assert_allclose(hessian(1.0, 3.0), [[6, 1], [1, 0]])
    np.testing.assert_allclose(hessian(0.0, 3.0), [[0, 0], [0, 0]])
    np.testing.assert_allclose(cr.vjp(power, 2 + 1j, 0j)[1](1 + 0j)[1], np.conj(np.log(2 + 1j)))
    mixed = cr.jvp(lambda b: cr.jvp(lambda a: power(a, b), (2 + 1j,), (1 + 0j,))[1], (0j,), (1 + 0j,))[1]
    np.testing.assert_allclose(mixed, 1 / (2 + 1j))
    with np.errstate(all="ignore"):
        for b, slope in [(0j, 0), (1 + 0j, 1), (3 + 0j, 0)]:
            assert cr.vjp(power, 0j, b)[1](1 + 0j) == (slope, 0)


@pytest.mark.parametrize("exponent", [0, 0.0, np.float64(0)])
def test_to_the_power_of_zero(exponent: Any) -> None:
    x = np.array([0.0, 2.0, -1.0, np.inf, np.nan])
    for f in (lambda x: x**exponent, lambda x: np.power(x, exponent)):
        for _ in range(3):
            np.testing.assert_array_equal(cr.vjp(f, x)[1](np.ones(5))[0], np.zeros(5))
            f = cr.grad(lambda x, f=f: np.sum(f(x)))


def test_at_the_kink() -> None:
    assert slopes(np.heaviside, 0.0, 0.3) == [0, 1]
    assert slopes(np.heaviside, 1.0, 0.3) == [0, 0]
    assert cr.jvp(np.heaviside, (0.0, 0.3), (2.0, 3.0))[1] == 3
    assert cr.grad(cr.grad(lambda x: np.hypot(x, 0.0)))(0.0) == 0
    assert slopes(np.hypot, -np.inf, 1.0) == [-1, 0]
    assert slopes(np.hypot, 1.0, -np.inf) == [0, -1]
    relu = rules["relu"]
    assert slopes(relu, 0.0) == [0]
    assert cr.vjp(relu, np.array([0j, 1 + 1j]))[1](np.ones(2, complex))[0].tolist() == [0, 1]


def test_sigmoid_of_a_plain_0d_array() -> None:
    assert rules["expit"](np.array(0.0)) == rules["sigmoid"](np.array(0.0, "f4")) == 0.5


def test_a_condition_has_no_derivative() -> None:
    c, x = np.array([0.0, 2.0]), np.array([3.0, 4.0])
    zero, of_x = cr.vjp(lambda c, x: np.where(c, x, -x), c, x)[1](np.ones(2))
    assert (zero.tolist(), of_x.tolist()) == ([0, 0], [-1, 1])


def test_holomorphic() -> None:
    z = 0.3 + 0.4j
    for f, slope in [
        (np.exp, np.exp(z)),
        (lambda z: z**3, 3 * z * z),
        (np.sin, np.cos(z)),
        (np.sqrt, 0.5 / np.sqrt(z)),
    ]:
        np.testing.assert_allclose(cr.grad(f, holomorphic=True)(z), slope, rtol=1e-14)
    gradient = cr.grad(lambda z: np.real(z) ** 2 + 3 * np.imag(z))(z)  # dL/dx + i dL/dy
    np.testing.assert_allclose(gradient, 0.6 + 3j)
    assert dot(gradient, 1.0) == numerical_gradient(lambda z: np.real(z) ** 2 + 3 * np.imag(z), [z], 0).real.round(9)
