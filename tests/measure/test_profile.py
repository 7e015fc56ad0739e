"""Profiles: right work, rates, parameters and arguments, on eager models and on plans."""

import numpy as np
import pytest

import fastnn
from fastnn import dispatch, nn, optim
from fastnn.measure import Profile, profile

from .profiles import ROOFLINE, profiled, small_network


def test_work_of_each_layer(compiled):
    found = profiled(compiled)
    layers = {layer.name: layer for layer in found.layers}
    order = [name for name in layers if name.isdecimal()]
    assert order == sorted(order) and list(layers)[-2:] == ["loss", "optimizer"]
    assert layers["0"].kind == "Conv2d" and layers["loss"].kind == "CrossEntropyLoss" and layers["optimizer"].kind == "Adam"
    assert layers["0"].parameters == 40 and layers["5"].parameters == 111 and found.parameters == 151
    linear = layers["5"].parts
    assert set(linear) == {"forward", "backward"} and set(layers["optimizer"].parts) == {"update"}
    assert linear["forward"].flops == 2 * 7 * 36 * 3 + 7 * 3
    assert linear["backward"].flops == 4 * 7 * 36 * 3 + 7 * 3
    assert linear["forward"].bytes == 4 * (7 * 36 + 3 * 36 + 3 + 7 * 3)
    assert linear["forward"].memory == 4 * 7 * 3
    assert layers["loss"].parts["forward"].special > 0
    # the images want no gradient, so that the first layer computes only those of its parameters
    assert layers["0"].parts["backward"].flops == 2 * 7 * 4 * 36 * 9 + 7 * 4 * 36
    assert all(part.seconds > 0 and part.spread >= 0 for layer in found.layers for part in layer.parts.values())


def test_what_ran_is_named(compiled):
    with fastnn.use_backend("reference"):
        found = profiled(compiled)
    kernels = [kernel for layer in found.layers for part in layer.parts.values() for kernel in part.kernels]
    assert "conv2d_backward (reference)" in kernels and all(kernel.endswith("(reference)") for kernel in kernels)
    if dispatch.is_available("cython"):
        linear = next(layer for layer in profiled(compiled).layers if layer.name == "5")
        assert all(f"cython {dispatch.isa.level()}" in kernel for kernel in linear.parts["backward"].kernels)


def test_rates_and_limits():
    found = profiled()
    part = next(layer for layer in found.layers if layer.name == "0").parts["forward"]
    assert part.flops_per_second == part.flops / part.seconds and part.intensity == part.flops / part.bytes
    assert part.limit == pytest.approx(ROOFLINE.seconds(part.flops, part.bytes))
    assert part.fraction == part.limit / part.seconds
    forward = found.phase("forward")
    assert forward.seconds == pytest.approx(
        sum(layer.parts["forward"].seconds for layer in found.layers if "forward" in layer.parts)
    )
    assert found.total == pytest.approx(sum(layer.seconds for layer in found.layers) + found.rest)
    assert profiled(roofline=False).phase("backward").fraction is None
    with pytest.raises(ValueError, match="name"):
        found.phase("sideways")


def test_nothing_is_changed(compiled):
    model = small_network()
    optimizer = optim.Adam(model.parameters())
    model.eval()
    before = model.state_dict()
    profile(model, (1, 6, 6), 7, optimizer=optimizer, compiled=compiled, roofline=False, budget=0.0)
    assert not model.training and not optimizer.state
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_prediction_is_all_forward(compiled):
    found = profiled(compiled, training=False)
    assert {phase for layer in found.layers for phase in layer.parts} == {"forward"} and not found.training
    assert "loss" not in {layer.name for layer in found.layers}


def test_a_plan_brings_its_loss_and_optimiser():
    model = small_network()
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), clip_grad_norm=1.0)
    found = profile(plan, (1, 6, 6), 7, roofline=False, budget=0.0)
    assert found.kind == "plan" and found.arena > 0
    assert {"loss", "optimizer"} <= {layer.name for layer in found.layers}
    with pytest.raises(ValueError, match="loss"):
        profile(plan, (1, 6, 6), loss=nn.MSELoss())
    with pytest.raises(ValueError, match="training=False"):
        profile(fastnn.compile(model), (1, 6, 6))
    assert profile(fastnn.compile(model), (1, 6, 6), training=False, roofline=False, budget=0.0).kind == "plan"


def test_losses_and_targets_by_default():
    regression = profile(nn.Linear(4, 1), 4, roofline=False, budget=0.0)
    assert regression.layers[-1].kind == "MSELoss" and regression.layers[0].name == "(model)"
    pictures = profile(nn.Conv2d(2, 3, 1), (2, 4, 4), loss=nn.CrossEntropyLoss(), roofline=False, budget=0.0)
    assert [layer.name for layer in pictures.layers] == ["(model)", "loss"]
    by_function = profile(nn.Linear(4, 3), 4, loss=lambda y, t: ((y - t) ** 2).mean(), roofline=False, budget=0.0)
    assert by_function.layers[-1].name == "loss"
    batch, target = np.ones((5, 4)), np.ones((5, 2))
    given = profile(nn.Linear(4, 2).double(), batch, loss=nn.MSELoss(), target=target, roofline=False, budget=0.0)
    assert given.input_shape == (5, 4) and given.dtype == "float64"
    assert profile(nn.ReLU(), 4, roofline=False, budget=0.0).training is False  # there is nothing to train


@pytest.mark.parametrize(
    "wrong, error, match",
    [
        ({"model": 3}, TypeError, "model"),
        ({"input_shape": (0, 3)}, ValueError, "input_shape"),
        ({"input_shape": "three"}, TypeError, "input_shape"),
        ({"input_shape": np.float32(3)}, ValueError, "input_shape"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"loss": 3}, TypeError, "loss"),
        ({"budget": -1}, ValueError, "budget"),
        ({"compiled": True}, ValueError, "optimizer"),
        ({"target": "no"}, TypeError, "target"),
        ({"optimizer": 3}, TypeError, "optimizer"),
        ({"roofline": "no"}, TypeError, "roofline"),
    ],
)
def test_wrong_arguments_are_named(wrong, error, match):
    with pytest.raises(error, match=match):
        profile(**({"model": nn.Linear(3, 2), "input_shape": 3, "roofline": False} | wrong))


def test_parameters_belong_to_who_computes_with_them():
    class Borrowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.tied, self.called = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 4)
            self.tied.weight = self.inner.weight

        def forward(self, x):
            return self.called(fastnn.functional.linear(x, self.inner.weight, self.inner.bias) @ self.tied.weight)

    found = fastnn.profile(Borrowing(), 4, budget=0.01, roofline=False)
    assert {layer.name: layer.parameters for layer in found.layers} == {"(model)": 20, "called": 20, "loss": 0}
    assert found.parameters == 40


def test_sums_of_gradients_belong_to_who_gives_them(compiled):
    class Again(nn.Module):
        """One layer twice, and a scale that is spread over all rows."""

        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.scale = nn.Parameter(np.ones(4, np.float32))

        def forward(self, x):
            return self.inner(fastnn.functional.tanh(self.inner(x)) * self.scale)

    model = Again()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    found = profile(model, 4, 7, loss=nn.MSELoss(), optimizer=optimizer, compiled=compiled, budget=0.01, roofline=False)
    layers = {layer.name: layer for layer in found.layers}
    assert set(layers) == {"(model)", "inner", "loss", "optimizer"}
    if compiled:
        backward = layers["inner"].parts["backward"].kernels
        assert any(kernel.startswith("add ") for kernel in backward), backward


def test_is_imported_when_it_is_asked_for():
    assert fastnn.profile is profile and isinstance(profiled(), Profile)
