"""The functions of vectors that stand for those of the Sleef library."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arm64
import numpy as np
import pytest
import torch
from library import HEADERS, SOURCES

_CALLS = re.compile(r"^(?!\s*//).*?\b(Sleef_\w+)", re.MULTILINE)
_ELEMENTWISE = re.compile(
    r"^ *DEFINE_SLEEF_COMPATIBLE_\w+_ELEMENTWISE_FUNC\((\w+)\)$", re.MULTILINE
)
"""How the headers for NEON name a function of floats."""
_KINDS = {"f8": "float", "d4": "double", "f16": "float", "d8": "double"}
_KINDS |= {"f4": "float", "d2": "double"}
_FEATURES = {
    "x86-64-v3": {"avx2", "fma", "bmi2"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
_ARM = "armv8-a"
_TYPES = {
    "x86-64-v3": ["f8", "d4"],
    "x86-64-v4": ["f8", "d4", "f16", "d8"],
    _ARM: ["f4", "d2"],
}
_ONE = [
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "erf",
    "erfc",
    "lgamma",
]
_TWO = ["pow", "atan2", "hypot", "fmod", "copysign", "nextafter"]
_ENDS = {"erfc": "_u15", "hypot": "_u05", "fmod": "", "copysign": "", "nextafter": ""}
_BOUNDS = {"_u35": 1.8, "_u15": 1.5, "_u10": 1.0, "_u05": 0.57, "": 0.0}

pytestmark = pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists() or "avx2" not in Path("/proc/cpuinfo").read_text(),
    reason="The processor has no AVX2.",
)


@dataclass
class Functions:
    """A library of the functions, and of those that call them on arrays."""

    level: str
    library: ctypes.CDLL

    def has(self, name: str) -> bool:
        """Whether a function is there."""
        return hasattr(self.library, name)

    def apply(self, name: str, x: np.ndarray[Any, Any], *rest: np.ndarray[Any, Any]) -> Any:
        """Call a function on arrays of a length that its vectors divide."""
        match = re.match(r"Sleef_[a-z0-9]+?(f8|d4|f16|d8|f4|d2)(_|$)", name)
        assert match
        results = np.empty_like(x)
        getattr(self.library, f"apply_{match[1]}")(
            ctypes.cast(getattr(self.library, name), ctypes.c_void_p),
            len(rest),
            *(a.ctypes.data_as(ctypes.c_void_p) for a in (x, *(rest or (x,)), results)),
            ctypes.c_long(len(x)),
        )
        return results

    def worst(
        self,
        function: str,
        kind: str,
        x: np.ndarray[Any, Any],
        *rest: np.ndarray[Any, Any],
        results: np.ndarray[Any, Any],
    ) -> tuple[float, int]:
        """The largest distance in units of the last place, and where it is."""
        called = getattr(self.library, f"worst_{kind}")
        called.restype = ctypes.c_double
        place = ctypes.c_long()
        most = called(
            function.encode(),
            *(a.ctypes.data_as(ctypes.c_void_p) for a in (x, *(rest or (x,)), results)),
            ctypes.c_long(len(x)),
            ctypes.byref(place),
        )
        return most, place.value


_SERVER = """
import ctypes, json, sys

library = ctypes.CDLL(sys.argv[1])
for line in iter(sys.stdin.buffer.readline, b""):
    kind, name, given, size, count = json.loads(line)
    arrays = [sys.stdin.buffer.read(size) for _ in range(given)]
    results = ctypes.create_string_buffer(size)
    function = ctypes.cast(getattr(library, name), ctypes.c_void_p)
    arguments = [arrays[0], arrays[-1], results, ctypes.c_long(count)]
    getattr(library, f"apply_{kind}")(function, given - 1, *arguments)
    sys.stdout.buffer.write(results.raw)
    sys.stdout.buffer.flush()
"""


class Emulated(Functions):
    """A library for arm64, in a Python of its own; its errors are measured here."""

    def __init__(self, path: Path, library: ctypes.CDLL) -> None:
        super().__init__(_ARM, library)
        listing = subprocess.run(["nm", "-D", path], check=True, capture_output=True, text=True)
        self.names = set(re.findall(r"\bT (Sleef_\w+)", listing.stdout))
        self.python = subprocess.Popen(
            [*arm64.python(), "-c", _SERVER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def has(self, name: str) -> bool:
        return name in self.names

    def apply(self, name: str, x: np.ndarray[Any, Any], *rest: np.ndarray[Any, Any]) -> Any:
        match = re.match(r"Sleef_[a-z0-9]+?(f4|d2)(_|$)", name)
        given, answers = self.python.stdin, self.python.stdout
        assert match
        assert given
        assert answers
        request = [match[1], name, 1 + len(rest), x.nbytes, len(x)]
        given.write(json.dumps(request).encode() + b"\n")
        given.writelines(each.tobytes() for each in (x, *rest))
        given.flush()
        return np.frombuffer(answers.read(x.nbytes), x.dtype)

    def end(self) -> None:
        assert self.python.stdin
        assert self.python.stdout
        self.python.stdin.close()
        self.python.stdout.close()
        self.python.wait()


@pytest.fixture(scope="module", params=list(_TYPES))
def functions(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Functions]:
    """The library for a level of processors that this one has, or that is emulated."""
    level, directory = request.param, tmp_path_factory.mktemp("vector_math")
    if level == _ARM:
        if reason := arm64.why_not():
            pytest.skip(reason)
        own = ctypes.CDLL(str(compiled("g++", "x86-64-v3", directory / "own.so")))
        emulated = Emulated(compiled(arm64.COMPILER, level, directory / "arm64.so"), own)
        yield emulated
        emulated.end()
        return
    if not _FEATURES[level] <= set(Path("/proc/cpuinfo").read_text().split()):
        pytest.skip("The processor is of a lower level.")
    yield Functions(level, ctypes.CDLL(str(compiled("g++", level, directory / "functions.so"))))


def compiled(compiler: str, level: str, path: Path) -> Path:
    """Compile the functions, and what calls them."""
    sources = [SOURCES / "vector_math.cpp", Path(__file__).with_name("vector_math_driver.cpp")]
    # The header of torch for x86-64 does not declare those for NEON.
    headers = [f"-isystem{SOURCES / 'headers'}", f"-isystem{HEADERS}"]
    subprocess.run(
        [compiler, "-std=c++20", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror",
         "-ffp-contract=off", f"-march={level}", *headers, *sources, "-o", path, "-lm"],
        check=True,
    )  # fmt: skip
    return path


def _names(function: str, kind: str) -> list[str]:
    ends = [_ENDS.get(function, "_u10")]
    if function in {"sin", "cos"} and _KINDS[kind] == "float":
        ends.append("_u35")
    return [f"Sleef_{function}{kind}{end}" for end in ends]


def _special(dtype: Any) -> np.ndarray[Any, Any]:
    limits = np.finfo(dtype)
    values = [0, 0.5, 1, 2, 3, 3.5, np.inf, np.nan, limits.max, limits.tiny,
              limits.smallest_subnormal, limits.tiny - limits.smallest_subnormal]  # fmt: skip
    return np.array([*values, *(-v for v in values)], dtype)


def _arguments(dtype: Any, count: int) -> np.ndarray[Any, Any]:
    """Numbers of all magnitudes and both signs, and more of those where functions are harder."""
    draw = np.random.default_rng(1)
    limits = np.finfo(dtype)
    integer = np.dtype(f"i{limits.dtype.itemsize}")
    every = np.linspace(0, 1, 2 * count) * float(np.array(limits.max, dtype).view(integer))
    near_one = draw.choice([-1, 1], count) * np.exp2(draw.uniform(-limits.nmant - 1, -1, count))
    parts = [
        every.astype(integer).view(dtype),
        np.arange(100, dtype=integer).view(dtype),
        np.exp2(draw.uniform(-30, 12, 2 * count)),
        1 + near_one,
        draw.uniform(0, 20, count),
        draw.uniform(0, 800 if dtype == np.float64 else 110, count),
        np.arange(1, count // 4) * (np.pi / 2),
        np.arange(200),
    ]
    positive = np.concatenate([part.astype(dtype) for part in parts])
    return np.concatenate([positive, -positive, _special(dtype)])


def _pairs(dtype: Any, count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Arguments in pairs: any two, all special ones, powers that are numbers, whole numbers."""
    draw = np.random.default_rng(2)
    some, special = _arguments(dtype, count), _special(dtype)
    each, other = (grid.ravel() for grid in np.meshgrid(special, special))
    first = [some, each, draw.uniform(0.3, 3, count), draw.integers(-9, 9, count)]
    second = [draw.permutation(some), other, draw.uniform(-120, 120, count),
              draw.integers(-20, 20, count)]  # fmt: skip
    return np.concatenate(first).astype(dtype), np.concatenate(second).astype(dtype)


@pytest.mark.parametrize("function", _ONE + _TWO)
def test_errors_are_within_bounds(functions: Functions, function: str) -> None:
    """Special values are right, and errors are within those that the names allow."""
    for kind in _TYPES[functions.level]:
        dtype = np.float32 if _KINDS[kind] == "float" else np.float64
        with np.errstate(all="ignore"):
            chosen = [*_pairs(dtype, 3000)] if function in _TWO else [_arguments(dtype, 4000)]
        arguments = [np.resize(a, -(-len(a) // 16) * 16) for a in chosen]
        for name in _names(function, kind):
            results = functions.apply(name, *arguments)
            most, place = functions.worst(function, _KINDS[kind], *arguments, results=results)
            bound = _BOUNDS[name.removeprefix(f"Sleef_{function}{kind}")]
            values = [float(a[place]) for a in arguments]
            assert most <= bound, f"{name}{values} is {results[place]!r}, {most} units off"


def test_all_names_of_the_headers_are_defined(functions: Functions) -> None:
    """Every function that torch's vectors call is there."""
    directories = {
        "x86-64-v3": ["vec256"],
        "x86-64-v4": ["vec256", "vec512"],
        _ARM: ["vec128"],
    }[functions.level]
    headers = [
        header.read_text("utf-8")
        for directory in directories
        for header in (HEADERS / "ATen/cpu/vec" / directory).glob("*.h")
    ]
    names = {name for text in headers for name in _CALLS.findall(text) if "sve" not in name}
    names |= {f"Sleef_{name}f4_u10" for text in headers for name in _ELEMENTWISE.findall(text)}
    assert len(names) > 50
    assert [name for name in sorted(names) if not functions.has(name)] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", ["exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf"])
def test_results_are_near_torch(functions: Functions, function: str, dtype: torch.dtype) -> None:
    """Eager torch takes Sleef's own functions, or some of a similar precision."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(1 << 14, dtype=dtype, generator=generator) * 20 + 0.01
    of_floats, of_doubles = _TYPES[functions.level][:2]
    kind = of_floats if dtype == torch.float32 else of_doubles
    integer = torch.int32 if dtype == torch.float32 else torch.int64
    expected = getattr(torch, function)(x)
    got = torch.from_numpy(functions.apply(_names(function, kind)[-1], x.numpy()).copy())
    distance = (got.view(integer) - expected.view(integer)).abs()
    assert distance.max() <= 3
    assert (distance == 0).double().mean() > 0.6
