"""What the derivative of a loop leaves: long sums of small things, done at once; and long sums done in pieces.

These passes change the order of additions, so results change by rounding; `exact=True` leaves them out.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..rules.indexing import is_basic
from .program import PLACE, Program, Steps, is_fixed, is_reduction, private, read, step_giving
from .steps import Method, Property, Step, Var, operands

__all__ = ["REORDERING"]

FEW = 3  # products that are worth being done as one
NARROW = 4096  # elements of a product that is done in pieces, at most
LONG = 4096  # and its terms, at least
PIECE = 1 << 18  # multiplications that libraries do on one thread


def _sums(program: Program, term: Callable[[Step], Any]) -> Iterator[tuple[Step, list[tuple[Any, Var]]]]:
    """Additions of several terms that `term` says something of, which nobody else reads: the step and its terms."""
    made = [step for step in program.steps if isinstance(step, Step) and type(step.results) is Var]
    terms = {
        step.results: [(found, step.results)]
        for step in made
        if (found := term(step)) is not None and private(step.results)
    }
    if len(terms) < 2:
        return
    uses = Counter(var for step in program.steps for var in read(step))
    uses.update(x for x in program.outputs if type(x) is Var)
    sums: dict[Var, Step] = {}
    for step in made:
        y = step.results
        if step.function is not np.add or step.options or not private(y):
            continue
        if all(type(x) is Var and x in terms and uses[x] == 1 and _alike(x, y) for x in step.args):
            for x in step.args:
                sums.pop(x, None)
            first, second = (terms.pop(x) for x in step.args)
            first += second  # nobody else has it: a sum of n terms costs O(n)
            terms[y], sums[y] = first, step
    for y, step in sums.items():
        yield step, terms[y]


def _alike(x: Var, y: Var) -> bool:
    return (x.shape, x.dtype) == (y.shape, y.dtype)


# -- arrays from their parts ---------------------------------------------------------------------------------------
def assembled(program: Program) -> Steps:
    """Put parts into one array, instead of adding up arrays that are zero elsewhere: what reading in pieces leaves."""

    def index(step: Step) -> Any:
        if step.function is PLACE and len(step.args) == 1 and type(step.args[0]) is Var:
            return (step.options["index"], step.args[0])
        return None

    for step, terms in _sums(program, index):
        indices, parts = zip(*(found for found, _ in terms), strict=True)
        y = step.results
        step.function = Assemble(y.shape, y.dtype, _tile(y.shape, indices))
        step.args = indices, *parts
    return program.steps


def _tile(shape: tuple[int, ...], indices: Sequence[Any]) -> bool:
    """Whether parts cover every place once."""
    if operands(*indices):
        return False
    times = np.zeros(shape, np.int8)
    for index in indices:
        times[index] += 1
    return bool((times == 1).all()) and sum(times[index].size for index in indices) == times.size


class Assemble:
    """Make an array of parts, which are added at their indices."""

    takes_out = True
    __name__ = "assemble"

    def __init__(self, shape: tuple[int, ...], dtype: Any, tile: bool) -> None:
        self.shape, self.dtype, self.tile = shape, dtype, tile

    def __call__(self, indices: tuple[Any, ...], *parts: Any, out: Any = None) -> Any:
        total = np.empty(self.shape, self.dtype) if out is None else out
        if self.tile:
            for index, part in zip(indices, parts, strict=True):
                total[index] = part
            return total
        total.fill(0)
        for index, part in zip(indices, parts, strict=True):
            if is_basic(index):
                total[index] += part
            else:
                np.add.at(total, index, part)
        return total


# -- one product for many ------------------------------------------------------------------------------------------
def gathered(program: Program) -> Steps:
    """Multiply once where products add up: A1.T @ G1 + A2.T @ G2 + ... is [A1, A2, ...].T @ [G1, G2, ...].

    The sums of the rows of G1, G2, ..., which gradients of biases are, are then one sum, too.
    """
    return _Gathering(program).steps()


class _Gathering:
    """Sums of products, and what takes their places.

    Attributes
    ----------
    orders : in which order the second factors of a sum are joined: one for all sums over the same
    products : by their last addition: the pairs of factors, and the step that has all first factors already, if any
    sums : by their last addition: of what the rows are summed up
    before : new steps, by the old one before which they come
    joined : the arrays of second factors, by what is in them
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.orders: dict[frozenset[Var], list[Var]] = {}
        self.products = self._products()
        self.sums = self._sums_of_rows()
        self.before: dict[Any, Steps] = {}
        self.joined: dict[tuple[Var, ...], Var] = {}

    def _products(self) -> dict[Step, tuple[list[tuple[Var, Var]], Step | None]]:
        products = {}
        for step, terms in _sums(self.program, _factors):
            pairs = [found for found, _ in terms]
            forms = {(a.shape[1], a.dtype, g.shape[1], g.dtype) for a, g in pairs}
            if len(pairs) >= FEW and len(forms) == 1:
                products[step] = _in_order(pairs)
        in_order_first = sorted(products.values(), key=lambda found: found[1] is None)
        for pairs, _ in in_order_first:
            self.orders.setdefault(frozenset(g for _, g in pairs), [g for _, g in pairs])
        return products

    def _sums_of_rows(self) -> dict[Step, list[Var]]:
        found = {}
        for step, terms in _sums(self.program, _sum_of_rows):
            once = frozenset(g for g, _ in terms)
            order = self.orders.get(once, [])
            if len(once) == len(terms) == len(order):  # each of them once, here and there
                found[step] = order
        return found

    def steps(self) -> Steps:
        """The steps with one product for each sum."""
        for step in [each for each in self.program.steps if isinstance(each, Step)]:
            if step in self.products:
                self.multiply_once(step, *self.products[step])
            elif step in self.sums:
                step.function, step.args = np.add.reduce, (self.all_of(self.sums[step], step),)
                step.options = {"axis": 0}
        return _with(self.before, self.program)

    def multiply_once(self, step: Step, pairs: list[tuple[Var, Var]], first: Step | None) -> None:
        """Let a step multiply all first factors by all second ones."""
        place = {g: i for i, g in enumerate(self.orders[frozenset(g for _, g in pairs)])}
        if first is None and len(place) == len(pairs):
            pairs.sort(key=lambda pair: place[pair[1]])
        parts = first or _step(np.concatenate, ([a for a, _ in pairs],), {}, step)
        turned = _step(Property("T"), (parts.results,), {}, step)
        self.before[step] = [parts, turned]
        step.function, step.args = np.matmul, (turned.results, self.all_of([g for _, g in pairs], step))

    def all_of(self, gs: list[Var], step: Step) -> Var:
        """The array of these, one after the other, made before a step if it is not there yet."""
        if tuple(gs) not in self.joined:
            new = _step(np.concatenate, (gs,), {}, step)
            self.before.setdefault(step, []).append(new)
            self.joined[tuple(gs)] = new.results
        return self.joined[tuple(gs)]


def _factors(step: Step) -> tuple[Var, Var] | None:
    """The matrices A and G of a product A.T @ G."""
    if step.function is not np.matmul or step.options or len(step.args) != 2:
        return None
    turned, g = step.args
    source = getattr(turned, "source", None)
    if not isinstance(source, Step) or source.function != Property("T") or type(g) is not Var:
        return None
    a = source.args[0]
    return (a, g) if len(a.shape) == len(g.shape) == 2 and private(a) and private(g) else None


def _sum_of_rows(step: Step) -> Var | None:
    """What a step adds up along its first axis."""
    if not is_reduction(step) or step.function.__self__ is not np.add or step.options != {"axis": 0}:
        return None
    (g,) = step.args
    return g if type(g) is Var and len(g.shape) == 2 and private(g) else None


def _in_order(pairs: list[tuple[Var, Var]]) -> tuple[list[tuple[Var, Var]], Step | None]:
    """Sort the pairs so that their first factors are the items of one array, if they are, and all of them."""
    read_from = _items([a for a, _ in pairs])
    if read_from is None:
        return pairs, None
    whole, places = read_from
    if sorted(places) != list(range(whole.shape[0])) or not whole.contiguous:
        return pairs, None
    ordered = [pair for _, pair in sorted(zip(places, pairs, strict=True), key=operator.itemgetter(0))]
    like = pairs[0][0].source
    return ordered, _step(Method("reshape"), (whole, (-1, whole.shape[-1])), {}, like)


def _items(parts: Sequence[Var]) -> tuple[Var, list[int]] | None:
    """The array of which all of these are items, and which ones; None if there is none."""
    places = []
    for part in parts:
        step = part.source
        if not isinstance(step, Step) or step.function is not operator.getitem or not private(part):
            return None
        whole, place = step.args
        if type(place) is not int or type(whole) is not Var or whole is not parts[0].source.args[0]:
            return None
        places.append(place % whole.shape[0])
    return parts[0].source.args[0], places


def hoisted(program: Program) -> Steps:
    """Multiply once where all items of an array are multiplied by one matrix: xs[0] @ w, xs[1] @ w, ... is xs @ w."""
    products: dict[tuple[Var, Var], list[Step]] = {}
    for step in program.steps:
        if isinstance(step, Step) and step.function is np.matmul and not step.options and len(step.args) == 2:
            x, w = step.args
            found = _items([x]) if type(x) is Var and type(w) is Var and len(x.shape) == len(w.shape) == 2 else None
            if found is not None and private(w) and found[0].contiguous and len(found[0].shape) == 3:
                products.setdefault((found[0], w), []).append(step)
    before: dict[Any, Steps] = {}
    for (whole, w), several in products.items():
        places = [step.args[0].source.args[1] % whole.shape[0] for step in several]
        if len(several) < FEW or sorted(places) != list(range(whole.shape[0])):
            continue
        rows = _step(Method("reshape"), (whole, (-1, whole.shape[-1])), {}, several[0])
        product = _step(np.matmul, (rows.results, w), {}, several[0])
        shape = (*whole.shape[:2], w.shape[1])
        split = _step(Method("reshape"), (product.results, shape), {}, several[0])
        before[several[0]] = [rows, product, split]
        for step, place in zip(several, places, strict=True):
            step.function, step.args = operator.getitem, (split.results, place)
            step.results.root = product.results
    return _with(before, program)


def _with(before: dict[Any, Steps], program: Program) -> Steps:
    """The program's steps, with new ones before some of them."""
    if not before:
        return program.steps
    return [new for step in program.steps for new in (*before.get(step, ()), step)]


def _step(function: Any, args: tuple[Any, ...], options: dict[str, Any], near: Step) -> Step:
    """A new step beside another one: a concatenation, a product, a transpose or a reshape."""
    shape: tuple[int, ...]
    if function is np.concatenate:
        parts = args[0]
        shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    elif function is np.matmul:
        shape = (args[0].shape[0], args[1].shape[1])
    elif function == Property("T"):
        shape = args[0].shape[::-1]
    else:
        shape = np.reshape(np.broadcast_to(0, args[0].shape), args[1]).shape  # which may say -1
    source = operands(*args)[0]
    views = function == Property("T") or function == Method("reshape")
    result = Var.made(shape, source.dtype, None, source.root if views else None)
    result.contiguous = function != Property("T")
    return step_giving(result, function, args, near, options)


# -- products of constants -----------------------------------------------------------------------------------------
def packed(program: Program) -> Steps:
    """Let the constants of products lie in C order: BLAS takes no stretched ones."""
    packed: dict[Var, Var] = {}

    def in_order(x: Any) -> Any:
        array = program.captured.get(x) if type(x) is Var else None
        if array is None or x.contiguous or x.scalar or not is_fixed(array):
            return x
        if x not in packed:
            array = np.ascontiguousarray(array)
            array.flags.writeable = False
            packed[x] = Var(array, array)
            program.captured[packed[x]] = array
        return packed[x]

    for step in program.steps:
        if isinstance(step, Step) and step.function is np.matmul:
            step.args = tuple(map(in_order, step.args))
    return program.steps


# -- long products -----------------------------------------------------------------------------------------------------
def divided(program: Program) -> Steps:
    """Add up products of few rows and columns in pieces, where they have thousands of terms.

    What X.T @ G is, for a few variables and many observations: libraries lay out both matrices anew as a whole, and
    divide the little result among threads that wait for each other.  A piece stays in a cache, and on one thread.
    """
    for step in program.steps:
        if not isinstance(step, Step) or step.function is not np.matmul or step.options or step.writes:
            continue
        if any(type(x) is not Var or len(x.shape) < 2 or x.dtype not in (np.double, np.single) for x in step.args):
            continue
        a, b = step.args
        elements = a.shape[-2] * b.shape[-1]
        if a.dtype == b.dtype and 0 < elements <= NARROW and a.shape[-1] >= LONG:
            step.function = InPieces(min(PIECE // elements, LONG // 8))
    return program.steps


class InPieces:
    """A matrix product, so many of its terms at a time."""

    takes_out = True
    __name__ = "matmul_in_pieces"

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, a: Any, b: Any, out: Any = None) -> Any:
        n = self.length
        total = np.matmul(a[..., :n], b[..., :n, :], out=out)
        part = np.empty_like(total)
        for i in range(n, a.shape[-1], n):
            total += np.matmul(a[..., i : i + n], b[..., i : i + n, :], out=part)
        return total


REORDERING: tuple[Callable[[Program], Steps], ...] = (assembled, hoisted, gathered, packed, divided)
