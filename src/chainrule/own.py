"""Operations of your own, registered as the library registers its own.

`primitive` makes an operation of a function that chainrule cannot look into, and `def_partials`, `def_linear` and
`def_rules` say its derivative: the three kinds of rules/registry.py.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .errors import ConversionError, GradientShapeError, NoDerivativeError
from .graph import Node
from .rules.linear import zero_wins
from .rules.registry import EVERYTHING, LETTERS, Rule, formulas, partial_trees, rules
from .rules.registry import functions as numpy_functions
from .tensor import Tensor, applied, describe, record, tensor_like

__all__ = [
    "Primitive",
    "def_linear",
    "def_partials",
    "def_rules",
    "primitive",
    "register_derivative",
]

Function = Callable[..., Any]
ALL = EVERYTHING | {"y"}


class Primitive(Rule):
    """An operation made by `primitive`: call it like the function it was made of.

    Parameters
    ----------
    name : str
    function : callable
    """

    def __init__(self, name: str, function: Function) -> None:
        super().__init__(name, function if isinstance(function, np.ufunc) else _on_arrays(name, function), "custom")
        functools.update_wrapper(self, function)
        self.operands, self.several = _operands(function)

    def __reduce__(self) -> Any:
        """By name: pickle looks in the module where it was made, as for functions, or else among all operations."""
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for part in (name := getattr(self, "__qualname__", self.name)).split("."):
            found = getattr(found, part, None)
        return name if found is self else (operation_named, (self.name,))

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Apply to arrays or Tensors."""
        count = len(args) if self.several else len(self.operands)
        for name in self.operands[len(args) : count]:
            if name in options:
                args = (*args, options.pop(name))
        operands, rest = [tensor_like(x) for x in args[:count]], args[count:]
        for x in (*rest, *options.values()):
            if isinstance(tensor_like(x), Tensor):
                raise NoDerivativeError(
                    f"{self.name} was called with {describe(x)} for a parameter that is not an operand: "
                    "operands are the positional parameters without a default"
                )
        if any(isinstance(x, Tensor) for x in operands) and (self.several or len(operands) == count):
            return record(self, operands, rest, options)
        return applied(self, operands, rest, options)


def operation_named(name: str) -> Rule:
    """The operation that another process has pickled by its name."""
    if name not in rules:
        raise ConversionError(f"there is no operation named {name!r} here: import the module that makes it first")
    return rules[name]


def _operands(function: Function) -> tuple[tuple[str, ...], bool]:
    """The names of a function's positional parameters without a default, and whether it takes any number of them."""
    if isinstance(function, np.ufunc):
        return LETTERS[: function.nin], False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # compiled, and does not say
        return (), True
    named = tuple(
        p.name
        for p in parameters
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is inspect.Parameter.empty
    )
    return named, any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _on_arrays(name: str, function: Function) -> Function:
    """The function, of arrays, whose result is an array: a Tensor in it would have come in by another way."""

    @functools.wraps(function)
    def value(*args: Any, **options: Any) -> Any:
        return plain_result(function(*args, **options), name)

    return value


def plain_result(x: Any, name: str) -> Any:
    """The array of a result that was computed from arrays."""
    x = tensor_like(x)
    if isinstance(x, Tensor):
        if x.node is not None:
            raise ConversionError(
                f"{name} uses {describe(x)} (or one that it depends on) that is not among its arguments, so its "
                "derivative would be lost. Pass it as an argument, or detach() it."
            )
        x = x.data
    return x if hasattr(x, "dtype") else np.asarray(x)[()]


def primitive(function: Function | None = None, *, name: str = "") -> Any:
    """Make an operation of a function; `def_partials`, `def_linear` or `def_rules` then says its derivative.

    Parameters
    ----------
    function : callable
        Called with plain arrays, so it may do anything: run compiled code, use `math`, write into buffers.  Its
        positional parameters without a default are the operands; the others are parameters, which have no derivative.
    name : str, optional
        By which formulas call it, and errors and pictures name it; the function's own by default.

    Returns
    -------
    Primitive
        Called like the function, with arrays or Tensors.

    Raises
    ------
    ValueError
        If there is an operation of that name, or the name is none (a lambda's).

    Examples
    --------
    >>> import math
    >>> @primitive
    ... def log_gamma(x):
    ...     return np.vectorize(math.lgamma)(x)
    >>> @primitive
    ... def digamma(x):
    ...     return np.vectorize(lambda x: (math.lgamma(x + 1e-5) - math.lgamma(x - 1e-5)) / 2e-5)(x)
    >>> _ = def_partials(log_gamma, "digamma(a)")
    >>> x = Tensor([1.0, 2.0])
    >>> log_gamma(x).backward()
    >>> np.round(x.grad, 4)
    array([-0.5772,  0.4228])
    """
    if function is None:
        return functools.partial(primitive, name=name)
    name = name or getattr(function, "__name__", "")
    if not name.isidentifier():
        raise ValueError(f"an operation needs a name, and {name!r} is none: primitive(function, name='...')")
    op = Primitive(name, function)
    before = rules.get(name)
    if isinstance(before, Primitive) and _place(before) == _place(op):  # a notebook's cell was run again
        del rules[name]
        for key in [key for key in formulas._known if key[0] == name]:
            del formulas._known[key]
    if name in rules:
        raise ValueError(f"there is an operation named {name!r} already: primitive(function, name='...')")
    rules[name] = op
    return op


def _place(op: Primitive) -> tuple[Any, Any]:
    return getattr(op, "__module__", None), getattr(op, "__qualname__", None)


def _fresh(op: Any, what: str, count: int | None) -> Primitive:
    """Check that this operation can be given a derivative of so many operands."""
    if not isinstance(op, Primitive):
        raise TypeError(f"{what} takes what primitive(...) returns, not {describe(op)}")
    if op.partials or op.pulls or op.pull_all or op.push:
        raise ValueError(f"{op.name} has a derivative already")
    if count is not None and not op.several and count != len(op.operands):
        operands = f"{len(op.operands)} operand{'s' * (len(op.operands) != 1)} ({', '.join(op.operands)})"
        given = f"{count} derivative{'s were' if count != 1 else ' was'} given"
        raise ValueError(f"{what}: {op.name} has {operands}, but {given}")
    # by calls before there was a derivative
    for made in ("pull", "careful_pull", "recorded_pull", "forward", "careful_forward"):
        setattr(op, made, None)
    op.keeps.clear()
    return op


def def_partials(op: Any, *partials: str | None, domain: tuple[tuple[float, float], ...] | None = None) -> Any:
    """Say the derivative of an elementwise operation: per operand, the partial derivative as a formula.

    Parameters
    ----------
    op : Primitive
    *partials : str
        A formula in the operands ``a b c d`` (by position) and the output ``y``, with numbers, ``+ - * / **``,
        comparisons, ``where(condition, a, b)`` and calls of elementwise operations; None where nobody knows one.
    domain : tuple of pairs, optional
        Per operand, an interval where the function is smooth.

    Returns
    -------
    Primitive
        `op`.

    Raises
    ------
    FormulaError
        If a formula does not parse.
    ValueError
        If there is not one formula per operand.

    Examples
    --------
    >>> @primitive
    ... def softsign(x):
    ...     return x / (1 + np.abs(x))
    >>> _ = def_partials(softsign, "(1 - absolute(y))**2")
    >>> x = Tensor(1.0)
    >>> softsign(x).backward()
    >>> float(x.grad)
    0.25
    """
    op = _fresh(op, "def_partials", len(partials))
    if not 1 <= len(partials) <= len(LETTERS):
        raise ValueError(f"def_partials: {op.name} has {len(partials)} operands; formulas are for one to four")
    for partial in partials:
        if partial is not None and not isinstance(partial, str):
            raise TypeError(
                f"def_partials takes formulas, such as 'cos(a)', and {op.name} was given {partial!r}. A derivative "
                "that is a function goes to def_rules: pulls=[lambda ct, node: ct * ...]"
            )
    op.partials = partials
    try:
        partial_trees(op)
    except Exception:
        op.partials = ()
        raise
    op.kind = "elementwise"
    op.domain = domain or ((-2.0, 2.0),) * len(partials)
    op.complex_rule = Rule(op.name, op.value, "elementwise", partials, domain=op.domain, conjugate=True)
    return op


def def_linear(op: Any, *transposes: Function) -> Any:
    """Say the derivative of an operation that is linear in each operand by itself: per operand, the transpose.

    Parameters
    ----------
    op : Primitive
    *transposes : callable
        Called as ``transpose(cotangent, *operands, **parameters)``, with the operation's own arguments; returns the
        operand's cotangent.  It does not read the values of its own operand, of which only shape and dtype are sure to
        be known.

    Returns
    -------
    Primitive
        `op`.

    Raises
    ------
    ValueError
        If there is not one transpose per operand, or `op` has a derivative already.

    Notes
    -----
    Forward mode is the function itself, so an operation that is linear in its operands only together, such as
    ``2*a + b``, is not meant; that is `def_rules`.

    Examples
    --------
    >>> @primitive
    ... def every_other(x):
    ...     return x[::2]
    >>> _ = def_linear(every_other, lambda ct, x: np.stack([ct, 0 * ct], axis=1).ravel()[: x.shape[0]])
    >>> x = Tensor([1.0, 2.0, 3.0])
    >>> every_other(x).backward()
    >>> x.grad
    array([1., 0., 1.])
    """
    op = _fresh(op, "def_linear", len(transposes))

    def pull_with(transpose: Function, position: int) -> Function:
        def pull(ct: Any, node: Node) -> Any:
            rest, options = node.params or ((), {})
            operands = [o if i == position else o.value for i, o in enumerate(node.operands)]
            return transpose(ct, *operands, *rest, **options)

        return pull

    count = len(transposes)
    op.kind = "linear"
    op.needs = tuple(frozenset(LETTERS[:count]) - {LETTERS[i]} for i in range(count))
    op.pulls = tuple(pull_with(transpose, i) for i, transpose in enumerate(transposes))
    return op


def def_rules(
    op: Any,
    *,
    pulls: Sequence[Function | None] | Function = (),
    push: Function | None = None,
    needs: Iterable[str] = (),
    source: str = "",
) -> Any:
    """Say the derivative of any operation, by functions.

    Parameters
    ----------
    op : Primitive
    pulls : sequence of callables, or callable
        Per operand, a function ``(cotangent, node)`` that gives the operand's cotangent, or None where it is zero; or
        one function that gives all of them.  In ``node.operands[i].value`` and ``node.value`` are the values of the
        operands and the result, in ``node.params`` the positional and keyword parameters.
    push : callable, optional
        A function ``(node, tangents)`` that gives the tangent of the result; in `tangents`, None is zero.
    needs : sequence of str, optional
        Per operand, what its pull reads, so that nothing else is kept: letters of ``abcd`` (operands) and ``y`` (the
        result).  Everything, by default.
    source : str, optional
        Paper or page that the derivative comes from.

    Returns
    -------
    Primitive
        `op`.

    Raises
    ------
    ValueError
        If there is not one pull per operand, or `op` has a derivative already.

    Notes
    -----
    The functions are plain NumPy: they run on arrays, and on Tensors where the derivative is differentiated in turn.
    A mode without a function raises `NoDerivativeError` when it is asked for.

    Examples
    --------
    >>> @primitive
    ... def inverse(x):
    ...     return np.linalg.inv(x)
    >>> def pull(ct, node):
    ...     return -(node.value.T @ ct @ node.value.T)
    >>> _ = def_rules(inverse, pulls=(pull,), needs=("y",))
    >>> x = Tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> np.trace(inverse(x)).backward()
    >>> x.grad
    array([[-0.25  , -0.    ],
           [-0.    , -0.0625]])
    """
    op = _fresh(op, "def_rules", None if callable(pulls) or not pulls else len(pulls))
    op.kind = "custom"
    if callable(pulls):
        op.pull_all = pulls
    else:
        op.pulls = tuple(pulls)
    op.push, op.source = push, source
    op.needs = tuple(frozenset(n) for n in needs) or (ALL,)
    return op


def register_derivative(
    function: Function,
    *partials: Function,
    vjps: Sequence[Function | None] = (),
    jvp: Function | None = None,
    name: str = "",
) -> Any:
    """Make an operation of a compiled function (Numba's, ctypes'), whose derivative is compiled, too.

    Parameters
    ----------
    function : callable
        Called with plain arrays and numbers.
    *partials : callable
        For an elementwise function: per operand, the partial derivative, called with the function's own arguments.
    vjps : sequence of callable, optional
        Otherwise: per operand, a function ``(cotangent, *arguments)`` that gives the operand's cotangent; None: zero.
    jvp : callable, optional
        And for forward mode: a function ``(tangents, *arguments)`` that gives the tangent of the result.  In the tuple
        `tangents` there is an array for each operand.
    name : str, optional
        As of `primitive`.

    Returns
    -------
    Primitive
        Called in place of `function`.  A NumPy ufunc, such as `numba.vectorize` makes, also works itself.

    Raises
    ------
    TypeError
        If there are neither partial derivatives, nor `vjps` or `jvp`, or both.
    ValueError
        If there are not as many as the function has operands, or there is an operation of that name.
    GradientShapeError
        In the backward pass, if one of `vjps` returns another shape than its operand's.

    Notes
    -----
    The derivatives are called with plain arrays.  For derivatives of higher order pass them as operations that have
    a derivative themselves: what `register_derivative` or `primitive` returned.

    Examples
    --------
    >>> import math
    >>> cosine = register_derivative(math.cos, lambda x: -math.sin(x), name="compiled_cosine")
    >>> sine = register_derivative(math.sin, cosine, name="compiled_sine")
    >>> x = Tensor(0.0)
    >>> sine(x).backward()
    >>> float(x.grad)
    1.0
    """
    if bool(partials) == bool(vjps or jvp):
        raise TypeError("register_derivative takes either partial derivatives, or vjps= and jvp=")
    name = name or getattr(function, "__name__", "")
    functions = partials or vjps
    derivatives: list[Any] = [d and _opaque(d, f"the derivative {i + 1} of {name}") for i, d in enumerate(functions)]
    op = primitive(function, name=name)
    try:
        if partials:
            def_rules(op, pulls=[_scaled(d, np.multiply) for d in derivatives], push=_summed(derivatives, np.multiply))
            op.careful_pulls = tuple(_scaled(d, zero_wins) for d in derivatives)
            op.careful_push = _summed(derivatives, zero_wins)
        else:
            pulls = [_by_vjp(name, i, d) for i, d in enumerate(derivatives)]
            def_rules(op, pulls=pulls, push=jvp and _by_jvp(_opaque(jvp, f"the jvp of {name}")))
    except ValueError:
        del rules[name]
        raise
    numpy_functions[function] = op  # ufuncs, Numba's own kind included, ask what to do with a Tensor
    return op


def _opaque(function: Any, name: str) -> Any:
    """An operation without a derivative, unless the function is one already."""
    return function if isinstance(function, Rule | np.ufunc) else Primitive(name, function)


def _arguments(node: Node) -> tuple[list[Any], dict[str, Any]]:
    rest, options = node.params or ((), {})
    return [*(operand.value for operand in node.operands), *rest], options


def _scaled(derivative: Function, times: Function) -> Function:
    def pull(ct: Any, node: Node) -> Any:
        args, options = _arguments(node)
        return times(ct, np.conj(derivative(*args, **options)))

    return pull


def _summed(derivatives: Sequence[Any], times: Function) -> Function:
    def push(node: Node, tangents: Sequence[Any]) -> Any:
        args, options = _arguments(node)
        terms = [times(t, d(*args, **options)) for t, d in zip(tangents, derivatives, strict=True) if t is not None]
        return functools.reduce(np.add, terms)

    return push


def _by_vjp(name: str, position: int, derivative: Any) -> Function | None:
    def pull(ct: Any, node: Node) -> Any:
        args, options = _arguments(node)
        result, shape = derivative(ct, *args, **options), node.operands[position].shape
        if result.shape != shape:
            raise GradientShapeError(
                f"vjp {position + 1} of {name} returned shape {result.shape} for an operand of shape {shape}"
            )
        return result

    return derivative and pull


def _by_jvp(derivative: Any) -> Function:
    def push(node: Node, tangents: Sequence[Any]) -> Any:
        args, options = _arguments(node)
        given = zip(tangents, node.operands, strict=True)
        whole = tuple(np.zeros_like(operand.value) if t is None else t for t, operand in given)
        return derivative(whole, *args, **options)

    return push
