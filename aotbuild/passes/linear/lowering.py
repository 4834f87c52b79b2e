"""How Inductor compiles the product of rows with a packed matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch._inductor import ir, lowering
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.virtualized import V

from aotbuild.passes.linear.operator import OP
from aotbuild.passes.template.tiled import Tile, Tiled, lower_by


def register() -> None:
    """Register the lowering of the operator."""
    PackedProduct.register(OP)


def with_contiguous_rows(matrix: Any) -> Any:
    """A matrix whose rows each lie together, at any distance; it is copied where they do not."""
    require: Any = ir.ExternKernel
    matrix = require.require_stride_order(require.realize_input(matrix), [1, 0])
    return require.require_stride1(matrix)


class PackedProduct(Tiled):
    """Rows of float32 by panels of float32; subclasses compute with other numbers."""

    name_of_template: ClassVar[str] = "packed_linear"
    kernel_header = "linear/gemm.h"
    namespace: ClassVar[str] = "aotbuild"
    """Where the tiling and the product are."""

    @classmethod
    def register(cls, operator: Any) -> None:
        """Compile an operator so."""
        lower_by(operator, cls._lower)

    @classmethod
    def _lower(cls, rows: Any, packed: Any, bias: Any, n: int, activation: str) -> Any:
        *leading, k = rows.get_size()
        matrix = lowering.view(rows, [-1, k]) if len(leading) != 1 else rows
        matrix = with_contiguous_rows(matrix)
        inputs = [matrix, ir.ExternKernel.realize_input(packed)]
        if bias is not None:
            inputs.append(ir.ExternKernel.realize_input(bias))
        m = matrix.get_size()[0]
        layout = ir.FixedLayout(matrix.get_device_or_error(), torch.float32, [m, n], [n, 1])
        product = cls(inputs, layout, activation).call()
        return lowering.view(product, [*leading, n]) if len(leading) != 1 else product

    def __init__(self, inputs: Sequence[Any], layout: Any, activation: str) -> None:
        super().__init__(self.name_of_template, inputs, layout)
        self._activation = activation

    def numbers(self, first: str) -> str:
        """The statements that define ``first``, the first row, and ``weights``.

        Args:
            first: The first row's first element, as C++.
        """
        return f"const float *const first = &{first}, *const weights = in1;"

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], tile: Tile) -> str:
        """The loop over tiles, which threads divide among them."""
        rows, packed, *bias = inputs
        m, n = self.layout.size
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
    namespace kernels = {self.namespace};
    constexpr int64_t N = {int(n)}, STEPS = {int(packed.get_size()[1])};
    constexpr int64_t LD = kernels::Tiling::kLd, MOST_ROWS = kernels::Tiling::kMostRows;
    const int64_t M = {kernel.size(rows, 0)};
    const int64_t distance = {kernel.stride(rows, 0)};
    {self.numbers(kernel.index(rows, [0, 0]))}
    {_bias(kernel, bias)}
    // Few rows take as long as one.
    const int64_t work = (M <= aotbuild::kFewRows ? 1 : M) * N * STEPS;
    const bool parallel = work * kernels::Tiling::kTermsPerStep >= aotbuild::kParallelWork;
    const kernels::Tiling tiling(M, N, STEPS, parallel ? omp_get_max_threads() : 1);
    #pragma omp parallel if(parallel)
    {{
        {tile.define("tile", "MOST_ROWS", "LD")}
        #pragma omp for schedule(static)
        for (int64_t t = 0; t < tiling.count; t++) {{
            const auto place = tiling.at(t);
            const int64_t m_start = place.m0, m_end = place.m1;
            const int64_t n_start = place.n0, n_end = place.n1;
            kernels::multiply_tile<kernels::fewest_rows({static}), kernels::most_rows({static})>(
                tiling, place, first, distance, weights, STEPS, bias, tile);
            {activate}
            {tile.store(("m_start", "m_end"), ("n_start", "n_end"))}
        }}
    }}"""


def _bias(kernel: CppTemplateKernel, bias: Sequence[Any]) -> str:
    """The statement that defines ``bias``, the first number that is added, in the type it has."""
    if not bias:
        return "const float* const bias = nullptr;"
    kind = "uint16_t" if bias[0].get_dtype() is torch.bfloat16 else "float"
    first = kernel.index(bias[0], [0])
    return f"const auto* const bias = reinterpret_cast<const {kind}*>(&{first});"
