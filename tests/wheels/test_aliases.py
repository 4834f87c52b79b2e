"""Results that are one tensor, or views of one another, of inputs, and of constants."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import ENGINES, Installed

MODELS = {
    "computed": "modules.Computed",
    "given": "modules.Given",
    "constants": "modules.Constants",
    "nested": "modules.Nested",
    "repeated": "modules.Repeated",
}

SETUP = """
import gc, json, torch, itertools, threading
import numpy as np
import aliases.models
from aliases import modules
from torch.utils._pytree import tree_leaves, tree_map

generator = torch.Generator().manual_seed(1)

def inputs(batch=5):
    count = 2 if "{model}" == "given" else 1
    return [torch.randn(batch, 6, generator=generator) for _ in range(count)]

def leaves(result):
    return [leaf for leaf in tree_leaves(result) if leaf is not None]

def arrays(args):
    return [arg.numpy() for arg in args]

def bounds(leaf):
    if isinstance(leaf, torch.Tensor):
        leaf = leaf.detach().numpy()
    return leaf

def overlap(one, other):
    return np.shares_memory(bounds(one), bounds(other))

def equal(results, expected):
    assert len(results) == len(expected)
    for i, (result, tensor) in enumerate(zip(results, expected)):
        assert result.shape == tensor.shape, i
        np.testing.assert_allclose(bounds(result), bounds(tensor), rtol=1e-5, atol=1e-6)

def eager(args):
    with torch.no_grad():
        return leaves(module(*args))

module = {source}().eval()
model = aliases.models.{model}
nets = [model, model.pool(2)]
kinds = [list, arrays]
"""


@pytest.fixture(scope="module")
def aliases(installed: Callable[[str], Installed]) -> Installed:
    """The package, run in an environment that has numpy."""
    return dataclasses.replace(installed("aliases"), python=Path(sys.executable))


@pytest.fixture(params=[f"{engine}-{model}" for engine in ENGINES for model in MODELS])
def run(aliases: Installed, request: pytest.FixtureRequest) -> Callable[[str], object]:
    """Runs code with one of the models, by one of the engines."""
    engine, model = request.param.split("-")
    installed = dataclasses.replace(aliases, engine=engine)
    setup = SETUP.replace("{model}", model).replace("{source}", MODELS[model])
    return lambda code: installed.run(setup + code + "\nprint(1)\n")


def test_values_and_shared_memory_are_those_of_eager(run: Callable[[str], object]) -> None:
    run(
        """
for net, kind, batch in itertools.product(nets, kinds, (2, 5, 64)):
    args = inputs(batch)
    given = kind(args)
    expected, results = eager(args), leaves(net(*given))
    equal(results, expected)
    constant = "{model}" == "constants"
    for i, j in itertools.combinations(range(len(results)), 2):
        shared = overlap(expected[i], expected[j])
        assert shared or not overlap(results[i], results[j]), (i, j)
        assert constant or overlap(results[i], results[j]) or not shared, (i, j)
        if expected[i] is expected[j] and not constant:
            assert results[i] is results[j], (i, j)
    for i, j in itertools.product(range(len(results)), range(len(args))):
        assert overlap(results[i], given[j]) == overlap(expected[i], args[j]), (i, j)
""".replace('"{model}"', "type(module).__name__.lower()")
    )


def test_later_calls_leave_earlier_results_alone(run: Callable[[str], object]) -> None:
    run(
        """
for net, kind in itertools.product(nets, kinds):
    args = inputs()
    expected = [leaf.clone() for leaf in eager(args)]
    results = leaves(net(*kind(args)))
    for _ in range(3):
        net(*kind(inputs()))
    equal(results, expected)
"""
    )


def test_what_a_caller_writes_into_results_changes_no_later_call(
    run: Callable[[str], object],
) -> None:
    run(
        """
for net, kind in itertools.product(nets, kinds):
    for leaf in leaves(net(*kind(inputs()))):
        if leaf.ndim < 3:  # an expanded one cannot be written to
            leaf[...] = 7.0
    args = inputs()
    equal(leaves(net(*kind(args))), eager(args))
"""
    )


def test_a_view_keeps_what_it_is_a_view_of(run: Callable[[str], object]) -> None:
    run(
        """
for net, kind in itertools.product(nets, kinds):
    args = inputs(64)
    expected = [leaf.clone() for leaf in eager(args)]
    for i in range(len(expected)):
        result = leaves(net(*kind([arg.clone() for arg in args])))[i]
        gc.collect()
        noise = [torch.full((64, 6), 9.0) for _ in range(50)]
        equal([result], expected[i : i + 1])
"""
    )


def test_arguments_of_another_layout(run: Callable[[str], object]) -> None:
    run(
        """
for net, kind in itertools.product(nets, kinds):
    args = [torch.randn(6, 5, generator=generator).t() for _ in inputs()]
    equal(leaves(net(*kind(args))), eager([arg.contiguous() for arg in args]))
"""
    )


def test_results_are_written_where_a_caller_wants_them(run: Callable[[str], object]) -> None:
    run(
        """
for net, kind in itertools.product(nets, kinds):
    args = inputs()
    expected = [leaf.clone() for leaf in eager(args)]
    def place(leaf):
        if leaf is None:
            return None
        empty = torch.full(tuple(leaf.shape), 5.0)
        return empty if kind is list else empty.numpy()
    with torch.no_grad():
        out = tree_map(place, module(*args), is_leaf=lambda leaf: leaf is None)
    assert net(*kind(args), out=out) is out
    equal(leaves(out), expected)
    # An input may be among them, whose views are written, too.
    given = kind([arg.clone() for arg in args])
    targets = leaves(out)
    which = next((i for i, leaf in enumerate(expected) if leaf.shape == (5, 6)), None)
    if which is not None:
        swapped = iter([given[0] if i == which else leaf for i, leaf in enumerate(targets)])
        out = tree_map(lambda leaf: None if leaf is None else next(swapped), out,
                       is_leaf=lambda leaf: leaf is None)
        net(*given, out=out)
        equal(leaves(out), expected)
"""
    )


def test_inputs_that_require_gradients(run: Callable[[str], object]) -> None:
    run(
        """
for net in nets:
    args = [arg.requires_grad_() for arg in inputs()]
    for result, tensor in zip(leaves(net(*args)), eager(args)):
        assert result.requires_grad == (tensor.requires_grad and any(tensor is a for a in args))
"""
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_an_input_is_given_back_itself(aliases: Installed, engine: str) -> None:
    setup = SETUP.replace("{model}", "repeated").replace("{source}", "modules.Repeated")
    dataclasses.replace(aliases, engine=engine).run(
        setup
        + """
for net in nets:
    for x in (inputs()[0], inputs()[0].numpy()):
        _, one, other = net(x)
        assert one is x and other is x
print(1)
"""
    )


@pytest.mark.parametrize("model", ["nested", "repeated"])
@pytest.mark.parametrize("engine", ENGINES)
def test_shared_calls_give_each_request_memory_of_its_own(
    aliases: Installed, engine: str, model: str
) -> None:
    setup = SETUP.replace("{model}", model).replace("{source}", MODELS[model])
    dataclasses.replace(aliases, engine=engine).run(
        setup
        + """
found = {}
def ask(i):
    args = inputs(2)
    found[i] = (kind(args), leaves(batched(*kind(args))), eager(args))
for net, kind in itertools.product(nets, kinds):
    found.clear()
    with net.batched(16, max_wait_ms=50) as batched:
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert len(found) == 8
    for i, (args, results, expected) in found.items():
        equal(results, expected)
        for j in range(i):
            assert not any(overlap(a, b) for a in results for b in found[j][1])
print(1)
"""
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_replaced_weights_leave_earlier_results_alone(aliases: Installed, engine: str) -> None:
    setup = SETUP.replace("{model}", "constants").replace("{source}", "modules.Constants")
    dataclasses.replace(aliases, engine=engine).run(
        setup
        + """
args = inputs()
before = [leaf.clone() for leaf in eager(args)]
results = leaves(model(*args))
with torch.no_grad():
    module.weight += 1
model.load_state_dict(module.state_dict())
equal(results, before)
equal(leaves(model(*args)), eager(args))
print(1)
"""
    )
