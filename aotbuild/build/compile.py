"""Step compile: a program and a target become a shared library, its weights and a build record."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from aotbuild.build.attempts import Attempt, Lower, best_attempt
from aotbuild.build.callspec import CallSpec
from aotbuild.build.files import plain_directory, replacing, scratch, write_depfile
from aotbuild.build.hints import hinted, hints_at
from aotbuild.build.inductor import Compiled, Setup, Shared, compile_library, set_up
from aotbuild.build.instructions import check_instructions
from aotbuild.build.quantize import load_operators
from aotbuild.build.ranges import Ranges, compiled_ranges
from aotbuild.build.record import BuildRecord
from aotbuild.build.reuse import Libraries
from aotbuild.build.shapes import Linear, dimension_symbols
from aotbuild.build.source import importing, load_op_libraries
from aotbuild.build.spec import CALL, INDEX, PRECOMPILE, SHARED, WEIGHTS, CompileSpec, read_spec
from aotbuild.build.stored import Stored, own_name
from aotbuild.build.symbols import torch_symbols
from aotbuild.build.weights_file import write_weights
from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path
from aotbuild.errors import AotBuildError, CompileError, warn
from aotbuild.passes import Applied, apply
from aotbuild.passes.operators import register_lowerings
from aotbuild.runtime.machine import onednn_version
from aotbuild.runtime.manifest import Constant, Dim
from aotbuild.target import TARGETS, Target
from aotbuild.toolchain import find_cxx


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``CompileSpec``."""
    spec = read_spec(CompileSpec, spec_file)
    exported, output = Path(spec.exported), Path(spec.output)
    where = located(call_path(spec.model, spec.method))
    target = TARGETS[spec.target]
    call = CallSpec.read(exported / CALL)
    applied: list[Applied] = []
    weights = Weights(
        Stored.read(exported.parent),
        spec.method,
        torch.device(target.device),
        freezing=bool(spec.options.get("freezing")),
    )
    with importing(spec.import_paths, spec.package):
        load_op_libraries(call.op_libraries, Path(spec.project))
        if spec.quantize:
            load_operators()
    if target.onednn:  # weights are packed for the target's CPUs, not for this one
        os.environ["ONEDNN_MAX_CPU_ISA"] = target.onednn
    with scratch(plain_directory(output.resolve())) as directory:
        # Inductor's own cache would outlive the build, and hold paths of it.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(directory / "cache")
        try:
            with set_up(
                target, find_cxx(), directory, spec.options, _shared(target), _libraries(output)
            ) as setup:
                best = best_attempt(
                    call,
                    _lowering(spec, call, setup, weights, applied),
                    _kept(spec, call),
                    strict=spec.strict_dims,
                )
        except AotBuildError as error:
            error.where = error.where or where
            raise
        conditions = sorted({*call.conditions, *best.ranges.conditions})
        narrowed = _narrowed(spec, call, best.ranges.dims, conditions)
        if best.compiled is None or (narrowed and spec.strict_dims):
            raise _too_narrow(narrowed)
        shared, own = _record_constants(best.compiled, weights, output, where)
        check_instructions(best.compiled.library, target, where)
        library = output / "library.so"
        with replacing(library) as temporary:
            shutil.copyfile(best.compiled.library, temporary)
        proxy = output / "library.json"
        proxy.unlink(missing_ok=True)
        if best.compiled.proxy_nodes:
            shutil.copyfile(best.compiled.proxy_nodes, proxy)
    for each in narrowed:
        warn(each.what, where=each.where, why=each.why, fix=each.fix)
    # What was computed from the weights follows them; other weights leave all else as it is.
    write_depfile(output / "compiled.json", [exported.parent / INDEX] if own else [])
    BuildRecord(
        target=target.name,
        dims=best.ranges.dims,
        conditions=conditions,
        example=best.sizes,
        shared=shared,
        constants=own,
        folded=sorted(weights.parameters - set(shared.values())) if own else [],
        symbols=torch_symbols(library),
        onednn=onednn_version() if any(constant.packed for constant in own) else "",
        proxy_nodes=proxy.exists(),
        derived={own_name(name): recipe for name, recipe in applied[-1].derived.items()},
        compiled={
            "torch": torch.__version__,
            "march": target.march,
            "options": best.compiled.options,
            "passes": applied[-1].counts,
        },
    ).write(output / "compiled.json")


def _kept(spec: CompileSpec, call: CallSpec) -> list[str]:
    """The dimensions that keep the size of the example, whatever that narrows."""
    # Only for declared sizes does the export know what the model gave before it was quantised.
    return list(call.dims) if spec.quantize else spec.chosen


class Weights:
    """The weights of the program that is compiled."""

    def __init__(
        self, stored: Stored, method: str, device: torch.device, *, freezing: bool
    ) -> None:
        self._stored, self._method, self._device = stored, method, device
        self._freezing = freezing
        self._written: list[torch.Tensor] = []
        self._tensors = {key: tensor.to(device) for key, tensor in stored.open().items()}
        state = {parameter.key for parameter in stored.state}
        self.parameters = stored.used(method) & state
        """Those that are in the state dict."""
        self._keys = {_place(tensor): key for key, tensor in self._tensors.items()}

    def program(self) -> torch.export.ExportedProgram:
        """The program, loaded anew: compiling changes it."""
        program = self._stored.load_program(self._method, self._tensors, self._device)
        constants = program.constants.values()
        self._written = [c for c in constants if isinstance(c, torch.Tensor) and c.dim() == 1]
        return program

    def key_of(self, tensor: torch.Tensor) -> str | None:
        """The name of a tensor if it is one of these and not computed from them."""
        return self._keys.get(_place(tensor))

    def replaceable(self, tensor: torch.Tensor) -> bool:
        """Whether the values of a tensor may become others, and may not be written into code.

        They may where it is in the state dict, or is a vector that freezing computed, which is none
        of the constants of the code.
        """
        if self.key_of(tensor) in self.parameters:
            return True
        return self._freezing and tensor.dim() == 1 and not any(map(tensor.equal, self._written))


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.is_mkldnn:  # has no place that it tells, and is computed
        return (id(tensor),)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _lowering(
    spec: CompileSpec, call: CallSpec, setup: Setup, weights: Weights, applied: list[Applied]
) -> Lower:
    """What lowers the exported program of a step for an example of any size.

    Each time it does, it adds to ``applied`` what the passes did.
    """
    symbols: dict[str, Linear] = {}

    def lower(sizes: dict[str, int], wanted: Callable[[Ranges], bool]) -> Attempt:
        others = sizes != call.example
        # What is asked about the sizes of a program stays with it.
        with (
            importing(spec.import_paths, spec.package),
            hinted(hints_at(symbols, sizes)) if others else contextlib.nullcontext(),
        ):
            program = weights.program()
        if program.example_inputs is None:
            raise CompileError("the exported program has no example inputs")
        graph = _graph(program)
        found, _ = dimension_symbols(graph.graph, call.inputs)
        symbols.update({str(symbol): linear for symbol, linear in found.items()})

        def ranges() -> Ranges:
            return compiled_ranges(graph.graph, call.inputs, call.dims, sizes)

        seen: list[Ranges] = []

        def ask() -> bool:
            seen.append(ranges())
            return wanted(seen[0])

        applied.append(_rewritten(graph, spec))
        own = {id(getattr(graph, name)) for name in applied[-1].derived}

        def replaceable(tensor: torch.Tensor) -> bool:
            return id(tensor) in own or weights.replaceable(tensor)

        compiled = compile_library(graph, program.example_inputs, setup, ask, replaceable)
        return Attempt(sizes, ranges() if compiled else seen[0], compiled)

    return lower


def _rewritten(graph: torch.fx.GraphModule, spec: CompileSpec) -> Applied:
    """Apply the passes that are for the target."""
    if TARGETS[spec.target].device != "cpu":
        return Applied()
    register_lowerings()
    return apply(graph, spec.passes, derive=not spec.swappable)


def _shared(target: Target) -> Shared:
    """Where what all compiles have in common is kept, and whether those for a target have much.

    It is outside of the specification, so that one more model compiles no other one again.
    """
    cache = _cache()
    if cache:
        return Shared(cache / "headers", precompile=True)
    if SHARED.is_dir():
        much = (SHARED / f"{PRECOMPILE}-{target.name}").exists()
        return Shared(SHARED.resolve(), precompile=much)
    return Shared(None, precompile=False)


def _libraries(output: Path) -> Libraries:
    """Where libraries are kept that other weights leave as they are."""
    cache = _cache()
    return Libraries(cache / "libraries" if cache else output / "kept", cached=bool(cache))


def _cache() -> Path | None:
    """The directory for what builds share, if the user wants one."""
    given = os.environ.get("AOTBUILD_CACHE_DIR")
    return Path(given).expanduser() if given else None


def _graph(program: torch.export.ExportedProgram) -> torch.fx.GraphModule:
    """A fresh module of the program: compiling changes it."""
    takes = inspect.signature(program.module).parameters
    module = program.module(**({"check_guards": False} if "check_guards" in takes else {}))
    assert isinstance(module, torch.fx.GraphModule)  # noqa: S101
    return module


_COMPUTED = "computed:"
"""Before the name of a constant that is not in the state dict, but was computed from it."""

_FIELD = re.compile(
    r"constants_info_\[(\d+)\]\.(name|original_fqn|shape|stride)\s*=\s*"
    r'(?:"((?:[^"\\]|\\.)*)"|\{([^}]*)\})'
)


def _record_constants(
    compiled: Compiled, weights: Weights, output: Path, where: str
) -> tuple[dict[str, str], list[Constant]]:
    """Tell the constants by the library's names: those of the export, and this variant's own.

    The latter, which were computed from the former, are written into a file.

    The names, sizes and strides that the library expects are in its generated source. Nothing
    checks them at run time: other strides give garbage, a missing constant a crash.
    """
    fields: dict[int, dict[str, str]] = {}
    for index, key, text, numbers in _FIELD.findall(compiled.source.read_text(encoding="utf-8")):
        fields.setdefault(int(index), {})[key] = text or numbers
    shared: dict[str, str] = {}
    names: dict[str, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    for _, entry in sorted(fields.items()):
        tensor = compiled.constants.get(entry["original_fqn"])
        fits = tensor is not None and (
            _numbers(entry["shape"]) == list(tensor.shape)
            and _numbers(entry["stride"]) == list(tensor.stride())
        )
        if tensor is None or not fits or entry["original_fqn"] in names.values():
            raise CompileError(
                f"the library's constant {entry['name']} is not the model's "
                f"{entry['original_fqn']}",
                where=where,
                fix="report it to the aotbuild project with the model's code",
            )
        names[entry["name"]] = entry["original_fqn"]
        key = weights.key_of(tensor)
        if key is None:
            tensors[entry["name"]] = tensor
        else:
            shared[entry["name"]] = key
    written = write_weights(output / WEIGHTS, tensors)
    # None may be taken for a parameter from whose values it was computed.
    own = [
        dataclasses.replace(constant, fqn=f"{_COMPUTED}{own_name(names[name])}")
        for name, constant in written.constants.items()
    ]
    return shared, own


def _numbers(text: str) -> list[int]:
    return [int(number.strip().removesuffix("L")) for number in text.split(",") if number.strip()]


def _narrowed(
    spec: CompileSpec, call: CallSpec, dims: Mapping[str, Dim], conditions: Sequence[str]
) -> list[CompileError]:
    """What is to be told where the compiled code accepts less than declared."""
    path = call_path(spec.model, spec.method)
    name = path.removeprefix("tool.aotbuild.models.")

    def told(dim: Dim) -> str:
        return f"{dim.min} to {'any size' if dim.max is None else dim.max}"

    found = [
        CompileError(
            f"{name} will accept {dim} from {told(own)}, not {told(call.dims[dim])}",
            where=located(f"{path}.dims.{dim}"),
            why="Inductor specialised the code for this part of the range",
            fix=f"declare min = {own.min}"
            + (f", max = {own.max}" if own.max is not None else "")
            + f", or give another example size ({path}.dims.{dim}.example)",
        )
        for dim, own in dims.items()
        if own != call.dims[dim]
    ]
    if conditions:
        found.append(
            CompileError(
                f"{name} will accept only sizes for which {' and '.join(conditions)}",
                where=located(f"{path}.dims"),
                why="torch specialised the code for these sizes",
                fix="give another example size (dims.<name>.example), or declare sizes that "
                "depend on one another by the same name",
            )
        )
    return found


def _too_narrow(narrowed: Sequence[CompileError]) -> CompileError:
    """The error that all of these are together."""
    why = dict.fromkeys(each.why for each in narrowed)
    return CompileError(
        "\n".join(each.what for each in narrowed),
        where="\n".join(each.where for each in narrowed),
        why="\n".join([*why, "strict-dims = true makes this an error"]),
        fix="\n".join(
            [each.fix for each in narrowed] + ["or be content with it: strict-dims = false"]
        ),
    )
