"""The numbers that say what a convolution is."""

cdef enum:
    LONGEST = 2560  # products that may be added up in float32, chunk after chunk: twice as many equal ones may err by 16 eps

cdef struct Geometry:
    Py_ssize_t N, C, H, W          # input; C is the channels of one group
    Py_ssize_t O, P, Q             # output; O is the channels of one group
    Py_ssize_t KH, KW
    Py_ssize_t sh, sw, top, left, dh, dw, groups
