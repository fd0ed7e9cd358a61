"""SciPy's special functions: every row against differences, and what the namespace holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special as scipy_special
from oracle import check, seeded

import chainrule as cr
from chainrule import errors
from chainrule.rules import Rule, functions, reasons, rules
from chainrule.scipy import special, special_table

ROWS = special_table.ROWS


def rows(several: list[Rule]) -> Any:
    return pytest.mark.parametrize("rule", several, ids=[rule.name for rule in several])


def sample(rule: Rule, shape: Any, dtype: str = "f8") -> list[Any]:
    """Arguments from the row's own domain; whole numbers where it is one point, as for orders of polynomials."""
    rng = seeded(rule.name, shape)
    args: list[Any] = []
    for low, high in rule.domain:
        margin = (high - low) * 0.02
        if low == high:
            args.append(int(low))
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
    flat = set(rule.partials) <= {"0", None}
    noisy = rule.name.startswith("itairy")  # SciPy computes these integrals to some seven digits
    check(f, args, seed=rule.name, order=1 if flat or noisy else 2, tolerance=1e-5 if noisy else 1e-7)


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


@pytest.mark.parametrize("name", ["jv", "kn", "gammainc", "betainc", "polygamma", "eval_legendre", "hyp2f1"])
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
