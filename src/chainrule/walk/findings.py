"""What is found where NaN or infinity arose, and how it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..graph import Node
from ..rules.registry import Rule
from ..rules.rewrites import rewrite

__all__ = ["GIVEN", "Explanation", "Finding", "is_elementwise"]

GIVEN = ("leaf", "constant", "cotangent")
ACTED = {
    "R3": "the slope there is infinite, or too large for its dtype, and is given as infinity, not as NaN",
    "R4": "some product with an exactly zero factor was taken as 0",
}
NO_LINE = "Lines and all values are recorded inside `with cr.debug(stop=False):`; this was computed outside."


@dataclass(frozen=True)
class Operand:
    """An operand of the operation that is blamed.

    Attributes
    ----------
    name : the user's, or None
    shape, dtype : of the whole; None where nothing is known
    value : the number at the index in question; None if it was not kept, or no single number is in question
    text : the same for people
    """

    name: str | None
    shape: tuple[int, ...] | None
    dtype: Any
    value: Any
    text: str


@dataclass(frozen=True)
class Finding:
    """One operation that gave NaN or infinity.

    Attributes
    ----------
    phase : "forward", "forward-mode" (a tangent) or "backward"
    operation : name of the rule; "leaf" or "constant" for a value that was given
    value : the NaN or infinity
    index : where in the array it is: of the result, backward of the operand's gradient; the first place of several
    operands : tuple of Operand
    line : file, line and code that made it; "" where unknown
    certain : whether the operands are known to be finite; if not, it may have arisen earlier, in what was not kept
    rules : of "R3" (an infinite slope) and "R4" (a zero factor won), those that acted at this operation; backward only
    note : what else is known; may be ""
    rewrite : what to write instead; "" where nothing is known
    """

    phase: str
    operation: str
    value: Any
    index: tuple[int, ...]
    operands: tuple[Operand, ...]
    line: str
    certain: bool = True
    rules: tuple[str, ...] = ()
    note: str = ""
    rewrite: str = ""

    @classmethod
    def make(
        cls,
        phase: str,
        rule: Rule | str,
        value: Any,
        bad: Any,
        values: Sequence[Any],
        nodes: Sequence[Node | None],
        line: str,
        result: Any = None,
        **fields: Any,
    ) -> Finding:
        """Describe what a rule gave where the mask `bad` says, with its operands there."""
        name = rule if isinstance(rule, str) else rule.name
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), np.shape(bad)))
        at = np.shape(bad) if not isinstance(rule, str) and is_elementwise(rule) else None
        operands = tuple(_operand(v, node, index, at) for v, node in zip(values, nodes, strict=True))
        sources = [node.rule.name for node in nodes if node is not None and node.rule is not None]
        here = np.asarray(value)[index][()]
        result = here if phase == "forward" else _at(result, index, at)
        with np.errstate(all="ignore"):
            advice = rewrite(phase != "forward", name, sources, [operand.value for operand in operands], result)
        return cls(phase, name, here, index, operands, line, rewrite=advice, **fields)

    def __str__(self) -> str:
        place = f" at index {self.index}" if self.index else ""
        if self.operation == "cotangent":
            lines = [f"the cotangent that was given holds {self.value}{place}"]
        elif self.operation in GIVEN:
            lines = [f"a {self.operation} that was given holds {self.value}{place}"]
        elif self.phase == "forward":
            lines = [f"{self.operation} gave {self.value}{place}"]
        else:
            what = "derivative" if self.phase == "backward" else "tangent"
            lines = [f"the {what} of {self.operation} gave {self.value}{place}"]
        lines += [f"  {operand.text}" for operand in self.operands]
        if not self.certain:
            lines.append("  what was not kept may have been infinite or NaN before")
        lines += [f"  {self.note}"] * bool(self.note)
        lines += [f"  rule {rule} acted here: {ACTED[rule]}" for rule in self.rules]
        lines += [f"  made at {self.line}"] * bool(self.line)
        lines += [f"  instead: {self.rewrite}"] * bool(self.rewrite)
        return "\n".join(lines)


def _at(value: Any, index: tuple[int, ...], shape: tuple[int, ...] | None) -> Any:
    """The number of an operand that meets the result's element `index`, if one does."""
    if value is None or (shape is None and np.shape(value)):
        return None
    if not np.shape(value):
        return value
    return np.broadcast_to(value, shape)[index] if shape is not None else None


def _operand(value: Any, node: Node | None, index: tuple[int, ...], at: tuple[int, ...] | None) -> Operand:
    name = getattr(node, "name", None)
    shape = np.shape(value) if value is not None else getattr(node, "shape", None)
    dtype = getattr(value, "dtype", getattr(node, "dtype", None))
    here = _at(value, index, at)
    which = f"operand {name!r}" if name else "operand"
    if node is not None and node.rule is not None:
        which += f" (from {node.rule.name})"
    of = f" of shape {shape}" if shape else ""
    if value is None:
        text = f"{which}{of}: not kept"
    elif here is not None:
        text = f"{which}{of}: {here!s}" + (" there" if shape else "")
    else:
        text = f"{which}{of}: {_summary(value)}"
    return Operand(name, shape, dtype, here, text)


def _summary(value: Any) -> str:
    x = np.asarray(value)
    if not x.size:
        return "empty"
    if x.dtype.kind not in "fiu":
        return f"dtype {x.dtype}"
    bad = x.size - int(np.count_nonzero(np.isfinite(x)))
    good = x[np.isfinite(x)]
    within = f"between {good.min():.6g} and {good.max():.6g}" if good.size else "nothing finite"
    return within + (f", {bad} of {x.size} not finite" if bad else "")


@dataclass(frozen=True)
class Explanation:
    """Where NaN and infinity arose; `str()` says it in words.

    Attributes
    ----------
    forward : Finding or None
        The first operation that gave NaN or infinity which reached the result.
    turned_nan : Finding or None
        Where that infinity became the NaN of the result, if it did.
    backward : Finding or None
        The first operation whose derivative gave NaN or infinity which reached a leaf.
    zero_won : tuple of str
        The operations at which rule R4 acted in the backward pass, with their lines where known.
    vanished : Finding or None
        Of a finite result, the first operation that gave NaN or infinity on the way: ``1 / np.exp(1000.0)`` is 0.
    """

    forward: Finding | None
    turned_nan: Finding | None
    backward: Finding | None
    zero_won: tuple[str, ...]
    vanished: Finding | None = None

    def __str__(self) -> str:
        lines = [f"Forward: {self.forward or 'the result is finite.'}"]
        if self.vanished is not None:
            lines.append(f"What did not reach it: {self.vanished}")
        if self.turned_nan is not None:
            lines.append(f"Later it became NaN: {self.turned_nan}")
        lines.append(f"Backward: {self.backward or 'every gradient is finite.'}")
        if self.zero_won:
            shown = "\n  ".join(
                [*self.zero_won[:10], *[f"... and {len(self.zero_won) - 10} more"][: len(self.zero_won) > 10]]
            )
            lines.append(f"Rule R4 (a zero factor wins over infinity and NaN) acted in the derivative of\n  {shown}")
        found = [
            each
            for each in (self.forward, self.turned_nan, self.vanished, self.backward)
            if each and each.operation not in GIVEN
        ]
        if found and not any(each.line for each in found):
            lines.append(NO_LINE)
        return "\n".join(lines)

    __repr__ = __str__


def is_elementwise(rule: Rule) -> bool:
    """Whether an element of the result depends on the operands' elements there only."""
    return bool(rule.partials) or rule.name == "where"
