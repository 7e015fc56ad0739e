"""Training by several processes at once, each on its share of every batch."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from fastnn.nn.utils import clip_gradients_, gradients_lent
from fastnn.plan import Plan, weight_of


class Alone:
    """One process that has nothing to share: what :class:`DataParallel` is for several.

    Parameters
    ----------
    step : callable
        ``step(x, y)`` -> the loss before the update, and the prediction.
    """

    rank, size = 0, 1

    def __init__(self, step: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]) -> None:
        self.step = step

    def start(self) -> None:
        """All weights are here."""

    def same(self, array: np.ndarray) -> np.ndarray:
        """The array as it is."""
        return array

    def finish_epoch(self) -> None:
        """The running statistics are whole."""

    def share_logs(self, names: Sequence[str], logs: dict[str, float]) -> dict[str, float]:
        """The numbers as they are."""
        return logs

    def one_stops(self, stop: bool) -> bool:
        """Whether this process wants to stop."""
        return stop


class DataParallel:
    """One process of several that train the same model.

    Every process has all rows. Of each batch it takes its share, computes the gradients of that, and adds them to those of the others:
    one sum over all processes, of one flat buffer. Every process then makes the same update, so that the weights stay equal to the bit.

    Parameters
    ----------
    plan : Plan
        Model, loss, optimiser and limits of the gradient.
    comm : mpi4py.MPI.Comm
        Its processes call everything here together.

    Raises
    ------
    TypeError, ValueError
        Where ``comm`` is no communicator, or the trained parameters have several dtypes.

    Notes
    -----
    The loss has to be a mean or a sum over the rows: one that weighs rows differently (``ignore_index``, class weights) is averaged by
    rows all the same. Batch normalization sees a process's share in each step, as it does in torch; the running statistics are averaged
    after each epoch. Dropout draws for each share.
    """

    def __init__(self, plan: Plan, comm: Any) -> None:
        for method in ("Get_rank", "Get_size", "Allreduce", "Allgatherv", "Bcast", "Abort"):
            if not callable(getattr(comm, method, None)):
                raise TypeError(f"comm: expected a communicator of mpi4py, got {type(comm).__name__}")
        self._plan, self._comm = plan, comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        trained = plan.trained()
        self._names, self._parameters = list(trained), list(trained.values())
        dtypes = {p.dtype for p in self._parameters}
        if len(dtypes) != 1:
            raise ValueError(f"comm: expected trained parameters of one dtype, got {sorted(map(str, dtypes))}")
        count = len(self._parameters)
        own = np.zeros(1 + count + sum(p.numel() for p in self._parameters), dtypes.pop())
        self._own, self._sum = own, np.empty_like(own)  # the loss, for each parameter whether it has a gradient, the gradients
        ends = 1 + count + np.cumsum([0, *[p.numel() for p in self._parameters]])
        self._places = [slice(begin, end) for begin, end in pairwise(ends.tolist())]

    def start(self) -> None:
        """Give every process the weights and statistics of the first one."""
        for tensor in (*self._plan.model.parameters(), *self._plan.model.buffers()):
            self.same(tensor.numpy())

    def same(self, array: np.ndarray) -> np.ndarray:
        """Overwrite an array by what the first process has there."""
        self._comm.Bcast(array, root=0)
        return array

    def step(self, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """One step on a batch that every process gives whole; the loss before the update, and the prediction for all rows."""
        shares = np.array([len(x) // self.size + (rank < len(x) % self.size) for rank in range(self.size)])
        first = int(shares[: self.rank].sum())
        rows = slice(first, first + int(shares[self.rank]))
        prediction = self._fill(x[rows], y[rows], weight_of(self._plan.loss, len(x)))
        self._comm.Allreduce(self._own, self._sum)
        self._update()
        return float(self._sum[0]), self._gather(prediction, shares)

    def _fill(self, x: np.ndarray, y: np.ndarray, whole: int) -> np.ndarray | None:
        """Put the share's part of loss and gradients into the buffer; its prediction."""
        self._own.fill(0)
        if len(x) == 0:
            return None
        loss, prediction, gradients = self._plan.loss_and_gradients(x, y)
        weight = self._own.dtype.type(weight_of(self._plan.loss, len(x)) / whole)
        self._own[0] = loss * weight
        for index, (name, place) in enumerate(zip(self._names, self._places, strict=True)):
            if name in gradients:
                self._own[1 + index] = 1
                np.multiply(gradients[name].reshape(-1), weight, out=self._own[place])
        return prediction

    def _update(self) -> None:
        """Clip the summed gradients and make the optimiser's step."""
        gradients = [
            self._sum[place].reshape(parameter.shape) if self._sum[1 + index] else None
            for index, (parameter, place) in enumerate(zip(self._parameters, self._places, strict=True))
        ]
        with gradients_lent(self._parameters, gradients):
            clip_gradients_(self._parameters, self._plan.clip_grad_norm, self._plan.clip_grad_value)
            self._plan.optimizer.step()

    def _gather(self, prediction: np.ndarray | None, shares: np.ndarray) -> np.ndarray:
        """The predictions of all processes, in the order of the rows."""
        row = np.array(() if prediction is None else prediction.shape[1:], np.int64)
        if shares[-1] == 0:  # some have none, and learn its shape from the first one
            dimensions = self.same(np.array([row.size], np.int64))
            row = self.same(row if prediction is not None else np.empty(dimensions[0], np.int64))
        result = np.empty((int(shares.sum()), *row.tolist()), self._own.dtype)
        own = result[:0] if prediction is None else np.ascontiguousarray(prediction)
        self._comm.Allgatherv(own, (result, shares * int(row.prod())))
        return result

    def finish_epoch(self) -> None:
        """Average the running statistics."""
        for buffer in self._plan.model.buffers():
            own = buffer.numpy()
            if own.dtype.kind == "f":
                total = np.empty_like(own)
                self._comm.Allreduce(np.ascontiguousarray(own), total)
                own[...] = total / self.size

    def share_logs(self, names: Sequence[str], logs: dict[str, float]) -> dict[str, float]:
        """The first process's numbers of these names, for all."""
        return dict(zip(names, self.same(np.array([logs.get(name, 0.0) for name in names])).tolist(), strict=True))

    def one_stops(self, stop: bool) -> bool:
        """Whether any process wants to stop: all do then, since none can go on alone."""
        wishes = np.empty(1)
        self._comm.Allreduce(np.array([float(stop)]), wishes)
        return bool(wishes[0])

    def fail(self) -> NoReturn:
        """End all processes, since the others wait for this one: for where an exception is handled and there are others."""
        traceback.print_exc()
        print(f"fastnn: process {self.rank} of {self.size} failed, and with it the job", file=sys.stderr, flush=True)
        self._comm.Abort(1)
        raise SystemExit(1)
