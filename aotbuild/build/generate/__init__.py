"""The text of what a package of compiled models holds: its modules and their stub."""

from aotbuild.build.generate.module import model_module
from aotbuild.build.generate.package import main_module, package_module
from aotbuild.build.generate.stub import Models, stub

__all__ = ["Models", "main_module", "model_module", "package_module", "stub"]
