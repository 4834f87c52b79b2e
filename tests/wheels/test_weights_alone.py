"""State dicts without torch: numpy's arrays are read, loaded and merged, beside numpy alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from wheels import STANDALONE, Installed, run_plain

MODELS = {"classifier": "Classifier", "swappable": "Normed", "translator": "Translator"}

BY_TORCH = """
import torch
import weights_kit.models
from weights_kit import nets

def called(name, x):
    model = getattr(weights_kit.models, name)
    if name == "translator":
        return {"encode": model.encode(x["tokens"]), "decode": model.decode(x["hidden"])}
    return {"": model(x["images"] if name == "swappable" else x["rows"])}

torch.manual_seed(0)
x = {
    "rows": torch.randn(5, 24), "images": torch.randn(3, 3, 8, 8),
    "tokens": torch.randint(0, 100, (4, 6)), "hidden": torch.randn(4, 16),
}
saved = {f"x/{name}": value for name, value in x.items()}
for name, cls in MODELS.items():
    model = getattr(weights_kit.models, name)
    saved |= {f"old/{name}/{key}": value for key, value in model.state_dict().items()}
    saved |= {f"before/{name}/{key}": value for key, value in called(name, x).items()}
    new = getattr(nets, cls)()
    for key, value in new.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) + 0.5)
        else:
            value += 3
    model.load_state_dict(new.state_dict())
    saved |= {f"new/{name}/{key}": value for key, value in new.state_dict().items()}
    saved |= {f"after/{name}/{key}": value for key, value in called(name, x).items()}
torch.save(saved, FILE)
print(1)
"""
"""Saves inputs, two state dicts of each model, and the outputs with each of them."""

SETUP = """
import json, sys
import numpy as np
import weights_kit.models
stored = np.load(FILE)

def part(*words):
    start = "/".join(words) + "/"
    return {name[len(start):]: stored[name] for name in stored.files if name.startswith(start)}

x = part("x")

def called(name):
    model = getattr(weights_kit.models, name)
    if name == "translator":
        return {"encode": model.encode(x["tokens"]), "decode": model.decode(x["hidden"])}
    return {"": model(x["images"] if name == "swappable" else x["rows"])}

def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[key].dtype == value.dtype and found[key].shape == value.shape
        and np.asarray(found[key]).tobytes() == value.tobytes()
        for key, value in expected.items()
    )

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"
"""


@dataclass(frozen=True)
class Kit:
    """A stand-alone wheel, and what it does by torch."""

    site: Path
    file: Path
    """Inputs, state dicts and outputs, as arrays."""
    python: Path

    def run(self, code: str, python: Path | None = None) -> Any:
        """Run code where there is numpy and no torch."""
        return run_plain(
            python or self.python, self.site, f"FILE = {str(self.file)!r}{SETUP}{code}"
        )


@pytest.fixture(scope="module")
def kit(
    installed: Callable[..., Installed],
    numpy_python: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Kit:
    built = installed("weights", STANDALONE)
    folder = tmp_path_factory.mktemp("states")
    built.run(f"MODELS, FILE = {MODELS!r}, {str(folder / 'by_torch.pt')!r}\n{BY_TORCH}")
    saved = torch.load(folder / "by_torch.pt")
    arrays = {name: tensor.numpy() for name, tensor in saved.items()}
    np.savez(folder / "by_torch.npz", **arrays)
    for name in MODELS:
        start = f"new/{name}/"
        state = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
        save_file({k: np.array(v) for k, v in state.items()}, folder / f"{name}.safetensors")
    return Kit(built.directory, folder / "by_torch.npz", numpy_python)


@pytest.mark.parametrize("name", MODELS)
def test_a_state_dict_is_the_one_that_torch_gives(kit: Kit, name: str) -> None:
    found = kit.run(
        f"""
model = weights_kit.models.{name}
before = called({name!r})
state = model.state_dict()
kinds = {{type(value).__name__ for value in state.values()}}
told = [sorted(kinds), same(state, part("old", {name!r}))]
for value in state.values():
    value[...] = 7  # which does not change the model
told += [same(called({name!r}), before), same(before, part("before", {name!r}))]
print(json.dumps([*told, "torch" in sys.modules]))
"""
    )
    assert found == [["ndarray"], True, True, True, False]


@pytest.mark.parametrize("source", ["arrays", "file", "buffers"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_loaded_is_what_torch_loads(kit: Kit, name: str, source: str) -> None:
    given = {
        "arrays": "new",
        "file": f"FILE.replace('by_torch.npz', '{name}.safetensors')",
        "buffers": "{key: memoryview(value) for key, value in new.items()}",
    }
    found = kit.run(
        f"""
model, new = weights_kit.models.{name}, part("new", {name!r})
first = model.load_state_dict({given[source]})
told = [list(first), same(called({name!r}), part("after", {name!r}))]
state = model.state_dict()
told += [same(state, {{key: new[key] for key in state}})]
old = part("old", {name!r})
model.load_state_dict(old)
told += [same(called({name!r}), part("before", {name!r})), same(model.state_dict(), old)]
print(json.dumps([*told, "torch" in sys.modules]))
"""
    )
    assert found == [[[], []], True, True, True, True, False]


def test_differences_are_merged(kit: Kit) -> None:
    found = kit.run(
        """
model = weights_kit.models.translator
old = model.state_dict()
generator = np.random.default_rng(0)
b, a = (generator.random(size, np.float32) for size in ((16, 2), (2, 16)))
rows = generator.random((100, 16), np.float32)
model.merge({"mix.weight": (b, a)}, 0.5)
model.merge({"mix.lora_A.weight": a, "mix.lora_B.weight": b, "output.weight": rows}, 0.5)
expected = {
    "embedding.weight": old["embedding.weight"] + rows * np.float32(0.5),
    "mix.weight": old["mix.weight"] + (b @ a) * np.float32(0.5) + (b @ a) * np.float32(0.5),
    "mix.bias": old["mix.bias"],
}
state = model.state_dict()
told = [same({key: state[key] for key in expected}, expected)]
told += [state["output.weight"] is state["embedding.weight"]]
weight, bias = (state[f"mix.{name}"] for name in ("weight", "bias"))
eager = state["embedding.weight"][x["tokens"]].mean(1) @ weight.T + bias
told += [np.allclose(model.encode(x["tokens"]), eager, rtol=1e-5, atol=1e-6)]
half = (weight * 0).astype(np.float16) + np.float16(1)
model.merge({"mix.weight": half})
told += [bool((model.state_dict()["mix.weight"] == weight + 1).all())]
print(json.dumps([*told, "torch" in sys.modules]))
"""
    )
    assert found == [True, True, True, True, False]


WRONG = {
    "{**new, 'head.bias': None}": "wrong: head.bias: is a NoneType, expected an array",
    "{**new, 'head.bias': [1.0] * 5}": "wrong: head.bias: is a list, expected an array",
    "{**new, 'head.bias': 'words'}": "wrong: head.bias: is a str, expected an array",
    "{**new, 'head.bias': np.ma.masked_less(new['head.bias'], 1)}": "wrong: head.bias: is a "
    "MaskedArray, expected an array",
    "{**new, 'head.bias': new['norm.bias']}": "wrong: head.bias: has shape (64,), expected (5,)",
    "{**new, 'head.bias': new['head.bias'].astype(float)}": "wrong: head.bias: has dtype float64, "
    'expected float32; convert it: .astype("float32")',
    "{**new, 'head.bias': np.array(['a'] * 5)}": "wrong: head.bias: has dtype str32, expected "
    'float32; convert it: .astype("float32")',
    "{**new, 'steps': new['steps'] + 0.5}": "wrong: steps: has dtype float64, expected int64",
    "{**new, 'more': new['head.bias']}": "unexpected: more",
    "{key: new[key] for key in new if key != 'scale'}": "missing: scale",
}


def test_what_does_not_fit_is_told_and_nothing_is_loaded(kit: Kit) -> None:
    told = kit.run(
        f"""
model, new = weights_kit.models.classifier, part("new", "classifier")
told = [refused(model.load_state_dict, given) for given in [{", ".join(WRONG)}]]
same_as_before = same(called("classifier"), part("before", "classifier"))
print(json.dumps([same_as_before, told]))
"""
    )
    assert told[0]
    for said, expected in zip(told[1], WRONG.values(), strict=True):
        assert said.startswith("StateDictError: the given dict does not fit classifier:\n")
        assert f"  {expected}" in said.splitlines()[1]


def test_other_sources_are_told(kit: Kit, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "net.pt")
    (tmp_path / "short.safetensors").write_bytes(b"\xff" * 20)
    told = kit.run(
        f"""
model = weights_kit.models.translator
sources = ["net.pt", "no.pt", "no.safetensors", "short.safetensors"]
told = [refused(model.load_state_dict, {str(tmp_path)!r} + "/" + name) for name in sources]
told += [refused(model.load_state_dict, [1])]
told += [refused(model.merge, {{"mix.weight": [1.0]}})]
told += [refused(model.merge, {{"mix.weight": (np.ones((16, 2)), np.ones((3, 16)))}})]
told += [refused(model.merge, {{"mix.weight": np.ones((16, 2))}})]
print(json.dumps(told))
"""
    )
    assert told[0] == (
        f"StateDictError: {tmp_path}/net.pt: is no .safetensors file, and any other is read by "
        "torch, which is not installed: pip install torch, or save the state dict by safetensors"
    )
    for line, expected in zip(
        told[1:],
        [
            "no.pt: cannot be read (No such file or directory)",
            "no.safetensors: cannot be read (No such file or directory)",
            "truncated, or not a safetensors file",
            "TypeError: expected a state dict or the path of a file, got list",
            "mix.weight: expected an array, or a pair (B, A) of arrays",
            "mix.weight: matmul: Input operand 1 has a mismatch",
            "mix.weight: has shape (16, 2), expected (16, 16)",
        ],
        strict=True,
    ):
        assert expected in line


def test_differences_of_other_kinds_are_told_and_nothing_is_changed(kit: Kit) -> None:
    told = kit.run(
        """
import warnings
warnings.simplefilter("error")
model, x16 = weights_kit.models.translator, np.ones((16, 16), np.float32)
old = model.state_dict()
kinds = (x16.astype(str), x16.astype(object), x16 * 1j, x16.astype("M8[s]"), (x16 * 1j, x16))
told = [refused(model.merge, {"output.weight": old["output.weight"], "mix.weight": kind})
        for kind in kinds]
told += [refused(model.merge, {1: x16}), refused(model.load_state_dict, {**old, None: x16})]
told += [refused(model.merge, {"mix.weight": x16}, scale) for scale in (1j, np.ones(2), np.nan)]
print(json.dumps([same(model.state_dict(), old), told]))
"""
    )
    cannot = (
        "StateDictError: the given dict cannot be merged into translator:\n  wrong: mix.weight:"
    )
    misfit = "StateDictError: the given dict does not fit translator:\n  wrong:"
    dtypes = ("str1024", "object", "complex64", "datetime64[s]", "complex64")
    assert told == [
        True,
        [
            *(f"{cannot} has dtype {dtype}, expected real numbers" for dtype in dtypes),
            f"{misfit} 1: is a key of type int, expected a name, a str",
            f"{misfit} None: is a key of type NoneType, expected a name, a str",
            "TypeError: merge(): scale must be a real number, got complex",
            "TypeError: merge(): scale must be a real number, got ndarray",
            "ValueError: merge(): scale must be a finite number, got nan",
        ],
    ]


def test_arrays_may_lie_in_any_way(kit: Kit) -> None:
    """In the other byte order, with gaps, reversed, read-only, or as numbers of another type."""
    found = kit.run(
        """
model, new = weights_kit.models.classifier, part("new", "classifier")
given = dict(new)
given["head.weight"] = np.asfortranarray(new["head.weight"])[::-1].copy(order="A")[::-1]
given["head.bias"] = new["head.bias"].astype(">f4")
given["norm.weight"] = np.repeat(new["norm.weight"], 2)[::2]
given["norm.bias"] = np.frombuffer(new["norm.bias"].tobytes(), np.float32)
given["scale"] = np.float32(new["scale"])
given["steps"] = new["steps"].astype(np.int32)
model.load_state_dict({f"module.{key}": value for key, value in given.items()})
print(json.dumps(same(called("classifier"), part("after", "classifier"))))
"""
    )
    assert found is True


def test_threads_see_one_state_or_the_other_and_memory_stays(kit: Kit) -> None:
    wrong, calls, grown = kit.run(
        """
import threading
model = weights_kit.models.classifier
states = [part(word, "classifier") for word in ("old", "new")]
allowed = [part(word, "classifier")[""].tobytes() for word in ("before", "after")]
done, wrong, calls = threading.Event(), [], [0] * 3

def call(i):
    while not done.is_set():
        calls[i] += 1
        if model(x["rows"]).tobytes() not in allowed:
            wrong.append(i)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4

threads = [threading.Thread(target=call, args=(i,)) for i in range(3)]
for thread in threads:
    thread.start()
for i in range(400):
    model.load_state_dict(states[i % 2])
    before = resident() if i == 100 else before if i else 0
done.set()
for thread in threads:
    thread.join()
print(json.dumps([len(wrong), min(calls), resident() - before]))
"""
    )
    assert not wrong
    assert calls
    assert grown < 2000  # kB; the state has 28 kB


def test_a_pool_that_is_made_later_has_what_was_loaded(kit: Kit) -> None:
    found = kit.run(
        """
model, new = weights_kit.models.classifier, part("new", "classifier")
part_of_it = {"head.bias": new["head.bias"]}
missing, _ = model.load_state_dict(part_of_it, strict=False)
pool = model.pool(2)
told = [len(missing) == len(model.state_dict()) - 1]
told += [same({"": pool(x["rows"])}, called("classifier"))]
pool.load_state_dict(new)
told += [pool(x["rows"]).tobytes() == part("after", "classifier")[""].tobytes()]
told += [same(called("classifier"), part("after", "classifier"))]
print(json.dumps(told))
"""
    )
    assert found == [True] * 4


def test_torch_may_be_imported_later(kit: Kit) -> None:
    """Then state dicts are of its tensors; what was loaded before is where it was."""
    found = kit.run(
        """
model = weights_kit.models.translator
old, new = part("old", "translator"), part("new", "translator")
model.load_state_dict(new)
(held,) = {id(h.handed) for p, h in model._state._own.items() if p[0] == "mix.bias"}
told = ["torch" in sys.modules]
import torch
state = model.state_dict()
told += [type(state["mix.bias"]) is torch.Tensor]
told += [same({key: value.numpy() for key, value in state.items()}, new)]
told += [same(called("translator"), part("after", "translator"))]
mixed = {key: torch.from_numpy(old[key]) if "mix" in key else old[key] for key in old}
model.load_state_dict(mixed)
told += [same(called("translator"), part("before", "translator"))]
told += [{id(h.handed) for p, h in model._state._own.items() if p[0] == "mix.bias"} == {held}]
told += [refused(model.load_state_dict, {**new, "mix.bias": new["mix.bias"].astype(float)})]
print(json.dumps(told))
""",
        Path(sys.executable),
    )
    assert found[:-1] == [False, True, True, True, True, True]
    assert 'has dtype float64, expected float32; convert it: .astype("float32")' in found[-1]


def test_without_numpy_it_is_told(kit: Kit, bare_python: Path) -> None:
    code = """
import json
from weights_kit.models import classifier
told = []
model = classifier
for call in (model.state_dict, lambda: model.load_state_dict({}), lambda: model.merge({})):
    try:
        call()
    except ValueError as error:
        told.append(f"{type(error).__name__}: {error}")
print(json.dumps(told))
"""
    told = (
        "StateDictError: classifier: its state dict is one of numpy's arrays, and numpy is not "
        "installed: pip install numpy"
    )
    assert run_plain(bare_python, kit.site, code) == [told] * 3


def test_bfloat16_needs_ml_dtypes(installed: Callable[..., Installed], numpy_python: Path) -> None:
    code = """
import json
import numpy as np
from alone.models import short
told = []
for call in (short.state_dict, lambda: short.merge({"scale": np.ones(8, np.float32)})):
    try:
        call()
    except ValueError as error:
        told.append(f"{type(error).__name__}: {error}")
print(json.dumps(told))
"""
    told = "StateDictError: numpy has bfloat16 by ml_dtypes: pip install ml_dtypes"
    assert run_plain(numpy_python, installed("alone").directory, code) == [told] * 2
