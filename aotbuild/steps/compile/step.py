"""Step compile: a program and a target become a shared library, its weights and a build record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from aotbuild.config.schema import STANDALONE
from aotbuild.errors import AotBuildError, warn
from aotbuild.passes.pipeline import PASSES
from aotbuild.runtime.machine import onednn_version
from aotbuild.steps.artifacts.build_record import RECORD, BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.header_directory import HEADERS
from aotbuild.steps.artifacts.library import LIBRARY, PROXY_NODES
from aotbuild.steps.artifacts.spec import CompileSpec, read_spec
from aotbuild.steps.compile.attempts import Attempt, best_attempt
from aotbuild.steps.compile.constants import derivations, record_constants
from aotbuild.steps.compile.inductor import Compiled, Link, make_patterns, set_up
from aotbuild.steps.compile.instructions import check_instructions
from aotbuild.steps.compile.job import Job
from aotbuild.steps.compile.library_cache import Libraries
from aotbuild.steps.compile.lowering import lowering
from aotbuild.steps.compile.only_torch import Place, only_torch_error
from aotbuild.steps.compile.opening import check_opening, opens_without_torch
from aotbuild.steps.compile.shared_headers import shared_headers
from aotbuild.steps.compile.standalone import link
from aotbuild.steps.compile.symbols import check_needed, torch_symbols
from aotbuild.steps.compile.torch_interface import headers_of, need_of
from aotbuild.steps.compile.variant_cache import CacheSlot, dependencies
from aotbuild.steps.compile.vector_functions import link_vector_functions
from aotbuild.steps.files import plain_directory, replacing, scratch, write_depfile
from aotbuild.steps.sizes.narrowing import narrowed, too_narrow
from aotbuild.steps.sizes.proofs import proving
from aotbuild.steps.torch_parts.moved import aside, moved
from aotbuild.steps.torch_parts.part import COMPILE
from aotbuild.steps.tune.pins import decided
from aotbuild.target import TARGETS
from aotbuild.toolchain import compiler_title, find_cxx
from aotbuild.torch_version import OF_OP_LIBRARIES


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``CompileSpec``."""
    job = Job.of(decided(read_spec(CompileSpec, spec_file)))
    slot = CacheSlot.of(job.spec)
    job.load_operators()
    if job.target.onednn:  # weights are packed for the target's CPUs, not for this one
        os.environ["ONEDNN_MAX_CPU_ISA"] = job.target.onednn
    with scratch(plain_directory(job.output.resolve())) as directory:
        # Inductor's own cache would outlive the build, and hold paths of it.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(directory / "cache")
        best = _lowered_best(job, slot, directory)
        conditions = sorted({*job.call.conditions, *best.ranges.conditions})
        narrow = narrowed(job.spec, job.call, best.ranges.dims, conditions)
        if best.compiled is None or (narrow and job.spec.strict_dims):
            raise too_narrow(narrow)
        record = _write_library(job, best, best.compiled, conditions)
    for each in narrow:
        warn(each.what, where=each.where, why=each.why, fix=each.fix)
    write_depfile(job.output / RECORD, dependencies(job.spec, record))
    record.write(job.output)
    slot.put(job.output, computed=bool(record.written))


def prepare(spec_file: Path) -> None:
    """Do what does not depend on the model, in the process that forks for each step."""
    make_patterns(TARGETS[read_spec(CompileSpec, spec_file).target])
    moved(COMPILE)


def _lowered_best(job: Job, slot: CacheSlot, directory: Path) -> Attempt:
    """The program, lowered for the example by which its code accepts the most sizes.

    Args:
        job: What is compiled.
        slot: Its place in the cache, whose store also has parts of libraries.
        directory: For temporary files.
    """
    libraries = Libraries(slot.store, job.output / "kept", directory)
    shared = shared_headers(slot.store, job.target)
    try:
        with (
            proving(),
            set_up(
                job.target,
                find_cxx(job.target.cross),
                directory,
                job.spec.options,
                shared,
                libraries,
                _link(job, slot, directory),
                standalone=job.spec.runtime == STANDALONE,
            ) as setup,
        ):
            return best_attempt(
                job.call,
                lowering(job.spec, job.call, setup, job.weights),
                _fixed_dims(job.spec, job.call),
                strict=job.spec.strict_dims,
            )
    except AotBuildError as error:
        error.where = error.where or job.where
        raise


def _link(job: Job, slot: CacheSlot, directory: Path) -> Link:
    """What links a library with the functions that it has of its own."""
    # Models of one build share them, also where there is no cache.
    objects = HEADERS.resolve() if HEADERS.is_dir() else directory / "standalone"
    if job.spec.runtime != STANDALONE:
        return lambda compiler, library, _: link_vector_functions(
            compiler, library, slot.store, objects
        )
    place = Place(job.where, Path(job.spec.project))
    return lambda compiler, library, graph: link(
        compiler,
        library,
        slot.store,
        objects,
        lambda functions: only_torch_error(functions, graph, library, place),
    )


def _fixed_dims(spec: CompileSpec, call: CallSpec) -> Sequence[str]:
    """The dimensions that keep the size of the example, whatever that narrows."""
    # Only for declared sizes does the export know what the model gave before it was quantised.
    return list(call.dims) if spec.quantize else spec.chosen


def _write_library(
    job: Job, best: Attempt, compiled: Compiled, conditions: list[str]
) -> BuildRecord:
    """Check a library and write it with its weights.

    Args:
        job: What was compiled.
        best: The attempt that gave the library.
        compiled: What Inductor made in it.
        conditions: What the code needs of the sizes, besides their ranges.

    Returns:
        The build record, which is not written yet.

    Raises:
        CompileError: The library has instructions or constants that it should not have, needs
            other libraries than torch's, or cannot be opened where torch is not imported.
    """
    output, weights, counts = job.output, job.weights, best.applied.counts
    derived = derivations(best.applied, weights)
    shared, own = record_constants(compiled, weights, derived, output, job.where)
    guarded = [instruction for name in counts for instruction in PASSES[name].guarded]
    check_instructions(compiled.library, job.target, job.where, guarded)
    check_needed(compiled.library, job.where)
    proxied = compiled.proxy_nodes is not None
    standalone = job.spec.runtime == STANDALONE
    symbols = [] if standalone else torch_symbols(compiled.library, job.where)
    onednn = onednn_version() if any(constant.packed for constant in own) else ""
    bound = OF_OP_LIBRARIES if job.call.op_libraries else ""
    if onednn:
        bound = f"weights are packed for oneDNN {onednn}"
    if opens_without_torch(job.target, job.call.op_libraries, proxied=proxied):
        check_opening(compiled.library, job.where, standalone=standalone)
    _copy_library(compiled, output)
    derived = {c.fqn: derived[c.fqn] for c in own if c.fqn in derived}
    return BuildRecord(
        target=job.target.name,
        dims=best.ranges.dims,
        conditions=conditions,
        example=best.sizes,
        shared=shared,
        constants=own,
        folded=sorted(weights.parameters - set(shared.values())) if len(derived) < len(own) else [],
        symbols=headers_of(symbols),
        onednn=onednn,
        proxy_nodes=proxied,
        standalone=standalone,
        torch=None if standalone else need_of(symbols, others=bound),
        derived=derived,
        compiled={
            "torch": torch.__version__,
            "compiler": compiler_title(find_cxx(job.target.cross)),
            "march": job.target.march,
            "recipe": job.spec.recipe,
            "options": compiled.options,
            "passes": counts,
            **({"aside": names} if (names := [*aside(), *best.aside]) else {}),
        },
    )


def _copy_library(compiled: Compiled, output: Path) -> None:
    with replacing(output / LIBRARY) as temporary:
        shutil.copyfile(compiled.library, temporary)
    (output / PROXY_NODES).unlink(missing_ok=True)
    if compiled.proxy_nodes:
        shutil.copyfile(compiled.proxy_nodes, output / PROXY_NODES)
