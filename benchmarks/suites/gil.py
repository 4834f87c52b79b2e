"""What a second thread of Python achieves beside one that calls a model of about 20 ms."""

from __future__ import annotations

from cases import chosen
from common import Row
from peers import PEERS, available
from prepare import prepare
from tables import Table
from workers import opened

from aotbuild.steps.tune.statistics import estimate, ratio
from suites import Request
from suites.latency import last_line

ARMS = ("eager", "ours", "compile", "package", "onnxruntime", "openvino")
CASES = ("minilm", "vit_tiny")
ROUNDS = 9
SECONDS = 0.4


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    table = Table(
        "A second thread of Python",
        [
            "",
            "beside",
            "million steps a second [95%]",
            "by beside eager [95%]",
            "of alone [95%]",
            "calls a second",
        ],
        notes=[
            *notes,
            (
                "A loop of Python in one thread, while another calls the model, on one thread "
                "of arithmetic: 1 is as fast as beside eager; more is better."
            ),
        ],
    )
    for case in cases:
        with opened(case, peers, prepared) as (workers, _, errors):
            steps: dict[str, list[float]] = {peer: [] for peer in workers}
            calls: dict[str, list[float]] = {peer: [] for peer in workers}
            alone: list[float] = []
            names = list(workers)
            for i in range(request.rounds or ROUNDS):
                turn = i % len(names)
                for peer in names[turn:] + names[:turn]:
                    beside = workers[peer].ask("beside", peer, seconds=SECONDS, calling=True)
                    steps[peer].append(beside[0])
                    calls[peer].append(beside[1])
                found = workers[names[0]].ask("beside", names[0], seconds=SECONDS, calling=False)
                alone.append(found[0])
        for peer, made in steps.items():
            millions = estimate([value / 1e6 for value in made])
            against = ratio(made, steps["eager"])
            table.rows.append(
                [
                    *(case.label, PEERS[peer].label, millions.text(), against.text()),
                    *(ratio(made, alone).text(), f"{estimate(calls[peer]).median:.1f}"),
                ]
            )
            table.data.append({"case": case.name, "arm": peer, "steps": made, "alone": alone})
        if "ours" in steps:
            slower = ratio(steps["eager"], steps["ours"]).median
            table.bounds.append(
                Row(f"{case.label}: steps beside eager / beside aotbuild", slower, "x", 1.25)
            )
        table.notes += [
            f"{case.label}, {PEERS[peer].label}: {last_line(told)}" for peer, told in errors.items()
        ]
    return [table]
