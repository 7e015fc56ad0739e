"""Gradient of a convolution's bias: sums over images and pixels."""

from cython.parallel cimport prange

from fastnn.kernels.arrays cimport real
from fastnn.kernels.convolution.geometry cimport Geometry
from fastnn.kernels.parallel cimport threads_for

cdef extern from "simd/partial.h" nogil:
    double sum_row_f32 "fastnn_sum_row_f32"(const float* p, Py_ssize_t n) noexcept
    double sum_row_f64 "fastnn_sum_row_f64"(const double* p, Py_ssize_t n) noexcept


cdef inline real sum_channel(const real* dy, Py_ssize_t images, Py_ssize_t pixels, Py_ssize_t step) noexcept nogil:
    cdef double total = 0
    cdef Py_ssize_t n
    for n in range(images):
        if real is float:
            total += sum_row_f32(dy + n * step, pixels)
        else:
            total += sum_row_f64(dy + n * step, pixels)
    return <real> total


cdef inline void bias_gradient(const real* dy, real* db, const Geometry* g) noexcept nogil:
    cdef Py_ssize_t pixels = g.P * g.Q, channels = g.groups * g.O, o
    cdef int threads = threads_for(g.N * channels * pixels // 4)
    if threads == 1:
        for o in range(channels):
            db[o] = sum_channel(dy + o * pixels, g.N, pixels, channels * pixels)
    else:
        for o in prange(channels, num_threads=threads, schedule="static"):
            db[o] = sum_channel(dy + o * pixels, g.N, pixels, channels * pixels)
