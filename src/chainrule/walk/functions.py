"""From a rule to the functions that the walks call, made once per rule and mode.

The partial derivatives of a row are printed and compiled: both modes multiply by the same ones, reverse mode conjugates
them.  Rules that are functions already are wrapped.  The careful form of each is for the second walk, in which an exact
zero wins over infinity and NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from .. import formula, memory
from ..batch import bottom
from ..errors import NoDerivativeError
from ..graph import CLOSED, Node, programs, watchers
from ..memory import BIG, empty_like, in_blocks, keeps_bits, owns, uniform
from ..rules.batching import batch_function
from ..rules.linear import zero_wins
from ..rules.registry import LETTERS, UNKNOWN, Rule, apply, formulas, partial_trees
from ..tensor import Tensor, handle
from .parts import Parts

__all__ = ["additive_push_together", "is_written_down", "linear_push", "pull_function", "push_function"]

ndarray = np.ndarray
PLAIN = np.generic, ndarray
WHOLES = Tensor, type(None)  # what a cotangent is, if parts may be added to it

Accumulate = Callable[..., None]
Pull = Callable[[Node, Any], None]
Push = Callable[[Node, Sequence[Any]], Any]


def called() -> dict[str, Any]:
    """What the names in a printed formula mean: NumPy's ufuncs, and rules that are no ufunc."""
    return {
        name: rule.value if isinstance(rule.value, np.ufunc) else rule for name, rule in formulas.operations.items()
    }


def _reads(names: frozenset[str]) -> list[str]:
    """Lines that fetch the values a formula reads."""
    return [f"{name} = {'node' if name == 'y' else name.upper()}.value" for name in sorted(names)]


def _indented(lines: Sequence[str], by: int = 4) -> list[str]:
    return [" " * by + line for line in lines]


def _compiled(name: str, lines: list[str], **namespace: Any) -> Callable[..., Any]:
    source = "\n".join(lines)
    everything = called() | namespace | {"ratio": ratio, "zero_wins": zero_wins}  # a user's operation may have any name
    exec(compile(source, f"<{name}>", "exec"), everything)
    function: Callable[..., Any] = everything[name]
    function.__doc__ = source
    return function


def _others(operand: str, operands: Iterable[str]) -> list[str]:
    """The names in a formula of operands beside one that is differentiated: constants may be Python's numbers."""
    return [other.lower() for other in operands if other != operand]


def ratio(x: Any, y: Any) -> Any:
    """x/y as NumPy divides, also of two of Python's numbers, of which none may be zero below."""
    try:
        return x / y
    except ZeroDivisionError:
        with np.errstate(all="ignore"):
            return np.divide(x, y).item()


def _unknown(rule: Rule) -> Callable[[str], NoDerivativeError]:
    def error(letter: str) -> NoDerivativeError:
        position = ("first", "second", "third", "fourth", "fifth")[LETTERS.index(letter)]
        return NoDerivativeError(
            f"{rule.name} was to be differentiated in its {position} operand, in which no derivative is known. "
            "Pass it as a constant: t.data, or t.detach()."
        )

    return error


def tensor_on(node: Node) -> Any:
    """The value of a node as a Tensor on it; that of a constant as it is."""
    return handle(node, node.value) if node.index else node.value


def _printed_pull(rule: Rule, form: str, accumulate: Accumulate) -> Pull:
    """The reverse rule: adds the cotangent times each partial to that operand's cotangent.

    Large arrays of one shape and dtype go through the caches in blocks, and what is computed from a cotangent that
    belongs to the walk takes its place, once no other operand is waiting for it.  Of `x*x`, both shares are one.
    """
    operands = [letter.upper() for letter in LETTERS[: len(rule.partials)]]
    careful = form == "careful_pull"
    blocks: list[str] = []  # functions of blocks
    passed: list[str] = []  # operands that are given the cotangent itself
    plain: list[Node] = []  # partials by which the cotangent is multiplied plainly
    lines: list[str] = []
    for position, (operand, partial) in enumerate(zip(operands, partial_trees(rule), strict=True)):
        if formula.is_number(partial, 0):
            continue
        lines += [f"before = {operand}.cotangent", "if before is not CLOSED:"]
        if partial is UNKNOWN:
            lines += [f"    raise unknown({operand.lower()!r})"]
            continue
        read = formula.names(partial)
        if rule.conjugate and read:
            partial = formulas.make("conjugate", partial)
        if careful and read:
            temporaries, expression = formula.statements(_careful(rule, partial), "t", _others(operand, operands))
            body = [*_reads(read), *temporaries, f"accumulate({operand}, zero_wins(ct, {expression}), True)"]
        else:
            sharing = [f"{other}.cotangent is CLOSED" for other in [*passed, *operands[position + 1 :]]]
            numbers = _others(operand, operands)
            body = _plain_share(operand, partial, ["node.owned", *sharing], blocks, rule.conjugate, numbers=numbers)
            if formula.is_number(partial, 1):
                passed.append(operand)
            elif read:
                plain.append(partial)
        lines += _indented(body)
    if len(plain) == len(operands) == 2:
        both = _plain_share("A", formulas.make("add", *plain), ["node.owned"], blocks, rule.conjugate, "both")
        lines = [
            "if A is B and A.cotangent is not CLOSED:",
            "    before = A.cotangent",
            *_indented(both),
            "    return",
            *lines,
        ]
    if blocks:
        lines.insert(0, "large = ct.__class__ is ndarray and ct.nbytes >= BIG")
    if form == "recorded_pull":
        lines = [re.sub(r"= (\w+)\.value$", r"= tensor_on(\1)", line) for line in lines]
    lines.insert(0, f"{', '.join(operands)}, = node.operands")
    return _compiled(
        f"pull_{rule.name}",
        [*blocks, f"def pull_{rule.name}(node, ct):", *_indented(lines)],
        BIG=BIG,
        CLOSED=CLOSED,
        accumulate=accumulate,
        add=np.add,
        double=np.dtype("f8"),
        empty_like=empty_like,
        float64=np.float64,
        in_blocks=in_blocks,
        ndarray=np.ndarray,
        tensor_on=tensor_on,
        uniform=uniform,
        unknown=_unknown(rule),
    )


def _plain_share(
    operand: str,
    partial: Node,
    alone: list[str],
    blocks: list[str],
    conjugate: bool,
    name: str = "",
    numbers: Iterable[str] = (),
) -> list[str]:
    """Lines that add the cotangent times a partial to an operand's; functions of blocks are put into `blocks`.

    `alone` says when the cotangent may be written over, `numbers` which names may stand for Python's numbers.
    """
    read = formula.names(partial)
    product = formulas.make("multiply", formulas.symbol("ct"), partial)
    temporaries, expression = formula.statements(product, "t", numbers)
    passed = expression == "ct"
    x = "ct" if passed else "x"
    lines = [
        *_reads(read),
        *temporaries,
        *([] if passed else [f"x = {expression}"]),
        f"if {x}.__class__ is float64 and {operand}.dtype is double:  # and 0-d, for so is the result",
        f"    {operand}.cotangent = {x} if before is None else before + {x}",
        f"elif before is None and {x}.dtype is {operand}.dtype and {x}.shape == {operand}.shape:",
        f"    {operand}.cotangent, {operand}.owned = {x}, {not passed}",
        "else:",
        f"    accumulate({operand}, {x}{'' if passed else ', True'})",
    ]
    in_place = None if conjugate else formula.in_place(product, called())
    if not in_place:
        return lines
    calls, room = in_place
    given = ", ".join(["ct", *sorted(read)])
    name = name or operand.lower()
    blocks += [f"def put_{name}({', '.join(['out', given, *room])}):", *_indented(calls)]
    blocks += [f"def add_{name}({', '.join(['total', 'before', given, *room, 'out'])}):"]
    blocks += _indented([*calls, "add(before, out, out=total)"])
    reads = _reads(read)
    return [
        *reads,
        f"if large and uniform({given}):",
        "    if before.__class__ is ndarray and uniform(before, ct):",
        f"        total = before if {operand}.owned else empty_like(ct)",
        f"        in_blocks(add_{name}, {len(room) + 1}, total, before, {given})",
        f"        {operand}.cotangent, {operand}.owned = total, True",
        "    else:",
        f"        out = ct if {' and '.join(alone)} else empty_like(ct)",
        f"        {f'in_blocks(put_{name}, {len(room)}, out, {given})' if room else f'put_{name}(out, {given})'}",
        f"        accumulate({operand}, out, True)",
        "else:",
        *_indented(lines[len(reads) :]),
    ]


INFINITE_AT_POLES = {"divide": "quotient", "power": "power_with_poles"}


def _careful(rule: Rule, partial: Node) -> Node:
    """Of complex numbers, divide so that a pole is infinite (rule R3): NumPy's 1/0j is NaN."""
    if not rule.conjugate or partial.rule is None:
        return partial
    name = INFINITE_AT_POLES.get(partial.rule.name, partial.rule.name)
    return formulas.make(name, *(_careful(rule, operand) for operand in partial.operands))


def _printed_push(rule: Rule, careful: bool) -> Push:
    """The forward rule: the sum of each partial times that operand's tangent.

    Large arrays of one shape and dtype go through the caches in blocks, each term into the sum of those before.
    """
    letters = LETTERS[: len(rule.partials)]
    blocks: list[str] = []  # functions of blocks
    lines = [
        f"{', '.join(letter.upper() for letter in letters)}, = node.operands",
        f"{', '.join('t' + letter for letter in letters)}, = tangents",
        "total, owned = None, False",
    ]
    for position, (letter, partial) in enumerate(zip(letters, partial_trees(rule), strict=True)):
        if formula.is_number(partial, 0):
            continue
        if partial is UNKNOWN:
            lines += [f"if t{letter} is not None:", f"    raise unknown({letter!r})"]
            continue
        read = formula.names(partial)
        product = formulas.make("multiply", formulas.symbol("t" + letter), partial)
        if careful and read:
            temporaries, expression = formula.statements(_careful(rule, partial), "s", _others(letter, letters))
            expression = f"zero_wins(t{letter}, {expression})"
        else:
            temporaries, expression = formula.statements(product, "s", _others(letter, letters))
        adds = "total = term" if not position else "total = term if total is None else total + term"
        body = [*temporaries, f"term = {expression}", adds]
        if not careful:
            body = _large_term("t" + letter, read, product, not position, body, blocks)
        lines += [f"if t{letter} is not None:", *_indented([*_reads(read), *body])]
    return _compiled(
        f"push_{rule.name}",
        [*blocks, f"def push_{rule.name}(node, tangents):", *_indented([*lines, "return total"])],
        BIG=BIG,
        add=np.add,
        apply=memory.apply,
        empty_like=empty_like,
        in_blocks=in_blocks,
        ndarray=np.ndarray,
        uniform=uniform,
        unknown=_unknown(rule),
    )


def _large_term(
    t: str, read: frozenset[str], product: Node, first: bool, otherwise: list[str], blocks: list[str]
) -> list[str]:
    """Lines that add a tangent times a partial to `total`; functions of blocks are put into `blocks`."""
    large = f"{t}.__class__ is ndarray and {t}.nbytes >= BIG"
    if product is formulas.symbol(t):
        if first:
            return [f"total = {t}"]
        return [
            f"if total is None or not ({large}):",
            f"    total = {t} if total is None else total + {t}",
            "else:",
            f"    total = add(total, {t}, out=total) if owned and uniform(total, {t}) else apply(add, total, {t})",
        ]
    in_place = formula.in_place(product, called())
    if not in_place:
        return otherwise
    calls, room = in_place
    given = ", ".join([t, *sorted(read)])
    blocks += [f"def put_{t}({', '.join(['out', given, *room])}):", *_indented(calls)]
    put = [f"total, owned = empty_like({t}), True", f"in_blocks(put_{t}, {len(room)}, total, {given})"]
    if first:
        return [f"if {large} and uniform({given}):", *_indented(put), "else:", *_indented(otherwise)]
    blocks += [f"def add_{t}({', '.join(['total', given, *room, 'out'])}):"]
    blocks += _indented([*calls, "add(total, out, out=total)"])
    return [
        f"if {large} and uniform({given}) and (total is None or (owned and uniform(total, {t}))):",
        "    if total is None:",
        *_indented(put, 8),
        "    else:",
        f"        in_blocks(add_{t}, {len(room) + 1}, total, {given})",
        "else:",
        *_indented(otherwise),
    ]


# -- rules that are functions ----------------------------------------------------------------------------------------
def _written_pull(rule: Rule, careful: bool, accumulate: Accumulate) -> Pull:
    if rule.pull_all is not None:
        pull_all = rule.pull_all

        def pull_every(node: Node, ct: Any) -> None:
            for operand, x in zip(node.operands, pull_all(ct, node), strict=True):
                if operand.cotangent is not CLOSED and x is not None:
                    accumulate(operand, x)

        return pull_every

    if rule.add_into is not None:
        return _adding(rule.add_into, rule.pulls[0], accumulate)
    if rule.pull_in_place is not None:
        return _writing(rule.pull_in_place, rule.pulls, accumulate)
    pulls = (rule.careful_pulls if careful else ()) or rule.pulls

    def pull_each(node: Node, ct: Any) -> None:
        for operand, function in zip(node.operands, pulls):  # noqa: B905 (the lengths agree; this is the hot path)
            if operand.cotangent is not CLOSED and function is not None:
                x = function(ct, node)
                # A new array that is no view belongs to the walk: rules return products, never what they keep.
                accumulate(operand, x, x.__class__ is ndarray and x is not ct and (x.base is None or owns(x)))

    turn = pulls[0]
    if not rule.turns or turn is None:
        return pull_each

    def pull_turned(node: Node, ct: Any) -> None:
        (operand,) = node.operands
        if operand.cotangent is not CLOSED:
            x = turn(ct, node)
            accumulate(operand, x, x.__class__ is ndarray and node.owned)

    return pull_turned


def _adding(add_into: Callable[..., None], transpose: Any, accumulate: Accumulate) -> Pull:
    """Add into the operand's cotangent in place: n reads of an n-array cost O(n) together, not O(n²).

    Where the walk is recorded, the parts are listed, and become one operation.
    """

    def pull_into(node: Node, ct: Any) -> None:
        operand = node.operands[0]
        total = operand.cotangent
        if total is CLOSED:
            return
        rest, options = node.params or ((), {})
        if total.__class__ is ndarray and operand.owned and isinstance(ct, PLAIN):
            add_into(total, ct, *rest, **options)
        elif (total is None or total.__class__ is ndarray) and isinstance(ct, PLAIN):
            total = np.zeros(operand.shape, operand.dtype) if total is None else total.copy()
            add_into(total, ct, *rest, **options)
            operand.cotangent = total
            operand.owned = True
        elif total.__class__ is Parts:
            total.add(node, ct)
        elif (
            ct.__class__ is Tensor
            and total.__class__ in WHOLES
            and not watchers
            and (not programs or keeps_bits(bottom(ct).data))
        ):
            operand.cotangent = Parts(operand.shape, total)
            operand.cotangent.add(node, ct)
        elif ct.__class__ is not Tensor and keeps_bits(ct if total is None else total):
            # As above, share by share: added up first, they would have other bits.
            if total is None:
                total = np.zeros_like(ct, operand.dtype, "C", shape=operand.shape)
            elif not operand.owned:
                total = np.copy(total, order="C")
            add_into(total, ct, *rest, **options)
            operand.cotangent, operand.owned = total, True
        elif is_written_down(total) and operand.owned and getattr(operand.rule, "pull_in_place", None) is not None:
            add_into(total, ct, *rest, **options)
        else:
            accumulate(operand, transpose(ct, node))

    return pull_into


def is_written_down(x: Any) -> bool:
    """Whether an array stands for one in a trace: what is written to it becomes part of the program."""
    return getattr(x, "written_down", False) is True


def _writing(pull_in_place: Callable[..., Any], pulls: Any, accumulate: Accumulate) -> Pull:
    """Hand the cotangent on to what was written to, in place: n writes to an n-array cost O(n) together, not O(n²)."""

    def pull_through(node: Node, ct: Any) -> None:
        base, value = node.operands
        if not (ct.__class__ is ndarray or is_written_down(ct)) or base.cotangent is CLOSED:
            for operand, function in zip(node.operands, pulls, strict=True):
                if operand.cotangent is not CLOSED:
                    accumulate(operand, function(ct, node))
            return
        if not (node.owned and ct.flags.c_contiguous):
            ct = np.copy(ct, order="C")
        x = pull_in_place(ct, node, value.cotangent is not CLOSED)
        if x is not None:
            accumulate(value, x, x.__class__ is ndarray)
        accumulate(base, ct, True)

    return pull_through


def linear_push(node: Node, tangents: Sequence[Any], together: bool = False) -> Any:
    """Push through a product: the sum over operands of the function with that operand's tangent in its place.

    If `together`, each tangent is many of them, along an axis in front, and the function is applied as `vmap` does.
    """
    rule, (rest, options) = node.rule, node.params or ((), {})
    total = None
    for i, t in enumerate(tangents):
        if t is not None:
            operands = [operand.value for operand in node.operands]
            operands[i] = t
            if together:
                flags = [j == i for j in range(len(operands))]
                term = batch_function(rule)(rule, operands, flags, *rest, **options)
            else:
                term = apply(rule, operands, rest, options)
            total = term if total is None else total + term
    return total


def additive_push_together(node: Node, tangents: Sequence[Any]) -> Any:
    """Push many tangents through a sum or its like: the function itself, of all of them."""
    rest, options = node.params or ((), {})
    size = next(len(t) for t in tangents if t is not None)
    whole = [
        np.zeros((size, *operand.shape), node.dtype) if t is None else t
        for operand, t in zip(node.operands, tangents, strict=True)
    ]
    return batch_function(node.rule)(node.rule, whole, [True] * len(whole), *rest, **options)


# -- which of them -----------------------------------------------------------------------------------------------
def _nothing(*_: Any) -> None:
    """The derivative is zero."""


def _missing(rule: Rule, mode: str, other: str | None) -> str:
    instead = {"forward": "use jvp, or ", "reverse": "use grad or vjp, or ", None: ""}[other]
    return f"{rule.name} has no {mode}-mode rule; {instead}give it one (def_partials, def_rules, custom_jvp)"


def pull_function(rule: Rule, form: str, accumulate: Accumulate) -> Pull:
    """The reverse rule, called as `(node, cotangent)`; it hands what it computes to `accumulate(operand, x, fresh)`.

    Its forms are those of `Rule`: "pull", "careful_pull", and "recorded_pull", which reads Tensors on the nodes where
    the others read their values, and which only rules have that are printed or read none.
    """
    if rule.partials:
        return _printed_pull(rule, form, accumulate)
    if rule.pull_all or rule.pulls:
        return _written_pull(rule, form == "careful_pull", accumulate)
    if rule.kind == "nondifferentiable":
        return _nothing
    raise NoDerivativeError(_missing(rule, "reverse", "forward" if rule.push else None))


def push_function(rule: Rule, careful: bool) -> Push:
    """The forward rule, called as `(node, tangents)`; it returns the tangent of the output, or None for zero."""
    if rule.partials:
        return _printed_push(rule, careful)
    if rule.push is not None:
        return (rule.careful_push if careful else None) or rule.push
    if rule.kind == "linear":
        return linear_push
    if rule.kind == "nondifferentiable":
        return _nothing
    raise NoDerivativeError(_missing(rule, "forward", "reverse" if rule.pulls or rule.pull_all else None))
