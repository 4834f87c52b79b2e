"""Messages for compiled code that accepts fewer sizes than declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path
from aotbuild.errors import CompileError
from aotbuild.runtime.dims import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.spec import CompileSpec


def narrowed(
    spec: CompileSpec, call: CallSpec, dims: Mapping[str, Dim], conditions: Sequence[str]
) -> list[CompileError]:
    """A message for each dimension that the compiled code narrows, and one for its conditions.

    Args:
        spec: What was compiled.
        call: How it is declared to be called.
        dims: The ranges that the compiled code accepts.
        conditions: What else it needs of sizes.
    """
    path = call_path(spec.model, spec.method)
    name = path.removeprefix("tool.aotbuild.models.")
    messages = [
        CompileError(
            f"{name} will accept {compiled} for {dim}, not {call.dims[dim]}",
            where=located(f"{path}.dims.{dim}"),
            why="Inductor specialised the code for this part of the range",
            fix=f"declare min = {compiled.min}"
            + (f", max = {compiled.max}" if compiled.max is not None else "")
            + f", or give another example size ({path}.dims.{dim}.example)",
        )
        for dim, compiled in dims.items()
        if compiled != call.dims[dim]
    ]
    return messages + [conditional(path, conditions)] * bool(conditions)


def conditional(path: str, conditions: Sequence[str]) -> CompileError:
    """The message for code that only accepts sizes that fulfil conditions.

    Args:
        path: Dotted path of the declaration of the call.
        conditions: Of which each has to hold.
    """
    return CompileError(
        f"{path.removeprefix('tool.aotbuild.models.')} will accept only sizes for which "
        f"{' and '.join(conditions)}",
        where=located(f"{path}.dims"),
        why="torch specialised the code for these sizes",
        fix="give another example size (dims.<name>.example), or declare sizes that "
        "depend on one another by the same name",
    )


def too_narrow(narrowed: Sequence[CompileError]) -> CompileError:
    """One error for all of these."""
    why = dict.fromkeys(each.why for each in narrowed)
    return CompileError(
        "\n".join(each.what for each in narrowed),
        where="\n".join(each.where for each in narrowed),
        why="\n".join([*why, "strict-dims = true makes this an error"]),
        fix="\n".join(
            [each.fix for each in narrowed] + ["or accept the narrower range: strict-dims = false"]
        ),
    )
