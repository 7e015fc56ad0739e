"""Changes of a state: loaded from another (which keys fit, what is missing, unexpected or of another shape), and of another precision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastnn.autograd import Tensor, note_change
from fastnn.functional import checks
from fastnn.kernels.memory import aligned_copy


class LoadResult(NamedTuple):
    """What ``load_state_dict(strict=False)`` did not find a partner for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_state(own: Mapping[str, Tensor], given: Mapping[str, Any], strict: bool) -> LoadResult:
    """Copy ``given`` into the Tensors of the same keys; everything is checked before anything is written.

    Raises
    ------
    TypeError, ValueError
        With all keys that are missing, unexpected, or of a shape or dtype that does not fit.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"state_dict: expected a mapping, got {type(given).__name__}")
    found = {id(own[key]) for key in given if key in own}
    missing = [key for key in own if key not in given and id(own[key]) not in found]
    unexpected = [key for key in given if key not in own]
    values: dict[str, np.ndarray] = {}
    wrong: list[Exception] = []
    for key in [key for key in own if key in given]:
        try:
            values[key] = _fitting(key, given[key], own[key].numpy())
        except (TypeError, ValueError) as error:
            wrong.append(error)
    lists = [("missing", missing, own), ("unexpected", unexpected, given)] if strict else []
    report = [f"{what} {', '.join(_shaped(key, source[key]) for key in keys)}" for what, keys, source in lists if keys]
    if report or wrong:
        kind = TypeError if not report and all(isinstance(error, TypeError) for error in wrong) else ValueError
        raise kind(("state_dict: " if report else "") + "; ".join([*report, *map(str, wrong)]))
    for key, value in values.items():
        np.copyto(own[key].numpy(), value)
        own[key]._touch()
    return LoadResult(missing, unexpected)


def _fitting(key: str, value: Any, target: np.ndarray) -> np.ndarray:
    """A copy of ``value`` in the dtype of ``target``, which it is to be written to."""
    array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(key, value)
    checks.check_shape(key, array, target.shape)
    if array.dtype.kind not in ("biuf" if target.dtype.kind == "f" else "biu"):
        raise TypeError(f"{key}: expected {'numbers' if target.dtype.kind == 'f' else 'integers'}, got dtype {array.dtype}")
    if not target.flags.writeable:
        raise ValueError(f"{key}: the memory of this parameter or buffer is read-only")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, as everywhere
        return array.astype(target.dtype)


def _shaped(key: Any, value: Any) -> str:
    """A key with the shape that stands under it."""
    return f"{key!r} {tuple(value.shape)}" if hasattr(value, "shape") else repr(key)


def convert(tensors: Iterable[Tensor], dtype: Any) -> None:
    """Make floating Tensors, and their gradients, of ``dtype``, in place.

    Raises
    ------
    TypeError
        Where ``dtype`` is neither float32 nor float64; nothing is converted.
    """
    wanted = checks.float_dtype(dtype)
    for tensor in tensors:
        if tensor.dtype in checks.FLOATS and tensor.dtype != wanted:
            tensor._data = aligned_copy(tensor._data, wanted)
            note_change()
            tensor._touch()
            if tensor._grad is not None:
                tensor._grad = Tensor(tensor._grad.numpy().astype(wanted))
