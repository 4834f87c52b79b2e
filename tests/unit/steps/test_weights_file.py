"""The weights file: valid safetensors, aligned, each content once, and read back with strides."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aotbuild.runtime.checkpoint import PADDING
from aotbuild.runtime.errors import ModelLoadError
from aotbuild.runtime.integrity import identify
from aotbuild.runtime.manifest import Constant
from aotbuild.runtime.weights import WeightsFile, open_weights
from aotbuild.steps.artifacts.weights_file import (
    ALIGNMENT,
    open_tensors,
    write_weights,
)


def samples() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    base = random(100)
    return {
        "plain": random(3, 5),
        "one": random(1),
        "0-dim": random(1)[0],
        "empty": torch.empty(0, 3),
        "bool": random(7) > 0,
        "bfloat16": random(3, 3).bfloat16(),
        "float16": random(5).half(),
        "float64": random(5).double(),
        "float8": random(5).to(torch.float8_e4m3fn),
        "complex64": torch.complex(random(3), random(3)),
        "complex128": torch.complex(random(3), random(3)).to(torch.complex128),
        "int64": torch.arange(5),
        "uint8": torch.arange(5, dtype=torch.uint8),
        "uint16": torch.arange(5).to(torch.uint16),
        "transposed": random(4, 6).t(),
        "channels_last": random(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "expanded": random(3).expand(4, 3),
        "expanded to a scalar": random(1)[0].expand(4, 3),
        "strided": base[10:50:3],
        "slice of a storage": base[20:30].view(2, 5),
        "parameter": torch.nn.Parameter(random(3)),
    }


def written(path: Path, tensors: dict[str, torch.Tensor]) -> list[Constant]:
    return list(write_weights(path, tensors).constants.values())


def header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    table: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return table


@pytest.mark.parametrize("name", samples())
def test_a_tensor_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.safetensors"
    tensor = samples()[name]
    (constant,) = written(path, {name: tensor})
    found = WeightsFile(path).tensor(constant)
    assert found.dtype is tensor.dtype
    assert found.shape == tensor.shape
    assert found.stride() == tensor.stride()
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    assert torch.equal(found.to(wide), tensor.detach().to(wide))


@pytest.mark.parametrize("view", ["conj", "_neg_view"])
def test_a_view_that_is_not_what_its_bytes_say_is_written_as_it_reads(
    tmp_path: Path, view: str
) -> None:
    tensor = getattr(torch.complex(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])), view)()
    (constant,) = written(tmp_path / "weights.safetensors", {"view": tensor})
    path = tmp_path / "weights.safetensors"
    assert torch.equal(WeightsFile(path).tensor(constant), tensor)


def test_many_tensors_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = samples()
    constants = written(path, tensors)
    for constant, tensor in open_tensors(path, constants):
        wide = torch.complex128 if tensor.is_complex() else torch.float64
        assert torch.equal(tensor.to(wide), tensors[constant.name].detach().to(wide))
    assert all(constant.offset % ALIGNMENT == 0 for constant in constants)


def test_each_tensor_is_aligned_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for _, tensor in open_tensors(path, written(path, samples())):
        assert tensor.data_ptr() % 64 == 0 or tensor.numel() == 0


def test_safetensors_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = samples()
    write_weights(path, tensors)
    found = {k: v for k, v in load_file(path).items() if not k.startswith(PADDING)}
    assert set(found) == set(tensors)
    for name in ("plain", "0-dim", "empty", "bool", "bfloat16", "int64", "float8", "parameter"):
        assert found[name].dtype is tensors[name].dtype
        assert found[name].shape == tensors[name].shape
        assert torch.equal(found[name].double(), tensors[name].detach().double())


def test_padding_is_named_as_such_and_never_wider_than_the_alignment(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_weights(path, samples())
    table = header(path)
    padding = {key: entry for key, entry in table.items() if key.startswith(PADDING)}
    assert padding
    assert all(entry["dtype"] == "U8" and entry["shape"][0] < 64 for entry in padding.values())
    ends = sorted(tuple(entry["data_offsets"]) for entry in table.values())
    assert ends[0][0] == 0
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))


def test_equal_content_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    value = torch.randn(64, 64)
    alone = written(tmp_path / "alone.safetensors", {"a": value})
    constants = written(path, {"a": value, "b": value.clone(), "c": value.view(32, 128)})
    assert {constant.offset for constant in constants} == {constants[0].offset}
    assert {constant.tensor for constant in constants} == {"a"}
    assert [constant.shape for constant in constants] == [[64, 64], [64, 64], [32, 128]]
    assert path.stat().st_size == (tmp_path / "alone.safetensors").stat().st_size
    assert alone[0].size == 64 * 64 * 4


def test_equal_bytes_of_different_dtypes_are_two_entries(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    constants = written(path, {"a": torch.zeros(4), "b": torch.zeros(4, dtype=torch.int32)})
    assert constants[0].offset != constants[1].offset
    assert [header(path)[name]["dtype"] for name in "ab"] == ["F32", "I32"]


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_weights(tmp_path / name, samples())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_file_of_no_tensors_can_be_mapped(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    assert write_weights(path, {}).constants == {}
    assert load_file(path) == {}
    WeightsFile(path)


def test_writing_into_a_mapped_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    (constant,) = written(path, {"a": torch.zeros(4)})
    before = path.read_bytes()
    WeightsFile(path).tensor(constant).fill_(1)
    assert path.read_bytes() == before


def test_what_is_no_file_cannot_be_mapped(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="cannot be mapped"):
        WeightsFile(tmp_path)


def test_the_models_of_a_package_share_one_mapping(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    written(path, {"a": torch.zeros(4)})
    weights = identify(path, path.name)
    assert open_weights(path, weights) is open_weights(path, weights)


def test_weights_that_onednn_has_packed_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    plain = torch.randn(64, 32)
    packed = torch.ops.mkldnn._reorder_linear_weight(plain, 4)
    constants = written(path, {"plain": plain, "packed": packed, "again": packed})
    assert [bool(constant.packed) for constant in constants] == [False, True, True]
    assert constants[1].offset == constants[2].offset
    assert header(path)["packed"]["dtype"] == "U8"
    found = WeightsFile(path).tensor(constants[1])  # which keeps the file mapped
    value = torch.randn(3, 32)
    linear = torch.ops.mkldnn._linear_pointwise
    expected = linear(value, packed, None, "none", [], "")
    assert torch.equal(linear(value, found, None, "none", [], ""), expected)
    assert torch.allclose(expected, value @ plain.t(), atol=1e-4)
