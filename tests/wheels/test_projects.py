"""Projects laid out in other ways: own CMakeLists.txt, src/, sdist, odd paths."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from torch_pin import REQUIRED
from wheels import Installed, install, pip_wheel, write_speech_weights

ProjectFactory = Callable[[str], Path]


def test_a_cmake_project_with_an_extension_beside_the_models(
    installed: Callable[[str], Installed],
) -> None:
    stranger = installed("stranger")
    assert "cp3" in stranger.wheel.name  # the extension ties the wheel to one Python
    metadata = stranger.files["signal_kit-2.0.dist-info/METADATA"].decode()
    assert "Requires-Dist: packaging>=23" in metadata
    assert f"Requires-Dist: {REQUIRED}" in metadata
    names = set(stranger.files)
    info = "signal_kit-2.0.dist-info"
    assert {f"{info}/aotbuild.json", f"{info}/sboms/aotbuild.cdx.json"} < names
    assert "signalkit/compiled/nets/_gain.py" in names
    assert "signalkit/compiled/nets/_unused.py" not in names  # aotbuild_add_model(gain) alone
    result = stranger.run(
        "import json, torch\nfrom signalkit.compiled.nets import gain\n"
        "from signalkit._peak import peak\n"
        "print(json.dumps([gain(torch.tensor([0.5, 1.0])).tolist(), peak([1, 3, 2])]))"
    )
    assert result[0] == pytest.approx([0.9051482, 0.9950548])
    assert result[1] == 3.0


def test_a_package_that_imports_its_own_compiled_model(
    installed: Callable[[str], Installed],
) -> None:
    speech = installed("srcdir")
    shape = speech.run(
        "import json, torch, speech_kit\n"
        "print(json.dumps(list(speech_kit.net(torch.rand(7, 40)).shape)))"
    )
    assert shape == [7, 3]


def test_a_wheel_from_the_sdist_equals_the_one_from_the_tree(
    installed: Callable[[str], Installed], project: ProjectFactory, tmp_path: Path
) -> None:
    from_tree = installed("srcdir")
    source = project("srcdir")
    write_speech_weights(source)
    subprocess.run(["git", "init", "--quiet"], cwd=source, check=True)
    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "build",
            "--sdist",
            "--no-isolation",
            "--outdir",
            str(tmp_path),
        ]
        + [str(source)],
        check=True,
        capture_output=True,
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert names.count("speech_kit-1.0/checkpoints/net.pt") == 1
    build = pip_wheel(sdist)
    assert build.returncode == 0, build.output
    from_sdist = install(build, tmp_path / "installed", from_tree.python)
    assert from_sdist.files == from_tree.files
