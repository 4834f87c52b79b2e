"""A wheel that later versions of torch run: what it requires, and what it makes sure of there.

Other versions are made of the installed one: a package ``torch`` with another number beside its
libraries, or beside a library of our own. Calls with arrays import nothing of it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from wheels import Build, Installed, install, pip_wheel, project_head, run_plain

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only ELF is looked through")

MODELS = """\
[tool.aotbuild]
cpu-levels = ["x86-64-v3", "armv8"]
runtime = "torch"

[tool.aotbuild.models.waves]
source = "parts:Waves"
inputs.x = { shape = ["batch", 8] }
dims.batch = { max = 16 }
"""

SOURCE = """\
import torch


class Waves(torch.nn.Module):
    def forward(self, x):
        return (x.tanh() + x.exp() * x.sin()).cumsum(1)
"""

CALL = """
import array, json, sys
from waves.models import waves
given = memoryview(array.array("f", [0.5] * 8)).cast("B").cast("f", [1, 8])
result = waves(given).tolist()
print(json.dumps([result, "torch" in sys.modules]))
"""

REFUSED = """
import json
try:
    from waves.models import waves
    waves
    print(json.dumps("no error"))
except ImportError as error:
    print(json.dumps(str(error)))
"""

WRONG = """
#include <dlfcn.h>
#include <stdint.h>
typedef void* Handle;
int aoti_torch_cpu_cumsum(Handle given, int64_t dim, int32_t* dtype, Handle* sum) {
  void* torch = dlopen("libtorch_cpu.so", RTLD_NOLOAD | RTLD_LAZY);
  int (*real)(Handle, int64_t, int32_t*, Handle*) = dlsym(torch, "aoti_torch_cpu_cumsum");
  int (*find)(Handle, void**) = dlsym(torch, "aoti_torch_get_data_ptr");
  void* data;
  int failed = real(given, dim, dtype, sum) || find(*sum, &data);
  if (!failed) *(float*)data += 1;
  return failed;
}
"""

OTHER = "2.99.1"
EXPECTED = torch.full((8,), 0.5)
EXPECTED = (EXPECTED.tanh() + EXPECTED.exp() * EXPECTED.sin()).cumsum(0)

Other = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    project = tmp_path_factory.mktemp("other") / "waves"
    project.mkdir()
    (project / "pyproject.toml").write_text(project_head("waves") + MODELS)
    (project / "parts.py").write_text(SOURCE)
    return pip_wheel(project)


@pytest.fixture(scope="module")
def waves(build: Build, tmp_path_factory: pytest.TempPathFactory, clean_python: Path) -> Installed:
    return install(build, tmp_path_factory.mktemp("installed"), clean_python)


@pytest.fixture
def other(tmp_path: Path, waves: Installed) -> Other:
    """Makes a directory with a torch of a version beside the package, and a library if given."""

    def make(version: str, code: str | None = None) -> Path:
        site = tmp_path / "site"
        package = site / "torch"
        package.mkdir(parents=True)
        (package / "version.py").write_text(f"__version__ = '{version}'\n")
        (package / "__init__.py").write_text("raise ImportError('torch must not be imported')\n")
        (site / "waves").symlink_to(waves.directory / "waves")
        if code is None:
            (package / "lib").symlink_to(Path(torch.__file__).parent / "lib")
        else:
            (package / "lib").mkdir()
            compiled(package / "lib" / "libtorch_cpu.so", code)
        return site

    return make


def compiled(library: Path, code: str) -> Path:
    """Compile C into a shared library."""
    source = library.with_suffix(".c")
    source.write_text(code)
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", source, "-o", library], check=True)
    return library


def near(result: list[list[float]]) -> bool:
    return torch.allclose(torch.tensor(result), EXPECTED.expand(1, 8), rtol=1e-6)


def passed(cache: Path) -> list[str]:
    """What a cache remembers."""
    return [path.read_text() for path in (cache / "aotbuild" / "selftests").glob("*")]


def test_it_requires_no_upper_end(waves: Installed) -> None:
    assert waves.required == ["torch>=2.13"]
    manifest = waves.manifest("waves")
    assert manifest["torch"] == ">=2.13"
    (variant,) = manifest["variants"]
    headers = variant["symbols"]
    # Those of vectors are its own.
    assert not [name for name in headers if not name.startswith("aoti_torch_")]
    assert headers["aoti_torch_cpu_cumsum"] == "inductor/aoti_torch/generated/c_shim_cpu.h"
    assert headers["aoti_torch_get_sizes"] == "inductor/aoti_torch/c/shim.h"


def test_another_torch_is_tried_once(
    waves: Installed, other: Other, bare_python: Path, tmp_path: Path
) -> None:
    site, cache = other(OTHER), tmp_path / "cache"
    del waves
    for _ in range(2):
        result, imported = run_plain(bare_python, site, CALL, XDG_CACHE_HOME=str(cache))
        assert near(result)
        assert not imported
        (text,) = passed(cache)
        assert text.startswith("passed ")
    # A damaged entry is as none, and is written anew.
    (entry,) = (cache / "aotbuild" / "selftests").iterdir()
    entry.write_bytes(b"\xff passed")
    result, _ = run_plain(bare_python, site, CALL, XDG_CACHE_HOME=str(cache))
    assert near(result)
    assert passed(cache) == [text]


def test_the_torch_of_the_build_is_not_tried(
    waves: Installed, other: Other, bare_python: Path, tmp_path: Path
) -> None:
    del waves
    cache = tmp_path / "cache"
    version = torch.__version__
    result, _ = run_plain(bare_python, other(version), CALL, XDG_CACHE_HOME=str(cache))
    assert near(result)
    assert not cache.exists()


@pytest.mark.parametrize("cache", ["file", "relative", "none"])
def test_a_cache_that_cannot_be_written_is_no_error(
    other: Other, bare_python: Path, tmp_path: Path, cache: str
) -> None:
    (tmp_path / "file").write_text("")
    given = {
        "file": {"XDG_CACHE_HOME": str(tmp_path / "file")},
        "relative": {"XDG_CACHE_HOME": "cache"},
        "none": {"HOME": str(tmp_path / "file")},
    }
    result, _ = run_plain(bare_python, other(OTHER), CALL, **given[cache])
    assert near(result)
    assert (tmp_path / "file").read_text() == ""


def test_a_torch_that_computes_otherwise_is_refused(
    other: Other, bare_python: Path, tmp_path: Path
) -> None:
    wrong = compiled(tmp_path / "wrong.so", WRONG)
    cache = tmp_path / "cache"
    told = run_plain(
        bare_python,
        other(OTHER),
        REFUSED,
        XDG_CACHE_HOME=str(cache),
        LD_PRELOAD=str(wrong),
        LD_LIBRARY_PATH=str(Path(torch.__file__).parent / "lib"),
    )
    assert (
        "no variant of waves can run on cpu:\n  cpu-x86-64-v3: with torch 2.99.1 it gives " in told
    )
    assert "other results than in the build: output 0 differs from the eager model's by 1\n" in told
    assert "Install the matching torch" in told
    assert not passed(cache)


def test_an_older_torch_is_refused(other: Other, bare_python: Path) -> None:
    told = run_plain(bare_python, other("2.12.1"), REFUSED)
    assert "cpu-x86-64-v3: it needs torch>=2.13, this is torch 2.12.1\n" in told


def test_a_torch_without_a_function_is_refused(other: Other, bare_python: Path) -> None:
    code = "unsigned long aoti_torch_abi_version() { return 2ul << 56 | 99ul << 48; }"
    told = run_plain(bare_python, other(OTHER, code), REFUSED)
    assert "cpu-x86-64-v3: this torch 2.99.1 lacks aoti_torch_" in told


def test_an_interface_of_an_older_torch_is_refused(
    waves: Installed, other: Other, bare_python: Path
) -> None:
    names = waves.manifest("waves")["variants"][0]["symbols"]
    code = "\n".join(f"void {name}() {{}}" for name in names)
    code += "\nunsigned long aoti_torch_abi_version() { return 2ul << 56 | 12ul << 48; }"
    told = run_plain(bare_python, other(OTHER, code), REFUSED)
    assert "it needs torch>=2.13, and this torch's interface in C is that of 2.12\n" in told


def test_the_runner_of_torch_is_tried_too(waves: Installed, tmp_path: Path) -> None:
    code = f"""
import json, torch
torch.__version__ = "{OTHER}"
from waves.models import waves
print(json.dumps(waves(torch.full((1, 8), 0.5)).tolist()))
"""
    cache = tmp_path / "cache"
    env = {"AOTBUILD_ENGINE": "torch", "XDG_CACHE_HOME": str(cache)}
    assert near(waves.run(code, env))
    assert len(passed(cache)) == 1
