"""What changes between two calls of a jitted function where it is hard to see: nothing is answered from before."""

from __future__ import annotations

import builtins
import ctypes
import datetime as dt
import functools
import importlib
import itertools
import logging
import os
import queue
import random
import secrets
import sys
import threading
import time
import types
import uuid
import weakref
from collections import OrderedDict, UserDict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_jit import assert_same, normal

import chainrule as cr
from chainrule.errors import StructureError, UntraceableWarning

World = tuple[Callable[[Any], Any], Callable[[int], Any], Callable[[], Any]]  # a function, a change, the beginning
x = normal(3)


class Rate:
    def __init__(self, rate: Any = 1.0) -> None:
        self.rate = rate

    def __call__(self, v: Any) -> Any:
        return v * self.rate

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


def written(text: str, **names: Any) -> Any:
    """A function of a module of its own."""
    namespace = {"__name__": "of_a_user", "np": np, **names}
    exec(text, namespace)
    return namespace["f"]


def of_globals(text: str, name: str, value: Callable[[int], Any]) -> World:
    f = written(text)
    return f, lambda i: f.__globals__.__setitem__(name, value(i)), lambda: f.__globals__.pop(name, None)


def of_builtins(text: str, name: str, value: Callable[[int], Any]) -> World:
    before = vars(builtins).get(name)

    def begin() -> None:
        setattr(builtins, name, before) if before else vars(builtins).pop(name, None)

    return written(text), lambda i: setattr(builtins, name, value(i)), begin


def of_late_cell() -> World:
    def begin() -> None:
        nonlocal late
        late = 0.0
        del late

    def change(i: int) -> None:
        nonlocal late
        late = 2.0 + i

    def f(v: Any) -> Any:
        try:
            return v * late
        except NameError:
            return v

    late = 0.0
    return f, change, begin


def of_array(array: Any, use: Callable[[Any, Any], Any]) -> World:
    before = array.copy()
    return lambda v: use(v, array), lambda i: array.__setitem__(0, 5 + i), lambda: array.__setitem__(..., before)


def of_cache() -> World:
    rates = [1.0]

    @functools.lru_cache
    def rate() -> Any:
        return rates[-1]

    def change(i: int) -> None:
        rates.append(2.0 + i)
        rate.cache_clear() if i % 2 else None  # what it holds is as old as the function says

    def begin() -> None:
        rates[:] = [1.0]
        rate.cache_clear()

    return lambda v: v * rate(), change, begin


def of_cleared_cache() -> World:
    f = written(
        "import functools\n"
        "@functools.cache\ndef count():\n    global n\n    n += 1\n    return n\n"
        "def f(x):\n    return x * count()"
    )

    def begin() -> None:
        f.__globals__["count"].cache_clear()
        f.__globals__["n"] = 0

    return f, lambda i: f.__globals__["count"].cache_clear(), begin


def of_attribute(make: Callable[[], Any], read: Callable[[Any], Any], name: str, value: Callable[[int], Any]) -> World:
    thing = make()
    before = getattr(thing, name, None)
    return lambda v: v * read(thing), lambda i: setattr(thing, name, value(i)), lambda: setattr(thing, name, before)


def of_class() -> World:
    class One:
        def step(self, v: Any) -> Any:
            return v

    class Two(One):
        def step(self, v: Any) -> Any:
            return v * 5

    one = One()
    return (
        one.step.__func__.__get__(one) and (lambda v: one.step(v)),
        (  # type: ignore[return-value]
            lambda i: setattr(one, "__class__", Two)
        ),
        lambda: setattr(one, "__class__", One),
    )


def of_bases() -> World:
    class One:
        def step(self, v: Any) -> Any:
            return v

    class Two:
        def step(self, v: Any) -> Any:
            return v * 5

    class Both(One):
        pass

    both = Both()
    return (
        (lambda v: both.step(v)),
        (lambda i: setattr(Both, "__bases__", (Two,))),
        (lambda: setattr(Both, "__bases__", (One,))),
    )


def of_private_slot() -> World:
    class Slotted:
        __slots__ = ("__rate",)

        def set(self, rate: Any) -> None:
            self.__rate = rate

        def step(self, v: Any) -> Any:
            return v * self.__rate

    slotted = Slotted()
    return slotted.step, lambda i: slotted.set(2.0 + i), lambda: slotted.set(1.0)


def of_weak_dictionary() -> World:
    key = Rate()
    rates: Any = weakref.WeakKeyDictionary({key: 1.0})
    return (lambda v: v * rates[key]), (lambda i: rates.__setitem__(key, 2.0 + i)), lambda: rates.__setitem__(key, 1.0)


def of_weak_reference() -> World:
    thing = Rate()
    reference = weakref.ref(thing)
    return (
        (lambda v: v * reference().rate),  # type: ignore[union-attr]
        lambda i: setattr(thing, "rate", 2.0 + i),
        lambda: setattr(thing, "rate", 1.0),
    )


def of_queue() -> World:
    waiting: Any = queue.Queue()
    return (lambda v: v * waiting.qsize()), waiting.put, lambda: waiting.queue.clear()


def of_event() -> World:
    event = threading.Event()
    return (lambda v: v * (2 if event.is_set() else 3)), (lambda i: event.set()), event.clear


def of_logger() -> World:
    log = logging.getLogger("of_a_test")
    return (
        (lambda v: v * (2 if log.isEnabledFor(10) else 3)),
        (lambda i: log.setLevel(5 if i % 2 else 30)),
        lambda: log.setLevel(30),
    )


def of_import(text: str) -> World:
    module: Any = types.ModuleType("its_settings")
    module.rate = 1.0
    sys.modules[module.__name__] = module
    f = written(text, importlib=importlib, sys=sys)
    return f, lambda i: setattr(module, "rate", 2.0 + i), lambda: setattr(module, "rate", 1.0)


def of_iterator(make: Callable[[], Any]) -> World:
    held = [make()]
    return (lambda v: v * (2 if next(held[0]) % 7 == 6 else 1)), (lambda i: None), lambda: held.__setitem__(0, make())


def of_subclass(kind: Any) -> World:
    class Own(kind):  # type: ignore[misc]
        rate = 1.0

        def __missing__(self, key: Any) -> Any:
            return self.rate

    own = Own()
    read = (lambda v: v * own["a"]) if kind is dict else (lambda v: v * own.rate)
    return read, lambda i: setattr(own, "rate", 2.0 + i), lambda: setattr(own, "rate", 1.0)


def counting() -> Any:
    yield from range(10**6)


def in_file(tmp: Path) -> Any:
    return np.memmap(tmp / "numbers", "f8", "w+", shape=3)


OR_NOT = "def f(x):\n    try:\n        return x * extra\n    except NameError:\n        return x"
WORLDS: dict[str, Callable[[Path], World]] = {
    "a global hides a builtin": lambda _: of_globals(
        "def f(x): return abs(x) * 2", "abs", lambda i: lambda v: v * (i + 10)
    ),
    "a global that was not there": lambda _: of_globals(OR_NOT, "extra", lambda i: 2.0 + i),
    "a builtin is another one": lambda _: of_builtins(
        "def f(x): return x + pow(2, 2)", "pow", lambda i: lambda *_: 10 + i
    ),
    "a builtin that was not there": lambda _: of_builtins(OR_NOT, "extra", lambda i: 2.0 + i),
    "a variable of the function around it that was not there": lambda _: of_late_cell(),
    "a file in memory": lambda tmp: of_array(in_file(tmp), lambda v, m: v * np.exp(m) + m.mean()),
    "a file in memory, taken as plain": lambda tmp: of_array(in_file(tmp), lambda v, m: v * np.asarray(m).sum()),
    "an array of another class": lambda _: of_array(
        np.ones(3).view(type("Own", (np.ndarray,), {})), lambda v, m: v * np.asarray(np.exp(m)) + float(m[0])
    ),
    "a cache": lambda _: of_cache(),
    "a cache that is cleared": lambda _: of_cleared_cache(),
    "the class of an object": lambda _: of_class(),
    "the bases of a class": lambda _: of_bases(),
    "a private slot": lambda _: of_private_slot(),
    "a weak reference": lambda _: of_weak_reference(),
    "a weak dictionary": lambda _: of_weak_dictionary(),
    "a queue": lambda _: of_queue(),
    "an event": lambda _: of_event(),
    "a logger": lambda _: of_logger(),
    "C memory": lambda _: of_attribute(lambda: ctypes.c_double(1.0), lambda c: c.value, "value", lambda i: 2.0 + i),
    "an attribute whose name is made": lambda _: of_attribute(
        lambda: type("Own", (), {"a_1": 1.0}), lambda kind: getattr(kind, f"a_{len('a')}"), "a_1", lambda i: i
    ),
    "an import": lambda _: of_import("def f(x):\n    import its_settings as s\n    return x * s.rate"),
    "an import of a name": lambda _: of_import("def f(x):\n    from its_settings import rate\n    return x * rate"),
    "an import by a text": lambda _: of_import(
        "def f(x): return x * importlib.import_module('its_settings').rate"
    ),
    "a module by a text": lambda _: of_import("def f(x): return x * sys.modules['its_settings'].rate"),
    "an iterator": lambda _: of_iterator(itertools.count),
    "a generator": lambda _: of_iterator(counting),
    "a dictionary with attributes": lambda _: of_subclass(dict),
    "a list with attributes": lambda _: of_subclass(list),
    "a dictionary of one's own with attributes": lambda _: of_subclass(UserDict),
    "random numbers of Python that matter rarely": lambda _: (
        lambda v: v * (2 if random.random() < 0.05 else 1), lambda i: None, lambda: random.seed(1)
    ),
    "random numbers of NumPy that matter rarely": lambda _: (
        lambda v: v * (2 if np.random.rand() < 0.05 else 1),  # noqa: NPY002
        lambda i: None,
        lambda: np.random.seed(1),  # noqa: NPY002
    ),
    "an evaluated text": lambda _: (
        (f := written("def f(x): return x * eval('rate')", rate=1.0)),
        lambda i: f.__globals__.update(rate=2.0 + i),
        lambda: f.__globals__.update(rate=1.0),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::chainrule.errors.UntraceableWarning")
@pytest.mark.parametrize("name", WORLDS)
def test_nothing_is_answered_from_before(name: str, tmp_path: Path) -> None:
    f, change, begin = WORLDS[name](tmp_path)
    jitted, found = cr.jit(f), []
    try:
        for run in (jitted, f):
            begin()
            found.append([])
            for i in range(10):
                found[-1] += [run(x) for _ in range(3)]
                change(i)
    finally:
        begin()
    for a, b in zip(*found, strict=True):
        assert_same(a, b)


def drawn_rarely() -> bool:
    return random.Random().random() < 2  # seeded by the system


CALLED: dict[str, tuple[Callable[[], Any], str]] = {
    "time": (lambda: time.time() > 0, "the clock"),
    "now": (lambda: dt.datetime.now(dt.UTC).year > 0, "the clock"),
    "uuid": (lambda: uuid.uuid4().int > 0, "random numbers"),
    "secrets": (lambda: secrets.randbelow(5) < 6, "random numbers"),
    "urandom": (lambda: os.urandom(1) < b"\xff\xff", "random numbers"),
    "a generator of its own": (drawn_rarely, "random numbers"),
    "files that are there": (lambda: len(list(Path().iterdir())) > -1, "a file"),
    "whether a file is there": (lambda: Path("nowhere").exists() < 2, "a file"),
}


@pytest.mark.parametrize("name", CALLED)
def test_what_is_asked_of_the_system_is_asked_in_each_call(name: str) -> None:
    ask, said = CALLED[name]
    jitted = cr.jit(lambda v: v * 2 if ask() else v)
    with pytest.warns(UntraceableWarning, match=f"it reads {said}.* would not read again"):
        for _ in range(3):
            assert_same(jitted(x), x * 2)
    assert not jitted.variants


@pytest.mark.parametrize("draw", [lambda: random.random(), lambda: np.random.normal(size=2)])  # noqa: NPY002
def test_random_numbers_go_on_as_without_jit(draw: Callable[[], Any]) -> None:
    jitted = cr.jit(lambda v: np.sum(v * 0) + draw())
    found = []
    for run in (jitted, jitted.f):
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        found.append([np.asarray(run(x)) for _ in range(4)] if run is jitted.f else [])
        if run is jitted:
            with pytest.warns(UntraceableWarning, match=r"pass a np\.random\.Generator"):
                found[-1] = [np.asarray(run(x)) for _ in range(4)]
    assert_same(*found)


class Text(str):  # noqa: SLOT000
    rate = 1.0


class Whole(int):
    rate = 1.0


class Colour(Enum):
    RED = 1
    BLUE = 2


class Number(IntEnum):
    ONE = 1


@dataclass
class Fields:
    a: Any
    function: Any = None


def with_rate(thing: Any, rate: Any) -> Any:
    thing.rate = rate
    return thing


ARGUMENTS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "keys that are equal": (
        lambda v, d: v * [2.0, 3.0, 5.0][[int, bool, float].index(type(next(iter(d))))],
        [{1: x}, {True: x}, {1.0: x}],
    ),
    "the order of keys": (lambda v, d: v - 2 * next(iter(d.values())), [{"a": x, "b": v} for v in (1.0,)] + [{"b": x}]),
    "NaN": (lambda v, k: v * (1 if k == k else 2), [float("nan"), 1.0, -float("nan"), float("nan")]),
    "zeros": (lambda v, k: v * np.copysign(1, k.real) * np.copysign(1, k.imag), [0.0, -0.0, 0, 0j, complex(0, -0.0)]),
    "texts": (lambda v, k: v * getattr(k, "rate", 9.0), ["a", Text("a"), with_rate(Text("a"), 2.0), b"a"]),
    "numbers": (lambda v, k: v * (k if type(k) is int else 7), [1, True, Number.ONE, Whole(1), 1.0]),
    "enumerations": (lambda v, k: v * k.value, [Colour.RED, Colour.BLUE]),
    "decimals": (lambda v, k: v * len(str(k)), [Decimal("1.0"), Decimal("1.00"), Fraction(1, 3), Fraction(1, 30)]),
    "equal objects": (lambda v, k: k(v) * k.rate, [Rate(1.0), Rate(2.0)]),
    "containers with attributes": (
        lambda v, k: v * k.rate,
        [with_rate(kind(a=x), r) for kind in (OrderedDict, Fields) for r in (2.0, 3.0)],
    ),
    "functions in a dataclass": (
        lambda v, k: k.function(v),
        [Fields(x, functools.partial(np.multiply, r)) for r in (2.0, 3.0)],
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_are_nearly_the_same(name: str) -> None:
    f, several = ARGUMENTS[name]
    jitted = cr.jit(f)
    for _ in range(4):
        for each in several:
            assert_same(jitted(x, each), f(x, each))
    assert not jitted.given_up


def closure(rates: list[Any]) -> Any:
    return lambda v: v * rates[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda rates: closure(rates),
        lambda rates: functools.partial(lambda r, v: v * r[0], rates),
        lambda rates: type("Own", (), {"__call__": lambda self, v: v * rates[0]})(),
        lambda rates: type("Own", (), {"step": lambda self, v, r=rates: v * r[0]})().step,
        lambda rates: functools.wraps(closure(rates))(closure(rates)),
    ],
)
def test_functions_that_are_passed_may_change(make: Any) -> None:
    rates: list[Any] = [1.0]
    function = make(rates)
    jitted = cr.jit(lambda v, g: g(v))
    for i in range(4):
        rates[0] = 1.0 + i
        for _ in range(3):
            assert_same(jitted(x, function), x * (1.0 + i))


def test_which_argument_is_which() -> None:
    jitted, a, b = cr.jit(lambda v, w: np.sum(v * w) * (2 if v is w else 3)), normal(3), normal(3)
    for _ in range(4):
        assert_same(jitted(a, a), jitted.f(a, a))
        assert_same(jitted(a, b), jitted.f(a, b))
    assert len(jitted.variants) == 2
    product = cr.jit(lambda v, w: np.sum(v * w))  # does not ask
    for _ in range(3):
        assert product(a, a) == product(a, b)
    assert len(product.variants) == 1


def test_memory_that_is_passed_says_how_to_pass_it() -> None:
    with pytest.raises(StructureError, match="a memoryview, which is part of the program and must be hashable"):
        cr.jit(lambda v, m: v * m[0])(x, memoryview(bytearray(3)))


def test_functions_made_by_exec_are_read() -> None:
    namespace: dict[str, Any] = {"rate": 1.0}
    exec("def f(x): return x * rate", namespace)
    jitted = cr.jit(namespace["f"])
    for i in range(4):
        namespace["rate"] = 1.0 + i
        assert_same(jitted(x), x * (1.0 + i))
