"""monitor: what each layer gives, and what gradient comes back to it, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..nn import Module
from ..own import Primitive, def_linear
from ..tensor import Tensor, plain
from ..tree import flatten
from .curves import Line, Panel, save, svg
from .layers import html_table, modules_of, own_parameters, seeing, text_table, titled

__all__ = ["Monitor", "Statistics", "monitor"]

# When a note is made.
MOSTLY_ZERO = 0.9  # share of zeros among a layer's results
VANISHES = 1e-3  # gradient of the first layer, relative to that of the last
EXPLODES = 1e3

TITLES = {
    "std": "results: standard deviation",
    "zeros": "results: share of zeros",
    "gradient": "gradient of the results: root mean square",
    "update": "parameters: |gradient| / |value|",
}


class Statistics(NamedTuple):
    """What one layer did in one step; NaN where nothing was seen.

    Attributes
    ----------
    mean, std, zeros : of the results: mean, standard deviation, and share of exact zeros
    gradient : of the loss by the results: root mean square
    weights, update : of the layer's own parameters: root mean square, and that of their gradients relative to it
    bad : how many results and gradients were NaN or infinite
    """

    mean: float
    std: float
    zeros: float
    gradient: float
    weights: float
    update: float
    bad: int


# -- seeing what passes ----------------------------------------------------------------------------------------------
class _Seen(NamedTuple):
    """What is remembered of one array: sums over its elements, so that those of several calls can be put together."""

    size: int
    total: float
    squares: float  # of the distances from the mean
    zeros: int
    bad: int

    @classmethod
    def of(cls, x: Any) -> _Seen:
        """Look at an array once."""
        x = np.abs(x) if x.dtype.kind == "c" else x
        with np.errstate(all="ignore"):
            return cls(
                x.size,
                float(np.sum(x, dtype=np.float64)),
                float(np.var(x, dtype=np.float64)) * x.size if x.size else 0.0,
                int(x.size - np.count_nonzero(x)),
                int(x.size - np.count_nonzero(np.isfinite(x))),
            )


def _joined(parts: list[_Seen]) -> tuple[float, float, float, float, int]:
    """Mean, standard deviation, root mean square, share of zeros, and how many are not finite."""
    size = sum(part.size for part in parts)
    if not size:
        return (np.nan,) * 4 + (0,)
    with np.errstate(all="ignore"):
        mean = sum(part.total for part in parts) / size
        means = [part.total / part.size if part.size else mean for part in parts]
        spread = sum(part.squares + part.size * (m - mean) ** 2 for part, m in zip(parts, means, strict=True)) / size
    zeros = sum(part.zeros for part in parts) / size
    return mean, spread**0.5, (spread + mean * mean) ** 0.5, zeros, sum(part.bad for part in parts)


def _let_through(x: Any, gradients: Any = None, key: Any = None) -> Any:
    return x


def _note_gradient(ct: Any, x: Any, gradients: Any = None, key: Any = None) -> Any:
    gradients[key] = _Seen.of(np.asarray(plain(ct)))  # a second walk over the same graph says it again
    return ct


layer = def_linear(Primitive("layer", _let_through), _note_gradient)


class Monitor:
    """What `monitor` gives: statistics per layer; print it, save it, or leave it at the end of a notebook's cell.

    Attributes
    ----------
    steps : list of dict
        Per call of `step`, the `Statistics` of each layer by its name.

    Examples
    --------
    >>> from chainrule import nn
    >>> net = nn.Sequential(nn.Linear(2, 8, rng=0), nn.ReLU())
    >>> with monitor(net) as layers:
    ...     np.sum(net(np.ones((3, 2)))).backward()
    ...     layers.step()
    >>> sorted(layers.steps[0])
    ['layers.0', 'layers.1']
    """

    def __init__(self, model: Module) -> None:
        modules = modules_of(model, "monitor()")
        own = own_parameters(model, modules)
        self._parameters = own
        self._layers = {
            name: module
            for name, module in modules.items()
            if own[name] or not any(inner.startswith(f"{name}.") or not name for inner in modules if inner != name)
        }
        self.steps: list[dict[str, Statistics]] = []
        self._clear()

    def _clear(self) -> None:
        self._results: dict[str, list[_Seen]] = {name: [] for name in self._layers}
        self._gradients: dict[str, dict[int, _Seen]] = {name: {} for name in self._layers}

    def _see(self, name: str, result: Any) -> Any:
        if not self._layers[name].training:
            return result
        leaves, rebuild, _ = flatten(result)
        return rebuild([self._seen(name, leaf) for leaf in leaves])

    def _seen(self, name: str, leaf: Any) -> Any:
        array = np.asarray(plain(leaf))
        if array.dtype.kind not in "fc":
            return leaf
        self._results[name].append(_Seen.of(array))
        if not isinstance(leaf, Tensor):
            return leaf
        return layer(leaf, gradients=self._gradients[name], key=len(self._results[name]))

    def step(self) -> None:
        """End a step: call it after `backward()`, and before the optimiser forgets the gradients.

        Raises
        ------
        ValueError
            If the model was not called in training mode since the last step.
        """
        if not any(self._results.values()):
            raise ValueError("step(): the model was not called in training mode since monitor() began or the last step")
        self.steps.append({name: self._statistics(name) for name in self._layers})
        self._clear()

    def _statistics(self, name: str) -> Statistics:
        mean, std, _, zeros, bad = _joined(self._results[name])
        _, _, gradient, _, worse = _joined(list(self._gradients[name].values()))
        known = [p for p in self._parameters[name].values() if p.grad is not None]
        _, _, weights, _, _ = _joined([_Seen.of(np.asarray(p.data)) for p in self._parameters[name].values()])
        _, _, change, _, worst = _joined([_Seen.of(np.asarray(plain(p.grad))) for p in known])
        update = change / weights if weights else np.nan
        return Statistics(mean, std, zeros, gradient, weights, update, bad + worse + worst)

    # -- saying it -------------------------------------------------------------------------------------------------
    def notes(self) -> list[str]:
        """Say what looks wrong in the last step: what is not finite, dead, vanishing or exploding; often nothing."""
        if not self.steps:
            return []
        last = self.steps[-1]
        found = []
        for name, seen in last.items():
            called = f"{name or 'model'} ({titled(self._layers[name])})"
            if seen.bad:
                found.append(
                    f"{called}: {seen.bad} numbers are NaN or infinite; explain_nan(loss) says where they arose"
                )
            if seen.zeros >= MOSTLY_ZERO:
                found.append(f"{called}: {seen.zeros:.0%} of its results are 0, and what is 0 for all examples is dead")
            if self._parameters[name] and np.isnan(seen.gradient) and not np.isnan(seen.mean) and not seen.bad:
                found.append(f"{called}: no gradient came back to its results")
        gradients = [(name, seen.gradient) for name, seen in last.items() if np.isfinite(seen.gradient)]
        if len(gradients) > 1 and gradients[-1][1] > 0:
            (first, begin), (final, end) = gradients[0], gradients[-1]
            if begin / end < VANISHES:
                found.append(f"the gradient vanishes: {begin:.2g} at {first}, {end:.2g} at {final}")
            elif begin / end > EXPLODES:
                found.append(f"the gradient explodes: {begin:.2g} at {first}, {end:.2g} at {final}")
        return found

    def _rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [("name", "layer", "mean", "std", "zeros", "gradient", "update")]
        for name, seen in (self.steps[-1] if self.steps else {}).items():
            shares = "" if np.isnan(seen.zeros) else f"{seen.zeros:.0%}"
            numbers = [_text(seen.mean), _text(seen.std), shares, _text(seen.gradient), _text(seen.update)]
            rows.append((name or "model", titled(self._layers[name]), *numbers))
        return rows

    def __str__(self) -> str:
        if not self.steps:
            return f"<Monitor of {len(self._layers)} layers, no step yet>"
        table = text_table(self._rows(), right=(2, 3, 4, 5, 6))
        return "\n".join([f"step {len(self.steps)}", table, *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.steps:
            return f"<p>{len(self._layers)} layers, no step yet</p>"
        return html_table(self._rows(), right=(2, 3, 4, 5, 6), below=self.notes()) + svg(self._panels())

    def _panels(self) -> list[Panel]:
        panels = []
        for field, title in TITLES.items():
            lines = []
            for name, module in self._layers.items():
                known = [(i, getattr(step[name], field)) for i, step in enumerate(self.steps, 1)]
                if not all(np.isnan(value) for _, value in known):
                    lines.append(Line(f"{name or 'model'} {type(module).__name__}", *zip(*known, strict=True)))
            if any(value for line in lines for value in line.y):  # not the zeros, where there are none
                panels.append(Panel(title, lines))
        return panels

    def save(self, path: Any) -> None:
        """Write a file: a table if `path` ends in ``.csv``, curves if it ends in ``.svg`` or ``.png``.

        Raises
        ------
        ValueError
            If the path ends in anything else, or there was no step.
        MissingExtraError
            For ``.png`` without Matplotlib.
        OSError
            If the file cannot be written.
        """
        table = (
            [i, name or "model", *("" if isinstance(x, float) and np.isnan(x) else x for x in seen)]
            for i, step in enumerate(self.steps, 1)
            for name, seen in step.items()
        )
        save(path, self._panels(), ["step", "layer", *Statistics._fields], table)


def _text(x: float) -> str:
    return "" if np.isnan(x) else f"{x:.3g}"


@contextmanager
def monitor(model: Any) -> Iterator[Monitor]:
    """Watch what the layers of a model give, and the gradients that come back to them.

    Parameters
    ----------
    model : nn.Module
        Its layers are the modules that have parameters of their own or no modules inside.

    Yields
    ------
    Monitor
        Call its `step()` after each ``backward()``; then print it, or `save` it.

    Raises
    ------
    TypeError
        If `model` is no Module.

    Notes
    -----
    Inside, values and gradients are the same; outside, it costs nothing.  Calls in evaluation mode are not counted.
    Of a result that the program then writes into, the gradient is that after the writes.  Cost: a few passes over each
    result and each gradient.

    Examples
    --------
    >>> from chainrule import nn
    >>> net = nn.Sequential(nn.Linear(2, 8, rng=0), nn.ReLU(), nn.Linear(8, 1, rng=1))
    >>> x = np.random.default_rng(2).normal(size=(100, 2))
    >>> with monitor(net) as layers:
    ...     np.mean(net(x) ** 2).backward()
    ...     layers.step()
    >>> layers
    step 1
    name      layer            mean    std  zeros  gradient  update
    ───────────────────────────────────────────────────────────────
    layers.0  Linear(2, 8)  -0.0445   0.78     0%   0.00088   0.103
    layers.1  ReLU            0.287  0.431    53%   0.00134
    layers.2  Linear(8, 1)    0.238  0.219     0%   0.00646    1.51
    """
    watched = Monitor(model)
    with seeing(watched._layers, watched._see):
        yield watched
