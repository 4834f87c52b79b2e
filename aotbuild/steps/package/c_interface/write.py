"""Writing the C interface of a package: ``_c`` with headers, a library, and files for CMake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aotbuild.cache.history import key_of
from aotbuild.cache.store import Found, Store
from aotbuild.runtime.c_interface import CMAKE, DIRECTORY, INCLUDE
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.c_compiler import compile_c
from aotbuild.steps.identity import aotbuild_identity, compile_environment, compiler_parts
from aotbuild.steps.package.c_interface.cmake import config, config_version
from aotbuild.steps.package.c_interface.described import Described, described
from aotbuild.steps.package.c_interface.header import COMMON, common_header, model_header
from aotbuild.steps.package.c_interface.source import SOURCE, package_source
from aotbuild.steps.sources import source_directory
from aotbuild.target import TARGETS

KIND = "interfaces"
"""Of entries in the cache: a library each."""

_OF_THE_ENGINE = ("library.c", "library.h", "cpu.c")
"""What the interface has in common with the engine."""


def write_c_interface(
    directory: Path, package: str, version: str, manifests: Sequence[Manifest]
) -> None:
    """Write the C interface of the stand-alone models of a package, if it has any.

    Args:
        directory: The package's directory.
        package: Its import name.
        version: The version of its project, if known.
        manifests: The methods of its models.

    Raises:
        CompileError: The compiler refuses the library.
    """
    models: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        models.setdefault(manifest.model, []).append(manifest)
    found = described(package, models)
    if not found.models:
        return
    root = directory / DIRECTORY
    headers = header_texts(found)
    for name, text in headers.items():
        (root / INCLUDE / name).parent.mkdir(parents=True, exist_ok=True)
        (root / INCLUDE / name).write_text(text, encoding="utf-8")
    (root / CMAKE).mkdir()
    library = f"lib{found.name}.so"
    (root / CMAKE / f"{found.name}Config.cmake").write_text(config(found, library), "utf-8")
    if told := config_version(version):
        (root / CMAKE / f"{found.name}ConfigVersion.cmake").write_text(told, "utf-8")
    # A package is for one architecture.
    target = TARGETS[manifests[0].variants[0].target]
    _build(root / library, source_files(found, directory), target.cross)


def header_texts(package: Described) -> dict[str, str]:
    """The headers of a package, by their paths among others."""
    texts = {f"{package.name}/{COMMON}": common_header(package)}
    for model in package.models:
        texts[f"{package.name}/{model.name}.h"] = model_header(package, model)
    return texts


def source_files(package: Described, directory: Path) -> dict[str, bytes]:
    """All that the library of a package is compiled from, by name.

    Args:
        package: The package.
        directory: Its directory.
    """
    root = source_directory("aotbuild")
    paths = sorted((root / "c_interface").glob("*.[ch]"))
    paths += [root / "engine" / name for name in _OF_THE_ENGINE]
    files = {path.name: path.read_bytes() for path in paths}
    texts = {**header_texts(package), SOURCE: package_source(package, directory)}
    return files | {name: text.encode() for name, text in texts.items()}


def _build(library: Path, files: dict[str, bytes], architecture: str) -> None:
    """Compile the library, for another architecture if one is told, or take it from the cache."""
    store = Store.of_build()
    key = key_of(
        {
            "aotbuild": aotbuild_identity(),
            "compiler": compiler_parts(architecture),
            "environment": compile_environment(),
            "files": {name: content.decode() for name, content in files.items()},
        }
    )
    if store.get(KIND, key, library.parent) is Found.HIT:
        return
    options = [
        *("-I.", "-pthread", "-shared", "-s", f"-Wl,-soname,{library.name}"),
        *("-static-libgcc", "-Wl,-z,defs", "-Wl,--as-needed", "-lm", "-ldl"),
    ]
    what, where = "the C interface", "aotbuild/c_interface"
    compile_c(library, files, options, store, what, where, architecture)
    store.put(KIND, key, {library.name: library})
