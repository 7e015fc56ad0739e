"""Products of matrices, compiled just in time: register tiles of explicit vectors, and dot products for few rows.

One jitted product serves every transposition of its operands, so that it is compiled once for each dtype.
"""

import numpy as np

from ..elementary_numba import sigmoid, tanh
from ..numba_gemm import add_sums, gemm, gemm_space, weighted_sum
from ..numba_rows import DOTS, dots
from ..numba_support import kernel
from ..numba_tiles import CHUNK
from ..numba_vectors import add, at, lanes, load_part, pointer, store_part, zeros

LONGEST = 8192  # products that are added up in one go, in chunks and blocks: sums of so many join in double, or a second time
FEW_ROWS = 4  # with fewer rows a tile is mostly empty, and packing the weights costs more than their product


@kernel
def _products(a, a_transposed, b, b_transposed, y, accumulate):
    """y[i] = or += a[i] b[i]"""
    batch, m, n = y.shape
    k = a.shape[1] if a_transposed else a.shape[2]
    workspace = np.empty(gemm_space(2 * lanes(pointer(y)), n, k), y.dtype)
    a_row, a_k = (1, m) if a_transposed else (k, 1)
    b_k, b_column = (1, k) if b_transposed else (n, 1)
    totals = np.zeros(m * n if k > LONGEST else 0)
    for i in range(batch):
        target = at(pointer(y), i * m * n)
        for p in range(0, max(k, 1), LONGEST):
            left, right = at(pointer(a), i * m * k + p * a_k), at(pointer(b), i * k * n + p * b_k)
            add_to_y, depth = accumulate and p == 0, min(LONGEST, k - p)
            gemm(target, n, left, a_row, a_k, right, b_k, b_column, m, n, depth, add_to_y, workspace)
            add_sums(pointer(totals), target, totals.size)
        for j in range(totals.size):
            target[j] = totals[j]
            totals[j] = 0


def _product(a, a_transposed, b, b_transposed, y, accumulate):
    """y = or += a b"""
    _products(a[None], a_transposed, b[None], b_transposed, y[None], accumulate)


@kernel
def _dot_rows(x, w, b, biased, y):
    """y = x w^T + b for few rows: w is read once for each of them."""
    outputs, k = w.shape
    step, chunk = min(DOTS, lanes(pointer(y))), CHUNK * lanes(pointer(y))
    for o in range(0, outputs, step):
        count = min(step, outputs - o)
        for n in range(x.shape[0]):
            total = zeros(pointer(y))
            for first in range(0, k, LONGEST):
                part, end = zeros(pointer(y)), min(first + LONGEST, k)
                for begin in range(first, end, chunk):
                    left, right = at(pointer(x), n * k + begin), at(pointer(w), o * k + begin)
                    part = add(part, dots(min(chunk, end - begin), left, right, k, count))
                total = add(total, part)
            if biased:
                total = add(total, load_part(pointer(b), o, count))
            store_part(pointer(y), n * outputs + o, total, count)


@kernel
def _weighted_rows(dy, w, dx):
    """dx = dy w for few rows"""
    outputs, inputs = w.shape
    totals = np.empty(inputs)
    for n in range(dy.shape[0]):
        weighted_sum(
            at(pointer(dy), n * outputs), 1, pointer(w), inputs, outputs, inputs, at(pointer(dx), n * inputs), pointer(totals)
        )


@kernel
def _outer(dy, x, dw):
    """dw = dy^T x for few rows"""
    outputs, inputs = dw.shape
    totals = np.empty(inputs)
    for o in range(outputs):
        target = at(pointer(dw), o * inputs)
        weighted_sum(at(pointer(dy), o), outputs, pointer(x), inputs, dy.shape[0], inputs, target, pointer(totals))


@kernel
def _sum_rows(dy, db):
    one, totals = np.ones(1, dy.dtype), np.empty(db.size)
    weighted_sum(pointer(one), 0, pointer(dy), db.size, dy.shape[0], db.size, pointer(db), pointer(totals))


@kernel
def _fill_rows(y, b):
    for n in range(y.shape[0]):
        row = y[n]
        for o in range(row.size):
            row[o] = b[o]


def linear(x, w, b, y):
    if x.shape[0] < FEW_ROWS:
        _dot_rows(x, w, w.reshape(-1) if b is None else b, b is not None, y)
        return
    if b is not None:
        _fill_rows(y, b)
    _product(x, False, w, True, y, b is not None)


def linear_backward(dy, x, w, dx, dw, db):
    few = x.shape[0] < FEW_ROWS
    if dx is not None:
        _weighted_rows(dy, w, dx) if few else _product(dy, False, w, False, dx, False)
    if dw is not None:
        _outer(dy, x, dw) if few else _product(dy, True, x, False, dw, False)
    if db is not None:
        _sum_rows(dy, db)


@kernel
def _rectify(y):
    flat = y.reshape(y.size)
    for i in range(flat.size):
        flat[i] = 0 if flat[i] <= 0 else flat[i]


@kernel
def _apply_sigmoid(y):
    flat = y.reshape(y.size)
    for i in range(flat.size):
        flat[i] = sigmoid(flat[i])


@kernel
def _apply_tanh(y):
    flat = y.reshape(y.size)
    for i in range(flat.size):
        flat[i] = tanh(flat[i])


_ACTIVATIONS = {"relu": _rectify, "sigmoid": _apply_sigmoid, "tanh": _apply_tanh}


def linear_activated(x, w, b, activation, y):
    linear(x, w, b, y)
    if activation != "identity":
        _ACTIVATIONS[activation](y)


def linear_activated_backward(dy, x, w, y, activation, dx, dw, db):
    if activation == "relu":
        dy = dy * (y > 0)
    elif activation == "sigmoid":
        dy = dy * (y * (1 - y))
    elif activation == "tanh":
        dy = dy * (1 - y * y)
    linear_backward(dy, x, w, dx, dw, db)


@kernel
def _pack(w, panels):
    panel = panels.shape[2]
    for p in range(panels.shape[0]):
        for i in range(panels.shape[1]):
            for j in range(panel):
                o = p * panel + j
                panels[p, i, j] = w[o, i] if o < w.shape[0] else 0


@kernel
def _unpack(panels, w):
    panel = panels.shape[2]
    for o in range(w.shape[0]):
        for i in range(w.shape[1]):
            w[o, i] = panels[o // panel, i, o % panel]


def pack_panels(w, panels):
    _pack(w, panels)


def linear_packed(x, panels, b, out_features, activation, y):
    w = np.empty((out_features, panels.shape[1]), panels.dtype)
    _unpack(panels, w)
    linear_activated(x, w, b, activation, y)


def matmul(a, b, y):
    _products(a, False, b, False, y, False)


def matmul_backward(dy, a, b, da, db):
    if da is not None:
        _products(dy, False, b, True, da, False)
    if db is not None:
        _products(a, True, dy, False, db, False)
