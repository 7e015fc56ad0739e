"""Modules: registration, state, containers, modes, limits on gradients."""

import copy
from collections import OrderedDict

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, tensor


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


def test_names_that_are_taken_are_refused():
    layer = nn.Linear(2, 2)
    for register in (layer.register_buffer, layer.register_parameter, layer.add_module):
        for name in ("forward", "in_features"):
            with pytest.raises(ValueError, match=name):
                register(name, None)
    with pytest.raises(ValueError, match="weight"):
        layer.register_buffer("weight", np.ones(1))
    with pytest.raises(ValueError, match="forward"):
        layer.forward = nn.ReLU()
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_an_assigned_module_or_parameter_takes_the_place():
    net = Net()
    net.extra = 3
    net.extra = nn.Parameter(np.ones(1))
    net.first = nn.Parameter(np.ones(1))
    assert "extra" in net.state_dict() and "first" in net.state_dict() and "first.weight" not in net.state_dict()
    net.scale = None
    assert net.scale is None and "scale" not in net.state_dict()
    net.calls = np.full(1, 4.0)
    assert isinstance(net.calls, fastnn.Tensor) and net.state_dict()["calls"] == 4
    with pytest.raises(TypeError, match="blocks"):
        net.blocks = 3
    assert "extra" in dir(net) and "blocks" in dir(net)


def test_plain_attributes_and_properties_are_as_anywhere():
    class Scaled(nn.Module):
        def __init__(self):
            self.early = 1
            super().__init__()

        @property
        def factor(self):
            return self._factor

        @factor.setter
        def factor(self, value):
            self._factor = 2 * value

    module = Scaled()
    module.factor = 3
    assert (module.early, module.factor) == (1, 6)
    del module.early
    for name in ("early", "never"):
        with pytest.raises(AttributeError, match=name):
            getattr(module, name)
        with pytest.raises(AttributeError, match=name):
            delattr(module, name)


def test_circles_and_modules_without_init_are_refused():
    inner = nn.Sequential(nn.ReLU())
    outer = nn.Sequential(inner)
    for module in (inner, outer):
        with pytest.raises(ValueError, match="itself"):
            inner.append(module)

    class Bare(nn.Module):
        def __init__(self):
            pass

    for use in (
        lambda: nn.Sequential(Bare()),
        lambda: list(Bare().parameters()),
        lambda: Bare().register_buffer("x", np.ones(1)),
    ):
        with pytest.raises(TypeError, match="super"):
            use()


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


def test_repr_is_torchs():
    torch = pytest.importorskip("torch")

    def build(nn):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.Sequential(nn.Linear(2, 2), nn.Sequential())

            def extra_repr(self):
                return "first\nsecond"

        class Leaf(nn.Module):
            def extra_repr(self):
                return "one\ntwo"

        return nn.Sequential(OrderedDict(a=Block(), b=Leaf(), c=nn.Module()))

    assert repr(build(nn)) == repr(build(torch.nn))


def test_containers_more():
    first, second = nn.ReLU(), nn.Tanh()
    items = nn.ModuleList([first])
    items += [second]
    items.extend(items)
    assert len(items) == 4 and list(items[-2:]) == [first, second] and isinstance(items[1:], nn.ModuleList)
    del items[1:3]
    assert list(items) == [first, second] and list(items._modules) == ["0", "1"]
    for wrong in (None, 3):
        with pytest.raises(TypeError, match="module"):
            items.insert(0, wrong)
        with pytest.raises(TypeError, match="module"):
            items[0] = wrong
        assert list(items) == [first, second]
    with pytest.raises(TypeError, match="index"):
        items["0"]
    with pytest.raises(TypeError, match="forward"):
        items(1)
    with pytest.raises(ValueError, match="taken"):
        nn.Sequential(OrderedDict({"1": first})).append(second)


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


def test_clipping_copies_what_is_read_only_and_scales_once():
    p = nn.Parameter(np.zeros(2))
    p.grad = np.broadcast_to(3.0, (2,))
    nn.utils.clip_grad_value_(p, 1.0)
    np.testing.assert_array_equal(p.grad.numpy(), [1, 1])
    p.grad = np.array([3.0, 4.0])
    assert nn.utils.clip_grad_norm_([p, p], 1.0) == 5
    np.testing.assert_allclose(p.grad.numpy(), [0.6, 0.8], rtol=1e-5)
    assert nn.utils.clip_grad_norm_([], 1.0) == nn.utils.clip_grad_norm_([], 1.0, np.inf) == 0


def test_observers_are_told_the_layer():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    calls = []
    with dispatch.observe(calls.append):
        model(np.ones((1, 2), np.float32))
    assert [(call.owner, call.phase) for call in calls] == [(model[0], "forward"), (model[1], "forward")]
