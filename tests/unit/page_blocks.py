"""The blocks of a page of documentation, and what typing them in does.

A block whose first line is a comment with the name of a file is that file, or, where there is one
of TOML already, what is added to it. A line of a console that begins with ``$`` is a command; what
stands below it is what it prints, with ``...`` for what is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from source_tree import REPOSITORY
from torch_pin import pinned

FAILS = "aotbuild: error: "
"""How a block of text begins that tells what the command before it prints when it fails."""

_MARK = "--- ended with"
_NAMED = re.compile(r"# ([\w./-]+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str

    @property
    def file(self) -> str:
        """The file that it is; empty where it is none."""
        named = _NAMED.match(self.text)
        return named[1] if named else ""

    @property
    def content(self) -> str:
        """Its text without the name of the file."""
        return _NAMED.sub("", self.text, count=1)

    def commands(self) -> Iterator[tuple[str, str]]:
        """The commands of a console, each with what it prints."""
        assert self.language == "console", self.language
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed


def blocks(page: str) -> list[Block]:
    """The blocks of a page, by its path in the repository."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(match[1], match[2]) for match in found]


def write(block: Block, directory: Path) -> None:
    """Write the file that a block is, or add it to the one that is there."""
    path = directory / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    text = pinned(block.content)
    if block.language == "toml" and path.exists():
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        text = tomlkit.dumps(merged(table, tomllib.loads(text)))
    path.write_text(text, encoding="utf-8")


def merged(table: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A table with what another one has besides, or has otherwise."""
    both = {
        key: merged(table[key], other[key])
        for key in table.keys() & other.keys()
        if isinstance(table[key], dict) and isinstance(other[key], dict)
    }
    return {**table, **other, **both}


def first_project(directory: Path) -> Path:
    """The project of the README's first page, as it is typed in."""
    for block in blocks("README.md"):
        if block.file:
            write(block, directory)
    (directory / "src/digits/__init__.py").touch()
    return directory


def type_in(page: str, directory: Path) -> None:
    """Write the files of a page and run its commands, in their order.

    What a command prints has to be what the page shows, and one fails only where the page tells.
    What the page installs is there already, but for wheels of its own, which go into ``site``.
    """
    found = blocks(page)
    for block, after in zip(found, [*found[1:], Block("", "")], strict=True):
        if block.file:
            write(block, directory)
        elif block.language == "console":
            _run(block, directory, after.text if after.text.startswith(FAILS) else "")


def _run(block: Block, directory: Path, error: str) -> None:
    """Run the commands of a block, the last of which may have to fail with an error."""
    commands = [(c, p) for c, p in block.commands() if not _is_there(c)]
    script = "\n".join(f"{command}\nprintf '\\n{_MARK} %s\\n' $?" for command, _ in commands)
    site = directory / "site"
    script = script.replace("pip install ", f"pip install --no-deps --target '{site}' ")
    done = subprocess.run(
        ["bash", "-uc", script],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PIP_NO_BUILD_ISOLATION": "0",  # 0 is how pip reads that there is to be none
            "PIP_NO_INDEX": "1",
            "PYTHONPATH": str(site),
            "PYTHONWARNINGS": "ignore",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    ends = re.split(rf"\n{_MARK} (\d+)\n", done.stdout)
    assert len(ends) == 2 * len(commands) + 1, f"not all commands ran\n{done.stdout}"
    for (command, printed), output, status in zip(commands, ends[:-1:2], ends[1::2], strict=True):
        fails = bool(error) and command == commands[-1][0]
        assert (status != "0") == fails, f"{command}\n{output}"
        _compare(command, error if fails else printed, output)


def _is_there(command: str) -> bool:
    """Whether a command installs what the environment of the tests has."""
    return command.startswith("pip install ") and ".whl" not in command


def _compare(command: str, shown: str, output: str) -> None:
    """Make sure that what a page shows stands in an output, in its order."""
    rest = " ".join(output.split())
    for part in filter(str.strip, shown.split("...")):
        _, found, rest = rest.partition(" ".join(part.split()))
        assert found, f"{command}\nshows {part!r}, but prints\n{output}"
