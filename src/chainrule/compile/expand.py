"""Functions of rules as the steps that they consist of, so that kernels and passes see these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..rules.registry import computed_by
from .operations import operation_of
from .program import Loop, Program, Steps, renamed
from .simplify import simplified
from .steps import Guard, Step, Var, inner
from .trace import Trace
from .traced import Traced

__all__ = ["expanded", "spelled_out"]


def expanded(program: Program, further: Sequence[Callable[[Program], Steps]] = ()) -> Program:
    """Replace functions of rules, which NumPy runs as they are, by the steps that they consist of, and simplify."""
    return spelled_out(program, lambda program: simplified(program, further))


def spelled_out(program: Program, then: Callable[[Program], Program] = lambda program: program) -> Program:
    """Replace them; where there are any, do this then."""
    steps: Steps = []
    instead: dict[Var, Var] = {}
    for step in program.steps:
        new: Steps = [step.copy()]
        if isinstance(step, Step):
            if isinstance(step.function, Loop):
                new[0].function = step.function.with_body(spelled_out(step.function.body, then))  # type: ignore[union-attr]
            elif (consists_of := _parts(step)) is not None:
                new, result = consists_of
                instead[step.results] = instead.get(result, result)
        for part in new if instead else ():
            renamed(part, instead)
        steps += new
    other = program.with_steps(steps)
    other.outputs = [instead.get(x, x) if type(x) is Var else x for x in program.outputs]
    other.same |= instead
    return then(other) if instead else other


def _parts(step: Step) -> tuple[Steps, Var] | None:
    """The steps that one consists of, and their result: the function is traced on zeros of these shapes."""
    rule = computed_by.get(step.function)
    if rule is None or rule.consists_of is None or operation_of(step) is not None or type(step.results) is not Var:
        return None
    trace = Trace(exact=False)
    known: dict[Var, Any] = {}

    def stand_in(x: Any) -> Any:
        if type(x) is not Var:
            return x
        if x not in known:
            zero = x.dtype.type(0)
            known[x] = trace.argument(np.zeros(x.shape, x.dtype) if not x.scalar else zero.item() if x.python else zero)
        return known[x]

    args, options = inner(step.args, stand_in), inner(step.options, stand_in)
    with np.errstate(all="ignore"):
        try:
            result = rule.consists_of(*args, **options)
        except Exception:  # noqa: BLE001 (of a function that is not NumPy's calls alone)
            return None
    if trace.captured or not isinstance(result, Traced) or result.dtype != step.results.dtype:
        return None
    back = {traced.var: var for var, traced in known.items()}
    for part in trace.steps:
        if isinstance(part, Guard):  # what it decides depends on values
            return None
        renamed(part, back)
        part.quiet, part.line = step.quiet, step.line
    return trace.steps, result.var
