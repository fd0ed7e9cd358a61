"""chainrule.scipy.optimize: solvers reach the solutions that are known, and are differentiated through."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import nist
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from oracle import check, close

import chainrule as cr
from chainrule.errors import InPlaceError, UnsolvedWarning, UnsupportedFunctionError
from chainrule.scipy import optimize

TIGHT = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}


# -- Moré, Garbow, Hillstrom, Testing Unconstrained Optimization Software, ACM TOMS 7 (1981) 17-41 ---------------------
def powell_badly_scaled(x: Any) -> Any:
    return [1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001]


def helical_valley(x: Any) -> Any:
    theta = np.arctan(x[1] / x[0]) / (2 * np.pi) + np.where(x[0] < 0, 0.5, 0)
    return [10 * (x[2] - 10 * theta), 10 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]]


BARD = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])


def bard(x: Any) -> Any:
    u = np.arange(1.0, 16)
    v = 16 - u
    return BARD - (x[0] + u / (v * x[1] + np.minimum(u, v) * x[2]))


GAUSSIAN = np.array([9, 44, 175, 540, 1295, 2420, 3521, 3989, 3521, 2420, 1295, 540, 175, 44, 9]) / 1e4


def gaussian(x: Any) -> Any:
    t = (8 - np.arange(1, 16)) / 2
    return x[0] * np.exp(-x[1] * (t - x[2]) ** 2 / 2) - GAUSSIAN


MEYER = np.array(
    [34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872.0]
)


def meyer(x: Any) -> Any:
    return x[0] * np.exp(x[1] / (45 + 5 * np.arange(1, 17) + x[2])) - MEYER


def gulf(x: Any) -> Any:
    t = np.arange(1, 100) / 100
    y = 25 + (-50 * np.log(t)) ** (2 / 3)
    return np.exp(-(np.abs(y - x[1]) ** x[2]) / x[0]) - t


def box(x: Any) -> Any:
    t = 0.1 * np.arange(1, 11)
    return np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


def powell_singular(x: Any) -> Any:
    return [x[0] + 10 * x[1], 5**0.5 * (x[2] - x[3]), (x[1] - 2 * x[2]) ** 2, 10**0.5 * (x[0] - x[3]) ** 2]


def wood(x: Any) -> Any:
    return [
        10 * (x[1] - x[0] ** 2), 1 - x[0], 90**0.5 * (x[3] - x[2] ** 2), 1 - x[2], 10**0.5 * (x[1] + x[3] - 2),
        (x[1] - x[3]) / 10**0.5,
    ]  # fmt: skip


KOWALIK = np.array([0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246])


def kowalik_osborne(x: Any) -> Any:
    u = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    return KOWALIK - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


def brown_dennis(x: Any) -> Any:
    t = np.arange(1, 21) / 5
    return (x[0] + t * x[1] - np.exp(t)) ** 2 + (x[2] + x[3] * np.sin(t) - np.cos(t)) ** 2


OSBORNE_1 = np.array([
    0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751, 0.718, 0.685, 0.658, 0.628, 0.603,
    0.580, 0.558, 0.538, 0.522, 0.506, 0.490, 0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411,
    0.406,
])  # fmt: skip


def osborne_1(x: Any) -> Any:
    t = 10 * np.arange(33)
    return OSBORNE_1 - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4]))


def biggs_exp6(x: Any) -> Any:
    t = 0.1 * np.arange(1, 14)
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y


OSBORNE_2 = np.array([
    1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608, 0.655, 0.616, 0.606,
    0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661, 0.612, 0.558, 0.533, 0.495, 0.500, 0.423,
    0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428, 0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668,
    0.645, 0.632, 0.591, 0.559, 0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098,
    0.054,
])  # fmt: skip


def osborne_2(x: Any) -> Any:
    t = np.arange(65) / 10
    peaks = sum(x[i] * np.exp(-((t - x[i + 7]) ** 2) * x[i + 4]) for i in (1, 2, 3))
    return OSBORNE_2 - (x[0] * np.exp(-t * x[4]) + peaks)


def watson(x: Any) -> Any:
    t, j = np.arange(1, 30)[:, np.newaxis] / 29, np.arange(len(x))
    slope = np.sum(j[1:] * x[1:] * t ** (j[1:] - 1), axis=1)
    return np.concatenate([slope - np.sum(x * t**j, axis=1) ** 2 - 1, np.stack([x[0], x[1] - x[0] ** 2 - 1])])


def extended_rosenbrock(x: Any) -> Any:
    return np.concatenate([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]])


def extended_powell(x: Any) -> Any:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return np.concatenate([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def penalty_1(x: Any) -> Any:
    return np.concatenate([1e-5**0.5 * (x - 1), np.reshape(np.sum(x**2) - 0.25, (1,))])


def variably_dimensioned(x: Any) -> Any:
    total = np.sum(np.arange(1, len(x) + 1) * (x - 1))
    return np.concatenate([x - 1, np.stack([total, total**2])])


def trigonometric(x: Any) -> Any:
    n = len(x)
    return n - np.sum(np.cos(x)) + np.arange(1, n + 1) * (1 - np.cos(x)) - np.sin(x)


def brown_almost_linear(x: Any) -> Any:
    n = len(x)
    return np.concatenate([x[:-1] + np.sum(x) - (n + 1), np.reshape(np.prod(x) - 1, (1,))])


def discrete_boundary_value(x: Any) -> Any:
    h = 1 / (len(x) + 1)
    ends = np.concatenate([np.zeros(1), x, np.zeros(1)])
    return 2 * x - ends[:-2] - ends[2:] + h**2 * (x + h * np.arange(1, len(x) + 1) + 1) ** 3 / 2


def discrete_integral_equation(x: Any) -> Any:
    h = 1 / (len(x) + 1)
    t = h * np.arange(1, len(x) + 1)
    cube = (x + t + 1) ** 3
    below = np.tri(len(x))
    return x + h * ((1 - t) * (below @ (t * cube)) + t * ((1 - below) @ ((1 - t) * cube))) / 2


def broyden_tridiagonal(x: Any) -> Any:
    ends = np.concatenate([np.zeros(1), x, np.zeros(1)])
    return (3 - 2 * x) * x - ends[:-2] - 2 * ends[2:] + 1


def penalty_2(x: Any) -> Any:
    i = np.arange(2, len(x) + 1)
    y = np.exp(i / 10) + np.exp((i - 1) / 10)
    small, e = 1e-5**0.5, np.exp(x / 10)
    total = np.sum(np.arange(len(x), 0, -1) * x**2) - 1
    parts = [x[:1] - 0.2, small * (e[1:] + e[:-1] - y), small * (e[1:] - np.exp(-0.1)), np.reshape(total, (1,))]
    return np.concatenate(parts)


def broyden_banded(x: Any) -> Any:
    i, j = np.arange(len(x))[:, np.newaxis], np.arange(len(x))
    band = (j >= i - 5) & (j <= i + 1) & (j != i)
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


def linear_full_rank(x: Any, m: int = 20) -> Any:
    return np.concatenate([x, np.zeros(m - len(x))]) - 2 / m * np.sum(x) - 1


def linear_rank_1(x: Any, m: int = 20) -> Any:
    return np.arange(1, m + 1) * np.sum(np.arange(1, len(x) + 1) * x) - 1


def linear_rank_1_with_zeros(x: Any, m: int = 20) -> Any:
    inner = np.arange(1, m - 1) * np.sum(np.arange(2, len(x)) * x[1:-1]) - 1
    return np.concatenate([-np.ones(1), inner, -np.ones(1)])


def chebyquad(x: Any) -> Any:
    before, t, sums = 1.0, 2 * x - 1, []
    for k in range(1, len(x) + 1):
        sums.append(np.mean(t) + (1 / (k**2 - 1) if k % 2 == 0 else 0))
        before, t = t, 2 * (2 * x - 1) * t - before
    return np.stack(sums)


# Residuals, where to start, and the minima of the sum of squares that are known.
PROBLEMS: dict[str, tuple[Any, list[float], tuple[float, ...]]] = {
    "rosenbrock": (lambda x: [10 * (x[1] - x[0] ** 2), 1 - x[0]], [-1.2, 1], (0,)),
    "freudenstein_roth": (
        lambda x: [-13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1], -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1]],
        [0.5, -2],
        (0, 48.9842536792),
    ),
    "powell_badly_scaled": (powell_badly_scaled, [0, 1], (0,)),
    "brown_badly_scaled": (lambda x: [x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2], [1, 1], (0,)),
    "beale": (
        lambda x: np.array([1.5, 2.25, 2.625]) - x[0] * (1 - np.stack([x[1], x[1] ** 2, x[1] ** 3])), [1, 1], (0,),
    ),
    "jennrich_sampson": (
        lambda x: 2 + 2 * np.arange(1, 11) - (np.exp(np.arange(1, 11) * x[0]) + np.exp(np.arange(1, 11) * x[1])),
        [0.3, 0.4],
        (124.362182356,),
    ),
    "helical_valley": (helical_valley, [-1, 0, 0], (0,)),
    "bard": (bard, [1, 1, 1], (8.21487730658e-3,)),
    "gaussian": (gaussian, [0.4, 1, 0], (1.12793276962e-8,)),
    "meyer": (meyer, [0.02, 4000, 250], (87.9458551707,)),
    "gulf": (gulf, [5, 2.5, 0.15], (0,)),
    "box": (box, [0, 10, 20], (0,)),
    "powell_singular": (powell_singular, [3, -1, 0, 1], (0,)),
    "wood": (wood, [-3, -1, -3, -1], (0,)),
    "kowalik_osborne": (kowalik_osborne, [0.25, 0.39, 0.415, 0.39], (3.07505603849e-4,)),
    "brown_dennis": (brown_dennis, [25, 5, -5, -1], (85822.2016263563,)),
    "osborne_1": (osborne_1, [0.5, 1.5, -1, 0.01, 0.02], (5.46489469748e-5,)),
    "biggs_exp6": (biggs_exp6, [1, 2, 1, 1, 1, 1], (0, 5.65564992550e-3)),
    "osborne_2": (osborne_2, [1.3, 0.65, 0.65, 0.7, 0.6, 3, 5, 7, 2, 4.5, 5.5], (4.01377362935e-2,)),
    "watson_6": (watson, [0] * 6, (2.28767005355e-3,)),
    "watson_9": (watson, [0] * 9, (1.39976013e-6,)),
    "extended_rosenbrock": (extended_rosenbrock, [-1.2, 1] * 5, (0,)),
    "extended_powell": (extended_powell, [3, -1, 0, 1] * 3, (0,)),
    "penalty_1_of_4": (penalty_1, [1, 2, 3, 4], (2.24997750e-5,)),
    "penalty_1_of_10": (penalty_1, list(range(1, 11)), (7.08765e-5,)),
    "penalty_2_of_4": (penalty_2, [0.5] * 4, (9.37629e-6,)),
    "penalty_2_of_10": (penalty_2, [0.5] * 10, (2.93660e-4,)),
    "broyden_banded": (broyden_banded, [-1] * 10, (0,)),
    "linear_full_rank": (linear_full_rank, [1] * 10, (10,)),
    "linear_rank_1": (linear_rank_1, [1] * 10, (20 * 19 / 2 / 41,)),
    "linear_rank_1_with_zeros": (linear_rank_1_with_zeros, [1] * 10, ((400 + 60 - 6) / 2 / 37,)),
    "chebyquad_7": (chebyquad, [j / 8 for j in range(1, 8)], (0,)),
    "chebyquad_8": (chebyquad, [j / 9 for j in range(1, 9)], (3.51687e-3,)),
    "variably_dimensioned": (variably_dimensioned, [1 - j / 10 for j in range(1, 11)], (0,)),
    "trigonometric": (trigonometric, [0.1] * 10, (0, 2.79506e-5)),
    "brown_almost_linear": (brown_almost_linear, [0.5] * 10, (0, 1)),
    "discrete_boundary_value": (discrete_boundary_value, [j / 11 * (j / 11 - 1) for j in range(1, 11)], (0,)),
    "discrete_integral_equation": (discrete_integral_equation, [j / 11 * (j / 11 - 1) for j in range(1, 11)], (0,)),
    "broyden_tridiagonal": (broyden_tridiagonal, [-1] * 10, (0,)),
}  # fmt: skip


def reached(found: float, known: tuple[float, ...]) -> bool:
    return any(abs(found - each) < (2e-6 * each if each else 1e-12) for each in known)


@pytest.mark.parametrize("method", ["lm", "trf"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_more_garbow_hillstrom_least_squares(name: str, method: str) -> None:
    residuals, start, known = PROBLEMS[name]
    result = optimize.least_squares(residuals, start, method=method, x_scale="jac", max_nfev=2000, **TIGHT)
    assert reached(2 * result.cost, known), f"{2 * result.cost}, known are {known}"


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # far from the minimum, in the function
@pytest.mark.parametrize("method", ["BFGS", "trust-exact"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_more_garbow_hillstrom_minimize(name: str, method: str) -> None:
    residuals, start, known = PROBLEMS[name]
    result = optimize.minimize(
        lambda x: np.sum(optimize.vector(residuals(x)) ** 2),
        start,
        method=method,
        tol=1e-14,
        options={"maxiter": 2500} | ({"max_trust_radius": 1e7} if method == "trust-exact" else {}),
    )
    assert reached(result.fun, known), f"{result.fun}, known are {known}"


# -- NIST Statistical Reference Datasets: nonlinear regression, with results certified to 11 digits --------------------
MISRA = (
    np.array([77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0]),
    np.array([10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78]),
)
DANWOOD = (np.array([1.309, 1.471, 1.490, 1.565, 1.611, 1.680]), np.array([2.138, 3.421, 3.597, 4.340, 4.882, 5.660]))
BOXBOD = (np.array([1.0, 2, 3, 5, 7, 10]), np.array([109.0, 149, 149, 191, 213, 224]))
RAT42 = (
    np.array([9.0, 14, 21, 28, 42, 57, 63, 70, 79]),
    np.array([8.930, 10.800, 18.590, 22.330, 39.350, 56.110, 61.730, 64.620, 67.080]),
)
RAT43 = (
    np.arange(1.0, 16),
    np.array([
        16.08, 33.83, 65.80, 97.20, 191.55, 326.20, 386.87, 520.53, 590.03, 651.92, 724.93, 699.56, 689.96, 637.56,
        717.41,
    ]),
)  # fmt: skip
MGH09 = (np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625]), KOWALIK)
MGH10 = (np.arange(50.0, 126, 5), MEYER)
ROSZMAN1 = (
    np.array([
        -4868.68, -4868.09, -4867.41, -3375.19, -3373.14, -3372.03, -2473.74, -2472.35, -2469.45, -1894.65, -1893.40,
        -1497.24, -1495.85, -1493.41, -1208.68, -1206.18, -1206.04, -997.92, -996.61, -996.31, -834.94, -834.66,
        -710.03, -530.16, -464.17,
    ]),
    np.array([
        0.252429, 0.252141, 0.251809, 0.297989, 0.296257, 0.295319, 0.339603, 0.337731, 0.333820, 0.389510, 0.386998,
        0.438864, 0.434887, 0.427893, 0.471568, 0.461699, 0.461144, 0.513532, 0.506641, 0.505062, 0.535648, 0.533726,
        0.568064, 0.612886, 0.624169,
    ]),
)  # fmt: skip


def lanczos(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    return a * np.exp(-b * x) + c * np.exp(-d * x) + e * np.exp(-f * x)


LANCZOS = np.arange(24) / 20
SUM_OF_THREE = lanczos(LANCZOS, 0.0951, 1, 0.8607, 3, 1.5576, 5)  # the data are these numbers, rounded
ECKERLE4 = (
    np.concatenate([np.arange(400, 436, 5), np.arange(436.5, 464, 1.5), np.arange(465.0, 501, 5)]),
    np.array([
        0.0001575, 0.0001699, 0.0002350, 0.0003102, 0.0004917, 0.0008710, 0.0017418, 0.0046400, 0.0065895, 0.0097302,
        0.0149002, 0.0237310, 0.0401683, 0.0712559, 0.1264458, 0.2073413, 0.2902366, 0.3445623, 0.3698049, 0.3668534,
        0.3106727, 0.2078154, 0.1164354, 0.0616764, 0.0337200, 0.0194023, 0.0117831, 0.0074357, 0.0022732, 0.0008800,
        0.0004579, 0.0002345, 0.0001586, 0.0001143, 0.0000710,
    ]),
)  # fmt: skip
THURBER = (
    np.array([
        -3.067, -2.981, -2.921, -2.912, -2.840, -2.797, -2.702, -2.699, -2.633, -2.481, -2.363, -2.322, -1.501, -1.460,
        -1.274, -1.212, -1.100, -1.046, -0.915, -0.714, -0.566, -0.545, -0.400, -0.309, -0.109, -0.103, 0.010, 0.119,
        0.377, 0.790, 0.963, 1.006, 1.115, 1.572, 1.841, 2.047, 2.200,
    ]),
    np.array([
        80.574, 84.248, 87.264, 87.195, 89.076, 89.608, 89.868, 90.101, 92.405, 95.854, 100.696, 101.060, 401.672,
        390.724, 567.534, 635.316, 733.054, 759.087, 894.206, 990.785, 1090.109, 1080.914, 1122.643, 1178.351, 1260.531,
        1273.514, 1288.339, 1327.543, 1353.863, 1414.509, 1425.208, 1421.384, 1442.962, 1464.350, 1468.705, 1447.894,
        1457.628,
    ]),
)  # fmt: skip


def wave(t: Any, period: Any, cosine: Any, sine: Any) -> Any:
    return cosine * np.cos(2 * np.pi * t / period) + sine * np.sin(2 * np.pi * t / period)


def two_peaks(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    return a * np.exp(-b * x) + c * np.exp(-(((x - d) / e) ** 2)) + f * np.exp(-(((x - g) / h) ** 2))


def ratio_of_cubics(x: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any) -> Any:
    return (a + b * x + c * x**2 + d * x**3) / (1 + e * x + f * x**2 + g * x**3)


# Data, model, NIST's two starts, certified parameters and sum of squares: all 27 problems.
REGRESSIONS: dict[str, tuple[Any, Any, tuple[list[float], list[float]], list[float], float]] = {
    "Misra1a": (
        MISRA, lambda x, a, b: a * (1 - np.exp(-b * x)),
        ([500, 1e-4], [250, 5e-4]), [2.3894212918e2, 5.5015643181e-4],
        1.2455138894e-1,
    ),
    "Misra1b": (
        MISRA, lambda x, a, b: a * (1 - (1 + b * x / 2) ** -2),
        ([500, 1e-4], [300, 2e-4]), [3.3799746163e2, 3.9039091287e-4],
        7.5464681533e-2,
    ),
    "Misra1c": (
        MISRA, lambda x, a, b: a * (1 - (1 + 2 * b * x) ** -0.5),
        ([500, 1e-4], [600, 2e-4]), [6.3642725809e2, 2.0813627256e-4],
        4.0966836971e-2,
    ),
    "Misra1d": (
        MISRA, lambda x, a, b: a * b * x / (1 + b * x),
        ([500, 1e-4], [450, 3e-4]), [4.3736970754e2, 3.0227324449e-4], 5.6419295283e-2,
    ),
    "DanWood": (
        DANWOOD, lambda x, a, b: a * x**b, ([1, 5], [0.7, 4]), [7.6886226176e-1, 3.8604055871], 4.3173084083e-3,
    ),
    "BoxBOD": (
        BOXBOD, lambda x, a, b: a * (1 - np.exp(-b * x)),
        ([1, 1], [100, 0.75]), [2.1380940889e2, 5.4723748542e-1],
        1.1680088766e3,
    ),
    "Rat42": (
        RAT42, lambda x, a, b, c: a / (1 + np.exp(b - c * x)), ([100, 1, 0.1], [75, 2.5, 0.07]),
        [7.2462237576e1, 2.6180768402, 6.7359200066e-2], 8.0565229338,
    ),
    "Rat43": (
        RAT43, lambda x, a, b, c, d: a / (1 + np.exp(b - c * x)) ** (1 / d),
        ([100, 10, 1, 1], [700, 5, 0.75, 1.3]),
        [6.9964151270e2, 5.2771253025, 7.5962938329e-1, 1.2792483859], 8.7864049080e3,
    ),
    "MGH09": (
        MGH09, lambda x, a, b, c, d: a * (x**2 + x * b) / (x**2 + x * c + d),
        ([25, 39, 41.5, 39], [0.25, 0.39, 0.415, 0.39]),
        [1.9280693458e-1, 1.9128232873e-1, 1.2305650693e-1, 1.3606233068e-1], 3.0750560385e-4,
    ),
    "MGH17": (
        (10.0 * np.arange(33), OSBORNE_1), lambda x, a, b, c, d, e: a + b * np.exp(-d * x) + c * np.exp(-e * x),
        ([50, 150, -100, 1, 2], [0.5, 1.5, -1, 0.01, 0.02]),
        [3.7541005211e-1, 1.9358469127, -1.4646871366, 1.2867534640e-2, 2.2122699662e-2], 5.4648946975e-5,
    ),
    "Lanczos1": (
        (LANCZOS, np.array([float(f"{y:.12e}") for y in SUM_OF_THREE])), lanczos,
        ([1.2, 0.3, 5.6, 5.5, 6.5, 7.6], [0.5, 0.7, 3.6, 4.2, 4, 6.3]),
        [9.5100000027e-2, 1.0000000001, 8.6070000013e-1, 3.0000000002, 1.5575999998, 5.0000000001], 1.4307867721e-25,
    ),
    "Lanczos2": (
        (LANCZOS, np.array([float(f"{y:.5e}") for y in SUM_OF_THREE])), lanczos,
        ([1.2, 0.3, 5.6, 5.5, 6.5, 7.6], [0.5, 0.7, 3.6, 4.2, 4, 6.3]),
        [9.6251029939e-2, 1.0057332849, 8.6424689056e-1, 3.0078283915, 1.5529016879, 5.0028798100], 2.2299428125e-11,
    ),
    "Lanczos3": (
        (LANCZOS, np.round(SUM_OF_THREE, 4)), lanczos,
        ([1.2, 0.3, 5.6, 5.5, 6.5, 7.6], [0.5, 0.7, 3.6, 4.2, 4, 6.3]),
        [8.6816414977e-2, 9.5498101505e-1, 8.4400777463e-1, 2.9515951832, 1.5825685901, 4.9863565084], 1.6117193594e-8,
    ),
    "Roszman1": (
        ROSZMAN1, lambda x, a, b, c, d: a - b * x - np.arctan(c / (x - d)) / np.pi,
        ([0.1, -1e-5, 1000, -100], [0.2, -5e-6, 1200, -150]),
        [2.0196866396e-1, -6.1953516256e-6, 1.2044556708e3, -1.8134269537e2], 4.9484847331e-4,
    ),
    "MGH10": (
        MGH10, lambda x, a, b, c: a * np.exp(b / (x + c)), ([2, 400000, 25000], [0.02, 4000, 250]),
        [5.6096364710e-3, 6.1813463463e3, 3.4522363462e2], 8.7945855171e1,
    ),
    "Eckerle4": (
        ECKERLE4, lambda x, a, b, c: a / b * np.exp(-0.5 * ((x - c) / b) ** 2),
        ([1, 10, 500], [1.5, 5, 450]),
        [1.5543827178, 4.0888321754, 4.5154121844e2], 1.4635887487e-3,
    ),
    "Nelson": (
        ((nist.NELSON_WEEKS, nist.NELSON_DEGREES), np.log(nist.NELSON)),
        lambda x, a, b, c: a - b * x[0] * np.exp(-c * x[1]), ([2, 1e-4, -0.01], [2.5, 5e-9, -0.05]),
        [2.5906836021, 5.6177717026e-9, -5.7701013174e-2], 3.7976833176,
    ),
    "Chwirut2": (
        tuple(nist.CHWIRUT2), lambda x, a, b, c: np.exp(-a * x) / (b + c * x),
        ([0.1, 0.01, 0.02], [0.15, 0.008, 0.01]),
        [1.6657666537e-1, 5.1653291286e-3, 1.2150007096e-2], 5.1304802941e2,
    ),
    "Kirby2": (
        (nist.KIRBY2_X, nist.KIRBY2_Y), lambda x, a, b, c, d, e: (a + b * x + c * x**2) / (1 + d * x + e * x**2),
        ([2, -0.1, 0.003, -0.001, 1e-5], [1.5, -0.15, 0.0025, -0.0015, 2e-5]),
        [1.6745063063, -1.3927397867e-1, 2.5961181191e-3, -1.7241811870e-3, 2.1664802578e-5], 3.9050739624,
    ),
    "ENSO": (
        (np.arange(1.0, 169), nist.ENSO),
        lambda t, a, b, c, d, e, f, g, h, i: a + wave(t, 12, b, c) + wave(t, d, e, f) + wave(t, g, h, i),
        ([11, 3, 0.5, 40, -0.7, -1.3, 25, -0.3, 1.4], [10, 3, 0.5, 44, -1.5, 0.5, 26, -0.1, 1.5]),
        [1.0510749193e1, 3.0762128085, 5.3280138227e-1, 4.4311088700e1, -1.6231428586, 5.2554493756e-1,
         2.6887614440e1, 2.1232288488e-1, 1.4966870418],
        7.8853978668e2,
    ),
    "Thurber": (
        THURBER, ratio_of_cubics,
        ([1000, 1000, 400, 40, 0.7, 0.3, 0.03], [1300, 1500, 500, 75, 1, 0.4, 0.05]),
        [1.2881396800e3, 1.4910792535e3, 5.8323836877e2, 7.5416644291e1, 9.6629502864e-1, 3.9797285797e-1,
         4.9727297349e-2],
        5.6427082397e3,
    ),
    "Chwirut1": (
        tuple(nist.CHWIRUT1), lambda x, a, b, c: np.exp(-a * x) / (b + c * x),
        ([0.1, 0.01, 0.02], [0.15, 0.008, 0.01]), [1.9027818370e-1, 6.1314004477e-3, 1.0530908399e-2], 2.3844771393e3,
    ),
    "Gauss1": (
        (np.arange(1.0, 251), nist.GAUSS1), two_peaks,
        ([97, 0.009, 100, 65, 20, 70, 178, 16.5], [94, 0.0105, 99, 63, 25, 71, 180, 20]),
        [9.8778210871e1, 1.0497276517e-2, 1.0048990633e2, 6.7481111276e1, 2.3129773360e1, 7.1994503004e1,
         1.7899805021e2, 1.8389389025e1],
        1.3158222432e3,
    ),
    "Gauss2": (
        (np.arange(1.0, 251), nist.GAUSS2), two_peaks,
        ([96, 0.009, 103, 106, 18, 72, 151, 18], [98, 0.0105, 103, 105, 20, 73, 150, 20]),
        [9.9018328406e1, 1.0994945399e-2, 1.0188022528e2, 1.0703095519e2, 2.3578584029e1, 7.2045589471e1,
         1.5327010194e2, 1.9525972636e1],
        1.2475282092e3,
    ),
    "Gauss3": (
        (np.arange(1.0, 251), nist.GAUSS3), two_peaks,
        ([94.9, 0.009, 90.1, 113, 20, 73.8, 140, 20], [96, 0.0096, 80, 110, 25, 74, 139, 25]),
        [9.8940368970e1, 1.0945879335e-2, 1.0069553078e2, 1.1163619459e2, 2.3300500029e1, 7.3705031418e1,
         1.4776164251e2, 1.9668221230e1],
        1.2444846360e3,
    ),
    "Hahn1": (
        (nist.HAHN1_X, nist.HAHN1_Y), ratio_of_cubics,
        ([10, -1, 0.05, -1e-5, -0.05, 0.001, -1e-6], [1, -0.1, 0.005, -1e-6, -0.005, 1e-4, -1e-7]),
        [1.0776351733, -1.2269296921e-1, 4.0863750610e-3, -1.4262662514e-6, -5.7609940901e-3, 2.4053735503e-4,
         -1.2314450199e-7],
        1.5324382854,
    ),
    "Bennett5": (
        (nist.BENNETT5_X, nist.BENNETT5_Y), lambda x, a, b, c: a * (b + x) ** (-1 / c),
        ([-2000, 50, 0.8], [-1500, 45, 0.85]), [-2.5235058043e3, 4.6736564644e1, 9.3218483193e-1], 5.2404744073e-4,
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value", "ignore:Covariance")  # far from the solution
@pytest.mark.parametrize("start", [0, 1], ids=["far", "near"])
@pytest.mark.parametrize("name", REGRESSIONS)
def test_certified_regressions(name: str, start: int) -> None:
    """Six digits of every parameter, and nine of the sum of squares, from both starts, by both methods."""
    (x, y), model, starts, certified, squares = REGRESSIONS[name]
    result = optimize.least_squares(lambda p: model(x, *p) - y, starts[start], x_scale="jac", max_nfev=5000, **TIGHT)
    tolerance = 1e-6 if "Lanczos" in name or name == "ENSO" else 2e-7  # whose terms are nearly dependent
    np.testing.assert_allclose(result.x, certified, rtol=tolerance)
    np.testing.assert_allclose(2 * result.cost, squares, rtol=1e-9, atol=1e-24)
    factor = 1 if name == "BoxBOD" else 100  # of the first step, which otherwise leads MINPACK where all is flat
    found, _ = optimize.curve_fit(
        model, x, y, starts[start], method="lm", ftol=1e-15, xtol=1e-15, gtol=0, maxfev=5000, factor=factor
    )
    np.testing.assert_allclose(found, certified, rtol=tolerance)


def test_certified_standard_deviations() -> None:
    (x, y), model, starts, _, _ = REGRESSIONS["Misra1a"]
    _, covariance = optimize.curve_fit(model, x, y, starts[0], ftol=1e-15, xtol=1e-15, gtol=0)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [2.7070075241, 7.2668688436e-6], rtol=1e-8)


# -- derivatives that are filled in ------------------------------------------------------------------------------------
METHODS = [
    "Nelder-Mead", "Powell", "CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "SLSQP", "trust-constr", "dogleg",
    "trust-ncg", "trust-exact", "trust-krylov", "COBYLA", "COBYQA",
]  # fmt: skip
ROOT_METHODS = [
    "hybr", "lm", "broyden1", "broyden2", "anderson", "linearmixing", "diagbroyden", "excitingmixing", "krylov",
    "df-sane",
]  # fmt: skip


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.filterwarnings("ignore:delta_grad == 0")  # trust-constr's own
@pytest.mark.parametrize("method", METHODS)
def test_every_method_reaches_the_minimum(method: str) -> None:
    start = [0.9, 0.8] if method in ("dogleg", "COBYLA") else [-1.2, 1.0]
    options = {} if method == "TNC" else {"maxiter": 20_000 if method == "COBYLA" else 5000}
    tol = 1e-7 if method == "COBYLA" else None  # by default it stops early
    result = optimize.minimize(rosenbrock, start, method=method, options=options, tol=tol)
    np.testing.assert_allclose(result.x, [1, 1], atol=1e-3)


def test_derivatives_are_those_that_scipy_is_given_by_hand() -> None:
    exact = {"jac": scipy.optimize.rosen_der, "hess": scipy.optimize.rosen_hess}
    for method in ("BFGS", "CG", "L-BFGS-B", "trust-exact"):
        given = exact if method == "trust-exact" else {"jac": exact["jac"]}
        theirs = scipy.optimize.minimize(scipy.optimize.rosen, [0.5, 0.9, 1.4], method=method, **given)
        ours = optimize.minimize(rosenbrock, [0.5, 0.9, 1.4], method=method)
        np.testing.assert_allclose(ours.x, theirs.x, atol=1e-5)
        assert ours.nfev == theirs.nfev  # the same steps, and no evaluations for differences


def test_value_and_gradient_take_one_evaluation() -> None:
    calls = []

    def counted(x: Any) -> Any:
        calls.append(x)
        return rosenbrock(x)

    result = optimize.minimize(counted, [-1.2, 1.0], method="BFGS")
    assert len(calls) == result.nfev + 1  # and one to see what it depends on


def test_given_derivatives_are_used() -> None:
    used = []

    def jac(x: Any) -> Any:
        used.append("jac")
        return scipy.optimize.rosen_der(x)

    def hessp(x: Any, p: Any) -> Any:
        used.append("hessp")
        return scipy.optimize.rosen_hess_prod(x, p)

    result = optimize.minimize(scipy.optimize.rosen, [-1.2, 1.0], jac=jac, hessp=hessp, method="trust-ncg")
    assert set(used) == {"jac", "hessp"}
    np.testing.assert_allclose(result.x, [1, 1], atol=1e-4)
    both = optimize.minimize(lambda x: (rosenbrock(x), scipy.optimize.rosen_der(x)), [-1.2, 1.0], jac=True)
    np.testing.assert_allclose(both.x, [1, 1], atol=1e-4)
    by_differences = optimize.minimize(rosenbrock, [-1.2, 1.0], jac="2-point", method="BFGS")
    assert by_differences.nfev > 2 * optimize.minimize(rosenbrock, [-1.2, 1.0], method="BFGS").nfev


def test_constraints_get_jacobians_and_hessians() -> None:
    def area(x: Any) -> Any:
        return x[0] ** 2 + x[1] ** 2

    as_dict = [{"type": "eq", "fun": lambda x, r: area(x) - r, "args": (2.0,)}, {"type": "ineq", "fun": lambda x: x[0]}]
    for method in ("SLSQP", "trust-constr"):
        result = optimize.minimize(lambda x: x[0] * 2 + x[1], [0.5, -1.0], constraints=as_dict, method=method)
        np.testing.assert_allclose(result.x, [0, -(2**0.5)], atol=1e-4)
    original = scipy.optimize.NonlinearConstraint(lambda x: [area(x), x[0] * x[1]], [0, 0.2], [2, np.inf])
    result = optimize.minimize(lambda x: -x[0] - 2 * x[1], [0.5, 0.5], constraints=original, method="trust-constr")
    expected = optimize.minimize(lambda x: -x[0] - 2 * x[1], [0.5, 0.5], constraints=original, method="SLSQP")
    np.testing.assert_allclose(result.x, expected.x, atol=1e-5)
    np.testing.assert_allclose(result.x, np.array([1, 2]) * np.sqrt(2 / 5), atol=1e-5)
    assert original.jac == "2-point"  # the user's own is left alone
    new = optimize._constraint(original, optimize.Point([0.5, 0.5]), hessian=True)
    np.testing.assert_allclose(new.jac(np.array([0.5, 0.7])), [[1, 1.4], [0.7, 0.5]])
    np.testing.assert_allclose(new.hess(np.array([0.5, 0.7]), np.array([2.0, 3.0])), [[4, 3], [3, 4]])


class Line(NamedTuple):
    slope: Any
    offset: Any


@dataclasses.dataclass
class Parameters:
    w: Any
    line: Line


def test_containers() -> None:
    target = np.array([[1.0, 2.0], [3.0, 4.0]])

    def residuals(p: Parameters) -> Any:
        assert isinstance(p.line, Line)
        return {"w": p.w - target, "line": [p.line.slope - 5, p.line.offset * p.line.slope - 15]}

    start = Parameters(np.zeros((2, 2)), Line(1.0, 1))

    def loss(p: Parameters) -> Any:
        return np.sum(optimize.vector(residuals(p)) ** 2)

    for method in ("BFGS", "Newton-CG", "trust-exact", "Nelder-Mead"):
        options = {"maxiter": 20000, "xatol": 1e-8, "fatol": 1e-8} if method == "Nelder-Mead" else {}
        x = optimize.minimize(loss, start, method=method, tol=1e-10, options=options).x
        assert isinstance(x, Parameters)
        np.testing.assert_allclose(x.w, target, atol=1e-4)
        np.testing.assert_allclose([*x.line], [5, 3], atol=1e-4)
    for x in (optimize.least_squares(residuals, start).x, optimize.root(residuals, start).x):
        np.testing.assert_allclose(x.w, target, atol=1e-6)
        np.testing.assert_allclose([*x.line], [5, 3], atol=1e-6)
    found = optimize.fixed_point(lambda p: {"a": np.cos(p["a"]), "b": p["b"] / 2 + 1}, {"a": np.ones(2), "b": 0.0})
    np.testing.assert_allclose(found["a"], 0.7390851332151607)
    np.testing.assert_allclose(found["b"], 2)


def test_numbers_and_integers_start_as_in_scipy() -> None:
    for start in (3, [3], np.float32(3), np.array([3.0], np.float32)):
        ours = optimize.minimize(lambda x: np.sum((x - 1) ** 2), start)
        theirs = scipy.optimize.minimize(lambda x: np.sum((x - 1) ** 2), start, jac=lambda x: 2 * (x - 1))
        assert (ours.x.dtype, ours.x.shape) == (theirs.x.dtype, theirs.x.shape)
        np.testing.assert_allclose(ours.x, [1], atol=1e-5)


def test_root_gets_its_jacobian() -> None:
    def f(x: Any) -> Any:
        return [x[0] + 0.5 * (x[0] - x[1]) ** 3 - 1, 0.5 * (x[1] - x[0]) ** 3 + x[1]]

    for method in ROOT_METHODS[2:]:
        theirs = scipy.optimize.root(f, [0.0, 0.0], method=method)
        np.testing.assert_array_equal(optimize.root(f, [0.0, 0.0], method=method).x, theirs.x)
    for method in ("hybr", "lm"):
        result = optimize.root(f, [0.0, 0.0], method=method)
        np.testing.assert_allclose(result.x, [0.8411639, 0.1588361], atol=1e-5)
    assert optimize.root(f, [0.0, 0.0]).njev >= 1
    transposed = optimize.root(f, [0.0, 0.0], options={"col_deriv": True})
    np.testing.assert_allclose(transposed.x, [0.8411639, 0.1588361], atol=1e-7)


@pytest.mark.parametrize("method", ["newton", "halley", "secant", "brentq", None])
def test_root_scalar(method: str | None) -> None:
    options = (
        {"bracket": [0, 2]} if method == "brentq" else {"x0": 1.5, "x1": 1.2} if method == "secant" else {"x0": 1.5}
    )
    result = optimize.root_scalar(lambda x: x**3 - 2, method=method, **options)
    assert abs(result.root - 2 ** (1 / 3)) < 1e-8
    slopes = cr.value_and_grad(lambda a: optimize.root_scalar(lambda x: x**3 - a, method=method, **options).root)(2.0)
    close(slopes[1], 2 ** (-2 / 3) / 3, 1e-7)
    check(
        lambda a: (
            np.float64(1)
            * optimize.root_scalar(lambda x, a: x**3 - a, (a,), method, xtol=1e-15, rtol=1e-15, **options).root
        ),
        [np.float64(2.0)],
    )


def test_minimize_scalar() -> None:
    def well(x: Any, a: Any) -> Any:
        return np.cosh(x - a) + 0.1 * x**2

    for options in ({"bracket": (-1, 1)}, {"bounds": (-3, 3), "method": "bounded"}, {"method": "golden"}):
        result = optimize.minimize_scalar(well, args=(0.7,), **options)
        assert abs(np.sinh(result.x - 0.7) + 0.2 * result.x) < 1e-4
        assert isinstance(result.x, float)
        for order in (lambda f: cr.grad(f), lambda f: lambda a: cr.jvp(f, (a,), (1.0,))[1]):
            slope = order(lambda a, o=options: optimize.minimize_scalar(well, args=(a,), **o).x)(0.7)
            close(slope, np.cosh(result.x - 0.7) / (np.cosh(result.x - 0.7) + 0.2), 1e-5)
    held = lambda b: optimize.minimize_scalar(lambda x: well(x, 0.7), bounds=(-1, b), method="bounded").x  # noqa: E731
    assert cr.grad(held)(0.1) == 1
    root_of_c = lambda c: optimize.minimize_scalar(lambda x: (x**2 - c) ** 2, (0.5, 2.0)).x  # noqa: E731
    close(cr.grad(cr.grad(root_of_c))(4.0), -1 / 32, 1e-5)


# -- through the solution ----------------------------------------------------------------------------------------------
def quartic(x: Any, a: Any, b: Any) -> Any:
    return np.sum((x - a) ** 4 / 4 + b * x**2) + np.sum(np.cos(x)) * np.prod(a)


A = np.array([0.3, -0.7, 0.5])
B = np.array([0.9, 1.2, 0.7])


@pytest.mark.parametrize("method", ["BFGS", "trust-exact"])
def test_minimize_is_differentiable(method: str) -> None:
    def minimum(a: Any, b: Any) -> Any:
        return optimize.minimize(quartic, np.zeros(3), args=(a, b), method=method, tol=1e-12).x

    check(minimum, [A, B], tolerance=1e-6)
    check(lambda a: optimize.minimize(quartic, np.zeros(3), args=(a, B), tol=1e-12).fun, [A], tolerance=1e-6)


def test_tensors_from_outside() -> None:
    def minimum(a: Any, b: Any) -> Any:
        return optimize.minimize(lambda x: quartic(x, a, b), np.zeros(3), method="trust-exact", tol=1e-12).x

    check(minimum, [A, B], tolerance=1e-6)
    a = cr.Tensor(A)
    np.sum(minimum(a, B)).backward()
    close(a.grad, cr.grad(lambda a: np.sum(minimum(a, B)))(A), 1e-12)
    assert type(a.grad) is np.ndarray


def test_ridge_regression_in_closed_form() -> None:
    X = np.random.default_rng(0).normal(size=(12, 4))
    y = X @ np.array([1.0, -2.0, 0.5, 3.0]) + 0.1

    def by_solver(penalty: Any, y: Any) -> Any:
        loss = lambda w: np.sum((X @ w - y) ** 2) + penalty * np.sum(w**2)  # noqa: E731
        return optimize.minimize(loss, np.zeros(4), method="trust-exact", tol=1e-12).x

    def in_closed_form(penalty: Any, y: Any) -> Any:
        return np.linalg.solve(X.T @ X + penalty * np.eye(4), X.T @ y)

    ct = np.array([1.0, 2.0, -1.0, 0.5])
    for ours, theirs in zip(cr.vjp(by_solver, 0.7, y)[1](ct), cr.vjp(in_closed_form, 0.7, y)[1](ct), strict=True):
        close(ours, theirs, 1e-8)
    curvature = [cr.grad(cr.grad(lambda p, f=f: ct @ f(p, y)))(0.7) for f in (by_solver, in_closed_form)]
    close(*curvature, 1e-7)


def test_all_orders_and_modes_agree() -> None:
    def loss(c: Any) -> Any:
        return np.sum(optimize.minimize(quartic, np.zeros(3), (A * c, B), method="trust-exact", tol=1e-13).x ** 2)

    def forward(f: Any) -> Any:
        return lambda x: cr.jvp(f, (x,), (1.0,))[1]

    reverse = cr.grad
    third = {
        "rrr": reverse(reverse(reverse(loss))), "fff": forward(forward(forward(loss))),
        "rfr": reverse(forward(reverse(loss))), "frf": forward(reverse(forward(loss))),
    }  # fmt: skip
    values = [f(1.1) for f in third.values()]
    np.testing.assert_allclose(values, values[0], rtol=1e-9)
    h = 1e-3
    second = reverse(reverse(loss))
    by_differences = (8 * (second(1.1 + h) - second(1.1 - h)) - (second(1.1 + 2 * h) - second(1.1 - 2 * h))) / (12 * h)
    close(values[0], by_differences, 1e-6)


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP", "trust-constr"])
def test_bounds_hold_their_variables(method: str) -> None:
    def minimum(c: Any, low: Any) -> Any:
        bounds = [(low, None), (None, 10.0), (None, 1.5)]
        loss = lambda x: np.sum((x - c) ** 2) + 0.1 * x[0] * x[1]  # noqa: E731
        return optimize.minimize(loss, np.ones(3), method=method, bounds=bounds, tol=1e-10).x

    c = np.array([-1.0, 2.0, 3.0])  # the first and the last are held
    _, pullback = cr.vjp(minimum, c, 0.5)
    J = np.stack([pullback(row)[0] for row in np.eye(3)])
    np.testing.assert_allclose(J, [[0, 0, 0], [0, 1, 0], [0, 0, 0]], atol=1e-10)
    np.testing.assert_allclose([pullback(row)[1] for row in np.eye(3)], [1, -0.05, 0], atol=1e-10)


def test_tensors_as_bounds_object() -> None:
    def minimum(low: Any) -> Any:
        return optimize.minimize(lambda x: np.sum(x**2), np.ones(2) * 3, bounds=scipy.optimize.Bounds(low, np.inf)).x

    check(minimum, [np.array([0.5, -1.0])])


def projected(c: Any, method: str = "SLSQP") -> Any:
    """The nearest point of the unit disk."""
    disk = {"type": "ineq", "fun": lambda x: 1 - np.sum(x**2)}
    start = [0.1, 0.2]
    return optimize.minimize(lambda x, c: np.sum((x - c) ** 2), start, (c,), method, constraints=disk, tol=1e-12).x


@pytest.mark.parametrize(("method", "tolerance"), [("SLSQP", 1e-9), ("trust-constr", 1e-5), ("COBYLA", 1e-4)])
def test_through_a_constraint_that_holds(method: str, tolerance: float) -> None:
    c = np.array([2.0, 1.0])
    length = np.linalg.norm(c)
    expected = (np.eye(2) - np.outer(c, c) / length**2) / length
    for mode in ("fwd", "rev"):
        close(cr.jacobian(lambda c: projected(c, method), mode=mode)(c), expected, tolerance)
    second = cr.hessian(lambda c: np.sum(projected(c, method) ** 3))(c)
    close(second, cr.hessian(lambda c: np.sum((c / np.sqrt(np.sum(c**2))) ** 3))(c), tolerance * 100)


def test_a_constraint_that_does_not_hold_does_not_count() -> None:
    np.testing.assert_array_equal(cr.jacobian(projected)(np.array([0.3, 0.1])), np.eye(2))


def test_through_constraints_that_depend_on_tensors() -> None:
    """An equation, a bound and a container: x = -r / sqrt(5) (1, 2)."""
    constraint = {"type": "eq", "fun": lambda p, r: np.sum(p["x"] ** 2) - r**2}

    def solved(r: Any, low: Any) -> Any:
        result = optimize.minimize(
            lambda p: p["x"][0] + 2 * p["x"][1] + p["y"], {"x": np.array([-0.5, -0.5]), "y": 1.0}, tol=1e-12,
            constraints=[constraint | {"args": (r,)}], bounds=[(None, None), (None, None), (low, None)],
        )  # fmt: skip
        return np.append(result.x["x"], [result.x["y"], result.fun])

    slope = np.array([1, 2]) / 5**0.5
    np.testing.assert_allclose(solved(2.0, 0.5), [*(-2 * slope), 0.5, 0.5 - 2 * 5**0.5], rtol=1e-6)
    in_r, in_low = cr.jacobian(solved, (0, 1))(2.0, 0.5)
    np.testing.assert_allclose(in_r, [*-slope, 0, -(5**0.5)], atol=1e-6)
    np.testing.assert_allclose(in_low, [0, 0, 1, 1], atol=1e-9)


def test_through_nonlinear_and_linear_constraints() -> None:
    def on_a_hyperbola(b: Any) -> Any:  # x y = b
        constraint = scipy.optimize.NonlinearConstraint(lambda x: x[0] * x[1], b, np.inf)
        f = lambda x: x[0] ** 2 + 2 * x[1] ** 2  # noqa: E731
        return optimize.minimize(f, [2.0, 2.0], method="SLSQP", constraints=constraint, tol=1e-14).x

    exact = lambda b: np.array([(2**0.5 * b) ** 0.5, (b / 2**0.5) ** 0.5])  # noqa: E731
    np.testing.assert_allclose(on_a_hyperbola(3.0), exact(3.0), rtol=1e-6)
    np.testing.assert_allclose(cr.jacobian(on_a_hyperbola)(3.0), exact(3.0) / 6, rtol=1e-5)

    def below_a_line(c: Any) -> Any:
        line = scipy.optimize.LinearConstraint([[1, 1.0]], -np.inf, 1)
        return optimize.minimize(lambda x: np.sum((x - c) ** 2), [0.0, 0.0], constraints=line, tol=1e-12).x

    close(cr.jacobian(below_a_line)(np.array([2.0, 1.0])), np.array([[0.5, -0.5], [-0.5, 0.5]]), 1e-9)


def test_constraints_that_depend_on_each_other_have_no_derivative() -> None:
    parallel = [{"type": "ineq", "fun": lambda x, k=k: k * (x[0] - x[1] - 1)} for k in (1, 2)]

    def nearest(c: Any) -> Any:
        return optimize.minimize(lambda x: np.sum((x - c) ** 2), [3.0, 1.0], constraints=parallel).x

    with pytest.raises(np.linalg.LinAlgError, match="of the 2 constraints that hold with equality only 1"):
        cr.grad(lambda c: nearest(c)[0])(1.0)


def coupled(x: Any, a: Any, b: Any) -> Any:
    return a * x**3 + x - b * x[::-1] - 1


def test_root_is_differentiable() -> None:
    args = [np.array([1.0, 2.0]), np.float64(0.3)]
    check(lambda a, b: optimize.root(coupled, [1.0, 0.5], (a, b), tol=1e-14).x, args)
    check(lambda a, b: optimize.root(lambda x: coupled(x, a, b), [1.0, 0.5], tol=1e-14).x, args)
    container = lambda a, b: optimize.root(lambda p: coupled(p["x"], a, b), {"x": np.ones(2)}, tol=1e-14).x["x"]  # noqa: E731
    check(container, args)


def test_fixed_point_is_differentiable() -> None:
    def found(a: Any, b: Any) -> Any:
        return optimize.fixed_point(lambda x: np.cos(a * x) * b, np.full(2, 0.5), xtol=1e-14)

    check(found, [np.array([0.7, 0.9]), np.float64(0.8)])
    check(lambda a: optimize.fixed_point(lambda x, a: np.sqrt(a + x), 1.0, (a,), xtol=1e-14), [np.float64(2.0)])


@pytest.mark.parametrize("loss", ["linear", "soft_l1", "huber", "cauchy", "arctan"])
def test_least_squares_is_differentiable(loss: str) -> None:
    t = np.linspace(0, 2, 6)
    y = 2 * np.exp(-0.8 * t) + 0.3 * np.cos(7 * t)  # residuals that are not small
    tight = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-12)

    def fit(y: Any, shift: Any) -> Any:
        residuals = lambda p, t: p[0] * np.exp(-p[1] * (t - shift)) - y  # noqa: E731
        options = {"loss": loss, "f_scale": 0.2} if loss != "linear" else {}
        result = optimize.least_squares(residuals, [2.0, 0.8], args=(t,), **tight, **options)
        return [result.x, result.cost, result.fun]

    check(fit, [y, np.float64(0.1)], order=1 + (loss == "linear"), tolerance=2e-5)


def test_least_squares_with_bounds_and_its_jacobian() -> None:
    t = np.linspace(0, 2, 9)

    def fit(y: Any) -> Any:
        result = optimize.least_squares(
            lambda p: p[0] * np.exp(-p[1] * t) - y, [1.0, 0.5], bounds=([0, 0], [5, 0.7]), **TIGHT
        )
        return [result.x, result.jac]

    check(fit, [2 * np.exp(-0.8 * t)], tolerance=1e-5)


def test_fits_are_differentiable_in_the_data() -> None:
    x, y = np.linspace(0.0, 3, 8), np.array([1.0, 1.4, 2.1, 2.2, 3.9, 4.4, 6.3, 8.1])

    def fit(x: Any, y: Any, sigma: Any) -> Any:
        return optimize.curve_fit(
            lambda x, a, b: a * np.exp(b * x), x, y, [1, 0.5], sigma=sigma, ftol=1e-15, xtol=1e-15
        )

    check(fit, [x, y, np.linspace(0.5, 1.5, 8)], order=1, tolerance=1e-5)
    check(lambda y: optimize.curve_fit(lambda x, a, b: a + b * x, x, y, absolute_sigma=True)[0], [y])
    covariance = np.diag(np.linspace(0.5, 1.5, 8)) + 0.1
    check(lambda y: fit(x, y, covariance), [y], order=1, tolerance=1e-5)
    bounded = lambda y: optimize.curve_fit(lambda x, a, b: a * np.exp(b * x), x, y, bounds=([0, 0], [9, 0.6]))[0]  # noqa: E731
    slopes = cr.vjp(bounded, y)[1](np.array([0.0, 1.0]))[0]
    np.testing.assert_array_equal(slopes, 0)


def test_without_tensors_results_are_scipys() -> None:
    t = np.linspace(0, 2, 9)
    ours = optimize.curve_fit(lambda x, a: np.exp(a * x), t, np.exp(t), full_output=True)
    assert len(ours) == 5
    assert type(ours[0]) is np.ndarray
    assert type(optimize.minimize(rosenbrock, [1.0, 2.0]).x) is np.ndarray
    assert type(optimize.root(lambda x: x - 1, [1.0, 2.0]).x) is np.ndarray
    assert isinstance(optimize.root_scalar(lambda x: x - 1, x0=0.5).root, float)


def test_a_constant_start_has_no_derivative() -> None:
    slope = cr.grad(lambda s: np.sum(optimize.minimize(lambda x: np.sum((x - 1) ** 2), s).x))(np.zeros(2))
    np.testing.assert_array_equal(slope, 0)


def test_what_a_function_captured_may_not_change() -> None:
    a, b = cr.Tensor(2.0), cr.Tensor(3.0)
    used = [a]
    x = optimize.root_scalar(lambda x: x**2 - used[0], x0=1.0).root
    used[0] = b
    with pytest.raises(InPlaceError, match="root_scalar uses other Tensors"):
        x.backward()


def test_backward_under_no_grad() -> None:
    a = cr.Tensor(2.0)
    x = optimize.root_scalar(lambda x: x**2 - a, x0=1.0).root
    with cr.no_grad():
        x.backward()
        assert optimize.root_scalar(lambda x: x**2 - a, x0=1.0).root > 1
    close(a.grad, 0.5 / 2**0.5, 1e-9)


def test_singular_solutions_raise() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="solution of root has no derivative"):
        cr.grad(lambda a: optimize.root(lambda x: (x - a) * np.array([1.0, 0.0]), [0.3, 0.3]).x[0])(0.5)


# -- sparse Jacobians --------------------------------------------------------------------------------------------------
def chain(x: Any) -> Any:
    """Residuals of neighbours; the solution is 1, 1, ..."""
    return np.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x])


def test_a_large_sparse_problem_is_filled_in_sparse() -> None:
    x0 = np.full(2_000, 0.5)
    result = optimize.least_squares(chain, x0)
    assert scipy.sparse.issparse(result.jac)
    assert result.jac.shape == (3_999, 2_000)
    np.testing.assert_allclose(result.x, 1, rtol=1e-6)
    for options in ({"tr_solver": "exact"}, {"method": "lm"}):
        assert isinstance(optimize.least_squares(chain, x0[:501], **options).jac, np.ndarray)
    assert isinstance(optimize.least_squares(chain, x0[:20]).jac, np.ndarray)
    dense = lambda x: x - 0.5 / len(x) * np.sum(x) - 1  # noqa: E731
    assert isinstance(optimize.least_squares(dense, x0[:501]).jac, np.ndarray)


def test_a_sparsity_that_is_given_asks_for_exact_values_on_it() -> None:
    x0 = {"x": np.full(20, 0.5)}
    pattern = cr.sparsity(chain, x0["x"]).pattern()
    for options in ({"jac_sparsity": pattern}, {"tr_solver": "lsmr"}):
        result = optimize.least_squares(lambda p: chain(p["x"]), x0, **TIGHT, **options)
        assert scipy.sparse.issparse(result.jac)
        np.testing.assert_allclose(result.jac.toarray(), cr.jacobian(chain)(result.x["x"]), rtol=1e-14)
        np.testing.assert_allclose(result.x["x"], 1, rtol=1e-7)


def test_sparse_constraints() -> None:
    line = scipy.optimize.NonlinearConstraint(lambda x: x[1:] * x[:-1], 1, 2)
    given = {"method": "trust-constr", "constraints": [line], "options": {"sparse_jacobian": True}}
    result = optimize.minimize(lambda x: np.sum((x - 0.5) ** 2), np.full(12, 1.2), **given)
    assert scipy.sparse.issparse(result.jac[0])
    np.testing.assert_allclose(result.x, 1, atol=1e-3)
    made = optimize._constraint(line, optimize.Point(np.ones(12)), hessian=True, sparse=True)
    np.testing.assert_array_equal(made.jac(result.x).toarray(), cr.jacobian(line.fun)(result.x))


# -- what did not succeed ----------------------------------------------------------------------------------------------
def stopped(solver: str) -> Any:
    """What a solver returns after a step or two, far from the solution."""
    if solver == "minimize":
        return lambda a: optimize.minimize(lambda x: np.sum((x - a) ** 4), [5.0], options={"maxiter": 1}).x[0]
    if solver == "minimize_scalar":
        return lambda a: optimize.minimize_scalar(lambda x: (x - a) ** 4 + x, (3, 4), options={"maxiter": 1}).x
    if solver == "root":
        return lambda a: optimize.root(lambda x: np.exp(x) - a, [8.0], options={"maxfev": 2}).x[0]
    if solver == "constraints":
        disk = {"type": "ineq", "fun": lambda x: 1 - np.sum(x**2)}
        given = {"constraints": disk, "options": {"maxiter": 1}}
        return lambda a: optimize.minimize(lambda x: np.sum((x - a) ** 4), [0.5, -0.5], **given).x[0]
    return lambda a: optimize.least_squares(lambda x: np.exp(x) - a, [8.0], max_nfev=2).x[0]


@pytest.mark.parametrize("solver", ["minimize", "minimize_scalar", "root", "constraints", "least_squares"])
def test_derivatives_of_what_was_not_solved_warn(solver: str) -> None:
    f = stopped(solver)
    assert not isinstance(f(1.0), cr.Tensor)  # plain numbers: SciPy's own affair
    for derivative in (cr.grad(f), lambda a: cr.jvp(f, (a,), (1.0,))[1]):
        with pytest.warns(UnsolvedWarning, match=r"stopped without a solution: \w"):
            derivative(3.0)


@pytest.mark.filterwarnings("error")
def test_a_failure_for_want_of_digits_only_does_not_warn() -> None:
    """BFGS calls it a failure when the last digits do not obey it."""
    result = optimize.minimize(quartic, np.zeros(3), (A, B), tol=1e-17)
    assert not result.success
    cr.grad(lambda a: optimize.minimize(quartic, np.zeros(3), (a, B), tol=1e-17).x[0])(A)


def test_solvers_that_raise_go_on_raising() -> None:
    with pytest.raises(RuntimeError, match="converge"):
        cr.grad(lambda a: optimize.fixed_point(lambda x: 2 * x + a, 1.0, maxiter=5, method="iteration"))(1.0)
    t = np.arange(5.0)
    with pytest.raises(RuntimeError, match="Optimal parameters"):
        cr.vjp(lambda y: optimize.curve_fit(lambda t, a, b: a * np.exp(b * t), t, y, [1.0, 3.0], maxfev=2), np.ones(5))


def test_methods_that_are_not_differentiated_refuse() -> None:
    for call in (lambda t: optimize.fsolve(lambda x: x, t), lambda t: optimize.brentq(lambda x: x, -1, t)):
        with pytest.raises(UnsupportedFunctionError, match="use root"):
            call(cr.Tensor([1.0]))
