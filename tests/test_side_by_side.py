"""Tables on the pages that set chainrule beside other libraries: every cell with code runs, and says what is true.

A page sets up each library in blocks of code with its name for a title.  In a table with that name in the head, a cell
is a line of code, with its value if there is an arrow behind it; cells without values must agree along their row.
In a table that begins with a column "code", this holds for every library, and their cells are the values.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {"PyTorch": "torch", "JAX": "jax", "chainrule": "chainrule"}
LIBRARIES |= {"autograd": "autograd", "MyGrad": "mygrad", "tinygrad": "tinygrad", "micrograd": "micrograd"}
INSTALLED = [name for name, module in LIBRARIES.items() if find_spec(module)]
BLOCK = re.compile(r'^```py(?:thon)?(?: title="(.*?)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`(?: → `([^`]+)`)?$")
PAGES = [
    page
    for page in sorted(ROOT.glob("docs/**/*.md"))
    if any(title in LIBRARIES for title, _ in BLOCK.findall(page.read_text(encoding="utf-8")))
]
WORDS = {"nan": np.nan, "inf": np.inf, "True": True, "False": False}


def tables(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """The head and the cells of each row of each table."""
    head: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not head:
            head = cells
        elif set(line) - set("|-: "):
            yield head, cells


def rows(page: Path) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """For each row, its cells with code: by library, the code and the value that is said to come out."""
    found = []
    for head, cells in tables(page.read_text(encoding="utf-8")):
        assert len(head) == len(cells), f"a row of {len(cells)} cells in a table of {len(head)}: {cells}"
        values = dict(zip(head, (cell.strip("`") for cell in cells), strict=True))
        if "code" in values:
            found.append((values["code"], {name: (values["code"], values[name]) for name in head if name in LIBRARIES}))
            continue
        codes = {
            name: (code[1], code[2] or "")
            for name, cell in zip(head, cells, strict=True)
            if name in LIBRARIES and (code := CODE.match(cell))
        }
        if codes:
            found.append((cells[0], codes))
    return found


def setting(page: Path, library: str) -> dict[str, Any]:
    """The names that a page sets up for a library."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for title, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if title == library:
            exec(block, namespace)
    return namespace


def outcome(code: str, namespace: dict[str, Any]) -> Any:
    """The value of the last expression; an error that was raised instead."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), f"{code!r} does not end in an expression"
    try:
        exec(compile(tree, "<cell>", "exec"), namespace)
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
    except Exception as error:  # noqa: BLE001 (which one it is, the cell says)
        return error


def plain(x: Any) -> Any:
    """Numbers, if these are what it is."""
    if type(x).__module__.startswith("torch") and hasattr(x, "detach"):
        x = x.detach().resolve_conj().resolve_neg().numpy()
    if isinstance(x, tuple | list):
        return [plain(part) for part in x]
    return getattr(x, "data", x) if type(x).__module__.startswith("chainrule") else x


def is_numeric(x: Any) -> bool:
    try:
        return np.asarray(x).dtype.kind in "biufc"
    except (TypeError, ValueError):
        return False


ROWS = [pytest.param(page, codes, id=f"{page.stem}-{title}") for page in PAGES for title, codes in rows(page)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("page", "codes"), ROWS)
def test_row(page: Path, codes: dict[str, tuple[str, str]]) -> None:
    agreeing = {}
    for library, (code, said) in codes.items():
        if library not in INSTALLED:
            continue
        found = plain(outcome(code, setting(page, library)))
        if said and said not in WORDS and said.isidentifier():
            assert said in {kind.__name__ for kind in type(found).__mro__}, f"{library}: {code} gave {found!r}"
            continue
        if isinstance(found, Exception):
            raise found
        if said:
            np.testing.assert_allclose(
                found, eval(said, dict(WORDS)), rtol=1e-5, atol=1e-12, err_msg=f"{library}: {code}"
            )
        elif is_numeric(found):
            agreeing[library] = found
    for library, found in agreeing.items():
        desired = agreeing.get("chainrule", found)
        np.testing.assert_allclose(found, desired, rtol=1e-6, atol=1e-12, err_msg=f"{library}: {codes[library][0]}")


def test_every_library_is_set_up_and_used() -> None:
    assert {library for page in PAGES for _, codes in rows(page) for library in codes} == set(LIBRARIES)
    assert "PyTorch" in INSTALLED  # of the others, what is installed
