"""Patches of Inductor while it lowers a graph: what it would take from the build machine, or guess.

Each names what it cures. Those that only widen what a model accepts step aside where torch has
moved what they need (``aotbuild.steps.torch_parts``).
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true, sym_eq

from aotbuild.steps.compile.indexed_sums import sums_in_order
from aotbuild.steps.compile.own_results import results_of_their_own
from aotbuild.steps.compile.parallel_loops import worthwhile_threads
from aotbuild.steps.torch_parts.moved import usable


@contextlib.contextmanager
def patched(replaceable: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """Apply all patches.

    Args:
        replaceable: Whether a tensor of the graph may get other values: they stay out of the code.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_no_values_in_code(replaceable))
        stack.enter_context(sums_in_order())
        for use, patch in _WHERE_USABLE.items():
            if usable(use):
                stack.enter_context(patch())
        yield


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


@contextlib.contextmanager
def _unguarded_pooling() -> Iterator[None]:
    """Keep a pooling with ``ceil_mode`` from accepting only odd sizes, or only even ones.

    Inductor asks whether rounding up changes the size of the output, to leave out the check of its
    last window where it does not, and guards the answer (torch 2.13). With the check, the code is
    right for both answers. ``test_a_pooling_that_rounds_up_keeps_its_range`` notices when torch no
    longer needs this.
    """
    from torch._inductor import lowering
    from torch._inductor.virtualized import V

    module: Any = lowering
    original = module.pooling_size

    def pooling_size(*args: Any, **kwargs: Any) -> Any:
        sizes: Any = V.graph.sizevars
        ask = sizes.guard_or_false

        def known(condition: Any) -> bool:
            equal = isinstance(condition, sympy.Eq)
            return bool(sizes.statically_known_true(condition) if equal else ask(condition))

        sizes.guard_or_false = known
        try:
            return original(*args, **kwargs)
        finally:
            del sizes.guard_or_false

    module.pooling_size = pooling_size
    try:
        yield
    finally:
        module.pooling_size = original


@contextlib.contextmanager
def _unguarded_views() -> Iterator[None]:
    """Keep a result that is a view, as a transposed one, from depending on its shape.

    AOTAutograd asks whether it is the same as what it is a view of, and guards the answer: of
    ``y.transpose(0, 1)``, that its two sizes differ (torch 2.15). Here it is only the same where it
    is that for all sizes. ``test_a_transposed_result_keeps_its_range`` notices when torch no longer
    needs this.
    """
    from torch._functorch._aot_autograd import collect_metadata_analysis

    module: Any = collect_metadata_analysis
    original = getattr(module, "has_same_metadata", None)

    def has_same_metadata(t1: torch.Tensor, t2: torch.Tensor) -> bool:
        sizes = sym_eq(tuple(t1.shape), tuple(t2.shape))
        if not statically_known_true(sizes) or t1.layout != t2.layout:
            return False
        strides = sym_eq(tuple(t1.stride()), tuple(t2.stride()))
        begins = sym_eq(t1.storage_offset(), t2.storage_offset())
        if not statically_known_true(strides) or not statically_known_true(begins):
            return False
        return original is not None and bool(original(t1, t2))

    if original is None:  # before torch 2.15
        yield
        return
    module.has_same_metadata = has_same_metadata
    try:
        yield
    finally:
        module.has_same_metadata = original


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
def _no_values_in_code(replaceable: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """Keep the values of parameters out of the code, however few they are.

    Inductor writes tensors of up to 8 elements into it, and computes with those of one element.
    """
    from torch._inductor.fx_passes import joint_graph
    from torch._inductor.graph import GraphLowering

    lowering: Any = GraphLowering
    lower = lowering.get_attr
    folding: Any = joint_graph.UniformValueConstantFolder
    deduce = folding._deduce_value

    def get_attr(graph: Any, target: str, args: Any, kwargs: Any) -> Any:
        value = operator.attrgetter(target)(graph.module)
        if isinstance(value, torch.Tensor) and replaceable(value):
            return graph.add_tensor_constant(value, target)
        return lower(graph, target, args, kwargs)

    def deduce_value(folder: Any, node: torch.fx.Node) -> Any:
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(folder.module)
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


@contextlib.contextmanager
def _memory_of_results() -> Iterator[None]:
    """Keep the memory of a result whose view is returned until the call is over.

    A complex result is a view of pairs of numbers. Inductor knows that the pairs are never freed,
    but not, where it places what is computed in between, that they live on: their place is given to
    others, or freed, before the view is made (torch 2.13).
    """
    from torch._inductor.codegen import memory_planning, wrapper

    planner: Any = memory_planning.MemoryPlanner
    original = planner.compute_buffer_groups

    def compute_buffer_groups(self: Any, lines: list[Any]) -> Any:
        groups = original(self, lines)
        freed = {
            line.node.get_name() for line in lines if isinstance(line, wrapper.FreeIfNotReusedLine)
        }
        for group in self.buffer_groups:
            group.is_output = group.is_output or freed.isdisjoint(group.names)
        return groups

    planner.compute_buffer_groups = compute_buffer_groups
    try:
        yield
    finally:
        planner.compute_buffer_groups = original


_WHERE_USABLE: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "choice of convolutions": _unguarded_conv_backend,
    "pooling": _unguarded_pooling,
    "views of results": _unguarded_views,
    "sizes of caches": _fixed_caches,
    "worthwhile threads": worthwhile_threads,
    "memory of results": _memory_of_results,
    "results of their own": results_of_their_own,
}
"""Patches by what they use of torch: without one, the values of a model are right all the same.
Without that of the memory of results, memory is not planned."""
