# cython: cdivision=True
"""Losses, compiled ahead of time. Threads share out chunks of elements or positions; partial sums are added up in one order."""

cimport numpy as cnp
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from fastnn.kernels.arrays cimport data, is_float32, length, real, size
from fastnn.kernels.elementary cimport exp_, log_
from fastnn.kernels.lanes cimport CHUNK, chunk_sum, long_sum, maximum, offset
from fastnn.kernels.loss.classes cimport POSITIONS, Target, block_cross_entropy, row_cross_entropy, row_exponentials
from fastnn.kernels.loss.elements cimport (
    BINARY, HINGE, L1, LOGITS, MSE, PERCEPTRON, SMOOTH_L1, Loss, element_gradients, element_losses, target_gradients,
)
from fastnn.kernels.parallel cimport threads_for

cnp.import_array()

cdef enum Reduction:
    NONE
    MEAN
    SUM


cdef Reduction _reduction(str name):
    return NONE if name == "none" else (MEAN if name == "mean" else SUM)


# --- losses of elements


cdef inline real _chunk_loss(
    Loss loss, const real* x, const real* t, const real* w, const real* p, double beta, Py_ssize_t n
) noexcept nogil:
    cdef real buffer[CHUNK]
    element_losses(loss, x, t, w, p, beta, buffer, n)
    return chunk_sum(<const real*> buffer, n)


cdef int _elements(
    Loss loss, const real* x, const real* t, const real* w, const real* p, double beta, Reduction reduction, real* y, Py_ssize_t n
) noexcept nogil:
    """Returns 0, or -1 without memory."""
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK, i
    cdef int threads = threads_for(n if loss < BINARY or loss > LOGITS else 4 * n)
    cdef real* sums
    cdef double total = 0
    if reduction == NONE:
        for i in prange(chunks, num_threads=threads, schedule="static"):
            element_losses(
                loss, x + i * CHUNK, t + i * CHUNK, offset(w, i * CHUNK), offset(p, i * CHUNK),
                beta, y + i * CHUNK, min(<Py_ssize_t> CHUNK, n - i * CHUNK))
        return 0
    sums = <real*> malloc((chunks + 1) * sizeof(real))
    if sums == NULL:
        return -1
    for i in prange(chunks, num_threads=threads, schedule="static"):
        sums[i] = _chunk_loss(
            loss, x + i * CHUNK, t + i * CHUNK, offset(w, i * CHUNK), offset(p, i * CHUNK),
            beta, min(<Py_ssize_t> CHUNK, n - i * CHUNK))
    for i in range(chunks):
        total += sums[i]
    free(sums)
    y[0] = <real> (total / n if reduction == MEAN else total)
    return 0


cdef void _chunk_gradients(
    Loss loss, const real* dy, const real* x, const real* t, const real* w, const real* p, double beta,
    real factor, bint each, real* dx, real* dt, Py_ssize_t n,
) noexcept nogil:
    cdef real scale[CHUNK]
    cdef Py_ssize_t i
    for i in range(n):
        scale[i] = (dy[i] if each else factor) * (1 if w == NULL else w[i])
    if dx != NULL:
        element_gradients(loss, x, t, p, beta, <const real*> scale, dx, n)
    if dt != NULL:
        target_gradients(loss, x, t, p, beta, <const real*> scale, dt, n)


cdef void _elements_backward(
    Loss loss, const real* dy, const real* x, const real* t, const real* w, const real* p, double beta, Reduction reduction,
    real* dx, real* dt, Py_ssize_t n,
) noexcept nogil:
    cdef bint each = reduction == NONE
    cdef Py_ssize_t chunks = (n + CHUNK - 1) // CHUNK, i
    cdef int threads = threads_for(n if loss < BINARY or loss > LOGITS else 4 * n)
    cdef real factor = 0 if each else (dy[0] / <real> n if reduction == MEAN else dy[0])
    for i in prange(chunks, num_threads=threads, schedule="static"):
        _chunk_gradients(
            loss, dy + i * CHUNK if each else dy, x + i * CHUNK, t + i * CHUNK,
            offset(w, i * CHUNK), offset(p, i * CHUNK), beta, factor, each,
            offset(dx, i * CHUNK), offset(dt, i * CHUNK),
            min(<Py_ssize_t> CHUNK, n - i * CHUNK))


cdef _run_elements(
    Loss loss, cnp.ndarray x, cnp.ndarray t, cnp.ndarray w, cnp.ndarray p, double beta, str reduction, cnp.ndarray y
):
    cdef Py_ssize_t n = size(x)
    cdef Reduction how = _reduction(reduction)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _elements(
                loss, <const float*> data(x), <const float*> data(t), <const float*> data(w), <const float*> data(p),
                beta, how, <float*> data(y), n)
    else:
        with nogil:
            failed = _elements(
                loss, <const double*> data(x), <const double*> data(t), <const double*> data(w), <const double*> data(p),
                beta, how, <double*> data(y), n)
    if failed:
        raise MemoryError("loss: no room for the partial sums")


cdef _run_elements_backward(
    Loss loss, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray t, cnp.ndarray w, cnp.ndarray p, double beta, str reduction,
    cnp.ndarray dx, cnp.ndarray dt,
):
    cdef Py_ssize_t n = size(x)
    cdef Reduction how = _reduction(reduction)
    if is_float32(x):
        with nogil:
            _elements_backward(
                loss, <const float*> data(dy), <const float*> data(x), <const float*> data(t), <const float*> data(w),
                <const float*> data(p), beta, how, <float*> data(dx), <float*> data(dt), n)
    else:
        with nogil:
            _elements_backward(
                loss, <const double*> data(dy), <const double*> data(x), <const double*> data(t), <const double*> data(w),
                <const double*> data(p), beta, how, <double*> data(dx), <double*> data(dt), n)


def mse(cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray y not None):
    _run_elements(MSE, x, target, None, None, 0, reduction, y)


def mse_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray dx, cnp.ndarray dtarget
):
    _run_elements_backward(MSE, dy, x, target, None, None, 0, reduction, dx, dtarget)


def l1(cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray y not None):
    _run_elements(L1, x, target, None, None, 0, reduction, y)


def l1_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray dx, cnp.ndarray dtarget
):
    _run_elements_backward(L1, dy, x, target, None, None, 0, reduction, dx, dtarget)


def smooth_l1(cnp.ndarray x not None, cnp.ndarray target not None, double beta, str reduction, cnp.ndarray y not None):
    _run_elements(SMOOTH_L1, x, target, None, None, beta, reduction, y)


def smooth_l1_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, double beta, str reduction,
    cnp.ndarray dx, cnp.ndarray dtarget,
):
    _run_elements_backward(SMOOTH_L1, dy, x, target, None, None, beta, reduction, dx, dtarget)


def binary_cross_entropy(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, str reduction, cnp.ndarray y not None
):
    _run_elements(BINARY, x, target, weight, None, 0, reduction, y)


def binary_cross_entropy_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, str reduction,
    cnp.ndarray dx, cnp.ndarray dtarget,
):
    _run_elements_backward(BINARY, dy, x, target, weight, None, 0, reduction, dx, dtarget)


def binary_cross_entropy_with_logits(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, cnp.ndarray pos_weight, str reduction,
    cnp.ndarray y not None,
):
    _run_elements(LOGITS, x, target, weight, pos_weight, 0, reduction, y)


def binary_cross_entropy_with_logits_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, cnp.ndarray pos_weight,
    str reduction, cnp.ndarray dx, cnp.ndarray dtarget,
):
    _run_elements_backward(LOGITS, dy, x, target, weight, pos_weight, 0, reduction, dx, dtarget)


def hinge_loss(cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray y not None):
    _run_elements(HINGE, x, target, None, None, 0, reduction, y)


def hinge_loss_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray dx
):
    _run_elements_backward(HINGE, dy, x, target, None, None, 0, reduction, dx, None)


def perceptron_loss(cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray y not None):
    _run_elements(PERCEPTRON, x, target, None, None, 0, reduction, y)


def perceptron_loss_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, str reduction, cnp.ndarray dx
):
    _run_elements_backward(PERCEPTRON, dy, x, target, None, None, 0, reduction, dx, None)


# --- losses of classes


cdef void _weigh(
    const cnp.int64_t* target, const real* w, Py_ssize_t ignored, Py_ssize_t positions, real* total
) noexcept nogil:
    """Sum of the weights of the targets that count."""
    cdef double weights = 0
    cdef Py_ssize_t i
    for i in range(positions):
        if target[i] != ignored:
            weights += 1 if w == NULL else w[target[i]]
    total[0] = <real> weights


cdef int _cross_entropy(
    const real* x, const Target* target, const real* w, const real* p, Reduction reduction,
    real* y, real* residual, real* total, Py_ssize_t N, Py_ssize_t L,
) noexcept nogil:
    """``total`` divides the mean; it is the number of positions for probabilities. Returns 0, or -1 without memory."""
    cdef Py_ssize_t C = target.C, blocks = (L + POSITIONS - 1) // POSITIONS, i, n, l, at
    cdef int threads = threads_for(4 * N * C * L)
    cdef real* losses = y
    cdef double loss
    if reduction != NONE or y == NULL:
        losses = <real*> malloc((N * L + 1) * sizeof(real))
        if losses == NULL:
            return -1
    if L == 1:
        for n in prange(N, num_threads=threads, schedule="static"):
            row_cross_entropy(
                x + n * C, target, n, w, offset(p, n * C), losses + n, offset(residual, n * C))
    else:
        for i in prange(N * blocks, num_threads=threads, schedule="static"):
            n = i // blocks
            l = (i - n * blocks) * POSITIONS
            at = n * C * L + l
            block_cross_entropy(
                x + at, target, n * L + l, w, offset(p, at), L, min(<Py_ssize_t> POSITIONS, L - l),
                losses + n * L + l, offset(residual, at))
    if losses != y:
        if y != NULL:
            loss = long_sum(<const real*> losses, N * L)
            y[0] = <real> (loss / total[0] if reduction == MEAN else loss)
        free(losses)
    return 0


def cross_entropy(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, Py_ssize_t ignore_index, double label_smoothing,
    str reduction, cnp.ndarray y, cnp.ndarray residual, cnp.ndarray total,
):
    cdef Py_ssize_t N = length(x, 0), L = length(x, 2)
    cdef Target goal = Target(<const cnp.int64_t*> data(target), ignore_index, label_smoothing, length(x, 1))
    cdef Reduction how = _reduction(reduction)
    cdef float total32
    cdef double total64
    cdef int failed
    if is_float32(x):
        with nogil:
            _weigh(goal.classes, <const float*> data(weight), ignore_index, N * L, &total32)
            failed = _cross_entropy(
                <const float*> data(x), &goal, <const float*> data(weight), NULL, how,
                <float*> data(y), <float*> data(residual), &total32, N, L)
            if total is not None:
                (<float*> data(total))[0] = total32
    else:
        with nogil:
            _weigh(goal.classes, <const double*> data(weight), ignore_index, N * L, &total64)
            failed = _cross_entropy(
                <const double*> data(x), &goal, <const double*> data(weight), NULL, how,
                <double*> data(y), <double*> data(residual), &total64, N, L)
            if total is not None:
                (<double*> data(total))[0] = total64
    if failed:
        raise MemoryError("cross_entropy: no room for the losses")


def cross_entropy_probabilities(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, double label_smoothing, str reduction,
    cnp.ndarray y, cnp.ndarray residual,
):
    cdef Py_ssize_t N = length(x, 0), L = length(x, 2)
    cdef Target goal = Target(NULL, 0, label_smoothing, length(x, 1))
    cdef Reduction how = _reduction(reduction)
    cdef float total32 = <float> (N * L)
    cdef double total64 = <double> (N * L)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = _cross_entropy(
                <const float*> data(x), &goal, <const float*> data(weight), <const float*> data(target), how,
                <float*> data(y), <float*> data(residual), &total32, N, L)
    else:
        with nogil:
            failed = _cross_entropy(
                <const double*> data(x), &goal, <const double*> data(weight), <const double*> data(target), how,
                <double*> data(y), <double*> data(residual), &total64, N, L)
    if failed:
        raise MemoryError("cross_entropy_probabilities: no room for the losses")


cdef void _scale_residual(
    const real* dy, const real* residual, real total, Reduction reduction, real* dx, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L
) noexcept nogil:
    """dx = residual * dy, divided by ``total`` for the mean."""
    cdef Py_ssize_t rows = N * C if reduction == NONE else 1, width = L if reduction == NONE else N * C * L
    cdef Py_ssize_t chunks = (width + CHUNK - 1) // CHUNK, i, row, at, column, j
    cdef int threads = threads_for(N * C * L // 2)
    cdef real factor = 0 if reduction == NONE else (dy[0] / total if reduction == MEAN else dy[0])
    if L == 1 and reduction == NONE:
        for row in prange(N, num_threads=threads, schedule="static"):
            for j in range(C):
                dx[row * C + j] = residual[row * C + j] * dy[row]
        return
    for i in prange(rows * chunks, num_threads=threads, schedule="static"):
        row = i // chunks
        column = (i - row * chunks) * CHUNK
        at = row * width + column
        if reduction == NONE:
            for j in range(min(<Py_ssize_t> CHUNK, width - column)):
                dx[at + j] = residual[at + j] * dy[row // C * L + column + j]
        else:
            for j in range(min(<Py_ssize_t> CHUNK, width - column)):
                dx[at + j] = residual[at + j] * factor


def cross_entropy_backward(
    cnp.ndarray dy not None, cnp.ndarray residual not None, cnp.ndarray total not None, str reduction, cnp.ndarray dx
):
    cdef Py_ssize_t N = length(residual, 0), C = length(residual, 1), L = length(residual, 2)
    cdef Reduction how = _reduction(reduction)
    if is_float32(residual):
        with nogil:
            _scale_residual(
                <const float*> data(dy), <const float*> data(residual), (<const float*> data(total))[0], how, <float*> data(dx), N, C, L)
    else:
        with nogil:
            _scale_residual(
                <const double*> data(dy), <const double*> data(residual), (<const double*> data(total))[0], how,
                <double*> data(dx), N, C, L)


cdef void _probability_gradients(
    const real* dy, const real* x, const real* w, real smoothing, Reduction reduction, real* dt, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L
) noexcept nogil:
    """dt_c = -(1 - s) w_c log softmax(x)_c dy."""
    cdef Py_ssize_t positions = N * L, i, n
    cdef int threads = threads_for(4 * N * C * L)
    cdef real factor = 0 if reduction == NONE else (dy[0] / <real> positions if reduction == MEAN else dy[0])
    for n in prange(N if C else 0, num_threads=threads, schedule="static"):
        if L == 1:
            _row_probability_gradients(x + n * C, w, (dy[n] if reduction == NONE else factor) * (1 - smoothing), dt + n * C, C)
        else:
            i = 0
            while i < L:
                _block_probability_gradients(
                    x + n * C * L + i, w, dy + n * L + i if reduction == NONE else dy, factor, reduction == NONE, smoothing,
                    dt + n * C * L + i, C, L, min(<Py_ssize_t> POSITIONS, L - i))
                i = i + POSITIONS


cdef void _row_probability_gradients(const real* x, const real* w, real scale, real* dt, Py_ssize_t C) noexcept nogil:
    cdef real top = maximum(x, C)
    cdef real log_sum = log_(<real> row_exponentials(x, top, <real*> NULL, C))
    cdef Py_ssize_t c
    for c in range(C):
        dt[c] = (top - x[c] + log_sum) * scale * (1 if w == NULL else w[c])


cdef void _block_probability_gradients(
    const real* x, const real* w, const real* dy, real factor, bint each, real smoothing, real* dt,
    Py_ssize_t C, Py_ssize_t L, Py_ssize_t count,
) noexcept nogil:
    cdef real top[POSITIONS]
    cdef real log_sum[POSITIONS]
    cdef real scale[POSITIONS]
    cdef Py_ssize_t c, j
    for j in range(count):
        top[j] = x[j]
        log_sum[j] = 0
        scale[j] = (1 - smoothing) * (dy[j] if each else factor)
    for c in range(1, C):
        for j in range(count):
            top[j] = x[c * L + j] if x[c * L + j] > top[j] else top[j]
    for c in range(C):
        for j in range(count):
            log_sum[j] += exp_(x[c * L + j] - top[j])
    for j in range(count):
        log_sum[j] = log_(log_sum[j])
    for c in range(C):
        for j in range(count):
            dt[c * L + j] = (top[j] - x[c * L + j] + log_sum[j]) * scale[j] * (1 if w == NULL else w[c])


def cross_entropy_probabilities_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray residual not None, double label_smoothing,
    str reduction, cnp.ndarray dx, cnp.ndarray dtarget,
):
    cdef Py_ssize_t N = length(x, 0), C = length(x, 1), L = length(x, 2)
    cdef Reduction how = _reduction(reduction)
    if is_float32(x):
        with nogil:
            if dx is not None:
                _scale_residual(
                    <const float*> data(dy), <const float*> data(residual), <float> (N * L), how, <float*> data(dx), N, C, L)
            if dtarget is not None:
                _probability_gradients(
                    <const float*> data(dy), <const float*> data(x), <const float*> data(weight), <float> label_smoothing, how,
                    <float*> data(dtarget), N, C, L)
    else:
        with nogil:
            if dx is not None:
                _scale_residual(
                    <const double*> data(dy), <const double*> data(residual), <double> (N * L), how, <double*> data(dx), N, C, L)
            if dtarget is not None:
                _probability_gradients(
                    <const double*> data(dy), <const double*> data(x), <const double*> data(weight), label_smoothing, how,
                    <double*> data(dtarget), N, C, L)


cdef void _nll(
    const real* x, const cnp.int64_t* target, const real* w, Py_ssize_t ignored, Reduction reduction, real total,
    real* y, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L,
) noexcept nogil:
    cdef double loss = 0
    cdef Py_ssize_t n, l, t
    cdef real one
    for n in range(N):
        for l in range(L):
            t = target[n * L + l]
            one = 0 if t == ignored else -x[(n * C + t) * L + l] * (1 if w == NULL else w[t])
            if reduction == NONE:
                y[n * L + l] = one
            loss += one
    if reduction != NONE:
        y[0] = <real> (loss / total if reduction == MEAN else loss)


def nll(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, Py_ssize_t ignore_index, str reduction,
    cnp.ndarray y, cnp.ndarray total,
):
    cdef Py_ssize_t N = length(x, 0), C = length(x, 1), L = length(x, 2)
    cdef const cnp.int64_t* classes = <const cnp.int64_t*> data(target)
    cdef Reduction how = _reduction(reduction)
    cdef float total32
    cdef double total64
    if is_float32(x):
        with nogil:
            _weigh(classes, <const float*> data(weight), ignore_index, N * L, &total32)
            if y is not None:
                _nll(<const float*> data(x), classes, <const float*> data(weight), ignore_index, how, total32, <float*> data(y), N, C, L)
            if total is not None:
                (<float*> data(total))[0] = total32
    else:
        with nogil:
            _weigh(classes, <const double*> data(weight), ignore_index, N * L, &total64)
            if y is not None:
                _nll(<const double*> data(x), classes, <const double*> data(weight), ignore_index, how, total64, <double*> data(y), N, C, L)
            if total is not None:
                (<double*> data(total))[0] = total64


cdef void _nll_backward(
    const real* dy, const cnp.int64_t* target, const real* w, Py_ssize_t ignored, Reduction reduction, real total,
    real* dx, Py_ssize_t N, Py_ssize_t C, Py_ssize_t L,
) noexcept nogil:
    cdef int threads = threads_for(N * C * L // 4)
    cdef real factor = 0 if reduction == NONE else (dy[0] / total if reduction == MEAN else dy[0])
    cdef Py_ssize_t n, l, t
    for n in prange(N, num_threads=threads, schedule="static"):
        for l in range(C * L):
            dx[n * C * L + l] = 0
        for l in range(L):
            t = target[n * L + l]
            if t != ignored:
                dx[(n * C + t) * L + l] = -(dy[n * L + l] if reduction == NONE else factor) * (1 if w == NULL else w[t])


def nll_backward(
    cnp.ndarray dy not None, cnp.ndarray target not None, cnp.ndarray weight, cnp.ndarray total not None, Py_ssize_t ignore_index,
    str reduction, tuple x_shape, cnp.ndarray dx not None,
):
    cdef Py_ssize_t N = length(dx, 0), C = length(dx, 1), L = length(dx, 2)
    cdef const cnp.int64_t* classes = <const cnp.int64_t*> data(target)
    cdef Reduction how = _reduction(reduction)
    if is_float32(dx):
        with nogil:
            _nll_backward(
                <const float*> data(dy), classes, <const float*> data(weight), ignore_index, how, (<const float*> data(total))[0],
                <float*> data(dx), N, C, L)
    else:
        with nogil:
            _nll_backward(
                <const double*> data(dy), classes, <const double*> data(weight), ignore_index, how, (<const double*> data(total))[0],
                <double*> data(dx), N, C, L)
