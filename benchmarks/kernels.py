"""The kernels against PyTorch, JAX, ONNX Runtime and NumPy, through the public calls: python -m benchmarks.kernels

Every result is checked against the reference before it is timed. Rivals are timed in turn in one process, each at its best setting
and on the same number of threads; the ratio is the best peer's time over ours, by the 10 % quantile. Each library has its arrays as
it makes them: PyTorch's and ONNX Runtime's begin on a cache line, NumPy's, which are ours, do not. FASTNN_ISA=v2 or v3 measures
another level of kernels, and holds NumPy and PyTorch to it; JAX and ONNX Runtime have no such setting for all of their code.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path

import fastnn
from fastnn.dispatch import has_numba
from fastnn.kernels import isa
from fastnn.measure import peers
from fastnn.measure.bench.kernels import Result, Settings, compare
from fastnn.measure.bench.report import left_out, versions
from fastnn.measure.problems.rows import DIRECTIONS, ROWS, Row

from . import report

_LEVELS = {  # what holds OpenBLAS, NumPy, PyTorch, oneDNN and MKL to a level of instructions, read when they are loaded
    "v3": {
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "v2": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose label contains the text (may be repeated)")
    parser.add_argument("--direction", choices=DIRECTIONS, action="append", help="may be repeated")
    parser.add_argument("--peers", nargs="*", choices=peers.KERNELS, default=list(peers.KERNELS), help="default: all four")
    parser.add_argument("--quick", action="store_true", help="few samples, no second thread, and not both directions together")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--no-numba", dest="numba", action="store_false", help="leave out fastnn's own Numba kernels")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers, after every row")
    parser.add_argument("--keep", action="store_true", help="keep the rows of --json's file that are not measured now")
    options = parser.parse_args(argv)
    if options.keep and not options.json:
        parser.error("--keep: needs --json")
    return options


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = arguments(argv)
    fastnn.set_num_threads(options.threads)
    with peers.running(options.peers, options.threads) as found:
        _run(options, found)


def _run(options: argparse.Namespace, found: dict[str, peers.Peer]) -> None:
    budget, rounds, directions = (0.1, 3, DIRECTIONS[:2]) if options.quick else (0.5, 5, DIRECTIONS)
    settings = Settings(
        found,
        options.dtype,
        options.threads,
        budget,
        rounds,
        tuple(options.direction or directions),
        numba=options.numba and isa.level() != isa.NONE and has_numba(),
        two_threads=not options.quick and options.threads == 1,
    )
    facts = versions(settings)
    if os.environ.get("FASTNN_ISA") in _LEVELS:
        facts["held to this level too"] = "NumPy, PyTorch"
    table = report.Report(facts, left_out(peers.KERNELS, found))
    old = report.Report.load(options.json) if options.keep and options.json.exists() else None
    if old is not None:
        table.keep(old)  # before anything is measured, in case that these are two tables
    print("\n".join(f"{name:<14} {value}" for name, value in table.versions.items()) + "\n")
    _print(report.header(list(found)))
    gc.freeze()  # what the libraries have loaded need not be searched before every row
    for row in ROWS:
        if not options.only or any(text in row.label for text in options.only):
            table.add(_measured(row, settings))
            if options.json:
                table.save(options.json)
    print("\n".join(["", *table.summary()]))
    if options.markdown:
        options.markdown.write_text(table.markdown(), encoding="utf-8")


def _hold_peers(argv: list[str]) -> None:
    """Start anew with NumPy and PyTorch at our own level of instructions, where one is asked for: they read theirs when they are loaded."""
    wanted = _LEVELS.get(os.environ.get("FASTNN_ISA", ""), {})
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.kernels", *argv], os.environ | wanted)


def _measured(row: Row, settings: Settings) -> list[Result]:
    """The results of a row, printed as they come."""
    results = []
    for result in compare(row, settings):
        results.append(result)
        _print(report.line(result, list(settings.peers)))
        for remark in report.all_remarks(result):
            print(f"    {remark}", flush=True)
    return results


def _print(columns: list[str]) -> None:
    widths = (42, 9, 7, 6, *[8] * (len(columns) - 9), 26, 6, 5, 18, 16)
    print("  ".join(f"{text:<{width}}" for text, width in zip(columns, widths, strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    _hold_peers(sys.argv[1:])
    main()
