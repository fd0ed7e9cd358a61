"""What is in an array, or in a random generator: to keep it, put it back, see that it changed; and whose it is."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from ..memory import Lease

__all__ = ["checksum", "content", "owner", "put"]


def content(x: Any) -> Any:
    """What is in an array, or the state of a generator."""
    return x.copy() if isinstance(x, np.ndarray) else x.bit_generator.state


def put(x: Any, content: Any) -> None:
    """Let an array, or a generator, hold what it held."""
    if isinstance(x, np.ndarray):
        x[...] = content
    else:
        x.bit_generator.state = content


def checksum(array: Any) -> int:
    """A number that changes with the content."""
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) if array.dtype.kind in "biufc" else 0


def owner(x: Any) -> Any:
    """What has the memory that an array shows: recycled memory has a lease, which ends with the array."""
    while type(x) is not Lease and (base := getattr(x, "base", None)) is not None:
        x = base
    return x.obj if isinstance(x, memoryview) else x
