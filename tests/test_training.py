"""The training loop: batches, callbacks, interruption."""

import sys

import numpy as np
import pytest

import fastnn
from fastnn import nn, optim
from fastnn.training import Callback, EarlyStopping, LearningRateSchedule, WeightAverage, accuracy, evaluate, predict


@pytest.fixture
def rows(rng):
    """Two classes that a line separates."""
    x = rng.standard_normal((70, 3)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


@pytest.fixture
def model():
    fastnn.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2))


class Watch(Callback):
    """Notes the size of every batch and the order of events."""

    def __init__(self):
        self.sizes, self.events, self.last = [], [], 0

    def on_start(self, run):
        self.events.append("start")

    def on_batch_end(self, run):
        self.sizes.append(run.total - self.last)
        self.last = run.total

    def on_epoch_end(self, run):
        self.events.append(run.epoch)

    def on_end(self, run):
        self.events.append("end")


class InterruptAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_batch_end(self, run):
        if run.step == self.step:
            raise KeyboardInterrupt


def test_learns_and_keeps_the_partial_batch(model, rows):
    watch = Watch()
    history = fastnn.fit(
        model, rows, validation=rows, optimizer=optim.Adam(model.parameters(), lr=0.1), epochs=8, batch_size=32, rng=0,
        callbacks=[watch], progress=False,
    )  # fmt: skip
    assert watch.sizes == [32, 32, 6] * 8
    assert watch.events == ["start", *range(1, 9), "end"]
    assert set(history.logs) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.epochs == 8 and not history.interrupted and history.seconds > 0
    assert history["loss"][-1] < history["loss"][0] / 2
    assert history["val_accuracy"][-1] == accuracy(predict(model, rows[0]), rows[1]) > 0.9


def test_epoch_loss_is_the_mean_over_rows(model, rows):
    history = fastnn.fit(model, rows, optimizer=optim.SGD(model.parameters(), lr=0.0), epochs=1, batch_size=32, progress=False)
    expected, score = evaluate(model, *rows, nn.CrossEntropyLoss(), accuracy)
    assert history["loss"][0] == pytest.approx(expected, rel=1e-5)
    assert history["accuracy"][0] == pytest.approx(score)


def test_one_batch_is_one_step_by_hand(model, rows):
    x, y = rows
    twin = nn.Sequential(nn.Linear(3, 2))
    twin.load_state_dict(model.state_dict())
    fastnn.fit(
        model, rows, optimizer=optim.SGD(model.parameters(), lr=0.5), epochs=1, batch_size=100, shuffle=False, progress=False
    )
    loss = nn.CrossEntropyLoss()(twin(x), y)
    loss.backward()
    for (name, before), gradient in zip(twin.state_dict().items(), [p.grad.numpy() for p in twin.parameters()], strict=True):
        np.testing.assert_allclose(model.state_dict()[name], before - 0.5 * gradient, rtol=1e-5, atol=1e-7)


def test_seed_repeats_and_shuffling_changes_the_order(rows):
    def weights(rng, shuffle=True):
        model = nn.Sequential(nn.Linear(3, 2, rng=1))
        fastnn.fit(model, rows, epochs=2, batch_size=16, rng=rng, shuffle=shuffle, progress=False)
        return model.state_dict()["0.weight"]

    np.testing.assert_array_equal(weights(5), weights(5))
    np.testing.assert_array_equal(weights(5, shuffle=False), weights(6, shuffle=False))
    assert not np.array_equal(weights(5), weights(6))


def test_regression_defaults(rng):
    x = rng.standard_normal((50, 2))
    y = x @ np.array([[1.0], [-2.0]]) + 3
    model = nn.Linear(2, 1)
    history = fastnn.fit(model, (x, y), optimizer=optim.Adam(model.parameters(), lr=0.1), epochs=60, progress=False)
    assert list(history.logs) == ["loss"]
    np.testing.assert_allclose(model.weight.numpy(), [[1, -2]], atol=0.05)
    assert model.weight.dtype == np.float32


def test_own_loss_and_metric(model, rows):
    def share_of_ones(prediction, target):
        return float((prediction.argmax(1) == 1).mean())

    history = fastnn.fit(
        model, rows, validation=rows, loss=lambda p, t: (p * p).mean(), metric=share_of_ones, epochs=2, progress=False
    )
    assert {"share_of_ones", "val_share_of_ones"} < set(history.logs)
    assert history["loss"][1] < history["loss"][0]


def test_clipping_limits_the_step(model, rows):
    before = model.state_dict()
    fastnn.fit(
        model, rows, optimizer=optim.SGD(model.parameters(), lr=1.0), epochs=1, batch_size=70, clip_grad_norm=0.01, progress=False
    )
    moved = sum(np.sum((value - before[name]) ** 2) for name, value in model.state_dict().items())
    assert np.sqrt(moved) == pytest.approx(0.01, rel=1e-3)
    before = model.state_dict()
    fastnn.fit(
        model,
        rows,
        optimizer=optim.SGD(model.parameters(), lr=1.0),
        epochs=1,
        batch_size=70,
        clip_grad_value=1e-3,
        progress=False,
    )
    assert max(np.abs(value - before[name]).max() for name, value in model.state_dict().items()) <= 1.001e-3


@pytest.mark.parametrize("mode", [True, False])
def test_interruption_leaves_a_usable_model(rows, mode):
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train(mode)
    watch = Watch()
    history = fastnn.fit(model, rows, epochs=5, batch_size=32, callbacks=[watch, InterruptAt(5)], progress=False)
    assert history.interrupted
    assert history.epochs == 1
    assert watch.events == ["start", 1, "end"]
    assert all(module.training is mode for module in model.modules())
    assert np.isfinite(predict(model, rows[0])).all()
    again = fastnn.fit(model, rows, epochs=2, progress=False)
    assert again.epochs == 2 and not again.interrupted


def test_an_error_still_restores_the_mode(model, rows):
    model.eval()
    watch = Watch()

    class Fail(Callback):
        def on_batch_end(self, run):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fastnn.fit(model, rows, epochs=2, callbacks=[watch, Fail()], progress=False)
    assert not model.training
    assert watch.events == ["start", "end"]


class Scripted(Callback):
    """Puts given numbers in the logs and stamps the weights with the epoch."""

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, run):
        run.logs["score"] = self.values[run.epoch - 1]
        run.model[0].weight.numpy()[:] = run.epoch


@pytest.mark.parametrize(
    "values, mode, min_delta, epochs, best",
    [
        ([5, 4, 3, 3, 3, 0], "min", 0.0, 5, 3),
        ([1, 2, 3, 2, 2, 9], "max", 0.0, 5, 3),
        ([5, 4.95, 4.9, 0, 0, 0], "min", 0.5, 3, 1),
        ([5, np.nan, np.nan, 0, 0, 0], "min", 0.0, 3, 1),
        ([6, 5, 4, 3, 2, 1], "min", 0.0, 6, 6),
    ],
)
def test_early_stopping(model, rows, values, mode, min_delta, epochs, best):
    stopping = EarlyStopping(patience=2, min_delta=min_delta, monitor="score", mode=mode)
    history = fastnn.fit(model, rows, epochs=6, callbacks=[Scripted(values), stopping], progress=False)
    assert history.epochs == epochs
    assert stopping.best_epoch == best
    assert (model.state_dict()["0.weight"] == best).all()


def test_early_stopping_without_restoring(model, rows):
    fastnn.fit(
        model, rows, epochs=6, progress=False,
        callbacks=[Scripted([1, 2, 3, 4, 5, 6]), EarlyStopping(2, restore_best=False, monitor="score")],
    )  # fmt: skip
    assert (model.state_dict()["0.weight"] == 3).all()


def test_unknown_monitor_is_named(model, rows):
    with pytest.raises(ValueError, match="monitor: expected one of loss, accuracy, got 'val_loss'"):
        fastnn.fit(model, rows, epochs=1, callbacks=[EarlyStopping(monitor="val_loss")], progress=False)


def test_learning_rate_schedules(model, rows):
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    schedule = LearningRateSchedule(optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5))
    fastnn.fit(model, rows, optimizer=optimizer, epochs=3, callbacks=[schedule], progress=False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.125)
    schedule = LearningRateSchedule(optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5), every="batch")
    fastnn.fit(model, rows, optimizer=optimizer, epochs=1, batch_size=32, callbacks=[schedule], progress=False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.125 / 8)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.1)
    schedule = LearningRateSchedule(plateau, monitor="score")
    fastnn.fit(model, rows, optimizer=optimizer, epochs=2, callbacks=[Scripted([1, 2]), schedule], progress=False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0125 / 8)


def test_weight_average(model, rows):
    fastnn.fit(model, rows, epochs=4, callbacks=[Scripted([0] * 4), WeightAverage(start=0.5)], progress=False)
    np.testing.assert_allclose(model.state_dict()["0.weight"], 3.5)


def test_progress_without_rich_writes_lines(model, rows, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    fastnn.fit(model, rows, epochs=20)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("epoch 20/20  loss ") and "accuracy" in lines[-1] and lines[-1].endswith("examples/s")


def test_bar(model, rows, capsys):
    pytest.importorskip("rich")
    from fastnn.training.progress import Bar

    fastnn.fit(model, rows, epochs=2, callbacks=[Bar()], progress=False)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown and "examples/s" in shown


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"train": np.zeros((3, 3))}, TypeError, "train"),
        ({"train": (np.zeros((3, 3), np.float32), np.zeros(2, int))}, ValueError, "train"),
        ({"train": (np.zeros((0, 3), np.float32), np.zeros(0, int))}, ValueError, "train"),
        ({"train": (None, np.zeros(2, int))}, TypeError, "train x"),
        ({"validation": (np.zeros((3, 3), np.float32), np.zeros(2, int))}, ValueError, "validation"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"epochs": 1.5}, TypeError, "epochs"),
        ({"batch_size": -1}, ValueError, "batch_size"),
        ({"rng": "dice"}, TypeError, "rng"),
    ],
)
def test_errors_name_the_argument(model, rows, arguments, error, message):
    given = {"train": rows, "progress": False} | arguments
    with pytest.raises(error, match=message):
        fastnn.fit(model, **given)
