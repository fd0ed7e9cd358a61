"""`python -m benchmarks.threads`: from how much work on two threads are worth it.

A kernel runs on one thread and on two, in turn; of each the shortest time counts.  What is looked for is how long the
work must take on one thread: `WORTHWHILE` in `chainrule/compile/kernels/workers.py`.
"""

from __future__ import annotations

import time

import numpy as np

from chainrule.compile.kernels import Group, Input, Kernel, Op, Output, compile_group

GROUPS = {
    "x + x": (Op("add", (0, 0), "f8"),),
    "tanh(x*x)": (Op("multiply", (0, 0), "f8"), Op("tanh", (1,), "f8")),
}
ROUNDS = 400


def shortest(kernel: Kernel, n: int) -> tuple[float, float]:
    """Microseconds on one thread and on two."""
    x, out = np.linspace(-1, 1, n), np.empty(n)
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for k in (0, 1):
            start = time.perf_counter()
            if k:
                kernel.run(2, 1, n, x, out)
            else:
                kernel.serial(1, n, x, out)
            best[k] = min(best[k], time.perf_counter() - start)
    return best[0] * 1e6, best[1] * 1e6


def main() -> None:
    for name, ops in GROUPS.items():
        kernel = compile_group(Group((Input("f8", "full"),), ops, (Output(len(ops), "full"),)))
        print(name)
        for power in range(13, 22):
            one, two = shortest(kernel, 1 << power)
            print(f"{1 << power:12,} elements: one thread {one:8.1f} µs, two {two:8.1f} µs ({two / one:.2f})")


if __name__ == "__main__":
    main()
