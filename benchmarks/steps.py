"""Steps of decoders: each arm keeps the cache in its own way. Light, as peers.py.

All begin with the same entries in the cache and move on through it; what goes back to the first
step is not timed. aotbuild and eager torch have the static cache as buffers. ONNX Runtime gets it
as inputs whose memory is bound to the outputs too, and so writes in place. OpenVINO keeps it in
itself, in the form that its CPU plugin has a kernel for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from cases import Arrays, Cache


class Steps:
    """A call that does one step, and the way back to the first."""

    def __init__(self, call: Callable[[], Any], rewind: Callable[[], None]) -> None:
        self._call = call
        self.rewind = rewind

    def __call__(self) -> Any:
        """Do a step."""
        return self._call()


def of_wheel(net: Any, cache: Cache, ids: Any) -> Steps:
    """Steps of aotbuild, with a state."""
    import torch

    state = net.new_state()
    for name, array in zip(_buffers(cache), cache.arrays(), strict=True):
        state[name] = torch.from_numpy(array)
    seen = torch.tensor(cache.seen)

    def rewind() -> None:
        for i in range(cache.layers):
            state[f"length_{i}"] = seen

    rewind()
    return Steps(lambda: net(ids, state=state), rewind)


def of_module(module: Any, cache: Cache, ids: Any) -> Steps:
    """Steps of the module itself."""
    import torch

    for name, array in zip(_buffers(cache), cache.arrays(), strict=True):
        module.get_buffer(name).copy_(torch.from_numpy(array))

    def rewind() -> None:
        for i in range(cache.layers):
            module.get_buffer(f"length_{i}").fill_(cache.seen)

    rewind()
    return Steps(lambda: module(ids), rewind)


def export_onnx(module: Any, cache: Cache, path: str, ids: Any) -> None:
    """Write the module with its static cache as inputs and outputs."""
    import torch
    from decoding.llama import Passed

    dtype = next(module.parameters()).dtype
    past = [torch.from_numpy(array).to(dtype) for array in cache.arrays()]
    args = (ids, torch.tensor(cache.seen), *past)
    names = _buffers(cache)
    with torch.no_grad():
        torch.onnx.export(
            torch.export.export(Passed(module), args),
            f=path,
            input_names=["ids", "length", *names],
            output_names=["logits", *(f"new_{name}" for name in names)],
            external_data=False,
        )


def of_session(session: Any, cache: Cache, ids: Any) -> Steps:
    """Steps of ONNX Runtime, which reads and writes memory that is bound once."""
    import numpy as np
    import onnxruntime

    made = onnxruntime.OrtValue.ortvalue_from_numpy  # over the memory of the array
    binding, length = session.io_binding(), np.array(cache.seen)
    logits = np.empty(session.get_outputs()[0].shape, np.float32)
    memory = [ids, *cache.arrays()]
    for name, array in zip(_buffers(cache), memory[1:], strict=True):
        value = made(array)
        binding.bind_ortvalue_input(name, value)
        binding.bind_ortvalue_output(f"new_{name}", value)
    binding.bind_ortvalue_input("ids", made(ids))
    binding.bind_ortvalue_input("length", made(length))
    binding.bind_ortvalue_output("logits", made(logits))

    def step(_held: Arrays = memory) -> Any:
        session.run_with_iobinding(binding)
        length[...] += 1
        return logits

    def rewind() -> None:
        length[...] = cache.seen

    return Steps(step, rewind)


def save_openvino(module: Any, cache: Cache, path: str, ids: Any) -> None:
    """Write the module with a cache that grows, as a model of OpenVINO that keeps it.

    ``beams`` reorders the cache as a search of several beams would, and ReadValue begins with no
    entries: without both, the CPU plugin does not fuse attention with the cache.
    """
    import numpy as np
    import openvino
    import torch
    from decoding.llama import Growing
    from openvino import opset13 as op
    from openvino._offline_transformations import apply_make_stateful_transformation

    names = _buffers(cache)
    past = [torch.from_numpy(array[:, :, : cache.seen]) for array in cache.arrays()]
    grows = {2: torch.export.Dim("past", min=2, max=cache.length - 1)}
    shapes = {"ids": None, "beams": None, "past": tuple(grows for _ in past)}
    args = (ids, torch.zeros(1, dtype=torch.int32), *past)
    with torch.no_grad():
        program = torch.export.export(Growing(module), args, dynamic_shapes=shapes)
    model = openvino.convert_model(program)
    for i, name in enumerate(names):
        model.inputs[2 + i].get_tensor().set_names({name})
        model.outputs[1 + i].get_tensor().set_names({f"new_{name}"})
    fixed = {name: [-1, cache.heads, -1, cache.size] for name in names}
    model.reshape({"ids": [1, 1], "beams": [-1], **fixed})
    apply_make_stateful_transformation(model, {name: f"new_{name}" for name in names})
    beams = op.gather(
        op.shape_of(model.input("beams"), output_type="i64"), op.constant([0]), op.constant(0)
    )
    none = [beams, *(op.constant([size]) for size in (cache.heads, 0, cache.size))]
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            zero = op.constant(0.0, dtype=np.float32)
            node.set_arguments([op.broadcast(zero, op.concat(none, 0))])
    model.validate_nodes_and_infer_types()
    openvino.save_model(model, path, compress_to_fp16=False)


def of_request(request: Any, cache: Cache, ids: Any) -> Steps:
    """Steps of OpenVINO, which keeps the cache."""
    import numpy as np
    import openvino

    # A variable is called after the input and the output that it took the place of.
    states = {state.name.partition("new_")[0]: state for state in request.query_state()}
    past = [openvino.Tensor(array[:, :, : cache.seen].copy()) for array in cache.arrays()]
    given = [ids, np.zeros(1, np.int32)]

    def rewind() -> None:
        for name, tensor in zip(_buffers(cache), past, strict=True):
            states[name].state = tensor

    rewind()
    return Steps(lambda: request.infer(given, share_inputs=True, share_outputs=True), rewind)


def _buffers(cache: Cache) -> list[str]:
    return [f"{name}_{i}" for i in range(cache.layers) for name in ("keys", "values")]
