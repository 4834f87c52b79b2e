"""Lowering the program of a step: loaded, rewritten, and handed to Inductor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection

import sympy
import torch

from aotbuild.errors import CompileError, debugging, warn
from aotbuild.passes.pipeline import PASSES, Applied, apply, rewrite
from aotbuild.passes.template.operators import register_lowerings
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.program import module_of
from aotbuild.steps.artifacts.samples import verification_sizes
from aotbuild.steps.artifacts.spec import CompileSpec
from aotbuild.steps.compile.attempts import Attempt, Lower
from aotbuild.steps.compile.inductor import Code, Setup, compile_library
from aotbuild.steps.compile.program_weights import ProgramWeights
from aotbuild.steps.compile.stepping_aside import stepping_aside
from aotbuild.steps.project_code import error_text, importing
from aotbuild.steps.sizes.hints import hinted, hints_at
from aotbuild.steps.sizes.ranges import Ranges, compiled_ranges
from aotbuild.steps.sizes.suppositions import fails_at, supposing
from aotbuild.steps.sizes.symbols import SizeSymbol, dimension_symbols
from aotbuild.steps.tune.recipes import RECIPES
from aotbuild.target import TARGETS


def lowering(spec: CompileSpec, call: CallSpec, setup: Setup, weights: ProgramWeights) -> Lower:
    """What lowers the exported program of a step for an example of any size.

    Args:
        spec: The specification of the step, with its recipe decided.
        call: How the program is called.
        setup: What to compile for, and with what.
        weights: The weights of the program.
    """
    symbols: dict[str, SizeSymbol] = {}
    warned: set[str] = set()

    def lowered(
        sizes: dict[str, int], wanted: Callable[[Ranges], bool], aside: Collection[str]
    ) -> Attempt:
        others = sizes != call.example
        # What is asked about the sizes of a program stays with it.
        with (
            importing(spec.import_paths, spec.package),
            hinted(hints_at(symbols, sizes)) if others else contextlib.nullcontext(),
        ):
            program = weights.program()
        if program.example_inputs is None:
            raise CompileError("the exported program has no example inputs")
        graph = module_of(program)
        rewrite(graph, RECIPES[spec.recipe].rewrites)
        by_symbol, _ = dimension_symbols(graph.graph, call.inputs)
        symbols.update({str(symbol): size for symbol, size in by_symbol.items()})

        def verified(differ: sympy.Ne) -> bool:
            cases = verification_sizes(call.dims, call.example, call.exceptions)
            return any(fails_at(differ, by_symbol, case) for case in cases.values())

        def ranges() -> Ranges:
            return compiled_ranges(graph.graph, call.inputs, call.dims, sizes)

        seen: list[tuple[Ranges, Code]] = []

        def is_wanted(code: Code) -> bool:
            seen.append((ranges(), code))
            return wanted(seen[0][0])

        with supposing(verified):
            applied = _rewritten(graph, spec, aside)
        for name in applied.failed.keys() - warned:
            warned.add(name)
            warn_failed(name, applied.failed[name], spec.model)
        derived = {id(getattr(graph, name)) for name in applied.derived}

        def replaceable(tensor: torch.Tensor) -> bool:
            return id(tensor) in derived or weights.replaceable(tensor)

        example = program.example_inputs
        with supposing(verified):
            compiled = compile_library(graph, example, setup, is_wanted, replaceable)
        accepted, code = seen[0]
        return Attempt(sizes, ranges() if compiled else accepted, compiled, applied, code)

    return stepping_aside(lowered)


def _rewritten(graph: torch.fx.GraphModule, spec: CompileSpec, aside: Collection[str]) -> Applied:
    """Apply the passes that are for the target, but for those that step aside."""
    if TARGETS[spec.target].device != "cpu":
        return Applied()
    register_lowerings(aside)
    wanted = PASSES if spec.passes is None else spec.passes
    names = [name for name in wanted if name not in aside]
    return apply(graph, names, precision=RECIPES[spec.recipe].precision)


def warn_failed(name: str, error: Exception, model: str) -> None:
    """Warn of a pass that raised, and was left out.

    Args:
        name: The name of the pass.
        error: What it raised; raised again if the user asked for tracebacks.
        model: The name of the model.
    """
    if debugging():
        raise error
    warn(
        f"{model} is compiled without the pass {name}, which failed",
        why=error_text(error).partition("\n")[0],
        fix="the model is right without it, and may be slower; set AOTBUILD_DEBUG=1 for the "
        "traceback, and report it to the aotbuild project",
    )
