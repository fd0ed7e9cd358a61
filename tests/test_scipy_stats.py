"""Distributions of scipy.stats: every row against differences, whole calls, and PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from oracle import check, same, spaced
from test_scipy_special import in_known, order_of, sample

import chainrule as cr
from chainrule import errors
from chainrule.rules import Rule, rules
from chainrule.scipy import stats

NAMES = [name for name in stats.__all__ if isinstance(getattr(stats, name), stats.Distribution)]
CONTINUOUS = [name for name in NAMES if "pdf" in getattr(stats, name).methods]
DISCRETE = [name for name in NAMES if name not in CONTINUOUS]
SHAPES = {"bernoulli": (0.3,), "poisson": (2.5,), "geom": (0.3,), "binom": (6, 0.3), "nbinom": (2.5, 0.4)}
SHAPES |= {"betabinom": (6, 1.5, 2.5), "truncnorm": (-1.2, 2.0), "beta": (2.5, 1.5), "f": (5.5, 7.5)}


def rows(several: list[Rule]) -> Any:
    return pytest.mark.parametrize("rule", several, ids=[rule.name for rule in several])


def shapes_of(name: str) -> tuple[float, ...]:
    return SHAPES.get(name, (1.5,) * len(getattr(stats, name).shapes))


def inside(name: str, count: int = 5) -> np.ndarray:
    """Points of the support of the standard distribution."""
    return getattr(scipy.stats, name).ppf(np.linspace(0.12, 0.93, count), *shapes_of(name))


@rows(stats.ROWS)
def test_rows(rule: Rule) -> None:
    if not any(rule.partials):
        pytest.fail("a row without a derivative")
    known = rule
    if rule.partials[0] == "0":  # a step in its first operand: differences say so too, but the second order is empty
        known = replace(rule, partials=(None, *rule.partials[1:]))
    if not any(known.partials):
        return
    f, args = in_known(known, sample(rule, (3,)))
    check(f, args, seed=rule.name, order=order_of(known))


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("method", ["pdf", "logpdf", "cdf", "logcdf", "sf", "logsf"])
def test_loc_and_scale(name: str, method: str) -> None:
    """In the value, loc and scale together; values are those of SciPy's own call, bit for bit."""
    x, loc, scale = inside(name) * 1.7 + 0.3, np.float64(0.3), np.float64(1.7)
    ours, theirs = getattr(getattr(stats, name), method), getattr(getattr(scipy.stats, name), method)
    shapes = shapes_of(name)
    check(lambda *args: ours(args[0], *shapes, *args[1:]), [x, loc, scale], seed=(name, method), order=1)
    for given in ({}, {"loc": 0.3}, {"scale": 1.7}, {"loc": 1, "scale": 2}, {"scale": -1.0}):
        with np.errstate(all="ignore"):
            same(ours(cr.Tensor(x), *shapes, **given).data, theirs(x, *shapes, **given))
    same(ours(cr.Tensor(x.astype("f4")), *shapes, 0.3, 1.7).data, theirs(x.astype("f4"), *shapes, 0.3, 1.7))


@pytest.mark.parametrize("name", CONTINUOUS)
@pytest.mark.parametrize("method", stats.QUANTILES)
def test_quantiles(name: str, method: str) -> None:
    """The inverse of `cdf` or `sf`, also in its derivatives; loc and scale; edges; values bit for bit."""
    q, shapes = np.linspace(0.12, 0.93, 5), shapes_of(name)
    ours, theirs = getattr(getattr(stats, name), method), getattr(getattr(scipy.stats, name), method)
    check(lambda *args: ours(args[0], *shapes, *args[1:]), [q, np.float64(0.3), np.float64(1.7)], order=1)
    inverse = getattr(getattr(stats, name), {"ppf": "cdf", "isf": "sf"}[method])
    np.testing.assert_allclose(cr.grad(lambda q: np.sum(inverse(ours(q, *shapes), *shapes)))(q), 1, rtol=1e-9)
    if name != "vonmises":  # whose density is periodic, and has no limit at infinity
        (ends,) = cr.vjp(lambda q: ours(q, *shapes), np.array([0.0, 1.0]))[1](np.ones(2))
        assert np.all(ends >= 0 if method == "ppf" else ends <= 0)  # not NaN
    q = np.array([0.0, 0.3, 1.0, 1.5, np.nan])
    for given in ({}, {"loc": 0.3}, {"scale": 1.7}, {"loc": 1, "scale": 2}, {"scale": -1.0}):
        with np.errstate(all="ignore"):
            same(ours(cr.Tensor(q), *shapes, **given).data, theirs(q, *shapes, **given))
    same(ours(cr.Tensor(q.astype("f4")), *shapes, 0.3, 1.7).data, theirs(q.astype("f4"), *shapes, 0.3, 1.7))


def test_quantiles_in_the_tails() -> None:
    """The normal distribution's density there comes from the probability: 50-digit values of 1/(q h), h its hazard."""
    for q in (1e-300, 1e-30, 0.2):
        x = mpmath.findroot(lambda x, q=q: mpmath.log(mpmath.ncdf(x)) - mpmath.log(q), scipy.stats.norm.ppf(q))
        slope = float(1 / mpmath.npdf(x))
        np.testing.assert_allclose(cr.grad(stats.norm.ppf)(q), slope, rtol=1e-14)
        np.testing.assert_allclose(cr.grad(stats.norm.isf)(q), -slope, rtol=1e-14)
    with np.errstate(divide="ignore"):
        assert cr.grad(stats.norm.ppf)(0.0) == np.inf
    assert np.isnan(cr.grad(stats.norm.ppf)(1.5))


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("method", ["pmf", "logpmf", "cdf", "logcdf", "sf", "logsf"])
def test_discrete(name: str, method: str) -> None:
    k = np.array([-1, 0, 1, 2, 3])
    ours, theirs = getattr(getattr(stats, name), method), getattr(getattr(scipy.stats, name), method)
    shapes = [cr.Tensor(shape) for shape in shapes_of(name)]
    with np.errstate(all="ignore"):
        same(ours(k, *shapes).data, theirs(k, *shapes_of(name)))
        same(ours(k, *shapes, loc=1).data, theirs(k, *shapes_of(name), loc=1))
        positions = [i for i, p in enumerate(rules[f"{name}_{method}"].partials[1:]) if p is not None]
        for i in positions:

            def f(p: Any, i: int = i) -> Any:
                given = list(shapes_of(name))
                given[i] = p
                return np.exp(ours(k, *given)) if method.startswith("log") else ours(k, *given)

            check(f, [np.float64(shapes_of(name)[i])], seed=(name, method), order=1)


@pytest.mark.parametrize("name", NAMES)
def test_outside_of_the_support(name: str) -> None:
    """No NaN and no slope where the density is 0."""
    distribution, x = getattr(stats, name), np.array([-1e3, 1e3])
    lower, upper = distribution.scipy.support(*shapes_of(name))
    x = x[(x < lower) | (x > upper)]
    for method in ("pdf", "logpdf", "cdf", "logcdf", "sf", "logsf") if name in CONTINUOUS else ():
        _, pullback = cr.vjp(lambda x, method=method: getattr(distribution, method)(x, *shapes_of(name)), x)
        np.testing.assert_array_equal(pullback(np.ones(x.size))[0], 0)


# -- calls -----------------------------------------------------------------------------------------------------------
def test_parameters_by_name_and_frozen() -> None:
    x = np.array([0.5, 1.5])
    desired = cr.grad(lambda a: np.sum(stats.gamma.logpdf(x, a, 0.1, 2.0)))(1.5)
    for f in (
        lambda a: stats.gamma.logpdf(x, a=a, loc=0.1, scale=2.0),
        lambda a: stats.gamma.logpdf(x, a, scale=2.0, loc=0.1),
        lambda a: stats.gamma(a, 0.1, scale=2.0).logpdf(x),
        lambda a: stats.gamma(a=a, loc=0.1, scale=2.0).logpdf(x),
    ):
        assert cr.grad(lambda a, f=f: np.sum(f(a)))(1.5) == desired
    assert stats.norm(1.0, 2.0).mean() == 1.0
    assert repr(stats.norm(1.0)) == "<norm with parameters (1.0,) {}>"
    assert type(stats.norm.pdf(0.0)) is np.float64
    with pytest.raises(TypeError):
        stats.gamma.logpdf(cr.Tensor(x))
    with pytest.raises(TypeError):
        stats.norm.logpdf(cr.Tensor(x), 0, 1, 2)


def test_what_is_not_differentiable_raises_by_name() -> None:
    t = cr.Tensor(0.5)
    for call, name in [
        (lambda: stats.poisson.ppf(t, 2.0), r"scipy\.stats\.poisson\.ppf"),
        (lambda: stats.norm(t).rvs(), r"scipy\.stats\.norm\.rvs"),
        (lambda: stats.multivariate_normal.cdf(t), r"scipy\.stats\.multivariate_normal\.cdf"),
    ]:
        with pytest.raises(errors.UnsupportedFunctionError, match=name):
            call()
    with pytest.raises(errors.NoDerivativeError, match="vonmises_cdf was to be differentiated in its second operand"):
        stats.vonmises.cdf(1.0, t).backward()
    with pytest.raises(errors.NoDerivativeError, match="poisson_logpmf was to be differentiated in its first operand"):
        stats.poisson.logpmf(cr.Tensor(2.0), 1.5).backward()


def test_far_tails() -> None:
    """Hazards where the distribution function underflows: 50-digit values."""
    np.testing.assert_allclose(cr.grad(stats.norm.logcdf)(-1e3), 1000.000999998000009999916, rtol=1e-15)
    np.testing.assert_allclose(cr.grad(stats.norm.logsf)(30.0), -30.033259667433677, rtol=1e-15)
    np.testing.assert_allclose(cr.grad(stats.expon.logsf)(1e5), -1.0, rtol=1e-13)


# -- several variables -------------------------------------------------------------------------------------------------
def covariance(a: Any) -> Any:
    return a @ np.swapaxes(a, -1, -2) + 2 * np.eye(3)


NORMAL: dict[str, tuple[Any, list[Any]]] = {
    "all": (lambda x, m, a: stats.multivariate_normal.logpdf(x, m, covariance(a)), [(3,), (3,), (3, 3)]),
    "several": (lambda x, m, a: stats.multivariate_normal.logpdf(x, m, covariance(a)), [(4, 3), (3,), (3, 3)]),
    "many": (lambda x, m: stats.multivariate_normal.logpdf(x, m, np.diag([1.0, 2.0, 3.0])), [(2, 4, 3), (3,)]),
    "variances": (lambda x, m, v: stats.multivariate_normal.logpdf(x, m, np.exp(v)), [(4, 3), (3,), (3,)]),
    "by name": (lambda x, a: stats.multivariate_normal.logpdf(x, cov=covariance(a)), [(4, 3), (3, 3)]),
    "a row": (lambda x, m: stats.multivariate_normal.logpdf(x, m, np.eye(3)), [(1, 3), (3,)]),
    "triangle": (lambda x, c: stats.multivariate_normal.logpdf(x, np.zeros(3), c / 9 + np.eye(3)), [(4, 3), (3, 3)]),
    "scalar": (lambda x, m, v: stats.multivariate_normal.logpdf(x, m, np.exp(v)), [(4,), (), ()]),
    "one variance": (lambda x, m, v: stats.multivariate_normal.logpdf(x, m, np.exp(v)), [(4, 3), (3,), ()]),
    "standard": (lambda x: stats.multivariate_normal.pdf(x), [(3,)]),
    "dirichlet": (lambda x, a: stats.dirichlet.logpdf(np.exp(x) / np.sum(np.exp(x)), np.exp(a)), [(3,), (3,)]),
    "dirichlet less one": (lambda x, a: stats.dirichlet.pdf(np.exp(x) / 30, np.exp(a)), [(2,), (3,)]),
    "dirichlets": (lambda x, a: stats.dirichlet.logpdf(np.exp(x) / np.sum(np.exp(x), 0), np.exp(a)), [(3, 4), (3,)]),
}


@pytest.mark.parametrize("name", NORMAL)
def test_several_variables(name: str) -> None:
    f, shapes = NORMAL[name]
    check(f, [np.asarray(spaced(shape, (name, i)))[()] for i, shape in enumerate(shapes)], seed=name)


# -- PyTorch -----------------------------------------------------------------------------------------------------------
D = torch.distributions
PYTORCH: dict[str, tuple[Any, Any, Any, list[float]]] = {
    "norm": (D.Normal, stats.norm, lambda m, s: (m, s), [0.3, 1.7]),
    "laplace": (D.Laplace, stats.laplace, lambda m, s: (m, s), [0.3, 1.7]),
    "cauchy": (D.Cauchy, stats.cauchy, lambda m, s: (m, s), [0.3, 1.7]),
    "gumbel": (D.Gumbel, stats.gumbel_r, lambda m, s: (m, s), [0.3, 1.7]),
    "t": (D.StudentT, stats.t, lambda v, m, s: (v, m, s), [3.5, 0.3, 1.7]),
    "gamma": (D.Gamma, stats.gamma, lambda a, rate: (a, 0, 1 / rate), [2.5, 1.7]),
    "expon": (D.Exponential, stats.expon, lambda rate: (0, 1 / rate), [1.7]),
    "chi2": (D.Chi2, stats.chi2, lambda v: (v,), [3.5]),
    "f": (D.FisherSnedecor, stats.f, lambda a, b: (a, b), [3.5, 5.5]),
    "beta": (D.Beta, stats.beta, lambda a, b: (a, b), [2.5, 1.7]),
    "lognorm": (D.LogNormal, stats.lognorm, lambda m, s: (s, 0, np.exp(m)), [0.3, 0.7]),
    "pareto": (D.Pareto, stats.pareto, lambda scale, a: (a, 0, scale), [0.1, 1.7]),
    "weibull": (D.Weibull, stats.weibull_min, lambda scale, a: (a, 0, scale), [1.3, 1.7]),
    "halfnorm": (D.HalfNormal, stats.halfnorm, lambda s: (0, s), [1.7]),
    "invgamma": (D.InverseGamma, stats.invgamma, lambda a, b: (a, 0, b), [2.5, 1.7]),
    "vonmises": (D.VonMises, stats.vonmises, lambda m, k: (k, m), [0.1, 1.7]),
}


@pytest.mark.parametrize("name", PYTORCH)
def test_against_pytorch(name: str) -> None:
    theirs, ours, given, parameters = PYTORCH[name]
    x = np.array([0.2, 0.45, 0.8])
    tensors = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (x, *parameters)]
    torch.sum(theirs(*tensors[1:]).log_prob(tensors[0])).backward()
    gradients = cr.grad(lambda x, *p: np.sum(ours.logpdf(x, *given(*p))), argnums=tuple(range(len(tensors))))(
        x, *parameters
    )
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=2e-6 if name == "vonmises" else 1e-10)
