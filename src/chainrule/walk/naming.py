"""What the quantities of a computation are called, what is known of their values, and how they are written.

Names are looked up when something is to be shown: those given to Tensors and by modules, then those of the variables
that hold the quantities where the user asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from .. import formula
from ..formula import ATOM, SHORT, Shown
from ..graph import Gone, Node
from ..tensor import Tensor
from .derivation import Written, named
from .nans import again

__all__ = ["Names", "variables_of"]

IN_LINE = 8  # operations written into one expression
IN_FULL = 24  # the same where everything is written out
HELD = 1_000  # elements of a list, dictionary or object in which quantities are looked for
SMALL = 10_000  # elements of the largest array that is computed again because it was not kept


class Names:
    """Names for the nodes that `y` was computed from; `held` are pairs of a name and what it names, tensors or not.

    Attributes
    ----------
    head : what the result is called on the left of an equation: of its variables' names, one without a number
    given : nodes and the names that the user gave them
    values : nodes whose value is known though they did not keep it
    """

    def __init__(
        self,
        y: Tensor,
        targets: dict[Node, Tensor],
        nodes: list[Node],
        frontier: set[Node],
        held: Iterable[tuple[str, Any]],
    ) -> None:
        assert y.node is not None
        self.values = {y.node: y.data, **{node: target.data for node, target in targets.items()}}
        self.taken: set[str] = set()
        self.given: dict[Node, Written] = {}
        self.numbers: dict[Node, int] = {}
        wanted = {*nodes, *frontier}
        arrays = {id(node.value): node for node in frontier if isinstance(node.value, np.ndarray)}
        variables: dict[Node, list[str]] = {}
        for name, value in held:
            node = arrays.get(id(value))
            if isinstance(value, Tensor):
                node = value.node
                if node in wanted and node is not None:
                    self.values.setdefault(node, value.data)
                else:
                    node = getattr(value, "leaf", None)  # written to since: the name still tells which it was
            if node in wanted and node is not None:
                variables.setdefault(node, []).append(name)
        for node in nodes:
            if getattr(node, "name", None) is not None:
                self._give(node, str(node.name))
        for node, several in variables.items():
            if node is not y.node and node not in self.given:
                self._give(node, several[0])
        several = variables.get(y.node, []) if y.node not in self.given else []
        heads = [name for name in several if not name[-1].isdigit()]
        inner = [name for name in several if name[-1].isdigit()]
        if several:
            self._give(y.node, (inner or heads)[0])
        elif y.node not in self.given:
            self._give(y.node, next(name for name in ("y", "f", "result") if name not in self.taken))
        self.head = named(heads[0]) if heads and inner else self.given[y.node]
        self.taken.add(self.head.text)
        for node in targets:
            if node not in self.given:
                self._give(node, next((name for name in ("x", "t") if name not in self.taken), "input"))
        used = {name[0] for name in self.taken if name[1:].isdecimal()}
        self.letter = next((letter for letter in "vuqhrs" if letter not in used), "v")

    def _give(self, node: Node, name: str) -> None:
        """Name a node; of two with the same name, the second gets a number."""
        written = named(name)
        if written.text in self.taken:
            number = next(i for i in count(2) if f"{written.text}({i})" not in self.taken)
            written = Written(f"{written.text}({number})", f"{written.latex}^{{({number})}}")
        self.taken.add(written.text)
        self.given[node] = written

    def number(self, nodes: Iterable[Node]) -> None:
        """Call these, which come in the order of computation, v₁, v₂, ... unless they have a name."""
        self.numbers = dict(zip((node for node in nodes if node not in self.given), count(1)))

    def of(self, node: Node) -> Written | None:
        """The name of a node, if it has one."""
        number = self.numbers.get(node)
        return self.given.get(node) if number is None else named(f"{self.letter}{number}")

    def value(self, node: Node) -> Any:
        """The value of a node, or None if nobody kept it."""
        kept = getattr(node, "value", None)
        return self.values.get(node) if kept is None else kept

    def compute(self, nodes: list[Node]) -> bool:
        """Compute small values that were not kept; False, and nothing is computed, if what is known has changed."""
        found: dict[Node, Any] = {}
        for node in nodes:
            known = self.value(node)
            if node.rule is None or node.rule.pull_in_place or (known is not None and node.rule.kind == "custom"):
                continue
            operands = [found.get(operand, self.value(operand)) for operand in node.operands]
            if any(value is None for value in operands) or np.prod(node.shape, dtype=float) > SMALL:
                continue
            value = again(node, operands)
            if known is None:
                found[node] = value
            elif value is not None and not np.array_equal(known, value, equal_nan=value.dtype.kind in "fc"):
                return False
        self.values.update(found)
        return True

    def shown(self, node: Node, style: int, top: bool = False, full: bool = False) -> Shown:
        """Print a node as text (style 0) or LaTeX (1), with the precedence of what was printed.

        Down to quantities with a name, and at `top` what it was computed from in spite of its name; or down to leaves
        (`full`).  What is too long becomes an ellipsis.
        """
        left = IN_FULL if full else IN_LINE

        def leaf(found: Node) -> Shown | None:
            nonlocal left
            name = self.of(found)
            if name is not None and not (found is node and top) and (not full or found.rule is None):
                return name[style], ATOM
            if found.rule is None or isinstance(found.rule, Gone):
                return _constant(found)[style], ATOM
            left -= 1
            return None if left >= 0 else (("…", r"\cdots")[style], ATOM)

        return (formula.text_shown, formula.latex_shown)[style](node, leaf)


def _constant(node: Node) -> Written:
    """A number, or of an array without a name the shape."""
    value = node.value
    if isinstance(value, np.ndarray) and value.dtype.kind == "b" and value.ndim == 1 and value.size <= SHORT:
        return Written(f"{value.tolist()}", rf"\text{{{value.tolist()}}}")
    if value is None or np.ndim(value):
        text, latex = ("×".join(map(str, node.shape)), r" \times ".join(map(str, node.shape)))
        return Written(f"[{text}]", rf"\left[{latex}\right]") if node.shape else Written("c", "c")
    number = f"{np.asarray(value)[()]:.6g}"
    return Written(f"({number})", rf"\left({number}\right)") if number.startswith("-") else Written(number, number)


# -- variables -----------------------------------------------------------------------------------------------------
def variables_of(frame: FrameType) -> Iterator[tuple[str, Any]]:
    """Names and values where a function was called: local variables, those of the module, and then what these hold."""
    variables = {**frame.f_globals, **frame.f_locals}
    variables = {name: value for name, value in variables.items() if name.isidentifier() and name[0] != "_"}
    order = sorted(variables, key=lambda name: name not in frame.f_locals)
    yield from ((name, variables[name]) for name in order)
    for name in order:
        for key, value in islice(_held(variables[name]), HELD):
            if isinstance(value, Tensor):
                yield (key[1:] if name == "self" and key[0] == "." else name + key), value


def _held(x: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(x, list | tuple):
        yield from ((f"[{i}]", item) for i, item in enumerate(x))
    elif isinstance(x, dict):
        yield from ((f"[{key!r}]", item) for key, item in list(x.items()))
    elif hasattr(type(x), "named_parameters"):
        yield from ((f".{key}", item) for key, item in x.named_parameters())
    elif not isinstance(x, ModuleType | type | Tensor) and hasattr(x, "__dict__"):
        yield from ((f".{key}", item) for key, item in list(vars(x).items()))
