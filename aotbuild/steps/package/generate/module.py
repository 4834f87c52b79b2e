"""The text of the module of one model: its class, with the checks of its own inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.manifest import Manifest
from aotbuild.steps.files import HEADER
from aotbuild.steps.package.generate.checks import (
    assigned,
    checks_of,
    condition_lines,
    fitting,
    nesting_lines,
    on_cpu_only,
)
from aotbuild.steps.package.generate.layout import Brackets, statement
from aotbuild.steps.package.generate.literals import literal
from aotbuild.steps.package.generate.names import (
    Locals,
    Names,
    Shared,
    aliased,
    class_name,
    last_part,
)
from aotbuild.steps.package.generate.results import namedtuples_of, rebuilt, returned_inputs
from aotbuild.steps.package.generate.signature import (
    OUT,
    Catching,
    can_write,
    catches,
    docstring,
    signature,
)

_BUILTINS = ("dict", "float", "int", "len", "list", "str", "tuple", "type")
_RUNTIME = ("CompiledMethods", "CompiledModel", "MISSING", "Refused", "dispatch_modes")


def model_module(manifests: Sequence[Manifest]) -> str:
    """The text of ``_<model>.py``: the class of the model, with checks for its own inputs.

    Args:
        manifests: One for each method of the model.
    """
    model, source = manifests[0].model, manifests[0].source
    keys = {key for manifest in manifests for key in manifest.in_spec["keys"]}
    names = Names([model, *keys])
    dtypes = {spec.dtype for manifest in manifests for spec in manifest.inputs}
    tuples = [pair for manifest in manifests for pair in namedtuples_of(manifest.outputs)]
    shared = Shared(
        {
            name: names.take("torch_bool" if name == "bool" else name)
            for name in ("Tensor", *sorted(dtypes))
        },
        {name: names.take(name) for name in _BUILTINS},
        {name: names.take(name) for name in ("OrderedDict", "namedtuple")},
        {key: names.take(last_part(key[0])) for key in dict.fromkeys(tuples)},
    )
    path, checking = names.take("Path"), names.take("TYPE_CHECKING")
    runtime = {name: names.take(name) for name in _RUNTIME}
    base = runtime["CompiledModel"]
    classes = {m.method: names.take(class_name(m.name)) for m in manifests if m.method != FORWARD}
    cls = names.take(class_name(model))
    bodies: dict[str, list[str]] = {}
    for manifest in manifests:
        own = names.inner()
        own.take(OUT)
        values = [
            spec.name if spec.name in keys else own.take(re.sub(r"\W+", "_", spec.name).strip("_"))
            for spec in manifest.inputs
        ]
        shapes = [own.take(f"{value}_shape") for value in values]
        local = Locals(
            shared,
            values,
            shapes,
            [own.take(f"{value}_given") for value in values],
            own.take("fits"),
            own.take("outputs"),
            own.take("error"),
            runtime["dispatch_modes"],
        )
        catching = Catching(
            runtime["MISSING"], runtime["Refused"], own.take("extra"), own.take("unknown")
        )
        bodies[manifest.method] = [
            signature(manifest, shared.torch["Tensor"], catching),
            docstring(manifest),
            *_refusing_lines(manifest, catching),
            *_body(manifest, local),
        ]
    definitions = [
        _class(name, base, f"The type of ``{model}.{method}``.", [bodies[method]])
        for method, name in classes.items()
    ]
    parent = base if FORWARD in bodies else runtime["CompiledMethods"]
    members = [bodies[FORWARD]] if FORWARD in bodies else []
    if classes:
        members.insert(0, _constructor(model, classes, path, forward=FORWARD in bodies))
    definitions.append(_class(cls, parent, f"The type of ``{model}``.", members))
    package = f"{path}(__file__).parent"
    arguments = f'{package}, "{model}"' if FORWARD in bodies else package
    return _module(
        f"The compiled model ``{model}``, made from ``{source}``.",
        shared,
        path,
        checking,
        runtime,
        "\n\n\n".join([*definitions, f"{model} = {cls}({arguments})"]),
    )


def _module(
    docstring: str,
    shared: Shared,
    path: str,
    checking: str,
    runtime: Mapping[str, str],
    body: str,
) -> str:
    used = set(re.findall(r"\w+", body))
    hidden = [
        aliased(name, alias)
        for name, alias in sorted(shared.builtins.items())
        if name != alias and alias in used
    ]
    namedtuples = [
        statement(
            f"{alias} = ",
            Brackets(
                f"{shared.kinds['namedtuple']}(",
                [literal(last_part(name)), Brackets("[", [literal(f) for f in fields], "]")],
                ")",
            ),
            0,
        )
        for (name, fields), alias in sorted(shared.tuples.items(), key=lambda item: item[1])
    ]
    imported = [aliased(*pair) for pair in sorted(runtime.items()) if pair[1] in used]
    kinds = used | ({shared.kinds["namedtuple"]} if namedtuples else set())
    collections = [aliased(name, alias) for name, alias in shared.kinds.items() if alias in kinds]
    tensor = shared.torch["Tensor"]
    annotating = [
        f"from typing import {aliased('TYPE_CHECKING', checking)}",
        f"if {checking}:",
        f"    from torch import {aliased('Tensor', tensor)}",
        "",
    ]
    lines = [
        HEADER,
        f'"""{docstring}"""',
        "",
        *(f"from builtins import {', '.join(group)}" for group in [hidden] if group),
        *(f"from collections import {', '.join(group)}" for group in [collections] if group),
        f"from pathlib import {aliased('Path', path)}",
        *annotating[:1],
        "",
        f"from ._runtime import {', '.join(imported)}",
        "",
        *namedtuples,
        *([""] if namedtuples else []),
        *annotating[1:],
        "",
        body,
    ]
    return "\n".join(lines) + "\n"


def _class(name: str, base: str, docstring: str, members: Sequence[Sequence[str]]) -> str:
    lines = [f"class {name}({base}):", f'    """{docstring}"""']
    for member in members:
        lines += ["", *member]
    return "\n".join(lines)


def _torch_imports(manifest: Manifest, local: Locals) -> list[str]:
    """The lines that import what the checks need, which calls with arrays never come to."""
    names = ["Tensor", *sorted({spec.dtype for spec in manifest.inputs})] if local.values else []
    imported = [aliased(name, local.shared.torch[name]) for name in names]
    return [f"            from torch import {', '.join(imported)}", ""] if imported else []


def _constructor(model: str, classes: Mapping[str, str], path: str, *, forward: bool) -> list[str]:
    """The lines that load a model's methods."""
    if forward:
        lines = [
            f"    def __init__(self, package: {path}, directory: str, *pool: object) -> None:",
            "        super().__init__(package, directory, *pool)",
        ]
    else:
        listing = Brackets("(", [literal(method) for method in classes], ")")
        lines = [
            HEADER,
            f'    _model = "{model}"',
            statement("_methods = ", listing, 4),
            "",
            f"    def __init__(self, package: {path}, *pool: object) -> None:",
        ]
    for method, cls in classes.items():
        lines.append(f'        self.{method} = {cls}(package, "{model}/{method}", *pool)')
    return lines


def _refusing_lines(manifest: Manifest, catching: Catching) -> list[str]:
    """The lines that refuse arguments without a parameter."""
    caught = catches(manifest, catching)
    if not caught:
        return []
    given = [
        name if name in caught else empty
        for name, empty in ((catching.extra, "()"), (catching.unknown, "{}"))
    ]
    return [
        f"        if {' or '.join(caught)}:",
        f"            self._refuse_arguments({', '.join(given)})",
    ]


def _body(manifest: Manifest, local: Locals) -> list[str]:
    values = local.values
    string = local.shared.builtins["str"]
    where = f"{string}({values[0]}.device)" if values else ""
    run = "self._run(" if on_cpu_only(manifest) else f"self._runs[{where}]("
    built = rebuilt(manifest.outputs, local)
    result = [statement("return ", built, 8)]
    if can_write(manifest):
        result = [
            f"        if {OUT} is not None:",
            statement("return ", Brackets("self._write(", [built, OUT], ")"), 12),
            *result,
        ]
    outputs = local.outputs
    return [
        *nesting_lines(manifest, local),
        # The result holds what was given, also where the compiled code reads a copy.
        *(
            f"        {local.given[i]} = {values[i]}"
            for i in sorted(returned_inputs(manifest.outputs))
        ),
        "        try:",
        statement(f"{outputs} = ", Brackets("self._call(", values, ")"), 12),
        f"        except RuntimeError as {local.error}:",
        f"            raise self._failure({local.error}) from {local.error}",
        f"        if {outputs} is None:  # it is not known to be what the compiled code takes",
        *_torch_imports(manifest, local),
        *fitting(checks_of(manifest, local), local.fits),
        assigned(values, "self._admit(", 16),
        *condition_lines(manifest, local),
        "            try:",
        statement(f"{outputs} = ", Brackets(run, [Brackets("[", values, "]")], ")"), 16),
        f"            except RuntimeError as {local.error}:",
        f"                raise self._failure({local.error}) from {local.error}",
        *result,
    ]
