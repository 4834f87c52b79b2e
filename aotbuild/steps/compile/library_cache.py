"""Libraries that were compiled before from the same code by the same commands.

Where weights are computed with in the build, other weights lower a model again; mostly the code
that comes of it is the same, and compiling that takes ten times as long.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from aotbuild.cache.store import Found, Store
from aotbuild.steps.files import replacing

KIND = "libraries"
_SUFFIX = ".so"
_NAME = f"known{_SUFFIX}"


@dataclass(frozen=True)
class Libraries:
    """A place for compiled libraries: the cache, or for one library that of this build."""

    store: Store
    build: Path
    """Directory of the one."""
    scratch: Path
    """Directory for those that are found."""

    def find(self, *code: str) -> Path | None:
        """The library of this code and these commands, if it is known."""
        key = _key(code)
        if self.store.on:
            result = self.store.get(KIND, key, self.scratch)
            return self.scratch / _NAME if result is Found.HIT else None
        place = self.build / f"{key[:32]}{_SUFFIX}"
        return place if place.exists() else None

    def keep(self, library: Path, *code: str) -> None:
        """Keep a library that was just compiled."""
        key = _key(code)
        if self.store.on:
            self.store.put(KIND, key, {_NAME: library})
            return
        self.build.mkdir(parents=True, exist_ok=True)
        for other in self.build.glob(f"*{_SUFFIX}"):
            other.unlink()
        with replacing(self.build / f"{key[:32]}{_SUFFIX}") as temporary:
            shutil.copyfile(library, temporary)


def _key(code: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for text in code:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()
