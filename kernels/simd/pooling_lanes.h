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
#define SHUFFLE(a, b, kind) FASTNN_POOL_SHUFFLE(a, b, INTEGERS, FASTNN_JOIN(FASTNN_POOL_##kind##_, LANES))

/* Which lanes are inside a row. */
typedef struct {
#ifdef FASTNN_POOL_MASKS
    MASK inside;
#else
    ptrdiff_t low, high;
    int whole; /* whether the row is as long as a vector */
#endif
} NAME(fence);
#define FENCE NAME(fence)

/* The lanes with 0 <= at + lane < size. */
FASTNN_POOL_INLINE FENCE NAME(fence_at)(ptrdiff_t at, ptrdiff_t size) {
    const ptrdiff_t low = at >= 0 ? 0 : at > -LANES ? -at : LANES;
    const ptrdiff_t high = size - at >= LANES ? LANES : size > at ? size - at : 0;
#ifdef FASTNN_POOL_MASKS
    return (FENCE){(MASK)(((1u << high) - 1) & (~0u << low))};
#else
    return (FENCE){low, high, size >= LANES};
#endif
}

#ifndef FASTNN_POOL_MASKS
/* Whether all lanes are inside after all. */
FASTNN_POOL_INLINE int NAME(full)(FENCE fence) {
    return fence.low == 0 && fence.high == LANES;
}

/* A vector of which some lanes are inside a whole row: loaded where all are, then each lane is put in its place. */
FASTNN_POOL_INLINE REALS NAME(load_shifted)(const REAL *from, FENCE fence, REALS filler) {
    const INTEGERS lane = {FASTNN_JOIN(FASTNN_POOL_COUNT_, LANES)};
    const INTEGERS inside = (lane >= (INTEGER)fence.low) & (lane < (INTEGER)fence.high);
    const ptrdiff_t shift = fence.low > 0 ? fence.low : fence.high - LANES;
    const INTEGERS source = (lane - (INTEGER)shift) & (LANES - 1), v = (INTEGERS)*(const REALS *)(from + shift);
#ifdef __clang__
    INTEGERS moved;
    FASTNN_POOL_UNROLL for (int l = 0; l < LANES; l++)
        moved[l] = v[source[l]];
#else
    const INTEGERS moved = __builtin_shuffle(v, source);
#endif
    return (REALS)((inside & moved) | (~inside & (INTEGERS)filler));
}
#endif

/* With a constant ``edge`` of 0 all lanes are inside. */
FASTNN_POOL_INLINE REALS NAME(load)(const REAL *from, int edge, FENCE fence, REAL filler) {
    if (!edge)
        return *(const REALS *)from;
#ifdef FASTNN_POOL_MASKS
    return (REALS)MM512(mask_loadu, )(MM512(set1, )(filler), fence.inside, from);
#else
    REALS v = (REALS){0} + filler;
    if (NAME(full)(fence))
        return *(const REALS *)from;
    if (fence.whole && fence.low < fence.high)
        return NAME(load_shifted)(from, fence, v);
    for (ptrdiff_t l = fence.low; l < fence.high; l++)
        v[l] = from[l];
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
    if (NAME(full)(fence))
        *(REALS *)to = v;
    else
        for (ptrdiff_t l = fence.low; l < fence.high; l++)
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
