"""What ``check`` says of sizes: ranges that work are taken, and what is left out is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_model import check_model

TABLE = """
[tool.aotbuild.models.net]
source = "sizes:net"
{settings}
inputs.x = {{ shape = ["batch", "length"] }}
dims.batch = {{ max = 8 }}
dims.length = {{ {length} }}
"""
MODULE = """
import torch
import torch.nn.functional as F


def net(x):
    {body}
"""


def checked(tmp_path: Path, body: str, length: str, settings: str = "") -> int:
    table = TABLE.format(length=length, settings=settings)
    lines = body.replace("\n", "\n    ")
    return check_model(tmp_path, "sizes", table, MODULE.format(body=lines))


WORKING = {
    "cut into frames": (
        "n = x.shape[1] // 160\nreturn x[:, :n * 160].reshape(x.shape[0], n, 160).mean(-1)",
        "min = 160, max = 16000",
    ),
    "cut into frames that are not counted": (
        "n = x.shape[1] // 160\nreturn x[:, :n * 160].reshape(x.shape[0], -1, 160).mean(-1)",
        "min = 160, max = 16000",
    ),
    "pooled to one": ("return F.max_pool1d(x[:, None], 2)", "min = 2, max = 64"),
}


@pytest.mark.parametrize("case", WORKING)
def test_a_range_that_works_is_taken_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    assert checked(tmp_path, *WORKING[case]) == 0
    assert capsys.readouterr().err == ""


CONDITIONAL = "return x * 2 if x.shape[0] != x.shape[1] else x", "max = 16"


def test_a_condition_that_a_build_would_warn_of_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, *CONDITIONAL) == 0
    told = capsys.readouterr().err
    assert "aotbuild: warning: net will accept only sizes for which" in told
    assert "batch" in told
    assert "length" in told


def test_a_condition_that_a_build_would_refuse_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, *CONDITIONAL, settings="strict-dims = true") == 1
    assert "aotbuild: error: net will accept only sizes" in capsys.readouterr().err
