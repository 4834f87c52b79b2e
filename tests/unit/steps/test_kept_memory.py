"""Code whose memory is kept from call to call, and code that is left as it is."""

from __future__ import annotations

import pytest

from aotbuild.steps.compile.kept_memory import with_kept_pools

ALLOCATION = """\
    AtenTensorHandle pool{i}_handle;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(1, int_array_{i}, int_array_9, \
cached_torch_dtype_uint8, cached_torch_device_type_cpu, this->device_idx_, &pool{i}_handle));
    RAIIAtenTensorHandle pool{i}(pool{i}_handle);
"""
CODE = """
#include <header>
namespace torch::aot_inductor {{
void AOTInductorModel::run_impl(
    AtenTensorHandle* output_handles
) {{
{body}    output_handles[0] = buf1.release();
}} // AOTInductorModel::run_impl
}} // namespace torch::aot_inductor
"""


def code(body: str) -> str:
    return CODE.format(body=body)


def test_each_block_is_kept_in_a_place_of_its_own() -> None:
    found = with_kept_pools(code(ALLOCATION.format(i=0) + ALLOCATION.format(i=1)))
    for i in (0, 1):
        assert f"KeptBlock pool{i}_kept(this, {i}, output_handles);" in found
        assert f"pool{i}_kept.take(int_array_{i}[0], this->device_idx_, &pool{i}_handle)" in found
    assert "aoti_torch_empty_strided(1, int_array" not in found
    # What can be precompiled is included first.
    assert found.startswith("\n#include <header>\n#include <cstdlib>\n")
    assert found.index("#include <map>") < found.index("namespace")
    assert found.index("namespace") < found.index("class KeptBlock") < found.index("::run_impl(")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "int main() {}",
        code(""),
        code(ALLOCATION.format(i=0).replace("pool0", "buf0")),
        code(ALLOCATION.format(i=0).replace("_type_cpu", "_type_cuda")),
        # A block of a branch, which ends before there are results.
        code("    if (buf0_scalar) {\n" + ALLOCATION.format(i=0) + "    }\n"),
        code("    while (1) {\n" + ALLOCATION.format(i=0) + "    }\n"),
        code(ALLOCATION.format(i=0)).replace("} // AOTInductorModel::run_impl", "}"),
    ],
)
def test_all_else_is_left_as_it_is(text: str) -> None:
    assert with_kept_pools(text) == text
