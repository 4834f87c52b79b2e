"""The project around the declaration: what its pyproject.toml says beside ``[tool.aotbuild]``."""

from __future__ import annotations

import codecs
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.config.check import check_config
from aotbuild.config.parse import parse_table
from aotbuild.config.resolve import named_files, resolved, wanted_profile
from aotbuild.config.schema import Config, Model
from aotbuild.config.wheel_packages import default_package, source_modules
from aotbuild.errors import ConfigError

LOCK_FILE = "aotbuild.lock.toml"
"""What tuning pinned, beside the pyproject.toml."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project that declares models."""

    root: Path
    """Directory of the pyproject.toml, absolute."""

    pyproject: dict[str, Any]
    """The whole pyproject.toml."""

    config: Config
    """The parsed and checked ``[tool.aotbuild]``."""

    models: dict[str, Model]
    """The declared models with defaults and the profile of this build in place."""

    package: str
    """Import package of the compiled models."""

    import_paths: tuple[Path, ...]
    """Directories from which the project's own modules are imported, first one first."""

    @property
    def name(self) -> str:
        """``project.name``, as it is written; empty where it is not."""
        return str(_table(self.pyproject, "project").get("name", ""))

    @property
    def files(self) -> list[str]:
        """The files that a build reads for the declaration, relative to the project."""
        files = [name for model in self.models.values() for name in named_files(model)]
        files += [LOCK_FILE] if (self.root / LOCK_FILE).is_file() else []
        return list(dict.fromkeys(files))

    @property
    def skbuild(self) -> dict[str, Any]:
        """The project's ``[tool.scikit-build]``."""
        return _table(self.pyproject, "tool", "scikit-build")


def read_pyproject(root: Path) -> dict[str, Any]:
    """The pyproject.toml in ``root``; an empty table when there is none.

    Raises:
        ConfigError: It is not valid TOML.
    """
    try:
        with (root / "pyproject.toml").open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        marked = (root / "pyproject.toml").read_bytes().startswith(codecs.BOM_UTF8)
        fix = "correct that place; names with spaces or dots, and texts, stand in quotes"
        if marked or isinstance(error, UnicodeDecodeError):
            fix = "save the file as UTF-8 without a byte order mark"
        raise ConfigError(
            "pyproject.toml is not valid TOML",
            where="pyproject.toml",
            why="it begins with a byte order mark" if marked else str(error),
            fix=fix,
        ) from error


def load_declared(directory: Path) -> Project:
    """Read and check the declaration in the directory that a command was given.

    Raises:
        ConfigError: There is none, or it is wrong.
    """
    project = load_project(directory)
    if project is None:
        raise ConfigError(
            "the project declares no models",
            where=f"{directory.resolve() / 'pyproject.toml'}: tool.aotbuild",
            fix="add [tool.aotbuild.models.<name>], or name the project with --project DIR",
        )
    return project


def load_project(root: Path) -> Project | None:
    """Read and check the declaration in ``root``.

    Returns:
        The project, or None when its pyproject.toml has no ``[tool.aotbuild]``.

    Raises:
        ConfigError: The declaration is wrong.
    """
    root = root.resolve()
    pyproject = read_pyproject(root)
    if "aotbuild" not in _table(pyproject, "tool"):
        return None
    config = parse_table(Config, pyproject["tool"]["aotbuild"], "tool.aotbuild")
    packages = _table(pyproject, "tool", "scikit-build", "wheel").get("packages")
    sources = source_modules(model.source for model in config.models.values())
    package = config.package or default_package(root, pyproject, packages, sources)
    import_paths = _import_paths(root, pyproject)
    check_config(config, package, root, import_paths)
    return Project(
        root=root,
        pyproject=pyproject,
        config=config,
        models=resolved(config, wanted_profile()),
        package=package,
        import_paths=import_paths,
    )


def _import_paths(root: Path, pyproject: dict[str, Any]) -> tuple[Path, ...]:
    """Where the project's packages are, by scikit-build-core's rules for ``wheel.packages``."""
    packages = _table(pyproject, "tool", "scikit-build", "wheel").get("packages")
    if isinstance(packages, dict):
        placed = packages.items()
    else:
        placed = {Path(str(source)).name: source for source in packages or []}.items()
    candidates = [
        base
        for target, source in placed
        if (base := _import_path(root / str(source), Path(target.strip("/")).parts))
    ]
    candidates += [root / "src", root / "python", root]
    return tuple(dict.fromkeys(path for path in candidates if path.is_dir()))


def _import_path(directory: Path, target: tuple[str, ...]) -> Path | None:
    """The directory from which a package is imported as in the wheel, if there is one."""
    if directory.parts[-len(target) :] != target and len(target) > 1:
        return None  # "a/b" = "elsewhere/b" has no sys.path entry of its own
    for _ in target:
        directory = directory.parent
    return directory


def _table(pyproject: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A table of others in pyproject.toml; empty when it is missing, or is none."""
    table: Any = pyproject
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}
