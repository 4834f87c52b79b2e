"""What a compiled variant depends on, known before Inductor is asked, and without importing torch.

The key of its entry in the cache is made of these parts. Whatever may matter is in one of them: a
field of the specification that is not known here, an option, a variable of the environment. What is
left out can be seen in no byte of the result: where the project is, how its models are called, and
from which lines of its code the graph was traced.

The values of parameters are left out, too, unless Inductor computes with them. Passes keep to that:
they decide by the values of other constants alone, which are a part, and what they compute from
parameters is a constant, which is computed again wherever the variant is packaged.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.cache.history import Parts
from aotbuild.cache.reasons import WHOLE
from aotbuild.config.resolve import is_library_file
from aotbuild.steps.artifacts.call_spec import DOCS, call_table
from aotbuild.steps.artifacts.program import program_digest
from aotbuild.steps.artifacts.spec import CompileSpec
from aotbuild.steps.artifacts.weights_index import WEIGHTS, index_table
from aotbuild.steps.identity import (
    TORCH_VARIABLES,
    aotbuild_identity,
    compile_environment,
    compiler_parts,
    machine_parts,
    package_versions,
    torch_identity,
)
from aotbuild.target import TARGETS
from aotbuild.toolchain import find_disassembler

_ELSEWHERE = {
    *("model", "method", "target", "project", "import_paths", "package", "options"),
    *("exported", "output", "tools"),
}
"""Fields of the specification that are a part of their own, or change nothing."""

_NO_VALUES = {"strict_dims", "chosen", "recipe", "passes", "runtime"}
"""Fields that do not let a compile compute with the values of weights; others may."""

_MOST_NAMED = 4000
"""Tensors up to which each is named in a part; of more there is one digest."""

_SHORT_TYPES = {"bfloat16", "float16"}
"""Types for which code is chosen by what this machine's CPU has."""


@dataclass(frozen=True)
class CompileKey:
    """The parts of a key, without and with the values of the weights."""

    parts: Parts
    """With the values only where it is known beforehand that they are computed with."""
    with_values: Parts

    @property
    def candidates(self) -> list[Parts]:
        """Under which keys a result may be: of the second only if values were computed with."""
        alike = self.parts == self.with_values
        return [self.parts] if alike else [self.parts, self.with_values]


def compile_key(spec: CompileSpec) -> CompileKey | None:
    """The key of what a step will compile; None if it depends on what cannot be known.

    The paths of the specification are relative to the current directory.
    """
    exported = Path(spec.exported)
    index, call = index_table(exported.parent), call_table(exported)
    operators = _operators(call["op_libraries"], Path(spec.project))
    if operators is None:
        return None
    target = TARGETS[spec.target]
    environment = compile_environment(*(["ONEDNN_MAX_CPU_ISA"] if target.onednn else []))
    own = _changed_fields(spec)
    names = index["names"][spec.method]
    used = {key: index["tensors"][key] for key in sorted(set(names.values()))}
    state = {parameter["key"] for parameter in index["state"]}
    constants = {key: entry for key, entry in used.items() if key not in state}
    values = _contents(exported.parent / WEIGHTS, constants.values())
    parts: Parts = {
        "program": {"graph": program_digest(exported), **operators},
        "call": {name: _value(value) for name, value in call.items() if name not in DOCS},
        "weights": _weights(names, used, state),
        "values": values,
        "options": {name: _value(value) for name, value in spec.options.items()},
        **{name: {WHOLE: _value(value)} for name, value in own.items()},
        "target": {name: _value(v) for name, v in sorted(_plain(dataclasses.asdict(target)))},
        "torch": torch_identity(),
        "packages": package_versions("sympy", *(["torchao"] if spec.quantize else [])),
        # Without a disassembler, nothing looks for instructions above the level.
        "compiler": {
            **compiler_parts(target.cross),
            "checked": str(find_disassembler() is not None),
        },
        "environment": environment,
        "python": {"version": f"{sys.version_info[0]}.{sys.version_info[1]}"},
        "aotbuild": aotbuild_identity(),
    }
    types = {entry["dtype"] for entry in [*used.values(), *call["inputs"]]}
    timed = any("autotune" in name and value for name, value in spec.options.items())
    computed = timed or _computes_with_weights(spec, own, environment)
    if computed or types & _SHORT_TYPES:
        parts["machine"] = machine_parts(timed=timed)
    with_values = {**parts, "values": {**values, "all": index["digest"]}}
    with_values.setdefault("machine", machine_parts(timed=False))
    return CompileKey(with_values if computed else parts, with_values)


def _computes_with_weights(
    spec: CompileSpec, changed: Mapping[str, Any], environment: Mapping[str, str]
) -> bool:
    """Whether the values of weights may matter, for all that is known before the compile."""
    return (
        bool(spec.options.get("freezing"))
        or not changed.keys() <= _NO_VALUES
        or any(name.startswith(TORCH_VARIABLES) for name in environment)
    )


def _changed_fields(spec: CompileSpec) -> dict[str, Any]:
    """The other fields of a specification that are not as they are by default."""
    changed = {}
    for field in dataclasses.fields(spec):
        if field.name in _ELSEWHERE:
            continue
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        value = getattr(spec, field.name)
        if value != default:
            changed[field.name] = value
    return changed


def _value(value: Any) -> str:
    """A value as a text that can be shown, or the digest of a long one."""
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 200 else hashlib.sha256(text.encode()).hexdigest()


def _plain(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The fields of a table, sets in order."""
    for name, value in table.items():
        yield name, sorted(value) if isinstance(value, frozenset) else value


def _weights(
    names: Mapping[str, str], used: Mapping[str, Mapping[str, Any]], state: set[str]
) -> dict[str, str]:
    """How each tensor is called and laid out, and whether it is one of the state dict."""
    tensors = {
        key: f"{entry['dtype']} {entry['shape']}"
        + ("" if _is_contiguous(entry) else f" by {entry['stride']}")
        + (" packed " + entry["packed"] if entry["packed"] else "")
        + ("" if key in state else " constant")
        for key, entry in used.items()
    }
    if len(tensors) > _MOST_NAMED:
        tensors = {"all": _digest(tensors)}
    return {**tensors, "names": _digest(names)}


def _is_contiguous(entry: Mapping[str, Any]) -> bool:
    step = 1
    for size, stride in zip(reversed(entry["shape"]), reversed(entry["stride"]), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _contents(path: Path, constants: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Digests of tensors in a weights file, which may be written into code."""
    digests: dict[str, str] = {}
    with path.open("rb") as file:
        for entry in constants:
            file.seek(entry["offset"])
            digest = hashlib.sha256()
            left = entry["size"]
            while left and (data := file.read(min(left, 1 << 20))):
                digest.update(data)
                left -= len(data)
            digests[entry["name"]] = digest.hexdigest()
    return digests


def _operators(libraries: Iterable[str], project: Path) -> dict[str, str] | None:
    """What libraries of operators are; None where that cannot be known.

    A file is known by its bytes, and a module of an installed package by that package's version. A
    module of the project may read anything.
    """
    identities: dict[str, str] = {}
    for library in libraries:
        if is_library_file(library):
            identities[library] = hashlib.sha256((project / library).read_bytes()).hexdigest()
            continue
        version = _installed(library.partition(".")[0])
        if version is None:
            return None
        identities[library] = version
    return identities


def _installed(package: str) -> str | None:
    """The versions of what installed a package; None unless it came from an index or a file."""
    names = importlib.metadata.packages_distributions().get(package, [])
    versions = []
    for name in sorted(set(names)):
        distribution = importlib.metadata.distribution(name)
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if "dir_info" in origin:  # of a directory, which changes without its version
            return None
        versions.append(f"{name} {distribution.version}")
    return ", ".join(versions) or None
