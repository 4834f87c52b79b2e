"""uv's own backend: modules below one directory."""

from __future__ import annotations

from pathlib import Path

from aotbuild.commands.init.backends.move import Move, need_project, of_module, refuse_keys
from aotbuild.commands.init.document import Document

_UV = ("tool", "uv", "build-backend")


def move_uv(document: Document, root: Path) -> Move:
    """Move from uv_build."""
    need_project(document, "files of another backend")
    refuse_keys(document, _UV, {"data": "installs files outside its packages"})
    base = document.get(*_UV, "module-root")
    base = "src" if base is None else str(base)
    names = document.get(*_UV, "module-name")
    names = (
        names or str(document.get("project", "name")).replace("-", "_").replace(".", "_").lower()
    )
    packages: dict[str, str] = {}
    for name in [names] if isinstance(names, str) else names:
        packages |= of_module(root, str(name), (base,))
    excluded = tuple(str(each) for each in document.get(*_UV, "wheel-exclude") or [])
    document.remove(*_UV)
    return Move(("uv-build",), (), packages, excluded)
