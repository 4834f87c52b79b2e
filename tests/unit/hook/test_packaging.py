"""Wheels that would not have the declared models are refused, with lines that mend it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from samples import PYPROJECT, edited, write_project

from aotbuild.commands.check_packaging import check_packaging
from aotbuild.config.project import load_declared
from aotbuild.errors import AotBuildError
from aotbuild.hook import setuptools_builds
from aotbuild.hook.build_system import check_backend, check_requires
from aotbuild.hook.requirement import dynamic_metadata
from aotbuild.hook.settings import settings

pytestmark = pytest.mark.usefixtures("torch_of_the_build")

REQUIRES = 'requires = ["scikit-build-core>=1.1", "aotbuild", "torch==2.13.0"]'
BACKEND = 'build-backend = "scikit_build_core.build"\n'
TINY = edited('"demo"', '"tiny-conv"').replace('package = "demo.models"\n', "")
TINY = TINY.replace("demo.network", "tinyconv.network")

Enter = Callable[[str], Path]


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Writes a project with a package and makes it the current directory, as it is in a hook."""

    def write(text: str, *packages: str) -> Path:
        root = write_project(tmp_path / "project", text)
        for package in packages:
            (root / package).mkdir(parents=True)
            (root / package / "__init__.py").touch()
        monkeypatch.chdir(root)
        return root

    return write


def build_wheel(config_settings: dict[str, Any] | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Stands for the PEP 517 hook, which has this name and this parameter."""
    return settings("wheel")


def refused(call: Callable[[], object] = build_wheel) -> str:
    """The block with which a build stops; ``check`` says the same."""
    with pytest.raises(SystemExit) as caught:
        call()
    block = str(caught.value.code)
    assert block.startswith("aotbuild: error: ")
    assert "unexpected" not in block
    return block


def refused_by_both() -> str:
    block = refused()
    with pytest.raises(AotBuildError) as caught:
        check_packaging(Path.cwd())
    assert caught.value.block() == block
    return block


def lines_of(block: str) -> list[str]:
    """The lines to write, without the sentence before them."""
    return [line.strip() for line in block[block.index("fix:") + 4 :].splitlines()][1:]


# The package of the models.


@pytest.mark.parametrize(
    ("name", "directory", "package"),
    [
        ("tiny-conv", "src/tiny_conv", "tiny_conv.models"),
        ("tiny-conv", "python/tiny_conv", "tiny_conv.models"),
        ("tiny.conv", "tiny/conv", "tiny.conv.models"),
        ("Acme.Vision-Net", "src/Acme_Vision_Net", "Acme_Vision_Net.models"),
        ("Acme.Vision-Net", "src/Acme/Vision_Net", "Acme.Vision_Net.models"),
    ],
)
def test_the_default_follows_the_package_that_is_found(
    enter: Any, name: str, directory: str, package: str
) -> None:
    enter(TINY.replace('"tiny-conv"', f'"{name}"'), directory)
    check_packaging(Path.cwd())
    assert load_declared(Path.cwd()).package == package
    assert build_wheel() != {}


@pytest.mark.parametrize(
    ("name", "directory", "source", "package"),
    [
        ("tiny-conv", "src/tinyconv", "tinyconv.network:Net", "tinyconv.models"),
        ("tiny-conv", "tinyconv", "tinyconv.network:Net", "tinyconv.models"),
        ("tiny-conv", "src/tinyconv", "torch.nn:ReLU", "tinyconv.models"),
        ("acme-vision", "src/acme/vision", "acme.vision.net:Net", "acme.vision.models"),
        ("acme-vision", "acme/vision", "acme.vision.net:Net", "acme.vision.models"),
        ("Acme.Vision-Net", "src/acme_vision_net", "acme_vision_net:Net", "acme_vision_net.models"),
        ("Acme.Vision-Net", "src/acme/vision_net", "torch.nn:ReLU", "acme.vision_net.models"),
        ("tiny-conv", "src/other", "other.network:Net", "other.models"),
        ("tiny-conv", "src/other", "other.sub.network:Net", "other.models"),
    ],
)
def test_a_package_that_is_not_in_the_wheel_is_refused_and_the_lines_mend_it(
    enter: Any, name: str, directory: str, source: str, package: str
) -> None:
    text = TINY.replace('"tiny-conv"', f'"{name}"').replace("tinyconv.network:Net", source)
    root = enter(text, directory)
    block = refused_by_both()
    assert f"the package {package.removesuffix('.models')} is not in the wheel" in block
    assert "scikit-build-core looks for" in block
    table, line, alternative = lines_of(block)
    for lines in (f"{table}\n{line}", f"{table}\n{alternative.rpartition(': ')[2]}"):
        (root / "pyproject.toml").write_text(f"{text}\n{lines}\n")
        check_packaging(root)
        assert build_wheel() != {}
    (root / "pyproject.toml").write_text(f"{text}\n{table}\n{line}\n")
    assert load_declared(root).package == package


def test_a_package_of_training_code_beside_the_models_is_warned_of(
    enter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = edited('package = "demo.models"\n', "").replace("demo.network", "training.network")
    root = enter(text, "training")
    assert build_wheel() != {}
    assert "aotbuild: warning: the package training is not in the wheel" in capsys.readouterr().err
    (root / "pyproject.toml").write_text(f"{text}\n[tool.scikit-build]\nwheel.packages = []\n")
    assert build_wheel() != {}
    assert "training" not in capsys.readouterr().err


def test_a_package_that_the_list_leaves_out_is_refused(enter: Any) -> None:
    text = f'{PYPROJECT}\n[tool.scikit-build]\nwheel.packages = ["src/other"]\n'
    root = enter(text, "src/other", "src/demo")
    block = refused_by_both()
    assert "the package demo is not in the wheel" in block
    line = lines_of(block)[1]
    assert line == 'wheel.packages = ["src/other", "src/demo"]'
    (root / "pyproject.toml").write_text(text.replace('wheel.packages = ["src/other"]', line))
    assert build_wheel() != {}


@pytest.mark.parametrize("parent", ["tiny_conv", "TinyConv"])
def test_models_in_a_package_of_another_spelling_are_refused(enter: Any, parent: str) -> None:
    text = TINY.replace("[tool.aotbuild]\n", f'[tool.aotbuild]\npackage = "{parent}.nets"\n')
    text += '\n[tool.scikit-build]\nwheel.packages = ["src/tinyconv"]\n'
    root = enter(text, "src/tinyconv")
    block = refused_by_both()
    assert 'write package = "tinyconv.nets"' in block
    (root / "pyproject.toml").write_text(text.replace(f'"{parent}.nets"', '"tinyconv.nets"'))
    assert build_wheel() != {}


def test_of_several_packages_that_of_the_project_or_of_the_sources_is_taken(enter: Any) -> None:
    both = '\n[tool.scikit-build]\nwheel.packages = ["src/tinyconv", "src/tools"]\n'
    root = enter(TINY + both, "src/tinyconv", "src/tools")
    assert load_declared(root).package == "tinyconv.models"
    text = (TINY + both).replace('"tiny-conv"', '"things"')
    (root / "pyproject.toml").write_text(text)
    assert load_declared(root).package == "tinyconv.models"
    text = text.replace("tinyconv.network:Net", "torch.nn:ReLU")
    (root / "pyproject.toml").write_text(text)
    block = refused()
    assert "the wheel has several packages: tinyconv, tools" in block
    for line in lines_of(block):
        (root / "pyproject.toml").write_text(
            edited("[tool.aotbuild]", f"[tool.aotbuild]\n{line}", text)
        )
        assert build_wheel() != {}


def test_models_may_have_a_package_of_their_own(enter: Any) -> None:
    root = enter(
        TINY.replace("[tool.aotbuild]\n", '[tool.aotbuild]\npackage = "nets"\n'), "tiny_conv"
    )
    check_packaging(root)
    assert build_wheel() != {}


def test_a_package_without_an_init_is_not_taken_by_itself(enter: Any) -> None:
    text = edited('package = "demo.models"\n', "").replace("demo.network", "demo.code")
    root = enter(text)
    (root / "src" / "demo").mkdir(parents=True)
    (root / "src" / "demo" / "code.py").touch()
    block = refused_by_both()
    assert "the package demo is not in the wheel" in block
    assert "src/demo has none" in block
    table, line = lines_of(block)
    (root / "pyproject.toml").write_text(f"{text}\n{table}\n{line}\n")
    assert build_wheel() != {}
    (root / "pyproject.toml").write_text(text)
    (root / "src" / "demo" / "__init__.py").touch()
    check_packaging(root)
    assert load_declared(root).package == "demo.models"


@pytest.mark.parametrize("directory", ["", "src/"])
def test_models_cannot_be_inside_of_a_module(enter: Any, directory: str) -> None:
    text = edited('package = "demo.models"\n', "").replace("demo.network:", "demo:")
    root = enter(text)
    (root / "src").mkdir()
    (root / f"{directory}demo.py").touch()
    block = refused_by_both()
    assert "the module demo is not in the wheel" in block
    assert 'add to [tool.aotbuild]: package = "demo_models"' in block
    table, line = lines_of(block)[-2:]
    listed = f"{text}\n{table}\n{line}\n"
    (root / "pyproject.toml").write_text(listed)
    block = refused_by_both()
    assert 'why:   "demo" is a module in the wheel, and no package' in block
    own = block.rpartition(": ")[2]
    listed = edited("[tool.aotbuild]\n", f"[tool.aotbuild]\n{own}\n", listed)
    (root / "pyproject.toml").write_text(listed)
    check_packaging(root)
    assert load_declared(root).package == "demo_models"


@pytest.mark.parametrize(
    ("packages", "said", "line"),
    [
        ('["src/dmo"]', '"src/dmo" does not exist', 'did you mean "src/demo"?'),
        ('["src/*"]', '"src/*" does not exist', 'did you mean "src/demo"?'),
        ('{ demo = "lib/demo" }', '"lib/demo" does not exist', 'did you mean "src/demo"?'),
        ('["src"]', "the package src.demo, and none", 'wheel.packages = ["src/demo"]'),
        ('"src/demo"', "Expected typing.Union[list[str], dict[str, str]", "wheel.packages"),
    ],
)
def test_directories_that_are_no_package_of_the_wheel_are_refused(
    enter: Any, packages: str, said: str, line: str
) -> None:
    text = edited('package = "demo.models"\n', "")
    root = enter(f"{text}\n[tool.scikit-build]\nwheel.packages = {packages}\n", "src/demo")
    block = refused_by_both()
    assert said in block
    assert line in block
    mended = f'{text}\n[tool.scikit-build]\nwheel.packages = ["src/demo"]\n'
    (root / "pyproject.toml").write_text(mended)
    check_packaging(root)


def test_the_whole_project_as_a_package_is_accepted(enter: Any) -> None:
    text = edited('package = "demo.models"\n', "")
    root = enter(f'{text}\n[tool.scikit-build]\nwheel.packages = ["."]\n', "demo")
    check_packaging(root)
    assert load_declared(root).package == "demo.models"


def test_a_package_that_cmake_makes_may_be_missing(enter: Any) -> None:
    root = enter(f'{PYPROJECT}\n[tool.scikit-build]\nwheel.packages = ["gen/demo"]\n')
    assert '"gen/demo" does not exist' in refused_by_both()
    (root / "CMakeLists.txt").write_text("find_package(AotBuild)\naotbuild_add_models()\n")
    check_packaging(root)


@pytest.mark.parametrize("package", ["json", "json.models", "platform.nets", "torch.models"])
def test_names_that_import_finds_elsewhere_are_refused(enter: Any, package: str) -> None:
    root = enter(edited('"demo.models"', f'"{package}"'), "demo")
    block = refused_by_both()
    assert f'"{package}" cannot be the package of the compiled models' in block
    line = block.rpartition(": ")[2]
    (root / "pyproject.toml").write_text(edited('package = "demo.models"', line))
    check_packaging(root)


def test_a_project_that_cannot_be_imported_by_its_name_is_told_the_package(enter: Any) -> None:
    root = enter(TINY.replace('"tiny-conv"', '"3d-conv"'), "src/tinyconv")
    line = refused().rpartition(": ")[2]
    assert line == 'package = "tinyconv.models"'
    text = edited("[tool.aotbuild]\n", f"[tool.aotbuild]\n{line}\n", TINY)
    (root / "pyproject.toml").write_text(text.replace('"tiny-conv"', '"3d-conv"'))
    assert "the package tinyconv is not in the wheel" in refused()
    (root / "pyproject.toml").write_text(edited('name = "demo"\n', "").replace("package", "# "))
    assert 'fix:   add to [project]: name = "digits"' in refused()


def test_a_package_that_is_nearly_that_of_the_wheel_is_warned_of(
    enter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(edited('"demo.models"', '"dmeo.models"'), "demo")
    assert build_wheel() != {}
    assert 'fix:   did you mean "demo.models"?' in capsys.readouterr().err


# What scikit-build-core is told.

NOT_IN_THE_WHEEL = [
    ("wheel.cmake=false", "wheel.cmake = false", "switches CMake off"),
    ("wheel.platlib=false", "wheel.platlib = false", "tagged as one of pure Python"),
    ("build.targets=ext", 'build.targets = ["ext"]', 'build.targets = ["ext", "aotbuild_models"]'),
    ("wheel.exclude=*.so", 'wheel.exclude = ["*.so"]', 'the pattern "*.so" takes files'),
    ("install.targets=ext", 'install.targets = ["ext"]', 'install.targets = ["ext", "install"]'),
    ("wheel.exclude=*test*", 'wheel.exclude = ["*test*"]', "it matches demo/models/_runtime/self"),
    ("wheel.exclude=__main__.py", 'wheel.exclude = ["__main__.py"]', "it matches demo/models/__m"),
    ("wheel.exclude=joining.py", 'wheel.exclude = ["joining.py"]', "demo/models/_runtime/joining"),
    ("wheel.exclude=models", 'wheel.exclude = ["models"]', "it matches demo/models/__init__.py"),
    ("wheel.exclude=*.json", 'wheel.exclude = ["*.json"]', "it matches demo/models/net/model.json"),
]


@pytest.mark.parametrize(("option", "line", "said"), NOT_IN_THE_WHEEL)
def test_settings_that_leave_the_models_out_are_refused(
    enter: Any, monkeypatch: pytest.MonkeyPatch, option: str, line: str, said: str
) -> None:
    enter(f"{PYPROJECT}\n[tool.scikit-build]\n{line}\n", "demo")
    assert said in refused_by_both()
    enter(PYPROJECT)
    key, _, value = option.partition("=")
    assert said in refused(lambda: build_wheel({key: value}))
    assert said in refused(lambda: build_wheel({f"skbuild.{key}": value}))
    enter(PYPROJECT + f'\n[[tool.scikit-build.overrides]]\nif.state = "wheel"\n{line}\n')
    assert said in refused_by_both()
    enter(PYPROJECT)
    monkeypatch.setenv(f"SKBUILD_{key.replace('.', '_').upper()}", value)
    assert said in refused_by_both()


@pytest.mark.parametrize("pattern", ["*.so", "models", "*.json", "**/*.py"])
def test_the_pattern_that_keeps_the_models_does(enter: Any, pattern: str) -> None:
    text = f'{PYPROJECT}\n[tool.scikit-build]\nwheel.exclude = ["{pattern}"]\n'
    root = enter(text, "demo")
    line = refused().rpartition("or: ")[2]
    (root / "pyproject.toml").write_text(f"{PYPROJECT}\n[tool.scikit-build]\n{line}\n")
    assert build_wheel() != {}


def test_what_leaves_the_models_alone_is_accepted(enter: Any) -> None:
    enter(
        f"{PYPROJECT}\n[tool.scikit-build]\n"
        'wheel = { exclude = ["*.c", "/src"], install-dir = "demo" }\n'
        'install = { components = ["python"], targets = ["x"], strip = true }\n'
        'build.targets = ["ext", "aotbuild_models"]\n',
        "demo",
    )
    check_packaging(Path.cwd())
    assert build_wheel() != {}


def test_an_editable_install_in_place_by_an_option_is_refused(enter: Any) -> None:
    enter(PYPROJECT, "demo")

    def build_editable(config_settings: dict[str, str]) -> object:  # noqa: ARG001
        return settings("editable")

    block = refused(lambda: build_editable({"editable.mode": "inplace"}))
    assert "cannot be installed in editable mode in place" in block


def test_a_source_directory_that_is_not_there_is_told(enter: Any) -> None:
    enter(f'{PYPROJECT}\n[tool.scikit-build]\ncmake.source-dir = "nowhere"\n', "demo")
    assert '"nowhere" has no CMakeLists.txt' in refused_by_both()


def test_a_wrong_setting_of_scikit_build_core_is_told(enter: Any) -> None:
    enter(f'{PYPROJECT}\n[tool.scikit-build]\nwheel.exclude = "*.so"\n', "demo")
    assert "got str (Field tool.scikit-build.wheel.exclude)" in refused_by_both()
    enter(f"{PYPROJECT}\n[tool.scikit-build]\nwheel.pakages = []\n")
    assert "scikit-build-core cannot read its settings" in refused_by_both()


def test_a_build_without_our_settings_is_refused(
    enter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = enter(PYPROJECT, "demo")
    monkeypatch.setenv("SKBUILD_NO_ENTRYPOINT_CONFIG", "1")
    block = refused(lambda: dynamic_metadata({}, {}))
    assert "the wheel would have no compiled models" in block
    assert "environment: SKBUILD_NO_ENTRYPOINT_CONFIG" in block
    with pytest.raises(AotBuildError, match="no compiled models"):
        check_packaging(root)
    (root / "CMakeLists.txt").write_text("\n".join(lines_of(block)))
    assert dynamic_metadata({}, {}) != {}


# What the frontend is told.

BACKENDS = [
    "setuptools.build_meta",
    "setuptools.build_meta:__legacy__",
    "hatchling.build",
    "flit_core.buildapi",
    "poetry.core.masonry.api",
    "maturin",
    "mesonpy",
    "pdm.backend",
    "uv_build",
    "scikit_build_core.setuptools.build_meta",
]


@pytest.mark.parametrize("backend", ["", *BACKENDS])
def test_a_backend_that_never_calls_us_is_refused(enter: Any, backend: str) -> None:
    written = f'build-backend = "{backend}"\n' if backend else ""
    text = edited(BACKEND, written).replace(REQUIRES, 'requires = ["setuptools>=61", "wheel"]')
    root = enter(text, "demo")
    with pytest.raises(AotBuildError) as caught:
        check_packaging(root)
    block = caught.value.block()
    assert "pyproject.toml: build-system.build-backend" in block
    assert "the wheel would have no compiled models" in block
    assert (backend or "no build backend is given") in block
    assert lines_of(block) == ["[build-system]", REQUIRES, BACKEND.strip()]


@pytest.mark.parametrize(
    "backend", ["scikit-build-core.build", "scikit_build_core.buid", "poetry_core", "skbuild.build"]
)
def test_a_backend_that_nobody_has_is_refused(enter: Any, backend: str) -> None:
    text = edited('"scikit_build_core.build"', f'"{backend}"')
    if not backend.startswith("scikit"):
        text = text.replace(REQUIRES, 'requires = ["poetry-core"]')
    root = enter(text, "demo")
    with pytest.raises(AotBuildError, match=f'the build backend is "{backend}"') as caught:
        check_packaging(root)
    assert lines_of(caught.value.block())[-1] == BACKEND.strip()


def test_a_build_by_setuptools_is_stopped(enter: Any) -> None:
    enter(edited(BACKEND, ""), "demo")
    assert "no build backend is given" in refused(lambda: setuptools_builds.refuse(object()))
    enter(PYPROJECT)
    setuptools_builds.refuse(object())
    enter('[project]\nname = "other"\n# not aotbuild\n')
    setuptools_builds.refuse(object())


def test_a_local_backend_that_wraps_ours_is_accepted(
    enter: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    local = 'build-backend = "local"\nbackend-path = ["_build"]\n'
    root = enter(edited(BACKEND, local), "demo")
    (root / "_build").mkdir()
    for text in (
        "from scikit_build_core.build import *\n",
        "import scikit_build_core.build as wrapped\n",
        "from scikit_build_core import build\n",
    ):
        (root / "_build" / "local.py").write_text(text)
        check_packaging(root)
    (root / "_build" / "local.py").write_text("from setuptools.build_meta import *\n")
    with pytest.raises(AotBuildError, match='the build backend is "local"'):
        check_packaging(root)
    capsys.readouterr()
    check_backend(tomllib.loads(edited('"scikit_build_core.build"', '"elsewhere.api"')), root)
    assert "cannot be found out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        ('"scikit-build-core>=1.1", "torch==2.13.0"', "aotbuild is not listed"),
        ('"aotbuild", "torch==2.13.0"', "scikit-build-core is not listed"),
        ('"scikit-build-core>=1.1", "aotbuild"', "torch is not listed"),
        ('"Aotbuild[x]>=0.1"', "scikit-build-core and torch are not listed"),
        ("", "scikit-build-core, aotbuild and torch are not listed"),
        ('"scikit-build-core", "aotbuild", "pytorch==2.13.0"', "torch is not listed"),
        ('"scikit-build-core", "aotbuild", "torch=2.13.0"', "torch is not listed"),
        ('"scikit-build-core", "aot-build", "torch==2.13.0"', "aotbuild is not listed"),
        ('"scikit-build-core<1", "aotbuild", "torch==2.13.0"', "excludes the versions of scikit"),
        ('"scikit-build-core==0.10.*", "aotbuild", "torch==2.13.0"', "aotbuild requires scikit"),
        ('"scikit-build-core", "aotbuild", "torch==2.13.0", 5', "are not a list of strings"),
        ('"scikit-build-core", "aotbuild", "torch"', '"torch" does not pin torch'),
        ('"scikit-build-core", "aotbuild", "torch>=2"', '"torch>=2" does not pin torch'),
        ('"scikit-build-core", "aotbuild", "torch>=2.12,<3"', "does not pin torch"),
        ('"scikit-build-core", "aotbuild", "torch~=2.13"', "does not pin torch"),
        ('"scikit-build-core", "aotbuild", "torch!=2.12"', "does not pin torch"),
        ('"scikit-build-core", "aotbuild", "torch<2.14"', "does not pin torch"),
        ('"scikit-build-core", "aotbuild", "torch==2.*"', "does not pin torch"),
    ],
)
def test_requirements_of_the_build_are_checked_and_the_line_mends_them(
    enter: Any, requires: str, said: str
) -> None:
    text = edited(REQUIRES, f"requires = [{requires}]")
    root = enter(text, "demo")
    block = refused_by_both()
    assert said in block
    assert "pyproject.toml: build-system.requires" in block
    line = block.rpartition("write: ")[2]
    assert all(Requirement(text) for text in tomllib.loads(line)["requires"])
    assert not {"pytorch", "aot-build"} & {
        Requirement(text).name for text in tomllib.loads(line)["requires"]
    }
    (root / "pyproject.toml").write_text(edited(f"requires = [{requires}]", line, text))
    check_packaging(root)
    assert build_wheel() != {}


@pytest.mark.parametrize(
    "pin",
    [
        *("==2.13.0", "==2.13.*", "~=2.13.0", ">=2.13,<2.14", "==2.13.0+cpu", "===2.13.0"),
        *(">=2.13.1,<2.14", " @ file:///wheels/torch.whl"),
    ],
)
def test_pins_of_one_minor_version_are_accepted(pin: str) -> None:
    check_requires(tomllib.loads(PYPROJECT.replace("torch==2.13.0", f"torch{pin}")))


# The project, and names of tables.


def test_two_ways_of_dynamic_metadata_are_refused_and_the_lines_mend_it(enter: Any) -> None:
    legacy = (
        '[tool.scikit-build.metadata.version]\nprovider = "scikit_build_core.metadata.regex"\n'
        'input = "demo/__init__.py"\nregex = \'^__version__ ?= ?"(?P<value>.+?)"\'\n'
    )
    text = edited('version = "1.0"\n', "").replace('["dep', '["version", "dep')
    root = enter(f"{text}\n{legacy}", "demo")
    block = refused_by_both()
    lines = "\n".join(lines_of(block))
    (entry,) = tomllib.loads(lines)["tool"]["dynamic-metadata"]
    assert entry == {
        "field": "version",
        **tomllib.loads(legacy)["tool"]["scikit-build"]["metadata"]["version"],
    }
    (root / "pyproject.toml").write_text(f"{text}\n{lines}\n")
    check_packaging(root)


@pytest.mark.parametrize("given", ["", ">=3.9", ">=3.10,<4", ">2.7", "!=3.11.*"])
def test_pythons_that_the_wheel_is_not_for_are_warned_of(
    enter: Any, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    line = 'requires-python = ">=3.11"\n'
    root = enter(edited(line, f'requires-python = "{given}"\n' if given else ""), "demo")
    build_wheel()
    told = capsys.readouterr().err
    assert "aotbuild: warning: " in told
    assert "pyproject.toml: project.requires-python" in told
    check_packaging(root)
    assert capsys.readouterr().err == told
    assert line.strip() in told


@pytest.mark.parametrize("given", ["3.11", "^3.11", "python>=3.11"])
def test_what_is_no_version_specifier_is_refused(enter: Any, given: str) -> None:
    root = enter(edited(">=3.11", given), "demo")
    block = refused_by_both()
    assert f'"{given}" is not a version specifier' in block
    line = block.rpartition("write: ")[2]
    (root / "pyproject.toml").write_text(edited('requires-python = ">=3.11"', line))
    check_packaging(root)


@pytest.mark.parametrize("given", [">=3.11", ">=3.12", "==3.13.*", "~=3.11", ">3.11"])
def test_pythons_of_the_wheel_are_accepted(
    enter: Any, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    enter(edited(">=3.11", given), "demo")
    build_wheel()
    assert "requires-python" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["aotbuilt", "aot-build", "aotbuid", "AOTBuild", "aot_build", "aotbiuld", "aotbuilds"]
)
def test_a_misspelt_table_is_refused(enter: Any, name: str) -> None:
    text = PYPROJECT.replace("[tool.aotbuild", f"[tool.{name}")
    root = enter(text, "demo")
    block = refused_by_both()
    assert f"pyproject.toml: tool.{name}" in block
    assert "did you mean [tool.aotbuild]?" in block
    (root / "pyproject.toml").write_text(text.replace(f"[tool.{name}", "[tool.aotbuild"))
    assert build_wheel() != {}
    (root / "pyproject.toml").write_text(f'{PYPROJECT}\n[tool.{name}.models.two]\nsource = "a:B"\n')
    assert f"pyproject.toml: tool.{name}" in refused_by_both()


@pytest.mark.parametrize(
    "name",
    [
        *("tools.aotbuild", "aotbuild", "Tool.aotbuild", "tool.aot.build"),
        *("project.tool.aotbuild", "tool.scikit-build.aotbuild"),
    ],
)
def test_a_table_in_another_place_is_refused(enter: Any, name: str) -> None:
    enter(PYPROJECT.replace("[tool.aotbuild", f"[{name}"), "demo")
    assert f"[{name}] is read by nobody" in refused_by_both()


@pytest.mark.parametrize(
    "text",
    [
        '[project]\nname = "other"\n[tool.uv.sources]\naotbuild = { path = "../aotbuild" }\n',
        '[project]\nname = "other"\n[tool.aotbuilder]\nx = 1\n',
        '[project]\nname = "other"\n[tool.autobuild.models.x]\ny = 1\n',
        '[project]\nname = "other"\n[tool.aot-bundle]\nmodels = "x"\n',
    ],
)
def test_tables_of_others_are_left_alone(enter: Any, text: str) -> None:
    enter(text)
    assert build_wheel() == {}
