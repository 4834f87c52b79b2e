"""A torch of a minor version that the build did not know.

It has all functions that a library calls; whether they do the same tells the recorded call, which
is repeated once. That it passed is remembered in the user's cache, for this torch and this kind of
CPU. Where nothing can be written there it is repeated in each process.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from .arguments import admit
from .digest import blake2b
from .engines import Loaded
from .errors import ModelLoadError
from .integrity import check_file
from .lazy import torch
from .machine import cpu_name, this_platform, torch_version
from .manifest import Manifest, SelfTest, Variant
from .recorded_call import differences
from .weights import WeightsFile

_PASSED = "passed"


def is_remembered(manifest: Manifest, variant: Variant) -> bool:
    """Whether the recorded call has passed before with this torch, on such a CPU."""
    file = _file(manifest, variant)
    try:
        return file is not None and file.read_text("ascii") == f"{_PASSED} {file.name}\n"
    except (OSError, ValueError):  # a damaged file is written anew
        return False


def wrong_result(
    package: Path, manifest: Manifest, recorded: SelfTest, loaded: Loaded
) -> str | None:
    """Repeat the recorded call: what is wrong, or None.

    Args:
        package: Directory of the package.
        manifest: The model.
        recorded: The recorded call.
        loaded: What runs it, with the weights of the package.

    Raises:
        ModelLoadError: The file of the call is damaged.
    """
    check_file(package, recorded.file)
    stored = WeightsFile(package / recorded.file.file)
    try:
        if loaded.call is not None and loaded.one_thread is not None:
            loaded.one_thread()
            outputs: list[Any] = loaded.call(*map(stored.array, recorded.inputs)) or []
            _, reason = differences(outputs, recorded, stored.array)
        else:
            inputs = admit(
                manifest, tuple(map(stored.tensor, recorded.inputs)), torch.device("cpu")
            )
            with torch.no_grad():
                _, reason = differences(loaded.run(inputs), recorded, stored.tensor)
    except ModelLoadError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
    if not reason:
        return None
    return f"with torch {torch_version()} it gives other results than in the build: {reason}"


def remember(manifest: Manifest, variant: Variant) -> None:
    """Remember that the recorded call has passed, where that is possible."""
    file = _file(manifest, variant)
    if file is None:
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")  # others may read meanwhile
        try:
            temporary.write_text(f"{_PASSED} {file.name}\n", "ascii")
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _file(manifest: Manifest, variant: Variant) -> Path | None:
    """What tells that the call has passed; None where the user has no cache."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # no home
        return None
    if not cache.is_absolute():
        return None
    parts = (
        variant.library.sha256,
        manifest.weights.quick,
        torch_version(),
        this_platform(),
        cpu_name(),
    )
    name = blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()
    return cache / "aotbuild" / "selftests" / name
