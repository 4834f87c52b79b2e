"""The text of the module of one model: its class, with the checks of its own inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.manifest import STATE, Manifest
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
    Written,
    can_write,
    catches,
    docstring,
    quoted,
    signature,
)

_BUILTINS = ("dict", "float", "int", "len", "list", "str", "tuple", "type")
_RUNTIME = ("CompiledMethods", "CompiledModel", "MISSING", "Refused", "dispatch_modes")


@dataclass(frozen=True)
class _ModuleNames:
    """The names that a module defines and imports."""

    all: Names
    shared: Shared
    path: str
    checking: str
    runtime: Mapping[str, str]
    methods: Mapping[str, str]
    """The class of each method but ``forward``."""
    cls: str
    """The class of the model."""


def model_module(manifests: Sequence[Manifest]) -> str:
    """The text of ``_<model>.py``: the class of the model, with checks for its own inputs.

    Args:
        manifests: One for each method of the model.
    """
    model, source = manifests[0].model, manifests[0].source
    names = _module_names(manifests)
    calls = {manifest.method: _call(manifest, names) for manifest in manifests}
    definitions = [
        *_method_classes(model, names, calls),
        _model_class(model, names, calls, manifests[0].about),
        _instance(model, names, forward=FORWARD in calls),
    ]
    docstring = f"The compiled model ``{model}``, made from ``{source}``."
    return _module(docstring, names, "\n\n\n".join(definitions))


def _module_names(manifests: Sequence[Manifest]) -> _ModuleNames:
    """Names for all that a module needs; the parameters of its methods keep theirs."""
    model = manifests[0].model
    names = Names([model, *{key for manifest in manifests for key in manifest.parameters}])
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
    return _ModuleNames(
        all=names,
        shared=shared,
        path=names.take("Path"),
        checking=names.take("TYPE_CHECKING"),
        runtime={name: names.take(name) for name in _RUNTIME},
        methods={
            m.method: names.take(class_name(m.name)) for m in manifests if m.method != FORWARD
        },
        cls=names.take(class_name(model)),
    )


def _call(manifest: Manifest, names: _ModuleNames) -> list[str]:
    """The lines of a ``__call__``."""
    free = names.all.inner()
    free.take(OUT)
    free.take(STATE)
    local = _locals(manifest, names, free)
    catching = Catching(
        names.runtime["MISSING"], names.runtime["Refused"], free.take("extra"), free.take("unknown")
    )
    head = [
        signature(manifest, Written(names.shared.torch["Tensor"]), catching),
        docstring(manifest),
        *_refusing_lines(manifest, catching),
    ]
    nesting = nesting_lines(manifest, local)
    body = _body(manifest, local)
    if not manifest.held:
        return [*head, *nesting, *body]
    given = local.values[: len(local.values) - len(manifest.held)]
    return [*head, *nesting, *_holding_lines(manifest, given, free), *_inner(manifest, local, body)]


def _holding_lines(manifest: Manifest, given: Sequence[str], free: Names) -> list[str]:
    """The lines of a call that hold the state while the rest of it runs."""
    held = free.take("held")
    passed = [*given, *([OUT] if can_write(manifest) else []), f"*{held}.tensors"]
    return [
        statement(f"{held} = ", Brackets("self._hold_state(", [STATE, *given], ")"), 8),
        "        try:",
        statement("return ", Brackets("self._run_held(", passed, ")"), 12),
        "        except (IndexError, MemoryError, RuntimeError):  # of the compiled code",
        f"            {held}.fail()",
        "            raise",
        "        finally:",
        f"            {held}.release()",
        "",
    ]


def _inner(manifest: Manifest, local: Locals, body: Sequence[str]) -> list[str]:
    """The rest of a call, which gets the buffers of the state as its last arguments."""
    given = len(local.values) - len(manifest.held)
    parameters = [
        "self",
        *(f"{value}: object" for value in local.values[:given]),
        *([f"{OUT}: object"] if can_write(manifest) else []),
        *(f"{value}: object" for value in local.values[given:]),
    ]
    opening = statement("def ", Brackets("_run_held(", parameters, ")"), 4)
    return [f"{opening} -> object:", *body]


def _locals(manifest: Manifest, names: _ModuleNames, free: Names) -> Locals:
    """The variables of a ``__call__``: a parameter is its own, a nested input gets one."""
    keys = manifest.parameters
    values = [
        spec.name if spec.name in keys else free.take(re.sub(r"\W+", "_", spec.name).strip("_"))
        for spec in manifest.inputs
    ]
    return Locals(
        names.shared,
        values,
        [free.take(f"{value}_shape") for value in values],
        [free.take(f"{value}_given") for value in values],
        free.take("fits"),
        free.take("outputs"),
        free.take("error"),
        names.runtime["dispatch_modes"],
    )


def _method_classes(
    model: str, names: _ModuleNames, calls: Mapping[str, list[str]]
) -> Iterator[str]:
    """The classes of the methods but ``forward``."""
    base = names.runtime["CompiledModel"]
    for method, name in names.methods.items():
        yield _class(name, base, f"The type of ``{model}.{method}``.", [calls[method]])


def _model_class(
    model: str, names: _ModuleNames, calls: Mapping[str, list[str]], about: str
) -> str:
    """The class of the model."""
    forward = FORWARD in calls
    base = names.runtime["CompiledModel" if forward else "CompiledMethods"]
    members = [calls[FORWARD]] if forward else []
    if names.methods:
        members.insert(0, _constructor(model, names.methods, names.path, forward=forward))
    own = f"The type of ``{model}``."
    return _class(names.cls, base, f"{about}\n\n{own}" if about else own, members)


def _instance(model: str, names: _ModuleNames, *, forward: bool) -> str:
    """The line that loads the model."""
    package = f"{names.path}(__file__).parent"
    arguments = f'{package}, "{model}"' if forward else package
    return f"{model} = {names.cls}({arguments})"


def _module(docstring: str, names: _ModuleNames, body: str) -> str:
    """A module's text: its imports, of what the body uses, and the body."""
    shared = names.shared
    used = set(re.findall(r"\w+", body))
    hidden = [
        aliased(name, alias)
        for name, alias in sorted(shared.builtins.items())
        if name != alias and alias in used
    ]
    namedtuples = _namedtuples(shared)
    imported = [aliased(*pair) for pair in sorted(names.runtime.items()) if pair[1] in used]
    kinds = used | ({shared.kinds["namedtuple"]} if namedtuples else set())
    collections = [aliased(name, alias) for name, alias in shared.kinds.items() if alias in kinds]
    lines = [
        HEADER,
        f'"""{docstring}"""',
        "",
        *(f"from builtins import {', '.join(group)}" for group in [hidden] if group),
        *(f"from collections import {', '.join(group)}" for group in [collections] if group),
        f"from pathlib import {aliased('Path', names.path)}",
        f"from typing import {aliased('TYPE_CHECKING', names.checking)}",
        "",
        f"from ._runtime import {', '.join(imported)}",
        "",
        *namedtuples,
        *([""] if namedtuples else []),
        f"if {names.checking}:",
        f"    from torch import {aliased('Tensor', shared.torch['Tensor'])}",
        "",
        "",
        body,
    ]
    return "\n".join(lines) + "\n"


def _namedtuples(shared: Shared) -> list[str]:
    """The definitions of the namedtuples in results."""
    return [
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


def _class(name: str, base: str, docstring: str, members: Sequence[Sequence[str]]) -> str:
    text = quoted(docstring.splitlines(), 4)
    if "\n" in docstring:
        text = f"{text[:-3]}\n    {text[-3:]}"
    lines = [f"class {name}({base}):", text]
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
    written = any(i < len(values) - len(manifest.held) for i in manifest.changed)
    return [
        *([statement("", Brackets("self._check_written(", values, ")"), 8)] if written else []),
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
