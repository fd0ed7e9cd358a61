"""What a kernel reads of an earlier one: computed once more, where that costs less than memory does.

A forward pass leaves what the walk back reads.  The differences of all pairs of points are one subtraction, and a
kernel that reads them later can read the points instead: a large array is neither written nor read.  Only kernels that
go over the same box can do that, and only a value that no other step reads is worth it.  The same operations give the
same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, prod
from typing import Any

from .groups import MANY, Fused
from .kernels import DIVIDING, Group, Input, Op, Output
from .kernels.group import weight
from .program import Steps, read
from .steps import Var

__all__ = ["recomputed"]

Place = tuple[Var, Input]  # an array, and how a kernel reads it
# How many simple operations it costs to read an element, and half of what it costs to write it, by the array's bytes.
_PASS = ((1 << 15, 2), (1 << 19, 6), (1 << 62, 12))
_FUNCTION = 40  # simple operations, about: a function that is no instruction of the processor's


class _Node:
    """An operation, with operands that are nodes, places, or numbers."""

    __slots__ = ("args", "op")

    def __init__(self, op: Op, args: list[Any]) -> None:
        self.op, self.args = op, args

    @property
    def work(self) -> float:
        """How many simple operations it is."""
        if self.op.kind is not None:
            return inf
        return weight(self.op) if weight(self.op) == 1 or self.op.name in DIVIDING else _FUNCTION


class _Kernel:
    """A kernel that changes."""

    def __init__(self, step: Fused) -> None:
        self.step, self.box = step, (step.rows, step.columns)
        values: list[Any] = list(zip(step.args, step.group.inputs, strict=True))
        self.inputs: set[Place] = set(values)
        for op in step.group.ops:
            values.append(_Node(op, [values[arg] if isinstance(arg, int) else arg for arg in op.args]))
        outputs = zip(step.results, step.group.outputs, strict=True)
        self.outputs: list[tuple[Var, Any, Output]] = [(var, values[out.value], out) for var, out in outputs]
        self.copies: dict[_Node, _Node] = {}  # of other kernels' nodes: the same here
        self.changed = False

    def nodes(self) -> tuple[dict[Place, None], dict[_Node, None]]:
        """What is read, and what is computed of it, in order."""
        places: dict[Place, None] = {}
        nodes: dict[_Node, None] = {}
        stack = [value for _, value, _ in reversed(self.outputs)]
        while stack:
            value = stack[-1]
            missing = []
            if type(value) is _Node and value not in nodes:
                missing = [arg for arg in value.args if type(arg) is _Node and arg not in nodes]
                stack += reversed(missing)
            if missing:
                continue
            stack.pop()
            if type(value) is _Node:
                places |= dict.fromkeys(arg for arg in value.args if type(arg) is tuple)
                nodes[value] = None
            else:
                places[value] = None
        return places, nodes

    def written(self) -> dict[_Node, Place]:
        """The nodes that others find in an array of its own, in order."""
        found = {
            node: (var, Input(node.op.dtype, out.kind))
            for var, node, out in self.outputs
            if type(node) is _Node and out.kind in ("full", "column") and out.place is None and var.root is var
        }
        return {node: found[node] for node in self.nodes()[1] if node in found}

    def recompute(self, place: Place, node: _Node) -> None:
        """Read no more, but compute."""
        for each in self.nodes()[1]:
            each.args = [node if arg == place else arg for arg in each.args]
        self.outputs = [(var, node if value == place else value, out) for var, value, out in self.outputs]
        self.inputs.discard(place)
        self.changed = True

    def finished(self) -> Fused:
        """The kernel as a step."""
        places, nodes = self.nodes()
        numbers: dict[Any, int] = {value: number for number, value in enumerate([*places, *nodes])}
        ops = []
        for node in nodes:
            args = tuple(arg if type(arg) is float else numbers[arg] for arg in node.args)
            ops.append(Op(node.op.name, args, node.op.dtype, node.op.kind, node.op.every))
        outputs = tuple(Output(numbers[value], out.kind, out.place) for _, value, out in self.outputs)
        group = Group(tuple(given for _, given in places), tuple(ops), outputs, self.step.group.columns)
        return Fused(
            self.step.members, group, self.box, [var for var, _ in places], [var for var, _, _ in self.outputs]
        )


def recomputed(outputs: Sequence[Any], steps: Steps) -> Steps:
    """Let kernels compute what they would otherwise read.

    Parameters
    ----------
    outputs : what the program returns
    steps : list of Step and Guard
    """
    kernels = {step: _Kernel(step) for step in steps if isinstance(step, Fused)}
    readers: dict[Var, list[Any]] = {x: [None] for x in outputs if type(x) is Var}
    for step in steps:
        for var in dict.fromkeys(read(step)):
            readers.setdefault(var, []).append(step)
    for kernel in kernels.values():
        for node, place in kernel.written().items():
            after = [kernels.get(step) for step in readers.get(place[0], ())]
            if place[1].kind == "full":
                _pass_on(kernel, node, place, after)
    changed = {step: kernel for step, kernel in kernels.items() if kernel.changed}
    left = [step for step in steps if step not in changed or changed[step].outputs]
    return [changed[step].finished() if step in changed else step for step in left]


def _pass_on(kernel: _Kernel, node: _Node, place: Place, after: Sequence[_Kernel | None]) -> None:
    """Compute a value in all kernels that read it, if that costs less than to write it."""
    var = place[0]
    price = next(each for size, each in _PASS if prod(var.shape) * var.dtype.itemsize <= size)
    gain: float = (2 + len(after)) * price
    ways: list[_Copy] = []
    for other in after:
        if other is None or other.box != kernel.box or {x for x in other.inputs if x[0] is var} != {place}:
            return
        ways.append(way := _Copy(kernel, node, other, gain))
        more = sum(given.kind == "full" for _, given in way.leaves)
        gain -= way.work + more * price
        if gain < 0 or more > 1 or len(other.inputs) + len(way.leaves) > MANY:
            return
    for way in ways:
        way.other.copies |= way.copies
        way.other.inputs |= way.leaves
        way.other.recompute(place, way.copies[node])
    kernel.outputs = [output for output in kernel.outputs if output[0] is not var]
    kernel.changed = True


class _Copy:
    """What it takes to compute a value of a kernel in another one.

    Attributes
    ----------
    leaves : what that one would read further
    copies : the nodes that it would have further, by those that they are copies of
    work : how many simple operations that is for an element
    """

    def __init__(self, kernel: _Kernel, node: _Node, other: _Kernel, limit: float) -> None:
        self.other, self.limit, self.node = other, limit, node
        self.written = kernel.written()
        self.leaves: set[Place] = set()
        self.copies: dict[_Node, _Node] = {}
        self.work = 0.0
        self.value(node)

    def value(self, x: Any) -> Any:
        """What a value is in the other kernel."""
        if type(x) is tuple and x not in self.other.inputs:
            self.leaves.add(x)
        if type(x) is not _Node or self.work > self.limit:
            return x
        found = self.other.copies.get(x) or self.copies.get(x)
        if found is None:
            place = None if x is self.node else self.written.get(x)
            if place is not None and (place in self.other.inputs or place[1].kind == "column"):
                return self.value(place)
            self.work += x.work
            found = self.copies[x] = _Node(x.op, [])
            found.args += [self.value(arg) for arg in x.args]
        return found
