"""Wheels for arm64 that are built on x86-64, run by a Python for arm64 in qemu."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import arm64
import numpy as np
import pytest
import torch
from elftools.elf.elffile import ELFFile
from wheels import (
    REPOSITORY,
    STANDALONE,
    Installed,
    assert_refused,
    copy_package,
    edited,
    keep_models,
    pip_wheel,
)

from aotbuild.commands.newest_symbols import versioned_symbols
from aotbuild.steps.older_glibc import numbers

pytestmark = pytest.mark.skipif(bool(arm64.why_not()), reason=arm64.why_not() or "it can be run")

CROSS = {"AOTBUILD_TARGET": "linux-aarch64"}
PREDICT = """
import json, sys
import numpy as np
from digits.models import denoiser, net

images = np.load(sys.argv[1])["images"].reshape(-1, 1, 8, 8) / np.float32(16)
scores = np.concatenate([net(images[i : i + 100]) for i in range(0, len(images), 100)])
alone = np.concatenate([net(image[None]) for image in images[:20]])
cleaned = denoiser(images[:9])
found = [scores, alone, cleaned["image"], cleaned["error"]]
print(json.dumps([array.tobytes().hex() for array in found]))
"""
IMAGES = Path(__file__).with_name("digits.npz")
"""Those that the example holds out, as 0 to 16, and their labels (UCI's optical recognition of
handwritten digits, as scikit-learn has it)."""


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    """Builds a sample package for arm64 once."""
    built: dict[str, Installed] = {}

    def build(name: str) -> Installed:
        if name not in built:
            directory = tmp_path_factory.mktemp("cross")
            done = pip_wheel(copy_package(directory, name, STANDALONE), env=CROSS)
            assert done.returncode == 0, done.output
            (wheel,) = done.wheels
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(directory / "installed")
            python = Path(arm64.python()[-1])
            built[name] = Installed(wheel, directory / "installed", done.output, python)
        return built[name]

    return build


def predictions(found: Installed, command: list[str], **variables: str) -> list[bytes]:
    done = subprocess.run(
        [*command, "-P", "-c", PREDICT, str(IMAGES)],
        env={"PYTHONPATH": str(found.directory), "PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [bytes.fromhex(text) for text in json.loads(done.stdout)]


def test_the_example_predicts_all_digits_as_eager_torch_and_bit_for_bit_as_on_x86(
    crossed: Callable[[str], Installed],
    installed: Callable[..., Installed],
    numpy_python: Path,
) -> None:
    found = crossed("example_project")
    one, four = (
        predictions(found, arm64.python(), AOTBUILD_NUM_THREADS=threads) for threads in "14"
    )
    assert one == four
    scores, alone = (np.frombuffer(data, np.float32).reshape(-1, 10) for data in one[:2])
    eager = torch.load(REPOSITORY / "example_project" / "reference" / "net.pt")["logits"]
    same = scores.argmax(1) == eager.numpy().argmax(1)
    assert (same.sum(), len(same)) == (360, 360)
    np.testing.assert_array_equal(alone, scores[:20])
    # Kernels add in the same order, by the same fused multiply-add; the mean of an image is
    # Inductor's, which adds as many numbers at once as a vector has.
    native = installed("example_project", STANDALONE)
    others = predictions(native, [str(numpy_python)], AOTBUILD_CPU_LEVEL="x86-64-v3")
    assert one[:3] == others[:3]
    own, other = (np.frombuffer(each[3], np.float32) for each in (one, others))
    np.testing.assert_allclose(own, other, rtol=5e-7)


def test_everything_in_the_wheel_is_for_arm64(crossed: Callable[[str], Installed]) -> None:
    found = crossed("example_project")
    assert found.wheel.name == "digits-0.1.0-cp311-abi3-linux_aarch64.whl"
    (wheel,) = [text for name, text in found.files.items() if name.endswith("/WHEEL")]
    assert "Tag: cp311-abi3-linux_aarch64" in wheel.decode()
    assert not [text for text in found.required if "extra" not in text]
    libraries = {name: data for name, data in found.files.items() if name.endswith(".so")}
    assert {Path(name).name for name in libraries} == {
        *("cpu-armv8.so", "_engine.abi3.so", "libdigits.so")
    }
    for data in libraries.values():
        assert ELFFile(io.BytesIO(data)).get_machine_arch() == "AArch64"
        versions = {version for _, version in versioned_symbols(data)}
        assert max(numbers(version) for version in versions if "GLIBC_" in version) <= (2, 18)
    for model in ("net", "denoiser", "reader"):
        (variant,) = found.manifest(model)["variants"]
        assert (variant["target"], variant["platform"]) == ("cpu-armv8", "linux-aarch64")
        assert f"aotbuild: {model} runs in qemu-aarch64" in found.output
        assert variant["verified"]["largest-error"] < 1e-4


def test_the_package_tests_itself(crossed: Callable[[str], Installed]) -> None:
    directory = crossed("example_project").directory
    done = subprocess.run(
        [*arm64.python(), "-P", "-m", "digits.models"],
        env={"PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^net +cpu-armv8 +ok", done.stdout, re.MULTILINE)


CALLS = """
import array, json, os, threading
import numpy as np
import digits.models
from digits.models import net

said = []
def refused(*values, **named):
    try:
        net(*values, **named)
        said.append("no error")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")

images = (np.arange(9 * 64) % 101 / 101).astype(np.float32).reshape(9, 1, 8, 8)
pixels = array.array("f", images.tobytes())
expected = net(images)
refused(images[0])
refused(images.astype(np.float64))
refused(np.zeros((300, 1, 8, 8), np.float32))
refused()
refused("text")
same = [
    net(image=images), net(images[:, :, ::-1].copy()[:, :, ::-1]),
    np.asarray(net(memoryview(pixels).cast("B").cast("f", (9, 1, 8, 8)))),
    np.from_dlpack(net(images)),
]
results = []
threads = [threading.Thread(target=lambda: results.append(net(images))) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
digits.models.set_num_threads(3)
same += [*results, net(images)]
out = np.empty((9, 10), np.float32)
assert net(images, out=out) is out
same.append(out)
net.load_state_dict(os.environ["WEIGHTS"])
same.append(net(images))
print(json.dumps([said, [bool((a == expected).all()) for a in same], net.target]))
"""


def test_calls_are_checked_as_on_other_machines(crossed: Callable[[str], Installed]) -> None:
    weights = str(REPOSITORY / "example_project" / "weights" / "net.safetensors")
    directory = crossed("example_project").directory
    said, same, target = json.loads(arm64.run(CALLS, directory, WEIGHTS=weights))
    wanted = [
        "ValueError: net(): argument 'image' must have 4 dimensions",
        "TypeError: net(): argument 'image' must have dtype float32",
        "ValueError: net(): ",
        "TypeError: net()",
        "TypeError: net(): argument 'image' must be an array of numpy",
    ]
    assert len(said) == len(wanted)
    for text, beginning in zip(said, wanted, strict=True):
        assert text.startswith(beginning), text
    assert same == [True] * 11
    assert target == "cpu-armv8"


LEVEL = """
try:
    from digits.models import net
    print(net.target)
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("armv8", "cpu-armv8"),
        ("x86-64-v3", "AOTBUILD_CPU_LEVEL=x86-64-v3: net was compiled for armv8; set it to one"),
    ],
)
def test_a_level_can_be_asked_for(
    crossed: Callable[[str], Installed], level: str, said: str
) -> None:
    directory = crossed("example_project").directory
    assert said in arm64.run(LEVEL, directory, AOTBUILD_CPU_LEVEL=level)


def test_a_program_in_c_calls_it(crossed: Callable[[str], Installed], tmp_path: Path) -> None:
    directory = crossed("example_project").directory / "digits" / "models" / "_c"
    source = REPOSITORY / "example_project" / "cpp" / "predict.cpp"
    predict = tmp_path / "predict"
    options = ["-std=c++17", f"-I{directory / 'include'}", str(source), "-o", str(predict)]
    options += [str(directory / "libdigits.so"), f"-Wl,-rpath,{directory}"]
    subprocess.run([arm64.COMPILER, *options], check=True)
    images = np.load(IMAGES)["images"].astype(np.float32) / 16
    (tmp_path / "images.bin").write_bytes(images.tobytes())
    command = arm64.program(predict, tmp_path / "images.bin")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    eager = torch.load(REPOSITORY / "example_project" / "reference" / "net.pt")["logits"]
    assert [int(line) for line in done.stdout.split()] == eager.argmax(1).tolist()


def test_a_wheel_gets_its_platform_tag(crossed: Callable[[str], Installed], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "repair", "-w", str(tmp_path)]
        + [str(crossed("example_project").wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    assert re.search(r"-cp311-abi3-manylinux_2_(1\d|2[0-8])_aarch64", wheel.name)
    assert "_aarch64, not tested, as it is for other machines\n" in done.stdout


def test_other_functions_are_right_there(crossed: Callable[[str], Installed]) -> None:
    """Sorting, transforms, pooling and others, which the build compares with eager torch."""
    found = crossed("alone")
    models = sorted(Path(name).parent.name for name in found.files if name.endswith("model.json"))
    assert len(models) > 5
    for model in models:
        (variant,) = found.manifest(model)["variants"]
        assert variant["platform"] == "linux-aarch64"
        assert "unverified" not in variant["verified"]
    said = arm64.run("from alone.models.__main__ import *", found.directory)
    assert len(re.findall(r"cpu-armv8 +ok", said)) == len(models)


def test_the_page_tells_what_builds_say(crossed: Callable[[str], Installed]) -> None:
    found = crossed("example_project")
    text = (REPOSITORY / "docs" / "cross-compiling.md").read_text("utf-8")
    (command,) = re.findall(r"^\$ (\S+=\S+) pip wheel --no-deps \.$", text, re.MULTILINE)
    assert command == "=".join(*CROSS.items())
    assert f"\n{found.wheel.name}\n" in text
    (line,) = re.findall(r"^aotbuild: .* runs in .*$", text, re.MULTILINE)
    assert line in found.output


def test_a_model_that_needs_torch_is_refused_with_its_line(tmp_path: Path) -> None:
    project = keep_models(copy_package(tmp_path, "alone", STANDALONE), "ordered")
    edited(project, ('runtime = "standalone"', 'runtime = "auto"'))
    module = project / "src" / "alone" / "modules.py"
    code = "return torch.linalg.cholesky(x.T @ x + torch.eye(40))"
    text = module.read_text()
    start = text.index("return", text.index("class Ordered"))
    module.write_text(f"{text[:start]}{code}\n{text[text.index(chr(10), start) + 1 :]}")
    build = pip_wheel(project, env=CROSS)
    assert_refused(
        build,
        "ordered cannot be compiled for aarch64 on this machine: it needs torch",
        "only torch has aten.linalg_cholesky, called at src/alone/modules.py",
    )
