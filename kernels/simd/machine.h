/* What the processor can do at most: multiply-adds in registers, reading, and updating in place. All keep enough results under way to hide the latency of
   an instruction: four or five cycles on two ports. The file includes itself once for each dtype. */
#ifndef FASTNN_REAL
#ifndef FASTNN_MACHINE_H
#define FASTNN_MACHINE_H

#include <stddef.h>

#include "partial.h"

#if defined(__AVX512F__) || defined(__aarch64__)
enum { FASTNN_CHAINS = 16 };
#else
enum { FASTNN_CHAINS = 12 };  /* of 16 registers */
#endif

/* What lies in memory counts: otherwise GCC exchanges the loops, and makes all passes over a vector while it is in a register. */
#define FASTNN_PASS_ENDS() __asm__ volatile("" : : : "memory")

#define FASTNN_REAL float
#define FASTNN_OF(name) fastnn_machine_##name##_f32
#include "machine.h"
#undef FASTNN_REAL
#undef FASTNN_OF

#define FASTNN_REAL double
#define FASTNN_OF(name) fastnn_machine_##name##_f64
#include "machine.h"
#undef FASTNN_REAL
#undef FASTNN_OF

/* ``times`` the sum of n bytes taken as floats, n a multiple of 8 vectors, the address one of a vector. */
static float fastnn_machine_read(const char *bytes, ptrdiff_t n, ptrdiff_t times) {
    typedef fastnn_machine_wide_f32 wide;
    wide sums[8];
    float total = 0;
    _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) sums[j] = (wide){0};
    for (ptrdiff_t k = 0; k < times; k++) {
        FASTNN_PASS_ENDS();
        for (ptrdiff_t i = 0; i < n; i += 8 * (ptrdiff_t)sizeof(wide)) {
            const wide *at = (const wide *)(bytes + i);
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) sums[j] += at[j];
        }
    }
    for (int j = 0; j < 8; j++)
        for (size_t lane = 0; lane < sizeof(wide) / sizeof(float); lane++) total += sums[j][lane];
    return total;
}

/* ``times`` x = -x for n bytes taken as floats, n a multiple of 8 vectors, the address one of a vector. */
static void fastnn_machine_update(char *bytes, ptrdiff_t n, ptrdiff_t times) {
    typedef fastnn_machine_wide_f32 wide;
    for (ptrdiff_t k = 0; k < times; k++) {
        FASTNN_PASS_ENDS();
        for (ptrdiff_t i = 0; i < n; i += 8 * (ptrdiff_t)sizeof(wide)) {
            wide *at = (wide *)(bytes + i);
            _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) at[j] = -at[j];
        }
    }
}

#endif
#else

typedef FASTNN_REAL FASTNN_OF(wide) __attribute__((vector_size(FASTNN_SPAN_BYTES)));

/* rounds times FASTNN_CHAINS vectors of s = s factor + factor */
static FASTNN_REAL FASTNN_OF(multiply_adds)(ptrdiff_t rounds, FASTNN_REAL factor) {
    typedef FASTNN_OF(wide) wide;
    wide sums[FASTNN_CHAINS];
    const wide factors = (wide){0} + factor;
    FASTNN_REAL total = 0;
    _Pragma("GCC unroll 16") for (int j = 0; j < FASTNN_CHAINS; j++) sums[j] = factors + (FASTNN_REAL)j;
    for (ptrdiff_t i = 0; i < rounds; i++)
        _Pragma("GCC unroll 16") for (int j = 0; j < FASTNN_CHAINS; j++) sums[j] = sums[j] * factors + factors;
    for (int j = 0; j < FASTNN_CHAINS; j++)
        for (size_t lane = 0; lane < sizeof(wide) / sizeof(FASTNN_REAL); lane++) total += sums[j][lane];
    return total;
}

#endif
