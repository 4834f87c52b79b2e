"""What torch raises while it traces, in the terms of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from packaging.version import Version
from torch import nn
from torch_pin import TORCH

from aotbuild.steps.export.tracing_errors import export_error


class Compares(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        kept = x[mask]
        if kept.shape[0] > 3:
            return kept.sum(0)
        return kept.amax(0)


class Checked(Compares):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        kept = x[mask]
        torch._check(kept.shape[0] > 3)  # type: ignore[no-untyped-call]
        if kept.shape[0] > 3:
            return kept.sum(0)
        return kept.amax(0)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        del mask
        return x * 2 if x.sum() > 0 else x


ARGUMENTS = torch.rand(6, 2), torch.tensor([True, False, True, True, True, True])


def fix_of(module: nn.Module) -> str:
    with pytest.raises(Exception, match="data-dependent") as caught:
        torch.export.export(module, ARGUMENTS, strict=False)
    return export_error(caught.value, "", Path(__file__).parent).fix


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q = x[mask][None]
        return self.attention(q, q, q, need_weights=False)[0]  # type: ignore[no-any-return]


class AttendsToSome(Attends):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q = x[mask][None]
        torch._check(q.shape[1] != 0)  # type: ignore[no-untyped-call]
        return self.attention(q, q, q, need_weights=False)[0]  # type: ignore[no-any-return]


def test_a_branch_on_a_size_from_data_may_be_decided_by_the_model() -> None:
    fix = fix_of(Compares())
    assert fix.startswith("the model branches on the value of a tensor")
    assert "tell torch before that line, as in torch._check(x.shape[0] > 1)" in fix
    program = torch.export.export(Checked(), ARGUMENTS, strict=False)
    torch.testing.assert_close(program.module()(*ARGUMENTS), Compares()(*ARGUMENTS))


@pytest.mark.skipif(Version("2.15") <= TORCH, reason="torch 2.15 asks for nothing there")
def test_that_a_size_is_not_0_is_proposed_alone() -> None:
    first, _ = fix_of(Attends().eval()).splitlines()
    assert first.startswith("write torch._check(q.shape[1] != 0) before that line")
    module = AttendsToSome().eval()
    program = torch.export.export(module, ARGUMENTS, strict=False)
    torch.testing.assert_close(program.module()(*ARGUMENTS), module(*ARGUMENTS))


def test_a_branch_on_a_value_is_told() -> None:
    fix = fix_of(Branches())
    assert fix.startswith("the model branches on the value of a tensor")
    assert "torch._check" not in fix
