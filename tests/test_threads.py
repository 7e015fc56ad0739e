"""Threads: numbers, bits, forks, many Python threads."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import threads

X = np.random.default_rng(0).standard_normal((300, 400), dtype=np.float32)
W = np.random.default_rng(1).standard_normal((200, 400), dtype=np.float32)


def test_set_and_get(two_threads):
    assert fastnn.get_num_threads() == 2
    fastnn.set_num_threads(np.int64(1))
    assert fastnn.get_num_threads() == 1


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), ("2", TypeError), (None, TypeError), (True, TypeError), (10**9, ValueError)])
def test_anything_but_a_positive_int_is_refused(n, error):
    before = fastnn.get_num_threads()
    with pytest.raises(error, match="n:"):
        fastnn.set_num_threads(n)
    assert fastnn.get_num_threads() == before


def test_many_python_threads_at_once_get_the_same_bits(two_threads):
    expected = F.linear(X, W)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: F.linear(X, W), range(40)):
            np.testing.assert_array_equal(result, expected)


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_serial_and_computes_the_same_bits():
    code = """
import os, numpy as np, fastnn, fastnn.functional as F
fastnn.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((300, 400), dtype=np.float32)
before = F.linear(x, x)
child = os.fork()
if child == 0:
    same = (F.linear(x, x) == before).all()
    os._exit(0 if same and fastnn.get_num_threads() == 1 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (F.linear(x, x) == before).all(), fastnn.get_num_threads())
"""
    result = python(code)
    assert result.stdout.split() == ["0", "True", "2"], result.stderr


def test_default_respects_omp_num_threads_and_affinity():
    code = "import fastnn; print(fastnn.get_num_threads())"
    assert python(code, OMP_NUM_THREADS="1").stdout.strip() == "1"
    if hasattr(os, "sched_setaffinity"):
        pinned = "import os; os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]}); " + code
        assert python(pinned, OMP_NUM_THREADS="").stdout.strip() == "1"


@pytest.mark.skipif(threads.parallel is None or not threads.parallel.has_openmp(), reason="the kernels were built without OpenMP")
def test_threadpoolctl_sees_and_limits_the_kernels(two_threads):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    expected = F.linear(X, W)
    assert any(pool["user_api"] == "openmp" for pool in threadpoolctl.threadpool_info())
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert threads.parallel.threads_allowed(10**9) == 1
        np.testing.assert_array_equal(F.linear(X, W), expected)
    assert threads.parallel.threads_allowed(10**9) == 2
    assert threads.parallel.threads_allowed(10) == 1, "small work stays on one thread"
