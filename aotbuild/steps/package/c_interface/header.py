"""The text of the headers: one for each model, and one that they have in common."""

from __future__ import annotations

from collections.abc import Sequence

from aotbuild.runtime.checks import shown
from aotbuild.runtime.dims import Size
from aotbuild.runtime.manifest import Input
from aotbuild.steps.files import HEADER
from aotbuild.steps.package.c_interface.described import (
    STATUS,
    TYPES,
    Described,
    Method,
    Model,
    Output,
)

COMMON = "_common.h"
"""The header that all models have in common; no model has such a name."""

_GENERATED = f"/* {HEADER.removeprefix('# ')} */"
_MEANINGS = (
    "the call did what it was to do",
    "an argument is wrong: NULL, or a size out of its range",
    "a model cannot be opened: a file is missing or damaged, or the CPU lacks a feature",
    "there is not enough memory",
    "the compiled code failed, such as for an index out of range",
)
_STATE = (
    "State: {}. It is what the model keeps between calls, and the caller holds it: pass the same "
    "memory to each call of a sequence, and to one call at a time."
)
_ZEROS = "All zeros before the first call: {}."
_VALUES = "What {1}() writes before the first call: {0}."
_BEGIN = (
    "Write what the state is before the first call to its memory. Of the inputs, the pointers to "
    "the state and the sizes are looked at."
)
_IN_PLACE = "Changed in place: {}."
_CHANGES = (
    "What a call changes must not share memory with other inputs; a call that fails may have "
    "changed a part of it."
)
_KINDS = {
    "bool": "0 or 1 each",
    "float16": "the bits of each",
    "bfloat16": "the bits of each",
    "complex64": "real and imaginary part of each",
    "complex128": "real and imaginary part of each",
}


def common_header(package: Described) -> str:
    """The text of the header that all models have in common."""
    name, macros = package.name, package.macros
    codes = [
        f"  {macros}_{code} = {number}{',' * (number + 1 < len(STATUS))} /* {meaning} */"
        for number, (code, meaning) in enumerate(zip(STATUS, _MEANINGS, strict=True))
    ]
    guard = f"{macros}_COMMON_H"
    absent = [f"{model} is not here: {reason}." for model, reason in package.without.items()]
    return "\n".join(
        [
            _GENERATED,
            *_opened(guard),
            *_comment(
                f"The compiled models of {package.package}, without Python. "
                "Every function may be called from any thread.",
                *absent,
            ),
            "",
            "#include <stddef.h>",
            "#include <stdint.h>",
            "",
            *_EXTERN,
            "/* What functions return. */",
            f"typedef enum {name}_status {{",
            *codes,
            f"}} {name}_status;",
            "",
            *_comment(
                "What was wrong with the last call in this thread that did not return "
                f"{macros}_OK, in words; the text stays until another one fails."
            ),
            f"const char *{name}_error(void);",
            "",
            *_comment(
                "Set how many threads each call uses from now on, 1 to 256, in all threads of the "
                "process. Without it as many as AOTBUILD_NUM_THREADS says, then OMP_NUM_THREADS, "
                "else as the process has cores."
            ),
            f"{name}_status {name}_set_num_threads(int count);",
            *_closed(guard),
        ]
    )


def model_header(package: Described, model: Model) -> str:
    """The text of the header of a model."""
    name, prefix = package.name, model.prefix
    about = model.methods[0].manifest.about
    return "\n".join(
        [
            _GENERATED,
            *_opened(model.guard),
            *_comment(
                f"The model {model.name} of {package.package}.",
                *(["", *about.splitlines()] if about else []),
            ),
            "",
            f'#include "{COMMON}"',
            "",
            *_EXTERN,
            f"typedef struct {prefix} {prefix};",
            "",
            *_comment(
                "Open the model. Its library is chosen by what the CPU has; the weights are "
                "mapped, and shared by all that is open.",
                "",
                "model: gets what is opened, NULL where that fails. Any number of threads may call "
                "it at once.",
                "runners: how many calls run at once, 1 to 64; further ones wait for their turn.",
                "threads: of each call, 1 to 256; 0: as many as for all models.",
            ),
            f"{name}_status {prefix}_open({prefix} **model, int runners, int threads);",
            "",
            *_comment(
                "Close the model, when no call runs or comes. Its outputs may be freed later; "
                "what it has in memory serves the next one that is opened."
            ),
            f"void {prefix}_close({prefix} *model);",
            *(line for method in model.methods for line in _method(package, model, method)),
            *_closed(model.guard),
        ]
    )


_EXTERN = ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]


def _opened(guard: str) -> list[str]:
    return [f"#ifndef {guard}", f"#define {guard}", ""]


def _closed(guard: str) -> list[str]:
    return ["", "#ifdef __cplusplus", "}", "#endif", "", f"#endif /* {guard} */", ""]


def _comment(*paragraphs: str) -> list[str]:
    """Lines as a comment."""
    lines = [part for text in paragraphs for part in (_wrapped(text) or [""])]
    lines = [line.replace("*/", "* /").replace("/*", "/ *").rstrip() for line in lines]
    if len(lines) == 1:
        return [f"/* {lines[0]} */"]
    return [f"/* {lines[0]}", *(f" * {line}".rstrip() for line in lines[1:]), " */"]


def _wrapped(text: str, width: int = 92) -> list[str]:
    """A text over lines, further ones of it indented as the first one is."""
    indent = text[: len(text) - len(text.lstrip())]
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and len(indent) + len(line) + 1 + len(word) > width:
            lines.append(indent + line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, indent + line] if line else lines


def has_inputs(method: Method) -> bool:
    """Whether a method takes anything: a struct of C has at least one field."""
    return bool(method.inputs or method.dims)


def _method(package: Described, model: Model, method: Method) -> list[str]:
    manifest = method.manifest
    lines = ["", *_ranges(method)]
    if has_inputs(method):
        lines += ["typedef struct { /* tensors in C order, which stay the caller's */"]
        lines += [
            _input_field(field, spec, changed=i in manifest.changed)
            for i, (field, spec) in enumerate(method.inputs)
        ]
        lines += [f"  int64_t {field}; /* {dim} */" for field, _, dim in method.dims]
        lines += [f"}} {method.prefix}_inputs;", ""]
    lines += ["typedef struct { /* tensors in C order, until they are freed */"]
    lines += [line for output in method.outputs for line in _output_fields(output)]
    lines += ["  void *owner; /* of their memory */", f"}} {method.prefix}_outputs;", ""]
    conditions = [f"Sizes fit where {condition}." for condition in manifest.conditions]
    remarks = [f"{remark[0].upper()}{remark[1:]}." for remark in method.remarks]
    lines += _comment(
        f"Call {manifest.name}().",
        *(["", *manifest.doc.splitlines()] if manifest.doc else []),
        *(["", *conditions, *remarks] if conditions or remarks else []),
        *_about_changes(method),
        "",
        "outputs: gets the results, which are the caller's to free; none where the call fails.",
    )
    head = f"{package.name}_status {method.function}("
    lines += [
        f"{head}{model.prefix} *model,",
        *(
            [f"{' ' * len(head)}const {method.prefix}_inputs *inputs,"]
            if has_inputs(method)
            else []
        ),
        f"{' ' * len(head)}{method.prefix}_outputs *outputs);",
        "",
        *_begin(package, model, method),
        *_comment("Free the results of a call, each once; what was freed or is all zero is well."),
        f"void {method.prefix}_free({method.prefix}_outputs *outputs);",
    ]
    return lines


def _begin(package: Described, model: Model, method: Method) -> list[str]:
    if not method.manifest.held:
        return []
    head = f"{package.name}_status {method.prefix}_begin("
    return [
        *_comment(_BEGIN),
        f"{head}{model.prefix} *model,",
        f"{' ' * len(head)}const {method.prefix}_inputs *inputs);",
        "",
    ]


def _about_changes(method: Method) -> list[str]:
    """Paragraphs about the state, which the caller holds, and other inputs that a call changes."""
    manifest = method.manifest
    first = len(method.inputs) - len(manifest.held)
    held = {
        field: name for name, (field, _) in zip(manifest.held, method.inputs[first:], strict=True)
    }
    inputs = [field for i, (field, _) in enumerate(method.inputs[:first]) if i in manifest.changed]
    if not held and not inputs:
        return []
    zeros = [field for field, name in held.items() if name not in manifest.initial]
    others = [field for field, name in held.items() if name in manifest.initial]
    parts = ((_STATE, held), (_ZEROS, zeros), (_VALUES, others), (_IN_PLACE, inputs))
    begin = f"{method.prefix}_begin"
    told = [text.format(", ".join(fields), begin) for text, fields in parts if fields]
    return ["", *told, _CHANGES]


def _ranges(method: Method) -> list[str]:
    lines = []
    for field, _, dim in method.dims:
        macro = f"#define {method.macros}_{field.upper()}"
        lines.append(f"{macro}_MIN INT64_C({dim.min})")
        if dim.max is not None:
            lines.append(f"{macro}_MAX INT64_C({dim.max})")
        if dim.multiple_of > 1:
            lines.append(f"{macro}_MULTIPLE INT64_C({dim.multiple_of})")
    return [*lines, ""] if lines else []


def _tensor(dtype: str, shape: Sequence[Size]) -> str:
    kind = f": {_KINDS[dtype]}" if dtype in _KINDS else ""
    return f"{dtype} {shown(shape)}{kind}"


def _input_field(field: str, spec: Input, *, changed: bool) -> str:
    text = _tensor(spec.dtype, spec.shape)
    if spec.order != sorted(spec.order):
        text += f"; in memory its dimensions lie in the order {', '.join(map(str, spec.order))}"
    if changed:
        return f"  {TYPES[spec.dtype]} *{field}; /* {text}; the call changes it */"
    return f"  const {TYPES[spec.dtype]} *{field}; /* {text} */"


def _output_fields(output: Output) -> list[str]:
    if output.number:
        return [f"  int64_t {output.field};"]
    text = _tensor(output.dtype, output.shape)
    lines = [f"  const {TYPES[output.dtype]} *{output.field}; /* {text} */"]
    if output.shape:
        lines.append(f"  int64_t {output.field}_shape[{len(output.shape)}];")
    return lines
