# cython: cdivision=True
"""Cross entropy of x (N, C, L). A unit of work is a row, a block of short rows side by side, or a strip of positions."""

from cython.parallel cimport parallel, prange
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from fastnn.kernels.arrays cimport offset, real
from fastnn.kernels.lanes cimport LARGE, fence, long_sum, maximum
from fastnn.kernels.loss.classes cimport Target, is_class, row_gradient, row_loss, row_target_gradient
from fastnn.kernels.loss.positions cimport position_gradients, position_losses, position_target_gradients
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.softmax.columns cimport SHORT, WIDTH, gather, scatter

cdef enum Reduction:
    NONE
    MEAN
    SUM

cdef enum:
    FEW = 1024  # losses that have room on the stack


cdef struct Batch:
    Py_ssize_t N
    Py_ssize_t L
    Reduction reduction


cdef inline Reduction reduction_of(const char* name) noexcept nogil:
    return NONE if name[0] == c"n" else (MEAN if name[0] == c"m" else SUM)


cdef inline bint side_by_side(const Batch* batch, const Target* target) noexcept nogil:
    """Whether rows are so short that their own vectors would be mostly empty."""
    return batch.L == 1 and target.C <= SHORT and target.classes != NULL


cdef inline Py_ssize_t units_of(const Batch* batch, const Target* target) noexcept nogil:
    if side_by_side(batch, target):
        return (batch.N + WIDTH - 1) // WIDTH
    return batch.N * ((batch.L + WIDTH - 1) // WIDTH)


cdef inline void place(
    const Batch* batch, const Target* target, Py_ssize_t i, Py_ssize_t* first, Py_ssize_t* at, Py_ssize_t* count
) noexcept nogil:
    """Unit i: its first position, where its scores begin, and how many positions it has."""
    cdef Py_ssize_t strips = (batch.L + WIDTH - 1) // WIDTH, l
    if side_by_side(batch, target):
        first[0] = i * WIDTH
        count[0] = min(<Py_ssize_t> WIDTH, batch.N - first[0])
        at[0] = first[0] * target.C
        return
    l = i % strips * WIDTH
    first[0] = i // strips * batch.L + l
    count[0] = min(<Py_ssize_t> WIDTH, batch.L - l)
    at[0] = i // strips * target.C * batch.L + l


cdef inline void unit_losses(
    const Batch* batch, const Target* target, Py_ssize_t i, const real* x, const real* w, const real* p,
    real* losses, real* tops, real* totals,
) noexcept nogil:
    """Of positions side by side; what is not wanted is NULL."""
    cdef real block[SHORT * WIDTH]
    cdef real unwanted[3 * WIDTH]
    cdef Py_ssize_t n, at, count
    place(batch, target, i, &n, &at, &count)
    losses = <real*> unwanted if losses == NULL else losses + n
    tops = <real*> unwanted + WIDTH if tops == NULL else tops + n
    totals = <real*> unwanted + 2 * WIDTH if totals == NULL else totals + n
    if side_by_side(batch, target):
        gather(x + at, target.C, count, block)
        position_losses(<const real*> block, WIDTH, target, n, w, p, count, losses, tops, totals)
    else:
        position_losses(x + at, batch.L, target, n, w, offset(p, at), count, losses, tops, totals)


cdef inline void row_losses(
    const Target* target, Py_ssize_t begin, Py_ssize_t end, const real* x, const real* w, const real* p,
    real* losses, real* tops, real* totals,
) noexcept nogil:
    """Of rows; what is not wanted is NULL."""
    cdef Py_ssize_t C = target.C, n
    cdef real unwanted[3]
    cdef real next_top = maximum(x + begin * C, C) if C > 0 and begin < end else 0
    for n in range(begin, end):
        row_loss(
            x + n * C, target, n, w, offset(p, n * C), x + min(n + 1, end - 1) * C, &next_top,
            <real*> unwanted if losses == NULL else losses + n, <real*> unwanted + 1 if tops == NULL else tops + n,
            <real*> unwanted + 2 if totals == NULL else totals + n)


cdef inline void losses_of(
    const Batch* batch, const Target* target, Py_ssize_t begin, Py_ssize_t end, const real* x, const real* w, const real* p,
    real* losses, real* tops, real* totals,
) noexcept nogil:
    """Of the units begin <= i < end."""
    cdef Py_ssize_t i
    if batch.L == 1 and not side_by_side(batch, target):
        row_losses(target, begin, end, x, w, p, losses, tops, totals)
        return
    for i in range(begin, end):
        unit_losses(batch, target, i, x, w, p, losses, tops, totals)


cdef inline int cross_entropy_losses(
    const Batch* batch, const Target* target, const real* x, const real* w, const real* p, real divisor,
    real* y, real* tops, real* totals,
) noexcept nogil:
    """``divisor`` is that of the mean. Outputs that nobody wants are NULL. Returns 0, or -1 without memory."""
    cdef Py_ssize_t positions = batch.N * batch.L, units = units_of(batch, target)
    cdef int threads = threads_for(4 * positions * target.C), t
    cdef real few[FEW]
    cdef real* losses = y
    cdef double loss
    if y != NULL and batch.reduction != NONE:
        losses = few
        if positions > FEW:
            losses = <real*> malloc(positions * sizeof(real))
        if losses == NULL:
            return -1
    if threads == 1:
        losses_of(batch, target, 0, units, x, w, p, losses, tops, totals)
    else:
        for t in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            losses_of(batch, target, units * t // threads, units * (t + 1) // threads, x, w, p, losses, tops, totals)
    if losses != y:
        loss = long_sum(<const real*> losses, positions)
        y[0] = <real> (loss / divisor if batch.reduction == MEAN else loss)
        if positions > FEW:
            free(losses)
    return 0


cdef inline void unit_gradients(
    const Batch* batch, const Target* target, Py_ssize_t i, const real* dy, const real* x, const real* w, const real* p,
    const real* tops, const real* totals, real divisor, real* dx, real* dt, bint past,
) noexcept nogil:
    cdef real block[SHORT * WIDTH]
    cdef real scale[WIDTH]
    cdef Py_ssize_t n, at, count, j
    place(batch, target, i, &n, &at, &count)
    for j in range(count):
        scale[j] = dy[n + j] if batch.reduction == NONE else dy[0] / divisor
    if side_by_side(batch, target):
        gather(x + at, target.C, count, block)
        position_gradients(
            <const real*> block, WIDTH, target, n, w, p, count, tops + n, totals + n, <const real*> scale, block)
        scatter(<const real*> block, target.C, count, dx + at)
        return
    if dx != NULL and batch.L == 1:
        row_gradient(x + at, target, n, w, offset(p, at), tops[n], totals[n], scale[0], dx + at, past)
    elif dx != NULL:
        position_gradients(
            x + at, batch.L, target, n, w, offset(p, at), count, tops + n, totals + n, <const real*> scale, dx + at)
    if dt != NULL and batch.L == 1:
        row_target_gradient(x + at, target, w, tops[n], totals[n], scale[0], dt + at)
    elif dt != NULL:
        position_target_gradients(x + at, batch.L, target, w, count, tops + n, totals + n, <const real*> scale, dt + at)


cdef inline void cross_entropy_gradients(
    const Batch* batch, const Target* target, const real* dy, const real* x, const real* w, const real* p,
    const real* tops, const real* totals, real divisor, real* dx, real* dt,
) noexcept nogil:
    """Gradients of the scores and of the distributions, where they are wanted; ``divisor`` is 1 unless it is that of the mean."""
    cdef Py_ssize_t size = batch.N * batch.L * target.C, units = units_of(batch, target), i
    cdef int threads = threads_for(4 * size)
    cdef bint past = size * <Py_ssize_t> sizeof(real) >= LARGE
    if target.C == 0:
        return
    if threads == 1:
        for i in range(units):
            unit_gradients(batch, target, i, dy, x, w, p, tops, totals, divisor, dx, dt, past)
        fence()
    else:
        with parallel(num_threads=threads):
            for i in prange(units, schedule="static"):
                unit_gradients(batch, target, i, dy, x, w, p, tops, totals, divisor, dx, dt, past)
            fence()


cdef inline real weights_of_targets(const Target* target, const real* w, Py_ssize_t positions) noexcept nogil:
    """Sum of the weights of the targets that count."""
    cdef double weights = 0
    cdef Py_ssize_t i, counted = 0
    if w == NULL:
        for i in range(positions):
            counted += target.classes[i] != target.ignored
        return <real> counted
    for i in range(positions):
        if target.classes[i] != target.ignored:
            weights += w[target.classes[i]]
    return <real> weights


cdef inline void nll_losses(
    const Batch* batch, const Target* target, const real* x, const real* w, real divisor, real* y
) noexcept nogil:
    cdef double loss = 0
    cdef Py_ssize_t i, t, L = batch.L
    cdef real one
    for i in range(batch.N * L):
        t = target.classes[i]
        one = 0 if t == target.ignored else -x[(i // L * target.C + t) * L + i % L] * (1 if w == NULL else w[t])
        if batch.reduction == NONE:
            y[i] = one
        loss += one
    if batch.reduction != NONE:
        y[0] = <real> (loss / divisor if batch.reduction == MEAN else loss)


cdef inline void nll_gradients(
    const Batch* batch, const Target* target, const real* dy, const real* w, real divisor, real* dx
) noexcept nogil:
    cdef real scale = 0 if batch.reduction == NONE else (dy[0] / divisor if batch.reduction == MEAN else dy[0])
    cdef Py_ssize_t i, t, L = batch.L
    memset(dx, 0, batch.N * target.C * L * sizeof(real))
    for i in range(batch.N * L):
        if is_class(target, i):
            t = target.classes[i]
            dx[(i // L * target.C + t) * L + i % L] = -(dy[i] if batch.reduction == NONE else scale) * (1 if w == NULL else w[t])
