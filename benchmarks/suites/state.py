"""Models with a state: steps of decoders, and of small models that read a stream."""

from __future__ import annotations

import stream_steps
from cases import Case, chosen
from common import Row
from peers import PEERS, available
from prepare import prepare
from tables import Table

from aotbuild.steps.tune.statistics import estimate, number, ratio
from suites import Request
from suites.latency import seconds_by_case, timed

ARMS = ("ours", "read", "eager", "onnxruntime", "openvino")
CASES = ("llama_15m", "llama_15m_bfloat16", "llama_110m", "llama_110m_bfloat16")
BOUNDS = {"read": 1.15, "eager": 0.6, "onnxruntime": 0.8, "openvino": 0.9}
"""The time of a step by that of each arm."""
ROUNDS = 31
THREADS = (1, 2)

NOTE = """One token by random weights, batch 1, after 256 others in a cache of 512 entries; blocks
of steps go on from there. All weights read once: a scalar product over as many bytes, from memory.
The static cache is buffers of aotbuild and of eager, and of ONNX Runtime inputs and outputs over
the same memory (IO binding). That of OpenVINO grows, as variables (make_stateful); where the model
is in bfloat16, it gets the hint to compute in bf16."""


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    rounds = request.rounds or ROUNDS
    tables = {}
    for threads in THREADS:
        title = "Time of a step of a decoder" + (", two threads" if threads == 2 else "")
        tables[threads] = Table(title, [])
    for case in cases:
        for threads, table in tables.items():
            found = timed([case], peers, prepared, request, rounds, threads=threads)
            table.columns, table.charts = found.columns, table.charts + found.charts
            table.rows += found.rows
            table.data += found.data
            if threads == 1:
                table.bounds += _bounds(case, found)
                table.notes += found.notes[1:]  # the first one is of other models
    tables[1].notes[:0] = [*notes, NOTE]
    together = [*tables.values(), _gains(cases, tables[1], tables[2])]
    if request.model:
        return together
    return [*together, *stream_steps.measure(request.rounds or 100)]


def _bounds(case: Case, table: Table) -> list[Row]:
    times = seconds_by_case(table.data).get(case.name, {})
    if "ours" not in times:
        return []
    found = {arm: ratio(times["ours"], times[arm]).median for arm in BOUNDS if arm in times}
    return [
        Row(f"{case.label}: by {PEERS[arm].label_for(case)}", value, "x", BOUNDS[arm])
        for arm, value in found.items()
    ]


def _gains(cases: list[Case], one: Table, two: Table) -> Table:
    """What a second thread gains, beside what the memory of the machine gains."""
    table = Table(
        "A step with two threads by one with one",
        ["", "arm", "2 / 1"],
        notes=["Medians of the two tables above. Less is better; memory allows that of the reads."],
    )
    for case in cases:
        double = seconds_by_case(two.data).get(case.name, {})
        for arm, times in seconds_by_case(one.data).get(case.name, {}).items():
            if arm in double:
                gain = estimate(double[arm]).median / estimate(times).median
                table.rows.append([case.label, PEERS[arm].label_for(case), f"{number(gain)} x"])
                table.data.append({"case": case.name, "arm": arm, "ratio": gain})
    return table
