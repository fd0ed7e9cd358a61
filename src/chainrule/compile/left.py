"""What a traced function has left where nobody looks for it, in a cache or behind a library: values take its place."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Container
from contextlib import suppress
from types import CellType, FrameType
from typing import Any

from ..tensor import Tensor
from .outside import plain
from .trace import Trace
from .traced import FOLLOWED

__all__ = ["mended"]


def mended(trace: Trace, known: Container[int]) -> str:
    """Find what else is traced and still alive, and put values there instead.

    Parameters
    ----------
    trace : Trace
    known : the identities of what may stay

    Returns
    -------
    In words what holds it; or "".
    """
    gc.collect()  # what is garbage lies nowhere
    left = [x for x in gc.get_referrers(trace) if isinstance(x, FOLLOWED) and id(x) not in known]
    told = ""
    for x in left:
        told = _let_go(x, [left]) or told
    return told and f"{told} that is not seen from it"


def _let_go(x: Any, ours: list[Any]) -> str:
    """Let nothing hold an object; in words what did."""
    told = ""
    ours.append(holders := gc.get_referrers(x))
    for holder in holders:
        if isinstance(holder, FrameType) or any(holder is each for each in ours):
            continue
        kind = type(holder)
        if kind is CellType:
            holder.cell_contents = plain(x)
        elif hasattr(holder, "cache_clear"):
            holder.cache_clear()
        elif isinstance(holder, dict | list | deque | set | Tensor):
            plain(holder)
        elif isinstance(holder, tuple):
            told = _let_go(holder, ours) or told
            continue
        else:
            names = {*getattr(holder, "__dict__", ()), *(name for part in kind.__mro__ for name in vars(part))}
            for name in names:
                with suppress(AttributeError, TypeError):
                    if getattr(holder, name) is x:
                        object.__setattr__(holder, name, plain(x))
        told = told or f"a {kind.__name__}"
    return told
