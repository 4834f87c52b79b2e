"""The import package of compiled models: libraries, weights, manifests and generated modules."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from aotbuild.config.resolve import is_library_file
from aotbuild.interpreter import ENGINE
from aotbuild.runtime.integrity import identify
from aotbuild.runtime.manifest import Manifest
from aotbuild.runtime.weights import WEIGHTS_VARIABLE
from aotbuild.steps.artifacts.spec import SeparateWeights
from aotbuild.steps.artifacts.weights_index import WEIGHTS
from aotbuild.steps.package import generate
from aotbuild.steps.package.development import write_development
from aotbuild.steps.package.docstrings import without_docstrings
from aotbuild.steps.package.packaged_method import Package, add_method
from aotbuild.steps.package.parts import Contents, Part
from aotbuild.steps.package.pool import write_pool
from aotbuild.steps.sources import source_directory


def write_package(
    directory: Path,
    parts: Sequence[Part],
    project: Path,
    native: Path,
    torch_policy: str = "minor",
    apart: SeparateWeights | None = None,
    *,
    develop: str = "",
) -> list[Manifest]:
    """Write a package into a new directory.

    Args:
        directory: The package's directory; it is made.
        parts: The methods of the models.
        project: Directory of the project, which holds the libraries of operators.
        native: Directory of the native engine, if there is one.
        torch_policy: Which versions of torch it runs with, as in the declaration.
        apart: Where the weights will be, if not in the package. Here they are in it all the same.
        develop: ``eager`` or ``compiled`` for what ``aotbuild develop`` installs.

    Returns:
        The manifests of the methods.
    """
    directory.mkdir(exist_ok=True)
    contents = Contents.read(parts)
    pool = write_pool(directory / (apart.weights if apart else WEIGHTS), contents)
    place = (apart.requirement or WEIGHTS_VARIABLE) if apart else ""
    package = Package(directory, project, contents, pool, torch_policy, place)
    models: dict[str, list[Manifest]] = {}
    for part in parts:
        models.setdefault(part.model, []).append(add_method(package, part))
    for model, manifests in models.items():
        module = generate.model_module(manifests)
        (directory / f"_{model}.py").write_text(module, encoding="utf-8")
    module = generate.package_module(models, develop=bool(develop))
    (directory / "__init__.py").write_text(module, encoding="utf-8")
    (directory / "__main__.py").write_text(generate.main_module(), encoding="utf-8")
    (directory / "__init__.pyi").write_text(generate.stub(models), encoding="utf-8")
    (directory / "py.typed").touch()
    every = [manifest for manifests in models.values() for manifest in manifests]
    remembers = any(manifest.changed or manifest.held for manifest in every)
    alone = all(m.standalone and not m.fallback and not m.op_libraries for m in every)
    left_out = [
        *(() if remembers else _OF_STATE),
        *(_OF_TORCH if alone else ()),
        *(() if develop else _OF_DEVELOPMENT),
    ]
    _copy_runtime(directory / "_runtime", native / ENGINE, left_out)
    if develop:
        write_development(directory, parts, project, develop)
    return [_write_manifest(directory, m) for manifests in models.values() for m in manifests]


def write_hooks(directory: Path, package: str) -> None:
    """Write what lets PyInstaller collect a package.

    Args:
        directory: The package's directory.
        package: Its import name.
    """
    hooks = directory / "_pyinstaller"
    hooks.mkdir()
    (hooks / "__init__.py").write_text(generate.hooks_module(), encoding="utf-8")
    (hooks / f"hook-{package}.py").write_text(generate.hook_module(package), encoding="utf-8")


def _write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Write ``model.json`` when all other files are there, whose digests it tells."""
    names = ["__init__.py", f"_{manifest.model}.py"]
    names += [f"_runtime/{path.name}" for path in sorted((directory / "_runtime").iterdir())]
    names += [library for library in manifest.op_libraries if is_library_file(library)]
    proxies = [Path(variant.library.file).with_suffix(".json") for variant in manifest.variants]
    names += [proxy.as_posix() for proxy in proxies if (directory / proxy).exists()]
    complete = dataclasses.replace(
        manifest, files=[identify(directory / name, name) for name in names]
    )
    (directory / manifest.directory / "model.json").write_text(complete.to_json(), encoding="utf-8")
    return complete


_OF_STATE = (
    *("holding", "model_state", "scanning", "state_assignment", "state_file", "written_inputs"),
)
"""The modules of the runtime that only models with a state need, or whose inputs are changed."""

_OF_TORCH = ("fallback", "operators", "other_torch")
"""What only models that torch runs need."""

_OF_DEVELOPMENT = ("development",)
"""What only ``aotbuild develop`` installs."""


_SHOWN = ("__init__", "batching", "errors", "model", "model_state", "parameters", "threads")
"""The modules with what users see in ``help()``; of the others, docstrings are not installed."""


def _copy_runtime(directory: Path, engine: Path, left_out: Sequence[str]) -> None:
    runtime = source_directory("aotbuild.runtime")
    ignored = shutil.ignore_patterns("__pycache__", *(f"{module}.py" for module in left_out))
    shutil.copytree(runtime, directory, ignore=ignored)
    for module in directory.glob("*.py"):
        if module.stem not in _SHOWN:
            text = module.read_text(encoding="utf-8")
            module.write_text(without_docstrings(text), encoding="utf-8")
    if engine.is_file():
        shutil.copyfile(engine, directory / engine.name)
