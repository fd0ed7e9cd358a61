"""Functions of rules as the steps that they consist of, so that kernels and passes see these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..rules.helpers import share
from ..rules.registry import rules
from .program import Loop, Program, Steps, renamed
from .simplify import simplified
from .steps import Guard, Step, Var, inner
from .trace import Trace

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
    body = CONSIST_OF.get(step.function)
    if body is None or type(step.results) is not Var:
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

    with np.errstate(all="ignore"):
        result = body(*inner(step.args, stand_in), **inner(step.options, stand_in))
    if trace.captured:
        return None
    back = {traced.var: var for var, traced in known.items()}
    for part in trace.steps:
        if isinstance(part, Guard):  # what it decides depends on values
            return None
        renamed(part, back)
        part.quiet, part.line = step.quiet, step.line
    return trace.steps, result.var


def _share(a: Any, b: Any) -> Any:
    """What `share` of the rules gives, in steps that a kernel can do."""
    if isinstance(b, int | float) and b == b:
        other: Any = np.where(a != a, 1.0, 0.0)
    elif isinstance(a, int | float) and a == a:
        other = 0.0
    else:
        other = np.where(a != a, np.where(b != b, 0.5, 1.0), 0.0)
    return np.where(a > b, 1.0, np.where(a == b, 0.5, other)).astype(np.result_type(a, b))


CONSIST_OF: dict[Any, Callable[..., Any]] = {
    rules[name].value: rules[name].value
    for name in ("logsumexp", "softmax", "log_softmax", "relu", "weight", "weight2")
}
CONSIST_OF[share] = _share
