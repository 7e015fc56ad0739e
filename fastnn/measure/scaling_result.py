"""What a study of scaling found: curves, the law of each, and what that says, as text, Markdown, JSON and a picture."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .bench.report import duration, markdown_table
from .machine import caches, processor
from .scaling_fit import Law, fit, slope

PHASES = ("forward", "backward", "update")
_HOLDS = 0.1  # an exponent so near to the theory's is the theory's
TELLS = 0.6  # an interval that is wider tells nothing


@dataclass
class Curve:
    """Times of one phase of one contestant.

    Attributes
    ----------
    name, phase : str
    seconds : list of float
        For each value.
    spread : list of float
        How far the median lies above, as a share.
    """

    name: str
    phase: str
    seconds: list[float]
    spread: list[float]


@dataclass
class Scaling:
    """How time grows with a property of a network.

    Attributes
    ----------
    parameter : str
    values : list of int
    flops : dict
        Phase -> operations for each value, by the cost model.
    memory : list of int
        Bytes of the arrays that a step touches, for each value.
    curves : list of Curve
    threads : int
    notes : list of str
        Who did not take part, and why.
    """

    parameter: str
    values: list[int]
    flops: dict[str, list[int]]
    memory: list[int]
    curves: list[Curve]
    threads: int
    notes: list[str] = field(default_factory=list)

    def law(self, curve: Curve) -> Law:
        """The law of one curve."""
        return fit(self.values, curve.seconds)

    def theory(self, phase: str, law: Law | None = None) -> float:
        """The exponent by the cost model, over the points that a law describes or over all."""
        points = slice(None) if law is None else slice(law.first, law.last + 1)
        return round(slope(self.values[points], self.flops[phase][points]), 6) + 0.0  # not -0.0

    def sentences(self) -> list[str]:
        """Each curve in one sentence: its exponent beside the theory's, and where it bends; then how backward compares with forward."""
        return [*map(self.sentence, self.curves), *self._ratios(), *self.notes]

    def sentence(self, curve: Curve) -> str:
        """Whether the theory holds for one curve, and where it bends."""
        law = self.law(curve)
        theory = self.theory(curve.phase, law)
        if law.crossover >= self.values[law.last]:
            text = (
                f"{curve.name}, {curve.phase}: time hardly grows with {self.parameter}, {duration(law.overhead)} of overhead rule"
            )
            return f"{text} from {self.values[law.first]} to {self.values[law.last]}; theory: {self.parameter}^{theory:.2f}"
        if law.high - law.low > TELLS:
            word = "the points do not tell whether the theory holds"
        elif law.low <= theory <= law.high or abs(law.exponent - theory) <= _HOLDS:
            word = "the theory holds"
        else:
            word = self._faster(curve, law) if law.exponent > theory else self._slower(curve, law)
        first, last = self.values[law.first], self.values[law.last]
        text = (
            f"{curve.name}, {curve.phase}: time grows as {self.parameter}^{law.exponent:.2f} (95 %: {law.low:.2f} to {law.high:.2f}) "
            f"from {first} to {last}, theory {theory:.2f}: {word}"
        )
        return "; ".join([text, *self._bends(curve, law)])

    def _faster(self, curve: Curve, law: Law) -> str:
        """Where the growth beyond the theory's comes from."""

        def excess(point: int) -> float:
            work = self.flops[curve.phase][point + 1] / self.flops[curve.phase][point]
            return curve.seconds[point + 1] / curve.seconds[point] / work

        steepest = max(range(law.first, law.last), key=excess)
        ends = f"{self.values[steepest]} and {self.values[steepest + 1]}"
        return f"it grows faster than the theory says, most of all between {ends}, {self._caches(steepest + 1)}"

    def _slower(self, curve: Curve, law: Law) -> str:
        """Growth below the theory's is work that gets faster."""
        flops = self.flops[curve.phase]
        first, last = (flops[i] / curve.seconds[i] / 1e9 for i in (law.first, law.last))
        return f"it grows more slowly than the theory says, since the rate rises from {first:.3g} to {last:.3g} GFLOP/s"

    def _bends(self, curve: Curve, law: Law) -> list[str]:
        found = []
        if law.crossover > self.values[law.first]:
            found.append(
                f"overhead of {duration(law.overhead)} rules below {self.parameter} {law.crossover:.3g}, where the work takes as long"
            )
        for point, end, where in ((law.first - 1, law.first, "below"), (law.last + 1, law.last, "above")):
            if 0 <= point < len(self.values):
                value = self.values[point]
                off = curve.seconds[point] / law.at(value)
                text = f"{where} {self.values[end]} it bends: {self.parameter} {value} takes {off:.2g} times what the law says"
                found.append(f"{text}, {self._caches(point)}" if off > 1 else text)
        return found

    def _caches(self, point: int) -> str:
        """What a step touches, beside the caches."""
        sizes = ", ".join(f"{level} {_bytes(size)}" for level, size in caches().items())
        return f"where a step touches {_bytes(self.memory[point])} ({sizes})"

    def _ratios(self) -> list[str]:
        """Backward over forward at the last value, where overhead counts least."""
        by_name = {(curve.name, curve.phase): curve for curve in self.curves}
        found = []
        for name in dict.fromkeys(curve.name for curve in self.curves):
            forward, backward = (by_name[name, phase].seconds[-1] for phase in PHASES[:2])
            theory = self.flops["backward"][-1] / self.flops["forward"][-1]
            found.append(
                f"{name}: backward takes {backward / forward:.2f} times as long as forward at {self.parameter} {self.values[-1]}, "
                f"theory {theory:.2f}"
            )
        return found

    def table(self) -> list[list[str]]:
        """Titles and rows: a line for each curve and value, with time, spread, operations and rate."""
        rows = [["", self.parameter, "time", "spread", "MFLOP", "GFLOP/s", "law"]]
        for curve in self.curves:
            law = self.law(curve)
            for value, seconds, spread, flops in zip(
                self.values, curve.seconds, curve.spread, self.flops[curve.phase], strict=True
            ):
                rows.append([
                    f"{curve.name}, {curve.phase}", str(value), duration(seconds), f"{100 * spread:.0f} %", f"{flops / 1e6:.4g}",
                    f"{flops / seconds / 1e9:.3g}", duration(law.at(value)),
                ])  # fmt: skip
        return rows

    def exponents(self) -> list[list[str]]:
        """Titles and rows: a line for each curve, with its law beside the theory."""
        rows = [["", "exponent", "95 %", "theory", "range", "overhead", "crossover"]]
        for curve in self.curves:
            law = self.law(curve)
            rows.append([
                f"{curve.name}, {curve.phase}", f"{law.exponent:.2f}", f"{law.low:.2f} to {law.high:.2f}",
                f"{self.theory(curve.phase, law):.2f}", f"{self.values[law.first]} to {self.values[law.last]}",
                duration(law.overhead) if law.overhead else "-", f"{law.crossover:.3g}" if law.crossover else "-",
            ])  # fmt: skip
        return rows

    def markdown(self) -> str:
        """The whole report."""
        facts = f"{processor()}, threads: {self.threads}"
        parts = [f"# How a training step grows with {self.parameter}", facts, markdown_table(self.exponents())]
        parts += ["\n".join(f"- {sentence}" for sentence in self.sentences()), markdown_table(self.table())]
        return "\n\n".join(parts) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        curves = [
            {
                "name": curve.name, "phase": curve.phase, "seconds": curve.seconds, "spread": curve.spread,
                "law": _finite(self.law(curve)), "theory": self.theory(curve.phase, self.law(curve)),
            }
            for curve in self.curves
        ]  # fmt: skip
        return {
            "parameter": self.parameter, "values": self.values, "flops": self.flops, "memory": self.memory, "threads": self.threads,
            "processor": processor(), "curves": curves, "sentences": self.sentences(),
        }  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything as JSON."""
        Path(path).write_text(json.dumps(self.as_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the curves on log-log axes with the slope of the theory, by matplotlib (.png, .svg, .pdf)."""
        from .scaling_picture import draw

        draw(path, [self])


def _finite(law: Law) -> dict[str, Any]:
    """A law for JSON, which has no infinity."""
    found = law._asdict() | {"crossover": law.crossover}
    return {key: None if abs(value) == float("inf") else value for key, value in found.items()}


def _bytes(size: float) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.0f} bytes"
