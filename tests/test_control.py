"""scan, fori_loop, while_loop, cond: against plain loops, closed forms and JAX; in all modes, nested, under vmap."""

from __future__ import annotations

import itertools
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import check, close, spaced

import chainrule as cr
from chainrule import testing
from chainrule.errors import ConcreteValueError, StructureError

X = spaced((5, 3), "control", 0.2, 1.5)


def forward(f):
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


MODES = {"r": cr.grad, "f": forward}


class State(NamedTuple):
    x: object
    v: object


# -- scan ------------------------------------------------------------------------------------------------------------
def pendulum(carry, force):
    v = carry.v - 0.1 * np.sin(carry.x) + force
    new = State(carry.x + 0.1 * v, v)
    return new, {"energy": 0.5 * v * v - np.cos(new.x), "x": new.x}


def loop(f, carry, xs):
    ys = []
    for x in xs:
        carry, y = f(carry, x)
        ys.append(y)
    return carry, ys


def test_scan_is_a_loop():
    def scanned(x, v, forces):
        last, ys = cr.scan(pendulum, State(x, v), forces)
        assert type(last) is State
        return [last.x, last.v, ys["energy"], ys["x"]]

    def plainly(x, v, forces):
        last, ys = loop(pendulum, State(x, v), forces)
        return [last.x, last.v, np.stack([y["energy"] for y in ys]), np.stack([y["x"] for y in ys])]

    args = [X[0], X[1], 0.3 * X]
    check(scanned, args)
    cts = [X[0], X[1], X, X * X]
    for a, b in zip(cr.vjp(scanned, *args)[1](cts), cr.vjp(plainly, *args)[1](cts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    testing.check_grads(scanned, (X[0], X[1], 0.3 * X), order=3)


def test_scan_of_linear_recurrences_has_a_closed_form():
    """c' = a c + x: the last one is a^n c + sum a^(n-1-k) x_k."""
    xs, a, n = X[:, 0], 0.7, 5
    (last, ys), pullback = cr.vjp(lambda c, a, xs: cr.scan(lambda c, x: (a * c + x, c), c, xs), 2.0, a, xs)
    powers = a ** np.arange(n)[::-1]
    assert last == pytest.approx(a**n * 2 + powers @ xs, rel=1e-14)
    of_c, of_a, of_xs = pullback((1.0, np.zeros(n)))
    assert of_c == pytest.approx(a**n, rel=1e-14)
    slopes = [(n - 1 - k) * a ** (n - 2 - k) for k in range(n)]
    assert of_a == pytest.approx(n * a ** (n - 1) * 2 + np.dot(slopes, xs), rel=1e-13)
    np.testing.assert_allclose(of_xs, powers, rtol=1e-14)
    assert ys[0] == 2.0


def test_scan_backwards_without_xs_and_without_steps():
    last, ys = cr.scan(lambda c, x: (c + x, 10 * c + x), 0, np.arange(4), reverse=True)
    assert last == 6
    assert ys.tolist() == [60, 51, 32, 3]
    last, ys = cr.scan(lambda c, x: (c * 2, None), 1.0, length=3)
    assert (last, ys) == (8.0, None)
    assert cr.grad(lambda c: cr.scan(lambda c, _: (c * c, None), c, None, 3)[0])(1.1) == pytest.approx(8 * 1.1**7)
    last, ys = cr.scan(lambda c, x: (c + x, {"a": x * c}), np.zeros(3), np.zeros((0, 3)))
    assert ys["a"].shape == (0, 3)
    np.testing.assert_array_equal(last, np.zeros(3))
    assert cr.grad(lambda c: cr.scan(lambda c, x: (c * x, c), c, np.ones(0))[0])(2.0) == 1.0


def test_numbers_of_python_take_the_precision_of_what_they_meet():
    xs = X[:, 0].astype("f4")
    last, _ = cr.scan(lambda c, x: (c + x, None), 0.0, cr.Tensor(xs))
    assert last.dtype == np.float32
    assert cr.fori_loop(0, 3, lambda i, c: c + i, 0) == 3


@pytest.mark.parametrize("unroll", [1, 4, np.int64(2), True, False])
def test_unrolling_is_accepted_as_jax_has_it(unroll):
    f = lambda c, x: (np.sin(c) + x, c)  # noqa: E731
    for one, other in zip(cr.scan(f, 0.5, X[0], unroll=unroll), cr.scan(f, 0.5, X[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert cr.fori_loop(0, 3, lambda i, x: x * 2, 1.0, unroll=unroll) == 8.0
    with pytest.raises(ValueError, match="unroll=-1"):
        cr.scan(f, 0.5, X[0], unroll=-1)
    with pytest.raises(ValueError, match="unroll='all'"):
        cr.fori_loop(0, 3, lambda i, x: x * 2, 1.0, unroll="all")


def test_scan_through_checkpoints_keeps_less():
    step = cr.checkpoint(lambda c, x: (np.sin(c) * x, np.cos(c)))
    blocks = 0.5 * X[:4].reshape(2, 2, 3)

    def nested(c, blocks):
        return cr.scan(cr.checkpoint(lambda c, xs: cr.scan(step, c, xs)), c, blocks)

    def plainly(c, blocks):
        last, ys = cr.scan(lambda c, x: (np.sin(c) * x, np.cos(c)), c, blocks.reshape(4, 3))
        return last, ys.reshape(2, 2, 3)

    results = [cr.vjp(f, X[0], blocks)[1]((X[1], blocks)) for f in (nested, plainly)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


# -- fori_loop and while_loop ------------------------------------------------------------------------------------------
def test_powers():
    def f(x):
        return cr.fori_loop(2, 6, lambda i, c: c * x + i, 1.0)  # x^4 + 2 x^3 + 3 x^2 + 4 x + 5

    assert f(0.5) == pytest.approx(np.polyval([1, 2, 3, 4, 5], 0.5))
    expected = np.poly1d([1, 2, 3, 4, 5])
    for modes in itertools.chain.from_iterable(itertools.product("rf", repeat=k) for k in (1, 2, 3)):
        g = f
        for mode in modes:
            g = MODES[mode](g)
        assert g(0.5) == pytest.approx(expected.deriv(len(modes))(0.5), rel=1e-13)
    assert cr.fori_loop(3, 3, lambda i, c: c * 2, 7.0) == 7.0
    assert cr.fori_loop(np.int64(5), 3, lambda i, c: c * 2, 7.0) == 7.0


def newton(x, run=None):
    """Square roots: as many steps as each needs."""

    def more(y):
        return abs(y * y - x) > 1e-14 * x

    def step(y):
        return (y + x / y) / 2

    if run is not None:
        return run(more, step, 1.0 + 0 * x)
    y = 1.0 + 0 * x
    while more(y):
        y = step(y)
    return y


def rooted(x):
    return newton(x, cr.while_loop)


def test_while_loop_is_a_loop():
    for x in (0.3, 2.0, 900.0):
        assert rooted(x) == newton(x) == pytest.approx(x**0.5, rel=1e-13)
        for modes in itertools.chain.from_iterable(itertools.product("rf", repeat=k) for k in (1, 2, 3)):
            f, g = rooted, newton
            for mode in modes:
                f, g = MODES[mode](f), MODES[mode](g)
            assert f(x) == g(x)
        assert cr.grad(rooted)(x) == pytest.approx(0.5 * x**-0.5, rel=1e-6)
    assert cr.while_loop(lambda s: s["n"] < 3, lambda s: {"n": s["n"] + 1}, {"n": 0}) == {"n": 3}


def test_plain_loops_still_work_outside_of_vmap_and_are_refused_inside():
    xs = np.array([0.3, 2.0, 900.0])
    assert cr.grad(newton)(2.0) == cr.grad(rooted)(2.0)
    with pytest.raises(ConcreteValueError, match="while more"):
        cr.vmap(newton)(xs)


# -- under vmap --------------------------------------------------------------------------------------------------------
def test_while_loop_goes_on_until_it_is_over_for_all():
    xs = np.array([1.0, 0.3, 2.0, 900.0])
    for transform in (lambda f: f, cr.grad, lambda f: cr.grad(cr.grad(f)), forward, lambda f: forward(cr.grad(f))):
        batched = cr.vmap(transform(rooted))(xs)
        np.testing.assert_allclose(batched, [transform(newton)(x) for x in xs], rtol=1e-12)
    np.testing.assert_allclose(
        cr.grad(lambda xs: np.sum(cr.vmap(rooted)(xs)))(xs), [cr.grad(newton)(x) for x in xs], rtol=1e-12
    )
    pairs = cr.vmap(lambda a: cr.vmap(lambda b: rooted(a * b))(xs))(xs)
    np.testing.assert_allclose(pairs, np.sqrt(np.outer(xs, xs)), rtol=1e-13)
    counts = cr.vmap(lambda x: cr.while_loop(lambda s: s[0] < x, lambda s: (s[0] * 2, s[1] + 1), (1.0, 0))[1])(xs)
    assert counts.tolist() == [0, 0, 1, 10]
    assert counts.dtype.kind == "i"
    none = cr.vmap(rooted)(np.zeros(0))
    assert none.shape == (0,)


def test_examples_that_are_done_are_not_poisoned():
    """They run on, into a pole: neither their value nor their derivative may notice, nor is anybody warned."""

    def f(x):
        return cr.while_loop(lambda s: s[1] < x, lambda s: (s[0] * x / (2 - s[1]), s[1] + 1), (x, 0))[0]

    xs = np.array([0.5, 1.5, 2.0])
    np.testing.assert_allclose(cr.vmap(f)(xs), [f(x) for x in xs])
    assert np.all(np.isfinite(cr.vmap(cr.grad(f))(xs)))
    with np.errstate(all="raise"):
        np.testing.assert_allclose(cr.vmap(cr.grad(f))(xs), [cr.grad(f)(x) for x in xs])
    poles = np.array([0.5, 2.5])  # the third step divides by zero, for the second example only

    def g(x):
        return cr.while_loop(lambda s: s[1] < np.minimum(x, 2), lambda s: (s[0] / (2 - s[1]), s[1] + 1), (x, 0))[0]

    np.testing.assert_allclose(cr.vmap(cr.grad(g))(poles), [cr.grad(g)(x) for x in poles])


def test_bounds_may_differ_from_example_to_example():
    ns, xs = np.array([0, 3, 1, 7]), np.array([1.1, 0.9, 2.0, 0.5])

    def f(x, n):
        return cr.fori_loop(0, n, lambda i, c: c * x + i, 1.0)

    np.testing.assert_allclose(cr.vmap(f)(xs, ns), [f(x, int(n)) for x, n in zip(xs, ns, strict=True)])
    gradients = [cr.grad(f)(x, int(n)) for x, n in zip(xs, ns, strict=True)]
    np.testing.assert_allclose(cr.vmap(cr.grad(f))(xs, ns), gradients, rtol=1e-13)


def test_scan_under_vmap():
    def f(c, xs, w):
        last, ys = cr.scan(lambda c, x: (np.sin(c) * w + x, c * x), c, xs)
        return last + np.sum(ys)

    cs, xss = X[0], X.T
    for g in (f, cr.grad(f), cr.grad(f, 1), cr.grad(lambda *a: cr.grad(f)(*a), 2)):
        expected = [g(c, xs, 0.7) for c, xs in zip(cs, xss, strict=True)]
        np.testing.assert_allclose(cr.vmap(g, in_axes=(0, 0, None))(cs, xss, 0.7), expected, rtol=1e-12)
    total = cr.vmap(lambda x: cr.scan(lambda c, y: (c + x * y, c), 0.0, np.arange(3.0))[1])(cs)  # batched after a step
    np.testing.assert_allclose(total, np.outer(cs, [0, 0, 1]))


def test_cond():
    def f(x):
        return cr.cond(x > 0, lambda x: {"y": np.sqrt(x)}, lambda x: {"y": x * x}, x)["y"]

    assert f(4.0) == 2.0
    for modes in itertools.chain.from_iterable(itertools.product("rf", repeat=k) for k in (1, 2)):
        g = f
        for mode in modes:
            g = MODES[mode](g)
        xs = np.array([4.0, -3.0, 0.25])
        expected = {1: [0.25, -6, 1.0], 2: [-1 / 32, 2, -2.0]}[len(modes)]
        np.testing.assert_allclose([g(x) for x in xs], expected)
        with np.errstate(all="raise"):
            np.testing.assert_allclose(cr.vmap(g)(xs), expected)
    ran = []
    assert cr.cond(np.True_, lambda: ran.append(1) or 1.0, lambda: ran.append(2) or 2.0) == 1.0
    assert ran == [1]
    w = cr.Tensor(3.0)
    y = cr.vmap(lambda x: cr.cond(x > 0, lambda x: w * x, lambda x: -w, x))(np.array([2.0, -1.0]))
    np.sum(y).backward()
    assert w.grad == 1.0
    with pytest.raises(ConcreteValueError):
        cr.vmap(lambda x: x if x > 0 else -x)(np.array([1.0, -1.0]))
    assert cr.vmap(lambda x: cr.cond(True, np.sin, np.cos, x))(np.zeros(2)).tolist() == [0, 0]


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.integers(0, 4), st.booleans())
def test_programs_of_all_four(xs, depth, reverse):
    """Each example of vmap has the value and gradient it has alone, where the same program runs as plain Python."""

    def program(x, scan, fori_loop, while_loop, cond):
        def step(c, k):
            c = cond(c > k, lambda c: np.sin(c) * x, lambda c: c + np.cos(x) * k, c)
            return fori_loop(0, depth, lambda i, c: c * 0.5 + i * x, c), c * x

        last, ys = scan(step, x, np.array([-1.0, 0.5, 1.0]), reverse=reverse)
        return while_loop(lambda c: abs(c) > 0.1, lambda c: c * 0.4, last) + np.sum(ys)

    def scan(f, c, xs, reverse):
        ys = []
        for x in xs[::-1] if reverse else xs:
            c, y = f(c, x)
            ys.append(y)
        return c, np.stack(ys[::-1] if reverse else ys)

    def fori_loop(lower, upper, body, c):
        for i in range(lower, upper):
            c = body(i, c)
        return c

    def while_loop(more, body, c):
        while more(c):
            c = body(c)
        return c

    def ours(x):
        return program(x, cr.scan, cr.fori_loop, cr.while_loop, cr.cond)

    def plainly(x):
        return program(x, scan, fori_loop, while_loop, lambda p, a, b, *args: a(*args) if p else b(*args))

    xs = np.array(xs)
    expected = [cr.value_and_grad(plainly)(x) for x in xs]
    assert [cr.value_and_grad(ours)(x) for x in xs] == expected
    assert [cr.jvp(plainly, (x,), (1.0,))[1] for x in xs] == pytest.approx([g for _, g in expected], rel=1e-9, abs=1e-9)
    values, gradients = cr.vmap(cr.value_and_grad(ours))(xs)
    close(values, np.array([v for v, _ in expected]), 1e-12)
    close(gradients, np.array([g for _, g in expected]), 1e-12)


# -- what is refused ---------------------------------------------------------------------------------------------------
def test_carries_must_stay_what_they_are():
    xs = np.arange(3.0)
    with pytest.raises(StructureError, match=r"step 0 made \(\*, \*\) of a carry that was \*"):
        cr.scan(lambda c, x: ((c, c), None), 0.0, xs)
    with pytest.raises(StructureError, match=r"begin with a carry of the final shape and dtype \(0.0, not 0\)"):
        cr.scan(lambda c, x: (c + x, None), 0, xs)
    with pytest.raises(StructureError, match=r"step 1 made .*shape"):
        cr.scan(lambda c, x: (np.concatenate([c, c]) if x else c, None), np.zeros(2), xs)
    with pytest.raises(StructureError, match="leaf 1 of the carry"):
        cr.while_loop(lambda c: True, lambda c: (c[0], c[1].astype("f4")), (0.0, np.zeros(2)))
    with pytest.raises(StructureError, match="fori_loop of"):
        cr.fori_loop(0, 2, lambda i, c: [c], 1.0)
    with pytest.raises(StructureError, match="not numeric"):
        cr.fori_loop(0, 2, lambda i, c: c, "text")


def test_other_bad_input_is_named():
    xs = np.arange(3.0)
    with pytest.raises(StructureError, match=r"returns a pair \(carry, y\), but it returned"):
        cr.scan(lambda c, x: c + x, 0.0, xs)
    with pytest.raises(StructureError, match="3 in array 0, 2 in array 1"):
        cr.scan(lambda c, x: (c, None), 0.0, (xs, xs[:2]))
    with pytest.raises(StructureError, match="length=4"):
        cr.scan(lambda c, x: (c, None), 0.0, xs, length=4)
    with pytest.raises(StructureError, match="array 0 of xs has no axis"):
        cr.scan(lambda c, x: (c, None), 0.0, 3.0)
    with pytest.raises(StructureError, match="give xs, or length="):
        cr.scan(lambda c, x: (c, None), 0.0)
    with pytest.raises(StructureError, match=r"step 1 gave a y of shape \(2,\), where steps before gave \(1,\)"):
        cr.scan(lambda c, x: (c, np.zeros(int(x) + 1)), 0.0, xs)
    with pytest.raises(StructureError, match="step 1 gave y="):
        cr.scan(lambda c, x: (c, (x,) if x else x), 0.0, xs)
    with pytest.raises(TypeError, match="upper is"):
        cr.fori_loop(0, 2.5, lambda i, c: c, 0.0)
    with pytest.raises(StructureError, match="not a single truth value"):
        cr.while_loop(lambda c: c > 0, lambda c: c, np.ones(3))
    with pytest.raises(StructureError, match="not a single truth value"):
        cr.cond(xs > 0, np.sin, np.cos, xs)
    with pytest.raises(StructureError, match="the branches return"):
        cr.vmap(lambda x: cr.cond(x > 0, lambda x: (x, x), lambda x: x, x))(xs)
    with pytest.raises(StructureError, match="one shape and dtype"):
        cr.vmap(lambda x: cr.cond(x > 0, lambda x: x, lambda x: np.zeros(2), x))(xs)


# -- nested ----------------------------------------------------------------------------------------------------------
def test_a_gradient_of_a_scan_of_gradients():
    """Gradient descent on (c - a)^2 is c' = c - 2 r (c - a); n steps leave (1 - 2 r)^n of the distance."""
    r, n, c0 = 0.1, 7, 3.0

    def descended(a):
        def step(c, _):
            return c - r * cr.grad(lambda c: (c - a) ** 2)(c), None

        return cr.scan(step, c0, length=n)[0]

    left = (1 - 2 * r) ** n
    assert descended(1.5) == pytest.approx(1.5 + left * (c0 - 1.5))
    for mode in MODES.values():
        assert mode(descended)(1.5) == pytest.approx(1 - left, rel=1e-13)
        for other in MODES.values():
            assert other(mode(lambda a: descended(a) ** 2))(1.5) == pytest.approx(2 * (1 - left) ** 2, rel=1e-12)


if find_spec("jax"):

    def test_the_same_as_jax():
        jax, jnp = import_module("jax"), import_module("jax.numpy")
        jax.config.update("jax_enable_x64", True)

        def program(x, w, lax, xp):
            def step(c, x):
                c = lax.cond(
                    c["n"] % 2 == 0,
                    lambda c: {"y": xp.sin(c["y"]) * w, "n": c["n"] + 1},
                    lambda c: {"y": c["y"] + x, "n": c["n"] + 1},
                    c,
                )
                return c, xp.cos(c["y"])

            last, ys = lax.scan(step, {"y": xp.sum(x), "n": 0}, x, reverse=True)
            y = lax.fori_loop(0, 3, lambda i, y: y * w + i, last["y"])
            return y + xp.sum(ys * x) + lax.cond(y > 0, xp.sin, xp.cos, y)

        def halved(x, lax):
            return lax.while_loop(lambda y: y > 1.0, lambda y: y / 2 + 0.1 * xp_sin[lax](y), x)

        xp_sin = {cr: np.sin, jax.lax: jnp.sin}
        found = []
        for lib, lax, xp in ((cr, cr, np), (jax, jax.lax, jnp)):
            f = lambda x, w, lax=lax, xp=xp: program(x, w, lax, xp)  # noqa: E731
            gradients = lib.grad(f, (0, 1))(X[:, 0], 0.8)
            batched = lib.vmap(lib.grad(f), in_axes=(0, None))(X.T, 0.8)
            second = lib.jvp(lambda x, f=f, lib=lib: lib.grad(f)(x, 0.8), (X[:, 0],), (X[:, 1],))[1]
            xs = np.array([0.5, 3.0, 40.0])
            ends = lib.vmap(lambda x, lax=lax: halved(x, lax))(xs)
            slopes = lib.jvp(lambda x, lib=lib, lax=lax: lib.vmap(lambda x: halved(x, lax))(x), (xs,), (xs,))[1]
            found.append([f(X[:, 0], 0.8), *gradients, batched, second, ends, slopes])
        for a, b in zip(*found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11)
