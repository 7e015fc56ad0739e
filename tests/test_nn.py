"""Modules: registration, state, containers, modes, limits on gradients."""

import numpy as np
import pytest

import fastnn
from fastnn import nn, tensor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False))])
        self.scale = nn.Parameter(np.ones(2, np.float32))
        self.register_buffer("calls", np.zeros(1))
        self.register_buffer("scratch", np.zeros(3), persistent=False)

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return x * self.scale


def test_registration_by_attribute_and_names():
    net = Net()
    names = ["scale", "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.1.weight"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [name for name, _ in net.named_buffers()] == ["calls", "scratch"]
    assert list(net.state_dict()) == ["scale", "calls", *names[1:]]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "first",
        "blocks",
        "blocks.0",
        "blocks.1",
        "blocks.1.0",
        "blocks.1.1",
    ]
    assert all(p.requires_grad and p.dtype == np.float32 for p in net.parameters())
    del net.first
    assert "first.weight" not in net.state_dict()
    with pytest.raises(AttributeError, match="first"):
        _ = net.first


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


def test_apply_goes_everywhere():
    seen = []
    net = Net()
    net.apply(seen.append)
    assert len(seen) == 7 and seen[-1] is net


def test_a_module_used_twice_accumulates_and_is_listed_once():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    assert len(list(model.parameters())) == 2 and len(model.state_dict()) == 4
    model(np.ones((1, 3), np.float32)).sum().backward()
    twice = layer.weight.grad.numpy().copy()
    model.zero_grad()
    assert layer.weight.grad is None
    hidden = layer(np.ones((1, 3), np.float32)).tanh().detach()
    layer(hidden).sum().backward()
    assert np.abs(layer.weight.grad.numpy() - twice).max() > 1e-6
    model.zero_grad(set_to_none=False)
    assert (layer.weight.grad.numpy() == 0).all()


def test_sequential_and_module_list():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    model.append(nn.Linear(3, 1))
    assert len(model) == 3 and isinstance(model[-1], nn.Linear) and isinstance(model[:2], nn.Sequential) and len(model[:2]) == 2
    named = nn.Sequential({"a": nn.ReLU(), "b": nn.Tanh()})
    assert isinstance(named.b, nn.Tanh)
    items = nn.ModuleList([nn.ReLU()])
    items.insert(0, nn.Tanh())
    items.extend([nn.Sigmoid()])
    assert [type(m).__name__ for m in items] == ["Tanh", "ReLU", "Sigmoid"]
    del items[1]
    assert [type(m).__name__ for m in items] == ["Tanh", "Sigmoid"]
    items[0] = nn.ReLU()
    assert isinstance(items[0], nn.ReLU)
    with pytest.raises(IndexError, match="index"):
        items[5]
    with pytest.raises(TypeError, match="module '0'"):
        nn.Sequential(3)
    with pytest.raises(TypeError, match="module"):
        items.append(3)


def test_errors_of_modules():
    with pytest.raises(TypeError, match="super"):

        class Early(nn.Module):
            def __init__(self):
                self.layer = nn.ReLU()

        Early()
    with pytest.raises(TypeError, match="forward"):
        nn.Module()(1)
    with pytest.raises(TypeError, match="Parameter"):
        Net().register_parameter("x", np.ones(1))
    with pytest.raises(TypeError, match="scale"):
        Net().scale = np.ones(2)
    with pytest.raises(ValueError, match="name"):
        Net().register_buffer("a.b", np.ones(1))
    with pytest.raises(TypeError, match="requires_grad"):
        nn.Parameter(np.ones(2, np.int64))
    with pytest.raises(ValueError, match="device"):
        nn.Linear(2, 2, device="cuda")
    with pytest.raises(ValueError, match="in_features"):
        nn.Linear(-1, 2)
    with pytest.raises(ValueError, match="p:"):
        nn.Dropout(1.5)
    with pytest.raises(ValueError, match="inplace"):
        nn.Dropout(0.5, inplace=True)
    with pytest.raises(ValueError, match="inplace"):
        nn.ReLU(inplace=True)


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


def test_repr_shows_the_structure():
    text = repr(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1)))
    assert "(0): Linear(in_features=3, out_features=2, bias=True)" in text and "(1): Dropout(p=0.1, inplace=False)" in text
