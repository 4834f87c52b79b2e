"""Memory of 1 and of 4 processes that have called a model."""

from __future__ import annotations

import contextlib

from cases import Case, chosen
from memory import rollup
from peers import PEERS, available
from prepare import Prepared, prepare
from tables import Chart, Table
from workers import PeerError, Worker

from suites import Request
from suites.latency import last_line

ARMS = ("torch", "ours", "eager", "compile", "package", "onnxruntime", "openvino")
CASES = ("resnet18", "minilm")
PROCESSES = (1, 4)


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    table = Table(
        "Memory of processes",
        ["", "arm", "1 process, MB", "4 processes, MB", "private of one of 4, MB"],
        notes=[
            *notes,
            (
                "Proportional set size, summed over the processes, after three calls on one "
                "thread, and the private dirty memory of one; import torch alone is what torch "
                "takes itself."
            ),
        ],
    )
    for case in cases:
        chart = Chart(case.label, "MB of 4 processes")
        for peer in peers:
            try:
                totals, private = _measured(prepared, case, peer)
            except PeerError as error:
                table.notes.append(f"{case.label}, {PEERS[peer].label}: {last_line(str(error))}")
                continue
            label = PEERS[peer].label
            table.rows.append([case.label, label, *(f"{v:.0f}" for v in (*totals, private))])
            table.data.append({"case": case.name, "arm": peer, "MB": totals, "private MB": private})
            chart.bars.append((label, totals[-1], totals[-1], totals[-1]))
        table.charts.append(chart)
    return [table]


def _measured(prepared: Prepared, case: Case, peer: str) -> tuple[list[float], float]:
    totals: list[float] = []
    private = 0.0
    with contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        for count in PROCESSES:
            while len(workers) < count:
                worker = Worker(prepared.env)
                stack.callback(worker.close)
                place = str(prepared.place(case, peer))
                worker.ask("open", peer, peer=peer, case=case.name, directory=place)
                worker.ask("seconds", peer, calls=3, warm=0)
                workers.append(worker)
            rollups = [rollup(worker.pid) for worker in workers]
            totals.append(sum(found["Pss"] for found in rollups))
            private = rollups[-1]["Private_Dirty"]
    return totals, private
