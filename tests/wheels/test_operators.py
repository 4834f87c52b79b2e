"""Custom operators, registered from Python and by a shared library."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from wheels import Installed

SETUP = """
import json, torch

def same(model, eager):
    for batch in (1, 2, 9, 31, 32):
        x = torch.randn(batch, 6)
        with torch.no_grad():
            expected = eager.eval()(x)
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
"""


@pytest.fixture(scope="module")
def operators(installed: Callable[[str], Installed]) -> Installed:
    return installed("operators")


def test_both_kinds_run_where_there_is_only_torch(operators: Installed) -> None:
    operators.run(
        SETUP
        + "from operators import modules\nfrom operators.models import clipped, scaled\n"
        + "same(scaled, modules.Scaled())\nsame(clipped, modules.Clipped())\nprint(1)"
    )


def test_a_shared_library_is_packaged_and_a_module_is_not(operators: Installed) -> None:
    assert [name for name in operators.files if name.endswith("libclip.so")] == [
        "operators/models/_operators/libclip.so"
    ]
    assert operators.manifest("clipped")["op_libraries"] == ["_operators/libclip.so"]
    assert operators.manifest("scaled")["op_libraries"] == ["operators.python_ops"]


IMPORT = """
import json, sys, torch
{before}
try:
    from operators.models import {model}
except ImportError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def test_a_missing_module_is_told_with_the_way_out(operators: Installed) -> None:
    before = "sys.modules['operators.python_ops'] = None"
    kind, said = operators.run(IMPORT.format(before=before, model="scaled"))
    assert kind == "ModelLoadError"
    assert "scaled calls custom operators of 'operators.python_ops'" in said
    assert "install the package that holds 'operators'" in said
    before += "\nfrom operators.models import clipped\nassert clipped(torch.ones(1, 6)).max() == 2"
    assert operators.run(IMPORT.format(before=before, model="scaled"))[0] == "ModelLoadError"


def test_a_missing_library_is_told_with_the_way_out(operators: Installed, tmp_path: Path) -> None:
    copy = replace(operators, directory=tmp_path / "copy")
    shutil.copytree(operators.directory, copy.directory)
    (copy.directory / "operators" / "models" / "_operators" / "libclip.so").unlink()
    kind, said = copy.run(IMPORT.format(before="", model="clipped"))
    assert kind == "ModelLoadError"
    assert "_operators/libclip.so is missing" in said
    assert "install the package again" in said


def test_the_wheel_holds_no_path_of_the_build(operators: Installed) -> None:
    import torch

    site = str(Path(torch.__file__).parents[1]).encode()
    for name in ("scaled", "clipped"):
        (library,) = (
            data for file, data in operators.files.items() if f"/{name}/" in file and ".so" in file
        )
        assert site not in library
