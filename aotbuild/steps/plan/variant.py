"""A variant in the plan: one method of a model for one target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aotbuild.config.project import Project
from aotbuild.config.resolve import method_label, settings_for
from aotbuild.config.schema import Model, TargetSettings
from aotbuild.steps.artifacts.build_record import RECORD
from aotbuild.steps.artifacts.tuning import RECIPE
from aotbuild.steps.plan.export import export_directory, export_output
from aotbuild.steps.plan.planned_step import tools
from aotbuild.steps.tune.recipes import limits
from aotbuild.target import Target


@dataclass(frozen=True)
class PlannedVariant:
    """What its steps have in common."""

    project: Project
    name: str
    """Name of the model."""
    method: str
    target: Target

    @property
    def model(self) -> Model:
        """The model's declaration."""
        return self.project.models[self.name]

    @property
    def settings(self) -> TargetSettings:
        """What is declared for the target."""
        return settings_for(self.model, self.target.device, self.target.name)

    @property
    def label(self) -> str:
        """The variant as messages name it."""
        return f"{method_label(self.name, self.method)} for {self.target.name}"

    @property
    def directory(self) -> str:
        """Where it is compiled and verified."""
        return f"models/{self.name}/{self.target.name}/{self.method}"

    @property
    def compiled(self) -> str:
        """What the step compile writes last."""
        return f"{self.directory}/{RECORD}"

    @property
    def tune_directory(self) -> str:
        """Where it is tuned."""
        return f"{self.directory}/tune"

    @property
    def recipe(self) -> str:
        """The file with the recipe that tuning chooses; empty where it is not tuned."""
        return f"{self.tune_directory}/{RECIPE}" if self.model.tune else ""

    @property
    def program(self) -> str:
        """The export's directory of the method."""
        return f"{export_directory(self.name, self.target.device)}/{self.method}"

    @property
    def exported(self) -> str:
        """What its export writes last."""
        return export_output(self.name, self.target.device)

    @property
    def common_fields(self) -> dict[str, Any]:
        """The fields that the specifications of compile and verify have in common."""
        return {
            "model": self.name,
            "method": self.method,
            "target": self.target.name,
            "project": str(self.project.root),
            "import_paths": [str(path) for path in self.project.import_paths],
            "package": self.project.package,
            "quantize": self.model.quantize,
            "exported": self.program,
            "output": self.directory,
            # What quantising changes is declared; no recipe adds to it.
            "allowed": None if self.model.quantize else limits(self.model.tune),
            "tools": tools(),
        }
