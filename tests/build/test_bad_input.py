"""What a user can get wrong: one block in pip's output, no traceback, exit code 1, no wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Build, pip_wheel

ProjectFactory = Callable[[str], Path]


def edited(project: Path, *changes: tuple[str, str]) -> Path:
    """Replace text in the project's pyproject.toml."""
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    pyproject.write_text(text)
    return project


def assert_refused(build: Build, *said: str) -> None:
    assert build.returncode != 0, build.output
    assert build.wheels == []
    assert "Traceback" not in build.output, build.output
    blocks = [line for line in build.output.splitlines() if "aotbuild: error:" in line]
    assert len(blocks) == 1, build.output
    flat = " ".join(build.output.split())
    for text in said:
        assert text in flat, (text, build.output)


SOURCE = 'source = "failing.modules:Net"'
INPUTS = 'inputs.x = { shape = ["batch", 4] }'

DECLARATIONS = {
    "unknown key": (
        ("dims.batch", "dim.batch"),
        ('unknown key "dim"', 'did you mean "dims"?', "models.net.dim"),
    ),
    "module not importable": (
        (SOURCE, 'source = "failing.moduls:Net"'),
        ('the module "failing.moduls" cannot be imported', "No module named 'failing.moduls'"),
    ),
    "attribute missing": (
        (SOURCE, 'source = "failing.modules:Nett"'),
        ('"failing.modules" has no attribute "Nett"', 'did you mean "Net"?', "net.source"),
    ),
    "not a module": (
        (SOURCE, 'source = "failing.modules:constant"'),
        ('"failing.modules:constant" is no torch.nn.Module', "builtins.int"),
    ),
    "factory of something else": (
        (SOURCE, 'source = "failing.modules:not_a_module"'),
        ("returned no torch.nn.Module", "builtins.int"),
    ),
    "factory that fails": (
        (SOURCE, 'source = "failing.modules:broken"'),
        ("RuntimeError: no such checkpoint", "failing/modules.py:", "in broken"),
    ),
    "input that forward lacks": (
        (INPUTS, 'inputs.y = { shape = ["batch", 4] }'),
        ('forward() has no parameter "y"', "models.net.inputs.y", "its parameters are: x"),
    ),
    "parameter without an input": (
        (SOURCE, 'source = "failing.modules:Two"'),
        ('the parameter "y" of forward() has no input', "add y = { shape"),
    ),
    "no tensor out": (
        (SOURCE, 'source = "failing.modules:Nothing"'),
        ("forward() returns no tensor", "tool.aotbuild.models.net"),
    ),
    "branch on a value": (
        (SOURCE, 'source = "failing.modules:Branching"'),
        (
            "torch.export cannot trace the model",
            "failing/modules.py:",
            "if x.sum() > 0",
            "branches on the value of a tensor",
        ),
    ),
    "dimension that is static": (
        (SOURCE, 'source = "failing.modules:Static"'),
        ("torch.export cannot trace the model", "batch"),
    ),
    "buffer that changes": (
        (SOURCE, 'source = "failing.modules:Counting"'),
        ("forward() changes the buffer calls",),
    ),
    "input that changes": (
        (SOURCE, 'source = "failing.modules:InPlace"'),
        ("forward() changes its input x",),
    ),
    "random numbers": (
        (SOURCE, 'source = "failing.modules:Random"'),
        (
            "gives another result than the eager one",
            "the largest difference is",
            "draws random numbers",
            "at the example",
        ),
    ),
    "output of another type": (
        (SOURCE, 'source = "failing.modules:ReturnsSlice"'),
        ("models.net", "slice"),
    ),
    "torch of another version": (
        ("torch==2.13.0", "torch==2.12.1"),
        ('the project pins "torch==2.12.1"', "build-system.requires"),
    ),
    "dynamic without a provider": (
        ('[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n', ""),
        ("the wheel would not require torch", '[[tool.dynamic-metadata]] provider = "aotbuild"'),
    ),
    "no torch requirement": (
        (
            'dynamic = ["dependencies"]\n\n[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n',
            "",
        ),
        ("the wheel would not require torch", 'dynamic = ["dependencies"]'),
    ),
}


@pytest.mark.parametrize("case", DECLARATIONS)
def test_a_wrong_declaration_stops_the_build(project: ProjectFactory, case: str) -> None:
    change, said = DECLARATIONS[case]
    assert_refused(pip_wheel(edited(project("failing"), change)), *said)


def _weights(directory: Path, kind: str) -> str:
    import torch
    from safetensors.torch import save_file

    good = {"linear.weight": torch.ones(4, 4), "linear.bias": torch.ones(4)}
    file = directory / "net.safetensors"
    if kind == "truncated":
        save_file(good, file)
        file.write_bytes(file.read_bytes()[:-20])
    elif kind == "another format":
        file = directory / "net.pt"
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "keys missing":
        save_file({"linear.weight": good["linear.weight"]}, file)
    elif kind == "keys unexpected":
        save_file({**good, "head.weight": torch.ones(2)}, file)
    elif kind == "prefix":
        save_file({f"module.{name}": value for name, value in good.items()}, file)
    elif kind == "another shape":
        save_file({**good, "linear.bias": torch.ones(5)}, file)
    elif kind == "code inside":
        file = directory / "net.pt"
        torch.save({"linear.weight": subprocess.Popen}, file)
    return file.name


WEIGHTS = {
    "missing": ('the weights file "net.safetensors" does not exist',),
    "truncated": ('"net.safetensors" is no valid safetensors file', "truncated"),
    "another format": ('"net.pt" cannot be read as weights',),
    "code inside": ('"net.pt" cannot be read as weights', "weights_only=True"),
    "keys missing": ("missing in the file (1): linear.bias",),
    "keys unexpected": ("unknown to the module (1): head.weight",),
    "prefix": ('the keys have the prefix "module."',),
    "another shape": ("linear.bias: (5,) in the file, (4,) in the module",),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_wrong_weights_stop_the_build(project: ProjectFactory, kind: str) -> None:
    source = project("failing")
    name = _weights(source, kind)
    edited(source, (SOURCE, f'{SOURCE}\nweights = "{name}"'))
    assert_refused(pip_wheel(source), "tool.aotbuild.models.net.weights", *WEIGHTS[kind])


def test_a_missing_compiler_stops_the_build(project: ProjectFactory) -> None:
    build = pip_wheel(project("failing"), env={"CXX": "no-such-compiler"})
    assert_refused(build, 'there is no C++ compiler "no-such-compiler"', "apt-get install g++")


def test_torch_missing_in_the_build_environment_stops_the_build(
    project: ProjectFactory, tmp_path: Path
) -> None:
    # An environment with everything but torch: links to what the test environment holds.
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(sys.prefix).glob("lib/python*/site-packages/*"):
        if not path.name.startswith("torch"):
            (site / path.name).symlink_to(path)
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (next(env.glob("lib/python*/site-packages")) / "outer.pth").write_text(f"{site}\n")
    out = tmp_path / "out"
    done = subprocess.run(
        [
            str(env / "bin" / "python"),
            "-P",
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
        ]
        + ["-w", str(out), str(project("failing"))],
        capture_output=True,
        text=True,
        check=False,
    )
    build = Build(done.returncode, done.stdout + done.stderr, list(out.glob("*.whl")))
    assert_refused(
        build, "torch is not installed in the build environment", 'install "torch==2.13.0"'
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_the_build_and_leaves_nothing_half_written(
    project: ProjectFactory, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        build = pip_wheel(project("failing"), f"-Cbuild-dir={disk / 'build'}")
        assert_refused(build, "the disk is full")
        left = [p for p in (disk / "build").rglob("*") if ".part" in p.name or ".scratch" in p.name]
        assert left == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_failed_build_can_be_mended_and_goes_on(project: ProjectFactory, tmp_path: Path) -> None:
    source = edited(project("failing"), (SOURCE, 'source = "failing.modules:Random"'))
    options = f"-Cbuild-dir={tmp_path / 'cmake'}"
    assert_refused(pip_wheel(source, options), "gives another result")
    edited(source, ("Random", "Net"))
    build = pip_wheel(source, options)
    assert build.returncode == 0, build.output
