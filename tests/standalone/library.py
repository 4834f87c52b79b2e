"""The functions of ``aotbuild/standalone`` as a library that tests can call with torch's tensors.

``call("aoti_torch_cpu_topk", tensor, 3, -1, True, True)`` gives what the function returns. How a
function is called is read from torch's headers, which declare it.
"""

from __future__ import annotations

import ctypes
import functools
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from aotbuild.cache.store import Store
from aotbuild.steps.compile.cxx import Compiler
from aotbuild.steps.compile.standalone import compiled_sources, sources
from aotbuild.target import TARGETS
from aotbuild.toolchain import find_cxx

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "aotbuild" / "standalone"
HEADERS = Path(torch.__file__).parent / "include"
_SHIMS = HEADERS / "torch/csrc/inductor/aoti_torch"
_HEADERS = ("c/shim.h", "generated/c_shim_cpu.h", "generated/c_shim_aten.h")

_DECLARATION = re.compile(r"AOTI_TORCH_EXPORT\s+AOTITorchError\s+(aoti_torch_\w+)\(([^)]*)\);")
_DTYPES = {
    torch.uint8: 0,
    torch.int8: 1,
    torch.int16: 2,
    torch.int32: 3,
    torch.int64: 4,
    torch.float16: 5,
    torch.float32: 6,
    torch.float64: 7,
    torch.complex64: 9,
    torch.complex128: 10,
    torch.bool: 11,
    torch.bfloat16: 15,
    torch.uint16: 27,
    torch.uint32: 28,
    torch.uint64: 29,
}


@functools.cache
def declarations() -> dict[str, list[tuple[str, str]]]:
    """Type and name of each parameter, by the names of torch's functions."""
    found = {}
    for header in [
        *(_SHIMS / "c").glob("shim.h"),
        *(_SHIMS / "generated").glob("c_shim_[ac][pt]*.h"),
    ]:
        text = re.sub(r"//.*", "", (_SHIMS / header).read_text("utf-8"))
        for name, parameters in _DECLARATION.findall(text):
            split = [p.strip().rpartition(" ") for p in parameters.split(",") if p.strip()]
            found[name] = [(kind.strip(), called) for kind, _, called in split]
    return found


_NUMBERS: dict[str, Any] = {
    "int64_t": ctypes.c_int64,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "double": ctypes.c_double,
    "bool": ctypes.c_bool,
}


class Library:
    """The functions of object files, each behind one that answers with an error's message."""

    def __init__(self, directory: Path, target: str) -> None:
        """Link the object files that builds link, by way of their cache.

        Args:
            directory: For all files; a library that is there is taken.
            target: The name of the target that they are compiled for.
        """
        compiler = Compiler(find_cxx(), TARGETS[target], directory, directory)
        made = compiled_sources(compiler, list(sources()), Store.of_build(), directory)
        self.objects = dict(zip(sources(), made, strict=True))
        symbols = subprocess.run(
            ["nm", "-g", "--defined-only", *self.objects.values()],
            check=True,
            text=True,
            capture_output=True,
        ).stdout
        defined = set(re.findall(r"\bT (aoti_torch_\w+)", symbols))
        self.names = sorted(defined & declarations().keys())
        library = directory / "standalone.so"
        if not library.exists():
            self._link(directory / "calls.cpp", library)
        self._library = ctypes.CDLL(str(library))
        self._library.message.restype = ctypes.c_char_p

    def _link(self, calls: Path, library: Path) -> None:
        calls.write_text("\n".join(_wrappers(self.names)), encoding="utf-8")
        command = ["g++", "-std=c++20", "-O2", "-fPIC", "-shared", f"-I{HEADERS}"]
        options = ["-nodefaultlibs", "-Wl,-Bsymbolic", "-Wl,-z,defs"]
        options += ["-lstdc++", "-lm", "-lc", "-lgcc_s"]
        # What stands in for newer functions of the C library is linked with options of its own.
        system = {name for name, each in sources().items() if each.path.parent.name == "system"}
        objects = [path for name, path in self.objects.items() if name not in system]
        subprocess.run([*command, calls, *objects, "-o", library, *options], check=True)

    def call(self, name: str, *values: Any) -> Any:
        """Call a function with its arguments in order; the lengths of lists are left out.

        Returns:
            A tensor, a number, or a tuple of them; None where it returns nothing.

        Raises:
            RuntimeError: It failed.
        """
        left, words, outputs = list(values), list[Any](), list[tuple[str, ctypes.c_void_p]]()
        kept: list[Any] = []
        parameters = iter(declarations()[name])
        for kind, parameter in parameters:
            if re.match(r"ret", parameter) and kind.endswith("*"):
                outputs.append((kind, ctypes.c_void_p()))
                words.append(ctypes.byref(outputs[-1][1]))
                continue
            value = left.pop(0)
            word, with_length = self._word(kind, value, kept)
            words.append(word)
            if with_length:
                next(parameters)
                words.append(ctypes.c_int64(len(value or ())))
        assert not left, f"{len(left)} arguments too many"
        failed = getattr(self._library, f"call_{name}")(*words)
        for handle in kept:
            self._library.call_aoti_torch_delete_tensor_object(handle)
        if failed:
            raise RuntimeError(self._library.message().decode())
        results = tuple(self._result(kind, word) for kind, word in outputs)
        return results[0] if len(results) == 1 else results or None

    def _word(self, kind: str, value: Any, kept: list[Any]) -> tuple[Any, bool]:
        """An argument, and whether the next one is its length."""
        plain, stars = kind.removeprefix("const ").rstrip("*"), kind.count("*")
        if plain == "char":
            text = None if value is None else ctypes.c_char_p(value.encode())
            return (ctypes.byref(text) if text and stars == 2 else text), False
        if plain == "AtenTensorHandle":
            return self._tensors(stars, value, kept)
        if value is None:  # an optional number, or an optional list of them
            return None, kind in {"const int64_t*", "const int64_t**"}
        if isinstance(value, Sequence):
            return (_NUMBERS[plain] * len(value))(*value), True
        word = _NUMBERS[plain](_DTYPES.get(value, value))
        return (ctypes.byref(word) if stars else word), False

    def _tensors(self, stars: int, value: Any, kept: list[Any]) -> tuple[Any, bool]:
        """A tensor, one that may be missing, or a list of such, and whether it is a list."""
        if isinstance(value, Sequence):
            handles = [None if tensor is None else self._handle(tensor) for tensor in value]
            kept += [handle for handle in handles if handle]
            if stars == 1:
                return (ctypes.c_void_p * len(handles))(*handles), True
            cells = [
                handle and ctypes.cast(ctypes.pointer(handle), ctypes.c_void_p)
                for handle in handles
            ]
            return (ctypes.c_void_p * len(cells))(*cells), True
        if value is None:
            return None, False
        kept.append(self._handle(value))
        return (ctypes.byref(kept[-1]) if stars else kept[-1]), False

    def _handle(self, tensor: torch.Tensor) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        sizes = (ctypes.c_int64 * max(tensor.dim(), 1))(*tensor.shape)
        strides = (ctypes.c_int64 * max(tensor.dim(), 1))(*tensor.stride())
        assert not self._library.call_aoti_torch_create_tensor_from_blob(
            ctypes.c_void_p(tensor.data_ptr()),
            ctypes.c_int64(tensor.dim()),
            sizes,
            strides,
            ctypes.c_int64(0),
            _DTYPES[tensor.dtype],
            0,
            0,
            ctypes.byref(handle),
        )
        return handle

    def _result(self, kind: str, word: ctypes.c_void_p) -> Any:
        if kind != "AtenTensorHandle*":
            return ctypes.c_int64.from_buffer(word).value
        if not word:
            return None
        data, sizes, strides = (ctypes.c_void_p() for _ in range(3))
        ndim, dtype = ctypes.c_int64(), ctypes.c_int32()
        self._library.call_aoti_torch_get_data_ptr(word, ctypes.byref(data))
        self._library.call_aoti_torch_get_dim(word, ctypes.byref(ndim))
        self._library.call_aoti_torch_get_sizes(word, ctypes.byref(sizes))
        self._library.call_aoti_torch_get_strides(word, ctypes.byref(strides))
        self._library.call_aoti_torch_get_dtype(word, ctypes.byref(dtype))
        shape, stride = (
            list((ctypes.c_int64 * ndim.value).from_address(cells.value or 0)) if ndim.value else []
            for cells in (sizes, strides)
        )
        torch_dtype = next(key for key, number in _DTYPES.items() if number == dtype.value)
        made = torch.empty_strided(shape, stride, dtype=torch_dtype)
        span = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
        if made.numel():
            ctypes.memmove(made.data_ptr(), data.value or 0, span * made.element_size())
        self._library.call_aoti_torch_delete_tensor_object(word)
        return made


def _wrappers(names: Sequence[str]) -> Iterator[str]:
    """C++ code that calls each function, and keeps the message of an exception."""
    yield "#include <exception>\n#include <string>"
    for header in _HEADERS:
        yield f"#include <torch/csrc/inductor/aoti_torch/{header}>"
    yield "static thread_local std::string kept;"
    yield 'extern "C" const char* message() { return kept.c_str(); }'
    for name in names:
        parameters = declarations()[name]
        taken = ", ".join(f"{kind} {called}" for kind, called in parameters)
        given = ", ".join(called for _, called in parameters)
        yield (
            f'extern "C" AOTITorchError call_{name}({taken}) {{\n'
            f"  try {{ return {name}({given}); }}\n"
            f"  catch (const std::exception& e) {{ kept = e.what(); return 1; }}\n}}"
        )
