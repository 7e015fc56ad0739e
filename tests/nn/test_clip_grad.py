"""Limits on gradients."""

import numpy as np
import pytest

from fastnn import nn


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, np.inf])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clip_grad_norm_equals_torch(norm_type, max_norm, rng):
    torch = pytest.importorskip("torch")
    grads = [rng.standard_normal((3, 2)), rng.standard_normal(4)]
    ours = [nn.Parameter(np.zeros(g.shape)) for g in grads] + [nn.Parameter(np.zeros(2))]
    theirs = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads]
    for p, t, g in zip(ours, theirs, grads, strict=False):
        p.grad, t.grad = g.copy(), torch.tensor(g)
    total = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    np.testing.assert_allclose(total, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item())
    for p, t in zip(ours, theirs, strict=False):
        np.testing.assert_allclose(p.grad.numpy(), t.grad.numpy(), rtol=1e-6)


def test_clip_grad_value_and_nonfinite_norm():
    p = nn.Parameter(np.zeros(3))
    p.grad = np.array([-5.0, 0.1, 5.0])
    nn.utils.clip_grad_value_(p, 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), [-1, 0.1, 1])
    p.grad = np.array([np.nan, 1.0, 2.0])
    with pytest.raises(ValueError, match="norm"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p.grad.numpy()[2] == 2


def test_clipping_copies_what_is_read_only_and_scales_once():
    p = nn.Parameter(np.zeros(2))
    p.grad = np.broadcast_to(3.0, (2,))
    nn.utils.clip_grad_value_(p, 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), [1, 1])
    p.grad = np.array([3.0, 4.0])
    assert nn.utils.clip_grad_norm_([p, p], 1.0) == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)
    assert nn.utils.clip_grad_norm_([], 1.0) == nn.utils.clip_grad_norm_([], 1.0, np.inf) == 0
