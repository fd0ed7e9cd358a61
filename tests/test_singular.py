"""What a zero factor does to infinity and NaN (rule R4): the four modes, in reverse and in forward mode."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import SingularError, SingularWarning


def reverse(f: Any, x: Any, **options: Any) -> Any:
    return cr.grad(f, **options)(x)


def forward(f: Any, x: Any, **options: Any) -> Any:
    return cr.jvp(f, (x,), (np.ones_like(x),), **options)[1]


def pulled(f: Any, x: Any, **options: Any) -> Any:
    return cr.vjp(f, x, **options)[1](1.0)[0]


def by_backward(f: Any, x: Any, singular: str | None = None) -> Any:
    t = cr.Tensor(x)
    with cr.singular(singular or "zero"):
        f(t).backward()
    return t.grad


WAYS: list[Callable[..., Any]] = [reverse, forward, pulled, by_backward]
# Function, point, the derivative where zero wins, and the operations at which it does in reverse and in forward mode.
CASES: dict[str, tuple[Any, float, float, str, str]] = {
    "length": (lambda x: np.sqrt(x * x), 0.0, 0.0, "multiply", "sqrt"),
    "unselected": (lambda x: np.where(x > 0, np.log(x), 2 * x), 0.0, 2.0, "log", ""),
    "masked": (lambda x: np.sum(np.array([0.0, 1.0]) * np.stack([np.sqrt(x), x])), 0.0, 1.0, "sqrt", "multiply"),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -1000.0, 0.0, "exp", "divide"),
    "squared root": (lambda x: np.sqrt(x) ** 2, 0.0, 0.0, "sqrt", "power_by_two"),
    "product": (lambda x: np.prod(np.stack([x, np.sqrt(x)])), 0.0, 0.0, "sqrt", "prod"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_modes(name: str, way: Any) -> None:
    f, x, value, in_reverse, in_forward = CASES[name]
    where = in_forward if way is forward else in_reverse
    with np.errstate(all="ignore"):
        assert way(f, x) == value
        assert way(f, x, singular="zero") == value
        if not where:  # this mode meets no such product
            assert way(f, x, singular="nan") == way(f, x, singular="raise") == value
            return
        assert np.isnan(way(f, x, singular="nan"))
        with pytest.warns(SingularWarning, match=f"derivative of {where}, whose result has shape") as caught:
            assert way(f, x, singular="warn") == value
        assert len(caught) == 1
        with pytest.raises(SingularError, match=f"derivative of {where}, whose result has shape"):
            way(f, x, singular="raise")
        assert way(f, x) == value


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_said_where_no_zero_meets_infinity(way: Any) -> None:
    for mode in ("nan", "warn", "raise"):
        assert way(np.sqrt, 0.0, singular=mode) == np.inf
        assert way(lambda x: np.sum(x * x), 3.0, singular=mode) == 6.0
        assert np.isnan(way(lambda x: x * np.nan, 1.0, singular=mode))  # a NaN that no zero meets stays


def test_the_warning_names_each_operation_and_shape() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.where(x > 0, np.log(x), np.cbrt(x * x)))

    with pytest.warns(SingularWarning) as caught, np.errstate(all="ignore"):
        gradient = cr.grad(f, singular="warn")(np.array([0.0, 1.0]))
    np.testing.assert_array_equal(gradient, [0, 1])
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "log, whose result has shape (2,)" in message
    assert "multiply, whose result has shape (2,)" in message
    assert "cbrt" not in message  # its cotangent is 1 there, and its slope infinite


def test_the_mode_holds_for_derivatives_inside_and_ends_with_the_context() -> None:
    def slope(x: Any) -> Any:
        return cr.grad(lambda y: np.sqrt(y * y))(x * 0) + x

    assert cr.grad(slope)(1.0) == 1.0
    with pytest.raises(SingularError):
        cr.grad(slope, singular="raise")(1.0)
    with cr.singular("raise"):
        with cr.singular("nan"):
            assert np.isnan(cr.grad(lambda y: np.sqrt(y * y))(0.0))
        with pytest.raises(SingularError):
            cr.grad(lambda y: np.sqrt(y * y))(0.0)
    assert cr.grad(lambda y: np.sqrt(y * y))(0.0) == 0.0


def test_a_pullback_uses_the_mode_of_its_caller() -> None:
    _, pullback = cr.vjp(lambda x: np.sqrt(x * x), 0.0)
    with cr.singular("nan"):
        assert np.isnan(pullback(1.0)[0])
    assert pullback(1.0)[0] == 0.0


def test_a_refused_backward_changes_nothing() -> None:
    x = cr.Tensor(0.0)
    y = np.sqrt(x * x)
    with cr.singular("raise"), pytest.raises(SingularError):
        y.backward()
    assert x.grad is None
    y.backward()
    assert x.grad == 0.0


def test_each_thread_has_its_own_mode() -> None:
    found: dict[str, float] = {}
    both = threading.Barrier(2)

    def work(mode: str) -> None:
        with cr.singular(mode):
            both.wait()
            found[mode] = float(cr.grad(lambda x: np.sqrt(x * x))(0.0))
            both.wait()

    threads = [threading.Thread(target=work, args=(mode,)) for mode in ("zero", "nan")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["zero"] == 0.0
    assert np.isnan(found["nan"])


def test_second_derivatives() -> None:
    def f(x: Any) -> Any:
        return np.where(x > 0, np.sqrt(x), x**3)

    x = 0.0
    assert cr.grad(cr.grad(f))(x) == 0.0
    assert np.isnan(cr.grad(cr.grad(f), singular="nan")(x))
    with pytest.raises(SingularError, match="sqrt"):
        cr.grad(cr.grad(f), singular="raise")(x)
    with pytest.raises(SingularError):
        cr.jvp(cr.grad(f), (x,), (1.0,), singular="raise")


def test_a_nan_that_is_selected_away_is_not_reported() -> None:
    """Pulls are linear: they drop a cotangent or pass it on whatever it is, so what would be 0 is dropped as well."""

    def f(x: Any) -> Any:
        inner = np.where(x > 5, x, 1.0)  # drops the NaN that the square root's pull has made of 0 * inf
        return x + 0.0 * np.sqrt(inner - 1.0)

    for mode in ("zero", "nan", "warn", "raise"):
        assert reverse(f, 0.0, singular=mode) == 1.0
    with pytest.raises(SingularError, match="sqrt"):  # forward mode comes from the other side
        forward(f, 0.0, singular="raise")


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="singular='quiet': choose one of 'zero'"):
        cr.singular("quiet")
    for way in (reverse, forward, pulled):
        with pytest.raises(ValueError, match="choose one of"):
            way(lambda x: x, 1.0, singular="quiet")


def test_operations_are_named_beside_writes() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        y[0] = np.sqrt(y[0]) ** 2
        return np.sum(y)

    x = np.array([0.0, 1.0])
    with pytest.warns(SingularWarning, match="sqrt, whose result has shape"):
        assert cr.grad(f, singular="warn")(x).tolist() == [0, 1]
    with pytest.raises(SingularError, match="sqrt, whose result has shape"):
        cr.grad(f, singular="raise")(x)
