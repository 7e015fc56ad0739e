# cython: cdivision=True
"""One step of an optimiser, compiled ahead of time: of one parameter, or of many as one.

The state is copied to the outputs where those are other arrays, and then changed in place: with few pointers that never overlap the
compiler vectorises the loops, which it does not where an output may be the memory of an input.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.string cimport memcpy

from fastnn.kernels.entry cimport Argument64, kernel
from fastnn.kernels.parallel cimport threads_for
from fastnn.kernels.update.loops cimport Update, adadelta_loop, adagrad_loop, adam_loop, rmsprop_loop, sgd_loop

cdef enum:
    BLOCK = 4096  # elements of a piece of work: a block of every array stays in L2
    MOST = 32     # updates that are made at a time


ctypedef void (*Rates)(const Argument64* options, Update* u) noexcept nogil
ctypedef void (*Loop32)(float* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
ctypedef void (*Loop64)(double* p, const Update* u, Py_ssize_t begin, Py_ssize_t end) noexcept nogil


cdef struct Optimizer:
    int states, options  # how many; the arguments are p, g, states, options, and the new p and states
    Rates rates          # from the options
    Loop32 loop32
    Loop64 loop64


cdef inline void* _in_place(const Argument64* source, const Argument64* target) noexcept nogil:
    """The output's memory with the input's values in it; NULL where one of them is absent."""
    if source.input == NULL or target.input == NULL:
        return NULL
    if source.input != target.input:
        memcpy(target.output, source.input, source.size * source.itemsize)
    return target.output


cdef inline bint _same_options(const Argument64* a, const Argument64* b, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if a[i].number != b[i].number:
            return False
    return True


cdef void _bind(const Optimizer* optimizer, const Argument64* a, Update* u) noexcept nogil:
    """The arrays of one update."""
    cdef const Argument64* outputs = a + 2 + optimizer.states + optimizer.options
    cdef int i
    u.p = _in_place(a, outputs)
    u.g = a[1].input
    for i in range(optimizer.states):
        u.state[i] = _in_place(a + 2 + i, outputs + 1 + i)
    u.n = a.size
    u.narrow = a.itemsize == sizeof(float)


cdef inline void _block(const Optimizer* optimizer, const Update* u, Py_ssize_t block) noexcept nogil:
    if u.narrow:
        optimizer.loop32(<float*> u.p, u, block * BLOCK, min(u.n, (block + 1) * BLOCK))
    else:
        optimizer.loop64(<double*> u.p, u, block * BLOCK, min(u.n, (block + 1) * BLOCK))


cdef inline Py_ssize_t _blocks(const Update* u) noexcept nogil:
    return (u.n + BLOCK - 1) // BLOCK


cdef void _block_of_all(const Optimizer* optimizer, const Update* u, Py_ssize_t block) noexcept nogil:
    """One of the blocks of many updates."""
    while block >= _blocks(u):
        block -= _blocks(u)
        u += 1
    _block(optimizer, u, block)


cdef int _update(const Optimizer* optimizer, const void** calls, Py_ssize_t count) noexcept nogil:
    """Some updates; threads share out the blocks of all of them."""
    cdef Update updates[MOST]
    cdef const Argument64* options = NULL
    cdef const Argument64* before
    cdef Py_ssize_t blocks = 0, elements = 0, i, block
    cdef int threads
    for i in range(count):
        before, options = options, <const Argument64*> calls[i] + 2 + optimizer.states
        if before != NULL and _same_options(options, before, optimizer.options):
            updates[i] = updates[i - 1]
        else:
            optimizer.rates(options, &updates[i])
        _bind(optimizer, <const Argument64*> calls[i], &updates[i])
        blocks += _blocks(&updates[i])
        elements += updates[i].n
    threads = threads_for(4 * elements)
    if threads == 1:
        for i in range(count):
            for block in range(_blocks(&updates[i])):
                _block(optimizer, &updates[i], block)
    else:
        for i in prange(blocks, num_threads=threads, schedule="static"):
            _block_of_all(optimizer, updates, i)
    return 0


cdef int _update_all(const Optimizer* optimizer, const void** calls, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t first = 0
    while first < count:
        _update(optimizer, calls + first, min(<Py_ssize_t> MOST, count - first))
        first += MOST
    return 0


cdef inline void _gradient_rates(Update* u, double weight_decay, bint decoupled, double lr, bint maximize) noexcept nogil:
    u.sign = -1 if maximize else 1
    u.decay = 0 if decoupled else weight_decay
    u.keep = 1 - lr * weight_decay if decoupled else 1
    u.state = [NULL, NULL, NULL]


cdef void _sgd_rates(const Argument64* o, Update* u) noexcept nogil:
    _gradient_rates(u, o[4].number, False, o[0].number, o[6].integer)
    u.rates = [o[0].number, o[1].number, 1 - o[2].number, o[5].number, o[3].number, 0, 0, 0]


cdef Optimizer SGD = Optimizer(1, 7, _sgd_rates, sgd_loop[float], sgd_loop[double])


cdef int sgd(const void* a) noexcept nogil:
    return _update(&SGD, &a, 1)


cdef int sgd_together(const void** calls, Py_ssize_t count) noexcept nogil:
    return _update_all(&SGD, calls, count)


kernel(globals(), "sgd(p, g, b?, float lr, float momentum, float dampening, "
       "bool nesterov, float weight_decay, bool first, bool maximize, p_new, b_new?)",
       sgd, sgd, sgd_together, sgd_together)


cdef void _adagrad_rates(const Argument64* o, Update* u) noexcept nogil:
    _gradient_rates(u, o[1].number, False, o[0].number, o[3].integer)
    u.rates = [o[0].number, o[2].number, 0, 0, 0, 0, 0, 0]


cdef Optimizer ADAGRAD = Optimizer(1, 4, _adagrad_rates, adagrad_loop[float], adagrad_loop[double])


cdef int adagrad(const void* a) noexcept nogil:
    return _update(&ADAGRAD, &a, 1)


cdef int adagrad_together(const void** calls, Py_ssize_t count) noexcept nogil:
    return _update_all(&ADAGRAD, calls, count)


kernel(globals(), "adagrad(p, g, s, float lr, float weight_decay, float eps, bool maximize, p_new, s_new)",
       adagrad, adagrad, adagrad_together, adagrad_together)


cdef void _adadelta_rates(const Argument64* o, Update* u) noexcept nogil:
    _gradient_rates(u, o[3].number, False, o[0].number, o[4].integer)
    u.rates = [o[0].number, o[1].number, 1 - o[1].number, o[2].number, 0, 0, 0, 0]


cdef Optimizer ADADELTA = Optimizer(2, 5, _adadelta_rates, adadelta_loop[float], adadelta_loop[double])


cdef int adadelta(const void* a) noexcept nogil:
    return _update(&ADADELTA, &a, 1)


cdef int adadelta_together(const void** calls, Py_ssize_t count) noexcept nogil:
    return _update_all(&ADADELTA, calls, count)


kernel(globals(), "adadelta(p, g, s, a, float lr, float rho, "
       "float eps, float weight_decay, bool maximize, p_new, s_new, a_new)",
       adadelta, adadelta, adadelta_together, adadelta_together)


cdef void _rmsprop_rates(const Argument64* o, Update* u) noexcept nogil:
    _gradient_rates(u, o[3].number, False, o[0].number, o[5].integer)
    u.rates = [o[0].number, o[1].number, 1 - o[1].number, o[2].number, o[4].number, 0, 0, 0]


cdef Optimizer RMSPROP = Optimizer(3, 6, _rmsprop_rates, rmsprop_loop[float], rmsprop_loop[double])


cdef int rmsprop(const void* a) noexcept nogil:
    return _update(&RMSPROP, &a, 1)


cdef int rmsprop_together(const void** calls, Py_ssize_t count) noexcept nogil:
    return _update_all(&RMSPROP, calls, count)


kernel(globals(), "rmsprop(p, g, s, mean?, b?, float lr, float alpha, "
       "float eps, float weight_decay, float momentum, bool maximize, p_new, s_new, mean_new?, b_new?)",
       rmsprop, rmsprop, rmsprop_together, rmsprop_together)


cdef void _adam_family_rates(
    Update* u, double rate, double gradient_rate, double beta1, double beta2, double eps, double step
) noexcept nogil:
    u.rates = [rate, beta1, 1 - beta1, beta2, 1 - beta2, 1 / sqrt(1 - beta2 ** step), eps, gradient_rate]


cdef void _adam_rates(const Argument64* o, Update* u) noexcept nogil:
    _gradient_rates(u, o[4].number, o[5].integer, o[0].number, o[7].integer)
    _adam_family_rates(u, o[0].number / (1 - o[1].number ** o[6].number), 0, o[1].number, o[2].number, o[3].number, o[6].number)
    if o[8].integer:  # eps is added before the correction
        u.rates[6] *= u.rates[5]


cdef Optimizer ADAM = Optimizer(3, 9, _adam_rates, adam_loop[float], adam_loop[double])


cdef int adam(const void* a) noexcept nogil:
    return _update(&ADAM, &a, 1)


cdef int adam_together(const void** calls, Py_ssize_t count) noexcept nogil:
    return _update_all(&ADAM, calls, count)


kernel(globals(), "adam(p, g, m, v, v_max?, float lr, float beta1, float beta2, "
       "float eps, float weight_decay, bool decoupled, int step, bool maximize, bool eps_hat, p_new, m_new, v_new, v_max_new?)",
       adam, adam, adam_together, adam_together)


cdef void _nadam_rates(const Argument64* o, Update* u) noexcept nogil:
    _gradient_rates(u, o[4].number, o[5].integer, o[0].number, o[9].integer)
    _adam_family_rates(u, o[8].number, o[7].number, o[1].number, o[2].number, o[3].number, o[6].number)


cdef Optimizer NADAM = Optimizer(2, 10, _nadam_rates, adam_loop[float], adam_loop[double])


cdef int nadam(const void* a) noexcept nogil:
    return _update(&NADAM, &a, 1)


cdef int nadam_together(const void** calls, Py_ssize_t count) noexcept nogil:
    return _update_all(&NADAM, calls, count)


kernel(globals(), "nadam(p, g, m, v, float lr, float beta1, float beta2, float eps, float weight_decay, "
       "bool decoupled, int step, float gradient_rate, float momentum_rate, bool maximize, p_new, m_new, v_new)",
       nadam, nadam, nadam_together, nadam_together)
