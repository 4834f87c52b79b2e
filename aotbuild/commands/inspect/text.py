"""A report as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aotbuild.commands.tables import print_heading, print_table
from aotbuild.steps.reports.describing import call_rows, short, size
from aotbuild.steps.reports.report import (
    ModelReport,
    PackageReport,
    Report,
    VariantReport,
    compilers,
)


def print_report(report: Report) -> None:
    """Print all that a report tells."""
    print_heading(report.where, f": {', '.join(_about(report))}")
    if line := _built_by(report):
        print_heading("", line)
    torch = str(report.provenance.get("tools", {}).get("torch", ""))
    for package in report.packages:
        print_heading(f"\n{package.package}", _weights(package))
        print_table(("model", "takes", "returns", "weights"), _calls(package), (3,))
        for name, files in report.provenance.get("files", {}).items():
            for line in _made_of(files):
                print_heading(f"{name}: ", line)
        for model in package.models:
            for line in _rules(model):
                print_heading(f"{model.name}: ", line)
        print_heading("")
        print_table(
            ("compiled", "for", "runs on", "library", "error", "by"),
            _variants(package, torch),
            (3,),
        )
    print_heading("")
    share = {part: f"{100 * count / report.installed:.0f}%" for part, count in report.parts.items()}
    rows = [(part, size(count), share[part]) for part, count in report.parts.items()]
    print_table(("part", "size", "of all"), rows, (1, 2))


def _about(report: Report) -> Iterator[str]:
    if report.size:
        yield f"{size(report.size)}, {size(report.installed)} when installed"
    else:
        yield size(report.installed)
    if report.requires_python:
        yield f"Python {report.requires_python}"
    if report.name:
        needs = "; ".join(report.requires)
        yield f"needs {needs}" if needs else "needs no other package"


def _built_by(report: Report) -> str:
    """What compiled the models; empty where it is not known."""
    tools = report.provenance.get("tools", {})
    named = [f"{name} {version}" for name, version in tools.items()] + compilers(report.packages)
    return f"built by {', '.join(named)}" if tools else ""


def _made_of(files: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """The files of a model, with the first digits of their digests."""
    for name, file in files.items():
        yield f"made of {name} ({file['holds']}, sha256 {short(file['sha256'])})"


def _weights(package: PackageReport) -> str:
    apart = package.weights.get("apart")
    return f", with its weights in {apart}" if apart else ""


def _calls(package: PackageReport) -> Iterator[tuple[str, ...]]:
    for model in package.models:
        yield from call_rows((model.name,), model.takes, model.returns, (size(model.weights),))


def _rules(model: ModelReport) -> Iterator[str]:
    for condition in model.conditions:
        yield f"only where {condition}"
    if model.changed:
        yield f"changes {', '.join(model.changed)} in place"
    if model.state:
        yield f"keeps between calls, in its state: {', '.join(model.state)}"
    if model.fallback:
        yield "where nothing compiled fits, eager torch runs it"
    for variant in model.variants[:1]:
        if variant.operators:
            yield f"torch runs, for it: {', '.join(variant.operators)}"


def _variants(package: PackageReport, torch: str) -> Iterator[tuple[str, ...]]:
    for model in package.models:
        for variant in model.variants:
            runs = f"torch {variant.torch}" if variant.torch else "nothing else"
            yield (
                model.name,
                variant.target,
                f"{variant.platform}, {runs}",
                size(variant.size),
                _error(variant),
                _compiled(variant, torch),
            )


def _error(variant: VariantReport) -> str:
    """The largest difference from the eager model, of the size of what is compared."""
    error = variant.verified.get("relative-error")
    return "not verified" if error is None else f"{error:.1e}"


def _compiled(variant: VariantReport, told: str) -> str:
    """The torch that compiled it, unless that is told already, and the recipe."""
    passes = ", ".join(f"{n} {name}" for name, n in variant.compiled.get("passes", {}).items())
    recipe = variant.compiled.get("recipe", "")
    kernels = f" ({passes})" if passes else ""
    torch = variant.compiled.get("torch", "?")
    return ("" if torch == told else f"torch {torch}, ") + f"{recipe}{kernels}"
