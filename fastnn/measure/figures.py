"""Pictures by matplotlib, which is imported inside; no window is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

FORMATS = ("png", "svg", "pdf", "jpg", "jpeg", "webp")


def check_format(path: str | os.PathLike[str]) -> None:
    """Raise ValueError unless the file's name ends like a picture that can be drawn."""
    if Path(path).suffix.lower().lstrip(".") not in FORMATS:
        raise ValueError(f"{path}: expected a file name ending in one of {', '.join('.' + name for name in FORMATS)}")


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of so many inches, whose parts make room for each other.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise ImportError("pictures need the package matplotlib: pip install 'fastnn[plot]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
