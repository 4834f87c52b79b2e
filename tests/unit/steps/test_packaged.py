"""Checkpoints in the wheel beside the weights that were made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import PYPROJECT, edited, write_project

from aotbuild.config.project import load_declared
from aotbuild.steps.bundle.step import checkpoint_lines
from aotbuild.steps.plan.packaged import packaged_checkpoints

INSIDE = edited('weights = "weights/net.safetensors"', 'weights = "src/demo/net.pt#model"')

CASES = {
    "outside of the package": (PYPROJECT, {}),
    "inside": (INSIDE, {"demo/net.pt": "src/demo/net.pt"}),
    "excluded": (INSIDE + '[tool.scikit-build]\nwheel.exclude = ["*.pt"]\n', {}),
    "excluded by its path": (
        INSIDE + '[tool.scikit-build]\nwheel.exclude = ["demo/net.pt"]\n',
        {},
    ),
    "another package": (INSIDE + '[tool.scikit-build]\nwheel.packages = ["src/other"]\n', {}),
    "a package that is named": (
        INSIDE + '[tool.scikit-build]\nwheel.packages = ["src/demo"]\n',
        {"demo/net.pt": "src/demo/net.pt"},
    ),
    "a package of another name": (
        INSIDE + '[tool.scikit-build.wheel.packages]\n"shown/demo" = "src/demo"\n',
        {"shown/demo/net.pt": "src/demo/net.pt"},
    ),
}


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_the_wheel_holds_a_checkpoint(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    (tmp_path / "src" / "demo").mkdir(parents=True)
    (tmp_path / "src" / "demo" / "__init__.py").touch()
    (tmp_path / "src" / "demo" / "net.pt").write_bytes(bytes(2000))
    project = load_declared(write_project(tmp_path, text))
    assert packaged_checkpoints(project) == expected


@pytest.mark.parametrize(
    ("name", "directory", "file"),
    [
        ("demo.kit", "demo/kit", "__init__.py"),
        ("demo.kit", "demo_kit", "__init__.py"),
        ("demo--kit", "demo__kit", "__init__.py"),
        ("demo", "demo", "__init__.pyi"),
    ],
)
def test_the_package_is_found_wherever_scikit_build_core_finds_it(
    tmp_path: Path, name: str, directory: str, file: str
) -> None:
    checkpoint = f"src/{directory}/net.pt"
    text = edited('name = "demo"', f'name = "{name}"')
    text = edited("weights/net.safetensors", f"{checkpoint}#model", text)
    (tmp_path / "src" / directory).mkdir(parents=True)
    (tmp_path / "src" / directory / file).touch()
    (tmp_path / checkpoint).touch()
    project = load_declared(write_project(tmp_path, text))
    assert packaged_checkpoints(project) == {f"{directory}/net.pt": checkpoint}


def test_both_sizes_and_the_line_are_told(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(bytes(2000))
    assert checkpoint_lines({"demo/net.pt": "net.pt"}, tmp_path, 3_000_000) == [
        (
            "aotbuild: the wheel holds demo/net.pt (2 kB) beside the compiled weights made of it "
            "(3.0 MB); models do not read it."
        ),
        '  To leave it out: tool.scikit-build.wheel.exclude = ["demo/net.pt"]',
    ]
