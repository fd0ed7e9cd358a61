"""A training step as users of each library write it: a model that holds its parameters, and an optimiser with state.

The other rows compute something of their arguments.  Here the step changes what lies outside of it, so contestants are
compared call by call, by the losses of their first steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim

from .rows import OnNumpy, Row, Step, jax_with_doubles

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class Training(Row):
    """Cross-entropy of a network with one tanh layer, its gradients, and an update by Adam."""

    alone = lean = True
    title = "Training step: a model and Adam, 64×784×128×10"
    key = "training"

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype)
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((64, 784)).astype(self.dtype)
        self.labels = rng.integers(0, 10, 64)
        self.state = {
            "0.weight": (rng.standard_normal((128, 784)) / 28).astype(self.dtype),
            "0.bias": np.zeros(128, self.dtype),
            "2.weight": (rng.standard_normal((10, 128)) / 11).astype(self.dtype),
            "2.bias": np.zeros(10, self.dtype),
        }

    @property
    def tolerance(self) -> float:
        return 1e-3 if self.dtype == np.float32 else 1e-4  # torch.compile has Adam's powers of beta in float32

    def _own(self) -> Callable[[Any, Any], Any]:
        model = nn.Sequential(nn.Linear(784, 128, dtype=self.dtype), nn.Tanh(), nn.Linear(128, 10, dtype=self.dtype))
        model.load_state_dict({f"layers.{name}": x for name, x in self.state.items()})
        optimizer = optim.Adam(model.parameters(), lr=RATE)

        def step(X: Any, labels: Any) -> Any:
            optimizer.zero_grad()
            loss = nn.cross_entropy(model(X), labels)
            loss.backward()
            optimizer.step()
            return loss.data

        return step

    def _running(self, step: Callable[[Any, Any], Any]) -> Step:
        return functools.partial(step, self.X, self.labels)

    def chainrule(self) -> Step:
        return self._running(self._own())

    def jitted(self) -> Step:
        return self._running(cr.jit(self._own()))

    def jitted_on_numpy(self) -> Step:
        return self._running(OnNumpy(self._own(), exact=False))

    def _torch(self, compiled: bool) -> Step:
        import torch

        model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.Tanh(), torch.nn.Linear(128, 10))
        model = model.to(getattr(torch, self.dtype.name))
        model.load_state_dict({name: torch.tensor(x) for name, x in self.state.items()})
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        X, labels = torch.tensor(self.X), torch.tensor(self.labels)

        def step() -> Any:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(X), labels)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return torch.compile(step) if compiled else step  # type: ignore[no-any-return]

    def torch(self) -> Step:
        return self._torch(compiled=False)

    def torch_compiled(self) -> Step:
        return self._torch(compiled=True)

    def autograd(self) -> Step:
        raise ImportError("autograd has neither models nor optimisers with state")

    def jax(self) -> Step:
        jax = jax_with_doubles()
        jnp = jax.numpy

        def loss(p: Any, X: Any, labels: Any) -> Any:
            z = jnp.tanh(X @ p["0.weight"].T + p["0.bias"]) @ p["2.weight"].T + p["2.bias"]
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), labels[:, None], 1))

        @functools.partial(jax.jit, donate_argnums=0)
        def step(kept: Any, X: Any, labels: Any) -> Any:
            p, m, v, t = kept
            value, g = jax.value_and_grad(loss)(p, X, labels)
            t = t + 1
            m = {name: BETA1 * m[name] + (1 - BETA1) * g[name] for name in p}
            v = {name: BETA2 * v[name] + (1 - BETA2) * g[name] ** 2 for name in p}
            size, root = RATE / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
            p = {name: p[name] - size * m[name] / (jnp.sqrt(v[name]) / root + EPSILON) for name in p}
            return value, (p, m, v, t)

        zeros = jax.tree.map(jnp.zeros_like, self.state)
        kept = jax.tree.map(jnp.array, self.state), zeros, jax.tree.map(jnp.copy, zeros), jnp.asarray(0, self.dtype)
        X, labels = jnp.asarray(self.X), jnp.asarray(self.labels)

        def run() -> Any:
            nonlocal kept
            value, kept = jax.block_until_ready(step(kept, X, labels))
            return value

        return run

    def numpy(self) -> Step:
        X, labels = self.X, self.labels
        p = W1, b1, W2, b2 = [x.copy() for x in self.state.values()]
        m, v, free = ([np.zeros_like(x) for x in p] for _ in range(3))
        rows, t = np.arange(len(X)), 0

        def step() -> Any:
            nonlocal t
            h = X @ W1.T
            h += b1
            np.tanh(h, out=h)
            z = h @ W2.T
            z += b2
            z -= z.max(1, keepdims=True)
            chosen = z[rows, labels]
            np.exp(z, out=z)
            total = z.sum(1, keepdims=True)
            loss = np.mean(np.log(total[:, 0]) - chosen)
            z /= total
            z[rows, labels] -= 1
            z /= len(labels)
            gh = z @ W2
            g2, c2 = z.T @ h, z.sum(0)
            h *= h
            np.subtract(1, h, out=h)
            gh *= h
            t += 1
            size, root = RATE / (1 - BETA1**t), (1 - BETA2**t) ** 0.5
            for x, g, a, b, s in zip(p, (gh.T @ X, gh.sum(0), g2, c2), m, v, free, strict=True):
                a *= BETA1
                np.multiply(g, 1 - BETA1, out=s)
                a += s
                b *= BETA2
                g *= g
                g *= 1 - BETA2
                b += g
                np.sqrt(b, out=s)
                s /= root
                s += EPSILON
                np.divide(a, s, out=s)
                s *= size
                x -= s
            return loss

        return step


TRAINING: dict[str, Callable[[], Row]] = {
    f"training-{dtype}": functools.partial(Training, dtype) for dtype in ("float32", "float64")
}
