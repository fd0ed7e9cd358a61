"""The accuracy that docs/coverage.md publishes is measured again, on some of the points."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from accuracy import BUCKETS, EXACT, PUBLISHED, REASONS, measured

from chainrule.rules import rules

INNER = {"share", "share_of_numbers", "weight", "weight2", "bell", "power_by_constant", "power_by_two", "power_by_zero"}
INNER |= {"quotient", "power_with_poles"}  # of formulas
TABLE: dict[str, Any] = json.loads(PUBLISHED.read_text(encoding="utf-8"))
# NumPy has other code for other processors, whose sines and exponentials differ by an ulp or two.
SLACK = 4


LIST_ROWS = """
import chainrule
from chainrule.rules import rules
print(*(rule.name for rule in rules.values() if not set(rule.partials) <= {"0", "1", "-1"}))
"""


def test_every_row_is_measured() -> None:
    """All that `import chainrule` registers, which SciPy's rows are not part of; partials of 0 and 1 are exact."""
    printed = subprocess.run([sys.executable, "-c", LIST_ROWS], check=True, capture_output=True, text=True).stdout
    assert set(printed.split()) - INNER == set(EXACT)
    assert list(TABLE) == list(EXACT), "run `python tests/accuracy.py` with the names of new rows"


def test_what_is_not_accurate_has_a_reason() -> None:
    assert {name: found["reason"] for name, found in TABLE.items() if None in found["ulp"]} == REASONS


@pytest.mark.parametrize("name", EXACT)
def test_accuracy(name: str) -> None:
    every = 3 if len(rules[name].partials) == 1 else 13
    worst, early = measured(name, every=every)
    for error, bound in zip(worst, TABLE[name]["ulp"], strict=True):
        assert bound is None or error <= bound + SLACK, f"{error} ulp where {bound} are published"
    assert TABLE[name]["early"] or not early


@pytest.mark.parametrize("name", [name for name in EXACT if name not in REASONS])
def test_accuracy_in_single_precision(name: str) -> None:
    every = 7 if len(rules[name].partials) == 1 else 29
    worst, _ = measured(name, np.float32, every)
    assert max(worst) <= BUCKETS[-1]
