"""The same stand-alone wheel under every Python that is here, with and without the GIL.

A wheel that is built by one Python runs under all later ones that have the GIL. One without it gets
an engine of its own, which the step of a build compiles by that Python.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from interpreters import VERSIONS, Interpreter, build_engine, interpreter, replace_engine
from wheels import REPOSITORY, STANDALONE, Installed, run_plain

SECONDS = os.environ.get("AOTBUILD_ENDURANCE", "4")
"""How long sixteen threads use the models; 60 for a minute."""

MANY_THREADS = Path(__file__).with_name("many_threads.py")


@pytest.fixture(scope="module")
def wheel(installed: Callable[..., Installed]) -> Installed:
    return installed("example_project", STANDALONE)


@pytest.fixture(scope="module")
def package(
    wheel: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Interpreter], Path]:
    """Where the wheel is for an interpreter: as it was built, or with that one's own engine."""

    @functools.cache
    def directory(python: Interpreter) -> Path:
        if not python.free_threaded:
            return wheel.directory
        own = tmp_path_factory.mktemp(f"python{python.version}")
        engine = build_engine(python, own)
        assert f"-{python.version.replace('.', '')}-" in engine.name
        shutil.copytree(wheel.directory, own / "installed")
        replace_engine(own / "installed" / "digits" / "models", engine)
        return own / "installed"

    return directory


PREDICT = """
import array, json, sys
from digits.models import denoiser, net
values = array.array("f", [(i * 37 % 101) / 101 for i in range(360 * 64)])
def images(start, count):
    part = memoryview(values)[start * 64 : (start + count) * 64]
    return part.cast("B").cast("f", (count, 1, 8, 8))
parts = [net(images(start, min(100, 360 - start))) for start in range(0, 360, 100)]
scores = b"".join(memoryview(part).tobytes() for part in parts)
again = denoiser(image=denoiser(images(0, 100))["image"])
off = not getattr(sys, "_is_gil_enabled", lambda: True)()
print(json.dumps([scores.hex(), memoryview(again["image"]).tobytes().hex(), off, net.target]))
"""

CALLS = """
import array, json
from digits.models import denoiser, net
one = memoryview(array.array("f", range(64))).cast("B").cast("f", (1, 1, 8, 8))
told = []
def tell(call):
    try:
        told.append(call())
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
tell(lambda: net())
tell(lambda: net(one, one))
tell(lambda: net(picture=one))
tell(lambda: net("x"))
tell(lambda: net(memoryview(bytes(64))))
tell(lambda: net(memoryview(array.array("f", range(64))).cast("B").cast("f", (1, 1, 4, 16))))
tell(lambda: [str(net.inputs), str(net.outputs), repr(net), net.__name__])
tell(lambda: [len(net(one)), net(one).dtype, net(one).shape, type(net(one).tolist()[0]).__name__])
tell(lambda: net.pool(2, 1)(one).tolist() == net(image=one).tolist())
tell(lambda: net.pool(0))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def expected(wheel: Installed) -> dict[str, object]:
    """What the Python that built the wheel finds."""
    found = {
        code: run_plain(Path(sys.executable), wheel.directory, code) for code in (PREDICT, CALLS)
    }
    assert len(bytes.fromhex(found[PREDICT][0])) == 360 * 10 * 4
    return found


@pytest.fixture(params=VERSIONS)
def python(request: pytest.FixtureRequest) -> Interpreter:
    return interpreter(request.param)


def test_it_predicts_the_same_bits_and_says_the_same(
    python: Interpreter, package: Callable[[Interpreter], Path], expected: dict[str, object]
) -> None:
    directory = package(python)
    scores, image, off, target = run_plain(python.path, directory, PREDICT)
    assert [scores, image, False, target] == expected[PREDICT]
    assert off == python.free_threaded  # the engine does not switch the GIL on again
    told = json.dumps(run_plain(python.path, directory, CALLS))
    # The expected ones are of an environment with numpy.
    told = told.replace("Install numpy, and convert it", "Convert it")
    assert json.loads(told) == expected[CALLS]


@pytest.mark.parametrize("lazy", ["0", "1"])
def test_sixteen_threads_use_it_at_once(
    python: Interpreter, package: Callable[[Interpreter], Path], lazy: str
) -> None:
    environment = {"PYTHONPATH": str(package(python)), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [python.path, "-P", "-s", MANY_THREADS, SECONDS],
        env={**environment, "AOTBUILD_LAZY": lazy},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores, wrong, counts, off = json.loads(done.stdout)
    assert wrong == []
    assert min(counts.values()) > 0
    assert off == python.free_threaded
    alone = bytes.fromhex(run_plain(python.path, package(python), ONE_CALL))
    assert scores == hashlib.sha256(alone).hexdigest()


ONE_CALL = """
import array, json
from digits.models import net
values = array.array("f", [(i * 37 % 101) / 101 for i in range(64 * 64)])
scores = net(memoryview(values).cast("B").cast("f", (64, 1, 8, 8)))
print(json.dumps(memoryview(scores).tobytes().hex()))
"""


def test_an_engine_for_another_python_is_refused(
    python: Interpreter, wheel: Installed, tmp_path: Path
) -> None:
    """As where a wheel is unpacked by hand; pip does not install it."""
    directory = tmp_path / "installed"
    shutil.copytree(wheel.directory, directory)
    if not python.free_threaded:
        (engine,) = (directory / "digits" / "models" / "_runtime").glob("_engine.*")
        other = tmp_path / "_engine.cpython-399t-x86_64-linux-gnu.so"
        shutil.copy(engine, other)
        replace_engine(directory / "digits" / "models", other)
    done = subprocess.run(
        [python.path, "-P", "-c", "from digits.models import net"],
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()[-1]
    tag = f"cp{python.version.replace('.', '')}"
    name, others = (
        ("_engine.abi3.so", "Pythons with the GIL, and this one has none")
        if python.free_threaded
        else ("_engine.cpython-399t-x86_64-linux-gnu.so", "another Python")
    )
    assert done.returncode == 1, done.stderr
    assert said.endswith(
        f"ModelLoadError: net cannot be run: its engine, {name}, is for {others}; install the "
        f"wheel for {tag}, or build it with this Python"
    )


TAGS = """
import json
from packaging.tags import sys_tags
from scikit_build_core.builder.wheel_tag import WheelTag
accepted = {f"{tag.interpreter}-{tag.abi}" for tag in sys_tags()}
asked = ["cp311-abi3", "cp314-abi3t", "cp315-abi3t"]
told = WheelTag.compute_best([], "cp311")
print(json.dumps([f"{told.pyver}-{told.abi}", [tag for tag in asked if tag in accepted]]))
"""


def test_the_tag_of_a_wheel_and_what_installers_take(python: Interpreter, tmp_path: Path) -> None:
    import packaging
    import scikit_build_core

    for module in (packaging, scikit_build_core):
        assert module.__file__ is not None
        (tmp_path / module.__name__).symlink_to(Path(module.__file__).parent)
    built, taken = run_plain(python.path, tmp_path, TAGS)
    own = f"cp{python.version.replace('.', '')}"
    minor = int(re.sub(r"\D", "", python.version[2:]))
    if python.free_threaded:
        assert built == f"{own.rstrip('t')}-{own}"
        assert taken == [f"cp{3}{m}-abi3t" for m in (14, 15) if m <= minor]
    else:
        assert built == "cp311-abi3"
        assert taken == ["cp311-abi3"]


def test_the_engine_of_a_python_without_the_gil_has_its_own_name(python: Interpreter) -> None:
    code = "import json; from aotbuild.interpreter import ENGINE; print(json.dumps(ENGINE))"
    name = run_plain(python.path, REPOSITORY, code)
    if python.free_threaded:
        assert re.fullmatch(rf"_engine\.cpython-{python.version.replace('.', '')}-.*\.so", name)
    else:
        assert name == "_engine.abi3.so"
