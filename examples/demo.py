"""The demonstration that `make demo` runs: learn to read digits, and show what was learned.

Writes to `out/`: the learning curve, the digits that were misread, and the network's computation graph.  If PyTorch is
installed, one batch's gradients are compared with its.
"""

import time
from pathlib import Path

import digits
import numpy as np

import chainrule as cr
from chainrule import nn

try:
    import matplotlib as mpl
    from tqdm import tqdm

    mpl.use("agg")
    from matplotlib import pyplot as plt
except ImportError as error:
    raise cr.errors.MissingExtraError(f"the demo needs {error.name}: pip install chainrule[demo]") from None

EPOCHS = 40


def plot_curve(history, file):
    """Loss and test accuracy over the epochs."""
    losses, accuracies = zip(*history, strict=True)
    epochs = range(1, len(history) + 1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.semilogy(epochs, losses, color="#3f6fb5")
    left.set(title="Training loss (cross-entropy)", xlabel="epoch")
    right.plot(epochs, [100 * a for a in accuracies], color="#3f8f57")
    right.set(title="Test accuracy", xlabel="epoch", ylabel="%")
    right.annotate(
        f"{accuracies[-1]:.2%}", (len(history), 100 * accuracies[-1]), (-6, -16), textcoords="offset points", ha="right"
    )
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def plot_mistakes(net, pixels, labels, file):
    """A sheet of the test digits that the network misreads, with what it says and how sure it is."""
    with cr.no_grad():
        probabilities = nn.softmax(net.eval()(pixels)).data
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    columns = 8
    rows = max(1, -(-min(len(wrong), 40) // columns))
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.25 * columns, 1.6 * rows + 0.3), layout="constrained", squeeze=False
    )
    figure.suptitle(
        f"{len(wrong)} of {len(labels)} test digits misread" + (f", {rows * columns} shown" * (len(wrong) > 40))
    )
    for place in axes.flat:
        place.axis("off")
    for place, i in zip(axes.flat, wrong, strict=False):
        place.imshow(pixels[i].reshape(8, 8), cmap="gray_r", interpolation="nearest")
        guess = probabilities[i].argmax()
        place.set_title(f"read {guess} ({probabilities[i, guess]:.0%})\nis {labels[i]}", fontsize=9)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def compare_with_torch(net, pixels, labels):
    """Largest difference between one batch's gradients and PyTorch's, relative to each gradient's largest element."""
    try:
        import torch
    except ImportError:
        return None
    net.eval().zero_grad()
    nn.cross_entropy(net(pixels), labels).backward()
    first, last = net[0], net[3]
    peers = [torch.tensor(p.data, requires_grad=True) for p in (first.weight, first.bias, last.weight, last.bias)]
    W, b, V, c = peers
    hidden = torch.relu(torch.nn.functional.linear(torch.tensor(pixels), W, b))
    logits = torch.nn.functional.linear(hidden, V, c)
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    pairs = [(ours.grad, theirs.grad.numpy()) for ours, theirs in zip(net.parameters(), peers, strict=True)]
    return max(np.abs(ours - theirs).max() / np.abs(theirs).max() for ours, theirs in pairs)


def main(out="out", epochs=EPOCHS):
    """Train, report, and write the pictures to the folder `out`; return the test accuracy."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    train_set, test_set = digits.load(rng)
    net = digits.network(rng)
    print(f"{len(train_set[1])} scans to learn from, {len(test_set[1])} to test on; the network:\n{net}")
    history, start = [], time.perf_counter()
    with tqdm(digits.train(net, train_set, test_set, rng, epochs), total=epochs, unit="epoch") as bar:
        for loss, right in bar:
            history.append((loss, right))
            bar.set_postfix(loss=f"{loss:.4f}", accuracy=f"{right:.2%}")
    print(f"test accuracy {right:.2%} after {time.perf_counter() - start:.1f} s")

    batch = train_set[0][:32], train_set[1][:32]
    difference = compare_with_torch(net, *batch)
    if difference is None:
        print("PyTorch is not installed: the comparison with its gradients was skipped")
    else:
        verdict = "equal to rounding" if difference <= 1e-12 else "DIFFERENT"
        print(f"one batch's gradients against PyTorch's: largest relative difference {difference:.0e} ({verdict})")

    plot_curve(history, out / "learning_curve.png")
    plot_mistakes(net, *test_set, out / "mistakes.png")
    cr.draw(nn.cross_entropy(net.eval()(batch[0]), batch[1]), out / "graph.svg")
    for name, what in (
        ("learning_curve.png", "loss and accuracy over the epochs"),
        ("mistakes.png", "the digits that were misread"),
        ("graph.svg", "the network's computation graph"),
    ):
        print(f"{(out / name).as_posix()}: {what}")
    return right


if __name__ == "__main__":
    main()
