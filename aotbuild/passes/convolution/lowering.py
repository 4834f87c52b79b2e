"""How Inductor compiles a convolution with packed weights.

Inside a model the channels of images are innermost: the result has them so, what elementwise
operators and pools make of it takes that over, and the next convolution reads it as it is. Inductor
brings only outputs of the model into the order that was promised for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch._inductor import ir, lowering
from torch._inductor.codegen import cpp_utils
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.virtualized import V

from aotbuild.passes.convolution.operator import OP, shares_panels
from aotbuild.passes.template.kernel_text import float_literal
from aotbuild.passes.template.tiled import Tile, Tiled, lower_by

_ROWS, _COLUMNS, _DEEP_COLUMNS = 14, 32, 256
"""Of the largest tile of ``convolution.h``; of a depthwise convolution, it has more columns."""
_UNROLLED = {(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)}
"""Widths and strides of depthwise kernels for which the code is unrolled."""


def register() -> None:
    """Register the lowering of the operator."""
    lower_by(OP, _lower)


@dataclass(frozen=True)
class _Moves:
    """How a kernel moves over an image, by dimension."""

    stride: list[int]
    before: list[int]
    after: list[int]
    dilation: list[int]


@dataclass(frozen=True)
class _Finish:
    """What is done to a sum of products before it is stored."""

    bias: bool
    """Whether a bias is added."""
    summand: bool
    """Whether another tensor is added."""
    bounds: tuple[float, float]
    activation: str


def _lower(
    x: Any,
    packed: Any,
    bias: Any,
    summand: Any,
    channels: int,
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dilation: Sequence[int],
    low: float,
    high: float,
    activation: str,
    channels_last: bool,  # noqa: FBT001
) -> Any:
    del channels_last
    moves = _Moves(list(stride), list(before), list(after), list(dilation))
    dense = len(packed.get_size()) == len(stride) + 3
    x = _channels_innermost(x, strict=not dense)
    convert: Any = vars(ir)["convert_shape_to_inductor"]
    size = convert(V.graph.current_node.meta["val"].shape)
    batch, _, *image = size
    pixels = math.prod([batch, *image])
    inputs = [x, ir.ExternKernel.realize_input(packed)]
    if bias is not None:
        inputs.append(ir.ExternKernel.realize_input(bias))
    if summand is not None:
        summand = ir.ExternKernel.realize_input(summand)
        strides = [*ir.FlexibleLayout.contiguous_strides([batch, *image, channels])]
        strides = [strides[0], strides[-1], *strides[1:-1]]
        inputs.append(ir.ExternKernel.require_exact_strides(summand, strides))
    layout = ir.FixedLayout(
        x.get_device_or_error(), x.get_dtype(), [pixels, channels], [channels, 1]
    )
    template = _PackedConvolution(
        inputs,
        layout,
        moves=moves,
        image=image,
        finish=_Finish(bias is not None, summand is not None, (low, high), activation),
    )
    result = lowering.view(template.call(), [batch, *image, channels])
    dims = len(size)
    return lowering.permute(result, [0, dims - 1, *range(1, dims - 1)])


def _channels_innermost(x: Any, *, strict: bool) -> Any:
    """The image with its channels innermost, unless it is already there in another order.

    Such a one, as an input of the model, is read in its own order, except where that is impossible.
    """
    x = ir.ExternKernel.realize_input(x)
    dims = len(x.get_size())
    fixed = ir.is_storage_and_layout(x) and not isinstance(x.get_layout(), ir.FlexibleLayout)
    order = [dims - 1, 0, *range(dims - 2, 0, -1)]  # the place of each, from the innermost one
    if not fixed:
        return ir.ExternKernel.require_stride_order(x, order)
    if strict and not _known(x.get_stride()[1], 1):
        batch, channels, *image = x.get_size()
        strides = ir.FlexibleLayout.contiguous_strides([batch, *image, channels])
        return ir.ExternKernel.require_exact_strides(x, [strides[0], strides[-1], *strides[1:-1]])
    return x


def _known(one: Any, other: Any) -> bool:
    return bool(V.graph.sizevars.statically_known_equals(one, other))


class _PackedConvolution(Tiled):
    kernel_header = "convolution/convolution.h"

    def __init__(
        self,
        inputs: Sequence[Any],
        layout: Any,
        *,
        moves: _Moves,
        image: list[Any],
        finish: _Finish,
    ) -> None:
        super().__init__("packed_convolution", inputs, layout)
        self._moves, self._image, self._finish = moves, image, finish
        self._winograd = len(inputs[1].get_size()) == len(moves.stride) + 2
        if self._winograd:
            self.kernel_header = "convolution/winograd.h"

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], tile: Tile) -> str:
        x, packed = inputs[:2]
        spatial = len(self._moves.stride)
        depthwise = len(packed.get_size()) == spatial + 1
        taps = [int(n) for n in packed.get_size()[(0 if depthwise else 1) :][:spatial]]
        if self._winograd:
            taps = [3, 3]
        ic, oc = int(x.get_size()[1]), int(self.layout.size[1])
        pixels = self.layout.size[0]
        inner = 1 if depthwise else ic if self._winograd else int(packed.get_size()[-2])
        groups = ic // inner
        work = _number(kernel, pixels * (oc * math.prod(taps) * inner))
        begin = f"&{kernel.index(x, [0] * (spatial + 2))}"
        weights = f"&{kernel.index(packed, [0] * len(packed.get_size()))}"
        if depthwise:
            call = self._depthwise_call(x, taps, begin, weights)
        elif self._winograd:
            call = f"convolve_winograd<{self._activation_name}>(shape, {begin}, {weights}"
        elif groups == 1 and self._is_pointwise(x, taps):
            call = self._pointwise_call(kernel, x, begin, weights)
        else:
            chosen = [self._activation_name, str(_constant(self._image[-1]))]
            if groups > 1 and shares_panels(inner, oc // groups):
                chosen.append(f"{_SPACE}Sharing<{oc // groups}, {inner}>")
            call = f"convolve<{', '.join(chosen)}>(shape, {begin}, {weights}"
        columns = _DEEP_COLUMNS if depthwise else _COLUMNS
        return f"""\
    const {_SPACE}Shape shape{{{", ".join(self._shape(kernel, x, taps, groups))}}};
    const {_SPACE}Finish finish{{{", ".join(self._finish_members(kernel, inputs[2:]))}}};
    const int64_t threads = {work} >= aotbuild::kParallelWork ? omp_get_max_threads() : 1;
    {self._sink(tile, columns)}
    {_SPACE}{call}, finish, sink, threads);"""

    @property
    def _activation_name(self) -> str:
        """The activation as C++ names it."""
        activation = self._finish.activation
        return f"{_SPACE if activation in _OF_CONVOLUTION else 'aotbuild::'}{activation}"

    def _shape(
        self, kernel: CppTemplateKernel, x: Any, taps: Sequence[int], groups: int
    ) -> list[str]:
        """The members of ``Shape``: sizes, movements and strides, a line being an image of one."""
        moves = self._moves

        def pair(values: Sequence[Any], default: Any) -> list[Any]:
            return [default, *values] if len(moves.stride) == 1 else list(values)

        batch, channels, *image = x.get_size()
        strides = x.get_stride()
        members = [
            *(batch, int(channels), *pair(image, 1)),
            *(int(self.layout.size[1]), *pair(self._image, 1)),
            *(*pair(taps, 1), *pair(moves.stride, 1), *pair(moves.dilation, 1)),
            *(*pair(moves.before, 0), groups, strides[0], strides[1], *pair(strides[2:], 0)),
        ]
        return [_number(kernel, member) for member in members]

    def _finish_members(self, kernel: CppTemplateKernel, inputs: Sequence[Any]) -> list[str]:
        """The members of the kernel's ``Finish``: bias, summand, and the bounds of the result."""
        rest = [*inputs]
        bias = f"&{kernel.index(rest.pop(0), [0])}" if self._finish.bias else "nullptr"
        place = [0] * (len(self._moves.stride) + 2)
        summand = f"&{kernel.index(rest[0], place)}" if self._finish.summand else "nullptr"
        return [bias, summand, *map(float_literal, self._finish.bounds)]

    def _depthwise_call(self, x: Any, taps: Sequence[int], begin: str, weights: str) -> str:
        width, move = taps[-1], self._moves.stride[-1]
        if self._moves.dilation[-1] != 1 or (width, move) not in _UNROLLED:
            width = move = 0
        inner = self._inner_columns(x, taps[-1])
        return (
            f"convolve_depthwise<{self._activation_name}, {width}, {move}, {inner}>"
            f"(shape, {begin}, {weights}"
        )

    def _pointwise_call(self, kernel: CppTemplateKernel, x: Any, begin: str, weights: str) -> str:
        pixels = self.layout.size[0]
        ic, oc = int(x.get_size()[1]), int(self.layout.size[1])
        return (
            f"convolve_pointwise<{self._activation_name}, {_constant(pixels)}>"
            f"({_number(kernel, pixels)}, {ic}, {oc}, {begin}, "
            f"{_number(kernel, x.get_stride()[-1])}, {weights}"
        )

    def _sink(self, tile: Tile, columns: int) -> str:
        """Where tiles go: into the result, or through what Inductor fused behind them."""
        if tile.plain:
            return f"const aotbuild::convolution::Direct sink{{out, {int(self.layout.size[1])}}};"
        return f"""\
auto sink = [&](int64_t m_start, int64_t m_end, int64_t n_start, int64_t n_end, const auto& fill) {{
        {tile.define("tile", _ROWS, columns)}
        fill(tile, {columns});
        {tile.store(("m_start", "m_end"), ("n_start", "n_end"))}
    }};"""

    def _is_pointwise(self, x: Any, taps: Sequence[int]) -> bool:
        """Whether output pixels are those of the input, all at one distance."""
        moves = self._moves
        if {*taps, *moves.stride} != {1} or {*moves.before, *moves.after} != {0}:
            return False
        _, channels, *image = x.get_size()
        batch_stride, channel_stride, *strides = x.get_stride()
        if channels != 1 and not _known(channel_stride, 1):
            return False
        distance = strides[-1]
        expected = [math.prod([distance, *image[dim + 1 :]]) for dim in range(-1, len(image))]
        return all(map(_known, [batch_stride, *strides], expected))

    def _inner_columns(self, x: Any, taps: int) -> int:
        """Output pixels of a row whose taps are all in the image; 0 if that is not known."""
        width, out = _constant(x.get_size()[-1]), _constant(self._image[-1])
        if not width or not out:
            return 0
        before, stride = self._moves.before[-1], self._moves.stride[-1]
        begin = min(-(-before // stride), out)
        room = width + before - (taps - 1) * self._moves.dilation[-1] - 1
        end = begin if room < 0 else max(begin, min(out, room // stride + 1))
        return end - begin


_SPACE = "aotbuild::convolution::"
_OF_CONVOLUTION = {"none", "hardsigmoid", "hardswish"}
"""Activations that ``convolution.h`` has."""


def _number(kernel: CppTemplateKernel, value: Any) -> str:
    """A size or a stride, as an expression of the code."""
    index: Any = cpp_utils.cexpr_index
    return str(index(kernel.rename_indexing(value)))


def _constant(size: Any) -> int:
    """A size that is known; 0 for any other."""
    value = V.graph.sizevars.shape_env.replace(size) if hasattr(size, "free_symbols") else size
    return int(value) if getattr(value, "is_number", True) else 0
