"""Plan: a model, its loss and its optimiser, compiled for the shapes that it meets."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import dispatch, nn, random
from fastnn.autograd import Tensor
from fastnn.functional import checks
from fastnn.nn.utils import gradients_lent

from .checked import CHECKS, rows_in
from .compiled import Compiled, compile_prediction, compile_pullback, compile_training, weight_of
from .explain import explain, graphviz
from .program import PythonGuard, shortcut
from .shortcuts import Shortcuts, predicting, shortcut_of, stepping

MOST_PROGRAMS = 16  # of one plan; the one that was not used for longest goes


_PLANS: weakref.WeakSet[Plan] = weakref.WeakSet()


def _after_fork() -> None:
    """A lock that another thread held when the child was born would never be released in it."""
    for plan in _PLANS:
        plan._lock, plan._step_shortcut, plan._predict_shortcut = _lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _lock() -> Any:
    return PythonGuard() if shortcut is None else shortcut.Guard()


class Plan(Shortcuts):
    """A network compiled: training steps and predictions as flat lists of kernel calls over memory that was planned once.

    What a model, loss and plan are made of may be changed at any time; the next call sees it. Random numbers that NumPy draws in
    ``forward`` are drawn once; :func:`fastnn.functional.dropout` draws a new mask at each step. ``step`` trains all modules, also
    those that were put into evaluation mode.

    Made by :func:`fastnn.compile`. The model is traced at the first call for each shape and dtype. That call comes at once, but where
    Numba is installed and compiles operators of users' own or long elementwise chains, which takes it a second. Weights, running
    statistics and the optimiser's state are the model's and the optimiser's own.

    Parameters
    ----------
    model : Module
    loss : callable, optional
    optimizer : Optimizer, optional
    clip_grad_norm, clip_grad_value : float, optional
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any] | None = None,
        optimizer: Any = None,
        clip_grad_norm: float | None = None,
        clip_grad_value: float | None = None,
    ) -> None:
        self._compiled: OrderedDict[Any, Compiled] = OrderedDict()
        self._lock: Any = _lock()
        self._step_shortcut: Any = None
        self._step_prediction: Any = None
        self._predict_shortcut: Any = None
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.clip_grad_norm = clip_grad_norm
        self.clip_grad_value = clip_grad_value
        _PLANS.add(self)

    def __reduce__(self) -> Any:  # copies and pickles are compiled anew
        return type(self), (self.model, self.loss, self.optimizer, self.clip_grad_norm, self.clip_grad_value)

    def __setattr__(self, name: str, value: Any) -> None:
        """What the plan is made of is checked, and the programs that were made of something else are dropped."""
        if name not in CHECKS:
            object.__setattr__(self, name, value)
            return
        value = CHECKS[name](value)
        with self._lock:
            object.__setattr__(self, name, value)
            self._compiled = OrderedDict()
            self._step_shortcut = self._predict_shortcut = None

    # what users call

    @stepping
    def step(self, x: Any, y: Any) -> float:
        """One step of training: forward, loss, backward, clipping, update.

        Parameters
        ----------
        x, y : array
            A batch of any size. Floats are converted to the dtype of the model, integers to int64.

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        TypeError, ValueError
            Where an argument does not fit the model or the loss, or the model cannot be traced. Nothing is changed then.
        """
        return self.train_batch(x, y)[0]

    def train_batch(self, x: Any, y: Any) -> tuple[float, np.ndarray]:
        """Like :meth:`step`, with the model's prediction before the update: memory of the plan, good until its next call."""
        shortcut, prediction = self._step_shortcut, self._step_prediction
        loss = None if shortcut is None else shortcut.step(x, y)
        if loss is not None:
            return loss, prediction
        self._need("step", loss=self.loss, optimizer=self.optimizer)
        x, y = self._array("x", x), self._array("y", y)
        with self._lock:
            compiled = self._find("step", x, y)
            compiled.take(x, y)
            likely = self._run(compiled)
            self._step_shortcut = shortcut_of(compiled, self._lock) if likely else None
            loss, self._step_prediction = compiled.program.outputs[:2]
            return loss.item(), self._step_prediction

    def epoch(self, X: Any, Y: Any, *, batch_size: int = 32, shuffle: bool = True, seed: Any = None, order: Any = None) -> float:
        """Train on every row once; the partial last batch takes part.

        Parameters
        ----------
        X, Y : array
            As many rows each.
        batch_size : int
        shuffle : bool
            Draw a new order.
        seed : int or numpy.random.Generator, optional
            Of the order; by default fastnn's own generator.
        order : int array, optional
            The rows to train on, in this order, instead of all of them.

        Returns
        -------
        float
            The mean loss over the rows: of the batches' losses, each weighted by its rows unless it is a sum (``reduction="sum"``).
        """
        run = self.epochs(X, Y, batch_size=batch_size)
        if order is None:
            order = random.generator(seed).permutation(len(X)) if shuffle else np.arange(len(X))
        return run(order)

    def epochs(self, X: Any, Y: Any, *, batch_size: int = 32) -> Callable[[Any], float]:
        """Many epochs over the same rows: what :meth:`epoch` has to check and convert is so once.

        Parameters
        ----------
        X, Y : array
            As many rows each. Floats are not copied where they need not be converted.
        batch_size : int

        Returns
        -------
        callable
            ``run(order)`` trains on the rows that an int array names, in its order, and returns their mean loss.

        Examples
        --------
        >>> import numpy as np, fastnn
        >>> from fastnn import nn, optim
        >>> model = nn.Linear(3, 1)
        >>> plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        >>> run = plan.epochs(np.eye(3, dtype=np.float32), np.ones((3, 1), np.float32), batch_size=2)
        >>> losses = [run(np.array([2, 0, 1])) for _ in range(20)]
        >>> losses[-1] < losses[0]
        True
        """
        self._need("epoch", loss=self.loss, optimizer=self.optimizer)
        X, Y = (np.ascontiguousarray(self._array(name, value)) for name, value in (("X", X), ("Y", Y)))
        X, Y = (array.copy() if array.dtype.kind == "i" else array for array in (X, Y))  # kernels trust classes that were checked
        batch_size = checks.integer("batch_size", batch_size, 1)
        if X.ndim == 0 or Y.ndim == 0 or len(X) != len(Y) or len(X) == 0:
            raise ValueError(f"X, Y: expected as many rows, and at least one, got shapes {X.shape} and {Y.shape}")
        programs: dict[Any, Compiled] = {}  # with which all rows were checked
        found_in = self._compiled

        def run(order: Any) -> float:
            nonlocal found_in
            order, total, first = rows_in(order, len(X)), 0.0, 0
            with self._lock:
                if found_in is not self._compiled:  # the plan has another model, loss, optimiser or limit
                    self._need("epoch", loss=self.loss, optimizer=self.optimizer)
                    programs.clear()
                    found_in = self._compiled
                while first < len(order):
                    size = min(batch_size, len(order) - first)
                    key = size, dispatch.current_backends.get()
                    compiled = programs.get(key)
                    if compiled is None or not compiled.is_current():
                        compiled = self._find("step", *[np.empty((size, *array.shape[1:]), array.dtype) for array in (X, Y)])
                        if compiled.checks_rows:  # before any row is used
                            compiled.check("X", 0, X)
                            compiled.check("Y", 1, Y)
                        programs[key] = compiled
                    loss, rows = self._run_rows(compiled, X, Y, order[first:], size)
                    total += weight_of(self.loss, size) * loss
                    first += rows
            return total / len(order)

        return run

    def _run_rows(self, compiled: Compiled, X: np.ndarray, Y: np.ndarray, order: np.ndarray, size: int) -> tuple[float, int]:
        """Run as many batches at once as can be; the sum of their losses, and the number of rows."""
        growing = None if compiled.update is None or dispatch.observed() else compiled.update.growing(compiled.program)
        if growing is None or not compiled.checks_rows:
            compiled.take(X[order[:size]], Y[order[:size]])
            self._run(compiled)
            return float(compiled.program.outputs[0].item()), size
        rows = order[: len(order) // size * size]
        return compiled.run_batches(X, Y, rows, growing), len(rows)

    @predicting
    def predict(self, x: Any, out: np.ndarray | None = None) -> np.ndarray:
        """The model's output in evaluation mode, as a fresh array or in ``out``."""
        x = self._array("x", x)
        with self._lock:
            compiled = self._find("predict", x)
            result = compiled.program.outputs[0]
            out = checks.out(out, result.shape, result.dtype)
            compiled.take(x)
            self._predict_shortcut = shortcut_of(compiled, self._lock) if compiled.run() else None
            if out is None:
                return result.copy()
            np.copyto(out, result)
            return out

    def vjp(self, x: Any) -> tuple[np.ndarray, Callable[[Any], tuple[np.ndarray | None, dict[str, np.ndarray]]]]:
        """The prediction, and the function that pulls gradients back through it: for a loss or an autograd of your own.

        Parameters
        ----------
        x : array
            Kept, not copied: change it only after the last call of the pullback.

        Returns
        -------
        y : array
            As :meth:`predict` gives it, in evaluation mode.
        pullback : callable
            ``pullback(dy)`` -> the gradients of ``<dy, y>`` with respect to ``x`` (None for integers) and, by name, to the parameters.
            It computes the forward pass again, with the weights as they are then, so that nothing has to be kept.

        Examples
        --------
        >>> import numpy as np, fastnn
        >>> from fastnn import nn
        >>> y, pullback = fastnn.compile(nn.Linear(3, 2)).vjp(np.ones((5, 3), np.float32))
        >>> dx, gradients = pullback(np.ones_like(y))
        >>> dx.shape, gradients["bias"].tolist()
        ((5, 3), [5.0, 5.0])
        """
        x = self._array("x", x)
        y = self.predict(x)

        def pullback(dy: Any) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
            dy = checks.array("dy", dy.numpy() if isinstance(dy, Tensor) else dy, dtype=y.dtype)
            checks.check_shape("dy", dy, y.shape)
            with self._lock:
                compiled = self._find("pullback", x)
                compiled.take(x, dy)
                compiled.run()
                gradients = {name: array.copy() for name, array in compiled.gradients.items()}
            dx = gradients.pop("x", None)
            return np.zeros_like(x) if dx is None and x.dtype.kind == "f" else dx, gradients

        return y, pullback

    def gradients(self, x: Any, y: Any) -> dict[str, np.ndarray]:
        """The gradient of the loss for each parameter, by name; nothing is updated but running statistics."""
        with self._lock:
            return {name: array.copy() for name, array in self._run_gradients(x, y).gradients.items()}

    def loss_and_gradients(self, x: Any, y: Any) -> tuple[float, np.ndarray, dict[str, np.ndarray]]:
        """Like :meth:`gradients`, with the loss and the model's prediction before: memory of the plan, good until its next call."""
        with self._lock:
            compiled = self._run_gradients(x, y)
            loss, prediction = compiled.program.outputs[:2]
            return loss.item(), prediction, compiled.gradients

    def explain(self) -> str:
        """What was compiled so far: the calls, the passes, cost and memory."""
        return "\n\n".join(explain(key, c.traced, c.notes, c.program.graph) for key, c in list(self._compiled.items()))

    def graph(self) -> str:
        """The latest compiled graph in Graphviz's language."""
        if not self._compiled:
            raise ValueError("graph: nothing is compiled before the first call of step, predict or gradients")
        return graphviz(next(reversed(self._compiled.values())).program.graph)

    # how it is done

    def _need(self, method: str, **given: Any) -> None:
        for name, value in given.items():
            if value is None:
                raise ValueError(f"{name}: {method} needs one, compile was given none")

    def _array(self, name: str, value: Any) -> np.ndarray:
        """A plain array in a dtype that programs are made for."""
        array = value.numpy() if isinstance(value, Tensor) else checks.to_numpy(name, value)
        if array.dtype.kind == "f":
            dtype = next((parameter.dtype for parameter in self.model.parameters()), np.dtype(np.float32))
            return array.astype(dtype, copy=False)
        if array.dtype.kind not in "iub":
            raise TypeError(f"{name}: expected numbers, got dtype {array.dtype}")
        return checks.index_array(name, array) if array.dtype.kind != "b" else array

    def _find(self, kind: str, *arrays: np.ndarray) -> Compiled:
        """The program for these shapes, made where there is none that is current."""
        key = (kind, *[(a.shape, a.dtype) for a in arrays], dispatch.current_backends.get())
        compiled = self._compiled.get(key)
        if compiled is None or not compiled.is_current():
            compiled = self._compile(kind, *arrays)
            self._compiled[key] = compiled
            if len(self._compiled) > MOST_PROGRAMS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return compiled

    def _compile(self, kind: str, *arrays: np.ndarray) -> Compiled:
        inputs = [(name, array.shape, array.dtype) for name, array in zip("xy", arrays, strict=False)]
        if kind == "predict":
            return compile_prediction(self.model, inputs)
        if kind == "pullback":
            return compile_pullback(self.model, inputs)
        assert self.loss is not None
        if kind == "gradients":
            named: dict[str, Tensor] = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
            return compile_training(self.model, self.loss, inputs, named)
        limits = self.clip_grad_norm, self.clip_grad_value
        return compile_training(self.model, self.loss, inputs, self.trained(), self.optimizer, *limits)

    def trained(self) -> dict[str, Tensor]:
        """The parameters that the optimiser trains, by their names in the model where they have one."""
        names = {id(p): name for name, p in self.model.named_parameters()}
        members = [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]
        return {names.get(id(p), f"parameter {index}"): p for index, p in enumerate(members)}

    def _run_gradients(self, x: Any, y: Any) -> Compiled:
        self._need("gradients", loss=self.loss)
        x, y = self._array("x", x), self._array("y", y)
        compiled = self._find("gradients", x, y)
        compiled.take(x, y)
        compiled.run()
        return compiled

    def _run(self, compiled: Compiled) -> bool:
        """Run a training program, whose update is inside or follows here; whether the next run is likely to be like this one."""
        likely = compiled.run()
        if compiled.update is not None:
            return likely
        tensors = self.trained()
        gradients = [compiled.gradients.get(name) for name in tensors]
        with gradients_lent([*tensors.values()], [None if g is None else g.copy() for g in gradients]):  # two may share memory
            self.optimizer.step()
        return False
