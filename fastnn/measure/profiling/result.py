"""What was measured of a network, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from fastnn.functional import checks

from ..roofline import Roofline

PHASES = ("forward", "backward", "update")


@dataclass(frozen=True)
class Part:
    """One layer in one phase of a step, kernels alone.

    Attributes
    ----------
    seconds : float
        The mean over the quiet steps: those around the 10 % quantile of whole steps, so that all rows sum up to one.
    spread : float
        How far the median over all steps lies above their 10 % quantile, as a share of it.
    flops, bytes, special : int
        Work by the cost model: see :class:`fastnn.kernels.Cost`. ``bytes`` are the compulsory traffic.
    memory : int
        Bytes of what the kernels compute.
    limit : float or None
        Seconds that the machine's roofline leaves for that work, call by call.
    kernels : tuple of str
        What ran: operator, algorithm, backend, level of instructions.
    """

    seconds: float
    spread: float
    flops: int
    bytes: int
    special: int
    memory: int
    limit: float | None
    kernels: tuple[str, ...]

    @property
    def flops_per_second(self) -> float:
        """Floating-point operations in a second."""
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def bytes_per_second(self) -> float:
        """Compulsory bytes in a second."""
        return self.bytes / self.seconds if self.seconds else 0.0

    @property
    def intensity(self) -> float:
        """Floating-point operations for each byte."""
        return self.flops / self.bytes if self.bytes else 0.0

    @property
    def fraction(self) -> float | None:
        """The share of the roofline that is reached. More than 1 where fewer operations are made than are counted (Winograd)."""
        return self.limit / self.seconds if self.limit is not None and self.seconds else None


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes
    ----------
    name, kind : str
        Its name in the model ("loss", "optimizer" or "other" outside it), and its class.
    parameters : int
        How many numbers it learns: its own, and those of modules inside it that have no row.
    parts : dict of str to Part
        By phase, those in which it ran.
    """

    name: str
    kind: str
    parameters: int
    parts: dict[str, Part]

    @property
    def seconds(self) -> float:
        """Of all phases."""
        return sum(part.seconds for part in self.parts.values())


@dataclass(frozen=True)
class Profile:
    """What one step of training, or one prediction, costs; made by :func:`fastnn.profile`.

    Attributes
    ----------
    layers : list of Layer
        In the order of the model, then loss, others, optimiser.
    rest : float
        Seconds of a step outside kernels.
    between : str
        What they go to.
    seconds : float
        Of a whole step, measured from outside by steps that nobody watches (10 % quantile).
    spread : float
        How far their median lies above it, as a share of it.
    steps : int
        How many steps were timed from inside.
    clock : float
        Seconds that reading the clock adds to one step.
    kind : "eager" or "plan"
    training : bool
    input_shape : tuple of int
        Of the batch.
    threads : int
        That fastnn might use.
    processor : str
    arena : int
        Bytes that a plan has laid out for all that is computed in a step; 0 for an eager model.
    roofline : Roofline or None
    dtype : str
    """

    layers: list[Layer]
    rest: float
    between: str
    seconds: float
    spread: float
    steps: int
    clock: float
    kind: str
    training: bool
    input_shape: tuple[int, ...]
    threads: int
    processor: str
    arena: int = 0
    roofline: Roofline | None = field(default=None, repr=False)
    dtype: str = "float32"

    @property
    def parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def total(self) -> float:
        """Seconds of all rows: what was timed from inside, to be held against ``seconds``."""
        return sum(layer.seconds for layer in self.layers) + self.rest

    def phase(self, name: str) -> Part:
        """All layers of one phase together."""
        checks.choice("name", name, PHASES)
        return combined([layer.parts[name] for layer in self.layers if name in layer.parts])

    def scaled(self, seconds: float) -> str:
        """Some seconds as a share of the whole step."""
        return f"{100 * seconds / self.total:.1f} %" if self.total else "-"

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON: times in seconds, rates a second."""
        from .tables import as_dict

        return as_dict(self)

    def markdown(self) -> str:
        """The table in Markdown."""
        from .tables import markdown

        return markdown(self)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the roofline with every layer on it, and a bar for each layer.

        Parameters
        ----------
        path : path-like
            File to write; its ending says the format (.png, .svg, .pdf, ...).
        """
        from .pictures import plot

        plot(self, path)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write tables and pictures as one HTML file that needs nothing else."""
        from .report import write

        write(self, path)

    def __str__(self) -> str:
        from .tables import text

        return text(self)


def combined(parts: Iterable[Part]) -> Part:
    """Several parts as one; the spread is that of the slowest, which weighs most."""
    parts = list(parts)
    if not parts:
        return Part(0.0, 0.0, 0, 0, 0, 0, None, ())
    added: Callable[[str], Any] = lambda name: sum(getattr(part, name) for part in parts)  # noqa: E731
    slowest = max(parts, key=lambda part: part.seconds)
    return replace(
        slowest, seconds=added("seconds"), flops=added("flops"), bytes=added("bytes"), special=added("special"),
        memory=added("memory"), limit=None if any(part.limit is None for part in parts) else added("limit"),
        kernels=tuple(dict.fromkeys(kernel for part in parts for kernel in part.kernels)),
    )  # fmt: skip
