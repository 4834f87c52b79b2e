"""An installed package that is damaged: a clear error, never a crash or a wrong answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import forked
from wheels import STANDALONE, Installed, of_kind

from aotbuild.runtime.manifest import _digest

CODE = """
import json, torch
torch.manual_seed(0)
images = torch.rand(3, 1, 8, 8)
try:
    from digits.models import net
    told = ["result", net(images).tolist()]
except Exception as error:  # noqa: BLE001
    told = [type(error).__name__, str(error)]
print(json.dumps(told))
"""


@pytest.fixture(scope="module", params=["native", STANDALONE])
def example(installed: Callable[[str], Installed], request: pytest.FixtureRequest) -> Installed:
    return of_kind(installed, "example_project", request.param)


@pytest.fixture(scope="module")
def expected(example: Installed) -> list[list[float]]:
    kind, result = example.run(CODE)
    assert kind == "result"
    values: list[list[float]] = result
    return values


@pytest.fixture
def copy(example: Installed, tmp_path: Path) -> Path:
    """The package of compiled models, in a copy of what is installed."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(example.directory, tmp_path / "site", ignore=ignored)
    return tmp_path / "site" / "digits" / "models"


def told(example: Installed, copy: Path) -> tuple[str, Any]:
    """What importing and calling gives; a crash ends the process with a signal."""
    status, output = forked(example.python, copy.parents[1], CODE)
    assert status == 0, output
    kind, what = json.loads(output.splitlines()[-1])
    return kind, what


FILES = {
    "__init__.py": False,
    "__init__.pyi": True,
    "__main__.py": True,
    "py.typed": True,
    "_net.py": False,
    "_denoiser.py": True,
    "_reader.py": True,
    "weights.safetensors": False,
    "net/model.json": False,
    "net/cpu-x86-64-v3.so": False,
    "net/selftest.safetensors": True,
    "denoiser/model.json": True,
    "denoiser/cpu-x86-64-v3.so": True,
    "denoiser/selftest.safetensors": True,
    "reader/model.json": True,
    "reader/cpu-x86-64-v3.so": True,
    "reader/selftest.safetensors": True,
    "_pyinstaller/__init__.py": True,
    "_pyinstaller/hook-digits.models.py": True,
    "_runtime/__init__.py": False,
    "_runtime/_engine.abi3.so": False,
    "_runtime/arguments.py": False,
    "_runtime/array_library.py": False,
    "_runtime/chosen_library.py": False,
    "_runtime/arrays.py": False,
    "_runtime/as_module.py": False,
    "_runtime/batching.py": False,
    "_runtime/buffers.py": False,
    "_runtime/c_interface.py": False,
    "_runtime/checkpoint.py": False,
    "_runtime/checks.py": False,
    "_runtime/conditions.py": False,
    "_runtime/deltas.py": False,
    "_runtime/derived.py": False,
    "_runtime/description.py": False,
    "_runtime/digest.py": False,
    "_runtime/dims.py": False,
    "_runtime/dynamo.py": False,
    "_runtime/engine_arrays.py": False,
    "_runtime/engines.py": False,
    "_runtime/errors.py": False,
    "_runtime/fallback.py": False,
    "_runtime/holding.py": False,
    "_runtime/integrity.py": False,
    "_runtime/joining.py": False,
    "_runtime/lazy.py": False,
    "_runtime/loader.py": False,
    "_runtime/machine.py": False,
    "_runtime/manifest.py": False,
    "_runtime/memory.py": False,
    "_runtime/model.py": False,
    "_runtime/model_state.py": False,
    "_runtime/native_engine.py": False,
    "_runtime/not_a_module.py": False,
    "_runtime/numpy_arrays.py": False,
    "_runtime/numpy_dtypes.py": False,
    "_runtime/numpy_operators.py": False,
    "_runtime/operators.py": False,
    "_runtime/other_torch.py": False,
    "_runtime/parameters.py": False,
    "_runtime/processes.py": False,
    "_runtime/recorded_call.py": False,
    "_runtime/records.py": False,
    "_runtime/results.py": False,
    "_runtime/scanning.py": False,
    "_runtime/selftest.py": False,
    "_runtime/signature.py": False,
    "_runtime/state_assignment.py": False,
    "_runtime/state_dict.py": False,
    "_runtime/state_file.py": False,
    "_runtime/threads.py": False,
    "_runtime/torch_arrays.py": False,
    "_runtime/traced_operator.py": False,
    "_runtime/tracing.py": False,
    "_runtime/variables.py": False,
    "_runtime/weights.py": False,
    "_runtime/written_inputs.py": False,
}
"""The files of the package, and whether the model net works without them."""


def _missing(path: Path) -> None:
    path.unlink()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes() or b" ")
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _of_another_model(path: Path) -> None:
    swapped = str(path).replace("/net/", "/denoiser/").replace("/_net.py", "/_denoiser.py")
    other = Path(swapped) if swapped != str(path) else path.parent / "net" / "model.json"
    path.write_bytes(other.read_bytes() if other.exists() else b"of another model")


DAMAGE = {
    "missing": _missing,
    "truncated": _truncated,
    "flipped": _flipped,
    "of another model": _of_another_model,
}


OF_TORCH = {f"_runtime/{name}.py" for name in ("fallback", "operators", "other_torch")}
"""Those that a stand-alone package does not have."""


def test_the_files_are_all_that_the_package_has(example: Installed, copy: Path) -> None:
    found = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()}
    # What Python does not look at has tests of its own, in test_c_interface.py.
    alone = not example.engine  # see of_kind()
    expected = set(FILES) - (OF_TORCH if alone else set())
    assert {name for name in found if not name.startswith("_c/")} == expected


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_is_told(
    example: Installed, expected: list[list[float]], copy: Path, file: str, damage: str
) -> None:
    if not example.engine and file in OF_TORCH:
        pytest.skip("a stand-alone package does not have it")
    DAMAGE[damage](copy / file)
    kind, what = told(example, copy)
    if FILES[file]:
        assert kind == "result", what
    if kind == "result":
        # Half of the file that checks all files may find nothing, but does no harm.
        assert FILES[file] or file == "_runtime/integrity.py", f"{file} {damage} went unnoticed"
        assert what == expected
    elif file != "__init__.py":  # without it there is nothing of ours that could tell
        assert kind in {"ModelLoadError", "ImportError", "ModuleNotFoundError", "SyntaxError"}, what
        assert "install the package again" in what, what


def _edit(copy: Path, change: Callable[[dict[str, Any]], object], *, signed: bool) -> None:
    path = copy / "net" / "model.json"
    table = json.loads(path.read_text())
    change(table)
    if signed:
        table.pop("digest", None)
        table["digest"] = _digest(table)
    path.write_text(json.dumps(table))


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a wider range": lambda t: t["dims"]["batch"].update(max=100_000),
    "no lower end": lambda t: t["dims"]["batch"].update(min=0),
    "another multiple": lambda t: t["dims"]["batch"].update(multiple_of=3),
    "another dtype": lambda t: t["inputs"][0].update(dtype="float64"),
    "another shape": lambda t: t["inputs"][0].update(shape=["batch", 1, 9, 9]),
    "another order": lambda t: t["inputs"][0].update(order=[3, 2, 1, 0]),
    "another name": lambda t: t["inputs"][0].update(name="picture"),
    "one input more": lambda t: t["inputs"].append(t["inputs"][0]),
    "no inputs": lambda t: t["inputs"].clear(),
    "a constant less": lambda t: t["variants"][0]["constants"].pop(),
    "a constant elsewhere": lambda t: t["variants"][0]["constants"][0].update(offset=1 << 40),
    "a constant of another shape": lambda t: t["variants"][0]["constants"][0].update(shape=[9]),
    "a constant of other strides": lambda t: t["variants"][0]["constants"][0].update(stride=[0]),
    "other weights": lambda t: t["weights"].update(file="net/model.json"),
    "no variants": lambda t: t["variants"].clear(),
    "another torch": lambda t: t.update(torch=">=1.0,<9.0"),
    "no requirements": lambda t: t["variants"][0].update(requires=[]),
    "another library": lambda t: t["variants"][0]["library"].update(
        file="denoiser/cpu-x86-64-v3.so"
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_manifest_is_told(
    example: Installed, copy: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    _edit(copy, edit, signed=False)
    kind, what = told(example, copy)
    assert kind == "ModelLoadError"
    assert "the manifest was changed after the build; install the package again" in what


SIGNED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "another format": (lambda t: t.update(format=2), "manifest format 2, this runtime reads 1"),
    "a key less": (lambda t: t.pop("inputs"), "the manifest is damaged"),
    "a key more": (lambda t: t.update(more=1), "the manifest is damaged"),
    "a wrong type": (lambda t: t.update(dims=[]), "the manifest is damaged"),
    "another torch": (lambda t: t.update(torch=">=2.90,<2.91"), "it needs torch>=2.90,<2.91"),
    "an older torch": (lambda t: t.update(torch=">=2.11,<2.12"), "it needs torch>=2.11,<2.12"),
    "another platform": (
        lambda t: t["variants"][0].update(platform="linux-aarch64"),
        "it was built for linux-aarch64, this is linux-x86_64",
    ),
    "a feature that no CPU has": (
        lambda t: t["variants"][0]["requires"].append("avx1024"),
        "this CPU lacks avx1024",
    ),
    "a function that no torch has": (
        lambda t: t["variants"][0]["symbols"].update(aoti_torch_not_yet=""),
        "lacks aoti_torch_not_yet",
    ),
    "a file outside": (
        lambda t: t["weights"].update(file="../../weights.safetensors"),
        "the manifest names '../../weights.safetensors', outside the package",
    ),
    "an absolute path": (
        lambda t: t["variants"][0]["library"].update(file="/lib/x86_64-linux-gnu/libc.so.6"),
        "outside the package",
    ),
    "fewer constants than the library has": (
        lambda t: t["variants"][0]["constants"].pop(),
        "its constants are not those of the manifest",
    ),
}


def is_standalone(example: Installed) -> bool:
    standalone: bool = example.manifest("net")["variants"][0]["standalone"]
    return standalone


@pytest.mark.parametrize("case", SIGNED.values(), ids=SIGNED)
def test_a_manifest_that_does_not_fit_is_told(
    example: Installed, copy: Path, case: tuple[Callable[[dict[str, Any]], object], str]
) -> None:
    edit, message = case
    _edit(copy, edit, signed=True)
    kind, what = told(example, copy)
    if "torch" in message and is_standalone(example):
        assert kind == "result"  # whatever torch there is
        return
    assert kind == "ModelLoadError", what
    assert message in what


def test_of_two_versions_on_the_path_one_is_used_whole(
    example: Installed, expected: list[list[float]], copy: Path
) -> None:
    other = copy.parents[1].with_name("other")
    shutil.copytree(copy.parents[1], other)
    _truncated(other / "digits" / "models" / "net" / "model.json")
    code = f"import sys\nsys.path.insert(0, {str(copy.parents[1])!r})\n{CODE}"
    status, output = forked(example.python, other, code)
    assert status == 0, output
    assert json.loads(output.splitlines()[-1]) == ["result", expected]


def test_the_package_tests_itself(example: Installed, copy: Path) -> None:
    def run(*options: str) -> tuple[int, str]:
        code = (
            f"import runpy, sys\nsys.argv = ['', *{options!r}]\n"
            "try:\n    runpy.run_module('digits.models', run_name='__main__', alter_sys=True)\n"
            "except SystemExit as end:\n    print('exit code', end.code)"
        )
        status, output = forked(example.python, copy.parents[1], code)
        assert status == 0, output
        *lines, last = output.splitlines()
        return int(last.removeprefix("exit code ")), "\n".join(lines)

    code, table = run()
    assert code == 0, table
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["denoiser", "cpu-x86-64-v3", "ok"],
        ["net", "cpu-x86-64-v3", "ok"],
        ["reader", "cpu-x86-64-v3", "ok"],
    ]
    code, text = run("--json")
    outcomes = json.loads(text)["variants"]
    assert code == 0
    assert [outcome["passed"] for outcome in outcomes] == [True, True, True]
    assert all(outcome["error"] < 1e-4 and outcome["milliseconds"] > 0 for outcome in outcomes)

    _edit(copy, lambda t: t["selftest"]["outputs"][0].update(atol=-1.0), signed=True)
    code, table = run()
    assert code == 1
    assert "FAILED: output 0 differs from the eager model's by" in table
    _edit(copy, lambda t: t["variants"][0]["requires"].append("avx1024"), signed=True)
    code, table = run()
    assert code == 1
    assert "not run: this CPU lacks avx1024" in table
    _flipped(copy / "weights.safetensors")
    code, table = run()
    assert code == 1
    assert "FAILED" in table.splitlines()[1]
    assert "weights.safetensors is not the file that was built" in table
