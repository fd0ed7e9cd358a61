"""`jit` of every function that is differentiated: traced, with the values and derivatives of eager runs.

What is called how is taken from the tests of the functions; each is jitted plainly, under `grad`, `jvp` and `vmap`, and
with `exact=True`, which gives the bits of the eager run, those of `hessian` too.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import test_coverage
import test_scipy_linalg
import test_scipy_signal
import test_scipy_special
import test_scipy_stats
from test_jit import assert_same

import chainrule as cr
from chainrule.errors import UntraceableWarning
from chainrule.scipy import interpolate, special, stats
from chainrule.tree import flatten

Case = tuple[Callable[..., Any], list[Any]]

# What a program cannot be made of, and why; the test below asks for the warning.
UNTRACEABLE = {
    "np.min_scalar_type": "a dtype that depends on a value",
    "np.save": "writes a file",
    "np.savetxt": "writes a file",
    "np.savez": "writes a file",
    "np.savez_compressed": "writes a file",
}
UNDEFINED = {"np.empty_like"}  # whatever was in memory


def of_numpy() -> Iterator[tuple[str, Case]]:
    for name, function in test_coverage.ASKED.items():
        if name not in UNTRACEABLE and name not in UNDEFINED:
            yield (
                name,
                (test_coverage.CALLS.get(name, lambda t, f=function: test_coverage.call(f, t)), [test_coverage.MATRIX]),
            )


def of_special() -> Iterator[tuple[str, Case]]:
    for rule in test_scipy_special.ROWS:
        function = getattr(special, rule.name, None)
        if function is not None:
            args = test_scipy_special.sample(rule, (4,))
            places = [i for i, partial in enumerate(rule.partials) if partial is not None]

            def f(*xs: Any, function: Any = function, places: Any = places, args: Any = args) -> Any:
                given = dict(zip(places, xs, strict=True))
                return function(*(given.get(i, arg) for i, arg in enumerate(args)))

            yield rule.name, (f, [args[i] for i in places])
    for name in ("logsumexp", "softmax", "log_softmax"):
        yield name, (getattr(special, name), [np.arange(4.0) / 3])
    yield "multigammaln", (lambda a: special.multigammaln(a, 2), [np.array([3.0, 4.5])])


def of_stats() -> Iterator[tuple[str, Case]]:
    for number, name in enumerate(test_scipy_stats.NAMES):
        distribution, shapes = getattr(stats, name), test_scipy_stats.shapes_of(name)
        method = distribution.methods[number % len(distribution.methods)]
        x = np.linspace(0.12, 0.93, 5) if method in stats.QUANTILES else test_scipy_stats.inside(name)
        function = getattr(distribution, method)
        yield f"{name}.{method}", (lambda x, f=function, s=shapes: f(x, *s, 0.2), [x])


def one_of_each(cases: dict[str, Case]) -> Iterator[tuple[str, Case]]:
    """The first case of each function."""
    seen = set()
    for name, case in cases.items():
        if name.split()[0] not in seen:
            seen.add(name.split()[0])
            yield name, case


MODULES: dict[str, dict[str, Case]] = {
    "numpy": dict(of_numpy()),
    "special": dict(of_special()),
    "stats": dict(of_stats()),
    "linalg": dict(one_of_each(test_scipy_linalg.CASES)),
    "signal": dict(one_of_each(test_scipy_signal.CASES)),
}


def floating(result: Any) -> list[Any]:
    """The arrays in a result that have a derivative."""
    if isinstance(result, tuple | list):
        return [x for part in result for x in floating(part)]
    return [result] if getattr(result, "dtype", np.dtype(int)).kind in "fc" else []


def total(f: Callable[..., Any]) -> Callable[..., Any]:
    def loss(*args: Any) -> Any:
        parts = floating(f(*args))
        return sum((np.sum(np.real(x)) * 0.7 + np.sum(np.imag(x)) for x in parts), start=0.0 * args[0].flat[0])

    return loss


def transformed(f: Callable[..., Any], args: list[Any]) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
    yield f, args
    yield cr.grad(total(f), argnums=tuple(range(len(args)))), args
    yield (lambda *xs: cr.jvp(lambda *xs: floating(f(*xs)), xs, tuple(map(np.ones_like, xs)))[1]), args
    yield cr.vmap(lambda *xs: floating(f(*xs))), [np.stack([x, x * 1.01]) for x in args]
    yield cr.hessian(total(f), argnums=tuple(range(len(args)))), args  # with exact=True only


def comparable(result: Any) -> list[Any]:
    return [x for x in flatten(result)[0] if isinstance(x, np.ndarray | np.generic | bool | int | float | complex)]


def once(f: Callable[..., Any], args: list[Any], exact: bool) -> bool:
    """Compare with an eager run, the first replay too; whether it is traced."""
    try:
        expected = f(*args)
    except Exception:  # noqa: BLE001 (no floating result, examples of different shapes, ...)
        return True
    jitted = cr.jit(f, exact=exact)
    for _ in range(2):
        for x, y in itertools.zip_longest(comparable(jitted(*args)), comparable(expected)):
            assert_same(x, y, exactly=exact)
    return not jitted.given_up and len(jitted.variants) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exact", [False, True], ids=["", "exact"])
@pytest.mark.parametrize("module", MODULES)
def test_every_function_is_traced(module: str, exact: bool) -> None:
    wrong = []
    for name, (f, args) in MODULES[module].items():
        args = [x if hasattr(x, "dtype") else np.asarray(x, float)[()] for x in args]
        ways = zip(("jit", "grad", "jvp", "vmap", "hessian"), transformed(f, args), strict=True)
        for way, (g, given) in itertools.islice(ways, 5 if exact else 4):
            with np.errstate(all="ignore"):
                try:
                    good = once(g, given, exact)
                except AssertionError:
                    good = False
            if not good:
                wrong.append(f"{way} of {name}")
    assert not wrong


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_cannot_be_traced_says_so(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    function = test_coverage.ASKED[name]
    f = test_coverage.CALLS.get(name, lambda t: test_coverage.call(function, t))
    jitted = cr.jit(f)
    with warnings.catch_warnings(), pytest.warns(UntraceableWarning):
        assert jitted(test_coverage.MATRIX) == f(test_coverage.MATRIX)


NUMBERS = np.array([0.3, 0.1, 0.8, 0.45, 0.62, 0.9])


def changed(write: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        y = x * 1
        write(y, x)
        return y

    return f


# Masks, places and counts that depend on values.
CHOSEN: dict[str, Callable[[Any], Any]] = {
    "put": changed(lambda y, x: np.put(y, np.argsort(x)[:2], x[:2])),
    "putmask": changed(lambda y, x: np.putmask(y, x > 0.4, x * 2)),
    "place": changed(lambda y, x: np.place(y, x > 0.4, x[:3] * 2)),
    "copyto": changed(lambda y, x: np.copyto(y, x * 2, where=x > 0.4)),
    "out": changed(lambda y, x: np.multiply(x, 2, out=y, where=x > 0.4)),
    "zeros": lambda x: np.add(x, x, where=x > 0.4, out=np.zeros_like(x)),
    "at": changed(lambda y, x: np.add.at(y, np.argsort(x), x**2)),
    "repeat": lambda x: np.repeat(x, (x * 5).astype(int)),
    "take": lambda x: np.take(x, np.argsort(x) + 4, mode="wrap"),
    "mask": lambda x: x[x > 0.4] * 2,
    "sum": lambda x: np.sum(x, where=x > 0.4),
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", CHOSEN)
def test_what_is_chosen_by_values_is_traced(name: str, exact: bool) -> None:
    for f, args in list(transformed(CHOSEN[name], [NUMBERS]))[:3]:
        assert once(f, args, exact)


@pytest.mark.parametrize(
    ("f", "named"),
    [
        (lambda x: np.vectorize(lambda a: a * a)(x), "in vectorize.__call__ of numpy"),
        (lambda x: interpolate.CubicSpline(np.arange(6.0), x)(2.5), "in CubicSpline.__init__ of chainrule"),
        (lambda x: np.asarray(x) * 2, "into a plain one (np.asarray"),
    ],
)
def test_what_makes_plain_arrays_is_named(f: Callable[..., Any], named: str) -> None:
    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning) as caught:
        for _ in range(3):
            np.testing.assert_array_equal(jitted(NUMBERS), f(NUMBERS))
    assert named in str(caught[0].message)
