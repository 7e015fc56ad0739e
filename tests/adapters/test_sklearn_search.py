"""The example of a search, in processes and in threads."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("sklearn", minversion="1.7")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "sklearn_search.py"


def test_both_backends_find_the_same(capsys, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # for the processes that are started
    spec = importlib.util.spec_from_file_location("sklearn_search", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    threads, processes = example.main("threading", 2), example.main("loky", 2)
    assert threads == processes
    assert min(threads.values()) > 0.93
    assert "random: 6 settings, best " in capsys.readouterr().out
