"""NumPy's `fft`: its functions dispatch on Tensors, so they are NumPy's own; sample frequencies can hold Tensors."""

import numpy as np
from numpy.fft import *  # noqa: F403 (all of its names)
from numpy.fft import __all__  # noqa: F401 (of this module too)

from .creation import from_numpy

fftfreq = from_numpy(np.fft.fftfreq)
rfftfreq = from_numpy(np.fft.rfftfreq)
