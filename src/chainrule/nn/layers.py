"""The layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt
from typing import Any, Literal

import numpy as np

from ..tensor import Tensor, describe
from . import functional
from .init import Random, kaiming_uniform
from .module import Module

__all__ = ["GELU", "Dropout", "Linear", "LogSoftmax", "ReLU", "Sequential", "Sigmoid", "Softmax", "Tanh"]


class Linear(Module):
    """Affine map: ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default True
    rng : numpy.random.Generator or int, optional
        Where the initial values come from: U(-1/sqrt(in), 1/sqrt(in)), as in PyTorch.  Fresh entropy by default.
    dtype : dtype_like, default float64

    Attributes
    ----------
    weight : Tensor of shape (out_features, in_features)
    bias : Tensor of shape (out_features,), or None

    Raises
    ------
    ValueError
        If a size is not positive, or the last axis of an input is not `in_features` long.

    Examples
    --------
    >>> Linear(3, 2, rng=0)(np.ones((5, 3))).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, rng: Random = None, dtype: Any = np.float64
    ) -> None:
        if in_features < 1 or out_features < 1:
            raise ValueError(f"Linear({in_features}, {out_features}): expected at least one feature on either side")
        self.in_features, self.out_features = in_features, out_features
        rng = np.random.default_rng(rng)
        shape = out_features, in_features
        self.weight = Tensor(kaiming_uniform(shape, rng, a=sqrt(5)), dtype, copy=False)
        bound = 1 / sqrt(in_features)
        self.bias = Tensor(rng.uniform(-bound, bound, out_features), dtype, copy=False) if bias else None

    def forward(self, x: Any) -> Any:
        """Map the last axis of `x` from `in_features` to `out_features`."""
        if np.shape(x)[-1:] != (self.in_features,):
            raise ValueError(
                f"{self!r} expects an input of shape (..., {self.in_features}), but was given {describe(x)}"
            )
        y = x @ self.weight.T
        return y if self.bias is None else y + self.bias

    def _settings(self) -> str:
        return f"{self.in_features}, {self.out_features}{', bias=False' if self.bias is None else ''}"


class Sequential(Module):
    """Layers applied one after the other.

    Parameters
    ----------
    *layers : Module or callable
        A plain function (``np.tanh``) is a layer too.

    Examples
    --------
    >>> net = Sequential(Linear(2, 8, rng=0), np.tanh, Linear(8, 1, rng=1))
    >>> net(np.ones((4, 2))).shape
    (4, 1)
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for layer in layers:
            if not callable(layer):
                raise TypeError(f"Sequential takes layers as separate arguments, but was given {describe(layer)}")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """Apply the layers in turn."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Callable[[Any], Any]:
        return self.layers[index]


class Sigmoid(Module):
    """The logistic function; see `sigmoid`.

    Examples
    --------
    >>> Sigmoid()(np.array([-1000.0, 0.0]))
    array([0. , 0.5])
    """

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return functional.sigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent.

    Examples
    --------
    >>> Tanh()(np.array([0.0, 1000.0]))
    array([0., 1.])
    """

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return functional.tanh(x)


class ReLU(Module):
    """max(x, 0), with derivative 0 at 0.

    Examples
    --------
    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return functional.relu(x)


class GELU(Module):
    """Gaussian error linear unit; see `gelu`.

    Parameters
    ----------
    approximate : {"none", "tanh"}

    Examples
    --------
    >>> np.round(GELU()(np.array([-1.0, 0.0, 1.0])), 4)
    array([-0.1587,  0.    ,  0.8413])
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return functional.gelu(x, self.approximate)

    def _settings(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class Softmax(Module):
    """exp(x), scaled to sum to one along `axis`.

    Parameters
    ----------
    axis : int, default -1

    Examples
    --------
    >>> Softmax()(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return functional.softmax(x, self.axis)

    def _settings(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """log(softmax(x)) along `axis`.

    Parameters
    ----------
    axis : int, default -1

    Examples
    --------
    >>> LogSoftmax()(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """

    def forward(self, x: Any) -> Any:
        """Apply it."""
        return functional.log_softmax(x, self.axis)


class Dropout(Module):
    """In training, set elements to zero with probability `p` and divide the others by 1 - p; otherwise do nothing.

    Parameters
    ----------
    p : float in [0, 1], default 0.5
    rng : numpy.random.Generator or int, optional
        Where the choices come from; fresh entropy by default.

    Raises
    ------
    ValueError
        If `p` is no probability.

    Examples
    --------
    >>> Dropout(0.5, rng=0)(np.ones(6))
    array([2., 0., 0., 0., 2., 2.])
    """

    def __init__(self, p: float = 0.5, rng: Random = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p={p} is not a probability; expected 0 <= p <= 1")
        self.p = p
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Any) -> Any:
        """Drop elements, if `training`."""
        return functional.dropout(x, self.p, self.training, self.rng)

    def _settings(self) -> str:
        return f"{self.p}"
