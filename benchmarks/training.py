"""Plans against PyTorch, JAX, scikit-learn, ONNX Runtime and NumPy by hand: python -m benchmarks.training

Whole training steps, steps inside an epoch, and predictions of one example. All start from the same weights, and their losses or
predictions are compared with the reference's before anything is timed; then all are timed in turn in one process. The ratio is the best
rival's time over ours, by the 10 % quantile.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import fastnn
from fastnn.measure import peers, pinned
from fastnn.measure.bench.kernels import Result, Settings
from fastnn.measure.bench.networks import CONTESTS, compare_network
from fastnn.measure.bench.report import Run, duration, markdown_table, versions
from fastnn.measure.problems.networks import NETWORKS

COLUMNS = ["network", "contest", "fastnn", "best rival", "its time", "ratio", "goal", "verdict", "the others"]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TEXT", help="networks whose name contains the text (may be repeated)")
    parser.add_argument("--contest", choices=CONTESTS, action="append", help="may be repeated")
    parser.add_argument("--rivals", nargs="*", choices=peers.NETWORKS, default=list(peers.NETWORKS))
    parser.add_argument("--quick", action="store_true", help="few samples, and without torch.compile, which takes its time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = arguments(argv)
    fastnn.set_num_threads(options.threads)
    with pinned(options.threads), peers.running(options.rivals, options.threads) as found:
        _run(options, found)


def _run(options: argparse.Namespace, found: dict[str, peers.Peer]) -> None:
    contests = tuple(options.contest or CONTESTS[:3])
    budget = 0.3 if options.quick else 2.0
    settings = Settings(
        found, "float32", options.threads, budget, 5, contests, numba=False, two_threads=False, compilers=not options.quick
    )
    run = Run(versions(settings), [name for name in options.rivals if name not in found])
    lines = [f"{name:<14} {value}" for name, value in run.versions.items()]
    print("\n".join([*lines, *(f"missing: {name}" for name in run.missing)]))
    _print(COLUMNS)
    for network in NETWORKS:
        if options.only and not any(text in network.name for text in options.only):
            continue
        wanted = tuple(contest for contest in contests if contest != "epoch" or "epoch" in network.goals)
        for result in compare_network(network, replace(settings, directions=wanted)):
            run.results.append(result)
            _print(_cells(result))
            for note in (result.error, *result.notes):
                if note:
                    print(f"    {note}", flush=True)
    verdicts = [_verdict(result) for result in run.results if result.goal is not None]
    print(f"\n{verdicts.count('met')} of {len(verdicts)} goals met")
    if options.json:
        run.save(options.json)
    if options.markdown:
        options.markdown.write_text(_markdown(run), encoding="utf-8")


def _verdict(result: Result) -> str:
    if result.goal is None or result.ratio is None:
        return ""
    return "met" if result.ratio >= result.goal else "missed" if result.ratio >= 0.8 * result.goal else "MISSED, below 0.8"


def _cells(result: Result) -> list[str]:
    """One line of the table."""
    best = f"{peers.TITLES[result.best]} {result.variants[result.best]}" if result.best else "-"
    others = [f"{peers.TITLES[name]} {duration(seconds)}" for name, seconds in result.peers.items() if name != result.best]
    return [
        result.label, result.direction, "ERROR" if result.error else duration(result.seconds), best,
        duration(result.peers.get(result.best)), "-" if result.ratio is None else f"{result.ratio:.2f}",
        "" if result.goal is None else f"{result.goal:g}", _verdict(result), ", ".join(others),
    ]  # fmt: skip


def _markdown(run: Run) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in run.versions.items())
    table = markdown_table([COLUMNS, *(_cells(result) for result in run.results)])
    return f"# Plans against other libraries\n\n{facts}\n\n{table}\n"


def _print(cells: list[str]) -> None:
    widths = (34, 18, 9, 32, 9, 7, 6, 18, 0)
    print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
