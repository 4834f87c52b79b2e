"""The text of a package's stub: signatures, dtypes and shapes for editors and type checkers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.files import HEADER
from aotbuild.steps.package.generate.names import Names, aliased, class_name
from aotbuild.steps.package.generate.signature import docstring, signature

Models = Mapping[str, Sequence[Manifest]]
"""The manifests of each model, one for each of its methods."""


def stub(models: Models) -> str:
    """The text of ``__init__.pyi``: signatures, dtypes and shapes for editors and type checkers."""
    names = Names([*models, "ModelState"])
    base, methods = names.take("CompiledModel"), names.take("CompiledMethods")
    types = _Types(*map(names.take, ("Tensor", "Array", "Any", "overload")))
    parts = []
    used = set()
    for model, manifests in sorted(models.items()):
        classes = {}
        for manifest in manifests:
            if manifest.method != FORWARD:
                cls = classes[manifest.method] = names.take(class_name(manifest.name))
                parts.append(_stub_class(cls, base, [_stub_call(manifest, types)]))
        members = [f"    {method}: {cls}" for method, cls in classes.items()]
        calls = [_stub_call(m, types) for m in manifests if m.method == FORWARD]
        parent = base if calls else methods
        used.update({parent, *([base] if classes else [])})
        name = names.take(class_name(model))
        block = "\n".join(members)
        parts.append(_stub_class(name, parent, [*([block] if block else []), *calls]))
        parts[-1] += f"\n\n{model}: {name}"
    imported = {
        "Array": types.array,
        "CompiledMethods": methods,
        "CompiledModel": base,
        "ModelState": "ModelState",
    }
    text = "\n\n".join(parts)
    words = set(re.findall(r"\w+", text))
    runtime = [aliased(name, alias) for name, alias in imported.items() if alias in used | words]
    special = {"Any": types.any, "overload": types.overload}
    typing = [aliased(name, alias) for name, alias in special.items() if alias in words]
    listing = ", ".join(f'"{model}"' for model in sorted(models))
    head = [
        *(f"from typing import {', '.join(group)}" for group in [typing] if group),
        f"from torch import {aliased('Tensor', types.tensor)}",
        f"from ._runtime import {', '.join(runtime)}",
        "from ._runtime.threads import set_num_threads as set_num_threads",
    ]
    return f"{HEADER}\n\n" + "\n\n".join([*head, *parts, f"__all__ = [{listing}]"]) + "\n"


def _stub_class(name: str, base: str, members: Sequence[str]) -> str:
    body = "\n\n".join(members)
    return f"class {name}({base}):\n{body}"


@dataclass(frozen=True)
class _Types:
    """Names of what signatures need."""

    tensor: str
    array: str
    any: str
    overload: str


def _stub_call(manifest: Manifest, types: _Types) -> str:
    plain = f"{signature(manifest, types.tensor)}\n{docstring(manifest)}"
    if not manifest.inputs:
        return plain
    other = signature(manifest, types.array, result=types.any)
    return f"    @{types.overload}\n{plain}\n\n    @{types.overload}\n{other} ..."
