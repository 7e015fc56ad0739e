"""Convolution."""

from __future__ import annotations

from typing import Any

from fastnn import functional as F

from ..node import Node, implements
from ..values import check_room, index, permute, reshape
from .shape import pad_dimension
from .windows import spatial_rank, windows


@implements("Conv", lacks=spatial_rank)
def conv(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """Cross-correlation over one or two dimensions."""
    if len(w.shape) != len(x.shape) or list(node.get("kernel_shape") or w.shape[2:]) != list(w.shape[2:]):
        raise ValueError(f"W: shape {tuple(w.shape)} fits neither X of shape {tuple(x.shape)} nor the kernel_shape")
    place = windows(node, x.shape[2:], w.shape[2:])
    check_room((x.shape[0], w.shape[0], *place.size))
    padding = tuple(zip(place.before, place.after, strict=True))
    convolve: Any = F.conv1d if len(x.shape) == 3 else F.conv2d
    return convolve(x, w, b, place.stride, padding, place.dilation, node["group"])


@implements("ConvTranspose", lacks=spatial_rank)
def conv_transpose(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    """The adjoint of convolution: the input with zeros between its elements, convolved with the kernel turned round."""
    rank, groups = len(x.shape) - 2, node["group"]
    if rank not in (1, 2):
        raise NotImplementedError(f"fastnn lacks: ConvTranspose over {rank} dimensions")
    if len(w.shape) != len(x.shape) or w.shape[0] != x.shape[1] or groups < 1 or w.shape[0] % groups:
        raise ValueError(f"W: shape {tuple(w.shape)} does not fit X of shape {tuple(x.shape)} and group {groups}")
    stride, dilation = (list(node.get(name) or [1] * rank) for name in ("strides", "dilations"))
    if min(*stride, *dilation) < 1:
        raise ValueError(f"strides, dilations: expected positive numbers, got {stride} and {dilation}")
    sides = _transposed_padding(node, x.shape[2:], w.shape[2:], stride, dilation)
    check_room([*x.shape[:2], *[n * s + max(a, 0) + max(c, 0) for n, s, (a, c) in zip(x.shape[2:], stride, sides, strict=True)]])
    for i, (s, (before, after)) in enumerate(zip(stride, sides, strict=True)):
        x = pad_dimension(_spaced(x, 2 + i, s), 2 + i, before, after)
    C, M = w.shape[:2]
    kernel = permute(reshape(w, (groups, C // groups, M, *w.shape[2:])), (0, 2, 1, *range(3, 3 + rank)))
    kernel = reshape(kernel, (groups * M, C // groups, *w.shape[2:]))
    kernel = index(kernel, (slice(None), slice(None), *[slice(None, None, -1)] * rank))
    convolve: Any = F.conv1d if rank == 1 else F.conv2d
    return convolve(x, kernel, b, 1, 0, tuple(dilation), groups)


def _spaced(x: Any, d: int, stride: int) -> Any:
    """With stride - 1 zeros between the elements of dimension ``d``."""
    if stride == 1:
        return x
    shape, n = tuple(x.shape), x.shape[d]
    spread = pad_dimension(reshape(x, (*shape[: d + 1], 1, *shape[d + 1 :])), d + 1, 0, stride - 1)
    joined = reshape(spread, (*shape[:d], n * stride, *shape[d + 1 :]))
    return index(joined, (*(slice(None),) * d, slice(0, max(n * stride - stride + 1, 0))))


def _transposed_padding(node: Node, spatial: Any, kernel: Any, stride: list[int], dilation: list[int]) -> list[tuple[int, int]]:
    """How many zeros stand before and after each dimension for the convolution; negative where elements are cut off."""
    rank = len(spatial)
    pads, extra = list(node.get("pads") or [0] * 2 * rank), list(node.get("output_padding") or [0] * rank)
    wanted, mode = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER") and not wanted:
        wanted = [n * s for n, s in zip(spatial, stride, strict=True)]
    found = []
    for i, (n, k, s, d) in enumerate(zip(spatial, kernel, stride, dilation, strict=True)):
        reach, (before, after) = d * (k - 1), (pads[i], pads[rank + i]) if mode == "NOTSET" else (0, 0)
        if wanted:
            total = s * (n - 1) + extra[i] + reach + 1 - wanted[-rank:][i]
            before = total // 2 if mode == "SAME_UPPER" else total - total // 2
            after = total - before
        found.append((reach - before, reach - after + extra[i]))
    return found
