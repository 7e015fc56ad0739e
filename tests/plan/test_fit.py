"""Training loops by plan."""

import warnings

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.training import Callback

from .networks import MODELS, assert_same_state, batches, twins


def test_fit_goes_on_without_a_plan():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x):
            y = self.layer(x)
            return y if float(y.sum()) > 0 else -y

    ((x, y),) = batches((6,), [8], np.float32)
    with pytest.warns(RuntimeWarning, match=r"test_fit.py:\d+: return y if float"):
        history = fastnn.fit(Branching(), (x, y), epochs=2, batch_size=4, progress=False)
    assert history.epochs == 2


@pytest.mark.parametrize("name", MODELS)
def test_fit_by_plan_equals_eager(name):
    model, twin, shape = twins(name)
    ((x, y),) = batches(shape, [22])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = fastnn.fit(model, (x, y), epochs=3, batch_size=5, rng=0, progress=False, validation=(x, y))
        second = fastnn.fit(twin, (x, y), epochs=3, batch_size=5, rng=0, progress=False, validation=(x, y), eager=True)
    assert_same_state(first.logs, second.logs)
    assert_same_state(model.state_dict(), twin.state_dict())


def test_plan_fit():
    class Count(Callback):
        steps = 0

        def on_batch_end(self, run):
            self.steps += 1

    model, _, shape = twins("mlp")
    ((x, y),) = batches(shape, [22])
    plan, count = fastnn.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05)), Count()
    history = plan.fit(x, y, epochs=20, batch_size=5, validation=(x, y), callbacks=[count], progress=False)
    assert count.steps == 100
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert {"val_loss", "accuracy", "val_accuracy"} <= history.logs.keys()


def test_fit_falls_back_for_batch_norm_without_momentum():
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, momentum=None))
    ((x, y),) = batches((6,), [8], np.float32)
    with pytest.warns(RuntimeWarning, match="momentum"):
        fastnn.fit(model, (x, y), epochs=1, batch_size=4, progress=False)
