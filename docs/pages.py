"""Make what the site is built of: the pictures, by running the code of every page, and the pages of the reference."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from types import ModuleType

import matplotlib as mpl

import chainrule

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What of the package has a page of its own, and what the first page is called.
MODULES = {
    "chainrule": chainrule,
    **{name: getattr(chainrule, name) for name in ("nn", "optim", "data", "training", "errors")},
}


def reference(module: ModuleType) -> str:
    """A page on which mkdocstrings shows every public name of a module."""
    names = [name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)]
    lines = [f"# {module.__name__}", "", (module.__doc__ or "").strip().splitlines()[0], ""]
    return "\n".join([*lines, *(f"::: {module.__name__}.{name}\n" for name in sorted(names))])


def write_reference() -> None:
    (DOCS / "reference").mkdir(exist_ok=True)
    for title, module in MODULES.items():
        (DOCS / "reference" / f"{title}.md").write_text(reference(module), encoding="utf-8")


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
