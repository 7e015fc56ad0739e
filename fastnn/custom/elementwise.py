"""``fastnn.operator``: an elementwise operator from a scalar function."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import math
import numbers
import textwrap
from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from fastnn.dispatch import call, has_numba
from fastnn.functional import checks
from fastnn.kernels import Cost, Operator

from .derivative import definition, differentiate, refuse
from .entries import GeneratedOperator, entry_kernel
from .generated import generated_module

NUMPYS = {  # NumPy's names of math's functions
    **{name: name for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "fabs", "floor", "ceil", "trunc")},
    **{name: name for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "atan2": "arctan2", "pow": "power",
}  # fmt: skip
VECTORISED = ("exp", "expm1", "log", "log1p", "tanh", "erf")  # math's functions of which Numba's kernels have vector code


class UserOperator(GeneratedOperator):
    """An operator whose kernels come from a function instead of a family's files."""

    kernels: dict[str, Callable[[], Callable[..., Any] | None]]
    loops: Callable[[], ModuleType]
    raises: bool  # so that only Python can call it
    calls: tuple[tuple[str, tuple[int, ...]], ...]

    def kernel(self, backend: str) -> Callable[..., Any] | None:
        """The function that computes it on ``backend``; made at the first call."""
        if backend not in self._kernels:
            make = self.kernels.get(backend)
            self._kernels[backend] = None if make is None else make()
        return self._kernels[backend]

    def entry(self, inputs: Sequence[np.ndarray | None], attributes: Sequence[Any]) -> Callable[..., Any] | None:
        """A kernel for arrays of one shape, and numbers that are floats, of functions that never raise."""
        shapes = {array.shape for array in inputs if array is not None}
        if self.raises or len(shapes) > 1 or not all(type(number) is float for number in attributes):
            return None
        assert inputs[0] is not None
        kinds = ("array",) * len(inputs) + ("float",) * len(attributes) + ("array",) * len(self.outputs)
        return entry_kernel(self.loops(), self.name, kinds, self.calls, str(inputs[0].dtype))


class _Source:
    """What is known of a scalar function from its source."""

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, SyntaxError, TypeError):
            raise ValueError(f"function: the source of {function!r} cannot be read; define it with def in a file") from None
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function.__name__]
        if not found:
            raise ValueError(f"function: expected a function defined with def, got {function!r}")
        self.tree = found[0]
        if self.tree.args.vararg or self.tree.args.kwarg or not self.tree.args.args:
            raise ValueError("function: expected a def with named arguments, the arrays by position and numbers after a *")
        self.arrays = [argument.arg for argument in self.tree.args.args]
        self.numbers = [argument.arg for argument in self.tree.args.kwonlyargs]
        self.constants = self._constants(function)

    def _constants(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Numbers that the function takes from outside; whatever else it takes is refused."""
        outside = inspect.getclosurevars(function)
        found = {}
        for name, value in {**outside.globals, **outside.nonlocals}.items():
            if isinstance(value, numbers.Real) and not isinstance(value, type):
                found[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
            elif value is not math:
                raise refuse(self.tree, f"{name} comes from outside and is neither a number nor math")
        return found

    def text(self, node: ast.FunctionDef, name: str, imported: tuple[str, ...] = ()) -> str:
        """A definition under another name, without decorators, defaults and notes on types; all its arguments by position."""

        class Rename(ast.NodeTransformer):
            def visit_Attribute(self, attribute: ast.Attribute) -> ast.AST:
                if attribute.attr in imported and isinstance(attribute.value, ast.Name) and attribute.value.id == "math":
                    return ast.Name(f"{attribute.attr}__", ast.Load())
                return attribute

        arguments = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
        return ast.unparse(Rename().visit(copy.deepcopy(definition(name, arguments, node.body))))


def operator(function: Callable[..., Any] | None = None, *, derivative: Callable[..., Any] | None = None) -> Any:
    """Make an elementwise operator of a scalar function: it takes arrays and Tensors, broadcasts, and has a gradient.

    Numba compiles it where it is installed; else it is computed element by element in Python. Numbers that it takes from outside are
    those of the moment when the operator is made.

    Parameters
    ----------
    function : callable
        ``function(x, ..., *, number=...)`` -> float, of arithmetic, conditions and loops, and the module ``math``. Arguments by
        position become arrays, those after a ``*`` are numbers and have no gradient.
    derivative : callable, optional
        ``derivative(x, ..., *, number)`` -> the derivative by ``x``, or a tuple with one for each array. Without it the source of
        ``function`` is differentiated with dual numbers.

    Returns
    -------
    callable
        ``f(x, ..., *, number=..., out=None)``.

    Raises
    ------
    ValueError
        Where the source cannot be read, or uses what has no derivative.

    Examples
    --------
    In a file, since the source is read::

        @fastnn.operator
        def swish(x, *, beta=1.0):
            return x / (1 + math.exp(-beta * x))

        y = swish(np.linspace(-2, 2, 5), beta=1.5)
    """
    if function is None:
        return functools.partial(operator, derivative=derivative)
    source = _Source(function)
    forward = _operator(function, derivative, source)
    defaults = {k: p.default for k, p in inspect.signature(function).parameters.items() if p.kind is p.KEYWORD_ONLY}

    @functools.wraps(function)
    def apply(*arrays: Any, out: Any = None, **numbers: Any) -> Any:
        if len(arrays) != len(source.arrays):
            raise TypeError(f"{function.__name__}: expected {len(source.arrays)} arrays, got {len(arrays)}")
        if unknown := numbers.keys() - set(source.numbers):
            raise TypeError(f"{function.__name__}: no number is called {', '.join(sorted(unknown))}")
        given = {**defaults, **numbers}
        attributes = [
            given[name] if type(given.get(name)) is int else checks.number(name, given.get(name)) for name in source.numbers
        ]
        dtype = next((a.dtype for a in arrays if hasattr(a, "dtype")), np.dtype(np.float32))
        inputs = [
            np.asarray(value, dtype) if isinstance(value, (int, float)) else checks.array(name, value, dtype=dtype)
            for name, value in zip(source.arrays, arrays, strict=True)
        ]
        shape = checks.broadcast_shapes(source.arrays[-1], *[tuple(value.shape) for value in inputs])
        out = checks.out(out, shape, dtype)
        return call(forward, *inputs, *attributes, out=None if out is None else (out,))

    return apply


def _operator(function: Callable[..., Any], derivative: Callable[..., Any] | None, source: _Source) -> Operator:
    """The operator and its backward operator, with their kernels still to be made."""
    name, count, attributes = function.__name__, len(source.arrays), tuple(source.numbers)
    params = tuple([f"{a}__in" for a in source.arrays])  # whatever they are called, not as the output is
    slope = None if derivative is None else _Source(derivative)
    texts = _texts(source, slope)

    def shape(*described: Any) -> tuple[tuple[int, ...], ...]:
        return (np.broadcast_shapes(*described[:count]),)

    def cost(itemsize: int, *described: Any) -> Cost:
        shapes = [d for d in described if isinstance(d, tuple)]
        size = math.prod(np.broadcast_shapes(*shapes))
        return Cost(flops=0, bytes=itemsize * (len(shapes) + 1) * size, special=size)

    parts = {
        "backward": UserOperator(
            f"{name}_backward", __name__, ("dy", *params), lambda dy, *_: (dy,) * count, cost,
            attributes=attributes, outputs=tuple(f"d{name}" for name in params), needs=(),
        ),
    }  # fmt: skip
    forward = UserOperator(name, __name__, params, shape, cost, attributes=attributes, backward=parts["backward"], needs=())
    module = functools.cache(functools.partial(_numba_module, name, texts, source))
    given = tuple(range(count + len(attributes)))  # after these come the outputs
    forward.loops = parts["backward"].loops = module
    forward.raises = parts["backward"].raises = any(_may_raise(s.tree) for s in (source, slope) if s is not None)
    forward.calls = (("run__", (*given, len(given))),)
    parts["backward"].calls = tuple(
        [(f"run__{number}", (0, *[i + 1 for i in given], len(given) + 1 + number)) for number in range(count)]
    )
    plain = functools.cache(functools.partial(_python_functions, texts))
    forward.kernels = {
        "reference": lambda: functools.partial(_reference, plain, count),
        "numba": lambda: functools.partial(_numba_forward, module, count) if has_numba() else None,
    }
    parts["backward"].kernels = {
        "reference": lambda: functools.partial(_reference_backward, plain, count),
        "numba": lambda: functools.partial(_numba_backward, module, count) if has_numba() else None,
    }
    return forward


def _may_raise(tree: ast.AST) -> bool:
    """Whether a function has exceptions; arithmetic and math give infinity or NaN instead."""
    return any(isinstance(node, (ast.Raise, ast.Assert, ast.Subscript)) for node in ast.walk(tree))


def _texts(source: _Source, derivative: _Source | None) -> Callable[..., str]:
    """Writes the source of ``value`` and of ``partial_0``, ``partial_1``, ...; some of math's functions may be imported by name."""
    arguments = ", ".join((*source.arrays, *source.numbers))
    slope = differentiate(source.tree, source.arrays, "slope") if derivative is None else derivative.tree
    constants = dict(source.constants)
    if derivative is not None:
        if len(derivative.arrays) != len(source.arrays) or derivative.numbers != source.numbers:
            raise ValueError(f"derivative: expected the arguments of {source.tree.name}, in the same order")
        constants |= derivative.constants
        if changed := [name for name, value in source.constants.items() if constants[name] != value]:
            raise ValueError(f"derivative: {', '.join(changed)} comes from outside with another value than in the function")

    def partial(number: int) -> str:
        if derivative is None:
            seeds = ", ".join("1.0" if i == number else "0.0" for i in range(len(source.arrays)))
            return f"function__slope({arguments}, {seeds})"
        return f"function__slope({arguments})" + (f"[{number}]" if len(source.arrays) > 1 else "")

    def write(imported: tuple[str, ...] = (), decorator: str = "") -> str:
        lines = [
            f"{name} = float('{value}')" if isinstance(value, float) else f"{name} = {value}" for name, value in constants.items()
        ]
        lines += [decorator, source.text(source.tree, "function__value", imported)]
        lines += [decorator, source.text(slope, "function__slope", imported)]
        for number in range(len(source.arrays)):
            lines += [decorator, f"def function__partial_{number}({arguments}):\n    return {partial(number)}"]
        return "\n".join(lines)

    return write


def _python_functions(write: Callable[..., str]) -> dict[str, Any]:
    """The scalar functions in Python, on NumPy's numbers, which give infinity or NaN where Python's raise."""
    names: dict[str, Any] = {
        "math": SimpleNamespace(**(vars(math) | {name: getattr(np, other) for name, other in NUMPYS.items()}))
    }
    exec(compile(write(), "<fastnn.operator>", "exec"), names)
    return names


def _numba_module(name: str, write: Callable[..., str], source: _Source) -> ModuleType:
    """The loops in Numba."""
    arguments, items = (
        ", ".join((*source.arrays, *source.numbers)),
        ", ".join((*[f"{a}[i__]" for a in source.arrays], *source.numbers)),
    )
    lines = [
        "import math", f"from fastnn.kernels.elementary_numba import {', '.join(f'{name} as {name}__' for name in VECTORISED)}",
        "from fastnn.kernels.numba_support import helper as helper__, kernel as kernel__", write(VECTORISED, "@helper__"),
        f"@kernel__\ndef run__({arguments}, y__):\n    for i__ in range(y__.size):\n        y__[i__] = function__value({items})",
    ]  # fmt: skip
    for number in range(len(source.arrays)):
        loop = f"    for i__ in range(dx__.size):\n        dx__[i__] = dy__[i__] * function__partial_{number}({items})"
        lines.append(f"@kernel__\ndef run__{number}(dy__, {arguments}, dx__):\n{loop}")
    return generated_module(name, "\n".join(lines) + "\n")


def _flat(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray]:
    """The arrays, spread to one shape, as one line of elements each."""
    return [np.broadcast_to(array, shape).reshape(-1) for array in arrays]


def _elementwise(function: Callable[..., float], arrays: Sequence[np.ndarray], numbers: Sequence[float]) -> np.ndarray:
    shape = np.broadcast_shapes(*[array.shape for array in arrays])
    columns = [array.astype(np.float64) for array in _flat(arrays, shape)]
    constants = [np.float64(number) if isinstance(number, float) else number for number in numbers]
    values = [function(*row, *constants) for row in zip(*columns, strict=True)]
    return np.array(values, np.float64).astype(arrays[0].dtype).reshape(shape)


def _reference(plain: Callable[[], dict[str, Any]], count: int, *args: Any) -> tuple[np.ndarray, ...]:
    return (_elementwise(plain()["function__value"], args[:count], args[count:]),)


def _reference_backward(plain: Callable[[], dict[str, Any]], count: int, dy: np.ndarray, *args: Any) -> tuple[np.ndarray, ...]:
    functions = plain()
    return tuple(
        [dy * _elementwise(functions[f"function__partial_{number}"], args[:count], args[count:]) for number in range(count)]
    )


def _numba_forward(module: Callable[[], ModuleType], count: int, *args: Any) -> None:
    *inputs, y = args
    module().run__(*_flat(inputs[:count], y.shape), *inputs[count:], y.reshape(-1))


def _numba_backward(module: Callable[[], ModuleType], count: int, dy: np.ndarray, *args: Any) -> None:
    inputs, outputs = args[:-count], args[-count:]
    arrays = _flat(inputs[:count], dy.shape)
    for number, dx in enumerate(outputs):
        if dx is not None:
            getattr(module(), f"run__{number}")(dy.reshape(-1), *arrays, *inputs[count:], dx.reshape(-1))
