"""A compiled library of another architecture, run in an emulator for the step verify.

The package that is verified runs as it does elsewhere, but for what opens and calls the library: a
program (``emulated.c``) does that in ``qemu-aarch64``, and gets tensors through pipes. It looks up
the library's functions by the code that the engine and the C interface have for it.
"""

from __future__ import annotations

import atexit
import importlib
import math
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from aotbuild.cache.store import Store
from aotbuild.runtime.engines import CallGate, not_loaded
from aotbuild.runtime.machine import DLPACK_DTYPES
from aotbuild.runtime.manifest import Constant
from aotbuild.steps.c_compiler import compile_c
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.sources import source_directory
from aotbuild.target import Target
from aotbuild.toolchain import find_cxx, without_launcher

_OF_THE_ENGINE = ("library.c", "library.h")
_CONSTANTS, _RUN, _THREADS = 1, 2, 3
_DTYPES = {pair: name for name, pair in DLPACK_DTYPES.items()}


def emulator_for(target: Target) -> list[str]:
    """The command that runs programs of a target here; empty where there is none."""
    return emulator(find_cxx(target.cross), target.cross) if target.cross else []


def emulator(cxx: Sequence[str], architecture: str) -> list[str]:
    """The command that runs programs of a cross-compiler here; empty where there is none.

    Args:
        cxx: Command of the compiler, whose C library the programs get.
        architecture: What it compiles for.
    """
    program = shutil.which(f"qemu-{architecture}") or shutil.which(f"qemu-{architecture}-static")
    loader = f"ld-linux-{architecture.replace('_', '-')}.so"
    question = [*without_launcher(cxx), "-print-file-name=libc.so.6"]
    done = subprocess.run(question, capture_output=True, text=True, check=False)
    library = Path(done.stdout.strip())
    if not program or not library.is_absolute() or not library.is_file():
        return []
    # The loader's path in programs is that of a system of its own: /lib/ld-linux-aarch64.so.1.
    for root in library.resolve().parents:
        if any(root.glob(f"lib*/{loader}*")):
            return [program, "-L", str(root)]
    return []


def emulate(package: str, target: Target, directory: Path) -> None:
    """Let a package that can be imported here, but not run, run its libraries in an emulator.

    Args:
        package: Its name.
        target: What its libraries are compiled for.
        directory: For the program that opens them.
    """
    command = emulating_command(target, directory)
    loader: Any = importlib.import_module(f"{package}._runtime.loader")
    loader.this_platform = lambda: target.platform
    loader.engine_module = lambda: emulate  # that of the package is for the other architecture
    loader.open_engine = lambda _manifest, _variant, library, *_: Emulated(command, library)


def emulating_command(target: Target, directory: Path) -> list[str]:
    """The command that runs a library in an emulator, which is named behind it.

    Args:
        target: What the library is compiled for.
        directory: For the program that opens it, which is compiled.
    """
    program = directory / "emulated"
    sources = source_directory("aotbuild")
    paths = [sources / "steps/verify/emulated.c", *(sources / "engine" / n for n in _OF_THE_ENGINE)]
    compile_c(
        program,
        {path.name: path.read_bytes() for path in paths},
        ["-ldl"],
        Store.of_build(),
        "the program that runs a library",
        "aotbuild/steps/verify",
        target.cross,
    )
    return [*emulator_for(target), str(program.absolute())]


class Emulated(CallGate):
    """A library in a process of an emulator."""

    call = None
    direct = None
    standalone = True

    def __init__(self, command: Sequence[str], library: Path) -> None:
        self._library = library
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process
        self._process = subprocess.Popen(
            [*command, str(library.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )
        atexit.register(self._close)
        super().__init__()

    def _close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def set_num_threads(self, count: int) -> None:
        """Let calls use so many threads of the emulator."""
        with self._lock:
            self._ask(_THREADS, count)

    def expects(self, constants: Mapping[str, Constant]) -> bool:
        """Whether the constants are those of the library, which answers when it gets them."""
        del constants
        return True

    def set_constants(self, constants: dict[str, Any]) -> None:
        """Hand over copies of constants, by name.

        Args:
            constants: Tensors.

        Raises:
            ModelLoadError: The library has ended, or was not opened in the first place.
        """
        try:
            self._ask(_CONSTANTS, len(constants), constants)
        except RuntimeError as error:  # the library may not have been opened
            raise not_loaded(self._library, error) from error

    def run(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Run the library, which may change what it is given."""
        with self._lock:
            named = {f"input {i}": tensor for i, tensor in enumerate(tensors)}
            return self._ask(_RUN, len(named), named)

    def _ask(
        self, request: int, count: int, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None  # noqa: S101
        assert taken is not None  # noqa: S101
        try:
            given.write(struct.pack("=2q", request, count))
            for name, tensor in (tensors or {}).items():
                _give(given, name, tensor)
            given.flush()
            status, size = _numbers(taken, 2)
            if status:
                raise RuntimeError(_taken(taken, size).decode(errors="replace"))
            results = [_take(taken) for _ in range(size)]
            for tensor in (tensors or {}).values() if request == _RUN else ():
                _take_back(taken, tensor)
        except (OSError, EOFError):
            code = self._process.wait()
            self._said.seek(0)
            said = self._said.read().decode(errors="replace").strip()
            raise RuntimeError(said or f"the emulator ended with {code}") from None
        return results


def _give(file: IO[bytes], name: str, tensor: torch.Tensor) -> None:
    label = name.encode()
    file.write(struct.pack("=q", len(label)) + label)
    shape, stride = list(tensor.shape), list(tensor.stride())
    code, bits = DLPACK_DTYPES[dtype_name(tensor.dtype)]
    file.write(struct.pack(f"={3 + 2 * len(shape)}q", code, bits, len(shape), *shape, *stride))
    data = _flat(tensor.detach(), _span(shape, stride)).view(torch.uint8).numpy()
    file.write(struct.pack("=q", data.nbytes))
    file.write(data.data)


def _take(file: IO[bytes]) -> torch.Tensor:
    code, bits, ndim = _numbers(file, 3)
    shape, stride = _numbers(file, ndim), _numbers(file, ndim)
    dtype = getattr(torch, _DTYPES[code, bits])
    (size,) = _numbers(file, 1)
    if not size:
        return torch.empty_strided(shape, stride, dtype=dtype)
    return torch.frombuffer(bytearray(_taken(file, size)), dtype=dtype).as_strided(shape, stride)


def _take_back(file: IO[bytes], tensor: torch.Tensor) -> None:
    """Let an input have what the call left in its memory."""
    (size,) = _numbers(file, 1)
    data = bytearray(_taken(file, size))
    own = _flat(tensor.detach(), _span(tensor.shape, tensor.stride())).view(torch.uint8)
    if data != own.numpy().data:
        own.copy_(torch.frombuffer(data, dtype=torch.uint8))


def _span(shape: Sequence[int], stride: Sequence[int]) -> int:
    """How many elements there are from a tensor's first one to its last."""
    if not math.prod(shape):
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))


def _flat(tensor: torch.Tensor, span: int) -> torch.Tensor:
    return tensor.as_strided((span,), (1,)) if span else torch.empty(0, dtype=tensor.dtype)


def _numbers(file: IO[bytes], count: int) -> tuple[int, ...]:
    return struct.unpack(f"={count}q", _taken(file, 8 * count))


def _taken(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data
