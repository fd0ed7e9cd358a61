"""summary: the layers of a model, with shapes and parameters."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..record import no_grad
from ..tree import flatten
from .layers import html_table, modules_of, own_parameters, seeing, text_table, titled

__all__ = ["Layer", "Summary", "summary"]

Shape = tuple[int, ...]
HEAD = ("name", "layer", "result", "parameters", "number")


@dataclass(frozen=True)
class Layer:
    """One module of a model.

    Attributes
    ----------
    name : where it is in the model; "" is the model itself
    title : its class and settings
    shapes : per call, the shapes of the arrays that it gave; None if the model was not run
    parameters : the shapes of its own parameters, by name
    """

    name: str
    title: str
    shapes: tuple[tuple[Shape, ...], ...] | None
    parameters: dict[str, Shape]

    @property
    def count(self) -> int:
        """Count the numbers in its own parameters."""
        return sum(map(prod, self.parameters.values()))

    def row(self) -> tuple[str, ...]:
        """The layer as a row of the table."""
        result = ""
        if self.shapes is not None:
            different = dict.fromkeys(", ".join(map(str, shapes)) for shapes in self.shapes)
            times = f" ×{len(self.shapes)}" if len(self.shapes) > 1 else ""
            result = " | ".join(different) + times if self.shapes else "not called"
        own = ", ".join(f"{name} {shape}" for name, shape in self.parameters.items())
        return (self.name or "model", self.title, result, own, f"{self.count:,}" if self.parameters else "")


@dataclass(frozen=True, repr=False)
class Summary:
    """What `summary` found; print it, or leave it at the end of a notebook's cell.

    Attributes
    ----------
    layers : tuple of Layer
        The model first, then what is inside it, in order.
    count : int
        How many numbers the parameters hold; a shared parameter counts once.
    nbytes : int
        Their memory.

    Examples
    --------
    >>> from chainrule import nn
    >>> found = summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
    >>> found.count, [layer.name for layer in found.layers]
    (40, ['', 'layers.0', 'layers.1'])
    """

    layers: tuple[Layer, ...]
    count: int
    nbytes: int

    def _rows(self) -> list[tuple[str, ...]]:
        return [HEAD, *(layer.row() for layer in self.layers)]

    def _total(self) -> str:
        arrays = sum(len(layer.parameters) for layer in self.layers)
        return f"{self.count:,} parameters in {arrays} array{'s' * (arrays != 1)}, {_size(self.nbytes)}"

    def __str__(self) -> str:
        table = text_table(self._rows(), right=(4,))
        return f"{table}\n\n{self._total()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(self._rows(), right=(4,), below=(self._total(),))


def _size(nbytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.1f} GB"


def summary(model: Any, *inputs: Any, **options: Any) -> Summary:
    """List the layers of a model, the shapes of what they give, and their parameters.

    Parameters
    ----------
    model : nn.Module
    *inputs, **options : optional
        What the model is called with, to see the shapes of the results; without them it is not called.

    Returns
    -------
    Summary
        Print it for a table; `layers`, `count` and `nbytes` hold the same.

    Raises
    ------
    TypeError
        If `model` is no Module.

    Notes
    -----
    The model is run once, in evaluation mode and without a graph, and is as before afterwards.  Functions among the
    layers, such as `np.tanh`, are no modules and are not listed.

    Examples
    --------
    >>> from chainrule import nn
    >>> import numpy as np
    >>> summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), np.ones((5, 4)))
    name      layer         result  parameters                number
    ────────────────────────────────────────────────────────────────
    model     Sequential    (5, 3)
    layers.0  Linear(4, 8)  (5, 8)  weight (8, 4), bias (8,)      40
    layers.1  ReLU          (5, 8)
    layers.2  Linear(8, 3)  (5, 3)  weight (3, 8), bias (3,)      27
    <BLANKLINE>
    67 parameters in 4 arrays, 536 bytes
    """
    modules = modules_of(model, "summary()")
    shapes: dict[str, list[tuple[Shape, ...]]] | None = None
    if inputs or options:
        shapes = {name: [] for name in modules}

        def see(name: str, result: Any) -> Any:
            shapes[name].append(tuple(np.shape(leaf) for leaf in flatten(result)[0]))
            return result

        training = {module: module.training for module in modules.values()}
        model.eval()
        try:
            with no_grad(), seeing(modules, see):
                model(*inputs, **options)
        finally:
            for module, mode in training.items():
                module.training = mode
    own = own_parameters(model, modules)
    layers = tuple(
        Layer(
            name,
            titled(module),
            None if shapes is None else tuple(shapes[name]),
            {key: tensor.shape for key, tensor in own[name].items()},
        )
        for name, module in modules.items()
    )
    nbytes = sum(tensor.size * tensor.dtype.itemsize for tensor in model.parameters())
    return Summary(layers, sum(layer.count for layer in layers), nbytes)
