"""A private part of torch, and what aotbuild does with a few of them."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import Version

NEWEST = "2.15"
SEEN = f"2.13 to {NEWEST}"
"""Versions of torch in which all parts are that tell no other."""


@dataclass(frozen=True)
class Part:
    """A name of torch's code that it promises to nobody."""

    name: str
    """With dots, from ``torch`` on."""
    parameters: tuple[str, ...] = ()
    """Of a function: the parameters that aotbuild gives, in this order."""
    since: str = ""
    """The first version of torch that has it, of a part that older ones do without."""

    def __str__(self) -> str:
        return self.name

    def is_there(self) -> bool:
        """Whether this torch has it."""
        found = _resolved(self.name)
        if found is _NOTHING:
            return False
        return not self.parameters or _takes(found, self.parameters)

    def is_expected(self) -> bool:
        """Whether this torch should have it: it is not older than the part."""
        return not self.since or Version(torch_version()).release >= Version(self.since).release


@dataclass(frozen=True)
class Text(Part):
    """A text of a file of torch, as of the code that Inductor writes: some of it is rewritten."""

    text: str = ""
    """``name`` is the path of the file in the package of torch."""

    def __str__(self) -> str:
        return f"{self.text.strip()} in {self.name}"

    def is_there(self) -> bool:
        """Whether this torch writes it so."""
        return self.text in _file(self.name)


@dataclass(frozen=True)
class Option(Part):
    """An option of Inductor; ``name`` is that of it in a table of options."""

    def __str__(self) -> str:
        return f"torch._inductor.config.{self.name}"

    def is_there(self) -> bool:
        """Whether this torch has the option."""
        entries = _resolved("torch._inductor.config._config")
        return entries is not _NOTHING and self.name in entries


EXPORT, COMPILE, RUN = "export", "compile", "run"
"""When something is used: while a model is traced, while it is compiled, and by wheels."""


@dataclass(frozen=True)
class Use:
    """What aotbuild does inside torch."""

    name: str
    when: str
    does: str
    """What it is for."""
    without: str
    """What happens where a part is missing."""
    parts: Sequence[Part]
    required: bool = False
    """Whether there is no build without it: a model could not be compiled, or not rightly."""
    passes: Sequence[str] = ()
    """The passes that step aside without it."""

    def missing(self) -> list[Part]:
        """The parts that this torch does not have, though it may be older than they are."""
        return [part for part in self.parts if not part.is_there()]


def names(module: str, *attributes: str, since: str = "") -> list[Part]:
    """Several names of one module or class.

    Args:
        module: The module or class.
        attributes: The names in it.
        since: The first version of torch that has them, if older ones do without.
    """
    return [Part(f"{module}.{attribute}", since=since) for attribute in attributes]


def texts(file: str, *written: str) -> list[Part]:
    """Several texts of one file."""
    return [Text(file, text=text) for text in written]


@functools.cache
def torch_version() -> str:
    """The version of torch, of its metadata; 0 where there is none."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "0"


_NOTHING: Any = object()


def _resolved(name: str) -> Any:
    """What a name stands for; ``_NOTHING`` where there is none of it."""
    found: Any = _NOTHING
    path = ""
    for word in name.split("."):
        path = f"{path}.{word}".lstrip(".")
        # Functions hide modules of the same name, such as torch._higher_order_ops.while_loop.
        following = sys.modules.get(path, _NOTHING)
        if following is _NOTHING:
            following = getattr(found, word, _NOTHING)
        if following is _NOTHING:
            try:
                with warnings.catch_warnings(action="ignore"):  # of torch's own modules
                    following = importlib.import_module(path)
            except (ImportError, AttributeError):
                return _NOTHING
        found = following
    return found


def _takes(function: Any, parameters: Sequence[str]) -> bool:
    """Whether a function, or the constructor of a class, has these parameters, in this order."""
    # inspect.signature takes half a millisecond for each.
    called: Any = function.__init__ if inspect.isclass(function) else function
    code = getattr(inspect.unwrap(called), "__code__", None)
    if code is None:  # a function of C++ tells none
        return True
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return [name for name in named if name in parameters] == list(parameters)


@functools.cache
def _file(name: str) -> str:
    """The text of a file of torch's package; empty where there is none."""
    spec = importlib.util.find_spec("torch")
    path = Path(spec.origin).parent / name if spec and spec.origin else None
    return path.read_text("utf-8") if path and path.is_file() else ""
