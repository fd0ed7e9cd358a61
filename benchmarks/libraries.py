"""One set of names for three libraries, so that a program is written once and everybody runs the same one.

A library here is a module: what a module holds is taken by `chainrule.jit` as it is, like NumPy's own functions.
`value_and_grad` is the usual way to a gradient; `both` and `grad` are the ones that can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

import chainrule as cr

Transform = Callable[..., Any]


def _module(name: str, **names: Any) -> Any:
    module = ModuleType(name)
    vars(module).update(names)
    return module


def chainrule_library() -> Any:
    """NumPy, and what chainrule adds to it."""
    import chainrule.scipy.special as special
    from chainrule.nn import functional

    return _module(
        "chainrule_library",
        xp=np,
        array=lambda x: x,
        value_and_grad=cr.value_and_grad,
        both=cr.value_and_grad,
        grad=cr.grad,
        along=cr.jvp,
        slope=cr.grad,
        while_loop=cr.while_loop,
        scan=cr.scan,
        vmap=cr.vmap,
        jacobian=cr.jacobian,
        columns=cr.jacobian,
        cross=np.cross,
        stack=np.stack,
        concatenate=np.concatenate,
        sigmoid=functional.sigmoid,
        softmax=functional.softmax,
        logsumexp=functional.logsumexp,
        cross_entropy=functional.cross_entropy,
        softplus=lambda x: np.logaddexp(0, x),
        erf=special.erf,
    )


def jax_library() -> Any:
    """JAX, with 64-bit floats allowed; arrays that are 32-bit stay so."""
    import jax

    jax.config.update("jax_enable_x64", True)

    def cross_entropy(x: Any, labels: Any) -> Any:
        chosen = jax.numpy.take_along_axis(jax.nn.log_softmax(x), labels[:, None], 1)
        return -jax.numpy.mean(chosen)

    return _module(
        "jax_library",
        xp=jax.numpy,
        array=jax.numpy.asarray,
        value_and_grad=jax.value_and_grad,
        both=jax.value_and_grad,
        grad=jax.grad,
        along=jax.jvp,
        slope=jax.grad,
        while_loop=jax.lax.while_loop,
        scan=jax.lax.scan,
        vmap=jax.vmap,
        jacobian=jax.jacrev,
        columns=jax.jacfwd,
        cross=jax.numpy.cross,
        stack=jax.numpy.stack,
        concatenate=jax.numpy.concatenate,
        sigmoid=jax.nn.sigmoid,
        softmax=jax.nn.softmax,
        logsumexp=jax.nn.logsumexp,
        cross_entropy=cross_entropy,
        softplus=jax.nn.softplus,
        erf=jax.scipy.special.erf,
    )


def torch_library(compiling: bool) -> Any:
    """PyTorch: its tape for what runs eagerly, `torch.func` for what is compiled, and for forward mode."""
    import torch

    def by_tape(f: Transform, argnums: Any = 0) -> Transform:
        def run(*args: Any) -> Any:
            args = list(args)
            chosen = (argnums,) if isinstance(argnums, int) else argnums
            for i in chosen:
                args[i] = each(args[i], lambda x: x.detach().requires_grad_())
            value = f(*args)
            leaves = [x for i in chosen for x in _leaves(args[i])]
            found = iter(torch.autograd.grad(value, leaves))
            gradients = [each(args[i], lambda x: next(found)) for i in chosen]
            return value.detach(), gradients[0] if isinstance(argnums, int) else tuple(gradients)

        return run

    def by_function(f: Transform, argnums: Any = 0) -> Transform:
        both = torch.func.grad_and_value(f, argnums=argnums)
        return lambda *args: both(*args)[::-1]

    def slope(f: Transform) -> Transform:
        def run(x: Any) -> Any:
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(f(x), x, create_graph=True)[0]

        return run

    return _module(
        "torch_library",
        xp=torch,
        array=lambda x: torch.tensor(x) if isinstance(x, np.ndarray | np.generic) else x,
        value_and_grad=by_function if compiling else by_tape,
        both=by_function,
        grad=torch.func.grad,
        along=torch.func.jvp,
        slope=slope,
        while_loop=python_loop,
        vmap=torch.func.vmap,
        jacobian=torch.func.jacrev,
        columns=torch.func.jacfwd,
        cross=lambda a, b: torch.linalg.cross(*torch.broadcast_tensors(a, b)),
        stack=torch.stack,
        concatenate=torch.cat,
        sigmoid=torch.sigmoid,
        softmax=lambda x: torch.softmax(x, -1),
        logsumexp=lambda x, axis: torch.logsumexp(x, axis),
        cross_entropy=torch.nn.functional.cross_entropy,
        softplus=torch.nn.functional.softplus,
        erf=torch.special.erf,
    )


def autograd_library() -> Any:
    """autograd, as far as a row needs it."""
    import autograd
    import autograd.numpy

    return _module(
        "autograd_library",
        xp=autograd.numpy,
        array=lambda x: x,
        value_and_grad=lambda f, argnums: autograd.value_and_grad(f, argnums),
        slope=autograd.grad,
        while_loop=python_loop,
    )


def python_loop(goes_on: Callable[[Any], Any], step: Transform, state: Any) -> Any:
    while goes_on(state):
        state = step(state)
    return state


def _leaves(x: Any) -> list[Any]:
    if isinstance(x, dict):
        return [leaf for part in x.values() for leaf in _leaves(part)]
    if isinstance(x, list | tuple):
        return [leaf for part in x for leaf in _leaves(part)]
    return [x]


def each(x: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(x, dict):
        return {name: each(part, change) for name, part in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(each(part, change) for part in x)
    return change(x)
