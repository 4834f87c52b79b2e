"""flit: one module, whose docstring and ``__version__`` are the metadata."""

from __future__ import annotations

import ast
from pathlib import Path

from aotbuild.commands.init.backends.move import Move, need_project, of_module, refuse_keys
from aotbuild.commands.init.backends.versions import file_of, version_of_name
from aotbuild.commands.init.document import Document
from aotbuild.errors import InitError

_FLIT = ("tool", "flit")


def move_flit(document: Document, root: Path) -> Move:
    """Move from flit.

    Raises:
        InitError: It is told what scikit-build-core has nothing for.
    """
    need_project(document, "tool.flit.metadata, as flit before 3.2 has it")
    refuse_keys(document, (*_FLIT, "external-data"), {"directory": "installs files of data"})
    name = str(document.get(*_FLIT, "module", "name") or "")
    name = name or str(document.get("project", "name")).replace("-", "_")
    packages = of_module(root, name, ("src", ""))
    file = file_of(root, name)
    dynamic = document.get("project", "dynamic") or []
    if "description" in dynamic:
        text = ast.get_docstring(ast.parse((root / file).read_bytes())) or ""
        if not text.strip():
            raise InitError(
                "the description of the project is not found",
                where=file,
                why="it is the first line of this file's docstring, which has none",
                fix="write description into [project], and call init again",
            )
        document.set(("project", "description"), text.strip().splitlines()[0])
        document.drop_dynamic("description")
    if "version" in dynamic:
        version_of_name(document, root, file, "__version__")
    document.remove(*_FLIT)
    return Move(("flit-core",), (), packages)
