"""Calls of networks of all families, at several batches, by one and by two threads.

No pass was written for any of them. Weights are random, the batch is dynamic.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean
from typing import Any

from cases import BATCHES, CASES, ZOO, Case
from common import Row
from peers import PEERS, available
from prepare import prepare
from tables import Table

from aotbuild.steps.tune.statistics import estimate, ratio
from suites import Request
from suites.latency import fastest, seconds_by_case, timed

ARMS = ("ours", "eager", "compile", "autotuned", "package", "onnxruntime", "openvino")
ROUNDS = 7
THREADS = (1, 2)
WORST = 5
MEAN = 0.8
"""Of the time of the best other arm, in the geometric mean."""

NOTE = """by the best other: the time of aotbuild by that of the fastest other arm, median of the
rounds; below 1 aotbuild is faster. of the GEMM peak: what aotbuild reaches of the products of 1024
by 1024 that so many threads of the machine make in that time."""


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    names = [name for name in ZOO if name.startswith(request.model)]
    cases = [CASES[f"zoo_{name}_{batch}"] for name in names for batch in BATCHES]
    prepared = prepare(cases, peers)
    tables = []
    for threads in THREADS:
        many = "one thread" if threads == 1 else f"{threads} threads"
        table = Table(
            f"Networks of many families, {many}",
            ["", "batch", "aotbuild", "the best other", "by the best other", "of the GEMM peak"],
            notes=[*notes, NOTE],
        )
        tables.append(table)
        for case in cases:
            found = timed(
                [case], peers, prepared, request, request.rounds or ROUNDS, threads=threads
            )
            table.data += [{**record, "threads": threads} for record in found.data]
            table.notes += found.notes[1:]
            _add(table, case, found.data, threads)
        table.bounds += _bounds(table.data, f", {many}")
    return tables


def _beside(times: dict[str, list[float]]) -> str:
    """The fastest of the other arms; empty where aotbuild or all of them have no time."""
    others = {arm: seconds for arm, seconds in times.items() if arm != "ours"}
    return fastest(others) if "ours" in times and others else ""


def _add(table: Table, case: Case, records: Sequence[dict[str, Any]], threads: int) -> None:
    """Add the row of a case."""
    name, batch = case.model, str(case.inputs[0][1][0])
    times = seconds_by_case(records).get(case.name, {})
    best = _beside(times)
    if not best:
        table.rows.append([name, batch, "", "", "", ""])
        return
    (share,) = (record["shares"][0] for record in records if record["arm"] == "ours")
    table.rows.append(
        [
            *(name, batch, f"{estimate(times['ours']).median * 1e3:.3g} ms"),
            f"{estimate(times[best]).median * 1e3:.3g} ms, {PEERS[best].label}",
            ratio(times["ours"], times[best]).text(),
            f"{share / threads:.0%}",
        ]
    )


def _bounds(records: Sequence[dict[str, Any]], suffix: str) -> list[Row]:
    """The geometric mean by batch, and the worst."""
    ratios = {
        case: ratio(times["ours"], times[best]).median
        for case, times in seconds_by_case(records).items()
        if (best := _beside(times))
    }
    rows = []
    for batch in BATCHES:
        some = [value for case, value in ratios.items() if case.endswith(f"_{batch}")]
        if some:
            label = f"batch {batch}{suffix}: by the best other, geometric mean"
            rows.append(Row(label, geometric_mean(some), "x", MEAN))
    worst = sorted(ratios, key=ratios.__getitem__, reverse=True)[:WORST]
    return rows + [
        Row(f"  of the worst: {CASES[case].label}{suffix}", ratios[case], "x", 1.0)
        for case in worst
    ]
