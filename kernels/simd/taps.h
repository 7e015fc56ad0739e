#ifndef FASTNN_TAPS_H
#define FASTNN_TAPS_H

#include <stddef.h>

/* Where a tap of a kernel finds its pixel and its weight, in bytes. */
typedef struct {
    ptrdiff_t source, weight;
} fastnn_tap;

#endif
