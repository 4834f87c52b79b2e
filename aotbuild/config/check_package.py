"""Whether the project's own package and its compiled models are imported from one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aotbuild.config.messages import located
from aotbuild.config.project import Project
from aotbuild.config.wheel_packages import (
    automatic_names,
    import_names,
    project_packages,
    same_name,
    source_modules,
    wheel_packages,
)
from aotbuild.errors import ConfigError, warn


def check_package(project: Project, packages: Any) -> None:
    """Check that the wheel has the package that the compiled models are for.

    Args:
        project: The project.
        packages: ``wheel.packages`` of this build; None where it is not given.

    Raises:
        ConfigError: It has not, or the models are in a package of another name.
    """
    name = str(project.pyproject.get("project", {}).get("name", ""))
    names = import_names(project.root, wheel_packages(project.root, name, packages))
    _check_spelling(project, names)
    # An empty list says that nothing but the models is shipped.
    if names or packages is None:
        _check_shipped(project, name, names, automatic=packages is None)


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


def _check_shipped(project: Project, name: str, names: list[str], *, automatic: bool) -> None:
    """Find the project's own package where it is not in the wheel."""
    parent = project.package.rpartition(".")[0]
    if parent in names:
        return
    present = project_packages(project.root)
    own = [n for n in present if n == parent or (automatic and same_name(n, name))]
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
