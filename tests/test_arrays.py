"""NumPy's array functions: NumPy's value bit for bit, and derivatives that agree with differences, in both modes.

The tables hold (name, function of arrays, shapes of its arguments).  `SMOOTH` runs on real and complex arguments,
`ORDERED` compares elements and runs on real ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import check, check_dtypes, check_value, parts, same, spaced

import chainrule as cr
from chainrule.rules import rules

# NumPy 2.5 deprecates np.fix.
pytestmark = pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")

MASK = np.array([[True, False, True, True], [False, False, True, False], [True, True, True, True]])
COLUMN = np.array([[True], [False], [True]])
I23 = np.array([[0, 1, 1], [2, 0, 1]])


def written(x: Any, index: Any, v: Any) -> Any:
    """A copy of `x` in which `x[index] = v` was done."""
    x = x.copy() if isinstance(x, np.ndarray) else x * 1
    x[index] = v
    return x


def combined(a: Any, b: Any) -> Any:
    return a + 2 * b


SMOOTH: list[tuple[Any, ...]] = [
    ("sort_complex", lambda x: np.sort_complex(x + 1j * x**2), (4,)),
    # -- sums and products along axes
    ("sum", lambda x: np.sum(x), (3, 4)),
    ("sum axis", lambda x: np.sum(x, 1), (3, 4)),
    ("sum axis negative", lambda x: np.sum(x, axis=-2), (3, 4)),
    ("sum axis tuple", lambda x: np.sum(x, axis=(0, -1)), (2, 3, 4)),
    ("sum axis tuple keepdims", lambda x: np.sum(x, axis=(-1, 0), keepdims=True), (2, 3, 4)),
    ("sum axis empty", lambda x: np.sum(x, axis=()), (3, 4)),
    ("sum keepdims", lambda x: np.sum(x, keepdims=True), (3, 4)),
    ("sum where", lambda x: np.sum(x, where=MASK), (3, 4)),
    ("sum where broadcast", lambda x: np.sum(x, axis=1, where=COLUMN), (3, 4)),
    ("sum initial", lambda x: np.sum(x, axis=0, initial=2.5), (3, 4)),
    ("sum method", lambda x: x.sum(axis=1, keepdims=True), (3, 4)),
    ("sum of 0-d", lambda x: np.sum(x), ()),
    ("mean", lambda x: np.mean(x), (3, 4)),
    ("mean axis", lambda x: np.mean(x, -1), (3, 4)),
    ("mean axis tuple keepdims", lambda x: np.mean(x, axis=(0, 2), keepdims=True), (2, 3, 4)),
    ("mean where", lambda x: np.mean(x, axis=0, where=MASK), (3, 4)),
    ("mean where keepdims", lambda x: np.mean(x, axis=1, where=MASK, keepdims=True), (3, 4)),
    ("mean axis empty", lambda x: np.mean(x, axis=()), (3, 4)),
    ("mean of 0-d", lambda x: np.mean(x), ()),
    ("mean method", lambda x: x.mean(0), (3, 4)),
    ("prod", lambda x: np.prod(x), (2, 3)),
    ("prod axis", lambda x: np.prod(x, axis=1), (3, 4)),
    ("prod axis tuple keepdims", lambda x: np.prod(x, axis=(0, -1), keepdims=True), (2, 3, 2)),
    ("prod axes out of order", lambda x: np.prod(x, axis=(2, 0)), (2, 3, 2)),
    ("prod axis empty", lambda x: np.prod(x, axis=()), (3, 4)),
    ("prod where", lambda x: np.prod(x, axis=0, where=MASK), (3, 4)),
    ("prod initial", lambda x: np.prod(x, axis=0, initial=2.5), (3, 4)),
    ("prod of 0-d", lambda x: np.prod(x), ()),
    ("prod method", lambda x: x.prod(1), (3, 4)),
    ("var", lambda x: np.var(x), (3, 4)),
    ("var axis ddof", lambda x: np.var(x, axis=1, ddof=1), (3, 4)),
    ("var correction", lambda x: np.var(x, axis=0, correction=1), (3, 4)),
    ("var where", lambda x: np.var(x, axis=0, where=COLUMN), (3, 4)),
    ("var where keepdims", lambda x: np.var(x, axis=1, ddof=1, where=MASK[[0, 2]], keepdims=True), (2, 4)),
    ("var axis tuple", lambda x: np.var(x, axis=(0, -1)), (2, 3, 2)),
    ("var method", lambda x: x.var(axis=0), (3, 4)),
    ("var fractional ddof", lambda x: np.var(x, ddof=0.5), (4,)),
    ("std", lambda x: np.std(x), (3, 4)),
    ("std axis ddof keepdims", lambda x: np.std(x, axis=1, ddof=1, keepdims=True), (3, 4)),
    ("std where", lambda x: np.std(x, axis=0, where=COLUMN), (3, 4)),
    ("std correction", lambda x: np.std(x, axis=-1, correction=0.5), (3, 4)),
    ("std method", lambda x: x.std(0, ddof=1), (3, 4)),
    ("cumsum", lambda x: np.cumsum(x), (3, 4)),
    ("cumsum axis", lambda x: np.cumsum(x, axis=-1), (3, 4)),
    ("cumsum method", lambda x: x.cumsum(0), (3, 4)),
    ("cumsum of 0-d", lambda x: np.cumsum(x), ()),
    ("cumprod", lambda x: np.cumprod(x), (2, 3)),
    ("cumprod axis", lambda x: np.cumprod(x, axis=-1), (3, 4)),
    ("cumprod method", lambda x: x.cumprod(0), (3, 4)),
    ("cumprod of 0-d", lambda x: np.cumprod(x), ()),
    # -- shape
    ("reshape", lambda x: np.reshape(x, (4, 3)), (3, 4)),
    ("reshape -1", lambda x: np.reshape(x, (2, -1)), (3, 4)),
    ("reshape F", lambda x: np.reshape(x, (4, 3), order="F"), (3, 4)),
    ("reshape method", lambda x: x.reshape(2, 6), (3, 4)),
    ("reshape method tuple F", lambda x: x.reshape((2, 6), order="F"), (3, 4)),
    ("reshape to 0-d", lambda x: np.reshape(x, ()), (1,)),
    ("ravel", lambda x: np.ravel(x), (3, 4)),
    ("ravel F", lambda x: np.ravel(x, order="F"), (3, 4)),
    ("ravel K", lambda x: np.ravel(np.transpose(x), order="K"), (2, 3, 4)),
    ("ravel K permuted", lambda x: np.ravel(np.transpose(x, (1, 0, 2)), order="K"), (2, 3, 4)),
    ("ravel A", lambda x: np.ravel(np.transpose(x), order="A"), (3, 4)),
    ("ravel method", lambda x: x.ravel(), (3, 4)),
    ("flatten method", lambda x: x.flatten(), (3, 4)),
    ("flatten F", lambda x: x.flatten("F"), (3, 4)),
    ("transpose", lambda x: np.transpose(x), (2, 3, 4)),
    ("transpose axes", lambda x: np.transpose(x, (1, 2, 0)), (2, 3, 4)),
    ("transpose negative axes", lambda x: np.transpose(x, (-1, 0, -2)), (2, 3, 4)),
    ("transpose method", lambda x: x.transpose(1, 2, 0), (2, 3, 4)),
    ("T", lambda x: x.T, (3, 4)),
    ("mT", lambda x: x.mT, (2, 3, 4)),
    ("permute_dims", lambda x: np.permute_dims(x, (2, 0, 1)), (2, 3, 4)),
    ("matrix_transpose", lambda x: np.matrix_transpose(x), (2, 3, 4)),
    ("swapaxes", lambda x: np.swapaxes(x, 0, -1), (2, 3, 4)),
    ("moveaxis", lambda x: np.moveaxis(x, 0, -1), (2, 3, 4)),
    ("windows", lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)), (3, 4)),
    ("windows axis", lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=0), (3, 3)),
    ("windows axes", lambda x: np.lib.stride_tricks.sliding_window_view(x, (3, 2), (1, 1)), (2, 5)),
    ("moveaxis several", lambda x: np.moveaxis(x, [0, 1], [-1, 0]), (2, 3, 4)),
    ("rollaxis", lambda x: np.rollaxis(x, 2), (2, 3, 4)),
    ("rollaxis start", lambda x: np.rollaxis(x, 0, 3), (2, 3, 4)),
    ("squeeze", lambda x: np.squeeze(x), (1, 3, 1)),
    ("squeeze axis", lambda x: np.squeeze(x, axis=-1), (1, 3, 1)),
    ("squeeze method", lambda x: x.squeeze(0), (1, 3)),
    ("expand_dims", lambda x: np.expand_dims(x, 1), (3, 4)),
    ("expand_dims tuple", lambda x: np.expand_dims(x, (0, -1)), (3, 4)),
    ("atleast_1d", lambda x: np.atleast_1d(x), ()),
    ("atleast_2d", lambda x: np.atleast_2d(x), (3,)),
    ("atleast_3d", lambda x, y: np.atleast_3d(x, y), (3,), (2, 3)),
    ("broadcast_to", lambda x: np.broadcast_to(x, (2, 3, 4)), (3, 1)),
    ("broadcast_to of 0-d", lambda x: np.broadcast_to(x, (2, 3)), ()),
    ("broadcast_arrays", lambda x, y: np.broadcast_arrays(x, y), (3, 1), (4,)),
    ("flip", lambda x: np.flip(x), (3, 4)),
    ("flip axis", lambda x: np.flip(x, -1), (3, 4)),
    ("flip axes", lambda x: np.flip(x, (0, 2)), (2, 3, 4)),
    ("fliplr flipud", lambda x: np.fliplr(np.flipud(x)), (3, 4)),
    ("rot90", lambda x: np.rot90(x), (3, 4)),
    ("rot90 k axes", lambda x: np.rot90(x, 3, axes=(2, 0)), (2, 3, 4)),
    ("roll", lambda x: np.roll(x, 2), (3, 4)),
    ("roll axis", lambda x: np.roll(x, -1, axis=1), (3, 4)),
    ("roll axes", lambda x: np.roll(x, (1, 2), axis=(0, 1)), (3, 4)),
    ("roll shift for axes", lambda x: np.roll(x, 1, axis=(0, 1)), (3, 4)),
    ("tile", lambda x: np.tile(x, 3), (2, 3)),
    ("tile more", lambda x: np.tile(x, (2, 1, 3)), (2, 3)),
    ("tile fewer", lambda x: np.tile(x, (2,)), (2, 3)),
    ("tile 0-d", lambda x: np.tile(x, (2, 2)), ()),
    ("repeat", lambda x: np.repeat(x, 2), (2, 3)),
    ("repeat axis", lambda x: np.repeat(x, 3, axis=1), (2, 3)),
    ("repeat counts", lambda x: np.repeat(x, [1, 0, 2], axis=1), (2, 3)),
    ("repeat method", lambda x: x.repeat(2, axis=0), (2, 3)),
    ("resize", lambda x: np.resize(x, (3, 3)), (2, 2)),
    ("diag", lambda x: np.diag(x), (3,)),
    ("diag offset", lambda x: np.diag(x, -1), (3,)),
    ("diag of matrix", lambda x: np.diag(x, 1), (3, 5)),
    ("diagflat", lambda x: np.diagflat(x, 1), (2, 2)),
    ("diagonal", lambda x: np.diagonal(x), (4, 3)),
    ("diagonal offset axes", lambda x: np.diagonal(x, 1, 2, 0), (4, 2, 3)),
    ("diagonal method", lambda x: x.diagonal(-1), (4, 3)),
    ("trace", lambda x: np.trace(x), (4, 3)),
    ("trace axes", lambda x: np.trace(x, 1, 0, 2), (3, 2, 4)),
    ("trace method", lambda x: x.trace(), (3, 3)),
    ("triu", lambda x: np.triu(x, 1), (3, 4)),
    ("tril", lambda x: np.tril(x, -1), (2, 4, 3)),
    ("copy", lambda x: np.copy(x), (3, 4)),
    ("copy method", lambda x: x.copy(), (3, 4)),
    ("astype", lambda x: x.astype(complex), (3,)),
    ("real", lambda x: np.real(x), (3,)),
    ("imag", lambda x: np.imag(x), (3,)),
    ("real imag attributes", lambda x: x.real * x.imag, (3,)),
    ("conj", lambda x: np.conj(x) * x, (3,)),
    ("conj method", lambda x: x.conj() + x.conjugate(), (3,)),
    # -- joining and splitting
    ("concatenate", lambda x, y: np.concatenate([x, y]), (2, 3), (1, 3)),
    ("concatenate axis", lambda x, y: np.concatenate((x, y), axis=-1), (2, 3), (2, 1)),
    ("concatenate None", lambda x, y: np.concatenate([x, y], axis=None), (2, 3), (4,)),
    ("concatenate constants", lambda x: np.concatenate([x, np.ones((1, 3)), x]), (2, 3)),
    ("concatenate one array", lambda x: np.concatenate(x), (2, 3)),
    ("concat", lambda x, y: np.concat([x, y]), (2,), (3,)),
    ("stack", lambda x, y: np.stack([x, y]), (2, 3), (2, 3)),
    ("stack axis", lambda x, y: np.stack([x, y, x], axis=-1), (2, 3), (2, 3)),
    ("stack scalars", lambda x, y: np.stack([x, y, np.float64(2.0)]), (), ()),
    ("vstack", lambda x, y: np.vstack([x, y]), (3,), (2, 3)),
    ("hstack", lambda x, y: np.hstack([x, y]), (2, 1), (2, 3)),
    ("hstack 1-d", lambda x, y: np.hstack([x, y]), (2,), (3,)),
    ("dstack", lambda x, y: np.dstack([x, y]), (2, 3), (2, 3)),
    ("column_stack", lambda x, y: np.column_stack([x, y]), (3,), (3, 2)),
    ("block", lambda x, y: np.block([[x, y], [y, x]]), (2, 2), (2, 2)),
    ("block ragged ranks", lambda x, y: np.block([[x, np.eye(2)], [y]]), (2, 1), (3,)),
    ("append", lambda x, y: np.append(x, y), (2, 2), (3,)),
    ("append axis", lambda x, y: np.append(x, y, axis=0), (2, 3), (1, 3)),
    ("split", lambda x: np.split(x, 3), (6, 2)),
    ("split at", lambda x: np.split(x, [1, 3], axis=1), (2, 5)),
    ("array_split", lambda x: np.array_split(x, 3), (7,)),
    ("hsplit vsplit", lambda x: np.hsplit(np.vsplit(x, 2)[1], 2), (4, 2)),
    ("dsplit", lambda x: np.dsplit(x, 2), (1, 2, 4)),
    # -- choosing
    ("where", lambda x, y: np.where(MASK, x, y), (3, 4), (4,)),
    ("where number", lambda x: np.where(MASK, x, 0.0), (3, 1)),
    ("where scalar condition", lambda x, y: np.where(True, x, y), (3,), ()),
    ("take", lambda x: np.take(x, [0, 2, 2]), (2, 3)),
    ("take axis", lambda x: np.take(x, I23, axis=-1), (2, 3)),
    ("take int", lambda x: np.take(x, 1, axis=1), (2, 3)),
    ("take wrap", lambda x: np.take(x, [-1, 5], axis=0, mode="wrap"), (3,)),
    ("take clip", lambda x: np.take(x, [-1, 5], axis=0, mode="clip"), (3,)),
    ("take method", lambda x: x.take([1, 1], axis=0), (2, 3)),
    # -- products
    ("matmul 1-1", lambda x, y: x @ y, (3,), (3,)),
    ("matmul 1-2", lambda x, y: x @ y, (3,), (3, 2)),
    ("matmul 2-1", lambda x, y: np.matmul(x, y), (2, 3), (3,)),
    ("matmul 2-2", lambda x, y: np.matmul(x, y), (2, 3), (3, 4)),
    ("matmul 1-3", lambda x, y: x @ y, (3,), (2, 3, 4)),
    ("matmul 3-1", lambda x, y: x @ y, (2, 4, 3), (3,)),
    ("matmul 2-3", lambda x, y: x @ y, (2, 3), (4, 3, 2)),
    ("matmul 3-2", lambda x, y: x @ y, (4, 2, 3), (3, 2)),
    ("matmul broadcast", lambda x, y: x @ y, (2, 1, 3, 4), (5, 4, 2)),
    ("matmul inner 0", lambda x, y: x @ y, (2, 0), (0, 3)),
    ("matmul rows 0", lambda x, y: x @ y, (0, 3), (3, 2)),
    ("matmul same", lambda x: x @ x, (3, 3)),
    ("matmul constant", lambda x: np.ones((2, 3)) @ x, (3, 2)),
    ("dot 1-1", lambda x, y: np.dot(x, y), (3,), (3,)),
    ("dot 2-1", lambda x, y: x.dot(y), (2, 3), (3,)),
    ("dot 2-2", lambda x, y: np.dot(x, y), (2, 3), (3, 2)),
    ("dot 3-2", lambda x, y: np.dot(x, y), (2, 2, 3), (3, 2)),
    ("dot 1-3", lambda x, y: np.dot(x, y), (3,), (2, 3, 2)),
    ("dot 2-3", lambda x, y: np.dot(x, y), (2, 3), (2, 3, 2)),
    ("dot 0-d", lambda x, y: np.dot(x, y), (), (2, 3)),
    ("inner", lambda x, y: np.inner(x, y), (2, 3), (4, 3)),
    ("inner 1-3", lambda x, y: np.inner(x, y), (3,), (2, 4, 3)),
    ("inner 0-d", lambda x, y: np.inner(x, y), (2, 3), ()),
    ("outer", lambda x, y: np.outer(x, y), (3,), (2,)),
    ("outer of matrix", lambda x, y: np.outer(x, y), (2, 2), (3,)),
    ("outer 0-d", lambda x, y: np.outer(x, y), (), ()),
    ("vdot", lambda x, y: np.vdot(x, y), (2, 3), (2, 3)),
    ("vecdot", lambda x, y: np.vecdot(x, y), (2, 3), (3,)),
    ("vecdot axis", lambda x, y: np.vecdot(x, y, axis=0), (3, 2), (3, 1)),
    ("tensordot 2", lambda x, y: np.tensordot(x, y), (2, 3, 4), (3, 4, 2)),
    ("tensordot 0", lambda x, y: np.tensordot(x, y, 0), (2, 3), (2,)),
    ("tensordot axes", lambda x, y: np.tensordot(x, y, axes=([2, 0], [0, -1])), (2, 3, 4), (4, 3, 2)),
    ("tensordot one axis", lambda x, y: np.tensordot(x, y, (1, 0)), (2, 3), (3, 2)),
    ("tensordot crossed", lambda x, y: np.tensordot(x, y, ([0, 1], [1, 0])), (2, 3, 2), (3, 2)),
    # -- einsum
    ("einsum matmul", lambda x, y: np.einsum("ij,jk->ik", x, y), (2, 3), (3, 4)),
    ("einsum implicit", lambda x, y: np.einsum("ij,jk", x, y), (2, 3), (3, 4)),
    ("einsum implicit order", lambda x: np.einsum("ba", x), (2, 3)),
    ("einsum trace", lambda x: np.einsum("ii", x), (3, 3)),
    ("einsum diagonal", lambda x: np.einsum("ii->i", x), (3, 3)),
    ("einsum diagonal of three", lambda x: np.einsum("iji->ij", x), (3, 2, 3)),
    ("einsum cube", lambda x: np.einsum("i,i,i->", x, x, x), (3,)),
    ("einsum four", lambda x, y: np.einsum("i,ij,jk,k->", x, y, y, x), (2,), (2, 2)),
    ("einsum ellipsis", lambda x, y: np.einsum("...ij,...jk", x, y), (2, 2, 3), (2, 3, 2)),
    ("einsum ellipsis broadcast", lambda x, y: np.einsum("...ij,...jk->...ik", x, y), (2, 1, 2, 3), (4, 3, 2)),
    ("einsum ellipsis in the middle", lambda x, y: np.einsum("i...j,j...->...i", x, y), (2, 4, 3), (3, 4)),
    ("einsum ellipsis twice", lambda x: np.einsum("...i,...i->...", x, x), (2, 3)),
    ("einsum sum", lambda x: np.einsum("ijk->j", x), (2, 3, 2)),
    ("einsum only here", lambda x, y: np.einsum("ij,k->k", x, y), (2, 3), (4,)),
    ("einsum diagonal times", lambda x, y: np.einsum("ii,ij->j", x, y), (3, 3), (3, 2)),
    ("einsum outer", lambda x, y: np.einsum("i,j->ji", x, y), (2,), (3,)),
    ("einsum size 1", lambda x, y: np.einsum("ij,jk->ik", x, y), (2, 1), (3, 4)),
    ("einsum optimize", lambda x, y: np.einsum("ij,jk,kl->il", x, y, x, optimize=True), (2, 3), (3, 2)),
    ("einsum interleaved", lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [0, 2]), (2, 3), (3, 4)),
    ("einsum interleaved implicit", lambda x, y: np.einsum(x, [2, 1], y, [1, 0]), (2, 3), (3, 4)),
    ("einsum interleaved ellipsis", lambda x: np.einsum(x, [Ellipsis, 0], [0, Ellipsis]), (2, 3, 4)),
    ("einsum constant", lambda x: np.einsum("ij,j->i", np.ones((2, 3)), x), (3,)),
    ("einsum 0-d", lambda x, y: np.einsum(",i->i", x, y), (), (3,)),
    ("einsum spaces", lambda x, y: np.einsum("i j , j -> i", x, y), (2, 3), (3,)),
    # -- reading by index
    ("getitem int", lambda x: x[1], (3, 4)),
    ("getitem negative", lambda x: x[-1, -2], (3, 4)),
    ("getitem slice", lambda x: x[1:, :2], (3, 4)),
    ("getitem step", lambda x: x[::2, 1::2], (3, 4)),
    ("getitem negative step", lambda x: x[::-1, ::-2], (3, 4)),
    ("getitem ellipsis", lambda x: x[..., 1], (2, 3, 4)),
    ("getitem newaxis", lambda x: x[:, None, 1], (3, 4)),
    ("getitem empty slice", lambda x: x[2:1], (3, 4)),
    ("getitem empty tuple", lambda x: x[()], (3, 4)),
    ("getitem of 0-d", lambda x: x[()], ()),
    ("getitem of 0-d newaxis", lambda x: x[None], ()),
    ("getitem ints", lambda x: x[np.array([2, 0])], (3, 4)),
    ("getitem repeated", lambda x: x[[0, 0, 1]], (3, 4)),
    ("getitem pairs", lambda x: x[[0, 1, 1], [2, 2, 2]], (3, 4)),
    ("getitem grid", lambda x: x[np.ix_([0, 2], [1, 1, 3])], (3, 4)),
    ("getitem int arrays 2-d", lambda x: x[I23], (3, 2)),
    ("getitem mixed", lambda x: x[1:, [0, 0, 3]], (3, 4)),
    ("getitem split mixed", lambda x: x[[0, 1], :, [1, 1]], (2, 3, 4)),
    ("getitem mask", lambda x: x[MASK], (3, 4)),
    ("getitem row mask", lambda x: x[COLUMN[:, 0]], (3, 4)),
    ("getitem mask and slice", lambda x: x[COLUMN[:, 0], 1:3], (3, 4)),
    ("getitem no rows", lambda x: x[np.zeros(3, bool)], (3, 4)),
    ("getitem np.int64", lambda x: x[np.int64(1)], (3,)),
    ("getitem True", lambda x: x[True], (3,)),
    ("iteration", lambda x: [row * 2 for row in x], (2, 3)),
    ("unpacking", lambda x: combined(*x), (2,)),
    # -- writing by index
    ("setitem", lambda x, v: written(x, 1, v), (3, 4), (4,)),
    ("setitem slice", lambda x, v: written(x, np.s_[1:, ::2], v), (3, 4), (2, 1)),
    ("setitem broadcast", lambda x, v: written(x, np.s_[...], v), (3, 4), ()),
    ("setitem extra axis", lambda x, v: written(x, 0, v), (3, 4), (1, 4)),
    ("setitem number", lambda x: written(x, np.s_[:, 1], 3.0), (3, 4)),
    ("setitem repeated", lambda x, v: written(x, [0, 0, 2], v), (3,), (3,)),
    ("setitem repeated scalar", lambda x, v: written(x, [0, 0, 2], v), (3,), ()),
    ("setitem repeated rows", lambda x, v: written(x, [1, 1], v), (3, 2), (2, 2)),
    ("setitem mask", lambda x, v: written(x, MASK, v), (3, 4), (8,)),
    ("setitem mask broadcast", lambda x, v: written(x, MASK, v), (3, 4), (1,)),
    ("setitem mixed", lambda x, v: written(x, (np.s_[1:], [0, 0, 3]), v), (3, 4), (2, 3)),
    ("setitem newaxis", lambda x, v: written(x, np.s_[None, 1], v), (3, 4), (1, 4)),
    ("setitem 0-d", lambda x, v: written(x, (), v), (3,), (3,)),
    # -- constructors that cannot dispatch
    ("object array", lambda x, y: np.array([x, 2.0, y]) * x, (), ()),
    ("object array of rows", lambda x, y: np.stack([np.array([[x, y], [y, 1.0]]), np.ones((2, 2))]) * x, (), ()),
]  # fmt: skip

ORDERED: list[tuple[Any, ...]] = [
    ("ldexp", lambda x: np.ldexp(x, [3, -2, 0]), (2, 3)),
    ("frexp", lambda x: np.frexp(x)[0], (2, 3)),
    ("max", lambda x: np.max(x), (3, 4)),
    ("max axis", lambda x: np.max(x, axis=1), (3, 4)),
    ("max axis tuple keepdims", lambda x: np.max(x, axis=(0, -1), keepdims=True), (2, 3, 4)),
    ("max axis empty", lambda x: np.max(x, axis=()), (3, 4)),
    ("max initial", lambda x: np.max(x, axis=0, initial=0.5), (3, 4)),
    ("max where", lambda x: np.max(x, axis=0, where=MASK, initial=-1.0), (3, 4)),
    ("max method", lambda x: x.max(axis=-1), (3, 4)),
    ("max of 0-d", lambda x: np.max(x), ()),
    ("amax", lambda x: np.amax(x, 0), (3, 4)),
    ("min", lambda x: np.min(x), (3, 4)),
    ("min axis keepdims", lambda x: np.min(x, axis=0, keepdims=True), (3, 4)),
    ("min where", lambda x: np.min(x, axis=1, where=MASK, initial=np.inf), (3, 4)),
    ("min method", lambda x: x.min(0), (3, 4)),
    ("ptp", lambda x: np.ptp(x, axis=1), (3, 4)),
    ("clip", lambda x: np.clip(x, -0.7, 0.8), (3, 4)),
    ("clip min", lambda x: np.clip(x, 0.3, None), (3, 4)),
    ("clip max", lambda x: np.clip(x, None, 0.3), (3, 4)),
    ("clip method", lambda x: x.clip(-0.7, 0.8), (3, 4)),
    ("clip method keywords", lambda x: x.clip(min=-0.7, max=0.8), (3, 4)),
    ("clip bounds", lambda x, lo, hi: np.clip(x, lo - 0.9, hi + 0.9), (3, 4), (4,), (3, 1)),
    ("clip lo above hi", lambda x, lo, hi: np.clip(x, lo + 3, hi), (4,), (4,), (4,)),
    ("where by value", lambda x: np.where(x > 0, x * x, np.sin(x)), (3, 4)),
    ("absolute norm", lambda x: np.max(np.abs(x), axis=0), (3, 4)),
    ("builtin sum max", lambda x: sum(list(x)) * max(list(x)), (4,)),
    ("round", lambda x: np.round(x) * np.round(x, 1) * x, (3,)),
    ("fix", lambda x: np.fix(x) * x, (3,)),
    ("angle", lambda x: np.angle(x + 1j), (3,)),
]  # fmt: skip

# What the oldest supported NumPy, 2.0, lacks.
if hasattr(np, "unstack"):  # NumPy 2.1
    SMOOTH += [("unstack", lambda x: np.unstack(x, axis=1), (2, 3))]
    ORDERED += [
        ("clip none", lambda x: np.clip(x, None, None), (3, 4)),
        ("clip keywords", lambda x: np.clip(x, min=-0.7, max=0.8), (3, 4)),
    ]
if hasattr(np, "matvec"):  # NumPy 2.2
    SMOOTH += [
        ("matvec", lambda x, y: np.matvec(x, y), (2, 3, 4), (4,)),
        ("vecmat", lambda x, y: np.vecmat(x, y), (2, 3), (2, 3, 4)),
    ]

EMPTY: list[tuple[Any, ...]] = [
    ("sum", lambda x: np.sum(x), (0,)),
    ("sum axis", lambda x: np.sum(x, axis=0), (0, 3)),
    ("sum other axis", lambda x: np.sum(x, axis=1), (0, 3)),
    ("prod", lambda x: np.prod(x), (0,)),
    ("prod axis", lambda x: np.prod(x, axis=0), (0, 3)),
    ("max other axis", lambda x: np.max(x, axis=1), (0, 3)),
    ("max initial", lambda x: np.max(x, initial=1.0), (0, 3)),
    ("max initial axis", lambda x: np.max(x, axis=0, initial=1.0), (0, 3)),
    ("cumsum", lambda x: np.cumsum(x), (0,)),
    ("cumsum axis", lambda x: np.cumsum(x, axis=0), (0, 3)),
    ("cumprod", lambda x: np.cumprod(x), (0,)),
    ("cumprod axis", lambda x: np.cumprod(x, axis=0), (0, 3)),
    ("cumprod other axis", lambda x: np.cumprod(x, axis=1), (0, 3)),
    ("var other axis", lambda x: np.var(x, axis=1), (0, 3)),
    ("reshape", lambda x: np.reshape(x, (3, 0)), (0, 2)),
    ("ravel", lambda x: np.ravel(x), (0, 2)),
    ("transpose", lambda x: x.T, (0, 2)),
    ("concatenate", lambda x, y: np.concatenate([x, y]), (0, 2), (3, 2)),
    ("stack", lambda x, y: np.stack([x, y]), (0, 2), (0, 2)),
    ("tile 0", lambda x: np.tile(x, 0), (2,)),
    ("tile", lambda x: np.tile(x, 2), (0,)),
    ("repeat 0", lambda x: np.repeat(x, 0), (2,)),
    ("matmul", lambda x, y: x @ y, (0, 3), (3, 2)),
    ("matmul vector", lambda x, y: x @ y, (0,), (0,)),
    ("dot", lambda x, y: np.dot(x, y), (2, 0), (0, 3)),
    ("einsum", lambda x, y: np.einsum("ij,jk", x, y), (2, 0), (0, 3)),
    ("tensordot", lambda x, y: np.tensordot(x, y, 1), (2, 0), (0, 3)),
    ("outer", lambda x, y: np.outer(x, y), (0,), (3,)),
    ("getitem", lambda x: x[:, 1], (0, 2)),
    ("getitem ints", lambda x: x[np.zeros(0, int)], (3,)),
    ("setitem", lambda x, v: written(x, np.s_[1:1], v), (3,), ()),
    ("broadcast", lambda x, y: x + y, (3, 1), (0,)),
    ("where", lambda x, y: np.where(np.zeros(0, bool), x, y), (0,), ()),
    ("clip", lambda x: np.clip(x, 0.0, 1.0), (0,)),
    ("split", lambda x: np.split(x, 2), (0,)),
    ("diag", lambda x: np.diag(x), (0,)),
    ("roll flip", lambda x: np.roll(np.flip(x), 1), (0,)),
    ("resize", lambda x: np.resize(x, (2,)), (0,)),
]  # fmt: skip


def table(rows: list[tuple[Any, ...]]) -> Any:
    return pytest.mark.parametrize("case", rows, ids=[row[0] for row in rows])


def arguments(case: tuple[Any, ...], dtype: Any = float) -> list[Any]:
    return [spaced(shape, (case[0], i), dtype=dtype)[()] for i, shape in enumerate(case[2:])]


@table(SMOOTH + ORDERED)
def test_real(case: Any) -> None:
    check(case[1], arguments(case), seed=case[0])


@table(SMOOTH)
def test_complex(case: Any) -> None:
    check(case[1], arguments(case, complex), seed=case[0])


@table(EMPTY)
def test_empty(case: Any) -> None:
    check(case[1], arguments(case), order=1)


@pytest.mark.parametrize("dtype", ["f2", "f4", "g"])
@table(SMOOTH + ORDERED)
def test_dtypes(case: Any, dtype: str) -> None:
    """Values and gradients keep the dtype NumPy gives; the values are NumPy's bits."""
    args = arguments(case, dtype)
    check_dtypes(case[1], args)


@table(SMOOTH + ORDERED)
def test_memory_layouts(case: Any) -> None:
    """Fortran order and negative strides give what C order gives."""
    args = arguments(case)
    for layout in (np.asfortranarray, lambda x: np.flip(np.flip(x).copy())):
        others = [layout(a) if np.ndim(a) else a for a in args]
        check_value(case[1], others)
        (values, pull), (_, pull_other) = (cr.vjp(lambda *xs: parts(case[1](*xs)), *a) for a in (args, others))
        ones = [np.ones_like(value) for value in values]
        for a, b in zip(pull(ones), pull_other(ones), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


# -- sums keep NumPy's `dtype=`, accumulation and overflow -------------------------------------------------------------
@pytest.mark.parametrize(
    "function", [np.sum, np.prod, np.mean, np.var, np.std, np.cumsum, np.cumprod], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(("given", "wanted"), [("f4", "f8"), ("f8", "f4"), ("f2", "f8"), ("f8", "c16")])
def test_dtype_argument(function: Any, given: str, wanted: str) -> None:
    x = spaced((3, 4), dtype=given)
    check_value(lambda x: function(x, axis=0, dtype=wanted), [x])
    gradient = cr.grad(lambda x: np.real(np.sum(function(x, axis=0, dtype=wanted))))(x)
    assert gradient.dtype == x.dtype
    np.testing.assert_allclose(
        gradient, cr.grad(lambda x: np.sum(function(x, axis=0)))(x.astype("f8")), rtol=4e-3, atol=1e-3
    )
    big = spaced((20_000,), dtype=given)  # NumPy casts in blocks, which decides how pairwise sums round
    if function is np.sum:
        same(function(cr.Tensor(big), dtype=wanted).data, function(big, dtype=wanted))


def test_float16_accumulates_as_numpy() -> None:
    ones = np.ones(70_000, np.float16)
    with np.errstate(over="ignore"):
        same(np.sum(cr.Tensor(ones)).data, np.sum(ones))
    gradient = cr.grad(lambda x: np.mean(x))(ones)
    same(np.mean(cr.Tensor(ones)).data, np.mean(ones))
    same(gradient, np.full(70_000, 1 / 70_000, np.float16))
    with pytest.warns(RuntimeWarning, match="overflow"):
        np.sum(cr.Tensor(np.full(10, 6e4, np.float16)))


# -- ties, NaN, infinities and zeros -------------------------------------------------------------------------------
NAN, INF = np.nan, np.inf
FIRST, OUTER = np.array([True, True, False]), np.array([True, False, True])
CORNERS: list[tuple[Any, ...]] = [
    ("max tie", lambda x: np.max(x), [1.0, 3.0, 3.0], [0, 0.5, 0.5]),
    ("max tie axis", lambda x: np.sum(np.max(x, axis=0)), [[1.0, 2.0], [1.0, 0.0]], [[0.5, 1], [0.5, 0]]),
    ("max tie initial", lambda x: np.max(x, initial=3.0), [1.0, 3.0], [0, 0.5]),
    ("max where tie", lambda x: np.max(x, where=OUTER, initial=-9), [3.0, 3.0, 3.0], [0.5, 0, 0.5]),
    ("max NaN", lambda x: np.max(x), [1.0, NAN, 2.0], [0, 1, 0]),
    ("max two NaN", lambda x: np.max(x), [1.0, NAN, NAN], [0, 0.5, 0.5]),
    ("min -inf", lambda x: np.min(x), [1.0, -INF, -INF], [0, 0.5, 0.5]),
    ("max of zeros under sqrt", lambda x: np.sqrt(np.max(x)), [0.0, -1.0], [INF, 0]),
    ("prod one zero", lambda x: np.prod(x), [0.0, 2.0, 3.0], [6, 0, 0]),
    ("prod two zeros", lambda x: np.prod(x), [0.0, 2.0, 0.0], [0, 0, 0]),
    ("prod inf", lambda x: np.prod(x), [INF, 2.0, 3.0], [6, INF, INF]),
    ("sqrt prod zeros", lambda x: np.sqrt(np.prod(x)), [0.0, 2.0, 0.0], [0, 0, 0]),
    ("prod where zero", lambda x: np.prod(x, where=np.array([False, True, True])), [0.0, 2.0, 3.0], [0, 3, 2]),
    ("cumprod zeros", lambda x: np.sum(np.cumprod(x)), [2.0, 0.0, 0.0, 5.0], [1, 2, 0, 0]),
    ("cumprod unread inf", lambda x: np.cumprod(x)[0], [2.0, INF, 3.0], [1, 0, 0]),
    ("var constant", lambda x: np.var(x), [2.0, 2.0, 2.0], [0, 0, 0]),
    ("std constant", lambda x: np.std(x), [2.0, 2.0, 2.0], [0, 0, 0]),
    ("sqrt var constant", lambda x: np.sqrt(np.var(x)), [2.0, 2.0, 2.0], [0, 0, 0]),
    ("sqrt std constant", lambda x: np.sqrt(np.std(x)), [2.0, 2.0, 2.0], [0, 0, 0]),
    ("std one row constant", lambda x: np.sum(np.std(x, axis=1)), [[2.0, 2.0], [1.0, 3.0]], [[0, 0], [-0.5, 0.5]]),
    ("var where NaN elsewhere", lambda x: np.var(x, where=FIRST), [1.0, 3.0, NAN], [-1, 1, 0]),
    ("mean where NaN elsewhere", lambda x: np.mean(x, where=FIRST), [1.0, 3.0, NAN], [0.5, 0.5, 0]),
    ("sum where NaN elsewhere", lambda x: np.sum(x * x, where=np.array([True, False])), [1.0, NAN], [2, 0]),
    ("clip at the edges", lambda x: np.sum(np.clip(x, -1, 1)), [-1.0, 0.0, 1.0], [0.5, 1, 0.5]),
    ("clip lo above hi", lambda x: np.sum(np.clip(x, 2.0, 1.0)), [0.0, 1.5, 3.0], [0, 0, 0]),
    ("clip between equal bounds", lambda x: np.clip(x[0], x[1], x[2]), [1.0, 1.0, 1.0], [0, 0, 0.5]),
    ("clip of complex", lambda x: np.real(np.clip(*(x * (1 + 0j)))), [1.0, 1.0, 1.0], [0, 0, 0.5]),
    ("clip below equal bounds", lambda x: np.clip(x[0], x[1], x[2]), [0.0, 1.0, 1.0], [0, 0.5, 0.5]),
    ("clip at the lower bound", lambda x: np.clip(x[0], x[1], x[2]), [1.0, 1.0, 2.0], [0.5, 0.5, 0]),
    ("clip NaN", lambda x: np.sum(np.clip(x, 0.0, 1.0)), [NAN, 0.5], [1, 1]),
    ("where log of zero", lambda x: np.sum(np.where(x > 0, np.log(x), 0.0)), [0.0, 2.0], [0, 0.5]),
    ("imag of inf", lambda x: np.sum(np.imag(x)) + x[0], [1.0, INF], [1, 0]),
    ("repeat", lambda x: np.sum(x[np.array([0, 0, 1])]), [1.0, 2.0], [2, 1]),
    ("write twice, last wins", lambda x: written(np.zeros(2) * x[0], [0, 0], x)[0] * 1, [5.0, 7.0], [0, 1]),
]  # fmt: skip


@table(CORNERS)
def test_corners(case: Any) -> None:
    _, f, x, gradient = case
    x = np.array(x)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(cr.grad(f)(x), gradient)
        pushed = [cr.jvp(f, (x,), (unit.reshape(x.shape),))[1] for unit in np.eye(x.size)]
    np.testing.assert_array_equal(np.reshape(pushed, x.shape), gradient)


@pytest.mark.parametrize("function", [np.max, np.min])
def test_extremes_of_nothing_raise(function: Any) -> None:
    with pytest.raises(ValueError, match="zero-size array"):
        function(cr.Tensor(np.zeros((0, 3))), axis=0)
    with pytest.raises(ValueError, match="identity"):
        function(cr.Tensor(np.ones(3)), where=np.array([True, False, True]))


@pytest.mark.parametrize("call", [lambda x: np.mean(x), lambda x: np.var(x), lambda x: np.mean(x, axis=0)])
def test_mean_of_nothing_warns_as_numpy(call: Any) -> None:
    for x in (np.zeros(0), np.zeros((0, 3))):
        with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning):
            value = call(x)
        with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning):
            result, pullback = cr.vjp(call, x)
        same(result, np.asarray(value)[()])
        assert pullback(np.ones(np.shape(value)))[0].shape == x.shape


def test_too_few_elements() -> None:
    for options in ({"ddof": 1}, {"correction": 2}):
        with np.errstate(invalid="ignore"), pytest.warns(RuntimeWarning, match="Degrees of freedom"):
            value, pullback = cr.vjp(lambda x, options=options: np.var(x, **options), np.array([2.0]))
        assert np.isnan(value)
        np.testing.assert_array_equal(pullback(1.0)[0], [np.nan])


def test_axis_errors_are_numpys() -> None:
    x = cr.Tensor(np.ones((2, 3)))
    for call in (np.sum, np.mean, np.prod, np.max, np.var, np.cumsum):
        with pytest.raises(np.exceptions.AxisError, match="out of bounds"):
            call(x, axis=2)
    with pytest.raises(ValueError, match="duplicate"):
        np.sum(x, axis=(0, 0))
    with pytest.raises(ValueError, match="simultaneously"):
        np.var(x, ddof=1, correction=1)


# -- out= ----------------------------------------------------------------------------------------------------------
OUT: list[tuple[Any, ...]] = [
    ("sum", lambda x, out: np.sum(x, axis=0, out=out), (3,)),
    ("mean", lambda x, out: np.mean(x, axis=0, out=out), (3,)),
    ("var", lambda x, out: np.var(x, axis=0, out=out), (3,)),
    ("max", lambda x, out: np.max(x, axis=0, out=out), (3,)),
    ("prod", lambda x, out: np.prod(x, axis=0, out=out), (3,)),
    ("ptp", lambda x, out: np.ptp(x, axis=0, out=out), (3,)),
    ("cumsum", lambda x, out: np.cumsum(x, axis=0, out=out), (2, 3)),
    ("clip", lambda x, out: np.clip(x, 0, 1, out=out), (2, 3)),
    ("round", lambda x, out: np.round(x, out=out), (2, 3)),
    ("concatenate", lambda x, out: np.concatenate([x, x], out=out), (4, 3)),
    ("stack", lambda x, out: np.stack([x, x], out=out), (2, 2, 3)),
    ("dot", lambda x, out: np.dot(x, np.ones(3), out=out), (2,)),
    ("outer", lambda x, out: np.outer(x, np.ones(3), out=out), (6, 3)),
    ("einsum", lambda x, out: np.einsum("ij->ji", x, out=out), (3, 2)),
    ("matmul", lambda x, out: np.matmul(x, np.ones((3, 2)), out=out), (2, 2)),
    ("take", lambda x, out: np.take(x, [0, 1], axis=1, out=out), (2, 2)),
    ("trace", lambda x, out: np.trace(x, out=out), ()),
    ("fix", lambda x, out: np.fix(x, out=out), (2, 3)),
]  # fmt: skip


@table(OUT)
def test_out(case: Any) -> None:
    name, f, shape = case
    x = spaced((2, 3), name)

    def through_out(x: Any) -> Any:
        out = cr.Tensor(np.zeros(shape))
        result = f(x, out)
        assert result is out
        return out * 2

    expected = np.asarray(f(x, np.zeros(shape) if shape else None)) * 2
    value, pullback = cr.vjp(through_out, x)
    np.testing.assert_array_equal(value, expected)
    ct = spaced(shape, "ct")[()]
    np.testing.assert_array_equal(pullback(ct)[0], cr.vjp(lambda x: f(x, None) * 2, x)[1](ct)[0])
    if shape:
        with pytest.raises(cr.errors.InPlaceError, match="make the target a Tensor"):
            f(cr.Tensor(x), np.zeros(shape))


# -- constructors --------------------------------------------------------------------------------------------------
def test_new_arrays_like_a_tensor() -> None:
    t = cr.Tensor(np.ones((2, 3), np.float32))
    for like in (np.zeros_like, np.ones_like, np.empty_like):
        new = like(t)
        assert isinstance(new, cr.Tensor)
        assert (new.node, new.shape, new.dtype) == (None, (2, 3), np.dtype("f4"))
        assert like(t, dtype=float, shape=(2,)).dtype == np.dtype("f8")
        assert type(like(t, dtype=int)) is np.ndarray, "no Tensor holds integers"
    assert np.full_like(t, 2).tolist() == [[2.0] * 3] * 2
    assert isinstance(np.full_like(t, 2), cr.Tensor)
    gradient = cr.grad(lambda x: np.sum(np.full_like(x, x[0] * 3)))(np.ones(4))
    np.testing.assert_array_equal(gradient, [12, 0, 0, 0])


def test_arrays_built_from_tensors_stay_tracked() -> None:
    def f(x: Any, y: Any) -> Any:
        rows = np.array([[x, 1.0], [y, x * y]])  # NumPy cannot dispatch: an object array of Tensors
        return np.array([np.sum(rows @ rows), np.sum(rows)])

    (a, b), (x, y) = cr.jvp(lambda x, y: f(x, y), (2.0, 3.0), (1.0, 0.0))[1], (2.0, 3.0)
    m, dm = np.array([[x, 1], [y, x * y]]), np.array([[1, 0], [0, y]])
    np.testing.assert_allclose([a, b], [np.sum(m @ dm + dm @ m), np.sum(dm)])
    gradient = cr.grad(lambda x: np.sum(np.asarray([v * v for v in x])))(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(gradient, [2, 4])
    assert cr.grad(lambda x: sum([x, x * x, 1.0]))(3.0) == 7
    assert cr.grad(lambda x: max([x, x * x]))(3.0) == 6
    np.testing.assert_array_equal(cr.grad(lambda x: np.sum(np.full((2, 2), x[0])))(np.ones(2)), [4, 0])
    two = [np.array([0.5, 1.5])]
    check(lambda x: np.sum(np.arctan2(np.array([x[0], x[0] * x[1]]), x[1])), two)
    check(lambda x: np.sum(np.hypot(np.array([x[0], x[1]]), 2.0)), two)
    check(lambda x: np.quantile(np.array([x[0], x[0] * x[1], 4.0]), 0.3), two)
    assert cr.grad(lambda x: np.sum(x.astype(object) ** 2))(two[0]).tolist() == [1, 3]


def test_a_dtype_may_be_said_by_its_class() -> None:
    """As NumPy's own code does; `np.dtype(np.dtypes.Float64DType)` is the dtype of Python objects."""
    check(lambda x: np.sum(np.subtract(x, x * x, dtype=np.dtypes.Float64DType)), [np.array([0.5, 1.5])])
    x = cr.Tensor([0.5, 1.5])
    assert (x * x).astype(np.dtypes.Float32DType).dtype == np.float32
    np.sum((x * x).astype(np.dtypes.Float32DType)).backward()
    assert x.grad.tolist() == [1, 3]
    assert type(x.astype(np.dtypes.Int8DType)) is np.ndarray


# -- results without a derivative ------------------------------------------------------------------------------------
POINT = np.array([[0.5, -1.0, 2.0], [0.0, 3.0, -0.5]])
WITHOUT_DERIVATIVE: dict[str, Any] = {
    "searchsorted": lambda x: np.searchsorted(np.sort(x[0]), 0.3),
    "digitize": lambda x: np.digitize(x, [0.0, 1.0]),
    "allclose": lambda x: np.allclose(x, x + 1e-12),
    "isclose": lambda x: np.isclose(x, 0.5),
    "array_equal": lambda x: np.array_equal(x, x),
    "array_equiv": lambda x: np.array_equiv(x[0], x),
    "argpartition": lambda x: np.argpartition(x, 1),
    "can_cast": lambda x: np.can_cast(x.dtype, "f4"),
    "result_type": lambda x: np.result_type(x, np.float32(1)),
    "common_type": lambda x: np.common_type(x, np.float32(1)),
    "shares_memory": lambda x: np.shares_memory(x, x),
    "may_share_memory": lambda x: np.may_share_memory(x, x),
    "lexsort": lambda x: np.lexsort((x[0], x[1])),
    "isin": lambda x: np.isin(x, [0.5, 3.0]),
    "in1d": lambda x: np.in1d(x, [0.5, 3.0]),  # noqa: NPY201 (until NumPy 2.3)
    "ix_": lambda x: np.ix_(x[0] > 0, x[1] < 1),
    "min_scalar_type": lambda x: np.min_scalar_type(x[0, 0]),
    "diag_indices_from": lambda x: np.diag_indices_from(x[:, :2]),
}
NOT_OF_FLOATS = {"packbits", "unpackbits", "ravel_multi_index", "unravel_index", "einsum_path"}
NOT_OF_FLOATS |= {"busday_count", "busday_offset", "is_busday", "datetime_as_string"}
NOT_OF_FLOATS |= {"save", "savez", "savez_compressed", "savetxt"}
DECLARED = [
    name
    for name, rule in rules.items()
    if rule.kind == "nondifferentiable" and not hasattr(rule.value, "nin") and name not in NOT_OF_FLOATS
]


@pytest.mark.parametrize("name", DECLARED)
@pytest.mark.filterwarnings("ignore:`in1d` is deprecated")
def test_results_without_derivative_are_plain(name: str) -> None:
    """Indices, truth values, properties: what NumPy returns, of the types that it returns; no Tensor anywhere."""
    f = WITHOUT_DERIVATIVE.get(name) or getattr(np, name, None) or getattr(np.linalg, name)
    found, expected = f(cr.Tensor(POINT)), f(POINT)
    found, expected = (x if isinstance(x, tuple) else (x,) for x in (found, expected))
    assert list(map(type, found)) == list(map(type, expected))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# -- refusals ------------------------------------------------------------------------------------------------------
def test_variance_in_a_complex_dtype() -> None:
    z = spaced((3,), dtype=complex)
    for f in (np.var, np.std):
        check(lambda z, f=f: f(z, dtype=complex), [z])


def test_matmul_of_nothing() -> None:
    for a, b in [((0, 0, 0), (0, 0)), ((2, 3, 0), (0, 2)), ((0, 2, 3), (3, 2)), ((2, 0, 3), (3, 0))]:
        check(np.matmul, [spaced(a), spaced(b)])


def test_numbers_have_axis_0_in_reductions() -> None:
    for f in (np.sum, np.prod, np.max, np.cumsum, np.cumprod, np.nanmean, np.ptp):
        for axis in (0, -1):
            check(lambda x, f=f, axis=axis: f(x, axis=axis), [np.float64(0.7)])
    for mode in ("raise", "wrap", "clip"):
        check(lambda x, mode=mode: np.take(x, [0, 0], 0, mode=mode), [np.float64(0.7)])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.take(x, [0], 2),
        lambda x: np.array_split(x, 2, 2),
        lambda x: np.rollaxis(x, 2),
        lambda x: np.vsplit(x[0], 1),
        lambda x: np.dsplit(x, 1),
        lambda x: np.hsplit(x[0, 0], [0]),
    ],
)
def test_axes_that_do_not_exist_raise(f: Any) -> None:
    for x in (np.ones((2, 2)), cr.Tensor(np.ones((2, 2)))):
        with pytest.raises((ValueError, IndexError)):
            f(x)


def test_the_mean_of_nothing_follows_no_tangent() -> None:
    with pytest.warns(RuntimeWarning, match="Mean of empty slice") as warned, np.errstate(invalid="ignore"):
        x = np.ones((2, 3))
        value, tangent = cr.jvp(lambda x: np.mean(x, axis=1, where=[[True], [False]]), (x,), (x,))
    assert len(warned) == 1
    np.testing.assert_array_equal(value, [1, np.nan])
    np.testing.assert_array_equal(tangent, [1, 0])


def test_products_of_complex_numbers_are_those_of_the_ufunc() -> None:
    """NumPy's `u * v` of two complex scalars rounds in another way than np.multiply(u, v)."""
    z = np.complex128(0.26 + 0.26j)
    for f in (np.multiply, np.divide, lambda a, b: a * b, lambda a, b: a / b):
        for a, b in [(z, z), (z, 3j * z), (np.complex128(0.7 + 0.1j), z)]:
            same(f(cr.Tensor(a), cr.Tensor(b)).data, f(a, b))


def test_mismatched_shapes_name_the_operation() -> None:
    x, y = cr.Tensor(np.ones((2, 3))), cr.Tensor(np.ones((4,)))
    for call, name in [
        (lambda: x + y, "add"),
        (lambda: x @ y, "matmul"),
        (lambda: np.dot(x, y), "dot"),
        (lambda: np.einsum("ij,j", x, y), "einsum"),
    ]:
        with pytest.raises(ValueError, match=rf"{name} of Tensor of shape \(2, 3\).*and Tensor of shape \(4,\)"):
            call()
    with pytest.raises(ValueError, match="different shapes"):
        np.stack([x, y])
    with pytest.raises(ValueError, match="equal division"):
        np.split(x, 2, axis=1)


def test_a_stack_is_one_operation() -> None:
    a, b = cr.Tensor(1.5), cr.Tensor(np.float32(0.5))
    y = np.stack([a, 2.0, b])
    assert y.node.rule.name == "stack"
    assert y.node.operands[0] is a.node
    assert y.node.operands[2] is b.node
    y.backward(np.array([1.0, 2.0, 3.0]))
    assert (a.grad, b.grad, b.grad.dtype) == (1.0, 3.0, np.float32)
    rows = [cr.Tensor(np.arange(3.0)), cr.Tensor(np.ones(3))]
    for axis in (0, 1, -1):
        y = np.stack(rows, axis)
        assert len(y.node.operands) == 2
        np.testing.assert_array_equal(y.data, np.stack([row.data for row in rows], axis))
