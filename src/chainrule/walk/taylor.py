"""Taylor mode: all derivatives along a curve, up to some order, in one pass beside the function.

A `Taylor` follows the recorder as a `Follower` does, and knows for every node the coefficients of its Taylor series.
There are no rules for it: the push of an operation gives its derivative, y' = push(x, y; x'), and is itself evaluated
on series one order shorter, whose integral is that of y.  Where a push reads nothing that moves, it goes through
coefficient by coefficient; products and quotients, whose push is made of products again, have a classical recurrence.

Coefficients are divided by factorials here: entry n is that of t**n.  None is zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..graph import NEVER, Node, contexts, leaf
from ..record import Context, entered
from ..rules.bundle import Bundle
from ..rules.linear import zero_wins
from ..rules.registry import apply, kept, rules
from ..tensor import Tensor, handle, record
from .pull import has_nan
from .push import Follower, compiled, fitting, outside
from .singular import report, zero_acts

__all__ = ["Taylor"]

Series = Sequence[Any]


class Taylor(Follower):
    """One call that follows a curve: it knows the coefficients 1 to `order` of each node, and nobody else's."""

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order

    def made(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> None:
        """Find the coefficients of a new node from those of its operands."""
        known = [self.tangent(operand) for operand in nodes]
        if all(series is None for series in known):
            return
        stack = contexts.stack
        contexts.stack = list(outer)  # what computes a coefficient is of no concern to this call or those inside it
        try:
            view = self.view(node, nodes, values, outer)
            nothing = (None,) * self.order
            xs = [[x.value, *(series or nothing)] for x, series in zip(view.operands, known, strict=True)]
            with np.errstate(all="ignore"):  # the function itself warned already
                found = self._coefficients(view, nodes, xs, careful=False)
                if contexts.singular != "nan" and any(map(has_nan, found)):
                    plainly, found = found, self._coefficients(view, nodes, xs, careful=True)
                    if contexts.singular != "zero" and any(map(zero_acts, plainly, found)):
                        report([node])
            if any(c is not None for c in found):
                self.set_tangent(node, [None if c is None else fitting(c, node) for c in found])
            first = [series and series[0] for series in known]
            if node.rule.asks is not None and any(t is not None for t in first) and node.rule.asks(view, first):
                self.asked.append(node)
                node.root = min(node.root, node.index)  # what follows is kept for `ask`
        finally:
            contexts.stack = stack

    def _coefficients(self, view: Node, nodes: Sequence[Node | None], xs: Sequence[Series], careful: bool) -> Series:
        """The coefficients from 1 of the result; each of `xs` begins with the value."""
        rule, orders = view.rule, range(1, self.order + 1)
        moving = tuple(any(c is not None for c in series[1:]) for series in xs)
        reads, reads_result = kept(rule, moving)
        forward = (rule.careful_forward if careful else rule.forward) or compiled(rule, careful)
        if not reads_result and not rule.captures and not any(moving[i] for i in reads):
            changes = [[series[n] for series in xs] for n in orders]
            return [None if all(c is None for c in change) else forward(view, change) for change in changes]
        if rule.recurrence is not None or rule.kind == "linear":
            ys = [view.value]
            for n in orders:
                if rule.recurrence is not None:
                    ys.append(rule.recurrence(zero_wins if careful else _product, xs, ys))
                else:
                    ys.append(_multilinear(view, xs, n))
            return ys[1:]
        if not reads_result:
            return _integrated(self._slopes(view, nodes, xs, [view.value], self.order - 1, forward))
        found: Series = []
        for n in range(self.order):  # the derivative to order n reads the result to order n
            found = _integrated(self._slopes(view, nodes, xs, [view.value, *found], n, forward))
        return found

    def _slopes(
        self,
        view: Node,
        nodes: Sequence[Node | None],
        xs: Sequence[Series],
        ys: Series,
        order: int,
        forward: Callable[..., Any],
    ) -> Series:
        """The coefficients 0 to `order` of the derivative of the result."""
        if order == 0:
            return [forward(view, [series[1] for series in xs])]
        inner, outer = Taylor(order), list(contexts.stack)
        captured = [(n, x[1 : order + 1]) for n, x in zip(nodes, xs, strict=True) if n and view.rule.captures]
        with entered(inner), inner._knowing(captured):
            again = _copied(view)
            again.value = None if ys[0] is None else inner._variable(ys[: order + 1])
            tangents = []
            operands = []
            for operand, series in zip(view.operands, xs, strict=True):
                moves = any(c is not None for c in series[1:])
                copy = _copied(operand)
                copy.value = inner._variable(series[: order + 1]) if moves else series[0]
                operands.append(copy)
                slopes = [None if c is None else n * c for n, c in enumerate(series[1 : order + 2], 1)]
                tangents.append(inner._variable(slopes, operand) if moves else None)
            again.operands = tuple(operands)
            slope = forward(again, tangents)
        if isinstance(slope, Bundle):
            parts = [inner._known(part, outer) for part in slope.parts]
            return [Bundle(list(each)) for each in zip(*parts, strict=True)]
        return inner._known(slope, outer)

    @contextmanager
    def _knowing(self, captured: Sequence[tuple[Node, Series]]) -> Iterator[None]:
        """Let nodes of the program itself, which a function of the user's will use again, have coefficients here."""
        for node, series in captured:
            if any(c is not None for c in series):
                self.set_tangent(node, series)
        try:
            yield
        finally:
            for node, _ in captured:
                getattr(node, "tangents", {}).pop(self, None)

    def _variable(self, series: Series, like: Node | None = None) -> Any:
        """A Tensor that has these coefficients, from 0, in this call."""
        value, *rest = series
        if value is None:
            if all(c is None for c in rest):
                return None
            assert like is not None
            value = np.zeros(like.shape, like.dtype)[()]
        tensor = record(rules["identity"], (value,)) if isinstance(value, Tensor) else handle(None, value)
        node = tensor.node
        if node is None:
            node = leaf(value)
            node.root = NEVER
            tensor = handle(node, value)
        if any(c is not None for c in rest):
            self.set_tangent(node, rest)
        return tensor

    def _known(self, x: Any, outer: Sequence[Context]) -> Series:
        """The coefficients from 0 of what was computed in this call."""
        if not isinstance(x, Tensor) or x.node is None:
            return [x.data if isinstance(x, Tensor) else x, *[None] * self.order]
        rest = self.tangent(x.node) or [None] * self.order
        return [x if outside(x.node, self.start, outer) else x.data, *rest]


def _product(a: Any, b: Any) -> Any:
    return a * b


def _copied(node: Node) -> Node:
    """A copy whose value and operands may be others."""
    copy = Node()
    copy.index, copy.shape = getattr(node, "index", 0), node.shape
    copy.dtype = getattr(node, "dtype", None)  # a constant has none
    copy.rule, copy.params = getattr(node, "rule", None), getattr(node, "params", None)
    return copy


def _integrated(slopes: Series) -> Series:
    """The coefficients from 1 of what has these for its derivative, from 0."""
    return [_divided(c, n) for n, c in enumerate(slopes, 1)]


def _divided(c: Any, n: int) -> Any:
    if isinstance(c, Bundle):
        return Bundle([_divided(part, n) for part in c.parts])
    return c if c is None or n == 1 else c / n


def _multilinear(view: Node, xs: Sequence[Series], n: int) -> Any:
    """Coefficient n of a product of any number of operands: the sum over all ways to write n as a sum."""
    total = None
    rest, options = view.params or ((), {})
    powers = [[i for i, c in enumerate(series[: n + 1]) if c is not None] for series in xs]
    for chosen in itertools.product(*powers):
        if sum(chosen) == n:
            operands = [series[i] for series, i in zip(xs, chosen, strict=True)]
            term = apply(view.rule, operands, rest, options)
            total = term if total is None else total + term
    return total
