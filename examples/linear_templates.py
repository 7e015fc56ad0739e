"""A linear classifier learns one template for each class: the weights of an output, drawn as a picture. Needs scikit-learn."""

import numpy as np

import fastnn
from fastnn import nn, optim
from fastnn.data import load_dataset
from fastnn.training import accuracy, predict

SHADES = " .:-=+*#%@"


def train(epochs: int = 30) -> tuple[np.ndarray, float]:
    """The ten templates (10, 8, 8) and the accuracy on the held-out digits."""
    data = load_dataset("digits")
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    # Weight decay keeps pixels that say nothing near zero, so that the templates can be read.
    optimizer = optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    fastnn.fit(model, (data.x_train, data.y_train), optimizer=optimizer, epochs=epochs, progress=False)
    return model[1].weight.numpy().reshape(10, 8, 8), accuracy(predict(model, data.x_test), data.y_test)


def draw(template: np.ndarray) -> list[str]:
    """Dark where ink speaks for the class, blank where it speaks against it."""
    levels = (template - template.min()) / np.ptp(template) * (len(SHADES) - 1)
    return ["".join(SHADES[level] * 2 for level in row) for row in levels.round().astype(int)]


def main() -> tuple[np.ndarray, float]:
    """Print the templates, five in a row."""
    templates, score = train()
    for first in (0, 5):
        print("   ".join(f"{digit:<16}" for digit in range(first, first + 5)))
        for lines in zip(*[draw(template) for template in templates[first : first + 5]], strict=True):
            print("   ".join(lines))
    print(f"held-out accuracy: {100 * score:.1f} %")
    return templates, score


if __name__ == "__main__":
    main()
