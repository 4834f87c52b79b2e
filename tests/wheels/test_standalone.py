"""Wheels that need no torch: run where there is Python and nothing else, and beside torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import (
    REPOSITORY,
    STANDALONE,
    Installed,
    assert_refused,
    edited,
    keep_models,
    pip_wheel,
    run_plain,
)

from aotbuild.commands.newest_symbols import versioned_symbols
from aotbuild.steps.older_glibc import numbers


@pytest.fixture(scope="module")
def alone(installed: Callable[..., Installed]) -> Installed:
    return installed("alone")


IMAGES = """
import array, json, sys
from digits.models import denoiser, net
values = array.array("f", [(i * 37 % 101) / 101 for i in range(9 * 64)])
images = memoryview(values).cast("B").cast("f", (9, 1, 8, 8))
"""


def test_it_runs_without_torch_and_numpy_and_gives_the_same_bits(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    kinds = installed("example_project", STANDALONE), installed("example_project")
    assert not [text for text in kinds[0].required if "torch" in text]
    scores = "\nprint(json.dumps([memoryview(net(images)).tobytes().hex(), sorted(sys.modules)]))"
    own, modules = run_plain(bare_python, kinds[0].directory, IMAGES + scores)
    assert not {"torch", "numpy"} & set(modules)
    torch = "import torch\n" + IMAGES + "\nt = torch.frombuffer(values, dtype=torch.float32)"
    expected = kinds[1].run(
        torch + "\ny = net(t.reshape(9, 1, 8, 8)).flatten().view(torch.uint8)"
        "\nprint(json.dumps(bytes(y.tolist()).hex()))"
    )
    assert own == expected


def test_a_result_is_an_array(installed: Callable[..., Installed], bare_python: Path) -> None:
    code = """
cleaned = denoiser(images)
scores = net(images)
again = denoiser(cleaned["image"])  # which is an input as well
print(json.dumps([
    [str(type(scores).__name__), scores.dtype, list(scores.shape), len(scores), repr(scores)],
    [len(scores.tolist()), len(scores.tolist()[0]), memoryview(scores).format],
    [list(again["error"].shape), list(scores.__dlpack_device__())],
]))
"""
    directory = installed("example_project", STANDALONE).directory
    assert run_plain(bare_python, directory, IMAGES + code) == [
        ["Array", "float32", [9, 10], 9, "<array of float32, shape (9, 10)>"],
        [9, 10, "f"],
        [[9], [1, 0]],
    ]


ITEMS = """
import copy, ctypes, multiprocessing, pickle
def told(call, *args, **kwargs):
    try:
        return repr(call(*args, **kwargs))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
r, rows = net(images), net(images).tolist()
read = [
    r[2, -1] == rows[2][-1], r[-9].tolist() == rows[0], r[1:7:2].tolist() == rows[1:7:2],
    r[::-3, ::2].tolist() == [row[::2] for row in rows[::-3]],
    r[..., 3].tolist() == [row[3] for row in rows],
    r[7:3].shape == (0, 10), r[0, 0, ...].shape == (), [row.tolist() for row in r] == rows,
    r[:, ::2**62].tolist() == [row[:1] for row in rows],
    r == net(images), r != r[:3], r[0] != rows[0],
]
part = copy.deepcopy(r)[4, ::-2]  # which keeps the memory
copies = [copy.copy(r), *(pickle.loads(pickle.dumps(r[::-1, ::3], p))[::-1] for p in range(2, 6))]
copied = [copies[0] == r, *(c == r[:, ::3] for c in copies[1:]), part.tolist() == rows[4][::-2]]
w = copy.deepcopy(r)
w[0], w[1, 1:], w[2, ::-1], w[3] = 2, w[1, :-1], w[2], array.array("f", range(10))
w[4:6, 3:5] = 1
written = [
    w[0].tolist() == [2.0] * 10, w[1].tolist() == [rows[1][0], *rows[1][:-1]],
    w[2].tolist() == rows[2][::-1], w[3].tolist() == [*range(10)],
    w[4].tolist() == [*rows[4][:3], 1, 1, *rows[4][5:]], w[6:] == r[6:], r.tolist() == rows,
]
other = (((ctypes.c_float.__ctype_be__ * 8) * 8) * 1 * 9)()
for i, value in enumerate(values):
    other[i // 64][0][i // 8 % 8][i % 8] = value
with multiprocessing.get_context("fork").Pool(1) as pool:
    sent = pool.map_async(net, [copy.copy(denoiser(images)["image"])]).get(60)
same = [net(other) == r, sent == [net(denoiser(images)["image"])]]
one = r[:1, :1]
numbers = [float(one) == rows[0][0], int(w[0, :1]) == 2, bool(w[0, :1])]
indices = (9, (0, 10), (0, 0, 0), None, 1.0, True, "a", [0], (..., ...))
wrong = [told(r.__getitem__, i) for i in indices]
wrong += [told(w.__setitem__, i, v) for i, v in (
    (0, [1]), (0, "x"), (0, None), (0, array.array("d", range(10))), (0, array.array("f", [1])),
    ((0, 0), 1j),
)]
wrong += [told(f, r) for f in (bool, float, int)]
wrong += [told(f, r[0, 0, ...]) for f in (len, iter)]
wrong += [told(r.__dlpack__, **{name: value}) for name, value in (
    ("dl_device", (2, 0)), ("dl_device", "cpu"), ("max_version", "x"), ("copy", 1), ("stream", "s"),
)]
kinds = [repr(r.__dlpack__(**kw)).split()[2] for kw in ({}, {"max_version": (1, 1), "copy": True})]
print(json.dumps([read, copied, written, same, numbers, kinds, wrong]))
"""

REFUSED = [
    "IndexError: index 9 is out of range for dimension 0 of size 9",
    "IndexError: index 10 is out of range for dimension 1 of size 10",
    "IndexError: 3 indices are given for 2 dimensions",
    *(
        f"TypeError: an array is indexed by integers, slices and '...', got {kind}"
        for kind in ("NoneType", "float", "bool", "str", "list")
    ),
    "IndexError: an index has '...' once",
    *(f"TypeError: expected a number, or a buffer, got {kind}" for kind in ("list", "str")),
    "TypeError: expected a number, or a buffer, got NoneType",
    "TypeError: expected elements of float32, got float64",
    "ValueError: expected values of shape (10,), got (1,)",
    "TypeError: must be real number, not complex",
    *["ValueError: an array of 90 elements is not one number"] * 3,
    *["TypeError: an array without dimensions has no length"] * 2,
    "BufferError: this array is on the CPU, (1, 0), not on (2, 0)",
    "TypeError: dl_device must be None or a tuple of two integers",
    "TypeError: max_version must be None or a tuple of two integers",
    *["TypeError: copy must be None, True or False, and stream None"] * 2,
]


def test_a_result_has_items_and_copies(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    directory = installed("example_project", STANDALONE).directory
    *good, kinds, wrong = run_plain(bare_python, directory, IMAGES + ITEMS)
    assert good == [[True] * len(part) for part in good]
    assert kinds == ['"dltensor"', '"dltensor_versioned"']
    assert wrong == REFUSED


WRONG = {
    "values.tolist()": "TypeError: net(): argument 'image' must be an array of numpy, or of any "
    "type with the buffer protocol, got list. Install numpy, and convert it: "
    'numpy.asarray(image, dtype="float32")',
    "'values'": "TypeError: net(): argument 'image' must be an array of numpy, or of any type with "
    "the buffer protocol, got str. No array can be made of it",
    "[[1.0, 2.0], [3.0]]": "TypeError: net(): argument 'image' must be an array of numpy, or of "
    "any type with the buffer protocol, got list. No array can be made of it",
    "": "TypeError: net() is missing required argument 'image'; it takes image",
    "values": "ValueError: net(): argument 'image' must have 4 dimensions, (batch, 1, 8, 8), got "
    "1: shape (576,)",
    "memoryview(values).cast('B').cast('f', (9, 1, 4, 16))": "ValueError: net(): argument 'image' "
    "must have shape (batch, 1, 8, 8), got (9, 1, 4, 16): dimension 2 must be 8, not 4",
    "array.array('d', values)": "TypeError: net(): argument 'image' must have dtype float32, got "
    'float64. Install numpy, and convert it: numpy.asarray(image, dtype="float32")',
    "None": "TypeError: net(): argument 'image' must be an array of numpy, or of any type with "
    "the buffer protocol, got NoneType. It is required",
    "images, images": "TypeError: net() got 2 positional arguments, 1 too many; it takes image",
}


def test_a_wrong_argument_is_told_without_torch(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    cases = "".join(
        f"    try:\n        ask({call})\n        told.append('accepted')\n"
        "    except Exception as error:\n        told.append(f'{type(error).__name__}: {error}')\n"
        for call in WRONG
    )
    asked = """
import asyncio
told, batched = [], net.batched(8, 0)
def later(*args):
    return asyncio.run(batched.acall(*args))
for ask in (net, net.pool(2), batched, later):
"""
    code = IMAGES + asked + cases + "print(json.dumps(told))"
    directory = installed("example_project", STANDALONE).directory
    assert run_plain(bare_python, directory, code) == list(WRONG.values()) * 4


HABITS = {
    "net.device": "AttributeError: net.device is a torch.device, and torch is not installed",
    "net.module()": "ModelLoadError: net.module() makes a torch.nn.Module: torch is not installed",
    "net.eval()": "AttributeError: net is compiled, and no torch.nn.Module: it has no attribute "
    "'eval'. Without torch there is nothing to call in its place",
}


def test_habits_of_torch_are_told_without_it(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    cases = "".join(
        f"try:\n    {call}\n    told.append('accepted')\n"
        "except Exception as error:\n    told.append(f'{type(error).__name__}: {error}')\n"
        for call in HABITS
    )
    code = IMAGES + "import inspect\ntold = []\n" + cases
    code += (
        "print(json.dumps([told, 'call' in dict(inspect.getmembers(net)), hasattr(net, 'device')]))"
    )
    directory = installed("example_project", STANDALONE).directory
    assert run_plain(bare_python, directory, code) == [list(HABITS.values()), False, False]


@pytest.mark.parametrize(
    ("device", "told"),
    [
        (
            "cuda",
            "AOTBUILD_DEVICE=cuda: net was compiled for cpu; set it to one of these, or unset it",
        ),
        (
            "cpu:x",
            "AOTBUILD_DEVICE=cpu:x: net was compiled for cpu; set it to one of these, or unset",
        ),
        ("cpu", ""),
        ("cpu:0", ""),
    ],
)
def test_another_device_is_told_without_torch(
    installed: Callable[..., Installed], bare_python: Path, device: str, told: str
) -> None:
    directory = installed("example_project", STANDALONE).directory
    done = subprocess.run(
        [bare_python, "-P", "-c", "from digits.models import net"],
        env={"PYTHONPATH": str(directory), "AOTBUILD_DEVICE": device},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (not told)
    assert told in done.stderr


STATES = """
from digits.models import reader
def many(form, shape, value=0):
    made = array.array(form, [value]) * (shape[0] * shape[1])
    return memoryview(made).cast("B").cast(form, shape)
told = []
def tell(code):
    try:
        told.append(str(type(eval(code)).__name__))
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
line, state = many("f", (2, 8), 1), reader.new_state(batch=2)
own = {"hidden": many("f", (2, 48)).toreadonly()}
tell('reader(line, state=own)')
own["hidden"] = eval(told[-1].rpartition("Pass ")[2], {"state": own})
reader(line, state=own), reader(line, state=state)
assert own["hidden"].tolist() == state["hidden"].tolist() != many("f", (2, 48)).tolist()
other = reader.new_state(batch=2)
for value in (own["hidden"], own["hidden"].tolist(), state["hidden"]):
    other["hidden"] = 0.5
    assert other["hidden"].tolist() == many("f", (2, 48), 0.5).tolist()
    other["hidden"] = value
    assert other["hidden"].tolist() == state["hidden"].tolist()
for value in ("None", "1e300", "many('d', (2, 48))", "many('f', (1, 48))", "[[1], [2]]"):
    tell(f'state.__setitem__("hidden", {value})')
block = bytearray(448)
own["hidden"] = memoryview(block)[:384].cast("f", (2, 48))
line = memoryview(block).toreadonly()[352:416].cast("f", (2, 8))
tell('reader(line, state=own)')
tell('reader.new_state(2)')
tell('net.pool()')
tell('state.save("/no/such/folder")')
scores = net(images)
for out in (many("f", (9, 10)), net(images), (ctypes.c_float * 10 * 9)()):
    assert net(images, out=out) is out
    assert memoryview(out).tobytes() == memoryview(scores).tobytes()
image = many("f", (9, 64)).cast("B").cast("f", (9, 1, 8, 8))
cleaned = {"image": image, "error": array.array("f", [0] * 9)}
assert denoiser(images, out=cleaned) is cleaned
assert cleaned["error"].tolist() == denoiser(images)["error"].tolist()
read_only = many("f", (9, 10)).toreadonly()
for out in ("read_only", "many('d', (9, 10))", "many('f', (10, 9))", "[0] * 90"):
    tell(f'net(images, out={out})')
print(json.dumps(told))
"""

TOLD = [
    (
        """ValueError: reader(): argument 'state["hidden"]' is changed by the call, and """
        """cannot be written to. Pass memoryview(bytearray(state["hidden"])).cast("f", (2, 48))"""
    ),
    (
        'TypeError: reader: state["hidden"] takes a number, or an array or lists of float32 with '
        "shape (2, 48), got NoneType"
    ),
    (
        'ValueError: reader: state["hidden"] has dtype float32, which holds '
        "-3.4028234663852886e+38 to 3.4028234663852886e+38, got 1e+300"
    ),
    'TypeError: reader: state["hidden"] has dtype float32, got float64',
    'ValueError: reader: state["hidden"] has shape (2, 48), got (1, 48)',
    'ValueError: reader: state["hidden"] has shape (2, 48), got lists of (2, 1)',
    (
        """ValueError: reader(): argument 'state["hidden"]' is changed by the call, and shares """
        "memory with 'line'. Pass a copy of one"
    ),
    "TypeError: reader.new_state() takes sizes by name only: batch=2",
    "TypeError: net.pool() missing 1 required positional argument: 'runners'",
    "FileNotFoundError: [Errno 2] No such file or directory: '/no/such/folder'",
    "ValueError: net(): out cannot be written to",
    "TypeError: net(): out must have dtype float32, got float64",
    "ValueError: net(): out must have shape (9, 10), got (10, 9)",
    "TypeError: net(): out must be an array, got list",
]


def test_states_and_out_take_plain_buffers(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    directory = installed("example_project", STANDALONE).directory
    code = IMAGES + "import ctypes" + STATES
    assert run_plain(bare_python, directory, code) == TOLD


COLUMNS = """
class Column:
    def __init__(self, array, device=1, error=None):
        self.array, self.device, self.error = array, device, error
    def __dlpack__(self):
        if self.error:
            raise self.error
        return self.array.__dlpack__()
    def __dlpack_device__(self):
        return self.device, 0
class Library(Column):
    shape, dtype = (9, 1, 8, 8), "float32"
    def __array_namespace__(self):
        return Library
    def from_dlpack(array):
        return [type(array).__name__, array.tolist()]
scores = net(images).tolist()
clean = denoiser(images)["image"]
told = []
for given in (
    Library(clean, error=BufferError("No values yet.\\nSee below")),
    Library(clean, device=2, error=BufferError("on a GPU")),
    Column(clean, error=ValueError("it has nulls")),
):
    try:
        net(given)
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
denoised = net(clean).tolist()
print(json.dumps([
    net(Column(clean)).tolist() == denoised != scores,
    net(Library(clean)) == ["Array", denoised],
    told,
]))
"""


def test_arrays_by_dlpack_with_and_without_a_library(
    installed: Callable[..., Installed], bare_python: Path
) -> None:
    """Such as JAX's, which give results of their own kind, and PyArrow's, which do not."""
    directory = installed("example_project", STANDALONE).directory
    assert run_plain(bare_python, directory, IMAGES + COLUMNS) == [
        True,
        True,
        [
            (
                "TypeError: net(): argument 'image' cannot be read, Library says: No values yet. "
                'Convert it: Library.asarray(image, dtype="float32")'
            ),
            (
                "ValueError: net(): argument 'image' is not on the CPU, where arrays of Library "
                "are taken from. Move it there"
            ),
            (
                "TypeError: net(): argument 'image' must be an array of numpy, or of any type with "
                "the buffer protocol, got __main__.Column. No array can be made of it"
            ),
        ],
    ]


def test_its_own_test_needs_no_torch(alone: Installed, bare_python: Path) -> None:
    """It runs each function that these models call: the build recorded what eager torch gave."""
    done = subprocess.run(
        [bare_python, "-P", "-m", "alone.models", "--json"],
        env={"PYTHONPATH": str(alone.directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(done.stdout)
    assert table["torch"] is None
    assert {o["model"]: o["passed"] for o in table["variants"]} == dict.fromkeys(
        ["decoder", "ordered", "outer", "pooled", "short", "spectrum", "vocoder"], True
    )


def test_complex_numbers_are_those_of_eager_torch(alone: Installed) -> None:
    code = """
import json, torch
from alone.models import vocoder
from alone.modules import Vocoder
told = []
for batch, frames in ((1, 8), (2, 31), (4, 60)):
    torch.manual_seed(frames)
    magnitude, phase = torch.rand(batch, 33, frames) + 0.1, torch.randn(batch, 33, frames)
    found, expected = vocoder(magnitude, phase), Vocoder()(magnitude, phase)
    told += [a.dtype is b.dtype and a.shape == b.shape and torch.allclose(a, b, 1e-4, 1e-5)
             for a, b in zip(found, expected, strict=True)]
print(json.dumps(told))
"""
    assert alone.run(code) == [True] * 12


def test_types_that_buffers_have_no_word_for(alone: Installed, bare_python: Path) -> None:
    code = """
import array, json
from alone.models import _runtime, short
from alone.models._runtime import _engine
bits = array.array("H", [0x3FC0, 0xC000, 0x7F80, 0x0001, 0, 0, 0, 0])  # 1.5, -2, inf, denormal
x = _engine.view(bits.tobytes(), (4, 16), (1, 8), (8, 1), 0)
y = short(x)
turned = _engine.view(array.array("H", range(0x3F80, 0x3F90)), (4, 16), (2, 8), (1, 2), 0)
doubled = [[2 * value for value in row] for row in turned.tolist()]
print(json.dumps([
    [y.dtype, list(y.shape), y.tolist()[0][:4], y.bits().tolist()[0][:4]],
    short(turned).tolist() == doubled,
    short.batched(4, 0)(turned).tolist() == doubled,
]))
"""
    (dtype, shape, values, bits), *right = run_plain(bare_python, alone.directory, code)
    assert (dtype, shape) == ("bfloat16", [1, 8])
    assert values == [3.0, -4.0, float("inf"), 2.0**-132]
    assert bits == [0x4040, 0xC080, 0x7F80, 0x0002]
    assert right == [True, True]  # in another order in memory, too


EACH = """
import copy, json, math, pickle, random, struct
from alone.models._runtime import _engine
from alone.models._runtime.machine import DLPACK_DTYPES
wrong = []
for name, (code, bits) in DLPACK_DTYPES.items():
    x = _engine.view(bytearray(6 * bits // 8), (code, bits), (2, 3), (1, 2), 0)
    x[0], x[1, 2] = 0, 1
    top = 1 << (bits - 1)
    ends = {0: (-top, top - 1), 1: (0, 2 * top - 1), 5: (1.5 - 2j, 0)}
    for value in ends.get(code, (0, 1)):
        x[1, 0] = value
        good = x[1, 0] == value and x.tolist()[0] == [0, 0, 0] and x[1, 2] == 1
        for other in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x, 2))):
            good = good and other == x and (other.dtype, other.shape) == (name, (2, 3))
        if not good:
            wrong.append([name, str(value)])
    for value in (ends[code][0] - 1, ends[code][1] + 1, 1.5) if code < 2 else ():
        try:
            x[0, 0] = value
            wrong.append([name, value])
        except OverflowError as error:
            if str(error) != f"{value} is out of the range of {name}":
                wrong.append([name, str(error)])
        except TypeError:
            if value != 1.5:
                wrong.append([name, value])
    empty = x[:0]
    if pickle.loads(pickle.dumps(empty)) != empty:
        wrong.append([name, "empty"])
half, brain = (_engine.view(bytearray(2), (code, 16), (), (), 0) for code in (2, 4))
random.seed(0)
for i in range(20000):
    small = random.gauss(0, 1) * 2.0 ** -random.randint(0, 30)
    value = random.choice([random.uniform(-7e4, 7e4), small, -0.0])
    value = struct.unpack("f", struct.pack("f", value))[0]
    half[...] = brain[...] = value
    try:
        expected = struct.unpack("e", struct.pack("e", value))[0]
    except OverflowError:
        expected = math.copysign(math.inf, value)
    word = struct.unpack("I", struct.pack("f", value))[0]
    rounded = (word + 0x7FFF + (word >> 16 & 1)) >> 16
    if str(half[()]) != str(expected) or brain.bits()[()] != rounded:
        wrong.append(value)
print(json.dumps(wrong))
"""


def test_elements_of_each_dtype_are_written_and_copied(alone: Installed, bare_python: Path) -> None:
    """Those of 16 bits are rounded as ``struct`` does, and as bits of float32 are."""
    assert run_plain(bare_python, alone.directory, EACH) == []


SHORT = """
import json, sys
import numpy as np
from alone.models._runtime import _engine
x = _engine.view(bytearray(12), (4, 16), (2, 3), (3, 1), 0)
x[0] = 1.5
def told(call):
    try:
        return str(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
def shared():
    y = np.asarray(x)
    y[1, 0] = 2
    return y.dtype, x[1, 0]
f = _engine.view(bytearray(8), (2, 32), (2,), (1,), 0)
f.__array__()[0] = 1
h = np.from_dlpack(f)
h[1] = 2
print(json.dumps([f.tolist(), [told(call) for call in (
    shared, lambda: np.asarray(x, "float32").tolist(), lambda: f.__array__("int8", False),
    lambda: f.__array__(copy=True).tolist(),
)]]))
"""


@pytest.mark.parametrize("has_it", [False, True], ids=["without", "with"])
def test_numpy_takes_bfloat16_by_ml_dtypes_only(
    alone: Installed, numpy_python: Path, ml_dtypes_python: Path, *, has_it: bool
) -> None:
    python = ml_dtypes_python if has_it else numpy_python
    needed = (
        "ModuleNotFoundError: numpy has bfloat16 by ml_dtypes: pip install ml_dtypes, or take its "
        "tolist()"
    )
    told = [needed, needed]
    if has_it:
        told = ["(dtype(bfloat16), 2.0)", "[[1.5, 1.5, 1.5], [2.0, 0.0, 0.0]]"]
    told += [
        "ValueError: an array of float32 is one of another dtype only as a copy",
        "[1.0, 2.0]",
    ]
    assert run_plain(python, alone.directory, SHORT) == [[1.0, 2.0], told]


def test_numpy_copies_by_dlpack_where_it_is_asked_to(alone: Installed, numpy_python: Path) -> None:
    code = """
import json
import numpy as np
from alone.models._runtime import _engine
f = _engine.view(bytearray(8), (2, 32), (2,), (1,), 0)
for copy in (True, False, None):
    np.from_dlpack(f, copy=copy)[:] += 1 if copy else 2
print(json.dumps(f.tolist()))
"""
    assert run_plain(numpy_python, alone.directory, code) == [4.0, 4.0]


def test_a_call_without_memory_is_an_error_and_the_next_one_works(
    alone: Installed, bare_python: Path
) -> None:
    code = """
import array, json, resource
from alone.models import outer
def call(n):
    y = outer(array.array("f", [2.0] * n))
    return [list(y.shape), memoryview(y).cast("B")[:4].cast("f")[0]] if n < 9 else None
call(3)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
told = []
for _ in range(20):
    try:
        call(6000)
    except MemoryError:
        told.append("MemoryError")
print(json.dumps([told == ["MemoryError"] * 20, call(3)]))
"""
    assert run_plain(bare_python, alone.directory, code) == [True, [[3, 3], 5.0]]


def test_threads_are_its_own(installed: Callable[..., Installed], bare_python: Path) -> None:
    code = """
import os, threading
from digits.models import set_num_threads
def count():
    return len(os.listdir("/proc/self/task"))
def scores():
    return memoryview(net(images)).tobytes()
big = memoryview(array.array("f", values.tolist() * 28)).cast("B").cast("f", (252, 1, 8, 8))
net(big)
first = count()
set_num_threads(5)
net(big)
five, expected = count(), scores()
def work():
    for _ in range(50):
        same.append(scores() == expected)
same = []
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
pid = os.fork()
if not pid:
    net(big)
    os._exit(0 if count() == 5 and scores() == expected else 1)
refused = []
for wrong in (0, 257, "2", True):
    try:
        set_num_threads(wrong)
    except ValueError as error:
        refused.append(str(error))
print(json.dumps([first, five, all(same), os.waitpid(pid, 0)[1], refused]))
"""
    directory = installed("example_project", STANDALONE).directory
    found = run_plain(bare_python, directory, IMAGES + code, AOTBUILD_NUM_THREADS="3")
    assert found == [
        3,
        5,
        True,
        0,
        [
            f"set_num_threads(): count is {wrong}, expected {integer}1 to 256"
            for wrong, integer in (("0", ""), ("257", ""), ("'2'", "an integer, "))
        ]
        + ["set_num_threads(): count is True, expected an integer, 1 to 256"],
    ]


OTHER_TORCH = {
    "first": "import torch\nfrom digits.models import net",
    "later": "from digits.models import net\nimport torch",
    # Older ones exchange tensors by capsules only.
    "older": "import torch\ndel torch.Tensor.__dlpack_c_exchange_api__\n"
    "from digits.models import net",
}


@pytest.mark.parametrize("when", OTHER_TORCH)
def test_torch_may_be_there(installed: Callable[..., Installed], when: str) -> None:
    found = installed("example_project", STANDALONE)
    code = OTHER_TORCH[when]
    code += """
import json
x = torch.rand(5, 1, 8, 8)
y = net(x)
out = torch.empty(5, 10)
net(image=x.requires_grad_(), out=out)
state = net.state_dict()
net.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in state.items()})
changed = not torch.equal(net(x), y)
net.load_state_dict(state)
restored = changed and torch.equal(net(x), y)
print(json.dumps([
    type(y) is torch.Tensor, y.requires_grad, torch.equal(y, out),
    torch.equal(net(x.detach().mT), net(x.detach().mT.contiguous())),
    torch.equal(torch.compile(lambda x: net(x) + 1, backend="eager")(x.detach()), y + 1),
    restored, str(net.device), net.target,
]))
"""
    told = found.run(code, {})
    assert told == [True, False, True, True, True, True, "cpu", "cpu-x86-64-v3"]


def test_the_blocks_of_the_page_run(installed: Callable[..., Installed], bare_python: Path) -> None:
    page = (REPOSITORY / "docs" / "standalone.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    call = "import json\ndigit = handler({'pixels': [0.5] * 64}, None)['digit']\n"
    call += "print(json.dumps(digit in range(10)))"
    directory = installed("example_project", STANDALONE).directory
    assert run_plain(bare_python, directory, "\n".join([*blocks, call])) is True


def test_what_only_torch_has_is_told_with_its_line(
    project: Callable[[str], Path],
) -> None:
    copy = edited(
        project("alone"),
        ("alone.modules:Outer", "alone.modules:Factors"),
        ('inputs.x = { shape = ["n"] }', "inputs.x = { shape = [4, 4] }"),
        ("dims.n = { min = 1, max = 6000, example = 6 }\n", ""),
    )
    text = (copy / "pyproject.toml").read_text()
    only = text[: text.index("[tool.aotbuild.models.ordered]")]
    (copy / "pyproject.toml").write_text(only)
    assert_refused(
        pip_wheel(copy),
        "the model needs torch at run time",
        "where: pyproject.toml: tool.aotbuild.models.outer",
        "alone/modules.py:",
        "torch.linalg.cholesky(x @ x.mT + torch.eye(4))",
        'set runtime = "torch"',
    )


def test_it_runs_on_older_systems(installed: Callable[..., Installed], alone: Installed) -> None:
    """No library needs a newer C library than that of manylinux_2_28."""
    for found in (installed("example_project", STANDALONE), alone):
        libraries = sorted(found.directory.rglob("*.so"))
        assert len(libraries) > 2
        for library in libraries:
            needed = {name: numbers(v) for name, v in versioned_symbols(library.read_bytes())}
            newest = {name: version for name, version in needed.items() if version > (2, 28)}
            assert newest == {}, library.name


def test_two_levels_of_a_model_are_small(project: Callable[..., Path], tmp_path: Path) -> None:
    """Installed beside numpy, without weights, and with the modules that pip compiles."""
    copy = keep_models(project("example_project", STANDALONE), "net")
    edited(copy, ('cpu-levels = ["x86-64-v3", "armv8"]', 'cpu-levels = ["x86-64-v3", "x86-64-v4"]'))
    build = pip_wheel(copy)
    assert build.returncode == 0, build.output
    directory = tmp_path / "site"
    pip = [sys.executable, "-P", "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", directory, *build.wheels], check=True)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len([path for path in files if path.parent.name == "net" and path.suffix == ".so"]) == 2
    sizes = {path: path.stat().st_size for path in files if path.name != "weights.safetensors"}
    assert sum(sizes.values()) <= 1_500_000, sorted(sizes.items(), key=lambda file: -file[1])[:9]
