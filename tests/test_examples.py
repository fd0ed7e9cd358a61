"""The examples run and reach what they promise."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    """Import an example by name."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return __import__


def test_xor(example):
    net, losses = example("xor").train(600)
    assert losses[-1] < 1e-2 < losses[0]
    xor = example("xor")
    np.testing.assert_array_equal(np.round(net(xor.X).data), xor.Y)


def test_digits(example):
    digits = example("digits")
    rng = np.random.default_rng(0)
    train_set, test_set = digits.load(rng)
    assert (len(train_set[1]), len(test_set[1])) == (1258, 539)
    history = list(digits.train(digits.network(rng), train_set, test_set, rng))
    assert history[-1][1] >= 0.97
    assert history[-1][0] < history[0][0] / 10


def test_demo(example, tmp_path, capsys):
    demo = example("demo")
    assert demo.main(tmp_path / "out", epochs=4) > 0.9
    printed = capsys.readouterr().out
    assert "equal to rounding" in printed
    for name in ("learning_curve.png", "mistakes.png", "graph.svg"):
        assert f"out/{name}" in printed
        assert (tmp_path / "out" / name).stat().st_size > 1000
    ET.parse(tmp_path / "out" / "graph.svg")


def test_demo_without_torch(example, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    example("demo").main(tmp_path, epochs=1)
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize(("script", "missing"), [("demo", "tqdm"), ("demo", "matplotlib"), ("digits", "sklearn")])
def test_a_missing_extra_is_named(script, missing):
    code = f"import sys, runpy; sys.modules[{missing!r}] = None; runpy.run_path('{script}.py', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", code], cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert result.returncode
    assert "pip install chainrule[demo]" in result.stderr


@pytest.mark.parametrize("name", ["xor", "digits"])
def test_scripts_run_and_are_short(name, tmp_path):
    file = EXAMPLES / f"{name}.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) < 60
    result = subprocess.run([sys.executable, file], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout
    assert not result.stderr
