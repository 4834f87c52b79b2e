"""Poetry's constraints of versions, such as ``^1.2``, as those of pip."""

from __future__ import annotations

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet

_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def specifiers(constraint: str) -> str:
    """The specifiers of a constraint; empty for any version.

    Args:
        constraint: Such as ``^1.2``, ``~1.4``, ``1.*``, ``>=2,<3`` or ``1.5``.

    Raises:
        ValueError: It is none, or has alternatives, which specifiers have not.
    """
    text = constraint.strip()
    if text in {"", "*"}:
        return ""
    if "|" in text:
        raise ValueError(constraint)
    parts = [part for part in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", text) if part]
    whole = ",".join(_one(re.sub(r"\s+", "", part), constraint) for part in parts)
    try:
        SpecifierSet(whole)
    except InvalidSpecifier:
        raise ValueError(constraint) from None
    return whole


def _one(part: str, constraint: str) -> str:
    if part.startswith(("^", "~")) and not part.startswith("~="):
        version = part[1:]
        if not _NUMBERS.fullmatch(version):
            raise ValueError(constraint)
        return f">={version},<{_next(part[0], version)}"
    if part[0].isdigit():
        return f"=={part}"
    return part


def _next(sign: str, version: str) -> str:
    """The first version that a caret, or a tilde, does not allow."""
    numbers = [int(number) for number in version.split(".")]
    if sign == "~":
        kept = min(len(numbers), 2)
    else:  # the first number that is not zero may not change
        kept = next((i + 1 for i, number in enumerate(numbers) if number), len(numbers))
    return ".".join(map(str, [*numbers[: kept - 1], numbers[kept - 1] + 1]))
