"""The elementary functions in vectors: an argument is reduced to a short interval, where a polynomial does the rest.

NaN, infinities, signed zeros and subnormal numbers come out as NumPy's do.  How exact each is says `functions.ULPS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .coefficients import ARCTAN, COS, ERF, ERFCX, EXP, HALF_PI, LOG, LOG2, SIN
from .vector import SCALAR, Vector, constant, where

__all__ = [
    "arctan",
    "bell",
    "cos",
    "cosh",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "ndtr",
    "sigmoid",
    "sin",
    "sinh",
    "tan",
    "tanh",
]

# 1.5 * 2^p for a mantissa of p bits: to add it rounds to an integer, which is then in the low bits
_ROUND = {"f4": 1.5 * 2.0**23, "f8": 1.5 * 2.0**52}
_MANTISSA = {"f4": 23, "f8": 52}
_BIAS = {"f4": 127, "f8": 1023}


# -- parts of formulas -------------------------------------------------------------------------------------------
def _bits(dtype: str, value: float) -> int:
    """The bits of a constant as a signed integer."""
    full = int(constant("f8", value), 16)
    if dtype == "f8":
        return full - (full >> 63 << 64)
    sign, exponent, mantissa = full >> 63, (full >> 52 & 0x7FF) - 1023 + 127, full >> 29 & 0x7FFFFF
    return (exponent << 23 | mantissa) - (sign << 31)


def _polynomial(coefficients: dict[str, tuple[float, ...]], x: Vector) -> Vector:
    """By Horner's rule; the coefficient of 1 comes first."""
    *lower, last = coefficients[x.dtype]
    y = x.like(last)
    for c in reversed(lower):
        y = y.fma(x, c)
    return y


def _clip(x: Vector, low: float, high: float) -> Vector:
    """Between bounds; NaN stays."""
    return _above(_below(x, high), low)


def _below(x: Vector, high: float) -> Vector:
    return where(x > high, x.like(high), x)


def _above(x: Vector, low: float) -> Vector:
    return where(x < low, x.like(low), x)


# -- exponentials: x = n log(2) + r ------------------------------------------------------------------------------
def _split(x: Vector) -> tuple[Vector, Vector, Vector]:
    """The integer n in the low bits of a float, exp(r) - 1, and r: for |x| up to where exp overflows."""
    n = x.fma(1 / math.log(2), _ROUND[x.dtype])
    high, low = LOG2[x.dtype]
    whole = n - _ROUND[x.dtype]
    r = whole.fma(-low, whole.fma(-high, x))
    return n, _minus_one(r), r


def _minus_one(r: Vector) -> Vector:
    """exp(r) - 1 for |r| <= log(2)/2."""
    return (r * r).fma(_polynomial(EXP, r), r)


def _power_of_two(n: Vector) -> Vector:
    """2^n, where that is a normal number, for an integer n in the low bits of a float."""
    one = _BIAS[n.dtype] << _MANTISSA[n.dtype]
    return ((n.bits << _MANTISSA[n.dtype]) + one).as_float  # all of the float but n is shifted out


def _scaled(y: Vector, n: Vector, less: int = 0) -> Vector:
    """y 2^(n - less) for n in the low bits of a float, rounded once where it overflows or is subnormal."""
    if y.writer.has_scale(y.dtype):
        return y.scale(n - _ROUND[n.dtype] - less if less else n - _ROUND[n.dtype])
    k = n.bits - (_bits(n.dtype, _ROUND[n.dtype]) + less)
    half = k >> 1  # in two steps, each a normal number
    return y * _two_to(half) * _two_to(k - half)


def _two_to(k: Vector) -> Vector:
    """2^k for an integer k, where that is a normal number."""
    dtype = {"i4": "f4", "i8": "f8"}[k.dtype]
    return ((k + _BIAS[dtype]) << _MANTISSA[dtype]).as_float


# Below, exp is 0, and above, infinite.  Clipped to these, n stays small enough for `_scaled`, which gives just that.
_EXP_RANGE = {"f4": (-104.0, 89.0), "f8": (-746.0, 710.0)}


def exp(x: Vector) -> Vector:
    n, p, _ = _split(_clip(x, *_EXP_RANGE[x.dtype]))
    return _scaled(1 + p, n)


_EXP2_RANGE = {"f4": (-151.0, 129.0), "f8": (-1076.0, 1025.0)}  # the same for exp2


def exp2(x: Vector) -> Vector:
    x = _clip(x, *_EXP2_RANGE[x.dtype])
    n = x + _ROUND[x.dtype]
    return _scaled(1 + _minus_one((x - (n - _ROUND[x.dtype])) * math.log(2)), n)


_MINUS_ONE_BELOW = {"f4": -20.0, "f8": -40.0}  # there expm1 is -1 to the last bit


def expm1(x: Vector) -> Vector:
    n, p, _ = _split(_clip(x, _MINUS_ONE_BELOW[x.dtype], _EXP_RANGE[x.dtype][1]))
    s = _power_of_two(n - 1)  # half the power, which does not overflow
    y = s.fma(p, s - 0.5)  # half of 2^n (1 + p) - 1
    return where(n.compare("eq", _ROUND[x.dtype]), p, y + y).copysign(x)  # where n is 0, p is all of it


_ONE_FROM = {"f4": 10.0, "f8": 22.0}  # where tanh is 1, and sinh and cosh half of exp


def _expm1_nonnegative(x: Vector) -> Vector:
    """expm1(x) where 0 <= x and nothing overflows."""
    n, p, _ = _split(x)
    s = _power_of_two(n)
    return s.fma(p, s - 1)


def tanh(x: Vector) -> Vector:
    a = _below(abs(x), _ONE_FROM[x.dtype])
    y = _expm1_nonnegative(a + a)
    return (y / (y + 2)).copysign(x)


def sigmoid(x: Vector) -> Vector:
    """1/(1 + e) and e/(1 + e) with e = exp(-|x|), which does not overflow."""
    n, p, _ = _split(_above(-abs(x), _EXP_RANGE[x.dtype][0]))
    e = _scaled(1 + p, n)
    return where(x >= 0, e.like(1), e) / (1 + e)


def _half_exp(a: Vector) -> Vector:
    """exp(a)/2, which overflows later than exp."""
    n, p, _ = _split(_below(a, _EXP_RANGE[a.dtype][1] + 2))
    return _scaled(1 + p, n, 1)


def sinh(x: Vector) -> Vector:
    a = abs(x)
    y = _expm1_nonnegative(_below(a, _ONE_FROM[x.dtype]))
    small = 0.5 * (y + y / (y + 1))  # of y = exp(a) - 1, which loses nothing where a is small
    return where(a < _ONE_FROM[x.dtype], small, _half_exp(a)).copysign(x)


def cosh(x: Vector) -> Vector:
    e = _half_exp(abs(x))
    return e + 0.25 / e  # of e = exp(|x|)/2: exp(-|x|)/2 is a quarter of 1/e


# -- logarithms: x = 2^k m with sqrt(1/2) <= m < sqrt(2) ------------------------------------------------------------
_ROOT_HALF = math.sqrt(0.5)


def _logarithm(x: Vector, correction: Vector | None = None) -> tuple[Vector, Vector]:
    """log(m), and k; with a correction, of x + correction."""
    dtype = x.dtype
    tiny = x < 2.0 ** (2 - _BIAS[dtype])
    normal = where(tiny, x * 2.0 ** (_MANTISSA[dtype] + 2), x)  # subnormal numbers have no exponent in their bits
    root = _bits(dtype, _ROOT_HALF)
    i = normal.bits - root  # so that the exponent grows where m reaches sqrt(2), and not 2
    k = ((i >> _MANTISSA[dtype]) + _bits(dtype, _ROUND[dtype])).as_float - _ROUND[dtype]
    m = ((i & ((1 << _MANTISSA[dtype]) - 1)) + root).as_float
    f = m - 1
    if correction is not None:  # x is then normal; where it is large, the correction is nothing
        f = f + where(x < 1e10, correction * _two_to(0 - (i >> _MANTISSA[dtype])), 0.0)
    square = f * f
    log_m = (f * square).fma(_polynomial(LOG, f), square.fma(-0.5, f))
    return log_m, k - where(tiny, x.like(_MANTISSA[dtype] + 2), x.like(0))


def _at_ends(x: Vector, y: Vector) -> Vector:
    """A logarithm y of x: -inf at 0, NaN below, x itself at inf and NaN."""
    y = where(x < math.inf, y, x)
    return where(x > 0, y, where(x.compare("eq", 0), x.like(-math.inf), x.like(math.nan)))


def _plus_exponent(log_m: Vector, k: Vector) -> Vector:
    """log(m) + k log(2)."""
    high, low = LOG2[k.dtype]
    return k.fma(high, k.fma(low, log_m))


def log(x: Vector) -> Vector:
    log_m, k = _logarithm(x)
    return _at_ends(x, _plus_exponent(log_m, k))


def log2(x: Vector) -> Vector:
    log_m, k = _logarithm(x)
    return _at_ends(x, log_m.fma(1 / math.log(2), k))


def log10(x: Vector) -> Vector:
    return log(x) * (1 / math.log(10))


def log1p(x: Vector) -> Vector:
    u = x + 1
    over = u - 1
    lost = (1 - (u - over)) + (x - over)  # u + lost is x + 1 exactly
    log_m, k = _logarithm(u, lost)
    return _at_ends(u, _plus_exponent(log_m, k)).copysign(where(u >= 0, x, u))  # -0.0 of -0.0


# -- sine and cosine: x = n pi/2 + r -----------------------------------------------------------------------------
_LARGE = {"f4": 2.0**15, "f8": 2.0**20}  # beyond, pi/2 in three parts is not enough


def _turns(x: Vector) -> tuple[Vector, Vector, Vector]:
    """n in the low bits of an integer, sin(r), cos(r)."""
    n = x.fma(2 / math.pi, _ROUND[x.dtype])
    whole, r = n - _ROUND[x.dtype], x
    for part in HALF_PI[x.dtype]:
        r = whole.fma(-part, r)
    z = r * r
    sine = (r * z).fma(_polynomial(SIN, z), r).copysign(r)
    cosine = (z * z).fma(_polynomial(COS, z), z.fma(-0.5, 1))
    return n.bits, sine, cosine


def _elementwise_call(function: str) -> Callable[[str, int], tuple[str, str, set[str]]]:
    """A helper that calls the C library's function for each element that `_turns` cannot do."""

    def helper(dtype: str, lanes: int) -> tuple[str, str, set[str]]:
        kind, element = f"<{lanes} x {SCALAR[dtype]}>", SCALAR[dtype]
        name = f"{function}_{dtype}_{lanes}"
        size = f"@llvm.fabs.f{8 * int(dtype[1])}"
        declared = {f"declare double @{function}(double)", f"declare {element} {size}({element})"}
        widen, narrow = f"fpext {element} %one to double", f"fptrunc double %y to {element}"
        if dtype == "f8":
            widen, narrow = "bitcast double %one to double", "bitcast double %y to double"
        text = f"""define internal {kind} @{name}({kind} %x, {kind} %otherwise) noinline cold {{
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %merge]
  %result = phi {kind} [%otherwise, %entry], [%merged, %merge]
  %one = extractelement {kind} %x, i64 %i
  %size = call {element} {size}({element} %one)
  %large = fcmp ogt {element} %size, {constant(dtype, _LARGE[dtype])}
  br i1 %large, label %call, label %merge
call:
  %wide = {widen}
  %y = call double @{function}(double %wide)
  %narrow = {narrow}
  %with = insertelement {kind} %result, {element} %narrow, i64 %i
  br label %merge
merge:
  %merged = phi {kind} [%result, %loop], [%with, %call]
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, {lanes}
  br i1 %more, label %loop, label %done
done:
  ret {kind} %merged
}}
"""
        return name, text, declared

    return helper


def _quadrant(n: Vector, even: Vector, odd: Vector) -> Vector:
    """`even` or `odd` by n's last bit, negated by the one before it."""
    dtype = even.dtype
    chosen = where((n & 1).compare("eq", 0), even, odd)
    sign = (n & 2) << (8 * int(dtype[1]) - 2)
    return (chosen.bits ^ sign).as_float


def sin(x: Vector) -> Vector:
    n, sine, cosine = _turns(x)
    return _quadrant(n, sine, cosine).where_rare(abs(x) > _LARGE[x.dtype], _elementwise_call("sin"), x)


def cos(x: Vector) -> Vector:
    n, sine, cosine = _turns(x)
    return _quadrant(n + 1, sine, cosine).where_rare(abs(x) > _LARGE[x.dtype], _elementwise_call("cos"), x)


def tan(x: Vector) -> Vector:
    n, sine, cosine = _turns(x)
    even = (n & 1).compare("eq", 0)
    y = where(even, sine, -cosine) / where(even, cosine, sine)
    return y.where_rare(abs(x) > _LARGE[x.dtype], _elementwise_call("tan"), x)


def arctan(x: Vector) -> Vector:
    """By the angle's distance from the nearest of 0, pi/4 and pi/2, which is at most pi/8."""
    a = abs(x)
    steep, flat = a > math.sqrt(2) + 1, a > math.sqrt(2) - 1  # the tangents of 3/8 pi and pi/8
    one = a.like(1)
    r = where(steep, -one, where(flat, a - 1, a)) / where(steep, a, where(flat, a + 1, one))
    z = r * r
    y = (r * z).fma(_polynomial(ARCTAN, z), r)
    turn = where(steep, a.like(math.pi / 2), where(flat, a.like(math.pi / 4), a.like(0)))
    return (turn + y).copysign(x)


# -- the error function: erfc(a) is exp(-a^2) times what varies slowly -----------------------------------------------
def _slowly(a: Vector, factor: float = 1.0) -> Vector:
    """exp(x^2) erfc(x) where x is factor a >= 0."""
    t = a.fma(factor, -3) / a.fma(factor, 3)  # from 0 to infinity, this goes from -1 to 1
    return _polynomial(ERFCX, t) / a.fma(factor, 1)


def _exp_of_minus_square(a: Vector, factor: float) -> Vector:
    """exp(-factor a^2), factor a power of two, with the square's rounding error made good."""
    square = a * a
    lost = a.fma(a, -square)
    n, p, _ = _split(_above(square * -factor, _EXP_RANGE[a.dtype][0]))
    y = 1 + p
    return _scaled(y.fma(lost * -factor, y), n)


_NOTHING_BEYOND = {"f4": (10.5, 14.9), "f8": (27.5, 39.0)}  # erfc and ndtr underflow to 0


def _erfc_of_magnitude(x: Vector) -> Vector:
    a = _below(abs(x), _NOTHING_BEYOND[x.dtype][0])
    return _slowly(a) * _exp_of_minus_square(a, 1.0)


def erf(x: Vector) -> Vector:
    inner = x * _polynomial(ERF, _below(x * x, 1.0))
    return where(abs(x) <= 1, inner, (1 - _erfc_of_magnitude(x)).copysign(x))


def erfc(x: Vector) -> Vector:
    y = _erfc_of_magnitude(x)
    return where(x < 0, 2 - y, y)


def bell(x: Vector, factor: float) -> Vector:
    """exp(-factor x^2), for factors 1 and 1/2."""
    return _exp_of_minus_square(_below(abs(x), _NOTHING_BEYOND[x.dtype][factor != 1.0]), factor)


def ndtr(x: Vector) -> Vector:
    a = _below(abs(x), _NOTHING_BEYOND[x.dtype][1])
    y = (_slowly(a, math.sqrt(0.5)) * 0.5) * _exp_of_minus_square(a, 0.5)
    return where(x > 0, 1 - y, y)
