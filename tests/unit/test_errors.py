"""Errors: one block of text, and one boundary that turns every exception into it."""

from __future__ import annotations

import errno
import os

import pytest

from aotbuild.errors import (
    AotBuildError,
    ConfigError,
    DiskError,
    debugging,
    from_os_error,
    reported,
    warn,
)


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AOTBUILD_DEBUG", raising=False)


def test_a_block_has_one_label_for_each_part() -> None:
    error = ConfigError("it broke", where="pyproject.toml: a.b", why="so it is", fix="mend it")
    assert error.block() == (
        "aotbuild: error: it broke\n"
        "  where: pyproject.toml: a.b\n"
        "  why:   so it is\n"
        "  fix:   mend it"
    )


def test_parts_that_are_not_given_are_left_out() -> None:
    assert AotBuildError("it broke").block() == "aotbuild: error: it broke"
    assert AotBuildError("a", fix="b").block() == "aotbuild: error: a\n  fix:   b"


def test_further_lines_stand_under_the_first_and_keep_their_own_indent() -> None:
    error = AotBuildError("it broke", why="first\n  second\n\nthird\n", fix="one\ntwo")
    assert error.block() == (
        "aotbuild: error: it broke\n"
        "  why:   first\n"
        "           second\n"
        "\n"
        "         third\n"
        "  fix:   one\n"
        "         two"
    )


def test_an_error_is_its_first_sentence() -> None:
    assert str(ConfigError("it broke", fix="mend it")) == "it broke"


def told(error: BaseException) -> str:
    with pytest.raises(SystemExit) as caught, reported():
        raise error
    assert caught.value.__suppress_context__
    assert isinstance(caught.value.code, str)
    return caught.value.code


def test_an_own_error_is_reported_as_its_block(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("it broke", where="here")
    assert told(error) == error.block()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_the_file(number: int) -> None:
    block = told(OSError(number, os.strerror(number), "net/library.so"))
    assert block.startswith("aotbuild: error: the disk is full while writing net/library.so\n")
    assert f"why:   {os.strerror(number)}" in block
    assert "free some space" in block
    assert "nothing half-written was kept" in block


def test_a_full_disk_without_a_file_is_still_told() -> None:
    error = from_os_error(OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(error, DiskError)
    assert error.what == "the disk is full while writing a file of the build"


def test_another_failure_of_the_system_names_the_file() -> None:
    block = told(PermissionError(errno.EACCES, "Permission denied", "net/library.so"))
    assert block == "aotbuild: error: cannot use net/library.so\n  why:   Permission denied"


@pytest.mark.parametrize("error", [KeyError("key"), OSError("no number"), AssertionError()])
def test_an_unexpected_error_is_told_with_its_place(error: Exception) -> None:
    block = told(error)
    assert block.startswith(f"aotbuild: error: unexpected {type(error).__name__}: ")
    assert "where: test_errors.py:" in block
    assert " in told" in block
    assert "AOTBUILD_DEBUG=1" in block
    assert len(block.splitlines()) == 3


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            ImportError("cannot import name 'x' from 'torch._y' (a.py)", name="torch._y"),
            "cannot import name 'x' from 'torch._y' (a.py)",
        ),
        (
            ModuleNotFoundError("No module named 'torch._y'", name="torch._y"),
            "there is no torch._y",
        ),
    ],
)
def test_what_torch_has_moved_is_told(error: ImportError, why: str) -> None:
    assert told(error) == (
        "aotbuild: error: this aotbuild cannot build with the torch that is installed\n"
        f"  why:   {why}\n"
        "  fix:   install a newer aotbuild, or an older torch"
    )


def test_a_torch_that_is_not_there_is_told() -> None:
    block = told(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert block.startswith("aotbuild: error: torch is not installed here\n")
    assert "add it to build-system.requires" in block


def test_no_error_is_no_exit() -> None:
    with reported():
        result = 1
    assert result == 1


@pytest.mark.parametrize(("value", "on"), [("1", True), ("yes", True), ("0", False), ("", False)])
def test_the_traceback_is_printed_when_debugging(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, value: str, on: bool
) -> None:
    monkeypatch.setenv("AOTBUILD_DEBUG", value)
    assert debugging() is on
    assert told(ConfigError("it broke")) == "aotbuild: error: it broke"
    assert ("Traceback (most recent call last)" in capsys.readouterr().err) is on


def test_a_warning_has_the_shape_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    warn("it is odd", where="here", why="aotbuild: error: is quoted", fix="look")
    assert capsys.readouterr().err == (
        "aotbuild: warning: it is odd\n"
        "  where: here\n"
        "  why:   aotbuild: error: is quoted\n"
        "  fix:   look\n"
    )


@pytest.mark.parametrize("whole", [True, False])
def test_an_interrupt_is_one_line_of_the_command(
    capsys: pytest.CaptureFixture[str], *, whole: bool
) -> None:
    with pytest.raises(SystemExit) as caught, reported(whole=whole):
        raise KeyboardInterrupt
    assert caught.value.code == 130
    line = "aotbuild: interrupted; nothing half-written was kept\n"
    assert capsys.readouterr() == ("", line if whole else "")
