"""Straight-line checks of a call's arguments, as Python source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aotbuild.runtime.conditions import calls
from aotbuild.runtime.dims import Affine, Dim, Size
from aotbuild.runtime.manifest import Input, Manifest
from aotbuild.steps.package.generate.layout import WIDTH, Brackets, laid_out, statement
from aotbuild.steps.package.generate.literals import literal
from aotbuild.steps.package.generate.names import Locals


def unless(checks: Sequence[str]) -> list[str]:
    """The head of a block that runs when one of the checks does not hold."""
    rows = [f"            {'and ' * (i > 0)}{check}" for i, check in enumerate(checks)]
    return ["        if not (", *rows, "        ):"]


def fitting(checks: Sequence[str], fits: str) -> list[str]:
    """The head of a block that runs when a check does not hold, or cannot be asked.

    Args:
        checks: The checks.
        fits: A variable to hold what they gave.
    """
    rows = [f"                    {'and ' * (i > 0)}{check}" for i, check in enumerate(checks)]
    return [
        "            try:",
        f"                {fits} = (",
        *rows,
        "                )",
        "            except RuntimeError:  # of a tensor without memory or sizes of its own",
        f"                {fits} = False",
        f"            if not {fits}:",
    ]


def nesting_lines(manifest: Manifest, local: Locals) -> list[str]:
    """Checks of tuples, dicts and constants, and the tensors picked out of them."""
    parameters = manifest.parameters
    checks = [check for name, tree in parameters.items() for check in _nesting(name, tree, local)]
    if not checks:
        return []
    given = len(manifest.inputs) - len(manifest.held)
    return [
        *unless(checks),
        assigned(list(parameters), "self._nest(", 12),
        *(
            f"        {value} = {spec.name}"
            for spec, value in zip(manifest.inputs[:given], local.values[:given], strict=True)
            if value != spec.name
        ),
    ]


def _nesting(value: str, tree: dict[str, Any], local: Locals) -> list[str]:
    names = local.shared.builtins
    if tree["type"] == "constant":
        constant = tree["value"]
        written = literal(constant, names["float"])
        if constant is None or isinstance(constant, bool):
            return [f"{value} is {written}"]
        return [
            f"{names['type']}({value}) is {names[type(constant).__name__]}",
            f"{value} == {written}",
        ]
    if tree["type"] in {"tuple", "list"}:
        items = {f"{value}[{i}]": item for i, item in enumerate(tree["items"])}
        checks = [f"{names['len']}({value}) == {len(items)}"]
    elif tree["type"] == "dict":
        keys = [literal(key) for key in tree["keys"]]
        items = {f"{value}[{key}]": item for key, item in zip(keys, tree["items"], strict=True)}
        # An empty set has no literal.
        checks = [f"{value}.keys() == {{{', '.join(keys)}}}" if keys else f"not {value}"]
    else:
        return []
    checks.insert(0, f"{names['type']}({value}) is {names[tree['type']]}")
    for item, subtree in items.items():
        checks += _nesting(item, subtree, local)
    return checks


def assigned(values: Sequence[str], call: str, indent: int) -> str:
    """The statement ``a, b = self._method(a, b)``.

    Args:
        values: Names of the variables, both passed and assigned.
        call: The call up to its opening bracket, such as ``self._method(``.
        indent: Columns before the statement.
    """
    targets = Brackets("(", values, ")")
    shown = str(targets) if len(values) == 1 else ", ".join(values)
    if indent + len(f"{shown} = {call}") > WIDTH:
        shown = laid_out(targets, indent, after=len(f" = {call}"))
    return statement(f"{shown} = ", Brackets(call, values, ")"), indent)


def checks_of(manifest: Manifest, local: Locals) -> list[str]:
    """What must hold for the values to be used as they are, cheapest and most telling first."""
    pairs = list(zip(manifest.inputs, local.values, local.shapes, strict=True))
    names = local.shared.torch
    checks = [f"not {local.modes}()"]
    for spec, value, shape in pairs:
        checks += [
            f"{local.shared.builtins['type']}({value}) is {names['Tensor']}",
            f"{value}.dtype is {names[spec.dtype]}",
            f"{value}.data_ptr()",  # not of sparse, functorch's, functional and emptied ones
        ]
        if on_cpu_only(manifest):
            checks.append(f"{value}.is_cpu")
        elif value != local.values[0]:
            checks.append(f"{value}.device == {local.values[0]}.device")
        if _static(spec):
            checks.append(f"{value}.shape == {Brackets('(', list(map(str, spec.shape)), ')')}")
        else:
            length = local.shared.builtins["len"]
            checks.append(f"{length}({shape} := {value}.shape) == {len(spec.shape)}")
    known = _known_sizes(manifest, [f"{shape}[{{}}]" for shape in local.shapes])
    seen: set[str] = set()
    for spec, value, shape in pairs:
        if not _static(spec):
            for i, size in enumerate(spec.shape):
                checks += _size_checks(f"{shape}[{i}]", size, known, seen, manifest.dims)
        checks += _layout_checks(spec, value)
    return checks


def on_cpu_only(manifest: Manifest) -> bool:
    """Whether there is no variant for another device."""
    return manifest.devices == ["cpu"]


def _static(spec: Input) -> bool:
    return all(isinstance(size, int) for size in spec.shape)


def _size_checks(
    got: str, size: Size, known: Mapping[str, str], seen: set[str], dims: Mapping[str, Dim]
) -> list[str]:
    """The checks of one size; of a dimension's first one also the range."""
    if isinstance(size, int):
        return [f"{got} == {size}"]
    affine = Affine.of(size)
    name = affine.dim
    source = known[name]
    checks = []
    if _solved(got, affine) != source:  # the dimension is read from another size
        checks.append(f"{got} == {_size_at(affine, source)}")
    elif affine.factor > 1:
        checks.append(f"{_shifted(got, -affine.offset)} % {affine.factor} == 0")
    if name not in seen:
        seen.add(name)
        checks.append(_within(source, dims[name]))
        if dims[name].multiple_of > 1:
            checks.append(f"{source} % {dims[name].multiple_of} == 0")
    return checks


def _known_sizes(manifest: Manifest, sizes: Sequence[str]) -> dict[str, str]:
    """For each dimension an expression of its size: one that is just it, if there is one.

    Args:
        manifest: The model's manifest.
        sizes: For each input an expression for its sizes, with ``{}`` for the index.
    """
    plain: dict[str, str] = {}
    derived: dict[str, str] = {}
    for spec, expression in zip(manifest.inputs, sizes, strict=True):
        for i, size in enumerate(spec.shape):
            got = expression.format(i)
            if isinstance(size, str):
                plain.setdefault(size, got)
            elif isinstance(size, Affine):
                derived.setdefault(size.dim, _solved(got, size))
    return {**derived, **plain}


def _solved(got: str, size: Affine) -> str:
    """The dimension behind a size."""
    shifted = _shifted(got, -size.offset)
    return shifted if size.factor == 1 else f"({shifted} // {size.factor})"


def _size_at(size: Affine, dim: str) -> str:
    """A size of a dimension, whose expression is given."""
    scaled = dim if size.factor == 1 else f"{size.factor} * {dim}"
    return scaled if not size.offset else _shifted(scaled, size.offset)[1:-1]


def _shifted(expression: str, offset: int) -> str:
    if not offset:
        return expression
    return f"({expression} {'+' if offset > 0 else '-'} {abs(offset)})"


def _layout_checks(spec: Input, value: str) -> list[str]:
    in_order = spec.order == sorted(spec.order)
    order = "" if in_order else f".permute({', '.join(map(str, spec.order))})"
    checks = [f"{value}{order}.is_contiguous()"]
    if spec.dtype.startswith(("float", "bfloat", "complex")):
        checks.append(f"not {value}.is_neg()")  # as the imaginary part of a conjugate is
    if spec.dtype.startswith("complex"):
        checks.append(f"not {value}.is_conj()")
    return checks


def _within(got: str, dim: Dim) -> str:
    if dim.max is None:
        return f"{got} >= {dim.min}"
    # A size itself is never negative; what one is derived from can be.
    derived = got.startswith("(")
    return f"{dim.min} <= {got} <= {dim.max}" if dim.min or derived else f"{got} <= {dim.max}"


def condition_lines(manifest: Manifest, local: Locals) -> list[str]:
    """Checks of what the compiled code needs beyond single ranges."""
    # The slow path may have replaced the values: their sizes are asked for again.
    sizes = _known_sizes(manifest, [f"{value}.size({{}})" for value in local.values])
    lines: list[str] = []
    for condition in manifest.conditions:
        refuse = Brackets("self._refuse(", [literal(condition)], ")")
        if calls(condition):  # of functions, for which the module would need names of its own
            names = [name for name in sizes if re.search(rf"\b{name}\b(?!\()", condition)]
            given = [literal(condition), *(f"{name}={sizes[name]}" for name in names)]
            lines.append(statement("if not ", Brackets("self._holds(", given, "):"), 12))
        else:
            code = re.sub(r"[^\W\d]\w*", lambda word: sizes.get(word[0], word[0]), condition)
            lines.append(f"            if not ({code}):")
        lines.append(statement("", refuse, 16))
    return lines
