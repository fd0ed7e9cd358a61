"""The elementwise operations of kernels: each is a formula in vectors, in float32 and float64 alike.

NaN, infinities, signed zeros and subnormal numbers come out as NumPy's do.  Operations that are one machine
instruction round as NumPy's; the others, which are polynomials after argument reduction, are within `ULPS` units in
the last place.  No formula is contracted, reassociated or otherwise loosened by the compiler: where a fused
multiply-add is wanted it is written.  (Only which of the zeros 0.0 and -0.0 a maximum or minimum gives is open: in
NumPy it depends on the processor, and for fmax and fmin on where in the array they are.  Here it is the second one.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .coefficients import ARCTAN, COS, ERF, ERFCX, EXP, HALF_PI, LOG, LOG2, SIN
from .vector import SCALAR, Vector, constant, where

__all__ = [
    "COMPARING",
    "LOGICAL",
    "POWERS",
    "PREDICATES",
    "TABLE",
    "ULPS",
    "apply",
    "astype",
    "exact_ops",
    "maximum",
    "minimum",
    "supported",
]

# 1.5 * 2^p: adding it rounds to an integer, which is then in the low bits
_ROUND = {"f4": 1.5 * 2.0**23, "f8": 1.5 * 2.0**52}
_MANTISSA = {"f4": 23, "f8": 52}
_BIAS = {"f4": 127, "f8": 1023}


def _bits(dtype: str, value: float) -> int:
    """The bits of a constant as a signed integer."""
    full = int(constant("f8", value), 16)
    if dtype == "f8":
        return full - (full >> 63 << 64)
    sign, exponent, mantissa = full >> 63, (full >> 52 & 0x7FF) - 1023 + 127, full >> 29 & 0x7FFFFF
    return (exponent << 23 | mantissa) - (sign << 31)


def _polynomial(coefficients: dict[str, tuple[float, ...]], x: Vector) -> Vector:
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


# Exponentials: x = n log(2) + r.


def _split(x: Vector) -> tuple[Vector, Vector, Vector]:
    """The integer n in the low bits of a float, exp(r) - 1, and r: for |x| up to where exp overflows."""
    n = x.fma(1 / math.log(2), _ROUND[x.dtype])
    high, low = LOG2[x.dtype]
    whole = n - _ROUND[x.dtype]
    r = whole.fma(-low, whole.fma(-high, x))
    return n, _minus_one(r), r


def _minus_one(r: Vector) -> Vector:
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


_EXP_RANGE = {"f4": (-104.0, 89.0), "f8": (-746.0, 710.0)}


def _exp(x: Vector) -> Vector:
    n, p, _ = _split(_clip(x, *_EXP_RANGE[x.dtype]))
    return _scaled(1 + p, n)


def _exp2(x: Vector) -> Vector:
    x = _clip(x, *{"f4": (-151.0, 129.0), "f8": (-1076.0, 1025.0)}[x.dtype])
    n = x + _ROUND[x.dtype]
    return _scaled(1 + _minus_one((x - (n - _ROUND[x.dtype])) * math.log(2)), n)


def _expm1(x: Vector) -> Vector:
    n, p, _ = _split(_clip(x, {"f4": -20.0, "f8": -40.0}[x.dtype], _EXP_RANGE[x.dtype][1]))
    s = _power_of_two(n - 1)  # half the power, which does not overflow
    y = s.fma(p, s - 0.5)
    return where(n.compare("eq", _ROUND[x.dtype]), p, y + y).copysign(x)


_ONE_FROM = {"f4": 10.0, "f8": 22.0}  # where tanh is 1, and sinh and cosh half of exp


def _expm1_nonnegative(x: Vector) -> Vector:
    """expm1(x) where 0 <= x and nothing overflows."""
    n, p, _ = _split(x)
    s = _power_of_two(n)
    return s.fma(p, s - 1)


def _tanh(x: Vector) -> Vector:
    a = _below(abs(x), _ONE_FROM[x.dtype])
    y = _expm1_nonnegative(a + a)
    return (y / (y + 2)).copysign(x)


def _sigmoid(x: Vector) -> Vector:
    n, p, _ = _split(_above(-abs(x), _EXP_RANGE[x.dtype][0]))
    e = _scaled(1 + p, n)
    return where(x >= 0, e.like(1), e) / (1 + e)


def _half_exp(a: Vector) -> Vector:
    n, p, _ = _split(_below(a, _EXP_RANGE[a.dtype][1] + 2))
    return _scaled(1 + p, n, 1)


def _sinh(x: Vector) -> Vector:
    a = abs(x)
    y = _expm1_nonnegative(_below(a, _ONE_FROM[x.dtype]))
    small = 0.5 * (y + y / (y + 1))
    return where(a < _ONE_FROM[x.dtype], small, _half_exp(a)).copysign(x)


def _cosh(x: Vector) -> Vector:
    e = _half_exp(abs(x))
    return e + 0.25 / e


# Logarithms: x = 2^k m with sqrt(1/2) <= m < sqrt(2).

_ROOT_HALF = math.sqrt(0.5)


def _logarithm(x: Vector, correction: Vector | None = None) -> tuple[Vector, Vector]:
    """log(m), and k; with a correction, of x + correction."""
    dtype = x.dtype
    tiny = x < 2.0 ** (2 - _BIAS[dtype])
    normal = where(tiny, x * 2.0 ** (_MANTISSA[dtype] + 2), x)
    root = _bits(dtype, _ROOT_HALF)
    i = normal.bits - root
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
    high, low = LOG2[k.dtype]
    return k.fma(high, k.fma(low, log_m))


def _log(x: Vector) -> Vector:
    log_m, k = _logarithm(x)
    return _at_ends(x, _plus_exponent(log_m, k))


def _log2(x: Vector) -> Vector:
    log_m, k = _logarithm(x)
    return _at_ends(x, log_m.fma(1 / math.log(2), k))


def _log10(x: Vector) -> Vector:
    return _log(x) * (1 / math.log(10))


def _log1p(x: Vector) -> Vector:
    u = x + 1
    over = u - 1
    lost = (1 - (u - over)) + (x - over)  # u + lost is x + 1 exactly
    log_m, k = _logarithm(u, lost)
    return _at_ends(u, _plus_exponent(log_m, k)).copysign(where(u >= 0, x, u))


def _logaddexp(a: Vector, b: Vector) -> Vector:
    distance = where(a.compare("eq", b), a.like(0), abs(a - b))  # also of equal infinities
    return maximum(a, b) + _log1p(_exp(-distance))


# Sine and cosine: x = n pi/2 + r.

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


def _sin(x: Vector) -> Vector:
    n, sine, cosine = _turns(x)
    return _quadrant(n, sine, cosine).where_rare(abs(x) > _LARGE[x.dtype], _elementwise_call("sin"), x)


def _cos(x: Vector) -> Vector:
    n, sine, cosine = _turns(x)
    return _quadrant(n + 1, sine, cosine).where_rare(abs(x) > _LARGE[x.dtype], _elementwise_call("cos"), x)


def _tan(x: Vector) -> Vector:
    n, sine, cosine = _turns(x)
    even = (n & 1).compare("eq", 0)
    y = where(even, sine, -cosine) / where(even, cosine, sine)
    return y.where_rare(abs(x) > _LARGE[x.dtype], _elementwise_call("tan"), x)


def _arctan(x: Vector) -> Vector:
    a = abs(x)
    steep, flat = a > math.sqrt(2) + 1, a > math.sqrt(2) - 1
    one = a.like(1)
    r = where(steep, -one, where(flat, a - 1, a)) / where(steep, a, where(flat, a + 1, one))
    z = r * r
    y = (r * z).fma(_polynomial(ARCTAN, z), r)
    turn = where(steep, a.like(math.pi / 2), where(flat, a.like(math.pi / 4), a.like(0)))
    return (turn + y).copysign(x)


# The error function.  erfc(a) is exp(-a^2) times what varies slowly.


def _slowly(a: Vector, factor: float = 1.0) -> Vector:
    """exp(x^2) erfc(x) where x is factor a >= 0."""
    t = a.fma(factor, -3) / a.fma(factor, 3)
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


def _erf(x: Vector) -> Vector:
    inner = x * _polynomial(ERF, _below(x * x, 1.0))
    return where(abs(x) <= 1, inner, (1 - _erfc_of_magnitude(x)).copysign(x))


def _erfc(x: Vector) -> Vector:
    y = _erfc_of_magnitude(x)
    return where(x < 0, 2 - y, y)


def _bell(x: Vector, factor: float) -> Vector:
    return _exp_of_minus_square(_below(abs(x), _NOTHING_BEYOND[x.dtype][factor != 1.0]), factor)


def _ndtr(x: Vector) -> Vector:
    a = _below(abs(x), _NOTHING_BEYOND[x.dtype][1])
    y = (_slowly(a, math.sqrt(0.5)) * 0.5) * _exp_of_minus_square(a, 0.5)
    return where(x > 0, 1 - y, y)


# Selections, signs and rounding.


def maximum(a: Vector, b: Vector) -> Vector:
    """The larger; NaN if there is one."""
    larger = where(a > b, a, b)
    return where(a.isnan(), a, larger) if a.dtype[0] == "f" else larger


def minimum(a: Vector, b: Vector) -> Vector:
    """The smaller; NaN if there is one."""
    smaller = where(a < b, a, b)
    return where(a.isnan(), a, smaller) if a.dtype[0] == "f" else smaller


def _absolute(a: Vector) -> Vector:
    return abs(a) if a.dtype[0] == "f" else where(a < 0, -a, a)


def _sign(a: Vector) -> Vector:
    sign = where(a > 0, a.like(1), where(a < 0, a.like(-1), a.like(0)))
    return where(a.isnan(), a, sign) if a.dtype[0] == "f" else sign


def _root(x: Vector) -> Vector:
    """C's pow(x, 0.5), which is not sqrt for -0.0 and -inf."""
    return where(x.compare("eq", -math.inf), x.like(math.inf), (x + 0.0).call("sqrt"))


def _heaviside(a: Vector, at_zero: Vector) -> Vector:
    step = where(a > 0, a.like(1), where(a < 0, a.like(0), at_zero))
    return where(a.isnan(), a, step)


def astype(a: Vector, dtype: str) -> Vector:
    """As another dtype."""
    if dtype == a.dtype:
        return a
    source, target = a.dtype[0], dtype[0]
    if dtype == "bool":
        return a.compare("ne", 0)
    if a.dtype == "bool":
        return where(a, a.writer.constant(dtype, 1), 0.0)
    if source == target:
        wider = int(dtype[1]) > int(a.dtype[1])
        return a.convert({"f": ("fptrunc", "fpext"), "i": ("trunc", "sext")}[source][wider], dtype)
    return a.convert("sitofp", dtype)


POWERS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # exponents of `power`


def _power(x: Vector, exponent: float) -> Vector:
    if exponent == 0.5:
        return x.call("sqrt")  # as NumPy has it, of arrays
    if exponent == -0.5:
        return 1 / _root(x)
    base, k = (x, int(exponent)) if exponent > 0 else (1 / x, -int(exponent))
    result = None
    while k:
        if k & 1:
            result = base if result is None else result * base
        base, k = base * base, k >> 1
    return x.like(1) if result is None else result


Formula = Callable[..., Vector]
_F, _FI, _FIB, _B = ("f4", "f8"), ("f4", "f8", "i4", "i8"), ("f4", "f8", "i4", "i8", "bool"), ("bool",)
_EXACTLY = 0.5

# name: (formula, dtypes of the operands, error in units in the last place; 0.5 is correctly rounded, as in NumPy)
TABLE: dict[str, tuple[Formula, tuple[str, ...], float]] = {
    "add": (lambda a, b: a + b, _FI, _EXACTLY),
    "subtract": (lambda a, b: a - b, _FI, _EXACTLY),
    "multiply": (lambda a, b: a * b, _FI, _EXACTLY),
    "divide": (lambda a, b: a / b, _F, _EXACTLY),
    "negative": (lambda a: -a, _FI, _EXACTLY),
    "positive": (lambda a: a, _FI, _EXACTLY),
    "reciprocal": (lambda a: 1 / a, _F, _EXACTLY),
    "square": (lambda a: a * a, _FI, _EXACTLY),
    "sqrt": (lambda a: a.call("sqrt"), _F, _EXACTLY),
    "root": (_root, _F, 1),
    "absolute": (_absolute, _FI, _EXACTLY),
    "sign": (_sign, _FI, _EXACTLY),
    "maximum": (maximum, _FI, _EXACTLY),
    "minimum": (minimum, _FI, _EXACTLY),
    "fmax": (lambda a, b: where(b.isnan(), a, where(a > b, a, b)), _F, _EXACTLY),
    "fmin": (lambda a, b: where(b.isnan(), a, where(a < b, a, b)), _F, _EXACTLY),
    "copysign": (lambda a, b: a.copysign(b), _F, _EXACTLY),
    "heaviside": (_heaviside, _F, _EXACTLY),
    "floor": (lambda a: a.call("floor"), _F, _EXACTLY),
    "ceil": (lambda a: a.call("ceil"), _F, _EXACTLY),
    "trunc": (lambda a: a.call("trunc"), _F, _EXACTLY),
    "rint": (lambda a: a.call("rint"), _F, _EXACTLY),
    "greater": (lambda a, b: a > b, _FI, _EXACTLY),
    "greater_equal": (lambda a, b: a >= b, _FI, _EXACTLY),
    "less": (lambda a, b: a < b, _FI, _EXACTLY),
    "less_equal": (lambda a, b: a <= b, _FI, _EXACTLY),
    "equal": (lambda a, b: a.compare("eq", b), _FIB, _EXACTLY),
    "not_equal": (lambda a, b: a.compare("ne", b), _FIB, _EXACTLY),
    "isnan": (lambda a: a.isnan(), _F, _EXACTLY),
    "isfinite": (lambda a: abs(a) < math.inf, _F, _EXACTLY),
    "isinf": (lambda a: abs(a).compare("eq", math.inf), _F, _EXACTLY),
    "signbit": (lambda a: a.bits < 0, _F, _EXACTLY),
    "logical_and": (lambda a, b: a & b, _B, _EXACTLY),
    "logical_or": (lambda a, b: a | b, _B, _EXACTLY),
    "logical_xor": (lambda a, b: a ^ b, _B, _EXACTLY),
    "logical_not": (lambda a: a ^ 1, _B, _EXACTLY),
    "exp": (_exp, _F, 2),
    "exp2": (_exp2, _F, 2),
    "expm1": (_expm1, _F, 3),
    "log": (_log, _F, 2),
    "log2": (_log2, _F, 3),
    "log10": (_log10, _F, 4),
    "log1p": (_log1p, _F, 3),
    "logaddexp": (_logaddexp, _F, 4),
    "sin": (_sin, _F, 3),
    "cos": (_cos, _F, 3),
    "tan": (_tan, _F, 4),
    "arctan": (_arctan, _F, 3),
    "sinh": (_sinh, _F, 3),
    "cosh": (_cosh, _F, 3),
    "tanh": (_tanh, _F, 4),
    "sigmoid": (_sigmoid, _F, 3),
    "exp_minus_square": (lambda a: _bell(a, 1.0), _F, 3),
    "exp_minus_half_square": (lambda a: _bell(a, 0.5), _F, 3),
    "erf": (_erf, _F, 3),
    "erfc": (_erfc, _F, 4),
    "ndtr": (_ndtr, _F, 4),
}

ULPS = {name: error for name, (_, _, error) in TABLE.items()} | {"power": 4.0}
"""The largest error of each operation, in units in the last place.

Of "logaddexp", whose terms may cancel as they do in NumPy: in units of its larger operand, where that is larger.
"""

exact_ops = frozenset(name for name, error in ULPS.items() if error == _EXACTLY) | {
    "where",
    "astype",
    "max",
    "min",
    "any",
}
"""The operations whose results are NumPy's bit for bit."""

COMPARING = frozenset(
    {"greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "isnan", "isfinite", "isinf", "signbit"}
)
LOGICAL = frozenset({"logical_and", "logical_or", "logical_not", "logical_xor"})
PREDICATES = COMPARING | LOGICAL
"""The operations whose results are truth values."""

_CONVERSIONS = frozenset(
    (a, b) for a in SCALAR for b in SCALAR if a == b or b == "bool" or not (a[0] == "f" and b[0] == "i")
)


def supported(name: str, dtypes: tuple[str, ...], exponent: float | None = None) -> bool:
    """Whether a kernel can compute an operation.

    Parameters
    ----------
    name : str
        As in `Op`.
    dtypes : tuple of str
        Of the operands, the condition of "where" included; of "astype", of the operand and the result.
    exponent : float, optional
        For "power", which has only constant exponents.
    """
    if name in TABLE:
        return len(set(dtypes)) == 1 and dtypes[0] in TABLE[name][1]
    if name == "where":
        return len(dtypes) == 3 and dtypes[0] == "bool" and dtypes[1] == dtypes[2] in SCALAR
    if name == "astype":
        return tuple(dtypes) in _CONVERSIONS
    if name == "power":
        return exponent in POWERS and dtypes[0] in _F
    if name == "any":
        return set(dtypes) == {"bool"}
    return name in ("sum", "max", "min") and (dtypes[0] in _F or (name, *dtypes) == ("sum", "i8"))


def apply(name: str, operands: list[Vector], dtype: str, exponent: float | None = None) -> Vector:
    """Write an operation."""
    if name == "astype":
        return astype(operands[0], dtype)
    if name == "power":
        assert exponent is not None
        return _power(operands[0], exponent)
    if name == "where":
        return where(*operands)
    return TABLE[name][0](*operands)
