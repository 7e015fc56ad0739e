"""ONNX files as data that may come from anybody: parsed, checked, and never trusted with a path or a size."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

# The element types that have a NumPy dtype of the same meaning which fastnn computes with or indexes by, and the field that
# holds their elements where they do not stand in raw_data.
TYPES: dict[int, tuple[np.dtype, str]] = {
    TensorProto.FLOAT: (np.dtype(np.float32), "float_data"),
    TensorProto.DOUBLE: (np.dtype(np.float64), "double_data"),
    TensorProto.INT8: (np.dtype(np.int8), "int32_data"),
    TensorProto.INT16: (np.dtype(np.int16), "int32_data"),
    TensorProto.INT32: (np.dtype(np.int32), "int32_data"),
    TensorProto.INT64: (np.dtype(np.int64), "int64_data"),
    TensorProto.UINT8: (np.dtype(np.uint8), "int32_data"),
    TensorProto.UINT16: (np.dtype(np.uint16), "int32_data"),
    TensorProto.UINT32: (np.dtype(np.uint32), "uint64_data"),
    TensorProto.UINT64: (np.dtype(np.uint64), "uint64_data"),
    TensorProto.BOOL: (np.dtype(np.bool_), "int32_data"),
}
MOST_NAMED = 200  # characters of a name in a message


def type_name(element: int) -> str:
    """The name of an element type, as ONNX writes it."""
    return TensorProto.DataType.Name(element).lower() if element in TensorProto.DataType.values() else f"type {element}"


def parse(file: Any) -> ModelProto:
    """The model in a file, as it stands there.

    Parameters
    ----------
    file : path-like, binary file, bytes or ModelProto

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TypeError
        Where ``file`` is something else.
    ValueError
        Where it holds no ONNX model.
    """
    if isinstance(file, ModelProto):
        model = ModelProto()
        model.CopyFrom(file)
        return model
    if isinstance(file, (str, os.PathLike)):
        content: Any = Path(file).read_bytes()
    else:
        content = file.read() if hasattr(file, "read") else file
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"file: expected a path, a binary file, bytes or a ModelProto, got {type(file).__name__}")
    try:
        return ModelProto.FromString(bytes(content))
    except DecodeError as error:
        raise ValueError(f"file: expected an ONNX model ({error})") from None


def check(model: ModelProto, external_data: Any = None) -> None:
    """Take in external data from the folder where that is allowed, and refuse what is not well-formed.

    Raises
    ------
    ValueError
        Where the model is malformed, or has external data that is not allowed or not there.
    """
    for tensor in tensors(model.graph):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            _take_in(tensor, external_data)
        check_tensor(tensor)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, DecodeError, EncodeError, UnicodeDecodeError) as error:
        raise ValueError(f"file: no valid ONNX model ({str(error).strip()})") from None


def tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every dense tensor that stands in a graph: its initializers, and the attributes of its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []), *attribute.sparse_tensors):
        yield from (sparse.values, sparse.indices)
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        yield from tensors(graph)


def check_tensor(tensor: TensorProto) -> None:
    """Refuse a tensor whose elements are not as many as its dimensions say."""
    if tensor.data_type not in TYPES:
        return  # nothing is made of it
    dtype, field = TYPES[tensor.data_type]
    name, dims = tensor.name[:MOST_NAMED], list(tensor.dims)
    if any(n < 0 for n in dims) or len(dims) > 64:
        raise ValueError(f"file: tensor {name!r} has the dimensions {dims[:65]}")
    count = math.prod(dims)
    if tensor.HasField("segment"):
        raise ValueError(f"file: tensor {name!r} stands in segments, which are not supported")
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != count * dtype.itemsize:
            raise ValueError(f"file: tensor {name!r} of shape {dims} and dtype {dtype} has {len(tensor.raw_data)} bytes")
    elif len(getattr(tensor, field)) != count:
        raise ValueError(f"file: tensor {name!r} of shape {dims} has {len(getattr(tensor, field))} elements")


def to_array(tensor: TensorProto) -> np.ndarray:
    """A fresh array of a tensor of one of the TYPES."""
    check_tensor(tensor)
    dtype, field = TYPES[tensor.data_type]
    if tensor.HasField("raw_data"):
        flat = np.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).astype(dtype)
    else:
        flat = np.array(getattr(tensor, field), np.int64 if field == "int32_data" else dtype).astype(dtype)
    return flat.reshape(tuple(tensor.dims))


def _take_in(tensor: TensorProto, folder: Any) -> None:
    """Put the bytes of a tensor that stands outside the file into it."""
    name = tensor.name[:MOST_NAMED]
    if folder is None:
        raise ValueError(f"file: tensor {name!r} has external data, which is read only from the folder given as external_data")
    if tensor.data_type not in TYPES:
        raise NotImplementedError(f"fastnn lacks tensors of type {type_name(tensor.data_type)} ({name!r})")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    root = Path(os.path.realpath(os.fspath(folder)))
    location = entries.get("location", "")
    if not location or "\0" in location or os.path.isabs(location):
        raise ValueError(f"file: external data of tensor {name!r} has the location {location[:MOST_NAMED]!r}")
    path = Path(os.path.realpath(root / location))
    if not path.is_relative_to(root) or not path.is_file():
        raise ValueError(f"file: external data of tensor {name!r} is no file in the folder: {location[:MOST_NAMED]!r}")
    needed = math.prod(tensor.dims) * TYPES[tensor.data_type][0].itemsize
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(needed)))
    except ValueError:
        raise ValueError(f"file: external data of tensor {name!r} has no valid offset and length") from None
    if offset < 0 or length != needed or offset + length > path.stat().st_size:
        raise ValueError(
            f"file: tensor {name!r} of shape {list(tensor.dims)} is not the {length} bytes at {offset} of {location!r}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]
