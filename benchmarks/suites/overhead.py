"""What a call costs where the model does next to nothing: aotbuild's layers, then all peers."""

from __future__ import annotations

import call_overhead
from cases import chosen
from common import Row
from peers import available
from prepare import prepare
from tables import Table

from aotbuild.steps.tune.statistics import estimate, ratio
from suites import Request
from suites.latency import timed

ARMS = ("ours", "eager", "compile", "package", "onnxruntime", "openvino")
CASES = ("one", "two")
ROUNDS = 21
PACKAGE = 0.25
"""The time of a checked call by that of aoti_load_package."""


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    table = timed(cases, peers, prepared, request, request.rounds or ROUNDS)
    table.title = "Time of a call that does next to nothing"
    table.notes[:0] = notes
    spent = {(entry["case"], entry["arm"]): entry.get("seconds") for entry in table.data}
    for case in cases:
        ours, theirs = spent.get((case.name, "ours")), spent.get((case.name, "package"))
        if ours and theirs:
            bound = PACKAGE if case.name == "one" else None
            value = ratio(ours, theirs).median
            table.bounds.append(Row(f"{case.label}: by aoti_load_package", value, "x", bound))
            print(f"  {case.label}: {estimate(ours).median * 1e6:.2f} us", flush=True)
    layers = Table("Layers of a call", [], bounds=call_overhead.measure(request.rounds or 100))
    return [table] if request.model else [table, layers]
