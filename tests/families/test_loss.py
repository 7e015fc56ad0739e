"""Losses: kinks, ties and infinities by hand, parity with torch, and the table of refusals."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn.nn import loss as losses

REDUCTIONS = ("none", "mean", "sum")


def gradient(f, x):
    leaf = fastnn.tensor(x, requires_grad=True)
    f(leaf).sum().backward()
    return leaf.grad.numpy()


def test_kinks_have_the_gradient_zero(backend):
    zero, one = np.zeros(1), np.ones(1)
    assert gradient(lambda x: F.l1_loss(x, zero), zero) == 0
    assert gradient(lambda x: F.smooth_l1_loss(x, zero, beta=0.0), zero) == 0
    assert gradient(lambda x: F.hinge_loss(x, one), one) == 0
    assert gradient(lambda x: F.perceptron_loss(x, one), zero) == 0


def test_hinge_and_perceptron_by_hand(backend):
    x, t = np.array([0.5, 3.0, -1.0, 0.25]), np.array([1, 1, 1, -1])
    np.testing.assert_array_equal(F.hinge_loss(x, t, reduction="none"), [0.5, 0, 2, 1.25])
    np.testing.assert_array_equal(F.perceptron_loss(x, t, reduction="none"), [0, 0, 1, 0.25])
    np.testing.assert_array_equal(gradient(lambda v: F.hinge_loss(v, t, reduction="sum"), x), [-1, 0, -1, 1])
    np.testing.assert_array_equal(gradient(lambda v: F.perceptron_loss(v, t, reduction="sum"), x), [0, 0, -1, 1])


@pytest.mark.parametrize("f", [F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.binary_cross_entropy_with_logits])
def test_nan_stays_in_its_place(backend, f):
    x = np.array([0.5, np.nan, 0.25], np.float32)
    y = f(x, np.ones(3, np.float32), reduction="none")
    np.testing.assert_array_equal(np.isnan(y), [False, True, False])
    assert np.isnan(f(x, np.ones(3, np.float32)))
    np.testing.assert_array_equal(
        np.isnan(gradient(lambda v: f(v, np.ones(3, np.float32), reduction="sum"), x)), [False, True, False]
    )


def test_hinge_of_nan_is_nan(backend):
    x, t = np.array([np.nan, 2.0]), np.array([1, 1])
    np.testing.assert_array_equal(F.hinge_loss(x, t, reduction="none"), [np.nan, 0])
    np.testing.assert_array_equal(F.perceptron_loss(x, t, reduction="none"), [np.nan, 0])


def test_the_mean_over_nothing_is_nan(backend):
    for f in (F.mse_loss, F.l1_loss, F.hinge_loss, F.binary_cross_entropy):
        empty = np.zeros((0, 3), np.float32)
        assert np.isnan(f(empty, empty))
        assert f(empty, empty, reduction="sum") == 0
        assert f(empty, empty, reduction="none").shape == (0, 3)
    x, t = np.zeros((0, 3)), np.zeros(0, np.int64)
    for f in (F.cross_entropy, F.nll_loss):
        assert np.isnan(f(x, t))
        assert f(x, t, reduction="sum") == 0
    assert np.isnan(F.cross_entropy(x, x))
    assert np.isnan(F.cross_entropy(np.zeros((2, 3)), np.array([-100, -100])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept(backend, dtype):
    x = np.ones((2, 3), dtype)
    hinge = F.hinge_loss(x, np.ones((2, 3), np.int8))
    for y in (F.mse_loss(x, x), hinge, F.cross_entropy(x, np.zeros(2, np.uint8)), F.nll_loss(x, np.zeros(2, int))):
        assert y.dtype == dtype and y.shape == ()


def test_binary_cross_entropy_clamps_the_logarithm(backend):
    x, t = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(F.binary_cross_entropy(x, t, reduction="none"), [100, 100, 0])
    assert np.isfinite(gradient(lambda v: F.binary_cross_entropy(v, t), x)).all()


def test_logits_do_not_overflow(backend):
    x = np.array([1e4, -1e4, 1e4, -1e4], np.float32)
    t = np.array([1, 0, 0, 1], np.float32)
    np.testing.assert_allclose(F.binary_cross_entropy_with_logits(x, t, reduction="none"), [0, 0, 1e4, 1e4])
    np.testing.assert_allclose(gradient(lambda v: F.binary_cross_entropy_with_logits(v, t, reduction="sum"), x), [0, 0, 1, -1])


@pytest.mark.parametrize("tail", [(), (3,)])
def test_cross_entropy_of_infinities(backend, tail):
    x = np.zeros((4, 3, *tail))
    x[0] = 1e30
    x[1, 0] = -np.inf
    x[2] = -np.inf
    x[3, 1] = np.nan
    y = F.cross_entropy(x, np.ones((4, *tail), int), reduction="none").reshape(4, -1)[:, 0]
    np.testing.assert_allclose(y, [np.log(3), np.log(2), np.nan, np.nan])


def test_an_ignored_row_of_nan_counts_for_nothing(backend):
    x = np.zeros((2, 3))
    x[1] = np.nan
    t = np.array([1, 7])
    np.testing.assert_allclose(F.cross_entropy(x, t, ignore_index=7, label_smoothing=0.1), np.log(3))
    dx = gradient(lambda v: F.cross_entropy(v, t, ignore_index=7), x)
    np.testing.assert_array_equal(dx[1], 0)


def test_a_long_sum_keeps_its_digits(backend):
    x = np.full(3_000_001, 0.1, np.float32)
    np.testing.assert_allclose(F.l1_loss(x, np.zeros_like(x), reduction="sum"), 300000.1, rtol=1e-6)


def test_targets_of_any_layout_are_left_alone(backend):
    x = np.random.default_rng(0).standard_normal((6, 4))
    t = np.arange(12)[::-2] % 4
    kept = t.copy()
    t.flags.writeable = False
    expected = F.cross_entropy(x, kept)
    assert F.cross_entropy(np.asfortranarray(x), t) == pytest.approx(expected)
    assert F.cross_entropy(x, fastnn.tensor(kept)).item() == pytest.approx(float(expected))
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    assert float(F.cross_entropy(x, t, fastnn.tensor(weight))) == pytest.approx(float(F.cross_entropy(x, t, weight)))
    np.testing.assert_array_equal(t, kept)


def compare(ours, theirs, arrays, tolerance=1e-10):
    """Values, and gradients by every floating array, of both libraries."""
    torch = pytest.importorskip("torch")
    mine = [fastnn.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    other = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y, z = ours(*mine), theirs(*other)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=tolerance, atol=tolerance)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(dy)
    z.backward(torch.tensor(dy))
    for a, b in zip(mine, other, strict=True):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_element_losses_are_torchs(reduction, rng):
    torch = pytest.importorskip("torch")
    G = torch.nn.functional
    x, t = rng.standard_normal((7, 5)), rng.standard_normal((7, 5))
    p, q, w = rng.random((7, 5)), rng.random((7, 5)), rng.random(5)
    for name, options in (
        ("mse_loss", {}),
        ("l1_loss", {}),
        ("smooth_l1_loss", {"beta": 0.5}),
        ("smooth_l1_loss", {"beta": 0.0}),
    ):
        compare(
            lambda a, b, n=name, o=options: getattr(F, n)(a, b, reduction=reduction, **o),
            lambda a, b, n=name, o=options: getattr(G, n)(a, b, reduction=reduction, **o),
            (x, t),
        )
    compare(
        lambda a, b: F.binary_cross_entropy(a, b, w, reduction=reduction),
        lambda a, b: G.binary_cross_entropy(a, b, torch.tensor(w), reduction=reduction),
        (p, q),
    )
    for weight, positive in ((None, None), (w, None), (None, w), (w, 2 * w)):
        compare(
            lambda a, b, u=weight, v=positive: F.binary_cross_entropy_with_logits(a, b, u, reduction=reduction, pos_weight=v),
            lambda a, b, u=weight, v=positive: G.binary_cross_entropy_with_logits(
                a,
                b,
                None if u is None else torch.tensor(u),
                reduction=reduction,
                pos_weight=None if v is None else torch.tensor(v),
            ),
            (x, q),
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 5, 3, 40)])
def test_class_losses_are_torchs(reduction, smoothing, shape, rng):
    torch = pytest.importorskip("torch")
    G = torch.nn.functional
    C = 5
    positions = () if len(shape) == 1 else (shape[0], *shape[2:])
    x, w = rng.standard_normal(shape), rng.random(C)
    t = np.asarray(rng.integers(0, C, positions))
    q = rng.random(shape)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    for weight in (None, w):
        theirs = None if weight is None else torch.tensor(weight)
        for ignored in (-100, 2):
            compare(
                lambda a, b, v=weight, i=ignored: F.cross_entropy(a, b, v, ignore_index=i, **options),
                lambda a, b, v=theirs, i=ignored: G.cross_entropy(a, b, v, ignore_index=i, **options),
                (x, t),
            )
            compare(
                lambda a, b, v=weight, i=ignored: F.nll_loss(a, b, v, ignore_index=i, reduction=reduction),
                lambda a, b, v=theirs, i=ignored: G.nll_loss(a, b, v, ignore_index=i, reduction=reduction),
                (x, t),
            )
        compare(
            lambda a, b, v=weight: F.cross_entropy(a, b, v, **options),
            lambda a, b, v=theirs: G.cross_entropy(a, b, v, **options),
            (x, q),
        )


X, T = np.zeros((2, 3)), np.zeros(2, np.int64)
REFUSED = [
    (ValueError, "target", lambda: F.mse_loss(X, X[:1])),
    (TypeError, "target", lambda: F.mse_loss(X, X.astype(np.float32))),
    (TypeError, "input", lambda: F.mse_loss(None, X)),
    (ValueError, "reduction", lambda: F.mse_loss(X, X, reduction="average")),
    (ValueError, "reduction", lambda: F.cross_entropy(X, T, reduction=None)),
    (ValueError, "beta", lambda: F.smooth_l1_loss(X, X, beta=-1.0)),
    (ValueError, "input.*2", lambda: F.binary_cross_entropy(X + 2, X)),
    (ValueError, "target.*-1", lambda: F.binary_cross_entropy(X, X - 1)),
    (ValueError, "input.*nan", lambda: F.binary_cross_entropy(X * np.nan, X)),
    (ValueError, "weight", lambda: F.binary_cross_entropy(X, X, np.ones((2, 2)))),
    (ValueError, "weight", lambda: F.binary_cross_entropy(X, X, np.ones((4, 2, 3)))),
    (ValueError, "pos_weight", lambda: F.binary_cross_entropy_with_logits(X, X, pos_weight=np.ones(2))),
    (ValueError, "target.*0.5", lambda: F.hinge_loss(X, X + 0.5)),
    (ValueError, "target.*0", lambda: F.perceptron_loss(X, X)),
    (TypeError, "target", lambda: F.hinge_loss(X, X == 0)),
    (ValueError, "target.*3", lambda: F.cross_entropy(X, T + 3)),
    (ValueError, "target.*-1", lambda: F.cross_entropy(X, T - 1)),
    (ValueError, "target.*3", lambda: F.nll_loss(X, T + 3, ignore_index=4)),
    (TypeError, "target", lambda: F.nll_loss(X, T + 0.5)),
    (TypeError, "target", lambda: F.cross_entropy(X, np.array([True, False]))),
    (ValueError, "target", lambda: F.cross_entropy(X, T[:1])),
    (ValueError, "target", lambda: F.cross_entropy(X, np.zeros((2, 2)))),
    (ValueError, "weight", lambda: F.cross_entropy(X, T, np.ones(2))),
    (TypeError, "weight", lambda: F.cross_entropy(X, T, np.ones(3, np.float32))),
    (ValueError, "label_smoothing", lambda: F.cross_entropy(X, T, label_smoothing=1.5)),
    (ValueError, "label_smoothing", lambda: F.cross_entropy(X, T, label_smoothing=np.nan)),
    (TypeError, "ignore_index", lambda: F.cross_entropy(X, T, ignore_index=1.5)),
    (ValueError, "input", lambda: F.cross_entropy(np.zeros(()), T)),
    (TypeError, "size_average", lambda: F.mse_loss(X, X, size_average=True)),
    (ValueError, "reduction", lambda: losses.MSELoss(reduction="average")),
    (ValueError, "label_smoothing", lambda: losses.CrossEntropyLoss(label_smoothing=-0.1)),
    (TypeError, "weight", lambda: losses.NLLLoss(weight="balanced")),
]


@pytest.mark.parametrize("error, words, call", REFUSED, ids=range(len(REFUSED)))
def test_refused(error, words, call):
    with pytest.raises(error, match=words):
        call()


def test_modules_call_their_function(rng):
    x, t, c = rng.random((4, 3)), rng.random((4, 3)), rng.integers(0, 3, 4)
    signs, w = np.sign(t - 0.5), rng.random(3)
    for module, expected in (
        (losses.MSELoss(reduction="sum"), F.mse_loss(x, t, reduction="sum")),
        (losses.L1Loss(), F.l1_loss(x, t)),
        (losses.SmoothL1Loss(beta=0.1), F.smooth_l1_loss(x, t, beta=0.1)),
        (losses.BCELoss(w), F.binary_cross_entropy(x, t, w)),
        (losses.BCEWithLogitsLoss(pos_weight=w), F.binary_cross_entropy_with_logits(x, t, pos_weight=w)),
    ):
        assert float(module(x, t)) == float(expected)
    cross = losses.CrossEntropyLoss(w, ignore_index=1, label_smoothing=0.2)
    assert float(cross(x, c)) == float(F.cross_entropy(x, c, w, ignore_index=1, label_smoothing=0.2))
    assert list(cross.state_dict()) == ["weight"]
    assert float(losses.NLLLoss(w, ignore_index=1)(x, c)) == float(F.nll_loss(x, c, w, ignore_index=1))
    assert float(losses.HingeLoss()(x, signs)) == float(F.hinge_loss(x, signs))
    assert float(losses.PerceptronLoss()(x, signs)) == float(F.perceptron_loss(x, signs))


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_weights_of_single_elements_equal_torch(name, reduction):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, t, w = rng.standard_normal((3, 4, 5))
    theirs = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(theirs, torch.tensor(t), reduction=reduction, weight=torch.tensor(w))
    y, pullback = fastnn.vjp(lambda v: getattr(F, name)(v, t, reduction=reduction, weight=w), x)
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-12)
    expected.sum().backward()
    np.testing.assert_allclose(pullback(np.ones_like(y))[0], theirs.grad.numpy(), rtol=1e-12)
    with pytest.raises(ValueError, match="weight"):
        getattr(F, name)(x, t, weight=w[:2])
