"""Compare compiled operators with exact results, and write the table of docs/numerics.md.

    PYTHONPATH=tests/wheels python tests/audit/audit.py --levels x86-64-v3 --dtypes int8,uint8

Without options, which ``--help`` lists, all of it. Records are kept in build/audit.json, by
operator, type and level: a part of the audit that is run again replaces that part of the table, and
parts that ran in other directories are put together with ``--merge``. It ends with an error if a
compiled operator is off by more than 4 units in the last place, and by more than eager torch, and
``explained.py`` does not say why.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from compile_many import Case, cases, eager, results
from grids import DTYPES
from high_precision import high_precision
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
    parser.add_argument("--kinds", default="unary,binary,rows,linear")
    parser.add_argument("--only", default="")
    parser.add_argument("--stock", action="store_true", help="Inductor's own code; no table")
    parser.add_argument("--merge", nargs="+", default=[], help="records of other runs, as they are")
    given = parser.parse_args()
    chosen = [each for each in OPERATORS if given.only in each.name]
    chosen = [each for each in chosen if each.kind in given.kinds.split(",")]
    known: dict[str, Any] = json.loads(_RECORDS.read_text()) if _RECORDS.exists() else {}
    for path in given.merge:
        known |= json.loads(Path(path).read_text())
    for dtype in given.dtypes.split(",") if not given.merge else ():
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
                _keep(known)
    _keep(known)
    missing = unexplained(list(known.values()))
    if missing:
        sys.exit("off by more than 4 units, and not explained:\n" + "\n".join(missing))


def _keep(records: dict[str, Any]) -> None:
    _RECORDS.parent.mkdir(exist_ok=True)
    _RECORDS.write_text(json.dumps(records, indent=1))
    order = [str(dtype) for dtype in DTYPES]
    write_table(sorted(records.values(), key=lambda each: order.index(f"torch.{each['dtype']}")))


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
    reference = _reference(case)
    return reference.error(result).ulp, reference.error(reference.eager).ulp


@dataclass(frozen=True)
class _Reference:
    """What eager torch gives, and what is exact."""

    eager: torch.Tensor
    exact: torch.Tensor
    rest: torch.Tensor | None = None
    """What ``exact`` lacks, of float64."""
    scale: torch.Tensor | None = None
    """What errors are measured by, if not by the exact result."""

    def error(self, result: torch.Tensor) -> Error:
        return largest(result, self.exact, self.scale, self.rest)


def _reference(case: Case) -> _Reference:
    plain: Any = eager(case)
    if not plain.dtype.is_floating_point:
        return _Reference(plain, plain)
    wide = tuple(x.double() if x.dtype.is_floating_point else x for x in case.inputs)
    scale = case.operator.scale(*wide) if case.operator.scale else None
    if case.inputs[0].dtype is torch.float64:
        return _Reference(plain, *high_precision(case.operator.name, case.inputs, plain), scale)
    return _Reference(plain, (case.operator.exact or case.operator.run)(*wide), scale=scale)


def _record(case: Case, result: torch.Tensor, target: str) -> dict[str, Any]:
    reference = _reference(case)
    mine, its = reference.error(result), reference.error(reference.eager)
    return {
        "operator": case.operator.name,
        "dtype": case.dtype,
        "level": target.removeprefix("cpu-"),
        "torch": torch.__version__.partition("+")[0],
        "inputs": case.label,
        "compiled": mine.ulp,
        "eager": its.ulp,
        "at": _at(case, mine, result, reference.exact),
    }


def _at(case: Case, error: Error, result: torch.Tensor, expected: torch.Tensor) -> list[str]:
    i = error.index
    if error.ulp == 0:
        return []
    given = [] if case.operator.kind == "rows" else case.inputs
    digits = 17 if result.dtype is torch.float64 else 9
    return [f"{x.flatten()[i].item():.{digits}g}" for x in (*given, result, expected)]


if __name__ == "__main__":
    main()
