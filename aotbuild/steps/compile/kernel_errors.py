"""Generated kernels: errors in their loops are errors of the call, and not the end of the process.

Inductor checks computed indices where it uses them, and throws. It does so in loops that OpenMP
runs on several threads, which no exception may leave: an index outside of a table would end the
process, where eager torch raises an error.

A kernel that throws in a parallel part of another form than is known here, as a newer torch may
write it, runs on one thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_THROWING = "AOTI_TORCH_CHECK("
_LOOPS = re.compile(r"#pragma omp for(?: collapse\((\d+)\))?")

_PARALLEL = "#pragma omp parallel"
_ALONE = "#pragma omp single"
"""Before a block that one of the threads runs."""
_PRAGMA = re.compile(r"^ *#pragma omp .*\n", re.MULTILINE)
"""All that divides work among threads: without it, the same work is done by one."""

_BEFORE = """\
    std::exception_ptr aot_error;
    std::atomic<bool> aot_failed{false};
"""
_CATCH = "} catch (...) { if (!aot_failed.exchange(true)) aot_error = std::current_exception(); }"
_AFTER = "    if (aot_failed) std::rethrow_exception(aot_error);\n"


def with_caught_errors(code: str) -> str:
    """Kernels that run to their end when an iteration throws, and throw then.

    Args:
        code: C++ code of kernels. Those that cannot throw stay as they are.
    """
    return "".join(_kernel(part) for part in re.split(r'^(?=extern "C")', code, flags=re.MULTILINE))


def _kernel(code: str) -> str:
    if _THROWING not in code or _PARALLEL not in code:
        return code
    lines = code.splitlines(keepends=True)
    opening = next((i for i, line in enumerate(lines) if line.rstrip() == "{"), None)
    if opening is None:
        return code
    closing = _matching(lines, opening)
    changed = list(lines)
    bodies = list(_bodies(lines))
    if _throws_elsewhere(lines, bodies):
        return _PRAGMA.sub("", code)
    for start, end in bodies:
        changed[start] = changed[start].replace("{", "{ try {", 1)
        head, tail = changed[end].rsplit("}", 1)
        changed[end] = f"{head}{_CATCH} }}{tail}"
    changed[opening] += _BEFORE
    changed[closing] = _AFTER + changed[closing]
    return "".join(changed)


def _throws_elsewhere(lines: Sequence[str], bodies: Sequence[tuple[int, int]]) -> bool:
    """Whether something is thrown in a parallel part, and not where it will be caught."""
    parallel = [(i, _matching(lines, i + 1)) for i, line in enumerate(lines) if _PARALLEL in line]
    throwing = [i for i, line in enumerate(lines) if _THROWING in line]
    return any(
        any(start < i <= end for start, end in parallel)
        and not any(start <= i <= end for start, end in bodies)
        for i in throwing
    )


def _bodies(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The first and the last line of each parallel loop's body, and of what one thread runs."""
    for i, line in enumerate(lines):
        match = _LOOPS.fullmatch(line.strip())
        if not match and line.strip() != _ALONE:
            continue
        at, nested = i, int(match[1] or 1) if match else 0
        for _ in range(nested):
            at = next(j for j in range(at + 1, len(lines)) if lines[j].lstrip().startswith("for("))
        start = next(j for j in range(at + 1, len(lines)) if lines[j].strip())
        if lines[start].strip() == "{":
            yield start, _matching(lines, start)


def _matching(lines: Sequence[str], opening: int) -> int:
    """The line with the brace that closes the one on the line ``opening``."""
    depth = 0
    for i in range(opening, len(lines)):
        depth += lines[i].count("{") - lines[i].count("}")
        if depth == 0:
            return i
    return len(lines) - 1
