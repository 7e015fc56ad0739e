"""A profile in words and numbers: rows of text, Markdown, plain data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .result import PHASES, Part, Profile, combined

COLUMNS = (
    "layer", "pass", "time us", "spread", "share", "MFLOP", "special", "MB", "GFLOP/s", "GB/s", "FLOP/B", "of roofline", "memory KB", "ran",
)  # fmt: skip

TRUSTED, ALLOWED = 100e-6, 0.05  # seconds of a step from which its rows have to sum up to it, and how far they may be off


def rows(profile: Profile) -> list[list[str]]:
    """One row for each layer and pass, under :data:`COLUMNS`; then the totals."""
    found = []
    for layer in profile.layers:
        title = f"{layer.name} {layer.kind}".strip()
        for phase, part in layer.parts.items():
            found.append([title, phase, *_cells(profile, part), ", ".join(part.kernels)])
            title = ""
    nothing = ["-"] * (len(COLUMNS) - 6)
    found.append([profile.between, "", _microseconds(profile.rest), "-", profile.scaled(profile.rest), *nothing, ""])
    phases = [phase for phase in PHASES if any(phase in layer.parts for layer in profile.layers)]
    found += [["all layers", phase, *_cells(profile, profile.phase(phase)), ""] for phase in phases]
    whole = combined([part for layer in profile.layers for part in layer.parts.values()])
    found.append(["all kernels", "", *_cells(profile, whole), ""])
    return found


def title(profile: Profile) -> str:
    """What was measured, in one line."""
    what = "step of training" if profile.training else "prediction"
    batch = "x".join(map(str, profile.input_shape))
    threads = f"{profile.threads} thread{'s' * (profile.threads > 1)}"
    return f"{profile.kind}, {what}: input {batch} {profile.dtype}, {profile.parameters:,} parameters, {threads}"


def notes(profile: Profile) -> list[str]:
    """What the table's figures mean."""
    found = [
        f"From outside a step takes {_microseconds(profile.seconds)} us (spread {_percent(profile.spread)}); the rows sum up to "
        f"{_microseconds(profile.total)} us, in the quiet ones of {profile.steps} steps. Reading the clock takes "
        f"{_microseconds(profile.clock)} us of each.",
        "A multiply-add is two FLOP; exp, log, tanh and the like are listed apart as special (in millions). Bytes are the compulsory "
        "traffic: each input read and each output written once.",
    ]
    apart = abs(profile.total / profile.seconds - 1) if profile.seconds else 0.0
    if profile.seconds >= TRUSTED and apart > ALLOWED:
        found.insert(1, f"These two are {_percent(apart)} apart, since the machine was busy with something else: measure again.")
    if profile.roofline is not None:
        machine = profile.roofline
        count = machine.nearest(profile.threads)
        source = "estimated by NumPy" if machine.source == "NumPy" else f"measured, {machine.source}"
        speeds = ", ".join(f"{level} {rates[count] / 1e9:.0f} GB/s" for level, rates in machine.bandwidth.items())
        found.append(
            f"Roofline of {machine.processor} ({source}): {machine.flops_per_second(profile.dtype, count) / 1e9:.0f} GFLOP/s, {speeds}. "
            "More than 100 % of it means fewer operations than were counted (Winograd)."
        )
    if profile.arena:
        found.append(f"The plan has laid out {profile.arena / 1e3:,.0f} KB for everything that a step computes.")
    return found


def text(profile: Profile) -> str:
    """The table as plain aligned text."""
    lines = [list(COLUMNS), *rows(profile)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    left = (0, 1, len(COLUMNS) - 1)
    cells = [
        [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))] for line in lines
    ]
    return "\n".join([title(profile), *["  ".join(line).rstrip() for line in cells], *notes(profile)])


def markdown(profile: Profile) -> str:
    """The table in Markdown."""
    lines = [list(COLUMNS), ["---"] * 2 + ["---:"] * (len(COLUMNS) - 3) + ["---"], *rows(profile)]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return "\n\n".join([f"**{title(profile)}**", table, *notes(profile)]) + "\n"


def as_dict(profile: Profile) -> dict[str, Any]:
    """Everything as plain data."""
    content = asdict(profile)
    content["total"] = profile.total
    content["parameters"] = profile.parameters
    for described, layer in zip(content["layers"], profile.layers, strict=True):
        described["seconds"] = layer.seconds
        for phase, part in layer.parts.items():
            described["parts"][phase] = asdict(part) | _rates(part)
    phases = [phase for phase in PHASES if any(phase in layer.parts for layer in profile.layers)]
    content["phases"] = {phase: asdict(profile.phase(phase)) | _rates(profile.phase(phase)) for phase in phases}
    return content


def _rates(part: Part) -> dict[str, Any]:
    names = ("flops_per_second", "bytes_per_second", "intensity", "fraction")
    return {name: getattr(part, name) for name in names}


def _cells(profile: Profile, part: Part) -> list[str]:
    return [
        _microseconds(part.seconds), _percent(part.spread), profile.scaled(part.seconds), _millions(part.flops), _millions(part.special),
        _millions(part.bytes), f"{part.flops_per_second / 1e9:.1f}" if part.flops else "-", f"{part.bytes_per_second / 1e9:.1f}",
        f"{part.intensity:.2f}" if part.flops else "-", "-" if part.fraction is None else f"{100 * part.fraction:.0f} %",
        f"{part.memory / 1e3:,.1f}",
    ]  # fmt: skip


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:,.1f}" if seconds < 1e-3 else f"{1e6 * seconds:,.0f}"


def _millions(number: float) -> str:
    return f"{number / 1e6:,.3f}" if number else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
