"""Memory for packed operands: one buffer for every thread, kept from call to call and freed when the thread ends.

A fresh buffer of this size costs a page fault for every 4 KiB at each call, half a millisecond in all. A forked child keeps the
buffer of the thread that forked.
"""

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdlib.h>
    #include <sys/mman.h>

    static __thread char *scratch_memory;
    static __thread size_t scratch_bytes;
    static pthread_key_t scratch_key;
    static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
    static void scratch_make_key(void) { pthread_key_create(&scratch_key, free); }

    /* Not in line: a call that needs a larger buffer is rare. */
    __attribute__((noinline)) static char *scratch_grow(size_t bytes) {
        enum { huge_page = 2 << 20 };
        void *memory = NULL;
        bytes = (bytes + huge_page - 1) / huge_page * huge_page;
        pthread_once(&scratch_once, scratch_make_key);
        if (posix_memalign(&memory, huge_page, bytes))
            return NULL;
    #ifdef MADV_HUGEPAGE
        madvise(memory, bytes, MADV_HUGEPAGE);
    #endif
        free(scratch_memory);
        pthread_setspecific(scratch_key, memory);
        scratch_memory = memory;
        scratch_bytes = bytes;
        return memory;
    }

    static inline char *scratch(size_t bytes) { return bytes <= scratch_bytes ? scratch_memory : scratch_grow(bytes); }
    """
    char* scratch(size_t bytes) noexcept nogil  # at least that many bytes, at a 2 MiB boundary; NULL without memory
