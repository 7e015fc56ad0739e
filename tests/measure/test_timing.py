"""The measuring engine on a clock of its own: what is counted, what disturbs nothing, and what is left uncertain."""

import gc
import os
from time import perf_counter, sleep

import numpy as np
import pytest

from fastnn.measure import Race, Ratio, interleaved, paired_ratio, pinned, summarize
from fastnn.measure.timing import clock_step, waiting_time


class World:
    """A clock that work moves forward, at a speed that may change, with disturbances now and then."""

    def __init__(self, disturbed=0.0, drift=0.0):
        self.now, self.disturbed, self.drift = 0.0, disturbed, drift
        self.rng = np.random.default_rng(0)

    def clock(self):
        return self.now

    def work(self, seconds):
        def call():
            slower = 1 + self.drift * self.now
            self.now += seconds * slower * (1 + 9 * (self.rng.random() < self.disturbed))

        return call


def test_times_are_those_of_the_clock():
    world = World()
    race = Race({"a": world.work(0.02), "b": world.work(0.03)}, world.clock)
    race.run(budget=0.0, rounds=5)
    times = race.timings()
    assert times["a"] == pytest.approx((0.02, 0.0, 5, 1)) and times["b"] == pytest.approx((0.03, 0.0, 5, 1))
    assert race.ratio("b", "a") == pytest.approx((1.5, 1.5, 1.5))


def test_short_calls_fill_a_sample_and_a_coarse_clock_longer_ones():
    world = World()
    race = Race({"short": world.work(1e-6)}, world.clock)
    race.run(budget=0.01)
    assert race.timings()["short"].calls == 256 and race.timings()["short"].seconds == pytest.approx(1e-6)

    coarse = World()

    def clock():  # steps of 1/512 s
        coarse.now += 1e-4
        return int(coarse.now * 512) / 512

    assert clock_step(clock) == 1 / 512
    race = Race({"short": coarse.work(1e-3)}, clock)
    race.run(budget=0.0)
    assert race.timings()["short"].calls >= 1024


def test_the_first_calls_are_not_counted():
    world, calls = World(), []

    def call():
        calls.append(1)
        world.now += 1.0 if len(calls) < 2 else 1e-3  # it compiles

    race = Race({"compiles": call, "short": world.work(1e-3)}, world.clock)
    race.run(budget=0.0)
    assert race.timings()["compiles"].seconds == pytest.approx(1e-3) and race.timings()["compiles"].spread == pytest.approx(0)


def test_disturbed_samples_do_not_count_and_show_in_the_spread():
    world = World(disturbed=0.6)
    race = Race({"a": world.work(0.02)}, world.clock)
    race.run(budget=0.0, rounds=100)
    timing = race.timings()["a"]
    assert timing.seconds == pytest.approx(0.02) and timing.spread == pytest.approx(9)


def test_drift_is_everybodys():
    world = World(drift=0.05)
    race = Race({"a": world.work(0.02), "b": world.work(0.02)}, world.clock)
    race.run(budget=0.0, rounds=200)
    ratio = race.ratio("b", "a")
    assert 1 + world.drift * world.now > 1.4  # as slow at the end
    assert ratio.value == pytest.approx(1, abs=0.01) and ratio.verdict == "even"


def test_time_without_a_processor_is_taken_off_long_calls():
    world = World()

    def taken_away(seconds):
        def call():
            lost = world.rng.random()
            world.now += seconds + lost
            world.lost += lost

        return call

    world.lost = 0.0
    functions = {"one": taken_away(0.02), "two": [taken_away(0.01), world.work(0.03)]}
    race = Race(functions, world.clock, lambda: world.lost)
    race.run(budget=0.0, rounds=5)
    assert race.timings()["one"] == pytest.approx((0.02, 0.0, 5, 1))
    assert [stage.seconds for stage in race.stages("two")] == pytest.approx([0.01, 0.03])


def test_waiting_for_ones_own_threads_counts():
    world, waited = World(), [0.0]

    def call():  # hands its work to another thread, which has the one processor meanwhile, but for half of the time
        world.now += 0.02
        waited[0] += 0.02

    race = Race({"own": call}, world.clock, lambda: waited[0], lambda: world.now / 2)
    race.run(budget=0.0, rounds=5)
    assert race.timings()["own"].seconds == pytest.approx(0.01)


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="the system does not tell who waits")
def test_waiting_is_not_sleeping():
    before, start = waiting_time(), perf_counter()
    sleep(0.05)
    assert waiting_time() - before < (perf_counter() - start) - 0.04


def test_stages_are_timed_apart():
    world = World()
    race = Race({"step": [world.work(0.01), world.work(0.02), world.work(0.005)]}, world.clock)
    race.run(budget=0.0, rounds=3)
    assert [stage.seconds for stage in race.stages("step")] == pytest.approx([0.01, 0.02, 0.005])
    assert race.timings()["step"].seconds == pytest.approx(0.035)


def test_a_ratio_is_of_the_rounds_in_which_both_ran():
    world = World()
    race = Race({"a": world.work(0.02), "b": world.work(0.03)}, world.clock)
    race.run(budget=0.0, rounds=4)
    race.drop("b")
    world.drift = 1.0  # what comes now is slow, and b was not there
    race.run(budget=0.0, rounds=20)
    assert race.ratio("b", "a").value == pytest.approx(1.5)


@pytest.mark.parametrize("difference, verdict", [(1.5, "faster"), (0.7, "slower"), (1.0, "even")])
def test_what_many_samples_decide(difference, verdict):
    rng = np.random.default_rng(1)
    ours, others = 1 + 0.05 * rng.exponential(size=(2, 200))
    ratio = paired_ratio(difference * others, ours)
    assert ratio.low <= ratio.value <= ratio.high and ratio.verdict == verdict


def test_what_noise_leaves_open_is_uncertain():
    rng = np.random.default_rng(2)
    ours, others = 1 + rng.exponential(size=(2, 20))
    ratio = paired_ratio(1.05 * others, ours)
    assert ratio.low < 1 < ratio.high and ratio.verdict == "uncertain"


def test_the_interval_holds_the_truth():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        ours, others = 1 + 0.2 * rng.random((2, 100))
        ratio = paired_ratio(1.2 * others, ours)
        held += ratio.low <= 1.2 <= ratio.high
    assert held >= 170


def test_a_difference_smaller_than_memory_makes_is_none():
    assert Ratio(1.02, 1.01, 1.025).verdict == "even"
    assert Ratio(1.02, 1.01, 1.06).verdict == "uncertain"


def test_samples_taken_elsewhere():
    assert summarize([3.0, 1.0, 2.0], calls=4, quantile=0.0) == (1.0, 1.0, 3, 4)
    with pytest.raises(ValueError, match="quantile"):
        summarize([1.0], quantile=2.0)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not pin")
def test_pinning_lasts_as_long_as_its_block():
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), pinned(1):
        assert len(os.sched_getaffinity(0)) == 1
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


def test_interleaved_takes_turns_without_the_garbage_collector():
    order = []

    def call(name):
        order.append((name, gc.isenabled()))
        sleep(1e-3)

    times = interleaved({name: lambda name=name: call(name) for name in "abc"}, budget=0.0, rounds=4)
    assert not any(enabled for _, enabled in order) and gc.isenabled()
    assert {timing.samples for timing in times.values()} == {4} and list(times) == ["a", "b", "c"]
    turns = "".join(name for name, _ in order)
    assert set(turns[:9]) == set("abc"), "how many calls make a sample"
    assert turns[-24::2] == turns[-23::2], "each once to warm up"
    rounds = [turns[i : i + 6 : 2] for i in range(len(turns) - 24, len(turns), 6)]
    assert all(set(names) == set("abc") for names in rounds)
    followers = {pair for names in rounds for pair in (names[:2], names[1:])}
    assert len(followers) > 3  # not the same two, however the round begins
    for timing in times.values():
        assert timing.calls == 1 and timing.seconds >= 1e-3 and timing.spread >= 0


def test_runs_of_a_race_go_on_drawing_the_order_of_their_rounds():
    order = []
    race = Race({name: lambda name=name: order.append(name) or sleep(1e-3) for name in "abcdef"})
    race.run(budget=0.0, rounds=1)
    before = len(order)
    race.run(budget=0.0, rounds=1)
    assert order[before:] != order[before - len(order[before:]) : before]


def test_interleaved_counts_short_calls_in_many():
    times = interleaved({"nothing": lambda: None, "sum": lambda: sum(range(1000))}, budget=0.05)
    assert times["nothing"].calls > 1000 > times["sum"].calls > 1
    assert times["nothing"].seconds < 1e-6 < times["sum"].seconds < 1e-3


def test_a_race_keeps_to_its_budget():
    world = World()
    race = Race({"own": world.work(0.01)}, world.clock, lambda: 0.0, lambda: world.now)
    race.run(budget=0.2, rounds=1)
    assert 0.2 <= world.now < 2


def test_interleaved_uses_its_budget_and_leaves_the_collector_as_it_was():
    gc.disable()
    try:
        start = perf_counter()
        interleaved({"nothing": lambda: None}, budget=0.2, rounds=1)
        assert perf_counter() - start >= 0.2
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ZeroDivisionError):
        interleaved({"wrong": lambda: 1 / 0})
    assert gc.isenabled()


@pytest.mark.parametrize("wrong", [{"budget": -1}, {"quantile": 1.5}, {"rounds": 0}])
def test_interleaved_refuses_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        interleaved({"nothing": lambda: None}, **wrong)
