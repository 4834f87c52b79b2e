"""The options that a project passes to Inductor, checked before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from aotbuild.config.project import Project
from aotbuild.config.resolve import flat_options
from aotbuild.config.schema import Settings


def check_options(project: Project, names: Iterable[str]) -> None:
    """Check the options that are passed to Inductor, which only torch knows.

    Raises:
        ConfigError: One does not exist, or has a value of another type.
    """
    # The options are checked where they are written: once, however many models they are for.
    tables = [(table, path) for table, path in _option_tables(project, names) if table]
    if not tables:
        return
    from aotbuild.steps.compile import inductor_options  # imports torch, which takes a second

    for table, path in tables:
        inductor_options.check_options(flat_options(table), path)


def _option_tables(project: Project, names: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    settings: list[tuple[Settings, str]] = [(project.config, "tool.aotbuild")]
    settings += [(project.config.models[name], f"tool.aotbuild.models.{name}") for name in names]
    settings += [
        (profile, f"tool.aotbuild.profiles.{name}")
        for name, profile in project.config.profiles.items()
    ]
    for table, path in settings:
        yield table.inductor, f"{path}.inductor"
        for name, target in table.targets.items():
            yield target.inductor, f"{path}.targets.{name}.inductor"
