"""``develop``: install what is not yet, make anew what is older than its sources, and tell."""

from __future__ import annotations

import time
from pathlib import Path

from aotbuild.commands.develop import background
from aotbuild.commands.develop.environment import Install
from aotbuild.commands.tables import print_heading
from aotbuild.config.develop import COMPILED, EAGER
from aotbuild.config.project import load_declared
from aotbuild.hook.requirement import check_build_torch
from aotbuild.progress.words import passed
from aotbuild.runtime.development import FILE, older_models, shown


def develop(
    directory: Path, *, compiled: bool = False, later: bool = False, in_background: bool = False
) -> int:
    """Make the models of a project importable in this environment.

    Args:
        directory: Directory of the pyproject.toml.
        compiled: Whether they are compiled; else eager torch runs them.
        later: Whether they are compiled in the background once they can be imported.
        in_background: Whether this is that process.

    Returns:
        0.

    Raises:
        AotBuildError: The declaration is wrong, or nothing can be installed here.
        SystemExit: A model cannot be traced or compiled; why has been printed.
    """
    project = load_declared(directory)
    check_build_torch(project.pyproject)
    install = Install(project, COMPILED if compiled else EAGER)
    if not in_background and background.runs(install.home):
        if not compiled and install.is_current() and not older_models(install.package):
            print_heading("compiling ", "in the background, still")
            return 0
        background.stop(install.home)
        print_heading("stopped ", "compiling in the background, of what has changed since")
    if not compiled and _has_compiled(Install(project, COMPILED)):
        return 0
    started = time.monotonic()
    before = _written(install)
    current = install.is_current()
    if current:
        install.rebuild()
    else:
        print_heading(_doing(install), f" {project.package}; the log is {_shown(install.log)}")
        install.install()
    if not current or _written(install) != before:
        names = ", ".join(project.models)
        spent = passed(time.monotonic() - started)
        print_heading(f"from {project.package} import {names}", f"  # {spent}")
    if later:
        background.start(install.home, project.root)
        log = install.home / background.LOG
        print_heading("compiling ", f"in the background; the log is {_shown(log)}")
    return 0


def _has_compiled(install: Install) -> bool:
    """Whether compiled models are installed that no source is newer than."""
    if not install.is_current():
        return False
    older = older_models(install.package)
    if older:
        print_heading(shown(older), ": eager torch runs all until aotbuild develop --compile")
    return not older


def _doing(install: Install) -> str:
    return "compiling" if install.mode == COMPILED else "installing"


def _written(install: Install) -> int:
    """When the installed package was made; 0 where there is none."""
    file = install.package / FILE
    return file.stat().st_mtime_ns if file.is_file() else 0


def _shown(path: Path) -> str:
    """A path as seen from the current directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
