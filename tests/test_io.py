"""Weights in files."""

import contextlib
import json
import os
import stat
import struct
import subprocess
import sys

import numpy as np
import pytest

import fastnn
from fastnn import io, nn, tensor

pytest.importorskip("safetensors")


def test_round_trip_of_every_dtype_shape_and_layout(tmp_path):
    arrays = {name: (np.arange(6).reshape(2, 3) % 2).astype(name) for name in io.DTYPES}
    arrays |= {
        "scalar": np.array(1.5), "empty": np.zeros((0, 3)), "strided": np.arange(10.0)[::2], "fortran": np.asfortranarray(np.eye(3)[:2]),
        "reversed": np.arange(4)[::-1], "swapped": np.arange(3, dtype=">f4"),
    }  # fmt: skip
    path = tmp_path / "a.safetensors"
    fastnn.save({**arrays, "tensor": tensor([1.0, 2.0])}, path, metadata={"who": "me"})
    back = fastnn.load(path)
    assert set(back) == {*arrays, "tensor"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype.newbyteorder("=") and back[name].shape == array.shape
        assert back[name].flags.writeable
    assert io.load_metadata(path) == {"who": "me"}


def test_a_model_comes_back(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    fastnn.save(model.state_dict(), tmp_path / "m")
    other.load_state_dict(fastnn.load(tmp_path / "m"))
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.numpy())


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_whole(tmp_path, monkeypatch, moment):
    path = tmp_path / "w.safetensors"
    fastnn.save({"w": np.ones(2)}, path)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(OSError, match="disk full"):
        fastnn.save({"w": np.zeros(2)}, path)
    monkeypatch.undo()
    np.testing.assert_array_equal(fastnn.load(path)["w"], [1, 1])
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_process_that_dies_leaves_the_old_file_whole(tmp_path, moment):
    path = tmp_path / "w.safetensors"
    fastnn.save({"w": np.ones(2)}, path)
    code = f"""
import os, numpy as np, fastnn
os.{moment} = lambda *args: os._exit(9)
fastnn.save({{"w": np.zeros(100_000)}}, {os.fspath(path)!r})
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=120).returncode == 9
    np.testing.assert_array_equal(fastnn.load(path)["w"], [1, 1])


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "w", tmp_path / "link"
    mask = os.umask(0o027)
    try:
        fastnn.save({"w": np.ones(1)}, path)
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    link.symlink_to(path)
    fastnn.save({"w": np.zeros(1)}, link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert link.is_symlink()
    assert fastnn.load(path)["w"] == 0


def test_without_a_folder_or_the_package(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        fastnn.save({"w": np.ones(1)}, tmp_path / "none" / "w")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for function in (
        lambda: fastnn.save({}, tmp_path / "w"),
        lambda: fastnn.load(tmp_path / "w"),
        lambda: io.load_metadata(tmp_path / "w"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'fastnn\[io\]'"):
            function()
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([1], "mapping"),
        ({1: np.ones(1)}, "names"),
        ({"w": None}, "w"),
        ({"w": [1.0]}, "w"),
        ({"w": np.array(["a"])}, "w"),
        ({"w": np.array([1j])}, "w"),
    ],
)
def test_what_cannot_be_saved(tmp_path, tensors, words):
    with pytest.raises(TypeError, match=words):
        fastnn.save(tensors, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, "ab", 3, [("a", "b")]])
def test_metadata_is_text(tmp_path, metadata):
    with pytest.raises(TypeError, match="metadata"):
        fastnn.save({}, tmp_path / "x", metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_a_reserved_name(tmp_path):
    with pytest.raises(ValueError, match="__metadata__"):
        fastnn.save({"__metadata__": np.ones(1)}, tmp_path / "x")


def header(entry, data=b"\0" * 8):
    text = json.dumps(entry).encode()
    return struct.pack("<Q", len(text)) + text + data


MALFORMED = {
    "empty": b"",
    "short": b"\1\2\3",
    "huge header": struct.pack("<Q", 2**60) + b"{}",
    "no json": struct.pack("<Q", 4) + b"abcd",
    "beyond the file": header({"w": {"dtype": "F32", "shape": [100], "data_offsets": [0, 400]}}),
    "wrong length": header({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}),
    "huge shape": header({"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}),
    "unknown dtype": header({"w": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}),
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused(tmp_path, name):
    path = tmp_path / "bad"
    path.write_bytes(MALFORMED[name])
    with pytest.raises(ValueError, match="safetensors"):
        fastnn.load(path)
    with pytest.raises(ValueError, match="safetensors"):
        io.load_metadata(path)


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "w"
    fastnn.save({"w": np.arange(6.0), "b": np.array(True)}, path, metadata={"a": "b"})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="path"):
            fastnn.load(path)
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="path"):
        fastnn.load(path)


def test_damage_gives_values_or_a_value_error(tmp_path, rng):
    path = tmp_path / "w"
    fastnn.save({"w": np.arange(6.0).reshape(2, 3), "empty": np.zeros((0, 2), np.int8)}, path, metadata={"a": "b"})
    content = np.frombuffer(path.read_bytes(), np.uint8)
    letters = np.frombuffer(b'0123456789-[]{}",:F\0\xff', np.uint8)
    for _ in range(2000):
        damaged = content.copy()
        damaged[rng.integers(content.size, size=2)] = rng.choice(letters, 2)
        path.write_bytes(damaged.tobytes())
        for function in (fastnn.load, io.load_metadata):
            with contextlib.suppress(ValueError):
                function(path)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3"])
def test_types_that_numpy_lacks_are_named(tmp_path, kind):
    size = 2 if kind == "BF16" else 1
    (tmp_path / "w").write_bytes(header({"w": {"dtype": kind, "shape": [4], "data_offsets": [0, 4 * size]}}, b"\0" * 4 * size))
    with pytest.raises(ValueError, match=kind):
        fastnn.load(tmp_path / "w")


def test_files_of_safetensors_and_torch(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    save_file(theirs.state_dict(), tmp_path / "theirs")
    ours.load_state_dict(fastnn.load(tmp_path / "theirs"))
    np.testing.assert_array_equal(ours[0].weight.numpy(), theirs[0].weight.detach().numpy())
    ours[0].weight.numpy()[:] = 7
    fastnn.save(ours.state_dict(), tmp_path / "ours")
    theirs.load_state_dict(load_file(tmp_path / "ours"))
    assert (theirs[0].weight == 7).all()
    assert theirs[1].num_batches_tracked.dtype == torch.int64


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(3, 4, bias=False)
        self.decoder = nn.Linear(4, 2)
        self.twin = self.encoder


def test_what_does_not_fit_is_reported_together(tmp_path):
    state = {
        "encoder.weight": np.ones((4, 3)),
        "decoder.weight": np.ones((4, 2)),
        "head.bias": np.ones(7),
        "decoder.scale": np.array(1.0),
    }
    fastnn.save(state, tmp_path / "w")
    model = Tied()
    before = model.state_dict()
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(dict(sorted(fastnn.load(tmp_path / "w").items())))
    assert str(caught.value) == (
        "state_dict: missing 'decoder.bias' (2,); unexpected 'decoder.scale' (), 'head.bias' (7,); "
        "decoder.weight: expected shape (2, 4), got (4, 2)"
    )
    with pytest.raises(ValueError, match=r"^decoder.weight: expected shape \(2, 4\), got \(4, 2\)$"):
        model.load_state_dict(fastnn.load(tmp_path / "w"), strict=False)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    state["decoder.weight"] = np.ones((2, 4))
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == ["decoder.bias"]
    assert sorted(result.unexpected_keys) == ["decoder.scale", "head.bias"]
    np.testing.assert_array_equal(model.twin.weight.numpy(), 1)


def test_torch_writes_a_shared_tensor_once(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_model

    theirs = torch.nn.ModuleDict({"encoder": torch.nn.Linear(3, 4, bias=False), "decoder": torch.nn.Linear(4, 2)})
    theirs["twin"] = theirs["encoder"]
    save_model(theirs, tmp_path / "theirs")
    content = fastnn.load(tmp_path / "theirs")
    assert len(content) == 3
    model = Tied()
    assert model.load_state_dict(content) == ([], [])
    np.testing.assert_array_equal(model.encoder.weight.numpy(), theirs["encoder"].weight.detach().numpy())


def test_half_precision_of_torch_is_widened(tmp_path):
    fastnn.save({"weight": np.full((2, 3), 0.5, np.float16), "bias": np.ones(2, np.float64)}, tmp_path / "w")
    model = nn.Linear(3, 2)
    model.load_state_dict(fastnn.load(tmp_path / "w"))
    assert model.weight.dtype == model.bias.dtype == np.float32
    np.testing.assert_array_equal(model.weight.numpy(), 0.5)


def test_missing_file(tmp_path):
    for function in (fastnn.load, io.load_metadata):
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "none")
