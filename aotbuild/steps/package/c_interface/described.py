"""What the C interface has of a package: its models and methods, under their names in C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.dims import Dim, Size
from aotbuild.runtime.machine import DLPACK_DTYPES
from aotbuild.runtime.manifest import Input, Manifest
from aotbuild.steps.package.c_interface.conditions import condition_in_c
from aotbuild.steps.package.c_interface.names import Taken, identifier, package_name

_MOST_RANK = 64

TYPES = {
    **{f"{kind}{bits}": f"{kind}{bits}_t" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float32": "float",
    "float64": "double",
    "float16": "uint16_t",
    "bfloat16": "uint16_t",
    "complex64": "float",
    "complex128": "double",
    "bool": "uint8_t",
}
"""The type of an element of each dtype; of complex numbers, of each of the two parts."""


@dataclass(frozen=True)
class Output:
    """A tensor or number that a method returns."""

    field: str
    index: int
    """Position among the outputs of the library."""
    dtype: str
    shape: Sequence[Size]
    number: bool = False
    """Whether it is a Python number, not a tensor."""


@dataclass(frozen=True)
class Method:
    """A method of a model."""

    manifest: Manifest
    function: str
    """The function that runs it."""
    prefix: str
    """How its types and its function that frees begin."""
    macros: str
    """How its macros begin."""
    inputs: Sequence[tuple[str, Input]]
    """By the names of their fields."""
    dims: Sequence[tuple[str, str, Dim]]
    """Each by the name of its field, and its own name."""
    outputs: Sequence[Output]
    output_count: int
    """How many the library has."""
    remarks: Sequence[str]
    """What the result also has, which is no field."""


@dataclass(frozen=True)
class Model:
    """A model, with its methods."""

    name: str
    prefix: str
    """The type of its handle, and how its functions begin."""
    guard: str
    methods: Sequence[Method]


@dataclass(frozen=True)
class Described:
    """A package, as its C interface has it."""

    package: str
    """Import name."""
    name: str
    """Its name in C and CMake."""
    models: Sequence[Model]
    without: Mapping[str, str]
    """Why a model is not there."""

    @property
    def macros(self) -> str:
        """How its macros begin."""
        return self.name.upper()


_OF_A_MODEL = ("_open", "_close", "_run")
_OF_A_METHOD = ("_inputs", "_outputs", "_begin", "_free")
"""How names of functions and types end."""

STATUS = ("OK", "ARGUMENT", "LOAD", "MEMORY", "FAILED")
"""The ends of the names of error codes, whose numbers are those of ``interface.h``."""


def described(package: str, models: Mapping[str, Sequence[Manifest]]) -> Described:
    """Name what the C interface of a package has.

    Args:
        package: Import name of the package.
        models: The manifests of each model, one for each of its methods.
    """
    name = package_name(package)
    taken = Taken()
    for word in ("status", "error", "set_num_threads"):
        taken.take(f"{name}_{word}")
    for word in (*STATUS, "COMMON_H"):
        taken.take(f"{name.upper()}_{word}")
    without = {model: reason for model, ms in models.items() if (reason := _without(ms))}
    found = []
    for model, manifests in sorted(models.items()):
        if model not in without:
            own = taken.take_all(f"{name}_{identifier(model)}", ("", *_OF_A_MODEL, *_OF_A_METHOD))
            guard = taken.take(f"{own.upper()}_H")
            methods = [_method(each, own, taken) for each in manifests]
            found.append(Model(model, own, guard, methods))
    return Described(package, name, found, without)


def _without(manifests: Sequence[Manifest]) -> str:
    """Why a model cannot be called from C; empty where it can."""
    for manifest in manifests:
        if not manifest.standalone:
            return "it is run by torch"
        dtypes = {spec.dtype for spec in manifest.inputs}
        dtypes |= {output.dtype for output in _outputs(manifest.outputs, "", Taken())}
        dtypes |= {c.dtype for variant in manifest.variants for c in variant.constants}
        unknown = sorted(dtypes - DLPACK_DTYPES.keys())
        if unknown:
            return f"it has tensors of dtype {unknown[0]}"
        if any(len(spec.shape) > _MOST_RANK for spec in manifest.inputs):
            return f"it has tensors of more than {_MOST_RANK} dimensions"
        for condition in manifest.conditions:
            try:
                condition_in_c(condition, list(manifest.dims))
            except ValueError:
                return f"it needs {condition}"
    return ""


def _method(manifest: Manifest, model: str, taken: Taken) -> Method:
    if manifest.method == FORWARD:
        prefix, function = model, f"{model}_run"
    else:
        name = f"{model}_{identifier(manifest.method)}"
        function = prefix = taken.take_all(name, ("", *_OF_A_METHOD))
    own = Taken()
    inputs = [(own.take(identifier(spec.name)), spec) for spec in manifest.inputs]
    dims = [(own.take(identifier(name)), name, dim) for name, dim in manifest.dims.items()]
    macros = taken.take_all(
        prefix.upper(),
        [f"_{field.upper()}_{end}" for field, _, _ in dims for end in ("MIN", "MAX", "MULTIPLE")],
    )
    results = Taken()
    results.take("owner")
    outputs = list(_outputs(manifest.outputs, "", results))
    count = max((leaf["index"] + 1 for leaf in _leaves(manifest.outputs)), default=0)
    remarks = list(_remarks(manifest, manifest.outputs, "result"))
    return Method(manifest, function, prefix, macros, inputs, dims, outputs, count, remarks)


def _leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The outputs that a library has of a result."""
    if "index" in tree:
        yield tree
    for item in tree.get("items", []):
        yield from _leaves(item)


def _named_items(tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts of a result, by key, field or position."""
    names = tree.get("keys") or tree.get("fields") or range(len(tree["items"]))
    for name, item in zip(names, tree["items"], strict=True):
        yield str(name), item


def _outputs(tree: dict[str, Any], label: str, taken: Taken) -> Iterator[Output]:
    if "items" in tree:
        for name, item in _named_items(tree):
            plain = f"output{name}" if name.isdigit() else name
            yield from _outputs(item, f"{label}_{name}" if label else plain, taken)
    elif tree["type"] in {"tensor", "int"} and "input" not in tree:
        base = identifier(label or "output")
        number = tree["type"] == "int"
        field = taken.take_all(base, [""] if number or not tree["shape"] else ["", "_shape"])
        dtype = "int64" if number else tree["dtype"]
        yield Output(field, tree["index"], dtype, tree.get("shape", []), number)


def _remarks(manifest: Manifest, tree: dict[str, Any], label: str) -> Iterator[str]:
    if "items" in tree:
        for name, item in _named_items(tree):
            yield from _remarks(manifest, item, f"{label}[{name}]")
    elif tree["type"] == "constant":
        yield f"{label} is always {tree['value']!r}"
    elif "input" in tree:
        yield f"{label} is the input {manifest.inputs[tree['input']].name} itself"
