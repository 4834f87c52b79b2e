"""The weights of the program that is compiled, and what may become of them in the code."""

from __future__ import annotations

from typing import Any

import torch

from aotbuild.runtime.derived import renamed, uses
from aotbuild.steps.artifacts.export_weights import Stored
from aotbuild.steps.sizes.hints import solved_hints


class ProgramWeights:
    """The weights of one program.

    Args:
        stored: Those of its export.
        method: The method that the program is of.
        device: Where the weights are to be.
        freezing: Whether Inductor computes with them in the build.
    """

    def __init__(
        self, stored: Stored, method: str, device: torch.device, *, freezing: bool
    ) -> None:
        self._stored, self._method, self._device = stored, method, device
        self._freezing = freezing
        self._written: list[torch.Tensor] = []
        self._tensors = {key: tensor.to(device) for key, tensor in stored.open().items()}
        state = {parameter.key for parameter in stored.state}
        self.parameters = stored.used(method) & state
        """Those that are in the state dict."""
        self._keys = {_place(tensor): key for key, tensor in self._tensors.items()}

    def program(self) -> torch.export.ExportedProgram:
        """The program, loaded anew: compiling changes it."""
        with solved_hints():
            program = self._stored.load_program(self._method, self._tensors, self._device)
        constants = program.constants.values()
        self._written = [c for c in constants if isinstance(c, torch.Tensor) and c.dim() == 1]
        return program

    def key_of(self, tensor: torch.Tensor) -> str | None:
        """The name of a tensor if it is one of these and not computed from them."""
        return self._keys.get(_place(tensor))

    def by_keys(self, derivation: Any) -> Any:
        """A derivation with the keys of the state dict for the names of the program.

        Returns:
            The derivation; None where it uses something else.
        """
        keys = self._stored.names[self._method]
        names = uses(derivation)
        if not all(keys.get(name) in self.parameters for name in names):
            return None
        return renamed(derivation, keys)

    def replaceable(self, tensor: torch.Tensor) -> bool:
        """Whether the values of a tensor may become others, and may not be written into code.

        They may where it is in the state dict, or is a vector that freezing computed, which is none
        of the constants of the code.
        """
        if self.key_of(tensor) in self.parameters:
            return True
        return self._freezing and tensor.dim() == 1 and not any(map(tensor.equal, self._written))


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.is_mkldnn:  # has no place that it tells, and is computed
        return (id(tensor),)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
