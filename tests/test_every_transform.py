"""What holds of every transform: nested in every other one, containers, plain results, pickles, docstrings.

The function that is differentiated is written with operations of every kind, and yet is a polynomial, so that what any
nest of transforms makes of it is a polynomial, too, found by arithmetic on coefficients.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import pickle
import re
import tracemalloc
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.polynomial import Polynomial

import chainrule as cr
from chainrule.rules import rules
from chainrule.tree import flatten, map_tree

AT = 0.7
X = Polynomial([0.0, 1.0])
POLYNOMIAL = Polynomial([1.0, 1.0, -2.0, 0.5])
MATRIX = np.array([[2.0, 1.0], [0.5, 3.0]])


def program(x: Any) -> Any:
    """That polynomial: elementwise functions, reductions, writes through a view, products, a linear solve."""
    y = np.zeros_like(np.stack([x, x, x]))
    y[0] = np.tan(np.arctan(x))
    y[1:] = np.sqrt(x) ** 4
    tail = y[1:]
    tail[1] *= -3
    solved = np.linalg.solve(MATRIX, np.stack([x, 2 * x]))
    return np.sum(y) + 0.5 * np.exp(3 * np.log(x)) + np.sin(x) ** 2 + np.cos(x) ** 2 + (MATRIX @ solved)[1] - 2 * x


# -- every transform inside of every other -----------------------------------------------------------------------------
def value_and_slope(f: Any) -> Any:
    def g(x: Any) -> Any:
        value, slope = cr.value_and_grad(f)(x)
        return value + 2 * slope

    return g


def jacobian(mode: str) -> Any:
    def of(f: Any) -> Any:
        J = cr.jacobian(lambda v: np.stack([f(v[0]), f(v[0] * v[1])]), mode=mode)
        return lambda x: np.sum(J(np.stack([x, 2.0])))

    return of


def hessian(f: Any) -> Any:
    H = cr.hessian(lambda v: f(v[0]) * v[1])
    return lambda x: np.sum(np.array([[1.0, 3.0], [0.0, 1.0]]) * H(np.stack([x, 2.0])))


def chained(f: Any) -> Any:
    chain = cr.checkpoint_chain((lambda s: (s[0] * 2, s[1] + f(s[0])), 2), memory=1)
    return lambda x: chain((x, 0.0 * x))[1]


def scanned(f: Any) -> Any:
    return lambda x: np.sum(cr.scan(lambda c, k: (c * 1.0, f(c * k)), x, np.array([1.0, 2.0]))[1])


def counted_up(f: Any) -> Any:
    return lambda x: cr.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] + f(x * s[0])), (1, 0.0 * x))[1]


def doubled(p: Polynomial) -> Polynomial:
    """p(x) + p(2x)"""
    return p + p(2 * X)


def of_jacobian(p: Polynomial) -> Polynomial:
    slope = p.deriv()
    return slope + (2 + X) * slope(2 * X)


# Per transform: what it makes of a function of a number, and what of a polynomial.
NESTING: dict[str, tuple[Any, Any]] = {
    "grad": (cr.grad, lambda p: p.deriv()),
    "value_and_grad": (value_and_slope, lambda p: p + 2 * p.deriv()),
    "vjp": (lambda f: lambda x: cr.vjp(f, x)[1](x)[0], lambda p: X * p.deriv()),
    "jvp": (lambda f: lambda x: sum(cr.jvp(f, (x,), (x,))), lambda p: p + X * p.deriv()),
    "linearize": (lambda f: lambda x: cr.linearize(f, x)[1](x), lambda p: X * p.deriv()),
    "jacobian, forward": (jacobian("fwd"), of_jacobian),
    "jacobian, reverse": (jacobian("rev"), of_jacobian),
    "jacobian": (jacobian("auto"), of_jacobian),
    "hessian": (hessian, lambda p: 2 * p.deriv(2) + 3 * p.deriv()),
    "hvp": (lambda f: lambda x: cr.hvp(f, (x,), (x,))[0], lambda p: X * p.deriv(2)),
    "ggn_vp": (lambda f: lambda x: cr.ggn_vp(f, lambda y: y * y + y, (x,), (x,))[0], lambda p: 2 * X * p.deriv() ** 2),
    "elementwise_grad": (cr.elementwise_grad, lambda p: p.deriv()),
    "derivative": (cr.derivative, lambda p: p.deriv()),
    "second derivative": (lambda f: cr.derivative(f, order=2), lambda p: p.deriv(2)),
    "jet": (
        lambda f: lambda x: cr.jet(f, (x,), ([x, 0.5, 0.0],))[1][1],
        lambda p: X**2 * p.deriv(2) + 0.5 * p.deriv(),
    ),
    "vmap": (lambda f: lambda x: np.sum(cr.vmap(f)(np.stack([x, 2 * x]))), doubled),
    "checkpoint": (cr.checkpoint, lambda p: p),
    "checkpoint_chain": (chained, doubled),
    "jit": (cr.jit, lambda p: p),
    "scan": (scanned, doubled),
    "fori_loop": (lambda f: lambda x: cr.fori_loop(1, 3, lambda i, c: c + f(x * i), 0.0 * x), doubled),
    "while_loop": (counted_up, doubled),
    "cond": (lambda f: lambda x: cr.cond(x > 0.1, f, lambda x: x, x), lambda p: p),
}


def check(transforms: Any, f: Any = program, p: Polynomial = POLYNOMIAL) -> None:
    """The transforms, the innermost first."""
    for name in transforms:
        transform, of_polynomial = NESTING[name]
        f, p = transform(f), of_polynomial(p)
    found = f(AT)
    assert type(found) in (np.float64, float), f"{transforms}: {type(found)}"
    assert found == pytest.approx(p(AT), rel=1e-9, abs=1e-9), transforms


@pytest.mark.parametrize("outer", NESTING)
def test_pairs(outer: str) -> None:
    for inner in NESTING:
        check((inner, outer))


def test_triples() -> None:
    triples = list(itertools.product(NESTING, repeat=3))
    for i in np.random.default_rng(0).choice(len(triples), 250, replace=False):
        check(triples[i])


WRAPPINGS = {"plainly": lambda g: g, "checkpoint": cr.checkpoint, "jit": cr.jit}


def closing_over(inner: str, wrapping: str, early: bool) -> tuple[Any, Any]:
    """Of f: the inner transform, at x, of ``y -> f(x)*y**3``, in which f(x) is a value from outside."""
    transform, of_polynomial = NESTING[inner]

    def made(f: Any) -> Any:
        def at(x: Any) -> Any:
            h = f(x) if early else None
            return transform(WRAPPINGS[wrapping](lambda y: (h if early else f(x)) * y**3))(x)

        return at

    return made, lambda p: (p**2 if inner == "ggn_vp" else p) * of_polynomial(X**3)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("inner", NESTING)
def test_values_from_outside(inner: str, wrapping: str) -> None:
    """What is made of them is differentiated on: by every transform around, and, of a leaf, by `backward`."""
    for early in (True, False):
        made, of_polynomial = closing_over(inner, wrapping, early)
        for outer in NESTING if early else ("grad", "jvp", "linearize", "hessian", "jet", "vmap"):
            check((outer,), made(program), of_polynomial(POLYNOMIAL))
        leaf = cr.Tensor(AT)
        result = made(program)(leaf)
        assert isinstance(result, cr.Tensor), "detached"
        result.backward()
        assert leaf.grad == pytest.approx(of_polynomial(POLYNOMIAL).deriv()(AT), rel=1e-9)


# -- pickles and names -------------------------------------------------------------------------------------------------
def total(x: Any) -> Any:
    """A number."""
    return np.sum(np.sin(x) * x)


def each(x: Any) -> Any:
    """As many numbers."""
    return np.sin(x) * x


@cr.custom_vjp
def pulled(x: Any) -> Any:
    return np.sin(x)


pulled.defvjp(lambda x: (np.sin(x), x), lambda x, ct: (ct * np.cos(x),))


@cr.custom_jvp
def pushed(x: Any) -> Any:
    return np.sin(x)


@pushed.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return np.sin(primals[0]), np.cos(primals[0]) * tangents[0]


class Pair(NamedTuple):
    a: Any
    b: Any


class Spring:
    """Called like a function."""

    stiffness = 3.0

    def __call__(self, x: Any) -> Any:
        return self.stiffness * np.sum(x * x)


@cr.primitive
def own_sinh(x: Any) -> Any:
    return np.sinh(x)


OPERATION = cr.def_partials(own_sinh, "cosh(a)")
POINT = np.array([0.3, 0.8])
MADE = {
    "grad": (cr.grad(total), POINT),
    "value_and_grad": (cr.value_and_grad(total, "x"), POINT),
    "jacobian": (cr.jacobian(each, mode="rev"), POINT),
    "hessian": (cr.hessian(total), POINT),
    "elementwise_grad": (cr.elementwise_grad(each), POINT),
    "derivative": (cr.derivative(each, 3), 0.4),
    "vmap": (cr.vmap(total, out_axes=-1), np.ones((3, 2))),
    "checkpoint": (cr.checkpoint(each), POINT),
    "checkpoint_chain": (cr.checkpoint_chain((each, 4), 2), POINT),
    "jit": (cr.jit(each), POINT),
    "custom_vjp": (pulled, POINT),
    "custom_jvp": (pushed, POINT),
    "all of them": (cr.jit(cr.vmap(cr.hessian(cr.grad(cr.checkpoint(total))))), POINT),
    "of a function with its own derivative": (cr.vmap(cr.grad(pulled)), POINT),
    "of an object": (cr.grad(Spring()), POINT),
    "of a class": (cr.vmap(Pair), (POINT, POINT)),
    "of a ufunc": (cr.grad(np.tanh), 0.3),
}


@pytest.mark.parametrize("name", MADE)
def test_pickles(name: str) -> None:
    transformed, given = MADE[name]
    args = given if isinstance(given, tuple) else (given,)
    expected = transformed(*args)
    for again in (pickle.loads(pickle.dumps(transformed)), copy.deepcopy(transformed)):
        map_tree(np.testing.assert_array_equal, again(*args), expected)
        assert getattr(again, "__name__", None) == getattr(transformed, "__name__", None)


def test_operations_pickle_by_name() -> None:
    for op in (OPERATION, cr.def_partials(cr.primitive(lambda x: np.sinh(x), name="pickled_by_name"), "cosh(a)")):
        assert pickle.loads(pickle.dumps(op)) is op
        assert pickle.loads(pickle.dumps(cr.grad(op)))(0.3) == np.cosh(0.3)
        assert copy.deepcopy(op) is op
        del rules[op.name]
    assert pickle.loads(pickle.dumps(OPERATION)) is OPERATION  # found in this module
    with pytest.raises(cr.errors.ConversionError, match="import the module"):
        pickle.loads(pickle.dumps(op))


def test_what_is_made_says_of_what() -> None:
    for name in ("grad", "value_and_grad", "jacobian", "hessian", "elementwise_grad", "derivative", "vmap", "jit"):
        made, _ = MADE[name]
        assert repr(made).startswith(f"<{name} of {made.__name__}")
        assert made.__name__ in ("total", "each")
        assert made.__doc__ in (total.__doc__, each.__doc__)
        assert list(inspect.signature(made).parameters) == ["x"]


# -- what is refused ---------------------------------------------------------------------------------------------------
ONES = np.ones(2)
OF_FUNCTIONS = {
    "grad": lambda f: cr.grad(f)(ONES),
    "value_and_grad": lambda f: cr.value_and_grad(f)(ONES),
    "vjp": lambda f: cr.vjp(f, ONES),
    "jvp": lambda f: cr.jvp(f, (ONES,), (ONES,)),
    "linearize": lambda f: cr.linearize(f, ONES),
    "jacobian": lambda f: cr.jacobian(f)(ONES),
    "hessian": lambda f: cr.hessian(f)(ONES),
    "hvp": lambda f: cr.hvp(f, (ONES,), (ONES,)),
    "ggn_vp": lambda f: cr.ggn_vp(f, np.sum, (ONES,), (ONES,)),
    "elementwise_grad": lambda f: cr.elementwise_grad(f)(ONES),
    "derivative": lambda f: cr.derivative(f)(0.5),
    "second derivative": lambda f: cr.derivative(f, 2)(0.5),
    "jet": lambda f: cr.jet(f, (ONES,), ([ONES],)),
    "vmap": lambda f: cr.vmap(f)(ONES),
}


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_functions_that_return_no_numbers(name: str) -> None:
    def forgetful(x: Any) -> Any:
        x * 2

    def wordy(x: Any) -> Any:
        return "text"

    with pytest.raises(cr.errors.OutputError, match="forgetful returned None: is a `return` missing"):
        OF_FUNCTIONS[name](forgetful)
    with pytest.raises(cr.errors.OutputError, match="wordy returned str 'text'"):
        OF_FUNCTIONS[name](wordy)
    with pytest.raises(TypeError, match=r"function, not float|not callable"):
        OF_FUNCTIONS[name](3.0)


SUMMED = lambda x: np.sum(x * x)  # noqa: E731
REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a position that is no number": (lambda: cr.grad(SUMMED, (0.0,))(ONES), TypeError, "0.0 is no position"),
    "one position of many": (lambda: cr.grad(SUMMED, 1)(ONES), cr.errors.StructureError, "1 positional argument\\."),
    "an unknown name": (lambda: cr.hessian(SUMMED, "y")(ONES), cr.errors.StructureError, "its parameters are x"),
    "two numbers at once": (lambda: cr.derivative(SUMMED, 1, (0, 1)), TypeError, "its position or its name"),
    "part of a chunk": (lambda: cr.hessian(SUMMED, chunk_size=1.5), ValueError, "chunk_size=1.5: it is a number of"),
    "two cotangents": (
        lambda: cr.vjp(lambda x: (x, x), ONES)[1](ONES, ONES),
        cr.errors.StructureError,
        r"one cotangent, of the form of the result, \(\*, \*\), .* with 2 arguments",
    ),
    "an axis that is text": (
        lambda: cr.vmap(SUMMED, in_axes="0")(ONES),
        cr.errors.StructureError,
        r"in_axes='0' does not fit to \(\*,\).* an axis \(a whole number\) or None",
    ),
    "axes of another container": (
        lambda: cr.vmap(lambda p: p["a"], in_axes=({"b": 0},))({"a": ONES}),
        cr.errors.StructureError,
        r"\{'b': 0\} does not fit to \{'a': \*\}",
    ),
    "an axis that results have not": (
        lambda: cr.vmap(np.sin, out_axes=3)(ONES),
        cr.errors.StructureError,
        r"out_axes=3, .* \(Tensor of shape \(\) .* has 1 axis",
    ),
    "fewer than no steps": (lambda: cr.scan(lambda c, x: (c, x), 0.0, None, -1), ValueError, "length=-1"),
    "half a step": (lambda: cr.scan(lambda c, x: (c, x), 0.0, None, 1.5), ValueError, "length=1.5"),
    "a condition that returns nothing": (
        lambda: cr.while_loop(lambda x: None, lambda x: x, 1.0),
        cr.errors.StructureError,
        "NoneType None, not a truth value. Is a `return` missing",
    ),
    "text for a predicate": (lambda: cr.cond("no", np.sin, np.cos, 1.0), cr.errors.StructureError, "str 'no', not a"),
    "a step without a number": (lambda: cr.checkpoint_chain(np.sin, 3), TypeError, r"\(step, count\), or a sequence"),
    "steps that are numbers": (lambda: cr.checkpoint_chain([1, 2], 3), TypeError, r"\(step, count\), or a sequence"),
    "no memory": (lambda: cr.checkpoint_chain((np.sin, 9), None), TypeError, "memory=None: expected a number"),
    "a bool to differentiate in": (lambda: cr.grad(SUMMED)(ONES > 0), cr.errors.DataError, "dtype bool"),
    "a bool for a direction": (lambda: cr.jvp(SUMMED, (ONES,), (ONES > 0,)), cr.errors.DataError, "dtype bool"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


def test_whole_numbers_are_taken_for_numbers() -> None:
    """An integer is converted where a derivative is taken in it; results that are integers do not change."""
    i = np.array([1, 2, 3])
    cubes = lambda x: x**3  # noqa: E731
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(cubes(x)))(i), [3.0, 12.0, 27.0])
    for derivative in (
        cr.jvp(cubes, (i,), (i,))[1],
        cr.linearize(cubes, i)[1](i),
        cr.vjp(cubes, i)[1](i)[0],
        cr.jet(cubes, (i,), ([i],))[1][0],
        cr.elementwise_grad(cubes)(i) * i,
        cr.jacobian(cubes)(i) @ i,
        cr.hvp(lambda x: np.sum(x**4) / 4, (i,), (i * i,))[0] / i,
    ):
        assert derivative.dtype == np.float64
        np.testing.assert_allclose(derivative, [3.0, 24.0, 81.0])
    for change in (
        cr.jvp(np.argmax, (ONES,), (ONES,))[1],
        cr.linearize(np.argmax, ONES)[1](ONES),
        cr.jet(np.argmax, (ONES,), ([ONES],))[1][0],
        *cr.vjp(np.argmax, ONES)[1](1)[0],
    ):
        assert change == 0


# -- what their documentation says -------------------------------------------------------------------------------------
RUNNING = [
    *(cr.grad, cr.value_and_grad, cr.vjp, cr.jvp, cr.linearize, cr.jacobian, cr.hessian, cr.hvp, cr.ggn_vp, cr.jet),
    *(cr.elementwise_grad, cr.derivative, cr.vmap, cr.jit, cr.scan, cr.fori_loop, cr.while_loop, cr.cond),
    *(cr.checkpoint, cr.checkpoint_chain, cr.sparsity, cr.sparse_jacobian, cr.sparse_hessian),
]
SAYING = [cr.primitive, cr.def_partials, cr.def_linear, cr.def_rules, cr.register_derivative]
SECTIONS = ["Parameters", "Returns", "Raises", "Notes", "References", "Examples"]


@pytest.mark.parametrize("transform", [*RUNNING, *SAYING], ids=lambda transform: transform.__name__)
def test_documentation(transform: Any) -> None:
    """Every parameter, what comes out, what is raised, an example; of what runs a function, its cost and memory too."""
    doc = inspect.getdoc(transform) or ""
    sections = re.split(r"^(\w+)\n-+\n", doc, flags=re.MULTILINE)
    said = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert [name for name in said if name != "Warns"] == [name for name in SECTIONS if name in said]
    assert {"Parameters", "Returns", "Raises", "Examples"} <= set(said)
    heads = re.findall(r"^\*?\w.*$", said["Parameters"], re.MULTILINE)
    explained = {name.strip(" *") for head in heads for name in head.partition(" : ")[0].split(",")}
    assert set(inspect.signature(transform).parameters) == explained
    for error in re.findall(r"^\w.*$", said["Raises"], re.MULTILINE):
        for name in error.split(", "):
            assert name in cr.errors.__all__ or name in ("ValueError", "TypeError"), name
    if transform in RUNNING:
        assert re.search(r"\b[Cc]osts?\b", said["Notes"])
        assert re.search(r"\b[Mm]emory\b|\bkeeps\b", said["Notes"])


# -- containers --------------------------------------------------------------------------------------------------------
@dataclasses.dataclass
class Layer:
    weight: Any
    name: str
    bias: Any = None


VECTOR = np.array([0.4, 1.1])
CONTAINERS = {
    "dict": {"b": VECTOR, "a": 0.5},
    "list": [VECTOR, 0.5],
    "tuple": (VECTOR, 0.5),
    "named tuple": Pair(VECTOR, 0.5),
    "dataclass": Layer(VECTOR, "first"),
    "nested, with None": {"layers": [Layer(VECTOR, "first", 0.5), Pair(None, (0.3, ()))], "none": None},
}


def squares(p: Any) -> Any:
    return map_tree(lambda x: x * x, p)


def sum_of(p: Any) -> Any:
    return sum((np.sum(x**3) for x in flatten(p)[0]), 0.0)


def stacked(p: Any) -> Any:
    return map_tree(lambda x: np.stack([x, 2 * x]), p)


# Of a container p: what comes of it, and of each of its arrays, in the same place.
KEPT: dict[str, tuple[Any, Any]] = {
    "grad": (lambda p: cr.grad(sum_of)(p), lambda x: 3 * x * x),
    "value_and_grad": (lambda p: cr.value_and_grad(sum_of)(p)[1], lambda x: 3 * x * x),
    "aux": (lambda p: cr.grad(lambda p: (sum_of(p), squares(p)), has_aux=True)(p)[1], lambda x: x * x),
    "value of vjp": (lambda p: cr.vjp(squares, p)[0], lambda x: x * x),
    "vjp": (lambda p: cr.vjp(squares, p)[1](p)[0], lambda x: 2 * x * x),
    "value of jvp": (lambda p: cr.jvp(squares, (p,), (p,))[0], lambda x: x * x),
    "jvp": (lambda p: cr.jvp(squares, (p,), (p,))[1], lambda x: 2 * x * x),
    "linearize": (lambda p: cr.linearize(squares, p)[1](p), lambda x: 2 * x * x),
    "jacobian's columns": (
        lambda p: cr.jacobian(lambda t: map_tree(lambda x: x * t, p), mode="fwd")(0.3),
        lambda x: x,
    ),
    "jacobian's rows": (lambda p: cr.jacobian(sum_of, mode="rev")(p), lambda x: 3 * x * x),
    "hessian": (
        lambda p: cr.hessian(lambda p, t: sum_of(p) * t * t, argnums=(0, 1))(p, 0.5)[1][0],
        lambda x: 3 * x * x,
    ),
    "hvp": (lambda p: cr.hvp(sum_of, (p,), (p,))[0], lambda x: 6 * x * x),
    "ggn_vp": (lambda p: cr.ggn_vp(squares, lambda y: sum_of(y) / 6, (p,), (p,))[0], lambda x: 4 * x**5),
    "elementwise_grad": (
        lambda p: cr.elementwise_grad(lambda t: (t**2, squares(p)), has_aux=True)(1.0)[1],
        lambda x: x * x,
    ),
    "derivative": (lambda p: cr.derivative(lambda t: map_tree(lambda x: x * t**3, p), 2)(0.5), lambda x: 3 * x),
    "value of jet": (lambda p: cr.jet(squares, (p,), (map_tree(lambda x: [x, 0 * x], p),))[0], lambda x: x * x),
    "vmap": (lambda p: cr.vmap(squares)(stacked(p)), lambda x: np.stack([x * x, 4 * x * x])),
    "vmap along its last axis": (
        lambda p: cr.vmap(squares, out_axes=-1)(stacked(p)),
        lambda x: np.stack([x * x, 4 * x * x], -1),
    ),
    "checkpoint": (lambda p: cr.checkpoint(squares)(p), lambda x: x * x),
    "gradient through checkpoint": (lambda p: cr.grad(cr.checkpoint(sum_of))(p), lambda x: 3 * x * x),
    "checkpoint_chain": (lambda p: cr.checkpoint_chain((squares, 2), 1)(p), lambda x: x**4),
    "gradient through checkpoint_chain": (
        lambda p: cr.grad(lambda p: sum_of(cr.checkpoint_chain((squares, 2), 1)(p)))(p),
        lambda x: 12 * x**11,
    ),
    "jit": (lambda p: cr.jit(squares)(p), lambda x: x * x),
    "what scan carries": (lambda p: cr.scan(lambda c, x: (squares(c), x), p, VECTOR)[0], lambda x: x**4),
    "what scan goes through": (
        lambda p: cr.scan(lambda c, x: (c, squares(x)), 0.0, stacked(p))[1],
        lambda x: np.stack([x * x, 4 * x * x]),
    ),
    "fori_loop": (lambda p: cr.fori_loop(0, 2, lambda i, c: squares(c), p), lambda x: x**4),
    "while_loop": (
        lambda p: cr.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, squares(c[1])), (0, p))[1],
        lambda x: x**4,
    ),
    "cond": (lambda p: cr.cond(True, squares, lambda p: p, p), lambda x: x * x),
    "cond under vmap": (
        lambda p: cr.vmap(lambda t: cr.cond(t > 0, lambda: squares(p), lambda: p))(np.array([1.0, -1.0])),
        lambda x: np.stack([x * x, x]),
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", KEPT)
def test_containers_are_kept(name: str, container: str) -> None:
    """The same classes, keys, names and None, and plain arrays in the places of the arrays."""
    make, each_array = KEPT[name]
    given = CONTAINERS[container]
    found = make(given)
    assert flatten(found)[2] == flatten(given)[2]
    assert type(found) is type(given)
    for x, desired in zip(flatten(found)[0], flatten(given)[0], strict=True):
        assert type(x) in (np.ndarray, np.float64, float)
        np.testing.assert_allclose(x, each_array(desired), rtol=1e-13)


def test_axes_of_a_dataclass() -> None:
    """A field that belongs to its form has no axis, whatever stands there."""
    layer = Layer(np.arange(6.0).reshape(2, 3), "first", np.ones(3))
    found = cr.vmap(squares, in_axes=(Layer(1, "", 0),), out_axes=Layer(0, "", -1))(layer)
    np.testing.assert_array_equal(found.weight, layer.weight.T**2)
    assert found.name == "first"


def test_jit_looks_at_the_text_in_a_dataclass() -> None:
    @cr.jit
    def named(layer: Any) -> Any:
        return layer.weight * len(layer.name)

    for name in ("ab", "ab", "abc", "ab"):
        np.testing.assert_array_equal(named(Layer(VECTOR, name)), VECTOR * len(name))
    assert len(named.variants) == 2


# -- memory ----------------------------------------------------------------------------------------------------------
def turned(x: Any) -> Any:
    return np.sin(x) * 1.01


LOOPS = {
    "fori_loop": lambda n: lambda x: cr.fori_loop(0, n, lambda i, c: turned(c), x),
    "while_loop": lambda n: lambda x: cr.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, turned(s[1])), (0, x))[1],
    "scan": lambda n: lambda x: cr.scan(lambda c, _: (turned(c), None), x, length=n)[0],
    "checkpoint": lambda n: lambda x: cr.fori_loop(0, n, lambda i, c: cr.checkpoint(turned)(c), x),
    "checkpoint_chain": lambda n: cr.checkpoint_chain((turned, n), 2),
    "vmap": lambda n: lambda x: cr.vmap(lambda c: cr.fori_loop(0, n, lambda i, c: turned(c), c))(x),
}


@pytest.mark.parametrize("name", LOOPS)
def test_forward_mode_keeps_nothing_of_a_loop(name: str) -> None:
    x = np.ones(10_000)

    def peak(run: Any) -> int:
        tracemalloc.start()
        run()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    def along(f: Any) -> Any:
        return lambda x: cr.jvp(f, (x,), (x,))[1]

    for forward in (along, lambda f: along(along(f)), lambda f: lambda x: cr.jet(f, (x,), ([x, x],))):
        peak(lambda forward=forward: forward(LOOPS[name](3))(x))
        short, long = (peak(lambda n=n, forward=forward: forward(LOOPS[name](n))(x)) for n in (10, 100))
        assert long < short + 4 * x.nbytes
