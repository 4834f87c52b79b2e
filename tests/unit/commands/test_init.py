"""``aotbuild init``: what it finds, what it moves, and what it refuses."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from layouts import ARGUMENTS, LAYOUTS, NET, PARTS

from aotbuild.__main__ import main
from aotbuild.commands.init import command
from aotbuild.commands.init.backends.constraints import specifiers
from aotbuild.commands.init.classes import find_classes, is_part
from aotbuild.commands.init.document import Document
from aotbuild.config.wheel_packages import wheel_packages

Untraced = Callable[[int], None]


@pytest.fixture
def untraced(monkeypatch: pytest.MonkeyPatch) -> Untraced:
    """Lets the model's check end with a code, without tracing it."""

    def answer(code: int) -> None:
        monkeypatch.setattr(command, "_check", lambda *_: code)

    answer(0)
    return answer


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)


def files_of(root: Path) -> dict[str, bytes]:
    found = (file for file in root.rglob("*") if file.is_file())
    return {str(f.relative_to(root)): f.read_bytes() for f in found if "__pycache__" not in f.parts}


def declared(project: Path) -> dict[str, Any]:
    return tomllib.loads((project / "pyproject.toml").read_text("utf-8"))


def refused(root: Path, *arguments: str) -> str:
    """The block with which the command ends, having changed nothing."""
    before = files_of(root)
    with pytest.raises(SystemExit) as ended:
        main(["init", "--project", str(root), *arguments])
    assert files_of(root) == before
    return str(ended.value.code)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.usefixtures("untraced")
def test_each_layout_is_moved(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    project = layout.write(tmp_path)
    before = (project / "pyproject.toml").read_text() if layout.pyproject else ""
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
    table = declared(project)
    assert table["build-system"]["build-backend"] == "scikit_build_core.build"
    names = [re.split(r"[\W]", text)[0] for text in table["build-system"]["requires"]]
    others = {"setuptools_scm"} if name == "namespace" else set()
    assert set(names) - {"setuptools"} == {"scikit", "aotbuild", "torch"}
    assert ("setuptools" in names) == bool(others)
    model = table["tool"]["aotbuild"]["models"]["net"]
    assert model["source"] == f"{layout.name}.net:Tagger"
    assert model["dims"] == {"batch": {"min": 1, "max": 9}}
    assert table["tool"]["dynamic-metadata"][-1] == {"provider": "aotbuild"}
    assert "dependencies" in table["project"]["dynamic"]
    package = table["tool"]["aotbuild"].get("package", f"{layout.name}.models")
    assert package == layout.models
    packages = table["tool"].get("scikit-build", {}).get("wheel", {}).get("packages")
    placed = wheel_packages(project, table["project"]["name"], packages)
    top = layout.name.partition(".")[0]
    assert list(placed) == [top]
    assert (project / placed[top]).resolve() in [
        project / layout.package,
        *(project / layout.package).parents,
    ]
    for tool in ("setuptools", "hatch", "poetry", "flit"):
        left = set(table["tool"].get(tool, {})) - {"envs", "group"}
        assert left == set(), tool
    for line in before.splitlines():
        if "#" in line or line.startswith("[tool.mypy"):
            assert line in (project / "pyproject.toml").read_text()


@pytest.mark.usefixtures("untraced")
def test_metadata_of_poetry_becomes_that_of_pip(tmp_path: Path) -> None:
    project = LAYOUTS["poetry-flat"].write(tmp_path)
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
    table = declared(project)
    told = {key: value for key, value in table["project"].items() if key != "dynamic"}
    assert told == {
        "name": "tagger",
        "version": "1.2.3",
        "description": "Tags rows",
        "authors": [{"name": "Ada Example", "email": "ada@example.org"}],
        "license": "MIT",
        "keywords": ["tags"],
        "requires-python": ">=3.11,<4",
        "dependencies": ["packaging>=23.1,<24"],
        "optional-dependencies": {"edit": ["tomlkit>=0.12,<0.13"]},
        "scripts": {"tagger": "tagger.net:main"},
    }
    assert table["tool"]["poetry"] == {"group": {"dev": {"dependencies": {"pytest": "*"}}}}


@pytest.mark.parametrize(
    ("constraint", "wanted"),
    [
        ("*", ""),
        ("^1.2.3", ">=1.2.3,<2"),
        ("^1", ">=1,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^0.0", ">=0.0,<0.1"),
        ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1.2", ">=1.2,<1.3"),
        ("~1", ">=1,<2"),
        ("1.5", "==1.5"),
        ("1.*", "==1.*"),
        (">=2,<3", ">=2,<3"),
        (">= 2 , < 3", ">=2,<3"),
        (">=2 !=2.1", ">=2,!=2.1"),
        ("~=1.4", "~=1.4"),
    ],
)
def test_constraints_of_poetry(constraint: str, wanted: str) -> None:
    assert specifiers(constraint) == wanted


@pytest.mark.parametrize("constraint", ["^1.0 || ^2.0", "^x", "latest", ">=a"])
def test_what_specifiers_cannot_say(constraint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(constraint)):
        specifiers(constraint)


@pytest.mark.usefixtures("untraced")
def test_versions_are_found_where_they_were(tmp_path: Path) -> None:
    wanted = {
        "setuptools-src": {"provider": "scikit_build_core.metadata.regex", "field": "version"}
        | {"input": "src/tagger/__init__.py"},
        "hatchling-src": {"provider": "scikit_build_core.metadata.regex", "field": "version"}
        | {"input": "src/tagger/_about.py", "regex": 'TAG = "v(?P<value>[^"]+)"'},
        "namespace": {
            "provider": "scikit_build_core.metadata.setuptools_scm",
            "field": "version",
        },
    }
    for name, provider in wanted.items():
        project = LAYOUTS[name].write(tmp_path / name)
        assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
        table = declared(project)
        assert table["tool"]["dynamic-metadata"][0] == provider
        assert "version" in table["project"]["dynamic"]
    scm = declared(tmp_path / "namespace")["tool"]["setuptools_scm"]
    assert scm == {"version_file": "src/acme/tagger/_version.py"}


@pytest.mark.usefixtures("untraced")
def test_files_are_read_into_the_metadata(tmp_path: Path) -> None:
    project = LAYOUTS["setuptools-src"].write(tmp_path)
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
    table = declared(project)
    assert table["project"]["dependencies"] == ["packaging>=20"]
    assert table["project"]["readme"] == "README.md"
    assert sorted(table["project"]["dynamic"]) == ["dependencies", "version"]
    assert table["tool"]["scikit-build"]["wheel"]["exclude"] == ["tagger/internal*"]


@pytest.mark.usefixtures("untraced")
def test_a_cmake_project_gets_the_models(tmp_path: Path) -> None:
    project = LAYOUTS["c-extension"].write(tmp_path)
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
    text = (project / "CMakeLists.txt").read_text()
    assert text.endswith("\n\nfind_package(AotBuild REQUIRED)\naotbuild_add_models()\n")
    # A second model does not add them again.
    assert main(["init", "--project", str(project), *ARGUMENTS[:-1], "other"]) == 0
    assert (project / "CMakeLists.txt").read_text() == text
    assert list(declared(project)["tool"]["aotbuild"]["models"]) == ["net", "other"]


@pytest.mark.usefixtures("untraced")
def test_what_would_change_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = LAYOUTS["flit-flat"].write(tmp_path)
    before = files_of(project)
    assert main(["init", "--dry-run", "--project", str(project), *ARGUMENTS]) == 0
    assert files_of(project) == before
    out = capsys.readouterr().out.splitlines()
    assert '-build-backend = "flit_core.buildapi"' in out
    assert '+build-backend = "scikit_build_core.build"' in out
    assert "+[tool.aotbuild.models.net]" in out


@pytest.mark.usefixtures("untraced")
def test_on_a_terminal_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = LAYOUTS["hatchling-flat"].write(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    answers: Iterator[Any] = iter(["float32[batch,6]"])
    monkeypatch.setattr("click.prompt", lambda *_, **__: next(answers))
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    before = files_of(project)
    assert main(["init", "--project", str(project)]) == 0
    assert files_of(project) == before
    answers = iter(["float32[batch,6]"])
    monkeypatch.setattr("click.confirm", lambda *_, **__: True)
    assert main(["init", "--project", str(project)]) == 0
    model = declared(project)["tool"]["aotbuild"]["models"]["tagger"]
    assert model["inputs"] == {"rows": {"shape": ["batch", 6], "dtype": "float32"}}
    assert model["dims"] == {"batch": {"min": 1, "max": 64}}


def test_what_cannot_be_traced_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], untraced: Untraced
) -> None:
    project = LAYOUTS["c-extension"].write(tmp_path)
    before = files_of(project)
    untraced(1)
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 1
    assert files_of(project) == before
    assert capsys.readouterr().out.endswith(
        "nothing was changed: the model has to be traced first\n"
    )
    none = LAYOUTS["none"].write(tmp_path / "other")
    assert main(["init", "--project", str(none), *ARGUMENTS]) == 1
    assert not (none / "pyproject.toml").exists()


def test_the_model_is_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = LAYOUTS["hatchling-src"].write(tmp_path)
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "net standalone rows float32 [batch 1 to 9, 6] float32 [batch, 6] 84 336 B" in out
    assert "net is declared: pip wheel . builds it" in out
    before = files_of(project)
    wrong = [*ARGUMENTS[:-1], "again", "--input", "more=[1]"]
    assert main(["init", "--project", str(project), *wrong]) == 1
    assert files_of(project) == before
    assert 'forward() has no parameter "more"' in capsys.readouterr().err


def setup_py(text: str) -> Callable[[Path], None]:
    return written("setup.py", text)


def written(name: str, text: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).write_text(text)

    return change


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        file = root / "pyproject.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (
            "setuptools-flat",
            setup_py("from setuptools import setup\nsetup(ext_modules=[1])\n"),
            "setup.py does what init cannot move to scikit-build-core",
        ),
        (
            "setuptools-flat",
            setup_py("import setuptools\nsetuptools.setup(name='tagger')\n"),
            "what it tells setuptools is not in pyproject.toml",
        ),
        (
            "setuptools-flat",
            replaced("[project]\n", "[other]\n"),
            "the project has no [project] table",
        ),
        (
            "setuptools-flat",
            replaced("include-package-data = true", 'data-files = { share = ["a"] }'),
            "the project installs files outside its packages, which init cannot move",
        ),
        (
            "setuptools-src",
            replaced('"readme"]', '"readme", "scripts"]'),
            "setuptools finds scripts out in a way that init cannot move",
        ),
        (
            "setuptools-src",
            replaced("tagger.__version__", "tagger.net.version"),
            "the version of the project is not found",
        ),
        (
            "setuptools-src",
            written("requirements.txt", "-r other.txt\n"),
            '"-r other.txt" is no dependency',
        ),
        (
            "hatchling-src",
            replaced("[tool.hatch.envs.test]", "[tool.hatch.build.hooks.custom]\n[tool.other]"),
            "the project has build hooks of hatchling",
        ),
        (
            "hatchling-src",
            replaced("packages = ", "only-include = "),
            "the project names the files of the wheel one by one",
        ),
        (
            "poetry-flat",
            replaced('"^23.1"', '"^23.1 || ^24"'),
            "the dependency packaging = '^23.1 || ^24' cannot be written as pip reads it",
        ),
        (
            "poetry-flat",
            replaced('"^23.1"', '{ git = "https://example.org/a.git" }'),
            "cannot be written as pip reads it",
        ),
        (
            "poetry-flat",
            replaced(
                "[tool.poetry.group", '[tool.poetry.build]\nscript = "b.py"\n[tool.poetry.group'
            ),
            "the project has a build script of poetry",
        ),
        (
            "flit-flat",
            written("tagger/__init__.py", "__version__ = '1'\n"),
            "the description of the project is not found",
        ),
        (
            "flit-flat",
            replaced("flit_core.buildapi", "maturin"),
            'init knows nothing of the build backend "maturin"',
        ),
        (
            "uv-src",
            lambda root: (root / "src/tagger").rename(root / "src/other") and None,
            "there is no package tagger",
        ),
    ],
)
def test_what_cannot_be_moved_is_told(
    name: str, change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    project = LAYOUTS[name].write(tmp_path)
    change(project)
    assert said in refused(project, *ARGUMENTS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the shape of rows is not known"),
        (["--input", "rows"], '"rows" is no input'),
        (["--input", "rows=[1,,%]"], "is no input"),
        ([*ARGUMENTS, "--dim", "length=1..2"], 'no input has the dimension "length"'),
        ([*ARGUMENTS, "--dim", "batch=3..2"], '"batch=3..2" is no range of a dimension'),
        ([*ARGUMENTS, "--arg", "width"], '"width" is no argument'),
        ([*ARGUMENTS, "--weights", "net.safetensors"], "there is no file net.safetensors"),
        ([*ARGUMENTS, "--name", "a b"], '"a b" cannot be the name of a model'),
        (["Nothing", *ARGUMENTS], 'no class of torch.nn.Module is called "Nothing"'),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in refused(LAYOUTS["hatchling-flat"].write(tmp_path), *arguments)


@pytest.mark.usefixtures("untraced")
def test_a_model_is_not_declared_twice(tmp_path: Path) -> None:
    project = LAYOUTS["hatchling-flat"].write(tmp_path)
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0
    assert 'the model "net" is declared already' in refused(project, *ARGUMENTS)


@pytest.mark.usefixtures("untraced")
def test_of_several_classes_one_has_to_be_named(tmp_path: Path) -> None:
    project = LAYOUTS["hatchling-flat"].write(tmp_path)
    other = NET.replace("Tagger", "Speller").replace("from .parts import Block", "")
    (project / "tagger" / "other.py").write_text(other)
    said = refused(project, *ARGUMENTS)
    assert "the project has several classes of torch.nn.Module" in said
    assert "aotbuild init tagger.net:Tagger" in said
    assert main(["init", "Speller", "--project", str(project), *ARGUMENTS]) == 0
    assert declared(project)["tool"]["aotbuild"]["models"]["net"]["source"].endswith(":Speller")


@pytest.mark.usefixtures("untraced")
def test_a_constructor_gets_what_it_needs(tmp_path: Path) -> None:
    project = LAYOUTS["hatchling-flat"].write(tmp_path)
    net = project / "tagger" / "net.py"
    net.write_text(net.read_text().replace("width: int = 6", "width: int"))
    assert "Tagger() needs width" in refused(project, *ARGUMENTS)
    assert main(["init", "--project", str(project), *ARGUMENTS, "--arg", "width=6"]) == 0
    assert declared(project)["tool"]["aotbuild"]["models"]["net"]["kwargs"] == {"width": 6}


def test_classes_are_found_by_reading(tmp_path: Path) -> None:
    package = tmp_path / "found"
    (package / "sub").mkdir(parents=True)
    files = {
        "__init__.py": "from .base import Base as Exported\nraise SystemExit\n",
        "base.py": """
import torch.nn as n
from torch.nn import Module as M
class Base(n.Module):
    def __init__(self, size, *, scale, bias=True): ...
    def forward(self, x, mask, /, y=None, *, z): ...
class Bare(M): pass
class Plain:
    def forward(self, x): ...
""",
        "sub/__init__.py": "",
        "sub/more.py": """
from .. import Exported
from typing import Generic
class Inherits(Exported): ...
class Whole(Inherits):
    def __init__(self): self.part = Inherits(1, scale=2)
class Template(Generic[int], Exported): ...
""",
        "broken.py": "class X(:\n",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    found = {each.name: each for each in find_classes({"found": package})}
    assert set(found) == {"Base", "Inherits", "Whole", "Template"}
    assert found["Base"].source == "found.base:Base"
    assert found["Base"].needs == ("size", "scale")
    assert found["Whole"].needs == ()
    assert all(each.takes == ("x", "mask", "z") for each in found.values())
    assert is_part(found["Inherits"], found.values())
    assert not is_part(found["Whole"], found.values())


@pytest.mark.usefixtures("untraced")
def test_nothing_of_a_project_is_imported_to_find_classes(tmp_path: Path) -> None:
    project = LAYOUTS["hatchling-flat"].write(tmp_path)
    (project / "tagger" / "parts.py").write_text(f"{PARTS}\nraise SystemExit(3)\n")
    assert main(["init", "--project", str(project), *ARGUMENTS]) == 0


def test_a_document_keeps_what_it_is_not_told_to_change() -> None:
    text = (
        "# first\n[a]\nx = 1 # one\n\n[b.c] # two\ny = [1,  2]\n\n[build-system]\nrequires = []\n"
    )
    document = Document(text)
    document.set(("a", "z"), "new")
    document.remove("b", "c", "nothing")
    kept = document.text()
    assert kept.replace('z = "new"\n', "") == text
    document.remove("b", "c", "y")
    assert "b.c" not in document.text()
