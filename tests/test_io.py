"""Weights in files."""

import json
import os
import struct

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
def test_a_crash_leaves_the_old_file_whole(tmp_path, monkeypatch, moment):
    path = tmp_path / "w.safetensors"
    fastnn.save({"w": np.ones(2)}, path)

    def crash(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, moment, crash)
    with pytest.raises(OSError, match="disk full"):
        fastnn.save({"w": np.zeros(2)}, path)
    monkeypatch.undo()
    np.testing.assert_array_equal(fastnn.load(path)["w"], [1, 1])
    assert os.listdir(tmp_path) == ["w.safetensors"]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [([1], "mapping"), ({1: np.ones(1)}, "names"), ({"w": None}, "w"), ({"w": [1.0]}, "w"), ({"w": np.array(["a"])}, "w"), ({"w": np.array([1j])}, "w")],
)
def test_what_cannot_be_saved(tmp_path, tensors, words):
    with pytest.raises(TypeError, match=words):
        fastnn.save(tensors, tmp_path / "x")
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="metadata"):
        fastnn.save({}, tmp_path / "x", metadata={"a": 1})


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


def test_missing_file(tmp_path):
    for function in (fastnn.load, io.load_metadata):
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "none")
