"""NumPy's `linalg`: its functions dispatch on Tensors, so they are NumPy's own."""

from numpy.linalg import *  # noqa: F403 (all of its names)
from numpy.linalg import __all__  # noqa: F401 (of this module too)
