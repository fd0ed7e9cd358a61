"""debug(): stop at the operation that gives NaN or infinity, remember the lines, notice changed arrays.

While it is on, every operation takes the general way through `record`, which asks `contexts.debug` what to do.  While
it is off there is nothing to ask: the printed operators test `watchers`, as they always do.
"""

from __future__ import annotations

import linecache
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import numpy as np

from ..errors import ChangedArrayError, NonFiniteError, user_frame
from ..graph import Node, contexts, made_at, watchers
from ..rules.registry import Rule, kept
from ..tensor import plain
from .findings import Finding
from .nans import all_finite, fresh, in_backward
from .pull import sweep
from .push import pushed

__all__ = ["debug"]


class Origin:
    """Where a node was made, and what the arrays that its derivative reads looked like then.

    Attributes
    ----------
    file, line, function : of the innermost frame outside chainrule and NumPy
    prints : what the derivative reads: what it was used as, whether it is a constant, the array, and its digest
    """

    __slots__ = ("file", "function", "line", "prints")

    def __init__(self) -> None:
        frame = user_frame()
        self.file, self.line, self.function = frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        self.prints: list[tuple[str, bool, Any, bytes]] = []

    def __str__(self) -> str:
        code = linecache.getline(self.file, self.line).strip()
        where = "" if self.function == "<module>" else f", in {self.function}"
        return f"{self.file}:{self.line}{where}" + (f": {code if len(code) < 80 else code[:79] + '…'}" if code else "")

    def keep(self, what: str, constant: bool, x: Any) -> None:
        """Remember what an array looks like; anything else cannot change."""
        if isinstance(x, np.ndarray):
            self.prints.append((what, constant, x, _digest(x)))


def _digest(x: Any) -> bytes:
    return blake2b(x.tobytes(), digest_size=16).digest()


def _arrays(parameters: Any) -> Iterator[Any]:
    """The arrays among an operation's parameters: indices, masks."""
    if isinstance(parameters, np.ndarray):
        yield parameters
    elif isinstance(parameters, tuple | list):
        for part in parameters:
            yield from _arrays(part)
    elif isinstance(parameters, dict):
        yield from _arrays(list(parameters.values()))


def _tangent(node: Node | None, context: Any) -> Any:
    """The tangent that a context gave a node, as an array; None where it gave none."""
    return plain(getattr(node, "tangents", {}).get(context))


class Debugger:
    """What `contexts.debug` is inside `debug()`: asked by the recorder and by the walks.

    Attributes
    ----------
    stop : whether to raise where something is not finite
    """

    def __init__(self, stop: bool) -> None:
        self.stop = stop

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Do not stop inside: for a walk, whose own NaN may vanish by rule R4."""
        before, self.stop = self.stop, False
        try:
            with np.errstate(all="ignore"):
                yield
        finally:
            self.stop = before

    def _raise(self, finding: Finding) -> None:
        error = NonFiniteError(str(finding))
        error.finding = finding
        raise error

    # -- the recorder asks ---------------------------------------------------------------------------------------
    def computed(self, rule: Rule, nodes: Sequence[Node | None], values: Sequence[Any], value: Any) -> None:
        """Look at the result of an operation."""
        if self.stop and not all_finite(value):
            bad = fresh(rule, values, value)
            if bad is not None:
                self._raise(Finding.make("forward", rule, value, bad, values, nodes, str(Origin())))

    def made(self, node: Node, values: Sequence[Any], value: Any, written: int) -> None:
        """Remember where a node was made, and keep every value, so that `explain_nan` can show it."""
        node.origin = origin = Origin()
        positions, keep_output = kept(node.rule, tuple(operand.index > 0 for operand in node.operands))
        for position in positions:
            operand = node.operands[position]
            origin.keep(f"operand {position}", not operand.index, operand.value)
        if keep_output:
            origin.keep("its result", False, value)
        for array in _arrays(node.params):
            origin.keep("a parameter", True, array)
        if node.value is None:
            node.value = np.copy(value, order="K")[()] if written else value
        for operand, known in zip(node.operands, values, strict=True):
            if getattr(operand, "value", None) is None:  # a leaf or a constant that no derivative reads: may change
                operand.value = np.copy(known) if isinstance(known, np.ndarray) else known

    # -- the walks ask -------------------------------------------------------------------------------------------
    def follow(
        self, context: Any, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Any]
    ) -> None:
        """Let a context see a new node, and look at the tangent that it gives it."""
        finite = all(all_finite(_tangent(operand, context)) for operand in nodes)
        with self.quiet():
            context.made(node, nodes, values, outer)
        self._look(node, values, finite, _tangent(node, context))

    def pushed(self, node: Node, tangents: Sequence[Any]) -> Any:
        """Push through one node of a finished graph, and look at the tangent."""
        with self.quiet():
            tangent = pushed(node, tangents)
        values = [plain(getattr(operand, "value", None)) for operand in node.operands]
        self._look(node, values, all(all_finite(plain(t)) for t in tangents), plain(tangent))
        return tangent

    def _look(self, node: Node, values: Sequence[Any], finite: bool, tangent: Any) -> None:
        if self.stop and finite and not all_finite(tangent):
            bad, origin = ~np.isfinite(tangent), getattr(node, "origin", "")
            self._raise(Finding.make("forward-mode", node.rule, tangent, bad, values, node.operands, str(origin)))

    def walk(
        self, nodes: list[Node], frontier: Any, roots: Any, cotangents: Any, targets: Any, form: str, parts: bool
    ) -> list[Any]:
        """Walk back; check that what is read is what was kept, and that what arrives is finite."""
        for node in nodes:
            self._unchanged(node)
        stop = self.stop
        with self.quiet():
            results: list[Any] = sweep(nodes, frontier, roots, cotangents, targets, form, parts)
            finding = None
            if stop and not all(all_finite(plain(x)) for x in results if x is not None):
                for node in (*nodes, *frontier, *roots, *targets):  # shadows may hold Tensors
                    node.value = plain(getattr(node, "value", None))
                finding, _ = in_backward(nodes, frontier, roots, [plain(ct) for ct in cotangents], targets)
        if finding is not None:
            self._raise(finding)
        return results

    def _unchanged(self, node: Node) -> None:
        origin = getattr(node, "origin", None)
        if origin is None or node.rule is None:
            return
        for what, constant, array, digest in origin.prints:
            if _digest(array) != digest:
                raise ChangedArrayError(
                    f"{'an array' if constant else 'the data of a Tensor'} of shape {array.shape} and dtype "
                    f"{array.dtype} was changed after {node.rule.name}{made_at(node)} used it as {what}, and the "
                    f"derivative reads it. {'Pass a copy' if constant else 'Write to the Tensor, not to t.data'}, or "
                    "change it after the backward pass."
                )


@contextmanager
def debug(stop: bool = True) -> Iterator[None]:
    """Raise where NaN or infinity arises, remember the lines of the program, and notice changed arrays.

    Parameters
    ----------
    stop : bool, default True
        Raise at the first operation that gives NaN or infinity.  If false, only record: lines and values, which
        `explain_nan` then shows.

    Raises
    ------
    NonFiniteError
        A `FloatingPointError`.  In the forward pass, as soon as an operation gives NaN or infinity of finite operands;
        in forward mode also where a tangent does.  In the backward pass, if something that is not finite arrives at a
        leaf: the operation where it arose is named.  What vanishes on the way by rule R4, because a zero factor wins,
        is no error.
    ChangedArrayError
        In the backward pass, if an array that it reads was changed since it was used: a plain array that was a
        constant, or the `data` of a Tensor.

    Notes
    -----
    Holds in this thread.  Inside, errors of the backward pass also say where the operation was recorded.  Every value
    is kept and arrays are hashed: use it to look for a fault, not to train.  Outside it costs nothing.  NaN and
    infinity in data that were given are no error.  A value that a later `np.where` would drop is one, in the forward
    pass: use ``stop=False`` and `explain_nan` for such programs.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import Tensor
    >>> x = Tensor([1.0, 0.0], name="x")
    >>> with debug():
    ...     y = np.sqrt(x)
    ...     try:
    ...         y.backward()
    ...     except FloatingPointError as error:
    ...         print(str(error).splitlines()[0])
    the derivative of sqrt gave inf at index (1,)
    """
    before, contexts.debug = contexts.debug, Debugger(stop)
    watchers.append(contexts.debug)
    inner = contexts.debug
    try:
        yield
    finally:
        watchers.remove(inner)
        contexts.debug = before
