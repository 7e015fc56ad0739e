# cython: cdivision=True
"""Convolution, compiled ahead of time: a matrix product whose right operand, the patches, is gathered panel by panel.

forward  y (O, pixels) = w (O, K) patches (K, pixels)     units of work: image, group, block of pixels
dw       dw (O, K) = dy (O, pixels) patches^T             units: group, block of K, chunk of images (a fixed number, added in order)
dx       patches' gradient = w^T dy, scattered back       units: image, group
"""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.convolution.few_channels cimport few_channels_fits, few_channels_forward
from fastnn.kernels.convolution.patches cimport Geometry, gather_patches, scatter_patches
from fastnn.kernels.convolution.winograd cimport winograd_dx, winograd_fits, winograd_forward
from fastnn.kernels.gemm cimport BLOCK_COLUMNS, BLOCK_K, TILE_BYTES, TILE_ROWS, gemm, gemm_workspace, multiply_panels, pack
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum:
    CHUNKS = 8            # partial sums of a small weight gradient
    SMALL_WEIGHTS = 65536

cdef enum:  # what is computed
    FORWARD
    DATA_GRADIENT
    WEIGHT_GRADIENT

cdef enum:  # and how
    PATCHES
    FEW_CHANNELS
    WINOGRAD


cdef Geometry _geometry(
    cnp.ndarray x, cnp.ndarray w, cnp.ndarray y, tuple stride, tuple padding, tuple dilation, Py_ssize_t groups
):
    cdef Geometry g
    g.N, g.C, g.H, g.W = length(x, 0), length(w, 1), length(x, 2), length(x, 3)
    g.O, g.P, g.Q = length(w, 0) // groups, length(y, 2), length(y, 3)
    g.KH, g.KW = length(w, 2), length(w, 3)
    g.sh, g.sw = stride
    g.top, g.left = padding[0], padding[2]
    g.dh, g.dw = dilation
    g.groups = groups
    return g


cdef int algorithm(const Geometry* g, int task) noexcept nogil:
    """How to compute one task (FORWARD, DATA_GRADIENT or WEIGHT_GRADIENT) of this shape."""
    if task == FORWARD and few_channels_fits(g):
        return FEW_CHANNELS
    if task != WEIGHT_GRADIENT and winograd_fits(g, task == DATA_GRADIENT):
        return WINOGRAD
    return PATCHES


cdef int _threads(const Geometry* g) noexcept nogil:
    return threads_for(g.N * g.groups * g.O * g.P * g.Q * g.C * g.KH * g.KW // 16)


cdef void _forward_block(
    const real* x, const real* w, const real* b, real* y, const Geometry* g, Py_ssize_t p0, Py_ssize_t count, char* workspace
) noexcept nogil:
    """One group of one image: output pixels p0 to p0 + count of every channel."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, pixels = g.P * g.Q, width = TILE_BYTES // sizeof(real)
    cdef real* packed_b = <real*> workspace
    cdef real* packed_a = packed_b + BLOCK_K * (BLOCK_COLUMNS + width)
    cdef real* tile = packed_a + BLOCK_K * TILE_ROWS
    cdef Py_ssize_t o, i, k0 = 0, depth, j
    if b != NULL or K == 0:
        for o in range(g.O):
            for i in range(count):
                y[o * pixels + p0 + i] = b[o] if b != NULL else 0
    while k0 < K:
        depth = min(<Py_ssize_t> BLOCK_K, K - k0)
        j = 0
        while j < count:
            if count - j < width:
                memset(packed_b + j * depth, 0, depth * width * sizeof(real))
            gather_patches(x, g, k0, depth, p0 + j, min(width, count - j), packed_b + j * depth, width)
            j += width
        multiply_panels(
            y + p0, pixels, w + k0, K, 1, packed_b, packed_a, tile, g.O, count, depth, b != NULL or k0 > 0
        )
        k0 += BLOCK_K


cdef int _patches_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef int threads = _threads(g), t
    cdef Py_ssize_t space = gemm_workspace(sizeof(real)), pixels = g.P * g.Q
    cdef Py_ssize_t blocks = (pixels + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    cdef Py_ssize_t units = g.N * g.groups * blocks, unit, image, block, group
    cdef char* workspace = <char*> malloc(space * threads)
    if workspace == NULL:
        return -1
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        for unit in range(units * t // threads, units * (t + 1) // threads):
            image = unit // blocks
            block = unit % blocks
            group = image % g.groups
            _forward_block(
                x + image * g.C * g.H * g.W, w + group * g.O * g.C * g.KH * g.KW, b + group * g.O if b != NULL else b,
                y + image * g.O * pixels, g, block * BLOCK_COLUMNS, min(<Py_ssize_t> BLOCK_COLUMNS, pixels - block * BLOCK_COLUMNS),
                workspace + t * space)
    free(workspace)
    return 0


cdef int _forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, FORWARD)
    if how == FEW_CHANNELS:
        return few_channels_forward(x, w, b, y, g)
    if how == WINOGRAD:
        return winograd_forward(x, w, b, y, g, 2)
    return _patches_forward(x, w, b, y, g)


def conv2d(
    cnp.ndarray x not None, cnp.ndarray w not None, cnp.ndarray b, tuple stride, tuple padding, tuple dilation, Py_ssize_t groups,
    cnp.ndarray y not None,
):
    cdef Geometry g = _geometry(x, w, y, stride, padding, dilation, groups)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _forward(<const float*> data(x), <const float*> data(w), <const float*> data(b), <float*> data(y), &g)
    else:
        with nogil:
            failed = _forward(<const double*> data(x), <const double*> data(w), <const double*> data(b), <double*> data(y), &g)
    if failed:
        raise MemoryError("conv2d: no room for the packed panels")


cdef void _dw_block(
    const real* dy, const real* x, real* dw, const Geometry* g, Py_ssize_t k0, Py_ssize_t columns, Py_ssize_t first, Py_ssize_t last,
    char* workspace,
) noexcept nogil:
    """One group: columns k0 to k0 + columns of dw, summed over images first to last. dy, x and dw begin at the group."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, pixels = g.P * g.Q, width = TILE_BYTES // sizeof(real)
    cdef real* packed_b = <real*> workspace
    cdef real* packed_a = packed_b + BLOCK_K * (BLOCK_COLUMNS + width)
    cdef real* tile = packed_a + BLOCK_K * TILE_ROWS
    cdef real* rows = <real*> (workspace + gemm_workspace(sizeof(real)))
    cdef Py_ssize_t n, p0, depth, j, o
    if first == last or pixels == 0:
        for o in range(g.O):
            memset(dw + o * K + k0, 0, columns * sizeof(real))
        return
    for n in range(first, last):
        p0 = 0
        while p0 < pixels:
            depth = min(<Py_ssize_t> BLOCK_K, pixels - p0)
            j = 0
            while j < columns:
                gather_patches(x + n * g.groups * g.C * g.H * g.W, g, k0 + j, min(width, columns - j), p0, depth, rows, depth)
                pack(rows, depth, 1, min(width, columns - j), depth, width, packed_b + j * depth)
                j += width
            multiply_panels(
                dw + k0, K, dy + n * g.groups * g.O * pixels + p0, pixels, 1, packed_b, packed_a, tile, g.O, columns, depth,
                n > first or p0 > 0)
            p0 += BLOCK_K


cdef int _patches_dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    """Small weights: the images in up to CHUNKS parts with a sum each, added in order. Large ones: one part, columns shared out."""
    cdef int threads = _threads(g), t
    cdef Py_ssize_t K = g.C * g.KH * g.KW, weights = g.groups * g.O * K, pixels = g.P * g.Q
    cdef Py_ssize_t chunks = min(<Py_ssize_t> CHUNKS, max(g.N, 1)) if weights <= SMALL_WEIGHTS else 1
    cdef Py_ssize_t blocks = (K + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    cdef Py_ssize_t units = g.groups * blocks * chunks, unit, chunk, block, group, i
    cdef Py_ssize_t space = gemm_workspace(sizeof(real)) + BLOCK_K * TILE_BYTES
    cdef char* workspace = <char*> malloc(space * threads)
    cdef real* sums = dw if chunks == 1 else <real*> malloc(chunks * weights * sizeof(real) + 1)
    if workspace == NULL or sums == NULL:
        free(workspace)
        if chunks > 1:
            free(sums)
        return -1
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        for unit in range(units * t // threads, units * (t + 1) // threads):
            chunk = unit % chunks
            block = unit // chunks % blocks
            group = unit // chunks // blocks
            _dw_block(
                dy + group * g.O * pixels, x + group * g.C * g.H * g.W, sums + chunk * weights + group * g.O * K, g,
                block * BLOCK_COLUMNS, min(<Py_ssize_t> BLOCK_COLUMNS, K - block * BLOCK_COLUMNS),
                g.N * chunk // chunks, g.N * (chunk + 1) // chunks, workspace + t * space)
    if chunks > 1:
        for i in range(weights):
            dw[i] = sums[i]
        for chunk in range(1, chunks):
            for i in range(weights):
                dw[i] += sums[chunk * weights + i]
        free(sums)
    free(workspace)
    return 0


cdef void _dx_image(const real* dy, const real* w, real* dx, const Geometry* g, char* workspace) noexcept nogil:
    """One group of one image: the gradient of a block of patches, then back to where its elements came from."""
    cdef Py_ssize_t K = g.C * g.KH * g.KW, pixels = g.P * g.Q, p0 = 0, k0, count, depth
    cdef real* block = <real*> (workspace + gemm_workspace(sizeof(real)))
    memset(dx, 0, g.C * g.H * g.W * sizeof(real))
    while p0 < pixels:
        count = min(<Py_ssize_t> BLOCK_COLUMNS, pixels - p0)
        k0 = 0
        while k0 < K:
            depth = min(<Py_ssize_t> BLOCK_K, K - k0)
            gemm(block, BLOCK_COLUMNS, w + k0, 1, K, dy + p0, pixels, 1, depth, count, g.O, False, workspace)
            scatter_patches(dx, g, k0, depth, p0, count, block, BLOCK_COLUMNS)
            k0 += BLOCK_K
        p0 += BLOCK_COLUMNS


cdef int _patches_dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef int threads = _threads(g), t
    cdef Py_ssize_t space = gemm_workspace(sizeof(real)) + BLOCK_K * BLOCK_COLUMNS * sizeof(real)
    cdef Py_ssize_t units = g.N * g.groups, unit
    cdef char* workspace = <char*> malloc(space * threads)
    if workspace == NULL:
        return -1
    for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        for unit in range(units * t // threads, units * (t + 1) // threads):
            _dx_image(
                dy + unit * g.O * g.P * g.Q, w + unit % g.groups * g.O * g.C * g.KH * g.KW, dx + unit * g.C * g.H * g.W, g,
                workspace + t * space)
    free(workspace)
    return 0


cdef int _dx(const real* dy, const real* w, real* dx, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, DATA_GRADIENT)
    if how == WINOGRAD:
        return winograd_dx(dy, w, dx, g, 2)
    return _patches_dx(dy, w, dx, g)


cdef int _dw(const real* dy, const real* x, real* dw, const Geometry* g) noexcept nogil:
    cdef int how = algorithm(g, WEIGHT_GRADIENT)
    return _patches_dw(dy, x, dw, g)


cdef void _db(const real* dy, real* db, const Geometry* g) noexcept nogil:
    """Sums over images and pixels, each row of pixels in 16 interleaved parts."""
    cdef Py_ssize_t pixels = g.P * g.Q, channels = g.groups * g.O, o, n, i, j
    cdef real parts[16]
    cdef real total
    cdef const real* row
    for o in range(channels):
        total = 0
        for n in range(g.N):
            row = dy + (n * channels + o) * pixels
            for j in range(16):
                parts[j] = 0
            for i in range(pixels // 16):
                for j in range(16):
                    parts[j] += row[16 * i + j]
            for i in range(pixels // 16 * 16, pixels):
                parts[0] += row[i]
            for j in range(1, 16):
                parts[0] += parts[j]
            total += parts[0]
        db[o] = total


cdef int _backward(const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, const Geometry* g) noexcept nogil:
    cdef int failed = 0
    if dx != NULL:
        failed |= _dx(dy, w, dx, g)
    if dw != NULL:
        failed |= _dw(dy, x, dw, g)
    if db != NULL:
        _db(dy, db, g)
    return failed


def conv2d_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray w not None, tuple stride, tuple padding, tuple dilation,
    Py_ssize_t groups, cnp.ndarray dx, cnp.ndarray dw, cnp.ndarray db,
):
    cdef Geometry g = _geometry(x, w, dy, stride, padding, dilation, groups)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _backward(
                <const float*> data(dy), <const float*> data(x), <const float*> data(w),
                <float*> data(dx), <float*> data(dw), <float*> data(db), &g)
    else:
        with nogil:
            failed = _backward(
                <const double*> data(dy), <const double*> data(x), <const double*> data(w),
                <double*> data(dx), <double*> data(dw), <double*> data(db), &g)
    if failed:
        raise MemoryError("conv2d_backward: no room for the packed panels")
