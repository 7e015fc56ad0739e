"""Plan: a model, its loss and its optimiser, compiled for the shapes that it meets."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn import dispatch, nn, random
from fastnn.autograd import Tensor, generation
from fastnn.functional import checks
from fastnn.nn.utils import gradients_lent

from .checked import CHECKS, plain_array
from .compiled import Compiled, compile_call
from .epochs import Epochs
from .explain import explain, graphviz
from .locks import forget_after_fork, new_lock
from .pulling import vjp
from .shortcuts import Shortcuts, predicting, shortcut_of, stepping

MOST_PROGRAMS = 16  # of one plan; the one that was not used for longest goes


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
        self._dtype: tuple[int, np.dtype] | None = None  # the model's, at a generation
        self._lock: Any = new_lock()
        self._step_shortcut: Any = None
        self._step_prediction: Any = None
        self._predict_shortcut: Any = None
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.clip_grad_norm = clip_grad_norm
        self.clip_grad_value = clip_grad_value
        forget_after_fork(self)

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
            self._compiled, self._dtype = OrderedDict(), None
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
        epochs = Epochs(self, X, Y, batch_size)
        if order is not None:
            return epochs(order)
        return epochs.over(random.generator(seed).permutation(epochs.rows) if shuffle else np.arange(epochs.rows))

    def epochs(self, X: Any, Y: Any, *, batch_size: int = 32) -> Epochs:
        """Many epochs over the same rows: what :meth:`epoch` has to check and convert is so once.

        Parameters
        ----------
        X, Y : array
            As many rows each. Floats are not copied where they need not be converted.
        batch_size : int

        Returns
        -------
        Epochs
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
        return Epochs(self, X, Y, batch_size)

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
        return vjp(self, x)

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
        return plain_array(name, value, self._float_dtype)

    def _float_dtype(self) -> np.dtype:
        """The model's dtype, which is looked for once: what was compiled tells of every change."""
        number, known = generation["number"], self._dtype
        if known is None or known[0] != number or not self._compiled:
            dtype = next((parameter.dtype for parameter in self.model.parameters()), np.dtype(np.float32))
            self._dtype = known = number, dtype
        return known[1]

    def _find(self, kind: str, *inputs: np.ndarray | tuple[tuple[int, ...], np.dtype]) -> Compiled:
        """The program for arrays like these, or of these shapes and dtypes; made where there is none that is current."""
        described = [given if isinstance(given, tuple) else (given.shape, given.dtype) for given in inputs]
        key = (kind, *described, dispatch.current_backends.get())
        compiled = self._compiled.get(key)
        if compiled is None or not compiled.is_current():
            compiled = compile_call(self, kind, [(name, *given) for name, given in zip("xy", described, strict=False)])
            self._compiled[key] = compiled
            if len(self._compiled) > MOST_PROGRAMS:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return compiled

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
