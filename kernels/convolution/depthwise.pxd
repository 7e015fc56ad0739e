"""Depthwise convolution, one input and one output channel a group, with square kernels of 3, 5 or 7 taps.

Where the stride is 1 and the processor has masks, planes are read where they lie. Others are copied band by band between zeros,
their rows split into phases of the stride, and each band used as soon as it is there. dx is the convolution of dy, spread out by
the stride, with the turned kernel.
"""

from cython.parallel cimport prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport SPAN_BYTES, Block, fill_block, make_block, round_up, spread_block
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.convolution.workspace cimport workspace, workspace_done
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/depthwise.h" nogil:
    void band_f32 "fastnn_band_f32"(
        Py_ssize_t kernel, Py_ssize_t stride, const float* w, float bias, const float* x, Py_ssize_t pitch,
        const Py_ssize_t* at, float* y, Py_ssize_t y_row, Py_ssize_t rows, Py_ssize_t columns) noexcept
    void band_f64 "fastnn_band_f64"(
        Py_ssize_t kernel, Py_ssize_t stride, const double* w, double bias, const double* x, Py_ssize_t pitch,
        const Py_ssize_t* at, double* y, Py_ssize_t y_row, Py_ssize_t rows, Py_ssize_t columns) noexcept
cdef extern from "simd/depthwise_strips.h" nogil:
    enum:
        MASKS "FASTNN_MASKS"
    void plane_strip_f32 "fastnn_plane_strip_f32"(
        Py_ssize_t kernel, const float* w, float bias, const float* x, Py_ssize_t H, Py_ssize_t W, Py_ssize_t top, Py_ssize_t left,
        float* y, const float* other, Py_ssize_t Q, Py_ssize_t first, Py_ssize_t last, Py_ssize_t q, Py_ssize_t lead,
        float* sums) noexcept
    void plane_strip_f64 "fastnn_plane_strip_f64"(
        Py_ssize_t kernel, const double* w, double bias, const double* x, Py_ssize_t H, Py_ssize_t W, Py_ssize_t top, Py_ssize_t left,
        double* y, const double* other, Py_ssize_t Q, Py_ssize_t first, Py_ssize_t last, Py_ssize_t q, Py_ssize_t lead,
        double* sums) noexcept

cdef enum:
    MOST_KERNEL = 7
    BAND_UNITS = 84       # vectors of products, at most, that are added up in a register
    STRIP_BYTES = 8192    # of results, a row of which is still in L1 when the next strip works on it
    STRIP_ROWS = 16       # of results, at least
    AHEAD = 2048          # bytes, at least, to what is fetched
    BLOCK_UNITS = 256     # vectors of pixels in a block
    BAND_ROWS = 28        # of pixels
    BATCH = 8             # small planes that are copied before the first is used, so that no load waits for a store
    BATCH_BYTES = 16384

cdef struct Pass:
    Py_ssize_t K, sh                     # taps and stride down
    Py_ssize_t H, W, spread_h, spread_w  # what is read, with spread - 1 zeros between its elements
    Py_ssize_t top, left                 # zeros in front of it
    Py_ssize_t P, Q                      # what results
    Block block
    bint in_place                        # planes are read where they lie, never copied, in strips
    Py_ssize_t blocks                    # into which the strips' rows are cut
    Py_ssize_t batch                     # planes that are copied at once
    Py_ssize_t at[MOST_KERNEL]           # where a tap lies in a row of the block


cdef inline bint depthwise_fits(const Geometry* g) noexcept nogil:
    return (
        g.C == 1 and g.O == 1 and g.KH == g.KW and 3 <= g.KH <= MOST_KERNEL and g.KH % 2 == 1
        and g.sh <= 2 and g.sw <= 2 and g.dh == 1 and g.dw == 1
    )


cdef inline int depthwise_threads(const Geometry* g, Py_ssize_t units) noexcept nogil:
    return <int> max(min(<Py_ssize_t> threads_for(g.N * g.groups * g.P * g.Q * g.KH * g.KW // 16), units), 1)


cdef inline void _divide(Pass* s, Py_ssize_t sw, Py_ssize_t lanes) noexcept nogil:
    cdef Py_ssize_t v, most
    s.block = make_block(s.P, s.Q, s.sh, sw, s.K - 1, s.K - 1, BLOCK_UNITS // (s.sh * sw), lanes)
    for v in range(s.K):
        s.at[v] = v % sw * s.block.in_columns + v // sw
    s.in_place = (
        MASKS and s.sh * sw * s.spread_h * s.spread_w == 1 and s.P >= s.K
        and 0 <= s.top < s.K and 0 <= s.P + s.K - 1 - s.top - s.H < s.K)
    most = STRIP_BYTES // (max(s.Q, 1) * (SPAN_BYTES // lanes))
    most = min(max(most, <Py_ssize_t> STRIP_ROWS), <Py_ssize_t> BAND_UNITS)
    s.blocks = (s.P + most - 1) // most
    s.batch = 1
    if not s.in_place and s.P <= min(s.block.rows, <Py_ssize_t> BAND_ROWS) and s.Q <= s.block.columns:
        s.batch = max(min(<Py_ssize_t> BATCH, BATCH_BYTES // (max(s.block.plane, 1) * (SPAN_BYTES // lanes))), 1)


cdef inline Pass forward_pass(const Geometry* g, Py_ssize_t lanes) noexcept nogil:
    """From x to y."""
    cdef Pass s
    s.K, s.sh, s.H, s.W, s.spread_h, s.spread_w, s.top, s.left, s.P, s.Q = g.KH, g.sh, g.H, g.W, 1, 1, g.top, g.left, g.P, g.Q
    _divide(&s, g.sw, lanes)
    return s


cdef inline Pass dx_pass(const Geometry* g, Py_ssize_t lanes) noexcept nogil:
    """From dy to dx."""
    cdef Pass s
    s.K, s.sh, s.H, s.W, s.spread_h, s.spread_w = g.KH, 1, g.P, g.Q, g.sh, g.sw
    s.top, s.left, s.P, s.Q = g.KH - 1 - g.top, g.KW - 1 - g.left, g.H, g.W
    _divide(&s, 1, lanes)
    return s


cdef inline Py_ssize_t fill_band(
    real* buffer, const real* plane, const Pass* s, Py_ssize_t p, Py_ssize_t q, Py_ssize_t filled, Py_ssize_t rows
) noexcept nogil:
    """Of the block for results from (p, q) on: what its first ``rows`` results need, of which ``filled`` rows are there."""
    cdef Block band = s.block
    band.in_rows = (rows - 1) * s.sh + s.K - filled
    band.plane = band.in_rows * band.pitch
    spread_block(
        buffer + filled * band.pitch, &band, plane, s.H, s.W, s.spread_h, s.spread_w, p * s.sh - s.top + filled,
        q * band.phases - s.left)
    return filled + band.in_rows


cdef inline void convolve_rows(
    const real* source, const real* w, real bias, real* result, const Pass* s, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    if real is float:
        band_f32(s.K, s.sh, w, bias, source, s.block.pitch, s.at, result, s.Q, rows, columns)
    else:
        band_f64(s.K, s.sh, w, bias, source, s.block.pitch, s.at, result, s.Q, rows, columns)


cdef inline void convolve_plane(
    const real* plane, const real* w, real bias, real* result, const Pass* s, real* buffer
) noexcept nogil:
    cdef Py_ssize_t p = 0, q, r, rows, n, filled
    while p < s.P:
        rows = min(s.block.rows, s.P - p)
        q = 0
        while q < s.Q:
            r = filled = 0
            while r < rows:
                n = min(<Py_ssize_t> BAND_ROWS, rows - r)
                filled = fill_band(buffer, plane, s, p, q, filled, r + n)
                convolve_rows(
                    buffer + r * s.sh * s.block.pitch, w, bias, result + (p + r) * s.Q + q, s, n, min(s.block.columns, s.Q - q))
                r += n
            q += s.block.columns
        p += s.block.rows


cdef inline void convolve_strip(
    const real* plane, const real* w, real bias, real* result, const real* other, const Pass* s, Py_ssize_t block, Py_ssize_t q,
    real* sums,
) noexcept nogil:
    """A block's results from column q on, unless result is NULL; unless other is, sums of its products with what they see."""
    cdef Py_ssize_t first = s.P * block // s.blocks, last = s.P * (block + 1) // s.blocks
    cdef Py_ssize_t lead = max((last - first) * s.W, <Py_ssize_t> (AHEAD // sizeof(real)))
    if real is float:
        plane_strip_f32(s.K, w, bias, plane, s.H, s.W, s.top, s.left, result, other, s.Q, first, last, q, lead, sums)
    else:
        plane_strip_f64(s.K, w, bias, plane, s.H, s.W, s.top, s.left, result, other, s.Q, first, last, q, lead, sums)


cdef inline void convolve_in_place(const real* plane, const real* w, real bias, real* result, const Pass* s) noexcept nogil:
    cdef Py_ssize_t block, q
    cdef const real* none = NULL
    for block in range(s.blocks):
        q = 0
        while q < s.Q:
            convolve_strip(plane, w, bias, result, none, s, block, q, <real*> NULL)
            q += SPAN_BYTES // sizeof(real)


cdef inline void fill_batch(real* buffer, const real* planes, const Pass* s, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    if s.spread_h == 1 and s.spread_w == 1:
        fill_block(buffer, &s.block, planes, count, s.H, s.W, -s.top, -s.left)
    else:
        for i in range(count):
            fill_band(buffer + i * s.block.plane, planes + i * s.H * s.W, s, 0, 0, 0, s.P)


cdef inline void convolve_batch(
    const real* planes, const real* w, const real* b, real* results, const Pass* s, Py_ssize_t count, real* buffer
) noexcept nogil:
    """At most s.batch planes."""
    cdef Py_ssize_t i
    if s.in_place:
        convolve_in_place(planes, w, b[0] if b != NULL else 0, results, s)
        return
    if s.batch == 1:
        convolve_plane(planes, w, b[0] if b != NULL else 0, results, s, buffer)
        return
    fill_batch(buffer, planes, s, count)
    for i in range(count):
        convolve_rows(
            buffer + i * s.block.plane, w + i * s.K * s.K, b[i] if b != NULL else 0, results + i * s.P * s.Q, s, s.P, s.Q)


cdef inline void depthwise_planes(
    const real* x, const real* w, const real* b, real* y, const Geometry* g, const Pass* s, Py_ssize_t first, Py_ssize_t last,
    real* buffer,
) noexcept nogil:
    """Planes first to last, counted over images and channels."""
    cdef Py_ssize_t channel, count
    while first < last:
        channel = first % g.groups
        count = min(min(s.batch, g.groups - channel), last - first)
        convolve_batch(
            x + first * g.H * g.W, w + channel * g.KH * g.KW, b + channel if b != NULL else b, y + first * g.P * g.Q, s, count,
            buffer)
        first += count


cdef inline int depthwise_forward(const real* x, const real* w, const real* b, real* y, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t lanes = SPAN_BYTES // sizeof(real), planes = g.N * g.groups
    cdef Pass s = forward_pass(g, lanes)
    cdef Py_ssize_t space = round_up((s.batch * s.block.plane + 2 * lanes) * sizeof(real), 64)
    cdef int threads = depthwise_threads(g, planes), t
    cdef char* memory = workspace(threads * space)
    if memory == NULL:
        return -1
    if threads == 1:
        depthwise_planes(x, w, b, y, g, &s, 0, planes, <real*> memory)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            depthwise_planes(
                x, w, b, y, g, &s, planes * t // threads, planes * (t + 1) // threads, <real*> (memory + t * space))
    workspace_done()
    return 0
