"""Running torch's Inductor: a graph is lowered, and its code compiled into a shared library.

Its options are in ``inductor_options``, what is patched in it in ``inductor_patches``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch._inductor.codecache
from torch._inductor import config as inductor_config

from aotbuild.errors import CompileError, DiskError
from aotbuild.passes.complex_numbers.table import in_real_parts
from aotbuild.passes.numerics.overrides import exact_functions, with_exact_functions
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.steps.compile.cxx import (
    Compiler,
    CompilerCall,
    with_quiet_interface,
    write_compiler,
)
from aotbuild.steps.compile.inductor_options import all_options, options_for, recorded_options
from aotbuild.steps.compile.inductor_patches import patched
from aotbuild.steps.compile.kept_memory import with_kept_pools
from aotbuild.steps.compile.kernel_errors import with_caught_errors
from aotbuild.steps.compile.library_cache import Libraries
from aotbuild.steps.compile.shared_code import sharing
from aotbuild.steps.compile.shared_headers import Shared
from aotbuild.steps.compile.vector_isa import only_vector_isa, vector_isa
from aotbuild.steps.torch_parts.exporting import DYNAMIC_STEPS
from aotbuild.steps.torch_parts.moved import where_usable
from aotbuild.target import Target

Link: TypeAlias = "Callable[[Compiler, Path, torch.fx.Graph], None]"
"""Links the objects of a compile into a library; the graph tells what the code comes from."""


@dataclass(frozen=True)
class Compiled:
    """What Inductor made."""

    library: Path
    source: Path
    """The generated C++ code around the kernels."""
    proxy_nodes: Path | None
    """Calls without a C shim, which the runner looks for beside the library."""
    constants: dict[str, torch.Tensor]
    """Constants by their names in the state dict."""
    options: dict[str, Any]


@dataclass(frozen=True)
class Code:
    """What lowering a graph gave, before it is compiled."""

    text: str
    """The code around the kernels, and the kernels."""
    called_by_runner: str
    """A list, as JSON, of the operators that are called by way of torch's own runner, or empty."""
    graph: torch.fx.Graph


@dataclass(frozen=True)
class Setup:
    """What all attempts at a library have in common."""

    target: Target
    options: dict[str, Any]
    compiler: Compiler
    ready: Callable[[], None]
    """Waits for what the compiler shares between models."""
    libraries: Libraries | None
    """None where nothing is compiled."""
    identity: str
    """What the bytes of a library depend on besides its code."""
    link: Link | None = None
    """What links the library after the compiler's script, or in its place."""


@contextlib.contextmanager
def set_up(
    target: Target,
    cxx: Sequence[str],
    scratch: Path,
    extra: Mapping[str, Any],
    shared: Shared | None = None,
    libraries: Libraries | None = None,
    link: Link | None = None,
    *,
    standalone: bool = False,
) -> Iterator[Setup]:
    """Provide the compiler and the options.

    Args:
        target: What to compile for.
        cxx: Command of the C++ compiler.
        scratch: Directory for all files.
        extra: Options of the project.
        shared: Where what all compiles have in common is kept; None where graphs are only lowered.
        libraries: Where libraries are kept that may be the same; None likewise.
        link: What links the library in place of Inductor, or once more.
        standalone: Whether it does so in place of Inductor.

    Raises:
        DiskError: The disk is full.
    """
    output = scratch / "output"
    output.mkdir()
    compiler = write_compiler(cxx, target, scratch, standalone=standalone)
    options = all_options(target, output, compiler.script, extra)
    if shared is None:
        compiler.script.write_text("#!/bin/sh\n", encoding="utf-8")  # Inductor asks if it works
        yield Setup(target, options, compiler, _nothing, libraries, "")
        return
    with contextlib.ExitStack() as stack:
        try:
            with inductor_config.patch(options), only_vector_isa(target.isa):
                calls = _compiler_calls(target)
            ready = stack.enter_context(
                sharing(compiler, *calls, shared.directory, precompile=shared.precompile)
            )
        except Exception as error:
            raise _compile_error(error) from error
        identity = compiler.identity(*calls)
        yield Setup(target, options, compiler, ready, libraries, identity, link)


def _nothing() -> None:
    """What there is to wait for where nothing is compiled."""


def compile_library(
    graph: torch.fx.GraphModule,
    example: tuple[tuple[Any, ...], dict[str, Any]],
    setup: Setup,
    wanted: Callable[[Code], bool],
    replaceable: Callable[[torch.Tensor], bool],
) -> Compiled | None:
    """Compile a traced graph into a shared library without weights.

    Args:
        graph: ``ExportedProgram.module()``; Inductor changes it.
        example: Example arguments.
        setup: What to compile for, and with what.
        wanted: Asked once the graph is lowered, which sets all guards: whether to go on.
        replaceable: Whether a tensor of the graph may get other values: they stay out of the code,
            unless the options let Inductor compute with them.

    Returns:
        The library, or None if it is not wanted.

    Raises:
        CompileError: Inductor or the compiler failed.
        DiskError: The disk is full.
    """
    torch._dynamo.reset()  # loops of an earlier attempt would be mistaken for those of this one
    try:
        with (
            torch.no_grad(),  # freezing, among others, is silently ignored outside of it
            only_vector_isa(setup.target.isa),
            where_usable(DYNAMIC_STEPS, dynamic_steps),
            exact_functions(),
            where_usable("complex numbers", in_real_parts),
            patched(replaceable),
            _between_lowering_and_compiling(graph.graph, wanted, setup) as lowered,
        ):
            files = torch._inductor.aot_compile(
                graph, *example, options=options_for(graph, setup.options)
            )
    except _UnwantedError:
        return None
    except Exception as error:
        raise _compile_error(error) from error
    return _collect(files, setup, lowered, graph.graph)


def make_patterns(target: Target) -> None:
    """Import the rest of Inductor, and make the patterns that it looks for.

    Both take as long as lowering a small model.
    """
    importlib.import_module("torch._inductor.compile_fx")
    from torch._inductor.fx_passes import joint_graph

    if target.device == "cpu":  # of others, each number has its own
        with torch.no_grad():  # as in a compile
            joint_graph.lazy_init(torch.device(target.device))


def _compiler_calls(target: Target) -> tuple[CompilerCall, CompilerCall]:
    """How Inductor compiles the code around the kernels, and the kernels.

    The options of the compile must be in effect.
    """
    from torch._inductor.cpp_builder import CppBuilder, CppTorchDeviceOptions

    def compiler_call(*, wrapper: bool) -> CompilerCall:
        options = CppTorchDeviceOptions(
            vec_isa=vector_isa("" if wrapper else target.isa),
            aot_mode=True,
            device_type=target.device,
            compile_only=True,
            min_optimize=wrapper,
        )
        line = CppBuilder("object", "source.cpp", options).get_command_line()
        words = shlex.split(line)

        def command(source: str, output: str) -> list[str]:
            named = {"source.cpp": source, "object.o": output}
            return [named.get(word, word) for word in words]

        return command

    return compiler_call(wrapper=True), compiler_call(wrapper=False)


class _UnwantedError(BaseException):
    """The code is not wanted; no ``Exception``, which Inductor would wrap in one of its own."""


@dataclass
class _Lowered:
    """What lowering a graph gave."""

    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    """By their names in the state dict."""
    code: tuple[str, ...] = ()
    """What the library is compiled from."""
    known: Path | None = None
    """The library, if that was compiled before."""


@contextlib.contextmanager
def _between_lowering_and_compiling(
    traced: torch.fx.Graph, wanted: Callable[[Code], bool], setup: Setup
) -> Iterator[_Lowered]:
    """Step in after lowering, which takes a second, and before the C++ compiler, which takes many.

    Code that is not wanted is not compiled, nor is what was compiled before. Else the kernels are
    made safe, and what the code around them shares with other models is taken out.

    Yields:
        What is known after that.
    """
    codecache: Any = torch._inductor.codecache
    aot_compiler = codecache.AotCodeCompiler
    original = vars(aot_compiler)["compile"]
    compile_code = aot_compiler.compile
    options = codecache.CppTorchDeviceOptions
    lowered = _Lowered()

    def compile_wanted(
        graph: Any, wrapper: str, kernels: str, nodes: str | None, **kwargs: Any
    ) -> Any:
        if not wanted(Code(f"{wrapper}\n{kernels}", nodes or "", traced)):
            raise _UnwantedError
        assert setup.libraries is not None  # noqa: S101  # compiling was prepared
        lowered.constants = _constants_of(graph)
        wrapper, kernels = (
            with_kept_pools(with_quiet_interface(wrapper)),
            with_exact_functions(with_caught_errors(kernels)),
        )
        lowered.code = (wrapper, kernels, setup.identity)
        lowered.known = setup.libraries.find(*lowered.code)
        if lowered.known is not None:
            setup.compiler.idle()
        else:
            setup.ready()
            wrapper = setup.compiler.split(wrapper)
        return compile_code(graph, wrapper, kernels, nodes, **kwargs)

    def plain_wrapper(*, min_optimize: bool = False, **kwargs: Any) -> Any:
        # The code around the kernels has no vectors, and is shared by all CPU levels without them.
        isa = {"vec_isa": vector_isa("")} if min_optimize else {}
        return options(min_optimize=min_optimize, **{**kwargs, **isa})

    aot_compiler.compile = staticmethod(compile_wanted)
    codecache.CppTorchDeviceOptions = plain_wrapper
    try:
        yield lowered
    finally:
        aot_compiler.compile = original
        codecache.CppTorchDeviceOptions = options


def _constants_of(graph: Any) -> dict[str, torch.Tensor]:
    """The constants of a lowered graph by their names in the state dict."""
    from torch._inductor.utils import get_cloned_parameter_buffer_name

    # The library takes buffers as they are, not copies that Inductor made lest it changes them.
    for name in graph.allocated_constant_name.values():
        graph.module.meta.pop(get_cloned_parameter_buffer_name(name), None)
    return {
        fqn: graph.get_original_value_of_constant(name)
        for name, fqn in graph.allocated_constant_name.items()
        if name in graph.constants and name not in graph.folded_constants
    }


def _collect(files: Any, setup: Setup, lowered: _Lowered, graph: torch.fx.Graph) -> Compiled:
    names = [Path(file) for file in files if isinstance(file, str)]
    library = next(name for name in names if name.suffix == ".so")
    source = next(name for name in names if name.name.endswith(".wrapper.cpp"))
    proxy = next((name for name in names if name.name.endswith(".wrapper.json")), None)
    metadata = next((name for name in names if name.name.endswith("_metadata.json")), None)
    isa = json.loads(metadata.read_text("utf-8")).get("AOTI_CPU_ISA") if metadata else None
    wanted = str(vector_isa(setup.target.isa)).upper()
    if isa not in {None, wanted}:  # as where Inductor falls back on code without vectors
        raise CompileError(
            f"Inductor compiled for {isa}, not for {wanted}",
            why=f"the target is {setup.target.name}",
            fix="report it to the aotbuild project",
        )
    if lowered.known is None:
        if setup.link is not None:
            setup.link(setup.compiler, library, graph)
        assert setup.libraries is not None  # noqa: S101  # something was compiled
        setup.libraries.keep(library, *lowered.code)
    recorded = recorded_options(setup.options)
    return Compiled(lowered.known or library, source, proxy, lowered.constants, recorded)


def _compile_error(error: Exception) -> Exception:
    text = str(error)
    if "No space left on device" in text:
        return DiskError(
            "the disk is full while compiling",
            fix="free some space, or point TMPDIR (and build-dir) at a larger disk",
        )
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line or "Error:" in line] or lines
    return CompileError(
        "AOTInductor cannot compile the model",
        why="\n".join([type(error).__name__, *errors[:8]]),
        fix="set AOTBUILD_DEBUG=1 for the whole log; an operator without support can often be "
        "replaced in the model",
    )
