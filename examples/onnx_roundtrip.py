"""A network to ONNX and back: train, export, load, check that nothing changed, and train on.

python examples/onnx_roundtrip.py        (pip install "fastnn[onnx]")
"""

import tempfile
from pathlib import Path

import numpy as np

import fastnn
import fastnn.onnx
from fastnn import nn, optim


def circles(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points, and whether they lie inside the circle of radius one."""
    points = rng.uniform(-1.5, 1.5, (count, 2)).astype(np.float32)
    return points, (np.hypot(*points.T) < 1).astype(np.int64)


def main() -> tuple[float, float, float]:
    """Largest difference after the way there and back, and the loss before and after training the network that came back."""
    rng = np.random.default_rng(0)
    points, labels = circles(rng, 512)
    model = nn.Sequential(nn.Linear(2, 16, rng=rng), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 2, rng=rng))
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01))
    for _ in range(5):
        plan.epoch(points, labels, batch_size=32, seed=rng)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "circles.onnx"
        fastnn.onnx.export(model, points[:1], file)
        network = fastnn.onnx.load(file)
        print(f"{file.name}: {file.stat().st_size} bytes, operator set {network.opset}")

    difference = float(abs(network(points).numpy() - plan.predict(points)).max())
    print(f"largest difference of the scores: {difference:.1e}")

    plan = fastnn.compile(network, nn.CrossEntropyLoss(), optim.Adam(network.parameters(), lr=0.01))
    losses = [plan.epoch(points, labels, batch_size=32, seed=rng) for _ in range(10)]
    print(f"loss: {losses[0]:.3f} where it came back, {losses[-1]:.3f} after training on")
    return difference, losses[0], losses[-1]


if __name__ == "__main__":
    main()
