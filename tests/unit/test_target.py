"""Which targets there are for a machine."""

from __future__ import annotations

import pytest

from aotbuild import target
from aotbuild.errors import ConfigError, ToolchainError
from aotbuild.target import LEVELS, TARGETS, cpu_targets, higher_targets, usual_targets

V3_FLAGS = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm"}
V4_FLAGS = {*V3_FLAGS, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.fixture(params=["x86_64", "AMD64"])
def on_x86(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: request.param)


@pytest.fixture
def on_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")


def names(found: list[target.Target]) -> list[str]:
    return [one.name for one in found]


@pytest.mark.usefixtures("on_x86")
def test_targets_of_levels_are_sorted_and_of_this_architecture() -> None:
    levels = ["x86-64-v4", "armv8", "x86-64-v2"]
    assert names(cpu_targets(levels)) == ["cpu-x86-64-v2", "cpu-x86-64-v4"]
    assert names(usual_targets()) == ["cpu-x86-64-v3"]


@pytest.mark.usefixtures("on_arm")
def test_targets_on_arm() -> None:
    assert names(cpu_targets(LEVELS)) == ["cpu-armv8"]
    assert names(usual_targets()) == ["cpu-armv8"]
    assert names(higher_targets()) == []
    assert TARGETS["cpu-armv8"].march == "armv8-a"


@pytest.mark.usefixtures("on_x86")
@pytest.mark.parametrize(("flags", "found"), [(V3_FLAGS, []), (V4_FLAGS, ["cpu-x86-64-v4"])])
def test_a_higher_level_is_tried_where_it_runs(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], found: list[str]
) -> None:
    monkeypatch.setattr(target, "_flags", lambda: flags)
    assert names(higher_targets()) == found


def test_each_level_needs_all_of_those_below() -> None:
    v3, v4 = TARGETS["cpu-x86-64-v3"], TARGETS["cpu-x86-64-v4"]
    assert set(v3.requires) < set(v4.requires)


def test_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(ToolchainError) as caught:
        usual_targets()
    assert "there is no target for riscv64" in str(caught.value)
    assert "x86_64" in caught.value.fix


@pytest.mark.usefixtures("on_x86")
def test_another_architecture_can_be_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-aarch64")
    assert names(cpu_targets(LEVELS)) == ["cpu-armv8"]
    assert names(usual_targets()) == ["cpu-armv8"]
    assert names(higher_targets()) == []
    assert target.cross_architecture() == "aarch64"
    assert [each.name for each in TARGETS.values() if each.cross] == ["cpu-armv8"]
    assert TARGETS["cpu-armv8"].platform == "linux-aarch64"
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-x86_64")
    assert names(usual_targets()) == ["cpu-x86-64-v3"]
    assert target.cross_architecture() == ""


@pytest.mark.usefixtures("on_arm")
def test_on_arm_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-x86_64")
    with pytest.raises(ConfigError) as caught:
        cpu_targets(LEVELS)
    assert caught.value.why == "on linux-aarch64 it may be linux-aarch64"
