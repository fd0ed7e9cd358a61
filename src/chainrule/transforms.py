"""Transforms of functions: each a few lines around a walker.

Arguments and results may be containers (dict, list, tuple, named tuple, dataclass, None).  Every call gives its
arguments fresh nodes and differentiates with respect to those; results are plain arrays unless they depend on a
Tensor from outside the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np

from .arguments import (
    Argnums,
    Transformed,
    alongside,
    called,
    chosen,
    fresh,
    name_of,
    results_of,
    settled,
    shown,
)
from .batch import levels_of, lowered, together, wrapped
from .errors import ConversionError, OutputError, StructureError
from .graph import NEVER, Node, contexts, next_index, ordered, watchers
from .record import entered
from .rules.linear import as_array
from .tensor import Tensor, describe, plain, tensor_like
from .tree import flatten, map_tree
from .walk.functions import is_written_down
from .walk.pull import pull, started
from .walk.push import Follower, push
from .walk.singular import under

__all__ = ["Recorded", "change_of", "follow", "grad", "jvp", "linearize", "value_and_grad", "vjp"]


BUDGET = 2**18  # elements of the largest array of a walk over a batch of directions


def pair_of(result: Any) -> tuple[Any, Any]:
    """Check what a function with `has_aux` returned."""
    if type(result) is not tuple or len(result) != 2:
        raise OutputError("with has_aux=True the function must return a pair (result, aux)")
    return result


def _scalar(result: Any, name: str, holomorphic: bool) -> Any:
    """Check that a result has a gradient."""
    if result.__class__ is Tensor and result.data.__class__ is np.float64 and not holomorphic:
        return result  # the usual case: saves 4% of the gradient of a few operations
    result = tensor_like(result)
    if result is None:
        raise OutputError(f"{name} returned None: is a `return` missing?")
    if not isinstance(result, Tensor) and not is_written_down(result):
        if not isinstance(result, float | complex | np.number | np.ndarray):
            raise OutputError(
                f"grad needs a function that returns a Tensor, but {name} returned {describe(result)}. "
                "Return the result of the computation, without float() or int() around it."
            )
        result = np.asarray(result)[()]
    if result.dtype.kind not in "fc":
        raise OutputError(f"grad of {name}, whose result is of dtype {result.dtype}: integers have no derivative")
    if result.shape != ():
        raise OutputError(
            f"grad needs a scalar output, but {name} returned shape {result.shape}. "
            f"Reduce it (np.sum), or use vjp(f, x) with a cotangent of shape {result.shape}."
        )
    if result.dtype.kind == "c" and not holomorphic:
        raise OutputError(
            f"grad of {name}, whose result is complex. Take np.real or np.abs of it, "
            "or pass holomorphic=True for the complex derivative f'(z)."
        )
    if result.dtype.kind == "f" and holomorphic:
        raise OutputError(
            f"grad of {name} with holomorphic=True, but its result is real: what takes real values is not "
            "complex-differentiable. Leave holomorphic out for dL/dx + i dL/dy"
        )
    return result


# -- reverse mode --------------------------------------------------------------------------------------------------
def value_and_grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    singular: str | None = None,
) -> Callable[..., tuple[Any, Any]]:
    """Make a function that returns both the value of `f` and its gradient.

    Parameters
    ----------
    f : callable
        Returns a scalar; with `has_aux`, a pair of a scalar and anything else.
    argnums : int, str, or sequence of these, default 0
        Which arguments to differentiate with respect to: positions, or names, also of keyword arguments and of
        arguments that are left at their defaults.
    has_aux : bool, default False
        Pass the second half of the function's result through, undifferentiated.
    holomorphic : bool, default False
        For complex-differentiable `f`: return f'(z).
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    callable
        Called like `f`; returns ``(value, gradient)``, or ``((value, aux), gradient)``.  The gradient has the
        container, shapes and dtypes of the argument (a tuple of them if `argnums` is a sequence).  Results are plain
        arrays, unless they depend on a Tensor from outside, say the parameters of a network that `f` uses: then they
        are Tensors, so that nothing detaches.

    Raises
    ------
    OutputError
        If the result is not a real scalar Tensor (or complex with `holomorphic`).
    StructureError
        If there is no argument as `argnums` says.

    Notes
    -----
    Cost: a small multiple of one evaluation of `f`, whatever the number of arguments; memory grows with the number of
    operations.  For complex arguments of a real function the gradient is dL/dx + i dL/dy, the direction of steepest
    ascent: PyTorch's convention, the conjugate of JAX's.

    Examples
    --------
    >>> import numpy as np
    >>> value_and_grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    (np.float64(9.0), array([ 3., 12.]))
    """

    return Transformed(_value_and_grad, f, argnums=argnums, has_aux=has_aux, holomorphic=holomorphic, singular=singular)


def _value_and_grad(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    *,
    argnums: Argnums,
    has_aux: bool,
    holomorphic: bool,
    singular: str | None,
) -> tuple[Any, Any]:
    start = next_index()
    function, values = chosen(f, argnums, args, options)
    single = isinstance(argnums, str) or hasattr(argnums, "__index__")
    leaves, rebuild, _ = flatten(values[0] if single else values)
    tensors = [_target(x, holomorphic) for x in leaves]
    nodes = [tensor.node for tensor in tensors if tensor.node is not None]  # before `f` writes to the Tensors
    with under(singular):
        with _Since(start):
            given = rebuild(tensors.copy())
            result = function(given) if single else function(*given)
        aux = None
        if has_aux:
            result, aux = pair_of(result)
        result = _scalar(result, name_of(f), holomorphic)
        found, outside = _pulled([result], [None], nodes, start)
    gradient = rebuild([_gradient(ct, x, start, holomorphic) for ct, x in zip(found, tensors, strict=True)])
    if not single:
        gradient = tuple(gradient)
    value = settled(result, start) if watchers else result if outside else plain(result)
    return ((value, map_tree(lambda x: settled(x, start), aux)) if has_aux else value), gradient


class _Pulling(threading.local):
    """Where the reverse-mode transforms that are running a function in this thread began, the innermost one last."""

    def __init__(self) -> None:
        self.starts: list[int] = []


pulling = _Pulling()


class _Since:
    """Let what runs inside know that reverse mode will come back through it."""

    __slots__ = ("start",)

    def __init__(self, start: int) -> None:
        self.start = start

    def __enter__(self) -> None:
        pulling.starts.append(self.start)

    def __exit__(self, *_: object) -> None:
        pulling.starts.pop()


def _target(x: Any, holomorphic: bool) -> Tensor:
    tensor = fresh(x)
    if holomorphic and tensor.dtype.kind != "c":
        raise OutputError(f"holomorphic=True needs complex arguments, but got {describe(tensor)}")
    node = tensor.node
    assert node is not None
    if watchers:
        node.root = min(getattr(node, "root", node.index), node.index)
    return tensor


def _pulled(results: list[Any], cotangents: list[Any], targets: list[Node], start: int) -> tuple[list[Any], bool]:
    """Pull from those results that have a node, to the targets, and say whether they depend on anything older."""
    roots, starts = [], []
    for result, ct in zip(results, cotangents, strict=True):
        if isinstance(result, Tensor) and result.node is not None:
            roots.append(result.node)
            starts.append(started(result, ct))
    _, found, outside = pull(roots, starts, targets, oldest=start)
    return found, outside


def _gradient(found: Any, tensor: Tensor, start: int, holomorphic: bool = False) -> Any:
    if found is None:
        return np.zeros_like(tensor.data) if tensor.ndim or tensor.written else tensor.dtype.type(0)
    if not (isinstance(found, Tensor) or holomorphic or tensor.written):
        return found
    return settled(wrapped(np.conj(found) if holomorphic else found, levels_of(tensor)), start)


def grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    singular: str | None = None,
) -> Callable[..., Any]:
    """Make the function that returns the gradient of `f`.

    Parameters
    ----------
    f, argnums, has_aux, holomorphic, singular
        As in `value_and_grad`.

    Returns
    -------
    callable
        Called like `f`; returns the gradient, or ``(gradient, aux)``.  It has the container, shapes and dtypes of the
        argument (a tuple of them if `argnums` is a sequence).

    Raises
    ------
    OutputError
        If the result is not a real scalar Tensor (or complex with `holomorphic`).
    StructureError
        If there is no argument as `argnums` says.

    Notes
    -----
    Cost: a few evaluations of `f`, however many elements the arguments have.  Memory: what the operations of `f` keep
    for their derivatives, until the call is over; see `checkpoint`.  Complex arguments: dL/dx + i dL/dy.

    Examples
    --------
    >>> import numpy as np
    >>> float(grad(np.tanh)(0.0))
    1.0
    >>> float(grad(grad(np.sin))(np.pi / 2))
    -1.0
    """
    return Transformed(_grad, f, argnums=argnums, has_aux=has_aux, holomorphic=holomorphic, singular=singular)


def _grad(f: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], **settings: Any) -> Any:
    value, gradient = _value_and_grad(f, args, options, **settings)
    return (gradient, value[1]) if settings["has_aux"] else gradient


# -- one run, walked often -----------------------------------------------------------------------------------------
class Recorded:
    """One run of a function at a point, over which walks go in both directions.

    Parameters
    ----------
    f : callable
    primals : its arguments
    pulled : whether reverse mode will come back through what `f` does
    has_aux : whether the function returns a pair of which the second half is passed through
    singular : the mode of all walks, if it is not to be their caller's
    directions : makes of the arguments' Tensors what is to be pushed along with the run, for each of them an array of
        many tangents, along an axis in front; then nothing is recorded, and `pushed` has what came of it.  Or None

    Attributes
    ----------
    value, aux : what `f` returned
    pushed : the tangents of its results, if there were `directions`
    """

    def __reduce__(self) -> Any:
        raise ConversionError(
            "what vjp and linearize return holds the record of one evaluation, which cannot be pickled or copied. "
            "Pickle the function and its arguments, and call vjp or linearize there"
        )

    def __init__(
        self,
        f: Callable[..., Any],
        primals: Sequence[Any],
        *,
        pulled: bool,
        has_aux: bool = False,
        singular: str | None = None,
        directions: Callable[[list[Tensor]], list[Any] | None] | None = None,
    ) -> None:
        self.start = next_index()
        self.singular = singular
        follower = Follower(directions=True)
        leaves, self.rebuild, self.structure = flatten(tuple(primals))
        self.tensors = [_target(x, False) for x in leaves]
        self.targets = [tensor.node for tensor in self.tensors if tensor.node is not None]  # `f` may write to Tensors
        seeds = directions(self.tensors) if directions is not None and not (watchers or contexts.levels) else None
        for tensor, seed in zip(self.tensors, seeds or (), strict=seeds is not None):
            follow(follower, tensor, seed)
        watching = nullcontext() if seeds is None else entered(follower)
        with under(singular), _Since(self.start) if pulled else nullcontext(), watching:
            result, aux = called(f, *self.rebuild(list(self.tensors))), None
            if has_aux:
                result, aux = pair_of(result)
            self.outputs, self.rebuild_output, self.output_structure = results_of(result, f)
        if has_aux:
            self.aux = map_tree(lambda x: settled(x, self.start), aux)
        self.pushed = None
        if seeds:
            found = [follower.tangent(y.node) if isinstance(y, Tensor) else None for y in self.outputs]
            pairs = zip(found, self.outputs, strict=True)
            self.pushed = [changes_of(change, y, self.start, len(seeds[0])) for change, y in pairs]
        self.value = self.rebuild_output([settled(output, self.start) for output in self.outputs])

    def pull(self, *cotangent: Any) -> tuple[Any, ...]:
        """From a cotangent of the result to those of the arguments."""
        if len(cotangent) != 1:
            raise StructureError(
                f"a pullback takes one cotangent, of the form of the result, {shown(self.output_structure)}, but it "
                f"was called with {len(cotangent)} arguments. Pass a container of them"
            )
        cts = alongside(cotangent[0], self.output_structure, self.outputs, "cotangent", "result")
        with under(self.singular):
            found, _ = _pulled(self.outputs, cts, self.targets, self.start)
        start = self._start(cts)
        pairs = zip(found, self.tensors, strict=True)
        gradients: tuple[Any, ...] = self.rebuild([_gradient(ct, x, start) for ct, x in pairs])
        return gradients

    def push(self, *tangents: Any) -> Any:
        """From tangents of the arguments to that of the result."""
        changes = alongside(tangents, self.structure, self.tensors, "tangent", "argument")
        changes = [lowered(t, levels_of(x)) for t, x in zip(changes, self.tensors, strict=True)]
        inside = [y.node if isinstance(y, Tensor) else None for y in self.outputs]
        with under(self.singular):
            found = unshared(push(inside, self.targets, changes, self.start), changes)
        start = self._start(changes)
        return self.rebuild_output([change_of(change, y, start) for y, change in zip(self.outputs, found, strict=True)])

    def pull_each(self, cotangents: Sequence[Any]) -> list[Any]:
        """`pull` of many at once: arrays with one more axis in front, one per output, to as many of each input."""
        found = together(lambda seeds: flatten(self.pull(self.rebuild_output(seeds)))[0], cotangents)
        return [settled(x, self.start) for x in found]

    def push_each(self, tangents: Sequence[Any]) -> list[Any]:
        """`push` of many at once: arrays with one more axis in front, one per input, to as many of each output."""
        pairs = zip(tangents, self.tensors, strict=True)
        changes = [in_front(t, [level.size for level in levels_of(x)]) for t, x in pairs]
        inside = [y.node if isinstance(y, Tensor) else None for y in self.outputs]
        with under(self.singular):
            found = push(inside, self.targets, changes, self.start, directions=True)
        return [
            changes_of(change, y, self.start, len(tangents[0])) for y, change in zip(self.outputs, found, strict=True)
        ]

    def at_once(self) -> int:
        """How many directions one walk should take: as many as keep its largest array in the caches."""
        nodes = [y.node for y in self.outputs if isinstance(y, Tensor) and y.node is not None]
        sizes = [prod(node.shape) for node in (*self.targets, *ordered(nodes, self.start)[0])]
        return max(1, BUDGET // max([1, *sizes]))

    def _start(self, changes: Sequence[Any]) -> int:
        """What is older than this is outside of a walk: the changes, too, may be somebody's Tensors."""
        nodes = [change.node for change in changes if isinstance(change, Tensor) and change.node is not None]
        return next_index() if nodes else self.start


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False, singular: str | None = None) -> Any:
    """Evaluate `f` and make its pullback at this point.

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    *primals
        Its arguments.
    has_aux : bool, default False
        The function returns a pair; its second half is passed through, undifferentiated.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around this call and around
        each call of the pullback.

    Returns
    -------
    value
        The result of `f`.
    pullback : callable
        Called with a cotangent of the result's structure and shapes; returns a tuple with the cotangent of each
        argument.  May be called any number of times; holds the graph until it is dropped.
    aux
        Only with `has_aux`.

    Raises
    ------
    GradientShapeError, StructureError
        By the pullback, if the cotangent does not match the result.
    OutputError
        If `f` returns nothing, or something else than numbers.

    Notes
    -----
    Cost: one recorded evaluation of `f`; of a pullback, a small multiple of one evaluation.  Memory grows with the
    number of operations, until the pullback is dropped.  The pullback is the adjoint, conj(J)ᵀ ct, so that
    Re⟨ct, J v⟩ = Re⟨pullback(ct), v⟩; JAX's has no conj, and differs for complex numbers.

    Examples
    --------
    >>> import numpy as np
    >>> value, pullback = vjp(lambda x: x**2, np.array([1.0, 3.0]))
    >>> pullback(np.array([1.0, 10.0]))
    (array([ 2., 60.]),)
    """
    run = Recorded(f, primals, pulled=True, has_aux=has_aux, singular=singular)
    return (run.value, run.pull, run.aux) if has_aux else (run.value, run.pull)


def linearize(f: Callable[..., Any], *primals: Any, has_aux: bool = False, singular: str | None = None) -> Any:
    """Evaluate `f` and make its linearisation at this point: the derivative as a function of the direction.

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    *primals
        Its arguments.
    has_aux : bool, default False
        The function returns a pair; its second half is passed through, undifferentiated.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around this call and around
        each call of the linearisation.

    Returns
    -------
    value
        The result of `f`.
    pushforward : callable
        Called with a tangent for each argument, of its structure and shapes; returns the tangent of the result, of the
        result's structure, shapes and dtypes.  Linear.  May be called any number of times, and never runs `f` again;
        holds the graph until it is dropped.
    aux
        Only with `has_aux`.

    Raises
    ------
    GradientShapeError, StructureError
        By the pushforward, if the tangents do not match the arguments.
    OutputError
        If `f` returns nothing, or something else than numbers.

    Notes
    -----
    Cost: one recorded evaluation of `f`, then about one evaluation per direction, where `jvp` takes two to three.
    Memory grows with the number of operations, as for `vjp`; for a single direction `jvp` needs none of it.

    Examples
    --------
    >>> import numpy as np
    >>> value, pushforward = linearize(lambda x, y: x**2 * y, np.array([1.0, 3.0]), 2.0)
    >>> pushforward(np.array([1.0, 0.0]), 0.0), pushforward(np.array([0.0, 0.0]), 1.0)
    (array([4., 0.]), array([1., 9.]))
    """
    run = Recorded(f, primals, pulled=False, has_aux=has_aux, singular=singular)
    return (run.value, run.push, run.aux) if has_aux else (run.value, run.push)


# -- forward mode --------------------------------------------------------------------------------------------------
def jvp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    *,
    singular: str | None = None,
) -> Any:
    """Evaluate `f` and its directional derivative.

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    primals : sequence
        Its arguments.
    tangents : sequence
        The direction: of the same structure and shapes as `primals`; brought to their dtypes.
    has_aux : bool, default False
        The function returns a pair; its second half is passed through, undifferentiated.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    value
        The result of `f`.
    tangent
        The derivative of the result along `tangents`, of the result's structure, shapes and dtypes.
    aux
        Only with `has_aux`.

    Raises
    ------
    GradientShapeError, StructureError
        If the tangents do not match the primals.
    OutputError
        If `f` returns nothing, or something else than numbers.
    NoDerivativeError
        If an operation, which is named, has no forward mode.

    Notes
    -----
    Cost: about two to three evaluations of `f`; memory does not grow with the number of operations.  Of complex
    arguments it is the derivative along the real line z + t v; f'(z) v, if `f` is complex-differentiable.

    Examples
    --------
    >>> import numpy as np
    >>> value, tangent = jvp(np.sin, (0.0,), (2.0,))
    >>> float(tangent)
    2.0
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise StructureError("jvp takes its primals and tangents as tuples: jvp(f, (x,), (t,))")
    start = next_index()
    follower = Follower()
    leaves, rebuild, structure = flatten(tuple(primals))
    tensors = [fresh(x) for x in leaves]
    directions = alongside(tuple(tangents), structure, tensors, "tangent", "argument")
    directions = [lowered(t, levels_of(tensor)) for tensor, t in zip(tensors, directions, strict=True)]
    for tensor, t in zip(tensors, directions, strict=True):
        follow(follower, tensor, t)
    aux = None
    with entered(follower), under(singular):
        result = called(f, *rebuild(tensors))
        if has_aux:
            result, aux = pair_of(result)
        outputs, rebuild_output, _ = results_of(result, f)
    if follower.asked:
        follower.ask(outputs)
    values = [settled(output, start) for output in outputs]
    found = [follower.tangent(output.node) if isinstance(output, Tensor) else None for output in outputs]
    found = unshared(found, directions)
    changes = [change_of(change, output, start) for change, output in zip(found, outputs, strict=True)]
    pair = rebuild_output(values), rebuild_output(changes)
    return (*pair, map_tree(lambda x: settled(x, start), aux)) if has_aux else pair


def unshared(changes: Sequence[Any], given: Sequence[Any]) -> list[Any]:
    """Tangents that go out, each on memory of its own, for whoever gets them may write to them: not on what the caller
    gave, as that of `x + 0` is, not on that of another result, and no array that is shown as a larger one."""
    taken = {owner(t) for t in given}
    own = []
    for change in changes:
        if change is not None and change.shape:
            if owner(change) in taken or (change.__class__ is np.ndarray and not change.flags.writeable):
                change = np.copy(change)
            taken.add(owner(change))
        own.append(change)
    return own


def owner(x: Any) -> int:
    """The number of the object whose memory an array shows: two arrays with the same one may share some."""
    x = plain(x)
    while (base := getattr(x, "base", None)) is not None:
        x = base
    return id(x)


def change_of(change: Any, output: Any, start: int) -> Any:
    """The tangent of an output, from what a walk found at its node: None is zero."""
    if change is None:
        return np.zeros_like(as_array(getattr(output, "data", output)))[()]
    return settled(wrapped(change, levels_of(output)), start)


def in_front(t: Any, sizes: Sequence[int]) -> Any:
    """The same directions for each of many examples: these axes are put after the first one."""
    examples = np.reshape(t, (len(t), *(1,) * len(sizes), *t.shape[1:]))
    return np.broadcast_to(examples, (len(t), *sizes, *t.shape[1:])) if sizes else t


def changes_of(changes: Any, output: Any, start: int, size: int) -> Any:
    """The tangents of an output, along an axis in front, from what a walk over `size` directions found at its node."""
    if changes is None:
        one = as_array(getattr(output, "data", output))
        return np.zeros((size, *one.shape), one.dtype)
    levels = levels_of(output)
    return settled(wrapped(np.moveaxis(changes, 0, len(levels)) if levels else changes, levels), start)


def follow(follower: Follower, tensor: Tensor, tangent: Any) -> None:
    """Let a follower know a fresh argument and what it is to know about it; None: that it does not change."""
    node = tensor.node
    assert node is not None
    if node.rule is None:
        node.root = NEVER
    elif not hasattr(node, "root"):
        # what is on top of it may have been made by this call: the same primal for each example of a batch
        node.root = min(older.index for older in ordered([node], follower.start)[1] if older.index)
    if tangent is not None:
        follower.set_tangent(node, tangent)
