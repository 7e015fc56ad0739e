"""Learning-rate schedules: torch's trajectories, chaining, values for each group, errors."""

import numpy as np
import pytest

from fastnn import nn, optim
from fastnn.optim import lr_scheduler

SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (1 + epoch)}),
    ("LambdaLR", {"lr_lambda": [lambda epoch: 0.9**epoch, lambda epoch: 1 + epoch]}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25}),
    ("OneCycleLR", {"max_lr": [1.0, 2.0], "epochs": 5, "steps_per_epoch": 5, "anneal_strategy": "linear", "three_phase": True}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25, "cycle_momentum": False, "pct_start": 0.1, "div_factor": 10}),
]


def optimizers(library_optim, make_parameter, kind):
    groups = [{"params": [make_parameter()], "lr": 0.1}, {"params": [make_parameter()], "lr": 0.2}]
    return library_optim.Adam(groups) if kind == "Adam" else library_optim.SGD(groups, momentum=0.9)


def follow(optimizer, schedulers, metrics=None):
    seen = []
    for epoch in range(22):
        groups = optimizer.param_groups
        seen.append([float(v) for g in groups for v in (g["lr"], g.get("momentum", 0), g.get("betas", (0, 0))[0])])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step(*([metrics[epoch]] if metrics is not None else []))
    return seen


def both(torch, kind):
    ours = optimizers(optim, lambda: nn.Parameter(np.ones(1)), kind)
    theirs = optimizers(torch.optim, lambda: torch.nn.Parameter(torch.ones(1)), kind)
    return ours, theirs


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize(("name", "options"), SCHEDULES, ids=lambda v: v if isinstance(v, str) else "")
def test_trajectory_equals_torch(name, options, kind):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, kind)
    mine, other = getattr(lr_scheduler, name)(ours, **options), getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    np.testing.assert_allclose(follow(ours, [mine]), follow(theirs, [other]), rtol=1e-12)
    np.testing.assert_allclose(mine.get_last_lr(), [float(lr) for lr in other.get_last_lr()], rtol=1e-12)


def test_chained_schedules_equal_torch():
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, "SGD")
    chain = [("ExponentialLR", {"gamma": 0.9}), ("StepLR", {"step_size": 4}), ("CosineAnnealingLR", {"T_max": 5})]
    mine = [getattr(lr_scheduler, name)(ours, **options) for name, options in chain]
    other = [getattr(torch.optim.lr_scheduler, name)(theirs, **options) for name, options in chain]
    np.testing.assert_allclose(follow(ours, mine), follow(theirs, other), rtol=1e-12)


@pytest.mark.parametrize(
    "options",
    [{"patience": 2}, {"patience": 0, "cooldown": 3, "factor": 0.5}, {"mode": "max", "threshold_mode": "abs", "threshold": 0.3, "patience": 1},
     {"patience": 1, "min_lr": [0.05, 0.001]}],
)  # fmt: skip
def test_plateau_equals_torch(options):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, "SGD")
    metrics = np.round(np.random.default_rng(0).uniform(0.5, 1.5, 22), 1)
    mine = lr_scheduler.ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    np.testing.assert_allclose(follow(ours, [mine], metrics), follow(theirs, [other], metrics), rtol=1e-12)


def test_known_values_without_torch():
    optimizer = optim.SGD([nn.Parameter(np.ones(1))], lr=1.0)
    scheduler = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    assert rates == [1, 1, 0.5, 0.5, 0.25]
    assert scheduler.get_last_lr() == [0.25]


def test_state_dict_continues():
    optimizer = optim.SGD([nn.Parameter(np.ones(1))], lr=1.0)
    first = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(4):
        first.step()
    again = optim.SGD([nn.Parameter(np.ones(1))], lr=1.0)
    second = lr_scheduler.CosineAnnealingLR(again, 10)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(optimizer.state_dict())
    first.step()
    second.step()
    assert optimizer.param_groups[0]["lr"] == again.param_groups[0]["lr"]


def one():
    return optim.SGD([nn.Parameter(np.ones(1))], lr=1.0)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: lr_scheduler.StepLR(3, 2), TypeError, "optimizer"),
        (lambda: lr_scheduler.StepLR(one(), 0), ValueError, "step_size"),
        (lambda: lr_scheduler.StepLR(one(), 2, gamma="a"), TypeError, "gamma"),
        (lambda: lr_scheduler.StepLR(one(), 2, last_epoch=3), ValueError, "initial_lr"),
        (lambda: lr_scheduler.CosineAnnealingLR(one(), 0), ValueError, "T_max"),
        (lambda: lr_scheduler.LambdaLR(one(), [len, len]), ValueError, "lr_lambda"),
        (lambda: lr_scheduler.LambdaLR(one(), 3), TypeError, "lr_lambda"),
        (lambda: lr_scheduler.OneCycleLR(one(), 1.0), ValueError, "total_steps"),
        (lambda: lr_scheduler.OneCycleLR(optim.Adagrad([nn.Parameter(np.ones(1))]), 1.0, 10), ValueError, "cycle_momentum"),
        (lambda: lr_scheduler.OneCycleLR(one(), 1.0, 10, anneal_strategy="up"), ValueError, "anneal_strategy"),
        (lambda: lr_scheduler.ReduceLROnPlateau(one(), factor=1.0), ValueError, "factor"),
        (lambda: lr_scheduler.ReduceLROnPlateau(one(), mode="best"), ValueError, "mode"),
        (lambda: lr_scheduler.ReduceLROnPlateau(one(), min_lr=[0, 0]), ValueError, "min_lr"),
    ],
)
def test_errors(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_the_cycle_has_an_end():
    scheduler = lr_scheduler.OneCycleLR(one(), 1.0, 3, cycle_momentum=False)
    for _ in range(3):
        scheduler.step()
    with pytest.raises(ValueError, match="3 steps"):
        scheduler.step()
