"""The cache through real builds: what is compiled once is not compiled again, here or elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from wheels import Build, pip_wheel, write_speech_weights

INTERFACE = "AOTInductorModelContainerRun"
"""A function of what all libraries have in common."""
COLD = "it has not been built before with this cache"


class Machine:
    """A machine with a compiler that counts its calls, and a directory for its user's caches."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._calls = directory / "calls"
        self.cache = directory / "caches" / "aotbuild"
        self.whole = directory / "whole"
        """Names the sources that were compiled with what all libraries have in common."""
        compiler = directory / "g++"
        compiler.write_text(
            "#!/bin/sh\n"
            f'case "$*" in *--version* | -E\\ *) ;; *) echo "$@" >> {self._calls} ;; esac\n'
            'for file do case "$file" in *.wrapper.cpp)\n'
            f'    ! grep -q {INTERFACE} "$file" || echo "$file" >> {self.whole}; esac; done\n'
            f'exec {shutil.which("g++")} "$@"\n'
        )
        compiler.chmod(0o755)
        self._environment = {
            "CXX": str(compiler),
            "XDG_CACHE_HOME": str(directory / "caches"),
            "AOTBUILD_EXPLAIN": "1",
        }

    def build(self, project: Path, **environment: str) -> tuple[Build, list[str]]:
        """Build in a new directory; what was done, and what it said of the cache."""
        self._calls.write_text("")
        build = pip_wheel(
            project, env={**self._environment, "AOTBUILD_CACHE_DIR": "", **environment}
        )
        assert build.returncode == 0, build.output
        told = [line.strip() for line in build.output.splitlines() if "aotbuild: cache: " in line]
        return build, sorted(line.removeprefix("aotbuild: cache: ") for line in told)

    @property
    def calls(self) -> list[str]:
        """The calls of the compiler in the last build."""
        return self._calls.read_text().splitlines()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two models."""
    from wheels import copy_package

    source = copy_package(tmp_path_factory.mktemp("project"), "srcdir")
    write_speech_weights(source)
    return source


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machines") / "one")


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cache that machines share."""
    return {"AOTBUILD_CACHE_DIR": f"file://{tmp_path_factory.mktemp('share')}"}


@pytest.fixture(scope="module")
def cold(machine: Machine, speech: Path, share: dict[str, str]) -> str:
    """The digest of the wheel of a first build."""
    build, told = machine.build(speech, **share)
    assert told == [f"{name} for cpu-x86-64-v3 is compiled: {COLD}" for name in ("net", "other")]
    assert machine.calls
    return digest(build)


@pytest.mark.usefixtures("cold")
def test_what_libraries_have_in_common_is_not_compiled_for_each(machine: Machine) -> None:
    assert not machine.whole.exists()


HITS = [f"{name} for cpu-x86-64-v3 was compiled before" for name in ("net", "other")]


def digest(build: Build) -> str:
    (wheel,) = build.wheels
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_a_second_build_calls_no_compiler_and_gives_the_same_wheel(
    machine: Machine, speech: Path, cold: str
) -> None:
    build, told = machine.build(speech)
    assert told == HITS
    assert machine.calls == []
    assert digest(build) == cold


def test_another_machine_has_it_from_the_shared_cache(
    machine: Machine, speech: Path, cold: str, share: dict[str, str]
) -> None:
    # The same compiler, by its own name.
    other = machine.cache.parent.with_name("other")
    build, told = machine.build(speech, **share, XDG_CACHE_HOME=str(other))
    assert told == HITS
    assert machine.calls == []
    assert digest(build) == cold


def test_the_model_that_was_edited_is_compiled_alone(
    machine: Machine, speech: Path, cold: str, tmp_path: Path
) -> None:
    del cold
    source = Path(shutil.copytree(speech, tmp_path / "edited"))
    write_speech_weights(source, seed=2)  # which the other model has not
    module = source / "src/speech_kit/other.py"
    module.write_text("# a line above the code\n" + module.read_text().replace("* 2", "* 5"))
    _, told = machine.build(source)
    assert told == [
        HITS[0],
        "other for cpu-x86-64-v3 is compiled: the exported program changed",
    ]
    compiled = [call for call in machine.calls if ".wrapper.cpp" in call]
    assert len(compiled) == 1
    assert not any("_engine" in call for call in machine.calls)


def test_a_damaged_cache_before_one_that_is_unreachable_stops_no_build(
    machine: Machine, speech: Path, cold: str, tmp_path: Path
) -> None:
    shutil.copytree(machine.cache, tmp_path / "aotbuild")
    entries = [path for path in tmp_path.glob("aotbuild/*/??/*") if path.is_file()]
    kinds = {"compiled", "libraries", "engines", "glibc"}
    assert {path.parents[1].name for path in entries} == kinds
    for entry in entries:  # other code under the old digest
        data = bytearray(entry.read_bytes())
        data[-100] ^= 1
        entry.write_bytes(data)
    environment = {
        "XDG_CACHE_HOME": str(tmp_path),
        "AOTBUILD_CACHE_DIR": "no-such-scheme://bucket/cache",
    }
    build, told = machine.build(speech, **environment)
    reason = "its entry was damaged"
    assert told == [f"{name} for cpu-x86-64-v3 is compiled: {reason}" for name in ("net", "other")]
    # Both models, their code, the engine, and what it is linked with; the remote is told once.
    assert build.output.count("an entry of the cache is damaged") == 6
    assert "the shared cache no-such-scheme://bucket/cache cannot be reached" in build.output
    assert build.output.count("aotbuild: warning:") == 7, build.output
    assert machine.calls
    assert digest(build) == cold
    _, told = machine.build(speech, XDG_CACHE_HOME=str(tmp_path))
    assert told == HITS


def test_what_is_cached_tells_no_path(machine: Machine, cold: str, speech: Path) -> None:
    del cold
    for entry in machine.cache.glob("compiled/*/*"):
        data = entry.read_bytes()
        assert str(speech).encode() not in data
        assert str(machine.cache.parent).encode() not in data
        head = json.loads(data.split(b"\n")[1])
        names = [name for name, _ in head["files"]]
        assert names == ["library.so", "weights.safetensors", "compiled.json"]
