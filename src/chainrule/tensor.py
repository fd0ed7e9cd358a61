"""Tensor: a handle on a node, with Python's operators and NumPy's protocols.

Running NumPy code on Tensors computes its values and records what was applied to what.  A Tensor holds the value and
the node that says how it came about; the node keeps a value only if some derivative will read it, so that what nobody
needs is freed as early as in plain NumPy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from sys import modules
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

import numpy as np

from .errors import ConcreteValueError, ConversionError, DataError, OutputError
from .graph import NEVER, Node, constant, contexts, leaf, next_index, programs, watchers
from .memory import any_large, apply
from .rules.linear import stored
from .rules.registry import Rule, functions, kept, lookup, parameter_names, refuse_missing_axes, rules
from .tree import LEAVES

__all__ = ["Tensor", "handle", "plain", "record", "tensor_like"]

float64, ndarray, matmul = np.float64, np.ndarray, np.matmul
double, single, objects = np.dtype("f8"), np.dtype("f4"), np.dtype("O")
NOTHING: dict[str, Any] = {}
SEQUENCES = (list, tuple)
API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")
BASIC = frozenset([int, slice, type(None), type(Ellipsis), np.int64])


class Tensor:
    """A value that remembers how it was made.

    Parameters
    ----------
    value : array_like, default None
        Numbers, lists and integer arrays become float64; float16/32/64, longdouble and complex are kept.  Arrays of
        other libraries that implement NumPy's protocols are kept as they are.  Without a value, a Tensor is the
        empty one through which the course reaches its functions: ``Tensor().sigmoid(x)``.
    dtype : dtype_like, default None
        Convert to this floating or complex dtype.
    copy : bool, default True
        Copy the array, so that later writes to it do not reach the Tensor.
    name : str, default None
        Used in pictures, derivations and error messages.

    Raises
    ------
    DataError
        If the value is not numeric: boolean, object, date, structured or masked.

    Notes
    -----
    0-d values are held as NumPy scalars, as NumPy's own results are.  A Tensor, or a list that holds Tensors, gives a
    recorded copy, through which derivatives flow; for an independent variable of the same value pass ``t.data``.

    Examples
    --------
    >>> import numpy as np
    >>> x = Tensor([1.0, 2.0, 3.0])
    >>> y = np.sum(np.exp(x) * x)
    >>> y.backward()
    >>> np.allclose(x.grad, np.exp([1, 2, 3]) * [2, 3, 4])
    True
    """

    __slots__ = ("__weakref__", "data", "leaf", "node", "origin", "views")

    data: Any
    leaf: Node
    node: Node | None
    origin: Any  # of a view: the Tensor whose memory it shows, the rule that made it, and the rule's parameters
    views: Views  # which views of it there are

    written: bool = False  # whether it shows memory that has been written to, and so may change; also of a batch
    batched: Callable[..., Any] | None = None  # of a batch of examples: what applies a rule to each; see batch.py
    empty: type[Tensor]  # the subclass that `Tensor()` makes; the course's names register themselves here
    namespace: ModuleType  # the array API's functions; chainrule.numpy registers itself here

    def __new__(cls, value: Any = None, dtype: Any = None, copy: bool = True, name: str | None = None) -> Tensor:  # noqa: PYI034 (without a value, another class)
        if value is None:
            return object.__new__(cls.empty)
        if type(value) in (list, tuple):
            with suppress(ValueError):  # ragged: refused below
                value = np.array(value)  # of Tensors, an object array of their elements
        value = tensor_like(value)
        if isinstance(value, Tensor):
            if value.node is not None:
                return value._copied(dtype, name)
            value = value.data
        if contexts.levels:  # every example has its own
            return cast(Tensor, contexts.levels[-1].leaf(value, dtype, name))
        self = object.__new__(cls)
        self.data = as_value(value, dtype, copy)
        self.leaf = self.node = leaf(self.data, name)
        return self

    def _copied(self, dtype: Any, name: str | None) -> Tensor:
        copied = cast(Tensor, record(rules["copy"], (self,)))
        if dtype is not None:
            copied = cast(Tensor, copied.astype(dtype))
        if name is not None:
            copied.name = name
        return copied

    # -- what it is ----------------------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.data.shape  # type: ignore[no-any-return]  # `cast` would be a call

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the elements."""
        return self.data.dtype  # type: ignore[no-any-return]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim  # type: ignore[no-any-return]

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size  # type: ignore[no-any-return]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return cast(int, self.data.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return cast(int, self.data.nbytes)

    @property
    def name(self) -> str | None:
        """The name given by the user."""
        return getattr(self.node, "name", None)

    @name.setter
    def name(self, name: str | None) -> None:
        if self.node is not None:
            self.node.name = name

    @property
    def grad(self) -> Any:
        """What backward passes have added up for this leaf: None before the first, then an array of its shape."""
        return self.leaf.grad if hasattr(self, "leaf") else None

    @grad.setter
    def grad(self, value: Any) -> None:
        if not hasattr(self, "leaf"):
            raise OutputError("only a leaf, a Tensor made by Tensor(...), has a gradient to set")
        if value is not None and np.shape(value) != self.leaf.shape:
            raise OutputError(f"a gradient of shape {np.shape(value)} for a Tensor of shape {self.leaf.shape}")
        self.leaf.grad = value

    def zero_grad(self) -> None:
        """Forget the gradient: `grad` is None again."""
        self.grad = None

    # -- ways out ------------------------------------------------------------------------------------------------
    def item(self, *args: int) -> Any:
        """Take the value out as a Python number, without its derivative."""
        return self.data.item(*args)

    def tolist(self) -> Any:
        """Take the values out as nested lists of Python numbers, without their derivatives."""
        return self.data.tolist()

    def detach(self) -> Tensor:
        """Make a Tensor of the same value without history: a constant for every derivative."""
        return handle(None, self.data)

    def buffer(self, value: Any) -> Tensor:
        """Memory to write into, without history; inside `vmap` too, for this is the same for all examples."""
        return handle(None, as_value(value, copy=False))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        # Constructors that cannot dispatch (np.array([t, 2.0]), np.asarray(t)) get 0-d Tensors in an object array,
        # which is stacked back into a Tensor wherever it meets one again: slow, but never detached.
        if self.node is None:
            return np.array(self.data, dtype=dtype, copy=copy)
        if for_sparse_product():
            return np.array(None)
        if dtype is not None and np.dtype(dtype) != object:
            raise self._lost(f"np.asarray(t, dtype={np.dtype(dtype)})")
        contexts.object_arrays += 1
        elements = np.empty(self.shape, dtype=object)
        for index in np.ndindex(self.shape):
            elements[index] = self[index]
        return elements.view(Elements)

    def _lost(self, call: str) -> ConversionError | ConcreteValueError:
        return ConversionError(
            f"{call} would lose the derivative of {describe(self)}. To take the plain value out use t.item(), t.data "
            "or t.detach(). Inside a differentiated function write the NumPy function instead (np.sin for math.sin), "
            "and fill a Tensor (np.zeros_like(t), or any array after `import chainrule.numpy as np`) or join parts "
            "(np.stack) instead of assigning to an array's element."
        )

    def __float__(self) -> float:
        if self.node is not None:
            raise self._lost("float(t) (or a function of the math module)")
        return float(self.data)

    def __int__(self) -> int:
        self._concrete("int(t)")
        if self.node is not None and self.dtype.kind not in "biu":
            raise self._lost("int(t)")
        return int(self.data)

    def __complex__(self) -> complex:
        if self.node is not None:
            raise self._lost("complex(t)")
        return complex(self.data)

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"{describe(self)} cannot be used as an index; take an integer array, or t.data")
        self._concrete("an index")
        return int(self.data)

    def __bool__(self) -> bool:
        self._concrete("bool(t)")
        return bool(self.data)

    def _concrete(self, use: str) -> None:
        if watchers and self.node is not None:
            for context in contexts.stack:
                context.concrete(self, use)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d Tensor")
        return (self[i] for i in range(len(self.data)))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        body = (
            np.array2string(np.asarray(self.data), separator=", ", prefix="Tensor(") if self.ndim else repr(self.item())
        )
        dtype = "" if self.dtype == double else f", dtype={self.dtype}"
        name = f", name={self.name!r}" if self.name else ""
        return f"Tensor({body}{dtype}{name})"

    def __str__(self) -> str:
        return str(self.data)

    def __format__(self, spec: str) -> str:
        return format(self.data if self.ndim else self.item(), spec) if spec else str(self)

    def __reduce__(self) -> Any:
        if self.node is not None and not (hasattr(self, "leaf") and self.leaf is self.node):
            raise ConversionError(
                f"{describe(self)} has history, which cannot be pickled or copied. Use t.detach() for its value."
            )
        if self.node is None:
            return handle, (None, self.data)
        return _rebuild, (self.data, self.name, self.grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        rebuild, arguments = self.__reduce__()
        memo[id(self)] = copied = cast(
            Tensor, rebuild(*(np.copy(a) if a.__class__ is ndarray else a for a in arguments))
        )
        return copied

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    # -- the array API standard ----------------------------------------------------------------------------------
    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        if api_version not in (None, *API_VERSIONS):
            raise ValueError(f"array API version {api_version!r}: these are known: {', '.join(API_VERSIONS)}")
        return self.namespace

    @property
    def device(self) -> Any:
        """Where the elements are: "cpu" for NumPy's arrays."""
        return getattr(self.data, "device", "cpu")

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """Stay on the device: NumPy knows the "cpu" only."""
        if device != self.device or stream is not None:
            to = f"{device!r}" + (f" on stream {stream!r}" if stream is not None else "")
            raise ValueError(f"{describe(self)} is on {self.device!r} and cannot be moved to {to}")
        return self

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        if self.node is not None:
            raise self._lost("handing it to another library by DLPack (from_dlpack)")
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        given = {name: value for name, value in options.items() if value is not None}  # NumPy 2.0 knows `stream` only
        return self._array.__dlpack__(**given)

    def __dlpack_device__(self) -> tuple[int, int]:
        return cast("tuple[int, int]", self._array.__dlpack_device__())

    @property
    def _array(self) -> Any:
        return np.asarray(self.data) if isinstance(self.data, np.generic) else self.data

    # -- NumPy's protocols ---------------------------------------------------------------------------------------
    __array_priority__ = 1000.0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "__call__" and not options:
            a = inputs[0]
            if len(inputs) == 1:
                if a.__class__ is Tensor and (bound := unary.get(ufunc)) is not None:
                    return bound(a)
            elif (pair := binary.get(ufunc)) is not None and len(inputs) == 2:
                if a.__class__ is Tensor:
                    result = pair[0](a, inputs[1])
                else:
                    if (  # it may be coefficients, c[-1]
                        a.__class__ is ndarray
                        and a.base is not None
                        and ufunc is not matmul
                        and "numpy.polynomial" in modules
                    ):
                        refuse_missing_axes()
                    result = pair[1](inputs[1], a) if inputs[1].__class__ is Tensor else NotImplemented
                if result is not NotImplemented:
                    return result
            if ufunc not in functions and set("".join(ufunc.types)) == set("O->"):
                # np.vectorize and np.frompyfunc call Python per element: so be it, on 0-d Tensors.
                return ufunc(*(np.asarray(x, dtype=object) for x in inputs))
            rule = lookup(ufunc)
            return record(rule, inputs) if isinstance(rule, Rule) else rule(*inputs)
        return ufunc_methods[method](ufunc, *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        found = functions.get(function)
        if found.__class__ is FunctionType:
            return found(*args, **options)
        return call(function, args, options)

    @staticmethod
    def _record(rule: Rule, operands: Sequence[Any], rest: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if rule.operator is not None and not options and operands[0].__class__ is Tensor and not programs:
            return rule.operator(*operands)
        return record(rule, operands, rest, options)

    @property
    def T(self) -> Tensor:
        """The transpose: axes in reverse order."""
        return cast(Tensor, record(rules["transpose"], (self,)))

    @property
    def mT(self) -> Tensor:
        """The matrix transpose: last two axes exchanged."""
        return cast(Tensor, np.swapaxes(cast(Any, self), -1, -2))

    @property
    def real(self) -> Tensor:
        """The real part."""
        return cast(Tensor, np.real(cast(Any, self)))

    @property
    def imag(self) -> Tensor:
        """The imaginary part."""
        return cast(Tensor, np.imag(cast(Any, self)))

    def __getitem__(self, index: Any) -> Tensor:
        a, u = self.node, self.data
        if a is None or watchers or u.__class__ is not ndarray or not is_basic(index):
            return cast(Tensor, read(self, index))
        try:
            y = u[index]
        except IndexError as error:
            raise named(error, "getitem", (self,)) from None
        node = Node()  # what `record` does, in half the time: programs read a lot
        node.value = None
        node.rule = rules["getitem"]
        node.operands = (a,)
        node.params = numbered[index] if index.__class__ is int else ((index,), NOTHING)
        node.shape = y.shape
        node.dtype = u.dtype
        node.index = next_index()
        tensor = handle(node, y)
        if y.__class__ is ndarray:
            self._shows(tensor, node.rule, node.params)
        return tensor

    def _shows(self, view: Tensor, rule: Rule, params: Any) -> None:
        """Note that `view` is on the memory of this Tensor, for the day when one of them is written to."""
        view.origin = self, rule, params
        try:
            views = self.views
        except AttributeError:
            views = self.views = Views()
        views.append(ref(view))
        if len(views) > views.limit:
            views.forget()

    if TYPE_CHECKING:  # operators and ndarray's methods are bound by loops, `backward` by the reverse walk

        def __setitem__(self, index: Any, value: Any) -> None: ...
        def backward(self, gradient: Any = None, *, retain_graph: bool = False, create_graph: bool = False) -> None: ...
        def __getattr__(self, name: str) -> Any: ...


LEAVES.add(Tensor)


class Indirect(Tensor):
    """A Tensor that has to be asked what it is: its operators go through `record`, not through printed functions."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Tensor:
        return cast(Tensor, read(self, index))


class Views(list["ref[Tensor]"]):
    """The views of a Tensor that are still there, and some that are gone."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = 16

    def forget(self) -> None:
        """Drop those that are gone, at a cost that does not show: not before the list has doubled."""
        self[:] = self.alive()
        self.limit = 2 * len(self) + 16

    def alive(self) -> list[ref[Tensor]]:
        """References to those that are not gone."""
        return [view for view in self if view() is not None]


class Elements(np.ndarray[Any, Any]):
    """The 0-d Tensors of a Tensor, as `np.asanyarray` makes them: stacked back by whatever is done with them.

    Functions that do not dispatch, `np.testing.assert_allclose` first of all, work on these.
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*(tensor_like(x) for x in inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        return call(function, tuple(map(_stacked, args)), options)


def _stacked(parts: Any) -> Any:
    """Stack an object array, or those among the parts of a list; `np.r_` makes such arrays of its plain numbers too."""
    if type(parts) not in (list, tuple):
        return tensor_like(parts)
    found = [lifted(part) if isinstance(part, ndarray) and part.dtype == object else part for part in parts]
    dtypes = [part.dtype for part in found if isinstance(part, Tensor)]
    for i, part in enumerate(found):
        if part is not parts[i] and not isinstance(part, Tensor) and dtypes:  # it has lost what dtype it was of
            narrow = part.astype(np.result_type(part.dtype.type(0).item(), *dtypes))
            found[i] = narrow if part.size == 1 or np.array_equal(narrow, part, equal_nan=True) else part
    return type(parts)(found)


def _rebuild(data: Any, name: str | None, grad: Any) -> Tensor:
    tensor = Tensor(data, name=name)
    tensor.grad = grad
    return tensor


class _Numbered(dict[int, "tuple[tuple[int], dict[str, Any]]"]):
    """The parameters of reading by a number: shared by all nodes, so that the garbage collector has less to look at."""

    def __missing__(self, index: int) -> tuple[tuple[int], dict[str, Any]]:
        made = (index,), NOTHING
        if len(self) < 4096:
            self[index] = made
        return made


numbered = _Numbered()

# -- small helpers -------------------------------------------------------------------------------------------------
_new = object.__new__


def handle(node: Node | None, value: Any) -> Tensor:
    """Make a Tensor of this value on this node; without a node, a constant."""
    tensor = _new(Tensor)
    tensor.node = node
    tensor.data = value
    return tensor


def plain(x: Any) -> Any:
    """The array inside a Tensor; anything else as it is."""
    return x.data if isinstance(x, Tensor) else x


def for_sparse_product() -> bool:
    """Whether a sparse matrix of SciPy's asks for an array to multiply by: an object without axes it leaves to us."""
    return sys._getframe(2).f_code.co_name == "_matmul_dispatch"


def plain_everywhere(x: Any) -> Any:
    """Replace Tensors by their arrays, also inside lists, tuples and dictionaries."""
    if isinstance(x, Tensor):
        return x.data
    if type(x) in (list, tuple):
        return type(x)(plain_everywhere(item) for item in x)
    if type(x) is dict:
        return {key: plain_everywhere(item) for key, item in x.items()}
    return x


def batched_among(x: Any) -> Any:
    """A batched Tensor in lists, tuples and dictionaries of arguments; None if there is none."""
    if isinstance(x, Tensor):
        return x if x.batched is not None else None
    if isinstance(x, list | tuple | dict):
        for part in x.values() if isinstance(x, dict) else x:
            if (found := batched_among(part)) is not None:
                return found
    return None


def is_basic(index: Any) -> bool:
    """Whether reading by this index gives a view (or a number), and copies nothing."""
    if index.__class__ is not tuple:
        return index.__class__ in BASIC
    for part in index:  # noqa: SIM110 (a loop is twice as fast as all() of a generator)
        if part.__class__ not in BASIC:
            return False
    return True


def plain_index(index: Any) -> Any:
    """An index whose Tensors (bool or integer ones, of a trace) are arrays."""
    if isinstance(index, Tensor):
        if index.dtype.kind not in "biu":
            raise TypeError(f"{describe(index)} cannot be used as an index; take an integer or boolean array")
        if index.batched is not None:
            return index
        index._concrete("an index")
        return index.data
    return tuple([plain_index(i) for i in index]) if type(index) is tuple else index


def read(x: Tensor, index: Any) -> Any:
    """Read by any index."""
    index = index if is_basic(index) else plain_index(index)
    for part in index if index.__class__ is tuple else (index,):
        if isinstance(part, Tensor):  # a batch of indices
            return cast(Any, part).batched(rules["getitem"], (x,), (index,), NOTHING)
    return record(rules["getitem"], (x,), (index,))


def describe(x: Any) -> str:
    """Name an operand in a message: what it is, its shape and dtype."""
    if isinstance(x, Tensor):
        return f"Tensor{f' {x.name!r}' if x.name else ''} of shape {x.shape} and dtype {x.dtype}"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"array of shape {x.shape} and dtype {x.dtype}"
    return f"{type(x).__name__} {x!r:.40}"


def as_value(value: Any, dtype: Any = None, copy: bool = True) -> Any:
    """Turn what a user passes into what a Tensor holds.

    Raises
    ------
    DataError
        If it is not numeric.
    """
    kind = value.__class__
    # the usual cases: half of the time of Tensor(0.5), and 6% of the gradient of a few operations
    if dtype is None and (kind is float or kind is float64):
        return float64(value)
    if kind is ndarray and dtype is None and not copy and value.ndim and value.dtype.char in "df":
        return value
    foreign = not isinstance(value, ndarray | np.generic) and hasattr(value, "__array_function__")
    if not foreign:
        try:
            value = np.array(value, copy=True if copy else None, subok=True)
        except ValueError as error:
            raise DataError(f"cannot make a Tensor of {describe(value)}: {error}") from None
        if type(value) is not ndarray:
            raise DataError(f"cannot make a Tensor of a {type(value).__name__}; pass np.asarray(x) of its plain data")
    elif copy:
        value = value.copy()
    if value.dtype.kind in "SU":
        raise DataError(
            f"cannot make a Tensor of text ({describe(value)}). In what is differentiated or batched, text can be a "
            "field of a dataclass; otherwise let the function capture it"
        )
    if value.dtype.kind not in "iufc":
        raise DataError(f"cannot make a Tensor of dtype {value.dtype}; convert to a floating-point or complex dtype")
    wanted = np.dtype(dtype) if dtype is not None else double if value.dtype.kind in "iu" else value.dtype
    if wanted.kind not in "fc":
        raise DataError(f"a Tensor has a floating-point or complex dtype, not {wanted}; keep such data in plain arrays")
    if wanted != value.dtype:
        value = value.astype(wanted)
    return value[()] if not value.ndim and not foreign else value


def lifted(x: Any) -> Any:
    """Stack an object array of 0-d Tensors and numbers back into a Tensor; one of numbers only, into an array.

    Raises
    ------
    DataError
        If it holds anything else.
    """
    items = list(x.flat)
    if not any(isinstance(item, Tensor) for item in items):
        if (traced := next(traced_among(items), None)) is not None:
            return traced.trace.stacked(x)
        if not all(isinstance(item, int | float | complex | np.number) for item in items):
            raise DataError("an array of Python objects cannot be differentiated; convert it with x.astype(float)")
        return np.array(items, dtype=None if items else float).reshape(x.shape)
    return np.reshape(cast(Any, np.stack([i if isinstance(i, Tensor) else as_value(i) for i in items])), x.shape)


def tensor_like(x: Any) -> Any:
    """Stack an object array that holds Tensors; anything else as it is."""
    return lifted(x) if isinstance(x, ndarray) and x.dtype == object else x


def as_operand(x: Any) -> Any:
    """A list or tuple as an array; an object array of Tensors, or a list with some in it, as a Tensor."""
    return tensor_like(np.asarray(x) if x.__class__ in SEQUENCES else x)


# -- recording -----------------------------------------------------------------------------------------------------
def record(rule: Any, operands: Sequence[Any], rest: tuple[Any, ...] = (), options: dict[str, Any] = NOTHING) -> Any:
    """Apply an operation: compute its value, and make the node that says so.

    Parameters
    ----------
    rule : Rule
    operands : Tensors, arrays and numbers
    rest, options : further arguments, which are not differentiated
    """
    values: list[Any] = []
    nodes: list[Node | None] = []
    active = written = 0  # a bit per operand that has a node, or shows memory that may change
    for operand in operands:
        if isinstance(operand, Tensor):
            node = operand.node
            if node is not None:
                active += 1 << len(nodes)
            if operand.written:
                if operand.batched is not None:
                    return operand.batched(rule, operands, rest, options)
                written += 1 << len(nodes)
            nodes.append(node)
            values.append(operand.data)
        elif (isinstance(operand, ndarray) and operand.dtype is objects) or operand.__class__ in SEQUENCES:
            return record(rule, [as_operand(each) for each in operands], rest, options)
        else:
            nodes.append(None)
            values.append(operand)
    try:
        if programs:
            value = applied(rule, values, rest, options)
        elif rule.recycles and not rest and not options and any_large(values):
            value = apply(rule.value, *values)
        else:
            value = rule.value(*values, *rest, **options)
    except (ValueError, TypeError, IndexError) as error:
        raise named(error, rule.name, operands) from None
    if rule.variant is not None:  # for the derivative only: the value is what was asked for
        rule = rule.variant(rule, values, nodes)
    if value.__class__ is ndarray and not value.ndim:
        value = value[()]
    if watchers:
        tensor = watched(rule, nodes, values, value, (rest, options), written)
    elif rule.kind == "nondifferentiable":
        return value
    else:
        tensor = handle(made(rule, nodes, active, values, value, (rest, options), written) if active else None, value)
    if rule.kind == "linear" and len(operands) == 1 and value.shape and shows(value, values[0]):
        operands[0]._shows(tensor, rule, (rest, options))
    return tensor


def traced_among(x: Any) -> Iterator[Any]:
    """The arrays in arguments that a trace follows."""
    kind = x.__class__
    if kind is tuple or kind is list:
        for part in x:
            yield from traced_among(part)
    elif kind is dict:
        yield from traced_among(list(x.values()))
    elif kind is not ndarray and hasattr(kind, "_record"):
        yield x


def applied(rule: Any, values: list[Any], rest: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Compute a value while a program is written down somewhere: the rule's own function is one step of it."""
    traced = next(traced_among((values, rest, options)), None)
    if traced is None or rule.runs_traced:
        return rule.value(*values, *rest, **options)
    return traced._record(rule, values, rest, options)


def called(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function that takes plain arrays only: while a program is written down somewhere, as one step of it."""
    traced = next(traced_among((args, options)), None) if programs else None
    if traced is None or any(map(callable, args)):  # a function of the user's may take what it likes from outside
        return function(*args, **options)
    return traced.step(function, *args, **options)


def shows(value: Any, x: Any) -> bool:
    """Whether a result is on the memory of what it was made of."""
    if value is x:
        return True
    if value.__class__ is not ndarray:
        try:
            return bool(np.may_share_memory(value, x))
        except TypeError:  # arrays of a library that has no views
            return False
    base = value.base  # of a reshape that had to copy, it leads to that copy
    while base is not None:
        if base is x or base is x.base:
            return True
        base = getattr(base, "base", None)
    return False


def made(
    rule: Any, nodes: list[Node | None], active: int, values: list[Any], value: Any, params: Any, written: int = 0
) -> Node:
    """Make the node of an operation, and let its operands keep what its derivative reads."""
    node = Node()
    node.dtype = dtype = value.dtype
    # Also a real result of complex operands, as of `absolute`, has the complex rule.
    if rule.complex_rule is not None and any(getattr(v, "dtype", dtype).kind == "c" for v in values):
        rule = rule.complex_rule
    node.rule = rule
    key = active + (1 << len(nodes))  # the number of operands varies, for some
    found = rule.keeps.get(key)
    if found is None:
        found = rule.keeps[key] = kept(rule, tuple(operand is not None for operand in nodes))
    positions, keep_output = found
    if written:
        _copy_what_may_change(nodes, values, positions, written)
    for i in positions:
        if (operand := nodes[i]) is not None:
            operand.value = values[i]
    node.value = value if keep_output else None
    if key + 1 != 2 << len(nodes):
        nodes = [constant(values[i], i in positions) if operand is None else operand for i, operand in enumerate(nodes)]
    node.operands = tuple(nodes)  # type: ignore[arg-type]
    node.params = params
    node.shape = value.shape
    node.index = next_index()
    return node


def _copy_what_may_change(
    nodes: Sequence[Node | None], values: list[Any], positions: Sequence[int], written: int
) -> None:
    """Copy the operands that are kept and show memory that is written to, once for each state of that memory."""
    for i in positions:
        if written >> i & 1:
            operand = nodes[i]
            known = operand.value if operand is not None and operand.rule is not None else None
            values[i] = np.copy(values[i], order="K") if known is None else known


def watched(rule: Any, nodes: list[Any], values: list[Any], value: Any, params: Any, written: int = 0) -> Any:
    """Record while something watches: `no_grad` hides nodes, followers push tangents, a trace keeps everything."""
    stack, debug = contexts.stack, contexts.debug
    if debug is not None:
        debug.computed(rule, nodes, values, value)
    oldest = max((context.oldest for context in stack), default=0)
    tracing = any(context.traces for context in stack)
    nodes = [node if node is not None and node.index >= oldest else None for node in nodes]
    if rule.kind == "nondifferentiable" and not tracing:
        return value
    if not any(nodes):
        return value if rule.kind == "nondifferentiable" else handle(None, value)
    active = sum(1 << i for i, operand in enumerate(nodes) if operand is not None)
    node = made(rule, nodes, active, values, value, params, written)
    if tracing:
        node.value = np.copy(value, order="K") if written else value
        for operand, known in zip(nodes, values, strict=True):
            if operand is not None and operand.value is None:
                operand.value = known
    if debug is not None:
        debug.made(node, values, value, written)
    node.root = min(getattr(operand, "root", operand.index) for operand in nodes if operand is not None)
    tensor = handle(node, value)
    for position, context in enumerate(stack):
        if debug is None:
            context.made(node, nodes, values, stack[:position])
        else:
            debug.follow(context, node, nodes, values, stack[:position])
    if (
        node.root == NEVER and not tracing and not any(context.walks for context in stack)
    ):  # nothing will ever be pulled through here
        # so that forward mode needs constant memory; a reverse walk that comes by sees a leaf that it has not asked for
        node.rule, node.operands, node.params, node.value = None, (), None, None
    return tensor


def named(error: Exception, name: str, operands: Sequence[Any]) -> Exception:
    """The same error, saying also which operation, on what."""
    text = f"{name} of {' and '.join(describe(operand) for operand in operands)}: {error}"
    if "broadcast" in text:
        text += ". Shapes must agree, or be 1, counted from the right; reshape, or add an axis with x[:, np.newaxis]"
    try:
        return type(error)(text)
    except TypeError:  # NumPy's own class takes other arguments than a text
        return TypeError(text)


def call(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run a NumPy function on arguments of which some are Tensors."""
    rule = lookup(function)
    if not isinstance(rule, Rule):
        return rule(*args, **options)
    if rule.kind == "nondifferentiable":
        if (batch := batched_among([args, options])) is not None:
            return batch.batched(rule, args[:1], args[1:], options)
        value = function(*plain_everywhere(args), **plain_everywhere(options))
        if any(context.traces for context in contexts.stack) and args and isinstance(args[0], Tensor):
            if hasattr(value, "dtype"):
                return record(rule, args[:1], args[1:], options)
            if type(value) is bool or (type(value) is tuple and any(hasattr(part, "dtype") for part in value)):
                args[0]._concrete(f"np.{function.__name__}(t)")  # np.allclose, np.nonzero: the program goes by it
        return value
    if (out := options.pop("out", None)) is not None:
        return stored(call(function, args, options), out)
    arity = len(rule.partials) or len(rule.pulls)
    if len(args) < arity:  # operands were given by name
        for name in parameter_names(function)[len(args) : arity]:
            args = (*args, options.pop(name))
    return record(rule, args[:arity], args[arity:], options)


# How ufuncs run with keywords (out=, where=, dtype=) and through their methods; filled by protocols.py.
ufunc_methods: dict[str, Callable[..., Any]] = {}
# The printed functions by ufunc: what `np.tanh(t)` and `np.add(a, t)` run.
unary: dict[Any, Callable[..., Any]] = {}
binary: dict[Any, tuple[Callable[..., Any], ...]] = {}
