"""Sequences, statistics and polynomials: NumPy's value bit for bit, and derivatives that agree with differences.

The tables hold (name, function of arrays, shapes of its arguments), as in test_arrays.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from oracle import check, check_dtypes, check_out, check_value, difference, dot, spaced

import chainrule as cr

NAN, INF = np.nan, np.inf
MASK = np.array([[True, False, True], [True, True, False]])


def squares(line: Any, width: Any, axis: int, options: dict[str, Any]) -> None:
    """A function for np.pad: what is next to the padding, squared."""
    before, after = width
    line[:before] = line[before] ** 2 * options.get("scale", 1.0)
    line[len(line) - after :] = line[len(line) - after - 1] ** 2


DICTIONARIES = np.lib.NumpyVersion(np.__version__) >= "2.3.0"  # np.pad takes them since then
X3 = spaced((6, 3), "histograms", -1.0, 1.0)
X2, EDGES = X3.T[:2], np.array([-1.0, -0.1, 0.4, 0.9])


def edges_of(x: Any, y: Any) -> Any:
    return np.histogram2d(x, y, (2, 3))[1:]


KNOTS = np.array([-1.7, -0.8, 0.15, 1.1, 2.4])
UNEVEN = np.array([0.0, 0.5, 0.75, 2.0, 2.5])
POSITIONS = np.array([0.1, 0.9, -0.4, 0.35, 1.0, 5.0])


def holed(x: Any, *places: Any) -> Any:
    """The same with NaN in some places."""
    hole = np.zeros(np.shape(x), bool)
    for place in places:
        hole[place] = True
    return np.where(hole, NAN, x)


H = ((0, 1), (1, 1))  # where the holes of a (2, 3) array are

SMOOTH: list[tuple[Any, ...]] = [
    # -- differences
    ("diff", lambda x: np.diff(x), (2, 4)),
    ("diff n axis", lambda x: np.diff(x, n=2, axis=0), (4, 2)),
    ("diff n=0", lambda x: np.diff(x, n=0) * x, (3,)),
    ("diff too often", lambda x: np.diff(x, n=4), (3,)),
    ("diff prepend", lambda x, p: np.diff(x, prepend=p), (2, 3), (2, 1)),
    ("diff prepend append number", lambda x, p: np.diff(x, axis=0, prepend=p, append=2.0), (2, 3), ()),
    ("diff append constant array", lambda x: np.diff(x, append=np.ones((2, 2))), (2, 3)),
    ("ediff1d", lambda x: np.ediff1d(x), (2, 3)),
    ("ediff1d ends", lambda x, a, b: np.ediff1d(x, to_begin=a, to_end=b), (4,), (2,), ()),
    ("gradient", lambda x: np.gradient(x), (5,)),
    ("gradient of matrix", lambda x: np.gradient(x), (3, 4)),
    ("gradient spacing", lambda x: np.gradient(x, 0.5, axis=1), (3, 4)),
    ("gradient spacings", lambda x: np.gradient(x, 0.5, np.array([0.0, 1.0, 1.5, 3.0])), (3, 4)),
    ("gradient edge 2", lambda x: np.gradient(x, 0.3, edge_order=2), (5,)),
    ("gradient coordinates", lambda x: np.gradient(x, UNEVEN), (5,)),
    ("gradient coordinates edge 2", lambda x: np.gradient(x, UNEVEN, edge_order=2, axis=0), (5, 2)),
    ("gradient even coordinates", lambda x: np.gradient(x, np.arange(5.0) * 0.5, edge_order=2), (5,)),
    ("gradient axes", lambda x: np.gradient(x, 0.5, 2.0, axis=(2, 0)), (2, 2, 3)),
    ("gradient two", lambda x: np.gradient(x), (2,)),
    ("trapezoid", lambda x: np.trapezoid(x), (2, 4)),
    ("trapezoid dx axis", lambda x: np.trapezoid(x, dx=0.3, axis=0), (4, 2)),
    ("trapezoid x", lambda y, x: np.trapezoid(y, x), (2, 4), (4,)),
    ("trapezoid x axis", lambda y, x: np.trapezoid(y, x, axis=0), (4, 2), (4,)),
    ("trapezoid x like y", lambda y, x: np.trapezoid(y, x, axis=0), (4, 2), (4, 2)),
    # -- convolution
    *((f"convolve {mode} {n} {m}", lambda x, y, mode=mode: np.convolve(x, y, mode), (n,), (m,))
      for mode in ("full", "same", "valid") for n, m in ((5, 3), (5, 2), (2, 5), (3, 6), (4, 4), (1, 3))),
    *((f"correlate {mode} {n} {m}", lambda x, y, mode=mode: np.correlate(x, y, mode), (n,), (m,))
      for mode in ("full", "same", "valid") for n, m in ((5, 3), (5, 2), (2, 5), (3, 6), (4, 4), (1, 3))),
    ("convolve constant", lambda x: np.convolve(x, [1.0, 2.0, -1.0]), (4,)),
    ("correlate constant", lambda x: np.correlate(np.arange(4.0), x), (2,)),
    ("convolve 0-d", lambda x, y: np.convolve(x, y), (3,), ()),
    # -- padding
    ("pad constant", lambda x: np.pad(x, 2), (2, 3)),
    ("pad constant values", lambda x: np.pad(x, ((1, 2), (0, 3)), constant_values=((1.0, 2.0), (3.0, 4.0))), (2, 3)),
    ("pad constant value", lambda x, v: np.pad(x, ((1, 2), (0, 3)), constant_values=v), (2, 3), ()),
    ("pad constant Tensors", lambda x, v, w: np.pad(x, (1, 2), constant_values=(v, w)), (2, 3), (), ()),
    *([("pad dictionary", lambda x: np.pad(x, {-1: (1, 2)}, mode="edge"), (2, 3))] if DICTIONARIES else []),
    ("pad nothing", lambda x: np.pad(x, 0, "mean"), (2, 3)),
    *((f"pad {mode}", lambda x, mode=mode: np.pad(x, ((1, 4), (5, 0)), mode), (2, 3))
      for mode in ("edge", "wrap", "reflect", "symmetric", "mean", "linear_ramp")),
    *((f"pad {mode} odd", lambda x, mode=mode: np.pad(x, ((1, 4), (7, 2)), mode, reflect_type="odd"), (2, 4))
      for mode in ("reflect", "symmetric")),
    ("pad mean length", lambda x: np.pad(x, (2, 1), "mean", stat_length=((1, 2), (2, 9))), (2, 3)),
    ("pad ramp values", lambda x: np.pad(x, (2, 3), "linear_ramp", end_values=(-1.0, 2.0)), (2, 3)),
    ("pad ramp Tensor", lambda x, v: np.pad(x, (2, 3), "linear_ramp", end_values=v), (3,), ()),
    ("pad 0-d", lambda x: np.pad(x, 2), ()),
    # -- sums
    ("nansum", lambda x: np.nansum(holed(x, *H), axis=0), (2, 3)),
    ("nansum where", lambda x: np.nansum(holed(x, *H), where=MASK, initial=2.0, keepdims=True), (2, 3)),
    ("nanprod", lambda x: np.nanprod(holed(x, *H), axis=1), (2, 3)),
    ("nancumsum", lambda x: np.nancumsum(holed(x, *H), axis=1), (2, 3)),
    ("nancumprod", lambda x: np.nancumprod(holed(x, *H)), (2, 3)),
    ("nanmean", lambda x: np.nanmean(holed(x, *H)), (2, 3)),
    ("nanmean axis", lambda x: np.nanmean(holed(x, (0, 1)), axis=1, keepdims=True), (2, 3)),
    ("nanmean where", lambda x: np.nanmean(holed(x, (0, 1)), axis=(0, 1), where=MASK), (2, 3)),
    ("nanmean no NaN", lambda x: np.nanmean(x, axis=0), (2, 3)),
    ("nanvar", lambda x: np.nanvar(holed(x, *H)), (2, 3)),
    ("nanvar axis ddof", lambda x: np.nanvar(holed(x, *H), axis=1, ddof=1, keepdims=True), (2, 3)),
    ("nanvar where correction", lambda x: np.nanvar(holed(x, (0, 2)), where=MASK, correction=1), (2, 3)),
    ("nanstd", lambda x: np.nanstd(holed(x, *H), axis=1), (2, 3)),
    ("nanstd ddof", lambda x: np.nanstd(holed(x, (0, 1)), ddof=1), (2, 3)),
    ("cumulative_sum", lambda x: np.cumulative_sum(x, axis=1), (2, 3)),
    ("cumulative_sum initial", lambda x: np.cumulative_sum(x, axis=-1, include_initial=True), (2, 3)),
    ("cumulative_sum 1-d", lambda x: np.cumulative_sum(x), (3,)),
    ("cumulative_prod", lambda x: np.cumulative_prod(x, axis=0, include_initial=True), (2, 3)),
    ("nan_to_num", lambda x: np.nan_to_num(holed(x, *H)) * x, (2, 3)),
    # -- averages
    ("average", lambda x: np.average(x, axis=1), (2, 3)),
    ("average weights", lambda x, w: np.average(x, weights=w + 5), (2, 3), (2, 3)),
    ("average weights axis", lambda x, w: np.average(x, axis=1, weights=w + 5), (2, 3), (3,)),
    ("average weights axes", lambda x, w: np.average(x, axis=(2, 0), weights=w + 5), (2, 2, 3), (3, 2)),
    ("average constant weights", lambda x: np.average(x, axis=0, weights=[1, 2], keepdims=True), (2, 3)),
    ("average of constants", lambda w: np.average(np.arange(3.0), weights=w + 5), (3,)),
    ("average returned", lambda x, w: np.average(x, axis=-1, weights=w + 5, returned=True), (2, 3), (3,)),
    ("cov", lambda x: np.cov(x), (2, 4)),
    ("cov of one", lambda x: np.cov(x), (4,)),
    ("cov columns", lambda x: np.cov(x, rowvar=False, bias=True), (4, 2)),
    ("cov two", lambda x, y: np.cov(x, y, ddof=0), (2, 4), (4,)),
    ("cov weights", lambda x, w: np.cov(x, aweights=w**2 + 1, fweights=[1, 2, 0, 3]), (2, 4), (4,)),
    ("cov fweights", lambda x: np.cov(x, fweights=[1, 2, 1, 3]), (2, 4)),
    ("corrcoef", lambda x: np.corrcoef(x), (3, 4)),
    ("corrcoef two", lambda x, y: np.corrcoef(x, y), (4,), (4,)),
    ("histogram weights", lambda w: np.histogram(POSITIONS, 3, (0, 1), weights=w)[0] * 2, (6,)),
    ("histogram weights density",
     lambda w: np.histogram(POSITIONS, [0, 0.2, 0.7, 1], weights=w + 3, density=True)[0] * 1, (6,)),
    # -- polynomials
    ("polyval", lambda p, x: np.polyval(p, x), (4,), (2, 3)),
    ("polyval 0-d", lambda p, x: np.polyval(p, x), (3,), ()),
    ("polyval constant", lambda x: np.polyval([1.0, -2.0, 0.5], x), (3,)),
    ("polyadd", lambda p, q: np.polyadd(p, q), (4,), (2,)),
    ("polysub", lambda p, q: np.polysub(p, q), (2,), (4,)),
    ("polymul", lambda p, q: np.polymul(p, q), (3,), (4,)),
    ("polymul constant", lambda p: np.polymul([0.0, 1.0, 2.0], p), (3,)),
    ("polyder", lambda p: np.polyder(p), (4,)),
    ("polyder twice", lambda p: np.polyder(p, 2), (5,)),
    ("polyint", lambda p: np.polyint(p), (3,)),
    ("polyint twice", lambda p, k: np.polyint(p, 2, k), (3,), (2,)),
    ("poly", lambda x: np.poly(x), (3,)),
    ("vander", lambda x: np.vander(x), (3,)),
    ("vander N increasing", lambda x: np.vander(x, 4, increasing=True), (3,)),
    ("vander 1", lambda x: np.vander(x, 1) * x, (2,)),
    # -- products
    ("kron", lambda x, y: np.kron(x, y), (2, 3), (3, 2)),
    ("kron ranks", lambda x, y: np.kron(x, y), (2,), (2, 1, 2)),
    ("kron 0-d", lambda x, y: np.kron(x, y), (), (2, 2)),
    ("cross", lambda x, y: np.cross(x, y), (3,), (3,)),
    ("cross broadcast", lambda x, y: np.cross(x, y), (2, 1, 3), (4, 3)),
    ("cross axes", lambda x, y: np.cross(x, y, axisa=0, axisb=1, axisc=0), (3, 2), (2, 3)),
    ("cross axis", lambda x, y: np.cross(x, y, axis=0), (3, 2), (3, 2)),
    # -- evenly spaced numbers
    ("linspace", lambda a, b: np.linspace(a, b, 5), (), ()),
    ("linspace rows", lambda a, b: np.linspace(a, b, 4, axis=-1), (2, 3), (3,)),
    ("linspace open", lambda a: np.linspace(a, 3.0, 4, endpoint=False), (2,)),
    ("linspace step", lambda a, b: np.linspace(a, b, 3, retstep=True), (), ()),
    ("linspace one", lambda a, b: np.linspace(a, b, 1), (), ()),
    ("logspace", lambda a, b: np.logspace(a, b, 4, base=2.0), (), ()),
    ("logspace base", lambda b: np.logspace(0.0, 1.0, 3, base=b + 3), ()),
    ("geomspace", lambda a, b: np.geomspace(a + 3, b + 4, 4), (), ()),
    ("geomspace start", lambda a: np.geomspace(a + 3, 9.0, 4), ()),
    ("geomspace stop", lambda b: np.geomspace(3.0, b + 4, 4), ()),
    ("geomspace rows", lambda a, b: np.geomspace(a + 3, b + 4, 3, endpoint=False, axis=1), (2,), (2,)),
    ("meshgrid", lambda x, y: np.meshgrid(x, y), (2,), (3,)),
    ("meshgrid ij sparse", lambda x, y: np.meshgrid(x, y, indexing="ij", sparse=True, copy=False), (2,), (3,)),
    ("meshgrid three", lambda x, y: np.meshgrid(x, y, x), (2,), (3,)),
    # -- functions and loops
    ("sinc", lambda x: np.sinc(x), (6,)),
    ("sinc 0-d", lambda x: np.sinc(x), ()),
    ("apply_along_axis", lambda x: np.apply_along_axis(lambda v: np.sum(v * v), 0, x), (3, 2)),
    ("apply_along_axis rows", lambda x: np.apply_along_axis(lambda v: np.outer(v, v), 1, x), (2, 3, 2)),
    ("apply_over_axes", lambda x: np.apply_over_axes(np.sum, x, [0, -1]), (2, 3, 2)),
    ("real_if_close", lambda x: np.real_if_close(x) * 2, (3,)),
]  # fmt: skip

REAL: list[tuple[Any, ...]] = [
    ("polydiv short", lambda p, q: np.polydiv(p, q)[1] * 1, (2,), (3,)),
    ("polydiv", lambda p, q: np.polydiv(p, q), (5,), (3,)),
    ("gradient in coordinates", lambda y, x: np.gradient(y, np.sort(x) + 2 * np.arange(5)), (5,), (5,)),
    ("gradient in coordinates edge 2",
     lambda y, x: np.gradient(y, np.sort(x) + 2 * np.arange(5), edge_order=2), (5,), (5,)),
    ("gradient in spacing", lambda y, d: np.gradient(y, d, edge_order=2), (5,), ()),
    ("unwrap", lambda x: np.unwrap(9 * x), (2, 6)),
    ("unwrap axis period", lambda x: np.unwrap(x, axis=0, period=0.7), (6, 2)),
    ("unwrap discont", lambda x: np.unwrap(9 * x, discont=4.0), (7,)),
    ("interp", lambda x, y: np.interp(x, KNOTS, y), (2, 3), (5,)),
    ("interp outside", lambda x, y: np.interp(3 * x, KNOTS, y), (6,), (5,)),
    ("interp left right", lambda x, y: np.interp(3 * x, KNOTS, y, left=-1.0, right=2.0), (6,), (5,)),
    ("interp Tensor ends", lambda x, y, z: np.interp(3 * x, KNOTS, y, left=z, right=z * z), (6,), (5,), ()),
    ("interp period", lambda x, y: np.interp(3 * x, KNOTS, y, period=4.5), (6,), (5,)),
    ("interp knots", lambda x, k, y: np.interp(3 * x, KNOTS + 0.1 * k, y), (6,), (5,), (5,)),
    ("interp knots left right", lambda x, k, y: np.interp(3 * x, KNOTS + 0.1 * k, y, -1.0, 2.0), (6,), (5,), (5,)),
    ("interp knots complex", lambda x, k: np.interp(x, KNOTS + 0.1 * k, np.exp(1j * KNOTS)), (4,), (5,)),
    ("interp knots of numbers", lambda k: np.interp([0.3, 0.7], KNOTS + 0.1 * k, np.cos(KNOTS)), (5,)),
    ("interp knots and period", lambda x, k, y, p: np.interp(2.7 * x, KNOTS + 0.1 * k, y, period=p + 4.5), (6,), (5,),
     (5,), ()),
    ("unwrap period", lambda x, p: np.unwrap(4 * x, period=p + 0.7), (2, 6), ()),
    ("unwrap period discont", lambda x, p: np.unwrap(4 * x, axis=0, period=p + 0.7, discont=p + 1.0), (6, 2), ()),
    ("pad function", lambda x: np.pad(x, ((1, 2), (2, 1)), squares), (2, 3)),
    ("pad function options", lambda x, v: np.pad(x, 2, squares, scale=v), (3,), ()),
    ("interp number", lambda y: np.interp(0.3, KNOTS, y), (5,)),
    ("interp 0-d", lambda x: np.interp(x, KNOTS, np.cos(KNOTS)), ()),
    ("interp one knot", lambda x, y: np.interp(x, [0.3], y), (4,), (1,)),
    ("interp complex values", lambda x: np.interp(x, KNOTS, np.exp(1j * KNOTS)), (4,)),
    ("bincount", lambda w: np.bincount([0, 2, 2, 5], w), (4,)),
    ("bincount minlength", lambda w: np.bincount([0, 2, 2], weights=w, minlength=5), (3,)),
    ("nanmax", lambda x: np.nanmax(holed(x, *H), axis=0, initial=-9.0), (2, 3)),
    ("nanmax axis", lambda x: np.nanmax(holed(x, *H), axis=1, keepdims=True), (2, 3)),
    ("nanmin", lambda x: np.nanmin(holed(x, *H)), (2, 3)),
    ("nanmin where", lambda x: np.nanmin(holed(x, *H), axis=1, where=MASK, initial=5.0), (2, 3)),
    *((f"pad {mode}", lambda x, mode=mode: np.pad(x, ((1, 4), (5, 0)), mode), (2, 3))
      for mode in ("maximum", "minimum")),
    ("pad median", lambda x: np.pad(x, ((0, 0), (2, 1)), "median"), (2, 4)),
    ("pad maximum length", lambda x: np.pad(x, (2, 1), "maximum", stat_length=2), (2, 3)),
    ("i0", lambda x: np.i0(x), (2, 3)),
    ("histogram edges", lambda x: np.histogram(x, 4)[1] * x[0], (6,)),
    ("histogram density", lambda x: np.histogram(x, 3, density=True)[0] * x[0], (6,)),
    ("histogram weights density", lambda w: np.histogram(X2[0], 3, density=True, weights=w + 3)[0], (6,)),
    ("histogram2d", lambda w: np.histogram2d(*X2, 3, weights=w)[0], (6,)),
    ("histogram2d edges", lambda w: np.histogram2d(*X2, [EDGES, 2], weights=w, range=[[-1, 1], [-2, 2]])[0], (6,)),
    ("histogram2d same edges", lambda w: np.histogram2d(*X2, EDGES, weights=w, density=True)[0], (6,)),
    ("histogram2d range density", lambda w: np.histogram2d(*X2, 2, [[-1, 1], [-1, 1]], True, w + 3)[0], (6,)),
    ("histogramdd", lambda w: np.histogramdd(X3, (2, 3, 2), weights=w)[0], (6,)),
    ("histogramdd list", lambda w: np.histogramdd(list(X3.T), 2, weights=w, density=True)[0], (6,)),
    ("histogram2d data", lambda x, y, w: [np.histogram2d(x, y, 2, density=True, weights=w + 3)[0], *edges_of(x, y)],
     (6,), (6,), (6,)),
    ("histogramdd data", lambda x: np.histogramdd(x, 2)[1], (6, 3)),
    ("histogramdd density", lambda x: np.histogramdd(x, [1, 2, 2], density=True)[0], (6, 3)),
    ("geomspace negative", lambda a, b: np.geomspace(a - 3, b - 4, 4), (), ()),
]  # fmt: skip

EMPTY: list[tuple[Any, ...]] = [
    ("diff", lambda x: np.diff(x), (0,)),
    ("diff other axis", lambda x: np.diff(x, axis=1), (0, 3)),
    ("diff one", lambda x: np.diff(x), (1,)),
    ("ediff1d", lambda x: np.ediff1d(x), (1,)),
    ("trapezoid", lambda x: np.trapezoid(x), (0, 3)),
    ("interp", lambda x, y: np.interp(x, KNOTS, y), (0,), (5,)),
    ("unwrap", lambda x: np.unwrap(x), (0,)),
    ("pad", lambda x: np.pad(x, 1), (0,)),
    ("pad edge other axis", lambda x: np.pad(x, ((0, 0), (1, 2)), "edge"), (0, 3)),
    ("nansum", lambda x: np.nansum(x), (0,)),
    ("nan_to_num", lambda x: np.nan_to_num(x), (0,)),
    ("sinc", lambda x: np.sinc(x), (0,)),
    ("i0", lambda x: np.i0(x), (0,)),
    ("polyval", lambda p, x: np.polyval(p, x), (2,), (0,)),
    ("vander", lambda x: np.vander(x), (0,)),
    ("kron", lambda x, y: np.kron(x, y), (0,), (2,)),
    ("cross", lambda x, y: np.cross(x, y), (0, 3), (3,)),
    ("linspace none", lambda a, b: np.linspace(a, b, 0), (), ()),
    ("bincount", lambda w: np.bincount(np.zeros(0, int), w, 2), (0,)),
    ("meshgrid", lambda x, y: np.meshgrid(x, y), (0,), (2,)),
]  # fmt: skip

OUT: list[tuple[Any, ...]] = [
    ("nanmean", lambda x, out: np.nanmean(x, axis=0, out=out), (3,)),
    ("nanstd", lambda x, out: np.nanstd(x, axis=0, out=out), (3,)),
    ("nansum", lambda x, out: np.nansum(x, axis=0, out=out), (3,)),
    ("nanmax", lambda x, out: np.nanmax(x, axis=0, out=out), (3,)),
    ("nancumsum", lambda x, out: np.nancumsum(x, axis=0, out=out), (2, 3)),
    ("cumulative_sum", lambda x, out: np.cumulative_sum(x, axis=0, out=out), (2, 3)),
]  # fmt: skip


def there(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows whose functions this NumPy has."""
    return [row for row in rows if not row[0].startswith("cumulative") or hasattr(np, "cumulative_sum")]


def table(rows: list[tuple[Any, ...]]) -> Any:
    return pytest.mark.parametrize("case", there(rows), ids=[row[0] for row in there(rows)])


def arguments(case: tuple[Any, ...], dtype: Any = float) -> list[Any]:
    return [spaced(shape, (case[0], i), dtype=dtype)[()] for i, shape in enumerate(case[2:])]


@table(SMOOTH + REAL)
def test_real(case: Any) -> None:
    check(case[1], arguments(case), seed=case[0])


@table([row for row in SMOOTH if row[0] not in ("cov weights", "real_if_close")])
def test_complex(case: Any) -> None:
    check(case[1], arguments(case, complex), seed=case[0])


@table(EMPTY)
def test_empty(case: Any) -> None:
    check(case[1], arguments(case), order=1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "g"])
@table(SMOOTH + REAL)
def test_dtypes(case: Any, dtype: str) -> None:
    narrow = dtype == "g" and case[0].startswith(
        ("interp", "bincount", "histogram2d", "histogramdd")
    )  # these refuse longdouble, in NumPy
    args = arguments(case, float if narrow else dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        check_dtypes(case[1], args)


@table(OUT)
def test_out(case: Any) -> None:
    check_out(*case)


# -- kinks, NaN, infinities and zeros ------------------------------------------------------------------------------
KINKS = np.array([0.0, 1.0, 2.0])
RISE = np.array([0.0, 1.0, 3.0])
CORNERS: list[tuple[Any, ...]] = [
    ("interp at knot", lambda x: np.interp(x, KINKS, RISE), 1.0, 1.5),
    ("interp at ends", lambda x: np.sum(np.interp(x, KINKS, RISE)), [0.0, 2.0], [0.5, 1]),
    ("interp outside", lambda x: np.sum(np.interp(x, KINKS, RISE)), [-1.0, 3.0, INF], [0, 0, 0]),
    ("interp jump at the end", lambda x: np.interp(x, KINKS, RISE, left=7.0), 0.0, 0.5),
    ("interp NaN", lambda x: np.interp(x, KINKS, RISE), NAN, 0),
    ("interp period", lambda x: np.interp(x, KINKS, RISE, period=3.0), 4.0, 1.5),
    ("interp period across", lambda x: np.interp(x, KINKS, RISE, period=3.0), 2.5, -3),
    ("interp knot under x", lambda k: np.interp(1.0, k, RISE), KINKS, [0, -1.5, 0]),
    ("interp first knot under x", lambda k: np.interp(0.0, k, RISE), KINKS, [-0.5, 0, 0]),
    ("interp knots inside of x", lambda k: np.interp(9.0, k, RISE), KINKS, [0, 0, 0]),
    ("interp period grows", lambda p: np.interp(0 * p + 4.0, KINKS, RISE, period=p), 3.5, -1),
    ("interp values at knot", lambda y: np.interp(1.0, KINKS, y), RISE, [0, 1, 0]),
    ("interp values outside", lambda y: np.interp(9.0, KINKS, y), RISE, [0, 0, 1]),
    ("interp values beyond right=", lambda y: np.interp(9.0, KINKS, y, right=5.0), RISE, [0, 0, 0]),
    ("interp values of NaN", lambda y: np.interp(NAN, KINKS, y), RISE, [0, 0, 0]),
    ("interp two at a knot", lambda x: np.interp(x, [0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 5.0, 8.0]), 1.0, 2.0),
    ("nansum", lambda x: np.nansum(x), [1.0, NAN], [1, 0]),
    ("nansum inf", lambda x: np.nansum(x), [INF, NAN], [1, 0]),
    ("nanprod zero", lambda x: np.nanprod(x), [0.0, NAN, 3.0], [3, 0, 0]),
    ("nanmean", lambda x: np.nanmean(x), [1.0, NAN, 3.0], [0.5, 0, 0.5]),
    ("nanmean all NaN", lambda x: np.nanmean(x), [NAN, NAN], [0, 0]),
    ("nanmax ties", lambda x: np.nanmax(x), [2.0, NAN, 2.0, 0.0], [0.5, 0, 0.5, 0]),
    ("nanmax of zero", lambda x: np.nanmax(x), [0.0, NAN], [1, 0]),
    ("nanmax all NaN", lambda x: np.nanmax(x), [NAN, NAN], [0, 0]),
    ("nanmin inf", lambda x: np.nanmin(x), [NAN, INF, INF], [0, 0.5, 0.5]),
    ("nanvar", lambda x: np.nanvar(x), [1.0, NAN, 3.0], [-1, 0, 1]),
    ("nanstd constant", lambda x: np.nanstd(x), [2.0, NAN, 2.0], [0, 0, 0]),
    ("sqrt nanstd constant", lambda x: np.sqrt(np.nanstd(x)), [2.0, NAN, 2.0], [0, 0, 0]),
    ("nan_to_num", lambda x: np.sum(np.nan_to_num(x)), [NAN, INF, 1.0], [0, 0, 1]),
    ("nan_to_num chosen", lambda x: np.sum(np.nan_to_num(x, nan=1, posinf=2, neginf=3) ** 2), [NAN, -INF, 1.0],
     [0, 0, 2]),
    ("nan_to_num of log", lambda x: np.sum(np.nan_to_num(np.log(x))), [0.0, 1.0], [0, 1]),
    ("unwrap jump", lambda x: np.sum(np.unwrap(x) * np.array([1.0, 2.0])), [0.0, 3 * np.pi], [1, 2]),
    ("sinc(0)", lambda x: np.sinc(x), 0.0, 0),
    ("average zero weight", lambda x: np.average(x, weights=[0.0, 1.0]), [3.0, 1.0], [0, 1]),
    ("diff n=0", lambda x: np.sum(np.diff(x, n=0) ** 2), [1.0, 2.0], [2, 4]),
    ("pad maximum ties", lambda x: np.pad(x, (1, 0), "maximum")[0], [2.0, 2.0], [0.5, 0.5]),
    ("pad under sqrt", lambda x: np.sum(np.sqrt(np.pad(x, 1))), [4.0], [0.25]),
    ("histogram falls outside", lambda w: np.sum(np.histogram([0.0, 1.0, 2.0], [0, 1], weights=w)[0]), [1.0, 1.0, 1.0],
     [1, 1, 0]),
    ("corrcoef of one", lambda x: np.corrcoef(x), [1.0, 2.0, 4.0], [0, 0, 0]),
    ("polyval at 0", lambda x: np.polyval([1.0, 0.0, 2.0, 0.0], x), 0.0, 2),
    ("real_if_close", lambda x: np.real_if_close(x + 0j) ** 2, 3.0, 6),
]  # fmt: skip


WEIGHED = np.array([0.3, -1.0, 0.7])
MIXED = {
    "x": lambda x: (x, KNOTS, np.cos(KNOTS)),
    "knots": lambda k: (np.array([0.3, 0.7, 1.9]), KNOTS + 0.1 * k, np.cos(KNOTS)),
    "x and knots": lambda x: (x, KNOTS + 0.1 * x[0], np.cos(KNOTS)),
}


@pytest.mark.parametrize("name", MIXED)
def test_values_at_knots_then_where(name: str) -> None:
    """The derivative in the values, differentiated in the points or in the knots alone."""
    x = spaced((5 if name == "knots" else 3,), name, 0.1, 2.0)

    def slope(x: Any) -> Any:
        at, knots, values = MIXED[name](x)
        return cr.grad(lambda fp: np.sum(WEIGHED * np.interp(at, knots, fp)))(values)

    ct, direction = spaced((5,), "ct"), spaced(x.shape, "direction")
    along = difference(slope, [x], 0, direction, 1e-5)
    np.testing.assert_allclose(cr.jvp(slope, (x,), (direction,))[1], along, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(dot(cr.vjp(slope, x)[1](ct)[0], direction), dot(ct, along), rtol=1e-6, atol=1e-8)


@table(CORNERS)
@pytest.mark.filterwarnings("ignore:All-NaN", "ignore:Mean of empty slice")
def test_corners(case: Any) -> None:
    _, f, x, gradient = case
    x = np.array(x)[()]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(cr.grad(f)(x), gradient, rtol=0, atol=1e-15)
        pushed = [cr.jvp(f, (x,), (unit.reshape(x.shape)[()],))[1] for unit in np.eye(x.size)]
    np.testing.assert_allclose(np.reshape(pushed, x.shape), gradient, rtol=0, atol=1e-15)


@pytest.mark.parametrize("x", [0.0, 1e-9, 1e-3, 0.3, 0.7, 1.0, 2.0, 3.7, 25.5])
def test_sinc_is_exact_everywhere(x: float) -> None:
    """To third order, relative to the size of the derivatives: at 0 and where the closed form cancels."""
    f = np.sinc
    for order in range(1, 4):
        f = cr.grad(f)
        with mpmath.workdps(50):
            exact = mpmath.diff(lambda t: mpmath.sinc(mpmath.pi * t), mpmath.mpf(x), order, h=mpmath.mpf(10) ** -8)
        np.testing.assert_allclose(f(x), float(exact), rtol=1e-12, atol=1e-14 if x else 1e-12)


@pytest.mark.parametrize("x", [0.0, 1e-8, 0.5, 8.0, -3.0, 60.0, 600.0])
def test_derivatives_of_i0_are_bessel_functions(x: float) -> None:
    first, second = float(mpmath.besseli(1, x)), float((mpmath.besseli(0, x) + mpmath.besseli(2, x)) / 2)
    np.testing.assert_allclose(cr.grad(np.i0)(x), first, rtol=1e-13)
    np.testing.assert_allclose(cr.grad(cr.grad(np.i0))(x), second, rtol=1e-13)


@pytest.mark.parametrize("mode", ["constant", "edge", "wrap", "reflect", "symmetric", "mean", "median", "maximum",
                                  "minimum", "linear_ramp"])  # fmt: skip
def test_pad_has_numpys_value(mode: str) -> None:
    """Widths of every size against lengths of every size, both reflections."""
    for n in (1, 2, 3, 5):
        for before in range(8):
            for odd in [{}, {"reflect_type": "odd"}] if mode in ("reflect", "symmetric") else [{}]:
                x = spaced((n,), (mode, n))
                check_value(lambda x, b=before, o=odd: np.pad(x, (b, 3), mode, **o), [x])


def test_pad_empty() -> None:
    x = np.array([1.0, 2.0])
    value, pullback = cr.vjp(lambda x: np.pad(x, 1, "empty")[1:3], x)
    np.testing.assert_array_equal(value, x)
    np.testing.assert_array_equal(pullback(np.array([3.0, 4.0]))[0], [3, 4])


def test_counts_are_plain() -> None:
    t = cr.Tensor([1.0, 2.0, 4.0])
    counts, edges = np.histogram(t, 3)
    assert type(counts) is np.ndarray
    assert isinstance(edges, cr.Tensor)
    assert type(np.histogram(t, [0, 2, 4])[1]) is np.ndarray


def test_nan_to_num_in_place() -> None:
    x = cr.Tensor([1.0, NAN]) * 2
    assert np.nan_to_num(x, copy=False) is x
    assert x.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda t: np.histogram(t, "auto"), cr.errors.UnsupportedFunctionError, r"np\.histogram.*auto"),
        (lambda t: np.diff(t, n=-1), ValueError, "non-negative"),
        (lambda t: np.gradient(t, edge_order=3), ValueError, "edge_order"),
        (lambda t: np.gradient(t[:1]), ValueError, "too small"),
        (lambda t: np.gradient(t, 1.0, 2.0), TypeError, "number of arguments"),
        (lambda t: np.gradient(t, [0.0, 1.0]), ValueError, "distances must match"),
        (lambda t: np.average(t, weights=t * 0), ZeroDivisionError, "sum to zero"),
        (lambda t: np.average(t, weights=[1.0, 2.0]), TypeError, "Axis must be specified"),
        (lambda t: np.cov(t, fweights=[1.5, 1, 1]), TypeError, "integer"),
        (lambda t: np.correlate(t[0], t), ValueError, "depth"),
        (lambda t: np.cov(t, aweights=[-1.5, 1, 1]), ValueError, "negative"),
        (lambda t: np.cross(t, np.ones(4)), ValueError, "incompatible dimensions"),
        (lambda t: np.interp(t, [0.0, 1.0], [0.0, 1.0], period=0), ValueError, "non-zero"),
        (lambda t: np.linspace(t, 1.0, -1), ValueError, "non-negative"),
        (lambda t: np.vander(np.stack([t, t])), ValueError, "one-dimensional"),
        (lambda t: np.pad(t, -1), ValueError, "negative"),
        (lambda t: np.pad(t, 1, "mean", bad=1), ValueError, "unsupported keyword"),
    ],
)
def test_refusals(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(cr.Tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("options", "n"),
    [({}, 1), ({"ddof": 2}, 2), ({"ddof": 3}, 2), ({"aweights": np.array([1.0, 0.0])}, 2), ({"fweights": [1, 0]}, 2)],
)
@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:divide by zero", "ignore:invalid value")
def test_a_covariance_of_too_few_observations_has_no_derivative(options: Any, n: int) -> None:
    """NaN, as that of a variance, in both modes; other variables do not enter."""
    x = spaced((2, n), "few")
    forward, reverse = (cr.jacobian(lambda x: np.cov(x, **options), mode=mode)(x) for mode in ("fwd", "rev"))
    np.testing.assert_array_equal(forward, reverse)
    assert np.isnan(forward[0, 0, 0, 0])
    assert not forward[0, 0, 1].any()
