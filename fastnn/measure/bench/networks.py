"""One network: every candidate's losses or predictions are checked against the reference's, then all are timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

import numpy as np

from fastnn import dispatch
from fastnn.autograd import Tensor, no_grad
from fastnn.training import train_step

from ..machine import Work
from ..problems.kernels import works_of
from ..problems.networks import Network, Problem
from .kernels import BACKENDS, OURS, Key, Result, Settings, first_line, measure_candidates

CONTESTS = ("step", "epoch", "predict", "predict batch")
CHECKED = 3  # steps in a row whose results must agree: losses tell then of gradients and updates, as an epoch's mean loss does
TOLERANCE = 1e-3  # of a loss or a prediction, after so many steps in float32


def compare_network(network: Network, settings: Settings) -> Iterator[Result]:
    """Measure a network in each contest. What fails is told in the result: a peer's failure costs the peer, ours the row."""
    problem = Problem(network, dtype=settings.dtype)
    for contest in settings.directions:
        if contest == "epoch" and network.batches < 2:
            continue
        name = contest if settings.threads == 1 else f"{contest} on {settings.threads} threads"
        result = Result(network.name, name, network.goals.get(name))
        try:
            _measure(problem, contest, settings, result)
        except Exception as error:  # a plan that is wrong or refuses is a result
            result.error = first_line(error)
        yield result


def plan_calls(problem: Problem) -> dict[str, Callable[[], Any]]:
    """Our calls, each on a plan of its own, from the common weights."""
    one, batch = problem.x[:1].copy(), problem.network.batch
    step, epoch, predict = problem.plan(), problem.plan(), problem.plan()
    return {
        "step": lambda: step.step(problem.x, problem.y),
        "epoch": lambda: epoch.epoch(problem.X, problem.Y, batch_size=batch, shuffle=False),
        "predict": lambda: predict.predict(one),
        "predict batch": lambda: predict.predict(problem.x),
    }


def _measure(problem: Problem, contest: str, settings: Settings, result: Result) -> None:
    reference = _on_reference(problem)[contest]
    expected = [reference() for _ in range(CHECKED if contest == "step" else 1)]
    ours = plan_calls(problem)[contest]
    _check(ours, expected)
    candidates: dict[Key, Callable[[], Any]] = {(OURS, ""): ours}
    for name, peer in settings.peers.items():
        if peer.networks is None:
            continue
        try:
            settings_of_peer = peer.networks.contestants(problem).get(contest, {})
        except Exception as error:  # the others are compared all the same
            result.notes.append(f"{name}: {first_line(error)}")
            continue
        for variant, call in settings_of_peer.items():
            if "compile" in variant and not settings.compilers:
                continue
            try:
                _check(call, expected)
            except Exception as error:  # a peer that is wrong or refuses does not compete
                result.notes.append(f"{name} {variant}: {first_line(error)}")
            else:
                candidates[name, variant] = call
    if settings.reference:
        candidates[BACKENDS["reference"], ""] = reference
    measure_candidates(candidates, settings, result, *_works(problem, contest))


def _check(call: Callable[[], Any], expected: list[Any]) -> None:
    """Raise AssertionError where the first results of a candidate are not the reference's."""
    for number, wanted in enumerate(expected):
        found = np.asarray(call())
        if found.shape != np.shape(wanted):
            raise AssertionError(f"call {number}: expected shape {np.shape(wanted)}, got {found.shape}")
        largest = float(np.abs(found - wanted).max())
        scale = max(float(np.abs(wanted).max()), 1e-2)
        if not largest <= TOLERANCE * scale:  # NaN is wrong too
            raise AssertionError(f"call {number}: off by {largest / scale:.2g} of the largest value")


def _on_reference(problem: Problem) -> dict[str, Callable[[], Any]]:
    with dispatch.use_backend("reference"):
        context = copy_context()
    return {contest: partial(context.run, call) for contest, call in plan_calls(problem).items()}


def _works(problem: Problem, contest: str) -> tuple[list[Work], int]:
    """What the operators of one call have to do, and how often."""
    model, loss, optimizer = problem.trainer()
    if contest in ("step", "epoch"):
        times = problem.network.batches if contest == "epoch" else 1
        return works_of(lambda: train_step(model, loss, optimizer, problem.x, problem.y)), times
    rows = problem.x[:1] if contest == "predict" else problem.x
    model.eval()
    with no_grad():
        return works_of(lambda: model(Tensor(rows))), 1
