"""Derivatives of what an algorithm of SciPy returns, in whatever Tensors the user's function depends on.

SciPy calls a function of the user, which may take Tensors by `args=`, or from the place where it was defined.  Such a
function is a `Closure`: it is run once while every new node is watched, so that what it captured is known; these
Tensors are the operands of a rule.  The rule calls the function again when a derivative is asked for.

`solution` is the rule of x where F(x, c) = 0: by the implicit function theorem F_x dx + F_c dc = 0.  It is written so
that it can be differentiated in turn: F_x is taken at x, which depends on c by this very rule.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..batch import Around
from ..errors import InPlaceError, UnsolvedWarning
from ..graph import Node, contexts, leaf, next_index
from ..jacobians import jacobian
from ..record import Context, entered, no_grad
from ..rules.linear import conjugated
from ..rules.registry import custom
from ..tensor import Tensor, handle, plain, record, tensor_like
from ..walk.pull import pull
from ..walk.push import Follower
from .namespace import of_an_example

Function = Callable[..., Any]
NEAR = 1e-5  # a solution is as near as this, relative to its size


class Watch(Context):
    """Sees which Tensors made before it are used while it watches."""

    def __init__(self) -> None:
        self.start = next_index()
        self.used: dict[Node, Any] = {}

    def made(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> None:
        for operand, value in zip(nodes, values, strict=True):
            if operand is not None and operand.index < self.start:
                self.used.setdefault(operand, value)


class Closure:
    """A function of arrays, and of the Tensors that it uses besides its arguments.

    Parameters
    ----------
    function : callable
        Called with arrays or Tensors; returns an array.
    name : str
        Who calls it, for error messages.
    """

    def __init__(self, function: Function, name: str) -> None:
        self.function = function
        self.name = name
        self.captured: dict[Node, Any] = {}
        self.around = Around()

    def _run(self, args: Sequence[Any]) -> tuple[Any, dict[Node, Any]]:
        """The function's value, and the Tensors from outside that it used besides its arguments."""
        watch = Watch()
        with entered(watch):
            value = tensor_like(self.function(*args))
        if isinstance(value, Tensor) and value.node is not None and value.node.index < watch.start:
            watch.used[value.node] = value.data  # what was captured is returned as it is
        own = [arg.node for arg in args if isinstance(arg, Tensor)]
        for node in own:
            if node in watch.used:
                del watch.used[node]
        return value, watch.used

    def watched(self, *args: Any) -> Any:
        """The value for plain arguments; what the function uses besides them is captured from now on."""
        value, used = self._run(args)
        self.captured |= used
        return plain(of_an_example(value, self.name))

    def operands(self) -> list[Tensor]:
        """What was captured, as the operands of a rule."""
        return [handle(node, value) for node, value in self.captured.items()]

    def __call__(self, *args: Any) -> Any:
        """The value, with the history of what was captured.

        Raises
        ------
        InPlaceError
            If the function uses other Tensors than it did.
        """
        value, used = self._run(args)
        if not used.keys() <= self.captured.keys():
            raise InPlaceError(
                f"the function given to {self.name} uses other Tensors, now that its derivative is computed, than it "
                "did then: one was written to in between, or its name was bound anew. Pass them by args=."
            )
        return value

    def pull(self, args: Sequence[Any], ct: Any, differentiable: bool) -> list[Any]:
        """The cotangents of what was captured."""
        start, targets = next_index(), list(self.captured)
        value = self(*args)
        node = value.node if isinstance(value, Tensor) else None
        if node is None:
            return [None] * len(targets)
        if node.index < start:
            return [ct if node is target else None for target in targets]
        return pull([node], [ct], targets, oldest=start, differentiable=differentiable)[1]

    def beside(self, args: Sequence[Any], along: Sequence[Any], direction: Function) -> tuple[Any, Any]:
        """The value for plain arguments, as `watched`, and its change along their tangents and those of what it used.

        Parameters
        ----------
        along : tangents of the arguments, where None is zero
        direction : called with the node and the value of what was captured, gives its tangent
        """
        while True:
            follower = Follower()
            follower.start = 0  # nothing is outside: what it computes is plain
            moved = [(node, direction(node, value)) for node, value in self.captured.items()]
            given = []
            for arg, t in zip(args, along, strict=True):
                own = None if t is None else leaf(arg)
                given.append(arg if own is None else handle(own, arg))
                if own is not None:
                    moved.append((own, t))
            for node, t in moved:
                follower.set_tangent(node, t)
            try:
                with entered(follower):
                    value, used = self._run(given)
                change = follower.tangent(value.node) if isinstance(value, Tensor) else None
            finally:
                for node, _ in moved:
                    del node.tangents[follower]
            if used.keys() <= self.captured.keys():
                return plain(value), np.zeros_like(plain(value)) if change is None else change
            self.captured |= used

    def push(self, args: Sequence[Any], tangents: Sequence[Any], differentiable: bool) -> Any:
        """The change of the value along tangents of what was captured, where None is zero."""
        follower = Follower()
        if not differentiable:
            follower.start = 0  # nothing is outside: what it computes is plain
        moved = [(node, t) for node, t in zip(self.captured, tangents, strict=True) if t is not None]
        for node, t in moved:
            follower.set_tangent(node, t)
        try:
            with entered(follower):
                value = self(*args)
            change = follower.tangent(value.node) if isinstance(value, Tensor) else None
        finally:
            for node, _ in moved:
                del node.tangents[follower]
        return np.zeros_like(plain(value)) if change is None else change


@contextmanager
def alone(differentiable: bool, closure: Closure) -> Iterator[None]:
    """Compute a derivative of `closure`; one that nobody differentiates no `no_grad`, follower or trace is to see."""
    stack = contexts.stack
    if not differentiable:
        contexts.stack = []
    try:
        with closure.around.again():
            yield
    finally:
        contexts.stack = stack


def wanted(*values: Any) -> bool:
    """Whether what a rule is given is differentiated in turn."""
    return any(isinstance(value, Tensor) for value in values) and not any(c.oldest for c in contexts.stack)


def unsolved(name: str, failure: str) -> None:
    """Warn that there is no solution where a derivative is taken."""
    warnings.warn(
        f"the derivative of {name} is taken where it stopped without a solution: {failure}",
        UnsolvedWarning,
        stacklevel=2,
    )


class Problem:
    """What x solves: F(x) = 0.

    Attributes
    ----------
    closure : F
    solve : `(x, rhs, transposed) -> v`, that solves F_x v = rhs; if `transposed`, with its conjugate transpose
    failure : what SciPy said if x solves it not
    """

    def __init__(self, function: Function, name: str, solve: Function | None = None, failure: str = "") -> None:
        self.closure = Closure(function, name)
        self.solve = solve or self._dense
        self.failure = failure

    def _dense(self, x: Any, rhs: Any, transposed: bool) -> Any:
        matrix = jacobian(self.closure, holomorphic=x.dtype.kind == "c")(x)
        if self.failure:
            self._judge(plain(x), plain(matrix))
        try:
            return np.linalg.solve(conjugated(matrix.T) if transposed else matrix, rhs)
        except np.linalg.LinAlgError:
            raise np.linalg.LinAlgError(
                f"the solution of {self.closure.name} has no derivative here: the Jacobian of its equations is singular"
            ) from None

    def _judge(self, x: Any, matrix: Any) -> None:
        """Warn if x is far from a solution, by Newton's step: SciPy fails also for want of the last digits."""
        with no_grad():
            left = plain(self.closure(x))
        step = np.linalg.lstsq(matrix, left)[0]
        if not np.max(np.abs(step)) < NEAR * (1 + np.max(np.abs(x))):
            unsolved(self.closure.name, self.failure)
        self.failure = ""

    def linear_solve(self, x: Any, rhs: Any, transposed: bool, differentiable: bool) -> Any:
        if differentiable:
            return self.solve(x, rhs, transposed)
        with no_grad():
            return plain(self.solve(plain(x), plain(rhs), transposed))


def _value(*captured: Any, x: Any, problem: Problem) -> Any:
    return x


def _pull(ct: Any, node: Any) -> list[Any]:
    problem, x = node.params[1]["problem"], node.value
    differentiable = wanted(x, ct)
    with alone(differentiable, problem.closure):
        w = problem.linear_solve(x, ct, True, differentiable)
        return problem.closure.pull((x if differentiable else plain(x),), -w, differentiable)  # type: ignore[no-any-return]


def _push(node: Any, tangents: Sequence[Any]) -> Any:
    problem, x = node.params[1]["problem"], node.value
    differentiable = wanted(x, *tangents)
    with alone(differentiable, problem.closure):
        change = problem.closure.push((x if differentiable else plain(x),), tangents, differentiable)
        return -problem.linear_solve(x, change, False, differentiable)


SOLUTION = custom(
    "solution",
    _value,
    needs=("y",),
    pull_all=_pull,
    push=_push,
    captures=True,
    source="Krantz & Parks, The Implicit Function Theorem",
)


def depends(function: Function, *args: Any) -> bool:
    """Whether a function of plain arguments uses Tensors besides; it is called once, as SciPy calls it."""
    closure = Closure(function, "")
    closure.watched(*args)
    return bool(closure.captured)


def solution(x: Any, function: Function, name: str, solve: Function | None = None, failure: str = "") -> Any:
    """The array `x`, found by SciPy, with the history that makes `function(x)` zero; as it is if there is none."""
    problem = Problem(function, name, solve, failure)
    problem.closure.watched(x)
    operands = problem.closure.operands()
    return record(SOLUTION, operands, (), {"x": x, "problem": problem}) if operands else x
