"""A method as torch.export is given it: its tensors flat, everything else a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.manifest import STATE
from aotbuild.steps.artifacts.export_weights import MODULE
from aotbuild.steps.export.arguments import Argument, as_call, with_tensors
from aotbuild.steps.export.state_buffers import Place, apart_from, buffer_places, given_buffers


class _Places:
    """Where buffers are held; an object that torch.export does not look into."""

    def __init__(self, by_name: Mapping[str, list[Place]]) -> None:
        self.by_name = by_name


class Flat(torch.nn.Module):
    """A method that takes its tensors flat; the other arguments are constants.

    What torch.export knows of nesting, of keywords and of ``*args`` is not needed then, and what it
    does not know does not matter: the call spec tells how arguments nest. What it gets as its state
    takes the place of buffers, and is changed in place.
    """

    def __init__(self, module: torch.nn.Module, method: str, arguments: list[Argument]) -> None:
        super().__init__()
        self.add_module(MODULE, module)
        self._method = method
        self._arguments = arguments
        self._state = any(argument.kind == STATE for argument in arguments)
        self._places = _Places({})
        self.find_places()

    def with_arguments(self, arguments: list[Argument]) -> Flat:
        """The same method with other arguments."""
        return Flat(self.get_submodule(MODULE), self._method, arguments)

    def find_places(self) -> None:
        """Find where the buffers are held, before a trace, which puts others in some of the places.

        torch.export puts copies of lists and dicts in the place of attributes.
        """
        if self._state:
            self._places = _Places(buffer_places(self.get_submodule(MODULE)))

    def forward(self, tensors: Sequence[torch.Tensor]) -> Any:
        """The method's result for these tensors, in the order of the call spec."""
        remaining = iter(tensors)
        bound = [
            Argument(a.name, a.kind, with_tensors(a.value, remaining)) for a in self._arguments
        ]
        state: dict[str, torch.Tensor] = next((a.value for a in bound if a.kind == STATE), {})
        args, kwargs = as_call([argument for argument in bound if argument.kind != STATE])
        module = self.get_submodule(MODULE)
        # A module is called as such, so that its hooks run.
        method = module if self._method == FORWARD else getattr(module, self._method)
        if not state:
            return method(*args, **kwargs)
        if not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            self.find_places()
        with given_buffers(self._places.by_name, state) as now:
            result = method(*args, **kwargs)
            for name, tensor in state.items():
                new = now(name)
                if new is not None and new is not tensor:  # assigned, not changed in place
                    tensor.copy_(new)
        # The next call changes the memory of the state.
        return apart_from(result, list(state.values()))
