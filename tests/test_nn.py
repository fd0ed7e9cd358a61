"""Layers, functions, losses and initialisers against PyTorch, in float64 to 1e-12."""

import math

import mpmath
import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import Tensor, nn
from chainrule.rules.special import BLOCK, erf, erfc

F = torch.nn.functional
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5)) * 2
C = RNG.normal(size=(6, 5))  # a cotangent
CLASSES = np.array([0, 4, 2, 2, 1, 3])
PROBABILITIES = RNG.dirichlet(np.ones(5), 6)


def close(ours, theirs, rtol=1e-12, atol=1e-14):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=atol)


def compare(ours, theirs, x=X, rtol=1e-12, atol=1e-14):
    """Forward value and input gradient, for a cotangent that is not all ones."""
    t, z = Tensor(x), torch.tensor(x, requires_grad=True)
    y, expected = ours(t), theirs(z)
    close(y.data, expected, rtol, atol)
    ct = np.cos(np.arange(y.size, dtype=float)).reshape(y.shape)
    y.backward(ct)
    expected.backward(torch.tensor(ct))
    close(t.grad, z.grad, rtol, atol)
    assert y.dtype == t.grad.dtype == t.dtype


# -- activations -----------------------------------------------------------------------------------------------------
ACTIVATIONS = {
    "Sigmoid": (nn.Sigmoid(), torch.nn.Sigmoid()),
    "Tanh": (nn.Tanh(), torch.nn.Tanh()),
    "ReLU": (nn.ReLU(), torch.nn.ReLU()),
    "GELU": (nn.GELU(), torch.nn.GELU()),
    "GELU by tanh": (nn.GELU("tanh"), torch.nn.GELU("tanh")),
    "Softmax": (nn.Softmax(), torch.nn.Softmax(-1)),
    "Softmax of columns": (nn.Softmax(0), torch.nn.Softmax(0)),
    "LogSoftmax": (nn.LogSoftmax(), torch.nn.LogSoftmax(-1)),
    "LogSoftmax of columns": (nn.LogSoftmax(0), torch.nn.LogSoftmax(0)),
    "logsumexp": (nn.logsumexp, lambda x: torch.logsumexp(x, (0, 1))),
    "logsumexp of rows": (lambda x: nn.logsumexp(x, 1, True), lambda x: torch.logsumexp(x, 1, keepdim=True)),
    "Dropout, eval": (nn.Dropout(0.5).eval(), torch.nn.Dropout(0.5).eval()),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    compare(*ACTIVATIONS[name])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_float32(name):
    compare(*ACTIVATIONS[name], X.astype("f4"), 1e-5, 1e-6)


@pytest.mark.parametrize("name", ["Sigmoid", "ReLU", "GELU", "Softmax", "LogSoftmax"])
def test_activations_of_plain_arrays_are_plain(name):
    assert type(ACTIVATIONS[name][0](X)) is np.ndarray


def test_relu_is_flat_at_zero():
    x = Tensor([-0.0, 0.0])
    nn.relu(x).backward()
    np.testing.assert_array_equal(x.grad, [0.0, 0.0])


@pytest.mark.parametrize("x", [-800.0, -40.0, 40.0, 800.0])
def test_extreme_arguments_stay_finite(x):
    for f, expected in ((nn.sigmoid, F.sigmoid), (nn.gelu, F.gelu), (nn.tanh, F.tanh)):
        t, z = Tensor(x), torch.tensor(x, dtype=torch.float64, requires_grad=True)
        f(t).backward()
        expected(z).backward()
        assert t.grad == pytest.approx(z.grad.item(), rel=1e-12, abs=1e-15)


def test_gelu_of_infinity():
    np.testing.assert_array_equal(nn.gelu(np.array([-np.inf, np.inf])), [0.0, np.inf])
    with pytest.raises(ValueError, match='expected "none" or "tanh"'):
        nn.gelu(X, "erf")


def test_gelu_higher_derivatives():
    second = cr.grad(cr.grad(nn.gelu))(0.7)
    density = math.exp(-(0.7**2) / 2) / math.sqrt(2 * math.pi)
    assert second == pytest.approx((2 - 0.7**2) * density, rel=1e-12)
    _, tangent = cr.jvp(nn.gelu, (0.7,), (2.0,))
    assert tangent == pytest.approx(2 * cr.grad(nn.gelu)(0.7), rel=1e-15)


@pytest.mark.parametrize(("ours", "exact"), [(erf, mpmath.erf), (erfc, mpmath.erfc)])
def test_error_function_has_all_digits(ours, exact):
    x = np.concatenate([np.linspace(-6, 6, 481), np.linspace(6, 26, 41), [0.0, 1e-300, -1e-20, 0.5, -0.5]])
    expected = np.array([float(exact(v)) for v in x])
    np.testing.assert_allclose(ours(x), expected, rtol=1.5e-15, atol=0)
    np.testing.assert_allclose(ours(x.astype("f4")), [float(exact(v)) for v in x.astype("f4")], rtol=2e-6, atol=1e-37)
    assert ours(x.astype("f2")).dtype == np.float16
    many = np.linspace(-3, 3, 2 * BLOCK + 3).reshape(-1, 1)
    np.testing.assert_array_equal(ours(many)[::100], ours(np.ascontiguousarray(many[::100])))


def test_error_function_of_special_values():
    x = np.array([-np.inf, np.inf, np.nan, 1e200, -0.0])
    np.testing.assert_array_equal(erf(x), [-1.0, 1.0, np.nan, 1.0, -0.0])
    np.testing.assert_array_equal(erfc(x), [2.0, 0.0, np.nan, 0.0, 1.0])
    assert np.signbit(erf(x)[-1])
    assert erf(1) == math.erf(1)


# -- dropout -----------------------------------------------------------------------------------------------------------
def test_dropout_in_training():
    x = Tensor(np.ones((200, 100)))
    y = nn.Dropout(0.25, rng=1)(x)
    kept = y.data != 0
    np.testing.assert_allclose(y.data[kept], 1 / 0.75, rtol=1e-15)
    assert abs(kept.mean() - 0.75) < 0.02
    y.backward()
    np.testing.assert_array_equal(x.grad, y.data)


def test_dropout_is_seeded_and_changes_from_call_to_call():
    first, second = nn.Dropout(0.5, rng=3), nn.Dropout(0.5, rng=np.random.default_rng(3))
    a, b = first(X), first(X)
    assert not np.array_equal(a, b)
    np.testing.assert_array_equal(a, second(X))
    assert nn.Dropout(0.5)(X.astype("f4")).dtype == np.float32


def test_dropout_of_nothing_and_of_everything():
    assert nn.dropout(X, 0.0) is X
    np.testing.assert_array_equal(nn.dropout(X, 1.0), np.zeros_like(X))
    for p in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match="not a probability"):
            nn.Dropout(p)
        with pytest.raises(ValueError, match="not a probability"):
            nn.dropout(X, p)


# -- losses ------------------------------------------------------------------------------------------------------------
X4 = RNG.normal(size=(3, 4, 2, 2))
CLASSES4 = RNG.integers(0, 4, (3, 2, 2))
LOSSES = {
    "mse_loss": (lambda x, r: nn.mse_loss(x, C, r), lambda x, r: F.mse_loss(x, torch.tensor(C), reduction=r), X),
    "nll_loss": (
        lambda x, r: nn.nll_loss(x, CLASSES, r),
        lambda x, r: F.nll_loss(x, torch.tensor(CLASSES), reduction=r),
        X,
    ),
    "nll_loss of one sample": (
        lambda x, r: nn.nll_loss(x, np.int64(2), r),
        lambda x, r: F.nll_loss(x, torch.tensor(2), reduction=r),
        X[0],
    ),
    "cross_entropy": (
        lambda x, r: nn.cross_entropy(x, CLASSES, r),
        lambda x, r: F.cross_entropy(x, torch.tensor(CLASSES), reduction=r),
        X,
    ),
    "cross_entropy of large logits": (
        lambda x, r: nn.cross_entropy(x, CLASSES, r),
        lambda x, r: F.cross_entropy(x, torch.tensor(CLASSES), reduction=r),
        X * 1000,
    ),
    "cross_entropy of one sample": (
        lambda x, r: nn.cross_entropy(x, 3, r),
        lambda x, r: F.cross_entropy(x, torch.tensor(3), reduction=r),
        X[0],
    ),
    "cross_entropy of images": (
        lambda x, r: nn.cross_entropy(x, CLASSES4, r),
        lambda x, r: F.cross_entropy(x, torch.tensor(CLASSES4), reduction=r),
        X4,
    ),
    "cross_entropy with probabilities": (
        lambda x, r: nn.cross_entropy(x, PROBABILITIES, r),
        lambda x, r: F.cross_entropy(x, torch.tensor(PROBABILITIES), reduction=r),
        X,
    ),
    "cross_entropy of images with probabilities": (
        lambda x, r: nn.cross_entropy(x, nn.softmax(X4 * 2, 1), r),
        lambda x, r: F.cross_entropy(x, torch.softmax(torch.tensor(X4 * 2), 1), reduction=r),
        X4,
    ),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, reduction):
    ours, theirs, x = LOSSES[name]
    compare(lambda t: ours(t, reduction), lambda z: theirs(z, reduction), x)


@pytest.mark.parametrize("name", ["mse_loss", "nll_loss", "cross_entropy"])
def test_losses_keep_float32(name):
    targets = {"mse_loss": C.astype("f4")}
    x = Tensor(X.astype("f4"))
    loss = getattr(nn, name)(x, targets.get(name, CLASSES))
    loss.backward()
    assert loss.dtype == x.grad.dtype == np.float32


def test_losses_of_plain_arrays_are_plain():
    assert isinstance(nn.cross_entropy(X, CLASSES), np.floating)


def test_targets_may_be_differentiated_too():
    target, z = Tensor(PROBABILITIES), torch.tensor(PROBABILITIES, requires_grad=True)
    nn.cross_entropy(X, target).backward()
    F.cross_entropy(torch.tensor(X), z).backward()
    close(target.grad, z.grad)


def test_cross_entropy_with_a_class_ruled_out():
    x = Tensor([[0.0, -np.inf, 1.0]])
    nn.cross_entropy(x, [2]).backward()
    p = 1 / (1 + math.e)
    np.testing.assert_allclose(x.grad, [[p, 0.0, -p]], rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.mse_loss(X, X[:, :1]), ValueError, r"\(6, 5\) and target of shape \(6, 1\).*same shape"),
        (lambda: nn.mse_loss(X, X, "average"), ValueError, "reduction='average', expected \"mean\""),
        (lambda: nn.cross_entropy(X, CLASSES * 1.0), TypeError, r"float64.*integer classes of shape \(6,\)"),
        (lambda: nn.nll_loss(X, PROBABILITIES), TypeError, r"target.astype\(int\)"),
        (lambda: nn.cross_entropy(X, CLASSES[:3]), ValueError, r"shape \(3,\).*expected shape \(6,\)"),
        (lambda: nn.cross_entropy(X, CLASSES[:, None]), ValueError, r"shape \(6, 1\).*expected shape \(6,\)"),
        (lambda: nn.cross_entropy(X, CLASSES + 1), ValueError, "from 1 to 5, expected 0 to 4"),
        (lambda: nn.nll_loss(X, CLASSES - 1), ValueError, "from -1 to 3, expected 0 to 4"),
        (lambda: nn.cross_entropy(Tensor(1.0), 0), ValueError, r"shape \(\)"),
    ],
)
def test_losses_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


# -- Linear, Sequential ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 7, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    layer = nn.Linear(3, 4, bias, rng=0)
    peer = torch.nn.Linear(3, 4, bias, dtype=torch.float64)
    peer.load_state_dict({name: torch.tensor(value) for name, value in layer.state_dict().items()})
    compare(layer, peer, np.random.default_rng(1).normal(size=shape))
    close(layer.weight.grad, peer.weight.grad)
    if bias:
        close(layer.bias.grad, peer.bias.grad)
    else:
        assert layer.bias is None


def test_linear_starts_within_pytorchs_bounds():
    layer = nn.Linear(400, 300, rng=0)
    for values in (layer.weight.data, layer.bias.data):
        assert 0.9 / 20 < np.abs(values).max() <= 1 / 20
    assert layer.weight.data.std() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.01)
    np.testing.assert_array_equal(layer.weight.data, nn.Linear(400, 300, rng=np.random.default_rng(0)).weight.data)


def test_linear_says_what_is_wrong():
    with pytest.raises(
        ValueError, match=r"Linear\(3, 4\) expects .* \(\.\.\., 3\), but was given array of shape \(6, 5\)"
    ):
        nn.Linear(3, 4)(X)
    with pytest.raises(ValueError, match="at least one feature"):
        nn.Linear(0, 4)


def test_a_network_in_float32():
    net = nn.Sequential(nn.Linear(5, 8, rng=0, dtype="f4"), nn.GELU(), nn.Linear(8, 5, rng=1, dtype="f4"), np.tanh)
    loss = nn.cross_entropy(net(X.astype("f4")), CLASSES)
    loss.backward()
    assert {loss.dtype, *(p.dtype for p in net.parameters()), *(p.grad.dtype for p in net.parameters())} == {
        np.dtype("f4")
    }


def test_sequential():
    net = nn.Sequential(nn.Linear(5, 4, rng=0), np.tanh, nn.Linear(4, 3, rng=1))
    peer = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3)).double()
    peer.load_state_dict({k.removeprefix("layers."): torch.tensor(v) for k, v in net.state_dict().items()})
    compare(net, peer)
    for ours, theirs in zip(net.parameters(), peer.parameters(), strict=True):
        close(ours.grad, theirs.grad)
    assert len(net) == 3
    assert list(net)[1] is np.tanh is net[1]
    assert nn.Sequential()(X) is X
    with pytest.raises(TypeError, match="separate arguments, but was given list"):
        nn.Sequential([nn.ReLU()])


# -- Module ------------------------------------------------------------------------------------------------------------
class Net(nn.Module):
    def __init__(self):
        self.scale = Tensor(2.0)
        self.blocks = [nn.Linear(2, 2, rng=0), nn.Sequential(nn.Linear(2, 3, rng=1), nn.Dropout(0.5, rng=2))]
        self.heads = {"a": nn.Linear(3, 1, rng=3), "extra": (Tensor([1.0]), [Tensor([2.0, 3.0])])}
        self.constant = Tensor([5.0]).detach()
        self.table = np.ones(3)
        self.nothing = None

    def forward(self, x, shift=0.0):
        for block in self.blocks:
            x = block(x)
        return self.scale * self.heads["a"](x) + shift


NAMES = [
    "scale",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.1.layers.0.weight",
    "blocks.1.layers.0.bias",
    "heads.a.weight",
    "heads.a.bias",
    "heads.extra.0",
    "heads.extra.1.0",
]


def test_parameters_are_found_and_named():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [p.name for p in net.parameters()] == NAMES
    assert net(np.ones(2), shift=1.0).shape == (1,)
    assert len(net.modules()) == 6


def test_shared_parameters_come_once_and_are_saved_under_each_name():
    net = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=1))
    net.layers[1].weight = net.layers[0].weight
    net.layers.append(net.layers[1])
    assert len(net.parameters()) == 3
    assert len(net.modules()) == 3
    assert len(net.state_dict()) == 6


def test_a_module_that_contains_itself():
    net = nn.Linear(2, 2)
    net.parent = net
    assert len(net.parameters()) == 2


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    np.testing.assert_array_equal(net(np.ones(2)).data, net(np.ones(2)).data)
    assert net.train().blocks[1][1].training


def test_zero_grad():
    net = Net()
    net(np.ones(2)).backward()
    assert net.scale.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_state_dict_round_trip():
    net, other = Net().eval(), Net().eval()
    for p in other.parameters():
        p.data = p.data + 1.0
    state = other.state_dict()
    net.load_state_dict(state)
    np.testing.assert_array_equal(net(np.ones(2)).data, other(np.ones(2)).data)
    state["blocks.0.weight"][...] = 7.0  # a copy
    assert not np.any(net.blocks[0].weight.data == 7.0)
    assert not np.any(other.blocks[0].weight.data == 7.0)
    half = nn.Linear(2, 2, dtype="f4")
    half.load_state_dict(nn.Linear(2, 2).state_dict())
    assert half.weight.dtype == half(np.ones(2, "f4")).dtype == np.float32


def test_state_dict_survives_a_file(tmp_path):
    net, other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
    np.savez(tmp_path / "net.npz", **net.state_dict())
    with np.load(tmp_path / "net.npz") as state:
        other.load_state_dict(state)
    np.testing.assert_array_equal(other.weight.data, net.weight.data)


def test_a_state_that_does_not_fit_changes_nothing():
    net = nn.Linear(3, 2, rng=0)
    before = net.state_dict()
    with pytest.raises(cr.errors.StructureError, match=r"missing \['bias'\], unexpected \['b'\]"):
        net.load_state_dict({"weight": np.zeros((2, 3)), "b": np.zeros(2)})
    with pytest.raises(ValueError, match=r"bias has shape \(3,\), expected \(2,\)"):
        net.load_state_dict({"weight": np.zeros((2, 3)), "bias": np.zeros(3)})
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_module_without_forward():
    with pytest.raises(NotImplementedError, match="Module defines no forward"):
        nn.Module()(1.0)


def test_repr():
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Sequential(nn.GELU("tanh"), nn.Dropout(0.1)), nn.Softmax(0))
    assert repr(net) == (
        "Sequential(\n"
        "  (layers.0): Linear(2, 3, bias=False)\n"
        "  (layers.1): Sequential(\n"
        "    (layers.0): GELU(approximate='tanh')\n"
        "    (layers.1): Dropout(0.1)\n"
        "  )\n"
        "  (layers.2): Softmax(axis=0)\n"
        ")"
    )


# -- initialisers ------------------------------------------------------------------------------------------------------
SHAPES = [(300, 200), (60, 20, 5, 5)]
UNIFORM = {
    "xavier_uniform": (
        lambda shape, rng: nn.init.xavier_uniform(shape, rng, gain=1.5),
        lambda w: torch.nn.init.xavier_uniform_(w, gain=1.5),
    ),
    "kaiming_uniform": (nn.init.kaiming_uniform, torch.nn.init.kaiming_uniform_),
    "kaiming_uniform, fan_out, tanh": (
        lambda shape, rng: nn.init.kaiming_uniform(shape, rng, mode="fan_out", nonlinearity="tanh"),
        lambda w: torch.nn.init.kaiming_uniform_(w, mode="fan_out", nonlinearity="tanh"),
    ),
    "lecun_uniform": (nn.init.lecun_uniform, lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="linear")),
}
NORMAL = {
    "xavier_normal": (nn.init.xavier_normal, torch.nn.init.xavier_normal_),
    "kaiming_normal": (
        lambda shape, rng: nn.init.kaiming_normal(shape, rng, a=0.3),
        lambda w: torch.nn.init.kaiming_normal_(w, a=0.3),
    ),
    "kaiming_normal, fan_out": (
        lambda shape, rng: nn.init.kaiming_normal(shape, rng, mode="fan_out", nonlinearity="relu"),
        lambda w: torch.nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
    ),
    "lecun_normal": (nn.init.lecun_normal, lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear")),
}


class Recorded:
    """Catches the parameters of the distribution that an initialiser of PyTorch draws from."""

    def __init__(self, shape, monkeypatch):
        self.weight, self.arguments = torch.empty(shape, dtype=torch.float64), None
        for name in ("_no_grad_uniform_", "_no_grad_normal_"):
            monkeypatch.setattr(torch.nn.init, name, self.catch, raising=False)
        monkeypatch.setattr(torch.Tensor, "uniform_", self.catch)
        monkeypatch.setattr(torch.Tensor, "normal_", self.catch)

    def catch(self, *arguments, generator=None):
        self.arguments = [x for x in arguments if isinstance(x, int | float)]


class Catching(np.random.Generator):
    """A NumPy Generator that remembers the parameters it was called with."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def uniform(self, low, high, size):
        self.arguments = low, high
        return super().uniform(low, high, size)

    def normal(self, loc, scale, size):
        self.arguments = loc, scale
        return super().normal(loc, scale, size)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL])
def test_initialisers_draw_from_pytorchs_distributions(name, shape, monkeypatch):
    ours, theirs = (UNIFORM | NORMAL)[name]
    rng, peer = Catching(), Recorded(shape, monkeypatch)
    weight = ours(shape, rng)
    theirs(peer.weight)
    np.testing.assert_allclose(rng.arguments, peer.arguments, rtol=1e-15)
    assert weight.shape == shape
    assert weight.dtype == np.float64
    spread = rng.arguments[1] / (math.sqrt(3) if name in UNIFORM else 1)
    assert weight.std() == pytest.approx(spread, rel=0.02)


def test_initialisers_are_seeded_and_typed():
    np.testing.assert_array_equal(
        nn.init.lecun_normal((3, 4), 5), nn.init.lecun_normal((3, 4), np.random.default_rng(5))
    )
    for name in (
        "xavier_uniform",
        "xavier_normal",
        "kaiming_uniform",
        "kaiming_normal",
        "lecun_uniform",
        "lecun_normal",
    ):
        assert getattr(nn.init, name)((3, 4), 0, dtype="f4").dtype == np.float32


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert nn.init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)
    assert nn.init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)


def test_initialisers_say_what_is_wrong():
    with pytest.raises(ValueError, match="'swish', expected one of linear"):
        nn.init.calculate_gain("swish")
    with pytest.raises(ValueError, match=r"shape \(3,\): expected at least two axes"):
        nn.init.xavier_uniform((3,), 0)
    with pytest.raises(ValueError, match="mode='fan', expected \"fan_in\""):
        nn.init.kaiming_normal((3, 4), 0, mode="fan")
