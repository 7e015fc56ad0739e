"""``fastnn.compile``: a plan that can also be fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastnn import nn
from fastnn.plan import Plan

from .callbacks import Callback, History
from .loop import fit_plan


class TrainingPlan(Plan):
    """A :class:`fastnn.plan.Plan` with the training loop of :func:`fastnn.fit`."""

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        shuffle: bool = True,
        validation: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        rng: Any = None,
        comm: Any = None,
    ) -> History:
        """Train in mini-batches, as :func:`fastnn.fit` does; the arguments are the same."""
        self._need("fit", loss=self.loss, optimizer=self.optimizer)
        return fit_plan(
            self, (x, y), epochs=epochs, batch_size=batch_size, shuffle=shuffle, validation=validation, callbacks=callbacks,
            progress=progress, rng=rng, comm=comm,
        )  # fmt: skip


def compile(
    model: nn.Module,
    loss: Callable[..., Any] | None = None,
    optimizer: Any = None,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
) -> TrainingPlan:
    """Turn a model into a plan: a flat list of kernel calls over memory that was planned once.

    The model is traced at the first call for each shape and dtype of the arguments. No compiler runs, so that call comes at once.
    Weights, running statistics and the optimiser's state stay those of ``model`` and ``optimizer``, in both directions; options of
    the optimiser's ``param_groups`` are read at each step.

    Parameters
    ----------
    model : Module
    loss : callable, optional
        ``loss(prediction, target)`` -> scalar Tensor: a loss module or function. Needed to train.
    optimizer : Optimizer, optional
        Needed to train.
    clip_grad_norm, clip_grad_value : float, optional
        Limits of the gradient's norm and of its elements.

    Returns
    -------
    TrainingPlan

    Raises
    ------
    TypeError, ValueError
        Where an argument is wrong. A model whose Python depends on numbers (``if x.sum() > 0``) is refused at the first call, with
        the line that does it.

    Examples
    --------
    >>> import numpy as np, fastnn
    >>> from fastnn import nn, optim
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    >>> plan = fastnn.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    >>> x, y = np.eye(2, dtype=np.float32), np.ones((2, 1), np.float32)
    >>> losses = [plan.step(x, y) for _ in range(100)]
    >>> losses[-1] < losses[0]
    True
    >>> plan.predict(x).shape
    (2, 1)
    """
    return TrainingPlan(model, loss, optimizer, clip_grad_norm, clip_grad_value)
