"""Sample declarations, manifests and packages for the unit tests."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Protocol

import torch

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.dims import Dim
from aotbuild.runtime.integrity import identify
from aotbuild.runtime.machine import this_platform
from aotbuild.runtime.manifest import Constant, File, Input, Manifest, Variant
from aotbuild.steps.artifacts.weights_file import write_weights
from aotbuild.steps.export.arguments import Argument, call_tree
from aotbuild.steps.package import generate
from aotbuild.steps.package.write import write_hooks

PYPROJECT = """\
[build-system]
requires = ["scikit-build-core>=1.1", "aotbuild", "torch==2.13.0"]
build-backend = "scikit_build_core.build"

[project]
name = "demo"
version = "1.0"
requires-python = ">=3.11"
dynamic = ["dependencies"]

[[tool.dynamic-metadata]]
provider = "aotbuild"

[tool.aotbuild]
package = "demo.models"
runtime = "torch"
torch = "minor"

[tool.aotbuild.models.net]
source = "demo.network:Net"
weights = "weights/net.safetensors"
devices = ["cpu"]

[tool.aotbuild.models.net.verify]
rtol = 0.001

[tool.aotbuild.models.net.inputs]
image = { shape = ["batch", 1, 8, 8], dtype = "float32" }

[tool.aotbuild.models.net.dims]
batch = { min = 1, max = 64 }
"""
"""A declaration without a mistake."""


def write_project(root: Path, text: str = PYPROJECT) -> Path:
    """A project directory with this pyproject.toml and a weights file that exists."""
    own = Path(__file__).resolve().parents
    assert root.resolve() not in own, "a test must not overwrite the repository it is in"
    (root / "weights").mkdir(parents=True, exist_ok=True)
    (root / "weights" / "net.safetensors").touch()
    (root / "pyproject.toml").write_text(text, encoding="utf-8")
    return root


def edited(old: str, new: str, text: str = PYPROJECT) -> str:
    """``text`` with one place changed."""
    assert text.count(old) == 1, f"{old!r} must be in the text exactly once"
    return text.replace(old, new)


def run_python(code: str, *arguments: str, cwd: Path) -> Any:
    """Run code in a fresh interpreter; it prints JSON on its last line."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


IMAGE = Input("image", "float32", ["batch", 1, 8], [0, 1, 2])
TENSOR: dict[str, Any] = {
    "type": "tensor",
    "index": 0,
    "dtype": "float32",
    "shape": ["batch", 1, 8],
}
FEATURES = ("avx", "avx2", "fma3")


def sample_variant(
    directory: str = "net", device: str = "cpu", library: str = "", **changes: Any
) -> Variant:
    """A variant whose library is the file that ``write_package`` writes."""
    variant = Variant(
        onednn="",
        target=f"{device}-sample",
        device=device,
        library=File(library or f"{directory}/{device}-sample.so", len(_LIBRARY), "", ""),
        platform=this_platform(),
        symbols={},
        requires=list(FEATURES) if device == "cpu" else [],
        constants=[],
    )
    return dataclasses.replace(variant, **changes)


def sample_manifest(
    model: str = "net",
    method: str = FORWARD,
    *,
    kinds: Mapping[str, str] | None = None,
    **changes: Any,
) -> Manifest:
    """A manifest of a model that takes an image and returns one tensor.

    Args:
        model: Name of the model.
        method: Name of the method.
        kinds: The kinds of those inputs that are no ordinary parameters.
        changes: Fields that are different.
    """
    inputs: Sequence[Input] = changes.get("inputs", [IMAGE])
    leaves = [
        {"type": "tensor", "index": i} | ({"kind": kinds[spec.name]} if spec.name in kinds else {})
        for kinds in [kinds or {}]
        for i, spec in enumerate(inputs)
    ]
    manifest = Manifest(
        model=model,
        method=method,
        source="demo.network:Net",
        torch=">=2.0,<9.0",
        inputs=[IMAGE],
        in_spec={"type": "dict", "keys": [spec.name for spec in inputs], "items": leaves},
        outputs=TENSOR,
        dims={"batch": Dim(1, 64)},
        declared={"batch": Dim(1, 64)},
        conditions=[],
        variants=[sample_variant(directory_of(model, method))],
        weights=File("weights.safetensors", 0, "", ""),
    )
    return dataclasses.replace(manifest, **changes)


def call_manifest(
    parameters: Mapping[str, Any], kinds: Mapping[str, Any] | None = None, **changes: Any
) -> Manifest:
    """A manifest of a model that takes nested arguments, and returns all their tensors.

    Args:
        parameters: What it is traced with, by the names of its parameters.
        kinds: The kinds of those that are no ordinary parameters.
        changes: Fields that are different.
    """
    ordinary = inspect.Parameter.POSITIONAL_OR_KEYWORD
    arguments = [
        Argument(name, (kinds or {}).get(name, ordinary), value)
        for name, value in parameters.items()
    ]
    in_spec, labels = call_tree(arguments, "pyproject.toml")
    inputs = [Input(label, "float32", ["batch", 3], [0, 1]) for label in labels]
    leaves = [{**TENSOR, "index": i, "shape": ["batch", 3]} for i in range(len(labels))]
    outputs = {"type": "list", "items": leaves}
    return sample_manifest(inputs=inputs, in_spec=in_spec, outputs=outputs, **changes)


def directory_of(model: str, method: str) -> str:
    """Where the manifest of a method is in its package."""
    return model if method == FORWARD else f"{model}/{method}"


_LIBRARY = b"in place of a shared library"


def names_of(constants: Sequence[Constant]) -> list[str]:
    return [constant.name for constant in constants]


def write_package(
    directory: Path,
    manifests: Sequence[Manifest],
    tensors: Mapping[str, torch.Tensor] | None = None,
) -> list[Manifest]:
    """A package as the step bundle lays it out, with files in place of libraries.

    Args:
        directory: The package's directory.
        manifests: The methods of the models; each gets ``tensors`` as its constants, but those of
            the names that it keeps.
        tensors: The weights, by names that are valid in a library.

    Returns:
        The manifests as they were written.
    """
    directory.mkdir(parents=True)
    weights = dict(tensors or {})
    stored = write_weights(directory / "weights.safetensors", weights)
    constants = list(stored.constants.values())
    for manifest in manifests:
        own = directory / directory_of(manifest.model, manifest.method)
        own.mkdir(parents=True, exist_ok=True)
        for variant in manifest.variants:
            (directory / variant.library.file).write_bytes(_LIBRARY)
    models = by_model(manifests)
    for model, methods in models.items():
        (directory / f"_{model}.py").write_text(generate.model_module(methods), "utf-8")
    (directory / "__init__.py").write_text(generate.package_module(models), "utf-8")
    with as_file(files("aotbuild.runtime")) as runtime:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(runtime, directory / "_runtime", ignore=ignored)
    written = [
        dataclasses.replace(
            given,
            kept=[stored.constants[name] for name in names_of(given.kept)],
            weights=identify(directory / "weights.safetensors", "weights.safetensors"),
            files=[identify(directory / name, name) for name in (f"_{given.model}.py",)],
            variants=[
                dataclasses.replace(
                    variant,
                    constants=[c for c in constants if c.name not in names_of(given.kept)],
                    library=identify(directory / variant.library.file, variant.library.file),
                )
                for variant in given.variants
            ],
        )
        for given in manifests
    ]
    for manifest in written:
        own = directory / directory_of(manifest.model, manifest.method)
        (own / "model.json").write_text(manifest.to_json(), "utf-8")
    write_hooks(directory, directory.name)
    return written


def by_model(manifests: Sequence[Manifest]) -> dict[str, list[Manifest]]:
    """Manifests by the models whose methods they tell."""
    models: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        models.setdefault(manifest.model, []).append(manifest)
    return models


SetTorch = Callable[[str | None], None]
"""Sets the version of torch that is installed, in the eyes of importlib.metadata."""

Compute = Callable[[list[torch.Tensor]], list[torch.Tensor]]


def assert_waits(target: Callable[..., Any], *args: Any) -> threading.Thread:
    """A thread that calls a function, which does not return until something else happens."""
    thread = threading.Thread(target=target, args=args)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    return thread


def echo(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """In place of compiled code: every input, as it came."""
    return list(tensors)


class Loaded:
    """A package under test, imported with an engine that loads nothing."""

    def __init__(self, name: str, compute: Compute = echo) -> None:
        self.package: Any = importlib.import_module(name)
        self.engine: Any = importlib.import_module(f"{name}._runtime.engines")
        self.error: type[ImportError] = importlib.import_module(f"{name}._runtime").ModelLoadError
        self.loads: list[str] = []
        self.received: list[torch.Tensor] = []
        self.constants: dict[str, torch.Tensor] = {}
        """What the library loaded last was given."""
        self.handed: list[dict[str, torch.Tensor]] = []
        self.names: set[str] | None = None
        """Names of the constants that the engine tells; those it is given when None."""
        self.compute = compute
        self.use("cpu")
        self.cpu_has(*FEATURES)

    def cpu_has(self, *features: str) -> None:
        """Pretend that the CPU has these features and no others."""
        self.engine.cpu_features = lambda: dict.fromkeys(features, True)

    def use(self, device: str, *, present: bool = True) -> None:
        """Put an engine that loads nothing in the place of the one for ``device``."""
        loaded = self

        class FakeEngine(self.engine.CpuEngine):  # type: ignore[misc, name-defined]
            def __init__(self, library: Path, device: torch.device, pool: Any) -> None:
                loaded.engine.CallGate.__init__(self, pool.runners)
                loaded.loads.append(f"{library.name} on {device}")
                self.library = library

            @staticmethod
            def present() -> bool:
                return present

            def expects(self, constants: Mapping[str, Constant]) -> bool:
                return loaded.names is None or loaded.names == set(constants)

            def set_constants(self, constants: dict[str, torch.Tensor]) -> None:
                loaded.constants = {**loaded.constants, **constants}
                loaded.handed.append(constants)

            def run(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
                with self._lock:
                    loaded.received = tensors
                    return loaded.compute(tensors)

        self.engine.ENGINES[device] = FakeEngine

    @property
    def net(self) -> Any:
        """The model, loaded when it is first asked for."""
        return self.package.net


class LoadPackage(Protocol):
    """Writes a package of compiled models and imports it."""

    def __call__(
        self,
        *manifests: Manifest,
        tensors: Mapping[str, torch.Tensor] | None = None,
        compute: Compute = echo,
        before: Callable[[Path, Sequence[Manifest]], None] | None = None,
    ) -> Loaded: ...
