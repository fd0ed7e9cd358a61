"""Loops and branches as functions, with JAX's signatures: `scan`, `fori_loop`, `while_loop`, `cond`.

They run the program as it comes, so what they record is what a plain loop or branch records, and every derivative
follows from that.  Outside of `vmap` a plain loop does as well; inside, where examples may want to go different ways,
these go all the ways that some example needs and select.  Under `jit` they are what stays a loop (`looping.py`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, cast

import numpy as np

from .arguments import name_of, shown
from .batch import Batched
from .compile.rolled import ImpureTurnError, NotRolledError, is_traced
from .errors import StructureError
from .graph import contexts
from .looping import loop
from .record import no_grad
from .rules.linear import anywhere
from .tensor import Tensor, describe, tensor_like
from .tree import flatten

__all__ = ["cond", "fori_loop", "scan", "while_loop"]

Function = Callable[..., Any]
AS_IT_IS = nullcontext()
WRITTEN_OUT = 64  # turns of a loop that `jit` writes down one by one: what they have in common is found that way


# -- what is carried ---------------------------------------------------------------------------------------------------
class _Carry:
    """What a loop carries from step to step: a container whose form, shapes and dtypes stay."""

    def __init__(self, init: Any, what: str) -> None:
        self.what = what
        self.leaves, self.rebuild, self.structure = flatten(init)
        self.leaves = [self._leaf(x) for x in self.leaves]

    @property
    def value(self) -> Any:
        """The container."""
        return self.rebuild(list(self.leaves))

    def _leaf(self, x: Any) -> Any:
        x = tensor_like(x)
        if _kind(x) not in tuple("biufc"):
            raise StructureError(
                f"{self.what} carries {describe(x)}, which is not numeric: let the functions capture it"
            )
        return x

    def leaves_of(self, new: Any) -> list[Any]:
        """The leaves of the next carry."""
        leaves, _, structure = flatten(new)
        if structure != self.structure:
            raise NotRolledError("another structure")
        return [tensor_like(x) for x in leaves]

    def step(self, new: Any, step: Any, active: Any = None) -> None:
        """Go on with `new`; where `active` is given, only for the examples in which it holds."""
        leaves, _, structure = flatten(new)
        if structure != self.structure:
            raise StructureError(
                f"{self.what}: step {step} made {shown(structure)} of a carry that was {shown(self.structure)}. Every "
                "step must return the container it was given"
            )
        leaves = [tensor_like(x) for x in leaves]
        for number, (before, after) in enumerate(zip(self.leaves, leaves, strict=True)):
            if not _alike(before, after):
                which = f", leaf {number} of the carry" if len(leaves) > 1 else ""
                raise StructureError(
                    f"{self.what}: step {step} made {_told(after)} of {_told(before)}{which}. Shapes and dtypes must "
                    "stay: begin with a carry of the final shape and dtype (0.0, not 0), or convert with astype"
                )
        if active is not None:
            leaves = [np.where(active, after, before) for before, after in zip(self.leaves, leaves, strict=True)]
        self.leaves = leaves


def _kind(x: Any) -> str:
    return cast(str, (x if hasattr(x, "dtype") else np.asarray(x)).dtype.kind)


def _shape(x: Any) -> Any:
    return x.shape if hasattr(x, "shape") else np.shape(x)


def _same_dtype(a: Any, b: Any) -> bool:
    """Python's numbers take the precision of what they meet, as everywhere in NumPy."""
    if hasattr(a, "dtype") and hasattr(b, "dtype"):
        return a.dtype is b.dtype or bool(a.dtype == b.dtype)
    return _kind(a) == _kind(b)


def _alike(a: Any, b: Any) -> bool:
    if a.__class__ is b.__class__:  # the usual case, asked in each turn: a quarter of the time of a `while_loop`
        if a.__class__ is float:
            return True
        if a.__class__ is Tensor:
            a, b = a.data, b.data
    return bool(_shape(a) == _shape(b)) and _same_dtype(a, b)


def _told(x: Any) -> str:
    return describe(x) if hasattr(x, "dtype") else f"the {type(x).__name__} {x!r}"


def _batched_truth(value: Any, what: str) -> bool:
    """Check that a predicate is one truth value; whether each example has its own."""
    if _shape(value) != ():
        raise StructureError(
            f"{what} is {describe(value)}, not a single truth value. Reduce it with np.all or np.any; to choose "
            "element by element, write np.where"
        )
    if not hasattr(value, "dtype") and not isinstance(value, int | float):
        raise StructureError(f"{what} is {describe(value)}, not a truth value. Is a `return` missing?")
    return isinstance(value, Batched)


# -- loops -------------------------------------------------------------------------------------------------------------
def scan(
    f: Function,
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Carry a state along the first axis of arrays, and stack what each step gives.

    Parameters
    ----------
    f : callable
        Called as ``f(carry, x)``; returns a pair ``(carry, y)``.
    init : array or container
        The first carry.
    xs : array or container, optional
        What is gone through along the first axis; without it, `x` is None and `length` says how many steps.
    length : int, optional
        The number of steps.
    reverse : bool, default False
        Begin at the end of `xs`; each `y` is still in the place of its `x`.
    unroll : int or bool, default 1
        How many steps JAX would put into one; accepted for its sake.  Under `jit`, True has all of them written out.

    Returns
    -------
    carry
        The last one.
    ys
        Container of arrays with a first axis for the steps; None if `f` gives None.

    Raises
    ------
    StructureError
        If the carry changes its structure, or the shape or dtype of an array in it; if the arrays in `xs` are not of
        one length; if `f` does not return a pair.
    ValueError
        If `length` or `unroll` is no number of steps.

    Notes
    -----
    Cost and memory are those of a loop: reverse mode keeps what each step records.  ``scan(checkpoint(f), ...)`` keeps
    the carries only; two scans inside each other, with the inner one under `checkpoint`, keep the square root of that.
    Without steps, `f` runs once, on zeros, to see what it returns.  `f` must not write into arrays that it has
    returned before.  Under `jit` a scan of more than 64 steps is one loop of the program, of which reverse mode keeps
    the carries only.

    Examples
    --------
    >>> carry, ys = scan(lambda total, x: (total + x, total * x), 0.0, np.array([1.0, 2.0, 3.0]))
    >>> float(carry), ys
    (6.0, array([0., 2., 9.]))
    """
    what = f"scan of {name_of(f)}"
    _check_unroll(unroll, what)
    leaves, rebuild, _ = flatten(xs)
    leaves = [tensor_like(x if hasattr(x, "dtype") else np.asarray(x)) for x in leaves]
    count = _length(leaves, length, what)
    carry = _Carry(init, what)
    if not count:
        with no_grad():
            _, y = _pair(f(carry.value, rebuild([np.zeros(x.shape[1:], x.dtype)[()] for x in leaves])), what)
        parts, rebuild_y, _ = flatten(y)
        return carry.value, rebuild_y([np.zeros((0, *np.shape(part)), getattr(part, "dtype", None)) for part in parts])
    if unroll is not True and count > WRITTEN_OUT:
        y_structure: list[Any] = []

        def turn(_: Any, state: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
            new, y = _pair(f(carry.rebuild(state), rebuild(parts)), what)
            parts, *y_structure[:] = flatten(y)
            return carry.leaves_of(new), [tensor_like(x) for x in parts]

        if (result := _as_one_step(turn, carry, leaves, turns=count, reverse=reverse)) is not None:
            return result[0], y_structure[0](result[1])
    columns: list[list[Any]] = []
    structure, rebuild_y = None, rebuild
    numbers = range(count)[:: -1 if reverse else 1]
    first = numbers[0]
    for i in numbers:
        new, y = _pair(f(carry.value, rebuild([x[i] for x in leaves])), what)
        carry.step(new, i)
        parts, rebuild_y, found = flatten(y)
        if i == first:
            structure, columns = found, [[] for _ in parts]
        elif found != structure:
            raise StructureError(f"{what}: step {i} gave y={shown(found)}, where steps before gave {shown(structure)}")
        for column, part in zip(columns, parts, strict=True):
            column.append(part)
            shape, before = _shape(part), _shape(column[0])
            if shape != before:
                raise StructureError(f"{what}: step {i} gave a y of shape {shape}, where steps before gave {before}")
    return carry.value, rebuild_y([np.stack(column[::-1] if reverse else column) for column in columns])


def _as_one_step(
    turn: Function, carry: _Carry, items: Sequence[Any] = (), **settings: Any
) -> tuple[Any, list[Any]] | None:
    """Under `jit`, do a loop as one step of the program: the last carry, and what was collected.

    None if it has to run turn by turn; that says what is wrong, too, where something is.
    """
    if contexts.program is None or not contexts.program.rolls:
        return None
    try:
        last, collected = loop(turn, carry.leaves, items, **settings)
    except ImpureTurnError:
        raise
    except Exception:  # noqa: BLE001 (whatever it is, it happens again turn by turn, or comes of trying)
        return None
    return carry.rebuild(last), collected


def _is_data(bound: Any) -> bool:
    """Whether a bound of a loop is an input of the program that is being traced."""
    return contexts.program is not None and is_traced(getattr(bound, "data", bound)) and bound.dtype.kind in "iu"


def _pair(result: Any, what: str) -> tuple[Any, Any]:
    if type(result) not in (tuple, list) or len(result) != 2:
        raise StructureError(f"{what} needs a function that returns a pair (carry, y), but it returned {_form(result)}")
    return result[0], result[1]


def _form(result: Any) -> str:
    structure = flatten(result)[2]
    return describe(result) if structure == "leaf" else shown(structure)


def _length(leaves: Sequence[Any], length: int | None, what: str) -> int:
    sizes = {}
    for number, x in enumerate(leaves):
        if not np.ndim(x):
            raise StructureError(f"{what}: array {number} of xs has no axis to go along; let the function capture it")
        sizes[number] = np.shape(x)[0]
    if length is not None:
        if not hasattr(length, "__index__") or length < 0:
            raise ValueError(f"{what}: length={length!r}, expected a number of steps, 0, 1, 2, ...")
        sizes[-1] = length
    if not sizes:
        raise StructureError(f"{what} has nothing to go along: give xs, or length=")
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{n} in array {i}" if i >= 0 else f"length={n}" for i, n in sizes.items())
        raise StructureError(f"{what}: arrays in xs must have as many steps each, but there are {told}")
    return int(next(iter(sizes.values())))


def _check_unroll(unroll: Any, what: str) -> None:
    if unroll is not None and (not isinstance(unroll, int | np.integer | np.bool_) or unroll < 0):
        raise ValueError(f"{what}: unroll={unroll!r}, expected a positive integer, True or False")


def fori_loop(lower: Any, upper: Any, body_fun: Function, init_val: Any, *, unroll: int | bool | None = None) -> Any:
    """Run ``value = body_fun(i, value)`` for `i` from `lower` up to, and without, `upper`.

    Parameters
    ----------
    lower, upper : int
        Inside of `vmap` they may differ from example to example.
    body_fun : callable
    init_val : array or container
    unroll : int or bool, optional
        As for `scan`.

    Returns
    -------
    The last value.

    Raises
    ------
    StructureError
        If the value changes its structure, or the shape or dtype of an array in it.

    Notes
    -----
    Cost: that of a Python loop; reverse mode keeps what each step records.  Under `jit` more than 64 steps are one loop
    of the program.

    Examples
    --------
    >>> from chainrule import Tensor
    >>> x = Tensor(1.5)
    >>> fori_loop(0, 4, lambda i, power: power * x, 1.0).backward()
    >>> float(x.grad)
    13.5
    """
    _check_unroll(unroll, f"fori_loop of {name_of(body_fun)}")
    if any(isinstance(bound, Batched) or _is_data(bound) for bound in (lower, upper)):
        _, value = while_loop(
            lambda carried: carried[0] < upper,
            lambda carried: (carried[0] + 1, body_fun(*carried)),
            (lower, init_val),
        )
        return value
    carry = _Carry(init_val, f"fori_loop of {name_of(body_fun)}")
    start, stop = _bound(lower, "lower"), _bound(upper, "upper")
    if unroll is not True and stop - start > WRITTEN_OUT:

        def turn(place: Any, state: list[Any], _: list[Any]) -> tuple[list[Any], list[Any]]:
            return carry.leaves_of(body_fun(place + start, carry.rebuild(state))), []

        if (result := _as_one_step(turn, carry, turns=stop - start)) is not None:
            return result[0]
    for i in range(start, stop):
        carry.step(body_fun(i, carry.value), i)
    return carry.value


def _bound(x: Any, name: str) -> int:
    try:
        return operator.index(x)
    except TypeError:
        raise TypeError(f"fori_loop: {name} is {describe(x)}; the bounds of a loop are integers") from None


def while_loop(cond_fun: Function, body_fun: Function, init_val: Any) -> Any:
    """Run ``value = body_fun(value)`` as long as ``cond_fun(value)`` holds.

    Parameters
    ----------
    cond_fun : callable
        Returns one truth value.
    body_fun : callable
    init_val : array or container

    Returns
    -------
    The first value for which `cond_fun` does not hold.

    Raises
    ------
    StructureError
        If the value changes its structure, or the shape or dtype of an array in it; if `cond_fun` returns an array, or
        no truth value.

    Notes
    -----
    Cost: that of a Python loop.  Derivatives are those of the steps that were taken, in both modes; how many they are
    is a constant.  Reverse mode keeps what each step records, and ``checkpoint(body_fun)`` less.  Under `jit` it is one
    loop of the program, and the number of steps is data.

    Inside of `vmap` the loop goes on until it is over for every example.  Those for which it is over keep their value
    and derivative, but `body_fun` still sees it: it must not raise for it.

    Examples
    --------
    >>> from chainrule import Tensor
    >>> x = Tensor(2.0)  # Newton's iteration for the square root
    >>> root = while_loop(lambda y: abs(y * y - x) > 1e-12, lambda y: (y + x / y) / 2, 1.0)
    >>> root.backward()
    >>> np.round([root.item(), x.grad], 6)
    array([1.414214, 0.353553])
    """
    what = f"while_loop of {name_of(body_fun)}"
    carry, step, active = _Carry(init_val, what), 0, None

    def turn(_: Any, state: list[Any], __: list[Any]) -> tuple[list[Any], list[Any]]:
        return carry.leaves_of(body_fun(carry.rebuild(state))), []

    condition = f"the condition of {what}"

    def goes_on(state: list[Any]) -> Any:
        holds = cond_fun(carry.rebuild(state))
        _batched_truth(holds, condition)
        return holds

    if (result := _as_one_step(turn, carry, condition=goes_on)) is not None:
        return result[0]
    while True:
        holds = cond_fun(carry.value)
        if _batched_truth(holds, condition):
            holds = holds != 0
            active = holds if active is None else active & holds
        elif active is not None and not holds:
            return carry.value
        if not (bool(holds) if active is None else anywhere(active)):
            return carry.value
        with np.errstate(all="ignore") if active is not None else AS_IT_IS:  # of those for which it is over
            carry.step(body_fun(carry.value), step, active)
        step += 1


# -- branches ----------------------------------------------------------------------------------------------------------
def cond(pred: Any, true_fun: Function, false_fun: Function, *operands: Any) -> Any:
    """Call one of two functions.

    Parameters
    ----------
    pred : bool
        One truth value.
    true_fun, false_fun : callable
        Called with `operands`.
    *operands
        Arrays, or containers of arrays, or anything else.

    Returns
    -------
    The result of `true_fun` if `pred` holds, otherwise of `false_fun`.

    Raises
    ------
    StructureError
        If `pred` is an array, or no truth value; where both run, if their results differ in structure, shape or dtype.

    Notes
    -----
    Cost and memory are those of the function chosen.  Inside of `vmap`, where `pred` may differ from example to
    example, both functions run for all examples, and the results are selected.  What is not selected has derivative
    zero, also where it is infinite or NaN.

    Examples
    --------
    >>> from chainrule import grad, vmap
    >>> f = lambda x: cond(x > 0, np.sqrt, lambda x: x * x, x)
    >>> vmap(grad(f))(np.array([4.0, -3.0]))
    array([ 0.25, -6.  ])
    """
    if not _batched_truth(pred, "the predicate of cond"):
        return (true_fun if pred else false_fun)(*operands)
    with np.errstate(all="ignore"):  # of what is not selected
        a, rebuild, structure = flatten(true_fun(*operands))
        b, _, other = flatten(false_fun(*operands))
    if structure != other:
        raise StructureError(
            f"cond: the branches return {shown(structure)} and {shown(other)}, and must return the same"
        )
    a, b = [tensor_like(x) for x in a], [tensor_like(x) for x in b]
    for x, y in zip(a, b, strict=True):
        if np.shape(x) != np.shape(y) or not _same_dtype(x, y):
            raise StructureError(
                f"cond: the branches return {_told(x)} and {_told(y)}. Examples of vmap need one shape and dtype"
            )
    return rebuild([np.where(pred, x, y) for x, y in zip(a, b, strict=True)])
