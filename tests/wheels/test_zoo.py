"""Every way to take inputs and return outputs gives what the eager model gives, at every size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wheels import Installed, assert_refused, edited, keep_models, pip_wheel

# Runs in the clean environment; the wheel holds the modules' source beside the compiled models.
COMPARE = """
import json, torch
from collections import OrderedDict
from torch.utils import _pytree as pytree
import zoo.models as models
from zoo import modules

def same(name, *args, **kwargs):
    eager = {make}
    with torch.no_grad():
        expected = eager.eval()(*args, **kwargs)
    actual = getattr(models, name)(*args, **kwargs)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    return actual

generator = torch.Generator().manual_seed(3)
rand = lambda *shape: torch.randn(*shape, generator=generator)
{body}
"""


def compare(zoo: Installed, make: str, body: str) -> Any:
    return zoo.run(COMPARE.replace("{make}", make).replace("{body}", body))


@pytest.fixture(scope="module")
def zoo(installed: Callable[[str], Installed]) -> Installed:
    return installed("zoo")


def test_mixed_outputs_at_every_size(zoo: Installed) -> None:
    actual, expected = compare(
        zoo,
        "modules.Mixed()",
        """
actual, expected = [], []
for rows in (0, 1, 2, 3, 15, 16, 17, 100):
    x, mask = rand(rows, 8), rand(rows, 8)
    compiled = models.mixed(x, mask=mask)
    with torch.no_grad():
        eager = modules.Mixed().eval()(x, mask=mask)
    torch.testing.assert_close(compiled["y"], eager["y"])
    torch.testing.assert_close(compiled["nested"][1][0], eager["nested"][1][0])
    assert compiled["nested"][0] is x
    assert type(compiled["rows"]) is int
    keys = ["rows", "none", "text", "number"]
    actual.append([list(compiled), *(compiled[key] for key in keys)])
    expected.append([list(eager), *(eager[key] for key in keys)])
print(json.dumps([actual, expected]))
""",
    )
    assert actual == expected


def test_keyword_arguments_come_in_any_order(zoo: Installed) -> None:
    assert compare(
        zoo,
        "modules.Mixed()",
        "x, mask = rand(3, 8), rand(3, 8)\n"
        "a, b = models.mixed(mask=mask, x=x), models.mixed(x, mask=mask)\n"
        "print(json.dumps(torch.equal(a['y'], b['y'])))",
    )


def test_namedtuples_come_back_with_their_fields(zoo: Installed) -> None:
    fields = compare(
        zoo,
        "modules.Recurrent()",
        "for batch in (1, 2, 8):\n"
        "    ids = torch.randint(0, 10, (batch, 10))\n"
        "    out, state = models.recurrent(ids)\n"
        "    with torch.no_grad():\n        expected = modules.Recurrent().eval()(ids)\n"
        "    torch.testing.assert_close(out, expected[0])\n"
        "    torch.testing.assert_close(state.cell, expected[1].cell)\n"
        "print(json.dumps([state._fields, type(state).__name__]))",
    )
    assert fields == [["hidden", "cell"], "State"]


def test_a_recurrent_layer_takes_any_number_of_steps(zoo: Installed) -> None:
    body = "for n in (1, 2, 17, 50):\n    same('looped', rand(n % 8 + 1, n, 6))\nprint(1)"
    compare(zoo, "modules.Looped()", body)


def test_an_operator_without_a_c_shim_runs(zoo: Installed) -> None:
    body = "for n in (1, 2, 50):\n    same('spectrum', rand(n, 4, 4).double())\nprint(1)"
    compare(zoo, "modules.Spectrum()", body)


def test_two_dynamic_dimensions_are_independent(zoo: Installed) -> None:
    compare(
        zoo,
        "modules.Attention()",
        """
for batch, length in [(1, 1), (1, 64), (8, 1), (3, 17), (8, 64)]:
    ids = torch.randint(0, 20, (batch, length))
    hidden = torch.zeros(batch, length, dtype=torch.bool)
    hidden[:, 1:] = torch.rand(hidden[:, 1:].shape) > 0.5
    logits, rest = same("attention", ids, hidden)
    assert type(rest) is OrderedDict
print(1)
""",
    )


def test_an_instance_and_a_scalar_input(zoo: Installed) -> None:
    compare(
        zoo,
        "modules.scalar",
        "same('scaled', rand(3), torch.tensor(2.0))\nsame('scaled', rand(3), 2.0)\nprint(1)",
    )


def test_conv_keeps_its_range(zoo: Installed) -> None:
    assert "conv will accept" not in zoo.output
    body = "for n in (1, 2, 3, 15, 16, 17, 40, 64):\n    same('conv', rand(n, 3, 16, 16))\nprint(1)"
    compare(zoo, "modules.Conv()", body)


def test_a_factory_takes_its_arguments(zoo: Installed) -> None:
    compare(
        zoo,
        "modules.perceptron(5, outputs=7)",
        "assert same('perceptron', rand(4, 5)).shape == (4, 7)\nprint(1)",
    )


LAYOUTS = [
    "rand(3, 16, 16, 4).permute(3, 0, 1, 2)",
    "rand(4, 3, 16, 32)[..., ::2]",
    "rand(1, 3, 16, 16).expand(4, 3, 16, 16)",
    "rand(4, 3, 16, 16).to(memory_format=torch.channels_last)",
    "torch._neg_view(rand(4, 3, 16, 16))",
    "torch.nn.Parameter(rand(4, 3, 16, 16))",
    "rand(4, 3, 16, 16).requires_grad_()",
]


def test_any_layout_of_an_input_gives_the_eager_result(zoo: Installed) -> None:
    body = f"for value in {LAYOUTS!r}:\n    same('conv', eval(value))\nprint(1)"
    compare(zoo, "modules.Conv()", body)


def test_equal_weights_are_stored_once_and_aligned(zoo: Installed) -> None:
    manifest = json.loads(zoo.files["zoo/models/attention/model.json"])
    constants = manifest["variants"][0]["constants"]
    names = [constant["fqn"] for constant in constants]
    assert ("out.weight" in names) != ("embedding.weight" in names)  # tied: one constant
    assert all(constant["offset"] % 64 == 0 for constant in constants)


def test_a_silently_narrowed_range_is_reported_and_promised(zoo: Installed) -> None:
    assert "warning: pooled will accept 33 to 34 for samples, not 16 to 4000" in zoo.output
    assert "tool.aotbuild.models.pooled.dims.samples" in zoo.output
    told = compare(
        zoo,
        "modules.Pooled()",
        "same('pooled', rand(2, 1, 33))\nsame('pooled', rand(16, 1, 34))\n"
        "try:\n    models.pooled(rand(2, 1, 35))\n"
        "except ValueError as error:\n    print(json.dumps(str(error)))",
    )
    assert "'audio'" in told
    assert "samples is 35, the compiled model takes 33 to 34" in told
    stub = zoo.files["zoo/models/__init__.pyi"].decode()
    assert "samples: 33 to 34" in stub


def test_the_widest_of_the_examples_that_were_tried_is_compiled(zoo: Installed) -> None:
    # With the example that aotbuild chooses it would be 1 to 28.
    assert "warning: crossed will accept 29 to 1000 for rows, not 1 to 1000" in zoo.output
    assert zoo.manifest("crossed")["dims"]["rows"]["min"] == 29
    told = compare(
        zoo,
        "modules.Crossed()",
        "for rows in (29, 30, 514, 1000):\n    same('crossed', rand(rows, 1))\n"
        "try:\n    models.crossed(rand(28, 1))\n"
        "except ValueError as error:\n    print(json.dumps(str(error)))",
    )
    assert "rows is 28, the compiled model takes 29 to 1000" in told


def test_strict_dims_make_a_narrowed_range_an_error(project: Callable[[str], Path]) -> None:
    source = keep_models(project("zoo"), "crossed")
    edited(
        source,
        (
            'source = "zoo.modules:Crossed"\n',
            'source = "zoo.modules:Crossed"\nstrict-dims = true\n',
        ),
    )
    assert_refused(
        pip_wheel(source),
        "crossed will accept 29 to 1000 for rows, not 1 to 1000",
        "where: pyproject.toml: tool.aotbuild.models.crossed.dims.rows",
        "strict-dims = true makes this an error",
        "declare min = 29, max = 1000",
        "strict-dims = false",
    )


WRONG_CALLS = [
    ("conv()", "TypeError", "is missing required argument 'image'"),
    ("conv(x, x)", "TypeError", "1 too many"),
    ("conv(x, image=x)", "TypeError", "multiple values for argument 'image'"),
    ("conv(imge=x)", "TypeError", "no argument 'imge'"),
    ("conv(None)", "TypeError", "argument 'image' must be a torch.Tensor, got NoneType"),
    ("conv(x.tolist())", "TypeError", "argument 'image' must be a torch.Tensor, got list"),
    ("conv(x.double())", "TypeError", "argument 'image' must have dtype float32, got float64"),
    ("conv(x.to_sparse())", "TypeError", "argument 'image' must be a dense tensor"),
    ("conv(x.to('meta'))", "ValueError", "argument 'image' is on meta"),
    ("conv(x[0])", "ValueError", "argument 'image' must have 4 dimensions"),
    ("conv(x[:, :2])", "ValueError", "dimension 1 must be 3, not 2"),
    ("conv(x[:0])", "ValueError", "batch is 0, the compiled model takes 1 to 64"),
    ("conv(x.repeat(40, 1, 1, 1))", "ValueError", "batch is 80, the compiled model takes 1 to 64"),
    ("mixed(rand(3, 8), rand(3, 8))", "TypeError", "1 too many"),
    ("mixed(rand(3, 8), mask=rand(4, 8))", "ValueError", "rows is 4, but 3 in 'x'"),
    ("mixed(rand(3, 8))", "TypeError", "is missing required argument 'mask'"),
    ("mixed(rand(3, 8), mask=rand(3, 8), bias=None)", "TypeError", "no argument 'bias'"),
    ("scaled(rand(3), rand(1))", "ValueError", "argument 't' must have 0 dimensions"),
    ("scaled(rand(3), 2j)", "TypeError", "'t' must be a torch.Tensor or a float, got complex"),
    ("recurrent(rand(2, 10))", "TypeError", "argument 'ids' must have dtype int64, got float32"),
]


def test_wrong_calls_name_the_argument(zoo: Installed) -> None:
    calls = [call for call, _, _ in WRONG_CALLS]
    results = compare(
        zoo,
        "None",
        "x, said = rand(2, 3, 16, 16), []\n"
        f"for call in {calls!r}:\n"
        "    try:\n        eval('models.' + call)\n        said.append(['no error', ''])\n"
        "    except Exception as error:\n"
        "        said.append([type(error).__name__, str(error)])\n"
        "print(json.dumps(said))",
    )
    for (call, kind, message), (got, said) in zip(WRONG_CALLS, results, strict=True):
        assert got == kind, (call, got, said)
        assert message in said, (call, said)


def test_the_model_is_pickled_by_its_import_path(zoo: Installed) -> None:
    assert zoo.run(
        "import json, pickle, copy\nfrom zoo.models import conv\n"
        "same = pickle.loads(pickle.dumps(conv)) is conv and copy.deepcopy(conv) is conv\n"
        "print(json.dumps(same))"
    )


def test_a_cpu_without_avx2_is_refused_before_the_library_is_opened(zoo: Installed) -> None:
    said = zoo.run(
        "import json\n"
        "from zoo.models._runtime import engines\n"
        "features = {**engines.cpu_features(), 'avx2': False}\n"
        "engines.cpu_features = lambda: features\n"
        "try:\n    from zoo.models import conv\n"
        "except ImportError as error:\n"
        "    maps = open('/proc/self/maps').read()\n"
        "    print(json.dumps([str(error), 'cpu-x86-64-v3.so' in maps]))"
    )
    assert "this CPU lacks avx2" in said[0]
    assert "cpu-x86-64-v3" in said[0]
    assert said[1] is False


def test_aotbuild_device_chooses_or_is_refused(zoo: Installed) -> None:
    code = (
        "import json\ntry:\n    from zoo.models import conv\n"
        "    print(json.dumps(str(conv.device)))\n"
        "except ImportError as error:\n    print(json.dumps(str(error)))"
    )
    assert zoo.run(code, {"AOTBUILD_DEVICE": "cpu"}) == "cpu"
    assert "was compiled for cpu" in zoo.run(code, {"AOTBUILD_DEVICE": "cuda"})
