"""What is measured of `jit`: programs that are written once (see `libraries.py`), and by hand for NumPy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from .harness import CLOCK
from .libraries import autograd_library, chainrule_library, each, jax_library, torch_library
from .rows import Bars, Row, Step

Function = Callable[..., Any]


class Program(Row):
    """A function of arrays that every library runs as it stands.

    Parameters
    ----------
    key, title, dtype : of the row
    arguments : what it is called with
    function : called with a library first; a loss, unless `whole`
    argnums : in which arguments the loss is differentiated
    by_hand : value and gradients of the same arguments in NumPy, if that can be written by hand
    scanned : the function for libraries that have a `scan`; called with `unroll=`, too: how many steps are one
    """

    def __init__(
        self,
        key: str,
        title: str,
        dtype: str,
        arguments: Sequence[Any],
        function: Function,
        by_hand: Function | None = None,
        argnums: Any = 0,
        whole: bool = False,
        scanned: Function | None = None,
    ) -> None:
        super().__init__(dtype)
        self.key, self.title = key, title
        self.arguments, self.function, self.by_hand = list(arguments), function, by_hand
        self.argnums, self.whole, self.scanned = argnums, whole, scanned

    def loss(self, library: Any) -> tuple[Function, list[Any]]:
        if self.whole:
            return super().loss(library)  # type: ignore[return-value]
        return functools.partial(self._for(library), library), [each(x, library.array) for x in self.arguments]

    def program(self, library: Any) -> tuple[Function, list[Any]]:
        return self._of(library, self._for(library)), [each(x, library.array) for x in self.arguments]

    def _for(self, library: Any) -> Function:
        return self.scanned if self.scanned is not None and hasattr(library, "scan") else self.function

    def _of(self, library: Any, function: Function) -> Function:
        function = functools.partial(function, library)
        return function if self.whole else library.value_and_grad(function, argnums=self.argnums)  # type: ignore[no-any-return]

    def chainrule(self) -> Step:
        function, arguments = self.program(chainrule_library())
        return lambda: function(*arguments)

    def torch(self) -> Step:
        function, arguments = self.program(torch_library(compiling=False))
        return lambda: function(*arguments)

    def torch_compiled(self) -> Step:
        if self.scanned is not None:
            raise ImportError("torch.compile unrolls loops, and takes minutes to compile these")
        return super().torch_compiled()

    def autograd(self) -> Step:
        raise ImportError("not written for autograd")

    def numpy(self) -> Step:
        if self.by_hand is None:
            raise ImportError("not written by hand")
        by_hand, arguments = self.by_hand, self.arguments
        return lambda: by_hand(*arguments)

    def jax(self) -> Step:
        library = jax_library()
        import jax

        arguments = [each(x, library.array) for x in self.arguments]

        def compiled(function: Function) -> Step:
            jitted = jax.jit(self._of(library, function))
            return lambda: jax.block_until_ready(jitted(*arguments))

        if self.scanned is None:
            return compiled(self.function)
        return quickest([compiled(functools.partial(self.scanned, unroll=n)) for n in (1, 10)])


def quickest(steps: list[Step]) -> Step:
    """The step that takes the least time."""

    def seconds(step: Step) -> float:
        step()
        start = CLOCK()
        for _ in range(3):
            step()
        return CLOCK() - start

    return min(steps, key=seconds)


def normal(dtype: str, *shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# -- a training step ---------------------------------------------------------------------------------------------------
def network_loss(lib: Any, p: Any, X: Any, labels: Any) -> Any:
    hidden = lib.xp.tanh(X @ p["w1"] + p["b1"])
    return lib.cross_entropy(hidden @ p["w2"] + p["b2"], labels)


def adam_step(lib: Any, p: Any, m: Any, v: Any, t: Any, X: Any, labels: Any) -> Any:
    loss, g = lib.both(functools.partial(network_loss, lib))(p, X, labels)
    m = {name: 0.9 * m[name] + 0.1 * g[name] for name in p}
    v = {name: 0.999 * v[name] + 0.001 * g[name] * g[name] for name in p}
    rate = 1e-3 * lib.xp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    new = {name: p[name] - rate * m[name] / (lib.xp.sqrt(v[name]) + 1e-8) for name in p}
    return loss, new, m, v


def adam_step_by_hand(p: Any, m: Any, v: Any, t: Any, X: Any, labels: Any) -> Any:
    h = X @ p["w1"]
    h += p["b1"]
    np.tanh(h, out=h)
    z = h @ p["w2"]
    z += p["b2"]
    z -= z.max(1, keepdims=True)
    rows = np.arange(len(labels))
    chosen = z[rows, labels]
    np.exp(z, out=z)
    total = z.sum(1, keepdims=True)
    loss = np.mean(np.log(total[:, 0]) - chosen)
    z /= total
    z[rows, labels] -= 1
    z /= len(labels)
    gh = z @ p["w2"].T
    g = {"w2": h.T @ z, "b2": z.sum(0)}
    h *= h
    np.subtract(1, h, out=h)
    gh *= h
    g |= {"w1": X.T @ gh, "b1": gh.sum(0)}
    rate = 1e-3 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    new_p, new_m, new_v = {}, {}, {}
    for name in p:
        new_m[name] = a = 0.9 * m[name]
        a += 0.1 * g[name]
        new_v[name] = b = 0.999 * v[name]
        s = g[name]
        s *= s
        s *= 0.001
        b += s
        np.sqrt(b, out=s)
        s += 1e-8
        np.divide(a, s, out=s)
        s *= rate
        np.subtract(p[name], s, out=s)
        new_p[name] = s
    return loss, new_p, new_m, new_v


def adam(dtype: str) -> Program:
    shapes = {"w1": (784, 128), "b1": (128,), "w2": (128, 10), "b2": (10,)}
    p = {name: normal(dtype, shape)[0] * np.dtype(dtype).type(0.05) for name, shape in shapes.items()}
    m = {name: normal(dtype, shape, seed=1)[0] * np.dtype(dtype).type(0.01) for name, shape in shapes.items()}
    v = {name: x * x for name, x in m.items()}
    labels = np.random.default_rng(0).integers(0, 10, 64)
    arguments = p, m, v, np.dtype(dtype).type(3), normal(dtype, (64, 784))[0], labels
    title = "Adam step: cross-entropy, 64×784×128×10"
    row = Program("adam", title, dtype, arguments, adam_step, adam_step_by_hand, whole=True)
    row.alone = True
    return row


# -- statistics --------------------------------------------------------------------------------------------------------
def mixture_loss(lib: Any, alphas: Any, means: Any, logs: Any, lower: Any, mask: Any, eye: Any, X: Any) -> Any:
    xp = lib.xp
    n, d = X.shape
    Q = lower * mask + xp.exp(logs)[:, :, None] * eye  # of each inverse covariance, the triangular root
    y = X @ xp.swapaxes(Q, 1, 2) - xp.sum(Q * means[:, None, :], 2)[:, None, :]
    exponents = (alphas + xp.sum(logs, 1))[:, None] - 0.5 * xp.sum(y * y, 2)
    prior = 0.5 * (xp.sum(xp.exp(2 * logs)) + xp.sum(lower * lower * mask)) - xp.sum(logs)
    fit = xp.sum(lib.logsumexp(exponents, axis=0)) - n * lib.logsumexp(alphas, axis=0)
    return fit - prior - 0.5 * n * d * np.log(2 * np.pi).item()


def mixture_by_hand(alphas: Any, means: Any, logs: Any, lower: Any, mask: Any, eye: Any, X: Any) -> Any:
    n, d = X.shape
    scales = np.exp(logs)
    Q = lower * mask
    Q += scales[:, :, None] * eye
    y = X @ Q.transpose(0, 2, 1)
    y -= np.einsum("kij,kj->ki", Q, means)[:, None, :]
    exponents = np.einsum("kni,kni->kn", y, y)
    exponents *= -0.5
    exponents += (alphas + logs.sum(1))[:, None]
    top = exponents.max(0)
    exponents -= top
    np.exp(exponents, out=exponents)
    total = exponents.sum(0)
    peak = alphas.max()
    weights = np.exp(alphas - peak)
    value = np.sum(np.log(total) + top) - n * (np.log(weights.sum()) + peak)
    value -= 0.5 * (np.sum(scales * scales) + np.sum(lower * lower * mask)) - np.sum(logs)
    value -= 0.5 * n * d * np.log(2 * np.pi).item()
    exponents /= total
    shares = exponents.sum(1)
    y *= exponents[:, :, None]
    np.negative(y, out=y)
    sums = y.sum(1)
    gQ = y.transpose(0, 2, 1) @ X
    gQ -= sums[:, :, None] * means[:, None, :]
    g_means = -np.einsum("kij,ki->kj", Q, sums)
    g_logs = np.einsum("kii->ki", gQ) * scales + shares[:, None] + 1 - scales * scales
    g_lower = (gQ - lower) * mask
    return value, [shares - n * weights / weights.sum(), g_means, g_logs, g_lower]


def mixture(n: int, k: int, d: int, dtype: str) -> Program:
    alphas, means, logs, lower, X = normal(dtype, (k,), (k, d), (k, d), (k, d, d), (n, d))
    small = np.dtype(dtype).type(0.1)
    mask, eye = np.tri(d, k=-1, dtype=dtype), np.eye(d, dtype=dtype)
    arguments = alphas, means, logs * small, lower * small, mask, eye, X
    title = f"Gaussian mixture, N = {n:,}, K = {k}, d = {d}"
    return Program(f"gmm-{n}", title, dtype, arguments, mixture_loss, mixture_by_hand, argnums=(0, 1, 2, 3))


def kmeans_direction(lib: Any, centroids: Any, X: Any) -> Any:
    xp = lib.xp

    def cost(c: Any) -> Any:
        return xp.sum(xp.amin(xp.sum(X * X, 1)[:, None] + xp.sum(c * c, 1) - 2 * (X @ c.T), 1))

    gradient, diagonal = lib.along(lib.grad(cost), (centroids,), (xp.ones_like(centroids),))
    return gradient / diagonal


def kmeans_by_hand(centroids: Any, X: Any) -> Any:
    distances = X @ centroids.T
    distances *= -2
    distances += np.sum(centroids * centroids, 1)
    nearest = distances.argmin(1)
    counts = np.bincount(nearest, minlength=len(centroids))
    sums = np.stack([np.bincount(nearest, X[:, i], len(centroids)) for i in range(X.shape[1])], 1)
    return centroids - sums / counts[:, None]


def kmeans() -> Program:
    X = np.random.default_rng(0).standard_normal((10_000, 8))
    title = "k-means: gradient over diagonal of the Hessian, 10,000×8, 100 centroids"
    return Program("kmeans", title, "float64", (X[:100] + 0.01, X), kmeans_direction, kmeans_by_hand, whole=True)


def logistic_loss(lib: Any, w: Any, b: Any, X: Any, y: Any) -> Any:
    xp = lib.xp
    return xp.mean(lib.softplus(-y * (X @ w + b))) + 0.005 * xp.sum(w * w)


def logistic_by_hand(w: Any, b: Any, X: Any, y: Any) -> Any:
    z = X @ w
    z += b
    z *= -y
    e = np.exp(-np.abs(z))
    value = np.mean(np.log1p(e) + np.maximum(z, 0)) + 0.005 * np.sum(w * w)
    g = np.where(z > 0, 1, e) / (1 + e)
    g *= -y
    g /= len(y)
    return value, [X.T @ g + 0.01 * w, g.sum()]


def logistic(dtype: str) -> Program:
    X, w = normal(dtype, (100_000, 100), (100,))
    y = np.sign(X @ w + normal(dtype, (100_000,), seed=1)[0])
    w = w * np.dtype(dtype).type(0.1)
    arguments = w, np.dtype(dtype).type(0.1), X, y
    title = "logistic regression, 100,000×100"
    return Program("logistic", title, dtype, arguments, logistic_loss, logistic_by_hand, argnums=(0, 1))


# -- loops -------------------------------------------------------------------------------------------------------------
def gated_cell(lib: Any, weight: Any, bias: Any, hidden: Any, cell: Any, x: Any) -> Any:
    forget = lib.sigmoid(x * weight[0] + bias[0])
    into = lib.sigmoid(hidden * weight[1] + bias[1])
    out = lib.sigmoid(x * weight[2] + bias[2])
    change = lib.xp.tanh(hidden * weight[3] + bias[3])
    cell = cell * forget + into * change
    return out * lib.xp.tanh(cell), cell


def gated_term(lib: Any, hidden: Any, ends: Any, following: Any) -> Any:
    y = hidden * ends[0] + ends[1]
    return lib.xp.sum(following * (y - lib.xp.log(2 + lib.xp.sum(lib.xp.exp(y)))))


def gated_loss(lib: Any, weight: Any, bias: Any, ends: Any, xs: Any) -> Any:
    hidden = cell = lib.xp.zeros_like(xs[0])
    total = 0.0
    for i in range(len(xs) - 1):
        hidden, cell = gated_cell(lib, weight, bias, hidden, cell, xs[i])
        total = total + gated_term(lib, hidden, ends, xs[i + 1])
    return -total / (len(xs) - 1)


def gated_scan(lib: Any, weight: Any, bias: Any, ends: Any, xs: Any, unroll: int = 1) -> Any:
    def step(state: Any, pair: Any) -> Any:
        state = gated_cell(lib, weight, bias, *state, pair[0])
        return state, gated_term(lib, state[0], ends, pair[1])

    zeros = lib.xp.zeros_like(xs[0])
    return -lib.scan(step, (zeros, zeros), (xs[:-1], xs[1:]), unroll=unroll)[1].mean()


def gated_by_hand(weight: Any, bias: Any, ends: Any, xs: Any) -> Any:
    n = len(xs) - 1
    before, following = xs[:-1], xs[1:]
    forgets = 1 / (1 + np.exp(-(before * weight[0] + bias[0])))
    outs = 1 / (1 + np.exp(-(before * weight[2] + bias[2])))
    intos, changes, cells, hiddens = (np.zeros((n + 1, xs.shape[1]), xs.dtype) for _ in range(4))
    w1, w3, b1, b3 = weight[1], weight[3], bias[1], bias[3]
    for t in range(n):
        intos[t] = 1 / (1 + np.exp(-(hiddens[t] * w1 + b1)))
        changes[t] = np.tanh(hiddens[t] * w3 + b3)
        cells[t + 1] = cells[t] * forgets[t] + intos[t] * changes[t]
        hiddens[t + 1] = outs[t] * np.tanh(cells[t + 1])
    y = hiddens[1:] * ends[0] + ends[1]
    e = np.exp(y)
    totals = 2 + e.sum(1, keepdims=True)
    value = -np.sum(following * (y - np.log(totals))) / n
    gy = (following.sum(1, keepdims=True) * e / totals - following) / n
    gh_of_terms = gy * ends[0]
    tanhs = np.tanh(cells[1:])
    d_forget, d_into = cells[:-1] * forgets * (1 - forgets), changes[:-1] * intos[:-1] * (1 - intos[:-1])
    d_change, d_cell = intos[:-1] * (1 - changes[:-1] ** 2), outs * (1 - tanhs * tanhs)
    g_cells, g_hiddens = np.empty_like(tanhs), np.empty_like(tanhs)
    gh = gc = np.zeros_like(xs[0])
    for t in range(n - 1, -1, -1):
        gh = gh + gh_of_terms[t]
        gc = gc + gh * d_cell[t]
        g_hiddens[t], g_cells[t] = gh, gc
        gh = gc * (d_into[t] * w1 + d_change[t] * w3)
        gc = gc * forgets[t]
    gz = [g_cells * d_forget, g_cells * d_into, g_hiddens * tanhs * outs * (1 - outs), g_cells * d_change]
    seen = before, hiddens[:-1], before, hiddens[:-1]
    g_weight = np.stack([(g * x).sum(0) for g, x in zip(gz, seen, strict=True)])
    return value, [g_weight, np.stack([g.sum(0) for g in gz]), np.stack([(gy * hiddens[1:]).sum(0), gy.sum(0)])]


def gated(dtype: str) -> Program:
    xs = (np.random.default_rng(0).random((1025, 14)) > 0.5).astype(dtype)
    arguments = *normal(dtype, (4, 14), (4, 14), (2, 14)), xs
    title = "gated LSTM, 1,024 steps of 14"
    return Program(
        "gated",
        title,
        dtype,
        arguments,
        gated_loss,
        gated_by_hand,
        argnums=(0, 1, 2),
        scanned=gated_scan,
    )


STEPS, WIDTH = 100, 0.01


def rk4_step(lib: Any, a: Any, b: Any, y: Any) -> Any:
    def slope(y: Any) -> Any:
        return a * lib.xp.sin(y) - b * y * y * y

    k1 = slope(y)
    k2 = slope(y + WIDTH / 2 * k1)
    k3 = slope(y + WIDTH / 2 * k2)
    k4 = slope(y + WIDTH * k3)
    return y + WIDTH / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def rk4_loss(lib: Any, y: Any, a: Any, b: Any) -> Any:
    for _ in range(STEPS):
        y = rk4_step(lib, a, b, y)
    return lib.xp.sum(y * y)


def rk4_scan(lib: Any, y: Any, a: Any, b: Any, unroll: int = 1) -> Any:
    y, _ = lib.scan(lambda y, _: (rk4_step(lib, a, b, y), None), y, length=STEPS, unroll=unroll)
    return lib.xp.sum(y * y)


def rk4_by_hand(y: Any, a: Any, b: Any) -> Any:
    def slope(y: Any) -> Any:
        square = y * y
        square *= b
        square *= y
        s = np.sin(y)
        s *= a
        s -= square
        return s

    seen = []
    for _ in range(STEPS):
        k1 = slope(y)
        y2 = y + WIDTH / 2 * k1
        k2 = slope(y2)
        y3 = y + WIDTH / 2 * k2
        k3 = slope(y3)
        y4 = y + WIDTH * k3
        seen.append((y, y2, y3, y4))
        y = y + WIDTH / 6 * (k1 + 2 * k2 + 2 * k3 + slope(y4))
    value, g, ga, gb = np.sum(y * y), 2 * y, np.zeros_like(a), np.zeros_like(b)

    def back(g: Any, y: Any) -> Any:
        nonlocal ga, gb
        square = y * y
        ga += g * np.sin(y)
        gb -= g * square * y
        return g * (a * np.cos(y) - 3 * b * square)

    for y, y2, y3, y4 in reversed(seen):
        end = WIDTH / 6 * g
        g4 = back(end, y4)
        g3 = back(2 * end + WIDTH * g4, y3)
        g2 = back(2 * end + WIDTH / 2 * g3, y2)
        g = g + g4 + g3 + g2 + back(end + WIDTH / 2 * g2, y)
    return value, [g, ga, gb]


def rk4(dtype: str) -> Program:
    y, a, b = normal(dtype, (1000,), (1000,), (1000,))
    arguments = y, a, np.abs(b)
    title = "Runge-Kutta, 100 steps of 1,000"
    return Program("rk4", title, dtype, arguments, rk4_loss, rk4_by_hand, argnums=(0, 1, 2), scanned=rk4_scan)


def rolling(lib: Any, c: Any) -> Any:
    """Euler's steps of a ball until it is far enough: how many is data, and the force of each is a gradient."""

    def energy(x: Any) -> Any:
        return c[0] * lib.xp.cos(x[0]) + c[1] * x[1] * x[1] + 0.1 * x[0] * x[1]

    force = lib.slope(energy)

    def step(state: Any) -> Any:
        t, x, v = state
        v = v - 0.01 * force(x) - 0.002 * v
        return t + 0.01, x + 0.01 * v, v

    start = 0.0, lib.array(np.array([0.2, 0.2])), lib.array(np.zeros(2))
    t, x, v = lib.while_loop(lambda state: state[1][0] < 2, step, start)
    return (t - 1) ** 2 + lib.xp.sum(x * x) + lib.xp.sum(v * v)


class Rolling(Program):
    """A loop that goes on until a value says so, which JAX cannot differentiate in reverse mode."""

    bars: Bars = MappingProxyType(
        {
            (ours, theirs): bar
            for theirs in ("autograd", "PyTorch")
            for ours, bar in (("chainrule", 0.2), ("chainrule.jit", 0.01))
        }
    )

    def __init__(self) -> None:
        title = "Euler's steps with a gradient in each, while a value says so"
        super().__init__("nested-while", title, "float64", [np.array([2.0, 0.7])], rolling)

    def autograd(self) -> Step:
        function, arguments = self.program(autograd_library())
        return lambda: function(*arguments)

    def jax(self) -> Step:
        raise ImportError("JAX has no reverse mode of a loop whose length is data")

    def torch_compiled(self) -> Step:
        raise ImportError("torch.compile compiles no loop whose length is data")


# -- scalars -----------------------------------------------------------------------------------------------------------
def determinant(lib: Any, A: Any) -> Any:
    """By minors of the first row, of these the same, and so on: thousands of scalar products."""

    def minors(i: int, columns: tuple[int, ...]) -> Any:
        if len(columns) == 1:
            return elements[i][columns[0]]
        total = 0.0
        for k, j in enumerate(columns):
            term = elements[i][j] * minors(i + 1, columns[:k] + columns[k + 1 :])
            total = total - term if k % 2 else total + term
        return total

    n = len(A)
    elements = [[A[i, j] for j in range(n)] for i in range(n)]
    return minors(0, tuple(range(n)))


class Minors(Program):
    """A determinant by minors: 2,500 operations on numbers for 6×6, 17,300 for 7×7."""

    def __init__(self, n: int) -> None:
        super().__init__(
            f"minors-{n}", f"determinant of {n}×{n} by minors", "float64", normal("float64", (n, n)), determinant
        )

    def jax(self) -> Step:
        if len(self.arguments[0]) > 6:
            raise TimeoutError("XLA, which compiles 6×6 in 30 s, was not done after 20 minutes")
        return super().jax()

    def torch_compiled(self) -> Step:
        raise TimeoutError("takes a minute to compile 5×5, and was not waited for")


# -- products and pairs ------------------------------------------------------------------------------------------------
def attention_loss(lib: Any, q: Any, k: Any, v: Any) -> Any:
    out = lib.softmax(q @ lib.xp.swapaxes(k, -1, -2) * 0.125) @ v
    return lib.xp.sum(out * out)


def attention_by_hand(q: Any, k: Any, v: Any) -> Any:
    p = q @ k.swapaxes(-1, -2)
    p *= 0.125
    p -= p.max(-1, keepdims=True)
    np.exp(p, out=p)
    p /= p.sum(-1, keepdims=True)
    out = p @ v
    value = np.vdot(out, out)
    out *= 2
    gv = p.swapaxes(-1, -2) @ out
    g = out @ v.swapaxes(-1, -2)
    g -= np.einsum("...i,...i->...", g, p)[..., None]
    g *= p
    g *= 0.125
    return value, [g @ k, g.swapaxes(-1, -2) @ q, gv]


def attention(dtype: str) -> Program:
    shape = 8, 4, 128, 64
    arguments = normal(dtype, shape, shape, shape)
    title = "attention, batch 8, 4 heads, 128×64"
    return Program("attention", title, dtype, arguments, attention_loss, attention_by_hand, argnums=(0, 1, 2))


def nbody_loss(lib: Any, x: Any, v: Any, masses: Any) -> Any:
    xp = lib.xp

    def acceleration(x: Any) -> Any:
        d = x[None, :, :] - x[:, None, :]
        square = xp.sum(d * d, 2) + 0.01
        return xp.sum((masses / (square * xp.sqrt(square)))[:, :, None] * d, 1)

    v = v + 0.005 * acceleration(x)
    x = x + 0.01 * v
    v = v + 0.005 * acceleration(x)
    return xp.sum(x * x) + xp.sum(v * v)


def nbody_by_hand(x: Any, v: Any, masses: Any) -> Any:
    def acceleration(x: Any) -> Any:
        d = x[None, :, :] - x[:, None, :]
        square = np.einsum("ijk,ijk->ij", d, d)
        square += 0.01
        inverse = square * np.sqrt(square)
        np.divide(1, inverse, out=inverse)
        f = inverse * masses
        return np.einsum("ij,ijk->ik", f, d), (d, square, inverse, f)

    def back(g: Any, seen: Any) -> Any:
        d, square, inverse, f = seen
        gf = np.einsum("ik,ijk->ij", g, d)
        g_masses = np.einsum("ij,ij->j", gf, inverse)
        gf *= f
        gf /= square
        gf *= -3
        gd = d * gf[:, :, None]
        gd += f[:, :, None] * g[:, None, :]
        return gd.sum(0) - gd.sum(1), g_masses

    a, seen = acceleration(x)
    v = v + 0.005 * a
    x = x + 0.01 * v
    a, seen_later = acceleration(x)
    v = v + 0.005 * a
    gv = 2 * v
    gx, g_later = back(0.005 * gv, seen_later)
    gx += 2 * x
    gv = gv + 0.01 * gx
    more, g_masses = back(0.005 * gv, seen)
    return np.sum(x * x) + np.sum(v * v), [gx + more, gv, g_masses + g_later]


def nbody(dtype: str) -> Program:
    n = 256
    x, v = normal(dtype, (n, 3), (n, 3))
    masses = (0.5 + np.random.default_rng(1).random(n)).astype(dtype)
    title = f"step of {n} bodies in three dimensions"
    return Program("nbody", title, dtype, (x, v, masses), nbody_loss, nbody_by_hand, argnums=(0, 1, 2))


# -- finance -----------------------------------------------------------------------------------------------------------
def prices(lib: Any, S: Any, K: Any, sigma: Any, T: Any, r: Any) -> Any:
    xp = lib.xp
    spread = sigma * xp.sqrt(T)
    d1 = (xp.log(S / K) + (r + 0.5 * sigma * sigma) * T) / spread
    d2 = d1 - spread
    scale = 0.5**0.5
    return xp.sum(S * 0.5 * (1 + lib.erf(d1 * scale)) - K * xp.exp(-r * T) * 0.5 * (1 + lib.erf(d2 * scale)))


def greeks(lib: Any, S: Any, K: Any, sigma: Any, T: Any, r: Any) -> Any:
    """The price, its derivative in everything, and the derivatives of all that in the spot: gamma, vanna, charm, ..."""
    options = S, K, sigma, T, r
    directions = lib.xp.ones_like(S), *(lib.xp.zeros_like(x) for x in options[1:])
    everything = lib.both(functools.partial(prices, lib), argnums=(0, 1, 2, 3, 4))
    (value, first), (_, second) = lib.along(everything, options, directions)
    return value, first, second


def greeks_by_hand(S: Any, K: Any, sigma: Any, T: Any, r: Any) -> Any:
    from scipy.special import ndtr

    root = np.sqrt(T)
    spread = sigma * root
    moneyness = np.log(S / K)
    d1 = (moneyness + (r + 0.5 * sigma * sigma) * T) / spread
    d2 = d1 - spread
    below, discounted = ndtr(d1), K * np.exp(-r * T)
    density = np.exp(-0.5 * d1 * d1) * (2 * np.pi) ** -0.5
    ahead = discounted * ndtr(d2)
    value = np.sum(S * below - ahead)
    vega = S * density
    first = [below, -ahead / K, vega * root, vega * sigma / (2 * root) + r * ahead, T * ahead]
    slopes = [
        1 / (S * spread),
        -1 / (K * spread),
        -d2 / sigma,
        ((r + 0.5 * sigma * sigma) - moneyness / T) / (2 * spread),
        root / sigma,
    ]
    return value, first, [density * slope for slope in slopes]


def black_scholes(dtype: str) -> Program:
    rng = np.random.default_rng(0)
    ranges = (80, 120), (80, 120), (0.1, 0.4), (0.2, 2.0), (0.01, 0.05)
    arguments = [rng.uniform(low, high, 1_000_000).astype(dtype) for low, high in ranges]
    title = "Black-Scholes, all Greeks, 1e6 options"
    row = Program("greeks", title, dtype, arguments, greeks, greeks_by_hand, whole=True)
    row.alone = True
    return row


DTYPES = ("float32", "float64")
PROGRAMS: dict[str, Callable[[], Row]] = {
    **{
        f"{name}-{dtype}": functools.partial(make, dtype)
        for name, make in (
            ("adam", adam),
            ("gmm-1000", functools.partial(mixture, 1_000, 10, 20)),
            ("gmm-10000", functools.partial(mixture, 10_000, 25, 32)),
            ("logistic", logistic),
            ("attention", attention),
            ("nbody", nbody),
            ("greeks", black_scholes),
            ("rk4", rk4),
        )
        for dtype in DTYPES
    },
    "kmeans-float64": kmeans,
    "gated-float64": functools.partial(gated, "float64"),
    "minors-6-float64": functools.partial(Minors, 6),
    "minors-7-float64": functools.partial(Minors, 7),
    "nested-while-float64": Rolling,
}
