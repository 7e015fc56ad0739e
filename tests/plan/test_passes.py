"""What the passes over a graph do, and how a graph is shown."""

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import nn, optim

from .networks import batches, twins


def test_explain_and_graph():
    model, _, shape = twins("skip")
    plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="graph"):
        plan.graph()
    plan.step(*batches(shape, [5])[0])
    text = plan.explain()
    for word in (
        "step(float64[5, 6], int64[5])",
        "traced: linear, tanh",
        "linear_backward",
        "adam",
        "dead code",
        "memory: an arena",
    ):
        assert word in text
    graph = plan.graph()
    assert graph.startswith("digraph") and graph.count("->") > 10 and graph.endswith("}")


def test_an_activation_joins_the_linear_map_before_it():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4), nn.Sigmoid(), nn.Linear(4, 3))
    plan = fastnn.compile(model.double(), nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    ((x, y),) = batches((6,), [7])
    nn.CrossEntropyLoss()(model(fastnn.tensor(x)), y).backward()
    for name, gradient in plan.gradients(x, y).items():
        np.testing.assert_allclose(gradient, dict(model.named_parameters())[name].grad.numpy(), rtol=0, atol=1e-12)
    assert "epilogues: 3 activations" in plan.explain() and plan.explain().count("linear_activated ") == 3
    assert not any(f"  {name} " in plan.explain() for name in ("relu", "tanh", "sigmoid"))


def test_an_activation_stays_where_more_reads_its_input():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x):
            y = self.layer(x)
            return F.relu(y) + y

    model = Both()
    ((x, _),) = batches((6,), [7], np.float32)
    plan = fastnn.compile(model)
    np.testing.assert_array_equal(plan.predict(x), model(fastnn.tensor(x)).numpy())
    assert "epilogues: 0 activations" in plan.explain()
