"""A method as torch.export is given it: its tensors flat, everything else a constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from aotbuild.config.schema import FORWARD
from aotbuild.steps.artifacts.export_weights import MODULE
from aotbuild.steps.export.arguments import Argument, as_call, with_tensors


class Flat(torch.nn.Module):
    """A method that takes its tensors flat; the other arguments are constants.

    What torch.export knows of nesting, of keywords and of ``*args`` is not needed then, and what it
    does not know does not matter: the call spec tells how arguments nest.
    """

    def __init__(self, module: torch.nn.Module, method: str, arguments: list[Argument]) -> None:
        super().__init__()
        self.add_module(MODULE, module)
        self._method = method
        self._arguments = arguments

    def forward(self, tensors: Sequence[torch.Tensor]) -> Any:
        """The method's result for these tensors, in the order of the call spec."""
        remaining = iter(tensors)
        bound = [
            Argument(a.name, a.kind, with_tensors(a.value, remaining)) for a in self._arguments
        ]
        args, kwargs = as_call(bound)
        module = self.get_submodule(MODULE)
        # A module is called as such, so that its hooks run.
        method = module if self._method == FORWARD else getattr(module, self._method)
        return method(*args, **kwargs)
