"""Libraries for CPU levels that this machine cannot run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aotbuild.errors import VerifyError
from aotbuild.runtime import engines
from aotbuild.steps.artifacts.spec import Tools, VerifySpec, spec_text
from aotbuild.steps.verify import step
from aotbuild.steps.verify.step import run
from aotbuild.target import TARGETS


@pytest.fixture(autouse=True)
def old_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "cpu_features", lambda: {"avx": True, "avx2": True})


def spec(directory: Path, *, required: bool, target: str = "cpu-x86-64-v4") -> Path:
    written = VerifySpec(
        model="net",
        method="encode",
        target=target,
        project=str(directory),
        import_paths=[],
        package="demo.models",
        source="demo:Net",
        require_verified=required,
        exported="exported",
        compiled="compiled",
        engine="engine",
        output=str(directory),
        tools=Tools(aotbuild="0", torch="0"),
    )
    path = directory / "verify.json"
    path.write_text(spec_text(written))
    return path


def test_it_is_noted_and_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(spec(tmp_path, required=False))
    told = json.loads((tmp_path / "verified.json").read_text())
    assert told["unverified"].startswith("this machine's CPU lacks bmi, bmi2, ")
    assert (tmp_path / "verified.json.d").exists()
    said = capsys.readouterr().err
    assert "aotbuild: warning: net.encode is not verified for cpu-x86-64-v4" in said
    assert "pyproject.toml: tool.aotbuild.models.net.cpu-levels" in said
    assert "run python -m demo.models on a CPU that has it" in said


def test_it_is_an_error_where_that_is_asked(tmp_path: Path) -> None:
    with pytest.raises(VerifyError) as caught:
        run(spec(tmp_path, required=True))
    assert "net.encode cannot be verified for cpu-x86-64-v4 here" in str(caught.value)
    assert "avx512_f, avx512_vl; require-verified = true makes this an error" in caught.value.why
    assert not (tmp_path / "verified.json").exists()


def test_another_architecture_needs_an_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step, "emulator_for", lambda _: [])
    foreign = next(target for target in TARGETS.values() if target.cross)
    run(spec(tmp_path, required=False, target=foreign.name))
    told = json.loads((tmp_path / "verified.json").read_text())
    reason = f"nothing here runs {foreign.cross}: qemu-{foreign.cross} is not installed"
    assert told == {"unverified": reason}
    said = capsys.readouterr().err
    assert f"aotbuild: warning: net.encode is not verified for {foreign.name}" in said
    assert "fix:   install qemu-user (Debian: apt-get install qemu-user), or run python -m" in said
    with pytest.raises(VerifyError) as caught:
        run(spec(tmp_path, required=True, target=foreign.name))
    assert reason in caught.value.why
    assert caught.value.fix.startswith("install qemu-user")
