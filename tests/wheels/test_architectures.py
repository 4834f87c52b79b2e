"""Well-known architectures, most of them of transformers, give what they give in eager mode."""

from __future__ import annotations

import importlib
import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from wheels import PACKAGES, Installed, lstm

pytest.importorskip("transformers")
# Newer versions of transformers rename parameters; the older names go on working.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PROJECT = PACKAGES / "architectures"
TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["aotbuild"]["models"]
CALLS: dict[str, dict[str, Any]] = {
    f"{name}.{method}" if method else name: {**model, **call}
    for name, model in TABLE.items()
    for method, call in model.get("methods", {"": {}}).items()
}
"""How each model, or each of its methods, is declared."""

SIZES: dict[str, list[dict[str, int]]] = {
    "bert": [
        {"batch": batch, "length": length}
        for batch, length in [(1, 1), (1, 128), (16, 1), (3, 17), (16, 128)]
    ],
    "vit": [{"batch": batch} for batch in (1, 2, 5, 17, 32)],
    "resnet": [
        {"batch": batch, "height": height, "width": width}
        for batch, height, width in [
            (1, 32, 32),
            (1, 96, 33),
            (2, 65, 96),
            (17, 40, 64),
            (32, 96, 96),
        ]
    ],
    "mobilenet": [{"batch": batch} for batch in (1, 2, 5, 17, 32)],
    "whisper": [{"batch": batch} for batch in (1, 2, 3, 5, 8)],
    "t5.encode": [
        {"batch": batch, "source": source}
        for batch, source in [(1, 1), (1, 64), (8, 1), (3, 17), (8, 64)]
    ],
    "t5.decode": [
        {"batch": batch, "source": source, "past": past}
        for batch, source, past in [(1, 1, 1), (1, 64, 63), (8, 1, 2), (3, 17, 5), (8, 64, 63)]
    ],
    "llama": [
        {"batch": batch, "new": new, "past": past}
        for batch, new, past in [(1, 1, 0), (1, 32, 0), (8, 1, 96), (3, 5, 7), (8, 32, 96)]
    ],
    "lstm": [
        {"batch": batch, "steps": steps}
        for batch, steps in [(1, 1), (1, 100), (16, 1), (3, 17), (16, 100)]
    ],
    "audio": [
        {"batch": batch, "samples": samples}
        for batch, samples in [(1, 35), (8, 36), (2, 1000), (3, 4001), (8, 16000)]
    ],
    "recommender": [{"batch": batch} for batch in (1, 2, 17, 100, 256)],
}
"""Both ends of every range among them."""

COMPARE = """
import json, sys, torch
from architectures.models import {model}

assert "transformers" not in sys.modules

def same(actual, expected):
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=2e-5)
    elif isinstance(expected, dict):
        assert [key for key, value in actual.items() if value is not None] == list(expected)
        for key in expected:
            same(actual[key], expected[key])
    else:
        assert type(actual) is type(expected) and len(actual) == len(expected)
        for pair in zip(actual, expected):
            same(*pair)

cases = torch.load({file!r})
for inputs, expected in cases:
    same({name}(**inputs), expected)
print(json.dumps(len(cases)))
"""


@pytest.fixture(scope="module")
def architectures(installed: Callable[[str], Installed]) -> Installed:
    return installed("architectures")


@pytest.fixture
def sources() -> Iterator[None]:
    """The package's own modules, importable here, where transformers is."""
    sys.path.insert(0, str(PROJECT))
    yield
    sys.path.remove(str(PROJECT))


def eager(model: dict[str, Any]) -> torch.nn.Module:
    if model["source"] == "torch.nn:LSTM":
        return lstm()
    module, name = model["source"].split(":")
    made: torch.nn.Module = getattr(importlib.import_module(module), name)(
        **model.get("kwargs", {})
    )
    return made.eval()


def example(tree: Any, sizes: dict[str, int], generator: torch.Generator) -> Any:
    """A value for a declared input."""
    if isinstance(tree, list):
        return tuple(example(item, sizes, generator) for item in tree)
    if "shape" not in tree:
        return {key: example(item, sizes, generator) for key, item in tree.items()}
    shape = [sizes[size] if isinstance(size, str) else size for size in tree["shape"]]
    if tree.get("dtype") != "int64":
        return torch.randn(shape, generator=generator)
    drawn = torch.randint(0, tree.get("max", 1) + 1, shape, generator=generator)
    if "max" not in tree:
        drawn[:, 0] = 1  # a mask that hides everything has no defined result
    return drawn


def plain(value: Any) -> Any:
    """A result without the classes of transformers, which the clean environment has not."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    return value


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize("name", CALLS)
def test_an_architecture_gives_the_eager_result_at_every_size(
    architectures: Installed, name: str, tmp_path: Path
) -> None:
    model = CALLS[name]
    generator = torch.Generator().manual_seed(1)
    module = eager(model)
    cases = []
    for sizes in SIZES[name]:
        inputs = {key: example(tree, sizes, generator) for key, tree in model["inputs"].items()}
        with torch.no_grad():
            method = getattr(module, name.partition(".")[2] or "forward")
            cases.append((inputs, plain(method(**inputs))))
    file = tmp_path / "cases.pt"
    torch.save(cases, file)
    assert (
        architectures.run(COMPARE.format(name=name, model=name.partition(".")[0], file=str(file)))
        == len(SIZES[name])
        == 5
    )


def test_no_range_is_narrowed(architectures: Installed) -> None:
    assert "will accept" not in architectures.output


def test_an_output_class_comes_back_as_a_dict_where_transformers_is_missing(
    architectures: Installed,
) -> None:
    code = (
        "import json, torch\nfrom architectures.models import vit\n"
        "print(json.dumps(type(vit(torch.zeros(1, 3, 32, 32))).__name__))"
    )
    assert architectures.run(code) == "dict"
    stub = json.loads(architectures.files["architectures/models/vit/model.json"])
    assert stub["outputs"]["class"] == "transformers.modeling_outputs:ImageClassifierOutput"
