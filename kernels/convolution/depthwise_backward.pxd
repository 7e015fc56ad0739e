"""Gradients of a depthwise convolution, plane by plane: dx with the forward pass's tiles, dw and db side by side.

dw and db have a vector of partial sums for each tap: a float32 sum of 128 equal products may err by 16 eps, so at most BAND_UNITS
vectors are added up in a register, BANDS of those in memory, and the lanes and the rest in double.
"""

from cython.parallel cimport prange
from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.bias_gradient cimport sum_row_f32, sum_row_f64
from fastnn.kernels.convolution.blocks cimport SPAN_BYTES, round_up
from fastnn.kernels.convolution.depthwise cimport (
    BAND_ROWS, BAND_UNITS, MOST_KERNEL, Pass, convolve_batch, convolve_strip, depthwise_threads, dx_pass, fill_band, fill_batch,
    forward_pass,
)
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done

cdef extern from "simd/depthwise.h" nogil:
    void band_products_f32 "fastnn_band_products_f32"(
        Py_ssize_t kernel, Py_ssize_t stride, const float* x, Py_ssize_t pitch, const Py_ssize_t* at, const float* dy,
        Py_ssize_t dy_row, Py_ssize_t rows, Py_ssize_t columns, float* sums) noexcept
    void band_products_f64 "fastnn_band_products_f64"(
        Py_ssize_t kernel, Py_ssize_t stride, const double* x, Py_ssize_t pitch, const Py_ssize_t* at, const double* dy,
        Py_ssize_t dy_row, Py_ssize_t rows, Py_ssize_t columns, double* sums) noexcept
    void fold_sums_f32 "fastnn_fold_sums_f32"(float* sums, Py_ssize_t count, double* total) noexcept
    void fold_sums_f64 "fastnn_fold_sums_f64"(double* sums, Py_ssize_t count, double* total) noexcept

cdef enum:
    BANDS = 16
    CHANNELS = 16   # whose sums are kept side by side while the images pass

cdef struct Sums:                 # of one channel
    Py_ssize_t taps, bands        # vectors less one; how many bands were added up
    double* total


cdef inline void fold(real* vectors, Sums* sums) noexcept nogil:
    sums.bands = 0
    if real is float:
        fold_sums_f32(vectors, sums.taps + 1, sums.total)
    else:
        fold_sums_f64(vectors, sums.taps + 1, sums.total)


cdef inline void add_band(
    const real* dy, const real* source, const Pass* s, Py_ssize_t rows, Py_ssize_t columns, real* vectors, Sums* sums
) noexcept nogil:
    """Whole vectors of columns first, then what is left of a row."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), q = 0, n
    while q < columns:
        n = min(max((columns - q) // lanes, 1), BAND_UNITS // BAND_ROWS) * lanes
        if sums.bands == BANDS:
            fold(vectors, sums)
        sums.bands += 1
        if real is float:
            band_products_f32(s.K, s.sh, source + q, s.block.pitch, s.at, dy + q, s.Q, rows, min(n, columns - q), vectors)
        else:
            band_products_f64(s.K, s.sh, source + q, s.block.pitch, s.at, dy + q, s.Q, rows, min(n, columns - q), vectors)
        q += n


cdef inline void add_plane(
    const real* dy, const real* x, const Pass* s, real* buffer, real* vectors, Sums* sums
) noexcept nogil:
    """The plane's part in dw and db."""
    cdef Py_ssize_t p = 0, q, r, rows, n, filled
    while p < s.P:
        rows = min(s.block.rows, s.P - p)
        q = 0
        while q < s.Q:
            r = filled = 0
            while r < rows:
                n = min(<Py_ssize_t> BAND_ROWS, rows - r)
                filled = fill_band(buffer, x, s, p, q, filled, r + n)
                add_band(
                    dy + (p + r) * s.Q + q, buffer + r * s.sh * s.block.pitch, s, n, min(s.block.columns, s.Q - q), vectors, sums)
                r += n
            q += s.block.columns
        p += s.block.rows


cdef inline void backward_in_place(
    const real* dy, const real* x, const real* turned, real* dx, bint products, const Pass* back, real* vectors, Sums* sums
) noexcept nogil:
    """dx of a plane, and its part in dw and db: every product of dx's strips is one of dw too, with x in place of the weight."""
    cdef Py_ssize_t block, q
    cdef const real* other = x if products else <const real*> NULL
    for block in range(back.blocks):
        q = 0
        while q < back.Q:
            if products and sums.bands == BANDS:
                fold(vectors, sums)
            sums.bands += 1
            convolve_strip(dy, turned, 0, dx, other, back, block, q, vectors)
            q += SPAN_BYTES // sizeof(real)
    if products:
        if real is float:
            sums.total[sums.taps] += sum_row_f32(dy, back.H * back.W)
        else:
            sums.total[sums.taps] += sum_row_f64(dy, back.H * back.W)


cdef inline void add_batch(
    const real* dy, const real* x, const Pass* s, real* buffer, real* vectors, Sums* sums, Py_ssize_t count
) noexcept nogil:
    """At most s.batch planes, each with sums of its own."""
    cdef Py_ssize_t i, lanes = SPAN_BYTES // sizeof(real)
    if s.batch == 1:
        add_plane(dy, x, s, buffer, vectors, sums)
        return
    fill_batch(buffer, x, s, count)
    for i in range(count):
        add_band(dy + i * s.P * s.Q, buffer + i * s.block.plane, s, s.P, s.Q, vectors + i * (sums.taps + 1) * lanes, sums + i)


cdef inline Py_ssize_t _sums_bytes(const Geometry* g) noexcept nogil:
    return round_up(CHANNELS * (g.KH * g.KW + 1) * (SPAN_BYTES + sizeof(double)), 64)


cdef inline void add_images(
    const real* dy, const real* x, const real* turned, real* dx, bint products, const Geometry* g, const Pass* forward,
    const Pass* back, Py_ssize_t first, Py_ssize_t count, real* buffer, real* vectors, Sums* sums,
) noexcept nogil:
    """dx of some channels in every image, and their sums."""
    cdef Py_ssize_t taps = g.KH * g.KW, lanes = SPAN_BYTES // sizeof(real), n, c, plane, many
    cdef Py_ssize_t batch = min(forward.batch, back.batch)
    for n in range(g.N):
        c = 0
        while c < count:
            plane = n * g.groups + first + c
            many = min(batch, count - c)
            if back.in_place:
                backward_in_place(
                    dy + plane * g.P * g.Q, x + plane * g.H * g.W, turned + c * taps, dx + plane * g.H * g.W if dx != NULL else dx,
                    products, back, vectors + c * (taps + 1) * lanes, sums + c)
                c += 1
                continue
            if dx != NULL:
                convolve_batch(
                    dy + plane * g.P * g.Q, turned + c * taps, <const real*> NULL, dx + plane * g.H * g.W, back, many, buffer)
            if products:
                add_batch(
                    dy + plane * g.P * g.Q, x + plane * g.H * g.W, forward, buffer, vectors + c * (taps + 1) * lanes, sums + c,
                    many)
            c += many


cdef inline void backward_channels(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, const Geometry* g, const Pass* forward,
    const Pass* back, Py_ssize_t first, Py_ssize_t count, char* memory,
) noexcept nogil:
    """At most CHANNELS channels, in every image."""
    cdef Py_ssize_t taps = g.KH * g.KW, lanes = SPAN_BYTES // sizeof(real), c, t
    cdef real* vectors = <real*> memory
    cdef double* totals = <double*> (memory + CHANNELS * (taps + 1) * SPAN_BYTES)
    cdef real turned[CHANNELS * MOST_KERNEL * MOST_KERNEL]
    cdef Sums sums[CHANNELS]
    cdef bint products = dw != NULL or db != NULL
    if products:
        memset(memory, 0, _sums_bytes(g))
    for c in range(count):
        sums[c].taps, sums[c].bands, sums[c].total = taps, 0, totals + c * (taps + 1)
        for t in range(taps):
            turned[c * taps + t] = w[(first + c) * taps + taps - 1 - t]
    add_images(
        dy, x, turned, dx, products, g, forward, back, first, count, <real*> (memory + _sums_bytes(g)), vectors, sums)
    if not products:
        return
    for c in range(count):
        fold(vectors + c * (taps + 1) * lanes, &sums[c])
    for c in range(count):
        if dw != NULL:
            for t in range(taps):
                dw[(first + c) * taps + t] = <real> sums[c].total[t]
        if db != NULL:
            db[first + c] = <real> sums[c].total[taps]


cdef inline void backward_units(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, const Geometry* g, const Pass* forward,
    const Pass* back, Py_ssize_t first, Py_ssize_t last, char* memory,
) noexcept nogil:
    cdef Py_ssize_t unit
    for unit in range(first, last):
        backward_channels(
            dy, x, w, dx, dw, db, g, forward, back, unit * CHANNELS, min(g.groups - unit * CHANNELS, <Py_ssize_t> CHANNELS),
            memory)


cdef inline int depthwise_backward(
    const real* dy, const real* x, const real* w, real* dx, real* dw, real* db, const Geometry* g
) noexcept nogil:
    """dx, dw and db plane by plane, while dy is in the caches. Any of the results may be NULL."""
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), units = (g.groups + CHANNELS - 1) // CHANNELS
    cdef Pass forward = forward_pass(g, lanes), back = dx_pass(g, lanes)
    cdef Py_ssize_t planes = max(forward.batch * forward.block.plane, back.batch * back.block.plane)
    cdef Py_ssize_t space = round_up(_sums_bytes(g) + (planes + 2 * lanes) * sizeof(real), 64)
    cdef int threads = depthwise_threads(g, units), t
    cdef char* memory = workspace(threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        backward_units(dy, x, w, dx, dw, db, g, &forward, &back, 0, units, memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            backward_units(
                dy, x, w, dx, dw, db, g, &forward, &back, units * t // threads, units * (t + 1) // threads, memory + t * space)
    workspace_done()
    return 0
