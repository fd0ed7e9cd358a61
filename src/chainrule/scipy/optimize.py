"""SciPy's solvers: they get exact derivatives of the function you wrote, and can be differentiated through.

`minimize`, `minimize_scalar`, `root`, `root_scalar`, `fixed_point`, `least_squares` and `curve_fit` have SciPy's
signatures.  Where the method can use a Jacobian or Hessian and none was given, it is the function's own, computed by
chainrule.  `x0` may be a container of arrays (dict, list, tuple, named tuple, dataclass): the function is called with
such a container, and `result.x` is one.

Where the function depends on Tensors besides its first argument, through `args=` or from outside, the solution is a
Tensor: the implicit function theorem gives its derivative, in every mode and to any order (`implicit.py`).
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import scipy.optimize

from ..errors import NotSparseError
from ..jacobians import jacobian
from ..record import no_grad
from ..sparse import sparse_jacobian, sparsity
from ..tensor import Tensor, plain, plain_everywhere, tensor_like
from ..transforms import grad, jvp, value_and_grad
from ..tree import flatten
from .implicit import depends, solution
from .namespace import Namespace, array, by_example, exactly, holds_tensors, of_an_example

Function = Callable[..., Any]
Limits = tuple[Any, Any] | None  # lower and upper bounds
MANY, FEW = 500, 0.05  # from so many variables on, a Jacobian with less than this share of entries is filled in sparse
here = Namespace(scipy.optimize)

here.as_they_are(
    "BFGS", "Bounds", "BroydenFirst", "HessianUpdateStrategy", "InverseJacobian", "KrylovJacobian",
    "LbfgsInvHessProduct", "LinearConstraint", "NoConvergence", "NonlinearConstraint", "OptimizeResult",
    "OptimizeWarning", "RootResults", "SR1", "linprog_verbose_callback", "rosen", "rosen_der", "rosen_hess",
    "rosen_hess_prod", "show_options", "test",
)  # fmt: skip
here.not_implemented(
    "it is an old name: use minimize", *(name for name in vars(scipy.optimize) if name.startswith("fmin"))
)
here.not_implemented("it is an old name: use root or least_squares", "fsolve", "leastsq")
here.not_implemented(
    "its result is differentiable under another name: use root_scalar",
    "bisect", "brenth", "brentq", "newton", "ridder", "toms748",
)  # fmt: skip
here.not_implemented(
    "its result is differentiable under another name: use root",
    "anderson", "broyden1", "broyden2", "diagbroyden", "excitingmixing", "linearmixing", "newton_krylov",
)  # fmt: skip
here.not_implemented(
    "its result is differentiable under another name: use minimize_scalar", "bracket", "brent", "golden"
)
here.not_implemented(
    "a global search has no derivative; start minimize from where it ends",
    "basinhopping", "brute", "differential_evolution", "direct", "dual_annealing", "shgo",
)  # fmt: skip
here.not_implemented(
    "its derivative is not implemented: minimize has one under constraints",
    "isotonic_regression", "linprog", "lsq_linear", "milp", "nnls",
)  # fmt: skip
here.not_implemented("it chooses among finitely many", "linear_sum_assignment", "quadratic_assignment")
here.not_implemented("it compares with differences of plain functions: use cr.grad", "approx_fprime", "check_grad")
here.not_implemented("a line search is a step of a method, which is not differentiated", "line_search")


# -- parameters and results in containers ----------------------------------------------------------------------------
class Point:
    """A container of parameters as the vector that SciPy moves, and back.

    Attributes
    ----------
    x0 : what SciPy starts from
    make : takes SciPy's vector (an array or Tensor) to the user's container
    """

    def __init__(self, x0: Any) -> None:
        x0 = plain_everywhere(tensor_like(x0))
        self.contained = _is_container(x0)
        self.x0 = x0
        if self.contained:
            leaves, self._rebuild, _ = flatten(x0)
            leaves = [np.asarray(plain(leaf)) for leaf in leaves]
            self._shapes = [leaf.shape for leaf in leaves]
            self._ends = np.cumsum([leaf.size for leaf in leaves]).tolist()
            self.x0 = np.concatenate([leaf.ravel() for leaf in leaves])

    def make(self, x: Any) -> Any:
        if not self.contained:
            return x
        parts = zip([0, *self._ends], self._ends, self._shapes, strict=False)
        return self._rebuild([np.reshape(x[start:end], shape) if shape else x[start] for start, end, shape in parts])


def _is_container(x: Any) -> bool:
    """Whether this holds arrays; lists and tuples of numbers are what SciPy takes for an array."""
    if isinstance(x, dict) or hasattr(x, "_fields") or (is_dataclass(x) and not isinstance(x, type)):
        return True
    if type(x) not in (list, tuple):
        return False
    return any(_is_container(part) or (hasattr(part, "shape") and part.shape != ()) for part in x)


def vector(value: Any) -> Any:
    """All that a function returned, an array, a number or a container of them, as one vector."""
    leaves, _, _ = flatten(tensor_like(value))
    leaves = [array(tensor_like(leaf)) for leaf in leaves]
    return np.ravel(leaves[0]) if len(leaves) == 1 else np.concatenate([np.ravel(leaf) for leaf in leaves])


def _scalar(value: Any) -> Any:
    value = tensor_like(value)
    return np.reshape(value, ()) if np.size(value) == 1 and np.ndim(value) else value


def _constant(function: Function) -> Function:
    """The function as SciPy calls it: arrays in, arrays out, nothing recorded."""

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        with no_grad():
            return plain_everywhere(of_an_example(tensor_like(function(*args, **options)), "scipy.optimize"))

    return called


def _pair(returned: Any, of_second: Function) -> tuple[Any, Any]:
    return returned[0], of_second(returned[1])


def _tuple(args: Any) -> tuple[Any, ...]:
    return args if isinstance(args, tuple) else (args,)


def _jacobian_of(function: Function) -> Function:
    return _constant(lambda x, *rest: jacobian(lambda x: function(x, *rest))(np.asarray(x, dtype=float)))


def _sparse_jacobian_of(function: Function) -> Function:
    derivative = sparse_jacobian(function)
    return _constant(lambda x: derivative(np.asarray(x, dtype=float)))


def _jacobian_as_it_is(function: Function) -> Function:
    """Of many variables, the Jacobian as a sparse matrix if it is one: where it is called first, that is found out."""
    chosen: list[Function] = []

    def called(x: Any) -> Any:
        if not chosen:
            chosen.append(_sparse_jacobian_of(function) if _is_sparse(function, x) else _jacobian_of(function))
        return chosen[0](x)

    return called


def _is_sparse(function: Function, x: Any) -> bool:
    if x.size < MANY:
        return False
    try:
        with no_grad():
            plan = sparsity(function, np.asarray(x, dtype=float))
    except NotSparseError:
        return False
    return plan.nnz < FEW * plan.shape[0] * plan.shape[1]


# -- minimize ----------------------------------------------------------------------------------------------------------
WITHOUT_GRADIENT = ("nelder-mead", "powell", "cobyla", "cobyqa")
WITH_HESSIAN = ("dogleg", "trust-exact")
WITH_HESSIAN_PRODUCT = ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr")


@by_example("x")
def minimize(
    fun: Function,
    x0: Any,
    args: Any = (),
    method: Any = None,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
    tol: Any = None,
    callback: Any = None,
    options: Any = None,
) -> Any:
    """Minimise a function as `scipy.optimize.minimize`, with its exact gradient; differentiable in what it depends on.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns a number; written with NumPy.  With ``jac=True``, the value and the gradient.
    x0 : array_like or container of arrays
        Where to start.  For a container, `fun`, `jac` and constraints are called with one of the same form, and
        ``result.x`` is one; `bounds`, linear constraints, Hessians and `callback` are about the vector of all elements.
    args : tuple
        Further arguments; those that are Tensors are what the result can be differentiated in, as are Tensors that
        `fun` takes from outside.
    method, jac, hess, hessp, bounds, constraints, tol, callback, options
        As in SciPy.  What is given is used.  What is not, and the method uses, is computed: the gradient together with
        the value; Hessian products (Newton-CG, trust-ncg, trust-krylov, trust-constr) or the Hessian (dogleg,
        trust-exact); the Jacobian of each constraint, in place of differences (a sparse one with trust-constr and
        ``options={"sparse_jacobian": True}``), and its Hessian for trust-constr.

    Returns
    -------
    OptimizeResult
        SciPy's.  If `fun` depends on Tensors, ``x`` and ``fun`` are Tensors.

    Raises
    ------
    numpy.linalg.LinAlgError
        When differentiated, if the Hessian at the solution is singular; for a problem that depends on Tensors, if the
        constraints that hold there depend on each other.

    Notes
    -----
    Cost: value and gradient take a small multiple of one evaluation of `fun`, a Hessian product about twice that, a
    Hessian n products; after SciPy has ended, one evaluation, to see what `fun` depends on.  A function that cannot
    run on Tensors needs a `jac`, which may be SciPy's "2-point".
    Derivative: that of the stationary point, ``dx = -H⁻¹ d(∇f)``, taken where SciPy stopped, so that its error is in
    proportion to how far that is from the minimum: ask for a small `tol`.  Variables that a bound holds stay on it, and
    move with it if the bound is a Tensor; constraints that hold with equality go on doing so (the equations of Karush,
    Kuhn and Tucker), the others do not count.  In `x0` the derivative is zero.  It costs n Hessian products and the
    solution of a dense system.  ``result.jac`` is zero to first order and stays plain, as do SciPy's estimates of
    Hessians.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> def loss(p, c):
    ...     return np.sum((p["w"] - c) ** 2) + (p["b"] - np.sum(p["w"])) ** 2
    >>> start = {"w": np.zeros(2), "b": 0.0}
    >>> result = minimize(loss, start, args=(np.array([1.0, 2.0]),))
    >>> result.x["w"].round(4), result.x["b"].round(4)
    (array([1., 2.]), np.float64(3.0))
    >>> cr.grad(lambda c: minimize(loss, start, args=(c,)).x["b"])(np.array([1.0, 2.0])).round(6)
    array([1., 1.])
    """
    point, args, pairs = Point(x0), _tuple(args), jac is True

    def value(x: Any) -> Any:
        returned = fun(point.make(x), *args)
        return _scalar(returned[0] if pairs else returned)

    name = method.lower() if isinstance(method, str) else method
    target, filled = _constant(value), False
    if pairs:
        target = _constant(lambda x: _pair(fun(point.make(x), *args), vector))
    elif callable(jac):
        given_jac = jac
        jac = _constant(lambda x: vector(given_jac(point.make(x), *args)))
    elif (jac is None or jac is False) and name not in WITHOUT_GRADIENT:
        target, jac, filled = _constant(value_and_grad(value)), True, True
    if callable(hess):
        given_hess = hess
        hess = _constant(lambda x: given_hess(point.make(x), *args))
    elif callable(hessp):
        given_product = hessp
        hessp = _constant(lambda x, p: vector(given_product(point.make(x), point.make(p), *args)))
    elif filled and hess is None and name in WITH_HESSIAN:
        hess = _jacobian_of(grad(value))
    elif filled and hess is None and name in WITH_HESSIAN_PRODUCT:
        hessp = _constant(lambda x, p: jvp(grad(value), (x,), (p,))[1])
    several = constraints if isinstance(constraints, list | tuple) else [constraints]
    sparse = name == "trust-constr" and (options or {}).get("sparse_jacobian") is True
    if name == "trust-constr":
        several = [_nonlinear(each) if isinstance(each, dict) else each for each in several]
    result = scipy.optimize.minimize(
        target, point.x0, (), method, jac, hess, hessp, _plain_bounds(bounds),
        [_constraint(each, point, name == "trust-constr", sparse) for each in several], tol, callback, options,
    )  # fmt: skip
    limits = _limits(bounds)
    if several:
        rows = [_rows(each, point) for each in several]
        x = _constrained(result, value, rows if limits is None else [*rows, (lambda x: x, *limits)])
    else:
        x = _minimum(result.x, value, limits, "minimize", _failure(result))
    if isinstance(x, Tensor):
        result.fun = exactly(result.fun, value(x))
    result.x = point.make(x)
    return result


def _failure(result: Any) -> str:
    """What SciPy said, if it did not succeed."""
    return "" if result.success else str(result.message).strip()


def _minimum(x: Any, value: Function, limits: Limits, name: str, failure: str = "") -> Any:
    """What SciPy found, with its history if `value` or the bounds depend on Tensors."""
    if holds_tensors(limits) or depends(value, x):
        return solution(x, _stationary(value, limits, x), name, failure=failure)
    return x


def _limits(bounds: Any) -> Limits:
    """Lower and upper bounds, from SciPy's `Bounds` or pairs."""
    if bounds is None:
        return None
    if hasattr(bounds, "lb"):
        return array(bounds.lb), array(bounds.ub)
    low, high = zip(*bounds, strict=True)
    return (
        np.stack([array(-np.inf if each is None else each) for each in low]),
        np.stack([array(np.inf if each is None else each) for each in high]),
    )


def _plain_bounds(bounds: Any) -> Any:
    """Bounds as SciPy takes them, if Tensors are among them."""
    if hasattr(bounds, "lb") and (isinstance(bounds.lb, Tensor) or isinstance(bounds.ub, Tensor)):
        return scipy.optimize.Bounds(plain(bounds.lb), plain(bounds.ub), bounds.keep_feasible)
    return plain_everywhere(bounds)


def _stationary(value: Function, limits: Limits, x: Any) -> Function:
    """The equations of a minimum: a gradient of zero, but for variables that a bound holds, which stay on it."""
    slope = grad(value)
    if limits is None:
        return slope
    low, high = limits
    with no_grad():
        g = plain(slope(x))
    at_low = x - plain(low) <= g  # the multiplier is larger than the distance: the bound holds the variable
    at_high = plain(high) - x <= -g
    if not (at_low.any() or at_high.any()):
        return slope
    return lambda x: np.where(at_low, x - low, np.where(at_high, x - high, slope(x)))


def _nonlinear(constraint: dict[str, Any]) -> Any:
    """A constraint given as a dictionary in the form that has a Hessian."""
    rest, jac = constraint.get("args", ()), constraint.get("jac")
    return scipy.optimize.NonlinearConstraint(
        lambda x: constraint["fun"](x, *rest),
        0,
        0 if constraint["type"] == "eq" else np.inf,
        (lambda x: jac(x, *rest)) if jac else "2-point",
    )


def _constraint(constraint: Any, point: Point, hessian: bool, sparse: bool = False) -> Any:
    """The same constraint, about SciPy's vector, with derivatives where there were none; with `hessian`, the second."""
    if isinstance(constraint, dict):
        of_x: dict[str, Any] = dict(constraint)
        given = constraint.get("jac")

        def fun(x: Any, *rest: Any) -> Any:
            return vector(constraint["fun"](point.make(x), *rest))

        of_x["fun"] = _constant(fun)
        if callable(given):
            of_x["jac"] = _constant(lambda x, *rest: given(point.make(x), *rest))
        elif not given:
            of_x["jac"] = _jacobian_of(fun)
        return of_x
    if not isinstance(constraint, scipy.optimize.NonlinearConstraint):
        return constraint
    new = copy.copy(constraint)
    given_jac, given_hess = constraint.jac, constraint.hess

    def of_vector(x: Any) -> Any:
        return vector(constraint.fun(point.make(x)))

    new.fun, new.lb, new.ub = _constant(of_vector), plain(constraint.lb), plain(constraint.ub)
    if callable(given_jac):
        new.jac = _constant(lambda x: given_jac(point.make(x)))
    elif given_jac == "2-point":  # SciPy's default
        new.jac = _sparse_jacobian_of(of_vector) if sparse else _jacobian_of(of_vector)
    if callable(given_hess):
        new.hess = _constant(lambda x, v: given_hess(point.make(x), v))
    elif hessian and (given_hess is None or type(given_hess) is scipy.optimize.BFGS):  # SciPy's default
        new.hess = lambda x, v: _jacobian_of(grad(lambda x: np.sum(v * of_vector(x))))(x)
    return new


def _rows(constraint: Any, point: Point) -> tuple[Function, Any, Any]:
    """A constraint as a function from SciPy's vector to a vector, and the bounds of that."""
    if isinstance(constraint, dict):
        rest = constraint.get("args", ())
        high = 0.0 if constraint["type"] == "eq" else np.inf
        return lambda x: vector(constraint["fun"](point.make(x), *rest)), 0.0, high
    if isinstance(constraint, scipy.optimize.LinearConstraint):
        return lambda x: constraint.A @ x, constraint.lb, constraint.ub
    return lambda x: vector(constraint.fun(point.make(x))), array(constraint.lb), array(constraint.ub)


def _constrained(result: Any, value: Function, rows: Sequence[tuple[Function, Any, Any]]) -> Any:
    """What SciPy found, with its history: the gradient is a sum of those of the constraints that hold with equality.

    Which do?  The multipliers are fitted to the gradient; a constraint counts whose multiplier is larger than its
    distance.
    """
    x = result.x

    def everything(x: Any) -> Any:
        return sum((np.sum(function(x)) for function, _, _ in rows), value(x))

    if not (holds_tensors([limits for _, *limits in rows]) or depends(everything, x)):
        return x
    with no_grad():
        slope, n = plain(grad(value)(x)), x.size
        found = [
            (plain(function(x)), plain(jacobian(function)(x)), plain(low), plain(high)) for function, low, high in rows
        ]
    slopes = np.concatenate([sign * J for _, J, _, _ in found for sign in (1, -1)])
    distances = np.concatenate([each for y, _, low, high in found for each in (y - low, high - y)])
    equal = np.concatenate([np.broadcast_to(low == high, y.shape) for y, _, low, high in found for _ in range(2)])
    upper = np.concatenate([np.full(len(y), side) for y, *_ in found for side in (False, True)])
    tried = np.flatnonzero(np.isfinite(distances) & ~(equal & upper))
    distance = np.where(equal, 0, np.maximum(distances, 0))[tried]
    multipliers = scipy.optimize.lsq_linear(
        np.concatenate([slopes[tried].T, np.diag(distance)]),
        np.concatenate([slope, np.zeros(len(tried))]),
        (np.where(equal[tried], -np.inf, 0), np.inf),
    ).x
    holding = tried[equal[tried] | (multipliers > distance)]

    def held(x: Any) -> Any:
        sides = [each for function, low, high in rows for y in [function(x)] for each in (y - low, high - y)]
        return np.concatenate(sides)[holding]

    def equations(z: Any) -> Any:
        return np.concatenate([grad(lambda x: value(x) - np.sum(z[n:] * held(x)))(z[:n]), held(z[:n])])

    start, _, rank, _ = np.linalg.lstsq(slopes[holding].T, slope)
    if rank < len(holding):
        raise np.linalg.LinAlgError(
            f"the solution of minimize has no derivative here: of the {len(holding)} constraints that hold with "
            f"equality only {rank} are independent. Leave out what the others imply"
        )
    return solution(np.concatenate([x, start]), equations, "minimize", failure=_failure(result))[:n]


@by_example("x")
def minimize_scalar(
    fun: Function,
    bracket: Any = None,
    bounds: Any = None,
    args: Any = (),
    method: Any = None,
    tol: Any = None,
    options: Any = None,
) -> Any:
    """Minimise a function of one variable as `scipy.optimize.minimize_scalar`; differentiable in what it depends on.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns a number.
    bracket, bounds, args, method, tol, options
        As in SciPy, and `args` as in `minimize`; `bounds` may be Tensors.

    Returns
    -------
    OptimizeResult
        SciPy's.  If `fun` depends on Tensors, ``x`` and ``fun`` are Tensors.

    Notes
    -----
    These methods compare values, which places a minimum to about 1e-8 at best; the derivative, ``dx = -d(f') / f''``,
    is taken where they stopped.  Cost: one evaluation after SciPy has ended.

    Examples
    --------
    >>> import chainrule as cr
    >>> float(cr.grad(lambda c: minimize_scalar(lambda x: (x**2 - c) ** 2, (0.5, 2.0)).x)(4.0).round(6))
    0.25
    """
    args = _tuple(args)

    def value(x: Any) -> Any:
        return _scalar(fun(x, *args))

    def of_vector(x: Any) -> Any:
        return value(x[0])

    result = scipy.optimize.minimize_scalar(
        _constant(value), plain_everywhere(bracket), plain_everywhere(bounds), (), method, tol, options
    )
    limits = None if bounds is None else (np.reshape(array(bounds[0]), (1,)), np.reshape(array(bounds[1]), (1,)))
    x = _minimum(np.reshape(np.asarray(result.x, float), (1,)), of_vector, limits, "minimize_scalar", _failure(result))
    if isinstance(x, Tensor):
        result.x, result.fun = x[0], exactly(result.fun, of_vector(x))
    return result


# -- equations -------------------------------------------------------------------------------------------------------
@by_example("x")
def root(
    fun: Function,
    x0: Any,
    args: Any = (),
    method: str = "hybr",
    jac: Any = None,
    tol: Any = None,
    callback: Any = None,
    options: Any = None,
) -> Any:
    """Find a root as `scipy.optimize.root`, with the exact Jacobian; differentiable in what `fun` depends on.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns a vector, or a container of as many numbers as `x0` holds.
    x0, args, method, jac, tol, callback, options
        As in SciPy, and `x0` and `args` as in `minimize`.  The Jacobian is computed for the methods that use one, hybr
        and lm, if none is given.

    Returns
    -------
    OptimizeResult
        SciPy's.  If `fun` depends on Tensors, ``x`` is a Tensor; ``fun``, which is zero whatever they are, stays plain.

    Raises
    ------
    numpy.linalg.LinAlgError
        When differentiated, if the Jacobian at the solution is singular.

    Notes
    -----
    Cost: n forward passes for each Jacobian; one evaluation after SciPy has ended.  Derivative: ``dx = -J⁻¹ dF``, taken
    where SciPy stopped; it costs n passes and the solution of a dense system.

    Examples
    --------
    >>> import chainrule as cr
    >>> def circle_and_line(x, r):
    ...     return [x[0] ** 2 + x[1] ** 2 - r**2, x[0] - x[1]]
    >>> slope = cr.grad(lambda r: root(circle_and_line, [1.0, 0.5], args=(r,), tol=1e-12).x[0])(2.0)
    >>> float(slope.round(6))  # x = r / sqrt(2)
    0.707107
    """
    point, args, pairs = Point(x0), _tuple(args), jac is True

    def equations(x: Any) -> Any:
        returned = fun(point.make(x), *args)
        return vector(returned[0] if pairs else returned)

    target: Function = _constant(equations)
    given = jac
    if pairs:
        target = _constant(lambda x: _pair(fun(point.make(x), *args)[::-1], vector)[::-1])
    elif callable(jac):
        jac = _constant(lambda x: given(point.make(x), *args))
    elif not jac and method in ("hybr", "lm"):
        exact = _jacobian_of(equations)
        jac = (lambda x: exact(x).T) if (options or {}).get("col_deriv") else exact
    result = scipy.optimize.root(target, point.x0, (), method, jac, tol, callback, options)
    shape = result.x.shape
    square = result.fun.size == result.x.size

    def shaped(x: Any) -> Any:
        return equations(np.reshape(x, shape))

    x = result.x.ravel()
    if depends(shaped, x):
        x = solution(x, shaped if square else _sum_of_squares(shaped), "root", failure=_failure(result))
    result.x = point.make(np.reshape(x, shape))
    return result


def _sum_of_squares(residuals: Function) -> Function:
    """The equations of a least-squares solution."""
    return grad(lambda x: 0.5 * np.sum(residuals(x) ** 2))


@by_example("root")
def root_scalar(
    f: Function,
    args: Any = (),
    method: Any = None,
    bracket: Any = None,
    fprime: Any = None,
    fprime2: Any = None,
    x0: Any = None,
    x1: Any = None,
    xtol: Any = None,
    rtol: Any = None,
    maxiter: Any = None,
    options: Any = None,
) -> Any:
    """Find a root of one variable as `scipy.optimize.root_scalar`; differentiable in what `f` depends on.

    Parameters
    ----------
    f : callable
        ``f(x, *args)`` returns a number.
    args, method, bracket, fprime, fprime2, x0, x1, xtol, rtol, maxiter, options
        As in SciPy, and `args` as in `minimize`.  For Newton's method (also where SciPy would choose the secant method
        for want of a derivative: only `x0` is given) and Halley's, derivatives are computed with the value if none are
        given.

    Returns
    -------
    RootResults
        SciPy's.  If `f` depends on Tensors, ``root`` is a Tensor.

    Notes
    -----
    Cost: a value with first derivative about two to three evaluations of `f`, with the second about six; one evaluation
    after SciPy has ended.  Derivative: ``dx = -df / f'(x)``, where SciPy stopped; a double root has none.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> kepler = lambda E, M, e: E - e * np.sin(E) - M
    >>> dE = cr.grad(lambda e: root_scalar(kepler, args=(1.0, e), x0=1.0).root)(0.5)
    >>> E = root_scalar(kepler, args=(1.0, 0.5), x0=1.0).root
    >>> bool(np.isclose(dE, np.sin(E) / (1 - 0.5 * np.cos(E))))
    True
    """
    args, several = _tuple(args), fprime is True

    def equation(x: Any) -> Any:
        returned = f(x, *args)
        return _scalar(returned[0] if several else returned)

    def with_slope(x: Any) -> Any:
        x = np.asarray(x, dtype=complex if np.iscomplexobj(x) else float)[()]
        return jvp(equation, (x,), (np.ones_like(x),))

    def with_two(x: Any) -> Any:
        x = np.asarray(x, dtype=float)[()]
        one = np.ones_like(x)
        (y, slope), (_, second) = jvp(lambda x: jvp(equation, (x,), (one,)), (x,), (one,))
        return y, slope, second

    start = plain_everywhere(x0)
    alone = method is None and bracket is None and x0 is not None and x1 is None and fprime2 is None
    target: Function = _constant(equation)
    if fprime is None and fprime2 is None and method == "halley":
        target, fprime, fprime2 = _constant(with_two), True, True
    elif fprime is None and (method == "newton" or alone):
        target, fprime, method = _constant(with_slope), True, "newton"
    elif several:
        target = _constant(lambda x: f(x, *args))
    else:
        fprime, fprime2 = (
            _constant(functools.partial(_with, d, args)) if callable(d) else d for d in (fprime, fprime2)
        )
    result = scipy.optimize.root_scalar(
        target, (), method, plain_everywhere(bracket), fprime, fprime2, start, plain_everywhere(x1), xtol, rtol,
        maxiter, options,
    )  # fmt: skip
    x = solution(np.reshape(result.root, (1,)), lambda x: np.reshape(equation(x[0]), (1,)), "root_scalar")
    if isinstance(x, Tensor):
        result.root = x[0]
    return result


def _with(function: Function, args: tuple[Any, ...], x: Any) -> Any:
    return function(x, *args)


@by_example()
def fixed_point(
    func: Function, x0: Any, args: Any = (), xtol: float = 1e-8, maxiter: int = 500, method: str = "del2"
) -> Any:
    """Find a fixed point as `scipy.optimize.fixed_point`; differentiable in what `func` depends on.

    Parameters
    ----------
    func : callable
        ``func(x, *args)`` returns an array of the shape of `x`, or a container of its form.
    x0, args, xtol, maxiter, method
        As in SciPy, and `x0` and `args` as in `minimize`.

    Returns
    -------
    array or container
        SciPy's value; Tensors if `func` depends on Tensors.

    Notes
    -----
    Cost: one evaluation after SciPy has ended.  Derivative: ``dx = (1 - func_x)⁻¹ d(func)``, where SciPy stopped, n
    passes and the solution of a dense system, however many iterations there were.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> float(cr.grad(lambda a: fixed_point(lambda x: np.cos(a * x), 0.5))(1.0).round(6))
    -0.297474
    """
    point, args = Point(x0), _tuple(args)

    def mapped(x: Any) -> Any:
        returned = func(point.make(x), *args)
        return vector(returned) if point.contained else tensor_like(returned)

    found = np.asarray(scipy.optimize.fixed_point(_constant(mapped), point.x0, (), xtol, maxiter, method))
    x = solution(found.ravel(), lambda x: np.ravel(mapped(np.reshape(x, found.shape)[()])) - x, "fixed_point")
    return point.make(np.reshape(x, found.shape)[()])


# -- least squares ---------------------------------------------------------------------------------------------------
LOSSES: dict[str, Function] = {
    "linear": lambda z: z,
    "soft_l1": lambda z: 2 * (np.sqrt(1 + z) - 1),
    "huber": lambda z: np.where(z <= 1, z, 2 * np.sqrt(np.where(z <= 1, 1, z)) - 1),
    "cauchy": np.log1p,
    "arctan": np.arctan,
}


@by_example("x")
def least_squares(fun: Function, x0: Any, *positional: Any, **options: Any) -> Any:
    """Solve a nonlinear least-squares problem as `scipy.optimize.least_squares`, with the exact Jacobian.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args, **kwargs)`` returns the vector of residuals, or a container of arrays of residuals.
    x0 : array_like or container of arrays
        As in `minimize`; so are Tensors in ``args=`` and ``kwargs=``.
    *positional, **options
        As in SciPy.  The Jacobian is computed if none is given: as a sparse matrix (see `sparse_jacobian`) if there are
        500 variables or more and less than 5 % of it are entries, which makes SciPy take ``tr_solver="lsmr"``; always
        with that solver or with `jac_sparsity`, of which the values are not needed; never with the method lm or
        ``tr_solver="exact"``.

    Returns
    -------
    OptimizeResult
        SciPy's; differentiable in what `fun` depends on: if that holds Tensors, ``x``, ``cost``, ``fun`` and ``jac``
        are Tensors.

    Notes
    -----
    Cost: of a Jacobian, n forward passes, or as many reverse passes as there are residuals, if these are fewer; of a
    sparse one, as many as it has colours; one evaluation after SciPy has ended.  Derivative: that of the stationary
    point of the cost, as in `minimize`, with the whole Hessian, so that it is right for large residuals too; `bounds`
    as there.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> t = np.linspace(0, 2, 20)
    >>> y = 3 * np.exp(-0.7 * t)
    >>> result = least_squares(lambda p: p["a"] * np.exp(-p["k"] * t) - y, {"a": 1.0, "k": 1.0})
    >>> result.x["a"].round(6), result.x["k"].round(6)
    (np.float64(3.0), np.float64(0.7))
    """
    given = _given(least_squares, (fun, x0, *positional), options)
    point = Point(given.pop("x0"))
    fun, args, kwargs = given.pop("fun"), _tuple(given.pop("args", ())), given.pop("kwargs", None) or {}
    jac, bounds, loss = given.pop("jac", None), given.pop("bounds", None), given.get("loss", "linear")

    def residuals(x: Any) -> Any:
        return vector(fun(point.make(x), *args, **kwargs))

    def cost(x: Any) -> Any:
        scale = given.get("f_scale", 1.0)
        z = (residuals(x) / scale) ** 2
        rho = LOSSES[loss](z) if isinstance(loss, str) else tensor_like(loss(z))[0]
        return 0.5 * scale**2 * np.sum(rho)

    if callable(jac):
        given["jac"] = _constant(lambda x: jac(point.make(x), *args, **kwargs))
    elif jac is not None:
        given["jac"] = jac
    elif given.get("jac_sparsity") is not None or given.get("tr_solver") == "lsmr":
        given["jac"] = _sparse_jacobian_of(residuals)
    elif given.get("method") == "lm" or given.get("tr_solver") == "exact":
        given["jac"] = _jacobian_of(residuals)
    else:
        given["jac"] = _jacobian_as_it_is(residuals)
    if bounds is not None:
        given["bounds"] = _plain_bounds(bounds)
    result = scipy.optimize.least_squares(_constant(residuals), point.x0, **given)
    x = _minimum(result.x, cost, _limits_of_fit(bounds), "least_squares", _failure(result))
    if isinstance(x, Tensor):
        result.fun, result.cost = exactly(result.fun, residuals(x)), exactly(result.cost, cost(x))
        if loss == "linear" and isinstance(result.jac, np.ndarray):
            result.jac = exactly(result.jac, jacobian(residuals)(x))
    result.x = point.make(x)
    return result


def _limits_of_fit(bounds: Any) -> Limits:
    """Lower and upper bounds in the form of `least_squares` and `curve_fit`."""
    return (array(bounds[0]), array(bounds[1])) if type(bounds) in (list, tuple) else _limits(bounds)


def _given(function: Function, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, those only that were given."""
    bound = inspect.signature(function).bind(*args, **options)
    arguments = dict(bound.arguments)
    return arguments | arguments.pop("kwargs", {}) if function is curve_fit else arguments


@by_example()
def curve_fit(f: Function, xdata: Any, ydata: Any, *positional: Any, **options: Any) -> Any:
    """Fit a function to data as `scipy.optimize.curve_fit`, with the exact Jacobian; differentiable in the data.

    Parameters
    ----------
    f : callable
        ``f(xdata, *parameters)``.
    xdata, ydata, sigma : array_like
        May be Tensors: the fit is differentiable in them, and in Tensors that `f` takes from outside.
    *positional, **options
        As in SciPy.  The Jacobian is computed if none is given.

    Returns
    -------
    popt, pcov, ...
        As SciPy's.  If anything is a Tensor, `popt` and `pcov` are.

    Raises
    ------
    UnsupportedFunctionError
        For Tensors with ``nan_policy="omit"``: leave the missing data out before.

    Notes
    -----
    Cost and derivative: as those of `least_squares`; that of `pcov` takes one more Jacobian.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 5.0, 8.0])
    >>> cr.vjp(lambda y: curve_fit(lambda x, a, b: a + b * x, x, y)[0], y)[1](np.array([0.0, 1.0]))[0].round(6)
    array([-0.3, -0.1,  0.1,  0.3])
    """
    given = _given(curve_fit, (f, xdata, ydata, *positional), options)
    f, xdata, ydata = given.pop("f"), tensor_like(given.pop("xdata")), tensor_like(given.pop("ydata"))
    sigma, bounds = tensor_like(given.pop("sigma", None)), given.pop("bounds", None)
    points, values = (array(x) if isinstance(x, list | tuple) else x for x in (xdata, ydata))

    def residuals(p: Any) -> Any:
        r = np.ravel(tensor_like(f(points, *p)) - values)
        if sigma is None:
            return r
        spread = array(sigma)
        return np.linalg.solve(np.linalg.cholesky(spread), r) if np.ndim(spread) == 2 else r / spread

    if given.get("jac") is None:
        given["jac"] = _constant(
            lambda x, *p: jacobian(lambda p: np.ravel(tensor_like(f(x, *p))))(np.asarray(p, dtype=float))
        )
    elif callable(given["jac"]):
        given["jac"] = _constant(given["jac"])
    if bounds is not None:
        given["bounds"] = _plain_bounds(bounds)
    popt, pcov, *rest = scipy.optimize.curve_fit(
        _constant(f), plain_everywhere(xdata), plain_everywhere(ydata), sigma=plain_everywhere(sigma),
        **plain_everywhere(given),
    )  # fmt: skip

    def cost(p: Any) -> Any:
        return 0.5 * np.sum(residuals(p) ** 2)

    p = _minimum(popt, cost, _limits_of_fit(bounds), "curve_fit")
    if not isinstance(p, Tensor):
        return (popt, pcov, *rest)
    if given.get("nan_policy") == "omit":
        raise here.unsupported("curve_fit", 'what nan_policy="omit" leaves out is not known here')
    if np.isfinite(pcov).all():
        J = jacobian(residuals)(p)
        covariance = np.linalg.inv(J.T @ J)
        if not given.get("absolute_sigma", False):
            covariance = covariance * (2 * cost(p) / (np.size(values) - p.size))
        pcov = exactly(pcov, covariance)
    return (p, pcov, *rest)


# These have the signature of the SciPy there is: versions differ.
setattr(curve_fit, "__signature__", inspect.signature(scipy.optimize.curve_fit))
setattr(least_squares, "__signature__", inspect.signature(scipy.optimize.least_squares))
here.kinds |= dict.fromkeys(
    ("curve_fit", "fixed_point", "least_squares", "minimize", "minimize_scalar", "root", "root_scalar"),
    "differentiable",
)
globals().update(here.members)
__all__ = sorted(here.kinds)  # noqa: PLE0605 (every name of SciPy's module)
