"""SciPy's special functions at 50 digits, by mpmath, and how far our partial derivatives are from theirs.

The error of a row in an operand is the worst in units in the last place, over 1 plus the condition number of that
derivative.  `python tests/scipy_reference.py` writes docs/accuracy_scipy.json, which docs/coverage.py publishes; with
names of rows it prints them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
from oracle import seeded

import chainrule as cr
from chainrule.rules import rules
from chainrule.scipy import special  # noqa: F401 (registers the rows)

PUBLISHED = Path(__file__).resolve().parent.parent / "docs" / "accuracy_scipy.json"
Interval = tuple[float, float]
half = mp.mpf(1) / 2


def normal(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def expit(x: Any) -> Any:
    """Less 1 where it is near 1: constants do not matter here, digits do."""
    return 1 / (1 + mp.exp(-x)) if x < 0 else -1 / (1 + mp.exp(x))


def lower(a: Any, x: Any) -> Any:
    """As `expit`, less 1 where it is near 1."""
    return mp.gammainc(a, 0, x, regularized=True) if x < a else -mp.gammainc(a, x, mp.inf, regularized=True)


def upper(a: Any, x: Any) -> Any:
    return -lower(a, x)


def student(v: Any, t: Any) -> Any:
    tail = mp.betainc(v / 2, half, 0, v / (v + t * t), regularized=True) / 2
    return 1 - tail if t > 0 else tail


def boxcox(x: Any, k: Any) -> Any:
    return mp.expm1(k * mp.log(x)) / k


# Name: the function, and per operand the interval from which points are drawn; whole numbers stay whole.
REFERENCES: dict[str, tuple[Callable[..., Any], list[Interval | int]]] = {
    "special_erf": (mp.erf, [(-5.5, 5.5)]),
    "special_erfc": (mp.erfc, [(-5.0, 26.0)]),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), [(-5.0, 200.0)]),
    "erfi": (mp.erfi, [(-20.0, 20.0)]),
    "dawsn": (lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x), [(-12.0, 12.0)]),
    "erfinv": (mp.erfinv, [(-0.999, 0.999)]),
    "erfcinv": (lambda x: mp.erfinv(1 - x), [(1e-12, 1.9)]),
    "fresnel_s": (mp.fresnels, [(-60.0, 60.0)]),
    "fresnel_c": (mp.fresnelc, [(-60.0, 60.0)]),
    "ndtr": (normal, [(-30.0, 8.0)]),
    "log_ndtr": (lambda x: mp.log(normal(x)), [(-100.0, 10.0)]),
    "ndtri": (lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), [(1e-12, 0.99)]),
    "special_expit": (expit, [(-700.0, 700.0)]),
    "logit": (lambda p: mp.log(p / (1 - p)), [(1e-9, 0.999)]),
    "log_expit": (lambda x: -mp.log1p(mp.exp(-x)), [(-50.0, 700.0)]),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), [(-700.0, 50.0)]),
    "cosm1": (lambda x: mp.cos(x) - 1, [(-3.0, 3.0)]),
    "exp10": (lambda x: mp.mpf(10) ** x, [(-300.0, 300.0)]),
    "powm1": (lambda x, y: x**y - 1, [(0.01, 20.0), (-5.0, 5.0)]),
    "xlogy": (lambda x, y: x * mp.log(y), [(-9.0, 9.0), (1e-9, 100.0)]),
    "xlog1py": (lambda x, y: x * mp.log1p(y), [(-9.0, 9.0), (-0.9, 100.0)]),
    "entr": (lambda x: -x * mp.log(x), [(1e-9, 30.0)]),
    "rel_entr": (lambda x, y: x * mp.log(x / y), [(1e-9, 30.0), (1e-9, 30.0)]),
    "kl_div": (lambda x, y: x * mp.log(x / y) - x + y, [(0.9, 1.1), (0.9, 1.1)]),
    "pseudo_huber": (lambda d, r: d * d * (mp.sqrt(1 + (r / d) ** 2) - 1), [(1e-3, 30.0), (-30.0, 30.0)]),
    "exprel": (lambda x: mp.expm1(x) / x, [(-60.0, 60.0)]),
    "boxcox": (boxcox, [(1e-3, 30.0), (-3.0, 3.0)]),
    "boxcox1p": (lambda x, k: boxcox(1 + x, k), [(-0.9, 30.0), (-3.0, 3.0)]),
    "inv_boxcox": (lambda y, k: (k * y + 1) ** (1 / k), [(0.01, 30.0), (0.01, 3.0)]),
    "inv_boxcox1p": (lambda y, k: (k * y + 1) ** (1 / k) - 1, [(0.01, 30.0), (0.01, 3.0)]),
    "sindg": (lambda x: mp.sin(x * mp.pi / 180), [(-360.0, 360.0)]),
    "cosdg": (lambda x: mp.cos(x * mp.pi / 180), [(-360.0, 360.0)]),
    "tandg": (lambda x: mp.tan(x * mp.pi / 180), [(-80.0, 80.0)]),
    "cotdg": (lambda x: mp.cot(x * mp.pi / 180), [(10.0, 170.0)]),
    "gamma": (mp.gamma, [(0.01, 170.0)]),
    "gammaln": (mp.loggamma, [(1e-6, 1e5)]),
    "loggamma": (mp.loggamma, [(1e-6, 1e5)]),
    "rgamma": (mp.rgamma, [(-20.0, 170.0)]),
    "psi": (mp.digamma, [(1e-6, 1e5)]),
    "polygamma": (mp.polygamma, [2, (0.01, 100.0)]),
    "zeta": (lambda s, q: mp.zeta(s, q), [3, (0.1, 30.0)]),
    "beta": (mp.beta, [(1e-3, 60.0), (1e-3, 60.0)]),
    "betaln": (lambda a, b: mp.loggamma(a) + mp.loggamma(b) - mp.loggamma(a + b), [(1e-3, 1e4), (1e-3, 1e4)]),
    "binom": (mp.binomial, [(5.0, 60.0), (0.1, 4.9)]),
    "poch": (mp.rf, [(0.1, 60.0), (0.1, 20.0)]),
    "factorial": (mp.factorial, [(0.1, 160.0)]),
    "gammainc": (lower, [(1e-3, 200.0), (1e-6, 200.0)]),
    "gammaincc": (upper, [(1e-3, 200.0), (1e-6, 200.0)]),
    "betainc": (lambda a, b, x: mp.betainc(a, b, 0, x, regularized=True), [(0.2, 60.0), (0.2, 60.0), (0.05, 0.95)]),
    "bdtr": (lambda k, n, p: mp.betainc(n - k, k + 1, 0, 1 - p, regularized=True), [4, 9, (0.05, 0.95)]),
    "bdtrc": (lambda k, n, p: mp.betainc(k + 1, n - k, 0, p, regularized=True), [4, 9, (0.05, 0.95)]),
    "nbdtr": (lambda k, n, p: mp.betainc(n, k + 1, 0, p, regularized=True), [4, 9, (0.05, 0.95)]),
    "pdtr": (lambda k, m: upper(k + 1, m), [4, (0.1, 60.0)]),
    "chdtr": (lambda v, x: lower(v / 2, x / 2), [(0.3, 100.0), (0.1, 100.0)]),
    "gdtr": (lambda a, b, x: lower(b, a * x), [(0.1, 5.0), (0.2, 60.0), (0.1, 20.0)]),
    "fdtr": (
        lambda d, e, x: mp.betainc(d / 2, e / 2, 0, d * x / (d * x + e), regularized=True),
        [(0.5, 60.0), (0.5, 60.0), (0.05, 20.0)],
    ),
    "stdtr": (student, [(0.5, 200.0), (-20.0, 20.0)]),
    "owens_t": (
        lambda h, a: mp.quad(lambda x: mp.exp(-h * h * (1 + x * x) / 2) / (1 + x * x), [0, a]) / (2 * mp.pi),
        [(-5.0, 5.0), (-3.0, 3.0)],
    ),
    "j0": (lambda x: mp.besselj(0, x), [(-30.0, 30.0)]),
    "j1": (lambda x: mp.besselj(1, x), [(-30.0, 30.0)]),
    "y0": (lambda x: mp.bessely(0, x), [(0.01, 30.0)]),
    "y1": (lambda x: mp.bessely(1, x), [(0.01, 30.0)]),
    "special_i0": (lambda x: mp.besseli(0, x), [(-30.0, 30.0)]),
    "i1": (lambda x: mp.besseli(1, x), [(-30.0, 30.0)]),
    "k0": (lambda x: mp.besselk(0, x), [(0.01, 30.0)]),
    "k1": (lambda x: mp.besselk(1, x), [(0.01, 30.0)]),
    "i0e": (lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), [(0.01, 300.0)]),
    "i1e": (lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), [(0.01, 300.0)]),
    "k0e": (lambda x: mp.besselk(0, x) * mp.exp(x), [(0.01, 300.0)]),
    "k1e": (lambda x: mp.besselk(1, x) * mp.exp(x), [(0.01, 300.0)]),
    "jv": (mp.besselj, [2.5, (0.1, 30.0)]),
    "yv": (mp.bessely, [2.5, (0.1, 30.0)]),
    "iv": (mp.besseli, [2.5, (0.1, 30.0)]),
    "kv": (mp.besselk, [2.5, (0.1, 30.0)]),
    "ive": (lambda v, x: mp.besseli(v, x) * mp.exp(-x), [2.5, (0.1, 30.0)]),
    "kve": (lambda v, x: mp.besselk(v, x) * mp.exp(x), [2.5, (0.1, 30.0)]),
    "kn": (mp.besselk, [3, (0.1, 30.0)]),
    "yn": (mp.bessely, [3, (0.1, 30.0)]),
    "struve": (mp.struveh, [1.5, (0.1, 30.0)]),
    "modstruve": (mp.struvel, [1.5, (0.1, 30.0)]),
    "spherical_jn": (lambda n, x: mp.sqrt(mp.pi / 2 / x) * mp.besselj(n + half, x), [3, (0.1, 30.0)]),
    "spherical_in": (lambda n, x: mp.sqrt(mp.pi / 2 / x) * mp.besseli(n + half, x), [3, (0.1, 30.0)]),
    "spherical_kn": (lambda n, x: mp.sqrt(mp.pi / 2 / x) * mp.besselk(n + half, x), [3, (0.1, 30.0)]),
    "spherical_yn": (lambda n, x: mp.sqrt(mp.pi / 2 / x) * mp.bessely(n + half, x), [3, (0.1, 30.0)]),
    "airy_ai": (mp.airyai, [(-10.0, 10.0)]),
    "airy_bi": (mp.airybi, [(-10.0, 10.0)]),
    "airye_ai": (lambda x: mp.airyai(x) * mp.exp(2 * x**1.5 / 3), [(0.1, 10.0)]),
    "airye_bi": (lambda x: mp.airybi(x) * mp.exp(-2 * x**1.5 / 3), [(0.1, 10.0)]),
    "ber": (lambda x: mp.ber(0, x), [(0.1, 10.0)]),
    "bei": (lambda x: mp.bei(0, x), [(0.1, 10.0)]),
    "ker": (lambda x: mp.ker(0, x), [(0.1, 10.0)]),
    "kei": (lambda x: mp.kei(0, x), [(0.1, 10.0)]),
    "elliprf": (mp.elliprf, [(0.01, 5.0), (0.01, 5.0), (0.01, 5.0)]),
    "elliprg": (mp.elliprg, [(0.01, 5.0), (0.01, 5.0), (0.01, 5.0)]),
    "elliprc": (mp.elliprc, [(0.01, 5.0), (0.01, 5.0)]),
    "elliprd": (mp.elliprd, [(0.01, 5.0), (0.01, 5.0), (0.01, 5.0)]),
    "ellipk": (mp.ellipk, [(-20.0, 0.99)]),
    "ellipkm1": (lambda p: mp.ellipk(1 - p), [(1e-9, 3.0)]),
    "ellipe": (mp.ellipe, [(-20.0, 0.99)]),
    "ellipkinc": (mp.ellipf, [(-5.0, 5.0), (0.001, 0.99)]),
    "ellipeinc": (mp.ellipe, [(-5.0, 5.0), (0.001, 0.99)]),
    "ellipj_sn": (lambda u, m: mp.ellipfun("sn", u, m), [(-2.0, 2.0), (0.01, 0.99)]),
    "ellipj_cn": (lambda u, m: mp.ellipfun("cn", u, m), [(-2.0, 2.0), (0.01, 0.99)]),
    "ellipj_dn": (lambda u, m: mp.ellipfun("dn", u, m), [(-2.0, 2.0), (0.01, 0.99)]),
    "agm": (mp.agm, [(0.01, 30.0), (0.01, 30.0)]),
    "exp1": (mp.e1, [(0.01, 60.0)]),
    "expi": (mp.ei, [(0.01, 60.0)]),
    "expn": (mp.expint, [3, (0.1, 60.0)]),
    "sici_si": (mp.si, [(-30.0, 30.0)]),
    "sici_ci": (mp.ci, [(0.01, 30.0)]),
    "shichi_shi": (mp.shi, [(-30.0, 30.0)]),
    "shichi_chi": (mp.chi, [(0.01, 30.0)]),
    "spence": (lambda z: mp.polylog(2, 1 - z), [(0.01, 1.9)]),
    "lambertw": (lambda z: mp.lambertw(z).real, [(-0.3, 300.0)]),
    "wrightomega": (lambda z: mp.lambertw(mp.exp(z)).real, [(-30.0, 300.0)]),
    "hyp0f1": (lambda b, z: mp.hyp0f1(b, z), [1.5, (-20.0, 20.0)]),
    "hyp1f1": (mp.hyp1f1, [0.7, 1.9, (-20.0, 20.0)]),
    "hyp2f1": (mp.hyp2f1, [0.7, 1.9, 2.3, (-5.0, 0.9)]),
    "hyperu": (mp.hyperu, [0.7, 1.9, (0.1, 20.0)]),
    "eval_legendre": (mp.legendre, [7, (-1.0, 1.0)]),
    "eval_chebyt": (mp.chebyt, [7, (-1.0, 1.0)]),
    "eval_chebyu": (mp.chebyu, [7, (-1.0, 1.0)]),
    "eval_hermite": (mp.hermite, [7, (-3.0, 3.0)]),
    "eval_laguerre": (lambda n, x: mp.laguerre(n, 0, x), [7, (0.0, 10.0)]),
    "eval_genlaguerre": (mp.laguerre, [7, 1.5, (0.0, 10.0)]),
    "eval_gegenbauer": (mp.gegenbauer, [7, 1.5, (-1.0, 1.0)]),
    "eval_jacobi": (mp.jacobi, [7, 0.5, 1.5, (-1.0, 1.0)]),
}


# Worse than 16, and why.
REASONS = {
    "beta": (60, "SciPy's own value is off by 55 ulp"),
    "binom": (60, "SciPy's own value is off by 50 ulp"),
    "fdtr": (20000, "the derivative in a shape is what two terms of opposite sign leave"),
    "jv": (60, "near its extremes the derivative is a difference of two, each with SciPy's error"),
    "ive": (3000, "the derivative for large z is what is left of terms 2 z times its size"),
    "airye_ai": (2000, "SciPy's own value is off by 150 ulp around 2"),
    "airye_bi": (500, "SciPy's own value is off by 80 ulp"),
    "modstruve": (20000, "SciPy's own value is off by 6000 ulp around 14"),
    "ker": (1e8, "SciPy's own values lose five digits from 5 to 10"),
    "kei": (1e8, "SciPy's own values lose five digits from 5 to 10"),
    "hyperu": (1e10, "SciPy's own value loses up to eight digits"),
}


def points(name: str, count: int) -> list[Any]:
    """Operands from the row's intervals: evenly spread, and, where an interval has one sign, over its magnitudes."""
    rng = seeded(name, "accuracy")
    args: list[Any] = []
    for interval in REFERENCES[name][1]:
        if isinstance(interval, tuple):
            low, high = interval
            x = rng.uniform(low, high, count)
            if low > 0:
                x[::2] = np.exp(rng.uniform(np.log(low), np.log(high), x[::2].size))
            args.append(x)
        else:
            args.append(interval)
    return args


def errors(name: str, count: int = 10) -> dict[str, float]:
    """Per operand with a known derivative: the worst error of the partial, in ulp, over 1 + its condition number."""
    rule, (function, _) = rules[name], REFERENCES[name]
    args = points(name, count)
    worst = {}
    for i, (letter, partial) in enumerate(zip("abcd", rule.partials, strict=False)):
        if partial is None or not isinstance(args[i], np.ndarray):
            continue
        value, pullback = cr.vjp(lambda x, i=i: rule(*args[:i], x, *args[i + 1 :]), args[i])
        found = np.real(pullback(np.ones_like(value))[0])
        errors = []
        for k in range(count):
            at = [mp.mpf(float(x[k])) if isinstance(x, np.ndarray) else x for x in args]
            errors.append(_error(function, at, i, found[k]))
        worst[letter] = max(errors)
    return worst


def _error(function: Callable[..., Any], at: list[Any], i: int, found: float) -> float:
    with mp.workdps(50):
        order = [int(j == i) for j in range(len(at))]
        exact = mp.diff(function, tuple(at), tuple(order)) if len(at) > 1 else mp.diff(function, at[0])
        if abs(exact) < 1e-290:
            return 0.0
        condition = mp.mpf(0)
        for j, x in enumerate(at):
            if isinstance(x, mp.mpf):
                step = abs(x) * mp.mpf(10) ** -15
                moved = [*at[:j], x + step, *at[j + 1 :]]
                other = mp.diff(function, tuple(moved), tuple(order)) if len(at) > 1 else mp.diff(function, moved[0])
                condition += abs((other - exact) / step * x / exact)
        return float(abs(found - exact) / abs(exact) / (mp.mpf(2) ** -52) / (1 + condition))


def published(name: str) -> dict[str, Any]:
    """What docs/coverage.md says of a row: per operand, a bound of the error, or none where there is a reason."""
    bounds = {
        letter: next((bound for bound in (1, 2, 4, 8, 16) if error <= bound), None)
        for letter, error in errors(name, 60).items()
    }
    return {"ulp": bounds} | ({"reason": REASONS[name][1]} if name in REASONS else {})


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name:16}", *(f"{letter}: {error:8.1f}" for letter, error in errors(name).items()))
    if not sys.argv[1:]:
        text = json.dumps({name: published(name) for name in REFERENCES}, indent=1)
        PUBLISHED.write_text(text + "\n", encoding="utf-8")
