"""The text of a package's stub: signatures, dtypes and shapes for editors and type checkers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.files import HEADER
from aotbuild.steps.package.generate.layout import Brackets, statement
from aotbuild.steps.package.generate.names import Names, aliased, class_name
from aotbuild.steps.package.generate.result_types import ResultTypes
from aotbuild.steps.package.generate.signature import Written, docstring, signature

Models = Mapping[str, Sequence[Manifest]]
"""The manifests of each model, one for each of its methods."""


def stub(models: Models) -> str:
    """The text of ``__init__.pyi``: signatures, dtypes and shapes for editors and type checkers."""
    names = Names([*models, "ModelState"])
    given = {name: names.take(name) for name in _OWN if name != "ModelState"}
    given["ModelState"] = "ModelState"  # as signatures have it
    results = ResultTypes(names, names.take("_T"))
    types = _Types(given, results)
    parts = []
    for model, manifests in sorted(models.items()):
        classes = {}
        for manifest in manifests:
            if manifest.method != FORWARD:
                cls = classes[manifest.method] = names.take(class_name(manifest.name))
                parts += types.classes_of(manifest, cls, names)
        name = names.take(class_name(model))
        members = "\n".join(f"    {method}: {cls}" for method, cls in classes.items())
        forward = next((m for m in manifests if m.method == FORWARD), None)
        if forward:
            parts += types.classes_of(forward, name, names, members)
        else:
            parts.append(_class(name, given["CompiledMethods"], [members]))
        parts[-1] += f"\n\n{model}: {name}"
    parts = [*results.classes.values(), *parts]
    if results.classes:
        parts.insert(0, f'{results.tensor} = {given["TypeVar"]}("{results.tensor}")')
    if any(manifest.inputs for manifests in models.values() for manifest in manifests):
        parts.insert(0, "{ArrayOrBuffer}: {TypeAlias} = {NumpyArray} | {Buffer}".format(**given))
    words = set(re.findall(r"\w+", _code("\n\n".join(parts))))
    listing = ", ".join(f'"{model}"' for model in sorted(models))
    head = [
        f"from {module} import {', '.join(imported)}"
        for module, each in _MODULES.items()
        if (imported := [aliased(n, given[n]) for n in each if given[n] in words])
    ]
    head.append("from ._runtime.threads import set_num_threads as set_num_threads")
    return f"{HEADER}\n\n" + "\n\n".join([*head, *parts, f"__all__ = [{listing}]"]) + "\n"


_MODULES = {
    "typing": ("Any", "Generic", "NamedTuple", "TypeAlias", "TypedDict", "TypeVar", "overload"),
    "collections.abc": ("Mapping", "Sequence"),
    "typing_extensions": ("Buffer",),  # which type checkers bring; collections.abc has it from 3.12
    "torch": ("Tensor",),
    "._runtime": ("CompiledMethods", "CompiledModel", "ModelState"),
    "._runtime.arrays": ("Array", "NumpyArray"),
    "._runtime.batching": ("Batched",),
}
"""Where what a stub needs is imported from."""
_BATCHED = (
    *("max_batch: int", "max_wait_ms: float = 2.0", "*"),
    *("dim: str | None = None", "max_queue: int = 1024"),
)
_OWN = ("ArrayOrBuffer", *(name for names in _MODULES.values() for name in names))
"""Names that step aside for those of models."""


def _code(text: str) -> str:
    """A stub without its docstrings, whose words import nothing."""
    return re.sub(r'"""(?:[^"\\]|\\.|"(?!""))*"""', "", text)


def _class(name: str, base: str, members: Sequence[str]) -> str:
    lines = [f"class {name}({base}):"]
    for member in filter(None, members):
        # As formatters have it: a blank line behind what has more than one.
        lines += [""] * (len(lines) > 1 and not lines[-1].endswith(" ...")) + [member]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Types:
    """Writes the classes of models."""

    names: Mapping[str, str]
    """The names of what is imported."""
    results: ResultTypes

    def classes_of(
        self, manifest: Manifest, cls: str, names: Names, members: str = ""
    ) -> list[str]:
        """The class of a call, and the one of what its ``batched()`` gives.

        Args:
            manifest: The method.
            cls: The name of its class.
            names: Where the name of the other comes from.
            members: Other members, before the call.
        """
        calls = self._calls(manifest, cls, "def __call__", docstring(manifest))
        if not manifest.inputs:
            return [_class(cls, self.names["CompiledModel"], [members, *calls])]
        batched = names.take(f"{cls}Batched")
        # With ParamSpec, which the runtime has for it, only the first overload would be left.
        shared = [
            *self._calls(manifest, cls, "def __call__"),
            *self._calls(manifest, cls, "async def acall"),
        ]
        arguments = Brackets("def batched(", ("self", *_BATCHED), f") -> {batched}: ...")
        returns_it = statement("", arguments, 4)
        base = f"{self.names['Batched']}[..., {self.names['Any']}]"
        return [
            _class(batched, base, shared),
            _class(cls, self.names["CompiledModel"], [members, *calls, returns_it]),
        ]

    def _calls(self, manifest: Manifest, cls: str, define: str, text: str = "") -> list[str]:
        """A call, with an overload for each kind of arguments.

        Arrays and buffers come first: where torch is not installed, type checkers know nothing of
        its tensors, and would take anything as one.
        """
        names, body = self.names, f"\n{text}" if text else " ..."

        def call(types: Written, tensor: str, body: str) -> str:
            returned = self.results.written(Written(tensor), cls)
            return signature(manifest, types, returned=returned, define=define, body=body)

        exact = call(Written(names["Tensor"]), names["Tensor"], body)
        if not manifest.inputs:
            return [exact]
        # Lists and dicts of one type are none of another, which sequences and mappings are.
        array, other = (
            call(Written(names[n], names["Sequence"], names["Mapping"]), names["Any"], " ...")
            for n in ("ArrayOrBuffer", "Array")
        )
        return [f"    @{names['overload']}\n{each}" for each in (array, exact, other)]
