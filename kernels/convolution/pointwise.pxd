# cython: cdivision=True
"""1x1 convolution of stride 1 and its gradients: matrix products on the planes of each image where they lie.

y (O, pixels) = w (O, C) x (C, pixels)        dx (C, pixels) = w^T (C, O) dy (O, pixels)        dw (O, C) = dy (O, pixels) x^T (pixels, C)
"""

from cython.parallel cimport prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.gemm cimport BLOCK_COLUMNS, gemm_workspace, product
from fastnn.kernels.parallel cimport threads_for


cdef enum:
    MOST_PIXELS = 65536    # of the batch, up to which dw may be summed in float32


cdef inline bint pointwise_fits(const Geometry* g, bint weights) noexcept nogil:
    if weights and (g.N * g.P * g.Q > MOST_PIXELS or g.N * g.P * g.Q == 0):
        return False
    return g.KH == 1 and g.KW == 1 and g.sh == 1 and g.sw == 1 and g.P == g.H and g.Q == g.W and g.top == 0 and g.left == 0


cdef inline void pointwise_block(
    const real* x, const real* w, const real* b, real* y, Py_ssize_t pixels, Py_ssize_t C, Py_ssize_t O, Py_ssize_t w_row,
    Py_ssize_t w_channel, Py_ssize_t count, char* space,
) noexcept nogil:
    """``count`` pixels of one group of one image."""
    cdef Py_ssize_t o, i
    if b != NULL:
        for o in range(O):
            for i in range(count):
                y[o * pixels + i] = b[o]
    product(y, pixels, y if b != NULL else <real*> NULL, pixels, w, w_row, w_channel, x, pixels, 1, O, count, C, space)


cdef inline int pointwise(
    const real* x, const real* w, const real* b, real* y, const Geometry* g, Py_ssize_t C, Py_ssize_t O, Py_ssize_t w_row,
    Py_ssize_t w_channel,
) noexcept nogil:
    cdef int threads = threads_for(g.N * g.groups * g.H * g.W * C * O // 16), t
    cdef Py_ssize_t pixels = g.H * g.W, blocks = (pixels + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS, units, unit, image, p
    cdef Py_ssize_t space = gemm_workspace(sizeof(real))
    cdef char* memory = workspace(threads * space)
    if memory == NULL:
        return -1
    units = g.N * g.groups * blocks
    if threads == 1:
        for unit in range(units):
            image = unit // blocks
            p = unit % blocks * BLOCK_COLUMNS
            pointwise_block(
                x + image * C * pixels + p, w + image % g.groups * O * C, b + image % g.groups * O if b != NULL else b,
                y + image * O * pixels + p, pixels, C, O, w_row, w_channel, min(<Py_ssize_t> BLOCK_COLUMNS, pixels - p), memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                image = unit // blocks
                p = unit % blocks * BLOCK_COLUMNS
                pointwise_block(
                    x + image * C * pixels + p, w + image % g.groups * O * C, b + image % g.groups * O if b != NULL else b,
                    y + image * O * pixels + p, pixels, C, O, w_row, w_channel, min(<Py_ssize_t> BLOCK_COLUMNS, pixels - p),
                    memory + t * space)
    workspace_done()
    return 0


cdef inline int pointwise_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    return pointwise(x, w, b, y, g, g.C, g.O, g.C, 1)


cdef inline int pointwise_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef const real* none = NULL
    return pointwise(dy, w, none, dx, g, g.O, g.C, 1, g.C)


cdef inline void weight_rows(
    const real* dy, const real* x, real* dw, const Geometry* g, Py_ssize_t o, Py_ssize_t rows, char* space
) noexcept nogil:
    """Some output channels of one group, at which dy, x and dw begin; image after image."""
    cdef Py_ssize_t pixels = g.P * g.Q, n
    for n in range(g.N):
        product(
            dw + o * g.C, g.C, dw + o * g.C if n > 0 else <real*> NULL, g.C, dy + (n * g.groups * g.O + o) * pixels, pixels, 1,
            x + n * g.groups * g.C * pixels, 1, pixels, rows, g.C, pixels, space)


cdef inline int pointwise_dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef int threads = threads_for(g.N * g.groups * g.H * g.W * g.C * g.O // 16), t
    cdef Py_ssize_t pixels = g.P * g.Q, step = (g.O + threads - 1) // threads, blocks = (g.O + step - 1) // max(step, 1)
    cdef Py_ssize_t units = g.groups * blocks, unit, group, o, space = gemm_workspace(sizeof(real))
    cdef char* memory = workspace(threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        for group in range(g.groups):
            weight_rows(dy + group * g.O * pixels, x + group * g.C * pixels, dw + group * g.O * g.C, g, 0, g.O, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            for unit in range(units * t // threads, units * (t + 1) // threads):
                group = unit // blocks
                o = unit % blocks * step
                weight_rows(
                    dy + group * g.O * pixels, x + group * g.C * pixels, dw + group * g.O * g.C, g, o, min(step, g.O - o),
                    memory + t * space)
    workspace_done()
    return 0
