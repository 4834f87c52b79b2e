"""Patches of Inductor while it lowers a graph: what it would take from the build machine, or guess.

Each names what it cures. Symbols are looked up by name when they are needed, so that a torch that
moved one fails with that name instead of compiling something else.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import sympy
import torch
import torch._inductor.codegen.common


@contextlib.contextmanager
def patched(replaceable: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """Apply all patches.

    Args:
        replaceable: Whether a tensor of the graph may get other values: they stay out of the code.
    """
    with (
        _unguarded_conv_backend(),
        _unguarded_pooling(),
        _fixed_caches(),
        _no_values_in_code(replaceable),
        _errors_are_told_once(),
    ):
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


_PRINTED = re.compile(r"^\s*std::cerr << [^;]*;[ \\]*\n", re.MULTILINE)
"""A line of a macro that prints an error."""
_EMITS = "_write_aoti_interface_header"
"""The method that writes torch's ``interface.cpp`` into the source of a library."""


@contextlib.contextmanager
def _errors_are_told_once() -> Iterator[None]:
    """Keep the library from printing an error with its frames in C++ before it returns it.

    ``interface.cpp`` of torch 2.13 also keeps the message, from where the runtime takes it for the
    exception that it raises; where it does not, as in torch 2.12, the print stays.
    ``test_an_index_out_of_bounds_prints_nothing`` notices when torch no longer prints.
    """
    from torch._inductor.codegen.cpp_wrapper_cpu import CppWrapperCpu

    wrapper: Any = CppWrapperCpu
    original = wrapper.__dict__.get(_EMITS)

    def emit(self: Any, *args: Any, **kwargs: Any) -> Any:
        header, self.header = self.header, type(self.header)()
        try:
            result = original(self, *args, **kwargs)
            text = self.header.getvalue()
        finally:
            self.header = header
        self.header.splice(_PRINTED.sub("", text) if "g_aoti_last_error" in text else text)
        return result

    if original is None:
        yield
        return
    setattr(wrapper, _EMITS, emit)
    try:
        yield
    finally:
        setattr(wrapper, _EMITS, original)


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
