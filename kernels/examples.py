"""The operators' examples as arrays: one list of cases for tests, gradient checks and benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .operator import Draw, Operator, operators


class Case(NamedTuple):
    """One operator on one example. A backward operator's arguments follow from its forward operator and the reference."""

    operator: Operator
    forward: Operator
    example: Mapping[str, Any]
    number: int

    def __str__(self) -> str:
        return f"{self.operator.name}-{self.number}"


def cases() -> list[Case]:
    """Every operator on every example, forward and backward."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for operator in operators():
        for number, example in enumerate(operator.examples):
            yield Case(operator, operator, example, number)
            if operator.backward is not None:
                yield Case(operator.backward, operator, example, number)


def draw(case: Case, dtype: Any, seed: int = 0) -> tuple[Any, ...]:
    """Arguments of the case's operator: random arrays of ``dtype``, then attributes."""
    rng = np.random.default_rng(seed)
    args = _draw_forward(case.forward, case.example, dtype, rng)
    if case.operator is case.forward:
        return args
    return backward_args(case.forward, args, rng)


def backward_args(forward: Operator, args: tuple[Any, ...], rng: np.random.Generator) -> tuple[Any, ...]:
    """Arguments of the backward operator for a forward call, with random gradients of the outputs."""
    backward = forward.backward
    assert backward is not None
    with np.errstate(all="ignore"):
        results = forward.kernel("reference")(*args)  # type: ignore[misc]
    arrays, attributes = forward.split(args)
    named = dict(zip(forward.params, arrays, strict=not forward.variadic))
    named |= dict(zip(forward.outputs, map(np.asarray, results), strict=True))
    known = dict(zip(forward.attributes, attributes, strict=True))
    gradients = [rng.standard_normal(named[name].shape).astype(named[name].dtype) for name in forward.differentiable]
    rest = [known[name] if name in known else named[name.removesuffix("_shape")].shape for name in backward.attributes]
    return (*gradients, *[named[name] for name in forward.saves], *rest)


def _draw_forward(operator: Operator, example: Mapping[str, Any], dtype: Any, rng: np.random.Generator) -> tuple[Any, ...]:
    if operator.variadic:
        arrays = [_draw_array(item, dtype, rng) for item in example[operator.params[0]]]
    else:
        arrays = [_draw_array(example[name], dtype, rng) for name in operator.params]
    return (*arrays, *[example[name] for name in operator.attributes])


def _draw_array(item: Any, dtype: Any, rng: np.random.Generator) -> np.ndarray | None:
    if item is None:
        return None
    spec = item if isinstance(item, Draw) else Draw(item)
    if spec.kind == "normal":
        return np.asarray(rng.standard_normal(spec.shape)).astype(dtype)
    if spec.kind == "uniform":
        return np.asarray(rng.uniform(spec.low, spec.high, spec.shape)).astype(dtype)
    if spec.kind == "integers":
        return np.asarray(rng.integers(int(spec.low), int(spec.high), spec.shape))
    if spec.kind == "signs":
        return np.asarray(rng.choice([-1.0, 1.0], spec.shape)).astype(dtype)
    if spec.kind == "booleans":
        return np.asarray(rng.random(spec.shape) < 0.5)
    raise ValueError(f"kind: no array is drawn by {spec.kind!r}")
