"""Every error and warning chainrule raises of its own: one class per cause.

Each class also derives from the builtin a caller would catch; its docstring says what to do about it.
"""

from __future__ import annotations

import functools
import linecache
import sys
from types import FrameType
from typing import Any

__all__ = [
    "ChangedArrayError",
    "ConcreteValueError",
    "ConversionError",
    "DataError",
    "DegenerateSpectrumWarning",
    "DerivativeMismatchError",
    "FormulaError",
    "FreedGraphError",
    "GradientShapeError",
    "InPlaceError",
    "LeakedValueError",
    "MissingExtraError",
    "NoDerivativeError",
    "NonFiniteError",
    "NotSparseError",
    "OutputError",
    "PlanError",
    "RecomputationError",
    "SingularError",
    "SingularWarning",
    "StructureError",
    "UnsolvedWarning",
    "UnsupportedFunctionError",
    "UntraceableError",
    "UntraceableWarning",
]


class UnsupportedFunctionError(TypeError, NotImplementedError):
    """A NumPy function was called on a Tensor and chainrule has no rule for it.

    Write the function with supported ones (the page `docs/coverage.md` lists them), or, if its derivative is
    not wanted, call it on `t.data`.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> from chainrule.scipy import linalg
    >>> cr.grad(lambda a: np.sum(linalg.schur(a)[0]))(np.eye(2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.UnsupportedFunctionError: ...schur...
    """


class NoDerivativeError(TypeError, NotImplementedError):
    """A rule exists, but not the part of it that was asked for (say, a derivative in one of the operands).

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> from chainrule.scipy import special
    >>> cr.grad(special.kv)(1.5, 2.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.NoDerivativeError: kv was to be differentiated in its first operand, in which no derivative is...
    """


class DataError(TypeError):
    """A value cannot sit in a Tensor: not numeric, an object, boolean, structured or date array, or a masked one.

    Convert it to a floating-point or complex array first.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> cr.Tensor([True, False])
    Traceback (most recent call last):
        ...
    chainrule.errors.DataError: cannot make a Tensor of dtype bool; convert to a floating-point or complex dtype
    """


class ConversionError(TypeError):
    """A Tensor with history was about to be turned into a plain number or array, which would lose its derivative.

    Where that is what you want, say so: `t.item()` for a number, `t.data` for an array, `t.detach()` for a Tensor
    without history.  Otherwise use the NumPy function of the same name, which records.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> import math
    >>> cr.grad(lambda x: math.sin(x))(1.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.ConversionError: float(t) (or a function of the math module) would lose the derivative...
    >>> float(cr.grad(np.sin)(0.0))
    1.0
    """


class InPlaceError(TypeError):
    """An in-place write that chainrule cannot follow: into a plain array, or through views of a Tensor.

    Write the out-of-place form: `y = y + t`, `np.where(mask, t, y)`, `np.concatenate([...])`.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> y, t = np.zeros(2), cr.Tensor([1.0, 2.0])
    >>> y += t  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.InPlaceError: a Tensor cannot be written into an array of shape (2,)...
    >>> y = y + t
    """


class OutputError(TypeError):
    """The differentiated function's result has no gradient: not a scalar, an integer, complex, or no Tensor.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> cr.grad(lambda x: 2 * x)(np.ones(2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.OutputError: grad needs a scalar output, but <lambda> returned shape (2,)...
    """


class GradientShapeError(ValueError):
    """A cotangent or tangent does not have the shape of the value that it belongs to.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> y = cr.Tensor([1.0, 2.0]) * 2
    >>> y.backward(np.ones(3))
    Traceback (most recent call last):
        ...
    chainrule.errors.GradientShapeError: the gradient has shape (3,), but the result it belongs to has shape (2,)
    """


class StructureError(TypeError):
    """Arguments, tangents or cotangents do not have the same container structure.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> cr.jvp(np.sin, (1.0,), (1.0, 2.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.StructureError: the tangents are (*, *), but the arguments they belong to are (*,)...
    """


class FreedGraphError(RuntimeError):
    """A second backward pass reached a graph that the first one freed.

    Pass `retain_graph=True` to the first pass, or compute the result again.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> x = cr.Tensor(2.0)
    >>> y = x * x
    >>> y.backward()
    >>> y.backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.FreedGraphError: this graph was freed by an earlier backward pass...
    """


class ConcreteValueError(TypeError):
    """A batched or traced value was needed as a concrete one: in `if`, `bool()`, `int()` or as a shape.

    There is no one value: the examples of `vmap` may differ.  Write `np.where(condition, a, b)` instead of a Python
    branch; the message names the line of your program.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> x = np.array([1.0, -1.0])
    >>> cr.vmap(lambda x: x if x > 0 else -x)(x)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.ConcreteValueError: ...the 2 examples of vmap may differ...
    >>> cr.vmap(lambda x: np.where(x > 0, x, -x))(x)
    array([1., 1.])
    """

    def __init__(self, message: str = "", level: Any = None) -> None:
        super().__init__(message)
        self.level = level  # the batch whose examples would each have a value


class LeakedValueError(RuntimeError):
    """A value that was batched by `vmap` is used after that call of `vmap` has returned, when it means nothing.

    Return it from the function; do not store it in a list or an attribute that outlives the call.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> kept = []
    >>> _ = cr.vmap(lambda x: kept.append(x) or x)(np.ones(2))
    >>> kept[0] + 1  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.LeakedValueError: ...a batched value is used after the vmap that made it has returned...
    """


class PlanError(ValueError):
    """A plan for sparse derivatives was made for the other derivative, or for arguments of another shape.

    Make one for these: `sparsity(f, x)` for `sparse_jacobian`, `sparsity(f, x, order=2)` for `sparse_hessian`.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> plan = cr.sparsity(np.sin, np.zeros(3))
    >>> cr.sparse_jacobian(np.sin, plan)(np.zeros(4))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.PlanError: sparse_jacobian was given a plan for arguments of shapes [(3,)]...
    """


class NotSparseError(MemoryError):
    """A pattern of a derivative has so many entries that storing them would fill the memory.

    Use `jvp`, `vjp` or `hvp`, which multiply by the derivative without storing it.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> cr.sparsity(lambda x: np.sum(x) * x, np.zeros(1_000_000))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.NotSparseError: the pattern would have 1.0e+12 entries...
    """


class FormulaError(ValueError):
    """A derivative formula in the rule table does not parse: only names, numbers, operators and registered calls.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> @cr.primitive
    ... def cubed_wrongly(x):
    ...     return x**3
    >>> cr.def_partials(cubed_wrongly, "3*a**")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.FormulaError: formula '3*a**': invalid syntax...
    """


class MissingExtraError(ImportError):
    """An optional dependency is missing; the message names the extra to install.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> issubclass(cr.errors.MissingExtraError, ImportError)  # so `except ImportError` works
    True
    """


class DerivativeMismatchError(AssertionError):
    """`testing.check_grads` found a derivative that is not what differences give; the message says which and where.

    Either a rule is wrong, or the function is not smooth within a step of the point.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> near_a_kink = np.array([1e-5])
    >>> cr.testing.check_grads(np.abs, (near_a_kink,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.DerivativeMismatchError: order 1 (fwd): derivative of result...
    """


class RecomputationError(RuntimeError):
    """A function under `checkpoint` gave something else when it was run again for the backward pass.

    It must depend on nothing that changes in between.  Pass random generators as arguments; do not write to what it
    reads from outside.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> sizes = iter([2, 3])
    >>> f = cr.checkpoint(lambda x: np.sum(x * np.ones(next(sizes))))
    >>> cr.grad(f)(1.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.RecomputationError: <lambda>, under checkpoint, gave something else when it was run again...
    """


class UntraceableError(TypeError):
    """A function cannot be written down by `jit`: it does something with an array that NumPy's protocols do not show.

    `jit` then runs the function as it is, and says so once in an `UntraceableWarning`; the error itself is raised by
    `source()`, which has no program to show.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> import warnings
    >>> f = cr.jit(lambda x: np.asarray(x) * 2)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     f.source(np.ones(2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.UntraceableError: jit of <lambda> made no program for these arguments: the function turns...
    """


class UntraceableWarning(RuntimeWarning):
    """`jit` runs a function, for the arguments of this call, as plain Python; the message says what hinders it.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error")  # otherwise: a warning, and an answer
    ...     cr.jit(lambda x: np.asarray(x) * 2)(np.ones(2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.UntraceableWarning: jit of <lambda>: the function turns an array...
    """


class UnsolvedWarning(RuntimeWarning):
    """A derivative is taken at a point where an algorithm of SciPy stopped before it had found a solution.

    It is computed as if the point solved the problem, and is as far from the truth as the point.  Look at ``message``
    of the result, and allow more iterations, start elsewhere, or ask for another method or tolerance.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> from chainrule.scipy import optimize
    >>> def minimum(a):
    ...     return optimize.minimize(lambda x: np.sum((x - a) ** 4), [5.0], options={"maxiter": 1}).x[0]
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error")  # otherwise: a warning, and an answer
    ...     cr.grad(minimum)(1.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.UnsolvedWarning: the derivative of minimize is taken where it stopped without a solution...
    """


class DegenerateSpectrumWarning(UserWarning):
    """A derivative depends on vectors that a matrix does not determine: its eigenvalues or singular values are equal.

    What the matrix determines is returned.  Use the values, or the projector on the whole subspace, instead of single
    vectors; or perturb the matrix.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error")  # otherwise: a warning, and an answer
    ...     cr.grad(lambda a: np.linalg.eigh(a)[1][0, 1])(np.eye(2))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.DegenerateSpectrumWarning: the derivative depends on the choice of eigenvectors...
    """


class NonFiniteError(FloatingPointError):
    """Under `debug()`, an operation gave NaN or infinity: in the forward pass, or to a derivative.

    The message says which, of what operands, where, and what to write instead; `finding` holds the same as fields.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> with np.errstate(divide="ignore"), cr.debug():
    ...     np.log(cr.Tensor(0.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.NonFiniteError: log gave -inf
    ...
    """

    finding: Any = None


class ChangedArrayError(RuntimeError):
    """Under `debug()`, an array that a derivative reads was changed after it was used in the computation.

    Pass a copy, or change it after the backward pass.  Writes to a Tensor (`t[i] = v`) are followed; writes to a plain
    array that was used as a constant, or to `t.data`, are not.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> x, factor = cr.Tensor([3.0, 4.0]), np.array([1.0, 2.0])
    >>> with cr.debug():
    ...     y = np.sum(x * factor)
    ...     factor[0] = 7.0
    ...     y.backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.ChangedArrayError: an array of shape (2,) and dtype float64 was changed after multiply...
    """


class SingularError(FloatingPointError):
    """Under `singular="raise"`, a zero factor of the chain rule met infinity or NaN; the message names the operation.

    By default the product is 0, which is right for what `np.where` does not select and for norms at 0, and not for
    `sqrt(x)**2` at 0.  Write the function so that its slopes are finite there, or leave the default.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> cr.grad(lambda x: np.sqrt(x) ** 2, singular="raise")(0.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.SingularError: a zero factor met infinity or NaN in the derivative of sqrt...
    """


class SingularWarning(RuntimeWarning):
    """Under `singular="warn"`, a zero factor of the chain rule met infinity or NaN, and their product was taken as 0.

    What `SingularError` says about it holds here too.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error")  # otherwise: a warning, and the product 0
    ...     cr.grad(lambda x: np.sqrt(x) ** 2, singular="warn")(0.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    chainrule.errors.SingularWarning: a zero factor met infinity or NaN in the derivative of sqrt...
    """


def user_frame() -> FrameType:
    """The innermost frame that is neither chainrule's nor NumPy's nor SciPy's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and (
        is_ours(frame.f_globals.get("__name__")) or frame.f_globals.get("__name__", "").startswith("scipy.")
    ):
        frame = frame.f_back
    return frame


def user_line() -> str:
    """The place in the user's program that called chainrule, to begin an error message with."""
    frame = user_frame()
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return f'File "{file}", line {line}' + (f", `{source}`: " if source else ": ")


@functools.cache
def is_ours(module: str | None) -> bool:
    """Whether a module belongs to what runs between the user's program and the recorder."""
    return module is None or module.partition(".")[0] in ("chainrule", "numpy", "contextlib", "functools")
