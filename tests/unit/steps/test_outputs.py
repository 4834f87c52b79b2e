"""Which outputs of an exported program are its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aotbuild.runtime.manifest import Input
from aotbuild.steps.export.outputs import output_tree


class Module(nn.Module):
    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


CASES: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "itself": (lambda x: x, True),
    "of its dtype": (lambda x: x.float(), True),
    "of its device": (lambda x: x.cpu().to("cpu"), True),
    "like itself": (lambda x: x.type_as(x), True),
    "of another dtype": (lambda x: x.double(), False),
    "there and back": (lambda x: x.double().float(), False),
    "detached": (lambda x: x.detach(), False),
    "viewed": (lambda x: x.view(-1), False),
    "computed": (lambda x: (x + 1).float(), False),
    "copied": (lambda x: x.clone(), False),
}


@pytest.mark.parametrize(("function", "given"), CASES.values(), ids=CASES)
def test_an_output_is_an_input_only_if_it_is_that_object(
    function: Callable[[Tensor], Tensor],
    given: bool,  # noqa: FBT001
) -> None:
    x = torch.randn(2, 3)
    assert (function(x) is x) == given
    program = torch.export.export(Module(function), (x,), strict=False)
    tree = output_tree(program, [Input("x", "float32", [2, 3], [0, 1])], "here")
    assert tree.get("input") == (0 if given else None)
