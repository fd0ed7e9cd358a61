"""The command line: explain the derivative of an expression that is typed at the shell."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .expression import evaluate, names_in, parse, value_of
from .tensor import Tensor
from .walk.derivation import Explanation
from .walk.explain import explained
from .walk.show import page_of

EPILOG = """\
examples:
  python -m chainrule "sigmoid(w*x + b)" w=2 x=1 b=0.5
  python -m chainrule "x**3 + sin(x)" x=pi/2
  python -m chainrule "sum((W @ x - t)**2)" W="[[1, 2], [3, 4]]" x="[1, 1]" t="[0, 1]" --wrt W
  python -m chainrule "exp(-x**2)" x=0.5 --html explained.html

An expression has numbers, names, + - * / ** @, comparisons, indices such as x[0], x.T, and calls of the functions
that chainrule has a rule for: NumPy's (sin, exp, sum, where, linalg.inv, ...) and those of chainrule.nn (sigmoid, relu,
softmax, ...). pi and e are known. Nothing else is run. Quote what your shell would change.

exit codes: 0 explained; 2 the input was at fault, and stderr says how.
"""


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    made = argparse.ArgumentParser(
        prog="python -m chainrule",
        description="Explain the derivative of an expression: the chain rule as it applies here, with its numbers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("expression", help='what to differentiate, such as "sigmoid(w*x + b)"')
    made.add_argument("values", nargs="*", metavar="name=value", help="a number or nested list for each name")
    made.add_argument("--wrt", metavar="NAMES", help="differentiate in these only: w, or w,b (default: in every name)")
    made.add_argument("--latex", action="store_true", help="print LaTeX instead of text")
    made.add_argument(
        "--html", metavar="FILE", type=Path, help="also write a page on which one steps through both passes"
    )
    return made


def page(expression: str, y: Tensor, explanation: Explanation, held: Mapping[str, Tensor]) -> str:
    """The page that ``--html`` writes: both passes step by step, and the derivation."""
    more = f'<section style="padding:0 1em 2em"><h2>the derivation</h2>{explanation.html}</section>'
    return page_of(y, held.items(), expression, more)


def explain_expression(
    expression: str, given: Sequence[str], wrt: str | None
) -> tuple[Tensor, Explanation, dict[str, Tensor]]:
    """Compute an expression with values given as ``name=value``, and explain it."""
    tree = parse(expression)
    values: dict[str, Tensor] = {}
    for each in given:
        name, equals, text = each.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise ValueError(f"{each!r} is not of the form name=value")
        if name in values:
            raise ValueError(f"{name} was given two values")
        values[name] = Tensor(value_of(text), name=name)
    used = [name for name in names_in(tree) if name in values]
    unused = [name for name in values if name not in used]
    if unused:
        raise ValueError(f"{', '.join(unused)} {'does' if len(unused) == 1 else 'do'} not occur in {expression}")
    wanted = used if wrt is None else [name.strip() for name in wrt.split(",")]
    for name in wanted:
        if name not in values:
            raise ValueError(f"--wrt {name}: the names with a value are {', '.join(used) or 'none'}")
    y: Any = evaluate(tree, values)
    if not wanted or not isinstance(y, Tensor):
        raise ValueError(f"{expression} depends on no name: there is nothing to differentiate in")
    return y, explained(y, [values[name] for name in wanted], values.items()), values


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # An expression may begin with a minus sign: only what looks like one of our options is one.
    options = parser().parse_args([f" {a}" if a[:1] == "-" and a[:2] != "--" and a != "-h" else a for a in given])
    expression = options.expression.strip()
    try:
        with np.errstate(all="ignore"):
            y, explanation, values = explain_expression(expression, options.values, options.wrt)
        if options.html is not None:
            options.html.write_text(page(expression, y, explanation, values), encoding="utf-8")
    except OSError as error:
        print(f"error: cannot write {options.html}: {error.strerror or error}", file=sys.stderr)
        return 2
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        print(
            f"error: {error}", file=sys.stderr
        )  # the input: whatever else is wrong is a fault of ours, with a traceback
        return 2
    print(explanation.latex if options.latex else explanation)
    if options.html is not None:
        print(f"\nwritten: {options.html}")
    return 0


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # what reads us, such as head, had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
