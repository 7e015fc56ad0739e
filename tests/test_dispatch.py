"""The one door: backends, allocation, observation."""

import array
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import dispatch
from fastnn.kernels import find, isa

compiled = pytest.mark.skipif(isa.level() == isa.NONE, reason="fastnn was installed without compiled kernels")


def backends_used(f):
    calls = []
    with dispatch.observe(calls.append):
        f()
    return [call.backend for call in calls]


@pytest.mark.parametrize("backend", ["reference", "numba", "cython"])
def test_use_backend_really_runs_it(backend):
    if (backend == "numba" and not dispatch.has_numba()) or (backend == "cython" and isa.level() == isa.NONE):
        pytest.skip(f"{backend} is not installed")
    x = np.ones((2, 3), np.float32)
    with fastnn.use_backend(backend):
        assert backends_used(lambda: F.linear(x, x)) == [backend]
        assert backends_used(lambda: F.power(x, 2)) == ["reference"], "what has one kernel falls through"


def test_backend_is_restored_also_after_an_error_and_is_per_thread():
    before = dispatch.backend_for(find("linear"))
    with pytest.raises(ZeroDivisionError), fastnn.use_backend("reference"):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(dispatch.backend_for(find("linear"))))
        thread.start()
        thread.join()
        assert dispatch.backend_for(find("linear")) == "reference"
        assert seen == [before]
        raise ZeroDivisionError
    assert dispatch.backend_for(find("linear")) == before


@pytest.mark.parametrize("name", ["cuda", "", None, 3])
def test_unknown_backend(name):
    with pytest.raises(ValueError, match="use_backend"), fastnn.use_backend(name):
        pass


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_backend_from_the_environment():
    code = (
        "import fastnn; from fastnn import dispatch; from fastnn.kernels import find; print(dispatch.backend_for(find('linear')))"
    )
    assert run_python(code, FASTNN_BACKEND="reference").stdout.strip() == "reference"
    wrong = run_python(code, FASTNN_BACKEND="fpga")
    assert wrong.returncode != 0 and "FASTNN_BACKEND" in wrong.stderr and "fpga" in wrong.stderr


@compiled
def test_isa_level_from_the_environment():
    code = "import fastnn; from fastnn.kernels import isa; print(isa.level())"
    lowest = isa.built()[0]
    assert run_python(code, FASTNN_ISA=lowest).stdout.strip() == lowest
    wrong = run_python(code, FASTNN_ISA="v9")
    assert wrong.returncode != 0 and "FASTNN_ISA" in wrong.stderr


@compiled
def test_isa_level_that_the_processor_lacks(monkeypatch):
    monkeypatch.setenv("FASTNN_ISA", isa.built()[-1])
    monkeypatch.setattr(isa, "supported", lambda: ("baseline",) if isa.built()[-1] != "baseline" else ())
    with pytest.raises(ValueError, match="processor lacks"):
        isa.level.__wrapped__()


def test_observer_sees_operator_arguments_outputs_and_time():
    calls = []
    x = np.ones((2, 3))
    with dispatch.observe(calls.append), dispatch.scope("owner", "update"):
        y = F.linear(x, x)
    (call,) = calls
    assert call.operator is find("linear") and call.args[0] is x and call.outputs[0] is y
    assert call.nanoseconds > 0 and (call.owner, call.phase) == ("owner", "update")
    assert not dispatch.observed()


def test_a_type_that_answers_the_protocol_takes_the_call_over():
    class Symbol:
        shape, dtype = (2, 3), np.dtype(np.float64)

        @staticmethod
        def __fastnn_call__(operator, args, out):
            return operator.name

    assert F.linear(Symbol(), np.ones((4, 3))) == "linear"


def test_flat_arrays_of_python_go_in():
    np.testing.assert_array_equal(F.linear(array.array("d", [1, 2]), np.eye(2)), [1, 2])


@pytest.mark.parametrize(
    "value",
    [None, "abc", b"abc", [1.0, 2.0], 1.5, 3, 2j, object(), np.array(["a"]), np.array([None]), np.array([1j]), np.array([1]),
     np.array([True]), np.array([1.0], np.float16), np.array([1.0], np.longdouble), np.zeros(2, "f8,f8"), np.array(["2020-01-01"], "M8[D]"),
     np.ma.masked_array([1.0, 2.0], [True, False]), np.ones(2, ">f4")],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)  # fmt: skip
@pytest.mark.parametrize("function", [F.linear, F.matmul])
def test_what_is_no_float_array_is_refused_by_name(value, function):
    good = np.ones((2, 2))
    with pytest.raises(TypeError, match="input"):
        function(value, good)
    with pytest.raises(TypeError, match="weight|other"):
        function(good, value)


def test_sizes_that_no_machine_has():
    column = np.broadcast_to(np.float32(1), (2**40, 1))
    with pytest.raises((MemoryError, OverflowError)):
        F.matmul(column, column.T)
