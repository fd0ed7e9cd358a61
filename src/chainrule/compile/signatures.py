"""What steps do, as numbers: equal ones come again."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .program import PLACE, Loop, key_of, read
from .steps import Guard, Step, Var, inner

__all__ = ["ADDING", "SMALL", "puts_item", "reads_item", "signatures"]

SMALL = 256  # elements of a value: the calls on more take longer than those around them
ADDING = (operator.add, np.add)


def signatures(steps: Sequence[Step | Guard]) -> Any:
    """A number for each step, equal for those that do the same with values of the same form."""
    numbers: dict[Any, int] = {}
    forms: dict[Var, Any] = {}

    def form(x: Var) -> Any:
        known = forms.get(x)
        if known is None:
            known = forms[x] = x.shape, x.dtype, x.scalar, x.contiguous or x.strides
        return known

    def signature(step: Step | Guard) -> Any:
        y = None if isinstance(step, Guard) else step.results
        if isinstance(step, Guard) or type(y) is not Var or step.writes or isinstance(step.function, Loop):
            return step
        if y.python or y.root.written or (not y.shape and not y.scalar):
            return step
        if y.size > SMALL and not (reads_item(step) or step.function is PLACE or step.function in ADDING):
            return step
        if any(x.python or x.root.written for x in read(step)):
            return step
        args, options = step.args, step.options
        if reads_item(step):
            args = args[0], int  # of any place
        elif puts_item(step):
            options = options | {"index": int}
        args, options = inner((args, options), lambda x: form(x) if type(x) is Var else key_of(x))
        return step.function, args, tuple(options.items()), step.quiet, form(y)

    found = np.empty(len(steps), np.int64)
    for k, step in enumerate(steps):
        key = signature(step)
        try:
            found[k] = numbers.setdefault(key, len(numbers))
        except TypeError:  # something that cannot be looked up
            found[k] = numbers.setdefault(step, len(numbers))
    return found


def reads_item(step: Step) -> bool:
    """Whether a step reads an item of an array."""
    return step.function is operator.getitem and type(step.args[0]) is Var and type(step.args[1]) is int


def puts_item(step: Step) -> bool:
    """Whether a step makes an array that is zero but for one item."""
    return step.function is PLACE and type(step.args[0]) is Var and type(step.options["index"]) is int
