# cython: cdivision=True
"""Losses, compiled ahead of time: of elements, then of classes."""

cimport numpy as cnp

from fastnn.kernels.arrays cimport data, is_float32, length, size
from fastnn.kernels.loss.class_runs cimport (
    MEAN, Batch, Reduction, cross_entropy_gradients, cross_entropy_losses, nll_gradients, nll_losses, reduction_of, weights_of_targets,
)
from fastnn.kernels.loss.classes cimport Target
from fastnn.kernels.loss.element_runs cimport elements_backward, elements_forward
from fastnn.kernels.loss.elements cimport BINARY, HINGE, L1, LOGITS, MSE, PERCEPTRON, SMOOTH_L1, Loss

cnp.import_array()


# --- losses of elements


cdef _run_elements(
    Loss loss, cnp.ndarray x, cnp.ndarray t, cnp.ndarray w, cnp.ndarray p, double beta, str reduction, cnp.ndarray y
):
    cdef Py_ssize_t n = size(x)
    cdef Reduction how = reduction_of(reduction)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = elements_forward(
                loss, <const float*> data(x), <const float*> data(t), <const float*> data(w), <const float*> data(p),
                beta, how, <float*> data(y), n)
    else:
        with nogil:
            failed = elements_forward(
                loss, <const double*> data(x), <const double*> data(t), <const double*> data(w), <const double*> data(p),
                beta, how, <double*> data(y), n)
    if failed:
        raise MemoryError("loss: no room for the partial sums")


cdef _run_elements_backward(
    Loss loss, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray t, cnp.ndarray w, cnp.ndarray p, double beta, str reduction,
    cnp.ndarray dx, cnp.ndarray dt,
):
    cdef Py_ssize_t n = size(x)
    cdef Reduction how = reduction_of(reduction)
    if is_float32(x):
        with nogil:
            elements_backward(
                loss, <const float*> data(dy), <const float*> data(x), <const float*> data(t), <const float*> data(w),
                <const float*> data(p), beta, how, <float*> data(dx), <float*> data(dt), n)
    else:
        with nogil:
            elements_backward(
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


cdef Target _target(cnp.ndarray classes, cnp.ndarray weight, Py_ssize_t ignored, double smoothing, Py_ssize_t C):
    cdef Target target = Target(<const cnp.int64_t*> data(classes), ignored, C, smoothing, C)
    cdef Py_ssize_t c
    if weight is not None and smoothing > 0:
        target.weights = 0
        for c in range(C):
            target.weights += (<const float*> data(weight))[c] if is_float32(weight) else (<const double*> data(weight))[c]
    return target


def cross_entropy(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, Py_ssize_t ignore_index, double label_smoothing,
    str reduction, cnp.ndarray y, cnp.ndarray top, cnp.ndarray exponentials, cnp.ndarray total,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 2), reduction_of(reduction))
    cdef Target goal = _target(target, weight, ignore_index, label_smoothing, length(x, 1))
    cdef float total32
    cdef double total64
    cdef int failed
    if is_float32(x):
        with nogil:
            total32 = weights_of_targets(&goal, <const float*> data(weight), batch.N * batch.L)
            failed = cross_entropy_losses(
                &batch, &goal, <const float*> data(x), <const float*> data(weight), <const float*> NULL, total32,
                <float*> data(y), <float*> data(top), <float*> data(exponentials))
            if total is not None:
                (<float*> data(total))[0] = total32
    else:
        with nogil:
            total64 = weights_of_targets(&goal, <const double*> data(weight), batch.N * batch.L)
            failed = cross_entropy_losses(
                &batch, &goal, <const double*> data(x), <const double*> data(weight), <const double*> NULL, total64,
                <double*> data(y), <double*> data(top), <double*> data(exponentials))
            if total is not None:
                (<double*> data(total))[0] = total64
    if failed:
        raise MemoryError("cross_entropy: no room for the losses")


def cross_entropy_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, cnp.ndarray top not None,
    cnp.ndarray exponentials not None, cnp.ndarray total not None, Py_ssize_t ignore_index, double label_smoothing, str reduction,
    cnp.ndarray dx not None,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 2), reduction_of(reduction))
    cdef Target goal = _target(target, weight, ignore_index, label_smoothing, length(x, 1))
    if is_float32(x):
        with nogil:
            cross_entropy_gradients(
                &batch, &goal, <const float*> data(dy), <const float*> data(x), <const float*> data(weight), <const float*> NULL,
                <const float*> data(top), <const float*> data(exponentials),
                (<const float*> data(total))[0] if batch.reduction == MEAN else <float> 1, <float*> data(dx), <float*> NULL)
    else:
        with nogil:
            cross_entropy_gradients(
                &batch, &goal, <const double*> data(dy), <const double*> data(x), <const double*> data(weight), <const double*> NULL,
                <const double*> data(top), <const double*> data(exponentials),
                (<const double*> data(total))[0] if batch.reduction == MEAN else <double> 1, <double*> data(dx), <double*> NULL)


def cross_entropy_probabilities(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, double label_smoothing, str reduction,
    cnp.ndarray y, cnp.ndarray top, cnp.ndarray exponentials,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 2), reduction_of(reduction))
    cdef Target goal = _target(None, weight, 0, label_smoothing, length(x, 1))
    cdef Py_ssize_t positions = batch.N * batch.L
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = cross_entropy_losses(
                &batch, &goal, <const float*> data(x), <const float*> data(weight), <const float*> data(target), <float> positions,
                <float*> data(y), <float*> data(top), <float*> data(exponentials))
    else:
        with nogil:
            failed = cross_entropy_losses(
                &batch, &goal, <const double*> data(x), <const double*> data(weight), <const double*> data(target), <double> positions,
                <double*> data(y), <double*> data(top), <double*> data(exponentials))
    if failed:
        raise MemoryError("cross_entropy_probabilities: no room for the losses")


def cross_entropy_probabilities_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, cnp.ndarray top not None,
    cnp.ndarray exponentials not None, double label_smoothing, str reduction, cnp.ndarray dx, cnp.ndarray dtarget,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 2), reduction_of(reduction))
    cdef Target goal = _target(None, weight, 0, label_smoothing, length(x, 1))
    cdef Py_ssize_t divisor = batch.N * batch.L if batch.reduction == MEAN else 1
    if is_float32(x):
        with nogil:
            cross_entropy_gradients(
                &batch, &goal, <const float*> data(dy), <const float*> data(x), <const float*> data(weight),
                <const float*> data(target), <const float*> data(top), <const float*> data(exponentials),
                <float> divisor, <float*> data(dx), <float*> data(dtarget))
    else:
        with nogil:
            cross_entropy_gradients(
                &batch, &goal, <const double*> data(dy), <const double*> data(x), <const double*> data(weight),
                <const double*> data(target), <const double*> data(top), <const double*> data(exponentials),
                <double> divisor, <double*> data(dx), <double*> data(dtarget))


def nll(
    cnp.ndarray x not None, cnp.ndarray target not None, cnp.ndarray weight, Py_ssize_t ignore_index, str reduction,
    cnp.ndarray y, cnp.ndarray total,
):
    cdef Batch batch = Batch(length(x, 0), length(x, 2), reduction_of(reduction))
    cdef Target goal = _target(target, weight, ignore_index, 0, length(x, 1))
    cdef float total32
    cdef double total64
    if is_float32(x):
        with nogil:
            total32 = weights_of_targets(&goal, <const float*> data(weight), batch.N * batch.L)
            if y is not None:
                nll_losses(&batch, &goal, <const float*> data(x), <const float*> data(weight), total32, <float*> data(y))
            if total is not None:
                (<float*> data(total))[0] = total32
    else:
        with nogil:
            total64 = weights_of_targets(&goal, <const double*> data(weight), batch.N * batch.L)
            if y is not None:
                nll_losses(&batch, &goal, <const double*> data(x), <const double*> data(weight), total64, <double*> data(y))
            if total is not None:
                (<double*> data(total))[0] = total64


def nll_backward(
    cnp.ndarray dy not None, cnp.ndarray target not None, cnp.ndarray weight, cnp.ndarray total not None, Py_ssize_t ignore_index,
    str reduction, tuple x_shape, cnp.ndarray dx not None,
):
    cdef Batch batch = Batch(length(dx, 0), length(dx, 2), reduction_of(reduction))
    cdef Target goal = _target(target, weight, ignore_index, 0, length(dx, 1))
    if is_float32(dx):
        with nogil:
            nll_gradients(
                &batch, &goal, <const float*> data(dy), <const float*> data(weight), (<const float*> data(total))[0], <float*> data(dx))
    else:
        with nogil:
            nll_gradients(
                &batch, &goal, <const double*> data(dy), <const double*> data(weight), (<const double*> data(total))[0],
                <double*> data(dx))
