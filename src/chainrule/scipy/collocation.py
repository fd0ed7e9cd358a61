"""A solution of a differential equation as the solution of equations that hold for all its steps at once.

On the way from t to t + h a collocation method has a polynomial, whose values Z at some nodes satisfy the differential
equation there.  The equations of all steps,

    Z[i] = y[i] + h[i] W f(Z[i]),    y[i + 1] = the last of Z[i],

are solved together by Newton's method, from what SciPy's solver found: near enough that one or two iterations do, with
the right-hand side applied to a batch of all nodes.  What solves equations is differentiated by the implicit function
theorem: to any order, in forward mode (forward sensitivities) and in reverse (the discrete adjoint).  Both take the
Jacobians at all nodes, in one batch; a small linear system for each step; and a recurrence over the steps.

Two things can go wrong, and are seen to.  The solver chose its steps for the solution: where that rests, in an
equilibrium, they become so long that sensitivities are lost.  So steps are split until an embedded formula finds one
random sensitivity to the same tolerances.  And the solver may be too far from what it should have found for Newton's
method, as after the jump of a relaxation oscillation that it reached at another time: then fewer steps are taken
together, and at last Radau's method solves again from where they end, more precisely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
import scipy.special

from ..batching import vmap
from ..jacobians import jacobian
from ..record import no_grad
from ..tensor import Tensor, batched_among, plain
from ..transforms import jvp, vjp
from .implicit import Closure, alone, solution
from .step_equations import FEW, InTurn, Together, before, solved, step_equations, times

Function = Callable[..., Any]

LARGEST = 2**21  # elements of the matrices of steps that are taken together
MOST = 100_000  # steps
AGAIN = 16  # steps that are not split up further where Newton's method does not converge


# -- the formula -------------------------------------------------------------------------------------------------------
@dataclass
class Formula:
    """Radau IIA.

    Attributes
    ----------
    nodes : where it has its values, in [0, 1]; the last is 1
    weights : of the slopes, for the value at each node
    start, embedded : weights of the slope at the start and at the nodes, for the difference from a formula of lower
        order: an estimate of the error
    """

    nodes: Any
    weights: Any
    start: Any
    embedded: Any

    @classmethod
    def with_stages(cls, stages: int) -> Formula:
        powers = np.arange(stages)
        nodes = np.append((scipy.special.roots_jacobi(stages - 1, 1, 0)[0] + 1) / 2, 1)
        moments = nodes[:, None] ** powers
        weights = nodes[:, None] ** (powers + 1) / (powers + 1) @ np.linalg.inv(moments)
        eigenvalues = np.linalg.eigvals(weights)
        start = np.real(eigenvalues[np.argmin(np.abs(np.imag(eigenvalues)))])  # the real one; then it damps
        lower = np.linalg.solve(moments.T, 1 / (powers + 1) - start * (powers == 0))
        return cls(nodes, weights, start, lower - weights[-1])


FORMULA = Formula.with_stages(5)  # of order 9


# -- the discrete solution ---------------------------------------------------------------------------------------------
class Collocation:
    """The steps of a solver, as a discrete solution that is differentiated.

    Parameters
    ----------
    closure : Closure
        The right-hand side, a function of time and state.
    marks : array
        The start, and times that are asked for, in order.
    solution : OdeSolution
        What the solver found.
    rtol, atol : float or array
        The solver's.
    """

    def __init__(self, closure: Closure, marks: Any, solution: Any, rtol: float, atol: Any) -> None:
        self.closure = closure
        self.marks = marks
        self.solution = solution
        self.rtol, self.atol = max(rtol, 1e-11), atol
        self.again = 1.0  # the tolerances of the next solution, relative to these
        self.batched = True

    def states(self, y0: Any, marks: Any) -> Any:
        """The states at all marks, from y0 on; the marks may be a Tensor."""
        found, start = [y0[None]], y0
        if len(marks) == 1:
            return found[0]
        moved = isinstance(y0, Tensor) or isinstance(marks, Tensor)
        for places, z in self._windows(plain(y0), Sensitivity(self, plain(y0), moved)):
            ends = self._window(_between(marks, places), start, z)[:, -1]
            start = ends[-1]
            found.append(ends[places[1:] % 1 == 0])
        return np.concatenate(found)

    # -- the right-hand side everywhere --------------------------------------------------------------------------------
    def slopes(self, t: Any, z: Any) -> Any:
        """The right-hand side; for one state after the other if it does not run on a batch of them."""
        instants, states = np.reshape(t, (-1,)), np.reshape(z, (-1, z.shape[-1]))
        if self.batched:
            try:
                found = vmap(self.closure.function)(instants, states)
            except Exception:  # noqa: BLE001 (it runs on one state, or the solver would have raised)
                self.batched = False
        if not self.batched:
            found = np.stack([self.closure.function(*each) for each in zip(instants, states, strict=True)])
        return np.reshape(found, z.shape)

    def jacobians(self, t: Any, z: Any) -> Any:
        """Its derivatives in the state: each state changes by the same, and none sees another."""
        moved = jacobian(lambda by: self.slopes(t, z + by), mode="fwd", holomorphic=z.dtype.kind == "c")
        return moved(np.zeros(z.shape[-1], z.dtype))

    # -- the equations of a step ---------------------------------------------------------------------------------------
    def nodes(self, t: Any) -> tuple[Any, Any]:
        """The lengths of steps, and the times of their nodes."""
        h = np.diff(t)
        return h, t[:-1, None] + h[:, None] * FORMULA.nodes

    def moved(self, h: Any, slopes: Any) -> Any:
        """What slopes at the nodes add to the values there."""
        return h[:, None, None] * (FORMULA.weights @ slopes)

    def residuals(self, t: Any, start: Any, z: Any) -> Any:
        """By how much the equations of consecutive steps do not hold."""
        h, nodes = self.nodes(t)
        return z - before(z[:, -1], start)[:, None] - self.moved(h, self.slopes(nodes, z))

    def steps(self, t: Any, z: Any) -> Together | InTurn:
        """The linear equations for changes of the values."""
        h, nodes = self.nodes(t)
        return step_equations(FORMULA.weights, h, plain(self.jacobians(nodes, z)))

    def _window(self, t: Any, start: Any, z: Any) -> Any:
        """The values of steps at the nodes, with their history."""

        def solve(z: Any, right: Any, transposed: bool) -> Any:
            return self._solved(t, start, z, right, transposed)

        return solution(z, lambda z: self.residuals(t, start, z), self.closure.name, solve)

    def _solved(self, t: Any, start: Any, z: Any, right: Any, transposed: bool) -> Any:
        """The change of the values that changes the residuals by `right`; transposed: the same for the adjoint.

        Where it is to be differentiated in turn, it is what solves linear equations.
        """
        if not isinstance(z, Tensor):
            with alone(False, self.closure), no_grad():
                steps = self.steps(plain(t), z)
            return solved(right, steps=steps, transposed=transposed)
        if (batch := batched_among((z, right))) is not None:
            return batch.in_turn(lambda z, right: self._solved(t, start, z, right, transposed), (z, right), "a solver")

        def residuals(z: Any) -> Any:
            return self.residuals(t, start, z)

        def equations(x: Any) -> Any:
            return (vjp(residuals, z)[1](x)[0] if transposed else jvp(residuals, (z,), (x,))[1]) - right

        def solve(x: Any, further: Any, again: bool) -> Any:
            return self._solved(t, start, z if isinstance(x, Tensor) else plain(z), further, transposed != again)

        x = self._solved(t, start, plain(z), plain(right), transposed)
        return solution(x, equations, self.closure.name, solve)

    # -- which steps ---------------------------------------------------------------------------------------------------
    def _windows(self, y0: Any, sensitivity: Sensitivity) -> Iterator[tuple[Any, Any]]:
        """Find steps that resolve a sensitivity, and their values.

        Yields places of times (1.5 is in the middle between the marks 1 and 2) and the values of the steps between
        them, of so many as fit into memory.
        """
        stages, n = len(FORMULA.nodes), y0.size
        most = max(1, LARGEST // (stages * n * (stages * n if n <= FEW else n)))
        left, count = [self._places(0.0)], 0
        while left:
            places = left.pop()
            if len(places) - 1 > most:
                left += [places[most:], places[: most + 1]]
                continue
            t = _between(self.marks, places)
            with alone(False, self.closure):
                try:
                    z = self._values(t, y0)
                except np.linalg.LinAlgError:
                    z = None
            if z is None:
                if len(places) > AGAIN:
                    left += [places[len(places) // 2 :], places[: len(places) // 2 + 1]]
                else:
                    self._solve_again(t[0], y0)
                    left = [self._places(places[0])]
                continue
            with alone(False, self.closure):
                parts = sensitivity.parts(t, z)
            good = int(np.argmax(parts > 1)) if np.any(parts > 1) else len(parts)
            if good >= len(parts) / 2:
                sensitivity.advance(good)
                y0 = z[good - 1, -1]
                yield places[: good + 1], z[:good]
            else:
                good = 0
            if good < len(parts):
                rest = zip(places[good:], places[good + 1 :], parts[good:], strict=False)
                split = np.concatenate([np.linspace(a, b, p, endpoint=False) for a, b, p in rest])
                left.append(np.append(split, places[-1]))
                count += len(split)
                if count > MOST + 100 * len(self.marks):
                    raise ArithmeticError(
                        f"{self.closure.name}: however short the steps are near t = {t[good]:.6g}, they do not find "
                        "sensitivities to the tolerances. Raise rtol and atol."
                    )

    def _places(self, start: float) -> Any:
        """Where all times are: the marks from a place on, and where the solver stopped in between."""
        numbers = np.arange(len(self.marks))
        sign = 1 if self.marks[-1] >= self.marks[0] else -1
        near = np.interp(sign * self.solution.ts, sign * self.marks, numbers)
        new = ~np.isin(self.solution.ts, self.marks) & (near > start)
        return np.concatenate([[start], np.sort(np.concatenate([near[new], numbers[numbers > start]]))])

    def _solve_again(self, t: float, y: Any) -> None:
        """Replace the solution from here on by a more precise one."""
        self.again /= 10
        of_one = jacobian(self.closure.function, 1, holomorphic=y.dtype.kind == "c")
        rtol = self.rtol * self.again
        if rtol < 1e-12:
            raise ArithmeticError(
                f"{self.closure.name}: the equations of the discrete solution that is differentiated could not be "
                f"solved from t = {t:.6g} on. Lower rtol and atol."
            )
        with alone(False, self.closure), no_grad():
            found = scipy.integrate.solve_ivp(
                lambda t, y: plain(self.closure.function(t, y)), (t, self.marks[-1]), y, "Radau", dense_output=True,
                rtol=rtol, atol=self.atol * self.again, jac=lambda t, y: plain(of_one(t, y)),
            )  # fmt: skip
        if found.status < 0:
            raise ArithmeticError(f"{self.closure.name} could not solve for sensitivities: {found.message}")
        self.solution = found.sol

    def scale(self, states: Any) -> Any:
        """What is tolerated as an error of states."""
        return self.atol + self.rtol * np.abs(states) + np.finfo(float).tiny

    def _values(self, t: Any, y0: Any) -> Any:
        """The values at the nodes, by Newton's method; None if it does not converge."""
        _, nodes = self.nodes(t)
        z = np.moveaxis(self.solution(nodes.ravel()), 0, -1).reshape(*nodes.shape, -1).astype(y0.dtype)
        size, steps = np.inf, None
        with no_grad(), np.errstate(all="ignore"):
            for _ in range(12):
                if steps is None:
                    steps = self.steps(t, z)
                change = solved(self.residuals(t, y0, z), steps=steps, transposed=False)
                z = z - change
                last, size = size, np.max(np.abs(change) / self.scale(z), initial=0)
                if size <= 1e-3:
                    return z
                if not np.isfinite(size):
                    return None
                if size > last / 10:
                    steps = None
        return z if size < 0.1 else None  # where rounding is all that is left


class Directions:
    """A random direction: how the initial state changes, and all that the right-hand side takes."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.known: dict[Any, Any] = {}

    def of(self, value: Any) -> Any:
        """As large as what it is a change of, and no element near zero."""
        size = self.random.uniform(0.5, 1, np.shape(value)) * self.random.choice([-1, 1], np.shape(value))
        return (size * np.where(value == 0, 1, np.abs(value))).astype(value.dtype)

    def of_captured(self, node: Any, value: Any) -> Any:
        if node not in self.known:
            self.known[node] = self.of(value)
        return self.known[node]


class Sensitivity:
    """One random sensitivity along the steps.

    Parameters
    ----------
    of : the steps
    y0 : the initial state
    moved : whether it changes, or time, which is the same

    Attributes
    ----------
    now : at their start: its value, the Jacobian, and how the slope changes with all but the state
    ends : the same at the end of each of the steps that were looked at last
    """

    def __init__(self, of: Collocation, y0: Any, moved: bool) -> None:
        self.of = of
        self.directions = Directions()
        self.closure = Closure(of.slopes, of.closure.name)
        with alone(False, of.closure):
            start = self.directions.of(y0) if moved else np.zeros_like(y0)
            self.now = start, *(each[0] for each in self.slopes(of.marks[:1], y0[None]))

    def slopes(self, t: Any, z: Any) -> tuple[Any, Any]:
        """How slopes change with the state, and how with what else the right-hand side takes."""
        with no_grad():
            jacobians = self.of.jacobians(t, z)
        return jacobians, self.closure.beside((t, z), (None, None), self.directions.of_captured)[1]

    def advance(self, steps: int) -> None:
        """Go on from where so many of the steps end that were looked at last."""
        self.now = tuple(each[steps - 1] for each in self.ends)

    def parts(self, t: Any, z: Any) -> Any:
        """Into how many parts each step is to be split."""
        of, (start, jacobian, explicit) = self.of, self.now
        h, nodes = of.nodes(t)
        jacobians, own = self.slopes(nodes, z)
        right = of.moved(h, own)
        right[0] += start
        values = solved(right, steps=step_equations(FORMULA.weights, h, jacobians), transposed=False)
        starts, ends = before(values[:, -1], start), values[:, -1]
        self.ends = ends, jacobians[:, -1], own[:, -1]
        jacobian = before(jacobians[:, -1], jacobian)
        first = times(jacobian, starts) + before(own[:, -1], explicit)
        slopes = times(jacobians, values) + own
        error = h[:, None] * (FORMULA.start * first + FORMULA.embedded @ slopes)
        damping = np.eye(z.shape[-1]) - FORMULA.start * h[:, None, None] * jacobian
        for _ in range(2):  # what is stiff is damped in the solution too
            error = np.linalg.solve(damping, error[..., None])[..., 0]
        scale = of.scale(np.maximum(np.abs(starts), np.abs(ends)))
        error = np.sqrt(np.mean(np.abs(error / scale) ** 2, -1))
        parts = np.ceil(np.clip((2 * error) ** (1 / len(FORMULA.nodes)), 1, 10)).astype(int)
        parts[np.abs(h) <= 1e-13 * np.abs(t[1:])] = 1
        return parts


def _between(marks: Any, places: Any) -> Any:
    """The times at places."""
    whole = np.minimum(places.astype(int), len(marks) - 2)
    part = places - whole
    return marks[whole] * (1 - part) + marks[whole + 1] * part
