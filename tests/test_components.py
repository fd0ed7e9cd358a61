"""Small arrays for each of many: components are computed one by one, and give what the function gives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fusing import SPECIAL, on_kernels, same, source

import chainrule as cr
from chainrule.compile import components, groups
from chainrule.tree import flatten

N = 70


def normalised(x: Any) -> Any:
    return x / np.sqrt(np.sum(x * x, -1))[..., None]


def turned(x: Any, m: Any) -> Any:
    """By a matrix for each, and by one for all; and back."""
    y = (m @ x[:, :, None])[:, :, 0]
    return (y @ m[3]) * (np.swapaxes(m, 1, 2) @ y[:, :, None])[..., 0]


def stacked(x: Any, m: Any) -> Any:
    """Rows of matrices made of components, whose places change."""
    a, b, c = x[:, 0], x[:, 1], x[:, 2]
    rows = np.stack([np.stack([a, -b, c], -1), np.stack([b, a, 0 * c], -1), m[:, 2]], 1)
    return np.concatenate([rows @ m, rows[:, ::-1, 1:2]], 2), np.transpose(rows, (0, 2, 1)), np.moveaxis(rows, 0, 2)


def chosen(x: Any, m: Any) -> Any:
    """Selections, comparisons, extremes."""
    largest = np.max(m, 2)
    return np.where(x > largest, x, np.min(m, (1, 2))[:, None]), np.sum(x > 0, 1), np.max(x), np.sum(m, (0, 2))


def written(x: Any, m: Any) -> Any:
    """What is written to stays in memory."""
    y = x * np.sum(x, 1, keepdims=True)
    y[:, 1] = 0
    return y, np.sum(y * x, 1), np.cross(x, m[:, 0])


def stretched(x: Any, m: Any) -> Any:
    """Values that are the same for all, or for some."""
    wide = np.broadcast_to(x[:1] * 2, x.shape)
    return np.sum(wide, 0), np.sum(wide * x, -1), m * x[:, None] - np.sum(x, 0), np.sum(wide + 0 * m[0, 0], (0, 1))


def pairs_of_two(x: Any, m: Any) -> Any:
    """A box of two long axes beside values that have one of them."""
    d = x[None] - 2 * x[:20, None]
    near = np.exp(-np.sum(d * d, -1))
    return near[..., None] * d * x, np.sum(near[..., None] * d, 1), (m @ np.swapaxes(d, 1, 2)[..., None][:, 0])[:, 0]


PROGRAMS: dict[str, Callable[..., Any]] = {
    "normalised": lambda x, m: (normalised(x), normalised(m)),
    "turned": turned,
    "stacked": stacked,
    "chosen": chosen,
    "written": written,
    "stretched": stretched,
    "gradient": cr.grad(lambda x, m: np.sum(turned(normalised(x), m) ** 2), argnums=(0, 1)),
    "gradient of stacked": cr.grad(lambda x, m: sum(np.sum(y * y) for y in stacked(x, m)), argnums=(0, 1)),
    "derivative": lambda x, m: cr.jvp(turned, (x, m), (m[:, 0], np.ones_like(m))),
    "Jacobians": cr.vmap(cr.jacobian(lambda x, m: normalised(m @ x) * x[:2].sum(), argnums=(0, 1))),
}


def arguments(dtype: str, n: int = N) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 2, (n, 3)).astype(dtype), rng.uniform(0.5, 2, (n, 3, 3)).astype(dtype)


@pytest.fixture(autouse=True, scope="module")
def _small_is_worth_it() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "WORTHWHILE", 1)
        yield


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_small_arrays(name: str, dtype: str) -> None:
    f = PROGRAMS[name]
    x, m = arguments(dtype)
    jitted = on_kernels(f, x, m)
    assert ("kernel" in source(jitted)) == (name != "stacked")  # of which everything must be there as a whole
    for value in SPECIAL:
        for place in (0, x.size - 1):
            y, k = x.copy(), m.copy()
            y.flat[place] = k.flat[2 * place] = value
            with warnings.catch_warnings(action="ignore"):
                same(jitted(y, m), f(y, m))
                same(jitted(x, k), f(x, k))
    assert not jitted.given_up
    same(jitted(x, m), f(x, m))


@pytest.mark.parametrize("name", ["turned", "gradient", "Jacobians"])
def test_layouts(name: str) -> None:
    f = PROGRAMS[name]
    x, m = arguments("f8", 2 * N)
    turned_round = np.asfortranarray(x), np.swapaxes(np.asfortranarray(m), 1, 2)
    for y, k in ((x[::-1], m[::2][::-1].repeat(2, 0)), (x[:4], m[:4]), (x[:17], m[:17]), turned_round):
        jitted = on_kernels(f, y, k)
        same(jitted(y.copy(), np.asfortranarray(k)), f(y, k))  # the same program, for other memory


def test_components_are_read_and_written_where_they_lie() -> None:
    x, m = arguments("f8")
    jitted = on_kernels(PROGRAMS["Jacobians"], x, m)
    text = source(jitted)
    assert text.count(" kernel") == 1
    assert "together" not in text
    assert "np.positive" not in text
    assert "@" not in text
    assert "matmul" not in text
    assert "[:, 0]" not in text


def test_nothing_at_all() -> None:
    def f(x: Any, m: Any) -> Any:
        return normalised(x), m @ m, np.sum(m * x[:, None], (0, 2))

    for shape in ((0, 3), (20, 0)):
        x = np.ones(shape)
        on_kernels(f, x, np.ones((shape[0], shape[1], shape[1])))


def test_what_has_no_short_loops_is_left_as_it_is() -> None:
    x, m = arguments("f8")
    for f in (lambda x, m: np.sin(x) * 2 + x, lambda x, m: np.tanh(m) * m):
        assert "t4" not in source(on_kernels(f, x, m))  # one operation for all of them


def test_many_components_are_as_many_kernels_as_it_takes() -> None:
    """More than a kernel has pointers for."""

    def f(x: Any, m: Any) -> Any:
        return tuple(normalised(x * k) for k in range(1, 12)), m @ m

    on_kernels(f, *arguments("f8"))


def test_views_are_read_in_place() -> None:
    """Parts, turned axes, single elements, and what is read backwards are no copies."""

    def f(x: Any) -> Any:
        whole = np.exp(x) * x[:, 3:4] + x.T * x[7, ::-1]
        return x[::-1, 0] * x[3, 4] + x[:, 2], np.exp(x[::2, 5]) * x[0, 20:], whole

    for dtype in ("f4", "f8"):
        x = np.random.default_rng(0).normal(size=(40, 40)).astype(dtype)
        jitted = on_kernels(f, x)
        assert not any(f"= x[{index}]" in source(jitted) for index in ("::-1, 0", ":, 2", "::2, 5", ":, 3:4"))
        same(jitted(np.asfortranarray(x)), f(x))
        on_kernels(f, x.T)


def test_a_result_is_not_put_over_what_is_still_read() -> None:
    """A buffer that is read in two ways, one element after the other and apart, is no place for the result."""

    def f(x: Any) -> Any:
        y = np.tanh(np.cumsum(x * 2, axis=0))
        return np.cumsum(np.exp(y) + y[::-1] * 0.5, axis=0)

    assert groups.SMALL == 2
    on_kernels(f, np.random.default_rng(0).normal(size=100))
    on_kernels(f, np.random.default_rng(0).normal(size=(30, 40)))


def test_a_number_has_an_axis_to_be_summed_over() -> None:
    on_kernels(lambda x: np.sin(x) * np.sum(x[..., 0], 0) + np.max(x[..., 1], -1), np.linspace(0, 1, 100))


# -- drawn programs --------------------------------------------------------------------------------------------------
MOVES: list[Callable[[Any, Any, float], Any]] = [
    lambda a, b, at: np.stack([a, b, a * 2], -1 if at > 0.5 else 0),
    lambda a, b, at: np.concatenate([a, b], -1),
    lambda a, b, at: np.swapaxes(a, -1, -2),
    lambda a, b, at: a[..., ::-1] if at > 0.5 else a[..., int(at * a.shape[-1]), None],
    lambda a, b, at: a[..., int(at * a.shape[-1])],
    lambda a, b, at: a[..., None] if at > 0.5 else a[None],
    lambda a, b, at: np.reshape(a, (*a.shape[:1], -1)) if at > 0.5 else np.moveaxis(a, -1, 0),
    lambda a, b, at: np.broadcast_to(a, np.broadcast_shapes(a.shape, b.shape)),
]
MEETING: list[Callable[[Any, Any, float], Any]] = [
    lambda a, b, at: a + b,
    lambda a, b, at: a * b,
    lambda a, b, at: np.where(a > b, a, b * 0.5),
    lambda a, b, at: np.sum(a, int(at * a.ndim), keepdims=at > 0.6),
    lambda a, b, at: np.max(a, -1),
    lambda a, b, at: a @ b * 0.3,
    lambda a, b, at: np.sin(a),
]


def run(program: Any, *arguments: Any) -> list[Any]:
    """Each statement takes two values and, where their shapes allow it, adds one."""
    values = list(arguments)
    for number, i, j, at in program:
        a, b = values[i % len(values)], values[j % len(values)]
        operation = (MOVES + MEETING)[number]
        shapes = np.zeros(a.shape), np.zeros(b.shape)
        try:
            size, rank = operation(*shapes, at).size, operation(*shapes, at).ndim
        except (ValueError, IndexError):
            continue
        if size <= 200_000 and rank <= 4:
            values.append(operation(a, b, at))
    return [values[-1] * 1.0, values[-2] + 0, np.sum(values[-1] * values[-1]), values[len(values) // 2]]


STATEMENTS = st.tuples(
    st.integers(0, len(MOVES + MEETING) - 1), st.integers(0, 30), st.integers(0, 30), st.floats(0, 0.99)
)


@settings(deadline=None, max_examples=20)
@given(
    program=st.lists(STATEMENTS, min_size=3, max_size=12),
    n=st.sampled_from([17, 66, 130]),
    dtype=st.sampled_from(["f4", "f8"]),
    way=st.sampled_from(["value", "grad", "jvp"]),
)
def test_drawn_programs(program: Any, n: int, dtype: str, way: str) -> None:
    def f(*args: Any) -> Any:
        return run(program, *args)

    ways: dict[str, Callable[..., Any]] = {
        "value": f,
        "grad": cr.grad(lambda *args: f(*args)[2], argnums=(0, 1, 2, 3)),
        "jvp": lambda *args: cr.jvp(f, args, tuple(np.ones_like(x) for x in args)),
    }
    rng = np.random.default_rng(0)
    arguments = [rng.uniform(-1, 1, shape).astype(dtype) for shape in ((n, 3), (n, 3, 3), (n,), (3,))]
    jitted = cr.jit(ways[way])
    for _ in range(4):
        for x, y in zip(flatten(jitted(*arguments))[0], flatten(ways[way](*arguments))[0], strict=True):
            assert np.shape(x) == np.shape(y)
            assert x.dtype == y.dtype
            tolerance = 1e-3 if dtype == "f4" else 1e-9
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * np.max(np.abs(y), initial=1.0))
    assert not jitted.given_up
    assert not any(variant.disagreed for variant in jitted.variants)
