"""Solutions of sparse linear systems: in the right-hand side, and in whatever the matrix or operator depends on.

The derivative of x = A⁻¹ b is the solution of another such system, ``dx = A⁻¹ (db - dA x)`` forward and one with the
adjoint of A in reverse; it is found by the same function with the same options, and can be differentiated in turn.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from ...rules.linear import conjugated
from ...tensor import Tensor, batched_among, plain, tensor_like
from ...transforms import vjp
from ..implicit import depends, solution
from ..namespace import Namespace, array, by_example, of_an_example
from . import SparseTensor

Function = Callable[..., Any]
LinearOperator = scipy.sparse.linalg.LinearOperator
here = Namespace(scipy.sparse.linalg)

here.as_they_are(
    "ArpackError", "ArpackNoConvergence", "LaplacianNd", "LinearOperator", "MatrixRankWarning", "SuperLU", "test",
    "use_solver",
)  # fmt: skip
here.not_implemented("a sparse matrix of SciPy's has no derivative", "aslinearoperator")
here.not_implemented("what it returns for a sparse matrix is about its pattern", "is_sptriangular", "spbandwidth")
here.not_implemented("a factorisation has no derivative here: use spsolve", "factorized", "spilu", "splu")
here.not_implemented("it has no derivative here: use spsolve", "inv", "spsolve_triangular")
here.not_implemented("it has no derivative here: use np.linalg.eigh of the dense matrix", "eigs", "eigsh", "lobpcg")
here.not_implemented("it has no derivative here: use np.linalg.svd of the dense matrix", "svds")
here.not_implemented(
    "it has no derivative here: use chainrule.scipy.linalg of the dense matrix",
    "expm", "expm_multiply", "funm_multiply_krylov", "matrix_power", "norm", "onenormest",
)  # fmt: skip
here.not_implemented("it has no derivative here: solve the normal equations with cg", "lsmr", "lsqr")


# -- matrices and operators --------------------------------------------------------------------------------------------
class Operator:
    """A matrix, or what SciPy takes for one, as a function of Tensors.

    Attributes
    ----------
    given : array, Tensor, sparse matrix or LinearOperator
    apply : multiplies a vector, which may be a Tensor
    """

    def __init__(self, given: Any) -> None:
        given = tensor_like(given)
        if scipy.sparse.issparse(given):
            given = SparseTensor.of(given)
        self.given = given
        self.apply: Function = given._matvec if isinstance(given, LinearOperator) else lambda v: given @ v
        self.shape = given.shape

    def adjoint(self) -> Any:
        given = self.given
        if isinstance(given, LinearOperator):
            return LinearOperator(given.shape[::-1], matvec=self.pulled, rmatvec=self.apply, dtype=given.dtype)
        return given.conj().T if isinstance(given, SparseTensor) else conjugated(given.T)

    def pulled(self, v: Any) -> Any:
        """The adjoint of a linear function is its reverse mode."""
        start = np.zeros(self.shape[1], np.result_type(self.given.dtype or float, float))
        return vjp(lambda x: array(tensor_like(self.apply(x))), start)[1](np.ravel(v))[0]

    def plain(self) -> Any:
        """What SciPy multiplies with."""
        if isinstance(self.given, SparseTensor):
            return self.given.plain()
        if not isinstance(self.given, LinearOperator):
            return plain(self.given)
        given = self.given
        return LinearOperator(
            given.shape,
            matvec=lambda v: plain(of_an_example(tensor_like(self.apply(v)), "a LinearOperator")),
            rmatvec=lambda v: plain(self.pulled(v)),
            dtype=given.dtype,
        )


def _by_example(function: Function) -> Function:
    """Let a solver take one example of `vmap` after the other: of a SparseTensor, the values are what may differ."""
    signature = inspect.signature(function)

    @by_example()
    @wraps(function)
    def of_parts(values: Any, matrix: SparseTensor | None, **given: Any) -> Any:
        return function(A=values if matrix is None else matrix.with_values(values), **given)

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options).arguments
        A = given.pop("A")
        return of_parts(A.data, A, **given) if isinstance(A, SparseTensor) else of_parts(A, None, **given)

    return called


def _solved(x: Any, operator: Operator, b: Any, name: str, again: Function, failure: str = "") -> Any:
    """The vector x with the history of what solves A x = b; `again(A, b)` solves other systems."""
    shape = np.shape(x)

    def equations(x: Any) -> Any:
        return np.ravel(array(tensor_like(operator.apply(np.reshape(x, shape))))) - np.ravel(b)

    def solve(x: Any, right: Any, transposed: bool) -> Any:
        if (batch := batched_among(right)) is not None:  # many directions
            return batch.in_turn(lambda right: solve(x, right, transposed), [right], name)
        return np.ravel(again(operator.adjoint() if transposed else operator.given, np.reshape(right, shape)))

    found = solution(np.ravel(x), equations, name, solve)
    return np.reshape(found, shape) if isinstance(found, Tensor) else x


# -- solvers -----------------------------------------------------------------------------------------------------------
@_by_example
def spsolve(A: Any, b: Any, permc_spec: Any = None, use_umfpack: bool = True) -> Any:
    """Solve a sparse linear system as `scipy.sparse.linalg.spsolve`; differentiable in `b` and in the values of `A`.

    Parameters
    ----------
    A : sparse array or SparseTensor
        One whose values are a Tensor is made by `chainrule.scipy.sparse.csr_array` and its like.
    b : array_like or Tensor
        A vector, or a matrix of columns.
    permc_spec, use_umfpack
        As in SciPy.

    Returns
    -------
    array, or a Tensor if `A` or `b` is one

    Notes
    -----
    Cost: a derivative of any mode is one more system, with `A` or its adjoint, factorised anew.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> from chainrule.scipy.sparse import csr_array
    >>> def x(d):
    ...     return spsolve(csr_array((d, [0, 1], [0, 1, 2])), np.array([1.0, 1.0]))
    >>> cr.grad(lambda d: np.sum(x(d)))(np.array([2.0, 4.0]))
    array([-0.25  , -0.0625])
    """
    b = b if scipy.sparse.issparse(b) else tensor_like(b)
    if not isinstance(A, SparseTensor) and not isinstance(tensor_like(A), Tensor) and not isinstance(b, Tensor):
        return scipy.sparse.linalg.spsolve(A, b, permc_spec, use_umfpack)
    if isinstance(tensor_like(A), Tensor) or scipy.sparse.issparse(b):
        raise here.unsupported("spsolve", "for Tensors the matrix must be sparse and the right-hand side dense")
    operator, b = Operator(A), array(b)
    given = operator.plain() if isinstance(A, SparseTensor) else A
    given = given.tocsc() if given.format == "coo" else given
    x = scipy.sparse.linalg.spsolve(given, plain(b), permc_spec, use_umfpack)
    return _solved(x, operator, b, "spsolve", lambda A, b: spsolve(A, b, permc_spec, use_umfpack))


def _adjoint_preconditioner(M: Any) -> Any:
    if M is None:
        return None
    return M.adjoint() if isinstance(M, LinearOperator) else np.conj(M).T if isinstance(M, np.ndarray) else M.conj().T


def _iterative(name: str, symmetric: bool = False) -> Function:
    """One of SciPy's iterative solvers; `symmetric`: for matrices that are their own adjoint."""
    original = getattr(scipy.sparse.linalg, name)
    signature = inspect.signature(original)

    def solver(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options).arguments
        operator, b = Operator(given.pop("A")), array(given.pop("b"))
        x0 = given.pop("x0", None)
        plainly = operator.plain()
        x, info = original(plainly, plain(b), plain(tensor_like(x0)), **given)
        given.pop("callback", None)

        def again(A: Any, right: Any) -> Any:
            changed: dict[str, Any] = {}
            if symmetric:
                A = operator.given
            elif A is not operator.given:
                swapped = {"M": "M", "M1": "M2", "M2": "M1"}
                changed = {m: _adjoint_preconditioner(given.get(swapped[m])) for m in swapped if swapped[m] in given}
            found, info = solver(A, right, **(given | changed))
            if info:
                raise np.linalg.LinAlgError(
                    f"the derivative of the solution is that of another linear system, for which {name} did not "
                    f"converge (info={info}): ask for more iterations, or another preconditioner"
                )
            return found

        def residual(x: Any) -> Any:
            return array(tensor_like(operator.apply(x))) - np.reshape(b, np.shape(x))

        if isinstance(b, Tensor) or isinstance(getattr(operator.given, "data", None), Tensor) or depends(residual, x):
            x = _solved(x, operator, b, name, again, f"info={info}" if info else "")
        return x, info

    solver.__name__ = solver.__qualname__ = name
    solver.__signature__ = signature  # type: ignore[attr-defined]
    solver = _by_example(solver)
    turned = "the same operator" if symmetric else "the operator or, in reverse mode, its adjoint (its reverse mode)"
    solver.__doc__ = f"""Solve a linear system as `scipy.sparse.linalg.{name}`; differentiable in `b` and in `A`.

    Parameters
    ----------
    A : array, Tensor, sparse array, SparseTensor or LinearOperator
        For a LinearOperator, `matvec` is called with Tensors too, and may read Tensors from outside.
    b : array_like or Tensor
    *options
        As in SciPy; a preconditioner{"" if symmetric else ", which reverse mode needs the adjoint of,"} is a constant.

    Returns
    -------
    x, info
        As SciPy's; ``x`` is a Tensor if anything is.

    Raises
    ------
    numpy.linalg.LinAlgError
        When differentiated, if the method does not converge for the derivative.

    Notes
    -----
    Cost: a derivative of any mode is one more system, with {turned}, solved to the same tolerances:
    SciPy's ``rtol=1e-5`` holds for the derivative too.
    """
    here.kinds[name] = "differentiable"
    return solver


bicg, bicgstab, cg, cgs = (
    _iterative("bicg"),
    _iterative("bicgstab"),
    _iterative("cg", symmetric=True),
    _iterative("cgs"),
)
gcrotmk, gmres, lgmres = _iterative("gcrotmk"), _iterative("gmres"), _iterative("lgmres")
minres, qmr, tfqmr = _iterative("minres", symmetric=True), _iterative("qmr"), _iterative("tfqmr")
here.kinds["spsolve"] = "differentiable"
globals().update(here.members)
__all__ = sorted(here.kinds)  # noqa: PLE0605 (every name of SciPy's module)
