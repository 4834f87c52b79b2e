"""Sizes: what is shipped for a model, and what must be installed to run it."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

from cases import chosen
from common import bytes_under
from packaging.requirements import Requirement
from peers import PEERS, available
from prepare import prepare
from tables import Table

from suites import Request

ARMS = ("ours", "eager", "package", "onnxruntime", "openvino")
CASES = ("mlp", "resnet18", "mobilenet_v2", "minilm", "vit_tiny", "lstm")
MB = 1e6


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    shipped = Table(
        "What is shipped",
        ["", "arm", "file, MB", "installed, MB"],
        notes=[
            *notes,
            (
                "Of aotbuild the wheel and what it installs, for all CPU levels in it; of eager"
                " its state on disk, without the source; of OpenVINO both files. A wheel is "
                "compressed."
            ),
        ],
    )
    for case in cases:
        for peer in peers:
            place = prepared.place(case, peer)
            if (case.model, peer) in prepared.failed:
                continue
            artifact = place / PEERS[peer].artifact
            if peer == "ours":
                (wheel,) = (place / "dist").glob("*.whl")
                sizes = [wheel.stat().st_size, bytes_under(artifact)]
            else:
                sizes = [sum(path.stat().st_size for path in place.glob(f"{artifact.stem}.*"))] * 2
            label = PEERS[peer].label
            shipped.rows.append([case.label, label, *(f"{size / MB:.2f}" for size in sizes)])
            shipped.data.append({"case": case.name, "arm": peer, "bytes": sizes})
    runtime = Table(
        "What must be installed beside it",
        ["", "distributions", "MB"],
        notes=["The runtime with all that it requires, as installed here."],
    )
    for name in dict.fromkeys(name for peer in peers for name in PEERS[peer].runtime):
        closure = sorted(_closure(name))
        size = sum(map(_installed, closure))
        runtime.rows.append([name, ", ".join(closure), f"{size / MB:.0f}"])
        runtime.data.append({"runtime": name, "distributions": closure, "bytes": size})
    return [shipped, runtime]


def _closure(name: str) -> set[str]:
    """A distribution and all that it requires here."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if one in found:
            continue
        try:
            required = metadata.requires(one) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(one)
        for text in required:
            requirement = Requirement(text)
            if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


@cache
def _installed(name: str) -> int:
    files = metadata.files(name) or []
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).exists())
