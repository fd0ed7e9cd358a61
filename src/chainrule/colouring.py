"""Which columns of a sparse matrix can be found in one sweep: those of one colour.

A product with a sum of columns shows each of their entries, if no two of the columns have one in the same row.  So
columns that have are given different colours (distance-2 colouring, of the rows for products from the left).  A
symmetric matrix shows every entry twice; one of the two is enough, which a star colouring makes sure of.

Colours of a vertex are bits of one Python integer, so that asking for a free one costs a few machine words; both
algorithms take a time proportional to the number of entries.  The names, and what has to hold, are those of
Gebremedhin, Manne, Pothen, "What color is your Jacobian?", SIAM Review 47 (2005).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import islice
from typing import Any

import numpy as np

__all__ = ["columns_coloured", "star_coloured"]

PAIRS = 5_000_000  # of columns with an entry in the same row: with more, the order that needs them all is not tried


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
    fewest = int(in_row.max(initial=0))  # the columns of a row all differ
    rows_of = _lists(rows, columns, shape[1])
    neighbours = np.bincount(columns, weights=in_row[rows] - 1.0, minlength=shape[1])
    orders: list[Callable[[], Any]] = [lambda: np.arange(shape[1]), lambda: np.argsort(-neighbours, kind="stable")]
    if np.sum(in_row.astype(float) ** 2) <= PAIRS:
        orders.append(lambda: _smallest_last(_columns_beside(rows, columns, in_row, shape[1])))
    orders.append(lambda: _class_by_class(rows, columns, shape))
    best = None
    for make in orders:
        order = make()
        if order is None:
            continue
        colours = _greedy(rows_of, np.asarray(order).tolist(), shape[0])
        if best is None or _count(colours) < _count(best):
            best = colours
        if _count(best) <= fewest:
            break
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
    several = np.bincount(entries % groups, minlength=groups) > 1
    entries = entries[several[entries % groups]]
    in_row = np.bincount(entries // groups, minlength=rows_left)
    if np.sum(in_row.astype(float) ** 2) > PAIRS:
        return None
    classes = _classes(_columns_beside(entries // groups, entries % groups, in_row, groups))
    return np.lexsort((group_of, np.array(classes)[group_of], ~several[group_of]))


def _classes(beside: list[list[int]]) -> list[int]:
    """Classes of vertices that are no neighbours; what joins one has the most neighbours beside it.

    F. T. Leighton, A graph coloring algorithm for large scheduling problems (1979): recursive largest first.
    """
    found = [-1] * len(beside)
    left = list(range(len(beside)))
    number = 0
    while left:
        among = set(left)
        left.sort(key=lambda each: -sum(other in among for other in beside[each]))
        common, waiting = dict.fromkeys(left, 0), [(0, left[0])]
        outside: set[int] = set()
        others = iter(left)
        while waiting:
            shared, each = heappop(waiting)
            if common.get(each) == -shared:
                found[each] = number
                del common[each]
                new = [other for other in beside[each] if other in common]
                outside.update(new)
                for other in new:
                    del common[other]
                for other in new:
                    for candidate in beside[other]:
                        if candidate in common:
                            common[candidate] += 1
                            heappush(waiting, (-common[candidate], candidate))
            if not waiting:  # what is left has nothing in common with the class
                waiting = [(0, other) for other in islice((each for each in others if each in common), 1)]
        left = list(outside)
        number += 1
    return found


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
