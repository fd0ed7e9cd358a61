"""Distributions of `scipy.stats`, differentiable in the value, the shape parameters, loc and scale.

A continuous distribution is a line of a table: the derivatives of the logarithm of its standard density, in the value
and in the shapes, and how its distribution function moves with the shapes.  All functions follow: `pdf logpdf cdf
logcdf sf logsf`, and the quantiles `ppf isf`.  Values are SciPy's, to the last bit.  At the edge of the support slopes
are those from inside, and outside they are 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy import stats

from ..errors import UnsupportedFunctionError
from ..rules.registry import Rule, custom, row, rules
from ..tensor import Tensor, batched_among, called, plain, tensor_like
from . import special_distributions as slopes
from .special_table import MILLS, infinite
from .unwrapped import special

ROWS: list[Rule] = []
QUANTILES = ("ppf", "isf")
CONTINUOUS = ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf", *QUANTILES)
DISCRETE = ("pmf", "logpmf", "cdf", "logcdf", "sf", "logsf")

__all__ = ["Distribution", "Frozen", "dirichlet", "multivariate_normal"]


def _same(x: Any) -> Any:
    """An argument as SciPy takes it: a number becomes an array, which is not weak."""
    x = tensor_like(x)
    return x if hasattr(x, "dtype") else np.asarray(x)


class Distribution:
    """A distribution of `scipy.stats`, differentiable; called with parameters, one with these parameters fixed.

    The functions are `pdf logpdf cdf logcdf sf logsf ppf isf`, of a discrete one `pmf logpmf` in the place of the first
    two and no quantiles, which are steps.  Everything else (`rvs`, `mean`, `fit`, ...) is SciPy's own, for arrays.

    Parameters
    ----------
    name : str
        SciPy's name.
    methods : tuple of str
        The names of the differentiable functions.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> from chainrule.scipy import stats
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> cr.grad(lambda mean: np.sum(stats.norm.logpdf(x, mean, 2.0)))(2.0)
    np.float64(0.25)
    """

    def __init__(self, name: str, methods: tuple[str, ...]) -> None:
        self.name = name
        self.scipy = getattr(stats, name)
        self.methods = methods
        self.shapes = tuple(shape.strip() for shape in (self.scipy.shapes or "").split(",") if shape.strip())
        self.parameters = (*self.shapes, "loc", "scale")[: None if "pdf" in methods else -1]

    def __repr__(self) -> str:
        return f"<chainrule.scipy.stats.{self.name}>"

    def __call__(self, *args: Any, **options: Any) -> Frozen:
        return Frozen(self, args, options)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_") or "scipy" not in self.__dict__:
            raise AttributeError(method)
        if method in self.methods:
            return partial(self._evaluate, method)
        found = getattr(self.scipy, method)
        return partial(self._plain, method) if callable(found) else found

    def _plain(self, method: str, *args: Any, **options: Any) -> Any:
        if any(isinstance(tensor_like(arg), Tensor) for arg in (*args, *options.values())):
            raise UnsupportedFunctionError(
                f"scipy.stats.{self.name}.{method} was called with a Tensor, but only {', '.join(self.methods)} are "
                "differentiable. To use it as a constant, pass t.data."
            )
        return getattr(self.scipy, method)(*args, **options)

    def _evaluate(self, method: str, x: Any, *args: Any, **options: Any) -> Any:
        given = dict(zip(self.parameters, args, strict=False)) | options
        if len(args) > len(self.parameters) or not set(self.shapes) <= set(given) <= set(self.parameters):
            return getattr(self.scipy, method)(x, *args, **options)  # raises, with SciPy's message
        x = _same(x)
        given = {name: _same(value) for name, value in given.items()}
        if not any(isinstance(value, Tensor) for value in (x, *given.values())):
            return called(getattr(self.scipy, method), x, **given)
        loc, scale = given.get("loc"), given.get("scale")
        if method not in QUANTILES:
            x = x if loc is None else x - loc
            x = x if scale is None else x / scale
        value = rules[f"{self.name}_{method}"](x, *(given[name] for name in self.shapes))
        if method in QUANTILES:
            value = value if scale is None else value * scale
            value = value if loc is None else value + loc
        if scale is None:
            return value
        if method == "pdf":
            value = value / scale
        elif method == "logpdf":
            value = value - np.log(scale)
        return np.where(plain(scale) > 0, value, np.nan)


class Frozen:
    """A distribution with its parameters fixed, as SciPy's `norm(loc, scale)` gives one."""

    def __init__(self, distribution: Distribution, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.dist, self.args, self.kwds = distribution, args, options

    def __repr__(self) -> str:
        return f"<{self.dist.name} with parameters {self.args} {self.kwds}>"

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_") or "dist" not in self.__dict__:
            raise AttributeError(method)
        found = getattr(self.dist, method)
        if not callable(found):
            return found
        return lambda *x: found(*x, *self.args, **self.kwds)


def _published(name: str, methods: tuple[str, ...]) -> None:
    globals()[name] = Distribution(name, methods)
    __all__.append(name)  # noqa: PYI056 (the names come from the table)


def _registered(name: str, method: str, letters: str, *partials: str | None, domain: Any) -> None:
    value: Callable[..., Any] = getattr(getattr(stats, name), method)
    ROWS.append(row(f"{name}_{method}", letters, *partials, value=value, domain=domain))


# -- continuous distributions ----------------------------------------------------------------------------------------
def continuous(
    name: str,
    score: str,
    *shapes: tuple[str, str | None] | tuple[str, str, str],
    inside: str = "",
    hazards: Mapping[str, str] = MappingProxyType({}),
    domain: tuple[tuple[float, float], ...] = ((-2.0, 2.0),),
) -> None:
    """The rows of one distribution.

    Parameters
    ----------
    name : str
        SciPy's name.
    score : str
        The derivative of the logarithm of the standard density, a formula in the value `a` and the shapes `b`, `c`.
    *shapes : (str, str or None) or (str, str, str)
        Per shape, the derivative of that logarithm in it, and the derivative of the distribution function, over the
        density; None where it is not known.  Where the second does not say how an infinite quantile `a` moves with the
        shape, the third does.
    inside : str, optional
        Where the support is not the whole line, the condition for being in it.
    hazards : mapping, optional
        The density over `cdf` or `sf`, where there is a formula that holds also where these underflow: with the
        probability of a quantile, which is exact, it is also the density there.
    domain : optional
        As in `row`.
    """
    letters = "a b c"[: 1 + 2 * len(shapes)]
    call = f"({', '.join(letters.split())})"
    density, log_density = f"{name}_pdf{call}", f"{name}_logpdf{call}"

    def within(formula: str) -> str:
        return f"where({inside}, {formula}, 0)" if inside else formula

    logarithmic = [within(formula) for formula in (score, *(first for first, *_ in shapes))]
    _registered(name, "logpdf", letters, *logarithmic, domain=domain)
    _registered(name, "pdf", letters, *(f"where(y == 0, 0, y*({each}))" for each in logarithmic), domain=domain)
    flows = ["1", *(shape[1] for shape in shapes)]
    weights = {"cdf": density, "sf": f"-{density}"}
    for method, sign in (("cdf", ""), ("sf", "-")):  # by logarithms only where the quotient underflows
        total = f"{name}_{method}{call}"
        hazard = f"where({total} > 1e-290, {density}/{total}, exp_difference({log_density}, y))"
        weights[f"log{method}"] = sign + hazards.get(method, hazard)
    for method, weight in weights.items():
        partials = [None if flow is None else weight if flow == "1" else within(f"{weight}*({flow})") for flow in flows]
        _registered(name, method, letters, *partials, domain=domain)
    there = partial(re.compile(r"\ba\b").sub, "y")  # a formula in the value, where `a` is the probability and `y` it
    steep = f"where({infinite('y')}, 0, {there(density)})"
    moves: list[str | None] = [flow and f"-({there(flow)})" for flow in flows]
    for i, (_, _, *end) in enumerate(shapes, 1):
        if end:
            moves[i] = f"where({infinite('y')}, {there(end[0])}, {moves[i]})"
    for method, total, sign in (("ppf", "cdf", ""), ("isf", "sf", "-")):
        steepness = f"where(a == 0, 0, a*{there(hazards[total])})" if total in hazards else steep
        _registered(name, method, letters, f"{sign}1/({steepness})", *moves[1:], domain=(UNIT, *domain[1:]))
    _published(name, CONTINUOUS)


def slope_of_power(exponent: str, x: str = "a") -> str:
    """The derivative of log(x**exponent), 0 for exponent 0 also where x is 0."""
    return f"where({exponent} == 0, 0, ({exponent})/where({exponent} == 0, 1, {x}))"


def over_density(formula: str, density: str) -> str:
    """A derivative of the distribution function over the density, 0 where there is none."""
    return f"where({density} == 0, 0, {formula}/{density})"


LINE, RAY, UNIT, SHAPE = (-2.0, 2.0), (0.2, 3.0), (0.05, 0.95), (1.2, 3.0)
BY_LOG = "xlogy(a, a)/b"  # where the distribution function depends on a**b
continuous("norm", "-a", hazards={"cdf": MILLS.format("a"), "sf": MILLS.format("(-a)")})
continuous("uniform", "0", inside="(a >= 0)*(a <= 1)", domain=(UNIT,))
continuous("expon", "-1", inside="a >= 0", domain=(RAY,))
continuous("laplace", "-sign(a)", domain=(RAY,))
continuous("logistic", "-tanh(0.5*a)")
continuous("cauchy", "-2*a/(1 + a*a)")
continuous("gumbel_r", "exp(-a) - 1")
continuous("gumbel_l", "1 - exp(a)")
continuous("hypsecant", "-tanh(a)")
continuous("halfnorm", "-a", inside="a >= 0", domain=(RAY,))
continuous("halfcauchy", "-2*a/(1 + a*a)", inside="a >= 0", domain=(RAY,))
continuous("halflogistic", "-tanh(0.5*a)", inside="a >= 0", domain=(RAY,))
continuous("rayleigh", "1/a - a", inside="a >= 0", domain=(RAY,))
continuous("maxwell", "2/a - a", inside="a >= 0", domain=(RAY,))
continuous(
    "gamma",
    f"{slope_of_power('b - 1')} - 1",
    ("log(a) - psi(b)", over_density(slopes.gamma("b", "a")[0], "gamma_pdf(a, b)"), "a"),
    inside="a >= 0",
    domain=(RAY, SHAPE),
)
continuous(
    "chi2",
    f"{slope_of_power('0.5*b - 1')} - 0.5",
    ("0.5*(log(0.5*a) - psi(0.5*b))", over_density(slopes.chi_square("b", "a")[0], "chi2_pdf(a, b)"), "a"),
    inside="a >= 0",
    domain=(RAY, (2.5, 5.0)),
)
continuous(
    "invgamma",
    "(1/a - b - 1)/a",
    ("-log(a) - psi(b)", over_density(f"-{slopes.gamma('b', '1/a')[0]}", "invgamma_pdf(a, b)"), "-a"),
    inside="a > 0",
    domain=(RAY, SHAPE),
)
continuous(
    "invgauss", "-1.5/a - 0.5*(1/b - 1/a)*(1/b + 1/a)", ("(a - b)/b/b/b", None), inside="a > 0", domain=(RAY, SHAPE)
)
_in_a, _in_b, _ = slopes.beta("b", "c", "a")
continuous(
    "beta",
    f"{slope_of_power('b - 1')} - ({slope_of_power('c - 1', '(1 - a)')})",
    ("log(a) + psi_gap(b, c)", over_density(_in_a, "beta_pdf(a, b, c)")),
    ("log1p(-a) + psi_gap(c, b)", over_density(_in_b, "beta_pdf(a, b, c)")),
    inside="(a >= 0)*(a <= 1)",
    domain=(UNIT, SHAPE, SHAPE),
)
continuous(
    "t",
    "-(b + 1)*a/(b + a*a)",
    (
        "0.5*(psi_gap(0.5*b, 0.5) - 1/b - log1p(a*a/b) + (b + 1)*a*a/b/(b + a*a))",
        over_density(slopes.student("b", "a")[0], "t_pdf(a, b)"),
        "-a",
    ),
    domain=(LINE, SHAPE),
)
_in_m, _in_n, _ = slopes.fisher("b", "c", "a")
continuous(
    "f",
    f"{slope_of_power('0.5*b - 1')} - 0.5*(b + c)*b/(c + b*a)",
    (
        "0.5*(log(a*b/(c + a*b)) + 1 - (b + c)*a/(c + a*b) + psi_gap(0.5*b, 0.5*c))",
        over_density(_in_m, "f_pdf(a, b, c)"),
        slopes.FISHER_END.format("b", "c", "a"),
    ),
    (
        "0.5*(log(c/(c + a*b)) + 1 - (b + c)/(c + a*b) + psi_gap(0.5*c, 0.5*b))",
        over_density(_in_n, "f_pdf(a, b, c)"),
        "-a",
    ),
    inside="a >= 0",
    domain=(RAY, (2.5, 5.0), (2.5, 5.0)),
)
continuous(
    "lognorm",
    "-(1 + log(a)/(b*b))/a",
    ("(log(a)*log(a)/(b*b) - 1)/b", f"-{BY_LOG}"),
    inside="a > 0",
    domain=(RAY, SHAPE),
)
continuous("pareto", "-(b + 1)/a", ("1/b - log(a)", BY_LOG), inside="a >= 1", domain=(SHAPE, SHAPE))
continuous("lomax", "-(b + 1)/(1 + a)", ("1/b - log1p(a)", "(1 + a)*log1p(a)/b"), inside="a >= 0", domain=(RAY, SHAPE))
continuous(
    "powerlaw", slope_of_power("b - 1"), ("1/b + log(a)", BY_LOG), inside="(a > 0)*(a <= 1)", domain=(UNIT, SHAPE)
)
continuous(
    "weibull_min",
    f"{slope_of_power('b - 1')} - b*a**(b - 1)",
    ("1/b + log(a) - a**b*log(a)", BY_LOG),
    inside="a > 0",
    domain=(RAY, SHAPE),
)
continuous(
    "fisk",
    f"{slope_of_power('b - 1')} - 2*b*expit(b*log(a))/a",
    ("1/b - log(a)*tanh(0.5*b*log(a))", BY_LOG),
    inside="a > 0",
    domain=(RAY, SHAPE),
)
HAZARD = MILLS.format("(a*b)")
continuous("skewnorm", f"b*{HAZARD} - a", (f"a*{HAZARD}", f"-{HAZARD}/(1 + b*b)"), domain=(LINE, SHAPE))
continuous("vonmises", "-b*sin(a)", ("cos(a) - i1e(b)/i0e(b)", None), domain=(LINE, SHAPE))
continuous(
    "truncnorm",
    "-a",
    ("truncnorm_pdf(b, b, c)", "-truncnorm_pdf(b, b, c)*truncnorm_sf(a, b, c)/truncnorm_pdf(a, b, c)"),
    ("-truncnorm_pdf(c, b, c)", "-truncnorm_pdf(c, b, c)*truncnorm_cdf(a, b, c)/truncnorm_pdf(a, b, c)"),
    inside="(a >= b)*(a <= c)",
    domain=(UNIT, (-1.5, -0.5), (1.5, 3.0)),
)


# -- discrete distributions ------------------------------------------------------------------------------------------
def discrete(name: str, *shapes: tuple[str | None, str | None], domain: tuple[tuple[float, float], ...]) -> None:
    """The rows of one distribution: per shape, the derivative of the logarithm of the probability of `a`, and that of
    the distribution function, in which `a` is to be written as floor(a).  In `a` itself the functions are steps.
    """
    letters = "a b c d"[: 1 + 2 * len(shapes)]
    call = f"({', '.join(letters.split())})"
    scores, slopes = [score for score, _ in shapes], [slope for _, slope in shapes]

    def each(formulas: list[str | None], form: str) -> list[str | None]:
        return [None if formula is None else form.format(f"({formula})") for formula in formulas]

    _registered(name, "logpmf", letters, None, *each(scores, f"where({name}_pmf{call} == 0, 0, {{}})"), domain=domain)
    _registered(name, "pmf", letters, None, *each(scores, "where(y == 0, 0, y*{})"), domain=domain)
    _registered(name, "cdf", letters, "0", *each(slopes, "{}"), domain=domain)
    _registered(name, "sf", letters, "0", *each(slopes, "-{}"), domain=domain)
    _registered(name, "logcdf", letters, "0", *each(slopes, f"{{}}/{name}_cdf{call}"), domain=domain)
    _registered(name, "logsf", letters, "0", *each(slopes, f"-{{}}/{name}_sf{call}"), domain=domain)
    _published(name, DISCRETE)


TWO, SIX = (2.0, 2.0), (6.0, 6.0)
discrete("poisson", ("a/b - 1", "-poisson_pmf(floor(a), b)"), domain=(TWO, SHAPE))
discrete("bernoulli", ("where(a == 0, -1/(1 - b), 1/b)", "where((a >= 0)*(a < 1), -1, 0)"), domain=((0.0, 0.0), UNIT))
discrete("geom", ("1/b - (a - 1)/(1 - b)", "floor(maximum(a, 0))*geom_pmf(floor(a), b)/b"), domain=(TWO, UNIT))
discrete(
    "binom",
    (None, None),
    ("a/c - (b - a)/(1 - c)", "-(b - floor(a))*binom_pmf(floor(a), b, c)/(1 - c)"),
    domain=(TWO, SIX, UNIT),
)
discrete(
    "nbinom",
    ("psi_gap(b, a) + log(c)", None),
    ("b/c - a/(1 - c)", "(floor(a) + 1)*nbinom_pmf(floor(a) + 1, b, c)/(c*(1 - c))"),
    domain=(TWO, SHAPE, UNIT),
)
discrete(
    "betabinom",
    (None, None),
    ("psi_gap(c, a) - psi_gap(c + d, b)", None),
    ("psi_gap(d, b - a) - psi_gap(c + d, b)", None),
    domain=(TWO, SIX, SHAPE, SHAPE),
)


# -- several variables -------------------------------------------------------------------------------------------------
def _solved(node: Any) -> tuple[Any, Any]:
    """The precision times the deviation, and the precision matrix."""
    x, mean, cov = (operand.value for operand in node.operands)
    precision = np.linalg.inv(np.tril(cov) + np.swapaxes(np.tril(cov, -1), -1, -2))  # what SciPy reads
    return np.matmul(x - mean, precision), precision


def _cov_slope(node: Any) -> Any:
    """SciPy reads the lower triangle of the covariance: the derivative is there (see case C22 of docs/numbers.md)."""
    pulled, precision = _solved(node)
    slope = 0.5 * (pulled[..., :, np.newaxis] * pulled[..., np.newaxis, :] - precision)
    return np.tril(slope) + np.tril(slope, -1)


def _summed_to(x: Any, shape: tuple[int, ...]) -> Any:
    return np.sum(x, axis=tuple(range(x.ndim - len(shape)))) if x.ndim > len(shape) else x


def _normal_push(node: Any, tangents: Any) -> Any:
    pulled, _ = _solved(node)
    total = 0.0
    for t, sign in ((tangents[0], -1.0), (tangents[1], 1.0)):
        if t is not None:
            total = total + sign * np.sum(pulled * t, axis=-1)
    if tangents[2] is not None:
        total = total + np.sum(_cov_slope(node) * tangents[2], axis=(-2, -1))
    return total


multivariate_normal_rule = custom(
    "multivariate_normal_logpdf",
    lambda x, mean, cov: np.reshape(stats.multivariate_normal.logpdf(x, mean, cov), x.shape[:-1])[()],
    needs=("abc", "abc", "abc"),
    pulls=(
        lambda ct, node: -ct[..., np.newaxis] * _solved(node)[0],
        lambda ct, node: _summed_to(ct[..., np.newaxis] * _solved(node)[0], node.operands[1].shape),
        lambda ct, node: _summed_to(ct[..., np.newaxis, np.newaxis] * _cov_slope(node), node.operands[2].shape),
    ),
    push=_normal_push,
    source="Petersen and Pedersen, The Matrix Cookbook (2012), 8.1",
)


class _Several:
    """A distribution of several variables: `logpdf` and `pdf` are differentiable, the rest is SciPy's, for arrays."""

    def __init__(self, name: str, logpdf: Callable[..., Any]) -> None:
        self._name, self._logpdf, self._scipy = name, logpdf, getattr(stats, name)

    def logpdf(self, x: Any, *args: Any, **options: Any) -> Any:
        """The logarithm of the density; parameters as in SciPy."""
        if not any(isinstance(tensor_like(arg), Tensor) for arg in (x, *args, *options.values())):
            return self._scipy.logpdf(x, *args, **options)
        if (batch := batched_among((x, args, options))) is not None:
            return batch.in_turn(self.logpdf, (x, *args), f"scipy.stats.{self._name}.logpdf", options)
        return self._logpdf(*map(_same, (x, *args)), **{key: _same(value) for key, value in options.items()})

    def pdf(self, x: Any, *args: Any, **options: Any) -> Any:
        """The density; parameters as in SciPy."""
        return np.exp(self.logpdf(x, *args, **options))

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)

        def plainly(*args: Any, **options: Any) -> Any:
            if any(isinstance(tensor_like(arg), Tensor) for arg in (*args, *options.values())):
                raise UnsupportedFunctionError(
                    f"scipy.stats.{self._name}.{method} was called with a Tensor, but only logpdf and pdf are "
                    "differentiable. To use it as a constant, pass t.data."
                )
            return getattr(self._scipy, method)(*args, **options)

        return plainly


def _normal_logpdf(x: Any, mean: Any = None, cov: Any = None) -> Any:
    """Numbers, vectors of variances and defaults mean what they mean in SciPy."""
    size = 1 if cov is None or cov.ndim < 2 else cov.shape[0]
    size = size if mean is None else mean.size
    mean = np.zeros(size) if mean is None else np.reshape(mean, (size,))
    cov = np.eye(size) if cov is None else cov
    cov = np.reshape(cov, (1, 1)) if size == 1 else cov * np.eye(size) if cov.ndim < 2 else cov
    if x.ndim < 2:
        x = np.reshape(x, (-1, 1) if size == 1 else (1, -1))
    return np.squeeze(multivariate_normal_rule(x, mean, cov))


def _dirichlet_logpdf(x: Any, alpha: Any) -> Any:
    stats.dirichlet.logpdf(plain(x), plain(alpha))  # raises where SciPy does
    if x.shape[0] != alpha.shape[0]:  # the last one is what is left
        x = np.concatenate([x, 1 - np.sum(x, axis=0, keepdims=True)])
    normaliser = np.sum(special.gammaln(alpha)) - special.gammaln(np.sum(alpha))
    return -normaliser + np.sum(np.transpose(special.xlogy(alpha - 1, np.transpose(x))), 0)


multivariate_normal = _Several("multivariate_normal", _normal_logpdf)
dirichlet = _Several("dirichlet", _dirichlet_logpdf)
