"""`jit`: what a function may be given, what its arguments may be called, and numbers that are taken out of arrays."""

from __future__ import annotations

import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from test_jit import assert_same, check

import chainrule as cr

NAMES = ["np", "args", "options", "memory", "program", "same", "float64", "ndarray", "count", "EXITS", "buffers", "b0"]
NAMES += ["v0", "part", "blocks", "empty", "locals", "len", "repr", "int", "read", "captured", "self", "match", "é"]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_may_have_any_name(name: str) -> None:
    namespace: dict[str, Any] = {"numpy": np}
    lines = ["def f({}, other):", "    {}[0] += 1", "    if {}.sum() > 0:"]
    lines += ["        return numpy.sin({}) * other, {}.reshape(-1, 1) @ {}[None], str({}.sum())", "    return {}"]
    exec("\n".join(lines).replace("{}", name), namespace)
    x = np.arange(3.0)
    check(namespace["f"], (x, x + 1), (x, x + 2), exactly=False)


def test_an_operation_may_be_called_program() -> None:
    @cr.primitive
    def program(x: Any) -> Any:
        return np.asarray(x) * 2

    cr.def_partials(program, "2")
    check(lambda x: program(x) + 1, (np.ones(3),))


def test_arrays_that_were_pickled_are_the_same_kind_of_arguments() -> None:
    x = np.linspace(0, 1, 3)
    assert pickle.loads(pickle.dumps(x)).dtype is not x.dtype
    f = cr.jit(lambda x: np.sin(x) * 2)
    for _ in range(12):
        for other in (pickle.loads(pickle.dumps(x)), x, x.astype(">f8"), x.astype("f4")):
            np.testing.assert_allclose(f(other), np.sin(x) * 2, rtol=1e-6)
    assert len(f.variants) == 3


def test_dtypes_are_arguments() -> None:
    x = np.array([1.5, -2.5])
    check(lambda x, dtype: x.astype(dtype), (x, np.float32), (x, np.dtype("i4")), (x, "f8"), variants=3)


def test_equal_values_that_nobody_can_change_make_one_variant() -> None:
    def f(x: Any, *several: Any) -> Any:
        return x * sum(map(len, several))

    jitted = cr.jit(f)
    for _ in range(12):
        for n in (3, 4):
            assert jitted(np.ones(2), range(n), frozenset([n, "a"]), "a" * n)[0] == 2 * n + 2
    assert len(jitted.variants) == 2


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "c16", "?"])
def test_a_value_that_is_looked_up_is_a_decision(dtype: str) -> None:
    zero, one = np.zeros(2, dtype), np.ones(2, dtype)
    check(lambda x: {0: 1.0, 1: 2.0}[x[0]] * x, (zero,), (one,), variants=2)
    check(lambda x: x if x[0] in {0, 2} else x + x, (zero,), (one,), variants=2)


def test_constants_that_differ_in_a_bit_stay_two() -> None:
    a, b = np.longdouble("1.1"), np.longdouble(11) / np.longdouble(10.0000000000000001)
    below = np.nextafter(b, np.longdouble(0))
    check(lambda x: (x * a, x * b, x * below), (np.ones(3, np.longdouble),))
    check(lambda x: (x * 0j, x * -0j, x * complex(0, -0.0), x * complex(-0.0, -0.0)), (np.ones(3),))


def test_numbers_taken_out_are_pythons_in_every_operator() -> None:
    def whole(x: Any) -> Any:
        n = x[0].item()
        m = n
        m <<= 2
        return n * 2, n**3, 2**n, n // 2, n << 3, 5 >> n, n & 1, 7 | n, n ^ 5, divmod(n, 3), divmod(7, n), -n, ~n, m

    check(whole, (np.array([3]),), (np.array([11]),))
    check(lambda x: (divmod(x[0].item(), 3), round(x[0].item(), 1), x[0].item() // 0.5), (np.array([3.4]),))


def test_numbers_may_have_more_than_64_bits() -> None:
    def f(x: Any) -> Any:
        return (x[0].item() + x[1].item()) * x[0].item() * 3 - 1

    jitted = cr.jit(f)
    for at in ([3, 4],) * 4 + ([10**10, 10**18],):
        assert jitted(np.array(at)) == (at[0] + at[1]) * at[0] * 3 - 1
    with pytest.warns(cr.errors.UntraceableWarning, match="more than 64 bits"):
        assert cr.jit(f)(np.array([10**10, 10**18])) == (10**10 + 10**18) * 10**10 * 3 - 1


def test_complex_nan_decides_once() -> None:
    nan = complex(0, math.nan)
    f = cr.jit(lambda x: x * 2 if str(complex(x[0])) == "nanj" else x)
    for x in (np.array([nan]), np.array([1j])) * 4:
        np.testing.assert_array_equal(f(x), x * 2 if np.isnan(x[0]) else x)
    assert len(f.variants) == 2
    assert not f.given_up


def test_rounding_towards_zero() -> None:
    at = np.array([3.7]), np.array([-2.2])
    check(lambda x: (math.trunc(x[0]), math.floor(x[0]), math.ceil(x[0]), x), *((x,) for x in at), variants=2)


def test_generators_spawn_as_without_jit() -> None:
    def f(rng: Any) -> Any:
        return rng.spawn(1)[0].normal(), rng.normal()

    jitted, one, other = cr.jit(f), np.random.default_rng(0), np.random.default_rng(0)
    with pytest.warns(cr.errors.UntraceableWarning, match="pass them as arguments"):
        assert [jitted(one) for _ in range(3)] == [f(other) for _ in range(3)]


def test_warnings_name_the_line_that_calls() -> None:
    rng = np.random.RandomState(0)
    by_shape, by_value = cr.jit(lambda x: x * 2), cr.jit(lambda x: rng.normal() * x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(10):
            by_shape(np.ones(n))
        for _ in range(3):
            by_value(np.ones(3))
    assert [warning.filename for warning in caught] == [__file__] * 2
    assert "each shape and dtype" in str(caught[0].message)


@cr.jit
def doubled(x: Any) -> Any:
    return x * 2


class Scaled:
    @cr.jit
    def times(self, x: Any) -> Any:
        return x * 3


def test_decorated_functions_are_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert pickle.loads(pickle.dumps(Scaled.times)) is Scaled.times
    assert pickle.loads(pickle.dumps(Scaled().times))(1.0) == 3
    assert pickle.loads(pickle.dumps(cr.jit(math.sin)))(0.0) == 0


def test_functions_that_are_refused_again_and_again_are_given_up() -> None:
    f = cr.jit(lambda x, name: np.asarray(x) * len(name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for k in range(30):
            assert f(np.ones(2), "a" * k)[0] == k
    assert len(caught) == 8
    assert "It runs without jit from now on" in str(caught[-1].message)


def test_without_a_compiler_that_works_programs_stay_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("Invalid ELF class")

    monkeypatch.setattr("chainrule.compile.printing.compile_group", fails)
    monkeypatch.setattr("chainrule.compile.printing._compiled", {})
    f = cr.jit(lambda x: np.sin(x) * np.cos(x) + x)
    x = np.ones(3)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            np.testing.assert_array_equal(f(x), np.sin(x) * np.cos(x) + x)
    assert len(f.variants) == 1
    assert [str(each.message).endswith("Invalid ELF class") for each in caught] == [True]


def pair(x: Any) -> Any:
    return np.array([x[0] * x[1], -x[1]])


MADE = {
    "result": pair,
    "with a number": lambda x: np.array([x[0], 2, 1.5]),
    "matrix": lambda x: np.array([[x[0], -x[1]], [x[1], x[0]]]) @ x,
    "arithmetic": lambda x: (pair(x) * 2 + np.array([1.0, x[0]])) ** 2 / pair(x) - x,
    "functions": lambda x: np.exp(pair(x)) + np.tanh(pair(x) * 2),
    "reductions": lambda x: (pair(x).sum(), np.mean(pair(x)), np.dot(pair(x), x), np.linalg.norm(pair(x))),
    "written to": lambda x: (a := pair(x), a.__setitem__(1, x[0]), a * 2)[2],
    "concatenated": lambda x: np.concatenate([pair(x), x, np.array([x[1]])]),
    "compared": lambda x: pair(x) * 2 if pair(x)[0] > 1 else pair(x),
    "elements compared": lambda x: (pair(x) > 1) * x,
    "gradient": lambda x: cr.grad(lambda y: np.sum(pair(y) * pair(x)))(x),
    "Jacobian": cr.jacobian(pair),
    "loop": lambda x: cr.scan(lambda c, _: (pair(c) * 0.5, c[0]), pair(x), None, length=100),
    "batch": lambda x: cr.vmap(pair)(np.stack([x, x + 1])),
}


@pytest.mark.parametrize("name", MADE)
def test_arrays_made_of_traced_numbers(name: str) -> None:
    x = np.array([0.5, 2.0])
    calls = [(x,), (x * 2,), (np.array([np.nan, 1.0]),), (x[::-1],)]
    with np.errstate(all="ignore"):
        check(MADE[name], *calls, variants=None, exactly=False)


# A loop over objects compares NaN as Python does, and some functions go by the dtype.
REFUSED = {
    "max": lambda x: np.max(pair(x)),
    "maximum": lambda x: np.maximum(pair(x), 0.0),
    "clip": lambda x: np.clip(pair(x), 0, 1),
    "sort": lambda x: np.sort(pair(x)),
    "sign": lambda x: np.sign(pair(x)),
    "nan_to_num": lambda x: np.nan_to_num(pair(x)),
    "isnan": lambda x: np.isnan(pair(x)),
    "dtype": lambda x: np.maximum(pair(x), 0) if pair(x).dtype == float else pair(x),
    "tolist": lambda x: repr(pair(x).tolist()),
    "inv": lambda x: np.linalg.inv(np.array([[x[0], 1.0], [0.0, x[1]]])),
    "integers": lambda x: np.array([x.astype(int)[0], 2.5]) * 10**18,
    "said dtype": lambda x: np.array([x[0], x[1]], dtype=float),
    "single precision": lambda x: pair(x.astype("f4")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_objects_do_otherwise_runs_without_jit(name: str) -> None:
    jitted = cr.jit(REFUSED[name])
    x = np.array([0.5, 2.0])
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        for at in (x, x * 2, np.array([1.0, np.nan]), x * 1e3) * 3:
            assert_same(jitted(at), REFUSED[name](at))
    assert not jitted.variants
    assert "np.stack([a, b])" in str(caught[0].message) or "dtype" in str(caught[0].message)


def test_no_array_of_objects_is_left_outside() -> None:
    class Cell:
        def __init__(self) -> None:
            self.state, self.seen = np.zeros(2), list[Any]()

        def step(self, x: Any) -> Any:
            self.state = pair(x) + self.state
            self.seen.append(pair(x))
            return self.state.sum()

    one, other = Cell(), Cell()
    step = cr.jit(one.step)
    with pytest.warns(cr.errors.UntraceableWarning, match="it changes a list"):
        for x in np.random.default_rng(0).normal(size=(5, 2)):
            assert step(x) == other.step(x)
            assert_same((one.state, one.seen), (other.state, other.seen))


def test_every_bit_is_kept_where_that_is_asked_for() -> None:
    exact = cr.jit(lambda x: np.sum(np.array([*x])), exact=True)
    x = np.random.default_rng(0).normal(size=40)
    with pytest.warns(cr.errors.UntraceableWarning, match="np.stack"):
        assert [exact(x) for _ in range(4)] == [np.sum(x)] * 4


def test_stacks_of_numbers_are_printed_as_arrays() -> None:
    f = cr.jit(lambda x: (np.stack([x[0], 2, x[1]]), np.array([x[1], x[0]])))
    source = f.source(np.ones(2))
    assert source.count("= np.array(") == 2
    assert "np.stack(" not in source.replace("# f = cr.jit(lambda x: (np.stack(", "")


def picked(x: Any, i: Any) -> Any:
    try:
        return x[i]
    except IndexError:
        return x[0] * 0


def raised(x: Any, n: Any) -> Any:
    try:
        return x**n
    except ValueError:
        return x * 0


@pytest.mark.parametrize(
    ("f", "bad", "good"), [(picked, np.int64(7), np.int64(1)), (raised, np.array([-1, 2]), np.array([1, 2]))]
)
def test_going_on_after_an_error_of_values_is_refused(f: Any, bad: Any, good: Any) -> None:
    x, jitted = np.array([1, 2]), cr.jit(f)
    with pytest.warns(cr.errors.UntraceableWarning, match="which other values do not cause"):
        for other in (bad, bad, bad, bad, good):
            assert_same(jitted(x, other), f(x, other))


def test_going_on_after_an_error_of_shapes_is_traced() -> None:
    def f(x: Any, y: Any) -> Any:
        try:
            return (x + y).sum(axis=3)
        except ValueError:
            return x * 2

    check(f, (np.ones(3), np.ones(2)), (np.ones(3), np.ones(3)), variants=2)


class Own(np.ndarray):
    pass


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        (np.ones(3).view(Own), "a Own"),
        (np.ma.array([1.0, 2.0]), "a MaskedArray"),
        (np.array([1.0, 2.0], object), "a ndarray of object"),
        (np.array(["a", "b"]), "a ndarray of <U1"),
        (np.array(["2020"], "M8[Y]"), r"a ndarray of datetime64\[Y\]"),
    ],
)
def test_arrays_that_no_program_takes_are_named_once(argument: Any, told: str) -> None:
    jitted = cr.jit(lambda x, k: (k[:1], x * 2))
    with pytest.warns(cr.errors.UntraceableWarning, match=f"an argument is {told}, with which it runs") as caught:
        for _ in range(4):
            found, twice = jitted(np.ones(2), argument)
            assert type(found) is type(argument)
            assert_same(twice, np.full(2, 2.0))
    assert len(caught) == 1
    assert not jitted.variants
    assert_same(jitted(np.ones(2), np.ones(2))[1], np.full(2, 2.0))  # others are compiled
    assert len(jitted.variants) == 1


def test_arrays_of_other_libraries_are_no_constants() -> None:
    class Other:
        """An array that can be written to, of a library that knows no protocol but this one."""

        def __init__(self) -> None:
            self.values = [1.0, 2.0]

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array(self.values)

    other, jitted = Other(), cr.jit(lambda x, k: x * np.asarray(k))
    with pytest.warns(cr.errors.UntraceableWarning, match="an argument is a Other"):
        for i in range(4):
            other.values[0] = float(i)
            assert_same(jitted(np.ones(2), other), np.array([float(i), 2.0]))


SAID = {
    "np.piecewise .* write np.where": lambda x: np.piecewise(x, [x < 0, x >= 0], [lambda t: -t, lambda t: t * t]),
    "np.apply_along_axis .* write axis=": lambda x: np.apply_along_axis(lambda row: row * 2, 0, x),
    r"np.arange\(int\(n\)\)": lambda x: np.arange(x[0].astype(int) + 2) * 2,
    r"np.concatenate\(\[a, b\]\) instead of np.r_": lambda x: np.r_[x, x],
}


@pytest.mark.parametrize("said", SAID)
def test_what_is_refused_says_what_to_write(said: str) -> None:
    jitted, x = cr.jit(SAID[said]), np.array([1.5, -2.5])
    with pytest.warns(cr.errors.UntraceableWarning, match=said):
        for _ in range(3):
            assert_same(jitted(x), SAID[said](x))


def magnitude(t: Any) -> Any:
    return np.abs(t)


def test_functions_of_a_module_may_be_called_back() -> None:
    check(lambda x: np.piecewise(x, [x < 0, x >= 0], [magnitude, np.sqrt]), (np.array([-1.0, 4.0]),), (np.ones(2),))


def test_numbers_of_elements_are_decisions() -> None:
    for f in (np.tile, np.pad, np.diag, np.repeat, np.roll, lambda x, n: np.zeros(n) + x[0], lambda x, n: x[:n]):
        check(f, (np.ones(3), np.int64(2)), (np.ones(3), np.int64(3)), variants=None)
    for f in (lambda x: x[x > 0] * 2, lambda x: np.nonzero(x)[0] + 1, lambda x: np.unique(x) * 2):
        check(f, (np.array([1.0, -1.0, 1.0]),), (np.array([1.0, 2.0, 0.0]),), (np.ones(3),), variants=None)


def test_the_source_shows_where_checks_end() -> None:
    lines = cr.jit(lambda x: np.tanh(x) * 2).source(np.ones(3)).splitlines()
    begins = lines.index("    # -- nothing has changed, and the program begins --")
    assert lines[begins - 1] == ""
    assert not any("return None" in line for line in lines[begins:])
