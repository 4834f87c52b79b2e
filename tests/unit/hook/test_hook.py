"""The hooks: what aotbuild tells scikit-build-core, and the builds that it stops."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from samples import PYPROJECT, SetTorch, edited, run_python, write_project

from aotbuild.errors import RequirementError
from aotbuild.hook.requirement import check_torch_requirement, dynamic_metadata, dynamic_wheel
from aotbuild.hook.settings import settings
from aotbuild.toolchain import compiler_name
from aotbuild.torch_version import runtime_range

DYNAMIC = 'dynamic = ["dependencies"]\n'
PROVIDER = '[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n'
pytestmark = pytest.mark.usefixtures("torch_of_the_build")

LINES_TO_PASTE = [
    "[project]",
    'dynamic = ["dependencies"]',
    "[[tool.dynamic-metadata]]",
    'provider = "aotbuild"',
]
STATES = ["wheel", "editable", "metadata_wheel", "metadata_editable"]


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a project and makes it the current directory, as it is in a hook."""

    def write(text: str) -> Path:
        root = write_project(tmp_path / "project", text)
        monkeypatch.chdir(root)
        return root

    return write


Enter = Callable[[str], Path]


def refused(state: str = "wheel") -> str:
    """The block with which settings() stops the build."""
    with pytest.raises(SystemExit) as caught:
        settings(state)
    block = caught.value.code
    assert isinstance(block, str), "the exit code must be the text, which makes it 1"
    assert block.startswith("aotbuild: error: ")
    assert "Traceback" not in block
    return block


def last_lines(block: str) -> list[str]:
    return [line.strip() for line in block.splitlines() if line.strip()][-4:]


@pytest.mark.parametrize(
    "text",
    [
        '[project]\nname = "other"\n',
        "[tool.scikit-build]\nwheel.cmake = false # nothing of aotbuild\n",
        "this is no TOML, and none of our business",
    ],
)
def test_a_project_without_models_gets_nothing(enter: Enter, text: str) -> None:
    enter(text)
    assert settings("wheel") == {}


def test_a_directory_without_pyproject_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings("wheel") == {}


@pytest.mark.parametrize("state", ["sdist", *STATES])
def test_a_project_without_cmake_gets_ours(enter: Enter, state: str) -> None:
    root = enter(PYPROJECT)
    table = settings(state)
    assert table["cmake"]["define"] == {"AOTBUILD_PROJECT_DIR": str(root.resolve())}
    assert (Path(table["cmake"]["source-dir"]) / "CMakeLists.txt").is_file()
    assert table["cmake"]["version"] == ">=3.21"
    assert table["wheel"] == {"reproducible": True, "py-api": "cp311"}
    assert table["ninja"] == {"make-fallback": False}
    assert table["sdist"] == {
        "force-include": {"weights/net.safetensors": "weights/net.safetensors"}
    }


def test_a_project_with_its_own_cmake_keeps_it(enter: Enter) -> None:
    root = enter(PYPROJECT)
    (root / "CMakeLists.txt").write_text("aotbuild_add_models()\n")
    table = settings("wheel")
    define = table["cmake"].pop("define")
    assert table["cmake"] == {}
    assert define["AOTBUILD_PROJECT_DIR"] == str(root.resolve())
    assert Path(define["CMAKE_PROJECT_INCLUDE"]).is_file()
    assert table["wheel"] == {"reproducible": True}
    assert table["ninja"] == {"make-fallback": False}
    assert table["sdist"]["force-include"]


def test_a_source_dir_of_the_project_is_its_own_cmake(enter: Enter) -> None:
    root = enter(f'{PYPROJECT}\n[tool.scikit-build]\ncmake.source-dir = "native"\n')
    (root / "native").mkdir()
    (root / "native" / "CMakeLists.txt").write_text("add_subdirectory(models)\n")
    table = settings("wheel")
    assert set(table["cmake"]) == {"define"}
    assert "py-api" not in table["wheel"]


def test_every_weights_file_goes_into_the_sdist(enter: Enter) -> None:
    second = PYPROJECT[PYPROJECT.index("[tool.aotbuild.models.net]") :]
    second = second.replace("models.net", "models.second").replace("net.safetens", "2nd.safetens")
    third = second.replace("models.second", "models.third")
    third = third.replace('weights = "weights/2nd.safetensors"\n', "")
    root = enter(PYPROJECT + second + third)
    with pytest.raises(SystemExit, match=r"2nd\.safetensors"):
        settings("sdist")
    (root / "weights" / "2nd.safetensors").touch()
    assert settings("sdist")["sdist"]["force-include"] == {
        "weights/net.safetensors": "weights/net.safetensors",
        "weights/2nd.safetensors": "weights/2nd.safetensors",
    }


def test_a_project_that_switches_cmake_off_is_refused(enter: Enter) -> None:
    enter(f"{PYPROJECT}\n[tool.scikit-build]\nwheel.cmake = false\n")
    block = refused()
    assert "switches CMake off" in block
    assert "pyproject.toml: tool.scikit-build.wheel.cmake" in block
    assert "remove cmake = false" in block


def test_a_cmake_project_that_adds_no_models_is_refused(enter: Enter) -> None:
    root = enter(PYPROJECT)
    (root / "CMakeLists.txt").write_text("project(demo LANGUAGES C)\n")
    block = refused()
    assert "its CMakeLists.txt does not add them" in block
    assert "where: CMakeLists.txt" in block
    assert last_lines(block)[-2:] == [
        "find_package(AotBuild REQUIRED)",
        "aotbuild_add_models()",
    ]


def test_an_editable_install_in_place_is_refused(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(f'{PYPROJECT}\n[tool.scikit-build]\neditable.mode = "inplace"\n')
    assert "source-dir" in settings("wheel")["cmake"]
    assert "tool.scikit-build.editable.mode" in refused("editable")
    enter(PYPROJECT)
    monkeypatch.setenv("SKBUILD_EDITABLE_MODE", "inplace")
    assert "cannot be installed in editable mode in place" in refused("editable")


def test_what_is_for_development_is_refused_in_wheels(enter: Enter) -> None:
    define = "\n[tool.scikit-build.cmake.define]\nAOTBUILD_DEVELOP = "
    enter(f'{PYPROJECT}{define}"eager"\n')
    assert "a wheel cannot be built with AOTBUILD_DEVELOP" in refused("wheel")
    assert settings("editable")["cmake"]["define"]["AOTBUILD_RUNTIMES"] == "net=torch"
    alone = PYPROJECT.replace('dynamic = ["dependencies"]', 'dependencies = ["numpy"]')
    provider = '[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n'
    assert provider in alone
    alone = alone.replace(provider, "")
    enter(f'{alone}{define}"eager"\n')  # its wheel may require torch or not
    assert settings("editable")["cmake"]["define"]["AOTBUILD_RUNTIMES"] == "net=torch"
    enter(f'{PYPROJECT}{define}"eagr"\n')
    assert 'did you mean "eager"?' in refused("editable")


def test_cmake_reads_commands_in_any_case(enter: Enter) -> None:
    root = enter(PYPROJECT)
    (root / "CMakeLists.txt").write_text("find_package(AotBuild)\nAOTBUILD_ADD_MODELS()\n")
    assert "source-dir" not in settings("sdist")["cmake"]


def test_a_project_that_lost_its_declaration_is_refused(enter: Enter) -> None:
    enter(PYPROJECT[: PYPROJECT.index("[tool.aotbuild]")])
    block = refused()
    assert "no models are declared" in block
    assert "pyproject.toml: tool.aotbuild.models" in block
    assert "add a table for each model" in block


def test_a_missing_compiler_is_told_before_anything_runs(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(PYPROJECT)
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    block = refused()
    assert 'there is no C++ compiler "no-such-compiler"' in block
    assert "install g++" in block
    settings("sdist")
    settings("metadata_wheel")


def test_a_wrong_declaration_stops_the_build(enter: Enter) -> None:
    enter(edited("min = 1", "min = 65"))
    assert "pyproject.toml: tool.aotbuild.models.net.dims.batch.min" in refused()


def test_broken_toml_stops_the_build(enter: Enter) -> None:
    enter("[tool.aotbuild\n")
    assert "pyproject.toml is not valid TOML" in refused()


def test_dynamic_dependencies_without_the_provider_are_refused(enter: Enter) -> None:
    enter(edited(PROVIDER, ""))
    block = refused()
    assert "the wheel would not require torch" in block
    assert "pyproject.toml: project.dependencies" in block
    assert "nothing provides them" in block
    assert last_lines(block) == LINES_TO_PASTE


@pytest.mark.parametrize("dependencies", ["", 'dependencies = ["numpy", "torchvision>=0.28"]\n'])
def test_no_requirement_on_torch_is_refused_with_the_lines_to_paste(
    enter: Enter, dependencies: str
) -> None:
    enter(edited(PROVIDER, "", edited(DYNAMIC, dependencies)))
    block = refused()
    assert "the wheel would not require torch" in block
    assert last_lines(block) == LINES_TO_PASTE


def test_the_provider_without_dynamic_dependencies_is_refused(enter: Enter) -> None:
    enter(edited(DYNAMIC, ""))
    block = refused()
    assert "the dependencies are not dynamic" in block
    assert "pyproject.toml: project.dynamic" in block
    assert 'add dynamic = ["dependencies"] to [project]' in block


@pytest.mark.parametrize(
    "requirement", ["torch>=2.11,<2.13", "torch==2.12.*", "Torch<2.13", "torch!=2.13.0"]
)
def test_a_static_requirement_that_excludes_the_torch_of_the_build_is_refused(
    enter: Enter, requirement: str
) -> None:
    enter(edited(PROVIDER, "", edited(DYNAMIC, f'dependencies = ["{requirement}"]\n')))
    block = refused()
    assert "is built with torch 2.13.0+cpu" in block
    assert "pyproject.toml: project.dependencies" in block
    assert 'write "torch>=2.13,<2.14"' in block


@pytest.mark.parametrize(
    "requirement",
    [
        "torch>=2.13,<2.14",
        "torch==2.13.*",
        "torch",
        "torch==2.13.0",
        "torch<2; python_version < '3'",
    ],
)
def test_a_static_requirement_that_includes_the_torch_of_the_build_passes(
    enter: Enter, requirement: str
) -> None:
    others = f'dependencies = ["torch>=2", "{requirement}"]\n'
    enter(edited(PROVIDER, "", edited(DYNAMIC, others)))
    assert settings("wheel")["wheel"]["reproducible"] is True


def test_static_dependencies_may_stand_beside_the_dynamic_one(enter: Enter) -> None:
    enter(edited(DYNAMIC, f'{DYNAMIC}dependencies = ["numpy"]\n'))
    assert settings("wheel") != {}


@pytest.mark.parametrize("state", STATES)
def test_a_build_without_torch_is_refused(
    enter: Enter, torch_of_the_build: SetTorch, state: str
) -> None:
    enter(PYPROJECT)
    torch_of_the_build(None)
    block = refused(state)
    assert "torch is not installed in the build environment" in block
    assert "pyproject.toml: build-system.requires" in block
    assert 'install "torch==2.13.0"' in block


def test_an_sdist_needs_no_torch(enter: Enter, torch_of_the_build: SetTorch) -> None:
    enter(PYPROJECT)
    torch_of_the_build(None)
    assert settings("sdist")["sdist"]["force-include"]


@pytest.mark.parametrize("installed", ["2.12.1+cpu", "2.13.1", "2.14.0.dev20260801+cpu"])
def test_another_torch_than_the_pinned_one_is_refused(
    enter: Enter, torch_of_the_build: SetTorch, installed: str
) -> None:
    enter(PYPROJECT)
    torch_of_the_build(installed)
    block = refused()
    assert f'has torch {installed}, the project pins "torch==2.13.0"' in block
    assert 'install "torch==2.13.0", or change the pin to "torch==' in block
    assert "+cpu" not in block.rpartition("fix:")[2]


def test_a_prerelease_satisfies_the_pin_of_its_minor_version(
    enter: Enter, torch_of_the_build: SetTorch
) -> None:
    enter(edited('"torch==2.13.0"', '"torch==2.14.*"'))
    torch_of_the_build("2.14.0.dev20260801+cpu")
    assert settings("wheel") != {}


@pytest.mark.parametrize(
    ("installed", "requirement"),
    [
        ("2.13.0+cpu", "torch>=2.13,<2.14"),
        ("2.13.0", "torch>=2.13,<2.14"),
        ("2.13.2+cu130", "torch>=2.13,<2.14"),
        ("2.9.1", "torch>=2.9,<2.10"),
        ("3.0.0", "torch>=3.0,<3.1"),
        ("2.14.0.dev20260801+cpu", "torch>=2.14.0.dev0,<2.15"),
        ("2.14.0rc2", "torch>=2.14.0.dev0,<2.15"),
    ],
)
def test_the_provider_requires_the_minor_version_of_the_build(
    torch_of_the_build: SetTorch, installed: str, requirement: str
) -> None:
    torch_of_the_build(installed)
    assert dynamic_metadata({}, {"name": "demo"}) == {"dependencies": [requirement]}


def test_the_hook_for_pyinstaller_is_an_entry_point_where_those_are_dynamic(
    enter: Enter, torch_of_the_build: SetTorch
) -> None:
    torch_of_the_build("2.13.0")
    enter(PYPROJECT.replace('["dependencies"]', '["dependencies", "entry-points"]'))
    hooks = {"pyinstaller40": {"hook-dirs": "demo.models._pyinstaller:hook_dirs"}}
    assert dynamic_metadata({}, {})["entry-points"] == hooks
    # Not in the table that a hook gets, where an earlier provider may have filled them in.
    assert "entry-points" in dynamic_metadata({}, {"name": "demo", "dynamic": []})


@pytest.mark.parametrize(
    ("policy", "installed", "requirement"),
    [
        ("minor", "2.13.0+cpu", "torch>=2.13,<2.14"),
        ("exact", "2.13.0+cpu", "torch==2.13.0+cpu"),
        ("exact", "2.13.0", "torch==2.13.0"),
        ("symbols", "2.13.1", "torch>=2.13"),
        ("symbols", "2.14.0rc2", "torch>=2.14.0.dev0"),
    ],
)
def test_the_provider_follows_the_policy_of_the_project(
    enter: Enter, torch_of_the_build: SetTorch, policy: str, installed: str, requirement: str
) -> None:
    torch_of_the_build(installed)
    enter(edited('torch = "minor"', f'torch = "{policy}"'))
    assert dynamic_metadata({}, {}) == {"dependencies": [requirement]}
    assert SpecifierSet(requirement.removeprefix("torch")).contains(installed, prereleases=True)


def test_another_torch_outside_of_the_build_is_told(
    enter: Enter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outer = tmp_path / "lib"
    monkeypatch.setattr("aotbuild.hook.requirement.sysconfig.get_path", lambda _: str(outer))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    enter(PYPROJECT)
    for version, told in [("2.13.4", False), ("2.12.1+cu126", True)]:
        shutil.rmtree(outer, ignore_errors=True)
        information = outer / f"torch-{version}.dist-info" / "METADATA"
        information.parent.mkdir(parents=True)
        information.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        settings("wheel")
        said = capsys.readouterr().err
        assert ("aotbuild: warning: the wheel will require torch" in said) is told
    assert "torch 2.12.1+cu126 is installed" in said
    assert "the isolated build environment has torch 2.13.0+cpu" in said
    assert 'pin "torch==2.12.1" in build-system.requires' in said


def test_the_provider_gives_nothing_where_there_is_no_torch(torch_of_the_build: SetTorch) -> None:
    torch_of_the_build(None)
    assert dynamic_metadata({}, {}) == {"dependencies": []}


def test_the_provider_takes_no_settings() -> None:
    with pytest.raises(SystemExit, match="unknown key range"):
        dynamic_metadata({"range": ">=2"}, {})


def test_the_dependencies_of_a_wheel_follow_its_build() -> None:
    assert dynamic_wheel({}) == {"dependencies": True}


@pytest.mark.parametrize("built", ["2.13.0", "2.13.0+cpu", "2.14.0.dev20260801", "2.14.0rc1"])
def test_the_required_range_holds_the_build_and_not_the_next_minor_version(built: str) -> None:
    version = Version(built)
    allowed = SpecifierSet(runtime_range(version))
    assert allowed.contains(version)
    assert allowed.contains(f"2.{version.minor}.7")
    assert not allowed.contains(f"2.{version.minor + 1}.0", prereleases=True)
    assert not allowed.contains(f"2.{version.minor + 1}.0.dev20270101", prereleases=True)
    assert not allowed.contains(f"2.{version.minor - 1}.9", prereleases=True)


HOOK = """
import json, sys, time
import scikit_build_core.build, scikit_build_core.settings.skbuild_read_settings  # which calls it
start = time.process_time()  # which other processes do not lengthen
from aotbuild.hook.settings import settings
from aotbuild.hook.requirement import dynamic_metadata
table = settings("sdist")
dynamic_metadata({}, {})
seconds = time.process_time() - start
print(json.dumps([sorted(table), sorted(sys.modules), seconds]))
"""
HEAVY = ("torch", "numpy", "safetensors", "sympy", "aotbuild.steps", "aotbuild.runtime")


def heavy(modules: list[str]) -> list[str]:
    light = {
        "aotbuild.runtime",
        "aotbuild.runtime.dims",
        "aotbuild.runtime.records",
    }  # which imports the standard library
    return [
        name
        for name in modules
        if name not in light and (name in HEAVY or name.startswith(tuple(f"{h}." for h in HEAVY)))
    ]


def test_a_hook_imports_nothing_heavy(project: Path) -> None:
    table: list[str]
    table, modules, seconds = run_python(HOOK, cwd=project)
    assert "cmake" in table
    assert "aotbuild.config.project" in modules
    assert heavy(modules) == []
    assert seconds < 1


def test_a_hook_of_another_project_imports_next_to_nothing(project: Path) -> None:
    shutil.copy(project / "pyproject.toml", project / "unused.toml")
    (project / "pyproject.toml").write_text('[project]\nname = "other"\n')
    code = HOOK.replace("from aotbuild.hook.requirement import dynamic_metadata\n", "")
    code = code.replace("dynamic_metadata({}, {})\n", "")
    result: list[Any] = run_python(code, cwd=project)
    assert result[0] == []
    assert heavy(result[1]) == []
    assert not any(name.startswith("aotbuild.config") for name in result[1])


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["g++"], "g++"),
        (["/usr/bin/clang++-16", "-pipe"], "clang++-16"),
        (["ccache", "g++", "-pipe"], "g++"),
        (["/opt/bin/sccache", "/opt/bin/g++"], "g++"),
        (["ccache"], "c++"),
    ],
)
def test_the_compiler_is_told_apart_from_what_launches_it(command: list[str], name: str) -> None:
    assert compiler_name(command) == name


def test_a_missing_compiler_behind_a_launcher_is_told(
    enter: Enter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(PYPROJECT)
    launcher = tmp_path / "ccache"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("CXX", f"{launcher} no-such-compiler")
    assert 'there is no C++ compiler "no-such-compiler"' in refused()


def test_a_cache_mode_that_is_none_is_told_before_anything_is_built(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(PYPROJECT)
    monkeypatch.setenv("AOTBUILD_CACHE", "yes")
    assert 'there is no cache mode "yes"' in refused()
    settings("sdist")  # which needs none


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[[tool.dynamic-metadata]]", "[tool.dynamic-metadata]", "tool.dynamic-metadata"),
        ("[[tool.dynamic-metadata]]", "[[tool.dynamic_metadata]]", "tool.dynamic_metadata"),
        ('provider = "aotbuild"', 'Provider = "aotbuild"', "tool.dynamic-metadata"),
    ],
)
def test_an_entry_of_the_provider_that_is_not_read_is_told(old: str, new: str, place: str) -> None:
    with pytest.raises(RequirementError) as caught:
        check_torch_requirement(tomllib.loads(edited(old, new)), ">=2.13")
    block = caught.value.block()
    assert 'the entry with the provider "aotbuild" is read by nobody' in block
    assert f"where: pyproject.toml: {place}" in block
    assert '[[tool.dynamic-metadata]]\n         provider = "aotbuild"' in block
