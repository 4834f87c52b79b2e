"""The text of what a package of compiled models holds: its modules and their stub."""

from aotbuild.steps.package.generate.module import model_module
from aotbuild.steps.package.generate.package import (
    hook_module,
    hooks_module,
    main_module,
    package_module,
)
from aotbuild.steps.package.generate.stub import Models, stub

__all__ = [
    "Models",
    "hook_module",
    "hooks_module",
    "main_module",
    "model_module",
    "package_module",
    "stub",
]
