"""Normalization: large means, running statistics, parity with torch, and the table of refusals."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn
from fastnn.functional.normalization import batch_norm, group_norm, layer_norm
from fastnn.nn.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm


@pytest.mark.parametrize("shape", [(4096, 3), (512, 3, 8), (16, 3, 400)])
def test_variance_beside_a_large_mean(backend, shape, rng):
    x = (rng.standard_normal(shape) + 1e4).astype(np.float32)
    mean, var = np.zeros(3, np.float32), np.zeros(3, np.float32)
    batch_norm(x, mean, var, training=True, momentum=1.0)
    axes = (0, *range(2, x.ndim))
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(axis=axes), rtol=1e-6)
    np.testing.assert_allclose(var, x.astype(np.float64).var(axis=axes, ddof=1), rtol=1e-5)


def test_variance_of_rows_beside_a_large_mean(rng):
    x = (rng.standard_normal((5, 700)) + 1e4).astype(np.float32)
    exact = x.astype(np.float64)
    wanted = (exact - exact.mean(axis=1, keepdims=True)) / exact.std(axis=1, keepdims=True)
    np.testing.assert_allclose(layer_norm(x, 700), wanted, atol=2e-3)  # half a unit of the mean's last place
    np.testing.assert_allclose(group_norm(x, 1), wanted, atol=2e-3)


def test_running_statistics_by_hand(backend):
    mean, var = np.array([1.0]), np.array([2.0])
    y = batch_norm(np.array([[1.0], [3.0]]), mean, var, training=True, momentum=0.5, eps=0.0)
    np.testing.assert_allclose(y, [[-1], [1]])
    np.testing.assert_allclose((mean[0], var[0]), (1.5, 2.0))  # the batch has mean 2 and unbiased variance 2
    y = batch_norm(np.array([[1.0], [3.0]]), mean, var, weight=np.array([2.0]), bias=np.array([1.0]), eps=0.0)
    np.testing.assert_allclose(y, [[1 - 1 / np.sqrt(2)], [1 + 3 / np.sqrt(2)]])
    assert (mean[0], var[0]) == (1.5, 2.0)


def test_running_statistics_of_any_layout(backend, rng):
    x, memory = rng.standard_normal((6, 4)), np.zeros(8)
    batch_norm(x, memory[::2], memory[::-2], training=True, momentum=1.0)
    np.testing.assert_allclose(memory[::2], x.mean(axis=0))
    np.testing.assert_allclose(memory[::-2], x.var(axis=0, ddof=1))


def test_an_empty_batch(backend):
    mean, var = np.full(3, 5.0), np.full(3, 7.0)
    for shape in ((0, 3), (0, 3, 4), (2, 3, 0)):
        assert batch_norm(np.zeros(shape), mean, var, training=True).shape == shape
        assert batch_norm(np.zeros(shape), mean, var).shape == shape
    assert (mean == 5).all() and (var == 7).all()
    x, w = fastnn.tensor(np.zeros((0, 3)), requires_grad=True), fastnn.tensor(np.ones(3), requires_grad=True)
    batch_norm(x, None, None, w, training=True).sum().backward()
    assert x.grad.shape == (0, 3)
    np.testing.assert_array_equal(w.grad.numpy(), 0)
    assert layer_norm(np.zeros((0, 3)), 3).shape == (0, 3)
    assert group_norm(np.zeros((0, 4, 2)), 2).shape == (0, 4, 2)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 40)])
def test_nan_spoils_its_channel_alone(backend, shape, rng):
    x = rng.standard_normal(shape)
    x[2, 1] = np.nan
    y = batch_norm(x, None, None, training=True)
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, ::2]).all()
    y = layer_norm(x.reshape(5, -1), x[0].size)
    assert np.isnan(y[2]).all() and np.isfinite(y[:2]).all()


def test_a_constant_channel_gives_the_bias(backend):
    x = np.full((4, 2, 3), 3.0)
    np.testing.assert_array_equal(batch_norm(x, None, None, bias=np.array([1.0, 2.0]), training=True)[:, 1], 2)
    np.testing.assert_array_equal(layer_norm(x, 3), 0)


def compare(ours, theirs, arrays, tolerance=1e-9):
    """Values, and gradients by every array, of both libraries."""
    torch = pytest.importorskip("torch")
    mine = [None if a is None else fastnn.tensor(a, requires_grad=True) for a in arrays]
    other = [None if a is None else torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*other)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=tolerance, atol=tolerance)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for a, b in zip(mine, other, strict=True):
        if a is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(7, 4), (5, 4, 3), (3, 4, 6, 7), (200, 70)])
def test_batch_norm_is_torchs(shape, affine, rng):
    torch = pytest.importorskip("torch")
    C = shape[1]
    arrays = (rng.standard_normal(shape), rng.standard_normal(C) if affine else None, rng.standard_normal(C) if affine else None)
    mean, var = rng.standard_normal(C), rng.random(C) + 0.5
    mean_t, var_t = torch.tensor(mean), torch.tensor(var)
    for training in (True, False):
        compare(
            lambda x, w, b, t=training: batch_norm(x, mean, var, w, b, t, 0.3, 1e-3),
            lambda x, w, b, t=training: torch.nn.functional.batch_norm(x, mean_t, var_t, w, b, t, 0.3, 1e-3),
            arrays,
        )
        np.testing.assert_allclose(mean, mean_t.numpy())
        np.testing.assert_allclose(var, var_t.numpy())


@pytest.mark.parametrize("affine", [True, False])
def test_layer_and_group_norm_are_torchs(affine, rng):
    torch = pytest.importorskip("torch")
    G = torch.nn.functional
    for shape, normalized in (((5, 4), (4,)), ((2, 3, 4, 5), (4, 5)), ((300, 70), (70,)), ((6,), (6,))):
        w, b = (rng.standard_normal(normalized) if affine else None for _ in range(2))
        compare(
            lambda x, w, b, n=normalized: layer_norm(x, n, w, b),
            lambda x, w, b, n=normalized: G.layer_norm(x, n, w, b),
            (rng.standard_normal(shape), w, b),
        )
    for shape, groups in (((5, 6), 2), ((2, 6, 4, 5), 3), ((3, 4, 40), 4), ((3, 4, 40), 1)):
        w, b = (rng.standard_normal(shape[1]) if affine else None for _ in range(2))
        compare(
            lambda x, w, b, g=groups: group_norm(x, g, w, b),
            lambda x, w, b, g=groups: G.group_norm(x, g, w, b),
            (rng.standard_normal(shape), w, b),
        )


OPTIONS = [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"momentum": 0.5, "eps": 0.1}]


@pytest.mark.parametrize("options", OPTIONS)
def test_batch_norm_layers_are_torchs(options, rng):
    torch = pytest.importorskip("torch")
    for ours, theirs, shape in (
        (BatchNorm1d, torch.nn.BatchNorm1d, (6, 3)),
        (BatchNorm1d, torch.nn.BatchNorm1d, (6, 3, 5)),
        (BatchNorm2d, torch.nn.BatchNorm2d, (4, 3, 5, 2)),
    ):
        mine, other = ours(3, **options), theirs(3, **options)
        assert {k: (v.shape, v.dtype) for k, v in mine.state_dict().items()} == {
            k: (tuple(v.shape), v.numpy().dtype) for k, v in other.state_dict().items()
        }
        for _ in range(3):
            x = rng.standard_normal(shape).astype(np.float32)
            np.testing.assert_allclose(
                fastnn.tensor(mine(x)).numpy(), other(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5
            )
        for key, value in other.state_dict().items():
            np.testing.assert_allclose(mine.state_dict()[key], value.numpy(), rtol=1e-5, atol=1e-6)
        mine.eval(), other.eval()
        np.testing.assert_allclose(fastnn.tensor(mine(x)).numpy(), other(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
        mine.load_state_dict({k: v.numpy() for k, v in other.state_dict().items()})


def test_statistics_count_batches_and_start_again(rng):
    layer = BatchNorm1d(2, momentum=None)
    batches = rng.standard_normal((3, 8, 2)).astype(np.float32)
    for batch in batches:
        layer(batch)
    assert layer.num_batches_tracked.dtype == np.int64 and int(layer.num_batches_tracked) == 3
    np.testing.assert_allclose(layer.running_mean.numpy(), batches.mean(axis=(0, 1)), rtol=1e-4, atol=1e-6)
    layer.reset_running_stats()
    assert int(layer.num_batches_tracked) == 0
    np.testing.assert_array_equal(layer.running_var.numpy(), 1)


def test_layers_in_double(rng):
    layer = BatchNorm1d(3).double()
    assert layer.running_mean.dtype == np.float64 and layer.num_batches_tracked.dtype == np.int64
    assert layer(rng.standard_normal((4, 3))).dtype == np.float64


def test_layer_norm_arguments():
    assert list(LayerNorm((2, 3)).state_dict()) == ["weight", "bias"]
    assert list(LayerNorm(3, bias=False).state_dict()) == ["weight"]
    assert list(LayerNorm(3, elementwise_affine=False).state_dict()) == []
    assert list(GroupNorm(1, 3, affine=False).state_dict()) == []
    assert isinstance(nn.Sequential(GroupNorm(1, 2)), nn.Module)


def frozen(array):
    array.flags.writeable = False
    return array


X, ONE = np.zeros((4, 3)), np.ones(3)
REFUSED = [
    (ValueError, "running_mean.*read-only", lambda: batch_norm(X, frozen(np.ones(3)), np.ones(3), training=True)),
    (ValueError, "running_var.*read-only", lambda: batch_norm(X, np.ones(3), frozen(np.ones(3)), training=True)),
    (ValueError, "running_mean", lambda: batch_norm(X, None, None)),
    (ValueError, "running_mean", lambda: batch_norm(X, None, ONE, training=True)),
    (ValueError, "running_mean", lambda: batch_norm(X, np.ones(2), ONE)),
    (TypeError, "running_var", lambda: batch_norm(X, ONE, ONE.astype(np.float32))),
    (ValueError, "overlap", lambda: batch_norm(X, ONE, ONE, training=True)),
    (ValueError, "eps", lambda: batch_norm(X, ONE, ONE, eps=-1e-5)),
    (ValueError, "eps", lambda: layer_norm(X, 3, eps=-1.0)),
    (ValueError, "eps", lambda: group_norm(X, 3, eps=np.nan)),
    (ValueError, "input.*more than one", lambda: batch_norm(X[:1], np.zeros(3), np.ones(3), training=True)),
    (ValueError, "input", lambda: batch_norm(ONE, ONE, ONE)),
    (ValueError, "weight", lambda: batch_norm(X, ONE, ONE, np.ones((1, 3)))),
    (ValueError, "bias", lambda: layer_norm(X, 3, ONE, np.ones(1))),
    (ValueError, "normalized_shape", lambda: layer_norm(X, 4)),
    (ValueError, "normalized_shape", lambda: layer_norm(X, (1, 4, 3))),
    (ValueError, "normalized_shape", lambda: layer_norm(X, ())),
    (TypeError, "normalized_shape", lambda: layer_norm(X, 3.0)),
    (ValueError, "num_groups", lambda: group_norm(X, 2)),
    (ValueError, "num_groups", lambda: group_norm(X, 0)),
    (ValueError, "device", lambda: BatchNorm1d(3, device="cuda")),
    (TypeError, "dtype", lambda: LayerNorm(3, dtype=np.float16)),
    (ValueError, "eps", lambda: BatchNorm2d(3, eps=-1.0)),
    (ValueError, "num_channels", lambda: GroupNorm(2, 3)),
    (ValueError, "input", lambda: BatchNorm2d(3)(X)),
    (ValueError, "input.*4 channels", lambda: BatchNorm1d(4)(X)),
]


@pytest.mark.parametrize("error, words, call", REFUSED, ids=range(len(REFUSED)))
def test_refused(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_nothing_is_written_before_a_refusal():
    mean, var = np.ones(3), frozen(np.ones(3))
    with pytest.raises(ValueError, match="running_var"):
        batch_norm(X, mean, var, training=True)
    np.testing.assert_array_equal(mean, 1)


def test_gradients_by_differences(rng):
    x, w, b = rng.standard_normal((5, 4, 3)), rng.standard_normal(4), rng.standard_normal(4)
    assert fastnn.gradcheck(lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), (x, w, b))
    assert fastnn.gradcheck(lambda x, w, b: F.group_norm(x, 2, w, b), (x, w, b))


def _calls(x, w, b):
    """Each functional on (N, C, L) as a function of ``out`` and of the input."""
    C = x.shape[1]
    mean, var = np.full(C, 0.5, x.dtype), np.full(C, 2, x.dtype)
    return {
        "training": lambda x=x, out=None: F.batch_norm(x, None, None, w, b, training=True, out=out),
        "evaluation": lambda x=x, out=None: F.batch_norm(x, mean, var, w, b, out=out),
        "groups": lambda x=x, out=None: F.group_norm(x, 2, w, b, out=out),
        "rows": lambda x=x, out=None: F.layer_norm(x, x.shape[-1], out=out),
    }


@pytest.mark.parametrize("name", ["training", "evaluation", "groups", "rows"])
def test_out(name, backend, rng):
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4, 5), (4,), (4,)))
    call = _calls(x, w, b)[name]
    expected = call()
    for out in (np.empty_like(x), np.empty((3, 4, 10), np.float32)[:, :, ::2]):
        for _ in range(2):  # the second call is a remembered one
            out[...] = np.nan
            assert call(out=out) is out
            np.testing.assert_array_equal(out, expected)
    for wrong in (np.empty((3, 4, 6), np.float32), np.empty(x.shape), frozen(np.empty_like(x)), [1.0]):
        with pytest.raises((TypeError, ValueError), match="out"):
            call(out=wrong)
    with pytest.raises(ValueError, match="out"):
        call(fastnn.tensor(x, requires_grad=True), np.empty_like(x))
    copy = x.copy()
    assert call(copy, copy) is copy
    np.testing.assert_array_equal(copy, expected)


@pytest.mark.parametrize("name", ["training", "evaluation", "groups", "rows"])
def test_large_results_are_the_same_bits_on_two_threads(name, rng):
    """What goes past the caches, in units of several channels and in one-channel units."""
    for shape in ((33, 70, 501), (2, 4, 140_000)):
        x, dy, w, b = (rng.standard_normal(s).astype(np.float32) for s in (shape, shape, shape[1:2], shape[1:2]))
        call = _calls(x, w, b)[name]
        results = []
        before = fastnn.get_num_threads()
        try:
            for threads in (1, 2):
                fastnn.set_num_threads(threads)
                y, pullback = fastnn.vjp(lambda v, call=call: call(v), x)
                results.append((y, pullback(dy)[0]))
        finally:
            fastnn.set_num_threads(before)
        with fastnn.use_backend("reference"):
            y, pullback = fastnn.vjp(lambda v, call=call: call(v), x)
        for index, expected in enumerate((y, pullback(dy)[0])):
            np.testing.assert_array_equal(results[0][index], results[1][index])
            np.testing.assert_allclose(results[0][index], expected, atol=2e-5 * np.abs(expected).max())


def test_gradient_of_the_input_alone(rng):
    """In evaluation it needs no sums; NaN in the input, which only they would see, stays out of it."""
    x, dy = rng.standard_normal((2, 3, 40)), rng.standard_normal((2, 3, 40))
    x[0, 0, 0] = np.nan
    mean, var, w, b = np.zeros(3), np.ones(3), np.full(3, 2.0), np.zeros(3)
    _, pullback = fastnn.vjp(lambda v: F.batch_norm(v, mean, var, w, b), x)
    np.testing.assert_allclose(pullback(dy)[0], dy * 2, rtol=1e-5)
