"""The sizes 0 and 1, which a trace supposes away: where the model treats them apart is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_model import check_model

TABLE = """
[tool.aotbuild.models.net]
source = "small:Net"
inputs.x = {{ shape = ["batch", "rows"] }}
dims.batch = {batch}
dims.rows = {rows}
"""
MODULE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.tensor(2.3))

    def forward(self, x):
        {body}
"""


def checked(tmp_path: Path, body: str, batch: str, rows: str = "{ max = 16 }") -> int:
    table = TABLE.format(batch=batch, rows=rows)
    lines = body.replace("\n", "\n        ")
    return check_model(tmp_path, "small", table, MODULE.format(body=lines))


FROM_1 = "{ max = 8 }"
FROM_0 = "{ min = 0, max = 8 }"
REFUSED = [
    ("return x.squeeze(0) * 2", FROM_1, "batch = 1", "traced (1, 5), eager (5,)",
     "batch = { min = 2, max = 8 }, and for batch = 1 a model of its own"),
    ("return x * 3 if x.shape[0] == 1 else x", FROM_1, "batch = 1", "the values differ",
     "batch = { min = 2, max = 8 }, and for batch = 1 a model of its own"),
    ("return x.sum() if x.numel() else x.new_ones(())", FROM_0, "batch = 0", "the values differ",
     "batch = { min = 1, max = 8 }, and for batch = 0 a model of its own"),
    ("return x * 3 if x.shape[0] == 1 else x", "{ max = 2 }", "batch = 1", "the values differ",
     'write 2 in place of "batch", and for batch = 1 a model of its own'),
]  # fmt: skip


@pytest.mark.parametrize(("body", "batch", "case", "why", "fix"), REFUSED)
def test_a_model_that_treats_a_small_size_apart_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    body: str,
    batch: str,
    case: str,
    why: str,
    fix: str,
) -> None:
    assert checked(tmp_path, body, batch) == 1
    text = " ".join(capsys.readouterr().err.split())
    assert f"the model does something else at {case}" in text
    assert why in text
    assert fix in text
    assert "tool.aotbuild.models.net.dims.batch" in text


def test_the_line_that_asks_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked(tmp_path, "return x * 3 if x.shape[0] == 1 else x", FROM_1)
    assert "small/__init__.py:12 in forward: return x * 3 if" in capsys.readouterr().err


def test_a_model_for_which_they_are_sizes_as_others_is_taken(tmp_path: Path) -> None:
    assert checked(tmp_path, "return x.cumsum(0).softmax(1)", FROM_0) == 0


COUNTS = "values = x.reshape(-1)\nreturn values + torch.ones(len(values))"
MESSAGES = [
    (COUNTS, "batch*rows is 20 only, as in the example\n", "write values.shape[0]"),
    ("return x + torch.ones(len(x))[:, None]", "it works for batch = 4 only",
     "write x.shape[0], or write 4 in place of"),
    ("return x + torch.ones(int(x.shape[1]))", "it works for rows = 5 only",
     "int() makes a plain number of a size: write x.shape[1], or write 5"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "why", "fix"), MESSAGES)
def test_what_the_build_would_refuse_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, why: str, fix: str
) -> None:
    assert checked(tmp_path, body, FROM_1) == 1
    text = capsys.readouterr().err
    assert "unexpected" not in text
    assert why in text
    assert fix in text
    assert "small/__init__.py:1" in text


def test_a_number_that_is_rounded_is_taken(tmp_path: Path) -> None:
    assert checked(tmp_path, "return x + round(self.shift.item() * 1.5)", FROM_1) == 0


CHAIN = """if x.shape[1] < 6:
    raise ValueError("too short")
return x.unfold(1, 4, 2).sum(-1)"""
LONGER = """if x.shape[1] < 6:
    raise ValueError("too short")
if x.shape[1] < 20:
    raise ValueError("still too short")
return x * 2"""


@pytest.mark.parametrize(("body", "least"), [(CHAIN, 6), (LONGER, 20)])
def test_a_range_that_is_proposed_has_been_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, least: int
) -> None:
    assert checked(tmp_path, body, FROM_1, "{ max = 64 }") == 1
    assert f"rows = {{ min = {least}, max = 64 }}" in capsys.readouterr().err
    again = tmp_path / "again"
    again.mkdir()
    assert checked(again, body, FROM_1, f"{{ min = {least}, max = 64 }}") == 0


def test_where_no_range_works_none_is_proposed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = "if x.shape[1] < 6:\n    raise ValueError('too short')\nraise KeyError('always')"
    assert checked(tmp_path, body, FROM_1, "{ max = 64 }") == 1
    text = capsys.readouterr().err
    assert "min = 6" not in text
    assert "ValueError: too short" in text
