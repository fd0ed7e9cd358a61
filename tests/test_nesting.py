"""Derivatives of programs that take derivatives: descents that stop when an inner gradient says so, and simulations.

Every combination of modes must give one number, and that of a recurrence differentiated by hand, in NumPy.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oracle import check, spaced

import chainrule as cr
from chainrule.walk import pull as reverse_walk

A = spaced((3,), "nesting", 0.3, 1.2)
W = np.array([1.0, -2.0, 0.5])
RATE = 0.4


def reverse(f):
    return cr.grad(f)


def forward(f):
    """The gradient, a direction at a time."""

    def gradient(x):
        basis = [1.0] if np.ndim(x) == 0 else np.eye(len(x))
        parts = [cr.jvp(f, (x,), (e,))[1] for e in basis]
        return parts[0] if np.ndim(x) == 0 else np.stack(parts)

    return gradient


def batched(f):
    """All directions at once."""
    return lambda x: cr.vmap(lambda e: cr.jvp(f, (x,), (e,))[1])(np.eye(len(x)))


def linearized(f):
    """All directions at once, after one run at a point that is the same for all: it may branch."""

    def gradient(x):
        push = cr.linearize(f, x)[1]
        return push(1.0) if np.ndim(x) == 0 else cr.vmap(push)(np.eye(len(x)))

    return gradient


GRADIENTS = {"reverse": reverse, "forward": forward, "batched": batched, "linearized": linearized}
PAIRS = list(itertools.product(("reverse", "forward", "linearized"), GRADIENTS))
BOTH = list(itertools.product(("reverse", "forward"), repeat=2))


# -- a descent that stops on its inner gradient ------------------------------------------------------------------------
def valley(x, a):
    return np.sum(np.log(np.cosh(x - a))) + 0.05 * np.sum(x) ** 2


def descend(a, rate, inner, tolerance=1e-3):
    """Where the descent ends, and after how many steps: it stops when the gradient is small."""
    x, steps = 0.0 * a, 0
    while True:
        g = inner(lambda x: valley(x, a))(x)
        if np.sum(g * g) < tolerance**2:
            return x, steps
        x, steps = x - rate * g, steps + 1


def descend_by_hand(a, rate, tolerance=1e-3):
    """The end, the steps, and the end's derivatives in `a` and `rate`, by differentiating the recurrence on paper."""
    x, in_a, in_rate, steps = np.zeros(3), np.zeros((3, 3)), np.zeros(3), 0
    while True:
        t = np.tanh(x - a)
        g = t + 0.1 * np.sum(x)
        if np.sum(g * g) < tolerance**2:
            return x, steps, in_a, in_rate
        curvature = np.diag(1 - t * t)
        hessian = curvature + 0.1
        in_rate = in_rate - g - rate * hessian @ in_rate
        in_a = in_a - rate * (hessian @ in_a - curvature)
        x, steps = x - rate * g, steps + 1


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_descent(outer, inner):
    end, count, in_a, in_rate = descend_by_hand(A, RATE)
    assert count > 10
    counts = []

    def loss(a, rate):
        x, steps = descend(a, rate, GRADIENTS[inner])
        counts.append(steps)
        return np.sum(W * x)

    assert loss(A, RATE) == pytest.approx(W @ end, abs=1e-12)
    gradient = GRADIENTS[outer](lambda a: loss(a, RATE))(A)
    assert type(gradient) is np.ndarray
    np.testing.assert_allclose(gradient, W @ in_a, rtol=0, atol=1e-10)
    np.testing.assert_allclose(GRADIENTS[outer](lambda rate: loss(A, rate))(RATE), W @ in_rate, rtol=0, atol=1e-10)
    assert set(counts) == {count}


@pytest.mark.parametrize("inner", ["reverse", "forward"])
def test_descent_by_while_loop_and_by_steps_that_are_run_again(inner):
    _, count, in_a, _ = descend_by_hand(A, RATE)
    gradient_of = GRADIENTS[inner]

    def by_while_loop(a):
        def slope(x):
            return gradient_of(lambda x: valley(x, a))(x)

        step = cr.checkpoint(lambda x: x - RATE * slope(x))
        return np.sum(W * cr.while_loop(lambda x: np.sum(slope(x) ** 2) >= 1e-6, step, 0.0 * a))

    def by_chain(a):
        chain = cr.checkpoint_chain((lambda x: x - RATE * gradient_of(lambda x: valley(x, a))(x), count), memory=4)
        return np.sum(W * chain(0.0 * a))

    for f in (by_while_loop, by_chain):
        for outer in (reverse, forward):
            np.testing.assert_allclose(outer(f)(A), W @ in_a, rtol=0, atol=1e-10)


@pytest.mark.parametrize("inner", ["reverse", "forward"])
def test_descents_in_a_batch_stop_each_for_itself(inner):
    many = np.stack([A, 0.1 * A, 3 * A])

    def loss(a):
        def slope(x):
            return GRADIENTS[inner](lambda x: valley(x, a))(x)

        end = cr.while_loop(lambda x: np.sum(slope(x) ** 2) >= 1e-6, lambda x: x - RATE * slope(x), 0.0 * a)
        return np.sum(W * end)

    alone = [descend_by_hand(a, RATE) for a in many]
    assert len({count for _, count, _, _ in alone}) > 1
    expected = [W @ in_a for _, _, in_a, _ in alone]
    np.testing.assert_allclose(cr.vmap(cr.grad(loss))(many), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(cr.vmap(forward(loss))(many), expected, rtol=0, atol=1e-10)
    total = cr.grad(lambda many: np.sum(cr.vmap(loss)(many)))(many)
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-10)


def test_second_derivatives_of_a_descent():
    """Three levels of derivatives in all eight orders, against differences of the derivative by hand."""
    direction = np.array([0.3, -1.0, 0.7])
    step = 1e-5
    ends = [W @ descend_by_hand(A + s * direction, RATE)[2] for s in (step, -step)]
    by_differences = (ends[0] - ends[1]) / (2 * step) @ direction
    found = []
    for outermost, outer, inner in itertools.product((reverse, forward), repeat=3):

        def along(s, inner=inner):
            return np.sum(W * descend(A + s * direction, RATE, inner)[0])

        found.append(outermost(outer(along))(0.0))
    assert found[0] == pytest.approx(by_differences, rel=1e-7)
    np.testing.assert_allclose(found, found[0], rtol=0, atol=1e-10)


# -- closures --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("outer", "inner"), BOTH)
def test_levels_are_not_confused(outer, inner):
    """Inner functions that close over outer variables: each level differentiates its own."""
    outer, inner = GRADIENTS[outer], GRADIENTS[inner]
    assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(2.0) == 1.0
    assert outer(lambda x: x * inner(lambda y: x * y)(1.0))(2.0) == 4.0
    assert outer(lambda x: inner(lambda y: x * y * y)(x))(3.0) == 12.0
    assert outer(lambda x: inner(lambda y: inner(lambda z: x * y * z * z)(y))(x))(2.0) == 16.0
    held = {}

    def keeps(x):
        held["x"] = x
        return inner(lambda y: held["x"] ** 2 * np.sin(y))(0.0)

    assert outer(keeps)(3.0) == 6.0


@pytest.mark.parametrize("inner", list(GRADIENTS))
@pytest.mark.parametrize("outer", ["reverse", "forward", "linearized"])
def test_hessians(outer, inner):
    """The point of the inner derivative belongs to the outer one, also where each direction is an example of vmap."""

    def cubic(x):
        return np.sum(x) ** 3 + x[0] * x[1] * x[2]

    hessian = 6 * np.sum(A) + np.array([[0, A[2], A[1]], [A[2], 0, A[0]], [A[1], A[0], 0]])
    gradient = GRADIENTS[outer](lambda x: np.sum(W * GRADIENTS[inner](cubic)(x)))(A)
    np.testing.assert_allclose(gradient, hessian @ W, rtol=1e-12)
    leaf = cr.Tensor(A)
    np.sum(W * GRADIENTS[inner](cubic)(leaf)).backward()
    np.testing.assert_allclose(leaf.grad, hessian @ W, rtol=1e-12)


@pytest.mark.parametrize(("outer", "inner"), BOTH)
def test_a_leaf_outside_of_all_transforms_keeps_its_gradient(outer, inner):
    """`backward` comes through a gradient through a descent, to a Tensor that all of them close over."""
    scale = cr.Tensor(1.3)

    def loss(a):
        end, _ = descend(scale * a, RATE, GRADIENTS[inner])
        return np.sum(W * end)

    gradient = GRADIENTS[outer](loss)(A)
    assert isinstance(gradient, cr.Tensor)
    np.sum(gradient * W).backward()
    step = 1e-5
    moved = [(s * W @ descend_by_hand(s * A, RATE)[2]) @ W for s in (1.3 + step, 1.3 - step)]
    assert scale.grad == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-7)


# -- threads -----------------------------------------------------------------------------------------------------------
def test_in_threads():
    """The same bits as one after the other, whatever else is being differentiated at the time."""

    def job(number):
        outer, inner = PAIRS[number % len(PAIRS)]
        a = A * (0.5 + 0.1 * number)
        return GRADIENTS[outer](lambda a: np.sum(W * descend(a, RATE, GRADIENTS[inner])[0]))(a)

    one_by_one = [job(number) for number in range(18)]
    with ThreadPoolExecutor(6) as threads:
        for _ in range(2):
            for a, b in zip(threads.map(job, range(18)), one_by_one, strict=True):
                np.testing.assert_array_equal(a, b)


def test_threads_inside_of_a_function_that_is_differentiated():
    """Threads that read a Tensor of the thread around them: what they return is differentiated on."""

    def loss(a):
        with ThreadPoolExecutor(3) as threads:
            ends = list(threads.map(lambda rate: descend(a, rate, reverse)[0], (0.3, 0.4, 0.5)))
        return sum(np.sum(W * end) for end in ends)

    expected = sum(W @ descend_by_hand(A, rate)[2] for rate in (0.3, 0.4, 0.5))
    np.testing.assert_allclose(cr.grad(loss)(A), expected, rtol=0, atol=1e-10)


# -- simulations -------------------------------------------------------------------------------------------------------
def leapfrog(q, p, potential, inner, h=0.1, steps=40):
    """Hamilton's equations, with the force as a gradient taken inside."""

    def force(q):
        return -inner(potential)(q)

    def step(state, _):
        q, p = state
        p = p + 0.5 * h * force(q)
        q = q + h * p
        return (q, p + 0.5 * h * force(q)), None

    return cr.scan(step, (q, p), length=steps)[0]


@pytest.mark.parametrize(("outer", "inner"), BOTH)
def test_leapfrog_of_a_spring_is_a_power_of_a_matrix(outer, inner):
    def end(k):
        q, p = leapfrog(1.0, 0.2, lambda q: 0.5 * k * q * q, GRADIENTS[inner])
        return q + 3 * p

    def by_hand(k, h=0.1):
        """The last state, and its derivative: a step is the matrix M, and (M^n)' = sum of M^i M' M^(n-1-i)."""
        kick, kicked = np.array([[1, 0], [-h * k / 2, 1]]), np.array([[0, 0], [-h / 2, 0]])
        drift = np.array([[1, h], [0, 1]])
        m, dm = kick @ drift @ kick, kicked @ drift @ kick + kick @ drift @ kicked
        powers = [np.linalg.matrix_power(m, i) for i in range(41)]
        derivative = sum(powers[i] @ dm @ powers[39 - i] for i in range(40))
        return [np.array([1, 3]) @ matrix @ np.array([1.0, 0.2]) for matrix in (powers[40], derivative)]

    value, derivative = by_hand(2.0)
    assert end(2.0) == pytest.approx(value, abs=1e-12)
    assert GRADIENTS[outer](end)(2.0) == pytest.approx(derivative, abs=1e-10)


def quartic(q):
    return np.sum(q**4) / 4 + 0.5 * np.sum(q * q) + 0.3 * q[0] * q[1]


@pytest.mark.parametrize(("outer", "inner"), BOTH)
def test_the_flow_of_a_leapfrog_is_symplectic(outer, inner):
    """J of initial to last state obeys J^T S J = S exactly, whatever the potential and the step."""
    state = np.array([0.9, -0.4, 0.1, 0.5])

    def flow(i):
        def component(state):
            return np.concatenate(leapfrog(state[:2], state[2:], quartic, GRADIENTS[inner], steps=20))[i]

        return component

    jacobian = np.stack([GRADIENTS[outer](flow(i))(state) for i in range(4)])
    s = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    np.testing.assert_allclose(jacobian.T @ s @ jacobian, s, rtol=0, atol=1e-10)
    assert np.abs(jacobian - np.eye(4)).max() > 1


@pytest.mark.parametrize(("outer", "inner"), BOTH)
def test_shooting_through_a_simulation(outer, inner):
    """Newton finds the start velocity that hits a target, with derivatives of a simulation that takes gradients.

    By the implicit function theorem the velocity's derivative in the target is one over the end's in the velocity.
    """
    gradient_of = GRADIENTS[inner]

    def end(v):
        return leapfrog(0.2, v, lambda q: q**4 / 4 + 0.5 * q * q, gradient_of, steps=8)[0]

    def velocity(target):
        v = 1.0 + 0.0 * target
        while abs(miss := end(v) - target) > 1e-9:
            v = v - miss / gradient_of(end)(v)
        return v - miss / gradient_of(end)(v)  # one step more: its derivative is exact once its value is

    found = velocity(0.9)
    assert end(found) == pytest.approx(0.9, abs=1e-12)
    step = 1e-4
    slope = (8 * (end(found + step) - end(found - step)) - (end(found + 2 * step) - end(found - 2 * step))) / (
        12 * step
    )
    derivative = GRADIENTS[outer](velocity)(0.9)
    assert derivative == pytest.approx(1 / slope, rel=1e-9)
    assert derivative == pytest.approx(1 / reverse(end)(found), abs=1e-10)


@pytest.mark.parametrize("modes", list(itertools.product(("reverse", "forward"), repeat=3)))
def test_a_descent_on_a_simulation_that_takes_gradients(modes):
    """Outer gradient of a descent with inner gradients of a simulation with gradients for forces: one number."""
    outer, middle, inner = (GRADIENTS[mode] for mode in modes)

    def end(v, k):
        return leapfrog(0.1, v, lambda q: 0.5 * k * q * q, inner, h=0.2, steps=5)[0]

    def fitted(k):
        v = 0.0 * k
        while True:
            slope = middle(lambda v: (end(v, k) - 0.8) ** 2)(v)
            if abs(slope) < 1e-4:
                return v
            v = v - 0.4 * slope

    def by_hand(k, h=0.2):
        """The end is linear in v: end = m v + c, with m and c from the matrix of a step."""
        kick, drift = np.array([[1, 0], [-h * k / 2, 1]]), np.array([[1, h], [0, 1]])
        c, m = np.linalg.matrix_power(kick @ drift @ kick, 5)[0] @ np.array([[0.1, 0.0], [0.0, 1.0]])
        v = 0.0
        while abs(slope := 2 * m * (m * v + c - 0.8)) >= 1e-4:
            v -= 0.4 * slope
        return v

    step = 1e-4
    by_differences = (
        8 * (by_hand(1.5 + step) - by_hand(1.5 - step)) - (by_hand(1.5 + 2 * step) - by_hand(1.5 - 2 * step))
    ) / (12 * step)
    derivative = outer(fitted)(1.5)
    assert derivative == pytest.approx(by_differences, abs=1e-9)
    assert derivative == pytest.approx(reverse(fitted)(1.5), abs=1e-10)


# -- what is read of one array goes back in one operation --------------------------------------------------------------
READS = {
    "elements": lambda x, c: c * x[0] * x[1] ** 2 + np.sin(x[2]) * x[0] - np.exp(c * x[4]),
    "slices": lambda x, c: np.sum(x[1:] * x[:-1] ** 2) * c + x[-1] ** 3,
    "fancy": lambda x, c: np.sum(np.sin(x[[0, 2, 2]]) * x[np.array([4, 4, 1])]) * c * c,
    "masked": lambda x, c: np.sum(x[np.arange(5) > 2] ** 3) * c + x[3] * x[0],
    "whole between": lambda x, c: x[0] ** 2 * c + np.sum(np.cos(x)) * x[1] + x[2] * x[3] * c,
    "constants": lambda x, c: 2.0 * x[0] + 3.0 * x[1] + c * x[0] * x[0] + np.sum(x[1:3]) * 0.5,
    "of rows": lambda x, c: c * np.sum(np.reshape(np.outer(x, x), (5, 5))[1] ** 2) + x[0] ** 4,
}


@pytest.mark.parametrize("name", READS)
def test_reads_of_one_array_in_recorded_walks(name: str) -> None:
    def slope(x, c):
        return cr.grad(READS[name])(x, c)

    x, c = spaced((5,), "reads", 0.4, 1.3), np.float64(0.7)
    check(slope, [x, c])
    rows = [cr.jvp(lambda x: slope(x, c), (x,), (e,))[1] for e in np.eye(5)]
    np.testing.assert_allclose(cr.hessian(lambda x: READS[name](x, c))(x), rows, rtol=1e-12, atol=1e-12)
    third = cr.grad(lambda x, c: np.sum(cr.grad(lambda x: np.sum(np.sin(slope(x, c))))(x) ** 2))
    for i in range(5):
        e = np.eye(5)[i]
        total = lambda x: np.sum(cr.jvp(lambda y: np.sum(np.sin(slope(y, c))), (x,), (e,))[1])  # noqa: B023, E731
        np.testing.assert_allclose(
            cr.grad(total)(x), cr.hessian(lambda y: np.sum(np.sin(slope(y, c))))(x)[i], rtol=1e-10, atol=1e-12
        )
    step = 1e-5 * np.cos(np.arange(5.0))
    value = lambda x: np.sum(cr.grad(lambda x: np.sum(np.sin(slope(x, c))))(x) ** 2)  # noqa: E731
    np.testing.assert_allclose(third(x, c) @ step, (value(x + step) - value(x - step)) / 2, rtol=1e-5)


def test_reads_of_one_array_are_one_node_of_a_recorded_walk() -> None:
    x = cr.Tensor(np.linspace(0.5, 1.0, 40))

    def nodes(n: int) -> int:
        before = cr.grad(lambda x: sum(x[i] ** 3 for i in range(n)))(x)
        found, rest = set(), [before.node]
        while rest:
            node = rest.pop()
            if node not in found:
                found.add(node)
                rest += node.operands
        return sum(node.shape == (40,) for node in found if node.index)

    assert nodes(30) == nodes(3)


def test_reads_in_parts_under_contexts() -> None:
    """What watches the recorder, batches and sparse patterns see the same derivative."""
    f, x, c = READS["elements"], spaced((5,), "reads", 0.4, 1.3), np.float64(0.7)
    expected = cr.hessian(f)(x, c)
    with cr.debug():
        np.testing.assert_allclose(cr.jacobian(cr.grad(f))(x, c), expected)
    each = cr.vmap(lambda x: cr.jacobian(cr.grad(lambda x: f(x, c)))(x))(np.stack([x, x]))
    np.testing.assert_allclose(each, [expected, expected])
    push = cr.linearize(cr.grad(lambda x: f(x, c)), x)[1]
    np.testing.assert_allclose(np.stack([push(e) for e in np.eye(5)]), expected)
    jitted = cr.jit(cr.jacobian(cr.grad(f)))
    for _ in range(4):
        np.testing.assert_allclose(jitted(x, c), expected)


def test_a_recorded_gradient_of_one_factor_is_the_other() -> None:
    """The walk starts from 1: what it would be multiplied by is passed on, as a value of its own."""

    def outer(c):
        g = cr.grad(lambda x: c @ x)(np.ones(3))
        assert type(g) is cr.Tensor
        g[0] = 5.0 * g[1]
        return np.sum(g * c)

    c = np.array([2.0, 3.0, 4.0])
    np.testing.assert_allclose(cr.grad(outer)(c), [15.0, 16.0, 8.0])
    assert c.tolist() == [2, 3, 4]
    slope = cr.grad(lambda x, c: x + c, argnums=(0, 1))
    found = cr.jvp(lambda c: slope(c, c), (2.0,), (1.0,))[0]
    assert [type(x) for x in found] == [np.float64] * 2
    outside = cr.Tensor(2.0)
    assert [type(x) for x in slope(outside, outside)] == [np.float64] * 2
    narrow = cr.grad(lambda c: cr.grad(lambda x: (c @ x).astype(float))(np.ones(3, np.float32))[1] ** 2)
    assert narrow(c.astype(np.float32)).tolist() == [0, 6, 0]
    assert narrow(c.astype(np.float32)).dtype == np.float32


# Printed rules alone; rules that read values (a product of matrices); and infinite slopes, where zero wins.
ON_NODES = {
    "printed": (lambda x: np.sum(np.sin(x[:2]) * x[1:] / (1 + x[0] ** 2)), 1),
    "written": (lambda x: np.sum(np.tanh(np.outer(x, x) @ np.exp(x))), 0),
    "singular": (lambda x: np.sum(np.sqrt(x * x) * x + x[0] ** 3), 1),
}


@pytest.mark.parametrize("name", ON_NODES)
def test_recorded_walks_on_nodes_and_on_shadows_give_the_same_bits(name: str, monkeypatch) -> None:
    f, on_nodes = ON_NODES[name]
    forms = []
    sweep = reverse_walk._sweep
    monkeypatch.setattr(reverse_walk, "_sweep", lambda *args: (forms.append(args[5]), sweep(*args))[1])

    def second(x):
        return cr.grad(lambda y: np.sum(cr.grad(f)(y) * W))(x)

    with np.errstate(all="ignore"):
        x = np.array([0.3, 0.0, 1.7])
        found = second(x)
        assert forms.count("recorded_pull") == on_nodes
        forms.clear()
        with reverse_walk._slots:  # as if another walk were using them
            assert np.array_equal(second(x), found)
        assert "recorded_pull" not in forms
    assert np.all(np.isfinite(found))
    if name != "singular":
        check(lambda x: np.sum(cr.grad(f)(x) * W), [x])


@pytest.mark.parametrize("n", [5, 200_000])  # large arrays are added up in another way
def test_parts_of_a_cotangent_meet_the_whole_of_it_in_either_order(n: int) -> None:
    weights, t = np.linspace(0.5, 1.5, n), cr.Tensor(2.0)
    x = cr.Tensor(np.ones(n)) * t  # a cotangent of elements is a Tensor, one of a weighted sum is an array
    elements, plain, whole = (lambda x: t * x[0] * x[1]), (lambda x: np.sum(x * weights)), (lambda x: np.sum(x * x))
    of_elements = np.where(np.arange(n) < 2, 4.0, 0.0)
    for other, expected in ((plain, of_elements + weights), (whole, of_elements + 4.0)):
        for first, second in ((elements, other), (other, elements)):
            found = cr.grad(lambda x: first(x) + second(x))(x)  # noqa: B023
            assert type(found) is cr.Tensor
            np.testing.assert_array_equal(found.data, expected)
            grown = cr.grad(lambda s: np.sum(cr.grad(lambda x: first(x) + second(x))(x * s)))(1.0)  # noqa: B023
            assert grown.item() == pytest.approx(8.0 if other is plain else 8.0 + 4.0 * n)
