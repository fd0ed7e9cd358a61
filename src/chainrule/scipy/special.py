"""SciPy's special functions, differentiable.

Elementwise ones are SciPy's own ufuncs, which dispatch to the rows of `special_table.py`: `scipy.special.gamma(t)` of a
Tensor works as well.
"""

from scipy.special import *  # noqa: F403

from . import special_table  # noqa: F401 (registers the rows)
