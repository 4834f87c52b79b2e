"""Each operator that constants follow from parameters by: numpy's results beside torch's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import aotbuild.passes
from aotbuild.runtime import numpy_arrays, torch_arrays
from aotbuild.runtime.derived import _MOVING, compute
from aotbuild.runtime.errors import StateDictError
from aotbuild.runtime.numpy_operators import OPERATORS

X = {"tensor": "x"}
Y = {"tensor": "y"}
ROW = {"tensor": "row"}
END = 2**63 - 1

EXACT: dict[str, list[list[Any]]] = {
    "aten.add.Scalar": [[X, 1e-5], [X, 3]],
    "aten.add.Tensor": [[X, Y], [X, ROW], [X, 0.1]],
    "aten.cat.default": [[[X, Y]], [[X, Y, X], 2], [[X, Y], -1]],
    "aten.clone.default": [[X]],
    "aten.constant_pad_nd.default": [
        [X, [0, 3]],
        [X, [1, 2, 0, 3, 4, 0]],
        [X, [0, 0, 0, 11], 1.5],
        [X, [-1, 2, 0, -2]],
    ],
    "aten.contiguous.default": [[X]],
    "aten.detach.default": [[X]],
    "aten.div.Tensor": [[X, Y], [X, 3.0]],
    "aten.flatten.using_ints": [[X], [X, 1], [X, 0, 1], [{"tensor": "number"}]],
    "aten.mul.Scalar": [[X, 0.1]],
    "aten.mul.Tensor": [[X, Y], [X, 0.1], [ROW, X], [{"tensor": "number"}, 0.1]],
    "aten.neg.default": [[X]],
    "aten.numpy_T.default": [[X]],
    "aten.permute.default": [[X, [2, 0, 1]], [X, [-1, 0, 1]]],
    "aten.reciprocal.default": [[X]],
    "aten.reshape.default": [[X, [6, -1]], [X, [4, 2, 3]], [ROW, [4, 1]]],
    "aten.rsqrt.default": [[Y]],
    "aten.select.int": [[X, 0, 1], [X, 1, -1]],
    "aten.slice.Tensor": [[X], [X, 1, 1], [X, 1, 0, END], [X, -1, -3, -1], [X, 0, 0, END, 2]],
    "aten.sqrt.default": [[Y]],
    "aten.squeeze.dim": [[X, 0], [{"tensor": "thin"}, 1], [{"tensor": "thin"}, -1]],
    "aten.stack.default": [[[X, Y]], [[X, Y, X], 1], [[X, Y], -1]],
    "aten.sub.Tensor": [[X, Y], [X, 0.1]],
    "aten.t.default": [[{"tensor": "matrix"}], [ROW]],
    "aten.to.dtype": [[X, {"dtype": "float16"}], [X, {"dtype": "float64"}]],
    "aten.transpose.int": [[X, 0, 2], [X, -1, 1]],
    "aten.unsqueeze.default": [[X, 0], [X, -1]],
    "aten.view.default": [[X, [6, -1]]],
}
"""Arguments of the operators that move elements, or whose results are rounded once."""

SUMS: dict[str, list[list[Any]]] = {
    "aten._weight_norm.default": [
        [X, {"tensor": "lengths"}],
        [{"tensor": "matrix"}, ROW, 1],
        [X, {"tensor": "number"}, -1],
    ],
    "aten.dot.default": [[ROW, ROW]],
    "aten.exp.default": [[X]],
    "aten.matmul.default": [[X, {"tensor": "square"}]],
    "aten.mm.default": [[{"tensor": "matrix"}, {"tensor": "square"}]],
    "aten.mv.default": [[{"tensor": "matrix"}, ROW]],
    "aten.sum.dim_IntList": [[X, [0]], [X, [0, -1], True], [X, None]],
    "aten.vdot.default": [[ROW, ROW]],
}
"""Those whose results torch itself rounds in one order or another."""


def values() -> dict[str, torch.Tensor]:
    """What recipes here are made of, with infinities, NaN and the smallest numbers in it."""
    generator = torch.Generator().manual_seed(1)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    y = some(2, 3, 4).square()
    y.view(-1)[:4] = torch.tensor([0.0, float("inf"), float("nan"), 1e-42])
    return {
        "x": some(2, 3, 4),
        "y": y,
        "row": some(4),
        "thin": some(2, 1, 3),
        "number": some(),
        "matrix": some(5, 4),
        "square": some(4, 4),
        "lengths": some(2, 1, 1),
    }


def cases(table: dict[str, list[list[Any]]]) -> list[Any]:
    return [
        pytest.param({"op": name, "args": args}, id=f"{name}-{i}")
        for name, calls in table.items()
        for i, args in enumerate(calls)
    ]


def both(recipe: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """What numpy and torch compute."""
    tensors = values()
    plain = {key: tensor.numpy() for key, tensor in tensors.items()}
    with numpy_arrays.computing():
        own = torch.as_tensor(compute(recipe, plain.__getitem__, numpy_arrays))
    return own, compute(recipe, tensors.__getitem__, torch_arrays)


@pytest.mark.parametrize("recipe", cases(EXACT))
@pytest.mark.filterwarnings("ignore:The use of `x.T`")
def test_it_is_torchs_result_bit_for_bit(recipe: dict[str, Any]) -> None:
    own, expected = both(recipe)
    assert own.dtype is expected.dtype
    assert own.shape == expected.shape
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[own.element_size()]
    finite = ~expected.isnan()
    assert torch.equal(own.isnan(), ~finite)
    assert torch.equal(
        own.contiguous().view(kind)[finite], expected.contiguous().view(kind)[finite]
    )


@pytest.mark.parametrize("recipe", cases(SUMS))
def test_sums_are_torchs_up_to_rounding(recipe: dict[str, Any]) -> None:
    own, expected = both(recipe)
    torch.testing.assert_close(own, expected, rtol=2e-6, atol=1e-6)


def test_alpha_is_a_factor() -> None:
    torch.testing.assert_close(*both({"op": "aten.add.Scalar", "args": [X, 3, 0.1]}))
    for name in ("add", "sub"):
        recipe = {"op": f"aten.{name}.Tensor", "args": [X, Y], "kwargs": {"alpha": 2}}
        torch.testing.assert_close(*both(recipe), equal_nan=True)


def test_every_operator_is_tested() -> None:
    assert {*EXACT, *SUMS} == OPERATORS.keys()


def test_whatever_moves_elements_is_there() -> None:
    assert OPERATORS.keys() >= _MOVING


def test_whatever_passes_write_into_recipes_is_there() -> None:
    """The operators in the functions of passes that make what is derived."""
    folder = Path(aotbuild.passes.__file__).parent
    found = set()
    for file in folder.rglob("*.py"):
        text = file.read_text("utf-8")
        if "graph.derived import" in text and "derive(" in text:
            found |= set(re.findall(r"(?:add|compute)\(\s*(?:module, )?(aten\.[\w.]+)", text))
    names = {f"{name}.default" if name.count(".") == 1 else name for name in found}
    other = {"aten.sym_size.int"}  # a size, which no constant has
    assert len(names) > 10
    assert names - other <= OPERATORS.keys()


def test_what_only_torch_computes_is_told() -> None:
    recipe = {"op": "aten.linalg_qr.default", "args": [X]}
    with pytest.raises(StateDictError, match=r"aten\.linalg_qr\.default, which only torch has"):
        both(recipe)
