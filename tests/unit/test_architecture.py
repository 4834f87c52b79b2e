"""docs/architecture.md shows the code as it is: steps, files, folders, and what imports what."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
from samples import PYPROJECT, edited, write_project
from source_tree import (
    MODULES,
    REPOSITORY,
    circle,
    code,
    import_graph,
    page,
    section,
    table,
)

from aotbuild import target
from aotbuild.steps import __main__ as steps
from aotbuild.steps.run import MODULES as STEPS

TEXT = page("docs/architecture.md")
GRAPH = import_graph()


def place(module: str) -> str:
    """The path of a module's file in the repository."""
    return MODULES[module].relative_to(REPOSITORY).as_posix()


def folder(module: str) -> str:
    """The folder of a module's file in the repository."""
    return MODULES[module].parent.relative_to(REPOSITORY).as_posix()


def test_every_path_that_is_named_exists() -> None:
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    named = {path for path in code(prose) if path.startswith(("aotbuild/", "tests/"))}
    named |= set(re.findall(r"\baotbuild/[\w/]+", section(TEXT, "From TOML to a call")))
    assert len(named) > 20
    missing = [path for path in sorted(named) if "*" not in path and not is_there(path)]
    assert missing == []


def is_there(path: str) -> bool:
    """Whether the repository has a file or a folder."""
    return (REPOSITORY / path).exists()


def test_the_diagram_has_the_steps_and_the_files_that_the_plan_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = edited("devices =", "tune = true\ndevices =", PYPROJECT)
    flags = {flag for each in target.TARGETS.values() for flag in each.flags}
    monkeypatch.setattr("aotbuild.target._flags", lambda: flags)
    root = write_project(tmp_path / "project", everything)
    monkeypatch.chdir(tmp_path)
    steps.main(["plan", str(root), "--all"])
    commands = json.loads((tmp_path / "plan.json").read_text())["commands"]
    made = {file: c["step"] for c in commands for file in (c["output"], *c["others"])}
    edges = defaultdict(set)
    for command in commands:
        for file in command["depends"]:
            edges[made[file], command["step"]].add(Path(file).name)
    if target.this_architecture() != "x86_64":
        pytest.skip("one CPU level: there is no step that compares levels")
    drawn = re.findall(r"^ +(\w+) -->\|(.+)\| (\w+)$", TEXT, re.MULTILINE)
    assert {(start, end): set(files.split(", ")) for start, files, end in drawn} == edges


def test_the_diagram_has_each_step_with_its_folder() -> None:
    drawn = dict(re.findall(r"^ +(\w+)\[\w+: (\S+)\]$", TEXT, re.MULTILINE))
    assert drawn.pop("plan") == "aotbuild/steps/plan"
    assert drawn == {step: folder(module) for step, module in STEPS.items()}
    (planned,) = re.findall(r"plan -.->\|.+\| (.+)$", TEXT, re.MULTILINE)
    assert planned.split(" & ") == list(STEPS)
    assert [code(row[0])[0] for row in table(section(TEXT, "The steps"))] == list(STEPS)


FLOORS = {
    part: int(row[0])
    for row in table(section(TEXT, "What may import what"))
    for part in code(row[1])
}


def part_of(module: str) -> str:
    """The part that a module belongs to: the longest path in the table that it is in."""
    path = place(module)
    return max((part for part in FLOORS if Path(path).is_relative_to(part)), key=len, default="")


def test_every_module_has_a_floor_and_every_floor_a_module() -> None:
    parts = {name: part_of(name) for name in MODULES}
    assert [name for name, part in parts.items() if not part] == []
    assert set(FLOORS) == set(parts.values())
    assert list(FLOORS.values()) == sorted(FLOORS.values())


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    own = part_of(module)
    climbing = [
        name
        for name in sorted(GRAPH[module])
        if part_of(name) != own and FLOORS[part_of(name)] >= FLOORS[own]
    ]
    assert climbing == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(GRAPH) == []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_the_graph_has_imports_of_every_kind() -> None:
    assert "aotbuild.runtime.manifest" in GRAPH["aotbuild.runtime.model"]  # relative
    assert "aotbuild.steps.plan.plan" in GRAPH["aotbuild.steps.__main__"]  # in a function
    assert "aotbuild.config.project" in GRAPH["aotbuild.hook.settings"]  # for types
    assert sum(map(len, GRAPH.values())) > len(MODULES)


def test_each_file_of_a_package_that_the_readme_lists_has_an_origin() -> None:
    rows = table(section(TEXT, "Where each file of a wheel comes from"))
    named = [name for row in rows for name in code(row[0])]
    names = {"<model>": "net", "<target>": "cpu-x86-64-v*"}
    for placeholder, value in names.items():
        named = [name.replace(placeholder, value) for name in named]
    listed = re.findall(r"^digits/models/(\S+)  ", page("README.md"), re.MULTILINE)
    assert len(listed) > 5
    for name in listed:
        assert any(each.startswith(name) for each in named), name
