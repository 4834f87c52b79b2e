"""Fourier transforms: values as exact as torch's, and torch's strides."""

from __future__ import annotations

import pytest
import torch
from library import Library

R2C = torch.ops.aten._fft_r2c.default
C2C = torch.ops.aten._fft_c2c.default

# Products of small factors, primes, products of primes, and ones that are split.
LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15, 16, 31, 32, 34, 37, 48, 74, 100, 121, 128, 256, 400]
LENGTHS += [401, 512, 1009, 1024, 1024 * 3, 2018, 8192, 15625, 16384, 16411, 32768]


def _check(library: Library, name: str, tensor: torch.Tensor, *values: object) -> None:
    operator = R2C if "r2c" in name else C2C
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    expected = operator(tensor, *values)
    exact = operator(tensor.to(wide), *values)
    found = library.call(f"aoti_torch_cpu_{name}", tensor, *values)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.stride() == expected.stride()
    if not found.numel():
        return
    size = exact.abs().square().mean().sqrt() + 1e-300
    error = (found - exact).abs().max() / size
    theirs = (expected - exact).abs().max() / size
    # MKL's own results of float64 are off by 1e-13 for some lengths, as 201.
    smallest = 2e-6 if tensor.dtype in {torch.float32, torch.complex64} else 3e-13
    assert error <= max(2 * theirs, smallest), (float(error), float(theirs))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(library: Library, length: int, *, double: bool) -> None:
    """One line, few and many, which are transformed in different ways."""
    torch.manual_seed(length)
    for rows in (1, 5, 35) if length < 2000 else (1, 5):
        x = torch.randn(rows, length, dtype=torch.float64 if double else torch.float32)
        _check(library, "_fft_r2c", x, [1], 0, True)
        _check(library, "_fft_r2c", x, [1], 1, False)
        z = torch.complex(x, x.flip(-1))
        _check(library, "_fft_c2c", z, [1], 0, True)
        _check(library, "_fft_c2c", z, [1], 2, False)


def test_double_precision(library: Library) -> None:
    """float64 against sums of products, as MKL is less exact for these lengths."""
    for length in (34, 62, 201, 401, 1009):
        z = torch.randn(2, length, dtype=torch.complex128)
        j = torch.arange(length)
        matrix = torch.polar(
            torch.ones(length, length, dtype=torch.float64),
            -2 * torch.pi * (j[:, None] * j % length).double() / length,
        )
        found = library.call("aoti_torch_cpu__fft_c2c", z, [1], 0, True)
        assert (found - z @ matrix).abs().max() < 1e-13 * length


LAYOUTS = {
    "contiguous": lambda: torch.randn(3, 4, 6, 10),
    "permuted": lambda: torch.randn(10, 3, 6, 4).permute(1, 3, 2, 0),
    "sliced": lambda: torch.randn(3, 8, 6, 20)[:, ::2, :, 3::2][..., :7],
    "expanded": lambda: torch.randn(4, 1, 10).expand(3, 4, 6, 10),
    "single": lambda: torch.randn(1, 4, 1, 10),
    "channels last": lambda: torch.randn(3, 4, 6, 10).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dims", [[3], [0], [1], [2, 3], [1, 3], [3, 1], [0, 1, 2], [0, 1, 2, 3]])
def test_layouts(library: Library, layout: str, dims: list[int]) -> None:
    torch.manual_seed(0)
    x = LAYOUTS[layout]()
    z = torch.complex(x, x + 1)
    z = z if layout != "expanded" else z[:, :, :1].expand(x.shape)
    for mode in range(3):
        _check(library, "_fft_r2c", x, dims, mode, True)
        _check(library, "_fft_r2c", x, dims, mode, False)
        _check(library, "_fft_c2c", z, dims, mode, True)
        _check(library, "_fft_c2c", z, dims, mode, False)


def test_frames(library: Library) -> None:
    """Frames that overlap, as a spectrogram has them; a silent frame beside a loud one."""
    signal = torch.randn(2, 4000)
    signal[1] *= 1e-6
    frames = signal.unfold(-1, 400, 160)
    _check(library, "_fft_r2c", frames, [2], 0, True)
    found = library.call("aoti_torch_cpu__fft_r2c", frames[1], [1], 0, True)
    exact = torch.fft.rfft(frames[1].double())
    assert (found - exact).abs().max() < 2e-6 * exact.abs().max()


def test_not_finite(library: Library) -> None:
    """What is not finite stays in its line."""
    x = torch.randn(20, 48)
    x[3, 5] = torch.nan
    x[7, 5] = torch.inf
    found = library.call("aoti_torch_cpu__fft_r2c", x, [1], 0, True)
    broken = (~torch.isfinite(torch.view_as_real(found))).flatten(1).any(1)
    assert broken.nonzero().flatten().tolist() == [3, 7]


def test_no_dimensions(library: Library) -> None:
    z = torch.randn(3, 4, dtype=torch.complex64)
    assert torch.equal(library.call("aoti_torch_cpu__fft_c2c", z, [], 0, True), z)


def test_no_lines(library: Library) -> None:
    """No line at all, for which MKL has an error."""
    found = library.call("aoti_torch_cpu__fft_r2c", torch.zeros(0, 4, 6), [1, 2], 0, True)
    assert found.shape == (0, 4, 4)


@pytest.mark.parametrize(
    ("name", "tensor", "dims", "says"),
    [
        ("_fft_r2c", torch.zeros(4, dtype=torch.float16), [0], "float32"),
        ("_fft_r2c", torch.zeros(4, dtype=torch.complex64), [0], "float32"),
        ("_fft_c2c", torch.zeros(4), [0], "complex64"),
        ("_fft_c2c", torch.zeros(4, dtype=torch.complex64), [1], "out of range"),
        ("_fft_c2c", torch.zeros(4, 2, dtype=torch.complex64), [1, -1], "twice"),
        ("_fft_c2c", torch.zeros(4, 0, dtype=torch.complex64), [1], "no numbers"),
    ],
)
def test_errors(
    library: Library, name: str, tensor: torch.Tensor, dims: list[int], says: str
) -> None:
    with pytest.raises(RuntimeError, match=says):
        library.call(f"aoti_torch_cpu_{name}", tensor, dims, 0, True)
