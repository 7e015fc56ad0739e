"""Pictures of a profile: the roofline with every layer on it, and a bar for each layer."""

from __future__ import annotations

import math
import os
from itertools import groupby
from typing import Any

from ..figures import check_format, new_figure
from ..roofline import MAIN, Roofline
from .result import PHASES, Part, Profile
from .tables import title

MARKERS = {"forward": "o", "backward": "s", "update": "^"}
COLOURS = {"forward": "tab:blue", "backward": "tab:orange", "update": "tab:green"}
LABELS = {"forward": (0, 9), "backward": (0, -14), "update": (0, 9)}  # where names stand
LABELLED = 8  # points that are named on the roofline: those that take the most time


def plot(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Draw both pictures into one file, whose ending says the format."""
    check_format(path)
    draw(profile).savefig(path, dpi=150)


def draw(profile: Profile) -> Any:
    """Both pictures as one matplotlib figure; without a roofline the bars alone."""
    height = max(5.0, 1.5 + 0.34 * (len(profile.layers) + 1))
    if profile.roofline is None:
        figure = new_figure(8, height)
        bars = figure.subplots()
    else:
        figure = new_figure(15, height)
        roof, bars = figure.subplots(1, 2)
        draw_roofline(roof, profile, profile.roofline)
    draw_bars(bars, profile)
    figure.suptitle(title(profile), fontsize="medium")
    return figure


def draw_roofline(axes: Any, profile: Profile, machine: Roofline) -> None:
    """What each layer reaches, under the lines of peak and bandwidths."""
    points = [
        (f"{layer.name} {layer.kind}".strip(), phase, part)
        for layer in profile.layers
        for phase, part in layer.parts.items()
        if part.flops and part.seconds
    ]
    intensities = [part.intensity for *_, part in points] or [1.0]
    count = machine.nearest(profile.threads)
    peak = machine.flops_per_second(profile.dtype, count)
    slopes = {level: rates[count] for level, rates in machine.bandwidth.items()}
    left, right = min(*intensities, 0.1) / 2, max(*intensities, peak / slopes[MAIN]) * 3
    for level, rate in slopes.items():
        ridge = peak / rate
        axes.plot([left, ridge], [left * rate / 1e9, peak / 1e9], color="0.6", linewidth=1)
        axes.annotate(
            f"{level} {rate / 1e9:.0f} GB/s", (left * 1.1, left * 1.1 * rate / 1e9), rotation=38, rotation_mode="anchor",
            fontsize="x-small", color="0.35", va="bottom",
        )  # fmt: skip
    axes.plot([peak / max(slopes.values()), right], [peak / 1e9] * 2, color="0.3", linewidth=1.5)
    axes.annotate(f"{profile.dtype} {peak / 1e9:.0f} GFLOP/s", (right, peak / 1e9), ha="right", va="bottom", fontsize="x-small")
    for phase, members in groupby(sorted(points, key=lambda point: PHASES.index(point[1])), key=lambda point: point[1]):
        parts = [part for *_, part in members]
        sizes = [20 + 400 * part.seconds / profile.total for part in parts]
        x, y = [part.intensity for part in parts], [part.flops_per_second / 1e9 for part in parts]
        axes.scatter(x, y, s=sizes, marker=MARKERS[phase], color=COLOURS[phase], alpha=0.75, label=phase, zorder=3)
    for name, phase, part in sorted(points, key=lambda point: -point[2].seconds)[:LABELLED]:
        axes.annotate(
            name, (part.intensity, part.flops_per_second / 1e9), xytext=LABELS[phase], textcoords="offset points", ha="center",
            fontsize="x-small", color=COLOURS[phase], zorder=4,
        )  # fmt: skip
    lowest = min([part.flops_per_second / 1e9 for *_, part in points], default=0.1)
    axes.set(
        xscale="log", yscale="log", xlim=(left, right), ylim=(lowest / 3, peak / 1e9 * 2),
        xlabel="arithmetic intensity, FLOP for each byte of compulsory traffic", ylabel="GFLOP/s",
        title=f"Roofline of {machine.processor}, {count} thread{'s' * (count > 1)}",
    )  # fmt: skip
    if points:
        for handle in axes.legend(loc="lower right", title="area: share of the time").legend_handles:
            handle.set_sizes([40])


def draw_bars(axes: Any, profile: Profile) -> None:
    """The time of each layer, pass by pass, with its share of the roofline beside it."""
    names = [f"{layer.name} {layer.kind}".strip() for layer in profile.layers] + [profile.between]
    unit, scale = ("ms", 1e3) if profile.total >= 1e-3 else ("us", 1e6)
    starts = [0.0] * len(names)
    for phase in PHASES:
        widths = [layer.parts[phase].seconds * scale if phase in layer.parts else 0.0 for layer in profile.layers] + [0.0]
        if any(widths):
            axes.barh(range(len(names)), widths, left=starts, color=COLOURS[phase], label=phase)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    axes.barh(len(names) - 1, profile.rest * scale, color="0.7")
    for index, layer in enumerate(profile.layers):
        axes.annotate(
            _reached(list(layer.parts.values())), (starts[index], index), xytext=(4, 0), textcoords="offset points", va="center",
            fontsize="x-small", color="0.35",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(*starts, profile.rest * scale))
    axes.set(xlabel=unit, title=f"Time of each layer: {profile.seconds * scale:.3g} {unit} a step" + _legend(profile))
    if profile.layers:
        axes.legend(loc="lower right")


def _legend(profile: Profile) -> str:
    return "" if profile.roofline is None else "\n(per cent of the roofline beside each bar)"


def _reached(parts: list[Part]) -> str:
    """The share of the roofline that a layer reaches in all its passes together."""
    seconds = sum(part.seconds for part in parts)
    limits = [part.limit for part in parts if part.limit is not None]
    if not seconds or len(limits) < len(parts):
        return ""
    share = 100 * math.fsum(limits) / seconds
    return f"{share:.0f} %" if share >= 1 else "<1 %"
