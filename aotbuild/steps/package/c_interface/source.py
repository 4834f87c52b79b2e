"""The C source of a package's interface: its tables, and the functions that the headers declare."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from aotbuild.runtime.dims import Affine, Size
from aotbuild.runtime.integrity import parts
from aotbuild.runtime.machine import DLPACK_DTYPES
from aotbuild.runtime.manifest import Constant, File, Input, Manifest, Variant
from aotbuild.runtime.weights import WEIGHTS_VARIABLE
from aotbuild.steps.files import HEADER
from aotbuild.steps.package.c_interface.conditions import condition_in_c
from aotbuild.steps.package.c_interface.described import Described, Method, Model
from aotbuild.steps.package.c_interface.header import COMMON, has_inputs

SOURCE = "package.c"
"""Its name where it is compiled."""


def package_source(package: Described, directory: Path) -> str:
    """The text of the source of a package.

    Args:
        package: The package.
        directory: Its directory, which has the libraries and the weights.
    """

    def file(of: File) -> str:
        return f"{{{literal(of.file)}, {of.size}, {checksum(directory / of.file)}}}"

    first = package.models[0].methods[0].manifest
    name = package.name
    includes = [COMMON, *(f"{model.name}.h" for model in package.models)]
    lines = [
        f"/* {HEADER.removeprefix('# ')} */",
        "#pragma GCC visibility push(default)",
        *(f'#include "{name}/{each}"' for each in includes),
        "#pragma GCC visibility pop",
        "",
        '#include "interface.h"',
        "",
        "#include <math.h>",
        "#include <string.h>",
        "",
        *_package_table(package.package, first, file(first.weights)),
        "",
        f"const char *{name}_error(void) {{ return error_text(); }}",
        "",
        f"{name}_status {name}_set_num_threads(int count) {{",
        f'  return ({name}_status)use_threads("{name}_set_num_threads", count);',
        "}",
    ]
    for model in package.models:
        for i, method in enumerate(model.methods):
            lines += ["", *_method_tables(f"{model.prefix}_{i}", method, file)]
        lines += ["", *_model_functions(name, model)]
        for i, method in enumerate(model.methods):
            lines += ["", *_method_functions(name, model, i, method)]
    return "\n".join(lines) + "\n"


def literal(text: str) -> str:
    """A text as a string of C."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03o}" for b in text.encode()) + '"'


def _numbers(numbers: Iterable[int]) -> str:
    """Numbers as an array, which has one element at least."""
    return "{" + (", ".join(map(str, numbers)) or "0") + "}"


def checksum(path: Path) -> int:
    """The checksum by which the library knows a file; ``c_interface/files.c`` computes it, too."""
    found = 0
    with path.open("rb") as file:
        for part in parts(file, path.stat().st_size):
            found = zlib.crc32(part, found)
    return found


def _package_table(name: str, manifest: Manifest, weights: str) -> list[str]:
    outside = manifest.apart == WEIGHTS_VARIABLE
    distribution = manifest.apart if manifest.apart and not outside else ""
    directory = distribution.partition("==")[0].replace("-", "_")
    return [
        "const Package PACKAGE = {",
        f"    {literal(name)}, {name.count('.') + 1},",
        f"    {weights},",
        f"    {literal(distribution) if distribution else 'NULL'}, {literal(directory)},",
        f"    {'true' if outside else 'false'},",
        "};",
    ]


def _method_tables(prefix: str, method: Method, file: Callable[[File], str]) -> list[str]:
    """The tables of a method.

    Args:
        prefix: How their names begin.
        method: The method.
        file: Writes what is told of a file.
    """
    manifest = method.manifest
    names = [name for _, name, _ in method.dims]
    lines = []
    if method.dims:
        lines.append(f"static const Dim {prefix}_dims[] = {{")
        lines += [
            f"    {{{literal(field)}, {dim.min}, {-1 if dim.max is None else dim.max}, "
            f"{dim.multiple_of}, {literal(str(dim))}}},"
            for field, _, dim in method.dims
        ]
        lines.append("};")
    inputs = []
    for i, (field, spec) in enumerate(method.inputs):
        table = f"{prefix}_input{i}"
        lines += _input_tables(table, spec, names)
        code, bits = DLPACK_DTYPES[spec.dtype]
        inputs.append(
            f"    {{{literal(field)}, {code}, {bits}, {len(spec.shape)}, "
            f"{table}_sizes, {table}_order}},"
        )
    if inputs:
        lines += [f"static const Input {prefix}_inputs[] = {{", *inputs, "};"]
    lines += _state_tables(prefix, manifest)
    lines += _condition_tables(prefix, manifest.conditions, names)
    variants = []
    for i, variant in enumerate(manifest.variants):
        lines += _variant_tables(f"{prefix}_variant{i}", variant)
        variants.append(
            f"    {{{literal(variant.target.removeprefix('cpu-'))}, {file(variant.library)}, "
            f"{prefix}_variant{i}_features, {prefix}_variant{i}_weights, "
            f"{len(variant.constants)}}},"
        )
    return [*lines, f"static const Variant {prefix}_variants[] = {{", *variants, "};"]


def _input_tables(table: str, spec: Input, dims: Sequence[str]) -> list[str]:
    sizes = ", ".join(_size(size, dims) for size in spec.shape) or "{-1, 1, 1}"
    return [
        f"static const Size {table}_sizes[] = {{{sizes}}};",
        f"static const int64_t {table}_order[] = {_numbers(spec.order)};",
    ]


def _size(size: Size, dims: Sequence[str]) -> str:
    if isinstance(size, int):
        return f"{{-1, 1, {size}}}"
    affine = Affine.of(size)
    return f"{{{dims.index(affine.dim)}, {affine.factor}, {affine.offset}}}"


def _state_tables(prefix: str, manifest: Manifest) -> list[str]:
    """What the buffers of the state are before the first call."""
    lines, entries = [], []
    for i, name in enumerate(manifest.held):
        constant = manifest.initial.get(name)
        if constant is None:
            entries.append("    {NULL, 0},")
            continue
        lines.append(f"static const int64_t {prefix}_initial{i}[] = {_numbers(constant.shape)};")
        entries.append(f"    {{{prefix}_initial{i}, {constant.offset}}},")
    if entries:
        lines += [f"static const Initial {prefix}_buffers[] = {{", *entries, "};"]
    return lines


def _condition_tables(prefix: str, conditions: Sequence[str], dims: Sequence[str]) -> list[str]:
    lines, entries = [], []
    for i, condition in enumerate(conditions):
        function = f"{prefix}_condition{i}"
        lines += [
            f"static bool {function}(const int64_t *dims) {{",
            "  bool failed = false;",
            f"  bool holds = {condition_in_c(condition, dims)};",
            "  (void)dims;",
            "  return holds && !failed;",
            "}",
        ]
        entries.append(f"    {{{literal(condition)}, {function}}},")
    if entries:
        lines += [f"static const Condition {prefix}_conditions[] = {{", *entries, "};"]
    return lines


def _variant_tables(table: str, variant: Variant) -> list[str]:
    features = "".join(f"{literal(feature)}, " for feature in variant.requires)
    lines = [f"static const char *const {table}_features[] = {{{features}NULL}};"]
    weights = []
    for i, constant in enumerate(variant.constants):
        lines += [
            f"static const int64_t {table}_sizes{i}[] = {_numbers(constant.shape)};",
            f"static const int64_t {table}_strides{i}[] = {_numbers(constant.stride)};",
        ]
        weights.append(_weight(table, i, constant))
    nothing = ['    {"", 0, 0, 0, NULL, NULL, 0},']
    return [*lines, f"static const Weight {table}_weights[] = {{", *(weights or nothing), "};"]


def _weight(table: str, i: int, constant: Constant) -> str:
    code, bits = DLPACK_DTYPES[constant.dtype]
    return (
        f"    {{{literal(constant.name)}, {code}, {bits}, {len(constant.shape)}, "
        f"{table}_sizes{i}, {table}_strides{i}, {constant.offset}}},"
    )


def _model_functions(name: str, model: Model) -> list[str]:
    prefix = model.prefix
    rows = []
    for i, method in enumerate(model.methods):
        table, conditions = f"{prefix}_{i}", method.manifest.conditions
        row: list[Any] = [literal(method.manifest.name), literal(method.function)]
        row += [f"{table}_dims" if method.dims else "NULL", len(method.dims)]
        row += [f"{table}_inputs" if method.inputs else "NULL", len(method.inputs)]
        row += [method.output_count]
        row += [f"{table}_conditions" if conditions else "NULL", len(conditions)]
        row += [f"{table}_variants", len(method.manifest.variants)]
        held = method.manifest.held
        row += [f"{table}_buffers" if held else "NULL", len(held)]
        rows.append(f"    {{{', '.join(map(str, row))}}},")
    return [
        f"static const Method {prefix}_methods[] = {{",
        *rows,
        "};",
        f"static const Table {prefix}_table = {{",
        f"    {literal(f'{prefix}_open')}, {prefix}_methods, {len(model.methods)}}};",
        "",
        f"{name}_status {prefix}_open({prefix} **model, int runners, int threads) {{",
        f"  return ({name}_status)open_model(&{prefix}_table, (Model **)model, runners, threads);",
        "}",
        "",
        f"void {prefix}_close({prefix} *model) {{ close_model((Model *)model); }}",
    ]


def _method_functions(name: str, model: Model, index: int, method: Method) -> list[str]:
    takes = f"const {method.prefix}_inputs *inputs, " if has_inputs(method) else ""
    data = [f"inputs->{field}" for field, _ in method.inputs] or ["NULL"]
    given = ["model", *(["inputs"] if takes else []), "outputs"]
    given_types = f"{takes}{method.prefix}_outputs *outputs"
    lines = [
        f"{name}_status {method.function}({model.prefix} *model, {given_types}) {{",
        "  Results *results;",
        "  if (outputs) memset(outputs, 0, sizeof *outputs);",
        *_refusals(name, method.function, given),
        f"  const void *const data[] = {{{', '.join(data)}}};",
        _dims(method),
        f"  int code = run_model((Model *)model, {index}, data, dims, &results);",
        f"  if (code) return ({name}_status)code;",
    ]
    for output in method.outputs:
        place = f"result(results, {output.index})"
        if output.number:
            lines.append(f"  outputs->{output.field} = *(int64_t *){place}.data;")
            continue
        lines.append(f"  outputs->{output.field} = {place}.data;")
        if output.shape:
            shape = f"outputs->{output.field}_shape"
            lines.append(f"  memcpy({shape}, {place}.sizes, sizeof {shape});")
    return [
        *lines,
        "  outputs->owner = results;",
        f"  return ({name}_status)OK;",
        "}",
        *_begin_function(name, model, index, method),
        "",
        f"void {method.prefix}_free({method.prefix}_outputs *outputs) {{",
        "  if (!outputs) return;",
        "  free_results(outputs->owner);",
        "  memset(outputs, 0, sizeof *outputs);",
        "}",
    ]


def _begin_function(name: str, model: Model, index: int, method: Method) -> list[str]:
    """The function that writes what a state is at first; nothing where there is no state."""
    held = method.manifest.held
    if not held:
        return []
    function = f"{method.prefix}_begin"
    data = [f"inputs->{field}" for field, _ in method.inputs[-len(held) :]]
    table = f"&{model.prefix}_methods[{index}]"
    return [
        "",
        f"{name}_status {function}({model.prefix} *model, const {method.prefix}_inputs *inputs) {{",
        *_refusals(name, function, ["model", "inputs"]),
        f"  void *const data[] = {{{', '.join(f'(void *){each}' for each in data)}}};",
        _dims(method),
        f'  return ({name}_status)begin_state({table}, "{function}", data, dims);',
        "}",
    ]


def _refusals(name: str, function: str, given: Sequence[str]) -> list[str]:
    """The lines of a function that refuse a pointer that is NULL."""
    return [
        f'  if (!{each}) return ({name}_status)refuse(ARGUMENT, "{function}(): {each} is NULL");'
        for each in given
    ]


def _dims(method: Method) -> str:
    """The line of a function that takes the sizes of a call."""
    dims = [f"inputs->{field}" for field, _, _ in method.dims] or ["0"]
    return f"  const int64_t dims[] = {{{', '.join(dims)}}};"
