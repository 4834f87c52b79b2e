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


def runtime_range(built: Version) -> str:
    """The versions of torch that run what ``built`` compiled, such as ``>=2.13,<2.14``.

    The compiled code calls a C interface that torch keeps stable within a minor version.
    """
    low = f"{built.major}.{built.minor}"
    if built.is_prerelease:
        low = f"{low}.0.dev0"
    return f">={low},<{built.major}.{built.minor + 1}"
