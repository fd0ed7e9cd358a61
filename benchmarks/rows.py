"""What is measured: each row is one computation, written the way a user of each library would write it.

A row's methods named after a contestant return a function that computes the value and the gradients once.  A method
imports its library itself, so that what is not installed is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.compile.jit import Jitted
from chainrule.compile.trials import Trial
from chainrule.nn import functional

from .libraries import chainrule_library, each, torch_library

Step = Callable[[], Any]
Bars = Mapping[tuple[str, str], float]


def jax_with_doubles() -> Any:
    """Import JAX with 64-bit floats allowed; arrays that are 32-bit stay so."""
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


class Row:
    """One computation and who can do it.

    Attributes
    ----------
    key : for the command line
    title : for the table
    dtype : of all arrays
    alone : whether to measure each contestant also alone in a process, for memory or pools of threads decide
    slow : whether `--quick` leaves it out
    operations : how many, if the time per operation is of interest
    overhead : nanoseconds that recording and pulling one of them may take beyond NumPy's time, if that is held to
    bars : what is held to: how many times the other's time, at most, a contestant may take
    lean : whether a step may take a tenth more memory, at most, than that written by hand
    argnums : in which arguments `loss` is differentiated
    """

    key = title = ""
    alone = slow = lean = False
    operations = 0
    overhead = 0.0
    argnums: Any = 0
    bars: Bars = MappingProxyType({("chainrule.jit", "jax.jit"): 1.0, ("chainrule.jit", "torch.compile"): 1.0})

    def __init__(self, dtype: str = "float64") -> None:
        self.dtype = np.dtype(dtype)

    @property
    def name(self) -> str:
        return f"{self.key}-{self.dtype}"

    @property
    def tolerance(self) -> float:
        return 1e-3 if self.dtype == np.float32 else 1e-9

    def makers(self) -> dict[str, Callable[[], Step]]:
        """What makes the step of each contestant; it raises ImportError where there is none."""
        return {
            "chainrule": self.chainrule,
            "PyTorch": self.torch,
            "autograd": self.autograd,
            "NumPy": self.numpy,
            "jax.jit": self.jax,
            "chainrule.jit": self.jitted,
            "jit, NumPy only": self.jitted_on_numpy,
            "torch.compile": self.torch_compiled,
        }

    def functions(self) -> dict[str, Callable[[], Step]]:
        """What makes a step that evaluates the function alone, without its gradient: in NumPy, recorded, compiled."""

        def plain() -> Step:
            function, arguments = self.loss(chainrule_library())
            return lambda: function(*arguments)

        def recorded() -> Step:
            function, arguments = self.loss(chainrule_library())
            chosen = (self.argnums,) if isinstance(self.argnums, int) else self.argnums
            arguments = [each(x, cr.Tensor) if i in chosen else x for i, x in enumerate(arguments)]
            return lambda: function(*arguments)

        def jitted() -> Step:
            function, arguments = self.loss(chainrule_library())
            compiled = cr.jit(function)
            return lambda: compiled(*arguments)

        return {"function": plain, "function, recorded": recorded, "jit of the function": jitted}

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        """The function whose gradient is taken, written for a library, and its arguments."""
        raise ImportError("this is not the gradient of one function")

    def program(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        """The whole computation as a function, written for a library, and its arguments."""
        function, arguments = self.loss(library)
        return library.value_and_grad(function, argnums=self.argnums), arguments

    def jitted(self) -> Step:
        function, arguments = self.program(chainrule_library())
        jitted = cr.jit(function)
        return lambda: jitted(*arguments)

    def jitted_on_numpy(self) -> Step:
        """`jit` as it is where there is no llvmlite."""
        function, arguments = self.program(chainrule_library())
        jitted = OnNumpy(function, exact=False)
        return lambda: jitted(*arguments)

    def torch_compiled(self) -> Step:
        library = torch_library(compiling=True)
        import torch

        function, arguments = self.program(library)
        arguments = [each(x, library.array) for x in arguments]
        compiled = torch.compile(function)
        return lambda: compiled(*arguments)

    def chainrule(self) -> Step:
        raise NotImplementedError

    def torch(self) -> Step:
        raise NotImplementedError

    def autograd(self) -> Step:
        raise NotImplementedError

    def numpy(self) -> Step:
        raise NotImplementedError

    def jax(self) -> Step:
        raise NotImplementedError


class OnNumpy(Jitted):
    """A function that `jit` made where there is no llvmlite."""

    def _compile(self, trial: Trial) -> Any:
        for variant in trial.variant.chain():
            variant.with_kernels, variant.settled = None, True
        return trial.result


class Chain(Row):
    """y = y*x + x, a hundred times: two hundred operations on a scalar or on a small array."""

    operations = 200
    overhead = 1500.0
    bars = Row.bars | {("chainrule", "PyTorch"): 0.2}

    def __init__(self, size: int = 0) -> None:
        super().__init__("float64")
        self.x = np.linspace(0.3, 0.6, size) if size else np.float64(0.5)
        self.key = f"chain-{size}" if size else "scalar"
        self.title = f"chain of 200 operations, {f'array of {size}' if size else 'scalar'}"

        if size:
            self.bars, self.overhead = Row.bars, 2500.0

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        def chain(x: Any) -> Any:
            y = x
            for _ in range(100):
                y = y * x + x
            return library.xp.sum(y) if x.shape else y

        return chain, [self.x]

    def program(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        function, arguments = self.loss(library)
        return library.grad(function), arguments

    def chainrule(self) -> Step:
        x = cr.Tensor(self.x)

        def step() -> Any:
            x.zero_grad()
            y = x
            for _ in range(100):
                y = y * x + x
            y.backward()
            return x.grad

        return step

    def torch(self) -> Step:
        import torch

        x = torch.tensor(self.x, requires_grad=True)
        ones = torch.ones_like(x)

        def step() -> Any:
            x.grad = None
            y = x
            for _ in range(100):
                y = y * x + x
            y.backward(ones)
            return x.grad

        return step

    def autograd(self) -> Step:
        import autograd

        def chain(x: Any) -> Any:
            y = x
            for _ in range(100):
                y = y * x + x
            return y

        gradient = autograd.elementwise_grad(chain)
        return lambda: gradient(self.x)

    def numpy(self) -> Step:
        x = self.x

        def step() -> Any:
            y, seen = x, []
            for _ in range(100):
                seen.append(y)
                y = y * x + x
            g = np.ones_like(x) if x.ndim else np.float64(1)
            total = 0.0
            for y in reversed(seen):
                total = total + g + g * y
                g = g * x
            return total + g

        return step

    def jax(self) -> Step:
        jax = jax_with_doubles()

        def chain(x: Any) -> Any:
            y = x
            for _ in range(100):
                y = y * x + x
            return y.sum()

        gradient, x = jax.jit(jax.grad(chain)), jax.numpy.asarray(self.x)
        return lambda: jax.block_until_ready(gradient(x))


class Filling(Row):
    """y[i] = y[i - 1]/2 + x[i]: an array filled element by element, in place."""

    def __init__(self, size: int) -> None:
        super().__init__("float64")
        self.x = np.linspace(0.3, 0.6, size)
        self.key = f"fill-{size}"
        self.title = f"filling an array of {size} element by element"
        self.slow = size > 10_000
        self.operations = 3 * size

    def makers(self) -> dict[str, Callable[[], Step]]:
        """Others copy the array at each write, or have no writes: they take part only where it is small."""
        makers = super().makers()
        return {name: makers[name] for name in ("chainrule", "NumPy")} if self.slow else makers

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        def filled(x: Any) -> Any:
            y = library.xp.zeros_like(x)
            y[0] = x[0]
            for i in range(1, len(x)):
                y[i] = 0.5 * y[i - 1] + x[i]
            return library.xp.sum(y)

        return filled, [self.x]

    def program(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        function, arguments = self.loss(library)
        return library.grad(function), arguments

    def torch_compiled(self) -> Step:
        raise ImportError("torch.compile takes minutes for a thousand writes")

    def chainrule(self) -> Step:
        x = cr.Tensor(self.x)

        def step() -> Any:
            x.zero_grad()
            y = np.zeros_like(x)
            y[0] = x[0]
            for i in range(1, len(self.x)):
                y[i] = 0.5 * y[i - 1] + x[i]
            np.sum(y).backward()
            return x.grad

        return step

    def torch(self) -> Step:
        import torch

        x = torch.tensor(self.x, requires_grad=True)

        def step() -> Any:
            x.grad = None
            y = torch.zeros_like(x)
            y[0] = x[0]
            for i in range(1, len(self.x)):
                y[i] = 0.5 * y[i - 1].clone() + x[i]
            y.sum().backward()
            return x.grad

        return step

    def autograd(self) -> Step:
        raise ImportError("autograd has no writes")

    def numpy(self) -> Step:
        x = self.x

        def step() -> Any:
            y = np.zeros_like(x)
            y[0] = x[0]
            for i in range(1, len(x)):
                y[i] = 0.5 * y[i - 1] + x[i]
            gradient = np.ones_like(x)
            for i in range(len(x) - 2, -1, -1):
                gradient[i] += 0.5 * gradient[i + 1]
            return gradient

        return step

    def jax(self) -> Step:
        raise ImportError("a scan, not writes: another program")


class Perceptron(Row):
    """Value and all gradients of a network with one tanh layer and a mean squared error."""

    def __init__(self, batch: int, inputs: int, hidden: int, outputs: int, dtype: str) -> None:
        super().__init__(dtype)
        self.key = f"mlp-{batch}x{inputs}x{hidden}x{outputs}"
        self.lean, self.alone = True, inputs >= 100
        if inputs < 100:
            self.bars = Row.bars | {("chainrule", "PyTorch"): 0.3}
        else:  # matrix products decide: BLAS against BLAS, so against what is written by hand on the same one
            self.bars = {
                ("chainrule", "NumPy"): 1.1,
                ("chainrule", "PyTorch"): 0.85,
                ("chainrule.jit", "NumPy"): 1.0,
                ("chainrule.jit", "torch.compile"): 1.0,
            }
        self.title = f"MLP {batch}×{inputs}×{hidden}×{outputs}"
        rng = np.random.default_rng(0)
        make = lambda *shape: rng.normal(size=shape).astype(self.dtype)  # noqa: E731 (a local abbreviation)
        self.data = make(batch, inputs), make(batch, outputs)
        self.parameters = (
            make(inputs, hidden) / inputs**0.5,
            make(hidden),
            make(hidden, outputs) / hidden**0.5,
            make(outputs),
        )
        self.parameters = tuple(p.astype(self.dtype) for p in self.parameters)

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        def loss(parameters: Any, X: Any, Y: Any) -> Any:
            W1, b1, W2, b2 = parameters
            return library.xp.mean((library.xp.tanh(X @ W1 + b1) @ W2 + b2 - Y) ** 2)

        return loss, [self.parameters, *self.data]

    def chainrule(self) -> Step:
        X, Y = self.data
        parameters = W1, b1, W2, b2 = [cr.Tensor(p) for p in self.parameters]

        def step() -> Any:
            for p in parameters:
                p.zero_grad()
            loss = np.mean((np.tanh(X @ W1 + b1) @ W2 + b2 - Y) ** 2)
            loss.backward()
            return loss.data, [p.grad for p in parameters]

        return step

    def torch(self) -> Step:
        import torch

        X, Y = map(torch.tensor, self.data)
        parameters = W1, b1, W2, b2 = [torch.tensor(p, requires_grad=True) for p in self.parameters]

        def step() -> Any:
            for p in parameters:
                p.grad = None
            loss = torch.nn.functional.mse_loss(torch.addmm(b2, torch.tanh(torch.addmm(b1, X, W1)), W2), Y)
            loss.backward()
            return loss, [p.grad for p in parameters]

        return step

    def autograd(self) -> Step:
        import autograd
        import autograd.numpy as anp

        X, Y = self.data

        def loss(parameters: Any) -> Any:
            W1, b1, W2, b2 = parameters
            return anp.mean((anp.dot(anp.tanh(anp.dot(X, W1) + b1), W2) + b2 - Y) ** 2)

        both = autograd.value_and_grad(loss)
        return lambda: both(self.parameters)

    def numpy(self) -> Step:
        X, Y = self.data
        W1, b1, W2, b2 = self.parameters

        def step() -> Any:
            h = X @ W1
            h += b1
            np.tanh(h, out=h)
            r = h @ W2
            r += b2
            r -= Y
            loss = np.mean(r * r)
            r *= 2 / r.size
            gh = r @ W2.T
            gW2, gb2 = h.T @ r, r.sum(0)
            np.multiply(h, h, out=h)
            np.subtract(1, h, out=h)
            gh *= h
            return loss, [X.T @ gh, gh.sum(0), gW2, gb2]

        return step

    def jax(self) -> Step:
        jax = jax_with_doubles()
        jnp = jax.numpy
        X, Y = map(jnp.asarray, self.data)
        parameters = [jnp.asarray(p) for p in self.parameters]

        def loss(parameters: Any, X: Any, Y: Any) -> Any:
            W1, b1, W2, b2 = parameters
            return jnp.mean((jnp.tanh(X @ W1 + b1) @ W2 + b2 - Y) ** 2)

        both = jax.jit(jax.value_and_grad(loss))
        return lambda: jax.block_until_ready(both(parameters, X, Y))


class Elementwise(Row):
    """sum(sigmoid(tanh(x*x + x))**2)."""

    bars = Row.bars | {("chainrule", "PyTorch"): 0.85}

    def __init__(self, size: int, dtype: str) -> None:
        super().__init__(dtype)
        power = len(str(size)) - 1
        self.key = f"elementwise-1e{power}"
        self.title = f"sum(sigmoid(tanh(x·x + x))²), n = 1e{power}"
        self.alone, self.slow = size >= 1e6, size >= 1e7
        self.x = np.random.default_rng(0).normal(size=size).astype(self.dtype)

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        def loss(x: Any) -> Any:
            return library.xp.sum(library.sigmoid(library.xp.tanh(x * x + x)) ** 2)

        return loss, [self.x]

    def chainrule(self) -> Step:
        x, sigmoid = cr.Tensor(self.x), functional.sigmoid

        def step() -> Any:
            x.zero_grad()
            value = np.sum(sigmoid(np.tanh(x * x + x)) ** 2)
            value.backward()
            return value.data, x.grad

        return step

    def torch(self) -> Step:
        import torch

        x = torch.tensor(self.x, requires_grad=True)

        def step() -> Any:
            x.grad = None
            value = (torch.sigmoid(torch.tanh(x * x + x)) ** 2).sum()
            value.backward()
            return value, x.grad

        return step

    def autograd(self) -> Step:
        import autograd
        import autograd.numpy as anp

        both = autograd.value_and_grad(lambda x: anp.sum((1 / (1 + anp.exp(-anp.tanh(x * x + x)))) ** 2))
        return lambda: both(self.x)

    def numpy(self) -> Step:
        x = self.x

        def step() -> Any:
            t = x * x
            t += x
            np.tanh(t, out=t)
            s = np.exp(-t)
            s += 1
            np.reciprocal(s, out=s)
            value = np.dot(s, s)
            g = 1 - s  # the derivative is 2 s · s (1 - s) · (1 - t²) · (2 x + 1)
            s *= s
            g *= s
            g *= 2
            t *= t
            np.subtract(1, t, out=t)
            g *= t
            np.multiply(x, 2, out=t)
            t += 1
            g *= t
            return value, g

        return step

    def jax(self) -> Step:
        jax = jax_with_doubles()
        jnp = jax.numpy
        both = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jax.nn.sigmoid(jnp.tanh(x * x + x)) ** 2)))
        x = jnp.asarray(self.x)
        return lambda: jax.block_until_ready(both(x))


class LogSumExp(Row):
    """Logarithm of the sum of exponentials of each row, added up."""

    bars = Row.bars | {("chainrule", "PyTorch"): 0.85}

    def __init__(self, dtype: str, rows: int = 1000) -> None:
        super().__init__(dtype)
        self.key, self.title = "logsumexp", f"logsumexp of ({rows}, 1000), over rows"
        self.x = np.random.default_rng(0).normal(size=(rows, 1000)).astype(self.dtype)

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        return lambda x: library.xp.sum(library.logsumexp(x, axis=-1)), [self.x]

    def chainrule(self) -> Step:
        x, logsumexp = cr.Tensor(self.x), functional.logsumexp

        def step() -> Any:
            x.zero_grad()
            value = np.sum(logsumexp(x, axis=-1))
            value.backward()
            return value.data, x.grad

        return step

    def torch(self) -> Step:
        import torch

        x = torch.tensor(self.x, requires_grad=True)

        def step() -> Any:
            x.grad = None
            value = torch.logsumexp(x, -1).sum()
            value.backward()
            return value, x.grad

        return step

    def autograd(self) -> Step:
        import autograd
        import autograd.numpy as anp
        from autograd.scipy.special import logsumexp

        both = autograd.value_and_grad(lambda x: anp.sum(logsumexp(x, axis=-1)))
        return lambda: both(self.x)

    def numpy(self) -> Step:
        x = self.x

        def step() -> Any:
            top = x.max(-1, keepdims=True)
            e = x - top
            np.exp(e, out=e)
            total = e.sum(-1, keepdims=True)
            value = np.sum(np.log(total) + top)
            e /= total
            return value, e

        return step

    def jax(self) -> Step:
        jax = jax_with_doubles()
        both = jax.jit(jax.value_and_grad(lambda x: jax.scipy.special.logsumexp(x, axis=-1).sum()))
        x = jax.numpy.asarray(self.x)
        return lambda: jax.block_until_ready(both(x))


class Recurrent(Row):
    """An LSTM cell, step by step; the loss is the sum of squares of the last state."""

    batch, hidden = 16, 64
    bars = Row.bars | {("chainrule", "PyTorch"): 0.65}
    lean = True

    def __init__(self, dtype: str, steps: int = 50) -> None:
        super().__init__(dtype)
        self.key, self.title = "lstm", f"LSTM cell, {steps} steps, batch 16, hidden 64"
        n = self.hidden
        rng = np.random.default_rng(0)
        self.inputs = rng.normal(size=(steps, self.batch, n)).astype(self.dtype)
        self.parameters = [
            (rng.normal(size=shape) / 8).astype(self.dtype) for shape in ((n, 4 * n), (n, 4 * n), (4 * n,))
        ]
        self.start = np.zeros((self.batch, n), self.dtype)

    def loss(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        n, sigmoid, xp = self.hidden, library.sigmoid, library.xp

        def loss(parameters: Any, inputs: Any, start: Any) -> Any:
            Wx, Wh, b = parameters
            h = c = start
            for x in inputs:
                z = x @ Wx + h @ Wh + b
                i, f, g, o = z[:, :n], z[:, n : 2 * n], z[:, 2 * n : 3 * n], z[:, 3 * n :]
                c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
                h = sigmoid(o) * xp.tanh(c)
            return xp.sum(h * h)

        return loss, [self.parameters, self.inputs, self.start]

    def chainrule(self) -> Step:
        parameters = Wx, Wh, b = [cr.Tensor(p) for p in self.parameters]
        n, sigmoid = self.hidden, functional.sigmoid

        def step() -> Any:
            for p in parameters:
                p.zero_grad()
            h = c = self.start
            for x in self.inputs:
                z = x @ Wx + h @ Wh + b
                i, f, g, o = z[:, :n], z[:, n : 2 * n], z[:, 2 * n : 3 * n], z[:, 3 * n :]
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            loss = np.sum(h * h)
            loss.backward()
            return loss.data, [p.grad for p in parameters]

        return step

    def torch(self) -> Step:
        import torch

        inputs, start = torch.tensor(self.inputs), torch.tensor(self.start)
        parameters = Wx, Wh, b = [torch.tensor(p, requires_grad=True) for p in self.parameters]

        def step() -> Any:
            for p in parameters:
                p.grad = None
            h = c = start
            for x in inputs:
                i, f, g, o = (x @ Wx + h @ Wh + b).chunk(4, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            loss = (h * h).sum()
            loss.backward()
            return loss, [p.grad for p in parameters]

        return step

    def autograd(self) -> Step:
        import autograd
        import autograd.numpy as anp

        n = self.hidden

        def sigmoid(x: Any) -> Any:
            return 1 / (1 + anp.exp(-x))

        def loss(parameters: Any) -> Any:
            Wx, Wh, b = parameters
            h = c = self.start
            for x in self.inputs:
                z = anp.dot(x, Wx) + anp.dot(h, Wh) + b
                i, f, g, o = z[:, :n], z[:, n : 2 * n], z[:, 2 * n : 3 * n], z[:, 3 * n :]
                c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
                h = sigmoid(o) * anp.tanh(c)
            return anp.sum(h * h)

        both = autograd.value_and_grad(loss)
        return lambda: both(self.parameters)

    def numpy(self) -> Step:
        Wx, Wh, b = self.parameters
        n = self.hidden

        def step() -> Any:
            h = c = self.start
            seen = []
            for x in self.inputs:
                z = x @ Wx
                z += h @ Wh
                z += b
                gates = 1 / (1 + np.exp(-z))
                i, f, o = gates[:, :n], gates[:, n : 2 * n], gates[:, 3 * n :]
                g = np.tanh(z[:, 2 * n : 3 * n])
                before = h, c
                c = f * c + i * g
                t = np.tanh(c)
                h = o * t
                seen.append((x, before, i, f, g, o, t))
            loss = np.sum(h * h)
            gWx, gWh, gb = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
            gh, gc = 2 * h, np.zeros_like(c)
            gz = np.empty_like(z)
            for x, (h, c), i, f, g, o, t in reversed(seen):
                gc = gc + gh * o * (1 - t * t)
                gz[:, :n] = gc * g * i * (1 - i)
                gz[:, n : 2 * n] = gc * c * f * (1 - f)
                gz[:, 2 * n : 3 * n] = gc * i * (1 - g * g)
                gz[:, 3 * n :] = gh * t * o * (1 - o)
                gWx += x.T @ gz
                gWh += h.T @ gz
                gb += gz.sum(0)
                gh = gz @ Wh.T
                gc = gc * f
            return loss, [gWx, gWh, gb]

        return step

    def jax(self) -> Step:
        jax = jax_with_doubles()
        jnp = jax.numpy
        inputs, start = jnp.asarray(self.inputs), jnp.asarray(self.start)
        parameters = [jnp.asarray(p) for p in self.parameters]

        def loss(parameters: Any, inputs: Any) -> Any:
            Wx, Wh, b = parameters

            def cell(state: Any, x: Any) -> Any:
                h, c = state
                i, f, g, o = jnp.split(x @ Wx + h @ Wh + b, 4, 1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

            # lax.scan: the unrolled loop takes XLA seconds to compile and runs more than ten times slower.
            (h, _), _ = jax.lax.scan(cell, (start, start), inputs)
            return jnp.sum(h * h)

        both = jax.jit(jax.value_and_grad(loss))
        return lambda: jax.block_until_ready(both(parameters, inputs))


DTYPES = ("float32", "float64")
SIZES = ((32, 64, 100, 10), (128, 784, 256, 10), (512, 784, 1024, 10))

# Arrays are made only when a row runs: the large ones would fill the caches of the others.
ROWS: dict[str, Callable[[], Row]] = {
    "scalar-float64": Chain,
    "chain-16-float64": lambda: Chain(16),
    **{
        f"mlp-{'x'.join(map(str, size))}-{dtype}": lambda size=size, dtype=dtype: Perceptron(*size, dtype)  # type: ignore[misc]
        for size in SIZES
        for dtype in DTYPES
    },
    **{
        f"elementwise-1e{power}-{dtype}": lambda power=power, dtype=dtype: Elementwise(10**power, dtype)  # type: ignore[misc]
        for power in (2, 3, 4, 5, 6, 7)
        for dtype in DTYPES
    },
    **{f"logsumexp-{dtype}": lambda dtype=dtype: LogSumExp(dtype) for dtype in DTYPES},  # type: ignore[misc]
    "fill-1000-float64": lambda: Filling(1_000),
    "fill-100000-float64": lambda: Filling(100_000),
    **{f"lstm-{dtype}": lambda dtype=dtype: Recurrent(dtype) for dtype in DTYPES},  # type: ignore[misc]
}
