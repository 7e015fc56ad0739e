"""Tables: by rich where it is installed, plainly aligned where it is not."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; the first column is aligned left, the others right."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        _print_plainly(title, columns, rows)
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*[Text(cell) for cell in row])
    # In a file or a pipe there is no width to keep to, and a cut cell would be lost.
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200).print(table)


def _print_plainly(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    print(f"\n{title}")
    for row in [columns, *rows]:
        cells = [row[0].ljust(widths[0]), *[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]]
        print("  ".join(cells).rstrip())


def show_progress(text: str) -> None:
    """Show what is being done in one line of the terminal, in place of what stood there."""
    print(f"\r\033[K{text}", end="\r", file=sys.stderr, flush=True)
