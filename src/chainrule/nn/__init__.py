"""Neural networks: modules, layers, functions, losses and initialisers.

Definitions and defaults are PyTorch's; randomness always comes from a NumPy `Generator` (or a seed for one).

>>> import numpy as np
>>> net = Sequential(Linear(4, 8, rng=0), Tanh(), Linear(8, 3, rng=1))
>>> [name for name, _ in net.named_parameters()]
['layers.0.weight', 'layers.0.bias', 'layers.2.weight', 'layers.2.bias']
>>> loss = cross_entropy(net(np.ones((5, 4))), np.array([0, 1, 2, 0, 1]))
>>> loss.backward()
>>> net.layers[0].weight.grad.shape
(8, 4)
"""

from . import functional, init
from .functional import (
    cross_entropy,
    dropout,
    gelu,
    log_softmax,
    logsumexp,
    mse_loss,
    nll_loss,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from .layers import GELU, Dropout, Linear, LogSoftmax, ReLU, Sequential, Sigmoid, Softmax, Tanh
from .module import Module

__all__ = [
    "GELU",
    "Dropout",
    "Linear",
    "LogSoftmax",
    "Module",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "cross_entropy",
    "dropout",
    "functional",
    "gelu",
    "init",
    "log_softmax",
    "logsumexp",
    "mse_loss",
    "nll_loss",
    "relu",
    "sigmoid",
    "softmax",
    "tanh",
]
