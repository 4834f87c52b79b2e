"""Step compile: a program and a target become a shared library, its weights and a build record."""

from __future__ import annotations

import inspect
import os
import re
import shutil
from pathlib import Path

import torch

from aotbuild.build.callspec import CallSpec
from aotbuild.build.files import plain_directory, replacing, scratch, write_depfile
from aotbuild.build.flat import MODULE
from aotbuild.build.inductor import Compiled, compile_library
from aotbuild.build.quantize import load_operators
from aotbuild.build.ranges import compiled_ranges
from aotbuild.build.record import BuildRecord
from aotbuild.build.source import importing, load_op_libraries
from aotbuild.build.spec import SHARED, CompileSpec, read_spec
from aotbuild.build.symbols import torch_symbols
from aotbuild.build.weights_file import describe, write_weights
from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path
from aotbuild.errors import AotBuildError, CompileError, warn
from aotbuild.runtime.manifest import Constant, Dim
from aotbuild.target import TARGETS
from aotbuild.toolchain import find_cxx


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``CompileSpec``."""
    spec = read_spec(CompileSpec, spec_file)
    exported, output = Path(spec.exported), Path(spec.output)
    path = call_path(spec.model, spec.method)
    where = located(path)
    target = TARGETS[spec.target]
    call = CallSpec.read(exported / "call.json")
    with importing(spec.import_paths, spec.package):
        load_op_libraries(call.op_libraries, Path(spec.project))
        if spec.quantize:
            load_operators()
        program = torch.export.load(exported / "program.pt2")
    with scratch(plain_directory(output.resolve())) as directory:
        # Inductor's own cache would outlive the build, and hold paths of it.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(directory / "cache")
        graph = _graph(program)
        if program.example_inputs is None:
            raise CompileError("the exported program has no example inputs", where=where)
        try:
            compiled = compile_library(
                graph,
                program.example_inputs,
                target,
                find_cxx(),
                directory,
                spec.options,
                _shared(),
            )
        except AotBuildError as error:
            error.where = error.where or where
            raise
        ranges = compiled_ranges(graph.graph, call.inputs, call.dims, call.example)
        record = _record_constants(compiled, output, where)
        library = output / "library.so"
        with replacing(library) as temporary:
            shutil.copyfile(compiled.library, temporary)
        proxy = output / "library.json"
        proxy.unlink(missing_ok=True)
        if compiled.proxy_nodes:
            shutil.copyfile(compiled.proxy_nodes, proxy)
    for name, dim in ranges.dims.items():
        if dim != call.dims[name]:
            _warn_narrowed(spec, name, call.dims[name], dim)
    conditions = sorted({*call.conditions, *ranges.conditions})
    if conditions:
        _warn_conditions(spec, conditions)
    write_depfile(output / "compiled.json", [])
    BuildRecord(
        target=target.name,
        dims=ranges.dims,
        conditions=conditions,
        constants=record,
        symbols=torch_symbols(library),
        proxy_nodes=proxy.exists(),
        compiled={"torch": torch.__version__, "march": target.march, "options": compiled.options},
    ).write(output / "compiled.json")


def _shared() -> Path | None:
    """Where what all compiles have in common is kept.

    It is outside of the specification, so that one more model compiles no other one again.
    """
    cache = os.environ.get("AOTBUILD_CACHE_DIR")
    if cache:
        return Path(cache).expanduser() / "headers"
    return SHARED.resolve() if SHARED.is_dir() else None


def _graph(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """A fresh module of the program: compiling changes it."""
    takes = inspect.signature(program.module).parameters
    module = program.module(**({"check_guards": False} if "check_guards" in takes else {}))
    assert isinstance(module, torch.fx.GraphModule)  # noqa: S101
    return module


_FIELD = re.compile(
    r"constants_info_\[(\d+)\]\.(name|original_fqn|shape|stride)\s*=\s*"
    r'(?:"((?:[^"\\]|\\.)*)"|\{([^}]*)\})'
)


def _record_constants(compiled: Compiled, output: Path, where: str) -> list[Constant]:
    """Write the weights file of this variant, and tell its constants by the library's names.

    The names, sizes and strides that the library expects are in its generated source. Nothing
    checks them at run time: other strides give garbage, a missing constant a crash.
    """
    fields: dict[int, dict[str, str]] = {}
    for index, key, text, numbers in _FIELD.findall(compiled.source.read_text(encoding="utf-8")):
        fields.setdefault(int(index), {})[key] = text or numbers
    expected = [entry for _, entry in sorted(fields.items())]
    tensors = {}
    for entry in expected:
        tensor = compiled.constants.get(entry["original_fqn"])
        fits = tensor is not None and (
            _numbers(entry["shape"]) == list(tensor.shape)
            and _numbers(entry["stride"]) == list(tensor.stride())
        )
        if tensor is None or not fits or entry["original_fqn"] in tensors:
            raise CompileError(
                f"the library's constant {entry['name']} is not the model's "
                f"{entry['original_fqn']}",
                where=where,
                fix="report it to the aotbuild project with the model's code",
            )
        tensors[entry["original_fqn"]] = tensor
    entries = write_weights(output / "weights.safetensors", tensors)
    constants = []
    for told, placed in zip(expected, entries, strict=True):
        fqn = told["original_fqn"]
        constants.append(describe(told["name"], _own_name(fqn), tensors[fqn], placed))
    return constants


def _own_name(fqn: str) -> str:
    """The name of a tensor in the project's module, without the traced module around it."""
    return fqn.removeprefix(f"{MODULE}.")


def _numbers(text: str) -> list[int]:
    return [int(number.strip().removesuffix("L")) for number in text.split(",") if number.strip()]


def _warn_narrowed(spec: CompileSpec, name: str, declared: Dim, found: Dim) -> None:
    def told(dim: Dim) -> str:
        return f"{dim.min} to {'any size' if dim.max is None else dim.max}"

    path = call_path(spec.model, spec.method)
    warn(
        f"{path.removeprefix('tool.aotbuild.models.')} will accept {name} from {told(found)}, "
        f"not {told(declared)}",
        where=located(f"{path}.dims.{name}"),
        why="Inductor specialised the code for this part of the range",
        fix=f"declare min = {found.min}"
        + (f", max = {found.max}" if found.max is not None else "")
        + f", or give another example size ({path}.dims.{name}.example)",
    )


def _warn_conditions(spec: CompileSpec, conditions: list[str]) -> None:
    path = call_path(spec.model, spec.method)
    warn(
        f"{path.removeprefix('tool.aotbuild.models.')} will accept only sizes for which "
        f"{' and '.join(conditions)}",
        where=located(f"{path}.dims"),
        why="torch specialised the code for these sizes",
        fix="give another example size (dims.<name>.example), or declare sizes that depend on one "
        "another by the same name",
    )
