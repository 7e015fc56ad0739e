"""Arrays of other libraries go in without a copy, and fastnn's Tensors come out as theirs."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch


class WithArray:
    """Knows ``__array__`` and nothing else."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


class WithDLPack:
    """Knows DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def wrap(kind, array):
    if kind == "torch":
        return pytest.importorskip("torch").from_numpy(array)
    if kind == "jax":
        return pytest.importorskip("jax.numpy").asarray(array)
    return {"numpy": lambda a: a, "buffer": memoryview, "array": WithArray, "dlpack": WithDLPack, "tensor": fastnn.Tensor}[kind](
        array
    )


KINDS = ["numpy", "buffer", "array", "dlpack", "tensor", "torch", "jax"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_reads_the_memory_that_was_given(kind, rng):
    array = rng.standard_normal((64, 64)).astype(np.float32)
    value = wrap(kind, array)
    memory = np.from_dlpack(value) if kind == "jax" else array
    calls = []
    with dispatch.observe(calls.append):
        result = F.tanh(value)
    assert np.shares_memory(calls[0].args[0], memory)
    np.testing.assert_allclose(result if isinstance(result, np.ndarray) else result.numpy(), np.tanh(array), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_vjp_keeps_the_memory_that_was_given(kind, rng):
    x, w = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal((2, 3)).astype(np.float32)
    plain, expected = fastnn.vjp(F.linear, x, w)
    y, pullback = fastnn.vjp(F.linear, wrap(kind, x), wrap(kind, w))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, plain)
    for one, other in zip(pullback(np.ones_like(y)), expected(np.ones_like(y)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_tensors_leave_by_dlpack(rng):
    tensor = fastnn.tensor(rng.standard_normal((3, 4)))
    assert np.shares_memory(np.from_dlpack(tensor), tensor.numpy())
    torch = pytest.importorskip("torch")
    assert torch.from_dlpack(tensor).data_ptr() == tensor.numpy().ctypes.data


def test_results_go_on_to_torch_without_a_copy(rng):
    torch = pytest.importorskip("torch")
    result = F.relu(torch.from_numpy(rng.standard_normal((3, 4))))
    assert torch.from_numpy(result).data_ptr() == result.ctypes.data


def test_torch_tensors_that_require_gradients_are_refused_by_name():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="input"):
        F.relu(torch.ones(3, requires_grad=True))
