"""Everything that reaches inside torch's Inductor: options, patches, the compiler's wrapper.

Each workaround names what it cures. Symbols are looked up by name when they are needed, so that a
torch that moved one fails with that name instead of compiling something else.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch._inductor.codecache
import torch._inductor.codegen.common
import torch._inductor.cpu_vec_isa
from torch._inductor import config as inductor_config

from aotbuild.config.parse import did_you_mean, located
from aotbuild.errors import CompileError, ConfigError, DiskError
from aotbuild.passes.numerics.overrides import exact_functions, with_exact_functions
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.steps.compile.cxx import Command, Compiler, sharing, write_compiler
from aotbuild.steps.compile.kept_memory import with_kept_pools
from aotbuild.steps.compile.kernel_errors import with_caught_errors
from aotbuild.steps.compile.library_cache import Libraries
from aotbuild.steps.compile.shared_headers import Shared
from aotbuild.target import Target


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
class Setup:
    """What all attempts at a library have in common."""

    target: Target
    options: dict[str, Any]
    compiler: Compiler
    ready: Callable[[], None]
    """Waits for what the compiler shares between models."""
    libraries: Libraries
    identity: str
    """What the bytes of a library depend on besides its code."""


@contextlib.contextmanager
def set_up(
    target: Target,
    cxx: Sequence[str],
    scratch: Path,
    extra: Mapping[str, Any],
    shared: Shared,
    libraries: Libraries,
) -> Iterator[Setup]:
    """Provide the compiler and the options.

    Args:
        target: What to compile for.
        cxx: Command of the C++ compiler.
        scratch: Directory for all files.
        extra: Options of the project.
        shared: Where what all compiles have in common is kept.
        libraries: Where libraries are kept that may be the same.

    Raises:
        DiskError: The disk is full.
    """
    output = scratch / "output"
    output.mkdir()
    compiler = write_compiler(cxx, target, scratch)
    own = _options(output, compiler.script)
    if target.isa:  # else an ATEN_CPU_CAPABILITY in the environment would choose
        own["cpp.simdlen"] = _isa(target.isa).bit_width()
    usual = _ON_CPU if target.device == "cpu" else {}
    if extra.get("freezing"):
        usual = {**usual, **_PLAIN_WEIGHTS}
    options = _known({**own, **usual, **extra})
    with contextlib.ExitStack() as stack:
        try:
            with inductor_config.patch(options), _vector_isa(target.isa):
                commands = _commands(target)
            ready = stack.enter_context(
                sharing(compiler, *commands, shared.directory, precompile=shared.precompile)
            )
        except Exception as error:
            raise _compile_error(error) from error
        identity = compiler.identity(*commands)
        yield Setup(target, options, compiler, ready, libraries, identity)


def compile_library(
    graph: torch.fx.GraphModule,
    example: tuple[tuple[Any, ...], dict[str, Any]],
    setup: Setup,
    wanted: Callable[[], bool],
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
            _vector_isa(setup.target.isa),
            _unguarded_conv_backend(),
            dynamic_steps(),
            exact_functions(),
            _fixed_caches(),
            _asked(wanted, setup) as asked,
            _kept_out_of_code(replaceable),
        ):
            files = torch._inductor.aot_compile(
                graph, *example, options=_planned(graph, setup.options)
            )
    except _UnwantedError:
        return None
    except Exception as error:
        raise _compile_error(error) from error
    return _collect(files, setup, asked)


def _options(output: Path, compiler: Path) -> dict[str, Any]:
    return {
        "aot_inductor.output_path": str(output),
        # The library without its weights: they come from the mapped weights file.
        "aot_inductor.package": True,
        "aot_inductor.package_constants_in_so": False,
        # Names and paths of the build machine stay out of the library.
        "aot_inductor.model_name_for_generated_files": "model",
        "aot_inductor.enable_line_tables": False,
        # aotbuild shares its own between the compiles.
        "aot_inductor.precompile_headers": False,
        "cpp.cxx": (None, str(compiler)),
        # The ISA is given; probing it would run the compiler several times.
        "cpp.vec_isa_ok": True,
        # The number of threads is torch's at run time, not that of the build machine, by which
        # Inductor would also decide which loops to divide among them.
        "cpp.dynamic_threads": True,
        "cpp.threads": 16,
        # One step compiles one model, and Ninja runs the steps in parallel.
        "compile_threads": 1,
    }


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """The options that this torch has; older ones lack a few that only save time or bytes."""
    present = inductor_config.get_config_copy()
    return {key: value for key, value in options.items() if key in present}


def _commands(target: Target) -> tuple[Command, Command]:
    """How Inductor compiles the code around the kernels, and the kernels.

    The options of the compile must be in effect.
    """
    from torch._inductor.cpp_builder import CppBuilder, CppTorchDeviceOptions

    def command(*, wrapper: bool) -> Command:
        options = CppTorchDeviceOptions(
            vec_isa=_isa("" if wrapper else target.isa),
            aot_mode=True,
            device_type=target.device,
            compile_only=True,
            min_optimize=wrapper,
        )
        line = CppBuilder("object", "source.cpp", options).get_command_line()
        words = shlex.split(line)

        def told(source: str, output: str) -> list[str]:
            named = {"source.cpp": source, "object.o": output}
            return [named.get(word, word) for word in words]

        return told

    return command(wrapper=True), command(wrapper=False)


@functools.cache
def _isa(name: str) -> Any:
    """Vector instructions as Inductor knows them, without those that only this machine has."""
    module: Any = torch._inductor.cpu_vec_isa
    if not name:
        return module.invalid_vec_isa
    # Asked whether it can be used, VecAVX512 would add this machine's instructions for bfloat16.
    fixed = {"__bool__": lambda _: True, "__hash__": module.VecISA.__hash__}
    return type(name, (getattr(module, name),), fixed)()


@contextlib.contextmanager
def _vector_isa(name: str) -> Iterator[None]:
    """Let Inductor use exactly one class of vector instructions, whatever this machine has.

    Left alone it takes the best that the machine can run, found by compiling test programs.
    """
    module: Any = torch._inductor.cpu_vec_isa
    found = [_isa(name)] if name else []
    original = module.valid_vec_isa_list
    module.valid_vec_isa_list = lambda: found
    try:
        yield
    finally:
        module.valid_vec_isa_list = original


class _Template:
    """A template that is read when it is used."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = functools.cache(read)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read(), name)


def _read_templates_late() -> None:
    """Spare reading the templates of all kernels when Inductor is imported, which takes a second.

    Those of GPUs are never used for a CPU, and the others only with ``max_autotune``.
    """
    environment: Any = torch._inductor.codegen.common.jinja2_env()
    if environment is not None and not isinstance(environment.from_string, functools.partial):
        read = environment.from_string
        environment.from_string = functools.partial(
            lambda source: _Template(functools.partial(read, source))
        )


_read_templates_late()


class _UnwantedError(BaseException):
    """The code is not wanted; no ``Exception``, which Inductor would wrap in one of its own."""


@dataclass
class _Asked:
    """What lowering a model gave."""

    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    """By their names in the state dict."""
    code: tuple[str, ...] = ()
    """What the library is compiled from."""
    known: Path | None = None
    """The library, if that was compiled before."""


@contextlib.contextmanager
def _asked(wanted: Callable[[], bool], setup: Setup) -> Iterator[_Asked]:
    """Ask between lowering, which takes a second, and the C++ compiler, which takes many.

    There, too, the kernels are made safe, and what the code around them shares is taken out; and
    nothing is compiled where that was done before.

    Yields:
        What is known after that.
    """
    from torch._inductor.utils import get_cloned_parameter_buffer_name

    codecache: Any = torch._inductor.codecache
    compiler = codecache.AotCodeCompiler
    original = vars(compiler)["compile"]
    compiling = compiler.compile
    options = codecache.CppTorchDeviceOptions

    def ask(graph: Any, wrapper: str, kernels: str, *args: Any, **kwargs: Any) -> Any:
        if not wanted():
            raise _UnwantedError
        # The library takes buffers as they are, not copies that Inductor made lest it changes them.
        for name in graph.allocated_constant_name.values():
            graph.module.meta.pop(get_cloned_parameter_buffer_name(name), None)
        wrapper = with_kept_pools(wrapper)
        safe = with_exact_functions(with_caught_errors(kernels))
        asked.constants = {
            fqn: graph.get_original_value_of_constant(name)
            for name, fqn in graph.allocated_constant_name.items()
            if name in graph.constants and name not in graph.folded_constants
        }
        asked.code = (wrapper, safe, setup.identity)
        asked.known = setup.libraries.find(*asked.code)
        if asked.known is not None:
            setup.compiler.idle()
            return compiling(graph, wrapper, safe, *args, **kwargs)
        setup.ready()
        return compiling(graph, setup.compiler.split(wrapper), safe, *args, **kwargs)

    def plain_wrapper(*, min_optimize: bool = False, **kwargs: Any) -> Any:
        # The code around the kernels has no vectors, and is shared by all CPU levels without them.
        isa = {"vec_isa": _isa("")} if min_optimize else {}
        return options(min_optimize=min_optimize, **{**kwargs, **isa})

    compiler.compile = staticmethod(ask)
    codecache.CppTorchDeviceOptions = plain_wrapper
    asked = _Asked()
    try:
        yield asked
    finally:
        compiler.compile = original
        codecache.CppTorchDeviceOptions = options


@contextlib.contextmanager
def _unguarded_conv_backend() -> Iterator[None]:
    """Keep the choice of ATen's convolution backend from narrowing the batch dimension.

    The choice asks whether the batch has 16 or more, which becomes a guard: a model declared for
    1 to 64 and traced with 4 would accept 2 to 15 (torch 2.13). The compiled code does not depend
    on the answer; the step verify runs both ends. ``test_conv_keeps_its_range`` notices when torch
    no longer needs this.
    """
    original = torch._C._select_conv_backend

    def choose(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            for value in (*args, *kwargs.values()):
                for size in getattr(value, "shape", ()):
                    if isinstance(size, torch.SymInt):
                        stack.enter_context(size.node.shape_env.suppress_guards())
                        return original(*args, **kwargs)
            return original(*args, **kwargs)

    torch._C._select_conv_backend = choose
    try:
        yield
    finally:
        torch._C._select_conv_backend = original


_CACHES = {"l1d_cache_size": 32 << 10, "l2_cache_size": 1 << 20}
"""Sizes that most CPUs of the levels have at least, in bytes."""


@contextlib.contextmanager
def _fixed_caches() -> Iterator[None]:
    """Let the templates of ``max_autotune`` divide their work by the same cache sizes everywhere.

    They would take those of the build machine (torch 2.13).
    """
    module: Any = torch.cpu
    original = module.get_capabilities
    module.get_capabilities = lambda: {**original(), **_CACHES}
    try:
        yield
    finally:
        module.get_capabilities = original


@contextlib.contextmanager
def _kept_out_of_code(replaceable: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """Keep the values of parameters out of the code, however few they are.

    Inductor writes tensors of up to 8 elements into it, and computes with those of one element.
    """
    from torch._inductor.fx_passes import joint_graph
    from torch._inductor.graph import GraphLowering, getattr_recursive

    lowering: Any = GraphLowering
    lower = lowering.get_attr
    folding: Any = joint_graph.UniformValueConstantFolder
    deduce = folding._deduce_value

    def get_attr(graph: Any, target: str, args: Any, kwargs: Any) -> Any:
        value = getattr_recursive(graph.module, target)
        if isinstance(value, torch.Tensor) and replaceable(value):
            return graph.add_tensor_constant(value, target)
        return lower(graph, target, args, kwargs)

    def deduce_value(folder: Any, node: torch.fx.Node) -> Any:
        if node.op == "get_attr":
            value = getattr_recursive(folder.module, str(node.target))
            if isinstance(value, torch.Tensor) and replaceable(value):
                return folder.unknown_value
        return deduce(folder, node)

    lowering.get_attr = get_attr
    folding._deduce_value = deduce_value
    try:
        yield
    finally:
        lowering.get_attr = lower
        folding._deduce_value = deduce


def _collect(files: Any, setup: Setup, asked: _Asked) -> Compiled:
    names = [Path(file) for file in files if isinstance(file, str)]
    library = next(name for name in names if name.suffix == ".so")
    source = next(name for name in names if name.name.endswith(".wrapper.cpp"))
    proxy = next((name for name in names if name.name.endswith(".wrapper.json")), None)
    told = next((name for name in names if name.name.endswith("_metadata.json")), None)
    isa = json.loads(told.read_text("utf-8")).get("AOTI_CPU_ISA") if told else None
    wanted = str(_isa(setup.target.isa)).upper()
    if isa not in {None, wanted}:  # as where Inductor falls back on code without vectors
        raise CompileError(
            f"Inductor compiled for {isa}, not for {wanted}",
            why=f"the target is {setup.target.name}",
            fix="report it to the aotbuild project",
        )
    if asked.known is None:
        setup.libraries.keep(library, *asked.code)
    options = setup.options
    recorded = {key: value for key, value in options.items() if key not in _MACHINE_OPTIONS}
    return Compiled(asked.known or library, source, proxy, asked.constants, recorded)


_ON_CPU = {"memory_planning": True}
"""Unless the project wants otherwise: ``pools`` keeps the block from call to call."""

_LOOPED = ("aten.gru.", "aten.lstm.", "aten.rnn_tanh.", "aten.rnn_relu.")
"""Operators that ``recurrent`` makes loops of where a size is dynamic."""


def _planned(graph: torch.fx.GraphModule, options: dict[str, Any]) -> dict[str, Any]:
    """The options, without the block of memory where a graph has others in it, as loops have.

    Inductor of torch 2.13 frees the memory of these where their names are not known, and the code
    does not compile.
    """
    looped = any(
        str(node.target).startswith(_LOOPED)
        and any(not isinstance(size, int) for size in node.args[0].meta["val"].shape)
        for node in graph.graph.nodes
    )
    if looped or any(isinstance(each, torch.fx.GraphModule) for each in graph.children()):
        return {**options, "memory_planning": False}
    return options


_PLAIN_WEIGHTS = {"cpp.weight_prepack": False}
"""With freezing, unless the project wants it: packed weights are for one kind of CPU."""

_MACHINE_OPTIONS = {"aot_inductor.output_path", "cpp.cxx"}

_OWN_OPTIONS = {*_options(Path(), Path()), "cpp.march", "cpp.simdlen"}
"""What aotbuild sets itself: the library would not be what the other steps take it for."""


def check_options(options: Mapping[str, Any], path: str) -> None:
    """Check options of a project against those of this torch.

    Args:
        options: By their dotted names.
        path: Dotted path of the table that holds them.

    Raises:
        ConfigError: An option does not exist, is aotbuild's own, or has a value of another type.
    """
    present = inductor_config.get_config_copy()
    for name, value in options.items():
        where = located(f"{path}.{name}")
        if name not in present:
            raise ConfigError(
                f'Inductor has no option "{name}"',
                where=where,
                why=f"the options of torch {torch.__version__} are meant",
                fix=did_you_mean(name, present)
                or "see torch/_inductor/config.py for the options and their meaning",
            )
        if name in _OWN_OPTIONS:
            raise ConfigError(
                f'the option "{name}" is set by aotbuild',
                where=where,
                why="it decides what the library is made for and where its parts are",
                fix="remove it",
            )
        default = present[name]
        if default is None or isinstance(value, list):
            continue
        number = isinstance(default, float) and type(value) is int
        if not number and type(value) is not type(default):
            raise ConfigError(
                f'the option "{name}" is a {type(default).__name__}, found {value!r}',
                where=where,
                fix=f"write a value such as {json.dumps(default, default=str)}, its default",
            )


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
