"""Exact functions in place of Inductor's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._inductor import ir
from torch._inductor.codegen import cpp

from aotbuild.passes.numerics.overrides import exact_functions, with_exact_functions
from aotbuild.passes.pipeline import apply

aten: Any = torch.ops.aten
INCLUDE = "#include <torch/csrc/inductor/cpp_prefix.h>\n"


def test_kernels_that_call_exact_functions_get_them() -> None:
    code = with_exact_functions(f"{INCLUDE}auto y = aotbuild::exact::erf(x);")
    assert code.startswith(INCLUDE)
    assert code.index("inline Floats erf(") < code.index("auto y")


def test_other_kernels_stay_as_they_are() -> None:
    code = f"{INCLUDE}auto y = x.exp();"
    assert with_exact_functions(code) == code


def test_kernels_without_a_place_for_them_are_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"include no cpp_prefix\.h, behind which theirs belong"):
        with_exact_functions("#include <other.h>\nauto y = aotbuild::exact::erf(x);")


def test_inductor_is_left_as_it_was() -> None:
    before = dict(vars(cpp.CppVecOverrides)), vars(ir.Reduction)["create"]
    with exact_functions():
        assert vars(cpp.CppVecOverrides)["expm1"] is not before[0]["expm1"]
    assert (dict(vars(cpp.CppVecOverrides)), vars(ir.Reduction)["create"]) == before


VALUES = [0.0, -0.0, 0.3, -0.3, 0.5, 1.0, -1.0, 7.0, -7.5, 3e38, float("inf"), float("nan")]


class Divide(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (
            a // b,
            torch.div(a, 3, rounding_mode="floor"),
            torch.floor_divide(a, -0.1),
            torch.div(a.to(torch.bfloat16), b, rounding_mode="floor"),
        )


class Shrink(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.nn.functional.softshrink(a), torch.nn.functional.softshrink(b, 0.2)


@pytest.mark.parametrize("module", [Divide(), Shrink()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rewritten_operators_give_what_they_gave(
    module: torch.nn.Module, dtype: torch.dtype
) -> None:
    a, b = torch.cartesian_prod(*[torch.tensor(VALUES, dtype=dtype)] * 2).unbind(1)
    graph: Any = torch.export.export(module, (a, b)).module(check_guards=False)
    apply(graph, [])
    targets = {node.target for node in graph.graph.nodes}
    assert not targets & {aten.softshrink.default, aten.floor_divide.default}
    assert aten.div.Tensor_mode not in targets
    with torch.no_grad():
        for result, expected in zip(graph(a, b), module(a, b), strict=True):
            torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


class Branches(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.cond(x.sum() > 0, lambda x: x // 0.1, lambda x: x + 1, (x,))
        return result


def test_branches_are_rewritten_too() -> None:
    graph: Any = torch.export.export(Branches(), (torch.ones(3),)).module(check_guards=False)
    apply(graph, [])
    assert graph(torch.ones(3)).tolist() == [9.0] * 3
    inner = [n.target for m in graph.modules() if m is not graph for n in m.graph.nodes]
    assert aten.fmod.Tensor in inner


class Sums(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.add(a, b, alpha=2), torch.add(a, b[:1], alpha=0), a + b


def test_sums_of_truth_values_are_truth_values() -> None:
    a = torch.tensor([False, False, True, True])
    b = torch.tensor([False, True, False, True])
    graph: Any = torch.export.export(Sums(), (a, b)).module()
    expected = Sums()(a, b)
    apply(graph, None)
    added = [node for node in graph.graph.nodes if node.target is aten.add.Tensor]
    assert [node.kwargs.get("alpha", 1) for node in added] == [1]
    for result, each in zip(graph(a, b), expected, strict=True):
        assert result.dtype is torch.bool
        assert torch.equal(result, each)
