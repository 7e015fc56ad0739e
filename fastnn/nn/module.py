"""Module: a layer or network that holds parameters and calls functionals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, note_change

from .parameter import Parameter
from .state import LoadResult, convert, load_state

TABLES = ("_parameters", "_buffers", "_modules")


def _buffer(value: Any) -> Tensor | None:
    return value if value is None or isinstance(value, Tensor) else Tensor(value)


class Module:
    """Base class of layers and networks, with the interface of ``torch.nn.Module``.

    Assign Parameters and Modules to attributes in ``__init__`` (after ``super().__init__()``) and define ``forward``.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn
    >>> class Twice(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(3, 3)
    ...     def forward(self, x):
    ...         return self.layer(self.layer(x))
    >>> [name for name, _ in Twice().named_parameters()]
    ['layer.weight', 'layer.bias']
    """

    training: bool

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={}, _transient=set(), _planned=False)

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the output; defined by every layer."""
        raise TypeError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *args: Any, **options: Any) -> Any:
        if not dispatch.observed():
            return self.forward(*args, **options)
        self.__dict__["_planned"] = True
        with dispatch.scope(self, "forward"):
            return self.forward(*args, **options)

    # attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Module)):
            self._register("_parameters" if isinstance(value, Parameter) else "_modules", name, value, replace=True)
        elif name in self.__dict__.get("_parameters", ()):
            self.register_parameter(name, value)
        elif name in self.__dict__.get("_modules", ()):
            self.add_module(name, value)
        elif name in self.__dict__.get("_buffers", ()):
            self._buffers[name] = _buffer(value)
            note_change()
        else:
            if name != "training" and self.__dict__.get("_planned"):  # no plan knows a module that is still being made
                note_change(settings=True)
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        for table in TABLES:
            found = self.__dict__.get(table, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        if not self._forget(name):
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *(name for table in TABLES for name in self.__dict__.get(table, ()))})

    def _forget(self, name: str) -> bool:
        """Drop ``name`` from wherever it is registered; whether it was."""
        for table in TABLES:
            if name in self.__dict__.get(table, ()):
                del self.__dict__[table][name]
                note_change()
                self._transient.discard(name)
                return True
        return False

    def _register(self, table: str, name: str, value: Any, replace: bool = False) -> None:
        """Enter ``value``; with ``replace`` whatever else had the name gives way, unless the class has it."""
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"name: expected a non-empty string without a dot, got {name!r}")
        target = self.__dict__.get(table)
        if target is None:
            raise TypeError(f"{type(self).__name__}: call super().__init__() before assigning {name!r}")
        if isinstance(value, Module) and any(module is self for module in value.modules()):
            raise ValueError(f"{name}: a module cannot stand inside itself")
        if name not in target:
            if hasattr(type(self) if replace else self, name):
                raise ValueError(f"name: {type(self).__name__} already has an attribute {name!r}")
            self.__dict__.pop(name, None)
            self._forget(name)
        target[name] = value
        note_change()

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (None: a place that is empty and saves nothing)."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"{name}: expected a Parameter or None, got {type(param).__name__}")
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add an array that belongs to the state but is not trained; it is read back as a Tensor.

        One that is not ``persistent`` stays out of ``state_dict``.
        """
        self._register("_buffers", name, _buffer(tensor))
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under ``name``."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"module {name!r}: expected a Module or None, got {type(module).__name__}")
        self._register("_modules", name, module)

    register_module = add_module

    # walking

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all under it, each once, with dotted names."""
        if "_modules" not in self.__dict__:
            raise TypeError(f"{type(self).__name__}: its __init__ did not call super().__init__()")
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            children = [(f"{name}.{key}" if name else key, child) for key, child in module._modules.items() if child is not None]
            stack.extend(reversed(children))

    def modules(self) -> Iterator[Module]:
        """This module and all under it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names, each once."""
        seen: set[int] = set()
        for name, child in self._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (child for _, child in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for owner, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[table].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{owner}.{name}" if owner else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters with dotted names; a shared one comes once."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters; a shared one comes once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """All buffers with dotted names."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def apply(self, fn: Callable[[Module], Any]) -> Module:
        """Call ``fn`` on every submodule, then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # state

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """What is saved, in torch's order; a tensor that is shared comes under each of its names."""
        for table in (self._parameters, self._buffers):
            for name, value in table.items():
                if value is not None and name not in self._transient:
                    yield prefix + name, value
        for name, child in self._modules.items():
            if child is not None:
                yield from child._state(f"{prefix}{name}.")

    def state_dict(self, *, prefix: str = "") -> dict[str, np.ndarray]:
        """Copies of all parameters and persistent buffers, under torch's keys."""
        return {name: value.numpy().copy() for name, value in self._state(prefix)}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy values into the parameters and buffers; everything is checked before anything is written.

        Parameters
        ----------
        state_dict : mapping of str to array or Tensor
            For example ``fastnn.load("weights.safetensors")``, of a model of PyTorch's too.
        strict : bool
            Refuse missing and unexpected keys. A tensor that the model uses in several places may come under any of its names.

        Returns
        -------
        LoadResult
            ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        TypeError, ValueError
            With all keys that are missing, unexpected, or of a shape or dtype that does not fit.
        """
        return load_state(dict(self._state()), state_dict, strict)

    # modes

    def train(self, mode: bool = True) -> Module:
        """Switch this module and all under it to training (or evaluation) mode."""
        if not isinstance(mode, (bool, np.bool_)):
            raise TypeError(f"mode: expected a bool, got {mode!r}")
        for module in self.modules():
            module.__dict__["training"] = bool(mode)
        return self

    def eval(self) -> Module:
        """Switch to evaluation mode."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Let all parameters take part in training, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.numpy().fill(0)

    def to(self, dtype: Any) -> Module:
        """Convert floating parameters and buffers to ``dtype`` (float32 or float64), in place.

        Raises
        ------
        TypeError
            Where ``dtype`` is neither; nothing is converted.
        """
        convert([*self.parameters(), *self.buffers()], dtype)
        return self

    def float(self) -> Module:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self) -> Module:
        """Convert to float64."""
        return self.to(np.float64)

    # display

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's own line."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr().splitlines()
        children = [f"({name}): {child!r}" for name, child in self._modules.items()]
        if not children and len(extra) <= 1:
            return f"{type(self).__name__}({''.join(extra)})"
        body = "\n".join([*extra, *children]).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"
