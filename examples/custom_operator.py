"""A user's own operator: forward and backward in plain NumPy, checked by gradcheck, used in a network like any other."""

import numpy as np

import fastnn
from fastnn import nn, optim


class Gaussian(fastnn.Function):
    """y = exp(-x^2), so dy/dx = -2 x y."""

    @staticmethod
    def forward(ctx, x):
        """Compute y and keep what backward needs."""
        x = x.numpy()
        y = np.exp(-(x**2))
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, dy):
        """Gradient of x from the gradient of y."""
        x, y = ctx.saved_tensors
        return dy.numpy() * (-2 * x * y)


class RadialLayer(nn.Module):
    """A hidden layer of Gaussian units."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units)

    def forward(self, x):
        """Apply the operator to a linear map."""
        return Gaussian.apply(self.linear(x))


def main() -> tuple[bool, float]:
    """Check the gradient, then fit a bump with the new layer."""
    fastnn.manual_seed(0)
    right = fastnn.gradcheck(Gaussian.apply, (fastnn.tensor(np.linspace(-2, 2, 7), requires_grad=True),))
    print(f"gradcheck: {right}")
    x = np.linspace(-3, 3, 128, dtype=np.float32)[:, None]
    y = np.cos(2 * x) * np.exp(-np.abs(x))
    model = nn.Sequential(RadialLayer(1, 16), nn.Linear(16, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    # eager: NumPy in the operator wants numbers at each step, which a plan has not when it is made
    history = fastnn.fit(model, (x, y), optimizer=optimizer, epochs=100, rng=0, progress=False, eager=True)
    print(f"mean squared error: {history['loss'][0]:.4f} -> {history['loss'][-1]:.5f}")
    return right, history["loss"][-1]


if __name__ == "__main__":
    main()
