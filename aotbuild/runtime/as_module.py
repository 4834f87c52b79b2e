"""A compiled model as a ``torch.nn.Module``; the one module here that imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .errors import StateDictError


class CompiledModule(torch.nn.Module):
    """Calls a compiled model.

    Args:
        model: The model, or a pool of it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the model; its signature is the model's."""
        return self.model(*args, **kwargs)

    @property
    def device(self) -> torch.device:
        """The device that the model was loaded for first."""
        device: torch.device = self.model.device
        return device

    def extra_repr(self) -> str:
        """The model."""
        return repr(self.model)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model,)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: FBT001
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, tensor in self.model.state_dict().items():
            destination[prefix + name] = tensor

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,  # noqa: FBT001
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        del local_metadata
        own = {
            name.removeprefix(prefix): value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        try:
            missing, unexpected = self.model.load_state_dict(own, strict=False)
        except StateDictError as error:
            error_msgs.append(str(error))
            return
        if strict:
            missing_keys += [prefix + name for name in missing]
            unexpected_keys += [prefix + name for name in unexpected]
