"""Start values: distributions, fans, generators and errors."""

import numpy as np
import pytest

import fastnn
from fastnn import init, nn

WEIGHT, FILTER = (300, 500), (64, 32, 5, 3)  # fans 500 and 300; 480 and 960

VARIANCES = [
    (init.lecun_normal, {}, lambda fan_in, fan_out: 1 / fan_in),
    (init.lecun_uniform, {}, lambda fan_in, fan_out: 1 / fan_in),
    (init.glorot_normal, {}, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    (init.glorot_uniform, {}, lambda fan_in, fan_out: 2 / (fan_in + fan_out)),
    (init.xavier_normal, {"gain": 3.0}, lambda fan_in, fan_out: 9 * 2 / (fan_in + fan_out)),
    (init.xavier_uniform, {"gain": 3.0}, lambda fan_in, fan_out: 9 * 2 / (fan_in + fan_out)),
    (init.he_normal, {}, lambda fan_in, fan_out: 2 / fan_in),
    (init.he_uniform, {"mode": "fan_in"}, lambda fan_in, fan_out: 2 / fan_in),
    (init.he_normal, {"mode": "fan_out"}, lambda fan_in, fan_out: 2 / fan_out),
    (init.he_uniform, {"mode": "fan_out"}, lambda fan_in, fan_out: 2 / fan_out),
    (init.he_normal, {"mode": "fan_avg"}, lambda fan_in, fan_out: 4 / (fan_in + fan_out)),
    (init.he_uniform, {"mode": "fan_avg"}, lambda fan_in, fan_out: 4 / (fan_in + fan_out)),
]
DRAWING = sorted({function.__name__ for function, *_ in VARIANCES} | {"uniform", "normal", "orthogonal"})


@pytest.mark.parametrize("shape, fans", [(WEIGHT, (500, 300)), (FILTER, (480, 960))])
@pytest.mark.parametrize("function, options, variance", VARIANCES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_variance_and_distribution(function, options, variance, shape, fans):
    drawn = function(shape, **options, rng=0, dtype=np.float64)
    assert init.fans(shape) == fans
    assert drawn.shape == shape
    assert abs(drawn.mean()) < 0.02 * drawn.std()
    assert drawn.var() == pytest.approx(variance(*fans), rel=0.03)
    kurtosis = 3 if "normal" in function.__name__ else 1.8
    assert (drawn**4).mean() / drawn.var() ** 2 == pytest.approx(kurtosis, rel=0.05)
    if "uniform" in function.__name__:
        assert np.abs(drawn).max() <= np.sqrt(3 * variance(*fans))


def test_bounds_are_torchs():
    torch = pytest.importorskip("torch")
    theirs = torch.empty(FILTER, dtype=torch.float64)
    for draw, function, options in [
        (torch.nn.init.xavier_uniform_, init.xavier_uniform, {"gain": 2.0}),
        (torch.nn.init.kaiming_uniform_, init.he_uniform, {"mode": "fan_in"}),
        (torch.nn.init.kaiming_uniform_, init.he_uniform, {"mode": "fan_out"}),
    ]:
        draw(theirs, **options)
        assert np.abs(function(FILTER, **options, dtype=np.float64)).max() == pytest.approx(theirs.abs().max().item(), rel=1e-3)


def test_uniform_and_normal():
    drawn = init.uniform((200, 300), -2.0, 3.0, rng=0)
    assert drawn.dtype == np.float32
    assert drawn.min() >= -2
    assert drawn.max() <= 3
    assert drawn.mean() == pytest.approx(0.5, abs=0.02)
    drawn = init.normal((200, 300), 1.0, 0.5, rng=0)
    assert drawn.mean() == pytest.approx(1.0, abs=0.01)
    assert drawn.std() == pytest.approx(0.5, rel=0.01)
    np.testing.assert_array_equal(init.normal(4, 2.0, 0.0), [2, 2, 2, 2])


def test_constant():
    np.testing.assert_array_equal(init.constant((2, 3), 0.5), np.full((2, 3), 0.5, np.float32), strict=True)
    np.testing.assert_array_equal(init.constant(2, dtype=np.float64), np.zeros(2), strict=True)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 3), (1, 1), (2, 0)])
def test_orthogonal(shape):
    matrix = init.orthogonal(shape, 2.0, rng=0, dtype=np.float64).reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_uniformly_distributed():
    assert {np.sign(init.orthogonal((1, 1), rng=seed).item()) for seed in range(20)} == {-1.0, 1.0}
    first = np.array([init.orthogonal((3, 3), rng=seed, dtype=np.float64)[0, 0] for seed in range(400)])
    assert first.mean() == pytest.approx(0, abs=0.1)
    assert (first**2).mean() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_generators_and_dtypes(name, dtype):
    function = getattr(init, name)
    one = function((4, 6), rng=7, dtype=dtype)
    assert one.dtype == dtype
    assert one.flags.writeable
    np.testing.assert_array_equal(function((4, 6), rng=7, dtype=dtype), one)
    np.testing.assert_array_equal(function((4, 6), rng=np.random.default_rng(7), dtype=dtype), one)
    fastnn.manual_seed(3)
    drawn = function((4, 6), dtype=dtype)
    assert (function((4, 6), dtype=dtype) != drawn).any()
    fastnn.manual_seed(3)
    np.testing.assert_array_equal(function((4, 6), dtype=dtype), drawn)


def test_numpys_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    init.he_normal((3, 4))
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("name", [name for name in DRAWING if name not in ("uniform", "normal", "orthogonal")])
def test_no_inputs(name):
    assert getattr(init, name)((3, 0)).shape == (3, 0)
    assert getattr(init, name)((0, 0)).shape == (0, 0)


def test_a_layer_takes_it():
    layer = nn.Linear(4, 3)
    layer.weight = nn.Parameter(init.he_normal((3, 4), rng=0))
    assert dict(layer.named_parameters())["weight"] is layer.weight
    np.testing.assert_array_equal(layer.state_dict()["weight"], init.he_normal((3, 4), rng=0))


def test_other_names():
    assert init.xavier_normal is init.glorot_normal
    assert init.xavier_uniform is init.glorot_uniform


BAD = [
    ("he_normal", ((3,),), {}, ValueError, "shape"),
    ("he_normal", (5,), {}, ValueError, "shape"),
    ("he_normal", ((3, -1),), {}, ValueError, "shape"),
    ("he_normal", ((3, 1.5),), {}, TypeError, "shape"),
    ("he_normal", ("ab",), {}, TypeError, "shape"),
    ("he_normal", (None,), {}, TypeError, "shape"),
    ("he_normal", ((3, 4), "fan"), {}, ValueError, "mode"),
    ("he_uniform", ((3, 4), None), {}, ValueError, "mode"),
    ("glorot_normal", ((3, 4), -1), {}, ValueError, "gain"),
    ("glorot_uniform", ((3, 4), "x"), {}, TypeError, "gain"),
    ("uniform", ((3,), 2, 1), {}, ValueError, "low"),
    ("uniform", ((3,), 0, np.inf), {}, ValueError, "high"),
    ("uniform", ((3,), np.nan, 1), {}, ValueError, "low"),
    ("normal", ((3,), 0, -1), {}, ValueError, "std"),
    ("normal", ((3,), "a"), {}, TypeError, "mean"),
    ("constant", ((3,), None), {}, TypeError, "value"),
    ("orthogonal", ((3,),), {}, ValueError, "shape"),
    ("orthogonal", ((3, 4), np.nan), {}, ValueError, "gain"),
    ("lecun_normal", ((3, 4),), {"dtype": np.int64}, TypeError, "dtype"),
    ("lecun_normal", ((3, 4),), {"dtype": np.float16}, TypeError, "dtype"),
    ("lecun_normal", ((3, 4),), {"dtype": "no such"}, TypeError, "dtype"),
    ("lecun_normal", ((3, 4),), {"dtype": None}, TypeError, "dtype"),
    ("lecun_uniform", ((3, 4),), {"rng": "seed"}, TypeError, "rng"),
    ("lecun_uniform", ((3, 4),), {"rng": -1}, ValueError, "rng"),
]


@pytest.mark.parametrize("name, args, options, error, message", BAD, ids=str)
def test_wrong_argument_is_named(name, args, options, error, message):
    with pytest.raises(error, match=message):
        getattr(init, name)(*args, **options)


def test_sizes_that_no_machine_has():
    for shape in ((2**40, 2**40), (10**30,), (2**33, 2**10)):
        with pytest.raises((MemoryError, OverflowError), match="shape"):
            init.uniform(shape)
        with pytest.raises((MemoryError, OverflowError), match="shape"):
            init.constant(shape)
