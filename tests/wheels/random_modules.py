"""Descriptions of random modules, for the package ``random_modules``.

``make fuzz COUNT=1000`` builds so many, by groups. It reports each that is not as eager torch has
it (the step verify compares them), and each that is refused with a message that is none of ours.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from aotbuild.config.project import load_project
from aotbuild.errors import AotBuildError
from aotbuild.steps.export.trace import trace
from aotbuild.steps.plan.export import export_spec

PACKAGE = Path(__file__).parents[1] / "packages" / "random_modules" / "random_modules"
GROUP = 10
"""Modules of one model."""

_spec = importlib.util.spec_from_file_location("described_modules", PACKAGE / "modules.py")
assert _spec is not None
assert _spec.loader is not None
modules: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(modules)


def inputs(batch: int, number: int = 0) -> tuple[torch.Tensor, ...]:
    """Inputs of every module: floats, 64-bit integers and truth values."""
    generator = torch.Generator().manual_seed(batch + 100 * number)
    return (
        torch.randn(batch, 6, generator=generator),
        torch.randint(-100, 100, (batch, 5), generator=generator),
        torch.rand(batch, 6, generator=generator) > 0.5,
    )


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """A module that eager torch runs at batches of 1, 3 and 8."""
    module: dict[str, Any] = {"seed": draw(st.integers(0, 99)), "steps": [], "outputs": 0}
    for _ in range(draw(st.integers(1, 7))):
        name = draw(st.sampled_from(list(modules.OPERATIONS)))
        count = 2 if name in modules.PAIRS else 1
        step = [name, *(draw(st.integers(0, 11)) for _ in range(count))]
        longer = {**module, "steps": [*module["steps"], step]}
        if _runs(longer):
            module = longer
    last = 4 + len(module["steps"])
    places = st.integers(0, last)
    tree = st.recursive(
        places,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=2)
        ),
        max_leaves=4,
    )
    module["outputs"] = draw(st.just([last]) | st.tuples(st.just(last), tree).map(list))
    return module


def _runs(module: dict[str, Any]) -> bool:
    longest = {**module, "outputs": list(range(5 + len(module["steps"])))}
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            for batch in (1, 3, 8):
                results = modules.Steps(longest)(*inputs(batch))
                if any(result.numel() > modules.LARGEST for result in results):
                    return False
    except (RuntimeError, IndexError, ValueError):
        return False
    return True


def described(count: int, number: int = 0) -> list[dict[str, Any]]:
    """So many modules, the same for the same number."""
    made: list[dict[str, Any]] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(descriptions())
    def add(module: dict[str, Any]) -> None:
        made.append(module)

    add()
    return made[:count]


def write_models(project: Path, modules: list[dict[str, Any]], group: int = GROUP) -> None:
    """Make the models of a copy of the project of random modules."""
    file = project / "random_modules" / "modules.json"
    file.write_text(json.dumps(modules), encoding="utf-8")
    tables = [
        f"""
[tool.aotbuild.models.group{start // group}]
source = "random_modules.modules:Group"
args = ["modules.json", {start}, {group}]
inputs.x = {{ shape = ["batch", 6] }}
inputs.k = {{ shape = ["batch", 5], dtype = "int64", min = -100, max = 99 }}
inputs.flags = {{ shape = ["batch", 6], dtype = "bool" }}
dims.batch = {{ max = 8 }}
"""
        for start in range(0, len(modules), group)
    ]
    pyproject = project / "pyproject.toml"
    head = pyproject.read_text(encoding="utf-8").partition("\n[tool.aotbuild.models.")[0]
    pyproject.write_text("".join([head, *tables]), encoding="utf-8")


def write_random_modules(project: Path) -> None:
    """The models of the suite."""
    write_models(project, described(50))


def main(count: int, number: int, directory: Path) -> int:
    """Build and run random modules.

    Args:
        count: How many.
        number: Other modules for each number.
        directory: An empty one for all files.

    Returns:
        The exit code: 1 if a module is not as eager, or refused without a message of ours.
    """
    everything = described(count, number)
    project = _project(directory / "each", everything, 1)
    accepted, refused, faults = [], Counter[str](), 0
    for i, module in enumerate(everything):
        try:
            trace(export_spec(project, f"group{i}", "cpu", "."))
            accepted.append(module)
        except AotBuildError as error:
            refused[error.what] += 1
            faults += error.what.startswith("unexpected")
        except Exception as error:  # noqa: BLE001  # which a user would see as unexpected
            print(f"{type(error).__name__}: {error}\n  {json.dumps(module)}", flush=True)  # noqa: T201
            faults += 1
    for text, times in refused.most_common():
        print(f"refused {times}: {text}", flush=True)  # noqa: T201
    for start in range(0, len(accepted), GROUP):
        some = accepted[start : start + GROUP]
        faults += _faulty(directory / f"group{start}", some)
    print(f"{len(accepted)} built, {refused.total()} refused, {faults} faults")  # noqa: T201
    return 1 if faults else 0


def _project(directory: Path, some: list[dict[str, Any]], group: int) -> Any:
    shutil.copytree(PACKAGE.parent, directory / "project")
    write_models(directory / "project", some, group)
    return load_project(directory / "project")


def _faulty(directory: Path, some: list[dict[str, Any]]) -> int:
    """How many of some modules are not right; where a group is not, each is built by itself."""
    _project(directory, some, GROUP)
    command = [sys.executable, "-P", "-m", "aotbuild.steps"]
    planned = subprocess.run(
        [*command, "plan", directory / "project", "--all"], cwd=directory, check=False
    )
    output, failed = "", bool(planned.returncode)
    steps = [] if failed else json.loads((directory / "plan.json").read_text())["commands"]
    for step in steps:
        done = subprocess.run(
            [*command, step["step"], step["spec"]],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        output += done.stdout + done.stderr
        if done.returncode:
            failed = True
            break
    if not failed:
        shutil.rmtree(directory)
        return 0
    if len(some) > 1:
        return sum(_faulty(directory / str(i), [module]) for i, module in enumerate(some))
    print(f"{json.dumps(some[0])}\n{output}", flush=True)  # noqa: T201
    return 1


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(int(sys.argv[1]), int((sys.argv[2:] or ["1"])[0]), Path(scratch)))
