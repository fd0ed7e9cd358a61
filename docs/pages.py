"""Make what the site is built of: the pictures, by running the code of every page, and the pages of the reference."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import matplotlib as mpl
import numpy as np

import chainrule
from chainrule.formula import python
from chainrule.numpy.creation import created
from chainrule.rules import rules
from chainrule.rules.registry import partial_trees
from chainrule.scipy import special, special_table

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What of the package has a page of its own, and what the first page is called.
MODULES = {
    "chainrule": chainrule,
    **{name: getattr(chainrule, name) for name in ("nn", "optim", "data", "training", "testing", "errors")},
}
TABULATED = "linalg", "signal"  # of which each function says no more than what it is differentiable in
NAMESPACES = "optimize", "integrate", "interpolate", "stats", "sparse"  # of chainrule.scipy, with texts of their own


def reference(module: ModuleType) -> str:
    """A page on which mkdocstrings shows every public name of a module."""
    names = [name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)]
    lines = [f"# {module.__name__}", "", (module.__doc__ or "").strip().splitlines()[0], ""]
    for name in sorted(names):
        lines.append(f"::: {module.__name__}.{name}\n")
        rule = rules.get(name)
        if rule is not None and any(rule.partials) and module.__name__ == "chainrule.nn":
            lines.append(
                f"**Derivative**, from the rule table: `{rule.partials[0]}`, where `a` is `x` and `y` the result.\n"
            )
        if name == "Tensor":
            lines.append(tensor_methods())
    return "\n".join(lines)


def tensor_methods() -> str:
    """What other modules add to the class, where mkdocstrings does not see it."""
    names = {name for name in dir(chainrule.Tensor) if callable(getattr(chainrule.Tensor, name)) and name[0] != "_"}
    arrays = sorted(names & set(dir(np.ndarray)) - {"item", "tolist", "to_device"})
    functions = sorted((names & rules.keys()) - set(arrays))
    return (
        "::: chainrule.walk.pull.backward\n    options:\n      heading_level: 3\n      show_root_full_path: false\n\n"
        "### Methods as ndarray has them\n\n"
        f"{listed(arrays)}. They take ndarray's parameters, and are recorded where there is a derivative.\n\n"
        "### Elementwise functions as methods\n\n"
        f"{listed(functions)}. `t.exp()` is `np.exp(t)`; [their derivatives](../coverage.md).\n\n"
        "### Names of the course\n\n"
        "`val` is `data`, `gradient` is `grad` with zeros before the first pass, `backpropagate` is `backward`.\n"
    )


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def scipy_reference() -> str:
    """A page of what in `chainrule.scipy` says more than that its parameters are SciPy's."""
    lines = [
        "# chainrule.scipy",
        "",
        "Names, parameters and values are SciPy's. Here is what needs saying beyond that;",
        "[what is differentiable](../coverage.md#chainrulescipy) is a list by itself, and",
        "[the how-to page](../howto/scipy.md) shows the solvers at work.",
        "",
    ]
    for name in NAMESPACES:
        module = importlib.import_module(f"chainrule.scipy.{name}")
        lines += [f"## {module.__name__}", "", (module.__doc__ or "").strip().splitlines()[0], ""]
        seen = {id(getattr(module, each)): each for each in reversed(module.__all__)}  # an alias comes once
        for each in sorted(seen.values()):
            thing = getattr(module, each)
            ours = getattr(thing, "__module__", "").startswith("chainrule.") and hasattr(thing, "__name__")
            if ours and "Parameters\n" in (thing.__doc__ or ""):
                lines.append(f"::: {thing.__module__}.{thing.__name__}\n    options:\n      heading_level: 3\n")
    for name in TABULATED:
        here = importlib.import_module(f"chainrule.scipy.{name}").here
        lines += [f"## chainrule.scipy.{name}", "", "| function | differentiable in |", "|---|---|"]
        lines += [f"| {linked(f'{name}.{each}')} | {listed(here.operands[each])} |" for each in sorted(here.operands)]
        lines.append("")
    return "\n".join([*lines, *special_reference()])


def linked(name: str) -> str:
    """A name in SciPy's reference."""
    return f"[`{name}`](https://docs.scipy.org/doc/scipy/reference/generated/scipy.{name}.html)"


def special_reference() -> list[str]:
    """The local derivatives of special functions, from their table."""
    lines = [
        "## chainrule.scipy.special",
        "",
        "The table of elementwise functions: operands are `a`, `b`, `c`, ..., the result is `y`. Functions with",
        "several results have a row for each (`airy_ai`, `ellipj_sn`); some rows are what only formulas call.",
        "",
        "| function | derivative in each operand |",
        "|---|---|",
    ]
    for rule in sorted(special_table.ROWS, key=lambda rule: rule.name.removeprefix("special_")):
        name = rule.name.removeprefix("special_")
        trees = zip(rule.partials, partial_trees(rule), strict=True)
        partials = ("not known" if text is None else f"`{python(tree)}`" for text, tree in trees)
        lines.append(
            f"| {linked(f'special.{name}') if name in special.__all__ else f'`{name}`'} | {' · '.join(partials)} |"
        )
    return [*lines, ""]


def numpy_reference() -> str:
    """The page of `chainrule.numpy`, whose functions are made when it is imported."""
    text = re.sub(
        r"((?:^(?:>>>|\.\.\.).*\n)+(?:^\S.*\n)?)", r"```pycon\n\1```\n", chainrule.numpy.__doc__, flags=re.MULTILINE
    )
    return (
        f"# chainrule.numpy\n\n{text}\n## Creation functions\n\nOurs, with NumPy's parameters: "
        f"{listed(sorted(created))}. All other names are NumPy's functions; "
        "[which of them work on Tensors](../coverage.md).\n"
    )


def write_reference() -> None:
    (DOCS / "reference").mkdir(exist_ok=True)
    pages = {title: reference(module) for title, module in MODULES.items()}
    pages |= {"numpy": numpy_reference(), "scipy": scipy_reference()}
    for title, text in pages.items():
        (DOCS / "reference" / f"{title}.md").write_text(text, encoding="utf-8")


def make_pictures() -> None:
    """Run each page in its folder."""
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "chainrule"  # the same picture gives the same file
    os.environ["SOURCE_DATE_EPOCH"] = "0"
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        blocks = list(BLOCK.finditer(text))
        namespace = {"__name__": "__main__"}
        with contextlib.chdir(page.parent):
            for block in blocks:  # with the page's own lines, which errors and explain_nan() then show
                lines = "\n" * text.count("\n", 0, block.start(1))
                exec(compile(lines + block[1], page, "exec"), namespace)
        print(f"{page.relative_to(DOCS)}: {len(blocks)} blocks")


if __name__ == "__main__":
    make_pictures()
    write_reference()
