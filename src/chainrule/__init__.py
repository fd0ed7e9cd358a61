"""Gradients for the NumPy you already write.

>>> import numpy as np, chainrule as cr
>>> cr.grad(lambda x: np.sum(np.sin(x) ** 2))(np.array([0.0, np.pi / 4]))
array([0., 1.])
"""

from . import course, data, errors, nn, numpy, optim, protocols, rules, testing, training  # noqa: F401 (some register themselves)
from .batching import vmap
from .checkpointing import checkpoint, checkpoint_chain
from .compile.jit import jit
from .control import cond, fori_loop, scan, while_loop
from .custom import custom_jvp, custom_vjp
from .jacobians import elementwise_grad, ggn_vp, hessian, hvp, jacobian
from .own import def_linear, def_partials, def_rules, primitive, register_derivative
from .record import no_grad, stop_gradient
from .series import derivative, jet
from .sparse import SparsityPlan, sparse_hessian, sparse_jacobian, sparsity
from .tensor import Tensor
from .transforms import grad, jvp, linearize, value_and_grad, vjp
from .walk.debug import debug
from .walk.draw import draw
from .walk.explain import explain
from .walk.nans import explain_nan
from .walk.show import show
from .walk.singular import singular

__version__ = "0.1.0"

__all__ = [
    "SparsityPlan",
    "Tensor",
    "checkpoint",
    "checkpoint_chain",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "data",
    "debug",
    "def_linear",
    "def_partials",
    "def_rules",
    "derivative",
    "draw",
    "elementwise_grad",
    "errors",
    "explain",
    "explain_nan",
    "fori_loop",
    "ggn_vp",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jet",
    "jit",
    "jvp",
    "linearize",
    "nn",
    "no_grad",
    "optim",
    "primitive",
    "register_derivative",
    "scan",
    "show",
    "singular",
    "sparse_hessian",
    "sparse_jacobian",
    "sparsity",
    "stop_gradient",
    "testing",
    "training",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
