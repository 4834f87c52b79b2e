"""Step compile: a program and a target become a shared library, its weights and a build record."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path
from aotbuild.errors import AotBuildError, CompileError, warn
from aotbuild.passes.pipeline import PASSES, Applied, apply, rewrite
from aotbuild.passes.template.operators import register_lowerings
from aotbuild.runtime.derived import renamed, uses
from aotbuild.runtime.machine import onednn_version
from aotbuild.runtime.manifest import Constant, Recipe
from aotbuild.steps.artifacts.build_record import RECORD, BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.export_weights import MODULE, Stored, own_name
from aotbuild.steps.artifacts.spec import CALL, WEIGHTS, CompileSpec, read_spec
from aotbuild.steps.artifacts.weights_file import unwritten, write_weights
from aotbuild.steps.compile.attempts import Attempt, Lower, best_attempt
from aotbuild.steps.compile.inductor import Compiled, Setup, compile_library, set_up
from aotbuild.steps.compile.instructions import check_instructions
from aotbuild.steps.compile.library_cache import Libraries
from aotbuild.steps.compile.shared_headers import shared_headers
from aotbuild.steps.compile.symbols import torch_symbols
from aotbuild.steps.compile.variant_cache import LIBRARY, PROXY, Kept, dependencies
from aotbuild.steps.export.quantize import load_operators
from aotbuild.steps.export.source import importing, load_op_libraries
from aotbuild.steps.files import plain_directory, replacing, scratch, write_depfile
from aotbuild.steps.sizes.hints import hinted, hints_at
from aotbuild.steps.sizes.narrowing import narrowed, too_narrow
from aotbuild.steps.sizes.ranges import Ranges, compiled_ranges
from aotbuild.steps.sizes.symbols import SizeSymbol, dimension_symbols
from aotbuild.steps.tune.pins import decided
from aotbuild.steps.tune.recipes import RECIPES
from aotbuild.target import TARGETS
from aotbuild.toolchain import find_cxx


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``CompileSpec``."""
    spec = decided(read_spec(CompileSpec, spec_file))
    kept = Kept.of(spec)
    exported, output = Path(spec.exported), Path(spec.output)
    where = located(call_path(spec.model, spec.method))
    target = TARGETS[spec.target]
    call = CallSpec.read(exported / CALL)
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
                target,
                find_cxx(),
                directory,
                spec.options,
                shared_headers(kept.store, target),
                Libraries(kept.store, output / "kept", directory),
            ) as setup:
                best = best_attempt(
                    call,
                    _lowering(spec, call, setup, weights),
                    _kept(spec, call),
                    strict=spec.strict_dims,
                )
        except AotBuildError as error:
            error.where = error.where or where
            raise
        conditions = sorted({*call.conditions, *best.ranges.conditions})
        narrow = narrowed(spec, call, best.ranges.dims, conditions)
        if best.compiled is None or (narrow and spec.strict_dims):
            raise too_narrow(narrow)
        derived = _recipes(best.applied, weights)
        shared, own = _record_constants(best.compiled, weights, derived, output, where)
        guarded = [each for name in best.applied.counts for each in PASSES[name].guarded]
        check_instructions(best.compiled.library, target, where, guarded)
        library = output / LIBRARY
        with replacing(library) as temporary:
            shutil.copyfile(best.compiled.library, temporary)
        proxy = output / PROXY
        proxy.unlink(missing_ok=True)
        if best.compiled.proxy_nodes:
            shutil.copyfile(best.compiled.proxy_nodes, proxy)
    for each in narrow:
        warn(each.what, where=each.where, why=each.why, fix=each.fix)
    derived = {c.fqn: derived[c.fqn] for c in own if c.fqn in derived}
    record = BuildRecord(
        target=target.name,
        dims=best.ranges.dims,
        conditions=conditions,
        example=best.sizes,
        shared=shared,
        constants=own,
        folded=sorted(weights.parameters - set(shared.values())) if len(derived) < len(own) else [],
        symbols=torch_symbols(library),
        onednn=onednn_version() if any(constant.packed for constant in own) else "",
        proxy_nodes=proxy.exists(),
        derived=derived,
        compiled={
            "torch": torch.__version__,
            "march": target.march,
            "recipe": spec.recipe,
            "options": best.compiled.options,
            "passes": best.applied.counts,
        },
    )
    write_depfile(output / RECORD, dependencies(spec, record))
    record.write(output / RECORD)
    kept.keep(output, computed=bool(record.written))


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

    def by_keys(self, recipe: Any) -> Any:
        """A recipe with the keys of the state dict for the names of the program.

        Returns:
            The recipe; None where it uses something else.
        """
        keys = self._stored.names[self._method]
        names = uses(recipe)
        if not all(keys.get(name) in self.parameters for name in names):
            return None
        return renamed(recipe, keys)

    def replaceable(self, tensor: torch.Tensor) -> bool:
        """Whether the values of a tensor may become others, and may not be written into code.

        They may where it is in the state dict, or is a vector that freezing computed, which is none
        of the constants of the code.
        """
        if self.key_of(tensor) in self.parameters:
            return True
        return self._freezing and tensor.dim() == 1 and not any(map(tensor.equal, self._written))


def _recipes(applied: Applied, weights: Weights) -> dict[str, Recipe]:
    """How constants that passes computed follow from the state dict, where from nothing else."""
    told = {_computed_name(name): weights.by_keys(own) for name, own in applied.derived.items()}
    return {name: recipe for name, recipe in told.items() if recipe is not None}


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    if tensor.is_mkldnn:  # has no place that it tells, and is computed
        return (id(tensor),)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _lowering(spec: CompileSpec, call: CallSpec, setup: Setup, weights: Weights) -> Lower:
    """What lowers the exported program of a step for an example of any size."""
    symbols: dict[str, SizeSymbol] = {}

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
        rewrite(graph, RECIPES[spec.recipe].rewrites)
        found, _ = dimension_symbols(graph.graph, call.inputs)
        symbols.update({str(symbol): size for symbol, size in found.items()})

        def ranges() -> Ranges:
            return compiled_ranges(graph.graph, call.inputs, call.dims, sizes)

        seen: list[Ranges] = []

        def ask() -> bool:
            seen.append(ranges())
            return wanted(seen[0])

        applied = _rewritten(graph, spec)
        own = {id(getattr(graph, name)) for name in applied.derived}

        def replaceable(tensor: torch.Tensor) -> bool:
            return id(tensor) in own or weights.replaceable(tensor)

        compiled = compile_library(graph, program.example_inputs, setup, ask, replaceable)
        return Attempt(sizes, ranges() if compiled else seen[0], compiled, applied)

    return lower


def _rewritten(graph: torch.fx.GraphModule, spec: CompileSpec) -> Applied:
    """Apply the passes that are for the target."""
    if TARGETS[spec.target].device != "cpu":
        return Applied()
    register_lowerings()
    return apply(graph, spec.passes, precision=RECIPES[spec.recipe].precision)


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
    compiled: Compiled,
    weights: Weights,
    derived: Mapping[str, Recipe],
    output: Path,
    where: str,
) -> tuple[dict[str, str], list[Constant]]:
    """Tell the constants by the library's names: those of the export, and this variant's own.

    The latter, which were computed from the former, are written into a file, but for those that can
    be computed again.

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
    # None may be taken for a parameter from whose values it was computed.
    computed = {name: _computed_name(names[name]) for name in tensors}
    kept = {name: tensor for name, tensor in tensors.items() if computed[name] not in derived}
    written = write_weights(output / WEIGHTS, kept).constants
    own = [
        dataclasses.replace(written.get(name) or unwritten(name, tensor), fqn=computed[name])
        for name, tensor in tensors.items()
    ]
    return shared, own


def _computed_name(name: str) -> str:
    return f"{_COMPUTED}{own_name(name).removeprefix(f'{MODULE}_')}"


def _numbers(text: str) -> list[int]:
    return [int(number.strip().removesuffix("L")) for number in text.split(",") if number.strip()]
