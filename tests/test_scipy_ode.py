"""solve_ivp and odeint: sensitivities agree with closed forms and differences, in both modes and to higher order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.integrate
from oracle import check, close, difference, same, spaced

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import collocation, integrate, linalg, optimize, step_equations

R = cr.grad
TIGHT = {"rtol": 1e-10, "atol": 1e-10}
LOOSE = {"rtol": 1e-7, "atol": 1e-9}
METHODS = {"RK23": LOOSE, "RK45": TIGHT, "DOP853": TIGHT, "Radau": LOOSE, "BDF": LOOSE, "LSODA": TIGHT}


def F(f: Any) -> Any:
    """The derivative in forward mode."""
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


def forward_jacobian(f: Any, x: Any) -> Any:
    return np.stack([cr.jvp(f, (x,), (e,))[1] for e in np.eye(len(x))], -1)


def reverse_jacobian(f: Any, x: Any) -> Any:
    value, pullback = cr.vjp(f, x)
    return np.stack([pullback(e)[0] for e in np.eye(len(value))])


# -- closed forms ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_exponential_to_second_order(method: str) -> None:
    def end(k: Any) -> Any:
        return integrate.solve_ivp(lambda t, y: -k * y, (0, 2), [3.0], method=method, **METHODS[method]).y[0, -1]

    tolerance = 1e-6 if METHODS[method] is LOOSE else 1e-8
    for first in (R(end), F(end)):
        close(first(0.5), -6 * np.exp(-1), tolerance)
    for second in (R(R(end)), F(F(end)), R(F(end)), F(R(end))):
        close(second(0.5), 12 * np.exp(-1), 10 * tolerance)


def test_third_order() -> None:
    def end(k: Any) -> Any:
        return integrate.solve_ivp(lambda t, y: -k * y, (0, 2), [3.0], **TIGHT).y[0, -1]

    for third in (R(R(R(end))), F(F(F(end))), F(R(F(end))), R(F(R(end)))):
        close(third(0.5), -24 * np.exp(-1), 1e-7)


def logistic(t0: Any, t: Any, y0: Any, r: Any, **options: Any) -> Any:
    def rhs(t: Any, y: Any, p: Any) -> Any:
        return p["r"] * y * (1 - y / p["K"])

    return integrate.solve_ivp(rhs, (t0, 2.0), y0, t_eval=t, args=({"r": r, "K": 2.0},), **(TIGHT | options)).y


def logistic_in_closed_form(t0: Any, t: Any, y0: Any, r: Any) -> Any:
    return 2 / (1 + (2 / y0[:, None] - 1) * np.exp(-r * (t - t0)))


@pytest.mark.parametrize("method", ["RK45", "Radau", "LSODA"])
def test_logistic_in_time_state_and_parameters(method: str) -> None:
    """All arguments at once, in both modes, and forward and reverse over reverse; t_eval begins where t_span does."""
    args = [np.float64(0.1), np.array([0.1, 0.5, 1, 2]), np.array([0.3, 0.7]), np.float64(1.3)]
    tangents = (np.float64(0.7), np.array([0.3, -0.2, 0.5, 1]), np.array([0.2, -0.4]), np.float64(-0.6))
    ct = np.arange(8.0).reshape(2, 4) - 2.5
    tolerance = 1e-6 if method == "Radau" else 1e-8
    options = {"method": method, **METHODS[method]}
    ours = lambda *a: logistic(*a, **options)  # noqa: E731

    def slopes(f: Any) -> Any:
        return lambda *a: list(cr.vjp(f, *a)[1](ct))

    close(cr.jvp(ours, tuple(args), tangents)[1], cr.jvp(logistic_in_closed_form, tuple(args), tangents)[1], tolerance)
    for a, b in zip(slopes(ours)(*args), slopes(logistic_in_closed_form)(*args), strict=True):
        close(a, b, tolerance)
    expected = cr.jvp(slopes(logistic_in_closed_form), tuple(args), tangents)[1]
    for second in (
        cr.jvp(slopes(ours), tuple(args), tangents)[1],
        cr.vjp(slopes(ours), *args)[1](list(tangents)),
    ):
        for a, b in zip(second, expected, strict=True):
            close(a, b, 10 * tolerance)


@pytest.mark.parametrize("method", ["RK45", "DOP853", "BDF"])
def test_harmonic_oscillator(method: str) -> None:
    def end(p: Any) -> Any:
        def rhs(t: Any, y: Any) -> Any:
            return [y[1], -(p[2] ** 2) * y[0]]

        return integrate.solve_ivp(rhs, (0, 3), [p[0], p[1]], method=method, rtol=1e-6, atol=1e-8).y[:, -1]

    def exact(p: Any) -> Any:
        c, s = np.cos(3 * p[2]), np.sin(3 * p[2])
        return np.stack([p[0] * c + p[1] / p[2] * s, -p[0] * p[2] * s + p[1] * c])

    p = np.array([1.0, 0.5, 2.0])
    for J in (forward_jacobian(end, p), reverse_jacobian(end, p)):
        close(J, forward_jacobian(exact, p), 2e-5)


def test_ends_of_the_span_and_backwards_in_time() -> None:
    def f(t0: Any, t1: Any, y0: Any) -> Any:
        result = integrate.solve_ivp(lambda t, y: np.cos(t) * y, (t0, t1), y0, **TIGHT)
        return [result.y[0, -1], result.t[0], result.t[-1]]

    for t0, t1 in ((0.1, 2.0), (2.0, 0.1)):
        (y, *_), pullback = cr.vjp(f, t0, t1, np.array([1.5]))
        close(y, 1.5 * np.exp(np.sin(t1) - np.sin(t0)), 1e-8)
        close(np.array(pullback([1.0, 0.0, 0.0])[:2]), y * np.array([-np.cos(t0), np.cos(t1)]), 1e-8)
        close(pullback([1.0, 0.0, 0.0])[2], np.array([y / 1.5]), 1e-8)
        assert [float(x) for x in pullback([0.0, 1.0, 0.0])[:2]] == [1, 0]
        assert [float(x) for x in pullback([0.0, 0.0, 1.0])[:2]] == [0, 1]


@pytest.mark.parametrize("method", METHODS)
def test_linear_systems_against_the_matrix_exponential(method: str) -> None:
    """In the matrix, the initial state, both ends and the times asked for; first and second order, in all modes."""
    a = spaced((3, 3), "matrix") - 2 * np.eye(3)
    args = [a, spaced((3,), "state"), np.float64(0.1), np.array([0.1, 0.7, 1.5])]
    tangents = tuple(spaced(np.shape(arg), ("tangent", i)) for i, arg in enumerate(args))
    ct = spaced((3, 3), "ct")

    def ours(a: Any, y0: Any, t0: Any, t: Any) -> Any:
        return integrate.solve_ivp(lambda t, y, a: a @ y, (t0, 2.0), y0, method, t, args=(a,), **LOOSE).y

    def exact(a: Any, y0: Any, t0: Any, t: Any) -> Any:
        return np.stack([linalg.expm(a * (at - t0)) @ y0 for at in t], -1)

    def slopes(f: Any) -> Any:
        return lambda *args: list(cr.vjp(f, *args)[1](ct))

    def along(f: Any) -> Any:
        return lambda *args: cr.jvp(f, args, tangents)[1]

    for second in (
        lambda f: cr.jvp(slopes(f), tuple(args), tangents)[1],
        lambda f: cr.vjp(slopes(f), *args)[1](list(tangents)),
        lambda f: cr.vjp(along(f), *args)[1](ct),
        lambda f: [cr.jvp(along(f), tuple(args), tangents)[1]],
    ):
        for a, b in zip(second(ours), second(exact), strict=True):
            close(a, b, 1e-9)
    for a, b in zip(slopes(ours)(*args), slopes(exact)(*args), strict=True):
        close(a, b, 1e-9)
    close(along(ours)(*args), along(exact)(*args), 1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_nonlinear_against_differences(method: str) -> None:
    """Parameters, initial state and time of a driven pendulum; the modes agree to rounding."""

    def end(p: Any) -> Any:
        def rhs(t: Any, y: Any) -> Any:
            return [y[1], -p[0] * np.sin(y[0]) - p[1] * y[1] + np.cos(t)]

        return integrate.solve_ivp(rhs, (p[3], 2.0), [p[2], 0.1], method, **METHODS[method]).y[:, -1]

    p = np.array([2.0, 0.3, 1.1, 0.2])
    reference = lambda p: scipy.integrate.solve_ivp(  # noqa: E731
        lambda t, y: [y[1], -p[0] * np.sin(y[0]) - p[1] * y[1] + np.cos(t)], (p[3], 2.0), [p[2], 0.1], "DOP853",
        rtol=1e-13, atol=1e-13,
    ).y[:, -1]  # fmt: skip
    by_differences = np.stack([difference(reference, [p], 0, e) for e in np.eye(4)], -1)
    forward, reverse = forward_jacobian(end, p), reverse_jacobian(end, p)
    close(forward, by_differences, 1e-8)
    close(forward, reverse, 1e-13)


# -- where the solver's own steps would mislead -----------------------------------------------------------------------
def test_sensitivities_in_an_equilibrium() -> None:
    """The solution rests, so the solver takes steps far longer than the sensitivities allow."""

    def end(y0: Any) -> Any:
        return integrate.solve_ivp(lambda t, y: [y[1], -9 * np.sin(y[0])], (0, 10), y0, rtol=1e-8, atol=1e-10).y[:, -1]

    c, s = np.cos(30), np.sin(30)
    for J in (forward_jacobian(end, np.zeros(2)), reverse_jacobian(end, np.zeros(2))):
        close(J, np.array([[c, s / 3], [-3 * s, c]]), 1e-6)


def test_a_control_that_starts_at_zero() -> None:
    def end(u: Any) -> Any:
        return integrate.solve_ivp(lambda t, y: u * np.cos(20 * t), (0, 10), [0.0], rtol=1e-8, atol=1e-10).y[0, -1]

    close(R(end)(0.0), np.sin(200) / 20, 1e-7)


# -- what the right-hand side may be -----------------------------------------------------------------------------------
def test_tensors_from_outside_are_never_missed() -> None:
    a, b = cr.Tensor(0.7), cr.Tensor([2.0])

    def rhs(t: Any, y: Any) -> Any:
        return -a * y if t < 1 else -3 * y  # read at some times only

    y = integrate.solve_ivp(rhs, (0, 2), b, max_step=0.05, t_eval=[0.5, 1.0], **TIGHT).y
    np.sum(y).backward()
    close(a.grad, -2 * (0.5 * np.exp(-0.35) + np.exp(-0.7)), 1e-6)
    close(b.grad, np.array([np.exp(-0.35) + np.exp(-0.7)]), 1e-8)


def test_a_tensor_that_is_first_read_late() -> None:
    def end(c: Any) -> Any:
        rhs = lambda t, y: -y if t < 1.5 else -c * y  # noqa: E731
        return integrate.solve_ivp(rhs, (0, 2), [2.0], max_step=0.05, rtol=1e-6, atol=1e-9).y[0, -1]

    value, slope = cr.value_and_grad(end)(0.7)
    close(slope, -0.5 * value, 1e-4)  # the jump is not at the end of a step
    close(F(end)(0.7), slope, 1e-12)


def test_methods_agree_with_differences_on_a_stiff_problem() -> None:
    def robertson(k: Any, method: str = "Radau") -> Any:
        def rhs(t: Any, y: Any) -> Any:
            first, second, third = k[0] * y[0], k[1] * y[1] * y[2], k[2] * y[1] ** 2
            return [-first + second, first - second - third, third]

        return integrate.solve_ivp(rhs, (0, 10), [1.0, 0, 0], method=method, rtol=1e-5, atol=1e-8).y[:, -1]

    k = np.array([0.04, 1e4, 3e7])
    step = 1e-3
    scale = np.array([1, 1e4, 1])[:, None]
    reference = np.stack(
        [(robertson(k * (1 + step * e)) - robertson(k * (1 - step * e))) / (2 * step) for e in np.eye(3)], -1
    )
    for method in ("Radau", "BDF"):
        J = reverse_jacobian(lambda k, m=method: robertson(k, m), k) * k
        close(J * scale, reference * scale, 1e-4)


def test_a_relaxation_oscillation() -> None:
    """Van der Pol's, whose jumps BDF and LSODA meet at other times than the discrete solution."""

    def end(mu: Any, method: str, rtol: float = 1e-6) -> Any:
        def rhs(t: Any, y: Any, mu: Any) -> Any:
            return [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]

        return integrate.solve_ivp(rhs, (0, 200), [2.0, 0.0], method, args=(mu,), rtol=rtol, atol=rtol).y[0, -1]

    precise = [end(mu, "Radau", 1e-10) for mu in (99.9, 100.1)]
    for method in ("Radau", "BDF", "LSODA"):
        ours = lambda mu, method=method: end(mu, method)  # noqa: E731
        close(R(ours)(100.0), (precise[1] - precise[0]) / 0.2, 2e-5)
        close(F(ours)(100.0), R(ours)(100.0), 1e-9)


def test_radau_solves_again_where_the_solver_was_too_far_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """At SciPy's tolerances the jumps come so much too late that Newton's method does not converge from there."""
    again, solve_again = [], collocation.Collocation._solve_again

    def counted(self: Any, t: float, y: Any) -> None:
        again.append(t)
        solve_again(self, t, y)

    monkeypatch.setattr(collocation.Collocation, "_solve_again", counted)

    def end(mu: Any) -> Any:
        rhs = lambda t, y, mu: [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]  # noqa: E731
        return integrate.solve_ivp(rhs, (0, 2000), [2.0, 0.0], "BDF", args=(mu,)).y[0, -1]

    slope = R(end)(1000.0)
    assert again
    assert slope == pytest.approx(1.7848e-3, rel=1e-3)  # differences of solutions with Radau, rtol=1e-11


def heat(n: int) -> Any:
    """A rod that is heated: sparse."""
    stencil = (np.diag(np.full(n, -2.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)) * (n + 1) ** 2
    return stencil, np.sin(np.pi * np.arange(1, n + 1) / (n + 1))


def full(n: int) -> Any:
    """All with all."""
    return spaced((n, n), "all") / n - np.eye(n), np.linspace(1, 2, n)


@pytest.mark.parametrize("system", [heat, full])
@pytest.mark.parametrize("method", ["RK45", "Radau", "LSODA"])
def test_many_states(method: str, system: Any) -> None:
    a, y0 = system(step_equations.FEW + 1)

    def end(k: Any, y0: Any) -> Any:
        return integrate.solve_ivp(lambda t, y: k * (a @ y), (0, 0.01), y0, method, rtol=1e-6, atol=1e-9).y[:, -1]

    def exact(k: Any, y0: Any) -> Any:
        return linalg.expm(0.01 * k * a) @ y0

    args, tangents, ct = (1.3, y0), (0.7, y0[::-1] ** 2), np.linspace(-1, 1, len(y0))
    for f, g in zip(*(cr.vjp(f, *args)[1](ct) for f in (end, exact)), strict=True):
        close(f, g, 1e-6)
    close(*(cr.jvp(f, args, tangents)[1] for f in (end, exact)), 1e-6)
    close(*(R(R(lambda k, f=f: ct @ f(k, y0)))(1.3) for f in (end, exact)), 1e-6)


def test_steps_in_parts_that_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(k: Any) -> Any:
        t = np.linspace(0, 2, 30)
        return integrate.solve_ivp(lambda t, y: [y[1], -k * y[0]], (0, 2), [1.0, 0.5], "Radau", t, **LOOSE).y

    value, slope, second = end(2.0), F(end)(2.0), F(F(end))(2.0)
    ct = spaced((2, 30), "ct")
    pulled = cr.vjp(end, 2.0)[1](ct)[0]
    monkeypatch.setattr(collocation, "LARGEST", 500)
    same(end(2.0), value)
    close(F(end)(2.0), slope, 1e-8)
    close(F(F(end))(2.0), second, 1e-8)
    close(cr.vjp(end, 2.0)[1](ct)[0], pulled, 1e-8)


def test_all_directions_at_once() -> None:
    """Jacobians and Hessians, whose walks are batches."""

    def end(p: Any) -> Any:
        rhs = lambda t, y: [p[0] * y[1], -p[1] * np.sin(y[0])]  # noqa: E731
        return integrate.solve_ivp(rhs, (0, 1), [1.0, p[2]], "Radau", **LOOSE).y[:, -1]

    p = np.array([1.0, 1.5, 0.3])
    for mode in ("fwd", "rev"):
        close(cr.jacobian(end, mode=mode)(p), forward_jacobian(end, p), 1e-12)
    energy = lambda p: np.sum(end(p) ** 2)  # noqa: E731
    expected = np.stack([difference(cr.grad(energy), [p], 0, e) for e in np.eye(3)])
    for inner in ("fwd", "rev"):
        for outer in ("fwd", "rev"):
            close(cr.jacobian(cr.jacobian(energy, mode=inner), mode=outer)(p), expected, 1e-6)


def test_a_branch_that_does_not_run_on_a_batch() -> None:
    def end(k: Any) -> Any:
        def rhs(t: Any, y: Any) -> Any:
            return [-k * y[0] if t < 1 else -2 * k * y[0]]

        return integrate.solve_ivp(rhs, (0, 2), [3.0], t_eval=[0.5, 1.0, 2.0], **LOOSE).y[0]

    exact = lambda k: 3 * np.exp(-k * np.array([0.5, 1.0, 3.0]))  # noqa: E731
    close(F(end)(0.4), F(exact)(0.4), 1e-6)
    close(F(F(end))(0.4), F(F(exact))(0.4), 1e-6)
    close(cr.vjp(end, 0.4)[1](np.ones(3))[0], np.sum(F(exact)(0.4)), 1e-6)


def test_dtypes_and_nothing_to_integrate() -> None:
    y0, k = np.ones(2, np.float32), np.float32(2)
    y, pullback = cr.vjp(lambda y0, k: integrate.solve_ivp(lambda t, y: -k * y, (0, 1), y0, "BDF").y[:, -1], y0, k)
    assert y.dtype == np.float64  # as SciPy's
    assert [g.dtype for g in pullback(np.ones(2))] == [np.float32, np.float32]
    for method in METHODS:
        nowhere = lambda y, method=method: integrate.solve_ivp(lambda t, y: -y, (1, 1), y, method).y[:, -1]  # noqa: E731
        close(cr.jacobian(nowhere)(y0), np.eye(2))
    assert len(integrate.solve_ivp(lambda t, y: -y, (0, 1), cr.Tensor([1.0]), "Radau", t_eval=[]).t) == 0


def test_equations_that_no_steps_resolve_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collocation, "MOST", 0)
    jagged = lambda t, y, k: k * y * (1 + 0.3 * np.sign(np.sin(50 * t)))  # noqa: E731
    with pytest.raises(ArithmeticError, match=r"solve_ivp: however short the steps are near t = .*Raise rtol and atol"):
        integrate.solve_ivp(jagged, (0, 9), [1.0], t_eval=[9.0], args=(cr.Tensor(-0.1),), rtol=1e-9, atol=1e-12)


def test_in_threads() -> None:
    def slope(k: float) -> Any:
        return R(lambda k: integrate.solve_ivp(lambda t, y: -k * y**2, (0, 2), [3.0], "Radau", **LOOSE).y[0, -1])(k)

    rates = [0.1 * (i + 1) for i in range(8)]
    one_by_one = [slope(k) for k in rates]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(slope, rates)) == one_by_one


def test_complex_states_and_vectorized_functions() -> None:
    for method in ("RK45", "BDF"):

        def real(w: Any, method: str = method) -> Any:
            return np.real(
                integrate.solve_ivp(lambda t, y: 1j * w * y, (0, 1), [1 + 0j], method=method, **LOOSE).y[0, -1]
            )

        close(R(real)(2.0), -np.sin(2), 1e-5)
        close(F(R(real))(2.0), -np.cos(2), 1e-5)

    def end(k: Any, vectorized: bool) -> Any:
        def rhs(t: Any, y: Any) -> Any:
            assert y.ndim == 1 + vectorized
            return np.stack([y[1], -k * y[0]])

        return integrate.solve_ivp(rhs, (0, 1), [1.0, 0], "Radau", vectorized=vectorized, **LOOSE).y[0, -1]

    close(R(end)(2.0, True), R(end)(2.0, False), 1e-6)


def test_values_are_scipys() -> None:
    rhs = lambda t, y: [y[1], -np.sin(y[0])]  # noqa: E731
    for method in METHODS:
        theirs = scipy.integrate.solve_ivp(rhs, (0, 3), [1.0, 0], method)
        plainly = integrate.solve_ivp(rhs, (0, 3), [1.0, 0], method)
        ours = integrate.solve_ivp(rhs, (0, 3), cr.Tensor([1.0, 0]), method)
        assert type(plainly.y) is np.ndarray
        same(plainly.y, theirs.y)
        same(ours.y.data, theirs.y)
        assert type(ours.t) is np.ndarray
    t = np.linspace(0, 3, 7)
    same(
        integrate.odeint(lambda y, t: rhs(t, y), cr.Tensor([1.0, 0]), t).data,
        scipy.integrate.odeint(rhs, [1.0, 0], t, tfirst=True),
    )
    assert integrate.solve_ivp(rhs, (0, 3), [1.0, 0], dense_output=True).sol(1.0).shape == (2,)


def test_a_given_jacobian_is_used_by_scipy() -> None:
    used = []

    def jac(t: Any, y: Any, k: Any) -> Any:
        used.append(t)
        return -k * np.eye(1)

    slope = R(
        lambda k: integrate.solve_ivp(lambda t, y, k: -k * y, (0, 1), [1.0], "BDF", args=(k,), jac=jac, **LOOSE).y[
            0, -1
        ]
    )(2.0)
    assert used
    close(slope, -np.exp(-2), 1e-6)


# -- events ------------------------------------------------------------------------------------------------------------
def thrown(h: Any, v: Any, g: Any) -> Any:
    def ground(t: Any, y: Any, g: Any) -> Any:
        return y[0]

    ground.terminal, ground.direction = True, -1
    return integrate.solve_ivp(lambda t, y, g: [y[1], -g], (0, 100), [h, v], events=ground, args=(g,), **TIGHT)


@pytest.mark.parametrize("of_event", [True, False])
def test_time_and_state_of_a_terminal_event(of_event: bool) -> None:
    def ours(h: Any, v: Any, g: Any) -> Any:
        result = thrown(h, v, g)
        time, state = (result.t_events[0][0], result.y_events[0][0]) if of_event else (result.t[-1], result.y[:, -1])
        return np.stack([time, state[1]])

    def exact(h: Any, v: Any, g: Any) -> Any:
        end = np.sqrt(v**2 + 2 * g * h)
        return np.stack([(v + end) / g, -end])

    args, ct = (2.0, 1.0, 9.81), np.array([1.0, -0.3])
    slopes = [lambda *a, f=f: list(cr.vjp(f, *a)[1](ct)) for f in (ours, exact)]
    for a, b in zip(*(f(*args) for f in slopes), strict=True):
        close(a, b, 1e-9)
    for a, b in zip(*(cr.jvp(f, args, (0.3, -1.0, 0.5))[1] for f in slopes), strict=True):
        close(a, b, 1e-8)
    close(*(cr.jvp(f, args, (0.3, -1.0, 0.5))[1] for f in (ours, exact)), 1e-9)


def test_several_events_whose_functions_depend_on_tensors() -> None:
    """sin(w t) crosses c; the right-hand side is a constant."""

    def crossings(c: Any, w: float = 2.0) -> Any:
        level = lambda t, y: y[0] - c  # noqa: E731
        never = lambda t, y: y[0] + 5  # noqa: E731
        result = integrate.solve_ivp(
            lambda t, y: [y[1], -(w**2) * y[0]], (0, 4), [0, w], events=[never, level], **TIGHT
        )
        assert result.t_events[0].size == 0
        assert type(result.y) is np.ndarray
        return result.t_events[1]

    c = 0.3
    expected = np.array([np.arcsin(c), np.pi - np.arcsin(c), 2 * np.pi + np.arcsin(c)]) / 2
    times, slopes = cr.jvp(crossings, (c,), (1.0,))
    close(times, expected, 1e-8)
    close(slopes, np.array([1, -1, 1]) / 2 / np.sqrt(1 - c**2), 1e-6)


# -- nesting -----------------------------------------------------------------------------------------------------------
def test_fitting_parameters_of_an_equation() -> None:
    t = np.linspace(0, 5, 12)[1:]

    def model(p: Any) -> Any:
        def rhs(t: Any, y: Any) -> Any:
            return [p["a"] * y[0] - p["b"] * y[0] * y[1], -y[1] + p["b"] * y[0] * y[1]]

        return integrate.solve_ivp(rhs, (0, 5), [1.0, 0.5], t_eval=t, rtol=1e-6, atol=1e-6).y

    data = model({"a": 1.2, "b": 0.8})
    fit = optimize.least_squares(lambda p: model(p) - data, {"a": 1.0, "b": 1.0})
    close(np.array([fit.x["a"], fit.x["b"]]), np.array([1.2, 0.8]), 1e-5)


def test_shooting() -> None:
    """The slope at which a thrown body reaches a height, through root, through solve_ivp."""

    def speed(height: Any) -> Any:
        end = lambda v: integrate.solve_ivp(lambda t, y: [y[1], -9.81], (0, 1), [0.0, v[0]], **TIGHT).y[:1, -1] - height  # noqa: E731
        return optimize.root(end, [1.0], tol=1e-12).x[0]

    value, slope = cr.value_and_grad(speed)(2.0)
    close(value, 2 + 9.81 / 2, 1e-7)
    close(slope, 1.0, 1e-7)


def test_energy_gradient_as_right_hand_side() -> None:
    """A right-hand side that is itself a gradient (Hamilton's equations)."""

    def end(q: Any, m: Any) -> Any:
        energy = lambda z: z[1] ** 2 / (2 * m) + np.cosh(z[0])  # noqa: E731

        def rhs(t: Any, z: Any) -> Any:
            slope = cr.grad(energy)(z)
            return np.stack([slope[1], -slope[0]])

        return integrate.solve_ivp(rhs, (0, 0.4), [q, 0.0], t_eval=[0.1, 0.4], **TIGHT).y

    check(end, [np.float64(0.8), np.float64(1.3)], tolerance=1e-6)


# -- odeint ------------------------------------------------------------------------------------------------------------
def test_odeint_against_the_closed_form() -> None:
    def ours(y0: Any, t: Any, r: Any) -> Any:
        return integrate.odeint(lambda y, t, r: r * y * (1 - y / 2), y0, t, (r,), rtol=1e-10, atol=1e-10).T

    def exact(y0: Any, t: Any, r: Any) -> Any:
        return logistic_in_closed_form(t[0], t, y0, r)

    args = (np.array([0.3, 0.7]), np.array([0.1, 0.5, 2]), np.float64(1.3))
    ct = np.arange(6.0).reshape(2, 3) - 2.5
    tangents = (np.array([0.3, 0.1]), np.array([1.0, -0.3, 0.2]), np.float64(0.4))
    for a, b in zip(*(cr.vjp(f, *args)[1](ct) for f in (ours, exact)), strict=True):
        close(a, b, 1e-7)
    close(*(cr.jvp(f, args, tangents)[1] for f in (ours, exact)), 1e-7)


def test_odeint_at_times_that_repeat_and_backwards() -> None:
    def ours(k: Any, t: Any) -> Any:
        return integrate.odeint(lambda y, t: -k * y, [2.0, 1.0], t, rtol=1e-9, atol=1e-10)

    def exact(k: Any, t: Any) -> Any:
        return np.exp(-k * (t - t[0]))[:, None] * np.array([2.0, 1.0])

    for t in (np.array([0, 0.5, 0.5, 1]), np.array([1.0, 0.4, 0])):
        tangents = (0.7, np.linspace(1, -0.5, len(t)))
        close(*(cr.jvp(f, (0.5, t), tangents)[1] for f in (ours, exact)), 1e-8)


def test_odeint_forms() -> None:
    expected = -2 * np.exp(-1.4)
    plainly = integrate.odeint(lambda y, t: -0.7 * y, 1.0, [0, 2.0])
    assert type(plainly) is np.ndarray

    def full(k: Any) -> Any:
        y, info = integrate.odeint(
            lambda t, y: -k * y, 1.0, [0, 2.0], tfirst=True, full_output=True, Dfun=lambda t, y: -k * np.eye(1)
        )
        assert "nst" in info
        return y[-1, 0]

    close(R(full)(0.7), expected, 1e-6)


# -- limits ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
def test_dense_output(method: str) -> None:
    """A function of time that is differentiable in time, too, and by itself or among many."""

    def at(t: Any, k: Any) -> Any:
        found = integrate.solve_ivp(lambda t, y: -k * y, (0, 2), [3.0], method, dense_output=True, **METHODS[method])
        return found.sol(t)

    t, k = np.array([1.7, 0.3, 0.0, 2.0]), 0.5
    tolerance = 1e-6 if METHODS[method] is LOOSE else 1e-8
    exact = 3 * np.exp(-k * t)
    value, pullback = cr.vjp(at, t, k)
    same(value, scipy.integrate.solve_ivp(
        lambda t, y: -k * y, (0, 2), [3.0], method, dense_output=True, **METHODS[method]
    ).sol(t))  # fmt: skip
    of_time, of_rate = pullback(np.ones((1, 4)))
    close(of_time, -k * exact, tolerance)
    close(of_rate, np.sum(-t * exact), tolerance)
    close(cr.jvp(at, (t, k), (np.ones(4), 1.0))[1], ((-k - t) * exact)[None], tolerance)
    close(R(lambda t: at(t, k)[0])(0.7), -k * 3 * np.exp(-k * 0.7), tolerance)
    with pytest.raises(UnsupportedFunctionError, match=r"sol of scipy\.integrate\.solve_ivp.*outside.*t_span"):
        at(np.array([0.5, 2.5]), cr.Tensor(0.5))


def test_tolerances_that_determine_nothing_warn() -> None:
    """The Lorenz system forgets where it started: at the default tolerances the end is arbitrary."""

    def lorenz(t: Any, y: Any) -> Any:
        return [10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]]

    with pytest.warns(RuntimeWarning, match=r"derivative may be wrong: solve_ivp.*Lower rtol and atol"):
        integrate.solve_ivp(lorenz, (0, 30), cr.Tensor([1.0, 1, 1]), t_eval=[30.0])


def test_without_history_there_is_none() -> None:
    k = cr.Tensor(2.0)
    with cr.no_grad():
        y = integrate.solve_ivp(lambda t, y: -k * y, (0, 1), [1.0]).y
    assert not isinstance(y, cr.Tensor) or y.node is None
    assert (
        difference(lambda k: integrate.solve_ivp(lambda t, y: -k * y, (0, 1), [1.0], **TIGHT).y[0, -1], [2.0], 0, 1.0)
        < 0
    )
