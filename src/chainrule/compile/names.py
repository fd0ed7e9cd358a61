"""Names for what a printed program refers to."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Names"]

NUMBERED = re.compile(r"[vbc]\d+")  # what programs call their values and buffers
RESERVED = {
    "np", "has_nan", "empty", "args", "options", "contexts", "same", "rebuild", "constant_tensor", "freed_tensor",
    "buffers", "new_buffers", "FRAMES", "EXITS", "count", "blocks", "part", "place", "memory", "program",
    "watchers", "only_constant", "identities",
}  # fmt: skip


class Names:
    """Names for what the printed program uses."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {"np": np}
        self._used = set(RESERVED)
        self._last: dict[str, int] = {}  # numbers that were tried
        self._of: dict[int, str] = {}

    def fixed(self, **things: Any) -> None:
        """Let programs call things by these names, which are reserved for them."""
        assert things.keys() <= RESERVED, things.keys() - RESERVED
        self.namespace |= things

    def given(self, thing: Any, like: str) -> str:
        """The name of an object that is not printed but put into the namespace."""
        known = self._of.get(id(thing))
        if known is None:
            known = self.fresh(like)
            self.namespace[known] = thing
            self._of[id(thing)] = known
        return known

    def fresh(self, like: str) -> str:
        """A name that is not in use yet."""
        like = re.sub(r"\W", "_", like) or "x"
        if like[0].isdigit() or keyword.iskeyword(like) or hasattr(builtins, like) or NUMBERED.fullmatch(like):
            like += "_"
        name, number = like, self._last.get(like, 1)
        while name in self._used:
            number += 1
            name = f"{like}_{number}"
        self._used.add(name)
        self._last[like] = number
        return name

    def function(self, f: Callable[..., Any]) -> str:
        """How to write a function: by NumPy's own name if it has one."""
        name = getattr(f, "__name__", "function")
        modules: tuple[tuple[Any, str], ...] = ((np, "np"), (np.linalg, "np.linalg"), (np.fft, "np.fft"))
        for module, prefix in modules:
            if getattr(module, name, None) is f:
                return f"{prefix}.{name}"
        ufunc = getattr(f, "__self__", None)
        owner = getattr(ufunc, "__name__", "")
        if isinstance(ufunc, np.ufunc) and getattr(np, owner, None) is ufunc:
            return f"np.{owner}.{name}"
        return self.given(f, name)
