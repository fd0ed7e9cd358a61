"""What a rule is, and the one registry that holds them all.

A rule says what the local derivative of one operation is.  It knows no walker and no Tensor: its functions are
plain NumPy, which runs on arrays and, through NumPy's protocols, on Tensors alike.  There are three kinds,

- `row`: elementwise; a partial derivative per operand, as a formula.  Both modes are printed from it.
- `linear`, `multilinear`: linear in each operand; a transpose per operand.  Forward mode is the function itself.
- `custom`: a pull per operand and a push, as functions.

and two declarations: `nondifferentiable` and `not_implemented`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from math import inf
from sys import _getframe
from types import MappingProxyType, ModuleType
from typing import Any, Literal

import numpy as np

from ..errors import UnsupportedFunctionError
from ..formula import Builder, Notation, names
from ..graph import Node

__all__ = [
    "Rule",
    "apply",
    "computed_by",
    "custom",
    "functions",
    "implements",
    "linear",
    "multilinear",
    "nondifferentiable",
    "not_implemented",
    "qualified_name",
    "refuse_missing_axes",
    "row",
    "rules",
    "sparse_product",
    "undispatched",
]

Function = Callable[..., Any]
LETTERS = ("a", "b", "c", "d", "e")
EVERYTHING = frozenset("abc")  # of a rule for any number of operands: all of them


@dataclass(slots=True, eq=False, repr=False)
class Rule:
    """How one operation is computed and differentiated.

    Attributes
    ----------
    name : str
    value : what computes it: called with the operands, then the parameters
    kind : which of the fields below say the derivative
    partials : elementwise: the partial derivative in each operand, a formula in `a b c` and the output `y`; None where
        nobody knows one: asking for it raises
    needs : per operand, which of `a b c y` its derivative reads (`EVERYTHING`: all operands); empty if none, and where
        the partials say it
    pulls : otherwise: per operand, a function `(cotangent, node)` giving that operand's cotangent; None: zero
    pull_all : for any number of operands: a function `(cotangent, node)` giving all of them
    add_into : of a linear rule: a function `(total, cotangent, *params)` that adds the transpose into an array in place
    push : function `(node, tangents)` giving the output's tangent; None in `tangents` is zero
    pull_in_place : of a write `(base, value)`: a function `(cotangent, node, wanted)` that turns the cotangent, which
        is the walk's alone, into that of the base, and returns that of the value if it is wanted
    push_in_place : of a write: a function `(total, tangent, node)` that writes the value's tangent into the base's
    careful_pulls, careful_push : the same for the second walk, where these multiply by what may be infinite or NaN
    asks : of a custom rule: `(node, tangents) -> bool`: whether in forward mode, since the tangents of the result are
        not determined, the pull must be asked afterwards if that matters to what was computed (it warns)
    conjugate : whether the partials are conjugated in reverse mode, as they are for complex operands
    complex_rule : the rule for complex operands, if it is another one
    recurrence : of an elementwise rule whose derivative is written with itself: `(times, xs, ys)`, the next coefficient
        of the result's Taylor series, from those of the operands and those of the result so far; None is zero
    variant : `(rule, values, nodes) -> rule`: whose derivative to take for these operands; the value stays this rule's
    additive : whether it is linear in all operands together: f(x + t, y + u) = f(x, y) + f(t, u)
    turns : whether the result shows the operand with its axes in another order
    batch : how to apply it to many examples at once (see `rules/batching.py`); None: as its kind says, or one by one
    domain : per operand, an interval where the function is smooth (used by tests and documentation)
    source : paper or page that the derivative comes from
    reach, products, bends : which elements of the operands each element of the result depends on, and which of them
        interact nonlinearly; see `rules/reach.py`
    notation : how mathematics writes it, if that is no call by its name
    factors : of a rule without formulas: per operand, its factor in the chain rule as one would write it by hand, in
        the operands `a b c`, the output `y` and the cotangent `□`; ᵀ transposes (see rules/notation.py)
    runs_traced : whether a program that is being written down goes into `value`, which is a function of the user's,
        instead of calling it
    captures : whether derivatives call a function of the user's again, which finds operands where it was defined, and
        not in the node
    factor_rank : the highest rank of an operand for which `factors` say it right
    recycles : whether `value` is a ufunc whose results have the dtype of its operands, so that large ones may be put
        where the caller says
    consists_of : what does the same by NumPy's calls alone, of the same arguments: kernels are made of these; of an
        elementwise rule, `value` itself if it is not one such call
    rounded : another function that gives `value` to within rounding, for programs that need not keep every bit
    keeps : what `kept` said, by the bits of the operands that are differentiated and one bit more
    operator : of one operand: the printed function that applies it to a Tensor
    pull, careful_pull, recorded_pull, forward, careful_forward : what the walkers made of the above, on first use
    """

    name: str
    value: Function
    kind: Literal["elementwise", "linear", "custom", "nondifferentiable"]
    partials: tuple[str | None, ...] = ()
    needs: tuple[frozenset[str], ...] = ()
    pulls: tuple[Function | None, ...] = ()
    pull_all: Function | None = None
    add_into: Function | None = None
    push: Function | None = None
    pull_in_place: Function | None = None
    push_in_place: Function | None = None
    careful_pulls: tuple[Function | None, ...] = ()
    careful_push: Function | None = None
    asks: Function | None = None
    conjugate: bool = False
    complex_rule: Rule | None = None
    recurrence: Function | None = None
    variant: Callable[[Rule, Sequence[Any], Sequence[Any]], Rule] | None = None
    additive: bool = False
    turns: bool = field(default=False, init=False)
    batch: Function | None = None
    domain: tuple[tuple[float, float], ...] = ()
    source: str = ""
    reach: Function | None = field(default=None, init=False)
    products: Function | None = field(default=None, init=False)
    bends: bool = field(default=True, init=False)
    notation: Notation | None = None
    factors: tuple[str, ...] = ()
    factor_rank: float = inf
    runs_traced: bool = False
    captures: bool = False
    consists_of: Function | None = None
    rounded: Function | None = None
    recycles: bool = field(default=False, init=False)
    keeps: dict[int, tuple[tuple[int, ...], bool]] = field(default_factory=dict, init=False)
    operator: Function | None = field(default=None, init=False)
    pull: Function | None = field(default=None, init=False)
    careful_pull: Function | None = field(default=None, init=False)
    recorded_pull: Function | None = field(default=None, init=False)
    forward: Function | None = field(default=None, init=False)
    careful_forward: Function | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not any(self.needs):
            self.needs = ()
        ufunc = self.value
        if self.partials and not isinstance(ufunc, np.ufunc):
            self.consists_of = self.consists_of or ufunc
        elif self.partials and isinstance(ufunc, np.ufunc) and ufunc.nin <= 2:
            self.recycles = f"{'f' * ufunc.nin}->f" in ufunc.types

    def __repr__(self) -> str:
        return f"<Rule {self.name}>"

    def __call__(self, *operands: Any, **params: Any) -> Any:
        """Apply to arrays or Tensors."""
        for operand in operands:
            record = getattr(type(operand), "_record", None)
            if record is not None:
                return record(self, operands, (), params)
        return self.value(*operands, **params)


def apply(rule: Rule, operands: Sequence[Any], rest: tuple[Any, ...] = (), options: Any = MappingProxyType({})) -> Any:
    """Apply a rule to arrays or Tensors, with further arguments by position and by name."""
    for operand in operands:
        record = getattr(type(operand), "_record", None)
        if record is not None:
            return record(rule, operands, rest, dict(options))
    return rule.value(*operands, *rest, **options)


rules: dict[str, Rule] = {}
functions: dict[Any, Rule | Function] = {}  # NumPy's function -> what a call of it with Tensors runs
computed_by: dict[Any, Rule] = {}  # what computes a rule's value -> the rule; the first one, if several share it
reasons: dict[Any, str] = {}  # functions that are declared without a derivative or not implemented, and why
undispatched: dict[str, str] = {}  # names of functions that NumPy runs without asking, and what comes of that

formulas = Builder(rules)
UNKNOWN = formulas.symbol("unknown")  # stands for a partial derivative that is not known


def partial_trees(rule: Rule) -> tuple[Node, ...]:
    """The partial derivatives of an elementwise rule as graphs; of others, none."""
    return _partial_trees(rule) if rule.partials else ()  # others may be of one call, and are not to be kept


@lru_cache(maxsize=4096)
def _partial_trees(rule: Rule) -> tuple[Node, ...]:
    allowed = (*LETTERS[: len(rule.partials)], "y")
    return tuple(UNKNOWN if partial is None else formulas.parse(partial, allowed) for partial in rule.partials)


def kept(rule: Rule, active: tuple[bool, ...]) -> tuple[tuple[int, ...], bool]:
    """Which operands' values, and whether the output's, the derivative in the active operands reads."""
    needs = rule.needs or tuple(names(tree) for tree in partial_trees(rule)) or (frozenset(),)
    read: frozenset[str] = frozenset()
    for position, is_active in enumerate(active):
        if is_active:
            read |= needs[min(position, len(needs) - 1)]
    if read >= EVERYTHING:
        return tuple(range(len(active))), "y" in read
    return tuple(i for i, letter in enumerate(LETTERS[: len(active)]) if letter in read), "y" in read


def _register(rule: Rule, numpy_functions: Iterable[Any]) -> Rule:
    if rule.name in rules:
        raise ValueError(f"there is a rule named {rule.name!r} already")
    rules[rule.name] = rule
    computed_by.setdefault(rule.value, rule)
    for function in numpy_functions:
        functions[function] = rule
    return rule


def row(
    name: str,
    operands: str,
    *partials: str | None,
    value: Function | None = None,
    domain: tuple[tuple[float, float], ...] | None = None,
    variant: Callable[[Rule, Sequence[Any], Sequence[Any]], Rule] | None = None,
    complex_rule: Rule | None = None,
    recurrence: Function | None = None,
    consists_of: Function | None = None,
) -> Rule:
    """Register an elementwise operation: one line of the table.

    Parameters
    ----------
    name : str
        NumPy's name; also the name by which other formulas call it.
    operands : str
        ``"a"``, ``"a b"``, ``"a b c"`` or ``"a b c d"``.
    *partials : str
        Per operand, the partial derivative, a formula in the operands and the output ``y``; None where it is not known.
    value : callable, optional
        What computes it; NumPy's ufunc of that name by default.
    consists_of : callable, optional
        The same in NumPy's calls, where `value` decides by the values.
    """
    letters = tuple(operands.split())
    assert len(letters) == len(partials), name
    value = value or getattr(np, name)
    domain = domain or ((-2.0, 2.0),) * len(letters)
    rule = Rule(name, value, "elementwise", partials, domain=domain, variant=variant, recurrence=recurrence)
    rule.consists_of = consists_of or rule.consists_of
    rule.complex_rule = complex_rule or Rule(
        name, value, "elementwise", partials, domain=domain, conjugate=True, recurrence=recurrence
    )
    return _register(rule, [value] if isinstance(value, np.ufunc) else [])


def linear(
    function: Function,
    transpose: Function,
    *,
    name: str = "",
    add_into: Function | None = None,
    batch: Function | None = None,
    also: Iterable[Any] = (),
) -> Rule:
    """Register an operation that is linear in its first argument.

    Parameters
    ----------
    function : callable
        Called as `function(x, *rest, **options)`; it is its own push.
    transpose : callable
        Called as `transpose(cotangent, x, *rest, **options)`, where of `x` only shape and dtype are known.
    add_into : callable, optional
        Called as `add_into(total, cotangent, *rest, **options)`: adds the transpose into an array in place, where that
        is cheaper, as for reading a few elements.
    batch : callable, optional
        How to apply it to many examples at once; one by one by default.
    also : iterable
        Other NumPy functions that are the same operation.
    """

    def pull(ct: Any, node: Node) -> Any:
        rest, options = node.params or ((), {})
        return transpose(ct, node.operands[0], *rest, **options)

    rule = Rule(name or function.__name__, function, "linear", pulls=(pull,), add_into=add_into)
    rule.bends = False
    rule.batch = batch
    return _register(rule, [function, *also])


def multilinear(
    function: Function, *pulls: Function, name: str = "", needs: Iterable[str] | None = None, also: Iterable[Any] = ()
) -> Rule:
    """Register an operation that is linear in each operand: a product.

    Each pull is called as `pull(cotangent, node)` and reads the other operands' values from the node.
    """
    reads = tuple(frozenset(n) for n in needs) if needs else (frozenset("b"), frozenset("a"))
    rule = Rule(name or function.__name__, function, "linear", needs=reads, pulls=pulls)
    return _register(rule, [function, *also])


def custom(
    name: str,
    value: Function,
    *,
    needs: Iterable[str],
    pulls: tuple[Function | None, ...] = (),
    pull_all: Function | None = None,
    push: Function | None = None,
    pull_in_place: Function | None = None,
    push_in_place: Function | None = None,
    careful_pulls: tuple[Function | None, ...] = (),
    careful_push: Function | None = None,
    asks: Function | None = None,
    additive: bool = False,
    batch: Function | None = None,
    source: str = "",
    captures: bool = False,
    consists_of: Function | None = None,
    also: Iterable[Any] = (),
) -> Rule:
    """Register an operation whose derivative is a function; `needs` says, per operand, what its pull reads."""
    rule = Rule(
        name,
        value,
        "custom",
        needs=tuple(frozenset(n) for n in needs),
        pulls=pulls,
        pull_all=pull_all,
        push=push,
        pull_in_place=pull_in_place,
        push_in_place=push_in_place,
        careful_pulls=careful_pulls,
        careful_push=careful_push,
        asks=asks,
        additive=additive,
        batch=batch,
        source=source,
        captures=captures,
        consists_of=consists_of,
    )
    return _register(rule, also)


def nondifferentiable(*several: Any, reason: str = "") -> None:
    """Declare functions whose result has no derivative: indices, truth values, properties."""
    for function in several:
        functions[function] = rule = Rule(function.__name__, function, "nondifferentiable")
        rules.setdefault(rule.name, rule)
        if reason:
            reasons[function] = reason


def not_implemented(reason: str, *several: Any) -> None:
    """Declare functions, or modules by name, that raise, and why."""
    for function in several:
        reasons[function] = reason


def implements(*several: Any) -> Callable[[Function], Function]:
    """Declare what runs when a NumPy function is called with Tensors: a function of the same signature."""

    def register(implementation: Function) -> Function:
        for function in several:
            functions[function] = implementation
        return implementation

    return register


def _on_elements(function: Function) -> Function:
    """NumPy's polynomials are plain Python that runs on arrays of 0-d Tensors; a few of them ask, since NumPy 2.4."""

    def run(*args: Any, **options: Any) -> Any:
        return function(*(np.asanyarray(x) if hasattr(type(x), "_record") else x for x in args), **options)

    return run


def refuse_missing_axes() -> None:
    """Raise where NumPy's polynomials did not give coefficients axes for a Tensor, as they do for an ndarray.

    They ask `isinstance(x, ndarray)` and go on with Python's operators: where the shapes then fit, they fit by chance.
    """
    frame = _getframe(2)
    while (package := frame.f_globals.get("__package__") or "").startswith("chainrule") and frame.f_back is not None:
        frame = frame.f_back
    if package == "numpy.polynomial":
        there = frame.f_locals
        x: Any = there.get("x")
        coefficients = np.asanyarray(there.get("r", there.get("c")))
        if hasattr(type(x), "_record") and x.ndim and there.get("tensor") and coefficients.ndim > 1:
            raise UnsupportedFunctionError(
                f"np.polynomial's {frame.f_code.co_name} was called with a Tensor of shape {x.shape} and coefficients "
                f"of shape {coefficients.shape}: NumPy gives them axes for an ndarray only. "
                "Pass np.asanyarray(t) for the argument t, or tensor=False to broadcast it against them."
            )


def qualified_name(function: Any) -> str:
    """A function of NumPy's by its module and name, as the published tables key it."""
    return f"{getattr(function, '__module__', None) or 'numpy'}.{function.__name__}"


def special_functions() -> ModuleType:
    """`chainrule.scipy.special`, with its rules: SciPy is optional, so it is loaded when it is first needed."""
    return import_module("chainrule.scipy.special")


def lookup(function: Any) -> Rule | Function:
    """Find what a call of NumPy's `function` with Tensors runs.

    Raises
    ------
    UnsupportedFunctionError
        If there is nothing: the message names the function and says what to do.
    """
    found = functions.get(function)
    if found is None and isinstance(function, np.ufunc) and "scipy.special" in sys.modules:
        special_functions()
        found = functions.get(function)
    if found is None:
        module = getattr(function, "__module__", None) or "numpy"
        if module.startswith("numpy.polynomial"):
            return _on_elements(function.__wrapped__)
        full = f"{module.removeprefix('numpy._core.').replace('numpy.', 'np.')}.{function.__name__}"
        if isinstance(function, np.ufunc) or module == "numpy":
            ours = getattr(np, function.__name__, None) is function
            full = f"{'np' if ours else 'scipy.special'}.{function.__name__}"
        why = reasons.get(function) or reasons.get(module, "chainrule has no derivative rule for it yet")
        raise UnsupportedFunctionError(
            f"{full} was called with a Tensor, but {why}. "
            "Supported functions are listed in docs/coverage.md; to use it as a constant, pass t.data."
        )
    return found


def sparse_product(a: Any, b: Any) -> Any:
    """``a @ b``, where one is a sparse matrix of SciPy's: its rule too is loaded when it is first needed."""
    return import_module("chainrule.scipy.sparse").product(a, b)


@lru_cache(maxsize=1024)
def parameter_names(function: Function) -> tuple[str, ...]:
    """The names of a function's parameters, in order."""
    return tuple(inspect.signature(function).parameters)
