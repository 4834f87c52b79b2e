"""``[build-system]``: whether a build calls aotbuild at all, and with which torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from aotbuild.config.messages import located
from aotbuild.errors import RequirementError, warn
from aotbuild.torch_version import installed_torch

BACKEND = "scikit_build_core.build"
DEFAULT_BACKEND = "setuptools.build_meta:__legacy__"
"""What a frontend takes where none is written."""

PARTS = {"scikit-build-core": "scikit-build-core>=1.1", "aotbuild": "aotbuild", "torch": "torch"}
"""What the build environment needs, and how it is written."""


def check_backend(pyproject: Mapping[str, Any], root: Path) -> None:
    """Check that the build backend calls aotbuild; a local one may wrap scikit-build-core.

    Args:
        pyproject: The whole file.
        root: Directory of the project.

    Raises:
        RequirementError: It does not.
    """
    table = _build_system(pyproject)
    backend = str(table.get("build-backend", DEFAULT_BACKEND))
    module = backend.partition(":")[0]
    if module == BACKEND:
        return
    paths = [str(root / path) for path in table.get("backend-path", [])]
    where = located("build-system.build-backend")
    lines = f"write these lines:\n{_lines(table)}"
    text = _source(module, paths)
    # What calls scikit-build-core and is not here would need it in the build environment.
    names = {canonicalize_name(r.name) for r in _requirements(_requires(table))}
    known = module.split(".")[0] in _OTHERS or _is_misspelt(module)
    known = known or (text is None and "scikit-build-core" not in names)
    if text is None and not known:
        warn(
            f'whether the build backend "{backend}" compiles the models cannot be found out',
            where=where,
            why=f"only {BACKEND} calls aotbuild, and this one is not installed here",
            fix=f"if it does not call {BACKEND}, {lines}",
        )
    elif known or not re.search(r"scikit_build_core(\.build\b|\s+import\s.*\bbuild\b)", text or ""):
        given = "build-backend" in table
        raise RequirementError(
            f'the build backend is "{backend}"' if given else "no build backend is given",
            where=where,
            why=("" if given else "setuptools is taken then; ")
            + f"only {BACKEND} calls aotbuild, and the wheel would have no compiled models",
            fix=lines,
        )


_OTHERS = {
    "setuptools": "setuptools",
    "hatchling": "hatchling",
    "flit_core": "flit-core",
    "poetry": "poetry-core",
    "pdm": "pdm-backend",
    "maturin": "maturin",
    "flit": "flit",
    "mesonpy": "meson-python",
    "uv_build": "uv-build",
    "sipbuild": "sip",
    "whey": "whey",
    "enscons": "enscons",
    "py_build_cmake": "py-build-cmake",
}
"""The top modules of backends that do not call scikit-build-core, and what has them."""


def _is_misspelt(module: str) -> bool:
    """Whether a backend can only mean scikit-build-core's: it is written in another way."""
    folded = re.sub(r"[-_.]", "", module.lower())
    return difflib.SequenceMatcher(None, folded, "scikitbuildcorebuild").ratio() >= 0.9


def check_requires(pyproject: Mapping[str, Any]) -> None:
    """Check that an isolated build has what it needs, and one torch and no other.

    Raises:
        RequirementError: A part is missing or too old, or several minor versions of torch are
            allowed, or what is written is no list of requirements.
    """
    table = _build_system(pyproject)
    where = located("build-system.requires")
    given = table.get("requires", [])
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise RequirementError(
            "the requirements of the build are not a list of strings",
            where=where,
            why=f"{given!r} is written" if isinstance(given, str) else "",
            fix=f"write: {_requires_line(table)}",
        )
    requirements = _requirements(given)
    names = {canonicalize_name(requirement.name) for requirement in requirements}
    missing = [name for name in PARTS if name not in names]
    if missing:
        listed = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
        raise RequirementError(
            f"{listed} {'is' if len(missing) == 1 else 'are'} not listed",
            where=where,
            why="the isolated environment that pip builds in would be without "
            + ("it" if len(missing) == 1 else "them"),
            fix=f"write: {_requires_line(table)}",
        )
    for requirement in requirements:
        if _too_old(requirement):
            raise RequirementError(
                f'"{requirement}" excludes the versions of scikit-build-core that aotbuild needs',
                where=where,
                why=f"aotbuild requires {PARTS['scikit-build-core']}",
                fix=f"write: {_requires_line(table)}",
            )
    torch = [r for r in requirements if canonicalize_name(r.name) == "torch"]
    if not any(r.url for r in torch) and not _pinned(r.specifier for r in torch):
        raise RequirementError(
            f'"{torch[0]}" does not pin torch',
            where=where,
            why="an isolated build takes the newest torch that there is on that day, "
            "which may compile the models otherwise, or not at all",
            fix=f"write: {_requires_line(table)}",
        )


def _too_old(requirement: Requirement) -> bool:
    """Whether a requirement allows only versions of scikit-build-core that never call aotbuild."""
    if canonicalize_name(requirement.name) != "scikit-build-core" or requirement.url:
        return False
    limits = [Version(s.version.removesuffix(".*")) for s in requirement.specifier]
    newer = [Version("1.1"), Version("1.999"), Version("999"), *limits]
    needed = SpecifierSet(">=1.1")
    return not any(requirement.specifier.contains(v) for v in newer if v in needed)


def _pinned(specifiers: Iterable[SpecifierSet]) -> bool:
    """Whether only one minor version is allowed."""
    together = SpecifierSet(",".join(str(specifier) for specifier in specifiers))
    if any(s.operator == "===" for s in together):
        return True
    # Versions with the numbers that are written, and those just beside them, tell it.
    releases = {Version(s.version.removesuffix(".*")).release for s in together}
    minors = {(r[0], (*r, 0)[1] + step) for r in releases for step in (-1, 0, 1)}
    minors |= {(r[0] + step, minor) for r in releases for step in (-1, 1) for minor in (0, 99)}
    patches = {(*r, 0, 0)[2] + step for r in releases for step in (-1, 0, 1)} | {0, 99}
    allowed = {
        minor
        for minor in minors
        if min(minor) >= 0
        for patch in patches
        if patch >= 0 and together.contains(f"{minor[0]}.{minor[1]}.{patch}", prereleases=True)
    }
    local = any("+" in s.version for s in together if s.operator == "==")
    return bool(releases) and (local or len(allowed) <= 1)


def _source(module: str, paths: list[str]) -> str | None:
    """The text of a module, which is not imported; None where it cannot be found."""
    spec = None
    for name in module.split("."):
        spec = PathFinder.find_spec(name, paths or None)
        if spec is None:
            return None
        paths = list(spec.submodule_search_locations or [])
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).read_text(encoding="utf-8", errors="replace")


def _lines(table: Mapping[str, Any]) -> str:
    """``[build-system]`` without any other backend."""
    requires = _requires_line(table, {*_OTHERS.values(), "wheel"})
    return f'[build-system]\n{requires}\nbuild-backend = "{BACKEND}"'


def _requires_line(table: Mapping[str, Any], left_out: Collection[str] = ()) -> str:
    """The requirements with those that are missing, and torch pinned."""
    pin = torch_pin()
    requires = []
    present = set()
    for text in _requires(table):
        if _replaced(text):
            continue
        requirement = next(iter(_requirements([text])), None)
        if requirement is None:
            requires.append(text)
            continue
        name = canonicalize_name(requirement.name)
        if name in left_out:
            continue
        present.add(name)
        unpinned = name == "torch" and not requirement.url and not _pinned([requirement.specifier])
        old = PARTS["scikit-build-core"] if _too_old(requirement) else text
        requires.append(pin if unpinned else old)
    missing = {name: text for name, text in PARTS.items() if name not in present}
    requires += [pin if name == "torch" else text for name, text in missing.items()]
    return f"requires = [{', '.join(_quoted(text) for text in requires)}]"


def torch_pin() -> str:
    """The requirement of the torch that is installed here, or of one that builds can use."""
    built = installed_torch()
    return f"torch=={Version(built.public) if built else '2.13.0'}"


def _replaced(text: str) -> bool:
    """Whether a requirement is one of the parts, misspelt, or nothing that pip can read."""
    try:
        name = canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return True
    if name in PARTS:
        return False
    return name == "pytorch" or any(
        name.replace("-", "") == part.replace("-", "")
        or difflib.SequenceMatcher(None, name, part).ratio() >= 0.9
        for part in PARTS
    )


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'


def _requirements(texts: Iterable[str]) -> list[Requirement]:
    """The requirements that apply here; pip and scikit-build-core report wrong ones."""
    found = []
    for text in texts:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            found.append(requirement)
    return found


def _requires(table: Mapping[str, Any]) -> list[str]:
    """The strings of ``build-system.requires``, whatever else is there."""
    given = table.get("requires", [])
    given = [given] if isinstance(given, str) else given
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def _build_system(pyproject: Mapping[str, Any]) -> Mapping[str, Any]:
    table = pyproject.get("build-system", {})
    return table if isinstance(table, Mapping) else {}
