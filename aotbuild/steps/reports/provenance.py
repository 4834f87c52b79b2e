"""``aotbuild.json`` in the wheel's ``.dist-info``: what a package was made of, and by what.

It has no times and no paths of the build machine: the same build writes the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aotbuild.steps.artifacts.model_files import ModelFile
from aotbuild.steps.artifacts.spec import Tools
from aotbuild.steps.reports.report import PackageReport, compilers

FORMAT = 1
"""Version of the file."""


@dataclass(frozen=True)
class Provenance:
    """What is told of a build."""

    project: str
    version: str
    """Of the project; empty where it is not known."""
    license: str
    """What the project says of its licence, mostly an SPDX expression; may be empty."""
    tools: Tools
    """The compiler of each variant stands with the variant."""
    files: Mapping[str, Mapping[str, ModelFile]]
    """The files of the project that models are made of, by the names of the models."""
    package: PackageReport
    format: int = FORMAT

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def compilers(self) -> list[str]:
        """The compilers of the variants, as they tell their names and versions."""
        return compilers([self.package])
