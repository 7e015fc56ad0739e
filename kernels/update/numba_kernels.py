"""One step of an optimiser, compiled just in time.

The state is copied to the outputs where those are other arrays, and then changed in place, on flat views, so that the loops vectorise.
"""

import numpy as np

from ..numba_support import kernel


@kernel
def _copy(source, target):
    for i in range(target.size):
        target[i] = source[i]


def _in_place(source, target):
    """The output as a flat array with the input's values in it."""
    flat = target.reshape(-1)
    if source is not target:
        _copy(source.reshape(-1), flat)
    return flat


@kernel
def _gradient(g, p, sign, decay):
    return sign * g + decay * p if decay != 0 else sign * g  # without decay p is left out, because 0 * inf is NaN


@kernel
def _sgd_plain(p, g, lr, sign, decay):
    for i in range(p.size):
        p[i] -= lr * _gradient(g[i], p[i], sign, decay)


@kernel
def _sgd_momentum(p, g, b, lr, momentum, fresh, first, nesterov, sign, decay):
    for i in range(p.size):
        d = _gradient(g[i], p[i], sign, decay)
        b[i] = d if first else momentum * b[i] + fresh * d
        p[i] -= lr * (d + momentum * b[i] if nesterov else b[i])


@kernel
def _adagrad(p, g, s, lr, eps, sign, decay):
    for i in range(p.size):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] += d * d
        p[i] -= lr * d / (np.sqrt(s[i]) + eps)


@kernel
def _adadelta(p, g, s, a, lr, rho, fresh, eps, sign, decay):
    for i in range(p.size):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] = rho * s[i] + fresh * d * d
        d = d * np.sqrt(a[i] + eps) / np.sqrt(s[i] + eps)
        a[i] = rho * a[i] + fresh * d * d
        p[i] -= lr * d


@kernel
def _rmsprop(p, g, s, mean, b, lr, alpha, fresh, eps, momentum, sign, decay):
    centered, buffered = mean.size > 0, b.size > 0
    for i in range(p.size):
        d = _gradient(g[i], p[i], sign, decay)
        s[i] = alpha * s[i] + fresh * d * d
        variance = s[i]
        if centered:
            mean[i] = alpha * mean[i] + fresh * d
            variance = s[i] - mean[i] * mean[i]
        d = d / (np.sqrt(variance) + eps)
        if buffered:
            b[i] = momentum * b[i] + d
            d = b[i]
        p[i] -= lr * d


@kernel
def _adam(p, g, m, v, v_max, rate, gradient_rate, beta1, fresh1, beta2, fresh2, scale, eps, sign, decay, keep):
    amsgrad = v_max.size > 0
    for i in range(p.size):
        d = _gradient(g[i], p[i], sign, decay)
        w = keep * p[i]
        m[i] = beta1 * m[i] + fresh1 * d
        v[i] = beta2 * v[i] + fresh2 * d * d
        largest = v[i]
        if amsgrad:
            largest = v_max[i] if v_max[i] > v[i] else v[i]  # a NaN in v comes through
            v_max[i] = largest
        p[i] = w - (rate * m[i] + gradient_rate * d) / (np.sqrt(largest) * scale + eps)


def _rates(p, *values):
    """The numbers in the dtype of the parameter, so that float32 is not widened inside the loop."""
    return [p.dtype.type(value) for value in values]


def _absent(p):
    return np.empty(0, p.dtype)


def sgd(p, g, b, lr, momentum, dampening, nesterov, weight_decay, first, maximize, p_new, b_new):
    new, flat, sign = _in_place(p, p_new), g.reshape(-1), -1 if maximize else 1
    if b is None:
        _sgd_plain(new, flat, *_rates(p, lr, sign, weight_decay))
        return
    rates, signs = _rates(p, lr, momentum, 1 - dampening), _rates(p, sign, weight_decay)
    _sgd_momentum(new, flat, _in_place(b, b_new), *rates, bool(first), bool(nesterov), *signs)


def adagrad(p, g, s, lr, weight_decay, eps, maximize, p_new, s_new):
    rates = _rates(p, lr, eps, -1 if maximize else 1, weight_decay)
    _adagrad(_in_place(p, p_new), g.reshape(-1), _in_place(s, s_new), *rates)


def adadelta(p, g, s, a, lr, rho, eps, weight_decay, maximize, p_new, s_new, a_new):
    rates = _rates(p, lr, rho, 1 - rho, eps, -1 if maximize else 1, weight_decay)
    _adadelta(_in_place(p, p_new), g.reshape(-1), _in_place(s, s_new), _in_place(a, a_new), *rates)


def rmsprop(p, g, s, mean, b, lr, alpha, eps, weight_decay, momentum, maximize, p_new, s_new, mean_new, b_new):
    rates = _rates(p, lr, alpha, 1 - alpha, eps, momentum, -1 if maximize else 1, weight_decay)
    centre = _absent(p) if mean is None else _in_place(mean, mean_new)
    buffer = _absent(p) if b is None else _in_place(b, b_new)
    _rmsprop(_in_place(p, p_new), g.reshape(-1), _in_place(s, s_new), centre, buffer, *rates)


def _step_adam(p, g, m, v, v_max, rate, gradient_rate, lr, beta1, beta2, eps, weight_decay, decoupled, step, maximize):
    keep, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    scale = 1 / (1 - beta2**step) ** 0.5
    rates = _rates(p, rate, gradient_rate, beta1, 1 - beta1, beta2, 1 - beta2, scale, eps, -1 if maximize else 1, decay, keep)
    _adam(p, g.reshape(-1), m, v, v_max, *rates)


def adam(
    p, g, m, v, v_max, lr, beta1, beta2, eps, weight_decay, decoupled, step, maximize, eps_hat, p_new, m_new, v_new, v_max_new
):  # fmt: skip
    largest = _absent(p) if v_max is None else _in_place(v_max, v_max_new)
    if eps_hat:  # eps is added before the correction
        eps = eps / (1 - beta2**step) ** 0.5
    _step_adam(
        _in_place(p, p_new), g, _in_place(m, m_new), _in_place(v, v_new), largest, lr / (1 - beta1**step), 0,
        lr, beta1, beta2, eps, weight_decay, decoupled, step, maximize,
    )  # fmt: skip


def nadam(
    p, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, gradient_rate, momentum_rate, maximize, p_new, m_new, v_new
):  # fmt: skip
    _step_adam(
        _in_place(p, p_new), g, _in_place(m, m_new), _in_place(v, v_new), _absent(p), momentum_rate, gradient_rate,
        lr, beta1, beta2, eps, weight_decay, decoupled, step, maximize,
    )  # fmt: skip
