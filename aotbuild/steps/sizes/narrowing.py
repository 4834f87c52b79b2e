"""Where compiled code accepts fewer sizes than declared: what is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path
from aotbuild.errors import CompileError
from aotbuild.runtime.manifest import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.spec import CompileSpec


def narrowed(
    spec: CompileSpec, call: CallSpec, dims: Mapping[str, Dim], conditions: Sequence[str]
) -> list[CompileError]:
    """What is to be told where the compiled code accepts less than declared."""
    path = call_path(spec.model, spec.method)
    name = path.removeprefix("tool.aotbuild.models.")

    def told(dim: Dim) -> str:
        return f"{dim.min} to {'any size' if dim.max is None else dim.max}"

    found = [
        CompileError(
            f"{name} will accept {dim} from {told(own)}, not {told(call.dims[dim])}",
            where=located(f"{path}.dims.{dim}"),
            why="Inductor specialised the code for this part of the range",
            fix=f"declare min = {own.min}"
            + (f", max = {own.max}" if own.max is not None else "")
            + f", or give another example size ({path}.dims.{dim}.example)",
        )
        for dim, own in dims.items()
        if own != call.dims[dim]
    ]
    if conditions:
        found.append(
            CompileError(
                f"{name} will accept only sizes for which {' and '.join(conditions)}",
                where=located(f"{path}.dims"),
                why="torch specialised the code for these sizes",
                fix="give another example size (dims.<name>.example), or declare sizes that "
                "depend on one another by the same name",
            )
        )
    return found


def too_narrow(narrowed: Sequence[CompileError]) -> CompileError:
    """The error that all of these are together."""
    why = dict.fromkeys(each.why for each in narrowed)
    return CompileError(
        "\n".join(each.what for each in narrowed),
        where="\n".join(each.where for each in narrowed),
        why="\n".join([*why, "strict-dims = true makes this an error"]),
        fix="\n".join(
            [each.fix for each in narrowed] + ["or be content with it: strict-dims = false"]
        ),
    )
