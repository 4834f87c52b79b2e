"""Time of a call, batch 1, one thread: blocks of calls of all arms take turns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from statistics import geometric_mean
from typing import Any

import numpy as np
from cases import CASES as CASES_BY_NAME
from cases import Case, chosen
from common import Row
from peers import PEERS, available
from prepare import Prepared, prepare
from tables import Chart, Table
from workers import opened

from aotbuild.steps.tune.statistics import Estimate, estimate, ratio
from suites import Request

ARMS = ("ours", "eager", "compile", "package", "onnxruntime", "openvino")
CASES = (
    *("mlp", "resnet18", "mobilenet_v2", "minilm", "vit_tiny", "lstm"),
    *("minilm_16", "minilm_64", "minilm_256"),
)
BEST = ("eager", "compile", "onnxruntime", "openvino")
"""Who the best other is among."""
ROUNDS = 21
BLOCK = 0.05
"""Seconds of a block."""

NOTE = """match: the largest difference from eager's result, compared before anything is timed.
aotbuild / arm: the time of aotbuild's default declaration by that of the arm, median of the rounds;
below 1 aotbuild is faster. The peaks are those of one thread of this machine; reads are of all
weights, the input and the output once a call, and from a cache they may go beyond the peak."""


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    table = timed(cases, peers, prepared, request, request.rounds or ROUNDS)
    table.notes[:0] = notes
    table.bounds = bounds(table.data)
    return [table]


def bounds(records: Sequence[dict[str, Any]]) -> list[Row]:
    """What of the time of others aotbuild takes: of the best, and of Inductor's defaults."""
    times = seconds_by_case(records)
    rows = []
    gains = []
    for case, found in times.items():
        others = {peer: found[peer] for peer in BEST if peer in found}
        if "ours" not in found or not others:
            continue
        label = CASES_BY_NAME[case].label
        best = fastest(others)
        against = ratio(found["ours"], found[best]).median
        rows.append(Row(f"{label}: by the best other, {PEERS[best].label}", against, "x", 1.0))
        if "package" in found:
            gains.append(ratio(found["package"], found["ours"]).median)
            rows.append(Row(f"{label}: by Inductor's defaults", 1 / gains[-1], "x", 1.0))
    if gains:
        mean = 1 / geometric_mean(gains)
        rows.append(Row("by Inductor's defaults, geometric mean", mean, "x", 1 / 1.4))
    return rows


def seconds_by_case(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """What a call took in each round, by case and arm; of the arms that were timed."""
    times: dict[str, dict[str, list[float]]] = {}
    for record in records:
        if "seconds" in record:
            times.setdefault(record["case"], {})[record["arm"]] = record["seconds"]
    return times


def fastest(times: dict[str, list[float]]) -> str:
    """The arm whose median is the least."""
    return min(times, key=lambda arm: estimate(times[arm]).median)


def timed(
    cases: Sequence[Case],
    peers: Sequence[str],
    prepared: Prepared,
    request: Request,
    rounds: int,
    *,
    threads: int = 1,
) -> Table:
    """Time the peers for each case."""
    table = Table(
        "Time of a call",
        [
            *("", "arm", "match", "median [95%]", "aotbuild / arm [95%]"),
            *("of the GEMM peak", "of the read peak"),
        ],
        notes=[NOTE],
    )
    for case in cases:
        most = (case.cache.length - case.cache.seen) // 2 if case.cache else sys.maxsize
        arms = opened(case, peers, prepared, threads=threads, together=request.together)
        with arms as (workers, matches, errors):
            calls = {}
            for peer, worker in workers.items():
                worker.ask("seconds", peer, calls=3, warm=3)
                once = worker.ask("seconds", peer, calls=5, warm=0)
                calls[peer] = max(1, min(round(BLOCK / once), most))
            times: dict[str, list[float]] = {peer: [] for peer in workers}
            names = list(workers)
            for i in range(rounds):
                turn = i % max(1, len(names))
                for peer in names[turn:] + names[:turn]:
                    warm = max(1, calls[peer] // 10)
                    spent = workers[peer].ask("seconds", peer, calls=calls[peer], warm=warm)
                    times[peer].append(spent)
        _add(table, case, times, matches, prepared, request.machine)
        table.notes += [
            f"{case.label}, {PEERS[peer].label_for(case)}: {last_line(told)}"
            for peer, told in errors.items()
        ]
        print(f"  {case.label}: done", flush=True)
    return table


def _add(
    table: Table,
    case: Case,
    times: dict[str, list[float]],
    matches: dict[str, str],
    prepared: Prepared,
    machine: dict[str, Any],
) -> None:
    stored = np.load(prepared.reference(case))
    best = fastest(times) if times else ""
    short = times and estimate(times[best]).median < 1e-3
    scale, unit = (1e6, "us") if short else (1e3, "ms")
    chart = Chart(case.label, unit)
    for peer, match in matches.items():
        label = PEERS[peer].label_for(case)
        record: dict[str, Any] = {"case": case.name, "arm": peer, "match": match}
        if peer in times:
            found = estimate(times[peer])
            share = (
                float(stored["flops"]) / found.median / 1e9 / machine["gemm"],
                float(stored["bytes"]) / found.median / 1e9 / machine["read"],
            )
            shown = Estimate(*(value * scale for value in found))
            text = f"**{shown.text()}** {unit}" if peer == best else f"{shown.text()} {unit}"
            against = ratio(times["ours"], times[peer]) if "ours" in times else None
            table.rows.append(
                [
                    *(case.label, label, match, text),
                    against.text() if against and peer != "ours" else "",
                    *(f"{part:.0%}" if part >= 0.005 else "" for part in share),
                ]
            )
            chart.bars.append((label, *shown))
            record |= {"seconds": times[peer], "ratio": against, "shares": share}
        else:
            table.rows.append([case.label, label, match, "", "", "", ""])
        table.data.append(record)
    table.charts.append(chart)


def last_line(text: str) -> str:
    """What an error says in the end."""
    return text.strip().rpartition("\n")[2][:300]
