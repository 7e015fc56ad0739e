"""The roofline: sane rates, right limits, and a cache that nothing breaks."""

import json
import os
import stat
from dataclasses import asdict, replace

import pytest

from fastnn import dispatch
from fastnn.cli import main
from fastnn.measure import Roofline, machine, machine_roofline
from fastnn.measure.roofline import DTYPES, MAIN, _memory, measure_roofline

MACHINE = Roofline(
    "Abacus", "v4", {"float32": {1: 100.0, 2: 180.0}, "float64": {1: 50.0, 2: 90.0}},
    {"L1": {1: 40.0, 2: 80.0}, "L2": {1: 20.0, 2: 40.0}, "DRAM": {1: 5.0, 2: 6.0}}, {"L1": 32, "L2": 256}, "2026-01-01 00:00",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, and a measurement that is quick and counted."""
    calls = []

    def measure(threads):
        calls.append(threads)
        sizes = machine.caches()
        rates = {n: 1e9 * n for n in range(1, threads + 1)}
        source = MACHINE.source if machine.compiled() is None else dispatch.isa.level()
        source = "NumPy" if machine.compiled() is None else source
        return Roofline(
            machine.processor(), source, dict.fromkeys(DTYPES, rates), dict.fromkeys((*sizes, MAIN), rates), sizes, "now"
        )

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fastnn.measure.roofline.measure_roofline", measure)
    return tmp_path / "fastnn", calls


def test_a_measured_roofline_is_whole_and_falls_with_the_size():
    found = measure_roofline(2, budget=0.2)
    assert found.threads == [1, 2] and set(found.peak) == set(DTYPES)
    assert set(found.bandwidth) == {*found.sizes, MAIN}
    for rates in (*found.peak.values(), *found.bandwidth.values()):
        assert 0 < rates[1] <= rates[2]
    assert found.flops_per_second("float32", 1) > 1e8 and found.transfer(1 << 30, 1) < 100


def test_probes_count_what_they_do():
    for threads in (1, 3):
        with machine.peak_probe(threads, "float64") as (call, operations):
            call()
            assert operations > 0
        with machine.memory_probe(1 << 16, threads, "update") as (call, nbytes):
            call()
            assert nbytes == 2 * threads * machine.READ * (1 if threads == 1 else machine.HANDED)
        with machine.memory_probe(1 << 16, threads, "read") as (call, nbytes):
            call()
            assert nbytes == threads * machine.READ * (1 if threads == 1 else machine.HANDED)


@pytest.mark.skipif(not dispatch.is_available("cython"), reason="fastnn was installed without compiled kernels")
def test_the_compiled_loops_do_what_they_say():
    import numpy as np

    kernels = machine.compiled()
    lanes = kernels.VECTOR_BYTES // 8
    expected = kernels.CHAINS * lanes * 0.999 + lanes * sum(range(kernels.CHAINS))
    assert kernels.multiply_adds(0, True) == pytest.approx(expected)
    step = sum(lanes * ((0.999 + j) * 0.999 + 0.999) for j in range(kernels.CHAINS))
    assert kernels.multiply_adds(1, True) == pytest.approx(step)
    assert kernels.multiply_adds(1, False) == pytest.approx(2 * step, rel=1e-5)
    block = 8 * kernels.VECTOR_BYTES
    memory = np.zeros(block + 5 * kernels.VECTOR_BYTES, np.uint8)
    aligned = memory[-memory.ctypes.data % kernels.VECTOR_BYTES :]
    aligned[:block].view(np.float32)[:] = 2
    assert kernels.read(aligned, 3) == 3 * 2 * block / 4
    kernels.update(aligned, 3)
    assert (aligned[:block].view(np.float32) == -2).all() and (aligned[block:] == 0).all()
    assert kernels.read(aligned[:100], 5) == 0 and kernels.read(aligned[:0], 1) == 0


def test_without_compiled_kernels_numpy_estimates(monkeypatch):
    monkeypatch.setattr(machine, "is_available", lambda backend: False)
    found = measure_roofline(1, budget=0.1)
    assert found.source == "NumPy" and found.flops_per_second("float64") > 0


def test_the_limit_is_arithmetic_or_memory():
    assert MACHINE.seconds(1000, 16, threads=1) == 10  # computes
    assert MACHINE.seconds(100, 132, threads=1) == 32 / 40 + 100 / 20  # reads, the most from the second level
    assert MACHINE.seconds(100, 1256, threads=1) == 32 / 40 + 224 / 20 + 1000 / 5  # and from the main memory
    assert MACHINE.seconds(100, 1256, threads=2) == 64 / 80 + 448 / 40 + 744 / 6  # two cores have two caches
    assert MACHINE.seconds(1000, 0, "float64", threads=2) == pytest.approx(1000 / 90)


def test_the_number_of_threads_is_the_nearest_below():
    assert MACHINE.flops_per_second(threads=1) == 100
    assert MACHINE.flops_per_second(threads=7) == 180
    assert replace(MACHINE, peak={"float32": {2: 5.0}}).flops_per_second(threads=1) == 5
    with pytest.raises(ValueError, match="dtype"):
        MACHINE.flops_per_second("float16")
    with pytest.raises(ValueError, match="threads"):
        MACHINE.flops_per_second(threads=0)


def test_each_level_is_read_by_what_fits_only_there():
    sizes = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
    for threads in (1, 2, 8):
        memory = _memory(sizes, threads)
        assert memory["L1"] < sizes["L1"] < memory["L2"] < sizes["L2"]
        assert threads * memory["L3"] < sizes["L3"] and (threads > 1 or sizes["L2"] < memory["L3"])
        assert threads * memory[MAIN] > sizes["L3"]
    assert _memory({"L1": 32 << 10, "L2": 1 << 20, "L3": 4 << 30}, 2)[MAIN] == machine.MOST // 2


def test_it_is_measured_once_and_kept_with_the_name_of_the_processor(folder):
    place, calls = folder
    first = machine_roofline(threads=2)
    assert machine_roofline(threads=2) == first == machine_roofline(threads=1) and calls == [2]
    (file,) = place.iterdir()
    content = json.loads(file.read_text())
    assert content["processor"] == machine.processor()
    assert machine_roofline(threads=3).threads == [1, 2, 3] and calls == [2, 3]
    machine_roofline(threads=1, refresh=True)
    assert calls == [2, 3, 1]


def test_no_more_threads_are_measured_than_there_are_processors(folder, monkeypatch):
    monkeypatch.setattr("fastnn.measure.roofline.get_num_threads", lambda: 1000)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert machine_roofline().threads == [1, 2]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "{",
        lambda text: "[]",
        lambda text: text.replace('"format": 2', '"format": 0'),
        lambda text: text.replace('"processor": "', '"processor": "another '),
        lambda text: text.replace("1000000000.0", "NaN"),
        lambda text: text.replace('"float64"', '"float16"'),
        lambda text: text.replace(f'"{MAIN}"', '"L9"'),
        lambda text: text.replace('"sizes"', '"size"'),
    ],
)
def test_a_file_that_says_something_else_is_measured_again(folder, change):
    place, calls = folder
    first = machine_roofline(threads=1)
    (file,) = place.iterdir()
    file.write_text(change(file.read_text()))
    assert machine_roofline(threads=1) == first and calls == [1, 1]
    assert machine_roofline(threads=1) == first and calls == [1, 1]


def test_a_folder_that_cannot_be_written_costs_only_time(folder, monkeypatch, tmp_path):
    place, calls = folder
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert machine_roofline(threads=1) == machine_roofline(threads=1) and calls == [1, 1]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", _no_home)
    assert machine_roofline(threads=1).threads == [1] and calls == [1, 1, 1]


def _no_home():
    raise RuntimeError("no home")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(folder):
    place, calls = folder
    place.mkdir()
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert machine_roofline(threads=1).threads == [1] and calls == [1]


def test_caches_are_read_from_the_system_or_assumed(tmp_path):
    assert machine.caches(tmp_path) == machine.ASSUMED
    for number, (level, kind, size) in enumerate([("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "2M")]):
        index = tmp_path / f"index{number}"
        index.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (index / name).write_text(value + "\n")
    assert machine.caches(tmp_path) == {"L1": 48 << 10, "L2": 2 << 20}
    (tmp_path / "index0" / "size").write_text("much")
    assert machine.caches(tmp_path) == machine.ASSUMED


def test_as_plain_data():
    assert Roofline(**asdict(MACHINE)) == MACHINE


def test_command(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("fastnn.measure.machine_roofline", lambda **options: asked.append(options) or MACHINE)
    assert main(["info", "--roofline"]) == 0 == main(["info", "--refresh"])
    shown = capsys.readouterr().out
    assert "Limits of Abacus" in shown and "moving in L2" in shown and "2 threads" in shown
    assert asked == [{"refresh": False}, {"refresh": True}]
