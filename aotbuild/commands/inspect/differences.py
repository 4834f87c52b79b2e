"""What differs between two reports: each value by its path, such as ``net.dims.batch.max``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from aotbuild.steps.reports.report import Report

_LEFT_OUT = {"where", "kind", "takes", "format"}
"""What other values tell as well, or what tells where the report is from."""

NOTHING = "-"
"""What stands for a value that is not there."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A value that is another, or is in one report only."""

    what: str
    old: str
    new: str


def differences(old: Report, new: Report) -> list[Difference]:
    """The differences, in the order of the reports."""
    before, after = (dict(_values(dataclasses.asdict(report))) for report in (old, new))
    return [
        Difference(path, before.get(path, NOTHING), after.get(path, NOTHING))
        for path in [*before, *(path for path in after if path not in before)]
        if before.get(path) != after.get(path)
    ]


def _values(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """All values of a report; those of models and their variants by their names."""
    packages = report.pop("packages")
    yield from _flat(report, "")
    for package in packages:
        name, models = package.pop("package"), package.pop("models")
        yield from _flat(package, f"{name}")
        for model in models:
            label, variants = f"{name}.{model.pop('name')}", model.pop("variants")
            model["inputs"] = {each.pop("name"): each for each in model["inputs"]}
            yield from _flat(model, label)
            for variant in variants:
                yield from _flat(variant, f"{label}.{variant.pop('target')}")


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key not in _LEFT_OUT:
                yield from _flat(each, f"{path}.{key}" if path else str(key))
    else:
        words = map(str, value) if isinstance(value, list) else [str(value)]
        yield path, ", ".join(words) or NOTHING
