"""Data: arrays in shuffled batches.

>>> import numpy as np
>>> x, y = np.arange(6.0), np.arange(6)
>>> [labels.tolist() for _, labels in Batches(x, y, batch_size=4, rng=0)]
[[3, 2, 5, 4], [0, 1]]
"""

from .batches import Batches

__all__ = ["Batches"]
