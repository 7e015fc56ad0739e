"""Whose row a kernel call belongs to, and how rows are called."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container
from typing import Any

from fastnn import nn

from .result import Layer, Part


class Names:
    """The rows of a profile: modules, the loss, the optimiser, and what modules say of themselves.

    A module that calls kernels for others than its submodules has ``profiled_parts()``, which gives for the name of each of them
    (owner of its calls, kind, parameters that it reads).
    """

    def __init__(self, model: nn.Module, loss: Any, optimizer: Any) -> None:
        self._outside = {"loss": loss, "optimizer": optimizer}
        self._rows: dict[int, tuple[str, str]] = {}  # name and kind by the id of who calls
        readers: dict[int, str] = {}
        for path, module in model.named_modules():
            self._rows[id(module)] = path or "(model)", type(module).__name__
            for name, (owner, kind, parameters) in getattr(module, "profiled_parts", dict)().items():
                row = f"{path}.{name}" if path else name
                self._rows[id(owner)] = row, kind
                readers.update({id(parameter): row for parameter in parameters if id(parameter) not in readers})
        self._sizes = [(readers.get(id(p)), name, math.prod(p.shape)) for name, p in model.named_parameters() if p.requires_grad]
        inside = {id(m) for m in loss.modules()} if isinstance(loss, nn.Module) else {id(None)} if loss is not None else set()
        self._loss, self._optimizer = inside, {id(optimizer)} if optimizer is not None else set()

    def of(self, key: int) -> str:
        """The name of an owner's row. What nobody owns is the loss's where that is a function."""
        if key in self._rows:
            return self._rows[key][0]
        return "loss" if key in self._loss else "optimizer" if key in self._optimizer else "other"

    def learned(self, rows: Container[str]) -> Counter[str]:
        """How many numbers each row learns: a module's own, and those of modules inside it that have no row."""
        found: Counter[str] = Counter()
        for reader, path, size in self._sizes:
            owner = path.rpartition(".")[0] if reader is None else reader
            while owner and owner not in rows:
                owner = owner.rpartition(".")[0]
            found[owner or "(model)"] += size
        return found

    def layer(self, name: str, learned: int, parts: dict[str, Part]) -> Layer:
        """One row."""
        kind = next((kind for called, kind in self._rows.values() if called == name), None)
        if kind is not None:
            return Layer(name, kind, learned, parts)
        owner = self._outside.get(name)
        return Layer(name, getattr(owner, "__name__", type(owner).__name__) if owner is not None else "", 0, parts)

    def order(self, name: str) -> int:
        """Rows in the model's order, then the others."""
        return [*(called for called, _ in self._rows.values()), "loss", "other", "optimizer"].index(name)
