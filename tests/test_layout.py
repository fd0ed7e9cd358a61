"""The shape of the source: which module may import which, what is public, and how long the core is."""

from __future__ import annotations

import ast
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import chainrule as cr

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "chainrule"
FILES = sorted(SOURCE.rglob("*.py"))

# Bottom to top: a module imports from layers below its own, and from its own package; never across, never up.
LAYERS = (
    {"errors"},
    {"graph", "memory", "randomness", "tree", "colouring"},
    {"formula"},
    {"rules"},
    {"tensor"},
    {"inplace"},
    {"operators"},
    {"batch", "protocols", "record"},
    {"walk"},
    {"arguments"},
    {"transforms"},
    {"batching", "compile", "jacobians", "own", "series", "testing", "sparse"},
    {"custom"},
    {"checkpointing"},
    {"looping"},
    {"control"},
    {"nn", "numpy", "optim", "data", "scipy"},
    {"course", "expression", "training"},
    {"__init__"},
    {"__main__"},
)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}

# What is written with the public names only, as a user would write it, and what it needs beyond them.
APPLICATIONS = {"nn", "optim", "data", "course", "training"}
BEYOND_PUBLIC = {
    "graph.calls": "pictures have a box for each call of a module",
    "graph.next_index": "says which nodes a call of a module made",
    "tensor.as_value": "makes a value for a Tensor that exists, with the same checks as Tensor(...)",
    "tensor.describe": "names a Tensor in an error message",
    "tensor.handle": "course: Tensor() without a value is a Tensor without a node",
    "tensor.plain": "the array of what may be a Tensor or an array",
    "randomness.generator": "random numbers that a checkpoint can draw again",
    "own.Primitive": "training: an operation that is in no table",
    "rules.registry.rules": "operations that NumPy has no function for (sigmoid, logsumexp, ...)",
}


def module_name(file: Path) -> str:
    """The dotted name of a file's module inside the package."""
    parts = list(file.relative_to(SOURCE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def package_of(file: Path) -> list[str]:
    return list(file.relative_to(SOURCE).parent.parts)


def imports(file: Path) -> list[tuple[str, str, bool]]:
    """Every import of one part of the package by another: (module, name, at the top of the file)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            inside = [alias.name for alias in node.names if alias.name.split(".")[0] == "chainrule"]
            found += [(name.removeprefix("chainrule").strip("."), "", id(node) in top) for name in inside]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".") if node.module else []
            if node.level:
                package = package_of(file)
                module = package[: len(package) - node.level + 1] + module
            elif module and module[0] == "chainrule":
                module = module[1:]
            else:
                continue
            for alias in node.names:
                target = SOURCE.joinpath(*module, alias.name)
                if target.is_dir() or target.with_suffix(".py").exists():
                    found.append((".".join([*module, alias.name]), "", id(node) in top))
                else:
                    found.append((".".join(module), alias.name, id(node) in top))
    return found


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_point_one_way(file: Path) -> None:
    here = module_name(file).split(".")[0]
    assert here in LEVEL, f"new module {here}: give it a place in LAYERS"
    for module, name, at_top in imports(file):
        there = module.split(".")[0] or "__init__"
        assert there == here or LEVEL[there] < LEVEL[here], (
            f"{module_name(file)} imports {module}.{name}, which is above it"
        )
        assert at_top, f"{module_name(file)} imports {module} inside a function: that hides a dependency"


def test_the_map_of_compile_says_what_imports_what() -> None:
    """Its docstring names every module, after those that it imports from."""
    folder = SOURCE / "compile"
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    named = re.findall(r"\w+", " ".join(re.findall(r"^- .*: (.*)$", doc, re.MULTILINE)))
    files = {file.stem: file for file in folder.glob("*.py") if file.stem != "__init__"}
    assert sorted(named) == sorted(files), "give each module of compile/ a place in the docstring of its __init__.py"
    for place, name in enumerate(named):
        for module, _, _ in imports(files[name]):
            package, _, imported = module.partition(".")
            inside = package == "compile" and imported.partition(".")[0] in files
            assert not inside or imported in named[:place], f"compile.{name} imports {module}, which is named after it"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_no_import_by_string(file: Path) -> None:
    if module_name(file) == "rules.registry":
        return  # loads the rules for SciPy's functions, an optional dependency, when it first meets one
    tree = ast.parse(file.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"__import__", "importlib.import_module", "import_module"}


def test_networks_use_public_names() -> None:
    used = set()
    for file in FILES:
        here = module_name(file).split(".")[0]
        for module, name, _ in imports(file) if here in APPLICATIONS else []:
            if module.split(".")[0] in {here, *APPLICATIONS, "errors", "tree"}:
                continue
            full = f"{module}.{name}".strip(".")
            if name not in cr.__all__:
                assert full in BEYOND_PUBLIC, f"{module_name(file)} imports {full}: not public, and no reason given"
                used.add(full)
    assert used == set(BEYOND_PUBLIC), "exceptions that nobody needs any more"


def public_modules() -> list[ModuleType]:
    """The package and its public subpackages."""
    names = ["chainrule", *(f"chainrule.{n}" for n in cr.__all__ if isinstance(getattr(cr, n), ModuleType))]
    return [sys.modules[name] for name in names]


def public_objects() -> list[Any]:
    """Every public function and class, as a test parameter named by where a user finds it."""
    found = {}
    for module in public_modules():
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing) or inspect.isclass(thing):
                found.setdefault(thing, f"{module.__name__}.{name}")
    return [pytest.param(thing, id=name) for thing, name in found.items()]


def test_all_is_what_is_public() -> None:
    for module in public_modules():
        assert len(module.__all__) == len(set(module.__all__))
        for name in module.__all__:
            assert hasattr(module, name), f"{module.__name__}.__all__ lists {name}, which does not exist"
    submodules = {info.name for info in pkgutil.iter_modules([str(SOURCE)])}
    visible = {name for name in vars(cr) if not name.startswith("_")} - (submodules - set(cr.__all__))
    assert visible == set(cr.__all__)


@pytest.mark.parametrize("thing", public_objects())
def test_docstrings(thing: Any) -> None:
    doc = inspect.getdoc(thing)
    assert doc, "no docstring"
    summary = doc.splitlines()[0]
    assert summary, "the docstring begins with an empty line"
    assert summary.rstrip().endswith((".", ":")), f"the summary is not a sentence in one line: {summary!r}"
    for section, underline in re.findall(r"^(\w[\w ]*)\n(-+)$", doc, re.MULTILINE):
        known = "Parameters Returns Yields Raises Attributes Notes Examples References See Also Warns Derivative Source"
        assert section in known, f"unknown section {section!r}"
        assert len(underline) == len(section), f"underline of {section!r}"
    if inspect.isfunction(thing):
        required = [p.name for p in inspect.signature(thing).parameters.values()]
        if len(required) > 2:
            assert "Parameters\n" in doc or re.search(r"parameters.* as in `", doc), (
                f"takes {', '.join(required)} and explains none"
            )


# What only declares something, or switches something on: it costs nothing by itself.
DECLARING = {"custom_jvp", "custom_vjp", "def_linear", "def_partials", "def_rules", "no_grad", "primitive"}
DECLARING |= {"register_derivative", "singular", "stop_gradient"}


@pytest.mark.parametrize("thing", public_objects())
def test_reference_has_an_example_and_a_cost(thing: Any) -> None:
    """The examples run in tests/test_docs.py; costs are said of what runs or reads a user's function."""
    doc = inspect.getdoc(thing) or ""
    assert re.search(r"^Examples\n-+\n(.*\n)*?>>> ", doc, re.MULTILINE), "no example, or not under that heading"
    names = {*cr.__all__, *cr.nn.functional.__all__} - DECLARING
    if inspect.isfunction(thing) and thing.__name__ in names:
        assert re.search(r"\b[Cc]osts?\b", doc), "nothing about what it costs, in time or memory"


def code_lines(file: Path) -> int:
    """Lines that are neither blank nor part of a docstring."""
    text = file.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                skipped |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return sum(bool(line.strip()) for number, line in enumerate(text.splitlines(), 1) if number not in skipped)


def test_the_core_can_be_read_in_one_sitting() -> None:
    page = sum(
        bool(line.strip()) for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    )
    counts = {name: code_lines(SOURCE / name) for name in ("graph.py", "rules/elementwise.py", "walk/pull.py")}
    total = page + sum(counts.values())
    assert total < 600, f"architecture.md {page}, {counts}: {total} lines; a newcomer reads these first"


def test_import_needs_only_numpy() -> None:
    code = "import sys, json, chainrule; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    loaded = set(
        json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    )
    bare = "import sys, json, numpy; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    known = set(
        json.loads(subprocess.run([sys.executable, "-c", bare], check=True, capture_output=True, text=True).stdout)
    )
    foreign = loaded - known - set(sys.stdlib_module_names) - {"chainrule"}
    assert not foreign, f"importing chainrule imported {sorted(foreign)}"
