"""What debug() costs: nothing where it is off but a truth test for each operation, and several times as much inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chainrule as cr
from chainrule.graph import watchers

from .harness import Step
from .rows import Chain, Row


class Watched(Chain):
    """The chain of scalar operations, outside of debug() and inside."""

    def __init__(self) -> None:
        super().__init__()
        self.bars = {}
        self.key, self.title = "debug", "chain of 200 operations, scalar, with debug()"

    def makers(self) -> dict[str, Callable[[], Step]]:
        return {
            "NumPy": self.numpy,
            "outside": self.chainrule,
            "asking": self.asking,
            "recording": lambda: self.inside(stop=False),
            "stopping": lambda: self.inside(stop=True),
        }

    def functions(self) -> dict[str, Callable[[], Step]]:
        return {}

    def asking(self) -> Step:
        """All that an operation does for debug() where it is off, and the loop around it."""
        gradient = self.chainrule()()

        def step() -> Any:
            for _ in range(self.operations):
                if watchers:
                    raise AssertionError
            return gradient

        return step

    def inside(self, stop: bool) -> Step:
        plain = self.chainrule()

        def step() -> Any:
            with cr.debug(stop=stop):
                return plain()

        return step


WATCHED: dict[str, Callable[[], Row]] = {"debug": Watched}
