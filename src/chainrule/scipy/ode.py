"""Solutions of differential equations: in the initial state, in time, and in what the right-hand side depends on.

SciPy solves, and its values are returned.  The derivative is that of a discrete solution, on SciPy's steps: forward
sensitivities in forward mode and the discrete adjoint in reverse mode, which agree to rounding, to any order.  (The
continuous adjoint is another differential equation to be solved backwards: its gradient is that of no solution that was
computed, and is wrong by the tolerance in another way in each mode.)  The times that are asked for are among the steps,
so that nothing is interpolated.

The steps are those of collocation, all at once (`collocation.py`), whatever the method: its matrices are small.  Only
where there are many states and the method is explicit, so that it needs no matrices, its own formula is recorded, step
by step; at steps that the solver takes for the solution and one sensitivity in a random direction.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.integrate

from ..errors import UnsupportedFunctionError
from ..tensor import Tensor, handle, plain, plain_everywhere, tensor_like
from .collocation import Collocation, Directions
from .implicit import Closure, alone, solution
from .namespace import array, by_example, holds_tensors
from .step_equations import FEW

Function = Callable[..., Any]

EXPLICIT = {
    "RK23": scipy.integrate.RK23,
    "RK45": scipy.integrate.RK45,
    "DOP853": scipy.integrate.DOP853,
}
ABOUT_STATES = ("jac", "jac_sparsity", "lband", "uband")  # options that fit the problem itself only


@by_example(
    "t", "y",
    instead="The solver chooses its steps for each example by itself, and so their number. Say which times you want, "
    "the same number for each example: t_eval=np.linspace(t0, t1, 50), or t_eval=[t1] for the end",
)  # fmt: skip
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
        As in SciPy: ``sol`` is then called with times, or a Tensor of times; with all at once, since each call finds
        the discrete solution anew.
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
    ArithmeticError
        If sensitivities cannot be found to the tolerances.
    numpy.linalg.LinAlgError
        When differentiated, if the solution touches the zero of an event without crossing it.

    Warns
    -----
    RuntimeWarning
        If the solution that is differentiated is not close to SciPy's, at the times of `t_eval` or else at the end: the
        tolerances do not determine it.

    Notes
    -----
    Derivative: in forward mode forward sensitivities, in reverse mode the discrete adjoint, to any order, to about the
    tolerances `rtol` and `atol` (SciPy's ``rtol=1e-3`` is for plots).  Steps are SciPy's, split where a random
    sensitivity needs it, and Radau collocation of order 9 solves on them, with the exact Jacobian of `fun`.  With more
    than 32 states RK23, RK45 and DOP853 are differentiated by their own formulas instead.  An event moves as the zero
    of its function.  Where `fun` jumps at a state, as in ``if y[0] > 1:``, the derivative does not see that the time of
    the jump moves: end there by a terminal event, and solve on from it.

    Cost, with n states and N steps and times of `t_eval`: SciPy's own; about 5 evaluations of `fun` and 3 of its
    Jacobian (n directions) on a batch of 5 N states, each with N linear systems of 5 n equations; then, for each order,
    one of each in forward mode (however many directions) and in reverse (however many parameters).  From 33 states on
    the systems are sparse if the Jacobian is.  A `fun` that does not run under `vmap` (``if t < 1:``) is called for one
    state after the other, which takes many times as long: write `np.where`.  Tensors that `fun` takes from outside are
    watched at each of SciPy's calls, which costs several of its evaluations: pass them by `args`.

    Memory: 5 N n numbers, and what `fun` and its Jacobian compute for so many steps that their matrices have 2**21
    elements.  For more than 32 states and an explicit method: all that `fun` computes at all steps.

    Under `vmap` one example is solved after the other; `t_eval` says the times, as many for each.

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

    def rhs(t: Any, y: Any, *args: Any) -> Any:
        value = array(tensor_like(fun(t, y[:, None] if vectorized and y.ndim == 1 else y, *args)))
        return np.ravel(value) if y.ndim == 1 else value

    options = {name: _constant(each, args) if name == "jac" else each for name, each in options.items()}
    flow = Flow(rhs, args, "solve_ivp", method, plain_everywhere(options))
    happenings = [Closure(_event(event, args), "the events of solve_ivp") for event in _listed(events)]

    def solve(dense_output: bool) -> Any:
        return scipy.integrate.solve_ivp(
            flow.outside.watched, (plain(t0), plain(t1)), plain(y0), method, plain(t_eval), dense_output,
            [_like(event, each.watched) for event, each in zip(_listed(events), happenings, strict=True)] or None,
            vectorized, None, **flow.options,
        )  # fmt: skip

    def differentiable() -> bool:
        captured = any(each.captured for each in (flow.outside, *happenings))
        return captured or holds_tensors((t0, t1, y0, t_eval, args))

    probable = differentiable() or flow.reads(t0, y0)
    result = solve(dense_output or probable)
    if differentiable() and result.sol is None:  # it took Tensors later on only
        result = solve(True)
    flow.found, result.sol = result.sol, Continuous(result.sol, flow, t0, y0) if dense_output else None
    if not differentiable():
        return result
    happened = [np.zeros(0), *(result.t_events or [])]
    times = _with_history(result, t0, t1, t_eval)
    states = flow.through(t0, y0, np.concatenate([times, *happened]))
    states, moments = states[: len(times)], states[len(times) :]
    for i, (happening, at) in enumerate(zip(happenings, happened[1:], strict=True)):
        here, moments = moments[: len(at)], moments[len(at) :]
        moved = [flow.event(happening, float(t), y) for t, y in zip(at, here, strict=True)]
        if moved:
            result.t_events[i], result.y_events[i] = (
                attached(value, np.stack([*map(array, parts)]))
                for value, parts in zip((result.t_events[i], result.y_events[i]), zip(*moved, strict=True), strict=True)
            )
        if moved and result.status == 1 and t_eval is None and at[-1] == result.t[-1]:
            times, states = (
                np.concatenate([each[:-1], array(last)[None]])
                for each, last in zip((times, states), moved[-1], strict=True)
            )
    if len(times):
        _compare(result.y[:, slice(None) if t_eval is not None else slice(-1, None)], states, flow)
        result.t, result.y = attached(result.t, times), attached(result.y, states.T)
    return result


def _with_history(result: Any, t0: Any, t1: Any, t_eval: Any) -> Any:
    """The times of a result, as they depend on what was asked for."""
    times = result.t
    if t_eval is not None:
        return t_eval[: len(times)] if isinstance(t_eval, Tensor) else times
    if isinstance(t0, Tensor):
        times = np.concatenate([t0[None], times[1:]])
    if isinstance(t1, Tensor) and result.status == 0:
        times = np.concatenate([times[:-1], t1[None]])
    return times


class Continuous(scipy.integrate.OdeSolution):  # type: ignore[misc]
    """What ``solve_ivp(..., dense_output=True).sol`` is: SciPy's, with the history of the discrete solution."""

    def __init__(self, found: Any, flow: Flow, t0: Any, y0: Any) -> None:
        self.__dict__ |= found.__dict__
        self.flow = flow
        self.start = t0, y0

    def __call__(self, t: Any) -> Any:
        t = array(t)
        value = super().__call__(plain(t))
        if not (self.flow.outside.captured or holds_tensors((t, *self.start, self.flow.args))):
            return value
        if np.any((plain(t) < self.t_min) | (plain(t) > self.t_max)):
            raise UnsupportedFunctionError(
                "sol of scipy.integrate.solve_ivp, called with Tensors, was asked for a time outside of its interval "
                f"from {self.t_min} to {self.t_max}: make t_span as long as is needed."
            )
        states = self.flow.through(*self.start, np.reshape(t, (-1,)))
        return attached(value, np.reshape(states.T, value.shape))


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
    Cost, memory and derivative: as for `solve_ivp` with ``method="LSODA"``, which solves once more for the steps.

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

    def rhs(t: Any, y: Any, *args: Any) -> Any:
        return np.ravel(array(tensor_like(func(t, y, *args) if tfirst else func(y, t, *args))))

    tolerances = {"rtol": 1.49012e-8 if rtol is None else rtol, "atol": 1.49012e-8 if atol is None else atol}
    steps = {name: value for name, value in (("first_step", h0), ("max_step", hmax), ("min_step", hmin)) if value}
    flow = Flow(rhs, args, "odeint", "LSODA", tolerances | steps)
    result = scipy.integrate.odeint(
        flow.outside.watched, plain(y0), plain(t), (), _constant(Dfun, args), col_deriv, full_output, ml, mu, rtol,
        atol, tcrit, h0, hmax, hmin, ixpr, mxstep, mxhnil, mxordn, mxords, printmessg, True,
    )  # fmt: skip
    if not (flow.outside.captured or holds_tensors((y0, t, args))):
        return result
    value, *rest = result if full_output else (result,)
    at = plain(t)
    flow.found = scipy.integrate.solve_ivp(
        flow.outside.watched, (at[0], at[-1]), np.ravel(plain(y0)), "LSODA", dense_output=True, **flow.options
    ).sol
    states = flow.through(t[0], np.reshape(y0, (-1,)), t)
    _compare(value.T, states, flow)
    value = attached(value, states)
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


def attached(value: Any, composed: Any) -> Any:
    """SciPy's value with the history of the discrete solution."""
    return handle(composed.node, value) if isinstance(composed, Tensor) else value


def _compare(value: Any, states: Any, flow: Flow) -> None:
    """Warn if SciPy's states, along the last axis, are not about the last ones of the discrete solution."""
    states = plain(states)[-value.shape[-1] :].T
    distance, scale = np.max(np.abs(value - states), initial=0), np.max(np.abs(value), initial=0)
    if distance > 0.05 * scale + 10 * np.max(flow.atol) and np.isfinite(scale):
        warnings.warn(
            f"the derivative may be wrong: {flow.closure.name} solved to within {distance:.1g} of the solution that is "
            f"differentiated, of size {scale:.1g}. Lower rtol and atol.",
            RuntimeWarning,
            stacklevel=4,
        )


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
    args : further arguments of the right-hand side
    closure : right-hand side, a function of time and state
    outside : the same where `args` are plain: it finds Tensors that come from elsewhere, and costs what NumPy does
    method, options, rtol, atol : of the solver
    found : what it found, a function of time
    """

    found: Any

    def __init__(self, rhs: Function, args: tuple[Any, ...], name: str, method: Any, options: dict[str, Any]) -> None:
        self.args, values = args, plain_everywhere(args)
        self.closure = Closure(lambda t, y: rhs(t, y, *args), name)
        self.outside = Closure(lambda t, y: rhs(t, y, *values), name)
        self.method = method
        self.options = options
        self.rtol, self.atol = options.get("rtol", 1e-3), options.get("atol", 1e-6)

    def reads(self, t: Any, y: Any) -> bool:
        """Whether the right-hand side takes Tensors from outside, as far as a call shows."""
        self.outside.watched(plain(t), plain(y))
        return bool(self.outside.captured)

    def through(self, t0: Any, y0: Any, times: Any) -> Any:
        """The states at `times`, which may be a Tensor, from the state `y0` at `t0`."""
        y = y0 if y0.dtype.kind == "c" else y0.astype(float)
        order = np.argsort(np.abs(plain(times) - plain(t0)), kind="stable")
        marks = np.concatenate([np.reshape(t0, (1,)), times[order]])
        method = EXPLICIT.get(self.method) if isinstance(self.method, str) else self.method
        if y.size > FEW and hasattr(method, "n_stages") and hasattr(method, "B"):
            states = self._recorded(method, y, marks)
        else:
            states = Collocation(self.closure, plain(marks), self.found, self.rtol, self.atol).states(y, marks)
        return states[1 + np.argsort(order, kind="stable")]

    def _recorded(self, formula: Any, y: Any, marks: Any) -> Any:
        """The states at all marks, by the formula of an explicit method."""
        at = plain(marks).tolist()
        stops = self._stops(at[0], at[-1], plain(y)) if at[-1] != at[0] else []
        states, t = [y], marks[0]
        for mark, start, end in zip(marks[1:], at, at[1:], strict=False):
            for following in [*_between(stops, start, end), mark]:
                y = step(formula, self.closure.function, t, y, following - t)
                t = following
            states.append(y)
        return np.stack(states)

    def _stops(self, start: float, end: float, y0: Any) -> list[float]:
        """The times that the solver stops at for the solution and a random sensitivity together."""
        directions, n = Directions(), y0.size

        def together(t: float, z: Any) -> Any:
            with alone(False, self.closure):
                return np.concatenate(self.closure.beside((t, z[:n]), (None, z[n:]), directions.of_captured))

        options = {name: value for name, value in self.options.items() if name not in ABOUT_STATES}
        if np.ndim(options.get("atol", 0)):
            options["atol"] = np.tile(options["atol"], 2)
        both = np.concatenate([y0, directions.of(y0)])
        found = scipy.integrate.solve_ivp(together, (start, end), both, self.method, **options)
        if found.status < 0:
            raise ArithmeticError(f"{self.closure.name} could not solve for sensitivities: {found.message}")
        return found.t.tolist()  # type: ignore[no-any-return]

    def event(self, happening: Closure, t: Any, y: Any) -> tuple[Any, Any]:
        """When and where an event happens: at t in state y, and as the zero of its function if these change."""

        def after(delay: Any) -> Any:  # of no time, but it has derivatives
            return step(scipy.integrate.RK45, self.closure.function, t, y, delay)

        def equation(delay: Any) -> Any:
            return np.reshape(happening.function(t + delay[0], after(delay[0])), (1,))

        delay: Any = solution(np.zeros(1), equation, "an event of solve_ivp")
        return (t + delay[0], after(delay[0])) if isinstance(delay, Tensor) else (t, y)


def step(formula: Any, rhs: Function, t: Any, y: Any, h: Any) -> Any:
    """The state at t + h, by an explicit formula."""
    slopes: list[Any] = []
    for c, row in zip(formula.C, formula.A, strict=True):
        moved = y + h * (row[: len(slopes)] @ np.stack(slopes)) if slopes else y
        slopes.append(rhs(t + c * h, moved))
    return y + h * (formula.B @ np.stack(slopes))
