"""Elementary functions for Numba kernels, without branches or libm: loops over them become vector code.

Numba's own call libm for each element (exp 5 ns, tanh 28). The methods are those of ``simd/elementary.h``; each function takes a scalar
of either dtype and stays in it.
"""

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload, register_jitable

F, D, U32, U64 = np.float32, np.float64, np.uint32, np.uint64


@intrinsic
def bits(typingctx, x):
    """The bits of a float as an unsigned integer of the same width."""
    integer = types.uint32 if x == types.float32 else types.uint64

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(integer.bitwidth))

    return integer(x), codegen


@intrinsic
def from_bits(typingctx, x):
    """The float with the bits of an unsigned integer."""
    real = types.float32 if x == types.uint32 else types.float64

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType() if real == types.float32 else ir.DoubleType())

    return real(x), codegen


@intrinsic
def select(typingctx, condition, a, b):
    """``a if condition else b`` of values that are both computed: a branch lets LLVM move their work into it, and stays."""

    def codegen(context, builder, signature, args):
        return builder.select(*args)

    return a(types.boolean, a, a), codegen


@register_jitable
def _scale_f32(k):
    """2^k: adding 1.5 * 2^23 leaves k in the low bits, the shift puts it into the exponent."""
    return from_bits(U32((bits(k + F(12582912.0)) + U32(127)) << U32(23)))


@register_jitable
def _scale_f64(k):
    return from_bits(U64((bits(k + D(6755399441055744.0)) + U64(1023)) << U64(52)))


@register_jitable
def _expm1_core_f32(r):
    p = F(1.381454989e-3) * r + F(8.368745446e-3)
    p = (p * r + F(4.166838899e-2)) * r + F(1.666652113e-1)
    return r * r * (p * r + F(4.999999404e-1)) + r


@register_jitable
def _expm1_core_f64(r):
    p = r / 6227020800.0 + 1.0 / 479001600.0
    p = (p * r + 1.0 / 39916800.0) * r + 1.0 / 3628800.0
    p = (p * r + 1.0 / 362880.0) * r + 1.0 / 40320.0
    p = (p * r + 1.0 / 5040.0) * r + 1.0 / 720.0
    p = (p * r + 1.0 / 120.0) * r + 1.0 / 24.0
    return r * r * ((p * r + 1.0 / 6.0) * r + 0.5) + r


@register_jitable
def _exp_f32(x):
    bounded = F(-104.0) if x < F(-104.0) else (F(89.0) if x > F(89.0) else x)
    k = (bounded * F(1.44269504) + F(12582912.0)) - F(12582912.0)
    r = (bounded - k * F(0.693359375)) - k * F(-2.12194440e-4)
    half = (k * F(0.5) + F(12582912.0)) - F(12582912.0)  # two factors, because 2^k itself may be denormal
    return (F(1) + _expm1_core_f32(r)) * _scale_f32(half) * _scale_f32(k - half)


@register_jitable
def _exp_f64(x):
    bounded = -746.0 if x < -746.0 else (710.0 if x > 710.0 else x)
    k = (bounded * 1.44269504088896340736 + 6755399441055744.0) - 6755399441055744.0
    r = (bounded - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    half = (k * 0.5 + 6755399441055744.0) - 6755399441055744.0
    return (1.0 + _expm1_core_f64(r)) * _scale_f64(half) * _scale_f64(k - half)


@register_jitable
def _expm1_f32(x):
    bounded = F(-25.0) if x < F(-25.0) else (F(89.0) if x > F(89.0) else x)
    k = (bounded * F(1.44269504) + F(12582912.0)) - F(12582912.0)
    r = (bounded - k * F(0.693359375)) - k * F(-2.12194440e-4)
    capped = F(127) if k > F(127) else k
    scale = _scale_f32(capped)
    y = scale * _expm1_core_f32(r) + (scale - F(1))
    return F(2) * y if k > F(127) else y


@register_jitable
def _expm1_f64(x):
    bounded = -45.0 if x < -45.0 else (710.0 if x > 710.0 else x)
    k = (bounded * 1.44269504088896340736 + 6755399441055744.0) - 6755399441055744.0
    r = (bounded - k * 6.93147180369123816490e-01) - k * 1.90821492927058770002e-10
    capped = 1023.0 if k > 1023.0 else k
    scale = _scale_f64(capped)
    y = scale * _expm1_core_f64(r) + (scale - 1.0)
    return 2.0 * y if k > 1023.0 else y


def exp(x):
    """e^x."""
    return math.exp(x)


def expm1(x):
    """e^x - 1 without cancellation near 0."""
    return math.expm1(x)


def tanh(x):
    """Hyperbolic tangent."""
    return math.tanh(x)


def sigmoid(x):
    """1 / (1 + e^-x)"""
    return 1 / (1 + math.exp(-x))


def log(x):
    """Natural logarithm."""
    return math.log(x)


def log1p(x):
    """log(1 + x) without cancellation near 0."""
    return math.log1p(x)


def erf(x):
    """The error function."""
    return math.erf(x)


@overload(exp)
def _overload_exp(x):
    return (lambda x: _exp_f32(x)) if x == types.float32 else (lambda x: _exp_f64(x))


@overload(expm1)
def _overload_expm1(x):
    return (lambda x: _expm1_f32(x)) if x == types.float32 else (lambda x: _expm1_f64(x))


@register_jitable
def _tanh_f32(x):
    size = -x if x < F(0) else x
    t = _expm1_f32(F(2) * (F(10) if size > F(10) else size))
    y = t / (t + F(2))
    return -y if x < F(0) else (x if x == F(0) else y)


@register_jitable
def _tanh_f64(x):
    size = -x if x < 0.0 else x
    t = _expm1_f64(2.0 * (20.0 if size > 20.0 else size))
    y = t / (t + 2.0)
    return -y if x < 0.0 else (x if x == 0.0 else y)


@overload(tanh)
def _overload_tanh(x):
    return (lambda x: _tanh_f32(x)) if x == types.float32 else (lambda x: _tanh_f64(x))


@register_jitable
def _sigmoid_f32(x):
    e = _exp_f32(x if x < F(0) else -x)  # never overflows
    return (e if x < F(0) else F(1)) / (F(1) + e)


@register_jitable
def _sigmoid_f64(x):
    e = _exp_f64(x if x < 0.0 else -x)
    return (e if x < 0.0 else 1.0) / (1.0 + e)


@overload(sigmoid)
def _overload_sigmoid(x):
    return (lambda x: _sigmoid_f32(x)) if x == types.float32 else (lambda x: _sigmoid_f64(x))


@register_jitable
def _log_f32(x):
    small = x < F(1.17549435e-38)
    lifted = x * F(33554432.0) if small else x
    b = U32(bits(lifted) + U32(0x4AFB0D))  # the bits of 1 less those of sqrt(1/2)
    exponent = from_bits(U32((b >> U32(23)) | U32(0x4B000000))) - F(8388608 + 127)
    k = exponent - F(25) if small else exponent
    f = from_bits(U32((b & U32(0x7FFFFF)) + U32(0x3F3504F3))) - F(1)
    s = f / (F(2) + f)
    z = s * s
    rest = z * (F(0.66666662693) + z * (F(0.40000972152) + z * (F(0.28498786688) + z * F(0.24279078841))))
    square = F(0.5) * f * f
    y = s * (square + rest) + k * F(-2.12194440e-4) - square + f + k * F(0.693359375)
    positive = y if x <= F(3.40282347e38) else x
    other = -F(np.inf) if x == F(0) else F(np.nan)
    return positive if x > F(0) else other


@register_jitable
def _log_f64(x):
    small = x < 2.2250738585072014e-308
    lifted = x * 18014398509481984.0 if small else x
    b = U64(bits(lifted) + U64(0x95F619980C433))
    exponent = from_bits(U64((b >> U64(52)) | U64(0x4330000000000000))) - (4503599627370496.0 + 1023.0)
    k = exponent - 54.0 if small else exponent
    f = from_bits(U64((b & U64(0xFFFFFFFFFFFFF)) + U64(0x3FE6A09E667F3BCD))) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = (1.479819860511658591e-01 * z + 1.531383769920937332e-01) * z + 1.818357216161805012e-01
    p = (p * z + 2.222219843214978396e-01) * z + 2.857142874366239149e-01
    p = (p * z + 3.999999999940941908e-01) * z + 6.666666666666735130e-01
    square = 0.5 * f * f
    y = s * (square + z * p) + k * 1.90821492927058770002e-10 - square + f + k * 6.93147180369123816490e-01
    positive = y if x <= 1.7976931348623157e308 else x
    other = -np.inf if x == 0.0 else np.nan
    return positive if x > 0.0 else other


@overload(log)
def _overload_log(x):
    return (lambda x: _log_f32(x)) if x == types.float32 else (lambda x: _log_f64(x))


@register_jitable
def _log1p_f32(x):
    u = F(1) + x
    lost = (x - (u - F(1))) / u  # what rounding 1 + x has lost comes back to first order
    return _log_f32(u) + (lost if u > F(0) and u <= F(3.40282347e38) else F(0))


@register_jitable
def _log1p_f64(x):
    u = 1.0 + x
    lost = (x - (u - 1.0)) / u
    return _log_f64(u) + (lost if u > 0.0 and u <= 1.7976931348623157e308 else 0.0)


@overload(log1p)
def _overload_log1p(x):
    return (lambda x: _log1p_f32(x)) if x == types.float32 else (lambda x: _log1p_f64(x))


@register_jitable(forceinline=True)  # too long for LLVM to do it by itself
def _erf_f32(x):
    size = abs(x)
    a = select(size > F(4), F(4), size)
    z = a * a
    large = (F(1.123099648e-5) * a - F(3.228007879e-4)) * a + F(3.642446712e-3)
    large = ((large * a - F(2.376203728e-2)) * a + F(1.062368484e-1)) * a + F(6.351513337e-1)
    large = F(1) - _exp_f32(-((large * a + F(1.286484861e-1)) * a + a))
    small = (F(8.316730498e-5) * z - F(8.129999824e-4)) * z + F(5.199905257e-3)
    small = ((small * z - F(2.685894077e-2)) * z + F(1.128368717e-1)) * z - F(3.761263319e-1)
    small = (small * z + F(1.283791666e-1)) * a + a
    y = select(a > F(0.921875), large, small)
    return math.copysign(y, x)


@register_jitable(forceinline=True)  # too long for LLVM to do it by itself
def _erf_f64(x):
    size = abs(x)
    a = select(size > 6.0, 6.0, size)
    z = a * a
    above = (9.60497373987051638749e0 * z + 9.00260197203842689217e1) * z + 2.23200534594684319226e3
    above = (above * z + 7.00332514112805075473e3) * z + 5.55923013010394962768e4
    below = (z + 3.35617141647503099647e1) * z + 5.21357949780152679795e2
    below = ((below * z + 4.59432382970980127987e3) * z + 2.26290000613890934246e4) * z + 4.92673942608635921086e4
    top = (2.46196981473530512524e-10 * a + 5.64189564831068821977e-1) * a + 7.46321056442269912687e0
    top = ((top * a + 4.86371970985681366614e1) * a + 1.96520832956077098242e2) * a + 5.26445194995477358631e2
    top = ((top * a + 9.34528527171957607540e2) * a + 1.02755188689515710272e3) * a + 5.57535335369399327526e2
    bottom = ((a + 1.32281951154744992508e1) * a + 8.67072140885989742329e1) * a + 3.54937778887819891062e2
    bottom = ((bottom * a + 9.75708501743205489753e2) * a + 1.82390916687909736289e3) * a + 2.24633760818710981792e3
    bottom = (bottom * a + 1.65666309194161350182e3) * a + 5.57535340817727675546e2
    near = a <= 1.0
    quotient = select(near, a * above, _exp_f64(-z) * top) / select(near, below, bottom)
    y = select(near, quotient, 1.0 - quotient)
    return math.copysign(y, x)


@overload(erf, jit_options={"forceinline": True})
def _overload_erf(x):
    return (lambda x: _erf_f32(x)) if x == types.float32 else (lambda x: _erf_f64(x))
