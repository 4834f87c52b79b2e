"""``aotbuild init`` on projects of five backends: the wheels that they build before and after."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from layouts import ARGUMENTS, LAYOUTS, Layout
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, canonicalize_version
from wheels import Build, Installed, edited, install, pip_wheel, run_plain

CALL = """
import importlib, json, sys
net = importlib.import_module({models!r}).net
rows = memoryview(bytearray(3 * 6 * 4)).cast("B").cast("f", (3, 6))
print(json.dumps([sum(row) for row in net(rows).tolist()]))
"""
GIT = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")

USUAL = ("setuptools-src", "hatchling-src", "poetry-flat", "none", "c-extension")
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS if name not in USUAL]
"""Those whose parts all have one in ``USUAL`` that is like them."""


def commit(root: Path, version: str) -> None:
    """Make a repository of a project, with the tag that the version is taken from."""
    for words in (
        ("init", "-q"),
        ("add", "-A"),
        ("commit", "-qm", "all"),
        ("tag", "-f", f"v{version}"),
    ):
        subprocess.run(["git", *GIT, *words], cwd=root, check=True, capture_output=True)


def members(wheel: Path) -> set[str]:
    """The files of a wheel, but for its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {info.filename for info in archive.infolist() if not info.is_dir()}
    return {name for name in names if ".dist-info/" not in name}


def metadata(wheel: Path, file: str = "METADATA") -> Message:
    with zipfile.ZipFile(wheel) as archive:
        texts = [archive.read(n) for n in archive.namelist() if n.endswith(f".dist-info/{file}")]
    return email.message_from_bytes(texts[0] if texts else b"")


def built(project: Path) -> Path:
    build = pip_wheel(project)
    assert build.returncode == 0, build.output
    (wheel,) = build.wheels
    return wheel


def told(wheel: Path) -> dict[str, object]:
    """What an index would show, and what would be installed."""
    of = metadata(wheel)
    requires = [Requirement(line) for line in of.get_all("Requires-Dist") or []]
    return {
        "name": canonicalize_name(str(of["Name"])),
        "version": of["Version"],
        "summary": of["Summary"] or "",
        "python": bounds(SpecifierSet(str(of["Requires-Python"]))),
        "requires": sorted((r.name, bounds(r.specifier), str(r.marker)) for r in requires),
        "commands": "".join(metadata(wheel, "entry_points.txt").as_string().split()),
    }


def bounds(specifiers: SpecifierSet) -> list[str]:
    return sorted(f"{each.operator}{canonicalize_version(each.version)}" for each in specifiers)


@pytest.mark.parametrize("name", [*USUAL, *OTHERS])
def test_a_layout_builds_with_the_model(name: str, tmp_path: Path, bare_python: Path) -> None:
    layout = LAYOUTS[name]
    root, clone = tmp_path / "repository", tmp_path / "clone"
    project = layout.write(root)
    commit(root, layout.version)
    subprocess.run(["git", "clone", "-q", root, clone], check=True, capture_output=True)
    before = built(clone / layout.directory) if layout.pyproject else None
    command = [sys.executable, "-P", "-m", "aotbuild", "init", "--project", str(project)]
    done = subprocess.run(
        [*command, *ARGUMENTS], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nnet is declared: pip wheel . builds it\n" in done.stdout
    # Otherwise the build finds out what runs the model, which check has just told.
    head = "[tool.aotbuild.models.net]\n"
    edited(project, (head, f'{head}runtime = "standalone"\n'))
    if name == "namespace":  # of which the tag is the version only where nothing has changed
        commit(root, layout.version)
    after = built(project)
    models = f"{layout.models.replace('.', '/')}/"
    own = {each for each in members(after) if not each.startswith(models)}
    assert f"{layout.name.replace('.', '/')}/data/labels.txt" in own
    assert not own & set(layout.outside)
    assert told(after)["version"] == layout.version
    if before is not None:
        # Where setuptools-scm is installed, setuptools puts in all that git knows.
        assert own == members(before) - set(layout.outside)
        assert told(after) == told(before)
    _run(layout, after, tmp_path / "installed", bare_python)


def _run(layout: Layout, wheel: Path, directory: Path, python: Path) -> None:
    """Call the model where there is Python and nothing else."""
    found: Installed = install(Build(0, "", [wheel]), directory, python)
    sums = run_plain(python, found.directory, CALL.format(models=layout.models))
    assert sums == pytest.approx([1, 1, 1])
