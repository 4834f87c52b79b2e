"""What a user can get wrong: one block in pip's output, no traceback, exit code 1, no wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Build, assert_refused, edited, pip_wheel

ProjectFactory = Callable[[str], Path]


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
        (
            "does not work for every declared size of batch",
            "return x.reshape(4, 4) + x",
            'write 4 in place of "batch" (x, position 0)',
        ),
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


DIMS = "dims.batch = { min = 1, max = 64 }"


def _source(name: str) -> tuple[str, str]:
    return SOURCE, f'source = "failing.modules:{name}"'


SIZES: dict[str, tuple[list[tuple[str, str]], tuple[str, ...]]] = {
    "a part of the range": (
        [_source("Narrowed")],
        (
            "does not work for every declared size of batch",
            "tool.aotbuild.models.net.dims.batch",
            "in forward: if x.shape[0] > 16:",
            "it works for batch from 1 to 16",
            "fix: batch = { min = 1, max = 16 }",
        ),
    ),
    "multiples of a number": (
        [
            _source("Halved"),
            (INPUTS, 'inputs.x = { shape = ["batch", "seq"] }\ndims.seq = { max = 32 }'),
        ],
        (
            "does not work for every declared size of seq",
            "tool.aotbuild.models.net.dims.seq",
            "in forward: return x.view(x.shape[0], x.shape[1] // 2, 2).sum(2)",
            "multiples of 2",
            "fix: seq = { min = 2, max = 32, multiple-of = 2 }",
        ),
    ),
    "two sizes that are one": (
        [
            _source("Summed"),
            (INPUTS, f'{INPUTS}\ninputs.y = {{ shape = ["other", 4] }}'),
            (DIMS, f"{DIMS}\ndims.other = {{ max = 64 }}"),
        ],
        (
            "does not work for every declared size of other",
            "tool.aotbuild.models.net.dims.other",
            "in forward: return x + y",
            "other is always batch",
            'fix: write "batch" in place of "other" (y, position 0)',
        ),
    ),
    "a size that follows from another": (
        [
            _source("Shifted"),
            (INPUTS, 'inputs.x = { shape = ["seq", 4] }\ninputs.y = { shape = ["short", 4] }'),
            (DIMS, "dims = { seq = { min = 2, max = 65 }, short = { max = 64 } }"),
        ],
        (
            "does not work for every declared size of seq",
            "tool.aotbuild.models.net.dims.seq",
            "in forward: return x[1:] + y",
            "seq is always short+1",
            'fix: write "short+1" in place of "seq" (x, position 0)',
        ),
    ),
}


@pytest.mark.parametrize("case", SIZES)
def test_a_size_that_the_model_does_not_take_is_told_with_its_line(
    project: ProjectFactory, case: str
) -> None:
    changes, said = SIZES[case]
    build = pip_wheel(edited(project("failing"), *changes))
    assert_refused(build, "failing/modules.py:", *said)


OTHERS: dict[str, tuple[list[tuple[str, str]], tuple[str, ...]]] = {
    "a program that is none": (
        [(SOURCE, 'source = "net.pt2"'), (INPUTS, ""), (DIMS, "")],
        (
            '"net.pt2" cannot be loaded as an exported program',
            "tool.aotbuild.models.net.source",
            "torch.export.save(torch.export.export(...), ...)",
        ),
    ),
    "a method that does not exist": (
        [
            _source("Encoding"),
            (INPUTS, 'methods.encod.inputs.x = { shape = ["batch", 4] }'),
        ],
        (
            'Encoding has no method "encod"',
            "tool.aotbuild.models.net.methods.encod",
            'did you mean "encode"?',
        ),
    ),
    "example function that fails": (
        [(INPUTS, 'example = "failing.modules:no_data"'), (DIMS, "")],
        (
            'calling "failing.modules:no_data" failed',
            "tool.aotbuild.models.net.example",
            "RuntimeError: no such recording",
            "failing/modules.py:",
            "in no_data",
            "returns (args, kwargs)",
        ),
    ),
    "example function of something else": (
        [(INPUTS, 'example = "failing.modules:not_a_call"'), (DIMS, "")],
        (
            '"failing.modules:not_a_call" does not return an example call',
            "tool.aotbuild.models.net.example",
            "it returns Tensor",
            "return (image,), {}",
        ),
    ),
    "dynamic shapes of other parameters": (
        [
            (INPUTS, 'example = "failing.modules:call"'),
            (DIMS, 'dynamic-shapes = "failing.modules:shapes"'),
        ],
        (
            "the dynamic shapes do not fit the example",
            "tool.aotbuild.models.net.dynamic-shapes",
            "['y'] are not among ['x']",
        ),
    ),
    "operators that cannot be imported": (
        [(SOURCE, f'{SOURCE}\nop-libraries = ["failing.ops"]')],
        (
            'the library of operators "failing.ops" cannot be loaded',
            "op-libraries",
            "No module named 'failing.ops'",
            "must be importable in the build environment",
        ),
    ),
    "nothing to quantise": (
        [_source("Plain"), (INPUTS, f'{INPUTS}\nquantize = "int8-weight-only"')],
        (
            "the model has no linear layer to quantise",
            "tool.aotbuild.models.net.quantize",
            "fix: remove quantize",
        ),
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_only_python_tells_stops_the_build(project: ProjectFactory, case: str) -> None:
    changes, said = OTHERS[case]
    source = edited(project("failing"), *changes)
    (source / "net.pt2").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert_refused(pip_wheel(source), *said)


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
