"""Compare compiled operators with exact results; see docs/numerics.md, which it writes.

python tests/audit/audit.py [--levels v3,v4] [--dtypes float32,int8] [--stock] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "wheels")]

from compile_many import Case, cases, eager, results
from grids import DTYPES
from operators import OPERATORS
from ulp import Error, largest

_AT_ONCE = 60
"""Cases in one library."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--levels", default="v3,v4")
    parser.add_argument("--dtypes", default=",".join(str(d).removeprefix("torch.") for d in DTYPES))
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    chosen = [each for each in OPERATORS if given.only in each.name]
    records: list[dict[str, Any]] = []
    for name in given.dtypes.split(","):
        every = cases(chosen, getattr(torch, name))
        for level in given.levels.split(","):
            for start in range(0, len(every), _AT_ONCE):
                began = time.time()
                some = every[start : start + _AT_ONCE]
                records += _measure(some, f"cpu-x86-64-{level}", exact=not given.stock)
                print(name, level, start, len(every), f"{time.time() - began:.0f} s", flush=True)
                given.json.write_text(json.dumps(records))


def _measure(some: list[Case], target: str, *, exact: bool) -> list[dict[str, Any]]:
    """Records of the errors of cases, bisected where Inductor cannot compile one."""
    try:
        found = results(some, target, exact=exact)
    except Exception as error:
        if len(some) == 1:
            print("cannot compile", some[0].operator.name, str(error)[-300:], flush=True)
            return []
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
        "target": target.removeprefix("cpu-x86-64-"),
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
