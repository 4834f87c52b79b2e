"""What aotbuild does inside Inductor while it compiles, besides the kernels of passes."""

from __future__ import annotations

from aotbuild.steps.torch_parts.part import COMPILE, Option, Part, Use, names, texts

_CODEGEN = "torch._inductor.codegen"
_WRAPPER = "_inductor/codegen/cpp_wrapper_cpu.py"
_KERNELS = "_inductor/codegen/cpp.py"
_GRAPH = "_inductor/graph.py"
_FUNCTIONS = (*("expm1", "erf", "erfinv", "atanh", "acosh", "remainder"),)
_PARAMETERS = (
    *("device", "dst_dtype", "src_dtype", "inner_fn", "ranges", "reduction_ranges"),
    "reduction_type",
)

USES = [
    Use(
        "Inductor",
        COMPILE,
        "lowers a graph, and steps in before its code is compiled",
        "nothing can be compiled",
        [
            Part("torch._inductor.aot_compile", ("gm", "args", "kwargs", "options")),
            Part(
                "torch._inductor.codecache.AotCodeCompiler.compile",
                ("graph", "wrapper_code", "kernel_code", "serialized_extern_kernel_nodes"),
            ),
            Part("torch._inductor.codecache.CppTorchDeviceOptions"),
            Part("torch._inductor.cpp_builder.CppBuilder"),
            Part(
                "torch._inductor.cpp_builder.CppTorchDeviceOptions",
                ("vec_isa", "device_type", "aot_mode", "compile_only", "min_optimize"),
            ),
            *names("torch._inductor.config", "patch", "get_config_copy", "_config"),
            Part("torch._inductor.compile_fx"),
            Part("torch._inductor.fx_passes.joint_graph.lazy_init"),
            Part("torch._inductor.utils.get_cloned_parameter_buffer_name"),
            *texts(_GRAPH, "self.allocated_constant_name", "self.folded_constants"),
            *texts(_GRAPH, "def get_original_value_of_constant(", "self.constants"),
            *texts(_WRAPPER, '].name = "', '].original_fqn = "', "].shape = {", "].stride = {"),
        ],
        required=True,
    ),
    Use(
        "options",
        COMPILE,
        "compiles libraries without their weights, by its own compiler, for one CPU level",
        "nothing can be compiled",
        [
            *map(
                Option,
                (
                    *("aot_inductor.output_path", "aot_inductor.package", "cpp.cxx"),
                    *("aot_inductor.package_constants_in_so", "cpp.simdlen"),
                ),
            ),
        ],
        required=True,
    ),
    Use(
        "vector instructions",
        COMPILE,
        "compiles for the instructions of the target, not for those of this machine",
        "nothing can be compiled",
        names(
            "torch._inductor.cpu_vec_isa",
            *("VecISA.__hash__", "VecAVX2", "VecAVX512", "VecNEON", "invalid_vec_isa"),
            "valid_vec_isa_list",
        ),
        required=True,
    ),
    Use(
        "replaceable values",
        COMPILE,
        "keeps the values of weights out of the code, lest other weights have no effect",
        "nothing can be compiled",
        [
            Part("torch._inductor.graph.GraphLowering.get_attr", ("target", "args", "kwargs")),
            Part("torch._inductor.graph.GraphLowering.add_tensor_constant"),
            Part(
                "torch._inductor.fx_passes.joint_graph.UniformValueConstantFolder._deduce_value",
                ("node",),
            ),
        ],
        required=True,
    ),
    Use(
        "exact functions",
        COMPILE,
        "puts functions and reductions right that Inductor computes inexactly or wrongly",
        "nothing can be compiled rightly",
        [
            *names(f"{_CODEGEN}.cpp.CppVecOverrides", *_FUNCTIONS),
            Part("torch._inductor.ir.Reduction.create", _PARAMETERS),
            Part("torch._inductor.lowering.to_dtype"),
            *names("torch._inductor.virtualized", "ops", "V"),
            *texts("_inductor/codegen/cpp.py", "#include <torch/csrc/inductor/cpp_prefix.h>"),
        ],
        required=True,
    ),
    Use(
        "exact integers",
        COMPILE,
        "lets integers wrap, divide and compare as eager torch's do",
        "nothing can be compiled rightly",
        [
            *names(
                f"{_CODEGEN}.cpp.CppOverrides",
                *("add", "sub", "mul", "neg", "abs", "truncdiv"),
            ),
            *names(f"{_CODEGEN}.cpp_utils", "DTYPE_TO_CPP", "cexpr_index", "get_promote_dtype"),
            Part(
                "torch._inductor.index_propagation.IndexPropagation.propagate_sympy",
                ("name", "args", "kwargs"),
            ),
            Part("torch._inductor.bounds.ValueRangeAnalysis.eq", ("a", "b")),
        ],
        required=True,
    ),
    Use(
        "caught errors",
        COMPILE,
        "makes errors in the threads of kernels errors of the call",
        "kernels that check indices run on one thread",
        texts(_KERNELS, '"#pragma omp parallel"', '"#pragma omp for"', '"AOTI_TORCH_CHECK"'),
    ),
    Use(
        "worthwhile threads",
        COMPILE,
        "divides only loops among threads that take longer than waking them",
        "small models are slower with several threads than with one",
        [
            Part(
                f"{_CODEGEN}.cpp.CppKernel.decide_parallel_depth",
                ("max_parallel_depth", "threads"),
            ),
            Part(f"{_CODEGEN}.cpp.WorkSharing.parallel", ("threads",)),
            *names(f"{_CODEGEN}.cpp", "WorkSharing.close", "ParallelDepth", "CppVecKernel"),
            *names(f"{_CODEGEN}.cpp_utils", "cexpr_index"),
            Part("torch._inductor.utils.sympy_product"),
            *texts(_KERNELS, "self.code.writeline("),
        ],
    ),
    Use(
        "sums by index",
        COMPILE,
        "adds to places by an index on one thread, without atomic operations",
        "in loops that transpose, such sums go to other places",
        [
            *(
                Part(f"{_CODEGEN}.cpp.{kind}.store", ("name", "index", "value", "mode"))
                for kind in ("CppKernel", "CppVecKernel")
            ),
            *(
                Part(
                    f"{_CODEGEN}.cpp.{kind}.decide_parallel_depth",
                    ("max_parallel_depth", "threads"),
                )
                for kind in ("CppKernel", "OuterLoopFusedKernel")
            ),
            Part(
                f"{_CODEGEN}.cpp.CppKernel.codegen_loops_impl", ("loop_nest", "code", "worksharing")
            ),
            *names(f"{_CODEGEN}.cpp", "ParallelDepth", "LoopLevel.lines"),
            *names(f"{_CODEGEN}.cpp.CppKernel", "_use_parallel_atomic_add", since="2.14"),
            *texts(_KERNELS, 'mode == "atomic_add"', "config.cpp.dynamic_threads"),
            *texts(_KERNELS, '"#pragma GCC ivdep"'),
        ],
        required=True,
    ),
    Use(
        "memory of results",
        COMPILE,
        "keeps the memory of a result whose view is returned",
        "each value of a model gets memory of its own, which is slower",
        [
            Part(f"{_CODEGEN}.memory_planning.MemoryPlanner.compute_buffer_groups", ("lines",)),
            Part(f"{_CODEGEN}.memory_planning.BufferGroup"),
            Part(f"{_CODEGEN}.wrapper.FreeIfNotReusedLine"),
            *texts("_inductor/codegen/memory_planning.py", "self.is_output", "self.names"),
        ],
    ),
    Use(
        "results of their own",
        COMPILE,
        "keeps results apart that Inductor would make one tensor, such as x and x * 1",
        "what a caller writes into one of them is in the other",
        [Part("torch._inductor.fx_passes.joint_graph.remove_no_ops", ("gm", "zeros", "ones"))],
    ),
    Use(
        "planned memory",
        COMPILE,
        "places all that a model computes in one block of memory",
        "each value of a model gets memory of its own, which is slower",
        [Option("memory_planning")],
    ),
    Use(
        "kept memory",
        COMPILE,
        "keeps that block from one call to the next",
        "each call allocates the block anew, which is slower",
        [
            *texts(_WRAPPER, "::run_impl(", "AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided"),
            *texts(_WRAPPER, "}} // {self.aoti_model_class_name}::"),
            *texts("_inductor/codegen/memory_planning.py", 'finalize(f"pool{'),
        ],
    ),
    Use(
        "choice of convolutions",
        COMPILE,
        "keeps Inductor's choice of a convolution from narrowing the batch",
        "models with convolutions may accept fewer sizes",
        names("torch._C", "_select_conv_backend"),
    ),
    Use(
        "views of results",
        COMPILE,
        "keeps a result that is a transposed one from accepting only shapes that are not square",
        "models with such results may accept fewer sizes",
        [
            Part(
                "torch._functorch._aot_autograd.collect_metadata_analysis.has_same_metadata",
                ("t1", "t2"),
                since="2.15",
            ),
        ],
    ),
    Use(
        "pooling",
        COMPILE,
        "keeps poolings that round up from accepting every second size only",
        "models with such poolings may accept fewer sizes",
        [
            Part("torch._inductor.lowering.pooling_size"),
            *names(
                "torch._inductor.sizevars.SizeVarAllocator",
                *("guard_or_false", "statically_known_true"),
            ),
        ],
    ),
    Use(
        "sizes of caches",
        COMPILE,
        "lets max_autotune divide work by the same cache sizes on every machine",
        "libraries that max_autotune makes differ between build machines",
        names("torch.cpu", "get_capabilities"),
    ),
    Use(
        "complex numbers",
        COMPILE,
        "computes with complex numbers by their real and imaginary parts",
        "models with complex numbers need torch, and are slower",
        names("torch._inductor.decomposition", "decompositions", "fast_random_decomps"),
    ),
    Use(
        "quiet errors",
        COMPILE,
        "takes the lines that print an error out of libraries, and compiles the interface once",
        "libraries print the errors that they return, and each compile takes some seconds more",
        texts("_inductor/codegen/aoti_runtime/interface.cpp", "g_aoti_last_error", "std::cerr <<"),
    ),
    Use(
        "small headers",
        COMPILE,
        "keeps C++'s streams and regular expressions out of stand-alone libraries",
        "stand-alone libraries are half a megabyte larger",
        [
            *texts("include/torch/csrc/inductor/aoti_runtime/model_base.h", "std::regex re("),
            *texts("include/c10/util/StringUtil.h", "std::ostringstream"),
        ],
    ),
    Use(
        "same libraries everywhere",
        COMPILE,
        "keeps names, threads and CPUs of the build machine out of libraries",
        "libraries may differ between build machines",
        [
            *map(
                Option,
                (
                    *("aot_inductor.model_name_for_generated_files", "cpp.dynamic_threads"),
                    *("aot_inductor.enable_line_tables", "cpp.threads"),
                ),
            ),
        ],
    ),
    Use(
        "fast compiles",
        COMPILE,
        "leaves out probes of the compiler, and shares headers itself",
        "each compile takes longer",
        [
            *map(
                Option,
                ("aot_inductor.precompile_headers", "cpp.vec_isa_ok", "compile_threads"),
            ),
        ],
    ),
    Use(
        "plain weights",
        COMPILE,
        "keeps weights from being packed for one kind of CPU where freezing is on",
        "frozen models hold weights that oneDNN packed, which fit one version of it",
        [Option("cpp.weight_prepack")],
    ),
    Use(
        "search for errors",
        COMPILE,
        "finds the operator that a wrong result comes from",
        "messages name no operator",
        names("torch._inductor.utils", "fresh_cache"),
    ),
]
"""In the order in which they are told."""
