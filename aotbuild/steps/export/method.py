"""A method of a model as it is traced: its declaration, its example and its dynamic dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path
from aotbuild.config.schema import Call, DeclaredDim
from aotbuild.errors import ExportError
from aotbuild.runtime.dims import Size, concrete
from aotbuild.runtime.manifest import StateBuffer
from aotbuild.steps.artifacts.export_weights import MODULE
from aotbuild.steps.artifacts.samples import example_sizes
from aotbuild.steps.artifacts.spec import ExportSpec
from aotbuild.steps.export.arguments import Argument, Parameter, as_call
from aotbuild.steps.export.example import Example, example_call
from aotbuild.steps.export.flat_module import Flat
from aotbuild.steps.export.shapes_spec import flat_spec, is_shapes_spec
from aotbuild.steps.export.source import method_of
from aotbuild.steps.export.traced import dense
from aotbuild.steps.project_code import error_text, resolve, user_line
from aotbuild.steps.sizes.shapes import leaf_dims, torch_dims


@dataclass(frozen=True)
class LiftedState:
    """What a model keeps between calls."""

    buffers: list[StateBuffer]
    initial: dict[str, torch.Tensor]
    """What each buffer is at first, as the module has it."""


@dataclass(frozen=True)
class Method:
    """A method, with the call that it is traced with."""

    spec: ExportSpec
    name: str
    call: Call
    """How the declaration says it is called."""
    example: Example
    flat: Flat
    """The method as torch.export is given it."""
    original: Flat | None
    """The same one before the model was quantised, if it was."""
    tensors: list[torch.Tensor]
    """The tensors of the example, without gaps."""
    dynamic_shapes: list[Any]
    """The dynamic dimensions of each tensor, as torch.export takes them."""
    shapes_spec: Any = None
    """The same as one ``ShapesSpec``, where the project wrote them so."""
    state: LiftedState = field(default_factory=lambda: LiftedState([], {}))
    """The state of the model, if the method uses it."""
    adds: Mapping[str, Size] = field(default_factory=dict)
    """How many entries a call adds to caches, by the names of the buffers that count them."""

    @property
    def all_dynamic_shapes(self) -> Any:
        """The argument of torch.export."""
        return self.shapes_spec or (tuple(self.dynamic_shapes),)

    @property
    def path(self) -> str:
        """Dotted path of the declaration of the call."""
        return call_path(self.spec.name, self.name)

    @property
    def where(self) -> str:
        """Place of that declaration, for messages."""
        return located(self.path)

    @property
    def project(self) -> Path:
        """Directory of the project, whose lines are the ones to tell."""
        return Path(self.spec.project)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.spec.device)

    @property
    def eager(self) -> list[Callable[[Sequence[torch.Tensor]], Any]]:
        """The method, given its tensors flat, and as it was before quantisation, if it differs."""
        return [self.flat] if self.original is None else [self.flat, self.original]

    @property
    def documented(self) -> torch.nn.Module:
        """The module as the project wrote it."""
        return (self.original or self.flat).get_submodule(MODULE)

    def with_dims(self, dims: Mapping[str, DeclaredDim]) -> Method:
        """The same method with other ranges, and an example that fits them."""
        shapes = self.example.shapes
        sizes = example_sizes(dims, {})
        drawn = self.example.samples.drawn([concrete(s, sizes) for s in shapes], self.device)
        return dataclasses.replace(
            self,
            call=dataclasses.replace(self.call, dims=dict(dims)),
            tensors=[dense(tensor) for tensor in drawn],
            dynamic_shapes=torch_dims(shapes, dims),
        )


def method_to_trace(
    spec: ExportSpec,
    name: str,
    call: Call,
    module: torch.nn.Module,
    original: torch.nn.Module | None,
) -> Method:
    """A method of a model, with the example call that its declaration asks for.

    Args:
        spec: Specification of the export.
        name: Name of the method.
        call: How the declaration says it is called.
        module: The model.
        original: The model before it was quantised, if it was.

    Raises:
        ConfigError: The inputs are not those that the method takes.
        ExportError: The example data or the dynamic shapes cannot be used.
        SourceError: The module has no such method, or what the example is from fails.
    """
    path = call_path(spec.name, name)
    project, device = Path(spec.project), torch.device(spec.device)
    method = method_of(module, name, path)
    example = example_call(method, call, path, project, spec.declaration.dtype, device)
    dynamic_shapes, shapes_spec = _dynamic_shapes(call, example, path, project, module, method)
    return Method(
        spec,
        name,
        call,
        example,
        flat=Flat(module, name, example.arguments),
        original=None if original is None else Flat(original, name, example.arguments),
        tensors=[dense(tensor) for tensor in example.tensors],
        dynamic_shapes=dynamic_shapes,
        shapes_spec=shapes_spec,
    )


def _dynamic_shapes(
    call: Call,
    example: Example,
    path: str,
    project: Path,
    module: torch.nn.Module,
    method: Callable[..., Any],
) -> tuple[list[Any], Any]:
    """The dynamic shapes of each tensor, and all of them where they are a ``ShapesSpec``."""
    if call.dynamic_shapes is None:
        return torch_dims(example.shapes, call.dims), None
    where = located(f"{path}.dynamic-shapes")
    dynamic_shapes: Any = resolve(call.dynamic_shapes, f"{path}.dynamic-shapes", project)
    args, kwargs = as_call(example.arguments)
    try:
        if callable(dynamic_shapes) and not isinstance(dynamic_shapes, type):
            dynamic_shapes = dynamic_shapes()
        if hasattr(dynamic_shapes, "dynamic_shapes"):  # torch.export.ShapesCollection
            dynamic_shapes = dynamic_shapes.dynamic_shapes(module, args, kwargs)
        if is_shapes_spec(dynamic_shapes):
            spec, leaves = flat_spec(dynamic_shapes, method, (args, kwargs), example.tensors)
            return leaves, spec
        values = {argument.name: argument.value for argument in example.arguments}
        return leaf_dims(_by_parameter(dynamic_shapes, example.arguments), values), None
    except Exception as error:
        line = user_line(error, project)
        raise ExportError(
            "the dynamic shapes do not fit the example",
            where=where + (f"\n{line}" if line else ""),
            why=error_text(error),
            fix="write them as torch.export.export takes them: a dict by the names of the "
            "parameters, each nested as the parameter, with { axis: Dim } for a tensor",
        ) from error


def _by_parameter(dynamic_shapes: Any, arguments: Sequence[Argument]) -> Any:
    """Dynamic shapes by the names of the parameters.

    torch names what ``**kwargs`` takes by its keywords since 2.14, and before in a dict of its own.
    """
    variadic = next((a for a in arguments if a.kind is Parameter.VAR_KEYWORD), None)
    if variadic is None or not isinstance(dynamic_shapes, Mapping):
        return dynamic_shapes
    names = {argument.name for argument in arguments}
    own = {k: v for k, v in dynamic_shapes.items() if k in variadic.value and k not in names}
    rest = {k: v for k, v in dynamic_shapes.items() if k not in own}
    return {**rest, variadic.name: {**(rest.get(variadic.name) or {}), **own}} if own else rest
