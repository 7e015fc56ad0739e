/* The lanes of several vectors added up, so that the sums leave side by side in whole vectors. */
#ifndef FASTNN_CROSS_H
#define FASTNN_CROSS_H

#include "transpose.h"

#ifdef FASTNN_HAS_TRANSPOSE
/* One round over ``rows`` vectors v of L lanes, as a transposition goes: of each group of L the one ``distance`` behind joins its vector,
   lanes apart by s. Each round halves the lanes of a sum and the number of vectors. */
#define FASTNN_CROSS(suffix, rows, s, L, distance)                                                                  \
    FASTNN_UNROLL for (int i = 0; i < rows; i++)                                                                    \
        if (i % L < distance) {                                                                                     \
            const fastnn_vector_##suffix upper = v[i], lower = v[i + distance];                                     \
            v[i] = __builtin_shufflevector(upper, lower, FASTNN_LANES_##L(FASTNN_UPPER, s, L))                      \
                 + __builtin_shufflevector(upper, lower, FASTNN_LANES_##L(FASTNN_LOWER, s, L));                     \
        }
#else
#define FASTNN_ADD_LANES(rows, L)                                                                                   \
    for (int i = 0; i < rows; i++) {                                                                                \
        for (int lane = 1; lane < L; lane++)                                                                        \
            v[i][0] += v[i][lane];                                                                                  \
        v[i / L * L][i % L] = v[i][0];                                                                              \
    }
#endif

#endif
