"""What the README shows is true: its blocks run, its links lead somewhere, its commands exist."""

import re
from pathlib import Path

import pytest

from fastnn import dispatch

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not (dispatch.is_available("cython") and dispatch.is_available("numba")), reason="compares the backends")
def test_python_blocks_run_one_after_the_other(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    for word in ("cython", "numba", "reference", "Conv2d", "step of training"):
        assert word in printed
    assert names["dw"].shape == names["w"].shape


def test_links_lead_to_files():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_there_are_two_commands():
    blocks = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
    assert [len(block.strip().splitlines()) for block in blocks] == [1, 1]
    assert blocks[0].strip().endswith("fastnn train digits")
    assert blocks[1].strip().endswith("pytest -n 2")


def test_the_page_is_short():
    assert len(TEXT.splitlines()) <= 120
