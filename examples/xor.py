"""XOR: no single layer can compute it; two can. First with weights made by hand, then with learned ones."""

import numpy as np

import fastnn
from fastnn import nn, optim

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [1], [1], [0]], np.float32)


def by_hand() -> nn.Sequential:
    """One hidden unit counts the ones, the other fires when both are there: y = relu(a + b) - 2 relu(a + b - 1)."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    model.load_state_dict(
        {
            "0.weight": np.array([[1, 1], [1, 1]], np.float32),
            "0.bias": np.array([0, -1], np.float32),
            "2.weight": np.array([[1, -2]], np.float32),
            "2.bias": np.array([0], np.float32),
        }
    )
    return model


def learned(seed: int = 0) -> nn.Sequential:
    """The same task from random weights, with a few more hidden units so that no start is unlucky."""
    fastnn.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    fastnn.fit(model, (X, Y), loss=nn.MSELoss(), optimizer=optimizer, epochs=300, batch_size=4, progress=False)
    return model


def main() -> tuple[np.ndarray, np.ndarray]:
    """Print both networks' answers."""
    answers = []
    for name, model in (("by hand", by_hand()), ("learned", learned())):
        answers.append(model(X).numpy())
        print(f"{name}: " + ", ".join(f"{a:.0f} xor {b:.0f} = {y:.2f}" for (a, b), (y,) in zip(X, answers[-1], strict=True)))
    return answers[0], answers[1]


if __name__ == "__main__":
    main()
