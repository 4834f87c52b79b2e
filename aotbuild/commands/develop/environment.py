"""The environment that a project is installed into for development."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.commands.live import live
from aotbuild.commands.running import run
from aotbuild.commands.said import Said
from aotbuild.config.develop import DEVELOP
from aotbuild.config.project import LOCK_FILE, Project
from aotbuild.config.resolve import wanted_profile
from aotbuild.errors import DevelopError
from aotbuild.steps.identity import aotbuild_identity
from aotbuild.torch_version import installed_torch

_REBUILD = """\
import importlib.util, sys

name, *rest = sys.argv[1].split(".")
while importlib.util.find_spec(name).origin is None:  # a namespace, which others may share
    name = f"{name}.{rest.pop(0)}"
importlib.util.find_spec(name).loader.rebuild()
"""
"""What scikit-build-core's loader of an editable install offers."""


_OF_UV = "DEBUG "
"""What ``uv pip install -v`` puts before each line of a build."""


@dataclass(frozen=True)
class Install:
    """A project in this environment, with its models as one of the two modes has them."""

    project: Project
    mode: str

    @property
    def home(self) -> Path:
        """The directory of all that development makes."""
        return self.project.root / "build" / "develop"

    @property
    def build(self) -> Path:
        """The build directory. Each mode has its own: going to the other makes nothing anew."""
        return self.home / self.mode

    @property
    def package(self) -> Path:
        """Where the package of the models is."""
        return self._tree.joinpath(*self.project.package.split("."))

    @property
    def _tree(self) -> Path:
        return self.build / "install" / "platlib"

    @property
    def log(self) -> Path:
        """What pip, CMake and the steps printed last."""
        return self.home / f"{self.mode}.log"

    def is_current(self) -> bool:
        """Whether this is what was installed last, from the same declaration and tools."""
        try:
            told = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(told == self._state(self._declared())) and self.package.is_dir()

    def install(self) -> None:
        """Install the project by pip, or by uv where there is no pip.

        Raises:
            DevelopError: That fails for a reason that is not aotbuild's.
            SystemExit: It fails for one that is, which has been printed.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / ".gitignore").write_text("*\n", encoding="utf-8")
        editable = self.project.skbuild.get("editable")
        rebuild = editable.get("rebuild", False) if isinstance(editable, dict) else False
        settings = {
            "build-dir": self.build,
            "editable.rebuild-dir": self._tree,
            "editable.rebuild": "true" if rebuild is True else "false",
            f"cmake.define.{DEVELOP}": self.mode,
        }
        command = [*_installer(), "--no-build-isolation", "-v"]
        command += [f"-C{key}={value}" for key, value in settings.items()]
        declared = self._declared()
        self._run([*command, "-e", str(self.project.root)])
        importlib.invalidate_caches()
        text = json.dumps(self._state(declared), indent=1) + "\n"
        self._record.write_text(text, encoding="utf-8")

    def rebuild(self) -> None:
        """Make anew what depends on files that were changed; it raises what ``install`` does."""
        self._run([sys.executable, "-P", "-c", _REBUILD, self.project.package])

    def _run(self, command: list[str]) -> None:
        tools = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
        os.environ |= {"PATH": os.pathsep.join(tools), "SKBUILD_EDITABLE_VERBOSE": "1"}
        with (
            self.log.open("w", encoding="utf-8") as log,
            tempfile.TemporaryDirectory(prefix="aotbuild-") as temporary,
            live(self.project.package) as shown,
        ):
            said = Said(shown.say)

            def line(text: str) -> None:
                log.write(f"{text}\n")
                said.take(text.removeprefix(_OF_UV))

            status = run(command, Path(temporary), line, self.home)
            said.end()
        if status and said.errors:
            raise SystemExit("\n".join(said.errors))
        if status:
            raise DevelopError(
                "the project cannot be installed",
                where=str(self.project.root),
                why=said.last,
                fix=f"{self.log} has all that was printed",
            )

    @property
    def _record(self) -> Path:
        return self.home / "installed.json"

    def _declared(self) -> Mapping[str, str]:
        """The digests of what is read before anything is built."""
        return {name: self._digest(name) for name in ("pyproject.toml", "CMakeLists.txt")}

    def _state(self, declared: Mapping[str, str]) -> Mapping[str, Any]:
        """What an install depends on, but for the files that Ninja looks at."""
        return {
            "mode": self.mode,
            "declared": declared,
            "lock": self._digest(LOCK_FILE),  # which builds write, too
            "profile": wanted_profile(),
            "environment": sys.prefix,
            "tools": {
                "aotbuild": aotbuild_identity(),
                "torch": str(installed_torch()),
                "python": sys.version,
            },
            "installed": _installed(self.project.name),
        }

    def _digest(self, name: str) -> str:
        file = self.project.root / name
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _installed(name: str) -> str:
    """What tells one installation of a distribution from another; empty where there is none."""
    try:
        files = importlib.metadata.distribution(name).files or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    records = [Path(str(file.locate())) for file in files if file.name == "RECORD"]
    return "".join(f"{each}:{each.stat().st_mtime_ns}" for each in records if each.is_file())


def _version(name: str) -> str:
    """The version of a distribution; empty where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _installer() -> list[str]:
    """The command that installs, up to its options.

    Raises:
        DevelopError: There is neither pip nor uv.
    """
    if _version("pip"):  # setuptools warns where the module is looked for
        return [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "install"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    raise DevelopError(
        "there is nothing to install the project with",
        where=sys.prefix,
        why="this environment has no pip, and no uv is found",
        fix=f"{sys.executable} -m ensurepip",
    )
