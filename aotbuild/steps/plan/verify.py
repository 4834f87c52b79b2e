"""The step verify in the plan."""

from __future__ import annotations

from aotbuild.steps.artifacts.spec import VerifySpec
from aotbuild.steps.artifacts.verification import VERIFIED
from aotbuild.steps.plan.engine import ENGINE_DIRECTORY, ENGINE_OUTPUT
from aotbuild.steps.plan.planned_step import PlannedStep, specification
from aotbuild.steps.plan.variant import PlannedVariant


def verify_step(variant: PlannedVariant, spec: VerifySpec) -> PlannedStep:
    """The step that verifies a variant."""
    file, text = specification(f"{variant.directory}/verify", spec)
    return PlannedStep(
        "verify",
        f"Verifying {variant.label}",
        file,
        text,
        f"{variant.directory}/{VERIFIED}",
        [variant.exported, variant.compiled, ENGINE_OUTPUT],
    )


def verify_spec(variant: PlannedVariant) -> VerifySpec:
    """The specification of a verification."""
    return VerifySpec(
        **variant.common_fields,
        source=variant.model.source,
        verify=variant.settings.verify,
        require_verified=bool(variant.model.require_verified),
        compiled=variant.directory,
        engine=ENGINE_DIRECTORY,
    )
