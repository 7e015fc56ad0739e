"""Makes the golden files with torch, so that parity is tested where torch is not installed: ``python tests/golden/make_golden.py``."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def load(name):
    """A test module by its file name."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def optimisers():
    """The parameters at the end of each trajectory of tests/test_optim.py."""
    np.savez_compressed(HERE / "optim.npz", **load("test_optim").golden_ends(torch))


def schedules():
    """The rates and momenta of each schedule of tests/test_lr_scheduler.py."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the schedule steps without the optimiser
        np.savez_compressed(HERE / "lr_scheduler.npz", **load("test_lr_scheduler").golden_walks(torch))


def network():
    """Loss and gradients of the network of tests/test_parity.py."""
    test_parity = load("test_parity")
    np.savez_compressed(HERE / "network.npz", **test_parity.torch_results(torch))


def plan():
    """Losses and last states of the networks of tests/plan/test_golden.py."""
    np.savez_compressed(HERE / "plan.npz", **load("plan/test_golden").torch_results(torch))


if __name__ == "__main__":
    optimisers()
    schedules()
    network()
    plan()
