"""record and trace: a point, and a function."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.graph import contexts, ordered, watchers
from chainrule.record import record, trace


def names(result):
    return [node.rule.name for node in ordered([result.output.node])[0] if node.rule is not None]


def test_a_record_holds_the_branch_that_was_taken():
    result = record(lambda x: x * x if x > 0 else -x, 2.0)
    assert names(result) == ["multiply"]
    result = record(lambda x: np.where(x > 0, x, 0.0), np.array([1.0, -1.0]))
    assert names(result) == ["where"]  # the mask is a plain array


def test_a_trace_records_comparisons():
    result = trace(lambda x: np.where(x > 0, np.sin(x), 0.0), np.array([1.0, -1.0]))
    assert names(result) == ["greater", "sin", "where"]
    mask = next(n for n in ordered([result.output.node])[0] if n.rule is not None and n.rule.name == "greater")
    assert mask.dtype == bool
    assert all(node.value is not None for node in ordered([result.output.node])[0])
    np.testing.assert_array_equal(result.output.data, [np.sin(1.0), 0.0])


def test_other_results_without_a_derivative_are_traced_too():
    def f(x):
        return x * np.isfinite(x) + np.argmax(x)

    assert names(trace(f, np.ones(2))) == ["isfinite", "multiply", "argmax", "add"]


def test_guards():
    result = trace(lambda x: x * 2 if x > 1 else x, 3.0)
    ((tensor, use, outcome),) = result.guards
    assert tensor.node.rule.name == "greater"
    assert use == "bool(t)"
    assert bool(outcome) is True
    with pytest.raises(cr.errors.ConcreteValueError, match=r"np\.where"):
        trace(lambda x: x * 2 if x > 1 else x, 3.0, strict=True)
    assert not contexts.stack
    assert not watchers


def test_traced_graphs_are_differentiated_like_any_other():
    def f(x):
        return np.sum(np.where(x > 0, x**2, -x))

    result = trace(f, np.array([1.0, -1.0]))
    result.output.backward()
    assert cr.grad(lambda x: trace(f, x).output.data * 0 + f(x))(np.array([3.0, -1.0])).tolist() == [6.0, -1.0]


def test_users_cannot_make_bool_tensors():
    with pytest.raises(cr.errors.DataError, match="bool"):
        cr.Tensor(np.array([True, False]))
