"""The numbers that say what a convolution is."""

cdef struct Geometry:
    Py_ssize_t N, C, H, W          # input; C is the channels of one group
    Py_ssize_t O, P, Q             # output; O is the channels of one group
    Py_ssize_t KH, KW
    Py_ssize_t sh, sw, top, left, dh, dw, groups
