# cython: cdivision=True
"""Normalization, compiled ahead of time: of channels (batch_norm), rows (layer_norm) and groups of channels (group_norm)."""

cimport numpy as cnp

from fastnn.kernels.arrays cimport data, is_float32, length, real
from fastnn.kernels.normalization.batch cimport Batch, batch_norm_forward, batch_norm_gradients, batch_of
from fastnn.kernels.normalization.groups cimport Groups, group_norm_forward, group_norm_gradients, groups_of
from fastnn.kernels.normalization.rows cimport layer_norm_forward, layer_norm_gradients

cnp.import_array()


def batch_norm(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray var
):
    cdef Batch batch = batch_of(length(x, 0), length(x, 1), length(x, 2), eps, True, True, cnp.PyArray_ITEMSIZE(x))
    if is_float32(x):
        with nogil:
            batch_norm_forward(
                &batch, <const float*> data(x), <const float*> data(weight), <const float*> data(bias),
                <float*> data(y), <float*> data(mean), <float*> data(var))
    else:
        with nogil:
            batch_norm_forward(
                &batch, <const double*> data(x), <const double*> data(weight), <const double*> data(bias),
                <double*> data(y), <double*> data(mean), <double*> data(var))


def batch_norm_evaluation(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray running_mean not None,
    cnp.ndarray running_var not None, double eps, cnp.ndarray y not None,
):
    cdef Batch batch = batch_of(length(x, 0), length(x, 1), length(x, 2), eps, False, False, cnp.PyArray_ITEMSIZE(x))
    if is_float32(x):
        with nogil:
            batch_norm_forward(
                &batch, <const float*> data(x), <const float*> data(weight), <const float*> data(bias),
                <float*> data(y), <float*> data(running_mean), <float*> data(running_var))
    else:
        with nogil:
            batch_norm_forward(
                &batch, <const double*> data(x), <const double*> data(weight), <const double*> data(bias),
                <double*> data(y), <double*> data(running_mean), <double*> data(running_var))


cdef _run_batch_norm_backward(
    bint training, cnp.ndarray dy, cnp.ndarray x, cnp.ndarray weight, cnp.ndarray mean, cnp.ndarray var, double eps,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    cdef bint sums = training or dweight is not None or dbias is not None
    cdef Batch batch = batch_of(length(x, 0), length(x, 1), length(x, 2), eps, training, sums, cnp.PyArray_ITEMSIZE(x))
    if is_float32(x):
        with nogil:
            batch_norm_gradients(
                &batch, <const float*> data(dy), <const float*> data(x), <const float*> data(weight),
                <const float*> data(mean), <const float*> data(var),
                <float*> data(dx), <float*> data(dweight), <float*> data(dbias))
    else:
        with nogil:
            batch_norm_gradients(
                &batch, <const double*> data(dy), <const double*> data(x), <const double*> data(weight),
                <const double*> data(mean), <const double*> data(var),
                <double*> data(dx), <double*> data(dweight), <double*> data(dbias))


def batch_norm_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray var not None,
    double eps, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    _run_batch_norm_backward(True, dy, x, weight, mean, var, eps, dx, dweight, dbias)


def batch_norm_evaluation_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray running_mean not None,
    cnp.ndarray running_var not None, double eps, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    _run_batch_norm_backward(False, dy, x, weight, running_mean, running_var, eps, dx, dweight, dbias)


cdef void _move(const real* value, const real* running, real momentum, real factor, real* result, Py_ssize_t n) noexcept nogil:
    """result = running + momentum (factor value - running)"""
    cdef Py_ssize_t i
    for i in range(n):
        result[i] = running[i] + momentum * (factor * value[i] - running[i])


def running_statistics(
    cnp.ndarray mean not None, cnp.ndarray var not None, cnp.ndarray running_mean not None, cnp.ndarray running_var not None,
    double momentum, Py_ssize_t count, cnp.ndarray new_running_mean, cnp.ndarray new_running_var,
):
    cdef Py_ssize_t C = length(mean, 0)
    cdef double unbiased = <double> count / <double> (count - 1)
    if is_float32(mean):
        with nogil:
            if new_running_mean is not None:
                _move(<const float*> data(mean), <const float*> data(running_mean), <float> momentum, <float> 1,
                      <float*> data(new_running_mean), C)
            if new_running_var is not None:
                _move(<const float*> data(var), <const float*> data(running_var), <float> momentum, <float> unbiased,
                      <float*> data(new_running_var), C)
    else:
        with nogil:
            if new_running_mean is not None:
                _move(<const double*> data(mean), <const double*> data(running_mean), momentum, <double> 1,
                      <double*> data(new_running_mean), C)
            if new_running_var is not None:
                _move(<const double*> data(var), <const double*> data(running_var), momentum, unbiased,
                      <double*> data(new_running_var), C)


def layer_norm(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, double eps, cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd
):
    cdef Py_ssize_t N = length(x, 0), D = length(x, 1)
    if is_float32(x):
        with nogil:
            layer_norm_forward(
                <const float*> data(x), <const float*> data(weight), <const float*> data(bias), eps,
                <float*> data(y), <float*> data(mean), <float*> data(rstd), N, D)
    else:
        with nogil:
            layer_norm_forward(
                <const double*> data(x), <const double*> data(weight), <const double*> data(bias), eps,
                <double*> data(y), <double*> data(mean), <double*> data(rstd), N, D)


def layer_norm_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray rstd not None,
    cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    cdef Py_ssize_t N = length(x, 0), D = length(x, 1)
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = layer_norm_gradients(
                <const float*> data(dy), <const float*> data(x), <const float*> data(weight), <const float*> data(mean),
                <const float*> data(rstd), <float*> data(dx), <float*> data(dweight), <float*> data(dbias), N, D)
    else:
        with nogil:
            failed = layer_norm_gradients(
                <const double*> data(dy), <const double*> data(x), <const double*> data(weight), <const double*> data(mean),
                <const double*> data(rstd), <double*> data(dx), <double*> data(dweight), <double*> data(dbias), N, D)
    if failed:
        raise MemoryError("layer_norm_backward: no room for partial sums")


def group_norm(
    cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray bias, Py_ssize_t groups, double eps,
    cnp.ndarray y, cnp.ndarray mean, cnp.ndarray rstd,
):
    cdef Groups shape = groups_of(length(x, 0), length(x, 1), length(x, 2), groups, cnp.PyArray_ITEMSIZE(x))
    if is_float32(x):
        with nogil:
            group_norm_forward(
                &shape, <const float*> data(x), <const float*> data(weight), <const float*> data(bias), eps,
                <float*> data(y), <float*> data(mean), <float*> data(rstd))
    else:
        with nogil:
            group_norm_forward(
                &shape, <const double*> data(x), <const double*> data(weight), <const double*> data(bias), eps,
                <double*> data(y), <double*> data(mean), <double*> data(rstd))


def group_norm_backward(
    cnp.ndarray dy not None, cnp.ndarray x not None, cnp.ndarray weight, cnp.ndarray mean not None, cnp.ndarray rstd not None,
    Py_ssize_t groups, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
):
    cdef Groups shape = groups_of(length(x, 0), length(x, 1), length(x, 2), groups, cnp.PyArray_ITEMSIZE(x))
    cdef int failed
    if is_float32(x):
        with nogil:
            failed = group_norm_gradients(
                &shape, <const float*> data(dy), <const float*> data(x), <const float*> data(weight), <const float*> data(mean),
                <const float*> data(rstd), <float*> data(dx), <float*> data(dweight), <float*> data(dbias))
    else:
        with nogil:
            failed = group_norm_gradients(
                &shape, <const double*> data(dy), <const double*> data(x), <const double*> data(weight), <const double*> data(mean),
                <const double*> data(rstd), <double*> data(dx), <double*> data(dweight), <double*> data(dbias))
    if failed:
        raise MemoryError("group_norm_backward: no room for partial sums")
