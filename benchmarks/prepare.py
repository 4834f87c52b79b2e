"""What is compiled, converted and installed once for all suites, below ``build/bench/prepared``.

It is made anew when the models, peers.py, torch, the peer or the installed aotbuild changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from cases import CASES, Case
from common import REPOSITORY, copy_project, install, keep_models, pip_wheel
from peers import PEERS, Ours

HERE = Path(__file__).resolve().parent
PLACE = REPOSITORY / "build" / "bench" / "prepared"


@dataclass
class Prepared:
    """What is there."""

    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    """By model and peer, what went wrong."""

    @property
    def env(self) -> dict[str, str]:
        """The environment of processes that measure: one thread, warm caches, these modules."""
        sources = [
            HERE,
            HERE / "models" / "src",
            HERE / "overhead",
            HERE / "decoding",
            HERE / "zoo" / "src",
        ]
        return {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "TORCHINDUCTOR_CACHE_DIR": str(PLACE / "inductor"),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }

    def place(self, case: Case, peer: str) -> Path:
        """The directory of a peer for the model of a case."""
        return PLACE / case.model / peer

    def reference(self, case: Case) -> Path:
        """What eager returned."""
        return PLACE / case.model / f"{case.name}.npz"


def prepare(cases: Sequence[Case], peers: Sequence[str]) -> Prepared:
    """Prepare each peer for each model, two at a time, where that was not done before."""
    prepared = Prepared()
    start = time.perf_counter()
    examples = {case.model: case for case in CASES.values()}
    models = {case.model: examples[case.model] for case in cases}
    _in_parallel(prepared, [(case, "eager") for case in models.values()])
    others = [name for name in peers if PEERS[name].artifact and name not in {"eager", "arrays"}]
    others += [name for name in ("compile", "autotuned") if name in peers]
    if "arrays" in peers and "ours" not in others:
        others.append("ours")
    wheels = [(case, name) for name in others for case in models.values()]
    _in_parallel(prepared, wheels)
    for case in cases:
        path = prepared.reference(case)
        if not _is_fresh(path.with_suffix(".json"), case, "eager"):
            _run(prepared, "reference", case.name, str(path))
            path.with_suffix(".json").write_text(json.dumps(_digest(case, "eager")))
    print(f"  prepared in {time.perf_counter() - start:.0f} s", flush=True)
    return prepared


def _in_parallel(prepared: Prepared, wanted: Sequence[tuple[Case, str]]) -> None:
    stale = [
        (case, peer)
        for case, peer in wanted
        if not _is_fresh(prepared.place(case, peer) / "made-of.json", case, peer)
    ]
    with ThreadPoolExecutor(2) as threads:
        for (case, peer), error in zip(
            stale, threads.map(lambda pair: _make(prepared, *pair), stale), strict=True
        ):
            if error:
                prepared.failed[case.model, peer] = error
                print(f"{PEERS[peer].label_for(case)} cannot be prepared for {case.model}: {error}")


def _make(prepared: Prepared, case: Case, peer: str) -> str:
    """Prepare one; what went wrong, or nothing."""
    place = prepared.place(case, peer)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    start = time.perf_counter()
    made = PEERS[peer]
    try:
        if isinstance(made, Ours):
            _wheel(case, made, place)
        else:
            _run(prepared, "prepare", peer, case.name, str(place))
    except (subprocess.CalledProcessError, SystemExit) as error:
        told = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        return str(told).strip()[-1500:]
    print(
        f"  {made.label_for(case)}, {case.model}: {time.perf_counter() - start:.0f} s", flush=True
    )
    (place / "made-of.json").write_text(json.dumps(_digest(case, peer)))
    return ""


def _wheel(case: Case, peer: Ours, place: Path) -> None:
    """Build a wheel of one model, and install it into a directory of its own."""
    project = copy_project(HERE / case.project, place / "project")
    keep_models(project, [case.model])
    with (project / "pyproject.toml").open("a") as pyproject:
        pyproject.write(f'\n[tool.aotbuild.profiles.measured]\nruntime = "{peer.kind}"\n')
    kept = os.environ.get("AOTBUILD_CACHE_DIR", str(PLACE / "cache"))
    env = {"AOTBUILD_CACHE_DIR": kept, "AOTBUILD_PROFILE": "measured"}
    wheel = pip_wheel(project, place / "dist", env)
    install(wheel, place / peer.artifact)
    shutil.rmtree(project)


def _run(prepared: Prepared, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-W", "ignore", str(HERE / "worker.py"), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **prepared.env},
    )


def _is_fresh(path: Path, case: Case, peer: str) -> bool:
    return path.exists() and json.loads(path.read_text()) == _digest(case, peer)


def _digest(case: Case, peer: str) -> str:
    """What a prepared thing depends on."""
    found = hashlib.sha256()
    (source,) = (HERE / case.project).rglob(f"{case.source.partition(':')[0].replace('.', '/')}.py")
    parts = (HERE / case.project / "pyproject.toml", HERE / "peers.py", HERE / "steps.py")
    for path in (source, *parts):
        found.update(path.read_bytes())
    found.update(repr(case).encode())
    for name in PEERS[peer].needs:
        found.update(f"{name}=={metadata.version(name)}".encode())
        if name == "aotbuild":
            record = metadata.distribution(name).read_text("RECORD") or ""
            lines = (line for line in record.splitlines() if line.startswith("aotbuild/"))
            found.update("".join(line for line in lines if ".pyc," not in line).encode())
    return found.hexdigest()
