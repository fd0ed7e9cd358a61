"""The package chainrule.scipy: SciPy is optional, and its ufuncs dispatch by themselves."""

from __future__ import annotations

import importlib
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import UnsupportedFunctionError
from chainrule.scipy import namespace

WITHOUT_SCIPY = """
import sys
sys.modules["scipy"] = None  # what Python finds where a package is not installed
import chainrule
from chainrule.errors import MissingExtraError
try:
    import chainrule.scipy.{module}
except MissingExtraError as error:
    assert isinstance(error, ImportError)
    print(error)
"""


@pytest.mark.parametrize(
    "module", ["special", "stats", "integrate", "interpolate", "linalg", "optimize", "signal", "sparse.linalg"]
)
def test_without_scipy_the_error_names_the_extra(module: str) -> None:
    code = WITHOUT_SCIPY.format(module=module)
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 'pip install "chainrule[scipy]"' in printed


def test_plain_scipy_ufuncs_load_their_rules() -> None:
    code = """
import sys, scipy.special, chainrule as cr
assert not any(name.startswith("chainrule.scipy") for name in sys.modules)
print(float(cr.grad(scipy.special.gammaln)(1.0)))
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert abs(float(printed) + 0.5772156649015329) < 1e-15


@pytest.mark.parametrize("module", ["integrate", "interpolate", "linalg", "optimize", "signal", "sparse.linalg"])
def test_every_name_of_scipy_is_declared(module: str) -> None:
    theirs, ours = (importlib.import_module(f"{package}.{module}") for package in ("scipy", "chainrule.scipy"))
    public = {name for name in vars(theirs) if not name.startswith("_") and not inspect.ismodule(getattr(theirs, name))}
    assert public <= set(ours.here.kinds), f"undeclared: {sorted(public - set(ours.here.kinds))}"
    assert set(ours.here.kinds) <= set(vars(ours))
    for name, kind in ours.here.kinds.items():
        if kind == "as it is":
            assert getattr(ours, name) is getattr(theirs, name)
        elif kind not in ("differentiable", "nondifferentiable") and inspect.isfunction(getattr(ours, name)):
            with pytest.raises(UnsupportedFunctionError, match=f"scipy.{module}.{name} was called with a Tensor"):
                getattr(ours, name)(cr.Tensor(1.0))


@pytest.mark.parametrize(
    "module", ["special", "integrate", "interpolate", "linalg", "optimize", "signal", "sparse.linalg"]
)
def test_functions_and_classes_pickle(module: str) -> None:
    ours = importlib.import_module(f"chainrule.scipy.{module}")
    for name in ours.__all__:
        member = getattr(ours, name)
        if inspect.getmodule(member) is ours:
            assert pickle.loads(pickle.dumps(member)) is member, name


def test_a_value_that_the_operations_do_not_give_warns() -> None:
    t = cr.Tensor([1.0, 2.0])
    assert namespace.exactly(np.array([2.0, 4.0]), t * 2).node is not None
    with pytest.warns(RuntimeWarning, match="the derivative may be wrong"):
        namespace.exactly(np.array([2.0, 4.1]), t * 2)


@pytest.mark.parametrize("module", ["integrate", "interpolate", "linalg", "optimize", "signal", "sparse.linalg"])
def test_docstrings_say_where_functions_are_differentiable(module: str) -> None:
    ours = importlib.import_module(f"chainrule.scipy.{module}")
    for name, kind in ours.here.kinds.items():
        assert getattr(ours, name).__doc__, name
        if kind == "differentiable" and inspect.isfunction(getattr(ours, name)):
            assert "differentiable in" in getattr(ours, name).__doc__.lower(), name
