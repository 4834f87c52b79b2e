"""How a build remembers what the last one found out of a model.

What runs it is asked for before anything is compiled, and once more when the wheel is built; what
``check`` tells is asked for again and again. The answers take as long as tracing and lowering a
model: they are kept beside the cache, with what they were found from. Importing this module does
not import torch.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aotbuild.cache.history import History, Parts
from aotbuild.cache.settings import cache_settings
from aotbuild.config.project import Project
from aotbuild.config.resolve import named_files, weights_file
from aotbuild.config.runtimes import Choice
from aotbuild.steps.artifacts.spec import spec_text
from aotbuild.steps.identity import aotbuild_identity, compile_environment, torch_identity
from aotbuild.steps.plan.compile import compile_specs
from aotbuild.steps.plan.export import export_spec
from aotbuild.steps.tune.lock import read_lock

_RUNTIME, _CHECKED = "runtime", "checked"
_FILES, _FOUND = "files", "found"


def remembered(project: Project, name: str) -> Choice | None:
    """What runs a model, as the last build found out; None if that may be different now.

    Args:
        project: The project.
        name: Name of the model.
    """
    found = _last(project, name, _RUNTIME)
    return None if found is None else Choice.from_table(found)


def remember(project: Project, name: str, choice: Choice, read: Iterable[Path]) -> None:
    """Remember what runs a model.

    Args:
        project: The project.
        name: Name of the model.
        choice: What was found out.
        read: The files of the project that were read for it.
    """
    # What the code calls does not depend on the values of weights.
    weights = project.root / (weights_file(project.models[name]) or "")
    _note(project, name, _RUNTIME, dataclasses.asdict(choice), read, without=weights)


def remembered_check(project: Project, name: str) -> Any:
    """What ``check`` told of a model last; None if that may be different now.

    Args:
        project: The project.
        name: Name of the model.
    """
    return _last(project, name, _CHECKED)


def remember_check(project: Project, name: str, told: Any, read: Iterable[Path]) -> None:
    """Remember what ``check`` tells of a model.

    Args:
        project: The project.
        name: Name of the model.
        told: What it tells, as JSON can have it.
        read: The files of the project that were read for it.
    """
    _note(project, name, _CHECKED, told, read)


def _last(project: Project, name: str, kind: str) -> Any:
    parts = _history(project, name, kind).last(kind)
    if parts is None or _FOUND not in parts:
        return None
    found, files = parts.pop(_FOUND), parts.pop(_FILES, {})
    if parts != _parts(project, name, kind):
        return None
    digests = {file: _digest(project.root / file) for file in files}
    return found if digests == files else None


def _note(
    project: Project,
    name: str,
    kind: str,
    found: Any,
    read: Iterable[Path],
    without: Path | None = None,
) -> None:
    named = {project.root / file for file in named_files(project.models[name])}
    others = {*read, *named} - {without}  # Python may not have opened those that are named
    files = {str(file.relative_to(project.root)): _digest(file) for file in others}
    parts = {**_parts(project, name, kind), _FILES: files, _FOUND: found}
    _history(project, name, kind).note(kind, parts)


def _history(project: Project, name: str, kind: str) -> History:
    return History(cache_settings(), project.package, name, kind)


def _parts(project: Project, name: str, kind: str) -> Parts:
    """What is known to matter, besides the files."""
    pyproject = _digest(project.root / "pyproject.toml")
    # What is checked depends on more than the models, as on what the wheel requires.
    whole = {"pyproject": {"all": pyproject}} if kind == _CHECKED else {}
    devices = project.models[name].devices or []
    specs = [
        *(export_spec(project, name, device, output="") for device in devices),
        *compile_specs(project, name, read_lock(project.root)),
    ]
    text = "".join(map(spec_text, specs)).replace(str(project.root), ".")
    installed = json.dumps(_installed(tuple(sys.path)))
    return {
        **whole,
        "declaration": {"all": hashlib.sha256(text.encode()).hexdigest()},
        "packages": {"all": hashlib.sha256(installed.encode()).hexdigest()},
        "environment": compile_environment(),
        "torch": torch_identity(),
        "aotbuild": aotbuild_identity(),
    }


@functools.cache  # each of them is a file to read, and a project may have many models
def _installed(places: tuple[str, ...]) -> list[str]:
    """All packages and their versions, whatever this process has imported.

    Args:
        places: Where they are looked for: ``sys.path``.
    """
    # setuptools adds a folder of its own to the path once it is imported, as torch may do.
    path = [entry for entry in places if not Path(entry).with_name("__init__.py").exists()]
    return sorted({f"{d.name} {d.version}" for d in importlib.metadata.distributions(path=path)})


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""
