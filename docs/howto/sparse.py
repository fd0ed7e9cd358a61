"""Draws the picture of sparse.md: patterns in the colours of their sweeps, and what the sweeps bring back.

Run it where chainrule, SciPy and Matplotlib are installed: python docs/howto/sparse.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import chainrule as cr

COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"]


def bratu(u: Any) -> Any:
    """Heat in a square that burns: each point with its four neighbours."""
    p, h = np.pad(u, 1), 1 / (len(u) + 1)
    return 4 * u - p[2:, 1:-1] - p[:-2, 1:-1] - p[1:-1, 2:] - p[1:-1, :-2] - 5 * h**2 * np.exp(u)


def arrowhead(x: Any) -> Any:
    """One variable that meets all others."""
    return np.sum((x[0] * x[1:]) ** 2) + np.sum(np.cos(x))


def squares(axes: Any, rows: Any, columns: Any, colours: Any, shape: tuple[int, int], title: str) -> None:
    """Small coloured squares where the entries are."""
    for row, column, colour in zip(rows, columns, colours, strict=True):
        axes.add_patch(plt.Rectangle((column + 0.08, row + 0.08), 0.84, 0.84, color=COLOURS[colour], linewidth=0))
    axes.set(xlim=(0, shape[1]), ylim=(shape[0], 0), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def pair(axes: Any, plan: Any, name: str) -> None:
    """The pattern, and beside it the products."""
    colours = plan.colours[plan.columns]
    squares(axes[0], plan.rows, plan.columns, colours, plan.shape, f"{name}\n{plan.nnz} entries")
    squares(axes[1], plan.rows, colours, colours, (plan.shape[0], plan.sweeps), f"{plan.sweeps}\nsweeps")


mpl.rcParams["svg.hashsalt"] = "chainrule"  # the same file in every run
figure, axes = plt.subplots(
    1, 4, figsize=(9.2, 4.3), width_ratios=[36, 8, 36, 5], layout="constrained", gridspec_kw={"wspace": 0.08}
)
pair(axes[:2], cr.sparsity(bratu, np.zeros((5, 5))), "Jacobian on a 5 × 5 grid, by columns")
pair(axes[2:], cr.sparsity(arrowhead, np.zeros(20), order=2), "arrowhead Hessian, a star colouring")
figure.savefig(Path(__file__).with_suffix(".svg"), metadata={"Date": None})
