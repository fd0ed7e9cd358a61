"""Activations and losses as functions of Tensors or arrays; definitions are PyTorch's."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ..randomness import generator
from ..rules.registry import rules
from ..tensor import plain
from .init import Random

__all__ = [
    "cross_entropy",
    "dropout",
    "gelu",
    "log_softmax",
    "logsumexp",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]

Reduction = Literal["mean", "sum", "none"]


# -- activations ---------------------------------------------------------------------------------------------------
def _floating(x: Any) -> Any:
    """What has floating-point numbers as it is, anything else as an array of them."""
    return x if hasattr(x, "dtype") and x.dtype.kind in "fc" else np.asarray(x, dtype=float)[()]


def sigmoid(x: Any) -> Any:
    """The logistic function 1/(1 + exp(-x)), without overflow.

    Parameters
    ----------
    x : array_like or Tensor
        Real or complex, of any shape.

    Returns
    -------
    array or Tensor
        Of the same shape and dtype; float64 for integers.

    Notes
    -----
    Cost: an exponential and a few passes over `x`; the derivative reads the result.

    Examples
    --------
    >>> float(sigmoid(0.0))
    0.5
    """
    return rules["sigmoid"](_floating(x))


def tanh(x: Any) -> Any:
    """Hyperbolic tangent: ``np.tanh``.

    Parameters
    ----------
    x : array_like or Tensor
        Real or complex, of any shape.

    Returns
    -------
    array or Tensor
        Of the same shape and dtype; float64 for integers.

    Notes
    -----
    Cost: one pass over `x`; the derivative reads the result.

    Examples
    --------
    >>> tanh(np.array([0.0, 1000.0]))
    array([0., 1.])
    """
    return np.tanh(x)


def relu(x: Any) -> Any:
    """max(x, 0), with derivative 0 at 0.

    Parameters
    ----------
    x : array_like or Tensor
        Of any shape.

    Returns
    -------
    array or Tensor
        Of the same shape and dtype.

    Notes
    -----
    Cost: one pass over `x`; the derivative reads `x`.

    Examples
    --------
    >>> relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return rules["relu"](x)


def gelu(x: Any, approximate: Literal["none", "tanh"] = "none") -> Any:
    """Gaussian error linear unit: x times the normal distribution function of x.

    Parameters
    ----------
    x : array_like or Tensor
        Real, of any shape.
    approximate : {"none", "tanh"}
        Exact, or by the formula with tanh that GPT-2 was trained with.

    Returns
    -------
    array or Tensor
        Of the same shape and dtype; float64 for integers.

    Raises
    ------
    ValueError
        If `approximate` is something else.
    UnsupportedFunctionError
        If `x` is complex.

    Notes
    -----
    Cost: an error function, about that of ten exponentials; the derivative reads `x`.

    Examples
    --------
    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    if approximate == "none":
        return rules["gelu"](x)
    if approximate != "tanh":
        raise ValueError(f'gelu: approximate={approximate!r}, expected "none" or "tanh"')
    return 0.5 * x * (1 + np.tanh(float(np.sqrt(2 / np.pi)) * (x + 0.044715 * x * x * x)))


def logsumexp(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over `axis`, without overflow.

    Parameters
    ----------
    x : array_like or Tensor
        Real or complex, of any shape.
    axis : int or tuple of int, optional
        All axes by default.
    keepdims : bool, default False
        Leave the axes that are summed over, with length 1.

    Returns
    -------
    array or Tensor
        Without the axes that are summed over; of the dtype of `x`, float64 for integers.

    Raises
    ------
    AxisError
        If `x` has no such axis.
    ValueError
        If there is nothing to sum over.

    Notes
    -----
    Cost: an exponential and a few passes over `x`.  The derivative in `x` is ``softmax(x)`` over these axes.

    Examples
    --------
    >>> float(logsumexp(np.array([1000.0, 1000.0])) - 1000.0).__round__(4)
    0.6931
    """
    return rules["logsumexp"](_floating(x), axis=axis, keepdims=keepdims)


def softmax(x: Any, axis: int = -1) -> Any:
    """exp(x), scaled to sum to one along `axis`; without overflow.

    Parameters
    ----------
    x : array_like or Tensor
        Real or complex, of one axis or more.
    axis : int, default -1

    Returns
    -------
    array or Tensor
        Of the same shape and dtype; float64 for integers.

    Raises
    ------
    AxisError
        If `x` has no such axis.

    Notes
    -----
    Cost: an exponential and a few passes over `x`.  With the result y, a cotangent c is pulled back to
    ``y * (c - sum(c * y))``.

    Examples
    --------
    >>> softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    return rules["softmax"](_floating(x), axis=axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """log(softmax(x)), accurate also where softmax rounds to 0 or 1.

    Parameters
    ----------
    x : array_like or Tensor
        Real or complex, of one axis or more.
    axis : int, default -1

    Returns
    -------
    array or Tensor
        Of the same shape and dtype; float64 for integers.

    Raises
    ------
    AxisError
        If `x` has no such axis.

    Notes
    -----
    Cost: an exponential and a few passes over `x`.  With the result y, a cotangent c is pulled back to
    ``c - exp(y) * sum(c)``.

    Examples
    --------
    >>> log_softmax(np.array([0.0, -1000.0]))
    array([    0., -1000.])
    """
    return rules["log_softmax"](_floating(x), axis=axis)


def dropout(x: Any, p: float = 0.5, training: bool = True, rng: Random = None) -> Any:
    """Set each element to zero with probability `p`, and divide the others by 1 - p.

    Parameters
    ----------
    x : array or Tensor
    p : float in [0, 1]
    training : bool
        If false, `x` is returned as it is.
    rng : numpy.random.Generator or int, optional
        Where the choice comes from; fresh entropy by default.

    Raises
    ------
    ValueError
        If `p` is no probability.

    Notes
    -----
    Cost: a random number for each element, and one pass.  The derivative is 1/(1 - p) where an element stays, else 0.

    Examples
    --------
    >>> dropout(np.ones(6), 0.5, rng=0)
    array([2., 0., 0., 0., 2., 2.])
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p} is not a probability; expected 0 <= p <= 1")
    if not training or not p:
        return x
    stay = generator(rng).random(x.shape) >= p
    return x * (stay.astype(x.dtype) * (1 / (1 - p) if p < 1 else 0.0))


# -- losses ----------------------------------------------------------------------------------------------------------
def _reduced(loss: Any, reduction: str, name: str, count: int | None = None) -> Any:
    if reduction == "mean":
        return np.mean(loss) if count is None else np.sum(loss) / count
    if reduction == "sum":
        return np.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f'{name}: reduction={reduction!r}, expected "mean", "sum" or "none"')


def mse_loss(prediction: Any, target: Any, reduction: Reduction = "mean") -> Any:
    """Squared difference, averaged over all elements.

    Parameters
    ----------
    prediction, target : array or Tensor
        Of the same shape.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    ValueError
        If the shapes differ: broadcasting (n, 1) against (n,) would average n*n differences.

    Notes
    -----
    Cost: three passes.  The derivative in the prediction is ``2 * (prediction - target)``, divided by the number of
    elements for the mean.

    Examples
    --------
    >>> float(mse_loss(np.array([1.0, 2.0]), np.array([1.0, 4.0])))
    2.0
    """
    if np.shape(prediction) != np.shape(target):
        raise ValueError(
            f"mse_loss: prediction of shape {np.shape(prediction)} and target of shape {np.shape(target)}; "
            "expected the same shape. Reshape one of them."
        )
    return _reduced(np.square(np.subtract(prediction, target)), reduction, "mse_loss")


def nll_loss(log_probabilities: Any, target: Any, reduction: Reduction = "mean") -> Any:
    """Negative log-likelihood: minus the log-probability of each target class.

    Parameters
    ----------
    log_probabilities : array or Tensor of shape (C,), (N, C) or (N, C, ...)
        As `log_softmax` gives them.
    target : integer array of shape (), (N,) or (N, ...)
        Classes from 0 to C - 1.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    TypeError
        If the target is not of an integer dtype.
    ValueError
        If its shape does not fit, or a class is out of range.

    Notes
    -----
    Cost: one number read for each target.  The derivative is -1 there, divided by their number for the mean, else 0.

    Examples
    --------
    >>> p = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    >>> nll_loss(np.log(p), np.array([0, 2]), reduction="none").round(4)
    array([0.6931, 0.2231])
    """
    return _reduced(-_picked(log_probabilities, _classes(log_probabilities, target, "nll_loss")), reduction, "nll_loss")


def cross_entropy(logits: Any, target: Any, reduction: Reduction = "mean") -> Any:
    """Cross-entropy between softmax(logits) and the target, computed from the logits without overflow.

    Parameters
    ----------
    logits : array or Tensor of shape (C,), (N, C) or (N, C, ...)
        Unnormalised log-probabilities of C classes.
    target : array
        Integer classes of shape (), (N,) or (N, ...); or class probabilities in the shape of the logits.
    reduction : {"mean", "sum", "none"}
        The mean is over the samples (and further axes), not over the classes.

    Raises
    ------
    TypeError, ValueError
        As for `nll_loss`.

    Notes
    -----
    Cost: that of `log_softmax`.  The derivative in the logits is ``softmax(logits)`` minus 1 at the target class (minus
    the probabilities), divided by the number of samples for the mean.

    Examples
    --------
    >>> logits = np.array([[2.0, 0.0], [0.0, 0.0]])
    >>> float(cross_entropy(logits, np.array([0, 1]))).__round__(4)
    0.41
    """
    axis = _class_axis(logits, "cross_entropy")
    if np.shape(target) == logits.shape and _dtype(target).kind == "f":
        loss = -np.sum(target * log_softmax(logits, axis), axis=axis)
        return _reduced(loss, reduction, "cross_entropy")
    classes = _classes(logits, target, "cross_entropy")
    return _reduced(-_picked(log_softmax(logits, axis), classes), reduction, "cross_entropy")


def _dtype(x: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    return dtype


def _class_axis(scores: Any, name: str) -> int:
    if not np.ndim(scores):
        raise ValueError(f"{name}: scores of shape (), expected (C,), (N, C) or (N, C, ...)")
    return min(np.ndim(scores) - 1, 1)


def _classes(scores: Any, target: Any, name: str) -> Any:
    """The target as a plain integer array, checked."""
    axis = _class_axis(scores, name)
    shape, count = scores.shape[:axis] + scores.shape[axis + 1 :], scores.shape[axis]
    dtype = _dtype(target)
    if dtype.kind not in "iu":
        raise TypeError(
            f"{name}: target of dtype {dtype} and shape {np.shape(target)}, expected integer classes of shape {shape}"
            + (f", or probabilities of shape {scores.shape}" if name == "cross_entropy" else "")
            + ". Pass classes as a plain array: target.astype(int)."
        )
    classes = plain(target) if hasattr(target, "shape") else np.asarray(target)
    if classes.shape != shape:
        raise ValueError(
            f"{name}: target of shape {classes.shape} for scores of shape {scores.shape}, expected shape {shape}"
        )
    if classes.size and not (classes.min() >= 0 and classes.max() < count):
        raise ValueError(f"{name}: target classes from {classes.min()} to {classes.max()}, expected 0 to {count - 1}")
    return classes


def _picked(scores: Any, classes: Any) -> Any:
    """Per sample, the score of its class."""
    if scores.ndim == 2:
        return scores[np.arange(classes.size), classes]
    if scores.ndim == 1:
        return scores[classes[()]]
    rows = np.reshape(np.moveaxis(scores, 1, -1), (-1, scores.shape[1]))
    return np.reshape(rows[np.arange(classes.size), classes.ravel()], classes.shape)
