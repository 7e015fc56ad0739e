"""The library's own random generator."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastnn
from fastnn.random import generator


def test_seeds_repeat_and_numpy_is_never_touched():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    fastnn.manual_seed(5)
    first = generator().random(3)
    second = generator().random(3)
    fastnn.manual_seed(5)
    np.testing.assert_array_equal(generator().random(3), first)
    assert (first != second).all()
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_generator_takes_seeds_and_generators():
    own = np.random.default_rng(3)
    assert generator(own) is own
    np.testing.assert_array_equal(generator(3).random(2), np.random.default_rng(3).random(2))


@pytest.mark.parametrize(("rng", "error"), [(-1, ValueError), ("a", TypeError), (1.5, TypeError), (True, TypeError)])
def test_generator_errors(rng, error):
    with pytest.raises(error, match="rng"):
        generator(rng)
    with pytest.raises(error, match="seed"):
        fastnn.manual_seed(rng)


def test_many_threads_draw_from_different_streams():
    with ThreadPoolExecutor(8) as pool:
        draws = list(pool.map(lambda _: generator().integers(2**62), range(200)))
    assert len(set(draws)) == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_while_others_draw_can_draw():
    code = """
import os, threading
import fastnn
from fastnn.random import generator
done = threading.Event()
def draw():
    while not done.is_set():
        generator()
for _ in range(3):
    threading.Thread(target=draw, daemon=True).start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        generator().random()
        os._exit(0)
    os.waitpid(child, 0)
done.set()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=30, check=True)


def test_a_fresh_process_is_not_seeded():
    code = "import fastnn; print(fastnn.random.generator().integers(2**62))"
    draws = {
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True).stdout for _ in range(2)
    }
    assert len(draws) == 2
