"""Batches: every row once an epoch, together, in a seeded order."""

import numpy as np
import pytest

from chainrule import Tensor
from chainrule.data import Batches

X, Y = np.arange(20.0).reshape(10, 2), np.arange(10)


def test_every_row_comes_once_and_rows_stay_together():
    batches = Batches(X, Y, batch_size=3, rng=0)
    assert len(batches) == 4
    sizes, seen = [], []
    for x, y in batches:
        np.testing.assert_array_equal(x, X[y])
        sizes.append(len(y))
        seen += y.tolist()
    assert sizes == [3, 3, 3, 1]
    assert sorted(seen) == list(range(10))
    assert seen != list(range(10))


def test_each_epoch_has_its_own_order_and_a_seed_repeats_them():
    def epochs(rng):
        batches = Batches(Y, batch_size=4, rng=rng)
        return [np.concatenate(list(batches)).tolist() for _ in range(3)]

    first = epochs(7)
    assert first[0] != first[1] != first[2]
    assert first == epochs(np.random.default_rng(7))
    assert first != epochs(8)


def test_drop_last():
    batches = Batches(Y, batch_size=3, drop_last=True)
    assert [len(y) for y in batches] == [3, 3, 3]
    assert len(batches) == 3
    assert len(Batches(Y, batch_size=5, drop_last=True)) == len(list(Batches(Y, batch_size=5, drop_last=True))) == 2


def test_without_shuffling_batches_are_views():
    parts = list(Batches(Y, batch_size=4, shuffle=False))
    np.testing.assert_array_equal(np.concatenate(parts), Y)
    assert all(np.shares_memory(part, Y) for part in parts)


def test_batches_larger_than_the_data_and_no_data():
    assert [len(y) for y in Batches(Y, batch_size=99)] == [10]
    assert list(Batches(np.empty((0, 2)), batch_size=3)) == []


def test_lists_and_tensors():
    t = Tensor(X)
    for x, y in Batches(t, list(range(10)), batch_size=4, rng=0):
        np.testing.assert_array_equal(x.data, X[y])
        np.sum(x).backward()
    np.testing.assert_array_equal(t.grad, np.ones_like(X))


@pytest.mark.parametrize(
    ("arrays", "size", "message"),
    [
        ((X, Y[:9]), 2, r"equal length along the first axis.*\(10, 2\), \(9,\)"),
        ((X, 3.0), 2, r"shapes \(10, 2\), \(\)"),
        ((), 2, "at least one array"),
        ((X,), 0, "batch_size=0, expected at least 1"),
    ],
)
def test_bad_input(arrays, size, message):
    with pytest.raises(ValueError, match=message):
        Batches(*arrays, batch_size=size)
