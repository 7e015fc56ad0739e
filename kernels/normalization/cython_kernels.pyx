# cython: cdivision=True
"""Normalization, compiled ahead of time: of channels (batch_norm), rows (layer_norm) and groups of channels (group_norm)."""

from fastnn.kernels.arrays cimport real
from fastnn.kernels.entry cimport Argument, Argument32, Argument64, Entry, kernel
from fastnn.kernels.normalization.batch cimport Batch, batch_norm_forward, batch_norm_gradients, batch_of
from fastnn.kernels.normalization.groups cimport Groups, group_norm_forward, group_norm_gradients, groups_of
from fastnn.kernels.normalization.rows cimport layer_norm_forward, layer_norm_gradients


cdef inline Batch _batch(const Argument* x, double eps, bint training, bint sums) noexcept nogil:
    return batch_of(x.dims[0], x.dims[1], x.dims[2], eps, training, sums, x.itemsize)


cdef int batch_norm(const Argument* a) noexcept nogil:
    cdef Batch batch = _batch(a, a[3].number, True, True)
    batch_norm_forward(&batch, a[0].input, a[1].input, a[2].input, a[4].output, a[5].output, a[6].output)
    return 0


cdef int batch_norm_evaluation(const Argument* a) noexcept nogil:
    cdef Batch batch = _batch(a, a[5].number, False, False)
    batch_norm_forward(&batch, a[0].input, a[1].input, a[2].input, a[6].output, a[3].output, a[4].output)
    return 0


cdef int _batch_norm_backward(const Argument* a, bint training) noexcept nogil:
    cdef Batch batch = _batch(a + 1, a[5].number, training, training or a[7].given or a[8].given)
    batch_norm_gradients(
        &batch, a[0].input, a[1].input, a[2].input, a[3].input, a[4].input, a[6].output, a[7].output, a[8].output)
    return 0


cdef int batch_norm_backward(const Argument* a) noexcept nogil:
    return _batch_norm_backward(a, True)


cdef int batch_norm_evaluation_backward(const Argument* a) noexcept nogil:
    return _batch_norm_backward(a, False)


cdef void _move(const real* value, const real* running, real momentum, real factor, real* result, Py_ssize_t n) noexcept nogil:
    """result = running + momentum (factor value - running)"""
    cdef Py_ssize_t i
    for i in range(n):
        result[i] = running[i] + momentum * (factor * value[i] - running[i])


cdef int running_statistics(const Argument* a) noexcept nogil:
    """mean, var, running_mean, running_var, momentum, count -> new_running_mean, new_running_var"""
    cdef double unbiased = a[5].number / (a[5].number - 1)
    if a[6].given:
        _move(a[0].input, a[2].input, a[4].number, 1, a[6].output, a[0].size)
    if a[7].given:
        _move(a[1].input, a[3].input, a[4].number, unbiased, a[7].output, a[0].size)
    return 0


cdef int layer_norm(const Argument* a) noexcept nogil:
    layer_norm_forward(
        a[0].input, a[1].input, a[2].input, a[3].number, a[4].output, a[5].output, a[6].output, a[0].dims[0], a[0].dims[1])
    return 0


cdef int layer_norm_backward(const Argument* a) noexcept nogil:
    return layer_norm_gradients(
        a[0].input, a[1].input, a[2].input, a[3].input, a[4].input, a[5].output, a[6].output, a[7].output,
        a[1].dims[0], a[1].dims[1])


cdef inline Groups _groups(const Argument* x, Py_ssize_t groups) noexcept nogil:
    return groups_of(x.dims[0], x.dims[1], x.dims[2], groups, x.itemsize)


cdef int group_norm(const Argument* a) noexcept nogil:
    cdef Groups shape = _groups(a, a[3].integer)
    group_norm_forward(
        &shape, a[0].input, a[1].input, a[2].input, a[4].number, a[5].output, a[6].output, a[7].output)
    return 0


cdef int group_norm_backward(const Argument* a) noexcept nogil:
    cdef Groups shape = _groups(a + 1, a[5].integer)
    return group_norm_gradients(
        &shape, a[0].input, a[1].input, a[2].input, a[3].input, a[4].input, a[6].output, a[7].output, a[8].output)


kernel(globals(), "batch_norm(x, weight?, bias?, float eps, y?, mean?, var?)",
       <Entry> batch_norm[Argument32], <Entry> batch_norm[Argument64])
kernel(globals(), "batch_norm_evaluation(x, weight?, bias?, running_mean, running_var, float eps, y)",
       <Entry> batch_norm_evaluation[Argument32], <Entry> batch_norm_evaluation[Argument64])
kernel(globals(), "batch_norm_backward(dy, x, weight?, mean, var, float eps, dx?, dweight?, dbias?)",
       <Entry> batch_norm_backward[Argument32], <Entry> batch_norm_backward[Argument64])
kernel(globals(), "batch_norm_evaluation_backward(dy, x, weight?, running_mean, running_var, float eps, dx?, dweight?, dbias?)",
       <Entry> batch_norm_evaluation_backward[Argument32], <Entry> batch_norm_evaluation_backward[Argument64])
kernel(globals(), "running_statistics(mean, var, running_mean, running_var, float momentum, "
       "int count, new_running_mean?, new_running_var?)",
       <Entry> running_statistics[Argument32], <Entry> running_statistics[Argument64])
kernel(globals(), "layer_norm(x, weight?, bias?, float eps, y?, mean?, rstd?)",
       <Entry> layer_norm[Argument32], <Entry> layer_norm[Argument64])
kernel(globals(), "layer_norm_backward(dy, x, weight?, mean, rstd, dx?, dweight?, dbias?)",
       <Entry> layer_norm_backward[Argument32], <Entry> layer_norm_backward[Argument64])
kernel(globals(), "group_norm(x, weight?, bias?, int groups, float eps, y?, mean?, rstd?)",
       <Entry> group_norm[Argument32], <Entry> group_norm[Argument64])
kernel(globals(), "group_norm_backward(dy, x, weight?, mean, rstd, int groups, dx?, dweight?, dbias?)",
       <Entry> group_norm_backward[Argument32], <Entry> group_norm_backward[Argument64])
