"""Optimisers: their trajectories are torch's."""

import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim

NAMES = ["SGD", "Adagrad", "Adadelta", "RMSprop", "Adam", "AdamW", "NAdam"]
BACKENDS = [name for name in ("reference", "cython", "numba") if dispatch.is_available(name)]
SHAPES = [(3, 4), (5,), ()]
GOLDEN = Path(__file__).parent / "golden" / "optim.npz"


def grid(name, **options):
    """Every combination of the options' values."""
    return [(name, dict(zip(options, values, strict=True))) for values in itertools.product(*options.values())]


SETTINGS = [
    *grid("SGD", lr=[0.05], momentum=[0, 0.9], weight_decay=[0, 0.1], maximize=[False, True]),
    *grid("SGD", momentum=[0.8], dampening=[0.5], maximize=[False, True]),
    *grid("SGD", lr=[0.05], momentum=[0.9], nesterov=[True], weight_decay=[0, 0.1], maximize=[False, True]),
    *grid("Adagrad", lr_decay=[0, 0.1], weight_decay=[0, 0.1], initial_accumulator_value=[0, 0.5], maximize=[False, True]),
    *grid("Adadelta", rho=[0.9, 0.5], eps=[1e-6, 1e-2], weight_decay=[0, 0.1], maximize=[False, True]),
    *grid("RMSprop", alpha=[0.99, 0.7], momentum=[0, 0.9], centered=[False, True], weight_decay=[0, 0.1], maximize=[False, True]),
    *grid("Adam", amsgrad=[False, True], weight_decay=[0, 0.1], maximize=[False, True], decoupled_weight_decay=[False, True]),
    *grid("Adam", lr=[0.1], betas=[(0.5, 0.7), (0.0, 0.9)], eps=[1e-2]),
    *grid("AdamW", amsgrad=[False, True], weight_decay=[0, 1e-2, 0.3], maximize=[False, True]),
    *grid(
        "NAdam", weight_decay=[0, 0.1], decoupled_weight_decay=[False, True], momentum_decay=[4e-3, 0.1], maximize=[False, True]
    ),
]


def problem(dtype=np.float64, steps=50):
    """Starting points, and a gradient for each parameter and step; some elements have none, as behind a dead unit."""
    rng = np.random.default_rng(0)
    starts = [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]
    gradients = [[np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES] for _ in range(steps)]
    for gradient, *_ in gradients:
        gradient[0] = 0
    return starts, gradients


def run(name, options, dtype=np.float64, steps=50):
    """The parameters after each step."""
    starts, gradients = problem(dtype, steps)
    parameters = [nn.Parameter(start.copy()) for start in starts]
    optimizer = getattr(optim, name)(parameters, **options)
    trajectory = []
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = gradient
        optimizer.step()
        trajectory.append([parameter.numpy().copy() for parameter in parameters])
    return trajectory


def run_torch(torch, name, options, dtype=np.float64, steps=50):
    starts, gradients = problem(dtype, steps)
    parameters = [torch.nn.Parameter(torch.tensor(start)) for start in starts]
    optimizer = getattr(torch.optim, name)(parameters, **options)
    trajectory = []
    for step in gradients:
        for parameter, gradient in zip(parameters, step, strict=True):
            parameter.grad = torch.tensor(gradient)
        optimizer.step()
        trajectory.append([parameter.detach().numpy().copy() for parameter in parameters])
    return trajectory


def assert_same(ours, theirs, tolerance):
    for index in range(len(SHAPES)):
        mine, other = (np.stack([step[index] for step in trajectory]) for trajectory in (ours, theirs))
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name, options", SETTINGS, ids=str)
def test_trajectory_is_torchs(name, options):
    expected = run_torch(pytest.importorskip("torch"), name, options)
    for backend in BACKENDS:
        with fastnn.use_backend(backend):
            assert_same(run(name, options), expected, 1e-12)


def ends(trajectory):
    """The last point of a trajectory, all parameters in a row."""
    return np.concatenate([value.ravel() for value in trajectory[-1]])


def golden_ends(torch):
    """What the golden file holds: each setting, and where it leads in torch."""
    return {
        "settings": np.array([f"{name} {options}" for name, options in SETTINGS]),
        "ends": np.stack([ends(run_torch(torch, name, options)) for name, options in SETTINGS]),
    }


def test_trajectories_end_where_the_golden_ones_do():
    with np.load(GOLDEN) as golden:
        assert list(golden["settings"]) == [f"{name} {options}" for name, options in SETTINGS]
        expected = golden["ends"]
    actual = np.stack([ends(run(name, options)) for name, options in SETTINGS])
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_learns_a_minimum(name):
    w = fastnn.tensor([0.3, -0.2], requires_grad=True)
    optimizer = getattr(optim, name)([w], lr=5.0 if name == "Adadelta" else 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()
    assert np.abs(w.numpy()).max() < 0.06


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_float32_stays_close_to_torch(name, backend):
    expected = run_torch(pytest.importorskip("torch"), name, {}, np.float32)
    with fastnn.use_backend(backend):
        assert_same(run(name, {}, np.float32), expected, 3e-6)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_torchs(name):
    torch = pytest.importorskip("torch")
    ours, theirs = (inspect.signature(getattr(module, name).__init__).parameters for module in (optim, torch.optim))
    assert list(ours) == list(theirs)
    for ours_one, theirs_one in zip(ours.values(), theirs.values(), strict=True):
        assert (ours_one.kind, ours_one.default) == (theirs_one.kind, theirs_one.default), ours_one.name
