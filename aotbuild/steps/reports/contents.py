"""The files of a wheel, of a directory or of an installed distribution, seen alike."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_string
from email.message import Message
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from aotbuild.errors import InspectError

MARK = "_runtime/manifest.py"
"""The file by which a package of compiled models is known, relative to it."""

PROVENANCE = "aotbuild.json"
"""The file in ``.dist-info`` that tells what a package was made of."""


@dataclass(frozen=True)
class Contents:
    """Files, by their paths below one root."""

    where: str
    """What the user would call it."""
    kind: Literal["wheel", "package", "distribution"]
    root: Traversable
    path: Path
    """The wheel, or the directory of the root."""
    sizes: Mapping[str, int]
    """Bytes of each file, unpacked."""
    packed: int
    """Bytes of the wheel; 0 where it is none."""
    metadata: Message | None
    """The core metadata, where there is any."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """What is told of the build; empty where nothing is."""

    def packages(self) -> list[str]:
        """The paths of the packages of compiled models; empty for the root itself."""
        return [
            name.removesuffix(MARK).rstrip("/")
            for name in sorted(self.sizes)
            if name == MARK or name.endswith(f"/{MARK}")
        ]


def check_is_wheel(path: Path) -> None:
    """Make sure that a file is a wheel.

    Raises:
        InspectError: It is none.
    """
    if path.suffix != ".whl" or not zipfile.is_zipfile(path):
        raise InspectError(
            "this is no wheel",
            where=str(path),
            why="a wheel is a zip file whose name ends in .whl",
            fix="name what pip wheel built, such as dist/*.whl: an sdist has nothing compiled",
        )


def open_wheel(path: Path) -> Contents:
    """The contents of a wheel.

    Raises:
        InspectError: It is none, or is damaged.
    """
    check_is_wheel(path)
    archive = zipfile.ZipFile(path)
    sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}

    def text(name: str) -> str:
        found = [each for each in sizes if each.endswith(f".dist-info/{name}")]
        return archive.read(found[0]).decode(errors="replace") if found else ""

    metadata = text("METADATA")
    return Contents(
        path.name,
        "wheel",
        zipfile.Path(archive),
        path,
        sizes,
        path.stat().st_size,
        message_from_string(metadata) if metadata else None,
        _provenance(text(PROVENANCE), path.name),
    )


def open_directory(path: Path) -> Contents:
    """The contents of a directory."""
    files = (file for file in path.rglob("*") if file.is_file())
    sizes = {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
    return Contents(str(path), "package", path, path, _without_caches(sizes), 0, None)


def open_installed(name: str) -> Contents | None:
    """The contents of what is installed under the name of a distribution or of a package.

    Returns:
        None where nothing has that name.
    """
    try:
        found = importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return _open_package(name)
    root = Path(str(found.locate_file("")))
    there = {str(file): root / str(file) for file in found.files or []}
    sizes = {name: file.stat().st_size for name, file in there.items() if file.is_file()}
    if not any(name.endswith(MARK) for name in sizes):
        # Of an editable one, the files of the package are elsewhere.
        package = _open_package(name.replace("-", "_"))
        return package and _with_metadata(package, found)
    where = f"{found.metadata['Name']} {found.version}"
    return _with_metadata(
        Contents(where, "distribution", root, root, _without_caches(sizes), 0, None), found
    )


def _open_package(name: str) -> Contents | None:
    """What would be imported by a name. The packages around it are imported to find it, no more."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    places = list(found.submodule_search_locations or []) if found else []
    return open_directory(Path(places[0])) if places and Path(places[0]).is_dir() else None


def _with_metadata(contents: Contents, found: importlib.metadata.Distribution) -> Contents:
    return dataclasses.replace(
        contents,
        metadata=message_from_string(found.read_text("METADATA") or ""),
        provenance=_provenance(found.read_text(PROVENANCE) or "", contents.where),
    )


def _provenance(text: str, where: str) -> dict[str, Any]:
    """What a build has told of itself.

    Raises:
        InspectError: It is damaged.
    """
    try:
        table = json.loads(text or "{}")
    except ValueError as error:
        table = error
    if isinstance(table, dict):
        return table
    raise InspectError(
        "what is told of its build cannot be read",
        where=f"{where}: {PROVENANCE}",
        why=str(table) if isinstance(table, ValueError) else "it is no table of JSON",
        fix="build or install it again",
    )


def _without_caches(sizes: Mapping[str, int]) -> dict[str, int]:
    return {name: size for name, size in sizes.items() if "__pycache__" not in Path(name).parts}


def around(library: Path) -> Iterator[Path]:
    """The directories around a library of which one may be its package, from inside outwards."""
    for place in list(library.resolve().parents)[:3]:
        if (place / MARK).is_file():
            yield place
