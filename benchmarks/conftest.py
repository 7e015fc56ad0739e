"""fastnn's own engine takes the samples, pytest-benchmark keeps and compares them: pytest benchmarks --threads 2

To see what a change made of a commit: ``pytest benchmarks --benchmark-autosave`` before, ``--benchmark-compare`` after it.
"""

import pytest
from threadpoolctl import threadpool_limits

import fastnn
from fastnn.measure import Race, pinned

RATES = pytest.StashKey[list]()
BUDGET = 0.1  # seconds of measuring for each case


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="threads of the kernels and of NumPy's BLAS (default: 1)")


def pytest_configure(config):
    config.stash[RATES] = []


@pytest.fixture(scope="session", autouse=True)
def threads(request):
    """The same number of threads for every library."""
    count = request.config.getoption("--threads")
    before = fastnn.get_num_threads()
    fastnn.set_num_threads(count)
    with threadpool_limits(limits=count), pinned(count):
        yield count
    fastnn.set_num_threads(before)


@pytest.fixture
def measure(benchmark, request, threads):
    """``measure(function, cost, **described)``: time a call and note FLOP/s and bytes/s beside it."""

    def run(function, cost, **described):
        benchmark.extra_info.update(described, threads=threads, **cost._asdict())
        if not benchmark.enabled:
            benchmark(function)
            return
        race = Race({request.node.name: function})
        race.run(BUDGET, rounds=5)
        ((_, (seconds, _, _, calls)),) = race.timings().items()
        # What benchmark(function) does, with samples that were taken elsewhere: it has no public way to be given any.
        benchmark._mode, stats = "samples of fastnn.measure.Race", benchmark._make_stats(calls)
        for sample in race.samples(request.node.name):
            stats.update(sample * calls)
        rates = {"GFLOP/s": cost.flops / seconds * 1e-9, "GB/s": cost.bytes / seconds * 1e-9}
        benchmark.extra_info.update(rates)
        request.config.stash[RATES].append((request.node.name, seconds, rates))

    return run


def pytest_terminal_summary(terminalreporter, config):
    """One line a case: the low quantile of its times, and the rates."""
    if not config.stash[RATES]:
        return
    terminalreporter.section("rates by the cost model")
    for name, seconds, rates in config.stash[RATES]:
        numbers = "".join(f"{value:10.2f} {unit}" for unit, value in rates.items())
        terminalreporter.write_line(f"{name:<60}{seconds * 1e6:12.1f} us{numbers}")
