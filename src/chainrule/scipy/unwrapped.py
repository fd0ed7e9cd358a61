"""SciPy's special functions themselves, which dispatch on Tensors.

With SCIPY_ARRAY_API=1 most names of `scipy.special` are functions around them, which ask the arguments for the library
to call instead; for a Tensor that is this one.
"""

from collections.abc import Callable
from inspect import unwrap
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import special as wrapped


def _dispatches(function: Callable[..., Any]) -> bool:
    return isinstance(function, np.ufunc) or function is np.sinc


def _inside(function: Callable[..., Any]) -> Callable[..., Any]:
    found = unwrap(function, stop=_dispatches)
    return found if _dispatches(found) else function


special = SimpleNamespace(**{name: _inside(thing) for name, thing in vars(wrapped).items() if callable(thing)})
special.__all__ = list(wrapped.__all__)
