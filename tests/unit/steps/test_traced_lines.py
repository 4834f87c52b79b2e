"""The line that each operator of a program was traced from."""

from __future__ import annotations

from pathlib import Path

import torch

from aotbuild.steps.export.arguments import bind_example
from aotbuild.steps.export.flat_module import Flat
from aotbuild.steps.export.traced_lines import recording_lines, traced_line


def helper(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return helper(y)


def test_the_line_of_an_operator_is_the_innermost_one() -> None:
    module, x = Net(), torch.zeros(2, 3)
    flat = Flat(module, "forward", bind_example(module.forward, (x,), {}, "example"))
    with recording_lines():
        program = torch.export.export(flat, ([x],), strict=False)
    traces = {str(n.target): n.meta.get("stack_trace", "") for n in program.graph.nodes}
    here = Path(__file__)
    relu = traced_line(traces["aten.relu.default"], here.parent)
    assert relu.startswith(f"{here.name}:")
    assert relu.endswith(" in helper: return torch.relu(x)")
    linear = traced_line(traces["aten.linear.default"], here.parent)
    assert linear.endswith(" in forward: y = self.layer(x)")
    assert "flat_module" not in traces["aten.relu.default"]


def test_the_line_of_the_project_is_preferred(tmp_path: Path) -> None:
    (tmp_path / "src" / "digits").mkdir(parents=True)
    (tmp_path / "src" / "digits" / "net.py").touch()
    trace = (
        'File "digits/net.py", line 3, in forward\n    return layer(x)\n'
        '  File "transformers/layer.py", line 9, in forward\n    return x.amax(1)'
    )
    assert traced_line(trace, tmp_path) == "digits/net.py:3 in forward: return layer(x)"
    assert traced_line(trace, tmp_path / "elsewhere") == (
        "transformers/layer.py:9 in forward: return x.amax(1)"
    )
    assert traced_line("", tmp_path) == ""
