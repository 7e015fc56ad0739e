"""What is installed, and what an import costs. The builds themselves are tried by .ci/run."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastnn
import fastnn.kernels

ROOT = Path(__file__).parent.parent


def run_python(code, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env=os.environ | environment, cwd=os.sep
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_is_light():
    """Neither Numba nor anything else slow, nor anything that only one job needs."""
    loaded = set(run_python("import sys, fastnn; print(*sys.modules)").split())
    heavy = {"argparse", "llvmlite", "matplotlib", "numba", "onnx", "pandas", "rich", "safetensors", "scipy", "sklearn", "torch"}
    assert "fastnn.kernels" in loaded
    assert not heavy & {name.partition(".")[0] for name in loaded}


def test_version_and_core_dependency():
    distribution = importlib.metadata.distribution("fastnn")
    assert fastnn.__version__ == distribution.version
    core = [requirement for requirement in distribution.requires or [] if "extra ==" not in requirement]
    assert len(core) == 1
    assert core[0].startswith("numpy>=2")


def test_extras():
    extras = set(importlib.metadata.metadata("fastnn").get_all("Provides-Extra") or [])
    assert {"all", "bench", "cli", "io", "jit", "lint", "plot", "sklearn", "test", "train"} <= extras


def test_wheel_has_one_name_at_top_level():
    files = importlib.metadata.files("fastnn") or []
    if not any(file.parts[:2] == ("fastnn", "__init__.py") for file in files):
        pytest.skip("an editable installation lists no files")
    tops = {file.parts[0] for file in files if file.parts[0] != ".."}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"fastnn"}
    assert any(file.parts == ("fastnn", "py.typed") for file in files)
    assert not [file for file in files if file.suffix in (".c", ".pyx", ".pxd", ".h")]


def test_license_is_installed():
    assert importlib.metadata.metadata("fastnn")["License-Expression"] == "BSD-3-Clause"


def test_sources_reach_the_sdist():
    """MANIFEST.in names every kind of source; without it the sdist silently loses them."""
    wanted = {
        line.split()[2 + i]
        for line in (ROOT / "MANIFEST.in").read_text().splitlines()
        if line.startswith("recursive-include kernels")
        for i in range(3)
    }
    kinds = {path.suffix for path in (ROOT / "kernels").rglob("*") if path.is_file()}
    assert kinds - {".py", ".pyc", ".so"} <= {pattern.removeprefix("*") for pattern in wanted}


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
def test_without_compiled_kernels_numba_computes_and_says_so_once():
    code = (
        "import sys, warnings, pathlib, importlib\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('fastnn.kernels.processor', 'fastnn.kernels.parallel', 'fastnn.kernels.pullback',\n"
        "                    'fastnn.kernels.boundary', 'fastnn.kernels.remembered', 'fastnn.kernels.executor',\n"
        "                    'fastnn.kernels.guard', 'fastnn.kernels.shortcut'):\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    import fastnn, fastnn.functional, fastnn.nn\n"
        "from fastnn.dispatch import backend_for\n"
        "from fastnn.kernels import find\n"
        "print(len(caught), caught[0].message)\n"
        "print(backend_for(find('relu')))\n"
    )
    said, backend = run_python(code, FASTNN_BACKEND="", FASTNN_ISA="").splitlines()
    assert said == "1 fastnn was installed without compiled kernels; it uses Numba"
    assert backend == "numba"
