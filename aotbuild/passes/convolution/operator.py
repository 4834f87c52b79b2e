"""The operator that is a convolution with packed weights, and what is applied to its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from aotbuild.passes.template.operators import define

PANEL = 16
"""Output channels of a panel; ``simd/panels.h`` has the same constant."""

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "hardsigmoid": torch.nn.functional.hardsigmoid,
    "hardswish": torch.nn.functional.hardswish,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
}
"""What can be applied to a result, by name; ``simd/activations.h`` and ``convolution.h`` have
code for each. Bounds are arguments of their own."""


SHARING = (2, 4, 8)
"""Channels of groups that share a panel; ``convolution.h`` has a kernel for each."""


def shares_panels(inner: int, outer: int) -> bool:
    """Whether groups of so many channels before and after a convolution share panels."""
    return outer in SHARING and inner <= outer


def _unpacked(packed: torch.Tensor, groups: int, channels: int) -> torch.Tensor:
    """The weight [channels, in, *kernel] in panels [panels, *kernel, in, PANEL]."""
    dims = packed.dim()
    weight = packed.permute(0, dims - 1, dims - 2, *range(1, dims - 2))
    if shares_panels(weight.shape[2], channels // groups):
        return weight.flatten(0, 1)[:channels]
    weight = weight.reshape(groups, -1, *weight.shape[2:])
    return weight[:, : channels // groups].flatten(0, 1)


def is_transformed(packed: torch.Tensor, spatial: int) -> bool:
    """Whether weights are transformed for Winograd's method."""
    return packed.dim() == spatial + 2


def _eager(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    summand: torch.Tensor | None,
    channels: int,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    low: float,
    high: float,
    activation: str,
    channels_last: bool,  # noqa: FBT001
) -> torch.Tensor:
    spatial = len(stride)
    depthwise = packed.dim() == spatial + 1
    if is_transformed(packed, spatial):  # the sums and differences tell the weights
        u = packed.reshape(4, 4, *packed.shape[1:])
        u = torch.stack([u[0], u[1] - u[2], u[3]])
        u = torch.stack([u[:, 0], u[:, 1] - u[:, 2], u[:, 3]], 1)  # [3, 3, panels, in, 16]
        packed = u.permute(2, 0, 1, 3, 4)
    if depthwise:
        weight, groups = packed.movedim(-1, 0).unsqueeze(1), channels
    else:
        groups = x.shape[1] // packed.shape[-2]
        weight = _unpacked(packed, groups, channels)
    sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    padded = torch.nn.functional.pad(x, sides)
    none, transposed = [0] * spatial, False
    aten: Any = torch.ops.aten
    result: torch.Tensor = aten.convolution(
        padded, weight, bias, stride, none, dilation, transposed, none, groups
    )
    if summand is not None:
        result = result + summand
    result = ACTIVATIONS[activation](result.clamp(low, high))
    last = torch.channels_last if spatial == 2 else torch.contiguous_format
    return result.contiguous(memory_format=last if channels_last else torch.contiguous_format)


def _fake(
    x: torch.Tensor,
    packed: torch.Tensor,
    bias: torch.Tensor | None,
    summand: torch.Tensor | None,
    channels: int,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    low: float,
    high: float,
    activation: str,
    channels_last: bool,  # noqa: FBT001
) -> torch.Tensor:
    del bias, summand, low, high, activation
    spatial = len(stride)
    kernel = packed.shape[:spatial] if packed.dim() == spatial + 1 else packed.shape[1:-2]
    if is_transformed(packed, spatial):
        kernel = torch.Size([3, 3])
    sizes = [
        (size + (first + last) - step * (taps - 1) - 1) // move + 1
        for size, first, last, step, taps, move in zip(
            x.shape[2:], before, after, dilation, kernel, stride, strict=True
        )
    ]
    return torch.empty(
        [x.shape[0], channels, *sizes],
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )


OP = define(
    "packed_convolution(Tensor x, Tensor packed, Tensor? bias, Tensor? summand, int channels, "
    "int[] stride, int[] before, int[] after, int[] dilation, float low, float high, "
    "str activation, bool channels_last) -> Tensor",
    _eager,
    _fake,
)
"""``activation(clamp(convolution(x) + bias + summand, low, high))`` in one or two dimensions.

The weights are packed as [ceil(channels / 16), *kernel, in, 16], filled up with zeros, or, for a
depthwise convolution, as [*kernel, channels], or, for Winograd's method with kernels of 3 x 3, as
[16, ceil(channels / 16), in, 16]. Where a weight has fewer channels than x, there are groups: each
begins a panel, unless ``shares_panels`` tells that they lie one behind the other.

x is read as if it had ``before`` and ``after`` zeros on its sides. ``channels_last`` tells the
strides that the result is said to have; in compiled code the channels are innermost, whatever it
says."""
