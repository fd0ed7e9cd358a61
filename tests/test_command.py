"""The command line: as a user runs it, in a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.errors import FormulaError
from chainrule.expression import evaluate, names_in, parse, value_of

SOURCE = Path(cr.__file__).parent.parent


def run(*arguments, **options):
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-m", "chainrule", *arguments],
        capture_output=True, text=True, encoding="utf-8", env=environment, timeout=120, check=False, **options,
    )  # fmt: skip


def test_the_example():
    done = run("sigmoid(w*x + b)", "w=2", "x=1", "b=0.5")
    assert (done.returncode, done.stderr) == (0, "")
    s = 1 / (1 + np.exp(-2.5))
    blocks = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert blocks[:5] == [
        "∂y/∂w = ∂y/∂v₁ · ∂v₁/∂w",
        "= σ′(v₁) · x",
        "= σ′(w·x + b) · x",
        f"= {s * (1 - s):.6g} · 1",
        f"= {s * (1 - s):.6g}",
    ]
    assert f"= {2 * s * (1 - s):.6g}" in blocks  # in x
    assert "∂y/∂b = ∂y/∂v₁ · ∂v₁/∂b" in blocks


def test_the_readme_shows_what_is_printed():
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    pattern = re.compile(r"^    .venv/bin/python -m chainrule (.*?)$.*?^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    command, shown = pattern.search(readme).groups()
    assert run(*shlex.split(command)).stdout.startswith(shown)


def test_matrices_and_wrt():
    done = run("sum((W @ x - t)**2)", "W=[[1, 2], [3, 4]]", "x=[1, 1]", "t=[0, 1]", "--wrt", "W")
    assert done.returncode == 0
    assert "∂y/∂W = " in done.stdout
    assert "∂y/∂x = " not in done.stdout
    assert "[[ 6., 6.], [12., 12.]]  (2, 2)" in done.stdout  # 2 (Wx - t) xᵀ


def test_latex():
    done = run("-x**3", "x=-2", "--latex")
    assert done.returncode == 0
    assert done.stdout.startswith("\\begin{aligned}\n\\frac{\\partial y}{\\partial x} &=")
    assert r"3 \cdot x^{2}" in done.stdout
    assert r"&= -12 \\" in done.stdout


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.addresses = "", []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_html(tmp_path):
    done = run("sin(x)*(x<4)", "x=0.5", "--html", str(tmp_path / "out.html"))
    assert done.returncode == 0
    assert done.stdout.endswith(f"written: {tmp_path / 'out.html'}\n")
    page = Page()
    page.feed((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert "sin(x)*(x<4)" in page.text
    assert "cos(x)" in page.text
    assert page.addresses == []  # needs nothing else


def test_help():
    done = run("--help")
    assert done.returncode == 0
    for word in ("--wrt", "--latex", "--html", "name=value", "examples:", "exit codes"):
        assert word in done.stdout


BAD = {
    "syntax": (["exp(", "x=1"], "'(' was never closed"),
    "empty": ([" "], "not an expression"),
    "no arguments": ([], "required"),
    "a name without a value": (["x*y", "x=1"], "y has no value. Give it one: y=1.0"),
    "an unknown function": (["sigmod(x)", "x=1"], "Did you mean sigmoid"),
    "a value that occurs nowhere": (["x**2", "x=1", "z=1"], "z does not occur"),
    "a value that is none": (["x**2", "x=abc"], "neither a number nor an array"),
    "rows of different lengths": (["x**2", "x=[[1,2],[3]]"], "different lengths"),
    "two values": (["x**2", "x=1", "x=2"], "two values"),
    "no equals sign": (["x**2", "x"], "name=value"),
    "wrt something else": (["x**2", "x=1", "--wrt", "y"], "--wrt y"),
    "no name": (["1 + 2"], "nothing to differentiate"),
    "shapes": (["x @ y", "x=[1,2]", "y=[1,2,3]"], "mismatch"),
    "an index": (["x[5]", "x=[1,2]"], "out of bounds"),
    "code": (["__import__('os').system('echo hacked')", "x=1"], "x does not occur"),
    "an attribute": (["x.__class__", "x=1"], "not allowed"),
    "an option": (["x", "x=1", "--wat"], "unrecognized"),
    "brackets without end": (["(" * 5000 + "x" + ")" * 5000, "x=1"], "not an expression"),
    "minus signs without end": (["1" + "-" * 100_000 + "x", "x=1"], "e"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    arguments, message = BAD[name]
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_path_that_cannot_be_written(tmp_path):
    done = run("x**2", "x=1", "--html", str(tmp_path / "missing" / "out.html"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: cannot write")


# -- the language --------------------------------------------------------------------------------------------------
VALUES = {"x": 0.7, "v": [1.0, 2.0, 3.0], "A": [[2.0, 1.0], [0.5, 3.0]]}
SAME = {
    "x**2 + 3*x - 1/x": lambda x, v, A: x**2 + 3 * x - 1 / x,
    "-sin(x)*np.cos(x)": lambda x, v, A: -np.sin(x) * np.cos(x),
    "sum(v[1:]*v[:-1]) + v[-1]": lambda x, v, A: np.sum(v[1:] * v[:-1]) + v[-1],
    "linalg.inv(A) @ A.T": lambda x, v, A: np.linalg.inv(A) @ A.T,
    "np.linalg.det(A)": lambda x, v, A: np.linalg.det(A),
    "A[0, ...][1]*A[:, 0]": lambda x, v, A: A[0, ...][1] * A[:, 0],
    "where(v > 1.5, v, -v)": lambda x, v, A: np.where(v > 1.5, v, -v),
    "sum(A, axis=-1, keepdims=True)": lambda x, v, A: np.sum(A, axis=-1, keepdims=True),
    "einsum('ij,ij->i', A, A)": lambda x, v, A: np.einsum("ij,ij->i", A, A),
    "concatenate([v, [1, x]])": lambda x, v, A: np.concatenate([v, [1, x]]),
    "softmax(v)*pi + e": lambda x, v, A: nn.softmax(v) * np.pi + np.e,
    "2**10*x + 9**9**9*0*x": None,
}


@pytest.mark.parametrize("text", SAME)
def test_expressions(text):
    values = {name: Tensor(value, name=name) for name, value in VALUES.items()}
    with np.errstate(all="ignore"):
        found = evaluate(parse(text), values)
    if SAME[text] is None:  # a number too large for Python is infinite, and takes no time
        assert np.isnan(found.data)
        return
    expected = SAME[text](*values.values())
    np.testing.assert_array_equal(found.data, expected.data)


def test_names_in_order():
    assert names_in(parse("b*sin(a) + np.exp(b) + linalg.det(W) + where(a > 0, c, pi)")) == ["b", "a", "W", "c", "pi"]


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2.0), ("-1e3", -1000.0), ("pi/2", np.pi / 2), ("[1, [2]]", None), ("1+2j", 1 + 2j)]
)
def test_values(text, value):
    if value is None:
        with pytest.raises(FormulaError):
            value_of(text)
    else:
        assert value_of(text) == value
        assert np.asarray(value_of(text)).dtype.kind in "fc"


REFUSED = [
    "eval('1')", "open('f')", "load('f')", "np.save('f', x)", "fromfile('f')", "loadtxt('f')", "memmap('f')",
    "x.data", "x.T.base", "(lambda: x)()", "[i for i in x]", "x if x else x", "x and x", "not x", "f'{x}'", "b'x'",
    "(y := x)", "x < x < x", "sum(*[x])", "sum(**x)", "{'a': x}", "x // 1", "x % 1", "x | x", "lib.os.system('ls')",
    "linalg.os.system('ls')", "np.testing.os", "'a' * 3", "nn.sigmoid(x)", "sum.__globals__", "...",
]  # fmt: skip


def test_no_function_touches_files():
    """Of all of NumPy's names: those that take a file are refused."""
    for name in dir(np):
        if "file" in name or name.startswith(("load", "save", "from", "genfrom", "mem", "open", "Data")):
            with pytest.raises(FormulaError):
                evaluate(parse(f"{name}(x)"), {"x": Tensor(1.0)})


@pytest.mark.parametrize("text", REFUSED)
def test_nothing_else_is_run(text):
    with pytest.raises(FormulaError):
        evaluate(parse(text), {"x": Tensor(1.0)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "x=1"], "there is nothing to be read"),
        (["x + 1", "x="], "given no value"),
        (["solve(A, b)", "A=[[1, 2], [2, 5]]", "b=[1, 2]"], "Did you mean linalg.solve"),
    ],
)
def test_what_is_missing_is_named(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
