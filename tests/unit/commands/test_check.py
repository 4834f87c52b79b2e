"""``python -m aotbuild check``: what a build would say, without a compiler."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from torch_pin import copied

from aotbuild.target import usual_targets

REPOSITORY = Path(__file__).parents[3]
IMAGE = "image float32 [batch, 1, 8, 8]"
PACKAGES = REPOSITORY / "tests" / "packages"


def check(
    project: Path,
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command where there is no compiler."""
    environment = {**os.environ, "PATH": "/nonexistent"}
    environment.pop("CXX", None)
    environment.update(env or {})
    return subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "check", *arguments]
        + ([] if cwd else ["--project", str(project)]),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=cwd or project.parent,
    )


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    return copied(PACKAGES / "failing", tmp_path / "failing")


def test_the_table_tells_the_models_of_the_example(tmp_path: Path) -> None:
    project = copied(REPOSITORY / "example_project", tmp_path / "example")
    done = check(project, cwd=project)
    assert done.returncode == 0, done.stderr
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert rows == [
        "aotbuild: reader keeps between calls, in its state: hidden: float32[batch, 48]",
        "model runtime inputs outputs parameters weights",
        (
            f"net standalone {IMAGE.replace('batch', 'batch 1 to 256')} float32 [batch, 10] 66,314 "
            "266.6 kB"
        ),
        f"denoiser standalone {IMAGE.replace('batch', 'batch 1 to 256')} {IMAGE} 64,257 257.0 kB",
        "error float32 [batch]",
        "reader standalone line float32 [batch 1 to 256, 8] float32 [batch, 10] 11,362 45.6 kB",
        'state["hidden"] float32 [batch 1 to 256, 48]',
        "from digits.models import net, denoiser, reader",
    ]
    assert done.stderr == ""


def test_methods_constants_and_multiples_are_told(tmp_path: Path) -> None:
    sources = copied(PACKAGES / "sources", tmp_path / "sources")
    done = check(sources, "codec", "normalize")
    assert done.returncode == 0, done.stderr
    flat = " ".join(done.stdout.split())
    assert (
        "codec.encode standalone x float32 [batch 1 to 32, 8] float32 [batch, 4] 32 128 B" in flat
    )
    assert "codec.decode standalone z float32 [batch 1 to 32, steps 1 to 10, 4]" in flat
    assert "eps = 0.1" in flat
    assert "variadic" not in flat
    blocks = check(copied(PACKAGES / "sizes", tmp_path / "sizes"), "blocks")
    assert "[batch 1 to 16, length 8 to 128 in multiples of 8]" in blocks.stdout


def test_a_model_that_cannot_be_traced_is_told_as_in_a_build_and_the_others_are_shown(
    failing: Path,
) -> None:
    with (failing / "pyproject.toml").open("a") as file:
        file.write(
            '\n[tool.aotbuild.models.static]\nsource = "failing.modules:Static"\n'
            'inputs.x = { shape = ["batch", 4] }\ndims.batch = { max = 8 }\n'
        )
    done = check(failing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("aotbuild: error:") == 1
    assert "failing/modules.py:" in done.stderr
    assert 'write 4 in place of "batch"' in done.stderr
    assert done.stdout.splitlines()[1].startswith("net ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nett"], ('the model "nett" is not declared', 'did you mean "net"?')),
        (["--project", "/nonexistent"], ("the project declares no models", "--project DIR")),
    ],
)
def test_a_wrong_command_line_is_told(
    failing: Path, arguments: list[str], told: tuple[str, ...]
) -> None:
    done = check(failing, *arguments, cwd=failing)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for text in told:
        assert text in done.stderr


def test_a_wrong_declaration_is_told(failing: Path) -> None:
    pyproject = failing / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("dims.batch", "dim.batch"))
    done = check(failing)
    assert done.returncode == 1
    assert 'unknown key "dim"' in done.stderr
    assert "models.net.dim" in done.stderr


def test_what_a_build_would_find_in_the_cache_is_told(tmp_path: Path) -> None:
    project = copied(REPOSITORY / "example_project", tmp_path / "example")
    cache = {"AOTBUILD_CACHE": "readwrite", "AOTBUILD_CACHE_DIR": str(tmp_path / "cache")}
    done = check(project, "denoiser", "--explain", env={**cache, "CXX": sys.executable})
    assert done.returncode == 0, done.stderr
    target = usual_targets()[0].name
    assert done.stdout.splitlines()[-1] == (
        f"denoiser for {target}: will be compiled: it has not been built before with this cache"
    )
    # It only remembers what runs the model.
    assert [path.name for path in (tmp_path / "cache").glob("[a-z]*")] == ["history"]
    done = check(project, "denoiser", "--explain", env={"AOTBUILD_CACHE": "off"})
    assert done.stdout.splitlines()[-1].endswith(": will be compiled: the cache is off")


def test_what_a_build_would_measure_is_told(tmp_path: Path) -> None:
    project = copied(PACKAGES / "tuned", tmp_path / "tuned")
    cache = {"AOTBUILD_CACHE": "readwrite", "AOTBUILD_CACHE_DIR": str(tmp_path / "cache")}
    done = check(project, "--explain", env={**cache, "CXX": sys.executable})
    assert done.returncode == 0, done.stderr
    assert f"net for {usual_targets()[0].name}: will be tuned, and compiled" in done.stdout


def test_what_is_in_the_cache_depends_on_the_compiler(tmp_path: Path) -> None:
    cache = {"AOTBUILD_CACHE": "readwrite", "AOTBUILD_CACHE_DIR": str(tmp_path / "cache")}
    project = copied(REPOSITORY / "example_project", tmp_path / "example")
    done = check(project, "denoiser", "--explain", env=cache)
    assert done.returncode == 1
    assert 'aotbuild: error: there is no C++ compiler "g++"' in done.stderr
    assert "Traceback" not in done.stderr


def test_norms_that_will_be_folded_are_told_of(tmp_path: Path) -> None:
    project = copied(PACKAGES / "calls", tmp_path / "calls")
    modules = project / "calls" / "modules.py"
    large = "nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)"
    text = modules.read_text()
    assert large in text
    modules.write_text(text.replace(large, "nn.Conv2d(3, 9000, 3), nn.BatchNorm2d(9000)"))
    done = check(project, "normed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "normed: 1 batch norms are folded into the layers before them: at run time "
        "normed.state_dict() and merge() may refuse their weights. swappable = true keeps them"
    )
    pyproject = project / "pyproject.toml"
    models = "[tool.aotbuild.models.normed]\n"
    pyproject.write_text(pyproject.read_text().replace(models, f"{models}swappable = true\n"))
    assert "folded" not in check(project, "normed").stdout


def test_torch_logs_nothing_above_an_error(tmp_path: Path) -> None:
    project = copied(PACKAGES / "calls", tmp_path / "calls")
    modules = project / "calls" / "modules.py"
    modules.write_text(modules.read_text().replace("nn.Linear(6, 5)", "nn.Linear(7, 5)"))
    done = check(project, "dense")
    assert done.returncode == 1
    assert done.stderr.startswith("aotbuild: error: "), done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the builder is x86-64")
def test_what_cannot_be_cross_compiled_is_told(tmp_path: Path) -> None:
    project = copied(REPOSITORY / "example_project", tmp_path / "example")
    cross = {"AOTBUILD_TARGET": "linux-aarch64"}
    assert check(project, "net", cwd=project, env=cross).returncode == 0
    done = check(project, "net", cwd=project, env={**cross, "AOTBUILD_PROFILE": "torch"})
    assert done.returncode == 1
    assert "net cannot be compiled for aarch64 on this machine: it needs torch" in done.stderr
