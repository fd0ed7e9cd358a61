"""Transforms that JAX has, called as JAX's are: the same containers, axes, conventions and numbers.

Loops, checkpoints, own derivatives, Jacobians and Taylor mode are compared where they are tested; here is the rest.
"""

from __future__ import annotations

import itertools
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from oracle import spaced

import chainrule as cr
from chainrule.tree import flatten

if find_spec("jax"):
    jax = import_module("jax")
    jnp = import_module("jax.numpy")
    jax.config.update("jax_enable_x64", True)
    BOTH = [(cr, np), (jax, jnp)]

    X = spaced((3,), "x", 0.2, 1.4)
    P = {"W": spaced((3, 2), "W"), "b": (spaced((2,), "b"), 0.7)}
    T = {"W": spaced((3, 2), "T"), "b": (spaced((2,), "t"), -1.3)}

    def same(found: Any, desired: Any) -> None:
        """Containers of the same form (JAX's dictionaries are sorted), arrays of the same shape, dtype and numbers."""
        a, b = flatten(found)[0], flatten(desired)[0]
        assert jax.tree.structure(found) == jax.tree.structure(desired)
        for one, other in zip(a, b, strict=True):
            assert np.shape(one) == np.shape(other)
            assert np.asarray(one).dtype == np.asarray(other).dtype
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)

    def compared(make: Any) -> None:
        """What `make(library, its NumPy)` gives is the same in both."""
        ours, theirs = (make(lib, xp) for lib, xp in BOTH)
        same(ours, theirs)

    def model(xp: Any) -> Any:
        def f(p: Any, x: Any) -> Any:
            hidden = xp.tanh(x @ p["W"] + p["b"][0])
            return {"a": xp.sum(hidden**2) * p["b"][1], "b": [xp.outer(x, hidden), xp.sort(hidden)]}

        return f

    CTS = {"a": 1.5, "b": [spaced((3, 2), "ct"), spaced((2,), "cts")]}

    def test_jvp_and_linearize() -> None:
        compared(lambda lib, xp: lib.jvp(model(xp), (P, X), (T, X**2)))
        compared(lambda lib, xp: lib.jvp(lambda p: (model(xp)(p, X), {"n": p["b"][0]}), (P,), (T,), has_aux=True))

        def linearized(lib: Any, xp: Any) -> Any:
            value, push = lib.linearize(model(xp), P, X)
            return value, push(T, X), push(P, X**2)

        compared(linearized)

    def test_vjp() -> None:
        def pulled(lib: Any, xp: Any) -> Any:
            value, pullback = lib.vjp(model(xp), P, X)
            return value, pullback(CTS)

        compared(pulled)

        def with_aux(lib: Any, xp: Any) -> Any:
            value, pullback, aux = lib.vjp(lambda x: (xp.sin(x), {"n": x * 2}), X, has_aux=True)
            return value, pullback(X**2), aux

        compared(with_aux)

    def test_grad() -> None:
        def loss(xp: Any) -> Any:
            return lambda p, x, scale=2.0: (model(xp)(p, x)["a"] * scale + xp.sum(x**3), {"x": x})

        for argnums in (0, 1, (0, 1), (1,), -1):
            for has_aux in (False, True):
                compared(
                    lambda lib, xp, n=argnums, aux=has_aux: lib.value_and_grad(
                        loss(xp) if aux else lambda *a, **k: loss(xp)(*a, **k)[0], argnums=n, has_aux=aux
                    )(P, X)
                )
        compared(lambda lib, xp: lib.grad(loss(xp), has_aux=True)(P, X, scale=3.0))

    def test_second_derivatives() -> None:
        def energy(xp: Any) -> Any:
            return lambda x: xp.sum(xp.sin(x) * xp.cumsum(x)) + x[0] * xp.prod(x)

        for outer, inner in itertools.product(("jacfwd", "jacrev"), repeat=2):
            theirs = getattr(jax, outer)(getattr(jax, inner)(energy(jnp)))(X)
            ours = cr.jacobian(cr.jacobian(energy(np), mode=inner[3:]), mode=outer[3:])(X)
            same(ours, theirs)
        compared(lambda lib, xp: lib.hessian(energy(xp))(X))
        theirs = jax.jvp(jax.grad(energy(jnp)), (X,), (X**2,))[1]
        same(cr.hvp(energy(np), (X,), (X**2,))[0], theirs)

    # -- vmap --------------------------------------------------------------------------------------------------------
    A = spaced((4, 5, 3), "A")
    B = spaced((5, 4), "B")

    @pytest.mark.parametrize("out_axes", [0, 1, -1, -2])
    @pytest.mark.parametrize("in_axes", [(1, 0), (-2, -2), [1, 0], (0, 1), (0, -1), (-3, 1)])
    def test_axes(in_axes: Any, out_axes: int) -> None:
        compared(lambda lib, xp: lib.vmap(lambda a, b: xp.tanh(b @ a), in_axes, out_axes)(A, B))

    def test_axes_of_containers() -> None:
        tree = {"a": A, "b": (B, 2.0)}

        def f(xp: Any) -> Any:
            return lambda p, c: {"s": xp.sin(p["a"]) * p["b"][1], "t": [p["b"][0] * c, c], "n": None}

        for in_axes, out_axes in [
            (({"a": 1, "b": (0, None)}, None), {"s": 1, "t": [0, None], "n": None}),
            (({"a": 0, "b": (-1, None)}, None), {"s": -1, "t": [1, None], "n": None}),
            (({"a": 0, "b": (1, None)}, None), 0),
            (({"a": None, "b": (1, None)}, None), {"s": None, "t": [-1, None], "n": None}),
        ]:
            compared(lambda lib, xp, i=in_axes, o=out_axes: lib.vmap(f(xp), i, o)(tree, 0.5))

    def test_nested_batches_of_derivatives() -> None:
        def loss(xp: Any) -> Any:
            return lambda w, x: xp.sum(xp.tanh(w @ x) ** 2) + xp.max(w[0] * x)

        w, xs = spaced((2, 3), "w"), spaced((5, 3), "xs")
        compared(lambda lib, xp: lib.vmap(lib.grad(loss(xp), argnums=(0, 1)), in_axes=(None, 0))(w, xs))
        compared(lambda lib, xp: lib.vmap(lib.hessian(loss(xp), argnums=1), in_axes=(None, 0), out_axes=2)(w, xs))
        compared(
            lambda lib, xp: lib.vmap(lib.vmap(lib.value_and_grad(loss(xp)), (None, 0)), (0, None))(
                w * np.ones((2, 1, 1)), xs
            )
        )
        compared(lambda lib, xp: lib.vmap(lambda v: lib.jvp(loss(xp), (w, xs[0]), (v, xs[1]))[1])(np.stack([w, w**2])))
        compared(lambda lib, xp: lib.grad(lambda w: xp.sum(lib.vmap(lib.grad(loss(xp), 1), (None, 0))(w, xs) ** 2))(w))
        compared(lambda lib, xp: lib.vmap(lib.vjp(lambda x: xp.cumprod(x), xs[0])[1])(np.eye(3)))

    # -- complex numbers -----------------------------------------------------------------------------------------------
    Z = spaced((3,), "z", dtype=complex)

    def test_complex_numbers_where_the_conventions_agree() -> None:
        compared(lambda lib, xp: lib.jvp(lambda z: xp.exp(z) * z[::-1], (Z,), (Z**2,)))
        compared(lambda lib, xp: lib.jvp(lambda z: xp.abs(z) * xp.conj(z), (Z,), (Z**2,)))
        compared(lambda lib, xp: lib.grad(lambda z: xp.sum(xp.sin(z) * z), holomorphic=True)(Z))
        for mode, theirs in (("fwd", jax.jacfwd), ("rev", jax.jacrev)):
            ours = cr.jacobian(lambda z: np.exp(z) * z[::-1], holomorphic=True, mode=mode)(Z)
            same(ours, theirs(lambda z: jnp.exp(z) * z[::-1], holomorphic=True)(Z))

    def test_complex_numbers_where_they_differ() -> None:
        """JAX's gradient is the conjugate of the direction of ascent, its pullback Jᵀ where ours is the adjoint."""
        f = lambda xp: lambda z: xp.sum(xp.abs(z) ** 2 * xp.real(z))  # noqa: E731
        same(cr.grad(f(np))(Z), np.conj(jax.grad(f(jnp))(Z)))
        g = lambda xp: lambda z: xp.exp(z) * xp.conj(z[::-1])  # noqa: E731
        (ours,), (theirs,) = cr.vjp(g(np), Z)[1](Z), jax.vjp(g(jnp), Z)[1](np.conj(Z))
        same(ours, np.conj(theirs))
