"""Functions written in NumPy whose derivative is not that of their steps: `custom_vjp` and `custom_jvp`, as in JAX."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from .errors import GradientShapeError, NoDerivativeError, StructureError
from .graph import Node, contexts, watchers
from .own import plain_result
from .rules.bundle import Bundle, take
from .rules.registry import EVERYTHING, Rule
from .tensor import Tensor, batched_among, describe, record, tensor_like
from .transforms import jvp as push_through
from .transforms import pulling, vjp
from .tree import flatten
from .walk.push import Follower

__all__ = ["Call", "custom_jvp", "custom_vjp", "is_floating"]

Function = Callable[..., Any]
ALL = EVERYTHING | {"y"}


class Call:
    """What one call of a function is about, besides its operands: how to make its arguments of their values."""

    def __init__(self, args: Sequence[Any], nondiff: Sequence[int]) -> None:
        self.fixed = [args[i] for i in nondiff]
        self.nondiff = tuple(nondiff)
        self.flat = [flatten(arg) for i, arg in enumerate(args) if i not in nondiff]
        self.leaves = [tensor_like(leaf) for leaves, _, _ in self.flat for leaf in leaves]
        self.places = [i for i, leaf in enumerate(self.leaves) if isinstance(leaf, Tensor)]
        self.tensors = [self.leaves[i] for i in self.places]
        for i in self.places:
            self.leaves[i] = None

    def arguments(self, values: Sequence[Any], others: Sequence[Any] | None = None) -> list[Any]:
        """The differentiable arguments, with these values in place of the Tensors."""
        leaves = list(self.leaves if others is None else others)
        for place, value in zip(self.places, values, strict=True):
            leaves[place] = value
        found = []
        for part, rebuild, _ in self.flat:
            found.append(rebuild(leaves[: len(part)]))
            del leaves[: len(part)]
        return found

    def all_arguments(self, values: Sequence[Any]) -> list[Any]:
        """All arguments."""
        rest, fixed = iter(self.arguments(values)), dict(zip(self.nondiff, self.fixed, strict=True))
        return [fixed[i] if i in fixed else next(rest) for i in range(len(fixed) + len(self.flat))]


def is_floating(x: Any) -> bool:
    return isinstance(x, float | complex) or (hasattr(x, "dtype") and x.dtype.kind in "fc")


class _Replaced:
    """A function whose derivative is not that of its steps."""

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        functools.update_wrapper(cast(Function, self), fun)
        self.fun = fun
        self.nondiff_argnums = tuple(nondiff_argnums)
        self.name = getattr(fun, "__name__", type(self).__name__)

    def __reduce__(self) -> str:
        """By name: pickle looks in the module where it was made, as for functions."""
        return cast(str, getattr(self, "__qualname__", self.name))

    def _arguments(self, args: Sequence[Any], options: dict[str, Any]) -> list[Any]:
        bound = inspect.signature(self.fun).bind(*args, **options)
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(f"{self.name}: keyword-only arguments have no place in its derivative: {set(bound.kwargs)}")
        return list(bound.args)

    def _applied(self, rule: Rule | None, missing: str, args: Sequence[Any], options: dict[str, Any]) -> Any:
        if rule is None:
            raise NoDerivativeError(f"{self.name} was called before its derivative was said: {missing}")
        args = self._arguments(args, options)
        nondiff = sorted(number % len(args) for number in self.nondiff_argnums)
        if (batch := batched_among(args)) is not None:  # what was given is a program for one example
            return batch.in_turn(self, args, self.name)
        for number in nondiff:
            if any(isinstance(tensor_like(leaf), Tensor) for leaf in flatten(args[number])[0]):
                raise NoDerivativeError(f"{self.name}: argument {number} is in nondiff_argnums, but holds a Tensor")
        call = Call(args, nondiff)
        if not call.tensors:
            result = self.fun(*args)
            self._bundled(result)  # raises if it depends on a Tensor
            return result
        tensor = record(rule, call.tensors, (call,))
        return tensor.data.kept[0](tensor)

    def _bundled(self, result: Any, kept: Any = None) -> Bundle:
        """Bundle the arrays of a result; of the rest, `kept[0]` makes the result again."""
        leaves, rebuild, _ = flatten(result)
        leaves = [plain_result(leaf, self.name) if isinstance(tensor_like(leaf), Tensor) else leaf for leaf in leaves]
        places = [i for i, leaf in enumerate(leaves) if is_floating(leaf)]
        bundle = Bundle([plain_result(leaves[i], self.name)[()] for i in places])

        others = [None if i in places else leaf for i, leaf in enumerate(leaves)]

        def result_of(tensor: Any) -> Any:
            new = list(others)
            for position, place in enumerate(places):
                new[place] = take(tensor, position=position)
            return rebuild(new)

        bundle.kept = (result_of, kept)
        return bundle


def below_batches(function: Function) -> Function:
    """Run a user's function for one example of `vmap` as if there were no others: what it makes is no batch."""

    def run(*args: Any) -> Any:
        levels, contexts.levels = contexts.levels, []
        try:
            return function(*args)
        finally:
            contexts.levels = levels

    return run


class custom_vjp(_Replaced):
    """Give a function a reverse-mode derivative of its own, with JAX's interface.

    Parameters
    ----------
    fun : callable
        Takes and returns arrays, or containers of arrays.
    nondiff_argnums : sequence of int, default ()
        Positional arguments that `bwd` receives as they are, ahead of the others; they may be anything.

    Raises
    ------
    ConversionError
        If the function uses a Tensor that is not among its arguments.
    NoDerivativeError
        If forward mode comes first: write `custom_jvp`, which gives both modes.
    StructureError, GradientShapeError
        If what `bwd` returns does not fit the arguments.

    Notes
    -----
    ``fwd`` runs once, on plain arrays, and again if the derivative is differentiated in turn: on Tensors then, so that
    derivatives of higher order, in either mode, are those of the operations in `fwd` and `bwd`.  A reverse derivative
    of a reverse derivative uses `bwd` for the result of the function wherever it meets it, JAX the operations in `fwd`:
    no difference, unless the two contradict each other.

    Examples
    --------
    >>> @custom_vjp
    ... def clipped_gradient(x):
    ...     return x
    >>> clipped_gradient.defvjp(lambda x: (x, None), lambda residuals, ct: (np.clip(ct, -1, 1),))
    >>> x = Tensor([3.0, 0.1])
    >>> np.sum(clipped_gradient(x) ** 2).backward()
    >>> x.grad
    array([1. , 0.2])
    """

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__(fun, nondiff_argnums)
        self.rule: Rule | None = None

    def defvjp(self, fwd: Function, bwd: Function) -> None:
        """Say the derivative.

        Parameters
        ----------
        fwd : callable
            Takes the function's arguments; returns its result, and residuals: whatever `bwd` needs.
        bwd : callable
            Called as ``bwd(residuals, cotangent)``, with `nondiff_argnums` first; returns a tuple with the cotangent
            of each other argument, or None where it is zero.
        """
        self.fwd, self.bwd = fwd, bwd
        value, pull, push = (below_batches(each) for each in (self._value, self._pull, self._push))
        self.rule = Rule(self.name, value, "custom", needs=(ALL,), pull_all=pull, runs_traced=True)
        self.inner = Rule(self.name, value, "custom", needs=(ALL,), pull_all=pull, push=push, runs_traced=True)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        rule = self.rule
        if rule is not None and watchers:  # forward over reverse goes through the operations of `fwd`
            started = [context.start for context in contexts.stack if isinstance(context, Follower)]
            if started and pulling.starts and pulling.starts[-1] > started[-1]:
                rule = self.inner
        return self._applied(rule, f"{self.name}.defvjp(fwd, bwd)", args, options)

    def _forward(self, call: Call, values: Sequence[Any]) -> tuple[Any, Any]:
        both = self.fwd(*call.all_arguments(values))
        if type(both) is not tuple or len(both) != 2:
            raise StructureError(f"fwd of {self.name} must return a pair (result, residuals), not {describe(both)}")
        return both

    def _value(self, *values_and_call: Any) -> Bundle:
        *values, call = values_and_call
        result, residuals = self._forward(call, values)
        for leaf in flatten(residuals)[0]:
            if isinstance(tensor_like(leaf), Tensor):
                plain_result(leaf, self.name)
        return self._bundled(result, residuals)

    def _push(self, node: Node, tangents: Sequence[Any]) -> Bundle:
        assert node.params is not None
        call: Call = node.params[0][0]
        values = [operand.value for operand in node.operands]

        def floating(*values: Any) -> list[Any]:
            leaves = flatten(self._forward(call, values)[0])[0]
            return [leaf for leaf in leaves if is_floating(tensor_like(leaf))]

        whole = [np.zeros_like(v) if t is None else t for v, t in zip(values, tangents, strict=True)]
        return Bundle(push_through(floating, values, whole)[1])

    def _pull(self, ct: Bundle, node: Node) -> list[Any]:
        assert node.params is not None
        call: Call = node.params[0][0]
        values = [operand.value for operand in node.operands]
        if any(isinstance(value, Tensor) for value in values):
            bundle, residuals = node.value.data, self._forward(call, values)[1]
        else:
            bundle, residuals = node.value, node.value.kept[1]
        parts = [np.zeros_like(p) if c is None else c for p, c in zip(bundle.parts, ct.parts, strict=True)]
        found = self.bwd(*call.fixed, residuals, bundle.kept[0](Bundle(parts)))
        if type(found) not in (tuple, list) or len(found) != len(call.flat):
            raise StructureError(
                f"bwd of {self.name} must return a tuple with the cotangents of {len(call.flat)} arguments, "
                f"not {describe(found) if type(found) not in (tuple, list) else f'of {len(found)}'}"
            )
        leaves: list[Any] = []
        for (part, _, structure), each in zip(call.flat, found, strict=True):
            if each is None:
                leaves += [None] * len(part)
                continue
            flat, _, other = flatten(each)
            if other != structure:
                raise StructureError(
                    f"bwd of {self.name} returned the structure {other} for an argument of structure {structure}"
                )
            leaves += flat
        cts = [leaves[place] for place in call.places]
        plain = not any(isinstance(x, Tensor) for x in (*values, *parts))
        return [self._fitting(x, operand, plain) for x, operand in zip(cts, node.operands, strict=True)]

    def _fitting(self, x: Any, operand: Node, plain: bool) -> Any:
        if x is None:
            return None
        x = (
            plain_result(x, f"bwd of {self.name}")
            if plain or not isinstance(tensor_like(x), Tensor)
            else tensor_like(x)
        )
        if x.shape != operand.shape:
            raise GradientShapeError(
                f"bwd of {self.name} returned a cotangent of shape {x.shape} for an argument of shape {operand.shape}"
            )
        return x


class custom_jvp(_Replaced):
    """Give a function a derivative of its own, in both modes, with JAX's interface.

    Parameters
    ----------
    fun : callable
        Takes and returns arrays, or containers of arrays.
    nondiff_argnums : sequence of int, default ()
        Positional arguments that the derivative receives as they are, ahead of the others; they may be anything.

    Raises
    ------
    ConversionError
        If the function uses a Tensor that is not among its arguments.
    StructureError, GradientShapeError
        If the tangent does not fit the result.

    Notes
    -----
    Reverse mode transposes the function from tangents to tangents, which must be linear.

    Examples
    --------
    >>> @custom_jvp
    ... def log1pexp(x):
    ...     return np.log(1 + np.exp(x))
    >>> @log1pexp.defjvp
    ... def log1pexp_jvp(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), t * (1 - 1 / (1 + np.exp(x)))
    >>> x = Tensor(100.0)
    >>> log1pexp(x).backward()
    >>> float(x.grad)
    1.0
    """

    def __init__(self, fun: Function, nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__(fun, nondiff_argnums)
        self.rule: Rule | None = None

    def defjvp(self, jvp: Function) -> Function:
        """Say the derivative.

        Parameters
        ----------
        jvp : callable
            Called as ``jvp(primals, tangents)``, two tuples, with `nondiff_argnums` first; returns the function's
            result and the tangent of it.
        """
        self.jvp = jvp
        value, pull, push = (below_batches(each) for each in (self._value, self._pull, self._push))
        self.rule = Rule(self.name, value, "custom", needs=(EVERYTHING,), pull_all=pull, push=push, runs_traced=True)
        return jvp

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function."""
        return self._applied(self.rule, f"{self.name}.defjvp(jvp)", args, options)

    def _value(self, *values_and_call: Any) -> Bundle:
        *values, call = values_and_call
        return self._bundled(self.fun(*call.all_arguments(values)))

    def _tangents(self, call: Call, values: Sequence[Any], tangents: Sequence[Any]) -> list[Any]:
        """The tangents of the results that are floating or complex."""
        others = [np.zeros_like(leaf, float)[()] if _is_number(leaf) else None for leaf in call.leaves]
        both = self.jvp(*call.fixed, tuple(call.arguments(values)), tuple(call.arguments(tangents, others)))
        if type(both) is not tuple or len(both) != 2:
            raise StructureError(f"the jvp of {self.name} must return a pair (result, tangent), not {describe(both)}")
        (results, _, structure), (changes, _, other) = flatten(both[0]), flatten(both[1])
        if structure != other:
            raise StructureError(f"the jvp of {self.name}: result of structure {structure}, tangent of {other}")
        found = []
        for result, change in zip(results, changes, strict=True):
            if is_floating(tensor_like(result)):
                change = tensor_like(change)
                if np.shape(change) != np.shape(result):
                    raise GradientShapeError(
                        f"the jvp of {self.name} returned a tangent of shape {np.shape(change)} for a result of shape "
                        f"{np.shape(result)}"
                    )
                dtype = result.dtype if hasattr(result, "dtype") else np.asarray(result).dtype
                change = change if isinstance(change, Tensor) else plain_result(change, self.name)[()]
                found.append(change if change.dtype == dtype else change.astype(dtype))
        if not any(isinstance(x, Tensor) for x in (*values, *tangents)):
            found = [plain_result(x, f"the jvp of {self.name}") for x in found]
        return found

    def _push(self, node: Node, tangents: Sequence[Any]) -> Bundle:
        assert node.params is not None
        values = [operand.value for operand in node.operands]
        whole = [np.zeros_like(v) if t is None else t for v, t in zip(values, tangents, strict=True)]
        return Bundle(self._tangents(node.params[0][0], values, whole))

    def _pull(self, ct: Bundle, node: Node) -> list[Any]:
        assert node.params is not None
        call = node.params[0][0]
        values = [operand.value for operand in node.operands]
        places = [i for i, part in enumerate(ct.parts) if part is not None]

        def pushed(*tangents: Any) -> list[Any]:
            found = self._tangents(call, values, tangents)
            return [found[i] for i in places]

        _, pullback = vjp(pushed, *(np.zeros(operand.shape, operand.value.dtype)[()] for operand in node.operands))
        return list(pullback([ct.parts[i] for i in places]))


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float | complex) or (hasattr(x, "dtype") and x.dtype.kind in "iufcb")
