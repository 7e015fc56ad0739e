"""Loops over contiguous memory as vector code. Sums are added up in chunks, in one order whatever the number of threads."""

from fastnn.kernels.arrays cimport real

cdef extern from "simd/stream.h" nogil:
    void fence "fastnn_fence"() noexcept

cdef extern from "simd/runs.h" nogil:
    float sum_f32 "fastnn_run_sum_f32"(const float* x, Py_ssize_t n) noexcept
    double sum_f64 "fastnn_run_sum_f64"(const double* x, Py_ssize_t n) noexcept
    float dot_f32 "fastnn_run_dot_f32"(const float* x, const float* y, Py_ssize_t n) noexcept
    double dot_f64 "fastnn_run_dot_f64"(const double* x, const double* y, Py_ssize_t n) noexcept
    float maximum_f32 "fastnn_run_maximum_f32"(const float* x, Py_ssize_t n) noexcept
    double maximum_f64 "fastnn_run_maximum_f64"(const double* x, Py_ssize_t n) noexcept
    void fill_f32 "fastnn_run_fill_f32"(float value, float* y, Py_ssize_t n, bint past) noexcept
    void fill_f64 "fastnn_run_fill_f64"(double value, double* y, Py_ssize_t n, bint past) noexcept
    void scale_f32 "fastnn_run_scale_f32"(const float* x, float factor, float* y, Py_ssize_t n, bint past) noexcept
    void scale_f64 "fastnn_run_scale_f64"(const double* x, double factor, double* y, Py_ssize_t n, bint past) noexcept

cdef extern from "simd/exponentials.h" nogil:
    float beside_f32 "fastnn_run_exponentials_beside_f32"(
        const float* x, float top, float* e, const float* next, float* next_top, Py_ssize_t n) noexcept
    double beside_f64 "fastnn_run_exponentials_beside_f64"(
        const double* x, double top, double* e, const double* next, double* next_top, Py_ssize_t n) noexcept
    void powers_f32 "fastnn_run_powers_f32"(const float* x, const float* top, float* e, Py_ssize_t n) noexcept
    void powers_f64 "fastnn_run_powers_f64"(const double* x, const double* top, double* e, Py_ssize_t n) noexcept

cdef enum:
    CHUNK = 1024  # elements that are added in the dtype itself before the sum goes into a double
    LARGE = 4 << 20  # bytes of a result from which it goes past the caches
    LARGE_FILL = 32 << 20  # and where little is read for it: 51 MB in 2.1 ms instead of 3.2, but slower where a cache holds all


cdef inline void fill(real value, real* y, Py_ssize_t n, bint past) noexcept nogil:
    """y = value, past the caches or not; a fence has to follow stores past the caches."""
    if real is float:
        fill_f32(value, y, n, past)
    else:
        fill_f64(value, y, n, past)


cdef inline void scale(const real* x, real factor, real* y, Py_ssize_t n, bint past) noexcept nogil:
    """y = factor x, past the caches or not; a fence has to follow stores past the caches."""
    if real is float:
        scale_f32(x, factor, y, n, past)
    else:
        scale_f64(x, factor, y, n, past)


cdef inline real chunk_sum(const real* x, Py_ssize_t n) noexcept nogil:
    """Sum of n <= CHUNK elements."""
    if real is float:
        return sum_f32(x, n)
    else:
        return sum_f64(x, n)


cdef inline double long_sum(const real* x, Py_ssize_t n) noexcept nogil:
    """Sum of any number of elements, chunk by chunk."""
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += chunk_sum(x + i, min(<Py_ssize_t> CHUNK, n - i))
        i += CHUNK
    return total


cdef inline real chunk_dot(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    """Sum of the products of n <= CHUNK elements."""
    if real is float:
        return dot_f32(x, y, n)
    else:
        return dot_f64(x, y, n)


cdef inline double long_dot(const real* x, const real* y, Py_ssize_t n) noexcept nogil:
    """Sum of the products of any number of elements, chunk by chunk."""
    cdef double total = 0
    cdef Py_ssize_t i = 0
    while i < n:
        total += chunk_dot(x + i, y + i, min(<Py_ssize_t> CHUNK, n - i))
        i += CHUNK
    return total


cdef inline real maximum(const real* x, Py_ssize_t n) noexcept nogil:
    """The largest of n >= 1 elements; a NaN among them may be passed over."""
    if real is float:
        return maximum_f32(x, n)
    else:
        return maximum_f64(x, n)


cdef inline double exponentials_beside(
    const real* x, real top, real* e, const real* next, real* next_top, Py_ssize_t n
) noexcept nogil:
    """Sum of exp(x - top), whose terms go to ``e`` (may be x) unless it is NULL, and meanwhile the largest of n >= 1 elements of ``next``;
    a NaN among them may be passed over."""
    cdef double total = 0
    cdef Py_ssize_t i = 0, count
    next_top[0] = next[0]
    while i < n:
        count = min(<Py_ssize_t> CHUNK, n - i)
        if real is float:
            total += beside_f32(x + i, top, <real*> NULL if e == NULL else e + i, next + i, next_top, count)
        else:
            total += beside_f64(x + i, top, <real*> NULL if e == NULL else e + i, next + i, next_top, count)
        i += CHUNK
    return total


cdef inline void powers(const real* x, const real* top, real* e, Py_ssize_t n) noexcept nogil:
    """e[j] = exp(x[j] - top[j])"""
    if real is float:
        powers_f32(x, top, e, n)
    else:
        powers_f64(x, top, e, n)
