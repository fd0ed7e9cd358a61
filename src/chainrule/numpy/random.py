"""NumPy's `random`: draws are plain arrays, which are constants for every derivative."""

from numpy.random import *  # noqa: F403 (all of its names)
from numpy.random import __all__  # noqa: F401 (of this module too)
