"""Code without streams: what is rewritten, and what stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from aotbuild.steps.compile.small_headers import (
    headers_digest,
    with_small_headers,
    without_streams,
    write_small_headers,
)

TEXT, PRINTED = "aotbuild::text::Text", "aotbuild::text::Printed()"


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ('std::stringstream ss; ss << "n" << 1;', f'{TEXT} ss; ss << "n" << 1;'),
        ("std::ostringstream oss;", f"{TEXT} oss;"),
        ('std::cerr << "a"\n  << name << "\\n";', f'{PRINTED} << "a"\n  << name << "\\n";'),
        ("std::stringstream stream{stack};", None),
        ("void print(std::ostringstream& stream);", None),
        ("std::cerr << text << std::endl;", f"{PRINTED} << text << '\\n';"),
        ("std::cerr << std::endl << text;", None),
        ("std::cerr << std::hex << number;", None),
        ("std::cout << text;", None),
    ],
)
def test_what_is_rewritten(code: str, changed: str | None) -> None:
    assert without_streams(code) == (changed or code)


def test_headers_follow_the_one_that_may_be_precompiled() -> None:
    code = "\n#include <cpu.h>\n#include <map>\nstd::stringstream ss;\n"
    lines = with_small_headers(code).splitlines()
    assert lines[1:4] == ["#include <cpu.h>", "#include <aotbuild_text.h>", "#include <map>"]
    assert with_small_headers("#include <cpu.h>\nint i;\n") == "#include <cpu.h>\nint i;\n"


def test_no_stream_is_left_in_the_code_of_each_library(tmp_path: Path) -> None:
    """Where torch writes it in another way, libraries are half a megabyte larger."""
    write_small_headers(tmp_path)
    runtime = "torch/csrc/inductor/aoti_runtime"
    model = (tmp_path / runtime / "model_base.h").read_text("utf-8")
    assert not re.search(r"std::(regex|smatch)\b", model)
    include = Path(torch.__file__).parent / "include"
    for name in (f"{runtime}/model_base.h", f"{runtime}/model_container.h", f"{runtime}/utils.h"):
        text, original = (tmp_path / name).read_text("utf-8"), (include / name).read_text("utf-8")
        assert "std::stringstream" not in text
        assert not re.search(r"std::cerr\s*<<", text)
        # Lines of messages are those of torch's own header.
        first, line, rest = text.split("\n", 2)
        assert (first, line) == (
            "#include <aotbuild_text.h>",
            f'#line 1 "{include / name}"',
        )
        assert rest.count("\n") == original.count("\n")
    assert "std::stringstream" not in (tmp_path / "torch/headeronly/util/shim_utils.h").read_text()
    assert (tmp_path / "iostream").is_file()


def test_the_digest_names_no_path() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", headers_digest())


@pytest.mark.parametrize("result", ["ss", "std::move(ss)"])
def test_a_message_is_put_together_without_a_stream_in_any_torch(result: str) -> None:
    code = f"std::ostringstream ss;\n    _str(ss, args...);\n    return {result}.str();"
    assert "Text() << ... << args).str(); } else {" in without_streams(code)
    assert "std::basic_ostringstream<char> ss; _str(ss, args...);" in without_streams(code)


def test_a_stream_that_a_function_takes_stays_one() -> None:
    code = "std::ostringstream ss;\n    _str(ss, args...);\n    return made_otherwise(ss);"
    assert without_streams(code) == code
