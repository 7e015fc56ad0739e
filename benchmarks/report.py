"""What was measured, as lines, Markdown and JSON, and what it comes to by the goals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastnn.measure.bench.kernels import Result
from fastnn.measure.bench.report import Run, duration, geometric_mean, markdown_table, percent, remarks
from fastnn.measure.peers import KERNELS, TITLES
from fastnn.measure.problems.rows import DIRECTIONS, GROUPS, NUMBA_GOAL, ROWS, THREADS_GOAL

NOTES = """\
- Ratio: the best peer's time over ours, both the 10 % quantile of samples taken in turn in one process. Spread: how far our median
  lies above, as a share.
- forward is `F.f(..., out=y)`; backward is `pullback(dy, out=grads)` of a `fastnn.vjp` made before; both is `vjp` and `pullback`
  together, once a step.
- Of the limit: the operations at the peak of multiply-adds in registers ("arithmetic"), or the compulsory bytes copied, read or updated
  by NumPy ("traffic"), whichever takes longer, over our time; both are timed beside the row. Convolutions count the direct sum's
  operations, padding too, so Winograd's may pass 100 %; exp and its like count nothing; what is smaller than the second-level
  cache moves at that cache's rate.
- At the limit: the ratio that the best peer's time over the limit would be, or how much two threads gain with multiply-adds alone. A
  goal above it is beyond this machine: it is called so where neither we nor the peer are more than 5 % faster than the limit."""

TOLERANCE = 1.05  # a time that beats a limit by more says that the limit was measured too low


class Goal(NamedTuple):
    """One goal and what was reached; ``share`` is that as a share of the goal, ``possible`` the ratio at the machine's limit.

    ``beyond`` says that the goal lies above that limit.
    """

    name: str
    direction: str
    reached: str
    asked: str
    share: float
    possible: float | None = None
    beyond: bool = False

    @property
    def verdict(self) -> str:
        """What it came to."""
        if self.share < 1 and self.beyond:
            return "beyond the machine"
        return "met" if self.share >= 1 else "missed" if self.share >= 0.8 else "MISSED, below 0.8"


@dataclass
class Report(Run):
    """Results of the table, judged by its goals."""

    def content(self) -> dict[str, Any]:
        """Everything, for JSON."""
        judged = [goal._asdict() | {"verdict": goal.verdict} for goal in goals(self.results)]
        return super().content() | {"goals": judged}

    def summary(self) -> list[str]:
        """How many goals were met, and whether the table counts."""
        return summary(self)

    def markdown(self) -> str:
        """The whole report."""
        return markdown(self)

    def keep(self, old: Report) -> None:
        """Take over the rows of an older run that were not measured now.

        Raises
        ------
        ValueError
            Where it was made with something else.
        """
        for name in self.versions.keys() | old.versions.keys():
            if self.versions.get(name) != old.versions.get(name):
                raise ValueError(f"{name} was {old.versions.get(name)}, is {self.versions.get(name)}: these are two tables")
        if self.missing != old.missing:
            raise ValueError(f"missing were {old.missing}, are {self.missing}: these are two tables")
        self.results, newer = old.results, self.results
        self.add(newer)

    def add(self, results: list[Result]) -> None:
        """Put results in, in place of those of the same row and direction, in the table's order."""
        measured = {(result.label, result.direction): result for result in (*self.results, *results)}
        keys = [(row.label, direction) for row in ROWS for direction in row.directions]
        self.results = [measured[key] for key in keys if key in measured]


def header(peers: list[str]) -> list[str]:
    """The titles of the columns."""
    return [
        "row",
        "direction",
        "fastnn",
        "spread",
        "on Numba",
        *(TITLES[p] for p in peers),
        "best peer",
        "ratio",
        "goal",
        "",
        "of the limit",
    ]


def line(result: Result, peers: list[str]) -> list[str]:
    """One result as text, column by column."""
    times = [duration(result.peers.get(p)) for p in peers]
    best = f"{TITLES[result.best]} {result.variants[result.best]}" if result.best else "-"
    verdict = "" if result.goal is None or result.ratio is None else _row_goal(result).verdict
    return [
        result.label, result.direction, "ERROR" if result.error else duration(result.seconds), percent(result.spread),
        duration(result.numba), *times, best,
        "-" if result.ratio is None else f"{result.ratio:.2f}", "-" if result.goal is None else f"{result.goal:g}", verdict,
        f"{percent(result.fraction)} {result.bound}".rstrip(),
    ]  # fmt: skip


def all_remarks(result: Result) -> list[str]:
    """What does not fit into the columns."""
    found = remarks(result)
    if result.two_threads is not None:
        found.append(
            f"two threads {result.two_threads:.2f} times as fast as one; multiply-adds alone {result.machine_threads:.2f}"
        )
    return found


def goals(results: list[Result]) -> list[Goal]:
    """Every goal of the table: of rows, of groups, of one call's time, of threads, of Numba."""
    found = []
    for r in results:
        if r.goal is not None and r.ratio is not None:
            found.append(_row_goal(r))
        if r.allowed is not None:
            share = r.allowed / r.seconds if r.seconds else 0.0
            found.append(Goal(f"{r.label}, time of a call", r.direction, duration(r.seconds), duration(r.allowed), share))
    return [*found, *_group_goals(results), *_numba_goals(results), *_thread_goals(results)]


def _row_goal(r: Result) -> Goal:
    assert r.ratio is not None and r.goal is not None
    possible = r.ratio / r.fraction if r.fraction else None
    beyond = possible is not None and max(r.ratio, 1.0) / TOLERANCE <= possible < r.goal
    return Goal(r.label, r.direction, f"{r.ratio:.2f}", f"{r.goal:g}", r.ratio / r.goal, possible, beyond)


def _group_goals(results: list[Result]) -> Iterator[Goal]:
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    for r in results:
        if r.group and r.direction in GROUPS[r.group].mean and r.ratio is not None:
            groups[r.group, r.direction].append(r.ratio)
    for (name, direction), ratios in groups.items():
        group, mean, lowest = GROUPS[name], geometric_mean(ratios), min(ratios)
        asked = f"{group.mean[direction]:g}" + f", none below {group.lowest:g}" * bool(group.lowest)
        share = min(mean / group.mean[direction], lowest / group.lowest if group.lowest else float("inf"))
        yield Goal(f"{name}, geometric mean of {len(ratios)}", direction, f"{mean:.2f}, lowest {lowest:.2f}", asked, share)


def _numba_goals(results: list[Result]) -> Iterator[Goal]:
    for direction in DIRECTIONS[:2]:
        ratios = [r.seconds / r.numba for r in results if r.direction == direction and r.seconds and r.numba]
        if ratios:
            mean = geometric_mean(ratios)
            name = f"Cython's time over Numba's, geometric mean of {len(ratios)}"
            yield Goal(name, direction, f"{mean:.2f}, lowest {min(ratios):.2f}", f"{NUMBA_GOAL:g}", mean / NUMBA_GOAL)


def _thread_goals(results: list[Result]) -> Iterator[Goal]:
    for r in results:
        if r.two_threads is not None:
            assert r.machine_threads is not None
            beyond = r.two_threads / TOLERANCE <= r.machine_threads < THREADS_GOAL
            name, share = f"{r.label}, two threads over one", r.two_threads / THREADS_GOAL
            yield Goal(name, r.direction, f"{r.two_threads:.2f}", f"{THREADS_GOAL:g}", share, r.machine_threads, beyond)


def summary(report: Report) -> list[str]:
    """How many goals were met, and whether the table counts."""
    found = goals(report.results)
    missed = [goal for goal in found if goal.share < 1]
    within = [goal for goal in missed if not goal.beyond]
    text = [
        f"{len(found) - len(missed)} of {len(found)} goals met, {len(missed)} missed: {len(missed) - len(within)} lie beyond the "
        f"machine; of the other {len(within)}, {sum(goal.share < 0.8 for goal in within)} are below 0.8 of the goal."
    ]
    errors = sum(bool(r.error) for r in report.results)
    if errors:
        text.append(f"{errors} results are errors.")
    measured = {(r.label, r.direction) for r in report.results}
    absent = sum((row.label, direction) not in measured for row in ROWS for direction in row.directions)
    if absent:
        text.append(f"{absent} of the table's results were not measured.")
    if report.missing:
        text.append(f"The table does not count: {', '.join(TITLES[name] for name in report.missing)} not installed or left out.")
    return text


def markdown(report: Report) -> str:
    """The whole report."""
    peers = [name for name in KERNELS if name not in report.missing]
    dates = [r.date for r in report.results]
    parts = ["# Kernels against other libraries"]
    facts = report.versions | ({"measured, UTC": f"{min(dates)} to {max(dates)}"} if dates else {})
    parts += ["\n".join(f"- {name}: {value}" for name, value in facts.items()), *summary(report), NOTES, "## Rows"]
    parts.append(markdown_table([header(peers), *(line(r, peers) for r in report.results)]))
    remarked = [f"- {r.label}, {r.direction}: {'; '.join(all_remarks(r))}" for r in report.results if all_remarks(r)]
    if remarked:
        parts += ["## Remarks", "\n".join(remarked)]
    titles = ["goal", "direction", "reached", "asked", "", "at the limit"]
    rows = [
        [g.name, g.direction, g.reached, g.asked, g.verdict, "-" if g.possible is None else f"{g.possible:.2f}"]
        for g in goals(report.results)
    ]
    return "\n\n".join([*parts, "## Goals", markdown_table([titles, *rows])]) + "\n"
