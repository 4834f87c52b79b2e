"""Python modules without docstrings, which take a sixth of what is installed."""

from __future__ import annotations

import ast


def without_docstrings(text: str) -> str:
    """A module without the strings that describe it, each line at its number.

    Strings below names, which Python itself does not keep, are left out too.

    Args:
        text: The source.
    """
    lines = text.encode().splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        strings = [part for part in body if _is_string(part)]
        for part in strings:
            _leave_out(part, lines)
        if strings and len(strings) == len(body):  # a body has something
            lines[strings[0].lineno - 1] = b" " * strings[0].col_offset + b"...\n"
    return b"".join(lines).decode()


def _is_string(part: ast.stmt) -> bool:
    value = part.value if isinstance(part, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _leave_out(part: ast.stmt, lines: list[bytes]) -> None:
    """Empty the lines of a string, unless other code stands beside it."""
    first, last = part.lineno - 1, (part.end_lineno or part.lineno) - 1
    before, after = lines[first][: part.col_offset], lines[last][part.end_col_offset :]
    if not before.strip() and not after.strip():
        lines[first : last + 1] = [b"\n"] * (last + 1 - first)
