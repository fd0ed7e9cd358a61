"""Solutions of differential equations: in the initial state, in time, and in what the right-hand side depends on.

SciPy solves, and its values are returned.  The derivative is that of a discrete solution: a chain of Runge-Kutta steps,
made of operations on Tensors.  Differentiating a discrete solution gives forward sensitivities in forward mode and the
discrete adjoint in reverse mode, which agree to rounding, to any order; whatever the right-hand side reads, from where
ever, is recorded as everywhere else.  (The continuous adjoint is another differential equation to be solved backwards:
its gradient is that of no solution that was computed, and is wrong by the tolerance in another way in each mode.)

Which steps?  Those of the solver itself are chosen for the solution; where that rests, in an equilibrium, they become
so long that sensitivities are lost.  So the same solver, with the same tolerances, solves once more, for the solution
and one sensitivity in a random direction, and it is these steps that are taken.  The points that are asked for are
added, so that nothing is interpolated.  Explicit methods are differentiated by their own formula; all others, whose
steps may be far longer than an explicit formula is stable for, by the Radau IIA collocation of order 5.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.integrate

from ..errors import UnsupportedFunctionError
from ..jacobians import jacobian
from ..record import no_grad
from ..rules.linear import conjugated
from ..tensor import Tensor, handle, plain, plain_everywhere, tensor_like
from .implicit import Closure, alone, solution
from .namespace import array, by_example, holds_tensors

Function = Callable[..., Any]

EXPLICIT = {
    "RK23": scipy.integrate.RK23,
    "RK45": scipy.integrate.RK45,
    "DOP853": scipy.integrate.DOP853,
}
NODES = np.array([(4 - 6**0.5) / 10, (4 + 6**0.5) / 10, 1.0])  # of Radau IIA: roots of a Jacobi polynomial, and the end
POWERS = np.arange(len(NODES))
WEIGHTS = NODES[:, None] ** (POWERS + 1) / (POWERS + 1) @ np.linalg.inv(NODES[:, None] ** POWERS)
ABOUT_STEPS = ("jac", "jac_sparsity", "lband", "uband")  # options that fit the problem itself only


@by_example("t", "y")
def solve_ivp(
    fun: Function,
    t_span: Any,
    y0: Any,
    method: Any = "RK45",
    t_eval: Any = None,
    dense_output: bool = False,
    events: Any = None,
    vectorized: bool = False,
    args: Any = None,
    **options: Any,
) -> Any:
    """Solve an initial value problem as `scipy.integrate.solve_ivp`; differentiable in all that it depends on.

    Parameters
    ----------
    fun : callable
        ``fun(t, y, *args)`` returns dy/dt; written with NumPy.
    t_span, y0, t_eval : array_like or Tensors
        As in SciPy.
    method : str or OdeSolver
        As in SciPy.
    dense_output : bool
        As in SciPy; not for Tensors: ask for the points by `t_eval`.
    events, vectorized
        As in SciPy.
    args : tuple
        Further arguments of `fun` and `events`; those that are Tensors, also in containers, are what the solution can
        be differentiated in, as are Tensors that the functions take from outside.
    **options
        As in SciPy.

    Returns
    -------
    OdeResult
        SciPy's.  If anything depends on Tensors, ``y`` is a Tensor, and so are ``t``, ``t_events`` and ``y_events`` as
        far as they depend on them.

    Raises
    ------
    UnsupportedFunctionError
        For Tensors with ``dense_output=True``.
    numpy.linalg.LinAlgError
        When differentiated, if the solution touches the zero of an event without crossing it.

    Warns
    -----
    RuntimeWarning
        If the solution that is differentiated is not close to SciPy's: the tolerances do not determine it.

    Notes
    -----
    Derivative: in forward mode forward sensitivities, in reverse mode the discrete adjoint, to any order, to about the
    tolerances `rtol` and `atol` (SciPy's ``rtol=1e-3`` is for plots).  Steps are chosen by the error of the solution
    and of a random sensitivity together.  RK23, RK45 and DOP853 are differentiated by their own formulas, the others by
    that of Radau collocation on the steps that they choose.  An event moves as the zero of its function.
    Cost: with Tensors, SciPy solves twice, the second time with values and derivatives of `fun`; each step is recorded,
    and a derivative goes over them.  In reverse mode memory grows with the number of steps.  An implicit step takes
    Jacobians of `fun` at three points, and dense systems of 3n equations.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> def end(k):
    ...     return solve_ivp(lambda t, y: -k * y, (0, 2), [3.0], rtol=1e-10, atol=1e-10).y[0, -1]
    >>> float(cr.grad(end)(0.5).round(6)), float(cr.grad(cr.grad(end))(0.5).round(6))  # of 3 exp(-2 k)
    (-2.207277, 4.414553)
    """
    args = () if args is None else tuple(args)
    t0, t1 = map(tensor_like, t_span)
    y0, t_eval = array(y0), None if t_eval is None else array(t_eval)

    def rhs(t: Any, y: Any) -> Any:
        value = array(tensor_like(fun(t, y[:, None] if vectorized and y.ndim == 1 else y, *args)))
        return np.ravel(value) if y.ndim == 1 else value

    options = {name: _constant(each, args) if name == "jac" else each for name, each in options.items()}
    flow = Flow(Closure(rhs, "solve_ivp"), method, plain_everywhere(options))
    happenings = [Closure(_event(event, args), "the events of solve_ivp") for event in _listed(events)]
    result = scipy.integrate.solve_ivp(
        flow.closure.watched, (plain(t0), plain(t1)), plain(y0), method, plain(t_eval), dense_output,
        [_like(event, each.watched) for event, each in zip(_listed(events), happenings, strict=True)] or None,
        vectorized, None, **flow.options,
    )  # fmt: skip
    captured = any(each.captured for each in (flow.closure, *happenings))
    if not (captured or holds_tensors((t0, t1, y0, t_eval))):
        return result
    if dense_output:
        raise UnsupportedFunctionError(
            "scipy.integrate.solve_ivp was called with Tensors and dense_output=True: its interpolation is not "
            "differentiated. Ask for the points by t_eval=."
        )
    found = result.t_events or []
    marks = [_moved(float(t), t_eval, i) for i, t in enumerate(result.t)]
    if t_eval is None:
        marks[0] = t0
        if result.status == 0:
            marks[-1] = t1
    points = flow.through(t0, y0, [*marks, *(float(t) for times in found for t in times)])
    states, moments = points[: len(marks)], points[len(marks) :]
    times = list(marks)
    for i, (happening, at) in enumerate(zip(happenings, found, strict=True)):
        here, moments = moments[: len(at)], moments[len(at) :]
        moved = [flow.event(happening, float(t), y) for t, y in zip(at, here, strict=True)]
        if moved:
            _set(result.t_events, i, [t for t, _ in moved])
            _set(result.y_events, i, [y for _, y in moved])
        if moved and result.status == 1 and t_eval is None and at[-1] == result.t[-1]:
            times[-1], states[-1] = moved[-1]
    if states:
        result.t = _attached(result.t, np.stack([*map(array, times)]), None)
        result.y = _attached(result.y, np.stack(states, -1), "solve_ivp")
    return result


@by_example()
def odeint(
    func: Function,
    y0: Any,
    t: Any,
    args: Any = (),
    Dfun: Any = None,
    col_deriv: Any = 0,
    full_output: Any = 0,
    ml: Any = None,
    mu: Any = None,
    rtol: Any = None,
    atol: Any = None,
    tcrit: Any = None,
    h0: float = 0.0,
    hmax: float = 0.0,
    hmin: float = 0.0,
    ixpr: Any = 0,
    mxstep: int = 0,
    mxhnil: int = 0,
    mxordn: int = 12,
    mxords: int = 5,
    printmessg: Any = 0,
    tfirst: bool = False,
) -> Any:
    """Solve an initial value problem as `scipy.integrate.odeint`; differentiable in all that it depends on.

    Parameters
    ----------
    func : callable
        ``func(y, t, *args)`` returns dy/dt; with ``tfirst=True``, ``func(t, y, *args)``.
    y0, t, args
        As in SciPy, and as in `solve_ivp`: these may be or hold Tensors.
    Dfun, col_deriv, full_output, ml, mu, rtol, atol, tcrit, h0, hmax, hmin, ixpr, mxstep, mxhnil, mxordn, mxords, \
    printmessg, tfirst
        As in SciPy.

    Returns
    -------
    y, ...
        As SciPy's; a Tensor if anything depends on Tensors.

    Notes
    -----
    Cost and derivative: as for `solve_ivp` with ``method="LSODA"``.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> logistic = lambda y, t, r: r * y * (1 - y)
    >>> slope = cr.grad(lambda r: odeint(logistic, 0.1, [0, 2.0], args=(r,))[-1, 0])(1.5)
    >>> y = 1 / (1 + 9 * np.exp(-1.5 * 2))
    >>> bool(np.isclose(slope, 2 * y * (1 - y)))
    True
    """
    args = args if isinstance(args, tuple) else (args,)
    y0, t = array(y0), array(t)

    def rhs(t: Any, y: Any) -> Any:
        return np.ravel(array(tensor_like(func(t, y, *args) if tfirst else func(y, t, *args))))

    tolerances = {"rtol": 1.49012e-8 if rtol is None else rtol, "atol": 1.49012e-8 if atol is None else atol}
    steps = {name: value for name, value in (("first_step", h0), ("max_step", hmax), ("min_step", hmin)) if value}
    flow = Flow(Closure(rhs, "odeint"), "LSODA", tolerances | steps)
    result = scipy.integrate.odeint(
        flow.closure.watched, plain(y0), plain(t), (), _constant(Dfun, args), col_deriv, full_output, ml, mu, rtol,
        atol, tcrit, h0, hmax, hmin, ixpr, mxstep, mxhnil, mxordn, mxords, printmessg, True,
    )  # fmt: skip
    if not (flow.closure.captured or holds_tensors((y0, t))):
        return result
    value, *rest = result if full_output else (result,)
    points = flow.through(t[0], np.reshape(y0, (-1,)), list(t))
    value = _attached(value, np.stack(points), "odeint")
    return (value, *rest) if full_output else value


# -- arguments and results ---------------------------------------------------------------------------------------------
def _constant(function: Any, args: tuple[Any, ...]) -> Any:
    """A Jacobian that the user gave: SciPy gets its values."""
    if not callable(function):
        return function
    return lambda t, y: plain_everywhere(function(t, y, *args))


def _listed(events: Any) -> Sequence[Function]:
    return [] if events is None else (events,) if callable(events) else events


def _event(event: Function, args: tuple[Any, ...]) -> Function:
    return lambda t, y: array(tensor_like(event(t, y, *args)))


def _like(event: Function, function: Function) -> Function:
    """The same with the attributes `terminal` and `direction`."""
    return functools.update_wrapper(lambda t, y: function(t, y), event)  # noqa: PLW0108 (methods take no attributes)


def _moved(t: float, t_eval: Any, i: int) -> Any:
    return t_eval[i] if isinstance(t_eval, Tensor) else t


def _set(values: list[Any], i: int, moved: list[Any]) -> None:
    values[i] = _attached(values[i], np.stack([*map(array, moved)]), None)


def _attached(value: Any, composed: Any, name: str | None) -> Any:
    """SciPy's value with the history of the discrete solution; warn if these are not about the same."""
    if not isinstance(composed, Tensor):
        return value
    distance, scale = np.max(np.abs(value - composed.data), initial=0), np.max(np.abs(value), initial=0)
    if name and distance > 0.05 * scale and np.isfinite(scale):
        warnings.warn(
            f"the derivative may be wrong: {name} solved to within {distance:.1g} of the solution that is "
            f"differentiated, of size {scale:.1g}. Lower rtol and atol.",
            RuntimeWarning,
            stacklevel=3,
        )
    return handle(composed.node, value)


def _between(steps: list[float], start: float, end: float) -> list[float]:
    """Where to stop on the way, in as few steps as are no longer than the solver's."""
    if start == end or not steps:
        return []
    count, sign = np.arange(len(steps)), np.sign(end - start)
    passed, until = np.interp([sign * start, sign * end], sign * np.array(steps), count)
    parts = max(int(np.ceil(until - passed - 1e-6)), 1)
    stops: list[float] = np.interp(np.linspace(passed, until, parts + 1)[1:-1], count, steps).tolist()
    return stops


# -- the discrete solution ---------------------------------------------------------------------------------------------
class Flow:
    """What the right-hand side does to a state.

    Attributes
    ----------
    closure : right-hand side, a function of time and state
    method, options : of the solver
    formula : the class with the coefficients of an explicit method; None: collocation
    """

    def __init__(self, closure: Closure, method: Any, options: dict[str, Any]) -> None:
        self.closure = closure
        self.rhs = closure.function
        self.method = method
        self.options = options
        cls = EXPLICIT.get(method) if isinstance(method, str) else method
        self.formula = cls if cls is not None and hasattr(cls, "n_stages") and hasattr(cls, "B") else None

    def through(self, t0: Any, y0: Any, marks: Sequence[Any]) -> list[Any]:
        """The states at times that are numbers or Tensors, from the state `y0` at `t0`."""
        y = y0 if y0.dtype.kind == "c" else y0.astype(float)
        start, ends = float(plain(t0)), [float(plain(mark)) for mark in marks]
        order = sorted(range(len(marks)), key=lambda i: abs(ends[i] - start))
        last = ends[order[-1]] if marks else start
        steps, guess = self.steps(start, last, plain(y)) if last != start else ([], None)
        states: list[Any] = [None] * len(marks)
        t, at = t0, start
        for i in order:
            between = _between(steps, at, ends[i])
            for following in [*between, marks[i]]:
                h = following - t
                if isinstance(h, Tensor) or h != 0:
                    y = self.step(t, y, h, guess)
                    t = following
            states[i], at = y, ends[i]
        return states

    def steps(self, start: float, end: float, y0: Any) -> tuple[list[float], Function]:
        """The times that the solver stops at for the solution and a random sensitivity together, and the solution."""
        random, n = np.random.default_rng(0), y0.size
        directions: dict[Any, Any] = {}

        def direction(value: Any) -> Any:
            """As large as what it is a change of, and no element near zero."""
            size = random.uniform(0.5, 1, np.shape(value)) * random.choice([-1, 1], np.shape(value))
            return (size * np.where(value == 0, 1, np.abs(value))).astype(value.dtype)

        def of_captured(node: Any, value: Any) -> Any:
            if node not in directions:
                directions[node] = direction(value)
            return directions[node]

        def together(t: float, z: Any) -> Any:
            with alone(False, self.closure):
                return np.concatenate(self.closure.beside((t, z[:n]), (None, z[n:]), of_captured))

        def diagonal(t: float, z: Any) -> Any:
            with alone(False, self.closure):
                return np.kron(np.eye(2), plain(self.slopes(t, z[:n])))

        options = {name: value for name, value in self.options.items() if name not in ABOUT_STEPS}
        if np.ndim(options.get("atol", 0)):
            options["atol"] = np.tile(options["atol"], 2)
        if self.formula is None:
            options["jac"] = diagonal
        found = scipy.integrate.solve_ivp(
            together, (start, end), np.concatenate([y0, direction(y0)]), self.method, dense_output=True, **options
        )
        if found.status < 0:
            raise ArithmeticError(f"{self.closure.name} could not solve for sensitivities: {found.message}")
        return found.t.tolist(), lambda t: found.sol(t)[:n]

    def slopes(self, t: Any, y: Any) -> Any:
        """The Jacobian of the right-hand side."""
        return jacobian(lambda y: self.rhs(t, y), holomorphic=y.dtype.kind == "c")(y)

    def step(self, t: Any, y: Any, h: Any, guess: Function | None = None) -> Any:
        """The state at t + h."""
        if self.formula is None:
            return self._collocation(t, y, h, guess)
        slopes: list[Any] = []
        for c, row in zip(self.formula.C, self.formula.A, strict=True):
            moved = y + h * (row[: len(slopes)] @ np.stack(slopes)) if slopes else y
            slopes.append(self.rhs(t + c * h, moved))
        return y + h * (self.formula.B @ np.stack(slopes))

    def _collocation(self, t: Any, y: Any, h: Any, guess: Function | None) -> Any:
        """The polynomial that satisfies the equation at the nodes, by its slopes there."""
        n = y.shape[0]

        def stages(k: Any) -> Any:
            return y + h * (WEIGHTS @ np.reshape(k, (-1, n)))

        def equations(k: Any) -> Any:
            return k - np.concatenate([self.rhs(t + c * h, s) for c, s in zip(NODES, stages(k), strict=True)])

        def matrix(k: Any) -> Any:
            blocks = [self.slopes(t + c * h, s) for c, s in zip(NODES, stages(k), strict=True)]
            rows = [np.concatenate([w * block for w in row], 1) for row, block in zip(WEIGHTS, blocks, strict=True)]
            return np.eye(k.shape[0]) - h * np.concatenate(rows)

        def solve(k: Any, right: Any, transposed: bool) -> Any:
            return np.linalg.solve(conjugated(matrix(k).T) if transposed else matrix(k), right)

        with alone(False, self.closure), no_grad():
            at, length = float(plain(t)), float(plain(h))
            known = [plain(y) if guess is None else guess(at + c * length) for c in NODES]
            k = np.concatenate([plain(self.rhs(at + c * length, s)) for c, s in zip(NODES, known, strict=True)])
            small, before, inverse = 1e-10 * (np.max(np.abs(plain(y))) + 1e-3), np.inf, None
            for _ in range(50):
                if inverse is None:
                    inverse = np.linalg.inv(plain(matrix(k)))
                change = inverse @ plain(equations(k))
                k = k - change
                size = np.max(np.abs(length * change))
                if size <= small:
                    break
                if size > before / 10:
                    inverse = None
                before = size
            else:
                raise ArithmeticError(
                    f"{self.closure.name}: the step of Radau collocation from t = {at:.6g} by {length:.3g}, which is "
                    "differentiated, did not converge. Lower rtol and atol."
                )
        k = solution(k, equations, self.closure.name, solve)
        return y + h * (WEIGHTS[-1] @ np.reshape(k, (-1, n)))

    def event(self, happening: Closure, t: float, y: Any) -> tuple[Any, Any]:
        """When and where an event happens: at t in state y, and as the zero of its function if these change."""

        def equation(delay: Any) -> Any:
            return np.reshape(happening.function(t + delay[0], self.step(t, y, delay[0])), (1,))

        delay: Any = solution(np.zeros(1), equation, "an event of solve_ivp")
        moved = isinstance(delay, Tensor)
        return (t + delay[0], self.step(t, y, delay[0])) if moved else (t, y)
