"""What an operator is: data that dispatch, tape, profiler, tests and benchmarks all read.

A family (a folder of this package) declares its operators in ``operators.py``. The kernels are found by name: the function
called like the operator in ``reference.py``, ``cython_kernels.pyx`` or ``numba_kernels.py`` of the same folder.

Two calling conventions::

    reference       outputs = kernel(*arrays, *attributes)            new arrays, always a tuple
    cython, numba   kernel(*arrays, *attributes, *outputs)            assigns its outputs, returns nothing
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from . import isa

Shape = tuple[int, ...]

BACKENDS = ("cython", "numba", "reference")  # in order of preference


class Cost(NamedTuple):
    """The work of one call, from shapes alone: what the reference's formula does, counted by the convention below.

    An addition, subtraction, multiplication, division, comparison, maximum or minimum of floats is one operation; a multiply-add
    two; a sum of n numbers n. Free are copies, selections, signs and absolute values, conversions, integers, and whatever follows from
    attributes alone. Padding is data. A faster algorithm (Winograd) makes fewer operations than are counted here, a kernel that computes
    something twice makes more. tests/test_costs.py holds every operator to this.

    Attributes
    ----------
    flops : int
        Floating-point operations.
    bytes : int
        Compulsory memory traffic: each input read once, each output written once. Caches may save some of it, and large
        arrays that are read again cost more.
    special : int
        Evaluations of exp, log, tanh, erf, sqrt and powers, each counted as one and listed apart from ``flops``.
    """

    flops: int
    bytes: int
    special: int = 0


def traffic(itemsize: int, *shapes: Shape | None) -> int:
    """Bytes of arrays of these shapes; None for one that is absent."""
    return itemsize * sum(math.prod(shape) for shape in shapes if shape is not None)


class Draw(NamedTuple):
    """How an example draws one array: ``kind`` is "normal", "uniform" (in [low, high)), "integers" (in [low, high)) or
    "signs" (-1 or 1) or
    "booleans".
    """

    shape: Shape
    kind: str = "normal"
    low: float = 0.0
    high: float = 1.0


def _int64(*_: Any) -> np.dtype:
    return np.dtype(np.int64)


class Operator:
    """One operator, declared as data.

    Parameters
    ----------
    name : str
        Name of the operator and of every kernel that computes it.
    package : str
        The family's package (``__package__`` of ``operators.py``).
    params : tuple of str
        Array parameters in order. With ``variadic`` there is one name and any number of arrays.
    shape : callable
        ``shape(*shapes_of_params, *attributes)`` -> a tuple with one shape for each output. An absent optional array has shape None,
        and so has an output that is absent because an optional array is.
    cost : callable
        ``cost(itemsize, *shapes_of_params, *attributes)`` -> Cost.
    attributes : tuple of str
        Parameters that are no arrays (ints, floats, strings, tuples of ints), in order, after the arrays.
    outputs : tuple of str
        Names of the outputs. Residuals that only the backward operator wants (argmax, mean, rstd) are outputs too.
    optional : tuple of str
        Params that may be None.
    integers : tuple of str
        Params and outputs that hold integers instead of the floating dtype of the call.
    index_dtype : callable, optional
        ``index_dtype(*shapes_of_params, *attributes)`` -> dtype of the outputs among ``integers``; by default int64.
    parts : callable, optional
        ``parts(*shapes_of_params, *attributes)`` -> for each output the FLOPs that are saved where nobody wants it; by default none.
    backward : Operator, optional
        The operator that computes the gradients. Its params are ``"d" + output`` for each differentiable output, followed by
        the saved values, named like params or outputs of this operator. Its outputs are ``"d" + param``. Its attributes are
        found by name among this operator's; ``"<param>_shape"`` stands for the shape of a param that is not saved.
    needs : tuple of str
        Fast backends that owe a kernel; a missing one fails the tests.
    inplace : bool
        True where an output may be the very memory of an input of the same shape (elementwise kernels).
    variadic : bool
        True where ``params`` is one name that stands for any number of arrays.
    examples : tuple of mapping
        Cases for tests and benchmarks: each maps params to a shape, a Draw or None, and attributes to values. Backward
        operators have none of their own: theirs follow from the forward operator's.
    kinks : bool
        True where finite differences are not to be trusted even away from zero (a step, an argmax over near ties).
    """

    def __init__(
        self,
        name: str,
        package: str,
        params: tuple[str, ...],
        shape: Callable[..., tuple[Shape, ...]],
        cost: Callable[..., Cost],
        *,
        attributes: tuple[str, ...] = (),
        outputs: tuple[str, ...] = ("y",),
        optional: tuple[str, ...] = (),
        integers: tuple[str, ...] = (),
        index_dtype: Callable[..., np.dtype] = _int64,
        parts: Callable[..., tuple[int, ...]] | None = None,
        backward: Operator | None = None,
        needs: tuple[str, ...] = ("cython", "numba"),
        inplace: bool = False,
        variadic: bool = False,
        examples: tuple[Mapping[str, Any], ...] = (),
        kinks: bool = False,
    ) -> None:
        self.name = name
        self.package = package
        self.params = params
        self.shape = shape
        self.cost = cost
        self.attributes = attributes
        self.outputs = outputs
        self.optional = optional
        self.integers = integers
        self.index_dtype = index_dtype
        self.parts = parts
        self.backward = backward
        self.needs = needs
        self.inplace = inplace
        self.variadic = variadic
        self.examples = examples
        self.kinks = kinks
        self._kernels: dict[str, Callable[..., Any] | None] = {}

    @property
    def family(self) -> str:
        """Name of the folder that the operator lives in."""
        return self.package.rpartition(".")[2]

    @cached_property
    def differentiable(self) -> tuple[str, ...]:
        """Outputs that a gradient flows into, in order."""
        if self.backward is None:
            return ()
        return tuple(name for name in self.outputs if "d" + name in self.backward.params)

    @cached_property
    def saves(self) -> tuple[str, ...]:
        """Params and outputs that the backward operator wants, in its order."""
        if self.backward is None:
            return ()
        return self.backward.params[len(self.differentiable) :]

    def split(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Split the arguments of a call into arrays and attributes."""
        count = len(args) - len(self.attributes) if self.variadic else len(self.params)
        return args[:count], args[count:]

    def cost_of(self, itemsize: int, described: Sequence[Any], wanted: Sequence[bool]) -> Cost:
        """The work of a call that computes the wanted outputs alone; ``described`` are shapes and attributes."""
        flops, traffic, special = self.cost(itemsize, *described)
        shapes = self.shape(*described)
        parts = (0,) * len(shapes) if self.parts is None else self.parts(*described)
        for index, (shape, part, want) in enumerate(zip(shapes, parts, wanted, strict=True)):
            if shape is not None and not want:
                name = self.outputs[min(index, len(self.outputs) - 1)]
                size = self.index_dtype(*described).itemsize if name in self.integers else itemsize
                flops, traffic = flops - part, traffic - size * math.prod(shape)
        return Cost(flops, traffic, special)

    def module(self, backend: str) -> ModuleType | None:
        """The family's module for ``backend``, or None where there is none."""
        return _kernel_module(self.package, backend)

    def kernel(self, backend: str) -> Callable[..., Any] | None:
        """The function that computes this operator on ``backend``, or None where there is none."""
        if backend not in self._kernels:
            module = _kernel_module(self.package, backend)
            self._kernels[backend] = getattr(module, self.name, None)
        return self._kernels[backend]

    def __repr__(self) -> str:
        return f"<Operator {self.family}.{self.name}>"


def _kernel_module(package: str, backend: str) -> ModuleType | None:
    """The family's module for a backend; None where it is absent. One that is there but broken raises."""
    name = {
        "reference": "reference",
        "numba": "numba_kernels",
        "cython": f"cython_kernels_{isa.level()}",
    }[backend]
    full_name = f"{package}.{name}"
    try:
        return importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name == full_name or (backend == "numba" and error.name == "numba"):
            return None
        raise


def families() -> list[str]:
    """Names of the operator families, sorted."""
    root = importlib.import_module(__package__)
    return sorted(
        module.name
        for module in pkgutil.iter_modules(root.__path__)
        if module.ispkg and importlib.util.find_spec(f"{__package__}.{module.name}.operators")
    )


def operators() -> Iterator[Operator]:
    """Every declared operator, family by family, in the order of declaration."""
    for family in families():
        module = importlib.import_module(f"{__package__}.{family}.operators")
        for value in vars(module).values():
            if isinstance(value, Operator) and value.package == module.__package__:
                yield value


def find(name: str) -> Operator:
    """The operator called ``name``.

    Raises
    ------
    ValueError
        Where no operator has that name.
    """
    for operator in operators():
        if operator.name == name:
            return operator
    raise ValueError(f"no operator is called {name!r}")
