"""Names in C: what a package, its models, and their arguments and results are called there."""

from __future__ import annotations

import re
from collections.abc import Iterable

_C = """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while
"""
_CPP = """
    alignas alignof and and_eq asm bitand bitor bool catch char16_t char32_t char8_t class co_await
    co_return co_yield compl concept const_cast consteval constexpr constinit decltype delete
    dynamic_cast explicit export false friend mutable namespace new noexcept not not_eq nullptr
    operator or or_eq private protected public reinterpret_cast requires static_assert static_cast
    template this thread_local throw true try typeid typename typeof using virtual wchar_t xor
    xor_eq
"""
_MACROS = """
    NULL EOF I assert complex errno imaginary linux major minor offsetof stderr stdin stdout unix
"""
_KEYWORDS = frozenset((_C + _CPP + _MACROS).split())
"""Of C and C++, and what common headers and compilers define as macros."""


def identifier(text: str) -> str:
    """Words that may be a name in C and C++, made of an expression such as ``cache[0]["k"]``."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "value"
    words = f"_{words}" if words[0].isdigit() else words
    return f"{words}_" if words in _KEYWORDS else words


class Taken:
    """Names of one scope, each given once."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def take(self, name: str) -> str:
        """``name``, with underscores behind it where others have it."""
        return self.take_all(name, [""])

    def take_all(self, name: str, endings: Iterable[str]) -> str:
        """A name that is free with each of the endings, which are taken."""
        endings = list(endings)
        while not self._names.isdisjoint(name + ending for ending in endings):
            name += "_"
        self._names.update(name + ending for ending in endings)
        return name


def package_name(package: str) -> str:
    """What a package is called in C and CMake: its import name, without a last ``.models``."""
    return identifier(package.removesuffix(".models"))
