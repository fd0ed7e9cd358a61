"""Initial weights, as plain arrays from a seeded NumPy `Generator`.  Definitions are PyTorch's.

A weight of shape (out, in, ...) has fan_in = in * (...) and fan_out = out * (...).

>>> import numpy as np
>>> kaiming_uniform((100, 24), rng=0).shape
(100, 24)
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Any, Literal, TypeAlias

import numpy as np

__all__ = [
    "calculate_gain",
    "fans",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "xavier_normal",
    "xavier_uniform",
]

Random: TypeAlias = "np.random.Generator | int | None"  # a string: np.random is loaded when it is first used
Mode = Literal["fan_in", "fan_out"]
Array = np.ndarray[Any, np.dtype[Any]]

GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": sqrt(2), "selu": 3 / 4}


def calculate_gain(nonlinearity: str, a: float = 0.01) -> float:
    """Factor that keeps the scale of activations through a nonlinearity.

    Parameters
    ----------
    nonlinearity : {"linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"}
    a : float
        Slope of ``leaky_relu`` for negative arguments.

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2 / (1 + a * a))
    if nonlinearity not in GAINS:
        raise ValueError(f"nonlinearity={nonlinearity!r}, expected one of {', '.join([*GAINS, 'leaky_relu'])}")
    return GAINS[nonlinearity]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Count the inputs that one output is made of, and the outputs that one input goes into.

    Parameters
    ----------
    shape : tuple of int
        (out, in, ...) of a weight.

    Raises
    ------
    ValueError
        If there are fewer than two axes.

    Examples
    --------
    >>> fans((16, 3, 5, 5))
    (75, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"fan_in and fan_out of shape {shape}: expected at least two axes, (out, in, ...)")
    window = prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _uniform(shape: tuple[int, ...], std: float, rng: Random, dtype: Any) -> Array:
    bound = sqrt(3) * std
    return np.random.default_rng(rng).uniform(-bound, bound, shape).astype(dtype, copy=False)


def _normal(shape: tuple[int, ...], std: float, rng: Random, dtype: Any) -> Array:
    return np.random.default_rng(rng).normal(0.0, std, shape).astype(dtype, copy=False)


def _xavier(shape: tuple[int, ...], gain: float) -> float:
    return gain * sqrt(2 / sum(fans(shape)))


def _kaiming(shape: tuple[int, ...], a: float, mode: Mode, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f'mode={mode!r}, expected "fan_in" or "fan_out"')
    return calculate_gain(nonlinearity, a) / sqrt(fans(shape)[mode == "fan_out"])


def xavier_uniform(shape: tuple[int, ...], rng: Random = None, gain: float = 1.0, dtype: Any = np.float64) -> Array:
    """Draw from U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).

    Parameters
    ----------
    shape : tuple of int
        (out, in, ...).
    rng : numpy.random.Generator or int, optional
        Fresh entropy by default.
    gain : float
    dtype : dtype_like
    """
    return _uniform(shape, _xavier(shape, gain), rng, dtype)


def xavier_normal(shape: tuple[int, ...], rng: Random = None, gain: float = 1.0, dtype: Any = np.float64) -> Array:
    """Draw from N(0, s²) with s = gain * sqrt(2 / (fan_in + fan_out)); parameters as for `xavier_uniform`."""
    return _normal(shape, _xavier(shape, gain), rng, dtype)


def kaiming_uniform(
    shape: tuple[int, ...],
    rng: Random = None,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    dtype: Any = np.float64,
) -> Array:
    """Draw from U(-b, b) with b = gain * sqrt(3 / fan) (He et al., 2015).

    Parameters
    ----------
    shape : tuple of int
        (out, in, ...).
    rng : numpy.random.Generator or int, optional
        Fresh entropy by default.
    a : float
        Slope of the ``leaky_relu`` that follows; 0 is a plain relu.
    mode : {"fan_in", "fan_out"}
        Whether to keep the scale of the forward or of the backward pass.
    nonlinearity : str
        As for `calculate_gain`.
    dtype : dtype_like
    """
    return _uniform(shape, _kaiming(shape, a, mode, nonlinearity), rng, dtype)


def kaiming_normal(
    shape: tuple[int, ...],
    rng: Random = None,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    dtype: Any = np.float64,
) -> Array:
    """Draw from N(0, s²) with s = gain / sqrt(fan); parameters as for `kaiming_uniform`."""
    return _normal(shape, _kaiming(shape, a, mode, nonlinearity), rng, dtype)


def lecun_uniform(shape: tuple[int, ...], rng: Random = None, dtype: Any = np.float64) -> Array:
    """Draw from U(-b, b) with b = sqrt(3 / fan_in) (LeCun et al., 1998)."""
    return _uniform(shape, _kaiming(shape, 0.0, "fan_in", "linear"), rng, dtype)


def lecun_normal(shape: tuple[int, ...], rng: Random = None, dtype: Any = np.float64) -> Array:
    """Draw from N(0, s²) with s = sqrt(1 / fan_in)."""
    return _normal(shape, _kaiming(shape, 0.0, "fan_in", "linear"), rng, dtype)
