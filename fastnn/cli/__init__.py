"""The ``fastnn`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import bench, info, profile, scaling, train


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (by default the program's arguments) and return its exit code.

    2 stands for bad arguments, missing files and missing packages, told in one line on stderr; 130 for Ctrl-C.

    Examples
    --------
    >>> from fastnn.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    fastnn ...
    0
    """
    parser = _Parser(prog="fastnn", description="Neural-network compute kernels for the CPU.")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for command in (train, profile, scaling, bench, info):
        command.add_parser(commands)
    try:
        options = parser.parse_args(argv)
        if options.version:
            return info.print_version()
        if options.command is None:
            parser.print_help()
            return 0
        return options.run(options)
    except SystemExit as stop:  # argparse ends so after --help and after an error
        return int(stop.code or 0)
    except (ValueError, TypeError, OSError, ImportError, MemoryError, OverflowError) as error:
        print(f"fastnn: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fastnn: interrupted", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """One line for an error, without the usage in front of it."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")
