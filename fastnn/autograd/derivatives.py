"""Derivatives without ``.grad``: grad of recorded Tensors; vjp, jacobian and gradcheck of functions of plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastnn import dispatch, recall
from fastnn.functional import checks
from fastnn.kernels.shape.operators import reshape

from . import tape
from .tensor import Tensor


@recall.differentiating
def vjp(f: Callable[..., Any], *arrays: Any, **params: Any) -> tuple[np.ndarray, Callable[..., tuple[np.ndarray | None, ...]]]:
    """Value of ``f(*arrays, **params)``, and the function that pulls gradients back through it.

    Parameters
    ----------
    f : callable
        Any function made of fastnn calls that returns one Tensor.
    *arrays : array
        Kept, not copied: change them only after the last call of the pullback.
    **params
        Passed on to ``f``.

    Returns
    -------
    y : array
    pullback : callable
        ``pullback(dy, out=None)`` -> a tuple with the gradient of ``<dy, y>`` for each array (None for integer arrays). It may be called
        any number of times. ``out``, a tuple with an array (or None) for each argument, is written to without allocating.

    Raises
    ------
    TypeError, ValueError
        Where an argument of ``f``, ``dy`` or ``out`` does not fit; nothing is written then.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> import fastnn.functional as F
    >>> y, pullback = fastnn.vjp(F.relu, np.array([-1.0, 2.0]))
    >>> pullback(np.array([1.0, 1.0]))
    (array([0., 1.]),)
    """
    recorder = recall.Recorder() if recall.remembers(f) and not dispatch.observed() else None
    with nullcontext() if recorder is None else dispatch.observe(recorder):
        result, inputs, y, slow = _on_tape(f, arrays, params)
    direct = _direct(result, inputs)
    if direct is None:
        return y, slow
    raw = tuple([value.numpy() if isinstance(value, Tensor) else value for value in inputs])
    pullback, gradients = recall.compiled_pullback(direct, raw, slow, _python_pullback)
    if recorder is not None and gradients is not None:
        recall.remember_gradient(f, arrays, params, recorder, y, direct, gradients)
    return y, pullback


def grad(
    output: Tensor, inputs: Sequence[Tensor], grad_output: Any = None, retain_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """The gradients of ``<grad_output, output>`` with respect to leaves, which keep their ``.grad`` as it is.

    Parameters
    ----------
    output : Tensor
        What was computed from them.
    inputs : sequence of Tensor
        Leaves that require gradients.
    grad_output : array or Tensor, optional
        Of the shape and dtype of ``output``; needed unless that has one element.
    retain_graph : bool
        Keep the saved values, so that another backward pass is possible.

    Returns
    -------
    tuple of Tensor or None
        None where ``output`` does not depend on the input.

    Raises
    ------
    TypeError, ValueError
        Where an argument does not fit.

    Examples
    --------
    >>> import fastnn
    >>> x = fastnn.tensor([1.0, 2.0], requires_grad=True)
    >>> fastnn.autograd.grad((x * x).sum(), [x])
    (tensor([2., 4.]),)
    """
    if not isinstance(output, Tensor) or not output.requires_grad:
        raise ValueError("output: expected a Tensor computed from one that requires a gradient")
    for index, leaf in enumerate(inputs):
        if not isinstance(leaf, Tensor) or not leaf.is_leaf:
            raise TypeError(f"inputs[{index}]: expected a Tensor that is a leaf")
    found = tape.backpropagate(output, output.output_gradient(grad_output, "grad_output"), retain=retain_graph)
    return tuple([Tensor(found[id(leaf)][1]) if id(leaf) in found else None for leaf in inputs])


def _on_tape(f: Callable[..., Any], arrays: Sequence[Any], params: dict[str, Any]) -> tuple[Tensor, list[Any], np.ndarray, Any]:
    """The result of ``f`` with its graph, the leaves, the value, and the pullback in Python."""
    inputs = [_input(f"arrays[{index}]", value) for index, value in enumerate(arrays)]
    with tape.enable_grad():
        result = f(*inputs, **params)
    if not isinstance(result, Tensor):
        if type(result) is not np.ndarray:
            raise TypeError(f"f: expected a function that returns one Tensor, got {type(result).__name__}")
        result = Tensor(result)
    y = result.numpy()

    def pullback(dy: Any, out: Sequence[np.ndarray | None] | None = None) -> tuple[np.ndarray | None, ...]:
        if isinstance(dy, (int, float)) and not isinstance(dy, np.generic) and y.ndim == 0:
            dy = np.asarray(dy, y.dtype)
        gradient = checks.array("dy", dy.numpy() if isinstance(dy, Tensor) else dy, dtype=y.dtype)
        checks.check_shape("dy", gradient, y.shape)
        targets = _targets(inputs, out, gradient, y)
        found = tape.backpropagate(result, gradient, targets, retain=True) if result.requires_grad else {}
        gradients: list[np.ndarray | None] = []
        for value in inputs:
            if not isinstance(value, Tensor):
                gradients.append(None)
                continue
            target = targets.get(id(value))
            computed = found[id(value)][1] if id(value) in found else np.zeros(value.shape, value.dtype)
            if target is not None and computed is not target:
                np.copyto(target, computed)
            gradients.append(computed if target is None else target)
        return tuple(gradients)

    return result, inputs, y, pullback


def _python_pullback(f: Callable[..., Any], arrays: tuple[Any, ...], params: dict[str, Any]) -> Callable[..., Any]:
    """The pullback of a call whose value was computed without a tape."""
    return _on_tape(f, arrays, params)[-1]


def _direct(result: Tensor, inputs: Sequence[Any]) -> recall.Direct | None:
    """What a compiled pullback needs, where the function is one operator with nothing but reshapes around it."""
    y = _without_reshapes(result)
    node = y._node
    if not isinstance(node, tape.OperatorNode) or node.operator.variadic or len(node.outputs) != 1 or node.saved is None:
        return None
    leaves = [None if parent is None else _without_reshapes(parent) for parent in node.parents]
    numbers = [None if leaf is None else next((i for i, value in enumerate(inputs) if value is leaf), None) for leaf in leaves]
    found = [number for number in numbers if number is not None]
    if len(found) < sum(leaf is not None for leaf in leaves) or len(set(found)) < len(found):
        return None  # another operator before it, or an argument that gets two gradients
    backward = node.operator.backward
    assert backward is not None
    by_name = {
        "d" + name: (number, leaf.shape, parent.shape)
        for name, number, leaf, parent in zip(node.operator.params, numbers, leaves, node.parents, strict=True)
        if number is not None and leaf is not None and parent is not None
    }
    gradients = tuple([by_name.get(name) for name in backward.outputs])
    if any(known is not None and known[2] != shape for known, shape in zip(gradients, node.gradient_shapes(), strict=True)):
        return None  # a gradient that has yet to be added up over dimensions that were broadcast
    return recall.Direct(backward, (result.numpy(), y.shape), (*node.saved, *node.attributes), gradients)


def _without_reshapes(tensor: Tensor) -> Tensor:
    """The Tensor that this one is the same elements of, in another shape."""
    while isinstance(tensor._node, tape.OperatorNode) and tensor._node.operator is reshape:
        (parent,) = tensor._node.parents
        assert parent is not None
        tensor = parent
    return tensor


def _input(name: str, value: Any) -> Any:
    """A leaf for a floating array; what has no gradient (integers, booleans) as it is."""
    array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
    return array if array.dtype.kind in "biu" else Tensor(checks.array(name, array), requires_grad=True)


def _targets(inputs: Sequence[Any], out: Any, gradient: np.ndarray, y: np.ndarray) -> dict[int, np.ndarray]:
    """The arrays to write to, by the id of their leaf, all checked before anything is written."""
    if out is None:
        return {}
    if not isinstance(out, Sequence) or len(out) != len(inputs):
        raise ValueError(
            f"out: expected a tuple of {len(inputs)} arrays, got {type(out).__name__} of {len(out) if hasattr(out, '__len__') else 1}"
        )
    targets: dict[int, np.ndarray] = {}
    for index, (value, array) in enumerate(zip(inputs, out, strict=True)):
        if array is None:
            continue
        if not isinstance(value, Tensor):
            raise ValueError(f"out[{index}]: expected None, because argument {index} has no gradient")
        checks.out(array, value.shape, value.dtype, f"out[{index}]")
        others = [*targets.values(), *(v.numpy() if isinstance(v, Tensor) else v for v in inputs), gradient, y]
        if any(np.may_share_memory(array, other) for other in others):
            raise ValueError(f"out[{index}]: the array overlaps an input, y, dy or another output")
        targets[id(value)] = array
    return targets


def jacobian(f: Callable[..., Any], x: Any) -> np.ndarray:
    """The derivative of ``f`` at ``x`` in numerator layout: ``J[i, j] = d y_i / d x_j``, shape ``y.shape + x.shape``.

    Costs one backward pass for each element of the result.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> fastnn.jacobian(lambda x: x * x, np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    y, pullback = vjp(f, x)
    leaf = x.numpy() if isinstance(x, Tensor) else checks.array("x", x)
    result = np.empty((y.size, *leaf.shape), y.dtype)
    for row in range(y.size):
        dy = np.zeros(y.shape, y.dtype)
        dy.flat[row] = 1
        result[row] = pullback(dy)[0]
    return result.reshape(*y.shape, *leaf.shape)


def gradcheck(
    f: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    directions: int = 3,
    rng: Any = 0,
) -> bool:
    """Compare the gradients of ``f`` with central differences along random directions, in float64.

    For each input and random u, v: ``<J^T u, v> = <u, (f(x + eps v) - f(x - eps v))> / (2 eps)``.

    Parameters
    ----------
    f : callable
        A function of Tensors that returns one Tensor.
    inputs : array, Tensor or sequence of them
        float64; integer arrays are passed on and not checked.
    eps, rtol, atol : float
        Step of the differences, and the tolerance of the comparison.
    directions : int
        Number of random directions for each input.
    rng : int or numpy.random.Generator

    Returns
    -------
    True

    Raises
    ------
    ValueError
        Where a gradient is wrong; the message tells of which input, with both values.
    TypeError
        Where an input is not float64.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> fastnn.gradcheck(lambda x: (x * x).sum(), np.array([1.0, 2.0]))
    True
    """
    items = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    arrays = [item.numpy() if isinstance(item, Tensor) else checks.to_numpy(f"inputs[{i}]", item) for i, item in enumerate(items)]
    generator = np.random.default_rng(rng)
    for index, array in enumerate(arrays):
        if array.dtype.kind == "f" and array.dtype != np.float64:
            raise TypeError(f"inputs[{index}]: expected float64, got {array.dtype}")
    y, pullback = vjp(f, *arrays)
    for index, array in enumerate(arrays):
        if array.dtype.kind != "f":
            continue
        for _ in range(directions):
            u, v = generator.standard_normal(y.shape), generator.standard_normal(array.shape)
            analytic = np.vdot(pullback(u)[index], v)  # type: ignore[arg-type]
            ahead, behind = ([*arrays[:index], array + sign * eps * v, *arrays[index + 1 :]] for sign in (1, -1))
            numeric = np.vdot(u, vjp(f, *ahead)[0] - vjp(f, *behind)[0]) / (2 * eps)
            if not abs(analytic - numeric) <= atol * max(y.size, 1) + rtol * abs(numeric):
                raise ValueError(
                    f"gradcheck: along a random direction of input {index} the gradient gives {analytic}, differences {numeric}"
                )
    return True
