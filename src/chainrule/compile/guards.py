"""Passes on guards: questions that are asked once, together, or later, so that they break no kernel in two."""

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import numpy as np

from .program import Program, Steps, is_reduction, is_repeatable, private, read
from .steps import Guard, Method, Property, Step

__all__ = ["asked_for_nan", "asked_late", "asked_once", "implied"]

HARMLESS = {np.where, Method("reshape"), Property("T")}
# What gives NaN wherever an operand is NaN, besides ufuncs of one operand, which are asked.
PASSING_NAN: set[Any] = {
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum,
    np.add.reduce, np.maximum.reduce, np.minimum.reduce, np.broadcast_to,
    operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.abs,
    Method("reshape"), Property("T"), Method("astype"),
}  # fmt: skip


def asked_for_nan(program: Program) -> Steps:
    """`isnan(x).any()` and a guard is one question, which has a fast answer."""
    for step in program.steps:
        if isinstance(step, Guard) and step.kind == "bool" and step.outcome is False:
            any_of = step.var.source
            if not isinstance(any_of, Step):
                continue
            any_element = any_of.function == Method("any") or any_of.function is np.any
            isnan = any_of.args[0].source if any_element else any_of
            if isinstance(isnan, Step) and isnan.function is np.isnan and private(isnan.args[0]):
                step.kind, step.var = "no NaN", isnan.args[0]
    return program.steps


def implied(program: Program) -> Steps:
    """Drop the question whether there is a NaN in a value where it would come through to another one that is asked."""
    asked = {step.var: step for step in program.steps if isinstance(step, Guard) and step.kind == "no NaN"}
    comes_through = dict(asked)  # to which question
    dropped: dict[Step | Guard, Guard] = {}
    for step in reversed(program.steps) if asked else ():
        if isinstance(step, Guard) or not passes_nan(step.function) or step.writes:
            continue
        y = step.results
        if y in comes_through and private(y) and y.size and y.dtype.kind == "f" and "where" not in step.options:
            for x in read(step):
                if x.dtype.kind == "f" and private(x):
                    if x in asked and not asked[x].branches:
                        dropped[asked[x]] = comes_through[x] = comes_through[y]
                    comes_through.setdefault(x, comes_through[y])
    places = {guard: by.place for guard, by in dropped.items() if isinstance(guard, Guard) and guard.place < by.place}
    program.implied = program.implied | places
    return [step for step in program.steps if step not in dropped]


@cache
def passes_nan(function: Any) -> bool:
    """Whether a function gives NaN wherever an operand is NaN."""
    if isinstance(function, np.ufunc) and function.nin == function.nout == 1 and "d->d" in function.types:
        return bool(np.isnan(function(np.nan)))
    return function in PASSING_NAN


def asked_once(program: Program) -> Steps:
    """Ask each question once."""
    asked: set[Any] = set()
    steps: Steps = []
    for step in program.steps:
        if isinstance(step, Guard) and private(step.var) and isinstance(step.outcome, bool | int | float | str):
            key = step.var, step.kind
            if key in asked and not step.branches:
                continue
            asked.add(key)
        steps.append(step)
    return steps


def asked_late(program: Program) -> Steps:
    """Put questions off, so that they break no kernel in two: over steps that do no harm whatever the answer is."""
    steps: Steps = []
    waiting: list[Guard] = []
    decisions = 0  # among them, whose answer may be that what follows makes no sense
    for step in program.steps:
        if isinstance(step, Guard):
            if step.kind == "goes on":  # what is asked before holds of the turn that does not take place, too
                steps += waiting
                waiting, decisions = [], 0
            waiting.append(step)
            decisions += step.kind != "no NaN"
            continue
        if step.writes:
            steps += waiting
            waiting, decisions = [], 0
        elif decisions and not (step.quiet and _is_harmless(step)):
            steps += [guard for guard in waiting if guard.kind != "no NaN"]
            waiting, decisions = [guard for guard in waiting if guard.kind == "no NaN"], 0
        steps.append(step)
    return steps + waiting


def _is_harmless(step: Step) -> bool:
    """Whether a step may be done where the user's program would not have come to it."""
    return is_repeatable(step) or step.function in HARMLESS or is_reduction(step)
