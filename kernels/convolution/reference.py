"""Convolution in plain NumPy: one product for each tap (k, l) of the kernel, in double, as sums over many pixels are long."""

import numpy as np


def _patches(xp, w, size, stride, dilation, groups):
    """For each tap, what it sees in every place: a view (N, groups, C/groups, OH, OW) of the padded input."""
    N, C, height, width = xp.shape
    grouped = xp.reshape(N, groups, C // groups, height, width)
    (sh, sw), (dh, dw), (OH, OW) = stride, dilation, size
    for k, l in np.ndindex(w.shape[2:]):
        rows = slice(k * dh, k * dh + (OH - 1) * sh + 1, sh)
        columns = slice(l * dw, l * dw + (OW - 1) * sw + 1, sw)
        yield k, l, grouped[:, :, :, rows, columns]


def _by_group(w, groups):
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).astype(np.float64)


def _pad(x, padding):
    top, bottom, left, right = padding
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))


def conv2d(x, w, b, stride, padding, dilation, groups):
    xp = _pad(x, padding)
    size = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(xp.shape[2:], w.shape[2:], stride, dilation, strict=True)]
    wg = _by_group(w, groups)
    y = np.zeros((x.shape[0], *wg.shape[:2], *size))
    for k, l, patch in _patches(xp, w, size, stride, dilation, groups):
        y += np.einsum("goc,ngchw->ngohw", wg[..., k, l], patch, optimize=True)
    y = y.reshape(x.shape[0], w.shape[0], *size)
    return ((y if b is None else y + b[:, None, None]).astype(x.dtype),)


def conv2d_backward(dy, x, w, stride, padding, dilation, groups):
    xp, wg = _pad(x, padding), _by_group(w, groups)
    size = dy.shape[2:]
    dyg = dy.reshape(dy.shape[0], *wg.shape[:2], *size).astype(np.float64)
    dxp, dw = np.zeros_like(xp), np.empty_like(wg)
    for k, l, patch in _patches(xp, w, size, stride, dilation, groups):
        dw[..., k, l] = np.einsum("ngohw,ngchw->goc", dyg, patch, optimize=True)
    for k, l, patch in _patches(dxp, w, size, stride, dilation, groups):
        patch += np.einsum("goc,ngohw->ngchw", wg[..., k, l], dyg, optimize=True)
    dx = dxp[:, :, padding[0] : padding[0] + x.shape[2], padding[2] : padding[2] + x.shape[3]]
    return dx.astype(x.dtype), dw.reshape(w.shape).astype(x.dtype), dyg.sum(axis=(0, 3, 4)).reshape(-1).astype(x.dtype)
