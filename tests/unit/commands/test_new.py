"""``aotbuild new``: what it writes, and where it writes nothing."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from aotbuild.__main__ import main
from aotbuild.commands.new import command


@pytest.mark.parametrize("existing", [False, True])
def test_a_project_is_written_and_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, existing: bool
) -> None:
    root = tmp_path / "Pitch-Net.2"
    if existing:
        root.mkdir()
    assert main(["new", str(root)]) == 0
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    files = {name for name in files if not name.endswith(".pyc")}
    assert files == {
        *(".gitignore", "README.md", "pyproject.toml", "train.py", "tests/test_models.py"),
        *("src/pitch_net_2/__init__.py", "src/pitch_net_2/network.py"),
    }
    table = tomllib.loads((root / "pyproject.toml").read_text())
    assert table["project"]["name"] == "Pitch-Net.2"
    assert table["tool"]["aotbuild"]["models"]["net"] == {
        "source": "pitch_net_2.network:Net",
        "weights": "random",
        "inputs": {"features": {"shape": ["batch", 16], "dtype": "float32"}},
        "dims": {"batch": {"min": 1, "max": 256}},
    }
    for name in files:
        text = (root / name).read_text()
        assert "PACKAGE" not in text
        assert "NAME" not in text
        if name.endswith(".py"):
            ast.parse(text)
    captured = capsys.readouterr()
    assert "aotbuild develop" in captured.out
    assert "warning" not in captured.err
    assert main(["check", "--project", str(root)]) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1net", '"1net" cannot be the name of a project'),
        ("pitch net", '"pitch net" cannot be the name of a project'),
        ("net-", '"net-" cannot be the name of a project'),
        ("full", "full is not empty"),
        ("file", "file is a file"),
    ],
)
def test_what_cannot_be_is_refused_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        main(["new", name])
    assert str(caught.value.code).startswith(f"aotbuild: error: {said}")
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_name_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new"]) == 2
    assert "Missing argument 'DIRECTORY'" in capsys.readouterr().err


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_nothing_is_kept_where_the_model_cannot_be_traced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    def failing(*_: object, **__: object) -> int:
        if error:
            raise error
        return 1

    monkeypatch.setattr(command, "init", failing)
    kept = tmp_path / "kept"
    kept.mkdir()
    for directory in (kept, tmp_path / "gone"):
        if error:
            with pytest.raises(error):
                command.new(directory)
        else:
            assert command.new(directory) == 1
    assert [*tmp_path.rglob("*")] == [kept]
