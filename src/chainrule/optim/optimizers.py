"""SGD, Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import StructureError
from ..tensor import Tensor, describe, plain

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


class Optimizer:
    """Base class: walks over the parameters; a subclass says how one of them changes.

    Parameters
    ----------
    parameters : iterable of Tensor
        Leaves, such as ``model.parameters()``.

    Raises
    ------
    TypeError
        If something is no leaf Tensor.
    ValueError
        If there is none, or one comes twice.

    Examples
    --------
    >>> class SignDescent(Optimizer):
    ...     def _update(self, value, gradient, state):
    ...         value -= 0.1 * np.sign(gradient)
    >>> x = Tensor([1.0, -1.0])
    >>> np.sum(x**2).backward()
    >>> SignDescent([x]).step()
    >>> x.data
    array([ 0.9, -0.9])
    """

    settings: ClassVar[tuple[str, ...]] = ()  # names of the attributes that state_dict holds besides `state`

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        if isinstance(parameters, Tensor) or not isinstance(parameters, Iterable):
            raise TypeError(
                f"an optimiser takes an iterable of Tensors, such as model.parameters(), not {describe(parameters)}"
            )
        self.parameters = list(parameters)
        for p in self.parameters:
            if not isinstance(p, Tensor) or p.node is None or p.node.rule is not None:
                raise TypeError(
                    f"an optimiser changes leaves, Tensors made by Tensor(...), but was given {describe(p)}"
                )
        if not self.parameters:
            raise ValueError("an optimiser needs at least one parameter, but was given none")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter was given twice, and would be changed twice in every step")
        self.state: list[dict[str, Any]] = [{} for _ in self.parameters]
        self._scratch: dict[Any, Any] = {}
        for p in self.parameters:
            self._buffers(np.asarray(p.data))

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for p, state in zip(self.parameters, self.state, strict=True):
            if p.grad is None:
                continue
            value = p.data if p.ndim else np.full_like(p.data, p.data)  # 0-d parameters hold NumPy scalars
            self._update(value, plain(p.grad), state)
            if not p.ndim:
                p.data = value[()]

    def _update(self, value: Any, gradient: Any, state: dict[str, Any]) -> None:
        """Change the array `value`, without writing to `gradient`; `state` is kept from step to step."""
        raise NotImplementedError

    def _buffers(self, like: Any) -> tuple[Any, Any]:
        """Two arrays to work in, shared by all parameters of this shape and dtype; a program (`jit`) has its own."""
        if type(like) is not np.ndarray:
            return np.empty_like(like), np.empty_like(like)
        key = like.shape, like.dtype
        if key not in self._scratch:
            self._scratch[key] = np.empty_like(like), np.empty_like(like)
        first, second = self._scratch[key]
        return first, second

    def state_dict(self) -> dict[str, Any]:
        """Copy the settings and what is kept per parameter, in the parameters' order."""
        state = [{name: np.copy(x)[()] for name, x in each.items()} for each in self.state]
        return {name: getattr(self, name) for name in self.settings} | {"state": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave.

        Raises
        ------
        StructureError
            If it belongs to another optimiser, or to another number of parameters.
        ValueError
            If a shape differs from the parameter's.  Nothing is changed by an error.
        """
        expected = {*self.settings, "state"}
        if set(state) != expected:
            raise StructureError(
                f"the state does not fit {type(self).__name__}: missing {sorted(expected - set(state))}, "
                f"unexpected {sorted(set(state) - expected)}"
            )
        if len(state["state"]) != len(self.parameters):
            raise StructureError(
                f"the state has {len(state['state'])} parameters, expected {len(self.parameters)}, in the same order"
            )
        for i, (p, each) in enumerate(zip(self.parameters, state["state"], strict=True)):
            for name, x in each.items():
                if name != "steps" and np.shape(x) != p.shape:
                    raise ValueError(f"{name} of parameter {i} has shape {np.shape(x)}, expected {p.shape}")
        for name in self.settings:
            setattr(self, name, state[name])
        self.state = [
            {name: int(x) if name == "steps" else np.array(x, p.dtype) for name, x in each.items()}
            for p, each in zip(self.parameters, state["state"], strict=True)
        ]


def _checked(name: str, value: float, below: float = float("inf")) -> float:
    if not 0 <= value < below:
        raise ValueError(
            f"{name}={value}, expected a number {f'in [0, {below:g})' if below < float('inf') else '>= 0'}"
        )
    return value


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float, default 0.001
        Step size.
    momentum : float, default 0
    dampening : float, default 0
        The velocity takes 1 - dampening of each gradient after the first.
    weight_decay : float, default 0
        Added to the gradient, times the parameter.
    nesterov : bool, default False
        Look ahead along the velocity; needs momentum, without dampening.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no leaf, or a setting out of range.

    Examples
    --------
    >>> x = Tensor([1.0, -2.0])
    >>> optimizer = SGD([x], lr=0.25)
    >>> np.sum(x**2).backward()
    >>> optimizer.step()
    >>> x.data
    array([ 0.5, -1. ])
    """

    settings = ("lr", "momentum", "dampening", "weight_decay", "nesterov")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters)
        if nesterov and (not momentum or dampening):
            raise ValueError(f"nesterov needs momentum > 0 and dampening = 0, not {momentum} and {dampening}")
        self.lr = _checked("lr", lr)
        self.momentum = _checked("momentum", momentum)
        self.dampening = dampening
        self.weight_decay = _checked("weight_decay", weight_decay)
        self.nesterov = nesterov

    def _update(self, value: Any, gradient: Any, state: dict[str, Any]) -> None:
        buffer, other = self._buffers(value)
        if self.weight_decay:
            np.multiply(value, self.weight_decay, out=buffer)
            gradient = np.add(gradient, buffer, out=buffer)
        if self.momentum:
            if "velocity" not in state:
                state["velocity"] = np.copy(gradient)
            else:
                velocity = state["velocity"]
                velocity *= self.momentum
                velocity += np.multiply(gradient, 1 - self.dampening, out=other) if self.dampening else gradient
            if self.nesterov:
                np.multiply(state["velocity"], self.momentum, out=other)
                gradient = np.add(gradient, other, out=buffer)
            else:
                gradient = state["velocity"]
        value -= np.multiply(gradient, self.lr, out=buffer)


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): steps scaled by running means of the gradient and of its square.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float, default 0.001
        Step size.
    betas : pair of float, default (0.9, 0.999)
        Decay of the two running means.
    eps : float, default 1e-8
        Added to the root of the mean square.
    weight_decay : float, default 0
        Added to the gradient, times the parameter; `AdamW` shrinks the parameter instead.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no leaf, or a setting out of range.

    Examples
    --------
    >>> x = Tensor([1.0, -2.0])
    >>> optimizer = Adam([x], lr=0.1)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     np.sum((x - 3) ** 2).backward()
    ...     optimizer.step()
    >>> np.round(x.data, 2)
    array([3., 3.])
    """

    settings = ("lr", "betas", "eps", "weight_decay")
    decoupled: ClassVar[bool] = False  # whether weight decay bypasses the running means

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters)
        self.lr = _checked("lr", lr)
        self.betas = _checked("betas[0]", betas[0], 1), _checked("betas[1]", betas[1], 1)
        self.eps = _checked("eps", eps)
        self.weight_decay = _checked("weight_decay", weight_decay)

    def _update(self, value: Any, gradient: Any, state: dict[str, Any]) -> None:
        if not state:
            state.update(steps=0, mean=np.zeros_like(value), square=np.zeros_like(value))
        state["steps"] = steps = state["steps"] + 1
        mean, square = state["mean"], state["square"]
        buffer, other = self._buffers(value)
        if self.weight_decay and self.decoupled:
            value *= 1 - self.lr * self.weight_decay
        elif self.weight_decay:
            np.multiply(value, self.weight_decay, out=buffer)
            gradient = np.add(gradient, buffer, out=buffer)
        beta1, beta2 = self.betas
        np.multiply(gradient, gradient, out=other)
        other *= 1 - beta2
        square *= beta2
        square += other
        np.multiply(gradient, 1 - beta1, out=buffer)
        mean *= beta1
        mean += buffer
        np.sqrt(square, out=buffer)
        buffer /= (1 - beta2**steps) ** 0.5  # not math.sqrt: under `jit` it takes what `steps` will be
        buffer += self.eps
        np.divide(mean, buffer, out=buffer)
        buffer *= self.lr / (1 - beta1**steps)
        value -= buffer


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019): parameters shrink by lr * weight_decay a step.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr, betas, eps
        As for `Adam`.
    weight_decay : float, default 0.01

    Raises
    ------
    TypeError, ValueError
        If a parameter is no leaf, or a setting out of range.

    Examples
    --------
    >>> x = Tensor([1.0, -2.0])
    >>> optimizer = AdamW([x], lr=0.1, weight_decay=0.5)
    >>> np.sum(x**2).backward()
    >>> optimizer.step()  # 0.1 against the sign of the gradient, and 5 % nearer to 0
    >>> np.round(x.data, 4)
    array([ 0.85, -1.8 ])
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
