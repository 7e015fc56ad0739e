"""One step of an optimiser in plain NumPy."""

import numpy as np


def _gradient(p, g, weight_decay, maximize):
    g = -g if maximize else g
    return g + weight_decay * p if weight_decay else g


def sgd(p, g, b, lr, momentum, dampening, nesterov, weight_decay, first, maximize):
    g = _gradient(p, g, weight_decay, maximize)
    if b is None:
        return p - lr * g, None
    b = g.copy() if first else momentum * b + (1 - dampening) * g
    return p - lr * (g + momentum * b if nesterov else b), b


def adagrad(p, g, s, lr, weight_decay, eps, maximize):
    g = _gradient(p, g, weight_decay, maximize)
    s = s + g * g
    return p - lr * g / (np.sqrt(s) + eps), s


def adadelta(p, g, s, a, lr, rho, eps, weight_decay, maximize):
    g = _gradient(p, g, weight_decay, maximize)
    s = rho * s + (1 - rho) * g * g
    d = g * np.sqrt(a + eps) / np.sqrt(s + eps)
    return p - lr * d, s, rho * a + (1 - rho) * d * d


def rmsprop(p, g, s, mean, b, lr, alpha, eps, weight_decay, momentum, maximize):
    g = _gradient(p, g, weight_decay, maximize)
    s = alpha * s + (1 - alpha) * g * g
    variance = s
    if mean is not None:
        mean = alpha * mean + (1 - alpha) * g
        variance = s - mean * mean
    d = g / (np.sqrt(variance) + eps)
    if b is not None:
        d = b = momentum * b + d
    return p - lr * d, s, mean, b


def adam(p, g, m, v, v_max, lr, beta1, beta2, eps, weight_decay, decoupled, step, maximize, eps_hat):
    p = p * (1 - lr * weight_decay) if decoupled else p
    g = _gradient(p, g, 0 if decoupled else weight_decay, maximize)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    largest = v if v_max is None else np.maximum(v_max, v)
    correction = (1 - beta2**step) ** 0.5
    denominator = (np.sqrt(largest) + eps) / correction if eps_hat else np.sqrt(largest) / correction + eps
    return p - lr / (1 - beta1**step) * m / denominator, m, v, None if v_max is None else largest.copy()


def nadam(p, g, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, gradient_rate, momentum_rate, maximize):
    p = p * (1 - lr * weight_decay) if decoupled else p
    g = _gradient(p, g, 0 if decoupled else weight_decay, maximize)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return p - (gradient_rate * g + momentum_rate * m) / (np.sqrt(v / (1 - beta2**step)) + eps), m, v
