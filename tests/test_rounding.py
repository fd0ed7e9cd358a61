"""Whether a program that is wrong is noticed when `jit` tries it, and one that only rounds otherwise is taken."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile import variants
from chainrule.compile.program import Loop, Program
from chainrule.compile.rounding import agree
from chainrule.compile.steps import Step
from chainrule.errors import UntraceableWarning

Replace = Callable[[Any], Any]


def normal(*shape: int, dtype: str = "f8", seed: int = 0) -> Any:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def at_optimum(w: Any) -> Any:
    return cr.value_and_grad(lambda w: np.sum(np.exp((w - np.ones(3)) ** 2)) + np.sum(np.tanh(w - 1)) ** 2)(w)


def in_loop(x: Any) -> Any:
    return cr.fori_loop(0, 100, lambda i, y: np.exp(-y) - 0.5 * np.mean(np.exp(-y)), x)


def written(x: Any) -> Any:
    x -= np.mean(np.exp(x))
    x *= 1e3
    return np.sum(x - np.mean(x))


# Of all of them something cancels, or is computed with few digits on the way.
ROUNDED: dict[str, tuple[Callable[..., Any], Any]] = {
    "what is zero but for rounding": (lambda x: np.sum(np.exp(x) - np.mean(np.exp(x))), normal(1000)),
    "and is taken further": (lambda x: 1 / np.sum(np.exp(x) - np.mean(np.exp(x))), normal(1000)),
    "a gradient where it is zero": (at_optimum, np.ones(3) + 1e-9),
    "single precision inside": (lambda x: np.sum(np.exp(x.astype("f4")).astype("f8") * x), normal(100)),
    "half precision inside": (lambda x: np.exp(x.astype("f2")).astype("f8") - 1 - x, normal(100)),
    "half precision": (lambda x: np.tanh(np.exp(x) * x - x**2), normal(1000, dtype="f2")),
    "single precision": (lambda x: np.exp(x) - 1 - x, normal(1000, dtype="f4")),
    "complex numbers": (lambda z: np.sum(np.exp(z) * z) / (np.exp(z) - np.mean(z)), normal(9) + 1j * normal(9)),
    "differences of whole numbers": (lambda x: np.exp(np.log(x)) - x, np.arange(1.0, 100)),
    "a jump": (lambda x: np.floor(np.exp(np.log(x))) + np.sin(x), np.arange(1.0, 100)),
    "the largest of equal ones": (lambda x: np.argmax(np.exp(x) * np.exp(-x)), normal(1000)),
    "a root of what is zero": (lambda x: np.sqrt(np.mean(np.exp(x) ** 2) - np.mean(np.exp(x)) ** 2), np.full(7, 0.1)),
    "elements of very different size": (lambda x: (np.exp(x * 100), np.sum(np.exp(-x), 0)), normal(50, 50)),
    "numbers that are hardly there": (lambda x: np.exp(x - 93) * x * 100, normal(1000, dtype="f4")),
    "NaN and infinity": (lambda x: (np.log(x), np.exp(x) / np.exp(x * 0 - 800), np.exp(x)), normal(100)),
    "nothing": (lambda x: (np.exp(x), np.sum(np.exp(x)), np.exp(x) > 2), normal(0)),
    "a loop": (in_loop, normal(6)),
    "what is written to": (written, normal(100)),
    "softmax": (lambda x: cr.grad(lambda x: cr.nn.functional.log_softmax(20 * np.exp(x))[0])(x), normal(30)),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_rounding_is_no_disagreement(name: str) -> None:
    f, x = ROUNDED[name]
    jitted = cr.jit(f)
    with np.errstate(all="ignore"):
        for _ in range(4):
            jitted(x.copy())
    assert not jitted.given_up
    assert [(variant.disagreed, variant.settled) for variant in jitted.variants] == [(False, True)]


def instead(function: Any, other: Any) -> Replace:
    """Change the steps of a program, and of the loops in it."""

    def change(program: Program) -> Program:
        steps = [step.copy() for step in program.steps]
        for step in steps:
            if isinstance(step, Step):
                if isinstance(step.function, Loop):
                    step.function = step.function.with_body(change(step.function.body))
                elif step.function is function:
                    step.function = other
        return program.with_steps(steps)

    return change


def wrong(by: float) -> Replace:
    return instead(np.exp, lambda x, **options: np.multiply(np.exp(x), x.dtype.type(1 + by), **options))


WRONG: dict[str, float] = dict.fromkeys(ROUNDED, 1e-9)
WRONG |= {
    "half precision": 0.2,
    "half precision inside": 0.2,
    "single precision inside": 1e-4,
    "single precision": 1e-4,
}
WRONG |= {"a jump": 0.1, "a gradient where it is zero": 1e-3, "numbers that are hardly there": 0.5}
SCATTERED = {"nothing", "the largest of equal ones", "and is taken further", "a root of what is zero"}  # says nothing
SCATTERED |= {"what is zero but for rounding", "softmax"}  # a factor does not matter


@pytest.mark.parametrize("name", sorted(WRONG.keys() - SCATTERED))
def test_wrong_kernels_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user is told, and the program goes on without them."""
    change = wrong(WRONG[name])
    monkeypatch.setattr(variants, "with_kernels_in", lambda program, exact: (change(program).steps, True))
    f, x = ROUNDED[name]
    jitted = cr.jit(f)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        for _ in range(5):
            ours, theirs = x.copy(), x.copy()
            found, expected = jitted(ours), f(theirs)
            for a, b in zip(cr.tree.flatten(found)[0], cr.tree.flatten(expected)[0], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)
            np.testing.assert_array_equal(ours, theirs)
    assert [each.category for each in caught] == [UntraceableWarning]
    assert "its kernels give another result" in str(caught[0].message)
    assert jitted.variants[0].disagreed
    assert repr(jitted).endswith("1 variants, 0 of them on kernels>")


@pytest.mark.parametrize("name", sorted(WRONG.keys() - SCATTERED))
def test_wrong_programs_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change = wrong(WRONG[name])
    monkeypatch.setattr(variants, "simplified", lambda program, further=(): change(program))
    f, x = ROUNDED[name]
    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="the program that was made of it"), np.errstate(all="ignore"):
        for _ in range(3):
            jitted(x.copy())
    assert "the program that was made of it" in repr(jitted)


def test_what_is_equal_but_for_a_few_units() -> None:
    x = np.array([1.0, 1e-30, -1e20, 0.0, np.nan, np.inf, 5e-324])
    near = np.array([np.nextafter(1.0, 2), 1e-30, -1e20, -0.0, np.nan, np.inf, 1e-323])
    scattered = [np.array([1.0, 3e-30, -1e20, 0.0, np.nan, np.inf, 0])]
    assert agree(near, x, False, lambda: x)
    assert not agree(near, x, True, lambda: near)
    for place, value in ((0, 1 + 1e-12), (1, 2e-30), (2, 1e20), (3, 1e-300), (4, 0.0), (5, -np.inf), (6, 1e-300)):
        other = x.copy()
        other[place] = value
        assert not agree(other, x, False, lambda: x), place
        assert agree(other, x, False, iter([x, other]).__next__) or place in (0, 1, 2, 3, 6)
        assert agree(other, x, False, lambda: scattered[0]) == (place == 1)
        assert not agree({"a": other}, {"a": x}, False, lambda: None)
    assert not agree(x, x.astype("f4"), False, lambda: x)
    assert not agree(x, [x], False, lambda: x)


@pytest.mark.parametrize("dtype", ["?", "i8", "u1"])
def test_whole_numbers_are_equal_unless_rounding_decides(dtype: str) -> None:
    x, other = np.array([0, 1, 1], dtype), np.array([0, 1, 0], dtype)
    assert agree(x, x.copy(), False)
    assert not agree(other, x, False)
    assert not agree(other, x, False, lambda: x)
    assert agree(other, x, False, iter([x, x, other]).__next__)


def test_complex_parts_are_compared_on_the_scale_of_the_number() -> None:
    z = np.array([1 + 1e-17j, 1e-17 - 1j])
    assert agree(z + 1e-16j, z, False, lambda: z)
    assert not agree(z + 1e-10j, z, False, lambda: z)
    assert not agree(np.array([complex(np.nan, 1)]), np.array([complex(1, np.nan)]), False, lambda: z[:1])
