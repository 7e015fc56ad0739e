"""Where the windows of convolution and pooling stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..node import Facts, Node
from ..values import check_room
from .shape import pad_dimension

LIMIT = 2**31 - 1


class Windows(NamedTuple):
    """Kernel, stride, dilation, padding before and after, and number of windows, for each spatial dimension."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    size: tuple[int, ...]

    def padded(self, x: Any, fill: float) -> Any:
        """The input with just the border that these windows reach, so that as many fit as ``size`` says."""
        dims = len(self.kernel)
        for i, (k, s, d, begin, n) in enumerate(
            zip(self.kernel, self.stride, self.dilation, self.before, self.size, strict=True)
        ):
            axis = len(x.shape) - dims + i
            x = pad_dimension(x, axis, begin, max((n - 1) * s + d * (k - 1) + 1 - begin - x.shape[axis], 0), fill=fill)
        return x


def spatial_rank(node: Node, facts: Facts) -> str | None:
    """What is lacking: dimensions beyond two."""
    rank = len(node.get("kernel_shape") or ()) or None
    if rank is None:
        ranks = [facts.ranks[name] - 2 for name in node.inputs[:2] if name in facts.ranks]
        rank = ranks[0] if ranks else None
    return None if rank in (None, 1, 2) else f"{node.kind} over {rank} dimensions"


def windows(node: Node, spatial: Sequence[int], kernel: Sequence[int]) -> Windows:
    """The windows that a node's attributes describe.

    Raises
    ------
    NotImplementedError
        Where there are more than two spatial dimensions.
    ValueError
        Where an attribute does not fit.
    """
    rank = len(spatial)
    if rank not in (1, 2):
        raise NotImplementedError(f"fastnn lacks: {node.kind} over {rank} dimensions")
    stride, dilation = (list(node.get(name) or [1] * rank) for name in ("strides", "dilations"))
    pads, mode, ceil = list(node.get("pads") or [0] * 2 * rank), node.get("auto_pad", "NOTSET"), bool(node.get("ceil_mode"))
    for name, values, count in (("kernel_shape", kernel, rank), ("strides", stride, rank), ("dilations", dilation, rank)):
        if len(values) != count or not all(1 <= n <= LIMIT for n in values):
            raise ValueError(f"{name}: expected {count} positive numbers, got {list(values)}")
    check_room(kernel)
    if len(pads) != 2 * rank or not all(0 <= n <= LIMIT for n in pads):
        raise ValueError(f"pads: expected {2 * rank} numbers that are not negative, got {pads}")
    sides, sizes = [], []
    for i, (n, k, s, d) in enumerate(zip(spatial, kernel, stride, dilation, strict=True)):
        before, after, size = _along(mode, n, d * (k - 1) + 1, s, pads[i], pads[rank + i], ceil)
        sides.append((before, after))
        sizes.append(size)
    if min(sizes) < 1:
        raise ValueError(f"kernel_shape: {list(kernel)} does not fit into the input of {list(spatial)}")
    return Windows(
        tuple(kernel), tuple(stride), tuple(dilation), tuple(b for b, _ in sides), tuple(a for _, a in sides), tuple(sizes)
    )


def _along(mode: str, n: int, extent: int, stride: int, before: int, after: int, ceil: bool) -> tuple[int, int, int]:
    """Padding before and after, and the number of windows, along one dimension."""
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        size = math.ceil(n / stride)
        total = max((size - 1) * stride + extent - n, 0)
        small, large = total // 2, total - total // 2
        return (small, large, size) if mode == "SAME_UPPER" else (large, small, size)
    if mode == "VALID":
        before = after = 0
    room = n + before + after - extent
    size = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (size - 1) * stride >= n + before:  # a window that starts in the padding behind the input
        size -= 1
    return before, after, size
