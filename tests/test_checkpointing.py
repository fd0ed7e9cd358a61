"""checkpoint and checkpoint_chain: the same derivatives, what is kept, how often steps run, random numbers."""

from __future__ import annotations

import functools
import itertools
import pickle
import tracemalloc
import weakref
from importlib import import_module
from importlib.util import find_spec
from math import comb

import numpy as np
import pytest
from oracle import check, check_dtypes, spaced

import chainrule as cr
from chainrule import checkpointing, nn, testing
from chainrule.checkpointing import next_stop
from chainrule.errors import InPlaceError, RecomputationError, StructureError

X = spaced((3, 4), "checkpoint", 0.2, 1.5)


def forward(f):
    return lambda x: cr.jvp(f, (x,), (1.0,))[1]


MODES = {"r": cr.grad, "f": forward}


def f(x, y):
    return np.sin(x * y) * np.exp(-y)


# -- checkpoint ------------------------------------------------------------------------------------------------------
def test_same_value_and_derivatives():
    check(cr.checkpoint(f), [X, X[0]])
    check_dtypes(cr.checkpoint(f), [X.astype("f4"), X.astype("f4")])
    check(cr.checkpoint(f), [spaced((3,), 1, dtype=complex), spaced((3,), 2, dtype=complex)])
    check(cr.checkpoint(lambda x: cr.checkpoint(lambda x: np.sin(x) * x)(x * x) + x), [X])
    for modes in itertools.product("rf", repeat=3):
        g, h = cr.checkpoint(lambda x: f(x, x * x)), (lambda x: f(x, x * x))
        for mode in modes:
            g, h = MODES[mode](g), MODES[mode](h)
        np.testing.assert_allclose(g(0.7), h(0.7), rtol=1e-12)


def test_containers_and_options():
    @cr.checkpoint
    def g(p, name, scale=1.0):
        assert name == "n"
        return {"y": p["w"] * scale, "z": [np.sum(p["w"] * p["x"]), "text", 3]}

    out = g({"w": cr.Tensor(X), "x": 2.0}, "n")
    assert out["z"][1:] == ["text", 3]
    testing.check_grads(
        lambda w, x, s: [g({"w": w, "x": x}, "n", scale=s)["y"] ** 2, g({"w": w, "x": x}, "n")["z"][0]],
        (X[0], X[1], 3.0),
    )


def test_they_pickle_and_keep_their_name():
    for wrapped in (cr.checkpoint(step_of_the_module), cr.checkpoint_chain((step_of_the_module, 3), 2)):
        again = pickle.loads(pickle.dumps(wrapped))
        assert cr.grad(again)(0.4) == cr.grad(wrapped)(0.4) != 0
    assert cr.checkpoint(step_of_the_module).__name__ == "step_of_the_module"

    class Model:
        scale = 3.0

        @cr.checkpoint
        def run(self, x):
            return self.scale * x

    assert cr.grad(Model().run)(1.0) == 3.0


def test_what_looks_at_graphs_sees_a_checkpoint():
    x = cr.Tensor([0.0, 0.5])
    y = np.sum(cr.checkpoint(step_of_the_module)(x) ** 2)
    assert "checkpoint of step_of_the_module" in str(cr.draw(y))
    assert "checkpoint of step_of_the_module" in str(cr.explain(y, x))
    assert cr.sparsity(cr.checkpoint(step_of_the_module), np.ones(3)).nnz == 3  # it traces the function


def step_of_the_module(x):
    return np.sin(x) * x


def test_tensors_from_outside():
    w0, b0 = X[0], X[1]

    def loss(w, b, wrapped):
        def layer(x):
            return np.tanh(x * w + b)

        h = w * b  # made outside as well, and no leaf
        layer = wrapped(layer)
        return np.sum(layer(layer(X) * h) ** 2)

    same = functools.partial(loss, wrapped=lambda g: g)
    checkpointed = functools.partial(loss, wrapped=cr.checkpoint)
    for a, b in zip(cr.grad(same, (0, 1))(w0, b0), cr.grad(checkpointed, (0, 1))(w0, b0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    testing.check_grads(checkpointed, (w0, b0))
    w = cr.Tensor(w0)
    y = cr.checkpoint(lambda x: np.sum(x * w * w))(X)  # nothing but what comes from outside
    y.backward()
    np.testing.assert_allclose(w.grad, 2 * w0 * X.sum(0))
    z = cr.checkpoint(lambda x: w)(X)  # and returned as it is
    np.sum(z * z).backward()
    np.testing.assert_allclose(w.grad, 2 * w0 * X.sum(0) + 2 * w0)


def test_it_is_run_again_and_keeps_its_arguments_only():
    calls, kept = [], []

    @cr.checkpoint
    def g(x):
        calls.append(1)
        h = np.exp(x)
        kept.append(weakref.ref(h))
        return np.sin(h) * h

    x = cr.Tensor(X)
    y = g(x)
    assert len(calls) == 1
    assert kept[0]() is None
    np.sum(y).backward()
    assert len(calls) == 2
    e = np.exp(X)
    np.testing.assert_allclose(x.grad, (np.cos(e) * e + np.sin(e)) * e)
    with pytest.raises(cr.errors.FreedGraphError):
        np.sum(y).backward()
    y = g(x)
    first, second = (cr.vjp(g, X)[1](X)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_constants_and_no_grad():
    w = cr.Tensor(2.0)
    g = cr.checkpoint(lambda x: x * w)
    with cr.no_grad():
        assert g(cr.Tensor(3.0)).node is not None  # made inside
        x = 3.0
        assert g(x).node is None
    y = g(3.0)
    with cr.no_grad():
        y.backward()
    assert w.grad == 3.0
    assert isinstance(cr.checkpoint(np.sin)(1.0), float)


def test_results_have_memory_of_their_own():
    x = cr.Tensor([1.0, 2.0])
    y = cr.checkpoint(lambda x: x)(x)
    y *= 3
    np.testing.assert_array_equal(x.data, [1, 2])
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad, [3, 3])


def test_writing_to_an_argument_is_refused():
    def g(x):
        x += 1
        return x

    x = cr.Tensor([1.0, 2.0])
    with pytest.raises(InPlaceError, match="writes to its argument"):
        cr.checkpoint(g)(x)
    np.testing.assert_array_equal(x.data, [1, 2])

    def h(x):
        x = x.copy()
        x[0] = x[1] * x[1]
        return np.sum(x * x)

    testing.check_grads(cr.checkpoint(h), (np.array([1.0, 2.0]),))


def test_what_is_read_from_outside_need_not_be_kept_there():
    """A linear function keeps nothing, but what becomes of its result depends on the point."""

    def loss(w, wrapped):
        h = w * 2.0
        return np.sum(wrapped(lambda x: np.sin(h) * x)(3.0)) + np.sum(wrapped(lambda x: (h + x) ** 3)(w))

    for modes in itertools.product("rf", repeat=3):
        one, other = functools.partial(loss, wrapped=lambda g: g), functools.partial(loss, wrapped=cr.checkpoint)
        for mode in modes:
            one, other = MODES[mode](one), MODES[mode](other)
        assert other(0.3) == pytest.approx(one(0.3), rel=1e-12), modes


def test_linearize_and_pullbacks_of_many_cotangents():
    def g(x, wrapped):
        h = np.sin(x)
        return wrapped(lambda y: np.cumsum(y * y * h))(x)

    one, other = (functools.partial(g, wrapped=wrapped) for wrapped in (lambda g: g, cr.checkpoint))
    a, b = (cr.linearize(g, X[0])[1](X[1]) for g in (one, other))
    np.testing.assert_allclose(a, b, rtol=1e-13)
    for f in (one, other):
        rows = cr.vmap(cr.vjp(f, X[0])[1])(np.eye(4))[0]
        columns = cr.vmap(cr.linearize(f, X[0])[1])(np.eye(4)).T
        np.testing.assert_allclose(rows, columns, rtol=1e-13)
    second = [cr.linearize(cr.grad(lambda x, f=f: np.sum(f(x) ** 2)), X[0])[1](X[1]) for f in (one, other)]
    np.testing.assert_allclose(*second, rtol=1e-12)


WRAPPINGS = {
    "checkpoint": lambda g: cr.checkpoint(g),
    "chain": lambda g: cr.checkpoint_chain((g, 3), 1),
}


@pytest.mark.parametrize("name", WRAPPINGS)
def test_under_vmap(name):
    wrapped = WRAPPINGS[name]
    plainly = (lambda g: g) if name == "checkpoint" else (lambda g: in_a_row(g, 3))
    w0 = X[1]

    def results(wrapped):
        def of_examples(x, w):
            def g(x):
                return np.sin(x) * w + np.sum(cr.grad(lambda y: np.sum(y**3 * x))(x))

            return wrapped(g)(x)

        batched = cr.vmap(of_examples, in_axes=(0, None))
        yield batched(X, w0)
        yield from cr.vjp(batched, X, w0)[1](X)  # the vmap has returned when the pullback runs
        yield cr.vmap(cr.grad(lambda x: np.sum(of_examples(x, w0) ** 2)))(X)
        yield cr.vmap(cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(of_examples(x, w0) ** 2))(x) ** 2)))(X)
        yield cr.jvp(batched, (X, w0), (X, w0))[1]
        yield cr.grad(lambda w: np.sum(cr.vmap(cr.grad(lambda x: np.sum(of_examples(x, w))))(X) ** 2))(w0)
        yield cr.vmap(lambda w: wrapped(lambda x: x * w)(np.ones(4)))(X)  # only what it reads is batched
        yield cr.vmap(cr.vmap(lambda x, y: wrapped(lambda x: x * y)(x), (None, 0)), (0, None))(X, X[:2])

    for a, b in zip(results(wrapped), results(plainly), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_another_result_the_second_time_is_found():
    count = itertools.count(1)
    g = cr.checkpoint(lambda x: x * next(count))
    with pytest.raises(RecomputationError, match="gave something else"):
        cr.grad(g)(2.0)
    w = cr.Tensor(2.0)
    y = cr.checkpoint(lambda x: x * w)(cr.Tensor(3.0))
    w *= 1
    with pytest.raises(RecomputationError, match="read other Tensors"):
        y.backward()


def test_infinite_and_singular_values():
    def g(x):
        return np.sum(np.where(x > 0, np.sqrt(x), 0.0)) + np.sum(np.log(x))

    x = np.array([0.0, 4.0])
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(cr.grad(cr.checkpoint(g))(x), cr.grad(g)(x))


def noisy(rng):
    return lambda x: np.sum(np.sin(x) * rng.standard_normal(x.shape) * rng.random())


MODULE_RNG = np.random.default_rng(5)


def test_random_numbers_are_drawn_again():
    def same_as_without(make):
        results = []
        for wrapped in (cr.checkpoint, lambda g: g):
            g = wrapped(make())
            results.append(cr.grad(lambda x, g=g: g(x) + 2 * g(x))(X))
        np.testing.assert_allclose(*results)

    same_as_without(lambda: noisy(np.random.default_rng(1)))
    same_as_without(lambda: functools.partial(lambda rng, x: noisy(rng)(x), np.random.default_rng(1)))
    same_as_without(lambda: with_default(np.random.default_rng(1)))
    same_as_without(lambda: legacy(np.random.RandomState(1)))

    def of_the_module():
        MODULE_RNG.bit_generator.state = np.random.default_rng(3).bit_generator.state
        return lambda x: np.sum(x * MODULE_RNG.random(x.shape))

    same_as_without(of_the_module)

    def of_numpy():
        np.random.seed(3)  # noqa: NPY002 (the one that must be found too)
        return lambda x: np.sum(x * np.random.rand(*x.shape))  # noqa: NPY002

    same_as_without(of_numpy)

    class Layer:
        def __init__(self):
            self.parts = [np.random.default_rng(3)]

        def __call__(self, x):
            return noisy(self.parts[0])(x)

    same_as_without(Layer)
    argument = np.random.default_rng(7)
    one = cr.grad(cr.checkpoint(lambda x, rng: noisy(rng)(x)))(X, argument)
    np.testing.assert_array_equal(one, cr.grad(noisy(np.random.default_rng(7)))(X))
    after = np.random.default_rng(7)
    noisy(after)(X)
    assert argument.random() == after.random()  # the backward pass has drawn nothing from it


def with_default(generator):
    def g(x, *, rng=generator):
        return noisy(rng)(x)

    return g


def legacy(rng):
    return lambda x: np.sum(np.sin(x) * rng.standard_normal(x.shape))


@pytest.mark.parametrize("rng", [None, 3, "generator"])
def test_dropout_masks_are_replayed(rng):
    given = np.random.default_rng(3) if rng == "generator" else rng
    masks = []

    def g(x):
        y = nn.dropout(x * 1.0, 0.5, rng=given)
        masks.append(y.data != 0)
        inner = cr.checkpoint(lambda y: nn.dropout(y * y, 0.3, rng=given))
        return inner(y) + nn.dropout(y, 0.2, rng=given)

    x = cr.Tensor(X)
    y = cr.checkpoint(g)(x)
    z = cr.checkpoint(g)(x)
    np.sum(y + z).backward()
    np.testing.assert_array_equal(masks[0], masks[3])
    np.testing.assert_array_equal(masks[1], masks[2])
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Dropout(0.5, rng=1), nn.Linear(8, 1, rng=2))
    np.sum(cr.checkpoint(model)(X)).backward()
    gradients = [p.grad for p in model.parameters()]
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.Dropout(0.5, rng=1), nn.Linear(8, 1, rng=2))
    np.sum(model(X)).backward()
    for a, p in zip(gradients, model.parameters(), strict=True):
        np.testing.assert_allclose(a, p.grad, rtol=1e-13)


# -- checkpoint_chain --------------------------------------------------------------------------------------------------
def least_steps(steps, states):
    """The fewest steps without a record that reverse `steps` steps with so many states: by Bellman's principle."""

    @functools.cache
    def least(n, c):
        if n <= 1:
            return 0
        if c == 1:
            return n * (n - 1) // 2
        return min(m + least(n - m, c - 1) + least(m, c) for m in range(1, n))

    return least(steps, states)


def binomial_steps(steps, states):
    """The same by Griewank's formula."""
    r = 0
    while comb(states + r, states) < steps:
        r += 1
    return r * steps - comb(states + r, states + 1) if r else 0


def test_the_formula_is_the_optimum():
    for steps, states in itertools.product(range(1, 40), range(1, 7)):
        assert binomial_steps(steps, states) == least_steps(steps, states)
        if states > 1 and steps > 1:
            m = next_stop(steps, states)
            rest = least_steps(steps - m, states - 1) + least_steps(m, states)
            assert m + rest == least_steps(steps, states)


class Counted:
    """A step that counts how often it runs."""

    def __init__(self):
        self.runs = 0

    def __call__(self, x):
        self.runs += 1
        return np.sin(x) + 0.1 * x


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 57, 250])
@pytest.mark.parametrize("states", [1, 2, 3, 7, 300])
def test_steps_run_as_often_as_they_must(steps, states):
    step = Counted()
    chain = cr.checkpoint_chain((step, steps), memory=states)
    gradient = cr.grad(lambda x: np.sum(chain(x)))(X)
    # each once more, for its record; and the last one in the forward pass
    assert step.runs == binomial_steps(steps, states) + steps + 1
    expected = cr.grad(lambda x: np.sum(functools.reduce(lambda x, _: step(x), range(steps), x)))(X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


@pytest.mark.parametrize(("steps", "states"), [(100, 5), (30, 1), (9, 20)])
def test_no_more_states_are_kept(steps, states, monkeypatch):
    counts = []
    advanced = checkpointing._Chain._advanced

    def counted(self, number, until, stop, leaves, kept, reads):
        result = advanced(self, number, until, stop, leaves, kept, reads)
        counts.append(len(kept or ()))
        return result

    monkeypatch.setattr(checkpointing._Chain, "_advanced", counted)
    cr.grad(cr.checkpoint_chain((np.sin, steps), states))(0.5)
    assert max(counts) == min(states, steps - 1)  # the one before the last step is worked on


def test_chain_derivatives():
    w0 = spaced((3,), "w", 0.1, 0.5)

    def loss(x, w):
        steps = [
            lambda s, k=k: {"x": np.sin(s["x"]) * w + 0.1 * k, "v": s["v"] + s["x"], "n": s["n"] + 1} for k in range(6)
        ]
        out = cr.checkpoint_chain(steps, memory=2)({"x": x, "v": 0.0 * w0, "n": 0})
        assert out["n"] == 6
        return out["x"] * out["v"]

    testing.check_grads(loss, (w0 + 1, w0), order=3)
    check(lambda x: cr.checkpoint_chain((np.sin, 5), 3)(x), [X])
    check_dtypes(cr.checkpoint_chain((np.sin, 5), 3), [X.astype("f4")])
    w = cr.Tensor(w0)
    y = np.sum(cr.checkpoint_chain((lambda x: x * w, 3), 2)(np.ones(3)))
    y.backward(retain_graph=True)
    np.testing.assert_allclose(w.grad, 3 * w0**2)
    y.backward()  # the states are used up: from the start again
    np.testing.assert_allclose(w.grad, 6 * w0**2)
    assert cr.grad(cr.checkpoint_chain([], 3))(2.0) == 1.0
    assert cr.checkpoint_chain((np.sin, 2), 1)(1.0) == np.sin(np.sin(1.0))


def test_chain_with_random_steps():
    def run(wrapped):
        rng = np.random.default_rng(3)

        def step(x):
            return np.sin(x) + rng.random() * nn.dropout(x, 0.5, rng=rng)

        return cr.grad(lambda x: np.sum(wrapped(step, x)))(X)

    expected = run(lambda step, x: functools.reduce(lambda x, _: step(x), range(20), x))
    for states in (1, 3, 30):
        np.testing.assert_array_equal(run(lambda step, x, c=states: cr.checkpoint_chain((step, 20), c)(x)), expected)
    second = cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(cr.checkpoint_chain((noise(), 9), 2)(x)))(x) ** 2))(X)
    plain = cr.grad(lambda x: np.sum(cr.grad(lambda x: np.sum(in_a_row(noise(), 9)(x)))(x) ** 2))(X)
    np.testing.assert_allclose(second, plain, rtol=1e-10)


def noise():
    rng = np.random.default_rng(4)
    return lambda x: np.sin(x) + 0.1 * x * x * rng.random()


def in_a_row(step, count):
    return lambda x: functools.reduce(lambda x, _: step(x), range(count), x)


def test_memory_in_bytes():
    step = Counted()
    x = np.ones(1000)
    cr.grad(lambda x: np.sum(cr.checkpoint_chain((step, 50), "40 KB")(x)))(x)  # five states of 8000 bytes
    assert step.runs == binomial_steps(50, 5) + 50 + 1
    for memory in (0, "4 KB"):
        with pytest.raises(ValueError, match="does not hold one state"):
            cr.checkpoint_chain((step, 50), memory)(x)
    for memory in ("many", "4 parsecs", "MB"):
        with pytest.raises(ValueError, match="expected a number of states, or a size"):
            cr.checkpoint_chain((step, 50), memory)


def test_bad_chains():
    with pytest.raises(StructureError, match=r"step 0 of a chain made \(\*, \*\) of a state that was \*"):
        cr.checkpoint_chain((lambda x: (x, x), 2), 2)(1.0)
    with pytest.raises(StructureError, match="Begin with a floating-point number there"):
        cr.checkpoint_chain((lambda s: (s[0], s[0] + s[1]), 2), 2)((1.0, 0))
    with pytest.raises(ValueError, match="-1 steps"):
        cr.checkpoint_chain((np.sin, -1), 2)
    with pytest.raises(InPlaceError, match="step 0, under checkpoint, writes to its argument"):
        cr.checkpoint_chain((lambda x: np.add(x, 1, out=x), 2), 2)(np.ones(3))
    with pytest.raises(InPlaceError, match="step 0, under checkpoint, writes to its argument"):
        cr.checkpoint_chain((lambda x: x.__setitem__(0, 3.0) or x, 2), 2)(np.ones(3))
    with pytest.raises(StructureError, match=r"leaf 0 of the state, which had shape \(2,\) and dtype float64"):
        cr.checkpoint_chain((lambda x: x[:1], 2), 2)(np.ones(2))
    with pytest.raises(StructureError, match=r"dtype complex128.*of leaf 0 of the state"):
        cr.checkpoint_chain((lambda x: 1j * x, 2), 2)(np.ones(2))
    count = itertools.count(1)
    with pytest.raises(RecomputationError):
        cr.grad(cr.checkpoint_chain((lambda x: x * next(count), 3), 1))(1.0)


def test_forward_mode_of_a_long_chain_keeps_nothing():
    chain = cr.checkpoint_chain((lambda x: np.sin(x) * 1.001, 2000), 2)
    _, tangent = cr.jvp(chain, (0.5,), (1.0,))
    assert cr.grad(chain)(0.5) == pytest.approx(tangent, rel=1e-10)


def peak(function, *args):
    """The most memory that Python and NumPy hold at a time while a function runs, beyond what they held before."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = function(*args)
        return result, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_a_hundred_thousand_steps_within_a_budget():
    """After n steps of x -> x**c, x is x0**(c**n)."""
    count, c, x0 = 100_000, 1 + 1e-5, np.linspace(0.5, 1.5, 1000)
    chain = cr.checkpoint_chain((lambda x: x**c, count), "4 MB")
    gradient, most = peak(cr.grad(lambda x: np.sum(chain(x))), x0)
    assert most < 4_400_000  # 500 states, and some Python for each; recording all steps keeps 800 MB of states
    np.testing.assert_allclose(gradient, c**count * x0 ** (c**count - 1), rtol=1e-9)


def test_forward_mode_keeps_one_state():
    x0 = np.linspace(0.1, 0.9, 10_000)
    chain = cr.checkpoint_chain((np.sin, 200), 2)
    w = cr.Tensor(np.full(10_000, 0.9))
    (_, tangent), most = peak(cr.jvp, chain, (x0,), (x0,))
    assert most < 20 * x0.nbytes
    plain = cr.jvp(in_a_row(np.sin, 200), (x0,), (x0,))[1]
    np.testing.assert_array_equal(tangent, plain)
    assert cr.jvp(cr.checkpoint_chain((lambda x: x * w, 2), 1), (x0,), (x0,))[1].node is not None  # depends on w


@pytest.mark.parametrize("modes", ["rf", "fr", "rr", "ff", "rfr", "frf"])
def test_orders_of_a_chain(modes):
    def g(x, run):
        h = np.sin(x)
        return run(lambda s: np.sin(s) * h + 0.1 * s * s, x)

    chained = functools.partial(g, run=lambda step, x: cr.checkpoint_chain((step, 5), 2)(x))
    plainly = functools.partial(g, run=lambda step, x: in_a_row(step, 5)(x))
    for mode in modes:
        chained, plainly = MODES[mode](chained), MODES[mode](plainly)
    assert chained(0.8) == pytest.approx(plainly(0.8), rel=1e-11)


if find_spec("jax"):

    def test_checkpoint_is_that_of_jax():
        jax, jnp = import_module("jax"), import_module("jax.numpy")
        jax.config.update("jax_enable_x64", True)
        results = []
        for lib, xp in ((cr, np), (jax, jnp)):

            def g(x, w, lib=lib, xp=xp):
                layer = lib.checkpoint(lambda x: xp.tanh(x * w) + xp.sin(x))
                return xp.sum(layer(layer(x)) ** 2)

            hessian = lib.grad(lambda x, g=g, lib=lib, xp=xp: xp.sum(lib.grad(g)(x, X[0]) ** 2))(X)
            tangent = lib.jvp(lambda x, g=g, lib=lib: lib.grad(g)(x, X[0]), (X,), (X,))[1]
            results.append(np.stack([*lib.grad(g, argnums=(0,))(X, X[0]), hessian, tangent]))
        np.testing.assert_allclose(*results, rtol=1e-10)


def test_memory_is_a_number_of_states():
    with pytest.raises(TypeError, match="integer"):
        cr.checkpoint_chain((np.sin, 10), memory=2.5)
