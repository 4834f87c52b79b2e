"""Weights that are not in the package: found, and only the ones that the build wrote."""

from __future__ import annotations

import importlib
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from samples import PYPROJECT, Loaded, LoadPackage, edited, sample_manifest, write_project

from aotbuild.config.project import load_project
from aotbuild.errors import ConfigError, RequirementError
from aotbuild.hook.requirement import check_weights_requirement
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.artifacts.spec import SeparateWeights
from aotbuild.steps.package.companion_wheel import move_weights
from aotbuild.steps.plan.bundle import weights_apart

WEIGHTS = {"weight": torch.ones(3)}
FILE = "weights.safetensors"


@pytest.fixture
def apart(load_package: LoadPackage, tmp_path: Path) -> Loaded:
    """A package whose weights are in another directory."""

    def move(directory: Path, _: Sequence[Manifest]) -> None:
        (tmp_path / "elsewhere").mkdir()
        (directory / FILE).rename(tmp_path / "elsewhere" / FILE)

    return load_package(sample_manifest(apart="AOTBUILD_WEIGHTS"), tensors=WEIGHTS, before=move)


def refused(loaded: Loaded) -> str:
    with pytest.raises(ImportError) as caught:
        _ = loaded.net
    return str(caught.value)


@pytest.mark.parametrize(
    "named",
    ["{0}/elsewhere/weights.safetensors", "{0}/elsewhere", "{0}/none:{0}/elsewhere"],
)
def test_the_environment_names_the_file(
    apart: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("AOTBUILD_WEIGHTS", named.format(tmp_path).replace(":", os.pathsep))
    _ = apart.net
    assert torch.equal(apart.constants["weight"], torch.ones(3))


def test_the_file_may_have_another_name(
    apart: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = (tmp_path / "elsewhere" / FILE).rename(tmp_path / "w.bin")
    monkeypatch.setenv("AOTBUILD_WEIGHTS", str(moved))
    _ = apart.net


def test_a_directory_has_the_file_under_the_name_that_the_build_gave_it(
    apart: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "elsewhere" / FILE
    file.with_name("other.safetensors").write_bytes(b"other weights")
    monkeypatch.setenv("AOTBUILD_WEIGHTS", str(file.parent))
    _ = apart.net
    assert torch.equal(apart.constants["weight"], torch.ones(3))


def test_a_file_that_nothing_names_is_told(apart: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AOTBUILD_WEIGHTS", raising=False)
    assert refused(apart) == (
        "the weights are not in the package: set AOTBUILD_WEIGHTS to the path of "
        "weights.safetensors, which the build wrote"
    )


@pytest.mark.parametrize(
    ("damage", "told"),
    [("missing", "is missing"), ("short", "bytes instead of"), ("other", "is not the file")],
)
def test_a_file_that_is_not_the_one_that_was_built_is_refused(
    apart: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, told: str
) -> None:
    file = tmp_path / "elsewhere" / FILE
    data = file.read_bytes()
    changes = {"missing": None, "short": data[:-1], "other": data[:-1] + b"!"}
    changed = changes[damage]
    if changed is None:
        file.unlink()
    else:
        file.write_bytes(changed)
    monkeypatch.setenv("AOTBUILD_WEIGHTS", str(file))
    message = refused(apart)
    assert message.startswith(f"AOTBUILD_WEIGHTS={file}: {file} ")
    assert told in message
    assert message.endswith("set AOTBUILD_WEIGHTS to the path of weights.safetensors, which the "
                            "build wrote")  # fmt: skip


REQUIREMENT = "demo-kit-weights==1.2"


@pytest.fixture
def companion(load_package: LoadPackage, tmp_path: Path) -> Loaded:
    """A package whose weights are in a distribution of their own, which is not installed."""

    def move(directory: Path, _: Sequence[Manifest]) -> None:
        wheel = tmp_path / "dist" / "demo_kit_weights-1.2-py3-none-any.whl"
        move_weights(
            directory,
            SeparateWeights(package="demo", file=str(wheel), requirement="demo-kit-weights==1.2"),
        )
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "installed")

    return load_package(sample_manifest(apart=REQUIREMENT), tensors=WEIGHTS, before=move)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path / "installed")
    importlib.invalidate_caches()
    return tmp_path / "installed" / "demo_kit_weights"


def test_the_weights_are_found_in_their_distribution(companion: Loaded, installed: Path) -> None:
    _ = companion.net
    assert torch.equal(companion.constants["weight"], torch.ones(3))
    assert "demo_kit_weights" not in sys.modules  # it is found, and not run
    assert installed.is_dir()


def test_a_distribution_that_is_missing_is_told(companion: Loaded) -> None:
    assert refused(companion) == (
        "the weights of sample_models are in demo-kit-weights==1.2, which is not installed: "
        'pip install "demo-kit-weights==1.2"'
    )


def test_a_distribution_of_other_weights_is_refused(companion: Loaded, installed: Path) -> None:
    file = installed / FILE
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    message = refused(companion)
    assert message.startswith(f"{file} is not the file that was built: these are other weights")
    assert message.endswith('pip install "demo-kit-weights==1.2"')


def test_the_wheel_of_the_weights_is_one(companion: Loaded, tmp_path: Path) -> None:
    del companion
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        record = archive.read("demo_kit_weights-1.2.dist-info/RECORD").decode()
    assert names == [
        "demo_kit_weights/__init__.py",
        "demo_kit_weights-1.2.dist-info/METADATA",
        "demo_kit_weights-1.2.dist-info/WHEEL",
        "demo_kit_weights/weights.safetensors",
        "demo_kit_weights-1.2.dist-info/RECORD",
    ]
    assert [line.split(",")[0] for line in record.splitlines()] == names


# ---- The declaration


def declared(tmp_path: Path, *lines: str, project: str = "") -> Path:
    text = edited('devices = ["cpu"]', "", PYPROJECT) if project else PYPROJECT
    head, models = text.split("[tool.aotbuild.models.net]", 1)
    if "[tool.aotbuild]" in head:
        head = head.replace("[tool.aotbuild]", "[tool.aotbuild]\n" + "\n".join(lines))
    else:
        head += "[tool.aotbuild]\n" + "\n".join(lines) + "\n\n"
    return write_project(tmp_path / "project", f"{head}[tool.aotbuild.models.net]{models}")


def planned(root: Path) -> SeparateWeights | None:
    project = load_project(root)
    assert project is not None
    return weights_apart(project)


def test_weights_are_in_the_wheel_unless_declared(tmp_path: Path) -> None:
    assert planned(declared(tmp_path)) is None
    assert planned(declared(tmp_path, 'weights-in = "wheel"')) is None


def test_a_file_is_named_after_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = declared(tmp_path, 'weights-in = "file"')
    file = str(root.resolve() / "dist/demo.models.safetensors")
    assert planned(root) == SeparateWeights(package="demo.models", file=file)
    monkeypatch.setenv("AOTBUILD_WEIGHTS_OUT", "/somewhere")
    assert planned(root) == SeparateWeights(
        package="demo.models", file="/somewhere/demo.models.safetensors"
    )


@pytest.mark.parametrize(("line", "version"), [("", "1.0"), ('weights-version = "7"', "7")])
def test_a_companion_has_the_version_of_the_project_or_its_own(
    tmp_path: Path, line: str, version: str
) -> None:
    root = declared(tmp_path, 'weights-in = "companion"', line, 'weights-out = "out"')
    assert planned(root) == SeparateWeights(
        package="demo.models",
        file=str(root.resolve() / f"out/demo_weights-{version}-py3-none-any.whl"),
        requirement=f"demo-weights=={version}",
    )


def test_a_companion_of_a_dynamic_version_needs_one_of_its_own(tmp_path: Path) -> None:
    root = declared(tmp_path, 'weights-in = "companion"')
    pyproject = root / "pyproject.toml"
    text = pyproject.read_text().replace('version = "1.0"', "")
    pyproject.write_text(text.replace('dynamic = ["dependencies"]', 'dynamic = ["version"]'))
    with pytest.raises(ConfigError, match="the wheel of the weights has no version") as caught:
        planned(root)
    assert 'weights-version = "1.0"' in caught.value.fix


def test_static_dependencies_have_to_name_the_companion(tmp_path: Path) -> None:
    root = declared(tmp_path, 'weights-in = "companion"')
    project = load_project(root)
    assert project is not None
    check_weights_requirement(project.pyproject, project.config)  # the provider adds it
    static = {**project.pyproject, "tool": {}}
    with pytest.raises(RequirementError) as caught:
        check_weights_requirement(static, project.config)
    assert caught.value.what == "the wheel would not require its weights"
    assert 'add "demo-weights==1.0"' in caught.value.fix
    static["project"] = {**static["project"], "dependencies": ["demo-weights==1.0"]}
    check_weights_requirement(static, project.config)
