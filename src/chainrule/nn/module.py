"""Module: something callable with parameters, found by looking at its attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from reprlib import recursive_repr
from typing import Any, Self

from ..errors import StructureError
from ..graph import calls, next_index
from ..tensor import Tensor, as_value, plain

__all__ = ["Module"]


class _Named(type):
    """Gives the parameters of a finished module their names; the outermost module is finished last, and wins."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        module = super().__call__(*args, **options)
        for name, parameter in module.named_parameters():
            parameter.name = name
        for name, inner in module.named_modules():
            inner._path = name
        return module


class Module(metaclass=_Named):
    """Base class of networks and their layers.

    A subclass sets attributes and defines `forward`.  Every leaf Tensor among the attributes is a parameter; modules,
    and lists, tuples and dicts of modules or Tensors, are searched too.  Plain arrays and detached Tensors are
    constants.

    Attributes
    ----------
    training : bool
        Whether layers such as Dropout behave as in training; set by `train` and `eval`.

    Examples
    --------
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.factor = Tensor(2.0)
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> scale = Scale()
    >>> scale(3.0)
    Tensor(6.0)
    >>> scale.parameters()
    [Tensor(2.0, name='factor')]
    """

    training: bool = True
    _path: str = ""  # where it is in the outermost module

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the result; every subclass defines this, and callers call the module itself."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, ...)")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Compute the result: runs `forward`."""
        first = next_index()
        result = self.forward(*args, **options)
        calls.append((first, next_index(), self._path, type(self).__name__))
        return result

    # -- finding things --------------------------------------------------------------------------------------------
    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over names and parameters, in the order in which they were set; a shared one comes once."""
        seen = set()
        for name, tensor in self._tensors():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    def parameters(self) -> list[Tensor]:
        """List the parameters, as an optimiser takes them."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over names and modules: this one, named "", and every one inside it; a shared one comes once."""
        seen = set()
        for name, module in _found("", self, ()):
            if isinstance(module, Module) and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self) -> list[Module]:
        """List this module and every one inside it, each once."""
        return [module for _, module in self.named_modules()]

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in _found("", self, ()):
            if isinstance(value, Tensor):
                yield name, value

    # -- modes and gradients -----------------------------------------------------------------------------------------
    def train(self, mode: bool = True) -> Self:
        """Put this module and all inside it into training mode (or, with False, out of it); returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Put this module and all inside it into evaluation mode; returns itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    # -- saving and loading ------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Copy all parameters into a dict from name to plain array: ``np.savez(path, **net.state_dict())``."""
        return {name: tensor.data.copy() for name, tensor in self._tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters from a dict as `state_dict` gives it, converting to each parameter's dtype.

        Parameters
        ----------
        state : mapping from str to array_like
            Every parameter's name and nothing else.

        Raises
        ------
        StructureError
            If names are missing or unexpected.
        ValueError
            If a shape differs.  Nothing is changed by an error.
        """
        tensors = dict(self._tensors())
        missing = [name for name in tensors if name not in state]
        unexpected = [name for name in state if name not in tensors]
        if missing or unexpected:
            raise StructureError(
                f"the state does not fit this {type(self).__name__}: missing {missing}, unexpected {unexpected}. "
                "Its names have to be those of state_dict() of a module built the same way."
            )
        values = {name: as_value(plain(state[name]), tensor.dtype) for name, tensor in tensors.items()}
        wrong = [
            f"{name} has shape {values[name].shape}, expected {tensor.shape}"
            for name, tensor in tensors.items()
            if values[name].shape != tensor.shape
        ]
        if wrong:
            raise ValueError(f"the state does not fit this {type(self).__name__}: {'; '.join(wrong)}")
        for name, tensor in tensors.items():
            if tensor.ndim:
                tensor.data[...] = values[name]
            else:
                tensor.data = values[name]

    # -- printing ----------------------------------------------------------------------------------------------------
    def _settings(self) -> str:
        """What stands between the parentheses of the repr, besides modules."""
        return ""

    @recursive_repr("...")
    def __repr__(self) -> str:
        inner = [(name, value) for name, value in _inside(self) if isinstance(value, Module)]
        if not inner:
            return f"{type(self).__name__}({self._settings()})"
        lines = [f"  ({name}): {value!r}".replace("\n", "\n  ") for name, value in inner]
        return "\n".join([f"{type(self).__name__}(", *lines, ")"])


def _inside(value: Any) -> list[tuple[str, Any]]:
    """What a module or container holds, with names relative to it; lists inside a module are looked through."""
    if isinstance(value, Module):
        items: Any = vars(value).items()
    elif isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return []
    found = []
    for key, item in items:
        if isinstance(item, dict | list | tuple):
            found += [(f"{key}.{name}", inner) for name, inner in _inside(item)]
        else:
            found.append((str(key), item))
    return found


def _found(name: str, module: Module, outer: tuple[Module, ...]) -> Iterator[tuple[str, Any]]:
    """Walk over a module, its parameters and the modules inside it; one that contains itself is not entered again."""
    yield name, module
    outer = (*outer, module)
    for key, value in _inside(module):
        path = f"{name}.{key}" if name else key
        if isinstance(value, Module):
            if value not in outer:
                yield from _found(path, value, outer)
        elif isinstance(value, Tensor) and value.node is not None and value.node.rule is None:
            yield path, value
