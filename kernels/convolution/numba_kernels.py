"""Convolution, compiled just in time: products of matrices on register tiles (``numba_patches``, ``numba_weights``), depthwise by lines.

The gradient of the input is a convolution of dy with the turned weights, for each phase of the stride one with the taps that reach it.
"""

import numpy as np

from ..numba_gemm import sum_run
from ..numba_support import helper, kernel
from ..numba_vectors import at, lanes, pointer
from .numba_depthwise import depthwise, depthwise_dw, depthwise_dx, plane_by_plane, plane_by_plane_dw, plane_by_plane_dx
from .numba_patches import block_images, multiply_patches, patch_space, spread, weigh_patches
from .numba_weights import weight_gradient

PLAIN = (3, 3, 1, 1, 1, 1)  # kernel, stride and dilation of depthwise convolutions that have code of their own
FEW_INPUTS = 3  # channels for which the gradient of the input goes line by line, unless its sums are not SHORT
SHORT = 1152
LONGEST = 16384  # products that are added up in float32 itself, in chunks and blocks; longer sums go into doubles by parts


@kernel
def _forward(x, w, b, biased, y, sh, sw, top, left, dh, dw, groups):
    N, C, H, W = x.shape
    O, P, Q = y.shape[1:]
    KH, KW = w.shape[2:]
    inputs, outputs = C // groups, O // groups
    k = inputs * KH * KW
    rows, length = (P - 1) * sh + (KH - 1) * dh + 1, Q + (KW - 1) * dw // sw
    image = inputs * rows * sw * length
    images = block_images(N, P * Q)
    width = 2 * lanes(pointer(y))
    workspace = np.empty(patch_space(width, images, P * Q, k), x.dtype)
    offsets = np.empty(k, np.int64)
    padded = np.empty(images * image + width, x.dtype)
    for c in range(inputs):
        for u in range(KH):
            for v in range(KW):
                offsets[(c * KH + u) * KW + v] = ((c * rows + u * dh) * sw + v * dw % sw) * length + v * dw // sw
    for n in range(0, N, images):
        count = min(images, N - n)
        for g in range(groups):
            for i in range(count):
                source = at(pointer(x), ((n + i) * C + g * inputs) * H * W)
                spread(source, inputs, H, W, top, left, sw, rows, length, at(pointer(padded), i * image))
            target = at(pointer(y), (n * O + g * outputs) * P * Q)
            multiply_patches(
                at(pointer(w), g * outputs * k), k, offsets[:0], outputs, k, pointer(padded), offsets, count, image, P, Q, sh * sw * length,
                at(pointer(b), g * outputs), biased, target, O * P * Q, True, workspace,
            )  # fmt: skip


@kernel
def _pointwise(x, w, b, biased, y, groups, turned):
    """A 1x1 convolution without padding: the image is its own patches. With the weights ``turned`` it is the gradient of the input."""
    N, C, H, W = x.shape
    O, pixels = y.shape[1], H * W
    k, outputs = C // groups, O // groups
    images = block_images(N, pixels)
    workspace = np.empty(patch_space(2 * lanes(pointer(y)), images, pixels, k), x.dtype)
    offsets, places = np.arange(k) * pixels, np.arange(k) * outputs
    w_row, places = (1, places) if turned else (k, places[:0])
    for n in range(0, N, images):
        for g in range(groups):
            source, target = at(pointer(x), (n * C + g * k) * pixels), at(pointer(y), (n * O + g * outputs) * pixels)
            multiply_patches(
                at(pointer(w), g * outputs * k), w_row, places, outputs, k, source, offsets, min(images, N - n), C * pixels, 1, pixels, 0,
                at(pointer(b), g * outputs), biased, target, O * pixels, False, workspace,
            )  # fmt: skip


@helper
def _find_taps(phase, size, stride, padding, dilation, taps):
    """Taps u that reach dx[i * stride + phase], and their distances: from dy[i + distance]. Returns their number."""
    found = 0
    for u in range(size):
        if (phase + padding - u * dilation) % stride == 0:
            taps[found, 0], taps[found, 1] = u, (phase + padding - u * dilation) // stride
            found += 1
    return found


@helper
def _interleave(part, dx, n, images, first, channels, P, Q, a, b, sh, sw):
    """Put one phase of the gradient to its places."""
    C, H, W = dx.shape[1:]
    for i in range(images * channels):
        plane = at(pointer(dx), ((n + i // channels) * C + first + i % channels) * H * W)
        for p in range(P):
            source, target = at(part, (i * P + p) * Q), at(plane, (a + p * sh) * W + b)
            for q in range(Q):
                target[q * sw] = source[q]


@kernel
def _dx(dy, w, dx, sh, sw, top, left, dh, dw, groups):
    N, C, H, W = dx.shape
    O, P, Q = dy.shape[1:]
    KH, KW = w.shape[2:]
    inputs, outputs = C // groups, O // groups
    above, before = ((KH - 1) * dh - top + sh - 1) // sh, ((KW - 1) * dw - left + sw - 1) // sw
    PH, PW = (H + sh - 1) // sh, (W + sw - 1) // sw  # of one phase, at most
    rows, length = PH + above + (sh - 1 + top) // sh, PW + before + (sw - 1 + left) // sw
    image = outputs * rows * length
    images = block_images(N, PH * PW)
    width = 2 * lanes(pointer(dx))
    padded = np.empty(images * image + width, dy.dtype)
    workspace = np.empty(patch_space(width, images, PH * PW, outputs * KH * KW) + FEW_INPUTS * (SHORT + PW), dy.dtype)
    offsets, places = np.empty(outputs * KH * KW, np.int64), np.empty(outputs * KH * KW, np.int64)
    part = np.empty(images * inputs * PH * PW if sh * sw > 1 else 0, dx.dtype)
    vertical, horizontal = np.empty((KH, 2), np.int64), np.empty((KW, 2), np.int64)
    for phase in range(sh * sw):
        a, b = phase // sw, phase % sw
        ph, pw = (H - a + sh - 1) // sh, (W - b + sw - 1) // sw
        us, vs = _find_taps(a, KH, sh, top, dh, vertical), _find_taps(b, KW, sw, left, dw, horizontal)
        k = outputs * us * vs
        for t in range(k):
            o, s, r = t // (us * vs), t // vs % us, t % vs
            offsets[t] = (o * rows + above + vertical[s, 1]) * length + before + horizontal[r, 1]
            places[t] = (o * inputs * KH + vertical[s, 0]) * KW + horizontal[r, 0]
        for n in range(0, N, images):
            count = min(images, N - n)
            for g in range(groups):
                for i in range(count):
                    source = at(pointer(dy), ((n + i) * O + g * outputs) * P * Q)
                    spread(source, outputs, P, Q, above, before, 1, rows, length, at(pointer(padded), i * image))
                weights, target, step = at(pointer(w), g * outputs * inputs * KH * KW), pointer(part), inputs * ph * pw
                if sh * sw == 1:
                    target, step = at(pointer(dx), (n * C + g * inputs) * H * W), C * H * W
                if inputs <= FEW_INPUTS and 0 < k <= SHORT:
                    weigh_patches(
                        weights, KH * KW, places, inputs, k, pointer(padded), offsets, count, image, ph, pw, length, target, step,
                        workspace,
                    )  # fmt: skip
                else:
                    multiply_patches(
                        weights, KH * KW, places[:k], inputs, k, pointer(padded), offsets, count, image, ph, pw, length,
                        weights, False, target, step, True, workspace,
                    )  # fmt: skip
                if sh * sw > 1:
                    _interleave(pointer(part), dx, n, count, g * inputs, inputs, ph, pw, a, b, sh, sw)


@kernel
def _db(dy, db):
    plane = dy.shape[2] * dy.shape[3]
    for o in range(db.size):
        total = 0.0
        for n in range(dy.shape[0]):
            total += sum_run(at(pointer(dy), (n * db.size + o) * plane), plane)
        db[o] = total


def _reach(inputs, outputs, taps, stride, padding, dilation):
    """The range of taps that meet the image at some output pixel."""
    begin = max(0, -(((outputs - 1) * stride - padding) // dilation))
    return begin, max(begin, min(taps, (inputs - 1 + padding) // dilation + 1))


def _needed(x, y, w, stride, padding, dilation):
    """None where all taps meet the image; else those that do, as slices of w, and the padding from the first of them on.

    So the room for padded lines is bounded by the sizes of input and output, whatever the dilation.
    """
    top, bottom = _reach(x[2], y[2], w[2], stride[0], padding[0], dilation[0])
    left, right = _reach(x[3], y[3], w[3], stride[1], padding[2], dilation[1])
    if bottom - top == w[2] and right - left == w[3]:
        return None
    start = (padding[0] - top * dilation[0], padding[1], padding[2] - left * dilation[1], padding[3])
    return np.s_[:, :, top:bottom, left:right], start


def _is_pointwise(x, w, y, stride, padding):
    return w.shape[2:] == stride == (1, 1) and x.shape[2:] == y.shape[2:] and padding[0] == padding[2] == 0


def _channels(array, groups, part):
    """Some channels of each group."""
    N, C, H, W = array.shape
    return np.ascontiguousarray(array.reshape(N, groups, C // groups, H, W)[:, :, part]).reshape(N, -1, H, W)


def _parts(channels, taps, dtype):
    """Slices of the channels of a group whose sums are not long, where all together are."""
    step = max(LONGEST // taps, 1)
    return [np.s_[c : c + step] for c in range(0, channels, step)] if dtype == np.float32 and step < channels else []


def conv2d(x, w, b, stride, padding, dilation, groups, y):
    if w.size == 0:
        y[...] = 0 if b is None else b[:, None, None]
        return
    if parts := _parts(w.shape[1], w.shape[2] * w.shape[3], y.dtype):
        totals = np.zeros(y.shape) if b is None else np.zeros(y.shape) + b[:, None, None]
        for part in parts:
            conv2d(_channels(x, groups, part), np.ascontiguousarray(w[:, part]), None, stride, padding, dilation, groups, y)
            totals += y
        y[...] = totals
        return
    needed = _needed(x.shape, y.shape, w.shape, stride, padding, dilation)
    if needed is not None:
        conv2d(x, np.ascontiguousarray(w[needed[0]]), b, stride, needed[1], dilation, groups, y)
        return
    geometry = (*stride, padding[0], padding[2], *dilation)
    bias, biased = w.reshape(-1) if b is None else b, b is not None
    if _is_pointwise(x, w, y, stride, padding):
        _pointwise(x, w, bias, biased, y, groups, False)
    elif w.shape[1] == 1 and groups > 1:
        if w.shape[2:] + stride + dilation == PLAIN:
            plane_by_plane(x, w, bias, biased, y, padding[0], padding[2])
        else:
            depthwise(x, w, bias, biased, y, *geometry)
    else:
        _forward(x, w, bias, biased, y, *geometry, groups)


def conv2d_backward(dy, x, w, stride, padding, dilation, groups, dx, dw, db):
    if db is not None:
        _db(dy, db)
    if w.size == 0:
        if dx is not None:
            dx[...] = 0
        return
    needed = _needed(x.shape, dy.shape, w.shape, stride, padding, dilation)
    if needed is not None:
        taps = np.ascontiguousarray(w[needed[0]])
        part = None if dw is None else np.empty_like(taps)
        conv2d_backward(dy, x, taps, stride, needed[1], dilation, groups, dx, part, None)
        if dw is not None:
            dw[...] = 0
            dw[needed[0]] = part
        return
    geometry = (*stride, padding[0], padding[2], *dilation)
    alone = w.shape[1] == 1 and groups > 1
    plain = alone and w.shape[2:] + stride + dilation == PLAIN
    outputs = w.reshape(groups, -1, *w.shape[1:])
    if dx is not None and (parts := _parts(outputs.shape[1], w.shape[2] * w.shape[3], dx.dtype)):
        totals = np.zeros(dx.shape)
        for part in parts:
            some = np.ascontiguousarray(outputs[:, part]).reshape(-1, *w.shape[1:])
            conv2d_backward(_channels(dy, groups, part), x, some, stride, padding, dilation, groups, dx, None, None)
            totals += dx
        dx[...] = totals
        dx = None
    if dx is not None:
        if _is_pointwise(x, w, dy, stride, padding):
            _pointwise(dy, w, w.reshape(-1), False, dx, groups, True)
        elif plain:
            plane_by_plane_dx(dy, w, dx, padding[0], padding[2])
        elif alone and stride == (1, 1):
            depthwise_dx(dy, w, dx, *geometry[2:])
        else:
            _dx(dy, w, dx, *geometry, groups)
    if dw is not None:
        if plain:
            plane_by_plane_dw(dy, x, dw, padding[0], padding[2])
        elif alone:
            depthwise_dw(dy, x, dw, *geometry)
        else:
            weight_gradient(dy, x, dw, *geometry, groups)
