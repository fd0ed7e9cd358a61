"""What a call of one of SciPy's functions with Tensors does; each of the modules beside this one says it by name.

SciPy's functions do not dispatch, so each module here has SciPy's names: called without Tensors they are SciPy's own,
called with Tensors they have SciPy's value, to the last bit, and a derivative.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import update_wrapper, wraps
from types import ModuleType
from typing import Any

import numpy as np
import scipy

from ..batch import each, of_this_example
from ..errors import ConcreteValueError, UnsupportedFunctionError, user_line
from ..rules.linear import as_array
from ..rules.selection import fixed
from ..tensor import Tensor, batched_among, called, handle, plain_everywhere, tensor_like
from ..walk.functions import is_written_down

Function = Callable[..., Any]


def holds_tensors(x: Any) -> bool:
    """Whether a Tensor is among these arguments."""
    if isinstance(x, Tensor):
        return True
    if type(x) in (list, tuple):
        return any(map(holds_tensors, x))
    if type(x) is dict:
        return any(map(holds_tensors, x.values()))
    return isinstance(x, np.ndarray) and x.dtype == object and any(map(holds_tensors, x.flat))


def array(x: Any) -> Any:
    """An array or a Tensor from what SciPy takes for an array: lists may hold Tensors."""
    return tensor_like(as_array(x))


def exactly(value: Any, composed: Any) -> Any:
    """SciPy's own value, with the history of what computes the same to within rounding."""
    if type(composed) in (tuple, list):
        parts = [exactly(v, c) for v, c in zip(value, composed, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if not isinstance(composed, Tensor):
        return value
    value = as_array(value)
    if composed.dtype.kind == "c" and value.dtype.kind != "c":
        composed = composed.real
    if composed.dtype != value.dtype:
        composed = composed.astype(value.dtype)
    assert composed.shape == value.shape, f"SciPy's value has shape {value.shape}, the derivative {composed.shape}"
    if not is_written_down(value):  # the call is repeated without
        _agree(value, composed.data)
    return handle(composed.node, value if value.ndim else value[()])


def _agree(value: Any, composed: Any) -> None:
    """Warn if the operations do not compute SciPy's value: their derivative is not that of the value then."""
    finite = np.isfinite(value) & np.isfinite(composed)
    scale = np.max(np.abs(value), where=finite, initial=0)
    with np.errstate(all="ignore"):
        distance = np.max(np.abs(value - composed), where=finite, initial=0)
    if distance > np.finfo(value.dtype).eps ** 0.25 * scale:
        warnings.warn(
            f"the derivative may be wrong: SciPy's value and the operations that are differentiated differ by "
            f"{distance:.1g}. Either the problem is badly conditioned, or this version of SciPy ({scipy.__version__}) "
            "computes something else than the one chainrule was written for.",
            RuntimeWarning,
            stacklevel=4,
        )


def by_example(*needed: str, instead: str = "") -> Callable[[Function], Function]:
    """Make what calls a function of the user's run for one example of `vmap` after the other.

    Parameters
    ----------
    *needed : str
        The entries that a result with names must have; others are left out where examples cannot have them in one
        array: messages, or arrays of different lengths.
    instead : str
        What to write where they do not.
    """

    def decorated(function: Function) -> Function:
        name = f"scipy's {function.__qualname__.removesuffix('.__call__')}"

        @wraps(function)
        def called(*args: Any, **options: Any) -> Any:
            if (batch := batched_among((args, options))) is not None:
                result = batch.in_turn(called, args, name, options)
            else:
                try:
                    return function(*args, **options)
                except ConcreteValueError as error:  # the user's function takes a batched value from outside
                    if error.level is None:
                        raise
                    result = each(lambda: called(*args, **options), (), {}, name, error.level)
            for entry in needed:
                if isinstance(result, dict) and entry not in result:
                    raise ConcreteValueError(
                        f"{user_line()}{name} of a batched value: the shape of its `{entry}` differs from example to "
                        f"example. {instead}"
                    )
            return result

        return called

    return decorated


class OfExamples:
    """One of SciPy's objects for each example of `vmap`: made again, of that example's values, when it is used.

    Parameters
    ----------
    kind : type
        Of the objects: says which names are methods.
    make, args, options
        An object is `make(*args, **options)` of an example's values.
    """

    def __init__(self, kind: type, make: Function, args: Any, options: Any) -> None:
        self._kind, self._make, self._given = kind, make, (args, options)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._used(lambda made, *args, **options: made(*args, **options), args, options)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{self._kind.__name__} of a batched value has no attribute {name!r}")
        if not callable(getattr(self._kind, name, None)):
            return self._used(lambda made: getattr(made, name), (), {})

        def method(*args: Any, **options: Any) -> Any:
            def use(made: Any, *args: Any, **options: Any) -> Any:
                return getattr(made, name)(*args, **options)

            if name in ("derivative", "antiderivative"):  # another such object
                return OfExamples(self._kind, lambda *a, **o: use(self._make(*a, **o), *args, **options), *self._given)
            return self._used(use, args, options)

        return method

    def _used(self, use: Function, args: Any, options: Any) -> Any:
        def one(given: Any, given_options: Any, args: Any, options: Any) -> Any:
            return use(self._make(*given, **given_options), *args, **options)

        every = *self._given, args, options
        return batched_among(every).in_turn(one, every, f"scipy's {self._kind.__name__}")


class OneOrOfExamples:
    """A class whose objects hold one of SciPy's; of batched values it makes an object for each example."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        if batched_among((args, options)) is not None:
            return OfExamples(cls, cls, args, options)
        return object.__new__(cls)


def making(kind: type) -> Callable[[Function], Function]:
    """Let a function that makes such an object make one for each example of `vmap`."""

    def decorated(function: Function) -> Function:
        @wraps(function)
        def made(*args: Any, **options: Any) -> Any:
            if batched_among((args, options)) is not None:
                return OfExamples(kind, made, args, options)
            return function(*args, **options)

        return made

    return decorated


def of_an_example(value: Any, name: str) -> Any:
    """What a function of the user's returned to SciPy, which works on one example at a time.

    Raises
    ------
    ConcreteValueError
        If it is batched; `by_example` calls for one example after the other then.
    """
    value = of_this_example(value)
    if (batch := batched_among(value)) is not None:
        raise ConcreteValueError(
            f"{user_line()}the function given to {name} takes a batched value from outside, but SciPy solves for one "
            "example of vmap at a time.",
            batch.level,
        )
    return value


class Namespace:
    """The names of one of SciPy's modules, and what is known of each.

    Attributes
    ----------
    module : SciPy's
    kinds : per name: "differentiable", "nondifferentiable", "as it is", or why it is not implemented
    operands : per differentiable name that is a function: the parameters that may hold Tensors
    members : what goes by that name here, of those that are not written as functions of the module
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.kinds: dict[str, str] = {}
        self.operands: dict[str, tuple[str, ...]] = {}
        self.members: dict[str, Any] = {}

    def derived(self, *differentiable: str) -> Callable[[Function], Function]:
        """Declare the derivative: that of a function of SciPy's signature which computes the same by operations.

        Parameters
        ----------
        *differentiable : str
            The parameters that may hold Tensors.  Of the others the function sees plain values; those that choose how
            SciPy treats memory (`overwrite_a`, ...), and `check_finite` unless it asks for it, it does not see.
        """
        return lambda implementation: self._wrapped(implementation, differentiable, composed=True)

    def ruled(self, *differentiable: str) -> Callable[[Function], Function]:
        """Declare a function of SciPy's signature that has SciPy's value already: it applies a rule."""
        return lambda implementation: self._wrapped(implementation, differentiable, composed=False)

    def _wrapped(self, implementation: Function, differentiable: tuple[str, ...], composed: bool) -> Function:
        name = implementation.__name__
        function = getattr(self.module, name, None)
        if function is None:  # another version of SciPy
            return implementation
        signature = inspect.signature(function)
        variadic = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
        checks = "check_finite" in inspect.signature(implementation).parameters

        def wrapper(*args: Any, **options: Any) -> Any:
            if not holds_tensors((args, options)):
                return called(function, *args, **options)
            if (batch := batched_among((args, options))) is not None:
                return batch.in_turn(wrapper, args, full, options)
            bound = signature.bind(*map(tensor_like, args), **{k: tensor_like(v) for k, v in options.items()})
            for parameter, value in list(bound.arguments.items()):
                if parameter.startswith("overwrite_"):  # a Tensor's array is not written to
                    del bound.arguments[parameter]
                elif parameter not in differentiable and not variadic and holds_tensors(value):
                    bound.arguments[parameter] = fixed(value, f"{parameter} of {full}")
            if variadic:
                result = implementation(*bound.args, **bound.kwargs)
            else:
                arguments = _by_name(bound)
                if not checks:
                    arguments.pop("check_finite", None)
                result = implementation(**arguments)
            if not composed:
                return result
            return exactly(called(function, *plain_everywhere(bound.args), **plain_everywhere(bound.kwargs)), result)

        self.kinds[name] = "differentiable"
        full = f"{self.module.__name__}.{name}"
        update_wrapper(wrapper, implementation)
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        summary = inspect.cleandoc(function.__doc__ or name).partition("\n\n")[0]
        derivative = "a rule of its own" if not composed else "that of the operations which compute the same"
        self.operands[name] = differentiable
        wrapper.__doc__ = (
            f"{summary}\n\n"
            f"Differentiable in {', '.join(differentiable)}, in both modes and to any order; the derivative is "
            f"{derivative}. Parameters, results and errors are SciPy's; what chooses how SciPy uses memory "
            f"(`overwrite_a`, ...) has no effect on Tensors.\n\nSee `{full} "
            f"<https://docs.scipy.org/doc/scipy/reference/generated/{full}.html>`_."
        )
        return wrapper

    def nondifferentiable(self, *names: str) -> None:
        """Declare functions whose result has no derivative: they run on the values."""

        def of_values(function: Function, name: str) -> Function:
            def wrapper(*args: Any, **options: Any) -> Any:
                return called(function, *plain_everywhere(args), **plain_everywhere(options))

            return wrapper

        self._declared("nondifferentiable", of_values, names)

    def not_implemented(self, reason: str, *names: str) -> None:
        """Declare functions that raise when they meet a Tensor, and why."""

        def refusing(function: Function, name: str) -> Function:
            def checked(args: Any, options: Any) -> None:
                if holds_tensors((args, options)):
                    raise self.unsupported(name, reason)

            if isinstance(function, type):
                start: Any = getattr(function, "__init__")  # noqa: B009 (a type checker takes it for an instance's)

                def __init__(instance: Any, *args: Any, **options: Any) -> None:
                    checked(args, options)
                    start(instance, *args, **options)

                return type(function.__name__, (function,), {"__init__": __init__})

            def wrapper(*args: Any, **options: Any) -> Any:
                checked(args, options)
                return function(*args, **options)

            return wrapper

        self._declared(reason, refusing, names)

    def as_they_are(self, *names: str) -> None:
        """Declare what takes no numbers that could be differentiated: constants, errors, properties."""
        self._declared("as it is", lambda thing, name: thing, names)

    def unsupported(self, name: str, reason: str) -> UnsupportedFunctionError:
        """The error of a call with Tensors that has no derivative here."""
        return UnsupportedFunctionError(
            f"{self.module.__name__}.{name} was called with a Tensor, but {reason}. "
            "To use the Tensor as a constant, pass t.data."
        )

    def _declared(self, kind: str, wrap: Callable[[Function, str], Function], names: tuple[str, ...]) -> None:
        for name in names:
            function = getattr(self.module, name, None)
            if function is None:  # another version of SciPy
                continue
            self.kinds[name] = kind
            member = wrap(function, name)
            if member is not function:
                if not isinstance(member, type):
                    update_wrapper(member, function)
                member.__module__, member.__qualname__ = f"chainrule.{self.module.__name__}", name  # where pickle looks
                member.__doc__ = f"`{self.module.__name__}.{name}`; with a Tensor: {kind}."
            self.members[name] = member


def _by_name(bound: inspect.BoundArguments) -> dict[str, Any]:
    """Arguments as keywords."""
    arguments = dict(bound.arguments)
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    return arguments
