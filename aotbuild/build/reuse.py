"""Libraries that were compiled before from the same code by the same commands.

Where weights are computed with in the build, other weights lower a model again; mostly the code
that comes of it is the same, and compiling that takes ten times as long.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from aotbuild.build.files import replacing

_SUFFIX = ".so"


@dataclass(frozen=True)
class Libraries:
    """A place for compiled libraries."""

    directory: Path
    cached: bool
    """Whether several builds share it, so that none of them is removed."""

    def place(self, *code: str) -> Path:
        """Where the library of this code and these commands is, or goes."""
        digest = hashlib.sha256()
        for text in code:
            digest.update(hashlib.sha256(text.encode()).digest())
        return self.directory / f"{digest.hexdigest()[:32]}{_SUFFIX}"

    def keep(self, library: Path, place: Path) -> None:
        """Keep a library that was just compiled."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.cached:
            for other in self.directory.glob(f"*{_SUFFIX}"):
                other.unlink()
        # Several compiles of one code may end at once.
        own = place.with_name(f"{os.getpid()}-{place.name}")
        with replacing(own) as temporary:
            shutil.copyfile(library, temporary)
        own.replace(place)
