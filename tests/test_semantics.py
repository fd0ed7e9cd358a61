"""What is returned where it is easy to be wrong: kinks, poles, ties, NaN, and second derivatives there.

`VALUED` holds (case, expression in x, x, order, derivative): our conventions, in reverse and in forward mode.
"""

from __future__ import annotations

import threading
from typing import Any

import mpmath
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.rules import rules

INF, NAN = np.inf, np.nan
THIRDS = np.array([0, 1, 1, 0, 1]) / 3
MASK = np.array([True, False, True])
logsumexp, softmax, log_softmax = rules["logsumexp"], rules["softmax"], rules["log_softmax"]

VALUED: list[tuple[str, Any, Any, int, Any]] = [
    ("sqrt(0)", lambda x: np.sqrt(x), 0.0, 1, INF),
    ("sqrt(sum x^2) at 0", lambda x: np.sqrt(np.sum(x * x)), [0.0, 0.0], 1, [0, 0]),
    ("cbrt(0)", lambda x: np.cbrt(x), 0.0, 1, INF),
    ("abs(0)", lambda x: np.abs(x), 0.0, 1, 0),
    ("max reduce tie", lambda x: np.max(x), [1.0, 3.0, 3.0], 1, [0, 0.5, 0.5]),
    ("maximum(x,0) at 0", lambda x: np.maximum(x, 0.0), 0.0, 1, 0.5),
    ("maximum(x,x)", lambda x: np.maximum(x, x), 1.0, 1, 1),
    ("minimum(x,0) at 0", lambda x: np.minimum(x, 0.0), 0.0, 1, 0.5),
    ("relu(0)", lambda x: nn.relu(x), 0.0, 1, 0),
    ("clip at lo and hi", lambda x: np.sum(np.clip(x, -1, 1)), [-1.0, 0.0, 1.0], 1, [0.5, 1, 0.5]),
    ("max with NaN", lambda x: np.max(x), [1.0, NAN, 2.0], 1, [0, 1, 0]),
    ("where unselected sqrt(-)", lambda x: np.where(x > 0, np.sqrt(x), 0.0 * x), -1.0, 1, 0),
    ("where unselected sqrt(0)", lambda x: np.where(x > 0, np.sqrt(x), x), 0.0, 1, 1),
    ("where unselected log(0)", lambda x: np.where(x > 0, np.log(x), 2.0 * x), 0.0, 1, 2),
    ("x**2 at 0", lambda x: x**2, 0.0, 1, 0),
    ("x**2.0 at 0", lambda x: x**2.0, 0.0, 1, 0),
    ("x**0 at 0", lambda x: x**0, 0.0, 1, 0),
    ("x**0.0 at 0", lambda x: x**0.0, 0.0, 1, 0),
    ("x**1.0 at 0", lambda x: x**1.0, 0.0, 1, 1),
    ("x**.5 at 0", lambda x: x**0.5, 0.0, 1, INF),
    ("x**-1 at 0", lambda x: x**-1, 0.0, 1, -INF),
    ("0.**y at y=0", lambda x: np.power(0.0, x), 0.0, 1, 0),
    ("0.**y at y=2", lambda x: np.power(0.0, x), 2.0, 1, 0),
    ("(-2.)**y at y=3", lambda x: np.power(-2.0, x), 3.0, 1, NAN),
    ("x**y both 0", lambda x: x[0] ** x[1], [0.0, 0.0], 1, [0, 0]),
    ("x**y at (-2,3)", lambda x: x[0] ** x[1], [-2.0, 3.0], 1, [12, NAN]),
    ("std const", lambda x: np.std(x), [2.0, 2.0, 2.0], 1, [0, 0, 0]),
    ("var single ddof=1", lambda x: np.var(x, ddof=1), [2.0], 1, [NAN]),
    ("sort ties", lambda x: np.sum(np.sort(x) * np.arange(3.0)), [2.0, 2.0, 1.0], 1, [1, 2, 0]),
    ("median even", lambda x: np.median(x), [1.0, 2.0, 3.0, 4.0], 1, [0, 0.5, 0.5, 0]),
    ("prod one zero", lambda x: np.prod(x), [0.0, 2.0, 3.0], 1, [6, 0, 0]),
    ("arctan2(0,0)", lambda x: np.arctan2(x[0], x[1]), [0.0, 0.0], 1, [0, 0]),
    ("hypot(0,0)", lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], 1, [0, 0]),
    ("logaddexp(-inf,-inf)", lambda x: np.logaddexp(x[0], x[1]), [-INF, -INF], 1, [0, 0]),
    ("logaddexp(inf,0)", lambda x: np.logaddexp(x[0], x[1]), [INF, 0.0], 1, [1, 0]),
    ("logsumexp all -inf", lambda x: logsumexp(x), [-INF, -INF], 1, [0, 0]),
    ("logsumexp overflow", lambda x: logsumexp(x), [1000.0, 1000.0], 1, [0.5, 0.5]),
    ("logsumexp inf", lambda x: logsumexp(x), [INF, 0.0, INF], 1, [0.5, 0, 0.5]),
    ("logsumexp some -inf", lambda x: logsumexp(x), [-INF, 0.0], 1, [0, 1]),
    ("logsumexp NaN", lambda x: logsumexp(x), [NAN, 0.0], 1, [NAN, NAN]),
    ("logsumexp NaN and inf", lambda x: logsumexp(x), [NAN, INF], 1, [NAN, NAN]),
    ("logsumexp keep size1", lambda x: logsumexp(x), [5.0], 1, [1]),
    ("softmax overflow", lambda x: softmax(x)[0], [1000.0, 0.0], 1, [0, 0]),
    ("log_softmax -inf", lambda x: log_softmax(x)[0], [0.0, -INF], 1, [0, 0]),
    ("naive sigmoid at -1000", lambda x: 1 / (1 + np.exp(-x)), -1000.0, 1, 0),
    ("logaddexp(x,0) at 1000", lambda x: np.logaddexp(x, 0.0), 1000.0, 1, 1),
    ("arcsin(1)", lambda x: np.arcsin(x), 1.0, 1, INF),
    ("arccos(1)", lambda x: np.arccos(x), 1.0, 1, -INF),
    ("arccosh(1)", lambda x: np.arccosh(x), 1.0, 1, INF),
    ("arctanh(1)", lambda x: np.arctanh(x), 1.0, 1, INF),
    ("arctanh(-1)", lambda x: np.arctanh(x), -1.0, 1, INF),
    ("log(0)", lambda x: np.log(x), 0.0, 1, INF),
    ("log1p(-1)", lambda x: np.log1p(x), -1.0, 1, INF),
    ("1/0", lambda x: 1 / x, 0.0, 1, -INF),
    ("sum empty", lambda x: np.sum(x), [], 1, []),
    ("prod empty", lambda x: np.prod(x), [], 1, []),
    ("mean empty", lambda x: np.mean(x), [], 1, []),
    ("sum axis=()", lambda x: np.sum(np.sum(x, axis=()) ** 2), [1.0, 2.0], 1, [2, 4]),
    ("repeat adv index", lambda x: np.sum(x[np.array([0, 0, 1])]), [1.0, 2.0], 1, [2, 1]),
    ("floor", lambda x: np.floor(x), 1.5, 1, 0),
    ("sign(0)", lambda x: np.sign(x), 0.0, 1, 0),
    ("mod wrt divisor", lambda x: np.mod(x[0], x[1]), [5.5, 2.0], 1, [1, -2]),
    ("mod of negative", lambda x: np.mod(x[0], x[1]), [-5.5, 2.0], 1, [1, 3]),
    ("fmod of negative", lambda x: np.fmod(x[0], x[1]), [-5.5, 2.0], 1, [1, 2]),
    ("fmod, quotient rounds up", lambda x: np.fmod(x[0], x[1]), [1.0, 0.1], 1, [1, -9]),
    ("mod, quotient rounds up", lambda x: np.mod(x[0], x[1]), [1.0, 0.1], 1, [1, -9]),
    ("divmod", lambda x: sum(np.divmod(x[0], x[1])), [-5.5, 2.0], 1, [1, 3]),
    ("floor_divide", lambda x: x[0] // x[1], [5.5, 2.0], 1, [0, 0]),
    ("abs complex at 0", lambda x: np.abs(x + 0j), 0.0, 1, 0),
    ("angle at 0", lambda x: np.angle(x + 0j), 0.0, 1, 0),
    ("einsum ii trace", lambda x: np.einsum("ii", x), [[1.0, 2.0], [3.0, 4.0]], 1, [[1, 0], [0, 1]]),
    ("einsum i,i,i->", lambda x: np.einsum("i,i,i->", x, x, x), [1.0, 2.0], 1, [3, 12]),
    ("interp at knot", lambda x: np.interp(x, np.arange(3.0), np.array([0.0, 1.0, 3.0])), 1.0, 1, 1.5),
    ("diff n=0", lambda x: np.sum(np.diff(x, n=0) ** 2), [1.0, 2.0], 1, [2, 4]),
    ("nansum w nan", lambda x: np.nansum(x), [1.0, NAN], 1, [1, 0]),
    ("nanmean all nan", lambda x: np.nanmean(x), [NAN, NAN], 1, [0, 0]),
    ("nan_to_num", lambda x: np.sum(np.nan_to_num(x)), [NAN, INF, 1.0], 1, [0, 0, 1]),
    ("sinc(0)", lambda x: np.sinc(x), 0.0, 1, 0),
    ("heaviside", lambda x: np.heaviside(x, 0.5), 0.0, 1, 0),
    ("copysign at 0", lambda x: np.copysign(x, 1.0), 0.0, 1, 0),
    ("round", lambda x: np.round(x), 1.5, 1, 0),
    ("ceil", lambda x: np.ceil(x), 1.0, 1, 0),
    ("fmax with NaN", lambda x: np.fmax(x[0], x[1]), [NAN, 2.0], 1, [0, 1]),
    ("maximum with NaN", lambda x: np.maximum(x[0], x[1]), [NAN, 2.0], 1, [1, 0]),
    # Infinities and NaN, ties, equal bounds, empty selections: what the rules say where no table does.
    ("arctan2 at infinity", lambda x: np.arctan2(x[0], x[1]), [INF, 1.0], 1, [0, 0]),
    ("arctan2 of two infinities", lambda x: np.arctan2(x[0], x[1]), [1.0, -INF], 1, [0, 0]),
    ("arctan2 on an axis", lambda x: np.arctan2(x[0], x[1]), [0.0, -2.0], 1, [-0.5, 0]),
    ("arctan2 of tiny", lambda x: np.arctan2(x[0], x[1]), [1e-200, 1e-200], 1, [5e199, -5e199]),
    ("hypot at infinity", lambda x: np.hypot(x[0], x[1]), [-INF, 1.0], 1, [-1, 0]),
    ("hypot on an axis", lambda x: np.hypot(x[0], x[1]), [0.0, -2.0], 1, [0, -1]),
    ("logaddexp2(-inf,-inf)", lambda x: np.logaddexp2(x[0], x[1]), [-INF, -INF], 1, [0, 0]),
    ("logaddexp2(2000,0)", lambda x: np.logaddexp2(x[0], x[1]), [2000.0, 0.0], 1, [1, 0]),
    ("inf**y at -1", lambda x: np.inf**x, -1.0, 1, 0),
    ("x**y at (inf,-1)", lambda x: x[0] ** x[1], [INF, -1.0], 1, [0, 0]),
    ("x**1 at nan", lambda x: x**1, NAN, 1, 1),
    ("x**0 at nan", lambda x: x**0, NAN, 1, 0),
    ("x**3 at -0.0", lambda x: x**3, -0.0, 1, 0),
    ("x**1.5 at 0", lambda x: x**1.5, 0.0, 1, 0),
    ("d2 x**1.5 at 0", lambda x: x**1.5, 0.0, 2, INF),
    ("d2 x**-1 of a negative", lambda x: x**-1, -2.0, 2, -0.25),
    ("d2 cbrt of a negative", lambda x: np.cbrt(x), -8.0, 2, 1 / 144),
    ("d2 abs(x)**3", lambda x: np.abs(x) ** 3, 0.0, 2, 0),
    ("exp(-inf)", lambda x: np.exp(x), -INF, 1, 0),
    ("exp2(-inf)", lambda x: np.exp2(x), -INF, 1, 0),
    ("tanh(inf)", lambda x: np.tanh(x), INF, 1, 0),
    ("d2 tanh(inf)", lambda x: np.tanh(x), INF, 2, 0),
    ("arctan(-inf)", lambda x: np.arctan(x), -INF, 1, 0),
    ("log(inf)", lambda x: np.log(x), INF, 1, 0),
    ("sqrt(inf)", lambda x: np.sqrt(x), INF, 1, 0),
    ("abs(-inf)", lambda x: np.abs(x), -INF, 1, -1),
    ("1/inf", lambda x: 1 / x, INF, 1, 0),
    ("fmin with NaN", lambda x: np.fmin(x[0], x[1]), [2.0, NAN], 1, [1, 0]),
    ("fmin with NaN first", lambda x: np.fmin(x[0], x[1]), [NAN, 2.0], 1, [0, 1]),
    ("fmin of the first", lambda x: np.fmin(x[0], x[1]), [1.0, 2.0], 1, [1, 0]),
    ("fmin of the second", lambda x: np.fmin(x[0], x[1]), [2.0, 1.0], 1, [0, 1]),
    ("fmin tie", lambda x: np.fmin(x[0], x[1]), [2.0, 2.0], 1, [0.5, 0.5]),
    ("fmax of the first", lambda x: np.fmax(x[0], x[1]), [2.0, 1.0], 1, [1, 0]),
    ("fmax tie", lambda x: np.fmax(x[0], x[1]), [2.0, 2.0], 1, [0.5, 0.5]),
    ("constant Tensor to a power", lambda y: cr.Tensor(2.0).detach() ** y, 3.0, 1, 8 * np.log(2.0)),
    ("fmax of two NaN", lambda x: np.fmax(x[0], x[1]), [NAN, NAN], 1, [0.5, 0.5]),
    ("maximum of zeros of both signs", lambda x: np.maximum(x[0], x[1]), [0.0, -0.0], 1, [0.5, 0.5]),
    ("maximum of infinities", lambda x: np.maximum(x[0], x[1]), [INF, INF], 1, [0.5, 0.5]),
    ("fmax.reduce ties", lambda x: np.fmax.reduce(x), [2.0, 2.0, NAN, 2.0], 1, np.array([1, 1, 0, 1]) / 3),
    ("fmin.reduce ties", lambda x: np.fmin.reduce(x), [2.0, 2.0, 3.0, 2.0], 1, np.array([1, 1, 0, 1]) / 3),
    ("maximum.reduce ties", lambda x: np.maximum.reduce(x), [2.0, 2.0, 1.0, 2.0], 1, np.array([1, 1, 0, 1]) / 3),
    ("fmin.reduce axis", lambda x: np.sum(np.fmin.reduce(x, axis=1)), [[1.0, 2.0], [5.0, 3.0]], 1, [[1, 0], [0, 1]]),
    ("fmax.reduce axis", lambda x: np.sum(np.fmax.reduce(x, axis=1)), [[1.0, 2.0], [5.0, 3.0]], 1, [[0, 1], [1, 0]]),
    *(
        (f"{name}.reduce {options}", lambda x, u=u, o=options: np.sum(u.reduce(x, **o)), [[2.0, 2.0], [1.0, 2.0]], 1, d)
        for name, u, options, d in (
            ("fmin", np.fmin, {"axis": 1, "keepdims": True}, [[0.5, 0.5], [1, 0]]),
            ("fmax", np.fmax, {"axis": 1, "keepdims": True}, [[0.5, 0.5], [0, 1]]),
            ("fmin", np.fmin, {"initial": 1.0}, [[0, 0], [0.5, 0]]),
            ("fmax", np.fmax, {"initial": 2.0}, [[1 / 2, 1 / 3], [0, 1 / 3]]),
            ("fmin", np.fmin, {"initial": 9.0, "where": np.array([[True, False], [True, True]])}, [[0, 0], [1, 1]]),
            ("fmax", np.fmax, {"initial": 0.0, "where": np.array([[True, False], [True, True]])}, [[1, 0], [0, 1]]),
        )
    ),
    ("root of fmin.reduce", lambda x: np.sqrt(np.fmin.reduce(x)), [0.0, 1.0], 1, [INF, 0]),
    ("root of fmax.reduce", lambda x: np.sqrt(np.fmax.reduce(x)), [0.0, -1.0], 1, [INF, 0]),
    ("fmin.reduce of roots", lambda x: np.fmin.reduce(np.sqrt(x) + np.array([1.0, 0.0])), [0.0, 0.01], 1, [0, 5]),
    ("fmax.reduce of roots", lambda x: np.fmax.reduce(np.sqrt(x)), [0.0, 0.01], 1, [0, 5]),
    ("min initial ties", lambda x: np.min(x, initial=2.0), [3.0, 2.0], 1, [0, 0.5]),
    ("min where ties", lambda x: np.min(x, initial=9.0, where=MASK), [1.0, 1.0, 1.0], 1, [0.5, 0, 0.5]),
    ("nanmin initial ties", lambda x: np.nanmin(x, initial=2.0), [NAN, 2.0], 1, [0, 0.5]),
    ("nanmin where ties", lambda x: np.nanmin(x, initial=9.0, where=MASK), [1.0, 1.0, 1.0], 1, [0.5, 0, 0.5]),
    ("nanmax initial ties", lambda x: np.nanmax(x, initial=2.0), [NAN, 2.0], 1, [0, 0.5]),
    ("nanmax where ties", lambda x: np.nanmax(x, initial=0.0, where=MASK), [1.0, 1.0, 1.0], 1, [0.5, 0, 0.5]),
    ("percentile lower", lambda x: np.percentile(x, 50, method="lower"), [1.0, 2.0, 3.0, 4.0], 1, [0, 1, 0, 0]),
    ("nanpercentile higher", lambda x: np.nanpercentile(x, 50, method="higher"), [1.0, NAN, 2.0], 1, [0, 0, 1]),
    ("unique NaN", lambda x: np.dot(np.unique(x, equal_nan=False), [0.0, 1.0, 1.0]), [NAN, 1.0, NAN], 1, [1, 0, 1]),
    ("unique one NaN", lambda x: np.sum(np.unique(x) * np.array([2.0, 1.0])), [NAN, 1.0, NAN], 1, [1, 2, 0]),
    ("nanmax ties", lambda x: np.nanmax(x), [NAN, 3.0, 3.0], 1, [0, 0.5, 0.5]),
    ("ptp ties", lambda x: np.ptp(x), [1.0, 3.0, 3.0, 1.0], 1, [-0.5, 0.5, 0.5, -0.5]),
    ("ptp const", lambda x: np.ptp(x), [2.0, 2.0], 1, [0, 0]),
    ("max initial ties", lambda x: np.max(x, initial=2.0), [1.0, 2.0], 1, [0, 0.5]),
    ("max where NaN is left out", lambda x: np.max(x, initial=0.0, where=MASK), [5.0, NAN, 5.0], 1, [0.5, 0, 0.5]),
    ("sqrt(-0)", lambda x: np.sqrt(x), -0.0, 1, INF),  # zero is where it begins, whatever its sign
    ("log(-0)", lambda x: np.log(x), -0.0, 1, INF),
    ("log2(-0)", lambda x: np.log2(x), -0.0, 1, INF),
    ("log10(-0)", lambda x: np.log10(x), -0.0, 1, INF),
    ("norm of an infinity", lambda x: np.linalg.norm(x), [3.0, -INF, 4.0], 1, [0, -1, 0]),
    ("norm of two infinities", lambda x: np.linalg.norm(x), [INF, -INF, 4.0], 1, [1, -1, 0]),  # as hypot
    ("norm 3 of an infinity", lambda x: np.linalg.norm(x, 3), [3.0, INF, 4.0], 1, [0, 1, 0]),
    ("norm ½ of an infinity", lambda x: np.linalg.norm(x, 0.5), [3.0, -INF, 0.0], 1, [INF, -1, 0]),
    ("norm -1 of an infinity", lambda x: np.linalg.norm(x, -1), [1.0, INF, 1.0], 1, [0.25, 0, 0.25]),
    ("running maximum, ties", lambda x: np.maximum.accumulate(x)[3], [1.0, 3.0, 3.0, 3.0], 1, [0, *3 * [1 / 3]]),
    ("running minimum, ties", lambda x: np.minimum.accumulate(x)[4], [2.0, 1.0, 1.0, 5.0, 1.0], 1, THIRDS),
    ("running maximum, infinities", lambda x: np.maximum.accumulate(x)[2], [INF, INF, 1.0], 1, [0.5, 0.5, 0]),
    ("running maximum, NaN", lambda x: np.maximum.accumulate(x)[2], [1.0, NAN, 2.0], 1, [0, 1, 0]),
    ("running fmax, NaN", lambda x: np.fmax.accumulate(x)[2], [2.0, NAN, 2.0], 1, [0.5, 0, 0.5]),
    ("clip between equal bounds", lambda x: np.clip(x, 1.0, 1.0), 1.0, 1, 0),
    ("clip above its bounds", lambda x: np.clip(x, 2.0, 1.0), 1.5, 1, 0),
    ("clip NaN", lambda x: np.clip(x, 0.0, 1.0), NAN, 1, 1),
    ("clip with a NaN bound", lambda x: np.clip(x, None, NAN), 0.5, 1, 0),
    ("copysign of -0.0", lambda x: np.copysign(2.0 * x[0], x[1]), [3.0, -0.0], 1, [-2, 0]),
    ("mod at a multiple", lambda x: np.mod(x[0], x[1]), [4.0, 2.0], 1, [1, -2]),
    ("mod by infinity", lambda x: np.mod(x[0], x[1]), [-5.0, INF], 1, [1, 1]),
    ("fmod by infinity", lambda x: np.fmod(x[0], x[1]), [-5.0, INF], 1, [1, 0]),
    ("norm ord=-1 one zero", lambda x: np.linalg.norm(x, -1), [3.0, 0.0, 4.0], 1, [0, 0, 0]),
    ("norm ord=-0.5 one zero", lambda x: np.linalg.norm(x, -0.5), [3.0, 0.0, 4.0], 1, [0, 0, 0]),
    ("norm ord=-inf tie", lambda x: np.linalg.norm(x, -INF), [2.0, -1.0, 1.0], 1, [0, -0.5, 0.5]),
    ("norm ord=0", lambda x: np.linalg.norm(x, 0), [2.0, 0.0], 1, [0, 0]),
    ("norm ord=0.5 at 0", lambda x: np.linalg.norm(x, 0.5), [0.0, 0.0], 1, [0, 0]),
    ("norm ord=-2 at 0", lambda x: np.linalg.norm(x, -2), [0.0, 0.0], 1, [0, 0]),
    ("mean where nothing", lambda x: np.mean(x, where=~MASK & MASK), [1.0, 2.0, 3.0], 1, [0, 0, 0]),
    ("var where nothing", lambda x: np.var(x, where=~MASK & MASK), [1.0, 2.0, 3.0], 1, [0, 0, 0]),
    ("std of one", lambda x: np.std(x), [3.0], 1, [0]),
    ("sum where sqrt is left out", lambda x: np.sum(np.sqrt(x), where=MASK), [4.0, 0.0, 1.0], 1, [0.25, 0, 0.5]),
    ("prod where", lambda x: np.prod(x, where=MASK), [0.0, NAN, 3.0], 1, [3, 0, 0]),
    ("prod two zeros", lambda x: np.prod(x), [0.0, 2.0, 0.0], 1, [0, 0, 0]),
    ("prod zero and inf", lambda x: np.prod(x), [0.0, INF], 1, [INF, 0]),
    ("nanprod zero", lambda x: np.nanprod(x), [0.0, NAN, 3.0], 1, [3, 0, 0]),
    ("cumprod zero", lambda x: np.sum(np.cumprod(x)), [2.0, 0.0, 3.0], 1, [1, 8, 0]),
    ("sort NaN last", lambda x: np.sum(np.sort(x) * np.arange(3.0)), [NAN, 1.0, 2.0], 1, [2, 0, 1]),
    ("median with NaN", lambda x: np.median(x), [1.0, NAN, 2.0], 1, [0, 1, 0]),
    ("nanmedian", lambda x: np.nanmedian(x), [1.0, NAN, 2.0], 1, [0.5, 0, 0.5]),
    ("interp outside", lambda x: np.interp(x, np.arange(3.0), np.array([0.0, 1.0, 3.0])), -1.0, 1, 0),
    ("interp at the end knot", lambda x: np.interp(x, np.arange(3.0), np.array([0.0, 1.0, 3.0])), 2.0, 1, 1),
    ("d2 interp at knot", lambda x: np.interp(x, np.arange(3.0), np.array([0.0, 1.0, 3.0])) * x, 1.0, 2, 3),
    ("unwrap at a jump", lambda x: np.unwrap(x)[1], [0.0, 4.0], 1, [0, 1]),
    ("angle on an axis", lambda x: np.angle(x[0] + 1j * x[1]), [-2.0, 0.0], 1, [0, -0.5]),
    ("abs complex", lambda x: np.abs(x[0] + 1j * x[1]), [3.0, -4.0], 1, [0.6, -0.8]),
    ("sqrt of a negative complex", lambda x: np.real(np.sqrt(x[0] + 1j * x[1])), [-4.0, 0.0], 1, [0, 0.25]),
    ("z**0 at 0", lambda x: np.real((x + 0j) ** 0), 0.0, 1, 0),
    ("z**2 at 0", lambda x: np.real((x + 0j) ** 2), 0.0, 1, 0),
    ("d2 z**2 at 0", lambda x: np.real((x + 0j) ** 2), 0.0, 2, 2),
    ("sinc among others", lambda x: np.sum(np.sinc(x)), [0.0, 1.0, 0.5], 1, [0, -1, -4 / np.pi]),
    ("frexp", lambda x: np.frexp(x)[0], 3.0, 1, 0.25),
    ("modf", lambda x: np.modf(x)[0], -2.0, 1, 1),
    ("x*log(x) at 0 masked", lambda x: np.sum(np.where(x > 0, x * np.log(x), 0.0)), [0.0, 1.0], 1, [0, 1]),
    ("naive log-sum-exp of -inf", lambda x: np.log(np.sum(np.exp(x))), [-INF, 0.0], 1, [0, 1]),
    ("naive log of a sigmoid", lambda x: np.log(1 / (1 + np.exp(-x))), 800.0, 1, 0),
    ("masked by product", lambda x: np.sum(np.sqrt(x) * np.array([0.0, 1.0])), [0.0, 4.0], 1, [0, 0.25]),
    ("sqrt(x)**2 at 0, the price of R4", lambda x: np.sqrt(x) ** 2, 0.0, 1, 0),
    ("d2 x**2 at 0", lambda x: x**2, 0.0, 2, 2),
    ("d3 x**2 at 0", lambda x: x**2, 0.0, 3, 0),
    ("d2 x**2.0", lambda x: x**2.0, 0.0, 2, 2),
    ("d3 x**2.0 at 0", lambda x: x**2.0, 0.0, 3, 0),
    ("d2 np.power", lambda x: np.power(x, 2), 0.0, 2, 2),
    ("d2 square", lambda x: np.square(x), 0.0, 2, 2),
    ("d2 abs at 0", lambda x: np.abs(x), 0.0, 2, 0),
    ("d2 sqrt at 0", lambda x: np.sqrt(x), 0.0, 2, -INF),
    ("d2 sinc at 0", lambda x: np.sinc(x), 0.0, 2, -np.pi**2 / 3),
    ("d3 sinc at 0", lambda x: np.sinc(x), 0.0, 3, 0),
    ("d4 sinc at 0", lambda x: np.sinc(x), 0.0, 4, np.pi**4 / 5),
    ("d2 logaddexp(x,0) at 1000", lambda x: np.logaddexp(x, 0.0 * x), 1000.0, 2, 0),
    ("d2 max(x,2x) tie at 0", lambda x: np.maximum(x, 2 * x), 0.0, 2, 0),
    ("d2 x*x*x", lambda x: x * x * x, 2.0, 2, 12),
    ("d5 exp", lambda x: np.exp(x), 1.0, 5, np.e),
    ("d2 x**1.0 at 0", lambda x: x**1.0, 0.0, 2, 0),
    ("d2 relu at 0", lambda x: nn.relu(x), 0.0, 2, 0),
    ("d2 where", lambda x: np.where(x > 0, x * x, x), 0.0, 2, 0),
    ("d2 clip at the edge", lambda x: np.clip(x, 0.0, 1.0), 0.0, 2, 0),
    ("d2 max reduce", lambda x: np.max(np.stack([x, -x])), 0.0, 2, 0),
    ("d2 std const", lambda x: np.std(np.stack([x, x])), 1.0, 2, 0),
    ("d2 var", lambda x: np.var(np.stack([x, 3 * x])), 1.0, 2, 2),
    ("d2 prod with zero", lambda x: np.prod(np.stack([x, x, x + 1])), 0.0, 2, 2),
    ("d3 cumprod", lambda x: np.cumprod(np.stack([x, x, x]))[2], 2.0, 3, 6),
    ("d4 sin", lambda x: np.sin(x), 1.0, 4, np.sin(1.0)),
]  # fmt: skip


def derivative(f: Any, mode: str, order: int) -> Any:
    for _ in range(order):
        f = cr.grad(f) if mode == "reverse" else pushed(f)
    return f


def pushed(f: Any) -> Any:
    """Gradient by forward mode: one direction for each element."""

    def gradient(x: Any) -> Any:
        shape = np.shape(x)
        columns = [cr.jvp(f, (x,), (unit.reshape(shape)[()],))[1] for unit in np.eye(int(np.prod(shape)))]
        return columns[0] if not shape else np.reshape(columns, shape)

    return gradient


@pytest.mark.parametrize("mode", ["reverse", "forward"])
@pytest.mark.parametrize("case", VALUED, ids=[case[0] for case in VALUED])
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:Degrees of freedom")
def test_valued_cases(case: Any, mode: str) -> None:
    _, f, x, order, desired = case
    x = np.array(x, float)[()]
    with np.errstate(all="ignore"):
        actual = derivative(f, mode, order)(x)
    assert np.shape(actual) == np.shape(x)
    assert np.asarray(actual).dtype == float
    np.testing.assert_allclose(actual, desired, rtol=1e-12)


@pytest.mark.parametrize(
    "orders", [(cr.grad, pushed), (pushed, cr.grad), (pushed, pushed)], ids=["grad of jvp", "jvp of grad", "jvp of jvp"]
)
@pytest.mark.parametrize("case", [case for case in VALUED if case[3] == 2], ids=lambda case: case[0])
def test_second_derivatives_in_any_order(case: Any, orders: Any) -> None:
    inner, outer = orders
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(outer(inner(case[1]))(np.float64(case[2])), case[4], rtol=1e-12)


def test_no_extra_warnings_from_backward() -> None:
    """The forward pass warns as NumPy does; walks are silent."""
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        _, pullback = cr.vjp(np.log, np.array([0.0, 1.0]))
    np.testing.assert_array_equal(pullback(np.ones(2))[0], [INF, 1])
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        cr.jvp(np.log, (np.array([0.0]),), (np.array([1.0]),))


# -- C1 to C9: indexing and layouts --------------------------------------------------------------------------------
def test_reading_twice_adds() -> None:
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(x[[0, 0, 1]]))(np.ones(2)), [2, 1])


def test_writing_twice_keeps_the_last() -> None:
    def f(v: Any) -> Any:
        y = cr.Tensor(np.zeros(2))
        y[[0, 0]] = v
        return np.sum(y)

    np.testing.assert_array_equal(cr.grad(f)(np.array([5.0, 7.0])), [0, 1])

    def g(v: Any) -> Any:
        y = cr.Tensor(np.zeros(3))
        y[np.array([True, False, True])] = v
        return np.sum(y * np.array([1.0, 2.0, 3.0]))

    np.testing.assert_array_equal(cr.grad(g)(np.ones(2)), [1, 3])


def test_augmented_write_is_buffered_and_at_is_not() -> None:
    def buffered(v: Any) -> Any:
        y = cr.Tensor(np.zeros(2))
        y[[0, 0]] += v
        return np.sum(y)

    def unbuffered(v: Any) -> Any:
        y = cr.Tensor(np.zeros(2))
        np.add.at(y, [0, 0], v)
        return np.sum(y)

    v = np.array([5.0, 7.0])
    assert cr.value_and_grad(buffered)(v)[0] == 7
    np.testing.assert_array_equal(cr.grad(buffered)(v), [0, 1])
    assert cr.value_and_grad(unbuffered)(v)[0] == 12
    np.testing.assert_array_equal(cr.grad(unbuffered)(v), [1, 1])


@pytest.mark.parametrize(
    "read", [lambda x: x[::-1], lambda x: x[:, ::-2], lambda x: np.flip(x), lambda x: x.T[::-1, 1:]]
)
def test_negative_strides(read: Any) -> None:
    x = np.arange(12.0).reshape(3, 4)
    weights = np.arange(1.0, 1 + read(x).size).reshape(read(x).shape)
    desired = np.zeros_like(x)
    read(desired)[...] = weights
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(read(x) * weights))(x), desired)


# -- C11 to C16: kinds of numbers ----------------------------------------------------------------------------------
def test_zero_dimensional_inputs_of_any_kind() -> None:
    for x in (2.0, np.float64(2), np.array(2.0), cr.Tensor(2.0).detach(), 2):
        value, gradient = cr.value_and_grad(lambda x: x * x)(x)
        assert (type(value), type(gradient)) == (np.float64, np.float64)
        assert (value, gradient) == (4, 4)


def test_arrays_and_lists_on_the_left() -> None:
    t = cr.Tensor([1.0, 2.0])
    for result in (np.float64(2) * t, np.ones(2) * t, np.ones((3, 2)) @ t, [1, 2] + t, np.float32(1) - t, 2 / t, 2**t):
        assert isinstance(result, cr.Tensor)
        assert result.node is not None
    y = np.ones(2)
    with pytest.raises(cr.errors.InPlaceError, match=r"y = y \+ t"):
        y += t
    np.testing.assert_array_equal(y, 1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
def test_python_numbers_do_not_widen(dtype: str) -> None:
    x = np.array([0.5, 1.5], dtype)

    def f(x: Any) -> Any:
        return np.sum(2 * np.exp(x) + x**2 / 3 - np.maximum(x, 0) * 0.5 + np.where(x > 1, x, 0) + np.clip(x, 0.0, 1.0))

    value, gradient = cr.value_and_grad(f)(x)
    assert (value.dtype, gradient.dtype) == (x.dtype, x.dtype)
    value, tangent = cr.jvp(f, (x,), (np.ones_like(x),))
    assert (value.dtype, tangent.dtype) == (x.dtype, x.dtype)


def test_integers_become_floats() -> None:
    assert cr.Tensor([1, 2]).dtype == float
    for x in (np.array([1, 2]), np.array([1, 2], np.int8)):
        assert cr.grad(lambda x: np.sum(x * x))(x).dtype == float
    assert [type(g) for g in cr.grad(lambda x: x[0] * x[1])([1, 2])] == [np.float64, np.float64]
    with pytest.raises(ValueError, match="negative integer powers"):
        np.power(np.array([1, 2]), -1)


# -- C30 to C36 ----------------------------------------------------------------------------------------------------
def test_gradient_of_clip_flows_to_the_bound_that_is_active() -> None:
    x, lo, hi = np.array([-2.0, 0.0, 2.0]), np.array([-1.0, -1.0, -1.0]), np.array([1.0, 1.0, 1.0])
    gradients = cr.vjp(lambda *a: np.clip(*a), x, lo, hi)[1](np.ones(3))
    np.testing.assert_array_equal(gradients, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    gradients = cr.vjp(lambda *a: np.clip(*a), x, lo + 5, hi)[1](np.ones(3))  # lo above hi: hi wins
    np.testing.assert_array_equal(gradients, [[0, 0, 0], [0, 0, 0], [1, 1, 1]])


@pytest.mark.parametrize("function", [np.mod, np.fmod, np.remainder, np.floor_divide])
def test_division_by_zero_has_numpys_value(function: Any) -> None:
    x, y = np.array([1.0, -1.0, 0.0, 5.0]), np.array([0.0, 0.0, 0.0, np.inf])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(cr.vjp(function, x, y)[0], function(x, y))


def test_steps_have_zero_gradient_and_comparisons_are_plain() -> None:
    x = np.array([-1.5, 0.0, 1.5])
    for step in (
        np.floor,
        np.ceil,
        np.rint,
        np.trunc,
        np.round,
        np.sign,
        lambda x: np.heaviside(x, 0.5),
        lambda x: x // 1,
    ):
        np.testing.assert_array_equal(cr.grad(lambda x, step=step: np.sum(step(x)))(x), 0)
    t = cr.Tensor(x)
    for mask in (t > 0, t == t, t != 0, t <= 1, np.greater(t, 0), np.isnan(t), np.logical_not(t), np.isfinite(t)):
        assert type(mask) is np.ndarray
        assert mask.dtype == bool
    assert type(np.argmax(t)) is np.int64
    assert t.argsort().tolist() == [0, 1, 2]
    np.testing.assert_allclose(t, x)
    assert np.allclose(t, x)


def test_no_perturbation_confusion() -> None:
    for inner, outer in [(cr.grad, cr.grad), (pushed, cr.grad), (cr.grad, pushed), (pushed, pushed)]:
        assert outer(lambda x, inner=inner: x * inner(lambda y: x * y)(2.0))(1.0) == 2
    results: list[Any] = []

    def work() -> None:
        results.extend(cr.grad(lambda x: x * cr.grad(lambda y: x * y)(2.0))(1.0) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2.0] * 200


def test_the_same_array_twice() -> None:
    x = np.array([1.0, 2.0])
    a, b = cr.vjp(lambda a, b: a * b * b, x, x)[1](np.ones(2))
    np.testing.assert_array_equal(a, x**2)
    np.testing.assert_array_equal(b, 2 * x**2)
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(x * x))(x), 2 * x)


# -- C43, C44: accuracy where numbers are large or small ------------------------------------------------------------
def log_sigmoid(x: Any) -> Any:
    return -mpmath.log1p(mpmath.exp(-x))


BIG, TINY = 3e200, 3e-200
ACCURATE = {
    "logaddexp": (lambda x: np.logaddexp(x, 0.0), lambda x: mpmath.log1p(mpmath.exp(x)), (-1000, -30, 0, 40, 1000)),
    "logaddexp2": (lambda x: np.logaddexp2(x, 0.0), lambda x: mpmath.log(1 + mpmath.power(2, x), 2), (-900, -3, 0, 40)),
    "expit": (rules["expit"], lambda x: 1 / (1 + mpmath.exp(-x)), (-700, -40, -0.3, 0.0, 3, 36, 40, 700)),
    "log1p": (np.log1p, mpmath.log1p, (-0.999, -1e-12, 1e-300, 1e-8, 1e10)),
    "expm1": (np.expm1, mpmath.expm1, (-700, -1e-12, 1e-300, 1e-8, 300)),
    "hypot": (lambda x: np.hypot(x, BIG), lambda x: mpmath.sqrt(x * x + mpmath.mpf(BIG) ** 2), (1e200, 4e200, -1e201)),
    "arcsinh": (np.arcsinh, mpmath.asinh, (-1e200, 1e-9, 1e200)),
    "arctan2": (lambda x: np.arctan2(x, TINY), lambda x: mpmath.atan2(x, mpmath.mpf(TINY)), (1e-200, 1e-199)),
    "arcsin": (np.arcsin, mpmath.asin, (1 - 1e-12, -1 + 1e-14)),
    "log1mexp": (lambda x: np.log(-np.expm1(x)), lambda x: mpmath.log(-mpmath.expm1(x)), (-1e-10, -1, -50)),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCURATE)
def test_relative_accuracy(name: str) -> None:
    f, exact, points = ACCURATE[name]
    with mpmath.workdps(800):
        for x in points:
            first, second = (
                mpmath.diff(exact, mpmath.mpf(x), n, h=mpmath.mpf(10) ** -250 * (abs(x) or 1)) for n in (1, 2)
            )
            with np.errstate(under="ignore", over="ignore"):
                values = cr.grad(f)(float(x)), cr.jvp(f, (float(x),), (1.0,))[1]
                twice = cr.grad(cr.grad(f))(float(x))
            for value in values:
                assert abs(value - first) <= 1e-12 * abs(first) + 1e-307, (x, value, mpmath.nstr(first))
            if name in ("logaddexp", "logaddexp2", "expit", "log1p", "expm1"):
                assert abs(twice - second) <= 1e-12 * abs(second) + 1e-307, (x, twice, mpmath.nstr(second))


# -- C46, C47 ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    [
        np.array([True]),
        np.array(["a"]),
        np.array([object()]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([(1.0, 2)], [("a", float), ("b", int)]),
        np.ma.masked_array([1.0, 2.0], [0, 1]),
        [[1.0], [1.0, 2.0]],
        "text",
    ],
    ids=["bool", "str", "object", "date", "structured", "masked", "ragged", "text"],
)
def test_what_is_not_a_number_is_refused(value: Any) -> None:
    with pytest.raises(cr.errors.DataError, match="cannot"):
        cr.Tensor(value)
    if isinstance(value, np.ndarray):
        with pytest.raises(TypeError):
            cr.grad(lambda x: x)(value)


def test_size_one_against_size_zero() -> None:
    (a, b) = cr.vjp(lambda a, b: a * b, np.ones((3, 1)), np.ones(0))[1](np.ones((3, 0)))
    assert (a.shape, b.shape) == ((3, 1), (0,))
    np.testing.assert_array_equal(a, 0)
