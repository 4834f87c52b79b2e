"""Projects as people lay them out, each by another backend: what ``init`` is tried with."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

NET = """
import torch
from torch import nn

from .parts import Block


class Tagger(nn.Module):
    '''Tags each row.'''

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.blocks = nn.Sequential(Block(width), Block(width))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.blocks(rows).softmax(-1)
"""
PARTS = """
from torch import nn, relu


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return relu(self.linear(x))
"""


@dataclass(frozen=True)
class Layout:
    """A project that knows nothing of aotbuild yet."""

    pyproject: str
    package: str
    """Where its package is."""
    files: dict[str, str]
    """Other files; of Python where the name ends so."""
    models: str
    """The package of the compiled models once they are declared."""
    version: str = "1.2.3"
    inside: tuple[str, ...] = ()
    """Files that the wheel has, besides the package's modules."""
    outside: tuple[str, ...] = ()
    """Files that it has not."""
    directory: str = "."
    """Where the project is in its repository."""

    def write(self, root: Path) -> Path:
        """Write it, and return the directory of the project."""
        package = f"{self.package}/"
        files = {
            f"{package}net.py": NET,
            f"{package}parts.py": PARTS,
            f"{package}data/labels.txt": "a b",
            **self.files,
        }
        if f"{package}__init__.py" not in files:
            files[f"{package}__init__.py"] = '"""A tagger."""\n'
        project = root / self.directory
        for name, text in {"pyproject.toml": self.pyproject, **files}.items():
            if text:
                (project / name).parent.mkdir(parents=True, exist_ok=True)
                (project / name).write_text(textwrap.dedent(text).lstrip("\n"), "utf-8")
        return project

    @property
    def name(self) -> str:
        """The import name of its package."""
        return self.models.rpartition(".")[0]


VERSIONED = '"""A tagger."""\n\n__version__ = "1.2.3"\n'
TEST = {"tests/test_it.py": "", "tests/__init__.py": "# tests\n"}

LAYOUTS = {
    "setuptools-flat": Layout(
        """
        [build-system]
        requires = ["setuptools>=61", "wheel"]
        build-backend = "setuptools.build_meta"

        [project]
        name = "tagger"
        version = "1.2.3"   # by hand
        requires-python = ">=3.11"
        dependencies = ["packaging"]

        [project.optional-dependencies]
        plot = ["matplotlib"]

        [project.scripts]
        tagger = "tagger.net:main"

        [tool.setuptools]
        include-package-data = true
        """,
        "tagger",
        {**TEST, "setup.py": "from setuptools import setup\n\nsetup()\n"},
        "tagger.models",
        outside=("tests/__init__.py",),
    ),
    "setuptools-src": Layout(
        """
        [project]
        name = "acme-tagger"
        dynamic = ["version", "dependencies", "readme"]
        requires-python = ">=3.11"

        [build-system]
        requires = ["setuptools"]
        build-backend = "setuptools.build_meta"

        [tool.setuptools.packages.find]
        where = ["src"]
        exclude = ["tagger.internal*"]

        [tool.setuptools.package-data]
        tagger = ["data/*.txt"]

        [tool.setuptools.dynamic]
        version = { attr = "tagger.__version__" }
        dependencies = { file = ["requirements.txt"] }
        readme = { file = "README.md" }

        [tool.mypy]
        strict = true
        """,
        "src/tagger",
        {
            **TEST,
            "src/tagger/__init__.py": VERSIONED,
            "src/tagger/internal/__init__.py": "# not shipped\n",
            "requirements.txt": "packaging>=20  # versions\n\n# more\n",
            "README.md": "# Tagger\n",
        },
        "tagger.models",
        outside=("tagger/internal/__init__.py",),
    ),
    "hatchling-src": Layout(
        """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"

        [project]
        name = "tagger"
        dynamic = ["version"]
        requires-python = ">=3.11"
        dependencies = []

        [tool.hatch.version]
        path = "src/tagger/_about.py"
        pattern = 'TAG = "v(?P<version>[^"]+)"'

        [tool.hatch.build.targets.sdist]
        exclude = ["/docs"]

        [tool.hatch.build.targets.wheel]
        packages = ["src/tagger"]
        exclude = ["src/tagger/data/*.raw"]

        [tool.hatch.envs.test]
        dependencies = ["pytest"]
        """,
        "src/tagger",
        {**TEST, "src/tagger/_about.py": 'TAG = "v1.2.3"\n', "src/tagger/data/a.raw": "raw"},
        "tagger.models",
        outside=("tagger/data/a.raw",),
    ),
    "hatchling-flat": Layout(
        """
        [build-system]
        requires = ["hatchling>=1.20"]
        build-backend = "hatchling.build"

        [project]
        name = "Tagger"
        version = "1.2.3"
        requires-python = ">=3.11"
        """,
        "tagger",
        TEST,
        "tagger.models",
        outside=("tests/__init__.py",),
    ),
    "poetry-flat": Layout(
        """
        [tool.poetry]
        name = "tagger"
        version = "1.2.3"
        description = "Tags rows"
        authors = ["Ada Example <ada@example.org>"]
        license = "MIT"
        keywords = ["tags"]

        [tool.poetry.dependencies]
        python = "^3.11"
        packaging = "^23.1"
        tomlkit = { version = "~0.12", optional = true }

        [tool.poetry.extras]
        edit = ["tomlkit"]

        [tool.poetry.scripts]
        tagger = "tagger.net:main"

        [tool.poetry.group.dev.dependencies]
        pytest = "*"

        [build-system]
        requires = ["poetry-core"]
        build-backend = "poetry.core.masonry.api"
        """,
        "tagger",
        TEST,
        "tagger.models",
        outside=("tests/__init__.py",),
    ),
    "poetry-src": Layout(
        """
        [project]
        name = "acme-tagger"
        dynamic = ["version"]
        requires-python = ">=3.11"
        dependencies = ["packaging (>=23.1,<27.0)"]

        [tool.poetry]
        version = "1.2.3"
        packages = [{ include = "tagger", from = "src" }]

        [build-system]
        requires = ["poetry-core>=2.0"]
        build-backend = "poetry.core.masonry.api"
        """,
        "src/tagger",
        TEST,
        "tagger.models",
    ),
    "flit-flat": Layout(
        """
        [build-system]
        requires = ["flit_core >=3.2,<5"]
        build-backend = "flit_core.buildapi"

        [project]
        name = "tagger"
        requires-python = ">=3.11"
        dynamic = ["version", "description"]
        """,
        "tagger",
        {**TEST, "tagger/__init__.py": VERSIONED},
        "tagger.models",
        outside=("tests/__init__.py",),
    ),
    "flit-src-member": Layout(
        """
        [build-system]
        requires = ["flit_core >=3.2,<5"]
        build-backend = "flit_core.buildapi"

        [project]
        name = "acme-tagger"
        version = "1.2.3"
        description = "One of several projects of a repository"
        requires-python = ">=3.11"

        [tool.flit.module]
        name = "tagger"
        """,
        "src/tagger",
        {"../other/pyproject.toml": '[project]\nname = "other"\n', "src/tagger/models.py": "X = 1"},
        "tagger.compiled",
        directory="packages/tagger",
    ),
    "namespace": Layout(
        """
        [build-system]
        requires = ["hatchling", "hatch-vcs"]
        build-backend = "hatchling.build"

        [project]
        name = "acme.tagger"
        dynamic = ["version"]
        requires-python = ">=3.11"

        [tool.hatch.version]
        source = "vcs"

        [tool.hatch.build.hooks.vcs]
        version-file = "src/acme/tagger/_version.py"

        [tool.hatch.build.targets.wheel]
        packages = ["src/acme"]
        """,
        "src/acme/tagger",
        TEST,
        "acme.tagger.models",
    ),
    "c-extension": Layout(
        """
        [build-system]
        requires = ["scikit-build-core>=0.10"]
        build-backend = "scikit_build_core.build"

        [project]
        name = "tagger"
        version = "1.2.3"
        requires-python = ">=3.11"

        [tool.scikit-build]
        minimum-version = "build-system.requires"
        """,
        "src/tagger",
        {
            "CMakeLists.txt": """
                cmake_minimum_required(VERSION 3.15...4.0)
                project(tagger LANGUAGES C)
                find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
                python_add_library(_fast MODULE src/fast.c WITH_SOABI)
                install(TARGETS _fast DESTINATION tagger)
                """,
            "src/fast.c": """
                #include <Python.h>
                static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_fast"};
                PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&definition); }
                """,
        },
        "tagger.models",
    ),
    "uv-src": Layout(
        """
        [project]
        name = "tagger"
        version = "1.2.3"
        requires-python = ">=3.11"
        dependencies = []

        [build-system]
        requires = ["uv_build>=0.5"]
        build-backend = "uv_build"
        """,
        "src/tagger",
        TEST,
        "tagger.models",
    ),
    "none": Layout(
        "",
        "tagger",
        TEST,
        "tagger.models",
        version="0.1.0",
        directory="tagger-1",
    ),
}
"""By name; all of them become projects that build."""

ARGUMENTS = ("--input", "rows=float32[batch,6]", "--dim", "batch=1..9", "--name", "net")
