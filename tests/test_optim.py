"""Optimisers: ten steps against PyTorch's, in float64 to 1e-12."""

import math

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import Tensor, optim

CONFIGURATIONS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.99), "eps": 1e-6}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.2}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.0}),
]
IDS = [f"{name} {options}" for name, options in CONFIGURATIONS]
A, START = np.random.default_rng(0).normal(size=(2, 4, 3))
B, SCALE = np.array([0.5, -1.0, 2.0]), 1.5


def loss(library, W, b, s):
    return (library.sin(s * W + b) * A_OF[library]).sum() + (s * s * s).sum() + (b * b).sum()


A_OF = {np: A, torch: torch.tensor(A)}


def parameters():
    return [Tensor(START), Tensor(B), Tensor(SCALE)]


def peers():
    return [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (START, B, SCALE)]


def run(library, optimizer, values, steps=10):
    for _ in range(steps):
        optimizer.zero_grad()
        loss(library, *values).backward()
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), CONFIGURATIONS, ids=IDS)
def test_ten_steps(name, options):
    ours, theirs = parameters(), peers()
    run(np, getattr(optim, name)(ours, **options), ours)
    run(torch, getattr(torch.optim, name)(theirs, **options), theirs)
    for t, z, start in zip(ours, theirs, (START, B, SCALE), strict=True):
        np.testing.assert_allclose(t.data, z.detach().numpy(), rtol=1e-12, atol=1e-14)
        assert not np.any(t.data == start)


@pytest.mark.parametrize(("name", "options"), CONFIGURATIONS, ids=IDS)
def test_arrays_change_in_place_and_gradients_do_not(name, options):
    ours = parameters()
    optimizer = getattr(optim, name)(ours, **options)
    arrays = [t.data for t in ours[:2]]
    for _ in range(2):
        optimizer.zero_grad()
        loss(np, *ours).backward()
        gradients = [np.copy(t.grad) for t in ours]
        optimizer.step()
        for t, gradient in zip(ours, gradients, strict=True):
            np.testing.assert_array_equal(t.grad, gradient)
    assert all(t.data is array for t, array in zip(ours, arrays, strict=False))
    assert isinstance(ours[2].data, np.float64)


@pytest.mark.parametrize(("name", "options"), CONFIGURATIONS, ids=IDS)
def test_state_can_be_saved_and_loaded(name, options):
    ours, others = parameters(), parameters()
    first, second = getattr(optim, name)(ours, **options), getattr(optim, name)(others)
    run(np, first, ours, 4)
    for t, other in zip(ours, others, strict=True):
        other.data = t.data.copy()
    saved = first.state_dict()
    run(np, first, ours, 3)
    second.load_state_dict(saved)
    run(np, second, others, 3)
    for t, other in zip(ours, others, strict=True):
        np.testing.assert_array_equal(t.data, other.data)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_float32_is_kept(name):
    w, s = Tensor(START.astype("f4")), Tensor(np.float32(1.0))
    options = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    optimizer = getattr(optim, name)([w, s], lr=0.1, weight_decay=0.1, **options)
    for _ in range(2):
        optimizer.zero_grad()
        np.sum(s * w * w).backward()
        optimizer.step()
    assert w.dtype == s.dtype == np.float32
    assert {x.dtype for each in optimizer.state for key, x in each.items() if key != "steps"} == {np.dtype("f4")}


def test_parameters_without_a_gradient_are_left_alone():
    w, unused = Tensor([1.0]), Tensor([1.0])
    optimizer = optim.Adam([w, unused], weight_decay=0.5)
    (w * w).backward()
    optimizer.step()
    assert unused.data[0] == 1.0
    assert not optimizer.state[1]
    assert optimizer.state[0]["steps"] == 1


def test_settings_can_be_changed_between_steps():
    w = Tensor([1.0])
    optimizer = optim.SGD([w], lr=0.5)
    (w * w).backward()
    optimizer.lr = 0.25
    optimizer.step()
    assert w.data[0] == 0.5


def test_a_gradient_with_a_graph_of_its_own():
    w = Tensor([1.0])
    (w * w).backward(create_graph=True)
    optim.SGD([w], lr=0.25).step()
    assert w.data[0] == 0.5


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW])
def test_parameters_are_checked(optimizer):
    w = Tensor([1.0])
    with pytest.raises(TypeError, match=r"iterable of Tensors, such as model.parameters\(\), not Tensor of shape"):
        optimizer(w)
    with pytest.raises(TypeError, match=r"model.parameters\(\), not Linear"):
        optimizer(cr.nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"leaves.*array of shape"):
        optimizer([np.ones(2)])
    with pytest.raises(TypeError, match="leaves"):
        optimizer([w * 2])
    with pytest.raises(ValueError, match="at least one parameter"):
        optimizer([])
    with pytest.raises(ValueError, match="given twice"):
        optimizer([w, w])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -1}, "lr=-1, expected a number >= 0"),
        ("SGD", {"momentum": -0.1}, "momentum=-0.1"),
        ("SGD", {"weight_decay": math.nan}, "weight_decay=nan"),
        ("SGD", {"nesterov": True}, "nesterov needs momentum"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov needs momentum"),
        ("Adam", {"betas": (1.0, 0.999)}, r"betas\[0\]=1.0, expected a number in \[0, 1\)"),
        ("Adam", {"betas": (0.9, -1)}, r"betas\[1\]=-1"),
        ("AdamW", {"eps": -1e-8}, "eps=-1e-08"),
    ],
)
def test_settings_are_checked(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)([Tensor([1.0])], **options)


def test_a_state_that_does_not_fit():
    w, v = Tensor([1.0]), Tensor([1.0, 2.0])
    adam = optim.Adam([w])
    (w * w).backward()
    adam.step()
    with pytest.raises(cr.errors.StructureError, match=r"does not fit SGD: missing.*unexpected.*betas"):
        optim.SGD([w]).load_state_dict(adam.state_dict())
    with pytest.raises(cr.errors.StructureError, match="has 1 parameters, expected 2"):
        optim.Adam([w, v]).load_state_dict(adam.state_dict())
    other = optim.Adam([v], lr=0.5)
    with pytest.raises(ValueError, match=r"mean of parameter 0 has shape \(1,\), expected \(2,\)"):
        other.load_state_dict(adam.state_dict())
    assert other.lr == 0.5
