"""The plan: which steps run, on what, in which order, and which of them a change touches."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import PYPROJECT, edited, write_project

from aotbuild.config.schema import (
    ConstantInput,
    DeclaredDim,
    Method,
    Model,
    TargetSettings,
    TensorInput,
    Tune,
    Verify,
)
from aotbuild.errors import ConfigError
from aotbuild.steps.__main__ import main
from aotbuild.steps.artifacts.header_directory import HEADERS, many_compiles
from aotbuild.steps.artifacts.spec import (
    BundleSpec,
    CompileSpec,
    EngineSpec,
    ExportSpec,
    LevelsSpec,
    MethodParts,
    Pinned,
    Tools,
    TuneSpec,
    VerifySpec,
    read_spec,
    spec_text,
)
from aotbuild.steps.plan.plan import ALL, plan
from aotbuild.target import TARGETS, usual_targets

TARGET = usual_targets()[0].name
MODEL = PYPROJECT[PYPROJECT.index("[tool.aotbuild.models.net]") :]
TWO = PYPROJECT + "\n" + MODEL.replace("models.net", "models.second")
LONG_AGO = 1_000_000_000


def planned(root: Path, build: Path, *requested: str) -> dict[str, Any]:
    plan(root, requested or [ALL], build)
    table: dict[str, Any] = json.loads((build / "plan.json").read_text())
    assert table.pop("jobs") >= 1  # follows from the memory that is free now
    return table


ENGINE = {
    "step": "engine",
    "comment": "Building the engine",
    "spec": "engine.json",
    "output": "engine/engine.json",
    "others": [],
    "depends": [],
}


def model_commands(name: str, *methods: str) -> list[dict[str, Any]]:
    directory = f"models/{name}/cpu"
    exported = f"{directory}/exported.json"
    methods = methods or ("forward",)
    files = ("program.pt2", "call.json", "facts.json")
    programs = {m: [f"{directory}/{m}/{file}" for file in files] for m in methods}
    commands: list[dict[str, Any]] = [
        {
            "step": "export",
            "comment": f"Exporting {name}",
            "spec": f"models/{name}/cpu/export.json",
            "output": exported,
            "others": [*itertools.chain(*programs.values()), f"{directory}/weights.json"],
            "depends": [],
        }
    ]
    for method in methods:
        variant = f"models/{name}/{TARGET}/{method}"
        shown = name if method == "forward" else f"{name}.{method}"
        commands += [
            {
                "step": "compile",
                "comment": f"Compiling {shown} for {TARGET}",
                "spec": f"{variant}/compile.json",
                "output": f"{variant}/compiled.json",
                "others": [],
                "depends": programs[method],
            },
            {
                "step": "verify",
                "comment": f"Verifying {shown} for {TARGET}",
                "spec": f"{variant}/verify.json",
                "output": f"{variant}/verified.json",
                "others": [],
                "depends": [exported, f"{variant}/compiled.json", "engine/engine.json"],
            },
        ]
    return commands


def bundle_command(*names: str) -> dict[str, Any]:
    return {
        "step": "bundle",
        "comment": "Bundling demo.models",
        "spec": "bundle.json",
        "output": "bundled.json",
        "others": [],
        "depends": [
            "engine/engine.json",
            *(command["output"] for name in names for command in model_commands(name)),
        ],
    }


def test_one_model(project: Path, tmp_path: Path) -> None:
    assert planned(project, tmp_path / "build") == {
        "commands": [ENGINE, *model_commands("net"), bundle_command("net")],
        "package-dir": "package",
        "metadata-dir": "metadata",
        "destination": "demo/models",
    }


def test_two_models_are_made_independently(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", TWO)
    assert planned(root, tmp_path / "build")["commands"] == [
        ENGINE,
        *model_commands("net"),
        *model_commands("second"),
        bundle_command("net", "second"),
    ]


@pytest.mark.parametrize("models", [1, 2, 3, 4])
def test_headers_are_shared_where_that_pays(tmp_path: Path, models: int) -> None:
    others = [MODEL.replace("models.net", f"models.net{i}") for i in range(1, models)]
    root = write_project(tmp_path / "project", "\n".join([PYPROJECT, *others]))
    planned(root, tmp_path / "build")
    shared = tmp_path / "build" / HEADERS
    assert shared.is_dir() == (models >= 2)
    assert (tmp_path / "build" / many_compiles(TARGET)).exists() == (models >= 3)


LEVELS = ["x86-64-v2", "x86-64-v3", "x86-64-v4"]


@pytest.fixture
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def variants(table: dict[str, Any], root: Path) -> list[str]:
    """The variants of the package, as the bundle gets them."""
    assert table["commands"][-1]["step"] == "bundle"
    return [
        path for part in read_spec(BundleSpec, root / "bundle.json").parts for path in part.variants
    ]


@pytest.mark.usefixtures("on_x86")
def test_cpu_levels_are_compiled_and_the_best_stands_first(tmp_path: Path) -> None:
    text = edited('devices = ["cpu"]', f"cpu-levels = {[*LEVELS, 'armv8']}")
    table = planned(write_project(tmp_path / "project", text), tmp_path / "build")
    compiled = [c["comment"] for c in table["commands"] if c["step"] == "compile"]
    assert compiled == [f"Compiling net for cpu-{level}" for level in LEVELS]
    assert [c["step"] for c in table["commands"]].count("export") == 1
    assert "levels" not in [c["step"] for c in table["commands"]]
    assert variants(table, tmp_path / "build") == [
        f"models/net/cpu-{level}/forward" for level in reversed(LEVELS)
    ]


@pytest.mark.usefixtures("on_x86")
def test_a_higher_level_is_compared_where_levels_are_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "aotbuild.steps.plan.tune.higher_targets", lambda: [TARGETS["cpu-x86-64-v4"]]
    )
    root = write_project(tmp_path / "project")
    commands = planned(root, tmp_path / "build")["commands"]
    (levels,) = (command for command in commands if command["step"] == "levels")
    paths = [f"models/net/cpu-{level}/forward" for level in LEVELS[1:]]
    assert levels["comment"] == "Comparing CPU levels of net"
    assert levels["depends"] == [*(f"{path}/compiled.json" for path in paths), ENGINE["output"]]
    assert levels["output"] in commands[-1]["depends"]
    spec = read_spec(LevelsSpec, tmp_path / "build" / levels["spec"])
    assert spec.variants == paths
    assert spec.output == levels["output"]
    (part,) = read_spec(BundleSpec, tmp_path / "build" / "bundle.json").parts
    assert part.variants == paths[::-1]
    assert part.levels == [levels["output"]]


@pytest.mark.usefixtures("on_x86")
def test_levels_of_other_architectures_alone_are_an_error(tmp_path: Path) -> None:
    text = edited('devices = ["cpu"]', 'cpu-levels = ["armv8"]')
    with pytest.raises(ConfigError) as caught:
        planned(write_project(tmp_path / "project", text), tmp_path / "build")
    assert "no listed CPU level fits this machine (x86_64)" in caught.value.what
    assert caught.value.where == "pyproject.toml: tool.aotbuild.models.net.cpu-levels"
    assert all(level in caught.value.fix for level in LEVELS)


@pytest.mark.usefixtures("on_x86")
@pytest.mark.skipif(sys.platform != "linux", reason="cross-compiling is for Linux")
def test_another_architecture_has_its_own_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-aarch64")
    text = edited('runtime = "torch"', 'runtime = "standalone"')
    commands = planned(write_project(tmp_path / "project", text), tmp_path / "build")["commands"]
    compiled = [command["output"] for command in commands if command["step"] == "compile"]
    assert compiled == ["models/net/cpu-armv8/forward/compiled.json"]
    assert read_spec(EngineSpec, tmp_path / "build" / "engine.json").architecture == "aarch64"
    text = edited('devices = ["cpu"]', 'cpu-levels = ["x86-64-v3"]', text)
    with pytest.raises(ConfigError) as caught:
        planned(write_project(tmp_path / "other", text), tmp_path / "build")
    assert caught.value.what == "no listed CPU level fits AOTBUILD_TARGET (aarch64)"
    assert caught.value.fix == "add one of armv8"


def test_levels_do_not_touch_the_export(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project")
    planned(root, tmp_path / "build")
    spec = tmp_path / "build/models/net/cpu/export.json"
    before = spec.read_text()
    changed = 'cpu-levels = ["x86-64-v3", "armv8"]\nrequire-verified = true'
    write_project(root, edited('devices = ["cpu"]', changed))
    planned(root, tmp_path / "build")
    assert spec.read_text() == before


def test_only_the_requested_models_are_made(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", TWO)
    commands = planned(root, tmp_path / "build", "second")["commands"]
    assert commands == [ENGINE, *model_commands("second"), bundle_command("second")]
    assert not (tmp_path / "build" / "net").exists()


def test_every_specification_can_be_read(project: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    planned(project, build)
    export = read_spec(ExportSpec, build / "models/net/cpu/export.json")
    assert export.project == str(project.resolve())
    assert export.import_paths == [str(project.resolve())]
    assert (export.name, export.device, export.output) == ("net", "cpu", "models/net/cpu")
    assert export.package == "demo.models"
    assert export.declaration.weights == "weights/net.safetensors"
    variant = f"models/net/{TARGET}/forward"
    compile_spec = read_spec(CompileSpec, build / f"{variant}/compile.json")
    assert (compile_spec.model, compile_spec.method) == ("net", "forward")
    assert (compile_spec.exported, compile_spec.output) == ("models/net/cpu/forward", variant)
    assert compile_spec.target == TARGET
    assert (compile_spec.strict_dims, compile_spec.chosen) == (False, [])
    verify = read_spec(VerifySpec, build / f"{variant}/verify.json")
    assert (verify.model, verify.method) == ("net", "forward")
    assert (verify.source, verify.verify) == ("demo.network:Net", Verify(rtol=0.001))
    assert verify.quantize is None
    assert (verify.exported, verify.compiled) == (compile_spec.exported, compile_spec.output)
    for spec in (compile_spec, verify):
        assert spec.project == export.project
        assert spec.import_paths == export.import_paths
        assert (spec.package, spec.tools) == (export.package, export.tools)
    bundle = read_spec(BundleSpec, build / "bundle.json")
    assert (bundle.output, bundle.project) == ("package", export.project)
    assert bundle.parts == [
        MethodParts(
            model="net",
            method="forward",
            source="demo.network:Net",
            exported="models/net/cpu/forward",
            variants=[variant],
        )
    ]


def replanned(tmp_path: Path, before: str, after: str) -> set[str]:
    """The files of the build that a changed pyproject.toml touches."""
    root, build = write_project(tmp_path / "project", before), tmp_path / "build"
    planned(root, build)
    files = [path for path in build.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (LONG_AGO, LONG_AGO))
    write_project(root, after)
    planned(root, build)
    return {str(p.relative_to(build)) for p in files if p.stat().st_mtime != LONG_AGO}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[tool.aotbuild]\n", "# a comment\n[tool.aotbuild]\n"),
        ("[tool.aotbuild]\n", "[tool.ruff]\nline-length = 99\n\n[tool.aotbuild]\n"),
    ],
)
def test_a_change_elsewhere_in_pyproject_touches_nothing(
    tmp_path: Path, old: str, new: str
) -> None:
    assert replanned(tmp_path, TWO, edited(old, new, TWO)) == set()


def test_a_change_of_the_version_touches_the_bundle_alone(tmp_path: Path) -> None:
    changed = edited('version = "1.0"', 'version = "1.1"', TWO)
    assert replanned(tmp_path, TWO, changed) == {"bundle.json"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('license = "MIT AND CC-BY-4.0"', "MIT AND CC-BY-4.0"),
        ('license = { text = "MIT" }', "MIT"),
        ('license = { text = "a line\\nand another" }', ""),
        ('license = { file = "LICENSE" }', ""),
        ("", ""),
    ],
)
def test_the_bundle_is_told_what_the_project_says_of_its_licence(
    tmp_path: Path, line: str, told: str
) -> None:
    text = edited('version = "1.0"', f'version = "1.0"\n{line}', PYPROJECT)
    planned(write_project(tmp_path / "project", text), tmp_path / "build")
    spec = read_spec(BundleSpec, tmp_path / "build" / "bundle.json")
    assert (spec.license, spec.version) == (told, "1.0")


def test_a_version_that_cmake_tells_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamic = edited('version = "1.0"\n', "", PYPROJECT)
    text = edited('dynamic = ["', 'dynamic = ["version", "', dynamic)
    root = write_project(tmp_path / "project", text)
    monkeypatch.chdir(tmp_path)
    main(["plan", str(root), "--version=3.1", "--all"])
    assert read_spec(BundleSpec, tmp_path / "bundle.json").version == "3.1"


def test_a_change_of_one_model_touches_its_steps_alone(tmp_path: Path) -> None:
    changed = PYPROJECT + "\n" + MODEL.replace("models.net", "models.second").replace("64", "65")
    touched = replanned(tmp_path, TWO, changed)
    assert touched == {"models/second/cpu/export.json"}


def test_strict_dims_touch_the_compile_alone(tmp_path: Path) -> None:
    changed = edited('devices = ["cpu"]', "strict-dims = true", PYPROJECT)
    assert replanned(tmp_path, PYPROJECT, changed) == {f"models/net/{TARGET}/forward/compile.json"}


def test_a_declared_example_is_told_to_the_compile(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", edited("max = 64", "max = 64, example = 9"))
    planned(root, tmp_path / "build")
    written = tmp_path / "build" / f"models/net/{TARGET}/forward/compile.json"
    assert read_spec(CompileSpec, written).chosen == ["batch"]


def test_a_model_more_touches_only_the_bundle(tmp_path: Path) -> None:
    assert replanned(tmp_path, PYPROJECT, TWO) == {"plan.json", "bundle.json"}


def test_no_model_writes_into_the_directory_of_the_package(tmp_path: Path) -> None:
    # The bundle replaces that directory whole.
    text = PYPROJECT.replace("models.net", "models.package")
    table = planned(write_project(tmp_path / "project", text), tmp_path / "build")
    made = table["package-dir"]
    assert not [c["output"] for c in table["commands"] if c["output"].startswith(f"{made}/")]


def test_an_unknown_model_is_told_with_a_suggestion(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", TWO)
    with pytest.raises(ConfigError, match='the model "secnd" is not declared') as caught:
        plan(root, ["net", "secnd"], tmp_path / "build")
    assert caught.value.where == "CMakeLists.txt: aotbuild_add_model(secnd)"
    assert caught.value.fix == 'did you mean "second"?'
    with pytest.raises(ConfigError) as caught:
        plan(root, ["qqqq"], tmp_path / "build")
    assert caught.value.fix == "declared are: net, second"
    assert not (tmp_path / "build").exists()


def test_a_project_without_models_is_told_what_to_add(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", '[project]\nname = "demo"\n')
    with pytest.raises(ConfigError, match="the project declares no models"):
        plan(root, [ALL], tmp_path / "build")


TOOLS = Tools(aotbuild="0.1.0", torch="2.13.0+cpu")
DECLARATION = Model(
    source="demo.network:make",
    args=[1, 2.5, "x", [True], {"a_b": {"c-d": 0}}],
    kwargs={"wide_net": True, "a-b": [1]},
    inputs={"image": TensorInput(shape=["batch", 1, 0], dtype="bool")},
    dims={"batch": DeclaredDim(min=0, max=None, example=7), "rows": DeclaredDim(max=3)},
    verify=Verify(rtol=0.0),
    methods={
        "encode": Method(
            inputs={"pair": [TensorInput(shape=["2*batch+1"]), ConstantInput(none=True)]},
            dims={"steps": DeclaredDim(auto=True), "wide": DeclaredDim(min=8, multiple_of=8)},
        ),
        "score": Method(example="demo.data:example", dynamic_shapes="demo.data:shapes"),
    },
    op_libraries=["demo.ops", "libs/libops.so"],
    targets={"cpu": TargetSettings(inductor={"a.b": 1}, verify="demo.checks:near")},
)
STEP: dict[str, Any] = {
    "model": "net",
    "method": "encode",
    "target": "cpu-x",
    "project": "/somewhere/with a space",
    "import_paths": ["/a", "/b"],
    "package": "demo.models",
    "exported": "a",
    "output": "b",
    "tools": TOOLS,
}


@pytest.mark.parametrize(
    "spec",
    [
        ExportSpec(
            name="net",
            device="cpu",
            declaration=DECLARATION,
            project="/somewhere/with a space",
            package="demo.models",
            import_paths=["/a", "/b"],
            output="models/net/cpu",
            tools=TOOLS,
        ),
        CompileSpec(**STEP, options={"cpp.threads": 1, "max_autotune": True, "x": [1]}),
        CompileSpec(**STEP, options={}, quantize="int8-weight-only"),
        CompileSpec(**STEP, options={}, strict_dims=True, chosen=["batch"]),
        CompileSpec(
            **STEP,
            options={},
            allowed=Tune(max_error=0.01, check="demo.checks:near"),
            pinned=Pinned(recipe="frozen", program="a", settings="b", error=0.5),
            tuned="t/recipe.json",
            swappable=True,
        ),
        TuneSpec(
            compile=CompileSpec(**STEP, options={"a": True}),
            verify=VerifySpec(**STEP, source="s", compiled="b", engine="engine"),
            source="s",
            output="t",
            tools=TOOLS,
        ),
        VerifySpec(**STEP, source="s", verify=Verify(rtol=0.0), compiled="b", engine="engine"),
        VerifySpec(
            **STEP,
            source="s",
            verify="demo.checks:near",
            quantize="x",
            compiled="b",
            engine="engine",
        ),
        VerifySpec(**STEP, source="s", compiled="b", engine="engine"),
        BundleSpec(
            package="demo.models",
            project="/somewhere",
            parts=[
                MethodParts(
                    model="net", method="encode", source="s", exported="e", variants=["a", "b"]
                )
            ],
            engine="engine",
            commands={"models/net/cpu/export.json": "Exporting net"},
            output="package",
            metadata="metadata",
            tools=TOOLS,
        ),
        EngineSpec(output="engine", tools=TOOLS),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_a_specification_is_read_as_it_was_written(tmp_path: Path, spec: Any) -> None:
    path = tmp_path / "spec.json"
    path.write_text(spec_text(spec), encoding="utf-8")
    assert read_spec(type(spec), path) == spec


def test_how_many_calls_run_at_once_only_changes_the_bundle(tmp_path: Path) -> None:
    def specs(text: str) -> dict[str, str]:
        root = write_project(tmp_path / "project", text)
        table = planned(root, tmp_path / "build")
        files = [command["spec"] for command in table["commands"]]
        return {file: (tmp_path / "build" / file).read_text() for file in files}

    one, two = specs(PYPROJECT), specs(edited('devices = ["cpu"]', "num-runners = 2", PYPROJECT))
    assert {file for file in one if one[file] != two[file]} == {"bundle.json"}
    assert json.loads(two["bundle.json"])["parts"][0]["runners"] == 2


TUNED = edited('devices = ["cpu"]', "tune = { max-error = 0.01 }")
LOCKED = f"""\
version = 1

[choices.net.forward.{TARGET}]
recipe = "bfloat16"
program = "a"
settings = "b"

[choices.net.forward.{TARGET}.candidates]
bfloat16 = {{ microseconds = 1.0, ratio = 1.0, interval = [1.0, 1.0], error = 0.002 }}

[levels.net.forward]
kept = ["{TARGET}"]
"""


def spec_of(build: Path, name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((build / name).read_text())
    return table


def test_tuning_is_a_step_before_the_compile(tmp_path: Path) -> None:
    root, build = write_project(tmp_path / "project", TUNED), tmp_path / "build"
    commands = {command["output"]: command for command in planned(root, build)["commands"]}
    directory = f"models/net/{TARGET}/forward"
    tune = commands[f"{directory}/tune/tuned.json"]
    assert tune["step"] == "tune"
    assert tune["others"] == [f"{directory}/tune/recipe.json"]
    assert {"models/net/cpu/exported.json", "engine/engine.json"} <= set(tune["depends"])
    compiling = commands[f"{directory}/compiled.json"]
    assert f"{directory}/tune/recipe.json" in compiling["depends"]
    spec = spec_of(build, f"{directory}/compile.json")
    assert spec["tuned"] == f"{directory}/tune/recipe.json"
    assert spec["allowed"] == {"max-error": 0.01}
    assert f"{directory}/tune/tuned.json" in spec_of(build, "bundle.json")["tuned"]


def test_what_is_pinned_is_told_to_the_compile(tmp_path: Path) -> None:
    root, build = write_project(tmp_path / "project"), tmp_path / "build"
    (root / "aotbuild.lock.toml").write_text(LOCKED)
    table = planned(root, build)
    spec = spec_of(build, f"models/net/{TARGET}/forward/compile.json")
    pinned = {"recipe": "bfloat16", "program": "a", "settings": "b", "error": 0.002}
    assert spec["pinned"] == pinned
    assert {command["step"] for command in table["commands"]} == {
        *("engine", "export", "compile", "verify", "bundle")
    }


def test_pinned_levels_do_not_depend_on_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, build = write_project(tmp_path / "project"), tmp_path / "build"
    higher = TARGETS["cpu-x86-64-v4"]
    if higher.architecture != TARGETS[TARGET].architecture:
        pytest.skip("levels of x86-64")
    both = LOCKED.replace(f'["{TARGET}"]', f'["{TARGET}", "{higher.name}"]')
    (root / "aotbuild.lock.toml").write_text(both)
    found = []
    for has in ([], [higher]):
        monkeypatch.setattr("aotbuild.steps.plan.tune.higher_targets", lambda has=has: has)
        commands = planned(root, build)["commands"]
        found.append([command["output"] for command in commands])
    assert found[0] == found[1]
    assert f"models/net/{higher.name}/forward/compiled.json" in found[0]
    assert not any("levels" in output for output in found[0])


def test_tune_false_leaves_the_lock_file_aside(tmp_path: Path) -> None:
    text = edited('devices = ["cpu"]', "tune = false")
    root, build = write_project(tmp_path / "project", text), tmp_path / "build"
    (root / "aotbuild.lock.toml").write_text(LOCKED)
    planned(root, build)
    assert "pinned" not in spec_of(build, f"models/net/{TARGET}/forward/compile.json")


def test_limits_change_the_steps_behind_the_export_alone(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", TUNED)
    planned(root, tmp_path / "build")
    export = tmp_path / "build" / "models/net/cpu/export.json"
    before = export.read_text()
    write_project(root, edited("max-error = 0.01", "max-error = 0.02", TUNED))
    planned(root, tmp_path / "build")
    assert export.read_text() == before
