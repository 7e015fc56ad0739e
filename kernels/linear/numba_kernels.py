"""Products of matrices, compiled just in time.

A constant trip count makes Numba emit scalar code, so there is no register tile here: rows of the result are built up from whole
rows of the right operand, four at a time, which vectorises and reads every row of the result a quarter as often.
"""

import numpy as np

from ..numba_support import kernel, reassociating_kernel

COLUMNS = 512  # columns of the right operand that are walked at a time: four rows of them stay in L1
CHUNK = 64  # of k: its rows of the right operand stay in L2


@kernel
def transpose(a):
    rows, columns = a.shape
    result = np.empty((columns, rows), a.dtype)
    for i in range(0, rows, 16):
        for j in range(0, columns, 16):
            for ii in range(i, min(i + 16, rows)):
                for jj in range(j, min(j + 16, columns)):
                    result[jj, ii] = a[ii, jj]
    return result


@kernel
def _add_rows(y, a0, a1, a2, a3, b0, b1, b2, b3):
    for j in range(y.size):
        y[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]


@kernel
def _add_row(y, a, b):
    for j in range(y.size):
        y[j] += a * b[j]


@kernel
def _clear(y):
    flat = y.reshape(y.size)
    for i in range(flat.size):
        flat[i] = 0


@kernel
def accumulate(a, b, y):
    """y += a b, in chunks of k with a sum of their own: long float32 sums keep their digits."""
    rows, depth = a.shape
    scratch = np.empty(COLUMNS, y.dtype)
    for j in range(0, y.shape[1], COLUMNS):
        for p in range(0, depth, CHUNK):
            end = min(p + CHUNK, depth)
            for i in range(rows):
                row = y[i, j : j + COLUMNS]
                total = scratch[: row.size]
                _clear(total)
                k = p
                while k + 4 <= end:
                    _add_rows(
                        total, a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3],
                        b[k, j : j + COLUMNS], b[k + 1, j : j + COLUMNS], b[k + 2, j : j + COLUMNS], b[k + 3, j : j + COLUMNS],
                    )  # fmt: skip
                    k += 4
                while k < end:
                    _add_row(total, a[i, k], b[k, j : j + COLUMNS])
                    k += 1
                _add_row(row, y.dtype.type(1), total)


@reassociating_kernel
def dot(a, b):
    total = a.dtype.type(0)
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@kernel
def _linear(x, w, y):
    """y += x w^T"""
    if x.shape[0] < 4:
        for n in range(x.shape[0]):
            for o in range(w.shape[0]):
                y[n, o] += dot(x[n], w[o])
    else:
        accumulate(x, transpose(w), y)


@kernel
def _fill_rows(y, b):
    for n in range(y.shape[0]):
        row = y[n]
        for o in range(row.size):
            row[o] = b[o]


@kernel
def _sum_rows(dy, db):
    for n in range(dy.shape[0]):
        _add_row(db, dy.dtype.type(1), dy[n])


def linear(x, w, b, y):
    if b is None:
        _clear(y)
    else:
        _fill_rows(y, b)
    _linear(x, w, y)


def linear_backward(dy, x, w, dx, dw, db):
    if dx is not None:
        _clear(dx)
        accumulate(dy, w, dx)
    if dw is not None:
        _clear(dw)
        accumulate(transpose(dy), x, dw)
    if db is not None:
        _clear(db)
        _sum_rows(dy, db)


@kernel
def matmul(a, b, y):
    _clear(y)
    for i in range(a.shape[0]):
        accumulate(a[i], b[i], y[i])


@kernel
def _matmul_da(dy, b, da):
    _clear(da)
    for i in range(b.shape[0]):
        accumulate(dy[i], transpose(b[i]), da[i])


@kernel
def _matmul_db(dy, a, db):
    _clear(db)
    for i in range(a.shape[0]):
        accumulate(transpose(a[i]), dy[i], db[i])


def matmul_backward(dy, a, b, da, db):
    if da is not None:
        _matmul_da(dy, b, da)
    if db is not None:
        _matmul_db(dy, a, db)
