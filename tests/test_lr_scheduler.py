"""Learning-rate schedules: trajectories, chains, groups, state and errors."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import optim
from fastnn.optim import lr_scheduler

torch_warns = pytest.mark.filterwarnings("ignore::UserWarning")  # that step() came before the optimiser's
NAMES = ["LambdaLR", "StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau"]
METRICS = [5.0, 4.0, 4.0, 3.9999, 4.5, 3.0, 3.1, 3.2, np.nan, 3.3, 2.9, 2.9, 2.9, 2.9, 2.8, 9.0, 9.0, 9.0, np.inf, 1.0, 1.0]
GOLDEN = Path(__file__).parent / "golden" / "lr_scheduler.npz"


class Halving:
    """A function of the epoch with a state."""

    def __init__(self, rate=0.5):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate**epoch


def slow(epoch):
    return 0.95**epoch


SETTINGS = [
    ("LambdaLR", {"lr_lambda": slow}),
    ("LambdaLR", {"lr_lambda": [slow, Halving()]}),
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 1, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 11], "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [0, 4]}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 7}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.01}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 22}),
    ("OneCycleLR", {"max_lr": [1.0, 2.0], "epochs": 5, "steps_per_epoch": 6, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25, "three_phase": True, "pct_start": 0.4}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25, "base_momentum": [0.5, 0.6], "max_momentum": [0.8, 0.9]}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 30, "pct_start": 0.0, "div_factor": 5.0, "final_div_factor": 10.0}),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 23, "cycle_momentum": False, "pct_start": 1.0}),
    ("ReduceLROnPlateau", {"patience": 0}),
    ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5, "cooldown": 2}),
    ("ReduceLROnPlateau", {"patience": 1, "mode": "max", "threshold": 0.1}),
    ("ReduceLROnPlateau", {"patience": 0, "threshold_mode": "abs", "threshold": 0.5, "min_lr": [0.01, 0.001]}),
    ("ReduceLROnPlateau", {"patience": 0, "threshold_mode": "abs", "mode": "max", "min_lr": 0.02, "eps": 0.005}),
    ("ReduceLROnPlateau", {"patience": 2, "threshold": 0.0, "factor": 0.9}),
]

IDS = [f"{name}-{number}" for number, (name, _) in enumerate(SETTINGS)]  # with no address of a function in it
each_setting = pytest.mark.parametrize("name, options", SETTINGS, ids=IDS)


def ours(kind="SGD"):
    groups = [{"params": [fastnn.tensor([1.0])]}, {"params": [fastnn.tensor([1.0])], "lr": 0.3}]
    return getattr(optim, kind)(groups, lr=0.1)


def torchs(torch, kind="SGD"):
    groups = [{"params": [torch.ones(1)]}, {"params": [torch.ones(1)], "lr": 0.3}]
    return getattr(torch.optim, kind)(groups, lr=0.1)


def walk(optimizer, *schedulers):
    """Rates and momentum of every group at the start and after each step."""
    rows = [row(optimizer)]
    for metric in METRICS:
        for scheduler in schedulers:
            scheduler.step(*([metric] if type(scheduler).__name__ == "ReduceLROnPlateau" else []))
        np.testing.assert_array_equal(schedulers[-1].get_last_lr(), [group["lr"] for group in optimizer.param_groups])
        rows.append(row(optimizer))
    return np.array(rows)


def row(optimizer):
    return [[group["lr"], group.get("momentum", 0), group.get("betas", (0,))[0]] for group in optimizer.param_groups]


def make(module, name, optimizer, options):
    return getattr(module, name)(optimizer, **options)


@torch_warns
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@each_setting
def test_trajectory_is_torchs(name, options, kind):
    torch = pytest.importorskip("torch")
    mine, other = ours(kind), torchs(torch, kind)
    expected = walk(other, make(torch.optim.lr_scheduler, name, other, options))
    np.testing.assert_allclose(walk(mine, make(lr_scheduler, name, mine, options)), expected, rtol=1e-14)


def golden_walks(torch):
    """What the golden file holds: rates and momentum of every setting in torch."""
    walks = []
    for name, options in SETTINGS:
        optimizer = torchs(torch)
        walks.append(walk(optimizer, make(torch.optim.lr_scheduler, name, optimizer, options)))
    return {"walks": np.stack(walks)}


def test_trajectories_are_the_golden_ones():
    with np.load(GOLDEN) as golden:
        for (name, options), expected in zip(SETTINGS, golden["walks"], strict=True):
            optimizer = ours()
            np.testing.assert_allclose(walk(optimizer, make(lr_scheduler, name, optimizer, options)), expected, rtol=1e-14)


def test_known_values():
    optimizer = optim.SGD([fastnn.tensor([1.0])], lr=1.0)
    schedule = lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        schedule.step()
    assert rates == [1, 1, 0.5, 0.5, 0.25]


@torch_warns
@pytest.mark.parametrize("first", [0, 3, 4, 6, 8])
@pytest.mark.parametrize("second", [1, 2, 5, 7, 16])
def test_chain_is_torchs(first, second):
    torch = pytest.importorskip("torch")
    mine, other = ours(), torchs(torch)
    theirs = [make(torch.optim.lr_scheduler, *SETTINGS[i][:1], other, SETTINGS[i][1]) for i in (first, second)]
    own = [make(lr_scheduler, *SETTINGS[i][:1], mine, SETTINGS[i][1]) for i in (first, second)]
    np.testing.assert_allclose(walk(mine, *own), walk(other, *theirs), rtol=1e-13)


@torch_warns
@pytest.mark.parametrize("name, options", SETTINGS[:14], ids=IDS[:14])
def test_going_on_at_an_epoch_is_torchs(name, options):
    torch = pytest.importorskip("torch")
    walks = []
    for module, optimizer in ((lr_scheduler, ours()), (torch.optim.lr_scheduler, torchs(torch))):
        make(module, name, optimizer, options)
        scheduler = getattr(module, name)(optimizer, **options, last_epoch=3)
        rows = [row(optimizer)]
        for _ in range(15):
            scheduler.step()
            rows.append(row(optimizer))
        walks.append(rows)
    np.testing.assert_allclose(*walks, rtol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_torchs(name):
    torch = pytest.importorskip("torch")
    mine, theirs = (inspect.signature(getattr(m, name).__init__).parameters for m in (lr_scheduler, torch.optim.lr_scheduler))
    assert [(p.name, p.default) for p in mine.values()] == [(p.name, p.default) for p in theirs.values()]


@each_setting
def test_state_dict_goes_on_where_it_stopped(name, options):
    straight, first, second = ours(), ours(), ours()
    expected = walk(straight, make(lr_scheduler, name, straight, options))
    old = make(lr_scheduler, name, first, options)

    def step(scheduler, number):
        scheduler.step(*([METRICS[number]] if name == "ReduceLROnPlateau" else []))

    for number in range(8):
        step(old, number)
    new = make(lr_scheduler, name, second, options)
    new.load_state_dict(old.state_dict())
    second.load_state_dict(first.state_dict())
    assert new.last_epoch == 8
    assert new.get_last_lr() == old.get_last_lr()
    for number in range(8, 21):
        step(new, number)
        np.testing.assert_allclose(row(second), expected[number + 1], rtol=1e-15)


@torch_warns
@each_setting
def test_state_dict_comes_from_torch_and_goes_there(name, options):
    torch = pytest.importorskip("torch")
    mine, other = ours(), torchs(torch)
    own, theirs = make(lr_scheduler, name, mine, options), make(torch.optim.lr_scheduler, name, other, options)
    argument = [1.0] if name == "ReduceLROnPlateau" else []
    for _ in range(4):
        theirs.step(*argument)
    own.load_state_dict(theirs.state_dict())
    mine.load_state_dict(other.state_dict())
    for _ in range(4):
        own.step(*argument)
        theirs.step(*argument)
        np.testing.assert_allclose(row(mine), row(other), rtol=1e-14)
    theirs.load_state_dict(own.state_dict())
    for _ in range(4):
        own.step(*argument)
        theirs.step(*argument)
        np.testing.assert_allclose(row(mine), row(other), rtol=1e-14)


def test_callable_objects_keep_their_state():
    first, second = Halving(0.25), Halving()
    old, new = (lr_scheduler.LambdaLR(ours(), [slow, function]) for function in (first, second))
    assert old.state_dict()["lr_lambdas"] == [None, {"rate": 0.25}]
    new.load_state_dict(old.state_dict())
    assert second.rate == 0.25
    assert new.lr_lambdas == [slow, second]


def test_state_dict_is_a_copy():
    schedule = lr_scheduler.MultiStepLR(ours(), [1, 2])
    state = schedule.state_dict()
    state["base_lrs"][0] = 9.0
    state["milestones"].clear()
    assert schedule.base_lrs[0] == 0.1
    assert schedule.milestones[1] == 1


def test_rate_edited_between_steps_is_where_the_schedule_goes_on():
    optimizer = ours()
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.param_groups[0]["lr"] = 8.0
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 4.0


def test_plateau_takes_a_tensor_and_a_group_added_later():
    optimizer = ours()
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=0.2)
    optimizer.add_param_group({"params": [fastnn.tensor([1.0])], "lr": 0.6})
    for _ in range(2):
        schedule.step(fastnn.tensor(1.0))
    assert schedule.get_last_lr() == [0.1, 0.2, 0.3]
    listed = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0, 0, 0])
    optimizer.add_param_group({"params": [fastnn.tensor([1.0])]})
    listed.step(1.0)
    with pytest.raises(ValueError, match="min_lrs"):
        listed.step(1.0)


def test_one_cycle_ends():
    schedule = lr_scheduler.OneCycleLR(ours(), 1.0, 5)
    for _ in range(5):
        schedule.step()
    with pytest.raises(ValueError, match="5 steps"):
        schedule.step()


BAD = [
    ("LambdaLR", {"lr_lambda": 0.5}, TypeError),
    ("LambdaLR", {"lr_lambda": [slow]}, ValueError),
    ("StepLR", {"step_size": 0}, ValueError),
    ("StepLR", {"step_size": 1.5}, TypeError),
    ("StepLR", {"gamma": "x", "step_size": 1}, TypeError),
    ("StepLR", {"last_epoch": 3, "step_size": 1}, ValueError),
    ("MultiStepLR", {"milestones": [1.5]}, TypeError),
    ("MultiStepLR", {"milestones": 5}, TypeError),
    ("ExponentialLR", {"gamma": None}, TypeError),
    ("CosineAnnealingLR", {"T_max": 0}, ValueError),
    ("CosineAnnealingLR", {"eta_min": np.nan, "T_max": 4}, ValueError),
    ("OneCycleLR", {"total_steps": 0, "max_lr": 1.0}, ValueError),
    ("OneCycleLR", {"total_steps": None, "max_lr": 1.0}, ValueError),
    ("OneCycleLR", {"max_lr": [1.0], "total_steps": 5}, ValueError),
    ("OneCycleLR", {"max_lr": "x", "total_steps": 5}, TypeError),
    ("OneCycleLR", {"base_momentum": [0.5], "max_lr": 1.0, "total_steps": 5}, ValueError),
    ("OneCycleLR", {"pct_start": 1.5, "max_lr": 1.0, "total_steps": 5}, ValueError),
    ("OneCycleLR", {"anneal_strategy": "cubic", "max_lr": 1.0, "total_steps": 5}, ValueError),
    ("OneCycleLR", {"div_factor": 0, "max_lr": 1.0, "total_steps": 5}, ValueError),
    ("OneCycleLR", {"epochs": 0, "steps_per_epoch": 3, "max_lr": 1.0}, ValueError),
    ("ReduceLROnPlateau", {"mode": "most"}, ValueError),
    ("ReduceLROnPlateau", {"factor": 1.0}, ValueError),
    ("ReduceLROnPlateau", {"threshold_mode": "x"}, ValueError),
    ("ReduceLROnPlateau", {"min_lr": [0.1]}, ValueError),
    ("ReduceLROnPlateau", {"patience": 0.5}, TypeError),
]


@pytest.mark.parametrize("name, options, error", BAD, ids=lambda value: value if isinstance(value, str) else "")
def test_wrong_argument_is_named(name, options, error):
    optimizer = ours()
    before = row(optimizer)
    with pytest.raises(error, match=next(iter(options))):
        make(lr_scheduler, name, optimizer, options)
    assert row(optimizer) == before


@each_setting
def test_wrong_optimizer(name, options):
    with pytest.raises(TypeError, match="optimizer"):
        make(lr_scheduler, name, fastnn.tensor([1.0]), options)


def test_cycling_needs_a_momentum():
    with pytest.raises(ValueError, match="cycle_momentum"):
        lr_scheduler.OneCycleLR(ours("Adagrad"), 1.0, 5)
    with pytest.raises(TypeError, match="metrics"):
        lr_scheduler.ReduceLROnPlateau(ours()).step("low")
    with pytest.raises(TypeError, match="state_dict"):
        lr_scheduler.StepLR(ours(), 1).load_state_dict(None)
