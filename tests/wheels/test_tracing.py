"""Compiled models in torch.compile and torch.export, and what they tell of themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from wheels import ENGINES, Installed

SETUP = """
import json, sys, torch
from calls.models import aliases, constants, counted, dense, lookup, nested, normed, paired
torch.manual_seed(0)
x, b = torch.randn(3, 6), torch.randn(2, 4)
state = {"a": torch.randn(2, 4), "b": {"c": torch.randn(2, 4).double()}}
pair = [torch.randn(2), torch.tensor([True, False])]
"""

CASES = {
    "one input": ("lambda x: dense(x * 2) + 1", "x"),
    "a module": ("torch.nn.Sequential(dense.module(), torch.nn.ReLU())", "x"),
    "a pool": ("dense.pool(2)", "x"),
    "keywords": ("lambda a, b: paired(b=b, a=a)", "torch.randn(5, 4), torch.randn(3, 5)"),
    "nested": ("lambda s, p: nested(s, pair=p)", "state, pair"),
    "constants": ("lambda x: constants(x, True, scale=0.5)", "b"),
    "an input and its views": ("lambda x: aliases(x * 1)", "b"),
    "numbers of sizes": ("lambda x: counted(x)", "b"),
}


@pytest.fixture(scope="module")
def calls(installed: Callable[[str], Installed]) -> Installed:
    return installed("calls")


@pytest.mark.parametrize("engine", ENGINES)
def test_compiled_code_calls_models_without_a_break(calls: Installed, engine: str) -> None:
    code = SETUP + (
        f"cases = {list(CASES.values())!r}\n"
        "for code, values in cases:\n"
        "    torch._dynamo.reset()\n"
        "    function, args = eval(code), eval(f'({values},)')\n"
        "    found = torch.compile(function, fullgraph=True, backend='aot_eager')(*args)\n"
        "    torch.testing.assert_close(found, function(*args), rtol=0, atol=0)\n"
        "print(len(cases))"
    )
    assert dataclasses.replace(calls, engine=engine).run(code) == len(CASES)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_trace_of_torch_jit_would_keep_one_result_and_is_refused(
    calls: Installed, engine: str
) -> None:
    code = SETUP + (
        "said = []\n"
        "for function in (dense, dense.module(), lambda x: dense(x * 2)):\n"
        "    dense(x)\n"
        "    try:\n        torch.jit.trace(function, x, check_trace=False)\n"
        "    except TypeError as error:\n        said.append(str(error))\n"
        "dense(x)\n"
        "print(json.dumps(said))"
    )
    said = dataclasses.replace(calls, engine=engine).run(code)
    assert len(said) == 3
    assert all("argument 'x' is passed while torch.jit traces" in message for message in said)


def test_inductor_and_other_sizes(calls: Installed) -> None:
    code = SETUP + (
        "compiled = torch.compile(lambda x: dense(x * 2) + 1, fullgraph=True)\n"
        "for rows in (3, 5, 16):\n"
        "    x = torch.randn(rows, 6)\n"
        "    assert torch.equal(compiled(x), dense(x * 2) + 1)\n"
        "try:\n    compiled(torch.randn(17, 6))\n"
        "except ValueError as error:\n    print(json.dumps(str(error)))"
    )
    assert "batch is 17, the compiled model takes 1 to 16" in calls.run(code, {})


def test_an_exported_program_is_saved_and_loaded(calls: Installed) -> None:
    code = SETUP + (
        "class Around(torch.nn.Module):\n"
        "    def forward(self, x):\n        return dense(x) * 2\n"
        "batch = torch.export.Dim('batch', min=2, max=16)\n"
        "program = torch.export.export(Around(), (x,), dynamic_shapes=({0: batch},))\n"
        "torch.export.save(program, 'around.pt2')\n"
        "print(1)"
    )
    calls.run(code)
    code = (
        "import json, torch\nfrom calls.models import dense\n"
        "program = torch.export.load('around.pt2')\n"
        "x = torch.randn(7, 6)\n"
        "print(json.dumps(torch.equal(program.module()(x), dense(x) * 2)))"
    )
    assert calls.run(code) is True


@pytest.mark.parametrize("engine", ENGINES)
def test_an_index_out_of_bounds_prints_nothing(calls: Installed, engine: str) -> None:
    done = calls.attempt(
        SETUP + "try:\n    lookup(torch.full((2, 5), 99))\n"
        "except IndexError as error:\n    print(error)",
        {"AOTBUILD_ENGINE": engine},
    )
    assert done.stdout.startswith("lookup(): an index is outside of what it picks from.")
    assert done.stderr == ""


def test_a_small_model_keeps_what_was_folded(calls: Installed) -> None:
    code = SETUP + (
        "state = normed.state_dict()\n"
        "normed.load_state_dict({'norm.weight': state['norm.weight'] * 2}, strict=False)\n"
        "print(json.dumps(sorted(state)))"
    )
    assert calls.run(code) == [
        *("conv.bias", "conv.weight", "norm.bias", "norm.running_mean"),
        *("norm.running_var", "norm.weight"),
    ]


def test_a_model_tells_what_it_is_without_torch(calls: Installed) -> None:
    code = (
        "import json, pydoc, sys\nfrom calls.models import normed\n"
        "text = pydoc.plain(pydoc.render_doc(normed))\n"
        "call = pydoc.plain(pydoc.render_doc(normed.__call__))\n"
        "print(json.dumps([repr(normed.inputs), repr(normed.outputs), str(normed.dims['batch']),\n"
        "    text, call, 'torch' in sys.modules]))"
    )
    inputs, outputs, batch, text, call, torch_imported = calls.run(code, {})
    assert inputs == "{'image': float32[batch, 3, 8, 8]}"
    assert outputs == "float32[batch, 8, 6, 6]"
    assert batch == "1 to 8"
    flat = " ".join(text.split())
    assert "A convolution and a batch norm, which becomes a part of it. Give the features" in flat
    assert "image: float32 tensor of shape (batch, 3, 8, 8)" in flat
    assert "__call__(image: 'Tensor'" in call
    assert torch_imported is False


def test_pools_and_batched_models_are_pickled(calls: Installed) -> None:
    code = SETUP + (
        "import pickle\nfound = []\n"
        "for model in (dense.pool(2, 1), dense.batched(8), dense.pool(2).batched(4)):\n"
        "    again = pickle.loads(pickle.dumps(model))\n"
        "    found.append(torch.equal(again(x), dense(x)))\n"
        "print(json.dumps(found))"
    )
    assert calls.run(code) == [True, True, True]


def test_the_self_test_takes_the_time_of_one_thread(calls: Installed) -> None:
    done = calls.attempt("import runpy, sys\nrunpy.run_module('calls.models', run_name='__main__')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith("largest error  time (1 thread)")
