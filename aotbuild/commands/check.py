"""Checking a project in seconds: its declaration, its sources, and what torch traces of them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aotbuild.commands.check_packaging import import_line
from aotbuild.commands.tables import print_json, print_table
from aotbuild.commands.tracing import checked_project, traced_models
from aotbuild.config.resolve import method_label
from aotbuild.config.runtimes import with_runtimes
from aotbuild.steps.choose.memory import remember_check, remembered_check
from aotbuild.steps.reports.describing import call_rows, returns, size, takes
from aotbuild.steps.torch_parts.moved import table as parts_table
from aotbuild.steps.torch_parts.part import torch_version

if TYPE_CHECKING:
    from aotbuild.config.project import Project
    from aotbuild.config.schema import Model
    from aotbuild.steps.export.traced import Traced


@dataclass(frozen=True)
class Row:
    """What is told of a model, or of one of its methods."""

    model: str
    runtime: str
    """What runs it."""
    takes: list[str]
    returns: list[str]
    parameters: int
    weights: int
    """Bytes."""


@dataclass(frozen=True)
class Checked:
    """What ``check`` tells of a project, as data."""

    models: list[Row]
    notes: list[str]
    """What else a line of its own tells: of the runtime, of the cache, of weights."""
    imports: str
    """The line of Python that imports the models once the wheel is installed."""
    torch: str
    lacking: str
    """The private parts that builds use, and this torch lacks; empty where it has all."""
    format: int = 1


def check_project(
    directory: Path, names: Sequence[str], *, explain: bool = False, json: bool = False
) -> int:
    """Check a project, and print a table of its models.

    Args:
        directory: Directory of the pyproject.toml.
        names: The models to trace; all of them when empty.
        explain: Whether to tell what a build would find in the cache, and why not the rest.
        json: Whether to print JSON in place of the table.

    Returns:
        0, or 1 when a model cannot be traced; why has been printed to standard error then.

    Raises:
        AotBuildError: The declaration is wrong.
    """
    with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
        checked, failed = _check(directory, names, explain=explain)
    _print(checked, json=json)
    return int(failed)


def _check(directory: Path, names: Sequence[str], *, explain: bool) -> tuple[Checked, bool]:
    """What is told of a project, and whether one of its models cannot be traced."""
    project, chosen = checked_project(directory, names)
    told: dict[str, _Told] = {}
    if not explain:  # for which models have to be traced
        for name in chosen:
            if before := _Told.remembered(project, name):
                told[name] = before
                sys.stderr.write(before.warnings)
    new = [name for name in chosen if name not in told]
    traced = _traced(project, new, explain=explain) if new else {}
    told |= traced
    names = [name for name in chosen if name in told]
    rows = [row for name in names for row in told[name].rows]
    lines = [line for name in names for line in told[name].lines]
    imports = import_line(project, names) if rows else ""
    lacking = next((each.lacking for each in told.values()), "")
    checked = Checked(rows, lines, imports, torch_version(), lacking)
    return checked, names != chosen


@dataclass(frozen=True)
class _Told:
    """What is told of one model."""

    rows: list[Row]
    lines: list[str]
    warnings: str
    """What was printed to standard error meanwhile."""
    lacking: str
    """What this torch lacks of the private parts that builds use."""

    @classmethod
    def remembered(cls, project: Project, name: str) -> _Told | None:
        """What was told of a model before, if nothing has changed since."""
        table = remembered_check(project, name)
        if table is None:
            return None
        return cls(**{**table, "rows": [Row(**row) for row in table["rows"]]})


def _traced(project: Project, names: Sequence[str], *, explain: bool) -> dict[str, _Told]:
    """What is told of models that have to be traced, if they can be."""
    told: dict[str, _Told] = {}
    read: dict[str, list[Path]] = {}
    models = traced_models(project, names)
    while True:
        heard = _Heard()
        with contextlib.redirect_stderr(heard):
            found = next(models, None)
        if found is None:
            break
        name, traced, runtime, read[name] = found
        rows = [_row(name, runtime.runtime, method) for method in traced.methods]
        lines = runtime.lines(name)
        lines += _folded(project.models[name], name, traced.methods)
        if explain:
            from aotbuild.commands.explain import explain as explained

            decided = with_runtimes(project, {name: runtime.runtime})
            lines += [each.line for each in explained(decided, name, traced)]
        told[name] = _Told(rows, lines, heard.text, parts_table(everything=False))
    # What is printed of one that cannot be traced stands before the warnings of the next.
    if not explain and len(told) == len(names):
        for name, each in told.items():
            remember_check(project, name, dataclasses.asdict(each), read[name])
    return told


class _Heard(io.TextIOBase):
    """Standard error, with what is written to it meanwhile."""

    def __init__(self) -> None:
        self._out = sys.stderr
        self.text = ""

    def write(self, text: str) -> int:
        """Write on, and keep it."""
        self.text += text
        return self._out.write(text)

    def flush(self) -> None:
        """Flush what has it in the end."""
        self._out.flush()


def _print(checked: Checked, *, json: bool) -> None:
    if json:
        print_json(checked)
        return
    if checked.models:
        head = ("model", "runtime", "inputs", "outputs", "parameters", "weights")
        print_table(head, _cells(checked.models), (4, 5))
        print("\n".join([checked.imports, *checked.notes]))  # noqa: T201
    if checked.lacking:
        print(f"torch {checked.torch} lacks private parts that builds use:\n{checked.lacking}")  # noqa: T201


def _cells(rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """A line for each input or output of a model."""
    for row in rows:
        after = (f"{row.parameters:,}", size(row.weights))
        yield from call_rows((row.model, row.runtime), row.takes, row.returns, after)


def _folded(model: Model, name: str, methods: Iterable[Traced]) -> Iterator[str]:
    """What is told of a model whose batch norms become parts of other weights."""
    if model.swappable or model.recipe == "plain":
        return
    from aotbuild.passes.convolution.fold_batch_norm import foldable
    from aotbuild.steps.package.folded import KEPT_ANYWAY

    programs = [method.program for method in methods]
    count = sum(foldable(program.module(check_guards=False)) for program in programs)
    bytes_of = {p.data_ptr(): p.nbytes for program in programs for p in program.state_dict.values()}
    if count and sum(bytes_of.values()) > KEPT_ANYWAY:
        yield (
            f"{name}: {count} batch norms are folded into the layers before them: at run time "
            f"{name}.state_dict() and merge() may refuse their weights. swappable = true keeps them"
        )


def _row(name: str, runtime: str, traced: Traced) -> Row:
    call = traced.call
    tensors = list(traced.program.state_dict.values())
    tensors += [c for c in traced.program.constants.values() if hasattr(c, "numel")]
    own = {tensor.data_ptr(): tensor for tensor in tensors}
    parameters = {p.data_ptr(): p for p in traced.program.parameters()}
    return Row(
        method_label(name, traced.name),
        runtime,
        takes(call.inputs, call.in_spec, call.dims),
        list(returns(call.outputs)),
        sum(parameter.numel() for parameter in parameters.values()),
        sum(tensor.numel() * tensor.dtype.itemsize for tensor in own.values()),
    )
