"""Why there was nothing in the cache, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from aotbuild.cache.history import History, Parts
from aotbuild.cache.store import Found

_TEXTS = {
    "program": "the exported program changed",
    "call": "the declared inputs changed",
    "weights": "the names or shapes of the weights changed",
    "values": "weights used at compile time changed",
    "options": "the options changed",
    "recipe": "the recipe changed",
    "passes": "the passes changed",
    "target": "the target changed",
    "torch": "torch changed",
    "packages": "packages that compile changed",
    "compiler": "the C++ compiler changed",
    "environment": "the environment changed",
    "machine": "this machine has another CPU, for which weights are packed or kernels are chosen",
    "python": "Python changed",
    "aotbuild": "aotbuild changed",
}
"""The parts of a key, the most telling first."""

_NAMED = {
    *("recipe", "passes", "weights", "options", "call", "torch", "packages", "environment"),
    *("python", "aotbuild"),
}
"""The parts of which it helps to know what in them is different."""

_IMPLIED = {"machine"}
"""The parts that are there only where other ones say that they matter; of the values, too, all are
there only then."""

WHOLE = "value"
"""The name in a part that has only one value."""

_MOST = 3
"""How many differences are named."""
_LONGEST = 60
"""Characters of a value that is shown."""


def why_missing(history: History, target: str, parts: Parts, result: Found) -> str:
    """Why an entry was not there, or could not be used.

    Args:
        history: What was made before.
        target: What it was asked for.
        parts: What its key is made of.
        result: What came of asking.
    """
    if result is Found.DAMAGED:
        return "its entry was damaged"
    last = history.last(target)
    if last is None:
        others = [other for other in history.targets() if other != target]
        if others:
            return f"the target is new (before: {', '.join(others)})"
        return "it has not been built before with this cache"
    names = {**_TEXTS, **parts, **last}
    changed = [name for name in names if _differs(name, last.get(name), parts.get(name))]
    if not changed:  # but what follows from other changes
        changed = [name for name in names if last.get(name) != parts.get(name)]
    if not changed:
        return "its entry was removed from the cache"
    return "; ".join(_change(name, last.get(name, {}), parts.get(name, {})) for name in changed)


def _differs(part: str, before: Mapping[str, str] | None, now: Mapping[str, str] | None) -> bool:
    """Whether a part is different by itself."""
    if part in _IMPLIED and (before is None or now is None):
        return False
    if part == "values" and before is not None and now is not None:
        return any(before[name] != now[name] for name in before.keys() & now.keys())
    return before != now


def _change(part: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    text = _TEXTS.get(part, f"{part} changed")
    if part in _TEXTS and part not in _NAMED:
        return text
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    differences = [_difference(name, before.get(name), now.get(name)) for name in names[:_MOST]]
    if len(names) > _MOST:
        differences.append(f"{len(names) - _MOST} more")
    return f"{text} ({', '.join(differences)})"


def _difference(name: str, before: str | None, now: str | None) -> str:
    if not _is_telling(before) or not _is_telling(now):
        return name
    text = f"{_short(before)}, now {_short(now)}"
    return text if name == WHOLE else f"{name}: {text}"


def _is_telling(value: str | None) -> bool:
    """Whether a value is one that a user would know: no digest."""
    return value is None or not (len(value) == 64 and set(value) <= set("0123456789abcdef"))


def _short(value: str | None) -> str:
    if value is None:
        return "none"
    if len(value) > 1 and value[0] == value[-1] == '"':  # a text as JSON has it
        value = value[1:-1]
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
