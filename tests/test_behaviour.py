"""Promises to users, one line each: what is refused, and by which name; what broadcasting and sums of integers give."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn

M = np.ones((3, 4), np.float32)
X = np.ones((2, 4, 6, 6), np.float32)
W = np.ones((4, 4, 3, 3), np.float32)
DEEP = np.ones((1,) * 64, np.float32)
CLASSES = np.array([0, 1, 2])
HUGE = 2**63

REFUSED = [
    ("stride", OverflowError, lambda: F.conv2d(X, W, stride=HUGE)),
    ("stride", OverflowError, lambda: F.conv1d(X[0], W[0], stride=HUGE)),
    ("stride", OverflowError, lambda: F.max_pool2d(X, 2, stride=HUGE)),
    ("padding", OverflowError, lambda: F.conv2d(X, W, padding=HUGE)),
    ("groups", ValueError, lambda: F.conv2d(X, W, groups=0)),
    ("padding", ValueError, lambda: F.max_pool2d(X, 2, padding=10**9)),
    ("kernel_size", ValueError, lambda: F.max_pool2d(X, 10**9)),
    ("output_size", OverflowError, lambda: F.adaptive_avg_pool2d(X, 10**9)),
    ("ignore_index", OverflowError, lambda: F.cross_entropy(M, CLASSES, ignore_index=HUGE)),
    ("ignore_index", OverflowError, lambda: F.nll_loss(M, CLASSES, ignore_index=-HUGE - 1)),
    ("target", ValueError, lambda: F.cross_entropy(M, CLASSES + 2)),
    ("target", TypeError, lambda: F.nll_loss(M, M[:, 0])),
    ("dims", TypeError, lambda: F.permute(M, 0)),
    ("shape", TypeError, lambda: F.broadcast_to(M, None)),
    ("shape", ValueError, lambda: F.broadcast_to(M[0, 0], (1,) * 65)),
    ("shape", ValueError, lambda: F.broadcast_to(DEEP, (4, 3))),
    ("shape", ValueError, lambda: F.reshape(M[0, :1], (1,) * 65)),
    ("shape", ValueError, lambda: F.unsqueeze(DEEP, 0)),
    ("shape", ValueError, lambda: F.stack([DEEP, DEEP])),
    ("key", IndexError, lambda: F.index(M, HUGE)),
    ("exponent", TypeError, lambda: F.power(M, "2")),
    ("input, exponent", ValueError, lambda: F.power(M, np.ones(3, np.float32))),
    ("min", TypeError, lambda: F.clamp(M, "0")),
    ("max", TypeError, lambda: F.clamp(M, max=[1.0])),
    ("other", OverflowError, lambda: F.add(M, 10**400)),
    ("input, other", ValueError, lambda: F.add(M, np.ones((1,) * 62 + (3, 5), np.float32))),
    ("out", ValueError, lambda: F.relu(M, out=np.ones((4, 3), np.float32))),
    ("out", TypeError, lambda: F.relu(M, out=np.ones((3, 4)))),
    ("out", ValueError, lambda: F.relu(M, out=np.broadcast_to(np.float32(0), (3, 4)))),
    ("input", TypeError, lambda: fastnn.tensor(CLASSES).mean()),
    ("input", TypeError, lambda: (fastnn.tensor(CLASSES) == 1).mean()),
    ("input", ValueError, lambda: fastnn.tensor(np.array([HUGE], np.uint64)).sum()),
    ("dim", IndexError, lambda: fastnn.tensor(CLASSES).sum(1)),
    ("weight", ValueError, lambda: nn.Linear(3, 4).load_state_dict({"weight": M, "bias": M[0]})),
]


@pytest.mark.parametrize("name, error, call", REFUSED, ids=[f"{name}-{i}" for i, (name, _, _) in enumerate(REFUSED)])
def test_bad_input_is_refused_by_name(name, error, call):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(f"{name}:")


@pytest.mark.parametrize(
    "shapes", [[(3, 1), (1, 4)], [(0, 1), (3,)], [(), (2, 3)], [(1,) * 63, (5,)], [(1,) * 64, (1,) * 64]], ids=range(5)
)
def test_broadcasting_is_numpys_in_every_number_of_dimensions(shapes):
    a, b = [np.full(shape, 2.0) for shape in shapes]
    y, pullback = fastnn.vjp(F.multiply, a, b)
    assert y.shape == (a * b).shape
    np.testing.assert_array_equal(y, a * b)
    assert [g.shape for g in pullback(y)] == shapes
    assert F.broadcast_to(a, y.shape).shape == y.shape


SUMS = [
    ([True, False, True], {}, 2),
    (np.array([200, 100], np.uint8), {}, 300),
    (np.arange(6).reshape(2, 3), {"dim": 1, "keepdim": True}, [[3], [12]]),
    (np.arange(6).reshape(2, 3), {"dim": (0, 1)}, 15),
    (np.ones((0, 3), np.int32), {"dim": 0}, [0, 0, 0]),
    (np.ones((2, 3), bool)[:, ::-1], {"dim": ()}, 6),
    (np.array(7), {}, 7),
]


@pytest.mark.parametrize("values, options, expected", SUMS, ids=range(len(SUMS)))
def test_sums_of_integers_and_booleans_are_int64(values, options, expected):
    result = fastnn.tensor(values).sum(**options)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result.numpy(), expected)
    assert result.shape == np.shape(expected)


def test_correct_predictions_are_counted():
    predictions = fastnn.tensor(np.array([0, 1, 2]))
    correct = predictions == np.array([0, 1, 1])
    assert correct.sum().item() == 2
    assert correct.float().mean().item() == pytest.approx(2 / 3)


def test_sum_and_mean_of_floats_record():
    x = fastnn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x.sum(dim=0, keepdim=True).sum() + x.mean()).backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full((2, 2), 1.25, np.float32))
