"""``aotbuild inspect``: what is in wheels, packages and libraries."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from samples import TENSOR, sample_manifest, sample_variant, write_package

from aotbuild.__main__ import main
from aotbuild.commands.inspect.differences import Difference
from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.reports.report import Report

# Packages around one are imported to find it.
pytestmark = pytest.mark.usefixtures("fresh_imports")

METADATA = """Metadata-Version: 2.1
Name: demo
Version: 1.2
Requires-Python: >=3.11
Requires-Dist: torch<2.14,>=2.13
Requires-Dist: rich; extra == 'show'
"""
ALONE = sample_variant(
    standalone=True,
    compiled={
        "torch": "2.13.0",
        "compiler": "a compiler 1.0",
        "recipe": "passes",
        "passes": {"linear": 2},
    },
    verified={"relative-error": 3e-7},
)


def write_wheel(
    directory: Path, *manifests: Manifest, extra: Mapping[str, bytes] | None = None
) -> Path:
    """A wheel of a package ``demo.models``, without the code that imports it."""
    package = directory / "tree" / "demo" / "models"
    write_package(package, manifests, {"weight": torch.ones(5, 2)})
    (package.parent / "__init__.py").touch()
    info = directory / "tree" / "demo-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    for name, data in (extra or {}).items():
        (directory / "tree" / name).write_bytes(data)
    made = shutil.make_archive(str(directory / "made"), "zip", directory / "tree")
    return Path(made).rename(directory / "demo-1.2-py3-none-linux_x86_64.whl")


def reported(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    """The reports of ``--json``, which are as their classes say."""
    assert main(["inspect", "--json", *map(str, arguments)]) == 0
    out = capsys.readouterr().out
    TypeAdapter(list[Report]).validate_json(out, strict=True, extra="forbid")
    reports: list[dict[str, Any]] = json.loads(out)
    return reports


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The block with which the command ends."""
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *map(str, arguments)])
    assert capsys.readouterr().out == ""
    return str(ended.value.code)


def test_a_wheel_is_told_in_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = write_wheel(
        tmp_path,
        sample_manifest(variants=[ALONE], conditions=["batch % 3 == 0"]),
        sample_manifest(
            "other",
            variants=[sample_variant("other", symbols={"aoti_torch_cpu_topk": "a.h"})],
            changed=[0],
        ),
    )
    assert main(["inspect", str(wheel)]) == 0
    out = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in out.splitlines()]
    first, *rest = rows
    assert first.startswith("demo-1.2-py3-none-linux_x86_64.whl: ")
    assert first.endswith(", Python >=3.11, needs torch<2.14,>=2.13")
    this = f"{sys.platform}-x86_64"
    assert rest[: rest.index("part size of all")] == [
        "",
        "demo.models",
        "model takes returns weights",
        "net image float32 [batch 1 to 64, 1, 8] float32 [batch, 1, 8] 40 B",
        "other image float32 [batch 1 to 64, 1, 8] float32 [batch, 1, 8] 40 B",
        "net: only where batch % 3 == 0",
        "other: changes image in place",
        "other: torch runs, for it: topk",
        "",
        "compiled for runs on library error by",
        f"net cpu-sample {this}, nothing else 28 B 3.0e-07 torch 2.13.0, passes (2 linear)",
        f"other cpu-sample {this}, torch >=2.0,<9.0 28 B not verified torch ?,",
        "",
    ]
    assert all(line == line.rstrip() for line in out.splitlines())


def test_the_parts_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = write_wheel(tmp_path, sample_manifest(variants=[ALONE]), extra={"big.bin": b"1" * 5000})
    (report,) = reported(capsys, wheel)
    with zipfile.ZipFile(wheel) as archive:
        sizes = {each.filename: each.file_size for each in archive.infolist()}
    assert report["size"] == wheel.stat().st_size
    assert report["installed"] == sum(sizes.values()) == sum(report["parts"].values())
    assert report["parts"]["libraries"] == 28
    assert report["parts"]["weights"] == sizes["demo/models/weights.safetensors"]
    assert report["parts"]["rest"] > 5000


def test_values_are_told_to_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (report,) = reported(capsys, write_wheel(tmp_path, sample_manifest(variants=[ALONE])))
    assert (report["name"], report["version"], report["kind"]) == ("demo", "1.2", "wheel")
    assert report["requires"] == ["torch<2.14,>=2.13"]
    (package,) = report["packages"]
    (model,) = package["models"]
    assert model["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["batch", 1, 8]}]
    assert model["dims"] == {"batch": {"min": 1, "max": 64, "multiple_of": 1}}
    (variant,) = model["variants"]
    assert variant["file"] == "demo/models/net/cpu-sample.so"
    assert (variant["runtime"], variant["torch"]) == ("standalone", "")
    assert len(variant["sha256"]) == 64


def test_weights_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(tmp_path, sample_manifest())
    opened = []
    usual = zipfile.ZipFile.open

    def noted(self: zipfile.ZipFile, name: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(name if isinstance(name, str) else name.filename)
        return usual(self, name, *args, **kwargs)

    monkeypatch.setattr(zipfile.ZipFile, "open", noted)
    reported(capsys, wheel)
    assert sorted(opened) == ["demo-1.2.dist-info/METADATA", "demo/models/net/model.json"]


def test_a_directory_a_package_and_a_distribution_are_told_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path, sample_manifest(), sample_manifest(method="encode"))
    tree = tmp_path / "tree"
    record = [f"{file.relative_to(tree)},," for file in tree.rglob("*") if file.is_file()]
    (tree / "demo-1.2.dist-info" / "RECORD").write_text("\n".join(record) + "\n")
    monkeypatch.syspath_prepend(str(tree))
    found = reported(capsys, tree / "demo" / "models", "demo.models", "demo", tree)
    assert [each["kind"] for each in found] == ["package", "package", "distribution", "package"]
    assert {each["packages"][0]["package"] for each in found} == {"demo.models"}
    for each in found:
        assert [model["name"] for model in each["packages"][0]["models"]] == ["net.encode", "net"]
    assert [each["version"] for each in found] == ["", "", "1.2", ""]
    assert [each["size"] for each in found] == [0, 0, 0, 0]


def test_of_a_library_its_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wheel(tmp_path, sample_manifest(), sample_manifest("other"))
    package = tmp_path / "tree" / "demo" / "models"
    (report,) = reported(capsys, package / "other" / "cpu-sample.so")
    assert [model["name"] for model in report["packages"][0]["models"]] == ["other"]


PROVENANCE = {
    "project": "demo",
    "license": "MIT",
    "tools": {"aotbuild": "0.1.0", "torch": "2.13.0"},
    "files": {"net": {"weights/net.safetensors": {"holds": "weights", "sha256": "ab" * 32}}},
    "package": {},
}


def test_what_a_build_has_told_of_itself_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {"demo-1.2.dist-info/aotbuild.json": json.dumps(PROVENANCE).encode()}
    wheel = write_wheel(tmp_path, sample_manifest(variants=[ALONE]), extra=extra)
    (report,) = reported(capsys, wheel)
    assert report["provenance"] == {key: PROVENANCE[key] for key in ("license", "tools", "files")}
    assert report["installed"] == sum(report["parts"].values())
    assert main(["inspect", str(wheel)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "built by aotbuild 0.1.0, torch 2.13.0, a compiler 1.0"
    assert "net: made of weights/net.safetensors (weights, sha256 abababababab...)" in lines


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damage_of_what_a_build_has_told_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    extra = {"demo-1.2.dist-info/aotbuild.json": text.encode()}
    wheel = write_wheel(tmp_path, sample_manifest(variants=[ALONE]), extra=extra)
    said = refused(capsys, wheel)
    assert "what is told of its build cannot be read" in said
    assert f"{wheel.name}: aotbuild.json" in said


def test_differences_are_told_by_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = write_wheel(tmp_path / "old", sample_manifest(variants=[ALONE]), sample_manifest("gone"))
    new = write_wheel(
        tmp_path / "new",
        sample_manifest(
            variants=[sample_variant()],
            dims={"batch": Dim(1, 32)},
            outputs={**TENSOR, "dtype": "float64"},
        ),
    )
    assert main(["inspect", "--diff", "--json", str(old), str(new)]) == 0
    out = capsys.readouterr().out
    TypeAdapter(list[Difference]).validate_json(out)
    found = {each["what"]: (each["old"], each["new"]) for each in json.loads(out)}
    assert found["demo.models.net.dims.batch.max"] == ("64", "32")
    assert found["demo.models.net.returns"] == ("float32 [batch, 1, 8]", "float64 [batch, 1, 8]")
    assert found["demo.models.net.cpu-sample.runtime"] == ("standalone", "torch")
    assert found["demo.models.gone.source"] == ("demo.network:Net", "-")
    assert not any(what.startswith("demo.models.net.inputs") for what in found)

    assert main(["inspect", "--diff", str(old), str(new)]) == 0
    assert "demo.models.net.dims.batch.max" in capsys.readouterr().out
    assert main(["inspect", "--diff", str(old), str(old)]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "nowhere.at.all")
    assert 'there is no "nowhere.at.all"' in said
    assert "no file or directory has this path" in said


def test_what_is_no_wheel_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("demo-1.tar.gz", "demo-1-py3-none-any.whl"):
        (tmp_path / name).write_bytes(b"of something else")
        assert "this is no wheel" in refused(capsys, tmp_path / name)


def test_a_wheel_without_models_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = tmp_path / "plain-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("plain/__init__.py", "")
        archive.writestr("plain-1.dist-info/METADATA", METADATA)
    said = refused(capsys, wheel)
    assert "there are no compiled models in it" in said
    assert "python -m aotbuild check" in said


def test_a_damaged_manifest_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel = write_wheel(tmp_path, sample_manifest())
    manifest = tmp_path / "tree" / "demo" / "models" / "net" / "model.json"
    manifest.write_text(manifest.read_text().replace("float32", "float16"))
    said = refused(capsys, manifest.parents[1])
    assert "a model's manifest cannot be used" in said
    assert "was changed after the build" in said
    assert wheel.exists()


def test_a_library_of_no_package_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = tmp_path / "lib.so"
    library.write_bytes(b"\x7fELF")
    assert "this is no compiled model of a package" in refused(capsys, library)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_other_than_two_are_not_compared(
    names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", "--diff", *names]) == 2
    assert f"--diff is for two wheels or packages, not for {len(names)}" in capsys.readouterr().err
