/* Vectors of reals, and of positions, and how they reach memory. Part of pooling.h, which includes it for float and for
   double. */

typedef REAL NAME(reals) __attribute__((vector_size(FASTNN_POOL_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAME(lanes) __attribute__((vector_size(FASTNN_POOL_BYTES)));
typedef double NAME(weights64) __attribute__((vector_size(LANES * 8), aligned(8), may_alias));
typedef int16_t NAME(index16) __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
typedef int32_t NAME(index32) __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int64_t NAME(index64) __attribute__((vector_size(LANES * 8), aligned(8), may_alias));

#define REALS NAME(reals)
#define INTEGERS NAME(lanes)
#define SHUFFLE(a, b, kind) FASTNN_POOL_SHUFFLE(a, b, INTEGERS, FASTNN_JOIN(FASTNN_##kind##_, LANES))

/* Which lanes are inside a row, and which were hit. */
#ifdef FASTNN_POOL_MASKS
#define HITS MASK
typedef struct {
    MASK inside;
} NAME(fence);
#else
#define HITS INTEGERS
typedef struct {
    ptrdiff_t low, high;
} NAME(fence);
#endif
#define FENCE NAME(fence)

/* The lanes with 0 <= at + lane < size. */
FASTNN_POOL_INLINE FENCE NAME(fence_at)(ptrdiff_t at, ptrdiff_t size) {
    const ptrdiff_t low = at >= 0 ? 0 : at > -LANES ? -at : LANES;
    const ptrdiff_t high = size - at >= LANES ? LANES : size > at ? size - at : 0;
#ifdef FASTNN_POOL_MASKS
    return (FENCE){(MASK)(((1u << high) - 1) & (~0u << low))};
#else
    return (FENCE){low, high};
#endif
}

/* With a constant ``edge`` of 0 all lanes are inside. */
FASTNN_POOL_INLINE REALS NAME(load)(const REAL *from, int edge, FENCE fence, REAL filler) {
    if (!edge)
        return *(const REALS *)from;
#ifdef FASTNN_POOL_MASKS
    return (REALS)MM512(mask_loadu, )(MM512(set1, )(filler), fence.inside, from);
#else
    REAL buffer[LANES];
    REALS v;
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        buffer[l] = l >= fence.low && l < fence.high ? from[l] : filler;
    memcpy(&v, buffer, sizeof v);
    return v;
#endif
}

FASTNN_POOL_INLINE void NAME(store)(REAL *to, int edge, FENCE fence, REALS v) {
    if (!edge) {
        *(REALS *)to = v;
        return;
    }
#ifdef FASTNN_POOL_MASKS
    MM512(mask_storeu, )(to, fence.inside, v);
#else
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        if (l >= fence.low && l < fence.high)
            to[l] = v[l];
#endif
}

/* Whether any lane is negative. */
FASTNN_POOL_INLINE int NAME(any)(INTEGERS v) {
#ifdef FASTNN_POOL_MASKS
    return MM512I(cmplt, _mask)((__m512i)v, _mm512_setzero_si512()) != 0;
#else
    INTEGER any = 0;
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        any |= v[l];
    return any < 0;
#endif
}

/* The lanes for which row[lane], a position of 2 or 4 bytes, is that of first[lane] + more. */
FASTNN_POOL_INLINE HITS NAME(hits)(const char *row, int bytes, INTEGERS first, ptrdiff_t more, int edge, FENCE fence) {
    const int16_t *const row16 = (const int16_t *)row;
    const int32_t *const row32 = (const int32_t *)row;
#ifdef FASTNN_POOL_MASKS
    const MASK inside = edge ? fence.inside : (MASK)-1;
    if (bytes == 2) {
        const NAME(index16) position = __builtin_convertvector(first, NAME(index16)) + (int16_t)more;
        return INDEX16(mask_cmpeq_epi16_mask)(inside, INDEX16(maskz_loadu_epi16)(inside, row16), (M16)position);
    }
    const NAME(index32) position = __builtin_convertvector(first, NAME(index32)) + (int32_t)more;
    return INDEX32(mask_cmpeq_epi32_mask)(inside, INDEX32(maskz_loadu_epi32)(inside, row32), (M32)position);
#else
    INTEGERS v;
    INTEGER buffer[LANES];
    if (!edge && bytes == 2)
        return __builtin_convertvector(*(const NAME(index16) *)row16, INTEGERS) == first + (INTEGER)more;
    if (!edge)
        return __builtin_convertvector(*(const NAME(index32) *)row32, INTEGERS) == first + (INTEGER)more;
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        buffer[l] = l < fence.low || l >= fence.high ? -1 : bytes == 2 ? row16[l] : row32[l];
    memcpy(&v, buffer, sizeof v);
    return v == first + (INTEGER)more;
#endif
}

/* sum + v in the lanes that were hit. */
FASTNN_POOL_INLINE REALS NAME(add_hits)(REALS sum, REALS v, HITS hits) {
#ifdef FASTNN_POOL_MASKS
    return (REALS)MM512(mask_add, )(sum, hits, sum, v);
#else
    return sum + (REALS)(hits & (INTEGERS)v);
#endif
}

/* The first ``count`` lanes, as positions of 2, 4 or 8 bytes. */
FASTNN_POOL_INLINE void NAME(store_indices)(char *to, int bytes, int edge, FENCE fence, ptrdiff_t count, INTEGERS v) {
    const NAME(index16) narrow = __builtin_convertvector(v, NAME(index16));
    const NAME(index32) middle = __builtin_convertvector(v, NAME(index32));
    const NAME(index64) wide = __builtin_convertvector(v, NAME(index64));
    if (bytes == 2 && !edge)
        *(NAME(index16) *)to = narrow;
    else if (bytes == 4 && !edge)
        *(NAME(index32) *)to = middle;
    else if (!edge)
        *(NAME(index64) *)to = wide;
#ifdef FASTNN_POOL_MASKS
    else if (bytes == 2)
        INDEX16(mask_storeu_epi16)(to, fence.inside, (M16)narrow);
    else if (bytes == 4)
        INDEX32(mask_storeu_epi32)(to, fence.inside, (M32)middle);
#endif
    else
        memcpy(to, bytes == 2 ? (const void *)&narrow : bytes == 4 ? (const void *)&middle : (const void *)&wide, count * bytes);
}
