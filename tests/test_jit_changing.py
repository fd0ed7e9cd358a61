"""What jitted functions change outside: models that are trained, counters, states; as without `jit`, and compiled."""

from __future__ import annotations

import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_jit import normal

import chainrule as cr
from chainrule import Tensor, nn, optim
from chainrule.errors import FreedGraphError, UntraceableWarning
from chainrule.tree import flatten

# A function, what it changes (to look at), and what happens before call number i.
World = tuple[Callable[[Any], Any], Callable[[], Any], Callable[[int], Any]]


def nothing(_: int) -> None:
    pass


def of(**attributes: Any) -> Any:
    return SimpleNamespace(**attributes)


def swapping() -> World:
    o = of(a=np.ones(3), b=np.zeros(3))

    def f(x: Any) -> Any:
        o.a, o.b = o.b + x, o.a
        return o.a * 2

    return f, lambda: [o.a, o.b], nothing


def list_of_parameters() -> World:
    parameters = [np.ones(3), np.zeros(3)]

    def f(x: Any) -> Any:
        nonlocal parameters
        parameters = [p - 0.1 * x for p in parameters]
        return parameters[0] + parameters[1]

    return f, lambda: parameters, nothing


def functional_descent() -> World:
    parameters = {"w": np.ones(3), "b": np.float64(0)}

    def f(x: Any) -> Any:
        nonlocal parameters
        gradient = cr.grad(lambda p: np.sum((p["w"] * x + p["b"]) ** 2))(parameters)
        parameters = {name: p - 0.1 * gradient[name] for name, p in parameters.items()}
        return parameters["b"]

    return f, lambda: parameters, nothing


def flag() -> World:
    o = of(first=True, mean=None)

    def f(x: Any) -> Any:
        o.mean = x * 1.0 if o.first else 0.9 * o.mean + x
        o.first = False
        return np.sum(o.mean)

    return f, lambda: [o.mean], nothing


def a_view_of_what_is_written_to() -> World:
    a = np.ones(3)
    o = of(a=a, view=a[1:])

    def f(x: Any) -> Any:
        o.a *= 0.9
        o.a += x
        return np.sum(o.view) + o.a[0]

    return f, lambda: [o.a, o.view], nothing


def every_third_time() -> World:
    o = of(n=0, h=np.zeros(3))

    def f(x: Any) -> Any:
        o.n += 1
        o.h = o.h + x
        if o.n % 3 == 0:
            o.h = o.h * 0
        return o.h * o.n

    return f, lambda: [o.h, np.array(o.n)], nothing


def a_decision_after_a_write() -> World:
    o = of(h=np.zeros(3))

    def f(x: Any) -> Any:
        o.h += x
        if x[0] > 0:
            o.h *= 2
        o.h -= 1
        return o.h.copy()

    return f, lambda: [o.h], nothing


def a_schedule() -> World:
    o = of(rate=0.1, w=np.ones(3))

    def f(x: Any) -> Any:
        o.w -= o.rate * x
        return np.sum(o.w)

    return f, lambda: [o.w], lambda i: setattr(o, "rate", 0.1 / (1 + i))


def a_batch_that_is_put_there() -> World:
    o = of(batch=np.zeros(3))
    return lambda x: x * o.batch, lambda: [o.batch], lambda i: setattr(o, "batch", normal(3, seed=i))


def numbers_in_a_tuple() -> World:
    o = of(pair=(1, np.zeros(3)), same=None)

    def f(x: Any) -> Any:
        o.pair = o.pair[0] + 1, o.pair[1] + x
        o.same = o.pair[1]
        return o.pair[1] * o.pair[0]

    return f, lambda: [o.pair[1], o.same], nothing


def an_argument_that_is_kept() -> World:
    o = of(x=np.zeros(3))

    def f(x: Any) -> Any:
        before, o.x = o.x, x
        return before * 2

    return f, lambda: [o.x], nothing


def one_array_in_two_places() -> World:
    a = np.ones(3)
    o = of(a=a, b=a)

    def f(x: Any) -> Any:
        o.a = o.a + x
        return o.a * o.b

    return f, lambda: [o.a, o.b], nothing


def entries_that_are_made() -> World:
    d: dict[str, Any] = {}

    def f(x: Any) -> Any:
        d["n"] = d.get("n", 0) + 1
        d["sum"] = d.get("sum", 0.0) + x
        return d["sum"] / d["n"]

    return f, lambda: [d["sum"]] if d else [], nothing


def the_best_so_far() -> World:
    o = of(best=np.inf, where=None)

    def f(x: Any) -> Any:
        value = np.sum(x**2)
        if value < o.best:
            o.best, o.where = value, x.copy()
        return o.best

    return f, lambda: [o.where], nothing


def an_attribute_of_the_class() -> World:
    class Cell:
        h = np.ones(3)

        def __call__(self, x: Any) -> Any:
            self.h = self.h * 0.5 + x
            return np.sum(self.h)

    cell = Cell()
    return cell, lambda: [cell.h], nothing


def a_global() -> World:
    def f(x: Any) -> Any:
        global steps
        steps += 1
        return x * steps

    world = {"__name__": "world", "steps": 0}
    return types.FunctionType(f.__code__, world), lambda: [np.array(world["steps"])], nothing


def drawing() -> World:
    rng = np.random.default_rng(0)
    return lambda x: x + rng.normal(size=3), lambda: [rng.bit_generator.random_raw(3)], nothing


def by_hand() -> World:
    w = Tensor(np.ones(3))

    def f(x: Any) -> Any:
        loss = np.sum((w * x) ** 2)
        loss.backward()
        w.data -= 0.1 * w.grad
        w.grad = None
        return loss.item()

    return f, lambda: [w.data], nothing


def gradients_that_add_up() -> World:
    w = Tensor(np.ones(3))

    def f(x: Any) -> Any:
        loss = np.sum((w * x) ** 2)
        loss.backward()
        return loss.data

    return f, lambda: [w.grad], nothing


def training(make: Callable[[Any], Any], dtype: Any = np.float64, *more: Any) -> World:
    net = nn.Sequential(nn.Linear(3, 5, rng=0, dtype=dtype), nn.Tanh(), *more, nn.Linear(5, 2, rng=2, dtype=dtype))
    optimizer = make(net.parameters())

    def f(x: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.mse_loss(net(x[None].astype(dtype)), np.ones((1, 2), dtype))
        loss.backward()
        optimizer.step()
        return loss

    def state() -> Any:
        kept = [each[name] for each in optimizer.state for name in each if name != "steps"]
        return [p.data for p in net.parameters()], [p.grad for p in net.parameters()], kept

    def change(i: int) -> None:
        net.train(i % 5 != 3)
        if i == 6:
            net.load_state_dict({name: 0.5 * value for name, value in net.state_dict().items()})
            optimizer.lr *= 0.5

    return f, state, change


def numbers() -> World:
    w, b = Tensor(2.0), Tensor(np.zeros(3))
    optimizer = optim.Adam([w, b], lr=0.1)

    def f(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.sum((w * x + b) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    return f, lambda: [w.data, b.data, w.grad, b.grad], nothing


WORLDS: dict[str, Callable[[], World]] = {
    make.__name__: make
    for make in (
        swapping,
        list_of_parameters,
        functional_descent,
        flag,
        a_view_of_what_is_written_to,
        every_third_time,
        a_decision_after_a_write,
        a_schedule,
        a_batch_that_is_put_there,
        numbers_in_a_tuple,
        an_argument_that_is_kept,
        one_array_in_two_places,
        entries_that_are_made,
        the_best_so_far,
        an_attribute_of_the_class,
        a_global,
        drawing,
        by_hand,
        gradients_that_add_up,
        numbers,
    )
} | {
    "SGD": lambda: training(lambda p: optim.SGD(p, lr=0.1)),
    "SGD with momentum": lambda: training(lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True)),
    "Adam": lambda: training(lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1)),
    "AdamW with dropout": lambda: training(lambda p: optim.AdamW(p, lr=0.01), np.float64, nn.Dropout(0.5, rng=1)),
    "float32": lambda: training(lambda p: optim.SGD(p, lr=0.1, momentum=0.5), np.float32, nn.Dropout(0.2, rng=1)),
}


@pytest.mark.parametrize("exact", [True, False], ids=["exact", ""])
@pytest.mark.parametrize("name", WORLDS)
def test_what_is_changed_outside_is_changed_by_the_program(
    name: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (f, state, change), (g, state_too, change_too) = WORLDS[name](), WORLDS[name]()
    jitted = cr.jit(g, exact=exact)
    for i in range(18):
        change(i)
        change_too(i)
        if i == 17:  # the program does it all
            monkeypatch.setattr(jitted, "_trace", None)
            monkeypatch.setattr(jitted, "_checked", None)
        for ours, theirs in ((jitted(normal(3, seed=i)), f(normal(3, seed=i))), (state_too(), state())):
            near(ours, theirs, exact)
    assert not jitted.given_up
    assert len(jitted.variants) <= 6
    assert not jitted._refused


def near(a: Any, b: Any, exact: bool) -> None:
    (ours, _, form), (theirs, _, other) = flatten(a), flatten(b)
    assert form == other
    for x, y in zip(ours, theirs, strict=True):
        assert type(x) is type(y)
        x, y = (np.asarray(t.data if isinstance(t, Tensor) else t) for t in (x, y))
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        tolerance = 0 if exact else 1e4 * np.finfo(y.dtype).eps if y.dtype.kind == "f" else 0
        np.testing.assert_allclose(x, y, tolerance, tolerance)


def test_a_compiled_step_returns_a_tensor_whose_graph_was_freed() -> None:
    f, _, _ = training(lambda p: optim.SGD(p, lr=0.1))
    jitted = cr.jit(f)
    for seed in range(6):
        loss = jitted(normal(3, seed=seed))
        with pytest.raises(FreedGraphError):
            loss.backward()


def test_a_result_with_history_is_not_compiled() -> None:
    w = Tensor(np.ones(3))

    def f(x: Any) -> Any:
        loss = np.sum((w * x) ** 2)
        loss.backward(retain_graph=True)
        return loss

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="a Tensor with history"):
        for i in range(1, 7):
            jitted(np.ones(3))
            np.testing.assert_array_equal(w.grad, 2.0 * i * np.ones(3))
    assert not jitted.variants


def step(net: Any, optimizer: Any, x: Any) -> Any:
    optimizer.zero_grad()
    loss = np.sum(net(x) ** 2)
    loss.backward()
    optimizer.step()
    return loss.data


class Trainer:
    def __init__(self) -> None:
        self.net = nn.Linear(3, 2, rng=0)
        self.optimizer = optim.Adam(self.net.parameters(), lr=0.1)

    @cr.jit
    def step(self, x: Any) -> Any:
        return step(self.net, self.optimizer, x)


def test_the_model_may_be_an_argument_or_self() -> None:
    jitted, (a, b, c) = cr.jit(step), (Trainer() for _ in range(3))
    for seed in range(8):
        x = normal(4, 3, seed=seed)
        expected = step(a.net, a.optimizer, x)
        near(jitted(b.net, b.optimizer, x), expected, exact=False)
        near(c.step(x), expected, exact=False)
    assert len(jitted.variants) == 1
    assert not Trainer.__dict__["step"].given_up


def test_an_error_leaves_what_it_leaves_without_jit() -> None:
    def make() -> Any:
        o = of(h=np.eye(2), n=0)

        def f(x: Any) -> Any:
            o.n += 1
            o.h += x
            return np.linalg.inv(o.h)

        return f, o

    (f, a), (g, b) = make(), make()
    jitted = cr.jit(g)
    for i in range(12):
        x = -a.h if i % 4 == 3 else normal(2, 2, seed=i)
        raised = []
        for h in (f, jitted):
            try:
                h(x.copy())
            except np.linalg.LinAlgError as error:
                raised.append(str(error))
        assert len(raised) == 2 * (i % 4 == 3)
        assert a.n == b.n
        np.testing.assert_array_equal(a.h, b.h)


def test_what_a_step_changes_may_be_changed_between_calls() -> None:
    """A gradient set to None or to another array, a parameter put there anew, another form of it."""
    (f, a), (g, b) = ((lambda x, t=t: step(t.net, t.optimizer, x), t) for t in (Trainer(), Trainer()))
    jitted = cr.jit(g)
    for i in range(24):
        for trainer in (a, b):
            weight = trainer.net.weight
            if i % 3 == 1:
                weight.grad = None if i % 2 else np.ones((2, 3))
            if i % 5 == 4:
                weight.data = np.asfortranarray(weight.data) if i == 9 else weight.data.copy()
            if i == 12:
                trainer.net.bias.data = trainer.net.bias.data * 0
            if i == 17:
                trainer.optimizer.load_state_dict(trainer.optimizer.state_dict())
        x = normal(4 + i // 12, 3, seed=i)
        near(jitted(x), f(x), exact=False)
        near([p.data for p in b.net.parameters()], [p.data for p in a.net.parameters()], exact=False)
        near([p.grad for p in b.net.parameters()], [p.grad for p in a.net.parameters()], exact=False)
    assert not jitted.given_up


def test_a_list_that_grows_runs_without_jit() -> None:
    o, log = of(w=np.ones(3)), []

    def f(x: Any) -> Any:
        o.w -= 0.1 * x
        log.append(o.w[0])
        return np.sum(o.w)

    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="it changes a list, which comes from outside, in every call") as caught:
        for _ in range(6):
            jitted(np.ones(3))
    assert len(caught) == 1
    np.testing.assert_allclose(log, 1 - 0.1 * np.arange(1, 7))
    np.testing.assert_allclose(o.w, 0.4)


def test_the_update_is_one_kernel_that_writes_to_the_parameters() -> None:
    pytest.importorskip("llvmlite")
    trainer = Trainer()
    for i in range(6):
        trainer.step(normal(4, 3, seed=i))
    source = Trainer.__dict__["step"].source(trainer, normal(4, 3))
    update = source[source.index("# optimizer.step()") :]
    assert "subtract(data, " in update
    assert "np.multiply(" not in source
    assert "node.grad = " in update


def test_other_threads_see_no_half_of_a_step() -> None:
    """Steps of several threads add up, as each is one after the other."""
    o, lock = of(n=0, h=np.zeros(3)), threading.Lock()

    def f(x: Any) -> Any:
        o.n += 1
        o.h = o.h + x
        return o.h

    jitted = cr.jit(f)

    def run(_: int) -> None:
        with lock:
            jitted(np.ones(3))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(100)))
    assert o.n == 100
    np.testing.assert_array_equal(o.h, 100 * np.ones(3))
