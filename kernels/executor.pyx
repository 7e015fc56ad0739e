"""Runs a list of kernel calls whose arguments were fixed once: a training step, or all steps of an epoch.

Compiled kernels are entered with blocks of plain C arguments that are made once; anything else (a Numba kernel, the reference, a user's
operator) is called by Python. What takes a microsecond or more runs without the GIL, and takes it for such calls alone.
"""

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF, Py_XINCREF
from libc.string cimport memcpy

from fastnn.kernels.batches cimport Source, gather
from fastnn.kernels.entry cimport MOST_NUMBERS, Argument64, Kernel, kernel_of
from fastnn.kernels.pullback cimport PyObject_Vectorcall
from fastnn.kernels.room cimport make_room

cnp.import_array()

cdef extern from "<time.h>" nogil:
    struct timespec:
        long long tv_sec
        long tv_nsec
    int timespec_get(timespec* time, int base)
    const int TIME_UTC

cdef enum:
    RELEASED_FROM = 16384  # elements of all calls' arrays from which a single run releases the GIL; they take a microsecond or two
    SIGNALS = 25_000_000   # nanoseconds of an epoch after which, and in less than three times as many, signals are looked for


cdef struct Lookout:  # for signals
    long long last             # the clock when somebody looked
    Py_ssize_t batches, most   # since then; and how many may pass until the clock is read


cdef class Executor:
    """Kernel calls in order.

    Parameters
    ----------
    calls : sequence of (callable, sequence of arguments)
    counters : sequence of int64 arrays
        Their elements grow by one before each run.
    """

    def __cinit__(self, calls, counters):
        cdef Py_ssize_t i
        self.held = tuple(counters)
        self.calls = <Call*> make_room(len(calls), sizeof(Call))
        self.arguments = <const void**> make_room(len(calls), sizeof(void*))
        self.pieces = <Piece*> make_room(len(calls), sizeof(Piece))
        self.counters = <Counter*> make_room(len(self.held), sizeof(Counter))
        for i in range(len(self.held)):
            self.counters[i] = Counter(<long long*> cnp.PyArray_DATA(self.held[i]), cnp.PyArray_SIZE(self.held[i]))
            self.counters_count += 1
        for i, (function, arguments) in enumerate(calls):
            self.prepare(i, function, arguments)

    def __dealloc__(self):
        cdef Py_ssize_t i, j
        for i in range(self.count):
            Py_XDECREF(self.calls[i].function)
            Py_XDECREF(self.calls[i].kernel)
            for j in range(self.calls[i].count):
                Py_XDECREF(self.calls[i].values[j])
            PyMem_Free(self.calls[i].values)
            PyMem_Free(self.calls[i].arguments)
            PyMem_Free(self.calls[i].room)
        PyMem_Free(self.calls)
        PyMem_Free(self.arguments)
        PyMem_Free(self.pieces)
        PyMem_Free(self.counters)

    cdef int prepare(self, Py_ssize_t number, function, arguments) except -1:
        """Keep a call, and add it to the last piece where both can be computed as one."""
        cdef Call* call = &self.calls[number]
        cdef bint fits = all([not isinstance(v, cnp.ndarray) or cnp.PyArray_NDIM(v) <= MOST_NUMBERS for v in arguments])
        cdef Kernel kernel = kernel_of(function) if fits else None
        cdef Piece* last = &self.pieces[self.pieces_count - 1] if self.pieces_count > 0 else NULL
        cdef Together together = NULL
        cdef Py_ssize_t i
        call.function, call.kernel = <PyObject*> function, <PyObject*> kernel
        Py_XINCREF(call.function)
        Py_XINCREF(call.kernel)
        self.count = number + 1
        call.values = <PyObject**> make_room(len(arguments), sizeof(PyObject*))
        for i, value in enumerate(arguments):
            call.values[i] = <PyObject*> value
            Py_XINCREF(call.values[i])
            call.count = i + 1
        if kernel is not None:
            if call.count != kernel.count:
                raise TypeError(f"{kernel.name}: expected {kernel.count} arguments, got {call.count}")
            call.arguments = <Argument64*> make_room(call.count, sizeof(Argument64))
            call.room = <Py_ssize_t*> make_room(call.count * MOST_NUMBERS, sizeof(Py_ssize_t))
            for i in range(call.count):
                self.take(number, i)
                self.elements += call.arguments[i].size
            call.entry = kernel.entry32 if kernel.is_float32(call.values) else kernel.entry64
            together = kernel.together32 if kernel.is_float32(call.values) else kernel.together64
        self.arguments[number] = call.arguments
        if together != NULL and last != NULL and last.together == together:
            last.count += 1
        else:
            self.pieces[self.pieces_count] = Piece(call.entry, together, self.arguments + number, 1, number)
            self.pieces_count += 1
        return 0

    cdef int take(self, Py_ssize_t number, Py_ssize_t index) except -1:
        """Put a value into plain C, dimensions too: an array keeps its own elsewhere once somebody gives it another shape."""
        cdef Call* call = &self.calls[number]
        cdef Argument64* argument = &call.arguments[index]
        cdef Py_ssize_t* room = &call.room[index * MOST_NUMBERS]
        (<Kernel> call.kernel).take(argument, <int> index, call.values[index], room)
        if argument.ndim > MOST_NUMBERS:
            raise ValueError(f"expected at most {MOST_NUMBERS} dimensions, got {argument.ndim}")
        if argument.dims != room and argument.ndim > 0:
            memcpy(room, argument.dims, argument.ndim * sizeof(Py_ssize_t))
        argument.dims = room
        return 0

    cpdef set(self, Py_ssize_t call, Py_ssize_t argument, value):
        """Give one call another argument from now on; one that it cannot take leaves it as it was."""
        cdef PyObject** place = &self.calls[call].values[argument]
        cdef PyObject* old = place[0]
        place[0] = <PyObject*> value
        if self.calls[call].entry != NULL:
            try:
                self.take(call, argument)
            except BaseException:
                place[0] = old
                self.take(call, argument)
                raise
        Py_XINCREF(place[0])
        Py_XDECREF(old)

    cdef void point(self, Py_ssize_t number, Py_ssize_t index, void* memory) noexcept:
        """Have a compiled call read an array of the same layout elsewhere."""
        self.calls[number].arguments[index].output = <double*> memory

    def is_compiled(self, Py_ssize_t number):
        """Whether a call is one of a compiled kernel."""
        return self.calls[number].entry != NULL

    cdef int run_once(self) except -1 nogil:
        cdef Py_ssize_t i, j
        cdef long long* stamps = self.stamps
        cdef Piece* piece
        cdef int failed
        if stamps != NULL:
            stamps[0] = _now()
        for i in range(self.counters_count):
            for j in range(self.counters[i].count):
                self.counters[i].values[j] += 1
        for i in range(self.pieces_count):
            piece = &self.pieces[i]
            if piece.together != NULL:
                failed = piece.together(piece.arguments, piece.count)
            elif piece.entry != NULL:
                failed = piece.entry(piece.arguments[0])
            else:
                with gil:
                    failed = self.run_python(piece.first)
            if failed:
                with gil:
                    self.fail(piece.first)
            if stamps != NULL:
                stamps[i + 1] = _now()
        return 0

    cdef int run_python(self, Py_ssize_t number) except -1:
        cdef Call* call = &self.calls[number]
        PyObject_Vectorcall(<object> call.function, call.values, call.count, NULL)
        return 0

    cdef int fail(self, Py_ssize_t number) except -1:
        raise (<Kernel> self.calls[number].kernel).no_memory()

    cdef int step(self) except -1:
        """All calls once."""
        if self.elements < RELEASED_FROM:
            self.run_once()
        else:
            with nogil:
                self.run_once()
        return 0

    def run(self):
        """All calls once."""
        self.step()

    @property
    def lengths(self):
        """How many calls each piece of a run makes; those of one piece are computed together, and timed together."""
        return [self.pieces[i].count for i in range(self.pieces_count)]

    def watch(self, stamps):
        """From now on each run leaves the clock's nanoseconds in an int64 array: before the first piece, and after each. None ends it."""
        if stamps is not None and not (
            cnp.PyArray_ISCARRAY(stamps) and cnp.PyArray_TYPE(stamps) == cnp.NPY_INT64 and stamps.size == self.pieces_count + 1
        ):
            raise ValueError(f"stamps: expected {self.pieces_count + 1} of int64, got {stamps.size} of {stamps.dtype}")
        self.watched = stamps
        self.stamps = NULL if stamps is None else <long long*> cnp.PyArray_DATA(stamps)

    cdef int set_integer(self, Py_ssize_t number, Py_ssize_t index, long long value) except -1:
        """Like ``set``, for an int. (What Python sees of a compiled kernel's stays until it is set.)"""
        if self.calls[number].entry == NULL:
            self.set(number, index, value)
        else:
            self.calls[number].arguments[index].integer = value
            self.calls[number].arguments[index].number = <double> value
        return 0

    cdef int grow_argument(self, Py_ssize_t number, Py_ssize_t index) except -1 nogil:
        """Add one to an argument that is an int, likewise."""
        cdef Argument64* argument
        if self.calls[number].entry == NULL:
            with gil:
                self.set(number, index, <object> self.calls[number].values[index] + 1)
        else:
            argument = &self.calls[number].arguments[index]
            argument.integer += 1
            argument.number += 1
        return 0

    def epoch(self, sources, cnp.ndarray order, cnp.ndarray loss, steps, cnp.ndarray done):
        """Run once for each batch of rows; the sum of the losses.

        Parameters
        ----------
        sources : sequence of (array, array)
            All rows, and the memory from which the calls read one batch.
        order : int64 array
            The rows; as many as fill whole batches.
        loss : array of one float
            Where the calls leave the loss.
        steps : sequence of (int, int)
            Arguments that are ints and grow by one before each batch, as (call, argument).
        done : int64 array
            Grows by one after each batch, so that it is known where a signal ended the epoch.
        """
        cdef Py_ssize_t size = cnp.PyArray_DIM(sources[0][1], 0), last = cnp.PyArray_SIZE(order) - size, first = 0, i
        cdef Py_ssize_t source_count = len(sources), step_count = len(steps)
        cdef const cnp.int64_t* rows = <const cnp.int64_t*> cnp.PyArray_DATA(order)
        cdef cnp.int64_t* finished = <cnp.int64_t*> cnp.PyArray_DATA(done)
        cdef bint narrow = cnp.PyArray_TYPE(loss) == cnp.NPY_FLOAT32
        cdef const void* result = cnp.PyArray_DATA(loss)
        cdef double total = 0
        cdef Lookout lookout = Lookout(_now(), 0, 1)
        cdef Source* from_ = <Source*> make_room(source_count, sizeof(Source))
        cdef Py_ssize_t* growing = <Py_ssize_t*> make_room(2 * step_count, sizeof(Py_ssize_t))
        try:
            for i, (table, batch) in enumerate(sources):
                from_[i] = Source(
                    <const char*> cnp.PyArray_DATA(table), <char*> cnp.PyArray_DATA(batch), cnp.PyArray_NBYTES(batch) // max(size, 1))
            for i, (call, argument) in enumerate(steps):
                growing[2 * i], growing[2 * i + 1] = call, argument
            with nogil:
                while first <= last:
                    for i in range(source_count):
                        gather(&from_[i], rows + first, size)
                    for i in range(step_count):
                        self.grow_argument(growing[2 * i], growing[2 * i + 1])
                    self.run_once()
                    finished[0] += 1
                    total += (<const float*> result)[0] if narrow else (<const double*> result)[0]
                    first += size
                    _look(&lookout)
        finally:
            PyMem_Free(from_)
            PyMem_Free(growing)
        return total


cdef long long _now() noexcept nogil:
    cdef timespec time
    timespec_get(&time, TIME_UTC)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec


cdef int _look(Lookout* lookout) except -1 nogil:
    """Look for signals after a batch, where it is time to. The clock is not read each time."""
    lookout.batches += 1
    if lookout.batches < lookout.most:
        return 0
    if _now() - lookout.last < SIGNALS:
        lookout.most = 2 * lookout.batches
        return 0
    with gil:
        PyErr_CheckSignals()
    lookout.last, lookout.most, lookout.batches = _now(), lookout.batches // 2, 0
    return 0
