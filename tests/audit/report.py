"""The table of docs/numerics.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explained import EXPLAINED

_DOCS = Path("docs/numerics.md")
_BEGIN, _END = "<!-- begin: tests/audit/audit.py -->\n", "<!-- end -->\n"
_LIMIT = 4.0
"""Units in the last place that need no explanation."""

Record = dict[str, Any]


def write_table(records: Sequence[Record]) -> None:
    """Put the table of records in its place in the document."""
    before, rest = _DOCS.read_text("utf-8").split(_BEGIN)
    after = rest.split(_END)[1]
    _DOCS.write_text(before + _BEGIN + _table(records) + _END + after, "utf-8")


def unexplained(records: Sequence[Record]) -> list[str]:
    """What is off by more than 4 units, and more than eager torch, for no known reason."""
    return [
        f"{each['operator']} of {each['dtype']}, {each['level']}: {each['compiled']:.4g} at "
        f"{each['at']}"
        for each in _worst(records)
        if _is_worse(each) and each["operator"].partition(", dim")[0] not in EXPLAINED
    ]


def _is_worse(record: Record) -> bool:
    return bool(record["compiled"] > max(_LIMIT, 1.01 * record["eager"]))


def _worst(records: Sequence[Record]) -> list[Record]:
    """Of the records of an operator, a type and a level the one with the largest error."""
    found: dict[tuple[str, ...], Record] = {}
    for each in records:
        key = each["dtype"], each["operator"], each["level"], each["torch"]
        if key not in found or each["compiled"] > found[key]["compiled"]:
            found[key] = each
    return list(found.values())


def _table(records: Sequence[Record]) -> str:
    near: dict[tuple[str, str, str], list[str]] = defaultdict(list)  # operators by their levels
    rows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for each in _worst(records):
        if each["compiled"] <= 1:
            near[each["dtype"], each["torch"], each["operator"]].append(each["level"])
        else:
            rows[_row(each)].append(each["level"])
    lists: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (dtype, torch, name), levels in near.items():
        lists[dtype, torch, ", ".join(levels)].append(name)
    head = (
        "| operator | type | torch | level | eager | compiled | at | result | exact | |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    lines = [
        f"| {' | '.join((*row[:3], ', '.join(levels), *row[3:]))} |\n"
        for row, levels in rows.items()
    ]
    rest = [
        f"\n{dtype}, {levels}, torch {torch}, off by 1 unit at most, or exact: "
        f"{', '.join(names)}.\n"
        for (dtype, torch, levels), names in lists.items()
    ]
    return "\n" + head + "".join(lines) + "".join(rest) + "\n"


def _row(record: Record) -> tuple[str, ...]:
    *inputs, result, exact = record["at"]
    name = record["operator"]
    why = ""
    if record["compiled"] > _LIMIT:
        worse = _is_worse(record)
        why = EXPLAINED.get(name.partition(", dim")[0], "?") if worse else "as eager torch"
    cells = [name, record["dtype"], record["torch"], _units(record["eager"])]
    return (*cells, _units(record["compiled"]), ", ".join(inputs), result, exact, why)


def _units(error: float) -> str:
    return f"{error:.2f}" if error < 1000 else f"{error:.1e}"
