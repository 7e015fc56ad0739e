"""What several commands check in their arguments."""

from __future__ import annotations

import argparse
import contextlib
import math
from importlib.util import find_spec
from pathlib import Path


def positive_int(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive whole number, got {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """A finite number above 0."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name for name in text.split(",") if name]


def check_target(option: str, target: str | None, package: str | None = None, extra: str = "train") -> None:
    """Raise ValueError or ImportError where a file could not be written at the end: it had better fail at the beginning."""
    if target is None:
        return
    if package is not None and find_spec(package) is None:
        raise ImportError(f"--{option} needs {package}: pip install 'fastnn[{extra}]'")
    if not Path(target).absolute().parent.is_dir() or Path(target).is_dir():
        raise ValueError(f"--{option}: no file can be written at {target}")
    if package == "matplotlib":
        from fastnn.measure.figures import check_format

        try:
            check_format(target)
        except ValueError as error:
            raise ValueError(f"--{option}: {error}") from None


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The files that every measuring command can write."""
    parser.add_argument("--plot", metavar="FILE", help="draw it (.png, .svg, .pdf)")
    parser.add_argument("--json", metavar="FILE", help="write all numbers")
    parser.add_argument("--markdown", metavar="FILE", help="write the report")


def check_outputs(options: argparse.Namespace) -> None:
    """Check the files of :func:`add_outputs`."""
    check_target("plot", options.plot, "matplotlib", "plot")
    check_target("json", options.json)
    check_target("markdown", options.markdown)
