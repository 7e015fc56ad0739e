/* Elementary functions without branches or calls, so that a loop over them becomes vector code on every instruction set.

   Each one reduces its argument, evaluates a polynomial or a rational function, and selects among the special cases. NaN stays NaN,
   overflow gives infinity, and denormal results are kept. No conversion between integers and floats occurs: adding 1.5 * 2^23
   (2^52 in double) leaves a rounded integer in the low bits, which is defined for NaN too and needs no AVX-512.

   exp     minimax polynomial of degree 6 in float, Taylor's of degree 13 in double, for |r| <= log(2)/2
   log     fdlibm's e_logf.c and e_log.c
   erf     float: minimax polynomials for erf(a) / a - 1 up to 0.92 and for -log(erfc(a)) / a - 1 above (a form of N. Juffa's); double: the rational functions of Cephes' ndtr.c
   tests/families/test_activation.py bounds the errors in units of the last place. */
#ifndef FASTNN_ELEMENTARY_H
#define FASTNN_ELEMENTARY_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* A template by dtype, where only the names and a few constants differ. */
#define FASTNN_DEFINE_BITS(real, unsigned_type, suffix, magic, bias, mantissa)                                      \
    static inline unsigned_type fastnn_bits_##suffix(real x) {                                                      \
        unsigned_type bits;                                                                                         \
        memcpy(&bits, &x, sizeof bits);                                                                             \
        return bits;                                                                                                \
    }                                                                                                               \
    static inline real fastnn_from_bits_##suffix(unsigned_type bits) {                                              \
        real x;                                                                                                     \
        memcpy(&x, &bits, sizeof x);                                                                                \
        return x;                                                                                                   \
    }                                                                                                               \
    /* The nearest integer, where it is small. */                                                                   \
    static inline real fastnn_round_##suffix(real x) { return (x + magic) - magic; }                                \
    /* 2^k of an integer k in the exponent's normal range; the shift drops the magic number's own bits. */          \
    static inline real fastnn_power_of_two_##suffix(real k) {                                                       \
        return fastnn_from_bits_##suffix((fastnn_bits_##suffix(k + magic) + bias) << mantissa);                     \
    }

FASTNN_DEFINE_BITS(float, uint32_t, f32, 12582912.0f, 127u, 23)
FASTNN_DEFINE_BITS(double, uint64_t, f64, 6755399441055744.0, 1023u, 52)

/* exp(r) - 1 for |r| <= log(2)/2 */
static inline float fastnn_expm1_core_f32(float r) {
    const float p = (((1.381454989e-3f * r + 8.368745446e-3f) * r + 4.166838899e-2f) * r + 1.666652113e-1f) * r + 4.999999404e-1f;
    return r * r * p + r;
}

static inline double fastnn_expm1_core_f64(double r) {
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    return r * r * p + r;
}

/* log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) with s = f / (2 + f), for 1 + f in [sqrt(1/2), sqrt(2)] */
static inline float fastnn_log_remainder_f32(float z) {
    return z * (0.66666662693f + z * (0.40000972152f + z * (0.28498786688f + z * 0.24279078841f)));
}

static inline double fastnn_log_remainder_f64(double z) {
    double p = 1.479819860511658591e-01;
    p = p * z + 1.531383769920937332e-01;
    p = p * z + 1.818357216161805012e-01;
    p = p * z + 2.222219843214978396e-01;
    p = p * z + 2.857142874366239149e-01;
    p = p * z + 3.999999999940941908e-01;
    p = p * z + 6.666666666666735130e-01;
    return p * z;
}

/* Constants by dtype:
   lowest, highest    beyond them exp is 0 or infinity          vanishing   below it expm1 rounds to -1
   ln2_high, ln2_low  log(2) in two parts, the first so short that its product with an exponent is exact
   saturated          above it tanh rounds to 1                 top         largest exponent of a power of two
   smallest           the smallest normal number                lift        2^lift makes every denormal normal
   one, root          bits of 1 and of sqrt(1/2)                integer     bits of 2^mantissa */
#define FASTNN_DEFINE_ELEMENTARY(real, unsigned_type, suffix, mantissa, lowest, highest, vanishing, ln2_high, ln2_low, saturated,  \
                                 top, smallest, lift, lift_power, one, root, integer, integer_value, largest)       \
    static inline real fastnn_exp_##suffix(real x) {                                                                \
        const real below = x < (real)lowest ? (real)lowest : x;                                                     \
        const real bounded = below > (real)highest ? (real)highest : below;                                         \
        const real k = fastnn_round_##suffix(bounded * (real)1.44269504088896340736);                               \
        const real r = (bounded - k * (real)ln2_high) - k * (real)ln2_low;                                          \
        const real half = fastnn_round_##suffix(k * (real)0.5);  /* two factors: 2^k itself may be denormal */      \
        return ((real)1 + fastnn_expm1_core_##suffix(r)) * fastnn_power_of_two_##suffix(half)                       \
               * fastnn_power_of_two_##suffix(k - half);                                                            \
    }                                                                                                               \
                                                                                                                    \
    /* exp(x) - 1 without cancellation near 0 */                                                                    \
    static inline real fastnn_expm1_##suffix(real x) {                                                              \
        const real below = x < (real)vanishing ? (real)vanishing : x;                                               \
        const real bounded = below > (real)highest ? (real)highest : below;                                         \
        const real k = fastnn_round_##suffix(bounded * (real)1.44269504088896340736);                               \
        const real r = (bounded - k * (real)ln2_high) - k * (real)ln2_low;                                          \
        const real scale = fastnn_power_of_two_##suffix(k > (real)top ? (real)top : k);                             \
        const real y = scale * fastnn_expm1_core_##suffix(r) + (scale - (real)1);                                   \
        return k > (real)top ? (real)2 * y : y;                                                                     \
    }                                                                                                               \
                                                                                                                    \
    /* GCC left it out of some loops, which then were scalar code */                                                \
    static inline __attribute__((always_inline)) real fastnn_log_##suffix(real x) {                                 \
        const real lifted = x < (real)smallest ? x * (real)lift_power : x;                                          \
        const unsigned_type bits = fastnn_bits_##suffix(lifted) + ((unsigned_type)one - (unsigned_type)root);       \
        const unsigned_type fraction = bits & (((unsigned_type)1 << mantissa) - 1);                                 \
        const real exponent = fastnn_from_bits_##suffix((bits >> mantissa) | (unsigned_type)integer)                \
                              - (real)(integer_value + top);                                                        \
        const real k = x < (real)smallest ? exponent - (real)lift : exponent;                                       \
        const real f = fastnn_from_bits_##suffix(fraction + (unsigned_type)root) - (real)1;                         \
        const real s = f / ((real)2 + f);                                                                           \
        const real square = (real)0.5 * f * f;                                                                      \
        const real y = s * (square + fastnn_log_remainder_##suffix(s * s)) + k * (real)ln2_low - square + f         \
                       + k * (real)ln2_high;                                                                        \
        const real positive = x <= (real)largest ? y : x;                                                           \
        const real other = x == 0 ? -(real)INFINITY : (real)NAN;                                                    \
        return x > 0 ? positive : other;                                                                            \
    }                                                                                                               \
                                                                                                                    \
    /* log(1 + x); what rounding 1 + x has lost comes back to first order */                                        \
    static inline real fastnn_log1p_##suffix(real x) {                                                              \
        const real u = (real)1 + x;                                                                                 \
        const real lost = (x - (u - (real)1)) / u;                                                                  \
        return fastnn_log_##suffix(u) + (u > 0 && u <= (real)largest ? lost : (real)0);                             \
    }                                                                                                               \
                                                                                                                    \
    /* t / (t + 2) with t = exp(2 |x|) - 1 */                                                                       \
    static inline real fastnn_tanh_##suffix(real x) {                                                               \
        const real size = x < 0 ? -x : x;                                                                           \
        const real bounded = size > (real)saturated ? (real)saturated : size;                                       \
        const real t = fastnn_expm1_##suffix((real)2 * bounded);                                                    \
        const real y = t / (t + (real)2);                                                                           \
        return x < 0 ? -y : (x == 0 ? x : y);                                                                       \
    }                                                                                                               \
                                                                                                                    \
    /* 1 / (1 + exp(-x)), by exp(-|x|) so that nothing overflows and small results keep their digits */             \
    static inline real fastnn_sigmoid_##suffix(real x) {                                                            \
        const real e = fastnn_exp_##suffix(x < 0 ? x : -x);                                                         \
        return (x < 0 ? e : (real)1) / ((real)1 + e);                                                               \
    }

FASTNN_DEFINE_ELEMENTARY(float, uint32_t, f32, 23, -104.0, 89.0, -25.0, 0.693359375, -2.12194440e-4, 10.0,
                         127, 1.17549435e-38, 25, 33554432.0, 0x3F800000, 0x3F3504F3, 0x4B000000, 8388608, 3.40282347e38)
FASTNN_DEFINE_ELEMENTARY(double, uint64_t, f64, 52, -746.0, 710.0, -45.0, 6.93147180369123816490e-01, 1.90821492927058770002e-10,
                         20.0, 1023, 2.2250738585072014e-308, 54, 18014398509481984.0, 0x3FF0000000000000, 0x3FE6A09E667F3BCD,
                         0x4330000000000000, 4503599627370496, 1.7976931348623157e308)

static inline float fastnn_erf_f32(float x) {
    const float size = x < 0 ? -x : x;
    const float a = size > 4.0f ? 4.0f : size;
    const float square = a * a;
    float large = 1.123099648e-5f * a - 3.228007879e-4f;
    large = large * a + 3.642446712e-3f;
    large = large * a - 2.376203728e-2f;
    large = large * a + 1.062368484e-1f;
    large = large * a + 6.351513337e-1f;
    large = large * a + 1.286484861e-1f;
    large = 1.0f - fastnn_exp_f32(-(large * a + a));
    float small = 8.316730498e-5f * square - 8.129999824e-4f;
    small = small * square + 5.199905257e-3f;
    small = small * square - 2.685894077e-2f;
    small = small * square + 1.128368717e-1f;
    small = small * square - 3.761263319e-1f;
    small = small * square + 1.283791666e-1f;
    small = small * a + a;
    const float y = a > 0.921875f ? large : small;
    return x < 0 ? -y : (x == 0 ? x : y);
}

static inline double fastnn_erf_f64(double x) {
    const double size = x < 0 ? -x : x;
    const double a = size > 6.0 ? 6.0 : size;
    const double z = a * a;
    double above = 9.60497373987051638749e0 * z + 9.00260197203842689217e1;  /* erf(a) = a above / below for a <= 1 */
    above = above * z + 2.23200534594684319226e3;
    above = above * z + 7.00332514112805075473e3;
    above = above * z + 5.55923013010394962768e4;
    double below = z + 3.35617141647503099647e1;
    below = below * z + 5.21357949780152679795e2;
    below = below * z + 4.59432382970980127987e3;
    below = below * z + 2.26290000613890934246e4;
    below = below * z + 4.92673942608635921086e4;
    double top = 2.46196981473530512524e-10 * a + 5.64189564831068821977e-1;  /* erfc(a) = exp(-a^2) top / bottom for a > 1 */
    top = top * a + 7.46321056442269912687e0;
    top = top * a + 4.86371970985681366614e1;
    top = top * a + 1.96520832956077098242e2;
    top = top * a + 5.26445194995477358631e2;
    top = top * a + 9.34528527171957607540e2;
    top = top * a + 1.02755188689515710272e3;
    top = top * a + 5.57535335369399327526e2;
    double bottom = a + 1.32281951154744992508e1;
    bottom = bottom * a + 8.67072140885989742329e1;
    bottom = bottom * a + 3.54937778887819891062e2;
    bottom = bottom * a + 9.75708501743205489753e2;
    bottom = bottom * a + 1.82390916687909736289e3;
    bottom = bottom * a + 2.24633760818710981792e3;
    bottom = bottom * a + 1.65666309194161350182e3;
    bottom = bottom * a + 5.57535340817727675546e2;
    const int near = a <= 1.0;
    const double quotient = (near ? a * above : fastnn_exp_f64(-z) * top) / (near ? below : bottom);
    const double y = near ? quotient : 1.0 - quotient;
    return x < 0 ? -y : (x == 0 ? x : y);
}

#endif
