"""The number of threads of the Cython kernels: one setting for the process, and less where the work is small.

OpenMP keeps a number of threads for every calling thread, and threadpoolctl limits the calling thread's. So ``requested`` holds
for the process, and a thread's own number counts as a limit only where somebody else changed it.
"""

from cython.parallel cimport parallel

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static int openmp_number(void) { return omp_get_max_threads(); }
    static int openmp_inside(void) { return omp_in_parallel(); }
    static void openmp_set(int n) { omp_set_num_threads(n); }
    static const int openmp_present = 1;
    #else
    static int openmp_number(void) { return 1; }
    static int openmp_inside(void) { return 0; }
    static void openmp_set(int n) { (void)n; }
    static const int openmp_present = 0;
    #endif

    #if defined(_MSC_VER)
    #define THREAD_LOCAL __declspec(thread)
    #else
    #define THREAD_LOCAL __thread
    #endif
    /* The number that was last seen or set here without being a limit; 0 where this thread has not looked yet. */
    static THREAD_LOCAL int own_number = 0;

    #if defined(__x86_64__) || defined(_M_X64)
    #include <xmmintrin.h>
    static const int can_flush = 1;
    static void flush_denormal(int on) {  /* bits 15 and 6 of MXCSR: results flushed, operands taken as zero */
        _mm_setcsr(on ? _mm_getcsr() | 0x8040u : _mm_getcsr() & ~0x8040u);
    }
    #else
    static const int can_flush = 0;
    static void flush_denormal(int on) { (void)on; }
    #endif
    """
    int openmp_number() noexcept nogil
    int openmp_inside() noexcept nogil
    void openmp_set(int n) noexcept nogil
    const int openmp_present
    int own_number
    const int can_flush
    void flush_denormal(int on) noexcept nogil

# Units of work (a fifth of a nanosecond or so: a vector's element, or 16 multiply-adds) for each thread before a second one pays. Waking
# a thread that sleeps takes 20 to 60 us, so that 35 us of work on one thread took 60 to 80 on two: there is nothing to gain below 100 us.
cdef Py_ssize_t work_per_thread = 262144
cdef int requested = 1
cdef int initial = 1  # what OpenMP gives a thread that nobody has told otherwise
cdef bint serial = False


cdef int limit() noexcept nogil:
    """Threads that a kernel may use in this thread."""
    global own_number
    cdef int number
    if serial or not openmp_present or openmp_inside():
        return 1
    number = openmp_number()
    if number != (own_number if own_number else initial):
        return min(number, requested)  # limited here: threadpoolctl, or omp_set_num_threads of somebody else
    if number != requested:
        openmp_set(requested)
    own_number = requested
    return requested


cdef int threads_for(Py_ssize_t work) noexcept nogil:
    cdef Py_ssize_t useful
    cdef int allowed
    if requested == 1 or work < 2 * work_per_thread:  # without a division, which takes longer than the smallest kernels
        return 1
    useful, allowed = work // work_per_thread, limit()
    return <int> useful if useful < allowed else allowed


def has_openmp() -> bool:
    """Whether the kernels were compiled with OpenMP."""
    return bool(openmp_present)


def start(int n) -> None:
    """Allow ``n`` threads in every Python thread; a limit that this one already has stays."""
    global requested, initial
    import threading

    requested = n
    # Only a fresh thread tells: this one may be limited already.
    fresh = threading.Thread(target=_read_initial)
    fresh.start()
    fresh.join()


def _read_initial() -> None:
    global initial
    initial = openmp_number()


def set_threads(int n) -> None:
    """Allow ``n`` threads, here (whatever was the limit) and in every Python thread that has no lower limit of its own."""
    global requested, own_number
    requested = own_number = n
    openmp_set(n)


def threads_allowed(Py_ssize_t work) -> int:
    """Threads that a kernel with that much work uses in this Python thread."""
    return threads_for(work)


def set_work_per_thread(Py_ssize_t work) -> int:
    """Let kernels share less, or more, work than is worth it; gives what it was. Tests reach the shared paths by it."""
    global work_per_thread
    before = work_per_thread
    work_per_thread = work
    return before


def become_serial() -> None:
    """Use one thread from now on: a forked child has lost the threads of its parent's pool."""
    global serial
    serial = True


def set_flush_denormal(bint on) -> bool:
    """Flush denormals to zero, or keep them, in this thread and those that work for it; whether the processor can."""
    cdef int count = limit()
    with nogil, parallel(num_threads=count):
        flush_denormal(on)
    return bool(can_flush)
