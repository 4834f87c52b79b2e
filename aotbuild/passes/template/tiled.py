"""Templates: how an operator of aotbuild becomes a C++ function, with what follows it fused.

A template writes its result tile by tile into a small local buffer. What Inductor wants to fuse,
elementwise operators on the whole result, is applied to that tile while it is in the first cache,
and stored. Everything here reaches inside Inductor; what it needs there is in the table of
``aotbuild/steps/torch_parts/kernels.py``.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

from torch._inductor import ir, lowering
from torch._inductor.codegen.cpp import get_export_declaration
from torch._inductor.codegen.cpp_gemm_template import gen_2d_view_of_epilogue_buf
from torch._inductor.codegen.cpp_template import CppTemplate
from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.utils import Placeholder
from torch._inductor.virtualized import V, ops

from aotbuild.passes.template.kernel_text import kernel_text


def lower_by(operator: Any, lower: Callable[..., Any]) -> None:
    """Let Inductor compile an operator by a function, if it does not yet."""
    if operator not in lowering.lowerings:
        lowering.register_lowering(operator, type_promotion_kind=None)(lower)


class Tiled(CppTemplate):
    """A template whose result is a matrix that is made tile by tile."""

    kernel_header: str
    """The header that the code needs, by its path in ``aotbuild.passes``."""

    def __init__(self, name: str, inputs: Sequence[Any], layout: Any) -> None:
        super().__init__(name, list(inputs), layout, num_threads=1)

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], tile: Tile) -> str:
        """The statements of the function.

        Args:
            kernel: Tells sizes, strides and addresses as C++.
            inputs: The buffers, whose names in the code are ``in0``, ``in1``, ...
            tile: Stores a part of the result.
        """
        raise NotImplementedError

    def call(self) -> Any:
        """A call of the function, as a part of the program that is compiled."""

        def make_kernel(
            node: Any, flag_template_buffer_has_other_users: Any, epilogue_nodes: Any = None
        ) -> Any:
            create: Any = CppTemplateKernel
            kernel = create(kernel_name=str(Placeholder.KERNEL_NAME), num_threads=self.num_threads)
            render = functools.partial(
                kernel.render,
                self,
                template_buffer_node=node,
                flag_template_buffer_has_other_users=flag_template_buffer_has_other_users,
                epilogue_nodes=epilogue_nodes,
            )
            return kernel, render

        create: Any = ir.CppTemplateBuffer
        buffer = create(
            layout=self.layout,
            inputs=self.input_nodes,
            make_kernel_render=make_kernel,
            template=self,
            choice=None,
        )
        return ir.TensorBox.create(buffer)

    def render(  # type: ignore[override]
        self,
        kernel: CppTemplateKernel,
        template_buffer_node: Any,
        flag_template_buffer_has_other_users: bool,  # noqa: FBT001
        epilogue_nodes: Sequence[Any] | None,
    ) -> str:
        """The C++ code of the function.

        Args:
            kernel: Inductor's kernel; it declares the function and names the buffers.
            template_buffer_node: The buffer that the function computes.
            flag_template_buffer_has_other_users: Whether others than the epilogue read that buffer:
                only then is it stored.
            epilogue_nodes: The element-wise operations that Inductor fused to the function, applied
                to each tile; None without any.
        """
        inputs = template_buffer_node.inputs
        tile = Tile(
            kernel,
            template_buffer_node,
            list(epilogue_nodes or ()),
            stored=flag_template_buffer_has_other_users,
        )
        named = {f"in{i}": each for i, each in enumerate(inputs)}
        aliases = {alias: tile.result.get_name() for alias in tile.aliases}
        function = kernel.def_kernel(inputs=named, outputs={"out": tile.result}, aliases=aliases)
        with contextlib.ExitStack() as stack:
            for buffer in tile.fake_buffers:
                stack.enter_context(
                    patch.object(V.graph, "get_dtype", self._fake_get_dtype(buffer))
                )
            body = self.body(kernel, inputs, tile)
        return self._source(function, body)

    def _source(self, function: str, body: str) -> str:
        """The code: the header, and the function with its statements."""
        return (
            f"{self.header().getvalue()}\n{kernel_text(self.kernel_header)}\n"
            f'extern "C" {get_export_declaration()}\n{function}\n{{\n{body}\n}}\n'
        )


class Tile:
    """A part of the result, in a local buffer."""

    def __init__(
        self, kernel: CppTemplateKernel, node: Any, epilogues: list[Any], *, stored: bool
    ) -> None:
        """Prepare to store tiles.

        Args:
            kernel: The function.
            node: The result of the template alone.
            epilogues: What Inductor fuses behind it.
            stored: Whether others use the result of the template alone.
        """
        self._kernel = kernel
        self._source = node
        self._nodes: list[Any] = []
        self._reindexers: list[Any] = []
        self.aliases: list[str] = []
        """Names of buffers that are never made."""
        self.fake_buffers: list[Any] = []
        self.result: Any = node
        """What is stored in the end."""
        self._matrix: Any = node
        if stored:  # stored as it is, beside what is computed from it
            self._source = ir.Buffer(name=f"{node.get_name()}_tile", layout=node.layout)
            copy = ir.ComputedBuffer(
                name=node.get_name(), layout=node.layout, data=_copy(self._source)
            )
            self._nodes.append(copy)
            self._reindexers.append(None)
            self.fake_buffers.append(self._source)
            self.aliases.append(self._source.get_name())
        if epilogues:
            if not stored:
                self.aliases.append(node.get_name())
            self._nodes += epilogues
            self.result = epilogues[-1]
            self._matrix, self._reindexers = gen_2d_view_of_epilogue_buf(
                self.result, node, epilogues, self._reindexers, [None] * len(epilogues)
            )

    @property
    def plain(self) -> bool:
        """Whether tiles are stored as they are: then they may be written to ``out`` at once."""
        return not self._nodes

    def define(self, name: str, rows: int | str, columns: int | str) -> str:
        """The declaration of the local buffer, which holds one tile.

        Args:
            name: Name of the buffer in the code.
            rows: The most rows of a tile: a number, or the name of a constant of the code.
            columns: The most columns of a tile, likewise.
        """
        self._name = name
        return str(self._kernel.define_stack_allocated_buffer(name, [rows, columns]))

    def store(self, rows: tuple[str, str], columns: tuple[str, str]) -> str:
        """The code that stores a tile.

        Args:
            rows: Names of the variables of its first row, and of the one behind its last.
            columns: Those of its columns.
        """
        kernel: Any = self._kernel
        matrix = kernel.slice_nd(self._matrix, [rows, columns])
        own = kernel.slice_nd(
            kernel.local_buffers[self._name],
            [("0", f"{rows[1]} - {rows[0]}"), ("0", f"{columns[1]} - {columns[0]}")],
        )
        text = kernel.store_output(
            matrix,
            own,
            self._source,
            self._nodes,
            offsets=(rows[0], columns[0]),
            reindexers=self._reindexers,
        )
        return str(text)


def _copy(buffer: Any) -> Any:
    load = buffer.make_loader()
    return ir.Pointwise(
        device=buffer.get_device_or_error(),
        dtype=buffer.get_dtype(),
        inner_fn=lambda index: ops.identity(load(index)),
        ranges=buffer.get_size(),
    )
