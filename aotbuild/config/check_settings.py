"""Checks of what can be set for all models, for one, for a target and in a profile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aotbuild.config.check_files import check_file
from aotbuild.config.messages import joined, located
from aotbuild.config.resolve import is_library_file
from aotbuild.config.schema import Settings
from aotbuild.errors import ConfigError


def check_settings(settings: Settings, path: str, root: Path) -> None:
    """Check the settings in one table.

    Args:
        settings: The table.
        path: Its dotted path.
        root: Directory of the project.
    """
    _check_options(settings.inductor, f"{path}.inductor")
    for name, target in settings.targets.items():
        _check_options(target.inductor, f"{path}.targets.{name}.inductor")
    for i, library in enumerate(settings.op_libraries or []):
        if is_library_file(library):
            check_file(library, "library", f"{path}.op-libraries[{i}]", root)


def _check_options(options: Mapping[str, Any], path: str) -> None:
    """Each option is given once, with dots in its name or in nested tables."""
    places: dict[str, str] = {}
    for name, place in _options(options, path):
        if name in places:
            raise ConfigError(
                f'the option "{name}" is given twice',
                where=located(place),
                why=f"it is at {places[name]} too",
                fix="remove one",
            )
        places[name] = place


def _options(options: Mapping[str, Any], path: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in options.items():
        place = joined(path, key)
        if isinstance(value, Mapping):
            yield from _options(value, place, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", place
