"""Optimisers: they change parameters in place, by their gradients.

Update rules and defaults are PyTorch's.  `lr` and the other settings are attributes, which a schedule may change.

>>> from chainrule import Tensor, optim
>>> w = Tensor([1.0, -2.0])
>>> optimizer = optim.SGD([w], lr=0.1)
>>> for _ in range(3):
...     optimizer.zero_grad()
...     (w * w).backward()
...     optimizer.step()
>>> w.data
array([ 0.512, -1.024])
"""

from .optimizers import SGD, Adam, AdamW, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
