"""How Inductor compiles a recurrent layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch._inductor import ir
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel

from aotbuild.passes.recurrent.operator import KINDS, OP
from aotbuild.passes.template.tiled import lower_by
from aotbuild.passes.template.whole import Whole


def register() -> None:
    """Register the lowering of the operator."""
    lower_by(OP, _lower)


def _lower(
    inputs: Any,
    weights: Any,
    bias: Any,
    state: Any,
    cell: Any,
    kind: str,
    reverse: bool,  # noqa: FBT001
    rows_first: bool,  # noqa: FBT001
) -> Any:
    own = KINDS[kind]
    tensors = [inputs, weights, state]
    if own.cell:
        tensors.append(cell)
    if bias is not None:
        tensors.append(bias)
    for each in tensors:
        each.realize()
    read = [
        ir.ExternKernel.require_stride1(ir.ExternKernel.realize_input(each)) for each in tensors
    ]
    rows, units = state.get_size()
    size = inputs.get_size()[0] * inputs.get_size()[1] * units
    layout = ir.FixedLayout(
        inputs.get_device_or_error(),
        inputs.get_dtype(),
        [size + rows * units if own.cell else size],
        [1],
    )
    flags = (reverse, rows_first, bias is not None)
    return _Recurrent(read, layout, kind, flags).call()


class _Recurrent(Whole):
    kernel_header = "recurrent/recurrent.h"

    def __init__(
        self, inputs: Sequence[Any], layout: Any, kind: str, flags: tuple[bool, bool, bool]
    ) -> None:
        super().__init__("recurrent", inputs, layout)
        self._kind, self._flags = kind, flags

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], result: Any) -> str:
        reverse, rows_first, has_bias = self._flags
        own = KINDS[self._kind]
        given, weights, state, *others = inputs
        cell = others[0] if own.cell else None
        bias = others[-1] if has_bias else None
        units = int(weights.get_size()[1])
        step, row = (1, 0) if rows_first else (0, 1)

        def address(tensor: Any) -> str:
            if tensor is None:
                return "nullptr"
            return f"&{kernel.index(tensor, [0] * len(tensor.get_size()))}"

        def distance(tensor: Any, dim: int) -> str:
            return "0" if tensor is None else kernel.stride(tensor, dim)

        return f"""\
    const int64_t steps = {kernel.size(given, step)}, rows = {kernel.size(given, row)};
    constexpr int64_t units = {units};
    float* const output = {address(result)};
    aotbuild::recurrent<aotbuild::{self._kind}, {str(reverse).lower()}>({{
        {address(given)}, {distance(given, step)}, {distance(given, row)},
        {address(weights)}, {address(bias)},
        {address(state)}, {distance(state, 0)},
        {address(cell)}, {distance(cell, 0)},
        output, {"units, steps * units" if rows_first else "rows * units, units"},
        output + steps * rows * units,
        steps, rows, units}});"""
