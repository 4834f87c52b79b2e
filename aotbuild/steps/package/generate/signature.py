"""The signature and the docstring of a model's call."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aotbuild.config.schema import FORWARD
from aotbuild.runtime.checks import shown
from aotbuild.runtime.manifest import STATE, Manifest
from aotbuild.steps.package.generate.layout import WIDTH
from aotbuild.steps.package.generate.literals import literal


@dataclass(frozen=True)
class Catching:
    """Names of what lets a call take any arguments, so that its body can tell the wrong ones."""

    missing: str
    """Default of what a call must give."""
    refused: str
    """Annotation of the two below."""
    extra: str
    unknown: str


@dataclass(frozen=True)
class Written:
    """How annotations write types."""

    tensor: str
    sequence: str = "list"
    mapping: str = "dict"
    own: Callable[[dict[str, Any]], str] = lambda _: ""
    """The class that a tuple or dict has; empty where it has none of its own."""


OUT = "out"
"""The argument for what a result is written to."""


def can_write(manifest: Manifest) -> bool:
    """Whether results can be written to what is given: they are tensors, in plain containers."""

    def plain(tree: dict[str, Any]) -> bool:
        return tree["type"] != "object" and all(map(plain, tree.get("items", [])))

    def count(tree: dict[str, Any]) -> int:
        return int(tree["type"] == "tensor") + sum(map(count, tree.get("items", [])))

    free = OUT not in manifest.parameters
    return free and plain(manifest.outputs) and count(manifest.outputs) > 0


def signature(
    manifest: Manifest,
    types: Written,
    catching: Catching | None = None,
    *,
    returned: Written | None = None,
    define: str = "def __call__",
    body: str = "",
) -> str:
    """The first lines of ``__call__``, as users read it or so that it catches wrong arguments.

    Args:
        manifest: The model.
        types: The types of arguments.
        catching: What catches wrong arguments.
        returned: The types of results, if they are others.
        define: How the definition begins.
        body: What stands behind its colon.
    """
    result = _written(annotation(manifest.outputs, returned or types), types.tensor, catching)
    parameters = ["self"]
    trees = list(manifest.parameters.items())
    kinds = [tree.get("kind", "") for _, tree in trees]
    star = f"*{catching.extra}: {catching.refused}" if catching else "*"
    for i, (name, tree) in enumerate(trees):
        kind = kinds[i]
        ends = kind in {"keyword-only", "var-keyword"} and (catching or kind == "keyword-only")
        if ends and not {star, "var-positional"} & {*parameters, *kinds[:i]}:
            parameters.append(star)
        others = [other for _, other in trees[i:]]
        parameters.append(_parameter(name, tree, others, types, catching))
        if kind == "positional-only" and kinds[i + 1 : i + 2] != [kind]:
            parameters.append("/")
    kind = "object" if catching else "ModelState | None"
    written = [f"{STATE}: {kind} = None"] if manifest.held else []
    written += [f"{OUT}: object = None"] if can_write(manifest) else []
    if (catching or written) and not {star, "var-positional"} & {*parameters, *kinds}:
        parameters.append(star)
    at = len(parameters) - kinds.count("var-keyword")
    parameters[at:at] = written
    if catching and "var-keyword" not in kinds:
        parameters.append(f"**{catching.unknown}: {catching.refused}")
    line = f"    {define}({', '.join(parameters)}) -> {result}:{body}"
    if len(line.partition("\n")[0]) <= WIDTH:
        return line
    row = ", ".join(parameters)
    rows = [row] if len(row) + 8 <= WIDTH else [f"{parameter}," for parameter in parameters]
    lines = "".join(f"        {row}\n" for row in rows)
    return f"    {define}(\n{lines}    ) -> {result}:{body}"


def catches(manifest: Manifest, catching: Catching) -> list[str]:
    """Those of the two catching parameters that the call has."""
    kinds = {tree.get("kind", "") for tree in manifest.parameters.values()}
    return [
        *([] if "var-positional" in kinds else [catching.extra]),
        *([] if "var-keyword" in kinds else [catching.unknown]),
    ]


def _parameter(
    name: str,
    tree: dict[str, Any],
    behind: Sequence[dict[str, Any]],
    types: Written,
    catching: Catching | None,
) -> str:
    """A parameter as a signature shows it; ``behind`` are its own tree and those that follow."""
    kind = tree.get("kind", "")
    if kind in {"var-positional", "var-keyword"}:
        items = [annotation(item, types) for item in tree["items"]]
        union = " | ".join(dict.fromkeys(items)) or types.tensor
        union = _written(union, types.tensor, catching)
        return f"{'*' if kind == 'var-positional' else '**'}{name}: {union}"
    parameter = f"{name}: {_written(annotation(tree, types), types.tensor, catching)}"
    # A default must not stand before a parameter without one.
    positional = [other for other in behind if other.get("kind", "") in {"", "positional-only"}]
    optional = all(other["type"] == "constant" for other in positional)
    if tree["type"] == "constant" and (kind == "keyword-only" or optional):
        return f"{parameter} = {literal(tree['value'])}"
    return f"{parameter} = {catching.missing}" if catching else parameter


def _written(annotation: str, tensor: str, catching: Catching | None) -> str:
    """An annotation as source: in quotes where torch is not imported, which has the tensors."""
    names = re.findall(r"\w+", annotation)
    return f'"{annotation}"' if catching and tensor in names else annotation


def annotation(tree: dict[str, Any], types: Written) -> str:
    """The type of an argument or result, as an annotation."""
    kind = tree["type"]
    if kind == "tensor":
        return types.tensor
    if kind == "constant":
        return _type_name(tree["value"])
    if kind in {"int", "object"}:
        return "int" if kind == "int" else "object"
    if own := types.own(tree):
        return own
    items = [annotation(item, types) for item in tree["items"]]
    if kind in {"tuple", "namedtuple"}:
        return f"tuple[{', '.join(items) or '()'}]"
    union = " | ".join(dict.fromkeys(items)) or types.tensor
    if kind == "list":
        return f"{types.sequence}[{union}]"
    keys = " | ".join(dict.fromkeys(map(_type_name, tree["keys"]))) or "str"
    return f"{types.mapping}[{keys}, {union}]"


def _type_name(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def docstring(manifest: Manifest) -> str:
    """The docstring of ``__call__``: the author's words, dtypes, shapes, ranges and constants."""
    about = manifest.about if manifest.method == FORWARD else ""
    lines = [line for text in (about, manifest.doc) if text for line in (*text.splitlines(), "")]
    lines += [f"{manifest.source}, compiled ahead of time.", "", "Args:"]
    given = manifest.inputs[: len(manifest.inputs) - len(manifest.held)]
    lines += [
        f"    {spec.name}: {spec.dtype} tensor of shape {shown(spec.shape)}"
        + ", changed in place" * (i in manifest.changed)
        for i, spec in enumerate(given)
    ]
    constants = _constants(list(manifest.parameters), list(manifest.parameters.values()))
    lines += [f"    {label}: always {value}" for label, value in constants]
    if manifest.held:
        lines += [
            f"    {STATE}: what the model keeps between calls, from new_state(); calls change it,",
            "        and one without it begins anew",
        ]
        lines += [
            f"        {buffer.name}: {buffer.dtype} of shape {shown(buffer.shape)}"
            for buffer in manifest.buffers
            if buffer.name in manifest.held
        ]
    if can_write(manifest):
        lines.append(f"    {OUT}: where to write the result to, of the same structure")
    lines += ["", "Returns:"]
    lines += [f"    {line}" for line in _outputs(manifest.outputs)]
    if manifest.dims:
        lines += ["", "Dimensions:"]
        for name, dim in sorted(manifest.dims.items()):
            lines.append(f"    {name}: {dim}")
    if manifest.conditions:
        lines += ["", "Conditions:", *(f"    {condition}" for condition in manifest.conditions)]
    lines += [
        "",
        "Raises:",
        "    TypeError: An argument is missing, unknown, not a tensor or of another dtype.",
        "    ValueError: An argument has the wrong shape or device.",
    ]
    return f'{quoted(lines, 8)[:-3]}\n{" " * 8}"""'


def quoted(lines: Sequence[str], indent: int) -> str:
    """Lines as a docstring, indented by so many columns."""
    text = "\n".join(f"{' ' * indent}{line}".rstrip() for line in lines).lstrip()
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'{" " * indent}"""{text}"""'


def _constants(labels: Sequence[str], trees: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The constants of the arguments, each with the expression that picks it."""
    for label, tree in zip(labels, trees, strict=True):
        if tree["type"] == "constant":
            yield label, literal(tree["value"])
        elif "items" in tree:
            keys = [literal(key) for key in tree.get("keys", range(len(tree["items"])))]
            yield from _constants([f"{label}[{key}]" for key in keys], tree["items"])


def _outputs(tree: dict[str, Any], label: str = "") -> list[str]:
    prefix = f"{label}: " if label else ""
    kind = tree["type"]
    if kind == "tensor":
        return [f"{prefix}{tree['dtype']} tensor of shape {shown(tree['shape'])}"]
    if kind == "constant":
        return [f"{prefix}{literal(tree['value'])}"]
    if "items" not in tree:
        return [f"{prefix}{kind}"]
    names = tree.get("keys") or tree.get("fields") or range(len(tree["items"]))
    lines = [f"{prefix}{tree.get('class', kind)}"]
    for name, item in zip(names, tree["items"], strict=True):
        plain = str(name).isidentifier() or isinstance(name, int)
        nested = _outputs(item, str(name) if plain else literal(name))
        lines += [f"    {line}" for line in nested]
    return lines
