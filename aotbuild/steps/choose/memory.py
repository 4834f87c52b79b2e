"""How a build remembers what the last one found out of what runs a model.

What a wheel requires is asked for before anything is compiled, and once more when it is built. The
answer takes as long as tracing and lowering a model: it is kept beside the cache, with what it was
found from. Importing this module does not import torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable
from pathlib import Path

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

_RUNTIME, _FILES, _CHOICE = "runtime", "files", "choice"


def remembered(project: Project, name: str) -> Choice | None:
    """What the last build found out about a model; None if that may be different now.

    Args:
        project: The project.
        name: Name of the model.
    """
    parts = _history(project, name).last(_RUNTIME)
    if parts is None or _CHOICE not in parts:
        return None
    choice, files = parts.pop(_CHOICE), parts.pop(_FILES, {})
    if parts != _parts(project, name):
        return None
    digests = {file: _digest(project.root / file) for file in files}
    return Choice.from_table(choice) if digests == files else None


def remember(project: Project, name: str, choice: Choice, read: Iterable[Path]) -> None:
    """Remember what was found out about a model.

    Args:
        project: The project.
        name: Name of the model.
        choice: What was found out.
        read: The files of the project that were read for it.
    """
    model = project.models[name]
    named = {project.root / file for file in named_files(model)}  # Python may not have opened them
    # What the code calls does not depend on the values of weights.
    others = {*read, *named} - {project.root / (weights_file(model) or "")}
    files = {str(file.relative_to(project.root)): _digest(file) for file in others}
    parts = {**_parts(project, name), _FILES: files, _CHOICE: dataclasses.asdict(choice)}
    _history(project, name).note(_RUNTIME, parts)


def _history(project: Project, name: str) -> History:
    return History(cache_settings(), project.package, name, _RUNTIME)


def _parts(project: Project, name: str) -> Parts:
    """What is known to matter, besides the files."""
    devices = project.models[name].devices or []
    specs = [
        *(export_spec(project, name, device, output="") for device in devices),
        *compile_specs(project, name, read_lock(project.root)),
    ]
    text = "".join(map(spec_text, specs)).replace(str(project.root), ".")
    return {
        "declaration": {"all": hashlib.sha256(text.encode()).hexdigest()},
        "packages": {"all": hashlib.sha256(json.dumps(_installed()).encode()).hexdigest()},
        "environment": compile_environment(),
        "torch": torch_identity(),
        "aotbuild": aotbuild_identity(),
    }


def _installed() -> list[str]:
    """All packages and their versions, whatever this process has imported."""
    # setuptools adds a folder of its own to the path once it is imported, as torch may do.
    path = [entry for entry in sys.path if not Path(entry).with_name("__init__.py").exists()]
    return sorted({f"{d.name} {d.version}" for d in importlib.metadata.distributions(path=path)})


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""
