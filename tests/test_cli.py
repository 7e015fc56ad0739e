"""The command line: the main job end to end on little data, and errors in one line."""

import json
import os
import re
import struct
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

import fastnn
from fastnn.cli import main


@pytest.fixture
def images(tmp_path, rng):
    """Images of 8 x 8 whose bright half says the class, as an npz file."""
    y = np.arange(160) % 3
    x = rng.random((160, 8, 8)) * 0.3
    for row, label in zip(x, y, strict=True):
        row[[slice(0, 4), slice(4, 8), slice(2, 6)][label]] += 1
    path = tmp_path / "images.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    return str(path)


@pytest.fixture
def table(tmp_path, rng):
    """A linear regression with a little noise."""
    x = rng.standard_normal((200, 4))
    path = tmp_path / "table.npz"
    np.savez(path, x=x, y=x @ [3.0, -1.0, 0.5, 2.0] + 10 + 0.1 * rng.standard_normal(200))
    return str(path)


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_train_classes(images, model, capsys):
    assert (
        main(["train", "--data", images, "--model", model, "--epochs", "6", "--batch-size", "32", "--lr", "0.01", "--quiet"]) == 0
    )
    captured = capsys.readouterr()
    assert captured.err == ""
    assert re.search(r"Kernels against the reference in float64: all \d+ agree", captured.out)
    assert "Cost of a step of 32 rows" in captured.out and "forward ms" in captured.out
    last = captured.out.splitlines()[-1]
    assert float(re.fullmatch(r"held-out accuracy: (\d+\.\d) %", last)[1]) > 90


def test_train_regression(table, capsys):
    assert main(["train", "--data", table, "--quiet"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    rmse, r2 = map(float, re.fullmatch(r"held-out RMSE: (\S+), R2: (\S+)", last).groups())
    assert rmse < 0.3
    assert r2 > 0.98


def test_same_seed_same_result(images, tmp_path, capsys):
    pytest.importorskip("safetensors")
    weights = []
    for seed in (1, 1, 2):
        path = tmp_path / "w.safetensors"
        assert main(["train", "--data", images, "--model", "mlp", "--epochs", "1", "--seed", str(seed), "--save", str(path)]) == 0
        weights.append(fastnn.load(path)["1.weight"])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_save_describes_the_network(images, tmp_path, capsys):
    pytest.importorskip("safetensors")
    path = tmp_path / "w.safetensors"
    assert main(["train", "--data", images, "--model", "linear", "--epochs", "1", "--quiet", "--save", str(path)]) == 0
    assert fastnn.load(path)["1.weight"].shape == (3, 64)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    network = json.loads(header["__metadata__"]["fastnn.network"])
    assert network["model"] == "linear"
    assert network["input_shape"] == [1, 8, 8]
    assert network["classes"] == ["0", "1", "2"]
    assert network["dataset"] == "images"


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
@pytest.mark.parametrize("data", ["images", "table"])
def test_plot(request, data, model, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = tmp_path / "p.png"
    arguments = [
        "train",
        "--data",
        request.getfixturevalue(data),
        "--model",
        model,
        "--epochs",
        "2",
        "--quiet",
        "--plot",
        str(path),
    ]
    if (data, model) == ("table", "cnn"):
        assert main(arguments) == 2
        assert "needs images" in capsys.readouterr().err
        return
    assert main(arguments) == 0
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_backend(table, backend, capsys):
    if not fastnn.dispatch.is_available(backend):
        pytest.skip(f"{backend} is not installed")
    assert main(["train", "--data", table, "--epochs", "1", "--backend", backend, "--quiet"]) == 0
    assert re.search(rf"linear\s+{backend}", capsys.readouterr().out)


def test_threads_and_optimizer(table, two_threads, capsys):
    assert main(["train", "--data", table, "--epochs", "2", "--threads", "1", "--optimizer", "sgd", "--quiet"]) == 0
    assert fastnn.get_num_threads() == 1


def test_plain_tables_without_rich(table, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["train", "--data", table, "--epochs", "2"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"^layer +forward ms +MFLOP", captured.out, re.MULTILINE)
    assert "epoch 2/2" in captured.err


def test_interrupted_training_still_reports(table, monkeypatch, capsys):
    from fastnn.training import WeightAverage

    def interrupt(self, run):
        if run.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(WeightAverage, "on_epoch_end", interrupt)
    assert main(["train", "--data", table, "--epochs", "5", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "interrupted after 2 epochs" in out
    assert out.splitlines()[-1].startswith("held-out RMSE: ")


def test_a_kernel_that_disagrees_gives_exit_code_1(table, monkeypatch, capsys):
    from fastnn.cli import train
    from fastnn.measure import KernelCheck

    monkeypatch.setattr(train, "verify", lambda *args: [KernelCheck("linear", "cython", ((1, 2), None), 0.5, 1e-6)])
    assert main(["train", "--data", table, "--epochs", "1", "--quiet"]) == 1
    assert "1 of 1 disagree" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["train", "mnist"], "no data set is called 'mnist'"),
        (["train", "digits", "--data", "x"], "not both"),
        (["train", "--data", "/no/such/folder"], "/no/such/folder"),
        (["train", "--data", "no-such-file.npz"], "no-such-file.npz"),
        (["train", "--epochs", "0"], "positive whole number"),
        (["train", "--batch-size", "many"], "positive whole number"),
        (["train", "--lr", "nan"], "positive number"),
        (["train", "--seed", "-1"], "--seed"),
        (["train", "--threads", "0"], "positive whole number"),
        (["train", "--model", "rnn"], "invalid choice"),
        (["train", "--backend", "cuda"], "invalid choice"),
        (["train", "--optimizer", "lbfgs"], "invalid choice"),
        (["train", "--plot", "curve.xyz"], "--plot: curve.xyz: expected a file name ending in one of .png"),
        (["train", "--save", "/no/such/folder/w.safetensors"], "/no/such/folder"),
        (["trian"], "invalid choice"),
        (["train", "--colour"], "unrecognized"),
    ],
)
def test_bad_arguments_get_one_line_and_2(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("fastnn")
    assert message in captured.err


def test_missing_packages_are_named(images, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["train", "iris"]) == 2
    assert "pip install 'fastnn[train]'" in capsys.readouterr().err


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fastnn") and "backends" in out and "threads" in out
    assert main(["info", "--operators"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"linear_backward +linear +(yes|-) +(yes|-) +yes", out)


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"fastnn {version('fastnn')}"
    assert main([]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["train", "--help"]) == 0
    assert "--batch-size" in capsys.readouterr().out


def test_as_a_program(tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "fastnn.cli", "train", "--data", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


@pytest.mark.parametrize("name, known", [("FASTNN_BACKEND", "cython, numba, reference"), ("FASTNN_ISA", "v2, v3, v4")])
@pytest.mark.parametrize("start", [["-m", "fastnn.cli"], ["{folder}/fastnn"]], ids=["module", "program"])
def test_a_wrong_environment_is_told_in_one_line(name, known, start, tmp_path):
    """It stops the import already."""
    (tmp_path / "fastnn").write_text("import sys\nfrom fastnn.cli import main\nsys.exit(main())\n")
    command = [sys.executable, *(text.format(folder=tmp_path) for text in start), "info"]
    result = subprocess.run(command, env={**os.environ, name: "fpga"}, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("fastnn: ") and result.stderr.count("\n") == 1
    for word in (name, "fpga", known):
        assert word in result.stderr
