"""The formula language: local derivatives written as short expressions.

A formula is parsed, against a whitelist, into the same nodes as a user's program, with symbolic leaves (a name, no
value) in place of arrays.  So it can be simplified, printed as Python or LaTeX, drawn and differentiated like any
graph.  This module knows no rule: the operations that a formula may call are handed in.

The language: names, numbers, ``+ - * / **``, comparisons, and calls of registered elementwise operations.  It does
not grow; a derivative that does not fit becomes a custom rule.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .errors import FormulaError
from .graph import Node, constant

__all__ = [
    "Builder",
    "Notation",
    "by_its_own_name",
    "escaped",
    "in_place",
    "index_of",
    "latex",
    "latex_shown",
    "names",
    "parameters",
    "python",
    "statements",
    "text_shown",
]


class Infix(NamedTuple):
    symbol: str
    precedence: int
    fold: Callable[..., Any]


LOOSE, COMPARISON, SUM, PRODUCT, UNARY, POWER, ATOM = range(7)
SHORT = 8  # indices and truth values of the longest array that is written down
INFIX = {
    "greater": Infix(">", COMPARISON, operator.gt),
    "greater_equal": Infix(">=", COMPARISON, operator.ge),
    "less": Infix("<", COMPARISON, operator.lt),
    "less_equal": Infix("<=", COMPARISON, operator.le),
    "equal": Infix("==", COMPARISON, operator.eq),
    "not_equal": Infix("!=", COMPARISON, operator.ne),
    "add": Infix("+", SUM, operator.add),
    "subtract": Infix("-", SUM, operator.sub),
    "multiply": Infix("*", PRODUCT, operator.mul),
    "divide": Infix("/", PRODUCT, operator.truediv),
    "negative": Infix("-", UNARY, operator.neg),
    "power": Infix("**", POWER, operator.pow),
}
_OPERATIONS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
    ast.USub: "negative",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}


class Builder:
    """Builds formula graphs: equal sub-expressions become one node, and what can be folded is folded.

    Parameters
    ----------
    operations : mapping of str to Rule
        What a formula may call.
    """

    def __init__(self, operations: Mapping[str, Any]) -> None:
        self.operations = operations
        self._known: dict[tuple[Any, ...], Node] = {}

    def parse(self, text: str, allowed: tuple[str, ...]) -> Node:
        """Parse `text`, in which the names `allowed` may occur.

        Raises
        ------
        FormulaError
            If the text is not in the language.
        """
        try:
            return self._convert(ast.parse(text, mode="eval").body, allowed)
        except (SyntaxError, FormulaError) as error:
            raise FormulaError(f"formula {text!r}: {error}") from None

    def _convert(self, tree: ast.expr, allowed: tuple[str, ...]) -> Node:
        match tree:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return self.number(number)
            case ast.Name(id=name):
                if name not in allowed:
                    raise FormulaError(f"unknown name {name!r}; known here: {', '.join(allowed)}")
                return self.symbol(name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
                return self.make(_OPERATIONS[type(op)], self._convert(left, allowed), self._convert(right, allowed))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.make("negative", self._convert(operand, allowed))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATIONS:
                return self.make(_OPERATIONS[type(op)], self._convert(left, allowed), self._convert(right, allowed))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in self.operations:
                return self.make(name, *(self._convert(argument, allowed) for argument in arguments))
        raise FormulaError(f"{ast.unparse(tree)!r} is not part of the language")

    def number(self, value: float) -> Node:
        """A constant; a Python number, so that it never widens the dtype of an array."""
        return self._once(("number", repr(value)), lambda: constant(value))

    def symbol(self, name: str) -> Node:
        """A symbolic leaf."""

        def new() -> Node:
            node = constant(None)
            node.name = name
            return node

        return self._once(("symbol", name), new)

    def make(self, name: str, *operands: Node) -> Node:
        """Apply the operation `name`, simplified where the result is equal also for infinities."""
        if all(is_number(o) for o in operands) and name in INFIX:
            return self.number(INFIX[name].fold(*(o.value for o in operands)))
        if name == "multiply":
            x, factor = operands
            if is_number(x):
                x, factor = factor, x
            if is_number(factor, 1):
                return x
            if is_number(factor, -1):
                return self.make("negative", x)
            if is_number(factor, 0):
                return factor
            if is_op(factor, "divide") and is_number(factor.operands[0], 1):
                return self.make("divide", x, factor.operands[1])
        elif name == "negative" and (negated := self._negated(operands[0])) is not None:
            return negated
        elif name in ("add", "subtract", "divide") and begins_with_minus(operands[1]):
            positive = self._negated(operands[1])
            assert positive is not None
            if name == "divide":
                return self.make("negative", self.make("divide", operands[0], positive))
            return self.make("subtract" if name == "add" else "add", operands[0], positive)

        def new() -> Node:
            node = constant(None)
            node.rule, node.operands = self.operations[name], operands
            return node

        return self._once((name, *map(id, operands)), new)

    def _negated(self, node: Node) -> Node | None:
        """The opposite of what begins with a minus sign or a number, without a further operation; else None."""
        if is_op(node, "negative"):
            return node.operands[0]
        if is_number(node):
            return self.number(-node.value)
        if is_op(node, "multiply") or is_op(node, "divide"):
            first = self._negated(node.operands[0])
            return None if first is None else self.make(node.rule.name, first, node.operands[1])
        return None

    def _once(self, key: tuple[Any, ...], new: Callable[[], Node]) -> Node:
        if key not in self._known:
            self._known[key] = new()
        return self._known[key]


def is_number(node: Node, value: float | None = None) -> bool:
    """Whether `node` is a constant (equal to `value`, if given)."""
    return node.rule is None and node.value is not None and (value is None or node.value == value)


def is_op(node: Node, name: str) -> bool:
    """Whether `node` applies the operation `name`."""
    return node.rule is not None and node.rule.name == name


def begins_with_minus(node: Node) -> bool:
    """Whether a formula is written with a minus sign in front."""
    while is_op(node, "multiply") or is_op(node, "divide"):
        node = node.operands[0]
    return is_op(node, "negative") or (is_number(node) and node.value < 0)


def names(root: Node) -> frozenset[str]:
    """The symbolic leaves that `root` depends on."""
    if root.rule is not None:
        return frozenset().union(*(names(o) for o in root.operands))
    return frozenset() if is_number(root) else frozenset([str(root.name)])


def statements(root: Node, prefix: str = "t", numbers: Iterable[str] = ()) -> tuple[list[str], str]:
    """Print `root` as Python: assignments of shared sub-expressions, and the final expression.

    Of `numbers`, names that may stand for Python's numbers, which Python does not divide by zero, a quotient is printed
    as a call of `ratio`.
    """
    numbers = frozenset(numbers)
    uses: dict[Node, int] = {}

    def count_uses(node: Node) -> None:
        uses[node] = uses.get(node, 0) + 1
        if uses[node] == 1:
            for operand in node.operands:
                count_uses(operand)

    count_uses(root)
    lines: list[str] = []
    assigned: dict[Node, str] = {}

    def text(node: Node) -> tuple[str, int]:
        if node in assigned:
            return assigned[node], ATOM
        if is_op(node, "divide") and names(node) <= numbers:
            printed, precedence = f"ratio({', '.join(text(operand)[0] for operand in node.operands)})", ATOM
        else:
            printed, precedence = _python(node, text)
        if uses[node] > 1 and node.rule is not None:
            assigned[node] = f"{prefix}{len(lines)}"
            lines.append(f"{assigned[node]} = {printed}")
            return assigned[node], ATOM
        return printed, precedence

    return lines, text(root)[0]


def in_place(root: Node, functions: Mapping[str, Any]) -> tuple[list[str], list[str]] | None:
    """Print `root` as a sequence of ufunc calls that leave the result in `out`; None where that cannot be.

    It cannot where something else than a ufunc is called, or where an operation has only operands (`b`, `c`, `d`) that
    may be plain numbers.  The result is for `a`, `y` and the cotangent being arrays of one shape and dtype; `out` may
    be the cotangent, which nothing but the last call reads.

    Returns
    -------
    lines : the calls
    room : names of the arrays for intermediate results, as few as possible
    """
    order: dict[Node, None] = {}
    uses: dict[Node, int] = {}

    def visit(node: Node) -> None:
        for operand in node.operands:
            uses[operand] = uses.get(operand, 0) + 1
            if operand not in order:
                visit(operand)
        order[node] = None

    visit(root)
    lines: list[str] = []
    text: dict[Node, str] = {}
    free: list[str] = []
    room: list[str] = []
    for node in order:
        if node.rule is None:
            text[node] = repr(node.value) if is_number(node) else str(node.name)
            continue
        if not hasattr(functions[node.rule.name], "nin") or not names(node) - {"b", "c", "d"}:
            return None
        if node is not root and "ct" in names(node):
            return None
        arguments = [text[operand] for operand in node.operands]
        for operand in node.operands:
            uses[operand] -= 1
            if not uses[operand] and operand.rule is not None and text[operand] not in free:
                free.append(text[operand])
        if node is root:
            text[node] = "out"
        elif free:
            text[node] = free.pop()
        else:
            text[node] = f"t{len(room)}"
            room.append(text[node])
        lines.append(f"{node.rule.name}({', '.join(arguments)}, out={text[node]})")
    return (lines, room) if root.rule is not None else None


def python(node: Node) -> str:
    """Print a formula as it would be written in the table, as one expression."""

    def text(node: Node) -> tuple[str, int]:
        return _python(node, text)

    return text(node)[0]


def _grouped(
    node: Node, at_least: int, text: Callable[[Node], tuple[str, int]], brackets: tuple[str, str] = ("(", ")")
) -> str:
    printed, precedence = text(node)
    return f"{brackets[0]}{printed}{brackets[1]}" if precedence < at_least else printed


def _python(node: Node, text: Callable[[Node], tuple[str, int]]) -> tuple[str, int]:
    if node.rule is None:
        if not is_number(node):
            return str(node.name), ATOM
        return repr(node.value), UNARY if node.value < 0 else ATOM
    name = node.rule.name
    if name not in INFIX:
        return f"{name}({', '.join(text(o)[0] for o in node.operands)})", ATOM
    symbol, precedence, _ = INFIX[name]
    if name == "negative":
        return f"-{_grouped(node.operands[0], UNARY, text)}", UNARY
    left, right = node.operands
    # Subtraction, division and comparison group to the left; a power groups to the right.
    at_left, at_right = (ATOM, UNARY) if name == "power" else (precedence, precedence + 1)
    return f"{_grouped(left, at_left, text)} {symbol} {_grouped(right, at_right, text)}", precedence


class Notation(NamedTuple):
    """How mathematics writes an operation, where that is not a call by its name.

    Attributes
    ----------
    form : "function" of its operands, "infix" between two, "postfix" after one, "around" one (two signs, with a space
        between), "power" (the second operand raised), "index" (its parameter in brackets), or "write" (the first
        operand with the second at an index)
    text, latex : the sign
    """

    form: str
    text: str
    latex: str


Shown = tuple[str, int]  # what is printed, and its precedence
Leaf = Callable[[Node], Shown | None]  # how a node is written if it is written by a name

_LATEX_CALLS = {
    "sqrt": r"\sqrt{{{}}}",
    "exp": r"e^{{{}}}",
    "where": r"\begin{{cases}}{1}&{0}\\{2}&\text{{else}}\end{{cases}}",
}
_LATEX_FUNCTIONS = frozenset(["sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "log"])
_BRACKETS = (r"\left(", r"\right)")
_LATEX_SYMBOLS = {">=": r"\ge", "<=": r"\le", "==": "=", "!=": r"\ne"}
_TEXT_SYMBOLS = {"*": "·", "-": "−", ">=": "≥", "<=": "≤", "==": "=", "!=": "≠"}
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_POWER = Notation("power", "^", "^")


def by_its_own_name(node: Node) -> Shown | None:
    """A number or symbol of a formula."""
    if node.rule is not None:
        return None
    if not is_number(node):
        return str(node.name), ATOM
    return f"{node.value:.6g}", UNARY if node.value < 0 else ATOM


def latex(node: Node, leaf: Leaf = by_its_own_name) -> str:
    """Print a formula, or a graph whose leaves `leaf` can name, as LaTeX."""
    return latex_shown(node, leaf)[0]


def latex_shown(node: Node, leaf: Leaf = by_its_own_name) -> Shown:
    """The same with its precedence."""

    def show(node: Node) -> Shown:
        return leaf(node) or _latex(node, show)

    return show(node)


def text_shown(node: Node, leaf: Leaf = by_its_own_name) -> Shown:
    """Print a formula, or a graph whose leaves `leaf` can name, as mathematical text, with its precedence."""

    def show(node: Node) -> Shown:
        return leaf(node) or _text(node, show)

    return show(node)


def parameters(node: Node) -> list[str]:
    """The arguments of a node that are no operands, as they would be written in a call."""
    rest, options = node.params or ((), {})
    return [_brief(x) for x in rest] + [f"{key}={_brief(x)}" for key, x in options.items()]


def _brief(x: Any) -> str:
    if isinstance(x, slice):
        ends = ["" if end is None else _brief(end) for end in (x.start, x.stop, x.step)]
        return ":".join(ends if x.step is not None else ends[:2])
    if x is Ellipsis:
        return "..."
    if isinstance(x, tuple):
        return f"({', '.join(_brief(item) for item in x)}{',' if len(x) == 1 else ''})"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        if x.dtype.kind in "biu" and len(x.shape) == 1 and x.shape[0] <= SHORT:
            return f"{x.tolist()}"
        return f"{x.dtype}[{'×'.join(map(str, x.shape))}]" if x.shape else f"{x}"
    return f"{x!r:.40}"


def _notation(node: Node) -> Notation | None:
    """The notation of a node; with parameters that it does not show, a call is clearer."""
    if node.rule.name in ("power", "float_power", "power_by_constant"):
        return _POWER
    found: Notation | None = node.rule.notation
    return found if found is None or found.form in ("index", "write", "power") or not parameters(node) else None


def index_of(node: Node) -> str:
    """The index of a `getitem` in its brackets; of a write, the views that lead to the place too."""
    rest, options = node.params or ((), {})
    steps = [(step.name, arguments) for step, arguments, _ in options.get("steps", ())]
    last = options.get("index", rest[0] if rest else ...)
    if last is not Ellipsis or not steps:
        steps.append(("getitem", (last,)))
    return "".join(f"[{_inside(rest[0])}]" if name == "getitem" else f".{name}" for name, rest in steps)


def _inside(index: Any) -> str:
    text = _brief(index)
    return text[1:-1].rstrip(",") if isinstance(index, tuple) else text


def _text(node: Node, show: Callable[[Node], Shown]) -> Shown:
    operands, notation = node.operands, _notation(node)
    if notation is not None:
        first = operands[0]
        match notation.form:
            case "infix":
                left, right = _grouped(first, PRODUCT, show), _grouped(operands[1], PRODUCT + 1, show)
                return f"{left}{notation.text}{right}", PRODUCT
            case "postfix":
                base = _grouped(first, ATOM, show)
                return base + notation.text, ATOM
            case "around":
                left, right = notation.text.split()
                return f"{left}{show(first)[0]}{right}", ATOM
            case "power":
                base, exponent = _grouped(first, ATOM, show), show(operands[1])[0]
                if exponent.strip("-").isdigit():
                    return base + exponent.translate(_RAISED), POWER
                return f"{base}^{_grouped(operands[1], ATOM, show)}", POWER
            case "index":
                return f"{_grouped(first, ATOM, show)}{index_of(node)}", ATOM
            case "write":
                return f"{show(first)[0]} with {index_of(node)} {notation.text} {show(operands[1])[0]}", LOOSE
    name = node.rule.name
    if notation is None and name == "negative":
        return f"−{_grouped(operands[0], UNARY, show)}", UNARY
    if notation is None and name in INFIX:
        symbol, precedence, _ = INFIX[name]
        symbol = _TEXT_SYMBOLS.get(symbol, symbol)
        left, right = _grouped(operands[0], precedence, show), _grouped(operands[1], precedence + 1, show)
        return (f"{left}{symbol}{right}" if precedence == PRODUCT else f"{left} {symbol} {right}"), precedence
    head = notation.text if notation is not None else name
    return f"{head}({', '.join([*(show(o)[0] for o in operands), *parameters(node)])})", ATOM


def _latex(node: Node, show: Callable[[Node], Shown]) -> Shown:
    name, operands, notation = node.rule.name, node.operands, _notation(node)
    if notation is not None:
        first = operands[0]
        match notation.form:
            case "infix":
                left = _grouped(first, PRODUCT, show, _BRACKETS)
                return f"{left} {notation.latex} {_grouped(operands[1], PRODUCT + 1, show, _BRACKETS)}", PRODUCT
            case "postfix":
                return _grouped(first, ATOM, show, _BRACKETS) + notation.latex, ATOM
            case "around":
                left, right = notation.latex.split()
                return f"{left}{show(first)[0]}{right}", ATOM
            case "power":
                return f"{_grouped(first, ATOM, show, _BRACKETS)}^{{{show(operands[1])[0]}}}", POWER
            case "index":
                return rf"{_grouped(first, ATOM, show, _BRACKETS)}\text{{{escaped(index_of(node))}}}", ATOM
            case "write":
                place = rf"\text{{ with {escaped(index_of(node))} }}{notation.latex}"
                return f"{show(first)[0]}{place}{show(operands[1])[0]}", LOOSE
    elif name == "divide":
        return rf"\frac{{{show(operands[0])[0]}}}{{{show(operands[1])[0]}}}", ATOM
    elif name == "negative":
        return "-" + _grouped(operands[0], UNARY, show, _BRACKETS), UNARY
    elif name in INFIX:
        symbol, precedence, _ = INFIX[name]
        left = _grouped(operands[0], precedence, show, _BRACKETS)
        right = _grouped(operands[1], precedence + 1, show, _BRACKETS)
        glue = r" \cdot " if name == "multiply" else f" {_LATEX_SYMBOLS.get(symbol, symbol)} "
        return left + glue + right, precedence
    given = [rf"\text{{{escaped(parameter)}}}" for parameter in parameters(node)]
    arguments = [*(show(o)[0] for o in operands), *given]
    if name in _LATEX_CALLS and not given:
        return _LATEX_CALLS[name].format(*arguments), ATOM
    head = rf"\{name}" if name in _LATEX_FUNCTIONS else rf"\operatorname{{{name.replace('_', '~')}}}"
    if notation is not None:
        head = notation.latex
    return rf"{head}\left({', '.join(arguments)}\right)", ATOM


def escaped(text: str) -> str:
    """Text as LaTeX's text mode takes it."""
    special = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    return "".join(special.get(c, "\\" + c if c in "{}_$&#%" else c) for c in text)
