"""Files of a build: whole or not at all, and untouched when nothing changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aotbuild.errors import reported
from aotbuild.steps.files import (
    plain_directory,
    replacing,
    replacing_directory,
    scratch,
    write_depfile,
    write_if_changed,
    write_text,
)

LONG_AGO = 1_000_000_000


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # a rename works only within a file system
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_failure_before_anything_is_written_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="early"), replacing(tmp_path / "file.txt"):
        raise ValueError("early")
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file.txt"):
        pass
    assert names(tmp_path) == []


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "package"
    path.mkdir()
    (path / "old.txt").touch()
    with replacing_directory(path) as temporary:
        (temporary / "new.txt").touch()
        assert names(path) == ["old.txt"]
    assert names(path) == ["new.txt"]
    assert names(tmp_path) == ["package"]


def test_a_failed_block_leaves_the_old_directory_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "package"
    path.mkdir()
    (path / "old.txt").touch()

    def fail() -> None:
        with replacing_directory(path) as temporary:
            (temporary / "new.txt").touch()
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        fail()
    assert names(path) == ["old.txt"]
    assert names(tmp_path) == ["package"]


def test_what_a_killed_build_left_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "package"
    with replacing_directory(path) as temporary:
        left = temporary
    (left / "deep").mkdir(parents=True)
    with replacing_directory(path) as temporary:
        assert temporary == left
        assert names(temporary) == []
    assert names(tmp_path) == ["package"]


def test_a_scratch_directory_is_gone_at_the_end(tmp_path: Path) -> None:
    with scratch(tmp_path) as directory:
        (directory / "file.txt").touch()
        assert directory.parent == tmp_path
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "a\\b"])
def test_the_compiler_gets_a_directory_whose_path_is_not_taken_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plain, odd = tmp_path / "plän-$x#1", tmp_path / name
    plain.mkdir()
    odd.mkdir()
    assert plain_directory(plain) == plain
    monkeypatch.setattr("tempfile.tempdir", str(plain))
    assert plain_directory(odd) == plain
    monkeypatch.setattr("tempfile.tempdir", str(odd))
    assert " " not in str(plain_directory(odd))


def test_an_equal_file_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_if_changed(path, "{}\n")
    os.utime(path, (LONG_AGO, LONG_AGO))
    write_if_changed(path, "{}\n")
    assert path.stat().st_mtime == LONG_AGO
    write_if_changed(path, "{1}\n")
    assert path.stat().st_mtime > LONG_AGO
    assert path.read_text() == "{1}\n"


def test_a_file_of_other_bytes_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"\xff\xfe")
    write_if_changed(path, "text")
    assert path.read_text() == "text"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("plain.py", "plain.py"),
        ("two words.py", "two\\ words.py"),
        ("sharp#.py", "sharp\\#.py"),
        ("dollar$.py", "dollar$$.py"),
        ("ümlaut.py", "ümlaut.py"),
    ],
)
def test_a_depfile_escapes_what_make_would_take_apart(
    tmp_path: Path, name: str, escaped: str
) -> None:
    write_depfile(tmp_path / "out.json", [tmp_path / name])
    text = (tmp_path / "out.json.d").read_text(encoding="utf-8")
    assert text == f"{tmp_path}/out.json: \\\n  {tmp_path}/{escaped}\n"


def test_a_depfile_lists_each_file_once_in_a_fixed_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tmp_path / "build"
    build.mkdir()
    monkeypatch.chdir(build)
    files = [tmp_path / "b.py", tmp_path / "a.py", tmp_path / "b.py", Path("own.json")]
    write_depfile(Path("out.json"), files)
    text = (build / "out.json.d").read_text()
    # What is of the build is named as Ninja names it, which runs in the directory above.
    names = [tmp_path / "a.py", tmp_path / "b.py", "build/own.json"]
    assert text == " \\\n  ".join(["build/out.json:", *map(str, names)]) + "\n"


def test_a_depfile_without_dependencies_is_still_a_rule(tmp_path: Path) -> None:
    write_depfile(tmp_path / "out.json", [])
    assert (tmp_path / "out.json.d").read_text() == f"{tmp_path}/out.json:\n"


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A file whose next content meets a full disk."""
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip("this system has no /dev/full")
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(tmp_path / path.name) as temporary:
        part = temporary
        temporary.write_text("old")
    part.symlink_to(device)
    return path


def test_a_full_disk_keeps_the_old_file(full_disk: Path) -> None:
    with pytest.raises(SystemExit, match="aotbuild: error: the disk is full"), reported():
        write_text(full_disk, "new")
    assert full_disk.read_text() == "old"
    assert names(full_disk.parent) == ["file.txt"]


def test_a_full_disk_is_told_with_the_name_of_the_file(full_disk: Path) -> None:
    # The error of a failed write, unlike that of a failed open, names no file by itself.
    with pytest.raises(SystemExit, match=r"while writing .*file\.txt"), reported():
        write_text(full_disk, "new")
