"""Calls with arrays of numpy: on the native engine torch is not imported for them."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wheels import AWAIT_CHILD, KINDS, Installed, of_kind

HEAD = """
import json, os, sys, threading, time
import numpy as np
rng = np.random.default_rng(0)
X = rng.standard_normal((4, 6), dtype=np.float32)

def leaves(tree):
    if isinstance(tree, (tuple, list)):
        return [leaf for item in tree for leaf in leaves(item)]
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    return [tree]

def as_tensors(tree):
    if isinstance(tree, (tuple, list)):
        return type(tree)(map(as_tensors, tree))
    if isinstance(tree, dict):
        return {key: as_tensors(item) for key, item in tree.items()}
    if not isinstance(tree, (np.ndarray, np.generic)):
        return tree
    import torch
    array = np.array(tree, dtype=np.asarray(tree).dtype.newbyteorder("="))
    return torch.from_numpy(array)

def same(results, expected):
    assert type(results) is type(expected) or isinstance(results, np.ndarray)
    for result, tensor in zip(leaves(results), leaves(expected), strict=True):
        if isinstance(result, (int, float)) or result is None:
            assert result == tensor
            continue
        assert type(result) is np.ndarray, type(result)
        assert str(tensor.dtype) == f"torch.{result.dtype.name}", (tensor.dtype, result.dtype)
        np.testing.assert_allclose(result, tensor.numpy(), rtol=1e-6, atol=1e-6)
        assert result.flags.writeable or not result.size
"""


def run(installed: Installed, code: str, **env: str) -> Any:
    """Run code in a process of its own that has numpy and has not imported torch."""
    with_numpy = dataclasses.replace(installed, python=Path(sys.executable))
    done = with_numpy.attempt(HEAD + code, env, warnings="error")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def with_engine(installed: Installed, engine: str) -> Installed:
    return dataclasses.replace(installed, engine=engine)


@pytest.fixture(scope="module", params=KINDS)
def calls(installed: Callable[[str], Installed], request: pytest.FixtureRequest) -> Installed:
    return of_kind(installed, "calls", request.param)


ARGUMENTS = {
    "fixed": ["(np.tile(X, (2, 1)),)"],
    "dense": ["(X,)", "(X[::-1],)", "(np.asfortranarray(X),)", "(X.astype('>f4'),)", "(X[:1],)"],
    "paired": [
        "(X[:, :4].copy(), X[:3, :4].copy())",
        "(X[:, 1:5], X.T[:3])",
        "(np.zeros((0, 4), np.float32), np.zeros((3, 0), np.float32))",
    ],
    "conv": [
        "(rng.random((2, 3, 6, 5), dtype=np.float32),)",
        "(rng.random((2, 6, 5, 3), dtype=np.float32).transpose(0, 3, 1, 2),)",
    ],
    "lookup": ["(rng.integers(0, 10, (3, 5)),)", "(np.arange(10).reshape(5, 2).T,)"],
    "nested": [
        "({'a': X[:, :4], 'b': {'c': X[:, 2:].astype(float)}}, (X[:, 0], X[:, 1] > 0))",
    ],
    "constants": ["(X[:, :4], True, 0.5)"],
    "scalars": [
        "(X[0, :3], np.float32(2), np.int8(3), np.array(True))",
        "(X[0, :3], 2.5, 3, False)",
    ],
    "waves": ["((X[:, :3] + 1j * X[:, 3:]).astype(np.complex64),)"],
    "aliases": ["(X[:, :4].copy(),)"],
    "counted": ["(X[:, :4].copy(),)"],
}

GIVEN = ", ".join(f"{model!r}: [{', '.join(calls)}]" for model, calls in ARGUMENTS.items())

SAME = f"""
import traceback
import calls.models
given = {{{GIVEN}}}
nets = {{model: getattr(calls.models, model) for model in given}}
results = {{model: [net(*args) for args in given[model]] for model, net in nets.items()}}
imported = "torch" in sys.modules
wrong = {{}}
for model, net in nets.items():
    try:
        for args, result in zip(given[model], results[model], strict=True):
            same(result, net(*as_tensors(args)))
            same(net(*args), net(*as_tensors(args)))  # as torch is imported now
    except Exception:  # noqa: BLE001
        wrong[model] = traceback.format_exc()
print(json.dumps([imported, wrong]))
"""


def test_arrays_give_what_tensors_give(calls: Installed) -> None:
    imported, wrong = run(calls, SAME)
    assert wrong == {}
    assert imported == (calls.engine == "torch")


WRONG = {
    ("dense", "(X[:, :5],)"): "ValueError: dense(): argument 'x' must have shape (batch, 6), got",
    ("dense", "(X.astype(float),)"): "TypeError: dense(): argument 'x' must have dtype float32, ",
    ("dense", "(np.ma.masked_array(X),)"): "argument 'x' must be a plain array, got numpy.ma.",
    ("lookup", "(np.full((3, 5), 10),)"): "IndexError: lookup(): an index is outside of what",
    ("scalars", "(X[0, :3], 2.5, 300, True)"): "which holds -128 to 127, got 300",
    ("paired", "(X[:, :4],)"): "paired() is missing required argument 'b'; it takes a, b",
}


def test_wrong_arrays_are_told_without_torch(calls: Installed) -> None:
    found = run(
        calls,
        f"""
import calls.models
said = []
for model, args in {list(WRONG)!r}:
    try:
        getattr(calls.models, model)(*eval(args))
    except Exception as error:  # noqa: BLE001
        said.append(f"{{type(error).__name__}}: {{error}}")
print(json.dumps([said, "torch" in sys.modules]))
""",
    )
    for text, told in zip(WRONG.values(), found[0], strict=True):
        assert text in told
    assert found[1] == (calls.engine == "torch")


def test_results_over_the_memory_of_arguments_keep_it(calls: Installed) -> None:
    assert run(
        calls,
        """
from calls.models import aliases
held = X[:, :4].copy()
expected = [leaf.copy() for leaf in leaves(aliases(held))]
results = leaves(aliases(X[:, :4].copy()))  # of which nothing else holds the argument
junk = [np.full((4, 4), 7, np.float32) for _ in range(1000)]
print(json.dumps(all((a == b).all() for a, b in zip(results, expected))))
""",
    )


def test_results_are_written_to_arrays(calls: Installed) -> None:
    assert run(
        calls,
        """
from calls.models import dense
out = np.empty((4, 5), np.float32)
assert dense(X, out=out) is out
print(json.dumps(bool((out == dense(X)).all())))
""",
    )


@pytest.fixture(scope="module")
def example(installed: Callable[[str], Installed]) -> Installed:
    return installed("example_project")


IMAGES = """
images = rng.random((8, 1, 8, 8), dtype=np.float32)
"""


def test_torch_may_be_imported_meanwhile_and_is_there_once(example: Installed) -> None:
    found = run(
        example,
        IMAGES
        + """
from digits.models import denoiser, net
expected = net(images)
assert "torch" not in sys.modules
wrong, done = [], threading.Event()

def work():
    while not done.is_set():
        if not np.allclose(net(images), expected, atol=1e-6):
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(3)]
[thread.start() for thread in threads]
import torch
tensors = torch.from_numpy(images)
for _ in range(100):
    if not np.allclose(net(tensors).numpy(), expected, atol=1e-6):
        wrong.append(2)
same(denoiser(images), denoiser(tensors))
done.set()
[thread.join() for thread in threads]
with open("/proc/self/maps") as file:
    paths = {line.split()[-1] for line in file if "/" in line}
names = [path.rsplit("/", 1)[1] for path in paths]
counts = [sum(kind in name for name in names) for kind in ("gomp", "iomp", "libtorch_cpu")]
print(json.dumps([wrong, counts]))
""",
    )
    assert found == [[], [1, 0, 1]]


@pytest.mark.parametrize("before", ["import torch", ""])
def test_a_model_that_is_loaded_late_opens_its_library_late(
    example: Installed, before: str
) -> None:
    found = run(
        example,
        before
        + IMAGES
        + """
from digits.models import net

def opened():
    with open("/proc/self/maps") as file:
        return any("cpu-x86-64-v3.so" in line or "armv8.so" in line for line in file)

found = [opened()]
result = net(images)
found += [opened(), result.shape == (8, 10), net.target.startswith("cpu-")]
print(json.dumps(found))
""",
        AOTBUILD_LAZY="1",
    )
    assert found == [False, True, True, True]


def test_a_forked_child_without_torch_gives_the_right_result(example: Installed) -> None:
    found = run(
        example,
        IMAGES
        + """
from digits.models import net
expected = net(np.repeat(images, 32, axis=0))
child = os.fork()
if not child:
    os._exit(0 if np.allclose(net(np.repeat(images, 32, axis=0)), expected, atol=1e-6) else 3)
"""
        + AWAIT_CHILD
        + """print(json.dumps([bool(ended), status, "torch" in sys.modules]))
""",
    )
    assert found == [True, 0, False]


def test_calls_with_arrays_leak_nothing(example: Installed) -> None:
    grown = run(
        example,
        IMAGES
        + """
from digits.models import net
wrong = images[:, :, :7]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def call():
    net(images)
    net(images[::2])
    try:
        net(wrong)
    except ValueError:
        pass

for _ in range(1000):
    call()
before = resident()
for _ in range(5000):
    call()
print(json.dumps(resident() - before))
""",
        OMP_NUM_THREADS="1",
    )
    assert grown < 1_000_000
