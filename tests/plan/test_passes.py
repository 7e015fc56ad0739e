"""What the passes over a graph do, each compared with the model's own Python, and how a graph is shown."""

import re

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch, nn, optim
from fastnn.plan import passes

from .networks import batches, twins


def compiled(plan):
    """The latest program and, by its name, what each pass says."""
    latest = list(plan._compiled.values())[-1]
    return [node.operator.name for node in latest.program.graph.nodes if not node.is_view], dict(
        n.split(": ", 1) for n in latest.notes
    )


def assert_gradients_are_the_tapes(model, x, y, loss=None, tolerance=1e-12):
    """Compile the gradients and compare; the plan."""
    loss = loss or nn.CrossEntropyLoss()
    plan = fastnn.compile(model, loss)
    found = plan.gradients(x, y)
    model.zero_grad()
    loss(model(fastnn.tensor(x)), fastnn.tensor(y)).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad.numpy(), rtol=0, atol=tolerance, err_msg=name)
    return plan


def test_explain_and_graph():
    model, _, shape = twins("skip")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="graph"):
        plan.graph()
    plan.step(*batches(shape, [5])[0])
    text = plan.explain()
    before, after = text.split("  after: ")
    assert text.startswith("step(float64[5, 6], int64[5])\n  before: ")
    for word in (" tanh ", "linear_backward", "adam", "dead code", "order", "epilogues", "masks", "chains", "memory: an arena"):
        assert word in before
    assert " tanh " not in after and "linear_activated " in after
    calls = [int(count) for count in re.findall(r"(\d+) calls", text)]
    assert calls[0] > calls[-1] > 5
    graph = plan.graph()
    assert graph.startswith("digraph") and graph.count("->") > 10 and graph.endswith("}")
    for colour in ("lightblue", "lightsalmon", "lightgreen"):
        assert colour in graph


def test_dead_code():
    class Wasteful(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            self.unused(x).tanh()
            return self.layer(x)

    ((x, y),) = batches((6,), [5], np.float32)
    plan = fastnn.compile(Wasteful(), nn.CrossEntropyLoss())
    assert set(plan.gradients(x, y)) == {"layer.weight", "layer.bias"}
    names, notes = compiled(plan)
    assert names.count("linear") == 1 and "tanh" not in names and notes["dead code"].startswith("2 calls")


def test_an_activation_joins_the_linear_map_before_it():
    layers = [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3)]
    ((x, y),) = batches((6,), [7])
    names, notes = compiled(assert_gradients_are_the_tapes(nn.Sequential(*layers).double(), x, y))
    assert names.count("linear_activated") == 3 and notes["epilogues"].startswith("3 activations")
    assert not {"relu", "tanh", "sigmoid"} & set(names)


class Both(nn.Module):
    """An activation and its input are both read."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        y = self.layer(x)
        return F.relu(y) + y


def test_an_activation_stays_where_more_reads_its_input():
    model = Both()
    ((x, _),) = batches((6,), [7], np.float32)
    plan = fastnn.compile(model)
    np.testing.assert_array_equal(plan.predict(x), model(fastnn.tensor(x)).numpy())
    assert compiled(plan)[1]["epilogues"].startswith("0 activations")


def test_a_mask_joins_the_gradient_of_a_small_linear_map():
    layers = [nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3)]
    ((x, y),) = batches((6,), [7])
    names, notes = compiled(assert_gradients_are_the_tapes(nn.Sequential(*layers).double(), x, y))
    assert names.count("linear_activated_backward") == 3 and notes["masks"].startswith("3 gradients")
    ((x, y),) = batches((6,), [passes.masks.MOST // 5 + 1])
    names, _ = compiled(assert_gradients_are_the_tapes(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double(), x, y))
    assert "linear_activated_backward" not in names and "relu_backward" in names


def test_a_mask_stays_where_more_reads_it():
    ((x, y),) = batches((6,), [7])
    names, _ = compiled(assert_gradients_are_the_tapes(nn.Sequential(Both()).double(), x, y))
    assert "relu_backward" in names


def pooled(pool=None):
    pool = pool or nn.MaxPool2d(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(36, 3)).double()


def test_relu_goes_after_max_pooling():
    fastnn.manual_seed(0)
    model = pooled()
    ((x, y),) = batches((1, 6, 6), [5])
    x[0] = -100  # windows without anything positive
    x[1] = 0
    names, notes = compiled(assert_gradients_are_the_tapes(model, x, y))
    assert notes["order"].startswith("1 relus")
    assert names.index("max_pool2d") < names.index("relu") and names.index("relu_backward") < names.index("max_pool2d_backward")
    plan = fastnn.compile(model)
    np.testing.assert_array_equal(plan.predict(x), model.eval()(fastnn.tensor(x)).numpy())
    x[2, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(plan.predict(x), model(fastnn.tensor(x)).numpy())


def test_relu_stays_where_more_reads_it_or_windows_leave_the_plane():
    class Reused(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(9, 3)

        def forward(self, x):
            y = F.relu(x)
            return self.layer((F.max_pool2d(y, 2) + y[:, :, ::2, ::2]).reshape(len(x), -1))

    ((x, y),) = batches((1, 6, 6), [5])
    assert compiled(assert_gradients_are_the_tapes(Reused().double(), x, y))[1]["order"].startswith("0 relus")
    dilated = nn.MaxPool2d(2, stride=2, padding=1, dilation=2)
    assert compiled(assert_gradients_are_the_tapes(pooled(dilated), x, y))[1]["order"].startswith("0 relus")


class Arithmetic(nn.Module):
    """Chains in the forward pass and in the gradient."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 300), nn.Linear(300, 3)

    def forward(self, x):
        h = self.first(x)
        h = F.relu(h.tanh() * 0.5 + h) - F.sigmoid(-h) / 2.0 + F.silu(h)
        return self.last((h * h + 1.0).sqrt().tanh() * h)


def test_elementwise_chains():
    pytest.importorskip("numba")
    fastnn.manual_seed(0)
    ((x, y),) = batches((6,), [passes.chains.LEAST // 300 + 1])
    for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        plan = assert_gradients_are_the_tapes(Arithmetic().to(dtype), x.astype(dtype), y, tolerance=tolerance)
        names, notes = compiled(plan)
        fused = [name for name in names if "+" in name]
        assert len(fused) >= 3 and notes["chains"].startswith(f"{len(fused)} of ")
        assert set(fused) <= set(plan.explain().split())


def test_small_chains_and_those_without_numba_stay(monkeypatch):
    ((x, y),) = batches((6,), [passes.chains.LEAST // 300 + 1])
    few = assert_gradients_are_the_tapes(Arithmetic().double(), x[:5], y[:5])
    monkeypatch.setattr(passes.chains, "has_numba", lambda: False)
    none = assert_gradients_are_the_tapes(Arithmetic().double(), x, y)
    assert not any("+" in name for plan in (few, none) for name in compiled(plan)[0])


def test_chains_on_every_backend():
    pytest.importorskip("numba")
    model = Arithmetic().double()
    ((x, y),) = batches((6,), [passes.chains.LEAST // 300 + 1])
    plan = fastnn.compile(model, nn.CrossEntropyLoss())
    expected = plan.gradients(x, y)
    graph = next(iter(plan._compiled.values())).program.graph
    with fastnn.use_backend("reference"):
        found = plan.gradients(x, y)
        assert not any("+" in name for name in compiled(plan)[0])
    for name, gradient in expected.items():
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=1e-11)
    chain = next(n.operator for n in graph.nodes if "+" in n.operator.name)
    arrays = [np.random.default_rng(i).standard_normal(() if scalar else 70000) for i, scalar in enumerate(chain.scalars)]
    with fastnn.use_backend("reference"):
        (reference,) = dispatch.run(chain, tuple(arrays))
    np.testing.assert_allclose(dispatch.run(chain, tuple(arrays))[0], reference, rtol=1e-12, atol=1e-12)
