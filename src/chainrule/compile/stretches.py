"""Where a sequence of numbers repeats itself."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["stretches"]

WINDOWS = (4, 32, 256)  # numbers in a row that are looked for again: of loops inside of loops, too
LIKELY = 4  # distances that are tried for each


def stretches(signatures: Any, least_turns: int, least: int) -> list[tuple[int, int, int]]:
    """Where the same numbers come again and again, so many times at least, and so many of them in all.

    Returns
    -------
    For each stretch, in order: where it begins, its period, and how often that comes.
    """
    n = len(signatures)
    periods: dict[int, None] = {}
    hashes, width = signatures.astype(np.uint64), 1
    for window in WINDOWS:
        while width < window and len(hashes) > width:
            hashes = hashes[:-width] * np.uint64(0x9E3779B97F4A7C15) + (
                hashes[width:] ^ (hashes[width:] >> np.uint64(29))
            )
            width *= 2
        order = np.argsort(hashes, kind="stable")
        distances = np.diff(order)[np.diff(hashes[order]) == 0]
        counts = np.bincount(distances[distances <= n // least_turns], minlength=1)
        periods |= dict.fromkeys(int(k) for k in np.argsort(counts)[::-1][:LIKELY] if counts[k])
    found = []
    for period in periods:
        same = np.concatenate([[0], signatures[period:] == signatures[:-period], [0]])
        begins, ends = np.flatnonzero(np.diff(same) == 1), np.flatnonzero(np.diff(same) == -1)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            turns = (end - begin) // period + 1
            if turns >= least_turns and turns * period >= least:
                found.append((begin, period, turns))
    chosen: list[tuple[int, int, int]] = []
    for begin, period, turns in sorted(found, key=lambda each: (-each[1] * each[2], each[1])):
        end = begin + period * turns
        if all(end <= other or begin >= other + p * t for other, p, t in chosen):
            chosen.append((begin, period, turns))
    return sorted(chosen)
