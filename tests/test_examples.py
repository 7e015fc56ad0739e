"""Each example runs, and comes to what it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_xor(capsys):
    by_hand, learned = load("xor").main()
    np.testing.assert_array_equal(by_hand.ravel(), [0, 1, 1, 0])
    np.testing.assert_allclose(learned.ravel(), [0, 1, 1, 0], atol=0.2)
    assert "1 xor 0 = 1.00" in capsys.readouterr().out


def test_linear_templates(capsys):
    pytest.importorskip("sklearn")
    templates, score = load("linear_templates").main()
    assert templates.shape == (10, 8, 8)
    assert score > 0.92
    # A zero is a ring: ink in the middle speaks against it, ink at the sides for it.
    assert templates[0][3:5, 3:5].mean() < 0 < templates[0][3:5, [2, 5]].mean()
    assert len(capsys.readouterr().out.splitlines()) == 2 * 9 + 1


def test_custom_operator(capsys):
    right, loss = load("custom_operator").main()
    assert right is True
    assert loss < 0.01
    assert "gradcheck: True" in capsys.readouterr().out


def test_numpy_network(capsys):
    losses, seconds = load("numpy_network").main(steps=5, budget=0.0)
    assert losses.keys() == seconds.keys() == {"plain", "with_linear", "with_loss", "with_gradients", "as a plan"}
    for values in losses.values():
        np.testing.assert_allclose(values, losses["plain"], rtol=1e-4)
    assert losses["plain"][-1] < 0.5 * losses["plain"][0]
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_onnx_roundtrip(capsys):
    pytest.importorskip("onnx")
    difference, before, after = load("onnx_roundtrip").main()
    assert difference < 1e-6
    assert after < before < 0.4
    assert "circles.onnx" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short(path):
    assert len(path.read_text().splitlines()) <= 90
