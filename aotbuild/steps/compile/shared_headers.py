"""Where what the compiles of all models have in common is kept: for this build, or for all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.cache import local
from aotbuild.cache.store import Store
from aotbuild.steps.artifacts.header_directory import HEADERS, PRECOMPILING_PAYS, many_compiles
from aotbuild.target import Target

_ENVIRONMENTS = ("pip-build-env-", "build-env-", "builds-v")
"""How the directories begin in which pip, build and uv make them."""


@dataclass(frozen=True)
class Shared:
    """What the compiles of several models share."""

    directory: Path | None
    """Where it is kept; None where there is only one."""
    precompile: bool
    """Whether there are so many that precompiled headers pay."""


def shared_headers(store: Store, target: Target) -> Shared:
    """Where it is kept, and whether the compiles for a target have much in common.

    It is outside of the specification, so that one more model compiles no other one again.
    """
    much = many_compiles(target.name).exists()
    settings = store.settings
    isolated = _isolated()
    if settings.writes and settings.directory is not None and not (isolated and much):
        directory = settings.directory / local.HEADERS
        try:
            local.create(directory)
            often = _often(directory / f"compiles-{target.name}")
        except OSError as error:
            store.complain(error)
        else:
            pays = much or often or (settings.named and not settings.remote)
            return Shared(directory, precompile=pays and not isolated)
    if HEADERS.is_dir():
        return Shared(HEADERS.resolve(), precompile=much)
    return Shared(None, precompile=False)


def _often(count: Path) -> bool:
    """Whether this is so many compiles later that precompiled headers would have paid."""
    with count.open("ab") as file:
        before = file.tell()
        if before < PRECOMPILING_PAYS:
            file.write(b".")
    return before >= PRECOMPILING_PAYS


def _isolated() -> bool:
    """Whether torch is in the environment of an isolated build, where no other one will have it.

    Precompiled headers name the files that they are of.
    """
    return any(part.startswith(_ENVIRONMENTS) for part in Path(torch.__file__).parts)
