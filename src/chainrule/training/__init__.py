"""Training that can be watched: a summary of the model, a progress line, statistics per layer, and curves as files.

>>> from chainrule import nn, optim
>>> import numpy as np
>>> x, labels = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
>>> net = nn.Sequential(nn.Linear(2, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1))
>>> optimizer = optim.Adam(net.parameters(), lr=0.05)
>>> run = Progress([(x, labels)], epochs=100)
>>> with monitor(net) as layers:
...     for x, labels in run:
...         optimizer.zero_grad()
...         loss = nn.cross_entropy(net(x), labels)
...         loss.backward()
...         layers.step()
...         optimizer.step()
...         run.show(loss=loss)
>>> bool(run.history["loss"][-1] < 0.1 < run.history["loss"][0])
True
>>> layers.notes()
[]
"""

from .curves import History
from .monitoring import Monitor, monitor
from .progress import Progress
from .summaries import Summary, summary

__all__ = ["History", "Monitor", "Progress", "Summary", "monitor", "summary"]
