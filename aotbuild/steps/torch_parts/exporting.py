"""What aotbuild does inside torch while it traces a model, and with the programs that it keeps."""

from __future__ import annotations

from aotbuild.steps.torch_parts.part import EXPORT, Part, Use, names

_ENV = "torch.fx.experimental.symbolic_shapes.ShapeEnv"
_SYMPY = "torch.utils._sympy"

DYNAMIC_STEPS = "dynamic steps"

USES = [
    Use(
        "tracing",
        EXPORT,
        "looks at the graphs of programs, their tensors and their sizes",
        "nothing can be built",
        [
            *names("torch._ops", "OpOverload", "HigherOrderOperator"),
            *names("torch._subclasses.fake_tensor", "FakeTensor", "FakeTensorMode"),
            Part("torch._dynamo.reset"),
            Part("torch._check"),
            *names(
                "torch.utils._pytree",
                *("is_namedtuple_class", "tree_flatten", "tree_flatten_with_path"),
                *("tree_leaves", "tree_map_only", "tree_unflatten"),
            ),
            Part("torch.utils._python_dispatch.TorchDispatchMode"),
            *names(f"{_SYMPY}.functions", "FloorDiv", "TruncToInt"),
            Part(f"{_SYMPY}.numbers.int_oo"),
            Part(f"{_SYMPY}.printers.PythonPrinter"),
            *names(f"{_SYMPY}.value_ranges", "ValueRanges.wrap", "bound_sympy"),
            *names("torch.fx.experimental.symbolic_shapes", "statically_known_true"),
            Part("torch.fx.experimental._config.patch"),
            *names(
                "torch.ops.aten",
                *("_assert_tensor_metadata.default", "_conj.default", "_fft_c2c"),
                *("_fft_c2r.default", "_native_batch_norm_legit_no_training.default"),
                *("_safe_softmax.default", "_softmax.default", "_to_copy.default"),
                "_unsafe_view.default",
            ),
        ],
        required=True,
    ),
    Use(
        "hints",
        EXPORT,
        "lowers a saved program for an example of another size",
        "nothing can be built",
        [*names(_ENV, "create_symintnode"), *names(_ENV, "add_backed_var_to_val", since="2.13")],
        required=True,
    ),
    Use(
        "saved functions of sizes",
        EXPORT,
        "saves programs that compute sizes by functions such as ceil()",
        "nothing can be built",
        [
            *names(
                "torch._export.serde.serialize",
                *("_SYM_OPS", "GraphModuleDeserializer._parse_sym_expr"),
                "GraphModuleDeserializer.deserialize_operator",
            ),
            Part(f"{_SYMPY}.functions"),
        ],
        required=True,
    ),
    Use(
        "eager fallback",
        EXPORT,
        'writes the modules of models with fallback = "eager"',
        "nothing can be built",
        names("torch.fx.graph_module", "_format_import_block"),
        required=True,
    ),
    Use(
        "proofs",
        EXPORT,
        "proves conditions on sizes that torch would guard",
        "models may be refused, or accept fewer sizes",
        names(_ENV, "_maybe_evaluate_static"),
    ),
    Use(
        "oblivious traces",
        EXPORT,
        "traces without supposing anything of sizes of 0 and 1",
        "models may be refused, or accept fewer sizes",
        names("torch.fx.experimental._config", "backed_size_oblivious"),
    ),
    Use(
        "lines of guards",
        EXPORT,
        "tells the line of the model that needs a size to be such",
        "messages name no line",
        names(_ENV, "_log_guard"),
    ),
    Use(
        "lines of nodes",
        EXPORT,
        "tells the line of the model that an operator comes from",
        "messages name no line",
        names("torch.fx.proxy", "TracerBase._filter_traceback_frames"),
    ),
    Use(
        DYNAMIC_STEPS,
        EXPORT,
        "traces recurrent layers for any number of steps",
        "recurrent layers accept only the number of steps of their example",
        [
            *names(
                "torch._decomp.decompositions",
                *("select_one_layer_lstm_function", "one_layer_lstm"),
            ),
            Part(
                "torch._decomp.decompositions.one_layer_rnn",
                ("inp", "hidden", "params", "has_biases", "hidden_fn", "reverse"),
            ),
            Part(
                "torch._decomp.decompositions.lstm_cell",
                ("inp", "hx", "cx", "hh_weight", "hh_bias", "hr_weight", "chunk_dim"),
            ),
            Part("torch._higher_order_ops.while_loop.while_loop"),
            *names("torch._C", "_get_mkldnn_enabled", "_set_mkldnn_enabled"),
        ],
    ),
    Use(
        "shape specifications",
        EXPORT,
        "takes dynamic shapes as a ShapesSpec",
        "dynamic shapes can only be told by Dim",
        [Part("torch.fx.experimental._spec_binding._bind_spec_to_args", since="2.14")],
    ),
    Use(
        "packed weights",
        EXPORT,
        "keeps weights that oneDNN has packed",
        "models with packed weights cannot be built",
        names("torch.ops.mkldnn", "_nbytes", "_get_mkldnn_serialized_md"),
    ),
]
"""In the order in which they are told."""
