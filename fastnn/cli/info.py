"""``fastnn info``: what this installation is made of."""

from __future__ import annotations

import argparse
from typing import Any

from fastnn import config
from fastnn.dispatch import is_available
from fastnn.kernels.operator import BACKENDS, operators

from .console import print_table


def add_parser(commands: Any) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("info", help="show version, backends, threads and optional packages")
    parser.add_argument("--operators", action="store_true", help="show which operator has a kernel on which backend")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the configuration, or the table of operators and backends."""
    if options.operators:
        _print_operators()
    else:
        config.show_config()
    return 0


def print_version() -> int:
    """Print the version alone."""
    print(f"fastnn {config.config()['fastnn']}")
    return 0


def _print_operators() -> None:
    rows, counts = [], dict.fromkeys(BACKENDS, 0)
    for operator in operators():
        row = [operator.name, operator.family]
        for backend in BACKENDS:
            found = is_available(backend) and operator.kernel(backend) is not None
            counts[backend] += found
            row.append("yes" if found else "-")
        rows.append(row)
    rows.append([f"{len(rows)} operators", "", *[str(counts[backend]) for backend in BACKENDS]])
    print_table("Kernels by operator and backend", ["operator", "family", *BACKENDS], rows)
