"""Threads: numbers, bits, forks, many Python threads."""

import ctypes
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
import fastnn.functional as F
from fastnn import threads

X = np.random.default_rng(0).standard_normal((300, 400), dtype=np.float32)
W = np.random.default_rng(1).standard_normal((200, 400), dtype=np.float32)
MUCH = 10**9

openmp = pytest.mark.skipif(
    threads.parallel is None or not threads.parallel.has_openmp(), reason="there are no kernels that were built with OpenMP"
)


def allowed():
    """Threads that a large kernel called from here would use."""
    return threads.parallel.threads_allowed(MUCH)


def elsewhere(function):
    """What ``function`` returns in a Python thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def python(code, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_set_and_get(two_threads):
    assert fastnn.get_num_threads() == 2
    fastnn.set_num_threads(np.int64(1))
    assert fastnn.get_num_threads() == 1


@pytest.mark.parametrize(
    ("n", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (1.0, TypeError),
        ("2", TypeError),
        (None, TypeError),
        (True, TypeError),
        (10**9, ValueError),
    ],
)
def test_anything_but_a_positive_int_is_refused(n, error):
    before = fastnn.get_num_threads()
    with pytest.raises(error, match="n:"):
        fastnn.set_num_threads(n)
    assert fastnn.get_num_threads() == before


@openmp
def test_a_number_set_in_any_thread_holds_in_all(two_threads):
    assert allowed() == elsewhere(allowed) == 2
    for n in (5, 3, 1):  # more than OpenMP gives a fresh thread, and less
        elsewhere(lambda n=n: fastnn.set_num_threads(n))
        assert fastnn.get_num_threads() == allowed() == elsewhere(allowed) == n


@openmp
def test_small_work_stays_on_one_thread(two_threads):
    assert threads.parallel.threads_allowed(10) == 1


@openmp
def test_threadpoolctl_sees_and_limits_the_kernels(two_threads):
    threadpoolctl = pytest.importorskip("threadpoolctl")
    expected = F.linear(X, W)
    assert any(pool["user_api"] == "openmp" for pool in threadpoolctl.threadpool_info())

    def limited():
        with threadpoolctl.threadpool_limits(1, user_api="openmp"):
            inside = allowed()
            np.testing.assert_array_equal(F.linear(X, W), expected)
        return inside, allowed()

    assert limited() == elsewhere(limited) == (1, 2)
    fastnn.set_num_threads(4)
    assert limited() == (1, 4)


@openmp
def test_a_limit_made_before_the_import_holds_in_its_thread_alone():
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("there is no GNU OpenMP to set beforehand")
    code = f"""
import ctypes, threading
ctypes.CDLL("libgomp.so.1").omp_set_num_threads(1)
import fastnn
from fastnn.threads import parallel
print(parallel.threads_allowed({MUCH}))
fresh = threading.Thread(target=lambda: print(parallel.threads_allowed({MUCH}) == fastnn.get_num_threads()))
fresh.start()
fresh.join()
"""
    assert python(code, OMP_NUM_THREADS="") == ["1", "True"]


def test_many_python_threads_at_once_get_the_same_bits(two_threads, shared_work):
    expected = F.linear(X, W)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: F.linear(X, W), range(40)):
            np.testing.assert_array_equal(result, expected)


def test_the_number_may_change_while_others_compute(two_threads, shared_work):
    expected = F.linear(X, W)
    done = threading.Event()

    def change():
        while not done.is_set():
            for n in (1, 2, 3):
                fastnn.set_num_threads(n)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        for _ in range(30):
            np.testing.assert_array_equal(F.linear(X, W), expected)
    finally:
        done.set()
        changer.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("forker", ["main", "other"])
def test_a_forked_child_is_serial_and_computes_the_same_bits(forker):
    code = f"""
import os, threading, numpy as np, fastnn, fastnn.functional as F
fastnn.set_num_threads(2)
x = np.random.default_rng(0).standard_normal((300, 400), dtype=np.float32)
before = F.linear(x, x)
def fork():
    child = os.fork()
    if child == 0:
        same = (F.linear(x, x) == before).all()
        fastnn.set_num_threads(2)
        same &= (F.linear(x, x) == before).all()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if (F.linear(x, x) == before).all() else 4)
        same &= os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]) == 0
        os._exit(0 if same and fastnn.get_num_threads() == 1 else 3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
if {forker!r} == "main":
    fork()
else:
    forking = threading.Thread(target=fork)
    forking.start()
    forking.join()
print((F.linear(x, x) == before).all(), fastnn.get_num_threads())
"""
    assert python(code) == ["0", "True", "2"]


def test_default_respects_omp_num_threads_and_affinity():
    code = "import fastnn; print(fastnn.get_num_threads())"
    assert python(code, OMP_NUM_THREADS="1") == ["1"]
    assert python(code, OMP_NUM_THREADS="1,4") == ["1"], "the first level of nesting counts"
    available = python(code, OMP_NUM_THREADS="")
    assert python(code, OMP_NUM_THREADS="4096") == python(code, OMP_NUM_THREADS="many") == available
    if hasattr(os, "sched_setaffinity"):
        pinned = "import os; os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]}); " + code
        assert python(pinned, OMP_NUM_THREADS="") == ["1"]


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {}, np.inf),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, np.inf),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/host/path\n", {"cpu.max": "300000 100000"}, 3),  # of a container, which does not see its host's path
        ("4:memory:/\n2:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 2.5),
        ("2:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, np.inf),
        ("2:cpuset:/a\n", {"cpu.max": "100000 100000"}, np.inf),
        ("0::/\n", {"cpu.max": "nonsense"}, np.inf),
        ("0::/\n", {"cpu.max": "100000 0"}, np.inf),
        (None, {}, np.inf),
    ],
)
def test_limits_of_control_groups(tmp_path, groups, files, limit):
    if groups is not None:
        files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()} | {"proc/self/cgroup": groups}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert threads._cgroup_limit(tmp_path) == limit


def test_a_limit_is_rounded_up(monkeypatch):
    monkeypatch.setattr(threads, "_cgroup_limit", lambda: 0.3)
    assert threads._default() == 1


@openmp
def test_denormals_are_kept_unless_the_user_says_otherwise(two_threads):
    tiny = np.full(200_000, 1e-40, np.float32)  # enough work for two threads
    assert (F.softsign(tiny) > 0).all()
    if not fastnn.set_flush_denormal(True):
        pytest.skip("this processor cannot flush denormals")
    try:
        assert (F.softsign(tiny) == 0).all()
    finally:
        fastnn.set_flush_denormal(False)
    assert (F.softsign(tiny) > 0).all()
    with pytest.raises(TypeError, match="mode"):
        fastnn.set_flush_denormal(1)
