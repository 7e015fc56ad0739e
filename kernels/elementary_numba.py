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


def log1p(x):
    """log(1 + x) without cancellation near 0; libm's, there is one in a loss and not in an inner loop."""
    return math.log1p(x)


def erf(x):
    """The error function; libm's."""
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


@overload(log1p)
def _overload_log1p(x):
    return lambda x: math.log1p(x)


@overload(erf)
def _overload_erf(x):
    return lambda x: math.erf(x)
