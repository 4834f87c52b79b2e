"""What the runtime in wheels does inside torch; it looks for each of these parts itself."""

from __future__ import annotations

from aotbuild.steps.torch_parts.part import RUN, Part, Use, names

USES = [
    Use(
        "runner",
        RUN,
        "runs libraries by torch's own runner where the native engine cannot",
        "wheels that need it do not load",
        names("torch._C._aoti", "AOTIModelContainerRunnerCpu"),
    ),
    Use(
        "handles of tensors",
        RUN,
        "hands tensors to libraries, and takes theirs",
        "calls go by torch's own runner, which is slower",
        names(
            "torch._C._aoti",
            *("unsafe_alloc_void_ptr_from_tensor", "alloc_tensor_by_stealing_from_void_ptr"),
        ),
    ),
    Use(
        "kinds of tensors",
        RUN,
        "recognises calls that are traced, and tensors without values",
        "calls may raise an error",
        [
            *names("torch._C", "_len_torch_dispatch_stack", "_is_tracing"),
            *names("torch._C", "_functorch.is_functorch_wrapped_tensor"),
            *names("torch", "_is_functional_tensor", "_neg_view", "_dynamo"),
            Part("torch.utils._python_dispatch._get_current_dispatch_mode_stack"),
            Part("torch._subclasses.fake_tensor"),
            Part("torch._subclasses.functional_tensor"),
        ],
    ),
]
"""In the order in which they are told."""
