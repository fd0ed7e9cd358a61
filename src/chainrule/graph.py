"""The graph: what was applied to what.

This module knows what a node is and in which order nodes were made.  It knows no operation, no mode and
no Tensor.  Every walker (reverse, forward, drawing, ...) reads the same nodes.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from itertools import count
from operator import attrgetter
from typing import Any, Final

from .errors import FreedGraphError

__all__ = [
    "CLOSED",
    "FREED",
    "NEVER",
    "Gone",
    "Node",
    "by_index",
    "calls",
    "constant",
    "contexts",
    "leaf",
    "made_at",
    "next_index",
    "ordered",
    "programs",
    "watchers",
]


class Node:
    """One application of one operation: `rule` applied to `operands`.

    A legal node is one of

    - an *operation*: `rule` is set and every operand is older (has a smaller `index`);
    - a *leaf*: no rule, no operands, an index; derivatives are taken with respect to leaves;
    - a *constant*: no rule, no operands, index 0; it only carries a value.

    Attributes
    ----------
    value : the array (or NumPy scalar) computed here, kept only if some rule needs it to differentiate
    rule : the `Rule` of the operation
    operands : tuple of Node
    params : `(positional, keyword)` arguments that are not operands
    shape, dtype : of the value, known also where the value was not kept
    index : creation number; operands always have smaller ones, so sorting by it orders the graph
    cotangent : slot of the reverse walk in progress; `CLOSED` where that walk wants nothing
    owned : whether the array in `cotangent` belongs to the walk alone and may be written to
    tangents : `{follower: tangent}`, where forward mode follows the recorder; unset elsewhere
    root : smallest index of a leaf this node depends on; set only while something watches the recorder
    grad, name : of a leaf
    origin : where the program made it, and what it kept; set only under `debug()`
    """

    __slots__ = (
        "cotangent",
        "dtype",
        "grad",
        "index",
        "name",
        "operands",
        "origin",
        "owned",
        "params",
        "root",
        "rule",
        "shape",
        "tangents",
        "value",
    )

    cotangent: Any
    dtype: Any
    grad: Any
    index: int
    name: str | None
    operands: tuple[Node, ...]
    origin: Any
    owned: bool
    params: tuple[tuple[Any, ...], dict[str, Any]] | None
    root: float
    rule: Any
    shape: tuple[int, ...]
    tangents: dict[Any, Any]
    value: Any

    def __repr__(self) -> str:
        what = self.rule.name if self.rule else "leaf" if self.index else "constant"
        return f"<Node {self.index}: {what}>"


class _Closed:
    """What the `cotangent` slot holds where a reverse walk wants nothing."""

    def __repr__(self) -> str:
        return "CLOSED"


class Gone:
    """The rule of a node through which nothing can be differentiated any more: a walk that comes to it raises."""

    kind = "gone"

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def pull(self, node: Node, ct: Any) -> None:
        raise FreedGraphError(self.reason)

    careful_pull = recorded_pull = forward = pull


CLOSED: Final = _Closed()
FREED: Final = Gone(
    "freed",
    "this graph was freed by an earlier backward pass. Pass retain_graph=True to the first pass, "
    "or compute the result again; parameters are updated under no_grad().",
)
NEVER: Final = float("inf")  # root of a node on which no leaf of a reverse walk depends

next_index = count(1).__next__

# What is watching the recorder (forward-mode followers, `no_grad`, traces), over all threads.  While this list
# is empty, which is almost always, recording an operation costs one truth test; each thread's own are `contexts.stack`.
watchers: list[object] = []

# The last calls of modules, for pictures: first and last number of what a call made, the module's name, its class.
calls: deque[tuple[int, int, str, str]] = deque(maxlen=10_000)

# The programs that are being written down (jit), over all threads.
programs: list[object] = []


class _Contexts(threading.local):
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.levels: list[Any] = []  # the batches that are being worked on (vmap), the outermost first
        self.examples: dict[Any, int] = {}  # of batches that are worked on one by one: which example
        self.singular = "zero"  # what a zero factor does to infinity and NaN; see walk/singular.py
        self.careful = False  # whether walks multiply carefully, and look for no NaN before; see compile/rolled.py
        self.object_arrays = 0  # how often NumPy made an array of objects of a Tensor
        self.program: Any = None  # the program that this thread writes down (jit)
        self.debug: Any = None  # what looks for NaN and infinity as they arise; see walk/debug.py


contexts = _Contexts()


def leaf(value: Any, name: str | None = None) -> Node:
    """Make a leaf: a point with respect to which derivatives are taken."""
    node = Node()
    node.value = node.rule = node.params = node.grad = None
    node.operands = ()
    node.shape, node.dtype = value.shape, value.dtype
    node.index = next_index()
    node.name = name
    return node


def constant(value: Any, keep: bool = True) -> Node:
    """Wrap a value that has no derivative, so that rules find every operand in the same place."""
    node = Node()
    kind = value.__class__
    if kind is float or kind is int:
        node.value = value  # costs nothing, and a reader of the graph can show it
        node.shape = ()
    else:
        node.value = value if keep else None
        node.shape = getattr(value, "shape", ())
    node.rule = node.params = None
    node.operands = ()
    node.index = 0
    node.cotangent = CLOSED
    return node


def made_at(node: Node) -> str:
    """Say where the program made a node, if that is known: only under `debug()`."""
    origin = getattr(node, "origin", None)
    return f" (made at {origin})" if origin is not None else ""


by_index = attrgetter("index")


def ordered(roots: Iterable[Node], oldest: int = 1) -> tuple[list[Node], set[Node]]:
    """Collect what `roots` depend on, oldest first, down to creation number `oldest`.

    Returns
    -------
    nodes : list of Node
        Operations and leaves with `index >= oldest`, each after its operands.
    frontier : set of Node
        Operands of those nodes that are older or constant.
    """
    seen = set(roots)
    nodes = [root for root in seen if root.index >= oldest]
    frontier: set[Node] = set()
    for node in nodes:  # grows as it goes
        for operand in node.operands:
            if operand not in seen:
                seen.add(operand)
                if operand.index >= oldest:
                    nodes.append(operand)
                else:
                    frontier.add(operand)
    nodes.sort(key=by_index)
    return nodes, frontier
