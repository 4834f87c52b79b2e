"""Which version of a symbol of glibc is linked in place of the default."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from aotbuild.cache.store import Store
from aotbuild.steps.older_glibc import chosen, numbers, older_libraries, wrapped_logarithms


@pytest.mark.parametrize(
    ("versions", "version"),
    [
        ({"GLIBC_2.2.5": False, "GLIBC_2.34": True}, "GLIBC_2.2.5"),
        ({"GLIBC_2.34": True, "GLIBC_2.3.3": False, "GLIBC_2.2.5": False}, "GLIBC_2.3.3"),
        ({"GLIBC_2.2.5": False, "GLIBC_2.14": True}, "GLIBC_2.14"),  # as memcpy
        (
            {"GLIBC_2.2.5": False, "GLIBC_2.27": True},
            "GLIBC_2.27",
        ),  # as expf, whose older one is slower
        ({"GLIBC_2.2.5": False, "GLIBC_2.27": False, "GLIBC_2.41": True}, "GLIBC_2.27"),
        ({"GLIBC_2.17": False, "GLIBC_2.29": True}, "GLIBC_2.17"),  # the first one of aarch64
        ({"GLIBC_2.35": True}, "GLIBC_2.35"),  # no older system has it
        ({"GLIBC_2.28": False, "GLIBC_2.34": True}, "GLIBC_2.28"),
        ({"GLIBC_2.28": False, "GLIBC_2.31": False, "GLIBC_2.34": True}, "GLIBC_2.28"),
        ({"GLIBC_2.2.5": False}, None),  # nothing can be linked to it by its name
    ],
)
def test_the_version(versions: dict[str, bool], version: str | None) -> None:
    assert chosen(versions) == version


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("GLIBC_2.2.5") < numbers("GLIBC_2.17") < numbers("GLIBC_2.34")


@pytest.mark.skipif(shutil.which("g++") is None, reason="asks g++ where glibc is")
def test_a_compiler_that_cannot_link_stubs_does_without(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in *-print-file-name=*|--version) exec g++ "$@" ;; esac\nexit 1\n'
    )
    compiler.chmod(0o755)
    stubs = older_libraries([str(compiler)], tmp_path / "stubs", Store.of_build(tmp_path))
    assert stubs == []
    assert wrapped_logarithms(stubs) == []
