"""The command fastnn profile."""

import json

import numpy as np
import pytest

import fastnn
from fastnn import nn
from fastnn.cli import main


def test_command(tmp_path, capsys, known_roofline):
    pytest.importorskip("matplotlib")
    files = [str(tmp_path / name) for name in ("p.svg", "p.json", "p.md", "p.html")]
    options = [text for pair in zip(("--plot", "--json", "--markdown", "--report"), files, strict=True) for text in pair]
    assert main(["profile", "--model", "12-8-3", "--batch-size", "5", "--budget", "0.01", *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == "" and "plan, step of training: input 5x12 float32" in captured.out and "2 Linear" in captured.out
    assert json.loads((tmp_path / "p.json").read_text())["kind"] == "plan"
    assert (tmp_path / "p.md").read_text().startswith("**plan") and "<svg" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    "options, shown",
    [
        (["--eager"], "eager, step of training"),
        (["--inference"], "plan, prediction"),
        (["--optimizer", "none"], "eager, step of training"),
        (["--loss", "mse", "--dtype", "float64"], "float64"),
        (["--backend", "reference"], "(reference)"),
    ],
)
def test_options(options, shown, capsys, known_roofline):
    assert main(["profile", "--model", "12-8-3", "--batch-size", "5", "--budget", "0.01", *options]) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("option", [["--loss", "mse"], ["--optimizer", "sgd"]])
def test_a_prediction_has_neither_loss_nor_optimiser(option, capsys):
    assert main(["profile", "--inference", *option]) == 2
    assert f"{option[0]}: a prediction has none" in capsys.readouterr().err


def test_named_and_written_networks(tmp_path, capsys, known_roofline):
    (tmp_path / "parts.py").write_text("WIDTH = 6\n")
    file = tmp_path / "net.py"
    file.write_text(
        "from fastnn import nn\nfrom parts import WIDTH\n"
        "def with_shape():\n    return nn.Linear(WIDTH, 2), (WIDTH,)\ndef alone():\n    return nn.Linear(WIDTH, 2)\n"
        "def number():\n    return 3\n"
    )
    quick = ["--batch-size", "2", "--budget", "0.01"]
    assert main(["profile", "--model", f"{file}:with_shape", *quick]) == 0
    assert main(["profile", "--model", f"{file}:alone", "--input", "6", *quick]) == 0
    assert main(["profile", "--model", "lenet", *quick]) == 0
    assert "input 2x1x28x28" in capsys.readouterr().out
    for wrong, message in (
        (f"{file}:alone", "--input"), (f"{file}:number", "Module"), (f"{file}:other", "no function 'other'"), ("resnet", "--model"),
        (f"{file}x.py:f", "no file"), ("0-3", "--model"), ("no.safetensors", "--model: there is no file"),
    ):  # fmt: skip
        assert main(["profile", "--model", wrong, *quick]) == 2
        assert message in capsys.readouterr().err


def test_weights_whose_metadata_names_their_network(tmp_path, capsys, known_roofline):
    pytest.importorskip("safetensors")
    from fastnn.cli.models import load
    from fastnn.cli.networks import build

    path = tmp_path / "w.safetensors"
    model = build("cnn", (1, 8, 8), 3)
    described = {"model": "cnn", "input_shape": [1, 8, 8], "outputs": 3}
    fastnn.save(model.state_dict(), path, metadata={"fastnn.network": json.dumps(described)})
    found, shape = load(str(path))
    assert shape == (1, 8, 8)
    for name, value in found.state_dict().items():
        np.testing.assert_array_equal(value, model.state_dict()[name])
    for wrong in ({}, {"fastnn.network": "{"}, {"fastnn.network": json.dumps(described | {"outputs": "3"})}):
        fastnn.save(model.state_dict(), path, metadata=wrong)
        assert main(["profile", "--model", str(path)]) == 2
        assert "does not say which network" in capsys.readouterr().err


def test_onnx_files(tmp_path, known_roofline, capsys):
    pytest.importorskip("onnx")
    import fastnn.onnx

    path = tmp_path / "m.onnx"
    fastnn.onnx.export(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), np.zeros((1, 3), np.float32), path)
    assert main(["profile", "--model", str(path), "--batch-size", "5", "--budget", "0.01", "--inference"]) == 0
    assert "input 5x3" in capsys.readouterr().out
    assert main(["profile", "--model", str(tmp_path / "no.onnx")]) == 2
