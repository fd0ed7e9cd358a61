"""Which columns of a sparse matrix can be found in one sweep: those of one colour.

A product with a sum of columns shows each of their entries, if no two of the columns have one in the same row.  So
columns that have are given different colours (distance-2 colouring, of the rows for products from the left).  A
symmetric matrix shows every entry twice; one of the two is enough, which a star colouring makes sure of.

Colours of a vertex are bits of one Python integer, so that asking for a free one costs a few machine words: to give
colours in a given order takes a time proportional to the number of entries, and in a good order there are few.  The
names, and what has to hold, are those of Gebremedhin, Manne, Pothen, "What color is your Jacobian?", SIAM Review 47
(2005).
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np

__all__ = ["columns_coloured", "star_coloured"]

PAIRS = 5_000_000  # of columns with an entry in the same row: with more, the order by classes is not tried
MESSAGES = 1_000_000  # numbers that are passed on in a step, in search of kinds: with more, they are not looked for
STEPS = 150  # of it, which is then a few seconds


def _lists(rows: Any, columns: Any, count: int) -> list[list[int]]:
    """For each column, its rows."""
    order = np.argsort(columns, kind="stable")
    ends = np.cumsum(np.bincount(columns, minlength=count)).tolist()
    flat = rows[order].tolist()
    return [flat[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if count else []


def _greedy(rows_of: list[list[int]], order: Iterable[int], rows: int) -> Any:
    """Give each column, in this order, the first colour that no column in its rows has."""
    used = [0] * rows
    colours = [0] * len(rows_of)
    for column in order:
        taken = 0
        for row in rows_of[column]:
            taken |= used[row]
        bit = ~taken & (taken + 1)
        for row in rows_of[column]:
            used[row] |= bit
        colours[column] = bit.bit_length() - 1
    return np.array(colours, int)


def columns_coloured(rows: Any, columns: Any, shape: tuple[int, int]) -> Any:
    """Colour the columns so that two which have an entry in the same row differ.

    Parameters
    ----------
    rows, columns : arrays
        Where the entries are, each once.
    shape : tuple of int

    Returns
    -------
    array of int
        For each column, its colour: 0, 1, 2, ...
    """
    in_row = np.bincount(rows, minlength=shape[0])
    fewest = int(in_row.max(initial=1))  # the columns of a row all differ
    rows_of = _lists(rows, columns, shape[1])
    neighbours = np.bincount(columns, weights=in_row[rows] - 1.0, minlength=shape[1])
    best = None
    for make in (
        lambda: np.arange(shape[1]),
        lambda: np.argsort(-neighbours, kind="stable"),
        lambda: _class_by_class(rows, columns, shape),
    ):
        order = make()
        while order is not None:
            colours = _greedy(rows_of, order.tolist(), shape[0])
            if best is None or _count(colours) < _count(best):
                best = colours
                order = np.argsort(-best, kind="stable")  # in the order of classes, there are never more of them
            else:
                order = None
            if _count(best) <= fewest:
                return best
    return best


def _class_by_class(rows: Any, columns: Any, shape: tuple[int, int]) -> Any:
    """The order by classes of columns that have no row in common; None where too many columns share rows.

    Columns that have entries in the same rows are treated as one, and rows that have entries in the same columns count
    once: of an observation with parameters of a few things, what is left is which things were observed together.  If
    these are of a few kinds, one of each in every row, the classes are the kinds, however all this is arranged.  What
    was observed once comes last: one row has a place for it.
    """
    row_of, rows_left = _alike(rows, columns, shape[0])
    group_of, groups = _alike(columns, rows, shape[1])
    entries = np.unique(row_of[rows] * groups + group_of[columns])
    kinds = int(np.bincount(entries // groups).max())
    several = np.bincount(entries % groups, minlength=groups) > 1
    rows, things = np.divmod(entries[several[entries % groups]], groups)
    classes = _kinds(rows, things, (rows_left, groups), kinds)
    if classes is None:
        in_row = np.bincount(rows, minlength=rows_left)
        if np.sum(in_row.astype(float) ** 2) > PAIRS:
            return None
        classes = _saturated(_columns_beside(rows, things, in_row, groups))
    return np.lexsort((group_of, classes[group_of], ~several[group_of]))


def _kinds(rows: Any, things: Any, shape: tuple[int, int], kinds: int) -> Any:
    """Sort things into kinds so that those of a row are of different ones; None where it does not succeed.

    What each thing believes about its kind is passed on through its rows to the others there, which are of another,
    and back (belief propagation).  If kinds there are, beliefs in them grow from noise where a thing is in more further
    rows than there are other kinds (H. Kesten and B. P. Stigum, 1966), and otherwise fade, so that nothing is tried.
    M. Mézard and A. Montanari, Information, Physics, and Computation (2009), chapters 14 and 20.
    """
    order = np.lexsort((things, rows))
    rows, things = rows[order], things[order]
    in_row, in_thing = (np.bincount(each, minlength=n) for each, n in zip((rows, things), shape, strict=True))
    further = in_thing[things] - 1.0
    if len(rows) * kinds > MESSAGES or kinds < 2 or not len(rows) or np.mean(further) <= kinds - 1:
        return None
    by_thing = np.argsort(things, kind="stable")
    row_starts, thing_starts = (np.cumsum(sizes) - sizes for sizes in (in_row[in_row > 0], in_thing[in_thing > 0]))
    row_of, thing_of = (np.cumsum(sizes > 0)[each] - 1 for sizes, each in ((in_row, rows), (in_thing, things)))
    # So much at a time that beliefs which all have in common do not swing: these are multiplied by -`swing` in a step.
    swing = np.mean((in_row[rows] - 1.0) * further) / (kinds - 1)
    share, single = np.float32(1 / (1 + swing)), np.float32
    belief = 1 + 0.1 * np.random.default_rng(0).normal(size=(len(rows), kinds)).astype(single)
    belief /= np.sum(belief, 1, keepdims=True)
    total, memory = np.zeros((len(thing_starts), kinds), single), single(0)
    for _ in range(STEPS):
        others = np.log1p(-np.minimum(belief, single(1 - 1e-5)))  # that none of the others in the row is of this kind
        others = np.add.reduceat(others, row_starts)[row_of] - others
        total = np.add.reduceat(others[by_thing], thing_starts) + memory * total
        found = np.argmax(total, 1)
        places = np.bincount(row_of * kinds + found[thing_of])
        wrong = np.sum(places * (places - 1)) // 2
        if not wrong:
            result = np.zeros(shape[1], int)
            result[in_thing > 0] = found
            return result
        if wrong < len(found) / 50:
            memory = single(0.5)  # where two kinds are possible, decide
        said = total[thing_of] - others
        said = np.exp(said - np.max(said, 1, keepdims=True))
        belief += share * (said / np.sum(said, 1, keepdims=True) - belief)
    return None


def _saturated(beside: list[list[int]]) -> Any:
    """Colour vertices so that neighbours differ; next is always the one that has neighbours of the most colours.

    D. Brélaz, New methods to color the vertices of a graph, CACM 22 (1979): DSATUR.
    """
    taken, left = [0] * len(beside), [len(mine) for mine in beside]
    colours = [-1] * len(beside)
    waiting = [(0, -degree, each) for each, degree in enumerate(left)]
    heapify(waiting)
    while waiting:
        saturation, _, each = heappop(waiting)
        if colours[each] >= 0 or -saturation != taken[each].bit_count():
            continue
        bit = ~taken[each] & (taken[each] + 1)
        colours[each] = bit.bit_length() - 1
        for other in beside[each]:
            left[other] -= 1
            if colours[other] < 0 and not taken[other] & bit:
                taken[other] |= bit
                heappush(waiting, (-taken[other].bit_count(), -left[other], other))
    return np.array(colours, int)


def _alike(lines: Any, across: Any, count: int) -> tuple[Any, int]:
    """For each line its group: those with entries at the same places, and how many groups there are."""
    order = np.lexsort((across, lines))
    ends = np.cumsum(np.bincount(lines, minlength=count))
    places = across[order]
    known: dict[bytes, int] = {}
    parts = zip((ends - np.diff(ends, prepend=0)).tolist(), ends.tolist(), strict=True)
    groups = [known.setdefault(places[start:end].tobytes(), len(known)) for start, end in parts]
    return np.array(groups, int), len(known)


def _columns_beside(rows: Any, columns: Any, in_row: Any, count: int) -> list[list[int]]:
    """For each column, those that have an entry in the same row."""
    order = np.argsort(rows, kind="stable")
    in_order, sizes = columns[order], in_row[rows[order]]
    ends = np.cumsum(in_row)
    starts = (ends - in_row)[rows[order]]
    first = np.repeat(in_order, sizes)
    second = in_order[np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(len(first))]
    keys = np.unique((first * count + second)[first != second])
    return _lists(keys % count, keys // count, count)


def _count(colours: Any) -> int:
    return int(colours.max(initial=-1)) + 1


def star_coloured(rows: Any, columns: Any, size: int) -> Any:
    """Colour a symmetric matrix so that of each two entries (i, j), (j, i) one is alone in its row with its colour.

    Neighbours differ, and no path of four vertices has two colours only: the vertices of any two colours form stars.

    Parameters
    ----------
    rows, columns : arrays
        Where the entries are, each once, those on both sides of the diagonal.
    size : int
        Number of rows.

    Returns
    -------
    array of int
        For each column, its colour: 0, 1, 2, ...
    """
    off = rows != columns
    neighbours = _lists(rows[off], columns[off], size)
    degrees = np.array([len(mine) for mine in neighbours], int)
    orders = [np.arange(size), np.argsort(-degrees, kind="stable"), _smallest_last(neighbours)]
    found = [_star(neighbours, np.asarray(order).tolist()) for order in orders]
    return min(found, key=_count)


def _smallest_last(neighbours: list[list[int]]) -> list[int]:
    """The order in which each vertex has the fewest neighbours among itself and those before it."""
    left = [len(mine) for mine in neighbours]
    buckets: list[list[int]] = [[] for _ in range(max(left, default=0) + 1)]
    for vertex, degree in enumerate(left):
        buckets[degree].append(vertex)
    order: list[int] = []
    lowest = 0
    while len(order) < len(neighbours):
        while not buckets[lowest]:
            lowest += 1
        vertex = buckets[lowest].pop()
        if left[vertex] != lowest:  # gone, or in a lower bucket by now
            continue
        left[vertex] = -1
        order.append(vertex)
        for other in neighbours[vertex]:
            if left[other] > 0:
                left[other] -= 1
                buckets[left[other]].append(other)
                lowest = min(lowest, left[other])
    return order[::-1]


def _star(neighbours: list[list[int]], order: Iterable[int]) -> Any:
    """Give each vertex, in this order, the first colour with which no path of four has two colours.

    What forbids a colour is known from the neighbours alone: for each vertex `w`, which colours are beside it (`seen`),
    which of them more than once (`twice`), and which of them are those of a vertex that sees the colour of `w` twice
    (`beyond`): there, a path of three is waiting for its fourth.
    """
    size = len(neighbours)
    bits, seen, twice, beyond = [0] * size, [0] * size, [0] * size, [0] * size
    first: dict[tuple[int, int], int] = {}
    for v in order:
        mine, twice_here = neighbours[v], twice[v]
        taken = 0
        for w in mine:
            if bits[w]:
                taken |= bits[w] | beyond[w]
                if twice_here & bits[w]:  # v would be inside of a path
                    taken |= seen[w]
        bit = bits[v] = ~taken & (taken + 1)
        waiting = 0
        for w in mine:
            colour = bits[w]
            if not seen[w] & bit:
                seen[w] |= bit
                first[w, bit] = v
            else:
                if not twice[w] & bit:
                    twice[w] |= bit
                    beyond[first[w, bit]] |= colour
                waiting |= colour
            if twice_here & colour:
                beyond[w] |= bit
        beyond[v] = waiting
    return np.array([bit.bit_length() - 1 for bit in bits], int)
