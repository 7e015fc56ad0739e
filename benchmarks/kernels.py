"""The kernels against PyTorch, JAX, ONNX Runtime and NumPy, through the public calls: python -m benchmarks.kernels

Every result is checked against the reference before it is timed. Rivals are timed in turn in one process, each at its best setting
and on the same number of threads; the ratio is the best peer's time over ours, by the 10 % quantile. Each library has its arrays as
it makes them: PyTorch's and ONNX Runtime's begin on a cache line, NumPy's, which are ours, do not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fastnn
from fastnn.kernels import isa

from . import peers, report
from .compare import Result, Settings, compare, numba_is_there
from .machine import measure_machine
from .rows import DIRECTIONS, ROWS

WIDTHS = (42, 9, 8)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose label contains the text (may be repeated)")
    parser.add_argument("--direction", choices=DIRECTIONS, action="append", help="default: all three")
    parser.add_argument("--peers", nargs="*", choices=peers.NAMES, default=list(peers.NAMES), help="default: all four")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--no-numba", dest="numba", action="store_false", help="leave out fastnn's own Numba kernels")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = arguments(argv)
    fastnn.set_num_threads(options.threads)
    found, missing = peers.load(options.peers, options.threads)
    missing += [name for name in peers.NAMES if name not in options.peers]
    machine = measure_machine(options.threads, options.dtype, 0.1 if options.quick else 0.4)
    settings = Settings(
        found, machine, options.dtype, 0.1 if options.quick else 1.0, 3 if options.quick else 7, options.direction or DIRECTIONS,
        options.numba and isa.level() != isa.NONE and numba_is_there(),
    )  # fmt: skip
    for name, value in report.versions(settings).items():
        print(f"{name:<14} {value}")
    results, notes = _measure(options.only, settings)
    print("\n".join(["", *report.summary(results, missing), *notes]))
    if options.markdown:
        options.markdown.write_text(report.markdown(results, settings, missing, notes), encoding="utf-8")
    if options.json:
        report.write_json(options.json, results, settings, missing, notes)


def _measure(only: list[str] | None, settings: Settings) -> tuple[list[Result], list[str]]:
    """The results, printed as they come, and what is to be said of rows that could not be measured."""
    results: list[Result] = []
    notes = []
    _print(report.header(list(settings.peers)))
    for row in ROWS:
        if only and not any(text in row.label for text in only):
            continue
        if row.precision != "exact" and not hasattr(fastnn, "set_convolution_precision"):
            notes.append(f"{row.label}: not available in this version")
            continue
        for result in compare(row, settings):
            results.append(result)
            _print(report.line(result, list(settings.peers)))
            if result.numba is not None or result.two_threads is not None:
                own = {"Numba": result.numba, "two threads": result.two_threads}
                print(
                    "    "
                    + ", ".join(f"{name} {report.duration(seconds)}" for name, seconds in own.items() if seconds is not None)
                )
    return results, notes


def _print(columns: list[str]) -> None:
    widths = (*WIDTHS, *[WIDTHS[-1]] * (len(columns) - 8), 24, 6, 5, 18, 5)
    print("  ".join(f"{text:<{width}}" for text, width in zip(columns, widths, strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
