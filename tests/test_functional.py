"""What all functionals have in common: torch's signatures, docstrings, refusals."""

import inspect

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn.autograd import tensor

NAMES = [name for name in F.__all__ if inspect.isfunction(getattr(F, name))]
LEGACY = {"size_average", "reduce", "_stacklevel", "inplace", "dtype"}  # deprecated in torch, or meaningless for arrays

UNARY = {
    "relu": {}, "sigmoid": {}, "tanh": {}, "hardtanh": {}, "leaky_relu": {}, "elu": {}, "selu": {}, "gelu": {}, "silu": {},
    "softplus": {}, "softsign": {}, "identity": {}, "step": {}, "threshold": {"threshold": 0.1, "value": 0.0},
    "softmax": {"dim": -1}, "log_softmax": {"dim": -1}, "sum": {}, "mean": {}, "var": {}, "exp": {}, "log": {}, "sqrt": {},
    "abs": {}, "negative": {}, "clamp": {"min": 0.0}, "flatten": {}, "dropout": {}, "max_pool2d": {"kernel_size": 2},
    "avg_pool2d": {"kernel_size": 2}, "adaptive_avg_pool2d": {"output_size": 1}, "adaptive_max_pool2d": {"output_size": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_functional_is_documented_and_typed(name):
    function = getattr(F, name)
    assert function.__doc__ and len(function.__doc__) > 10
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", NAMES)
def test_torch_signature(name):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn.functional, name, None)
    try:
        wanted = inspect.signature(theirs).parameters.values()
    except (TypeError, ValueError):
        pytest.skip(f"torch.nn.functional.{name} has no signature to compare")
    if any(p.kind is p.VAR_POSITIONAL for p in wanted):
        wanted = inspect.signature(inspect.unwrap(theirs)).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in wanted):
        pytest.skip(f"torch.nn.functional.{name} hides its signature")
    ours = inspect.signature(getattr(F, name)).parameters
    for parameter in wanted:
        if parameter.name in LEGACY:
            continue
        assert parameter.name in ours
        assert ours[parameter.name].default == parameter.default


@pytest.mark.parametrize("name", UNARY)
def test_arrays_give_arrays_and_tensors_tensors_of_the_same_dtype(name, rng):
    function = getattr(F, name)
    for dtype in (np.float32, np.float64):
        x = rng.uniform(0.1, 2, (2, 4, 4)).astype(dtype)
        before = x.copy()
        y = function(x, **UNARY[name])
        assert isinstance(y, (np.ndarray, np.generic)) and y.dtype == dtype
        z = function(tensor(x, requires_grad=True), **UNARY[name])
        assert isinstance(z, fastnn.Tensor) and z.dtype == dtype and z.requires_grad
        if name != "dropout":
            np.testing.assert_array_equal(z.numpy(), y)
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1.0, 2.0],
        "ab",
        np.array([1j, 2j]),
        np.array([1, 2]),
        np.array([1.0, 2.0], np.float16),
        np.ma.masked_array([1.0], [True]),
    ],
    ids=lambda v: type(v).__name__ + str(getattr(v, "dtype", "")),
)
@pytest.mark.parametrize("name", UNARY)
def test_what_is_no_float_array_is_refused_by_name(name, value):
    with pytest.raises(TypeError, match="input"):
        getattr(F, name)(value, **UNARY[name])


@pytest.mark.parametrize("name", [n for n in UNARY if "out" in inspect.signature(getattr(F, n, len)).parameters])
def test_out_is_honoured_or_refused(name, rng):
    function, options = getattr(F, name), UNARY[name]
    x = rng.uniform(0.1, 2, (2, 4, 4))
    expected = np.asarray(function(x, **options)) if name != "dropout" else x
    out = np.full_like(expected, 7)
    assert function(x, **options, out=out) is out
    if name != "dropout":
        np.testing.assert_array_equal(out, expected)
    for wrong, error in ((np.empty((*expected.shape, 3)), ValueError), (np.empty(expected.shape, np.float32), TypeError)):
        with pytest.raises(error, match="out"):
            function(x, **options, out=wrong)
    locked = np.full_like(expected, 7)
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        function(x, **options, out=locked)
    assert (locked == 7).all()
    strided = np.full((*expected.shape, 2), 7.0)[..., 0]
    function(x, **options, out=strided)
    if name != "dropout":
        np.testing.assert_array_equal(strided, expected)
    overlapping = np.concatenate([x.ravel(), x.ravel()])
    view = overlapping[: x.size].reshape(x.shape)
    target = overlapping[1 : 1 + expected.size].reshape(expected.shape)
    if name != "dropout":
        function(view, **options, out=target)
        np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("name", UNARY)
def test_empty_batch(name):
    x = np.zeros((0, 2, 4, 4), np.float32)
    y = getattr(F, name)(x, **UNARY[name])
    assert y.dtype == np.float32
    if name not in ("sum", "mean", "var"):
        assert 0 in y.shape


@pytest.mark.parametrize(
    "call",
    [
        lambda x, flag: F.sum(x, 1, keepdim=flag),
        lambda x, flag: F.max(x, 1, keepdim=flag),
        lambda x, flag: F.max_pool1d(x, 2, ceil_mode=flag),
        lambda x, flag: F.avg_pool1d(x, 2, count_include_pad=flag),
        lambda x, flag: F.adaptive_max_pool1d(x, 2, return_indices=flag),
        lambda x, flag: F.dropout(x, 0.5, training=flag),
        lambda x, flag: F.batch_norm(x, None, None, training=flag),
    ],
)
@pytest.mark.parametrize("flag", [np.array([True, False]), "no", None, 2])
def test_flags_are_true_or_false(call, flag):
    with pytest.raises(TypeError, match=r"(keepdim|ceil_mode|count_include_pad|return_indices|training): expected True or False"):
        call(np.ones((2, 3, 4)), flag)


def test_maxout_into_given_memory(rng):
    x, out = rng.standard_normal((3, 6)), np.empty((3, 2))
    assert F.maxout(x, 3, out=out) is out
    np.testing.assert_array_equal(out, x.reshape(3, 2, 3).max(2))
