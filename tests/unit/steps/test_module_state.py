"""The tensors of a module, where its own ``state_dict()`` does not tell them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from aotbuild.steps.export.module_state import state_of


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.tied = self.layer
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.register_buffer("table", torch.ones(2), persistent=False)
        self.register_buffer("nothing", None)


class Raises(Base):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise RuntimeError("call save() instead")


class TakesNothing(Base):
    def state_dict(self) -> Any:  # type: ignore[override]
        return {"layer": self.layer.state_dict()}


class ReturnsTables(Base):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        return {"layer": self.layer.state_dict()}


class RaisesInside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Raises()


class Renames(nn.Linear):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {f"old_{k}": v for k, v in super().state_dict(*args, **kwargs).items()}


def test_a_state_dict_that_works_is_taken() -> None:
    module = Base()
    assert state_of(module) == module.state_dict(keep_vars=True)
    assert state_of(module)["layer.weight"] is module.layer.weight
    assert list(state_of(Renames(2, 3))) == ["old_weight", "old_bias"]


@pytest.mark.parametrize("kind", [Raises, TakesNothing, ReturnsTables])
def test_without_one_the_tensors_are_those_of_torchs_own(kind: type[Base]) -> None:
    module = kind()
    state = state_of(module)
    assert list(state) == list(Base().state_dict())
    assert state["tied.weight"] is module.layer.weight


def test_a_part_that_has_none_does_not_matter() -> None:
    names = [f"inner.{name}" for name in Base().state_dict()]
    assert list(state_of(RaisesInside())) == names
