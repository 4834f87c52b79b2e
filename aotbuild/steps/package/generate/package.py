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


def package_module(models: Iterable[str], *, develop: bool = False) -> str:
    """The text of ``__init__.py``: each model is loaded when it is first asked for.

    Args:
        models: Their names.
        develop: Whether the package tells where it is older than its sources.
    """
    names = sorted(models)
    listing = "".join(f'    "{name}",\n' for name in names)
    # A loaded model and its module become attributes of the package, `name` and `_name`, where
    # they hide what has these names; no model's name begins with an underscore.
    needed = {name: f"__{name}" if name in names else name for name in _PACKAGE_BUILTINS}
    load = "__import_module" if "import_module" in names else "_import_module"
    advice = "__advice" if "advice" in names else "advice"
    hidden = [aliased(builtin, alias) for builtin, alias in needed.items() if builtin != alias]
    older = _OLDER if develop else ""
    imports = f"from builtins import {', '.join(hidden)}\n" if hidden else ""
    return f'''\
{HEADER}
"""Compiled models: {", ".join(names)}."""

{imports}from importlib import import_module as {load}

__all__ = [
{listing}]


def __getattr__(name: str) -> object:
    if name == "set_num_threads":
        from ._runtime.threads import set_num_threads

        return set_num_threads
    if name not in __all__:
        raise {needed["AttributeError"]}(f"module {{__name__!r}} has no attribute {{name!r}}")
    try:
        model = {needed["getattr"]}({load}(f"{{__name__}}._{{name}}"), name)
    except {needed["Exception"]} as error:
        own = {needed["isinstance"]}(error, {needed["ImportError"]})
        if own and not (error.name or "").startswith(__name__):
            raise  # it tells what is wrong
        from ._pyinstaller import {aliased("advice", advice)}

        text = f"{{__name__}}.{{name}} cannot be loaded ({{error}}); {{{advice}()}}"
        raise {needed["ImportError"]}(text) from error
    {needed["globals"]}()[name] = model
    return model


def __dir__() -> list[str]:
    return {needed["sorted"]}({{*{needed["globals"]}(), *__all__}})
{older}'''


_OLDER = """

def _tell_of_older_models() -> None:
    from pathlib import Path

    from ._runtime.development import warn_if_older

    warn_if_older(Path(__file__).parent, __name__)


_tell_of_older_models()
"""


def main_module() -> str:
    """The text of ``__main__.py``: the test that a package carries."""
    return f'''\
{HEADER}
"""Run the recorded example of each compiled model, and compare: ``python -m <package>``."""

from pathlib import Path

from ._runtime.selftest import main

main(Path(__file__).parent, __spec__.parent)
'''


def hooks_module() -> str:
    """The text of ``_pyinstaller/__init__.py``: where PyInstaller finds the hook of the package."""
    return f'''\
{HEADER}
"""For PyInstaller: where the hook is that collects this package, files and all."""

import os
import sys


def hook_dirs() -> list[str]:
    """The directory of the hook, as an entry point of the group ``pyinstaller40`` tells it."""
    return [os.path.dirname(__file__)]


def advice() -> str:
    """What to do where a part of the package is missing."""
    if not getattr(sys, "frozen", False):
        return "install the package again"
    return (
        "this frozen program has not all of it. PyInstaller collects it by a hook: "
        f"pyinstaller --additional-hooks-dir $(python -c \'from {{__name__}} import hook_dirs; "
        "print(*hook_dirs())\')"
    )
'''


def hook_module(package: str) -> str:
    """The text of PyInstaller's hook for a package of compiled models.

    Args:
        package: Its import name.
    """
    return f'''\
{HEADER}
"""PyInstaller's hook for ``{package}``: all modules, and all files as they are."""

from pathlib import Path

from PyInstaller.utils.hooks import get_module_file_attribute

_PACKAGE = "{package}"
_ROOT = Path(get_module_file_attribute(_PACKAGE)).parent
_FILES = [path for path in _ROOT.rglob("*") if path.is_file() and path.suffix != ".pyc"]


def _module(path: Path) -> str:
    """The name of a module by its file."""
    parts = [*path.relative_to(_ROOT).parent.parts, path.name.partition(".")[0]]
    return ".".join([_PACKAGE, *(part for part in parts if part != "__init__")])


# Digests of the modules are checked, too: their source is collected as a file.
hiddenimports = [
    _module(path)
    for path in _FILES
    if path.parent in {{_ROOT, _ROOT / "_runtime", _ROOT / "_pyinstaller"}}
    and path.suffix in {{".py", ".so"}}
    and not path.name.startswith("hook-")
]
datas = [
    (str(path), str(Path(*_PACKAGE.split("."), path.relative_to(_ROOT)).parent)) for path in _FILES
]
'''
