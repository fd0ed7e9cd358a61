"""Recognise handwritten digits: the 1,797 scans of 8 by 8 pixels that scikit-learn ships.

Run with `python examples/digits.py`; it takes a few seconds.
"""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim


def load(rng):
    """Return (training pixels, labels), (test pixels, labels): 70 and 30 percent, shuffled."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise cr.errors.MissingExtraError("this needs scikit-learn: pip install chainrule[demo]") from None
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    pixels, labels = digits.data[order] / 16.0, digits.target[order]
    cut = round(0.7 * len(labels))
    return (pixels[:cut], labels[:cut]), (pixels[cut:], labels[cut:])


def network(rng):
    """A network with one hidden layer, from 64 pixels to 10 logits."""
    return nn.Sequential(nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Dropout(0.2, rng=rng), nn.Linear(128, 10, rng=rng))


def accuracy(net, pixels, labels):
    """Share of the images that the network gets right."""
    with cr.no_grad():
        return float(np.mean(net.eval()(pixels).data.argmax(1) == labels))


def train(net, train_set, test_set, rng, epochs=40):
    """Train; after each epoch yield the mean training loss and the accuracy on the test set."""
    optimizer = optim.AdamW(net.parameters(), lr=2e-3)
    batches = data.Batches(*train_set, batch_size=32, rng=rng)
    for _ in range(epochs):
        net.train()
        losses = []
        for pixels, labels in batches:
            loss = nn.cross_entropy(net(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        yield float(np.mean(losses)), accuracy(net, *test_set)


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    train_set, test_set = load(rng)
    for epoch, (loss, right) in enumerate(train(network(rng), train_set, test_set, rng), 1):
        print(f"epoch {epoch:2d}   loss {loss:.4f}   test accuracy {right:.2%}")
