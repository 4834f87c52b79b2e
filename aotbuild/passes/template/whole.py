"""Templates whose result is made at once, with nothing fused behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch._inductor.codegen.cpp_template_kernel import CppTemplateKernel
from torch._inductor.virtualized import V

from aotbuild.passes.template.tiled import Tiled


class Whole(Tiled):
    """A template that writes its result to where it belongs."""

    def body(self, kernel: CppTemplateKernel, inputs: Sequence[Any], result: Any) -> str:
        """The statements of the function.

        Args:
            kernel: Tells sizes, strides and addresses as C++.
            inputs: The buffers; some may be views of the same memory.
            result: The buffer that is written.
        """
        raise NotImplementedError

    def call(self) -> Any:
        """A call of the function, as a part of the program that is compiled."""
        buffer = super().call()
        V.graph.no_fuse_buffer_names.add(buffer.get_name())
        return buffer

    def render(  # type: ignore[override]
        self,
        kernel: CppTemplateKernel,
        template_buffer_node: Any,
        flag_template_buffer_has_other_users: bool,  # noqa: FBT001
        epilogue_nodes: Sequence[Any] | None,
    ) -> str:
        """The code of the function."""
        del flag_template_buffer_has_other_users
        assert not epilogue_nodes  # noqa: S101
        inputs = template_buffer_node.inputs
        # Views of the same buffer are one argument.
        named = {f"in_{each.get_name()}": each for each in inputs}
        function = kernel.def_kernel(
            inputs=named,
            outputs={"out": template_buffer_node},
            extra_sizevars=[
                size for each in inputs for size in (*each.get_size(), *each.get_stride())
            ],
        )
        return self._source(function, self.body(kernel, inputs, template_buffer_node))
