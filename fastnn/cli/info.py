"""``fastnn info``: what this installation is made of, and what the machine can do."""

from __future__ import annotations

import argparse
from typing import Any

from fastnn import config
from fastnn.dispatch import is_available
from fastnn.kernels.operator import BACKENDS, operators

from .console import print_table


def add_parser(commands: Any) -> None:
    """Declare the command's arguments."""
    parser = commands.add_parser("info", help="show version, backends, threads, optional packages; kernels; the machine's limits")
    parser.add_argument("--operators", action="store_true", help="show which operator has a kernel on which backend")
    parser.add_argument(
        "--roofline", action="store_true", help="show how fast this machine computes and moves memory (measured once)"
    )
    parser.add_argument("--refresh", action="store_true", help="measure the roofline anew")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the configuration, the table of operators and backends, or the roofline."""
    if options.operators:
        _print_operators()
    if options.roofline or options.refresh:
        _print_roofline(options.refresh)
    if not (options.operators or options.roofline or options.refresh):
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


def _print_roofline(refresh: bool) -> None:
    from fastnn.measure import machine_roofline

    found = machine_roofline(refresh=refresh)
    rows = [
        [f"multiply-adds in registers, {dtype}", "-", *[f"{rate / 1e9:.0f} GFLOP/s" for rate in rates.values()]]
        for dtype, rates in found.peak.items()
    ]
    for level, rates in found.bandwidth.items():
        size = found.sizes.get(level)
        speeds = [f"{rate / 1e9:.1f} GB/s" for rate in rates.values()]
        rows.append([f"moving in {level}", f"{size / 1024:,.0f} KiB" if size else "-", *speeds])
    ridge = found.flops_per_second() / found.bandwidth["DRAM"][found.threads[-1]]
    how = "as NumPy estimates them" if found.source == "NumPy" else f"by compiled loops, {found.source}"
    columns = ["", "size", *[f"{n} thread{'s' * (n > 1)}" for n in found.threads]]
    print_table(f"Limits of {found.processor}, {how}, {found.date} UTC", columns, rows)
    print(f"In float32, fewer than {ridge:.1f} FLOP for each byte from the main memory wait for memory, more for arithmetic.")
