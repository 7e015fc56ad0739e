"""Progress of a training: a bar where rich is installed, a line now and then where it is not."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from .callbacks import Callback, Run


def progress_callback() -> Callback:
    """A bar in a terminal with rich, else lines on stderr."""
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return Lines()
    return Bar() if sys.stderr.isatty() else Lines()


class _Speed(Callback):
    """Measures how many examples pass in a second."""

    def on_start(self, run: Run) -> None:
        """Start the clock."""
        self._start = perf_counter()

    def text(self, run: Run) -> str:
        """Loss, metric and speed."""
        numbers = "  ".join(f"{name} {value:.4f}" for name, value in run.logs.items())
        speed = run.total / max(perf_counter() - self._start, 1e-9)
        return f"{numbers}  {speed:,.0f} examples/s"


class Lines(_Speed):
    """At most ten lines in all, one after an epoch."""

    def on_epoch_end(self, run: Run) -> None:
        """Print a line, where it is time for one."""
        every = max(run.epochs // 10, 1)
        if run.epoch % every == 0 or run.stop:
            print(f"epoch {run.epoch}/{run.epochs}  {self.text(run)}", file=sys.stderr, flush=True)


class Bar(_Speed):
    """A bar over all batches, drawn by rich on stderr."""

    _bar: Any = None

    def on_start(self, run: Run) -> None:
        """Show the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().on_start(run)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"))
        self._bar = Progress(*columns, console=Console(stderr=True))
        batches = -(-run.examples // run.batch_size)
        self._task = self._bar.add_task(self._title(run), total=run.epochs * batches, numbers="")
        self._bar.start()

    def _title(self, run: Run) -> str:
        return f"epoch {run.epoch}/{run.epochs}"

    def on_batch_end(self, run: Run) -> None:
        """Move on by a batch."""
        self._bar.update(self._task, completed=run.step, numbers=self.text(run))

    def on_epoch_end(self, run: Run) -> None:
        """Show the validation's numbers too."""
        self._bar.update(self._task, description=self._title(run), numbers=self.text(run))

    def on_end(self, run: Run) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
