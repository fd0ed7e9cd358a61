"""Trading time for memory: functions that are run again when reverse mode comes to them, instead of being kept.

A checkpointed call is one node: its operands are the arguments, and the Tensors that the function reads from outside,
which show when it is run.  Its pull runs the function again and pulls through that.  A chain of steps keeps as many
states as it is allowed to, where binomial checkpointing puts them.

Forward mode needs none of this: it follows the function while that runs for the first time.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import comb
from typing import Any, cast

import numpy as np

from .arguments import Transformed, name_of, shown
from .batch import Around, bottom, levels_of, lifted_to, wrapped
from .custom import Call, is_floating
from .errors import InPlaceError, RecomputationError, StructureError
from .graph import NEVER, Node, contexts, leaf, next_index, ordered
from .randomness import Draws, States
from .record import Context, entered
from .rules.bundle import Bundle, take
from .rules.registry import EVERYTHING, Rule, rules
from .tensor import Tensor, as_value, describe, handle, record, tensor_like
from .tree import flatten, map_tree
from .walk.pull import pull
from .walk.push import Follower, outside, push

__all__ = ["checkpoint", "checkpoint_chain", "pulled", "unwatched"]

Function = Callable[..., Any]


# -- one function --------------------------------------------------------------------------------------------------
def checkpoint(f: Function) -> Function:
    """Make a function that keeps its arguments only, and is run again when it is differentiated in reverse mode.

    Parameters
    ----------
    f : callable
        Takes and returns arrays, or containers of arrays.  It may use Tensors from outside, and random numbers.

    Returns
    -------
    callable
        Called like `f`, with the same value and derivatives.

    Raises
    ------
    RecomputationError
        In the backward pass, if `f` gives something else the second time, or reads other Tensors.
    InPlaceError
        If `f` writes to a Tensor among its arguments, which would be another one the second time.

    Notes
    -----
    Cost: one more evaluation of `f` in each pass that comes through.  Memory: the arguments until then, and during the
    pass what one evaluation of `f` keeps.  Calls may be nested.  Random numbers are drawn again, from the same states:
    generators that are arguments, or that `f` holds, and NumPy's global one; the masks of `nn.dropout` too.
    Derivatives of a gradient (reverse over reverse, forward over reverse) run `f` again as well; what they record of
    that is kept like any other program's.  In a trace, and in what `jit` writes down, `f` is recorded like any other
    function.

    Examples
    --------
    >>> @checkpoint
    ... def layer(x):
    ...     return np.tanh(np.sin(x) * x)
    >>> x = Tensor([0.5, 1.0])
    >>> y = layer(layer(x))  # keeps two arrays of two numbers, not six
    >>> np.sum(y).backward()
    >>> np.round(x.grad, 4)
    array([0.3994, 0.7081])
    """
    return Transformed(_checkpoint, f)


def _checkpoint(f: Function, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if _written_out():
        return f(*args, **options)
    return _Checkpoint(f, args, options).result()


def _written_out() -> bool:
    """Whether a trace or a program is made of what runs here: it keeps what it computed, and computes nothing twice."""
    return contexts.program is not None or any(context.traces for context in contexts.stack)


class _Reads(Context):
    """Notes what a function reads from outside: nodes older than it, with the values that they have there."""

    def __init__(self) -> None:
        self.start = next_index()
        self.found: dict[Node, Any] = {}
        self.inputs: set[Node] = set()

    def made(self, node: Node, nodes: Sequence[Node | None], values: Sequence[Any], outer: list[Context]) -> None:
        """Look at the operands of a new node."""
        for operand, value in zip(nodes, values, strict=True):
            if operand is not None and operand.index < self.start and operand not in self.found:
                self.note(operand, value)

    def note(self, node: Node, value: Any) -> None:
        """A copy of the value, which may be on memory that is written to later, unless the node keeps it anyway."""
        if node not in self.inputs:
            known = getattr(node, "value", None)
            self.found[node] = np.copy(value)[()] if known is None else known


@contextmanager
def unwatched() -> Iterator[None]:
    """What is computed here is of no concern to those who watch the recorder."""
    stack, contexts.stack = contexts.stack, []
    try:
        yield
    finally:
        contexts.stack = stack


class _Checkpoint:
    """One call of a checkpointed function."""

    def __init__(self, f: Function, args: tuple[Any, ...], options: dict[str, Any], *holders: Any) -> None:
        self.f = f
        self.name = name_of(f)
        self.call = Call([*args, options], ())
        self.levels = [levels_of(x) for x in self.call.tensors]
        self.around = Around()
        self.oldest = max((context.oldest for context in contexts.stack), default=0)
        self.draws = Draws(*(holders or (f, args, options)))
        self.captured: list[Node] = []  # made outside, and read by the function
        self.sums: list[Any] = []
        self.running = True

    def result(self) -> Any:
        """Run the function, and make the node of this call."""
        reads = _Reads()
        with self.draws.drawing(), entered(reads):
            leaves, rebuild = self.first_run(reads)
        places = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        outputs = [leaves[i] for i in places]
        bundle = Bundle([bottom(x).data for x in outputs])
        self.sums = [_sums(part) for part in bundle.parts]
        self.captured = list(reads.found)
        operands, self.call.tensors = [bottom(x) for x in self.call.tensors], []  # who holds the call holds no graph
        operands += [handle(node, value) for node, value in reads.found.items()]
        if operands:
            rule = Rule(
                f"checkpoint of {self.name}",
                self.value,
                "custom",
                needs=(EVERYTHING,),
                pull_all=self.pull,
                push=self.push,
            )
            tensor = record(rule, operands, (bundle,))
            if tensor.node is not None and tensor.node.params is not None:
                tensor.node.params = ((), {})  # the results belong to who asked for them
            for position, (place, output) in enumerate(zip(places, outputs, strict=True)):
                taken = take(tensor, position=position)
                if taken.node is not None:
                    _carry_tangents(output.node, taken.node)
                leaves[place] = wrapped(taken, levels_of(output))
        self.running = False
        return rebuild(leaves)

    def value(self, *operands: Any) -> Bundle:
        """The bundle that `result` made; for a walk that computes what was not kept, by running the function again."""
        if isinstance(operands[-1], Bundle):
            return operands[-1]
        with unwatched():
            inputs = [handle(leaf(x), x) for x in operands[: len(self.levels)]]
            return Bundle([x.data for x in self.run_again(inputs, next_index())])

    # -- running it --------------------------------------------------------------------------------------------------
    def first_run(self, reads: _Reads) -> tuple[list[Any], Any]:
        """The results as a list of leaves, and how to make a container of them; notes what is read from outside."""
        inputs = [_input(x, self.oldest, reads) for x in self.call.tensors]
        leaves, rebuild = self.run(inputs)
        for x in leaves:
            node = x.node if isinstance(x, Tensor) else None
            if node is not None and self.oldest <= node.index < reads.start:  # returned as it is
                reads.note(node, bottom(x).data)
        return leaves, rebuild

    def run(self, inputs: list[Tensor]) -> tuple[list[Any], Any]:
        """Call the function with these Tensors in the places of its arguments."""
        before = [bottom(x).data for x in inputs]
        *args, options = self.call.arguments(inputs)
        leaves, rebuild, _ = flatten(self.f(*args, **options))
        _check_unwritten(inputs, before, self.name)
        return [tensor_like(x) for x in leaves], rebuild

    def run_again(self, inputs: list[Tensor], start: int) -> list[Tensor]:
        """The results, with history since `start`."""
        tensors = [wrapped(x, levels) for x, levels in zip(inputs, self.levels, strict=True)]
        with self.draws.again(), self.around.again():
            leaves, _ = self.run(tensors)
        outputs = [bottom(x) for x in leaves if isinstance(x, Tensor)]
        self.compare(outputs, start, inputs)
        return outputs

    def compare(self, outputs: Sequence[Tensor], start: int, inputs: Sequence[Tensor]) -> None:
        """Check that the second run gave what the first did."""
        known = {*self.captured, *(x.node for x in inputs)}
        same_reads = all(node in known or node.index < self.oldest for node in _outside(outputs, start))
        sums = [_sums(x.data) for x in outputs]
        if not same_reads or len(sums) != len(self.sums) or not all(map(_agree, sums, self.sums)):
            what = "gave something else" if same_reads else "read other Tensors"
            raise RecomputationError(
                f"{self.name}, under checkpoint, {what} when it was run again for the backward pass. It must depend on "
                "nothing that changes in between: pass random generators as arguments, and do not write to what it "
                "reads from outside"
            )

    # -- differentiating it --------------------------------------------------------------------------------------------
    def pull(self, ct: Bundle, node: Node) -> list[Any]:
        """The cotangents of the arguments and of what was read from outside."""
        values = [operand.value for operand in node.operands]
        if any(isinstance(x, Tensor) and x.node is not None for x in (*ct.parts, *values)):
            return self.pull_through(ct.parts, node.operands[: len(self.levels)], differentiable=True)
        with unwatched():
            return self.pull_through(ct.parts, node.operands[: len(self.levels)], differentiable=False)

    def pull_through(self, cts: list[Any], operands: Sequence[Node], *, differentiable: bool) -> list[Any]:
        """Run the function again, and pull through what that recorded."""
        inputs = [_input_again(operand) for operand in operands]
        start = next_index()
        roots = [x.node for x in self.run_again(inputs, start)]
        return pulled(roots, cts, [*(x.node for x in inputs), *self.captured], start, differentiable)

    def push(self, node: Node, tangents: Sequence[Any]) -> Bundle | None:
        """The tangents of the results, over the graph of a second run."""
        if self.running:  # followed already, in the first run
            return None
        values = [operand.value for operand in node.operands]
        differentiable = any(isinstance(x, Tensor) and x.node is not None for x in (*tangents, *values))
        with unwatched() if not differentiable else _as_it_is():
            inputs = [_input_again(operand) for operand in node.operands[: len(self.levels)]]
            start = next_index()
            roots = [x.node for x in self.run_again(inputs, start)]
            pairs = zip([*(x.node for x in inputs), *self.captured], tangents, strict=True)
            known: dict[Any, Any] = {target: t for target, t in pairs if target is not None and t is not None}
            found = [
                known.get(root) if root is None or root.index < start else pushed
                for root, pushed in zip(roots, push(roots, list(known), list(known.values()), start), strict=True)
            ]
        if not differentiable:
            found = [x.data if isinstance(x, Tensor) and x.node is not None else x for x in found]
        return Bundle(found)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


def _input(x: Any, oldest: int, reads: _Reads, constant: bool = False) -> Tensor:
    """An argument of the first run: cut off from its history, but for what forward mode needs of it."""
    followers = [context for context in contexts.stack if isinstance(context, Follower)]
    if constant and not followers:
        return cast(Tensor, x if x.node is None else x.detach())
    levels, x = levels_of(x), bottom(x)
    visible = x.node is not None and x.node.index >= oldest
    if visible and followers and outside(x.node, followers[-1].start, ()):  # a reverse walk will come through tangents
        new: Any = np.copy(x)
    else:
        node = leaf(x.data)
        if followers:
            node.root = NEVER
        if visible:
            _carry_tangents(x.node, node)
        new = handle(node, x.data)
    reads.inputs.add(new.node)
    return cast(Tensor, wrapped(new, levels))


def _input_again(operand: Node) -> Tensor:
    """An argument of a later run: a constant, a leaf, or a new node on what is differentiated in turn."""
    value = operand.value
    if isinstance(value, Tensor) and value.node is not None:
        return cast(Tensor, record(rules["identity"], (value,)))
    return handle(leaf(value) if operand.index else None, value)


def _carry_tangents(source: Node | None, node: Node) -> None:
    """Give a node the tangents that another one has in the forward-mode calls in progress."""
    for context in contexts.stack:
        tangent = context.tangent(source) if isinstance(context, Follower) else None
        if tangent is not None:
            cast(Follower, context).set_tangent(node, tangent)


def _check_unwritten(inputs: Sequence[Tensor], before: Sequence[Any], name: str) -> None:
    """Writing gives a Tensor other memory, for that of the user may be shared."""
    for x, data in zip(inputs, before, strict=True):
        if bottom(x).data is not data:
            raise InPlaceError(
                f"{name}, under checkpoint, writes to its argument ({describe(x)}), which must be the same when it is "
                "run again. Write to a copy: x = x.copy()"
            )


def _outside(outputs: Sequence[Tensor], start: int) -> set[Node]:
    """The nodes older than `start` that these results depend on."""
    roots = [x.node for x in outputs if x.node is not None]
    _, frontier = ordered(roots, start)
    return {node for node in (*frontier, *roots) if 0 < node.index < start}


def pulled(
    roots: Sequence[Node | None], cts: Sequence[Any], targets: Sequence[Node | None], start: int, differentiable: bool
) -> list[Any]:
    """Cotangents of the targets, which were made before `start`; some of the roots may be targets."""
    pairs = [(root, ct) for root, ct in zip(roots, cts, strict=True) if root is not None and ct is not None]
    wanted = [target for target in targets if target is not None]
    inside = [(root, ct) for root, ct in pairs if root.index >= start]
    _, results, _ = pull(
        [root for root, _ in inside], [ct for _, ct in inside], wanted, oldest=start, differentiable=differentiable
    )
    totals: dict[Node, Any] = {}
    totals.update(zip(wanted, results, strict=True))
    for root, ct in pairs:
        if root.index < start and root in totals:
            totals[root] = _sum(totals[root], ct)
    return [None if target is None else totals.get(target) for target in targets]


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b


def _sums(x: Any) -> Any:
    """Numbers by which a result is known again."""
    flat = np.ravel(x)
    return np.shape(x), flat.dtype, np.sum(flat), np.real(np.vdot(flat, flat))


def _agree(a: Any, b: Any) -> bool:
    if a[:2] != b[:2]:
        return False
    tolerance = 1e3 * np.finfo(a[1]).eps
    size = np.sqrt(abs(b[3]) * max(1, np.prod(a[0])))
    with np.errstate(all="ignore"):
        return bool(
            (abs(a[2] - b[2]) <= tolerance * size or not np.isfinite(b[2]))
            and (abs(a[3] - b[3]) <= tolerance * b[3] or not np.isfinite(b[3]))
        )


# -- a chain of steps ------------------------------------------------------------------------------------------------
def checkpoint_chain(steps: Sequence[Function] | tuple[Function, int], memory: int | str) -> Function:
    """Make the function that applies many steps to a state, and is differentiated within a given memory.

    Parameters
    ----------
    steps : sequence of callables, or (callable, int)
        Each takes the state and returns the next one; one function, as many times, or a function for each step.
    memory : int or str
        How many states may be kept at a time, the first one included, beside the one that is worked on; or their size:
        ``"200 MB"``.

    Returns
    -------
    callable
        Called with the first state, an array or a container of arrays; returns the last one.

    Raises
    ------
    StructureError
        If a step changes the structure of the state, or the shape or dtype of an array in it.
    RecomputationError, InPlaceError
        As of `checkpoint`.
    ValueError
        If the memory does not hold one state.

    Notes
    -----
    Cost: reverse mode runs steps again from the states kept.  Which ones are is optimal (binomial checkpointing):
    with `c` states, a chain of up to ``binomial(c + r, c)`` steps runs each step at most `r` times before the one time
    that it is differentiated; 100,000 steps within 20 states, about 5 times on average.  Beside the states, the pass
    keeps what one step records.  A second pass through the same result starts from the first state again.

    Forward mode keeps one state and its tangents.  Derivatives of a gradient (reverse over reverse, forward over
    reverse) record the whole chain: their memory grows with the number of steps.  What `checkpoint` says about random
    numbers, Tensors from outside, and writing to arguments holds for each step.

    References
    ----------
    A. Griewank and A. Walther, Algorithm 799: Revolve, ACM Transactions on Mathematical Software 26 (2000).

    Examples
    --------
    >>> rotate = checkpoint_chain((lambda s: (s[0] + 0.001 * s[1], s[1] - 0.001 * s[0]), 1000), memory=10)
    >>> x = Tensor(1.0)
    >>> position, velocity = rotate((x, 0.0))
    >>> position.backward()
    >>> float(np.round(x.grad, 3))
    0.541
    """
    if isinstance(steps, tuple) and len(steps) == 2 and hasattr(steps[1], "__index__"):
        steps = _Repeated(*steps)
    elif not isinstance(steps, Sequence) or not all(map(callable, steps)):
        raise TypeError(f"checkpoint_chain takes (step, count), or a sequence of steps, not {steps!r}")
    if not isinstance(memory, str):
        if not hasattr(memory, "__index__"):
            raise TypeError(f"memory={memory!r}: expected a number of states (an integer), or a size such as '200 MB'")
        memory = operator.index(memory)
    size = _bytes(memory) if isinstance(memory, str) else None
    return functools.partial(_chained, cast("Sequence[Function]", steps), memory, size)


def _chained(steps: Sequence[Function], memory: int | str, size: float | None, state: Any) -> Any:
    if _written_out():
        return functools.reduce(lambda state, step: step(state), steps, state)
    return map_tree(_plain_constant, _Chain(steps, state, memory, size).result())


def _plain_constant(x: Any) -> Any:
    """A state as others see it: the array, where nothing differentiable went into it."""
    return x.data if isinstance(x, Tensor) and x.node is None else x


class _Repeated(Sequence[Function]):
    def __init__(self, step: Function, count: int) -> None:
        if count < 0:
            raise ValueError(f"checkpoint_chain: {count} steps")
        self.step = step
        self.times = count

    def __len__(self) -> int:
        return self.times

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.times:
            raise IndexError(index)
        return self.step


UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def _bytes(text: str) -> float:
    number, _, unit = text.strip().partition(" ")
    try:
        return float(number) * UNITS[unit.strip().upper()]
    except (ValueError, KeyError):
        raise ValueError(f"memory={text!r}: expected a number of states, or a size such as '200 MB'") from None


def next_stop(steps: int, states: int) -> int:
    """After how many of these steps to keep the next state, with room for so many, the first one included."""
    repeats = 1
    while comb(states + repeats, states) < steps:
        repeats += 1
    return max(1, comb(states + repeats - 2, states), steps - comb(states - 1 + repeats, states - 1))


class _Chain(_Checkpoint):
    """One call of a chain of steps."""

    def __init__(self, steps: Sequence[Function], state: Any, memory: int | str, size: float | None) -> None:
        self.steps = steps
        leaves, self.rebuild, self.structure = flatten(state)
        leaves = [tensor_like(x) for x in leaves]
        self.floating = [is_floating(x) for x in leaves]
        self.states = [i for i, floats in enumerate(self.floating) if floats]
        leaves = [self._tensor(x) if floats else x for x, floats in zip(leaves, self.floating, strict=True)]
        if size is not None:
            memory = int(size // max(1, sum(bottom(x).data.nbytes for x in leaves if isinstance(x, Tensor))))
        self.room = int(memory)
        if self.room < 1:
            raise ValueError(f"checkpoint_chain: memory={memory!r} does not hold one state")
        distinct = [steps.step] if isinstance(steps, _Repeated) else list(steps)
        super().__init__(self._in_a_row, (self.rebuild(leaves),), {}, distinct, state)
        self.name = "the chain"
        self.shapes = [(x.shape, x.dtype) for x in self.call.tensors]
        self.kept: list[tuple[int, list[Any], States]] = []

    def _tensor(self, x: Any) -> Tensor:
        """A state of which each example of `vmap` has its own, as it will have after the first step."""
        x = x if isinstance(x, Tensor) else handle(None, as_value(x, copy=False))
        return cast(Tensor, lifted_to(x, *contexts.levels)) if contexts.levels else x

    def _in_a_row(self, state: Any) -> Any:
        leaves, _, _ = flatten(state)
        for number in range(len(self.steps)):
            leaves = self._step(number, leaves)
        return self.rebuild(leaves)

    def _step(self, number: int, leaves: list[Any]) -> list[Any]:
        """The next state."""
        new, _, structure = flatten(self.steps[number](self.rebuild(leaves)))
        if structure != self.structure:
            raise StructureError(
                f"step {number} of a chain made {shown(structure)} of a state that was {shown(self.structure)}. Every "
                "step must return the container it was given"
            )
        new, shapes = [tensor_like(x) for x in new], iter(self.shapes)
        for i, floats in enumerate(self.floating):
            if not floats and is_floating(new[i]):
                raise StructureError(
                    f"step {number} of a chain made {describe(new[i])} of an integer or another object, leaf {i} of "
                    "the state. Begin with a floating-point number there"
                )
            if floats:
                x = new[i] = self._tensor(new[i])
                expected = next(shapes)
                if x.shape != expected[0] or x.dtype != expected[1]:
                    raise StructureError(
                        f"step {number} of a chain made {describe(x)} of leaf {i} of the state, which had shape "
                        f"{expected[0]} and dtype {expected[1]}. Every step must leave them as they are"
                    )
        return new

    def _values(self, leaves: Sequence[Any]) -> list[Any]:
        return [bottom(x).data if floats else x for x, floats in zip(leaves, self.floating, strict=True)]

    def _filled(self, tensors: Sequence[Any]) -> list[Any]:
        """The leaves of a state with these Tensors among them."""
        rest = iter(tensors)
        return [next(rest) if floats else x for x, floats in zip(self.call.leaves, self.floating, strict=True)]

    def first_run(self, reads: _Reads) -> tuple[list[Any], Any]:
        """Run all steps, keeping the states from which the backward pass will start."""
        count, leaves = len(self.steps), self._filled(self.call.tensors)
        kept = None if any(isinstance(context, Follower) for context in contexts.stack) else self.kept
        leaves = self._advanced(0, max(0, count - 1), count, leaves, kept, reads)
        if count:
            if kept and kept[-1][0] < count - 1:
                kept.append((count - 1, self._values(leaves), self.draws.states()))  # the one that is worked on
            leaves = self._advanced(count - 1, count, count, leaves, None, reads)
        return leaves, self.rebuild

    def _advanced(
        self, number: int, until: int, stop: int, leaves: list[Any], kept: list[Any] | None, reads: _Reads
    ) -> list[Any]:
        """Run steps whose record is dropped, keeping the states that are wanted for going back from `stop`."""
        wanted = number
        while number < until:
            if number == wanted and kept is not None:
                kept.append((number, self._values(leaves), self.draws.states()))
                room = self.room - len(kept) + 1
                wanted = number + next_stop(stop - number, room) if room > 1 and stop - number > 1 else stop
            reads.inputs.clear()
            inputs = list(leaves)
            for i in self.states:
                inputs[i] = _input(leaves[i], self.oldest, reads, constant=True)
            before = [bottom(inputs[i]).data for i in self.states]
            leaves = self._step(number, inputs)
            _check_unwritten([inputs[i] for i in self.states], before, f"step {number}")
            for i in self.states:
                node = leaves[i].node
                if node is not None and self.oldest <= node.index < reads.start:
                    reads.note(node, bottom(leaves[i]).data)
            number += 1
        return leaves

    def pull_through(self, cts: list[Any], operands: Sequence[Node], *, differentiable: bool) -> list[Any]:
        """Go back step by step, each time from the nearest state that is kept."""
        if differentiable or not len(self.steps):
            return super().pull_through(cts, operands, differentiable=differentiable)
        kept, self.kept = self.kept, []
        totals: list[Any] = [None] * len(self.captured)
        now, stop, reads = self.draws.states(), len(self.steps), _Reads()
        try:
            with self.draws.drawing():
                if not kept:  # an earlier pass has used them up, or there were none
                    kept.append((0, self._filled([operand.value for operand in operands]), self.draws.first))
                while stop:
                    number, values, states = kept.pop()
                    self.draws.set(states)
                    with self.around.again():
                        leaves = self._advanced(number, stop - 1, stop, self._tensors(values), kept, reads)
                    stop -= 1
                    cts, more = self._turn(stop, self._values(leaves), cts)
                    totals = list(map(_sum, totals, more))
        finally:
            self.draws.set(now)
        return [*cts, *totals]

    def _tensors(self, values: Sequence[Any], inputs: Sequence[Tensor] | None = None) -> list[Any]:
        """The leaves of a state, from its values."""
        floating = [x for x, floats in zip(values, self.floating, strict=True) if floats]
        new = [handle(None, x) for x in floating] if inputs is None else inputs
        rest = map(wrapped, new, self.levels)
        return [next(rest) if floats else x for x, floats in zip(values, self.floating, strict=True)]

    def _turn(self, number: int, values: list[Any], cts: list[Any]) -> tuple[list[Any], list[Any]]:
        """The cotangents of the state before a step, and what the step adds to those of what it read from outside."""
        floating = [x for x, floats in zip(values, self.floating, strict=True) if floats]
        inputs = [handle(leaf(x), x) for x in floating]
        start = next_index()
        with self.around.again():
            leaves = self._step(number, self._tensors(values, inputs))
        outputs = [bottom(x) for x, floats in zip(leaves, self.floating, strict=True) if floats]
        if number == len(self.steps) - 1:
            self.compare(outputs, start, inputs)
        targets = [*(x.node for x in inputs), *self.captured]
        found = pulled([x.node for x in outputs], cts, targets, start, differentiable=False)
        return found[: len(inputs)], found[len(inputs) :]
