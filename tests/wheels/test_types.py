"""Type checkers say nothing of right calls of compiled models, and refuse wrong ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import IMAGE, TENSOR, sample_manifest, write_package
from wheels import REPOSITORY, Installed

from aotbuild.steps.package.generate import stub

EXAMPLE = """
import array
from typing import Any, assert_type

import numpy as np
import torch
from torch import Tensor

import digits.models
from digits.models import denoiser, net, nett, reader, set_num_threads  # wrong
from digits.models._runtime import ModelState, QueueFullError


def tensors(x: Tensor, parameter: torch.nn.Parameter) -> None:
    assert_type(net(x), Tensor)
    assert_type(net(image=x, out=x), Tensor)
    assert_type(net(parameter), Tensor)
    assert_type(net(torch.zeros(2, 1, 8, 8)).argmax(1), Tensor)
    assert_type(denoiser(x)["error"], Tensor)
    found: dict[str, Tensor] = denoiser(x)
    assert_type(net.pool(2, threads_per_call=1)(x), Tensor)
    torch.nn.Sequential(net.module(), torch.nn.Softmax(1))
    net()  # wrong
    net(x, x)  # wrong
    net(x, mask=x)  # wrong
    net(1)  # wrong
    net("x")  # wrong
    net([x])  # wrong
    net(None)  # wrong
    net(x).logits  # wrong
    label: int = net(x)  # wrong
    denoiser(x).error  # wrong
    found["image"] = 1  # wrong
    net.pool("2")  # wrong


def arrays(a: np.ndarray[Any, np.dtype[np.float32]], b: memoryview) -> None:
    print(net(a).shape, net(b).shape, net(image=a), net(a, out=b), net(np.zeros((1, 1, 8, 8))))
    print(net(bytearray(256)), net(array.array("f", [0.0])), denoiser(a)["error"], net.pool(2)(b))
    net(a, b)  # wrong
    net(image=b, x=a)  # wrong


def attributes(x: Tensor) -> None:
    net.load_state_dict(net.state_dict())
    print(net.load_state_dict("net.safetensors", strict=False).missing_keys)
    net.merge({"w": (x, x)}, scale=0.5)
    net.prefetch()
    print(net.inputs["image"], net.outputs, net.dims["batch"].max, net.device.type, net.target)
    set_num_threads(2)
    digits.models.set_num_threads(2)
    net.weight  # wrong
    net.forward(x)  # wrong
    net.eval()  # wrong
    net.to("cuda")  # wrong
    net.parameters()  # wrong
    net.target = "cpu"  # wrong
    net.inputs()  # wrong
    net.load_state_dict(3)  # wrong
    net.merge({}, scale="1")  # wrong
    set_num_threads("2")  # wrong
    set_num_threads()  # wrong


async def gathered(x: Tensor, a: np.ndarray[Any, np.dtype[np.float32]], b: memoryview) -> Tensor:
    with net.batched(64, max_wait_ms=1.0, dim="batch", max_queue=10) as shared:
        assert_type(shared(x), Tensor)
        try:
            print(shared(image=a), shared(b), await shared.acall(a), shared.dims)
        except QueueFullError:
            pass
        shared(1)  # wrong
        shared(x, mask=x)  # wrong
        await shared.acall()  # wrong
        net.batched()  # wrong
        net.batched(2, max_wait="1")  # wrong
        assert_type(denoiser.batched(64)(x)["error"], Tensor)
        return await shared.acall(x)


def remembered(x: Tensor, b: memoryview) -> None:
    state: ModelState = reader.new_state(batch=2)
    assert_type(reader(x, state=state), Tensor)
    print(reader(b, state=state), reader.scan(x, state=state), state["hidden"], state.nbytes)
    copied = state.copy()
    copied.reset()
    copied.save("state.safetensors")
    reader(x, state=x)  # wrong
    net(x, state=state)  # wrong
    reader.new_state(batch="2")  # wrong
    state.clear()  # wrong
"""

SAMPLES = """
from typing import Any, assert_type

import numpy as np
from torch import Tensor

from samples.models import codec, mixed, named, nested


def methods(x: Tensor, a: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    assert_type(codec.encode(x), Tensor)
    print(codec.decode(a), codec.pool(2).encode(a), codec.encode.batched(4)(a))
    codec(x)  # wrong
    codec.forward(x)  # wrong
    codec.encode()  # wrong


def results(x: Tensor, a: np.ndarray[Any, np.dtype[np.float32]], y: Tensor) -> None:
    assert_type(named(x, other=y).scores, Tensor)
    scores, label = named(x, y)
    assert_type(scores, Tensor)
    assert_type(label, str)
    assert_type(named(a, a).label, str)
    assert_type(mixed(x)["scores"], Tensor)
    assert_type(mixed(x)["size"], int)
    print(named(a, a).scores.mean(), mixed(a)["scores"].mean())
    named(x, x).score  # wrong
    named(x)  # wrong
    named(x, other=1)  # wrong
    mixed(x)["score"]  # wrong
    mixed(x)["size"].mean()  # wrong


def containers(x: Tensor, several: list[np.ndarray[Any, np.dtype[np.float32]]]) -> None:
    assert_type(nested({"k": x, "v": x}, [x, x]), Tensor)
    print(nested({"k": several[0], "v": several[1]}, several))
    nested({"k": 1, "v": 1}, [x, x])  # wrong
    nested(x, [x, x])  # wrong
"""

WITHOUT_TORCH = """
import array

from samples.models import codec, mixed, named


def buffers(b: memoryview) -> None:
    result = codec.encode(b)
    print(result.shape, named(b, b).label, mixed(array.array("f", [0.0]))["size"])
    print(codec.encode.batched(4)(b))
    codec(b)  # wrong
    mixed(b)["score"]  # wrong
    named(b)  # wrong
    codec.encode(b, x=b)  # wrong
"""


def leaf(index: int) -> dict[str, Any]:
    return {**TENSOR, "index": index}


def picked(index: int) -> dict[str, Any]:
    return {"type": "tensor", "index": index}


def write_samples(directory: Path) -> None:
    """A package of models that return and take what those of the example do not."""
    label = {"type": "constant", "value": "cat"}
    result = {"type": "namedtuple", "class": "demo:Result", "fields": ["scores", "label"]}
    size = {
        "type": "dict",
        "keys": ["scores", "size"],
        "items": [leaf(0), {"type": "int", "index": 1}],
    }
    cache = {"type": "dict", "keys": ["k", "v"], "items": [picked(0), picked(1)]}
    rest = {"type": "list", "items": [picked(2), picked(3)]}
    names = ('cache["k"]', 'cache["v"]', "rest[0]", "rest[1]")
    models = {
        "codec": [sample_manifest("codec", "encode"), sample_manifest("codec", "decode")],
        "named": [
            sample_manifest(
                "named",
                inputs=[IMAGE, type(IMAGE)("other", *list(vars(IMAGE).values())[1:])],
                outputs={**result, "items": [leaf(0), label]},
            )
        ],
        "mixed": [sample_manifest("mixed", outputs=size)],
        "nested": [
            sample_manifest(
                "nested",
                inputs=[type(IMAGE)(name, *list(vars(IMAGE).values())[1:]) for name in names],
                in_spec={"type": "dict", "keys": ["cache", "rest"], "items": [cache, rest]},
            )
        ],
    }
    package = directory / "samples" / "models"
    write_package(package, [manifest for methods in models.values() for manifest in methods])
    (package / "__init__.pyi").write_text(stub(models), encoding="utf-8")
    (package / "py.typed").touch()
    (package.parent / "__init__.py").touch()


@pytest.fixture(scope="module")
def consumers(
    installed: Callable[[str], Installed], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with modules that use the models, and with the packages of these."""
    directory = tmp_path_factory.mktemp("consumers")
    write_samples(directory / "site")
    (directory / "site" / "digits").symlink_to(installed("example_project").directory / "digits")
    for name, text in {"of_example": EXAMPLE, "of_samples": SAMPLES}.items():
        (directory / f"{name}.py").write_text(text, encoding="utf-8")
    (directory / "plain").mkdir()
    (directory / "plain" / "without_torch.py").write_text(WITHOUT_TORCH, encoding="utf-8")
    return directory


def expected(directory: Path) -> set[str]:
    """The lines of a directory's modules that are to be refused."""
    return {
        f"{file.stem}:{number}: {line.strip()}"
        for file in directory.glob("*.py")
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith("# wrong")
    }


def told(directory: Path, places: set[tuple[str, int]]) -> set[str]:
    """Lines that a type checker refuses, as ``expected`` writes them."""
    lines = {file.stem: file.read_text("utf-8").splitlines() for file in directory.glob("*.py")}
    return {f"{stem}:{number}: {lines[stem][number - 1].strip()}" for stem, number in places}


def test_mypy_accepts_right_calls_and_refuses_wrong_ones(consumers: Path) -> None:
    files = sorted(str(file) for file in consumers.glob("*.py"))
    done = subprocess.run(
        # The project's own settings, so that what its own run knows of torch serves here.
        [sys.executable, "-P", "-m", "mypy", "--config-file", str(REPOSITORY / "pyproject.toml")]
        + ["--cache-dir", str(REPOSITORY / ".mypy_cache"), *files],
        capture_output=True,
        text=True,
        check=False,
        env={"MYPYPATH": str(consumers / "site"), "PATH": ""},
        cwd=consumers,
    )
    errors = re.findall(r"^(.+)\.pyi?:(\d+): error:", done.stdout, re.MULTILINE)
    places = {(stem, int(number)) for stem, number in errors}
    assert told(consumers, places) == expected(consumers), done.stdout + done.stderr


def pyright(directory: Path, python: Path | str, *, site: str) -> set[str]:
    """The lines of a directory that pyright refuses."""
    pytest.importorskip("basedpyright", reason="basedpyright is not installed")
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "extraPaths": [site],
        "include": ["*.py"],
        # What is not about types.
        **dict.fromkeys(("reportUnusedVariable", "reportUnusedExpression"), "none"),
    }
    (directory / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "basedpyright", "--outputjson"]
        + ["--project", str(directory), "--pythonpath", str(python)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == len([*directory.glob("*.py")]), done.stderr
    errors = found["generalDiagnostics"]
    places = {(Path(each["file"]).stem, each["range"]["start"]["line"] + 1) for each in errors}
    return told(directory, places)


def test_pyright_accepts_right_calls_and_refuses_wrong_ones(consumers: Path) -> None:
    assert pyright(consumers, sys.executable, site="site") == expected(consumers)


def test_pyright_knows_calls_with_buffers_where_torch_is_not_installed(
    consumers: Path, bare_python: Path
) -> None:
    plain = consumers / "plain"
    assert pyright(plain, bare_python, site="../site") == expected(plain)
