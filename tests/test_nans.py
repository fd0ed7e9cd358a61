"""explain_nan names what gave the first NaN or infinity; debug() stops there, and notices arrays that were changed."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.errors import ChangedArrayError, FreedGraphError, NonFiniteError, OutputError, SingularError
from chainrule.graph import contexts, watchers
from chainrule.operators import BINARY, UNARY
from chainrule.walk import pull

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy warns where the values go wrong

THREE = np.array([1.0, 0.0, -4.0])
# A function, its argument, and (operation, index, value) of what is to be found forward, then NaN, then backward.
Found = tuple[str, tuple[int, ...], float] | None
INF, NAN = np.inf, np.nan
CASES: dict[str, tuple[Any, Any, Found, Found, Found]] = {
    "finite": (np.tanh, THREE, None, None, None),
    "log": (np.log, THREE, ("log", (1,), -INF), ("log", (2,), NAN), ("log", (1,), INF)),
    "log of a part": (lambda x: np.log(x[::2]), THREE, ("log", (1,), NAN), None, None),
    "what where drops": (lambda x: np.where(x > 0, np.log(x), 0.0), THREE, None, None, None),
    "dropped and taken": (
        lambda x: np.where(x < 0, np.sqrt(x), np.log(x + 5)) + 0 * x,
        THREE,
        ("sqrt", (2,), NAN),
        None,
        ("sqrt", (2,), NAN),
    ),
    "a part of what is bad": (
        lambda x: np.exp(np.log(x)[2:] * 1.0),
        THREE,
        ("log", (2,), NAN),
        None,
        ("exp", (0,), NAN),
    ),
    "overflow, then NaN": (
        lambda x: np.exp(1000 * x) / np.sum(np.exp(1000 * x)),
        THREE,
        ("exp", (0,), INF),
        ("divide", (0,), NAN),
        ("divide", (0,), NAN),
    ),
    "root at 0": (lambda x: np.sqrt(x[:2]), THREE, None, None, ("sqrt", (1,), INF)),
    "a norm by hand": (lambda x: np.sqrt(np.sum((x * 0) ** 2)), THREE, None, None, None),
    "a norm by hand, divided by": (
        lambda x: x / np.sqrt(np.sum(x**2)),
        np.zeros(2),
        ("divide", (0,), NAN),
        None,
        ("divide", (0,), INF),
    ),
    "arccos": (lambda x: np.arccos(x[:1]), THREE, None, None, ("arccos", (0,), -INF)),
    "power": (lambda x: x**0.5, THREE, ("power_by_constant", (2,), NAN), None, ("power_by_constant", (1,), INF)),
    "broadcast": (
        lambda x: np.sum((x * x)[:, np.newaxis] / np.array([[1.0, 0.0]])),
        np.array([1.0, 2.0]),
        ("divide", (0, 1), INF),
        None,
        ("divide", (0, 1), INF),
    ),
    "a sum": (lambda x: np.sum(x * 1e308), np.ones(3), ("sum", (), INF), None, None),
    "a product of matrices": (lambda x: x @ x, 1e200 * np.ones(3), ("matmul", (), INF), None, None),
}


def seen(finding: Any) -> Found:
    return None if finding is None else (finding.operation, finding.index, float(finding.value))


def same(found: Found, expected: Found) -> None:
    assert (found is None) == (expected is None), f"{found}, not {expected}"
    if found is not None and expected is not None:
        assert found[:2] == expected[:2]
        np.testing.assert_equal(found[2], expected[2])


@pytest.mark.parametrize("name", CASES)
def test_what_is_found(name: str) -> None:
    f, x, forward, turned, backward = CASES[name]
    for recorded in (False, True):
        t = Tensor(x, name="t")
        if recorded:
            with cr.debug(stop=False):
                y = f(t)
        else:
            y = f(t)
        found = cr.explain_nan(y)
        same(seen(found.forward), forward)
        same(seen(found.turned_nan), turned)
        same(seen(found.backward), backward)
        assert t.grad is None
        for finding in (found.forward, found.backward):
            if finding is not None and recorded:
                assert finding.certain
                assert "test_nans.py" in finding.line
                assert all(operand.value is not None or operand.shape for operand in finding.operands)
        y.backward()  # the graph is as it was
        assert np.all(np.isfinite(t.grad)) == (backward is None)


def test_words() -> None:
    found = cr.explain_nan(np.tanh(Tensor(1.0)))
    assert str(found) == repr(found) == "Forward: the result is finite.\nBackward: every gradient is finite."
    x = Tensor(THREE, name="x")
    text = str(cr.explain_nan(np.sum(np.log(x))))
    assert "Forward: log gave -inf at index (1,)\n  operand 'x' of shape (3,): 0.0 there" in text
    assert "Later it became NaN: log gave nan at index (2,)\n  operand 'x' of shape (3,): -4.0 there" in text
    assert "instead: a logarithm of 0" in text
    assert "instead: a logarithm of a negative number" in text
    assert text.endswith(
        "Lines and all values are recorded inside `with cr.debug(stop=False):`; this was computed outside."
    )
    with cr.debug(stop=False):
        y = np.sum(np.log(x))
    (here,) = [line for line in str(cr.explain_nan(y).forward).splitlines() if "made at" in line]
    assert here.startswith(f"  made at {__file__}:")
    assert here.endswith(", in test_words: y = np.sum(np.log(x))")


ADVICE: dict[str, tuple[Any, Any, str]] = {
    "log of softmax": (lambda x: np.log(nn.softmax(x)), [0.0, 1000.0], "nn.log_softmax"),
    "log of sigmoid": (lambda x: np.log(nn.sigmoid(x)), [-1000.0], "np.logaddexp(0, -x)"),
    "log of 1 - p": (lambda x: np.log(1 - nn.sigmoid(x)), [40.0], "write -np.logaddexp(0, x)"),
    "log of a quotient": (lambda x: np.log(np.sum(x) / 1e300 / 1e300), [1.0], "log(a) - log(b)"),
    "log of a sum": (lambda x: np.log(np.sum(np.exp(x))), [-1000.0, -1001.0], "nn.logsumexp"),
    "exp": (lambda x: np.exp(x * 2), [1000.0], "nn.logsumexp"),
    "log of a determinant": (lambda x: np.log(np.linalg.det(x)), [[1.0, 2.0], [2.0, 4.0]], "np.linalg.slogdet"),
    "log1p": (np.log1p, [-2.0], "x > -1"),
    "x/norm(x)": (lambda x: x / np.linalg.norm(x), [0.0, 0.0], "np.where(norm > 0, norm, 1)"),
    "sinc": (lambda x: np.sin(x) / x, [0.0], "np.sinc"),
    "a variance": (lambda x: np.sqrt(x - 1), [0.5], "np.maximum(x, 0)"),
    "arccos": (lambda x: np.arccos(x), [1 + 1e-12], "np.clip(x, -1, 1)"),
    "0 * log(0)": (lambda x: x * np.log(x), [0.0], "np.where(x > 0, x, 1)"),
    "0 * inf": (lambda x: x * (1 / x), [0.0], "np.where(d == 0, 1, d)"),
    "power": (lambda x: x**1.5, [-1.0], "np.sign(x)*np.abs(x)**p"),
    "0**-1": (lambda x: x**-1.0, [0.0], "0 to a negative power"),
    "square": (np.square, [1e200], "overflows: scale"),
    "cosh": (np.cosh, [1e4], "overflows"),
}


@pytest.mark.parametrize("name", ADVICE)
def test_forward_advice(name: str) -> None:
    f, x, advice = ADVICE[name]
    with cr.debug(stop=False):
        y = f(Tensor(x))
    finding = cr.explain_nan(y).forward
    assert finding is not None
    assert advice in finding.rewrite
    with cr.debug(), pytest.raises(NonFiniteError) as caught:
        f(Tensor(x))
    assert caught.value.finding.rewrite == finding.rewrite
    assert caught.value.finding.operation == finding.operation


@pytest.mark.parametrize(
    ("f", "x", "advice"),
    [
        (lambda x: np.sqrt(x), 0.0, "np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0)"),
        (lambda x: x**0.5, 0.0, "slope of a root at 0"),
        (np.cbrt, 0.0, "slope of a root at 0"),
        (np.arccos, 1.0, "np.arctan2"),
    ],
)
def test_backward_advice(f: Any, x: float, advice: str) -> None:
    with cr.debug(stop=False):
        y = f(Tensor(x))
    finding = cr.explain_nan(y).backward
    assert finding is not None
    assert advice in finding.rewrite


def test_rule_r4() -> None:
    with cr.debug(stop=False):
        x = Tensor(THREE)
        y = np.sum(np.where(x > 0, np.sqrt(x), 2 * x))
    found = cr.explain_nan(y)
    assert found.backward is None
    (place,) = found.zero_won
    assert place.startswith("sqrt (made at ")
    assert "Rule R4 (a zero factor wins over infinity and NaN) acted in the derivative of\n  sqrt" in str(found)
    with cr.debug(stop=False):
        y = np.sum(np.array([0.0, 1.0, 1.0]) * np.sqrt(Tensor([0.0, 0.0, 1.0])))
    found = cr.explain_nan(y)  # at one element a zero wins, at the next the slope is infinite
    assert found.backward is not None
    assert (found.backward.operation, found.backward.index, found.backward.rules) == ("sqrt", (1,), ("R3", "R4"))
    assert "rule R4 acted here" in str(found.backward)
    with cr.singular("nan"):
        found = cr.explain_nan(np.sum(np.sqrt(x * x)))
    assert not found.zero_won
    assert seen(found.backward) == ("sqrt", (1,), INF)


def test_rule_r3() -> None:
    def found(f: Any, x: Any) -> Any:
        with cr.debug(stop=False):
            y = f(Tensor(x))
        return cr.explain_nan(y).backward

    for f, x in ((np.sqrt, [1.0, 0.0]), (np.cbrt, [1.0, 0.0]), (lambda x: 1e300 * np.sqrt(x), [0.0])):
        assert found(f, x).rules == ("R3",)
        assert "rule R3 acted here: the slope there is infinite" in str(found(f, x))
    big = np.array([1e200])
    assert found(lambda x: np.sum(big * (big * x)), [1.0]).rules == ()  # the product overflows, no slope is infinite
    outside = cr.explain_nan(np.log(Tensor([1.0]) - 1.0)).backward  # neither operand nor result was kept
    assert outside is not None
    assert outside.rules == ()
    assert "it reads values that are not finite already" in outside.note
    assert found(lambda x: 1 / x, [0.0]).rules == ()  # the value is not finite either
    assert found(lambda x: np.linalg.inv(x), np.diag([1e-200, 1.0])).rules == ()


def test_what_was_given() -> None:
    found = cr.explain_nan(np.sum(Tensor([1.0, NAN], name="x") ** 2))
    assert "a leaf that was given holds nan at index (1,)\n  it is 'x', of shape (2,)" in str(found)
    found = cr.explain_nan(Tensor([1.0, 2.0]) * np.array([1.0, INF]))
    assert "a constant that was given holds inf at index (1,)\n  it is an operand of multiply" in str(found)
    with cr.debug():  # not an error by itself, but NaN made of infinity is
        x = Tensor([1.0, 0.0]) * np.array([INF, 1.0])
        with pytest.raises(NonFiniteError, match=r"subtract gave nan at index \(0,\)"):
            x - x


def test_what_was_not_kept() -> None:
    x = Tensor([2.0, 800.0])
    finding = cr.explain_nan(np.sum(np.exp(x + 1.0))).forward
    assert finding is not None
    assert (finding.operation, finding.index, finding.certain) == ("exp", (1,), False)
    assert finding.operands[0].value is None
    assert "not kept" in str(finding)


def test_a_long_chain() -> None:
    y = x = Tensor(1.0)
    for _ in range(100_000):
        y = np.negative(y)
    found = cr.explain_nan(np.log(y * x - 1.0))
    assert found.forward is not None
    assert found.forward.operation == "log"
    assert found.backward is not None
    assert found.backward.operation == "log"


def test_while_the_slots_are_in_use() -> None:
    y = np.sum(np.sqrt(Tensor([0.0, 1.0])))
    with pull._slots:
        found = cr.explain_nan(y)
    assert found.backward is not None
    assert found.backward.index == (0,)


def test_writes() -> None:
    with cr.debug(stop=False):
        x = Tensor([1.0, 0.0, 4.0])
        y = np.zeros_like(x)
        for i in range(3):
            y[i] = np.sqrt(x[i])
        y *= 2.0
    found = cr.explain_nan(np.sum(y))
    assert found.forward is None
    assert found.backward is not None
    assert (found.backward.operation, found.backward.operands[0].value) == ("sqrt", 0.0)


def test_what_cannot_be_explained() -> None:
    for y in (np.ones(3), 1.0, Tensor(1.0).detach()):
        with pytest.raises(OutputError, match="no graph"):
            cr.explain_nan(y)  # type: ignore[arg-type]
    y = np.sin(Tensor(1.0))
    y.backward()
    with pytest.raises(FreedGraphError, match="call it before"):
        cr.explain_nan(y)


def test_inside_transforms() -> None:
    found = []

    def f(x: Any) -> Any:
        y = np.log(x)
        found.append(cr.explain_nan(y))
        return np.sum(y)

    x = np.array([[1.0, 2.0], [0.0, 3.0]])
    cr.grad(f)(x)
    cr.vmap(cr.grad(f))(x)
    cr.grad(lambda x: np.sum(cr.grad(f)(x)))(x)
    for each in found:
        assert seen(each.forward) == seen(each.turned_nan or each.forward) == ("log", (1, 0), -INF)
        assert seen(each.backward) == ("log", (1, 0), INF)
    with pytest.raises(OutputError, match="inside forward mode, which keeps no graph"):
        cr.jvp(f, (x,), (x,))


# -- debug ---------------------------------------------------------------------------------------------------------
def test_debug_stops_forward() -> None:
    x = Tensor([4.0, -1.0], name="x")
    with cr.debug(), pytest.raises(FloatingPointError) as caught:
        np.sqrt(x)
    assert isinstance(caught.value, NonFiniteError)
    finding = caught.value.finding
    assert (finding.operation, finding.index, finding.operands[0].value) == ("sqrt", (1,), -1.0)
    assert "in test_debug_stops_forward: np.sqrt(x)" in str(caught.value)


def test_debug_stops_without_a_graph() -> None:
    with cr.debug(), cr.no_grad(), pytest.raises(NonFiniteError, match="log gave -inf"):
        np.log(Tensor(0.0))
    with cr.debug(), pytest.raises(NonFiniteError, match="divide gave nan"):
        Tensor(0.0).detach() / 0.0


BACKWARD: dict[str, Any] = {
    "backward": lambda f, x: f(Tensor(x)).backward(),
    "create_graph": lambda f, x: f(Tensor(x)).backward(create_graph=True),
    "grad": lambda f, x: cr.grad(f)(x),
    "vjp": lambda f, x: cr.vjp(f, x)[1](1.0),
    "inside another": lambda f, x: cr.grad(lambda x: np.sum(cr.grad(f)(x)))(x),
}


@pytest.mark.parametrize("way", BACKWARD)
def test_debug_stops_backward(way: str) -> None:
    x = np.array([1.0, 0.0])
    with cr.debug(), pytest.raises(NonFiniteError, match=r"the derivative of sqrt gave inf at index \(1,\)") as caught:
        BACKWARD[way](lambda x: np.sum(np.sqrt(x)), x)
    assert caught.value.finding.phase == "backward"
    assert "test_nans.py" in caught.value.finding.line
    with cr.debug():
        BACKWARD[way](lambda x: np.sum(np.sqrt(np.sum(0 * x * x))) + np.sum(x * x), x)  # R4: no error


def test_debug_stops_forward_mode() -> None:
    with cr.debug():
        with pytest.raises(NonFiniteError, match=r"the tangent of sqrt gave inf at index \(1,\)"):
            cr.jvp(np.sqrt, (np.array([1.0, 0.0]),), (np.ones(2),))
        cr.jvp(lambda x: np.sqrt(np.sum(x * x)), (np.zeros(2),), (np.ones(2),))
        _, linear = cr.linearize(np.sqrt, np.array([1.0, 0.0]))
        assert linear(np.array([1.0, 0.0])).tolist() == [0.5, 0]  # R4
        with pytest.raises(NonFiniteError, match=r"the tangent of sqrt gave inf at index \(1,\)") as caught:
            linear(np.ones(2))
        assert "_, linear = cr.linearize" in caught.value.finding.line


def test_debug_beside_vmap() -> None:
    x = np.array([[1.0, 2.0], [0.0, 3.0]])
    with cr.debug():
        with pytest.raises(NonFiniteError, match=r"log gave -inf at index \(1, 0\)"):
            cr.vmap(lambda x: np.sum(np.log(x)))(x)
        with pytest.raises(NonFiniteError, match=r"the derivative of sqrt gave inf at index \(1, 0\)"):
            cr.vmap(cr.grad(lambda x: np.sum(np.sqrt(x))))(x)
        np.testing.assert_array_equal(cr.vmap(cr.grad(lambda x: np.sum(x**3)))(x), 3 * x**2)


def test_a_cotangent_that_is_not_finite() -> None:
    with cr.debug(), pytest.raises(NonFiniteError, match="the cotangent that was given holds nan"):
        (Tensor(1.0) * 2).backward(NAN)


def test_nothing_is_changed_by_an_error() -> None:
    x = Tensor([0.0, 1.0])
    with cr.debug():
        y = np.sum(np.sqrt(x))
        with pytest.raises(NonFiniteError):
            y.backward()
    assert x.grad is None
    y.backward()
    assert x.grad.tolist() == [INF, 0.5]


def test_debug_costs_nothing_when_off() -> None:
    with cr.debug():
        inside = (Tensor(1.0) * 2).node
    outside = (Tensor(1.0) * 2).node
    assert hasattr(inside, "origin")
    assert not hasattr(outside, "origin")
    assert not watchers
    assert contexts.debug is None
    for name in [*(f"__{name}__" for name in BINARY.values()), *UNARY.values(), "tanh"]:
        printed = inspect.unwrap(getattr(Tensor, name))
        names = {*printed.__code__.co_names, *printed.__code__.co_varnames}
        assert not any("debug" in name or "origin" in name for name in names)
    assert not {"debug", "origin"} & {*pull.accumulate.__code__.co_names, *pull.fitted.__code__.co_names}


def test_debug_holds_in_its_thread_and_nests() -> None:
    found = []

    def other() -> None:
        found.append(np.log(Tensor(0.0)).data)

    with cr.debug():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with cr.debug(stop=False):
            np.log(Tensor(0.0))
        with pytest.raises(NonFiniteError):
            np.log(Tensor(0.0))
    assert found == [-INF]
    np.log(Tensor(0.0))


# -- arrays that were changed --------------------------------------------------------------------------------------
def test_a_constant_that_was_changed() -> None:
    x, c = Tensor([1.0, 2.0]), np.array([3.0, 4.0])
    with cr.debug():
        y = np.sum(x * c)
        c[0] = 0.0
        with pytest.raises(ChangedArrayError) as caught:
            y.backward()
    message = str(caught.value)
    assert message.startswith("an array of shape (2,) and dtype float64 was changed after multiply (made at ")
    assert "y = np.sum(x * c)" in message
    assert x.grad is None


@pytest.mark.parametrize(
    ("f", "constant"),
    [
        (lambda x, c: x[c], np.array([0, 1])),
        (lambda x, c: x[c], np.array([True, False, True])),
        (lambda x, c: np.take(x, c), np.array([2, 0])),
        (lambda x, c: np.sum(x, where=c), np.array([True, False, True])),
        (lambda x, c: np.where(c, x, 2 * x), np.array([True, False, True])),
        (lambda x, c: np.einsum("ij,j->i", c, x), np.ones((2, 3))),
    ],
)
def test_masks_and_indices_that_were_changed(f: Any, constant: Any) -> None:
    x, c = Tensor([1.0, 2.0, 3.0]), constant.copy()
    with cr.debug():
        y = np.sum(f(x, c))
        y.backward(retain_graph=True)
        c[0] = 0 if np.any(c[0]) else 1
        with pytest.raises(ChangedArrayError, match=r"an array of shape .* was changed after"):
            y.backward()


def test_an_index_of_a_write_that_was_changed() -> None:
    x, i = Tensor([1.0, 2.0, 3.0]), np.array([0, 1])
    with cr.debug():
        y = x * 1
        y[i] = np.sum(x)
        z = np.sum(y * y)
        i[0] = 2
        with pytest.raises(ChangedArrayError, match=r"after write_put .* used it as a parameter"):
            z.backward()


def test_data_that_was_written_to() -> None:
    x = Tensor([1.0, 2.0], name="x")
    with cr.debug():
        y = np.sum(x * x)
        x.data[0] = 5.0
        with pytest.raises(ChangedArrayError, match="the data of a Tensor of shape"):
            y.backward()
        z = np.exp(x)
        z.data[:] = 0.0
        with pytest.raises(ChangedArrayError, match=r"after exp .* used it as its result"):
            np.sum(z).backward()


def test_changes_that_matter_to_no_derivative() -> None:
    x, c = Tensor([1.0, 2.0]), np.array([3.0, 4.0])
    with cr.debug():
        y = np.sum(x + c)
        c[0] = x.data[0] = 9.0
        y.backward()
        assert x.grad.tolist() == [1, 1]
        z = x * 2.0
        w = np.sum(z * z)
        z[0] = 7.0  # a write that is followed
        w.backward()
        assert x.grad.tolist() == [1 + 8 * 9, 1 + 8 * 2]
        with cr.no_grad():
            x -= 0.1 * x.grad
        np.sum(x * x).backward()


def test_training_inside_debug() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(16, 3)), rng.integers(0, 2, 16)
    losses = []
    for stop in (None, True):
        first = nn.Sequential(nn.Linear(3, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1))
        optimizer = cr.optim.AdamW(first.parameters(), lr=0.05)
        with cr.debug() if stop else cr.singular("zero"):
            for _ in range(5):
                optimizer.zero_grad()
                loss = nn.cross_entropy(first(x), labels)
                loss.backward()
                optimizer.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]


# -- lines in other errors -----------------------------------------------------------------------------------------
def test_errors_of_the_backward_pass_say_the_line() -> None:
    with cr.debug():
        x = Tensor([1.0, 2.0])
        y = np.sum(np.sin(x))
        y.backward()
        with pytest.raises(FreedGraphError) as caught:
            y.backward()
        assert "y = np.sum(np.sin(x))" in caught.value.__notes__[0]
        with pytest.raises(SingularError, match=r"multiply.*made at .*test_nans.py"), cr.singular("raise"):
            np.sqrt(np.sum(0.0 * x * x)).backward()


def test_debug_looks_into_compiled_functions():
    """Inside, they run as they are: by line and operation, also after they were compiled."""
    slope = cr.jit(cr.grad(lambda x: np.sum(np.sqrt(x))))
    for _ in range(4):
        slope(np.array([1.0, 4.0]))
    with cr.debug(), pytest.raises(cr.errors.NonFiniteError, match="derivative of sqrt gave inf at index"):
        slope(np.array([1.0, 0.0]))
    np.testing.assert_array_equal(slope(np.array([1.0, 0.0])), [0.5, np.inf])
    assert len(slope.variants) == 1


def test_what_did_not_reach_a_finite_result():
    """The first operation is named, too, where infinity or NaN vanished on the way."""
    x = cr.Tensor([1000.0, 0.25], name="x")
    with np.errstate(all="ignore"):
        overflown = cr.explain_nan(np.sum(1 / np.exp(x)))
        unselected = cr.explain_nan(np.sum(np.where(x > 5, x, np.sqrt(0.5 - x))))
    assert overflown.forward is None
    assert (overflown.vanished.operation, overflown.vanished.index) == ("exp", (0,))
    assert (unselected.vanished.operation, unselected.vanished.index) == ("sqrt", (0,))
    assert "What did not reach it: exp gave inf" in str(overflown)
    assert cr.explain_nan(np.sum(x * x)).vanished is None
