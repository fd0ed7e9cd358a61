"""Batches of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["Batches"]


class Batches:
    """Iterate over arrays together, some rows at a time; each iteration is one epoch, shuffled anew.

    Parameters
    ----------
    *arrays : array_like
        Of equal length along the first axis.
    batch_size : int
    rng : numpy.random.Generator or int, optional
        Where the orders come from: the same seed gives the same epochs.  Fresh entropy by default.
    shuffle : bool, default True
        If false, batches are consecutive rows (views of the arrays).
    drop_last : bool, default False
        Leave out a last batch that is not full.

    Yields
    ------
    tuple of arrays; a single array if only one was given

    Raises
    ------
    ValueError
        If there are no arrays, their lengths differ, or the batch size is not positive.

    Examples
    --------
    >>> batches = Batches([1, 2, 3, 4, 5], batch_size=2, shuffle=False, drop_last=True)
    >>> len(batches), [batch.tolist() for batch in batches]
    (2, [[1, 2], [3, 4]])
    """

    def __init__(
        self,
        *arrays: Any,
        batch_size: int,
        rng: np.random.Generator | int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if not arrays:
            raise ValueError("Batches needs at least one array, but was given none")
        self.arrays = [np.asarray(a) if isinstance(a, list | tuple) else a for a in arrays]
        shapes = [np.shape(a) for a in self.arrays]
        if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(
                f"Batches takes arrays of equal length along the first axis, but was given shapes "
                f"{', '.join(map(str, shapes))}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}, expected at least 1")
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.rng = np.random.default_rng(rng)

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        full, rest = divmod(len(self.arrays[0]), self.batch_size)
        return full + bool(rest and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        order = self.rng.permutation(len(self.arrays[0])) if self.shuffle else None
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            rows = slice(start, start + self.batch_size)
            chosen = rows if order is None else order[rows]
            batch = tuple(array[chosen] for array in self.arrays)
            yield batch if len(batch) > 1 else batch[0]
