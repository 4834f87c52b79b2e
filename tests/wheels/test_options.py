"""Options of Inductor and tolerances: for all models, for one, for a target, and in a profile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wheels import Installed, assert_refused, edited, install, keep_models, pip_wheel

from aotbuild.errors import AotBuildError
from aotbuild.steps.plan.plan import plan

COMPARE = """
import torch
from options import models, modules

for name in {names!r}:
    for batch in (1, 2, 9, 15, 16):
        x = torch.randn(batch, 64)
        with torch.no_grad():
            expected = modules.Net().eval()(x)
        torch.testing.assert_close(getattr(models, name)(x), expected, rtol=1e-3, atol=1e-3)
print(1)
"""


@pytest.fixture(scope="module")
def built(installed: Callable[[str], Installed]) -> Installed:
    return installed("options")


def options_of(built: Installed, model: str) -> dict[str, Any]:
    (variant,) = built.manifest(model)["variants"]
    found: dict[str, Any] = variant["compiled"]["options"]
    return found


def test_every_model_gives_what_the_eager_one_gives(built: Installed) -> None:
    built.run(COMPARE.format(names=["tuned", "frozen", "special"]))


def test_the_options_of_a_model_go_over_those_of_all(built: Installed) -> None:
    tuned, frozen = options_of(built, "tuned"), options_of(built, "frozen")
    assert tuned["epilogue_fusion"] is False
    assert tuned["max_autotune"] is True
    assert tuned["cpp.enable_kernel_profile"] is False
    assert "freezing" not in tuned
    assert frozen["epilogue_fusion"] is False
    assert frozen["freezing"] is True
    assert frozen["cpp.weight_prepack"] is False
    assert "max_autotune" not in frozen


def test_aliases_stand_for_the_options_that_they_name(built: Installed) -> None:
    frozen = options_of(built, "frozen")
    assert frozen["use_static_cuda_launcher"] is False
    assert "use_static_triton_launcher" not in frozen
    assert frozen["force_disable_caches"] is True  # of another module


def test_the_options_of_a_target_go_over_those_of_its_device(built: Installed) -> None:
    special = options_of(built, "special")
    assert special["max_fusion_size"] == 8
    assert special["epilogue_fusion"] is True
    assert "max_autotune" not in special


def test_options_that_aotbuild_owns_hold_for_every_model(built: Installed) -> None:
    for model in ("tuned", "frozen", "special"):
        assert options_of(built, model)["aot_inductor.package"] is True
        assert not any("/" in str(value) for value in options_of(built, model).values())


def test_freezing_folds_the_batch_norm(built: Installed) -> None:
    def constants(model: str) -> list[str]:
        (variant,) = built.manifest(model)["variants"]
        return [constant["fqn"] for constant in variant["constants"]]

    assert "layers.1.running_mean" in constants("tuned")
    assert not any("running" in name for name in constants("frozen"))


def test_the_profile_debug_builds_and_goes_over_the_model(
    project: Callable[[str], Path], tmp_path: Path, clean_python: Path
) -> None:
    source = keep_models(project("options"), "tuned")
    release = "[tool.aotbuild.profiles.release]"
    debug = "profiles.debug.inductor.max_autotune = false"
    edited(source, (release, f"{debug}\n\n{release}"))
    # Without what other builds share: these flags are no other's.
    build = pip_wheel(source, env={"AOTBUILD_PROFILE": "debug", "AOTBUILD_CACHE": "off"})
    built = install(build, tmp_path / "installed", clean_python)
    tuned = options_of(built, "tuned")
    assert tuned["aot_inductor.debug_compile"] is True
    assert tuned["aot_inductor.compile_wrapper_opt_level"] == "O0"
    assert tuned["pattern_matcher"] is False
    assert tuned["max_autotune"] is False
    built.run(COMPARE.format(names=["tuned"]))


DENORMALS = """
import json

import torch
from options.models import tuned

tuned(torch.randn(3, 64))
single = torch.full((64,), 1e-39)
print(json.dumps([float("5e-324") * 3 > 0, bool((single * 2 > single).all())]))
"""


def test_unsafe_mathematics_of_a_model_leave_the_process_its_denormal_numbers(
    project: Callable[[str], Path], tmp_path: Path, clean_python: Path
) -> None:
    source = keep_models(project("options"), "tuned")
    unsafe = "enable_unsafe_math_opt_flag = true"
    edited(source, ("enable_kernel_profile = false", unsafe))
    # Without what other builds share: these flags are no other's.
    build = pip_wheel(source, env={"AOTBUILD_CACHE": "off"})
    built = install(build, tmp_path / "installed", clean_python)
    assert options_of(built, "tuned")["cpp.enable_unsafe_math_opt_flag"] is True
    assert built.run(DENORMALS) == [True, True]


WRONG = {
    "unknown option": (
        ("max_autotune = true", "max_autotun = true"),
        (
            'Inductor has no option "max_autotun"',
            "tool.aotbuild.models.tuned.inductor.max_autotun",
            'did you mean "max_autotune"?',
        ),
    ),
    "unknown option in a group": (
        ("enable_kernel_profile = false", "enable_kernel_profil = false"),
        (
            'Inductor has no option "cpp.enable_kernel_profil"',
            'did you mean "cpp.enable_kernel_profile"?',
        ),
    ),
    "wrong type": (
        ("max_fusion_size = 8", 'max_fusion_size = "8"'),
        (
            "the option \"max_fusion_size\" is a int, found '8'",
            "tool.aotbuild.models.special.targets.cpu.inductor.max_fusion_size",
            "write a value such as 64",
        ),
    ),
    "a number for a switch": (
        ("freezing = true", "freezing = 1"),
        ('the option "freezing" is a bool, found 1', "write a value such as false"),
    ),
    "an option of aotbuild's": (
        ("max_autotune = true", "aot_inductor.package = false"),
        (
            'the option "aot_inductor.package" is set by aotbuild',
            "tool.aotbuild.models.tuned.inductor.aot_inductor.package",
            "fix: remove it",
        ),
    ),
    "the instructions of the target": (
        ("inductor = { epilogue_fusion = false }", "inductor = { cpp.simdlen = 512 }"),
        ('the option "cpp.simdlen" is set by aotbuild', "tool.aotbuild.inductor.cpp.simdlen"),
    ),
    "an option twice": (
        ("max_autotune = true", '"cpp.enable_kernel_profile" = true'),
        ('the option "cpp.enable_kernel_profile" is given twice', "fix: remove one"),
    ),
    "unknown target": (
        ("targets.cpu-x86-64-v3", "targets.cpu-x86-64-v33"),
        ("cpu-x86-64-v33", 'did you mean "cpu-x86-64-v3"?'),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_option_stops_the_plan(
    project: Callable[[str], Path], tmp_path: Path, case: str
) -> None:
    change, said = WRONG[case]
    with pytest.raises(AotBuildError) as caught:
        plan(edited(project("options"), change), ["--all"], tmp_path / "build")
    block = " ".join(caught.value.block().split())
    for text in said:
        assert text in block


def test_a_wrong_option_stops_the_build(project: Callable[[str], Path]) -> None:
    change, said = WRONG["unknown option"]
    assert_refused(pip_wheel(edited(project("options"), change)), *said)


def test_an_unknown_profile_stops_the_build(project: Callable[[str], Path]) -> None:
    build = pip_wheel(project("options"), env={"AOTBUILD_PROFILE": "relase"})
    assert_refused(build, '"relase"', "AOTBUILD_PROFILE", 'did you mean "release"?')
