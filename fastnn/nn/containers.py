"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastnn.functional import checks

from .module import Module


def _position(index: Any, count: int) -> int:
    position = checks.integer("index", index)
    if not -count <= position < count:
        raise IndexError(f"index: expected an index in [{-count}, {count - 1}], got {position}")
    return position % count


class _Indexed(Module):
    """Submodules in an order, under the names "0", "1", ... unless given."""

    def _items(self) -> list[Module]:
        return list(self._modules.values())

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._items())

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._make(list(self._modules.items())[index])
        return self._items()[_position(index, len(self))]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[_position(index, len(self))], module)

    def __delitem__(self, index: Any) -> None:
        items = self._items()
        del items[index if isinstance(index, slice) else _position(index, len(self))]
        self._number(items)

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under ``name``."""
        if not isinstance(module, Module):
            raise TypeError(f"module {name!r}: expected a Module, got {type(module).__name__}")
        super().add_module(name, module)

    register_module = add_module

    def append(self, module: Module) -> Any:
        """Add a module at the end."""
        name = str(len(self))
        if name in self._modules:
            raise ValueError(f"module: the name {name!r} of the next one is taken")
        self.add_module(name, module)
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add several modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Add a module before position ``index``; those behind it are numbered anew."""
        items = self._items()
        items.insert(checks.integer("index", index), module)
        self.append(module)  # which checks it
        self._number(items)
        return self

    def _number(self, items: list[Module]) -> None:
        self._modules.clear()
        self._modules.update((str(index), module) for index, module in enumerate(items))

    def _make(self, items: list[tuple[str, Any]]) -> Any:
        """A container of the same kind with some of the items."""
        raise TypeError(f"{type(self).__name__} cannot be sliced")


class Sequential(_Indexed):
    """Modules applied one after another.

    Parameters
    ----------
    *modules : Module, or one mapping of names to Modules

    Raises
    ------
    TypeError
        Where one of them is no Module.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import nn
    >>> nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))(np.zeros((3, 4), np.float32)).shape
    (3, 2)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        """Apply every module in order."""
        for module in self:
            input = module(input)
        return input

    def _make(self, items: list[tuple[str, Any]]) -> Sequential:
        return Sequential(dict(items))


class ModuleList(_Indexed):
    """A list of Modules whose parameters are registered; it has no ``forward`` of its own.

    Parameters
    ----------
    modules : iterable of Module

    Examples
    --------
    >>> from fastnn import nn
    >>> layers = nn.ModuleList([nn.Linear(2, 2)])
    >>> layers.append(nn.ReLU())[-1]
    ReLU()
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _make(self, items: list[tuple[str, Any]]) -> ModuleList:
        return ModuleList(module for _, module in items)
