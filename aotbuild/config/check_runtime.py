"""Checks of what runs a model, against what else is declared for it."""

from __future__ import annotations

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path
from aotbuild.config.schema import FORWARD, STANDALONE, Model
from aotbuild.errors import ConfigError

_STAND_ALONE = 'runtime = "standalone" makes a library that needs no torch'


def check_runtime(name: str, model: Model) -> None:
    """Check that nothing is declared for a stand-alone model that only torch can do.

    Args:
        name: Name of the model.
        model: The model, with every setting in place.

    Raises:
        ConfigError: Something is.
    """
    if model.runtime != STANDALONE:
        return
    path = call_path(name, FORWARD)
    if model.fallback:
        raise ConfigError(
            f'{name} cannot be stand-alone with fallback = "{model.fallback}"',
            where=located(f"{path}.fallback"),
            why=f"{_STAND_ALONE}, and the fallback is a program that torch runs",
            fix='remove fallback, or set runtime = "torch"',
        )
    if model.op_libraries:
        raise ConfigError(
            f"{name} cannot be stand-alone with op-libraries",
            where=located(f"{path}.op-libraries"),
            why=f"{_STAND_ALONE}, and these libraries register operators in it",
            fix='remove op-libraries, or set runtime = "torch"',
        )
