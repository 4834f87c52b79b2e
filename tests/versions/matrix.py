"""Wheels of several versions of torch, each run with each: writes the table of the docs.

``make versions`` calls it with an environment for each version, after ``make demo``, which writes
the images and what the example's wheel answers for them.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from page import REPOSITORY, write_table

PINNED = "torch==2.13.0"

PREDICT = """
import json, sys
from array import array
from pathlib import Path
from digits.models import net
saved, given, wanted = Path(sys.argv[1]), array("f"), array("f")
given.frombytes((saved / "images.bin").read_bytes())
wanted.frombytes((saved / "logits.bin").read_bytes())
scores = array("f")
for start in range(0, len(given), 6400):
    batch = memoryview(given[start : start + 6400]).cast("B")
    logits = net(batch.cast("f", (len(batch) // 256, 1, 8, 8)))
    scores.frombytes(memoryview(logits).tobytes())
def digits(values):
    rows = (values[i : i + 10] for i in range(0, len(values), 10))
    return [max(range(10), key=row.__getitem__) for row in rows]
pairs = list(zip(digits(scores), digits(wanted), strict=True))
print(json.dumps([sum(a == b for a, b in pairs), len(pairs), scores == wanted]))
"""
"""Predicts as ``example_project/predict_plain.py`` does, beside whatever is installed."""


@dataclass(frozen=True)
class Environment:
    """A version of torch, and the interpreter of an environment that has it and aotbuild."""

    version: str
    python: str


@dataclass(frozen=True)
class Wheels:
    """The wheels that one version built."""

    built: str
    required: str
    """The versions of torch that the example's wheel requires."""
    bound: str
    """Those that the wheel of the zoo requires."""
    site: Path
    """Where they are installed."""


@dataclass(frozen=True)
class Result:
    """What running wheels with a version gave."""

    built: str
    run: str
    allowed: bool
    """Whether the example's wheel allows the version."""
    predictions: tuple[int, int]
    same_bits: bool
    passed: int
    """Models of the zoo whose recorded call gives the recorded result."""
    refused: int
    """Models of the zoo that are for another version, and say so."""
    wrong: list[str]
    """What is neither."""

    @property
    def cell(self) -> str:
        """The text of the table."""
        same, count = self.predictions
        bits = ", every bit" if self.same_bits else ""
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{same} of {count}{bits}; zoo {self.passed}{refused}" + "".join(
            f"; **{each}**" for each in self.wrong
        )


def main() -> int:
    """Build, run, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "environments", nargs="+", metavar="VERSION=PYTHON", help="a version, and its interpreter"
    )
    parser.add_argument("--saved", type=Path, required=True, help="what make demo has saved")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "versions")
    arguments = parser.parse_args()
    given = [Environment(*each.split("=", 1)) for each in arguments.environments]
    out = arguments.out.resolve()
    wheels = [build(each, out / each.version) for each in given]
    results = [run(one, each, arguments.saved.resolve()) for one in wheels for each in given]
    (out / "results.json").write_text(
        json.dumps([dataclasses.asdict(result) for result in results], indent=1) + "\n"
    )
    write_table("versions", table(wheels, given, results))
    wrong = [result for result in results if result.wrong]
    for result in wrong:
        sys.stderr.write(f"{result.built} run with {result.run}: {'; '.join(result.wrong)}\n")
    return int(bool(wrong))


def build(environment: Environment, out: Path) -> Wheels:
    """Build and install the example for torch, and the zoo."""
    shutil.rmtree(out, ignore_errors=True)
    site = out / "site"
    for name, source in (
        ("digits", REPOSITORY / "example_project"),
        ("zoo", REPOSITORY / "tests" / "packages" / "zoo"),
    ):
        project = out / name
        ignored = shutil.ignore_patterns("__pycache__", "build", "dist")
        shutil.copytree(source, project, ignore=ignored)
        pyproject = project / "pyproject.toml"
        text = pyproject.read_text().replace(PINNED, f"torch=={environment.version}")
        if name == "zoo":
            head = 'runtime = "torch"\ncpu-levels = ["x86-64-v3", "armv8"]\n'
            text = text.replace(
                "\n[tool.aotbuild.", f"\n[tool.aotbuild]\n{head}\n[tool.aotbuild.", 1
            )
        pyproject.write_text(text)
        command = [environment.python, "-P", "-m", "pip", "wheel", "--no-deps"]
        subprocess.run(
            [*command, "--no-build-isolation", "--quiet", "-w", str(out / "dist"), str(project)],
            check=True,
            env={**os.environ, "AOTBUILD_PROFILE": "torch" if name == "digits" else ""},
        )
    for wheel in sorted((out / "dist").glob("*.whl")):
        zipfile.ZipFile(wheel).extractall(site)
    return Wheels(environment.version, required(site, "digits"), required(site, "zoo"), site)


def required(site: Path, name: str) -> str:
    """The versions of torch that an installed wheel requires."""
    (metadata,) = site.glob(f"{name}-*.dist-info/METADATA")
    found = re.search(r"^Requires-Dist: torch(\S+)$", metadata.read_text(), re.MULTILINE)
    return found[1] if found else ""


def run(wheels: Wheels, environment: Environment, saved: Path) -> Result:
    """Run wheels with a version of torch."""

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment.python, "-P", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(wheels.site)},
        )

    wrong = []
    done = python("-c", PREDICT, str(saved))
    same, count, bits = 0, 0, False
    if done.returncode:
        wrong.append(done.stderr.strip().splitlines()[-1])
    else:
        same, count, bits = json.loads(done.stdout.splitlines()[-1])
    if same != count:
        wrong.append(f"{count - same} other predictions")
    passed = refused = 0
    for package in ("digits", "zoo"):
        told: Any = json.loads(python("-m", f"{package}.models", "--json").stdout or "{}")
        for variant in told.get("variants", []):
            other = "it needs torch" in variant["reason"]
            if variant["passed"] is False or (variant["passed"] is None and not other):
                wrong.append(f"{variant['model']} {variant['variant']}: {variant['reason']}")
            elif package == "zoo":
                passed += bool(variant["passed"])
                refused += other
        if not told.get("variants"):
            wrong.append(f"python -m {package}.models failed")
    allowed = SpecifierSet(wheels.required).contains(environment.version)
    return Result(
        wheels.built, environment.version, allowed, (same, count), bits, passed, refused, wrong
    )


def table(wheels: Sequence[Wheels], given: Sequence[Environment], results: Sequence[Result]) -> str:
    """The results as a table of Markdown."""
    heads = ["built with", "the example requires", "the zoo requires"]
    rows = [[*heads, *(f"run with {each.version}" for each in given)]]
    rows.append(["---"] * len(rows[0]))
    for one in wheels:
        cells = [result.cell for result in results if result.built == one.built]
        ranges = [f"`torch{text}`" for text in (one.required, one.bound)]
        rows.append([one.built, *ranges, *cells])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    when = dt.datetime.now(dt.UTC).date()
    where = f"Python {platform.python_version()}, {platform.machine()}"
    return "\n".join([f"Run on {when:%Y-%m-%d} ({where}):", "", *lines])


if __name__ == "__main__":
    raise SystemExit(main())
