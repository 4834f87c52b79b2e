"""The C++ compiler as Inductor calls it: a script that adds what Inductor has no option for.

Only kernels are compiled for the CPU level of a library. The code around them is for the lowest
level, so that it is shared between levels too; what all models have in common of it is linked in
(``shared_code.py``).
"""

from __future__ import annotations

import functools
import re
import shlex
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.steps.compile.small_headers import (
    headers_digest,
    with_small_headers,
    write_small_headers,
)
from aotbuild.steps.identity import aotbuild_identity
from aotbuild.target import Target, lowest
from aotbuild.toolchain import (
    NO_FAST_MATH,
    PLAIN_STACK,
    compiler_name,
    compiler_version,
    without_launcher,
)

CompilerCall = Callable[[str, str], list[str]]
"""Gives the command that compiles a source file to an object file."""

WRAPPER = Path("torch/csrc/inductor/aoti_include/cpu.h")
"""What the code around the kernels includes first."""

_INTERFACE = Path("_inductor/codegen/aoti_runtime/interface.cpp")
"""What Inductor writes into the code around the kernels of each model, in torch's package."""
_PRINTED = re.compile(r"^\s*std::cerr << [^;]*;[ \\]*\n", re.MULTILINE)
"""A line of a macro that prints an error."""
_KEPT_MESSAGE = "g_aoti_last_error"
"""What keeps the message of an error."""
_MODEL = "#include <torch/csrc/inductor/aoti_runtime/model.h>\n"
"""What the rest of that code needs of it."""

AROUND, KERNELS = "around", "kernels"
"""The parts of what is shared: for the code around the kernels, and for the kernels."""
SOURCE, OBJECT, INCLUDE = "common.cpp", "common.o", "include"
"""In the directory of a part: the source of an object file, that file, and headers."""

_IDLE = ".idle"
"""After the name of the script: the file whose presence lets it only make empty files."""

_HEADERS = ".headers"
"""After the name of the script: the directory of headers that are found before all others."""

_OBJECTS = ".objects"
"""After the name of the script: the directory of the object files of the library."""

_LINKED = ".linked"
"""After the name of the script: the file with the arguments of the last link, a line each."""

_SECTIONS = ["-ffunction-sections", "-fdata-sections"]
"""Flags by which the linker leaves out each function that nothing calls."""

_WITHOUT_LIBTORCH = """\
  for word do
    shift
    [ "$word" = -ltorch ] || set -- "$@" "$word"
  done"""
"""In the script, where a library is linked: leaves libtorch out.

Inductor (torch 2.13 to 2.15) links it beside libtorch_cpu, which has all that a library needs. The
libtorch of CUDA builds also defines symbols of C++'s own library, such as a constructor of
``std::stringstream``: a library bound to these needs libtorch, which is not found before torch is
imported. ``test_libtorch_is_not_linked`` builds such a library without the script.
"""

_KEPT = f"""\
  mkdir -p "$0{_OBJECTS}"
  for word do
    case $word in
    "$0{_OBJECTS}"/*) ;;
    *.o) cp "$word" "$0{_OBJECTS}" || exit 1 ;;  # Inductor removes them
    esac
  done
  printf '%s\\n' "$@" > "$0{_LINKED}"
"""
"""In the script, where a library is linked: keeps what another link needs."""

_NOT_LINKED = f"""\
{_KEPT}
  while [ "$1" != -o ]; do shift || exit 1; done
  : > "$2"
  exit"""
"""In the script, where a library is linked elsewhere."""


@dataclass(frozen=True)
class Compiler:
    """A script in place of the compiler."""

    cxx: Sequence[str]
    """The command that the script stands for."""
    target: Target
    script: Path
    """It adds the flags that Inductor has no option for."""
    shared: Path
    """Directory of what is shared."""
    standalone: bool = False
    """Whether linking is left to ``standalone.py``."""
    headers: str = ""
    """Digest of the headers in ``own_headers``; none if empty."""

    def objects(self) -> list[Path]:
        """The object files of the last library, with the common one."""
        common = [self.common] if self.common.exists() else []
        return sorted(self._kept_objects.glob("*.o")) + common

    @property
    def _kept_objects(self) -> Path:
        return self.script.with_name(f"{self.script.name}{_OBJECTS}")

    def last_link(self) -> list[str]:
        """The arguments by which the last library was linked, without its name."""
        lines = self.script.with_name(f"{self.script.name}{_LINKED}").read_text("utf-8")
        words = lines.splitlines()
        output = words.index("-o")
        words[output : output + 2] = []
        kept = self._kept_objects
        return [str(kept / Path(word).name) if word.endswith(".o") else word for word in words]

    @property
    def includes(self) -> list[Path]:
        """Directories in which the script looks for headers first, if they are there."""
        first = [self.own_headers] if self.headers else []
        return first + [self.shared / part / INCLUDE for part in (AROUND, KERNELS)]

    @property
    def own_headers(self) -> Path:
        """Directory of headers in place of torch's and of C++'s own."""
        return self.script.with_name(f"{self.script.name}{_HEADERS}")

    @property
    def common(self) -> Path:
        """Object file that the script links to every library, if it is there."""
        return self.shared / AROUND / OBJECT

    @property
    def own(self) -> Path:
        """Where what is shared is kept if no other compile is to have it."""
        return self.shared / "kept"

    def idle(self) -> None:
        """Compile nothing from now on: the library is known."""
        self.script.with_name(f"{self.script.name}{_IDLE}").touch()

    def identity(self, *calls: CompilerCall) -> str:
        """What the bytes of a library depend on, besides its code."""
        lines = [" ".join(call("source", "object")) for call in calls]
        text = "\n".join([self.script.read_text("utf-8"), *lines])
        # Where all of it lies is in no library.
        for path, name in path_names(self.script.parent.parent).items():
            text = text.replace(path, name)
        cxx = without_launcher(self.cxx)
        text = text.replace(shlex.join(self.cxx), shlex.join(cxx))
        versions = f"{compiler_version(cxx)} {torch.__version__} {aotbuild_identity()['code']}"
        return f"{shlex.join(cxx)} {versions}\n{text}"

    def split(self, wrapper: str) -> str:
        """The code around the kernels, without what is in the common object file."""
        interface = interface_code()
        if self.common.exists() and interface in wrapper:
            wrapper = wrapper.replace(interface, _MODEL, 1)
        else:
            # Another torch, or another compiler: the whole is compiled for each model.
            self.common.parent.unlink(missing_ok=True)
        return with_small_headers(wrapper) if self.headers else wrapper


def write_compiler(
    cxx: Sequence[str], target: Target, scratch: Path, *, standalone: bool = False
) -> Compiler:
    """Write the script.

    Args:
        cxx: The command of the C++ compiler.
        target: What to compile for.
        scratch: Directory for all files, whose path stays out of the libraries.
        standalone: Whether it notes how it would link the library, and makes an empty file.
    """
    flags = ["-s"]  # strips when linking
    # g++ takes the last map that fits: the general one goes first.
    mapped = {"/": "", **path_names(scratch)}
    flags += [f"-ffile-prefix-map={old}={new}" for old, new in mapped.items()]
    directory = scratch / "compiler"
    directory.mkdir()
    script = directory / compiler_name(cxx)  # Inductor tells compilers apart by their names
    shared = scratch / "shared"
    shared.mkdir()
    headers = headers_digest() if standalone else ""
    compiler = Compiler(cxx, target, script, shared, standalone, headers)
    if headers:
        write_small_headers(compiler.own_headers)
        flags += _SECTIONS
    searched = " ".join(f"-I{directory}" for directory in compiler.includes)
    linking = f"""\
{_KEPT}
{_WITHOUT_LIBTORCH}
  set -- "$@" {shlex.join([*NO_FAST_MATH, *PLAIN_STACK])}
  [ -e {compiler.common} ] && set -- "$@" {compiler.common}"""
    around = rf"*.wrapper.cpp\ *|*/{SOURCE}\ *|*/{WRAPPER.name}\ *"
    script.write_text(
        f"""#!/bin/sh
# headers: {headers or "torch"}
if [ -e "$0{_IDLE}" ]; then
  while [ "$1" != -o ]; do shift || exit 1; done
  : > "$2"
  exit
fi
march={target.march}
case " $* " in
*" -shared "*)
{_NOT_LINKED if standalone else linking} ;;
{around}) march={lowest(target).march} ;;
esac
# The last -march wins.
exec {shlex.join(cxx)} {searched} "$@" {shlex.join(flags)} -march=$march
""",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return compiler


def path_names(scratch: Path) -> dict[str, str]:
    """Directories of this machine, and what stands for them in a library."""
    paths = sysconfig.get_paths()
    return {
        paths["include"]: "python",
        paths["platinclude"]: "python",
        str(Path(torch.__file__).parent): "torch",
        str(scratch): "build",
    }


def with_quiet_interface(wrapper: str) -> str:
    """The code around the kernels with an interface that returns errors, and prints none."""
    return wrapper.replace(_torch_interface(), interface_code(), 1)


@functools.cache
def interface_code() -> str:
    """The code of the interface, without lines that print an error with its frames in C++.

    That of torch 2.13 also keeps the message, from where the runtime takes it for the exception
    that it raises; where it does not, as in torch 2.12, the print stays.
    ``test_an_index_out_of_bounds_prints_nothing`` notices when torch no longer prints.
    """
    text = _torch_interface()
    return _PRINTED.sub("", text) if _KEPT_MESSAGE in text else text


@functools.cache
def _torch_interface() -> str:
    """The code of the interface, as Inductor writes it."""
    file = Path(torch.__file__).parent / _INTERFACE
    # A torch that has it elsewhere gets what is in no code.
    return file.read_text("utf-8").strip() if file.is_file() else "#error"
