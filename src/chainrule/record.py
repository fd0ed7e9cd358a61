"""The ways to get a graph: `record` and `trace`, and `no_grad` to get none.

A record is what happened at one point: every `if` took one branch.  A trace is about the function: comparisons are
recorded too, as bool Tensors, and a value taken out of it (`if`, `int()`) becomes a guard or an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .errors import ConcreteValueError, user_line
from .graph import Node, contexts, leaf, next_index, watchers
from .tensor import Tensor, as_value, describe, handle

__all__ = ["Context", "Record", "entered", "no_grad", "only_constant", "record", "stop_gradient", "trace"]


class Context:
    """Something that watches the recorder of one thread.

    Attributes
    ----------
    oldest : nodes with a smaller index count as constants
    traces : whether results without a derivative are recorded too
    walks : whether there will be a walk over what is made, even if no leaf of a reverse walk is below
    """

    oldest = 0
    traces = False
    walks = False

    def made(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> None:
        """Called for every node made, with its operands and their values."""

    def concrete(self, tensor: Tensor, use: str) -> None:
        """Called when a Tensor's value decides what the program does next."""


@contextmanager
def entered(context: Context) -> Iterator[Context]:
    """Let `context` watch this thread's recorder; whatever happens inside, it is gone afterwards."""
    contexts.stack.append(context)
    watchers.append(context)
    try:
        yield context
    finally:
        contexts.stack.remove(context)
        watchers.remove(context)


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing: inside, everything made before counts as a constant, in every mode.

    Transforms called inside still work: their own arguments are made inside.

    Examples
    --------
    >>> w = Tensor([1.0, 2.0])
    >>> with no_grad():
    ...     y = w * 2
    >>> y.node is None
    True
    """
    context = Context()
    context.oldest = next_index()
    with entered(context):
        yield


def only_constant(newest: int = 0) -> bool:
    """Whether nothing but `no_grad` watches this thread, if anything, and nodes up to `newest` are constants then."""
    stack = contexts.stack
    return all(type(context) is Context for context in stack) and (
        not newest or any(context.oldest > newest for context in stack)
    )


def stop_gradient(x: Any) -> Any:
    """Treat `x` as a constant: the same value, without history.

    Parameters
    ----------
    x : Tensor, or anything else

    Returns
    -------
    Tensor
        Whose derivative is zero, in every mode; on the same memory.  Anything else is returned as it is.

    Examples
    --------
    >>> x = Tensor(3.0)
    >>> y = x * stop_gradient(x)
    >>> y.backward()
    >>> float(x.grad)
    3.0
    """
    return x.detach() if isinstance(x, Tensor) else x


class Record:
    """What a run made: the inputs' leaves, the output, and (of a trace) the guards it passed.

    Attributes
    ----------
    inputs : tuple of Tensor
    output : whatever the function returned
    guards : list of (Tensor, use, outcome)
    """

    def __init__(self, inputs: tuple[Tensor, ...]) -> None:
        self.inputs = inputs
        self.output: Any = None
        self.guards: list[tuple[Tensor, str, Any]] = []


def _inputs(args: Sequence[Any]) -> tuple[Tensor, ...]:
    values = [as_value(arg.data if isinstance(arg, Tensor) else arg) for arg in args]
    return tuple(handle(leaf(value), value) for value in values)


def record(f: Callable[..., Any], *args: Any) -> Record:
    """Run `f` on fresh leaves of these values; the graph describes this point only."""
    result = Record(_inputs(args))
    result.output = f(*result.inputs)
    return result


class _Trace(Context):
    traces = True

    def __init__(self, guards: list[tuple[Tensor, str, Any]], strict: bool) -> None:
        self.guards = guards
        self.strict = strict

    def concrete(self, tensor: Tensor, use: str) -> None:
        if self.strict:
            raise ConcreteValueError(
                f"{user_line()}{use} of a traced value ({describe(tensor)}): the program would depend on this one "
                "example. Write np.where(condition, a, b) instead of `if condition:`"
            )
        self.guards.append((tensor, use, tensor.data))


def trace(f: Callable[..., Any], *args: Any, strict: bool = False) -> Record:
    """Run `f` on example values, recording what holds for other values too.

    Comparisons give bool Tensors with nodes, every node keeps its value, and each `bool()` or `int()` of a traced
    value is noted as a guard, or raises if `strict`.

    Raises
    ------
    ConcreteValueError
        If `strict` and the function branches on a traced value.
    """
    result = Record(_inputs(args))
    with entered(_Trace(result.guards, strict)):
        result.output = f(*result.inputs)
    return result
