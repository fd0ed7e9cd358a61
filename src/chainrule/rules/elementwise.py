"""THE TABLE: the local derivative of every elementwise operation.

One row an operation: its name (NumPy's), its operands, and the partial derivative in each, as a formula in the
operands `a b c` and the output `y`.  Kinks follow the central-difference value, poles the true, infinite slope (see
docs/numbers.md).  Where two forms are equal on paper, the row holds the one that stays accurate.
"""

from __future__ import annotations

from math import log, pi
from typing import Any

import numpy as np

from .helpers import (
    constant_exponent,
    fraction,
    inverse,
    next_of_product,
    next_of_quotient,
    power_with_poles,
    quotient,
    share,
    share_of_numbers,
    share_without_asking,
    sigmoid,
    weight,
)
from .linear import zero_wins
from .registry import custom, nondifferentiable, row

LN2 = log(2.0)
REAL, POSITIVE, UNIT, ABOVE_ONE = (-2.0, 2.0), (0.1, 3.0), (-0.9, 0.9), (1.1, 3.0)


nondifferentiable(np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal)
nondifferentiable(np.logical_and, np.logical_or, np.logical_xor, np.logical_not)
nondifferentiable(np.isfinite, np.isinf, np.isnan, np.signbit)
custom(
    "where",
    lambda condition, a, b: np.where(condition, a, b),  # noqa: PLW0108 (np.where itself dispatches to this rule)
    needs=("", "a", "a"),
    pulls=(
        None,
        lambda ct, node: np.where(node.operands[0].value, ct, 0),
        lambda ct, node: np.where(node.operands[0].value, 0, ct),
    ),
    push=lambda node, tangents: np.where(
        node.operands[0].value,
        0 if tangents[1] is None else tangents[1],
        0 if tangents[2] is None else tangents[2],
    ),
)
row("share", "a b", "0", "0", value=share, consists_of=share_without_asking)
row("share_of_numbers", "a b", "0", "0", value=share_of_numbers)
row("weight", "a b", "y*weight(b, a)", "-y*weight(b, a)", value=weight(np.exp, 1.0))
row("weight2", "a b", f"{LN2!r}*y*weight2(b, a)", f"-{LN2!r}*y*weight2(b, a)", value=weight(np.exp2, LN2))

# -- arithmetic ------------------------------------------------------------------------------------------------
row("negative", "a", "-1")
row("positive", "a", "1")
row("add", "a b", "1", "1")
row("subtract", "a b", "1", "-1")
row("multiply", "a b", "b", "a", recurrence=next_of_product)
row("divide", "a b", "1/b", "-y/b", domain=(REAL, POSITIVE), recurrence=next_of_quotient)
row("quotient", "a b", "1/b", "-y/b", value=quotient, domain=(REAL, POSITIVE))
row("reciprocal", "a", "-y*y", domain=(POSITIVE,))
row("square", "a", "2*a")

# -- powers, exponentials, logarithms --------------------------------------------------------------------------
BASE = "b*a**where(a == 0, where(b == 0, 1, b - 1), b - 1)"
EXPONENT = "where((a == 0) + (y == 0), 0, y*log(a))"
row("power", "a b", BASE, EXPONENT, domain=(POSITIVE, REAL), variant=constant_exponent)
row("power_with_poles", "a b", BASE, EXPONENT, value=power_with_poles, domain=(POSITIVE, REAL))
row("float_power", "a b", BASE, EXPONENT, domain=(POSITIVE, REAL))
row("power_by_constant", "a b", "b*a**(b - 1)", "0", value=lambda a, b: a**b, domain=(POSITIVE, POSITIVE))
row("power_by_two", "a b", "2*a", "0", value=lambda a, b: a**b, domain=(POSITIVE, (2.0, 2.0)))
row("power_by_zero", "a b", "0", "0", value=lambda a, b: a**b, domain=(POSITIVE, (0.0, 0.0)))
row("exp", "a", "y")
row("exp2", "a", f"{LN2!r}*y")
row("expm1", "a", "exp(a)")
# `+ 0.0` turns -0.0 into 0.0: where these begin, the slope is +inf whatever the sign of zero
row("log", "a", "1/(a + 0.0)", domain=(POSITIVE,))
row("log2", "a", f"{1 / LN2!r}/(a + 0.0)", domain=(POSITIVE,))
row("log10", "a", f"{1 / log(10.0)!r}/(a + 0.0)", domain=(POSITIVE,))
row("log1p", "a", "1/(1 + a)", domain=((-0.9, 3.0),))
row("sqrt", "a", "0.5/(y + 0.0)", domain=(POSITIVE,))
row("cbrt", "a", "1/(3*y*y)", domain=(POSITIVE,))
row("logaddexp", "a b", "weight(a, b)", "weight(b, a)")
row("logaddexp2", "a b", "weight2(a, b)", "weight2(b, a)")
row("sigmoid", "a", "y*(1 - y)", value=sigmoid)
row("expit", "a", "y*expit(-a)", value=sigmoid)  # the same; a second exponential, accurate also where y rounds to 1

# -- trigonometric and hyperbolic ------------------------------------------------------------------------------
row("sin", "a", "cos(a)")
row("cos", "a", "-sin(a)")
row("tan", "a", "1 + y*y", domain=((-1.2, 1.2),))
SIDE = "sqrt((1 - a)*(1 + a))"
row("arcsin", "a", f"1/{SIDE}", domain=(UNIT,), complex_rule=inverse(np.arcsin, "", SIDE, "cos(y)"))
row("arccos", "a", f"-1/{SIDE}", domain=(UNIT,), complex_rule=inverse(np.arccos, "-", SIDE, "sin(y)"))
row("arctan", "a", "1/(1 + a*a)")
row("sinh", "a", "cosh(a)")
row("cosh", "a", "sinh(a)")
row("tanh", "a", "1 - y*y")
# hypot cannot overflow, but takes no complex
row("arcsinh", "a", "1/hypot(1, a)", complex_rule=inverse(np.arcsinh, "", "sqrt(1 + a*a)", "cosh(y)"))
SIDE = "sqrt(a - 1)*sqrt(a + 1)"
row("arccosh", "a", f"1/({SIDE})", domain=(ABOVE_ONE,), complex_rule=inverse(np.arccosh, "", f"({SIDE})", "sinh(y)"))
row("arctanh", "a", "1/((1 - a)*(1 + a))", domain=(UNIT,))
ALONG = "where({0} - {0} == 0, where(y == 0, 0, {0}/y), sign({0}))"
row("hypot", "a b", ALONG.format("a"), ALONG.format("b"), domain=(POSITIVE, POSITIVE))
RADIUS = "hypot(a, b)"
row(
    "arctan2",
    "a b",
    f"where({RADIUS} == 0, 0, where({RADIUS} - {RADIUS} == 0, b, 1)/{RADIUS}/{RADIUS})",
    f"where({RADIUS} == 0, 0, where({RADIUS} - {RADIUS} == 0, -a, -1)/{RADIUS}/{RADIUS})",
    domain=(POSITIVE, POSITIVE),
)
row("degrees", "a", repr(180 / pi))
row("rad2deg", "a", repr(180 / pi))
row("radians", "a", repr(pi / 180))
row("deg2rad", "a", repr(pi / 180))

# -- kinks -----------------------------------------------------------------------------------------------------
magnitude = custom(
    "complex_absolute",
    np.absolute,
    needs=("a",),
    pulls=(lambda ct, node: zero_wins(ct, np.sign(node.operands[0].value)),),
    push=lambda node, tangents: np.real(zero_wins(np.conj(np.sign(node.operands[0].value)), tangents[0])),
)
row("absolute", "a", "sign(a)", domain=(POSITIVE,), complex_rule=magnitude)
row("fabs", "a", "sign(a)", domain=(POSITIVE,))
row("relu", "a", "a > 0", value=lambda x: np.maximum(x, 0), domain=(POSITIVE,))
row("maximum", "a b", "share(a, b)", "share(b, a)", domain=(REAL, (3.0, 5.0)))
row("minimum", "a b", "share(-a, -b)", "share(-b, -a)", domain=(REAL, (3.0, 5.0)))
row("fmax", "a b", "share_of_numbers(a, b)", "share_of_numbers(b, a)", domain=(REAL, (3.0, 5.0)))
row("fmin", "a b", "share_of_numbers(-a, -b)", "share_of_numbers(-b, -a)", domain=(REAL, (3.0, 5.0)))
INSIDE = "share(-maximum(a, b), -c)"
row(
    "clip",
    "a b c",
    f"share(a, b)*{INSIDE}*(b < c)",  # between equal bounds there is no room to move
    f"share(b, a)*{INSIDE}*((a != b) + (b != c))",  # where all three are equal, a higher b has no effect, nor a lower
    "share(-c, -maximum(a, b))",
    domain=(REAL, (-4.0, -3.0), (3.0, 4.0)),
)
row("copysign", "a b", "sign(a)*copysign(1, b)", "0", domain=(POSITIVE, POSITIVE))
row("remainder", "a b", "1", "-floor_divide(a, b)", domain=((2.1, 2.6), (0.9, 1.0)))
row("fmod", "a b", "1", "-rint((a - y)/b)", domain=((2.1, 2.6), (0.9, 1.0)))
row("fraction", "a", "1", value=fraction, domain=((0.1, 0.9),))

# -- steps: the derivative is zero wherever there is one, and a jump contributes nothing ------------------------
complex_sign = custom(
    "complex_sign",
    np.sign,
    needs=("ay",),
    pulls=(lambda ct, node: _tangential(node, ct),),
    push=lambda node, tangents: _tangential(node, tangents[0]),
    careful_pulls=(lambda ct, node: np.where(ct == 0, 0, _tangential(node, ct)),),
    careful_push=lambda node, tangents: np.where(tangents[0] == 0, 0, _tangential(node, tangents[0])),
    source="z/|z| turns only: its Jacobian is the projection across z, over |z|, and is its own adjoint",
)
row("sign", "a", "0", domain=(POSITIVE,), complex_rule=complex_sign)
row("floor", "a", "0", domain=((0.1, 0.9),))
row("ceil", "a", "0", domain=((0.1, 0.9),))
row("trunc", "a", "0", domain=((0.1, 0.9),))
row("rint", "a", "0", domain=((0.6, 0.9),))
row("spacing", "a", "0", domain=((1.1, 1.9),))
row("nextafter", "a b", "1", "0")
row("floor_divide", "a b", "0", "0", domain=((2.1, 2.6), (0.9, 1.0)))
row("heaviside", "a b", "0", "a == 0", domain=(POSITIVE, POSITIVE))


def _tangential(node: Any, change: Any) -> Any:
    z, direction = node.operands[0].value, node.value
    size = np.abs(z)
    across = change - direction * np.real(np.conj(direction) * change)
    return np.where(size == 0, 0, across / np.where(size == 0, 1, size))


custom(
    "ldexp",
    np.ldexp,
    needs=("b", ""),
    pulls=(lambda ct, node: np.ldexp(ct, node.operands[1].value), None),
    push=lambda node, tangents: np.ldexp(tangents[0], node.operands[1].value),
    also=[np.ldexp],
)
custom(
    "conjugate",
    np.conjugate,
    needs=("",),
    pulls=(lambda ct, node: np.conjugate(ct),),
    push=lambda node, tangents: np.conjugate(tangents[0]),
    also=[np.conjugate],
)
