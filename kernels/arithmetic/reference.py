"""Elementwise arithmetic in plain NumPy."""

import numpy as np


def add(a, b):
    return (a + b,)


def add_backward(dy):
    return dy, dy


def subtract(a, b):
    return (a - b,)


def subtract_backward(dy):
    return dy, -dy


def multiply(a, b):
    return (a * b,)


def multiply_backward(dy, a, b):
    return dy * b, dy * a


def divide(a, b):
    return (a / b,)


def divide_backward(dy, a, b):
    return dy / b, -dy * a / (b * b)


def power(a, b):
    return (a**b,)


def power_backward(dy, a, b, y):
    zero = np.zeros((), dy.dtype)
    da = np.where(b == 0, zero, dy * b * a ** (b - 1))  # 0 * a^-1 would be NaN at a = 0
    db = np.where((a == 0) & (b >= 0), zero, dy * y * np.log(a))
    return da, db


def maximum(a, b):
    return (np.maximum(a, b),)


def maximum_backward(dy, a, b):
    half = dy / 2  # a tie gives half to each side
    return np.where(a == b, half, np.where(a > b, dy, 0 * dy)), np.where(a == b, half, np.where(b > a, dy, 0 * dy))


def minimum(a, b):
    return (np.minimum(a, b),)


def minimum_backward(dy, a, b):
    return maximum_backward(dy, -a, -b)


def negative(x):
    return (-x,)


def negative_backward(dy):
    return (-dy,)


def exp(x):
    return (np.exp(x),)


def exp_backward(dy, y):
    return (dy * y,)


def log(x):
    return (np.log(x),)


def log_backward(dy, x):
    return (dy / x,)


def sqrt(x):
    return (np.sqrt(x),)


def sqrt_backward(dy, y):
    return (dy / (2 * y),)


def abs(x):
    return (np.abs(x),)


def abs_backward(dy, x):
    return (dy * np.sign(x),)


def clamp(x, low, high):
    if low is not None:
        x = np.maximum(x, x.dtype.type(low))
    return (x if high is None else np.minimum(x, x.dtype.type(high)),)


def clamp_backward(dy, x, low, high):
    inside = (x >= (-np.inf if low is None else low)) & (x <= (np.inf if high is None else high))
    return (np.where(inside, dy, np.zeros((), dy.dtype)),)


def where(condition, a, b):
    return (np.where(condition, a, b),)


def where_backward(dy, condition):
    zero = np.zeros((), dy.dtype)
    return np.where(condition, dy, zero), np.where(condition, zero, dy)
