"""What to write instead of an operation that gave NaN or infinity: advice, as data.

The first row that fits is the advice.  A row names operations, what made the operand (or ""), and a condition on the
numbers at the place in question: operands `a b` and the output `y`, of which any may be unknown (None).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["rewrite"]

Condition = Callable[[Any, Any, Any], Any]


class Row(NamedTuple):
    """Advice for some operations: their names, what one of the operands came from, when, and what to write."""

    operations: str
    of: str
    condition: Condition
    advice: str


def _always(a: Any, b: Any, y: Any) -> bool:
    return True


def _zero(a: Any, b: Any, y: Any) -> bool:
    return bool(a == 0) if a is not None else bool(np.isinf(y))


def _negative(a: Any, b: Any, y: Any) -> bool:
    return bool(np.real(a) < 0) if a is not None else bool(np.isnan(y))


def _by_zero(a: Any, b: Any, y: Any) -> bool:
    return bool(b == 0)


def _infinite(a: Any, b: Any, y: Any) -> bool:
    return bool(np.isinf(y))


LOGS = "log log2 log10"
POWERS = "power float_power power_by_constant power_with_poles"
SAFE_ROOT = "choose the operand before the root: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0)"

FORWARD = (
    Row(LOGS, "softmax", _always, "log(softmax(x)) is nn.log_softmax(x), which does not underflow"),
    Row(LOGS, "sigmoid expit", _always, "log(sigmoid(x)) is -np.logaddexp(0, -x), which does not underflow"),
    Row(LOGS, "exp", _always, "log(exp(x)) is x"),
    Row(LOGS, "sum", _always, "if the sum is of exponentials, log(sum(exp(x))) is nn.logsumexp(x)"),
    Row(LOGS, "det", _always, "log(det(A)) is np.linalg.slogdet(A)[1], which does not underflow"),
    Row(LOGS, "prod", _always, "log(prod(x)) is sum(log(x)), which does not underflow"),
    Row(
        LOGS,
        "subtract",
        _zero,
        "a logarithm of a difference that came out 0: if it is log(1 - sigmoid(x)), write -np.logaddexp(0, x), or a "
        "loss of logits, nn.cross_entropy; else choose the operand before it, np.log(np.where(x > 0, x, 1))",
    ),
    Row(
        LOGS,
        "divide quotient",
        _zero,
        "log(a/b) is log(a) - log(b), which does not underflow; log(1/(1 + exp(-x))) is -np.logaddexp(0, -x)",
    ),
    Row(
        LOGS,
        "",
        _zero,
        "a logarithm of 0: choose the operand before it, np.log(np.where(x > 0, x, 1)), or bound it, "
        "np.log(np.maximum(x, tiny)); x*log(y) that is 0 at x = 0 is chainrule.scipy.special.xlogy(x, y)",
    ),
    Row(LOGS, "", _negative, "a logarithm of a negative number: bound the operand, or fit its logarithm instead"),
    Row("log1p", "", _always, "log1p(x) needs x > -1: bound the operand; log1p(-exp(x)) needs x < 0"),
    Row(
        "sqrt", "subtract", _negative, "a difference rounded below 0: np.sqrt(np.maximum(x, 0)); for a variance np.std"
    ),
    Row("sqrt", "", _negative, "a root of a negative number: np.sqrt(np.maximum(x, 0)), or complex, np.sqrt(x + 0j)"),
    Row(
        "exp exp2",
        "",
        _infinite,
        "exp overflows: work with logarithms (nn.logsumexp, np.logaddexp), subtract the largest exponent first "
        "(nn.softmax), or use nn.sigmoid for 1/(1 + exp(-x))",
    ),
    Row("expm1 sinh cosh", "", _infinite, "it grows like exp and overflows: bound the operand, or use its logarithm"),
    Row("divide quotient", "exp", _always, "a ratio of exponentials is nn.softmax(x) or nn.sigmoid(x)"),
    Row(
        "divide quotient reciprocal",
        "norm sqrt",
        _always,
        "x/norm(x) at 0: divide by np.where(norm > 0, norm, 1), or by np.maximum(norm, eps)",
    ),
    Row("divide quotient", "sin", _by_zero, "sin(x)/x is np.sinc(x/np.pi), which is 1 at 0"),
    Row("divide quotient", "mean std", _by_zero, "a standard deviation of 0: divide by np.maximum(std, eps)"),
    Row(
        "divide quotient remainder fmod floor_divide",
        "",
        _by_zero,
        "a division by 0: choose the divisor before it, x/np.where(d == 0, 1, d), and the result after it",
    ),
    Row("reciprocal", "", _zero, "a division by 0: choose the operand before it, 1/np.where(x == 0, 1, x)"),
    Row(
        POWERS,
        "",
        lambda a, b, y: a < 0,
        "a negative base with a fractional exponent: np.sign(x)*np.abs(x)**p, np.cbrt(x), or complex, (x + 0j)**p",
    ),
    Row(POWERS, "", lambda a, b, y: a == 0, "0 to a negative power: choose the base before it, np.where(x > 0, x, 1)"),
    Row(
        "arccos arcsin",
        "",
        _always,
        "outside [-1, 1], often by rounding: np.clip(x, -1, 1); the angle between vectors is "
        "np.arctan2(norm(cross(u, v)), dot(u, v))",
    ),
    Row("arccosh", "", _always, "arccosh(x) needs x >= 1: np.maximum(x, 1)"),
    Row("arctanh", "", _always, "arctanh(x) needs -1 < x < 1: np.clip(x, -1 + eps, 1 - eps)"),
    Row("multiply", "log log2 log10", _always, "0 * log(0): chainrule.scipy.special.xlogy(x, y) is 0 there"),
    Row(
        "multiply",
        "",
        lambda a, b, y: np.isnan(y),
        "0 * inf: keep the infinite factor out, by np.where on its operand, not on the product",
    ),
    Row("subtract", "", lambda a, b, y: np.isnan(y), "inf - inf: keep both finite, or subtract their logarithms"),
    Row("mean var std nanmean nanvar nanstd median", "", lambda a, b, y: np.isnan(y), "a mean of no elements is NaN"),
    Row("norm square multiply power_by_two hypot", "", _infinite, "the product overflows: scale the operands first"),
    Row("sum matmul dot einsum add subtract prod", "", _infinite, "the sum overflows: scale the operands first"),
)

BACKWARD = (
    Row("sqrt", "sum", _always, "a norm written by hand: np.linalg.norm(x) has the gradient 0 at 0"),
    Row("sqrt", "", _always, "the slope of sqrt at 0 is infinite: " + SAFE_ROOT + ", or np.sqrt(x + eps)"),
    Row(
        POWERS + " cbrt",
        "",
        lambda a, b, y: a == 0,
        "the slope of a root at 0 is infinite: choose the operand before it, np.where(x > 0, x, 1)",
    ),
    Row(
        "arccos arcsin",
        "",
        _always,
        "the slope at -1 and 1 is infinite: the angle between vectors is np.arctan2(norm(cross(u, v)), dot(u, v)); "
        "or stay inside, np.clip(x, -1 + eps, 1 - eps)",
    ),
    Row("arctanh arccosh", "", _always, "the slope at the end of the domain is infinite: clip the operand inside it"),
    *FORWARD,
)


def rewrite(backward: bool, operation: str, sources: Sequence[str], values: Sequence[Any], result: Any) -> str:
    """The advice for an operation, or "" where the table has none.

    Parameters
    ----------
    backward : whether it was the derivative that went wrong
    operation : name of the rule
    sources : names of the rules that made the operands
    values : the operands' numbers at the place in question; None where unknown
    result : the output's
    """
    a, b = [*values, None, None][:2]
    for row in BACKWARD if backward else FORWARD:
        if operation not in row.operations.split():
            continue
        if row.of and not set(row.of.split()) & set(sources):
            continue
        try:
            fits = bool(row.condition(a, b, result))
        except TypeError:  # a number that the condition reads is unknown
            fits = False
        if fits:
            return row.advice
    return ""
