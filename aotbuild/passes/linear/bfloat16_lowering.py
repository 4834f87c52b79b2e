"""How Inductor compiles the product of rows with a packed matrix, both in bfloat16."""

from __future__ import annotations

from aotbuild.passes.linear.bfloat16_operator import OP
from aotbuild.passes.linear.lowering import PackedProduct


def register() -> None:
    """Register the lowering of the operator."""
    _PackedProduct.register(OP)


class _PackedProduct(PackedProduct):
    """Rows of bfloat16 by panels of pairs of bfloat16."""

    name_of_template = "packed_linear_bfloat16"
    kernel_header = "linear/gemm_bfloat16.h"
    namespace = "aotbuild::bfloat16"

    def numbers(self, first: str) -> str:
        return f"""const auto* const first = reinterpret_cast<const uint16_t*>(&{first});
    const auto* const weights = reinterpret_cast<const uint16_t*>(in1);"""
