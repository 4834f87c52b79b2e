"""What compiled libraries need of torch, and that they open where torch is not imported.

The libraries are compiled here; what is wrong with them comes of torch's builds and of compilers
that are not those of the tests.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from aotbuild.cache.store import Store
from aotbuild.commands.newest_symbols import versioned_symbols
from aotbuild.errors import CompileError
from aotbuild.runtime.machine import missing_symbols
from aotbuild.steps.compile.cxx import write_compiler
from aotbuild.steps.compile.opening import check_opening, opens_without_torch
from aotbuild.steps.compile.small_headers import write_small_headers
from aotbuild.steps.compile.standalone import link_options
from aotbuild.steps.compile.symbols import check_needed, torch_symbols
from aotbuild.steps.older_glibc import OLDEST, numbers, older_libraries
from aotbuild.steps.sources import source_directory
from aotbuild.target import TARGETS

WHERE = "pyproject.toml: tool.aotbuild.models.net"
TARGET = TARGETS["cpu-x86-64-v3"]
NOT_OPENED = "the library cannot be opened where torch is not imported"

Link = Callable[..., Path]


@pytest.fixture
def link(tmp_path: Path) -> Link:
    """A shared library of C++ code, by g++."""

    def link(name: str, code: str, *options: str) -> Path:
        library = tmp_path / name
        library.parent.mkdir(exist_ok=True)
        source = library.with_suffix(".cpp")
        source.write_text(code)
        command = ["g++", "-shared", "-fPIC", str(source), *options, f"-L{tmp_path}"]
        subprocess.run([*command, "-o", str(library)], check=True)
        return library

    return link


def needed(library: Path) -> list[str]:
    with library.open("rb") as file:
        section: Any = ELFFile(file).get_section_by_name(".dynamic")
        return [tag.needed for tag in section.iter_tags("DT_NEEDED")]


THROWING = """
namespace std { void __throw_bad_array_new_length(); }
extern "C" void call() { std::__throw_bad_array_new_length(); }
"""


def test_libtorch_is_not_linked(link: Link, tmp_path: Path) -> None:
    # A libtorch as that of CUDA builds, with a symbol of C++'s own library.
    link("libtorch.so", "namespace std { void __throw_bad_array_new_length() {} }")
    link("libtorch_cpu.so", 'extern "C" void aoti_torch_any() {}')
    options = ["-ltorch", "-ltorch_cpu"]
    usual = link("usual.so", THROWING, *options)
    assert "libtorch.so" in needed(usual)
    compiler = write_compiler(["g++"], TARGET, tmp_path)
    named = tmp_path / "with a blank.so"
    command = [str(compiler.script), "usual.cpp", "-shared", "-fPIC", f"-L{tmp_path}", *options]
    subprocess.run([*command, "-o", str(named)], check=True, cwd=tmp_path)
    assert not [name for name in needed(named) if "torch.so" in name]
    assert "libstdc++.so.6" in needed(named)
    assert torch_symbols(named, WHERE) == []  # with the version that libstdc++ has for it


def has_code_on_the_stack(library: Path) -> bool:
    with library.open("rb") as file:
        flags = [each["p_flags"] for each in ELFFile(file).iter_segments("PT_GNU_STACK")]
    return len(flags) != 1 or bool(flags[0] & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_the_stack_stays_free_of_code(tmp_path: Path) -> None:
    """As Inductor writes constants; glibc 2.41 does not open a library that wants it otherwise."""
    source = tmp_path / "constants.S"
    source.write_text(".data\n.globl constants\nconstants: .quad 1\n")
    compiler = write_compiler(["g++"], TARGET, tmp_path)
    made, library = tmp_path / "constants.o", tmp_path / "constants.so"
    subprocess.run([str(compiler.script), "-c", source, "-o", made], check=True)
    subprocess.run([str(compiler.script), made, "-shared", "-o", library], check=True)
    assert not has_code_on_the_stack(library)


NEEDING = """
extern "C" {
void aoti_torch_any();
void torch_delete_list(void*);
void of_a_library_of_operators();
__attribute__((weak)) void torch_delete_string(void*);
void* malloc(unsigned long);
void call() {
  aoti_torch_any();
  torch_delete_list(malloc(1));
  of_a_library_of_operators();
  if (&torch_delete_string) torch_delete_string(0);
}
}
"""


def test_all_that_torch_provides_is_recorded(link: Link) -> None:
    symbols = torch_symbols(link("net.so", NEEDING), WHERE)
    assert symbols == ["aoti_torch_any", "torch_delete_list"]
    assert missing_symbols(symbols) == ["aoti_torch_any"]


def test_what_the_system_has_too_is_not_of_torch(link: Link) -> None:
    link("libtorch_cpu.so", "namespace std { void __throw_bad_array_new_length() {} }")
    library = link("net.so", THROWING, "-ltorch_cpu")
    assert "libtorch_cpu.so" in needed(library)  # to whose copy it is bound, without a version
    assert torch_symbols(library, WHERE) == []


@pytest.mark.parametrize(
    ("declaration", "symbol"),
    [
        ("namespace std { void only_torch_has(); }", "std::only_torch_has()"),
        (
            "namespace std { struct only { void a() const &&; }; }",
            "((std::only&&)*(std::only*)0).a()",
        ),
        ("namespace __gnu_cxx { int only_torch_has(); }", "__gnu_cxx::only_torch_has()"),
    ],
)
def test_a_symbol_of_the_standard_library_that_only_torch_has_is_refused(
    link: Link, declaration: str, symbol: str
) -> None:
    library = link("net.so", f'{declaration}\nextern "C" void call() {{ {symbol}; }}')
    with pytest.raises(CompileError) as caught:
        torch_symbols(library, WHERE)
    error = caught.value
    assert error.what == "the library needs a symbol of C++'s own library that only torch has"
    assert error.where == WHERE
    assert "only" in error.why
    assert error.fix == "set CXX to a newer g++, whose libstdc++.so.6 has it"


def test_another_openmp_is_refused(link: Link) -> None:
    for name in ("libomp.so.5", "libiomp5.so", "libgomp-of-torch.so.1"):
        link(name, "int omp() { return 1; }", f"-Wl,-soname,{name}")
    for name in ("libomp.so.5", "libiomp5.so"):
        library = link("net.so", "int net;", "-Wl,--no-as-needed", f"-l:{name}")
        with pytest.raises(CompileError) as caught:
            check_needed(library, WHERE)
        error = caught.value
        assert error.what == f"the library needs {name}, a second OpenMP library"
        assert error.where == WHERE
        assert error.why.startswith("torch has libgomp")
        assert error.fix.startswith("set CXX to g++, without options that link another OpenMP")
    check_needed(link("net.so", "int net;", "-Wl,--no-as-needed", "-l:libgomp-of-torch.so.1"), "")


@pytest.mark.parametrize("text", [b"", b"\xcf\xfa\xed\xfe of macOS"])
def test_of_other_formats_nothing_is_known(tmp_path: Path, text: bytes) -> None:
    library = tmp_path / "net.so"
    library.write_bytes(text)
    assert torch_symbols(library, WHERE) == []
    check_needed(library, WHERE)


def test_a_library_is_opened_without_torch_being_imported(link: Link) -> None:
    code = 'extern "C" int aoti_torch_device_type_cpu();\nint net;'
    check_opening(link("net.so", code), WHERE)


def test_a_library_that_needs_another_one_is_refused(link: Link) -> None:
    link("libtorch.so", "int torch;")
    library = link("net.so", "int net;", "-Wl,--no-as-needed", "-ltorch")
    with pytest.raises(CompileError) as caught:
        check_opening(library, WHERE)
    assert caught.value.block() == (
        f"aotbuild: error: {NOT_OPENED}\n"
        f"  where: {WHERE}\n"
        "  why:   libtorch.so: cannot open shared object file: No such file or directory\n"
        "  fix:   remove options that link other libraries (such as -l in CXX), or report it to "
        "the aotbuild project"
    )


def test_libraries_that_need_torch_or_another_machine_are_not_opened() -> None:
    assert opens_without_torch(TARGET, [], proxied=False)
    assert not opens_without_torch(TARGET, ["operators"], proxied=False)
    assert not opens_without_torch(TARGET, [], proxied=True)
    for other in ({"device": "cuda"}, {"requires": ("a feature",)}):
        assert not opens_without_torch(dataclasses.replace(TARGET, **other), [], proxied=False)


def test_a_function_that_nothing_has_is_found_before_it_is_called(link: Link) -> None:
    code = 'extern "C" void aoti_torch_nowhere();\nvoid net() { aoti_torch_nowhere(); }'
    with pytest.raises(CompileError) as caught:
        check_opening(link("net.so", code), WHERE)
    assert caught.value.what == NOT_OPENED
    assert "undefined symbol: aoti_torch_nowhere" in caught.value.why


NEWER = """
#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>

extern "C" {
long __isoc23_strtol(const char*, char**, int);  // by which glibc 2.38 reads numbers
double test_log(double x) { return std::log(x); }
double test_log2(double x) { return std::log2(x); }
float test_log2f(float x) { return std::log2(x); }
double test_power(double x, double y) { return std::hypot(std::exp(x), std::pow(x, y)); }
long test_parsed(const char* text) { return __isoc23_strtol(text, nullptr, 10); }
int test_thrown(const char* text) {
  int thrown = 0;
  std::thread([&] {
    try {
      throw std::runtime_error(text);
    } catch (const std::exception& error) {
      thrown = error.what() == std::string(text);
    }
  }).join();
  return thrown;
}
void test_ended() { throw std::runtime_error("no one catches it"); }
}
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that is linked as stand-alone ones are."""
    directory = tmp_path_factory.mktemp("older")
    (directory / "newer.cpp").write_text(NEWER)
    system = source_directory("aotbuild") / "standalone" / "system"
    stubs = older_libraries(["g++"], directory / "glibc", Store.of_build(directory))
    library = directory / "older.so"
    sources = [directory / "newer.cpp", system / "glibc.cpp", system / "terminate.cpp"]
    command = ["g++", "-shared", "-fPIC", "-O1", "-s", "-ffunction-sections", *map(str, sources)]
    exported = directory / "exported.map"
    exported.write_text("{ global: test_*; local: *; };")
    options = link_options(stubs, exported)
    subprocess.run([*command, *options, "-o", str(library)], check=True)
    return library


def test_older_versions_of_the_c_library_are_linked(older: Path) -> None:
    versions = {name: numbers(v) for name, v in versioned_symbols(older.read_bytes())}
    assert versions["log"] <= OLDEST
    assert versions["hypot"] <= OLDEST
    assert versions["pthread_create"] <= OLDEST
    assert max(versions.values()) <= OLDEST
    assert [name for name in needed(older) if "stdc++" in name or "gcc" in name] == []
    assert not has_code_on_the_stack(older)


def test_older_functions_give_what_newer_ones_give(older: Path) -> None:
    library, mathematics = ctypes.CDLL(str(older)), ctypes.CDLL("libm.so.6")
    double, single = ctypes.c_double, ctypes.c_float
    for name, kind in (("log", double), ("log2", double), ("log2f", single)):
        functions = [getattr(library, f"test_{name}"), getattr(mathematics, name)]
        for function in functions:
            function.argtypes, function.restype = [kind], kind
        for x in (-1.0, -0.0, 0.0, 2.5, -math.inf, math.inf, math.nan, -1e-40):
            first, second = (struct.pack("d", function(x)) for function in functions)
            assert first == second, (name, x)
    library.test_power.argtypes, library.test_power.restype = [double, double], double
    assert library.test_power(2.0, 3.0) == math.hypot(math.exp(2.0), 8.0)
    assert library.test_parsed(b"-127 ") == -127
    assert library.test_thrown(b"a message") == 1


def test_the_end_by_an_exception_is_told(older: Path) -> None:
    code = f"import ctypes; ctypes.CDLL({str(older)!r}).test_ended()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert "instance of 'std::runtime_error'\n  what():  no one catches it\n" in done.stderr


def test_a_stream_that_code_uses_is_set_up(tmp_path: Path) -> None:
    write_small_headers(tmp_path / "headers")
    source, library = tmp_path / "printing.cpp", tmp_path / "printing.so"
    source.write_text(
        "#include <iostream>\n"
        "static const int printed = (std::cerr << 1.5 << std::endl, 0);\n"
        'extern "C" void call() { std::cerr << "called " << printed << std::endl; }\n'
    )
    streams = source_directory("aotbuild") / "standalone" / "system" / "streams.cpp"
    command = ["g++", "-shared", "-fPIC", "-static-libstdc++", f"-I{tmp_path / 'headers'}"]
    subprocess.run([*command, str(source), str(streams), "-o", str(library)], check=True)
    code = f"import ctypes; ctypes.CDLL({str(library)!r}).call()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "1.5\ncalled 0\n")
