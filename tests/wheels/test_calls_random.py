"""Random shapes, layouts, dtypes and values: the eager result, or an error that names an argument.

Whether a call is right is decided by the declaration alone: the model has to accept exactly those.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import forked
from test_calls import SAME, SOURCES
from wheels import KINDS, Installed, of_kind

EXAMPLES = 50

# Each example is told before it runs: the last line is what a crash happened in.
HARNESS = """
import json, math, pathlib, warnings
import torch
from hypothesis import HealthCheck, given, note, settings, strategies as st
from calls import modules
import calls.models

warnings.simplefilter("ignore")
torch.set_num_threads(1)
compiled, module = getattr(calls.models, {model!r}), modules.{source}().eval()
directory = pathlib.Path(calls.models.__file__).parent
manifest = json.loads((directory / {model!r} / "model.json").read_text())
inputs, dims = manifest["inputs"], manifest["dims"]
OTHERS = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool", "complex64"]
SPECIAL = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-40, 1.0]

{same}

@st.composite
def layouts(draw, rank):
    '''How a tensor lies in memory: order, steps, what is cut off before, dimensions of stride 0.'''
    if draw(st.booleans()):
        return dict(order=list(range(rank)), steps=[1] * rank, cut=[0] * rank, flat=[], offset=0)
    small = lambda high: st.lists(st.integers(0, high), min_size=rank, max_size=rank)
    return dict(
        order=draw(st.permutations(range(rank))),
        steps=[1 + step for step in draw(small(2))],
        cut=draw(small(2)),
        flat=[dim for dim in range(rank) if draw(st.integers(0, 5)) == 5],
        offset=draw(st.integers(0, 3)),
    )

@st.composite
def examples(draw):
    '''For each input a shape, a dtype and a layout; most fit the declaration.'''
    sizes = {{}}
    for name, dim in dims.items():
        top = dim["max"] + 1
        sizes[name] = draw(st.integers(max(dim["min"] - 1, 0), top) if draw(st.booleans())
                           else st.sampled_from([dim["min"], top - 1]))
    told = []
    wrong = draw(st.sampled_from([None] * 6 + ["size", "rank", "dtype"]))
    victim = draw(st.integers(0, len(inputs) - 1))
    for i, spec in enumerate(inputs):
        shape = [sizes.get(size, size) for size in spec["shape"]]
        dtype = spec["dtype"]
        if i == victim and wrong == "size" and shape:
            shape[draw(st.integers(0, len(shape) - 1))] = draw(st.integers(0, 12))
        if i == victim and wrong == "rank":
            more = [draw(st.integers(0, 2)), *shape]
            shape = shape[1:] if shape and draw(st.booleans()) else more
        if i == victim and wrong == "dtype":
            dtype = draw(st.sampled_from(OTHERS))
        values = draw(st.sampled_from(["normal", "normal", "special"]))
        told.append(dict(shape=shape, dtype=dtype, layout=draw(layouts(len(shape))),
                         seed=draw(st.integers(0, 99)), values=values))
    return told

def filled(count, dtype, seed, values):
    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, dtype)
    if {model!r} == "lookup" or dtype is torch.bool:  # the indices of the table
        return torch.randint(0, 10, (count,), generator=generator).to(dtype)
    if not dtype.is_floating_point and not dtype.is_complex:
        limits = torch.iinfo(dtype)
        return torch.randint(limits.min, limits.max, (count,), dtype=dtype, generator=generator)
    if values == "special" and not dtype.is_complex:
        chosen = torch.randint(0, len(SPECIAL), (count,), generator=generator)
        return torch.tensor(SPECIAL, dtype=torch.float64)[chosen].to(dtype)
    exact = dtype if dtype.is_complex else torch.float32
    return torch.randn(count, dtype=exact, generator=generator).to(dtype)

def made(told):
    shape, layout = told["shape"], told["layout"]
    rank = len(shape)
    whole = [1 if dim in layout["flat"] else size * layout["steps"][dim] + layout["cut"][dim]
             for dim, size in enumerate(shape)]
    memory = [whole[dim] for dim in layout["order"]]
    flat = filled(math.prod(memory) + layout["offset"], told["dtype"], told["seed"], told["values"])
    tensor = flat[layout["offset"] :].view(memory)
    tensor = tensor.permute([layout["order"].index(dim) for dim in range(rank)])
    for dim in range(rank):
        if dim not in layout["flat"]:
            tensor = tensor.narrow(dim, layout["cut"][dim], whole[dim] - layout["cut"][dim])
            index = [slice(None)] * rank
            index[dim] = slice(0, None, layout["steps"][dim])
            tensor = tensor[tuple(index)]
    tensor = tensor.expand(shape)
    assert list(tensor.shape) == shape
    return tensor

def nested(tree, tensors):
    if tree["type"] == "tensor":
        return tensors[tree["index"]]
    if tree["type"] == "constant":
        return tree["value"]
    items = [nested(item, tensors) for item in tree["items"]]
    if tree["type"] == "dict":
        return dict(zip(tree["keys"], items))
    return items if tree["type"] == "list" else tuple(items)

def fits(told):
    '''Whether the declaration admits these shapes and dtypes.'''
    sizes = {{}}
    for spec, one in zip(inputs, told):
        if one["dtype"] != spec["dtype"] or len(one["shape"]) != len(spec["shape"]):
            return False
        for want, size in zip(spec["shape"], one["shape"]):
            if sizes.setdefault(want, size) != size or (isinstance(want, int) and size != want):
                return False
    return all(dim["min"] <= sizes[name] <= dim["max"] for name, dim in dims.items())

counts = dict(accepted=0, refused=0)

@settings(max_examples={examples}, derandomize=True, deadline=None, database=None,
          suppress_health_check=list(HealthCheck))
@given(examples())
def check(told):
    print(json.dumps(told), flush=True)
    arguments = nested(manifest["in_spec"], [made(one) for one in told])
    if fits(told):
        counts["accepted"] += 1
        with torch.no_grad():
            expected = module(**nested(manifest["in_spec"], [made(one) for one in told]))
        same(compiled(**arguments), expected)
        same(arguments, nested(manifest["in_spec"], [made(one) for one in told]))
        return
    counts["refused"] += 1
    try:
        compiled(**arguments)
    except (TypeError, ValueError) as error:
        assert any(f"argument {{spec['name']!r}}" in str(error) for spec in inputs), error
    else:
        raise AssertionError("a wrong call is accepted")

check()
print(json.dumps(counts))
"""

MODELS = [
    "fixed",
    "dense",
    "paired",
    "conv",
    "lookup",
    "nested",
    "constants",
    "scalars",
    "waves",
    "aliases",
    "counted",
    "kinds",
]


@pytest.fixture(scope="module", params=KINDS)
def calls(installed: Callable[[str], Installed], request: pytest.FixtureRequest) -> Installed:
    return of_kind(installed, "calls", request.param)


@pytest.mark.parametrize("model", MODELS)
def test_a_random_call_is_right_or_told(calls: Installed, model: str) -> None:
    code = HARNESS.format(
        model=model,
        source=SOURCES.get(model, model.capitalize()),
        same=SAME,
        examples=EXAMPLES,
    )
    # Hypothesis is not in the clean environment.
    status, output = forked(
        Path(sys.executable), calls.directory, code, calls.engine, ("numpy", "hypothesis")
    )
    assert status == 0, output[-5000:]
    counts = json.loads(output.splitlines()[-1])
    assert counts["accepted"] >= EXAMPLES // 6
    assert counts["refused"] >= EXAMPLES // 20
