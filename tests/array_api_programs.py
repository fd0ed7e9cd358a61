"""Calls of SciPy's and scikit-learn's array API functions, which docs/array_api.md sums up.

A program of its own, which `test_array_api.py` runs: SciPy reads SCIPY_ARRAY_API when it is imported.
"""

# ruff: noqa: F401 (the calls are strings)

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from oracle import check, dot, numerical_gradient, spaced
from scipy import (
    constants,
    differentiate,
    fft,
    integrate,
    interpolate,
    linalg,
    ndimage,
    optimize,
    signal,
    spatial,
    special,
    stats,
)
from scipy.cluster import vq
from scipy.optimize import elementwise
from sklearn import (
    cluster,
    config_context,
    covariance,
    decomposition,
    discriminant_analysis,
    kernel_approximation,
    linear_model,
    metrics,
    mixture,
    naive_bayes,
    preprocessing,
)

import chainrule as cr
import chainrule.numpy as cnp
import chainrule.scipy as cs
import chainrule.scipy.special
import chainrule.scipy.stats

COMPLETE = hasattr(np, "__array_namespace_info__")  # NumPy 2.3: SciPy asks for functions that older ones lack
x = np.array([0.31, 0.78, 0.24, 0.55, 0.62, 0.71, 0.39, 0.47])
labels = np.array([0, 1, 0, 1, 1, 0, 1, 0])

# Those that take Tensors: the value is SciPy's for an array, bit for bit, and so are first and second derivatives.
TAKEN = """
special.logsumexp(x)
special.softmax(x)
special.log_softmax(x)
special.erf(x)
special.erfc(x)
special.erfinv(x)
special.expit(x)
special.logit(x)
special.entr(x)
special.i0(x)
special.k0(x)
special.ndtr(x)
special.psi(x)
special.exp1(x)
special.huber(0.5, x)
special.gammaln(x)
special.gammainc(2.0, x)
special.polygamma(1, x)
special.betainc(1.5, 2.5, x)
special.xlogy(x, x[::-1])
special.rel_entr(x, x[::-1])
special.ndtri(x)
special.j0(x)
special.ellipk(x)
special.stdtrit(3.0, x)
special.hyp1f1(1.5, 2.5, x)
special.multigammaln(x + 3, 2)
special.sinc(x)
cs.special.erf(x)
cs.special.comb(x + 3, x)
cs.stats.norm.logpdf(x)
stats.zscore(x)
stats.zmap(x, x[::2])
stats.gzscore(x)
stats.skew(x, bias=False)
stats.kurtosis(x, bias=False)
stats.gmean(x, weights=x[::-1])
stats.hmean(x, weights=x[::-1])
stats.pmean(x, 3.0)
stats.iqr(x)
stats.quantile(x, 0.3)
stats.circmean(x)
stats.circstd(x)
stats.circvar(x)
stats.sem(x)
stats.moment(x, 3)
stats.kstat(x, 3)
stats.kstatvar(x, 2)
stats.tmin(x)
stats.tmax(x)
stats.trim_mean(x, 0.2)
stats.entropy(x)
stats.entropy(x, x[::-1])
stats.differential_entropy(x)
stats.boxcox_llf(0.3, x)
stats.directional_stats(x.reshape(4, 2)).mean_direction
stats.false_discovery_control(x)
stats.combine_pvalues(x, "stouffer").pvalue
stats.chisquare(x / x.sum(), x[::-1] / x.sum()).pvalue
stats.power_divergence(x / x.sum(), x[::-1] / x.sum(), lambda_=0.5).pvalue
stats.ttest_1samp(x, 0.3).pvalue
stats.ttest_ind(x, x[::-1] ** 2).pvalue
stats.ttest_ind(x, x[::-1] ** 2, equal_var=False).pvalue
stats.ttest_rel(x, x[::-1] ** 2).pvalue
stats.f_oneway(x, x**2, x**3).pvalue
stats.bartlett(x, x**2).pvalue
stats.levene(x, x**2).pvalue
stats.jarque_bera(x).pvalue
stats.skewtest(x).pvalue
stats.kurtosistest(x).pvalue
stats.normaltest(x).pvalue
stats.lmoment(x)
integrate.trapezoid(x, x=np.cumsum(x))
integrate.simpson(x[1:], dx=0.5)
integrate.cumulative_trapezoid(x, initial=0)
integrate.cumulative_simpson(x, dx=0.5)
integrate.cubature(lambda t: np.exp(x[0] * t[:, 0]), x[:1] * 0, x[:1] * 0 + 1).estimate
integrate.romb(np.concatenate([x, x[:1]]))
integrate.tanhsinh(lambda t, a: np.exp(a * t), x * 0, x * 0 + 1, args=(x,)).integral
fft.rfftn(x.reshape(2, 4))
fft.fftshift(x)
fft.irfft(fft.rfft(x))
fft.fht(x, 0.1, 0.5)
vq.whiten(x.reshape(4, 2))
constants.convert_temperature(x, "Celsius", "Kelvin")
constants.lambda2nu(x)
differentiate.derivative(lambda t, a: t**3 * a, x, args=(x[::-1],)).df
differentiate.jacobian(lambda t: t**3 * 2, x[:2]).df
elementwise.find_minimum(lambda t, c: (t - c) ** 2, (x * 0 - 1, x * 0 + 0.1, x * 0 + 2), args=(x,)).x
elementwise.find_root(lambda t, c: t**3 - c, (x * 0, x * 0 + 2), args=(x,)).x
optimize.rosen(x)
optimize.rosen_der(x)
optimize.rosen_hess(x)
optimize.rosen_hess_prod(x, x[::-1])
linalg.block_diag(x, x)
linalg.fiedler(x)
spatial.transform.Rotation.from_rotvec(x[:3]).as_matrix()
spatial.transform.Rotation.from_rotvec(x[:3]).as_quat()
spatial.transform.Rotation.from_quat(x[:4]).as_matrix()
spatial.transform.Rotation.from_mrp(x[:3]).as_matrix()
(spatial.transform.Rotation.from_rotvec(x[:3]) * spatial.transform.Rotation.from_rotvec(x[3:6])).as_matrix()
spatial.transform.Rotation.from_rotvec(x[:3]).inv().as_matrix()
spatial.transform.Rotation.from_rotvec(x[:3]).apply(x[3:6])
spatial.transform.Rotation.from_rotvec(x[:3]).magnitude()
spatial.transform.RigidTransform.from_translation(x[:3]).as_matrix()
spatial.transform.Slerp(x[:2] * 0 + [0, 1], spatial.transform.Rotation.from_quat(x.reshape(2, 4)))(x[:2]).as_quat()
signal.freqz(x[:3], x[3:6], 5)[1]
signal.bilinear(x[:2], x[2:4])[0]
signal.fftconvolve(x, x[:3])
signal.oaconvolve(x, x[:3])
signal.resample(x, 5)
signal.detrend(x, type="constant")
signal.firwin(5, x[0])
signal.envelope(x)
signal.vectorstrength(x, 0.7)[0]
signal.lp2lp_zpk(x[:2], x[2:4], x[4], 2.0)[2]
signal.gauss_spline(x, 2)
preprocessing.MinMaxScaler().fit_transform(x.reshape(4, 2))
preprocessing.MaxAbsScaler().fit_transform(x.reshape(4, 2))
preprocessing.StandardScaler().fit_transform(x.reshape(4, 2))
preprocessing.Normalizer().fit_transform(x.reshape(4, 2))
preprocessing.KernelCenterer().fit_transform(x[:4].reshape(2, 2))
preprocessing.PolynomialFeatures(2).fit_transform(x.reshape(4, 2))
decomposition.PCA(1, svd_solver="full").fit(x.reshape(4, 2)).explained_variance_
decomposition.PCA(1, svd_solver="covariance_eigh").fit_transform(x.reshape(4, 2)) ** 2
linear_model.Ridge(solver="svd").fit(x.reshape(4, 2), x[:4]).coef_
linear_model.RidgeCV().fit(x.reshape(4, 2), x[:4]).predict(x.reshape(4, 2))
discriminant_analysis.LinearDiscriminantAnalysis().fit(x.reshape(8, 1), labels).decision_function(x.reshape(8, 1))
naive_bayes.GaussianNB().fit(x.reshape(8, 1), labels).predict_log_proba(x.reshape(8, 1))
kernel_approximation.Nystroem(kernel="rbf", n_components=2, random_state=0).fit_transform(x.reshape(4, 2))
metrics.mean_squared_error(x[:4], x[4:], multioutput="raw_values")
metrics.r2_score(x[:4], x[4:], multioutput="raw_values")
metrics.mean_absolute_percentage_error(x[:4], x[4:], multioutput="raw_values")
metrics.median_absolute_error(x[:4], x[4:], multioutput="raw_values")
metrics.mean_pinball_loss(x[:4], x[4:], multioutput="raw_values")
metrics.pairwise.rbf_kernel(x.reshape(4, 2), gamma=0.5)
metrics.pairwise.laplacian_kernel(x.reshape(4, 2))
metrics.pairwise.chi2_kernel(x.reshape(4, 2))
metrics.pairwise.cosine_similarity(x.reshape(4, 2))
metrics.pairwise.euclidean_distances(x[:4].reshape(2, 2), x[4:].reshape(2, 2))
metrics.pairwise.paired_cosine_distances(x[:4].reshape(2, 2), x[4:].reshape(2, 2))
""".strip().splitlines()

# Those that compute with other operations for an array of NumPy's, so that values agree to rounding.
ROUNDED = """
fft.fft(x)
fft.ifft2(x.reshape(2, 4))
fft.hfft(x)
signal.hilbert(x)
stats.epps_singleton_2samp(x, x**2).statistic
spatial.transform.Rotation.from_rotvec(x[:3]).as_euler("xyz")
spatial.transform.Rotation.from_rotvec(x[:6].reshape(2, 3)).mean().as_matrix()
spatial.transform.RigidTransform.from_exp_coords(x[:6]).as_matrix()
spatial.transform.RigidTransform.from_dual_quat(x).as_matrix()
mixture.GaussianMixture(1, init_params="random", random_state=0).fit(x.reshape(4, 2)).covariances_
""".strip().splitlines()

# Those that do not take Tensors (docs/array_api.md has the reasons).  None of them loses a derivative silently.
REFUSING = """
special.zeta(x + 2, 1.5)
stats.zscore(x, ddof=1)
stats.gstd(x)
stats.variation(x)
stats.tmean(x)
stats.tvar(x)
stats.tsem(x)
stats.yeojohnson_llf(0.3, x)
stats.pearsonr(x, x[::-1] ** 2).statistic
stats.alexandergovern(x, x**2, x**3).pvalue
stats.cramervonmises(x, lambda t: t).pvalue
stats.ks_1samp(x, lambda t: t).pvalue
integrate.nsum(lambda t, a: a**t, x * 0 + 1, x * 0 + 20, args=(x,)).sum
fft.dct(x)
vq.vq(x.reshape(4, 2), x.reshape(4, 2)[:2])[1]
signal.convolve(x, x[:3])
signal.detrend(x)
signal.lfilter(x[:2], x[2:4], x)
signal.savgol_filter(x, 5, 2)
signal.welch(x, nperseg=4)[1]
ndimage.gaussian_filter(x, 1.0)
ndimage.zoom(x, 2.0)
interpolate.make_interp_spline(x * 0 + [0, 1, 2, 3, 4, 5, 6, 7], x)(x)
linalg.expm(x[:4].reshape(2, 2))
linalg.norm(x)
preprocessing.RobustScaler().fit_transform(x.reshape(4, 2))
preprocessing.PowerTransformer().fit_transform(x.reshape(4, 2))
linear_model.LinearRegression().fit(x.reshape(4, 2), x[:4]).coef_
linear_model.LogisticRegression().fit(x.reshape(8, 1), labels).coef_
covariance.EmpiricalCovariance().fit(x.reshape(4, 2)).covariance_
cluster.KMeans(2, n_init=1, random_state=0).fit(x.reshape(4, 2)).cluster_centers_
metrics.mean_squared_error(x[:4], x[4:])
metrics.log_loss(labels, x)
metrics.roc_auc_score(labels, x)
""".strip().splitlines()


def right(f: Callable[[Any], Any]) -> None:
    """Value and gradient, to rounding and to differences."""
    value = np.asarray(f(x))
    ct = spaced(value.shape, "ct", dtype=value.dtype)
    got, pullback = cr.vjp(lambda x: cnp.asarray(f(x)), x)
    np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-9)
    by_differences = numerical_gradient(lambda x: dot(ct, f(x)), [x], 0)
    np.testing.assert_allclose(pullback(ct)[0], by_differences, rtol=1e-6, atol=1e-6)


def wrong() -> list[str]:
    """What does not do as its table says."""
    found = []
    for program in TAKEN + ROUNDED + REFUSING:
        f = eval("lambda x: " + program)
        must = COMPLETE and program not in REFUSING
        try:
            with np.errstate(all="ignore"):
                if must and program in TAKEN:
                    check(f, [x], tolerance=1e-6)
                else:
                    right(f)
        except Exception as error:  # noqa: BLE001 (whatever a library raises)
            if must or isinstance(error, AssertionError):
                found.append(f"{program}: {error!r}")
    return found


if __name__ == "__main__":
    with config_context(array_api_dispatch=True):
        sys.exit("\n".join(wrong()) or 0)
