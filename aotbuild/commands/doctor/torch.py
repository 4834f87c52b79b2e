"""torch, and its private parts that builds use."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator

from aotbuild.commands.doctor.finding import Finding, good, note, wrong
from aotbuild.steps.torch_parts.moved import is_known, moved
from aotbuild.steps.torch_parts.part import NEWEST
from aotbuild.torch_output import quieten
from aotbuild.torch_version import installed_torch

_OLDEST = (2, 13)


def torch() -> Iterator[Finding]:
    """All findings about torch."""
    version = installed_torch()
    if version is None:
        yield note(
            "torch",
            "not installed here: an isolated build takes that of build-system.requires",
            "install the one that builds use, to check models here: pip install torch==VERSION",
        )
        return
    if version.release[:2] < _OLDEST:
        least = ".".join(map(str, _OLDEST))
        yield wrong("torch", f"{version}, which is too old", f"install torch {least} or newer")
        return
    quieten()
    lacking = moved()
    required = [each for each in lacking if each.use.required]
    names = ", ".join(each.use.name for each in lacking)
    if required:
        yield wrong(
            "torch",
            f"{version} lacks private parts that every build uses: {names}",
            "install a newer aotbuild, or an older torch; aotbuild check --torch lists them",
        )
    elif lacking:
        yield note(
            "torch",
            f"{version} lacks private parts, and builds do without: {names}",
            "aotbuild check --torch lists them; a newer aotbuild may know where they are",
        )
    elif not is_known():
        yield note("torch", f"{version}: aotbuild was tested up to {NEWEST}")
    else:
        yield good("torch", f"{version}, with all private parts that builds use")
    yield _numpy()


def _numpy() -> Finding:
    try:
        return good("numpy", importlib.metadata.version("numpy"))
    except importlib.metadata.PackageNotFoundError:
        return good("numpy", "not here, and not needed")
