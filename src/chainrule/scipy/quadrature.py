"""Integrals of functions: in the limits, and in whatever Tensors the integrand depends on.

The derivative of an integral is an integral of the derivative, found by the same method to the same tolerances, and a
value at each limit.  It is written with `quad` itself, so that it can be differentiated in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.integrate

from ..errors import UnsupportedFunctionError
from ..rules.registry import custom
from ..tensor import Tensor, batched_among, plain, plain_everywhere, record, tensor_like
from .implicit import Closure, alone, wanted
from .namespace import by_example, holds_tensors

Function = Callable[..., Any]


@by_example()
def quad(
    func: Function,
    a: Any,
    b: Any,
    args: Any = (),
    full_output: int = 0,
    epsabs: float = 1.49e-8,
    epsrel: float = 1.49e-8,
    limit: int = 50,
    points: Any = None,
    weight: Any = None,
    wvar: Any = None,
    wopts: Any = None,
    maxp1: int = 50,
    limlst: int = 50,
    complex_func: bool = False,
) -> Any:
    """Integrate a function as `scipy.integrate.quad`; differentiable in the limits and in what `func` depends on.

    Parameters
    ----------
    func : callable
        ``func(x, *args)`` returns a number.
    a, b : float or Tensor
        Limits; constant ones may be infinite.
    args : tuple
        Further arguments; Tensors in them, in containers too, and those that `func` takes from outside are what the
        integral can be differentiated in.
    full_output, epsabs, epsrel, limit, points, weight, wvar, wopts, maxp1, limlst, complex_func
        As in SciPy.

    Returns
    -------
    y, abserr, ...
        As SciPy's.  If anything is a Tensor, ``y`` is; the estimate of its error stays plain.

    Raises
    ------
    UnsupportedFunctionError
        For Tensors with ``complex_func=True``, and for a Tensor as a limit where there is a `weight`.

    Notes
    -----
    Derivative, in every mode and to any order: ``f(b) db - f(a) da + ∫ df dx``.  The integral is found to the same
    `epsabs` and `epsrel`: in forward mode one, in reverse mode one for every element of what `func` depends on, which
    share their evaluations.  What the derivative of `func` does not see, say a jump whose place depends on a parameter,
    is not in it: split the integral there.
    Cost: those integrals, each of about as many evaluations as SciPy needs.  Memory: what one evaluation of `func`
    records; in reverse mode also a gradient for each point at which it was evaluated.

    Examples
    --------
    >>> import numpy as np, chainrule as cr
    >>> gauss = lambda k, b: quad(lambda x: np.exp(-k * x**2), 0.0, b)[0]
    >>> float(cr.grad(lambda k: gauss(k, np.inf))(1.0).round(6))  # of sqrt(pi / k) / 2
    -0.443113
    >>> bool(cr.grad(gauss, argnums=1)(1.0, 0.5) == np.exp(-0.25))
    True
    """
    args = args if isinstance(args, tuple) else (args,)
    options = {
        "epsabs": epsabs, "epsrel": epsrel, "limit": limit, "points": points, "weight": weight, "wvar": wvar,
        "wopts": wopts, "maxp1": maxp1, "limlst": limlst,
    }  # fmt: skip
    a, b = tensor_like(a), tensor_like(b)
    if not callable(func):  # one of SciPy's that are compiled
        closure = None
        given = [func, *plain_everywhere((a, b, args))]
    else:
        closure = Closure(lambda x: tensor_like(func(x, *args)), "quad")
        given = [closure.watched, plain(a), plain(b), ()]
    result = scipy.integrate.quad(*given, full_output, complex_func=complex_func, **plain_everywhere(options))
    operands = closure.operands() if closure else []
    if not (operands or holds_tensors((a, b, args, wvar))):
        return result
    moving = isinstance(a, Tensor) or isinstance(b, Tensor)
    for refused, why in (
        (closure is None, "a compiled integrand has no derivative here"),
        (complex_func, "complex_func=True is not differentiated: integrate the real and the imaginary part"),
        (holds_tensors(wvar), "the parameters of a weight are not differentiated: multiply func by the weight"),
        (moving and weight is not None, "a limit of a weighted integral is not: multiply func by the weight"),
    ):
        if refused:
            raise UnsupportedFunctionError(f"scipy.integrate.quad was called with a Tensor, but {why}.")
    if not (operands or moving):
        return result
    value = record(
        INTEGRAL, [a, b, *operands], (), {"value": np.float64(result[0]), "integrand": closure, "options": options}
    )
    return (value, *result[1:])


def _value(*operands: Any, value: Any, integrand: Closure, options: dict[str, Any]) -> Any:
    return value


def _at(integrand: Closure, x: Any, differentiable: bool) -> Any:
    # not under no_grad: the integrand may be a derivative in what it captured
    return integrand(x) if differentiable else plain(integrand(plain(x)))


def _pull(ct: Any, node: Any) -> list[Any]:
    options, integrand = node.params[1]["options"], node.params[1]["integrand"]
    a, b = node.operands[0].value, node.operands[1].value
    differentiable = wanted(node.value, ct)
    with alone(differentiable, integrand):
        gradients: list[Any] = [None, None]
        for i, (limit, signed) in enumerate(((a, -ct), (b, ct))):
            if node.operands[i].index:  # at a constant limit the integrand may be infinite
                gradients[i] = signed * _at(integrand, limit, differentiable)
        gradients += [ct * each for each in _gradient(integrand, a, b, options, differentiable)]
    return gradients


def _gradient(integrand: Closure, a: Any, b: Any, options: dict[str, Any], differentiable: bool) -> list[Any]:
    """The integral of the gradient, in each Tensor that the integrand uses."""
    shapes = [node.shape for node in integrand.captured]
    sizes = [int(np.prod(shape)) for shape in shapes]
    known: dict[float, Any] = {}

    def partials(x: float) -> Any:
        """All partial derivatives at x; the integrals of the others ask at the same points."""
        if x in known:
            return known[x]
        pulled = integrand.pull((x,), np.float64(1), differentiable)
        parts = [np.zeros(size) if each is None else np.ravel(each) for each, size in zip(pulled, sizes, strict=True)]
        together = np.concatenate(parts)
        if not differentiable:  # with history, each integral must see what its own integrand uses
            known[x] = together
        return together

    if not differentiable:
        a, b = plain(a), plain(b)
    total = [quad(lambda x, i=i: partials(x)[i], a, b, **options)[0] for i in range(sum(sizes))]
    parts, start = [], 0
    for node, shape, size in zip(integrand.captured, shapes, sizes, strict=True):
        part = np.stack(total[start : start + size]) if size else np.zeros(0)
        parts.append(np.reshape(part if differentiable else plain(part), shape).astype(node.dtype))
        start += size
    return parts


def _push(node: Any, tangents: Sequence[Any]) -> Any:
    if (batch := batched_among(list(tangents))) is not None:  # SciPy integrates one function at a time
        return batch.in_turn(lambda *tangents: _push(node, tangents), tangents, "the derivative of quad")
    options, integrand = node.params[1]["options"], node.params[1]["integrand"]
    a, b = node.operands[0].value, node.operands[1].value
    differentiable = wanted(node.value, *tangents)
    change: Any = np.float64(0)
    with alone(differentiable, integrand):
        if tangents[0] is not None:
            change = change - _at(integrand, a, differentiable) * tangents[0]
        if tangents[1] is not None:
            change = change + _at(integrand, b, differentiable) * tangents[1]
        if any(each is not None for each in tangents[2:]):
            limits = (a, b) if differentiable else (plain(a), plain(b))
            change = change + quad(
                lambda x: integrand.push((x,), tangents[2:], differentiable), *limits, **options
            )[0]  # fmt: skip
    return change


INTEGRAL = custom(
    "integral",
    _value,
    needs=("abcy",),
    pull_all=_pull,
    push=_push,
    captures=True,
    source="Leibniz's rule for integrals",
)
