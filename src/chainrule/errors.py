"""Every error and warning chainrule raises of its own: one class per cause.

Each class also derives from the builtin a caller would catch; its docstring says what to do about it.
"""

from __future__ import annotations

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
    "UnsupportedFunctionError",
    "UntraceableError",
    "UntraceableWarning",
]


class UnsupportedFunctionError(TypeError, NotImplementedError):
    """A NumPy function was called on a Tensor and chainrule has no rule for it.

    Write the function with supported ones (the page `docs/coverage.md` lists them), or, if its derivative is
    not wanted, call it on `t.data`.
    """


class NoDerivativeError(TypeError, NotImplementedError):
    """A rule exists, but not the part of it that was asked for (say, a derivative in one of the operands)."""


class DataError(TypeError):
    """A value cannot sit in a Tensor: not numeric, an object, boolean, structured or date array, or a masked one.

    Convert it to a floating-point or complex array first.
    """


class ConversionError(TypeError):
    """A Tensor with history was about to be turned into a plain number or array, which would lose its derivative.

    Where that is what you want, say so: `t.item()` for a number, `t.data` for an array, `t.detach()` for a Tensor
    without history.  Otherwise use the NumPy function of the same name, which records.
    """


class InPlaceError(TypeError):
    """An in-place write that chainrule cannot follow: into a plain array, or through views of a Tensor.

    Write the out-of-place form: `y = y + t`, `np.where(mask, t, y)`, `np.concatenate([...])`.
    """


class OutputError(TypeError):
    """The differentiated function's result has no gradient: not a scalar, an integer, complex, or no Tensor."""


class GradientShapeError(ValueError):
    """A cotangent or tangent does not have the shape of the value that it belongs to."""


class StructureError(TypeError):
    """Arguments, tangents or cotangents do not have the same container structure."""


class FreedGraphError(RuntimeError):
    """A second backward pass reached a graph that the first one freed.

    Pass `retain_graph=True` to the first pass, or compute the result again.
    """


class ConcreteValueError(TypeError):
    """A batched or traced value was needed as a concrete one: in `if`, `bool()`, `int()` or as a shape.

    There is no one value: the examples of `vmap` may differ.  Write `np.where(condition, a, b)` instead of a Python
    branch; the message names the line of your program.
    """


class LeakedValueError(RuntimeError):
    """A value that was batched by `vmap` is used after that call of `vmap` has returned, when it means nothing.

    Return it from the function; do not store it in a list or an attribute that outlives the call.
    """


class PlanError(ValueError):
    """A plan for sparse derivatives was made for the other derivative, or for arguments of another shape.

    Make one for these: `sparsity(f, x)` for `sparse_jacobian`, `sparsity(f, x, order=2)` for `sparse_hessian`.
    """


class NotSparseError(MemoryError):
    """A pattern of a derivative has so many entries that storing them would fill the memory.

    Use `jvp`, `vjp` or `hvp`, which multiply by the derivative without storing it.
    """


class FormulaError(ValueError):
    """A derivative formula in the rule table does not parse: only names, numbers, operators and registered calls."""


class MissingExtraError(ImportError):
    """An optional dependency is missing; the message names the extra to install."""


class DerivativeMismatchError(AssertionError):
    """`testing.check_grads` found a derivative that is not what differences give; the message says which and where.

    Either a rule is wrong, or the function is not smooth within a step of the point.
    """


class RecomputationError(RuntimeError):
    """A function under `checkpoint` gave something else when it was run again for the backward pass.

    It must depend on nothing that changes in between.  Pass random generators as arguments; do not write to what it
    reads from outside.
    """


class UntraceableError(TypeError):
    """A function cannot be written down by `jit`: it does something with an array that NumPy's protocols do not show.

    `jit` then runs the function as it is, and says so once in an `UntraceableWarning`; the error itself is raised where
    that is not possible any more, since the function has written to memory that it was given.
    """


class UntraceableWarning(RuntimeWarning):
    """`jit` runs a function, for the arguments of this call, as plain Python; the message says what hinders it."""


class DegenerateSpectrumWarning(UserWarning):
    """A derivative depends on vectors that a matrix does not determine: its eigenvalues or singular values are equal.

    What the matrix determines is returned.  Use the values, or the projector on the whole subspace, instead of single
    vectors; or perturb the matrix.
    """


class NonFiniteError(FloatingPointError):
    """Under `debug()`, an operation gave NaN or infinity: in the forward pass, or to a derivative.

    The message says which, of what operands, where, and what to write instead; `finding` holds the same as fields.
    """

    finding: Any = None


class ChangedArrayError(RuntimeError):
    """Under `debug()`, an array that a derivative reads was changed after it was used in the computation.

    Pass a copy, or change it after the backward pass.  Writes to a Tensor (`t[i] = v`) are followed; writes to a plain
    array that was used as a constant, or to `t.data`, are not.
    """


class SingularError(FloatingPointError):
    """Under `singular="raise"`, a zero factor of the chain rule met infinity or NaN; the message names the operation.

    By default the product is 0, which is right for what `np.where` does not select and for norms at 0, and not for
    `sqrt(x)**2` at 0.  Write the function so that its slopes are finite there, or leave the default.
    """


class SingularWarning(RuntimeWarning):
    """Under `singular="warn"`, a zero factor of the chain rule met infinity or NaN, and their product was taken as 0.

    What `SingularError` says about it holds here too.
    """


def user_frame() -> FrameType:
    """The innermost frame that is neither chainrule's nor NumPy's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
    return frame


def user_line() -> str:
    """The place in the user's program that called chainrule, to begin an error message with."""
    frame = user_frame()
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return f'File "{file}", line {line}' + (f", `{source}`: " if source else ": ")


def is_ours(module: str | None) -> bool:
    """Whether a module belongs to what runs between the user's program and the recorder."""
    return module is None or module.partition(".")[0] in ("chainrule", "numpy", "contextlib", "functools")
