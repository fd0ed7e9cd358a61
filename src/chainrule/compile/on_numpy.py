"""The program as NumPy alone runs it: what is worth it only where every step is a call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..rules.registry import rules
from .blocks import blocked
from .components import componentwise
from .distributed import distributed
from .program import Program, Steps, each_loop
from .steps import Step, Var

__all__ = ["on_numpy"]

SIGMOID = rules["sigmoid"].value
WORTHWHILE = 1 << 14  # elements, over which sums or products of components are taken: below, the calls cost more


def on_numpy(program: Program, exact: bool) -> Program:
    """Another program with the same results; `exact` says whether with the same bits."""
    written = with_logistics(program)
    return blocked(written if exact else distributed(componentwise(written, WORTHWHILE)), exact)


def with_logistics(program: Program) -> Program:
    """Write the logistic function as the four calls that it is, which need no memory of their own."""
    steps: Steps = []
    for step in program.steps:
        if isinstance(step, Step) and step.function is SIGMOID and _is_array(step.args[0]):
            x: Any = step.args[0]
            for function, args in ((np.negative, ()), (np.exp, ()), (np.add, (1,)), (np.reciprocal, ())):
                new = Step(function, (x, *args), {}, True, step.line)  # exp may overflow, and the reciprocal is 0 then
                last = function is np.reciprocal
                x = new.results = step.results if last else Var.made(step.results.shape, step.results.dtype, new)
                steps.append(new)
        else:
            steps.append(step.copy())
    other = program.with_steps(steps)
    each_loop(other, with_logistics)
    return other


def _is_array(x: Any) -> bool:
    return type(x) is Var and bool(x.shape) and not x.scalar and x.dtype in (np.single, np.double)
