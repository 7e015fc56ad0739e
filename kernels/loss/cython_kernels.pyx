# cython: cdivision=True
"""Losses, compiled ahead of time: of elements, then of classes."""

cimport numpy as cnp

from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.loss.class_runs cimport (
    MEAN, Batch, cross_entropy_gradients, cross_entropy_losses, nll_gradients, nll_losses, reduction_of, weights_of_targets)
from fastnn.kernels.loss.classes cimport Target
from fastnn.kernels.loss.element_runs cimport elements_backward, elements_forward
from fastnn.kernels.loss.elements cimport BINARY, HINGE, L1, LOGITS, MSE, PERCEPTRON, SMOOTH_L1


# --- losses of elements


cdef int mse(const Argument* a) noexcept nogil:
    return elements_forward(
        MSE, a[0].input, a[1].input, NULL, NULL, 0, reduction_of(a[2].text), a[3].output, a[0].size)


cdef int mse_backward(const Argument* a) noexcept nogil:
    elements_backward(
        MSE, a[0].input, a[1].input, a[2].input, NULL, NULL, 0, reduction_of(a[3].text),
        a[4].output, a[5].output, a[1].size)
    return 0


cdef int l1(const Argument* a) noexcept nogil:
    return elements_forward(
        L1, a[0].input, a[1].input, NULL, NULL, 0, reduction_of(a[2].text), a[3].output, a[0].size)


cdef int l1_backward(const Argument* a) noexcept nogil:
    elements_backward(
        L1, a[0].input, a[1].input, a[2].input, NULL, NULL, 0, reduction_of(a[3].text),
        a[4].output, a[5].output, a[1].size)
    return 0


cdef int smooth_l1(const Argument* a) noexcept nogil:
    return elements_forward(
        SMOOTH_L1, a[0].input, a[1].input, NULL, NULL, a[2].number, reduction_of(a[3].text), a[4].output, a[0].size)


cdef int smooth_l1_backward(const Argument* a) noexcept nogil:
    elements_backward(
        SMOOTH_L1, a[0].input, a[1].input, a[2].input, NULL, NULL, a[3].number, reduction_of(a[4].text),
        a[5].output, a[6].output, a[1].size)
    return 0


cdef int binary_cross_entropy(const Argument* a) noexcept nogil:
    return elements_forward(
        BINARY, a[0].input, a[1].input, a[2].input, NULL, 0, reduction_of(a[3].text), a[4].output, a[0].size)


cdef int binary_cross_entropy_backward(const Argument* a) noexcept nogil:
    elements_backward(
        BINARY, a[0].input, a[1].input, a[2].input, a[3].input, NULL, 0, reduction_of(a[4].text),
        a[5].output, a[6].output, a[1].size)
    return 0


cdef int binary_cross_entropy_with_logits(const Argument* a) noexcept nogil:
    return elements_forward(
        LOGITS, a[0].input, a[1].input, a[2].input, a[3].input, 0, reduction_of(a[4].text), a[5].output, a[0].size)


cdef int binary_cross_entropy_with_logits_backward(const Argument* a) noexcept nogil:
    elements_backward(
        LOGITS, a[0].input, a[1].input, a[2].input, a[3].input, a[4].input, 0, reduction_of(a[5].text),
        a[6].output, a[7].output, a[1].size)
    return 0


cdef int hinge_loss(const Argument* a) noexcept nogil:
    return elements_forward(
        HINGE, a[0].input, a[1].input, NULL, NULL, 0, reduction_of(a[2].text), a[3].output, a[0].size)


cdef int hinge_loss_backward(const Argument* a) noexcept nogil:
    elements_backward(
        HINGE, a[0].input, a[1].input, a[2].input, NULL, NULL, 0, reduction_of(a[3].text),
        a[4].output, NULL, a[1].size)
    return 0


cdef int perceptron_loss(const Argument* a) noexcept nogil:
    return elements_forward(
        PERCEPTRON, a[0].input, a[1].input, NULL, NULL, 0, reduction_of(a[2].text), a[3].output, a[0].size)


cdef int perceptron_loss_backward(const Argument* a) noexcept nogil:
    elements_backward(
        PERCEPTRON, a[0].input, a[1].input, a[2].input, NULL, NULL, 0, reduction_of(a[3].text),
        a[4].output, NULL, a[1].size)
    return 0


# --- losses of classes


cdef inline Target _target(
    const cnp.int64_t* classes, const Argument* weight, Py_ssize_t ignored, double smoothing, Py_ssize_t C
) noexcept nogil:
    """``classes`` is NULL where the targets are distributions."""
    cdef Target target = Target(classes, ignored, C, smoothing, C)
    cdef Py_ssize_t c
    if weight.given and smoothing > 0:
        target.weights = 0
        for c in range(C):
            target.weights += weight.input[c]
    return target


cdef int cross_entropy(const Argument* a) noexcept nogil:
    """x, target, weight?, ignore_index, label_smoothing, reduction -> y, top, exponentials, total"""
    cdef Batch batch = Batch(a[0].dims[0], a[0].dims[2], reduction_of(a[5].text))
    cdef Target goal = _target(<const cnp.int64_t*> a[1].input, &a[2], a[3].integer, a[4].number, a[0].dims[1])
    cdef double total = weights_of_targets(&goal, a[2].input, batch.N * batch.L)
    if a[9].given:
        a[9].output[0] = total
    return cross_entropy_losses(
        &batch, &goal, a[0].input, a[2].input, NULL, total, a[6].output, a[7].output, a[8].output)


cdef int cross_entropy_backward(const Argument* a) noexcept nogil:
    cdef Batch batch = Batch(a[1].dims[0], a[1].dims[2], reduction_of(a[9].text))
    cdef Target goal = _target(<const cnp.int64_t*> a[2].input, &a[3], a[7].integer, a[8].number, a[1].dims[1])
    cross_entropy_gradients(
        &batch, &goal, a[0].input, a[1].input, a[3].input, NULL, a[4].input, a[5].input,
        a[6].input[0] if batch.reduction == MEAN else 1, a[10].output, NULL)
    return 0


cdef int cross_entropy_probabilities(const Argument* a) noexcept nogil:
    cdef Batch batch = Batch(a[0].dims[0], a[0].dims[2], reduction_of(a[4].text))
    cdef Target goal = _target(NULL, &a[2], 0, a[3].number, a[0].dims[1])
    return cross_entropy_losses(
        &batch, &goal, a[0].input, a[2].input, a[1].input, batch.N * batch.L, a[5].output, a[6].output, a[7].output)


cdef int cross_entropy_probabilities_backward(const Argument* a) noexcept nogil:
    cdef Batch batch = Batch(a[1].dims[0], a[1].dims[2], reduction_of(a[7].text))
    cdef Target goal = _target(NULL, &a[3], 0, a[6].number, a[1].dims[1])
    cross_entropy_gradients(
        &batch, &goal, a[0].input, a[1].input, a[3].input, a[2].input, a[4].input, a[5].input,
        batch.N * batch.L if batch.reduction == MEAN else 1, a[8].output, a[9].output)
    return 0


cdef int nll(const Argument* a) noexcept nogil:
    cdef Batch batch = Batch(a[0].dims[0], a[0].dims[2], reduction_of(a[4].text))
    cdef Target goal = _target(<const cnp.int64_t*> a[1].input, &a[2], a[3].integer, 0, a[0].dims[1])
    cdef double total = weights_of_targets(&goal, a[2].input, batch.N * batch.L)
    if a[5].given:
        nll_losses(&batch, &goal, a[0].input, a[2].input, total, a[5].output)
    if a[6].given:
        a[6].output[0] = total
    return 0


cdef int nll_backward(const Argument* a) noexcept nogil:
    cdef Batch batch = Batch(a[7].dims[0], a[7].dims[2], reduction_of(a[5].text))
    cdef Target goal = _target(<const cnp.int64_t*> a[1].input, &a[2], a[4].integer, 0, a[7].dims[1])
    nll_gradients(&batch, &goal, a[0].input, a[2].input, a[3].input[0], a[7].output)
    return 0


kernel(globals(), "mse(x, target, str reduction, y)", <Entry> mse[Argument32], <Entry> mse[Argument64])
kernel(globals(), "mse_backward(dy, x, target, str reduction, dx?, dtarget?)",
       <Entry> mse_backward[Argument32], <Entry> mse_backward[Argument64])
kernel(globals(), "l1(x, target, str reduction, y)", <Entry> l1[Argument32], <Entry> l1[Argument64])
kernel(globals(), "l1_backward(dy, x, target, str reduction, dx?, dtarget?)",
       <Entry> l1_backward[Argument32], <Entry> l1_backward[Argument64])
kernel(globals(), "smooth_l1(x, target, float beta, str reduction, y)",
       <Entry> smooth_l1[Argument32], <Entry> smooth_l1[Argument64])
kernel(globals(), "smooth_l1_backward(dy, x, target, float beta, str reduction, dx?, dtarget?)",
       <Entry> smooth_l1_backward[Argument32], <Entry> smooth_l1_backward[Argument64])
kernel(globals(), "binary_cross_entropy(x, target, weight?, str reduction, y)",
       <Entry> binary_cross_entropy[Argument32], <Entry> binary_cross_entropy[Argument64])
kernel(globals(), "binary_cross_entropy_backward(dy, x, target, weight?, str reduction, dx?, dtarget?)",
       <Entry> binary_cross_entropy_backward[Argument32], <Entry> binary_cross_entropy_backward[Argument64])
kernel(globals(), "binary_cross_entropy_with_logits(x, target, weight?, pos_weight?, str reduction, y)",
       <Entry> binary_cross_entropy_with_logits[Argument32], <Entry> binary_cross_entropy_with_logits[Argument64])
kernel(globals(), "binary_cross_entropy_with_logits_backward(dy, x, target, weight?, pos_weight?, str reduction, dx?, dtarget?)",
       <Entry> binary_cross_entropy_with_logits_backward[Argument32],
       <Entry> binary_cross_entropy_with_logits_backward[Argument64])
kernel(globals(), "hinge_loss(x, target, str reduction, y)", <Entry> hinge_loss[Argument32], <Entry> hinge_loss[Argument64])
kernel(globals(), "hinge_loss_backward(dy, x, target, str reduction, dx?)",
       <Entry> hinge_loss_backward[Argument32], <Entry> hinge_loss_backward[Argument64])
kernel(globals(), "perceptron_loss(x, target, str reduction, y)",
       <Entry> perceptron_loss[Argument32], <Entry> perceptron_loss[Argument64])
kernel(globals(), "perceptron_loss_backward(dy, x, target, str reduction, dx?)",
       <Entry> perceptron_loss_backward[Argument32], <Entry> perceptron_loss_backward[Argument64])
kernel(globals(), "cross_entropy(x, target, weight?, int ignore_index, float label_smoothing, str reduction, "
       "y?, top?, exponentials?, total?)",
       <Entry> cross_entropy[Argument32], <Entry> cross_entropy[Argument64])
kernel(globals(), "cross_entropy_backward(dy, x, target, weight?, top, exponentials, "
       "total, int ignore_index, float label_smoothing, str reduction, dx)",
       <Entry> cross_entropy_backward[Argument32], <Entry> cross_entropy_backward[Argument64])
kernel(globals(), "cross_entropy_probabilities(x, target, weight?, float label_smoothing, str reduction, "
       "y?, top?, exponentials?)",
       <Entry> cross_entropy_probabilities[Argument32], <Entry> cross_entropy_probabilities[Argument64])
kernel(globals(), "cross_entropy_probabilities_backward(dy, x, target, weight?, top, exponentials, "
       "float label_smoothing, str reduction, dx?, dtarget?)",
       <Entry> cross_entropy_probabilities_backward[Argument32], <Entry> cross_entropy_probabilities_backward[Argument64])
kernel(globals(), "nll(x, target, weight?, int ignore_index, str reduction, y?, total?)",
       <Entry> nll[Argument32], <Entry> nll[Argument64])
kernel(globals(), "nll_backward(dy, target, weight?, total, int ignore_index, str reduction, tuple x_shape, dx)",
       <Entry> nll_backward[Argument32], <Entry> nll_backward[Argument64])
