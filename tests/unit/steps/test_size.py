"""What a package weighs, and what is told where that is much."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from samples import sample_manifest, sample_variant

from aotbuild.runtime.manifest import Constant, File
from aotbuild.steps.package.size import report_size, shown

MB = 1_000_000


def package(directory: Path, weights: int) -> str:
    """Write a package with two variants, and report its size against a limit of 1 MB."""
    constant = Constant("w", "w", "net.w", "float32", [weights // 4], [1], 0, weights)
    variants = [
        sample_variant(target=target, library=f"net/{target}.so", constants=[constant])
        for target in ("cpu-v4", "cpu-v3")
    ]
    for i, variant in enumerate(variants):
        library = dataclasses.replace(variant.library, size=100_000)
        variants[i] = dataclasses.replace(variant, library=library)
        path = directory / library.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100_000))
    (directory / "weights.safetensors").write_bytes(bytes(weights))
    (directory / "__init__.py").write_bytes(bytes(5_000))
    told = dataclasses.replace(
        sample_manifest(variants=variants), weights=File("weights.safetensors", weights, "", "")
    )
    return report_size(directory, "digits.models", [told], 1)


def test_the_parts_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert package(tmp_path, 400_000) == (
        "aotbuild: digits.models: 605 kB (libraries 200 kB, weights 400 kB instead of 800 kB "
        "unshared, runtime and the rest 5 kB)"
    )
    assert capsys.readouterr().err == ""


def test_a_large_package_is_told_with_what_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(tmp_path, 4 * MB)
    said = capsys.readouterr().err
    assert "aotbuild: warning: digits.models weighs 4.2 MB, more than 1 MB" in said
    assert "tool.aotbuild.size-limit" in said
    assert said.index('quantize = "int8-weight-only" saves up to 3.0 MB') < said.index(
        'dtype = "bfloat16" saves 2.0 MB'
    )
    assert "one of cpu-levels alone saves 100 kB" in said
    assert 'weights-in = "companion" puts the weights into a wheel of their own' in said
    assert "set size-limit to it" in said


def test_sizes_have_units() -> None:
    assert [shown(size) for size in (0, 999_400, MB, 123_456_789)] == [
        "0 kB",
        "999 kB",
        "1.0 MB",
        "123.5 MB",
    ]
