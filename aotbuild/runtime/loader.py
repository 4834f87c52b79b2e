"""The choice of a variant that this machine can run, and the checks before it is opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from .engines import ALONE, ENGINES, Loaded, Pool
from .errors import ModelLoadError
from .integrity import check_file
from .machine import (
    INTERFACE_VERSION,
    engine_lacking,
    engine_module,
    interface_version,
    minor,
    missing_symbols,
    onednn_version,
    this_platform,
    torch_version,
)
from .manifest import Manifest, Variant
from .native_engine import open_engine
from .state_dict import State

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
    if engine_module() is None and manifest.standalone:
        raise ModelLoadError(f"{manifest.name} cannot be run: {engine_lacking()}")
    if not manifest.variants and manifest.fallback:
        from .fallback import load_eager

        return load_eager(package, manifest, manifest.fallback, device, state)
    level = os.environ.get(LEVEL_VARIABLE) if device == "cpu" else None
    reason, reasons = None, dict[str, str]()
    for variant in _candidates(manifest, device, level):
        reason = unfit(manifest, variant) or _wrong(package, manifest, variant)
        if reason is None:
            _log("%s runs as compiled for %s", manifest.name, variant.target)
            return load_variant(package, manifest, variant, device, state, pool)
        reasons[variant.target] = reason
        _log("%s as compiled for %s does not fit: %s", manifest.name, variant.target, reason)
    if level:
        raise ModelLoadError(
            f"{LEVEL_VARIABLE}={level}: {manifest.name} cannot run as compiled for it: {reason}"
        )
    error = no_variant(manifest, device, reasons)
    if manifest.fallback is None:
        raise error
    from .fallback import fall_back

    return fall_back(package, manifest, device, error, state)


def _wrong(package: Path, manifest: Manifest, variant: Variant) -> str | None:
    """Why a variant, which fits, is not to be trusted with a torch that the build did not know."""
    known = str(variant.compiled.get("torch") or torch_version())
    if variant.standalone or minor(torch_version()) == minor(known) or manifest.selftest is None:
        return None
    from .other_torch import is_remembered, remember, wrong_result  # most processes need it not

    if is_remembered(manifest, variant):
        return None
    # With the weights of the package, whatever those of the model are now.
    unchanged = State(package, manifest)
    loaded = load_variant(package, manifest, variant, variant.device, unchanged)
    reason = wrong_result(package, manifest, manifest.selftest, loaded)
    if reason is None:
        remember(manifest, variant)
    return reason


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
    if manifest.op_libraries:
        from .operators import load_op_libraries

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
    return None if variant.standalone else _unfit_torch(variant, manifest.torch)


def _unfit_torch(variant: Variant, allowed: str) -> str | None:
    """Why a torch of the right version cannot run a variant, or None."""
    if variant.onednn and variant.onednn != onednn_version():
        return (
            f"its weights are packed for oneDNN {variant.onednn}, this torch has "
            f"{onednn_version() or 'none'}"
        )
    absent = missing_symbols([INTERFACE_VERSION, *variant.symbols])
    if absent:
        return f"this torch {torch_version()} lacks {', '.join(absent[:3])}"
    if (version := interface_version()) < oldest(allowed):
        found = ".".join(map(str, version))
        return f"it needs torch{allowed}, and this torch's interface in C is that of {found}"
    return None


def no_variant(
    manifest: Manifest, device: str | None, reasons: Mapping[str, str] | None = None
) -> ModelLoadError:
    """The error where no variant can run, with the reason against each.

    Args:
        manifest: The model.
        device: Where it was to run.
        reasons: Why variants do not, by their targets, as far as that is known.
    """
    known = reasons or {}
    lines = []
    for variant in manifest.variants:
        reason = known.get(variant.target) or unfit(manifest, variant)
        lines.append(f"  {variant.target}: {reason or f'is for {variant.device}'}")
    where = f"on {device}" if device else "here"
    fix = "Use" if manifest.standalone else "Install the matching torch, use"
    return ModelLoadError(
        f"no variant of {manifest.name} can run {where}:\n"
        + "\n".join(lines)
        + f"\n{fix} another machine, or build the package for this one"
    )


def in_range(version: str, allowed: str) -> bool:
    """Whether a torch version lies in a range such as ``>=2.13,<2.14``, which the build wrote."""
    release = minor(version)
    for part in allowed.split(","):
        if part.startswith("=="):
            if part[2:] not in {version, version.split("+", maxsplit=1)[0]}:
                return False
            continue
        bound = minor(part.lstrip("<>="))
        if not (release >= bound if part.startswith(">=") else release < bound):
            return False
    return True


def oldest(allowed: str) -> tuple[int, ...]:
    """The lowest minor version in such a range."""
    return min(minor(part.lstrip("<>=")) for part in allowed.split(","))
