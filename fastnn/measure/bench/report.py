"""What was measured, as text, Markdown and JSON, and how a run compares with an older one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from math import exp, log
from pathlib import Path
from typing import Any, Self

from fastnn.kernels import isa

from ..machine import processor
from ..peers import TITLES, Peer
from .kernels import Result, Settings

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (0.0, "ns"))
BETWEEN_RUNS = 1.1  # what two runs of the same code may differ by
VERDICTS = ("faster", "even", "slower", "uncertain")
NOTES = """\
- Every result was checked against the reference before it was timed. All are timed in turn in one process, on the same number of
  threads, each library at its best setting; times are the 10 % quantile, the spread is how far our median lies above it.
- Ratio: the best peer's time over ours, with the interval of 95 %. A verdict is given only where that interval allows one: "uncertain"
  means that this run does not tell who is faster, "even" that the difference is below 3 %.
- Of the limit: the operations at the peak of multiply-adds in registers ("arithmetic"), or the compulsory bytes copied, read or updated
  by NumPy ("traffic"), whichever takes longer, over our time; both are timed beside the row. exp and its like count nothing, so that
  rows of these stay far below; Winograd's convolutions, and plans that keep activations in the cache, may pass 100 %."""


@dataclass
class Run:
    """Results of one measurement, by one version of everything.

    Attributes
    ----------
    versions : dict
    missing : list of str
        Peers that did not take part.
    results : list of Result
    """

    versions: dict[str, str]
    missing: list[str]
    results: list[Result] = field(default_factory=list)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What :meth:`save` wrote.

        Raises
        ------
        ValueError
            Where the file is something else.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            names = {f.name for f in fields(Result)}
            results = [Result(**{key: value for key, value in row.items() if key in names}) for row in content["rows"]]
            return cls(content["versions"], content["missing"], results)
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: expected what 'fastnn bench --json' writes ({type(error).__name__}: {error})") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON, for a picture or a comparison."""
        Path(path).write_text(json.dumps(self.content(), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def content(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "versions": self.versions, "missing": self.missing, "summary": self.summary(),
            "rows": [result.as_dict() for result in self.results],
        }  # fmt: skip

    def groups(self) -> dict[str, list[Result]]:
        """The results by direction or contest."""
        found: dict[str, list[Result]] = {}
        for result in self.results:
            found.setdefault(result.direction, []).append(result)
        return found

    def summary(self) -> list[str]:
        """Geometric means and verdicts in words, losses by name."""
        return [*_means(self.groups()), *_losses(self.results)]

    def markdown(self) -> str:
        """The whole report."""
        parts = [
            "# fastnn beside other libraries",
            "By `fastnn bench`.",
            "\n".join(f"- {name}: {value}" for name, value in self.versions.items()),
        ]
        if self.missing:
            parts.append(f"Not installed or left out: {', '.join(TITLES[name] for name in self.missing)}.")
        parts.append("\n".join(f"- {text}" for text in self.summary()))
        parts.append(NOTES)
        for direction, results in self.groups().items():
            parts += [f"## {direction.capitalize()}", markdown_table(table(results))]
        notes = [f"- {r.label}, {r.direction}: {'; '.join(remarks(r))}" for r in self.results if remarks(r)]
        if notes:
            parts += ["## Remarks", "\n".join(notes)]
        return "\n\n".join(parts) + "\n"


def versions(settings: Settings) -> dict[str, str]:
    """What is measured with what."""
    found = {"fastnn": version("fastnn"), "Python": sys.version.split()[0]}
    found |= {TITLES[name]: peer.version for name, peer in settings.peers.items()}
    if settings.numba:
        found["Numba"] = version("numba")
    return found | {
        "processor": processor(), "processors": str(os.cpu_count()), "ISA level": isa.level(), "dtype": settings.dtype,
        "threads": str(settings.threads),
    }  # fmt: skip


def table(results: Sequence[Result], *, narrow: bool = False) -> list[list[str]]:
    """Titles and rows; a peer that nobody of these was compared with has no column, and where it is narrow all share one."""
    peers = [] if narrow else [name for name in TITLES if any(name in result.peers for result in results)]
    reference = any(result.reference is not None for result in results) and not narrow
    columns = [*["reference"] * reference, *[TITLES[name] for name in peers], *["best peer"] * narrow]
    titles = ["", "fastnn", "spread", *columns, "ratio", "interval", "verdict", "of the limit"]
    return [titles, *(_line(result, peers, reference, narrow) for result in results)]


def _line(result: Result, peers: Sequence[str], reference: bool, narrow: bool) -> list[str]:
    interval = "-" if result.low is None else f"{result.low:.2f}-{result.high:.2f}"
    best = f"{duration(result.peers[result.best])} {TITLES[result.best]}" if result.best else "-"
    return [
        result.label, "ERROR" if result.error else duration(result.seconds), percent(result.spread),
        *[duration(result.reference)] * reference, *[duration(result.peers.get(p)) for p in peers], *[best] * narrow,
        "-" if result.ratio is None else f"{result.ratio:.2f}", interval, result.verdict,
        f"{percent(result.fraction)} {result.bound}".rstrip(),
    ]  # fmt: skip


def remarks(result: Result) -> list[str]:
    """What does not fit into the columns."""
    return [text for text in (result.error, *result.notes) if text]


def _means(groups: dict[str, list[Result]]) -> Iterator[str]:
    for direction, results in groups.items():
        judged = [result for result in results if result.ratio]
        if not judged:
            continue
        mean = geometric_mean([result.ratio or 0.0 for result in judged])
        counts = [(sum(result.verdict == verdict for result in judged), verdict) for verdict in VERDICTS]
        told = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
        against = []
        for name, title in {**TITLES, "": "the reference"}.items():
            times = [(r.peers.get(name) if name else r.reference, r.seconds) for r in results]
            quotients = [other / ours for other, ours in times if other and ours]
            if quotients:
                against.append(f"{title} {geometric_mean(quotients):.2f} ({len(quotients)})")
        yield (
            f"{direction}: {mean:.2f} times as fast as the best peer, geometric mean of {len(judged)} ({told});"
            f" against each alone: {', '.join(against)}"
        )


def _losses(results: Sequence[Result]) -> Iterator[str]:
    lost = sorted((r for r in results if r.verdict == "slower"), key=lambda r: r.ratio or 0.0)
    if lost:
        told = ", ".join(f"{r.label} {r.direction} {r.ratio:.2f} ({TITLES[r.best]})" for r in lost)
        yield f"slower than the best peer: {told}"
    errors = [f"{r.label} {r.direction}" for r in results if r.error]
    if errors:
        yield f"errors: {', '.join(errors)}"


def changes(old: Run, new: Run) -> tuple[list[list[str]], list[str]]:
    """How two runs differ: a table with a line for each row that both have, and what it comes to.

    Two runs are two processes at two times. What the other libraries of a row changed meanwhile is the machine's doing, so a row is
    called faster or slower where its time says so, and its time beside theirs says the same; where the two disagree it is uncertain.
    A change within the spreads of both runs, and a tenth, is none: so much the memory's layout makes from process to process.
    """
    before = {(r.label, r.direction): r for r in old.results if r.seconds}
    pairs = [(before[r.label, r.direction], r) for r in new.results if r.seconds and (r.label, r.direction) in before]
    rows = [["", "direction", "before", "now", "times", "others", "verdict", "ratio before", "ratio now"]]
    quotients, machine = [], []
    for a, b in pairs:
        assert a.seconds is not None and b.seconds is not None
        quotient, others = b.seconds / a.seconds, [b.peers[name] / a.peers[name] for name in a.peers.keys() & b.peers.keys()]
        doubt = BETWEEN_RUNS * (1 + (a.spread or 0.0)) * (1 + (b.spread or 0.0))
        beside = quotient / geometric_mean(others) if others else quotient
        verdicts = {"faster" if q < 1 / doubt else "slower" if q > doubt else "unchanged" for q in (quotient, beside)}
        rows.append([
            b.label, b.direction, duration(a.seconds), duration(b.seconds), f"{quotient:.2f}",
            f"{geometric_mean(others):.2f}" if others else "-", verdicts.pop() if len(verdicts) == 1 else "uncertain",
            "-" if a.ratio is None else f"{a.ratio:.2f}", "-" if b.ratio is None else f"{b.ratio:.2f}",
        ])  # fmt: skip
        quotients.append(quotient)
        machine += others
    told = [
        f"{name} was {old.versions.get(name)}, is {now}" for name, now in new.versions.items() if old.versions.get(name) != now
    ]
    if quotients:
        count = len(quotients)
        told.append(f"fastnn takes {geometric_mean(quotients):.3f} times as long as before, geometric mean of {count} rows")
    if machine:
        told.append(f"the other libraries take {geometric_mean(machine):.3f} times as long: so far the machine has changed")
    absent = len(old.results) + len(new.results) - 2 * len(pairs)
    if absent:
        told.append(f"{absent} results stand in one of the two runs alone")
    return rows, told


def duration(seconds: float | None) -> str:
    """A time with three digits and its unit."""
    if seconds is None:
        return "-"
    unit, name = next(
        (size, name) for size, name in UNITS if seconds >= 0.9995 * size
    )  # what rounds to the next unit is told in it
    return f"{seconds / (unit or 1e-9):.3g} {name}"


def percent(share: float | None) -> str:
    """A share as a whole percentage."""
    return "-" if share is None else f"{100 * share:.0f} %"


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean; 0 where a value is."""
    found = list(values)
    return exp(sum(map(log, found)) / len(found)) if all(found) else 0.0


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row has the titles."""
    first, *rest = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([first, "|" + "---|" * len(rows[0]), *rest])


def left_out(names: Iterable[str], peers: dict[str, Peer]) -> list[str]:
    """Those of the names that do not take part."""
    return [name for name in names if name not in peers]
