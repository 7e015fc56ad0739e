"""A profile as one HTML file: tables and pictures inside, nothing fetched from anywhere."""

from __future__ import annotations

import os
import re
from html import escape
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

from .result import Profile
from .tables import COLUMNS, notes, rows, title

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .15rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884; }
th:nth-child(-n+2), td:nth-child(-n+2), th:last-child, td:last-child { text-align: left; }
tr.sum { font-weight: 600; }
.wide { overflow-x: auto; }
svg { width: 100%; height: auto; background: white; }
"""


def write(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write the report; without matplotlib it has the tables alone."""
    Path(path).write_text(html(profile), encoding="utf-8")


def html(profile: Profile) -> str:
    """The report as text."""
    heading = escape(title(profile))
    header = "".join(f"<th>{escape(column)}</th>" for column in COLUMNS)
    body = "".join(_row(cells) for cells in rows(profile))
    remarks = "".join(f"<p>{escape(note)}</p>" for note in notes(profile))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>fastnn profile</title>\n<style>{STYLE}</style>\n'
        f"</head>\n<body>\n<h1>What each layer costs</h1>\n<p>{heading}</p>\n{_picture(profile)}\n"
        f'<div class="wide"><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'
        f"{remarks}\n<p>{escape(profile.processor)}</p>\n</body>\n</html>\n"
    )


def _row(cells: list[str]) -> str:
    kind = ' class="sum"' if cells[0].startswith("all ") else ""
    return f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"


def _picture(profile: Profile) -> str:
    """Both pictures as SVG, without the prologue and the metadata that name other places."""
    if find_spec("matplotlib") is None:
        return ""
    from .pictures import draw

    target = StringIO()
    draw(profile).savefig(target, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = target.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
