"""Threads are pinned, and rates follow from the operators' cost model: pytest benchmarks --threads 2"""

import pytest
from threadpoolctl import threadpool_limits

import fastnn

RATES = pytest.StashKey[list]()


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
    with threadpool_limits(limits=count):
        yield count
    fastnn.set_num_threads(before)


@pytest.fixture
def measure(benchmark, request, threads):
    """``measure(function, cost, **described)``: time a call and note FLOP/s and bytes/s beside it."""

    def run(function, cost, **described):
        benchmark(function)
        benchmark.extra_info.update(described, threads=threads, **cost._asdict())
        if benchmark.stats is None:  # --benchmark-disable
            return
        seconds = benchmark.stats.stats.median
        rates = {"GFLOP/s": cost.flops / seconds * 1e-9, "GB/s": cost.bytes / seconds * 1e-9}
        benchmark.extra_info.update(rates)
        request.config.stash[RATES].append((request.node.name, seconds, rates))

    return run


def pytest_terminal_summary(terminalreporter, config):
    """One line a case: median time and the rates."""
    if not config.stash[RATES]:
        return
    terminalreporter.section("rates by the cost model")
    for name, seconds, rates in config.stash[RATES]:
        numbers = "".join(f"{value:10.2f} {unit}" for unit, value in rates.items())
        terminalreporter.write_line(f"{name:<60}{seconds * 1e6:12.1f} us{numbers}")
