"""The arms: what runs a model, one class each. Light: the cold start is measured with it.

A peer is prepared once (what it compiles or converts is kept in a directory), then opened and bound
to inputs in as many processes as wanted. It gets what is best for it: tensors where it takes
tensors, arrays where it takes arrays, its own f32 default of optimisation, one thread unless said.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from cases import Arrays, Case


class Peer:
    """What all have in common: tensors in and out, one opened model for all threads."""

    name: ClassVar[str]
    label: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("torch",)
    """The distributions that it needs, to run and to be prepared."""
    runtime: ClassVar[tuple[str, ...]] = ("torch",)
    """Those of them that must be installed where it runs."""
    artifact: ClassVar[str] = ""
    """The file that has to be shipped, without that of its runtime."""
    computes: ClassVar[bool] = True
    """It returns what the model returns."""

    def label_for(self, case: Case) -> str:
        """Its name in the rows of a case."""
        del case
        return self.label

    def prepare(self, case: Case, directory: str) -> None:
        """Compile or convert the model of a case into the directory."""

    def open(self, case: Case, directory: str, threads: int) -> Any:
        """Load what was prepared."""
        raise NotImplementedError

    def share(self, opened: Any, case: Case, directory: str, runners: int) -> Any:
        """What several threads call at once."""
        del case, directory, runners
        return opened

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        """A call of the model with these inputs."""
        del case
        return partial(opened, *self.tensors(arrays))

    def inside(self) -> AbstractContextManager[Any]:
        """What each thread enters before it calls."""
        return nullcontext()

    def tensors(self, arrays: Arrays) -> list[Any]:
        """The inputs as tensors."""
        import torch

        return [torch.from_numpy(array) for array in arrays]

    def results(self, returned: Any) -> list[Any]:
        """What a call returned, as arrays in the order of the outputs."""
        values = list(returned.values()) if isinstance(returned, dict) else returned
        values = values if isinstance(values, (list, tuple)) else [values]
        # numpy has no bfloat16.
        values = [v.float() if "bfloat16" in str(v.dtype) else v for v in values]
        return [getattr(value, "numpy", lambda value=value: value)() for value in values]


class Eager(Peer):
    """The module itself, under ``inference_mode``."""

    name = "eager"
    label = "eager"
    artifact = "module.pt"

    def prepare(self, case: Case, directory: str) -> None:
        import torch

        torch.save(module_of(case), f"{directory}/{self.artifact}")

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import torch

        torch.set_num_threads(threads)
        return torch.load(artifact_of("eager", directory), weights_only=False)

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        if case.cache:
            return steps.of_module(opened, case.cache, *self.tensors(arrays))
        return super().bind(opened, case, arrays)

    def inside(self) -> AbstractContextManager[Any]:
        import torch

        return torch.inference_mode()


class Compile(Eager):
    """``torch.compile`` with its defaults; its cache is warm after the first process."""

    name = "compile"
    label = "torch.compile"
    artifact = ""
    mode: ClassVar[str | None] = None

    def prepare(self, case: Case, directory: str) -> None:
        with self.inside():
            self.bind(self.open(case, directory, 1), case, case.arrays())()

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import torch

        module = super().open(case, directory, threads)
        return torch.compile(module, dynamic=bool(case.dynamic), mode=self.mode)


class Autotuned(Compile):
    """``torch.compile`` that tries several kernels for each product."""

    name = "autotuned"
    label = "torch.compile, max-autotune"
    mode = "max-autotune-no-cudagraphs"


class Package(Peer):
    """``aoti_compile_and_package`` and ``aoti_load_package`` with their defaults."""

    name = "package"
    label = "aoti_load_package"
    artifact = "model.pt2"

    def prepare(self, case: Case, directory: str) -> None:
        import torch

        with torch.no_grad():
            path = f"{directory}/{self.artifact}"
            torch._inductor.aoti_compile_and_package(exported(case), package_path=path)  # noqa: SLF001

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import torch
        import torch._inductor

        torch.set_num_threads(threads)
        return torch._inductor.aoti_load_package(f"{directory}/{self.artifact}")  # noqa: SLF001

    def share(self, opened: Any, case: Case, directory: str, runners: int) -> Any:
        from torch._inductor.package.package import load_package

        return load_package(f"{directory}/{self.artifact}", num_runners=runners)


class OnnxRuntime(Peer):
    """ONNX Runtime on what ``torch.onnx.export`` writes."""

    name = "onnxruntime"
    label = "ONNX Runtime"
    needs = ("torch", "onnx", "onnxscript", "onnxruntime")
    runtime = ("onnxruntime",)
    artifact = "model.onnx"

    def prepare(self, case: Case, directory: str) -> None:
        import torch

        names = [name for name, _, _ in case.inputs]
        path = f"{directory}/{self.artifact}"
        if case.cache:
            steps.export_onnx(module_of(case), case.cache, path, *self.tensors(case.arrays()))
        elif any(isinstance(module, torch.nn.LSTM) for module in module_of(case).modules()):
            # The exporter that is the default now writes all steps one by one.
            tensors = tuple(self.tensors(case.arrays()))
            torch.onnx.export(module_of(case), tensors, path, input_names=names, dynamo=False)
        else:
            torch.onnx.export(exported(case), f=path, input_names=names, external_data=False)

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            f"{directory}/{self.artifact}", options, providers=["CPUExecutionProvider"]
        )

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        if case.cache:
            return steps.of_session(opened, case.cache, *arrays)
        feeds = dict(zip([name for name, _, _ in case.inputs], arrays, strict=True))
        return partial(opened.run, None, feeds)


class OpenVino(Peer):
    """OpenVINO on the exported program, in f32 as long as the model is."""

    name = "openvino"
    label = "OpenVINO f32"
    needs = ("torch", "openvino")
    runtime = ("openvino",)
    artifact = "model.xml"

    def label_for(self, case: Case) -> str:
        return self.label if case.dtype == "float32" else "OpenVINO bf16"

    def prepare(self, case: Case, directory: str) -> None:
        import openvino

        path = f"{directory}/{self.artifact}"
        if case.cache:  # what it computes in is set where it is compiled
            module = module_of(case._replace(dtype="float32"))
            steps.save_openvino(module, case.cache, path, *self.tensors(case.arrays()))
            return
        converted = openvino.convert_model(exported(case))
        openvino.save_model(converted, path, compress_to_fp16=False)

    def open(self, case: Case, directory: str, threads: int) -> Any:
        return self._compile(case, directory, threads, 1)

    def share(self, opened: Any, case: Case, directory: str, runners: int) -> Any:
        return self._compile(case, directory, runners, runners)

    def _compile(self, case: Case, directory: str, threads: int, streams: int) -> Any:
        import openvino

        precision = "bf16" if case.dtype == "bfloat16" else "f32"
        config = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            **({"KV_CACHE_PRECISION": precision} if case.cache else {}),
        }
        return openvino.Core().compile_model(f"{directory}/{self.artifact}", "CPU", config)

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        request = opened.create_infer_request()
        if case.cache:
            return steps.of_request(request, case.cache, *arrays)
        return partial(request.infer, arrays, share_inputs=True, share_outputs=True)

    def results(self, returned: Any) -> list[Any]:
        return [returned[i].copy() for i in range(len(returned))]


class Ours(Peer):
    """The model out of an installed wheel that torch runs, called with tensors."""

    name = "ours"
    label = "aotbuild"
    needs = ("torch", "aotbuild")
    artifact = "site"
    kind: ClassVar[str] = "torch"
    """What runs its models, as declared."""

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import torch

        torch.set_num_threads(threads)
        return self._import(case, directory)

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        if case.cache:
            return steps.of_wheel(opened, case.cache, *self.tensors(arrays))
        return super().bind(opened, case, arrays)

    def share(self, opened: Any, case: Case, directory: str, runners: int) -> Any:
        return opened.pool(runners, threads_per_call=1)

    def _import(self, case: Case, directory: str) -> Any:
        sys.path.insert(0, f"{directory}/{self.artifact}")
        return getattr(importlib.import_module(f"{case.package}.models"), case.model)


class Arrays_(Ours):  # noqa: N801  # cases has the other one
    """The wheel of ``Ours``, called with numpy arrays where torch has not been imported."""

    name = "arrays"
    label = "aotbuild, numpy"

    def open(self, case: Case, directory: str, threads: int) -> Any:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        return self._import(case, directory.removesuffix("arrays") + "ours")

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        return partial(opened, *arrays)


class Standalone(Arrays_):
    """The model out of a wheel that needs no torch, called with numpy arrays."""

    name = "standalone"
    label = "aotbuild, stand-alone"
    runtime = ()
    kind = "standalone"

    def open(self, case: Case, directory: str, threads: int) -> Any:
        os.environ["AOTBUILD_NUM_THREADS"] = str(threads)
        return self._import(case, directory)


class Read(Peer):
    """The scalar product of two halves that have the bytes of the weights, from memory."""

    name = "read"
    label = "all weights read once"
    computes = False

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import itertools

        import numpy as np
        import torch

        torch.set_num_threads(threads)
        stored = np.load(f"{os.path.dirname(directory)}/{case.name}.npz")  # noqa: PTH120
        size = int(stored["weights"])
        # By turns, so that no cache holds what was read before.
        count = -(-256 * 2**20 // size)
        turns = itertools.cycle([torch.ones(2, size // 8) for _ in range(count)])
        return lambda: torch.dot(*next(turns))

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        del case, arrays
        return opened  # type: ignore[no-any-return]


class Torch(Peer):
    """Nothing but ``import torch``, and the tensors."""

    name = "torch"
    label = "import torch alone"

    def open(self, case: Case, directory: str, threads: int) -> Any:
        import torch

        torch.set_num_threads(threads)
        return lambda *tensors: tensors


class Nothing(Peer):
    """Python with numpy, for the arrays."""

    name = "nothing"
    label = "Python and numpy alone"
    needs = ()
    runtime = ()

    def open(self, case: Case, directory: str, threads: int) -> Any:
        return lambda *arrays: arrays

    def bind(self, opened: Any, case: Case, arrays: Arrays) -> Callable[[], Any]:
        return partial(opened, *arrays)


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        *(
            Ours(),
            Arrays_(),
            Standalone(),
            Eager(),
            Compile(),
            Autotuned(),
            Package(),
            OnnxRuntime(),
            OpenVino(),
        ),
        *(Read(), Torch(), Nothing()),
    )
}


def available(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The peers that are installed, and a sentence for each that is not."""
    from importlib import metadata

    found, notes = [], []
    for name in names:
        missing = []
        for needed in PEERS[name].needs:
            try:
                metadata.version(needed)
            except metadata.PackageNotFoundError:
                missing.append(needed)
        if missing:
            notes.append(f"{PEERS[name].label} is left out: {', '.join(missing)} not installed.")
        else:
            found.append(name)
    return found, notes


def module_of(case: Case) -> Any:
    """The module of a case, with its weights."""
    name, _, attribute = case.source.partition(":")
    module = getattr(importlib.import_module(name), attribute)().eval()
    if case.dtype == "float32":
        return module
    import torch

    return module.to(getattr(torch, case.dtype))


def exported(case: Case) -> Any:
    """The module as a program of ``torch.export``."""
    import torch

    shapes: dict[str, dict[int, Any]] = {name: {} for name, _, _ in case.inputs}
    made = {name: torch.export.Dim(name, min=1, max=most) for _, _, name, most in case.dynamic}
    for name, dimension, size, _ in case.dynamic:
        shapes[name][dimension] = made[size]
    tensors = tuple(torch.from_numpy(array) for array in case.arrays())
    with torch.no_grad():
        dynamic = shapes if case.dynamic else None
        return torch.export.export(module_of(case), tensors, dynamic_shapes=dynamic)


def artifact_of(peer: str, directory: str) -> str:
    """The path of what another peer prepared for the same model."""
    return f"{os.path.dirname(directory)}/{peer}/{PEERS[peer].artifact}"  # noqa: PTH120
