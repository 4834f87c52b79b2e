"""Reference outputs: what the eager model returns at the sizes that are verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.files import replacing

REFERENCE = "reference.pt"


@dataclass(frozen=True)
class Case:
    """One call of the eager model."""

    label: str
    sizes: dict[str, int]
    leaves: list[Any]
    """The outputs, flat: tensors, numbers, strings and None. Behind them is what the inputs became
    that the call changes."""
    paths: list[str]
    """Where each leaf is in the result, such as ``['logits'][0]``."""
    original: list[Any] | None = None
    """The outputs of the model before it was quantised, if it was."""
    wide: dict[int, dict[str, Any]] | None = None
    """The arguments that are drawn otherwise than the example, as the fields of their ``Leaf``: the
    call is one of those that cover what the declaration allows."""
    given: dict[int, torch.Tensor] | None = None
    """The arguments that are given otherwise than the example, by their positions: what a model
    keeps between calls, after some calls."""

    elementwise: bool = False
    """Of such a call, whether each element is accurate by itself, not only for its output."""

    def arguments(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors of the example, with those in their places that the case is given."""
        given = self.given or {}
        return [
            given[i].to(tensor.device, copy=True) if i in given else tensor
            for i, tensor in enumerate(tensors)
        ]


def flatten_result(
    result: Any, changed: Mapping[str, torch.Tensor] | None = None
) -> tuple[list[Any], list[str]]:
    """The leaves of a result other than None, and where each is in it.

    An object and a dict with its fields look alike: the class of an output may belong to the
    project, which the compiled model is verified without.

    Args:
        result: What a call returned.
        changed: The inputs that it changed, by their names.
    """
    pairs, _ = pytree.tree_flatten_with_path(result)
    leaves = [(leaf, _path_text(path)) for path, leaf in pairs if leaf is not None]
    leaves += [(tensor, f"{name} afterwards") for name, tensor in (changed or {}).items()]
    return [leaf for leaf, _ in leaves], [path for _, path in leaves]


def changed_by(call: CallSpec, tensors: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those of the tensors of a call that it changes, by the names of the inputs."""
    return {call.inputs[i].name: tensors[i] for i in call.changed}


def _path_text(path: tuple[Any, ...]) -> str:
    steps = [getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))) for key in path]
    return "".join(f"[{step!r}]" for step in steps)


@dataclass(frozen=True)
class Reference:
    """All calls of the eager model."""

    cases: list[Case]

    def write(self, directory: Path) -> None:
        """Write with torch.save."""
        with replacing(directory / REFERENCE) as temporary:
            torch.save([vars(case) for case in self.cases], temporary)

    @classmethod
    def read(cls, directory: Path) -> Reference:
        """Read what ``write`` wrote."""
        return cls(
            [Case(**entry) for entry in torch.load(directory / REFERENCE, weights_only=True)]
        )
