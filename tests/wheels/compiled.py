"""Modules compiled by the step's own code in this process, without a project around them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import arm64
import torch

from aotbuild.cache.store import Store
from aotbuild.errors import CompileError
from aotbuild.passes.pipeline import Applied, apply
from aotbuild.passes.template.operators import register_lowerings
from aotbuild.steps.compile.constants import expected_constants
from aotbuild.steps.compile.cxx import Compiler
from aotbuild.steps.compile.inductor import Compiled, compile_library, set_up
from aotbuild.steps.compile.library_cache import Libraries
from aotbuild.steps.compile.shared_headers import shared_headers
from aotbuild.steps.compile.standalone import link
from aotbuild.steps.verify.emulated import Emulated, emulating_command
from aotbuild.target import TARGETS, Target
from aotbuild.toolchain import find_cxx

Call = Callable[..., list[torch.Tensor]]

ARM = "cpu-armv8"
LEVELS = ["cpu-x86-64-v2", "cpu-x86-64-v3", "cpu-x86-64-v4", ARM]


def why_not(target: str) -> str:
    """Why what is compiled for a target cannot run here; empty where it can."""
    if target == ARM:
        return arm64.why_not()
    if target == LEVELS[2] and torch.backends.cpu.get_cpu_capability() != "AVX512":
        return "this CPU has no AVX-512"
    return ""


def compiled(
    module: torch.nn.Module,
    args: Sequence[Any],
    directory: Path,
    *,
    target: str = "cpu-x86-64-v3",
    dynamic: Any = None,
    passes: list[str] | None = None,
    precision: str = "",
    options: dict[str, Any] | None = None,
) -> tuple[Call, Applied]:
    """Compile a module with passes.

    Args:
        module: Its constants become those of the library.
        args: Example inputs, tensors.
        directory: An empty one for all files.
        target: The target's name.
        dynamic: Dynamic shapes, as for ``torch.export``.
        passes: Which are applied; None for all.
        precision: The type that they may compute in, if it is less exact.
        options: Of Inductor.

    Returns:
        A function that runs it on tensors, and what the passes did.
    """
    with torch.no_grad():
        program = torch.export.export(module.eval(), tuple(args), dynamic_shapes=dynamic)
    graph: Any = program.module(check_guards=False)
    register_lowerings()
    applied = apply(graph, passes, precision=precision)
    example: Any = program.example_inputs
    store = Store.of_build()
    libraries = Libraries(store, directory / "kept", directory)
    with (
        warnings.catch_warnings(action="ignore"),  # of torch about itself
        # In the usual one, all compiles of a machine wait for the same lock.
        patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=str(directory / "cache")),
        set_up(
            TARGETS[target],
            find_cxx(TARGETS[target].cross),
            directory,
            options or {},
            shared_headers(store, TARGETS[target]),
            libraries,
            _link if TARGETS[target].cross else None,
            standalone=bool(TARGETS[target].cross),
        ) as setup,
    ):
        found = compile_library(graph, example, setup, lambda _: True, lambda _: True)
    assert found is not None
    if TARGETS[target].cross:
        return _emulated(TARGETS[target], found, directory), applied
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(found.library), 1)
    names = runner.get_constant_names_to_original_fqns()
    constants = {name: found.constants[fqn] for name, fqn in names.items()}
    runner.update_constant_buffer(constants, use_inactive=False, validate_full_updates=True)
    return lambda *given: runner.run(list(given)), applied


def same_by_any_threads(
    call: Call, *given: torch.Tensor, counts: Sequence[int] = (1, 2, 3), equal_nan: bool = False
) -> list[torch.Tensor]:
    """Make sure that results have the same bits by any number of threads.

    Args:
        call: The compiled module.
        given: What it is called with.
        counts: Numbers of threads.
        equal_nan: Whether results may hold NaN.

    Returns:
        The results.
    """
    before = torch.get_num_threads()
    results = []
    try:
        for threads in counts:
            torch.set_num_threads(threads)
            results.append(call(*given))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0, equal_nan=equal_nan)
    return results[0]


def _link(compiler: Compiler, library: Path, _graph: torch.fx.Graph) -> None:
    """Link what runs in an emulator, where there is no torch."""
    directory = compiler.script.with_name("standalone")
    link(compiler, library, Store.of_build(), directory, _needs_torch)


def _needs_torch(functions: Sequence[str]) -> CompileError:
    return CompileError(f"only torch has {', '.join(functions)}")


def _emulated(target: Target, found: Compiled, directory: Path) -> Call:
    library = Emulated(emulating_command(target, directory), found.library)
    names = expected_constants(found, "the test")
    library.set_constants({name: found.constants[fqn] for name, fqn in names.items()})

    def call(*given: torch.Tensor) -> list[torch.Tensor]:
        library.set_num_threads(torch.get_num_threads())
        return library.run(given)

    return call


def compiled_layers(
    module: torch.nn.Module,
    features: Sequence[int],
    directory: Path,
    *,
    target: str,
    rows: int,
    precision: str = "",
) -> tuple[Call, Applied]:
    """Compile a module whose ``forward(*given)`` takes matrices of any number of rows.

    Args:
        module: The module.
        features: How many columns each matrix has.
        directory: An empty one for all files.
        target: The target's name.
        rows: How many rows there are at most.
        precision: The type that passes may compute in, if it is less exact.

    Returns:
        A function that runs it on tensors, and what the passes did.
    """
    dim = torch.export.Dim("rows", min=1, max=rows)
    return compiled(
        module,
        [torch.randn(5, count) for count in features],
        directory,
        target=target,
        dynamic={"given": tuple({0: dim} for _ in features)},
        precision=precision,
    )
