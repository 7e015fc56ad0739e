"""Profiles as text, data, pictures and pages."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from .profiles import ROOFLINE, profiled


def test_text_and_markdown():
    found = profiled()
    text, markdown = str(found), found.markdown()
    for word in ("0 Conv2d", "backward", "all layers", "of roofline", found.between, "From outside", "Abacus", "compulsory"):
        assert word in text and word in markdown
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1 and len(table) > 10


def test_a_disturbed_measurement_says_so():
    found = replace(profiled(), seconds=1.0)
    assert "100 % apart" in str(found)
    again = "measure again"
    assert again not in str(replace(found, seconds=found.total)) and again not in str(replace(found, seconds=1e-6))


def test_plain_data():
    found = profiled()
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content["seconds"] == found.seconds and content["total"] == found.total
    assert content["layers"][0]["parts"]["forward"]["flops_per_second"] > 0
    assert set(content["phases"]) == {"forward", "backward", "update"}
    assert content["roofline"]["processor"] == "Abacus"


@pytest.mark.parametrize("name", ["profile.png", "profile.svg"])
@pytest.mark.parametrize("roofline", [ROOFLINE, False])
def test_pictures(tmp_path, name, roofline):
    pytest.importorskip("matplotlib")
    path = tmp_path / name
    profiled(roofline=roofline).plot(path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if name.endswith("png") else b"<?xml" in start
    with pytest.raises(ValueError, match="expected a file name ending"):
        profiled().plot(tmp_path / "profile.txt")


class Page(HTMLParser):
    """Tags that are open, and everything that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.cells = [], [], 0

    def handle_starttag(self, tag, attributes):
        self.fetched += [
            value for name, value in attributes if name in ("src", "href", "xlink:href") and not value.startswith("#")
        ]
        self.cells += tag == "td"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_report_needs_nothing_else(tmp_path):
    path = tmp_path / "profile.html"
    profiled().report(path)
    text = path.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == [] and page.cells > 100
    assert not [address for address in page.fetched if not address.startswith("data:")]
    assert not re.search(r"@import|url\((?!#)", text)
    assert ("<svg" in text) == _has("matplotlib")


def _has(package):
    from importlib.util import find_spec

    return find_spec(package) is not None
