"""``fastnn bench``: kernels and networks beside other libraries."""

from __future__ import annotations

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fastnn.measure import peers
from fastnn.measure.bench import report
from fastnn.measure.bench.suites import SUITES, bench

from .arguments import add_outputs, check_outputs, names, positive_int
from .console import print_table, show_progress

WIDE = 175  # columns of a terminal that shows every library


def add_parser(commands: Any) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser(
        "bench", help="compare kernels and networks with NumPy, PyTorch, JAX, ONNX Runtime, scikit-learn"
    )
    parser.add_argument("--suite", action="append", choices=SUITES, help="may be repeated (default: all)")
    parser.add_argument("--full", action="store_true", help="everything, instead of what fits into a minute or two")
    parser.add_argument(
        "--peers", type=names, default=list(peers.NETWORKS), metavar="NAMES", help=f"of {','.join(peers.NETWORKS)} (default: all)"
    )
    parser.add_argument("--threads", type=positive_int, default=1, metavar="N", help="for everybody (default: 1)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), help="compare two files of --json, and measure nothing")
    add_outputs(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, print, write; 1 where a result of ours is wrong."""
    if options.compare:
        for option in ("plot", "json", "markdown"):
            if getattr(options, option) is not None:
                raise ValueError(f"--{option}: writes what is measured, which --compare does not, got {getattr(options, option)}")
        return _compare(*options.compare)
    check_outputs(options)
    found = bench(
        options.suite or tuple(SUITES), full=options.full, peers=options.peers, threads=options.threads, dtype=options.dtype,
        progress=show_progress if sys.stderr.isatty() else None,
        after_each=partial(report.Run.save, path=options.json) if options.json else None,
    )  # fmt: skip
    for name, value in found.versions.items():
        print(f"{name:<14} {value}")
    if found.missing:
        print(f"{'left out':<14} {', '.join(peers.TITLES[name] for name in found.missing)}")
    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE
    for direction, results in found.groups().items():
        titles, *rows = report.table(results, narrow=narrow)
        print_table(f"\n{direction.capitalize()}", titles, rows)
    remarks = [f"- {r.label}, {r.direction}: {text}" for r in found.results for text in report.remarks(r)]
    print("\n".join([*remarks, *(f"- {text}" for text in found.summary())]))
    if options.plot:
        from fastnn.measure.bench.picture import draw

        draw(options.plot, found)
    if options.markdown:
        Path(options.markdown).write_text(found.markdown(), encoding="utf-8")
    return int(any(result.error for result in found.results))


def _compare(old: str, new: str) -> int:
    rows, told = report.changes(report.Run.load(old), report.Run.load(new))
    print_table(f"From {old} to {new}", rows[0], rows[1:])
    print("\n".join(f"- {text}" for text in told))
    return 0
