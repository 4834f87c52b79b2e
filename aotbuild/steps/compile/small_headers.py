"""Headers that keep C++'s streams, locales and regular expressions out of stand-alone libraries.

These are half a megabyte of the C++ library in each, for messages of errors. Torch's headers and
Inductor's code use few of their forms, which are rewritten to those of
``standalone/headers/aotbuild_text.h``. What has another form stays as it is: the library is larger
then, and works the same.
"""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

import torch

from aotbuild.steps.sources import source_directory

_OWN = {"iostream": "iostream.h", "aotbuild_text.h": "aotbuild_text.h", "sleef.h": "sleef.h"}
"""Files in the directory ``standalone/headers``, by the names that they are included by."""

_REWRITTEN = (
    "torch/csrc/inductor/aoti_runtime/*.h",
    "torch/headeronly/util/*.h",
    "c10/util/StringUtil.h",
)
"""Torch's headers whose code is in libraries."""

_INCLUDE = "#include <aotbuild_text.h>\n"
_FIRST = re.compile(r"^#include .*\n", re.MULTILINE)
_NAMESPACE = "aotbuild::text"

_STREAM = re.compile(r"\bstd::o?stringstream(?= (\w+);(?!\s*_str\(\1,))")
"""A stream that a text is put together in; one that begins with a text is read from, and one that
is handed to a function has to be a stream."""
_PRINTED = re.compile(
    r"\bstd::cerr(\s*<<(?:(?!std::(?:endl|flush|hex|set))[^;])*?)(<<\s*std::endl\s*)?;"
)
_JOINED = re.compile(
    r"std::ostringstream (\w+);(\s*)_str\(\1, args\.\.\.\);(\s*)"
    r"return (?:std::move\(\1\)|\1)\.str\(\);"  # moved since torch 2.14
)
_PLAIN = (
    rf"if constexpr ((... && {_NAMESPACE}::plain<Args>)) {{ "
    rf"return ({_NAMESPACE}::Text() << ... << args).str(); }} else {{"
    r"\2std::basic_ostringstream<char> \1; _str(\1, args...);\3return \1.str(); }"
)
"""How a message of ``TORCH_CHECK`` is put together."""
_DEVICE = re.compile(
    r'std::regex re\("\(cpu\|cuda\|xpu\|mps\)\(:\(\[0-9\]\+\)\)\?"\);\s*'
    r"std::smatch sm;\s*"
    r"bool matched = std::regex_match\(device_str, sm, re\);"
)
_MATCHED = f"const {_NAMESPACE}::DeviceName sm(device_str); bool matched = bool(sm);\n\n"
"""As many lines as what it replaces."""


def without_streams(text: str) -> str:
    """C++ code without streams, where that is known to be the same."""
    text = _JOINED.sub(_PLAIN, text)
    text = _STREAM.sub(f"{_NAMESPACE}::Text", text)
    text = _PRINTED.sub(_printed, text)
    return _DEVICE.sub(_MATCHED, text)


def _printed(statement: re.Match[str]) -> str:
    """A statement that prints; standard error, written to without C++'s streams, has no buffer."""
    end = r"<< '\n'" if statement[2] else ""
    return f"{_NAMESPACE}::Printed(){statement[1]}{end};"


def with_small_headers(code: str) -> str:
    """Code that includes headers without streams, if it has some itself."""
    changed = without_streams(code)
    if changed == code:
        return code
    # The first header may be precompiled, which none may precede.
    return _FIRST.sub(lambda line: f"{line[0]}{_INCLUDE}", changed, count=1)


def write_small_headers(directory: Path) -> None:
    """Write headers for a compiler to look into before those of torch and of C++'s library."""
    for name, text in _headers().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")


def have_regular_expressions() -> bool:
    """Whether these headers, of another torch, still call those of C++'s library."""
    return not any(_MATCHED in text for text in _headers().values())


@functools.cache
def headers_digest() -> str:
    """The digest of these headers."""
    include = str(Path(torch.__file__).parent)
    text = "\n".join(f"{name}\n{text}" for name, text in _headers().items())
    return hashlib.sha256(text.replace(include, "torch").encode()).hexdigest()[:16]


@functools.cache
def _headers() -> dict[str, str]:
    """Text of the headers by their names."""
    directory = source_directory("aotbuild") / "standalone" / "headers"
    found = {name: (directory / file).read_text("utf-8") for name, file in _OWN.items()}
    include = Path(torch.__file__).parent / "include"
    for part in _REWRITTEN:
        for path in sorted(include.glob(part)):
            text = path.read_text("utf-8")
            changed = without_streams(text)
            if changed != text:
                # Messages name the header's own place.
                name = str(path.relative_to(include))
                found[name] = f'{_INCLUDE}#line 1 "{path}"\n{changed}'
    return found
