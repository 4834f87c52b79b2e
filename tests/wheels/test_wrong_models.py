"""What a user can get wrong about a model: one block in pip's output that names it, no traceback.

Each case is a model of a project. Ninja builds some of them with ``-k0``, so that every model has
its say; the others are told by ``python -m aotbuild check``, which exports them all in one process.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from wheels import copy_package, pip_wheel

SOURCE = 'source = "failing.modules:Net"'
INPUTS = 'inputs.x = { shape = ["batch", 4] }'
DIMS = "dims.batch = { min = 1, max = 64 }"
MODEL = f"{SOURCE}\n{INPUTS}\n{DIMS}\n"

Case = tuple[list[tuple[str, str]], tuple[str, ...]]
"""What is replaced in the declaration of a right model, and what is said."""


def _source(name: str) -> tuple[str, str]:
    return SOURCE, f'source = "failing.modules:{name}"'


MODELS: dict[str, Case] = {
    "module not importable": (
        [(SOURCE, 'source = "failing.moduls:Net"')],
        ('the module "failing.moduls" cannot be imported', "No module named 'failing.moduls'"),
    ),
    "attribute missing": (
        [_source("Nett")],
        ('"failing.modules" has no attribute "Nett"', 'did you mean "Net"?', "net.source"),
    ),
    "not a module": (
        [_source("constant")],
        ('"failing.modules:constant" is no torch.nn.Module', "builtins.int"),
    ),
    "factory of something else": (
        [_source("not_a_module")],
        ("returned no torch.nn.Module", "builtins.int"),
    ),
    "factory that fails": (
        [_source("broken")],
        ("RuntimeError: no such checkpoint", "failing/modules.py:", "in broken"),
    ),
    "input that forward lacks": (
        [(INPUTS, 'inputs.y = { shape = ["batch", 4] }')],
        ('forward() has no parameter "y"', "models.net.inputs.y", "its parameters are: x"),
    ),
    "parameter without an input": (
        [_source("Two")],
        ('the parameter "y" of forward() has no input', "add y = { shape"),
    ),
    "no tensor out": (
        [_source("Nothing")],
        ("forward() returns no tensor", "tool.aotbuild.models.net"),
    ),
    "branch on a value": (
        [_source("Branching")],
        (
            "torch.export cannot trace the model",
            "failing/modules.py:",
            "if x.sum() > 0",
            "branches on the value of a tensor",
        ),
    ),
    "dimension that is static": (
        [_source("Static")],
        (
            "does not work for every declared size of batch",
            "return x.reshape(4, 4) + x",
            'write 4 in place of "batch" (x, position 0)',
        ),
    ),
    "buffer that grows": (
        [_source("Growing")],
        (
            "the buffer seen changes its shape in a call",
            "it is registered as (0, 4), and the example call makes it (4, 4)",
            "a cache that grows has its largest size from the beginning, and a counter",
        ),
    ),
    "buffer of another dtype": (
        [_source("OtherDtype")],
        (
            "the buffer total changes its dtype in a call",
            "it is registered as float32, and the example call makes it float64",
            "register it as float64",
        ),
    ),
    "a parameter called state": (
        [_source("OwnState"), (INPUTS, f'{INPUTS}\ninputs.state = {{ shape = ["batch", 4] }}')],
        (
            'net has a parameter called "state"',
            "callers pass what the model keeps between calls by that name: it changes calls",
            "rename the parameter",
        ),
    ),
    "a buffer that there is not": (
        [(INPUTS, f"{INPUTS}\nstate.hiden = {{ shape = [4] }}")],
        ('the module has no buffer "hiden"', "models.net.state.hiden", "register_buffer"),
    ),
    "a parameter that changes": (
        [_source("OnlyTheParameter")],
        ("forward() changes the parameter linear.bias", "register_buffer"),
    ),
    "constant that changes": (
        [_source("Running")],
        (
            "forward() changes a tensor outside the module, which is no buffer",
            "modules.py:",
            "in forward: return torch.nn.functional.batch_norm(x, MEAN, VARIANCE, training=True)",
            "only buffers are state of their own",
        ),
    ),
    "calls that are counted": (
        [_source("CountingInPython")],
        (
            "forward() gives something else when it is called again with the same arguments",
            "tool.aotbuild.models.net",
            "it would repeat one of the calls for ever",
        ),
    ),
    "the end of the process": (
        [_source("Exiting")],
        ("SystemExit: 3", "failing/modules.py:", "raise an error in place of ending the process"),
    ),
    "lists without an end": (
        [_source("Nested")],
        ("RecursionError", "tool.aotbuild.models.net", "return less deeply nested lists"),
    ),
    "random numbers": (
        [_source("Random")],
        (
            "differs from the eager model",
            "the largest difference is",
            "draws random numbers",
            "at the example",
        ),
    ),
    "output of another type": (
        [_source("ReturnsSlice")],
        ("models.net", "slice"),
    ),
    "a part of the range": (
        [_source("Narrowed")],
        (
            "does not work for every declared size of batch",
            "tool.aotbuild.models.net.dims.batch",
            "in forward: if x.shape[0] > 16:",
            "it works if batch is 1 to 16",
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
    "weights: truncated": (
        [(SOURCE, f'{SOURCE}\nweights = "net.safetensors"')],
        ('"net.safetensors" is no valid safetensors file', "truncated", "models.net.weights"),
    ),
    "weights: another format": (
        [(SOURCE, f'{SOURCE}\nweights = "net.pt"')],
        ('"net.pt" cannot be read as weights', "models.net.weights"),
    ),
    "weights: code inside": (
        [(SOURCE, f'{SOURCE}\nweights = "net.pt"')],
        ('"net.pt" cannot be read as weights', "weights_only=True", "models.net.weights"),
    ),
    "weights: keys missing": (
        [(SOURCE, f'{SOURCE}\nweights = "net.safetensors"')],
        ("missing in the file (1): linear.bias", "models.net.weights"),
    ),
    "weights: keys unexpected": (
        [(SOURCE, f'{SOURCE}\nweights = "net.safetensors"')],
        ("unknown to the module (1): head.weight", "models.net.weights"),
    ),
    "weights: prefix": (
        [(SOURCE, f'{SOURCE}\nweights = "net.safetensors"')],
        ('safetensors#model"', "models.net.weights"),
    ),
    "weights: another shape": (
        [(SOURCE, f'{SOURCE}\nweights = "net.safetensors"')],
        ("linear.bias: (5,) in the file, (4,) in the module", "models.net.weights"),
    ),
}


def _slug(case: str) -> str:
    return re.sub(r"\W+", "_", case)


def _named(text: str, case: str) -> str:
    """What is said of ``net``, for the model of this case."""
    return re.sub(r"\bnet\b", _slug(case), text)


def _write_weights(file: Path, kind: str) -> None:
    import torch
    from safetensors.torch import save_file

    good = {"linear.weight": torch.ones(4, 4), "linear.bias": torch.ones(4)}
    if kind == "truncated":
        save_file(good, file)
        file.write_bytes(file.read_bytes()[:-20])
    elif kind == "another format":
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif kind == "keys missing":
        save_file({"linear.weight": good["linear.weight"]}, file)
    elif kind == "keys unexpected":
        save_file({**good, "head.weight": torch.ones(2)}, file)
    elif kind == "prefix":
        save_file({f"model.{name}": value for name, value in good.items()}, file)
    elif kind == "another shape":
        save_file({**good, "linear.bias": torch.ones(5)}, file)
    elif kind == "code inside":
        torch.save({"linear.weight": subprocess.Popen}, file)


CHECKED = {
    "factory of something else",
    "factory that fails",
    "no tensor out",
    "dimension that is static",
    "buffer that grows",
    "constant that changes",
    "calls that are counted",
    "the end of the process",
    "lists without an end",
    "buffer of another dtype",
    "a parameter called state",
    "a buffer that there is not",
    "a parameter that changes",
    "multiples of a number",
    "two sizes that are one",
    "a size that follows from another",
    "a program that is none",
    "a method that does not exist",
    "example function that fails",
    "example function of something else",
    "dynamic shapes of other parameters",
    "operators that cannot be imported",
    "nothing to quantise",
    "weights: prefix",
}
"""The cases that are not built."""


def _project(directory: Path, cases: Iterable[str]) -> Path:
    """A project with a model for each case."""
    project = copy_package(directory, "failing")
    pyproject = project / "pyproject.toml"
    head, _ = pyproject.read_text().split("[tool.aotbuild.models.net]")
    tables = [head]
    for case in cases:
        changes, _ = MODELS[case]
        table = f"[tool.aotbuild.models.net]\n{MODEL}"
        for old, new in changes:
            assert old in table
            table = table.replace(old, new)
        tables.append(_named(table, case))
        kind = case.removeprefix("weights: ")
        if kind != case:
            suffix = "pt" if 'net.pt"' in changes[0][1] else "safetensors"
            _write_weights(project / f"{_slug(case)}.{suffix}", kind)
    (project / f"{_slug('a program that is none')}.pt2").write_text("version https://git-lfs\n")
    pyproject.write_text("\n".join(tables))
    return project


def _blocks(output: str) -> list[str]:
    assert "Traceback" not in output, output
    return re.split("(?=aotbuild: error:)", " ".join(output.split()))[1:]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What pip's output says of each model."""
    cases = [case for case in MODELS if case not in CHECKED]
    project = _project(tmp_path_factory.mktemp("wrong"), cases)
    build = pip_wheel(project, "-Cbuild.tool-args=-k0")
    assert build.returncode != 0, build.output
    assert build.wheels == []
    return _blocks(build.output)


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the check says of each model."""
    project = _project(tmp_path_factory.mktemp("checked"), sorted(CHECKED))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "check", "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return _blocks(done.stderr)


@pytest.mark.parametrize("case", MODELS)
def test_a_wrong_model_is_told_in_one_block(request: pytest.FixtureRequest, case: str) -> None:
    blocks = request.getfixturevalue("checked" if case in CHECKED else "built")
    texts = [_named(text, case) for text in MODELS[case][1]]
    told = [block for block in blocks if all(text in block for text in texts)]
    assert len(told) == 1, (texts, blocks)
