"""Gradients for the NumPy you already write.

>>> import numpy as np, chainrule as cr
>>> cr.grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.0, np.pi / 4]))
array([0., 1.])
"""

from . import course, data, errors, nn, numpy, optim, protocols, rules  # noqa: F401 (some register themselves)
from .record import no_grad, stop_gradient
from .tensor import Tensor
from .transforms import grad, jvp, value_and_grad, vjp
from .walk.draw import draw
from .walk.singular import singular

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "data",
    "draw",
    "errors",
    "grad",
    "jvp",
    "nn",
    "no_grad",
    "optim",
    "singular",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]
