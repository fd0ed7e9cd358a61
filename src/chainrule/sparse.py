"""Jacobians and Hessians that are mostly zero: found in a few sweeps, however many rows they have.

The pattern of the derivative is found from the graph, once, and coloured; every evaluation then takes one sweep per
colour, and puts what comes out where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .colouring import columns_coloured, star_coloured
from .errors import ConversionError, DataError, MissingExtraError, OutputError, PlanError
from .graph import contexts
from .tensor import Tensor, as_value, describe, plain, tensor_like
from .transforms import Recorded, grad
from .tree import flatten
from .walk.sparsity import Program, hessian_pattern, jacobian_pattern, traced

__all__ = ["SparsityPlan", "sparse_hessian", "sparse_jacobian", "sparsity"]

KEPT = 8  # plans for other branches of a function that were met
NAMES = {1: "Jacobian", 2: "Hessian"}


class SparsityPlan:
    """Which entries of a Jacobian or Hessian can be other than zero, and how to find them in few sweeps.

    Made by `sparsity`; `sparse_jacobian` and `sparse_hessian` use it at any point, of the same shapes.

    Attributes
    ----------
    order : int
        1 for a Jacobian, 2 for a Hessian.
    shape : tuple of int
        Of the matrix: elements of all outputs by elements of all inputs.
    rows, columns : arrays of int
        Where the entries are, in row-major order.
    mode : str
        ``"columns"``: columns of one colour are found together, by `linearize`; ``"rows"``: rows, by `vjp`;
        ``"symmetric"``: columns of a Hessian, where one of each two equal entries is enough.
    colours : array of int
        The colour of each column, or of each row with ``mode="rows"``.

    Examples
    --------
    >>> import numpy as np
    >>> sparsity(np.diff, np.zeros(1000))
    SparsityPlan(Jacobian, shape=(999, 1000), nnz=1998, mode='columns', sweeps=2)
    """

    def __init__(self, program: Program, order: int, structure: Any, shapes: Sequence[Any]) -> None:
        self.order = order
        self._structure, self._shapes = structure, shapes
        self._fingerprint = program.fingerprint
        columns = program.inputs
        self.shape = (columns if order == 2 else sum(int(np.size(value)) for value in program.values), columns)
        if order == 2:
            self.rows, self.columns = hessian_pattern(program)
            self.mode, self.colours = "symmetric", star_coloured(self.rows, self.columns, columns)
        else:
            self.rows, self.columns = jacobian_pattern(program)
            self.mode, self.colours = self._coloured()
        sweep, place = self._places()
        self._order = np.argsort(sweep, kind="stable")  # the entries, sweep by sweep
        self._ends = np.cumsum(np.bincount(sweep, minlength=self.sweeps))
        self._sweep, self._place = sweep[self._order], place[self._order]

    def _coloured(self) -> tuple[str, Any]:
        """Colour columns or rows, whichever needs fewer colours."""
        colours = columns_coloured(self.rows, self.columns, self.shape)
        sweeps = colours.max(initial=-1) + 1
        if np.bincount(self.columns).max(initial=0) < sweeps:  # otherwise the rows need as many
            across = columns_coloured(self.columns, self.rows, self.shape[::-1])
            if across.max(initial=-1) + 1 < sweeps:
                return "rows", across
        return "columns", colours

    def _places(self) -> tuple[Any, Any]:
        """For each entry, in which sweep it is found, and at which place of what comes out."""
        if self.mode == "rows":
            return self.colours[self.rows], self.columns
        sweep, place = self.colours[self.columns], self.rows
        if self.mode == "symmetric":
            _, which, together = np.unique(place * (self.sweeps + 1) + sweep, return_inverse=True, return_counts=True)
            alone = together[which] == 1
            sweep = np.where(alone, sweep, self.colours[self.rows])
            place = np.where(alone, place, self.columns)
            mirrored = np.argsort(self.columns * self.shape[0] + self.rows)
            below = self.rows > self.columns  # the same numbers on both sides of the diagonal
            sweep, place = np.where(below, sweep[mirrored], sweep), np.where(below, place[mirrored], place)
        return sweep, place

    @property
    def nnz(self) -> int:
        """Number of entries that can be other than zero."""
        return len(self.rows)

    @property
    def sweeps(self) -> int:
        """Number of colours: of products that one evaluation takes."""
        return int(self.colours.max(initial=-1)) + 1 if self.nnz else 0

    def pattern(self) -> Any:
        """The pattern as a matrix of booleans, a ``scipy.sparse.csr_array``."""
        return self._matrix(np.ones(self.nnz, bool))

    def __repr__(self) -> str:
        return (
            f"SparsityPlan({NAMES[self.order]}, shape={self.shape}, nnz={self.nnz}, mode={self.mode!r}, "
            f"sweeps={self.sweeps})"
        )

    def _matrix(self, data: Any) -> Any:
        starts = np.concatenate([[0], np.cumsum(np.bincount(self.rows, minlength=self.shape[0]))])
        return _scipy_sparse().csr_array((data, self.columns, starts), shape=self.shape)

    def _evaluate(self, f: Callable[..., Any], point: _Point, dtype: Any) -> Any:
        """One sweep per colour, many of them in one walk; what each shows goes to its entries."""
        data = np.empty(self.nnz, dtype)
        if self.nnz:
            run = Recorded(grad(f) if self.mode == "symmetric" else f, (point.x,), pulled=self.mode == "rows")
            walk, seeded = (run.pull_each, run.outputs) if self.mode == "rows" else (run.push_each, run.tensors)
            chunk = run.at_once()
            for first in range(0, self.sweeps, chunk):
                last = min(first + chunk, self.sweeps)
                found = _joined(walk(_parts(self.colours == np.arange(first, last)[:, None], seeded)))
                here = slice(self._ends[first - 1] if first else 0, self._ends[last - 1])
                data[self._order[here]] = found[self._sweep[here] - first, self._place[here]]
        return self._matrix(data)


class _Point:
    """An argument: its leaves, checked, and how to put others in their place."""

    def __init__(self, x: Any) -> None:
        leaves, self.rebuild, self.structure = flatten(x)
        leaves = [tensor_like(leaf) for leaf in leaves]
        oldest = max((context.oldest for context in contexts.stack), default=0)  # under no_grad() all else is constant
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.node is not None and leaf.node.index >= oldest:
                raise ConversionError(
                    f"sparse derivatives at a {describe(leaf)}: the result is a SciPy matrix, through which no "
                    "derivative flows. Pass t.data"
                )
        self.leaves = [as_value(plain(leaf)) for leaf in leaves]
        for leaf in self.leaves:
            if leaf.dtype.kind == "c":
                raise DataError(
                    f"sparse derivatives need real arguments, not {describe(leaf)}: pass real and imaginary parts"
                )
        self.x = self.rebuild(list(self.leaves))
        self.shapes = [leaf.shape for leaf in self.leaves]

    def traced(self, f: Callable[..., Any], order: int) -> Program:
        """A trace of `f` here, whose result is checked."""
        program = traced(f, self.leaves, self.rebuild)
        for value in program.values:
            if value.dtype.kind != "f":
                raise OutputError(
                    f"a sparse {NAMES[order]} needs real results of a floating dtype, not {describe(value)}"
                )
        if order == 2 and [np.shape(value) for value in program.values] != [()]:
            shapes = ", ".join(str(np.shape(value)) for value in program.values)
            raise OutputError(f"a Hessian needs a function with one scalar result; this one has shape {shapes}")
        if program.outside:
            raise ConversionError(
                "the function depends on a Tensor from outside: the result is a SciPy matrix, through which no "
                "derivative flows. Use t.data in it, or call this within `with no_grad():`"
            )
        return program

    def plan(self, f: Callable[..., Any], order: int) -> SparsityPlan:
        """A plan that holds here."""
        return SparsityPlan(self.traced(f, order), order, self.structure, self.shapes)


def _parts(rows: Any, like: Sequence[Any]) -> list[Any]:
    """Cut each row into arrays of these shapes and dtypes."""
    parts, start = [], 0
    for x in like:
        size = int(np.size(x))
        parts.append(rows[:, start : start + size].reshape(len(rows), *np.shape(x)).astype(x.dtype))
        start += size
    return parts


def _joined(parts: Sequence[Any]) -> Any:
    """Put the arrays of each row side by side."""
    return np.concatenate([np.reshape(part, (len(part), -1)) for part in parts], axis=1)


def _scipy_sparse() -> Any:
    try:
        import scipy.sparse  # noqa: PLC0415 (an optional dependency, which importing chainrule must not load)
    except ImportError as error:
        raise MissingExtraError(
            'sparse derivatives are SciPy matrices, and SciPy is not installed: pip install "chainrule[scipy]"'
        ) from error
    return scipy.sparse


def sparsity(f: Callable[..., Any], x: Any, order: int = 1) -> SparsityPlan:
    """Find which entries of the Jacobian of `f` (or, with ``order=2``, of its Hessian) can be other than zero.

    Parameters
    ----------
    f : callable
        Takes one argument; returns an array, or a container of arrays.  With ``order=2``, a scalar.
    x : array_like or container
        An example of the argument.  Of containers and of arrays of any shape, the elements are counted through.
    order : {1, 2}
        Whether for `sparse_jacobian` or for `sparse_hessian`.

    Returns
    -------
    SparsityPlan
        The pattern and its colouring, to be used at any number of points.

    Raises
    ------
    NotSparseError
        If the pattern has so many entries that it would not fit into memory.

    Notes
    -----
    The pattern is that of the function, not of the point: never too small, and exact where operations are elementwise,
    move elements, or add and multiply them (a linear term adds nothing to a Hessian; a matrix product with a constant
    counts the nonzero elements of the constant).  Of `np.where`, both choices count; of decompositions, everything in
    a matrix.

    Cost: one evaluation of `f`, and time and memory at most proportional to the number of entries of all intermediate
    patterns.

    Examples
    --------
    >>> import numpy as np
    >>> sparsity(lambda x: np.sum(x[1:] * x[:-1] ** 2), np.zeros(100_000), order=2)
    SparsityPlan(Hessian, shape=(100000, 100000), nnz=299997, mode='symmetric', sweeps=3)
    """
    if order not in NAMES:
        raise PlanError(f"order={order!r}: it is 1 for a Jacobian and 2 for a Hessian")
    return _Point(x).plan(f, order)


class _Derivative:
    """What `sparse_jacobian` and `sparse_hessian` return: a function of the argument, with the plans it has met."""

    def __init__(self, f: Callable[..., Any], plan: SparsityPlan | None, order: int) -> None:
        self.name = "sparse_jacobian" if order == 1 else "sparse_hessian"
        if plan is not None and plan.order != order:
            raise PlanError(f"{self.name} was given a plan for a {NAMES[plan.order]}: pass sparsity(f, x, {order=})")
        self.f, self.plan, self.order = f, plan, order
        self.plans = [] if plan is None else [plan]

    def __call__(self, x: Any) -> Any:
        point, plan = _Point(x), self.plan
        if plan is not None and (plan._structure, plan._shapes) != (point.structure, point.shapes):
            raise PlanError(
                f"{self.name} was given a plan for arguments of shapes {plan._shapes} in {plan._structure}, and called "
                f"with shapes {point.shapes} in {point.structure}: make a plan for these"
            )
        program = point.traced(self.f, self.order)
        current = next((known for known in self.plans if known._fingerprint == program.fingerprint), None)
        if current is None:
            current = SparsityPlan(program, self.order, point.structure, point.shapes)
            self.plans = [*self.plans[:1], *self.plans[1:][1 - KEPT :], current]
        dtypes = [v.dtype for v in (program.values if self.order == 1 else point.leaves)]
        return current._evaluate(self.f, point, np.result_type(*dtypes) if dtypes else float)

    def __repr__(self) -> str:
        return f"<{self.name} of {getattr(self.f, '__name__', 'a function')}>"


def sparse_jacobian(f: Callable[..., Any], plan: SparsityPlan | None = None) -> Callable[[Any], Any]:
    """Make the function that returns the Jacobian of `f` as a sparse matrix.

    Parameters
    ----------
    f : callable
        Takes one argument; returns an array, or a container of arrays.
    plan : SparsityPlan, optional
        Made by `sparsity`; by default one is made at the first call.

    Returns
    -------
    callable
        Called with the argument; returns a ``scipy.sparse.csr_array`` with a row for each element of the results and
        a column for each element of the argument, of the dtype of the results.  It stores the entries of the pattern,
        also where one is zero at this point.

    Raises
    ------
    PlanError
        If the plan is for a Hessian, or for an argument of another shape.
    MissingExtraError
        If SciPy is not installed.

    Notes
    -----
    Cost: one evaluation of `f`, which checks that the plan holds, one that is recorded, and ``plan.sweeps`` products
    with the Jacobian, forward with ``plan.mode == "columns"`` and in reverse with ``"rows"``: about one and about
    two evaluations each, as many at a time as stay in the caches.  Memory grows with the number of operations.

    A plan holds wherever `f` does the same operations on the same elements.  Where it does others (a branch, another
    index, other constants that are zero), that is noticed and a plan is made for these.

    Examples
    --------
    >>> import numpy as np
    >>> print(sparse_jacobian(lambda x: x[1:] * x[:-1])(np.array([1.0, 2.0, 3.0])).toarray())
    [[2. 1. 0.]
     [0. 3. 2.]]
    """
    return _Derivative(f, plan, 1)


def sparse_hessian(f: Callable[..., Any], plan: SparsityPlan | None = None) -> Callable[[Any], Any]:
    """Make the function that returns the Hessian of a scalar function as a sparse matrix.

    Parameters
    ----------
    f : callable
        Takes one argument; returns a scalar.
    plan : SparsityPlan, optional
        Made by `sparsity` with ``order=2``; by default one is made at the first call.

    Returns
    -------
    callable
        Called with the argument; returns a ``scipy.sparse.csr_array`` with a row and a column for each element of the
        argument, of its dtype.  It is symmetric, bit for bit, and stores the entries of the pattern, also where one is
        zero at this point.

    Raises
    ------
    OutputError
        If the result of `f` is not a scalar.
    PlanError, MissingExtraError
        As `sparse_jacobian`.

    Notes
    -----
    Cost: one evaluation of `f`, which checks that the plan holds as in `sparse_jacobian`, one gradient that is
    recorded, and ``plan.sweeps`` products with the Hessian, forward over reverse, a few evaluations of `f` each, as
    many at a time as stay in the caches.  Memory grows with the number of operations.

    Examples
    --------
    >>> import numpy as np
    >>> print(sparse_hessian(lambda x: np.sum(x[1:] * x[:-1] ** 2))(np.array([1.0, 2.0, 3.0])).toarray())
    [[4. 2. 0.]
     [2. 6. 4.]
     [0. 4. 0.]]
    """
    return _Derivative(f, plan, 2)
