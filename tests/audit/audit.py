"""Compare compiled operators with exact results, and write the table of docs/numerics.md.

    PYTHONPATH=tests/wheels python tests/audit/audit.py --levels x86-64-v3 --dtypes int8,uint8

Without options, which ``--help`` lists, all of it. Records are kept in build/audit.json, by
operator, type and level: a part of the audit that is run again replaces that part of the table. It
ends with an error if a compiled operator is off by more than 4 units in the last place, and by more
than eager torch, and ``explained.py`` does not say why.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from compile_many import Case, cases, eager, results
from grids import DTYPES
from operators import OPERATORS
from report import unexplained, write_table
from ulp import Error, largest

from aotbuild.errors import CompileError

_AT_ONCE = 180
"""Cases in one library."""
_RECORDS = Path("build/audit.json")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--levels", default="x86-64-v3,x86-64-v4")
    parser.add_argument("--dtypes", default=",".join(str(d).removeprefix("torch.") for d in DTYPES))
    parser.add_argument("--kinds", default="unary,binary,rows")
    parser.add_argument("--only", default="")
    parser.add_argument("--stock", action="store_true", help="Inductor's own code; no table")
    given = parser.parse_args()
    chosen = [each for each in OPERATORS if given.only in each.name]
    chosen = [each for each in chosen if each.kind in given.kinds.split(",")]
    known: dict[str, Any] = json.loads(_RECORDS.read_text()) if _RECORDS.exists() else {}
    for dtype in given.dtypes.split(","):
        every = cases(chosen, getattr(torch, dtype))
        for level in given.levels.split(","):
            for start in range(0, len(every), _AT_ONCE):
                began = time.monotonic()
                some = every[start : start + _AT_ONCE]
                found = _measure(some, f"cpu-{level}", exact=not given.stock)
                spent = time.monotonic() - began
                print(f"{dtype} {level}: {start + len(some)} of {len(every)}, {spent:.0f} s")
                if given.stock:
                    print(*(json.dumps(each) for each in found if each["compiled"] > 1), sep="\n")
                    continue
                known |= {_key(each): each for each in found}
                _RECORDS.parent.mkdir(exist_ok=True)
                _RECORDS.write_text(json.dumps(known, indent=1))
                write_table(list(known.values()))
    missing = unexplained(list(known.values()))
    if missing:
        sys.exit("off by more than 4 units, and not explained:\n" + "\n".join(missing))


def _key(record: dict[str, Any]) -> str:
    names = ("operator", "dtype", "level", "inputs", "torch")
    return " | ".join(record[name] for name in names)


def _measure(some: list[Case], target: str, *, exact: bool) -> list[dict[str, Any]]:
    """Records of the errors of cases, bisected where Inductor cannot compile one."""
    try:
        found = results(some, target, exact=exact)
    except CompileError as error:
        if len(some) == 1:
            sys.exit(f"{some[0].operator.name} of {some[0].dtype} is not compiled: {error}")
        half = len(some) // 2
        return [
            r for part in (some[:half], some[half:]) for r in _measure(part, target, exact=exact)
        ]
    return [_record(case, result, target) for case, result in zip(some, found, strict=True)]


def errors(case: Case, result: torch.Tensor) -> tuple[float, float]:
    """The errors of a compiled result, and of that of eager torch."""
    plain, expected, scale = _exact(case)
    return largest(result, expected, scale).ulp, largest(plain, expected, scale).ulp


def _exact(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What eager torch gives, the exact result, and what errors are measured by."""
    plain: Any = eager(case)
    if not plain.dtype.is_floating_point:
        return plain, plain, None
    wide = [x.double() if x.dtype.is_floating_point else x for x in case.inputs]
    expected = (case.operator.exact or case.operator.run)(*wide)
    return plain, expected, case.operator.scale(*wide) if case.operator.scale else None


def _record(case: Case, result: torch.Tensor, target: str) -> dict[str, Any]:
    plain, expected, scale = _exact(case)
    mine, its = (largest(x, expected, scale) for x in (result, plain))
    apart = largest(result, plain, scale)
    return {
        "operator": case.operator.name,
        "dtype": case.dtype,
        "level": target.removeprefix("cpu-"),
        "torch": torch.__version__.partition("+")[0],
        "inputs": case.label,
        "compiled": mine.ulp,
        "eager": its.ulp,
        "apart": apart.ulp,
        "at": _at(case, mine, result, expected),
        "eager_at": _at(case, its, plain, expected),
    }


def _at(case: Case, error: Error, result: torch.Tensor, expected: torch.Tensor) -> list[str]:
    i = error.index
    if error.ulp == 0:
        return []
    values = [f"{x.flatten()[i].item():.9g}" for x in case.inputs if case.operator.kind != "rows"]
    return [*values, f"{result.flatten()[i].item():.9g}", f"{expected.flatten()[i].item():.9g}"]


if __name__ == "__main__":
    main()
