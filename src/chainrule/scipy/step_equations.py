"""Linear equations for changes of the values of consecutive steps, as `collocation.py` has them.

The Jacobians of the equations of all steps make a block triangular matrix: a block for each step, which couples the
values at its nodes, and beside it what the step takes over from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg

from ..rules.linear import conjugated
from ..rules.registry import linear

FEW = 32  # states, for which many stages cost little
SPARSE = 0.1  # of the elements of a Jacobian


def step_equations(weights: Any, h: Any, jacobians: Any) -> Together | InTurn:
    """The equations of steps of lengths `h`, with the Jacobians at the nodes of each."""
    return (Together if jacobians.shape[-1] <= FEW else InTurn)(weights, h, jacobians)


class Together:
    """Linear equations for changes of the values of consecutive steps: few for each step, which are solved as a batch.

    Parameters
    ----------
    weights : of the formula
    h, jacobians : of each step, and at its nodes
    """

    def __init__(self, weights: Any, h: Any, jacobians: Any) -> None:
        count, stages, n, _ = jacobians.shape
        blocks = weights[None, :, None, :, None] * np.swapaxes(jacobians, 1, 2)[:, None]
        self.matrices = np.eye(stages * n) - h[:, None, None] * np.reshape(blocks, (count, stages * n, stages * n))
        starts = np.broadcast_to(np.tile(np.eye(n), (stages, 1)), (count, stages * n, n))
        self.of_start = np.linalg.solve(self.matrices, starts)
        self.to_end = self.of_start[:, -n:]

    def solve(self, right: Any) -> Any:
        """The values whose residuals are `right`, of shape (steps, nodes, states, several); the start is zero."""
        n = right.shape[2]
        own = np.linalg.solve(self.matrices, np.reshape(right, (len(right), -1, right.shape[3])))
        ends = own[:, -n:].copy()
        for i in range(1, len(ends)):
            ends[i] += self.to_end[i] @ ends[i - 1]
        return np.reshape(own + self.of_start @ before(ends), right.shape)

    def solve_adjoint(self, ct: Any) -> Any:
        """The same for the conjugate transpose."""
        n = ct.shape[2]
        right = np.reshape(ct, (len(ct), -1, ct.shape[3])).astype(np.result_type(ct, self.matrices))
        starts, back = adjoint(self.of_start) @ right, adjoint(self.to_end)
        ends = np.zeros_like(starts)
        for i in range(len(ct) - 2, -1, -1):
            ends[i] = starts[i + 1] + back[i + 1] @ ends[i + 1]
        right[:, -n:] += ends
        return np.reshape(np.linalg.solve(adjoint(self.matrices), right), ct.shape)


class InTurn:
    """The same where there are many for each step: factorised one after the other, and as sparse ones where they are.

    With the inverse of the weights, the equations of a step are coupled by multiples of the identity only.
    """

    def __init__(self, weights: Any, h: Any, jacobians: Any) -> None:
        self.inverse = np.linalg.inv(weights)
        used = np.any(jacobians != 0, axis=(0, 1)) | np.eye(jacobians.shape[-1], dtype=bool)
        factorised = self._sparse if np.mean(used) < SPARSE else self._dense
        self.factors = [*factorised(h, jacobians, used)]

    def _dense(self, h: Any, jacobians: Any, used: Any) -> Iterator[Any]:
        coupling = np.kron(self.inverse, np.eye(len(used)))
        for length, blocks in zip(h, jacobians, strict=True):
            yield Dense(coupling - length * scipy.linalg.block_diag(*blocks))

    def _sparse(self, h: Any, jacobians: Any, used: Any) -> Iterator[Any]:
        stages, n = len(self.inverse), len(used)
        row, column = np.nonzero(used)
        j, k = np.nonzero(~np.eye(stages, dtype=bool))
        rows, columns = (
            np.concatenate([(np.arange(stages)[:, None] * n + at).ravel(), (of[:, None] * n + np.arange(n)).ravel()])
            for at, of in ((row, j), (column, k))
        )
        order = np.lexsort((rows, columns))
        starts = np.searchsorted(columns[order], np.arange(stages * n + 1))
        own = np.diag(self.inverse)[:, None] * (row == column)
        coupling = np.repeat(self.inverse[j, k], n)
        for length, blocks in zip(h, jacobians, strict=True):
            numbers = np.concatenate([(own - length * blocks[:, row, column]).ravel(), coupling])
            yield scipy.sparse.linalg.splu(
                scipy.sparse.csc_array((numbers[order], rows[order], starts), shape=(stages * n,) * 2)
            )

    def solve(self, right: Any) -> Any:
        """As of `Together`."""
        found = np.empty(right.shape, right.dtype)
        start = np.zeros(right.shape[2:], right.dtype)
        for i, factor in enumerate(self.factors):
            mixed = np.tensordot(self.inverse, right[i] + start, 1)
            found[i] = factor.solve(np.reshape(mixed, (-1, mixed.shape[-1]))).reshape(mixed.shape)
            start = found[i, -1]
        return found

    def solve_adjoint(self, ct: Any) -> Any:
        """As of `Together`."""
        found = np.array(ct)
        for i in range(len(ct) - 1, -1, -1):
            solved = self.factors[i].solve(np.reshape(found[i], (-1, ct.shape[3])), "H")
            found[i] = np.tensordot(self.inverse.T, solved.reshape(found[i].shape), 1)
            if i:
                found[i - 1, -1] += np.sum(found[i], 0)
        return found


class Dense:
    """A factorised matrix, as SciPy's `splu` has them."""

    def __init__(self, matrix: Any) -> None:
        self.factors = scipy.linalg.lu_factor(matrix)

    def solve(self, right: Any, trans: str = "N") -> Any:
        """Solve, with the conjugate transpose for ``trans="H"``."""
        return scipy.linalg.lu_solve(self.factors, right, {"N": 0, "H": 2}[trans])


def _solved(right: Any, *, steps: Any, transposed: bool) -> Any:
    several = np.reshape(right, (*right.shape[:3], -1))
    return np.reshape((steps.solve_adjoint if transposed else steps.solve)(several), right.shape)


def _solved_transpose(ct: Any, right: Any, *, steps: Any, transposed: bool) -> Any:
    return solved(ct, steps=steps, transposed=not transposed)


def _solved_for_each(rule: Any, operands: Any, batched: Any, **options: Any) -> Any:
    return np.moveaxis(rule(np.moveaxis(operands[0], 0, -1), **options), -1, 0)


solved = linear(_solved, _solved_transpose, name="solved_steps", batch=_solved_for_each)


def before(x: Any, first: Any = None) -> Any:
    """What was there one step before."""
    return np.concatenate([np.zeros((1, *x.shape[1:]), x.dtype) if first is None else first[None], x[:-1]])


def adjoint(a: Any) -> Any:
    """Conjugate transposes of matrices."""
    return conjugated(np.swapaxes(a, -1, -2))


def times(a: Any, x: Any) -> Any:
    """Matrices times vectors."""
    return (a @ x[..., None])[..., 0]
