"""What a model keeps from one call for the next: refused, whatever it keeps it in."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm

from aotbuild.errors import ExportError
from aotbuild.steps.export.mutation import find_changes, refuse_state

X = torch.arange(8.0).reshape(2, 4)

# torch warns of assigned attributes, and of its own calls where it takes programs apart.
pytestmark = pytest.mark.filterwarnings("ignore")

MEAN, VARIANCE = torch.zeros(4), torch.ones(4)
STATISTICS = {"mean": torch.zeros(4)}
CONSTANT = torch.arange(4.0)


class Attribute(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.zeros(4)
        self.several = [torch.zeros(4)]
        self.parameter = nn.Parameter(torch.zeros(4))
        self.register_buffer("buffer", torch.zeros(4))
        self.calls = 0
        self.kept: list[torch.Tensor] = []


class RunningStatistics(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return batch_norm(x, MEAN, VARIANCE, training=True)


class ConstantOfTheModule(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        STATISTICS["mean"].mul_(0.9).add_(x.mean(0))
        return x - STATISTICS["mean"]


class PartOfAConstant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        MEAN.view(2, 2)[0] += x.sum()
        return x - MEAN


class OutArgument(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.add(x[0], 1, out=MEAN)


class PlainAttribute(Attribute):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.plain += x.sum(0)
        return x - self.plain


class ItemOfAList(Attribute):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.several[0].add_(1)
        return x - self.several[0]


class OwnParameter(Attribute):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.parameter.copy_(x.sum(0))
        return x - self.parameter


class Buffer(Attribute):
    buffer: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.buffer += 1
        return x + self.buffer


class Input(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.add_(1)


MUTATIONS = {
    RunningStatistics: ("a tensor outside the module, which is no buffer", "return batch_norm("),
    ConstantOfTheModule: ("a tensor outside the module, which is no buffer", 'STATISTICS["mean"]'),
    PartOfAConstant: ("a tensor outside the module, which is no buffer", "MEAN.view(2, 2)[0]"),
    OutArgument: ("a tensor outside the module, which is no buffer", "out=MEAN"),
    PlainAttribute: ("the tensor plain, which is no buffer", "self.plain += x.sum(0)"),
    ItemOfAList: ("a tensor outside the module, which is no buffer", "self.several[0].add_(1)"),
    OwnParameter: ("the parameter parameter", ""),
    Buffer: ("the buffer buffer", ""),
}


@pytest.mark.parametrize("module", MUTATIONS)
def test_what_forward_changes_is_named_with_its_line(module: type[nn.Module]) -> None:
    what, line = MUTATIONS[module]
    program = _exported(module())
    with pytest.raises(ExportError, match=rf"^forward\(\) changes {re.escape(what)}$") as raised:
        find_changes(program, "net")
    lines = raised.value.where.splitlines()
    assert lines[0] == "net"
    if line:
        assert lines[1].startswith("test_mutation.py:")
        assert line in lines[1]
    else:
        assert len(lines) == 1


def test_inputs_that_change_are_found_and_the_program_is_without_operators_in_place() -> None:
    changes = find_changes(_exported(Input()), "net")
    assert changes.inputs == [0]
    targets = [str(n.target) for n in changes.program.graph.nodes if n.op == "call_function"]
    assert targets == ["aten.add.Tensor"]


class OwnTensors(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        own = torch.zeros(4)
        own.add_(x.sum(0))
        numbers = torch.tensor([1.0, 2.0, 3.0, 4.0])
        numbers.mul_(2)
        copy = CONSTANT.clone()
        copy += x[0]
        return own + numbers + copy


class DrawsNumbers(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


class NotANumber(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
        return x / 0 - x / 0, "text"


@pytest.mark.parametrize("module", [OwnTensors, DrawsNumbers, NotANumber])
def test_what_a_call_makes_for_itself_may_change(module: type[nn.Module]) -> None:
    own = module()
    assert find_changes(_exported(own), "net").inputs == []
    refuse_state(lambda: own(X.clone()), {}, "net")


class CountsCalls(Attribute):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.calls


class ReturnsCalls(Attribute):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        self.calls += 1
        return x, self.calls


class Replaces(Attribute):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.plain = self.plain + x.sum(0)
        return x - self.plain


class Keeps(Attribute):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept.append(x)
        return torch.stack(self.kept).sum(0)


class Grows(Attribute):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        self.kept.append(x)
        return list(self.kept)


@pytest.mark.parametrize("module", [CountsCalls, ReturnsCalls, Replaces, Keeps, Grows])
@pytest.mark.parametrize("traced", [False, True])
def test_a_model_that_remembers_its_calls_is_refused(
    module: type[nn.Module], *, traced: bool
) -> None:
    own = module()
    if traced:  # what the trace left in it is one more value that it remembers
        _exported(own)
    with pytest.raises(ExportError, match="gives something else when it is called again"):
        refuse_state(lambda: own(X), {}, "net")


def test_weights_that_a_call_changes_are_named() -> None:
    embedding = nn.Embedding(9, 4, max_norm=0.1)
    indices = torch.tensor([1, 2])
    with torch.no_grad(), pytest.raises(ExportError, match=r"changes weight$"):
        refuse_state(lambda: embedding(indices), dict(embedding.named_parameters()), "net")


def test_a_model_that_fails_is_left_to_the_step_that_tells_the_sizes() -> None:
    def fail() -> None:
        raise LookupError

    refuse_state(fail, {}, "net")


def _exported(module: nn.Module) -> torch.export.ExportedProgram:
    example: Any = (X.clone(),)
    with torch.no_grad():
        return torch.export.export(module, example, strict=False)
