"""`jit` around transforms, inside of them, and both: what comes out is what comes out without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compile.jit import Jitted
from chainrule.tree import flatten


def f(x: Any) -> Any:
    return np.sum(np.tanh(x) ** 2 * np.cos(x[::-1]) + x**3)


def h(x: Any) -> Any:
    return np.sin(x) * x + np.sum(x * x) * 0.1


def two_steps(f: Any, h: Any, x: Any, v: Any) -> Any:
    for _ in range(2):
        x = x - 0.1 * cr.grad(f)(x)
    return x


# Transforms of f, a function of a vector, and h, a map of vectors; at x, along v.
NESTED: dict[str, Callable[..., Any]] = {
    "hvp": lambda f, h, x, v: cr.hvp(f, (x,), (v,)),
    "jacobian forward": lambda f, h, x, v: cr.jacobian(h, mode="fwd")(x) @ v,
    "jacobian reverse": lambda f, h, x, v: cr.jacobian(h, mode="rev")(x),
    "hessian": lambda f, h, x, v: cr.hessian(f)(x),
    "third": lambda f, h, x, v: cr.jacobian(cr.hessian(f))(x) @ v,
    "vmap of grad": lambda f, h, x, v: cr.vmap(cr.grad(f))(np.stack([x, v, x * v])),
    "vmap of hessian": lambda f, h, x, v: cr.vmap(cr.hessian(f))(np.stack([x, v])),
    "vmap of jacobian forward": lambda f, h, x, v: cr.vmap(cr.jacobian(h, mode="fwd"))(np.stack([x, v])),
    "vmap of jacobian reverse": lambda f, h, x, v: cr.vmap(cr.jacobian(h, mode="rev"))(np.stack([x, v])),
    "grad of vmap": lambda f, h, x, v: cr.grad(lambda x: np.sum(cr.vmap(f)(np.stack([x, v])) ** 2))(x),
    "jacobian of vmap": lambda f, h, x, v: cr.jacobian(lambda x: cr.vmap(h)(np.stack([x, v])), mode="fwd")(x),
    "jvp of grad": lambda f, h, x, v: cr.jvp(cr.grad(f), (x,), (v,)),
    "vmap of jvp of grad": lambda f, h, x, v: cr.vmap(lambda t: cr.jvp(cr.grad(f), (x,), (t,))[1])(np.eye(6)),
    "vjp": lambda f, h, x, v: cr.vjp(h, x)[1](v),
    "linearize": lambda f, h, x, v: cr.linearize(h, x)[1](v),
    "ggn_vp": lambda f, h, x, v: cr.ggn_vp(h, lambda y: np.sum(y * y), (x,), (v,)),
    "grad of hvp": lambda f, h, x, v: cr.grad(lambda x: np.sum(np.stack(cr.hvp(f, (x,), (v,))) ** 2))(x),
    "two steps": two_steps,
    "grad of a step": lambda f, h, x, v: cr.grad(lambda r: f(x - r * cr.grad(f)(x)))(np.float64(0.1)),
    "value_and_grad": lambda f, h, x, v: cr.value_and_grad(f)(x),
    "grad of checkpoint": lambda f, h, x, v: cr.grad(cr.checkpoint(f))(x),
}
X, V = np.linspace(0.1, 0.9, 6), np.linspace(1, 2, 6)


def assert_close(a: Any, b: Any) -> None:
    for got, want in zip(flatten(a)[0], flatten(b)[0], strict=True):
        assert type(got) is type(want)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("how", ["around", "inside", "both", "between", "exact", "around vmap"])
@pytest.mark.parametrize("name", NESTED)
def test_jit_and_transforms(name: str, how: str) -> None:
    def plain(x: Any, v: Any) -> Any:
        return NESTED[name](f, h, x, v)

    def of_compiled(x: Any, v: Any) -> Any:
        return NESTED[name](cr.jit(f), cr.jit(h), x, v)

    def batch(x: Any, v: Any) -> Any:
        return cr.vmap(plain)(np.stack([x, v]), np.stack([v, x]))

    inner = cr.jit(of_compiled)
    program = {
        "around": cr.jit(plain),
        "inside": of_compiled,
        "both": inner,
        "between": cr.jit(lambda x, v: inner(x, v)),
        "exact": cr.jit(plain, exact=True),
        "around vmap": cr.jit(batch),
    }[how]
    for _ in range(4):
        for x, v in ((X, V), (V, X)):
            assert_close(program(x, v), batch(x, v) if how == "around vmap" else plain(x, v))
    if isinstance(program, Jitted):
        assert not program.given_up
        assert len(program.variants) == 1
