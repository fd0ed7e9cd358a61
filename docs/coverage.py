"""Write docs/coverage.md: what becomes of each NumPy function on a Tensor.  Run by `make docs`.

Nothing is listed by hand: NumPy says which functions there are, the rule registry says what chainrule does with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import chainrule.scipy.integrate
import chainrule.scipy.interpolate
import chainrule.scipy.linalg
import chainrule.scipy.optimize
import chainrule.scipy.signal
import chainrule.scipy.sparse.linalg
import chainrule.scipy.special
import chainrule.scipy.stats
from chainrule.rules import Rule, functions, reasons, undispatched
from chainrule.rules.batching import SHAPED_BY_VALUES, batch_function, data_dependent, one_by_one
from chainrule.rules.registry import qualified_name

PAGE = Path(__file__).resolve().parent / "coverage.md"
ACCURACY: dict[str, Any] = json.loads((PAGE.parent / "accuracy.json").read_text(encoding="utf-8"))
ORDERS: dict[str, int] = json.loads((PAGE.parent / "orders.json").read_text(encoding="utf-8"))
UNCOUNTED = "not counted"
MODULES: tuple[tuple[str, ModuleType], ...] = (
    ("np", np),
    ("np.linalg", np.linalg),
    ("np.fft", np.fft),
    ("np.emath", np.emath),
    ("np.lib.stride_tricks", np.lib.stride_tricks),
)
Dispatched = type(np.sum)

HEAD = """<!-- Written by `make docs` (docs/coverage.py) from the rule registry: do not edit. -->

# Which NumPy functions work

What becomes of NumPy's functions when a Tensor is passed: every ufunc and every function that takes part in NumPy's
dispatch in `np`, `np.linalg`, `np.fft` and `np.emath`, {version}; at the end, what NumPy runs without asking. Python's
operators, indexing and the array methods of the same names work where the function does. Ufuncs also take `out=`,
`where=` and `dtype=`, and have `reduce`, `accumulate`, `reduceat`, `outer` and `at`. The last part lists
[`chainrule.scipy`](#chainrulescipy).

What is differentiated is so in reverse (rev) and in forward mode (fwd), nested to any order. *Order* is the highest
derivative that the tests compare with differences, in both modes and their mixtures (`tests/orders.py` counts).
"""

ELEMENTWISE = "Elementwise, with these derivatives"
OTHERS = "Other functions that are differentiated"
PLAIN = "Functions whose result has no derivative"
MISSING = "Functions that raise"
UNASKED = "Functions that NumPy runs without asking"
INTRODUCTIONS = {
    ELEMENTWISE: "Operands are `a`, `b`, `c`, the result is `y`; one formula per operand. "
    "`share` and `weight` are helpers: who wins a maximum, and the share of one exponential in a sum of two. The "
    "error is the worst that `tests/accuracy.py` found in float64, in ulp, per operand: from the "
    "smallest normal number to the largest, against mpmath. Inside `vmap` all examples are done at once.",
    OTHERS: "*Linear*: has a transpose. *Rule*: a derivative of its own. *Composed*: a few lines around other rules. "
    "Inside `vmap`: *at once*, one call of NumPy for all examples; *as its parts*, which becomes a loop over the "
    "examples where the function looks at values; *refused*, because the shape of the result depends on values. "
    "`tests/test_batches.py` compares each with a loop.",
    PLAIN: "Truth values, indices and properties: the result is a plain array, as NumPy gives it.",
    MISSING: "They raise `UnsupportedFunctionError`, by name: no derivative is lost silently. Pass `t.data` where the "
    "function is meant as a constant.",
    UNASKED: "They take no part in NumPy's dispatch. What comes of calling them with a Tensor:",
}
NONE = "None: every function that takes part in NumPy's dispatch is in one of the lists above."


def numpy_functions() -> Iterator[tuple[str, Any, list[str]]]:
    """Every function that sees Tensors: (full name, function, further names)."""
    for prefix, module in MODULES:
        found: dict[Any, list[str]] = {}
        for name in sorted(dir(module)):
            thing = getattr(module, name) if not name.startswith("_") else None
            if isinstance(thing, np.ufunc | Dispatched):
                found.setdefault(thing, []).append(name)
        for thing, names in found.items():
            name = thing.__name__ if thing.__name__ in names else names[0]
            yield f"{prefix}.{name}", thing, [f"{prefix}.{other}" for other in names if other != name]


def described(function: Any) -> tuple[str, str]:
    """The section a function belongs to, and what to say about it."""
    found = functions.get(function)
    if found is None:
        return MISSING, reasons.get(function, "")
    if not isinstance(found, Rule):
        return (PLAIN, reasons[function]) if function in reasons else (OTHERS, "composed")
    if found.partials:
        return ELEMENTWISE, " · ".join(f"`{partial}`" for partial in found.partials)
    if found.kind == "nondifferentiable":
        return PLAIN, reasons.get(function, "")
    return OTHERS, "linear" if found.kind == "linear" else "rule"


def modes(function: Any) -> str:
    """In which modes a function is differentiated; what is composed, in those that its parts have."""
    found = functions[function]
    if not isinstance(found, Rule) or found.partials or found.kind == "linear":
        return "fwd rev"
    return " ".join(mode for mode, there in (("fwd", found.push), ("rev", found.pulls or found.pull_all)) if there)


def batched(function: Any) -> str:
    """How `vmap` does a function that is not elementwise."""
    found = functions[function]
    if not isinstance(found, Rule):
        return "refused" if function in SHAPED_BY_VALUES else "as its parts"
    how = batch_function(found)
    return "refused" if how is data_dependent else "in turn" if how is one_by_one else "at once"


def error(name: str) -> str:
    """The published bound of the error in each partial derivative of a row."""
    found = ACCURACY.get(name)
    if found is None:
        return "0"  # the partials are 0 or 1
    return " · ".join(f"≤ {bound}" if bound else "see below" for bound in found["ulp"])


def accuracy() -> list[str]:
    """What there is to say about accuracy besides the column."""
    early = ", ".join(f"`{name}`" for name, found in ACCURACY.items() if found["early"])
    others = ", ".join(f"`{name}` {error(name)}" for name in ACCURACY if not hasattr(np, name))
    reasons = [f"- `{name}`: {found['reason']}" for name, found in ACCURACY.items() if "reason" in found]
    return [
        "## Errors above 16 ulp, and other rows",
        "",
        *reasons,
        "",
        f"Rows of functions that NumPy does not have: {others}.",
        "",
        f"Partial derivatives below the smallest normal number, 2.2e-308, may come out as 0: {early}.",
    ]


def sections() -> dict[str, dict[str, str]]:
    """Per section, the functions in it and what is said of each."""
    result: dict[str, dict[str, str]] = {title: {} for title in INTRODUCTIONS}
    for name, function, others in numpy_functions():
        title, text = described(function)
        also = ", ".join(f"`{other}`" for other in others)
        if title in (ELEMENTWISE, OTHERS):
            last = error(functions[function].name) if title == ELEMENTWISE else batched(function)
            text = " | ".join((text, modes(function), str(ORDERS.get(qualified_name(function), UNCOUNTED)), last, also))
        result[title][name] = text
    result[UNASKED] = dict(undispatched)
    return result


def scipy_special() -> dict[str, str]:
    """Per name in scipy.special, what becomes of it."""
    special = chainrule.scipy.special
    kinds = {}
    for name in sorted(set(special.__all__) - special.NO_FUNCTIONS):
        function = getattr(special, name)
        declared = [reason for reason, names in special.DECLARED.items() if name in names.split()]
        kinds[name] = declared[0] if declared else "differentiable"
        if isinstance(found := functions.get(function), Rule) and found.kind == "nondifferentiable":
            kinds[name] = "nondifferentiable"
    return kinds


def of_scipy() -> list[str]:
    """What there is in chainrule.scipy."""
    packages = chainrule.scipy
    modules = {"special": scipy_special(), "stats": dict.fromkeys(packages.stats.__all__[2:], "differentiable")}
    names = ("linalg", "signal", "integrate", "interpolate", "optimize")
    modules |= {name: getattr(packages, name).here.kinds for name in names}
    modules["sparse.linalg"] = packages.sparse.linalg.here.kinds
    lines = ["## chainrule.scipy", "", "SciPy's functions, values and signatures. The others raise by name.", ""]
    lines[2] += " Inside `vmap`, ufuncs and distributions of one variable are done at once, other functions in a loop."
    for name, kinds in modules.items():
        groups: dict[str, list[str]] = {"differentiable": [], "nondifferentiable": [], "as it is": []}
        for function, kind in sorted(kinds.items()):
            groups.setdefault(kind, []).append(f"`{function}`")
        lines += [f"### {name}", ""]
        titles = {"differentiable": "Differentiated", "nondifferentiable": "Without derivative"}
        titles["as it is"] = "SciPy's own, not of numbers that vary"
        for kind, names in groups.items():
            if names:
                lines += [f"{titles.get(kind, f'Not implemented: {kind}')}:", "", ", ".join(names) + ".", ""]
    return lines


def accuracy_of_scipy() -> list[str]:
    """How exact the partial derivatives of special functions are, where mpmath has the function."""
    lines = [
        "### Accuracy of special",
        "",
        "The worst error that `tests/scipy_reference.py` found against mpmath: in ulp, over 1 plus the condition.",
        "",
        "| function | per operand | why more than 16 |",
        "|---|---|---|",
    ]
    for name, found in json.loads((PAGE.parent / "accuracy_scipy.json").read_text(encoding="utf-8")).items():
        bounds = (f"{letter} ≤ {bound}" if bound else f"{letter} > 16" for letter, bound in found["ulp"].items())
        lines.append(f"| `{name}` | {', '.join(bounds)} | {found.get('reason', '')} |")
    return [*lines, ""]


def page() -> str:
    """The text of docs/coverage.md."""
    lines = [HEAD.format(version=f"NumPy {'.'.join(np.__version__.split('.')[:2])}")]
    for title, rows in sections().items():
        lines += [f"## {title}", "", INTRODUCTIONS[title] if rows else NONE, ""]
        if title in (ELEMENTWISE, OTHERS):
            last = "error" if title == ELEMENTWISE else "vmap"
            titles = ["function", "derivative", "modes", "order", last, "also called"]
            lines += [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
            lines += [f"| `{name}` | {text} |" for name, text in sorted(rows.items())]
        else:
            by_reason: dict[str, list[str]] = {}
            for name, text in sorted(rows.items()):
                by_reason.setdefault(text, []).append(name)
            for text, names in sorted(by_reason.items()):
                lines += [f"{text}:", ""] if text else []
                lines += [", ".join(f"`{name}`" for name in names) + ".", ""]
        lines += ["", *(accuracy() if title == ELEMENTWISE else []), ""]
    lines += of_scipy() + accuracy_of_scipy()
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
