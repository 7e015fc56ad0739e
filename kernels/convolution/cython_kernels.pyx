# cython: cdivision=True
"""Convolution, compiled ahead of time: for each task and shape one of several algorithms."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.direct cimport direct_dx, direct_forward
from fastnn.kernels.convolution.bias_gradient cimport bias_gradient
from fastnn.kernels.convolution.depthwise cimport depthwise_fits, depthwise_forward
from fastnn.kernels.convolution.depthwise_backward cimport depthwise_backward
from fastnn.kernels.convolution.few_channels cimport few_channels_fits, few_channels_forward
from fastnn.kernels.convolution.few_channels_dw cimport few_channels_dw
from fastnn.kernels.convolution.few_channels_dx cimport few_channels_dx
from fastnn.kernels.convolution.few_pixels cimport few_pixels_fits, few_pixels_forward
from fastnn.kernels.convolution.geometry cimport LONGEST, Geometry
from fastnn.kernels.convolution.images cimport images_dx, images_fit, images_forward
from fastnn.kernels.convolution.images_dw cimport images_dw, images_dw_fits
from fastnn.kernels.convolution.pointwise cimport pointwise_dw, pointwise_dx, pointwise_fits, pointwise_forward
from fastnn.kernels.convolution.weight_gradient cimport weight_gradient
from fastnn.kernels.convolution.winograd cimport winograd_dx, winograd_forward
from fastnn.kernels.convolution.winograd_weights cimport winograd_fits
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel

cdef extern from "convolution/choices.h" nogil:
    const unsigned char choices "fastnn_convolution_choices"[4][4][4][3]

cdef enum:  # what is computed
    FORWARD
    DATA_GRADIENT
    WEIGHT_GRADIENT

cdef enum:  # and how
    DIRECT
    FEW_CHANNELS
    DEPTHWISE
    POINTWISE
    WINOGRAD
    WINOGRAD_FAST
    IMAGES
    FEW_PIXELS
    ALGORITHMS

NAMES = ("direct", "few_channels", "depthwise", "pointwise", "winograd", "winograd_fast", "images", "few_pixels")

cdef bint fast = False
cdef int forced = ALGORITHMS


cdef inline Geometry _geometry(const Argument* x, const Argument* w, const Argument* y, const Argument* attributes) noexcept nogil:
    """``attributes`` are stride, padding, dilation and groups."""
    cdef Geometry g
    g.groups = attributes[3].integer
    g.N, g.C, g.H, g.W = x.dims[0], w.dims[1], x.dims[2], x.dims[3]
    g.O, g.P, g.Q = w.dims[0] // g.groups, y.dims[2], y.dims[3]
    g.KH, g.KW = w.dims[2], w.dims[3]
    g.sh, g.sw = attributes[0].dims[0], attributes[0].dims[1]
    g.top, g.left = attributes[1].dims[0], attributes[1].dims[2]
    g.dh, g.dw = attributes[2].dims[0], attributes[2].dims[1]
    return g


cdef bint fits(const Geometry* g, int task, int how) noexcept nogil:
    """Whether an algorithm can compute this task of this shape: long sums go into doubles in DIRECT alone."""
    cdef Py_ssize_t channels = g.C if task == FORWARD else g.O  # whose products are added up
    if how == FEW_CHANNELS:
        # The data gradient adds up parts of two chunks.
        return few_channels_fits(g) and (task != DATA_GRADIENT or g.O * g.KH * g.KW <= 2 * LONGEST)
    if how == FEW_PIXELS:
        return task == FORWARD and few_pixels_fits(g)
    if how == IMAGES:
        return images_dw_fits(g) if task == WEIGHT_GRADIENT else images_fit(g, task == DATA_GRADIENT)
    if how == DEPTHWISE:
        return depthwise_fits(g)
    if how == POINTWISE:
        # Parts of LONGEST products have sums of their own.
        return pointwise_fits(g, task == WEIGHT_GRADIENT) and (task == WEIGHT_GRADIENT or channels <= 8 * LONGEST)
    if how == WINOGRAD or how == WINOGRAD_FAST:
        if how == WINOGRAD_FAST and g.dh * g.dw > 1:
            return False
        return task != WEIGHT_GRADIENT and winograd_fits(g, task == DATA_GRADIENT) and channels <= LONGEST
    return True


cdef Py_ssize_t place(Py_ssize_t value, Py_ssize_t bound, Py_ssize_t places) noexcept nogil:
    """In which of the places, divided by the bound and every fourfold of it, a value falls."""
    cdef Py_ssize_t found = 0
    while found < places - 1 and value >= bound:
        bound *= 4
        found += 1
    return found


cdef int choice(const Geometry* g, int table) noexcept nogil:
    """What was measured to be the fastest: for 64, 128, 256 and 512 channels, sides of 7, 14, 28 and 56, batches of 1, 4 and 16."""
    return choices[table][place(g.C * g.O, 64 * 128, 4)][place(g.P * g.Q, 7 * 14, 4)][place(g.N, 2, 3)]


cdef int algorithm(const Geometry* g, int task) noexcept nogil:
    """How to compute one task (FORWARD, DATA_GRADIENT or WEIGHT_GRADIENT) of this shape."""
    if forced < ALGORITHMS and fits(g, task, forced):
        return forced
    if fits(g, task, DEPTHWISE):
        return DEPTHWISE
    if fits(g, task, IMAGES):
        return IMAGES
    if fits(g, task, FEW_PIXELS):
        return FEW_PIXELS
    if fits(g, task, FEW_CHANNELS):
        return FEW_CHANNELS
    if fits(g, task, POINTWISE):
        return POINTWISE
    if fits(g, task, WINOGRAD_FAST):
        return choice(g, 2 * fast + task)
    if fits(g, task, WINOGRAD):
        return WINOGRAD
    return DIRECT


def set_fast(bint on):
    """Allow algorithms whose error leaves the bound of a sum of products."""
    global fast
    fast = on


def force(str name):
    """Compute by the algorithm of that name, one of NAMES, wherever it fits; None gives the choice back. For tests and measurements."""
    global forced
    forced = ALGORITHMS if name is None else NAMES.index(name)


def algorithm_of(str name, tuple arrays, tuple attributes, tuple outputs):
    """By which of NAMES a call is computed, for people; arrays and outputs are whatever has a shape, or None."""
    cdef Geometry g
    cdef object x, w, y
    if name == "conv2d":
        x, w, y = arrays[0], arrays[1], outputs[0]
    else:
        y, x, w = arrays
    stride, padding, dilation, g.groups = attributes
    g.N, g.C, g.H, g.W = x.shape[0], w.shape[1], x.shape[2], x.shape[3]
    g.O, g.P, g.Q = w.shape[0] // g.groups, y.shape[2], y.shape[3]
    g.KH, g.KW = w.shape[2], w.shape[3]
    g.sh, g.sw = stride
    g.top, g.left = padding[0], padding[2]
    g.dh, g.dw = dilation
    if name == "conv2d":
        return NAMES[algorithm(&g, FORWARD)]
    if algorithm(&g, DATA_GRADIENT) == DEPTHWISE:
        return NAMES[DEPTHWISE]
    tasks = [task for task, output in zip((DATA_GRADIENT, WEIGHT_GRADIENT), outputs) if output is not None]
    return ", ".join(dict.fromkeys([NAMES[algorithm(&g, task)] for task in tasks]))


cdef int _forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, FORWARD)
    if how == FEW_CHANNELS:
        return few_channels_forward(x, w, b, y, g)
    if how == FEW_PIXELS:
        return few_pixels_forward(x, w, b, y, g)
    if how == IMAGES:
        return images_forward(x, w, b, y, g)
    if how == DEPTHWISE:
        return depthwise_forward(x, w, b, y, g)
    if how == POINTWISE:
        return pointwise_forward(x, w, b, y, g)
    if how == WINOGRAD or how == WINOGRAD_FAST:
        return winograd_forward(x, w, b, y, g, 2 if how == WINOGRAD else 4)
    return direct_forward(x, w, b, y, g)


cdef int conv2d(const Argument* a) noexcept nogil:
    cdef Geometry g = _geometry(a, a + 1, a + 7, a + 3)
    return _forward(a[0].input, a[1].input, a[2].input, a[7].output, &g)


cdef int _dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, DATA_GRADIENT)
    if how == FEW_CHANNELS:
        return few_channels_dx(dy, w, dx, g)
    if how == IMAGES:
        return images_dx(dy, w, dx, g)
    if how == POINTWISE:
        return pointwise_dx(dy, w, dx, g)
    if how == WINOGRAD or how == WINOGRAD_FAST:
        return winograd_dx(dy, w, dx, g, 2 if how == WINOGRAD else 4)
    return direct_dx(dy, w, dx, g)


cdef int _dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, WEIGHT_GRADIENT)
    if how == FEW_CHANNELS:
        return few_channels_dw(dy, x, dw, g)
    if how == IMAGES:
        return images_dw(dy, x, dw, g)
    if how == POINTWISE:
        return pointwise_dw(dy, x, dw, g)
    return weight_gradient(dy, x, dw, g)


cdef int _backward(const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, const Geometry* g) noexcept nogil:
    cdef int failed = 0
    if algorithm(g, DATA_GRADIENT) == DEPTHWISE:
        return depthwise_backward(dy, x, w, dx, dw, db, g)
    if dx != NULL:
        failed |= _dx(dy, w, dx, g)
    if dw != NULL:
        failed |= _dw(dy, x, dw, g)
    if db != NULL:
        bias_gradient(dy, db, g)
    return failed


cdef int conv2d_backward(const Argument* a) noexcept nogil:
    cdef Geometry g = _geometry(a + 1, a + 2, a, a + 3)
    return _backward(a[0].input, a[1].input, a[2].input, a[7].output, a[8].output, a[9].output, &g)


kernel(globals(), "conv2d(x, w, b?, tuple stride, tuple padding, tuple dilation, int groups, y)",
       <Entry> conv2d[Argument32], <Entry> conv2d[Argument64])
kernel(globals(), "conv2d_backward(dy, x, w, tuple stride, tuple padding, tuple dilation, int groups, dx?, dw?, db?)",
       <Entry> conv2d_backward[Argument32], <Entry> conv2d_backward[Argument64])
