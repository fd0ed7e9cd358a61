"""SciPy's special functions, differentiable: all names of `scipy.special`.

Elementwise functions are SciPy's own ufuncs, which dispatch to the rows of `special_table.py`: `scipy.special.gamma(t)`
of a Tensor works as well.  Here are those that are Python functions in SciPy, and what each of the others is declared.
On plain arrays all of them are SciPy's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import scipy.special

from ..errors import ConcreteValueError, UnsupportedFunctionError
from ..memory import keeps_bits
from ..rules.linear import of_one, raised, summed, zero_wins
from ..rules.registry import Rule, custom, not_implemented, rules
from ..tensor import Tensor, batched_among, called, plain, tensor_like, traced_among
from . import special_distributions, special_table, special_waves  # noqa: F401 (they register the rows)
from .namespace import Namespace
from .unwrapped import special

__all__ = list(special.__all__)
globals().update({name: getattr(special, name) for name in __all__})

Function = Callable[..., Any]


def _may_round(x: Any) -> bool:
    """Whether a real array stands for one in a program that need not keep every bit."""
    return any(True for _ in traced_among(x)) and not keeps_bits(x) and x.dtype.char in "fd" and x.ndim > 0


def _like_scipy(function: Function) -> Function:
    """Give SciPy's name and signature to the differentiable form of one of its functions; plain in, plain out."""
    name = function.__name__
    original = getattr(special, name, None)
    exact = rules.get(f"scipy_{name}")  # which a program that need not keep every bit has another function for
    if original is None:  # not in this version
        return function

    @wraps(original)
    def chosen(*args: Any, **options: Any) -> Any:
        args = tuple(tensor_like(arg) for arg in args)
        if any(isinstance(arg, Tensor) for arg in (*args, *options.values())):
            try:
                return function(*args, **options)
            except ConcreteValueError:  # SciPy decides by a value: there is one for each example
                if (batch := batched_among((args, options))) is None:
                    raise
                return batch.in_turn(chosen, args, f"scipy.special.{name}", options)
        if exact is not None and len(args) == 1 and options.keys() <= {"axis", "keepdims"} and _may_round(args[0]):
            return function(*args, **options)
        return called(original, *args, **options)

    chosen.__module__, chosen.__qualname__ = __name__, name  # where pickle looks
    chosen.__doc__ = f"`scipy.special.{name}`; with a Tensor: differentiated."
    return chosen


# -- what SciPy computes in Python: each is a row of the table, called with SciPy's signature ------------------------
@_like_scipy
def polygamma(n: Any, x: Any) -> Any:
    return rules["polygamma"](n, x)


@_like_scipy
def zeta(x: Any, q: Any = None, out: None = None) -> Any:
    if q is None:
        raise UnsupportedFunctionError(
            "scipy.special.zeta(x) was called with a Tensor, but no derivative in x is known; zeta(x, q) has one in q"
        )
    return rules["zeta"](x, q)


@_like_scipy
def lambertw(z: Any, k: Any = 0, tol: float = 1e-8) -> Any:
    return rules["lambertw"](z, k=k, tol=tol)


@_like_scipy
def multigammaln(a: Any, d: int) -> Any:
    return multigammaln_rule(a, d=d)


multigammaln_rule = custom(
    "multigammaln",
    special.multigammaln,
    needs=("a",),
    pulls=(lambda ct, node: ct * _multigammaln_slope(node),),
    push=lambda node, tangents: tangents[0] * _multigammaln_slope(node),
)


def _multigammaln_slope(node: Any) -> Any:
    a = node.operands[0].value
    return sum((special.psi(a - 0.5 * j) for j in range(1, node.params[1]["d"])), special.psi(a))


@_like_scipy
def softplus(x: Any, **options: Any) -> Any:
    return rules["softplus"](x, **options)


@_like_scipy
def diric(x: Any, n: Any) -> Any:
    return rules["diric"](x, n)


@_like_scipy
def factorial(n: Any, exact: bool = False, extend: str = "zero") -> Any:
    _inexact("factorial", exact or extend != "zero")
    return rules["factorial"](n)


@_like_scipy
def comb(N: Any, k: Any, *, exact: bool = False, repetition: bool = False) -> Any:
    _inexact("comb", exact)
    if repetition:
        N = N + k - 1
    return np.where((k <= N) & (N >= 0) & (k >= 0), special.binom(N, k), 0.0)


@_like_scipy
def perm(N: Any, k: Any, exact: bool = False) -> Any:
    _inexact("perm", exact)
    return np.where((k <= N) & (N >= 0) & (k >= 0), special.poch(N - k + 1, k), 0.0)


def _inexact(name: str, exact: bool) -> None:
    if exact:
        raise UnsupportedFunctionError(
            f"scipy.special.{name} was called with a Tensor and other options than the defaults, which are for "
            "integers; leave them out, or pass t.data"
        )


@_like_scipy
def assoc_laguerre(x: Any, n: Any, k: Any = 0.0) -> Any:
    return special.eval_genlaguerre(n, k, x)


def _derivative_of_bessel(name: str) -> Function:
    def derivative(v: Any, z: Any, n: int = 1) -> Any:
        return rules[name](v, z, n)

    derivative.__name__ = name
    return _like_scipy(derivative)


def _spherical(name: str) -> Function:
    def spherical(n: Any, z: Any, derivative: bool = False) -> Any:
        return rules[f"{name}_slope" if derivative else name](n, z)

    spherical.__name__ = name
    return _like_scipy(spherical)


jvp, yvp, ivp, kvp, h1vp, h2vp = map(_derivative_of_bessel, ("jvp", "yvp", "ivp", "kvp", "h1vp", "h2vp"))
spherical_jn, spherical_yn, spherical_in, spherical_kn = map(
    _spherical, ("spherical_jn", "spherical_yn", "spherical_in", "spherical_kn")
)


# -- Legendre functions and spherical harmonics ------------------------------------------------------------------------
def _once(function: Function) -> Function:
    """A function without `diff_n`, SciPy's way to ask for derivatives, of which it makes a table."""

    @_like_scipy
    @wraps(function)
    def legendre(*args: Any, diff_n: int = 0, **options: Any) -> Any:
        if diff_n:
            raise UnsupportedFunctionError(
                f"scipy.special.{function.__name__}(..., diff_n={diff_n}) was called with a Tensor; leave diff_n out, "
                f"and differentiate {function.__name__}, or pass t.data"
            )
        return function(*args, **options)

    return legendre


def _degrees(n: int, x: Any) -> Any:
    """0, ..., n along an axis of its own, before those of x."""
    return np.arange(n + 1).reshape(-1, *[1] * np.ndim(x))


def _orders(m: int, x: Any) -> Any:
    """0, ..., m, -m, ..., -1 along an axis of its own, before those of x."""
    return np.concatenate([np.arange(m + 1), np.arange(-m, 0)]).reshape(-1, *[1] * np.ndim(x))


@_once
def legendre_p(n: Any, z: Any) -> Any:
    return rules["legendre_p"](n, z)[np.newaxis]


@_once
def legendre_p_all(n: int, z: Any) -> Any:
    return legendre_p(_degrees(n, z), z)


@_once
def assoc_legendre_p(n: Any, m: Any, z: Any, *, branch_cut: Any = 2, norm: bool = False) -> Any:
    if np.any(np.asarray(branch_cut) != 2):
        raise UnsupportedFunctionError("scipy.special.assoc_legendre_p of a Tensor has branch_cut=2; or pass t.data")
    return rules["assoc_legendre_p_norm" if norm else "assoc_legendre_p"](n, m, z)[np.newaxis]


@_once
def assoc_legendre_p_all(n: int, m: int, z: Any, *, branch_cut: Any = 2, norm: bool = False) -> Any:
    orders = _orders(m, z)
    return assoc_legendre_p(_degrees(n, orders), orders, z, branch_cut=branch_cut, norm=norm)


@_once
def sph_legendre_p(n: Any, m: Any, theta: Any) -> Any:
    return rules["sph_legendre_p"](n, m, theta)[np.newaxis]


@_once
def sph_legendre_p_all(n: int, m: int, theta: Any) -> Any:
    orders = _orders(m, theta)
    return sph_legendre_p(_degrees(n, orders), orders, theta)


@_once
def sph_harm_y(n: Any, m: Any, theta: Any, phi: Any) -> Any:
    return rules["sph_harm_y"](n, m, theta, phi)


@_once
def sph_harm_y_all(n: int, m: int, theta: Any, phi: Any) -> Any:
    orders = _orders(m, theta + phi)
    return sph_harm_y(_degrees(n, orders), orders, theta, phi)


# -- log-sum-exp and softmax -----------------------------------------------------------------------------------------
def _weighted(a: Any, b: Any, axis: Any = None, keepdims: bool = False) -> Any:
    with np.errstate(all="ignore"):
        return special.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=True)[0]


def _shares(node: Any) -> Any:
    """exp(a) over the sum, which has a sign: what a unit of weight adds to the logarithm of the sum."""
    a, b = node.operands[0].value, node.operands[1].value
    y = raised(node.value, node)
    finite = np.where(np.isfinite(y), y, 0)
    shares = np.exp(a - finite)
    total = raised(summed(b * shares, node), node)  # 1 or -1, if y were not rounded
    return shares / np.where(np.isfinite(y) & (total != 0), total, np.where(total < 0, -1.0, 1.0))


# The operands are of one shape: `logsumexp` has broadcast them.
weighted_rule = custom(
    "weighted_logsumexp",
    _weighted,
    needs=("aby", "aby"),
    pulls=(
        lambda ct, node: zero_wins(raised(ct, node), node.operands[1].value * _shares(node)),
        lambda ct, node: zero_wins(raised(ct, node), _shares(node)),
    ),
    push=lambda node, tangents: summed(
        sum(
            zero_wins(t, factor * _shares(node))
            for t, factor in zip(tangents, (node.operands[1].value, 1.0), strict=True)
            if t is not None
        ),
        node,
    ),
)


def _exactly(name: str, value: Function, ours: Rule) -> Rule:
    """The rule of ours for the same function, with SciPy's value to the last bit."""
    rule = replace(ours, name=name, value=value, rounded=ours.value)
    rules[name] = rule
    return rule


logsumexp_rule = _exactly("scipy_logsumexp", special.logsumexp, rules["logsumexp"])
softmax_rule = _exactly("scipy_softmax", special.softmax, rules["softmax"])
log_softmax_rule = _exactly("scipy_log_softmax", special.log_softmax, rules["log_softmax"])


@_like_scipy
def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    if any(np.iscomplexobj(plain(x)) for x in (a, b)):
        raise UnsupportedFunctionError("scipy.special.logsumexp of complex Tensors is not implemented")
    if b is None:
        value = logsumexp_rule(a, axis=axis, keepdims=keepdims)
        return (value, np.ones(value.shape, value.dtype)[()]) if return_sign else value
    for x in (a, b):
        of_one(x, "the sign of scipy.special.logsumexp")
    a, b = np.broadcast_arrays(a, b)
    value = weighted_rule(a, b, axis=axis, keepdims=keepdims)
    sign = called(special.logsumexp, plain(a), axis=axis, b=plain(b), keepdims=keepdims, return_sign=True)[1]
    if return_sign:
        return value, sign
    return np.where(sign < 0, np.nan, value)  # as SciPy has it: a negative sum has no logarithm


@_like_scipy
def softmax(x: Any, axis: Any = None) -> Any:
    return softmax_rule(x, axis=axis)


@_like_scipy
def log_softmax(x: Any, axis: Any = None) -> Any:
    return log_softmax_rule(x, axis=axis)


# -- declared ----------------------------------------------------------------------------------------------------------
INVERSE = "it is an inverse in a parameter in which no derivative is known"
DECLARED = {
    INVERSE: "chndtridf ncfdtridfd ncfdtridfn nctdtridf",
    "no derivative in its argument is known": "zetac",
    "its derivative is a function that SciPy does not have": "ellip_harm ellip_harm_2 ellip_normal",
    "it gives coefficients for a single number": "mathieu_even_coef mathieu_odd_coef obl_cv_seq pro_cv_seq",
    "its values do not satisfy its equation in SciPy": "obl_rad2 obl_rad2_cv pro_rad2 pro_rad2_cv",
    "it makes a table for a single number; use the ufunc of one order, such as pbdv, jv or lpmv": "lmbda "
    "lqmn lqn pbdn_seq pbdv_seq pbvv_seq riccati_jn riccati_yn lpmn lpn clpmn",
    "it is not implemented; use sph_harm_y, whose arguments come in another order": "sph_harm",
    "it is a function of integers": "bernoulli euler factorial2 factorialk stirling2 ai_zeros bei_zeros beip_zeros "
    "ber_zeros berp_zeros bi_zeros erf_zeros fresnel_zeros fresnelc_zeros fresnels_zeros jn_zeros jnjnp_zeros "
    "jnp_zeros jnyn_zeros kei_zeros keip_zeros kelvin_zeros ker_zeros kerp_zeros y0_zeros y1_zeros y1p_zeros yn_zeros "
    "ynp_zeros",
    "it makes a polynomial or its roots, of which no derivative in the parameters is known; of a Tensor, use "
    "eval_legendre and its like": "legendre chebyt chebyu chebyc chebys jacobi laguerre genlaguerre hermite "
    "hermitenorm gegenbauer sh_legendre sh_chebyt sh_chebyu sh_jacobi roots_legendre roots_chebyt roots_chebyu "
    "roots_chebyc roots_chebys roots_jacobi roots_laguerre roots_genlaguerre roots_hermite roots_hermitenorm "
    "roots_gegenbauer roots_sh_legendre roots_sh_chebyt roots_sh_chebyu roots_sh_jacobi p_roots t_roots u_roots "
    "c_roots s_roots j_roots l_roots la_roots h_roots he_roots cg_roots ps_roots ts_roots us_roots js_roots",
}
NO_FUNCTIONS = frozenset(["geterr", "seterr", "errstate", "SpecialFunctionWarning", "SpecialFunctionError", "test"])


here = Namespace(scipy.special)
for _reason, _names in DECLARED.items():
    for _name in _names.split():
        if isinstance(_ufunc := getattr(special, _name, None), np.ufunc):
            not_implemented(_reason, _ufunc)
        else:
            here.not_implemented(_reason, _name)
globals().update(here.members)
