"""The smallest problem that needs a hidden layer: exclusive or.

Run with `python examples/xor.py`.
"""

import numpy as np

import chainrule as cr
from chainrule import nn, optim

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def train(steps=1000, seed=0):
    """Fit a network of four hidden units; return it and the losses."""
    rng = np.random.default_rng(seed)
    net = nn.Sequential(nn.Linear(2, 4, rng=rng), nn.Tanh(), nn.Linear(4, 1, rng=rng), nn.Sigmoid())
    optimizer = optim.Adam(net.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        loss = nn.mse_loss(net(X), Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net, losses


if __name__ == "__main__":
    net, losses = train()
    for step in range(0, len(losses), 100):
        print(f"step {step:4d}   loss {losses[step]:.6f}")
    with cr.no_grad():
        for (a, b), (p,) in zip(X, net(X), strict=True):
            print(f"{a:.0f} xor {b:.0f} = {p:.3f}")
