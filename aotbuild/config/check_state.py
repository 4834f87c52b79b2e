"""Checks of what a model is declared to keep from one call for the next."""

from __future__ import annotations

from aotbuild.config.messages import did_you_mean, joined, located
from aotbuild.config.schema import Model
from aotbuild.config.sizes import parse_size
from aotbuild.config.values import STATE
from aotbuild.errors import ConfigError


def check_state(model: Model, path: str) -> None:
    """Check the shapes of a model's state.

    Args:
        model: The model.
        path: Dotted path of its table.

    Raises:
        ConfigError: A shape names a dimension that is not declared, or an input has the name that
            the state has in calls.
    """
    for call_inputs in (model.inputs, *(method.inputs for method in model.methods.values())):
        if model.state and STATE in call_inputs:
            raise ConfigError(
                f'an input is called "{STATE}"',
                where=located(f"{path}.inputs.{STATE}"),
                why="callers pass what the model keeps between calls by that name",
                fix="rename the parameter of the method",
            )
    dims = {name for call in (model, *model.methods.values()) for name in call.dims}
    for name, buffer in model.state.items():
        where = joined(f"{path}.state", name)
        for i, text in enumerate(buffer.shape or ()):
            size = parse_size(text) if isinstance(text, str) else None
            if size is not None and size.dim not in dims:
                hint = did_you_mean(size.dim, dims)
                raise ConfigError(
                    f'the dimension "{size.dim}" is not declared',
                    where=located(f"{where}.shape[{i}]"),
                    fix=f"{hint}\notherwise " * bool(hint)
                    + f"add to [{path}.dims]:\n{size.dim} = {{ min = 1, max = 64 }}",
                )
