"""NumPy's names, for programs that create arrays and fill them.

>>> import chainrule as cr
>>> import chainrule.numpy as np
>>> def powers(x):
...     y = np.ones(4)
...     for i in range(1, 4):
...         y[i] = y[i - 1] * x
...     return np.sum(y)
>>> float(cr.grad(powers)(2.0))
17.0

Functions are NumPy's own: they see Tensors by themselves, and give plain arrays for plain arrays.  Creation functions
(`zeros`, `array`, `linspace`, ...) are ours: a floating or complex result is a Tensor without history, which can be
filled with Tensors; integer and boolean arrays are plain.  The namespace follows the array API standard as far as the
installed NumPy does (docs/array_api.md); it is what `Tensor.__array_namespace__` returns.
"""

import sys
from typing import Any

import numpy as np

from ..errors import MissingExtraError
from ..rules.registry import special_functions
from ..tensor import Tensor
from . import fft, linalg
from .creation import c_, created, mgrid, ogrid, r_

__all__ = list(np.__all__)

_own = {"fft": fft, "linalg": linalg, "mgrid": mgrid, "ogrid": ogrid, "r_": r_, "c_": c_, **created}
_also = ("__array_api_version__", "__array_namespace_info__", "__version__")
globals().update({name: vars(np)[name] for name in (*__all__, *_also) if name in vars(np)} | _own)


def __getattr__(name: str) -> Any:
    """What is loaded on first use: NumPy's submodules, and `special` for SciPy, which looks for an array's there."""
    if name in __all__:
        return getattr(np, name)
    if name == "special":
        try:
            return special_functions()
        except MissingExtraError as error:
            raise AttributeError(str(error)) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


Tensor.namespace = sys.modules[__name__]
