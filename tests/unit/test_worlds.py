"""The three worlds: hook side, build side and run side import nothing heavy of one another."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import run_python

import aotbuild

PACKAGE = Path(aotbuild.__file__).parent
RUNTIME = sorted((PACKAGE / "runtime").rglob("*.py"))
STEPS = sorted((PACKAGE / "steps").rglob("*.py"))
PASSES = sorted((PACKAGE / "passes").rglob("*.py"))
HOOK_SIDE = [
    file
    for world in ("hook", "config", "cache", "progress")
    for file in sorted((PACKAGE / world).rglob("*.py"))
]
COMMANDS = sorted((PACKAGE / "commands").rglob("*.py"))  # of all worlds


def module_name(file: Path) -> str:
    """The name of a module of aotbuild."""
    name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


TORCHLESS = [
    "aotbuild.errors",
    "aotbuild.torch_output",
    "aotbuild.torch_version",
    "aotbuild.toolchain",
    *map(module_name, HOOK_SIDE),
    "aotbuild.steps.identity",
    "aotbuild.steps.plan.plan",
    "aotbuild.steps.artifacts.spec",
    "aotbuild.steps.files",
    "aotbuild.steps.artifacts.facts",
    "aotbuild.steps.tune.lock",
    "aotbuild.steps.tune.recipes",
    "aotbuild.commands.tune",
    "aotbuild.steps.compile.variant_cache",
    "aotbuild.steps.engine.step",
    "aotbuild.commands.explain",
    "aotbuild.target",
]
IMPORT = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = "torch" in sys.modules
print(json.dumps(found))
"""


def imports(file: Path) -> Iterator[str]:
    """What a module imports, relative modules with their dots."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_the_lists_of_modules_are_not_empty() -> None:
    assert {file.name for file in RUNTIME} >= {"__init__.py", "model.py", "engines.py"}
    names = {module_name(file).removeprefix("aotbuild.steps.") for file in STEPS}
    assert names >= {"export.step", "compile.step", "verify.step", "package.generate.module"}
    assert {"aotbuild.hook.settings", "aotbuild.config.check"} <= set(TORCHLESS)


def test_every_module_is_in_a_world() -> None:
    others = [*PACKAGE.glob("*.py"), PACKAGE / "cmake" / "__init__.py"]
    guarded = [*RUNTIME, *STEPS, *PASSES, *HOOK_SIDE, *COMMANDS, *others]
    assert sorted(guarded) == sorted(PACKAGE.rglob("*.py"))
    assert all(len(files) > 4 for files in (RUNTIME, STEPS, PASSES, HOOK_SIDE, COMMANDS))


def test_the_hook_side_and_the_plan_never_import_torch(tmp_path: Path) -> None:
    found = run_python(IMPORT, *TORCHLESS, cwd=tmp_path)
    assert found == dict.fromkeys(TORCHLESS, False)


@pytest.mark.parametrize("file", RUNTIME, ids=lambda file: file.name)
def test_the_runtime_imports_only_torch_and_the_standard_library(file: Path) -> None:
    for name in imports(file):
        top = name.partition(".")[0]
        is_own = name.startswith(".") and not name.startswith("..")
        # numpy is only there for arrays of its own: where one was given, or one is asked for.
        with_arrays = {"arrays.py", "buffers.py", "lazy.py"}
        known = {"torch", *(["numpy"] if file.name in with_arrays else [])}
        assert is_own or top in known or top in sys.stdlib_module_names, name


@pytest.mark.parametrize("file", STEPS, ids=module_name)
def test_the_steps_know_nothing_of_cmake(file: Path) -> None:
    # Compilers, a disassembler, itself, or a Python without torch.
    starting = {
        *(
            "c_compiler",
            "compile.instructions",
            "compile.opening",
            "compile.shared_code",
            "compile.standalone",
            "compile.vector_functions",
            "forkserver",
            "older_glibc",
            "tune.trial",
            "verify.emulated",
        ),
    }
    programs = (
        set() if module_name(file).removeprefix("aotbuild.steps.") in starting else {"subprocess"}
    )
    for name in imports(file):
        assert name.partition(".")[0] not in {"cmake", "ninja", "scikit_build_core", *programs}
        assert not name.startswith(("aotbuild.hook", "aotbuild.cmake"))


@pytest.mark.parametrize("file", HOOK_SIDE, ids=module_name)
def test_the_hook_side_imports_nothing_of_the_other_worlds(file: Path) -> None:
    for name in imports(file):
        if name != "aotbuild.runtime.dims":
            others = ("aotbuild.steps", "aotbuild.passes", "aotbuild.runtime", "torch")
            assert not name.startswith(others), name


@pytest.mark.parametrize("file", PASSES, ids=module_name)
def test_passes_know_nothing_of_what_surrounds_them(file: Path) -> None:
    for name in imports(file):
        assert not name.startswith("aotbuild") or name.startswith("aotbuild.passes"), name


def test_the_declaration_loads_nothing_of_the_runtime_but_its_dimensions(tmp_path: Path) -> None:
    code = """
import json, sys
import aotbuild.config.project
print(json.dumps(sorted(name for name in sys.modules if name.startswith("aotbuild.runtime"))))
"""
    own = ["aotbuild.runtime", "aotbuild.runtime.dims", "aotbuild.runtime.records"]
    assert run_python(code, cwd=tmp_path) == own


def test_the_runtime_works_alone_under_another_name(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE / "runtime", tmp_path / "vendored", ignore=ignored)
    code = """
import json, sys
sys.modules["aotbuild"] = None
import vendored
print(json.dumps([vendored.__all__, vendored.CompiledModel.__module__, "torch" in sys.modules]))
"""
    assert run_python(code, cwd=tmp_path) == [
        [
            *("MISSING", "Array", "CompiledMethods", "CompiledModel", "ModelLoadError"),
            *("ModelState", "QueueFullError", "Refused"),
            *("StateDictError", "StateError", "dispatch_modes"),
        ],
        "vendored.model",
        False,
    ]


def test_the_manifest_is_readable_without_torch(tmp_path: Path) -> None:
    for name in ("manifest", "dims", "errors", "digest", "records"):
        shutil.copy(PACKAGE / "runtime" / f"{name}.py", tmp_path)
    (tmp_path / "__init__.py").touch()
    code = f"""
import json, sys
sys.modules["torch"] = None
sys.path.insert(0, {str(tmp_path.parent)!r})
from {tmp_path.name}.manifest import FORMAT
print(json.dumps(FORMAT))
"""
    assert run_python(code, cwd=tmp_path) == 1
