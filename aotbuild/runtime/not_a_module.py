"""What compiled models do not have of ``torch.nn.Module``, and what to use in its place."""

from __future__ import annotations

from typing import Any

from .lazy import has_torch

NAMES = (
    *("eval", "train", "training", "requires_grad_", "zero_grad", "compile", "forward"),
    *("to", "to_empty", "cpu", "cuda", "xpu", "type", "half", "float", "double", "bfloat16"),
    *("parameters", "named_parameters", "buffers", "named_buffers", "get_parameter"),
    *("modules", "named_modules", "children", "named_children", "apply", "share_memory"),
    *("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"),
)
"""Those that code which was written for modules calls."""


class NotAModule:
    """In the place of an attribute that a model does not have: the error says what has it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, cls: type[Any] | None = None) -> Any:
        if model is None:
            return self
        label, calls = model._names()
        instead = f"{calls}.module() is a module that calls it"
        if not has_torch():
            instead = "Without torch there is nothing to call in its place"
        if self._name == "forward":
            instead = f"Call it as it is: {calls}(...)"
        raise AttributeError(
            f"{label} is compiled, and no torch.nn.Module: it has no attribute {self._name!r}. "
            f"{instead}"
        )


def refuse_attributes(cls: type[Any]) -> None:
    """Let a class of models say of attributes of modules that it has none of them."""
    for name in NAMES:
        if name not in vars(cls):
            setattr(cls, name, NotAModule(name))


def listed(model: Any) -> list[str]:
    """The attributes of a model without those that it does not have, for completion."""
    import inspect  # few processes list attributes, and it takes milliseconds

    lacking = [n for n in NAMES if isinstance(inspect.getattr_static(model, n, None), NotAModule)]
    return [name for name in object.__dir__(model) if name not in lacking]
