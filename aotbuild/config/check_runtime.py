"""What runs a model: what is declared for it that only torch can do."""

from __future__ import annotations

from dataclasses import dataclass

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path
from aotbuild.config.schema import FORWARD, STANDALONE, Model
from aotbuild.errors import ConfigError

_STAND_ALONE = 'runtime = "standalone" makes a library that needs no torch'


@dataclass(frozen=True)
class TorchKey:
    """A key of a model that only torch can do."""

    key: str
    given: str
    """The key as messages show it."""
    why: str


def torch_key(model: Model) -> TorchKey | None:
    """The first key of a model, with every setting in place, that needs torch at run time."""
    if model.fallback:
        given = f'fallback = "{model.fallback}"'
        return TorchKey("fallback", given, "the fallback is a program that torch runs")
    if model.op_libraries:
        why = "these libraries register operators in it"
        return TorchKey("op-libraries", "op-libraries", why)
    return None


def check_runtime(name: str, model: Model) -> None:
    """Check that nothing is declared for a stand-alone model that only torch can do.

    Args:
        name: Name of the model.
        model: The model, with every setting in place.

    Raises:
        ConfigError: Something is.
    """
    found = torch_key(model) if model.runtime == STANDALONE else None
    if found:
        raise ConfigError(
            f"{name} cannot be stand-alone with {found.given}",
            where=located(f"{call_path(name, FORWARD)}.{found.key}"),
            why=f"{_STAND_ALONE}, and {found.why}",
            fix=f'remove {found.key}, or set runtime = "torch"',
        )
