"""A plain NumPy network with fastnn's kernels swapped in: its arrays, loop and update stay as they are."""

import time

import numpy as np

import fastnn
import fastnn.functional as F


def loss_numpy(x, t, w1, b1, w2, b2):
    """Loss and gradients as one writes them by hand."""
    h = np.maximum(x @ w1.T + b1, 0)
    z = h @ w2.T + b2
    e = np.exp(z - z.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    rows = np.arange(len(t))
    loss = -np.log(p[rows, t]).mean()
    p[rows, t] -= 1
    dz = p / len(t)
    dh = (dz @ w2) * (h > 0)
    return loss, (dh.T @ x, dh.sum(0), dz.T @ h, dz.sum(0))


def loss_fastnn(x, t, *weights):
    """The same with fastnn: the forward pass is written down, the gradients follow from it."""

    def network(w1, b1, w2, b2):
        return F.cross_entropy(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2), t)

    loss, pullback = fastnn.vjp(network, *weights)
    return loss, pullback(np.ones_like(loss))


def train(step, x, t, epochs=60, lr=0.5, seed=0):
    """Gradient descent on the whole batch; the final loss, the weights and the seconds."""
    rng = np.random.default_rng(seed)
    shapes = (64, x.shape[1]), (64,), (int(t.max()) + 1, 64), (int(t.max()) + 1,)
    weights = [rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32) for shape in shapes]
    start = time.perf_counter()
    for _ in range(epochs):
        loss, gradients = step(x, t, *weights)
        for w, g in zip(weights, gradients, strict=True):
            w -= lr * g
    return float(loss), weights, time.perf_counter() - start


def main() -> tuple[float, float, float]:
    """Train twice from the same start; the losses and the largest difference of a weight."""
    rng = np.random.default_rng(1)
    centers, t = 1.5 * rng.standard_normal((5, 20)), rng.integers(0, 5, 1000)
    x = (centers[t] + rng.standard_normal((1000, 20))).astype(np.float32)
    (a, weights_a, seconds_a), (b, weights_b, seconds_b) = train(loss_numpy, x, t), train(loss_fastnn, x, t)
    difference = max(float(np.abs(u - v).max()) for u, v in zip(weights_a, weights_b, strict=True))
    print(f"NumPy loss {a:.5f} in {seconds_a:.2f} s; fastnn loss {b:.5f} in {seconds_b:.2f} s; weights differ: {difference:.0e}")
    return a, b, difference


if __name__ == "__main__":
    main()
