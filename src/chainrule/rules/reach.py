"""Which elements of its operands each element of a result depends on, and which of them interact nonlinearly.

What is said here holds at any point: it depends on shapes, parameters, and on which constants are zero, never on the
values of what is differentiated.  It may say too much, never too little; where operations move, copy, add or multiply
elements it is exact.

`Rule.reach(node)` gives a `Link` per operand, or None for an operand without a derivative.  Without it, an elementwise
rule reaches what is in the same place, and any other rule everything.  `Rule.products(node)` lists, for a sum of
products, which elements are multiplied.  `Rule.bends` says whether what an element reaches may interact at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..errors import NotSparseError
from ..graph import Node
from . import contractions, decompositions, elementwise, fft, linalg, reductions, selection, signal, statistics  # noqa: F401 (these register what the table is about)
from .indexing import shown
from .linear import expanded, grid
from .registry import LETTERS, UNKNOWN, Rule, partial_trees, rules

__all__ = ["Link", "Product", "bending", "limited", "links", "products"]

LIMIT = 100_000_000  # entries: a pattern that needs more takes gigabytes, and is not sparse


class Link(NamedTuple):
    """Which elements of an operand the elements of a result depend on, by way of groups.

    Element `taken[i]` of the operand is in group `into[i]`; element `o` of the result depends on all of group `out[o]`.
    Positions are flat; -1 in `out` is no group; None for an array of positions stands for 0, 1, 2, ...
    """

    groups: int
    taken: Any = None
    into: Any = None
    out: Any = None


class Product(NamedTuple):
    """Element `left[i]` of operand `a` is multiplied with element `right[i]` of operand `b`, for element `out[i]`."""

    a: int
    b: int
    left: Any
    right: Any
    out: Any


Links = Sequence[Link | None]


def is_constant(node: Node) -> bool:
    """Whether an operand has no derivative, and its value is known."""
    return node.index == 0 and node.value is not None


def _options(node: Node) -> dict[str, Any]:
    """The parameters of a node that were given by name."""
    return node.params[1] if node.params else {}


def _rest(node: Node) -> tuple[Any, ...]:
    """Those that were given by position."""
    return node.params[0] if node.params else ()


def limited(entries: Any) -> int:
    """As many entries, if they fit into memory."""
    if entries > LIMIT:
        raise NotSparseError(
            f"the pattern would have {entries:.1e} entries: this derivative is not sparse. Use jvp, vjp or hvp, which "
            "multiply by it without storing it"
        )
    return int(entries)


# -- elementwise -------------------------------------------------------------------------------------------------
def _in_place(operand: Node, shape: tuple[int, ...]) -> Any:
    """The element of an operand that is broadcast to each element of the result."""
    return None if operand.shape == shape else np.ravel(np.broadcast_to(grid(operand.shape), shape))


def _aligned(node: Node) -> Links:
    return [
        None if function is None else Link(prod(operand.shape), out=_in_place(operand, node.shape))
        for operand, function in zip(node.operands, node.rule.pulls, strict=True)
    ]


def _by_formulas(node: Node) -> Links:
    """What is in the same place, but where the derivative is a constant operand that is zero, as in x * mask."""
    letters = dict(zip(LETTERS, node.operands, strict=False))
    found: list[Link | None] = []
    for operand, tree in zip(node.operands, partial_trees(node.rule), strict=True):
        if _is_zero(tree):
            found.append(None)
            continue
        out = _in_place(operand, node.shape)
        factor = letters.get(str(tree.name)) if tree.rule is None and tree.value is None else None
        if factor is not None and is_constant(factor) and not np.all(factor.value):
            out = np.arange(prod(node.shape)) if out is None else out
            out = np.where(np.ravel(np.broadcast_to(np.asarray(factor.value) != 0, node.shape)), out, -1)
        found.append(Link(prod(operand.shape), out=out))
    return found


def _chosen(node: Node) -> Links:
    """np.where: of either choice, only what a constant condition selects."""
    condition, *choices = node.operands
    found: list[Link | None] = [None]
    for choice, wanted in zip(choices, (True, False), strict=True):
        out = _in_place(choice, node.shape)
        if is_constant(condition):
            out = np.arange(prod(node.shape)) if out is None else out
            chosen = np.broadcast_to(np.asarray(condition.value, bool), node.shape)
            out = np.where(np.ravel(chosen) == wanted, out, -1)
        found.append(Link(prod(choice.shape), out=out))
    return found


def bending(rule: Rule) -> frozenset[tuple[int, int]]:
    """Pairs of operands of an elementwise rule in which the mixed second derivative is not zero everywhere."""
    return _bending(partial_trees(rule))


@lru_cache(maxsize=4096)
def _bending(trees: tuple[Node, ...]) -> frozenset[tuple[int, int]]:
    moving = {letter for letter, tree in zip(LETTERS, trees, strict=False) if not _is_zero(tree)}
    return frozenset(
        (i, LETTERS.index(letter))
        for i, tree in enumerate(trees)
        for letter in (moving if tree is UNKNOWN else _varying(tree, moving))
    )


def _is_zero(tree: Node) -> bool:
    return tree.rule is None and tree.value is not None and tree.value == 0


def _varying(tree: Node, moving: set[str]) -> set[str]:
    """The operands in which a formula has a derivative: steps, such as `sign(a)` and `a > 0`, have none."""
    if tree.rule is None:
        return set() if tree.value is not None else moving if tree.name == "y" else {str(tree.name)} & moving
    if tree.rule.kind == "nondifferentiable":
        return set()
    slopes = [not _is_zero(slope) for slope in partial_trees(tree.rule)] or [p is not None for p in tree.rule.pulls]
    parts = zip(tree.operands, slopes, strict=True)
    return set().union(*(_varying(operand, moving) for operand, slope in parts if slope))


# -- everything, or everything in a lane or in a matrix of a stack ---------------------------------------------------
def _everything(node: Node) -> Links:
    out = np.zeros(prod(node.shape), int)
    return [Link(1, into=np.zeros(prod(operand.shape), int), out=out) for operand in node.operands]


def _ids(shape: tuple[int, ...], shared: Iterable[int]) -> Any:
    """A number for each element, equal for those that differ only along the axes `shared`."""
    shared = set(shared)
    ids = grid(tuple(1 if i in shared else n for i, n in enumerate(shape)))
    return np.ravel(np.broadcast_to(ids, shape))


def _lanes(node: Node) -> Links:
    """Operations along one axis, which may change its length."""
    (operand,) = node.operands
    axis = _options(node).get("axis", -1)
    if _rest(node) or axis is None or not node.shape or len(operand.shape) != len(node.shape):
        return _everything(node)
    axes = normalize_axis_tuple(axis, len(node.shape))
    n = prod(size for i, size in enumerate(node.shape) if i not in axes)
    return [Link(n, into=_ids(operand.shape, axes), out=_ids(node.shape, axes))]


def _reduced(node: Node) -> Links:
    """Reductions over the axes `axis`."""
    (operand,) = node.operands
    if _rest(node):
        return _everything(node)
    options = _options(node)
    kept = expanded(grid(node.shape), operand.shape, options.get("axis"), options.get("keepdims", False))
    return [Link(prod(node.shape), into=np.ravel(np.broadcast_to(kept, operand.shape)))]


def _before(node: Node) -> Links:
    """Cumulative operations: element k of a lane depends on elements 0 to k."""
    (operand,) = node.operands
    positions = np.moveaxis(grid(operand.shape), _options(node)["axis"], -1)
    n = positions.shape[-1]
    limited(positions.size * n // 2)
    later, earlier = np.tril_indices(n)
    return [Link(prod(node.shape), np.ravel(positions[..., earlier]), np.ravel(positions[..., later]))]


def _stacked(node: Node) -> Links:
    """Operations on the matrices of stacks of the same shape: everything in a matrix depends on everything in it."""
    batch = node.operands[0].shape[:-2]
    shapes = [operand.shape for operand in node.operands]
    if any(shape[: len(batch)] != batch for shape in (*shapes, node.shape)):
        return _everything(node)

    def ids(shape: tuple[int, ...]) -> Any:
        return _ids(shape, range(len(batch), len(shape)))

    return [Link(prod(batch), into=ids(shape), out=ids(node.shape)) for shape in shapes]


def _interpolated(node: Node) -> Links:
    """np.interp: of the points, what is in the same place; of a table, everything."""
    return [Link(prod(node.shape)), *_everything(node)[1:]]


# -- operations that move elements --------------------------------------------------------------------------------
def _moved(node: Node) -> Links:
    """What the operation does to the positions of the elements says where they went."""
    sizes = [prod(operand.shape) for operand in node.operands]
    ends = np.cumsum([1, *sizes])  # 0 is what no operand filled
    options = {name: option for name, option in _options(node).items() if name != "dtype"}
    places = [grid(operand.shape) + end for operand, end in zip(node.operands, ends, strict=False)]
    went = np.ravel(node.rule.value(*places, *_rest(node), **options))
    return [
        Link(size, out=np.where((went >= start) & (went < start + size), went - start, -1))
        for size, start in zip(sizes, ends, strict=False)
    ]


def _scattered(node: Node) -> Links:
    """Operations that add elements up at places: their transposes move."""
    return [Link(prod(node.shape), into=np.ravel(node.rule.pulls[0](grid(node.shape), node)))]


def _written(node: Node) -> Links:
    if node.dtype.kind == "c":  # half of an element may have been written
        return [Link(prod(node.shape)), _everything(node)[1]]
    return _moved(node)


def _added_at(node: Node) -> Links:
    if node.dtype.kind == "c":
        return [Link(prod(node.shape)), _everything(node)[1]]
    base, value = node.operands
    index, steps = _options(node)["index"], _options(node).get("steps", ())
    places = shown(grid(base.shape), steps)[index]
    taken = _in_place(value, np.shape(places))
    return [Link(prod(node.shape)), Link(prod(node.shape), taken=taken, into=np.ravel(places))]


# -- sums of products ----------------------------------------------------------------------------------------------
# The axes of a contraction have labels: equal ones are summed over together, or are those of the result.
Labels = tuple[list[list[Any]], list[Any], list[tuple[int, ...]]]  # of each operand, of the result; shapes of operands


def _shapes(node: Node) -> list[tuple[int, ...]]:
    return [operand.shape for operand in node.operands]


def _matmul_labels(node: Node) -> Labels:
    a, b = (len(shape) for shape in _shapes(node))
    left = [*range(-a, -2), "i", "k"] if a > 1 else ["k"]
    right = [*range(-b, -2), "k", "j"] if b > 1 else ["k"]
    out = [*range(-max(a, b), -2), *("i" for _ in range(a > 1)), *("j" for _ in range(b > 1))]
    return [left, right], out, _shapes(node)


def _axes_labels(axes_of: Callable[[Node], tuple[list[Any], list[Any]]]) -> Callable[[Node], Labels]:
    def labels(node: Node) -> Labels:
        a, b = (len(shape) for shape in _shapes(node))
        over = axes_of(node) if a and b else ([], [])
        left = [("a", i) for i in range(a)]
        right = [left[over[0][over[1].index(i)]] if i in over[1] else ("b", i) for i in range(b)]
        summed = {left[i] for i in over[0]}
        return [left, right], [label for label in left + right if label not in summed], _shapes(node)

    return labels


def _flat_labels(node: Node) -> Labels:
    return [["k"], ["k"]], [], [(prod(shape),) for shape in _shapes(node)]


def _vector_labels(left: str, right: str, out: str) -> Callable[[Node], Labels]:
    def labels(node: Node) -> Labels:
        ranks = [len(shape) - len(core) for shape, core in zip(_shapes(node), (left, right), strict=True)]
        batch = [list(range(-rank, 0)) for rank in ranks]
        return [[*batch[0], *left], [*batch[1], *right]], [*max(batch, key=len), *out], _shapes(node)

    return labels


def _einsum_labels(node: Node) -> Labels:
    options = _options(node)
    return [list(text) for text in options["inputs"]], list(options["output"]), _shapes(node)


class Contraction:
    """Where the elements of the operands and of the result of a sum of products are."""

    def __init__(self, labels: Labels) -> None:
        self.inputs, self.output, shapes = labels
        self.size: dict[Any, int] = {}
        for own, shape in zip(self.inputs, shapes, strict=True):
            for label, n in zip(own, shape, strict=True):
                if self.size.get(label, 1) == 1:
                    self.size[label] = n
        self.steps = [self._steps(own, shape) for own, shape in zip(self.inputs, shapes, strict=True)]
        self.out_steps = self._steps(self.output, tuple(self.size[label] for label in self.output))

    def _steps(self, own: Sequence[Any], shape: tuple[int, ...]) -> dict[Any, int]:
        """How far apart neighbours along a label are; an axis that is broadcast has no step."""
        steps: dict[Any, int] = {}
        step = 1
        for label, n in zip(reversed(own), reversed(shape), strict=True):
            if n == self.size[label]:
                steps[label] = steps.get(label, 0) + step
            step *= n
        return steps

    def positions(self, labels: Sequence[Any], steps: dict[Any, int]) -> Any:
        """Flat positions for all combinations of labels."""
        limited(prod(self.size[label] for label in labels))
        at = np.zeros((), int)
        for label in labels:
            at = np.add.outer(at, np.arange(self.size[label]) * steps.get(label, 0))
        return np.ravel(at)

    def link(self, k: int) -> Link:
        """An element reaches those of the result that agree with it in the labels they have in common."""
        own = list(self.steps[k])
        common = [label for label in own if label in self.out_steps]
        groups = self._steps(common, tuple(self.size[label] for label in common))
        return Link(
            prod(self.size[label] for label in common),
            self.positions(own, self.steps[k]),
            self.positions(own, groups),
            self.positions(self.output, groups),
        )

    def link_beside(self, k: int, other: int, value: Any) -> Link:
        """The same, where the other operand is a constant of which many elements are zero."""
        labels = self.inputs[other]
        index = np.nonzero(value)
        bound: dict[Any, Any] = {}
        agree = np.ones(len(index[0]), bool)
        for label, i in zip(labels, index, strict=True):
            if label in self.steps[other]:
                agree &= bound.setdefault(label, i) == i  # a repeated label reads the diagonal
        free = [label for label in dict.fromkeys([*self.inputs[k], *self.output]) if label not in bound]

        def places(steps: dict[Any, int]) -> Any:
            fixed = sum((steps.get(label, 0) * i[agree] for label, i in bound.items()), np.zeros(agree.sum(), int))
            return np.ravel(np.add.outer(fixed, self.positions(free, steps)))

        return Link(prod(self.size[label] for label in self.output), places(self.steps[k]), places(self.out_steps))

    def product(self, a: int, b: int, operands: Sequence[Node]) -> Product:
        """All pairs of elements of two operands that are multiplied, and not with a constant that is zero."""
        labels = list(dict.fromkeys([*self.steps[a], *self.steps[b]]))
        left, right, out = (self.positions(labels, each) for each in (self.steps[a], self.steps[b], self.out_steps))
        kept = np.ones(len(left), bool)
        for steps, operand in zip(self.steps, operands, strict=True):
            if is_constant(operand) and set(steps) <= set(labels):
                kept &= np.ravel(operand.value)[self.positions(labels, steps)] != 0
        return Product(a, b, left[kept], right[kept], out[kept] if set(self.out_steps) <= set(labels) else None)


def _convolution(name: str, offset_of: Callable[[Node], tuple[int, int]]) -> None:
    """Sums of products of elements i and j that are at place i + j, or i - j, of the result."""

    def pairs(node: Node) -> list[Product]:
        (n,), (m,) = _shapes(node)
        start, sign = offset_of(node)
        limited(n * m)
        i, j = (np.ravel(each) for each in np.indices((n, m)))
        out = i + sign * j - start
        inside = (out >= 0) & (out < prod(node.shape))
        return [Product(0, 1, i[inside], j[inside], out[inside])]

    def reach(node: Node) -> Links:
        (product,) = pairs(node)
        found = []
        for places, other, beside in ((product.left, 1, product.right), (product.right, 0, product.left)):
            constant = node.operands[other]
            kept = np.asarray(constant.value)[beside] != 0 if is_constant(constant) else slice(None)
            found.append(Link(prod(node.shape), places[kept], product.out[kept]))
        return found

    rules[name].reach, rules[name].products = reach, pairs


def _convolve_offset(node: Node) -> tuple[int, int]:
    shorter = min(shape[0] for shape in _shapes(node))
    return {"full": 0, "same": (shorter - 1) // 2, "valid": shorter - 1}[_options(node)["mode"]], 1


def _correlate_offset(node: Node) -> tuple[int, int]:
    (n,), (m,) = _shapes(node)  # a convolution with the second operand reversed
    shorter = min(n, m)
    start = {"full": 0, "same": (shorter - 1) // 2, "valid": shorter - 1, "same reversed": shorter // 2}
    return start[signal._mode(node)] - (m - 1), -1


def _contraction(name: str, labels_of: Callable[[Node], Labels]) -> None:
    def reach(node: Node) -> Links:
        contraction, operands = Contraction(labels_of(node)), node.operands
        found: list[Link | None] = []
        for k, operand in enumerate(operands):
            constants = [i for i, other in enumerate(operands) if i != k and is_constant(other)]
            if not operand.index:
                found.append(None)
            elif len(operands) == 2 and constants and not np.all(operands[constants[0]].value):
                found.append(contraction.link_beside(k, constants[0], operands[constants[0]].value))
            else:
                found.append(contraction.link(k))
        return found

    def pairs(node: Node) -> list[Product]:
        contraction = Contraction(labels_of(node))
        active = [i for i, operand in enumerate(node.operands) if operand.index]
        return [contraction.product(a, b, node.operands) for i, a in enumerate(active) for b in active[i + 1 :]]

    rules[name].reach, rules[name].products = reach, pairs


# -- the table -----------------------------------------------------------------------------------------------------
def _declare(reach: Callable[[Node], Links], names: str, bends: bool) -> None:
    for name in names.split():
        rules[name].reach, rules[name].bends = reach, bends


_declare(_aligned, "copy astype real imag identity conjugate ldexp round nan_to_num unwrap", bends=False)
_declare(_aligned, "complex_absolute complex_sign sinc i0", bends=True)
_declare(_chosen, "where", bends=False)
_declare(
    _moved,
    "reshape transpose swapaxes moveaxis squeeze expand_dims broadcast_to flip rot90 roll sliding_window_view diagonal "
    "triu tril repeat getitem concatenate stack",
    bends=False,
)
_declare(_scattered, "place scatter bincount histogram histogramdd", bends=False)
_declare(_written, "put write_put", bends=False)
_declare(_added_at, "add_at write_add_at", bends=False)
_declare(_reduced, "sum mean max min fmax_reduce fmin_reduce nanmean nanmax nanmin median nanmedian", bends=False)
_declare(_reduced, "prod var std nanvar nanstd norm logsumexp", bends=True)
_declare(_before, "cumsum", bends=False)
_declare(_before, "cumprod", bends=True)
_declare(_lanes, "fft ifft rfft irfft sort partition", bends=False)
_declare(_lanes, "softmax log_softmax", bends=True)
_declare(_interpolated, "interp", bends=True)
_declare(_everything, "quantile percentile nanquantile nanpercentile unique", bends=False)
_declare(_stacked, "inv solve det cholesky pinv eigh eigvalsh eig eigvals svd svdvals qr slogdet", bends=True)
rules["solve"].products = lambda node: None if node.operands[0].index else []  # linear in the right-hand side
_contraction("matmul", _matmul_labels)
_contraction("tensordot", _axes_labels(contractions._tensordot_axes))
_contraction("dot", _axes_labels(contractions._dot_axes))
_contraction("inner", _axes_labels(contractions._inner_axes))
_contraction("outer", _axes_labels(lambda node: ([], [])))
_contraction("vdot", _flat_labels)
_contraction("einsum", _einsum_labels)
_convolution("convolve", _convolve_offset)
_convolution("correlate", _correlate_offset)
if "vecdot" in rules:  # since NumPy 2.1
    _contraction("vecdot", _vector_labels("k", "k", ""))
if "matvec" in rules:  # since NumPy 2.2
    _contraction("matvec", _vector_labels("ik", "k", "i"))
    _contraction("vecmat", _vector_labels("k", "kj", "j"))


def links(node: Node) -> Links:
    """Which elements of each operand the elements of a node depend on."""
    rule: Rule = node.rule
    if rule.reach is not None:
        found: Links = rule.reach(node)
        return found
    if rule.kind == "nondifferentiable":
        return [None] * len(node.operands)
    return _by_formulas(node) if rule.partials else _everything(node)


def products(node: Node) -> list[Product] | None:
    """What is multiplied in a sum of products; None of any other operation."""
    if node.rule.products is None:
        return None
    found: list[Product] = node.rule.products(node)
    return found
