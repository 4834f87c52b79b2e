"""The choice of a variant that this machine can run, and the checks before it is opened."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .engines import ALONE, ENGINES, Loaded, Pool
from .errors import ModelLoadError
from .fallback import fall_back
from .integrity import check_file
from .machine import (
    engine_lacking,
    engine_module,
    missing_symbols,
    onednn_version,
    this_platform,
    torch_version,
)
from .manifest import Manifest, Variant
from .native_engine import open_engine
from .operators import load_op_libraries
from .state import State

LEVEL_VARIABLE = "AOTBUILD_CPU_LEVEL"


def load(package: Path, manifest: Manifest, device: str, state: State, pool: Pool) -> Loaded:
    """Load the first variant for a device that can run here, else the eager program.

    Args:
        package: Directory of the package.
        manifest: The model.
        device: Where to run it.
        state: The weights.
        pool: How many calls run at once.

    Raises:
        ModelLoadError: There is neither, or a file of the package is damaged.
    """
    if engine_module() is None and all(variant.standalone for variant in manifest.variants):
        raise ModelLoadError(f"{manifest.name} cannot be run: {engine_lacking()}")
    level = os.environ.get(LEVEL_VARIABLE) if device == "cpu" else None
    reason = None
    for variant in _candidates(manifest, device, level):
        reason = unfit(manifest, variant)
        if reason is None:
            _log("%s runs as compiled for %s", manifest.name, variant.target)
            return load_variant(package, manifest, variant, device, state, pool)
        _log("%s as compiled for %s does not fit: %s", manifest.name, variant.target, reason)
    if level:
        raise ModelLoadError(
            f"{LEVEL_VARIABLE}={level}: {manifest.name} cannot run as compiled for it: {reason}"
        )
    return fall_back(package, manifest, device, no_variant(manifest, device), state)


def _log(message: str, *values: str) -> None:
    """Log at debug level, if anything in this process logs."""
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger(__name__).debug(message, *values)


def _candidates(manifest: Manifest, device: str, level: str | None) -> list[Variant]:
    """The variants for a device, the best first; with a CPU level, the one for that.

    Raises:
        ModelLoadError: There is none for that level.
    """
    variants = [
        variant for variant in manifest.variants if variant.device == device.partition(":")[0]
    ]
    if not level:
        return variants
    matches = [variant for variant in variants if variant.target == f"cpu-{level}"]
    if not matches:
        levels = ", ".join(variant.target.removeprefix("cpu-") for variant in variants)
        raise ModelLoadError(
            f"{LEVEL_VARIABLE}={level}: {manifest.name} was compiled for {levels}; set it to one "
            "of these, or unset it"
        )
    return matches


def load_variant(
    package: Path,
    manifest: Manifest,
    variant: Variant,
    device: str,
    state: State,
    pool: Pool = ALONE,
) -> Loaded:
    """Load a variant that fits.

    Args:
        package: Directory of the package.
        manifest: The model.
        variant: The variant.
        device: Where to run it.
        state: The weights.
        pool: How many calls run at once.

    Raises:
        ModelLoadError: A file of the package is damaged.
    """
    load_op_libraries(package, manifest)
    check_file(package, variant.library)
    library = package / variant.library.file
    engine = open_engine(manifest, variant, library, device, pool)
    if not engine.expects({constant.name: constant for constant in variant.constants}):
        raise ModelLoadError(
            f"{library}: its constants are not those of the manifest; install the package again"
        )
    state.serve(engine, variant.constants, device)
    return Loaded(engine.run, engine.call, engine.direct, variant.target, engine.one_thread)


def unfit(manifest: Manifest, variant: Variant) -> str | None:
    """Why a variant cannot run here, or None."""
    if variant.standalone and engine_module() is None:
        return engine_lacking()
    if not variant.standalone and not in_range(torch_version(), manifest.torch):
        return f"it needs torch{manifest.torch}, this is torch {torch_version()}"
    if variant.platform != this_platform():
        return f"it was built for {variant.platform}, this is {this_platform()}"
    engine = ENGINES[variant.device]
    if not engine.present():
        return f"there is no {variant.device} device, or this torch does not support it"
    missing = engine.missing(variant.requires)
    if missing:
        return f"this {variant.device.upper()} lacks {', '.join(missing)}"
    return None if variant.standalone else _unfit_torch(variant)


def _unfit_torch(variant: Variant) -> str | None:
    """Why a torch of the right version cannot run a variant, or None."""
    if variant.onednn and variant.onednn != onednn_version():
        return (
            f"its weights are packed for oneDNN {variant.onednn}, this torch has "
            f"{onednn_version() or 'none'}"
        )
    absent = missing_symbols(variant.symbols)
    if absent:
        return f"this torch {torch_version()} lacks {', '.join(absent[:3])}"
    return None


def no_variant(manifest: Manifest, device: str | None) -> ModelLoadError:
    """The error where no variant can run, with the reason against each."""
    lines = [
        f"  {variant.target}: {unfit(manifest, variant) or f'is for {variant.device}'}"
        for variant in manifest.variants
    ]
    where = f"on {device}" if device else "here"
    return ModelLoadError(
        f"no variant of {manifest.name} can run {where}:\n"
        + "\n".join(lines)
        + "\nInstall the matching torch, use another machine, or build the package for this one"
    )


def in_range(version: str, allowed: str) -> bool:
    """Whether a torch version lies in a range such as ``>=2.13,<2.14``, which the build wrote."""
    release = _release(version)
    for part in allowed.split(","):
        if part.startswith("=="):
            if part[2:] not in {version, version.split("+", maxsplit=1)[0]}:
                return False
            continue
        bound = _release(part.lstrip("<>="))
        if not (release >= bound if part.startswith(">=") else release < bound):
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split("+", maxsplit=1)[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers[:2])
