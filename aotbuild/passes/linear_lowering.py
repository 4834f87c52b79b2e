"""How Inductor compiles the product of rows with a packed matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch._inductor import ir, lowering
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.virtualized import V

from aotbuild.passes.packed_linear import OP
from aotbuild.passes.template import Tile, Tiled

_ROWS, _COLUMNS = 14, 256
"""Of the largest tile; the register blocks of ``gemm.h`` have no more rows."""
_PARALLEL = 1 << 17
"""Multiplications from which on threads pay."""


def register() -> None:
    """Register the lowering of the operator."""
    if OP not in lowering.lowerings:
        lowering.register_lowering(OP, type_promotion_kind=None)(_lower)


def _lower(rows: Any, packed: Any, bias: Any, n: int, activation: str) -> Any:
    *leading, k = rows.get_size()
    matrix = lowering.view(rows, [-1, k]) if len(leading) != 1 else rows
    matrix = ir.ExternKernel.require_stride1(ir.ExternKernel.realize_input(matrix))
    inputs = [matrix, ir.ExternKernel.realize_input(packed)]
    if bias is not None:
        inputs.append(ir.ExternKernel.realize_input(bias))
    m = matrix.get_size()[0]
    layout = ir.FixedLayout(matrix.get_device_or_error(), matrix.get_dtype(), [m, n], [n, 1])
    found = _PackedLinear(inputs, layout, activation).call()
    return lowering.view(found, [*leading, n]) if len(leading) != 1 else found


class _PackedLinear(Tiled):
    headers = ("vectors.h", "gemm.h", "activations.h")

    def __init__(self, inputs: Sequence[Any], layout: Any, activation: str) -> None:
        super().__init__("packed_linear", inputs, layout)
        self._activation = activation

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], tile: Tile) -> str:
        rows, packed, *bias = inputs
        m, n = self.layout.size
        k = int(packed.get_size()[1])
        few = V.graph.sizevars.shape_env.replace(m)
        least, most = _row_blocks(int(few)) if few.is_number else (1, _ROWS)
        own_bias = f"&{kernel.index(bias[0], ['n_start'])}" if bias else "nullptr"
        activate = (
            f"aotbuild::activate<aotbuild::{self._activation}>"
            "(tile, m_end - m_start, LD, n_end - n_start);"
            if self._activation
            else ""
        )
        return f"""\
    constexpr int64_t N = {int(n)}, K = {k}, LD = {_COLUMNS};
    const int64_t M = {kernel.size(rows, 0)};
    const int64_t distance = {kernel.stride(rows, 0)};
    const aotbuild::Tiling tiling(M, N, K, LD);
    #pragma omp parallel if(M * N * K >= {_PARALLEL})
    {{
        {tile.define("tile", _ROWS, _COLUMNS)}
        #pragma omp for schedule(static)
        for (int64_t t = 0; t < tiling.count; t++) {{
            const int64_t m_start = tiling.row(t), m_end = tiling.row_end(t);
            const int64_t n_start = tiling.column(t), n_end = tiling.column_end(t);
            aotbuild::multiply_tile<{least}, {most}>(
                m_end - m_start, n_end - n_start, K, in0 + {self._offset(kernel, rows)}, distance,
                in1 + n_start * K, {own_bias}, tile, LD);
            {activate}
            {tile.store(("m_start", "m_end"), ("n_start", "n_end"))}
        }}
    }}"""

    @staticmethod
    def _offset(kernel: CppTemplateKernel, rows: Any) -> str:
        """The place of the first element of a row."""
        text = str(kernel.index(rows, ["m_start", 0]))
        return text[text.index("[") + 1 : text.rindex("]")]


def _row_blocks(m: int) -> tuple[int, int]:
    """The fewest and the most rows of a block where ``m`` rows are divided evenly."""
    return max(1, -(-m // _ROWS) and m // -(-m // _ROWS)), min(m, _ROWS)
