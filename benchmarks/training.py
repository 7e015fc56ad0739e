"""Plans against PyTorch, JAX, scikit-learn, ONNX Runtime and NumPy by hand: python -m benchmarks.training

Whole training steps, steps inside an epoch, and predictions of one example. All start from the same weights, and their losses or
predictions are compared with ours before anything is timed; then all are timed in turn in one process. The ratio is the best rival's
time over ours, by the 10 % quantile.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from fastnn.kernels import isa
from fastnn.measure import interleaved

from . import peers
from .machine import processor
from .networks import NETWORKS, Network, Problem
from .report import duration

RIVALS = ("torch", "jax", "numpy", "sklearn", "onnxruntime")
CONTESTS = ("step", "epoch", "predict")


@dataclass
class Result:
    """One network in one contest.

    Attributes
    ----------
    network, contest : str
    goal : float or None
        The ratio to reach.
    seconds : float
        Of one call of ours.
    rivals : dict of str to float
        Seconds of each setting of each rival.
    failed : list of str
        Rivals that did not compute the same, or nothing.
    """

    network: str
    contest: str
    goal: float | None
    seconds: float = 0.0
    rivals: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def best(self) -> str:
        """The fastest rival."""
        return min(self.rivals, key=self.rivals.__getitem__, default="")

    @property
    def ratio(self) -> float:
        """The fastest rival's time over ours."""
        return self.rivals[self.best] / self.seconds if self.rivals else 0.0

    @property
    def verdict(self) -> str:
        """What it came to."""
        if self.goal is None:
            return ""
        return "met" if self.ratio >= self.goal else "missed" if self.ratio >= 0.8 * self.goal else "MISSED, below 0.8"

    def cells(self) -> list[str]:
        """One line of the table."""
        goal = "" if self.goal is None else f"{self.goal:g}"
        return [
            self.network, self.contest, duration(self.seconds), self.best, duration(self.rivals.get(self.best)), f"{self.ratio:.2f}",
            goal, self.verdict,
        ]  # fmt: skip


COLUMNS = ["network", "contest", "fastnn", "best rival", "its time", "ratio", "goal", "verdict"]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", metavar="TEXT", help="networks whose name contains the text (may be repeated)")
    parser.add_argument("--contest", choices=CONTESTS, action="append", help="may be repeated")
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--quick", action="store_true", help="few samples, and without torch.compile, which takes its time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = arguments(argv)
    fastnn.set_num_threads(options.threads)
    found, missing = peers.load([name for name in options.rivals if name in peers.NAMES], options.threads)
    modules = [
        importlib.import_module(f"{__package__}.rivals.{name}_rival") for name in (*found, "sklearn") if name in options.rivals
    ]
    versions = _versions(options.threads, modules)
    print(
        "\n".join(f"{name:<14} {value}" for name, value in versions.items()), *(f"missing: {name}" for name in missing), sep="\n"
    )
    _print(COLUMNS)
    results = []
    for network in NETWORKS:
        if options.only and not any(text in network.name for text in options.only):
            continue
        for contest in options.contest or CONTESTS:
            if contest == "epoch" and "epoch" not in network.goals:
                continue
            results.append(measure(network, contest, modules, options))
            _print(results[-1].cells())
            for failure in results[-1].failed:
                print(f"    {failure}", flush=True)
    judged = [result for result in results if result.goal is not None]
    print(f"\n{sum(result.verdict == 'met' for result in judged)} of {len(judged)} goals met")
    if options.json:
        rows = [asdict(result) | {"best": result.best, "ratio": result.ratio, "verdict": result.verdict} for result in results]
        options.json.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(_markdown(versions, results), encoding="utf-8")


def measure(network: Network, contest: str, modules: list[Any], options: argparse.Namespace) -> Result:
    """Check every rival against ours, then time all of them in turn."""
    name = contest if options.threads == 1 else f"{contest} on {options.threads} threads"
    result = Result(network.name, name, network.goals.get(name))
    problem = Problem(network)
    reference = ours(problem)[contest]
    expected = np.array([reference() for _ in range(3)])
    candidates: dict[str, Callable[[], Any]] = {"fastnn": ours(problem)[contest]}
    for module in modules:
        rival = module.__name__.rpartition(".")[2].removesuffix("_rival")
        for setting, call in module.contestants(problem).get(contest, {}).items():
            if options.quick and "compile" in setting:
                continue
            try:
                np.testing.assert_allclose([call() for _ in range(3)], expected, rtol=1e-3, atol=1e-5)
            except Exception as error:  # a rival that fails costs itself
                result.failed.append(f"{rival} {setting}: {str(error).strip().splitlines()[0]}")
                continue
            candidates[f"{rival} {setting}"] = call
    times = interleaved(candidates, budget=0.3 if options.quick else 2.0)
    result.seconds = times.pop("fastnn").seconds
    result.rivals = {rival: timing.seconds for rival, timing in times.items()}
    return result


def ours(problem: Problem) -> dict[str, Callable[[], Any]]:
    """Our calls, from the common weights."""
    plan, epochs, inference = problem.plan(), problem.plan(), problem.plan()
    one, batch = problem.x[:1].copy(), problem.network.batch
    return {
        "step": lambda: plan.step(problem.x, problem.y),
        "epoch": lambda: epochs.epoch(problem.X, problem.Y, batch_size=batch, shuffle=False),
        "predict": lambda: inference.predict(one),
    }


def _versions(threads: int, modules: list[Any]) -> dict[str, str]:
    packages = {"torch": "torch", "jax": "jax", "numpy": "numpy", "sklearn": "scikit-learn", "onnxruntime": "onnxruntime"}
    names = [module.__name__.rpartition(".")[2].removesuffix("_rival") for module in modules]
    return {
        "fastnn": version("fastnn"), "Python": sys.version.split()[0], **{packages[name]: version(packages[name]) for name in names},
        "processor": processor(), "processors": str(os.cpu_count()), "ISA level": isa.level(), "threads": str(threads),
    }  # fmt: skip


def _markdown(versions: dict[str, str], results: list[Result]) -> str:
    lines = ["# Plans against other libraries", "", *(f"- {name}: {value}" for name, value in versions.items()), ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(result.cells())} |" for result in results]
    return "\n".join(lines) + "\n"


def _print(cells: list[str]) -> None:
    widths = (34, 18, 9, 32, 9, 7, 6, 18)
    print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    main()
