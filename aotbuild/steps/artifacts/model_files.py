"""The files of the project that a model is made of, with their digests as the export found them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aotbuild.steps.files import write_text

MODEL_FILES = "files.json"


@dataclass(frozen=True)
class ModelFile:
    """A file of the project."""

    holds: str
    """Weights, a program, an example or operators."""
    sha256: str


def write_model_files(directory: Path, project: Path, kinds: Mapping[str, str]) -> None:
    """Write which files a model is made of.

    Args:
        directory: The export's directory of the model.
        project: Directory of the project.
        kinds: What each file holds, by its path in the project.
    """
    found = {
        name: asdict(ModelFile(holds, _digest(project / name))) for name, holds in kinds.items()
    }
    write_text(directory / MODEL_FILES, json.dumps(found, indent=1) + "\n")


def read_model_files(directory: Path) -> dict[str, ModelFile]:
    """Read what ``write_model_files`` wrote: the files by their paths in the project."""
    found = json.loads((directory / MODEL_FILES).read_text(encoding="utf-8"))
    return {name: ModelFile(**entry) for name, entry in found.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
