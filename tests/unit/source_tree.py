"""The repository's own files, as the tests of its shape read them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "aotbuild"


def module_name(file: Path) -> str:
    """The name of a module of aotbuild."""
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
"""All modules of aotbuild by name."""


def tree_of(file: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(name: str) -> Iterator[str]:
    """The modules of aotbuild that one of them imports, in functions and for types too."""
    file = MODULES[name]
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            words = [*(base if node.level else []), *([node.module] if node.module else [])]
            for alias in node.names:
                for candidate in (".".join([*words, alias.name]), ".".join(words)):
                    if candidate in MODULES:
                        yield candidate
                        break


def import_graph() -> dict[str, set[str]]:
    """For each module of aotbuild, those that it imports."""
    return {name: set(imported(name)) - {name} for name in MODULES}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one circle of imports, each importing the next; none if there is no circle."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        waiting = [(start, iter(sorted(graph[start])))]
        while waiting:
            name, rest = waiting[-1]
            if name not in path:
                path.append(name)
            following = next(rest, None)
            if following is None:
                done.add(name)
                path.pop()
                waiting.pop()
            elif following in path:
                return path[path.index(following) :]
            elif following not in done:
                waiting.append((following, iter(sorted(graph[following]))))
    return []


def page(name: str) -> str:
    """The text of a page of documentation."""
    return (REPOSITORY / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level, up to the next one."""
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    assert found, f"there is no heading {heading!r}"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The cells of the first table in a text, without its head."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
    assert rows
    return rows


def code(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)
