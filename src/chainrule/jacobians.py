"""Derivatives as arrays, `jacobian` and `hessian`, and products with them that never make the array.

A function is run once, recorded; all columns, or all rows, are then found in one walk over the record, as a batch of
directions (the batches of `vmap`), or in a few walks where one would need too much memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arguments import Argnums, Transformed, chosen, name_of
from .errors import NoDerivativeError, OutputError, StructureError
from .rules.linear import as_array
from .tensor import Tensor, describe
from .transforms import Recorded, grad, jvp
from .tree import flatten
from .walk.functions import is_written_down

__all__ = ["elementwise_grad", "ggn_vp", "hessian", "hvp", "jacobian"]

FEW = 64  # directions that are pushed along with a function: with each, all that it holds at a time grows
MODES = ("auto", "fwd", "rev")


# -- arrays of derivatives -------------------------------------------------------------------------------------------
def jacobian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    mode: str = "auto",
    chunk_size: int | None = None,
    singular: str | None = None,
) -> Callable[..., Any]:
    """Make the function that returns all partial derivatives of `f`.

    Parameters
    ----------
    f : callable
        May return any container of arrays.
    argnums : int, str, or sequence of these, default 0
        Which arguments to differentiate with respect to, as in `grad`.
    has_aux : bool, default False
        The function returns a pair; its second half is passed through, undifferentiated.
    holomorphic : bool, default False
        For a complex-differentiable function of complex arguments: return f'(z).
    mode : {"auto", "fwd", "rev"}
        ``"fwd"`` finds columns, a direction for each element of the arguments; ``"rev"`` rows, a cotangent for
        each element of the results; ``"auto"`` whichever are fewer, forward if they are as many.
    chunk_size : int, optional
        How many columns or rows are found in one walk.  By default as many as keep the largest array of a walk at 2**18
        elements, which is where more at a time takes longer.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    callable
        Called like `f`.  For arrays: the Jacobian, of shape ``(*result.shape, *argument.shape)`` and of the dtype of
        the result.  For containers: that of the result, with that of the argument in the place of each array (a tuple
        of these if `argnums` is a sequence).  With `has_aux`, ``(jacobian, aux)``.  Plain arrays, unless they depend on
        a Tensor from outside.

    Raises
    ------
    OutputError
        If a result is not an array of floating or complex numbers; if arguments are complex without `holomorphic`, or
        it is said of a function that has real arguments or results.

    Notes
    -----
    Cost: `f` is evaluated once and recorded; then each column costs about one evaluation, each row about two, as one
    operation on a batch of them: never a Python loop over rows.  Memory grows with the number of operations of `f`, and
    within a walk by the chunk's size.  With ``mode="fwd"``, up to 64 columns and no `chunk_size`, the columns are
    computed along with `f` and nothing is recorded: memory does not grow with the number of operations.

    Examples
    --------
    >>> import numpy as np
    >>> jacobian(lambda x: x[1:] * x[0])(np.array([2.0, 3.0, 4.0]))
    array([[3., 2., 0.],
           [4., 0., 2.]])
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}: choose one of {', '.join(map(repr, MODES))}")
    _check_chunk_size(chunk_size)
    return Transformed(
        _jacobian,
        f,
        argnums=argnums,
        has_aux=has_aux,
        holomorphic=holomorphic,
        mode=mode,
        chunk_size=chunk_size,
        singular=singular,
        followed=mode == "fwd",
    )


def _check_chunk_size(chunk_size: Any) -> None:
    if chunk_size is not None and (not hasattr(chunk_size, "__index__") or chunk_size < 1):
        raise ValueError(f"chunk_size={chunk_size!r}: it is a number of rows or columns, 1, 2, 3, ...")


def _jacobian(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    *,
    argnums: Argnums,
    has_aux: bool,
    holomorphic: bool,
    mode: str,
    chunk_size: int | None,
    singular: str | None,
    followed: bool,
) -> Any:
    function, values = chosen(f, argnums, args, options)
    directions = _all_at_once if followed and chunk_size is None else None
    run = Recorded(function, values, pulled=mode != "fwd", has_aux=has_aux, singular=singular, directions=directions)
    inputs, outputs = run.tensors, [_differentiable(y, name_of(f)) for y in run.outputs]
    real = _check_complex(inputs, outputs, holomorphic, name_of(f))
    columns, rows = (sum(int(np.prod(x.shape)) for x in leaves) for leaves in (inputs, outputs))
    free = mode == "auto"
    if free:
        mode = "rev" if columns > rows and not real else "fwd"
    elif mode == "rev" and real:
        raise OutputError(
            f"jacobian of {name_of(f)}, whose result is complex while its arguments are real, has no reverse mode: "
            "use mode='fwd'"
        )
    if mode == "fwd" and run.pushed is not None:
        found = _in_chunks(lambda seeds: run.pushed or [], inputs, outputs, columns)
    elif mode == "fwd":
        try:
            found = _in_chunks(run.push_each, inputs, outputs, chunk_size or run.at_once())
        except NoDerivativeError:  # a custom_vjp on the way, say
            if not free or real:
                raise
            mode = "rev"
    if mode == "rev":
        found = _in_chunks(run.pull_each, outputs, inputs, chunk_size or run.at_once())
    if mode == "fwd":
        blocks = [[_turned(found[i][j], x.ndim) for i, x in enumerate(inputs)] for j in range(len(outputs))]
    else:
        blocks = [[np.conj(block) if holomorphic else block for block in row] for row in found]
    single = isinstance(argnums, str) or hasattr(argnums, "__index__")
    matrix = []
    for row, y in zip(blocks, outputs, strict=True):
        parts = run.rebuild([block if block.dtype == y.dtype else block.astype(y.dtype) for block in row])
        matrix.append(parts[0] if single else tuple(parts))
    derivative = run.rebuild_output(matrix)
    return (derivative, run.aux) if has_aux else derivative


def _all_at_once(inputs: Sequence[Any]) -> list[Any] | None:
    """A direction for each element of the arguments, if they are few: what can be pushed along with the function."""
    sizes = [int(np.prod(x.shape)) for x in inputs]
    columns = sum(sizes)
    if not 0 < columns <= FEW:
        return None
    starts = np.cumsum([0, *sizes[:-1]])
    return [_ones(0, columns, start, x) for start, x in zip(starts, inputs, strict=True)]


def _differentiable(y: Any, name: str) -> Any:
    """A result, with a shape and a dtype."""
    if not isinstance(y, Tensor) and not is_written_down(y):
        if not isinstance(y, float | complex | np.number | np.ndarray):
            raise OutputError(f"jacobian needs a function that returns arrays, but {name} returned {describe(y)}")
        y = as_array(y)
    if y.dtype.kind not in "fc":
        raise OutputError(f"jacobian of {name}, one of whose results is of dtype {y.dtype}, which has no derivative")
    return y


def _check_complex(inputs: Sequence[Any], outputs: Sequence[Any], holomorphic: bool, name: str) -> bool:
    """Refuse what has no array of derivatives; say whether results are complex that depend on real arguments."""
    kinds = [{x.dtype.kind for x in leaves} for leaves in (inputs, outputs)]
    if holomorphic:
        for real, what in zip(("f" in kinds[0], "f" in kinds[1]), ("argument", "result"), strict=True):
            if real:
                raise OutputError(f"jacobian of {name} with holomorphic=True, but it has a real {what}")
    elif "c" in kinds[0]:
        raise OutputError(
            f"jacobian of {name} in complex arguments: pass holomorphic=True if it is complex-differentiable; if "
            "not, it has two derivatives: write it as a function of real and imaginary parts"
        )
    return "c" in kinds[1] and not holomorphic


def _in_chunks(
    walk: Callable[[list[Any]], list[Any]], seeded: Sequence[Any], reached: Sequence[Any], chunk: int
) -> list[list[Any]]:
    """Walk from each element of the `seeded`; per array of these, and per array reached, what comes of all of them."""
    sizes = [int(np.prod(x.shape)) for x in seeded]
    *starts, end = np.cumsum([0, *sizes]).tolist()
    walks = [
        walk([_ones(first, min(first + chunk, end), start, x) for start, x in zip(starts, seeded, strict=True)])
        for first in range(0, end, chunk)
    ]
    if walks:
        whole = walks[0] if len(walks) == 1 else [np.concatenate(parts) for parts in zip(*walks, strict=True)]
    else:
        whole = [np.zeros((0, *y.shape), y.dtype) for y in reached]
    return [
        [
            np.reshape(part[start : start + size], (*x.shape, *y.shape))[()]
            for part, y in zip(whole, reached, strict=True)
        ]
        for start, size, x in zip(starts, sizes, seeded, strict=True)
    ]


def _ones(first: int, last: int, start: int, like: Any) -> Any:
    """For the elements `first` to `last` of all arrays, a 1 where it is in this one, which begins at `start`."""
    size = int(np.prod(like.shape))
    seeds = np.zeros((last - first, size), like.dtype)
    inside = np.arange(max(first, start), min(last, start + size))
    seeds[inside - first, inside - start] = 1
    seeds.flags.writeable = False  # so that compiled programs know that they stay what they are
    return seeds.reshape(last - first, *like.shape)


def _turned(block: Any, rank: int) -> Any:
    """Put the first axes last."""
    return np.transpose(block, [*range(rank, block.ndim), *range(rank)]) if 0 < rank < block.ndim else block


def hessian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    chunk_size: int | None = None,
    singular: str | None = None,
) -> Callable[..., Any]:
    """Make the function that returns all second partial derivatives of a scalar function.

    Parameters
    ----------
    f : callable
        Returns a scalar; with `has_aux`, a pair of a scalar and anything else.
    argnums, has_aux, holomorphic, chunk_size, singular
        As in `jacobian`.

    Returns
    -------
    callable
        Called like `f`.  For an array argument: an array of shape ``(*argument.shape, *argument.shape)``, of its dtype.
        For containers: one inside the other, ``h["a"]["b"]`` for a dictionary, ``h[0][1]`` for two `argnums`.  With
        `has_aux`, ``(hessian, aux)``.

    Raises
    ------
    OutputError
        If the result is not a scalar (`jacobian` of `jacobian` takes any), and as `jacobian`.

    Notes
    -----
    Cost: one gradient of `f`, recorded, and then for each element of the arguments about two to four evaluations of
    `f`, forward over reverse, in batches.  Memory grows with the number of operations of `f`, and by the chunk's size.
    For products with a Hessian use `hvp`; if it is mostly zero, `sparse_hessian`.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 3.0]))
    array([[6., 2.],
           [2., 0.]])
    """
    _check_chunk_size(chunk_size)
    return Transformed(
        _hessian,
        grad(f, argnums, has_aux, holomorphic),
        argnums=argnums,
        has_aux=has_aux,
        holomorphic=holomorphic,
        mode="fwd",
        chunk_size=chunk_size,
        singular=singular,
        followed=False,  # what a gradient holds is the graph of its function: each direction would hold it again
    )


def _hessian(gradient: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], **settings: Any) -> Any:
    return _jacobian(gradient, args, options, **settings)


# -- products with second derivatives --------------------------------------------------------------------------------
def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], *, singular: str | None = None) -> Any:
    """Multiply the Hessian of a scalar function by a vector.

    Parameters
    ----------
    f : callable
        Returns a real scalar.
    primals : sequence
        Its arguments, all of which are differentiated; containers too.
    tangents : sequence
        The vector: of the same structure and shapes as `primals`.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    tuple
        The product, of the structure, shapes and dtypes of `primals`: how the gradient changes along `tangents`.

    Raises
    ------
    OutputError
        If the result is not a real scalar.
    GradientShapeError, StructureError
        If the tangents do not match the primals.

    Notes
    -----
    Cost: that of one gradient, two to three times, whatever the number of arguments; memory grows with the number of
    operations, as for `grad`.  For many products at one point, ``linearize(grad(f), x)`` records once.

    References
    ----------
    B. A. Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994).

    Examples
    --------
    >>> import numpy as np
    >>> hvp(lambda x: x[0] ** 2 * x[1], (np.array([1.0, 3.0]),), (np.array([1.0, 0.0]),))
    (array([6., 2.]),)
    """
    _check_sequences("hvp(f, (x,), (v,))", primals, tangents)
    return jvp(grad(f, tuple(range(len(primals)))), primals, tangents, singular=singular)[1]


def ggn_vp(
    f: Callable[..., Any],
    loss: Callable[[Any], Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    singular: str | None = None,
) -> Any:
    """Multiply the generalised Gauss-Newton matrix of ``loss(f(*primals))`` by a vector.

    Parameters
    ----------
    f : callable
        The model; may return any container of arrays.
    loss : callable
        Takes the result of `f`; returns a real scalar.
    primals : sequence
        The arguments of `f`, all of which are differentiated; containers too.
    tangents : sequence
        The vector: of the same structure and shapes as `primals`.
    singular : {"zero", "nan", "warn", "raise"}, optional
        What happens where a zero factor meets infinity or NaN: as `with singular(mode):` around the call.

    Returns
    -------
    tuple
        Jᵀ H J v, of the structure, shapes and dtypes of `primals`; J is the Jacobian of `f`, H the Hessian of `loss` at
        its result.  The matrix is positive semidefinite wherever `loss` is convex, and the Hessian of ``loss(f(x))`` if
        `f` is linear.

    Raises
    ------
    OutputError
        If the loss is not a real scalar.
    GradientShapeError, StructureError
        If the tangents do not match the primals.

    Notes
    -----
    Cost: one recorded evaluation of `f`, about one forward and two backward, and `hvp` of the loss; memory grows with
    the number of operations.

    References
    ----------
    N. N. Schraudolph, Fast curvature matrix-vector products for second-order gradient descent, Neural Computation 14
    (2002).

    Examples
    --------
    >>> import numpy as np
    >>> residuals = lambda x: np.array([x[0] ** 2, x[0] * x[1]])
    >>> ggn_vp(residuals, lambda r: 0.5 * np.sum(r**2), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    (array([8., 2.]),)
    """
    _check_sequences("ggn_vp(f, loss, (x,), (v,))", primals, tangents)
    run = Recorded(f, primals, pulled=True, singular=singular)
    (curved,) = hvp(loss, (run.value,), (run.push(*tangents),), singular=singular)
    return run.pull(curved)


def _check_sequences(call: str, primals: Any, tangents: Any) -> None:
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise StructureError(f"{call.partition('(')[0]} takes its primals and tangents as tuples: {call}")


# -- elementwise functions -------------------------------------------------------------------------------------------
def elementwise_grad(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    singular: str | None = None,
) -> Callable[..., Any]:
    """Make the derivative of a function that works element by element, of the same kind.

    Parameters
    ----------
    f : callable
        Returns an array in which each element depends on the same element of the argument alone: this is not checked.
        Of any other function, the sum of all results is differentiated.
    argnums, has_aux, holomorphic, singular
        As in `grad`.

    Returns
    -------
    callable
        Called like `f`; returns f'(x) for each element, of the shape and dtype of the argument.

    Raises
    ------
    OutputError
        If the result has not the shape of the arguments: then `f` cannot be elementwise, and `jacobian` is wanted.

    Notes
    -----
    Cost: a small multiple of one evaluation of `f`; memory grows with the number of operations.

    Examples
    --------
    >>> import numpy as np
    >>> elementwise_grad(np.tanh)(np.array([-1.0, 0.0, 1.0]))
    array([0.41997434, 1.        , 0.41997434])
    >>> elementwise_grad(elementwise_grad(np.sin))(np.array([0.0, np.pi / 2]))
    array([-0., -1.])
    """
    return Transformed(
        _elementwise_grad, f, argnums=argnums, has_aux=has_aux, holomorphic=holomorphic, singular=singular
    )


def _elementwise_grad(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    *,
    argnums: Argnums,
    has_aux: bool,
    holomorphic: bool,
    singular: str | None,
) -> Any:
    function, values = chosen(f, argnums, args, options)
    shapes = {np.shape(leaf) for leaf in flatten(values)[0]}

    @functools.wraps(f)
    def total(*values: Any) -> Any:
        result = function(*values)
        y, *aux = result if has_aux and type(result) is tuple else (result,)
        if not hasattr(y, "dtype"):
            return result  # grad says what is wrong with it, or takes a number
        if np.shape(y) not in shapes or len(shapes) > 1:
            told = " and ".join(map(str, sorted(shapes)))
            raise OutputError(
                f"elementwise_grad of {name_of(f)}, which is not elementwise: its result has shape {np.shape(y)}, what "
                f"it is differentiated in {told}. Use jacobian"
            )
        return (np.sum(y), *aux) if aux else np.sum(y)

    found = grad(total, tuple(range(len(values))), has_aux, holomorphic, singular=singular)(*values)
    gradients, aux = found if has_aux else (found, None)
    single = isinstance(argnums, str) or hasattr(argnums, "__index__")
    gradient = gradients[0] if single else gradients
    return (gradient, aux) if has_aux else gradient
