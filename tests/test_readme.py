"""What README and the pages of docs/ show is true: their blocks run, their links lead somewhere, the commands exist."""

import re
from pathlib import Path

import pytest

from fastnn import dispatch

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]


def run_blocks(page, text):
    """Run the page's blocks of Python one after the other; their names."""
    names = {"__name__": page}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.skipif(not (dispatch.is_available("cython") and dispatch.is_available("numba")), reason="compares the backends")
def test_python_blocks_run_one_after_the_other(capsys):
    names = run_blocks("README.md", TEXT)
    printed = capsys.readouterr().out
    for word in ("cython", "numba", "reference", "CrossEntropyLoss", "backward"):
        assert word in printed
    assert names["dw"].shape == names["w"].shape


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.stem)
def test_blocks_of_the_docs_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        run_blocks(page.name, page.read_text(encoding="utf-8"))
    except ImportError as error:
        pytest.skip(f"needs an optional package: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_there_are_two_commands():
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    assert [len(block.strip().splitlines()) for block in blocks] == [1, 1]
    assert blocks[0].strip().endswith("fastnn train digits")
    assert blocks[1].strip().endswith("pytest -n 2")


def test_the_page_is_short():
    assert len(TEXT.splitlines()) <= 120
