"""What the kernels of ``aotbuild.passes`` need of Inductor: their passes step aside without it."""

from __future__ import annotations

from aotbuild.steps.torch_parts.part import COMPILE, Part, Use, names

_IR = "torch._inductor.ir"
_KERNEL = "torch._inductor.codegen.cpp_template_kernel.CppTemplateKernel"
_SIZES = "torch._inductor.sizevars.SizeVarAllocator"
_WITHOUT = "models are compiled without these passes, and are slower"

KERNELS = Use(
    "templates",
    COMPILE,
    "compiles its own kernels as templates of Inductor, with what follows fused to them",
    _WITHOUT,
    [
        *names("torch._inductor.lowering", "lowerings", "register_lowering", "view"),
        *names(_IR, "Buffer", "ComputedBuffer", "FixedLayout", "Pointwise", "TensorBox.create"),
        *names(f"{_IR}.ExternKernel", "realize_input", "require_stride1"),
        Part(
            f"{_IR}.CppTemplateBuffer",
            ("layout", "inputs", "make_kernel_render", "template", "choice"),
        ),
        Part("torch._inductor.codegen.cpp.get_export_declaration"),
        *names("torch._inductor.codegen.cpp_utils", "cexpr_index"),
        *names("torch._inductor.codegen.cpp_template", "CppTemplate._fake_get_dtype"),
        Part(
            "torch._inductor.codegen.cpp_template.CppTemplate",
            ("name", "input_nodes", "layout", "num_threads"),
        ),
        Part(
            "torch._inductor.codegen.cpp_gemm_template.gen_2d_view_of_epilogue_buf",
            ("Y", "template_buffer", "epilogue_nodes", "reindexers", "default_reindexers"),
        ),
        *names(_KERNEL, "index", "size", "stride", "rename_indexing", "render", "slice_nd"),
        Part(
            f"{_KERNEL}.def_kernel",
            ("inputs", "outputs", "aliases", "extra_sizevars"),
        ),
        Part(f"{_KERNEL}.define_stack_allocated_buffer", ("name", "sizes")),
        Part(
            f"{_KERNEL}.store_output",
            ("dst", "src", "orig_src", "epilogue_nodes", "offsets", "reindexers"),
        ),
        Part("torch._inductor.utils.Placeholder.KERNEL_NAME"),
        *names("torch._inductor.virtualized", "V", "ops"),
        *names(_SIZES, "simplify", "statically_known_equals"),
    ],
    passes=(
        *("linear", "convolution", "fold_padding", "winograd", "attention", "recurrent"),
        "bfloat16",
    ),
)
"""What all kernels need."""

USES = [
    KERNELS,
    Use(
        "rows in memory",
        COMPILE,
        "asks Inductor for the layouts that the kernels of products read",
        _WITHOUT,
        names(f"{_IR}.ExternKernel", "require_stride_order"),
        passes=("linear", "convolution", "fold_padding", "winograd", "recurrent", "bfloat16"),
    ),
    Use(
        "images in memory",
        COMPILE,
        "asks Inductor for the layouts that the kernels of convolutions read and write",
        _WITHOUT,
        [
            Part(f"{_IR}.ExternKernel.require_exact_strides"),
            Part(f"{_IR}.FlexibleLayout.contiguous_strides"),
            *names(_IR, "is_storage_and_layout", "convert_shape_to_inductor"),
            Part("torch._inductor.lowering.permute"),
            *names(
                "torch._prims_common",
                *("is_channels_last_contiguous_or_false_2d", "is_contiguous_or_false"),
            ),
        ],
        passes=("convolution", "fold_padding", "winograd"),
    ),
    Use(
        "masks of attention",
        COMPILE,
        "expands masks to the sizes that the kernel of attention reads",
        _WITHOUT,
        names("torch._inductor.lowering", "expand"),
        passes=("attention",),
    ),
    Use(
        "steps in memory",
        COMPILE,
        "finds out whether the results of recurrent layers lie step by step",
        _WITHOUT,
        names("torch._prims_common", "is_contiguous_or_false"),
        passes=("recurrent",),
    ),
]
"""In the order in which they are told."""
