"""What becomes of functions that have no rule, and need none: every public name of NumPy is accounted for.

Functions that NumPy asks Tensors about are declared in `functions` and `reasons`.  Others it runs without asking; of
these, `undispatched` says what comes of calling them with a Tensor.
"""

from __future__ import annotations

import numpy as np

from .registry import nondifferentiable, not_implemented, undispatched

# -- functions that NumPy asks about -------------------------------------------------------------------------------
nondifferentiable(
    np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert, np.left_shift, np.right_shift, np.gcd, np.lcm,
    np.packbits, np.unpackbits, np.ravel_multi_index, np.unravel_index,
    *([np.bitwise_count] if hasattr(np, "bitwise_count") else []),
    reason="For integers: Tensors, which have a floating or complex dtype, are refused as NumPy refuses such arrays",
)  # fmt: skip
nondifferentiable(
    np.isnat, np.busday_count, np.busday_offset, np.is_busday, np.datetime_as_string,
    reason="For dates: Tensors are refused as NumPy refuses arrays of numbers",
)  # fmt: skip
nondifferentiable(
    np.save, np.savez, np.savez_compressed, np.savetxt,
    reason="Writes the values to a file",
)  # fmt: skip
nondifferentiable(np.einsum_path, reason="The order of contraction depends on shapes only")
if hasattr(np, "in1d"):  # until NumPy 2.3
    nondifferentiable(np.in1d)  # noqa: NPY201 (older ones have it)

not_implemented("it works on strings", "numpy.strings", "numpy.char")


# -- functions that NumPy runs without asking ------------------------------------------------------------------------
def _without_asking(what_comes: str, prefix: str, names: str) -> None:
    for name in names.split():
        undispatched[f"{prefix}.{name}"] = what_comes


FLOWS = "Works, differentiated: plain Python that runs on a Tensor, or on its elements one by one"
MAKES = "Makes arrays or describes them: takes sizes, dtypes and numbers, and refuses Tensors with history"
READS = "Reads arrays from files, memory and text"
SETS = "Settings, information and helpers of NumPy itself"
TYPES = "A dtype, a class of dtypes, or a class of NumPy's own: takes plain values"
VALUES = "Looks at shapes, types or values only"

_without_asking(
    FLOWS,
    "np",
    "asarray asanyarray asarray_chkfinite ascontiguousarray asfortranarray array full require vectorize frompyfunc "
    "fromfunction poly1d r_ c_ mgrid ogrid ndenumerate kaiser row_stack",
)
_without_asking(
    MAKES,
    "np",
    "arange bartlett blackman broadcast_shapes diag_indices empty eye hamming hanning identity indices mask_indices "
    "ones tri tril_indices triu_indices zeros fromiter base_repr binary_repr format_float_positional "
    "format_float_scientific",
)
_without_asking(READS, "np", "frombuffer fromfile fromregex fromstring from_dlpack genfromtxt load loadtxt memmap")
_without_asking(
    SETS,
    "np",
    "datetime_data get_include get_printoptions getbufsize geterr geterrcall info printoptions set_printoptions "
    "setbufsize seterr seterrcall errstate show_config show_runtime test isdtype issubdtype mintypecode promote_types "
    "typename busdaycalendar index_exp s_ ndindex",
)
_without_asking(VALUES, "np", "broadcast finfo iinfo isfortran iterable")
_without_asking(
    TYPES,
    "np",
    "bool bool_ byte bytes_ cdouble character clongdouble complex64 complex128 complex192 complex256 complexfloating "
    "csingle datetime64 double dtype flatiter flexible float16 float32 float64 float96 float128 floating generic half "
    "inexact int8 int16 int32 int64 int_ intc integer intp long longdouble longlong ndarray number object_ record "
    "short signedinteger single str_ timedelta64 ubyte ufunc uint uint8 uint16 uint32 uint64 uintc uintp ulong "
    "ulonglong unsignedinteger ushort void",
)
_without_asking("Classes that chainrule does not follow: pass t.data", "np", "asmatrix bmat matrix recarray")
_without_asking("Walks over memory: pass t.data, or loop over indices", "np", "nditer nested_iters")
_without_asking(SETS, "np.linalg", "test LinAlgError")
_without_asking(SETS, "np.fft", "test")
_without_asking("Works, differentiated in the spacing", "np.fft", "fftfreq rfftfreq")
_without_asking(SETS, "np.lib", "test add_docstring add_newdoc Arrayterator NumpyVersion")
_without_asking(SETS, "np.lib.array_utils", "byte_bounds normalize_axis_index normalize_axis_tuple")
_without_asking(
    "Reads memory by strides, of which a Tensor has none: write np.lib.stride_tricks.sliding_window_view, which is "
    "differentiated",
    "np.lib.stride_tricks",
    "as_strided",
)

# -- np.polynomial: NumPy's own Python, which runs on arrays of 0-d Tensors -----------------------------------------
POLYNOMIALS = {  # module: what its functions begin with, and its class
    "polynomial": ("poly", "Polynomial"), "chebyshev": ("cheb", "Chebyshev"), "legendre": ("leg", "Legendre"),
    "hermite": ("herm", "Hermite"), "hermite_e": ("herme", "HermiteE"), "laguerre": ("lag", "Laguerre"),
}  # fmt: skip
EVALUATES = (
    "Works, differentiated in the argument and in the coefficients. Where the coefficients (of polyvalfromroots: the "
    "roots) have axes of their own, pass np.asanyarray(t) for an argument t that is no number: NumPy looks whether it "
    "is an ndarray before it gives them axes for it, and chainrule raises where it did not"
)
FACTORISED = (
    "Calls LAPACK on an array of Tensors, which NumPy refuses. Write np.polyfit or np.roots, or np.linalg.lstsq of the "
    "Vandermonde matrix and np.linalg.eigvals of the companion matrix"
)
CLASSES = (
    "Works, differentiated in the argument and in the coefficients, but for roots() and fit(): these call LAPACK on an "
    "array of Tensors, which NumPy refuses"
)
_without_asking(SETS, "np.polynomial", "test set_default_printstyle")
_without_asking(FLOWS, "np.polynomial.polyutils", "as_series getdomain mapdomain mapparms trimcoef trimseq")
_without_asking(SETS, "np.polynomial.polyutils", "format_float")
for _module, (_short, _class) in POLYNOMIALS.items():
    _full = f"np.polynomial.{_module}"
    for _names, _outcome in (
        ("line add sub mulx mul div pow der int fromroots vander", FLOWS),
        ("val val2d val3d valnd grid2d grid3d", EVALUATES),
        ("vander2d vander3d companion trim weight interpolate", FLOWS),
        ("fit roots", FACTORISED),
        ("gauss pts1 pts2", MAKES),
    ):  # fmt: skip
        _without_asking(_outcome, _full, " ".join(_short + name for name in _names.split()))
    _without_asking(FLOWS, _full, f"{_short}2poly poly2{_short}")
    _without_asking(CLASSES, _full, _class)
    _without_asking(CLASSES, "np.polynomial", _class)
_without_asking(EVALUATES, "np.polynomial.polynomial", "polyvalfromroots")
