"""A loop of a traced program as one node.

Under `jit` a loop runs once: its turn is traced, and the loop is one step (`compile/rolled.py`).  Here is what that
means for derivatives.  The node's operands are what is carried at first, what is gone through, and the Tensors that the
turn reads from outside, which show when it is run.  Its push is a loop over carry and tangent; its pull goes through
the carries that were kept, the last one first, and pulls through the turn at each.  Both are such loops themselves, so
there are derivatives of any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from .batch import Batched
from .checkpointing import pulled, unwatched
from .compile.rolled import NotRolledError, is_traced, roll
from .graph import Node, contexts, leaf, next_index
from .own import is_floating
from .record import Context, entered
from .rules.bundle import Bundle, take
from .rules.registry import EVERYTHING, Rule, rules
from .tensor import Tensor, handle, record, tensor_like
from .walk.push import push

__all__ = ["NotRolledError", "loop"]

Turn = Callable[[Any, list[Any], list[Any]], tuple[list[Any], list[Any]]]
Condition = Callable[[list[Any]], Any]


def loop(
    turn: Turn,
    init: Sequence[Any],
    items: Sequence[Any] = (),
    *,
    turns: Any = None,
    condition: Condition | None = None,
    reverse: bool = False,
) -> tuple[list[Any], list[Any]]:
    """Do a loop as one step of the program that is being traced.

    Parameters
    ----------
    turn : callable
        Called with the number of the turn, what is carried, and the items; returns what is carried on, and what is
        collected.
    init, items : sequence
        What is carried at first, and arrays that are gone through along their first axis.
    turns : int, optional
    condition : callable, optional
        Instead of `turns`: called with what is carried, says whether there is another turn.
    reverse : bool, default False
        Whether the last item comes first.

    Returns
    -------
    What is carried in the end, and what was collected.

    Raises
    ------
    NotRolledError
        If the loop has to run turn by turn.
    """
    trace = contexts.program
    with trace.scope(), np.errstate(all="ignore"):
        goes_on = None if condition is None else condition(list(init))
        after, collected = turn(0, list(init), [x[0] for x in items])
    everything = [tensor_like(x) for x in (*init, *items, *after, *collected, goes_on)]
    if not any(is_traced(_plain(x)) for x in everything):
        raise NotRolledError("it does not depend on arguments")
    start = [_array(x, like) for x, like in zip(init, after, strict=True)]
    differentiable = any(isinstance(x, Tensor) for x in everything)
    if differentiable and trace.exact:
        raise NotRolledError("its derivative would add up in another order")
    length = 0 if turns is None else turns
    return _Loop(turn, turns, condition, length=length, reverse=reverse, differentiable=differentiable)(
        start, list(items)
    )


def _array(x: Any, like: Any) -> Any:
    """What is carried at first, as an array: Python's numbers are of the dtype that a turn makes of them."""
    x = tensor_like(x)
    if hasattr(x, "dtype"):
        return x if isinstance(x, Tensor) or is_traced(x) else np.asarray(x)[()]
    return np.asarray(x, getattr(like, "dtype", None))[()]


class _Reads(Context):
    """Notes the Tensors that a turn reads from outside."""

    walks = True

    def __init__(self) -> None:
        self.start = next_index()
        self.found: dict[Node, Any] = {}

    def made(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> None:
        """Look at the operands of a new node."""
        for operand, value in zip(nodes, values, strict=True):
            self.note(operand, value)

    def note(self, node: Node | None, value: Any) -> None:
        if node is not None and node.index < self.start:
            self.found.setdefault(node, value)


def _plain(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _node(x: Any) -> Node | None:
    return x.node if isinstance(x, Tensor) else None


def _zero(like: Any) -> Any:
    return np.zeros(like.shape, like.dtype)[()]


def _input(x: Any) -> Any:
    """An argument of a turn: a leaf, or a new node on what is differentiated in turn."""
    if not is_floating(x):
        return x
    return record(rules["identity"], (x,)) if _node(x) is not None else handle(leaf(_plain(x)), _plain(x))


class _Loop:
    """One call of a loop.

    Parameters
    ----------
    turn, turns, condition, length, reverse : see `loop` and `roll`
    differentiable : whether a turn gets Tensors
    """

    def __init__(
        self,
        turn: Turn,
        turns: Any,
        condition: Condition | None = None,
        *,
        length: int,
        reverse: bool,
        differentiable: bool,
    ) -> None:
        self.turn, self.turns, self.condition = turn, turns, condition
        self.length, self.reverse, self.differentiable = length, reverse, differentiable

    def __call__(self, init: list[Any], items: list[Any]) -> tuple[list[Any], list[Any]]:
        """Run it.  Where reverse mode may come through, what is carried into each turn is kept."""
        self.inputs, self.carried = [*init, *items], len(init)
        if contexts.levels or any(isinstance(x, Batched) for x in self.inputs):
            raise NotRolledError("examples of vmap")
        reads = _Reads()

        def tensors(values: list[Any]) -> list[Any]:
            return [_input(x) if self.differentiable else x for x in values]

        def one(place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
            after, collected = self.turn(place, tensors(carry), tensors(parts))
            for x in (*after, *collected):
                reads.note(_node(x), _plain(x))
            return [_plain(x) for x in after], [*map(_plain, collected), *(carry if self.differentiable else ())]

        def goes_on(carry: list[Any]) -> Any:
            assert self.condition is not None
            return _plain(self.condition(tensors(carry)))

        plain = [_plain(x) for x in self.inputs]
        with unwatched(), entered(reads):
            self.count, after, collected = roll(
                contexts.program,
                one,
                None if self.condition is None else goes_on,
                plain[: self.carried],
                plain[self.carried :],
                self.turns,
                self.length,
                self.reverse,
            )
        if not self.differentiable:
            return after, collected
        self.kept = collected[len(collected) - len(init) :]
        outputs = self._recorded([*after, *collected[: len(collected) - len(init)]], reads)
        return outputs[: len(init)], outputs[len(init) :]

    def _keeping(self, place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
        """A turn after which it can be seen what was carried into it."""
        after, collected = self.turn(place, carry, parts)
        return after, [*collected, *carry]

    def _recorded(self, outputs: list[Any], reads: _Reads) -> list[Any]:
        """Make the node."""
        self.outer = list(reads.found)
        self.places = [i for i, x in enumerate(self.inputs) if is_floating(x)]
        self.results = [i for i, x in enumerate(outputs) if is_floating(x)]
        self.outputs = outputs
        operands = [self.inputs[i] for i in self.places] + [handle(node, x) for node, x in reads.found.items()]
        rule = Rule("loop", _last, "custom", needs=(EVERYTHING,), pull_all=self.pull, push=self.push, runs_traced=True)
        tensor = record(rule, operands, (Bundle([outputs[i] for i in self.results]),))
        if tensor.node is None:
            return outputs
        outputs = list(outputs)
        for position, i in enumerate(self.results):
            outputs[i] = take(tensor, position=position)
        return outputs

    def again(self, turn: Turn, reverse: bool, differentiable: bool) -> _Loop:
        """Another loop of as many turns."""
        turns = self.count if self.turns is None else self.turns
        length = self.kept[0].shape[0] if self.kept else self.length
        return _Loop(turn, turns, length=length, reverse=reverse, differentiable=differentiable)

    def arguments(self, node: Node) -> tuple[list[Any], list[Any]]:
        """What was carried at first, and the items; Tensors where they are differentiated in turn."""
        inputs = list(self.inputs)
        for i, operand in zip(self.places, node.operands, strict=False):
            inputs[i] = operand.value
        return inputs[: self.carried], inputs[self.carried :]

    def pull(self, ct: Bundle, node: Node) -> list[Any]:
        """The cotangents of what was carried at first, of the items, and of what the turn reads from outside."""
        differentiable = any(_node(x) is not None for x in (*ct.parts, *(o.value for o in node.operands)))
        with nullcontext() if differentiable else unwatched():
            return self._pulled(ct.parts, node, differentiable)

    def _pulled(self, cts: list[Any], node: Node, differentiable: bool) -> list[Any]:
        init, items = self.arguments(node)
        n, kept = self.carried, self.kept
        if differentiable:
            kept = self.again(self._keeping, self.reverse, True)(init, items)[1][-n:] if n else []
        pairs = list(zip(self.results, cts, strict=True))
        ends = [_zero(self.outputs[i]) if ct is None else ct for i, ct in pairs if i < n]
        of_collected = {i: ct for i, ct in pairs if i >= n and ct is not None}
        chosen = [i for i, _ in pairs if i < n] + list(of_collected)
        floating = [i for i in self.places if i < n]

        def back(place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
            start = [_input(x) for x in parts[: len(self.inputs)]]
            oldest = next_index()
            after, collected = self.turn(place, start[:n], start[n:])
            roots = [_node([*after, *collected][i]) for i in chosen]
            targets = [*(start[i].node for i in self.places), *self.outer]
            given = [*carry[: len(ends)], *parts[len(self.inputs) :]]
            found = pulled(roots, given, targets, oldest, differentiable)
            found = [_zero(x) if ct is None else ct for x, ct in zip(targets, found, strict=True)]
            inputs, outer = found[: len(self.places)], found[len(self.places) :]
            totals = [total + ct for total, ct in zip(carry[len(ends) :], outer, strict=True)]
            return [*inputs[: len(floating)], *totals], inputs[len(floating) :]

        totals = [_zero(x) for x in self.outer]
        run = self.again(back, not self.reverse, differentiable)
        first, of_items = run.or_by_turns([*ends, *totals], [*kept, *items, *of_collected.values()])
        return [*first[: len(floating)], *of_items, *first[len(floating) :]]

    def push(self, node: Node, tangents: Sequence[Any]) -> Bundle:
        """The tangents of the results."""
        differentiable = any(_node(x) is not None for x in (*tangents, *(o.value for o in node.operands)))
        with nullcontext() if differentiable else unwatched():
            return Bundle(self._pushed(node, tangents, differentiable))

    def _pushed(self, node: Node, tangents: Sequence[Any], differentiable: bool) -> list[Any]:
        init, items = self.arguments(node)
        n, m = self.carried, len(self.inputs)
        inner = [_zero(self.inputs[i]) if t is None else t for i, t in zip(self.places, tangents, strict=False)]
        outer = {x: t for x, t in zip(self.outer, tangents[len(self.places) :], strict=True) if t is not None}
        carried = len([i for i in self.places if i < n])

        def along(place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
            start = [_input(x) for x in (*carry[:n], *parts[: m - n])]
            oldest = next_index()
            after, collected = self.turn(place, start[:n], start[n:])
            changes = [*carry[n:], *parts[m - n :]]
            known = {start[i].node: t for i, t in zip(self.places, changes, strict=True)} | outer
            results = [[*after, *collected][i] for i in self.results]
            roots = [_node(x) for x in results]
            pairs = zip(results, roots, push(roots, list(known), list(known.values()), oldest), strict=True)
            found = [known.get(root) if root is None or root.index < oldest else t for _, root, t in pairs]
            found = [_zero(x) if t is None else t for x, t in zip(results, found, strict=True)]
            return [*after, *found[:carried]], found[carried:]

        run = self.again(along, self.reverse, differentiable)
        after, changes = run.or_by_turns([*init, *inner[:carried]], [*items, *inner[carried:]])
        return [*after[n:], *changes]

    def or_by_turns(self, init: list[Any], items: list[Any]) -> tuple[list[Any], list[Any]]:
        """Run it as one step, or, where that cannot be, turn by turn."""
        try:
            return self(init, items)
        except NotRolledError:
            with entered(_Reads()):
                return self._by_turns(init, items)

    def _by_turns(self, init: list[Any], items: list[Any]) -> tuple[list[Any], list[Any]]:
        count = int(_plain(self.turns))
        carry, columns = init, []
        for place in range(count)[:: -1 if self.reverse else 1]:
            carry, collected = self.turn(place, carry, [x[place] for x in items])
            columns.append(collected)
        if not columns:
            with contexts.program.scope():
                columns = [[_zero(x)] for x in self.turn(0, carry, [x[0] for x in items])[1]]
        stacked = [np.stack(column[:: -1 if self.reverse else 1]) for column in zip(*columns, strict=True)]
        missing = self.length - len(columns)
        if missing:
            stacked = [np.concatenate([x, np.zeros((missing, *x.shape[1:]), x.dtype)]) for x in stacked]
        return carry, stacked


def _last(*values: Any) -> Any:
    return values[-1]
