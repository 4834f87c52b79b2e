"""Packages that other versions of aotbuild built: read, or told that they cannot be."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import run_python

from aotbuild.__main__ import main
from aotbuild.runtime.manifest import _DIGEST, Manifest, _digest

EARLY = Path(__file__).parent / "early_model.json"
"""A manifest as aotbuild wrote it before models kept a state: without ``changed``, ``buffers``,
``initial`` and ``adds``."""


def write_wheel(directory: Path, change: Callable[[Any], object] = lambda _: None) -> Path:
    """A wheel with this manifest, whose other files are as long as it says, and empty."""
    table = json.loads(EARLY.read_text(encoding="utf-8"))
    change(table)
    if table.pop(_DIGEST, None):
        table[_DIGEST] = _digest(table)
    named = [table["weights"], *table["files"], *(v["library"] for v in table["variants"])]
    wheel = directory / "early-1.0-cp311-abi3-linux_x86_64.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("early/models/net/model.json", json.dumps(table))
        archive.writestr("early-1.0.dist-info/METADATA", "Name: early\nVersion: 1.0\n")
        for file in named:
            archive.writestr(f"early/models/{file['file']}", bytes(file["size"]))
    return wheel


def test_a_manifest_without_the_newer_fields_has_their_defaults() -> None:
    manifest = Manifest.read(EARLY)
    assert (manifest.name, manifest.inputs[0].name) == ("net", "x")
    assert (manifest.changed, manifest.buffers, manifest.initial, manifest.adds) == ([], [], {}, {})
    assert manifest.held == ()
    assert {"changed", "buffers"} < vars(manifest).keys()
    assert not {"changed", "buffers"} & json.loads(EARLY.read_text("utf-8")).keys()


def test_inspect_shows_an_older_wheel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(write_wheel(tmp_path))]) == 0
    ((report,),) = [json.loads(capsys.readouterr().out)]
    (model,) = report["packages"][0]["models"]
    assert (model["name"], model["source"]) == ("net", "early.network:Net")


def without_a_digest(table: dict[str, Any]) -> None:
    del table[_DIGEST]  # as the first ones had none


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a newer format": (lambda table: table.update(format=2), "manifest format 2"),
    "a newer field": (lambda table: table.update(lanes=8), "lanes"),
    "a field less": (lambda table: table.pop("method"), "method"),
    "no digest": (without_a_digest, "changed after the build"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_manifest_that_this_version_cannot_read_is_told(tmp_path: Path, name: str) -> None:
    change, why = REFUSED[name]
    with pytest.raises(SystemExit) as error:
        main(["inspect", str(write_wheel(tmp_path, change))])
    said = str(error.value)
    assert "a model's manifest cannot be used" in said
    assert why in said
    assert "inspect it with that version, or a newer one" in said


OTHER_RUNTIME = """
import json, sys
from pathlib import Path

package = Path("early/models")
runtime = package / "_runtime"
runtime.mkdir(parents=True)
(package / "__init__.py").write_text("net = print")
for name in ("__init__", "dims", "machine"):
    (runtime / f"{name}.py").write_text("")
read = "class Manifest:\\n    inputs = [1]\\n    read = lambda path: Manifest"
(runtime / "manifest.py").write_text(read)
sys.path.insert(0, ".")
from aotbuild.commands.bench import worker

spec = {"package": "early.models", "model": "net", "directory": "net", "threads": 0, "sizes": {}}
try:
    worker.main(json.dumps({**spec, "seconds": 0.1}))
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


def test_bench_tells_that_the_runtime_is_of_another_version(tmp_path: Path) -> None:
    said = run_python(OTHER_RUNTIME, cwd=tmp_path)
    assert "has the runtime of another version of aotbuild" in said
    assert "use the aotbuild that built it" in said
