"""Modules: registration by attribute, names, errors, observers."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn

from .networks import Net


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


def test_observers_are_told_the_layer():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    calls = []
    with dispatch.observe(calls.append):
        model(np.ones((1, 2), np.float32))
    assert [(call.owner, call.phase) for call in calls] == [(model[0], "forward"), (model[1], "forward")]
