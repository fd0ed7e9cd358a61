"""SciPy's functions, differentiable: each submodule has the names of SciPy's own.

>>> import numpy as np, chainrule as cr
>>> from chainrule.scipy import special
>>> float(cr.grad(special.gammaln)(1.0)).__round__(4)
-0.5772

SciPy is an optional dependency: `pip install "chainrule[scipy]"`.
"""

from ..errors import MissingExtraError

try:
    import scipy  # noqa: F401 (only whether it is there)
except ImportError as error:
    raise MissingExtraError(
        'chainrule.scipy needs SciPy, which is not installed: pip install "chainrule[scipy]"'
    ) from error
