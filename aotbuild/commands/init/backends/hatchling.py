"""hatchling: packages listed or found by the project's name, versions of files and of git."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from aotbuild.commands.init.backends.move import Move, need_project, of_module, refuse_keys
from aotbuild.commands.init.backends.versions import SCM, version_of_file, version_of_git
from aotbuild.commands.init.document import Document
from aotbuild.config.wheel_packages import automatic_names
from aotbuild.errors import InitError

_HATCH = ("tool", "hatch")
_BUILD = (*_HATCH, "build")
_WHEEL = (*_BUILD, "targets", "wheel")
_NOT_MOVED = {
    "force-include": "puts files of other places into the wheel",
    "only-include": "names the files of the wheel one by one",
    "sources": "renames directories in the wheel",
    "artifacts": "puts files into the wheel that git ignores",
    "include": "names the files of the wheel by patterns",
    "shared-data": "installs files outside its packages",
    "shared-scripts": "installs scripts that are files",
}


def move_hatchling(document: Document, root: Path) -> Move:
    """Move from hatchling.

    Raises:
        InitError: It is told what scikit-build-core has nothing for.
    """
    need_project(document, "files of another backend")
    for table in (_BUILD, _WHEEL):
        refuse_keys(document, table, _NOT_MOVED)
        hooks = dict(document.get(*table, "hooks") or {})
        hooks.pop("vcs", None)
        if hooks:
            raise InitError(
                "the project has build hooks of hatchling, which init cannot move",
                where=f"pyproject.toml: {'.'.join((*table, 'hooks', next(iter(hooks))))}",
                why="only builds by scikit-build-core compile models",
                fix="let a CMakeLists.txt do what they do, or do without, and call init again",
            )
    refuse_keys(document, (*_HATCH, "metadata"), {"hooks": "finds metadata out by hooks"})
    scm = _move_version(document, root)
    packages = _packages(document, root)
    excluded = [
        _inside(str(pattern), packages)
        for table in (_BUILD, _WHEEL)
        for pattern in document.get(*table, "exclude") or []
    ]
    sdist = document.get(*_BUILD, "targets", "sdist")
    document.remove(*_BUILD)
    document.remove(*_HATCH, "version")
    notes = []
    if sdist:
        notes.append(
            "tool.hatch.build.targets.sdist is gone: an sdist has all files that git knows, and "
            "tool.scikit-build.sdist.exclude leaves some out"
        )
    dropped = ("hatchling", "hatch-vcs")
    return Move(dropped, (SCM,) if scm else (), packages, tuple(excluded), notes)


def _move_version(document: Document, root: Path) -> bool:
    """Move the version; whether setuptools-scm finds it out."""
    if "version" not in (document.get("project", "dynamic") or []):
        return False
    told = document.get(*_HATCH, "version") or {}
    source = told.get("source", "regex")
    if source == "vcs":
        file = document.get(*_BUILD, "hooks", "vcs", "version-file")
        options = dict(told.get("raw-options", {}))
        if file or options:
            given = {**options, **({"version_file": file} if file else {})}
            for key, value in given.items():
                document.set(("tool", "setuptools_scm", key), value)
        version_of_git(document)
        return True
    if source not in {"regex", "code"} or "path" not in told:
        raise InitError(
            "hatchling finds the version out in a way that init cannot move",
            where="pyproject.toml: tool.hatch.version",
            fix='write version = "1.0" into [project], and call init again',
        )
    pattern = str(told.get("pattern", ""))
    # hatchling's group is called version.
    version_of_file(document, root, told["path"], pattern.replace("(?P<version>", "(?P<value>"))
    return False


def _packages(document: Document, root: Path) -> dict[str, str]:
    told = document.get(*_WHEEL, "packages") or document.get(*_BUILD, "packages")
    if told:
        return {PurePosixPath(each).name: str(each) for each in told}
    name = automatic_names(str(document.get("project", "name")))[0].lower()
    for base in ("src", ""):
        for each in (name, str(document.get("project", "name")).replace("-", "_")):
            if (root / base / each).is_dir():
                return {each: PurePosixPath(base, each).as_posix()}
    found = [file.parent for file in root.glob(f"*/{name}/__init__.py")]
    found += [file.parent for file in root.glob(f"src/*/{name}/__init__.py")]
    if len(found) == 1:  # in a namespace
        place = found[0].relative_to(root).parent
        return {place.name: place.as_posix()}
    return of_module(root, name, ("src", ""))


def _inside(pattern: str, packages: dict[str, str]) -> str:
    """A pattern of the project's files as one of the wheel's."""
    for target, place in packages.items():
        bare = pattern.lstrip("/")
        if bare == place or bare.startswith(f"{place}/"):
            return f"{target}{bare.removeprefix(place)}"
    return pattern
