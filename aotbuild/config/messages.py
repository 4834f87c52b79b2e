"""Words of the errors: places, enumerations and suggestions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ALSO_CALLED = {
    "float": "float32",
    "fp32": "float32",
    "double": "float64",
    "fp64": "float64",
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "byte": "uint8",
    "boolean": "bool",
}
"""Other names of things that spelling does not lead to."""


def located(path: str) -> str:
    """The place of a key, as errors show it."""
    return f"pyproject.toml: {path}"


def joined(path: str, key: str) -> str:
    """The dotted path of a key in a table, quoted where TOML wants quotes."""
    bare = re.fullmatch(r"[\w-]+", key)
    return f"{path}.{key}" if bare else f'{path}."{key}"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean "..."?`` for a likely typo, else an empty string."""
    likely = closest(word, known)
    return f'did you mean "{likely}"?' if likely else ""


def closest(word: str, known: Iterable[str]) -> str:
    """The name that a word is a likely typo of, or another word for; else an empty string."""
    names = {name.lower(): name for name in known}
    lowered = word.lower()
    if _ALSO_CALLED.get(lowered) in names:
        return _ALSO_CALLED[lowered]
    close = difflib.get_close_matches(lowered, list(names), n=1, cutoff=0.6)
    return names[close[0]] if close else ""


def folded(name: str) -> str:
    """A name without its case, and without what stands between its words."""
    return re.sub(r"[-_. ]", "", name).lower()


def choose_from(word: str, known: Iterable[str]) -> str:
    """The way out of a wrong choice: the likely one, and all."""
    names = list(known)
    hint = did_you_mean(word.rpartition(".")[2], names)
    if hint and len(names) == 1:
        return hint
    return f"{hint} " * bool(hint) + f"choose from {listed(names)}"


def listed(names: Iterable[str]) -> str:
    """Names as a readable enumeration."""
    return ", ".join(names)
