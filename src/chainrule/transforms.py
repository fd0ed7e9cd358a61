"""Transforms of functions: each a few lines around a walker.

Arguments and results may be containers (dict, list, tuple, named tuple, dataclass, None).  Every call gives its
arguments fresh nodes and differentiates with respect to those; results are plain arrays unless they depend on a
Tensor from outside the call.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import GradientShapeError, OutputError, StructureError
from .graph import NEVER, Node, contexts, leaf, next_index, ordered, watchers
from .record import entered
from .rules.registry import rules
from .tensor import Tensor, as_value, describe, handle, record, tensor_like
from .tree import flatten, map_tree
from .walk.pull import pull, started
from .walk.push import Follower, outside
from .walk.singular import under

__all__ = ["grad", "jvp", "value_and_grad", "vjp"]

Argnums = int | Sequence[int]


# -- arguments and results ---------------------------------------------------------------------------------------
def _fresh(x: Any) -> Tensor:
    """A Tensor with a node of this call: a leaf, or, for a Tensor with history, a new node on top of it."""
    x = tensor_like(x)
    if isinstance(x, Tensor) and x.node is not None:
        tensor: Tensor = record(rules["identity"], (x,))
        if tensor.node is not None:
            return tensor
    value = as_value(x.data if isinstance(x, Tensor) else x, copy=False)
    return handle(leaf(value), value)


def _settled(x: Any, start: int) -> Any:
    """The plain value of a result, unless it depends on a Tensor made before `start`."""
    x = tensor_like(x)
    if not isinstance(x, Tensor):
        return x
    node = x.node
    if node is None:
        return x.data
    if watchers and outside(node, start, contexts.stack):
        return x
    if node.index < start or any(operand.index for operand in ordered([node], start)[1]):
        return x
    return x.data


def _selected(args: tuple[Any, ...], argnums: Argnums) -> tuple[int, ...]:
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise StructureError(
                f"argnums={argnums}, but the function was called with {len(args)} positional arguments"
            )
    return tuple(number % len(args) for number in numbers)


def _scalar(result: Any, name: str, holomorphic: bool) -> Any:
    """Check that a result has a gradient."""
    result = tensor_like(result)
    if not isinstance(result, Tensor):
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
    argnums : int or sequence of int, default 0
        Which positional arguments to differentiate with respect to.
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

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> tuple[Any, Any]:
        start = next_index()
        numbers = _selected(args, argnums)
        new_args, targets, rebuilds = list(args), [], []
        for number in numbers:
            leaves, rebuild, _ = flatten(args[number])
            tensors = [_target(x, holomorphic) for x in leaves]
            new_args[number] = rebuild(list(tensors))
            targets.append([tensor.node for tensor in tensors])
            rebuilds.append((rebuild, tensors))
        with under(singular):
            with pulling.since(start):
                result = f(*new_args, **options)
            aux = None
            if has_aux:
                if type(result) is not tuple or len(result) != 2:
                    raise OutputError("with has_aux=True the function must return a pair (result, aux)")
                result, aux = result
            result = _scalar(result, getattr(f, "__name__", "the function"), holomorphic)
            flat = [node for nodes in targets for node in nodes if node is not None]
            found = _pulled([result], [None], flat, start)
        gradients = []
        for (rebuild, tensors), nodes in zip(rebuilds, targets, strict=True):  # `f` may have written to the Tensors
            pairs = zip(nodes, tensors, strict=True)
            gradients.append(rebuild([_gradient(found.get(node), x, start, holomorphic) for node, x in pairs]))
        gradient = gradients[0] if isinstance(argnums, int) else tuple(gradients)
        value = _settled(result, start)
        return ((value, map_tree(lambda x: _settled(x, start), aux)) if has_aux else value), gradient

    return differentiated


class _Pulling(threading.local):
    """Where the reverse-mode transforms that are running a function in this thread began, the innermost one last."""

    def __init__(self) -> None:
        self.starts: list[int] = []

    @contextmanager
    def since(self, start: int) -> Iterator[None]:
        """Let what runs inside know that reverse mode will come back through it."""
        self.starts.append(start)
        try:
            yield
        finally:
            self.starts.pop()


pulling = _Pulling()


def _target(x: Any, holomorphic: bool) -> Tensor:
    tensor = _fresh(x)
    if holomorphic and tensor.dtype.kind != "c":
        raise OutputError(f"holomorphic=True needs complex arguments, but got {describe(tensor)}")
    node = tensor.node
    assert node is not None
    if watchers:
        node.root = min(getattr(node, "root", node.index), node.index)
    return tensor


def _pulled(results: list[Any], cotangents: list[Any], targets: list[Node], start: int) -> dict[Node | None, Any]:
    """Pull from those results that have a node of this call, to the targets."""
    roots, starts = [], []
    for result, ct in zip(results, cotangents, strict=True):
        if isinstance(result, Tensor) and result.node is not None:
            roots.append(result.node)
            starts.append(started(result, ct))
    _, found = pull(roots, starts, targets, oldest=start)
    by_node: dict[Node | None, Any] = {}
    by_node.update(zip(targets, found, strict=True))
    return by_node


def _gradient(found: Any, tensor: Tensor, start: int, holomorphic: bool = False) -> Any:
    if found is None:
        return np.zeros_like(tensor.data) if tensor.ndim else tensor.dtype.type(0)
    return _settled(np.conj(found) if holomorphic else found, start)


def grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    singular: str | None = None,
) -> Callable[..., Any]:
    """Make the function that returns the gradient of `f`; parameters and conventions as in `value_and_grad`.

    Returns
    -------
    callable
        Called like `f`; returns the gradient, or ``(gradient, aux)``.

    Examples
    --------
    >>> import numpy as np
    >>> float(grad(np.tanh)(0.0))
    1.0
    >>> float(grad(grad(np.sin))(np.pi / 2))
    -1.0
    """
    both = value_and_grad(f, argnums, has_aux, holomorphic, singular=singular)

    @functools.wraps(f)
    def differentiated(*args: Any, **options: Any) -> Any:
        value, gradient = both(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return differentiated


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False, singular: str | None = None) -> Any:
    """Evaluate `f` and make its pullback at this point.

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    *primals
        Its arguments.
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

    Notes
    -----
    Cost of one pullback: a small multiple of one evaluation of `f`.  The pullback is the adjoint: conj(J)ᵀ ct.

    Examples
    --------
    >>> import numpy as np
    >>> value, pullback = vjp(lambda x: x**2, np.array([1.0, 3.0]))
    >>> pullback(np.array([1.0, 10.0]))
    (array([ 2., 60.]),)
    """
    start = next_index()
    flat = [flatten(primal) for primal in primals]
    tensors = [[_target(x, False) for x in leaves] for leaves, _, _ in flat]
    nodes = [[tensor.node for tensor in new] for new in tensors]  # before `f` writes to the Tensors
    targets = [node for each in nodes for node in each if node is not None]
    args = [rebuild(list(new)) for (_, rebuild, _), new in zip(flat, tensors, strict=True)]
    with under(singular), pulling.since(start):
        result = f(*args)
    aux = None
    if has_aux:
        result, aux = result
    outputs, rebuild_output, structure = flatten(result)
    outputs = [tensor_like(output) for output in outputs]

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        cts, _, ct_structure = flatten(cotangent)
        if ct_structure != structure:
            raise StructureError(f"the cotangent's structure {ct_structure} is not that of the result, {structure}")
        for output, ct in zip(outputs, cts, strict=True):
            if np.shape(ct) != np.shape(output):
                raise GradientShapeError(
                    f"a cotangent of shape {np.shape(ct)} for a result of shape {np.shape(output)}"
                )
        with under(singular):
            found = _pulled(outputs, cts, targets, start)
        gradients = []
        for (_, rebuild, _), new, each in zip(flat, tensors, nodes, strict=True):
            pairs = zip(each, new, strict=True)
            gradients.append(rebuild([_gradient(found.get(node), x, start) for node, x in pairs]))
        return tuple(gradients)

    value = rebuild_output([_settled(output, start) for output in outputs])
    return (value, pullback, map_tree(lambda x: _settled(x, start), aux)) if has_aux else (value, pullback)


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
        The direction: of the same structure and shapes as `primals`.
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

    Notes
    -----
    Cost: about two to three evaluations of `f`; memory does not grow with the number of operations.

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
    directions, _, other = flatten(tuple(tangents))
    if structure != other:
        raise StructureError(f"the tangents' structure {other} is not that of the primals, {structure}")
    tensors = []
    for x, t in zip(leaves, directions, strict=True):
        tensor = _fresh(x)
        t = tensor_like(t)
        t = t if isinstance(t, Tensor) else as_value(t, copy=False)
        if t.shape != tensor.shape:
            raise GradientShapeError(f"a tangent of shape {t.shape} for an argument of shape {tensor.shape}")
        if t.dtype != tensor.dtype:
            if t.dtype.kind == "c" and tensor.dtype.kind != "c":
                raise GradientShapeError("a complex tangent for a real argument")
            t = t.astype(tensor.dtype)
        node = tensor.node
        assert node is not None
        if node.rule is None:
            node.root = NEVER
        elif not hasattr(node, "root"):
            node.root = node.operands[0].index
        follower.set_tangent(node, t)
        tensors.append(tensor)
    aux = None
    with entered(follower), under(singular):
        result = f(*rebuild(tensors))
        if has_aux:
            result, aux = result
        outputs, rebuild_output, _ = flatten(result)
        outputs = [tensor_like(output) for output in outputs]
    if follower.asked:
        follower.ask(outputs)
    values, changes = [], []
    for output in outputs:
        value = _settled(output, start)
        change = follower.tangent(output.node) if isinstance(output, Tensor) else None
        values.append(value)
        if change is None:
            change = np.zeros_like(np.asarray(getattr(output, "data", output)))[()]
        changes.append(_settled(change, start))
    pair = rebuild_output(values), rebuild_output(changes)
    return (*pair, map_tree(lambda x: _settled(x, start), aux)) if has_aux else pair
