"""The declaration: what can be written, and what each mistake is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from samples import PYPROJECT, edited, write_project

from aotbuild.config.parse import did_you_mean
from aotbuild.config.project import load_project
from aotbuild.config.schema import Dim, Model, TensorInput, Verify
from aotbuild.errors import ConfigError

FULL = """\
[project]
name = "demo"

[tool.aotbuild]
package = "demo.compiled"

[tool.aotbuild.models.net]
source = "demo.network:make"
weights = "weights/net.safetensors"
args = [3, "wide"]
kwargs = { depth = 2, bias = false }
devices = ["cpu"]
verify = { rtol = 1, atol = 1e-3 }

[tool.aotbuild.models.net.inputs]
tokens = { shape = ["batch", "length"], dtype = "int64" }
mask = { shape = ["batch", "length"], dtype = "bool" }

[tool.aotbuild.models.net.dims]
batch = { min = 0, max = 8 }
length = { min = 1, example = 12 }

[tool.aotbuild.models.other]
source = "demo.network:Other"
inputs = { x = { shape = [] } }
"""


def test_every_key_arrives(tmp_path: Path) -> None:
    found = load_project(write_project(tmp_path, FULL))
    assert found is not None
    assert found.package == "demo.compiled"
    assert found.root == tmp_path.resolve()
    assert list(found.config.models) == ["net", "other"]
    assert found.config.models["net"] == Model(
        source="demo.network:make",
        args=[3, "wide"],
        kwargs={"depth": 2, "bias": False},
        weights="weights/net.safetensors",
        inputs={
            "tokens": TensorInput(shape=["batch", "length"], dtype="int64"),
            "mask": TensorInput(shape=["batch", "length"], dtype="bool"),
        },
        dims={"batch": Dim(min=0, max=8), "length": Dim(min=1, max=None, example=12)},
        devices=["cpu"],
        verify=Verify(rtol=1.0, atol=1e-3),
    )


def test_defaults(tmp_path: Path) -> None:
    found = load_project(write_project(tmp_path, FULL))
    assert found is not None
    other = found.config.models["other"]
    assert other.inputs == {"x": TensorInput(shape=[], dtype="float32")}
    assert (other.args, other.kwargs, other.weights, other.dims) == ([], {}, None, {})
    assert other.devices == ["cpu"]
    assert other.verify == Verify(rtol=None, atol=None)


@pytest.mark.parametrize(
    ("project", "package"),
    [
        ("demo", "demo.models"),
        ("my-demo", "my_demo.models"),
        ("my.demo", "my_demo.models"),
        ("My--Demo", "My_Demo.models"),
    ],
)
def test_the_package_follows_the_project_name(tmp_path: Path, project: str, package: str) -> None:
    text = edited('package = "demo.models"\n', "")
    text = edited('name = "demo"', f'name = "{project}"', text)
    found = load_project(write_project(tmp_path, text))
    assert found is not None
    assert found.package == package


@pytest.mark.parametrize(
    "text", ["", '[project]\nname = "demo"\n', "[tool.other]\n# aotbuild is named here only\n"]
)
def test_a_project_without_a_declaration_is_none_of_ours(tmp_path: Path, text: str) -> None:
    assert load_project(write_project(tmp_path, text)) is None


def test_a_directory_without_pyproject_is_none_of_ours(tmp_path: Path) -> None:
    assert load_project(tmp_path) is None


def test_modules_are_looked_for_where_the_wheel_takes_packages_from(tmp_path: Path) -> None:
    for name in ("src", "python", "lib/one", "elsewhere/two"):
        (tmp_path / name).mkdir(parents=True)
    text = PYPROJECT + '\n[tool.scikit-build]\nwheel.packages = ["lib/one"]\n'
    found = load_project(write_project(tmp_path, text))
    assert found is not None
    assert [str(path.relative_to(tmp_path)) for path in found.import_paths] == [
        "lib",
        "src",
        "python",
        ".",
    ]
    text = PYPROJECT + '\n[tool.scikit-build.wheel.packages]\n"two" = "elsewhere/two"\n'
    found = load_project(write_project(tmp_path, text))
    assert found is not None
    assert found.import_paths[0] == tmp_path / "elsewhere"


@dataclass(frozen=True)
class Wrong:
    """A mistake: what is written instead of ``old``, and what the error says."""

    name: str
    old: str
    new: str
    where: str
    what: str
    told: tuple[str, ...] = ()
    """What else is in the block."""


NET = "tool.aotbuild.models.net"
DIMS = "batch = { min = 1, max = 64 }"
SHAPE = 'shape = ["batch", 1, 8, 8]'
WEIGHTS = '"weights/net.safetensors"'
SOURCE = '"demo.network:Net"'
MODELS = PYPROJECT[PYPROJECT.index("[tool.aotbuild.models.net]") :]
INPUT = 'image = { shape = ["batch", 1, 8, 8], dtype = "float32" }'

WRONG = [
    # unknown and missing keys, at each level
    Wrong(
        "key of aotbuild",
        'package = "demo.models"',
        'pakage = "demo.models"',
        "tool.aotbuild.pakage",
        'unknown key "pakage"',
        ('did you mean "package"?', "known keys here: models, package"),
    ),
    Wrong(
        "key of a model",
        "weights = ",
        "weight = ",
        f"{NET}.weight",
        'unknown key "weight"',
        ('did you mean "weights"?',),
    ),
    Wrong(
        "key of an input",
        "dtype = ",
        "type = ",
        f"{NET}.inputs.image.type",
        'unknown key "type"',
        ('did you mean "dtype"?', "known keys here: dtype, max, min, shape, values"),
    ),
    Wrong(
        "key of a dim",
        "max = 64",
        "maximum = 64",
        f"{NET}.dims.batch.maximum",
        'unknown key "maximum"',
        ("known keys here: example, max, min",),
    ),
    Wrong(
        "key of verify",
        "rtol = 0.001",
        "rtoll = 0.001",
        f"{NET}.verify.rtoll",
        'unknown key "rtoll"',
        ('did you mean "rtol"?',),
    ),
    Wrong(
        "key in capitals",
        "weights = ",
        "Weights = ",
        f"{NET}.Weights",
        'unknown key "Weights"',
        ('did you mean "weights"?',),
    ),
    Wrong(
        "key like nothing known",
        "weights = ",
        "zzz = ",
        f"{NET}.zzz",
        'unknown key "zzz"',
        ("known keys here: args, devices, dims, inputs, kwargs, source, verify, weights",),
    ),
    Wrong(
        "source missing",
        f"source = {SOURCE}",
        "",
        NET,
        '"source" is missing',
        (f"add source = ... to [{NET}]",),
    ),
    Wrong("shape missing", f"{SHAPE}, ", "", f"{NET}.inputs.image", '"shape" is missing'),
    # wrong types
    Wrong(
        "package a number",
        'package = "demo.models"',
        "package = 3",
        "tool.aotbuild.package",
        "expected a string, found an integer: 3",
        ("write a string",),
    ),
    Wrong(
        "models an array",
        MODELS,
        "models = []",
        "tool.aotbuild.models",
        "expected a table, found an array",
        ("write a table",),
    ),
    Wrong(
        "model a string",
        MODELS,
        '[tool.aotbuild.models]\nnet = "demo.network:Net"',
        NET,
        "expected a table, found a string: 'demo.network:Net'",
    ),
    Wrong(
        "source an array",
        SOURCE,
        '["demo.network", "Net"]',
        f"{NET}.source",
        "expected a string, found an array",
    ),
    Wrong("weights false", WEIGHTS, "false", f"{NET}.weights", "found true or false: False"),
    Wrong("args a string", 'devices = ["cpu"]', 'args = "3"', f"{NET}.args", "expected an array"),
    Wrong(
        "kwargs an array", 'devices = ["cpu"]', "kwargs = [3]", f"{NET}.kwargs", "expected a table"
    ),
    Wrong(
        "devices a string",
        'devices = ["cpu"]',
        'devices = "cpu"',
        f"{NET}.devices",
        "expected an array, found a string: 'cpu'",
        ("write an array",),
    ),
    Wrong(
        "device a number",
        'devices = ["cpu"]',
        'devices = ["cpu", 0]',
        f"{NET}.devices[1]",
        "expected a string, found an integer: 0",
    ),
    Wrong("shape a number", SHAPE, "shape = 8", f"{NET}.inputs.image.shape", "expected an array"),
    Wrong(
        "size a fraction",
        SHAPE,
        'shape = ["batch", 1.5]',
        f"{NET}.inputs.image.shape[1]",
        "expected an integer or a string, found a number: 1.5",
    ),
    Wrong(
        "size true",
        SHAPE,
        'shape = ["batch", true]',
        f"{NET}.inputs.image.shape[1]",
        "found true or false: True",
    ),
    Wrong("dtype a number", '"float32"', "32", f"{NET}.inputs.image.dtype", "expected a string"),
    Wrong("min a string", "min = 1", 'min = "1"', f"{NET}.dims.batch.min", "expected an integer"),
    Wrong("max a fraction", "max = 64", "max = 64.0", f"{NET}.dims.batch.max", "found a number"),
    Wrong("max true", "max = 64", "max = true", f"{NET}.dims.batch.max", "expected an integer"),
    Wrong("dim a number", DIMS, "batch = 4", f"{NET}.dims.batch", "expected a table"),
    Wrong("rtol a string", "0.001", '"0.001"', f"{NET}.verify.rtol", "expected a number"),
    Wrong("rtol true", "0.001", "true", f"{NET}.verify.rtol", "expected a number"),
    # the package and the names of models
    Wrong(
        "no models",
        MODELS,
        "",
        "tool.aotbuild.models",
        "no models are declared",
        ("[tool.aotbuild.models.net]",),
    ),
    Wrong(
        "package with a dash",
        '"demo.models"',
        '"my-demo.models"',
        "tool.aotbuild.package",
        '"my-demo.models" is not the name of an import package',
        ("digits.models",),
    ),
    Wrong(
        "package with an empty part",
        '"demo.models"',
        '"demo..models"',
        "tool.aotbuild.package",
        "is not the name of an import package",
    ),
    Wrong(
        "package with a keyword",
        '"demo.models"',
        '"demo.import"',
        "tool.aotbuild.package",
        "is not the name of an import package",
    ),
    Wrong(
        "package a path",
        '"demo.models"',
        '"demo/models"',
        "tool.aotbuild.package",
        "is not the name of an import package",
    ),
    *(
        Wrong(
            f"model named {name}",
            MODELS,
            MODELS.replace("models.net", f'models."{name}"'),
            f"tool.aotbuild.models.{name}",
            f'"{name}" cannot be the name of a model',
            ("without a leading underscore, other than runtime, weights",),
        )
        for name in ("class", "_x", "runtime", "weights", "a-b", "3d", "a b")
    ),
    # source
    *(
        Wrong(
            f"source {source!r}",
            SOURCE,
            f'"{source}"',
            f"{NET}.source",
            f'"{source}" is not a source',
            ('write "module:attribute"',),
        )
        for source in (
            "demo.network.Net",
            "demo.network:",
            ":Net",
            "demo/network.py:Net",
            "demo.network:Net()",
            "demo:network:Net",
            "demo..network:Net",
            "",
        )
    ),
    # weights
    Wrong(
        "weights missing",
        WEIGHTS,
        '"other/file.bin"',
        f"{NET}.weights",
        'the weights file "other/file.bin" does not exist',
        ("relative to pyproject.toml",),
    ),
    Wrong(
        "weights misspelt",
        WEIGHTS,
        '"weights/net.safetensor"',
        f"{NET}.weights",
        'the weights file "weights/net.safetensor" does not exist',
        ('did you mean "net.safetensors"?',),
    ),
    Wrong("weights a directory", WEIGHTS, '"weights"', f"{NET}.weights", "is a directory"),
    *(
        Wrong(
            f"weights {path!r}",
            WEIGHTS,
            f'"{path}"',
            f"{NET}.weights",
            f'"{path}" is not a file inside the project',
            ("part of the source distribution", "without .."),
        )
        for path in ("/opt/net.safetensors", "../net.safetensors", "weights/../../net.pt", "")
    ),
    # inputs
    Wrong(
        "no inputs",
        INPUT,
        "",
        f"{NET}.inputs",
        "no inputs are declared",
        ("one entry for each parameter of forward()",),
    ),
    *(
        Wrong(
            f"input named {name}",
            "image = ",
            f'"{name}" = ',
            f"{NET}.inputs.{name}",
            f'"{name}" cannot be the name of an input',
            (told,),
        )
        for name, told in [
            ("self", "rename the parameter of forward()"),
            ("not a name", "as forward() spells it"),
            ("lambda", "as forward() spells it"),
        ]
    ),
    Wrong(
        "undeclared dim",
        SHAPE,
        'shape = ["batch", "height", 8, 8]',
        f"{NET}.inputs.image.shape[1]",
        'the dimension "height" is not declared',
        (f"add to [{NET}.dims]:", "height = { min = 1, max = 64 }"),
    ),
    Wrong(
        "misspelt dim",
        SHAPE,
        'shape = ["batch", "bacth", 8, 8]',
        f"{NET}.inputs.image.shape[1]",
        'the dimension "bacth" is not declared',
        ('did you mean "batch"?',),
    ),
    Wrong(
        "negative size",
        SHAPE,
        'shape = ["batch", -1, 8, 8]',
        f"{NET}.inputs.image.shape[1]",
        "a size cannot be negative: -1",
        ("for a dynamic dimension",),
    ),
    *(
        Wrong(
            f"dtype {dtype}",
            '"float32"',
            f'"{dtype}"',
            f"{NET}.inputs.image.dtype",
            f'there is no dtype "{dtype}"',
            (told,),
        )
        for dtype, told in [
            ("float", "did you mean "),
            ("torch.float32", 'did you mean "float32"?'),
            ("flaot32", 'did you mean "float32"?'),
            ("Float32", 'did you mean "float32"?'),
            ("quaternion", "choose one of float32, float64"),
        ]
    ),
    # dims
    Wrong(
        "min > max",
        DIMS,
        "batch = { min = 65, max = 64 }",
        f"{NET}.dims.batch.min",
        "min is greater than max: 65 > 64",
        ("swap them",),
    ),
    Wrong("min < 0", "min = 1", "min = -1", f"{NET}.dims.batch.min", "min is negative: -1"),
    Wrong(
        "min = max",
        "min = 1",
        "min = 64",
        f"{NET}.dims.batch.min",
        "min equals max: 64",
        ('write 64 in the shapes instead of "batch"',),
    ),
    Wrong(
        "max = 1",
        DIMS,
        "batch = { min = 0, max = 1 }",
        f"{NET}.dims.batch.max",
        "max is 1",
        ("at least 2 to be traced with",),
    ),
    Wrong(
        "only max, below the default min",
        DIMS,
        "batch = { max = 0 }",
        f"{NET}.dims.batch.max",
        "max",
    ),
    Wrong(
        "example above",
        "max = 64",
        "max = 64, example = 65",
        f"{NET}.dims.batch.example",
        "example is outside the range: 65",
        ("choose a size from 1 to 64",),
    ),
    Wrong(
        "example below",
        DIMS,
        "batch = { min = 4, example = 3 }",
        f"{NET}.dims.batch.example",
        "example is outside the range: 3",
        ("choose a size from 4 to any",),
    ),
    Wrong(
        "example 1",
        "max = 64",
        "max = 64, example = 1",
        f"{NET}.dims.batch.example",
        "example is 1",
        ("torch.export fixes a dimension", "at least 2"),
    ),
    Wrong(
        "unused dim",
        DIMS,
        f"{DIMS}\nheight = {{ min = 1 }}",
        f"{NET}.dims.height",
        'the dimension "height" is in no shape',
        ("or remove the entry",),
    ),
    Wrong(
        "dim no name",
        DIMS,
        f'{DIMS}\n"2 batch" = {{ min = 1 }}',
        f"{NET}.dims.2 batch",
        '"2 batch" cannot be the name of a dimension',
    ),
    # devices and verify
    Wrong(
        "no device",
        'devices = ["cpu"]',
        "devices = []",
        f"{NET}.devices",
        "no device is listed",
        ('devices = ["cpu"]',),
    ),
    Wrong(
        "unknown device",
        'devices = ["cpu"]',
        'devices = ["cpu", "abacus"]',
        f"{NET}.devices[1]",
        '"abacus" is not a device',
        ("choose from cpu",),
    ),
    Wrong(
        "device in capitals",
        'devices = ["cpu"]',
        'devices = ["CPU"]',
        f"{NET}.devices[0]",
        '"CPU" is not a device',
        ('did you mean "cpu"?',),
    ),
    Wrong(
        "device twice",
        'devices = ["cpu"]',
        'devices = ["cpu", "cpu"]',
        f"{NET}.devices",
        "a device is listed twice",
    ),
    Wrong(
        "rtol negative", "0.001", "-0.001", f"{NET}.verify.rtol", "rtol is not a tolerance: -0.001"
    ),
    Wrong("rtol nan", "0.001", "nan", f"{NET}.verify.rtol", "rtol is not a tolerance: nan"),
    Wrong(
        "atol infinite",
        "rtol = 0.001",
        "atol = inf",
        f"{NET}.verify.atol",
        "atol is not a tolerance: inf",
        ("zero or greater",),
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_mistake_is_told_with_its_place_and_a_way_out(tmp_path: Path, wrong: Wrong) -> None:
    root = write_project(tmp_path, edited(wrong.old, wrong.new))
    with pytest.raises(ConfigError) as caught:
        load_project(root)
    error = caught.value
    assert wrong.what in error.what
    assert error.where == f"pyproject.toml: {wrong.where}"
    assert error.fix
    block = error.block()
    for text in wrong.told:
        assert text in block.replace("\n         ", "\n")
    assert block.startswith("aotbuild: error: ")
    assert "Traceback" not in block
    assert "\n\n" not in block


@pytest.mark.parametrize(
    ("base", "taken"),
    [("", "demo/models.py"), ("", "demo/models/__init__.py"), ("src", "demo/models/net.py")],
)
def test_a_package_that_the_source_has_already_is_refused(
    tmp_path: Path, base: str, taken: str
) -> None:
    file = tmp_path / base / taken
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(
        ConfigError, match=r'"demo\.models" exists in the project already'
    ) as caught:
        load_project(write_project(tmp_path))
    assert caught.value.where == "pyproject.toml: tool.aotbuild.package"
    assert str(Path(base, "demo/models")) in caught.value.why


def test_a_sibling_of_the_package_is_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "src" / "demo").mkdir(parents=True)
    (tmp_path / "src" / "demo" / "models_old.py").touch()
    assert load_project(write_project(tmp_path)) is not None


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pyproject\.toml is not valid TOML") as caught:
        load_project(write_project(tmp_path, "[tool.aotbuild\n"))
    assert "line 1" in caught.value.why


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("wieghts", 'did you mean "weights"?'),
        ("WEIGHTS", 'did you mean "weights"?'),
        ("devces", 'did you mean "Devices"?'),
        ("qqqq", ""),
        ("", ""),
    ],
)
def test_did_you_mean_offers_only_what_is_close(word: str, hint: str) -> None:
    assert did_you_mean(word, ["source", "weights", "Devices"]) == hint
