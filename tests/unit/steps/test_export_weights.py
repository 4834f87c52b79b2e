"""The weights of an export: stored once for all methods, apart from programs that do not change."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from aotbuild.runtime.manifest import Parameter
from aotbuild.steps.artifacts.export_weights import Stored, store

CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(20, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 20, bias=False)
        self.head.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.rand(()))
        self.unused = nn.Parameter(torch.rand(3))
        self.zeros, self.more_zeros = (nn.Parameter(torch.zeros(6)) for _ in range(2))
        self.register_buffer("table", torch.rand(20), persistent=False)
        self.plain = torch.rand(4, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.embedding(tokens)) * self.scale + self.zeros - self.more_zeros
        result: torch.Tensor = self.head(hidden) + self.table + self.plain.flatten()
        return result + torch.tensor([0.5, 1.0]).sum()


class Other(nn.Module):
    """Another method of the same module."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.aotbuild_module = net

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.aotbuild_module.embedding(tokens)
        return result + self.aotbuild_module.get_buffer("table")[:6]


def traced(module: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(module.eval(), (torch.arange(5),), strict=False)


def stored(directory: Path, seed: int = 0) -> tuple[Net, Stored]:
    net = Net(seed).requires_grad_(requires_grad=False)
    for method in ("forward", "other"):
        (directory / method).mkdir(parents=True, exist_ok=True)
    programs = {"forward": traced(net), "other": traced(Other(net))}
    return net, store(programs, net.state_dict(keep_vars=True), directory)


def test_a_program_is_loaded_with_its_weights(tmp_path: Path) -> None:
    net, _ = stored(tmp_path)
    found = Stored.read(tmp_path)
    tensors = found.open()
    tokens = torch.tensor([3, 7, 0, 19, 3])
    with torch.no_grad():
        program = found.load_program("forward", tensors, CPU)
        assert torch.equal(program.module()(tokens), net(tokens))
        other = found.load_program("other", tensors, CPU)
        assert torch.equal(other.module()(tokens), Other(net)(tokens))


def test_each_tensor_is_stored_once_and_unused_ones_are_not(tmp_path: Path) -> None:
    _, found = stored(tmp_path)
    assert sorted(found.tensors) == [
        "embedding.weight",
        "forward:plain",
        "forward:table",
        "more_zeros",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.weight",
        "scale",
        "zeros",
    ]
    assert found.used("other") == {"embedding.weight", "forward:table"}


def test_what_is_equal_by_chance_is_not_one_tensor(tmp_path: Path) -> None:
    # Compiled as one constant, the two could not become different.
    _, found = stored(tmp_path)
    tensors = found.open()
    assert torch.equal(tensors["zeros"], tensors["more_zeros"])
    assert tensors["zeros"].data_ptr() != tensors["more_zeros"].data_ptr()


def test_the_state_dict_is_told_with_its_aliases(tmp_path: Path) -> None:
    net, found = stored(tmp_path)
    told = {parameter.name: parameter for parameter in found.state}
    assert list(told) == list(net.state_dict())
    assert told["head.weight"] == Parameter("head.weight", "float32", [20, 6], "embedding.weight")
    assert told["unused"] == Parameter("unused", "float32", [3], "unused")
    assert told["scale"] == Parameter("scale", "float32", [], "scale")


def test_other_weights_leave_the_programs_alone(tmp_path: Path) -> None:
    _, before = stored(tmp_path)
    programs = [tmp_path / method / "program.pt2" for method in ("forward", "other")]
    times = [program.stat().st_mtime_ns for program in programs]
    sizes = [program.stat().st_size for program in programs]
    _, after = stored(tmp_path, seed=1)
    assert [program.stat().st_mtime_ns for program in programs] == times
    assert before.digest != after.digest
    assert (before.tensors, before.names, before.state) == (after.tensors, after.names, after.state)
    # The same weights again leave the index, from which others are told.
    index = (tmp_path / "weights.json").stat().st_mtime_ns
    stored(tmp_path, seed=1)
    assert (tmp_path / "weights.json").stat().st_mtime_ns == index
    assert max(sizes) < 100_000


def test_a_program_is_as_it_was_after_it_is_stored(tmp_path: Path) -> None:
    net = Net().requires_grad_(requires_grad=False)
    (tmp_path / "forward").mkdir()
    program = traced(net)
    store({"forward": program}, net.state_dict(keep_vars=True), tmp_path)
    tokens = torch.arange(5)
    assert torch.equal(program.module()(tokens), net(tokens))


@pytest.mark.parametrize("size", [8, 9])
def test_small_constants_of_the_code_stay_in_the_program(tmp_path: Path, size: int) -> None:
    class Offset(nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return value + torch.tensor([0.5] * size)

    (tmp_path / "forward").mkdir()
    program = torch.export.export(Offset(), (torch.zeros(size),), strict=False)
    found = store({"forward": program}, {}, tmp_path)
    assert len(found.tensors) == (size > 8)
    loaded = found.load_program("forward", found.open(), CPU)
    assert torch.equal(loaded.module()(torch.zeros(size)), torch.full((size,), 0.5))


def test_a_program_does_not_tell_where_modules_are(tmp_path: Path) -> None:
    """An isolated build has them elsewhere each time, and is to find its program unchanged."""
    stored(tmp_path)
    with zipfile.ZipFile(tmp_path / "forward" / "program.pt2") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist()).decode(errors="replace")
    assert 'File \\"torch/nn/modules/' in text
    assert [root for root in sys.path if root and f"{root}/" in text] == []
