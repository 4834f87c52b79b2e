"""The torch of the build, from its metadata alone: importing torch would cost a hook a second."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Final

from packaging.version import Version

COMPATIBLE: Final = "compatible"
"""The policy by which the code of the models decides which versions of torch the wheel requires."""

OF_OP_LIBRARIES: Final = "its op-libraries are compiled for one"
"""Why a model that loads libraries of operators runs with no later minor version of torch."""


@dataclass(frozen=True)
class TorchNeed:
    """The versions of torch that run what a build compiles."""

    oldest: str
    """The minor version that has all functions which the code calls, such as ``2.13``."""
    bound: str = ""
    """Why a later minor version than the build's may not run it; empty where it does."""

    def joined(self, other: TorchNeed) -> TorchNeed:
        """What runs both."""
        return TorchNeed(max(self.oldest, other.oldest, key=Version), self.bound or other.bound)


def installed_torch() -> Version | None:
    """Version of the torch in this environment, or None."""
    try:
        return Version(importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        return None


def runtime_range(built: Version, policy: str = "minor", need: TorchNeed | None = None) -> str:
    """The versions of torch that run what ``built`` compiled.

    Args:
        built: The torch of the build.
        policy: ``minor`` gives such as ``>=2.13,<2.14``. ``exact`` gives ``==2.13.0+cpu``, and
            ``symbols`` gives ``>=2.13``: newer ones, too, if they have all functions.
            ``compatible`` gives the latter where torch promises to keep what the code calls, else
            what ``minor`` gives.
        need: What the code needs, as far as it is known.
    """
    if policy == "exact":
        return f"=={built}"
    low = f"{built.major}.{built.minor}"
    if built.is_prerelease:
        low = f"{low}.0.dev0"
    if policy == COMPATIBLE and need and not need.bound:
        return f">={min(low, need.oldest, key=Version)}"
    return f">={low}" if policy == "symbols" else f">={low},<{built.major}.{built.minor + 1}"


def installed_range(policy: str = "minor", need: TorchNeed | None = None) -> str:
    """``runtime_range`` of the installed torch; empty where there is none.

    Args:
        policy: As there.
        need: As there.
    """
    built = installed_torch()
    return runtime_range(built, policy, need) if built else ""
