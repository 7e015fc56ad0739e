"""What the installation says of itself, and what importing it costs."""

import importlib.metadata
import io
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import config
from fastnn.kernels import isa

OPTIONAL = {"numba", "llvmlite", "rich", "matplotlib", "safetensors", "sklearn", "scipy", "torch", "threadpoolctl"}


def loaded_after(code):
    """Names of the modules that a fresh process has loaded after ``code`` beyond those of NumPy."""
    code = f"import sys, numpy; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before), file=sys.stderr)"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return set(result.stderr.split())


def test_show_config(capsys):
    fastnn.show_config()
    shown = capsys.readouterr().out
    for word in (fastnn.__version__, np.__version__, isa.level(), "backends", "reference", "threads", *config.OPTIONAL):
        assert word in shown
    file = io.StringIO()
    fastnn.show_config(file)
    assert file.getvalue() == shown
    assert fastnn.show_config(file=file) is None


def test_config_tells_versions_and_what_is_missing(monkeypatch):
    def version(name):
        if name == "numba":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(importlib.metadata, "version", version)
    told = config.config()
    assert told["numba"] == "not installed" and told["rich"] == "1.2.3"


def test_config_follows_the_threads(two_threads):
    assert config.config()["threads"].startswith("2 ")


def test_import_is_light():
    """Of what costs most, nothing is loaded before it is asked for."""
    loaded = loaded_after("import fastnn")
    assert "fastnn.functional" in loaded
    assert not {name.partition(".")[0] for name in loaded} & OPTIONAL
    assert not loaded & {"importlib.metadata", "email", "numpy.random", "tempfile", "argparse", "fastnn.training", "fastnn.cli"}


def test_telling_the_config_imports_no_optional_package():
    loaded = loaded_after("import fastnn; fastnn.show_config()")
    assert not {name.partition(".")[0] for name in loaded} & OPTIONAL


def test_using_layers_and_arrays_imports_no_optional_package():
    code = "import fastnn; fastnn.nn.Linear(2, 2)(numpy.ones((1, 2), numpy.float32)).sum().backward()"
    if isa.level() == isa.NONE:
        pytest.skip("without compiled kernels Numba computes")
    assert not {name.partition(".")[0] for name in loaded_after(code)} & OPTIONAL


def test_every_public_name_is_there():
    for name in fastnn.__all__:
        assert getattr(fastnn, name) is not None
    assert set(fastnn.__all__) <= set(dir(fastnn))
    with pytest.raises(AttributeError, match="nothing"):
        _ = fastnn.nothing
