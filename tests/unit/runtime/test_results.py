"""Results that are written to what a caller has for them, also where they share memory with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from aotbuild.runtime.results import write


def test_views_of_what_is_written_to_are_read_first() -> None:
    x = torch.arange(9.0).reshape(3, 3)
    expected = [torch.full((3, 3), 7.0), x.t().clone(), x[0].clone()]
    out = (x, torch.zeros(3, 3), torch.zeros(3))
    write("out", (torch.full((3, 3), 7.0), x.t(), x[0]), out)
    for result, value in zip(out, expected, strict=True):
        assert torch.equal(result, value)


def test_a_view_is_written_to_what_it_is_a_view_of() -> None:
    x = torch.arange(9.0).reshape(3, 3)
    array = np.arange(9.0).reshape(3, 3)
    expected = x.t().clone()
    assert torch.equal(write("out", x.t(), x), expected)
    np.testing.assert_array_equal(write("out", array.T, array), expected.numpy())


def test_arrays_that_overlap_are_read_first() -> None:
    x = np.arange(9.0).reshape(3, 3)
    expected = x[1].copy()
    out = {"a": x, "b": np.zeros(3)}
    write("out", {"a": np.full((3, 3), 7.0), "b": x[1]}, out)
    np.testing.assert_array_equal(out["a"], np.full((3, 3), 7.0))
    np.testing.assert_array_equal(out["b"], expected)


def test_a_result_may_be_what_is_written_to() -> None:
    x = torch.arange(3.0)
    assert write("out", [x], [x]) == [x]


@pytest.mark.parametrize("empty", [torch.zeros(0, 3), np.zeros((0, 3))])
def test_a_result_may_be_empty(empty: torch.Tensor | np.ndarray) -> None:
    assert write("out", empty, empty[:]).shape == (0, 3)


def test_buffers_are_written_to() -> None:
    result = np.arange(6, dtype="float32").reshape(2, 3)
    for source in (result, np.asfortranarray(result)):
        own = memoryview(bytearray(24)).cast("f", (2, 3))
        assert write("out", {"a": (source,)}, {"a": (own,)})["a"][0] is own
        np.testing.assert_array_equal(np.asarray(own), result)


def test_a_buffer_that_overlaps_is_read_first() -> None:
    block = np.arange(9.0).reshape(3, 3)
    expected = block[1].copy()
    out = (block.data, memoryview(bytearray(24)).cast("d"))
    write("out", (np.full((3, 3), 7.0), block[1]), out)
    np.testing.assert_array_equal(np.asarray(out[1]), expected)


@pytest.mark.parametrize(
    ("out", "told"),
    [
        (memoryview(bytes(24)).cast("f", (2, 3)), "out cannot be written to"),
        (memoryview(bytearray(24)).cast("f"), r"out must have shape \(2, 3\), got \(6,\)"),
        (memoryview(bytearray(48)).cast("d", (2, 3)), "out must have dtype float32, got float64"),
        (np.zeros((2, 6), "float32")[:, ::2].data, "out has gaps or another order in memor"),
    ],
)
def test_a_buffer_that_does_not_fit_is_told(out: memoryview, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        write("out", np.zeros((2, 3), "float32"), out)
