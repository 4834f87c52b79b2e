"""Building real wheels of ``tests/packages/*``, and running them where there is only torch."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forks import forked
from sanitize import environment as sanitizing
from sanitize import sanitize
from torch_pin import PIN, pin

if TYPE_CHECKING:
    import torch

REPOSITORY = Path(__file__).parents[2]
PACKAGES = REPOSITORY / "tests" / "packages"
ELSEWHERE = {
    "example_project": REPOSITORY / "example_project",
    "large": REPOSITORY / "benchmarks" / "large",
}
"""Projects that are not only there for the tests."""


@dataclass(frozen=True)
class Build:
    """What ``pip wheel`` did."""

    returncode: int
    output: str
    wheels: list[Path]

    @property
    def steps(self) -> list[str]:
        """The steps that ran, such as ``Exporting net``."""
        return sorted(steps_told(self.output))


def differ_from_record(wheel: Path) -> set[str]:
    """The files of a wheel that are not as its RECORD tells, or are on one side only."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        (record,) = (name for name in names if name.endswith(".dist-info/RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(archive.read(record).decode().splitlines())}
        found = {record: ["", ""]}
        for name in names - {record}:
            data = archive.read(name)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            found[name] = [f"sha256={digest}", str(len(data))]
    return {name for name in rows.keys() | found.keys() if rows.get(name) != found.get(name)}


def steps_told(log: str) -> list[str]:
    """The steps in Ninja's lines, such as ``Exporting net`` in ``[1/7] Exporting net``."""
    return re.findall(r"^\s*\[\d+/\d+\] (\w+ing .*?)\s*$", log, re.MULTILINE)


def pip_wheel(project: Path, *options: str, env: dict[str, str] | None = None) -> Build:
    """Build the wheel of ``project`` without isolation, as an integrator does."""
    out = project.parent / f"{project.name}-wheels"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-v"]
        + ["-w", str(out), *options, str(project)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
        cwd=project.parent,
    )
    wheels = sorted(out.glob("*.whl")) if out.is_dir() else []
    return Build(done.returncode, done.stdout + done.stderr, wheels)


@dataclass(frozen=True)
class Installed:
    """A wheel, and the directory it was installed to."""

    wheel: Path
    directory: Path
    output: str
    python: Path
    engine: str = ""
    """The engine that runs the models; empty for the best one."""
    before: str = ""
    """Code to run before a model is loaded."""

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def run(self, code: str, env: dict[str, str] | None = None) -> Any:
        """Run code where there is only torch and this wheel; it prints a JSON value last.

        With an environment, even an empty one, torch is not imported before the code runs.
        """
        if env is None:
            status, output = forked(self.python, self.directory, code, self.engine)
        else:
            done = self.attempt(code, env)
            status, output = done.returncode, done.stdout or done.stderr
        assert status == 0, output
        return json.loads(output.splitlines()[-1])

    @property
    def required(self) -> list[str]:
        """What the wheel requires, as its metadata says it."""
        (name,) = [name for name in self.files if name.endswith(".dist-info/METADATA")]
        return re.findall(r"^Requires-Dist: (.*)$", self.files[name].decode(), re.MULTILINE)

    def manifest(self, model: str) -> dict[str, Any]:
        """The manifest of a model, or of a method as ``model/method``."""
        (name,) = [n for n in self.files if n.endswith(f"/models/{model}/model.json")]
        found: dict[str, Any] = json.loads(self.files[name])
        return found

    @property
    def stored(self) -> dict[str, int]:
        """The tensors of the weights file, and how many bytes each takes."""
        (name,) = [n for n in self.files if n.endswith("/weights.safetensors")]
        data = self.files[name]
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        header.pop("__metadata__", None)
        named = {name: entry for name, entry in header.items() if not name.startswith("__pad__")}
        offsets = {tensor: entry["data_offsets"] for tensor, entry in named.items()}
        return {tensor: end - start for tensor, (start, end) in offsets.items()}

    def refuses(self, setup: str, wrong: Sequence[tuple[str, str, str]]) -> None:
        """Check that each call raises an error of this kind, and that its message has the text."""
        calls = [call for call, _, _ in wrong]
        results = self.run(
            f"{setup}\nimport json\nsaid = []\nfor call in {calls!r}:\n"
            "    try:\n        eval(call)\n        said.append(['no error', ''])\n"
            "    except Exception as error:\n"
            "        said.append([type(error).__name__, str(error)])\n"
            "print(json.dumps(said))"
        )
        for (call, kind, message), (got, said) in zip(wrong, results, strict=True):
            assert got == kind, (call, got, said)
            assert message in said, (call, said)

    def attempt(
        self, code: str, env: dict[str, str] | None = None, warnings: str = "ignore"
    ) -> subprocess.CompletedProcess[str]:
        """Run code in a process of its own, which may fail."""
        return subprocess.run(
            [str(self.python), "-P", "-W", warnings, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(self.directory),
                "AOTBUILD_ENGINE": self.engine,
                **sanitizing(),
                **(env or {}),
            },
            cwd=self.directory.parent,
        )


ENGINES = ("native", "torch")
STANDALONE, TORCH = "standalone", "torch"
KINDS = (*ENGINES, STANDALONE)
"""The engines of wheels that need torch, and wheels that need none."""

AWAIT_CHILD = """
deadline, ended = time.monotonic() + 60, 0
while not ended and time.monotonic() < deadline:
    ended, status = os.waitpid(child, os.WNOHANG)
    time.sleep(0.01)
if not ended:
    os.kill(child, 9)
"""
"""Code that waits until the process ``child`` has ended, or ends it."""


def run_plain(python: Path, directory: Path, code: str, **variables: str) -> Any:
    """Run code by an interpreter where there is a wheel; it prints a JSON value last."""
    done = subprocess.run(
        [python, "-P", "-c", code],
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", **sanitizing(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def of_kind(installed: Callable[..., Installed], name: str, kind: str) -> Installed:
    """A sample package that one of ``KINDS`` runs."""
    if kind == STANDALONE:
        return installed(name, STANDALONE)
    return dataclasses.replace(installed(name), engine=kind)


def copy_package(directory: Path, name: str, runtime: str = TORCH) -> Path:
    """Copy a sample package, to be built for one CPU level unless it tells others itself.

    Args:
        directory: Where the copy goes.
        name: The package.
        runtime: What runs its models, if it does not tell that itself. To find it out takes each
            build some seconds.
    """
    source = ELSEWHERE.get(name, PACKAGES / name)
    ignored = shutil.ignore_patterns("__pycache__", "build", "dist")
    copy = pin(Path(shutil.copytree(source, directory / name, ignore=ignored)))
    pyproject = copy / "pyproject.toml"
    text = pyproject.read_text()
    added = [] if "cpu-levels" in text else ['cpu-levels = ["x86-64-v3", "armv8"]\n']
    declared = tomllib.loads(text)["tool"]["aotbuild"]
    added += [] if "runtime" in declared else [f'runtime = "{runtime}"\n']
    # Which versions of torch run them takes as long to find out.
    added += [] if "torch" in declared else ['torch = "minor"\n']
    if added:
        head = "" if "[tool.aotbuild]\n" in text else "[tool.aotbuild]\n"
        place = re.compile(r"(?m)^(\[tool\.aotbuild\]\n|(?=\[tool\.aotbuild\.))")
        lines = head + "".join(added)
        pyproject.write_text(place.sub(rf"\g<1>{lines}", text, count=1))
    return copy


def project_head(name: str) -> str:
    """The tables of a usual pyproject.toml before ``[tool.aotbuild]``."""
    return f"""\
[build-system]
requires = ["scikit-build-core>=1.1", "aotbuild", "{PIN}"]
build-backend = "scikit_build_core.build"

[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dynamic = ["dependencies"]

[[tool.dynamic-metadata]]
provider = "aotbuild"

"""


def own_cache(directory: Path) -> dict[str, str]:
    """The environment of a build that has the precompiled headers of all, and no library yet."""
    directory.mkdir()
    (directory / "headers").symlink_to(Path(os.environ["AOTBUILD_CACHE_DIR"]) / "headers")
    return {"AOTBUILD_CACHE_DIR": str(directory)}


def edited(project: Path, *changes: tuple[str, str]) -> Path:
    """Replace text in the project's pyproject.toml."""
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    pyproject.write_text(text)
    return project


def keep_models(project: Path, *names: str) -> Path:
    """Remove the other models from the project's pyproject.toml."""
    pyproject = project / "pyproject.toml"
    start = re.compile(r"^(?=\[tool\.aotbuild\.models\.)", re.MULTILINE)
    head, *models = start.split(pyproject.read_text())
    kept = [model for model in models if re.split(r"[].]", model)[3] in names]
    assert len(kept) >= len(names)
    pyproject.write_text(head + "".join(kept))
    return project


def assert_refused(build: Build, *said: str) -> None:
    """Check that a build failed with one block that has each of these texts."""
    assert build.returncode != 0, build.output
    assert build.wheels == []
    assert "Traceback" not in build.output, build.output
    blocks = [line for line in build.output.splitlines() if "aotbuild: error:" in line]
    assert len(blocks) == 1, build.output
    flat = " ".join(build.output.split())
    for text in said:
        assert text in flat, (text, build.output)


def install(build: Build, directory: Path, python: Path) -> Installed:
    """Install the wheel of a build, as ``test_wheel.py`` shows that pip does."""
    assert build.returncode == 0, build.output
    (wheel,) = build.wheels
    with zipfile.ZipFile(wheel) as archive:  # pip takes a second for it
        archive.extractall(directory)
    sanitize(directory)
    return Installed(wheel, directory, build.output, python)


def write_speech_weights(project: Path, seed: int = 1) -> None:
    """Write the weights of the package ``srcdir``: a state dict of torch.save, ignored by git."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 3))
    (project / "checkpoints").mkdir(exist_ok=True)
    torch.save(module.state_dict(), project / "checkpoints" / "net.pt")


def compile_clip(project: Path) -> None:
    """Compile the library of operators of the package ``operators``, ignored by git."""
    import torch

    root = Path(torch.__file__).parent
    (project / "libs").mkdir(exist_ok=True)
    subprocess.run(
        ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", str(project / "clip.cpp")]
        + [f"-I{root}/include", f"-I{root}/include/torch/csrc/api/include"]
        + [f"-L{root}/lib", "-ltorch", "-ltorch_cpu", "-lc10"]
        + ["-o", str(project / "libs" / "libclip.so")],
        check=True,
    )


def lstm() -> torch.nn.LSTM:
    """The model ``lstm`` of the package ``architectures``, with its weights."""
    import torch

    torch.manual_seed(0)
    return torch.nn.LSTM(16, 32, num_layers=2, batch_first=True).eval()


def write_lstm_weights(project: Path) -> None:
    """Write the weights of ``lstm``, ignored by git."""
    import torch

    (project / "weights").mkdir(exist_ok=True)
    torch.save(lstm().state_dict(), project / "weights" / "lstm.pt")


def write_old_weights(project: Path) -> None:
    """Write a checkpoint of a wrapped module with the old weight norm, ignored by git."""
    import torch

    torch.manual_seed(1)
    conv = torch.nn.Conv1d(4, 6, 5)
    norm = torch.nn.BatchNorm1d(6)
    state = {
        "conv.bias": conv.bias,
        "conv.weight_g": conv.weight.norm(dim=(1, 2), keepdim=True),
        "conv.weight_v": conv.weight,
        **{f"norm.{name}": tensor for name, tensor in norm.state_dict().items()},
        "norm.num_batches_tracked": torch.tensor(7, dtype=torch.int32),
    }
    wrapped = {f"module.{name}": tensor.detach() for name, tensor in state.items()}
    torch.save({"model": wrapped, "epoch": 3}, project / "src" / "values" / "voice.pt")
