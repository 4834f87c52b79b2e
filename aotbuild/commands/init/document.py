"""pyproject.toml as text whose comments, order and spacing stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError

from aotbuild.errors import InitError


class Document:
    """A pyproject.toml that is being changed.

    Args:
        text: Its text; empty where there is none.

    Raises:
        InitError: It is no TOML.
    """

    def __init__(self, text: str) -> None:
        try:
            self._toml = tomlkit.parse(text)
            if "build-system" not in self._toml:
                self._toml = tomlkit.parse(f"[build-system]\nrequires = []\n\n{text}")
        except TOMLKitError as error:
            raise InitError(
                "pyproject.toml is no valid TOML", where="pyproject.toml", why=str(error)
            ) from None
        self._added: list[str] = []

    def get(self, *path: str) -> Any:
        """The value at a path, as plain Python; None where there is none."""
        found: Any = self._toml
        for key in path:
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return found.unwrap() if hasattr(found, "unwrap") else found

    def set(self, path: Iterable[str], value: Any) -> None:
        """Set a value of a table, which is made at the end where there is none."""
        *tables, key = path
        table: Any = self._toml
        for name in tables:
            if name not in table:
                table[name] = tomlkit.table()
            table = table[name]
        table[key] = _array(value) if isinstance(value, list) else value

    def remove(self, *path: str) -> None:
        """Remove a value, and the tables that are empty then."""
        holders: list[Any] = [self._toml]
        for name in path:
            if not isinstance(holders[-1], Mapping) or name not in holders[-1]:
                return
            holders.append(holders[-1][name])
        del holders[-2][path[-1]]
        for holder, name in reversed([*zip(holders, path[:-1], strict=False)]):
            if holder[name]:
                break
            del holder[name]

    def add_dynamic(self, field: str) -> None:
        """Declare a field of ``[project]`` as dynamic."""
        given = self.get("project", "dynamic") or []
        if field not in given:
            self.set(("project", "dynamic"), [*given, field])

    def drop_dynamic(self, field: str) -> None:
        """Declare a field of ``[project]`` as dynamic no more: it has a value."""
        given = self.get("project", "dynamic") or []
        self.set(("project", "dynamic"), [each for each in given if each != field])

    def add_tables(self, text: str) -> None:
        """Add tables at the end."""
        self._added.append(text)

    def require(self, wanted: Iterable[str], dropped: Iterable[str]) -> None:
        """Change what builds require.

        Args:
            wanted: Requirements; those whose package is required already stay as they are.
            dropped: Packages that are not required any more.
        """
        given = [str(each) for each in self.get("build-system", "requires") or []]
        gone = set(dropped)
        kept = [text for text in given if _name(text) not in gone]
        names = {_name(text) for text in kept}
        kept += [text for text in wanted if _name(text) not in names]
        self.set(("build-system", "requires"), kept)

    def text(self) -> str:
        """The whole text.

        Raises:
            InitError: What was added does not fit what is there.
        """
        text = tomlkit.dumps(self._toml).rstrip("\n")
        whole = "\n\n".join([*([text] if text else []), *(t.rstrip("\n") for t in self._added)])
        try:
            tomlkit.parse(whole)
        except TOMLKitError as error:
            raise InitError(
                "the declaration cannot be added to pyproject.toml",
                where="pyproject.toml",
                why=str(error),
                fix="write the tables that are there as [tool.name], not as tool.name = { ... }",
            ) from None
        return f"{whole}\n"


def _array(values: Iterable[Any]) -> Any:
    """An array on one line, of tables too."""
    array = tomlkit.array()
    for value in values:
        item = value
        if isinstance(value, Mapping):
            item = tomlkit.inline_table()
            item.update(value)
        array.append(item)
    return array


def _name(requirement: str) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return requirement
