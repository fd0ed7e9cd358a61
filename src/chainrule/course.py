"""The names of the course, on top of the public ones.

``t.val``, ``t.gradient`` and ``t.backpropagate()`` work on every Tensor.  A Tensor without a value, ``Tensor()``, is
the way to the course's functions, which take their operand as argument: ``Tensor().sigmoid(x)``.
"""

from __future__ import annotations

from typing import Any, NoReturn, cast

import numpy as np

from .errors import DataError, InPlaceError
from .nn import functional
from .rules.registry import rules
from .tensor import Tensor, as_value, describe, handle, plain

__all__ = ["Empty"]


# -- on every Tensor ---------------------------------------------------------------------------------------------
def _val(tensor: Tensor) -> Any:
    """The plain array; assigning to it (``W.val -= 0.1 * W.gradient``) changes a leaf without recording."""
    return tensor.data


def _set_val(tensor: Tensor, value: Any) -> None:
    if tensor.node is not None and tensor.node.rule is not None:
        raise InPlaceError(f"{describe(tensor)} is the result of an operation; assign to the .val of what it came from")
    value = as_value(plain(value), tensor.dtype, copy=False)
    if value.shape != tensor.shape:
        raise DataError(f"a value of shape {value.shape} for {describe(tensor)}; make a new Tensor instead")
    tensor.data = value


def _gradient(tensor: Tensor) -> Any:
    """The gradient as a plain array: zeros before the first backward pass."""
    return np.zeros(tensor.shape, tensor.dtype)[()] if tensor.grad is None else plain(tensor.grad)


def _set_gradient(tensor: Tensor, value: Any) -> None:
    tensor.grad = value


def backpropagate(tensor: Tensor, gradient: Any = None) -> None:
    """Add the derivative of this Tensor to the `gradient` of every leaf it depends on: `backward` by another name.

    Parameters
    ----------
    gradient : array_like of this Tensor's shape, optional
        The cotangent to start from; ones by default.

    Examples
    --------
    >>> x = Tensor(3.0)
    >>> (x * x).backpropagate()
    >>> float(x.gradient)
    6.0
    """
    tensor.backward(gradient)


def sigmoid(tensor: Tensor, x: Any = None) -> Tensor:
    """The logistic function: of `x`, as the course calls it, or of this Tensor if there is no `x`."""
    return cast(Tensor, rules["sigmoid"](tensor if x is None else _operand(x)))


_tensor: Any = Tensor
_tensor.val = property(_val, _set_val)
_tensor.gradient = property(_gradient, _set_gradient)
_tensor.backpropagate = backpropagate
_tensor.sigmoid = sigmoid


# -- the empty Tensor ----------------------------------------------------------------------------------------------
def _operand(x: Any) -> Tensor:
    """What a course function works on: a Tensor as it is, anything else as a constant."""
    return x if isinstance(x, Tensor) else handle(None, as_value(x))


class Empty(Tensor):
    """What ``Tensor()`` makes: no value, only the course's functions.

    Every function takes a Tensor or array_like, records, and returns a Tensor.  The losses take the prediction and
    the target and return their mean, a 0-d Tensor; classes are the last axis of a matrix of predictions, and a target
    of classes is an integer array (or, for `crossentropy_loss`, an array of probabilities).

    Examples
    --------
    >>> relu = Tensor().relu
    >>> relu([-1.0, 2.0])
    Tensor([0., 2.])
    """

    __slots__ = ()

    def relu(self, x: Any) -> Tensor:
        """max(x, 0)."""
        return cast(Tensor, functional.relu(_operand(x)))

    def exp(self, x: Any) -> Tensor:
        """e to the power x."""
        return cast(Tensor, np.exp(cast(Any, _operand(x))))

    def ln(self, x: Any) -> Tensor:
        """Natural logarithm."""
        return cast(Tensor, np.log(cast(Any, _operand(x))))

    def sum(self, x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Sum over all elements, or along `axis`."""
        return cast(Tensor, np.sum(cast(Any, _operand(x)), axis=axis, keepdims=keepdims))

    def softmax(self, x: Any, axis: int = -1) -> Tensor:
        """exp(x), scaled to sum to one along `axis`."""
        return cast(Tensor, functional.softmax(_operand(x), axis))

    def mse_loss(self, prediction: Any, target: Any) -> Tensor:
        """Mean of the squared differences."""
        return cast(Tensor, functional.mse_loss(_operand(prediction), target))

    def nll_loss(self, log_probabilities: Any, target: Any) -> Tensor:
        """Mean negative log-likelihood of the target classes."""
        return cast(Tensor, functional.nll_loss(_operand(log_probabilities), target))

    def crossentropy_loss(self, logits: Any, target: Any) -> Tensor:
        """Mean cross-entropy between softmax(logits) and the target."""
        return cast(Tensor, functional.cross_entropy(_operand(logits), target))

    def __repr__(self) -> str:
        return "Tensor()"

    __str__ = __repr__

    def __getattr__(self, name: str) -> NoReturn:  # called for the slots that a Tensor with a value fills
        if name in Tensor.__slots__:
            raise DataError("Tensor() has no value, only functions, as Tensor().sigmoid(x). For a value: Tensor(x)")
        raise AttributeError(f"'Tensor' object has no attribute {name!r}")


Tensor.empty = Empty
