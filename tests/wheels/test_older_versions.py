"""A wheel that an early commit of aotbuild built, and the commands and wheels of today.

It takes some minutes and the history of the repository: ``pytest -m slow``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import REPOSITORY, Installed, install, pip_wheel

pytestmark = pytest.mark.slow

COMMIT = "cf3b56c2d0173156aa111cb6342df1a59d29a166"
"""The last one whose models kept no state: its runtime, engine and manifest differ from today's."""

PYPROJECT = """\
[build-system]
requires = ["scikit-build-core>=1.1", "aotbuild", "torch==2.13.0"]
build-backend = "scikit_build_core.build"

[project]
name = "early"
version = "1.0"
dynamic = ["dependencies"]

[[tool.dynamic-metadata]]
provider = "aotbuild"

[tool.aotbuild]
package = "early.models"
runtime = "standalone"
cpu-levels = ["x86-64-v3", "armv8"]

[tool.aotbuild.models.net]
source = "early.network:Net"
inputs.x = { shape = ["batch", 4], dtype = "float32" }
dims.batch = { min = 1, max = 64 }
"""
NETWORK = """\
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.arange(8.0).reshape(4, 2))

    def forward(self, x):
        return (x @ self.weight).relu()
"""


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to which the wheel of an early aotbuild was installed, and that wheel."""
    directory = tmp_path_factory.mktemp("early")
    archive = subprocess.run(
        ["git", "archive", COMMIT], cwd=REPOSITORY, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history has no {COMMIT}")
    source, site = directory / "aotbuild", directory / "site"
    source.mkdir()
    subprocess.run(["tar", "x", "-C", source], input=archive.stdout, check=True)
    builder = pip_wheel(source)
    install(builder, site, Path(sys.executable))
    project = directory / "project"
    (project / "src" / "early").mkdir(parents=True)
    (project / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (project / "src" / "early" / "__init__.py").touch()
    (project / "src" / "early" / "network.py").write_text(NETWORK, encoding="utf-8")
    own = {"PYTHONPATH": str(site), "AOTBUILD_CACHE_DIR": str(directory / "cache")}
    built = install(pip_wheel(project, env=own), directory / "installed", Path(sys.executable))
    assert '"buffers"' not in (built.directory / "early/models/net/model.json").read_text("utf-8")
    built.wheel.rename(directory / built.wheel.name)
    return directory


BOTH = """
import json
{imports}
early = early_net(memoryview(bytes(2 * 4 * 4)).cast("f", (2, 4)))
image = memoryview(bytes(3 * 64 * 4)).cast("f", (3, 1, 8, 8))
digits = digits_net(image)
with early_net.batched(8) as one, digits_net.batched(8) as other:
    shared = [list(one(memoryview(bytes(16)).cast("f", (1, 4))).shape), list(other(image).shape)]
print(json.dumps([list(early.shape), list(digits.shape), shared]))
"""
IMPORTS = [
    "from early.models import net as early_net",
    "from digits.models import net as digits_net",
]


@pytest.mark.parametrize("order", [IMPORTS, IMPORTS[::-1]], ids=["older first", "newer first"])
def test_wheels_of_two_versions_run_in_one_process(
    early: Path, installed: Callable[..., Installed], order: list[str]
) -> None:
    today = installed("example_project", "auto")
    path = os.pathsep.join([str(early / "installed"), str(today.directory)])
    done = subprocess.run(
        [sys.executable, "-c", BOTH.format(imports="\n".join(order))],
        env={**os.environ, "PYTHONPATH": path},
        cwd=early,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[2, 2], [3, 10], [[1, 2], [3, 10]]]"


def command(early: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=early,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_the_commands_of_today_take_the_wheel_or_tell_that_they_cannot(early: Path) -> None:
    (wheel,) = (file.name for file in early.glob("*.whl"))
    inspected = command(early, "inspect", wheel)
    assert inspected.returncode == 0, inspected.stderr
    assert "x float32 [batch 1 to 64, 4]" in inspected.stdout
    repaired = command(early, "repair", wheel, "-w", "repaired")
    assert "self-test passed" in repaired.stdout, repaired.stderr
    measured = command(early, "bench", wheel)
    assert measured.returncode == 1
    assert "has the runtime of another version of aotbuild" in measured.stderr
