"""What jitted functions read from outside and change there: as without `jit`, whatever happens between two calls."""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import inspect
import linecache
import os
import sys
import threading
import types
from array import array
from collections import ChainMap, UserDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_jit import assert_same, normal

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import UntraceableWarning

World = tuple[Callable[[Any], Any], Callable[[int], Any]]
factor = 1.0


class Constants:
    rate = 2.0
    weights = np.ones(3)


class Layer:
    rate = 2.0

    @property
    def doubled(self) -> Any:
        return self.rate * 2

    def __call__(self, x: Any) -> Any:
        return x * factor

    def step(self, x: Any) -> Any:
        return x * self.doubled

    @functools.cached_property
    def table(self) -> Any:
        return np.arange(3.0)


class Slotted:
    __slots__ = ("rate",)


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass
class Box:
    value: Any

    def scaled(self) -> Any:
        return self.value * factor


def set_factor(i: int) -> None:
    global factor
    factor = 1.0 + i


def module() -> Any:
    made = types.ModuleType("settings_of_a_test")
    sys.modules[made.__name__] = made
    made.rate = 1.0  # type: ignore[attr-defined]
    made.function = np.sin  # type: ignore[attr-defined]
    return made


def of_object(x: Any) -> World:
    return lambda v: v * x.rate, lambda i: setattr(x, "rate", 1.0 + i)


def of_container(x: Any, key: Any) -> World:
    return lambda v: v * x[key], lambda i: x.__setitem__(key, 1.0 + i)


def of_array(use: Callable[[Any, Any], Any], a: Any = None) -> World:
    """Something done with an array that is written to between calls."""
    a = np.ones(3) if a is None else a
    return lambda v: use(v, a), lambda i: a.__setitem__(1, (-1.0) ** i * (1 + i))


def of_function() -> World:
    first = np.ones(3), [1.0]

    def f(x: Any, table: Any = first, *, rate: float = 1.0) -> Any:
        return x * table[0] * table[1][0] * rate * f.power * f.__defaults__[0][1][0]  # type: ignore[attr-defined,index]

    def change(i: int) -> None:
        f.power = 1.0 + i  # type: ignore[attr-defined]
        f.__kwdefaults__ = {"rate": 1.0 + i}
        f.__defaults__[0][0][1] += i  # type: ignore[index]
        f.__defaults__[0][1][0] += i  # type: ignore[index]

    f.power = 1.0  # type: ignore[attr-defined]
    return f, change


def of_method() -> World:
    class Patched:
        def step(self, x: Any) -> Any:
            return x * 2

    def change(i: int) -> None:
        Patched.step = lambda self, x: x * i  # type: ignore[method-assign,assignment]

    patched = Patched()
    return lambda x: patched.step(x), change


def of_code() -> World:
    f = lambda x: x * 2  # noqa: E731
    others = (lambda x: x * 3), (lambda x: x * 4)

    def change(i: int) -> None:
        f.__code__ = others[i % 2].__code__

    return lambda x: f(x), change


def of_attribute_that_was_not_there() -> World:
    thing = types.SimpleNamespace()
    return lambda x: x * getattr(thing, "rate", 0.5), lambda i: setattr(thing, "rate", 1.0 + i)


def of_module_function() -> World:
    made = module()
    return lambda x: made.function(x), lambda i: setattr(made, "function", np.cos if i % 2 else np.exp)


def of_class() -> World:
    def change(i: int) -> None:
        Constants.rate = 1.0 + i
        Constants.weights[1] = i

    return lambda x: x * Constants.rate * (Constants.weights * 2), change


def of_base_class() -> World:
    class Derived(Layer):
        pass

    return Derived().step, lambda i: setattr(Layer, "rate", 1.0 + i)


def of_set() -> World:
    numbers = {1.0}
    return lambda x: x * max(numbers), lambda i: numbers.add(2.0 + i)


def of_order() -> World:
    numbers = {"a": 1.0, "b": 2.0}
    return (
        lambda x: functools.reduce(lambda a, b: a * 10 + b, numbers.values(), x),
        lambda i: numbers.update(a=numbers.pop("a")) if i % 2 else numbers.update(b=numbers.pop("b")),
    )


def of_proxy() -> World:
    shown = {"rate": 1.0, "table": np.ones(3)}
    proxy = types.MappingProxyType(shown)
    return lambda x: x * proxy["rate"] + np.sum(proxy["table"]), lambda i: shown.update(
        rate=2.0 + i, table=np.full(3, i)
    )


def of_text() -> World:
    names = np.array(["a", "b", "c"])
    return lambda x: x * len("".join(names)), lambda i: names.__setitem__(0, "" if i % 2 else "a")


def of_dates() -> World:
    days, day = np.array(["2020-01-01", "2020-01-02"], "M8[D]"), np.timedelta64(1, "D")
    return lambda x: x * np.diff(days).astype(float), lambda i: days.__setitem__(1, days[1] + (1 + i) * day)


def of_records() -> World:
    rows = np.ones(2, [("a", "f8"), ("b", "i4")])
    return lambda x: x * rows["a"].sum(), lambda i: rows["a"].__setitem__(1, i)


def of_objects() -> World:
    weights = np.empty(2, object)
    weights[:] = [np.ones(3), 2.0]

    def change(i: int) -> None:
        weights[0][1] += 1
        weights[1] = weights[1] + i

    return lambda x: x * weights[0] * weights[1] + np.sum(weights[0]), change


def of_mask() -> World:
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])

    def change(i: int) -> None:
        masked[i] = np.ma.masked if i % 2 else 5.0

    return lambda x: x * masked.filled(7.0), change


def of_memory(numbers: Any) -> World:
    return lambda x: x * numbers[1], lambda i: numbers.__setitem__(1, 3 + i)


def of_lock() -> World:
    table = np.ones(3)
    table.flags.writeable = False

    def change(i: int) -> None:
        table.flags.writeable = True
        table[1] += i + 1

    return lambda x: x * np.exp(table), change


def of_attribute_by_name() -> World:
    class Rates:
        slow = fast = 1.0

    named = {"which": "slow"}
    return lambda x: x * getattr(Rates, named["which"]), lambda i: setattr(Rates, "slow", 2.0 + i)


def of_metaclass() -> World:
    class Meta(type):
        @property
        def rate(cls) -> Any:
            return cls.hidden  # type: ignore[attr-defined]

    class Rates(metaclass=Meta):
        hidden = 1.0

    return lambda x: x * Rates.rate, lambda i: setattr(Rates, "hidden", 2.0 + i)


def of_library() -> World:
    Model = type("Model", (), {"__module__": "scipy.test"})
    model: Any = Model()
    model.mean_ = np.ones(3)

    def change(i: int) -> None:
        if i % 2:
            model.mean_ = np.full(3, i)
        model.mean_[0] += 1

    return lambda x: x - model.mean_ * np.sum(model.mean_), change


def of_tensor() -> World:
    t = cr.Tensor(np.ones(3)).detach()
    return lambda x: (x * (t * 2)).data * 1.0, lambda i: t.data.__setitem__(1, i)


def plainly(x: Any, a: Any) -> Any:
    matrix = np.zeros((3, 3))
    matrix[0, 1] = a[1]
    matrix[1] = a
    return matrix @ x + np.asarray(a * 2) + {1.0: 5, 2.0: 7}.get(a[0], 9)


WORLDS: dict[str, Callable[[], World]] = {
    "a namespace": lambda: of_object(types.SimpleNamespace(rate=1.0)),
    "options of a command": lambda: of_object(argparse.Namespace(rate=1.0)),
    "a module": lambda: of_object(module()),
    "slots": lambda: of_object(_slotted()),
    "a key that is no text": lambda: of_container({(1, 2): 1.0}, (1, 2)),
    "a deque": lambda: of_container(deque([1.0, 2.0]), 1),
    "a set": of_set,
    "a dictionary of one's own": lambda: of_container(UserDict(rate=1.0), "rate"),
    "several dictionaries": lambda: of_container(ChainMap({}, {"rate": 1.0}), "rate"),
    "a dictionary that is shown": of_proxy,
    "what a thread has": lambda: of_object(_threads_own()),
    "text": of_text,
    "dates": of_dates,
    "records": of_records,
    "an array of objects": of_objects,
    "a mask": of_mask,
    "an array that is not NumPy's": lambda: of_memory(array("d", [1.0, 2.0])),
    "bytes": lambda: of_memory(bytearray(b"abc")),
    "an array that nobody could write to": of_lock,
    "an attribute whose name is a text": of_attribute_by_name,
    "a property of a class": of_metaclass,
    "what hangs on an object of a library": of_library,
    "the order of a dictionary": of_order,
    "defaults and attributes of the function": of_function,
    "a method of a class": of_method,
    "the code of a function": of_code,
    "an attribute that was not there": of_attribute_that_was_not_there,
    "a function of a module": of_module_function,
    "attributes of a class": of_class,
    "attributes of a base class": of_base_class,
    "a global read by a method": lambda: (Layer().__call__, set_factor),
    "a global read by a method of an argument": lambda: (lambda x: _scaled(Box(x)), set_factor),
    "an array": lambda: of_array(lambda x, a: x * a),
    "an array, computed with alone": lambda: of_array(lambda x, a: x @ np.linalg.inv(np.outer(a, a) + np.eye(3))),
    "an array, decided by": lambda: of_array(lambda x, a: x * 2 if a[1] > 0 else x * 3),
    "an array, numbers of it": lambda: of_array(lambda x, a: x * float(a[1]) + a.tolist()[1] + np.sum(a) + int(a[1])),
    "an array, written to plain ones": lambda: of_array(plainly),
    "an array, returned": lambda: of_array(lambda x, a: (x + a, a[1:] * 1, a.copy())),
    "an array in a tuple": lambda: of_array(lambda x, a, pair=None: x * (pair or (a,))[0], np.ones(3)),
    "a Tensor": of_tensor,
}


def _threads_own() -> Any:
    x = threading.local()
    x.rate = 1.0
    return x


def _slotted() -> Any:
    x = Slotted()
    x.rate = 1.0
    return x


def _scaled(box: Any) -> Any:
    return box.scaled()


@pytest.mark.parametrize("exact", [True, False], ids=["exact", ""])
@pytest.mark.parametrize("name", WORLDS)
def test_what_is_read_may_change_between_calls(name: str, exact: bool) -> None:
    (f, change), (same, change_too) = WORLDS[name](), WORLDS[name]()
    jitted = cr.jit(f, exact=exact)
    for i in range(3):
        for seed in range(3):
            expected = same(normal(3, seed=seed))
            assert_same(jitted(normal(3, seed=seed)), expected, exact)
        change(i)
        change_too(i)
    assert not jitted.given_up
    assert not jitted._refused


def test_methods_of_arguments() -> None:
    set_factor(0)
    jitted = cr.jit(lambda box: box.scaled())
    for i in range(3):
        set_factor(i)
        for _ in range(3):
            assert_same(jitted(Box(normal(3))), normal(3) * factor)


def test_arrays_that_are_read_are_inputs() -> None:
    """Also where plain NumPy computes with them; of those that nobody can write to, what comes of them is kept."""
    a, fixed = np.ones(3), np.ones(3)
    fixed.flags.writeable = False
    jitted = cr.jit(lambda x: x + np.exp(a) + np.exp(fixed))
    for i in range(20):
        a[:] = i
        np.testing.assert_allclose(jitted(normal(3)), normal(3) + np.exp(i) + np.exp(1))
    assert len(jitted.variants) == 1
    source = cr.jit(jitted.f).source(normal(3))
    assert sum("np.exp(" in line and "#" not in line for line in source.splitlines()) == 1


# -- what is changed -----------------------------------------------------------------------------------------------
def noting() -> Any:
    log: list[Any] = []

    def f(x: Any) -> Any:
        log.append({"sum": np.sum(x), "pair": (x, [x * 2])})
        return sum(each["sum"] for each in log), log[0]["pair"][1][0]

    return f


def drawing() -> Any:
    rng = np.random.RandomState(0)
    return lambda x: x + rng.normal(size=3)


def going_on() -> Any:
    numbers = iter(range(100))
    return lambda x: x + next(numbers)


CHANGING = {
    "a list": (noting, "it changes a list"),
    "a generator of random numbers": (drawing, "it draws from a RandomState"),
    "an iterator": (going_on, "it takes from an iterator, 'numbers' of the function around it"),
}


@pytest.mark.parametrize("name", CHANGING)
def test_what_is_changed_is_changed_once_in_each_call(name: str) -> None:
    make, said = CHANGING[name]
    f, jitted = make(), cr.jit(make())
    with pytest.warns(UntraceableWarning, match=said) as caught:
        for seed in range(6):
            assert_same(jitted(normal(3, seed=seed)), f(normal(3, seed=seed)))
    assert len(caught) == 1


def put_new(p: Any, x: Any) -> Any:
    p["w"] = p["w"] * 0.5 + x
    return np.sum(p["w"])


def move(box: Any, x: Any) -> Any:
    box.value = box.value + x
    return box.value * 2


def sort(numbers: Any, x: Any) -> Any:
    numbers.sort(key=float)
    return numbers[0] * x


CHANGED: dict[str, tuple[Callable[..., Any], Callable[[], Any]]] = {
    "an entry": (put_new, lambda: {"w": normal(3)}),
    "an attribute of a dataclass": (move, lambda: Box(normal(3))),
    "the order of a list": (sort, lambda: [np.float64(3), np.float64(2)]),
    "the length of a list": (lambda p, x: p.append(x), lambda: [normal(2)]),
    "the keys": (lambda p, x: p.pop("w") * x, lambda: {"w": normal(3), "v": 1}),
    "a container inside": (lambda p, x: put_new(p[0]["a"], x), lambda: ({"a": {"w": normal(3)}},)),
}


@pytest.mark.parametrize("name", CHANGED)
def test_containers_that_are_changed(name: str) -> None:
    f, make = CHANGED[name]
    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="it changes a container that it is given") as caught:
        for _ in range(4):
            ours, theirs = make(), make()
            assert_same(jitted(ours, normal(3)), f(theirs, normal(3)))
            assert_same(ours, theirs)
    assert len(caught) == 1


def test_arrays_in_containers_are_written_to() -> None:
    def f(p: Any, x: Any) -> None:
        p["w"] -= 0.1 * x
        p["box"].value[1:] += x[:-1]

    jitted = cr.jit(f)
    for _ in range(4):
        ours, theirs = ({"w": normal(3), "box": Box(normal(3))} for _ in range(2))
        jitted(ours, normal(3))
        f(theirs, normal(3))
        assert_same(ours, theirs)
    assert len(jitted.variants) == 1


def test_filling_a_cache_is_no_change_in_every_call() -> None:
    layer, cache = Layer(), {}

    def f(x: Any) -> Any:
        if "sin" not in cache:
            cache["sin"] = np.sin(x)
        return x * layer.table + cache["sin"]

    jitted = cr.jit(f)
    for seed in range(5):
        assert_same(jitted(normal(3, seed=seed)), normal(3, seed=seed) * np.arange(3.0) + np.sin(normal(3)))
    assert type(cache["sin"]) is np.ndarray
    assert len(jitted.variants) == 1


def test_results_in_objects_that_are_no_containers() -> None:
    class State:
        def __init__(self, x: Any) -> None:
            self.x = x

    jitted = cr.jit(lambda x: State(x * 2))
    with pytest.warns(UntraceableWarning, match="the result has arrays in a State"):
        found = [jitted(normal(3, seed=seed)).x for seed in range(3)]
    for seed in range(3):
        assert_same(found[seed], normal(3, seed=seed) * 2)


def turns(x: Any) -> Any:
    yield from (x * i for i in range(3))


async def later(x: Any) -> Any:
    return x * 2


def waited_for(found: Any) -> Any:
    return asyncio.run(found) if inspect.iscoroutine(found) else list(found)


@pytest.mark.parametrize("f", [turns, later, lambda x: map(lambda i: x * i, range(3))])  # noqa: C417
def test_results_that_do_their_work_later(f: Any) -> None:
    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match="which does its work after the call") as caught:
        for seed in range(3):
            assert_same(waited_for(jitted(normal(3, seed=seed))), waited_for(f(normal(3, seed=seed))))
    assert len(caught) == 1


def test_work_in_other_threads() -> None:
    inside = cr.jit(lambda x: np.sin(x) * 2)

    def f(x: Any, traced: bool) -> Any:
        with ThreadPoolExecutor(2) as pool:
            return x + sum(pool.map(lambda i: inside(x * i if traced else np.full(3, float(i))), range(3)))

    jitted = cr.jit(f)
    for seed in range(4):
        np.testing.assert_allclose(jitted(normal(3, seed=seed), False), f(normal(3, seed=seed), False))
    assert len(jitted.variants) == 1
    with pytest.warns(UntraceableWarning, match="it works in another thread"):
        for seed in (0, 0, 0, 1):
            np.testing.assert_allclose(jitted(normal(3, seed=seed), True), f(normal(3, seed=seed), True))


def test_programs_leave_nothing_behind() -> None:
    def programs() -> int:
        return sum(name.startswith("<jit") for name in linecache.cache)

    gc.collect()
    before = programs()
    for _ in range(3):
        cr.jit(lambda x: np.tanh(x) * 2)(normal(3))
    gc.collect()
    assert programs() == before


def test_what_is_made_in_a_call_is_the_callers() -> None:
    """Also where nothing traced is in it: changing one result changes no other."""

    def f(x: Any) -> Any:
        y = x * 2
        return np.zeros(3), x + (z := np.ones(3)), z, cr.Tensor(np.ones(2)).detach(), y, y

    def plain(found: Any) -> list[Any]:
        return [x.data if isinstance(x, cr.Tensor) else x for x in found]

    jitted = cr.jit(f)
    for _ in range(5):
        found = jitted(normal(3))
        assert_same(plain(found), plain(f(normal(3))))
        for x in plain(found)[:5]:
            x += 1
        assert found[4] is found[5]


@pytest.mark.parametrize("exact", [True, False], ids=["exact", ""])
def test_arguments_that_share_memory(exact: bool) -> None:
    def f(a: Any, b: Any) -> Any:
        before = np.sin(b) * 2
        a[0] = 5.0
        a *= 2
        return before + np.sin(b) * 2

    outside = np.ones(4)

    def g(a: Any) -> Any:
        before = np.sin(outside)
        a += 1
        return before + np.sin(outside)

    def pair(kind: int) -> Any:
        x = normal(5)
        return ((x[1:], normal(4, seed=1)), (x[1:], x[1:]), (x[1:], x[:-1]), (x[4:0:-1], x[1:]))[kind]

    jitted, of_outside = cr.jit(f, exact=exact), cr.jit(g, exact=exact)
    for kind in (0, 0, 0, 1, 2, 3, 0, 1, 1, 1, 2, 3, 0):
        ours, theirs = pair(kind), pair(kind)
        assert_same(jitted(*ours), f(*theirs), exact)
        assert_same(ours, theirs)
        outside[:] = 1
        found = of_outside(normal(4) if kind else outside)
        outside[:] = 1
        assert_same(found, g(normal(4) if kind else outside), exact)
    assert not jitted.given_up
    assert not of_outside.given_up


def test_threads_see_arrays_while_another_one_traces() -> None:
    """What stands in for an array does so for one thread."""
    a = np.ones(1000)

    def f(x: Any) -> Any:
        return np.sum(x * (a + 1)) + float(a[0])

    def work(number: int) -> Any:
        return [type(a * 2) is np.ndarray and np.asarray(a)[0] + cr.jit(f)(np.full(1000, float(number)))] * 1

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(work, range(60))):
            assert found == [2 + 2000.0 * number]
    assert type(a) is np.ndarray


CALLED: ContextVar[float] = ContextVar("rate", default=1.0)


@pytest.mark.parametrize(
    ("f", "said"),
    [(lambda x: x * CALLED.get(), "context variable 'rate'"), (lambda x: x * globals()["factor"], r"globals\(\)")],
)
def test_what_cannot_be_watched_runs_without_jit(f: Any, said: str) -> None:
    jitted = cr.jit(f)
    with pytest.warns(UntraceableWarning, match=said):
        for i in range(4):
            set_factor(i)
            CALLED.set(i)
            assert jitted(2.0) == f(2.0)


def test_the_environment_is_read_in_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    jitted = cr.jit(lambda x: x * float(os.environ["SCALE_OF_A_TEST"]))
    monkeypatch.setenv("SCALE_OF_A_TEST", "2")
    with pytest.warns(UntraceableWarning, match="environment variables"):
        np.testing.assert_array_equal(jitted(np.ones(2)), 2)
    monkeypatch.setenv("SCALE_OF_A_TEST", "3")
    np.testing.assert_array_equal(jitted(np.ones(2)), 3)


def test_programs_know_whether_anything_is_recorded() -> None:
    net = nn.Sequential(nn.Linear(3, 4, rng=0), nn.Tanh(), nn.Linear(4, 2, rng=1))
    predict, slope, x = cr.jit(net), cr.jit(cr.grad(lambda x: np.sum(net(x) ** 2))), normal(5, 3)
    with pytest.warns(UntraceableWarning, match=r"or call it inside of no_grad\(\)"):
        for i in range(12):
            if i % 3 == 0:
                assert predict(x).node is not None and slope(x).node is not None
            else:
                with cr.no_grad():
                    answer, gradient = predict(x), slope(x)
                    assert answer.node is None and type(gradient) is np.ndarray
                assert_same(answer.data, net(x).data, False)
                assert_same(gradient, slope.f(x).data, False)
    assert len(predict.variants) == len(slope.variants) == 1


def test_training_steps_learn_nothing_inside_of_no_grad() -> None:
    net = nn.Linear(3, 2, rng=0)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    @cr.jit
    def train(x: Any) -> Any:
        optimizer.zero_grad()
        loss = np.sum(net(x) ** 2)
        loss.backward()
        optimizer.step()
        return loss

    x = normal(5, 3)
    for _ in range(5):
        train(x)
    assert len(train.variants) == 1
    before = net.state_dict()
    with cr.no_grad(), pytest.raises(cr.errors.OutputError):
        train(x)
    assert_same(net.state_dict(), before, True)


def test_what_is_made_inside_of_no_grad_is_recorded_there() -> None:
    x = normal(3)
    with cr.no_grad():
        w = cr.Tensor(x)
        times_w = cr.jit(lambda x: w * x)
        with pytest.warns(UntraceableWarning, match="made inside of this no_grad"):
            assert all(times_w(x).node is not None for _ in range(3))
