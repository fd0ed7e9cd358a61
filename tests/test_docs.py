"""Every example in README, docs and docstrings runs, and links between the pages lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule.rules import functions, rules

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(page for page in ROOT.glob("docs/**/*.md") if page.parent.name != "reference")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\":]+)\"")
MODULES = ["chainrule", *(info.name for info in pkgutil.walk_packages(chainrule.__path__, "chainrule."))]


@contextmanager
def unchanged(registry: dict[Any, Any]) -> Iterator[None]:
    before = dict(registry)
    try:
        yield
    finally:
        registry.clear()
        registry.update(before)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_code_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order, in one namespace; a warning is an error."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    with unchanged(rules), unchanged(functions):  # pages may register operations
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start(1))
            exec(compile("\n" * line + match[1], str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))  # code may look like a link: f(x)[1](v)
    for match in LINK.finditer(text):
        target = match[1] or match[2]
        assert (page.parent / target).exists(), f"{page_name(page)} links to {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_pictures_are_made_by_the_page(page: Path) -> None:
    """A page of the tutorial has a picture, and pages write those that they show from their own folder."""
    text = page.read_text(encoding="utf-8")
    made_by_hand = {"architecture.svg", "show.png"}  # or photographed in the browser
    shown = set(re.findall(r"!\[[^\]]*\]\(([^)/]+)\)", text)) - made_by_hand
    shown = {name for name in shown if not name.startswith("benchmarks-")}  # `make bench` makes them with the page
    code = "".join(match[1] for match in BLOCK.finditer(text))
    assert {name for name in shown if f'"{name}"' not in code} == set()
    assert shown or page.parent.name != "tutorial"


def test_every_page_is_on_the_site() -> None:
    listed = set(
        re.findall(r"^ +- (?:.+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    )
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.parent != ROOT}
    assert pages - listed == set()
    assert {page for page in listed - pages if not page.startswith("reference/")} == set()


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not result.failed, f"{result.failed} of {result.attempted} examples in {name} failed; see the output above"


def test_coverage_page_is_up_to_date() -> None:
    source = ROOT / "docs" / "coverage.py"
    namespace: dict[str, Any] = {"__name__": "coverage", "__file__": str(source)}
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), namespace)
    text = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    if f"NumPy {'.'.join(np.__version__.split('.')[:2])}." in text:
        assert text == namespace["page"](), "run `make docs`"
    for section, rows in namespace["sections"]().items():  # under another NumPy, what both know must agree
        body = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
        misplaced = [name for name in rows if f"`{name}`" in text and f"`{name}`" not in body]
        assert not misplaced, f"not listed under {section!r}: {misplaced}; run `make docs`"
