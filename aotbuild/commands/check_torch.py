"""What aotbuild uses of torch's private parts, and which of them this torch has."""

from __future__ import annotations

import sys

from aotbuild.errors import RequirementError
from aotbuild.steps.torch_parts.moved import moved, table
from aotbuild.steps.torch_parts.part import torch_version
from aotbuild.torch_output import quieten
from aotbuild.torch_version import installed_torch


def print_parts() -> int:
    """Print all uses with their parts, the ones that this torch lacks last.

    Returns:
        0, or 1 when it lacks what nothing can be built without.

    Raises:
        RequirementError: There is no torch.
    """
    if installed_torch() is None:
        raise RequirementError(
            "torch is not installed",
            where="environment",
            fix="run the command in the environment that builds, as pip does in an isolated one",
        )
    quieten()
    sys.stdout.write(f"{table(everything=True)}\n")
    lacking = moved()
    required = any(each.use.required for each in lacking)
    said = "nothing is missing" if not lacking else f"missing:\n{table(everything=False)}"
    sys.stdout.write(f"torch {torch_version()}: {said}\n")
    return int(required)
