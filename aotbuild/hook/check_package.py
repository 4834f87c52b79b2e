"""Whether the project's own package and its compiled models are imported from one place."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from aotbuild.config.messages import closest, located
from aotbuild.config.project import Project
from aotbuild.config.wheel_packages import (
    SOURCE_ROOTS,
    automatic_names,
    import_names,
    module_names,
    project_packages,
    same_name,
    source_modules,
    wheel_packages,
)
from aotbuild.errors import ConfigError, warn


def check_package(project: Project, packages: Any, *, generated: bool = False) -> None:
    """Check that the wheel has the package that the compiled models are for.

    Args:
        project: The project.
        packages: ``wheel.packages`` of this build; None where it is not given.
        generated: Whether the project's own CMakeLists.txt may make packages that are not there.

    Raises:
        ConfigError: It has not, or the models are in a package of another name or in a module.
    """
    name = project.name
    placed = wheel_packages(project.root, name, packages)
    if packages and not generated:
        _check_present(project, placed)
    names = import_names(project.root, placed)
    _check_modules(project, name, module_names(project.root, placed), automatic=packages is None)
    _check_prefix(project, names)
    _check_spelling(project, names)
    # An empty list says that nothing but the models is shipped.
    if names or packages is None:
        _check_shipped(project, name, names, automatic=packages is None)


def _check_present(project: Project, placed: dict[str, str]) -> None:
    """Find directories in ``wheel.packages`` that are not there, which are left out silently."""
    for source in placed.values():
        if (project.root / source).exists():
            continue
        present = list(project_packages(project.root).values())
        likely = closest(source, present) or (present[0] if len(present) == 1 else "")
        raise ConfigError(
            f'"{source}" does not exist',
            where=located("tool.scikit-build.wheel.packages"),
            why="the wheel would have nothing of it",
            fix=f'did you mean "{likely}"?'
            if likely
            else "correct the path (it is relative to pyproject.toml)",
        )


def _check_modules(project: Project, name: str, modules: list[str], *, automatic: bool) -> None:
    """Find a module, a file of its own, that the models would have to be inside of."""
    parent = project.package.rpartition(".")[0]
    if parent in modules:
        raise ConfigError(
            f'the models cannot be in "{project.package}"',
            where=located("tool.aotbuild.package"),
            why=f'"{parent}" is a module in the wheel, and no package',
            fix=f'add to [tool.aotbuild]: package = "{parent}_models"',
        )
    if not automatic:
        return
    for base in SOURCE_ROOTS:
        for option in automatic_names(name):
            file = Path(base, f"{option}.py")
            if option == parent and (project.root / file).is_file():
                raise ConfigError(
                    f"the module {parent} is not in the wheel",
                    where=located("tool.scikit-build.wheel.packages"),
                    why="scikit-build-core finds packages by itself, but no module; and models "
                    "cannot be inside a module",
                    fix=f'add to [tool.aotbuild]: package = "{parent}_models"\n'
                    f'and these lines:\n[tool.scikit-build]\nwheel.packages = ["{file}"]',
                )


def _check_prefix(project: Project, names: list[str]) -> None:
    """Find packages in a directory that is listed itself: ``src.digits`` instead of ``digits``."""
    tops = {module.partition(".")[0] for module in source_modules(_sources(project))}
    for name in names:
        prefix, _, last = name.rpartition(".")
        present = project_packages(project.root).get(last, "")
        if prefix and last in tops and last not in names and Path(present).name == last:
            raise ConfigError(
                f"the wheel would have the package {name}, and none of the name {last}",
                where=located("tool.scikit-build.wheel.packages"),
                why=f'the models come from "{last}"; the directory that is listed is part of the '
                "name",
                fix=f'list the package itself: wheel.packages = ["{present}"]',
            )


def _check_spelling(project: Project, names: list[str]) -> None:
    parent, _, last = project.package.rpartition(".")
    if parent in names or not parent:
        return
    for name in names:
        if same_name(parent, name):
            raise ConfigError(
                "the models are not in the package that the wheel installs",
                where=located("tool.aotbuild.package"),
                why=f'the wheel has the package "{name}"; "{project.package}" would be in another',
                fix=f'write package = "{name}.{last}"',
            )
    for likely in difflib.get_close_matches(parent, names, n=1, cutoff=0.75):
        warn(
            f'the models will be in "{project.package}", and not in the package "{likely}"',
            where=located("tool.aotbuild.package"),
            why=f'the wheel has nothing else in "{parent}"',
            fix=f'did you mean "{likely}.{last}"?',
        )


def _check_shipped(project: Project, name: str, names: list[str], *, automatic: bool) -> None:
    """Find the project's own package where it is not in the wheel."""
    parent = project.package.rpartition(".")[0]
    if parent in names:
        return
    present = project_packages(project.root)
    own = [n for n in present if n == parent or (automatic and same_name(n, name))]
    if automatic and not names:
        _check_init(project, name)
    if not names and not own:
        own = [n for n in present if _holds(n, source_modules(_sources(project)))]
    if not own or any(n in names for n in own):
        return
    directory = present[own[0]]
    why = "wheel.packages does not list it"
    if automatic:
        looked = " and ".join(f'"{option}"' for option in automatic_names(name))
        why = (
            f"scikit-build-core looks for {looked}, which follows from the name of the project,"
            "\nin src, python and the project itself"
        )
    what = f"the package {own[0]} is not in the wheel"
    where = located("tool.scikit-build.wheel.packages")
    fix = f"add these lines:\n{_packages_lines(project, own[0], directory)}"
    if automatic:
        fix += "\nor, if nothing but the models shall be shipped: wheel.packages = []"
    in_source_root = Path(directory).parts[0] in {"src", "python"}
    if in_source_root or own[0] == parent or same_name(own[0], name):
        raise ConfigError(what, where=where, why=why, fix=fix)
    warn(what, where=where, why=why, fix=fix)  # a directory of training code, perhaps


def _check_init(project: Project, name: str) -> None:
    """Find a package without an ``__init__.py``, which scikit-build-core does not take."""
    tops = {module.partition(".")[0] for module in source_modules(_sources(project))}
    for base in SOURCE_ROOTS:
        for option in dict.fromkeys([*automatic_names(name), *sorted(tops)]):
            directory = project.root / base / option
            if not base and not same_name(option, name):
                continue  # a directory of training code, perhaps
            if any(directory.glob("*.py")) and not any(directory.glob("__init__.py*")):
                shown = Path(base, option)
                raise ConfigError(
                    f"the package {option.replace('/', '.')} is not in the wheel",
                    where=located("tool.scikit-build.wheel.packages"),
                    why=f"scikit-build-core takes a package by itself only if it has an "
                    f"__init__.py, and {shown} has none",
                    fix=f"add {shown}/__init__.py, or these lines:\n"
                    f'[tool.scikit-build]\nwheel.packages = ["{shown}"]',
                )


def _sources(project: Project) -> list[str]:
    return [model.source for model in project.models.values()]


def _holds(package: str, modules: list[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for module in modules)


def _packages_lines(project: Project, package: str, directory: str) -> str:
    """The lines of ``wheel.packages`` with one more package."""
    given = project.skbuild.get("wheel", {}).get("packages")
    if isinstance(given, dict):
        target = package.replace(".", "/")
        return f'[tool.scikit-build.wheel.packages]\n"{target}" = "{directory}"'
    top = Path(directory)
    for _ in range(package.count(".")):
        top = top.parent
    listed = ", ".join(f'"{entry}"' for entry in [*(given or []), top])
    return f"[tool.scikit-build]\nwheel.packages = [{listed}]"
