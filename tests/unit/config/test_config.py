"""The declaration: what can be written, and how it is read from a project."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from samples import PYPROJECT, edited, write_project

from aotbuild.config.messages import did_you_mean, joined
from aotbuild.config.parse import parse_table
from aotbuild.config.project import Project, load_project
from aotbuild.config.resolve import calls, settings_for
from aotbuild.config.schema import DeclaredDim, Model, TensorInput, Tune, Verify
from aotbuild.config.sizes import parse_size
from aotbuild.errors import ConfigError
from aotbuild.runtime.dims import Affine
from aotbuild.steps.artifacts.spec import as_table

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
        dims={
            "batch": DeclaredDim(min=0, max=8),
            "length": DeclaredDim(min=1, max=None, example=12),
        },
        devices=["cpu"],
        verify=Verify(rtol=1.0, atol=1e-3),
    )


def test_defaults(tmp_path: Path) -> None:
    found = load_project(write_project(tmp_path, FULL))
    assert found is not None
    other = found.models["other"]
    assert other.inputs == {"x": TensorInput(shape=[])}
    assert (other.args, other.kwargs, other.weights, other.dims) == ([], {}, None, {})
    assert (other.devices, other.op_libraries) == (["cpu"], [])
    assert (other.dtype, other.quantize, other.verify) == (None, None, None)
    assert (other.inductor, other.targets, other.methods) == ({}, {}, {})


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


RICH = """\
[project]
name = "demo"

[tool.aotbuild]
dtype = "bfloat16"
verify = { rtol = 1e-2, atol = 1e-3 }
inductor = { freezing = true, cpp = { threads = 1 } }

[tool.aotbuild.models.net]
source = "demo.network:Net"
inputs.x = { shape = ["batch", "2*batch + 1", "rest"] }
dims = { batch = { multiple-of = 8 }, rest = "auto" }
verify = { rtol = 1e-1 }
inductor = { "cpp.threads" = 2 }
targets.cpu.verify = "demo.checks:accurate"
targets.cpu-armv8.inductor.freezing = false
op-libraries = ["demo.ops", "libs/libops.so"]

[tool.aotbuild.models.codec]
source = "demo.codec:Codec"
dims = { batch = { max = 8 } }
methods.encode = { inputs.x = { shape = ["batch", "n"] }, dims.n = { max = 4 } }
methods.decode.example = "samples/input.npz"

[tool.aotbuild.models.saved]
source = "programs/net.pt2"

[tool.aotbuild.profiles.exact]
dtype = "float32"
inductor = { freezing = false }
"""


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    for name in ("libs/libops.so", "samples/input.npz", "programs/net.pt2"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    return write_project(tmp_path, RICH)


def loaded(root: Path) -> Project:
    found = load_project(root)
    assert found is not None
    return found


def test_a_model_is_set_before_all_models_and_tables_are_merged(rich: Path) -> None:
    net = loaded(rich).models["net"]
    assert net.dtype == "bfloat16"
    assert net.verify == Verify(rtol=1e-1, atol=1e-3)
    assert net.inductor == {"freezing": True, "cpp.threads": 2}


def test_a_target_is_set_before_its_device_and_that_before_the_model(rich: Path) -> None:
    net = loaded(rich).models["net"]
    x86, arm = settings_for(net, "cpu", "cpu-x86-64-v3"), settings_for(net, "cpu", "cpu-armv8")
    assert x86.inductor == {"freezing": True, "cpp.threads": 2}
    assert arm.inductor == {"freezing": False, "cpp.threads": 2}
    assert x86.verify == arm.verify == "demo.checks:accurate"


def test_a_profile_is_set_before_all(rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOTBUILD_PROFILE", "exact")
    net = loaded(rich).models["net"]
    assert net.dtype == "float32"
    assert net.inductor == {"freezing": False, "cpp.threads": 2}


@pytest.mark.parametrize(
    ("everywhere", "model", "profile", "strict"),
    [
        ("", "", "", False),
        ("strict-dims = true", "", "", True),
        ("strict-dims = true", "strict-dims = false", "", False),
        ("", "strict-dims = true", "", True),
        ("", "strict-dims = true", "strict-dims = false", False),
        ("", "", "strict-dims = true", True),
    ],
)
def test_strict_dims_is_set_like_the_others(
    tmp_path: Path, everywhere: str, model: str, profile: str, *, strict: bool
) -> None:
    root = write_project(
        tmp_path,
        f'project.name = "demo"\n[tool.aotbuild]\n{everywhere}\n[tool.aotbuild.models.net]\n'
        f'source = "demo.network:Net"\ninputs.x = {{ shape = [3] }}\n{model}\n'
        f"[tool.aotbuild.profiles.release]\n{profile}\n",
    )
    assert bool(loaded(root).models["net"].strict_dims) is strict


def test_the_profile_debug_is_there_undeclared(rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOTBUILD_PROFILE", "debug")
    net = loaded(rich).models["net"]
    assert net.inductor["aot_inductor.compile_wrapper_opt_level"] == "O0"
    assert net.inductor["cpp.threads"] == 2


def test_an_unknown_profile_is_told(rich: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOTBUILD_PROFILE", "exakt")
    with pytest.raises(ConfigError, match='there is no profile "exakt"') as caught:
        load_project(rich)
    assert caught.value.where == "environment: AOTBUILD_PROFILE"
    assert 'did you mean "exact"?' in caught.value.fix
    assert "debug, exact, release" in caught.value.fix


def test_a_saved_program_keeps_its_own_dtype(rich: Path) -> None:
    assert loaded(rich).models["saved"].dtype is None


def test_resolved_models_survive_the_specification_file(rich: Path) -> None:
    for model in loaded(rich).models.values():
        assert parse_table(Model, json.loads(json.dumps(as_table(model))), "spec") == model


def test_methods_see_the_dimensions_of_their_model_that_they_name(rich: Path) -> None:
    found = calls(loaded(rich).models["codec"])
    assert list(found) == ["encode", "decode"]
    assert found["encode"].dims == {"batch": DeclaredDim(max=8), "n": DeclaredDim(max=4)}
    assert found["decode"].dims == {}
    assert list(calls(loaded(rich).models["net"])) == ["forward"]


def test_the_files_of_a_declaration_are_those_that_it_names(rich: Path) -> None:
    assert loaded(rich).files == ["libs/libops.so", "samples/input.npz", "programs/net.pt2"]


def test_multiples_begin_with_the_number_itself(rich: Path) -> None:
    assert loaded(rich).models["net"].dims["batch"] == DeclaredDim(min=8, multiple_of=8)


def test_auto_is_short_for_a_table(rich: Path) -> None:
    assert loaded(rich).models["net"].dims["rest"] == DeclaredDim(auto=True)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("batch", Affine("batch")),
        ("2*batch", Affine("batch", 2)),
        ("batch * 2", Affine("batch", 2)),
        ("seq+1", Affine("seq", 1, 1)),
        ("3 * seq - 4", Affine("seq", 3, -4)),
        ("größe", Affine("größe")),
        ("2*batch*2", None),
        ("batch+seq", None),
        ("class", None),
        ("2", None),
        ("x²", None),
    ],
)
def test_sizes_are_read(text: str, size: Affine | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        'tool = "aotbuild"',
        '[tool]\naotbuild = "net"',
        PYPROJECT + '[tool.scikit-build]\nwheel = "demo"\n',
        PYPROJECT + "[tool.scikit-build]\nwheel.packages = [3]\n",
        PYPROJECT + "[tool.scikit-build.wheel.packages]\ndemo = 3\n",
        'project = "demo"\n[tool.aotbuild.models.net]\nsource = "a:B"\n',
    ],
)
def test_what_is_wrong_around_the_declaration_is_no_traceback(tmp_path: Path, text: str) -> None:
    with contextlib.suppress(ConfigError):
        load_project(write_project(tmp_path, text))


def test_another_encoding_is_told(tmp_path: Path) -> None:
    for data in ('name = "größe"'.encode("latin-1"), PYPROJECT.encode("utf-8-sig")):
        (tmp_path / "pyproject.toml").write_bytes(data)
        with pytest.raises(ConfigError, match=r"pyproject\.toml is not valid TOML") as caught:
            load_project(tmp_path)
        assert caught.value.fix == "save the file as UTF-8 without a byte order mark"


@pytest.mark.parametrize(
    ("path", "key", "said"),
    [("a.b", "c-d", "a.b.c-d"), ("a", "b c", 'a."b c"'), ("a", "b.c", 'a."b.c"')],
)
def test_paths_can_be_pasted(path: str, key: str, said: str) -> None:
    assert joined(path, key) == said


def test_a_recipe_by_name_is_not_measured(tmp_path: Path) -> None:
    text = edited("[tool.aotbuild]\n", "[tool.aotbuild]\ntune = true\n")
    text = edited('devices = ["cpu"]', 'recipe = "plain"', text)
    project = load_project(write_project(tmp_path, text))
    assert project is not None
    assert project.models["net"].tune is False


@pytest.mark.parametrize(
    ("everywhere", "model", "profile", "expected"),
    [
        ("", "", "", None),
        ("tune = true", "", "", True),
        ("tune = true", "tune = false", "", False),
        ("tune = true", "tune = { max-error = 0.01 }", "", Tune(max_error=0.01)),
        ("", "tune = { max-error = 0.01 }", "tune = true", Tune(max_error=0.01)),
        ("", "tune = { max-error = 0.01 }", "tune = false", False),
        (
            'tune = { check = "demo.checks:near" }',
            "tune = { max-error = 1 }",
            "",
            Tune(max_error=1.0, check="demo.checks:near"),
        ),
        ("tune = false", "", "tune = { max-error = 0.01 }", Tune(max_error=0.01)),
    ],
)
def test_tuning_is_merged(
    tmp_path: Path, everywhere: str, model: str, profile: str, expected: object
) -> None:
    text = edited("[tool.aotbuild]\n", f"[tool.aotbuild]\n{everywhere}\n")
    text = edited('devices = ["cpu"]', model, text)
    text += f"\n[tool.aotbuild.profiles.release]\n{profile}\n"
    project = load_project(write_project(tmp_path, text))
    assert project is not None
    assert project.models["net"].tune == expected


@pytest.mark.parametrize(
    ("written", "what", "fix"),
    [
        ("tune = 1", "expected true or false or a table, found an integer: 1", ""),
        ("tune = { max-error = -1 }", "max-error is not an error: -1", "such as 1e-2"),
        ('tune = { check = "near" }', '"near" is not a check', "module:attribute"),
        ("tune = { max_error = 1 }", 'unknown key "max_error"', 'did you mean "max-error"?'),
        ("max-error = 1e-2", 'unknown key "max-error"', "write tune = { max-error = ... }"),
    ],
)
def test_wrong_limits_of_tuning_are_told(tmp_path: Path, written: str, what: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(write_project(tmp_path, edited('devices = ["cpu"]', written)))
    assert what in caught.value.what
    assert fix in caught.value.fix


def test_a_debug_build_is_not_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOTBUILD_PROFILE", "debug")
    project = load_project(write_project(tmp_path, edited('devices = ["cpu"]', "tune = true")))
    assert project is not None
    assert project.models["net"].tune is False


@pytest.mark.parametrize(
    ("declared", "freezing"), [("", True), ("swappable = true", False), ("swappable = false", True)]
)
def test_a_swappable_model_is_not_frozen(tmp_path: Path, declared: str, *, freezing: bool) -> None:
    settings = f"inductor.freezing = true\n{declared}"
    changed = edited('devices = ["cpu"]', settings, PYPROJECT)
    model = loaded(write_project(tmp_path, changed)).models["net"]
    assert settings_for(model, "cpu", "cpu-x86-64-v3").inductor["freezing"] is freezing
