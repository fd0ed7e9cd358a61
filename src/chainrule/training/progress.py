"""Progress: one line that says how far training is, how well it goes, how fast, and how long it will take."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sized
from html import escape
from time import perf_counter
from typing import Any, TextIO

from .curves import History, number

__all__ = ["Progress"]

BETWEEN = 0.1  # seconds from one drawing of the line to the next, at least
RARELY = 30.0  # the same in a log file, where the length is not known
BAR = 20


class Progress:
    """Iterate, and show a line with losses and metrics, the rate, and the time left.

    Parameters
    ----------
    iterable : iterable
        Batches, or steps; gone through once per epoch.
    epochs : int, default 1
    file : text stream, optional
        Where the line goes: standard error by default.  On a terminal it is written over and over; in a notebook it is
        an output of its own; elsewhere, as in a log file, a line is added every tenth of the way.

    Attributes
    ----------
    history : History
        What was given to `show`, step by step: ``run.history.save("run.svg")``.
    step : int
        Number of the current step, from 1 on.

    Raises
    ------
    ValueError
        If `epochs` is not positive, or an epoch after the first is empty, as of a generator.

    Examples
    --------
    >>> run = Progress(range(4), epochs=2, file=sys.stdout)
    >>> for batch in run:
    ...     run.show(loss=1 / run.step)  # doctest: +ELLIPSIS
    epoch 1/2  12%  loss 1 ...
    epoch 2/2 100%  loss 0.125 ... steps/s  in 0:00
    >>> run.history["loss"][:4]
    array([1.        , 0.5       , 0.33333333, 0.25      ])
    """

    def __init__(self, iterable: Iterable[Any], epochs: int = 1, file: TextIO | None = None) -> None:
        if epochs < 1:
            raise ValueError(f"epochs={epochs}, expected at least 1")
        self.iterable, self.epochs = iterable, epochs
        self.history = History()
        self.step = self._epoch = self._done = self._tenth = 0
        size = len(iterable) if isinstance(iterable, Sized) else None
        self._total = None if size is None else size * epochs
        self._values: dict[str, float] = {}
        self._begun = self._drawn = self._took = 0.0
        self._display = _display(file or sys.stderr)
        self._finished = False

    def __iter__(self) -> Iterator[Any]:
        self.history, self._values = History(), {}
        self.step = self._done = self._tenth = 0
        self._finished = False
        self._begun = self._drawn = perf_counter()
        try:
            for epoch in range(1, self.epochs + 1):
                self._epoch, before = epoch, self._done
                for item in self.iterable:
                    self.step = self._done + 1
                    yield item
                    self._done += 1
                    self._refresh()
                if self._done == before and epoch > 1:
                    raise ValueError(
                        f"epoch {epoch} has no steps: a {type(self.iterable).__name__} can be gone through once. "
                        "Pass a list, or an object that starts anew, such as data.Batches."
                    )
        finally:
            self._took = perf_counter() - self._begun
            self._finished = True
            self._display.end(self)

    def show(self, **values: Any) -> None:
        """Show numbers, or Tensors of one element, in the line from now on, and record them at the current step.

        Raises
        ------
        TypeError
            If a value is not one real number.
        """
        self.history.add(self.step, **values)
        self._values.update({name: number(name, value) for name, value in values.items()})

    def _refresh(self) -> None:
        now = perf_counter()
        if self._display.live:
            due = now - self._drawn >= BETWEEN
        elif self._total:
            tenth = 10 * self._done // self._total
            due, self._tenth = tenth > self._tenth and self._done < self._total, tenth
        else:
            due = now - self._drawn >= RARELY
        if due:
            self._drawn, self._took = now, now - self._begun
            self._display.draw(self)

    def _parts(self) -> list[str]:
        """The line, in parts."""
        parts = [f"epoch {self._epoch}/{self.epochs}"] if self.epochs > 1 else []
        if self._total:
            parts.append(f"{self._done / self._total:4.0%}")
        else:
            parts.append(f"{self._done} steps")
        parts += [f"{name} {value:.4g}" for name, value in self._values.items()]
        if self._done and self._took > 0:
            rate = self._done / self._took
            parts.append(f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step")
            if not self._finished and self._total:
                parts.append(f"{_clock((self._total - self._done) / rate)} left")
        if self._finished:
            parts.append(
                ("in " if self._done == self._total or not self._total else "stopped after ") + _clock(self._took)
            )
        return parts

    def __repr__(self) -> str:
        return "  ".join(self._parts())

    def _bar(self) -> float:
        return self._done / self._total if self._total else 0.0

    def _repr_html_(self) -> str:
        bar = f'<progress max="1" value="{self._bar():.3f}"></progress> ' if self._total else ""
        return f"<div>{bar}<code>{escape(repr(self))}</code></div>"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


# -- where it is shown -----------------------------------------------------------------------------------------------
class _Display:
    """A log file: whole lines."""

    live = False

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def draw(self, progress: Progress) -> None:
        """Show the line as it is now."""
        self.file.write(f"{progress!r}\n")
        self.file.flush()

    def end(self, progress: Progress) -> None:
        """Show it for the last time."""
        self.draw(progress)


class _Terminal(_Display):
    """A terminal: one line, written over, with a bar."""

    live = True

    def draw(self, progress: Progress) -> None:
        """Write over the line."""
        first, *rest = progress._parts()
        if progress._total:
            full, empty = ("━", "╌") if _can_show("━╌", self.file) else ("#", "-")
            filled = round(BAR * progress._bar())
            rest = [full * filled + empty * (BAR - filled), *rest] if progress.epochs > 1 else rest
            first = first if progress.epochs > 1 else f"{full * filled}{empty * (BAR - filled)}  {first}"
        line = "  ".join([first, *rest])
        width = _columns(self.file) - 1
        self.file.write("\r" + line[:width].ljust(width))
        self.file.flush()

    def end(self, progress: Progress) -> None:
        """Leave the line, and go to the next."""
        self.draw(progress)
        self.file.write("\n")
        self.file.flush()


def _columns(file: TextIO) -> int:
    try:
        return os.get_terminal_size(file.fileno()).columns or 80
    except (OSError, ValueError):  # no terminal after all, only something that says so
        return 80


def _can_show(text: str, file: TextIO) -> bool:
    try:
        text.encode(getattr(file, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


class _Notebook(_Display):
    """A notebook: an output of its own, which is replaced."""

    live = True

    def __init__(self, display: Any) -> None:
        self.display, self.handle = display, None

    def draw(self, progress: Progress) -> None:
        """Show, or replace, the output."""
        if self.handle is None:
            self.handle = self.display(progress, display_id=True)
        else:
            self.handle.update(progress)


def _display(file: TextIO) -> _Display:
    ipython = sys.modules.get("IPython")  # nobody is in a notebook who has not loaded it
    if file is sys.stderr and ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        return _Notebook(sys.modules["IPython.display"].display)
    return _Terminal(file) if file.isatty() else _Display(file)
