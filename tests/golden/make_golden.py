"""Makes the golden files with torch, so that parity is tested where torch is not installed: ``python tests/golden/make_golden.py``."""

import importlib.util
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
    test_optim = load("test_optim")
    ends = {}
    for name, options in test_optim.SETTINGS:
        p = torch.tensor(test_optim.start((5, 3)), requires_grad=True)
        optimizer = getattr(torch.optim, name)([p], **options)
        for gradient in test_optim.gradients((5, 3)):
            p.grad = torch.tensor(gradient)
            optimizer.step()
        ends[f"{name} {options}"] = p.detach().numpy()
    np.savez_compressed(HERE / "optim.npz", **ends)


def network():
    """Loss and gradients of the network of tests/test_parity.py."""
    test_parity = load("test_parity")
    np.savez_compressed(HERE / "network.npz", **test_parity.torch_results(torch))


if __name__ == "__main__":
    optimisers()
    network()
