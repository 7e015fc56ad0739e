"""What the installation says of itself, and what importing it costs."""

import io
import subprocess
import sys

import numpy as np

import fastnn
from fastnn.kernels import isa


def test_show_config(capsys):
    fastnn.show_config()
    shown = capsys.readouterr().out
    for word in (fastnn.__version__, np.__version__, isa.level(), "backends", "threads", "numba", "safetensors"):
        assert word in shown
    file = io.StringIO()
    fastnn.show_config(file)
    assert file.getvalue() == shown


def test_import_is_light():
    code = "import sys, fastnn; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(result.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"numba", "llvmlite", "rich", "matplotlib", "safetensors", "sklearn", "scipy", "torch", "threadpoolctl"}


def test_every_public_name_is_there():
    for name in fastnn.__all__:
        assert getattr(fastnn, name) is not None
