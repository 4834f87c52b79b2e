"""The text of a package's ``__init__.py``."""

from __future__ import annotations

from collections.abc import Iterable

from aotbuild.steps.files import HEADER
from aotbuild.steps.package.generate.names import aliased

_PACKAGE_BUILTINS = (
    "AttributeError",
    "Exception",
    "ImportError",
    "getattr",
    "globals",
    "isinstance",
    "sorted",
)


def package_module(models: Iterable[str]) -> str:
    """The text of ``__init__.py``: each model is loaded when it is first asked for."""
    names = sorted(models)
    listing = "".join(f'    "{name}",\n' for name in names)
    # A loaded model and its module become attributes of the package, `name` and `_name`, where
    # they hide what has these names; no model's name begins with an underscore.
    needed = {name: f"__{name}" if name in names else name for name in _PACKAGE_BUILTINS}
    load = "__import_module" if "import_module" in names else "_import_module"
    hidden = [aliased(builtin, alias) for builtin, alias in needed.items() if builtin != alias]
    imports = f"from builtins import {', '.join(hidden)}\n" if hidden else ""
    return f'''\
{HEADER}
"""Compiled models: {", ".join(names)}."""

{imports}from importlib import import_module as {load}

__all__ = [
{listing}]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise {needed["AttributeError"]}(f"module {{__name__!r}} has no attribute {{name!r}}")
    try:
        model = {needed["getattr"]}({load}(f"{{__name__}}._{{name}}"), name)
    except {needed["Exception"]} as error:
        own = {needed["isinstance"]}(error, {needed["ImportError"]})
        if own and not (error.name or "").startswith(__name__):
            raise  # it tells what is wrong
        raise {needed["ImportError"]}(
            f"{{__name__}}.{{name}} cannot be loaded ({{error}}); install the package again"
        ) from error
    {needed["globals"]}()[name] = model
    return model


def __dir__() -> list[str]:
    return {needed["sorted"]}({{*{needed["globals"]}(), *__all__}})
'''


def main_module() -> str:
    """The text of ``__main__.py``: the test that a package carries."""
    return f'''\
{HEADER}
"""Run the recorded example of each compiled model, and compare: ``python -m <package>``."""

from pathlib import Path

from ._runtime.selftest import main

main(Path(__file__).parent, __spec__.parent)
'''
