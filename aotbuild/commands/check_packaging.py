"""What ``check`` says of the wheel: whether it would have the models, and how they are imported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aotbuild.config.project import Project, load_declared, read_pyproject
from aotbuild.hook.build_settings import build_settings
from aotbuild.hook.build_system import check_backend, check_requires
from aotbuild.hook.check_project import check_metadata, check_table, warn_of_python
from aotbuild.hook.check_wheel import check_wheel


def check_packaging(directory: Path) -> None:
    """Check all that decides whether a wheel would have the declared models.

    Raises:
        AotBuildError: It would not.
    """
    pyproject = read_pyproject(directory)
    check_table(pyproject)
    project = load_declared(directory)
    check_backend(pyproject, project.root)
    check_requires(pyproject)
    check_metadata(pyproject)
    check_wheel(project, build_settings(pyproject, "wheel"), "wheel")
    warn_of_python(pyproject)


def import_line(project: Project, models: Iterable[str]) -> str:
    """The line that imports models once the wheel is installed."""
    return f"from {project.package} import {', '.join(dict.fromkeys(models))}"
