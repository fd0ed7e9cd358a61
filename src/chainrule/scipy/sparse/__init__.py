"""Sparse matrices whose values are a Tensor, and `linalg`, which solves with them.

SciPy's sparse matrices hold plain numbers.  Products of one with Tensors, ``A @ t`` and ``t @ A``, work as they are.
`coo_array`, `csr_array` and `csc_array` are SciPy's, unless the values are a Tensor: then they make a `SparseTensor`,
of constant pattern, which can be multiplied and solved with.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import scipy.sparse

from ...rules.linear import conjugated
from ...rules.reach import Link
from ...rules.registry import Rule, linear, multilinear
from ...tensor import Tensor, plain, tensor_like

__all__ = ["SparseTensor", "coo_array", "csc_array", "csr_array"]

Function = Callable[..., Any]


class SparseTensor:
    """A sparse matrix whose values may be a Tensor; made by `coo_array`, `csr_array` and `csc_array`.

    Attributes
    ----------
    data : Tensor, the values in the order in which they were given; those at the same place add up
    row, col : where they are
    shape, format : as in SciPy
    """

    def __init__(self, data: Any, make: Function, row: Any, col: Any) -> None:
        matrix = make(np.zeros(np.shape(data)))
        self.data, self.row, self.col = data, np.asarray(row), np.asarray(col)
        self.shape, self.format = matrix.shape, matrix.format
        self.make = make

    @classmethod
    def of(cls, matrix: Any) -> SparseTensor:
        """One of SciPy's."""
        matrix = scipy.sparse.coo_array(matrix)
        row, col = matrix.coords
        return cls(matrix.data, lambda d: scipy.sparse.csr_array((d, (row, col)), matrix.shape), row, col)

    def with_values(self, data: Any) -> SparseTensor:
        """One with other values in the same places."""
        return SparseTensor(data, self.make, self.row, self.col)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    @property
    def ndim(self) -> int:
        return 2

    def plain(self) -> Any:
        """SciPy's array of the plain values."""
        return self.make(plain(self.data))

    @property
    def T(self) -> SparseTensor:
        return SparseTensor(self.data, lambda d: self.make(d).T, self.col, self.row)

    def conj(self) -> SparseTensor:
        return self.with_values(conjugated(self.data))

    def __matmul__(self, x: Any) -> Any:
        return PRODUCT(self.data, tensor_like(x), matrix=self)

    def toarray(self) -> Any:
        """The dense matrix, a Tensor."""
        return self @ np.eye(self.shape[1], dtype=self.dtype)

    def __repr__(self) -> str:
        return f"<SparseTensor {self.format}: {self.data.shape[0]} values, shape {self.shape}, dtype {self.dtype}>"


def _product(data: Any, x: Any, matrix: SparseTensor) -> Any:
    return matrix.make(data) @ x


def _pull_data(ct: Any, node: Any) -> Any:
    matrix, x = node.params[1]["matrix"], node.operands[1].value
    product = ct[matrix.row] * conjugated(x[matrix.col])
    return np.sum(product, -1) if product.ndim > 1 else product


def _pull_vector(ct: Any, node: Any) -> Any:
    matrix = node.params[1]["matrix"]
    return PRODUCT(conjugated(node.operands[0].value), ct, matrix=matrix.T)


PRODUCT = multilinear(_product, _pull_data, _pull_vector, name="sparse_matmul")


# -- a constant matrix -------------------------------------------------------------------------------------------------
def _times(x: Any, matrix: Any) -> Any:
    return matrix @ x


def _reach(node: Any) -> list[Link]:
    """Row i of the result depends on what row i of the matrix has entries for, column by column."""
    matrix, shape = node.params[1]["matrix"].tocoo(), node.operands[0].shape
    columns = np.arange(prod(shape[1:]))
    taken, into = (np.ravel(each[:, None] * len(columns) + columns) for each in (matrix.col, matrix.row))
    return [Link(matrix.shape[0] * len(columns), taken, into)]


def _examples(rule: Any, operands: Any, batched: Any, *, matrix: Any) -> Any:
    (x,) = operands  # examples in front: they become further columns
    size, n, *rest = x.shape
    y = rule(np.reshape(np.moveaxis(x, 0, 1), (n, size * prod(rest))), matrix=matrix)
    return np.moveaxis(np.reshape(y, (matrix.shape[0], size, *rest)), 1, 0)


TIMES: Rule = linear(
    _times, lambda ct, x, matrix: TIMES(ct, matrix=matrix.conj().T), name="times_sparse", batch=_examples
)
TIMES.reach = _reach


def product(a: Any, b: Any) -> Any:
    """``a @ b``, where one is a Tensor and the other a sparse matrix of SciPy's."""
    if isinstance(b, Tensor):
        return TIMES(b, matrix=a)
    return TIMES(a, matrix=b.T) if a.ndim == 1 else TIMES(a.T, matrix=b.T).T


# -- matrices of Tensors -----------------------------------------------------------------------------------------------
def coo_array(arg1: Any, shape: Any = None, dtype: Any = None, copy: bool = False) -> Any:
    """Make a sparse array as `scipy.sparse.coo_array`, differentiable in the values.

    Parameters
    ----------
    arg1 : ``(data, (row, col))`` with a Tensor `data`, or what SciPy takes
    shape, dtype, copy
        As in SciPy.

    Returns
    -------
    SparseTensor if `data` is a Tensor, otherwise SciPy's array
    """
    return _made(scipy.sparse.coo_array, arg1, shape, dtype, copy)


def csr_array(arg1: Any, shape: Any = None, dtype: Any = None, copy: bool = False) -> Any:
    """Make a sparse array as `scipy.sparse.csr_array`, differentiable in the values.

    Parameters
    ----------
    arg1 : ``(data, indices, indptr)`` or ``(data, (row, col))`` with a Tensor `data`, or what SciPy takes
    shape, dtype, copy
        As in SciPy.

    Returns
    -------
    SparseTensor if `data` is a Tensor, otherwise SciPy's array

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> def f(d):
    ...     return np.sum(csr_array((d, [0, 1, 1], [0, 1, 3])) @ np.array([2.0, 3.0]))
    >>> cr.grad(f)(np.ones(3))
    array([2., 3., 3.])
    """
    return _made(scipy.sparse.csr_array, arg1, shape, dtype, copy)


def csc_array(arg1: Any, shape: Any = None, dtype: Any = None, copy: bool = False) -> Any:
    """Make a sparse array as `scipy.sparse.csc_array`, differentiable in the values.

    Parameters
    ----------
    arg1 : ``(data, indices, indptr)`` or ``(data, (row, col))`` with a Tensor `data`, or what SciPy takes
    shape, dtype, copy
        As in SciPy.

    Returns
    -------
    SparseTensor if `data` is a Tensor, otherwise SciPy's array
    """
    return _made(scipy.sparse.csc_array, arg1, shape, dtype, copy)


def _made(kind: Any, arg1: Any, shape: Any, dtype: Any, copy: bool) -> Any:
    if not (isinstance(arg1, tuple) and len(arg1) in (2, 3)):
        return kind(arg1, shape, dtype, copy)
    data, *where = (tensor_like(arg1[0]), *arg1[1:])
    if not isinstance(data, Tensor):
        return kind(arg1, shape, dtype, copy)
    data = data if dtype is None else data.astype(dtype)
    example = kind((plain(data), *where), shape)
    shape = example.shape

    def make(values: Any) -> Any:
        return kind((values, *where), shape)

    if len(where) == 1:
        row, col = where[0]
    else:
        indices, starts = where
        row, col = np.repeat(np.arange(len(starts) - 1), np.diff(starts)), np.asarray(indices)
        if kind is scipy.sparse.csc_array:
            row, col = col, row
    return SparseTensor(data, make, row, col)
