"""What makes a build's results its own: torch, the compiler, this machine, aotbuild's code.

Keys of the cache are made of these parts. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
from pathlib import Path

from aotbuild.steps.sources import source_directory
from aotbuild.toolchain import compiler_version, find_cxx, without_launcher

TORCH_VARIABLES = (
    "TORCH",
    "PYTORCH_",
    "AOTINDUCTOR_",
    "AOT_INDUCTOR_",
    "AOTI_",
    "INDUCTOR_",
    "ATEN_",
)
"""How the variables begin that torch looks at when it compiles."""
_COMPILER_VARIABLES = {
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH"),
    *("GCC_EXEC_PREFIX", "CONDA_PREFIX", "OMP_PREFIX", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
}
_WITHOUT_EFFECT = {
    *("TORCHINDUCTOR_CACHE_DIR", "TORCH_HOME", "TORCH_EXTENSIONS_DIR", "TORCH_TRACE"),
    *("TORCH_LOGS", "TORCH_LOGS_FORMAT", "TORCH_LOGS_OUT", "TORCH_SHOW_CPP_STACKTRACES"),
}

_FLAGS = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi", "asimd", "sve", "bf16", "i8mm", "fp16")
"""How the features begin for which weights are packed."""


def compile_environment(*ignored: str) -> dict[str, str]:
    """The variables that torch and the compiler look at, but for those that a compile sets."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name not in {*_WITHOUT_EFFECT, *ignored}
        and (name.startswith(TORCH_VARIABLES) or name in _COMPILER_VARIABLES)
        and value
    }


def compiler_parts(architecture: str = "") -> dict[str, str]:
    """The C++ compiler: its command without a launcher, and its version.

    Args:
        architecture: What it compiles for, if that is not this machine's.
    """
    command = without_launcher(find_cxx(architecture))
    return {"command": " ".join(command), "version": compiler_version(command).strip()}


@functools.cache
def torch_identity() -> dict[str, str]:
    """The version of torch, and the sources that it was built from."""
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    source = version.read_bytes() if version is not None and version.is_file() else b""
    return {
        "version": importlib.metadata.version("torch"),
        "build": hashlib.sha256(source).hexdigest(),
    }


def package_versions(*names: str) -> dict[str, str]:
    """The installed versions of packages; empty for one that is not there."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


@functools.cache
def aotbuild_identity() -> dict[str, str]:
    """The version of aotbuild, and all of its code."""
    digest = hashlib.sha256()
    root = source_directory("aotbuild")
    paths = [
        path for suffix in ("py", "c", "cpp", "h", "map") for path in root.rglob(f"*.{suffix}")
    ]
    for path in sorted(paths):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {"version": importlib.metadata.version("aotbuild"), "code": digest.hexdigest()}


def machine_parts(*, timed: bool) -> dict[str, str]:
    """What a compile may ask of this machine.

    Args:
        timed: Whether kernels are timed on it.
    """
    cpu = _cpu()
    features = {*cpu.get("flags", "").split(), *cpu.get("Features", "").split()}
    flags = [flag for flag in sorted(features) if flag.startswith(_FLAGS)]
    parts = {"architecture": platform.machine(), "features": " ".join(flags)}
    if timed:
        parts["cores"] = str(os.cpu_count())
        parts["cpu"] = cpu.get("model name", platform.processor())
        caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
        parts["caches"] = " ".join(path.read_text().strip() for path in caches)
    return parts


def _cpu() -> dict[str, str]:
    """What Linux says of the first core; elsewhere nothing."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    lines = [line.partition(":") for line in text.splitlines()]
    return {name.strip(): value.strip() for name, _, value in lines}
