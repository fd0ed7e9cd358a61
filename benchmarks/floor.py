"""What a gradient costs at least: `python -m benchmarks.floor` times the least that a tape can do.

The tape below makes the same NumPy calls as chainrule, and one handle and one node for each operation, in a fixed order
of operands and dtypes.  It knows nothing of views, writes, complex numbers, constants, NaN, contexts, higher orders or
errors; it cannot differentiate any other program.  What chainrule takes beyond it is the price of all of that.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from itertools import count
from operator import attrgetter
from typing import Any, Self

import numpy as np

from .harness import Step
from .rows import Chain, Perceptron, Row

next_index = count(1).__next__
by_index = attrgetter("index")


class Node:
    """One operation."""

    __slots__ = ("cotangent", "dtype", "index", "operands", "pull", "shape", "value")


class Handle:
    """A value and its node."""

    __slots__ = ("data", "node")
    __array_ufunc__ = None  # so that NumPy's operators leave everything to these

    def __matmul__(self, other: Handle) -> Handle:
        self.node.value, other.node.value = self.data, other.data
        return made(pull_matmul, (self.node, other.node), self.data @ other.data)

    def __rmatmul__(self, x: Any) -> Handle:
        y = made(pull_matmul_of_data, (self.node,), x @ self.data)
        y.node.value = x
        return y

    def __mul__(self, other: Handle) -> Handle:
        self.node.value, other.node.value = self.data, other.data
        return made(pull_multiply, (self.node, other.node), self.data * other.data)

    def __add__(self, other: Handle) -> Handle:
        return made(pull_add, (self.node, other.node), self.data + other.data)

    def __sub__(self, x: Any) -> Handle:
        return made(pull_subtract, (self.node,), self.data - x)

    def __pow__(self, exponent: int) -> Handle:
        self.node.value = self.data
        return made(pull_square, (self.node,), self.data**exponent)

    def tanh(self) -> Handle:
        y = made(pull_tanh, (self.node,), np.tanh(self.data))
        y.node.value = y.data
        return y

    def mean(self) -> Handle:
        return made(pull_mean, (self.node,), np.add.reduce(self.data, None) / self.data.size)

    @classmethod
    def leaf(cls, value: Any) -> Self:
        return made(None, (), value)  # type: ignore[return-value]


def made(pull: Any, operands: tuple[Node, ...], value: Any) -> Handle:
    node = Node()
    node.pull, node.operands, node.cotangent = pull, operands, None
    node.shape, node.dtype, node.index = value.shape, value.dtype, next_index()
    handle = object.__new__(Handle)
    handle.node, handle.data = node, value
    return handle


def accumulate(node: Node, x: Any) -> None:
    if x.shape != node.shape:
        x = np.add.reduce(x, 0)
    before = node.cotangent
    node.cotangent = x if before is None else before + x


def pull_matmul(node: Node, ct: Any) -> None:
    a, b = node.operands
    accumulate(a, ct.dot(b.value.T))
    accumulate(b, a.value.T.dot(ct))


def pull_matmul_of_data(node: Node, ct: Any) -> None:
    accumulate(node.operands[0], node.value.T.dot(ct))


def pull_multiply(node: Node, ct: Any) -> None:
    a, b = node.operands
    accumulate(a, ct * b.value)
    accumulate(b, ct * a.value)


def pull_add(node: Node, ct: Any) -> None:
    a, b = node.operands
    accumulate(a, ct)
    accumulate(b, ct)


def pull_subtract(node: Node, ct: Any) -> None:
    accumulate(node.operands[0], ct)


def pull_square(node: Node, ct: Any) -> None:
    a = node.operands[0]
    accumulate(a, ct * (2 * a.value))


def pull_tanh(node: Node, ct: Any) -> None:
    y = node.value
    accumulate(node.operands[0], ct * (1 - y * y))


def pull_mean(node: Node, ct: Any) -> None:
    rows, columns = shape = node.operands[0].shape
    accumulate(node.operands[0], np.ndarray(shape, ct.dtype, np.array(ct / (rows * columns)), 0, (0, 0)))


def backward(root: Node, ct: Any) -> None:
    seen, nodes = {root}, [root]
    for node in nodes:  # grows as it goes
        for operand in node.operands:
            if operand not in seen:
                seen.add(operand)
                nodes.append(operand)
    nodes.sort(key=by_index)
    root.cotangent = ct
    for node in reversed(nodes):
        if node.pull is not None:
            node.pull(node, node.cotangent)


def least(row: Row) -> Step:
    """The step of a row on this tape."""
    if isinstance(row, Perceptron):
        X, Y = row.data
        leaves = W1, b1, W2, b2 = [Handle.leaf(p) for p in row.parameters]
        one: Any = row.dtype.type(1)

        def program() -> Handle:
            return (((X @ W1 + b1).tanh() @ W2 + b2 - Y) ** 2).mean()
    else:
        assert isinstance(row, Chain)
        leaves = [Handle.leaf(row.x)]
        one = np.ones_like(row.x)[()]

        def program() -> Handle:
            y = x = leaves[0]
            for _ in range(100):
                y = y * x + x
            return y

    def step() -> Any:
        for leaf in leaves:
            leaf.node.cotangent = None
        y = program()
        backward(y.node, one)
        return y.data, [leaf.node.cotangent for leaf in leaves]

    return step


def quickest(step: Step, seconds: float = 3.0) -> float:
    """The least time of a call, in microseconds: of what is fixed, everything else is disturbance."""
    step()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(10):
            step()
        best = min(best, (time.perf_counter() - start) / 10)
    return best * 1e6


def main() -> None:
    small = [Perceptron(32, 64, 100, 10, dtype) for dtype in ("float32", "float64")]
    for row in (Chain(), Chain(16), *small):
        steps = {"NumPy, by hand": row.numpy(), "the least tape": least(row), "chainrule": row.chainrule()}
        with suppress(ImportError):
            steps["PyTorch"] = row.torch()
        found = ", ".join(f"{name} {quickest(step):.1f} µs" for name, step in steps.items())
        sys.stdout.write(f"{row.title}, {row.dtype}: {found}\n")


if __name__ == "__main__":
    main()
