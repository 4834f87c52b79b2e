"""How Inductor compiles attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._inductor import ir, lowering
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.virtualized import V

from aotbuild.passes.attention.operator import OP
from aotbuild.passes.template.kernel_text import float_literal
from aotbuild.passes.template.tiled import lower_by
from aotbuild.passes.template.whole import Whole

_ELEMENTS = {torch.float32: "float", torch.bfloat16: "uint16_t", torch.bool: "unsigned char"}
"""The type of a number in the kernel."""


def register() -> None:
    """Register the lowering of the operator."""
    lower_by(OP, _lower)


def _lower(
    q: Any,
    k: Any,
    v: Any,
    mask: Any,
    scale: float,
    causal: bool,  # noqa: FBT001
    fill: float,
    undefined: bool,  # noqa: FBT001
) -> Any:
    batch, heads, queries, _ = q.get_size()
    keys, width = v.get_size()[2:]
    inputs = [_view(q), _along_rows(k) if _only_few(q) else _view(k), _along_rows(v)]
    if mask is not None:
        mask.realize()  # before it is expanded
        inputs.append(_view(lowering.expand(mask, [batch, heads, queries, keys])))
    layout = ir.FixedLayout(
        q.get_device_or_error(),
        q.get_dtype(),
        [batch, heads, queries, width],
        [queries * heads * width, width, heads * width, 1],
    )
    return _Attention(inputs, layout, (scale, fill), causal=causal, undefined=undefined).call()


def _only_few(q: Any) -> bool:
    """Whether there is a kernel for few queries only, which reads keys along their rows."""
    return bool(q.get_dtype() is torch.bfloat16)


def _along_rows(tensor: Any) -> Any:
    """A tensor the numbers of whose rows lie side by side."""
    return ir.ExternKernel.require_stride1(_view(tensor))


def _view(tensor: Any) -> Any:
    """A tensor in memory, as the view that it is."""
    tensor.realize()
    return ir.ExternKernel.realize_input(tensor)


class _Attention(Whole):
    kernel_header = "attention/attention.h"

    def __init__(
        self,
        inputs: Sequence[Any],
        layout: Any,
        numbers: tuple[float, float],
        *,
        causal: bool,
        undefined: bool,
    ) -> None:
        super().__init__("attention", inputs, layout)
        self._numbers = numbers
        self._causal, self._undefined = causal, undefined

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], result: Any) -> str:
        q, k, v, *mask = inputs
        sizes = [kernel.size(q, 0), kernel.size(q, 1), kernel.size(k, 1)]
        sizes += [kernel.size(q, 2), kernel.size(k, 2)]
        widths = f"{int(q.get_size()[3])}, {int(v.get_size()[3])}"
        causal, undefined = (str(flag).lower() for flag in (self._causal, self._undefined))
        scale, fill = map(float_literal, self._numbers)
        number = _ELEMENTS[q.get_dtype()]
        function = f"attention<{widths}, {causal}, {undefined}>"
        if _only_few(q):
            function = f"attention_of_few<{widths}, {undefined}>"
        return f"""\
    using namespace aotbuild;
    {function}(
        Heads<const {number}>{{{_place(kernel, q)}}},
        Heads<const {number}>{{{_place(kernel, k)}}},
        Heads<const {number}>{{{_place(kernel, v)}}},
        Heads<{number}>{{{_place(kernel, result)}}},
        {_mask(kernel, mask[0]) if mask else "NoMask{}"},
        AttentionSizes{{{", ".join(sizes)}}}, {scale}, {fill});"""


def _place(kernel: CppTemplateKernel, tensor: Any) -> str:
    """The address of a tensor, and its distances."""
    strides = ", ".join(kernel.stride(tensor, i) for i in range(4))
    return f"({_ELEMENTS[tensor.get_dtype()]}*)&{kernel.index(tensor, [0, 0, 0, 0])}, {strides}"


def _mask(kernel: CppTemplateKernel, mask: Any) -> str:
    element = _ELEMENTS[mask.get_dtype()]
    address = f"(const {element}*)&{kernel.index(mask, [0, 0, 0, 0])}"
    strides = [kernel.stride(mask, i) for i in range(4)]
    if V.graph.sizevars.statically_known_equals(mask.get_stride()[2], 0):
        del strides[2]
        return f"KeyMask<{element}>{{{address}, {', '.join(strides)}}}"
    return f"Mask<{element}>{{{address}, {', '.join(strides)}}}"
