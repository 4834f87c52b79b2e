"""What the benchmarks share: wheels to measure, fresh processes, and the table."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLE = REPOSITORY / "example_project"


@dataclass(frozen=True)
class Row:
    """One line of the table: a measured value, and the largest one that is wanted."""

    name: str
    value: float
    unit: str
    bound: float | None = None


def show(rows: Sequence[Row]) -> None:
    """Print the table; a row with a bound tells its ratio to it and whether it holds."""
    width = max(len(row.name) for row in rows)
    print(f"\n{'':{width}}  {'measured':>12}  {'bound':>6}  {'ratio':>5}")
    for row in rows:
        name, measured, bound, ratio, holds = judged(row)
        print(f"{name:{width}}  {measured:>12}  {bound:>6}  {ratio:>5}  {holds}".rstrip())


def judged(row: Row) -> tuple[str, str, str, str, str]:
    """The cells of a row: name, what was measured, the bound, its ratio and whether it holds."""
    measured = f"{row.value:.2f} {row.unit}".rstrip()
    if row.bound is None:
        return row.name, measured, "", "", ""
    ratio = row.value / row.bound
    holds = "holds" if ratio <= 1 else "MISSED"
    return row.name, measured, f"{row.bound:.4g}", f"{ratio:.2f}", holds


def python(
    *arguments: str | Path, env: Mapping[str, str] | None = None, interpreter: str = sys.executable
) -> str:
    """Run an interpreter in a fresh process; its output, or an error with all it printed."""
    done = subprocess.run(
        [interpreter, "-P", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\nfailed: python {arguments}")
    return done.stdout


def python_json(
    *arguments: str | Path, env: Mapping[str, str] | None = None, interpreter: str = sys.executable
) -> Any:
    """Like ``python`` for code that prints a JSON value last."""
    return json.loads(python(*arguments, env=env, interpreter=interpreter).splitlines()[-1])


def copy_project(source: Path, target: Path) -> Path:
    """Copy a project as a fresh checkout has it."""
    ignored = shutil.ignore_patterns("__pycache__", "build", "dist")
    return Path(shutil.copytree(source, target, ignore=ignored))


def example_wheel(directory: Path) -> Path:
    """Build the wheel of a copy of example_project below ``directory``."""
    project = copy_project(EXAMPLE, directory / "example_project")
    return pip_wheel(project, directory / "dist")


def keep_models(project: Path, names: Collection[str]) -> None:
    """Leave all other models out of a project."""
    pyproject = project / "pyproject.toml"
    tables = re.split(r"^(?=\[)", pyproject.read_text(), flags=re.MULTILINE)
    start = "[tool.aotbuild.models."
    kept = [
        table
        for table in tables
        if not table.startswith(start) or re.split(r"[].]", table.removeprefix(start))[0] in names
    ]
    pyproject.write_text("".join(kept))


def pip_wheel(
    project: Path,
    out: Path,
    env: Mapping[str, str] | None = None,
    interpreter: str = sys.executable,
) -> Path:
    """Build the wheel of ``project`` with what is installed beside an interpreter."""
    options = ["--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", str(out)]
    python("-m", "pip", "wheel", *options, project, env=env, interpreter=interpreter)
    (wheel,) = out.glob("*.whl")
    return wheel


def install(wheel: Path, site: Path) -> None:
    """Install a wheel into a directory of its own, for ``PYTHONPATH``."""
    python("-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)


def bytes_under(directory: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
