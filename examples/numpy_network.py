"""A network written by hand in NumPy, with fastnn's kernels swapped in line by line, and what each swap gains."""

import numpy as np

import fastnn
import fastnn.functional as F
from fastnn import nn, optim
from fastnn.measure import interleaved


def loss_by_hand(z, t):
    """Cross entropy of scores, and its gradient."""
    e = np.exp(z - z.max(1, keepdims=True))
    p = e / e.sum(1, keepdims=True)
    rows = np.arange(len(t))
    loss = -np.log(p[rows, t]).mean()
    p[rows, t] -= 1
    return loss, p / len(t)


def plain(x, t, w1, b1, w2, b2):
    """Loss and gradients as one writes them in a course."""
    h = np.maximum(x @ w1.T + b1, 0)
    loss, dz = loss_by_hand(h @ w2.T + b2, t)
    dh = (dz @ w2) * (h > 0)
    return loss, (dh.T @ x, dh.sum(0), dz.T @ h, dz.sum(0))


def with_linear(x, t, w1, b1, w2, b2):
    """Products, biases and the activation: F.linear."""
    h = F.linear(x, w1, b1, activation="relu")
    loss, dz = loss_by_hand(F.linear(h, w2, b2), t)
    dh = (dz @ w2) * (h > 0)
    return loss, (dh.T @ x, dh.sum(0), dz.T @ h, dz.sum(0))


def with_loss(x, t, w1, b1, w2, b2):
    """Softmax, logarithm, mean and their gradient: F.cross_entropy."""
    h = F.linear(x, w1, b1, activation="relu")
    loss, pull_loss = fastnn.vjp(F.cross_entropy, F.linear(h, w2, b2), t)
    dz, _ = pull_loss(1.0)
    dh = (dz @ w2) * (h > 0)
    return loss, (dh.T @ x, dh.sum(0), dz.T @ h, dz.sum(0))


def with_gradients(x, t, w1, b1, w2, b2):
    """The backward pass too: nothing is derived by hand any more."""
    h, pull_h = fastnn.vjp(lambda w, b: F.linear(x, w, b, activation="relu"), w1, b1)  # no gradient of x is wanted
    z, pull_z = fastnn.vjp(F.linear, h, w2, b2)
    loss, pull_loss = fastnn.vjp(F.cross_entropy, z, t)
    dh, dw2, db2 = pull_z(pull_loss(1.0)[0])
    return loss, (*pull_h(dh), dw2, db2)


def descend(step, x, t, weights, lr=0.1):
    """One step of gradient descent, in place."""
    loss, gradients = step(x, t, *weights)
    for w, g in zip(weights, gradients, strict=True):
        w -= lr * g
    return float(loss)


def main(steps: int = 20, budget: float = 1.0) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The losses of every version from the same start, and the seconds of one step."""
    rng = np.random.default_rng(1)
    t = rng.integers(0, 10, 64)
    x = (rng.standard_normal((10, 784))[t] + rng.standard_normal((64, 784))).astype(np.float32)
    start = [rng.normal(0, 0.05, shape).astype(np.float32) for shape in ((128, 784), (128,), (10, 128), (10,))]
    versions = {}
    for function in (plain, with_linear, with_loss, with_gradients):
        weights = [w.copy() for w in start]
        versions[function.__name__] = lambda f=function, weights=weights: descend(f, x, t, weights)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    model.load_state_dict(dict(zip(model.state_dict(), start, strict=True)))
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    versions["as a plan"] = lambda: plan.step(x, t)  # forward, backward and update in one call
    losses = {name: [run() for _ in range(steps)] for name, run in versions.items()}
    seconds = {name: timing.seconds for name, timing in interleaved(versions, budget=budget).items()}
    for name, time in seconds.items():
        print(f"{name:<15} loss {losses[name][-1]:.5f}  {time * 1e6:6.0f} us a step, {seconds['plain'] / time:.2f} times as fast")
    return losses, seconds


if __name__ == "__main__":
    main()
