"""What a source can be: methods, a function, a module of a library, a saved program, variadics."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from wheels import PACKAGES, Installed

SETUP = """
import copy, inspect, json, pickle, torch
from pathlib import Path
import sources.models as models
from sources import modules
from sources.models import codec, linear, normalize, saved, scorer, variadic

generator = torch.Generator().manual_seed(3)
rand = lambda *shape: torch.randn(shape, generator=generator)

def weights(file, prefix=""):
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name.startswith(prefix) and name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = torch.frombuffer(data[start + begin : start + end], dtype=torch.float32)
            found[name.removeprefix(prefix)] = flat.reshape(entry["shape"])
    return found

stored = Path(models.__file__).parent / "weights.safetensors"

def same(model, eager, *args, **kwargs):
    with torch.no_grad():
        expected = eager(*args, **kwargs)
    torch.testing.assert_close(model(*args, **kwargs), expected, rtol=1e-4, atol=1e-5)
"""


@pytest.fixture(scope="module")
def sources(installed: Callable[[str], Installed]) -> Installed:
    return installed("sources")


def test_methods_come_from_one_instance(sources: Installed) -> None:
    # The module is not seeded: the eager one is that of the wheel's weights.
    sources.run(
        SETUP
        + "eager = modules.Codec().eval()\neager.load_state_dict(weights(stored, 'codec.'))\n"
        + "for batch in (1, 2, 15, 31, 32):\n    same(codec.encode, eager.encode, rand(batch, 8))\n"
        + "    for steps in (1, 2, 5, 9, 10):\n"
        + "        same(codec.decode, eager.decode, rand(batch, steps, 4))\n"
        + "        same(codec.decode, eager.decode, z=rand(batch, steps, 4))\nprint(1)"
    )


def test_a_method_beside_forward(sources: Installed) -> None:
    sources.run(
        SETUP
        + "eager = modules.Scorer().eval()\nfor batch in (1, 2, 15, 31, 32):\n"
        + "    same(scorer, eager, rand(batch, 8))\n"
        + "    same(scorer.features, eager.features, rand(batch, 8))\nprint(1)"
    )


def test_methods_share_their_weights_in_the_file(sources: Installed) -> None:
    # Parameters are there however few elements they have.
    assert set(sources.stored) == {
        "codec.table.weight",
        "scorer.cpu-x86-64-v3.computed:layers_0_weight_packed",
        "scorer.layers.0.bias",
        "scorer.head.weight",
        "scorer.head.bias",
        "linear.weight",
        "linear.bias",
        "saved.linear.weight",
        "saved.linear.bias",
    }
    offsets = [
        next(
            constant["offset"]
            for constant in sources.manifest(f"codec/{method}")["variants"][0]["constants"]
            if constant["fqn"] == "table.weight"
        )
        for method in ("encode", "decode")
    ]
    assert offsets[0] == offsets[1]


def test_a_function_and_a_module_of_a_library(sources: Installed) -> None:
    shutil.copy(PACKAGES / "sources" / "bilinear.safetensors", sources.directory.parent)
    sources.run(
        SETUP
        + "for rows in (1, 2, 50, 99, 100):\n"
        + "    same(normalize, modules.normalize, rand(rows, 5), eps=0.1)\n"
        + "    x = rand(rows, 5)\n"
        + "    torch.testing.assert_close(normalize(x), modules.normalize(x, 0.1))\n"
        + "eager = torch.nn.Bilinear(3, 4, 2)\n"
        + "eager.load_state_dict(weights(Path('bilinear.safetensors')))\n"
        + "for batch in (1, 2, 15, 31, 32):\n"
        + "    same(linear, eager, rand(batch, 3), rand(batch, 4))\n"
        + "    same(linear, eager, input2=rand(batch, 4), input1=rand(batch, 3))\nprint(1)"
    )


def test_the_weights_file_of_a_library_module_is_taken(sources: Installed) -> None:
    from safetensors.torch import load, load_file

    given = load_file(PACKAGES / "sources" / "bilinear.safetensors")
    stored = load(sources.files["sources/models/weights.safetensors"])
    assert given["weight"].equal(stored["linear.weight"])


def test_a_saved_program_gives_what_it_gave(sources: Installed) -> None:
    shutil.copy(PACKAGES / "sources" / "saved.pt2", sources.directory.parent)
    sources.run(
        SETUP
        + "eager = torch.export.load('saved.pt2').module()\n"
        + "for batch in (1, 2, 9, 15, 16):\n"
        + "    x, pair = rand(batch, 6), (rand(3), rand(batch, 5))\n"
        + "    same(saved, eager, x, pair, gain=2.0)\n"
        + "    torch.testing.assert_close(saved(x, pair), saved(pair=list(pair), x=x))\nprint(1)"
    )


def test_variadic_arguments(sources: Installed) -> None:
    sources.run(
        SETUP
        + "eager = modules.Variadic().eval()\nfor batch in (1, 2, 15, 31, 32):\n"
        + "    three = [rand(batch, 3) for _ in range(3)]\n"
        + "    extra = {'bias': rand(3), 'shift': rand()}\n"
        + "    same(variadic, eager, *three, scale=2, **extra)\n"
        + "    extra = dict(reversed(extra.items()))\n"
        + "    torch.testing.assert_close(variadic(*three, **extra), "
        + "eager(*three, scale=2, **extra))\nprint(1)"
    )


WRONG = [
    (
        "codec(rand(2, 8))",
        "TypeError",
        "codec() is not compiled; its methods are: codec.encode(), codec.decode()",
    ),
    ("codec()", "TypeError", "codec() is not compiled"),
    ("codec.forward(rand(2, 8))", "AttributeError", "forward"),
    ("codec.encode()", "TypeError", "codec.encode() is missing required argument 'x'"),
    ("codec.encode(z=rand(2, 8))", "TypeError", "codec.encode() has no argument 'z'"),
    ("codec.encode(rand(33, 8))", "ValueError", "codec.encode(): argument 'x' has shape (33, 8)"),
    ("codec.decode(rand(2, 11, 4))", "ValueError", "steps is 11, the compiled model takes 1 to 10"),
    ("scorer.features(rand(2, 9))", "ValueError", "scorer.features(): argument 'x'"),
    ("normalize(rand(2, 5), 1e-5)", "ValueError", "'eps' is always 0.1 in the compiled model"),
    ("linear(rand(2, 3), rand(3, 4))", "ValueError", "batch is 3, but 2 in 'input1'"),
    ("saved(rand(2, 6), (rand(3), rand(3, 5)))", "ValueError", "but 2 in 'x'"),
    (
        "saved(rand(17, 6), (rand(3), rand(17, 5)))",
        "ValueError",
        "model takes 1 to 16",
    ),
    ("saved(rand(2, 6), (rand(3),))", "TypeError", "'pair' must be a tuple of 2, got tuple of 1"),
    ("saved(rand(2, 6), (rand(3), rand(2, 5)), gain=3.0)", "ValueError", "'gain' is always 2.0"),
    ("variadic(x, x, bias=b, shift=s)", "TypeError", "'rest' must be a tuple of 2, got tuple of 1"),
    ("variadic(x, x, x, x, bias=b, shift=s)", "TypeError", "got tuple of 3"),
    ("variadic(x, x, x, bias=b)", "TypeError", "a dict with the keys 'bias', 'shift'"),
    ("variadic(x, x, x, bias=b, shift=s, more=s)", "TypeError", "the keys 'bias', 'shift', 'more'"),
    ("variadic(x, x, x, bias=b, shift=s, scale=1)", "ValueError", "'scale' is always 2"),
    ("variadic(x, x, rand(3, 3), bias=b, shift=s)", "ValueError", "batch is 3, but 2 in 'x'"),
    ("variadic(bias=b, shift=s)", "TypeError", "is missing required argument 'x'"),
    ("variadic(x=x, bias=b, shift=s)", "TypeError", "'x'"),
]


def test_wrong_calls_name_the_method_and_the_argument(sources: Installed) -> None:
    sources.refuses(f"{SETUP}\nx, b, s = rand(2, 3), rand(3), rand()", WRONG)


def test_models_and_methods_are_pickled_by_their_import_path(sources: Installed) -> None:
    sources.run(
        SETUP
        + "for one in (codec, codec.encode, codec.decode, scorer, scorer.features, normalize):\n"
        + "    assert pickle.loads(pickle.dumps(one)) is one, one\n"
        + "    assert copy.deepcopy(one) is one, one\nprint(1)"
    )


def test_signatures_and_the_stub_show_the_methods(sources: Installed) -> None:
    encode, decode, features, named, given = sources.run(
        SETUP
        + "each = [codec.encode, codec.decode, scorer.features, normalize, variadic]\n"
        + "print(json.dumps([str(inspect.signature(one)) for one in each]))"
    )
    assert "(x: 'Tensor', *, out: object = None)" in encode
    assert "(z: 'Tensor', *, out: object = None)" in decode
    assert "(x: 'Tensor', *, out: object = None)" in features
    assert "eps: float = 0.1" in named
    assert "x: 'Tensor', /, *rest" in given
    assert "scale: int = 2, out: object = None, **extra" in given
    stub = sources.files["sources/models/__init__.pyi"].decode()
    assert "    encode: CodecEncode" in stub
    call = "(CompiledModel):\n    @overload\n    def __call__"
    array = "ArrayOrBuffer, *, out: object = None) ->"
    assert f"class CodecDecode{call}(self, z: {array} Any: ..." in stub
    assert f"class ScorerFeatures{call}(self, x: {array} " in stub
    assert "    def __call__(self, z: Tensor, *, out: object = None) -> Tensor:" in stub
    assert "    def __call__(self, z: Array, *, out: object = None) -> Any: ..." in stub
    assert "float32 tensor of shape (batch, steps, 4)" in stub
    encode, decode = _shown("encode", "batch, 8"), _shown("decode", "batch, steps, 4")
    assert sources.run(SETUP + "print(json.dumps([repr(codec), str(codec.device)]))") == [
        f"<compiled methods of codec: {encode}, {decode}>",
        "cpu",
    ]


def _shown(method: str, shape: str) -> str:
    name = {"encode": "x", "decode": "z"}[method]
    return f"<compiled model codec.{method}({name}: float32[{shape}]) for cpu-x86-64-v3>"


def test_no_file_holds_a_path_of_the_build(sources: Installed) -> None:
    root = str(PACKAGES.parents[1]).encode()
    assert [name for name, data in sources.files.items() if root in data] == []
