"""Loops that add to places by an index, such as of ``index_add`` and ``scatter_add``: in order.

Two numbers of such a loop may go to the same place. Inductor divides it among threads and adds each
number by an atomic operation, which takes five times as long as an addition on one thread (messages
of 3,000 edges: 1.4 ms, torch 2.13), and gives sums whose last bits differ from call to call. Here
one thread adds them, in the order of eager torch, and by vectors where the places lie side by side.
In a loop that also transposes, atomic additions went to places beside those that were meant, which
may be outside of the result.

The compiler is not told that the turns of such a loop are independent, as Inductor says of loops
that it does not divide: they are not.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

_ADDS = "adds_by_index"
"""Marks a kernel with such a loop."""
_PROMISE = "#pragma GCC ivdep"
"""Tells the compiler that the turns of the next loop are independent."""


@contextlib.contextmanager
def sums_in_order() -> Iterator[None]:
    """Let Inductor divide no loop that adds by an index, and add there without atomics."""
    from torch._inductor.codegen import cpp

    asked = "_use_parallel_atomic_add"  # since torch 2.14
    changes: list[tuple[Any, str, Callable[..., Any]]] = [
        *(
            [(cpp.CppKernel, asked, _never)]
            if hasattr(cpp.CppKernel, asked)
            else [(kind, "store", _on_one_thread) for kind in (cpp.CppKernel, cpp.CppVecKernel)]
        ),
        (cpp.CppKernel, "decide_parallel_depth", _undivided),
        (cpp.OuterLoopFusedKernel, "decide_parallel_depth", _undivided),
        (cpp.CppKernel, "codegen_loops_impl", _dependent),
    ]
    with contextlib.ExitStack() as stack:
        for kind, name, change in changes:
            stack.enter_context(_changed(kind, name, change))
        yield


@contextlib.contextmanager
def _changed(kind: Any, name: str, change: Callable[..., Any]) -> Iterator[None]:
    original = getattr(kind, name)
    setattr(kind, name, functools.wraps(original)(change(original)))
    try:
        yield
    finally:
        setattr(kind, name, original)


def _never(_: Callable[..., Any]) -> Callable[..., Any]:
    def asked(kernel: Any) -> bool:
        setattr(kernel, _ADDS, True)
        return False

    return asked


def _on_one_thread(store: Callable[..., Any]) -> Callable[..., Any]:
    from torch._inductor import config

    def stored(kernel: Any, name: str, index: Any, value: Any, mode: Any = None) -> Any:
        if mode != "atomic_add":
            return store(kernel, name, index, value, mode)
        setattr(kernel, _ADDS, True)
        threads, kernel.num_threads = kernel.num_threads, 1
        try:
            with config.patch({"cpp.dynamic_threads": False}):
                return store(kernel, name, index, value, mode)
        finally:
            kernel.num_threads = threads

    return stored


def _undivided(decide: Callable[..., Any]) -> Callable[..., Any]:
    from torch._inductor.codegen import cpp

    def decided(kernel: Any, max_parallel_depth: Any, threads: Any) -> Any:
        if _adds(kernel):
            start = max_parallel_depth.start_depth
            return cpp.ParallelDepth(parallel_depth=0, start_depth=start)
        return decide(kernel, max_parallel_depth, threads)

    return decided


def _dependent(write: Callable[..., Any]) -> Callable[..., Any]:
    from torch._inductor.codegen import cpp

    def without_promise(lines: Callable[..., Any]) -> Callable[..., Any]:
        def written(level: Any) -> Any:
            found = lines(level)
            return found and [line for line in found if not line.startswith(_PROMISE)]

        return written

    def written(proxy: Any, loop_nest: Any, code: Any, worksharing: Any) -> Any:
        if not (_adds(proxy) or _adds(loop_nest.kernel)):
            return write(proxy, loop_nest, code, worksharing)
        with _changed(cpp.LoopLevel, "lines", without_promise):
            return write(proxy, loop_nest, code, worksharing)

    return written


def _adds(kernel: Any) -> bool:
    """Whether a kernel, or one that it is made of, has such a loop."""
    parts = [
        *(getattr(kernel, "kernels", None) or ()),
        *(nest.get_kernel() for nest in getattr(kernel, "inner", None) or ()),
    ]
    return getattr(kernel, _ADDS, False) or any(
        part is not kernel and _adds(part) for part in parts
    )
