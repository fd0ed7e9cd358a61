"""Every function under `vmap`, over each argument and several axes: what a loop over the examples gives.

The functions and their arguments are those of the other tests' tables; `test_coverage` has all of NumPy's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import test_arrays
import test_coverage
import test_decompositions
import test_emath
import test_linalg
import test_polynomials
import test_rules
import test_scipy_integrate
import test_scipy_linalg
import test_scipy_signal
import test_scipy_special
import test_scipy_stats
import test_selection
import test_signal
from oracle import ROWS, close, parts, spaced

import chainrule as cr
from chainrule.rules import Rule, functions, reasons
from chainrule.rules.batching import SHAPED_BY_VALUES
from chainrule.scipy import integrate, optimize, special_table

Case = tuple[
    Callable[..., Any], Callable[[int], list[Any]]
]  # a function, and the arguments of an example by its number
SIZE = 2
LOOKED_INTO = "the shape of its result depends on the values"
# NumPy does not ask the arguments that are batched here whether they want to be asked, where others are plain arrays.
UNASKED = (
    "arrays setitem", "signal pad constant", "signal pad ramp Tensor", "signal pad function options",
    "signal interp Tensor ends", "signal interp knots and period", "signal unwrap period",
)  # fmt: skip


def of_shapes(name: str, shapes: Any, make: Callable[[Any, Any], Any] = spaced) -> Callable[[int], list[Any]]:
    return lambda i: [np.asarray(make(shape, (name, j, i)))[()] for j, shape in enumerate(shapes)]


def near(name: str, args: list[Any]) -> Callable[[int], list[Any]]:
    """The arguments themselves, and others near them."""
    return lambda i: [x * (1 + 0.01 * i * np.abs(spaced(np.shape(x), (name, j)))) for j, x in enumerate(args)]


def of_numpy() -> Iterator[tuple[str, Case]]:
    tables = {
        "arrays": test_arrays.SMOOTH + test_arrays.ORDERED,
        "selection": test_selection.TAKEN + test_selection.ORDERED,
        "signal": test_signal.there(test_signal.SMOOTH + test_signal.REAL),
        "polynomials": test_polynomials.FITS,
    }
    for table, rows in tables.items():
        for name, f, *shapes in rows:
            if name == "builtin sum max":  # Python's own max branches
                continue
            yield f"{table} {name}", (f, of_shapes(name, shapes))
    for name, f, shapes in test_linalg.SQUARE:
        yield f"linalg {name}", (f, of_shapes(name, shapes, lambda shape, seed: test_linalg.made(shape, float, seed)))
    for name, f, shape in test_decompositions.CASES:
        yield f"linalg {name}", (f, lambda i, n=name, s=shape: [test_decompositions.made(f"{n} {i}", float, s)])
    for name, f, *args in test_emath.CASES:
        yield f"emath {name} {args[0][0]}", (f, near(name, args))
    for name, function in test_coverage.ASKED.items():
        rule = functions[function]
        plainly = rule.kind == "nondifferentiable" if isinstance(rule, Rule) else function in reasons
        if not plainly and "empty" not in name:
            run = test_coverage.CALLS.get(name, lambda t, f=function: test_coverage.call(f, t))
            yield f"{name} of a matrix", (run, near(name, [test_coverage.MATRIX]))


INTEGERS = ["eval_hermite", "eval_hermitenorm", "jvp", "yvp", "ivp", "kvp", "h1vp", "h2vp"]  # are needed as constants


def of_rows() -> Iterator[tuple[str, Case]]:
    """Elementwise rules, in the operands that they have a derivative in."""
    for rule in (*ROWS, *special_table.ROWS):
        which = [i for i, partial in enumerate(rule.partials) if partial is not None]
        fixed = test_rules.sample(rule, [(3,)] * len(rule.domain))

        def run(*args: Any, rule: Any = rule, fixed: Any = fixed, which: Any = which) -> Any:
            given = list(fixed)
            for i, x in zip(which, args, strict=True):
                given[i] = x
            return test_rules.function(rule)(*given)

        def operands(number: int, fixed: Any = fixed, which: Any = which) -> list[Any]:
            return [np.roll(fixed[i], number) for i in which]

        if which and rule.name not in INTEGERS:
            yield f"row {rule.name}", (run, operands)


def of_scipy() -> Iterator[tuple[str, Case]]:
    for table, cases in {"linalg": test_scipy_linalg.CASES, "signal": test_scipy_signal.CASES}.items():
        for name, (f, args) in cases.items():
            yield f"scipy.{table} {name}", (f, near(name, args))
    for table, named in {"special": test_scipy_special.FUNCTIONS, "stats": test_scipy_stats.NORMAL}.items():
        for name, (f, shapes) in named.items():
            yield f"scipy.{table} {name}", (f, of_shapes(name, shapes))
    for name, f in test_scipy_integrate.SAMPLED.items():
        points = lambda i, n=name: [spaced((2, 5), (n, i)), np.sort(spaced((5,), (n, "x", i)))]  # noqa: E731
        yield f"scipy.integrate {name}", (lambda y, x, f=f: f(y, x=x), points)


ALL = dict((*of_numpy(), *of_rows(), *of_scipy()))
REFUSED = {  # by a message that says what to write instead
    name
    for name in ALL
    if any(name.startswith((f"np.{f.__name__} ", f"selection {f.__name__}")) for f in (*SHAPED_BY_VALUES, np.extract))
} - {"np.extract of a matrix"}  # by a condition that is the same for all examples


def arrays(result: Any) -> list[Any]:
    return [x for part in parts(result) for x in (arrays(part) if isinstance(part, tuple | list) else [part])]


def check_examples(f: Callable[..., Any], examples: list[list[Any]], alone: bool) -> None:
    """Values and gradients, where one argument is batched (`alone`) or all are, along the first and the last axis."""
    count = len(examples[0])

    def run(*args: Any) -> list[Any]:
        return arrays(f(*args))

    def slopes(*args: Any) -> Any:
        def total(*xs: Any) -> Any:
            found = [(k, y) for k, y in enumerate(run(*xs)) if y.dtype.kind in "fc"]
            return sum(np.sum(np.real(y * spaced(y.shape, k, dtype=complex))) for k, y in found)

        return cr.grad(total, tuple(range(count)))(*args)

    for which in [*([i] for i in range(count) if alone and count > 1), list(range(count))]:
        given = [[examples[k if i in which else 0][i] for i in range(count)] for k in range(SIZE)]
        for axis in (0, -1):
            axes = [axis if i in which else None for i in range(count)]
            args = [np.stack([xs[i] for xs in given], axis) if i in which else given[0][i] for i in range(count)]
            for g in (run, slopes):
                for found, *each in zip(cr.vmap(g, axes)(*args), *(g(*xs) for xs in given), strict=True):
                    close(found, np.stack(each), 1e-8)


@pytest.mark.parametrize("name", sorted(ALL.keys() - REFUSED))
def test_examples(name: str) -> None:
    f, args = ALL[name]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        check_examples(f, [args(i) for i in range(SIZE)], not name.startswith(UNASKED))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_results_whose_shape_depends_on_values_are_refused_by_line(name: str) -> None:
    f, args = ALL[name]
    with pytest.raises(cr.errors.ConcreteValueError, match=rf"line \d+, (.|\n)*{LOOKED_INTO}"):
        cr.vmap(lambda *xs: arrays(f(*xs)))(*(np.stack(pair) for pair in zip(args(0), args(1), strict=True)))


# -- what calls a function of the user's -------------------------------------------------------------------------------
SOLVERS: dict[str, Callable[[Any], Any]] = {
    "root": lambda a: optimize.root(lambda x, a: x**2 - a, np.ones(2), args=(a,), tol=1e-13).x,
    "root_scalar": lambda a: optimize.root_scalar(lambda x, a: x**2 - a, args=(a,), x0=1.0).root,
    "minimize": lambda a: optimize.minimize(lambda x, a: np.sum((x - a) ** 4 + x**2), np.ones(2), args=(a,)).x,
    "minimize_scalar": lambda a: optimize.minimize_scalar(lambda x, a: (x - a) ** 2, args=(a,)).x,
    "fixed_point": lambda a: optimize.fixed_point(lambda x, a: np.cos(x) * a / 3, 0.5, args=(a,)),
    "least_squares": lambda a: optimize.least_squares(lambda x, a: x**3 - a, np.ones(2), args=(a,)).x,
    "curve_fit": lambda a: optimize.curve_fit(lambda x, p, q: p + q * x, np.arange(4.0), np.arange(4.0) ** 2 * a)[0],
    "quad": lambda a: integrate.quad(lambda x, a: np.sin(a * x), 0, a, args=(a,))[0],
    "odeint": lambda a: integrate.odeint(lambda y, t, a: -a * y, [1.0], [0.0, 1.0], args=(a,))[-1, 0],
    "solve_ivp": lambda a: (
        integrate.solve_ivp(lambda t, y, a: -a * y, (0, 1), a * np.ones(1), "LSODA", [0.5, 1.0], args=(a,)).y
    ),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers(name: str) -> None:
    f, a = SOLVERS[name], np.array([0.7, 1.3, 2.0])
    close(cr.vmap(f)(a), np.stack([f(x) for x in a]), 1e-12)
    slope = cr.grad(lambda a: np.sum(f(a) ** 2))
    close(cr.vmap(slope)(a), np.stack([slope(x) for x in a]), 1e-12)
    close(cr.grad(lambda a: np.sum(cr.vmap(f)(a) ** 2))(a), np.stack([slope(x) for x in a]), 1e-12)


def test_solvers_say_what_examples_cannot_have_together() -> None:
    a = np.array([0.7, 1.3])
    with pytest.raises(
        cr.errors.ConcreteValueError, match=r"test_batches.py.*`t` differs.*chooses its steps.*t_eval=\[t1\]"
    ):
        cr.vmap(lambda a: integrate.solve_ivp(lambda t, y, a: -a * y, (0, 9), np.ones(1), args=(a,)).y[:, -1])(10 * a)
    result = cr.vmap(lambda a: [optimize.minimize(lambda x, a: (x[0] - a) ** 2, [0.0], args=(a,)).success])(a)
    assert result[0].all()
