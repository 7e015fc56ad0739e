"""Several processes train one model: as threads with a communicator of their own here, and under mpiexec where MPI is installed."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn import distributed, nn, optim
from fastnn.cli import main
from fastnn.training import Callback, DataParallel


class Team:
    """A communicator whose processes are threads of this one."""

    def __init__(self, size):
        self.size, self.rank, self.barrier, self.slots = (
            size,
            threading.local(),
            threading.Barrier(size, timeout=30),
            [None] * size,
        )
        self.aborted = []

    def Get_size(self):
        return self.size

    def Get_rank(self):
        return self.rank.number

    def _exchange(self, value):
        self.slots[self.rank.number] = value
        self.barrier.wait()
        everything = [np.array(value) for value in self.slots]
        self.barrier.wait()
        return everything

    def Allreduce(self, own, total):
        total[...] = sum(self._exchange(own))

    def Allgatherv(self, own, target):
        array, counts = target
        parts = [part.reshape(-1) for part in self._exchange(own)]
        assert [part.size for part in parts] == list(counts)
        array.reshape(-1)[...] = np.concatenate(parts)

    def Bcast(self, array, root):
        array[...] = self._exchange(array)[root]

    def Abort(self, code):
        self.aborted.append((self.rank.number, code))
        self.barrier.abort()

    def run(self, work):
        """The results of ``work(self)`` in each thread; an exception where one raised."""
        results = [None] * self.size

        def one(number):
            self.rank.number = number
            try:
                results[number] = work(self)
            except BaseException as error:
                results[number] = error

        threads = [threading.Thread(target=one, args=(number,)) for number in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


def make(seed=0, layers=lambda: [nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)], **limits):
    fastnn.manual_seed(seed)
    model = nn.Sequential(*layers()).double()
    optimizer = optim.Adam(model.parameters(), lr=0.02, weight_decay=0.01)
    return fastnn.compile(model, nn.CrossEntropyLoss(), optimizer, **limits)


def data(rng, rows=50):
    return rng.standard_normal((rows, 6)), rng.integers(0, 3, rows)


@pytest.mark.parametrize("limits", [{}, {"clip_grad_norm": 0.1}, {"clip_grad_value": 0.01}], ids=str)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_same_as_one_process_with_the_whole_batch(size, limits):
    lock = threading.Lock()

    def work(team):
        with lock:  # manual_seed is for all threads
            plan = make(**limits)
        x, y = data(np.random.default_rng(0))
        history = plan.fit(x, y, epochs=2, batch_size=10, rng=3, progress=False, comm=team)
        return plan.model.state_dict(), history

    alone, history = work(None)
    results = Team(size).run(work)
    for weights, log in results:
        for name, value in weights.items():
            np.testing.assert_allclose(value, alone[name], rtol=0, atol=1e-12, err_msg=name)
            np.testing.assert_array_equal(value, results[0][0][name])  # to the bit
        np.testing.assert_allclose(log["loss"], history["loss"], rtol=1e-12)
        np.testing.assert_allclose(log["accuracy"], history["accuracy"], rtol=1e-12)


def test_processes_without_rows_and_other_weights_take_part():
    lock = threading.Lock()

    def work(team):
        with lock:
            plan = make(seed=team.Get_rank())
        x, y = data(np.random.default_rng(0), rows=11)
        history = plan.fit(x, y, epochs=1, batch_size=2, shuffle=False, validation=(x, y), progress=False, comm=team)
        return plan.model.state_dict(), history

    results = Team(3).run(work)
    alone = make(seed=0)
    x, y = data(np.random.default_rng(0), rows=11)
    history = alone.fit(x, y, epochs=1, batch_size=2, shuffle=False, validation=(x, y), progress=False)
    for weights, log in results:
        for name, value in alone.model.state_dict().items():
            np.testing.assert_allclose(weights[name], value, rtol=0, atol=1e-12)
        assert log["val_loss"] == pytest.approx(history["val_loss"], rel=1e-10)
        assert log["val_accuracy"] == pytest.approx(history["val_accuracy"])


def test_statistics_are_averaged():
    lock = threading.Lock()
    layers = lambda: [nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)]  # noqa: E731

    def work(team):
        with lock:
            plan = make(layers=layers)
        x, y = data(np.random.default_rng(0), rows=12)
        plan.fit(x, y, epochs=1, batch_size=12, shuffle=False, progress=False, comm=team)
        return plan.model.state_dict()

    one, other = Team(2).run(work)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])
    model = make(layers=layers).model
    x, _ = data(np.random.default_rng(0), rows=12)
    hidden = model[0](fastnn.tensor(x)).numpy()
    expected = 0.1 * (hidden[:6].var(0, ddof=1) + hidden[6:].var(0, ddof=1)) / 2 + 0.9
    np.testing.assert_allclose(one["1.running_var"], expected, rtol=1e-12)


@pytest.mark.parametrize("who", [0, 1])
def test_one_that_stops_stops_all(who):
    lock = threading.Lock()

    class Stop(Callback):
        def __init__(self, team):
            self.team = team

        def on_epoch_end(self, run):
            if run.epoch == 2 and self.team.Get_rank() == who:
                run.stop = True

    def work(team):
        with lock:
            plan = make()
        x, y = data(np.random.default_rng(0))
        return plan.fit(x, y, epochs=4, batch_size=10, progress=False, comm=team, callbacks=[Stop(team)]).epochs

    assert Team(2).run(work) == [2, 2]


def test_one_that_fails_ends_all(capsys):
    lock = threading.Lock()

    def work(team):
        with lock:
            plan = make()
        x, y = data(np.random.default_rng(0))
        if team.Get_rank() == 1:
            y[-1] = 7
        return plan.fit(x, y, epochs=1, batch_size=10, shuffle=False, progress=False, comm=team)

    team = Team(2)
    results = team.run(work)
    assert (1, 1) in team.aborted
    assert isinstance(results[1], SystemExit)
    printed = capsys.readouterr().err
    assert "process 1 of 2 failed" in printed
    assert "expected classes in [0, 2]" in printed


def test_bad_arguments():
    plan = make()
    x, y = data(np.random.default_rng(0))
    with pytest.raises(TypeError, match="comm: expected a communicator of mpi4py, got str"):
        plan.fit(x, y, epochs=1, progress=False, comm="world")
    with pytest.raises(ValueError, match="eager: processes that train together run plans"):
        fastnn.fit(plan.model, (x, y), eager=True, comm=Team(1), progress=False)
    plan.model[0].weight = nn.Parameter(plan.model[0].weight.numpy().astype(np.float32))
    plan = fastnn.compile(plan.model, plan.loss, optim.SGD(plan.model.parameters(), lr=0.1))
    (error,) = Team(1).run(lambda team: DataParallel(plan, team))
    assert isinstance(error, ValueError)
    assert "comm: expected trained parameters of one dtype" in str(error)


def test_alone_without_mpiexec(monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert distributed.world() is None
    monkeypatch.setenv("PMI_SIZE", "1")
    assert distributed.world() is None


def test_mpiexec_without_mpi4py_is_told(monkeypatch, capsys):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", "iris", "--epochs", "1"]) == 2
    assert "need mpi4py" in capsys.readouterr().err


# under mpiexec

PROGRAM = """
import os
import signal
import sys
import numpy as np
from mpi4py import MPI
import fastnn
from fastnn import nn, optim
from fastnn.training import Callback
comm = MPI.COMM_WORLD
fastnn.manual_seed(comm.Get_rank())
model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
plan = fastnn.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
rng = np.random.default_rng(0)
x, y = rng.standard_normal((50, 6)), rng.integers(0, 3, 50)
if sys.argv[2] == "fail" and comm.Get_rank() == 1:
    y[-1] = 7
class Checkpoint(Callback):
    def on_epoch_end(self, run):
        if run.is_first:
            fastnn.save(model.state_dict(), sys.argv[1] + "/last.safetensors")
        elif sys.argv[2] == "die" and run.epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)
callbacks = [Checkpoint()] if sys.argv[2] == "die" else []
epochs = 100 if callbacks else 2
plan.fit(x, y, epochs=epochs, batch_size=10, rng=1, progress=False, comm=comm, callbacks=callbacks)
np.savez(sys.argv[1] + f"/{comm.Get_rank()}.npz", **model.state_dict())
"""


def mpiexec(*arguments):
    """Run two processes; skips where there is no MPI."""
    pytest.importorskip("mpi4py")
    launcher = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if launcher is None:
        pytest.skip("mpiexec is not installed")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([launcher, "-n", "2", *arguments], capture_output=True, text=True, timeout=240, env=environment)


def test_mpi_processes_end_with_equal_weights(tmp_path):
    done = mpiexec(sys.executable, "-c", PROGRAM, str(tmp_path), "work")
    assert done.returncode == 0, done.stderr
    one, other = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    fastnn.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 6)), rng.integers(0, 3, 50)
    fastnn.fit(
        model, (x, y), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(model.parameters(), lr=0.1, momentum=0.9), epochs=2,
        batch_size=10, rng=1, progress=False,
    )  # fmt: skip
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(one[name], other[name])
        np.testing.assert_allclose(one[name], value, rtol=0, atol=1e-12)


def test_an_mpi_process_that_fails_ends_the_job(tmp_path):
    done = mpiexec(sys.executable, "-c", PROGRAM, str(tmp_path), "fail")
    assert done.returncode != 0
    assert "process 1 of 2 failed" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_mpi_process_that_is_killed_ends_the_job_and_leaves_the_last_checkpoint(tmp_path):
    pytest.importorskip("safetensors")
    done = mpiexec(sys.executable, "-c", PROGRAM, str(tmp_path), "die")
    assert done.returncode != 0
    weights = fastnn.load(tmp_path / "last.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {
        "0.weight": (8, 6), "0.bias": (8,), "2.weight": (3, 8), "2.bias": (3,),
    }  # fmt: skip
    assert not list(tmp_path.glob("*.npz"))


def test_the_command_under_mpiexec(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("safetensors")
    target = tmp_path / "iris.safetensors"
    done = mpiexec(sys.executable, "-m", "fastnn.cli", "train", "iris", "--quiet", "--save", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out accuracy") == 1
    assert "2 processes, 1 threads each" in done.stdout
    assert set(fastnn.load(target)) >= {"1.weight", "1.bias"}
