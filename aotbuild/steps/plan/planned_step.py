"""A planned step: what runs, on what, and behind which others."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, field
from typing import Any

from aotbuild.steps.artifacts.spec import Tools, spec_text
from aotbuild.torch_version import installed_torch


@dataclass(frozen=True)
class PlannedStep:
    """One run of a step."""

    step: str
    comment: str
    spec: str
    """The specification file."""
    text: str
    """Its content."""
    output: str
    """The file that the step writes last; its depfile is ``<output>.d``."""
    depends: list[str]
    """Outputs of other steps."""
    others: list[str] = field(default_factory=list)
    """What else the step writes that others depend on, and leaves alone where it is the same."""
    target: str = ""
    """What it compiles for."""
    model: str = ""
    """The model that it measures."""

    @property
    def command(self) -> dict[str, Any]:
        """What CMake runs."""
        names = ("step", "comment", "spec", "output", "others", "depends")
        return {name: getattr(self, name) for name in names}


def specification(stem: str, spec: Any) -> tuple[str, str]:
    """The name and the text of a specification file."""
    return f"{stem}.json", spec_text(spec)


def tools() -> Tools:
    """The versions that a step is planned for."""
    return Tools(aotbuild=importlib.metadata.version("aotbuild"), torch=str(installed_torch()))
