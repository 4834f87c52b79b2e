"""Projects that are edited and built again: in a build directory that stays, and editable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from page_blocks import blocks, write
from wheels import pip_wheel, steps_told, write_speech_weights

ProjectFactory = Callable[[str], Path]

NET = ["Compiling net for cpu-x86-64-v3", "Exporting net", "Verifying net for cpu-x86-64-v3"]
OTHER = [step.replace("net", "other") for step in NET]
BUNDLE = ["Bundling speech_kit.models"]


def test_only_what_changed_is_built_again(project: ProjectFactory, tmp_path: Path) -> None:
    source = project("srcdir")
    write_speech_weights(source)
    directory = tmp_path / "cmake"

    def build() -> list[str]:
        done = pip_wheel(source, f"-Cbuild-dir={directory}")
        assert done.returncode == 0, done.output
        assert "CMake Warning" not in done.output
        return done.steps

    assert build() == sorted([*NET, *OTHER, *BUNDLE, "Building the engine"])
    assert build() == []
    (source / "README.md").write_text("Speech, better.\n")
    (source / "src/speech_kit/unrelated.py").write_text("x = 1\n")
    assert build() == []
    layers = source / "src/speech_kit/layers.py"
    _append(layers, "\n# a comment\n")
    assert build() == sorted(NET[1:] + BUNDLE)  # the program is the same, and so is its code
    layers.write_text(layers.read_text().replace("forward(features)", "forward(features) * 2"))
    assert build() == sorted(NET + BUNDLE)

    # A new checkpoint is a new export, and compiles nothing.
    compiled = _ninja_log(directory, "compiled.json")
    assert compiled
    write_speech_weights(source, seed=2)
    assert build() == sorted(NET[1:] + BUNDLE)
    assert _ninja_log(directory, "compiled.json") == compiled

    # A command that is told where an isolated build has its Python would run in each of them.
    commands = (directory / "build.ninja").read_text().splitlines()
    steps = [line for line in commands if "COMMAND = " in line and "step " in line]
    assert len(steps) == 2 * len(NET) + 2
    told = "".join(steps).replace(str(directory), "")
    assert "python" not in told
    assert "cmake" not in told

    # What else would be built again, as Ninja tells without doing it.
    assert _after_a_change_of(source / "src/speech_kit/sizes.json", directory) == NET + BUNDLE
    assert _after_a_change_of(source / "checkpoints/net.pt", directory) == NET + BUNDLE
    assert _after_a_change_of(source / "src/speech_kit/other.py", directory) == OTHER + BUNDLE
    assert _after_a_change_of(source / "src/speech_kit/unrelated.py", directory) == []

    pyproject = source / "pyproject.toml"
    head, tail = pyproject.read_text().rsplit("max = 500", 1)
    pyproject.write_text(f"{head}max = 400{tail}")
    assert build() == sorted(OTHER + BUNDLE)


def _ninja_log(directory: Path, name: str) -> dict[str, str]:
    """What Ninja noted last of each output of a name: when it was made, and by which command."""
    lines = [line.split("\t") for line in (directory / ".ninja_log").read_text().splitlines()[1:]]
    return {line[3]: " ".join(line) for line in lines if name in line[3]}


def _after_a_change_of(path: Path, directory: Path) -> list[str]:
    """The steps that a change of ``path`` would run; the change is taken back."""
    before = path.stat()
    os.utime(path)
    told = subprocess.run(
        [sys.executable, "-P", "-m", "ninja", "-n", "-C", str(directory)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return sorted(steps_told(told), key=(NET + OTHER + BUNDLE).index)


def test_an_editable_install_recompiles_an_edited_model_at_the_next_import(
    project: ProjectFactory, tmp_path: Path, bench_python: Path
) -> None:
    source = project("srcdir")
    write_speech_weights(source)
    settings, *_ = (block for block in blocks("docs/editable.md") if block.language == "toml")
    write(settings, source)
    subprocess.run(
        [sys.executable, "-P", "-m", "pip", "--python", str(bench_python), "install", "--no-deps"]
        + ["--no-build-isolation", "-e", str(source)],
        check=True,
        capture_output=True,
    )
    code = (
        "import json, torch\nfrom speech_kit.models import other\n"
        "print(json.dumps(other(torch.ones(2, 40))[:, 0].tolist()))"
    )

    def run() -> list[float]:
        done = subprocess.run(
            [bench_python, "-P", "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return list(json.loads(done.stdout.splitlines()[-1]))

    assert run() == [2.0, 4.0]
    environment = bench_python.parents[1]
    (told,) = environment.glob("lib/python*/site-packages/speech_kit-*.dist-info/aotbuild.json")
    assert {m["name"] for m in json.loads(told.read_text())["package"]["models"]} >= {"other"}
    (build,) = (source / "build").glob("*")
    assert (build / "aotbuild" / "aotbuild-report.html").is_file()
    module = source / "src/speech_kit/other.py"
    module.write_text(module.read_text().replace("* 2", "* 5"))
    assert run() == [5.0, 10.0]
    cache = (build / "CMakeCache.txt").read_text()
    (gone,) = re.findall(r"^SKBUILD_METADATA_DIR:.*?=(.*)$", cache, re.MULTILINE)
    assert not Path(gone).exists()  # what pip threw away is not made anew


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)
