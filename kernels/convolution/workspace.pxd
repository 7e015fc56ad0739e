"""Memory of the calling thread that convolutions pack and transform into, kept from call to call.

Fresh pages cost more than the work done in them: 4 MiB of new memory take half a millisecond, a whole layer of a network.
"""

cdef extern from *:
    """
    #include <pthread.h>
    #include <stdlib.h>
    #ifdef __linux__
    #include <sys/mman.h>
    #endif

    enum { WORKSPACE_PAGE = 2 << 20, WORKSPACE_KEPT = 128 << 20 };
    typedef struct { size_t size; void *memory; } workspace_kept;
    static pthread_key_t workspace_key;
    static pthread_once_t workspace_once = PTHREAD_ONCE_INIT;

    static void workspace_drop(void *kept) {
        free(((workspace_kept *)kept)->memory);
        free(kept);
    }
    static void workspace_create(void) { pthread_key_create(&workspace_key, workspace_drop); }

    /* At least `size` bytes, aligned to a huge page, the same ones at every call of a thread; NULL where there are none. */
    static char *workspace(size_t size) {
        pthread_once(&workspace_once, workspace_create);
        workspace_kept *kept = pthread_getspecific(workspace_key);
        if (!kept) {
            kept = calloc(1, sizeof *kept);
            if (!kept || pthread_setspecific(workspace_key, kept)) {
                free(kept);
                return NULL;
            }
        }
        if (kept->size < size) {
            free(kept->memory);
            kept->memory = NULL;
            kept->size = 0;
            size = (size + WORKSPACE_PAGE - 1) / WORKSPACE_PAGE * WORKSPACE_PAGE;
            if (posix_memalign(&kept->memory, WORKSPACE_PAGE, size))
                return NULL;
    #ifdef __linux__
            madvise(kept->memory, size, MADV_HUGEPAGE);
    #endif
            kept->size = size;
        }
        return kept->memory;
    }

    /* Gives back a workspace that is too large to be kept. */
    static void workspace_done(void) {
        workspace_kept *kept = pthread_getspecific(workspace_key);
        if (kept && kept->size > WORKSPACE_KEPT) {
            free(kept->memory);
            kept->memory = NULL;
            kept->size = 0;
        }
    }
    """
    char* workspace(size_t size) noexcept nogil
    void workspace_done() noexcept nogil
