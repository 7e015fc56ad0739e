"""Layers that have no file of their family: linear, flatten, dropout; and what layers refuse."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, tensor


def test_linear_starts_like_torch():
    layer = nn.Linear(100, 400, rng=0)
    for value in (layer.weight.numpy(), layer.bias.numpy()):
        assert np.abs(value).max() <= 0.1
        np.testing.assert_allclose(value.std(), 0.1 / np.sqrt(3), rtol=0.1)
    np.testing.assert_array_equal(nn.Linear(3, 2, rng=7).weight.numpy(), nn.Linear(3, 2, rng=7).weight.numpy())


def test_flatten_and_dropout():
    assert nn.Flatten()(np.ones((2, 3, 4))).shape == (2, 12)
    fastnn.manual_seed(0)
    drop = nn.Dropout(0.25)
    y = drop(np.ones(100_000, np.float32))
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01
    x = np.ones(5)
    assert drop.eval()(x) is x
    fastnn.manual_seed(3)
    first = fastnn.functional.dropout(np.ones(50))
    fastnn.manual_seed(3)
    np.testing.assert_array_equal(fastnn.functional.dropout(np.ones(50)), first)
    t = tensor(np.ones(1000), requires_grad=True)
    out = fastnn.functional.dropout(t, 0.5, rng=1)
    out.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), out.numpy())


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.Linear(2, 2, dtype=np.int64), TypeError, "dtype"),
        (lambda: nn.Linear(2, 2, dtype="nonsense"), TypeError, "dtype"),
        (lambda: nn.Linear(2.0, 2), TypeError, "in_features"),
        (lambda: nn.Linear(2**40, 2**40), MemoryError, "room"),
        (lambda: nn.Linear(2, 2, rng="seed"), TypeError, "rng"),
        (lambda: nn.Linear(2, 2).to(None), TypeError, "dtype"),
        (lambda: nn.Linear(2, 2).to("cuda"), TypeError, "dtype"),
        (lambda: nn.Linear(2, 2).train(1), TypeError, "mode"),
        (lambda: nn.Linear(2, 2)(np.ones((1, 3), np.float32)), ValueError, "weight|input"),
        (lambda: nn.Flatten(1.5), TypeError, "start_dim"),
        (lambda: nn.Flatten(3)(np.ones((2, 2))), IndexError, "start_dim"),
        (lambda: nn.Dropout(float("nan")), ValueError, "p:"),
        (lambda: nn.Dropout("a"), TypeError, "p:"),
        (lambda: fastnn.functional.dropout(np.ones(2), inplace=True), ValueError, "inplace"),
        (lambda: fastnn.functional.dropout(np.ones(2), out=np.ones(3)), ValueError, "out"),
        (lambda: nn.utils.clip_grad_norm_([np.ones(2)], 1.0), TypeError, r"parameters\[0\]"),
        (lambda: nn.utils.clip_grad_norm_([], -1.0), ValueError, "max_norm"),
        (lambda: nn.utils.clip_grad_norm_([], 1.0, 0), ValueError, "norm_type"),
        (lambda: nn.utils.clip_grad_value_([], float("nan")), ValueError, "clip_value"),
    ],
)
def test_what_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_dropout_masks(rng):
    x = rng.standard_normal(1000)
    drop = nn.Dropout(0.5, rng=3)
    first, second = drop(x), drop(x)
    assert (first != second).any(), "a seed starts the masks, it does not freeze them"
    np.testing.assert_array_equal(nn.Dropout(0.5, rng=3)(x), first)
    np.testing.assert_array_equal(nn.Dropout(1.0)(x), np.zeros(1000))
    np.testing.assert_array_equal(nn.Dropout(0.0)(x), x)
    out = np.empty(1000)
    assert fastnn.functional.dropout(x, 0.5, rng=4, out=out) is out
    np.testing.assert_array_equal(out, fastnn.functional.dropout(x, 0.5, rng=4))
    assert fastnn.functional.dropout(x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("make", [lambda: nn.Linear(7, 5), lambda: nn.Conv2d(3, 5, 3), lambda: nn.Linear(7, 5).double()])
def test_weights_begin_at_a_cache_line(make):
    """Elsewhere each of a kernel's vectors would lie across two lines."""
    layer = make()
    optimizer = fastnn.optim.Adam(layer.parameters())
    for parameter in layer.parameters():
        parameter.grad = np.ones_like(parameter.numpy())
    optimizer.step()
    states = [array for state in optimizer.state.values() for array in state.values() if isinstance(array, np.ndarray)]
    assert len(states) == 4
    assert [array.ctypes.data % 64 for array in (*(p.numpy() for p in layer.parameters()), *states)] == [0] * 6
