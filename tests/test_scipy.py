"""The package chainrule.scipy: SciPy is optional, and its ufuncs dispatch by themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize("module", ["special"])
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
