"""Proposed ranges, tried before they are told: a smaller range can lead to the next guard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from aotbuild.config.schema import DeclaredDim
from aotbuild.runtime.dims import Dim
from aotbuild.steps.export.diagnosis import Finding

_ROUNDS = 4
"""How many times a range is narrowed further before it is given up."""

Trace = Callable[[dict[str, DeclaredDim]], "list[Finding] | None"]
"""What is found of these dimensions: nothing where they work, None where that cannot be told."""


def tried(
    findings: Sequence[Finding], dims: Mapping[str, DeclaredDim], trace: Trace
) -> Sequence[Finding] | None:
    """What was found, with ranges that the model has been traced with.

    Args:
        findings: What a trace found of the declared dimensions.
        dims: The declared dimensions.
        trace: Traces the model with other ranges.

    Returns:
        The last range that is found of each dimension: they work, unless something else is found
        that is no range. None where the model fails with them for another reason.
    """
    latest = {finding.dim: finding for finding in findings}
    ranges = dict(dims)
    for _ in range(_ROUNDS):
        if any(finding.part is None for finding in latest.values()):
            break
        for name, finding in latest.items():
            ranges[name] = _declared(ranges[name], finding.part)
        more = trace(ranges)
        if more is None:
            return None
        if not more:
            break
        for finding in more:
            earlier = latest.get(finding.dim)
            lines = [*(earlier.line.splitlines() if earlier else []), *finding.line.splitlines()]
            line = "\n".join(dict.fromkeys(line for line in lines if line))
            latest[finding.dim] = dataclasses.replace(finding, line=line)
    else:
        return None
    return list(latest.values())


def without_proposals(findings: Sequence[Finding]) -> list[Finding]:
    """What was found, where no range works."""
    return [
        finding
        if finding.part is None
        else dataclasses.replace(finding, part=None, fix="make the model independent of the size")
        for finding in findings
    ]


def _declared(dim: DeclaredDim, part: Dim | None) -> DeclaredDim:
    assert part is not None  # noqa: S101
    # The size of an example that was declared may be one that the model does not work with.
    example = dim.example if dim.example is not None and dim.example in part else None
    return dataclasses.replace(
        dim, min=part.min, max=part.max, multiple_of=part.multiple_of, example=example
    )
