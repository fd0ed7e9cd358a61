"""Every public name of NumPy is accounted for, and does what is declared of it.

NumPy itself says what there is: its namespaces, and the methods of ndarray.  A name fails here that has no rule, is not
declared, or, called with a Tensor, does something else than what is declared of it.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.polynomial
import pytest

import chainrule as cr
from chainrule.rules import Rule, functions, reasons, undispatched

DISPATCHED = (np.ufunc, type(np.sum))
POLYNOMIALS = ["polynomial", "chebyshev", "legendre", "hermite", "hermite_e", "laguerre"]
NAMESPACES: dict[str, Any] = {
    "np": np, "np.linalg": np.linalg, "np.fft": np.fft, "np.emath": np.emath, "np.lib": np.lib,
    "np.lib.stride_tricks": np.lib.stride_tricks, "np.lib.array_utils": np.lib.array_utils,
    "np.polynomial": np.polynomial, "np.polynomial.polyutils": np.polynomial.polyutils,
}  # fmt: skip
NAMESPACES |= {f"np.polynomial.{name}": getattr(np.polynomial, name) for name in POLYNOMIALS}
MODULES = {
    "char": "strings", "strings": "strings", "ctypeslib": "C", "core": "private", "dtypes": "classes of dtypes",
    "exceptions": "classes of errors", "f2py": "Fortran", "format": "files", "helper": "np.fft, once",
    "introspect": "settings", "linalg": "np.linalg, once",
    "ma": "masked arrays: pass t.data", "mixins": "a base class", "npyio": "files", "random": "draws plain numbers",
    "rec": "record arrays", "scimath": "np.emath", "testing": "looks at values", "typing": "types",
}  # fmt: skip

# These write and return nothing: tests/test_inplace.py.
IN_PLACE_METHODS = ["fill", "partition", "put", "resize", "sort"]


def public(name: str) -> Iterator[tuple[str, Any]]:
    """The callables, classes and callable-like objects of a namespace."""
    module = NAMESPACES[name]
    for attribute in sorted(dir(module) if module is np else getattr(module, "__all__", dir(module))):
        if attribute.startswith("_") or attribute in ("ABCPolyBase", "array_function_dispatch"):
            continue
        thing = getattr(module, attribute)
        if isinstance(thing, types.ModuleType):
            known = attribute in MODULES or any(thing is namespace for namespace in NAMESPACES.values())
            assert known or not thing.__name__.startswith("numpy"), f"nothing is said of the module {name}.{attribute}"
        elif callable(thing) or type(thing).__module__.startswith("numpy.lib"):  # np.r_ and its like
            yield f"{name}.{attribute}", thing


def declared(name: str, thing: Any) -> bool:
    try:
        return thing in functions or thing in reasons or name in undispatched
    except TypeError:  # an object that cannot be hashed
        return name in undispatched


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_function_is_declared(namespace: str) -> None:
    missing = [name for name, thing in public(namespace) if not declared(name, thing)]
    assert not missing, "neither a rule nor a declaration: see docs/adding_an_op.md and rules/declared.py"


@pytest.mark.parametrize("module", [np.strings, np.char])
def test_functions_of_strings_refuse(module: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of np.char.chararray, since NumPy 2.5
        asking = [getattr(module, name) for name in module.__all__]
    asking = [function for function in asking if isinstance(function, type(np.sum)) and function not in functions]
    for function in asking:
        required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        with pytest.raises(cr.errors.UnsupportedFunctionError, match="strings"):
            function(*[cr.Tensor([1.0])] * len(required))


def test_nothing_is_declared_twice() -> None:
    """A function that NumPy asks about is declared where it is asked about."""
    for namespace in NAMESPACES:
        for name, thing in public(namespace):
            if isinstance(thing, DISPATCHED) and not name.startswith("np.polynomial."):  # some ask since NumPy 2.4
                assert name not in undispatched, f"{name} does ask"


def test_what_is_missing_has_no_derivative() -> None:
    """Of NumPy's functions none is declared not implemented, but those of strings."""
    for namespace in NAMESPACES:
        for name, thing in public(namespace):
            if isinstance(thing, DISPATCHED):
                assert thing not in reasons or thing in functions, f"{name}: {reasons[thing]}"


# -- calls -----------------------------------------------------------------------------------------------------------
MATRIX = np.array([[2.0, 0.5, 0.25], [0.5, 1.5, 0.125], [0.25, 0.125, 1.0]])
SECOND = np.array([0, 2, 1])


def written(function: Any, t: Any, *args: Any) -> Any:
    """What a function that writes to its first argument makes of it."""
    y = t * 1
    assert function(y, *args) is None
    return y


# How to call what cannot be called with one square matrix; ufuncs get as many as they take.
CALLS: dict[str, Callable[[Any], Any]] = {
    "np.append": lambda t: np.append(t, t),
    "np.apply_along_axis": lambda t: np.apply_along_axis(np.sum, 0, t),
    "np.apply_over_axes": lambda t: np.apply_over_axes(np.sum, t, 0),
    "np.array_split": lambda t: np.array_split(t, 2),
    "np.astype": lambda t: np.astype(t, np.float32),
    "np.bincount": lambda t: np.bincount(SECOND, t[0]),
    "np.broadcast_to": lambda t: np.broadcast_to(t, (2, 3, 3)),
    "np.choose": lambda t: np.choose(SECOND, t),
    "np.copyto": lambda t: written(np.copyto, t, t[0] * 2),
    "np.fill_diagonal": lambda t: written(np.fill_diagonal, t, t[0, 1]),
    "np.place": lambda t: written(np.place, t, MATRIX > 1, t[0]),
    "np.put": lambda t: written(np.put, t, SECOND, t[0]),
    "np.put_along_axis": lambda t: written(np.put_along_axis, t, SECOND[None], t[0] * 2, 0),
    "np.putmask": lambda t: written(np.putmask, t, MATRIX > 1, t * 2),
    "np.clip": lambda t: np.clip(t, 0.2, 1.2),
    "np.compress": lambda t: np.compress([True, False, True], t, 0),
    "np.convolve": lambda t: np.convolve(t[0], t[1]),
    "np.correlate": lambda t: np.correlate(t[0], t[1]),
    "np.cross": lambda t: np.cross(t, t[0]),
    "np.cumulative_prod": lambda t: np.cumulative_prod(t, axis=0),
    "np.cumulative_sum": lambda t: np.cumulative_sum(t, axis=0),
    "np.delete": lambda t: np.delete(t, 0, 0),
    "np.dot": lambda t: np.dot(t, t),
    "np.dsplit": lambda t: np.dsplit(t[np.newaxis], 3),
    "np.einsum": lambda t: np.einsum("ij,jk", t, t),
    "np.emath.logn": lambda t: np.emath.logn(2.0, t),
    "np.emath.power": lambda t: np.emath.power(t, 3),
    "np.expand_dims": lambda t: np.expand_dims(t, 0),
    "np.extract": lambda t: np.extract(np.eye(3) > 0, t),
    "np.full_like": lambda t: np.full_like(t, t[0, 0]),
    "np.geomspace": lambda t: np.geomspace(t[0, 0], t[1, 1]),
    "np.histogram": lambda t: np.histogram(t, 3)[1:],
    "np.histogram2d": lambda t: np.histogram2d(t[0], t[1], 2),
    "np.hsplit": lambda t: np.hsplit(t, 3),
    "np.inner": lambda t: np.inner(t, t),
    "np.insert": lambda t: np.insert(t, 1, t[0], 0),
    "np.interp": lambda t: np.interp(t, t[0, ::-1], t[0]),
    "np.intersect1d": lambda t: np.intersect1d(t, t[0]),
    "np.kron": lambda t: np.kron(t, t),
    "np.ldexp": lambda t: np.ldexp(t, 3),
    "np.linalg.cross": lambda t: np.linalg.cross(t, t[::-1]),
    "np.linalg.lstsq": lambda t: np.linalg.lstsq(t, t[0]),
    "np.linalg.matmul": lambda t: np.linalg.matmul(t, t),
    "np.linalg.matrix_power": lambda t: np.linalg.matrix_power(t, 3),
    "np.linalg.multi_dot": lambda t: np.linalg.multi_dot([t, t]),
    "np.linalg.outer": lambda t: np.linalg.outer(t[0], t[1]),
    "np.linalg.solve": lambda t: np.linalg.solve(t, t[0]),
    "np.linalg.tensordot": lambda t: np.linalg.tensordot(t, t[::-1]),
    "np.linalg.tensorinv": lambda t: np.linalg.tensorinv(t, 1),
    "np.linalg.tensorsolve": lambda t: np.linalg.tensorsolve(t, t[0]),
    "np.linalg.vecdot": lambda t: np.linalg.vecdot(t, t),
    "np.linspace": lambda t: np.linspace(t, t[0]),
    "np.logspace": lambda t: np.logspace(t, t[0]),
    "np.moveaxis": lambda t: np.moveaxis(t, 0, 1),
    "np.nanpercentile": lambda t: np.nanpercentile(t, 30),
    "np.nanquantile": lambda t: np.nanquantile(t, 0.3),
    "np.outer": lambda t: np.outer(t, t),
    "np.pad": lambda t: np.pad(t, 1),
    "np.partition": lambda t: np.partition(t, 1),
    "np.percentile": lambda t: np.percentile(t, 30),
    "np.piecewise": lambda t: np.piecewise(t, [t > 1], [np.sin, np.cos]),
    "np.polyadd": lambda t: np.polyadd(t[0], t[1]),
    "np.polyder": lambda t: np.polyder(t[0]),
    "np.polydiv": lambda t: np.polydiv(t[0], t[1, :2]),
    "np.polyfit": lambda t: np.polyfit(t[0], t[1], 1),
    "np.polyint": lambda t: np.polyint(t[0]),
    "np.polymul": lambda t: np.polymul(t[0], t[1]),
    "np.polysub": lambda t: np.polysub(t[0], t[1]),
    "np.polyval": lambda t: np.polyval(t[0], t),
    "np.quantile": lambda t: np.quantile(t, 0.3),
    "np.repeat": lambda t: np.repeat(t, 2),
    "np.reshape": lambda t: np.reshape(t, 9),
    "np.resize": lambda t: np.resize(t, 4),
    "np.roll": lambda t: np.roll(t, 1),
    "np.rollaxis": lambda t: np.rollaxis(t, 1),
    "np.roots": lambda t: np.roots(t[0]),
    "np.select": lambda t: np.select([t > 1], [t]),
    "np.setdiff1d": lambda t: np.setdiff1d(t, t[0]),
    "np.setxor1d": lambda t: np.setxor1d(t, t[0]),
    "np.lib.stride_tricks.sliding_window_view": lambda t: np.lib.stride_tricks.sliding_window_view(t, 2, 0),
    "np.split": lambda t: np.split(t, 3),
    "np.swapaxes": lambda t: np.swapaxes(t, 0, 1),
    "np.take": lambda t: np.take(t, 1),
    "np.take_along_axis": lambda t: np.take_along_axis(t, SECOND[np.newaxis], 0),
    "np.tensordot": lambda t: np.tensordot(t, t[::-1]),
    "np.tile": lambda t: np.tile(t, 2),
    "np.trim_zeros": lambda t: np.trim_zeros(np.concatenate([[0.0], t[0]])),
    "np.union1d": lambda t: np.union1d(t, t),
    "np.vander": lambda t: np.vander(t[0]),
    "np.vdot": lambda t: np.vdot(t, t),
    "np.vsplit": lambda t: np.vsplit(t, 3),
    "np.where": lambda t: np.where(t > 1, t, 0.0),
    # without a derivative
    "np.allclose": lambda t: np.allclose(t, t),
    "np.argpartition": lambda t: np.argpartition(t, 1),
    "np.array_equal": lambda t: np.array_equal(t, t),
    "np.array_equiv": lambda t: np.array_equiv(t, t),
    "np.can_cast": lambda t: np.can_cast(t.dtype, float),
    "np.digitize": lambda t: np.digitize(t, t[0, ::-1]),
    "np.einsum_path": lambda t: np.einsum_path("ij,jk", t, t),
    "np.in1d": lambda t: np.isin(t, t),
    "np.isclose": lambda t: np.isclose(t, t),
    "np.isin": lambda t: np.isin(t, t),
    "np.ix_": lambda t: np.ix_(t[0] > 1, t[1] > 1),
    "np.may_share_memory": lambda t: np.may_share_memory(t, np.ones(3)),
    "np.save": lambda t: np.save("t.npy", t),
    "np.savetxt": lambda t: np.savetxt("t.txt", t),
    "np.savez": lambda t: np.savez("t.npz", t),
    "np.savez_compressed": lambda t: np.savez_compressed("t.npz", t),
    "np.searchsorted": lambda t: np.searchsorted(t[0, ::-1], t),
    "np.shares_memory": lambda t: np.shares_memory(t, np.ones(3)),
}  # fmt: skip
FOR_INTEGERS_OR_DATES = [
    name for name, thing in public("np") if isinstance(thing, DISPATCHED) and reasons.get(thing, "").startswith("For ")
]


def asked() -> Iterator[tuple[str, Any]]:
    """What NumPy asks Tensors about and a rule or declaration answers, but for what refuses them."""
    seen: set[Any] = set()
    for namespace in NAMESPACES:
        for name, thing in public(namespace):
            if isinstance(thing, DISPATCHED) and thing in functions and thing not in seen:
                seen.add(thing)
                if name not in FOR_INTEGERS_OR_DATES:
                    yield name, thing


ASKED = dict(asked())


def holds_tensor(result: Any) -> bool:
    if isinstance(result, tuple | list):
        return any(map(holds_tensor, result))
    if isinstance(result, np.ndarray) and result.dtype == object:
        return any(isinstance(item, cr.Tensor) for item in result.flat)
    return isinstance(result, cr.Tensor) or any(isinstance(c, cr.Tensor) for c in getattr(result, "coef", ()))


def numbers(result: Any) -> list[Any]:
    """The plain arrays in a result."""
    if isinstance(result, tuple | list):
        return [array for part in result for array in numbers(part)]
    if isinstance(result, np.ndarray) and result.dtype == object:
        items = [item.data if isinstance(item, cr.Tensor) else item for item in result.flat]
        return [np.array(items).reshape(result.shape)]
    return [result.data if isinstance(result, cr.Tensor) else result]


def call(function: Any, matrix: Any) -> Any:
    arguments = function.nin if isinstance(function, np.ufunc) else 1
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", DeprecationWarning)
        return function(*[matrix] * arguments)


@pytest.mark.parametrize("name", ASKED)
def test_calls(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a Tensor: a Tensor, or, of what is declared to have no derivative, none; and NumPy's value."""
    monkeypatch.chdir(tmp_path)
    function = ASKED[name]
    found = functions[function]
    plainly = found.kind == "nondifferentiable" if isinstance(found, Rule) else function in reasons
    run = CALLS.get(name, lambda t: call(function, t))
    t = cr.Tensor(MATRIX)
    result = run(t)
    assert holds_tensor(result) is not plainly
    if "empty" in name:
        return
    values, expected = numbers(result), numbers(run(MATRIX))
    assert len(values) == len(expected)
    for value, desired in zip(values, expected, strict=True):
        assert type(value) is type(desired) or not np.ndim(desired)
        np.testing.assert_array_equal(value, desired)


@pytest.mark.parametrize("name", FOR_INTEGERS_OR_DATES)
def test_functions_for_integers_and_dates_refuse_as_numpy_does(name: str) -> None:
    function: Any = getattr(np, name.removeprefix("np."))
    arguments = function.nin if isinstance(function, np.ufunc) else 1 if "packbits" in name or "is_" in name else 2
    for arg in (MATRIX, cr.Tensor(MATRIX)):
        with pytest.raises(TypeError):
            function(*[arg] * arguments)


P = np.polynomial
FLOWS: dict[str, Callable[[Any], Any]] = {
    "np.array": lambda t: np.array([t[0, 0], 1.0]),
    "np.frompyfunc": lambda t: np.frompyfunc(lambda x: x * x, 1, 1)(t),
    "np.fromfunction": lambda t: np.fromfunction(lambda i: i * t[0, 0], (3,)),
    "np.full": lambda t: np.full(3, t[0, 0]),
    "np.vectorize": lambda t: np.vectorize(lambda x: x * x)(t),
    "np.poly1d": lambda t: np.poly1d(t[0])(2.0),
    "np.r_": lambda t: np.r_[t[0], 1.0, t[1]],
    "np.c_": lambda t: np.c_[t[0], t[1]],
    "np.mgrid": lambda t: np.mgrid[0 : t[0, 0] : 3j],
    "np.ogrid": lambda t: np.ogrid[0 : t[0, 0] : 3j],
    "np.ndenumerate": lambda t: [item for _, item in np.ndenumerate(t)],
    "np.kaiser": lambda t: np.kaiser(4, t[0, 0]),
    "np.fft.fftfreq": lambda t: np.fft.fftfreq(4, t[0, 0]),
    "np.fft.rfftfreq": lambda t: np.fft.rfftfreq(4, t[0, 0]),
    "as_series": lambda t: P.polyutils.as_series([t[0], t[1]]),
    "getdomain": lambda t: P.polyutils.getdomain(t[0]),
    "mapdomain": lambda t: P.polyutils.mapdomain(t, t[0, :2], [0.0, 1.0]),
    "mapparms": lambda t: P.polyutils.mapparms(t[0, :2], t[0, 1:]),
    "trimcoef": lambda t: P.polyutils.trimcoef(t[0]),
    "trimseq": lambda t: P.polyutils.trimseq(t[0]),
    "np.polynomial.chebyshev.chebinterpolate": lambda t: P.chebyshev.chebinterpolate(lambda x: t[0, 0] * x, 2),
    "polyvalfromroots": lambda t: P.polynomial.polyvalfromroots(t[0, 0], t[1]),
    **{cls: lambda t, cls=cls: getattr(P, cls)([1.0, 2.0, 3.0])(t) for cls in P.__all__ if cls[0].isupper()},
}  # fmt: skip
# Of a basis, how to call what differs in its prefix only.
SHAPES: dict[str, Callable[[Any, Any], Any]] = {
    "line": lambda f, t: f(t[0, 0], t[0, 1]),
    "add": lambda f, t: f(t[0], t[1]),
    "sub": lambda f, t: f(t[0], t[1]),
    "mulx": lambda f, t: f(t[0]),
    "mul": lambda f, t: f(t[0], t[1]),
    "div": lambda f, t: f(t[0], t[1, :2]),
    "pow": lambda f, t: f(t[0], 2),
    "val": lambda f, t: f(t, [1.0, 2.0, 3.0, 4.0]),
    "val2d": lambda f, t: f(t, t, np.eye(3)),
    "valnd": lambda f, t: f([t, t], np.eye(3)),
    "val3d": lambda f, t: f(t, t, t, np.ones((2, 2, 2))),
    "grid2d": lambda f, t: f(t[0, 0], t[0, 1], np.eye(3)),
    "grid3d": lambda f, t: f(t[0, 0], t[0, 1], t[0, 2], np.ones((2, 2, 2))),
    "der": lambda f, t: f(t[0]),
    "int": lambda f, t: f(t[0]),
    "fromroots": lambda f, t: f(t[0]),
    "vander": lambda f, t: f(t[0], 3),
    "vander2d": lambda f, t: f(t[0], t[1], [1, 2]),
    "vander3d": lambda f, t: f(t[0], t[1], t[2], [1, 2, 1]),
    "companion": lambda f, t: f(t[0]),
    "trim": lambda f, t: f(t[0]),
    "weight": lambda f, t: f(t / 4),
    "2poly": lambda f, t: f(t[0]),
}  # fmt: skip


def unasked() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    for namespace in NAMESPACES:
        for name, thing in public(namespace):
            if not undispatched.get(name, "").startswith("Works"):
                continue
            short = name.rpartition(".")[2]
            shape = next((SHAPES[end] for end in sorted(SHAPES, key=len, reverse=True) if short.endswith(end)), None)
            shape = SHAPES["2poly"] if short.startswith("poly2") else shape
            if name in FLOWS or short in FLOWS:
                yield name, FLOWS.get(name, FLOWS.get(short))  # type: ignore[misc]
            elif shape is not None and namespace in NAMESPACES and namespace.startswith("np.polynomial."):
                yield name, lambda t, f=thing, shape=shape: shape(f, t)
            else:
                yield name, thing


UNASKED = dict(unasked())


@pytest.mark.parametrize("name", UNASKED)
def test_what_numpy_runs_on_elements_is_differentiated(name: str) -> None:
    """NumPy's value, nearly: of an array of Tensors each element is computed by itself."""
    function = UNASKED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        result = function(cr.Tensor(MATRIX))
        expected = numbers(function(MATRIX))
    assert holds_tensor(result)
    for value, desired in zip(numbers(result), expected, strict=True):
        np.testing.assert_allclose(value, desired, rtol=1e-14)


# -- methods -----------------------------------------------------------------------------------------------------------
PROTOCOL = [  # of integers, subclasses, memory, typing and pickles
    "__iand__", "__ior__", "__ixor__", "__ilshift__", "__irshift__", "__array_finalize__", "__array_interface__",
    "__array_struct__", "__array_wrap__", "__buffer__", "__class_getitem__", "__delitem__", "__setstate__",
]  # fmt: skip
GONE = ["itemset", "newbyteorder", "ptp", "tostring"]  # names that are left in NumPy to say so
METHODS: dict[str, Callable[[Any], Any]] = {
    "argpartition": lambda t: t.argpartition(1),
    "clip": lambda t: t.clip(0.2, 1.2),
    "astype": lambda t: t.astype(np.float32),
    "choose": lambda t: np.array([0, 2, 1]).choose(t),
    "compress": lambda t: t.compress([True, False, True], 0),
    "dot": lambda t: t.dot(t),
    "item": lambda t: t.item(0),
    "repeat": lambda t: t.repeat(2),
    "reshape": lambda t: t.reshape(3, 3, 1),
    "searchsorted": lambda t: t[0, ::-1].searchsorted(t[1]),
    "swapaxes": lambda t: t.swapaxes(0, 1),
    "take": lambda t: t.take(1),
    "to_device": lambda t: t.to_device("cpu"),
}  # fmt: skip
TAKE_OUT = ["item", "tobytes", "tolist"]
NO_DERIVATIVE = ["all", "any", "argmax", "argmin", "argpartition", "argsort", "nonzero", "searchsorted"]


def methods() -> list[str]:
    skipped = [*IN_PLACE_METHODS, "choose", "data", "dump", "dumps", "tofile"]
    return [
        name
        for name in dir(np.ndarray)
        if not name.startswith("_")
        and name not in skipped
        and callable(getattr(np.ndarray, name))
        and hasattr(cr.Tensor(1.0), name)
    ]


def test_every_method_is_there() -> None:
    private = re.compile("_[^_]")
    missing = [name for name in dir(np.ndarray) if not private.match(name) and not hasattr(cr.Tensor, name)]
    assert set(missing) <= {*PROTOCOL, *GONE}


@pytest.mark.parametrize("name", methods())
def test_methods(name: str) -> None:
    run = METHODS.get(name, lambda t: getattr(t, name)())
    result, expected = run(cr.Tensor(MATRIX)), run(MATRIX)
    assert holds_tensor(result) is (name not in NO_DERIVATIVE + TAKE_OUT)
    for value, desired in zip(numbers(result), numbers(expected), strict=True):
        assert np.array_equal(value, desired)


@pytest.mark.parametrize("name", ["view", "byteswap", "getfield", "setfield", "strides", "base", "ctypes", "setflags"])
def test_what_is_about_memory_refuses(name: str) -> None:
    t = cr.Tensor(MATRIX)
    assert not hasattr(t, name)
    with pytest.raises(AttributeError, match=rf"no {name}, which .* memory.*; t\.data\.{name}"):
        getattr(t, name)


def test_values_are_written_to_files(tmp_path: Any) -> None:
    t = cr.Tensor(MATRIX) * 2
    t.tofile(tmp_path / "raw")
    t.dump(tmp_path / "pickle")
    np.save(tmp_path / "t.npy", t)
    np.savez(tmp_path / "t.npz", whole=t)
    np.savetxt(tmp_path / "t.txt", t)
    assert np.fromfile(tmp_path / "raw").tolist() == (2 * MATRIX).ravel().tolist()
    assert np.load(tmp_path / "pickle", allow_pickle=True).tolist() == (2 * MATRIX).tolist()
    assert np.load(tmp_path / "t.npy").tolist() == (2 * MATRIX).tolist()
    assert np.load(tmp_path / "t.npz")["whole"].tolist() == (2 * MATRIX).tolist()
    assert np.loadtxt(tmp_path / "t.txt").tolist() == (2 * MATRIX).tolist()


def test_membership() -> None:
    t = cr.Tensor(MATRIX)
    assert 0.5 in t
    assert t[0, 0] in t
    assert 7.0 not in t


def test_flags() -> None:
    assert cr.Tensor(MATRIX).flags.c_contiguous
    assert np.isfortran(cr.Tensor(np.asfortranarray(MATRIX)))


# -- bits --------------------------------------------------------------------------------------------------------------
def test_conditions_combine_in_a_trace() -> None:
    """In a trace comparisons give bool Tensors: what ndarray's operators do, they do."""

    def between(x: Any) -> Any:
        return np.where((x > 0) & (x < 2) | ~(x > -1) ^ (x != x), x, 0.0)

    x = np.array([-3.0, -0.5, 1.0, 5.0])
    traced = cr.record.trace(between, x)
    assert traced.guards == []
    assert traced.output.data.tolist() == between(x).tolist() == [-3, 0, 1, 0]


def test_what_decides_in_a_trace_is_a_guard() -> None:
    traced = cr.record.trace(lambda x: np.allclose(x, x) and np.nonzero(x)[0] and np.shape(x), np.array([1.0]))
    assert [guard[1] for guard in traced.guards] == ["np.allclose(t)", "np.nonzero(t)"]


@pytest.mark.parametrize("combine", [lambda t: t & t, lambda t: 1 | t, lambda t: t ^ 2, lambda t: t << 1, lambda t: ~t])
def test_numbers_have_no_bits(combine: Any) -> None:
    with pytest.raises(TypeError, match="Tensor of shape"):
        combine(cr.Tensor([1.0]))


# -- the published page ------------------------------------------------------------------------------------------------
def test_the_page_is_what_would_be_written() -> None:
    """Under the NumPy that it was written with; other versions have other functions."""
    path = Path(__file__).resolve().parent.parent / "docs" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_page", path)
    assert spec is not None and spec.loader is not None
    coverage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(coverage)
    text, published = (
        page.split("## chainrule.scipy")[0] for page in (coverage.page(), coverage.PAGE.read_text(encoding="utf-8"))
    )
    if f"NumPy {'.'.join(np.__version__.split('.')[:2])};" in published:
        assert text == published, "run `python docs/coverage.py`"
        assert coverage.UNCOUNTED not in published, "run `python tests/orders.py`"
    else:
        assert text.count("| fwd rev |") > 200
