"""Loops that Inductor generates: divided among threads only where that pays.

With a number of threads that is not known when a model is compiled, Inductor divides every loop,
however short it is (torch 2.13). Waking a thread takes a microsecond or two: a GRU cell of 64 took
twice as long with two threads as with one. A loop whose sizes are known is generated for one thread
or for several; one of other sizes asks at run time.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

_WORK = 1 << 17
"""Operations on single numbers from which on threads pay: ``kParallelWork`` of simd/panels.h."""
_COSTLY = re.compile(r"exp|log|sin|cos|tan|sqrt|pow|erf|gamma|exact::|div_floor|fmod|remainder")
_CALL = 16
"""Operations that a function takes as long as."""
_SCALAR = 8
"""Operations of vectors that one of a single number takes as long as."""


@contextlib.contextmanager
def worthwhile_threads() -> Iterator[None]:
    """Let Inductor divide only loops that take longer than waking threads does."""
    from torch._inductor.codegen import cpp

    kernels: Any = cpp.CppKernel
    regions: Any = cpp.WorkSharing
    decide, begin = kernels.decide_parallel_depth, regions.parallel
    conditions: list[str] = []  # of the loops that the next region is for
    functions: list[Any] = [None]  # the arguments of the function that these are in
    started: dict[Any, str] = {}  # by region, when it has several threads

    def decide_parallel_depth(kernel: Any, max_parallel_depth: Any, threads: Any) -> Any:
        if functions[0] is not kernel.args:  # names of sizes are those of a function
            functions[0] = kernel.args
            conditions.clear()
        depth = decide(kernel, max_parallel_depth, threads)
        if not depth.parallel_depth:
            return depth
        condition = _condition(kernel)
        if condition == "false":
            return cpp.ParallelDepth(parallel_depth=0, start_depth=depth.start_depth)
        conditions.append(condition)
        return depth

    def parallel(region: Any, threads: Any) -> None:
        wanted = "" if "true" in conditions else " || ".join(dict.fromkeys(conditions))
        conditions.clear()
        if region.in_parallel and started.get(region, "") != wanted:
            region.close()
        if region.in_parallel:
            begin(region, threads)
            return
        started[region] = wanted
        code = region.code
        write = code.writeline

        def writeline(line: Any) -> None:
            opens = wanted and str(line).startswith("#pragma omp parallel")
            write(f"{line} if({wanted})" if opens else line)

        code.writeline = writeline
        try:
            begin(region, threads)
        finally:
            del code.writeline

    kernels.decide_parallel_depth, regions.parallel = decide_parallel_depth, parallel
    try:
        yield
    finally:
        kernels.decide_parallel_depth, regions.parallel = decide, begin


def _condition(kernel: Any) -> str:
    """When a loop is divided, as C++."""
    from torch._inductor.codegen import cpp_utils
    from torch._inductor.utils import sympy_product

    size = sympy_product(kernel.call_ranges)
    least = -(-_WORK // _cost(kernel))
    if size.is_number:
        return "true" if size >= least else "false"
    # Bounds of sizes are those of the example by now: choosing between loops narrows them.
    index: Any = cpp_utils.cexpr_index
    return f"{index(kernel.rename_indexing(size))} >= {least}"


def _cost(kernel: Any) -> int:
    """Operations that one number of a loop takes, at least one."""
    from torch._inductor.codegen.cpp import CppVecKernel

    bodies = getattr(kernel, "kernels", None) or [kernel]
    body = bodies[0]
    text = "\n".join(part.getvalue() for part in (body.loads, body.compute, body.stores))
    lines = [line for line in text.splitlines() if line.strip().endswith(";")]
    operations = sum(_CALL if _COSTLY.search(line) else 1 for line in lines)
    return max(1, operations) * (1 if isinstance(body, CppVecKernel) else _SCALAR)
