"""The projects of the gallery without their weights; `make gallery` builds and uses them."""

from __future__ import annotations

import ast
import io
import runpy
import tokenize
import tomllib
from pathlib import Path

import pytest
from source_tree import REPOSITORY

from aotbuild.config.parse import parse_table
from aotbuild.config.schema import Config

GALLERY = REPOSITORY / "gallery"
PROJECTS = sorted(path.parent.name for path in GALLERY.glob("*/pyproject.toml"))
MOST = 40
"""Lines of code of a package."""

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def lines_of_code(file: Path) -> int:
    """How many lines of a module are neither empty nor comments nor docstrings."""
    text = file.read_text(encoding="utf-8")
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    docstrings = [
        node.body[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    ]
    told = {n for node in docstrings for n in range(node.lineno, (node.end_lineno or 0) + 1)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return len({token.start[0] for token in tokens if token.type not in _NO_CODE} - told)


def test_the_page_lists_all_projects() -> None:
    text = (GALLERY / "README.md").read_text(encoding="utf-8")
    assert len(PROJECTS) == 5
    for name in PROJECTS:
        assert f"\n| [{name}]({name}) |" in text


@pytest.mark.parametrize("name", PROJECTS)
def test_a_project_is_small_and_complete(name: str) -> None:
    project = GALLERY / name
    modules = list(project.glob("src/*/*.py"))
    assert 0 < sum(map(lines_of_code, modules)) < MOST
    assert (project / "use.py").is_file()
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    config = parse_table(Config, table["tool"]["aotbuild"], "tool.aotbuild")
    (model,) = config.models.values()
    module, _, _ = model.source.partition(":")
    assert (project / "src" / f"{module.replace('.', '/')}.py").is_file()
    assert model.weights is not None
    assert model.weights == fetched_weights(name) or (project / model.weights).is_file()


def fetched_weights(name: str) -> str:
    """Where the script puts the weights of a project."""
    sources = runpy.run_path(str(GALLERY / "fetch.py"))["SOURCES"]
    targets = [Path(source.target) for source in sources]
    weights = [path for path in targets if path.parts[0] == name and path.suffix != ".npy"]
    return str(Path(*weights[0].parts[1:])) if weights else ""
