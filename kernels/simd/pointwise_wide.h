/* Elementary functions of eight doubles with AVX-512; part of pointwise.h. tanh, gelu and its derivative are piecewise polynomials with
   tables of 16 entries (see benchmarks/fit_wide_tables.py): 20 cycles, where elementary.h takes 35, 113 and 185. */
#ifndef FASTNN_POINTWISE_WIDE_H
#define FASTNN_POINTWISE_WIDE_H

#include <immintrin.h>

#include "wide_tables.h"

#define FASTNN_WIDE(value) _mm512_set1_pd(value)

static inline __m512d fastnn_wide_look_up(const double *table, __m512i index) {
    return _mm512_permutex2var_pd(_mm512_load_pd(table), index, _mm512_load_pd(table + 8));
}

/* The piecewise polynomial at min(|x|, top); NaN stays. `shift` leaves the bits that tell intervals apart lowest. */
static inline __attribute__((always_inline)) __m512d fastnn_wide_piecewise(
    const double (*table)[16], int degree, double scale, double offset, int shift, double top, __m512d x) {
    const __m512d a = _mm512_min_pd(FASTNN_WIDE(top), _mm512_abs_pd(x));
    const __m512d s = _mm512_fmadd_pd(a, FASTNN_WIDE(scale), FASTNN_WIDE(offset));
    const __m512i index = _mm512_srli_epi64(_mm512_castpd_si512(s), shift);
    const __m512d r = _mm512_sub_pd(a, fastnn_wide_look_up(table[degree + 1], index));
    __m512d p = fastnn_wide_look_up(table[degree], index);
#pragma GCC unroll 14
    for (int power = degree - 1; power >= 0; power--)
        p = _mm512_fmadd_pd(p, r, fastnn_wide_look_up(table[power], index));
    return p;
}

#define FASTNN_WIDE_PIECEWISE(name, offset, shift, x)                                                               \
    fastnn_wide_piecewise(                                                                                          \
        fastnn_##name##_wide_table, sizeof fastnn_##name##_wide_table / sizeof *fastnn_##name##_wide_table - 2,     \
        fastnn_##name##_wide_scale, offset, shift, fastnn_##name##_wide_top, x)

static inline __m512d fastnn_wide_signed(__m512d size, __m512d x) {
    const __m512i sign = _mm512_set1_epi64((long long)0x8000000000000000u);
    return _mm512_castsi512_pd(_mm512_ternarylogic_epi64(_mm512_castpd_si512(size), _mm512_castpd_si512(x), sign, 0xF8));
}

static inline __m512d fastnn_wide_tanh(__m512d x) { return fastnn_wide_signed(FASTNN_WIDE_PIECEWISE(tanh, 1.0, 50, x), x); }

static inline __m512d fastnn_wide_gelu(__m512d x) {
    return _mm512_sub_pd(_mm512_max_pd(_mm512_setzero_pd(), x), FASTNN_WIDE_PIECEWISE(gelu, 16.0, 48, x));
}

static inline __m512d fastnn_wide_gelu_slope(__m512d x) {
    return _mm512_add_pd(fastnn_wide_signed(FASTNN_WIDE_PIECEWISE(gelu_slope, 16.0, 48, x), x), FASTNN_WIDE(0.5));
}

/* exp(x) for x from -746, where it vanishes, to `highest`: 2^(j/16) from a table, exp(r) - 1 for |r| <= log(2)/32 by Taylor's polynomial of
   degree 7. Without the table of rests the logistic function erred by 2.9 units of the last place. */
static inline __m512d fastnn_wide_bounded_exp(__m512d unbounded, double highest) {
    static const double powers[16] __attribute__((aligned(64))) = {
        1.0, 1.0442737824274138, 1.0905077326652577, 1.1387886347566916, 1.189207115002721,
        1.241857812073484, 1.2968395546510096, 1.3542555469368927, 1.4142135623730951, 1.4768261459394993,
        1.5422108254079407, 1.6104903319492543, 1.681792830507429, 1.7562521603732995, 1.8340080864093424,
        1.9152065613971474};
    static const double rests[16] __attribute__((aligned(64))) = { /* what rounding the powers lost */
        0.0, 8.5518897055379649e-17, -3.0467820798124711e-17, 8.9128126760254078e-17, 3.9820152314656461e-17,
        4.6580275918369368e-17, 2.5382502794888315e-17, 7.7009483798029895e-17, -9.6672933134529135e-17, -3.4839945568927958e-17,
        7.9498348096976209e-17, 2.4707192569797888e-17, 8.1990100205814965e-17, 2.9601406954488733e-17, 3.2831072242456272e-17,
        -1.0619946056195963e-16};
    const __m512d x = _mm512_max_pd(FASTNN_WIDE(-746.0), _mm512_min_pd(FASTNN_WIDE(highest), unbounded));
    const __m512d magic = FASTNN_WIDE(422212465065984.0); /* 1.5 2^48 */
    const __m512d lifted = _mm512_fmadd_pd(x, FASTNN_WIDE(1.44269504088896340736), magic);
    const __m512d rounded = _mm512_sub_pd(lifted, magic);
    const __m512d high = _mm512_fnmadd_pd(rounded, FASTNN_WIDE(6.93147180369123816490e-01), x);
    const __m512d r = _mm512_fnmadd_pd(rounded, FASTNN_WIDE(1.90821492927058770002e-10), high);
    const __m512i index = _mm512_castpd_si512(lifted);
    const __m512d power = fastnn_wide_look_up(powers, index);
    __m512d p = _mm512_fmadd_pd(r, FASTNN_WIDE(1.0 / 5040), FASTNN_WIDE(1.0 / 720));
    p = _mm512_fmadd_pd(r, p, FASTNN_WIDE(1.0 / 120));
    p = _mm512_fmadd_pd(r, p, FASTNN_WIDE(1.0 / 24));
    p = _mm512_fmadd_pd(r, p, FASTNN_WIDE(1.0 / 6));
    p = _mm512_fmadd_pd(r, p, FASTNN_WIDE(0.5));
    p = _mm512_fmadd_pd(_mm512_mul_pd(r, r), p, r);
    p = _mm512_fmadd_pd(power, p, fastnn_wide_look_up(rests, index));
    return _mm512_scalef_pd(_mm512_add_pd(power, p), rounded);
}

static inline __m512d fastnn_wide_exp(__m512d x) { return fastnn_wide_bounded_exp(x, 710.0); }

static inline __m512d fastnn_wide_sigmoid(__m512d x) {
    const __m512d e = fastnn_wide_bounded_exp(x, 40.0), one = FASTNN_WIDE(1.0);
    const __m512d divisor = _mm512_add_pd(e, one);
    __m512d reciprocal = _mm512_rcp14_pd(divisor);
    reciprocal = _mm512_fmadd_pd(reciprocal, _mm512_fnmadd_pd(divisor, reciprocal, one), reciprocal);
    reciprocal = _mm512_fmadd_pd(reciprocal, _mm512_fnmadd_pd(divisor, reciprocal, one), reciprocal);
    const __m512d y = _mm512_mul_pd(e, reciprocal);
    return _mm512_fmadd_pd(_mm512_fnmadd_pd(divisor, y, e), reciprocal, y);
}

#endif
