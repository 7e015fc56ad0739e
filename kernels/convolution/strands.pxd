"""A convolution's input as strands: what the taps of a kernel see at stride 1, with the margin around the input.

With a stride of 2 the even and the odd rows (and columns) are two strands; neighbouring outputs then always meet neighbouring elements.
"""

from libc.string cimport memset

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.blocks cimport fill_phases_f32, fill_phases_f64, fill_rows_f32, fill_rows_f64
from fastnn.kernels.convolution.geometry cimport Geometry

cdef extern from "simd/direct.h" nogil:
    void strand_row_f32 "fastnn_strand_row_f32"(
        float* target, Py_ssize_t width, const float* row, Py_ssize_t step, Py_ssize_t begin, Py_ssize_t end) noexcept
    void strand_row_f64 "fastnn_strand_row_f64"(
        double* target, Py_ssize_t width, const double* row, Py_ssize_t step, Py_ssize_t begin, Py_ssize_t end) noexcept

cdef struct Line:  # one dimension: output i of a pass meets the input at i step + at[u] for every tap u
    Py_ssize_t taps, step
    Py_ssize_t strands, reach   # strands of the input (i step + first), of which a tap sees what lies `ahead`, at most `reach`
    Py_ssize_t* at
    Py_ssize_t* tap             # which of the kernel's
    Py_ssize_t* first
    Py_ssize_t* strand
    Py_ssize_t* ahead


cdef inline Py_ssize_t lines_space(const Geometry* g) noexcept nogil:
    """Bytes that the two lines of a convolution need."""
    return 5 * (g.KH + g.KW) * sizeof(Py_ssize_t)


cdef inline void place_lines(Line* down, Line* across, const Geometry* g, Py_ssize_t* memory) noexcept nogil:
    down.at, down.tap, down.first, down.strand, down.ahead = (
        memory, memory + g.KH, memory + 2 * g.KH, memory + 3 * g.KH, memory + 4 * g.KH)
    memory += 5 * g.KH
    across.at, across.tap, across.first, across.strand, across.ahead = (
        memory, memory + g.KW, memory + 2 * g.KW, memory + 3 * g.KW, memory + 4 * g.KW)


cdef inline void forward_line(Line* line, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t padding, Py_ssize_t dilation) noexcept nogil:
    cdef Py_ssize_t u
    line.taps, line.step = taps, stride
    for u in range(taps):
        line.tap[u], line.at[u] = u, u * dilation - padding


cdef inline void find_strands(Line* line) noexcept nogil:
    """Taps that lie a whole number of steps apart share a strand, unless they are so far apart that most of it would not be seen."""
    cdef Py_ssize_t low = line.at[0], high = low, u, k
    cdef bint shared
    for u in range(line.taps):
        low, high = min(low, line.at[u]), max(high, line.at[u])
    shared = (high - low) // line.step <= 64 + 4 * line.taps
    line.strands = line.reach = 0
    for u in range(line.taps):
        k = 0
        while k < line.strands and (line.at[u] - line.first[k]) % line.step != 0 if shared else k < u:
            k += 1
        if k == line.strands:
            line.first[k] = low + (line.at[u] - low) % line.step if shared else line.at[u]
            line.strands += 1
        line.strand[u] = k
        line.ahead[u] = (line.at[u] - line.first[k]) // line.step
        line.reach = max(line.reach, line.ahead[u])


cdef inline void fill_strands(
    real* target, const Line* down, const Line* across, Py_ssize_t rows, Py_ssize_t columns, const real* x, Py_ssize_t channels,
    Py_ssize_t images, Py_ssize_t image_places, Py_ssize_t x_image, Py_ssize_t H, Py_ssize_t W, Py_ssize_t p, Py_ssize_t q,
) noexcept nogil:
    """target[c][strand of rows][of columns][image][row][column] from output (p, q) on; x_image counts channels. There is room for
    ``image_places`` images."""
    cdef Py_ssize_t plane = image_places * rows * columns, c, a, n, row, first, last
    for c in range(channels):
        for a in range(down.strands):
            row = p * down.step + down.first[a]
            first = min(max(-row + down.step - 1, 0) // down.step, rows)
            last = max(min(max(H - row + down.step - 1, 0) // down.step, rows), first)
            for n in range(images):
                fill_rows_of(
                    target + n * rows * columns, plane, across, rows, columns, x + ((n * x_image + c) * H + row) * W, down.step * W,
                    first, last, W, q)
            target += across.strands * plane


cdef inline void fill_rows_of(
    real* target, Py_ssize_t plane, const Line* across, Py_ssize_t rows, Py_ssize_t columns, const real* source, Py_ssize_t step,
    Py_ssize_t first, Py_ssize_t last, Py_ssize_t W, Py_ssize_t q,
) noexcept nogil:
    """Every strand of columns of one strand of rows, of which ``first`` to ``last`` exist."""
    cdef Py_ssize_t b = 0, column, i
    while b < across.strands:
        column = q * across.step + across.first[b]
        if across.step == 1:
            if real is float:
                fill_rows_f32(
                    target, columns, rows, columns, source + column, step, first, last, max(-column, 0), max(W - column, 0))
            else:
                fill_rows_f64(
                    target, columns, rows, columns, source + column, step, first, last, max(-column, 0), max(W - column, 0))
        elif across.step == 2 and b + 1 < across.strands and across.first[b + 1] == across.first[b] + 1:
            if real is float:
                fill_phases_f32(
                    target, plane, columns, rows, columns, source + column, step, first, last, max(-column, 0), max(W - column, 0))
            else:
                fill_phases_f64(
                    target, plane, columns, rows, columns, source + column, step, first, last, max(-column, 0), max(W - column, 0))
            target += plane
            b += 1
        else:
            memset(target, 0, first * columns * sizeof(real))
            memset(target + last * columns, 0, (rows - last) * columns * sizeof(real))
            for i in range(first, last):
                if real is float:
                    strand_row_f32(
                        target + i * columns, columns, source + i * step + column, across.step, -column, W - column)
                else:
                    strand_row_f64(
                        target + i * columns, columns, source + i * step + column, across.step, -column, W - column)
        target += plane
        b += 1
