"""The text of a package's stub: signatures, dtypes and shapes for editors and type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aotbuild.build.generate.names import HEADER, Names, aliased, class_name
from aotbuild.build.generate.signature import docstring, signature
from aotbuild.config.schema import FORWARD
from aotbuild.runtime.manifest import Manifest

Models = Mapping[str, Sequence[Manifest]]
"""The manifests of each model, one for each of its methods."""


def stub(models: Models) -> str:
    """The text of ``__init__.pyi``: signatures, dtypes and shapes for editors and type checkers."""
    names = Names(models)
    tensor, base = names.take("Tensor"), names.take("CompiledModel")
    methods = names.take("CompiledMethods")
    parts = []
    used = set()
    for model, manifests in sorted(models.items()):
        classes = {}
        for manifest in manifests:
            if manifest.method != FORWARD:
                cls = classes[manifest.method] = names.take(class_name(manifest.name))
                parts.append(_stub_class(cls, base, [_stub_call(manifest, tensor)]))
        members = [f"    {method}: {cls}" for method, cls in classes.items()]
        calls = [_stub_call(m, tensor) for m in manifests if m.method == FORWARD]
        parent = base if calls else methods
        used.update({parent, *([base] if classes else [])})
        name = names.take(class_name(model))
        block = "\n".join(members)
        parts.append(_stub_class(name, parent, [*([block] if block else []), *calls]))
        parts[-1] += f"\n\n{model}: {name}"
    imported = {"CompiledMethods": methods, "CompiledModel": base}
    runtime = [aliased(name, alias) for name, alias in imported.items() if alias in used]
    listing = ", ".join(f'"{model}"' for model in sorted(models))
    head = [
        f"from torch import {aliased('Tensor', tensor)}",
        f"from ._runtime import {', '.join(runtime)}",
    ]
    return f"{HEADER}\n\n" + "\n\n".join([*head, *parts, f"__all__ = [{listing}]"]) + "\n"


def _stub_class(name: str, base: str, members: Sequence[str]) -> str:
    body = "\n\n".join(members)
    return f"class {name}({base}):\n{body}"


def _stub_call(manifest: Manifest, tensor: str) -> str:
    return f"{signature(manifest, tensor)}\n{docstring(manifest)}"
