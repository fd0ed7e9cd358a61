"""What is measured of sparse derivatives: a sweep for each colour, and a trace, to see that the plan holds.

The others do what their users do by hand: JAX and PyTorch batch the small Jacobians of the observations, or multiply
the Hessian with three vectors that were thought out beforehand; the plan finds such things by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import scipy.sparse

import chainrule as cr

from .harness import Step
from .jacobians import blocks, blocks_by_hand, misfit, observations
from .libraries import chainrule_library, each, jax_library, torch_library
from .rows import Row


class Sparse(Row):
    """A sparse matrix of which every contestant returns the values, row by row."""

    bars = MappingProxyType({})

    def __init__(self, key: str, title: str) -> None:
        super().__init__()
        self.key, self.title = key, title

    def makers(self) -> dict[str, Callable[[], Step]]:
        return {"chainrule": self.chainrule, "PyTorch": self.torch, "NumPy": self.numpy, "jax.jit": self.jax}

    def functions(self) -> dict[str, Callable[[], Step]]:
        return {}  # this is not the gradient of one function

    def function(self) -> tuple[Callable[[Any], Any], Any]:
        """What is differentiated, and its argument."""
        raise NotImplementedError

    def entries(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        """The values as a function for a library that has no sparse derivatives, and its arguments."""
        raise NotImplementedError

    def by_hand(self) -> Any:
        raise NotImplementedError

    def chainrule(self) -> Step:
        function, x = self.function()
        made = cr.sparse_jacobian if np.ndim(function(x)) else cr.sparse_hessian
        derivative = made(function, cr.sparsity(function, x, order=1 if made is cr.sparse_jacobian else 2))
        return lambda: derivative(x).data

    def numpy(self) -> Step:
        function, x = self.function()
        pattern = cr.sparsity(function, x, order=1 if np.ndim(function(x)) else 2).pattern()
        return lambda: scipy.sparse.csr_array((self.by_hand(), pattern.indices, pattern.indptr), pattern.shape).data

    def torch(self) -> Step:
        library = torch_library(compiling=True)
        function, arguments = self.entries(library)
        arguments = [each(x, library.array) for x in arguments]
        return lambda: function(*arguments)

    def jax(self) -> Step:
        import jax

        library = jax_library()
        function, arguments = self.entries(library)
        arguments = [each(x, library.array) for x in arguments]
        compiled = jax.jit(function)
        return lambda: jax.block_until_ready(compiled(*arguments))


class Bundle(Sparse):
    """Residuals of bundle adjustment: 30,000 observations of 5,000 points by 50 cameras."""

    def __init__(self, n: int = 30_000, cameras: int = 50, points: int = 5_000) -> None:
        super().__init__("bundle", f"sparse Jacobian of bundle adjustment, {2 * n:,} rows, 14 entries each")
        rng = np.random.default_rng(4)
        self.camera_of, self.point_of = rng.integers(0, cameras, n), rng.integers(0, points, n)
        camera, point, self.weight, self.seen = observations(n)
        self.cameras, self.points = camera[:cameras], point[:points]

    def function(self) -> tuple[Callable[[Any], Any], Any]:
        library = chainrule_library()

        def residuals(x: Any) -> Any:
            camera, point = x["cameras"][self.camera_of], x["points"][self.point_of]
            return misfit(library, camera, point, x["weights"], self.seen)

        return residuals, {"cameras": self.cameras, "points": self.points, "weights": self.weight}

    def entries(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        kept = [[*range(8), *range(9, 11)], [*range(7), *range(8, 11)]]  # each row reads one of the two centres

        def values(cameras: Any, points: Any, weights: Any, seen: Any, camera_of: Any, point_of: Any) -> Any:
            camera, point, weight = blocks(library, cameras[camera_of], points[point_of], weights, seen)
            rows = [library.concatenate([camera[:, i, kept[i]], point[:, i], weight[:, i, None]], -1) for i in range(2)]
            return library.xp.reshape(library.stack(rows, 1), (-1,))

        return values, [self.cameras, self.points, self.weight, self.seen, self.camera_of, self.point_of]

    def by_hand(self) -> Any:
        camera, point, weight = blocks_by_hand(
            self.cameras[self.camera_of], self.points[self.point_of], self.weight, self.seen
        )
        values = np.empty((len(self.seen), 2, 14))
        for i in range(2):
            values[:, i, :7] = camera[:, i, :7]
            values[:, i, 7] = camera[:, i, 7 + i]
            values[:, i, 8:10] = camera[:, i, 9:]
        values[:, :, 10:13] = point
        values[:, :, 13] = weight
        return values.ravel()


class Tridiagonal(Sparse):
    """The Hessian of Rosenbrock's function."""

    def __init__(self, n: int = 100_000) -> None:
        super().__init__("tridiagonal", f"sparse Hessian of Rosenbrock's function, {n:,} variables")
        self.x = np.random.default_rng(0).normal(size=n)

    def function(self) -> tuple[Callable[[Any], Any], Any]:
        return lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2), self.x

    def entries(self, library: Any) -> tuple[Callable[..., Any], Sequence[Any]]:
        """Three products with the Hessian, and where in them the values are."""
        n = len(self.x)
        rows = np.repeat(np.arange(n), 3)[1:-1]
        columns = (np.arange(n)[:, None] + np.arange(-1, 2)).ravel()[1:-1]
        units = (np.arange(3)[:, None] == np.arange(n) % 3).astype(float)

        def loss(x: Any) -> Any:
            return library.xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)

        def values(x: Any, units: Any, colours: Any, rows: Any) -> Any:
            return library.vmap(lambda v: library.along(library.grad(loss), (x,), (v,))[1])(units)[colours, rows]

        return values, [self.x, units, columns % 3, rows]

    def by_hand(self) -> Any:
        x = self.x
        values = np.empty((len(x), 3))
        diagonal = values[:, 1]
        np.multiply(x, x, out=diagonal)
        diagonal *= 1200
        diagonal += 2
        diagonal[:-1] -= 400 * x[1:]
        diagonal[-1] = 0
        diagonal[1:] += 200
        np.multiply(x, -400, out=values[:, 2])
        values[1:, 0] = values[:-1, 2]
        return values.ravel()[1:-1]


SPARSE: dict[str, Callable[[], Row]] = {"bundle-float64": Bundle, "tridiagonal-float64": Tridiagonal}
