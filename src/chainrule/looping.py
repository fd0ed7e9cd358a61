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
from copy import copy
from typing import Any

import numpy as np

from .batch import Around, Batched, Level, bottom, levels_of, lifted_to, lowered, wrapped
from .checkpointing import pulled, unwatched
from .compile.rolled import ImpureTurnError, Iteration, NotRolledError, is_traced, roll
from .custom import is_floating
from .graph import CLOSED, Node, contexts, leaf, next_index
from .record import Context, entered
from .rules.bundle import Bundle, take
from .rules.registry import EVERYTHING, Rule, rules
from .tensor import Tensor, handle, record, tensor_like
from .walk.parts import Parts
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
    plain = _Unbatched(turn, condition, init, items)
    if not any(is_traced(_plain(x)) for x in (*plain.init, *plain.items, *plain.seen)):
        raise NotRolledError("it does not depend on arguments")
    if contexts.program.exact and any(levels_of(x) and _node(bottom(x)) is not None for x in items):
        raise NotRolledError("the gradient of what it goes through would lie in memory in another order")
    differentiable = any(isinstance(x, Tensor) for x in (*plain.init, *plain.items, *plain.seen))
    length = 0 if turns is None else turns
    run = _Loop(plain.turn, turns, plain.condition, length=length, reverse=reverse, differentiable=differentiable)
    return plain.batched(*run(plain.init, plain.items))


class _Unbatched:
    """A loop over examples, of `vmap`, or over directions, as a loop over the arrays that hold all of them.

    What is carried is batched where a turn makes it so.  Where the condition differs from example to example, there are
    turns until it fails in all of them, and those in which it does keep what they have.

    Attributes
    ----------
    turn, condition, init, items : of the other loop
    seen : what the first turn gave, bottoms of batches
    """

    def __init__(self, turn: Turn, condition: Condition | None, init: Sequence[Any], items: Sequence[Any]) -> None:
        self._turn, self._condition = turn, condition
        self._around = Around()
        self._levels = [levels_of(x) for x in init]
        self._items = [levels_of(x) for x in items]
        while True:
            carry = [lifted_to(x, *levels) for x, levels in zip(init, self._levels, strict=True)]
            with contexts.program.scope(), np.errstate(all="ignore"):
                holds = None if condition is None else condition(list(carry))
                after, collected = turn(0, list(carry), [x[0] for x in items])
            before, self._active = self._levels, levels_of(holds)
            self._levels = [
                _united(levels, levels_of(x), self._active) for levels, x in zip(before, after, strict=True)
            ]
            if self._levels == before:
                break
        self._collected = [levels_of(x) for x in collected]
        self.seen = [bottom(tensor_like(x)) for x in (*after, *collected, holds)]
        self.init = [
            _flat(x if levels_of(x) else _array(x, like), levels)
            for x, like, levels in zip(init, after, self._levels, strict=True)
        ]
        self.items = [np.moveaxis(bottom(x), len(levels_of(x)), 0) if levels_of(x) else x for x in items]
        if self._active:
            self.init.append(self._still(condition, self._examples(self.init)))
        self.condition = None if condition is None else self._goes_on

    def _examples(self, carry: Sequence[Any]) -> list[Any]:
        return [wrapped(x, levels) for x, levels in zip(carry, self._levels, strict=False)]

    def _still(self, condition: Any, carry: list[Any]) -> Any:
        """For which examples there is another turn."""
        return _flat(condition(carry) != 0, self._active)

    def _goes_on(self, carry: list[Any]) -> Any:
        if self._active:
            return np.any(_plain(carry[-1]))
        with self._around.again():
            return self._condition(self._examples(carry))  # type: ignore[misc]

    def turn(self, place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
        """A turn of all examples."""
        with self._around.again():
            given = self._examples(carry)
            parts = [wrapped(x, levels) for x, levels in zip(parts, self._items, strict=True)]
            if not self._active:
                after, collected = self._turn(place, given, parts)
            else:
                with np.errstate(all="ignore"):  # of those for which it is over
                    after, collected = self._turn(place, given, parts)
                    active = wrapped(carry[-1], self._active)
                    after = [np.where(active, x, before) for x, before in zip(after, given, strict=True)]
                    still = _flat(active, self._active) & self._still(self._condition, after)
            after = [_flat(x, levels) for x, levels in zip(after, self._levels, strict=True)]
            collected = [_flat(x, levels) for x, levels in zip(collected, self._collected, strict=True)]
        return [*after, still] if self._active else after, collected

    def batched(self, after: list[Any], collected: list[Any]) -> tuple[list[Any], list[Any]]:
        """The results of the other loop as those of this one."""
        pairs = zip(collected, self._collected, strict=True)
        moved = [wrapped(self._in_front(x, len(levels)), levels) if levels else x for x, levels in pairs]
        return self._examples(after), moved

    def _in_front(self, x: Any, levels: int) -> Any:
        """What was collected, with the axes of the examples ahead of that of the turns."""
        x = np.moveaxis(x, 0, levels)
        return np.copy(x, order="C") if contexts.program.exact else x  # as it lies turn by turn, for sums go by that


def _united(*several: Sequence[Level]) -> list[Level]:
    """All of these levels, the oldest first."""
    return sorted({level for levels in several for level in levels}, key=lambda level: level.index)


def _flat(x: Any, levels: Sequence[Level]) -> Any:
    """The examples of these levels along axes in front, of what is batched over no other."""
    x = lowered(x, levels)
    if isinstance(x, Batched):
        raise NotRolledError("a later turn is batched otherwise")
    return x


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
        self.derived = False

    def __call__(self, init: list[Any], items: list[Any]) -> tuple[list[Any], list[Any]]:
        """Run it.  Where reverse mode may come through, what is carried into each turn is kept."""
        self.inputs, self.carried = [*init, *items], len(init)
        reads = _Reads()

        def tensors(values: list[Any]) -> list[Any]:
            return [_input(x) if self.differentiable else x for x in values]

        def one(place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
            given = tensors(carry), tensors(parts)
            first = next_index()
            after, collected = self.turn(place, *given)
            self._look_at(first, after, collected)
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
                Iteration(plain[: self.carried], plain[self.carried :], self.turns, self.length, self.reverse),
            )
        if not self.differentiable:
            return after, collected
        self.kept = collected[len(collected) - len(init) :]
        outputs = self._recorded([*after, *collected[: len(collected) - len(init)]], reads)
        return outputs[: len(init)], outputs[len(init) :]

    def _look_at(self, first: int, after: list[Any], collected: list[Any]) -> None:
        """Note which carries are collected, too; under `exact=True`, refuse results whose cotangents come otherwise.

        Turn by turn, a cotangent is added up in the order in which its value was used.  That is the order of the turns
        if what leaves one was made in it, and leaves it once (and, for the next turn, as carry).
        """
        carried, given = [_node(x) for x in after], [_node(x) for x in collected]
        self.twice = {i: carried.index(node) for i, node in enumerate(given) if node is not None and node in carried}
        left = [node for node in (*carried, *given) if node is not None]
        irregular = len(set(left)) + len(set(self.twice.values())) < len(left) or any(
            node.index < first for node in left
        )
        if irregular and self.differentiable and self.adds_up_in_order():
            raise NotRolledError("its derivative would be added up in another order")

    def adds_up_in_order(self) -> bool:
        """Whether a walk back through it must add up as turn by turn."""
        return contexts.program.exact and not self.derived

    def _keeping(self, place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
        """A turn after which it can be seen what was carried into it."""
        after, collected = self.turn(place, carry, parts)
        return after, [*collected, *carry]

    def _recorded(self, outputs: list[Any], reads: _Reads) -> list[Any]:
        """Make the node."""
        self.outer, self.read = list(reads.found), list(reads.found.values())
        self.places = [i for i, x in enumerate(self.inputs) if is_floating(x)]
        self.results = [i for i, x in enumerate(outputs) if is_floating(x)]
        self.outputs = outputs
        operands = [self.inputs[i] for i in self.places] + [handle(node, x) for node, x in reads.found.items()]
        used = [node for node in map(_node, operands) if node is not None]
        if self.adds_up_in_order() and len(set(used)) < len(used):
            raise NotRolledError("what it begins with is read in other ways, too")
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
        run = _Loop(turn, turns, length=length, reverse=reverse, differentiable=differentiable)
        run.derived = True
        return run

    def arguments(self, node: Node) -> tuple[list[Any], list[Any]]:
        """What was carried at first, and the items; Tensors where they are differentiated in turn."""
        inputs = list(self.inputs)
        for i, operand in zip(self.places, node.operands, strict=False):
            inputs[i] = operand.value
        return inputs[: self.carried], inputs[self.carried :]

    def pull(self, ct: Bundle, node: Node) -> list[Any]:
        """The cotangents of what was carried at first, of the items, and of what the turn reads from outside."""
        differentiable = any(_node(x) is not None for x in (*ct.parts, *(o.value for o in node.operands)))
        if self.derived and contexts.program.exact:
            raise ImpureTurnError("reverse mode through a derivative of a loop would add up in another order")
        with nullcontext() if differentiable else unwatched():
            return self._pulled(ct.parts, node, differentiable)

    def _pulled(self, cts: list[Any], node: Node, differentiable: bool) -> list[Any]:
        init, items = self.arguments(node)
        n, kept = self.carried, self.kept
        if differentiable:
            kept = self.again(self._keeping, self.reverse, True)(init, items)[1][-n:] if n else []
        pairs = list(zip(self.results, cts, strict=True))
        ends = {i: _zero(self.outputs[i]) if ct is None else ct for i, ct in pairs if i < n}
        of_collected = {i: ct for i, ct in pairs if i >= n and ct is not None}
        floating = [i for i in self.places if i < n]
        totals = [_zero(x) for x in self.outer]
        befores: dict[int, Any] = {}
        if contexts.program.exact:  # as turn by turn: each share is added to what there is already
            operands = node.operands[len(self.places) :]
            totals = [_taken(x, total) for x, total in zip(operands, totals, strict=True)]
            befores = self._befores(node, ends, of_collected)
        chosen = [*ends, *of_collected]

        def back(place: Any, carry: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
            start = [_input(x) for x in parts[: len(self.inputs)]]
            oldest = next_index()
            after, collected = self.turn(place, start[:n], start[n:])
            roots = [_node([*after, *collected][i]) for i in chosen]
            targets = [*(start[i].node for i in self.places), *self.outer]
            sums, parts = carry[len(ends) :], parts[len(self.inputs) :]
            given = [*carry[: len(ends)], *parts[: len(of_collected)]]
            if contexts.program.exact:
                there = [*(start[i] for i in befores), *map(handle, self.outer, self.read)]
                roots.append(_going_on(there, [*parts[len(of_collected) :], *sums]))
                given.append(np.float64(1))
            found = pulled(roots, given, targets, oldest, differentiable)
            found = [_zero(x) if ct is None else ct for x, ct in zip(targets, found, strict=True)]
            inputs, outer = found[: len(self.places)], found[len(self.places) :]
            if not contexts.program.exact:
                outer = [total + ct for total, ct in zip(sums, outer, strict=True)]
            return [*inputs[: len(floating)], *outer], inputs[len(floating) :]

        run = self.again(back, not self.reverse, differentiable)
        arrays = [*kept, *items, *of_collected.values(), *befores.values()]
        first, of_items = run.or_by_turns([*ends.values(), *totals], arrays)
        return [*first[: len(floating)], *of_items, *first[len(floating) :]]

    def _befores(self, node: Node, ends: dict[int, Any], of_collected: dict[int, Any]) -> dict[int, Any]:
        """What has been added up, when a turn comes, for the carry that it begins with: all turns, by the carry.

        Of the first turn, by what follows the loop; of others, by what collects that carry.
        """
        found = {}
        last = 0 if self.reverse else -1
        length = self.kept[0].shape[0] if self.kept else self.length
        for place, i in enumerate(self.places):
            if i >= self.carried:
                continue
            before = _taken(node.operands[place], None)
            collected = [k for k in of_collected if self.twice.get(k - self.carried) == i]
            if before is None and not collected:
                continue
            first = np.expand_dims(_zero(self.inputs[i]) if before is None else before, 0)
            others = np.zeros_like(self.kept[i], shape=(length - 1, *self.inputs[i].shape))
            if collected:
                ct = of_collected.pop(collected[0])
                ends[i] = ends[i] + ct[last]
                others = ct[1:] if self.reverse else ct[:-1]
            found[i] = np.concatenate([others, first] if self.reverse else [first, others])
        return found

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
            if not contexts.levels:
                return self(init, items)
            plain, run = _Unbatched(self.turn, None, init, items), copy(self)  # for there may be many directions
            run.turn = plain.turn
            return plain.batched(*run(plain.init, plain.items))
        except NotRolledError as error:
            if contexts.program.exact and self.differentiable:  # the turns of the function must be the same, then
                raise ImpureTurnError(f"{error}") from None
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


def _taken(operand: Node, otherwise: Any) -> Any:
    """What has been added up for an operand so far, which the loop goes on from."""
    total = operand.cotangent
    if total is None or total is CLOSED:
        return otherwise
    operand.cotangent = None
    return total.whole() if total.__class__ is Parts else total


def _going_on(tensors: Sequence[Any], totals: Sequence[Any]) -> Node | None:
    """A node made last, so that a walk comes to it first: the shares of the Tensors are added to these totals."""
    rule = Rule("going_on", _last, "custom", pull_all=lambda ct, node: list(totals), runs_traced=True)
    return _node(record(rule, tensors, (np.float64(1),))) if tensors else None
