"""NumPy's `fft`: its functions dispatch on Tensors, so they are NumPy's own; sample frequencies can hold Tensors."""

import numpy as np
from numpy.fft import *  # noqa: F403
from numpy.fft import __all__  # noqa: F401

from .creation import from_numpy

fftfreq = from_numpy(np.fft.fftfreq)
rfftfreq = from_numpy(np.fft.rfftfreq)
