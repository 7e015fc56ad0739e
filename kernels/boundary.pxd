"""What other compiled modules take from the Python boundary."""

cimport numpy as cnp

cpdef bint valid_classes(cnp.ndarray target, Py_ssize_t classes, Py_ssize_t ignored) noexcept
