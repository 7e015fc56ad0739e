"""The state of modules: copied, loaded, converted, exchanged with PyTorch."""

import copy

import numpy as np
import pytest

from fastnn import nn, tensor

from .networks import Net


def test_state_dict_is_a_copy_and_loads_into_the_same_memory():
    net, other = Net(), Net()
    state = net.state_dict()
    memory = other.first.weight.numpy()
    other.load_state_dict({name: tensor(value) for name, value in state.items()})
    assert other.first.weight.numpy() is memory
    np.testing.assert_array_equal(memory, net.first.weight.numpy())
    state["scale"][:] = 9
    assert net.scale.numpy()[0] == 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda s: s.pop("scale"), ValueError, "missing 'scale'"),
        (lambda s: s.update(extra=np.ones(1)), ValueError, "unexpected 'extra'"),
        (lambda s: s.update({"first.bias": np.ones(5)}), ValueError, r"first.bias.*\(4,\).*\(5,\)"),
        (lambda s: s.update({"first.bias": None}), TypeError, "first.bias"),
        (lambda s: s.update({"first.bias": np.array(["a"] * 4)}), TypeError, "first.bias"),
    ],
)
def test_a_wrong_state_dict_is_refused_and_changes_nothing(change, error, words):
    net = Net()
    before = net.state_dict()
    state = {name: np.full_like(value, 7) for name, value in before.items()}
    change(state)
    with pytest.raises(error, match=words):
        net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_not_strict_tells_what_did_not_fit():
    result = Net().load_state_dict({"scale": np.zeros(2), "extra": np.zeros(1)}, strict=False)
    assert "first.weight" in result.missing_keys and result.unexpected_keys == ["extra"]


def test_modes_and_conversions():
    net = Net()
    assert net.training and not net.eval().training and not net.blocks[1].training
    net.train()
    assert net.blocks[0].training
    net.double()
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net(np.ones((5, 3))).dtype == np.float64
    assert {p.dtype for p in net.float().parameters()} == {np.dtype(np.float32)}
    with pytest.raises(TypeError, match="dtype"):
        net.to(np.int64)
    net.requires_grad_(False)
    assert not net(np.ones((5, 3), np.float32)).requires_grad


def test_copies_are_independent():
    net = Net()
    twin = copy.deepcopy(net)
    assert repr(twin) == repr(net) and all(p.requires_grad for p in twin.parameters())
    twin.scale.numpy()[:] = 5
    assert (net.scale.numpy() == 1).all() and list(twin.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("0.weight", np.ones((3, 2), np.complex64), TypeError),
        ("0.weight", np.ones((2, 3)), ValueError),
        ("1.num_batches_tracked", np.array(1.5), TypeError),  # would be cut off
        ("1.num_batches_tracked", np.array([1]), ValueError),
    ],
)
def test_nothing_is_loaded_where_one_value_does_not_fit(key, value, error):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = model.state_dict()
    with pytest.raises(error, match=key):
        model.load_state_dict({name: np.zeros_like(array) for name, array in before.items()} | {key: value})
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(TypeError, match="mapping"):
        model.load_state_dict([1])


def test_loading_keeps_the_dtype_and_takes_live_memory(rng):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).double()
    a, b = (layer.weight.numpy().copy() for layer in model)
    swapped = {
        "0.weight": model[1].weight,
        "1.weight": model[0].weight,
        "0.bias": np.ones(2, np.float32),
        "1.bias": np.ones(2, np.int8),
    }
    model.load_state_dict(swapped)
    np.testing.assert_array_equal(model[0].weight.numpy(), b)
    np.testing.assert_array_equal(model[1].weight.numpy(), a)
    assert {p.dtype for p in model.parameters()} == {np.dtype(np.float64)}
    fixed = nn.Module()
    fixed.w = nn.Parameter(np.broadcast_to(1.0, (3,)))
    with pytest.raises(ValueError, match="w: .*read-only"):
        fixed.load_state_dict({"w": np.zeros(3)})


def test_a_loaded_value_is_a_change_in_place():
    layer = nn.Linear(2, 2)
    loss = layer(layer(np.ones((1, 2), np.float32))).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(ValueError, match="in place|changed"):
        loss.backward()


def test_state_dict_goes_both_ways_with_torch(rng):
    torch = pytest.importorskip("torch")

    def build(nn):
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(2, 4), nn.Flatten(),
            nn.Linear(16, 6, bias=False), nn.LayerNorm(6), nn.PReLU(6), nn.Dropout(0.5), nn.Linear(6, 3),
        )  # fmt: skip

    ours, theirs = build(nn), build(torch.nn)
    state = theirs.state_dict()
    mine = ours.state_dict()
    assert list(mine) == list(state)
    for name, array in mine.items():
        assert array.shape == tuple(state[name].shape) and str(array.dtype) == str(state[name].dtype).removeprefix("torch.")
    x = rng.standard_normal((5, 2, 6, 6), dtype=np.float32)
    ours.load_state_dict(state)
    np.testing.assert_allclose(ours.eval()(x).numpy(), theirs.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    fresh = build(nn)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in fresh.state_dict().items()})
    np.testing.assert_allclose(fresh.eval()(x).numpy(), theirs.eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
