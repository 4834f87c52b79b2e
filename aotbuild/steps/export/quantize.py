"""Quantised weights, by torchao's recipes."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch

from aotbuild.config.messages import located
from aotbuild.errors import SourceError

_CONFIGS = {
    "int8-weight-only": "Int8WeightOnlyConfig",
    "int8-dynamic-activation-int8-weight": "Int8DynamicActivationInt8WeightConfig",
}
"""torchao's class for each recipe of the declaration that leaves bytes."""

_GROUP = 32
"""How many weights of a row share one scale when each has four bits."""


def quantized(module: torch.nn.Module, recipe: str, name: str) -> torch.nn.Module:
    """A copy of a module whose linear layers are quantised.

    Args:
        module: The module, with its weights.
        recipe: Name of the recipe in the declaration.
        name: Name of the model.

    Raises:
        SourceError: torchao is missing, or cannot quantise the module.
    """
    where = located(f"tool.aotbuild.models.{name}.quantize")
    if not any(isinstance(part, torch.nn.Linear) for part in module.modules()):
        raise SourceError(
            "the model has no linear layer to quantise",
            where=where,
            why="the recipes of torchao are for torch.nn.Linear",
            fix="remove quantize",
        )
    quantization, utils = _torchao(recipe, where)
    result = copy.deepcopy(module)
    try:
        if recipe == "int4-weight-only":
            return _in_four_bits(result, quantization)
        # The default settings would change Inductor's for the whole process.
        config = getattr(quantization, _CONFIGS[recipe])(set_inductor_config=False)
        quantization.quantize_(result, config)
        # A program holds plain tensors then, and loads without torchao.
        utils.unwrap_tensor_subclass(result)
    except Exception as error:
        raise SourceError(
            f"torchao cannot quantise the model by {recipe}",
            where=where,
            why=f"{type(error).__name__}: {error}",
            fix="choose another recipe, or remove quantize",
        ) from error
    return result


def _in_four_bits(module: torch.nn.Module, quantization: Any) -> torch.nn.Module:
    """Quantise to four bits, two weights in a byte.

    torchao 0.18 packs them in an order that depends on the CPU of the build, or leaves each its own
    byte; the order here is the same everywhere.
    """
    from torchao.quantization.granularity import PerGroup

    for name, layer in list(module.named_modules()):
        if type(layer) is not torch.nn.Linear or layer.in_features % 2:
            continue
        group = _GROUP if layer.in_features % _GROUP == 0 else layer.in_features
        four_bits: Any = torch.int4  # type: ignore[attr-defined]
        config = quantization.IntxWeightOnlyConfig(four_bits, granularity=PerGroup(group))
        quantization.quantize_(layer, config)
        if not name:
            return _FourBitLinear(layer)
        parent, _, child = name.rpartition(".")
        setattr(module.get_submodule(parent), child, _FourBitLinear(layer))
    return module


class _FourBitLinear(torch.nn.Module):
    """A linear layer that torchao has quantised to four bits in groups of a row."""

    packed: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor
    bias: torch.nn.Parameter | None

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        weight: Any = layer.weight
        pairs = (weight.qdata + 8).to(torch.uint8)
        self.register_buffer("packed", pairs[:, ::2] | (pairs[:, 1::2] << 4))
        self.register_buffer("scale", weight.scale.clone())
        self.register_buffer("zero_point", weight.zero_point.to(torch.int8))
        self.register_parameter("bias", layer.bias)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """The layer's output, of shape (..., out_features)."""
        low, high = self.packed & 15, self.packed >> 4
        whole = torch.stack([low, high], -1).flatten(1).to(torch.int8) - 8
        groups = whole.reshape(*self.scale.shape, -1) - self.zero_point.unsqueeze(-1)
        weight = (groups.to(self.scale.dtype) * self.scale.unsqueeze(-1)).flatten(1)
        return torch.nn.functional.linear(value, weight.to(value.dtype), self.bias)


def load_operators() -> None:
    """Register torchao's operators, which programs with quantised activations hold."""
    _torchao("", "")


def _torchao(recipe: str, where: str) -> tuple[Any, Any]:
    # It logs about kernels for other devices that it cannot load.
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        from torchao import quantization, utils
    except ImportError as error:
        raise SourceError(
            f'quantize = "{recipe}" needs torchao',
            where=where,
            why=str(error),
            fix='add "torchao" to build-system.requires; the wheel does not need it',
        ) from error
    finally:
        logging.disable(level)
    return quantization, utils
