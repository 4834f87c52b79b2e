"""The torch of the build, from its metadata alone: importing torch would cost a hook a second."""

from __future__ import annotations

import importlib.metadata

from packaging.version import Version


def installed_torch() -> Version | None:
    """Version of the torch in this environment, or None."""
    try:
        return Version(importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        return None


def runtime_range(built: Version, policy: str = "minor") -> str:
    """The versions of torch that run what ``built`` compiled.

    Args:
        built: The torch of the build.
        policy: ``minor`` gives such as ``>=2.13,<2.14``: the compiled code calls a C interface that
            torch keeps stable within a minor version. ``exact`` gives ``==2.13.0+cpu``, and
            ``symbols`` gives ``>=2.13``: newer ones, too, if they have all functions.
    """
    if policy == "exact":
        return f"=={built}"
    low = f"{built.major}.{built.minor}"
    if built.is_prerelease:
        low = f"{low}.0.dev0"
    return f">={low}" if policy == "symbols" else f">={low},<{built.major}.{built.minor + 1}"
