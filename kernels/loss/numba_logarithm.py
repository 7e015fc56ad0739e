"""log and log1p without branches or libm, so that loops over them become vector code. The method is that of ``simd/elementary.h``."""

import math

import numpy as np
from numba import types
from numba.extending import overload, register_jitable

from ..elementary_numba import bits, from_bits

F, D, U32, U64 = np.float32, np.float64, np.uint32, np.uint64


@register_jitable
def _log_f32(x):
    tiny = x < F(1.17549435e-38)
    lifted = x * F(33554432.0) if tiny else x  # 2^25 makes every denormal normal
    shifted = U32(bits(lifted) + U32(0x3F800000 - 0x3F3504F3))
    exponent = from_bits(U32(U32(shifted >> U32(23)) | U32(0x4B000000))) - F(8388608 + 127)
    k = exponent - F(25) if tiny else exponent
    f = from_bits(U32(U32(shifted & U32(0x7FFFFF)) + U32(0x3F3504F3))) - F(1)
    s = f / (F(2) + f)
    z = s * s
    p = z * (F(0.66666662693) + z * (F(0.40000972152) + z * (F(0.28498786688) + z * F(0.24279078841))))
    square = F(0.5) * f * f
    y = s * (square + p) + k * F(-2.12194440e-4) - square + f + k * F(0.693359375)
    positive = y if x <= F(3.40282347e38) else x
    other = F(-np.inf) if x == F(0) else F(np.nan)
    return positive if x > F(0) else other


@register_jitable
def _log_f64(x):
    tiny = x < 2.2250738585072014e-308
    lifted = x * 18014398509481984.0 if tiny else x  # 2^54
    shifted = U64(bits(lifted) + U64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD))
    exponent = from_bits(U64((shifted >> U64(52)) | U64(0x4330000000000000))) - (4503599627370496.0 + 1023.0)
    k = exponent - 54.0 if tiny else exponent
    f = from_bits(U64((shifted & U64(0xFFFFFFFFFFFFF)) + U64(0x3FE6A09E667F3BCD))) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = 1.479819860511658591e-01
    p = p * z + 1.531383769920937332e-01
    p = p * z + 1.818357216161805012e-01
    p = p * z + 2.222219843214978396e-01
    p = p * z + 2.857142874366239149e-01
    p = p * z + 3.999999999940941908e-01
    p = (p * z + 6.666666666666735130e-01) * z
    square = 0.5 * f * f
    y = s * (square + p) + k * 1.90821492927058770002e-10 - square + f + k * 6.93147180369123816490e-01
    positive = y if x <= 1.7976931348623157e308 else x
    other = -np.inf if x == 0.0 else np.nan
    return positive if x > 0.0 else other


def log(x):
    """Natural logarithm."""
    return math.log(x)


def log1p(x):
    """log(1 + x) without cancellation near 0."""
    return math.log1p(x)


@overload(log)
def _overload_log(x):
    return (lambda x: _log_f32(x)) if x == types.float32 else (lambda x: _log_f64(x))


@register_jitable
def _log1p_f32(x):
    u = F(1) + x
    lost = (x - (u - F(1))) / u
    y = _log_f32(u)
    return y + (lost if abs(y) < F(np.inf) else F(0))


@register_jitable
def _log1p_f64(x):
    u = 1.0 + x
    lost = (x - (u - 1.0)) / u
    y = _log_f64(u)
    return y + (lost if abs(y) < np.inf else 0.0)


@overload(log1p)
def _overload_log1p(x):
    return (lambda x: _log1p_f32(x)) if x == types.float32 else (lambda x: _log1p_f64(x))
