"""How Inductor compiles the product of rows with a packed matrix, both in bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._inductor import ir, lowering
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.virtualized import V

from aotbuild.passes.linear_lowering import PARALLEL, with_contiguous_rows
from aotbuild.passes.packed_linear_bfloat16 import OP
from aotbuild.passes.template import Tile, Tiled


def register() -> None:
    """Register the lowering of the operator."""
    if OP not in lowering.lowerings:
        lowering.register_lowering(OP, type_promotion_kind=None)(_lower)


def _lower(rows: Any, packed: Any, bias: Any, n: int, activation: str) -> Any:
    *leading, k = rows.get_size()
    matrix = lowering.view(rows, [-1, k]) if len(leading) != 1 else rows
    matrix = with_contiguous_rows(matrix)
    inputs = [matrix, ir.ExternKernel.realize_input(packed)]
    if bias is not None:
        inputs.append(ir.ExternKernel.realize_input(bias))
    m = matrix.get_size()[0]
    layout = ir.FixedLayout(matrix.get_device_or_error(), torch.float32, [m, n], [n, 1])
    found = _PackedLinear(inputs, layout, activation).call()
    return lowering.view(found, [*leading, n]) if len(leading) != 1 else found


class _PackedLinear(Tiled):
    headers = ("vectors.h", "gemm_bfloat16.h", "activations.h")

    def __init__(self, inputs: Sequence[Any], layout: Any, activation: str) -> None:
        super().__init__("packed_linear_bfloat16", inputs, layout)
        self._activation = activation

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], tile: Tile) -> str:
        rows, packed, *bias = inputs
        m, n = self.layout.size
        pairs = int(packed.get_size()[1])
        size = V.graph.sizevars.simplify(m)
        # Where the number of rows is known, only the blocks that it needs are compiled.
        static = int(size) if size.is_number else 0
        activate = (
            f"aotbuild::activate<aotbuild::{self._activation}>"
            "(tile, m_end - m_start, LD, n_end - n_start);"
            if self._activation
            else ""
        )
        return f"""\
    {kernel.maybe_codegen_profile()}
    namespace own = aotbuild::bfloat16;
    constexpr int64_t N = {int(n)}, PAIRS = {pairs};
    constexpr int64_t LD = own::kLd, MOST_ROWS = own::kMostRows;
    const int64_t M = {kernel.size(rows, 0)};
    const int64_t distance = {kernel.stride(rows, 0)};
    const auto* const first = reinterpret_cast<const uint16_t*>(&{kernel.index(rows, [0, 0])});
    const auto* const weights = reinterpret_cast<const uint16_t*>(in1);
    const float* const bias = {f"&{kernel.index(bias[0], [0])}" if bias else "nullptr"};
    const own::Tiling tiling(M, N);
    #pragma omp parallel if(M * N * PAIRS * 2 >= {PARALLEL})
    {{
        {tile.define("tile", "MOST_ROWS", "LD")}
        #pragma omp for schedule(static)
        for (int64_t t = 0; t < tiling.count; t++) {{
            const auto place = tiling.at(t);
            const int64_t m_start = place.m0, m_end = place.m1;
            const int64_t n_start = place.n0, n_end = place.n1;
            own::multiply_tile<own::fewest_rows({static}), own::most_rows({static})>(
                tiling, place, first, distance, weights, PAIRS, bias, tile);
            {activate}
            {tile.store(("m_start", "m_end"), ("n_start", "n_end"))}
        }}
    }}"""
